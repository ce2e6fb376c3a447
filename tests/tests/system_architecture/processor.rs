//! MONITOR and MWAIT, performance counters, random numbers, cache instructions, and checks on control registers
//! and MSRs. SDM 2A/2B at each; SDM 3B, "Architectural Performance Monitoring".

use emu_core::cpu::{RAX, RBX, RCX, RDI, RDX, RSI};
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

/// AMD APM vol. 2, "Performance Monitoring Counters": other numbers and events, and writes of all 48 bits.
#[test]
fn an_amd_processor_has_its_counters_elsewhere() {
    const PERF_EVT_SEL0: u32 = 0xc001_0000;
    const PERF_CTR0: u32 = 0xc001_0004;
    let amd = || {
        let mut lab = Lab::long();
        lab.machine.set_model(emu_core::cpu::model::parse("qemu64").unwrap().0);
        lab
    };
    for (event, counted) in [(0x43_00c0, 5), (0x43_0076, 5), (0x43_003c, 0), (0x03_00c0, 0)] {
        let mut lab = amd();
        let out = lab.run(code!(a:
            mov(ecx, PERF_EVT_SEL0); xor(edx, edx); mov(eax, event); wrmsr();
            xor(ecx, ecx); rdpmc(); mov(ebx, eax); nop(); nop(); nop(); rdpmc(); sub(eax, ebx); hlt()));
        out.done();
        assert_eq!(out.reg(RAX), counted, "{event:x}");
    }
    let mut lab = amd();
    let out = lab.run(code!(a:
        mov(ecx, PERF_CTR0 + 3); mov(edx, 0x1_1234); mov(eax, 0x8000_0001u32); wrmsr(); rdmsr(); hlt()));
    out.done();
    assert_eq!((out.reg(RAX), out.reg(RDX)), (0x8000_0001, 0x1234));
    for number in [PERFEVTSEL0, PMC0, PERF_CTR0 + 4] {
        amd().run(code!(a: mov(ecx, number); rdmsr())).fault_at(CODE + 5, vector::GP, 0);
    }
    Lab::long().run(code!(a: mov(ecx, PERF_CTR0); rdmsr())).fault_at(CODE + 5, vector::GP, 0);
}

/// IA32_TIME_STAMP_COUNTER, IA32_TSC_ADJUST, IA32_TSC_AUX, CR4.TSD.
#[test]
fn the_time_stamp_counter_counts_moves_and_is_guarded() {
    const TSC: u32 = 0x10;
    const TSC_ADJUST: u32 = 0x3b;
    const TSC_AUX: u32 = 0xc000_0103;
    let mut lab = Lab::long();
    let out = lab.run(code!(a:
        rdtsc(); mov(ebx, eax); nop(); nop(); rdtsc(); sub(eax, ebx); mov(r8, rax);
        mov(ecx, TSC); xor(eax, eax); mov(edx, 0x10); wrmsr(); rdtsc(); mov(r9, rdx);
        mov(ecx, TSC_ADJUST); rdmsr(); mov(r10, rdx); mov(edx, 0x20); wrmsr(); rdtsc(); mov(r11, rdx);
        mov(ecx, TSC_AUX); mov(eax, 0x1234); xor(edx, edx); wrmsr(); xor(ecx, ecx); rdtscp(); mov(r12, rcx);
        db(&[0xf3, 0x0f, 0xc7, 0xfb]); hlt())); // RDPID RBX
    out.done();
    assert_eq!(out.reg(8), 4, "one an instruction");
    assert_eq!((out.reg(9), out.reg(11) & !1), (0x10, 0x20), "moved by writes to either register");
    assert!(matches!(out.reg(10), 0xf | 0x10), "what the first write added");
    assert_eq!((out.reg(12), out.reg(3)), (0x1234, 0x1234), "RDTSCP and RDPID");
    for tsd in [false, true] {
        let mut lab = Lab::long().at_cpl3();
        lab.cr4 |= if tsd { 1 << 2 } else { 0 };
        let expected = if tsd { vector::GP } else { 0x80 };
        assert_eq!(lab.run(code!(a: rdtsc(); int(0x80))).vector(), Some(expected));
    }
}

