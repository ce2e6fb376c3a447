//! A look at guest memory by linear address from outside, for whoever watches the machine: no rights are checked, no
//! accessed bit is set, no chip notices.
//! SDM 3A, chapter "Paging".

use crate::cpu::Cpu;
use crate::cpu::control::{CR0_PG, CR4_LA57, CR4_PAE, CR4_PSE, EFER_LMA};
use crate::mem::PAGE_SIZE;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

impl Cpu {
    /// The physical address, behind the A20 gate, that a linear address means now; `None` where nothing is mapped.
    pub fn peek_physical(&self, linear: u64) -> Option<u64> {
        let physical = if self.cr0 & CR0_PG == 0 {
            linear & 0xffff_ffff
        } else if self.efer & EFER_LMA != 0 {
            let top = if self.cr4 & CR4_LA57 != 0 { 48 } else { 39 };
            self.peek_wide(linear, self.cr3 & ADDRESS, top)?
        } else if self.cr4 & CR4_PAE != 0 {
            let pdpte = self.pdptes[(linear >> 30 & 3) as usize];
            if pdpte & PRESENT == 0 {
                return None;
            }
            self.peek_wide(linear, pdpte & ADDRESS, 21)?
        } else {
            self.peek_narrow(linear)?
        };
        Some(self.system().mem.gate_a20(physical))
    }

    fn peek_wide(&self, linear: u64, mut table: u64, top: u32) -> Option<u64> {
        let mut shift = top;
        loop {
            let entry = self.peek_entry(table + (linear >> shift & 511) * 8, 8)?;
            if entry & PRESENT == 0 {
                return None;
            }
            if shift == 12 || entry & LARGE != 0 && shift <= 30 {
                let mask = (1u64 << shift) - 1;
                return Some(entry & ADDRESS & !mask | linear & mask);
            }
            table = entry & ADDRESS;
            shift -= 9;
        }
    }

    fn peek_narrow(&self, linear: u64) -> Option<u64> {
        let pde = self.peek_entry((self.cr3 & 0xffff_f000) + (linear >> 22 & 0x3ff) * 4, 4)?;
        if pde & PRESENT == 0 {
            return None;
        }
        if pde & LARGE != 0 && self.cr4 & CR4_PSE != 0 {
            return Some((pde >> 13 & 0xff) << 32 | pde & 0xffc0_0000 | linear & 0x003f_ffff);
        }
        let pte = self.peek_entry((pde & 0xffff_f000) + (linear >> 12 & 0x3ff) * 4, 4)?;
        (pte & PRESENT != 0).then_some(pte & 0xffff_f000 | linear & 0xfff)
    }

    fn peek_entry(&self, address: u64, size: usize) -> Option<u64> {
        let mem = &self.system().mem;
        let mut bytes = [0; 8];
        self.peek_frame(mem.gate_a20(address), &mut bytes[..size])?;
        Some(u64::from_le_bytes(bytes))
    }

    /// Reads within one page of RAM or ROM as the processor sees it.
    fn peek_frame(&self, physical: u64, out: &mut [u8]) -> Option<()> {
        let mem = &self.system().mem;
        let frame = mem.code_page(physical).read_frame()?;
        mem.ram().read_slice(mem.host_of(frame) + (physical % PAGE_SIZE) as usize, out);
        Some(())
    }

    /// Reads memory by linear address; returns how many bytes lie in RAM or ROM that is mapped, from the first on.
    pub fn peek_linear(&self, linear: u64, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let at = linear.wrapping_add(done as u64);
            let room = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(out.len() - done);
            let piece = &mut out[done..done + room];
            if self.peek_physical(at).and_then(|physical| self.peek_frame(physical, piece)).is_none() {
                break;
            }
            done += room;
        }
        done
    }
}
