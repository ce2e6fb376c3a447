//! Makes the three code page 437 fonts from the drawings in `font/`.
//!
//! ASCII is drawn for 8x16 and 8x8 apart; symbols are drawn for 8x16 and halved; letters with accents
//! are put together; boxes, shades and blocks are computed, so that they join at any height. The 8x14
//! font is the 8x16 one without its first and last row, which hold nothing but the tallest strokes.

use std::collections::BTreeMap;

/// One glyph, a byte a row, leftmost dot in bit 7.
type Glyph = Vec<u8>;

/// A font's 256 glyphs one after the other.
pub fn font(height: usize, ascii: &str, symbols: &str) -> Result<Vec<u8>, String> {
    let drawn_height = if height == 8 { 8 } else { 16 };
    let ascii = parse(ascii, drawn_height)?;
    let symbols = parse(symbols, 16)?;
    let mut font = Vec::with_capacity(256 * height);
    for code in 0..=255u8 {
        let glyph = if let Some(lines) = box_lines(code) {
            box_glyph(lines, height)
        } else if let Some(glyph) = block(code, height) {
            glyph
        } else {
            let drawn = if let Some(glyph) = ascii.get(&code) {
                glyph.clone()
            } else if let Some((_, base, accent)) = COMPOSED.iter().find(|c| c.0 == code) {
                compose(&ascii[&(*base as u8)], *base, *accent, drawn_height)
            } else if let Some(glyph) = symbols.get(&code) {
                if height == 8 { halve(glyph) } else { glyph.clone() }
            } else {
                vec![0; drawn_height] // 00h, space, FFh
            };
            if height == 14 { drawn[1..15].to_vec() } else { drawn }
        };
        assert_eq!(glyph.len(), height, "glyph {code:02X}");
        font.extend(glyph);
    }
    Ok(font)
}

/// Reads a drawing: after a heading, blocks of a line `code name top-row` and rows of `.` and `#`.
fn parse(text: &str, height: usize) -> Result<BTreeMap<u8, Glyph>, String> {
    let mut glyphs = BTreeMap::new();
    for block in text.split("\n\n").skip(1) {
        let mut lines = block.lines();
        let Some(head) = lines.next() else { continue };
        let fields: Vec<&str> = head.split_whitespace().collect();
        let [code, _, top] = fields[..] else { return Err(format!("glyph heading `{head}`")) };
        let code = u8::from_str_radix(code, 16).map_err(|_| format!("glyph code `{code}`"))?;
        let top: usize = top.parse().map_err(|_| format!("top row `{top}`"))?;
        let mut glyph = vec![0; height];
        for (row, line) in lines.enumerate() {
            let bits = line.bytes().fold(0, |bits, dot| bits << 1 | u8::from(dot == b'#'));
            if line.len() != 8 || top + row >= height {
                return Err(format!("glyph {code:02X}: row `{line}`"));
            }
            glyph[top + row] = bits;
        }
        glyphs.insert(code, glyph);
    }
    Ok(glyphs)
}

/// Two rows become one.
fn halve(glyph: &[u8]) -> Glyph {
    glyph.chunks(2).map(|pair| pair[0] | pair[1]).collect()
}

#[derive(Clone, Copy)]
enum Accent {
    Acute,
    Grave,
    Circumflex,
    Diaeresis,
    Ring,
    Tilde,
    Cedilla,
}

use Accent::{Acute, Cedilla, Circumflex, Diaeresis, Grave, Ring, Tilde};

