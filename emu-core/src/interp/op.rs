//! The compact form of a decoded instruction, and how its operands are reached.
//!
//! An instruction's meaning is one generic function over width and operand places. The decoder picks the
//! instance ([`Handler`]) once; executing is a call.

use std::cell::Cell;

use crate::cpu::access::Place;
use crate::cpu::{Cpu, Fallible, Fault, RSP, Width};

/// Executes one decoded instruction.
pub type Handler = fn(&mut Cpu, &Op) -> Fallible;

/// Register numbers of the high bytes AH, CH, DH, BH start here.
pub const HIGH_BYTE: u8 = 16;

/// The instruction writes RIP itself.
pub const WRITES_RIP: u8 = 1 << 0;
/// The block ends after the instruction.
pub const ENDS_BLOCK: u8 = 1 << 1;
/// REP or REPE.
pub const REP: u8 = 1 << 2;
/// REPNE.
pub const REPNE: u8 = 1 << 3;
/// A single-step trap after this instruction is left out: it cleared TF on its own account (INT and its like).
pub const NO_TRAP: u8 = 1 << 4;

/// A conditional jump: it goes on with the next instruction, or writes RIP and leaves the block.
pub const MAY_JUMP: u8 = 1 << 5;
/// The memory operand has a 64-bit address in flat memory.
pub const NEAR: u8 = 1 << 6;
/// The memory operand has an index register.
pub const INDEXED: u8 = 1 << 7;

/// In [`Op::scale_segment`]: the segment is flat, the effective address is the linear one.
pub const FLAT: u8 = 1 << 3;

/// A decoded instruction.
#[derive(Clone)]
pub struct Op {
    /// What it does.
    pub run: Handler,
    /// Immediate operand, far pointer, absolute offset, or branch distance from the start of the block.
    pub imm: u64,
    /// Displacement of the memory operand; from the start of the block when the base is RIP.
    pub disp: i64,
    /// Register numbers of operands 0 to 2, where they are registers.
    pub reg: [u8; 3],
    /// Base register of the memory operand.
    pub base: u8,
    /// Index register of the memory operand.
    pub index: u8,
    /// Shift of the index in bits 7:4, [`FLAT`], segment register in bits 2:0.
    pub scale_segment: u8,
    /// 64 minus the address size.
    pub address_shift: u8,
    /// `WRITES_RIP` and so on.
    pub flags: u8,
    /// Offset of the next instruction from the start of the block.
    pub end: u16,
    /// Length in bytes.
    pub length: u8,
    /// Instructions in the block, for its first one.
    pub block: u8,
    /// Offset in its page, for the first instruction of a block.
    pub offset: u16,
    /// Where the page has the first instruction of the block that ran after this one the last time.
    pub link: Cell<u16>,
}

const _: () = assert!(size_of::<Op>() <= 40);

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op")
            .field("reg", &self.reg)
            .field("imm", &self.imm)
            .field("disp", &self.disp)
            .finish()
    }
}

impl Op {
    /// Segment register of the memory operand.
    #[inline(always)]
    pub fn segment(&self) -> usize {
        usize::from(self.scale_segment & 7)
    }

    /// Linear address of the memory operand, after the segment's checks.
    ///
    /// # Errors
    /// #GP(0), or #SS(0) for SS, when the segment does not permit the access.
    #[inline(always)]
    pub fn linear(&self, cpu: &Cpu, size: u64, write: bool) -> Fallible<u64> {
        let address = self.address(cpu);
        if self.scale_segment & FLAT != 0 {
            return Ok(address);
        }
        cpu.linear(self.segment(), address, size, write)
    }

    /// Cuts an address to the instruction's address size.
    #[inline(always)]
    pub fn cut_address(&self, address: u64) -> u64 {
        address & (u64::MAX >> self.address_shift)
    }

    /// Effective address of the memory operand.
    #[inline(always)]
    pub fn address(&self, cpu: &Cpu) -> u64 {
        let base = cpu.regs[usize::from(self.base & 31)];
        let index = cpu.regs[usize::from(self.index & 31)] << (self.scale_segment >> 4);
        self.cut_address(base.wrapping_add(index).wrapping_add(self.disp as u64))
    }

    /// Linear address of a [`NEAR`] memory operand.
    ///
    /// # Errors
    /// [`Fault::NotQuick`] when it is no such operand.
    #[inline(always)]
    fn near(&self, cpu: &Cpu) -> Fallible<u64> {
        if self.flags & NEAR == 0 {
            return Err(Fault::NotQuick);
        }
        let mut address = cpu.regs[usize::from(self.base & 31)].wrapping_add(self.disp as u64);
        if self.flags & INDEXED != 0 {
            let index = cpu.regs[usize::from(self.index & 31)];
            address = address.wrapping_add(index << (self.scale_segment >> 4));
        }
        Ok(address)
    }

