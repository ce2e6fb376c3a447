//! SSE, SSE2, SSE4.1, FMA and F16C instructions.

use emu_core::softfloat::{self as soft, Env, F16, F32, F64, Integer, Negate, Out, Relation, Rounding};

use crate::CASES;
use crate::random::Random;
use crate::sse_silicon as silicon;

type Silicon2 = fn(u32, u64, u64) -> (u64, u8);
type Silicon3 = fn(u32, u64, u64, u64) -> (u64, u8);

#[track_caller]
fn agree(name: &str, mxcsr: u32, operands: [u64; 3], ours: (u64, u8), host: (u64, u8)) {
    assert_eq!(ours, host, "{name} of {operands:x?} under MXCSR {mxcsr:04x}: ours, host (value, flags)");
}

fn double(name: &str, ours: fn(F64, F64, &Env) -> Out<F64>, host: Silicon2) {
    let mut random = Random::new(name);
    for _ in 0..CASES {
        let (a, b) = random.pair::<F64>();
        let mxcsr = random.mxcsr();
        let out = ours(a, b, &Env::from_mxcsr(mxcsr));
        agree(name, mxcsr, [a.0, b.0, 0], (out.value.0, out.flags.0), host(mxcsr, a.0, b.0));
    }
}

fn single(name: &str, ours: fn(F32, F32, &Env) -> Out<F32>, host: Silicon2) {
    let mut random = Random::new(name);
    for _ in 0..CASES {
        let (a, b) = random.pair::<F32>();
        let (x, y) = (u64::from(a.0), u64::from(b.0));
        let mxcsr = random.mxcsr();
        let out = ours(a, b, &Env::from_mxcsr(mxcsr));
        agree(name, mxcsr, [x, y, 0], (u64::from(out.value.0), out.flags.0), host(mxcsr, x, y));
    }
}

#[test]
fn addition_and_subtraction_match_the_host() {
    double("addsd", soft::add, silicon::addsd);
    double("subsd", soft::sub, silicon::subsd);
    single("addss", soft::add, silicon::addss);
    single("subss", soft::sub, silicon::subss);
}

#[test]
fn multiplication_matches_the_host() {
    double("mulsd", soft::mul, silicon::mulsd);
    single("mulss", soft::mul, silicon::mulss);
}

#[test]
fn division_matches_the_host() {
    double("divsd", soft::div, silicon::divsd);
    single("divss", soft::div, silicon::divss);
}

#[test]
fn square_root_matches_the_host() {
    double("sqrtsd", |_, b, env| soft::sqrt(b, env), silicon::sqrtsd);
    single("sqrtss", |_, b, env| soft::sqrt(b, env), silicon::sqrtss);
}

#[test]
fn minimum_and_maximum_match_the_host() {
    double("minsd", soft::min, silicon::minsd);
    double("maxsd", soft::max, silicon::maxsd);
    single("minss", soft::min, silicon::minss);
    single("maxss", soft::max, silicon::maxss);
}

