//! Instructions that this test leaves out, and where the host may differ, each with its reason.

use iced_x86::{Code, CpuidFeature, Instruction, Mnemonic as M, OpKind};

use super::silicon::State;

/// Left out altogether.
pub fn is_not_for_this_test(code: Code) -> bool {
    match code.mnemonic() {
        // Random memory is seldom a valid MXCSR, and AMD's has a bit 17 (MM); they have a test of their own.
        M::Ldmxcsr | M::Vldmxcsr => true,
        // They do nothing that can be seen, and random addresses are no addresses.
        M::Sfence | M::Lfence | M::Mfence | M::Clflush | M::Pause => true,
        M::Prefetchnta | M::Prefetcht0 | M::Prefetcht1 | M::Prefetcht2 => true,
        // Of the integer instructions, whose test is host_integer.rs; FCMOV and FCOMI are of this one.
        m if code.cpuid_features().contains(&CpuidFeature::CMOV) && !is_fcmov(m) => true,
        _ => false,
    }
}

fn is_fcmov(m: M) -> bool {
    use M::{
        Fcmovb, Fcmovbe, Fcmove, Fcmovnb, Fcmovnbe, Fcmovne, Fcmovnu, Fcmovu, Fcomi, Fcomip, Fucomi, Fucomip,
    };
    matches!(m, Fcmovb | Fcmovbe | Fcmove | Fcmovnb | Fcmovnbe | Fcmovne | Fcmovnu | Fcmovu)
        || matches!(m, Fcomi | Fcomip | Fucomi | Fucomip)
}

/// RDI points to the memory operand.
pub fn points_to_memory(code: Code) -> bool {
    matches!(code.mnemonic(), M::Maskmovq | M::Maskmovdqu | M::Vmaskmovdqu)
}

/// Bits of the status word that may differ.
pub fn undefined_status(code: Code, before: &State, guest: &State) -> u16 {
    let word = |s: &State, at: usize| u16::from_le_bytes([s.fx[at], s.fx[at + 1]]);
    let invalid = word(guest, 2) & !word(before, 0) & 1 != 0;
    match code.mnemonic() {
        // An unmasked IE keeps the condition codes in Intel's manual; AMD's processors say "unordered".
        M::Fcom
        | M::Fcomp
        | M::Fcompp
        | M::Fucom
        | M::Fucomp
        | M::Fucompp
        | M::Ficom
        | M::Ficomp
        | M::Ftst
            if invalid =>
        {
            0x4500
        }
        // Intel's manual has FCOMI clear C1; AMD's processors leave it.
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => 0x0200,
        m if is_transcendental(m) => 0x0200,
        _ => 0,
    }
}

/// Flags that may differ: FCOMI with an unmasked IE, for which AMD's processors say "unordered" in EFLAGS, too.
pub fn undefined_flags(code: Code, before: &State, guest: &State) -> u64 {
    let word = |s: &State, at: usize| u16::from_le_bytes([s.fx[at], s.fx[at + 1]]);
    let invalid = word(guest, 2) & !word(before, 0) & 1 != 0;
    match code.mnemonic() {
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip if invalid => 0x8d5,
        _ => 0,
    }
}

/// No two processors agree in the last place, so C1 and that place are not compared.
fn is_transcendental(m: M) -> bool {
    matches!(m, M::Fsin | M::Fcos | M::Fsincos | M::Fptan | M::Fpatan | M::F2xm1 | M::Fyl2x | M::Fyl2xp1)
}

