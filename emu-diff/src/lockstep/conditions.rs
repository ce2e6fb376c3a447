//! What the list of known differences can ask about an instruction that differs.

use emu_core::cpu::control::{CR0_AM, CR4_PVI, CR4_SMAP, CR4_VME};
use emu_core::cpu::{CS, Cpu, RBP, RSP, Rights, SS, TR, eflags};
use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic as M, OpAccess, OpKind, Register};

use super::step::Step;
use super::target;
use crate::listing::Place;
use crate::state::State;

/// What holds of an instruction that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Mode before it.
    pub mode: &'static str,
    /// Bits of its first operand; 0 without one.
    pub bits: usize,
    /// The exceptions that we and QEMU delivered.
    pub raised: [Option<u8>; 2],
    /// One of the machines switched tasks.
    pub task: bool,
    /// Names of [`NAMES`] that hold.
    pub holds: Vec<&'static str>,
}

/// The conditions with a name, and what they say of the instruction.
pub const NAMES: [(&str, &str); 25] = [
    ("open", "nothing lies behind a memory operand, and the log shows no read of a chip"),
    ("nowhere", "nothing lies where the instruction is fetched, so its bytes are ones"),
    ("segment", "a segment does not permit the access to a memory operand"),
    ("room", "SS has no room for the frame of an exception"),
    ("unaligned", "a memory operand of 16 bytes or more is not aligned to 16"),
    ("alignment", "alignment is checked: CPL 3, CR0.AM and EFLAGS.AC"),
    ("crosses", "a memory operand crosses a page"),
    ("modifies", "a memory operand is read and written"),
    ("noncanonical", "RSP, or the RBP of ENTER, is not canonical, or within 256 bytes of where it is not"),
    ("delivery", "QEMU delivered an interrupt or exception"),
    ("reserved", "a page fault whose error code has RSVD without P on QEMU"),
    ("gate", "an error code that names a gate of the IDT by twice its vector on QEMU"),
    ("smap", "user code with CR4.SMAP set"),
    ("transfer", "it may load CS, or is an exception that does"),
    ("beyond", "it goes to an offset beyond the limit of its code segment"),
    ("vm", "an IRETD pops EFLAGS with VM set where that does not lead to virtual-8086 mode"),
    ("wraps", "it ends at or crosses the end of the first 64 KiB of a 16-bit code segment"),
    ("task", "one of the machines switched tasks"),
    ("virtual", "VIF stands in for IF: virtual-8086 mode with CR4.VME, or CPL 3 with CR4.PVI"),
    ("legacy-type", "LAR or LSL of a system descriptor that does not exist in IA-32e mode"),
    ("null", "its operand is a null selector"),
    ("control", "it moves to or from a control register"),
    ("debug", "it moves to or from a debug register"),
    ("lock", "it has the LOCK prefix"),
    ("small", "it has an operand-size prefix"),
];

/// Name of the mode of a processor in this state.
pub fn mode(state: &State) -> &'static str {
    if state.cr0 & 1 == 0 {
        "real"
    } else if state.flags & eflags::VM != 0 {
        "v86"
    } else if state.efer & 1 << 10 != 0 {
        "long"
    } else {
        "protected"
    }
}

/// Everything about one instruction on both machines.
pub struct Happened<'a> {
    /// The instruction.
    pub place: &'a Place,
    /// State before it.
    pub before: &'a State,
    /// What happened on QEMU's side.
    pub step: &'a Step,
    /// Our state after it and QEMU's.
    pub after: [&'a State; 2],
    /// The exceptions that we and QEMU delivered.
    pub raised: [Option<u8>; 2],
    /// Their error codes, where they differ.
    pub codes: Option<(u64, u64)>,
    /// Its memory operands.
    pub memory: &'a [(u64, Vec<u8>)],
}