#[test]
fn fused_multiply_add_matches_the_host() {
    crate::require!("fma");
    const PLAIN: Negate = Negate { product: false, addend: false };
    const BOTH: Negate = Negate { product: true, addend: true };
    /// Which of the three registers are multiplicand, multiplier and addend.
    type Order = [usize; 3];
    let forms: [(&str, Negate, Order, Silicon3); 6] = [
        ("vfmadd132sd", PLAIN, [0, 2, 1], silicon::vfmadd132sd),
        ("vfmadd213sd", PLAIN, [1, 0, 2], silicon::vfmadd213sd),
        ("vfmadd231sd", PLAIN, [1, 2, 0], silicon::vfmadd231sd),
        ("vfmsub213sd", Negate { addend: true, ..PLAIN }, [1, 0, 2], silicon::vfmsub213sd),
        ("vfnmadd213sd", Negate { product: true, ..PLAIN }, [1, 0, 2], silicon::vfnmadd213sd),
        ("vfnmsub213sd", BOTH, [1, 0, 2], silicon::vfnmsub213sd),
    ];
    for (name, negate, order, host) in forms {
        let mut random = Random::new(name);
        for _ in 0..CASES {
            let (a, b) = random.pair::<F64>();
            let mxcsr = random.mxcsr();
            let env = Env::from_mxcsr(mxcsr);
            // A third of the time the addend nearly cancels the product.
            let c = if random.below(3) == 0 { soft::mul(a, b, &env).value } else { random.value() };
            let operands = [a, b, c];
            let [x, y, z] = order.map(|i| operands[i]);
            let out = soft::fma(x, y, z, negate, &env);
            let host = host(mxcsr, a.0, b.0, c.0);
            agree(name, mxcsr, operands.map(|o| o.0), (out.value.0, out.flags.0), host);
        }
    }
    let forms: [(&str, Negate, Silicon3); 2] =
        [("vfmadd213ss", PLAIN, silicon::vfmadd213ss), ("vfnmsub213ss", BOTH, silicon::vfnmsub213ss)];
    for (name, negate, host) in forms {
        let mut random = Random::new(name);
        for _ in 0..CASES {
            let (a, b) = random.pair::<F32>();
            let mxcsr = random.mxcsr();
            let env = Env::from_mxcsr(mxcsr);
            let c = if random.below(3) == 0 { soft::mul(a, b, &env).value } else { random.value() };
            let operands = [a, b, c].map(|o| u64::from(o.0));
            let out = soft::fma(b, a, c, negate, &env);
            let host = host(mxcsr, operands[0], operands[1], operands[2]);
            agree(name, mxcsr, operands, (u64::from(out.value.0), out.flags.0), host);
        }
    }
}

/// ZF, PF and CF as COMISD sets them. SDM vol. 2, "COMISD".
fn eflags(relation: Relation) -> u64 {
    match relation {
        Relation::Unordered => 0x45,
        Relation::Greater => 0,
        Relation::Less => 0x01,
        Relation::Equal => 0x40,
    }
}

#[test]
fn comparison_matches_the_host() {
    let doubles: [(&str, bool, Silicon3); 2] =
        [("comisd", true, silicon::comisd), ("ucomisd", false, silicon::ucomisd)];
    for (name, signalling, host) in doubles {
        let mut random = Random::new(name);
        for _ in 0..CASES {
            let (a, b) = random.pair::<F64>();
            let mxcsr = random.mxcsr();
            let out = soft::compare(a, b, signalling, &Env::from_mxcsr(mxcsr));
            let (flags, raised) = host(mxcsr, a.0, b.0, 0);
            let ours = (eflags(out.value), out.flags.0);
            agree(name, mxcsr, [a.0, b.0, 0], ours, (flags & 0x45, raised));
        }
    }
    let singles: [(&str, bool, Silicon3); 2] =
        [("comiss", true, silicon::comiss), ("ucomiss", false, silicon::ucomiss)];
    for (name, signalling, host) in singles {
        let mut random = Random::new(name);
        for _ in 0..CASES {
            let (a, b) = random.pair::<F32>();
            let (x, y) = (u64::from(a.0), u64::from(b.0));
            let mxcsr = random.mxcsr();
            let out = soft::compare(a, b, signalling, &Env::from_mxcsr(mxcsr));
            let (flags, raised) = host(mxcsr, x, y, 0);
            agree(name, mxcsr, [x, y, 0], (eflags(out.value), out.flags.0), (flags & 0x45, raised));
        }
    }
}

