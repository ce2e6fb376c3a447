//! VEX-encoded instructions where the host cannot be asked from user mode: what the operating system must enable,
//! modes without VEX, alignment checks, MXCSR, breakpoints within a gather.
//! SDM 2A, "AVX and SSE Instruction Exception Classification".

use emu_core::cpu::control::{CR0_AM, CR0_EM, CR0_PE, CR0_TS, CR4_OSFXSR, CR4_OSXSAVE};
use emu_core::cpu::fpu::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use emu_core::cpu::{Cpu, Fault, RAX, Segment, eflags};
use iced_x86::{Code, EncodingKind};

use super::faults::run;
use super::guest::{self, ADDRESS};
use super::random::Random;
use super::{cases, vex_features};

// All memory operands at [rax].
const VMOVAPS: &[u8] = &[0xc5, 0xf8, 0x28, 0x00];
const VMOVAPS_WIDE: &[u8] = &[0xc5, 0xfc, 0x28, 0x00];
const VMOVUPS: &[u8] = &[0xc5, 0xf8, 0x10, 0x00];
const VMOVUPS_STORE_WIDE: &[u8] = &[0xc5, 0xfc, 0x11, 0x00];
const VADDPS_WIDE: &[u8] = &[0xc5, 0xf4, 0x58, 0x00];
const VADDSS: &[u8] = &[0xc5, 0xf2, 0x58, 0x00];
const VADDSD: &[u8] = &[0xc5, 0xf3, 0x58, 0x00];
const VPMOVZXBW: &[u8] = &[0xc4, 0xe2, 0x79, 0x30, 0x00];
const VMASKMOVPS: &[u8] = &[0xc4, 0xe2, 0x71, 0x2c, 0x00];
const VMASKMOVPS_STORE: &[u8] = &[0xc4, 0xe2, 0x71, 0x2e, 0x00];
const VPGATHERDD: &[u8] = &[0xc4, 0xe2, 0x71, 0x90, 0x04, 0x10]; // xmm0, [rax+xmm2], xmm1
const VPGATHERQQ: &[u8] = &[0xc4, 0xe2, 0xf1, 0x91, 0x04, 0x10];
const VLDMXCSR: &[u8] = &[0xc5, 0xf8, 0xae, 0x10];
const VSTMXCSR: &[u8] = &[0xc5, 0xf8, 0xae, 0x18];
const VPADDD: &[u8] = &[0xc5, 0xe9, 0xfe, 0xcb];
const VZEROUPPER: &[u8] = &[0xc5, 0xf8, 0x77];
const MOVUPS: &[u8] = &[0x0f, 0x10, 0x00];

fn processor() -> Cpu {
    let mut cpu = guest::processor(64);
    guest::enable_avx(&mut cpu);
    cpu.regs[RAX] = ADDRESS;
    cpu.regs[7] = ADDRESS;
    cpu.regs[14] = ADDRESS;
    cpu
}

#[test]
fn the_operating_system_must_enable_avx() {
    let mut random = Random::new("enabled");
    let subject = |code: &Code| {
        code.op_code().encoding() == EncodingKind::VEX
            && code.cpuid_features().iter().all(|f| vex_features().contains(f))
    };
    let mut forms = 0;
    for code in Code::values().filter(subject) {
        for memory in [false, true] {
            let Some(insn) = cases::instruction(code, memory, 64, &mut random) else { continue };
            let bytes = cases::encode(&insn, 64).unwrap();
            let disable: [fn(&mut Cpu); 3] = [
                |cpu| cpu.cr4 &= !CR4_OSXSAVE,
                |cpu| cpu.fpu.xcr0 = XCR0_X87 | XCR0_SSE,
                |cpu| cpu.fpu.xcr0 = XCR0_X87,
            ];
            for disable in disable {
                let mut cpu = processor();
                disable(&mut cpu);
                cpu.cr0 |= CR0_TS;
                assert_eq!(run(&mut cpu, &bytes), Err(Fault::UD), "{code:?}");
                forms += 1;
            }
            let mut cpu = processor();
            cpu.cr0 |= CR0_TS;
            cpu.regs[14] = 1 << 62;
            assert_eq!(run(&mut cpu, &bytes), Err(Fault::NM), "{code:?} before its operand");
        }
    }
    assert!(forms > 3000, "{forms}");
}

