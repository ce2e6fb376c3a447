//! Gathers: each element from an address of its own, which a vector of indices gives. SDM 2C, "VGATHERDPS";
//! SDM 2D, "VPGATHERDD".
//!
//! Elements are read from the lowest on, and the mask's element is cleared with each. At a fault, what was done so far
//! stays: the instruction goes on from there when it runs again. The elements of the mask that were not reached keep
//! their values, as on AMD's processors, where the manual's text would have them all ones or zeros.

use iced_x86::Mnemonic as M;

use super::float::lane_bits;
use crate::cpu::{Cpu, Fallible, Fault, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Row, row};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Vgatherdps, select::<u32, u32>),
    row(M::Vgatherqps, select::<u64, u32>),
    row(M::Vgatherdpd, select::<u32, u64>),
    row(M::Vgatherqpd, select::<u64, u64>),
    row(M::Vpgatherdd, select::<u32, u32>),
    row(M::Vpgatherqd, select::<u64, u32>),
    row(M::Vpgatherdq, select::<u32, u64>),
    row(M::Vpgatherqq, select::<u64, u64>),
];

/// `I` is the width of an index, `W` that of an element.
fn select<I: Width, W: Width>(f: &Form<'_>) -> Option<Handler> {
    let indices = f.insn.memory_index().size() / I::BYTES as usize;
    match indices.min(f.size(0) / W::BYTES as usize) {
        2 => Some(gather::<I, W, 2>),
        4 => Some(gather::<I, W, 4>),
        8 => Some(gather::<I, W, 8>),
        _ => None,
    }
}

/// Offset of the element with this index, cut to the address size: the upper bits of scaled indices do not count.
fn offset<I: Width>(cpu: &Cpu, op: &Op, index: u64) -> u64 {
    let scaled = (I::from_u64(index).i64() as u64) << (op.scale_segment >> 4);
    op.cut_address(cpu.regs[usize::from(op.base & 31)].wrapping_add(scaled).wrapping_add(op.disp as u64))
}

fn gather<I: Width, W: Width, const COUNT: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_avx()?;
    let indices = cpu.pieces::<2>(op.index);
    for i in 0..COUNT {
        if cpu.vector_lane::<W>(op.reg[2], i) >> (W::BITS - 1) != 0 {
            let address = offset::<I>(cpu, op, lane_bits::<I>(&indices, i));
            let value =
                cpu.read_element::<W>(op.segment(), address).map_err(|fault| cpu.partial_fault(fault))?;
            cpu.set_vector_lane::<W>(op.reg[0], i, value.u64());
        }
        cpu.set_vector_lane::<W>(op.reg[2], i, 0);
    }
    // All is done: nothing is left of the mask, and of the destination nothing above the elements.
    let quadwords = COUNT * W::BYTES as usize / 8;
    cpu.fpu.vectors[usize::from(op.reg[0] & 31)][quadwords..].fill(0);
    cpu.fpu.vectors[usize::from(op.reg[2] & 31)].fill(0);
    Ok(())
}

impl Cpu {
    /// What an element's fault becomes: data breakpoints of the elements before it come first, and RF is set so that an
    /// instruction breakpoint does not follow. SDM 2C, "VGATHERDPS".
    fn partial_fault(&mut self, fault: Fault) -> Fault {
        if self.debug.pending == 0 {
            return fault;
        }
        let hits = std::mem::take(&mut self.debug.pending);
        self.record_debug(hits);
        self.repeat_at = self.instructions() + 1;
        Fault::DB
    }

    /// Lane `i` of a vector register.
    fn vector_lane<W: Width>(&self, number: u8, i: usize) -> u64 {
        let at = i as u32 * W::BITS;
        self.fpu.vectors[usize::from(number & 31)][(at / 64) as usize] >> (at % 64) & W::MASK
    }

    /// Writes lane `i` of a vector register.
    fn set_vector_lane<W: Width>(&mut self, number: u8, i: usize, value: u64) {
        let at = i as u32 * W::BITS;
        let quadword = &mut self.fpu.vectors[usize::from(number & 31)][(at / 64) as usize];
        *quadword = *quadword & !(W::MASK << (at % 64)) | value << (at % 64);
    }
}
