//! The chip as the VGA BIOS and programs see it. Mode tables are those of the IBM manual, "Video Modes".

use emu_core::bus::{Mmio, PortIoWide, Tick};

use super::*;
use crate::random::{Random, seeds};

fn out(vga: &mut Vga, port: u16, value: u8) {
    PortIoWide::write(vga, port, 1, value.into(), 0);
}

fn input(vga: &mut Vga, port: u16) -> u8 {
    PortIoWide::read(vga, port, 1, 0) as u8
}

/// Writes index and data as one 16-bit OUT.
fn indexed(vga: &mut Vga, port: u16, index: u8, value: u8) {
    PortIoWide::write(vga, port, 2, u32::from(value) << 8 | u32::from(index), 0);
}

struct Mode {
    miscellaneous: u8,
    sequencer: [u8; 5],
    crtc: [u8; 25],
    graphics: [u8; 9],
    mode_control: u8,
    pel_panning: u8,
}

/// 80 x 25 characters of 9 x 16 dots.
const MODE_3: Mode = Mode {
    miscellaneous: 0x67,
    sequencer: [3, 0, 3, 0, 2],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f,
        0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
    mode_control: 0x0c,
    pel_panning: 8,
};

/// 320 x 200 pixels of 4 colours, as on the CGA.
const MODE_4: Mode = Mode {
    miscellaneous: 0x63,
    sequencer: [3, 9, 3, 0, 2],
    crtc: [
        0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x14, 0,
        0x96, 0xb9, 0xa2, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x30, 0x0f, 0, 0xff],
    mode_control: 1,
    pel_panning: 0,
};

/// 640 x 480 pixels of 16 colours.
const MODE_12: Mode = Mode {
    miscellaneous: 0xe3,
    sequencer: [3, 1, 0x0f, 0, 6],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x8c, 0xdf, 0x28, 0,
        0xe7, 0x04, 0xe3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff],
    mode_control: 1,
    pel_panning: 0,
};

/// 320 x 200 pixels of 256 colours.
const MODE_13: Mode = Mode {
    miscellaneous: 0x63,
    sequencer: [3, 1, 0x0f, 0, 0x0e],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28,
        0x40, 0x96, 0xb9, 0xa3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff],
    mode_control: 0x41,
    pel_panning: 0,
};

fn vga(mode: &Mode) -> Vga {
    let mut vga = Vga::new();
    out(&mut vga, 0x3c2, mode.miscellaneous);
    for (index, value) in (0..).zip(mode.sequencer) {
        indexed(&mut vga, 0x3c4, index, value);
    }
    indexed(&mut vga, 0x3d4, 0x11, 0);
    for (index, value) in (0..).zip(mode.crtc) {
        indexed(&mut vga, 0x3d4, index, value);
    }
    for (index, value) in (0..).zip(mode.graphics) {
        indexed(&mut vga, 0x3ce, index, value);
    }
    input(&mut vga, 0x3da);
    // Palette 0 to 15 straight through.
    let attributes = (0..16).chain([mode.mode_control, 0, 0x0f, mode.pel_panning, 0]);
    for (index, value) in (0..).zip(attributes) {
        out(&mut vga, 0x3c0, index);
        out(&mut vga, 0x3c0, value);
    }
    out(&mut vga, 0x3c0, 0x20);
    // Colour n is (n, n, n) of 63.
    out(&mut vga, 0x3c8, 0);
    for color in 0..64 {
        for _ in 0..3 {
            out(&mut vga, 0x3c9, color);
        }
    }
    vga
}

fn poke(vga: &mut Vga, address: u64, value: u8) {
    Mmio::write(vga, address - 0xa0000, 1, value.into(), 0);
}

fn peek(vga: &mut Vga, address: u64) -> u8 {
    Mmio::read(vga, address - 0xa0000, 1, 0) as u8
}

/// Colour number of a pixel.
fn pixel(image: &Image, x: usize, y: usize) -> u8 {
    image.rgb[(y * image.width + x) * 3] >> 2
}

