//! Distances to the pages of a loop's runs that stay in the scratch registers while its fast copy runs.
//!
//! The copy is emitted as if nothing else needed these registers; where something does after all, it is emitted again
//! without.

use iced_x86::{Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, OpAccess, Register};

use super::Emitter;
use crate::analysis::Guest;
use crate::groups::Way;
use crate::loops::Loop;
use crate::mode::Mode;

/// The runs whose distances are in R14 and R13.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pins {
    r14: Option<u8>,
    r13: Option<u8>,
}

impl Pins {
    /// For a loop in which all accesses belong to runs.
    pub(super) fn of(fast: &Loop, mode: Mode) -> Self {
        if mode.size() != 64 {
            return Self::default();
        }
        let mut uses = vec![0u32; fast.runs.len()];
        let mut plain = true;
        for guest in &fast.block {
            let stack = guest.is_on_stack();
            for (there, way) in [(guest.access.is_some(), guest.operand), (stack, guest.stack)] {
                match way {
                    _ if !there => {}
                    Way::Member { group, .. } => match uses.get_mut(usize::from(group)) {
                        Some(uses) => *uses += 1,
                        None => return Self::default(),
                    },
                    _ => return Self::default(),
                }
            }
            plain &= guest.access.is_none() || one_register(guest, fast);
        }
        let most = |without: Option<u8>| {
            let others =
                (0..uses.len() as u8).filter(|&run| Some(run) != without && uses[usize::from(run)] > 0);
            others.max_by_key(|&run| uses[usize::from(run)])
        };
        let r14 = most(None);
        // Where there are more than two, the others pass through R13, as sums of two registers do.
        let two = plain && uses.iter().filter(|&&uses| uses > 0).count() <= 2;
        Self { r14, r13: if two { most(r14) } else { None } }
    }

    /// The runs and their registers.
    pub(super) fn registers(self) -> impl Iterator<Item = (u8, Register)> {
        [(self.r14, Register::R14), (self.r13, Register::R13)]
            .into_iter()
            .filter_map(|(run, to)| Some((run?, to)))
    }

    /// The register that holds the distance of a run.
    pub(super) fn register(self, run: u8) -> Option<Register> {
        self.registers().find(|(other, _)| *other == run).map(|(_, register)| register)
    }

    /// Does code leave these registers alone?
    pub(super) fn hold_in(self, code: &[u8], factory: &mut InstructionInfoFactory) -> bool {
        if self.registers().next().is_none() {
            return true;
        }
        Decoder::new(64, code, DecoderOptions::NONE).iter().all(|insn| {
            // Called pieces of code use them as they like.
            insn.flow_control() != FlowControl::Call
                && factory.info(&insn).used_registers().iter().all(|used| {
                    let reads = matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
                    reads || self.registers().all(|(_, pinned)| used.register().full_register() != pinned)
                })
        })
    }
}

/// Does the address of its operand need no more than one register beside the distance?
fn one_register(guest: &Guest, fast: &Loop) -> bool {
    let Way::Member { group, .. } = guest.operand else { return false };
    let Some(run) = fast.runs.get(usize::from(group)) else { return false };
    let mut registers =
        [(guest.insn.memory_base(), run.folds_base), (guest.insn.memory_index(), run.folds_index)]
            .into_iter()
            .filter(|(register, folded)| register.is_gpr() && !folded);
    let Some((only, _)) = registers.next() else { return true };
    registers.next().is_none() && Emitter::pinned(only.number() as u8).is_some()
}