const COMPOSED: [(u8, char, Accent); 31] = [
    (0x80, 'C', Cedilla),
    (0x81, 'u', Diaeresis),
    (0x82, 'e', Acute),
    (0x83, 'a', Circumflex),
    (0x84, 'a', Diaeresis),
    (0x85, 'a', Grave),
    (0x86, 'a', Ring),
    (0x87, 'c', Cedilla),
    (0x88, 'e', Circumflex),
    (0x89, 'e', Diaeresis),
    (0x8A, 'e', Grave),
    (0x8B, 'i', Diaeresis),
    (0x8C, 'i', Circumflex),
    (0x8D, 'i', Grave),
    (0x8E, 'A', Diaeresis),
    (0x8F, 'A', Ring),
    (0x90, 'E', Acute),
    (0x93, 'o', Circumflex),
    (0x94, 'o', Diaeresis),
    (0x95, 'o', Grave),
    (0x96, 'u', Circumflex),
    (0x97, 'u', Grave),
    (0x98, 'y', Diaeresis),
    (0x99, 'O', Diaeresis),
    (0x9A, 'U', Diaeresis),
    (0xA0, 'a', Acute),
    (0xA1, 'i', Acute),
    (0xA2, 'o', Acute),
    (0xA3, 'u', Acute),
    (0xA4, 'n', Tilde),
    (0xA5, 'N', Tilde),
];

/// Puts an accent on a letter; capitals lose two rows to make room.
fn compose(base: &[u8], letter: char, accent: Accent, height: usize) -> Glyph {
    let small = height == 8;
    let mut glyph = base.to_vec();
    if let Cedilla = accent {
        if small {
            glyph[7] = 0b0011_0000;
        } else {
            glyph[12..15].copy_from_slice(&[0b0001_1000, 0b0000_1100, 0b0011_1000]);
        }
        return glyph;
    }
    let letter_top = if small { 2 } else { 5 };
    if letter.is_ascii_uppercase() {
        let rows: Vec<u8> = if small {
            [0, 1, 3, 5, 6].iter().map(|&row| base[row]).collect()
        } else {
            [2, 3, 5, 6, 8, 9, 10, 11].iter().map(|&row| base[row]).collect()
        };
        let top = if small { 2 } else { 4 };
        glyph[..top].fill(0);
        glyph[top..top + rows.len()].copy_from_slice(&rows);
    } else {
        glyph[..letter_top].fill(0); // the dot of the i goes
    }
    let rows: &[u8] = match (accent, small) {
        (Acute, false) => &[0b0000_1100, 0b0001_1000, 0b0011_0000],
        (Acute, true) => &[0b0001_1000],
        (Grave, false) => &[0b0110_0000, 0b0011_0000, 0b0001_1000],
        (Grave, true) => &[0b0110_0000],
        (Circumflex, false) => &[0b0001_0000, 0b0011_1000, 0b0110_1100],
        (Circumflex, true) => &[0b0011_0000, 0b0100_1000],
        (Diaeresis, false) => &[0, 0b0110_1100, 0b0110_1100],
        (Diaeresis, true) => &[0b0100_1000],
        (Ring, false) => &[0b0011_1000, 0b0110_1100, 0b0011_1000],
        (Ring, true) => &[0b0011_0000, 0b0011_0000],
        (Tilde, false) => &[0b0111_0110, 0b1101_1100],
        (Tilde, true) => &[0b0111_0100],
        (Cedilla, _) => unreachable!("handled above"),
    };
    let first = if small || letter.is_ascii_uppercase() { 0 } else { 1 };
    glyph[first..first + rows.len()].copy_from_slice(rows);
    glyph
}

/// Up, down, left and right lines of a box-drawing character: 0 none, 1 single, 2 double.
fn box_lines(code: u8) -> Option<[u8; 4]> {
    const LINES: [[u8; 4]; 40] = [
        [1, 1, 0, 0], // B3
        [1, 1, 1, 0],
        [1, 1, 2, 0],
        [2, 2, 1, 0],
        [0, 2, 1, 0],
        [0, 1, 2, 0], // B8
        [2, 2, 2, 0],
        [2, 2, 0, 0],
        [0, 2, 2, 0],
        [2, 0, 2, 0], // BC
        [2, 0, 1, 0],
        [1, 0, 2, 0],
        [0, 1, 1, 0],
        [1, 0, 0, 1], // C0
        [1, 0, 1, 1],
        [0, 1, 1, 1],
        [1, 1, 0, 1],
        [0, 0, 1, 1], // C4
        [1, 1, 1, 1],
        [1, 1, 0, 2],
        [2, 2, 0, 1],
        [2, 0, 0, 2], // C8
        [0, 2, 0, 2],
        [2, 0, 2, 2],
        [0, 2, 2, 2],
        [2, 2, 0, 2], // CC
        [0, 0, 2, 2],
        [2, 2, 2, 2],
        [1, 0, 2, 2],
        [2, 0, 1, 1], // D0
        [0, 1, 2, 2],
        [0, 2, 1, 1],
        [2, 0, 0, 1],
        [1, 0, 0, 2], // D4
        [0, 1, 0, 2],
        [0, 2, 0, 1],
        [2, 2, 1, 1],
        [1, 1, 2, 2], // D8
        [1, 0, 1, 0],
        [0, 1, 0, 1], // DA
    ];
    LINES.get(usize::from(code.checked_sub(0xB3)?)).copied()
}

