//! The page walk in all four forms: 32-bit (with PSE and PSE-36), PAE, 4-level and 5-level.
//! SDM 3A, chapter "Paging": "32-Bit Paging", "PAE Paging", "4-Level Paging and 5-Level Paging",
//! "Determination of Access Rights", "Protection Keys", "Page-Fault Exceptions".

use super::Want;
use super::tlb::{Context, Found};
use crate::cpu::control::{
    CR0_PG, CR0_WP, CR4_LA57, CR4_PAE, CR4_PGE, CR4_PKE, CR4_PKS, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_LMA,
    EFER_NXE,
};
use crate::cpu::model::Feature;
use crate::cpu::{Cpu, Fallible, Fault, eflags};
use crate::mem::Memory;
use crate::vmx::ept::GuestAccess;

/// Present.
const P: u64 = 1 << 0;
/// Read/write.
const RW: u64 = 1 << 1;
/// User/supervisor.
const US: u64 = 1 << 2;
/// Accessed.
const A: u64 = 1 << 5;
/// Dirty.
const D: u64 = 1 << 6;
/// Page size: this entry maps a large page.
const PS: u64 = 1 << 7;
/// Global: the translation outlives loads of CR3.
const G: u64 = 1 << 8;
/// Execute-disable.
const XD: u64 = 1 << 63;

/// Bits of a #PF error code (SDM 3A, "Page-Fault Exceptions").
pub mod error {
    /// The fault was a violation of rights, not a page that is not present.
    pub const PRESENT: u16 = 1 << 0;
    /// The access was a write.
    pub const WRITE: u16 = 1 << 1;
    /// The access came from user mode.
    pub const USER: u16 = 1 << 2;
    /// A reserved bit was set in an entry.
    pub const RESERVED: u16 = 1 << 3;
    /// The access was an instruction fetch (reported with NX or SMEP only).
    pub const FETCH: u16 = 1 << 4;
    /// The page's protection key forbade the access.
    pub const KEY: u16 = 1 << 5;
}

/// Why a walk found no page.
enum Refused {
    /// #PF with this error code.
    Page(u16),
    /// A fault of another kind, or a VM exit: it is about a guest-physical address.
    Other(Fault),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Other(fault)
    }
}

/// A paging-structure entry.
#[derive(Clone, Copy)]
struct Table {
    /// Its address as the walk has it.
    guest: u64,
    /// Its physical address.
    physical: u64,
    linear: u64,
}

/// The rules for one walk: what is wanted, by whom, under which control bits.
#[derive(Clone, Copy)]
struct Rules {
    want: Want,
    user: bool,
    /// AC overrides SMAP (explicit supervisor accesses only).
    smap_lifted: bool,
    write_protect: bool,
    nx: bool,
    smep: bool,
    smap: bool,
    /// PKRU, or 0 (everything permitted) while protection keys are off.
    pkru: u32,
    /// IA32_PKRS, the same for supervisor pages.
    pkrs: u32,
    /// Physical-address bits above the supported width must be zero.
    reserved_address: u64,
}

impl Rules {
    fn error_code(&self, present: bool, reserved: bool) -> u16 {
        let bit = |on: bool, bit: u16| if on { bit } else { 0 };
        bit(present, error::PRESENT)
            | bit(self.want == Want::Write, error::WRITE)
            | bit(self.user, error::USER)
            | bit(reserved, error::RESERVED)
            | bit(self.want == Want::Execute && (self.nx || self.smep), error::FETCH)
    }

    fn refuse(&self, present: bool, reserved: bool) -> Refused {
        Refused::Page(self.error_code(present, reserved))
    }

    /// Does the protection key of a page (bits 62:59 of the entry that maps it) forbid this data access? SDM 3A,
    /// "Protection Keys".
    fn key_forbids(&self, user_page: bool, entry: u64) -> bool {
        let keys = match (user_page, self.user) {
            (true, _) => self.pkru,
            (false, false) => self.pkrs,
            (false, true) => 0,
        };
        if keys == 0 || self.want == Want::Execute {
            return false;
        }
        let rights = keys >> (protection_key(entry) * 2);
        let (access_disable, write_disable) = (rights & 1 != 0, rights & 2 != 0);
        access_disable || write_disable && self.want == Want::Write && (self.user || self.write_protect)
    }

