//! From registers and memory to a picture, as a monitor shows it.

use emu_core::bus::Tick;

use super::Vga;
use super::crtc::ScanLine;
use super::graphics::Shift;

/// A picture: `width * height` pixels of red, green, blue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Three bytes for each pixel, row by row.
    pub rgb: Vec<u8>,
}

/// Frames for which the cursor, and blinking characters, are on and then off.
const CURSOR_BLINK: u64 = 8;
const CHARACTER_BLINK: u64 = 16;

/// What blinks is on in this frame.
#[derive(Clone, Copy)]
struct Blink {
    cursor: bool,
    characters: bool,
}

impl Vga {
    /// What a monitor shows at `now`. Modes with half the dot clock come with every dot doubled, so that all
    /// modes of the original have 640 or 720 dots in a line; lines are as many as the CRT controller makes.
    pub fn render(&self, now: Tick) -> Image {
        if self.vbe.enabled() {
            return self.render_linear();
        }
        let dots = self.sequencer.dots() as usize;
        let columns = self.crtc.horizontal_display();
        let repeat = 1 + usize::from(self.sequencer.half_clock());
        let width = columns as usize * dots;
        let height = self.crtc.vertical_display() as usize;
        let mut image =
            Image { width: width * repeat, height, rgb: Vec::with_capacity(width * repeat * height * 3) };

        if !self.sequencer.runs() || self.sequencer.screen_off() || !self.attribute.picture() {
            let border = self.sequencer.runs() && !self.sequencer.screen_off();
            let color = if border { self.dac.rgb(self.attribute.overscan()) } else { [0; 3] };
            image.rgb = color.repeat(image.width * height);
            return image;
        }

        let frame = self.beam(now).frame;
        let blink = Blink {
            cursor: (frame / CURSOR_BLINK).is_multiple_of(2),
            characters: (frame / CHARACTER_BLINK).is_multiple_of(2),
        };
        let panning = self.attribute.panning(dots as u32);
        let mut line_dots = Vec::new();
        for line in self.crtc.scan_lines() {
            line_dots.clear();
            // One character more than fits, for panning to show.
            for column in 0..=columns {
                self.character_clock(line, column, blink, &mut line_dots);
            }
            let straight = line.split && self.attribute.panning_ends_at_line_compare();
            let from = if straight { 0 } else { panning };
            for &dot in line_dots.iter().skip(from).chain(std::iter::repeat(&0)).take(width) {
                for _ in 0..repeat {
                    image.rgb.extend_from_slice(&self.dac.rgb(dot));
                }
            }
        }
        image
    }

    /// The DAC indices of one character clock.
    fn character_clock(&self, line: ScanLine, column: u32, blink: Blink, out: &mut Vec<u8>) {
        let counter = self.crtc.counter(line, column);
        if self.graphics.graphics_mode() {
            let offset = self.crtc.offset(counter, line.row_scan);
            self.pixels(self.memory.planes(offset).to_le_bytes(), out);
        } else {
            self.character(counter, line.row_scan, blink, out);
        }
    }

    /// One scan line of a character: glyph from plane 2, attribute, cursor, underline, ninth dot.
    fn character(&self, counter: u32, row_scan: u8, blink: Blink, out: &mut Vec<u8>) {
        let (character, attribute) = self.cell(counter);
        let glyph = self.sequencer.font(attribute) + usize::from(character) * 32 + usize::from(row_scan);
        let mut bits = self.memory.font(glyph);
        let mut ninth = self.attribute.line_graphics() && (0xc0..=0xdf).contains(&character) && bits & 1 != 0;
        if attribute & 0x77 == 0x01 && row_scan == self.crtc.underline() {
            (bits, ninth) = (0xff, true);
        }
        if self.attribute.blink() && attribute & 0x80 != 0 && !blink.characters {
            (bits, ninth) = (0, false);
        }
        if blink.cursor && self.crtc.cursor() == Some(counter) && self.crtc.cursor_covers(row_scan) {
            (bits, ninth) = (0xff, true);
        }
        let background = if self.attribute.blink() { attribute >> 4 & 7 } else { attribute >> 4 };
        let color = |on: bool| self.attribute.color(if on { attribute & 0x0f } else { background });
        out.extend((0..8).map(|dot| color(bits << dot & 0x80 != 0)));
        if self.sequencer.dots() == 9 {
            out.push(color(ninth));
        }
    }

    /// Character and attribute where the address counter stands.
    pub(super) fn cell(&self, counter: u32) -> (u8, u8) {
        let [character, attribute, ..] = self.memory.planes(self.crtc.offset(counter, 0)).to_le_bytes();
        (character, attribute)
    }

    /// The pixels of the four planes at one address.
    fn pixels(&self, planes: [u8; 4], out: &mut Vec<u8>) {
        let bit = |plane: usize, number: u32| planes[plane] >> number & 1;
        match self.graphics.shift() {
            Shift::Planar => out.extend((0..8).rev().map(|number| {
                let pixel = (0..4).fold(0, |pixel, plane| pixel | bit(plane, number) << plane);
                self.attribute.color(pixel)
            })),
            // Four pixels of planes 0 and 2, then four of planes 1 and 3; each takes two neighbouring bits of both.
            Shift::Interleaved => out.extend((0..8).map(|pixel| {
                let (plane, number) = (pixel / 4, 6 - 2 * (pixel as u32 % 4));
                let low = bit(plane, number) | bit(plane, number + 1) << 1;
                let high = bit(plane + 2, number) | bit(plane + 2, number + 1) << 1;
                self.attribute.color(low | high << 2)
            })),
            Shift::Byte => out.extend(planes.iter().flat_map(|&pixel| [pixel; 2])),
        }
        if self.sequencer.dots() == 9 {
            out.push(self.attribute.color(0));
        }
    }

    /// A linear mode of the Bochs extension.
    fn render_linear(&self) -> Image {
        let (width, height) = self.vbe.size();
        let bytes = self.vbe.bytes_per_pixel();
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            let row = self.vbe.row(y);
            for x in 0..width {
                let at = row + x * bytes;
                let byte = |number: usize| self.memory.linear(at + number);
                let word = u16::from_le_bytes([byte(0), byte(1)]);
                let part = |shift: u32, bits: u32| {
                    let value = (word >> shift & ((1 << bits) - 1)) << (8 - bits);
                    (value | value >> bits) as u8
                };
                rgb.extend_from_slice(&match self.vbe.depth() {
                    8 => self.dac.rgb(byte(0)),
                    15 => [part(10, 5), part(5, 5), part(0, 5)],
                    16 => [part(11, 5), part(5, 6), part(0, 5)],
                    _ => [byte(2), byte(1), byte(0)],
                });
            }
        }
        Image { width, height, rgb }
    }
}
