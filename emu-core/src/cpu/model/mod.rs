//! Models of processors: what CPUID says, and with it what exists.
//!
//! A model is fixed when the machine is put together. The decoder makes #UD of every instruction that it lacks
//! (`decode::gate`), `limits` says which control bits and MSRs it has, and `cpuid` shows it to the guest.
//!
//! Left out: model-specific registers of the older models beyond those that system software relies on (the Pentium's
//! event counters and the 486's test registers, for example).

pub mod feature;
mod limits;
mod list;
mod parse;

pub use feature::{Feature, Features};
pub use list::MODELS;
pub use parse::{ModelError, parse};

use super::fpu::{XCR0_AVX, XCR0_PKRU, XCR0_SSE, XCR0_X87};

/// Who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// `GenuineIntel`.
    Intel,
    /// `AuthenticAMD`.
    Amd,
}

/// What a cache holds. The numbers are those of leaf 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// Data.
    Data = 1,
    /// Instructions.
    Code = 2,
    /// Both.
    Unified = 3,
}

/// A cache. None is modelled: this is what CPUID says.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    /// 1 to 3.
    pub level: u32,
    /// What it holds.
    pub kind: CacheKind,
    /// KiB.
    pub size: u32,
    /// Ways of associativity.
    pub ways: u32,
}

/// Bytes in a cache line, on every model.
pub const CACHE_LINE: u32 = 64;

/// A model.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Its name on the command line.
    pub name: &'static str,
    /// A word on it.
    pub about: &'static str,
    /// Who made it.
    pub vendor: Vendor,
    /// Family, with the extended family added.
    pub family: u32,
    /// Model, with the extended model in front.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// What it has.
    pub features: Features,
    /// Highest basic leaf.
    pub max_leaf: u32,
    /// Highest extended leaf; 0 when there are none.
    pub max_extended: u32,
    /// Brand string, at most 47 characters.
    pub brand: &'static str,
    /// Bits of physical addresses.
    pub physical_bits: u32,
    /// Leaf 2.
    pub descriptors: [u32; 4],
    /// The caches.
    pub caches: &'static [Cache],
    /// XINUSE tells initial state components from others. A processor need not; then all are in use. SDM vol. 1,
    /// "Processor Tracking of XSAVE-Managed State".
    pub tracks_xinuse: bool,
}

impl Default for Model {
    /// `max`.
    fn default() -> Self {
        list::MAX
    }
}

impl Model {
    /// Has it this feature?
    #[inline]
    pub const fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    /// Family, model and stepping as leaf 1 and EDX after reset show them. SDM 2A, "CPUID", figure 3-6.
    pub fn signature(&self) -> u32 {
        let (family, extended) = if self.family > 15 { (15, self.family - 15) } else { (self.family, 0) };
        let (low, high) = (self.model & 15, self.model >> 4);
        extended << 20 | high << 16 | family << 8 | low << 4 | self.stepping
    }

    /// Bits of the widest linear addresses.
    pub fn linear_bits(&self) -> u32 {
        match (self.has(Feature::La57), self.has(Feature::Lm)) {
            (true, _) => 57,
            (_, true) => 48,
            _ => 32,
        }
    }

    /// Bits that XCR0 may have.
    pub fn xcr0(&self) -> u64 {
        let mut bits = 0;
        for (feature, bit) in [
            (Feature::Xsave, XCR0_X87),
            (Feature::Sse, XCR0_SSE),
            (Feature::Avx, XCR0_AVX),
            (Feature::Pku, XCR0_PKRU),
        ] {
            bits |= if self.has(feature) { bit } else { 0 };
        }
        bits
    }

    /// With other features. Leaves grow with what is added.
    #[must_use]
    pub fn with_features(mut self, features: Features) -> Self {
        self.features = features;
        for feature in features.iter() {
            let leaf = feature.entry().word.leaf();
            let max = if leaf < 0x8000_0000 { &mut self.max_leaf } else { &mut self.max_extended };
            *max = (*max).max(leaf);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_whole() {
        for model in MODELS {
            let mut features = model.features;
            assert_eq!(features.drop_unsupported(), [], "{}", model.name);
            assert!(model.brand.len() < 48, "{}", model.name);
            // Leaves that hold its features exist.
            let grown = model.with_features(model.features);
            let leaves = (grown.max_leaf, grown.max_extended);
            assert_eq!(leaves, (model.max_leaf, model.max_extended), "{}", model.name);
        }
    }

    #[test]
    fn signatures_are_those_of_the_data_sheets() {
        let signature = |name: &str| MODELS.iter().find(|m| m.name == name).map(Model::signature);
        assert_eq!(signature("486"), Some(0x480));
        assert_eq!(signature("pentium"), Some(0x543));
        assert_eq!(signature("pentium3"), Some(0x683));
        assert_eq!(signature("core2"), Some(0x6fb));
        assert_eq!(signature("qemu64"), Some(0x6_0fb1));
    }
}
