//! The characters of a text mode, without their shapes: what a terminal shows.

use emu_core::bus::Tick;

use super::Vga;

/// The characters of a text mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextScreen {
    /// Characters in a row.
    pub cols: usize,
    /// Rows.
    pub rows: usize,
    /// Character and attribute of each cell, row by row.
    pub cells: Vec<(u8, u8)>,
    /// Column and row of the cursor where it is shown (also in the half of the time in which it blinks).
    pub cursor: Option<(usize, usize)>,
}

impl TextScreen {
    /// The characters of a row as Unicode text, without spaces at its end.
    pub fn line(&self, row: usize) -> String {
        let cells = self.cells.chunks(self.cols.max(1)).nth(row).unwrap_or(&[]);
        let text: String = cells.iter().map(|(character, _)| CP437[usize::from(*character)]).collect();
        text.trim_end().to_owned()
    }
}

impl Vga {
    /// The characters on the screen, `None` in graphics modes. Does not depend on blinking, so not on the time.
    pub fn text_screen(&self, _now: Tick) -> Option<TextScreen> {
        if self.vbe.enabled() || self.graphics.graphics_mode() {
            return None;
        }
        let cols = self.crtc.horizontal_display() as usize;
        let mut screen = TextScreen { cols, rows: 0, cells: Vec::new(), cursor: None };
        let cursor = self.crtc.cursor();
        let mut shown = None;
        for line in self.crtc.scan_lines() {
            // A row of characters begins where the address counter or the half of a split screen changes.
            if shown == Some((line.address, line.split)) {
                continue;
            }
            shown = Some((line.address, line.split));
            for column in 0..cols {
                let counter = self.crtc.counter(line, column as u32);
                if cursor == Some(counter) {
                    screen.cursor = Some((column, screen.rows));
                }
                screen.cells.push(self.cell(counter));
            }
            screen.rows += 1;
        }
        Some(screen)
    }
}

/// The characters of IBM code page 437 as the ROM font draws them, control characters included.
#[rustfmt::skip]
pub const CP437: [char; 256] = [
    ' ', '☺', '☻', '♥', '♦', '♣', '♠', '•', '◘', '○', '◙', '♂', '♀', '♪', '♫', '☼',
    '►', '◄', '↕', '‼', '¶', '§', '▬', '↨', '↑', '↓', '→', '←', '∟', '↔', '▲', '▼',
    ' ', '!', '"', '#', '$', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/',
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?',
    '@', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O',
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', '[', '\\', ']', '^', '_',
    '`', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', '{', '|', '}', '~', '⌂',
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å',
    'É', 'æ', 'Æ', 'ô', 'ö', 'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ',
    'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐', '¬', '½', '¼', '¡', '«', '»',
    '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛', '┐',
    '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧',
    '╨', '╤', '╥', '╙', '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀',
    'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ', 'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩',
    '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²', '■', '\u{a0}',
];
