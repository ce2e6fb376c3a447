//! Bitwise logic: PAND, ANDPS and so on, which do the same for every type of lane, and PTEST.
//! SDM 2A and 2B at each.

use iced_x86::Mnemonic as M;

use super::operand::Source;
use super::packed::packed;
use super::scheme::{Scheme, schemes};
use crate::cpu::{Cpu, Fallible, eflags};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Row, both, row};

packed! {
    Pand Vpand: |a, b| a & b;
    Andps Vandps: |a, b| a & b;
    Andpd Vandpd: |a, b| a & b;
    Pandn Vpandn: |a, b| !a & b;
    Andnps Vandnps: |a, b| !a & b;
    Andnpd Vandnpd: |a, b| !a & b;
    Por Vpor: |a, b| a | b;
    Orps Vorps: |a, b| a | b;
    Orpd Vorpd: |a, b| a | b;
    Pxor Vpxor: |a, b| a ^ b;
    Xorps Vxorps: |a, b| a ^ b;
    Xorpd Vxorpd: |a, b| a ^ b;
}

/// The rows of PTEST and its like, which give flags.
pub const TEST_ROWS: &[Row] = &[
    both(M::Ptest, M::Vptest, |f| test_form::<{ u128::MAX }>(f)),
    row(M::Vtestps, |f| test_form::<0x8000_0000_8000_0000_8000_0000_8000_0000>(f)),
    row(M::Vtestpd, |f| test_form::<0x8000_0000_0000_0000_8000_0000_0000_0000>(f)),
];

fn test_form<const BITS: u128>(f: &Form<'_>) -> Option<Handler> {
    schemes!(f, |S, X, N| test::<S, X, N, BITS>)
}

/// PTEST, and VTESTPS and VTESTPD, which look at the sign bits. SDM 2B, "PTEST". Flags: ZF, CF; the others are cleared.
fn test<S: Source, X: Scheme, const N: usize, const BITS: u128>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let source = S::pieces::<N>(cpu, op)?;
    let target = cpu.pieces::<N>(op.reg[0]);
    let none = |value: fn(u128, u128) -> u128| (0..N).all(|i| value(source[i], target[i]) & BITS == 0);
    let zero = if none(|s, t| s & t) { eflags::ZF } else { 0 };
    let carry = if none(|s, t| s & !t) { eflags::CF } else { 0 };
    cpu.flags.set_arithmetic(zero | carry);
    Ok(())
}
