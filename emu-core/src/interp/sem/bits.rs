//! BT, BTS, BTR, BTC, BSF, BSR, TZCNT, LZCNT, POPCNT, BSWAP, and the rest of BMI1 and BMI2.

use iced_x86::Mnemonic as M;

use crate::cpu::eflags::{CF, OF, SF, ZF, sign_zero_parity};
use crate::cpu::{Cpu, Fallible, Fault, Width};
use crate::interp::op::{Handler, Imm, Mem, Op, Reg, Source, Target};
use crate::interp::table::{Form, Kind, Row, row, widths_wide};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Bt, |f| bit_test::<TEST>(f)),
    row(M::Bts, |f| bit_test::<SET>(f)),
    row(M::Btr, |f| bit_test::<RESET>(f)),
    row(M::Btc, |f| bit_test::<COMPLEMENT>(f)),
    row(M::Bsf, |f| {
        unary(
            f,
            [bsf::<u16, Reg<1>>, bsf::<u32, Reg<1>>, bsf::<u64, Reg<1>>],
            [bsf::<u16, Mem>, bsf::<u32, Mem>, bsf::<u64, Mem>],
        )
    }),
    row(M::Bsr, |f| {
        unary(
            f,
            [bsr::<u16, Reg<1>>, bsr::<u32, Reg<1>>, bsr::<u64, Reg<1>>],
            [bsr::<u16, Mem>, bsr::<u32, Mem>, bsr::<u64, Mem>],
        )
    }),
    row(M::Tzcnt, |f| {
        unary(
            f,
            [tzcnt::<u16, Reg<1>>, tzcnt::<u32, Reg<1>>, tzcnt::<u64, Reg<1>>],
            [tzcnt::<u16, Mem>, tzcnt::<u32, Mem>, tzcnt::<u64, Mem>],
        )
    }),
    row(M::Lzcnt, |f| {
        unary(
            f,
            [lzcnt::<u16, Reg<1>>, lzcnt::<u32, Reg<1>>, lzcnt::<u64, Reg<1>>],
            [lzcnt::<u16, Mem>, lzcnt::<u32, Mem>, lzcnt::<u64, Mem>],
        )
    }),
    row(M::Popcnt, |f| {
        unary(
            f,
            [popcnt::<u16, Reg<1>>, popcnt::<u32, Reg<1>>, popcnt::<u64, Reg<1>>],
            [popcnt::<u16, Mem>, popcnt::<u32, Mem>, popcnt::<u64, Mem>],
        )
    }),
    row(M::Bswap, bswap_form),
    row(M::Blsi, |f| lowest::<ISOLATE>(f)),
    row(M::Blsr, |f| lowest::<CLEAR>(f)),
    row(M::Blsmsk, |f| lowest::<MASK>(f)),
    row(M::Bextr, |f| {
        by_register(f, [bextr::<u32, Reg<1>>, bextr::<u64, Reg<1>>], [bextr::<u32, Mem>, bextr::<u64, Mem>])
    }),
    row(M::Bzhi, |f| {
        by_register(f, [bzhi::<u32, Reg<1>>, bzhi::<u64, Reg<1>>], [bzhi::<u32, Mem>, bzhi::<u64, Mem>])
    }),
    row(M::Pdep, |f| {
        masked(f, [pdep::<u32, Reg<2>>, pdep::<u64, Reg<2>>], [pdep::<u32, Mem>, pdep::<u64, Mem>])
    }),
    row(M::Pext, |f| {
        masked(f, [pext::<u32, Reg<2>>, pext::<u64, Reg<2>>], [pext::<u32, Mem>, pext::<u64, Mem>])
    }),
];

/// Instructions with a VEX prefix do not exist in real and virtual-8086 mode. SDM 2A, "VEX Encoding".
#[inline(always)]
pub fn vex(cpu: &Cpu) -> Fallible {
    if cpu.paragraphs() { Err(Fault::UD) } else { Ok(()) }
}

const TEST: u8 = 0;
const SET: u8 = 1;
const RESET: u8 = 2;
const COMPLEMENT: u8 = 3;

fn bit_test<const DO: u8>(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, Kind::Reg, n) => widths_wide!(n, |W| bt::<W, Reg<0>, Reg<1>, DO>),
        (Kind::Reg, _, n) => widths_wide!(n, |W| bt::<W, Reg<0>, Imm, DO>),
        (Kind::Mem, Kind::Imm, n) => widths_wide!(n, |W| bt::<W, Mem, Imm, DO>),
        (_, _, n) => widths_wide!(n, |W| bt_string::<W, DO>),
    }
}

