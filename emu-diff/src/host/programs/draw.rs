//! Random programs whose result no two processors may see differently.
//!
//! What the manual leaves undefined would go on into other instructions. So flags get a value before anybody can look
//! at them, and instructions are left out whose results differ: approximations, the last place of transcendental
//! functions, what a kernel may change.

use emu_core::cpu::eflags;
use iced_x86::{Code, Decoder, Instruction, InstructionInfoFactory, Mnemonic as M, OpKind};

use super::fpu::State;
use super::{CONTROL, Case, DATA_PAGES, MOST, NOP, POINTERS, STACK, Slot};
use crate::fuzz::cases::{encoding, number};
use crate::fuzz::places::{CODE, DATA, PAGE};
use crate::fuzz::program::{self, Program, SLOT, fits};
use crate::host::silicon::CODE64;
use crate::host::{exceptions, vendors};
use crate::random::Random;

/// The longest instruction: programs change the byte behind it.
const LONGEST: usize = 12;

/// Draws programs.
pub struct Draw {
    /// Forms when all exceptions of floating point are masked, and those when they need not be; of the x87 unit and
    /// MMX in the second places.
    codes: [[Vec<Code>; 2]; 2],
    factory: InstructionInfoFactory,
    widths: &'static [u32],
}

impl Default for Draw {
    fn default() -> Self {
        Self::of(&[64, 32])
    }
}

impl Draw {
    /// Draws programs of code of these widths.
    pub fn of(widths: &'static [u32]) -> Self {
        let of = |codes: Vec<Code>, masked: bool| -> Vec<Code> {
            codes.into_iter().filter(|&code| suits(code) && (masked || !differs_unmasked(code))).collect()
        };
        let codes =
            [true, false].map(|masked| [program::codes(), program::x87_codes()].map(|all| of(all, masked)));
        Self { codes, factory: InstructionInfoFactory::new(), widths }
    }
}

/// Transcendental x87 functions: no two processors agree in the last place.
fn is_transcendental(m: M) -> bool {
    matches!(m, M::Fsin | M::Fcos | M::Fsincos | M::Fptan | M::Fpatan | M::F2xm1 | M::Fyl2x | M::Fyl2xp1)
}

fn suits(code: Code) -> bool {
    let m = code.mnemonic();
    let of_vectors = matches!(m, M::Vzeroall | M::Vzeroupper | M::Vstmxcsr);
    let info = code.op_code();
    let words = info.operand_size() == 16;
    if exceptions::is_left_out(code) && !of_vectors || is_transcendental(m) {
        return false;
    }
    match m {
        // Every processor has its own table.
        M::Rcpss | M::Rcpps | M::Rsqrtss | M::Rsqrtps => false,
        M::Vrcpss | M::Vrcpps | M::Vrsqrtss | M::Vrsqrtps => false,
        // RDI is no pointer, and with a mask of zeros they may fault or not. SDM 2B, "MASKMOVDQU".
        M::Maskmovq | M::Maskmovdqu | M::Vmaskmovdqu => false,
        // They tell the pointers, which the host's kernel may lose.
        M::Fnstenv | M::Fnsave | M::Fstenv | M::Fsave => false,
        // Counts above 16 are undefined, and AMD reads more of MOVSXD's operand.
        M::Shld | M::Shrd | M::Movsxd => !words,
        // `exceptions::differs_on_amd` says where these differ.
        M::Arpl => false,
        _ => true,
    }
}

/// Intel and AMD leave other condition codes when these raise what is not masked, or enter MMX state.
fn differs_unmasked(code: Code) -> bool {
    use M::{
        Fcom, Fcomi, Fcomip, Fcomp, Fcompp, Ficom, Ficomp, Ftst, Fucom, Fucomi, Fucomip, Fucomp, Fucompp,
    };
    matches!(
        code.mnemonic(),
        Fcom | Fcomp
            | Fcompp
            | Fucom
            | Fucomp
            | Fucompp
            | Ficom
            | Ficomp
            | Ftst
            | Fcomi
            | Fcomip
            | Fucomi
            | Fucomip
            | M::Cvtpi2ps
            | M::Cvtps2pi
            | M::Cvttps2pi
            | M::Cvtpi2pd
            | M::Cvtpd2pi
            | M::Cvttpd2pi
    )
}

