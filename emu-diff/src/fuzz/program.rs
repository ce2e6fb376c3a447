//! Random programs: slots of 16 bytes with one instruction each, run again and again.
//!
//! Three registers point into the data and are never written; the stack pointer moves by pushes and pops only. What
//! happens to fault goes on in the next slot.

use iced_x86::{
    Code, CpuidFeature as F, FlowControl, Instruction, InstructionInfoFactory, Mnemonic as M, OpAccess,
    OpKind, Register,
};

use super::cases::{encoding, number};
use super::places::{CODE, DATA, PAGE, START};
use crate::random::Random;

/// Bytes of a slot.
pub const SLOT: usize = 16;
/// Data pages.
pub const DATA_SIZE: usize = 2 * PAGE;

/// Which instructions are drawn, by feature.
fn wanted(feature: F) -> bool {
    matches!(
        feature,
        F::INTEL8086
            | F::INTEL186
            | F::INTEL286
            | F::INTEL386
            | F::INTEL486
            | F::X64
            | F::CMOV
            | F::CX8
            | F::CMPXCHG16B
            | F::POPCNT
            | F::LZCNT
            | F::BMI1
            | F::BMI2
            | F::ADX
            | F::MOVBE
            | F::SSE
            | F::SSE2
            | F::SSE3
            | F::SSSE3
            | F::SSE4_1
            | F::SSE4_2
            | F::AVX
            | F::AVX2
            | F::FMA
            | F::F16C
            | F::MMX
            | F::FPU
    )
}

/// The forms that programs are made of.
pub fn codes() -> Vec<Code> {
    Code::values()
        .filter(|code| {
            let features = code.cpuid_features();
            !features.is_empty() && features.iter().all(|&f| wanted(f)) && !code.is_privileged_like()
        })
        .collect()
}

/// Those among them that work with the x87 unit.
pub fn x87_codes() -> Vec<Code> {
    let x87 = |feature: &F| matches!(feature, F::FPU | F::FPU287 | F::FPU387 | F::MMX);
    codes().into_iter().filter(|code| code.cpuid_features().iter().any(x87)).collect()
}

trait Privileged {
    fn is_privileged_like(&self) -> bool;
}

impl Privileged for Code {
    fn is_privileged_like(&self) -> bool {
        let info = self.op_code();
        info.is_privileged() || !matches!(self.flow_control(), FlowControl::Next)
    }
}

/// Registers that hold addresses: RBX, RSI, R13 point to data, RSP is the stack.
fn kept(register: Register) -> bool {
    matches!(register.full_register(), Register::RBX | Register::RSI | Register::R13 | Register::RSP)
}

/// Does it keep to the data, the stack and the registers that it may change?
pub fn fits(insn: &Instruction, factory: &mut InstructionInfoFactory) -> bool {
    if matches!(
        insn.mnemonic(),
        M::Popf
            | M::Popfd
            | M::Popfq
            | M::Sti
            | M::Cli
            | M::Hlt
            | M::Pushf
            | M::Pushfq
            | M::Pushfd
            | M::Leave
            | M::Enter
            | M::Popa
            | M::Popad
            | M::Pusha
            | M::Pushad
            | M::Lds
            | M::Les
            | M::Lfs
            | M::Lgs
            | M::Lss
            | M::Ldmxcsr
            | M::Vldmxcsr
            | M::Fxrstor
            | M::Fxrstor64
            | M::In
            | M::Out
            | M::Verr
            | M::Verw
            | M::Sgdt
            | M::Sidt
            | M::Str
            | M::Sldt
            | M::Fldenv
            | M::Frstor
            | M::Fldcw
            | M::Lar
            | M::Lsl
            | M::Cpuid
    ) || insn.is_invalid()
    {
        return false;
    }
    if insn.is_string_instruction() && insn.mnemonic() != M::Lodsb {
        return false;
    }
    let segment = |n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_segment_register();
    if (0..insn.op_count()).any(segment) {
        return false;
    }
    let stack = matches!(insn.mnemonic(), M::Push | M::Pop);
    if stack && insn.op0_kind() == OpKind::Memory {
        return false;
    }
    let info = factory.info(insn);
    let writes_kept = info.used_registers().iter().any(|used| {
        used.register().is_gpr()
            && kept(used.register())
            && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None)
            && !(stack && used.register().full_register() == Register::RSP)
    });
    if writes_kept || stack && insn.op0_kind() == OpKind::Register && kept(insn.op0_register()) {
        return false;
    }
    if (0..insn.op_count()).all(|n| insn.op_kind(n) != OpKind::Memory) {
        return true;
    }
    if insn.is_vsib() || insn.memory_segment() == Register::FS || insn.memory_segment() == Register::GS {
        return false;
    }
    if insn.is_ip_rel_memory_operand()
        || insn.memory_base() == Register::None && insn.memory_index() == Register::None
    {
        let at = insn.memory_displacement64();
        return insn.mnemonic() == M::Lea || (DATA..DATA + PAGE as u64).contains(&at);
    }
    let near = (insn.memory_displacement64() as i64).unsigned_abs() < 0x700
        || (insn.memory_displacement64() as i32).unsigned_abs() < 0x700;
    insn.mnemonic() == M::Lea
        || kept(insn.memory_base())
            && insn.memory_index() == Register::None
            && near
            && insn.memory_base() != Register::RSP
            && insn.memory_base() != Register::ESP
}