/// Puts a glyph for a character into plane 2 of the font, as a VGA BIOS does.
fn load_glyph(vga: &mut Vga, font: u64, character: u8, glyph: [u8; 16]) {
    for (port, index, value) in [(0x3c4, 2, 4), (0x3c4, 4, 7), (0x3ce, 5, 0), (0x3ce, 6, 0x04)] {
        indexed(vga, port, index, value);
    }
    for (row, bits) in (0..).zip(glyph) {
        poke(vga, 0xa0000 + font + u64::from(character) * 32 + row, bits);
    }
    for (port, index, value) in [(0x3c4, 2, 3), (0x3c4, 4, 2), (0x3ce, 5, 0x10), (0x3ce, 6, 0x0e)] {
        indexed(vga, port, index, value);
    }
}

#[test]
fn registers_read_back_and_only_their_bits() {
    let mut vga = vga(&MODE_3);
    indexed(&mut vga, 0x3c4, 1, 0xff);
    assert_eq!(input(&mut vga, 0x3c5), 0x3d);
    indexed(&mut vga, 0x3ce, 5, 0xff);
    assert_eq!(input(&mut vga, 0x3cf), 0x7b);
    assert_eq!(input(&mut vga, 0x3cc), 0x67);
    input(&mut vga, 0x3da);
    out(&mut vga, 0x3c0, 0x30);
    assert_eq!([input(&mut vga, 0x3c0), input(&mut vga, 0x3c1)], [0x30, 0x0c]);
}

#[test]
fn crtc_registers_0_to_7_are_protected() {
    let mut vga = vga(&MODE_3);
    indexed(&mut vga, 0x3d4, 0x11, 0x8e);
    indexed(&mut vga, 0x3d4, 0x00, 0x11);
    indexed(&mut vga, 0x3d4, 0x07, 0x00);
    out(&mut vga, 0x3d4, 0);
    assert_eq!(input(&mut vga, 0x3d5), 0x5f);
    out(&mut vga, 0x3d4, 7);
    assert_eq!(input(&mut vga, 0x3d5), 0x0f, "bit 4 is line compare and not protected");
}

#[test]
fn miscellaneous_output_moves_the_crtc_between_3bx_and_3dx() {
    let mut vga = vga(&MODE_3);
    assert_eq!(input(&mut vga, 0x3b5), 0xff);
    out(&mut vga, 0x3c2, 0x66);
    out(&mut vga, 0x3b4, 1);
    assert_eq!(input(&mut vga, 0x3b5), 0x4f);
    assert_eq!(input(&mut vga, 0x3d5), 0xff);
}

#[test]
fn a_dac_colour_changes_with_its_third_component() {
    let mut vga = Vga::new();
    for (port, value) in [(0x3c8, 5), (0x3c9, 0xff), (0x3c9, 2), (0x3c7, 5)] {
        out(&mut vga, port, value);
    }
    assert_eq!([0x3c9; 3].map(|port| input(&mut vga, port)), [0, 0, 0]);
    for (port, value) in [(0x3c8, 5), (0x3c9, 0xff), (0x3c9, 2), (0x3c9, 3), (0x3c7, 5)] {
        out(&mut vga, port, value);
    }
    assert_eq!(input(&mut vga, 0x3c7), 3);
    assert_eq!([0x3c9; 3].map(|port| input(&mut vga, port)), [0x3f, 2, 3]);
    assert_eq!(input(&mut vga, 0x3c8), 6);
}

/// Mode 3: 28.322 MHz, 9 dots, 100 characters in a line, 449 lines: 70.09 Hz; retrace in lines 412 and 413.
#[test]
fn retrace_follows_the_timing_of_the_mode() {
    let mut vga = vga(&MODE_3);
    let line = 900.0 / 28.322e6 * 1e9;
    let mut at = |lines: f64| PortIoWide::read(&mut vga, 0x3da, 1, (lines * line) as Tick) & 0x09;
    assert_eq!(at(0.5), 0x00);
    assert_eq!(at(0.9), 0x01, "horizontal blanking: 80 of 100 characters are shown");
    assert_eq!(at(399.5), 0x00);
    assert_eq!(at(400.5), 0x01);
    assert_eq!(at(411.9), 0x01);
    assert_eq!(at(412.1), 0x09);
    assert_eq!(at(413.9), 0x09);
    assert_eq!(at(414.1), 0x01);
    assert_eq!(at(449.5), 0x00, "the next frame");
}

