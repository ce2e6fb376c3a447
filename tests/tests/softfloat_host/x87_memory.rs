//! x87 instructions with memory operands: other formats, integers and packed BCD.

use emu_core::softfloat::{
    self as soft, Env, F32, F64, F80, Flags, Format, Integer, Out, Rounding, Unpacked,
};

use crate::CASES;
use crate::random::Random;
use crate::x87::{condition, flags_and_c1, left_in_st0};
use crate::x87_silicon::{self as silicon, After};

type Silicon = fn(u16, F80, F80, [u8; 16]) -> After;

/// What lies in memory where a store did not happen.
const UNTOUCHED: [u8; 16] = [0xa5; 16];

fn image(value: u64) -> [u8; 16] {
    u128::from(value).to_le_bytes()
}

type Arithmetic = fn(Unpacked, Unpacked, &Env) -> Out<F80>;

/// ST(0) with a memory operand that `draw` makes, as bits and unpacked.
fn arithmetic(name: &str, ours: Arithmetic, host: Silicon, draw: fn(&mut Random) -> (u64, Unpacked)) {
    let mut random = Random::new(name);
    for _ in 0..CASES {
        let (bits, operand) = draw(&mut random);
        let a = if random.below(2) == 0 { random.value() } else { random.near_integer::<F80>() };
        let control = random.control_word();
        let env = Env::from_control_word(control);
        let out = ours(a.unpack(), operand, &env);
        let after = host(control, a, F80::default(), image(bits));
        assert_eq!(
            (left_in_st0(&out, a, &env), (out.flags, out.rounded_up)),
            (after.st0, flags_and_c1(after.status)),
            "{name} of {a:x?} and {bits:x} under control word {control:04x}: ours, host (value, flags, C1)"
        );
    }
}

fn single(random: &mut Random) -> (u64, Unpacked) {
    let value = random.value::<F32>();
    (u64::from(value.0), value.unpack())
}

fn double(random: &mut Random) -> (u64, Unpacked) {
    let value = random.value::<F64>();
    (value.0, value.unpack())
}

fn integer(random: &mut Random, bits: u32) -> (u64, Unpacked) {
    let value = (random.bits() as i64) >> (64 - bits) >> random.below(u64::from(bits));
    (value as u64, Unpacked::from_magnitude(value < 0, value.unsigned_abs(), 0))
}

#[test]
fn arithmetic_with_memory_operands_matches_the_host() {
    arithmetic("fadd m32", soft::add_unpacked, silicon::fadd_m32, single);
    arithmetic("fsub m64", soft::sub_unpacked, silicon::fsub_m64, double);
    arithmetic("fmul m64", soft::mul_unpacked, silicon::fmul_m64, double);
    arithmetic("fdiv m32", soft::div_unpacked, silicon::fdiv_m32, single);
    arithmetic("fidiv m16", soft::div_unpacked, silicon::fidiv_m16, |random| integer(random, 16));
    arithmetic("fiadd m32", soft::add_unpacked, silicon::fiadd_m32, |random| integer(random, 32));
}

#[test]
fn comparison_with_memory_matches_the_host() {
    let mut random = Random::new("fcom m32");
    for _ in 0..CASES {
        let b = random.value::<F32>();
        let a: F80 = if random.below(2) == 0 {
            random.value()
        } else {
            soft::convert::<F32, F80>(b, &Env::default()).value
        };
        let ours = soft::compare_unpacked(a.unpack(), b.unpack(), true, &Env::default());
        let after = silicon::fcom_m32(0x37f, a, F80::default(), image(u64::from(b.0)));
        assert_eq!(
            (condition(ours.value), ours.flags),
            (after.status & 0x4500, flags_and_c1(after.status).0),
            "fcom m32 of {a:x?} and {b:x?}: ours, host"
        );
    }
}

/// A load pushes, so that the former ST(0) shows whether it happened: not after an unmasked IE, but after an
/// unmasked DE it does.
fn load<F: Format>(name: &str, host: Silicon, bits: fn(F) -> u64) {
    let mut random = Random::new(name);
    for _ in 0..CASES {
        let source = random.value::<F>();
        let control = random.control_word();
        let env = Env::from_control_word(control);
        let out = soft::convert::<F, F80>(source, &env.extended());
        let a = random.value::<F80>();
        let after = host(control, a, F80::default(), image(bits(source)));
        let loaded = if env.traps(out.flags & Flags::INVALID) { a } else { out.value };
        assert_eq!(
            (loaded, out.flags, out.rounded_up),
            (after.st0, flags_and_c1(after.status).0, false),
            "{name} of {source:x?} under control word {control:04x}: ours, host"
        );
    }
}

