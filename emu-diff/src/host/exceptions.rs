//! Forms that are left out, and where AMD's silicon, on which this may run, and Intel's differ.

use iced_x86::{Code, CpuidFeature as C, EncodingKind, Mnemonic as M, OpCodeOperandKind as K, OpKind};

use super::silicon::Outcome;
use crate::fuzz::cases::{self, Encoding};
use crate::fuzz::places::{Registers, TRAMPOLINE};

/// Is this form one of the integer instructions that user code can run without changing its surroundings?
pub fn is_subject(code: Code, bits: u32) -> bool {
    let info = code.op_code();
    let mode = if bits == 64 { info.intel_decoder64() } else { info.intel_decoder32() };
    let known = |kind: &K| {
        use K::*;
        matches!(
            kind,
            mem | mem_offs
                | r8_or_mem
                | r16_or_mem
                | r32_or_mem
                | r64_or_mem
                | r8_reg
                | r8_opcode
                | r16_reg
                | r16_rm
                | r16_opcode
                | r32_reg
                | r32_rm
                | r32_opcode
                | r32_vvvv
                | r64_reg
                | r64_rm
                | r64_opcode
                | r64_vvvv
                | es
                | cs
                | ss
                | ds
                | fs
                | gs
                | al
                | cl
                | ax
                | dx
                | eax
                | rax
                | imm8
                | imm8_const_1
                | imm8sex16
                | imm8sex32
                | imm8sex64
                | imm16
                | imm32
                | imm32sex64
                | imm64
                | seg_rSI
                | es_rDI
                | seg_rBX_al
                | br16_1
                | br32_1
                | br64_1
                | br16_2
                | br32_4
                | br64_4
        )
    };
    let elsewhere = |feature: &C| {
        matches!(
            feature,
            C::FPU
                | C::FPU287
                | C::FPU387
                | C::MMX
                | C::SSE
                | C::SSE3
                | C::FXSR
                | C::XSAVE
                | C::XSAVEOPT
                | C::XSAVEC
                | C::XSAVES
                | C::MONITOR
        ) || *feature == C::SSE2 && code.mnemonic() != M::Movnti
    };
    info.is_instruction()
        && mode
        && info.op_kinds().iter().all(known)
        && !code.cpuid_features().iter().any(elsewhere)
        && !is_left_out(code)
}

/// Is it left out for a reason that holds for vector instructions too?
pub(super) fn is_left_out(code: Code) -> bool {
    let info = code.op_code();
    match code.mnemonic() {
        // They change segment registers, which belong to the C library and the kernel.
        M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss | M::Retf | M::Iret | M::Iretd | M::Iretq => true,
        M::Pop if info.op_kinds().iter().any(|&k| is_segment(k)) => true,
        M::Jmp | M::Call if info.op0_kind() == K::mem => true,
        M::Swapgs | M::Wrfsbase | M::Wrgsbase | M::Rdfsbase | M::Rdgsbase => true,
        // They enter the kernel.
        M::Syscall | M::Sysenter | M::Sysret | M::Sysretq | M::Sysexit | M::Sysexitq => true,
        // A hypervisor around an AMD host reports ICEBP at the instruction, as if it were a fault.
        M::Int1 => true,
        // Their results depend on the host's kernel or on time.
        M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw | M::Lar | M::Lsl | M::Verr | M::Verw => true,
        M::Lgdt | M::Lidt | M::Lldt | M::Ltr | M::Lmsw => true,
        M::Cpuid | M::Rdtsc | M::Rdtscp | M::Rdpmc | M::Rdpid | M::Rdrand | M::Rdseed | M::Xgetbv => true,
        // Vector registers are the business of the SSE tests.
        M::Vzeroall | M::Vzeroupper | M::Vldmxcsr | M::Vstmxcsr => true,
        // AMD has them as instructions of its own, or with other encodings.
        M::Prefetch | M::Vmcall | M::Vmmcall | M::Serialize => true,
        _ if format!("{code:?}").ends_with("_0F0D") || info.encoding() == EncodingKind::XOP => true,
        // Encodings of an 8086 and an early 486 only.
        _ if code == Code::Popw_CS || format!("{code:?}").starts_with("Cmpxchg486") => true,
        // No processor came to have it.
        M::Pcommit => true,
        // Knights Corner only.
        _ if format!("{code:?}").starts_with("VEX_KNC") => true,
        _ => false,
    }
}

