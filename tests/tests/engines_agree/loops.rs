//! Random loops of one block that walk through memory: what the translator's fast copies of loops, and its checks for
//! several accesses at once, are made for. Strides, distances and starts lie so that pages end in all places.

use emu_tests::random::Random;
use iced_x86::{Code as C, Encoder, Instruction, MemoryOperand, Register as R};

use super::host::{CODE, DATA};

/// Bytes of data that pointers start in.
const SPREAD: u64 = 0x5000;

/// A loop in a loop: the outer one sets the pointers again.
#[derive(Clone)]
pub struct Walk {
    pub bits: u32,
    setup: Vec<Instruction>,
    pub body: Vec<Instruction>,
    end: Vec<Instruction>,
    /// Where the loop is, if not behind the setup.
    body_at: Option<usize>,
}

/// Registers by width.
struct Names {
    wide: bool,
}

impl Names {
    fn pointer(&self, random: &mut Random) -> R {
        let of64 = [R::RBX, R::RSI, R::RDI, R::R13, R::R9];
        let of32 = [R::EBX, R::ESI, R::EDI, R::EBX, R::ESI];
        (if self.wide { of64 } else { of32 })[random.below(5) as usize]
    }

    fn index(&self) -> R {
        if self.wide { R::RCX } else { R::ECX }
    }

    fn count(&self) -> R {
        if self.wide { R::RDX } else { R::EDX }
    }

    fn value(&self, random: &mut Random) -> R {
        let of64 = [R::RAX, R::R8, R::R12, R::R14, R::RBP];
        let of32 = [R::EAX, R::EBP, R::EAX, R::EBP, R::EAX];
        (if self.wide { of64 } else { of32 })[random.below(5) as usize]
    }
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}

fn operand(names: &Names, random: &mut Random) -> MemoryOperand {
    let index = if random.below(4) == 0 { names.index() } else { R::None };
    let scale = if index == R::None { 1 } else { pick(random, &[1, 2, 4, 8]) };
    let displacement = match random.below(4) {
        0 => 0,
        1 => pick(random, &[-0x100, 0x40, 0x180, 0x3f0]),
        _ => 8 * random.below(16) as i64 - 64,
    };
    MemoryOperand::new(
        names.pointer(random),
        index,
        scale,
        displacement,
        if names.wide { 8 } else { 4 },
        false,
        R::None,
    )
}

/// An instruction that works on memory or on the flags.
fn step(names: &Names, random: &mut Random) -> Instruction {
    let (memory, value) = (operand(names, random), names.value(random));
    let x = R::XMM0 + random.below(4) as u32;
    let by = |wide, narrow| if names.wide { wide } else { narrow };
    match random.below(32) {
        19 | 20 => Instruction::with1(
            pick(random, &[C::Fld_m64fp, C::Fld_m32fp, C::Fld_m80fp, C::Fild_m32int]),
            memory,
        ),
        21 | 22 => Instruction::with1(
            pick(random, &[C::Fstp_m64fp, C::Fstp_m32fp, C::Fstp_m80fp, C::Fistp_m64int]),
            memory,
        ),
        23 | 24 => Instruction::with1(
            pick(random, &[C::Fadd_m64fp, C::Fmul_m32fp, C::Fdivr_m64fp, C::Ficom_m16int]),
            memory,
        ),
        25 => Instruction::with2(C::Faddp_sti_st0, R::ST1, R::ST0),
        26 => Instruction::with2(C::Fcomi_st0_sti, R::ST0, R::ST1),
        27 => Instruction::with2(C::Fxch_st0_sti, R::ST0, R::ST2),
        28 => {
            Instruction::with1(pick(random, &[C::Fnstcw_m2byte, C::Fnstsw_m2byte, C::Fldcw_m2byte]), memory)
        }
        29 => Ok(Instruction::with(C::Fldpi)),
        0 | 1 => Instruction::with2(by(C::Mov_r64_rm64, C::Mov_r32_rm32), value, memory),
        2 | 3 => Instruction::with2(by(C::Mov_rm64_r64, C::Mov_rm32_r32), memory, value),
        4 => Instruction::with2(C::Mov_rm8_r8, memory, R::AL),
        5 => Instruction::with2(by(C::Add_r64_rm64, C::Add_r32_rm32), value, memory),
        6 => Instruction::with2(by(C::Add_rm64_r64, C::Add_rm32_r32), memory, value),
        7 => Instruction::with2(by(C::Adc_r64_rm64, C::Adc_r32_rm32), value, memory),
        8 => Instruction::with2(C::Movzx_r32_rm16, R::EAX, memory),
        9 => Instruction::with2(C::Movups_xmm_xmmm128, x, memory),
        10 => Instruction::with2(C::Movups_xmmm128_xmm, memory, x),
        11 => Instruction::with2(C::Movdqa_xmm_xmmm128, x, memory),
        12 => Instruction::with2(C::Paddd_xmm_xmmm128, x, memory),
        13 => Instruction::with2(C::Movdqa_xmmm128_xmm, memory, x),
        14 => Instruction::with2(by(C::Cmp_r64_rm64, C::Cmp_r32_rm32), value, memory),
        15 => Instruction::with2(by(C::Xor_r64_rm64, C::Xor_r32_rm32), value, value),
        16 => Instruction::with1(C::Setb_rm8, R::AL),
        17 => Instruction::with1(by(C::Inc_rm64, C::Inc_rm32), memory),
        // An index that nobody knows: look-ups in tables.
        30 => Instruction::with2(C::Movzx_r32_rm8, R::ECX, memory),
        31 => Instruction::with2(C::Movzx_r32_rm16, R::ECX, memory),
        _ => Instruction::with2(by(C::Sub_rm64_imm8, C::Sub_rm32_imm8), memory, 3),
    }
    .expect("the operands fit the form")
}

