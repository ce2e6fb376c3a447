//! SeaBIOS sets up system management mode as on QEMU's board: it moves SMBASE into SMRAM, closes that, and then calls
//! its own 32-bit code from 16-bit code by SMI and RSM, with the states of both in the state-save map.

use std::fs;

use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, TimeSource};
use emu_devices::block::MemoryDisk;
use emu_devices::pc::{Pc, PcConfig};
use emu_tests::external;
use iced_x86::code_asm::*;

/// Instructions within which SeaBIOS starts the boot sector (it takes about half as many).
const ENOUGH: u64 = 80_000_000;
/// Where the boot sector leaves its results.
const RESULTS: u64 = 0x600;
const DONE: u8 = 0x5a;

/// Asks for the TPM, which SeaBIOS looks for in 32-bit code, with registers that must survive.
fn boot_sector() -> Vec<u8> {
    let mut a = CodeAssembler::new(16).unwrap();
    let mut assemble = || {
        let results = RESULTS as i32;
        a.xor(ax, ax)?;
        a.mov(ds, ax)?;
        a.mov(ebx, 0x1234_5678)?;
        a.mov(edi, 0x8765_4321u32)?;
        a.mov(eax, 0xbb00)?;
        a.int(0x1a)?;
        a.mov(dword_ptr(results), eax)?;
        a.mov(dword_ptr(results + 4), ebx)?;
        a.mov(dword_ptr(results + 8), edi)?;
        a.mov(eax, cr0)?;
        a.mov(dword_ptr(results + 12), eax)?;
        a.mov(byte_ptr(results + 16), u32::from(DONE))?;
        let mut end = a.create_label();
        a.set_label(&mut end)?;
        a.hlt()?;
        a.jmp(end)?;
        a.assemble(0x7c00)
    };
    let mut sector = assemble().unwrap();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

#[test]
fn seabios_moves_into_smram_and_calls_by_smi() {
    let Some(bios) = external::seabios() else { return };
    let mut disk = boot_sector();
    disk.resize(1 << 20, 0);
    let config = PcConfig {
        ram_size: 64 << 20,
        bios: fs::read(bios).expect("the firmware can be read"),
        vga_rom: Some(emu_roms::VGA_BIOS.to_vec()),
        disks: [Some(Box::new(MemoryDisk::from(disk))), None, None, None],
        ..PcConfig::default()
    };
    let (pc, mem) = Pc::new(config).expect("there is such a PC");
    let mut machine = Machine::new(mem, Box::new(pc), Box::new(Interpreter::default()), TimeSource::Virtual);
    let mut results = [0; 17];
    while results[16] != DONE && machine.instructions() < ENOUGH {
        let until = machine.instructions() + 100_000;
        let stop = machine.run(until);
        machine.cpu().system().mem.read_bytes(RESULTS, &mut results);
        assert!(results[16] == DONE || machine.instructions() >= until, "{stop:?}");
    }
    assert_eq!(results[16], DONE, "the boot sector did not end: {} instructions", machine.instructions());
    let word = |n: usize| u32::from_le_bytes(results[4 * n..4 * n + 4].try_into().unwrap());
    assert_eq!((word(1), word(2), word(3) & 1), (0x1234_5678, 0x8765_4321, 0), "{results:x?}");
    assert_ne!(word(0), 0xbb00, "an answer");
    let cpu = machine.cpu();
    assert_eq!((cpu.smm, cpu.management.base), (false, 0xa_0000));
    // One SMI to move, one to enter 32-bit code, one to come back.
    assert_eq!(cpu.management.count, 3);
    // Nobody outside sees SMRAM: the display answers there.
    assert!(cpu.system().mem.page(0xa_8000).is_mmio());
}
