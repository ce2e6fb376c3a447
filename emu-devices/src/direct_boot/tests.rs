//! Where parts go, what is refused, and that no file does harm.

use super::*;
use crate::random::{Random, seeds};

const MIB: u64 = 1 << 20;

/// A Multiboot image that says where it goes: header at 0, 16 bytes behind it, at 1 MiB.
fn flat() -> Vec<u8> {
    let fields =
        [0x1bad_b002u32, 0x1_0003, 0xe451_4ffb, 0x10_0000, 0x10_0000, 0x10_0030, 0x10_1000, 0x10_0020];
    let mut image: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    image.extend_from_slice(&[0x90; 16]);
    image
}

/// An ELF file of 32 bits with one segment of 16 bytes, at 2 MiB; a Multiboot header, or a PVH note.
fn elf(multiboot: bool) -> Vec<u8> {
    let mut image = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    for field in [0x20_0004u32, 52, 0, 0] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    for field in [52u16, 32, 2, 0, 0, 0] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    for row in [[1u32, 0x100, 0x20_0000, 0x20_0000, 16, 0x1000, 7, 4096], [4, 0x110, 0, 0, 20, 20, 4, 4]] {
        image.extend(row.iter().flat_map(|field| field.to_le_bytes()));
    }
    image.resize(0x100, 0);
    image.extend_from_slice(&[0x90; 16]);
    if multiboot {
        image.extend([0x1bad_b002u32, 0, 0xe452_4ffe].iter().flat_map(|field| field.to_le_bytes()));
        image.resize(0x124, 0);
    } else {
        image.extend_from_slice(b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\x08\0\x20\0");
    }
    image
}

fn boot(image: Vec<u8>, modules: &[usize]) -> Result<Handoff, KernelError> {
    let modules =
        modules.iter().map(|&size| Module { bytes: vec![7; size].into(), text: b"m".to_vec() }).collect();
    let request = Request { image: image.into(), modules, ram_size: 16 * MIB, ..Request::default() };
    match BootKernel::new(request)? {
        BootKernel::Protected(handoff) => Ok(handoff),
        BootKernel::Real(_) => panic!("it is none"),
    }
}

/// The commands of the block: control, length, address.
fn commands(handoff: &Handoff) -> Vec<(u32, u32, u32)> {
    let field = |row: &[u8], at: usize| u32::from_be_bytes(row[at..at + 4].try_into().unwrap());
    let rows = handoff.block.bytes[0x300..].chunks(16);
    rows.map(|row| (field(row, 0), field(row, 4), field(row, 12))).take_while(|row| row.0 != 0).collect()
}

#[test]
fn segments_zeros_and_modules_are_loaded_in_turn() {
    let loaded = boot(flat(), &[5000, 3]).unwrap();
    assert_eq!((loaded.entry, loaded.modules.len()), (0x10_0020, 5003));
    assert_eq!(
        commands(&loaded),
        [
            (0x0011_000c, 0, 0), // the kernel's item, from its first byte
            (0x2, 0x30, 0x10_0000),
            (0x3fff_000a, 0xfd0, 0x10_0030),
            (0x0012_000a, 5000, 0x10_1000),
            (0x2, 3, 0x10_3000),
        ]
    );
    let loaded = boot(elf(true), &[]).unwrap();
    assert_eq!(loaded.entry, 0x20_0004);
    assert_eq!(commands(&loaded)[0], (0x0011_000c, 0x100, 0));
    assert_eq!(commands(&loaded)[1..], [(0x2, 16, 0x20_0000), (0x3fff_000a, 0xff0, 0x20_0010)]);
    assert_eq!(
        boot(elf(false), &[]).unwrap().entry,
        0x20_0008,
        "a PVH kernel is entered where its note says"
    );
}

#[test]
fn the_block_keeps_out_of_the_kernels_way() {
    let mut low = elf(true);
    low[52 + 12..52 + 16].copy_from_slice(&0x1_0000u32.to_le_bytes());
    low[24..28].copy_from_slice(&0x1_0000u32.to_le_bytes());
    low[52 + 8..52 + 12].copy_from_slice(&0x1_0000u32.to_le_bytes());
    assert_eq!(boot(flat(), &[]).unwrap().block.address, 0x1_0000);
    assert_eq!(boot(low.clone(), &[]).unwrap().block.address, 0x1_1000);
    low[52 + 20..52 + 24].copy_from_slice(&0x7_0000u32.to_le_bytes());
    assert_eq!(boot(low, &[]), Err(KernelError::LowMemory));
}

#[test]
fn what_cannot_be_booted_is_named() {
    let changed = |mut image: Vec<u8>, at: usize, value: u32| {
        image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        image
    };
    let flags = |flags: u32| {
        let check = 0u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags);
        changed(changed(flat(), 4, flags), 8, check)
    };
    for (image, error) in [
        (b"a text".to_vec(), KernelError::NoKernel),
        (Vec::new(), KernelError::NoKernel),
        (changed(flat(), 8, 0), KernelError::NoKernel),
        (flags(0x1_0013), KernelError::Requirement(0x10)),
        (flags(3), KernelError::NoAddresses),
        (changed(flat(), 12, 0xf_ffff), KernelError::Addresses),
        (changed(flat(), 16, 0x0f_0000), KernelError::Addresses),
        (changed(flat(), 20, 0x10_0031), KernelError::Truncated { found: 48, expected: 49 }),
        (changed(flat(), 24, 0x10_0010), KernelError::Addresses),
        (changed(flat(), 24, 0x1000_0000), KernelError::Memory(256 * MIB, 16 * MIB - 256 * 1024)),
        (changed(flat(), 28, 0x10_1000), KernelError::Entry(0x10_1000)),
        (changed(elf(true), 52 + 12, 0x9_fff0), KernelError::NoRam(0x9_fff0, 0xa_0ff0)),
        (changed(elf(true), 18, 0x1_00b7), KernelError::Machine(0xb7)),
        (changed(elf(false), 44, 0xffff), KernelError::Headers),
        (changed(elf(false), 0x118, 19), KernelError::NoEntry),
        (elf(true)[..0x108].to_vec(), KernelError::Truncated { found: 0x108, expected: 0x110 }),
        (elf(false)[..0x120].to_vec(), KernelError::Truncated { found: 0x120, expected: 0x124 }),
    ] {
        assert_eq!(boot(image, &[]), Err(error));
    }
    let room = 15 * MIB - 256 * 1024 - 0x1000;
    assert!(boot(flat(), &[room as usize]).is_ok());
    assert_eq!(boot(flat(), &[room as usize + 1]), Err(KernelError::Initrd(room + 1, room)));
    let long = Request {
        image: flat().into(),
        command_line: vec![b'x'; 1 << 20],
        ram_size: 16 * MIB,
        ..Request::default()
    };
    assert_eq!(BootKernel::new(long), Err(KernelError::LowMemory));
    let wrong = Request { image: flat().into(), linux_entry: LinuxEntry::Long, ..Request::default() };
    assert_eq!(BootKernel::new(wrong), Err(KernelError::NoBzImage));
}

/// Damaged and truncated files of each kind: refused or placed, never anything else, and never beyond RAM.
#[test]
fn damaged_kernels_do_no_harm() {
    for seed in seeds(7..8) {
        let mut random = Random::new(seed);
        for image in [flat(), elf(true), elf(false)] {
            for _ in 0..20_000 {
                let mut damaged = image.clone();
                for _ in 0..1 + random.below(4) {
                    let at = random.below(damaged.len() as u32) as usize;
                    damaged[at] = if random.below(2) == 0 { random.next() as u8 } else { 0xff };
                }
                if random.below(4) == 0 {
                    damaged.truncate(random.below(damaged.len() as u32) as usize);
                }
                let Ok(placed) = boot(damaged, &[100]) else { continue };
                let end = 16 * MIB - 256 * 1024;
                for (control, length, address) in commands(&placed) {
                    let skip = control & 4 != 0;
                    assert!(skip || u64::from(address) + u64::from(length) <= end, "{address:x} {length:x}");
                }
            }
        }
    }
}
