//! The 8042 keyboard controller and the keyboard behind it. The controller translates to scan code set 1.

use crate::irq_cell::IrqCell;
use crate::port::{in8, out8};
use crate::{console, task, timer};

const DATA: u16 = 0x60;
const STATUS_COMMAND: u16 = 0x64;
const OUTPUT_FULL: u8 = 1;
const INPUT_FULL: u8 = 2;

const READ_CONFIGURATION: u8 = 0x20;
const WRITE_CONFIGURATION: u8 = 0x60;
const DISABLE_MOUSE: u8 = 0xA7;
const SELF_TEST: u8 = 0xAA;
const TEST_KEYBOARD_LINES: u8 = 0xAB;
const DISABLE_KEYBOARD: u8 = 0xAD;
const ENABLE_KEYBOARD: u8 = 0xAE;
const PULSE_RESET: u8 = 0xFE;

const KEYBOARD_ENABLE_SCANNING: u8 = 0xF4;
const KEYBOARD_ECHO: u8 = 0xEE;
const ACKNOWLEDGE: u8 = 0xFA;

#[derive(Default)]
struct Keys {
    shift: u8,
    control: bool,
    caps_lock: bool,
    extended: bool,
    /// While the kernel talks with the controller, answers are no keys.
    polling: bool,
}

static KEYS: IrqCell<Keys> =
    IrqCell::new(Keys { shift: 0, control: false, caps_lock: false, extended: false, polling: false });

/// Set 1, codes 01h to 39h: plain, then with shift. Zero: no character.
const PLAIN: &[u8; 0x3A] = b"\0\x1B1234567890-=\x08\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
const SHIFTED: &[u8; 0x3A] = b"\0\x1B!@#$%^&*()_+\x08\tQWERTYUIOP{}\n\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

/// Tests the controller and switches keyboard, translation and interrupt on. False: nobody answers.
pub fn init() -> bool {
    command(DISABLE_KEYBOARD);
    command(DISABLE_MOUSE);
    for _ in 0..32 {
        if in8(STATUS_COMMAND) & OUTPUT_FULL == 0 {
            break;
        }
        in8(DATA);
    }
    command(SELF_TEST);
    let works = answer() == Some(0x55);
    // Configuration: interrupt 1 on (bit 0), system flag (2), keyboard on (4 clear), mouse off (5),
    // translation to set 1 (6).
    command(WRITE_CONFIGURATION);
    send(0x65);
    command(ENABLE_KEYBOARD);
    send(KEYBOARD_ENABLE_SCANNING);
    works && answer() == Some(ACKNOWLEDGE)
}

/// What the self-test wants to know: the controller's test of the keyboard's lines, its configuration byte,
/// and whether the keyboard echoes.
pub fn check() -> (Option<u8>, Option<u8>, bool) {
    KEYS.with(|keys| keys.polling = true);
    command(TEST_KEYBOARD_LINES);
    let lines = answer();
    command(READ_CONFIGURATION);
    let configuration = answer();
    send(KEYBOARD_ECHO);
    // QEMU's keyboard does not know this command and says "resend", which is an answer too.
    let echo = matches!(answer(), Some(KEYBOARD_ECHO | 0xFE | ACKNOWLEDGE));
    KEYS.with(|keys| keys.polling = false);
    (lines, configuration, echo)
}

/// Pulls the processor's reset line, which hangs on the controller.
pub fn pulse_reset() {
    command(PULSE_RESET);
}

/// Interrupt 1.
pub fn interrupt() {
    for _ in 0..16 {
        if KEYS.with(|keys| keys.polling) || in8(STATUS_COMMAND) & OUTPUT_FULL == 0 {
            return;
        }
        let code = in8(DATA);
        if let Some(byte) = KEYS.with(|keys| keys.decode(code)) {
            console::input(byte);
        }
    }
}

fn command(byte: u8) {
    wait(|| in8(STATUS_COMMAND) & INPUT_FULL == 0);
    out8(STATUS_COMMAND, byte);
}

fn send(byte: u8) {
    wait(|| in8(STATUS_COMMAND) & INPUT_FULL == 0);
    out8(DATA, byte);
}

fn answer() -> Option<u8> {
    wait(|| in8(STATUS_COMMAND) & OUTPUT_FULL != 0).then(|| in8(DATA))
}

/// Looks some times, and then sleeps between looks, for 100 ms at most.
fn wait(condition: impl Fn() -> bool) -> bool {
    (0..100).any(|_| condition()) || task::wait_until(timer::now_ns() + 100_000_000, condition)
}

impl Keys {
    fn decode(&mut self, code: u8) -> Option<u8> {
        if code == 0xE0 {
            self.extended = true;
            return None;
        }
        let extended = core::mem::take(&mut self.extended);
        let (key, pressed) = (code & 0x7F, code & 0x80 == 0);
        match key {
            // E0 2A and E0 36 are shifts that the keyboard makes up around some grey keys.
            0x2A | 0x36 if !extended => {
                let bit = if key == 0x2A { 1 } else { 2 };
                self.shift = self.shift & !bit | if pressed { bit } else { 0 };
                return None;
            }
            0x1D => {
                self.control = pressed;
                return None;
            }
            0x3A if pressed => self.caps_lock = !self.caps_lock,
            _ => {}
        }
        if !pressed || (extended && !matches!(key, 0x1C | 0x35)) {
            return None;
        }
        let plain = *PLAIN.get(usize::from(key))?;
        let upper = (self.shift != 0) != (self.caps_lock && plain.is_ascii_lowercase());
        let byte = if upper { SHIFTED[usize::from(key)] } else { plain };
        match byte {
            0 => None,
            _ if self.control => byte.is_ascii_alphabetic().then_some(byte & 0x1F),
            _ => Some(byte),
        }
    }
}