/// Approximations: every processor has its own table. Both are within the documented error of each other.
pub fn close_enough(code: Code, _insn: &Instruction, _before: &State, host: &[u8], guest: &[u8]) -> bool {
    if is_transcendental(code.mnemonic()) && host.len() == 10 {
        // Position among all values of the format.
        let position = |b: &[u8]| {
            let (significand, exponent) = (u64::from_le_bytes(b[..8].try_into().unwrap()), [b[8], b[9]]);
            i128::from(u16::from_le_bytes(exponent)) << 63 | i128::from(significand & u64::MAX >> 1)
        };
        return position(host).abs_diff(position(guest)) <= 1;
    }
    let approximate =
        [M::Rcpss, M::Rcpps, M::Rsqrtss, M::Rsqrtps, M::Vrcpss, M::Vrcpps, M::Vrsqrtss, M::Vrsqrtps];
    if !approximate.contains(&code.mnemonic()) {
        return false;
    }
    let lanes = |bytes: &[u8]| -> Vec<u32> {
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    lanes(host).iter().zip(lanes(guest)).all(|(&h, g)| {
        let difference = (f64::from(f32::from_bits(h)) / f64::from(f32::from_bits(g)) - 1.0).abs();
        // The reciprocal of 2^126 is the smallest normal number; a table may come out below, which is 0.
        let near_zero = f32::from_bits(h) == 0.0 && f32::from_bits(g).abs() == f32::MIN_POSITIVE;
        h == g || difference <= 3.0 / 4096.0 || near_zero
    })
}

/// CVTPI2PS from memory: the manual has it enter MMX state as the register form does, AMD's processors do not.
pub fn leaves_x87_alone(code: Code, insn: &Instruction) -> bool {
    code.mnemonic() == M::Cvtpi2ps && insn.op1_kind() == OpKind::Memory
}

/// AMD's processors enter MMX state even when a conversion raises #XM. A fault leaves the state as it was, by
/// SDM 3A, "Exception Classifications".
pub fn fault_enters_mmx(code: Code, host: &State) -> bool {
    host.faulted != 0
        && matches!(code.mnemonic(), M::Cvtpi2ps | M::Cvtps2pi | M::Cvttps2pi | M::Cvtpd2pi | M::Cvttpd2pi)
}

/// WAIT and then an instruction: two for the decoder.
pub fn is_waiting(code: Code) -> bool {
    matches!(
        code.mnemonic(),
        M::Fstcw
            | M::Fstenv
            | M::Fsave
            | M::Fstsw
            | M::Finit
            | M::Fclex
            | M::Fstdw
            | M::Fstsg
            | M::Feni
            | M::Fdisi
            | M::Fsetpm
    )
}

/// The x87 state before, for a failure's message.
pub fn describe(before: &State) -> String {
    let show = |b: &[u8]| b.iter().rev().map(|b| format!("{b:02x}")).collect::<String>();
    let fx = &before.fx;
    format!(
        "x87 before: FCW {} FSW {} tags {} st0 {} st1 {}",
        show(&fx[..2]),
        show(&fx[2..4]),
        show(&fx[4..5]),
        show(&fx[32..42]),
        show(&fx[48..58])
    )
}

/// Operands for which the manual leaves the result open: FYL2XP1 of a number outside its range. Also a pending
/// error before what [`leaves_x87_alone`].
pub fn is_undefined(code: Code, insn: &Instruction, before: &State) -> bool {
    let exponent = u16::from_le_bytes([before.fx[40], before.fx[41]]) & 0x7fff;
    let pending = before.fx[2] & 0x80 != 0;
    leaves_x87_alone(code, insn) && pending
        || code.mnemonic() == M::Fyl2xp1 && (0x3ffd..0x7fff).contains(&exponent)
}

/// x87 instructions that set FIP, FOP and FDP.
pub fn notes_pointers(code: Code) -> bool {
    let features = code.cpuid_features();
    let x87 =
        features.iter().any(|f| matches!(f, CpuidFeature::FPU | CpuidFeature::FPU287 | CpuidFeature::FPU387));
    x87 && !matches!(
        code.mnemonic(),
        M::Fninit
            | M::Fnclex
            | M::Fldcw
            | M::Fnstcw
            | M::Fnstsw
            | M::Fnstenv
            | M::Fldenv
            | M::Fnsave
            | M::Frstor
            | M::Wait
    )
}
