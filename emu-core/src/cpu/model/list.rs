//! The models. Figures of real ones are from Intel's AP-485 ("Intel Processor Identification and the CPUID
//! Instruction") and the processors' data sheets.

use super::CacheKind::{Code, Data, Unified};
use super::Feature::*;
use super::{Cache, Features, Model, Vendor};

/// Every model, oldest first.
pub const MODELS: &[Model] = &[I486, PENTIUM, PENTIUM3, CORE2, QEMU64, X86_64_V2, X86_64_V3, MAX];

const fn cache(level: u32, kind: super::CacheKind, size: u32, ways: u32) -> Cache {
    Cache { level, kind, size, ways }
}

const I486: Model = Model {
    name: "486",
    about: "Intel 486 DX4, of the later ones with CPUID",
    vendor: Vendor::Intel,
    family: 4,
    model: 8,
    stepping: 0,
    features: Features::of(&[Fpu, Vme]),
    max_leaf: 1,
    max_extended: 0,
    brand: "",
    physical_bits: 32,
    descriptors: [0; 4],
    caches: &[],
    tracks_xinuse: true,
};

const PENTIUM: Model = Model {
    name: "pentium",
    about: "Intel Pentium with MMX",
    family: 5,
    model: 4,
    stepping: 3,
    features: I486.features.with(&[De, Pse, Tsc, Msr, Mce, Cx8, Apic, Mmx, Rdpmc]),
    ..I486
};

const PENTIUM3: Model = Model {
    name: "pentium3",
    about: "Intel Pentium III (Coppermine)",
    family: 6,
    model: 8,
    stepping: 3,
    features: PENTIUM.features.with(&[Pae, Sep, Mtrr, Pge, Mca, Cmov, Pat, Pse36, Fxsr, Sse, Nopl]),
    max_leaf: 2,
    physical_bits: 36,
    // TLBs, and 16 + 16 KiB of first-level and 256 KiB of second-level cache.
    descriptors: [0x0302_0101, 0, 0, 0x0c04_0882],
    ..I486
};

const CORE2: Model = Model {
    name: "core2",
    about: "Intel Core 2 Duo T7700",
    family: 6,
    model: 15,
    stepping: 11,
    features: PENTIUM3
        .features
        .with(&[Clflush, Sse2, Sse3, Ssse3, Monitor, Cx16, Syscall, Nx, Lm, LahfLm, Pmu]),
    max_leaf: 0xa,
    max_extended: 0x8000_0008,
    brand: "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz",
    descriptors: [0x05b0_b101, 0x0056_57f0, 0, 0x2cb4_3049],
    caches: &[cache(1, Data, 32, 8), cache(1, Code, 32, 8), cache(2, Unified, 4096, 16)],
    ..PENTIUM3
};

const QEMU64: Model = Model {
    name: "qemu64",
    about: "what QEMU calls by this name, an AMD processor of family 15, without SVM",
    vendor: Vendor::Amd,
    family: 15,
    model: 107,
    stepping: 1,
    features: Features::of(&[
        Fpu, De, Pse, Tsc, Msr, Pae, Mce, Cx8, Apic, Sep, Mtrr, Pge, Mca, Cmov, Pat, Pse36, Clflush, Mmx,
        Fxsr, Sse, Sse2, Sse3, Cx16, Hypervisor, Syscall, Nx, Lm, LahfLm, Nopl, Rdpmc,
    ]),
    max_leaf: 0xd,
    max_extended: 0x8000_0008,
    brand: "emu qemu64 processor",
    physical_bits: 40,
    descriptors: [0; 4],
    caches: &[cache(1, Data, 64, 2), cache(1, Code, 64, 2), cache(2, Unified, 512, 16)],
    tracks_xinuse: true,
};

/// The last three have a model number of family 6 that Intel never gave away, so that no system software takes them
/// for a processor with errata, uncore units and registers that they lack.
const X86_64_V2: Model = Model {
    name: "x86-64-v2",
    about: "level 2 of the x86-64 psABI: SSE4.2, POPCNT, CMPXCHG16B",
    vendor: Vendor::Intel,
    family: 6,
    model: 0xf0,
    stepping: 1,
    features: CORE2.features.with(&[
        Sse41,
        Sse42,
        Popcnt,
        Pcid,
        X2apic,
        TscDeadline,
        Rdtscp,
        InvariantTsc,
        Arat,
        Hypervisor,
        Lbr,
        SpecCtrl,
        Stibp,
        Ssbd,
        BhiCtrl,
        ArchCapabilities,
    ]),
    max_leaf: 0xb,
    max_extended: 0x8000_0008,
    brand: "emu x86-64-v2 processor",
    physical_bits: 40,
    // FFh: leaf 4 has the caches.
    descriptors: [0x00ff_0001, 0, 0, 0],
    // C libraries copy past the caches what is larger than most of the last one.
    caches: &[
        cache(1, Data, 32, 8),
        cache(1, Code, 32, 8),
        cache(2, Unified, 256, 8),
        cache(3, Unified, 32768, 16),
    ],
    tracks_xinuse: true,
};

const X86_64_V3: Model = Model {
    name: "x86-64-v3",
    about: "level 3 of the x86-64 psABI: AVX2, FMA, BMI, MOVBE, LZCNT, F16C",
    features: X86_64_V2.features.with(&[
        Avx, Avx2, Fma, F16c, Bmi1, Bmi2, Abm, Movbe, Xsave, Xsaveopt, Fsgsbase, TscAdjust, Smep, Erms,
        Invpcid, Rdrand, Pclmulqdq, Aes, Pdpe1gb,
    ]),
    max_leaf: 0xd,
    brand: "emu x86-64-v3 processor",
    ..X86_64_V2
};

/// Everything but PCOMMIT, which Intel withdrew before any processor had it.
pub const MAX: Model = Model {
    name: "max",
    about: "everything that emu implements (the default)",
    features: Features::ALL.without(&[Pcommit]),
    // Frequencies.
    max_leaf: 0x16,
    brand: "emu x86-64 processor",
    ..X86_64_V2
};
