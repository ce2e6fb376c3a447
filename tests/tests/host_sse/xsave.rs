//! The XSAVE family: what must be enabled, what is refused, and what each format holds.
//! SDM vol. 1, "Managing State Using the XSAVE Feature Set".

use emu_core::cpu::control::{CR0_TS, CR4_OSXSAVE};
use emu_core::cpu::{Cpu, Fault, RAX, RBX, RCX, RDX};

use super::faults::run;
use super::guest::{self, ADDRESS};

// All at [rbx].
const XSAVE64: &[u8] = &[0x48, 0x0f, 0xae, 0x23];
const XSAVEOPT64: &[u8] = &[0x48, 0x0f, 0xae, 0x33];
const XSAVEC64: &[u8] = &[0x48, 0x0f, 0xc7, 0x23];
const XSAVES64: &[u8] = &[0x48, 0x0f, 0xc7, 0x2b];
const XRSTOR64: &[u8] = &[0x48, 0x0f, 0xae, 0x2b];
const XRSTORS64: &[u8] = &[0x48, 0x0f, 0xc7, 0x1b];
const XGETBV: &[u8] = &[0x0f, 0x01, 0xd0];
const XSETBV: &[u8] = &[0x0f, 0x01, 0xd1];

fn processor() -> Cpu {
    let mut cpu = guest::processor(64);
    cpu.write_cr4(cpu.cr4 | CR4_OSXSAVE | 1 << 5).unwrap();
    cpu.fpu.init();
    cpu.regs[RBX] = ADDRESS;
    cpu.regs[RAX] = 3;
    cpu.fpu.xcr0 = 3;
    cpu
}

fn image(cpu: &Cpu) -> [u8; 832] {
    let mut image = [0; 832];
    cpu.system().mem.read_bytes(ADDRESS, &mut image);
    image
}

fn quadword(image: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(image[at..at + 8].try_into().unwrap())
}

#[test]
fn all_of_them_need_osxsave() {
    let mut cpu = processor();
    cpu.cr4 &= !CR4_OSXSAVE;
    for bytes in [XSAVE64, XSAVEOPT64, XSAVEC64, XSAVES64, XRSTOR64, XRSTORS64, XGETBV, XSETBV] {
        assert_eq!(run(&mut cpu, bytes), Err(Fault::UD), "{bytes:02x?}");
    }
    cpu.cr4 |= CR4_OSXSAVE;
    cpu.cr0 |= CR0_TS;
    cpu.regs[RBX] = ADDRESS + 32;
    for (fault, bit) in [(Fault::NM, 0), (Fault::GP0, CR0_TS)] {
        cpu.cr0 &= !bit;
        for bytes in [XSAVE64, XSAVEOPT64, XSAVEC64, XSAVES64, XRSTOR64, XRSTORS64] {
            assert_eq!(run(&mut cpu, bytes), Err(fault), "{bytes:02x?}");
        }
    }
    cpu.cpl = 3;
    cpu.regs[RBX] = ADDRESS;
    for bytes in [XSAVES64, XRSTORS64, XSETBV] {
        assert_eq!(run(&mut cpu, bytes), Err(Fault::GP0), "{bytes:02x?}");
    }
}

#[test]
fn xcr0_takes_only_what_exists() {
    let mut cpu = processor();
    cpu.regs[RCX] = 0;
    cpu.regs[RDX] = 0;
    for (value, result) in [
        (2, Err(Fault::GP0)),
        (5, Err(Fault::GP0)),
        (0x103, Err(Fault::GP0)),
        (0x18, Err(Fault::GP0)),
        (1, Ok(())),
        (0x207, Ok(())),
        (0x201, Ok(())),
        (3, Ok(())),
    ] {
        cpu.regs[RAX] = value;
        assert_eq!(run(&mut cpu, XSETBV), result, "{value:x}");
    }
    cpu.regs[RAX] = 0;
    run(&mut cpu, XGETBV).unwrap();
    assert_eq!((cpu.regs[RAX], cpu.regs[RDX]), (3, 0));
    cpu.set_xmm(5, 1);
    cpu.regs[RCX] = 1;
    run(&mut cpu, XGETBV).unwrap();
    assert_eq!(cpu.regs[RAX], 2, "x87 has its initial configuration");
    cpu.regs[RCX] = 2;
    assert_eq!(run(&mut cpu, XGETBV), Err(Fault::GP0));
}