/// RDFSBASE and its kin: 64-bit code with CR4.FSGSBASE only, 32 or 64 bits, canonical addresses.
#[test]
fn the_fs_and_gs_base_instructions_need_cr4_and_canonical_addresses() {
    const FSGSBASE: u32 = 1 << 16;
    let mut lab = Lab::long().at_cpl3();
    lab.cr4 |= FSGSBASE;
    let out = lab.run(|a| {
        a.mov(rax, 0x1234_5678_9abcu64)?;
        a.db(&[0xf3, 0x48, 0x0f, 0xae, 0xd0])?; // WRFSBASE RAX
        a.db(&[0xf3, 0x0f, 0xae, 0xd8])?; // WRGSBASE EAX
        a.db(&[0xf3, 0x48, 0x0f, 0xae, 0xc3])?; // RDFSBASE RBX
        a.db(&[0xf3, 0x48, 0x0f, 0xae, 0xca])?; // RDGSBASE RDX
        a.int(0x80)
    });
    out.fault(0x80, None);
    assert_eq!((out.reg(3), out.reg(2)), (0x1234_5678_9abc, 0x5678_9abc));
    let mut lab = Lab::long().at_cpl3();
    lab.cr4 |= FSGSBASE;
    lab.run(code!(a: mov(rax, 1u64 << 56); db(&[0xf3, 0x48, 0x0f, 0xae, 0xd0]))).fault_at(
        CODE + 10,
        vector::GP,
        0,
    );
    let rdfsbase = [0xf3, 0x0f, 0xae, 0xc0];
    Lab::long().run(code!(a: db(&rdfsbase))).fault_at(CODE, vector::UD, None);
    let mut lab = Lab::protected();
    lab.cr4 |= FSGSBASE;
    lab.run(code!(a: db(&rdfsbase))).fault_at(CODE, vector::UD, None);
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
fn modes_cannot_be_changed_against_the_rules() {
    // In 64-bit mode: five levels on, paging off; LME off while paging is on.
    let gp = |out: Outcome<'_>| assert_eq!(out.vector(), Some(vector::GP));
    gp(Lab::long().run(code!(a: mov(eax, 0x1020); mov(cr4, rax))));
    gp(Lab::long().run(code!(a: mov(eax, 0x1_0011); mov(cr0, rax))));
    gp(Lab::long().run(code!(a: mov(ecx, 0xc000_0080u32); mov(eax, 0x801); xor(edx, edx); wrmsr())));
    // PCIDs on outside long mode, or with a PCID in CR3; paging off with PCIDs on (in compatibility mode).
    gp(Lab::protected().run(code!(a: mov(eax, 1 << 17); mov(cr4, eax))));
    gp(Lab::long()
        .run(code!(a: mov(rax, cr3); or(eax, 8); mov(cr3, rax); mov(eax, 0x2_0020); mov(cr4, rax))));
    let mut lab = Lab::long();
    lab.assemble(0x9000, 32, code!(a: mov(eax, cr0); and(eax, 0x7fff_ffff); mov(cr0, eax)));
    gp(lab.run(|a| {
        a.mov(eax, 0x2_0020)?;
        a.mov(cr4, rax)?;
        a.push(i32::from(CODE32))?;
        a.push(0x9000)?;
        a.db(&[0x48, 0xcb]) // RETF with 64-bit operands
    }));
    // Reserved bits of CR0 below 32 are ignored; LMA cannot be written.
    let mut lab = Lab::long();
    let out = lab.run(code!(a: mov(rax, cr0); or(eax, 0x1000_ffc0); mov(cr0, rax); mov(rbx, cr0);
        mov(ecx, 0xc000_0080u32); mov(eax, 0x900); xor(edx, edx); wrmsr(); rdmsr(); hlt()));
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RAX)), (0x8001_0011, 0xd00));
}

#[test]
fn xcr0_takes_only_combinations_that_exist() {
    const OSXSAVE: u32 = 1 << 18;
    for (number, low, high, fits) in [
        (0u32, 1u32, 0u32, true),
        (0, 3, 0, true),
        (0, 0, 0, false), // x87 cannot be left out
        (0, 2, 0, false),
        (0, 5, 0, false),    // AVX without SSE
        (0, 0x13, 0, false), // bound registers in part
        (0, 1, 1 << 31, false),
        (1, 1, 0, false),
    ] {
        let mut lab = Lab::long();
        lab.cr4 |= OSXSAVE;
        let out = lab.run(code!(a: mov(ecx, number); mov(eax, low); mov(edx, high); xsetbv(); hlt()));
        assert_eq!(out.vector(), if fits { None } else { Some(vector::GP) }, "{number} {high:x}:{low:x}");
    }
    Lab::long().run(code!(a: xor(ecx, ecx); xsetbv())).fault_at(CODE + 2, vector::UD, None);
    let mut lab = Lab::long().at_cpl3();
    lab.cr4 |= OSXSAVE;
    lab.run(code!(a: xor(ecx, ecx); xsetbv())).fault_at(CODE + 2, vector::GP, 0);
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

/// Reads an MSR; `None` for #GP.
fn rdmsr(number: u32) -> Option<u64> {
    let mut lab = Lab::long();
    let out = lab.run(code!(a: mov(ecx, number); rdmsr(); hlt()));
    match out.vector() {
        None => Some(out.reg(RDX) << 32 | out.reg(RAX) & 0xffff_ffff),
        Some(vector) => {
            assert_eq!(vector, vector::GP);
            None
        }
    }
}

/// What CPUID says in EAX, EBX, ECX, EDX.
fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    Lab::real().machine.cpu().cpuid(leaf, subleaf)
}

