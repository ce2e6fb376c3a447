//! The fields of a VMCS: their encodings, in one table. SDM 3D, appendix B.
//!
//! An encoding says width, type and index of a field, and from these follows where the field lies in our VMCS region.

/// A field, by its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(pub u32);

/// Width of a field: bits 14:13 of its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 16 bits.
    Bits16,
    /// 64 bits.
    Bits64,
    /// 32 bits.
    Bits32,
    /// As many as a linear address has.
    Natural,
}

/// Indices below this fit in the region.
const INDICES: u32 = 28;
/// Where the fields begin in the region, behind revision identifier, abort indicator and launch state.
const FIRST: u64 = 16;

impl Field {
    /// Its width.
    pub const fn width(self) -> Width {
        match self.0 >> 13 & 3 {
            0 => Width::Bits16,
            1 => Width::Bits64,
            2 => Width::Bits32,
            _ => Width::Natural,
        }
    }

    /// Does the encoding name the upper half of a 64-bit field?
    pub const fn is_high(self) -> bool {
        self.0 & 1 != 0
    }

    const fn index(self) -> u32 {
        self.0 >> 1 & 0x1ff
    }

    /// Width and type in one number below 16.
    const fn group(self) -> u32 {
        self.0 >> 13 << 2 | self.0 >> 10 & 3
    }

    /// The bits that a value of it has.
    pub const fn mask(self) -> u64 {
        match self.width() {
            Width::Bits16 => 0xffff,
            Width::Bits32 => 0xffff_ffff,
            Width::Bits64 | Width::Natural => u64::MAX,
        }
    }

    /// Offset in the region. The field must exist.
    pub const fn offset(self) -> u64 {
        FIRST + (self.group() * INDICES + self.index()) as u64 * 8
    }

    /// Is there such a field?
    pub const fn exists(self) -> bool {
        let high_of_other = self.is_high() && self.0 >> 13 != 1;
        self.0 < 0x8000
            && self.0 & 0x1000 == 0
            && self.index() < INDICES
            && !high_of_other
            && EXISTING[self.group() as usize] >> self.index() & 1 != 0
    }

