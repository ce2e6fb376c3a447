//! CMPPS and its like, COMISD, UCOMISD. SDM 2A, "CMPPD" and "COMISD".
//! CMPSD comes here from the string instruction of the same mnemonic.

use iced_x86::Mnemonic as M;

use super::float::{Lane, lane, replace};
use super::operand::{Aligned, Source, Unaligned, Xmm};
use crate::cpu::{Cpu, Fallible, Width, eflags};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, row};
use crate::softfloat::{self, Env, F32, F64, Flags, Out, Relation};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Cmpps, |f| packed::<F32>(f)),
    row(M::Cmppd, |f| packed::<F64>(f)),
    row(M::Cmpss, |f| scalar::<F32>(f)),
    row(M::Comiss, |f| flags::<F32, true>(f)),
    row(M::Comisd, |f| flags::<F64, true>(f)),
    row(M::Ucomiss, |f| flags::<F32, false>(f)),
    row(M::Ucomisd, |f| flags::<F64, false>(f)),
];

/// CMPSD with XMM operands.
pub fn cmpsd(f: &Form<'_>) -> Option<Handler> {
    scalar::<F64>(f)
}

fn packed<F: Lane>(f: &Form<'_>) -> Option<Handler> {
    Some(match f.kind(1) {
        Kind::Mem => cmp_packed::<F, Aligned>,
        _ => cmp_packed::<F, Xmm<1>>,
    })
}

fn scalar<F: Lane>(f: &Form<'_>) -> Option<Handler> {
    Some(match f.kind(1) {
        Kind::Mem => cmp_scalar::<F, Unaligned>,
        _ => cmp_scalar::<F, Xmm<1>>,
    })
}

fn flags<F: Lane, const SIGNALLING: bool>(f: &Form<'_>) -> Option<Handler> {
    Some(match f.kind(1) {
        Kind::Mem => comis::<F, Unaligned, SIGNALLING>,
        _ => comis::<F, Xmm<1>, SIGNALLING>,
    })
}

/// All ones or all zeros, by the predicate: EQ, LT, LE, UNORD and their negations.
#[inline]
fn compare<F: Lane>(a: F, b: F, predicate: u64, env: &Env) -> Out<F> {
    let signalling = matches!(predicate & 3, 1 | 2);
    let out = softfloat::compare(a, b, signalling, env);
    let holds = match predicate & 3 {
        0 => out.value == Relation::Equal,
        1 => out.value == Relation::Less,
        2 => matches!(out.value, Relation::Less | Relation::Equal),
        _ => out.value == Relation::Unordered,
    };
    let mask = if holds == (predicate & 4 == 0) { F::Bits::MASK } else { 0 };
    Out { value: F::from_bits(mask), flags: out.flags, rounded_up: false }
}

fn cmp_packed<F: Lane, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let b = S::vector(cpu, op)?;
    let a = cpu.xmm(op.reg[0]);
    let env = cpu.sse_env();
    let (mut result, mut flags) = (0, Flags::NONE);
    for i in 0..F::COUNT {
        let out = compare::<F>(lane(a, i), lane(b, i), op.imm, &env);
        flags |= out.flags;
        result = replace(result, i, out.value);
    }
    cpu.raise_simd(&env, flags)?;
    cpu.set_xmm(op.reg[0], result);
    Ok(())
}

fn cmp_scalar<F: Lane, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let b = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let a = lane::<F>(cpu.xmm(op.reg[0]), 0);
    let env = cpu.sse_env();
    let out = compare(a, b, op.imm, &env);
    cpu.raise_simd(&env, out.flags)?;
    cpu.set_xmm_low(op.reg[0], F::Bits::from_u64(out.value.bits()));
    Ok(())
}

/// ZF, PF and CF for a relation; what COMISD and FCOMI leave in EFLAGS.
pub fn relation_flags(relation: Relation) -> u64 {
    match relation {
        Relation::Greater => 0,
        Relation::Less => eflags::CF,
        Relation::Equal => eflags::ZF,
        Relation::Unordered => eflags::ZF | eflags::PF | eflags::CF,
    }
}

/// COMISS, COMISD, UCOMISS, UCOMISD. Flags: ZF, PF, CF; OF, SF and AF are cleared.
fn comis<F: Lane, S: Source, const SIGNALLING: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let b = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let a = lane::<F>(cpu.xmm(op.reg[0]), 0);
    let env = cpu.sse_env();
    let out = softfloat::compare(a, b, SIGNALLING, &env);
    cpu.raise_simd(&env, out.flags)?;
    cpu.flags.set_arithmetic(relation_flags(out.value));
    Ok(())
}
