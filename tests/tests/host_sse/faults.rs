//! What the host cannot be asked from user mode: checks of control registers, alignment, reserved bits, and the
//! x87 environment of other modes.

use emu_core::cpu::control::{CR0_EM, CR0_NE, CR0_PE, CR0_TS, CR4_OSFXSR, CR4_OSXMMEXCPT};
use emu_core::cpu::{CS, Cpu, Fallible, Fault, RAX, RIP, Segment};
use emu_core::decode::{CodeMode, decode};
use emu_core::softfloat::F80;

use super::guest::{self, ADDRESS};

const MOVAPS: &[u8] = &[0x0f, 0x28, 0x00]; // movaps xmm0, [rax]
const MOVUPS: &[u8] = &[0x0f, 0x10, 0x00];
const ADDPS: &[u8] = &[0x0f, 0x58, 0xc1]; // addps xmm0, xmm1
const PADDB_MMX: &[u8] = &[0x0f, 0xfc, 0xc1];
const FADD: &[u8] = &[0xd8, 0xc1];
const FNSTSW: &[u8] = &[0xdf, 0xe0];
const WAIT: &[u8] = &[0x9b];
const LDMXCSR: &[u8] = &[0x0f, 0xae, 0x10];
const FXSAVE: &[u8] = &[0x0f, 0xae, 0x00];
const FXRSTOR: &[u8] = &[0x0f, 0xae, 0x08];
const FNSTENV: &[u8] = &[0xd9, 0x30];
const FLDENV: &[u8] = &[0xd9, 0x20];
const FLD1: &[u8] = &[0xd9, 0xe8];

pub fn run(cpu: &mut Cpu, bytes: &[u8]) -> Fallible {
    let op = decode(bytes, CodeMode { size: cpu.code_size(), flat: false, ..CodeMode::LONG }, 0).unwrap();
    (op.run)(cpu, &op)
}

fn processor() -> Cpu {
    let mut cpu = guest::processor(64);
    cpu.fpu.init();
    cpu.regs[RAX] = ADDRESS;
    cpu
}

#[test]
fn control_registers_come_first() {
    let mut cpu = processor();
    cpu.regs[RAX] = ADDRESS + 1;
    cpu.cr0 |= CR0_TS;
    for bytes in [MOVAPS, ADDPS, PADDB_MMX, FADD, FNSTSW, FXSAVE, LDMXCSR] {
        assert_eq!(run(&mut cpu, bytes), Err(Fault::NM), "{bytes:02x?}");
    }
    assert_eq!(run(&mut cpu, WAIT), Err(Fault::NM), "CR0.MP is set");
    cpu.cr0 |= CR0_EM;
    for (bytes, fault) in [
        (MOVAPS, Fault::UD),
        (PADDB_MMX, Fault::UD),
        (LDMXCSR, Fault::UD),
        (FADD, Fault::NM),
        (FXSAVE, Fault::NM),
    ] {
        assert_eq!(run(&mut cpu, bytes), Err(fault), "{bytes:02x?}");
    }
    cpu.cr0 &= !(CR0_EM | CR0_TS);
    cpu.cr4 &= !CR4_OSFXSR;
    assert_eq!(run(&mut cpu, ADDPS), Err(Fault::UD));
    assert_eq!(run(&mut cpu, PADDB_MMX), Ok(()), "MMX does not depend on OSFXSR");
}

#[test]
fn alignment_is_demanded_of_all_but_the_unaligned_moves() {
    let mut cpu = processor();
    cpu.regs[RAX] = ADDRESS + 8;
    for bytes in [MOVAPS, &[0x0f, 0x29, 0x00], &[0x66, 0x0f, 0xfc, 0x00], FXSAVE, FXRSTOR] {
        assert_eq!(run(&mut cpu, bytes), Err(Fault::GP0), "{bytes:02x?}");
    }
    for bytes in
        [MOVUPS, &[0x0f, 0x11, 0x00], &[0xf2, 0x0f, 0x58, 0x00], &[0x66, 0x0f, 0x3a, 0x63, 0x00, 0x0c]]
    {
        assert_eq!(run(&mut cpu, bytes), Ok(()), "{bytes:02x?}");
    }
}