#[test]
fn text_is_found_where_it_was_written() {
    let mut vga = vga(&MODE_3);
    for (address, byte) in (0xb8000 + 2 * 80..).zip(*b"H\x1fi\x1f") {
        poke(&mut vga, address, byte);
    }
    assert_eq!(peek(&mut vga, 0xb8000 + 2 * 80 + 2), b'i');
    assert_eq!(peek(&mut vga, 0xb0000), 0xff, "the window is B8000h to BFFFFh");
    indexed(&mut vga, 0x3d4, 0x0f, 82);
    let screen = vga.text_screen(0).unwrap();
    assert_eq!((screen.cols, screen.rows, screen.cells.len()), (80, 25, 2000));
    assert_eq!(screen.cells[80..83], [(b'H', 0x1f), (b'i', 0x1f), (0, 0)]);
    assert_eq!(screen.line(1), "Hi");
    assert_eq!(screen.cursor, Some((2, 1)));
    // No cursor with bit 5 of cursor start.
    indexed(&mut vga, 0x3d4, 0x0a, 0x2d);
    assert_eq!(vga.text_screen(0).unwrap().cursor, None);
    // Scrolling by the start address.
    indexed(&mut vga, 0x3d4, 0x0d, 80);
    assert_eq!(vga.text_screen(0).unwrap().line(0), "Hi");
}

#[test]
fn line_compare_splits_the_screen() {
    let mut vga = vga(&MODE_3);
    poke(&mut vga, 0xb8000, b'T');
    poke(&mut vga, 0xb8000 + 160, b'S');
    indexed(&mut vga, 0x3d4, 0x0d, 80);
    // From line 32 on (line compare 31 with bits 8 and 9 clear) memory is shown from its start.
    indexed(&mut vga, 0x3d4, 0x18, 31);
    indexed(&mut vga, 0x3d4, 0x07, 0x0f);
    indexed(&mut vga, 0x3d4, 0x09, 0x0f);
    let screen = vga.text_screen(0).unwrap();
    assert_eq!([screen.line(0), screen.line(2), screen.line(3)], ["S", "T", "S"]);
    assert_eq!(screen.rows, 25);
}

#[test]
fn a_character_is_drawn_with_its_glyph_colours_and_ninth_dot() {
    let mut vga = vga(&MODE_3);
    load_glyph(&mut vga, 0, 0xc4, [0x81; 16]);
    load_glyph(&mut vga, 0, b'A', [0x81; 16]);
    indexed(&mut vga, 0x3d4, 0x0a, 0x20);
    for (address, byte) in (0xb8000..).zip([0xc4, 0x1e, b'A', 0x1e]) {
        poke(&mut vga, address, byte);
    }
    let image = vga.render(0);
    assert_eq!((image.width, image.height), (720, 400));
    let row: Vec<u8> = (0..18).map(|x| pixel(&image, x, 15)).collect();
    assert_eq!(row[..9], [14, 1, 1, 1, 1, 1, 1, 14, 14], "line graphics repeat the eighth dot");
    assert_eq!(row[9..], [14, 1, 1, 1, 1, 1, 1, 14, 1]);
}

