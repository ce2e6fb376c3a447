//! The arithmetic flags that Intel's manual leaves undefined, and what silicon leaves in them.
//!
//! The interpreter and translated code do as the column `intel` says, since CPUID reports a processor of Intel's. Host
//! tests hold it against the interpreter, and the column of their host's vendor against the host. AMD's column is from
//! an EPYC of the fifth generation, every case of which obeys it; Intel's is from published measurements.

use emu_core::cpu::eflags::{AF, CF, OF, PF, SF, ZF};
use iced_x86::Mnemonic::{self, *};

/// What an instruction leaves in a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// What was there.
    Kept,
    /// 0.
    Clear,
    /// 1.
    Set,
    /// SF, ZF or PF of the result: for products of its low half, for scans of the index, which is 0 when no bit is set.
    Result,
    /// The flag of the sum or difference before it is cut: of AX and 106h or 0 for AAA and AAS, of AL and AH times the
    /// base for AAD, of AL and the adjustment for DAA and DAS.
    Sum,
}

/// Some flags of some instructions.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The instructions.
    pub mnemonics: &'static [Mnemonic],
    /// The flags, as bits of EFLAGS.
    pub flags: u64,
    /// What Intel's processors leave.
    pub intel: Left,
    /// What AMD's processors leave.
    pub amd: Left,
}

const fn row(mnemonics: &'static [Mnemonic], flags: u64, intel: Left, amd: Left) -> Row {
    Row { mnemonics, flags, intel, amd }
}

/// The table. Shifts leave all flags alone when their count is 0, and 16-bit SHLD and SHRD by more than 16 are not in
/// it.
pub const ROWS: &[Row] = &[
    row(&[Mul, Imul], SF | PF, Left::Result, Left::Kept),
    row(&[Mul, Imul], ZF | AF, Left::Clear, Left::Kept),
    row(&[Div, Idiv], CF | OF, Left::Kept, Left::Kept),
    row(&[Div, Idiv], SF | ZF | PF, Left::Kept, Left::Clear),
    row(&[Div, Idiv], AF, Left::Kept, Left::Set),
    row(&[Shl, Sal, Shr, Sar, Shld, Shrd], AF, Left::Clear, Left::Set),
    row(&[Bsf, Bsr], CF | OF | SF | AF, Left::Kept, Left::Clear),
    row(&[Bsf, Bsr], PF, Left::Kept, Left::Result),
    row(&[Tzcnt, Lzcnt], OF, Left::Kept, Left::Kept),
    row(&[Tzcnt, Lzcnt], SF | AF | PF, Left::Kept, Left::Clear),
    row(&[Andn], AF, Left::Clear, Left::Clear),
    row(&[Andn], PF, Left::Result, Left::Result),
    row(&[Bextr], SF, Left::Clear, Left::Clear),
    row(&[Bextr], AF, Left::Clear, Left::Set),
    row(&[Blsi, Blsr, Blsmsk, Bzhi], AF, Left::Clear, Left::Clear),
    row(&[Bextr, Blsi, Blsr, Blsmsk, Bzhi], PF, Left::Clear, Left::Result),
    row(&[Aaa, Aas], OF, Left::Clear, Left::Sum),
    row(&[Aaa, Aas], SF | ZF | PF, Left::Result, Left::Sum),
    row(&[Aad], CF | OF | AF, Left::Clear, Left::Sum),
    row(&[Aam], CF | OF | AF, Left::Clear, Left::Clear),
    row(&[Daa, Das], OF, Left::Sum, Left::Sum),
];

/// The rows of an instruction.
pub fn of(mnemonic: Mnemonic) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.mnemonics.contains(&mnemonic))
}

/// All flags that an instruction leaves undefined.
pub fn mask(mnemonic: Mnemonic) -> u64 {
    of(mnemonic).fold(0, |all, row| all | row.flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_has_two_rows() {
        for mnemonic in Mnemonic::values() {
            let total: u32 = of(mnemonic).map(|row| row.flags.count_ones()).sum();
            assert_eq!(mask(mnemonic).count_ones(), total, "{mnemonic:?}");
        }
    }
}