    /// Offset of the next instruction; `rip` is the block's start.
    #[inline(always)]
    pub fn next(&self, cpu: &Cpu) -> u64 {
        let next = cpu.regs[crate::cpu::RIP].wrapping_add(u64::from(self.end));
        if cpu.linear_mask == u64::MAX { next } else { next & 0xffff_ffff }
    }

    /// Offset of the instruction from the start of its block.
    #[inline(always)]
    pub fn start(&self) -> u16 {
        self.end - u16::from(self.length)
    }

    /// Offset of this instruction.
    #[inline(always)]
    pub fn here(&self, cpu: &Cpu) -> u64 {
        cpu.regs[crate::cpu::RIP].wrapping_add(u64::from(self.start()))
    }

    /// True with a REP, REPE or REPNE prefix.
    #[inline(always)]
    pub fn repeated(&self) -> bool {
        self.flags & (REP | REPNE) != 0
    }
}

impl Cpu {
    /// Reads a general register; 8-bit numbers from 16 on are AH, CH, DH, BH.
    #[inline(always)]
    pub fn register<W: Width>(&self, number: u8) -> W {
        if W::BYTES == 1 && number >= HIGH_BYTE {
            return W::from_u64(self.regs[usize::from(number & 3)] >> 8);
        }
        W::from_u64(self.regs[usize::from(number & 31)])
    }

    /// Writes a general register as instructions do: 32-bit writes clear the upper half, narrower ones keep it.
    #[inline(always)]
    pub fn set_register<W: Width>(&mut self, number: u8, value: W) {
        if W::BYTES == 1 && number >= HIGH_BYTE {
            let register = &mut self.regs[usize::from(number & 3)];
            *register = *register & !0xff00 | value.u64() << 8;
            return;
        }
        let register = &mut self.regs[usize::from(number & 31)];
        *register = if W::BYTES >= 4 { value.u64() } else { *register & !W::MASK | value.u64() };
    }
}

/// A place that an operand can be read from.
pub trait Source {
    /// Reads the operand.
    ///
    /// # Errors
    /// Faults of the memory access.
    fn get<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W>;
}

/// A place that an operand can be written to.
pub trait Target: Source {
    /// What [`Target::locate`] keeps for [`Target::put`].
    type Found: Copy;

    /// Reads the operand and makes sure that it can be written.
    ///
    /// # Errors
    /// Faults of the memory access.
    fn locate<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<(W, Self::Found)>;

    /// Writes back to where [`Target::locate`] looked.
    ///
    /// # Errors
    /// None in practice.
    fn put<W: Width>(cpu: &mut Cpu, op: &Op, found: Self::Found, value: W) -> Fallible;

    /// Writes the operand without reading it.
    ///
    /// # Errors
    /// Faults of the memory access.
    fn set<W: Width>(cpu: &mut Cpu, op: &Op, value: W) -> Fallible;
}

/// Operand N is a general register.
#[derive(Clone, Copy, Debug)]
pub struct Reg<const N: usize>;

/// The memory operand.
#[derive(Clone, Copy, Debug)]
pub struct Mem;

/// The memory operand, when it is [`NEAR`] and the translation cache knows the way; [`Fault::NotQuick`] otherwise.
/// See `quick`.
#[derive(Clone, Copy, Debug)]
pub struct Near;

/// Where an operand is, for whoever describes the instruction.
pub trait Operand {
    /// Number of the register, if it is one.
    fn register(op: &Op) -> Option<u8>;
}

impl<const N: usize> Operand for Reg<N> {
    fn register(op: &Op) -> Option<u8> {
        Some(op.reg[N])
    }
}

impl Operand for Mem {
    fn register(_: &Op) -> Option<u8> {
        None
    }
}

/// The immediate operand.
#[derive(Clone, Copy, Debug)]
pub struct Imm;

impl<const N: usize> Source for Reg<N> {
    #[inline(always)]
    fn get<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        Ok(cpu.register(op.reg[N]))
    }
}

impl<const N: usize> Target for Reg<N> {
    type Found = ();

    #[inline(always)]
    fn locate<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<(W, ())> {
        Ok((cpu.register(op.reg[N]), ()))
    }

    #[inline(always)]
    fn put<W: Width>(cpu: &mut Cpu, op: &Op, (): (), value: W) -> Fallible {
        cpu.set_register(op.reg[N], value);
        Ok(())
    }

    #[inline(always)]
    fn set<W: Width>(cpu: &mut Cpu, op: &Op, value: W) -> Fallible {
        cpu.set_register(op.reg[N], value);
        Ok(())
    }
}