#[test]
fn cursor_and_blinking_characters_have_their_own_rhythm() {
    let mut vga = vga(&MODE_3);
    load_glyph(&mut vga, 0, b'A', [0xff; 16]);
    for (address, byte) in (0xb8000..).zip([b' ', 0x07, b'A', 0x87]) {
        poke(&mut vga, address, byte);
    }
    // Cursor in scan lines 13 and 14; a frame takes 449 * 900 / 28.322 MHz = 14.268 ms.
    let shown = |frame: u64| {
        let image = vga.render(frame * 14_268_132 + 100_000);
        (pixel(&image, 0, 13), pixel(&image, 0, 15), pixel(&image, 9, 0))
    };
    assert_eq!([0, 8, 16, 24].map(shown), [(7, 0, 7), (0, 0, 7), (7, 0, 0), (0, 0, 0)]);
}

#[test]
fn attribute_bit_3_chooses_the_second_font() {
    let mut vga = vga(&MODE_3);
    load_glyph(&mut vga, 0x4000, b'A', [0xff; 16]);
    // Map A (attributes with bit 3) is the one at 16 KiB, map B the one at 0.
    indexed(&mut vga, 0x3c4, 3, 0x04);
    indexed(&mut vga, 0x3d4, 0x0a, 0x20);
    for (address, byte) in (0xb8000..).zip([b'A', 0x0f, b'A', 0x07]) {
        poke(&mut vga, address, byte);
    }
    let image = vga.render(0);
    assert_eq!([pixel(&image, 0, 0), pixel(&image, 9, 0)], [15, 0]);
}

#[test]
fn write_modes_follow_the_manual() {
    let mut vga = vga(&MODE_12);
    let read_planes = |vga: &mut Vga| {
        [0, 1, 2, 3].map(|plane| {
            indexed(vga, 0x3ce, 4, plane);
            peek(vga, 0xa0000)
        })
    };
    // Mode 0 with the map mask.
    indexed(&mut vga, 0x3c4, 2, 0b0101);
    poke(&mut vga, 0xa0000, 0xf0);
    assert_eq!(read_planes(&mut vga), [0xf0, 0, 0xf0, 0]);
    // Set/reset for planes 0 and 1, rotated data for the others, under a bit mask.
    indexed(&mut vga, 0x3c4, 2, 0b1111);
    for (index, value) in [(0, 0b0010), (1, 0b0011), (3, 4), (8, 0x3c)] {
        indexed(&mut vga, 0x3ce, index, value);
    }
    peek(&mut vga, 0xa0000);
    poke(&mut vga, 0xa0000, 0xf0); // rotated: 0Fh
    assert_eq!(read_planes(&mut vga), [0xc0, 0x3c, 0xcc, 0x0c]);
    // XOR with the latches.
    for (index, value) in [(1, 0), (3, 0x18), (8, 0xff)] {
        indexed(&mut vga, 0x3ce, index, value);
    }
    peek(&mut vga, 0xa0000);
    poke(&mut vga, 0xa0000, 0xff);
    assert_eq!(read_planes(&mut vga), [0x3f, 0xc3, 0x33, 0xf3]);
    // Mode 1 copies the latches.
    indexed(&mut vga, 0x3ce, 3, 0);
    indexed(&mut vga, 0x3ce, 5, 1);
    peek(&mut vga, 0xa0000);
    poke(&mut vga, 0xa0001, 0);
    assert_eq!(vga.memory.planes(1), 0xf333_c33f);
    // Mode 2: the data are a colour.
    indexed(&mut vga, 0x3ce, 5, 2);
    indexed(&mut vga, 0x3ce, 8, 0x80);
    peek(&mut vga, 0xa0002);
    poke(&mut vga, 0xa0002, 0b1001);
    assert_eq!(vga.memory.planes(2), 0x8000_0080);
    // Mode 3: the data are a mask for set/reset.
    indexed(&mut vga, 0x3ce, 5, 3);
    indexed(&mut vga, 0x3ce, 8, 0xf0);
    peek(&mut vga, 0xa0003);
    poke(&mut vga, 0xa0003, 0x3c);
    assert_eq!(vga.memory.planes(3), 0x0000_3000);
    // Read mode 1 compares colours, without the planes that do not care.
    indexed(&mut vga, 0x3ce, 5, 8);
    indexed(&mut vga, 0x3ce, 2, 0b1001);
    indexed(&mut vga, 0x3ce, 7, 0b1111);
    assert_eq!(peek(&mut vga, 0xa0002), 0x80);
    indexed(&mut vga, 0x3ce, 7, 0);
    assert_eq!(peek(&mut vga, 0xa0002), 0xff);
}

