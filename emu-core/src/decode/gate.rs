//! Which instructions a processor has: the one place where a model's features meet the instruction table.
//!
//! iced names the features of each encoding as Intel's manual does; here they become ours. An encoding of which
//! no model of ours has the feature (AVX-512, SVM, 3DNow!) is invalid on all of them.

use std::sync::OnceLock;

use iced_x86::{Code, CpuidFeature as C, DecoderOptions};

use crate::cpu::model::{Feature, Features};

/// What an encoding needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// It exists on no model.
    Never,
    /// All of these.
    All(Features),
    /// One of these.
    Any(Features),
}

impl Needs {
    /// Does a processor with these features have the instruction?
    pub fn met_by(self, features: Features) -> bool {
        match self {
            Self::Never => false,
            Self::All(needed) => features.contains(needed),
            Self::Any(needed) => features.intersects(needed),
        }
    }
}

/// What an encoding needs.
pub fn needs(code: Code) -> Needs {
    static INDEX: OnceLock<Vec<Needs>> = OnceLock::new();
    INDEX.get_or_init(|| Code::values().map(work_out).collect())[code as usize]
}

fn work_out(code: Code) -> Needs {
    // RDSSP is a reserved NOP while there is no shadow stack; the rest of CET is not.
    if matches!(code, Code::Rdsspd_r32 | Code::Rdsspq_r64) {
        return of(C::MULTIBYTENOP);
    }
    // The decoder has it among those of MMX. SDM 2B, "PADDB/PADDW/PADDD/PADDQ".
    if code == Code::Paddq_mm_mmm64 {
        return of(C::SSE2);
    }
    let mut all = Features::NONE;
    for &feature in code.cpuid_features() {
        match of(feature) {
            Needs::All(needed) => all = all.or(needed),
            other => return other,
        }
    }
    Needs::All(all)
}

/// Our features for one of iced's.
fn of(feature: C) -> Needs {
    use Feature as F;
    const fn one(feature: Feature) -> Needs {
        Needs::All(Features::of(&[feature]))
    }
    match feature {
        C::INTEL8086 | C::INTEL186 | C::INTEL286 | C::INTEL386 | C::INTEL486 => Needs::All(Features::NONE),
        C::CPUID | C::PAUSE | C::SMM => Needs::All(Features::NONE),
        C::FPU | C::FPU287 | C::FPU387 => one(F::Fpu),
        C::X64 => one(F::Lm),
        C::TSC => one(F::Tsc),
        C::MSR => one(F::Msr),
        C::CX8 => one(F::Cx8),
        C::SEP => one(F::Sep),
        C::CMOV => one(F::Cmov),
        C::CLFSH => one(F::Clflush),
        C::MMX => one(F::Mmx),
        C::FXSR => one(F::Fxsr),
        // Hints were reserved NOPs before they meant something, and ENDBR is one without CET.
        C::MULTIBYTENOP | C::CLDEMOTE | C::CET_IBT | C::PREFETCHITI => one(F::Nopl),
        C::SSE => one(F::Sse),
        C::SSE2 => one(F::Sse2),
        C::SSE3 => one(F::Sse3),
        C::PCLMULQDQ => one(F::Pclmulqdq),
        C::MONITOR => one(F::Monitor),
        C::SSSE3 => one(F::Ssse3),
        C::FMA => one(F::Fma),
        C::CMPXCHG16B => one(F::Cx16),
        C::SSE4_1 => one(F::Sse41),
        C::SSE4_2 => one(F::Sse42),
        C::MOVBE => one(F::Movbe),
        C::POPCNT => one(F::Popcnt),
        C::AES => one(F::Aes),
        C::XSAVE => one(F::Xsave),
        C::XSAVEOPT => one(F::Xsaveopt),
        C::XSAVEC => one(F::Xsavec),
        C::XSAVES => one(F::Xsaves),
        C::AVX => one(F::Avx),
        C::AVX2 => one(F::Avx2),
        C::F16C => one(F::F16c),
        C::RDRAND => one(F::Rdrand),
        C::RDSEED => one(F::Rdseed),
        C::FSGSBASE => one(F::Fsgsbase),
        C::BMI1 => one(F::Bmi1),
        C::BMI2 => one(F::Bmi2),
        C::LZCNT => one(F::Abm),
        C::INVPCID => one(F::Invpcid),
        C::ADX => one(F::Adx),
        C::SMAP => one(F::Smap),
        C::GFNI => one(F::Gfni),
        C::VAES => one(F::Vaes),
        C::VPCLMULQDQ => one(F::Vpclmulqdq),
        C::CLFLUSHOPT => one(F::Clflushopt),
        C::CLWB => one(F::Clwb),
        C::PCOMMIT => one(F::Pcommit),
        C::SHA => one(F::Sha),
        C::PKU => one(F::Pku),
        C::RDPID => one(F::Rdpid),
        C::SERIALIZE => one(F::Serialize),
        C::VMX | C::INVEPT | C::INVVPID => one(F::Vmx),
        C::SYSCALL => one(F::Syscall),
        C::RDTSCP => one(F::Rdtscp),
        C::RDPMC => one(F::Rdpmc),
        C::WBNOINVD => one(F::Wbnoinvd),
        // Processors with long mode take it for a NOP at least.
        C::PREFETCHW | C::PREFETCHWT1 => Needs::Any(Features::of(&[F::Prefetchw, F::Lm])),
        _ => Needs::Never,
    }
}

/// What a prefix means depends on the processor: without LZCNT, F3 0F BD is BSR.
pub fn decoder_options(features: Features) -> u32 {
    const OPTIONS: [(Feature, u32); 4] = [
        (Feature::Bmi1, DecoderOptions::NO_MPFX_0FBC),
        (Feature::Abm, DecoderOptions::NO_MPFX_0FBD),
        (Feature::Wbnoinvd, DecoderOptions::NO_WBNOINVD),
        (Feature::LahfLm, DecoderOptions::NO_LAHF_SAHF_64),
    ];
    let lacking = OPTIONS.iter().filter(|(feature, _)| !features.has(*feature));
    let withdrawn =
        if features.has(Feature::Pcommit) { DecoderOptions::PCOMMIT } else { DecoderOptions::NONE };
    lacking.fold(withdrawn, |all, (_, option)| all | option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_needs_what_the_manual_says() {
        assert_eq!(needs(Code::Add_rm8_r8), Needs::All(Features::NONE));
        assert_eq!(
            needs(Code::VEX_Vaesenc_xmm_xmm_xmmm128),
            Needs::All(Features::of(&[Feature::Aes, Feature::Avx]))
        );
        assert_eq!(needs(Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er), Needs::Never);
        assert_eq!(needs(Code::Vmcall), Needs::All(Features::of(&[Feature::Vmx])));
        assert_eq!(needs(Code::Vmmcall), Needs::Never);
        assert!(!needs(Code::Fcmovb_st0_sti).met_by(Features::of(&[Feature::Fpu])));
    }

    #[test]
    fn a_prefetch_is_a_nop_where_there_is_long_mode() {
        let prefetchw = needs(Code::Prefetchw_m8);
        assert!(prefetchw.met_by(Features::of(&[Feature::Lm])));
        assert!(prefetchw.met_by(Features::of(&[Feature::Prefetchw])));
        assert!(!prefetchw.met_by(Features::of(&[Feature::Sse])));
    }
}
