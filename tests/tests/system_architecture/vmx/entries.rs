//! VM entries that fail, and what they load.

use emu_core::cpu::{CS, RAX, TR};
use emu_core::vmx::exit::reason;
use emu_core::vmx::fields::{self as f, Field};
use iced_x86::code_asm::*;

use super::monitor::*;
use crate::lab::*;

/// In the exit reason: the entry failed.
const FAILED: u64 = 1 << 31;
const ERROR_CONTROLS: u64 = 7;
const ERROR_HOST: u64 = 8;

/// Runs with one field changed, and expects the entry to fail behind VMLAUNCH with this error number.
fn fails(field: Field, value: u64, number: u64) {
    let mut monitor = Monitor::new(1);
    monitor.set(field, value);
    assert!(monitor.run(code!(a: cpuid())).is_empty(), "{:x} = {value:x}", field.0);
    assert!(monitor.lab.machine.cpu().vmx.on && !monitor.lab.machine.cpu().vmx.non_root);
    assert_eq!(monitor.field(f::INSTRUCTION_ERROR), number, "{:x} = {value:x}", field.0);
    assert!(monitor.lab.machine.cpu().vmx.wrong.is_some());
}

#[test]
fn wrong_controls_fail_with_error_7() {
    for (field, value) in [
        (f::PIN_CONTROLS, 0),
        (f::PIN_CONTROLS, 0x16 | 1 << 5), // virtual NMIs without NMI exiting
        (f::PIN_CONTROLS, 0x16 | 1 << 7), // posted interrupts
        (f::PRIMARY_CONTROLS, 0),
        (f::EXIT_CONTROLS, 1 << 9),
        (f::EXIT_CONTROLS, 0x3_6dfb | 1 << 9 | 1 << 22), // saves a timer that is off
        (f::ENTRY_CONTROLS, 0),
        (f::CR3_TARGET_COUNT, 5),
        (f::ENTRY_INTERRUPTION, 1 << 31 | 1 << 8), // reserved type
        (f::ENTRY_INTERRUPTION, 1 << 31 | 2 << 8 | 3), // an NMI with vector 3
        (f::ENTRY_INTERRUPTION, 1 << 31 | 3 << 8 | 13), // #GP without error code
    ] {
        fails(field, value, ERROR_CONTROLS);
    }
}

#[test]
fn a_wrong_host_state_fails_with_error_8() {
    for (field, value) in [
        (f::HOST_CR0, 0x8000_0011),
        (f::HOST_CR3, 1 << 50),
        (f::HOST_CR4, 0x20),
        (f::HOST_SELECTOR, 3),
        (f::HOST_SELECTOR_CS, 0),
        (f::HOST_SELECTOR_TR, 0),
        (f::HOST_RIP, 1 << 62),
        (f::HOST_FS_BASE, 1 << 62),
    ] {
        fails(field, value, ERROR_HOST);
    }
}

#[test]
fn a_guest_that_cannot_be_exits_with_reason_33() {
    for (field, value, qualification) in [
        (f::GUEST_CR0, 0x10, 0),
        (f::GUEST_CR4, 0x20, 0),
        (f::GUEST_RFLAGS, 0, 0),
        (f::GUEST_RIP, 1 << 62, 0),
        (f::GUEST_RIGHTS_CS, 0xc093, 0),
        (f::GUEST_RIGHTS_CS, 0xe09b, 0), // L and D
        (f::GUEST_RIGHTS_SS, 0xc09b, 0),
        (f::GUEST_RIGHTS_TR, 0x89, 0),
        (f::GUEST_RIGHTS_TR, 1 << 16, 0),
        (f::GUEST_LIMIT_CS, 0xffff_fff0, 0),
        (f::GUEST_GDTR_LIMIT, 0x1_0000, 0),
        (f::ACTIVITY, 4, 0),
        (f::INTERRUPTIBILITY, 3, 0),
        (f::INTERRUPTIBILITY, 1, 0), // shadow of STI without IF
        (f::PENDING_DEBUG, 1 << 5, 0),
        (f::LINK_POINTER, 0x1001, 4),
    ] {
        let mut monitor = Monitor::new(1);
        monitor.set(field, value);
        let seen = monitor.run(code!(a: cpuid()));
        let expected = (FAILED | u64::from(reason::INVALID_GUEST), qualification);
        let got = seen.first().map(|exit| (exit.reason, exit.qualification));
        assert_eq!(got, Some(expected), "{:x} = {value:x}", field.0);
        assert_eq!(monitor.lab.read(VMCS + 8, 4), 0, "not launched");
    }
}

