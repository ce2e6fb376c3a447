//! EFLAGS, with the six arithmetic flags (OSZAPC) kept lazily: as the operands of the last instruction that
//! wrote them, from which a reader computes what it needs.

use super::width::Width;

/// Carry.
pub const CF: u64 = 1 << 0;
/// Bit 1 always reads as one.
pub const FIXED: u64 = 1 << 1;
/// Parity of the low byte.
pub const PF: u64 = 1 << 2;
/// Auxiliary carry (out of bit 3).
pub const AF: u64 = 1 << 4;
/// Zero.
pub const ZF: u64 = 1 << 6;
/// Sign.
pub const SF: u64 = 1 << 7;
/// Trap: single-step.
pub const TF: u64 = 1 << 8;
/// Interrupt enable.
pub const IF: u64 = 1 << 9;
/// Direction of string instructions.
pub const DF: u64 = 1 << 10;
/// Overflow.
pub const OF: u64 = 1 << 11;
/// I/O privilege level (two bits).
pub const IOPL: u64 = 3 << 12;
/// Nested task.
pub const NT: u64 = 1 << 14;
/// Resume: no instruction breakpoint for one instruction.
pub const RF: u64 = 1 << 16;
/// Virtual-8086 mode.
pub const VM: u64 = 1 << 17;
/// Alignment check, and SMAP override.
pub const AC: u64 = 1 << 18;
/// Virtual interrupt flag.
pub const VIF: u64 = 1 << 19;
/// Virtual interrupt pending.
pub const VIP: u64 = 1 << 20;
/// CPUID can be executed.
pub const ID: u64 = 1 << 21;
/// The arithmetic flags.
pub const OSZAPC: u64 = OF | SF | ZF | AF | PF | CF;
/// Every bit that exists.
pub const ALL: u64 = OSZAPC | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;

/// What wrote the arithmetic flags last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Writer {
    /// They stand in the register itself.
    Stored,
    /// a + b.
    Add,
    /// a + b + 1.
    AddCarry,
    /// a - b (also compare).
    Sub,
    /// a - b - 1.
    SubBorrow,
    /// Result a of AND, OR, XOR, TEST: CF = OF = 0. AF is undefined; silicon clears it.
    Logic,
    /// Result a of INC; CF is bit 0 of b.
    Inc,
    /// Result a of DEC; CF is bit 0 of b.
    Dec,
    /// Low half a of a product; bit 0 of b says whether it outgrew it. SF, ZF, AF and PF are undefined: Intel silicon
    /// takes SF and PF from the low half and clears ZF and AF.
    Product,
    /// a as LAHF and SETO leave AX, those of b count. Translated code stores flags so.
    Split,
}

/// The flags register.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Flags {
    /// First operand, see [`Writer`].
    pub a: u64,
    /// Second operand. Bits above the operand width may be anything in both.
    pub b: u64,
    /// All other flags; the arithmetic ones too, where the writer leaves them here.
    bits: u64,
    /// What wrote the arithmetic flags last.
    pub writer: Writer,
    /// 64 minus the operand width in bits: shifting left by it makes every width a 64-bit case. (As wide as this so
    /// that nobody reads it in one piece with `writer`, which was written by itself: processors wait for that.)
    pub shift: u16,
}

/// Condition codes in the order of their encoding (SDM vol. 1, "EFLAGS Condition Codes").
pub type Condition = u8;

impl Default for Flags {
    fn default() -> Self {
        Self { a: 0, b: 0, bits: FIXED, writer: Writer::Stored, shift: 0 }
    }
}

/// `flag` when `on`.
#[inline(always)]
fn bit(on: bool, flag: u64) -> u64 {
    if on { flag } else { 0 }
}

fn szp(result: u64, shift: u16) -> u64 {
    let top = result << shift;
    bit(top == 0, ZF) | bit(top >> 63 != 0, SF) | parity(result)
}

fn parity(result: u64) -> u64 {
    bit((result as u8).count_ones().is_multiple_of(2), PF)
}

/// SF, ZF and PF of a result at its width.
#[inline]
pub fn sign_zero_parity<W: Width>(result: W) -> u64 {
    szp(result.u64(), (64 - W::BITS) as u16)
}

impl Flags {
    /// Bytes from the start to the flags that are not arithmetic ones, a quadword.
    pub const SYSTEM: usize = std::mem::offset_of!(Flags, bits);

    /// Records an instruction that writes all six arithmetic flags.
    #[inline(always)]
    pub fn record<W: Width>(&mut self, writer: Writer, a: W, b: W) {
        self.a = a.u64();
        self.b = b.u64();
        self.writer = writer;
        self.shift = (64 - W::BITS) as u16;
    }

