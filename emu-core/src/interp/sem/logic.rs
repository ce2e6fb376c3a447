//! AND, OR, XOR, NOT, TEST, ANDN.

use iced_x86::Mnemonic as M;

use super::arith::{Binary, binary};
use crate::cpu::eflags::Writer;
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Imm, Mem, Op, Reg, Source, Target, quick};
use crate::interp::table::{Form, Kind, Row, row, widths};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::And, binary::<And>),
    row(M::Or, binary::<Or>),
    row(M::Xor, binary::<Xor>),
    row(M::Test, test_form),
    row(M::Not, complement),
    row(M::Andn, and_not),
];

/// Bitwise AND.
#[derive(Debug)]
pub struct And;
/// Bitwise OR.
#[derive(Debug)]
pub struct Or;
/// Bitwise exclusive OR.
#[derive(Debug)]
pub struct Xor;

#[inline(always)]
fn logic<W: Width>(cpu: &mut Cpu, result: u64) -> W {
    let result = W::from_u64(result);
    cpu.flags.record(Writer::Logic, result, W::from_u64(0));
    result
}

impl Binary for And {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, b: W) -> W {
        logic(cpu, a.u64() & b.u64())
    }
}

impl Binary for Or {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, b: W) -> W {
        logic(cpu, a.u64() | b.u64())
    }
}

impl Binary for Xor {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, b: W) -> W {
        logic(cpu, a.u64() ^ b.u64())
    }
}

fn test_form(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, Kind::Reg, n) => widths!(n, |W| test::<W, Reg<0>, Reg<1>>),
        (Kind::Reg, Kind::Imm, n) => widths!(n, |W| test::<W, Reg<0>, Imm>),
        (Kind::Mem, Kind::Reg, n) => widths!(n, |W| quick!(|M| test::<W, M, Reg<1>>)),
        (Kind::Mem, Kind::Imm, n) => widths!(n, |W| quick!(|M| test::<W, M, Imm>)),
        _ => None,
    }
}

/// TEST: flags of the AND. SDM 2B, "TEST".
fn test<W: Width, A: Source, B: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let a = A::get::<W>(cpu, op)?;
    let b = B::get::<W>(cpu, op)?;
    And::apply(cpu, a, b);
    Ok(())
}

fn complement(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, _, n) => widths!(n, |W| not::<W, Reg<0>>),
        (_, _, n) => widths!(n, |W| not::<W, Mem>),
    }
}

/// NOT: no flags. SDM 2B, "NOT".
fn not<W: Width, D: Target>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (a, place) = D::locate::<W>(cpu, op)?;
    D::put(cpu, op, place, W::from_u64(!a.u64()))
}

fn and_not(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(2), f.size(0)) {
        (Kind::Reg, 4) => Some(andn::<u32, Reg<2>>),
        (Kind::Reg, 8) => Some(andn::<u64, Reg<2>>),
        (Kind::Mem, 4) => Some(andn::<u32, Mem>),
        (Kind::Mem, 8) => Some(andn::<u64, Mem>),
        _ => None,
    }
}

/// ANDN. SDM 2A, "ANDN". AF and PF are undefined; silicon leaves them as AND does.
fn andn<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    super::bits::vex(cpu)?;
    let b = S::get::<W>(cpu, op)?;
    let a = cpu.register::<W>(op.reg[1]);
    let result = And::apply(cpu, W::from_u64(!a.u64()), b);
    cpu.set_register(op.reg[0], result);
    Ok(())
}
