//! The instructions of root operation, and what lets them run.

use emu_core::cpu::{RAX, RBX, RCX, RDX};
use emu_core::vmx::capability::{FEATURE_CONTROL, REVISION};
use emu_core::vmx::fields as f;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

use super::monitor::*;
use crate::lab::*;

const CF: u64 = 1;
const ZF: u64 = 1 << 6;

/// A lab with CR0 and CR4 as VMX operation wants them, and regions with our revision identifier.
fn lab() -> Lab {
    Monitor::new(0).lab
}

/// Assembles: the flags into a register.
fn keep_flags(a: &mut CodeAssembler, register: AsmRegister64) -> Result<(), IcedError> {
    a.pushfq()?;
    a.pop(register)
}

#[test]
fn they_are_undefined_outside_vmx_operation() {
    for bytes in [
        &[0x0f, 0x01, 0xc1][..],               // VMCALL
        &[0x0f, 0x01, 0xc2],                   // VMLAUNCH
        &[0x0f, 0x01, 0xc3],                   // VMRESUME
        &[0x0f, 0x01, 0xc4],                   // VMXOFF
        &[0x0f, 0xc7, 0x34, 0x24],             // VMPTRLD [rsp]
        &[0x0f, 0xc7, 0x3c, 0x24],             // VMPTRST
        &[0x66, 0x0f, 0xc7, 0x34, 0x24],       // VMCLEAR
        &[0x0f, 0x78, 0xd8],                   // VMREAD rax, rbx
        &[0x0f, 0x79, 0xd8],                   // VMWRITE
        &[0x66, 0x0f, 0x38, 0x80, 0x04, 0x24], // INVEPT
        &[0x66, 0x0f, 0x38, 0x81, 0x04, 0x24], // INVVPID
    ] {
        lab().run(|a| a.db(bytes)).fault_at(CODE, vector::UD, None);
    }
    let mut without = lab();
    without.cr4 &= !VMXE;
    without.run(|a| a.vmxon(qword_ptr(rsp))).fault_at(CODE, vector::UD, None);
}

#[test]
fn vmxon_waits_for_feature_control_and_the_fixed_bits() {
    let vmxon = |a: &mut CodeAssembler| {
        a.push(VMXON_REGION as i32)?;
        a.vmxon(qword_ptr(rsp))?;
        a.hlt()
    };
    lab().run(vmxon).fault(vector::GP, 0);
    for (value, permits) in [(1, false), (4, false), (5, true)] {
        let mut lab = lab();
        let out = lab.run(|a| {
            a.mov(ecx, FEATURE_CONTROL)?;
            a.mov(eax, value)?;
            a.wrmsr()?;
            vmxon(a)
        });
        if permits { out.done() } else { assert_eq!(out.vector(), Some(vector::GP), "{value}") }
    }
    let mut lab = lab();
    lab.cr0 &= !0x20; // NE
    lab.run(|a| {
        a.mov(ecx, FEATURE_CONTROL)?;
        a.mov(eax, 5)?;
        a.wrmsr()?;
        vmxon(a)
    })
    .fault(vector::GP, 0);
}

#[test]
fn feature_control_is_locked_until_reset() {
    let write = |a: &mut CodeAssembler, value: u32| {
        a.mov(ecx, FEATURE_CONTROL)?;
        a.mov(eax, value)?;
        a.xor(edx, edx)?;
        a.wrmsr()
    };
    let mut lab = lab();
    lab.run(|a| {
        write(a, 4)?;
        write(a, 5)?;
        write(a, 5)
    })
    .fault(vector::GP, 0);
    assert_eq!(lab.machine.cpu().vmx.feature_control, 5);
    lab.run(code!(a: mov(ecx, FEATURE_CONTROL); rdmsr(); hlt())).done();
    assert_eq!(lab.machine.cpu().regs[RAX], 0, "each run begins with a reset");
    lab.run(|a| write(a, 2)).fault(vector::GP, 0); // in SMX operation, which is not there
}

