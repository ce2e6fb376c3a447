//! The instruction table: every mnemonic that is implemented, with the function that picks its handler.
//! Each family's file under [`sem`] contributes its rows.

use std::sync::OnceLock;

use iced_x86::{EncodingKind, Instruction, Mnemonic, OpKind};

use super::op::Handler;
use super::sem;

/// Picks the handler for one form of an instruction; `None` when that form is not implemented.
pub type Select = fn(&Form<'_>) -> Option<Handler>;

/// One mnemonic.
#[derive(Clone, Copy)]
pub struct Row {
    /// As iced names it.
    pub mnemonic: Mnemonic,
    /// Its VEX encoding, when that has the same row.
    pub vex: Option<Mnemonic>,
    /// Picks its handler.
    pub select: Select,
}

/// Shorthand for [`Row`].
pub const fn row(mnemonic: Mnemonic, select: Select) -> Row {
    Row { mnemonic, vex: None, select }
}

/// The rows of a legacy instruction and of its VEX encoding could differ in nothing but the mnemonic.
/// This one stands for both.
pub const fn both(mnemonic: Mnemonic, vex: Mnemonic, select: Select) -> Row {
    Row { mnemonic, vex: Some(vex), select }
}

/// Where an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such operand.
    None,
    /// A register.
    Reg,
    /// Memory.
    Mem,
    /// An immediate, also a branch target.
    Imm,
}

/// What the choice of a handler depends on.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// The decoded instruction.
    pub insn: &'a Instruction,
    /// Bits of the code segment: 16, 32 or 64.
    pub code_size: u32,
}

impl Form<'_> {
    /// Where operand `n` is.
    pub fn kind(&self, n: u32) -> Kind {
        if n >= self.insn.op_count() {
            return Kind::None;
        }
        match self.insn.op_kind(n) {
            OpKind::Register => Kind::Reg,
            OpKind::Memory
            | OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI => Kind::Mem,
            _ => Kind::Imm,
        }
    }

    /// Bytes of operand `n`: of the register, or of the memory access.
    pub fn size(&self, n: u32) -> usize {
        match self.kind(n) {
            Kind::Reg => self.insn.op_register(n).size(),
            Kind::Mem => self.insn.memory_size().size(),
            _ => 0,
        }
    }

    /// Kinds of operands 0 and 1, and bytes of operand 0.
    pub fn shape(&self) -> (Kind, Kind, usize) {
        (self.kind(0), self.kind(1), self.size(0))
    }

    /// Has it a VEX prefix?
    pub fn is_vex(&self) -> bool {
        self.insn.encoding() == EncodingKind::VEX
    }

    /// The last operand that is no immediate: the second source of vector instructions.
    pub fn source(&self) -> u32 {
        let last = self.insn.op_count().saturating_sub(1);
        if self.kind(last) == Kind::Imm { last.saturating_sub(1) } else { last }
    }
}

/// Instances of a generic function for the widths of 2, 4 and 8 bytes: `widths_wide!(size, |W| function::<W>)`.
macro_rules! widths_wide {
    ($size:expr, |$w:ident| $f:expr) => {
        match $size {
            2 => {
                type $w = u16;
                Some($f as $crate::interp::op::Handler)
            }
            4 => {
                type $w = u32;
                Some($f as $crate::interp::op::Handler)
            }
            8 => {
                type $w = u64;
                Some($f as $crate::interp::op::Handler)
            }
            _ => None,
        }
    };
}

/// The same with bytes too.
macro_rules! widths {
    ($size:expr, |$w:ident| $f:expr) => {
        match $size {
            1 => {
                type $w = u8;
                Some($f as $crate::interp::op::Handler)
            }
            wide => $crate::interp::table::widths_wide!(wide, |$w| $f),
        }
    };
}

pub(crate) use {widths, widths_wide};

const FAMILIES: &[&[Row]] = &[
    sem::arith::ROWS,
    sem::muldiv::ROWS,
    sem::bcd::ROWS,
    sem::logic::ROWS,
    sem::shift::ROWS,
    sem::bits::ROWS,
    sem::data::ROWS,
    sem::stack::ROWS,
    sem::control::ROWS,
    sem::string::ROWS,
    sem::flags::ROWS,
    sem::segment::ROWS,
    sem::system::ROWS,
    sem::io::ROWS,
    sem::paging::ROWS,
    sem::wait::ROWS,
    sem::vmx::ROWS,
    sem::sse::moves::ROWS,
    sem::sse::partial::ROWS,
    sem::sse::logic::ROWS,
    sem::sse::integer::ROWS,
    sem::sse::shuffle::ROWS,
    sem::sse::element::ROWS,
    sem::sse::arithmetic::ROWS,
    sem::sse::fma::ROWS,
    sem::sse::masked::ROWS,
    sem::sse::gather::ROWS,
    sem::sse::permute::ROWS,
    sem::sse::permute::MOVE_ROWS,
    sem::sse::compare::ROWS,
    sem::sse::convert::ROWS,
    sem::sse::state::ROWS,
    sem::sse::text::ROWS,
    sem::sse::logic::TEST_ROWS,
    sem::sse::aes::ROWS,
    sem::sse::aes::KEY_ROWS,
    sem::sse::gfni::ROWS,
    sem::sse::gfni::AFFINE_ROWS,
    sem::sse::sha::ROWS,
    sem::sse::sha::ROUND_ROWS,
    sem::xsave::ROWS,
    sem::x87::moves::ROWS,
    sem::x87::arithmetic::ROWS,
    sem::x87::compare::ROWS,
    sem::x87::constants::ROWS,
    sem::x87::transcendental::ROWS,
    sem::x87::control::ROWS,
    sem::x87::environment::ROWS,
];

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    FAMILIES.iter().copied().flatten()
}

/// The row of a mnemonic.
pub fn lookup(mnemonic: Mnemonic) -> Option<Select> {
    static INDEX: OnceLock<Vec<Option<Select>>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let mut index = vec![None; Mnemonic::values().len()];
        for row in rows() {
            for mnemonic in [Some(row.mnemonic), row.vex].into_iter().flatten() {
                index[mnemonic as usize] = Some(row.select);
            }
        }
        index
    });
    index[mnemonic as usize]
}

/// The handler of a form; `None` when it is not implemented.
pub fn handler(form: &Form<'_>) -> Option<Handler> {
    // No encoding with an EVEX or XOP prefix is implemented; they share mnemonics with those that are.
    let known = matches!(form.insn.encoding(), EncodingKind::Legacy | EncodingKind::VEX);
    lookup(form.insn.mnemonic()).filter(|_| known).and_then(|select| select(form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mnemonic_has_two_rows() {
        let mut seen = std::collections::HashSet::new();
        for row in rows() {
            for mnemonic in [Some(row.mnemonic), row.vex].into_iter().flatten() {
                assert!(seen.insert(mnemonic), "{mnemonic:?} stands twice in the table");
            }
        }
    }
}