#[test]
fn a_vector_may_cross_pages() {
    let mut cpu = processor();
    cpu.regs[RAX] = ADDRESS + 0xff9;
    cpu.set_xmm(0, 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);
    run(&mut cpu, &[0x0f, 0x11, 0x00]).unwrap();
    run(&mut cpu, &[0x0f, 0x10, 0x08]).unwrap();
    assert_eq!(cpu.xmm(0), cpu.xmm(1));
}

/// As a random program found on silicon: ST(0) is empty, which stops the store when IE is not masked.
#[test]
fn a_store_that_an_unmasked_exception_stops_still_needs_its_memory() {
    // FST and FSTP m32 and m64, FIST and FISTP m16 to m64, FISTTP, FBSTP and FSTP m80
    let stores: [&[u8]; 11] = [
        &[0xd9, 0x10],
        &[0xd9, 0x18],
        &[0xdd, 0x10],
        &[0xdd, 0x18],
        &[0xdf, 0x10],
        &[0xdb, 0x18],
        &[0xdf, 0x38],
        &[0xdf, 0x08],
        &[0xdd, 0x08],
        &[0xdf, 0x30],
        &[0xdb, 0x38],
    ];
    for bytes in stores {
        let mut cpu = processor();
        cpu.fpu.control &= !1;
        cpu.regs[RAX] = 1 << 63;
        assert_eq!(run(&mut cpu, bytes), Err(Fault::GP0), "{bytes:02x?}");
        assert_eq!(cpu.fpu.status, 0, "{bytes:02x?}");
        cpu.regs[RAX] = ADDRESS;
        assert_eq!(run(&mut cpu, bytes), Ok(()), "{bytes:02x?}");
        assert_eq!(cpu.fpu.status, 0x80c1, "{bytes:02x?}");
    }
}

#[test]
fn reserved_bits_of_mxcsr_are_refused() {
    let mut cpu = processor();
    cpu.system_mut().mem.write_bytes(ADDRESS, &0x0001_1f80u32.to_le_bytes());
    assert_eq!(run(&mut cpu, LDMXCSR), Err(Fault::GP0));
    assert_eq!(cpu.fpu.mxcsr, 0x1f80);
    cpu.system_mut().mem.write_bytes(ADDRESS, &0xffbfu32.to_le_bytes());
    assert_eq!(run(&mut cpu, LDMXCSR), Ok(()));
    assert_eq!(cpu.fpu.mxcsr, 0xffbf);

    run(&mut cpu, FXSAVE).unwrap();
    cpu.system_mut().mem.write_bytes(ADDRESS + 24, &[0x80, 0x1f, 1, 0]);
    cpu.set_xmm(3, 3);
    assert_eq!(run(&mut cpu, FXRSTOR), Err(Fault::GP0));
    assert_eq!((cpu.fpu.mxcsr, cpu.xmm(3)), (0xffbf, 3), "nothing was loaded");
}

#[test]
fn an_unmasked_simd_exception_is_xm_or_ud() {
    let mut cpu = processor();
    // The low lanes are 1.0 and a signalling NaN, the others overflow.
    let one = 0x3f80_0000;
    cpu.set_xmm(0, 0x7f7f_ffff_7f7f_ffff_7f7f_ffff << 32 | one);
    cpu.set_xmm(1, 0x7f7f_ffff_7f7f_ffff_7f7f_ffff << 32 | 0x7f80_0001);
    let before = cpu.xmm(0);
    cpu.fpu.mxcsr = 0x1f00;
    assert_eq!(run(&mut cpu, ADDPS), Err(Fault::XM));
    assert_eq!((cpu.xmm(0), cpu.fpu.mxcsr), (before, 0x1f01), "no overflow: nothing was computed");
    cpu.cr4 &= !CR4_OSXMMEXCPT;
    assert_eq!(run(&mut cpu, ADDPS), Err(Fault::UD));
}