#[test]
fn capability_msrs_can_be_read_and_not_written() {
    for number in 0x480..=0x490u32 {
        lab().run(code!(a: mov(ecx, number); rdmsr(); hlt())).done();
        lab().run(code!(a: mov(ecx, number); xor(eax, eax); xor(edx, edx); wrmsr())).fault(vector::GP, 0);
    }
    lab().run(code!(a: mov(ecx, 0x491); rdmsr())).fault(vector::GP, 0);
}

#[test]
fn control_registers_keep_their_fixed_bits_in_vmx_operation() {
    for (register, bit) in [(0, 0x20u32), (0, 1 << 31), (4, VMXE)] {
        let mut lab = lab();
        let out = lab.run(|a| {
            enter_vmx_operation(a)?;
            match register {
                0 => a.mov(rax, cr0)?,
                _ => a.mov(rax, cr4)?,
            }
            a.mov(ebx, bit)?;
            a.not(rbx)?;
            a.and(rax, rbx)?;
            match register {
                0 => a.mov(cr0, rax),
                _ => a.mov(cr4, rax),
            }
        });
        out.fault(vector::GP, 0);
    }
    // Behind VMXOFF they may be cleared.
    lab()
        .run(|a| {
            enter_vmx_operation(a)?;
            a.vmxoff()?;
            a.mov(rax, cr4)?;
            a.and(eax, !VMXE as i32)?;
            a.mov(cr4, rax)?;
            a.hlt()
        })
        .done();
}

#[test]
fn failures_without_a_current_vmcs_set_cf_and_with_one_zf_and_a_number() {
    let mut lab = lab();
    let out = lab.run(|a| {
        enter_vmx_operation(a)?;
        keep_flags(a, r8)?;
        a.mov(eax, f::GUEST_RIP.0)?;
        a.vmread(rbx, rax)?;
        keep_flags(a, r9)?;
        load_vmcs(a, VMCS)?;
        a.mov(eax, 0x1000)?; // no field
        a.vmread(rbx, rax)?;
        keep_flags(a, r10)?;
        a.mov(eax, f::INSTRUCTION_ERROR.0)?;
        a.vmread(r11, rax)?;
        keep_flags(a, r12)?;
        a.push(VMXON_REGION as i32)?;
        a.vmptrld(qword_ptr(rsp))?;
        a.vmread(r13, rax)?;
        a.vmcall()?;
        a.vmread(r14, rax)?;
        a.vmxon(qword_ptr(rsp))?;
        a.vmread(r15, rax)?;
        a.hlt()
    });
    out.done();
    let flags = |number| out.reg(number) & (CF | ZF);
    assert_eq!((flags(8), flags(9), flags(10), flags(12)), (0, CF, ZF, 0));
    assert_eq!([11, 13, 14, 15].map(|n| out.reg(n)), [12, 10, 1, 15], "numbers of the manual's table");
}

#[test]
fn a_region_with_another_revision_is_refused() {
    let mut lab = lab();
    lab.write(VMCS, 4, u64::from(REVISION + 1));
    let out = lab.run(|a| {
        enter_vmx_operation(a)?;
        a.push(VMCS as i32)?;
        a.vmptrld(qword_ptr(rsp))?;
        keep_flags(a, rbx)?;
        a.vmptrst(qword_ptr(rsp))?;
        a.pop(rcx)?;
        a.hlt()
    });
    out.done();
    assert_eq!((out.reg(RBX) & (CF | ZF), out.reg(RCX)), (CF, u64::MAX), "no VMCS was current, and none is");
}

