//! Intel 8042 keyboard controller with keyboard and mouse, ports 60h and 64h.
//!
//! Manual: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
//! Modelled: status, controller RAM with the command byte, self-tests, output port with A20 and reset, both
//! device ports with inhibition, translation of scan-code set 2 to set 1, IRQ 1 and IRQ 12.
//! Left out: time-outs and parity errors (the lines have none), commands C1h and C2h (polling of the input
//! port), and the password commands.
//! The controller answers at once; a byte from a device is on its line for [`LINE_TIME`].

use std::collections::VecDeque;

use emu_core::bus::{NEVER, PortIo, Tick};

use crate::keys::{Key, set2_to_set1};
use crate::ps2_keyboard::Ps2Keyboard;
use crate::ps2_mouse::Ps2Mouse;

/// Data port.
pub const DATA: u16 = 0x60;
/// Status (read) and command (write) port.
pub const COMMAND: u16 = 0x64;

/// From the output buffer being free to the next byte of a device in it. A real line takes up to a
/// millisecond, but port accesses are slow there as well: guests that count polls instead of time give up
/// after some ten thousand of them. What matters is that the buffer is empty, and IRQ 1 low, for a while.
pub const LINE_TIME: Tick = 5_000;

const STATUS_OBF: u8 = 1 << 0;
const STATUS_SYSTEM: u8 = 1 << 2;
const STATUS_COMMAND: u8 = 1 << 3;
const STATUS_UNLOCKED: u8 = 1 << 4;
const STATUS_AUX_OBF: u8 = 1 << 5;

const MODE_KEYBOARD_INTERRUPT: u8 = 1 << 0;
const MODE_AUX_INTERRUPT: u8 = 1 << 1;
const MODE_SYSTEM: u8 = 1 << 2;
const MODE_KEYBOARD_DISABLED: u8 = 1 << 4;
const MODE_AUX_DISABLED: u8 = 1 << 5;
const MODE_TRANSLATE: u8 = 1 << 6;

const OUTPUT_NO_RESET: u8 = 1 << 0;
const OUTPUT_A20: u8 = 1 << 1;

/// Where the byte in the output buffer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// Keyboard, or the controller itself.
    Keyboard,
    Aux,
}

/// The controller and its two devices.
#[derive(Clone, Debug, PartialEq)]
pub struct I8042 {
    /// The keyboard.
    pub keyboard: Ps2Keyboard,
    /// The mouse.
    pub mouse: Ps2Mouse,
    /// Controller RAM; byte 0 is the command byte.
    ram: [u8; 32],
    /// Output buffer.
    buffer: Option<(u8, From)>,
    /// What the last port-60h read gave (an empty buffer gives it again).
    last: u8,
    /// The controller's own answers that wait for the output buffer.
    answers: VecDeque<(u8, From)>,
    /// Command whose argument is awaited at port 60h.
    command: Option<u8>,
    /// The last write went to port 64h.
    command_last: bool,
    /// Output port P2, without the interrupt lines.
    output_port: u8,
    /// F0h came: the next translated byte is a break code.
    break_next: bool,
    /// When a device's byte reaches the output buffer.
    due: Tick,
    /// The guest pulsed the reset line.
    reset_request: bool,
    /// The guest set A20 to this.
    a20_request: Option<bool>,
}

impl Default for I8042 {
    fn default() -> Self {
        Self::new()
    }
}

impl I8042 {
    /// The controller after reset, with A20 open.
    pub fn new() -> Self {
        let mut ram = [0; 32];
        ram[0] = MODE_KEYBOARD_INTERRUPT | MODE_AUX_INTERRUPT;
        Self {
            keyboard: Ps2Keyboard::new(),
            mouse: Ps2Mouse::new(),
            ram,
            buffer: None,
            last: 0,
            answers: VecDeque::new(),
            command: None,
            command_last: true,
            output_port: OUTPUT_NO_RESET | OUTPUT_A20,
            break_next: false,
            due: NEVER,
            reset_request: false,
            a20_request: None,
        }
    }