    /// Records operands that translated code kept: `writer` is the number of a [`Writer`].
    #[inline]
    pub fn set_operands(&mut self, a: u64, b: u64, writer: u8, shift: u8) {
        use Writer as W;
        const WRITERS: [Writer; 10] = [
            W::Stored,
            W::Add,
            W::AddCarry,
            W::Sub,
            W::SubBorrow,
            W::Logic,
            W::Inc,
            W::Dec,
            W::Product,
            W::Split,
        ];
        (self.a, self.b, self.shift) = (a, b, u16::from(shift & 63));
        self.writer = WRITERS[usize::from(writer) % WRITERS.len()];
    }

    /// Records INC or DEC with its result, and CF as it was before.
    #[inline(always)]
    pub fn record_with_carry<W: Width>(&mut self, writer: Writer, result: W, carry: bool) {
        self.record(writer, result, W::from_u64(carry.into()));
    }

    /// The arithmetic flags.
    pub fn arithmetic(&self) -> u64 {
        let (a, b, shift) = (self.a, self.b, self.shift);
        let sum = |result: u64, carries: u64| {
            // `carries` has the carry (borrow) out of every bit.
            let top = carries << shift;
            let cf = top >> 63;
            let of = (top ^ top << 1) >> 63 != 0;
            szp(result, shift) | cf | bit(of, OF) | bit(carries & 8 != 0, AF)
        };
        match self.writer {
            Writer::Stored => self.bits & OSZAPC,
            Writer::Add | Writer::AddCarry => {
                let r = a.wrapping_add(b).wrapping_add(u64::from(self.writer == Writer::AddCarry));
                sum(r, a & b | (a | b) & !r)
            }
            Writer::Sub | Writer::SubBorrow => {
                let r = a.wrapping_sub(b).wrapping_sub(u64::from(self.writer == Writer::SubBorrow));
                sum(r, !a & b | (!a | b) & r)
            }
            Writer::Logic => szp(a, shift),
            Writer::Inc => {
                let of = a << shift == 1 << 63;
                szp(a, shift) | bit(of, OF) | bit(a & 15 == 0, AF) | b & CF
            }
            Writer::Dec => {
                let of = a << shift == u64::MAX >> 1 & u64::MAX << shift;
                szp(a, shift) | bit(of, OF) | bit(a & 15 == 15, AF) | b & CF
            }
            Writer::Product => szp(a, shift) & !ZF | bit(b & 1 != 0, CF | OF),
            Writer::Split => (a >> 8 & (OSZAPC & 0xff) | (a & 1) << 11) & b,
        }
    }

    /// CF alone. So few cases stand here that they become compares; a jump by table costs more than all of them.
    #[inline]
    pub fn carry(&self) -> bool {
        match self.writer {
            Writer::Inc | Writer::Dec | Writer::Product => self.b & 1 != 0,
            Writer::Sub => self.a << self.shift < self.b << self.shift,
            Writer::Logic => false,
            _ => self.other_carry(),
        }
    }

    #[inline(never)]
    fn other_carry(&self) -> bool {
        match self.writer {
            Writer::Stored => self.bits & CF != 0,
            Writer::Add => self.a.wrapping_add(self.b) << self.shift < self.a << self.shift,
            _ => self.arithmetic() & CF != 0,
        }
    }

    /// The whole register.
    #[inline]
    pub fn get(&self) -> u64 {
        self.bits & !OSZAPC | self.arithmetic()
    }

    /// Replaces the whole register; reserved bits are forced.
    #[inline]
    pub fn set(&mut self, value: u64) {
        self.bits = value & ALL | FIXED;
        self.writer = Writer::Stored;
    }

    /// Replaces the arithmetic flags.
    #[inline]
    pub fn set_arithmetic(&mut self, flags: u64) {
        self.bits = self.bits & !OSZAPC | flags & OSZAPC;
        self.writer = Writer::Stored;
    }

    /// Replaces the arithmetic flags in `mask`, keeps the others.
    #[inline]
    pub fn set_some(&mut self, mask: u64, flags: u64) {
        let kept = self.arithmetic() & !mask;
        self.set_arithmetic(kept | flags & mask);
    }

    /// The flags outside OSZAPC, without computing those.
    #[inline(always)]
    pub fn system(&self) -> u64 {
        self.bits & !OSZAPC
    }

    /// Sets or clears flags outside OSZAPC.
    #[inline]
    pub fn put(&mut self, mask: u64, on: bool) {
        debug_assert!(mask & OSZAPC == 0, "arithmetic flags go through set_some");
        self.bits = if on { self.bits | mask } else { self.bits & !mask };
    }

