//! Every standard video mode, mode X and VBE's linear modes, set by a guest (`guest.S`) with our VGA BIOS and with
//! SeaBIOS's, on both engines: what a monitor shows is what the guest drew, in the size that the mode has.

mod services;

use std::path::Path;

use emu_devices::pc::PcConfig;
use emu_devices::vga::Image;
use emu_tests::assembler::boot_sector;
use emu_tests::board::{Board, memory_disk};
use emu_tests::engine::BOTH;
use emu_tests::external::{seabios, skip};
use emu_tests::scratch::Scratch;

/// The row and the column that the guest draws.
const ROW: usize = 5;
const COLUMN: usize = 3;
const TEXT: u8 = 0;
const PIXELS: u8 = 1;
const MODE_X: u8 = 2;
const LINEAR: u8 = 3;
const WHITE: [u8; 3] = [255; 3];

/// SeaBIOS's VGA BIOS for this VGA; Debian's package seabios has it.
const STANDARD_VGA: &str = "/usr/share/seabios/vgabios-stdvga.bin";

/// A BIOS and its VGA BIOS; nothing for ours.
#[derive(Clone)]
struct Firmware {
    bios: Vec<u8>,
    vga_rom: Option<Vec<u8>>,
}

const OURS: Firmware = Firmware { bios: Vec::new(), vga_rom: None };

/// A mode, and what the guest does in it.
#[derive(Clone, Copy, Debug)]
struct Mode {
    number: u16,
    width: u16,
    height: u16,
    colour: u8,
    kind: u8,
    /// Dots that the monitor shows.
    dots: (usize, usize),
}

const fn text(number: u16) -> Mode {
    Mode { number, width: 0, height: 0, colour: 0, kind: TEXT, dots: (720, 400) }
}

const fn pixels(number: u16, width: u16, height: u16, colour: u8, dots: (usize, usize)) -> Mode {
    Mode { number, width, height, colour, kind: PIXELS, dots }
}

const fn linear(number: u16, width: u16, height: u16, colour: u8) -> Mode {
    Mode { number, width, height, colour, kind: LINEAR, dots: (width as usize, height as usize) }
}

const TEXT_MODES: [Mode; 5] = [text(0), text(1), text(2), text(3), text(7)];
const PLANAR: [Mode; 4] = [
    pixels(0x0d, 320, 200, 15, (640, 400)),
    pixels(0x0e, 640, 200, 15, (640, 400)),
    pixels(0x10, 640, 350, 15, (640, 350)),
    pixels(0x12, 640, 480, 15, (640, 480)),
];
const BYTES: Mode = pixels(0x13, 320, 200, 15, (640, 400));
/// CGA's, and the two with few colours.
const FEW_COLOURS: [Mode; 5] = [
    pixels(0x04, 320, 200, 3, (640, 400)),
    pixels(0x05, 320, 200, 3, (640, 400)),
    pixels(0x06, 640, 200, 1, (640, 400)),
    pixels(0x0f, 640, 350, 3, (640, 350)),
    pixels(0x11, 640, 480, 15, (640, 480)),
];
const MODE_X_ITSELF: Mode =
    Mode { number: 0x13, width: 320, height: 240, colour: 0, kind: MODE_X, dots: (640, 480) };
/// Of 8, 15, 16, 24 and, by Bochs's numbers, 32 bits.
const LINEAR_MODES: [Mode; 8] = [
    linear(0x101, 640, 480, 15),
    linear(0x105, 1024, 768, 15),
    linear(0x110, 640, 480, 255),
    linear(0x111, 640, 480, 255),
    linear(0x112, 640, 480, 255),
    linear(0x115, 800, 600, 255),
    linear(0x118, 1024, 768, 255),
    linear(0x142, 640, 480, 255),
];

/// What the monitor shows when the guest has drawn, and the text if it is any.
fn shown(mode: Mode, firmware: &Firmware, sector: &[u8]) -> Vec<(Image, Vec<String>)> {
    let mut disk = sector.to_vec();
    let words = [mode.number, mode.width, mode.height].map(u16::to_le_bytes).concat();
    disk[0x1f0..0x1f6].copy_from_slice(&words);
    disk[0x1f6..0x1f8].copy_from_slice(&[mode.colour, mode.kind]);
    disk.resize(63 * 512, 0);
    BOTH.map(|engine| {
        let disks = [memory_disk(disk.clone()), None, None, None];
        let Firmware { bios, vga_rom, .. } = firmware.clone();
        let config = PcConfig { ram_size: 16 << 20, disks, bios, vga_rom, ..PcConfig::default() };
        let config = PcConfig { debug_exit_port: Some(0xf4), ..config };
        let mut board = Board::on(engine(), config);
        assert!(board.run_to_exit(200), "{mode:x?}: it does not end");
        (board.picture(), board.screen())
    })
    .into()
}