    /// IRQ 1.
    pub fn keyboard_irq(&self) -> bool {
        self.mode(MODE_KEYBOARD_INTERRUPT) && matches!(self.buffer, Some((_, From::Keyboard)))
    }

    /// IRQ 12.
    pub fn aux_irq(&self) -> bool {
        self.mode(MODE_AUX_INTERRUPT) && matches!(self.buffer, Some((_, From::Aux)))
    }

    /// True once after the guest pulsed the reset line.
    pub fn take_reset(&mut self) -> bool {
        std::mem::take(&mut self.reset_request)
    }

    /// What the guest last set the A20 gate to, once.
    pub fn take_a20(&mut self) -> Option<bool> {
        self.a20_request.take()
    }

    /// Tells the controller how the A20 gate stands, for reads of its output port.
    pub fn set_a20(&mut self, open: bool) {
        self.output_port = self.output_port & !OUTPUT_A20 | if open { OUTPUT_A20 } else { 0 };
    }

    /// A key goes down or up.
    pub fn key(&mut self, key: Key, pressed: bool, now: Tick) {
        self.keyboard.key(key, pressed);
        self.schedule(now);
    }

    /// The mouse moves; see [`Ps2Mouse::moves`].
    pub fn mouse(&mut self, right: i32, up: i32, wheel: i32, buttons: u8, now: Tick) {
        self.mouse.moves(right, up, wheel, buttons);
        self.schedule(now);
    }

    /// When the next byte of a device arrives.
    pub fn next_event(&self) -> Tick {
        self.due
    }

    /// Lets a device's byte arrive.
    pub fn advance(&mut self, now: Tick) {
        if self.due > now {
            return;
        }
        self.due = NEVER;
        if self.keyboard_ready()
            && let Some(byte) = self.keyboard.send()
        {
            if let Some(byte) = self.translate(byte) {
                self.buffer = Some((byte, From::Keyboard));
            }
        } else if self.aux_ready()
            && let Some(byte) = self.mouse.send()
        {
            self.buffer = Some((byte, From::Aux));
        }
        self.schedule(now);
    }

    fn mode(&self, bit: u8) -> bool {
        self.ram[0] & bit != 0
    }

    fn keyboard_ready(&self) -> bool {
        !self.mode(MODE_KEYBOARD_DISABLED) && self.keyboard.has_data()
    }

    fn aux_ready(&self) -> bool {
        !self.mode(MODE_AUX_DISABLED) && self.mouse.has_data()
    }

    /// Moves the controller's answers on, and starts a device's byte on its way if the buffer is free.
    fn schedule(&mut self, now: Tick) {
        if self.buffer.is_none() {
            self.buffer = self.answers.pop_front();
        }
        if self.buffer.is_some() || !(self.keyboard_ready() || self.aux_ready()) {
            self.due = NEVER;
        } else if self.due == NEVER {
            self.due = now.saturating_add(LINE_TIME);
        }
    }

    /// Set 2 to set 1: the break prefix becomes bit 7.
    fn translate(&mut self, byte: u8) -> Option<u8> {
        if !self.mode(MODE_TRANSLATE) {
            return Some(byte);
        }
        if byte == 0xf0 {
            self.break_next = true;
            return None;
        }
        let break_bit = if std::mem::take(&mut self.break_next) { 0x80 } else { 0 };
        Some(set2_to_set1(byte) | break_bit)
    }

    /// The answer replaces whatever lies in the buffer, as the controller's firmware does it.
    fn answer(&mut self, byte: u8, from: From) {
        self.buffer = None;
        self.answers.clear();
        self.answers.push_back((byte, from));
    }

