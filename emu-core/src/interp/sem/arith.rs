//! ADD, ADC, SUB, SBB, CMP, INC, DEC, NEG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B, ADCX, ADOX.

use iced_x86::Mnemonic as M;

use crate::cpu::eflags::{self, Writer};
use crate::cpu::{Cpu, Fallible, Fault, RAX, RBX, RCX, RDX, Width};
use crate::interp::op::{Handler, Imm, Mem, Op, Reg, Source, Target, quick};
use crate::interp::table::{Form, Kind, Row, row, widths};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Add, binary::<Add>),
    row(M::Adc, binary::<Adc>),
    row(M::Sub, binary::<Sub>),
    row(M::Sbb, binary::<Sbb>),
    row(M::Cmp, compare),
    row(M::Inc, increment),
    row(M::Dec, decrement),
    row(M::Neg, negate),
    row(M::Xadd, exchange_add),
    row(M::Cmpxchg, compare_exchange),
    row(M::Cmpxchg8b, |_| Some(cmpxchg8b)),
    row(M::Cmpxchg16b, |_| Some(cmpxchg16b)),
    row(M::Adcx, |f| carry_add::<{ eflags::CF }>(f)),
    row(M::Adox, |f| carry_add::<{ eflags::OF }>(f)),
];

/// A two-operand instruction that computes a result and all flags.
pub trait Binary {
    /// The result; records the flags.
    fn apply<W: Width>(cpu: &mut Cpu, a: W, b: W) -> W;
}

/// Picks the instance of [`Binary`] for a form.
pub fn binary<B: Binary>(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, Kind::Reg, n) => widths!(n, |W| two::<B, W, Reg<0>, Reg<1>>),
        (Kind::Reg, Kind::Mem, n) => widths!(n, |W| quick!(|M| two::<B, W, Reg<0>, M>)),
        (Kind::Reg, Kind::Imm, n) => widths!(n, |W| two::<B, W, Reg<0>, Imm>),
        (Kind::Mem, Kind::Reg, n) => widths!(n, |W| quick!(|M| two::<B, W, M, Reg<1>>)),
        (Kind::Mem, Kind::Imm, n) => widths!(n, |W| quick!(|M| two::<B, W, M, Imm>)),
        _ => None,
    }
}

fn two<B: Binary, W: Width, D: Target, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let b = S::get::<W>(cpu, op)?;
    let (a, place) = D::locate::<W>(cpu, op)?;
    // Located means that the write cannot fault, so the flags may go first.
    let result = B::apply(cpu, a, b);
    D::put(cpu, op, place, result)
}

/// destination + source.
#[derive(Debug)]
pub struct Add;
/// destination + source + CF.
#[derive(Debug)]
pub struct Adc;
/// destination - source.
#[derive(Debug)]
pub struct Sub;
/// destination - (source + CF).
#[derive(Debug)]
pub struct Sbb;

impl Binary for Add {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, b: W) -> W {
        cpu.flags.record(Writer::Add, a, b);
        W::from_u64(a.u64().wrapping_add(b.u64()))
    }
}

impl Binary for Adc {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, b: W) -> W {
        let carry = cpu.flags.carry();
        cpu.flags.record(if carry { Writer::AddCarry } else { Writer::Add }, a, b);
        W::from_u64(a.u64().wrapping_add(b.u64()).wrapping_add(u64::from(carry)))
    }
}

impl Binary for Sub {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, b: W) -> W {
        cpu.flags.record(Writer::Sub, a, b);
        W::from_u64(a.u64().wrapping_sub(b.u64()))
    }
}

impl Binary for Sbb {
    #[inline(always)]
    fn apply<W: Width>(cpu: &mut Cpu, a: W, b: W) -> W {
        let borrow = cpu.flags.carry();
        cpu.flags.record(if borrow { Writer::SubBorrow } else { Writer::Sub }, a, b);
        W::from_u64(a.u64().wrapping_sub(b.u64()).wrapping_sub(u64::from(borrow)))
    }
}

/// CMP: flags of destination - source. SDM 2A, "CMP".
fn compare(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, Kind::Reg, n) => widths!(n, |W| cmp::<W, Reg<0>, Reg<1>>),
        (Kind::Reg, Kind::Mem, n) => widths!(n, |W| quick!(|M| cmp::<W, Reg<0>, M>)),
        (Kind::Reg, Kind::Imm, n) => widths!(n, |W| cmp::<W, Reg<0>, Imm>),
        (Kind::Mem, Kind::Reg, n) => widths!(n, |W| quick!(|M| cmp::<W, M, Reg<1>>)),
        (Kind::Mem, Kind::Imm, n) => widths!(n, |W| quick!(|M| cmp::<W, M, Imm>)),
        _ => None,
    }
}

fn cmp<W: Width, A: Source, B: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let a = A::get::<W>(cpu, op)?;
    let b = B::get::<W>(cpu, op)?;
    cpu.flags.record(Writer::Sub, a, b);
    Ok(())
}

fn increment(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, _, n) => widths!(n, |W| step::<W, Reg<0>, true>),
        (_, _, n) => widths!(n, |W| quick!(|M| step::<W, M, true>)),
    }
}

fn decrement(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, _, n) => widths!(n, |W| step::<W, Reg<0>, false>),
        (_, _, n) => widths!(n, |W| quick!(|M| step::<W, M, false>)),
    }
}

/// INC and DEC: CF stays. SDM 2A, "INC", "DEC".
fn step<W: Width, D: Target, const UP: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let carry = cpu.flags.carry();
    let (a, place) = D::locate::<W>(cpu, op)?;
    let (writer, result) =
        if UP { (Writer::Inc, a.u64().wrapping_add(1)) } else { (Writer::Dec, a.u64().wrapping_sub(1)) };
    let result = W::from_u64(result);
    cpu.flags.record_with_carry(writer, result, carry);
    D::put(cpu, op, place, result)
}

