//! FNSTENV, FLDENV, FNSAVE, FRSTOR, in their four layouts. SDM vol. 1, "Saving the x87 FPU's State with
//! FSTENV/FNSTENV and FSAVE/FNSAVE".

use iced_x86::Mnemonic as M;

use super::control::{check_no_wait, load_control};
use crate::cpu::fpu::{Fpu, STATUS_B, STATUS_ES};
use crate::cpu::{Cpu, Fallible};
use crate::interp::op::Op;
use crate::interp::sem::sse::state::update_summary;
use crate::interp::table::{Row, row};
use crate::softfloat::{Class, F80, Format};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Fnstenv, |f| Some(if f.size(0) == 14 { fnstenv::<false> } else { fnstenv::<true> })),
    row(M::Fldenv, |f| Some(if f.size(0) == 14 { fldenv::<false> } else { fldenv::<true> })),
    row(M::Fnsave, |f| Some(if f.size(0) == 94 { fnsave::<false> } else { fnsave::<true> })),
    row(M::Frstor, |f| Some(if f.size(0) == 94 { frstor::<false> } else { frstor::<true> })),
];

/// Bytes of the largest image: seven doublewords and eight registers.
const LARGEST: usize = 28 + 80;
/// Fields of the environment.
const FIELDS: usize = 7;

const fn environment_size(wide: bool) -> usize {
    if wide { 4 * FIELDS } else { 2 * FIELDS }
}

/// The tag word with two bits a register: valid, zero, special, empty.
pub fn full_tags(f: &Fpu) -> u16 {
    (0..8).rev().fold(0, |tags, n| {
        let tag = if f.valid >> n & 1 == 0 {
            3
        } else {
            match f.regs[n].unpack().class {
                Class::Normal => 0,
                Class::Zero => 1,
                _ => 2,
            }
        };
        tags << 2 | tag
    })
}

/// Which registers a full tag word calls valid.
fn abridged_tags(tags: u16) -> u8 {
    (0..8).fold(0, |valid, n| valid | u8::from(tags >> (2 * n) & 3 != 3) << n)
}

/// The seven fields as FNSTENV stores them.
fn fields(cpu: &Cpu, wide: bool) -> [u32; FIELDS] {
    let f = &cpu.fpu;
    let high = 0xffff_0000;
    let [control, status, tags] =
        [f.control, f.status_word(), full_tags(f)].map(|word| high | u32::from(word));
    let opcode = u32::from(f.opcode);
    let (instruction, data) = (f.instruction, f.data);
    if cpu.paragraphs() {
        // Linear addresses, their upper bits above the opcode or alone.
        let linear = |(selector, offset): (u16, u64)| (u32::from(selector) << 4).wrapping_add(offset as u32);
        let (instruction, data) = (linear(instruction), linear(data));
        let upper = |linear: u32| (if wide { linear } else { linear & 0xf_ffff }) >> 16 << 12;
        return [
            control,
            status,
            tags,
            high | instruction & 0xffff,
            upper(instruction) | opcode,
            high | data & 0xffff,
            upper(data),
        ];
    }
    let opcode = if wide { opcode << 16 } else { 0 };
    [
        control,
        status,
        tags,
        instruction.1 as u32,
        opcode | u32::from(instruction.0),
        data.1 as u32,
        high | u32::from(data.0),
    ]
}

/// Takes the seven fields.
fn load_fields(cpu: &mut Cpu, fields: [u32; FIELDS], wide: bool) {
    let [control, status, tags, ip, ip_high, dp, dp_high] = fields;
    load_control(cpu, control as u16);
    load_tags(cpu, tags as u16);
    let paragraphs = cpu.paragraphs();
    let f = &mut cpu.fpu;
    if paragraphs {
        let linear = |low: u32, high: u32| u64::from(low & 0xffff | high >> 12 << 16);
        f.opcode = ip_high as u16 & 0x7ff;
        f.instruction = (0, linear(ip, ip_high));
        f.data = (0, linear(dp, dp_high));
    } else {
        if wide {
            f.opcode = (ip_high >> 16) as u16 & 0x7ff;
        }
        f.instruction = (ip_high as u16, ip.into());
        f.data = (dp_high as u16, dp.into());
    }
    load_status(cpu, status as u16);
}

/// Takes a status word with TOP.
pub fn load_status(cpu: &mut Cpu, word: u16) {
    cpu.fpu.status = word & !0x3800;
    cpu.fpu.top = (word >> 11 & 7) as u8;
    update_summary(cpu);
}