/// A program.
#[derive(Clone)]
pub struct Program {
    /// 32 or 64.
    pub bits: u32,
    /// Address of the code.
    pub origin: u64,
    /// One instruction each.
    pub slots: Vec<Vec<u8>>,
}

const NOP: u8 = 0x90;

impl Program {
    /// Draws one.
    pub fn draw(bits: u32, length: usize, codes: &[Code], random: &mut Random) -> Self {
        Self::draw_at(CODE, bits, length, codes, random)
    }

    /// The same with the code at this address.
    pub fn draw_at(origin: u64, bits: u32, length: usize, codes: &[Code], random: &mut Random) -> Self {
        let mut factory = InstructionInfoFactory::new();
        let mut slots = Vec::new();
        while slots.len() < length {
            let at = slots.len();
            if random.below(6) == 0 && at + 1 < length {
                slots.push(special(bits, origin, at, length, random));
                continue;
            }
            let code = codes[random.below(codes.len() as u64) as usize];
            let Some(e) = encoding(code, bits, random) else { continue };
            let mut insn = e.insn;
            let mut bytes = e.bytes;
            if insn.is_ip_rel_memory_operand() {
                // The encoding was made for one place; here is another.
                let mut decoder = iced_x86::Decoder::with_ip(bits, &bytes, START, 0);
                decoder.decode_out(&mut insn);
                let offsets = decoder.get_constant_offsets(&insn);
                let here = origin + ((at + 1) * SLOT) as u64;
                let to = DATA + random.below(PAGE as u64 - 64);
                let distance = to.wrapping_sub(here + bytes.len() as u64) as u32;
                let field = offsets.displacement_offset();
                bytes[field..field + 4].copy_from_slice(&distance.to_le_bytes());
                insn = iced_x86::Decoder::with_ip(bits, &bytes, here, 0).decode();
            }
            if bytes.len() < SLOT && fits(&insn, &mut factory) {
                slots.push(bytes);
            }
        }
        Self { bits, origin, slots }
    }

    /// One that is mostly x87 and MMX instructions, of `codes`.
    pub fn x87(bits: u32, length: usize, codes: &[Code], random: &mut Random) -> Self {
        let mut all = Self::draw(bits, length, codes, random);
        for slot in &mut all.slots {
            if random.below(6) == 0 {
                *slot = x87_state(bits, random);
            }
        }
        all
    }

    /// One of string instructions, and of those that change their direction.
    pub fn strings(bits: u32, length: usize, random: &mut Random) -> Self {
        let slot = |random: &mut Random| match random.below(8) {
            0 => vec![0xfc], // cld
            1 => vec![0xfd], // std
            _ => string(bits, random),
        };
        Self { bits, origin: CODE, slots: (0..length).map(|_| slot(random)).collect() }
    }

    /// The code: a counter, the slots, and back.
    pub fn code(&self) -> Vec<u8> {
        let mut code = vec![NOP; SLOT];
        for slot in &self.slots {
            code.extend(slot);
            code.resize(code.len().next_multiple_of(SLOT), NOP);
        }
        let back = -(code.len() as i32 + 5);
        code.push(0xe9);
        code.extend(back.to_le_bytes());
        code
    }

    /// The same without one slot.
    pub fn without(&self, slot: usize) -> Self {
        let mut less = self.clone();
        less.slots[slot] = vec![NOP];
        less
    }
}

