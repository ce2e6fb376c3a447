//! Our machine against QEMU's log, block by block: the log has the registers before each block that QEMU translated.
//!
//! Where a block ends is told by where the next one begins: our machine runs until it gets there. What is taken over is
//! as in [`lockstep`](crate::lockstep), but of an instruction in the middle of a block (CPUID, RDMSR) the log does not
//! show what QEMU got; there [`Lockstep::answers`] helps.

use std::io::Read;

use emu_core::cpu::control::{CR4_OSXSAVE, CR4_PKE};
use emu_core::cpu::{CS, Cpu, RAX, RBX, RCX, RDX, RIP, RSP, SS, eflags};
use emu_core::decode::eflags as flags_of;
use emu_core::mem::PAGE_SIZE;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic as M, Register};

use super::log::Log;
use super::survey::WITH_SUBLEAVES;
use crate::listing::{Place, Recent};
use crate::lockstep::adopt::{adopt_reset, comparable};
use crate::lockstep::conditions::mode;
use crate::lockstep::step::{LogError, Step, Steps};
use crate::lockstep::{Answers, LISTED, Lockstep, Next, Ran, announced_again, has_error_code, log_ends};
use crate::state::State;
use crate::undefined::undefined_flags;

/// More instructions than QEMU puts into a block.
const LONGEST: usize = 600;
/// Bytes that an interrupt pushes in real mode: FLAGS, CS and IP.
const REAL_FRAME: u64 = 6;

/// A known difference that only blocks show.
const STALE_FLAGS: &str = "CMPXCHG8B and CMPXCHG16B leave all flags but ZF as they were: SDM 2A; within a block QEMU 7.2 works them \
                           out anew from what an earlier block left";

