//! Correct rounding of the transcendental functions, against reference values of 700 bits.

use emu_core::softfloat::{self as soft, Env, F80, Rounding};

fn parse(text: &str) -> F80 {
    let (sign_exponent, significand) = text.split_once(':').expect("sign and exponent : significand");
    F80 {
        sign_exponent: u16::from_str_radix(sign_exponent, 16).expect("hexadecimal"),
        significand: u64::from_str_radix(significand, 16).expect("hexadecimal"),
    }
}

/// The value one unit in the last place further from zero.
fn next(value: F80) -> F80 {
    match value.significand.checked_add(1) {
        Some(significand) => F80 { significand, ..value },
        None => F80 { significand: 1 << 63, sign_exponent: value.sign_exponent + 1 },
    }
}

fn evaluate(function: &str, operands: &[F80], env: &Env) -> soft::Out<F80> {
    let in_range = "the angle is in range";
    match (function, operands) {
        ("fsin", &[a]) => soft::sine(a, env).expect(in_range),
        ("fcos", &[a]) => soft::cosine(a, env).expect(in_range),
        ("fptan", &[a]) => soft::tangent(a, env).expect(in_range),
        ("f2xm1", &[a]) => soft::power_of_two_minus_one(a, env),
        ("fpatan", &[y, x]) => soft::arctangent(y, x, env),
        ("fyl2x", &[y, x]) => soft::y_log2(y, x, env),
        ("fyl2xp1", &[y, x]) => soft::y_log2_plus_one(y, x, env),
        _ => panic!("unknown function {function}"),
    }
}

#[test]
fn transcendental_functions_are_correctly_rounded_in_every_mode() {
    let mut checked = 0;
    for line in include_str!("data/transcendental.txt").lines().filter(|line| !line.starts_with('#')) {
        let (left, right) = line.split_once(" = ").expect("an equals sign");
        let mut words = left.split(' ');
        let function = words.next().expect("a function");
        let operands: Vec<F80> = words.map(parse).collect();
        let (truncated, nearest_is_next) = right.split_once(' ').expect("value and rounding");
        let truncated = parse(truncated);
        let negative = truncated.sign_exponent >> 15 != 0;
        for (rounding, up) in [
            (Rounding::Nearest, nearest_is_next == "1"),
            (Rounding::Down, negative),
            (Rounding::Up, !negative),
            (Rounding::Zero, false),
        ] {
            let out = evaluate(function, &operands, &Env { rounding, ..Env::default() });
            let expected = if up { next(truncated) } else { truncated };
            assert_eq!((out.value, out.rounded_up), (expected, up), "{line} with {rounding:?}");
            checked += 1;
        }
    }
    assert!(checked > 800, "only {checked} values were checked");
}

/// Out of the documented ranges too, and with every exception unmasked.
#[test]
fn no_bit_pattern_makes_a_transcendental_function_panic() {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        state ^ state >> 29
    };
    for _ in 0..50_000 {
        let mut operand = || {
            let bits = next();
            let near_one =
                F80 { sign_exponent: 0x3fff ^ (bits as u16 & 0x8007), significand: bits | 1 << 63 };
            let sparse = F80 { significand: 1 << (bits >> 58), ..near_one };
            let random = F80 { sign_exponent: bits as u16, significand: next() };
            [near_one, sparse, random, random][bits as usize >> 8 & 3]
        };
        let (y, x) = (operand(), operand());
        for masked in [soft::Flags::ALL, soft::Flags::NONE] {
            let env = Env { masked, ..Env::default() };
            let _ = (soft::sine(x, &env), soft::cosine(x, &env), soft::tangent(x, &env));
            let _ = (soft::arctangent(y, x, &env), soft::power_of_two_minus_one(x, &env));
            let _ = (soft::y_log2(y, x, &env), soft::y_log2_plus_one(y, x, &env));
        }
    }
}