impl Happened<'_> {
    /// What holds of it. `cpu` is ours after the instruction.
    pub fn conditions(&self, cpu: &Cpu) -> Conditions {
        let insn = self.place.instruction();
        let task = self.after.iter().any(|after| after.seg[TR].selector != self.before.seg[TR].selector);
        let mut conditions = Conditions {
            mode: mode(self.before),
            bits: operand_bits(&insn),
            raised: self.raised,
            task,
            holds: Vec::new(),
        };
        for (name, _) in NAMES {
            if self.holds(name, &insn, task, cpu) {
                conditions.holds.push(name);
            }
        }
        conditions
    }

    fn holds(&self, name: &str, insn: &Instruction, task: bool, cpu: &Cpu) -> bool {
        let (before, step) = (self.before, self.step);
        let bytes = self.place.bytes();
        let registers =
            |wanted: fn(Register) -> bool| (0..insn.op_count()).map(|n| insn.op_register(n)).any(wanted);
        match name {
            "open" => self.memory.iter().any(|(_, bytes)| bytes.is_empty()) && step.reads.is_empty(),
            "nowhere" => bytes.iter().all(|&byte| byte == 0xff),
            "segment" => violates_segment(insn, before),
            "room" => !has_room(before),
            "unaligned" => self.memory.iter().any(|(at, bytes)| at % 16 != 0 && bytes.len() >= 16),
            "alignment" => before.cpl == 3 && before.cr0 & CR0_AM != 0 && before.flags & eflags::AC != 0,
            "crosses" => {
                let size = insn.memory_size().size().max(1) as u64;
                self.memory.iter().any(|(at, _)| at % 0x1000 + size > 0x1000)
            }
            "modifies" => modifies_memory(insn),
            "noncanonical" => {
                let enter = insn.mnemonic() == M::Enter;
                let near = |at: u64| [at.wrapping_sub(256), at, at.wrapping_add(256)];
                let outside = |n: usize| near(before.regs[n]).iter().any(|&at| !cpu.canonical(at));
                outside(RSP) || enter && outside(RBP)
            }
            "delivery" => !step.exceptions.is_empty() || !step.interrupts.is_empty(),
            "reserved" => self.codes.is_some_and(|(_, theirs)| theirs & 9 == 8),
            // Bits 1 and 0, IDT and EXT, are as they should be.
            "gate" => self.codes.is_some_and(|(ours, theirs)| {
                ours & 7 == theirs & 7 && ours & 2 != 0 && theirs >> 3 == 2 * (ours >> 3)
            }),
            "smap" => before.cpl == 3 && before.cr4 & CR4_SMAP != 0,
            "transfer" => transfers(insn),
            "beyond" => target::beyond_limit(cpu, insn, before, self.memory),
            "vm" => target::pops_vm_in_vain(cpu, insn, before),
            "wraps" => {
                let end = self.place.rip + insn.len().max(1) as u64;
                self.place.bits == 16 && self.place.rip <= 0xffff && end > 0xffff
            }
            "task" => task,
            "virtual" => match mode(before) {
                "v86" => before.cr4 & CR4_VME != 0,
                "real" => false,
                _ => before.cpl == 3 && before.cr4 & CR4_PVI != 0,
            },
            "legacy-type" => {
                let raw = target::selector_operand(insn, before, self.memory)
                    .and_then(|selector| target::descriptor(cpu, before, selector));
                raw.is_some_and(|raw| match raw >> 40 & 0x1f {
                    2 => insn.mnemonic() == M::Lar,
                    kind => matches!(kind, 1 | 3..=7),
                })
            }
            "null" => target::selector_operand(insn, before, self.memory).is_some_and(|s| s & 0xfffc == 0),
            // Of control registers that do not exist the decoder makes nothing.
            "control" => registers(|register| register.is_cr()) || bytes_after_prefixes(bytes, &[0x20, 0x22]),
            "debug" => registers(|register| register.is_dr()),
            "lock" => insn.has_lock_prefix() || prefixes(bytes).contains(&0xf0),
            "small" => prefixes(bytes).contains(&0x66),
            _ => false,
        }
    }
}

/// The prefixes that an instruction begins with.
fn prefixes(bytes: &[u8]) -> &[u8] {
    let is_prefix = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    &bytes[..bytes.iter().take_while(|byte| is_prefix(byte)).count()]
}

/// Is it 0Fh and one of these, but for prefixes (REX among them)?
fn bytes_after_prefixes(bytes: &[u8], opcodes: &[u8]) -> bool {
    let rest = &bytes[prefixes(bytes).len()..];
    let rest = if rest.first().is_some_and(|byte| byte & 0xf0 == 0x40) { &rest[1..] } else { rest };
    matches!(rest, [0x0f, opcode, ..] if opcodes.contains(opcode))
}

