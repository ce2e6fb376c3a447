//! CMPPS and its like, COMISD, UCOMISD. SDM 2A, "CMPPD" and "COMISD".
//! CMPSD comes here from the string instruction of the same mnemonic.

use iced_x86::Mnemonic as M;

use super::float::{Lane, lane, replace};
use super::operand::Source;
use super::scheme::{Scheme, scalar_schemes, schemes};
use crate::cpu::{Cpu, Fallible, Width, eflags};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Row, both, row};
use crate::softfloat::{self, Env, F32, F64, Flags, Out, Relation};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    both(M::Cmpps, M::Vcmpps, |f| packed::<F32>(f)),
    both(M::Cmppd, M::Vcmppd, |f| packed::<F64>(f)),
    row(M::Vcmpsd, |f| scalar::<F64>(f)),
    both(M::Cmpss, M::Vcmpss, |f| scalar::<F32>(f)),
    both(M::Comiss, M::Vcomiss, |f| flags::<F32, true>(f)),
    both(M::Comisd, M::Vcomisd, |f| flags::<F64, true>(f)),
    both(M::Ucomiss, M::Vucomiss, |f| flags::<F32, false>(f)),
    both(M::Ucomisd, M::Vucomisd, |f| flags::<F64, false>(f)),
];

/// CMPSD with XMM operands.
pub fn cmpsd(f: &Form<'_>) -> Option<Handler> {
    scalar::<F64>(f)
}

fn packed<F: Lane>(f: &Form<'_>) -> Option<Handler> {
    schemes!(f, |S, X, N| cmp_packed::<F, S, X, N>)
}

fn scalar<F: Lane>(f: &Form<'_>) -> Option<Handler> {
    scalar_schemes!(f, |S, X| cmp_scalar::<F, S, X>)
}

fn flags<F: Lane, const SIGNALLING: bool>(f: &Form<'_>) -> Option<Handler> {
    scalar_schemes!(f, |S, X| comis::<F, S, X, SIGNALLING>)
}

/// Relations for which each predicate holds: less, equal, greater, unordered in bits 0 to 3.
/// SDM 2A, "CMPPD", "Comparison Predicate for CMPPD and CMPPS Instructions".
const PREDICATES: [u8; 16] = [
    0b0010, 0b0001, 0b0011, 0b1000, 0b1101, 0b1110, 0b1100, 0b0111, // the legacy ones
    0b1010, 0b1001, 0b1011, 0b0000, 0b0101, 0b0110, 0b0100, 0b1111,
];

/// All ones or all zeros. Predicates 16 to 31 are the first ones, quiet where those signal and the reverse.
#[inline]
fn compare<F: Lane>(a: F, b: F, predicate: u64, env: &Env) -> Out<F> {
    let signalling = matches!(predicate & 3, 1 | 2) != (predicate & 16 != 0);
    let out = softfloat::compare(a, b, signalling, env);
    let relation = match out.value {
        Relation::Less => 0,
        Relation::Equal => 1,
        Relation::Greater => 2,
        Relation::Unordered => 3,
    };
    let holds = PREDICATES[(predicate & 15) as usize] >> relation & 1 != 0;
    let mask = if holds { F::Bits::MASK } else { 0 };
    Out { value: F::from_bits(mask), flags: out.flags, rounded_up: false }
}

/// The immediate has three significant bits in legacy encodings and five in VEX encodings.
fn predicate<X: Scheme>(op: &Op) -> u64 {
    op.imm & if X::VEX { 31 } else { 7 }
}

fn cmp_packed<F: Lane, S: Source, X: Scheme, const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let b = S::pieces::<N>(cpu, op)?;
    let a = X::first::<N>(cpu, op);
    let env = cpu.sse_env();
    let (mut result, mut flags) = ([0; N], Flags::NONE);
    for n in 0..N {
        for i in 0..F::COUNT {
            let out = compare::<F>(lane(a[n], i), lane(b[n], i), predicate::<X>(op), &env);
            flags |= out.flags;
            result[n] = replace(result[n], i, out.value);
        }
    }
    cpu.raise_simd(&env, flags)?;
    X::store(cpu, op, result);
    Ok(())
}

fn cmp_scalar<F: Lane, S: Source, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let b = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let [a] = X::first(cpu, op);
    let env = cpu.sse_env();
    let out = compare(lane(a, 0), b, predicate::<X>(op), &env);
    cpu.raise_simd(&env, out.flags)?;
    X::store_low(cpu, op, F::Bits::from_u64(out.value.bits()));
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
fn comis<F: Lane, S: Source, X: Scheme, const SIGNALLING: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let b = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let a = lane::<F>(cpu.xmm(op.reg[0]), 0);
    let env = cpu.sse_env();
    let out = softfloat::compare(a, b, SIGNALLING, &env);
    cpu.raise_simd(&env, out.flags)?;
    cpu.flags.set_arithmetic(relation_flags(out.value));
    Ok(())
}
