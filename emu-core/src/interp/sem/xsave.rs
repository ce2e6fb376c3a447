//! XSAVE and its family, XGETBV, XSETBV. SDM vol. 1, "Managing State Using the XSAVE Feature Set".
//!
//! State components: x87 (0), SSE (1), AVX (2) and PKRU (9). A component counts as in use when its registers do not
//! hold their initial values. The modified optimization, which is voluntary, is not made: XSAVEOPT and XSAVES write
//! every component in use.

use std::ops::Range;

use iced_x86::Mnemonic as M;

use super::sse::state::{self, LEGACY_X87, VECTORS, X87_REGISTERS};
use crate::cpu::control::{CR0_TS, CR4_OSXSAVE};
use crate::cpu::fpu::{
    MXCSR_MASK, MXCSR_RESET, PKRU_AREA, PKRU_SIZE, XCR0_AVX, XCR0_PKRU, XCR0_SSE, XCR0_X87, YMM_AREA,
    YMM_SIZE, compacted_pkru_area,
};
use crate::cpu::{Cpu, Fallible, Fault, RAX, RCX, RDX};
use crate::interp::op::Op;
use crate::interp::table::{Row, row};
use crate::vmx::capability::secondary;
use crate::vmx::exit::reason;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Xgetbv, |_| Some(xgetbv)),
    row(M::Xsetbv, |_| Some(xsetbv)),
    row(M::Xsave, |_| Some(xsave::<false, false>)),
    row(M::Xsave64, |_| Some(xsave::<true, false>)),
    row(M::Xsaveopt, |_| Some(xsave::<false, true>)),
    row(M::Xsaveopt64, |_| Some(xsave::<true, true>)),
    row(M::Xsavec, |_| Some(xsavec::<false>)),
    row(M::Xsavec64, |_| Some(xsavec::<true>)),
    row(M::Xsaves, |_| Some(xsaves::<false>)),
    row(M::Xsaves64, |_| Some(xsaves::<true>)),
    row(M::Xrstor, |_| Some(xrstor::<false>)),
    row(M::Xrstor64, |_| Some(xrstor::<true>)),
    row(M::Xrstors, |_| Some(xrstors::<false>)),
    row(M::Xrstors64, |_| Some(xrstors::<true>)),
];

/// MXCSR and MXCSR_MASK.
const MXCSR_AREA: Range<usize> = 24..32;
/// Where the header begins: XSTATE_BV, XCOMP_BV, reserved bytes.
const HEADER: usize = 512;
/// Bytes with all components, PKRU directly behind AVX.
const IMAGE: usize = PKRU_IMAGE + PKRU_SIZE;
/// Where our image has PKRU; the area in memory has it where the format says.
const PKRU_IMAGE: usize = YMM_AREA + YMM_SIZE;
/// XCOMP_BV: the image has the compacted format.
const COMPACTED: u64 = 1 << 63;

fn check_enabled(cpu: &Cpu) -> Fallible {
    if cpu.cr4 & CR4_OSXSAVE == 0 { Err(Fault::UD) } else { Ok(()) }
}

fn supervisor(cpu: &Cpu) -> Fallible {
    if cpu.protected() && cpu.cpl != 0 { Err(Fault::GP0) } else { Ok(()) }
}

fn edx_eax(cpu: &Cpu) -> u64 {
    cpu.regs[RDX] << 32 | cpu.regs[RAX] & 0xffff_ffff
}

/// XINUSE. SDM vol. 1, "Processor Tracking of XSAVE-Managed State".
fn in_use(cpu: &Cpu) -> u64 {
    let f = &cpu.fpu;
    if !cpu.model.tracks_xinuse {
        return f.xcr0;
    }
    let x87 = f.control != 0x37f
        || f.status_word() != 0
        || f.valid != 0
        || f.opcode != 0
        || f.instruction != (0, 0)
        || f.data != (0, 0)
        || f.regs.iter().any(|r| r.significand != 0 || r.sign_exponent != 0);
    let any = |part: Range<usize>| f.vectors[..16].iter().any(|v| v[part.clone()].iter().any(|&q| q != 0));
    let bit = |used: bool, bit: u64| if used { bit } else { 0 };
    let vectors = bit(any(0..2), XCR0_SSE) | bit(any(2..4), XCR0_AVX);
    bit(x87, XCR0_X87) | vectors | bit(cpu.pkru != 0, XCR0_PKRU)
}

/// XGETBV. SDM 2D, "XGETBV".
fn xgetbv(cpu: &mut Cpu, _: &Op) -> Fallible {
    check_enabled(cpu)?;
    let value = match cpu.regs[RCX] as u32 {
        0 => cpu.fpu.xcr0,
        1 => cpu.fpu.xcr0 & in_use(cpu),
        _ => return Err(Fault::GP0),
    };
    cpu.regs[RAX] = value & 0xffff_ffff;
    cpu.regs[RDX] = value >> 32;
    Ok(())
}