/// Takes a full tag word: only which registers are empty counts.
pub fn load_tags(cpu: &mut Cpu, tags: u16) {
    cpu.fpu.valid = abridged_tags(tags);
}

/// Builds the image of the environment at the start of `image`.
fn put_environment(cpu: &Cpu, image: &mut [u8; LARGEST], wide: bool) {
    let fields = fields(cpu, wide);
    if wide {
        for (bytes, field) in image.chunks_exact_mut(4).zip(fields) {
            bytes.copy_from_slice(&field.to_le_bytes());
        }
    } else {
        for (bytes, field) in image.chunks_exact_mut(2).zip(fields) {
            bytes.copy_from_slice(&(field as u16).to_le_bytes());
        }
    }
}

fn take_environment(cpu: &mut Cpu, image: &[u8; LARGEST], wide: bool) {
    let fields = std::array::from_fn(|n| {
        if wide {
            u32::from_le_bytes([image[4 * n], image[4 * n + 1], image[4 * n + 2], image[4 * n + 3]])
        } else {
            u16::from_le_bytes([image[2 * n], image[2 * n + 1]]).into()
        }
    });
    load_fields(cpu, fields, wide);
}

/// Writes an image, all or nothing: it may lie anywhere.
fn write_image(cpu: &mut Cpu, op: &Op, image: &[u8], wide: bool) -> Fallible {
    let (segment, address) = (op.segment(), op.address(cpu));
    // The first access also finds an address that is not aligned, when that is checked.
    cpu.probe_write(segment, address, if wide { 4 } else { 2 })?;
    cpu.probe_write(segment, address, image.len() as u64)?;
    for (at, &byte) in (0..).zip(image) {
        cpu.write(segment, address.wrapping_add(at), byte)?;
    }
    Ok(())
}

fn read_image(cpu: &mut Cpu, op: &Op, image: &mut [u8], wide: bool) -> Fallible {
    let (segment, address) = (op.segment(), op.address(cpu));
    cpu.linear(segment, address, image.len() as u64, false)?;
    if wide {
        cpu.read::<u32>(segment, address)?;
    } else {
        cpu.read::<u16>(segment, address)?;
    }
    for (at, byte) in (0..).zip(image) {
        *byte = cpu.read(segment, address.wrapping_add(at))?;
    }
    Ok(())
}

/// FNSTENV: stores, then masks every exception. SDM 2A, "FSTENV/FNSTENV".
fn fnstenv<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    check_no_wait(cpu)?;
    let mut image = [0; LARGEST];
    put_environment(cpu, &mut image, WIDE);
    write_image(cpu, op, &image[..environment_size(WIDE)], WIDE)?;
    cpu.fpu.control |= 0x3f;
    cpu.fpu.status &= !(STATUS_ES | STATUS_B);
    cpu.update_ferr();
    Ok(())
}

/// FLDENV. SDM 2A, "FLDENV".
fn fldenv<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_x87()?;
    let mut image = [0; LARGEST];
    read_image(cpu, op, &mut image[..environment_size(WIDE)], WIDE)?;
    take_environment(cpu, &image, WIDE);
    Ok(())
}

/// FNSAVE: stores, then initializes. SDM 2A, "FSAVE/FNSAVE".
fn fnsave<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    check_no_wait(cpu)?;
    let mut image = [0; LARGEST];
    put_environment(cpu, &mut image, WIDE);
    let size = environment_size(WIDE);
    for (i, bytes) in (0..8).zip(image[size..].chunks_exact_mut(10)) {
        bytes.copy_from_slice(&cpu.st(i).to_bytes());
    }
    write_image(cpu, op, &image[..size + 80], WIDE)?;
    cpu.fpu.init();
    cpu.update_ferr();
    Ok(())
}

/// FRSTOR. SDM 2A, "FRSTOR".
fn frstor<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_x87()?;
    let mut image = [0; LARGEST];
    let size = environment_size(WIDE);
    read_image(cpu, op, &mut image[..size + 80], WIDE)?;
    take_environment(cpu, &image, WIDE);
    for (i, bytes) in (0..8).zip(image[size..].chunks_exact(10)) {
        let slot = usize::from((cpu.fpu.top + i) & 7);
        cpu.fpu.regs[slot] = F80::from_bytes(bytes.try_into().expect("chunks have ten bytes"));
    }
    Ok(())
}
