//! Seeded operands that land where floating point is difficult.

use emu_core::softfloat::{F80, Format};

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// A generator for the test with this name.
    pub fn new(name: &str) -> Self {
        Self(name.bytes().fold(0x9e37_79b9, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// A generator that begins with this seed.
    pub fn of_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    /// A left-aligned fraction of 63 bits: random, sparse, or a run of ones and zeros.
    fn fraction(&mut self) -> u64 {
        let value = match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => u64::MAX << self.below(64),
            4 => !(1 << self.below(64)),
            5 => self.bits() & self.bits() & self.bits() & self.bits(),
            _ => self.bits(),
        };
        value & u64::MAX >> 1
    }

    /// A biased exponent for a format whose largest field is `max`.
    fn field(&mut self, max: i32) -> i32 {
        let near = self.below(70) as i32;
        match self.below(10) {
            0 => 0,
            1 => max,
            2 => near % (max + 1),
            3 => (max - near).max(0),
            4..7 => (max / 2 + near - 35).clamp(0, max),
            7 => (max / 4 + near - 35).clamp(0, max),
            8 => (max / 4 * 3 + near - 35).clamp(0, max),
            _ => self.below(max as u64 + 1) as i32,
        }
    }

    /// A value of the format; in the 80-bit one the integer bit is sometimes wrong.
    pub fn value<F: Format>(&mut self) -> F {
        let field = self.field(2 * F::EMAX + 1);
        let mut integer_bit = u64::from(field != 0);
        if F::X87 && self.below(16) == 0 {
            integer_bit = self.below(2);
        }
        F::pack(self.below(2) != 0, field, integer_bit << 63 | self.fraction())
    }

    /// Two values, often near each other, or with a product or quotient at the edge of the range.
    pub fn pair<F: Format>(&mut self) -> (F, F) {
        let a = self.value::<F>();
        match self.below(6) {
            0 | 1 => self.near(a),
            2 => self.edge(),
            _ => (a, self.value()),
        }
    }

    /// Two values whose product, or quotient, is a power of two give or take some units in the last place, around
    /// the smallest normal number or the overflow threshold.
    fn edge<F: Format>(&mut self) -> (F, F) {
        let a = self.bits() | 1 << 63;
        let target = if self.below(4) == 0 { F::EMAX } else { F::EMIN } + self.below(4) as i32 - 2;
        let first = target / 2 + self.below(40) as i32 - 20;
        let is_product = self.below(2) == 0;
        let (b, second) = if is_product {
            (((1 << 127) / u128::from(a)) as u64, target - first)
        } else {
            (a, first - target)
        };
        let unit = 1 << (64 - F::PRECISION);
        let b = b.wrapping_add(unit * self.below(5)).wrapping_sub(2 * unit) | 1 << 63;
        let field = |exponent: i32| (exponent + F::EMAX).clamp(1, 2 * F::EMAX);
        (F::pack(self.below(2) != 0, field(first), a), F::pack(self.below(2) != 0, field(second), b))
    }

    /// A value and another one near it.
    fn near<F: Format>(&mut self, a: F) -> (F, F) {
        let unpacked = a.unpack();
        let field = unpacked.exponent + F::EMAX + self.below(5) as i32 - 2;
        let significand = match self.below(3) {
            0 => unpacked.significand,
            1 => unpacked.significand.wrapping_add(1 << self.below(64)),
            _ => self.bits(),
        };
        let field = field.clamp(1, 2 * F::EMAX);
        (a, F::pack(self.below(2) != 0, field, significand | 1 << 63))
    }

    /// A value whose magnitude is in the range of integers.
    pub fn near_integer<F: Format>(&mut self) -> F {
        if self.below(4) == 0 {
            return self.value();
        }
        let field = (F::EMAX + self.below(72) as i32 - 4).min(2 * F::EMAX);
        F::pack(self.below(2) != 0, field, 1 << 63 | self.fraction())
    }

    /// MXCSR with every exception masked and random rounding, DAZ and FTZ; sometimes flags are set already.
    pub fn mxcsr(&mut self) -> u32 {
        let r = self.bits() as u32;
        0x1f80 | (r & 3) << 13 | (r >> 2 & 1) << 6 | (r >> 3 & 1) << 15
    }

    /// x87 control word: random rounding and precision; the masks are all set half of the time.
    pub fn control_word(&mut self) -> u16 {
        let r = self.bits() as u16;
        let precision = [0, 2, 3, 3][usize::from(r & 3)] << 8;
        let masks = if r & 4 == 0 { 0x3f } else { r >> 4 & 0x3f };
        0x40 | (r >> 12 & 3) << 10 | precision | masks
    }

    /// An 80-bit value for FSCALE's second operand and the like: moderate size.
    pub fn moderate(&mut self) -> F80 {
        let field = (F80::EMAX + self.below(20) as i32 - 3).min(2 * F80::EMAX);
        F80::pack(self.below(2) != 0, field, 1 << 63 | self.fraction())
    }
}
