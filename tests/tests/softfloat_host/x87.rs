//! x87 instructions between registers.

use emu_core::softfloat::{self as soft, Env, F80, Flags, Out, Relation, RemainderKind};

use crate::CASES;
use crate::random::Random;
use crate::x87_silicon::{self as silicon, After};

type Silicon = fn(u16, F80, F80, [u8; 16]) -> After;

/// C1 of the status word.
const C1: u16 = 1 << 9;
/// C0, C2 and C3: the outcome of a comparison.
const CONDITION: u16 = 1 << 8 | 1 << 10 | 1 << 14;

/// The flags in a status word and C1.
pub fn flags_and_c1(status: u16) -> (Flags, bool) {
    (Flags(status as u8 & 0x3f), status & C1 != 0)
}

/// ST(0) after the operation: an unmasked pre-computation exception leaves the operand.
pub fn left_in_st0(out: &Out<F80>, before: F80, env: &Env) -> F80 {
    if env.traps(out.flags & Flags::PRE_COMPUTATION) { before } else { out.value }
}

fn operands(random: &mut Random) -> (F80, F80) {
    random.pair()
}

fn check(
    name: &str,
    ours: fn(F80, F80, &Env) -> Out<F80>,
    host: Silicon,
    draw: fn(&mut Random) -> (F80, F80),
) {
    let mut random = Random::new(name);
    for _ in 0..CASES {
        let (a, b) = draw(&mut random);
        let control = random.control_word();
        let env = Env::from_control_word(control);
        let out = ours(a, b, &env);
        let after = host(control, a, b, [0; 16]);
        assert_eq!(
            (left_in_st0(&out, a, &env), (out.flags, out.rounded_up)),
            (after.st0, flags_and_c1(after.status)),
            "{name} of {a:x?} and {b:x?} under control word {control:04x}: ours, host (value, flags, C1)"
        );
    }
}

#[test]
fn addition_and_subtraction_match_the_host() {
    check("fadd", soft::add, silicon::fadd, operands);
    check("fsub", soft::sub, silicon::fsub, operands);
    check("fsubr", |a, b, env| soft::sub(b, a, env), silicon::fsubr, operands);
}

#[test]
fn multiplication_matches_the_host() {
    check("fmul", soft::mul, silicon::fmul, operands);
}

#[test]
fn division_matches_the_host() {
    check("fdiv", soft::div, silicon::fdiv, operands);
    check("fdivr", |a, b, env| soft::div(b, a, env), silicon::fdivr, operands);
}

#[test]
fn square_root_matches_the_host() {
    check("fsqrt", |a, _, env| soft::sqrt(a, env), silicon::fsqrt, operands);
}

#[test]
fn rounding_to_integral_matches_the_host() {
    let draw = |random: &mut Random| (random.near_integer(), F80::default());
    check("frndint", |a, _, env| soft::round_to_integral(a, env), silicon::frndint, draw);
}

#[test]
fn scaling_matches_the_host() {
    check("fscale", soft::scale, silicon::fscale, |random| {
        let scale = if random.below(4) == 0 { random.value() } else { random.moderate() };
        (random.value(), scale)
    });
}

fn remainder(name: &str, kind: RemainderKind, host: Silicon) {
    let mut random = Random::new(name);
    for _ in 0..CASES {
        let (a, b) = operands(&mut random);
        let control = random.control_word();
        let env = Env::from_control_word(control);
        let ours = soft::remainder(a, b, kind, &env);
        let after = host(control, a, b, [0; 16]);
        let bit = |n: u16| after.status >> n & 1;
        let quotient = (bit(8) << 2 | bit(14) << 1 | bit(9)) as u8;
        assert_eq!(
            (left_in_st0(&ours.out, a, &env), ours.out.flags, ours.quotient, ours.incomplete),
            (after.st0, Flags(after.status as u8 & 0x3f), quotient, bit(10) != 0),
            "{name} of {a:x?} and {b:x?} under control word {control:04x}: ours, host (value, flags, quotient, C2)"
        );
    }
}

#[test]
fn partial_remainder_matches_the_host() {
    remainder("fprem", RemainderKind::Truncate, silicon::fprem);
    remainder("fprem1", RemainderKind::Nearest, silicon::fprem1);
}

#[test]
fn extraction_matches_the_host() {
    let mut random = Random::new("fxtract");
    for _ in 0..CASES {
        let a = random.value::<F80>();
        let b = random.value::<F80>();
        let control = random.control_word();
        let env = Env::from_control_word(control);
        let ours = soft::extract(a, &env);
        let after = silicon::fxtract(control, a, b, [0; 16]);
        let stopped = env.traps(ours.flags & Flags::PRE_COMPUTATION);
        let registers = if stopped { (a, b) } else { (ours.significand, ours.exponent) };
        assert_eq!(
            (registers, ours.flags),
            ((after.st0, after.st1), flags_and_c1(after.status).0),
            "fxtract of {a:x?} under control word {control:04x}: ours, host"
        );
    }
}

/// C3, C2 and C0 as FCOM sets them. SDM vol. 2, "FCOM".
pub fn condition(relation: Relation) -> u16 {
    match relation {
        Relation::Greater => 0,
        Relation::Less => 1 << 8,
        Relation::Equal => 1 << 14,
        Relation::Unordered => CONDITION,
    }
}

#[test]
fn comparison_matches_the_host() {
    for (name, signalling, host) in
        [("fcom", true, silicon::fcom as Silicon), ("fucom", false, silicon::fucom)]
    {
        let mut random = Random::new(name);
        for _ in 0..CASES {
            let (a, b) = operands(&mut random);
            let control = random.control_word() | 0x3f;
            let ours = soft::compare(a, b, signalling, &Env::from_control_word(control));
            let after = host(control, a, b, [0; 16]);
            assert_eq!(
                (condition(ours.value), ours.flags),
                (after.status & CONDITION, flags_and_c1(after.status).0),
                "{name} of {a:x?} and {b:x?}: ours, host"
            );
        }
    }
}
