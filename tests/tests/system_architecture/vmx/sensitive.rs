//! Instructions that exit in non-root operation, and those that do something else there.

use emu_core::cpu::{RBX, RDX};
use emu_core::vmx::exit::reason;
use emu_core::vmx::fields as f;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

use super::monitor::*;
use crate::lab::*;

type Code = Result<(), IcedError>;

#[test]
fn cpuid_exits_always_and_the_guest_goes_on_behind_it() {
    let mut monitor = Monitor::new(2);
    let seen = monitor.run(code!(a: mov(ebx, 7); cpuid(); mov(edx, 9); cpuid()));
    assert_eq!(seen.len(), 2);
    let first = Seen {
        reason: reason::CPUID.into(),
        length: 2,
        rip: GUEST + 5,
        flags: seen[0].flags,
        ..Seen::default()
    };
    assert_eq!(seen[0], first);
    assert_eq!((seen[1].rip, monitor.reg(RBX), monitor.reg(RDX)), (GUEST + 12, 7, 9));
    assert!(monitor.lab.machine.cpu().vmx.on && !monitor.lab.machine.cpu().vmx.non_root);
}

/// Primary controls: each has its instruction exit, which without it does not.
#[test]
fn each_primary_control_has_its_instruction_exit() {
    type Make = fn(&mut CodeAssembler) -> Code;
    let cases: [(u32, u32, u64, Make); 12] = [
        (1 << 7, reason::HLT, 0, |a| a.hlt()),
        (1 << 9, reason::INVLPG, 0x1234, |a| a.invlpg(byte_ptr(0x1234))),
        (1 << 10, reason::MWAIT, 0, |a| a.mwait()),
        (1 << 11, reason::RDPMC, 0, |a| a.rdpmc()),
        (1 << 12, reason::RDTSC, 0, |a| a.rdtsc()),
        (1 << 15, reason::CR_ACCESS, 3 | 1 << 8, |a| a.mov(cr3, rcx)),
        (1 << 16, reason::CR_ACCESS, 3 | 1 << 4 | 2 << 8, |a| a.mov(rdx, cr3)),
        (1 << 19, reason::CR_ACCESS, 8, |a| a.mov(cr8, rax)),
        (1 << 23, reason::MOV_DR, 1 | 3 << 8, |a| a.mov(dr1, rbx)),
        (1 << 24, reason::IO, 0x80 << 16 | 1 << 6, |a| a.out(0x80, al)),
        (1 << 29, reason::MONITOR, 0, |a| a.monitor()),
        (1 << 30, reason::PAUSE, 0, |a| a.pause()),
    ];
    for (control, reason, qualification, make) in cases {
        let code = |a: &mut CodeAssembler| {
            a.mov(ecx, TABLES as u32)?;
            if reason != reason::CR_ACCESS {
                a.xor(ecx, ecx)?;
            }
            make(a)?;
            a.cpuid()
        };
        let mut monitor = Monitor::new(1);
        monitor.add(f::PRIMARY_CONTROLS, control);
        let seen = monitor.run(code);
        assert_eq!(seen.len(), 1, "{control:x}");
        assert_eq!((seen[0].reason, seen[0].qualification), (reason.into(), qualification), "{control:x}");
        assert_eq!(seen[0].length, if reason == reason::INVLPG { 8 } else { seen[0].length });
        // HLT and MWAIT without it wait for an interrupt, which does not come.
        if !matches!(reason, reason::HLT | reason::MWAIT) {
            let seen = Monitor::new(1).run(code);
            assert_eq!(seen.first().map(|exit| exit.reason), Some(reason::CPUID.into()), "{control:x}");
        }
    }
}

#[test]
fn secondary_controls_count_when_they_are_active() {
    type Make = fn(&mut CodeAssembler) -> Code;
    let memory = 2 << 7 | 3 << 15 | 1 << 22; // 64-bit address in DS, no index
    let cases: [(u32, u32, u64, Make); 6] = [
        (1 << 2, reason::GDTR_IDTR, memory | 1 << 11 | 3 << 23, |a| a.sgdt(ptr(rbx))),
        (1 << 2, reason::LDTR_TR, 1 << 10 | 2 << 3 | 1 << 28, |a| a.str(edx)),
        (1 << 6, reason::WBINVD, 0, |a| a.wbinvd()),
        (1 << 11, reason::RDRAND, 5 << 3 | 1 << 11, |a| a.rdrand(ebp)),
        (1 << 16, reason::RDSEED, 9 << 3 | 2 << 11, |a| a.rdseed(r9)),
        (1 << 12, reason::CPUID, 0, |a| a.cpuid()),
    ];
    for (control, reason, information, make) in cases {
        let code = |a: &mut CodeAssembler| {
            a.mov(ebx, PAGES as u32)?;
            make(a)?;
            a.cpuid()
        };
        let mut monitor = Monitor::new(1);
        monitor.secondary(control);
        let seen = monitor.run(code);
        assert_eq!((seen[0].reason, seen[0].information), (reason.into(), information), "{control:x}");
        let mut monitor = Monitor::new(1);
        monitor.set(f::SECONDARY_CONTROLS, control.into());
        assert_eq!(monitor.run(code)[0].reason, u64::from(reason::CPUID), "{control:x} without bit 31");
    }
}

