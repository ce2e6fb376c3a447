//! x87 transcendental instructions. No two processors agree in the last place, so the host must lie within one
//! unit in the last place of our result, while special values and flags must be equal.

use emu_core::softfloat::{self as soft, Env, F80, Flags, Format, Out};

use crate::random::Random;
use crate::x87::flags_and_c1;
use crate::x87_silicon::{self as silicon, After};

type Silicon = fn(u16, F80, F80, [u8; 16]) -> After;

/// The transcendental instructions take a few hundred cycles each.
const CASES: u32 = 100_000;

/// Position of a value among all values of the format, zeros together.
fn position(value: F80) -> i128 {
    let magnitude =
        i128::from(value.sign_exponent & 0x7fff) << 63 | i128::from(value.significand & u64::MAX >> 1);
    if value.sign_exponent >> 15 != 0 { -magnitude } else { magnitude }
}

fn is_near(ours: F80, host: F80) -> bool {
    ours == host
        || position(ours).abs_diff(position(host)) <= 1 && host.unpack().class < soft::Class::Infinity
}

type Ours = fn(F80, F80, &Env) -> Option<Out<F80>>;

fn check(name: &str, ours: Ours, host: Silicon, draw: fn(&mut Random) -> (F80, F80)) {
    let mut random = Random::new(name);
    for _ in 0..CASES {
        let (a, b) = draw(&mut random);
        let control = random.control_word() | 0x3f;
        let after = host(control, a, b, [0; 16]);
        let c2 = after.status & 1 << 10 != 0;
        let Some(out) = ours(a, b, &Env::from_control_word(control)) else {
            assert_eq!(
                (a, Flags::NONE, true),
                (after.st0, flags_and_c1(after.status).0, c2),
                "{name} of {a:x?}"
            );
            continue;
        };
        assert!(
            is_near(out.value, after.st0) && out.flags == flags_and_c1(after.status).0 && !c2,
            "{name} of {a:x?} and {b:x?} under control word {control:04x}: ours {out:x?}, host {after:x?}"
        );
    }
}

/// Half of the 66-bit pi, in units of 2^-65.
const HALF_PI: u128 = 0x3_243f_6a88_85a3_08d3;

/// An angle below 2^63 for the most part, now and then next to a multiple of half pi, where the host's pi shows.
fn angle(random: &mut Random) -> (F80, F80) {
    let value = random.value::<F80>();
    if random.below(8) == 0 {
        let multiple = u128::from(random.bits() >> 20 >> random.below(44) | 1) * HALF_PI;
        let shift = multiple.leading_zeros();
        let significand = (multiple << shift >> 64) as u64 ^ random.below(4);
        let field = F80::EMAX + 62 - shift as i32;
        return (F80::pack(random.below(2) != 0, field, significand | 1 << 63), F80::default());
    }
    if random.below(4) == 0 {
        return (value, F80::default());
    }
    let field = F80::EMAX - 40 + random.below(44) as i32;
    (F80::pack(value.sign_exponent >> 15 != 0, field, value.significand | 1 << 63), F80::default())
}

#[test]
fn sine_cosine_and_tangent_match_the_host() {
    check("fsin", |a, _, env| soft::sine(a, env), silicon::fsin, angle);
    check("fcos", |a, _, env| soft::cosine(a, env), silicon::fcos, angle);
    // FSINCOS and FPTAN push a second value: let the first stand in ST(0).
    check("fsincos, sine", |a, _, env| both(a, env, soft::sine), fsincos_sine, angle);
    check("fsincos, cosine", |a, _, env| both(a, env, soft::cosine), silicon::fsincos, angle);
    check("fptan", |a, _, env| soft::tangent(a, env), fptan_tangent, angle);
}

/// One of the results of FSINCOS with the flags of both.
fn both(a: F80, env: &Env, wanted: fn(F80, &Env) -> Option<Out<F80>>) -> Option<Out<F80>> {
    let flags = soft::sine(a, env)?.flags | soft::cosine(a, env)?.flags;
    wanted(a, env).map(|out| Out { flags, ..out })
}

/// The value below the one that FSINCOS or FPTAN pushed, unless C2 says that nothing was pushed.
fn below_the_pushed(after: After) -> After {
    if after.status & 1 << 10 != 0 { after } else { After { st0: after.st1, ..after } }
}

fn fsincos_sine(control: u16, a: F80, b: F80, memory: [u8; 16]) -> After {
    below_the_pushed(silicon::fsincos(control, a, b, memory))
}

fn fptan_tangent(control: u16, a: F80, b: F80, memory: [u8; 16]) -> After {
    below_the_pushed(silicon::fptan(control, a, b, memory))
}

#[test]
fn arctangent_matches_the_host() {
    check("fpatan", |x, y, env| Some(soft::arctangent(y, x, env)), silicon::fpatan, Random::pair);
}

#[test]
fn powers_match_the_host() {
    check(
        "f2xm1",
        |a, _, env| Some(soft::power_of_two_minus_one(a, env)),
        silicon::f2xm1,
        |random| {
            let (mut a, b) = angle(random);
            if a.sign_exponent & 0x7fff >= F80::EMAX as u16 && random.below(64) != 0 {
                a.sign_exponent = a.sign_exponent & 0x8000 | (F80::EMAX as u16 - 1 - random.below(8) as u16);
            }
            (a, b)
        },
    );
}

#[test]
fn logarithms_match_the_host() {
    check("fyl2x", |x, y, env| Some(soft::y_log2(y, x, env)), silicon::fyl2x, Random::pair);
    // FYL2XP1 is defined for magnitudes of x up to 1 - sqrt(1/2).
    check(
        "fyl2xp1",
        |x, y, env| Some(soft::y_log2_plus_one(y, x, env)),
        silicon::fyl2xp1,
        |random| {
            let (mut x, y): (F80, F80) = (random.value(), random.value());
            if x.sign_exponent & 0x7fff > F80::EMAX as u16 - 3 {
                x.sign_exponent = x.sign_exponent & 0x8000 | (F80::EMAX as u16 - 3 - random.below(70) as u16);
            }
            (x, y)
        },
    );
}