#[test]
fn the_standard_format_keeps_what_is_not_requested() {
    let mut cpu = processor();
    cpu.system_mut().mem.write_bytes(ADDRESS, &[0xaa; 832]);
    cpu.set_xmm(15, 0x1234);
    cpu.fpu.mxcsr = 0x9fc0;
    cpu.regs[RAX] = 2;
    run(&mut cpu, XSAVE64).unwrap();
    let saved = image(&cpu);
    assert_eq!(saved[..24], [0xaa; 24], "x87 was not asked for");
    assert_eq!(quadword(&saved, 24), 0xffff_0000_9fc0);
    assert_eq!(quadword(&saved, 160 + 240), 0x1234);
    assert_eq!(quadword(&saved, 512), 0xaaaa_aaaa_aaaa_aaaa, "bit 1 was set, the others stay");
    assert_eq!(saved[520..576], [0xaa; 56], "the rest of the header is not written");

    cpu.set_xmm(15, 0);
    cpu.system_mut().mem.write_bytes(ADDRESS, &[0; 832]);
    cpu.system_mut().mem.write_bytes(ADDRESS + 160, &[0x55; 256]);
    run(&mut cpu, XSAVEOPT64).unwrap();
    let saved = image(&cpu);
    assert_eq!(saved[160..416], [0x55; 256], "not in use, not written");
    assert_eq!((quadword(&saved, 24), quadword(&saved, 512)), (0xffff_0000_9fc0, 0));
}

#[test]
fn what_was_saved_comes_back_from_both_formats() {
    for (save, restore) in [(XSAVE64, XRSTOR64), (XSAVEC64, XRSTOR64), (XSAVES64, XRSTORS64)] {
        let mut cpu = processor();
        cpu.system_mut().mem.write_bytes(ADDRESS, &[0; 832]);
        run(&mut cpu, &[0xd9, 0xe8]).unwrap(); // fld1
        cpu.fpu.instruction.0 = 0;
        for n in 0..16 {
            cpu.set_xmm(n, u128::MAX / 17 * u128::from(n));
        }
        cpu.fpu.mxcsr = 0x1fa0;
        let before = cpu.fpu.clone();
        run(&mut cpu, save).unwrap();
        let format = if save == XSAVE64 { 0 } else { 1 << 63 | 3 };
        assert_eq!((quadword(&image(&cpu), 512), quadword(&image(&cpu), 520)), (3, format));
        cpu.fpu = emu_core::cpu::fpu::Fpu::default();
        cpu.fpu.xcr0 = 3;
        run(&mut cpu, restore).unwrap();
        assert_eq!(format!("{:?}", cpu.fpu), format!("{before:?}"), "{save:02x?}");
    }
}

#[test]
fn a_component_that_is_absent_is_initialized() {
    for (format, mxcsr) in [(0u64, 0x9fc0), (1 << 63 | 3, 0x1f80)] {
        let mut cpu = processor();
        cpu.system_mut().mem.write_bytes(ADDRESS, &[0; 832]);
        cpu.system_mut().mem.write_bytes(ADDRESS + 24, &0x9fc0u32.to_le_bytes());
        cpu.system_mut().mem.write_bytes(ADDRESS + 160, &[0x55; 256]);
        cpu.system_mut().mem.write_bytes(ADDRESS + 520, &format.to_le_bytes());
        run(&mut cpu, &[0xd9, 0xe8]).unwrap();
        cpu.set_xmm(3, 7);
        run(&mut cpu, XRSTOR64).unwrap();
        assert_eq!((cpu.fpu.control, cpu.fpu.valid, cpu.fpu.status_word()), (0x37f, 0, 0));
        assert_eq!(
            (cpu.xmm(3), cpu.fpu.mxcsr),
            (0, mxcsr),
            "MXCSR is part of SSE in the compacted format only"
        );
    }
}

#[test]
fn invalid_headers_are_refused() {
    let compacted = 1 << 63;
    for (words, instruction) in [
        ([4, 0, 0, 0], XRSTOR64),
        ([0, 1, 0, 0], XRSTOR64),
        ([0, 0, 1, 0], XRSTOR64),
        ([2, compacted | 1, 0, 0], XRSTOR64),
        ([0, compacted | 1 << 9, 0, 0], XRSTOR64),
        ([0, compacted | 3, 0, 1], XRSTOR64),
        ([0, 0, 0, 0], XRSTORS64),
    ] {
        let mut cpu = processor();
        cpu.system_mut().mem.write_bytes(ADDRESS, &[0; 832]);
        for (n, word) in words.iter().enumerate() {
            cpu.system_mut().mem.write_bytes(ADDRESS + 512 + 8 * n as u64, &u64::to_le_bytes(*word));
        }
        assert_eq!(run(&mut cpu, instruction), Err(Fault::GP0), "{words:x?}");
    }
    let mut cpu = processor();
    cpu.system_mut().mem.write_bytes(ADDRESS, &[0; 832]);
    cpu.system_mut().mem.write_bytes(ADDRESS + 26, &[1]);
    assert_eq!(run(&mut cpu, XRSTOR64), Err(Fault::GP0), "reserved bits of MXCSR");
}

