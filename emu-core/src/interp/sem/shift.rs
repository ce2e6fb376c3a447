//! SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD, and the BMI2 forms without flags.
//! SDM 2B, "SAL/SAR/SHL/SHR", "RCL/RCR/ROL/ROR"; SDM 2B, "SHLD", "SHRD".
//!
//! Where the manual leaves OF undefined (counts above 1) silicon computes it as for a count of 1, from the
//! last step.

use iced_x86::Mnemonic as M;

use crate::cpu::eflags::{CF, OF, sign_zero_parity};
use crate::cpu::{Cpu, Fallible, RCX, Width};
use crate::interp::op::{Handler, Imm, Mem, Op, Reg, Source, Target};
use crate::interp::table::{Form, Kind, Row, row, widths, widths_wide};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Shl, shifts::<Shl>),
    row(M::Sal, shifts::<Shl>),
    row(M::Shr, shifts::<Shr>),
    row(M::Sar, shifts::<Sar>),
    row(M::Rol, shifts::<Rol>),
    row(M::Ror, shifts::<Ror>),
    row(M::Rcl, shifts::<Rcl>),
    row(M::Rcr, shifts::<Rcr>),
    row(M::Shld, double::<true>),
    row(M::Shrd, double::<false>),
    row(M::Shlx, |f| flagless::<LEFT>(f)),
    row(M::Shrx, |f| flagless::<RIGHT>(f)),
    row(M::Sarx, |f| flagless::<ARITHMETIC>(f)),
    row(M::Rorx, rorx_form),
];

/// A shift or rotate by a count that is not zero (after masking to 5 or 6 bits).
trait Shift {
    fn apply<W: Width>(cpu: &mut Cpu, a: W, count: u32) -> W;
}

/// The count in CL.
struct CountInCl;

impl Source for CountInCl {
    #[inline(always)]
    fn get<W: Width>(cpu: &mut Cpu, _: &Op) -> Fallible<W> {
        Ok(W::from_u64(cpu.regs[RCX] & 0xff))
    }
}

fn shifts<S: Shift>(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, Kind::Imm, n) => widths!(n, |W| shift::<S, W, Reg<0>, Imm>),
        (Kind::Mem, Kind::Imm, n) => widths!(n, |W| shift::<S, W, Mem, Imm>),
        (Kind::Reg, _, n) => widths!(n, |W| shift::<S, W, Reg<0>, CountInCl>),
        (_, _, n) => widths!(n, |W| shift::<S, W, Mem, CountInCl>),
    }
}

/// Bits of the count that matter.
fn masked_count<W: Width>(count: u8) -> u32 {
    u32::from(count) & if W::BYTES == 8 { 63 } else { 31 }
}

fn shift<S: Shift, W: Width, D: Target, C: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let count = masked_count::<W>(C::get::<u8>(cpu, op)?);
    let (a, place) = D::locate::<W>(cpu, op)?;
    let result = if count == 0 { a } else { S::apply(cpu, a, count) };
    D::put(cpu, op, place, result)
}

fn bit(on: bool, flag: u64) -> u64 {
    if on { flag } else { 0 }
}

/// Top bit at width W.
fn sign<W: Width>(value: u64) -> bool {
    value & W::SIGN != 0
}

struct Shl;
struct Shr;
struct Sar;
struct Rol;
struct Ror;
struct Rcl;
struct Rcr;

impl Shift for Shl {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, count: u32) -> W {
        let wide = u128::from(a.u64()) << count;
        let (result, carry) = (W::from_u64(wide as u64), wide >> W::BITS & 1 != 0);
        let overflow = carry != sign::<W>(result.u64());
        cpu.flags.set_arithmetic(sign_zero_parity(result) | bit(carry, CF) | bit(overflow, OF));
        result
    }
}

impl Shift for Shr {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, count: u32) -> W {
        let result = W::from_u64(a.u64() >> count);
        let last = a.u64() >> (count - 1);
        let carry = last & 1 != 0;
        // The sign before the last step, which is the original one for a count of 1.
        let overflow = sign::<W>(last);
        cpu.flags.set_arithmetic(sign_zero_parity(result) | bit(carry, CF) | bit(overflow, OF));
        result
    }
}

impl Shift for Sar {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, count: u32) -> W {
        let last = a.i64() >> (count - 1);
        let result = W::from_u64((last >> 1) as u64);
        cpu.flags.set_arithmetic(sign_zero_parity(result) | bit(last & 1 != 0, CF));
        result
    }
}

impl Shift for Rol {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, count: u32) -> W {
        let count = count % W::BITS;
        let (a, bits) = (a.u64(), W::BITS);
        let result = if count == 0 { a } else { (a << count | a >> (bits - count)) & W::MASK };
        let carry = result & 1 != 0;
        cpu.flags.set_some(CF | OF, bit(carry, CF) | bit(carry != sign::<W>(result), OF));
        W::from_u64(result)
    }
}

impl Shift for Ror {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, count: u32) -> W {
        let result = rotate_right(a, count);
        let carry = sign::<W>(result);
        let overflow = carry != sign::<W>(result << 1);
        cpu.flags.set_some(CF | OF, bit(carry, CF) | bit(overflow, OF));
        W::from_u64(result)
    }
}

fn rotate_right<W: Width>(a: W, count: u32) -> u64 {
    let (count, a) = (count % W::BITS, a.u64());
    if count == 0 { a } else { (a >> count | a << (W::BITS - count)) & W::MASK }
}