impl<R: Read> Lockstep<'_, Log<R>> {
    /// Compares one block.
    ///
    /// # Errors
    /// When the log cannot be read or understood.
    pub fn step_block(&mut self) -> Result<Next, LogError> {
        let Some(step) = self.take()? else { return Ok(Next::End(log_ends::<Log<R>>())) };
        let next = self.log.peek()?.cloned();
        let first = Place::seen_by(&mut self.pages[0], self.machine.cpu(), self.counts.instructions);
        if self.again == 0
            && next.as_ref().is_some_and(|next| announced_again(&first, &step, next))
            && !comes_back(self.machine.cpu())
        {
            // It writes to its own code, and QEMU begins it anew.
            self.again = 1;
            return Ok(Next::Same);
        }
        self.again = 0;
        let Some(next) = next else { return Ok(Next::End(self.run_last())) };
        let target = step.interrupted_at.unwrap_or(next.state.rip);
        // Of an interrupt in real mode the log does not say where it came.
        let untold = step.interrupted_at.is_none() && !step.interrupts.is_empty();
        self.begin(&step);
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        let (mut note, mut reset, mut reached) = (None, false, false);
        let first_exception = self.machine.cpu().counters.exceptions;
        while block.len() < LONGEST {
            let cpu = self.machine.cpu();
            let (place, before) =
                (Place::seen_by(&mut self.pages[0], cpu, self.counts.instructions), State::of(cpu));
            let count = before.regs[RCX];
            self.recent.push(place);
            block.push((place, before));
            let ran = if self.take_over(&place, &step, &next) || self.answer(&place) {
                Ran::Fine
            } else {
                self.run_on()
            };
            match ran {
                Ran::End(why) => return Ok(Next::End(why)),
                Ran::Fine => {}
                Ran::Reset => {
                    adopt_reset(self.machine.cpu_mut(), &next);
                    reset = true;
                }
                Ran::Stuck(what) => note = Some(what),
            }
            self.counts.instructions += 1;
            self.follow_repeat(&place, count, &step, target);
            reached = if untold {
                self.may_be_interrupted(&place, &next)
            } else {
                self.machine.rip() == target && !self.goes_on(&block, &step, &next)
            };
            let exceptions = self.machine.cpu().counters.exceptions - first_exception;
            let astray = exceptions > 0 && exceptions >= step.exceptions.len() as u64;
            if reset || note.is_some() || reached || astray {
                break;
            }
        }
        self.counts.compared += 1;
        if self.flags_differ(&next) {
            self.adopt_flags(undefined_after(&block), &next);
            self.adopt_stale_flags(stale_after(&block), &next);
            self.adopt_pushed_flags();
        }
        self.deliver(&step, &mut note);
        if note.is_none() && self.adopt_results(&block, &next) {
            self.block = block;
            return Ok(Next::Same);
        }
        let mut result = self.compare(&block, &step, &next, note);
        if let Next::Different(found) = &mut result
            && !reached
        {
            // Where it should have ended we do not know.
            found.recent = Recent::new(LISTED);
            block.iter().take(LISTED).for_each(|(place, _)| found.recent.push(*place));
            found
                .note
                .get_or_insert_with(|| format!("QEMU's block ended at {target:#x}, where we do not come"));
        }
        self.block = block;
        Ok(result)
    }

    /// Runs the block behind which QEMU says nothing more, for what ends our machine there. Returns why the
    /// comparison ends.
    fn run_last(&mut self) -> String {
        for _ in 0..LONGEST {
            if let Ran::End(why) = self.run_on() {
                return why;
            }
            self.counts.instructions += 1;
        }
        log_ends::<Log<R>>()
    }

    /// Flags that QEMU has wrong become ours before an interrupt pushes them.
    fn adopt_stale_flags(&mut self, stale: u64, next: &Step) {
        let cpu = self.machine.cpu_mut();
        if stale & (cpu.flags.get() ^ next.state.flags) != 0 {
            cpu.flags.set_some(stale, next.state.flags);
            *self.counts.known.entry(STALE_FLAGS.into()).or_default() += 1;
        }
    }

    /// Is a block not over although its end is reached? Its last instruction may jump back into it, or repeat itself;
    /// then the registers tell whether that was done, and where they do not, that blocks mostly end with a branch.
    fn goes_on(&mut self, block: &[(Place, State)], step: &Step, next: &Step) -> bool {
        let Some((last, _)) = block.last() else { return true };
        let last = last.instruction();
        if last.flow_control() != FlowControl::Next || step.rewound || block.len() == step.most {
            return false;
        }
        let cpu = self.machine.cpu();
        let place = Place::seen_by(&mut self.pages[0], cpu, 0);
        let repeats = place.opcode().1 && place.instruction().is_string_instruction();
        if !repeats && !comes_back(cpu) {
            return false;
        }
        // An interrupt that came behind the block has changed the rest.
        let ours = State::of(cpu);
        let theirs = comparable(&ours, next);
        let differ = (0..16).any(|n| n != RSP && ours.regs[n] != theirs.regs[n]);
        let page_ends = ours.seg[CS].base.wrapping_add(ours.rip).is_multiple_of(PAGE_SIZE);
        differ || !repeats && !page_ends && !ends_block(&last)
    }

    /// May an interrupt in real mode have led from here, behind the instruction at `last`, to the next state?
    fn may_be_interrupted(&mut self, last: &Place, next: &Step) -> bool {
        let cpu = self.machine.cpu();
        let mut before = comparable(&State::of(cpu), next).regs;
        before[RSP] = before[RSP] & !0xffff | before[RSP].wrapping_add(REAL_FRAME) & 0xffff;
        let last = last.instruction();
        let ends = last.flow_control() != FlowControl::Next || ends_block(&last);
        let behind = Place::seen_by(&mut self.pages[0], cpu, 0).instruction().flow_control();
        let jumps = matches!(behind, FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch);
        before == cpu.regs[..16] && (ends || !jumps)
    }

    /// Does CPUID with what QEMU says, where that is known, and RDMSR of a register that we lack: QEMU has zeros.
    fn answer(&mut self, place: &Place) -> bool {
        let cpu = self.machine.cpu_mut();
        let msr = cpu.regs[RCX] as u32;
        if place.opcode().0 == [0x0f, 0x32] && cpu.cpl == 0 && cpu.read_msr(msr).is_err() {
            (cpu.regs[RAX], cpu.regs[RDX]) = (0, 0);
            cpu.regs[RIP] = cpu.regs[RIP].wrapping_add(place.bytes().len() as u64);
            *self.counts.taken.entry(format!("rdmsr {msr:#x}")).or_default() += 1;
            return true;
        }
        if self.answers.is_empty() || place.opcode().0 != [0x0f, 0xa2] {
            return false;
        }
        let cpu = self.machine.cpu_mut();
        let leaf = answering(&self.answers, cpu.regs[RAX] as u32, cpu.regs[RCX] as u32);
        let Some(&[eax, mut ebx, mut ecx, edx]) = self.answers.get(&leaf) else { return false };
        // What shows what the guest has switched on.
        if leaf == (0xd, 0) {
            ebx = area_size(&self.answers, cpu.fpu.xcr0);
        }
        let shown = match leaf.0 {
            1 => Some((27, cpu.cr4 & CR4_OSXSAVE != 0)),
            7 => Some((4, cpu.cr4 & CR4_PKE != 0)),
            _ => None,
        };
        if let Some((bit, on)) = shown {
            ecx = ecx & !(1 << bit) | u32::from(on) << bit;
        }
        for (n, value) in [(RAX, eax), (RBX, ebx), (RCX, ecx), (RDX, edx)] {
            cpu.regs[n] = value.into();
        }
        cpu.regs[RIP] = cpu.regs[RIP].wrapping_add(place.bytes().len() as u64);
        *self.counts.taken.entry(format!("cpuid {:#x}", leaf.0)).or_default() += 1;
        true
    }

    /// Undefined flags that an exception within the block pushed become the reference's, as those in the register have.
    fn adopt_pushed_flags(&mut self) {
        let Some((vector, _)) = self.raised else { return };
        let cpu = self.machine.cpu_mut();
        let size: u64 = match mode(&State::of(cpu)) {
            "long" => 8,
            "protected" => 4,
            _ => 2,
        };
        let above = size * (2 + u64::from(size > 2 && has_error_code(vector)));
        let top = cpu.seg[SS].base.wrapping_add(cpu.regs[RSP] & cpu.stack_mask);
        let at = top.wrapping_add(above) & cpu.linear_mask;
        let mut image = [0; 2];
        if cpu.peek_linear(at, &mut image) == image.len()
            && let Some(physical) = cpu.peek_physical(at)
        {
            let flags =
                u64::from(u16::from_le_bytes(image)) & !eflags::OSZAPC | cpu.flags.get() & eflags::OSZAPC;
            cpu.system_mut().mem.write_own(physical, &(flags as u16).to_le_bytes());
            cpu.note_memory_changes();
        }
    }

    /// What an instruction within the block got from elsewhere becomes the reference's, where only general registers
    /// and flags show it: the result of RDMSR or CPUID, and undefined flags that PUSHF has stored.
    fn adopt_results(&mut self, block: &[(Place, State)], next: &Step) -> bool {
        let ours = State::of(self.machine.cpu());
        let theirs = comparable(&ours, next);
        if ours == theirs || !same_but_registers(&ours, &theirs) {
            return false;
        }
        let mut why = None;
        for (n, (place, before)) in block.iter().enumerate() {
            why = match place.opcode().0 {
                [0x0f, 0x32] => Some(format!("rdmsr {:#x}, within a block", before.regs[RCX] as u32)),
                [0x0f, 0xa2] => Some("cpuid, within a block".into()),
                [0x9c, _] if hidden_by(undefined_after(&block[..n]), &ours, &theirs) => {
                    Some("undefined flags by pushf".into())
                }
                _ => continue,
            };
        }
        let Some(why) = why else { return false };
        *self.counts.taken.entry(why).or_default() += 1;
        let cpu = self.machine.cpu_mut();
        cpu.regs[..16].copy_from_slice(&theirs.regs);
        cpu.set_flags(theirs.flags);
        true
    }
}