#[test]
fn a_planar_pixel_is_drawn_from_four_planes() {
    let mut vga = vga(&MODE_12);
    indexed(&mut vga, 0x3c4, 2, 0b1010);
    poke(&mut vga, 0xa0000 + 80 + 1, 0x40);
    let image = vga.render(0);
    assert_eq!((image.width, image.height), (640, 480));
    assert_eq!([8, 9, 10].map(|x| pixel(&image, x, 1)), [0, 10, 0]);
}

#[test]
fn odd_even_addressing_puts_characters_and_attributes_into_planes_0_and_1() {
    let mut vga = vga(&MODE_3);
    Mmio::write(&mut vga, 0x18002, 2, 0x1e41, 0);
    assert_eq!(vga.memory.planes(2), 0x0000_1e41);
    assert_eq!(Mmio::read(&mut vga, 0x18002, 2, 0), 0x1e41);
}

#[test]
fn cga_pixels_come_from_two_planes_and_two_banks() {
    let mut vga = vga(&MODE_4);
    for (address, byte) in [(0xb8000, 0x1b), (0xb8001, 0xff), (0xba000, 0xe4)] {
        poke(&mut vga, address, byte);
    }
    let image = vga.render(0);
    assert_eq!((image.width, image.height), (640, 400));
    let row = |y: usize| [0, 2, 4, 6, 8, 14, 16].map(|x| pixel(&image, x, y));
    assert_eq!(row(1), [0, 1, 2, 3, 3, 3, 0]);
    assert_eq!(row(2), [3, 2, 1, 0, 0, 0, 0]);
}

#[test]
fn a_reset_darkens_the_screen_and_keeps_memory() {
    let mut vga = vga(&MODE_13);
    poke(&mut vga, 0xa0000, 9);
    vga.reset();
    assert_eq!(input(&mut vga, 0x3cc), 0);
    assert_eq!(peek(&mut vga, 0xa0000), 0xff, "memory does not answer");
    assert_eq!(vga.frame_buffer_read(0, 1), 9);
}

#[test]
fn mode_13h_is_linear_and_drawn_with_every_pixel_doubled() {
    let mut vga = vga(&MODE_13);
    for (address, color) in [(0, 1), (1, 2), (319, 3), (320, 4), (63_999, 5)] {
        poke(&mut vga, 0xa0000 + address, color);
        assert_eq!(peek(&mut vga, 0xa0000 + address), color);
    }
    let image = vga.render(0);
    assert_eq!((image.width, image.height), (640, 400));
    let seen = [(0, 0), (1, 1), (2, 0), (638, 1), (0, 2), (639, 399)].map(|(x, y)| pixel(&image, x, y));
    assert_eq!(seen, [1, 1, 2, 3, 4, 5]);
}

#[test]
fn panning_moves_the_picture_to_the_left() {
    let mut vga = vga(&MODE_12);
    indexed(&mut vga, 0x3c4, 2, 1);
    poke(&mut vga, 0xa0000, 0x10);
    input(&mut vga, 0x3da);
    out(&mut vga, 0x3c0, 0x33);
    out(&mut vga, 0x3c0, 2);
    assert_eq!(pixel(&vga.render(0), 1, 0), 1);
}

#[test]
fn the_screen_is_dark_while_the_sequencer_or_the_palette_is_off() {
    let mut vga = vga(&MODE_12);
    poke(&mut vga, 0xa0000, 0xff);
    assert_eq!(pixel(&vga.render(0), 0, 0), 15);
    indexed(&mut vga, 0x3c4, 1, 0x21);
    assert_eq!(pixel(&vga.render(0), 0, 0), 0);
    indexed(&mut vga, 0x3c4, 1, 0x01);
    input(&mut vga, 0x3da);
    out(&mut vga, 0x3c0, 0x00);
    assert_eq!(pixel(&vga.render(0), 0, 0), 0);
}

