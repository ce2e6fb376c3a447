//! MONITOR and MWAIT, performance counters, random numbers, cache instructions, and checks on control registers
//! and MSRs. SDM 2A/2B at each; SDM 3B, "Architectural Performance Monitoring".

use emu_core::cpu::{RAX, RBX, RCX, RDX};
use emu_core::machine::Stop;
use iced_x86::code_asm::*;

use crate::lab::*;

#[test]
fn mwait_waits_only_while_the_line_is_untouched() {
    // Nothing else happens on this board, so the wait never ends.
    let mut lab = Lab::long();
    let out = lab.run(code!(a: mov(eax, DATA as u32); xor(ecx, ecx); xor(edx, edx); monitor();
        xor(eax, eax); mwait(); ud2()));
    assert!(matches!(out.stop, Stop::Halted { .. }) && out.vector().is_none());
    // A store between the two, or no MONITOR at all: it goes on at once.
    let out = lab.run(code!(a: mov(eax, DATA as u32); xor(ecx, ecx); xor(edx, edx); monitor();
        mov(byte_ptr(DATA as i32 + 63), 1); mwait(); mov(ebx, 7); hlt()));
    out.done();
    assert_eq!(out.reg(RBX), 7);
    let out = lab.run(code!(a: xor(ecx, ecx); mwait(); mov(ebx, 8); hlt()));
    assert_eq!(out.reg(RBX), 8);
}

#[test]
fn an_interrupt_ends_mwait_and_a_masked_one_when_asked() {
    let wait = |hints: u32, enable: bool| {
        let mut lab = Lab::long();
        let out = lab.run(|a| {
            a.xor(ebx, ebx)?;
            a.mov(eax, DATA as u32)?;
            a.xor(ecx, ecx)?;
            a.xor(edx, edx)?;
            a.monitor()?;
            a.mov(ecx, hints)?;
            a.mov(al, 0x41)?;
            a.out(0x10, al)?;
            if enable {
                a.sti()?;
            }
            a.mwait()?;
            a.inc(ebx)?;
            a.hlt()
        });
        (out.vector(), out.reg(RBX))
    };
    assert_eq!(wait(0, true), (Some(0x41), 0));
    assert_eq!(wait(0, false), (None, 0));
    assert_eq!(wait(1, false), (None, 1));
}

#[test]
fn monitor_and_mwait_check_level_hints_and_address() {
    Lab::long().at_cpl3().run(code!(a: monitor())).fault_at(CODE, vector::UD, None);
    Lab::long().at_cpl3().run(code!(a: mwait())).fault_at(CODE, vector::UD, None);
    Lab::long().run(code!(a: mov(ecx, 1); monitor())).fault_at(CODE + 5, vector::GP, 0);
    Lab::long().run(code!(a: mov(ecx, 2); mwait())).fault_at(CODE + 5, vector::GP, 0);
    let mut lab = Lab::long();
    lab.map(DATA, 0);
    lab.run(code!(a: mov(eax, DATA as u32); xor(ecx, ecx); monitor())).page_fault(0, DATA);
}

const PERFEVTSEL0: u32 = 0x186;
const PMC0: u32 = 0xc1;

#[test]
fn a_counter_counts_retired_instructions_exactly() {
    let mut lab = Lab::long();
    let out = lab.run(code!(a:
        mov(ecx, PERFEVTSEL0); xor(edx, edx); mov(eax, 0x43_00c0); wrmsr();
        xor(ecx, ecx); rdpmc(); mov(ebx, eax); nop(); nop(); nop(); rdpmc(); sub(eax, ebx); hlt()));
    out.done();
    assert_eq!(out.reg(RAX), 5);
    // Writes sign-extend 32 bits to the 48 of a counter.
    let out = lab.run(code!(a:
        mov(ecx, PMC0 + 1); xor(edx, edx); mov(eax, 0x8000_0001u32); wrmsr(); rdmsr(); hlt()));
    out.done();
    assert_eq!((out.reg(RAX), out.reg(RDX)), (0x8000_0001, 0xffff));
}

#[test]
fn rdpmc_checks_its_number_and_cr4_pce() {
    Lab::long().run(code!(a: mov(ecx, 4); rdpmc())).fault_at(CODE + 5, vector::GP, 0);
    for pce in [false, true] {
        let mut lab = Lab::long().at_cpl3();
        lab.cr4 |= if pce { 1 << 8 } else { 0 };
        let out = lab.run(code!(a: xor(ecx, ecx); rdpmc(); int(0x80)));
        assert_eq!(out.vector(), Some(if pce { 0x80 } else { vector::GP }));
    }
}

