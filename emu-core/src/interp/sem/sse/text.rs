//! SSE4.2: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM, and CRC32.
//! SDM vol. 1, "String Comparison Instructions"; SDM 2B, "Imm8 Control Byte Operation for PCMPESTRI".

use iced_x86::Mnemonic as M;

use super::lanes::{bytes, from_bytes, from_words, words};
use super::operand::{Source, Unaligned, Xmm};
use super::scheme::{Legacy, Scheme, Vex};
use crate::cpu::{Cpu, Fallible, RAX, RCX, RDX, Width, eflags};
use crate::interp::op::{Handler, Mem, Op, Reg, Source as GeneralSource};
use crate::interp::table::{Form, Kind, Row, both, row, widths};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    both(M::Pcmpestri, M::Vpcmpestri, |f| explicit::<i32, true>(f)),
    both(M::Pcmpestri64, M::Vpcmpestri64, |f| explicit::<i64, true>(f)),
    both(M::Pcmpestrm, M::Vpcmpestrm, |f| explicit::<i32, false>(f)),
    both(M::Pcmpestrm64, M::Vpcmpestrm64, |f| explicit::<i64, false>(f)),
    both(M::Pcmpistri, M::Vpcmpistri, |f| implicit::<true>(f)),
    both(M::Pcmpistrm, M::Vpcmpistrm, |f| implicit::<false>(f)),
    row(M::Crc32, |f| match f.kind(1) {
        Kind::Mem => widths!(f.size(1), |W| crc32::<W, Mem>),
        _ => widths!(f.size(1), |W| crc32::<W, Reg<1>>),
    }),
];

/// A length in RAX or RDX.
trait Length {
    fn magnitude(register: u64) -> u64;
}

impl Length for i32 {
    fn magnitude(register: u64) -> u64 {
        (register as Self).unsigned_abs().into()
    }
}

impl Length for i64 {
    fn magnitude(register: u64) -> u64 {
        (register as Self).unsigned_abs()
    }
}

fn explicit<L: Length, const INDEX: bool>(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.kind(1), f.is_vex()) {
        (Kind::Mem, false) => pcmpestr::<Unaligned, Legacy, L, INDEX>,
        (Kind::Mem, true) => pcmpestr::<Unaligned, Vex, L, INDEX>,
        (_, false) => pcmpestr::<Xmm<1>, Legacy, L, INDEX>,
        (_, true) => pcmpestr::<Xmm<1>, Vex, L, INDEX>,
    })
}

fn implicit<const INDEX: bool>(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.kind(1), f.is_vex()) {
        (Kind::Mem, false) => pcmpistr::<Unaligned, Legacy, INDEX>,
        (Kind::Mem, true) => pcmpistr::<Unaligned, Vex, INDEX>,
        (_, false) => pcmpistr::<Xmm<1>, Legacy, INDEX>,
        (_, true) => pcmpistr::<Xmm<1>, Vex, INDEX>,
    })
}

/// The immediate byte.
#[derive(Clone, Copy)]
struct Control(u8);

impl Control {
    fn is_words(self) -> bool {
        self.0 & 1 != 0
    }

    /// Elements in a vector.
    fn count(self) -> usize {
        if self.is_words() { 8 } else { 16 }
    }

    /// Elements of a vector, sign- or zero-extended.
    fn elements(self, v: u128) -> [i32; 16] {
        let signed = self.0 & 2 != 0;
        std::array::from_fn(|i| match (self.is_words(), signed) {
            (false, false) => bytes(v)[i].into(),
            (false, true) => (bytes(v)[i] as i8).into(),
            (true, false) => words(v)[i % 8].into(),
            (true, true) => (words(v)[i % 8] as i16).into(),
        })
    }

    /// Elements before the first zero.
    fn implicit_length(self, v: u128) -> usize {
        let elements = self.elements(v);
        elements[..self.count()].iter().position(|&e| e == 0).unwrap_or(self.count())
    }

    /// The comparison of all elements, one bit for each of `b`, before and after the polarity.
    fn compare(self, a: u128, b: u128, length_a: usize, length_b: usize) -> u32 {
        let count = self.count();
        let (a, b) = (self.elements(a), self.elements(b));
        let (a, valid) = (&a[..length_a], |j: usize| j < length_b);
        let holds = |j: usize| match self.0 >> 2 & 3 {
            0 => valid(j) && a.contains(&b[j]),
            1 => valid(j) && a.chunks_exact(2).any(|range| (range[0]..=range[1]).contains(&b[j])),
            2 if j < length_a && valid(j) => a[j] == b[j],
            2 => j >= length_a && !valid(j),
            _ => a.iter().zip(j..count).all(|(e, k)| valid(k) && *e == b[k]),
        };
        let result = (0..count).fold(0, |bits, j| bits | u32::from(holds(j)) << j);
        match self.0 >> 4 & 3 {
            1 => result ^ ((1 << count) - 1),
            3 => result ^ ((1 << length_b) - 1),
            _ => result,
        }
    }
}

