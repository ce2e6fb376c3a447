//! Features of processors: their names, where CPUID reports them, and which others they need.
//!
//! Names are QEMU's. A few at the end are no CPUID bits: they came with a generation and are told by the family.
//! SDM 2A, "CPUID"; AMD APM vol. 3, "Obtaining Processor Information Via the CPUID Instruction".

use std::fmt;

/// A register of a CPUID leaf that holds feature bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// No CPUID bit.
    None,
    /// Leaf 1 EDX.
    Edx1,
    /// Leaf 1 ECX.
    Ecx1,
    /// Leaf 6 EAX.
    Eax6,
    /// Leaf 7 EBX.
    Ebx7,
    /// Leaf 7 ECX.
    Ecx7,
    /// Leaf 7 EDX.
    Edx7,
    /// Leaf 7, sub-leaf 2, EDX.
    Edx72,
    /// Leaf 0Dh, sub-leaf 1, EAX.
    EaxD,
    /// Leaf 8000_0001h EDX.
    Edx81,
    /// Leaf 8000_0001h ECX.
    Ecx81,
    /// Leaf 8000_0007h EDX.
    Edx87,
    /// Leaf 8000_0008h EBX.
    Ebx88,
}

impl Word {
    /// Its leaf; 0 for none.
    pub fn leaf(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Edx1 | Self::Ecx1 => 1,
            Self::Eax6 => 6,
            Self::Ebx7 | Self::Ecx7 | Self::Edx7 | Self::Edx72 => 7,
            Self::EaxD => 0xd,
            Self::Edx81 | Self::Ecx81 => 0x8000_0001,
            Self::Edx87 => 0x8000_0007,
            Self::Ebx88 => 0x8000_0008,
        }
    }
}

/// What there is to know of a feature.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The feature.
    pub feature: Feature,
    /// Its name.
    pub name: &'static str,
    /// Where CPUID reports it.
    pub word: Word,
    /// The bit there.
    pub bit: u32,
    /// What it cannot be without.
    pub needs: &'static [Feature],
}