fn vbe(vga: &mut Vga, index: u16, value: u16) {
    PortIoWide::write(vga, 0x1ce, 2, index.into(), 0);
    PortIoWide::write(vga, 0x1cf, 2, value.into(), 0);
}

#[test]
fn the_bochs_extension_shows_linear_modes() {
    let mut vga = vga(&MODE_3);
    PortIoWide::write(&mut vga, 0x1ce, 2, 0, 0);
    assert_eq!(PortIoWide::read(&mut vga, 0x1cf, 2, 0), 0xb0c5);
    for (index, value) in [(1, 800), (2, 600), (3, 32), (4, 0x41)] {
        vbe(&mut vga, index, value);
    }
    vga.frame_buffer_write((800 + 3) * 4, 4, 0x0011_2233);
    let image = vga.render(0);
    assert_eq!((image.width, image.height), (800, 600));
    assert_eq!(image.rgb[(800 + 3) * 3..][..3], [0x11, 0x22, 0x33]);
    assert_eq!(vga.text_screen(0), None);
    // The window at A0000h shows one bank.
    vbe(&mut vga, 5, 2);
    poke(&mut vga, 0xa0004, 0x77);
    assert_eq!(vga.frame_buffer_read(0x20004, 1), 0x77);
    // The same registers in memory.
    assert_eq!(vga.registers_read(0x50a, 2, 0), 2);
    vga.registers_write(0x508, 2, 0, 0);
    assert!(vga.text_screen(0).is_some());
}

#[test]
fn a_mode_that_does_not_fit_is_refused() {
    let mut vga = Vga::new();
    vbe(&mut vga, 4, 0x41);
    assert!(!vga.vbe.enabled(), "no size yet");
    for (index, value) in [(1, 2560), (2, 1600), (3, 32), (4, 0x41)] {
        vbe(&mut vga, index, value);
    }
    assert!(vga.vbe.enabled(), "16,384,000 bytes fit into 16 MiB");
    vbe(&mut vga, 9, 100);
    assert_eq!(vga.vbe.read(9), 0);
}

#[test]
fn random_accesses_do_no_harm_and_repeat() {
    let run = |seed| {
        let (mut vga, mut random, mut sum, mut now) = (Vga::new(), Random::new(seed), 0u64, 0);
        for step in 0..10_000 {
            let (size, value) = (random.size(), random.next());
            // Small values make for sizes that are accepted now and then.
            let small = if random.below(2) == 0 { value & 0x3ff } else { value };
            let port = 0x3b0 + random.below(0x30) as u16;
            let mut result = 0;
            match random.below(9) {
                0 | 1 => result = PortIoWide::read(&mut vga, port, size, now).into(),
                2 | 3 => PortIoWide::write(&mut vga, port, size, value, now),
                4 => result = Mmio::read(&mut vga, random.below(0x2_1000).into(), 8, now),
                5 => Mmio::write(&mut vga, random.below(0x2_1000).into(), 8, value.into(), now),
                6 => result = vga.registers_read(random.below(0x1000).into(), size, now),
                7 => vga.registers_write(random.below(0x1000).into(), size, small.into(), now),
                _ => {
                    vbe(&mut vga, random.below(12) as u16, small as u16);
                    vga.frame_buffer_write(random.next().into(), size, value.into());
                    result = vga.frame_buffer_read(random.next().into(), size);
                }
            }
            sum = sum.rotate_left(1) ^ result;
            now += Tick::from(random.below(1_000_000));
            if step % 1000 == 999 {
                let image = vga.render(now);
                assert_eq!(image.rgb.len(), image.width * image.height * 3);
                sum ^= image.rgb.len() as u64
                    ^ vga.text_screen(now).map_or(0, |screen| screen.cells.len() as u64);
            }
        }
        (vga, sum)
    };
    for seed in seeds(0..3) {
        assert!(run(seed) == run(seed));
    }
}