/// The leaf and subleaf whose answer CPUID gives: the highest basic leaf's for one beyond the last of its range. SDM
/// vol. 2, "CPUID".
fn answering(answers: &Answers, leaf: u32, subleaf: u32) -> (u32, u32) {
    let last = |range: u32| answers.get(&(range, 0)).map_or(0, |[last, ..]| *last);
    let range = match leaf {
        0x4000_0000..0x8000_0000 => 0x4000_0000,
        0x8000_0000.. => 0x8000_0000,
        _ => 0,
    };
    let leaf = if leaf > last(range) { last(0) } else { leaf };
    (leaf, if WITH_SUBLEAVES.contains(&leaf) { subleaf } else { 0 })
}

/// Bytes that XSAVE takes with these components: SDM vol. 1, "Standard Format of XSAVE Area".
fn area_size(answers: &Answers, components: u64) -> u32 {
    const LEGACY_AND_HEADER: u32 = 576;
    let end = |n: u32| answers.get(&(0xd, n)).map_or(0, |[size, offset, ..]| size + offset);
    (2..32).filter(|n| components >> n & 1 != 0).map(end).fold(LEGACY_AND_HEADER, u32::max)
}

/// Does QEMU end a block behind such an instruction, although it is no branch?
fn ends_block(insn: &Instruction) -> bool {
    insn.is_privileged()
        || is_repeated(insn)
        || matches!(
            insn.op0_register(),
            Register::SS | Register::DS | Register::ES | Register::FS | Register::GS
        )
        || matches!(
            insn.mnemonic(),
            M::In
                | M::Out
                | M::Insb
                | M::Insw
                | M::Insd
                | M::Outsb
                | M::Outsw
                | M::Outsd
                | M::Sti
                | M::Popf
                | M::Popfd
                | M::Popfq
                | M::Rdtsc
                | M::Rdtscp
                | M::Rdrand
                | M::Rdseed
                | M::Xsetbv
                | M::Xrstor
                | M::Fxrstor
                | M::Pause
        )
}

