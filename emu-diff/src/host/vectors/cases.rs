//! Random instructions from iced's list of encodings, and random operands.

use emu_core::softfloat::{F32, F64, F80};
use iced_x86::{Code, Encoder, EncodingKind, Instruction, OpCodeOperandKind as Kind, OpKind, Register};

use super::silicon::{MEMORY, State};
use crate::float_random::Random;

/// Sets the operands of an instruction; `memory` picks memory where an operand may be a register or memory.
/// `None` when the encoding has an operand that this test does not know, or no such form.
pub fn instruction(code: Code, memory: bool, bits: u32, random: &mut Random) -> Option<Instruction> {
    let vectors = if bits == 64 { 16 } else { 8 };
    let base_register = if bits == 64 { Register::R14 } else { Register::ESI };
    let info = code.op_code();
    let mut insn = Instruction::default();
    insn.set_code(code);
    let mut has_choice = false;
    for n in 0..info.op_count() {
        let kind = info.op_kind(n);
        let (register, choice) = match kind {
            Kind::xmm_vvvv | Kind::xmm_is4 => (Some(Register::XMM0 + random.below(vectors) as u32), false),
            Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 => {
                (Some(Register::YMM0 + random.below(vectors) as u32), false)
            }
            Kind::ymm_or_mem => (Some(Register::YMM0 + random.below(vectors) as u32), true),
            Kind::xmm_reg | Kind::xmm_rm => (Some(Register::XMM0 + random.below(vectors) as u32), false),
            Kind::xmm_or_mem => (Some(Register::XMM0 + random.below(vectors) as u32), true),
            Kind::mm_reg | Kind::mm_rm => (Some(Register::MM0 + random.below(8) as u32), false),
            Kind::mm_or_mem => (Some(Register::MM0 + random.below(8) as u32), true),
            Kind::r32_reg | Kind::r32_rm => (Some(Register::EAX + general(bits, random)), false),
            Kind::r32_or_mem => (Some(Register::EAX + general(bits, random)), true),
            Kind::r64_reg | Kind::r64_rm => (Some(Register::RAX + general(bits, random)), false),
            Kind::r64_or_mem => (Some(Register::RAX + general(bits, random)), true),
            Kind::r16_or_mem => (Some(Register::AX + general(bits, random)), true),
            Kind::r8_or_mem => (Some(Register::AL + random.below(4) as u32), true),
            Kind::st0 => (Some(Register::ST0), false),
            Kind::sti_opcode => (Some(Register::ST0 + random.below(8) as u32), false),
            Kind::ax => (Some(Register::AX), false),
            Kind::mem => (None, true),
            Kind::mem_vsib32x | Kind::mem_vsib64x | Kind::mem_vsib32y | Kind::mem_vsib64y => {
                if !memory {
                    return None;
                }
                let wide = matches!(kind, Kind::mem_vsib32y | Kind::mem_vsib64y);
                let first = if wide { Register::YMM0 } else { Register::XMM0 };
                insn.set_op_kind(n, OpKind::Memory);
                insn.set_memory_base(base_register);
                insn.set_memory_index(first + random.below(vectors) as u32);
                insn.set_memory_index_scale(1 << random.below(4));
                insn.set_memory_displacement64(MEMORY as u64 / 2);
                insn.set_memory_displ_size(1);
                has_choice = true;
                continue;
            }
            Kind::seg_rDI => {
                insn.set_op_kind(n, if bits == 64 { OpKind::MemorySegRDI } else { OpKind::MemorySegEDI });
                continue;
            }
            Kind::imm8 => {
                insn.set_op_kind(n, OpKind::Immediate8);
                insn.set_immediate8(random.bits() as u8);
                continue;
            }
            _ => return None,
        };
        has_choice |= choice;
        match register {
            Some(register) if !(choice && memory) => {
                insn.set_op_kind(n, OpKind::Register);
                insn.set_op_register(n, register);
            }
            _ => {
                if !memory {
                    return None;
                }
                insn.set_op_kind(n, OpKind::Memory);
                insn.set_memory_base(base_register);
                // VMOVAPS of 256 bits wants more alignment.
                let alignment = if info.encoding() == EncodingKind::VEX { 32 } else { 16 };
                insn.set_memory_displacement64(random.below(512 / alignment) * alignment);
                insn.set_memory_displ_size(1);
            }
        }
    }
    if insn.is_vsib() && !distinct(&insn) {
        return instruction(code, memory, bits, random);
    }
    (has_choice || !memory).then_some(insn)
}

/// Have destination, index and mask of a gather different registers? It is invalid otherwise.
fn distinct(insn: &Instruction) -> bool {
    let [a, b, c] = [insn.op0_register(), insn.memory_index(), insn.op2_register()].map(Register::number);
    a != b && b != c && a != c
}

/// Bytes of an index and of an element of a gather, and how many elements there are.
pub fn gather_shape(insn: &Instruction) -> (usize, usize, usize) {
    let index = if insn.is_vsib32() { 4 } else { 8 };
    let element = insn.memory_size().size();
    let count = (insn.memory_index().size() / index).min(insn.op0_register().size() / element);
    (index, element, count)
}