/// May it load CS?
fn transfers(insn: &Instruction) -> bool {
    matches!(
        insn.mnemonic(),
        M::Retf
            | M::Iret
            | M::Iretd
            | M::Iretq
            | M::Int
            | M::Int1
            | M::Int3
            | M::Into
            | M::Syscall
            | M::Sysret
            | M::Sysretq
            | M::Sysenter
            | M::Sysexit
            | M::Sysexitq
    ) || target::is_far_branch(insn)
}

/// Is there room for an exception's frame below the stack pointer, by SS's limit?
fn has_room(before: &State) -> bool {
    const FRAME: u64 = 36;
    let segment = &before.seg[SS];
    let rights = Rights(segment.rights);
    if mode(before) == "long" && before.seg[CS].rights & 0x2000 != 0 {
        return true;
    }
    let top: u64 = if rights.big() { 0xffff_ffff } else { 0xffff };
    let sp = before.regs[RSP] & top;
    let (first, last) =
        if rights.expand_down() { (u64::from(segment.limit) + 1, top) } else { (0, segment.limit.into()) };
    sp >= first + FRAME && sp - 1 <= last
}

/// Does it read and write a memory operand?
fn modifies_memory(insn: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    factory
        .info(insn)
        .used_memory()
        .iter()
        .any(|memory| matches!(memory.access(), OpAccess::ReadWrite | OpAccess::ReadCondWrite))
}

/// Bits of the first operand; 0 without one.
fn operand_bits(insn: &Instruction) -> usize {
    match insn.op0_kind() {
        _ if insn.op_count() == 0 => 0,
        OpKind::Register => 8 * insn.op0_register().size(),
        _ => 8 * insn.memory_size().size(),
    }
}

pub(super) fn index_mask(kind: OpKind) -> Option<u64> {
    match kind {
        OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Some(0xffff),
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Some(0xffff_ffff),
        OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => Some(u64::MAX),
        _ => None,
    }
}

/// Does a memory operand lie beyond its segment's limit, or its segment not permit the access?
fn violates_segment(insn: &Instruction, before: &State) -> bool {
    let paragraphs = matches!(mode(before), "real" | "v86");
    if mode(before) == "long" && before.seg[CS].rights & 0x2000 != 0 {
        return false;
    }
    let factory = &mut InstructionInfoFactory::new();
    let value = |register: iced_x86::Register, _: usize, _: usize| {
        let bits = 8 * register.size() as u32;
        Some(if register.is_gpr() {
            before.regs[register.full_register().number()] & u64::MAX >> (64 - bits)
        } else {
            0
        })
    };
    factory.info(insn).used_memory().iter().any(|memory| {
        let Some(offset) = memory.virtual_address(0, value) else { return false };
        let segment = &before.seg[memory.segment().number()];
        let rights = Rights(segment.rights);
        let last = offset + memory.memory_size().size().max(1) as u64 - 1;
        let writes = !matches!(memory.access(), OpAccess::Read | OpAccess::CondRead);
        let type_forbids = segment.selector & !3 == 0 || rights.unusable() || !rights.readable();
        let beyond = if rights.expand_down() {
            offset <= u64::from(segment.limit)
        } else {
            last > u64::from(segment.limit)
        };
        beyond || !paragraphs && (type_forbids || writes && !rights.writable())
    })
}

/// Memory operands of an instruction, with what stands there.
pub fn operands(cpu: &Cpu, insn: &Instruction, before: &State) -> Vec<(u64, Vec<u8>)> {
    let value = |register: iced_x86::Register, _: usize, _: usize| {
        Some(if register.is_segment_register() {
            before.seg[register.number()].base
        } else if register.is_gpr() {
            let bits = 8 * register.size() as u32;
            before.regs[register.full_register().number()] & u64::MAX >> (64 - bits)
        } else {
            0
        })
    };
    if matches!(insn.mnemonic(), M::Lea | M::Nop) {
        return Vec::new();
    }
    (0..insn.op_count())
        .filter(|&n| insn.op_kind(n) == OpKind::Memory || index_mask(insn.op_kind(n)).is_some())
        .filter_map(|n| insn.virtual_address(n, 0, value))
        .map(|address| {
            let mut bytes = vec![0; insn.memory_size().size().clamp(1, 64)];
            let known = cpu.peek_linear(address, &mut bytes);
            bytes.truncate(known);
            (address, bytes)
        })
        .collect()
}