#[test]
fn msrs_are_loaded_and_stored_on_the_way() {
    const STAR: u64 = 0xc000_0081;
    const FS_BASE: u64 = 0xc000_0100;
    let mut monitor = Monitor::new(1);
    for count in [f::ENTRY_MSR_LOAD_COUNT, f::EXIT_MSR_STORE_COUNT, f::EXIT_MSR_LOAD_COUNT] {
        monitor.set(count, 1);
    }
    monitor.set(f::ENTRY_MSR_LOAD, PAGES);
    monitor.set(f::EXIT_MSR_STORE, PAGES + 0x100);
    monitor.set(f::EXIT_MSR_LOAD, PAGES + 0x200);
    for (n, value) in [(0, 0x11), (1, 0), (2, 0x33)] {
        monitor.lab.write(PAGES + 0x100 * n, 8, STAR);
        monitor.lab.write(PAGES + 0x100 * n + 8, 8, value);
    }
    monitor.add(f::PRIMARY_CONTROLS, 1 << 28);
    monitor.set(f::MSR_BITMAP, PAGES + 0x1000);
    let seen = monitor.run(|a| {
        a.mov(ecx, STAR as u32)?;
        a.rdmsr()?;
        a.inc(eax)?;
        a.wrmsr()?;
        a.cpuid()
    });
    assert_eq!(seen[0].reason, u64::from(reason::CPUID));
    assert_eq!((monitor.lab.read(PAGES + 0x108, 8), monitor.lab.machine.cpu().msrs.star), (0x12, 0x33));

    // What cannot be loaded fails the entry; the qualification is its number.
    let mut monitor = Monitor::new(1);
    monitor.set(f::ENTRY_MSR_LOAD, PAGES);
    monitor.set(f::ENTRY_MSR_LOAD_COUNT, 2);
    monitor.lab.write(PAGES, 8, STAR);
    monitor.lab.write(PAGES + 16, 8, FS_BASE);
    let seen = monitor.run(code!(a: cpuid()));
    assert_eq!((seen[0].reason, seen[0].qualification), (FAILED | u64::from(reason::MSR_LOADING), 2));
}

#[test]
fn exits_load_the_hosts_segments_and_tables() {
    let mut monitor = Monitor::new(1);
    monitor.set(f::HOST_FS_BASE, 0x1234_5000);
    monitor.set(f::HOST_SELECTOR_DS, 0);
    monitor.run(code!(a: cpuid()));
    let cpu = monitor.lab.machine.cpu();
    let code = &cpu.seg[CS];
    assert_eq!((code.selector, code.base, code.limit, code.rights.0), (CODE64, 0, u32::MAX, 0xa09b));
    assert_eq!((cpu.seg[TR].limit, cpu.seg[TR].rights.0, cpu.seg[TR].base), (0x67, 0x8b, TSS));
    assert!(cpu.seg[emu_core::cpu::DS].rights.unusable());
    assert_eq!(
        (cpu.seg[emu_core::cpu::FS].base, cpu.gdtr.limit, cpu.idtr.limit),
        (0x1234_5000, 0xffff, 0xffff)
    );
    assert_eq!(cpu.dr[7], 0x400);
}

#[test]
fn an_unrestricted_guest_runs_in_real_mode() {
    let mut monitor = Monitor::new(1);
    monitor.without_paging(false);
    monitor.set(f::GUEST_BASE_CS, GUEST & !0xffff);
    monitor.set(f::GUEST_SELECTOR_CS, (GUEST & !0xffff) >> 4);
    monitor.set(f::GUEST_RIP, GUEST & 0xffff);
    let seen = monitor.run(code!(a: mov(ax, 0x1234); cpuid()));
    assert_eq!((seen[0].reason, seen[0].rip), (reason::CPUID.into(), (GUEST & 0xffff) + 3));
    assert_eq!(monitor.reg(RAX) & 0xffff, 0x1234);
}

#[test]
fn a_guest_in_32_bit_mode_of_a_64_bit_host() {
    let mut monitor = Monitor::new(1);
    monitor.without_paging(true);
    // DEC EAX: in 64-bit code it would be a prefix.
    let seen = monitor.run(code!(a: mov(eax, 5); dec(eax); cpuid()));
    assert_eq!((seen[0].reason, seen[0].rip, monitor.reg(RAX)), (reason::CPUID.into(), GUEST + 6, 4));
}
