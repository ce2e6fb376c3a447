//! Integer and logical instructions on whole vectors: the shape they share, for XMM and MMX registers.

use super::moves::is_mmx;
use super::operand::{Aligned, Count, Mmx, Source, Unaligned, Xmm};
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
    Some(match (is_mmx(f, 0), f.kind(1), f.size(1)) {
        (false, Kind::Reg, _) => vector::<O, Xmm<1>>,
        (false, Kind::Mem, 16) => vector::<O, Aligned>,
        (false, Kind::Imm, _) => vector::<O, Count>,
        (true, Kind::Reg, _) => mmx::<O, Mmx<1>>,
        (true, Kind::Mem, 8) => mmx::<O, Unaligned>,
        (true, Kind::Mem, 4) => mmx_half::<O>,
        (true, Kind::Imm, _) => mmx::<O, Count>,
        _ => return None,
    })
}

/// The handler of `op destination, source, immediate`.
pub fn select_immediate<O: PackedImmediate>(f: &Form<'_>) -> Option<Handler> {
    Some(match (is_mmx(f, 0), f.kind(1), f.size(1)) {
        (false, Kind::Reg, _) => vector_immediate::<O, Xmm<1>>,
        (false, Kind::Mem, 16) => vector_immediate::<O, Aligned>,
        (true, Kind::Reg, _) => mmx_immediate::<O, Mmx<1>>,
        (true, Kind::Mem, 8) => mmx_immediate::<O, Unaligned>,
        _ => return None,
    })
}

fn vector<O: Packed, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let source = S::vector(cpu, op)?;
    cpu.set_xmm(op.reg[0], O::whole(cpu.xmm(op.reg[0]), source));
    Ok(())
}

fn vector_immediate<O: PackedImmediate, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let source = S::vector(cpu, op)?;
    cpu.set_xmm(op.reg[0], O::whole(cpu.xmm(op.reg[0]), source, op.imm as u8));
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

/// Rows and operations at once: `Mnemonic: |a, b| value`, each closure working on 128 bits.
macro_rules! packed {
    ($($mnemonic:ident: |$a:ident, $b:ident| $value:expr;)*) => {
        /// The rows of this family.
        pub const ROWS: &[$crate::interp::table::Row] = &[$($crate::interp::table::row(
            iced_x86::Mnemonic::$mnemonic,
            |f| $crate::interp::sem::sse::packed::select::<$mnemonic>(f),
        )),*];
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