/// The new value, and CF set to the old bit; the other flags stay (ZF by definition, the rest on silicon).
#[inline(always)]
fn change<W: Width, const DO: u8>(cpu: &mut Cpu, a: W, bit: u32) -> W {
    let mask = 1u64 << bit;
    let old = a.u64() & mask != 0;
    cpu.flags.set_some(CF, if old { CF } else { 0 });
    W::from_u64(match DO {
        SET => a.u64() | mask,
        RESET => a.u64() & !mask,
        COMPLEMENT => a.u64() ^ mask,
        _ => a.u64(),
    })
}

/// BT and its like on a register, or with an immediate: the bit number wraps. SDM 2A, "BT".
fn bt<W: Width, D: Target, S: Source, const DO: u8>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let bit = S::get::<W>(cpu, op)?.u64() as u32 & (W::BITS - 1);
    if DO == TEST {
        let a = D::get::<W>(cpu, op)?;
        change::<W, DO>(cpu, a, bit);
        return Ok(());
    }
    let (a, place) = D::locate::<W>(cpu, op)?;
    let result = change::<W, DO>(cpu, a, bit);
    D::put(cpu, op, place, result)
}

/// BT and its like on memory with a register: a bit string that extends both ways.
fn bt_string<W: Width, const DO: u8>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let number = cpu.register::<W>(op.reg[1]).i64();
    let step = (number >> W::BITS.trailing_zeros()).wrapping_mul(W::BYTES as i64);
    let address = op.cut_address(op.address(cpu).wrapping_add(step as u64));
    let bit = number as u32 & (W::BITS - 1);
    if DO == TEST {
        let a = cpu.read::<W>(op.segment(), address)?;
        change::<W, DO>(cpu, a, bit);
        return Ok(());
    }
    let (a, place) = cpu.read_for_write::<W>(op.segment(), address)?;
    let result = change::<W, DO>(cpu, a, bit);
    cpu.write_back(place, result)
}

fn pick3(size: usize, from: [Handler; 3]) -> Option<Handler> {
    match size {
        2 => Some(from[0]),
        4 => Some(from[1]),
        8 => Some(from[2]),
        _ => None,
    }
}

fn pick2(size: usize, from: [Handler; 2]) -> Option<Handler> {
    match size {
        4 => Some(from[0]),
        8 => Some(from[1]),
        _ => None,
    }
}

/// Register from register or memory.
fn unary(f: &Form<'_>, register: [Handler; 3], memory: [Handler; 3]) -> Option<Handler> {
    pick3(f.size(0), if f.kind(1) == Kind::Mem { memory } else { register })
}

/// Operand 1 from register or memory, operand 2 a register.
fn by_register(f: &Form<'_>, register: [Handler; 2], memory: [Handler; 2]) -> Option<Handler> {
    pick2(f.size(0), if f.kind(1) == Kind::Mem { memory } else { register })
}

/// Operand 1 a register, operand 2 from register or memory.
fn masked(f: &Form<'_>, register: [Handler; 2], memory: [Handler; 2]) -> Option<Handler> {
    pick2(f.size(0), if f.kind(2) == Kind::Mem { memory } else { register })
}

/// BSF: a source of zero leaves the destination alone, as all silicon does. SDM 2A, "BSF".
fn bsf<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let a = S::get::<W>(cpu, op)?;
    scan::<W>(cpu, op, a, a.u64().trailing_zeros());
    Ok(())
}

/// BSR. SDM 2A, "BSR".
fn bsr<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let a = S::get::<W>(cpu, op)?;
    scan::<W>(cpu, op, a, 63 - a.u64().leading_zeros().min(63));
    Ok(())
}

fn scan<W: Width>(cpu: &mut Cpu, op: &Op, source: W, found: u32) {
    if source.u64() != 0 {
        cpu.set_register(op.reg[0], W::from_u64(u64::from(found)));
    }
    cpu.flags.set_some(ZF, if source.u64() == 0 { ZF } else { 0 });
}

/// CF: the source was zero; ZF: the result is.
fn count_flags(cpu: &mut Cpu, source: u64, result: u64) {
    let flags = if source == 0 { CF } else { 0 } | if result == 0 { ZF } else { 0 };
    cpu.flags.set_some(CF | ZF, flags);
}

/// TZCNT. SDM 2B, "TZCNT".
fn tzcnt<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let a = S::get::<W>(cpu, op)?.u64();
    let count = u64::from(a.trailing_zeros().min(W::BITS));
    cpu.set_register(op.reg[0], W::from_u64(count));
    count_flags(cpu, a, count);
    Ok(())
}