#[test]
fn conversion_between_formats_matches_the_host() {
    crate::require!("f16c");
    let mut random = Random::new("formats");
    for _ in 0..CASES {
        let mxcsr = random.mxcsr();
        let env = Env::from_mxcsr(mxcsr);

        let a = random.value::<F32>();
        let x = u64::from(a.0);
        let out = soft::convert::<F32, F64>(a, &env);
        agree("cvtss2sd", mxcsr, [x, 0, 0], (out.value.0, out.flags.0), silicon::cvtss2sd(mxcsr, 0, x));

        let out = soft::half_from_single(a, &env);
        let host = silicon::cvtps2ph(mxcsr, x, 0, 0);
        let ours = (u64::from(out.value.0), out.flags.0);
        agree("vcvtps2ph", mxcsr, [x, 0, 0], ours, (host.0 & 0xffff, host.1));

        // Doubles around the range of single precision.
        let b = random.value::<F64>();
        let b = if random.below(2) == 0 { b } else { F64(b.0 & !(7 << 60) | 0x38 << 56 | b.0 & 1 << 62) };
        let out = soft::convert::<F64, F32>(b, &env);
        let host = silicon::cvtsd2ss(mxcsr, 0, b.0);
        agree("cvtsd2ss", mxcsr, [b.0, 0, 0], (u64::from(out.value.0), out.flags.0), host);
    }
    for half in 0..=u16::MAX {
        for mxcsr in [0x1f80, 0x9fc0] {
            let out = soft::single_from_half(F16(half), &Env::from_mxcsr(mxcsr));
            let host = silicon::cvtph2ps(mxcsr, 0, u64::from(half));
            let ours = (u64::from(out.value.0), out.flags.0);
            agree("vcvtph2ps", mxcsr, [u64::from(half), 0, 0], ours, (host.0 & 0xffff_ffff, host.1));
        }
    }
}

#[test]
fn every_half_precision_neighbourhood_is_rounded_as_the_host_does() {
    crate::require!("f16c");
    for half in 0..=u16::MAX {
        let base = soft::single_from_half(F16(half), &Env::default()).value.0;
        for offset in [0u32, 1, 0xfff, 0x1000, 0x1001, 0x1fff] {
            for rounding in 0..4 {
                let mxcsr = 0x1f80 | rounding << 13;
                let single = base.wrapping_add(offset);
                let out = soft::half_from_single(F32(single), &Env::from_mxcsr(mxcsr));
                let host = silicon::cvtps2ph(mxcsr, u64::from(single), 0, 0);
                let ours = (u64::from(out.value.0), out.flags.0);
                agree("vcvtps2ph", mxcsr, [u64::from(single), 0, 0], ours, (host.0 & 0xffff, host.1));
            }
        }
    }
}

#[test]
fn conversion_to_integers_matches_the_host() {
    let doubles: [(&str, Integer, bool, Silicon3); 4] = [
        ("cvtsd2si 32", Integer::I32, false, silicon::cvtsd2si32),
        ("cvtsd2si 64", Integer::I64, false, silicon::cvtsd2si64),
        ("cvttsd2si 32", Integer::I32, true, silicon::cvttsd2si32),
        ("cvttsd2si 64", Integer::I64, true, silicon::cvttsd2si64),
    ];
    for (name, integer, truncate, host) in doubles {
        let mut random = Random::new(name);
        for _ in 0..CASES {
            let a = random.near_integer::<F64>();
            let mxcsr = random.mxcsr();
            let env = Env::from_mxcsr(mxcsr);
            let env = if truncate { env.with_rounding(Rounding::Zero) } else { env };
            let out = soft::to_integer(a, integer, &env);
            agree(name, mxcsr, [a.0, 0, 0], (out.value, out.flags.0), host(mxcsr, a.0, 0, 0));
        }
    }
    let singles: [(&str, Integer, Silicon3); 2] = [
        ("cvtss2si 32", Integer::I32, silicon::cvtss2si32),
        ("cvtss2si 64", Integer::I64, silicon::cvtss2si64),
    ];
    for (name, integer, host) in singles {
        let mut random = Random::new(name);
        for _ in 0..CASES {
            let a = random.near_integer::<F32>();
            let mxcsr = random.mxcsr();
            let out = soft::to_integer(a, integer, &Env::from_mxcsr(mxcsr));
            let x = u64::from(a.0);
            agree(name, mxcsr, [x, 0, 0], (out.value, out.flags.0), host(mxcsr, x, 0, 0));
        }
    }
}

