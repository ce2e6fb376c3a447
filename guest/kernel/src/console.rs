//! The console: what is printed goes to the serial port and to the screen, what is typed may come from the
//! serial port or from the keyboard.

use crate::irq_cell::IrqCell;
use crate::ring::Ring;
use crate::{serial, task, vga};
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

const CTRL_C: u8 = 3;
const CTRL_U: u8 = 21;
const ESCAPE: u8 = 27;

static INPUT: IrqCell<Ring<8192>> = IrqCell::new(Ring::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($part:tt)*) => { $crate::console::print(format_args!($($part)*)) };
}

/// Prints a line to the console.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($part:tt)*) => { $crate::print!("{}\n", format_args!($($part)*)) };
}

struct Writer;

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// What `print!` calls.
pub fn print(arguments: fmt::Arguments<'_>) {
    // The writer never fails, and a value that cannot be formatted is not worth a panic.
    let _ = fmt::Write::write_fmt(&mut Writer, arguments);
}

/// Writes bytes to both outputs.
pub fn write(bytes: &[u8]) {
    for &byte in bytes {
        if byte == b'\n' {
            serial::send(b'\r');
        }
        serial::send(byte);
    }
    vga::write(bytes);
}

/// Clears the screen, and that of a terminal on the serial line.
pub fn clear() {
    for &byte in b"\x1B[2J\x1B[H" {
        serial::send(byte);
    }
    vga::clear();
}

/// Room for input.
pub fn input_room() -> usize {
    INPUT.with(|input| input.room())
}

/// A byte was typed. Called by the drivers.
pub fn input(byte: u8) {
    if byte == CTRL_C {
        INTERRUPTED.store(true, Relaxed);
    }
    INPUT.with(|input| input.push(byte));
}

/// Waits for a byte.
pub fn read_byte() -> u8 {
    let mut byte = None;
    task::wait_until(u64::MAX, || {
        byte = INPUT.with(Ring::pop);
        byte.is_some()
    });
    serial::resume_input();
    byte.expect("the wait has no end but this")
}

/// Forgets an old Ctrl-C.
pub fn clear_interrupted() {
    INTERRUPTED.store(false, Relaxed);
}

/// Was Ctrl-C typed since `clear_interrupted`?
pub fn interrupted() -> bool {
    INTERRUPTED.load(Relaxed)
}

/// Takes input away up to the Ctrl-C that stopped a program.
pub fn drop_until_interrupt() {
    INPUT.with(|input| while input.pop().is_some_and(|byte| byte != CTRL_C) {});
    clear_interrupted();
}

/// Reads a line with the usual editing: backspace, Ctrl-U, Ctrl-C. Returns its length without the end.
pub fn read_line(line: &mut [u8]) -> usize {
    let mut length = 0;
    loop {
        match read_byte() {
            b'\r' | b'\n' => {
                write(b"\n");
                return length;
            }
            8 | 0x7F => {
                if length > 0 {
                    length -= 1;
                    write(b"\x08 \x08");
                }
            }
            CTRL_U => {
                for _ in 0..length {
                    write(b"\x08 \x08");
                }
                length = 0;
            }
            CTRL_C => {
                clear_interrupted();
                write(b"^C\n");
                return 0;
            }
            ESCAPE => skip_escape_sequence(),
            byte @ 0x20..0x7F => {
                if length < line.len() {
                    line[length] = byte;
                    length += 1;
                    write(&[byte]);
                }
            }
            _ => {}
        }
    }
}

/// Arrow keys and their like come as ESC [ ... letter; none means anything here. A lone ESC followed by
/// something else swallows nothing.
fn skip_escape_sequence() {
    let bracket = INPUT.with(|input| {
        let next = input.pop();
        if next != Some(b'[') {
            if let Some(byte) = next {
                input.push_front(byte);
            }
            return false;
        }
        true
    });
    while bracket && INPUT.with(Ring::pop).is_some_and(|byte| !(0x40..0x7F).contains(&byte)) {}
}
