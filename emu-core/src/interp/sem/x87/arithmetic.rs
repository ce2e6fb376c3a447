//! FADD, FSUB, FMUL, FDIV with all their forms; FSQRT, FABS, FCHS, FRNDINT, FSCALE, FPREM, FXTRACT.

use iced_x86::Mnemonic as M;

use super::{C0, C1, C2, C3, Number, Signed, begin, operand};
use crate::cpu::{Cpu, Fallible};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, row};
use crate::softfloat::{
    self, Env, F32, F64, F80, Flags, Format, Out, RemainderKind, Unpacked, add_unpacked, div_unpacked,
    mul_unpacked, sub_unpacked,
};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Fadd, |f| form::<Add>(f)),
    row(M::Fsub, |f| form::<Sub>(f)),
    row(M::Fsubr, |f| form::<SubReversed>(f)),
    row(M::Fmul, |f| form::<Mul>(f)),
    row(M::Fdiv, |f| form::<Div>(f)),
    row(M::Fdivr, |f| form::<DivReversed>(f)),
    row(M::Faddp, |_| Some(registers::<Add, true>)),
    row(M::Fsubp, |_| Some(registers::<Sub, true>)),
    row(M::Fsubrp, |_| Some(registers::<SubReversed, true>)),
    row(M::Fmulp, |_| Some(registers::<Mul, true>)),
    row(M::Fdivp, |_| Some(registers::<Div, true>)),
    row(M::Fdivrp, |_| Some(registers::<DivReversed, true>)),
    row(M::Fiadd, |f| integer::<Add>(f)),
    row(M::Fisub, |f| integer::<Sub>(f)),
    row(M::Fisubr, |f| integer::<SubReversed>(f)),
    row(M::Fimul, |f| integer::<Mul>(f)),
    row(M::Fidiv, |f| integer::<Div>(f)),
    row(M::Fidivr, |f| integer::<DivReversed>(f)),
    row(M::Fsqrt, |_| Some(|cpu, op| unary(cpu, op, softfloat::sqrt))),
    row(M::Frndint, |_| Some(|cpu, op| unary(cpu, op, softfloat::round_to_integral))),
    row(M::Fabs, |_| Some(|cpu, op| sign(cpu, op, |s| s & 0x7fff))),
    row(M::Fchs, |_| Some(|cpu, op| sign(cpu, op, |s| s ^ 0x8000))),
    row(M::Fscale, |_| Some(fscale)),
    row(M::Fprem, |_| Some(|cpu, op| fprem(cpu, op, RemainderKind::Truncate))),
    row(M::Fprem1, |_| Some(|cpu, op| fprem(cpu, op, RemainderKind::Nearest))),
    row(M::Fxtract, |_| Some(fxtract)),
];

/// An operation on destination and source.
trait Operation {
    fn apply(a: Unpacked, b: Unpacked, env: &Env) -> Out<F80>;
}

macro_rules! operations {
    ($($name:ident: |$a:ident, $b:ident, $env:ident| $value:expr;)*) => {$(
        struct $name;
        impl Operation for $name {
            #[inline(always)]
            fn apply($a: Unpacked, $b: Unpacked, $env: &Env) -> Out<F80> {
                $value
            }
        }
    )*};
}

operations! {
    Add: |a, b, env| add_unpacked(a, b, env);
    Sub: |a, b, env| sub_unpacked(a, b, env);
    SubReversed: |a, b, env| sub_unpacked(b, a, env);
    Mul: |a, b, env| mul_unpacked(a, b, env);
    Div: |a, b, env| div_unpacked(a, b, env);
    DivReversed: |a, b, env| div_unpacked(b, a, env);
}

fn form<O: Operation>(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(0), f.size(0)) {
        (Kind::Reg, _) => Some(registers::<O, false>),
        (Kind::Mem, 4) => Some(memory::<O, F32>),
        (Kind::Mem, 8) => Some(memory::<O, F64>),
        _ => None,
    }
}

fn integer<O: Operation>(f: &Form<'_>) -> Option<Handler> {
    match f.size(0) {
        2 => Some(memory::<O, Signed<u16>>),
        4 => Some(memory::<O, Signed<u32>>),
        _ => None,
    }
}