/// May it stand in a program, in which alignment may be checked?
fn stays(insn: &Instruction, checked: bool) -> bool {
    // From memory Intel's manual has it enter MMX state, AMD's processors do not.
    let enters = insn.mnemonic() == M::Cvtpi2ps && insn.op1_kind() == OpKind::Memory;
    // AMD's processors check the alignment of whole vectors, Intel's that of up to 8 bytes. SDM 2, "Type 4 Class
    // Exception Conditions".
    let large = checked && insn.memory_size().size() > 8;
    !enters && !large
}

/// A lane of a vector or of data: whole numbers, and numbers that floating point can do something with.
fn lane(random: &mut Random) -> u64 {
    let sign_fraction = random.word() & !(0x7ff << 52);
    let single = |random: &mut Random| {
        let word = random.word() as u32;
        u64::from(word & 0x807f_ffff | (119 + (word >> 8 & 15)) << 23)
    };
    match random.below(6) {
        0 => sign_fraction | (1015 + random.below(16)) << 52,
        1 => (random.below(2000) as f64 - 1000.0).to_bits(),
        2 => single(random) | single(random) << 32,
        _ => number(random),
    }
}

/// An x87 register.
fn register(random: &mut Random) -> [u8; 10] {
    let mut bytes = [0; 10];
    let (mut fraction, exponent) = match random.below(8) {
        0 => (number(random), random.word() as u16),
        1 => (random.below(1000) << 50, 0x3fff + random.below(20) as u16),
        2 => (random.word(), [0, 1, 0x7ffe, 0x7fff][random.below(4) as usize]),
        3 => (number(random), 0xffff),
        _ => (random.word() << random.below(64), 0x3ff0 + random.below(32) as u16),
    };
    if random.below(16) != 0 && exponent & 0x7fff != 0 {
        fraction |= 1 << 63;
    }
    bytes[..8].copy_from_slice(&fraction.to_le_bytes());
    bytes[8..].copy_from_slice(&(exponent ^ (random.word() as u16 & 0x8000)).to_le_bytes());
    bytes
}

/// A control word of the x87 unit.
fn control(masked: bool, random: &mut Random) -> u16 {
    let mask = if masked { 0x3f } else { random.word() as u16 | random.word() as u16 };
    0x40 | mask & 0x3f | if random.below(2) == 0 { 0x300 } else { random.word() as u16 & 0xf00 }
}

/// MXCSR, mostly without flags.
fn mxcsr(masked: bool, random: &mut Random) -> u32 {
    let mask = if masked { 0x1f80 } else { (random.word() | random.word()) as u32 & 0x1f80 };
    let rest = if random.below(2) == 0 { 0 } else { random.word() as u32 & 0xe07f };
    mask | rest
}

fn fpu(masked: bool, random: &mut Random) -> State {
    let control = control(masked, random);
    let mut status = random.word() as u16 & 0x7f7f;
    if random.below(16) != 0 {
        status &= control | !0x3f;
    } else if status & !control & 0x3f != 0 {
        status |= 0x8080;
    }
    State {
        control,
        status,
        valid: [random.word() as u8, 0, 0xff, 0xff][random.below(4) as usize],
        st: std::array::from_fn(|_| register(random)),
        mxcsr: mxcsr(masked, random),
        vectors: std::array::from_fn(|_| std::array::from_fn(|_| lane(random))),
    }
}

/// RBX, RSI and R13 point to data, now and then to where it ends.
fn registers(bits: u32, random: &mut Random) -> [u64; 16] {
    let mut regs = program::registers(bits, random);
    let page = PAGE as u64;
    for n in [3, 6, 13] {
        if random.below(8) == 0 {
            // The start of the data, of what is only read, of nothing.
            regs[n] = DATA + page * [0, 2, 3][random.below(3) as usize] + random.below(64) - 32;
        }
    }
    regs[4] = STACK + page + 16 * random.below(32);
    if random.below(8) == 0 {
        regs[4] += random.below(16);
    }
    if bits == 32 {
        regs[8..].fill(0);
    }
    regs
}

