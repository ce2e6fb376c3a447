//! FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1.

use iced_x86::Mnemonic as M;

use super::arithmetic::room_for_two;
use super::{C1, C2, begin};
use crate::cpu::{Cpu, Fallible};
use crate::interp::op::Op;
use crate::interp::table::{Row, row};
use crate::softfloat::{self, Env, F80, Flags, Format, Out};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Fsin, |_| Some(|cpu, op| angle(cpu, op, softfloat::sine))),
    row(M::Fcos, |_| Some(|cpu, op| angle(cpu, op, softfloat::cosine))),
    row(M::Fptan, |_| Some(fptan)),
    row(M::Fsincos, |_| Some(fsincos)),
    row(M::F2xm1, |_| Some(f2xm1)),
    row(M::Fpatan, |_| Some(|cpu, op| two(cpu, op, softfloat::arctangent))),
    row(M::Fyl2x, |_| Some(|cpu, op| two(cpu, op, softfloat::y_log2))),
    row(M::Fyl2xp1, |_| Some(|cpu, op| two(cpu, op, softfloat::y_log2_plus_one))),
];

/// FSIN and FCOS: C2 when the angle is out of range. SDM 2A, "FSIN".
fn angle(cpu: &mut Cpu, op: &Op, function: fn(F80, &Env) -> Option<Out<F80>>) -> Fallible {
    begin(cpu, op)?;
    cpu.set_condition(C2, false);
    if cpu.st_empty(0) {
        if cpu.stack_underflow() {
            cpu.set_st(0, F80::indefinite());
        }
        return Ok(());
    }
    let env = cpu.x87_env();
    match function(cpu.st(0), &env) {
        Some(out) => {
            cpu.deliver_x87(&env, 0, out);
        }
        None => out_of_range(cpu),
    }
    Ok(())
}

fn out_of_range(cpu: &mut Cpu) {
    cpu.set_condition(C1, false);
    cpu.set_condition(C2, true);
}

/// FPTAN: the tangent replaces ST(0), then 1.0 is pushed. SDM 2A, "FPTAN".
fn fptan(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    cpu.set_condition(C2, false);
    if !room_for_two(cpu) {
        return Ok(());
    }
    let env = cpu.x87_env();
    let Some(out) = softfloat::tangent(cpu.st(0), &env) else {
        out_of_range(cpu);
        return Ok(());
    };
    // A NaN goes to both registers.
    let nan = out.value.unpack().is_nan();
    let second = if nan { out.value } else { F80 { sign_exponent: 0x3fff, significand: 1 << 63 } };
    if cpu.deliver_x87(&env, 0, out) {
        cpu.push_x87(second);
    }
    Ok(())
}

/// FSINCOS: the sine replaces ST(0), then the cosine is pushed. SDM 2A, "FSINCOS".
fn fsincos(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    cpu.set_condition(C2, false);
    if !room_for_two(cpu) {
        return Ok(());
    }
    let env = cpu.x87_env();
    let Some((sine, cosine)) = softfloat::sine_and_cosine(cpu.st(0), &env) else {
        out_of_range(cpu);
        return Ok(());
    };
    cpu.raise_x87(&env, cosine.flags);
    if cpu.deliver_x87(&env, 0, sine) && !env.traps(cosine.flags & Flags::PRE_COMPUTATION) {
        cpu.push_x87(cosine.value);
    }
    Ok(())
}

/// F2XM1. SDM 2A, "F2XM1".
fn f2xm1(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    if cpu.st_empty(0) {
        if cpu.stack_underflow() {
            cpu.set_st(0, F80::indefinite());
        }
        return Ok(());
    }
    let env = cpu.x87_env();
    let out = softfloat::power_of_two_minus_one(cpu.st(0), &env);
    cpu.deliver_x87(&env, 0, out);
    Ok(())
}

/// FPATAN, FYL2X, FYL2XP1: of ST(1) and ST(0) into ST(1), then pop. SDM 2A at each.
fn two(cpu: &mut Cpu, op: &Op, function: fn(F80, F80, &Env) -> Out<F80>) -> Fallible {
    begin(cpu, op)?;
    if cpu.st_empty(0) || cpu.st_empty(1) {
        if cpu.stack_underflow() {
            cpu.set_st(1, F80::indefinite());
            cpu.pop_x87();
        }
        return Ok(());
    }
    let env = cpu.x87_env();
    let out = function(cpu.st(1), cpu.st(0), &env);
    if cpu.deliver_x87(&env, 1, out) {
        cpu.pop_x87();
    }
    Ok(())
}
