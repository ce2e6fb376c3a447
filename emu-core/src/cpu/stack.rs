//! Push and pop, on the current stack and on one that is about to become current.

use super::{Cpu, Fallible, Fault, RSP, SS, Segment, Width};
use crate::mmu::Want;

impl Cpu {
    /// The stack pointer, cut to the stack's size.
    #[inline(always)]
    pub fn stack_pointer(&self) -> u64 {
        self.regs[RSP] & self.stack_mask
    }

    /// Sets the stack pointer; a 16-bit stack leaves the upper part of ESP alone.
    #[inline(always)]
    pub fn set_stack_pointer(&mut self, value: u64) {
        self.regs[RSP] = if self.stack_mask == 0xffff {
            self.regs[RSP] & !0xffff | value & 0xffff
        } else {
            value & self.stack_mask
        };
    }

    /// Pushes a value.
    ///
    /// # Errors
    /// As for the write; the stack pointer stays then.
    #[inline(always)]
    pub fn push<W: Width>(&mut self, value: W) -> Fallible {
        let pointer = self.stack_pointer().wrapping_sub(W::BYTES) & self.stack_mask;
        self.write::<W>(SS, pointer, value)?;
        self.set_stack_pointer(pointer);
        Ok(())
    }

    /// The value `depth` bytes above the stack pointer, without popping it.
    ///
    /// # Errors
    /// As for the read.
    #[inline(always)]
    pub fn peek<W: Width>(&mut self, depth: u64) -> Fallible<W> {
        let pointer = self.stack_pointer().wrapping_add(depth) & self.stack_mask;
        self.read::<W>(SS, pointer)
    }

    /// Pops a value.
    ///
    /// # Errors
    /// As for the read; the stack pointer stays then.
    #[inline(always)]
    pub fn pop<W: Width>(&mut self) -> Fallible<W> {
        let value = self.peek::<W>(0)?;
        self.drop_stack(W::BYTES);
        Ok(value)
    }

    /// Moves the stack pointer up.
    #[inline(always)]
    pub fn drop_stack(&mut self, bytes: u64) {
        self.set_stack_pointer(self.stack_pointer().wrapping_add(bytes));
    }

    /// Reads a value of 2, 4 or 8 bytes at `depth`.
    ///
    /// # Errors
    /// As for the read.
    pub fn peek_sized(&mut self, size: u64, depth: u64) -> Fallible<u64> {
        match size {
            2 => self.peek::<u16>(depth).map(u64::from),
            4 => self.peek::<u32>(depth).map(u64::from),
            _ => self.peek::<u64>(depth),
        }
    }
}

/// A stack that is being filled before SS:RSP point to it (privilege changes, task switches): pushes check
/// and write, and nothing of the processor changes.
#[derive(Clone, Copy, Debug)]
pub struct NewStack {
    /// SS as it will be.
    pub segment: Segment,
    /// RSP as it will be.
    pub pointer: u64,
    /// Bits of the stack pointer that count.
    pub mask: u64,
    /// Bits of a linear address that count.
    pub linear_mask: u64,
    /// Error code of a limit violation.
    pub error: u16,
    /// Privilege level of the accesses.
    pub cpl: u8,
}

impl NewStack {
    /// Where the next push of `size` bytes goes: its offset and its linear address.
    fn slot(&self, cpu: &Cpu, size: u64) -> Fallible<(u64, u64)> {
        let pointer = self.pointer.wrapping_sub(size) & self.mask;
        let (first, last) = self.segment.write;
        if pointer < first || pointer.wrapping_add(size - 1) > last {
            return Err(Fault::ss(self.error));
        }
        let linear = self.segment.base.wrapping_add(pointer) & self.linear_mask;
        if self.linear_mask == u64::MAX && !cpu.canonical(linear) {
            return Err(Fault::ss(self.error));
        }
        Ok((pointer, linear))
    }

    fn move_to(&mut self, pointer: u64) {
        self.pointer = self.pointer & !self.mask | pointer;
    }

    /// Checks that there is room for `count` values of `size` bytes: far transfers do so before they look at their
    /// target, and write nothing where either does not fit.
    ///
    /// # Errors
    /// #SS for the limit or a non-canonical address.
    pub fn room(mut self, cpu: &Cpu, size: u64, count: u64) -> Fallible {
        for _ in 0..count {
            let (pointer, _) = self.slot(cpu, size)?;
            self.move_to(pointer);
        }
        Ok(())
    }

    /// Pushes `size` bytes (2, 4 or 8) of `value`.
    ///
    /// # Errors
    /// #SS for the limit or a non-canonical address, #PF.
    pub fn push(&mut self, cpu: &mut Cpu, size: u64, value: u64) -> Fallible {
        let (pointer, linear) = self.slot(cpu, size)?;
        let saved = std::mem::replace(&mut cpu.cpl, self.cpl);
        let done = cpu.write_as_current(linear, self.linear_mask, size, value);
        cpu.cpl = saved;
        done?;
        self.move_to(pointer);
        Ok(())
    }
}

impl Cpu {
    /// Writes 1 to 8 bytes at a linear address with the rights of the current privilege level. `mask` is that of the
    /// new stack: from compatibility mode it may lie above 4 GiB.
    fn write_as_current(&mut self, linear: u64, mask: u64, size: u64, value: u64) -> Fallible {
        let context = self.translation_context(self.cpl == 3, false);
        if matches!(size, 4 | 8)
            && let Some(host) = self.host_within(self.tlb.write(context, linear), linear, size)
        {
            match size {
                4 => self.ram.store(host, value as u32),
                _ => self.ram.store(host, value),
            }
            return Ok(());
        }
        let last = linear.wrapping_add(size - 1) & mask;
        let low = self.translate(linear, Want::Write)?;
        self.note_data(linear, size, true);
        if (linear ^ last) & !0xfff == 0 {
            self.note_watched(linear, low, size, true);
            self.write_within(linear, low, size, value);
            self.fill(context, linear, low);
            return Ok(());
        }
        let high = self.translate(last & !0xfff, Want::Write)?;
        let room = 0x1000 - linear % 0x1000;
        self.note_watched(linear, low, room, true);
        self.note_watched(last & !0xfff, high, size - room, true);
        self.write_bytes_physical(linear, low, room, value);
        self.write_bytes_physical(last & !0xfff, high, size - room, value >> (8 * room));
        Ok(())
    }
}
