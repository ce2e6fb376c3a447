//! FCOM, FUCOM, FICOM, FTST, FCOMI, FUCOMI, FXAM, FCMOVcc.

use iced_x86::Mnemonic as M;

use super::{C0, C1, C2, C3, Number, Signed, begin, operand};
use crate::cpu::{Cpu, Fallible};
use crate::interp::op::{Handler, Op};
use crate::interp::sem::sse::compare::relation_flags;
use crate::interp::table::{Form, Kind, Row, row};
use crate::softfloat::{Class, F32, F64, F80, Flags, Format, Relation, Unpacked, compare_unpacked};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Fcom, |f| form::<0>(f)),
    row(M::Fcomp, |f| form::<1>(f)),
    row(M::Fcompp, |_| Some(|cpu, op| registers(cpu, op, 1, true, 2))),
    row(M::Fucom, |_| Some(|cpu, op| registers(cpu, op, op.reg[1], false, 0))),
    row(M::Fucomp, |_| Some(|cpu, op| registers(cpu, op, op.reg[1], false, 1))),
    row(M::Fucompp, |_| Some(|cpu, op| registers(cpu, op, 1, false, 2))),
    row(M::Ficom, |f| integer::<0>(f)),
    row(M::Ficomp, |f| integer::<1>(f)),
    row(M::Ftst, |_| Some(ftst)),
    row(M::Fcomi, |_| Some(fcomi::<true, false>)),
    row(M::Fcomip, |_| Some(fcomi::<true, true>)),
    row(M::Fucomi, |_| Some(fcomi::<false, false>)),
    row(M::Fucomip, |_| Some(fcomi::<false, true>)),
    row(M::Fxam, |_| Some(fxam)),
    row(M::Fcmovb, |_| Some(fcmov::<2>)),
    row(M::Fcmovnb, |_| Some(fcmov::<3>)),
    row(M::Fcmove, |_| Some(fcmov::<4>)),
    row(M::Fcmovne, |_| Some(fcmov::<5>)),
    row(M::Fcmovbe, |_| Some(fcmov::<6>)),
    row(M::Fcmovnbe, |_| Some(fcmov::<7>)),
    row(M::Fcmovu, |_| Some(fcmov::<10>)),
    row(M::Fcmovnu, |_| Some(fcmov::<11>)),
];

fn form<const POPS: u8>(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(0), f.size(0)) {
        (Kind::Reg, _) => Some(|cpu, op| registers(cpu, op, op.reg[1], true, POPS)),
        (Kind::Mem, 4) => Some(memory::<F32, POPS>),
        (Kind::Mem, 8) => Some(memory::<F64, POPS>),
        _ => None,
    }
}

fn integer<const POPS: u8>(f: &Form<'_>) -> Option<Handler> {
    match f.size(0) {
        2 => Some(memory::<Signed<u16>, POPS>),
        4 => Some(memory::<Signed<u32>, POPS>),
        _ => None,
    }
}

/// Puts a relation into C3, C2 and C0.
fn report(cpu: &mut Cpu, relation: Relation) {
    cpu.set_condition(C3, matches!(relation, Relation::Equal | Relation::Unordered));
    cpu.set_condition(C2, relation == Relation::Unordered);
    cpu.set_condition(C0, matches!(relation, Relation::Less | Relation::Unordered));
}

fn pop(cpu: &mut Cpu, pops: u8) {
    for _ in 0..pops {
        cpu.pop_x87();
    }
}

/// Stack underflow: the masked response is "unordered".
fn underflow(cpu: &mut Cpu, pops: u8) {
    if cpu.stack_underflow() {
        report(cpu, Relation::Unordered);
        pop(cpu, pops);
    }
}

/// Compares ST(0) with an operand. An unmasked IE leaves the condition codes as they are, an unmasked DE does not;
/// neither pops.
fn compare(cpu: &mut Cpu, b: Unpacked, signalling: bool, pops: u8) {
    let env = cpu.x87_env();
    let out = compare_unpacked(cpu.st(0).unpack(), b, signalling, &env);
    cpu.set_condition(C1, false);
    cpu.raise_x87(&env, out.flags);
    if !env.traps(out.flags & Flags::INVALID) {
        report(cpu, out.value);
    }
    if !env.traps(out.flags) {
        pop(cpu, pops);
    }
}

/// FCOM, FCOMP, FCOMPP and the unordered ones. SDM 2A, "FCOM/FCOMP/FCOMPP".
fn registers(cpu: &mut Cpu, op: &Op, i: u8, signalling: bool, pops: u8) -> Fallible {
    begin(cpu, op)?;
    if cpu.st_empty(0) || cpu.st_empty(i) {
        underflow(cpu, pops);
    } else {
        let b = cpu.st(i).unpack();
        compare(cpu, b, signalling, pops);
    }
    Ok(())
}

fn memory<N: Number, const POPS: u8>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let b = N::unpack(operand::<N>(cpu, op)?);
    if cpu.st_empty(0) {
        underflow(cpu, POPS);
    } else {
        compare(cpu, b, true, POPS);
    }
    Ok(())
}

/// FTST. SDM 2A, "FTST".
fn ftst(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    if cpu.st_empty(0) {
        underflow(cpu, 0);
    } else {
        compare(cpu, F80::zero(false).unpack(), true, 0);
    }
    Ok(())
}

/// FCOMI and its kind. Flags: ZF, PF, CF; OF, SF and AF are cleared. SDM 2A, "FCOMI/FCOMIP/FUCOMI/FUCOMIP".
fn fcomi<const SIGNALLING: bool, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    let i = op.reg[1];
    let (relation, pops) = if cpu.st_empty(0) || cpu.st_empty(i) {
        if !cpu.stack_underflow() {
            return Ok(());
        }
        (Relation::Unordered, POP)
    } else {
        let env = cpu.x87_env();
        let out = compare_unpacked(cpu.st(0).unpack(), cpu.st(i).unpack(), SIGNALLING, &env);
        cpu.set_condition(C1, false);
        cpu.raise_x87(&env, out.flags);
        if env.traps(out.flags & Flags::INVALID) {
            return Ok(());
        }
        (out.value, POP && !env.traps(out.flags))
    };
    cpu.flags.set_arithmetic(relation_flags(relation));
    if pops {
        cpu.pop_x87();
    }
    Ok(())
}

/// FXAM: C1 is the sign even of an empty register. SDM 2A, "FXAM".
fn fxam(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    let value = cpu.st(0);
    let codes = if cpu.st_empty(0) {
        C3 | C0
    } else {
        match value.unpack().class {
            Class::Unsupported => 0,
            Class::QuietNan | Class::SignallingNan => C0,
            Class::Normal => C2,
            Class::Infinity => C2 | C0,
            Class::Zero => C3,
            Class::Denormal => C3 | C2,
        }
    };
    let sign = if value.sign_exponent & 0x8000 != 0 { C1 } else { 0 };
    cpu.fpu.status = cpu.fpu.status & !(C0 | C1 | C2 | C3) | codes | sign;
    Ok(())
}

/// FCMOVcc: an empty register is a fault whatever the condition. SDM 2A, "FCMOVcc".
fn fcmov<const CONDITION: u8>(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    let i = op.reg[1];
    if cpu.st_empty(0) || cpu.st_empty(i) {
        if cpu.stack_underflow() {
            cpu.set_st(0, F80::indefinite());
        }
    } else if cpu.flags.condition(CONDITION) {
        cpu.set_st(0, cpu.st(i));
    }
    Ok(())
}