/// LZCNT. SDM 2A, "LZCNT".
fn lzcnt<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let a = S::get::<W>(cpu, op)?.u64();
    let count = u64::from(a.leading_zeros() - (64 - W::BITS));
    cpu.set_register(op.reg[0], W::from_u64(count));
    count_flags(cpu, a, count);
    Ok(())
}

/// POPCNT: all flags but ZF are cleared. SDM 2B, "POPCNT".
fn popcnt<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let a = S::get::<W>(cpu, op)?.u64();
    cpu.set_register(op.reg[0], W::from_u64(u64::from(a.count_ones())));
    cpu.flags.set_arithmetic(if a == 0 { ZF } else { 0 });
    Ok(())
}

fn bswap_form(f: &Form<'_>) -> Option<Handler> {
    match f.size(0) {
        2 => Some(|cpu, op| {
            // Undefined for 16 bits; silicon clears the register.
            cpu.set_register(op.reg[0], 0u16);
            Ok(())
        }),
        4 => Some(|cpu, op| {
            let value = cpu.register::<u32>(op.reg[0]).swap_bytes();
            cpu.set_register(op.reg[0], value);
            Ok(())
        }),
        _ => Some(|cpu, op| {
            let value = cpu.register::<u64>(op.reg[0]).swap_bytes();
            cpu.set_register(op.reg[0], value);
            Ok(())
        }),
    }
}

const ISOLATE: u8 = 0;
const CLEAR: u8 = 1;
const MASK: u8 = 2;

fn lowest<const DO: u8>(f: &Form<'_>) -> Option<Handler> {
    by_register(
        f,
        [bls::<u32, Reg<1>, DO>, bls::<u64, Reg<1>, DO>],
        [bls::<u32, Mem, DO>, bls::<u64, Mem, DO>],
    )
}

/// BLSI, BLSR, BLSMSK. SDM 2A at each.
fn bls<W: Width, S: Source, const DO: u8>(cpu: &mut Cpu, op: &Op) -> Fallible {
    vex(cpu)?;
    let a = S::get::<W>(cpu, op)?.u64();
    let result = W::from_u64(match DO {
        ISOLATE => a & a.wrapping_neg(),
        CLEAR => a & a.wrapping_sub(1),
        _ => a ^ a.wrapping_sub(1),
    });
    cpu.set_register(op.reg[0], result);
    let carry = (a == 0) != (DO == ISOLATE);
    let flags = sign_zero_parity(result) & (SF | ZF);
    cpu.flags.set_arithmetic(flags | if carry { CF } else { 0 });
    Ok(())
}

/// BEXTR. SDM 2A, "BEXTR".
fn bextr<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    vex(cpu)?;
    let a = S::get::<W>(cpu, op)?.u64();
    let control = cpu.register::<W>(op.reg[2]).u64();
    let (start, len) = (control as u8, (control >> 8) as u8);
    let shifted = if u32::from(start) < W::BITS { a >> start } else { 0 };
    let result = W::from_u64(if len < 64 { shifted & ((1 << len) - 1) } else { shifted });
    cpu.set_register(op.reg[0], result);
    cpu.flags.set_arithmetic(if result.u64() == 0 { ZF } else { 0 });
    Ok(())
}

/// BZHI. SDM 2A, "BZHI".
fn bzhi<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    vex(cpu)?;
    let a = S::get::<W>(cpu, op)?.u64();
    let from = u32::from(cpu.register::<u8>(op.reg[2]));
    let result = W::from_u64(if from < W::BITS { a & ((1 << from) - 1) } else { a });
    cpu.set_register(op.reg[0], result);
    let flags = sign_zero_parity(result) & (SF | ZF) | if from >= W::BITS { CF } else { 0 };
    cpu.flags.set_arithmetic(flags & !OF);
    Ok(())
}

/// PDEP. SDM 2B, "PDEP".
fn pdep<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    vex(cpu)?;
    let mut mask = S::get::<W>(cpu, op)?.u64();
    let mut source = cpu.register::<W>(op.reg[1]).u64();
    let mut result = 0;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if source & 1 != 0 {
            result |= lowest;
        }
        source >>= 1;
        mask ^= lowest;
    }
    cpu.set_register(op.reg[0], W::from_u64(result));
    Ok(())
}

/// PEXT. SDM 2B, "PEXT".
fn pext<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    vex(cpu)?;
    let mut mask = S::get::<W>(cpu, op)?.u64();
    let source = cpu.register::<W>(op.reg[1]).u64();
    let (mut result, mut at) = (0, 0);
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if source & lowest != 0 {
            result |= 1 << at;
        }
        at += 1;
        mask ^= lowest;
    }
    cpu.set_register(op.reg[0], W::from_u64(result));
    Ok(())
}
