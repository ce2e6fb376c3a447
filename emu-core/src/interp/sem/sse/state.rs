//! FXSAVE, FXRSTOR, LDMXCSR, STMXCSR. SDM vol. 1, "FXSAVE and FXRSTOR"; SDM 2A, "FXSAVE".

use std::ops::Range;

use iced_x86::Mnemonic as M;

use super::scheme::{Legacy, Scheme, Vex};
use crate::cpu::control::{CR0_EM, CR0_TS};
use crate::cpu::fpu::{MXCSR_MASK, STATUS_B, STATUS_ES};
use crate::cpu::{Cpu, Fallible, Fault};
use crate::interp::op::Op;
use crate::interp::table::{Row, row};
use crate::softfloat::F80;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Ldmxcsr, |_| Some(ldmxcsr::<Legacy>)),
    row(M::Vldmxcsr, |_| Some(ldmxcsr::<Vex>)),
    row(M::Stmxcsr, |_| Some(stmxcsr::<Legacy>)),
    row(M::Vstmxcsr, |_| Some(stmxcsr::<Vex>)),
    row(M::Fxsave, |_| Some(fxsave::<false>)),
    row(M::Fxsave64, |_| Some(fxsave::<true>)),
    row(M::Fxrstor, |_| Some(fxrstor::<false>)),
    row(M::Fxrstor64, |_| Some(fxrstor::<true>)),
];

/// Bytes of the image that are used; the last 96 are left as they are, 48 of them for software.
const IMAGE: usize = 416;
/// Where the x87 registers, 16 bytes each, begin.
const REGISTERS: usize = 32;
/// Where the XMM registers begin.
pub const VECTORS: usize = 160;
/// The x87 state up to MXCSR.
pub const LEGACY_X87: Range<usize> = 0..24;
/// The x87 registers.
pub const X87_REGISTERS: Range<usize> = REGISTERS..VECTORS;

/// LDMXCSR. SDM 2A, "LDMXCSR".
fn ldmxcsr<X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let address = op.address(cpu);
    let value = cpu.read::<u32>(op.segment(), address)?;
    if value & !MXCSR_MASK != 0 {
        return Err(Fault::GP0);
    }
    cpu.fpu.mxcsr = value;
    Ok(())
}

/// STMXCSR. SDM 2B, "STMXCSR".
fn stmxcsr<X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let address = op.address(cpu);
    cpu.write(op.segment(), address, cpu.fpu.mxcsr)
}

/// Offset of the image, after the checks that both instructions make.
fn image_address(cpu: &mut Cpu, op: &Op, write: bool) -> Fallible<u64> {
    if cpu.cr0 & (CR0_EM | CR0_TS) != 0 {
        return Err(Fault::NM);
    }
    let address = op.address(cpu);
    let linear = cpu.linear(op.segment(), address, 512, write)?;
    if linear & 15 != 0 { Err(Fault::GP0) } else { Ok(address) }
}

/// XMM registers that the current mode can name.
pub fn vectors(cpu: &Cpu) -> usize {
    if cpu.code_size() == 64 { 16 } else { 8 }
}

/// Sets ES and B as the control word demands.
pub fn update_summary(cpu: &mut Cpu) {
    let pending = cpu.fpu.status & !cpu.fpu.control & 0x3f != 0;
    cpu.fpu.status &= !(STATUS_ES | STATUS_B);
    if pending {
        cpu.fpu.status |= STATUS_ES | STATUS_B;
    }
    cpu.update_ferr();
}

/// Puts the x87 state into an image.
pub fn store_x87<const WIDE: bool>(cpu: &Cpu, image: &mut [u8]) {
    let f = &cpu.fpu;
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &f.control.to_le_bytes());
    put(2, &f.status_word().to_le_bytes());
    put(4, &[f.valid, 0]);
    put(6, &f.opcode.to_le_bytes());
    for (at, (selector, offset)) in [(8, f.instruction), (16, f.data)] {
        if WIDE {
            put(at, &offset.to_le_bytes());
        } else {
            put(at, &(offset as u32).to_le_bytes());
            put(at + 4, &selector.to_le_bytes());
        }
    }
    for n in 0..8 {
        put(REGISTERS + 16 * n, &f.regs[(usize::from(f.top) + n) & 7].to_bytes());
    }
}