#[test]
fn an_x87_error_waits_for_the_next_waiting_instruction() {
    let mut cpu = processor();
    cpu.fpu.control = 0x37e;
    assert_eq!(run(&mut cpu, FADD), Ok(()), "the error itself: an empty stack");
    assert_eq!(cpu.fpu.status_word(), 0x80c1);
    assert_eq!(run(&mut cpu, FNSTSW), Ok(()));
    for bytes in [FADD, WAIT, FLD1, PADDB_MMX, FLDENV] {
        assert_eq!(run(&mut cpu, bytes), Err(Fault::MF), "{bytes:02x?}");
    }
    cpu.cr0 &= !CR0_NE;
    assert_eq!(run(&mut cpu, WAIT), Ok(()), "FERR# instead");
}

#[test]
fn fxsave_and_fxrstor_keep_everything() {
    for wide in [false, true] {
        let mut cpu = processor();
        cpu.fpu.top = 3;
        cpu.fpu.valid = 0x5a;
        cpu.fpu.status = 0x4501;
        cpu.fpu.opcode = 0x123;
        cpu.fpu.instruction = (if wide { 0 } else { 0x1234 }, if wide { 0x1_2345_6789 } else { 0x2345_6789 });
        cpu.fpu.data = (if wide { 0 } else { 0x4321 }, 0x89ab_cdef);
        cpu.fpu.mxcsr = 0x9fc0;
        for n in 0..8 {
            cpu.fpu.regs[n] = F80 { sign_exponent: 0x4000 + n as u16, significand: 1 << 63 | n as u64 };
        }
        for n in 0..16 {
            cpu.set_xmm(n, u128::MAX / 17 * u128::from(n));
        }
        let rex: &[u8] = if wide { &[0x48] } else { &[] };
        let before = cpu.fpu.clone();
        run(&mut cpu, &[rex, FXSAVE].concat()).unwrap();
        let mut image = [0; 512];
        cpu.system().mem.read_bytes(ADDRESS, &mut image);
        assert_eq!(image[..6], [0x7f, 3, 0x01, 0x5d, 0x5a, 0], "control, status with TOP, abridged tags");
        assert_eq!(image[32..42], before.regs[3].to_bytes(), "ST(0) comes first");
        assert_eq!(image[28..32], [0xff, 0xff, 0, 0], "MXCSR_MASK");
        cpu.fpu = emu_core::cpu::fpu::Fpu::default();
        run(&mut cpu, &[rex, FXRSTOR].concat()).unwrap();
        assert_eq!(format!("{:?}", cpu.fpu), format!("{before:?}"));
    }
}

/// What FNSTENV stores, as words.
fn environment(cpu: &mut Cpu, prefix: &[u8], bytes: usize) -> Vec<u16> {
    run(cpu, &[prefix, FNSTENV].concat()).unwrap();
    let mut image = vec![0; bytes];
    cpu.system().mem.read_bytes(ADDRESS, &mut image);
    image.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect()
}

