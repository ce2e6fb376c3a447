//! CPUID: what the processor's [model](super::model) says of itself.
//! SDM 2A, "CPUID"; AMD APM vol. 3 for the extended leaves.

use super::Cpu;
use super::control::{CR4_OSXSAVE, CR4_PKE};
use super::fpu::{PKRU_AREA, PKRU_SIZE, XCR0_AVX, XCR0_PKRU, YMM_AREA, YMM_SIZE, compacted_pkru_area};
use super::model::feature::Word;
use super::model::{CACHE_LINE, Cache, CacheKind, Feature, Vendor};
use super::msr::{MISC_ENABLE_LIMIT_CPUID, MISC_ENABLE_NO_XD};
use super::performance::{COUNTERS, WIDTH};

/// Leaf 1 ECX: CR4.OSXSAVE.
const OSXSAVE: u32 = 1 << 27;
/// Leaf 7 ECX: CR4.PKE.
const OSPKE: u32 = 1 << 4;
/// Leaf 8000_0001h EDX: the bits that AMD's processors repeat from leaf 1.
const REPEATED: u32 = 0x0183_f3ff;
/// Leaf 8000_0001h EDX: the execute-disable bit, which software may hide.
const EXECUTE_DISABLE: u32 = 1 << 20;
/// What hypervisors name themselves by, in leaf 4000_0000h.
const HYPERVISOR: &[u8; 12] = b"emu emulator";

/// The time-stamp counter counts guest nanoseconds, and so does the APIC's timer before its divider.
const CRYSTAL_HZ: u32 = 1_000_000_000;
/// Leaf 16h, in MHz: one instruction a nanosecond.
const MHZ: u32 = 1000;

/// Three registers that hold a name of twelve letters, in the order of leaf 0.
fn vendor(name: &[u8; 12]) -> [u32; 3] {
    let word = |n: usize| u32::from_le_bytes([name[n], name[n + 1], name[n + 2], name[n + 3]]);
    [word(0), word(8), word(4)]
}