    /// Is condition `cc` (0 to 15, as encoded in Jcc, SETcc, CMOVcc) met?
    #[inline(always)]
    pub fn condition(&self, cc: Condition) -> bool {
        let (a, b) = (self.a << self.shift, self.b << self.shift);
        let met = match (self.writer, cc >> 1) {
            (Writer::Sub, 1) => a < b,
            (Writer::Sub, 2) => a == b,
            (Writer::Sub, 3) => a <= b,
            (Writer::Sub, 4) => (a.wrapping_sub(b) as i64) < 0,
            (Writer::Sub, 6) => (a as i64) < b as i64,
            (Writer::Sub, 7) => a as i64 <= b as i64,
            (Writer::Logic, 2 | 3) => a == 0,
            (Writer::Logic, 4 | 6) => (a as i64) < 0,
            (Writer::Logic, 7) => a as i64 <= 0,
            (Writer::Inc | Writer::Dec, 2) => a == 0,
            (Writer::Inc | Writer::Dec, 4) => (a as i64) < 0,
            (_, pair) => Self::condition_of(self.arithmetic(), pair),
        };
        met ^ (cc & 1 != 0)
    }

    #[inline(never)]
    fn condition_of(flags: u64, pair: u8) -> bool {
        let less = (flags & SF != 0) != (flags & OF != 0);
        match pair {
            0 => flags & OF != 0,
            1 => flags & CF != 0,
            2 => flags & ZF != 0,
            3 => flags & (CF | ZF) != 0,
            4 => flags & SF != 0,
            5 => flags & PF != 0,
            6 => less,
            _ => less || flags & ZF != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags by the definitions in SDM vol. 1, "Status Flags", on wide integers.
    fn by_definition(writer: Writer, a: u8, b: u8) -> u64 {
        let (ua, ub, sa, sb) = (i32::from(a), i32::from(b), i32::from(a as i8), i32::from(b as i8));
        let (na, nb) = (ua & 15, ub & 15);
        let (unsigned, signed, nibble) = match writer {
            Writer::Add => (ua + ub, sa + sb, na + nb),
            Writer::AddCarry => (ua + ub + 1, sa + sb + 1, na + nb + 1),
            Writer::Sub => (ua - ub, sa - sb, na - nb),
            _ => (ua - ub - 1, sa - sb - 1, na - nb - 1),
        };
        let result = unsigned as u8;
        let bit = |on: bool, flag: u64| if on { flag } else { 0 };
        bit(!(0..256).contains(&unsigned), CF)
            | bit(!(-128..128).contains(&signed), OF)
            | bit(!(0..16).contains(&nibble), AF)
            | bit(result == 0, ZF)
            | bit(result & 0x80 != 0, SF)
            | bit(result.count_ones().is_multiple_of(2), PF)
    }

    #[test]
    fn sums_and_differences_of_all_bytes_follow_the_definitions() {
        for writer in [Writer::Add, Writer::AddCarry, Writer::Sub, Writer::SubBorrow] {
            for a in 0..=255u8 {
                for b in 0..=255u8 {
                    let mut flags = Flags::default();
                    flags.record(writer, a, b);
                    let want = by_definition(writer, a, b);
                    assert_eq!(flags.arithmetic(), want, "{writer:?} {a:#x} {b:#x}");
                    assert_eq!(flags.carry(), want & CF != 0);
                    for cc in 0..16 {
                        let mut stored = Flags::default();
                        stored.set(want);
                        assert_eq!(
                            flags.condition(cc),
                            stored.condition(cc),
                            "{writer:?} {a:#x} {b:#x} cc {cc}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn inc_and_dec_keep_carry_and_overflow_at_the_edge() {
        for carry in [0, CF] {
            for a in 0..=255u8 {
                for (writer, one) in [(Writer::Inc, 1u8), (Writer::Dec, 255)] {
                    let mut flags = Flags::default();
                    flags.set(carry);
                    flags.record_with_carry(writer, a.wrapping_add(one), flags.carry());
                    let pair = if writer == Writer::Inc { Writer::Add } else { Writer::Sub };
                    let want = by_definition(pair, a, 1) & !CF | carry;
                    assert_eq!(flags.arithmetic(), want, "{writer:?} {a:#x}");
                    for cc in 0..16 {
                        let mut stored = Flags::default();
                        stored.set(want);
                        assert_eq!(flags.condition(cc), stored.condition(cc));
                    }
                }
            }
        }
    }
}