/// Puts the XMM registers of the current mode into an image.
pub fn store_vectors(cpu: &Cpu, image: &mut [u8]) {
    for (n, chunk) in image[VECTORS..].chunks_exact_mut(16).take(vectors(cpu)).enumerate() {
        chunk.copy_from_slice(&cpu.xmm(n as u8).to_le_bytes());
    }
}

/// Takes the x87 state from an image.
pub fn load_x87<const WIDE: bool>(cpu: &mut Cpu, image: &[u8]) {
    let word = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    let dword = |at: usize| u32::from(word(at)) | u32::from(word(at + 2)) << 16;
    let pointer = |at: usize| {
        if WIDE {
            (0, u64::from(dword(at)) | u64::from(dword(at + 4)) << 32)
        } else {
            (word(at + 4), dword(at).into())
        }
    };
    let f = &mut cpu.fpu;
    f.control = word(0) & 0x1f3f | 0x40;
    f.status = word(2) & !0x3800;
    f.top = (word(2) >> 11 & 7) as u8;
    f.valid = image[4];
    f.opcode = word(6) & 0x7ff;
    f.instruction = pointer(8);
    f.data = pointer(16);
    for n in 0..8 {
        let at = REGISTERS + 16 * n;
        let bytes = image[at..at + 10].try_into().expect("a register has ten bytes");
        f.regs[(usize::from(f.top) + n) & 7] = F80::from_bytes(bytes);
    }
    update_summary(cpu);
}

/// Takes the XMM registers of the current mode from an image.
pub fn load_vectors(cpu: &mut Cpu, image: &[u8]) {
    for (n, chunk) in image[VECTORS..].chunks_exact(16).take(vectors(cpu)).enumerate() {
        cpu.set_xmm(n as u8, u128::from_le_bytes(chunk.try_into().expect("chunks have 16 bytes")));
    }
}

/// FXSAVE and FXSAVE64. SDM 2A, "FXSAVE".
fn fxsave<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let address = image_address(cpu, op, true)?;
    let segment = op.segment();
    cpu.probe_write(segment, address, 16)?;
    cpu.probe_write(segment, address.wrapping_add(512 - 16), 16)?;
    let mut image = [0u8; IMAGE];
    store_x87::<WIDE>(cpu, &mut image);
    image[24..28].copy_from_slice(&cpu.fpu.mxcsr.to_le_bytes());
    image[28..32].copy_from_slice(&MXCSR_MASK.to_le_bytes());
    store_vectors(cpu, &mut image);
    let used = VECTORS + 16 * vectors(cpu);
    for (at, chunk) in (address..).step_by(16).zip(image[..used].chunks_exact(16)) {
        let value = u128::from_le_bytes(chunk.try_into().expect("chunks have 16 bytes"));
        cpu.write_vector::<true>(segment, at, value)?;
    }
    Ok(())
}

/// FXRSTOR and FXRSTOR64. SDM 2A, "FXRSTOR".
fn fxrstor<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let address = image_address(cpu, op, false)?;
    let segment = op.segment();
    // The whole image is one access: a missing second page faults even where nothing is used.
    cpu.read_vector::<true>(segment, address.wrapping_add(512 - 16))?;
    let mut image = [0u8; IMAGE];
    for (at, chunk) in (address..).step_by(16).zip(image.chunks_exact_mut(16)) {
        chunk.copy_from_slice(&cpu.read_vector::<true>(segment, at)?.to_le_bytes());
    }
    let mxcsr = u32::from_le_bytes([image[24], image[25], image[26], image[27]]);
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(Fault::GP0);
    }
    cpu.fpu.mxcsr = mxcsr;
    load_x87::<WIDE>(cpu, &image);
    load_vectors(cpu, &image);
    Ok(())
}