    /// May a page with these combined rights be accessed? `user_page`, `writable`, `no_execute` are the
    /// rights of all levels together.
    fn permit(&self, user_page: bool, writable: bool, no_execute: bool) -> bool {
        if self.user {
            return user_page
                && match self.want {
                    Want::Read => true,
                    Want::Write => writable,
                    Want::Execute => !no_execute,
                };
        }
        if self.want == Want::Execute {
            let prevented = user_page && self.smep;
            return !no_execute && !prevented;
        }
        if user_page && self.smap && !self.smap_lifted {
            return false;
        }
        self.want == Want::Read || writable || !self.write_protect
    }
}

/// Protection key of the page that an entry maps.
fn protection_key(entry: u64) -> u64 {
    entry >> 59 & 15
}

/// One level of a walk.
#[derive(Clone, Copy)]
struct Level {
    /// Lowest linear-address bit of the index.
    shift: u32,
    /// Bits of index.
    index_bits: u32,
    /// An entry with PS set maps a page at this level.
    large: bool,
}

const fn level(shift: u32, index_bits: u32, large: bool) -> Level {
    Level { shift, index_bits, large }
}

const LONG: [Level; 5] =
    [level(48, 9, false), level(39, 9, false), level(30, 9, true), level(21, 9, true), level(12, 9, false)];

impl Cpu {
    fn rules(&self, want: Want, user: bool, implicit: bool) -> Rules {
        let keys = |bit, rights| if self.cr4 & bit != 0 && self.efer & EFER_LMA != 0 { rights } else { 0 };
        Rules {
            want,
            user,
            smap_lifted: !implicit && self.flags.system() & eflags::AC != 0,
            write_protect: self.cr0 & CR0_WP != 0,
            nx: self.efer & EFER_NXE != 0,
            smep: self.cr4 & CR4_SMEP != 0,
            smap: self.cr4 & CR4_SMAP != 0,
            pkru: keys(CR4_PKE, self.pkru),
            pkrs: keys(CR4_PKS, self.msrs.pkrs),
            reserved_address: self.reserved_address_bits(),
        }
    }

    /// Physical-address bits that an entry must leave zero.
    pub fn reserved_address_bits(&self) -> u64 {
        0x000f_ffff_ffff_ffff & !((1 << self.model.physical_bits) - 1)
    }

    /// Translates a linear address for an access of the current privilege level, setting accessed and dirty
    /// bits on the way. Returns the physical address, not yet through the A20 gate.
    ///
    /// # Errors
    /// #PF; the address stands in `fault_address`.
    #[inline]
    pub fn translate(&mut self, linear: u64, want: Want) -> Fallible<u64> {
        self.translate_as(linear, want, self.cpl == 3, false)
    }

    /// Translates for an access that the processor makes on its own account (descriptor tables, TSS): always
    /// supervisor, and SMAP cannot be lifted.
    ///
    /// # Errors
    /// #PF; the address stands in `fault_address`.
    #[inline]
    pub fn translate_system(&mut self, linear: u64, want: Want) -> Fallible<u64> {
        self.translate_as(linear, want, false, true)
    }

    /// Permissions that translations of these accesses are kept under.
    pub(crate) fn translation_context(&self, user: bool, implicit: bool) -> Context {
        let lifted = !implicit && self.flags.system() & eflags::AC != 0;
        match user {
            true => Context::User,
            false if self.cr4 & CR4_SMAP != 0 && !lifted => Context::SupervisorSmap,
            false => Context::Supervisor,
        }
    }

    #[inline]
    fn translate_as(&mut self, linear: u64, want: Want, user: bool, implicit: bool) -> Fallible<u64> {
        let context = self.translation_context(user, implicit);
        let known = match want {
            Want::Execute => self.tlb.fetches(user).find(linear),
            _ => self.tlb.find(context, linear, want == Want::Write),
        };
        match known {
            Some(physical) => Ok(physical),
            None => self.walk(linear, want, context, implicit),
        }
    }