/// FADD ST(i), ST(j) and so on. SDM 2A, "FADD/FADDP/FIADD".
fn registers<O: Operation, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    let [target, source, _] = op.reg;
    if cpu.st_empty(target) || cpu.st_empty(source) {
        underflow(cpu, target, POP);
        return Ok(());
    }
    let env = cpu.x87_env();
    let out = O::apply(cpu.st(target).unpack(), cpu.st(source).unpack(), &env);
    if cpu.deliver_x87(&env, target, out) && POP {
        cpu.pop_x87();
    }
    Ok(())
}

/// Stack underflow of an operation that would write ST(i).
#[cold]
fn underflow(cpu: &mut Cpu, i: u8, pop: bool) {
    if cpu.stack_underflow() {
        cpu.set_st(i, F80::indefinite());
        if pop {
            cpu.pop_x87();
        }
    }
}

/// FADD m32fp, FIADD m16int and so on.
fn memory<O: Operation, N: Number>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let source = N::unpack(operand::<N>(cpu, op)?);
    if cpu.st_empty(0) {
        underflow(cpu, 0, false);
        return Ok(());
    }
    let env = cpu.x87_env();
    let out = O::apply(cpu.st(0).unpack(), source, &env);
    cpu.deliver_x87(&env, 0, out);
    Ok(())
}

fn unary(cpu: &mut Cpu, op: &Op, function: impl Fn(F80, &Env) -> Out<F80>) -> Fallible {
    begin(cpu, op)?;
    if cpu.st_empty(0) {
        underflow(cpu, 0, false);
        return Ok(());
    }
    let env = cpu.x87_env();
    let out = function(cpu.st(0), &env);
    cpu.deliver_x87(&env, 0, out);
    Ok(())
}

/// FABS and FCHS: the sign bit of anything. SDM 2A, "FABS".
fn sign(cpu: &mut Cpu, op: &Op, change: impl Fn(u16) -> u16) -> Fallible {
    begin(cpu, op)?;
    if cpu.st_empty(0) {
        underflow(cpu, 0, false);
        return Ok(());
    }
    let value = cpu.st(0);
    cpu.set_condition(C1, false);
    cpu.set_st(0, F80 { sign_exponent: change(value.sign_exponent), ..value });
    Ok(())
}

/// FSCALE. SDM 2A, "FSCALE".
fn fscale(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    if cpu.st_empty(0) || cpu.st_empty(1) {
        underflow(cpu, 0, false);
        return Ok(());
    }
    let env = cpu.x87_env();
    let out = softfloat::scale(cpu.st(0), cpu.st(1), &env);
    cpu.deliver_x87(&env, 0, out);
    Ok(())
}

/// FPREM and FPREM1: C2 says that the reduction goes on; C0, C3, C1 have the quotient. SDM 2A, "FPREM".
fn fprem(cpu: &mut Cpu, op: &Op, kind: RemainderKind) -> Fallible {
    begin(cpu, op)?;
    cpu.set_condition(C2, false);
    if cpu.st_empty(0) || cpu.st_empty(1) {
        underflow(cpu, 0, false);
        return Ok(());
    }
    let env = cpu.x87_env();
    let result = softfloat::remainder(cpu.st(0), cpu.st(1), kind, &env);
    cpu.set_condition(C2, result.incomplete);
    if cpu.deliver_x87(&env, 0, result.out) && !result.out.value.unpack().is_nan() {
        cpu.set_condition(C0, result.quotient & 4 != 0);
        cpu.set_condition(C3, result.quotient & 2 != 0);
        cpu.set_condition(C1, result.quotient & 1 != 0);
    }
    Ok(())
}

/// FXTRACT: the exponent replaces ST(0), the significand is pushed. SDM 2A, "FXTRACT".
fn fxtract(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    if !room_for_two(cpu) {
        return Ok(());
    }
    let env = cpu.x87_env();
    let parts = softfloat::extract(cpu.st(0), &env);
    cpu.set_condition(C1, false);
    cpu.raise_x87(&env, parts.flags);
    if !env.traps(parts.flags & Flags::PRE_COMPUTATION) {
        cpu.set_st(0, parts.exponent);
        cpu.push_x87(parts.significand);
    }
    Ok(())
}

/// Can an instruction replace ST(0) and push? When not, it reports the stack fault and has the masked response done.
pub fn room_for_two(cpu: &mut Cpu) -> bool {
    let masked = if cpu.st_empty(0) {
        cpu.stack_underflow()
    } else if cpu.st_empty(7) {
        return true;
    } else {
        cpu.stack_overflow()
    };
    if masked {
        cpu.set_st(0, F80::indefinite());
        cpu.push_x87(F80::indefinite());
    }
    false
}