#[test]
fn vmx_instructions_exit_with_their_operands_described() {
    let mut monitor = Monitor::new(3);
    let seen = monitor.run(code!(a: vmcall(); vmptrld(qword_ptr(rbx + rsi * 4 + 0x10)); vmread(rdi, rcx)));
    let reasons: Vec<u64> = seen.iter().map(|exit| exit.reason).collect();
    assert_eq!(reasons, [reason::VMCALL, reason::VMPTRLD, reason::VMREAD].map(u64::from));
    // Scale 4, 64-bit address, DS, index RSI, base RBX; and the displacement.
    assert_eq!(seen[1].information, 2 | 2 << 7 | 3 << 15 | 6 << 18 | 3 << 23);
    assert_eq!(seen[1].qualification, 0x10);
    // RDI is the operand, RCX names the field.
    assert_eq!(seen[2].information & !0x3_8383, 1 << 10 | 7 << 3 | 1 << 28);
}

#[test]
fn invalid_opcodes_and_privilege_come_before_the_exit() {
    // HLT and RDMSR of user code are #GP, and the exit is that of the exception.
    let mut monitor = Monitor::new(1);
    monitor.add(f::PRIMARY_CONTROLS, 1 << 7);
    monitor.set(f::EXCEPTION_BITMAP, 1 << 13);
    for register in 0..6 {
        let code = register == emu_core::cpu::CS;
        monitor.set(f::GUEST_SELECTOR.plus(register), if code { USER_CODE64 } else { USER_DATA }.into());
        monitor.set(f::GUEST_RIGHTS.plus(register), if code { 0xa0fb } else { 0xc0f3 });
    }
    let seen = monitor.run(code!(a: hlt()));
    assert_eq!((seen[0].reason, seen[0].interruption), (0, 0x8000_0b0d));
}

#[test]
fn cr0_and_cr4_have_masks_and_read_shadows() {
    let mut monitor = Monitor::new(3);
    // The host owns TS and OSFXSR; the guest sees TS set, which it is not.
    monitor.set(f::CR0_MASK, 8);
    monitor.set(f::CR0_SHADOW, 8);
    monitor.set(f::CR4_MASK, 0x200);
    monitor.set(f::CR4_SHADOW, 0x200);
    let seen = monitor.run(|a| {
        a.mov(r8, cr0)?;
        a.mov(r9, cr4)?;
        a.smsw(r10)?;
        a.mov(cr0, r8)?; // as the shadow: no exit, and TS stays clear
        a.mov(rax, r8)?;
        a.and(eax, !8)?;
        a.mov(cr0, rax)?; // exits
        a.clts()?; // exits
        a.mov(ecx, r9d)?;
        a.xor(ecx, 0x200)?;
        a.mov(cr4, rcx) // exits
    });
    let of: Vec<_> = seen.iter().map(|exit| (exit.reason, exit.qualification)).collect();
    assert_eq!(of, [(28, 0), (28, 2 << 4), (28, 4 | 1 << 8)]);
    assert_eq!((monitor.reg(8) & 8, monitor.reg(9) & 0x200, monitor.reg(10) & 8), (8, 0x200, 8));
    assert_eq!((monitor.field(f::GUEST_CR0) & 8, monitor.field(f::GUEST_CR4) & 0x200), (0, 0));
}

#[test]
fn a_cr3_target_value_does_not_exit() {
    let mut monitor = Monitor::new(1);
    monitor.add(f::PRIMARY_CONTROLS, 1 << 15);
    monitor.set(f::CR3_TARGET_COUNT, 1);
    monitor.set(f::CR3_TARGET, TABLES);
    let seen = monitor.run(code!(a: mov(ecx, TABLES as u32); mov(cr3, rcx); or(ecx, 8); mov(cr3, rcx)));
    assert_eq!((seen[0].reason, seen[0].rip), (28, GUEST + 11));
}