/// Jumps forward, counters in memory, and changes to the program itself.
fn special(bits: u32, origin: u64, at: usize, length: usize, random: &mut Random) -> Vec<u8> {
    let slots = random.below((length - at).min(4) as u64) as usize;
    match random.below(15) {
        12..=14 => string(bits, random),
        0..=5 => {
            // Jcc over some slots.
            let distance = (slots * SLOT + SLOT - 2) as u8;
            vec![0x70 | random.below(16) as u8, distance]
        }
        6 => vec![0xeb, (slots * SLOT + SLOT - 2) as u8],
        7 => {
            // CALL the next slot, which leaves the return address on the stack; POP RDI follows it.
            vec![0xe8, (SLOT - 5) as u8, 0, 0, 0]
        }
        8 => vec![0x5f],
        9 | 10 => {
            // CMP or TEST of registers, for the jumps to have something to look at.
            let modrm = 0xc0 | random.below(64) as u8;
            vec![[0x39, 0x85, 0x38, 0x29, 0x01][random.below(5) as usize], modrm & !0x07 | 1]
        }
        _ => {
            // MOV BYTE [the slot after next], PUSH/POP-free one-byte instruction.
            let to = (origin as usize + (at + 1 + 1 + slots) * SLOT + 12) as u32;
            let insn = [0x90u8, 0xf8, 0xf9, 0xf5, 0x99, 0x98][random.below(6) as usize];
            let mut bytes = vec![0xc6, 0x04, 0x25];
            if bits == 32 {
                bytes = vec![0xc6, 0x05];
            }
            bytes.extend(to.to_le_bytes());
            bytes.push(insn);
            bytes
        }
    }
}

/// Looks at the x87 state, or changes how the unit works.
fn x87_state(bits: u32, random: &mut Random) -> Vec<u8> {
    let at = 16 * random.below(7) as u8;
    match random.below(10) {
        // FLD and FSTP where nothing is mapped: in 64-bit code a page fault, which leaves FDP alone.
        8 | 9 => {
            let mut bytes = [[0xd9, 0x04], [0xdd, 0x1c]][random.below(2) as usize].to_vec();
            bytes.extend([0x25, 0, 0, 0, 0x40]);
            if bits == 32 {
                bytes = vec![0xd9, 0x05, 0, 0, 0, 0x40];
            }
            bytes
        }
        0 => vec![0x0f, 0xae, 0x43, at], // fxsave [rbx + at]
        1 if bits == 64 => vec![0x48, 0x0f, 0xae, 0x43, at],
        1 | 2 => vec![0xd9, 0x73, at],                 // fnstenv [rbx + at]
        3 => vec![0xdb, 0xe3],                         // fninit
        4 => vec![0xd9, 0xe8, 0xd9, 0xeb, 0xd8, 0xd9], // fld1; fldpi; fcomp st1
        5 => vec![0x9b, 0xdf, 0xe0],                   // fstsw ax
        _ => {
            // MOV WORD [RBX + at], control word; FLDCW. Mostly with all exceptions masked.
            let mut control = 0x3f | random.word() as u16 & 0x1f40;
            match random.below(16) {
                0 => control = random.word() as u16,
                1 => control &= !(1 << random.below(6)),
                _ => {}
            }
            let [low, high] = control.to_le_bytes();
            vec![0x66, 0xc7, 0x43, at, low, high, 0xd9, 0x6b, at]
        }
    }
}

/// A string instruction, mostly repeated, on the data: RSI and RDI are set first, the count too.
fn string(bits: u32, random: &mut Random) -> Vec<u8> {
    let wide: &[u8] = if bits == 64 { &[0x48] } else { &[] };
    let mut bytes = wide.to_vec();
    bytes.extend([0x89, 0xde]); // mov rsi, rbx
    bytes.extend(wide);
    bytes.extend([0x8d, 0x7b, [0, 1, 4, 12, 0xf8, 0x40, random.word() as u8][random.below(7) as usize]]); // lea rdi, [rbx + n]
    bytes.extend([0x6a, random.below(128) as u8, 0x59]); // push n; pop rcx
    if random.below(8) != 0 {
        bytes.push([0xf3, 0xf2][random.below(2) as usize]);
    }
    let operation = [0xa4u8, 0xa6, 0xaa, 0xac, 0xae][random.below(5) as usize];
    match random.below(4) {
        0 => bytes.push(operation),
        1 => bytes.extend([0x66, operation | 1]),
        2 => bytes.push(operation | 1),
        _ => {
            bytes.extend(wide);
            bytes.push(operation | 1);
        }
    }
    bytes
}

/// Random registers that suit every program.
pub fn registers(bits: u32, random: &mut Random) -> [u64; 16] {
    let mut regs = std::array::from_fn(|_| number(random));
    let middle = |random: &mut Random| {
        let edge = random.below(4) == 0;
        DATA + if edge { PAGE as u64 - 64 + random.below(64) } else { 0x800 + 16 * random.below(16) }
    };
    regs[3] = middle(random);
    regs[6] = middle(random);
    regs[13] = middle(random);
    regs[4] = 0x60_0000;
    if bits == 32 {
        regs[..8].iter_mut().for_each(|r| *r &= 0xffff_ffff);
        regs[8..].fill(0);
    }
    regs
}

/// Random data.
pub fn data(size: usize, random: &mut Random) -> Vec<u8> {
    (0..size / 8).flat_map(|_| number(random).to_le_bytes()).collect()
}
