//! What is seen on the screen and asked for with keys: GRUB's rescue images, iPXE, memtest86+.

use emu_core::engine::Engine;
use emu_devices::keys::Key;
use emu_devices::pc::PcConfig;
use emu_tests::board::{Board, memory_disk};
use emu_tests::engine::{BOTH, interpreter};

use super::Firmware;
use super::linux::packaged;

const B: Key = Key { code: 0x32, extended: false };
const C: Key = Key { code: 0x21, extended: false };

type MakeEngine = fn() -> Box<dyn Engine>;

fn from_disc(engine: MakeEngine, firmware: Firmware, ram: u64, package: &str, path: &str) -> Option<Board> {
    let bios = firmware.image()?;
    let cdrom = memory_disk(packaged(package, path)?);
    Some(Board::on(engine(), PcConfig { bios, ram_size: ram << 20, cdrom, ..PcConfig::default() }))
}

fn grub_rescue(board: &mut Board) {
    board.wait_for("GNU GRUB  version 2.06", 6000);
    board.wait_for("Change the colors", 500);
    board.press(C);
    board.wait_for("grub>", 1000);
}

fn grub_rescue_disc(firmware: Firmware) {
    for engine in BOTH {
        let path = "usr/lib/grub-rescue/grub-rescue-cdrom.iso";
        if let Some(mut board) = from_disc(engine, firmware, 64, "grub-rescue-pc", path) {
            grub_rescue(&mut board);
        }
    }
}

#[test]
#[ignore = "takes half a minute"]
fn grub_rescue_disc_comes_to_its_prompt_with_our_bios() {
    grub_rescue_disc(Firmware::Ours);
}

#[test]
#[ignore = "takes half a minute"]
fn grub_rescue_disc_comes_to_its_prompt_with_seabios() {
    grub_rescue_disc(Firmware::SeaBios);
}

fn grub_rescue_diskette(firmware: Firmware) {
    let Some(bios) = firmware.image() else { return };
    let Some(mut image) = packaged("grub-rescue-pc", "usr/lib/grub-rescue/grub-rescue-floppy.img") else {
        return;
    };
    image.resize(2880 * 512, 0);
    for engine in BOTH {
        let (bios, floppies) = (bios.clone(), [memory_disk(image.clone()), None]);
        let config = PcConfig { bios, ram_size: 64 << 20, floppies, ..PcConfig::default() };
        grub_rescue(&mut Board::on(engine(), config));
    }
}

#[test]
#[ignore = "takes half a minute"]
fn grub_rescue_diskette_comes_to_its_prompt_with_our_bios() {
    grub_rescue_diskette(Firmware::Ours);
}

#[test]
#[ignore = "takes half a minute"]
fn grub_rescue_diskette_comes_to_its_prompt_with_seabios() {
    grub_rescue_diskette(Firmware::SeaBios);
}

fn ipxe(engine: MakeEngine, firmware: Firmware) {
    let Some(mut board) = from_disc(engine, firmware, 64, "ipxe", "usr/lib/ipxe/ipxe.iso") else { return };
    board.wait_closely_for("Press Ctrl-B for the iPXE command line", 3000);
    board.press_together(&[Key::LEFT_CONTROL, B]);
    board.wait_for("iPXE>", 1000);
}

#[test]
#[ignore = "takes a minute"]
fn ipxe_comes_to_its_prompt_with_our_bios() {
    BOTH.iter().for_each(|&engine| ipxe(engine, Firmware::Ours));
}

#[test]
#[ignore = "takes a minute"]
fn ipxe_comes_to_its_prompt_with_seabios() {
    BOTH.iter().for_each(|&engine| ipxe(engine, Firmware::SeaBios));
}

fn memtest(engine: MakeEngine, firmware: Firmware, path: &str) {
    let Some(mut board) = from_disc(engine, firmware, 8, "memtest86+", path) else { return };
    board.wait_for("to start testing", 6000);
    board.press(Key::ENTER);
    board.wait_for("Status: Testing", 6000);
}

#[test]
fn memtest_disc_starts_testing_with_our_bios() {
    memtest(interpreter, Firmware::Ours, "usr/lib/memtest86+/memtest86+x64.iso");
}

#[test]
#[ignore = "takes half a minute"]
fn memtest_discs_start_testing_with_both_firmwares() {
    for firmware in [Firmware::Ours, Firmware::SeaBios] {
        for path in ["usr/lib/memtest86+/memtest86+x64.iso", "usr/lib/memtest86+/memtest86+ia32.iso"] {
            BOTH.iter().for_each(|&engine| memtest(engine, firmware, path));
        }
    }
}
