//! `--display text`: the VGA text screen in the terminal, by ANSI sequences. Only cells that changed are drawn.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use emu_devices::vga::{CP437, TextScreen};

/// Time between two frames.
pub const FRAME: Duration = Duration::from_millis(33);

/// VGA numbers its colours with blue in bit 0 and red in bit 2, ANSI the other way around.
const ANSI_COLOURS: [u8; 8] = [0, 4, 2, 6, 1, 5, 3, 7];

/// What the terminal shows, as far as we know.
#[derive(Debug, Default)]
pub struct TextDisplay {
    shown: Option<Shown>,
    next_frame: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Text { size: (usize, usize), cells: Vec<(u8, u8)>, cursor: Option<(usize, usize)> },
    Graphics,
}

impl TextDisplay {
    /// True when it is time for a frame.
    pub fn due(&mut self) -> bool {
        let now = Instant::now();
        if self.next_frame.is_some_and(|next| now < next) {
            return false;
        }
        self.next_frame = Some(now + FRAME);
        true
    }

    /// The terminal's contents are unknown: the next frame draws everything.
    pub fn forget(&mut self) {
        self.shown = None;
        self.next_frame = None;
    }

    /// Draws what changed since the last frame; `None` stands for a graphics mode.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn draw(&mut self, screen: Option<&TextScreen>) -> io::Result<()> {
        let text = self.frame(screen);
        if text.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn frame(&mut self, screen: Option<&TextScreen>) -> String {
        let Some(screen) = screen else {
            if self.shown == Some(Shown::Graphics) {
                return String::new();
            }
            self.shown = Some(Shown::Graphics);
            return "\x1b[0m\x1b[2J\x1b[H\x1b[?25l(the guest shows graphics)".into();
        };
        let size = (screen.cols, screen.rows);
        let mut out = String::new();
        let known = match self.shown.take() {
            Some(Shown::Text { size: old, cells, cursor }) if old == size => Some((cells, cursor)),
            _ => {
                out.push_str("\x1b[0m\x1b[2J");
                None
            }
        };
        let cells_drawn = draw_cells(&mut out, screen, known.as_ref().map(|(cells, _)| &cells[..]));
        if cells_drawn || known.is_none_or(|(_, cursor)| cursor != screen.cursor) {
            draw_cursor(&mut out, screen.cursor);
        }
        self.shown = Some(Shown::Text { size, cells: screen.cells.clone(), cursor: screen.cursor });
        out
    }
}

/// Draws the cells that differ from `known`; true when there were any.
fn draw_cells(out: &mut String, screen: &TextScreen, known: Option<&[(u8, u8)]>) -> bool {
    let mut attribute = None;
    let mut expected = None;
    for (place, &cell) in screen.cells.iter().enumerate() {
        if known.is_some_and(|known| known.get(place) == Some(&cell)) {
            continue;
        }
        if expected != Some(place) || place % screen.cols == 0 {
            move_to(out, place / screen.cols, place % screen.cols);
        }
        if attribute != Some(cell.1) {
            attribute = Some(cell.1);
            set_attribute(out, cell.1);
        }
        out.push(CP437[usize::from(cell.0)]);
        expected = Some(place + 1);
    }
    attribute.is_some()
}

fn draw_cursor(out: &mut String, cursor: Option<(usize, usize)>) {
    match cursor {
        Some((col, row)) => {
            move_to(out, row, col);
            out.push_str("\x1b[?25h");
        }
        None => out.push_str("\x1b[?25l"),
    }
}

fn move_to(out: &mut String, row: usize, col: usize) {
    let _ = write!(out, "\x1b[{};{}H", row + 1, col + 1);
}

/// Foreground from bits 3:0; background from bits 6:4. Bit 7 blinks on a VGA as the BIOS sets it up.
fn set_attribute(out: &mut String, attribute: u8) {
    let colour = |bits: u8| ANSI_COLOURS[usize::from(bits & 7)];
    let bright = if attribute & 8 != 0 { 90 } else { 30 };
    let blink = if attribute & 0x80 != 0 { ";5" } else { "" };
    let _ = write!(out, "\x1b[0;{};{}{blink}m", bright + colour(attribute), 40 + colour(attribute >> 4));
}

/// The characters of a screen as lines of plain text, without trailing blanks and blank lines at the end.
pub fn plain(screen: &TextScreen) -> String {
    let mut out = String::new();
    for row in screen.cells.chunks(screen.cols.max(1)) {
        let line: String = row.iter().map(|cell| CP437[usize::from(cell.0)]).collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(text: &[u8]) -> TextScreen {
        TextScreen { cols: 4, rows: 2, cells: text.iter().map(|&c| (c, 0x07)).collect(), cursor: None }
    }

    #[test]
    fn the_first_frame_draws_everything_and_the_next_nothing() {
        let mut display = TextDisplay::default();
        let first = display.frame(Some(&screen(b"ab  cd  ")));
        assert!(first.contains("\x1b[1;1H\x1b[0;37;40mab  "), "{first:?}");
        assert!(first.contains("\x1b[2;1Hcd  "), "{first:?}");
        assert_eq!(display.frame(Some(&screen(b"ab  cd  "))), "");
    }

    #[test]
    fn later_frames_draw_only_what_changed() {
        let mut display = TextDisplay::default();
        display.frame(Some(&screen(b"ab  cd  ")));
        let mut changed = screen(b"ab  cX  ");
        changed.cells[5].1 = 0x9c;
        assert_eq!(display.frame(Some(&changed)), "\x1b[2;2H\x1b[0;91;44;5mX\x1b[?25l");
        changed.cursor = Some((3, 1));
        assert_eq!(display.frame(Some(&changed)), "\x1b[2;4H\x1b[?25h");
    }

    #[test]
    fn a_new_size_and_a_forgotten_screen_draw_everything() {
        let mut display = TextDisplay::default();
        display.frame(Some(&screen(b"ab  cd  ")));
        let wide = TextScreen { cols: 8, rows: 1, ..screen(b"ab  cd  ") };
        assert!(display.frame(Some(&wide)).contains("ab  cd  "));
        display.forget();
        assert!(display.frame(Some(&wide)).contains("ab  cd  "));
        assert!(display.frame(None).contains("graphics"));
        assert_eq!(display.frame(None), "");
        assert!(display.frame(Some(&wide)).contains("ab  cd  "));
    }

    #[test]
    fn plain_text_has_no_trailing_blanks() {
        assert_eq!(plain(&screen(b"ab  cd  ")), "ab\ncd\n");
        assert_eq!(plain(&screen(b"ab      ")), "ab\n");
    }
}