#[test]
fn the_environment_has_four_layouts() {
    let fill = |cpu: &mut Cpu| {
        cpu.fpu.init();
        cpu.fpu.opcode = 0x6ab;
        cpu.fpu.instruction = (0x1000, 0x1_2345);
        cpu.fpu.data = (0x2000, 0x5678);
    };
    // 32-bit and 16-bit protected mode. SDM vol. 1, figures "Protected Mode x87 FPU State Image in Memory".
    let mut cpu = processor();
    fill(&mut cpu);
    let wide = environment(&mut cpu, &[], 28);
    assert_eq!(
        wide,
        [0x37f, 0xffff, 0, 0xffff, 0xffff, 0xffff, 0x2345, 1, 0x1000, 0x6ab, 0x5678, 0, 0x2000, 0xffff]
    );
    assert_eq!(environment(&mut cpu, &[0x66], 14), [0x37f, 0, 0xffff, 0x2345, 0x1000, 0x5678, 0x2000]);

    // Real mode: linear addresses. 10000h + 12345h = 22345h.
    cpu.efer = 0;
    cpu.cr0 &= !CR0_PE;
    cpu.seg = [Segment::real(0); 8];
    cpu.update_mode();
    assert_eq!(cpu.code_size(), 16);
    cpu.regs[3] = ADDRESS;
    cpu.regs[6] = 0;
    let narrow = environment(&mut cpu, &[], 14);
    assert_eq!(narrow, [0x37f, 0, 0xffff, 0x2345, 0x26ab, 0x5678, 0x2000]);
    let wide = environment(&mut cpu, &[0x66], 28);
    assert_eq!(
        wide,
        [0x37f, 0xffff, 0, 0xffff, 0xffff, 0xffff, 0x2345, 0xffff, 0x26ab, 0, 0x5678, 0xffff, 0x2000, 0]
    );
    // Back in: the opcode and the linear addresses stay.
    fill(&mut cpu);
    run(&mut cpu, &[0x66, 0xd9, 0x20]).unwrap();
    assert_eq!((cpu.fpu.opcode, cpu.fpu.instruction, cpu.fpu.data), (0x6ab, (0, 0x2_2345), (0, 0x2_5678)));
}

#[test]
fn the_pointers_name_the_last_instruction_that_computes() {
    let mut cpu = processor();
    cpu.seg[CS].selector = 0x33;
    cpu.regs[RIP] = 0x1234_5678_9abc;
    run(&mut cpu, &[0xd9, 0x00]).unwrap(); // fld dword [rax]
    assert_eq!((cpu.fpu.opcode, cpu.fpu.instruction), (0x100, (0x33, 0x1234_5678_9abc)));
    assert_eq!(cpu.fpu.data.1, ADDRESS);
    run(&mut cpu, FLD1).unwrap();
    assert_eq!((cpu.fpu.opcode, cpu.fpu.data.1), (0x1e8, ADDRESS), "no operand, no new data pointer");
    run(&mut cpu, FNSTSW).unwrap();
    assert_eq!(cpu.fpu.opcode, 0x1e8, "a control instruction leaves no trace");
}

#[test]
fn a_fault_of_the_operand_leaves_no_trace() {
    let mut cpu = processor();
    cpu.regs[RAX] = 1 << 62;
    let before = format!("{:?}", cpu.fpu);
    // fld dword, fstp qword, fnsave, paddb mm0, movaps xmm0, fxsave, all [rax]
    let all: [&[u8]; 6] = [&[0xd9, 0x00], &[0xdd, 0x18], &[0xdd, 0x30], &[0x0f, 0xfc, 0x00], MOVAPS, FXSAVE];
    for bytes in all {
        assert_eq!(run(&mut cpu, bytes), Err(Fault::GP0), "{bytes:02x?}");
        assert_eq!(format!("{:?}", cpu.fpu), before, "{bytes:02x?}");
    }
}

#[test]
fn a_full_stack_overflows_with_c1_set() {
    let mut cpu = processor();
    for _ in 0..8 {
        run(&mut cpu, FLD1).unwrap();
    }
    assert_eq!(cpu.fpu.status_word() & 0x7f, 0);
    run(&mut cpu, FLD1).unwrap();
    assert_eq!(cpu.fpu.status_word(), 0x3a41, "IE, SF, C1, TOP = 7");
    assert_eq!(cpu.st(0), F80 { sign_exponent: 0xffff, significand: 0xc000_0000_0000_0000 });
}