    /// The field so many indices further on: the next segment register, for example.
    pub const fn plus(self, indices: usize) -> Self {
        Self(self.0 + 2 * indices as u32)
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $encoding:literal;)*) => {
        $($(#[$doc])* #[allow(missing_docs)] pub const $name: Field = Field($encoding);)*
        /// All fields that exist.
        pub const ALL: &[Field] = &[$($name),*];
    };
}

/// For each group the indices that exist.
const EXISTING: [u32; 16] = {
    let mut existing = [0; 16];
    let mut n = 0;
    while n < ALL.len() {
        existing[ALL[n].group() as usize] |= 1 << ALL[n].index();
        n += 1;
    }
    existing
};

/// The highest index of all fields.
pub const fn highest_index() -> u32 {
    let (mut n, mut highest) = (0, 0);
    while n < ALL.len() {
        if ALL[n].index() > highest {
            highest = ALL[n].index();
        }
        n += 1;
    }
    highest
}

// The names are the manual's, shortened; of segment registers ES comes first, the others follow as they are numbered.
fields! {
    VPID = 0x0000;
    GUEST_SELECTOR = 0x0800;
    GUEST_SELECTOR_CS = 0x0802;
    GUEST_SELECTOR_SS = 0x0804;
    GUEST_SELECTOR_DS = 0x0806;
    GUEST_SELECTOR_FS = 0x0808;
    GUEST_SELECTOR_GS = 0x080a;
    GUEST_SELECTOR_LDTR = 0x080c;
    GUEST_SELECTOR_TR = 0x080e;
    HOST_SELECTOR = 0x0c00;
    HOST_SELECTOR_CS = 0x0c02;
    HOST_SELECTOR_SS = 0x0c04;
    HOST_SELECTOR_DS = 0x0c06;
    HOST_SELECTOR_FS = 0x0c08;
    HOST_SELECTOR_GS = 0x0c0a;
    HOST_SELECTOR_TR = 0x0c0c;

    IO_BITMAP_A = 0x2000;
    IO_BITMAP_B = 0x2002;
    MSR_BITMAP = 0x2004;
    EXIT_MSR_STORE = 0x2006;
    EXIT_MSR_LOAD = 0x2008;
    ENTRY_MSR_LOAD = 0x200a;
    EXECUTIVE_VMCS = 0x200c;
    TSC_OFFSET = 0x2010;
    VIRTUAL_APIC = 0x2012;
    EPTP = 0x201a;
    XSS_EXITING = 0x202c;
    GUEST_PHYSICAL = 0x2400;
    LINK_POINTER = 0x2800;
    GUEST_DEBUGCTL = 0x2802;
    GUEST_PAT = 0x2804;
    GUEST_EFER = 0x2806;
    GUEST_PDPTE = 0x280a;
    GUEST_PDPTE1 = 0x280c;
    GUEST_PDPTE2 = 0x280e;
    GUEST_PDPTE3 = 0x2810;
    HOST_PAT = 0x2c00;
    HOST_EFER = 0x2c02;

    PIN_CONTROLS = 0x4000;
    PRIMARY_CONTROLS = 0x4002;
    EXCEPTION_BITMAP = 0x4004;
    PAGE_FAULT_MASK = 0x4006;
    PAGE_FAULT_MATCH = 0x4008;
    CR3_TARGET_COUNT = 0x400a;
    EXIT_CONTROLS = 0x400c;
    EXIT_MSR_STORE_COUNT = 0x400e;
    EXIT_MSR_LOAD_COUNT = 0x4010;
    ENTRY_CONTROLS = 0x4012;
    ENTRY_MSR_LOAD_COUNT = 0x4014;
    ENTRY_INTERRUPTION = 0x4016;
    ENTRY_ERROR_CODE = 0x4018;
    ENTRY_LENGTH = 0x401a;
    TPR_THRESHOLD = 0x401c;
    SECONDARY_CONTROLS = 0x401e;
    INSTRUCTION_ERROR = 0x4400;
    EXIT_REASON = 0x4402;
    EXIT_INTERRUPTION = 0x4404;
    EXIT_ERROR_CODE = 0x4406;
    VECTORING = 0x4408;
    VECTORING_ERROR_CODE = 0x440a;
    EXIT_LENGTH = 0x440c;
    EXIT_INFORMATION = 0x440e;
    GUEST_LIMIT = 0x4800;
    GUEST_LIMIT_CS = 0x4802;
    GUEST_LIMIT_SS = 0x4804;
    GUEST_LIMIT_DS = 0x4806;
    GUEST_LIMIT_FS = 0x4808;
    GUEST_LIMIT_GS = 0x480a;
    GUEST_LIMIT_LDTR = 0x480c;
    GUEST_LIMIT_TR = 0x480e;
    GUEST_GDTR_LIMIT = 0x4810;
    GUEST_IDTR_LIMIT = 0x4812;
    GUEST_RIGHTS = 0x4814;
    GUEST_RIGHTS_CS = 0x4816;
    GUEST_RIGHTS_SS = 0x4818;
    GUEST_RIGHTS_DS = 0x481a;
    GUEST_RIGHTS_FS = 0x481c;
    GUEST_RIGHTS_GS = 0x481e;
    GUEST_RIGHTS_LDTR = 0x4820;
    GUEST_RIGHTS_TR = 0x4822;
    INTERRUPTIBILITY = 0x4824;
    ACTIVITY = 0x4826;
    GUEST_SMBASE = 0x4828;
    GUEST_SYSENTER_CS = 0x482a;
    PREEMPTION_TIMER = 0x482e;
    HOST_SYSENTER_CS = 0x4c00;

    CR0_MASK = 0x6000;
    CR4_MASK = 0x6002;
    CR0_SHADOW = 0x6004;
    CR4_SHADOW = 0x6006;
    CR3_TARGET = 0x6008;
    CR3_TARGET1 = 0x600a;
    CR3_TARGET2 = 0x600c;
    CR3_TARGET3 = 0x600e;
    QUALIFICATION = 0x6400;
    IO_RCX = 0x6402;
    IO_RSI = 0x6404;
    IO_RDI = 0x6406;
    IO_RIP = 0x6408;
    GUEST_LINEAR = 0x640a;
    GUEST_CR0 = 0x6800;
    GUEST_CR3 = 0x6802;
    GUEST_CR4 = 0x6804;
    GUEST_BASE = 0x6806;
    GUEST_BASE_CS = 0x6808;
    GUEST_BASE_SS = 0x680a;
    GUEST_BASE_DS = 0x680c;
    GUEST_BASE_FS = 0x680e;
    GUEST_BASE_GS = 0x6810;
    GUEST_BASE_LDTR = 0x6812;
    GUEST_BASE_TR = 0x6814;
    GUEST_GDTR_BASE = 0x6816;
    GUEST_IDTR_BASE = 0x6818;
    GUEST_DR7 = 0x681a;
    GUEST_RSP = 0x681c;
    GUEST_RIP = 0x681e;
    GUEST_RFLAGS = 0x6820;
    PENDING_DEBUG = 0x6822;
    GUEST_SYSENTER_ESP = 0x6824;
    GUEST_SYSENTER_EIP = 0x6826;
    HOST_CR0 = 0x6c00;
    HOST_CR3 = 0x6c02;
    HOST_CR4 = 0x6c04;
    HOST_FS_BASE = 0x6c06;
    HOST_GS_BASE = 0x6c08;
    HOST_TR_BASE = 0x6c0a;
    HOST_GDTR_BASE = 0x6c0c;
    HOST_IDTR_BASE = 0x6c0e;
    HOST_SYSENTER_ESP = 0x6c10;
    HOST_SYSENTER_EIP = 0x6c12;
    HOST_RSP = 0x6c14;
    HOST_RIP = 0x6c16;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_place_of_its_own_in_the_region() {
        let mut offsets: Vec<u64> = ALL.iter().map(|field| field.offset()).collect();
        offsets.sort_unstable();
        assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(offsets[0] >= FIRST && offsets[offsets.len() - 1] + 8 <= 4096);
    }

    #[test]
    fn encodings_that_mean_nothing_do_not_exist() {
        assert!(ALL.iter().all(|field| field.exists()));
        assert!(Field(0x2001).exists(), "the upper half of a 64-bit field");
        for encoding in [0x6801, 0x1800, 0x8800, 0x482c, 0x6828, 0x0002, u32::MAX] {
            assert!(!Field(encoding).exists(), "{encoding:#x}");
        }
    }
}
