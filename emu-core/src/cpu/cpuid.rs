//! CPUID: what the processor says of itself. Only what is implemented is reported.
//! SDM 2A, "CPUID"; AMD APM vol. 3 for the extended leaves.

use super::Cpu;
use super::control::CR4_OSXSAVE;
use super::fpu::{
    PKRU_AREA, PKRU_SIZE, XCR0_AVX, XCR0_PKRU, XCR0_SUPPORTED, YMM_AREA, YMM_SIZE, compacted_pkru_area,
};

/// Signature in EAX of leaf 1 and in EDX after reset: family 6, model 2Ah, stepping 7.
pub const SIGNATURE: u32 = 0x0002_06a7;

const BRAND: &[u8; 48] = b"emu x86-64 processor\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Leaf 1 EDX: FPU VME DE PSE TSC MSR PAE CX8 APIC SEP MTRR PGE CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2.
mod edx1 {
    pub const FPU: u32 = 1 << 0;
    pub const DE: u32 = 1 << 2;
    pub const PSE: u32 = 1 << 3;
    pub const TSC: u32 = 1 << 4;
    pub const MSR: u32 = 1 << 5;
    pub const PAE: u32 = 1 << 6;
    pub const CX8: u32 = 1 << 8;
    pub const APIC: u32 = 1 << 9;
    pub const SEP: u32 = 1 << 11;
    pub const MTRR: u32 = 1 << 12;
    pub const PGE: u32 = 1 << 13;
    pub const CMOV: u32 = 1 << 15;
    pub const PAT: u32 = 1 << 16;
    pub const PSE36: u32 = 1 << 17;
    pub const CLFSH: u32 = 1 << 19;
    pub const MMX: u32 = 1 << 23;
    pub const FXSR: u32 = 1 << 24;
    pub const SSE: u32 = 1 << 25;
    pub const SSE2: u32 = 1 << 26;
}

/// Leaf 1 ECX.
mod ecx1 {
    pub const SSE3: u32 = 1 << 0;
    pub const PCLMULQDQ: u32 = 1 << 1;
    pub const SSSE3: u32 = 1 << 9;
    pub const FMA: u32 = 1 << 12;
    pub const CMPXCHG16B: u32 = 1 << 13;
    pub const SSE4_1: u32 = 1 << 19;
    pub const SSE4_2: u32 = 1 << 20;
    pub const X2APIC: u32 = 1 << 21;
    pub const MOVBE: u32 = 1 << 22;
    pub const POPCNT: u32 = 1 << 23;
    pub const TSC_DEADLINE: u32 = 1 << 24;
    pub const AES: u32 = 1 << 25;
    pub const XSAVE: u32 = 1 << 26;
    pub const OSXSAVE: u32 = 1 << 27;
    pub const AVX: u32 = 1 << 28;
    pub const F16C: u32 = 1 << 29;
    pub const HYPERVISOR: u32 = 1 << 31;
}

