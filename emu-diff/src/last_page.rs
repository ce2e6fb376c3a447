//! Looks at memory of a machine by linear address, once an instruction: where the last page lies is remembered, so that
//! the page tables are walked only for another one.

use emu_core::cpu::Cpu;
use emu_core::mem::PAGE_SIZE;
use emu_core::mmu::look::read_physical;

/// By what a page is known again: its linear address, the control registers, and what counts invalidations.
type Key = (u64, [u64; 4], (u64, u64));

/// The page that was looked at last. As in the processor's own cache, it stays until its translation is invalidated.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastPage {
    key: Key,
    /// Physical address; `None` before the first look.
    physical: Option<u64>,
}

impl LastPage {
    /// Reads memory at a linear address; returns how many bytes lie in RAM or ROM that is mapped, from the first on.
    pub fn read(&mut self, cpu: &Cpu, linear: u64, out: &mut [u8]) -> usize {
        let offset = linear % PAGE_SIZE;
        if offset + out.len() as u64 > PAGE_SIZE {
            return cpu.peek_linear(linear, out);
        }
        let key = (linear - offset, [cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer], cpu.tlb.losses());
        if self.physical.is_none() || self.key != key {
            (self.key, self.physical) = (key, cpu.peek_physical(linear - offset));
        }
        let Some(page) = self.physical else { return 0 };
        read_physical(&cpu.system().mem, page + offset, out)
    }
}