fn negate(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, _, n) => widths!(n, |W| neg::<W, Reg<0>>),
        (_, _, n) => widths!(n, |W| neg::<W, Mem>),
    }
}

/// NEG: 0 - destination. SDM 2B, "NEG".
fn neg<W: Width, D: Target>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (a, place) = D::locate::<W>(cpu, op)?;
    let result = Sub::apply(cpu, W::from_u64(0), a);
    D::put(cpu, op, place, result)
}

fn exchange_add(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, _, n) => widths!(n, |W| xadd::<W, Reg<0>>),
        (_, _, n) => widths!(n, |W| xadd::<W, Mem>),
    }
}

/// XADD: the source gets the old destination, the destination the sum. SDM 2D, "XADD".
fn xadd<W: Width, D: Target>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (a, place) = D::locate::<W>(cpu, op)?;
    let b = cpu.register::<W>(op.reg[1]);
    let sum = Add::apply(cpu, a, b);
    cpu.set_register(op.reg[1], a);
    D::put(cpu, op, place, sum)
}

fn compare_exchange(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, _, n) => widths!(n, |W| cmpxchg::<W, Reg<0>>),
        (_, _, n) => widths!(n, |W| cmpxchg::<W, Mem>),
    }
}

/// CMPXCHG: the destination is written in both cases, so it must be writable. SDM 2A, "CMPXCHG".
fn cmpxchg<W: Width, D: Target>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (old, place) = D::locate::<W>(cpu, op)?;
    let accumulator = cpu.register::<W>(RAX as u8);
    let equal = Sub::apply(cpu, accumulator, old).u64() == 0;
    if equal {
        let new = cpu.register::<W>(op.reg[1]);
        return D::put(cpu, op, place, new);
    }
    // A 32-bit destination register is written, and so zero-extended, only when equal.
    D::put_if_memory(cpu, op, place, old)?;
    cpu.set_register(RAX as u8, old);
    Ok(())
}

/// Writing back an unchanged value: memory sees the write, a register does not.
trait PutIfMemory: Target {
    fn put_if_memory<W: Width>(cpu: &mut Cpu, op: &Op, found: Self::Found, value: W) -> Fallible;
}

impl<T: Target> PutIfMemory for T {
    #[inline(always)]
    fn put_if_memory<W: Width>(cpu: &mut Cpu, op: &Op, found: Self::Found, value: W) -> Fallible {
        if size_of::<Self::Found>() == 0 { Ok(()) } else { Self::put(cpu, op, found, value) }
    }
}

/// CMPXCHG8B. SDM 2A, "CMPXCHG8B/CMPXCHG16B".
fn cmpxchg8b(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (old, place) = Mem::locate::<u64>(cpu, op)?;
    let pair = |high: u64, low: u64| high << 32 | low & 0xffff_ffff;
    let equal = old == pair(cpu.regs[RDX], cpu.regs[RAX]);
    let new = if equal { pair(cpu.regs[RCX], cpu.regs[RBX]) } else { old };
    Mem::put(cpu, op, place, new)?;
    if !equal {
        cpu.regs[RAX] = old & 0xffff_ffff;
        cpu.regs[RDX] = old >> 32;
    }
    cpu.flags.set_some(eflags::ZF, if equal { eflags::ZF } else { 0 });
    Ok(())
}

/// CMPXCHG16B: the operand must be aligned.
fn cmpxchg16b(cpu: &mut Cpu, op: &Op) -> Fallible {
    let address = op.address(cpu);
    let linear = cpu.linear(op.segment(), address, 16, true)?;
    if linear % 16 != 0 {
        return Err(Fault::GP0);
    }
    let (low, low_place) = cpu.read_for_write::<u64>(op.segment(), address)?;
    let (high, high_place) = cpu.read_for_write::<u64>(op.segment(), address.wrapping_add(8))?;
    let equal = (low, high) == (cpu.regs[RAX], cpu.regs[RDX]);
    let (new_low, new_high) = if equal { (cpu.regs[RBX], cpu.regs[RCX]) } else { (low, high) };
    cpu.write_back(low_place, new_low)?;
    cpu.write_back(high_place, new_high)?;
    if !equal {
        cpu.regs[RAX] = low;
        cpu.regs[RDX] = high;
    }
    cpu.flags.set_some(eflags::ZF, if equal { eflags::ZF } else { 0 });
    Ok(())
}

fn carry_add<const FLAG: u64>(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(1), f.size(0)) {
        (Kind::Reg, 4) => Some(adx::<u32, Reg<1>, FLAG>),
        (Kind::Reg, 8) => Some(adx::<u64, Reg<1>, FLAG>),
        (Kind::Mem, 4) => Some(adx::<u32, Mem, FLAG>),
        (Kind::Mem, 8) => Some(adx::<u64, Mem, FLAG>),
        _ => None,
    }
}

/// ADCX and ADOX: add with one flag as carry, the others stay. SDM 2A, "ADCX", "ADOX".
fn adx<W: Width, S: Source, const FLAG: u64>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let b = u128::from(S::get::<W>(cpu, op)?.u64());
    let a = u128::from(cpu.register::<W>(op.reg[0]).u64());
    let carry = u128::from(cpu.flags.arithmetic() & FLAG != 0);
    let sum = a + b + carry;
    cpu.set_register(op.reg[0], W::from_u64(sum as u64));
    cpu.flags.set_some(FLAG, if sum >> W::BITS != 0 { FLAG } else { 0 });
    Ok(())
}