impl Cpu {
    /// EAX, EBX, ECX, EDX of a leaf and sub-leaf.
    pub fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let m = &self.model;
        let max_leaf = self.max_leaf();
        match leaf {
            0..0x4000_0000 if leaf <= max_leaf => {
                self.with_topology(leaf, subleaf, self.basic_leaf(leaf, subleaf))
            }
            0x4000_0000 if m.has(Feature::Hypervisor) => {
                let name =
                    |n: usize| u32::from_le_bytes(HYPERVISOR[n..n + 4].try_into().expect("four letters"));
                [leaf, name(0), name(4), name(8)]
            }
            0x8000_0000.. if leaf <= m.max_extended => {
                self.with_topology(leaf, subleaf, self.extended_leaf(leaf))
            }
            // Intel's processors answer with their highest basic leaf, AMD's with zeros.
            _ if m.vendor == Vendor::Intel => self.basic_leaf(max_leaf, subleaf),
            _ => [0; 4],
        }
    }

    /// The highest basic leaf, which software may limit for the sake of old systems.
    fn max_leaf(&self) -> u32 {
        let limited = self.msrs.misc_enable & MISC_ENABLE_LIMIT_CPUID != 0;
        if limited { self.model.max_leaf.min(2) } else { self.model.max_leaf }
    }

    fn basic_leaf(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let m = &self.model;
        let intel = m.vendor == Vendor::Intel;
        match leaf {
            0 => {
                let [b, c, d] = vendor(if intel { b"GenuineIntel" } else { b"AuthenticAMD" });
                [self.max_leaf(), b, c, d]
            }
            1 => self.features(),
            2 => m.descriptors,
            4 if intel => m.caches.get(subleaf as usize).map_or([0; 4], cache),
            // MONITOR lines; masked interrupts can end MWAIT; one C1 state.
            5 if self.has_monitor() => [CACHE_LINE, CACHE_LINE, 3, 0x10],
            6 => [m.features.word(Word::Eax6), 0, 0, 0],
            7 if subleaf == 0 => {
                let ospke = if self.cr4 & CR4_PKE != 0 { OSPKE } else { 0 };
                let word = |word| m.features.word(word);
                let sub_leaves = if word(Word::Edx72) != 0 { 2 } else { 0 };
                [sub_leaves, word(Word::Ebx7), word(Word::Ecx7) | ospke, word(Word::Edx7)]
            }
            7 if subleaf == 2 => [0, 0, 0, m.features.word(Word::Edx72)],
            // Version 1, counters, their width; of the architectural events there are the first three.
            0xa if m.has(Feature::Pmu) => [1 | (COUNTERS as u32) << 8 | WIDTH << 16 | 3 << 24, 0, 0, 0],
            0xd if m.has(Feature::Xsave) => self.extended_state(subleaf),
            // Ratio of the time-stamp counter to the crystal, and the crystal's frequency.
            0x15 if m.has(Feature::Tsc) => [1, 1, CRYSTAL_HZ, 0],
            0x16 => [MHZ, MHZ, MHZ, 0],
            _ => [0; 4],
        }
    }

    fn extended_leaf(&self, leaf: u32) -> [u32; 4] {
        let m = &self.model;
        let amd = m.vendor == Vendor::Amd;
        match leaf {
            0x8000_0000 if amd => {
                let [b, c, d] = vendor(b"AuthenticAMD");
                [m.max_extended, b, c, d]
            }
            0x8000_0000 => [m.max_extended, 0, 0, 0],
            0x8000_0001 => {
                let repeated = if amd { m.features.word(Word::Edx1) & REPEATED } else { 0 };
                let no_xd = if self.msrs.misc_enable & MISC_ENABLE_NO_XD != 0 { EXECUTE_DISABLE } else { 0 };
                let signature = if amd { m.signature() } else { 0 };
                [signature, 0, m.features.word(Word::Ecx81), m.features.word(Word::Edx81) & !no_xd | repeated]
            }
            0x8000_0002..=0x8000_0004 => {
                let mut brand = [0; 48];
                brand[..m.brand.len()].copy_from_slice(m.brand.as_bytes());
                let at = (leaf - 0x8000_0002) as usize * 16;
                [0, 4, 8, 12].map(|n| {
                    let b = &brand[at + n..at + n + 4];
                    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
                })
            }
            0x8000_0005 if amd => {
                let first = |kind| {
                    let found = m.caches.iter().find(|c| c.level == 1 && c.kind == kind);
                    found.map_or(0, |c| c.size << 24 | c.ways << 16 | 1 << 8 | CACHE_LINE)
                };
                [0, 0, first(CacheKind::Data), first(CacheKind::Code)]
            }
            0x8000_0006 => {
                let second = m.caches.iter().find(|c| c.level == 2);
                let lines = if amd { 1 << 8 } else { 0 };
                let ecx = |c: &Cache| c.size << 16 | ways_code(c.ways) << 12 | lines | CACHE_LINE;
                [0, 0, second.map_or(0, ecx), 0]
            }
            0x8000_0007 => [0, 0, 0, m.features.word(Word::Edx87)],
            0x8000_0008 => {
                [m.physical_bits | m.linear_bits().max(32) << 8, m.features.word(Word::Ebx88), 0, 0]
            }
            _ => [0; 4],
        }
    }

    /// Leaf 0Dh: components and sizes of the XSAVE area.
    fn extended_state(&self, subleaf: u32) -> [u32; 4] {
        let supported = self.model.xcr0();
        match subleaf {
            0 => [supported as u32, standard_size(self.fpu.xcr0), standard_size(supported), 0],
            1 => [self.model.features.word(Word::EaxD), compacted_size(self.fpu.xcr0), 0, 0],
            2 if supported & XCR0_AVX != 0 => [YMM_SIZE as u32, YMM_AREA as u32, 0, 0],
            9 if supported & XCR0_PKRU != 0 => [PKRU_SIZE as u32, PKRU_AREA as u32, 0, 0],
            _ => [0; 4],
        }
    }

    /// Leaf 1.
    fn features(&self) -> [u32; 4] {
        let m = &self.model;
        let mut ecx = m.features.word(Word::Ecx1);
        if self.cr4 & CR4_OSXSAVE != 0 {
            ecx |= OSXSAVE;
        }
        if !self.has_monitor() {
            ecx &= !(1 << Feature::Monitor.entry().bit);
        }
        let flush = if m.has(Feature::Clflush) { CACHE_LINE / 8 } else { 0 };
        let apic = if m.has(Feature::Apic) { 1 << 16 | (self.number as u32) << 24 } else { 0 };
        [m.signature(), flush << 8 | apic, ecx, m.features.word(Word::Edx1)]
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

/// Leaf 4: deterministic cache parameters.
fn cache(cache: &Cache) -> [u32; 4] {
    let sets = cache.size * 1024 / (cache.ways * CACHE_LINE);
    let eax = cache.kind as u32 | cache.level << 5 | 1 << 8;
    [eax, (cache.ways - 1) << 22 | (CACHE_LINE - 1), sets - 1, 0]
}

/// Leaf 8000_0006h: the code of a number of ways.
fn ways_code(ways: u32) -> u32 {
    match ways {
        8 => 6,
        16 => 8,
        other => other,
    }
}
