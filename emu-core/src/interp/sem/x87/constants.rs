//! FLD1, FLDZ, FLDPI and the logarithms. SDM 2A, "FLD1/FLDL2T/FLDL2E/FLDPI/FLDLG2/FLDLN2/FLDZ".

use iced_x86::Mnemonic as M;

use super::begin;
use crate::cpu::{Cpu, Fallible};
use crate::interp::op::Op;
use crate::interp::table::{Row, row};
use crate::softfloat::{F80, Rounding};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Fld1, |_| Some(|cpu, op| load(cpu, op, &ONE))),
    row(M::Fldz, |_| Some(|cpu, op| load(cpu, op, &ZERO))),
    row(M::Fldl2t, |_| Some(|cpu, op| load(cpu, op, &LOG2_10))),
    row(M::Fldl2e, |_| Some(|cpu, op| load(cpu, op, &LOG2_E))),
    row(M::Fldpi, |_| Some(|cpu, op| load(cpu, op, &PI))),
    row(M::Fldlg2, |_| Some(|cpu, op| load(cpu, op, &LOG10_2))),
    row(M::Fldln2, |_| Some(|cpu, op| load(cpu, op, &LN_2))),
];

/// A positive number: biased exponent, significand cut to 64 bits, and what comes after them.
struct Constant {
    exponent: u16,
    significand: u64,
    rest: Rest,
}

/// The rest of a significand, compared with half a unit in the last place.
#[derive(PartialEq)]
enum Rest {
    None,
    BelowHalf,
    AboveHalf,
}

const ZERO: Constant = Constant { exponent: 0, significand: 0, rest: Rest::None };
const ONE: Constant = Constant { exponent: 0x3fff, significand: 1 << 63, rest: Rest::None };
const LOG2_10: Constant =
    Constant { exponent: 0x4000, significand: 0xd49a_784b_cd1b_8afe, rest: Rest::BelowHalf };
const LOG2_E: Constant =
    Constant { exponent: 0x3fff, significand: 0xb8aa_3b29_5c17_f0bb, rest: Rest::AboveHalf };
const PI: Constant = Constant { exponent: 0x4000, significand: 0xc90f_daa2_2168_c234, rest: Rest::AboveHalf };
const LOG10_2: Constant =
    Constant { exponent: 0x3ffd, significand: 0x9a20_9a84_fbcf_f798, rest: Rest::AboveHalf };
const LN_2: Constant =
    Constant { exponent: 0x3ffe, significand: 0xb172_17f7_d1cf_79ab, rest: Rest::AboveHalf };

/// Pushes a constant, rounded as the control word says, without reporting that it is inexact.
fn load(cpu: &mut Cpu, op: &Op, constant: &Constant) -> Fallible {
    begin(cpu, op)?;
    let up = match cpu.x87_env().rounding {
        Rounding::Nearest => constant.rest == Rest::AboveHalf,
        Rounding::Up => constant.rest != Rest::None,
        Rounding::Down | Rounding::Zero => false,
    };
    let significand = constant.significand + u64::from(up);
    cpu.push_checked(F80 { sign_exponent: constant.exponent, significand });
    Ok(())
}
