//! MUL, IMUL, MULX, DIV, IDIV.

use iced_x86::Mnemonic as M;

use crate::cpu::eflags::Writer;
use crate::cpu::{Cpu, Fallible, Fault, RAX, RDX, Width};
use crate::interp::op::{HIGH_BYTE, Handler, Imm, Mem, Op, Reg, Source};
use crate::interp::table::{Form, Kind, Row, row, widths, widths_wide};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Mul, |f| one_operand::<false>(f)),
    row(M::Imul, imul),
    row(M::Mulx, mulx_form),
    row(M::Div, |f| divide_form::<false>(f)),
    row(M::Idiv, |f| divide_form::<true>(f)),
];

fn one_operand<const SIGNED: bool>(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, _, n) => widths!(n, |W| multiply::<W, Reg<0>, SIGNED>),
        (_, _, n) => widths!(n, |W| multiply::<W, Mem, SIGNED>),
    }
}

fn imul(f: &Form<'_>) -> Option<Handler> {
    if f.insn.op_count() == 1 {
        return one_operand::<true>(f);
    }
    match (f.kind(1), f.kind(2), f.size(0)) {
        (Kind::Reg, Kind::None, n) => widths_wide!(n, |W| multiply_into::<W, Reg<0>, Reg<1>>),
        (Kind::Mem, Kind::None, n) => widths_wide!(n, |W| multiply_into::<W, Reg<0>, Mem>),
        (Kind::Reg, Kind::Imm, n) => widths_wide!(n, |W| multiply_into::<W, Imm, Reg<1>>),
        (Kind::Mem, Kind::Imm, n) => widths_wide!(n, |W| multiply_into::<W, Imm, Mem>),
        _ => None,
    }
}

/// The accumulator pair: DX:AX and its like, or AX for bytes.
fn set_pair<W: Width>(cpu: &mut Cpu, low: W, high: W) {
    cpu.set_register(RAX as u8, low);
    cpu.set_register(if W::BYTES == 1 { HIGH_BYTE } else { RDX as u8 }, high);
}

fn pair<W: Width>(cpu: &Cpu) -> (u64, u64) {
    let high = if W::BYTES == 1 { HIGH_BYTE } else { RDX as u8 };
    (cpu.register::<W>(RAX as u8).u64(), cpu.register::<W>(high).u64())
}

fn product_flags<W: Width>(cpu: &mut Cpu, low: W, overflow: bool) {
    cpu.flags.record(Writer::Product, low, W::from_u64(overflow.into()));
}

/// MUL and one-operand IMUL. SDM 2B, "MUL"; SDM 2A, "IMUL".
fn multiply<W: Width, S: Source, const SIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let b = S::get::<W>(cpu, op)?;
    let a = cpu.register::<W>(RAX as u8);
    let product = if SIGNED {
        (i128::from(a.i64()) * i128::from(b.i64())) as u128
    } else {
        u128::from(a.u64()) * u128::from(b.u64())
    };
    let (low, high) = (W::from_u64(product as u64), W::from_u64((product >> W::BITS) as u64));
    let overflow = if SIGNED { i128::from(low.i64()) != product as i128 } else { high.u64() != 0 };
    set_pair(cpu, low, high);
    product_flags(cpu, low, overflow);
    Ok(())
}

/// IMUL with two or three operands: the destination is always operand 0.
fn multiply_into<W: Width, A: Source, B: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let b = B::get::<W>(cpu, op)?;
    let a = A::get::<W>(cpu, op)?;
    let product = i128::from(a.i64()) * i128::from(b.i64());
    let low = W::from_u64(product as u64);
    cpu.set_register(op.reg[0], low);
    product_flags(cpu, low, i128::from(low.i64()) != product);
    Ok(())
}

fn mulx_form(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(2), f.size(0)) {
        (Kind::Reg, 4) => Some(mulx::<u32, Reg<2>>),
        (Kind::Reg, 8) => Some(mulx::<u64, Reg<2>>),
        (Kind::Mem, 4) => Some(mulx::<u32, Mem>),
        (Kind::Mem, 8) => Some(mulx::<u64, Mem>),
        _ => None,
    }
}

/// MULX: (E/R)DX times the source, no flags; when both destinations are one register it gets the high half.
fn mulx<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    super::bits::vex(cpu)?;
    let b = S::get::<W>(cpu, op)?;
    let product = u128::from(cpu.register::<W>(RDX as u8).u64()) * u128::from(b.u64());
    cpu.set_register(op.reg[1], W::from_u64(product as u64));
    cpu.set_register(op.reg[0], W::from_u64((product >> W::BITS) as u64));
    Ok(())
}

fn divide_form<const SIGNED: bool>(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, _, n) => widths!(n, |W| divide::<W, Reg<0>, SIGNED>),
        (_, _, n) => widths!(n, |W| divide::<W, Mem, SIGNED>),
    }
}

/// DIV and IDIV. SDM 2A, "DIV", "IDIV". All flags are undefined; Intel silicon leaves them as they were.
fn divide<W: Width, S: Source, const SIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let divisor = S::get::<W>(cpu, op)?;
    if divisor.u64() == 0 {
        return Err(Fault::DE);
    }
    let (low, high) = pair::<W>(cpu);
    let dividend = u128::from(high) << W::BITS | u128::from(low);
    let (quotient, remainder) = if SIGNED {
        let unused = 128 - 2 * W::BITS;
        let dividend = (dividend << unused) as i128 >> unused;
        let divisor = i128::from(divisor.i64());
        let quotient = dividend.checked_div(divisor).ok_or(Fault::DE)?;
        let low = W::from_u64(quotient as u64);
        if i128::from(low.i64()) != quotient {
            return Err(Fault::DE);
        }
        (low, W::from_u64((dividend % divisor) as u64))
    } else if W::BYTES < 8 {
        // Half the width of u128 is many times as fast.
        let (dividend, divisor) = (dividend as u64, divisor.u64());
        if dividend / divisor > W::MASK {
            return Err(Fault::DE);
        }
        (W::from_u64(dividend / divisor), W::from_u64(dividend % divisor))
    } else {
        let divisor = u128::from(divisor.u64());
        let quotient = dividend / divisor;
        if quotient > u128::from(W::MASK) {
            return Err(Fault::DE);
        }
        (W::from_u64(quotient as u64), W::from_u64((dividend % divisor) as u64))
    };
    set_pair(cpu, quotient, remainder);
    Ok(())
}