/// PCMPESTRI and PCMPESTRM: lengths in RAX and RDX. Flags: CF, ZF, SF, OF; AF and PF are cleared.
fn pcmpestr<S: Source, X: Scheme, L: Length, const INDEX: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let b = S::vector(cpu, op)?;
    let control = Control(op.imm as u8);
    let length = |register: usize| L::magnitude(cpu.regs[register]).min(control.count() as u64) as usize;
    let lengths = (length(RAX), length(RDX));
    finish::<X, INDEX>(cpu, control, cpu.xmm(op.reg[0]), b, lengths);
    Ok(())
}

/// PCMPISTRI and PCMPISTRM: strings end at a zero.
fn pcmpistr<S: Source, X: Scheme, const INDEX: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let b = S::vector(cpu, op)?;
    let control = Control(op.imm as u8);
    let a = cpu.xmm(op.reg[0]);
    let lengths = (control.implicit_length(a), control.implicit_length(b));
    finish::<X, INDEX>(cpu, control, a, b, lengths);
    Ok(())
}

fn finish<X: Scheme, const INDEX: bool>(
    cpu: &mut Cpu,
    control: Control,
    a: u128,
    b: u128,
    lengths: (usize, usize),
) {
    let count = control.count();
    let result = control.compare(a, b, lengths.0, lengths.1);
    let last = control.0 & 0x40 != 0;
    if INDEX {
        let index = match (result, last) {
            (0, _) => count as u32,
            (_, false) => result.trailing_zeros(),
            (_, true) => 31 - result.leading_zeros(),
        };
        cpu.set_register(RCX as u8, index);
    } else {
        let bit = |i: usize| result >> i & 1 != 0;
        let mask = match (last, control.is_words()) {
            (false, _) => result.into(),
            (true, false) => from_bytes(std::array::from_fn(|i| if bit(i) { 0xff } else { 0 })),
            (true, true) => from_words(std::array::from_fn(|i| if bit(i) { 0xffff } else { 0 })),
        };
        if X::VEX {
            cpu.set_pieces(0, [mask]);
        } else {
            cpu.set_xmm(0, mask);
        }
    }
    let flag = |on: bool, flag: u64| if on { flag } else { 0 };
    cpu.flags.set_arithmetic(
        flag(result != 0, eflags::CF)
            | flag(lengths.1 < count, eflags::ZF)
            | flag(lengths.0 < count, eflags::SF)
            | flag(result & 1 != 0, eflags::OF),
    );
}

/// The polynomial 11EDC6F41h, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const REMAINDERS: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut value = n as u32;
        let mut bit = 0;
        while bit < 8 {
            value = value >> 1 ^ if value & 1 != 0 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[n] = value;
        n += 1;
    }
    table
};

/// CRC32. SDM 2A, "CRC32".
fn crc32<W: Width, S: GeneralSource>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let source = S::get::<W>(cpu, op)?.u64().to_le_bytes();
    let start: u32 = cpu.register(op.reg[0]);
    let crc = source[..W::BYTES as usize]
        .iter()
        .fold(start, |crc, &byte| crc >> 8 ^ REMAINDERS[usize::from(crc as u8 ^ byte)]);
    cpu.set_register(op.reg[0], crc);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> u128 {
        let mut bytes = [0; 16];
        bytes[..s.len()].copy_from_slice(s.as_bytes());
        u128::from_le_bytes(bytes)
    }

    #[test]
    fn a_needle_is_found_where_it_begins() {
        // Unsigned bytes, equal ordered.
        let found = Control(0x0c).compare(text("ab"), text("xxabxa"), 2, 6);
        assert_eq!(found, 1 << 2);
    }

    #[test]
    fn ranges_are_pairs_of_bounds() {
        let found = Control(0x04).compare(text("azAZ"), text("a1Z{"), 4, 4);
        assert_eq!(found, 0b0101);
        assert_eq!(Control(0x34).compare(text("azAZ"), text("a1Z{"), 4, 4), 0b1010, "negated where valid");
    }

    #[test]
    fn the_check_value_of_the_castagnoli_polynomial() {
        let crc = b"123456789"
            .iter()
            .fold(u32::MAX, |crc: u32, &byte| crc >> 8 ^ REMAINDERS[usize::from(crc as u8 ^ byte)]);
        assert_eq!(!crc, 0xe306_9283);
    }
}