#[test]
fn every_register_that_cpuid_promises_exists() {
    // Leaf, register of the answer, bit, and what comes with it. SDM vol. 4, "Architectural MSRs".
    let promises: [(u32, usize, u32, &[u32]); 13] = [
        (1, 3, 4, &[0x10]),                                     // TSC
        (1, 3, 7, &[0, 1]),                                     // MCE
        (1, 3, 9, &[0x1b]),                                     // APIC
        (1, 3, 11, &[0x174, 0x175, 0x176]),                     // SEP
        (1, 3, 12, &[0xfe, 0x200, 0x20f, 0x250, 0x26f, 0x2ff]), // MTRR
        (1, 3, 14, &[0x179, 0x17a, 0x17b, 0x400, 0x40f]),       // MCA
        (1, 3, 16, &[0x277]),                                   // PAT
        (1, 2, 5, &[0x3a, 0x480, 0x490]),                       // VMX
        (1, 2, 24, &[0x6e0]),                                   // TSC deadline
        (7, 1, 1, &[0x3b]),                                     // TSC_ADJUST
        (0xd, 0, 0, &[0xda0]),                                  // XSAVES
        (0x8000_0001, 3, 27, &[0xc000_0103]),                   // RDTSCP
        (0x8000_0001, 3, 29, &[0xc000_0080, 0xc000_0081, 0xc000_0084, 0xc000_0100, 0xc000_0102]), // LM
    ];
    for (leaf, register, bit, numbers) in promises {
        assert_ne!(cpuid(leaf, 0)[register] & 1 << bit, 0, "leaf {leaf:x}");
        for &number in numbers {
            // The lab has no local APIC.
            let exists = rdmsr(number).is_some() || matches!(number, 0x1b | 0x6e0);
            assert!(exists, "{number:x}");
        }
    }
    let counters = cpuid(0xa, 0)[0] >> 8 & 0xff;
    assert!((0..counters).all(|n| rdmsr(0x186 + n).is_some() && rdmsr(0xc1 + n).is_some()));
    assert!(rdmsr(0x186 + counters).is_none() && rdmsr(0xc1 + counters).is_none());
    // Not promised: clock modulation, performance bias, global counters, DS area, shadow stacks.
    for number in [0x19a, 0x1b0, 0x345, 0x38f, 0x600, 0x6a0, 0xc001_0010] {
        assert_eq!(rdmsr(number), None, "{number:x}");
    }
}

#[test]
fn machine_check_banks_can_be_enabled_and_cleared() {
    assert_eq!(rdmsr(0x179), Some(0x104), "four banks, MCG_CTL");
    assert_eq!(rdmsr(0x410), None);
    for (msr, value, fits) in [
        (0x17bu32, u64::MAX, true),
        (0x400, u64::MAX, true),
        (0x400, 0xaaaa_aaaa_aaaa_aaaa, false),
        (0x401, 0, true),
        (0x401, 1, false),
        (0x402, u64::MAX, true),
        (0x40f, 1, true),
        (0x17a, 4, true),
        (0x17a, 8, false),
        (0x179, 0, false),
    ] {
        let mut lab = Lab::long();
        let (low, high) = (value as u32, (value >> 32) as u32);
        let out = lab.run(code!(a: mov(ecx, msr); mov(eax, low); mov(edx, high); wrmsr();
            xor(eax, eax); xor(edx, edx); rdmsr(); hlt()));
        assert_eq!(out.vector(), if fits { None } else { Some(vector::GP) }, "{msr:x}");
        assert!(!fits || out.reg(RAX) | out.reg(RDX) << 32 == value);
    }
}