    /// Walks the page tables, and remembers what was found there.
    #[cold]
    #[inline(never)]
    fn walk(&mut self, linear: u64, want: Want, context: Context, implicit: bool) -> Fallible<u64> {
        let user = context == Context::User;
        let rules = self.rules(want, user, implicit);
        let walked = if self.cr0 & CR0_PG == 0 {
            let physical = linear & 0xffff_ffff;
            self.settle_page(linear, want, Found { physical, writable: true, global: false, shift: 12 })
        } else if self.efer & EFER_LMA != 0 {
            let first = if self.cr4 & CR4_LA57 != 0 { 0 } else { 1 };
            self.walk_wide(linear, &LONG[first..], self.cr3 & 0x000f_ffff_ffff_f000, rules, !0)
        } else if self.cr4 & CR4_PAE != 0 {
            self.walk_pae(linear, rules)
        } else {
            self.walk_32(linear, rules)
        };
        match walked {
            Ok(found) => {
                if want != Want::Execute {
                    self.tlb.insert(context, linear, found);
                } else if self.tlb.insert_fetch(user, linear, found) {
                    self.fetch_generation += 1;
                }
                Ok(found.physical)
            }
            Err(Refused::Other(fault)) => Err(fault),
            Err(Refused::Page(code)) => {
                self.fault_address = linear;
                // SDM 3A, "Operations that Invalidate TLBs and Paging-Structure Caches": so does a page fault.
                self.tlb.flush_page(linear);
                self.fetch_generation += 1;
                Err(Fault::pf(code))
            }
        }
    }

    fn walk_pae(&mut self, linear: u64, rules: Rules) -> Result<Found, Refused> {
        // The four PDPTEs were loaded into the processor with CR3.
        let pdpte = self.pdptes[(linear >> 30 & 3) as usize];
        if pdpte & P == 0 {
            return Err(rules.refuse(false, false));
        }
        self.walk_wide(linear, &LONG[3..], pdpte & 0x000f_ffff_ffff_f000, rules, !(0x7ff << 52))
    }

    /// Walks tables of 8-byte entries. `allowed`: bits 62:52 are reserved in PAE paging.
    fn walk_wide(
        &mut self,
        linear: u64,
        levels: &[Level],
        root: u64,
        rules: Rules,
        allowed: u64,
    ) -> Result<Found, Refused> {
        let reserved = rules.reserved_address | !(allowed | XD) | if rules.nx { 0 } else { XD };
        let (mut table, mut user, mut writable, mut no_execute) = (root, true, true, false);
        let none = Table { guest: 0, physical: 0, linear };
        let mut upper: [(Table, u64); 5] = [(none, 0); 5];
        for (depth, level) in levels.iter().enumerate() {
            let index = linear >> level.shift & ((1 << level.index_bits) - 1);
            let place = self.table_at(table + index * 8, linear)?;
            let entry = self.read_entry(place.physical, 8);
            if entry & P == 0 {
                return Err(rules.refuse(false, false));
            }
            let last = level.shift == 12;
            let large = entry & PS != 0 && !last;
            let may_be_large = level.large && (level.shift != 30 || self.model.has(Feature::Pdpe1gb));
            let alignment = if large && may_be_large { ((1u64 << level.shift) - 1) & !0x1fff } else { 0 };
            if entry & (reserved | alignment) != 0 || large && !may_be_large {
                return Err(rules.refuse(true, true));
            }
            user &= entry & US != 0;
            writable &= entry & RW != 0;
            no_execute |= rules.nx && entry & XD != 0;
            if last || large {
                let key_forbids = rules.key_forbids(user, entry);
                if key_forbids || !rules.permit(user, writable, no_execute) {
                    let key = if key_forbids { error::KEY } else { 0 };
                    return Err(Refused::Page(rules.error_code(true, false) | key));
                }
                for &(place, entry) in &upper[..depth] {
                    self.set_entry_bits(place, entry, A, 8)?;
                }
                let dirty = if rules.want == Want::Write { D } else { 0 };
                self.set_entry_bits(place, entry, A | dirty, 8)?;
                if rules.want != Want::Execute {
                    self.tlb.note_key(user, protection_key(entry));
                }
                let mask = (1u64 << level.shift) - 1;
                let physical = entry & 0x000f_ffff_ffff_f000 & !mask | linear & mask;
                let write = Rules { want: Want::Write, ..rules };
                let may_write = write.permit(user, writable, no_execute) && !write.key_forbids(user, entry);
                let found = Found {
                    physical,
                    writable: may_write && (entry | dirty) & D != 0,
                    global: entry & G != 0 && self.cr4 & CR4_PGE != 0,
                    shift: level.shift,
                };
                return self.settle_page(linear, rules.want, found);
            }
            upper[depth] = (place, entry);
            table = entry & 0x000f_ffff_ffff_f000;
        }
        unreachable!("the last level maps a page")
    }