/// An outcome that is right on AMD's processors and not on Intel's.
pub fn differs_on_amd(e: &Encoding, before: &Registers, host: &Outcome, guest: &Outcome) -> bool {
    let canonical = ((host.rip << 16) as i64 >> 16) as u64 == host.rip;
    let faults = (host.fault.map(|f| f.0), guest.fault.map(|f| f.0));
    // The harness's own memory is there on the host only.
    let ours = |address: u64| address >> 20 == TRAMPOLINE >> 20;
    let jumps = matches!(e.insn.mnemonic(), M::Jmp | M::Call | M::Ret);
    if faults.1 == Some(14) && ours(guest.cr2) || jumps && ours(guest.rip) {
        return true;
    }
    // An access across 4 GiB in a segment with a limit of FFFFFFFFh may fault by the limit or wrap around.
    // SDM 3A, "Limit Checking".
    let wraps = |address: u64| !(16..0xffff_fff0).contains(&address);
    match faults {
        (Some(12 | 13), Some(14)) if wraps(guest.cr2) => return true,
        (Some(12 | 13), Some(17)) if wraps(cases::memory_operand(&e.insn, before, 32)) => return true,
        _ => {}
    }
    match e.insn.mnemonic() {
        // AMD raises #GP at an address that is not canonical, Intel at the branch and before its push.
        // SDM 2A, "JMP", "CALL"; 2B, "RET".
        M::Jmp | M::Call | M::Ret => {
            !canonical && faults.0 == Some(13)
                || matches!(faults, (Some(12 | 14 | 17), Some(13))) && e.insn.mnemonic() == M::Call
        }
        // AMD looks at the permission bitmap even when there is nothing to repeat. SDM 2B, "REP": no iteration.
        M::Insb | M::Insw | M::Insd | M::Outsb | M::Outsw | M::Outsd => {
            (e.insn.has_rep_prefix() || e.insn.has_repne_prefix()) && faults == (Some(13), None)
        }
        // Both operands fault: AMD reads the one at ES:DI first.
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => {
            matches!(faults, (Some(13 | 14 | 17), Some(13 | 14 | 17)))
                && (faults.0 != faults.1 || host.cr2 != guest.cr2)
        }
        // Counts above 16 on 16-bit operands: undefined, and Intel goes on with the first operand. OF at 16.
        M::Shld | M::Shrd => {
            let count =
                if e.insn.op2_kind() == OpKind::Register { before.regs[1] } else { e.insn.immediate(2) };
            e.insn.op1_register().size() == 2 && count & 31 >= 16
        }
        // Of its 16-bit operand AMD reads a doubleword. SDM 2B, "MOVSX/MOVSXD": r/m16.
        M::Movsxd => {
            e.insn.op0_register().size() == 2 && matches!(faults.0, Some(14 | 17)) && faults.0 != faults.1
        }
        // Intel demands a writable destination in any case. SDM 2A, "ARPL".
        M::Arpl => {
            matches!(faults, (None | Some(14), Some(13)))
                || faults == (Some(14), Some(14)) && host.cr2 == guest.cr2
        }
        // AMD keeps what it had popped when a page fault came. SDM 3A, "Exception Classifications": a fault
        // restores the state before.
        M::Popa | M::Popad => faults == (Some(14), Some(14)) && host.cr2 == guest.cr2,
        // With REX.B AMD exchanges registers, as without the F3 prefix; the decoder has Intel's table.
        M::Pause => e.bytes.len() > 2 && e.bytes[e.bytes.len() - 2] & 0xf1 == 0x41,
        // Of a 32-bit slot Intel writes the low half only. SDM 2B, "PUSH".
        M::Push => is_segment(e.insn.code().op_code().op0_kind()) && e.insn.stack_pointer_increment() == -4,
        _ => false,
    }
}

/// Is the operand a segment register?
fn is_segment(kind: K) -> bool {
    matches!(kind, K::es | K::cs | K::ss | K::ds | K::fs | K::gs)
}
