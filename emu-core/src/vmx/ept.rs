//! Guest-physical addresses: the walk of EPT paging structures, and what it refuses. SDM 3C, "The Extended Page Table
//! Mechanism (EPT)".
//!
//! The translation cache holds linear addresses together with what both kinds of tables say of them, and is emptied at
//! VM entries, VM exits, INVEPT and INVVPID.

use super::capability::secondary;
use super::exit::{Exit, reason};
use crate::cpu::{Cpu, Fallible};
use crate::mem::Memory;
use crate::mmu::{Want, look};

const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const EXECUTE: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const ACCESSED: u64 = 1 << 8;
const DIRTY: u64 = 1 << 9;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// In the EPT pointer: accessed and dirty flags are on.
const POINTER_FLAGS: u64 = 1 << 6;
/// In the exit qualification of an EPT violation: there is a linear address, and the access was the one to its page
/// (not to a paging structure).
const HAS_LINEAR: u64 = 1 << 7;
const FINAL: u64 = 1 << 8;
const NMI_UNBLOCKED: u64 = 1 << 12;

/// An access to guest-physical memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuestAccess {
    /// What for.
    pub want: Want,
    /// The linear address, if it is about one.
    pub linear: Option<u64>,
    /// The access itself, not one to the guest's paging structures.
    pub last: bool,
}

/// Where a guest-physical address is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuestPage {
    /// Physical address.
    pub physical: u64,
    /// Writes may go ahead too.
    pub writable: bool,
}

impl Cpu {
    /// Are addresses that paging yields guest-physical ones?
    #[inline]
    pub(crate) fn uses_ept(&self) -> bool {
        self.vmx.non_root && self.vmx.controls.secondary(secondary::EPT)
    }

    /// Is the value good for an EPT pointer?
    pub(super) fn eptp_valid(&self, eptp: u64) -> bool {
        let (memory_type, levels) = (eptp & 7, eptp >> 3 & 7);
        matches!(memory_type, 0 | 6)
            && levels == 3
            && eptp & 0xf80 == 0
            && eptp >> self.model.physical_bits == 0
    }

    /// Translates a guest-physical address.
    ///
    /// # Errors
    /// `Fault::VmExit` by EPT violation or EPT misconfiguration.
    #[cold]
    pub(crate) fn guest_physical(&mut self, address: u64, access: GuestAccess) -> Fallible<GuestPage> {
        let eptp = self.vmx.controls.eptp;
        let flags_on = eptp & POINTER_FLAGS != 0;
        // With these flags an access to a paging structure counts as a write.
        let writes = access.want == Want::Write || flags_on && !access.last;
        let needed = match access.want {
            Want::Execute => EXECUTE,
            _ if writes => READ | WRITE,
            _ => READ,
        };
        let mut table = eptp & ADDRESS;
        let mut rights = READ | WRITE | EXECUTE;
        for shift in [39, 30, 21, 12] {
            let place = table + (address >> shift & 511) * 8;
            let entry = self.read_physical(place, 8);
            if entry & 7 == 0 {
                return Err(self.ept_violation(address, access, flags_on, 0));
            }
            let leaf = shift == 12 || entry & LARGE != 0;
            if self.misconfigured(entry, shift, leaf) {
                let exit = Exit { physical: address, ..Exit::of(reason::EPT_MISCONFIGURATION) };
                return Err(self.leave(exit));
            }
            rights &= entry;
            if !leaf {
                if flags_on && entry & ACCESSED == 0 && needed & !rights == 0 {
                    self.write_physical(place, 8, entry | ACCESSED);
                }
                table = entry & ADDRESS;
                continue;
            }
            if needed & !rights & if access.want == Want::Execute { EXECUTE } else { READ | WRITE } != 0 {
                return Err(self.ept_violation(address, access, flags_on, rights & 7));
            }
            let marks = if !flags_on {
                0
            } else if writes {
                ACCESSED | DIRTY
            } else {
                ACCESSED
            };
            if entry & marks != marks {
                self.write_physical(place, 8, entry | marks);
            }
            let mask = (1u64 << shift) - 1;
            let dirty = !flags_on || (entry | marks) & DIRTY != 0;
            return Ok(GuestPage {
                physical: entry & ADDRESS & !mask | address & mask,
                writable: rights & WRITE != 0 && dirty,
            });
        }
        unreachable!("the last level is a leaf")
    }

    /// Where a guest-physical address is, without any effect; `None` where EPT has no page.
    pub(crate) fn peek_guest_physical(&self, mem: &Memory, address: u64) -> Option<u64> {
        if !self.uses_ept() {
            return Some(address);
        }
        let mut table = self.vmx.controls.eptp & ADDRESS;
        for shift in [39, 30, 21, 12] {
            let entry = look::read_entry(mem, table + (address >> shift & 511) * 8, 8);
            if entry & 7 == 0 {
                return None;
            }
            if shift == 12 || entry & LARGE != 0 {
                let mask = (1u64 << shift) - 1;
                return Some(entry & ADDRESS & !mask | address & mask);
            }
            table = entry & ADDRESS;
        }
        None
    }

    /// SDM 3C, "EPT Misconfigurations".
    fn misconfigured(&self, entry: u64, shift: u32, leaf: bool) -> bool {
        let write_only = matches!(entry & 7, WRITE | 6);
        let beyond = entry & ADDRESS & !((1 << self.model.physical_bits) - 1) != 0;
        let reserved = match (shift, leaf) {
            (39, _) => entry & 0xf8,
            (_, false) => entry & 0x78,
            (_, true) => entry & ADDRESS & ((1 << shift) - 1),
        };
        let memory_type = leaf && matches!(entry >> 3 & 7, 2 | 3 | 7);
        write_only || beyond || reserved != 0 || memory_type
    }

    fn ept_violation(
        &mut self,
        address: u64,
        access: GuestAccess,
        flags_on: bool,
        rights: u64,
    ) -> crate::cpu::Fault {
        let wanted = match access.want {
            Want::Read if flags_on && !access.last => READ | WRITE,
            Want::Read => READ,
            Want::Write if access.last => WRITE,
            Want::Write => READ | WRITE,
            Want::Execute => EXECUTE,
        };
        let linear = match (access.linear, access.last) {
            (None, _) => 0,
            (Some(_), false) => HAS_LINEAR,
            (Some(_), true) => HAS_LINEAR | FINAL,
        };
        let unblocked = self.vmx.vectored.is_none() && self.nmi_unblocked_bit() != 0;
        let unblocked = if unblocked { NMI_UNBLOCKED } else { 0 };
        self.leave(Exit {
            qualification: wanted | rights << 3 | linear | unblocked,
            linear: access.linear.unwrap_or(0),
            physical: address,
            ..Exit::of(reason::EPT_VIOLATION)
        })
    }
}