    /// Two levels of 4-byte entries; PDEs can map 4 MiB with 40-bit physical addresses (PSE-36).
    fn walk_32(&mut self, linear: u64, rules: Rules) -> Result<Found, Refused> {
        let rules = Rules { nx: false, ..rules };
        let pde_place = self.table_at((self.cr3 & 0xffff_f000) + (linear >> 22 & 0x3ff) * 4, linear)?;
        let pde = self.read_entry(pde_place.physical, 4);
        if pde & P == 0 {
            return Err(rules.refuse(false, false));
        }
        let large = pde & PS != 0 && self.cr4 & CR4_PSE != 0;
        if large {
            // With PSE-36 bits 20:13 are address bits 39:32, else they are reserved, as bit 21 always is.
            let high = pde >> 13 & 0xff;
            let narrow = high != 0 && !self.model.has(Feature::Pse36);
            if pde & 1 << 21 != 0 || narrow || high << 32 & rules.reserved_address != 0 {
                return Err(rules.refuse(true, true));
            }
            let physical = high << 32 | pde & 0xffc0_0000 | linear & 0x003f_ffff;
            let found = self.finish_32(rules, pde, pde_place, pde, physical)?;
            return self.settle_page(linear, rules.want, Found { shift: 22, ..found });
        }
        let pte_place = self.table_at((pde & 0xffff_f000) + (linear >> 12 & 0x3ff) * 4, linear)?;
        let pte = self.read_entry(pte_place.physical, 4);
        if pte & P == 0 {
            return Err(rules.refuse(false, false));
        }
        let physical = pte & 0xffff_f000 | linear & 0xfff;
        let found = self.finish_32(rules, pde & pte, pte_place, pte, physical)?;
        self.set_entry_bits(pde_place, pde, A, 4)?;
        self.settle_page(linear, rules.want, found)
    }

    fn finish_32(
        &mut self,
        rules: Rules,
        rights: u64,
        place: Table,
        entry: u64,
        physical: u64,
    ) -> Result<Found, Refused> {
        let (user, writable) = (rights & US != 0, rights & RW != 0);
        if !rules.permit(user, writable, false) {
            return Err(rules.refuse(true, false));
        }
        let dirty = if rules.want == Want::Write { D } else { 0 };
        self.set_entry_bits(place, entry, A | dirty, 4)?;
        let may_write = Rules { want: Want::Write, ..rules }.permit(user, writable, false);
        Ok(Found {
            physical,
            writable: may_write && (entry | dirty) & D != 0,
            global: entry & G != 0 && self.cr4 & CR4_PGE != 0,
            shift: 12,
        })
    }

    /// Loads PKRU.
    pub fn load_pkru(&mut self, rights: u32) {
        self.forget_keys(true, self.pkru ^ rights);
        self.pkru = rights;
    }

    /// Loads IA32_PKRS.
    pub fn load_pkrs(&mut self, rights: u32) {
        self.forget_keys(false, self.msrs.pkrs ^ rights);
        self.msrs.pkrs = rights;
    }