#[test]
fn conversion_to_unsigned_integers_matches_the_host() {
    crate::require!("avx512f");
    let forms: [(&str, Integer, Silicon3); 2] = [
        ("vcvtsd2usi 32", Integer::U32, silicon::vcvtsd2usi32),
        ("vcvtsd2usi 64", Integer::U64, silicon::vcvtsd2usi64),
    ];
    for (name, integer, host) in forms {
        let mut random = Random::new(name);
        for _ in 0..CASES {
            let a = random.near_integer::<F64>();
            let mxcsr = random.mxcsr();
            let out = soft::to_integer(a, integer, &Env::from_mxcsr(mxcsr));
            agree(name, mxcsr, [a.0, 0, 0], (out.value, out.flags.0), host(mxcsr, a.0, 0, 0));
        }
    }
}

#[test]
fn conversion_from_integers_matches_the_host() {
    let mut random = Random::new("integers");
    for _ in 0..CASES {
        let mxcsr = random.mxcsr();
        let env = Env::from_mxcsr(mxcsr);
        let value = (random.bits() as i64) >> random.below(64);
        let (sign, magnitude) = (value < 0, value.unsigned_abs());
        let operands = [value as u64, 0, 0];
        let out = soft::from_integer::<F64>(sign, magnitude, &env);
        let host = silicon::cvtsi64sd(mxcsr, value as u64, 0, 0);
        agree("cvtsi2sd 64", mxcsr, operands, (out.value.0, out.flags.0), host);
        let out = soft::from_integer::<F32>(sign, magnitude, &env);
        let host = silicon::cvtsi64ss(mxcsr, value as u64, 0, 0);
        agree("cvtsi2ss 64", mxcsr, operands, (u64::from(out.value.0), out.flags.0), host);

        let (sign, magnitude) = ((value as i32) < 0, u64::from((value as i32).unsigned_abs()));
        let out = soft::from_integer::<F64>(sign, magnitude, &env);
        let host = silicon::cvtsi32sd(mxcsr, value as u64, 0, 0);
        agree("cvtsi2sd 32", mxcsr, operands, (out.value.0, out.flags.0), host);
        let out = soft::from_integer::<F32>(sign, magnitude, &env);
        let host = silicon::cvtsi32ss(mxcsr, value as u64, 0, 0);
        agree("cvtsi2ss 32", mxcsr, operands, (u64::from(out.value.0), out.flags.0), host);
    }
}

#[test]
fn rounding_to_integral_matches_the_host() {
    crate::require!("sse4.1");
    let mut random = Random::new("round");
    for _ in 0..CASES {
        let mxcsr = random.mxcsr();
        let env = Env::from_mxcsr(mxcsr);
        let a = random.near_integer::<F64>();
        let out = soft::round_to_integral(a, &env);
        let host = silicon::roundsd_mxcsr(mxcsr, a.0, 0, 0);
        agree("roundsd", mxcsr, [a.0, 0, 0], (out.value.0, out.flags.0), host);
        let out = soft::round_to_integral(a, &env.with_rounding(Rounding::Down));
        let host = silicon::roundsd_down(mxcsr, a.0, 0, 0);
        agree("roundsd down", mxcsr, [a.0, 0, 0], (out.value.0, out.flags.0), host);
        let a = random.near_integer::<F32>();
        let x = u64::from(a.0);
        let out = soft::round_to_integral(a, &env);
        let host = silicon::roundss_mxcsr(mxcsr, x, 0, 0);
        agree("roundss", mxcsr, [x, 0, 0], (u64::from(out.value.0), out.flags.0), host);
    }
}