impl Shift for Rcl {
    fn apply<W: Width>(cpu: &mut Cpu, a: W, count: u32) -> W {
        let count = count % (W::BITS + 1);
        let bits = W::BITS + 1;
        let wide = u128::from(cpu.flags.carry()) << W::BITS | u128::from(a.u64());
        let mask = (1u128 << bits) - 1;
        let rotated = if count == 0 { wide } else { (wide << count | wide >> (bits - count)) & mask };
        let (result, carry) = (rotated as u64 & W::MASK, rotated >> W::BITS & 1 != 0);
        cpu.flags.set_some(CF | OF, bit(carry, CF) | bit(carry != sign::<W>(result), OF));
        W::from_u64(result)
    }
}

impl Shift for Rcr {
    fn apply<W: Width>(cpu: &mut Cpu, a: W, count: u32) -> W {
        let count = count % (W::BITS + 1);
        let bits = W::BITS + 1;
        let wide = u128::from(cpu.flags.carry()) << W::BITS | u128::from(a.u64());
        let mask = (1u128 << bits) - 1;
        let rotated = if count == 0 { wide } else { (wide >> count | wide << (bits - count)) & mask };
        let (result, carry) = (rotated as u64 & W::MASK, rotated >> W::BITS & 1 != 0);
        let overflow = sign::<W>(result) != sign::<W>(result << 1);
        cpu.flags.set_some(CF | OF, bit(carry, CF) | bit(overflow, OF));
        W::from_u64(result)
    }
}

fn double<const LEFT: bool>(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(0), f.kind(2), f.size(0)) {
        (Kind::Reg, Kind::Imm, n) => widths_wide!(n, |W| shift_double::<W, Reg<0>, Imm, LEFT>),
        (Kind::Mem, Kind::Imm, n) => widths_wide!(n, |W| shift_double::<W, Mem, Imm, LEFT>),
        (Kind::Reg, _, n) => widths_wide!(n, |W| shift_double::<W, Reg<0>, CountInCl, LEFT>),
        (_, _, n) => widths_wide!(n, |W| shift_double::<W, Mem, CountInCl, LEFT>),
    }
}

/// SHLD and SHRD. For 16-bit operands and counts above 16 everything is undefined; Intel silicon goes on
/// through destination, source, destination.
fn shift_double<W: Width, D: Target, C: Source, const LEFT: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let count = masked_count::<W>(C::get::<u8>(cpu, op)?);
    let (a, place) = D::locate::<W>(cpu, op)?;
    if count == 0 {
        return D::put(cpu, op, place, a);
    }
    let b = cpu.register::<W>(op.reg[1]).u64();
    let (a, bits) = (a.u64(), W::BITS);
    let step = |shifts: u32| -> u128 {
        // Three parts in a row, with room for counts up to twice the width.
        let (a, b) = (u128::from(a), u128::from(b));
        if bits == 64 {
            if LEFT { (a << 64 | b) << shifts >> 64 } else { (b << 64 | a) >> shifts }
        } else if LEFT {
            (a << (2 * bits) | b << bits | a) << shifts >> (2 * bits)
        } else {
            (a << (2 * bits) | b << bits | a) >> shifts
        }
    };
    let result = W::from_u64(step(count) as u64);
    let before = W::from_u64(step(count - 1) as u64).u64();
    let carry = if LEFT { sign::<W>(before) } else { before & 1 != 0 };
    let overflow = sign::<W>(before) != sign::<W>(result.u64());
    cpu.flags.set_arithmetic(sign_zero_parity(result) | bit(carry, CF) | bit(overflow, OF));
    D::put(cpu, op, place, result)
}

const LEFT: u8 = 0;
const RIGHT: u8 = 1;
const ARITHMETIC: u8 = 2;

fn flagless<const HOW: u8>(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(1), f.size(0)) {
        (Kind::Reg, 4) => Some(shift_flagless::<u32, Reg<1>, HOW>),
        (Kind::Reg, 8) => Some(shift_flagless::<u64, Reg<1>, HOW>),
        (Kind::Mem, 4) => Some(shift_flagless::<u32, Mem, HOW>),
        (Kind::Mem, 8) => Some(shift_flagless::<u64, Mem, HOW>),
        _ => None,
    }
}

/// SHLX, SHRX, SARX. SDM 2B, "SARX/SHLX/SHRX".
fn shift_flagless<W: Width, S: Source, const HOW: u8>(cpu: &mut Cpu, op: &Op) -> Fallible {
    super::bits::vex(cpu)?;
    let a = S::get::<W>(cpu, op)?;
    let count = masked_count::<W>(cpu.register(op.reg[2]));
    let result = match HOW {
        LEFT => a.u64() << count,
        RIGHT => a.u64() >> count,
        _ => (a.i64() >> count) as u64,
    };
    cpu.set_register(op.reg[0], W::from_u64(result));
    Ok(())
}

fn rorx_form(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(1), f.size(0)) {
        (Kind::Reg, 4) => Some(rorx::<u32, Reg<1>>),
        (Kind::Reg, 8) => Some(rorx::<u64, Reg<1>>),
        (Kind::Mem, 4) => Some(rorx::<u32, Mem>),
        (Kind::Mem, 8) => Some(rorx::<u64, Mem>),
        _ => None,
    }
}

/// RORX. SDM 2B, "RORX".
fn rorx<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    super::bits::vex(cpu)?;
    let a = S::get::<W>(cpu, op)?;
    let result = rotate_right(a, masked_count::<W>(op.imm as u8));
    cpu.set_register(op.reg[0], W::from_u64(result));
    Ok(())
}