/// Flags in a register image or in EFLAGS: the arithmetic ones, now and then DF, and AC where alignment may be checked.
fn flags(checked: bool, random: &mut Random) -> u64 {
    let direction = if random.below(8) == 0 { eflags::DF } else { 0 };
    let alignment = if checked && random.below(2) == 0 { eflags::AC } else { 0 };
    random.word() & eflags::OSZAPC | direction | alignment
}

/// Of which kind a program is.
#[derive(Clone, Copy)]
struct Kind {
    bits: u32,
    /// All exceptions of floating point are masked.
    masked: bool,
    /// Alignment may be checked.
    checked: bool,
}

/// What only programs have: flags from the stack, floating-point controls, faults.
fn special(kind: Kind, random: &mut Random) -> Vec<u8> {
    let Kind { bits, masked, checked } = kind;
    let at = 16 * random.below(7) as u8;
    let mut bytes = Vec::new();
    match random.below(12) {
        0 | 1 => {
            bytes.push(0x68); // push imm32; popf
            bytes.extend((flags(checked, random) as u32).to_le_bytes());
            bytes.push(0x9d);
        }
        2 | 3 => {
            bytes.extend([0x66, 0xc7, 0x43, at]); // mov word [rbx + at], control; fldcw [rbx + at]
            bytes.extend(control(masked, random).to_le_bytes());
            bytes.extend([0xd9, 0x6b, at]);
        }
        4 | 5 => {
            bytes.extend([0xc7, 0x43, at]); // mov dword [rbx + at], mxcsr; ldmxcsr [rbx + at]
            bytes.extend(mxcsr(masked, random).to_le_bytes());
            bytes.extend([0x0f, 0xae, 0x53, at]);
        }
        6 => bytes.extend([0xdb, 0xe3]),       // fninit
        7 => bytes.extend([0x9b, 0xdf, 0xe0]), // fstsw ax
        8 => bytes.extend([0xdb, 0xe2]),       // fnclex
        9 => {
            // FLD and FSTP where nothing is mapped
            bytes.extend([[0xd9, 0x04], [0xdd, 0x1c]][random.below(2) as usize]);
            bytes.extend([0x25, 0, 0, 0, 0x40]);
        }
        10 => {
            // UD2, HLT, CLI, MOV RAX, CR0, CLTS, RDMSR, IN AL, DX, LGDT [RBX], DIV of nothing, INT 3Dh
            let all: [&[u8]; 10] = [
                &[0x0f, 0x0b],
                &[0xf4],
                &[0xfa],
                &[0x0f, 0x20, 0xc0],
                &[0x0f, 0x06],
                &[0x0f, 0x32],
                &[0xec],
                &[0x0f, 0x01, 0x13],
                &[0x31, 0xc9, 0xf7, 0xf1],
                &[0xcd, 0x1d],
            ];
            bytes.extend(all[random.below(10) as usize]);
        }
        _ if bits == 32 => bytes.push(0xce),   // into
        _ => bytes.extend([0x48, 0x89, 0xdf]), // mov rdi, rbx
    }
    bytes
}

/// Code that gives values to flags: all of them by a comparison, or those that are undefined become 0 and the others
/// stay.
fn define(undefined: u64, random: &mut Random) -> Vec<u8> {
    if random.below(2) == 0 {
        return vec![0x39, 0xc0 | random.below(64) as u8]; // cmp of two registers
    }
    let mut bytes = vec![0x9f]; // lahf
    // seto al, or mov al, 0
    bytes.extend(if undefined & 0x800 == 0 { &[0x0f, 0x90, 0xc0][..] } else { &[0xb0, 0] });
    // and ah, the others; add al, 7Fh; sahf
    bytes.extend([0x80, 0xe4, !(undefined as u8), 0x04, 0x7f, 0x9e]);
    bytes
}