#[test]
fn what_legacy_sse_needs_does_not_matter() {
    let mut cpu = processor();
    cpu.cr0 |= CR0_EM;
    cpu.cr4 &= !CR4_OSFXSR;
    assert_eq!(run(&mut cpu, VPADDD), Ok(()));
    assert_eq!(run(&mut cpu, MOVUPS), Err(Fault::UD));
}

#[test]
fn real_and_virtual_8086_mode_have_no_vex() {
    let mut cpu = processor();
    cpu.efer = 0;
    cpu.cr0 &= !CR0_PE;
    cpu.seg = [Segment::real(0); 8];
    cpu.update_mode();
    assert_eq!(cpu.code_size(), 16);
    let register_forms = [VPADDD, VZEROUPPER];
    for bytes in register_forms {
        assert_eq!(run(&mut cpu, bytes), Err(Fault::UD), "{bytes:02x?}");
    }
    cpu.cr0 |= CR0_PE;
    cpu.set_flags(cpu.flags.get() | eflags::VM);
    cpu.update_mode();
    assert!(cpu.v86());
    for bytes in register_forms {
        assert_eq!(run(&mut cpu, bytes), Err(Fault::UD), "{bytes:02x?}");
    }
    // 16-bit protected mode has them.
    cpu.set_flags(cpu.flags.get() & !eflags::VM);
    cpu.cpl = 0;
    cpu.update_mode();
    assert_eq!((cpu.code_size(), cpu.paragraphs()), (16, false));
    for bytes in register_forms {
        assert_eq!(run(&mut cpu, bytes), Ok(()), "{bytes:02x?}");
    }
}

#[test]
fn only_the_aligned_moves_demand_alignment() {
    let mut cpu = processor();
    for (offset, bytes, result) in [
        (8, VMOVAPS, Err(Fault::GP0)),
        (16, VMOVAPS, Ok(())),
        (16, VMOVAPS_WIDE, Err(Fault::GP0)),
        (32, VMOVAPS_WIDE, Ok(())),
        (1, VMOVUPS, Ok(())),
        (1, VMOVUPS_STORE_WIDE, Ok(())),
        (1, VADDPS_WIDE, Ok(())),
        (1, VADDSD, Ok(())),
    ] {
        cpu.regs[RAX] = ADDRESS + offset;
        assert_eq!(run(&mut cpu, bytes), result, "{bytes:02x?} at {offset}");
    }
}

/// AMD's processors check 128 and 256 bits too; by Intel's classification only accesses of 8 bytes and less can raise
/// #AC, and masked moves and gathers never do.
#[test]
fn alignment_checks_concern_scalars_only() {
    let mut cpu = processor();
    cpu.cr0 |= CR0_AM;
    cpu.cpl = 3;
    cpu.set_flags(cpu.flags.get() | eflags::AC);
    cpu.update_mode();
    cpu.set_xmm(1, u128::MAX);
    cpu.set_xmm(2, 0);
    for (bytes, checked) in [
        (VMOVUPS, false),
        (VMOVUPS_STORE_WIDE, false),
        (VADDPS_WIDE, false),
        (VMASKMOVPS, false),
        (VMASKMOVPS_STORE, false),
        (VPGATHERDD, false),
        (VADDSS, true),
        (VADDSD, true),
        (VPMOVZXBW, true),
        (VLDMXCSR, true),
        (MOVUPS, true),
    ] {
        cpu.regs[RAX] = ADDRESS + 1;
        cpu.set_xmm(1, u128::MAX);
        let expected = if checked { Err(Fault::AC) } else { Ok(()) };
        assert_eq!(run(&mut cpu, bytes), expected, "{bytes:02x?}");
    }
}