#[test]
fn misc_enable_has_fixed_bits_and_takes_features_away() {
    const MISC_ENABLE: u32 = 0x1a0;
    // Performance monitoring is there, branch traces and precise events are not, whatever is written.
    let mut lab = Lab::long();
    let out = lab.run(code!(a: mov(ecx, MISC_ENABLE); xor(eax, eax); xor(edx, edx); wrmsr(); rdmsr(); hlt()));
    assert_eq!((out.reg(RAX), out.reg(RDX)), (0x1880, 0));
    let out = lab.run(code!(a: mov(ecx, MISC_ENABLE); mov(eax, 2); xor(edx, edx); wrmsr()));
    assert_eq!(out.vector(), Some(vector::GP));
    // CPUID is cut to leaf 2; without the XD feature EFER.NXE is reserved.
    let out = lab.run(code!(a: mov(ecx, MISC_ENABLE); mov(eax, 1 << 22); mov(edx, 4); wrmsr();
        xor(eax, eax); cpuid(); mov(edi, eax); mov(eax, 0x8000_0001u32); cpuid(); mov(esi, edx);
        mov(ecx, 0xc000_0080u32); rdmsr(); wrmsr()));
    assert_eq!(out.vector(), Some(vector::GP));
    assert_eq!((out.reg(RDI), out.reg(RSI) & 1 << 20), (2, 0));
}

/// Real mode, CR0.NE clear: leaves a divide-by-zero error of the x87 pending.
fn leave_error(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    a.out(LIKE_A_PC, al)?;
    a.fninit()?;
    a.mov(word_ptr(0x6000), 0x37b)?; // unmasked
    a.fldcw(word_ptr(0x6000))?;
    a.fld1()?;
    a.fldz()?;
    a.fdivp(st1, st0)
}

#[test]
fn without_ne_an_x87_error_interrupts_before_the_next_waiting_instruction() {
    let mut lab = Lab::real();
    let out = lab.run(|a| {
        leave_error(a)?;
        a.sti()?;
        a.fnstsw(ax)?; // does not wait
        a.mov(bx, 7)?;
        a.fld1()?;
        a.mov(bx, 8)?;
        a.hlt()
    });
    let end = out.end;
    assert_eq!(out.fault(0x75, None).ip, end - 6, "at FLD1");
    assert_eq!((out.reg(RBX) & 0xff, out.reg(RAX) & 0x84), (7, 0x84));
}

#[test]
fn the_handler_of_an_x87_error_clears_it_or_has_it_ignored() {
    for clear in [true, false] {
        let mut lab = Lab::real();
        lab.handler(0x75, 0x9000);
        lab.assemble(0x9000, 16, |a| {
            a.inc(cx)?;
            a.out(0xf0, al)?;
            if clear {
                a.fnclex()?;
            } else {
                a.nop()?;
                a.wait()?; // IGNNE#
            }
            a.iret()
        });
        let out = lab.run(|a| {
            a.xor(cx, cx)?;
            leave_error(a)?;
            a.sti()?;
            a.wait()?;
            a.wait()?;
            a.fld1()?;
            a.hlt()
        });
        out.done();
        assert_eq!(out.reg(RCX) & 0xff, 1);
        assert_eq!(out.cpu().ferr, !clear);
    }
}

#[test]
fn with_interrupts_off_the_processor_freezes_until_nmi() {
    let mut lab = Lab::real();
    let out = lab.run(|a| {
        leave_error(a)?;
        a.wait()?;
        a.hlt()
    });
    assert!(matches!(out.stop, Stop::Halted { .. }));
    assert_eq!(out.cpu().regs[emu_core::cpu::RIP], out.end - 2, "at WAIT");
    let out = lab.run(|a| {
        a.mov(al, 50)?;
        a.out(DELAY, al)?;
        a.mov(al, u32::from(event::NMI))?;
        a.out(RAISE, al)?;
        leave_error(a)?;
        a.wait()?;
        a.hlt()
    });
    let end = out.end;
    assert_eq!(out.fault(2, None).ip, end - 2);
}

#[test]
fn fnop_is_noted_as_the_last_instruction() {
    let mut lab = Lab::long();
    let out = lab.run(code!(a: fninit(); fld1(); fnop(); hlt()));
    out.done();
    let end = out.end;
    assert_eq!(out.cpu().fpu.instruction.1, end - 3);
    assert_eq!(out.cpu().fpu.opcode, 0x1d0);
}