/// XSETBV. SDM 2D, "XSETBV".
fn xsetbv(cpu: &mut Cpu, _: &Op) -> Fallible {
    check_enabled(cpu)?;
    supervisor(cpu)?;
    cpu.exits(reason::XSETBV)?;
    let value = edx_eax(cpu);
    let avx_alone = value & (XCR0_AVX | XCR0_SSE) == XCR0_AVX;
    if cpu.regs[RCX] as u32 != 0 || value & XCR0_X87 == 0 || value & !cpu.model.xcr0() != 0 || avx_alone {
        return Err(Fault::GP0);
    }
    cpu.fpu.xcr0 = value;
    Ok(())
}

/// The area, in the standard format, after the checks that the whole family makes.
fn area(cpu: &mut Cpu, op: &Op) -> Fallible<Area> {
    check_enabled(cpu)?;
    if cpu.cr0 & CR0_TS != 0 {
        return Err(Fault::NM);
    }
    let address = op.address(cpu);
    let linear = cpu.linear(op.segment(), address, 64, false)?;
    if linear & 63 != 0 {
        return Err(Fault::GP0);
    }
    Ok(Area { segment: op.segment(), address, pkru: PKRU_AREA })
}

/// Parts of the image that a component occupies in the current mode, which sees eight or sixteen vector registers.
fn parts(cpu: &Cpu, component: u64) -> [Range<usize>; 2] {
    let bytes = 16 * state::vectors(cpu);
    match component {
        XCR0_X87 => [LEGACY_X87, X87_REGISTERS],
        XCR0_SSE => [VECTORS..VECTORS + bytes, 0..0],
        XCR0_AVX => [YMM_AREA..YMM_AREA + bytes, 0..0],
        _ => [PKRU_IMAGE..IMAGE, 0..0],
    }
}

const COMPONENTS: [u64; 4] = [XCR0_X87, XCR0_SSE, XCR0_AVX, XCR0_PKRU];

/// An XSAVE area in memory.
#[derive(Clone, Copy)]
struct Area {
    segment: usize,
    address: u64,
    /// Where the format has PKRU.
    pkru: usize,
}

impl Area {
    /// Offset of byte `n` of the image.
    fn at(self, n: usize) -> u64 {
        let n = if n >= PKRU_IMAGE { n - PKRU_IMAGE + self.pkru } else { n };
        self.address.wrapping_add(n as u64)
    }

    /// The same area in the compacted format, with these components.
    fn compacted(self, components: u64) -> Self {
        Self { pkru: compacted_pkru_area(components), ..self }
    }
}

/// Writes components, MXCSR when asked for, and the first `header` bytes of the header.
fn write_image<const WIDE: bool>(
    cpu: &mut Cpu,
    area: Area,
    components: u64,
    mxcsr: bool,
    header: &[u8],
) -> Fallible {
    let mut image = [0; IMAGE];
    state::store_x87::<WIDE>(cpu, &mut image);
    image[24..28].copy_from_slice(&cpu.fpu.mxcsr.to_le_bytes());
    image[28..32].copy_from_slice(&MXCSR_MASK.to_le_bytes());
    state::store_vectors(cpu, &mut image);
    for (n, chunk) in image[YMM_AREA..PKRU_IMAGE].chunks_exact_mut(16).enumerate() {
        chunk[..8].copy_from_slice(&cpu.fpu.vectors[n][2].to_le_bytes());
        chunk[8..].copy_from_slice(&cpu.fpu.vectors[n][3].to_le_bytes());
    }
    image[PKRU_IMAGE..PKRU_IMAGE + 4].copy_from_slice(&cpu.pkru.to_le_bytes());
    image[HEADER..HEADER + header.len()].copy_from_slice(header);
    let written = COMPONENTS.iter().filter(|&component| components & component != 0);
    let mut ranges: Vec<Range<usize>> = written.flat_map(|&component| parts(cpu, component)).collect();
    ranges.push(HEADER..HEADER + header.len());
    if mxcsr {
        ranges.push(MXCSR_AREA);
    }
    ranges.retain(|range| !range.is_empty());
    for range in &ranges {
        cpu.probe_write(area.segment, area.at(range.start), 8)?;
        cpu.probe_write(area.segment, area.at(range.end - 8), 8)?;
    }
    for n in ranges.into_iter().flat_map(|range| range.step_by(8)) {
        let value = quadword(&image, n);
        cpu.write(area.segment, area.at(n), value)?;
    }
    Ok(())
}

fn quadword(image: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(image[at..at + 8].try_into().expect("a quadword has eight bytes"))
}