/// Draws the four arms from the cell's middle. A single line runs along the middle, a double one a dot
/// to either side.
fn box_glyph([up, down, left, right]: [u8; 4], height: usize) -> Glyph {
    let (mid_x, mid_y) = (3i32, height as i32 / 2 - 1);
    let (last_x, last_y) = (7, height as i32 - 1);
    let vertical = up.max(down);
    let horizontal = left.max(right);
    let mut glyph = vec![0u8; height];
    let mut dot = |x: i32, y: i32| glyph[y as usize] |= 0x80 >> x;
    // Tracks of a line: offsets from the middle. Vertical strokes are two dots wide, as letters are.
    let tracks = |style: u8| -> &[i32] {
        match style {
            0 => &[],
            1 => &[0],
            _ => &[-1, 1],
        }
    };
    // How far the end of an arm's track lies past the middle. At a double line that is a dot: short of it
    // when the double line goes on to that track's side, else beyond.
    let reach = |track: i32, crossing: u8, negative_side: u8, positive_side: u8| -> i32 {
        let goes_on = |side: u8| side == 2;
        let stops_short = match track {
            0 => goes_on(negative_side) && goes_on(positive_side),
            t if t < 0 => goes_on(negative_side),
            _ => goes_on(positive_side),
        };
        match (crossing, stops_short) {
            (2, true) => -1,
            (2, false) => 1,
            _ => 0,
        }
    };
    let x_wide = |x: i32| if vertical == 2 { x * 2 } else { x };
    for &track in tracks(up) {
        let end = mid_y + reach(track, horizontal, left, right);
        for y in 0..=end {
            dot(mid_x + x_wide(track), y);
            if vertical == 1 {
                dot(mid_x + 1, y);
            }
        }
    }
    for &track in tracks(down) {
        let start = mid_y - reach(track, horizontal, left, right);
        for y in start..=last_y {
            dot(mid_x + x_wide(track), y);
            if vertical == 1 {
                dot(mid_x + 1, y);
            }
        }
    }
    for &track in tracks(left) {
        let end = mid_x + x_wide(reach(track, vertical, up, down));
        for x in 0..=end {
            dot(x, mid_y + track);
        }
    }
    for &track in tracks(right) {
        let start = mid_x - x_wide(reach(track, vertical, up, down));
        for x in start..=last_x {
            dot(x, mid_y + track);
        }
    }
    glyph
}

/// Shades B0h-B2h and blocks DBh-DFh.
fn block(code: u8, height: usize) -> Option<Glyph> {
    let rows = 0..height;
    Some(match code {
        0xB0 => rows.map(|y| if y % 2 == 0 { 0x22 } else { 0x88 }).collect(),
        0xB1 => rows.map(|y| if y % 2 == 0 { 0x55 } else { 0xAA }).collect(),
        0xB2 => rows.map(|y| if y % 2 == 0 { 0xDD } else { 0x77 }).collect(),
        0xDB => vec![0xFF; height],
        0xDC => rows.map(|y| if y >= height / 2 { 0xFF } else { 0 }).collect(),
        0xDD => vec![0xF0; height],
        0xDE => vec![0x0F; height],
        0xDF => rows.map(|y| if y < height / 2 { 0xFF } else { 0 }).collect(),
        _ => return None,
    })
}
