//! Integer and logical instructions on whole vectors: the shape they share, for XMM and MMX registers.

use super::moves::is_mmx;
use super::operand::{Aligned, Count, Mmx, Shared, Source, Unaligned, Xmm};
use super::scheme::{Legacy, Scheme, Vex, schemes};
use crate::cpu::{Cpu, Fallible};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind};

/// An operation on two vectors that gives a vector.
pub trait Packed {
    /// On 128 bits.
    fn whole(a: u128, b: u128) -> u128;

    /// On 64 bits. Where lanes do not move, these are the low lanes.
    #[inline(always)]
    fn half(a: u64, b: u64) -> u64 {
        Self::whole(a.into(), b.into()) as u64
    }
}

/// As [`Packed`], with the immediate byte.
pub trait PackedImmediate {
    /// The upper 128 bits use the immediate from this bit on.
    const UPPER_SHIFT: u32 = 0;

    /// On 128 bits.
    fn whole(a: u128, b: u128, imm: u8) -> u128;

    /// On 64 bits.
    #[inline(always)]
    fn half(a: u64, b: u64, imm: u8) -> u64 {
        Self::whole(a.into(), b.into(), imm) as u64
    }
}

/// The handler of `op destination, source`.
pub fn select<O: Packed>(f: &Form<'_>) -> Option<Handler> {
    if f.is_vex() {
        return Some(match (f.kind(2), f.size(0), f.size(2)) {
            (Kind::Imm, 16, _) => vector::<O, Count, Vex, 1>,
            (Kind::Imm, 32, _) => vector::<O, Count, Vex, 2>,
            (Kind::Reg, 32, 16) => vector::<O, Shared<Xmm<2>>, Vex, 2>,
            (Kind::Mem, 32, 16) => vector::<O, Shared<Unaligned>, Vex, 2>,
            _ => return schemes!(f, |S, X, N| vector::<O, S, X, N>),
        });
    }
    Some(match (is_mmx(f, 0), f.kind(1), f.size(1)) {
        (false, Kind::Reg, _) => vector::<O, Xmm<1>, Legacy, 1>,
        (false, Kind::Mem, 16) => vector::<O, Aligned, Legacy, 1>,
        (false, Kind::Imm, _) => vector::<O, Count, Legacy, 1>,
        (true, Kind::Reg, _) => mmx::<O, Mmx<1>>,
        (true, Kind::Mem, 8) => mmx::<O, Unaligned>,
        (true, Kind::Mem, 4) => mmx_half::<O>,
        (true, Kind::Imm, _) => mmx::<O, Count>,
        _ => return None,
    })
}

/// The handler of `op destination, source, immediate`.
pub fn select_immediate<O: PackedImmediate>(f: &Form<'_>) -> Option<Handler> {
    match (is_mmx(f, 0), f.kind(1)) {
        (true, Kind::Reg) => Some(mmx_immediate::<O, Mmx<1>>),
        (true, Kind::Mem) => Some(mmx_immediate::<O, Unaligned>),
        _ => schemes!(f, |S, X, N| vector_immediate::<O, S, X, N>),
    }
}

fn vector<O: Packed, S: Source, X: Scheme, const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let b = S::pieces::<N>(cpu, op)?;
    let a = X::first::<N>(cpu, op);
    X::store(cpu, op, std::array::from_fn::<_, N, _>(|i| O::whole(a[i], b[i])));
    Ok(())
}

fn vector_immediate<O: PackedImmediate, S: Source, X: Scheme, const N: usize>(
    cpu: &mut Cpu,
    op: &Op,
) -> Fallible {
    X::check(cpu)?;
    let b = S::pieces::<N>(cpu, op)?;
    let a = X::first::<N>(cpu, op);
    let imm = |i: usize| op.imm as u8 >> (O::UPPER_SHIFT * i as u32);
    X::store(cpu, op, std::array::from_fn::<_, N, _>(|i| O::whole(a[i], b[i], imm(i))));
    Ok(())
}

fn mmx<O: Packed, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    let source = S::low(cpu, op)?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], O::half(cpu.mmx(op.reg[0]), source));
    Ok(())
}

/// PUNPCKL with memory reads 32 bits only.
fn mmx_half<O: Packed>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    let source = Unaligned::low::<u32>(cpu, op)?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], O::half(cpu.mmx(op.reg[0]), source.into()));
    Ok(())
}

fn mmx_immediate<O: PackedImmediate, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    let source = S::low(cpu, op)?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], O::half(cpu.mmx(op.reg[0]), source, op.imm as u8));
    Ok(())
}

/// Rows and operations at once: `Mnemonic VexMnemonic: |a, b| value`, each closure working on 128 bits.
macro_rules! packed {
    ($($mnemonic:ident $($vex:ident)?: |$a:ident, $b:ident| $value:expr;)*) => {
        /// The rows of this family.
        pub const ROWS: &[$crate::interp::table::Row] = &[$(
            $crate::interp::table::row(
                iced_x86::Mnemonic::$mnemonic,
                |f| $crate::interp::sem::sse::packed::select::<$mnemonic>(f),
            ),
            $($crate::interp::table::row(
                iced_x86::Mnemonic::$vex,
                |f| $crate::interp::sem::sse::packed::select::<$mnemonic>(f),
            ),)?
        )*];
        $(
            #[derive(Clone, Copy, Debug)]
            struct $mnemonic;
            impl $crate::interp::sem::sse::packed::Packed for $mnemonic {
                #[inline(always)]
                fn whole($a: u128, $b: u128) -> u128 {
                    $value
                }
            }
        )*
    };
}

pub(crate) use packed;