impl Draw {
    /// The program of a seed.
    pub fn case(&mut self, seed: u64) -> Case {
        // Seeds that follow each other must not give one sequence that begins at different places.
        let mut random = Random::new(Random::new(seed).word());
        let random = &mut random;
        let bits = self.widths[random.below(self.widths.len() as u64) as usize];
        let kind = Kind { bits, masked: random.below(3) != 0, checked: random.below(6) == 0 };
        let x87 = random.below(4) == 0;
        // The end of the first page lies in the middle of most, at any byte of a slot.
        let origin = CODE + PAGE as u64 - random.below(1000);
        let length = 4 + random.below(40) as usize;
        let codes = &self.codes[usize::from(!kind.masked)][usize::from(x87)];
        let program = Program::draw_at(origin, bits, length, codes, random);
        let mut slots = Vec::new();
        for bytes in program.slots {
            let bytes = if random.below(8) == 0 { special(kind, random) } else { bytes };
            slots.extend(slot(kind, bytes, random));
        }
        let rounds = 1 + random.below(1 + (MOST / slots.len()) as u64) as u32;
        let mut case = Case {
            bits,
            origin,
            slots,
            annexes: Vec::new(),
            rounds,
            regs: registers(bits, random),
            flags: 0x202 | flags(kind.checked, random),
            fpu: fpu(kind.masked, random),
            data: (0..DATA_PAGES * PAGE / 8).flat_map(|_| lane(random).to_le_bytes()).collect(),
        };
        if random.below(3) == 0 {
            for _ in 0..1 + random.below(3) {
                visit(
                    &mut case,
                    kind.checked,
                    &self.codes[usize::from(!kind.masked)][0],
                    &mut self.factory,
                    random,
                );
            }
        }
        case
    }
}

/// The slots for one that was drawn.
fn slot(kind: Kind, mut bytes: Vec<u8>, random: &mut Random) -> Vec<Slot> {
    let insn = Decoder::with_ip(kind.bits, &bytes, CODE, 0).decode();
    if insn.len() > LONGEST || !stays(&insn, kind.checked) {
        bytes = vec![NOP];
    }
    if matches!(insn.mnemonic(), M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip) {
        // Intel clears C1, AMD leaves it: FXAM gives it a value.
        bytes.extend([0xd9, 0xe5]);
    }
    let mut slots = vec![Slot { bytes, defines: false }];
    let undefined = vendors::mask(insn.mnemonic());
    if undefined != 0 {
        slots.push(Slot { bytes: define(undefined, random), defines: true });
    }
    slots
}

/// Has one slot go to code of the other size, with one instruction there, and come back.
fn visit(
    case: &mut Case,
    checked: bool,
    codes: &[Code],
    factory: &mut InstructionInfoFactory,
    random: &mut Random,
) {
    let n = random.below(case.slots.len() as u64) as usize;
    let is_taken =
        |n: usize| case.slots.get(n).is_some_and(|slot| slot.defines || case.annex_of(&slot.bytes).is_some());
    if is_taken(n) || is_taken(n + 1) {
        return;
    }
    let k = case.annexes.len();
    let (bits, at) = (96 - case.bits, case.annex(k));
    let code = codes[random.below(codes.len() as u64) as usize];
    let Some(e) = encoding(code, bits, random) else { return };
    let insn = Decoder::with_ip(bits, &e.bytes, at, 0).decode();
    let differs = vendors::mask(insn.mnemonic()) != 0
        || matches!(insn.mnemonic(), M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip);
    if differs || e.bytes.len() > LONGEST || !stays(&insn, checked) || !fits(&insn, factory) {
        return;
    }
    // By a pointer from 64-bit code, with an address of its own from 32-bit code.
    let mut by_pointer = vec![0xff, 0x2c, 0x25];
    by_pointer.extend(((CONTROL + POINTERS) as u32 + 16 * k as u32).to_le_bytes());
    let direct = |to: u64| [&[0xea], &(to as u32).to_le_bytes()[..], &CODE64.to_le_bytes()[..]].concat();
    let back = case.origin + ((n + 2) * SLOT) as u64;
    let (there, back) = if case.bits == 64 { (by_pointer, direct(back)) } else { (direct(at), by_pointer) };
    case.annexes.push([e.bytes, back]);
    case.slots[n].bytes = there;
}
