//! How an encoding names its operands: legacy SSE instructions overwrite their first source and keep the bits above,
//! VEX-encoded ones have a destination of their own and clear all bits above the result.
//! SDM vol. 1, "Programming with AVX"; SDM 2A, "AVX and SSE Instruction Exception Classification".

use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::Op;

/// An operand scheme. Vectors are `N` pieces of 128 bits.
pub trait Scheme {
    /// True for VEX encodings.
    const VEX: bool;

    /// The checks that come before everything else.
    ///
    /// # Errors
    /// #UD, #NM.
    fn check(cpu: &mut Cpu) -> Fallible;

    /// The first source.
    fn first<const N: usize>(cpu: &Cpu, op: &Op) -> [u128; N];

    /// Writes the destination.
    fn store<const N: usize>(cpu: &mut Cpu, op: &Op, value: [u128; N]);

    /// Writes the low bits of the destination, the rest of whose 128 bits come from the first source.
    fn store_low<W: Width>(cpu: &mut Cpu, op: &Op, value: W);
}

/// Legacy SSE.
#[derive(Clone, Copy, Debug)]
pub struct Legacy;

/// VEX.
#[derive(Clone, Copy, Debug)]
pub struct Vex;

impl Scheme for Legacy {
    const VEX: bool = false;

    #[inline(always)]
    fn check(cpu: &mut Cpu) -> Fallible {
        cpu.check_sse()
    }

    #[inline(always)]
    fn first<const N: usize>(cpu: &Cpu, op: &Op) -> [u128; N] {
        cpu.pieces(op.reg[0])
    }

    #[inline(always)]
    fn store<const N: usize>(cpu: &mut Cpu, op: &Op, value: [u128; N]) {
        cpu.set_xmm(op.reg[0], value[0]);
    }

    #[inline(always)]
    fn store_low<W: Width>(cpu: &mut Cpu, op: &Op, value: W) {
        cpu.set_xmm_low(op.reg[0], value);
    }
}

impl Scheme for Vex {
    const VEX: bool = true;

    #[inline(always)]
    fn check(cpu: &mut Cpu) -> Fallible {
        cpu.check_avx()
    }

    #[inline(always)]
    fn first<const N: usize>(cpu: &Cpu, op: &Op) -> [u128; N] {
        cpu.pieces(op.reg[1])
    }

    #[inline(always)]
    fn store<const N: usize>(cpu: &mut Cpu, op: &Op, value: [u128; N]) {
        cpu.set_pieces(op.reg[0], value);
    }

    #[inline(always)]
    fn store_low<W: Width>(cpu: &mut Cpu, op: &Op, value: W) {
        let kept = cpu.xmm(op.reg[1]) & !u128::from(W::MASK);
        cpu.set_pieces(op.reg[0], [kept | u128::from(value.u64())]);
    }
}

impl Cpu {
    /// A vector register in pieces of 128 bits.
    #[inline(always)]
    pub fn pieces<const N: usize>(&self, number: u8) -> [u128; N] {
        let vector = &self.fpu.vectors[usize::from(number & 31)];
        std::array::from_fn(|i| u128::from(vector[2 * i]) | u128::from(vector[2 * i + 1]) << 64)
    }

    /// Writes a vector register and clears what is above the pieces.
    #[inline(always)]
    pub fn set_pieces<const N: usize>(&mut self, number: u8, value: [u128; N]) {
        let vector = &mut self.fpu.vectors[usize::from(number & 31)];
        *vector = [0; 8];
        for (i, piece) in value.into_iter().enumerate() {
            vector[2 * i] = piece as u64;
            vector[2 * i + 1] = (piece >> 64) as u64;
        }
    }
}

/// Instances of a generic function for source, scheme and number of pieces:
/// `schemes!(form, |S, X, N| function::<S, X, N>)`. The source is the last operand that is no immediate; the number of
/// pieces is that of operand 0, or of the one whose number stands before the closure.
macro_rules! schemes {
    ($form:expr, |$s:ident, $x:ident, $n:ident| $handler:expr) => {
        schemes!($form, 0, |$s, $x, $n| $handler)
    };
    ($form:expr, $sized:literal, |$s:ident, $x:ident, $n:ident| $handler:expr) => {{
        use $crate::interp::op::Handler;
        use $crate::interp::sem::sse::operand::{Aligned, Unaligned, Xmm};
        use $crate::interp::sem::sse::scheme::{Legacy, Vex};
        use $crate::interp::table::Kind::{Mem, Reg};
        macro_rules! with {
            ($source:ty, $scheme:ty, $pieces:literal) => {{
                type $s = $source;
                type $x = $scheme;
                const $n: usize = $pieces;
                Some($handler as Handler)
            }};
        }
        let at = $form.source();
        match ($form.is_vex(), $form.kind(at), $form.size($sized), at) {
            (false, Reg, ..) => with!(Xmm<1>, Legacy, 1),
            (false, Mem, ..) => with!(Aligned, Legacy, 1),
            (true, Reg, 16, 1) => with!(Xmm<1>, Vex, 1),
            (true, Reg, 16, 2) => with!(Xmm<2>, Vex, 1),
            (true, Mem, 16, _) => with!(Unaligned, Vex, 1),
            (true, Reg, 32, 1) => with!(Xmm<1>, Vex, 2),
            (true, Reg, 32, 2) => with!(Xmm<2>, Vex, 2),
            (true, Mem, 32, _) => with!(Unaligned, Vex, 2),
            _ => None,
        }
    }};
}

/// The same for scalars.
macro_rules! scalar_schemes {
    ($form:expr, |$s:ident, $x:ident| $handler:expr) => {{
        use $crate::interp::op::Handler;
        use $crate::interp::sem::sse::operand::{Unaligned, Xmm};
        use $crate::interp::sem::sse::scheme::{Legacy, Vex};
        use $crate::interp::table::Kind::{Mem, Reg};
        macro_rules! with {
            ($source:ty, $scheme:ty) => {{
                type $s = $source;
                type $x = $scheme;
                Some($handler as Handler)
            }};
        }
        let at = $form.source();
        match ($form.is_vex(), $form.kind(at), at) {
            (false, Reg, _) => with!(Xmm<1>, Legacy),
            (false, Mem, _) => with!(Unaligned, Legacy),
            (true, Reg, 1) => with!(Xmm<1>, Vex),
            (true, Reg, 2) => with!(Xmm<2>, Vex),
            (true, Mem, _) => with!(Unaligned, Vex),
            _ => None,
        }
    }};
}

pub(crate) use {scalar_schemes, schemes};