#[test]
fn fields_have_their_width_and_64_bit_fields_an_upper_half() {
    let mut lab = lab();
    let out = lab.run(|a| {
        enter_vmx_operation(a)?;
        load_vmcs(a, VMCS)?;
        a.mov(rcx, 0x1122_3344_5566_7788u64)?;
        for (field, register) in [(f::VPID, rax), (f::EXCEPTION_BITMAP, rbx), (f::TSC_OFFSET, rdx)] {
            a.mov(r8d, field.0)?;
            a.vmwrite(r8, rcx)?;
            a.vmread(register, r8)?;
        }
        a.inc(r8)?;
        a.vmread(r9, r8)?;
        a.vmwrite(r8, rax)?;
        a.dec(r8)?;
        a.vmread(r10, r8)?;
        a.hlt()
    });
    out.done();
    assert_eq!((out.reg(RAX), out.reg(RBX)), (0x7788, 0x5566_7788));
    assert_eq!((out.reg(RDX), out.reg(9)), (0x1122_3344_5566_7788, 0x1122_3344));
    assert_eq!(out.reg(10), 0x7788_5566_7788);
}

#[test]
fn a_vmcs_is_launched_once_and_then_resumed() {
    let mut monitor = Monitor::new(1);
    assert_eq!(monitor.run(code!(a: cpuid())).len(), 1);
    // The monitor halts behind the exit; now in the same state once more.
    let numbers: Vec<u64> = [true, false]
        .into_iter()
        .map(|clear_first| {
            let mut lab = lab();
            lab.write(VMCS + 8, 4, 1); // launched
            let out = lab.run(|a| {
                enter_vmx_operation(a)?;
                a.push(VMCS as i32)?;
                if clear_first {
                    a.vmclear(qword_ptr(rsp))?;
                }
                a.vmptrld(qword_ptr(rsp))?;
                if clear_first {
                    a.vmresume()?
                } else {
                    a.vmlaunch()?
                }
                a.mov(eax, f::INSTRUCTION_ERROR.0)?;
                a.vmread(rbx, rax)?;
                a.hlt()
            });
            out.done();
            out.reg(RBX)
        })
        .collect();
    assert_eq!(numbers, [5, 4]);
}

#[test]
fn invept_and_invvpid_check_their_operands() {
    for (eptp, kind, error) in [(PAGES | 0x1e, 1u32, 0), (0, 2, 0), (PAGES, 1, 28), (0, 0, 28), (0, 3, 28)] {
        assert_eq!(invalidation(eptp, 0, kind, true), error, "INVEPT {kind} {eptp:x}");
    }
    let far = 1 << 62;
    for (vpid, linear, kind, error) in [
        (1, 0, 0u32, 0),
        (1, 0, 1, 0),
        (0, 0, 2, 0),
        (1, 0, 3, 0),
        (0, 0, 1, 28),
        (1, far, 0, 28),
        (1, 0, 4, 28),
        (1 << 16, 0, 2, 28),
    ] {
        assert_eq!(invalidation(vpid, linear, kind, false), error, "INVVPID {kind} {vpid:x} {linear:x}");
    }
}

/// The error number that INVEPT or INVVPID leaves, 0 for none.
fn invalidation(low: u64, high: u64, kind: u32, ept: bool) -> u64 {
    let mut lab = lab();
    lab.write(PAGES, 8, low);
    lab.write(PAGES + 8, 8, high);
    let out = lab.run(|a| {
        enter_vmx_operation(a)?;
        load_vmcs(a, VMCS)?;
        a.mov(ecx, kind)?;
        a.mov(ebx, PAGES as u32)?;
        if ept {
            a.invept(rcx, xmmword_ptr(rbx))?
        } else {
            a.invvpid(rcx, xmmword_ptr(rbx))?
        }
        keep_flags(a, rdx)?;
        a.mov(eax, f::INSTRUCTION_ERROR.0)?;
        a.vmread(rax, rax)?;
        a.hlt()
    });
    out.done();
    if out.reg(RDX) & ZF != 0 { out.reg(RAX) } else { 0 }
}
