//! FMA: products and sums with one rounding. SDM vol. 1, "Fused Multiply-ADD (FMA)"; SDM 2C, "VFMADD132PD" and so on.

use iced_x86::Mnemonic as M;

use super::float::{Lane, lane, replace};
use super::operand::Source;
use super::scheme::{Scheme, Vex, scalar_schemes, schemes};
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Row, row};
use crate::softfloat::{self, Env, F32, F64, Flags, Negate, Out};

/// Signs of product and addend, and whether the addend's sign is the other one in even lanes.
trait Signs {
    const NEGATE: Negate;
    const ALTERNATES: bool = false;
}

macro_rules! signs {
    ($($name:ident: $product:literal $addend:literal $alternates:literal;)*) => {$(
        struct $name;
        impl Signs for $name {
            const NEGATE: Negate = Negate { product: $product, addend: $addend };
            const ALTERNATES: bool = $alternates;
        }
    )*};
}

signs! {
    Madd: false false false;
    Msub: false true false;
    Nmadd: true false false;
    Nmsub: true true false;
    MaddSub: false false true;
    MsubAdd: false true true;
}

macro_rules! rows {
    ($($signs:ident $form:literal: $($ps:ident $pd:ident)? / $($ss:ident $sd:ident)?;)*) => {
        /// The rows of this family.
        pub const ROWS: &[Row] = &[$(
            $(row(M::$ps, |f| packed::<F32, $signs, $form>(f)), row(M::$pd, |f| packed::<F64, $signs, $form>(f)),)?
            $(row(M::$ss, |f| scalar::<F32, $signs, $form>(f)), row(M::$sd, |f| scalar::<F64, $signs, $form>(f)),)?
        )*];
    };
}

rows! {
    Madd 132: Vfmadd132ps Vfmadd132pd / Vfmadd132ss Vfmadd132sd;
    Madd 213: Vfmadd213ps Vfmadd213pd / Vfmadd213ss Vfmadd213sd;
    Madd 231: Vfmadd231ps Vfmadd231pd / Vfmadd231ss Vfmadd231sd;
    Msub 132: Vfmsub132ps Vfmsub132pd / Vfmsub132ss Vfmsub132sd;
    Msub 213: Vfmsub213ps Vfmsub213pd / Vfmsub213ss Vfmsub213sd;
    Msub 231: Vfmsub231ps Vfmsub231pd / Vfmsub231ss Vfmsub231sd;
    Nmadd 132: Vfnmadd132ps Vfnmadd132pd / Vfnmadd132ss Vfnmadd132sd;
    Nmadd 213: Vfnmadd213ps Vfnmadd213pd / Vfnmadd213ss Vfnmadd213sd;
    Nmadd 231: Vfnmadd231ps Vfnmadd231pd / Vfnmadd231ss Vfnmadd231sd;
    Nmsub 132: Vfnmsub132ps Vfnmsub132pd / Vfnmsub132ss Vfnmsub132sd;
    Nmsub 213: Vfnmsub213ps Vfnmsub213pd / Vfnmsub213ss Vfnmsub213sd;
    Nmsub 231: Vfnmsub231ps Vfnmsub231pd / Vfnmsub231ss Vfnmsub231sd;
    MaddSub 132: Vfmaddsub132ps Vfmaddsub132pd /;
    MaddSub 213: Vfmaddsub213ps Vfmaddsub213pd /;
    MaddSub 231: Vfmaddsub231ps Vfmaddsub231pd /;
    MsubAdd 132: Vfmsubadd132ps Vfmsubadd132pd /;
    MsubAdd 213: Vfmsubadd213ps Vfmsubadd213pd /;
    MsubAdd 231: Vfmsubadd231ps Vfmsubadd231pd /;
}

fn packed<F: Lane, G: Signs, const FORM: u32>(f: &Form<'_>) -> Option<Handler> {
    schemes!(f, |S, X, N| packed_of::<F, G, S, X, N, FORM>)
}

fn scalar<F: Lane, G: Signs, const FORM: u32>(f: &Form<'_>) -> Option<Handler> {
    scalar_schemes!(f, |S, X| scalar_of::<F, G, S, X, FORM>)
}

/// The form's digits say which operands are multiplied and which is added.
#[inline]
fn fused<F: Lane, const FORM: u32>(operands: [F; 3], negate: Negate, env: &Env) -> Out<F> {
    let [first, second, third] = operands;
    let (a, b, c) = match FORM {
        132 => (first, third, second),
        213 => (second, first, third),
        _ => (second, third, first),
    };
    softfloat::fma(a, b, c, negate, env)
}

fn packed_of<F: Lane, G: Signs, S: Source, X: Scheme, const N: usize, const FORM: u32>(
    cpu: &mut Cpu,
    op: &Op,
) -> Fallible {
    X::check(cpu)?;
    let third = S::pieces::<N>(cpu, op)?;
    let second = X::first::<N>(cpu, op);
    let first = cpu.pieces::<N>(op.reg[0]);
    let env = cpu.sse_env();
    let (mut result, mut flags) = ([0; N], Flags::NONE);
    for n in 0..N {
        for i in 0..F::COUNT {
            let even = G::ALTERNATES && i % 2 == 0;
            let negate = Negate { addend: G::NEGATE.addend != even, ..G::NEGATE };
            let operands = [lane::<F>(first[n], i), lane(second[n], i), lane(third[n], i)];
            let out = fused::<F, FORM>(operands, negate, &env);
            flags |= out.flags;
            result[n] = replace(result[n], i, out.value);
        }
    }
    cpu.raise_simd(&env, flags)?;
    X::store(cpu, op, result);
    Ok(())
}

/// The scalar forms keep the other lanes of the destination, which is the first operand.
fn scalar_of<F: Lane, G: Signs, S: Source, X: Scheme, const FORM: u32>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let third = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let first = cpu.xmm(op.reg[0]);
    let operands = [lane::<F>(first, 0), lane(cpu.xmm(op.reg[1]), 0), third];
    let env = cpu.sse_env();
    let out = fused::<F, FORM>(operands, G::NEGATE, &env);
    cpu.raise_simd(&env, out.flags)?;
    let kept = first & !u128::from(F::Bits::MASK);
    Vex::store(cpu, op, [kept | u128::from(out.value.bits())]);
    Ok(())
}
