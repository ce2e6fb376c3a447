//! A segment register with its hidden part, and the checks on it that are made ahead of time.

/// ES.
pub const ES: usize = 0;
/// CS.
pub const CS: usize = 1;
/// SS.
pub const SS: usize = 2;
/// DS.
pub const DS: usize = 3;
/// FS.
pub const FS: usize = 4;
/// GS.
pub const GS: usize = 5;
/// LDTR.
pub const LDTR: usize = 6;
/// TR.
pub const TR: usize = 7;

/// Access rights of a descriptor: bits 47:40 of it in bits 7:0, bits 55:52 in bits 15:12, and bit 8 for
/// "unusable" (loaded with a null selector).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(pub u16);

impl Rights {
    /// The marker of a register loaded with a null selector.
    pub const UNUSABLE: u16 = 1 << 8;
    /// Present, DPL 0, read/write data, accessed: what real mode has.
    pub const REAL_MODE_DATA: Self = Self(0x93);

    /// Takes the rights from the high doubleword of a descriptor.
    pub const fn of_descriptor(high: u32) -> Self {
        Self((high >> 8) as u16 & 0xf0ff)
    }

    /// Type field, 0 to 15.
    pub const fn kind(self) -> u16 {
        self.0 & 15
    }

    /// S: a code or data segment, not a system descriptor.
    pub const fn code_or_data(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// A code segment.
    pub const fn code(self) -> bool {
        self.0 & 0x18 == 0x18
    }

    /// A data segment.
    pub const fn data(self) -> bool {
        self.0 & 0x18 == 0x10
    }

    /// A conforming code segment.
    pub const fn conforming(self) -> bool {
        self.0 & 0x1c == 0x1c
    }

    /// A data segment, or a code segment that can be read.
    pub const fn readable(self) -> bool {
        self.data() || self.0 & 0x1a == 0x1a
    }

    /// A data segment that can be written.
    pub const fn writable(self) -> bool {
        self.0 & 0x1a == 0x12
    }

    /// A data segment that grows down.
    pub const fn expand_down(self) -> bool {
        self.0 & 0x1c == 0x14
    }

    /// Descriptor privilege level.
    pub const fn dpl(self) -> u8 {
        (self.0 >> 5 & 3) as u8
    }

    /// P.
    pub const fn present(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// L: a 64-bit code segment.
    pub const fn long(self) -> bool {
        self.0 & 0x2000 != 0
    }

    /// D/B: 32-bit code or stack, or a 4 GiB upper bound.
    pub const fn big(self) -> bool {
        self.0 & 0x4000 != 0
    }

    /// G: the limit counts pages.
    pub const fn granular(self) -> bool {
        self.0 & 0x8000 != 0
    }

    /// Loaded with a null selector.
    pub const fn unusable(self) -> bool {
        self.0 & Self::UNUSABLE != 0
    }
}

/// A segment register: visible selector, hidden base, limit and rights, and the range of offsets that each
/// kind of access may touch, worked out from them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Segment {
    /// Base address.
    pub base: u64,
    /// First and last offset that may be read; first > last for none.
    pub read: (u64, u64),
    /// First and last offset that may be written; first > last for none.
    pub write: (u64, u64),
    /// Limit in bytes.
    pub limit: u32,
    /// Selector.
    pub selector: u16,
    /// Access rights.
    pub rights: Rights,
}

/// No offset at all.
const NOTHING: (u64, u64) = (u64::MAX, 0);

impl Segment {
    /// A register as real-mode loads leave it.
    pub fn real(selector: u16) -> Self {
        let base = u64::from(selector) << 4;
        let mut segment = Self {
            base,
            read: NOTHING,
            write: NOTHING,
            limit: 0xffff,
            selector,
            rights: Rights::REAL_MODE_DATA,
        };
        segment.update(true);
        segment
    }

    /// RPL of the selector.
    pub const fn rpl(&self) -> u8 {
        (self.selector & 3) as u8
    }

    /// Works the ranges out again. `check_type`: protected mode, where type and null selector count; real and
    /// virtual-8086 mode look at the limit alone.
    pub fn update(&mut self, check_type: bool) {
        let limit = u64::from(self.limit);
        let range = if self.rights.expand_down() {
            (limit + 1, if self.rights.big() { 0xffff_ffff } else { 0xffff })
        } else {
            (0, limit)
        };
        let usable = !check_type || !self.rights.unusable();
        self.read = if usable && (!check_type || self.rights.readable()) { range } else { NOTHING };
        self.write = if usable && (!check_type || self.rights.writable()) { range } else { NOTHING };
    }

    /// Lifts all checks: 64-bit mode.
    pub fn update_flat(&mut self) {
        self.read = (0, u64::MAX);
        self.write = (0, u64::MAX);
    }
}
