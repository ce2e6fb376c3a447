//! The screen in text mode: 80 by 25 cells of character and colour at B8000h, the cursor in the CRTC.

use crate::irq_cell::IrqCell;
use crate::paging;
use crate::port::{in8, out8};

/// Columns.
pub const COLUMNS: usize = 80;
/// Rows.
pub const ROWS: usize = 25;

const MEMORY: u64 = 0xB_8000;
const BLANK: u16 = 0x0720; // a space, light grey on black
const CRTC_INDEX: u16 = 0x3D4;
const CURSOR_START: u8 = 0x0A;
const START_ADDRESS: u8 = 0x0C;
const CURSOR: u8 = 0x0E;

struct Screen {
    row: usize,
    column: usize,
}

static SCREEN: IrqCell<Screen> = IrqCell::new(Screen { row: 0, column: 0 });

/// Clears the screen.
pub fn init() {
    crtc_pair(START_ADDRESS, 0);
    out8(CRTC_INDEX, CURSOR_START);
    out8(CRTC_INDEX + 1, in8(CRTC_INDEX + 1) & !0x20); // bit 5 would hide the cursor
    clear();
}

/// Clears the screen and goes to its top.
pub fn clear() {
    SCREEN.with(|screen| {
        for i in 0..COLUMNS * ROWS {
            set_cell(i, BLANK);
        }
        *screen = Screen { row: 0, column: 0 };
        screen.show_cursor();
    });
}

/// Writes bytes at the cursor. Knows line feed, carriage return and backspace.
pub fn write(bytes: &[u8]) {
    SCREEN.with(|screen| {
        for &byte in bytes {
            screen.put(byte);
        }
        screen.show_cursor();
    });
}

/// The character at a place on the screen.
pub fn character(row: usize, column: usize) -> u8 {
    cell(row * COLUMNS + column) as u8
}

/// Row and column of the cursor, read back from the CRTC.
pub fn cursor() -> (usize, usize) {
    let position = SCREEN.with(|_| {
        let mut bytes = [0; 2];
        for (register, byte) in (CURSOR..).zip(&mut bytes) {
            out8(CRTC_INDEX, register);
            *byte = in8(CRTC_INDEX + 1);
        }
        usize::from(u16::from_be_bytes(bytes))
    });
    (position / COLUMNS, position % COLUMNS)
}

fn set_cell(index: usize, value: u16) {
    // SAFETY: the direct map covers the screen's memory; all callers stay below 80 * 25 cells.
    unsafe { ((paging::direct(MEMORY) as *mut u16).add(index)).write_volatile(value) };
}

fn cell(index: usize) -> u16 {
    assert!(index < COLUMNS * ROWS);
    // SAFETY: as in `set_cell`.
    unsafe { ((paging::direct(MEMORY) as *const u16).add(index)).read_volatile() }
}

fn crtc_pair(register: u8, value: u16) {
    for (register, byte) in (register..).zip(value.to_be_bytes()) {
        out8(CRTC_INDEX, register);
        out8(CRTC_INDEX + 1, byte);
    }
}

impl Screen {
    fn put(&mut self, byte: u8) {
        match byte {
            b'\n' => self.new_line(),
            b'\r' => self.column = 0,
            8 => self.column = self.column.saturating_sub(1),
            0x20..0x7F => {
                if self.column == COLUMNS {
                    self.new_line();
                }
                set_cell(self.row * COLUMNS + self.column, BLANK & 0xFF00 | u16::from(byte));
                self.column += 1;
            }
            _ => {}
        }
    }

    fn new_line(&mut self) {
        self.column = 0;
        self.row += 1;
        if self.row == ROWS {
            self.row = ROWS - 1;
            let first = paging::direct(MEMORY) as *mut u64;
            // SAFETY: rows 1 to 24 move to rows 0 to 23 within the screen's memory; four cells a word.
            unsafe { core::ptr::copy(first.add(COLUMNS / 4), first, COLUMNS * (ROWS - 1) / 4) };
            for column in 0..COLUMNS {
                set_cell((ROWS - 1) * COLUMNS + column, BLANK);
            }
        }
    }

    fn show_cursor(&self) {
        let column = self.column.min(COLUMNS - 1);
        crtc_pair(CURSOR, (self.row * COLUMNS + column) as u16);
    }
}