#[test]
fn random_numbers_follow_from_the_seed_and_set_carry() {
    let numbers = |seed: u64| {
        let mut lab = Lab::long();
        lab.machine.cpu_mut().random = seed;
        let out = lab.run(code!(a: xor(edx, edx); rdrand(rax); adc(edx, 0); rdseed(rbx); adc(edx, 0);
            mov(rcx, -1i64); clc(); rdrand(cx); hlt()));
        out.done();
        assert_eq!(out.reg(RDX), 2);
        assert_eq!(out.reg(RCX) >> 16, u64::MAX >> 16, "16 bits only");
        assert_eq!(out.cpu().flags.get() & 0x8d5, 1);
        (out.reg(RAX), out.reg(RBX))
    };
    assert_eq!(numbers(1), numbers(1));
    assert_ne!(numbers(1), numbers(2));
    assert_ne!(numbers(1).0, numbers(1).1);
}

#[test]
fn cache_instructions_check_their_address_and_level() {
    let mut lab = Lab::long();
    lab.map(DATA, 0);
    lab.run(code!(a: cldemote(byte_ptr(DATA as i32)); serialize(); wbnoinvd(); hlt())).done();
    lab.run(code!(a: clflushopt(byte_ptr(DATA as i32)))).page_fault(0, DATA);
    lab.run(code!(a: clwb(byte_ptr(DATA as i32)))).page_fault(0, DATA);
    Lab::long().at_cpl3().run(code!(a: wbnoinvd())).fault_at(CODE, vector::GP, 0);
}

#[test]
fn control_registers_refuse_reserved_bits_and_combinations() {
    for (number, value) in [
        (0, 1u64 << 32 | 0x8000_0011), // upper half
        (0, 0x8000_0010),              // PG without PE
        (0, 0xa000_0011),              // NW without CD
        (3, 1 << 52),
        (4, 1 << 15 | 0x20),
        (4, 1 << 32 | 0x20),
        (4, 0), // PAE in long mode
        (8, 16),
    ] {
        let mut lab = Lab::long();
        let out = lab.run(|a| {
            a.mov(rax, value)?;
            match number {
                0 => a.mov(cr0, rax),
                3 => a.mov(cr3, rax),
                4 => a.mov(cr4, rax),
                _ => a.mov(cr8, rax),
            }
        });
        out.fault(vector::GP, 0);
    }
}

#[test]
fn long_mode_cannot_begin_with_a_16_bit_tss() {
    let mut lab = Lab::protected();
    lab.efer = 0x100; // LME
    lab.cr4 = PAE;
    lab.gdt(TSS_SELECTOR, descriptor(TSS, 0x1ff, 0x81, 0));
    lab.run(code!(a: mov(eax, cr0); or(eax, PG as i32); mov(cr0, eax))).fault_at(CODE + 8, vector::GP, 0);
}

#[test]
fn unknown_msrs_and_bad_values_fault() {
    for (msr, low, high) in [
        (0xdead_u32, 0u32, 0u32),
        (0xc000_0080, 2, 0),       // EFER bit 1
        (0xc000_0080, 0x1000, 0),  // EFER bit 12
        (0xc000_0082, 0, 1 << 24), // LSTAR
        (0xc000_0084, 0, 1),       // FMASK
        (0xc000_0103, 0, 1),       // TSC_AUX
        (0x277, 2, 0),             // PAT type 2
        (0x2ff, 0x100, 0),         // MTRR default type
        (0x186, 0, 1),             // PERFEVTSEL
        (0xfe, 0, 0),              // MTRRCAP is read-only
    ] {
        let mut lab = Lab::long();
        let out = lab.run(code!(a: mov(ecx, msr); mov(eax, low); mov(edx, high); wrmsr()));
        assert_eq!(out.vector(), Some(vector::GP), "{msr:x}");
    }
    Lab::long().run(code!(a: mov(ecx, 0xdead); rdmsr())).fault_at(CODE + 5, vector::GP, 0);
    Lab::long().at_cpl3().run(code!(a: mov(ecx, 0x10); rdmsr())).fault_at(CODE + 5, vector::GP, 0);
}
