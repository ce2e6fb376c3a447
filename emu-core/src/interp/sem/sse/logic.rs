//! Bitwise logic: PAND, ANDPS and so on, which do the same for every type of lane, and PTEST.
//! SDM 2A and 2B at each.

use iced_x86::Mnemonic as M;

use super::operand::{Aligned, Source, Xmm};
use super::packed::packed;
use crate::cpu::{Cpu, Fallible, eflags};
use crate::interp::op::Op;
use crate::interp::table::{Kind, Row, row};

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

/// The row of PTEST, which gives flags.
pub const TEST_ROWS: &[Row] =
    &[row(M::Ptest, |f| Some(if f.kind(1) == Kind::Mem { ptest::<Aligned> } else { ptest::<Xmm<1>> }))];

/// PTEST. SDM 2B, "PTEST". Flags: ZF, CF; the others are cleared.
fn ptest<S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let source = S::vector(cpu, op)?;
    let target = cpu.xmm(op.reg[0]);
    let zero = if source & target == 0 { eflags::ZF } else { 0 };
    let carry = if source & !target == 0 { eflags::CF } else { 0 };
    cpu.flags.set_arithmetic(zero | carry);
    Ok(())
}