/// Gives a gather indices that stay in bounds: the elements that the mask picks, counted from the place that the
/// instruction's base and displacement name, lie at `first..last`. The other indices stay as they are.
pub fn fit_indices(insn: &Instruction, state: &mut State, (first, last): (i64, i64), random: &mut Random) {
    if !insn.is_vsib() {
        return;
    }
    let (size, element, count) = gather_shape(insn);
    let (indices, mask) = (insn.memory_index().number(), insn.op2_register().number());
    for i in 0..count {
        if state.vector_byte(mask, i * element + element - 1) & 0x80 == 0 {
            continue;
        }
        let scale = i64::from(insn.memory_index_scale());
        let room = (last - first - scale) as u64 + 1 - element as u64;
        let index = (first + scale + random.below(room) as i64).div_euclid(scale);
        for (n, byte) in index.to_le_bytes()[..size].iter().enumerate() {
            state.set_vector_byte(indices, i * size + n, *byte);
        }
    }
}

/// A general register that is free: neither RSP nor what the harness uses.
fn general(bits: u32, random: &mut Random) -> u32 {
    if bits == 32 {
        return [0, 1, 2, 3, 5, 7][random.below(6) as usize];
    }
    match random.below(13) as u32 {
        4 => 13,
        other => other,
    }
}

/// Its bytes.
pub fn encode(insn: &Instruction, bits: u32) -> Option<Vec<u8>> {
    let mut encoder = Encoder::new(bits);
    encoder.encode(insn, 0).ok()?;
    Some(encoder.take_buffer())
}

fn sixteen_bytes(random: &mut Random) -> [u8; 16] {
    let mut bytes = [0; 16];
    match random.below(6) {
        0 => {
            for chunk in bytes.chunks_mut(4) {
                chunk.copy_from_slice(&random.near_integer::<F32>().0.to_le_bytes());
            }
        }
        1 => {
            for chunk in bytes.chunks_mut(8) {
                let (a, b) = random.pair::<F32>();
                chunk[..4].copy_from_slice(&a.0.to_le_bytes());
                chunk[4..].copy_from_slice(&b.0.to_le_bytes());
            }
        }
        2 => {
            for chunk in bytes.chunks_mut(8) {
                chunk.copy_from_slice(&random.near_integer::<F64>().0.to_le_bytes());
            }
        }
        3 => {
            let (a, b) = random.pair::<F64>();
            bytes[..8].copy_from_slice(&a.0.to_le_bytes());
            bytes[8..].copy_from_slice(&b.0.to_le_bytes());
        }
        4 => bytes[..10].copy_from_slice(&register(random).to_bytes()),
        _ => {
            let small = random.below(2) == 0;
            for byte in &mut bytes {
                *byte = if small { random.below(20) as u8 } else { random.bits() as u8 };
            }
        }
    }
    bytes
}

fn register(random: &mut Random) -> F80 {
    match random.below(4) {
        0 => random.near_integer(),
        1 => random.pair().1,
        _ => random.value(),
    }
}

/// Random registers and memory. Some exceptions are unmasked now and then, and an x87 exception may be pending.
pub fn state(random: &mut Random) -> Box<State> {
    let mut state = Box::<State>::default();
    for chunk in state.memory.chunks_mut(16) {
        chunk.copy_from_slice(&sixteen_bytes(random));
    }
    registers(&mut state, random);
    state
}

/// Other registers, with the same memory.
pub fn registers(state: &mut State, random: &mut Random) {
    for reg in &mut state.regs {
        *reg = random.bits() >> random.below(64);
    }
    state.flags = 2 | random.bits() & 0x8d5;
    let fx = &mut state.fx;
    let bits = random.bits();
    let mut control = 0x40 | bits as u16 & 0xf00 | 0x3f;
    if random.below(2) == 0 {
        control &= (random.bits() | random.bits()) as u16 | !0x3f;
    }
    let mut status = (bits >> 16) as u16 & 0x7f7f;
    if random.below(16) != 0 {
        status &= control | !0x3f;
    } else if status & !control & 0x3f != 0 {
        status |= 0x8080;
    }
    fx[..2].copy_from_slice(&control.to_le_bytes());
    fx[2..4].copy_from_slice(&status.to_le_bytes());
    fx[4] = match random.below(4) {
        0 => random.bits() as u8,
        1 => 0,
        _ => 0xff,
    };
    let mut mxcsr = 0x1f80 | random.bits() as u32 & 0xe07f & random.bits() as u32;
    if random.below(3) == 0 {
        // The interpreter's short cut: PE is set, rounding to nearest.
        mxcsr = mxcsr & !0x6000 | 0x20;
    }
    if random.below(4) == 0 {
        mxcsr &= (random.bits() | random.bits()) as u32 | !0x1f80;
    }
    fx[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    for n in 0..8 {
        let value = if n == 1 && random.below(2) == 0 { near_first(fx, random) } else { register(random) };
        fx[32 + 16 * n..42 + 16 * n].copy_from_slice(&value.to_bytes());
    }
    for n in 0..16 {
        fx[160 + 16 * n..176 + 16 * n].copy_from_slice(&sixteen_bytes(random));
        state.high[n] = sixteen_bytes(random);
    }
}

/// A value with an exponent near that of ST(0).
fn near_first(fx: &[u8; 512], random: &mut Random) -> F80 {
    let exponent = u16::from_le_bytes([fx[40], fx[41]]);
    let mut value = register(random);
    value.sign_exponent =
        value.sign_exponent & 0x8000 | (exponent & 0x7fff).saturating_add(random.below(5) as u16) & 0x7fff;
    value
}