fn dot(image: &Image, x: usize, y: usize) -> [u8; 3] {
    let at = (y * image.width + x) * 3;
    image.rgb[at..at + 3].try_into().expect("three bytes")
}

/// Row and column are there, each pixel as many dots as it has, and all else is black.
fn check_lines(mode: Mode, image: &Image) {
    let (across, down) = (mode.dots.0 / usize::from(mode.width), mode.dots.1 / usize::from(mode.height));
    for y in 0..image.height {
        for x in 0..image.width {
            let (column, row) = (x / across, y / down);
            let drawn = row == ROW || column == COLUMN;
            let found = dot(image, x, y);
            let fits = match (drawn, mode.kind) {
                (false, _) => found == [0; 3],
                // Two colours for black and white, and the brightest of CGA's second palette may be grey.
                (true, PIXELS) if matches!(mode.number, 4..=6 | 0x0f) => found[0] >= 0xa0,
                (true, MODE_X) => {
                    // The EGA's first 16 colours: blue, green, red and dark grey are 1, 2, 4 and 8.
                    let plane = if row == ROW { column % 4 } else { COLUMN };
                    found == [[0, 0, 170], [0, 170, 0], [170, 0, 0], [85, 85, 85]][plane]
                }
                (true, _) => found == WHITE,
            };
            assert!(fits, "{mode:x?}: {found:?} at {column}, {row}");
        }
    }
}

fn check_text(mode: Mode, image: &Image, rows: &[String]) {
    assert!(
        rows[0].contains("Mode set") || rows.iter().any(|row| row.contains("Mode set")),
        "{mode:x?}: {rows:#?}"
    );
    let lit = |y: std::ops::Range<usize>| {
        y.flat_map(|y| (0..image.width).map(move |x| (x, y)))
            .filter(|&(x, y)| dot(image, x, y) != [0; 3])
            .count()
    };
    assert!(lit(0..16) > 50, "{mode:x?}: letters are drawn");
    assert_eq!(lit(48..image.height), 0, "{mode:x?}: and nothing else");
}

fn check(modes: &[Mode], firmware: &Firmware) {
    let folder = Scratch::new(&format!("video-{:x}-{}", modes[0].number, firmware.vga_rom.is_some()));
    let sector = boot_sector(&folder, "tests/video_modes/guest.S");
    for &mode in modes {
        for (image, rows) in shown(mode, firmware, &sector) {
            assert_eq!((image.width, image.height), mode.dots, "{mode:x?}");
            match mode.kind {
                TEXT => check_text(mode, &image, &rows),
                _ => {
                    assert!(rows.is_empty(), "{mode:x?} shows no text");
                    check_lines(mode, &image);
                }
            }
        }
    }
}

fn seabios_pair() -> Option<Firmware> {
    let bios = std::fs::read(seabios()?).expect("it was found");
    let image = std::fs::read(Path::new(STANDARD_VGA));
    let vga_rom =
        image.map_err(|error| skip(&format!("{STANDARD_VGA} (Debian package seabios): {error}"))).ok()?;
    Some(Firmware { bios, vga_rom: Some(vga_rom) })
}

fn check_standard_modes(firmware: &Firmware) {
    check(&TEXT_MODES, firmware);
    check(&PLANAR, firmware);
    check(&FEW_COLOURS, firmware);
    check(&[BYTES, MODE_X_ITSELF], firmware);
}

#[test]
fn all_standard_modes_with_our_vga_bios() {
    check_standard_modes(&OURS);
}

#[test]
fn all_standard_modes_with_the_vga_bios_of_seabios() {
    seabios_pair().iter().for_each(check_standard_modes);
}

#[test]
fn linear_modes_of_every_depth_by_our_vga_bios() {
    check(&LINEAR_MODES, &OURS);
}

#[test]
fn linear_modes_of_every_depth_by_the_vga_bios_of_seabios() {
    seabios_pair().iter().for_each(|firmware| check(&LINEAR_MODES, firmware));
}