#[test]
fn loads_match_the_host() {
    load::<F32>("fld m32", silicon::fld_m32, |value| u64::from(value.0));
    load::<F64>("fld m64", silicon::fld_m64, |value| value.0);
    let mut random = Random::new("fild");
    for _ in 0..CASES {
        let (bits, _) = integer(&mut random, 64);
        let control = random.control_word();
        let env = Env::from_control_word(control).extended();
        let value = bits as i64;
        let out = soft::from_integer::<F80>(value < 0, value.unsigned_abs(), &env);
        let after = silicon::fild_m64(control, F80::default(), F80::default(), image(bits));
        let ours = (out.value, (out.flags, out.rounded_up));
        assert_eq!(ours, (after.st0, flags_and_c1(after.status)), "fild of {value}");
    }
}

/// Runs a store and compares memory, flags and C1; an unmasked IE, OE or UE leaves memory alone.
fn store(
    name: &str,
    host: Silicon,
    draw: fn(&mut Random) -> F80,
    ours: impl Fn(F80, &Env) -> (u128, usize, Flags, bool),
) {
    let mut random = Random::new(name);
    for _ in 0..CASES {
        let a = draw(&mut random);
        let control = random.control_word();
        let env = Env::from_control_word(control);
        let (value, size, flags, up) = ours(a, &env);
        let mut expected = UNTOUCHED;
        if !env.traps(flags & (Flags::INVALID | Flags::OVERFLOW | Flags::UNDERFLOW)) {
            expected[..size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        let after = host(control, a, F80::default(), UNTOUCHED);
        assert_eq!(
            (expected, (flags, up)),
            (after.memory, flags_and_c1(after.status)),
            "{name} of {a:x?} under control word {control:04x}: ours, host (memory, flags, C1)"
        );
    }
}

/// Half of the values are in and around the range of the narrower format.
fn narrowing<F: Format>(random: &mut Random) -> F80 {
    let value = random.value::<F80>();
    if random.below(2) == 0 {
        return value;
    }
    let field = random.value::<F>().unpack().exponent + F80::EMAX + random.below(9) as i32 - 4;
    F80::pack(value.sign_exponent >> 15 != 0, field, value.significand | 1 << 63)
}

#[test]
fn stores_match_the_host() {
    store("fst m32", silicon::fst_m32, narrowing::<F32>, |a, env| {
        let out = soft::convert::<F80, F32>(a, env);
        (u128::from(out.value.0), 4, out.flags, out.rounded_up)
    });
    store("fst m64", silicon::fst_m64, narrowing::<F64>, |a, env| {
        let out = soft::convert::<F80, F64>(a, env);
        (u128::from(out.value.0), 8, out.flags, out.rounded_up)
    });
}

#[test]
fn integer_stores_match_the_host() {
    let run = |name, host, integer: Integer, truncate: bool| {
        store(name, host, Random::near_integer, |a, env| {
            let env = if truncate { env.with_rounding(Rounding::Zero) } else { *env };
            let out = soft::to_integer(a, integer, &env);
            (u128::from(out.value), integer.bits as usize / 8, out.flags, out.rounded_up)
        });
    };
    run("fist m16", silicon::fist_m16 as Silicon, Integer::I16, false);
    run("fist m32", silicon::fist_m32, Integer::I32, false);
    run("fistp m64", silicon::fistp_m64, Integer::I64, false);
    run("fisttp m32", silicon::fisttp_m32, Integer::I32, true);
}

#[test]
fn packed_bcd_matches_the_host() {
    store("fbstp", silicon::fbstp, Random::near_integer, |a, env| {
        let out = soft::to_bcd(a, env);
        let mut bytes = [0; 16];
        bytes[..10].copy_from_slice(&out.value);
        (u128::from_le_bytes(bytes), 10, out.flags, out.rounded_up)
    });
    let mut random = Random::new("fbld");
    for _ in 0..CASES {
        let mut bytes = [0; 16];
        let digits = random.below(19) as usize;
        for digit in 0..digits {
            bytes[digit / 2] |= (random.below(10) as u8) << (4 * (digit & 1));
        }
        bytes[9] = random.bits() as u8;
        let ours = soft::from_bcd(*bytes.first_chunk().expect("16 bytes"));
        let after = silicon::fbld(0x37f, F80::default(), F80::default(), bytes);
        assert_eq!(
            (ours, (Flags::NONE, false)),
            (after.st0, flags_and_c1(after.status)),
            "fbld of {bytes:x?}"
        );
    }
}
