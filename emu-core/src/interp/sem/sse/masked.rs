//! VMASKMOVPS, VPMASKMOVD and their like: loads and stores of the elements that a mask picks. The others are not
//! accessed, so they cannot fault. SDM 2C, "VMASKMOV"; SDM 2D, "VPMASKMOV".
//!
//! A store checks all its elements before it writes the first one; the fault is that of the lowest element.

use iced_x86::Mnemonic as M;

use super::float::lane_bits;
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, row};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Vmaskmovps, select::<u32>),
    row(M::Vmaskmovpd, select::<u64>),
    row(M::Vpmaskmovd, select::<u32>),
    row(M::Vpmaskmovq, select::<u64>),
];

fn select<W: Width>(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.kind(0), f.size(1)) {
        (Kind::Mem, 16) => store::<W, 1>,
        (Kind::Mem, _) => store::<W, 2>,
        (_, 16) => load::<W, 1>,
        _ => load::<W, 2>,
    })
}

/// Numbers of the elements whose sign bit is set in operand 1.
fn selected<W: Width, const N: usize>(cpu: &Cpu, op: &Op) -> impl Iterator<Item = usize> + use<W, N> {
    let mask = cpu.pieces::<N>(op.reg[1]);
    (0..N * (128 / W::BITS) as usize).filter(move |&i| lane_bits::<W>(&mask, i) >> (W::BITS - 1) != 0)
}

fn offset<W: Width>(address: u64, i: usize) -> u64 {
    address.wrapping_add(W::BYTES * i as u64)
}

fn load<W: Width, const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_avx()?;
    let (segment, address) = (op.segment(), op.address(cpu));
    let mut result = [0; N];
    for i in selected::<W, N>(cpu, op) {
        let value = cpu.read_element::<W>(segment, offset::<W>(address, i))?;
        let at = i * W::BITS as usize;
        result[at / 128] |= u128::from(value.u64()) << (at % 128);
    }
    cpu.set_pieces(op.reg[0], result);
    Ok(())
}

fn store<W: Width, const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_avx()?;
    let (segment, address) = (op.segment(), op.address(cpu));
    for i in selected::<W, N>(cpu, op) {
        cpu.probe_write_at_any_alignment(segment, offset::<W>(address, i), W::BYTES)?;
    }
    let source = cpu.pieces::<N>(op.reg[2]);
    for i in selected::<W, N>(cpu, op) {
        let value = W::from_u64(lane_bits::<W>(&source, i));
        cpu.write_element(segment, offset::<W>(address, i), value)?;
    }
    Ok(())
}