impl Cpu {
    /// EAX, EBX, ECX, EDX of a leaf and sub-leaf.
    pub fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let registers = self.with_system_features(leaf, subleaf, self.basic_leaf(leaf, subleaf));
        self.with_topology(leaf, subleaf, registers)
    }

    fn basic_leaf(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let vendor = |a: &[u8; 12]| {
            let word = |n: usize| u32::from_le_bytes([a[n], a[n + 1], a[n + 2], a[n + 3]]);
            [word(0), word(8), word(4)]
        };
        match leaf {
            0 => {
                let [b, c, d] = vendor(b"GenuineIntel");
                [0xd, b, c, d]
            }
            1 => self.features(),
            // No cache descriptors beyond what leaf 4 says.
            2 => [0x00ff_0001, 0, 0, 0],
            4 => cache(subleaf),
            7 if subleaf == 0 => {
                let fsgsbase = 1 << 0;
                let tsc_adjust = 1 << 1;
                let bmi1 = 1 << 3;
                let avx2 = 1 << 5;
                let smep = 1 << 7;
                let bmi2 = 1 << 8;
                let erms = 1 << 9;
                let adx = 1 << 19;
                let smap = 1 << 20;
                let sha = 1 << 29;
                let (gfni, vaes, vpclmulqdq) = (1 << 8, 1 << 9, 1 << 10);
                let umip = 1 << 2;
                let rdpid = 1 << 22;
                [
                    0,
                    fsgsbase | tsc_adjust | bmi1 | avx2 | smep | bmi2 | erms | adx | smap | sha,
                    umip | rdpid | gfni | vaes | vpclmulqdq,
                    0,
                ]
            }
            0xd => self.extended_state(subleaf),
            0x8000_0000 => [0x8000_0008, 0, 0, 0],
            0x8000_0001 => {
                let (lahf, lzcnt, prefetchw) = (1 << 0, 1 << 5, 1 << 8);
                let (syscall, nx, gbytes, rdtscp, long) = (1 << 11, 1 << 20, 1 << 26, 1 << 27, 1 << 29);
                [0, 0, lahf | lzcnt | prefetchw, syscall | nx | gbytes | rdtscp | long]
            }
            0x8000_0002..=0x8000_0004 => {
                let at = (leaf - 0x8000_0002) as usize * 16;
                let word = |n: usize| {
                    let b = &BRAND[at + n * 4..at + n * 4 + 4];
                    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
                };
                [word(0), word(1), word(2), word(3)]
            }
            0x8000_0006 => [0, 0, 0x0100_6040, 0],
            // Invariant TSC.
            0x8000_0007 => [0, 0, 0, 1 << 8],
            0x8000_0008 => [self.physical_bits | super::system_features::LINEAR_BITS << 8, 0, 0, 0],
            _ => [0; 4],
        }
    }

    /// Leaf 0Dh: components and sizes of the XSAVE area.
    fn extended_state(&self, subleaf: u32) -> [u32; 4] {
        let (xsaveopt, xsavec, xgetbv, xsaves) = (1 << 0, 1 << 1, 1 << 2, 1 << 3);
        match subleaf {
            0 => [XCR0_SUPPORTED as u32, standard_size(self.fpu.xcr0), standard_size(XCR0_SUPPORTED), 0],
            1 => [xsaveopt | xsavec | xgetbv | xsaves, compacted_size(self.fpu.xcr0), 0, 0],
            2 if XCR0_SUPPORTED & XCR0_AVX != 0 => [YMM_SIZE as u32, YMM_AREA as u32, 0, 0],
            9 if XCR0_SUPPORTED & XCR0_PKRU != 0 => [PKRU_SIZE as u32, PKRU_AREA as u32, 0, 0],
            _ => [0; 4],
        }
    }

    fn features(&self) -> [u32; 4] {
        use ecx1::{
            AES, AVX, CMPXCHG16B, F16C, FMA, HYPERVISOR, MOVBE, OSXSAVE, PCLMULQDQ, POPCNT, TSC_DEADLINE,
            X2APIC, XSAVE,
        };
        use ecx1::{SSE3, SSE4_1, SSE4_2, SSSE3};
        use edx1::{
            APIC, CLFSH, CMOV, CX8, DE, FPU, FXSR, MMX, MSR, MTRR, PAE, PAT, PGE, PSE, PSE36, SEP, SSE, SSE2,
            TSC,
        };
        let edx =
            FPU | DE | PSE | TSC | MSR | PAE | CX8 | APIC | SEP | MTRR | PGE | CMOV | PAT | PSE36 | CLFSH;
        let edx = edx | MMX | FXSR | SSE | SSE2;
        let mut ecx = CMPXCHG16B | X2APIC | MOVBE | POPCNT | TSC_DEADLINE | HYPERVISOR;
        ecx |= SSE3 | PCLMULQDQ | SSSE3 | SSE4_1 | SSE4_2 | AES | XSAVE | AVX | FMA | F16C;
        if self.cr4 & CR4_OSXSAVE != 0 {
            ecx |= OSXSAVE;
        }
        let ebx = 8 << 8 | 1 << 16 | (self.number as u32) << 24;
        [SIGNATURE, ebx, ecx, edx]
    }
}

/// Bytes of an XSAVE area with these components, in the standard format.
fn standard_size(components: u64) -> u32 {
    if components & XCR0_PKRU != 0 { (PKRU_AREA + PKRU_SIZE) as u32 } else { compacted_size(components) }
}

/// The same in the compacted format.
fn compacted_size(components: u64) -> u32 {
    let pkru = if components & XCR0_PKRU != 0 { PKRU_SIZE } else { 0 };
    (compacted_pkru_area(components) + pkru) as u32
}

/// Deterministic cache parameters: 32 KiB L1 data and code, 256 KiB L2, 64-byte lines, 8 ways.
fn cache(subleaf: u32) -> [u32; 4] {
    let (kind, level, sets) = match subleaf {
        0 => (1, 1, 64),
        1 => (2, 1, 64),
        2 => (3, 2, 512),
        _ => return [0; 4],
    };
    [kind | level << 5 | 1 << 8, 7 << 22 | 63, sets - 1, 0]
}