fn is_repeated(insn: &Instruction) -> bool {
    insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix())
}

/// Does the next branch behind here, in this page, lead here?
fn comes_back(cpu: &Cpu) -> bool {
    let rip = cpu.regs[RIP];
    let linear = cpu.seg[CS].base.wrapping_add(rip) & cpu.linear_mask;
    let mut bytes = vec![0; (PAGE_SIZE - linear % PAGE_SIZE) as usize];
    let length = cpu.peek_linear(linear, &mut bytes);
    let mut decoder = Decoder::with_ip(cpu.code_size(), &bytes[..length], rip, DecoderOptions::NONE);
    decoder.iter().find(|insn| insn.flow_control() != FlowControl::Next).is_some_and(|insn| {
        matches!(insn.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
            && insn.near_branch_target() == rip
    })
}

/// Differ two states in no more than general registers and flags?
fn same_but_registers(ours: &State, theirs: &State) -> bool {
    let mut other = theirs.clone();
    (other.regs, other.flags) = (ours.regs, ours.flags);
    other == *ours
}

/// Differ general registers in these bits only?
fn hidden_by(bits: u64, ours: &State, theirs: &State) -> bool {
    ours.regs.iter().zip(theirs.regs).all(|(ours, theirs)| (ours ^ theirs) & !bits == 0)
}

/// Flags that are undefined behind a block, of which each instruction stands with the state before it.
fn undefined_after(block: &[(Place, State)]) -> u64 {
    flags_after(block, undefined_flags)
}

/// Flags that QEMU has wrong behind a block.
fn stale_after(block: &[(Place, State)]) -> u64 {
    flags_after(block, |insn, _| {
        let stale = block.len() > 1 && matches!(insn.mnemonic(), M::Cmpxchg8b | M::Cmpxchg16b);
        if stale { eflags::OSZAPC & !eflags::ZF } else { 0 }
    })
}

/// Flags that instructions of a block leave in doubt, by `of` (with CL before each), and that none behind them writes.
fn flags_after(block: &[(Place, State)], of: impl Fn(&Instruction, u8) -> u64) -> u64 {
    block.iter().fold(0, |undefined, (place, before)| {
        let insn = place.instruction();
        let new = of(&insn, before.regs[RCX] as u8);
        let shifts = matches!(
            insn.mnemonic(),
            M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr | M::Shld | M::Shrd
        );
        // A shift by zero leaves all as they are.
        let written = if shifts && new == 0 { 0 } else { flags_of(insn.rflags_modified()) };
        undefined & !written | new & eflags::OSZAPC
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xsave_area_ends_with_its_last_component() {
        let answers = [((0xd, 2), [256, 576, 0, 0]), ((0xd, 9), [8, 2688, 0, 0])].into();
        assert_eq!([3, 7, 0x207].map(|components| area_size(&answers, components)), [576, 832, 2696]);
    }

    #[test]
    fn cpuid_beyond_its_range_answers_as_the_highest_basic_leaf() {
        let answers = Answers::from([
            ((0, 0), [0xd, 0, 0, 0]),
            ((0x4000_0000, 0), [0x4000_0001, 0, 0, 0]),
            ((0x8000_0000, 0), [0x8000_000a, 0, 0, 0]),
        ]);
        let asked = |leaf| answering(&answers, leaf, 3);
        assert_eq!([asked(1), asked(7), asked(0xd)], [(1, 0), (7, 3), (0xd, 3)]);
        assert_eq!([asked(0x4000_0001), asked(0x8000_000a)], [(0x4000_0001, 0), (0x8000_000a, 0)]);
        assert_eq!([asked(0x15), asked(0x4000_0100), asked(0x8000_001d)], [(0xd, 3); 3]);
    }

    /// Debian's kernel has a loop right behind a REP STOSQ.
    #[test]
    fn a_repeated_string_instruction_ends_a_block() {
        let ends = |code: &[u8]| ends_block(&Decoder::new(64, code, DecoderOptions::NONE).decode());
        assert!(ends(&[0xf3, 0x48, 0xab]) && ends(&[0xf2, 0xae]) && ends(&[0xf3, 0x6c]));
        assert!(!ends(&[0x48, 0xab]) && !ends(&[0xf3, 0x0f, 0x10, 0x00]));
    }
}
