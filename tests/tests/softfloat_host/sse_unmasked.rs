//! SSE instructions with unmasked exceptions: which flags MXCSR shows when the instruction faults, and that the
//! destination stays. A handler for SIGFPE resumes behind the faulting instruction.

#![cfg(target_os = "linux")]

use std::sync::Once;

use emu_core::softfloat::{self as soft, Env, F16, F32, F64, Integer, Negate, Out};

use crate::random::Random;

/// A fault costs a signal.
const CASES: u32 = 30_000;

const SIGFPE: i32 = 8;
const SA_SIGINFO: i32 = 4;
/// Offsets in `ucontext_t` of the registers R12 and RIP.
const CONTEXT_R12: usize = 40 + 4 * 8;
const CONTEXT_RIP: usize = 40 + 16 * 8;

/// `struct sigaction` of glibc.
#[repr(C)]
struct Action {
    handler: extern "C" fn(i32, *mut u8, *mut u8),
    mask: [u64; 16],
    flags: i32,
    restorer: usize,
}

unsafe extern "C" {
    fn sigaction(signal: i32, action: *const Action, old: *mut Action) -> i32;
}

/// Resumes where R12 points.
extern "C" fn resume(_signal: i32, _info: *mut u8, context: *mut u8) {
    // SAFETY: the kernel passes a `ucontext_t`, whose saved registers lie at these offsets and may be changed.
    unsafe {
        let target = context.add(CONTEXT_R12).cast::<u64>().read();
        context.add(CONTEXT_RIP).cast::<u64>().write(target);
    }
}

fn install_handler() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let action = Action { handler: resume, mask: [0; 16], flags: SA_SIGINFO, restorer: 0 };
        // SAFETY: the action has the layout of glibc's structure, and nothing else in this process uses SIGFPE.
        let result = unsafe { sigaction(SIGFPE, &raw const action, std::ptr::null_mut()) };
        assert_eq!(result, 0, "installing a handler for SIGFPE");
    });
}

static DEFAULT: u32 = 0x1f80;

/// A function that runs `{x} op {y}, {z}` and gives the low quadword of x or RAX, and MXCSR's flags.
macro_rules! faulting {
    ($($name:ident $instruction:literal $result:literal)*) => {$(
        fn $name(mxcsr: u32, a: u64, b: u64, c: u64) -> (u64, u8) {
            let mut control = mxcsr;
            let mut value = a;
            // SAFETY: changes registers and `control` only. A fault resumes at label 2, which R12 holds, and MXCSR
            // is put back there.
            unsafe {
                std::arch::asm!(
                    "movq {x}, {a}", "movq {y}, {b}", "movq {z}, {e}", "lea r12, [rip + 2f]",
                    "ldmxcsr [{c}]", $instruction, "2:", "stmxcsr [{c}]", "ldmxcsr [{d}]", $result,
                    a = inout(reg) value, b = in(reg) b, e = in(reg) c,
                    c = in(reg) &raw mut control, d = in(reg) &raw const DEFAULT,
                    x = out(xmm_reg) _, y = out(xmm_reg) _, z = out(xmm_reg) _, out("r12") _,
                );
            }
            (value, control as u8 & 0x3f)
        }
    )*};
}

faulting! {
    addsd "addsd {x}, {y}" "movq {a}, {x}"
    subss "subss {x}, {y}" "movq {a}, {x}"
    mulsd "mulsd {x}, {y}" "movq {a}, {x}"
    mulss "mulss {x}, {y}" "movq {a}, {x}"
    divsd "divsd {x}, {y}" "movq {a}, {x}"
    divss "divss {x}, {y}" "movq {a}, {x}"
    sqrtsd "sqrtsd {x}, {y}" "movq {a}, {x}"
    minsd "minsd {x}, {y}" "movq {a}, {x}"
    cvtsd2ss "cvtsd2ss {x}, {y}" "movq {a}, {x}"
    cvtss2sd "cvtss2sd {x}, {y}" "movq {a}, {x}"
    vfmadd213sd "vfmadd213sd {x}, {y}, {z}" "movq {a}, {x}"
    roundsd "roundsd {x}, {y}, 4" "movq {a}, {x}"
    vcvtps2ph "vcvtps2ph {x}, {y}, 4" "movq {a}, {x}"
    cvtsd2si "cvtsd2si {a}, {y}" "nop"
}

type Host = fn(u32, u64, u64, u64) -> (u64, u8);

