//! Guest-physical addresses: EPT. SDM 3C, "The Extended Page Table Mechanism (EPT)".

use emu_core::vmx::exit::reason;
use emu_core::vmx::fields as f;
use iced_x86::code_asm::*;

use super::monitor::*;
use crate::lab::*;

/// A page of the guest.
const PAGE: u64 = 0x5_0000;
/// A page that the guest does not see under this address.
const OTHER: u64 = 0x5_8000;
const READ: u64 = 1;
const WRITE: u64 = 2;
const FETCH: u64 = 4;
const FINAL: u64 = 3 << 7;

#[test]
fn guest_physical_pages_lie_where_ept_says() {
    let mut monitor = Monitor::new(1);
    monitor.identity_ept();
    let entry = monitor.ept_entry(PAGE);
    monitor.lab.write(entry, 8, OTHER | 0x37);
    monitor.lab.write(OTHER + 8, 4, 0x1234);
    monitor.run(code!(a: mov(ebp, dword_ptr(PAGE + 8)); mov(dword_ptr(PAGE + 16), ebp); cpuid()));
    assert_eq!((monitor.reg(emu_core::cpu::RBP), monitor.lab.read(OTHER + 16, 4)), (0x1234, 0x1234));
    assert_eq!(monitor.lab.read(PAGE + 16, 4), 0);
}

#[test]
fn accesses_without_rights_are_violations_that_say_which() {
    type Make = fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>;
    let read: Make = |a| a.mov(eax, dword_ptr(PAGE + 8));
    let write: Make = |a| a.mov(dword_ptr(PAGE + 8), eax);
    let fetch: Make = |a| a.jmp(PAGE + 8);
    for (rights, make, wanted) in [
        (0, read, READ),
        (0, write, WRITE),
        (1, write, WRITE),
        (1, fetch, FETCH),
        (3, fetch, FETCH),
        (4, read, READ),
        (5, write, WRITE),
    ] {
        let mut monitor = Monitor::new(1);
        monitor.identity_ept();
        let entry = monitor.ept_entry(PAGE);
        monitor.lab.write(entry, 8, PAGE | 0x30 | rights);
        let seen = monitor.run(make);
        assert_eq!(seen[0].reason, u64::from(reason::EPT_VIOLATION), "{rights}");
        assert_eq!(seen[0].qualification, wanted | rights << 3 | FINAL, "{rights}");
        assert_eq!((seen[0].linear, seen[0].physical), (PAGE + 8, PAGE + 8));
        let rip = if wanted == FETCH { PAGE + 8 } else { GUEST };
        assert_eq!(seen[0].rip, rip);
    }
}

#[test]
fn the_guests_page_tables_are_guest_physical_too() {
    let mut monitor = Monitor::new(1);
    monitor.identity_ept();
    let table = TABLES + 0x3000;
    let entry = monitor.ept_entry(table);
    monitor.lab.write(entry, 8, 0);
    let seen = monitor.run(code!(a: nop()));
    assert_eq!((seen[0].reason, seen[0].qualification), (reason::EPT_VIOLATION.into(), READ | 1 << 7));
    assert_eq!((seen[0].linear, seen[0].physical), (GUEST, table + 8 * (GUEST >> 12)));
}

#[test]
fn entries_that_cannot_be_are_misconfigurations() {
    for entry in [PAGE | 0x32, PAGE | 0x36, PAGE | 2 << 3 | 7, PAGE | 7 << 3 | 7, 1 << 50 | 0x37] {
        let mut monitor = Monitor::new(1);
        monitor.identity_ept();
        let at = monitor.ept_entry(PAGE);
        monitor.lab.write(at, 8, entry);
        let seen = monitor.run(code!(a: mov(eax, dword_ptr(PAGE))));
        let fields = (seen[0].reason, seen[0].physical);
        assert_eq!(fields, (reason::EPT_MISCONFIGURATION.into(), PAGE), "{entry:x}");
    }
}

#[test]
fn accessed_and_dirty_flags_are_set_when_they_are_on() {
    for on in [false, true] {
        let mut monitor = Monitor::new(1);
        monitor.identity_ept();
        if on {
            monitor.set(f::EPTP, PAGES + 0x4000 + 0x5e);
        }
        monitor.run(code!(a: mov(eax, dword_ptr(PAGE)); mov(dword_ptr(PAGE + 0x1000), eax); cpuid()));
        let flags: Vec<u64> = [PAGE, PAGE + 0x1000, PAGE + 0x2000]
            .map(|page| {
                let at = monitor.ept_entry(page);
                monitor.lab.read(at, 8) >> 8 & 3
            })
            .to_vec();
        assert_eq!(flags, if on { [1, 3, 0] } else { [0; 3] });
    }
}

#[test]
fn large_pages_map_2_mib() {
    let mut monitor = Monitor::new(1);
    monitor.identity_ept();
    // The second page of 2 MiB lies where the third one is.
    monitor.lab.write(PAGES + 0x6000 + 8, 8, 0x40_0000 | 1 << 7 | 0x37);
    monitor.lab.write(TABLES + 0x2000 + 8, 8, 0x20_0000 | pte::PS | pte::P | pte::W);
    monitor.lab.write(0x41_2340, 4, 77);
    monitor.run(code!(a: mov(ebp, dword_ptr(0x21_2340)); cpuid()));
    assert_eq!(monitor.reg(emu_core::cpu::RBP), 77);
}