/// Standard and compacted formats have PKRU at different places.
#[test]
fn pkru_and_the_upper_halves_are_components() {
    for (save, restore, components, pkru_at) in [
        (XSAVE64, XRSTOR64, 0x207, 2688),
        (XSAVEOPT64, XRSTOR64, 0x207, 2688),
        (XSAVEC64, XRSTOR64, 0x207, 832),
        (XSAVES64, XRSTORS64, 0x207, 832),
        (XSAVES64, XRSTORS64, 0x203, 576),
    ] {
        let mut cpu = processor();
        cpu.fpu.xcr0 = 0x207;
        cpu.regs[RAX] = components;
        cpu.regs[RDX] = 0;
        cpu.system_mut().mem.write_bytes(ADDRESS, &[0; 2704]);
        cpu.pkru = 0x5555_5554;
        for n in 0..16 {
            cpu.set_pieces(n, [0x11 + u128::from(n), 0x1111 << 64 | u128::from(n)]);
        }
        let before = cpu.fpu.clone();
        run(&mut cpu, save).unwrap();
        let mut image = [0; 2704];
        cpu.system().mem.read_bytes(ADDRESS, &mut image);
        assert_eq!(quadword(&image, 512), components & !1, "x87 is not in use");
        assert_eq!(quadword(&image, pkru_at), 0x5555_5554, "{save:02x?}");
        if components & 4 != 0 {
            assert_eq!((quadword(&image, 576 + 240), quadword(&image, 576 + 248)), (15, 0x1111));
        }
        let others: Vec<usize> = (576..2704).filter(|&n| image[n] == 0x55).collect();
        assert_eq!(others, [pkru_at + 1, pkru_at + 2, pkru_at + 3]);

        cpu.fpu = emu_core::cpu::fpu::Fpu::default();
        cpu.fpu.init();
        cpu.fpu.xcr0 = 0x207;
        cpu.pkru = 1;
        if components & 4 == 0 {
            for n in 0..16 {
                cpu.set_pieces(n, [0, 0x1111 << 64 | u128::from(n)]);
            }
        }
        run(&mut cpu, restore).unwrap();
        assert_eq!(cpu.pkru, 0x5555_5554);
        assert_eq!(format!("{:?}", cpu.fpu), format!("{before:?}"), "{save:02x?}");

        // In its initial configuration it is not written, and comes back as zero.
        cpu.pkru = 0;
        cpu.system_mut().mem.write_bytes(ADDRESS, &[0; 2704]);
        run(&mut cpu, save).unwrap();
        assert_eq!(quadword(&self::image(&cpu), 512) & 0x200, 0);
        cpu.pkru = 5;
        run(&mut cpu, restore).unwrap();
        assert_eq!(cpu.pkru, 0);
        cpu.pkru = 5;
        cpu.regs[RAX] = 6;
        run(&mut cpu, restore).unwrap();
        assert_eq!(cpu.pkru, 5, "not asked for");
    }
}

#[test]
fn xgetbv_tells_which_components_are_in_use() {
    let mut cpu = processor();
    cpu.fpu.xcr0 = 0x207;
    cpu.regs[RCX] = 1;
    cpu.set_pieces(9, [0, 1]);
    run(&mut cpu, XGETBV).unwrap();
    assert_eq!(cpu.regs[RAX], 4);
    cpu.pkru = 4;
    run(&mut cpu, &[0xc5, 0xf8, 0x77]).unwrap(); // vzeroupper
    run(&mut cpu, XGETBV).unwrap();
    assert_eq!(cpu.regs[RAX], 0x200);
}

/// As QEMU's, with which `emu diff` compares.
#[test]
fn a_processor_that_does_not_track_xinuse_has_all_in_use() {
    let mut cpu = processor();
    cpu.model.tracks_xinuse = false;
    cpu.fpu.xcr0 = 7;
    cpu.regs[RAX] = 7;
    for save in [XSAVE64, XSAVEOPT64, XSAVEC64] {
        cpu.system_mut().mem.write_bytes(ADDRESS, &[0; 832]);
        run(&mut cpu, save).unwrap();
        assert_eq!(quadword(&image(&cpu), 512), 7, "{save:02x?}");
    }
    cpu.regs[RCX] = 1;
    run(&mut cpu, XGETBV).unwrap();
    assert_eq!(cpu.regs[RAX], 7);
}