/// XSAVE, and XSAVEOPT, which leaves out what is not in use. SDM 2D, "XSAVE" and "XSAVEOPT".
fn xsave<const WIDE: bool, const IN_USE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let area = area(cpu, op)?;
    let requested = cpu.fpu.xcr0 & edx_eax(cpu);
    let used = in_use(cpu);
    let old = cpu.read::<u64>(area.segment, area.at(HEADER))?;
    let header = old & !requested | requested & used;
    let written = if IN_USE { requested & used } else { requested };
    let mxcsr = requested & (XCR0_SSE | XCR0_AVX) != 0;
    write_image::<WIDE>(cpu, area, written, mxcsr, &header.to_le_bytes())
}

/// XSAVEC. SDM 2D, "XSAVEC".
fn xsavec<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let area = area(cpu, op)?;
    let requested = cpu.fpu.xcr0 & edx_eax(cpu);
    let mut used = in_use(cpu);
    if cpu.fpu.mxcsr != MXCSR_RESET {
        used |= XCR0_SSE;
    }
    let written = requested & used;
    let header = u128::from(written) | u128::from(requested | COMPACTED) << 64;
    write_image::<WIDE>(
        cpu,
        area.compacted(requested),
        written,
        written & XCR0_SSE != 0,
        &header.to_le_bytes(),
    )
}

/// XSAVES: IA32_XSS has no bits, so it is a privileged XSAVEC. SDM 2D, "XSAVES".
fn xsaves<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    check_enabled(cpu)?;
    cpu.enabled_in_guest(secondary::XSAVES)?;
    supervisor(cpu)?;
    xsavec::<WIDE>(cpu, op)
}

/// XRSTOR. SDM 2D, "XRSTOR".
fn xrstor<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    restore::<WIDE>(cpu, op, false)
}

/// XRSTORS takes the compacted format only. SDM 2D, "XRSTORS".
fn xrstors<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    check_enabled(cpu)?;
    cpu.enabled_in_guest(secondary::XSAVES)?;
    supervisor(cpu)?;
    restore::<WIDE>(cpu, op, true)
}

fn restore<const WIDE: bool>(cpu: &mut Cpu, op: &Op, compacted_only: bool) -> Fallible {
    let mut area = area(cpu, op)?;
    let mut header = [0u64; 8];
    for (n, word) in header.iter_mut().enumerate() {
        *word = cpu.read(area.segment, area.at(HEADER + 8 * n))?;
    }
    let [present, format, reserved @ ..] = header;
    let xcr0 = cpu.fpu.xcr0;
    let compacted = format & COMPACTED != 0;
    let valid = if compacted {
        let held = format & !COMPACTED;
        held & !xcr0 == 0 && present & !held == 0 && reserved == [0; 6]
    } else {
        !compacted_only && format == 0 && present & !xcr0 == 0 && reserved[0] == 0
    };
    if !valid {
        return Err(Fault::GP0);
    }
    if compacted {
        area = area.compacted(format);
    }
    let requested = xcr0 & edx_eax(cpu);
    let loaded = requested & present;
    // The standard format has MXCSR to itself: neither bit of XSTATE_BV matters.
    let mxcsr = if compacted { loaded & XCR0_SSE != 0 } else { requested & (XCR0_SSE | XCR0_AVX) != 0 };
    let mut image = [0; IMAGE];
    let read = COMPONENTS.iter().filter(|&component| loaded & component != 0);
    let mut ranges: Vec<Range<usize>> = read.flat_map(|&component| parts(cpu, component)).collect();
    if mxcsr {
        ranges.push(MXCSR_AREA);
    }
    for n in ranges.into_iter().flat_map(|range| range.step_by(8)) {
        image[n..n + 8].copy_from_slice(&cpu.read::<u64>(area.segment, area.at(n))?.to_le_bytes());
    }
    let new_mxcsr = quadword(&image, 24) as u32;
    if mxcsr && new_mxcsr & !MXCSR_MASK != 0 {
        return Err(Fault::GP0);
    }
    if mxcsr {
        cpu.fpu.mxcsr = new_mxcsr;
    } else if compacted && requested & XCR0_SSE != 0 {
        cpu.fpu.mxcsr = MXCSR_RESET;
    }
    if requested & XCR0_X87 != 0 {
        if loaded & XCR0_X87 == 0 {
            // The initial configuration: FCW is 037Fh, all else is zero.
            image[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        }
        state::load_x87::<WIDE>(cpu, &image);
    }
    // What was not read is zero, the initial configuration.
    if requested & XCR0_SSE != 0 {
        state::load_vectors(cpu, &image);
    }
    if requested & XCR0_AVX != 0 {
        for n in 0..state::vectors(cpu) {
            let from = YMM_AREA + 16 * n;
            cpu.fpu.vectors[n][2..4].copy_from_slice(&[quadword(&image, from), quadword(&image, from + 8)]);
        }
    }
    let pkru = quadword(&image, PKRU_IMAGE) as u32;
    if requested & XCR0_PKRU != 0 {
        cpu.load_pkru(pkru);
    }
    Ok(())
}