/// An instruction that moves a pointer or the index.
fn advance(names: &Names, random: &mut Random) -> Instruction {
    let register = if random.below(5) == 0 { names.index() } else { names.pointer(random) };
    let by = pick(random, &[1, 2, 4, 8, 16, 16, 24, 32, 64, 120, -1, -8, -16, -32]);
    let code = |wide, narrow| if names.wide { wide } else { narrow };
    match random.below(5) {
        // Several registers then count from the same place.
        4 => Instruction::with2(
            code(C::Lea_r64_m, C::Lea_r32_m),
            register,
            MemoryOperand::with_base_displ(names.pointer(random), by.into()),
        ),
        0 => Instruction::with2(code(C::Sub_rm64_imm8, C::Sub_rm32_imm8), register, by),
        1 => Instruction::with1(code(C::Inc_rm64, C::Inc_rm32), register),
        2 => Instruction::with2(
            code(C::Lea_r64_m, C::Lea_r32_m),
            register,
            MemoryOperand::with_base_displ(register, by.into()),
        ),
        _ => Instruction::with2(code(C::Add_rm64_imm8, C::Add_rm32_imm8), register, by),
    }
    .expect("the operands fit the form")
}

impl Walk {
    /// Draws one.
    pub fn draw(bits: u32, random: &mut Random) -> Self {
        let names = Names { wide: bits == 64 };
        let code = |wide, narrow| if names.wide { wide } else { narrow };
        let mut setup = Vec::new();
        let mut set = |register: R, value: u64| {
            let insn = Instruction::with2(code(C::Mov_r64_imm64, C::Mov_r32_imm32), register, value);
            setup.push(insn.expect("the operands fit the form"));
        };
        let pointers: &[R] = match names.wide {
            true => &[R::RBX, R::RSI, R::RDI, R::R13, R::R9],
            false => &[R::EBX, R::ESI, R::EDI],
        };
        for &pointer in pointers {
            let odd = if random.below(4) == 0 { random.below(16) } else { 0 };
            set(pointer, DATA + 0x1000 + (random.below(SPREAD) & !15) + odd);
        }
        set(names.index(), random.below(40) * 4);
        let most = if random.below(3) == 0 { 400 } else { 20 };
        set(names.count(), 1 + random.below(most));
        let mut body: Vec<_> = (0..1 + random.below(6)).map(|_| step(&names, random)).collect();
        for _ in 0..random.below(4) {
            let at = random.below(body.len() as u64 + 1) as usize;
            body.insert(at, advance(&names, random));
        }
        let end = match random.below(3) {
            0 => Instruction::with1(code(C::Dec_rm64, C::Dec_rm32), names.count()),
            1 => Instruction::with2(code(C::Sub_rm64_imm8, C::Sub_rm32_imm8), names.count(), 1),
            _ => Instruction::with2(code(C::Add_rm64_imm8, C::Add_rm32_imm8), names.count(), -1),
        };
        let body_at = (random.below(4) == 0).then(|| 0x1000 - 1 - random.below(60) as usize);
        Self { bits, setup, body, body_at, end: vec![end.expect("the operands fit the form")] }
    }

    /// The same without one instruction of the body.
    pub fn without(&self, index: usize) -> Self {
        let mut less = self.clone();
        less.body.remove(index);
        less
    }

    /// Its bytes.
    pub fn code(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(self.bits);
        let mut put = |insns: &[Instruction]| {
            for insn in insns {
                encoder.encode(insn, CODE).expect("the instruction has an encoding");
            }
            encoder.take_buffer()
        };
        let mut code = put(&self.setup);
        if let Some(at) = self.body_at {
            // JMP to where a page will end in the loop.
            let distance = at as i32 - code.len() as i32 - 5;
            code.push(0xe9);
            code.extend(distance.to_le_bytes());
            code.resize(at, 0x90);
        }
        let start = code.len();
        code.extend(put(&self.body));
        code.extend(put(&self.end));
        code.extend([0x0f, 0x85]); // JNZ to the body
        code.extend((start as i32 - code.len() as i32 - 4).to_le_bytes());
        code.push(0xe9); // JMP to the setup
        code.extend((-(code.len() as i32) - 4).to_le_bytes());
        code
    }
}