#[test]
fn mxcsr_is_loaded_and_stored_with_vex_too() {
    let mut cpu = processor();
    cpu.fpu.mxcsr = 0x1fa0;
    assert_eq!(run(&mut cpu, VSTMXCSR), Ok(()));
    let mut image = [0; 4];
    cpu.system().mem.read_bytes(ADDRESS, &mut image);
    assert_eq!(image, [0xa0, 0x1f, 0, 0]);
    cpu.system_mut().mem.write_bytes(ADDRESS, &0x9fc0u32.to_le_bytes());
    assert_eq!(run(&mut cpu, VLDMXCSR), Ok(()));
    assert_eq!(cpu.fpu.mxcsr, 0x9fc0);
    cpu.system_mut().mem.write_bytes(ADDRESS, &0x0001_1f80u32.to_le_bytes());
    assert_eq!(run(&mut cpu, VLDMXCSR), Err(Fault::GP0));
    assert_eq!(cpu.fpu.mxcsr, 0x9fc0);
}

#[test]
fn masked_elements_do_not_reach_the_segment_limit() {
    let mut cpu = processor();
    cpu.seg[emu_core::cpu::CS].rights = emu_core::cpu::Rights(0xc09b);
    for register in [emu_core::cpu::DS, emu_core::cpu::ES, emu_core::cpu::SS] {
        cpu.seg[register] = Segment::real(0);
        cpu.seg[register].rights = emu_core::cpu::Rights(0xc093);
        cpu.seg[register].limit = 0x7fff;
    }
    cpu.update_mode();
    assert_eq!(cpu.code_size(), 32);
    cpu.regs[RAX] = 0x7ff8;
    for (mask, result) in [(0x8000_0000_8000_0000, Ok(())), (1 << 95, Err(Fault::GP0)), (0, Ok(()))] {
        cpu.set_xmm(1, mask);
        assert_eq!(run(&mut cpu, VMASKMOVPS), result, "{mask:x}");
        assert_eq!(run(&mut cpu, VMASKMOVPS_STORE), result, "{mask:x}");
    }
}

#[test]
fn a_gather_that_faults_reports_the_breakpoint_it_met_first() {
    let mut cpu = processor();
    cpu.write_debug(0, ADDRESS);
    cpu.write_debug(7, 0x000b_0401); // eight bytes, reads and writes
    cpu.set_pieces(0, [7, 7]);
    cpu.set_pieces(1, [u128::MAX, u128::MAX]);
    cpu.system_mut().mem.write_bytes(ADDRESS, &0x1234u64.to_le_bytes());
    // The second address is not canonical.
    cpu.set_xmm(2, 1 << (64 + 62));
    assert_eq!(run(&mut cpu, VPGATHERQQ), Err(Fault::DB));
    assert_eq!(cpu.dr[6] & 0xf, 1);
    assert_eq!(cpu.xmm(0), 0x1234, "the first element is there");
    assert_eq!(cpu.pieces::<2>(1), [u128::from(u64::MAX) << 64, u128::MAX], "and done in the mask");
    assert_eq!(cpu.pieces::<2>(0)[1], 7, "the upper half waits for the end");
    // The next attempt begins with the second element.
    assert_eq!(run(&mut cpu, VPGATHERQQ), Err(Fault::GP0));
    cpu.set_xmm(2, 8 << 64);
    assert_eq!(run(&mut cpu, VPGATHERQQ), Ok(()));
    assert_eq!((cpu.pieces::<2>(0), cpu.pieces::<2>(1)), ([0x1234, 0], [0, 0]));
}

#[test]
fn all_of_it_is_reported() {
    let mut cpu = processor();
    let [_, _, features, _] = cpu.cpuid(1, 0);
    for bit in [12, 26, 27, 28, 29] {
        assert!(features >> bit & 1 != 0, "leaf 1, ECX bit {bit}");
    }
    assert!(cpu.cpuid(7, 0)[1] >> 5 & 1 != 0, "AVX2");
    cpu.fpu.xcr0 = XCR0_X87;
    assert_eq!(cpu.cpuid(0xd, 0), [0x207, 576, 2696, 0]);
    assert_eq!((cpu.cpuid(0xd, 2), cpu.cpuid(0xd, 9)), ([256, 576, 0, 0], [8, 2688, 0, 0]));
    for (xcr0, standard, compacted) in
        [(3, 576, 576), (7, 832, 832), (0x203, 2696, 584), (0x207, 2696, 840), (XCR0_AVX | 3, 832, 832)]
    {
        cpu.fpu.xcr0 = xcr0;
        assert_eq!((cpu.cpuid(0xd, 0)[1], cpu.cpuid(0xd, 1)[1]), (standard, compacted), "{xcr0:x}");
    }
}