impl Source for Mem {
    #[inline(always)]
    fn get<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        let linear = op.linear(cpu, W::BYTES, false)?;
        cpu.read_linear(op.segment(), linear)
    }
}

impl Target for Mem {
    type Found = Place;

    #[inline(always)]
    fn locate<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<(W, Place)> {
        let linear = op.linear(cpu, W::BYTES, true)?;
        cpu.read_linear_for_write(op.segment(), linear)
    }

    #[inline(always)]
    fn put<W: Width>(cpu: &mut Cpu, _op: &Op, found: Place, value: W) -> Fallible {
        cpu.write_back(found, value)
    }

    #[inline(always)]
    fn set<W: Width>(cpu: &mut Cpu, op: &Op, value: W) -> Fallible {
        let linear = op.linear(cpu, W::BYTES, true)?;
        cpu.write_linear(op.segment(), linear, value)
    }
}

impl Source for Near {
    #[inline(always)]
    fn get<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        let linear = op.near(cpu)?;
        cpu.read_cached(linear).ok_or(Fault::NotQuick)
    }
}

impl Target for Near {
    type Found = Place;

    #[inline(always)]
    fn locate<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<(W, Place)> {
        let linear = op.near(cpu)?;
        let place = cpu.place_cached::<W>(linear).ok_or(Fault::NotQuick)?;
        Ok((cpu.read_place(place), place))
    }

    #[inline(always)]
    fn put<W: Width>(cpu: &mut Cpu, _op: &Op, found: Place, value: W) -> Fallible {
        cpu.write_place(found, value);
        Ok(())
    }

    #[inline(always)]
    fn set<W: Width>(cpu: &mut Cpu, op: &Op, value: W) -> Fallible {
        let linear = op.near(cpu)?;
        let place = cpu.place_cached::<W>(linear).ok_or(Fault::NotQuick)?;
        cpu.write_place(place, value);
        Ok(())
    }
}

/// A way to memory: [`Mem`] or [`Near`].
pub trait Way: Target {
    /// Pushes a value.
    ///
    /// # Errors
    /// As for the write; the stack pointer stays then.
    fn push<W: Width>(cpu: &mut Cpu, value: W) -> Fallible;

    /// The value on top of the stack.
    ///
    /// # Errors
    /// As for the read.
    fn peek<W: Width>(cpu: &mut Cpu) -> Fallible<W>;
}

impl Way for Mem {
    #[inline(always)]
    fn push<W: Width>(cpu: &mut Cpu, value: W) -> Fallible {
        cpu.push(value)
    }

    #[inline(always)]
    fn peek<W: Width>(cpu: &mut Cpu) -> Fallible<W> {
        cpu.peek(0)
    }
}

impl Way for Near {
    #[inline(always)]
    fn push<W: Width>(cpu: &mut Cpu, value: W) -> Fallible {
        if cpu.stack_mask != u64::MAX {
            return Err(Fault::NotQuick);
        }
        let pointer = cpu.regs[RSP].wrapping_sub(W::BYTES);
        let place = cpu.place_cached::<W>(pointer).ok_or(Fault::NotQuick)?;
        cpu.write_place(place, value);
        cpu.regs[RSP] = pointer;
        Ok(())
    }

    #[inline(always)]
    fn peek<W: Width>(cpu: &mut Cpu) -> Fallible<W> {
        if cpu.stack_mask != u64::MAX {
            return Err(Fault::NotQuick);
        }
        cpu.read_cached(cpu.regs[RSP]).ok_or(Fault::NotQuick)
    }
}

/// The handler that tries memory the quick way, and does all again the thorough way when that does not suffice:
/// `quick!(|M| function::<M>)`. The function must do nothing that lasts before its first access to memory.
macro_rules! quick {
    (|$m:ident| $f:expr) => {
        |cpu: &mut $crate::cpu::Cpu, op: &$crate::interp::op::Op| -> $crate::cpu::Fallible {
            let done = {
                type $m = $crate::interp::op::Near;
                $f(cpu, op)
            };
            if done == Err($crate::cpu::Fault::NotQuick) {
                type $m = $crate::interp::op::Mem;
                return $crate::interp::op::thorough(cpu, op, $f);
            }
            done
        }
    };
}

pub(crate) use quick;

/// Calls a handler from a place that should not become part of it.
#[cold]
#[inline(never)]
pub fn thorough(cpu: &mut Cpu, op: &Op, handler: Handler) -> Fallible {
    handler(cpu, op)
}

impl Source for Imm {
    #[inline(always)]
    fn get<W: Width>(_cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        Ok(W::from_u64(op.imm))
    }
}