    fn controller_command(&mut self, command: u8) {
        self.command = None;
        match command {
            0x20..=0x3f => self.answer(self.ram[usize::from(command & 0x1f)], From::Keyboard),
            0x60..=0x7f | 0xd1..=0xd4 => self.command = Some(command),
            0xa7 => self.ram[0] |= MODE_AUX_DISABLED,
            0xa8 => self.ram[0] &= !MODE_AUX_DISABLED,
            0xa9 | 0xab => self.answer(0x00, From::Keyboard), // the lines are good
            0xaa => {
                self.ram[0] |= MODE_SYSTEM;
                self.answer(0x55, From::Keyboard);
            }
            0xad => self.ram[0] |= MODE_KEYBOARD_DISABLED,
            0xae => self.ram[0] &= !MODE_KEYBOARD_DISABLED,
            0xc0 => self.answer(0x80, From::Keyboard), // keyboard not locked
            0xd0 => self.answer(self.read_output_port(), From::Keyboard),
            0xdd | 0xdf => self.a20_request = Some(command == 0xdf),
            0xe0 => self.answer(0x00, From::Keyboard),
            // Pulses the bits of the output port that are 0 in the command.
            0xf0..=0xff => self.reset_request |= command & OUTPUT_NO_RESET == 0,
            _ => {}
        }
    }

    fn read_output_port(&self) -> u8 {
        let full = |from| matches!(self.buffer, Some((_, source)) if source == from);
        self.output_port & 0x0f | u8::from(full(From::Keyboard)) << 4 | u8::from(full(From::Aux)) << 5 | 0xc0
    }

    fn argument(&mut self, command: u8, value: u8) {
        match command {
            0xd1 => {
                self.output_port = value;
                self.a20_request = Some(value & OUTPUT_A20 != 0);
                self.reset_request |= value & OUTPUT_NO_RESET == 0;
            }
            0xd2 => self.answer(value, From::Keyboard),
            0xd3 => self.answer(value, From::Aux),
            0xd4 => {
                self.ram[0] &= !MODE_AUX_DISABLED;
                self.mouse.receive(value);
            }
            _ => self.ram[usize::from(command & 0x1f)] = value,
        }
    }

    fn status(&self) -> u8 {
        let system = if self.mode(MODE_SYSTEM) { STATUS_SYSTEM } else { 0 };
        let command = if self.command_last { STATUS_COMMAND } else { 0 };
        let full = match self.buffer {
            None => 0,
            Some((_, From::Keyboard)) => STATUS_OBF,
            Some((_, From::Aux)) => STATUS_OBF | STATUS_AUX_OBF,
        };
        STATUS_UNLOCKED | system | command | full
    }
}

impl PortIo for I8042 {
    fn read8(&mut self, port: u16, now: Tick) -> u8 {
        if port == COMMAND {
            return self.status();
        }
        if let Some((byte, _)) = self.buffer.take() {
            self.last = byte;
        }
        self.schedule(now);
        self.last
    }