/// Compares one instruction; `ours` gives the low bits of the destination, whose other bits stay.
fn check(
    name: &str,
    host: Host,
    size: u32,
    draw: fn(&mut Random) -> [u64; 3],
    ours: fn([u64; 3], &Env) -> Out<u64>,
) {
    install_handler();
    let mut random = Random::new(name);
    for _ in 0..CASES {
        let operands @ [a, b, c] = draw(&mut random);
        let mxcsr = random.mxcsr() & !(random.bits() as u32 & 0x1f80);
        let env = Env::from_mxcsr(mxcsr);
        let out = ours(operands, &env);
        let mask = u64::MAX >> (64 - size);
        let value = if env.traps(out.flags) { a } else { a & !mask | out.value };
        let host = host(mxcsr, a, b, c);
        assert_eq!(
            (value, out.flags.0),
            host,
            "{name} of {operands:x?} under MXCSR {mxcsr:04x}: ours, host (value, flags)"
        );
    }
}

fn doubles(random: &mut Random) -> [u64; 3] {
    let (a, b) = random.pair::<F64>();
    [a.0, b.0, random.value::<F64>().0]
}

/// The upper half of the destination register is zero.
fn singles(random: &mut Random) -> [u64; 3] {
    let (a, b) = random.pair::<F32>();
    [u64::from(a.0), u64::from(b.0), 0]
}

fn bits64(out: Out<F64>) -> Out<u64> {
    Out { value: out.value.0, flags: out.flags, rounded_up: out.rounded_up }
}

fn bits32(out: Out<F32>) -> Out<u64> {
    Out { value: u64::from(out.value.0), flags: out.flags, rounded_up: out.rounded_up }
}

fn bits16(out: Out<F16>) -> Out<u64> {
    Out { value: u64::from(out.value.0), flags: out.flags, rounded_up: out.rounded_up }
}

fn f32_of(bits: u64) -> F32 {
    F32(bits as u32)
}

#[test]
fn unmasked_arithmetic_exceptions_match_the_host() {
    crate::require!("fma");
    check("addsd", addsd, 64, doubles, |[a, b, _], env| bits64(soft::add(F64(a), F64(b), env)));
    check("subss", subss, 32, singles, |[a, b, _], env| bits32(soft::sub(f32_of(a), f32_of(b), env)));
    check("mulsd", mulsd, 64, doubles, |[a, b, _], env| bits64(soft::mul(F64(a), F64(b), env)));
    check("mulss", mulss, 32, singles, |[a, b, _], env| bits32(soft::mul(f32_of(a), f32_of(b), env)));
    check("divsd", divsd, 64, doubles, |[a, b, _], env| bits64(soft::div(F64(a), F64(b), env)));
    check("divss", divss, 32, singles, |[a, b, _], env| bits32(soft::div(f32_of(a), f32_of(b), env)));
    check("sqrtsd", sqrtsd, 64, doubles, |[_, b, _], env| bits64(soft::sqrt(F64(b), env)));
    check("minsd", minsd, 64, doubles, |[a, b, _], env| bits64(soft::min(F64(a), F64(b), env)));
    check("vfmadd213sd", vfmadd213sd, 64, doubles, |[a, b, c], env| {
        bits64(soft::fma(F64(b), F64(a), F64(c), Negate::default(), env))
    });
}

#[test]
fn unmasked_conversion_exceptions_match_the_host() {
    crate::require!("f16c");
    check("cvtss2sd", cvtss2sd, 64, singles, |[_, b, _], env| {
        bits64(soft::convert::<F32, F64>(f32_of(b), env))
    });
    let near_single = |random: &mut Random| {
        let [a, b, c] = doubles(random);
        [a, if random.below(2) == 0 { b } else { b & !(7 << 60) | 0x38 << 56 | b & 1 << 62 }, c]
    };
    check("cvtsd2ss", cvtsd2ss, 32, near_single, |[_, b, _], env| {
        bits32(soft::convert::<F64, F32>(F64(b), env))
    });
    let near_integer = |random: &mut Random| [random.bits(), random.near_integer::<F64>().0, 0];
    check("roundsd", roundsd, 64, near_integer, |[_, b, _], env| {
        bits64(soft::round_to_integral(F64(b), env))
    });
    check("cvtsd2si", cvtsd2si, 64, near_integer, |[_, b, _], env| {
        soft::to_integer(F64(b), Integer::I64, env)
    });
    let near_half = |random: &mut Random| {
        let value = random.value::<F32>().0;
        [
            0,
            u64::from(if random.below(2) == 0 {
                value
            } else {
                value & !(7 << 28) | 0x38 << 24 | value & 1 << 30
            }),
            0,
        ]
    };
    check("vcvtps2ph", vcvtps2ph, 16, near_half, |[_, b, _], env| {
        bits16(soft::half_from_single(f32_of(b), env))
    });
}