    /// Forgets what is known of pages (user pages, if `user`) whose keys' rights change: a real processor looks at
    /// them in each access. Systems turn off keys that no page has whenever they switch tasks, so what others have is
    /// kept.
    fn forget_keys(&mut self, user: bool, changed: u32) {
        let keys = (0..16).filter(|key| changed >> (2 * key) & 3 != 0).fold(0, |keys, key| keys | 1 << key);
        if self.tlb.has_keys(user, keys) {
            self.flush_data();
        }
    }

    fn read_entry(&mut self, address: u64, size: usize) -> u64 {
        let mem = &self.system().mem;
        let address = mem.gate_a20(address);
        read_table(mem, address, size)
    }

    /// The entry at an address that paging yields: under EPT that is a guest-physical one.
    fn table_at(&mut self, guest: u64, linear: u64) -> Result<Table, Refused> {
        let physical = if self.uses_ept() {
            let access = GuestAccess { want: Want::Read, linear: Some(linear), last: false };
            self.guest_physical(guest, access)?.physical
        } else {
            guest
        };
        Ok(Table { guest, physical, linear })
    }

    /// The page itself, which under EPT is a guest-physical one.
    fn settle_page(&mut self, linear: u64, want: Want, found: Found) -> Result<Found, Refused> {
        if !self.uses_ept() {
            return Ok(found);
        }
        let access = GuestAccess { want, linear: Some(linear), last: true };
        let page = self.guest_physical(found.physical, access)?;
        Ok(Found { physical: page.physical, writable: found.writable && page.writable, ..found })
    }

    fn set_entry_bits(&mut self, place: Table, entry: u64, bits: u64, size: usize) -> Result<(), Refused> {
        if entry & bits != bits {
            let address = if self.uses_ept() {
                let access = GuestAccess { want: Want::Write, linear: Some(place.linear), last: false };
                self.guest_physical(place.guest, access)?.physical
            } else {
                place.physical
            };
            let mem = &mut self.system_mut().mem;
            let address = mem.gate_a20(address);
            mem.write_own(address, &(entry | bits).to_le_bytes()[..size]);
            self.note_memory_changes();
        }
        Ok(())
    }

    /// Loads the four PDPTEs for PAE paging (MOV to CR3, and MOV to CR0 or CR4 that turns it on).
    ///
    /// # Errors
    /// #GP(0) when a present one has reserved bits set; nothing is changed then.
    pub fn load_pdptes(&mut self, cr3: u64) -> Fallible {
        let base = cr3 & 0xffff_ffe0;
        let base = if self.uses_ept() {
            let access = GuestAccess { want: Want::Read, linear: None, last: false };
            self.guest_physical(base, access)?.physical
        } else {
            base
        };
        let pdptes = self.read_pdptes_at(base);
        if !pdptes.iter().all(|&pdpte| self.pdpte_valid(pdpte)) {
            return Err(Fault::GP0);
        }
        self.pdptes = pdptes;
        Ok(())
    }

    /// The four PDPTEs that CR3 names, outside of EPT.
    pub(crate) fn read_pdptes(&mut self, cr3: u64) -> [u64; 4] {
        self.read_pdptes_at(cr3 & 0xffff_ffe0)
    }

    fn read_pdptes_at(&mut self, base: u64) -> [u64; 4] {
        std::array::from_fn(|index| self.read_entry(base + index as u64 * 8, 8))
    }

    /// Is it absent, or without reserved bits?
    pub(crate) fn pdpte_valid(&self, pdpte: u64) -> bool {
        let reserved = self.reserved_address_bits() | 0xfff0_0000_0000_01e6;
        pdpte & P == 0 || pdpte & reserved == 0
    }
}

fn read_table(mem: &Memory, address: u64, size: usize) -> u64 {
    match mem.page(address).read_frame() {
        Some(frame) => {
            let host = mem.host_of(frame) + (address & 0xfff) as usize;
            if size == 8 { mem.ram().load::<u64>(host) } else { u64::from(mem.ram().load::<u32>(host)) }
        }
        None => u64::MAX >> (64 - 8 * size),
    }
}