    fn write8(&mut self, port: u16, value: u8, now: Tick) {
        self.command_last = port == COMMAND;
        if port == COMMAND {
            self.controller_command(value);
        } else if let Some(command) = self.command.take() {
            self.argument(command, value);
        } else {
            // For the keyboard; a byte for it enables its port.
            self.ram[0] &= !MODE_KEYBOARD_DISABLED;
            self.keyboard.receive(value);
        }
        self.schedule(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A controller and the time.
    struct Board(I8042, Tick);

    impl Board {
        fn command(&mut self, value: u8) {
            self.0.write8(0x64, value, self.1);
        }

        fn data(&mut self, value: u8) {
            self.0.write8(0x60, value, self.1);
        }

        /// All that arrives, each byte with whether it is the mouse's.
        fn drain(&mut self) -> Vec<(u8, bool)> {
            let mut bytes = Vec::new();
            loop {
                let status = self.0.read8(0x64, self.1);
                if status & 1 != 0 {
                    bytes.push((self.0.read8(0x60, self.1), status & 0x20 != 0));
                } else if self.0.next_event() != NEVER {
                    self.1 = self.0.next_event();
                    self.0.advance(self.1);
                } else {
                    return bytes;
                }
            }
        }

        fn bytes(&mut self) -> Vec<u8> {
            self.drain().into_iter().map(|(byte, _)| byte).collect()
        }
    }

    /// As a BIOS leaves it: tested, both interrupts, translation.
    fn board() -> Board {
        let mut board = Board(I8042::new(), 0);
        board.command(0xaa);
        assert_eq!(board.bytes(), [0x55]);
        board.command(0x60);
        board.data(0x47);
        board
    }

    #[test]
    fn self_tests_pass() {
        let mut board = board();
        for (command, answer) in [(0xaa, 0x55), (0xa9, 0), (0xab, 0)] {
            board.command(command);
            assert_eq!(board.bytes(), [answer]);
        }
    }

    #[test]
    fn the_command_byte_reads_back_and_sets_the_system_flag() {
        let mut board = board();
        board.command(0x20);
        assert_eq!(board.bytes(), [0x47]);
        assert_eq!(board.0.read8(0x64, 0) & 0x04, 0x04);
    }

    #[test]
    fn keys_are_translated_and_raise_irq_1_once_each() {
        let mut board = board();
        board.0.key(Key::typing(b'a').unwrap().0, true, 0);
        assert!(!board.0.keyboard_irq());
        board.1 = board.0.next_event();
        board.0.advance(board.1);
        assert!(board.0.keyboard_irq() && !board.0.aux_irq());
        assert_eq!(board.0.read8(0x60, board.1), 0x1e);
        assert!(!board.0.keyboard_irq());
        board.0.key(Key::typing(b'a').unwrap().0, false, board.1);
        assert_eq!(board.bytes(), [0x9e]);
    }

    #[test]
    fn without_translation_set_2_comes_through() {
        let mut board = board();
        board.command(0x60);
        board.data(0x07);
        board.0.key(Key::UP, false, 0);
        assert_eq!(board.bytes(), [0xe0, 0xf0, 0x75]);
    }

    #[test]
    fn the_keyboards_id_is_translated_too() {
        let mut board = board();
        board.data(0xf2);
        assert_eq!(board.bytes(), [0xfa, 0xab, 0x41]);
    }

    #[test]
    fn mouse_bytes_are_marked_and_raise_irq_12() {
        let mut board = board();
        board.command(0xd4);
        board.data(0xff);
        board.1 = board.0.next_event();
        board.0.advance(board.1);
        assert!(board.0.aux_irq() && !board.0.keyboard_irq());
        assert_eq!(board.drain(), [(0xfa, true), (0xaa, true), (0x00, true)]);
    }

    #[test]
    fn disabled_ports_hold_their_bytes() {
        let mut board = board();
        board.command(0xad);
        board.0.key(Key::SPACE, true, 0);
        assert_eq!(board.bytes(), []);
        board.command(0xae);
        assert_eq!(board.bytes(), [0x39]);
    }

    #[test]
    fn loopback_commands_fill_either_buffer() {
        let mut board = board();
        board.command(0xd3);
        board.data(0xa5);
        assert_eq!(board.drain(), [(0xa5, true)]);
        board.command(0xd2);
        board.data(0x5a);
        assert!(board.0.keyboard_irq());
        assert_eq!(board.drain(), [(0x5a, false)]);
    }

    #[test]
    fn the_output_port_moves_a20_and_resets() {
        let mut board = board();
        board.command(0xd1);
        board.data(0xdd);
        assert_eq!((board.0.take_a20(), board.0.take_a20()), (Some(false), None));
        board.0.set_a20(false);
        board.command(0xd0);
        assert_eq!(board.bytes()[0] & 3, 1);
        assert!(!board.0.take_reset());
        board.command(0xfe);
        assert!(board.0.take_reset());
        board.command(0xff);
        assert!(!board.0.take_reset());
    }
}