macro_rules! features {
    ($($(#[$doc:meta])* $id:ident $name:literal $word:ident $bit:literal [$($need:ident)*];)*) => {
        /// A feature.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Feature {
            $($(#[$doc])* #[doc = concat!("`", $name, "`.")] $id,)*
        }

        /// All features, in the order of the enumeration.
        pub const ENTRIES: &[Entry] = &[$(Entry {
            feature: Feature::$id,
            name: $name,
            word: Word::$word,
            bit: $bit,
            needs: &[$(Feature::$need),*],
        }),*];
    };
}

features! {
    Fpu "fpu" Edx1 0 [];
    Vme "vme" Edx1 1 [];
    De "de" Edx1 2 [];
    Pse "pse" Edx1 3 [];
    Tsc "tsc" Edx1 4 [];
    Msr "msr" Edx1 5 [];
    Pae "pae" Edx1 6 [];
    Mce "mce" Edx1 7 [];
    Cx8 "cx8" Edx1 8 [];
    Apic "apic" Edx1 9 [];
    Sep "sep" Edx1 11 [Msr];
    Mtrr "mtrr" Edx1 12 [Msr];
    Pge "pge" Edx1 13 [];
    Mca "mca" Edx1 14 [Mce Msr];
    Cmov "cmov" Edx1 15 [];
    Pat "pat" Edx1 16 [Msr];
    Pse36 "pse36" Edx1 17 [Pse];
    Clflush "clflush" Edx1 19 [];
    Mmx "mmx" Edx1 23 [];
    Fxsr "fxsr" Edx1 24 [];
    Sse "sse" Edx1 25 [Fxsr Mmx];
    Sse2 "sse2" Edx1 26 [Sse];

    Sse3 "sse3" Ecx1 0 [Sse2];
    Pclmulqdq "pclmulqdq" Ecx1 1 [Sse2];
    Monitor "monitor" Ecx1 3 [];
    Vmx "vmx" Ecx1 5 [Msr Pae];
    Ssse3 "ssse3" Ecx1 9 [Sse3];
    Fma "fma" Ecx1 12 [Avx];
    Cx16 "cx16" Ecx1 13 [Cx8 Lm];
    Pcid "pcid" Ecx1 17 [Lm];
    Sse41 "sse4.1" Ecx1 19 [Ssse3];
    Sse42 "sse4.2" Ecx1 20 [Sse41];
    X2apic "x2apic" Ecx1 21 [Apic Msr];
    Movbe "movbe" Ecx1 22 [];
    Popcnt "popcnt" Ecx1 23 [];
    TscDeadline "tsc-deadline" Ecx1 24 [Apic Tsc Msr];
    Aes "aes" Ecx1 25 [Sse2];
    Xsave "xsave" Ecx1 26 [Fxsr];
    Avx "avx" Ecx1 28 [Xsave Sse42];
    F16c "f16c" Ecx1 29 [Avx];
    Rdrand "rdrand" Ecx1 30 [];
    Hypervisor "hypervisor" Ecx1 31 [];

    Arat "arat" Eax6 2 [Apic];

    Fsgsbase "fsgsbase" Ebx7 0 [Lm];
    TscAdjust "tsc-adjust" Ebx7 1 [Tsc Msr];
    Bmi1 "bmi1" Ebx7 3 [];
    Avx2 "avx2" Ebx7 5 [Avx];
    Smep "smep" Ebx7 7 [];
    Bmi2 "bmi2" Ebx7 8 [];
    Erms "erms" Ebx7 9 [];
    Invpcid "invpcid" Ebx7 10 [];
    Rdseed "rdseed" Ebx7 18 [];
    Adx "adx" Ebx7 19 [];
    Smap "smap" Ebx7 20 [];
    Pcommit "pcommit" Ebx7 22 [];
    Clflushopt "clflushopt" Ebx7 23 [Clflush];
    Clwb "clwb" Ebx7 24 [Clflush];
    Sha "sha-ni" Ebx7 29 [Sse2];

    Umip "umip" Ecx7 2 [];
    Pku "pku" Ecx7 3 [Lm];
    La57 "la57" Ecx7 16 [Lm];
    Gfni "gfni" Ecx7 8 [Sse2];
    Vaes "vaes" Ecx7 9 [Aes Avx];
    Vpclmulqdq "vpclmulqdq" Ecx7 10 [Pclmulqdq Avx];
    Rdpid "rdpid" Ecx7 22 [Msr];
    Cldemote "cldemote" Ecx7 25 [];
    Pks "pks" Ecx7 31 [Lm];

    Serialize "serialize" Edx7 14 [];
    SpecCtrl "spec-ctrl" Edx7 26 [Msr];
    Stibp "stibp" Edx7 27 [SpecCtrl];
    ArchCapabilities "arch-capabilities" Edx7 29 [Msr];
    Ssbd "ssbd" Edx7 31 [SpecCtrl];
    BhiCtrl "bhi-ctrl" Edx72 4 [SpecCtrl];

    Xsaveopt "xsaveopt" EaxD 0 [Xsave];
    Xsavec "xsavec" EaxD 1 [Xsave];
    Xgetbv1 "xgetbv1" EaxD 2 [Xsave];
    Xsaves "xsaves" EaxD 3 [Xsavec Msr];

    Syscall "syscall" Edx81 11 [Msr];
    Nx "nx" Edx81 20 [Msr Pae];
    Pdpe1gb "pdpe1gb" Edx81 26 [Lm];
    Rdtscp "rdtscp" Edx81 27 [Tsc Msr];
    Lm "lm" Edx81 29 [Msr Pae];

    LahfLm "lahf-lm" Ecx81 0 [Lm];
    Abm "abm" Ecx81 5 [];
    Prefetchw "3dnowprefetch" Ecx81 8 [];

    InvariantTsc "invtsc" Edx87 8 [Tsc];
    Wbnoinvd "wbnoinvd" Ebx88 9 [];

    /// Multi-byte NOPs and other reserved NOPs: 0F 18 to 0F 1F.
    Nopl "nopl" None 0 [];
    /// RDPMC and CR4.PCE.
    Rdpmc "rdpmc" None 0 [];
    /// Architectural performance monitoring, leaf 0Ah.
    Pmu "pmu" None 0 [Rdpmc Msr];
    /// IA32_DEBUGCTL with the stack of last branches.
    Lbr "lbr" None 0 [Msr];
}

const _: () = assert!(ENTRIES.len() <= 128, "a set has 128 bits");

/// Other names for features.
const ALIASES: &[(&str, Feature)] = &[
    ("pni", Feature::Sse3),
    ("pclmuldq", Feature::Pclmulqdq),
    ("sse4-1", Feature::Sse41),
    ("sse4-2", Feature::Sse42),
    ("lzcnt", Feature::Abm),
    ("i64", Feature::Lm),
    ("xd", Feature::Nx),
    ("sha", Feature::Sha),
    ("cmpxchg8b", Feature::Cx8),
    ("cmpxchg16b", Feature::Cx16),
];

impl Feature {
    /// The feature of this name. Dashes and underscores are the same.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.replace('_', "-");
        let entry = ENTRIES.iter().find(|entry| entry.name == name).map(|entry| entry.feature);
        entry.or_else(|| ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, feature)| *feature))
    }

    /// What there is to know of it.
    pub fn entry(self) -> &'static Entry {
        &ENTRIES[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.entry().name
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of features.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Features(u128);

impl Features {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every feature that has a name.
    pub const ALL: Self = Self(u128::MAX >> (128 - ENTRIES.len()));

    /// The set of these.
    pub const fn of(features: &[Feature]) -> Self {
        let (mut set, mut n) = (0, 0);
        while n < features.len() {
            set |= 1 << features[n] as u8;
            n += 1;
        }
        Self(set)
    }

    /// This set and these.
    pub const fn with(self, more: &[Feature]) -> Self {
        Self(self.0 | Self::of(more).0)
    }

    /// This set without these.
    pub const fn without(self, less: &[Feature]) -> Self {
        Self(self.0 & !Self::of(less).0)
    }

    /// What is in either.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Is the feature in it?
    pub const fn has(self, feature: Feature) -> bool {
        self.0 >> feature as u8 & 1 != 0
    }

    /// Are all of `other` in it?
    pub const fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Is one of `other` in it?
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        ENTRIES.iter().map(|entry| entry.feature).filter(move |&feature| self.has(feature))
    }

    /// The bits of a CPUID register.
    pub fn word(self, word: Word) -> u32 {
        let entries = ENTRIES.iter().filter(|entry| entry.word == word && self.has(entry.feature));
        entries.fold(0, |bits, entry| bits | 1 << entry.bit)
    }

    /// Takes out what lacks something that it needs; returns it with what is missing.
    pub fn drop_unsupported(&mut self) -> Vec<(Feature, Feature)> {
        let mut dropped = Vec::new();
        while let Some((feature, missing)) = self.iter().find_map(|feature| {
            let missing = feature.entry().needs.iter().find(|&&need| !self.has(need))?;
            Some((feature, *missing))
        }) {
            *self = self.without(&[feature]);
            dropped.push((feature, missing));
        }
        dropped
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Feature::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_stands_at_its_number_and_no_two_share_a_bit() {
        for (n, entry) in ENTRIES.iter().enumerate() {
            assert_eq!(entry.feature as usize, n, "{}", entry.name);
            assert_eq!(Feature::named(entry.name), Some(entry.feature));
            let twin = |other: &&Entry| (other.word, other.bit) == (entry.word, entry.bit);
            assert!(entry.word == Word::None || ENTRIES.iter().filter(twin).count() == 1, "{}", entry.name);
        }
    }

    #[test]
    fn what_depends_on_a_feature_goes_with_it() {
        let mut set = Features::ALL.without(&[Feature::Sse]);
        let dropped: Vec<_> = set.drop_unsupported().into_iter().map(|(feature, _)| feature).collect();
        for feature in [Feature::Sse2, Feature::Sse42, Feature::Avx2, Feature::F16c, Feature::Sha] {
            assert!(dropped.contains(&feature) && !set.has(feature), "{feature}");
        }
        assert!(set.has(Feature::Xsave) && set.has(Feature::Lm) && set.has(Feature::Bmi2));
    }

    #[test]
    fn names_are_those_that_fingers_know() {
        assert_eq!(Feature::named("sse4_1"), Some(Feature::Sse41));
        assert_eq!(Feature::named("sse4-1"), Some(Feature::Sse41));
        assert_eq!(Feature::named("sse4.1"), Some(Feature::Sse41));
        assert_eq!(Feature::named("lahf_lm"), Some(Feature::LahfLm));
        assert_eq!(Feature::named("mmx2"), None);
    }
}