#[test]
fn bitmaps_choose_the_ports_and_msrs_that_exit() {
    let mut monitor = Monitor::new(4);
    monitor.add(f::PRIMARY_CONTROLS, 1 << 25 | 1 << 28);
    monitor.set(f::IO_BITMAP_A, PAGES);
    monitor.set(f::IO_BITMAP_B, PAGES + 0x1000);
    monitor.set(f::MSR_BITMAP, PAGES + 0x2000);
    monitor.lab.write(PAGES + 0x1000 + 1, 1, 1 << 2); // port 800Ah
    monitor.lab.write(PAGES + 0x2000 + 3072 + 0x80 / 8, 1, 1 << 1); // writes of IA32_STAR
    let seen = monitor.run(|a| {
        a.mov(dx, 0x8009)?;
        a.in_(al, dx)?;
        a.in_(eax, dx)?; // reaches port 800Ah
        a.mov(dx, 0x800a)?;
        a.out(dx, ax)?;
        a.mov(ecx, 0xc000_0081u32)?;
        a.rdmsr()?;
        a.wrmsr()?;
        a.mov(ecx, 0x4000_0000)?; // in no bitmap
        a.rdmsr()
    });
    let of: Vec<_> = seen.iter().map(|exit| (exit.reason, exit.qualification)).collect();
    let port = |port: u64, size: u64, input: u64| (30, (size - 1) | input << 3 | port << 16);
    assert_eq!(of, [port(0x8009, 4, 1), port(0x800a, 2, 0), (32, 0), (31, 0)]);
}

#[test]
fn string_io_tells_of_its_address_and_prefix() {
    let mut monitor = Monitor::new(1);
    monitor.add(f::PRIMARY_CONTROLS, 1 << 24);
    let seen = monitor.run(code!(a: mov(ecx, 3); mov(edi, DATA as i32); mov(dx, 0x80); rep().insb()));
    assert_eq!(seen[0].qualification, 0x80 << 16 | 1 << 5 | 1 << 4 | 1 << 3);
    assert_eq!((seen[0].linear, seen[0].information & 0x380), (DATA, 2 << 7));
}

#[test]
fn the_time_stamp_counter_has_an_offset() {
    let offset = 1 << 40;
    let mut monitor = Monitor::new(1);
    monitor.add(f::PRIMARY_CONTROLS, 1 << 3);
    monitor.set(f::TSC_OFFSET, offset);
    monitor.run(code!(a: rdtsc(); shl(rdx, 32); or(rax, rdx); mov(r15, rax); cpuid()));
    let guest = monitor.reg(15);
    assert!(guest > offset && guest < offset + 100_000, "{guest:x}");
    assert!(monitor.lab.machine.cpu().tsc() < offset, "not for the host");
}

#[test]
fn instructions_that_need_a_control_are_undefined_without_it() {
    for (bit, bytes) in [(1 << 3, &[0x0f, 0x01, 0xf9][..]), (1 << 12, &[0x66, 0x0f, 0x38, 0x82, 0x04, 0x24])]
    {
        for set in [false, true] {
            let mut monitor = Monitor::new(1);
            monitor.set(f::EXCEPTION_BITMAP, 1 << 6);
            monitor.secondary(if set { bit } else { 0 });
            let seen = monitor.run(|a| {
                a.mov(eax, 2)?;
                a.db(bytes)?; // RDTSCP; INVPCID rax, [rsp]
                a.cpuid()
            });
            let reason = if set { reason::CPUID } else { reason::EXCEPTION };
            assert_eq!(seen[0].reason, u64::from(reason), "{bytes:x?}");
        }
    }
}

#[test]
fn task_switches_exit_before_they_change_anything() {
    let mut monitor = Monitor::new(1);
    monitor.without_paging(true);
    monitor.lab.gdt(FREE, descriptor(TSS2, 0x67, 0x89, 0));
    let seen = monitor.run(|a| {
        // CALL FREE:0
        a.db(&[0x9a, 0, 0, 0, 0, FREE as u8, 0])
    });
    let fields = (seen[0].reason, seen[0].qualification, seen[0].length, seen[0].rip);
    assert_eq!(fields, (reason::TASK_SWITCH.into(), FREE.into(), 7, GUEST));
    assert_eq!(monitor.lab.gdt_entry(FREE) >> 40 & 2, 0, "not busy");
}
