//! PS/2 keyboard: the device at the other end of the 8042's first port.
//!
//! Manual: IBM PS/2 Hardware Interface Technical Reference, "Keyboard (101- and 102-key)", "Commands from the
//! System", "Scan Codes".
//! Modelled: all commands, scan-code sets 1 to 3, the 16-byte buffer with its overrun code.
//! Left out: typematic repeat (the host's own repeat arrives as presses); set 3's per-key types are accepted,
//! but each key stays make/break.

use std::collections::VecDeque;

use crate::keys::Key;

const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;
const BUFFER_SIZE: usize = 16;

/// The keyboard.
#[derive(Clone, Debug, PartialEq)]
pub struct Ps2Keyboard {
    /// Scan codes that wait to be sent.
    buffer: VecDeque<u8>,
    /// Answers to the last command; they go first.
    answers: VecDeque<u8>,
    /// Command whose argument is awaited.
    command: Option<u8>,
    /// Keys are scanned.
    enabled: bool,
    /// Scan-code set, 1 to 3.
    set: u8,
    /// Bits 2:0: Caps Lock, Num Lock, Scroll Lock.
    leds: u8,
    /// Rate and delay as set by F3h.
    typematic: u8,
    /// The byte sent last, for RESEND.
    last: u8,
}

impl Default for Ps2Keyboard {
    fn default() -> Self {
        Self::new()
    }
}

impl Ps2Keyboard {
    /// A keyboard after its power-on self-test.
    pub fn new() -> Self {
        Self {
            buffer: VecDeque::new(),
            answers: VecDeque::new(),
            command: None,
            enabled: true,
            set: 2,
            leds: 0,
            typematic: 0x2b,
            last: 0,
        }
    }

    /// The lights: bits 2:0 are Caps Lock, Num Lock, Scroll Lock.
    pub fn leds(&self) -> u8 {
        self.leds
    }

    /// A key goes down or up.
    pub fn key(&mut self, key: Key, pressed: bool) {
        if !self.enabled {
            return;
        }
        let codes = match self.set {
            1 => key.set1(pressed),
            3 if pressed => vec![key.set3()],
            3 => vec![0xf0, key.set3()],
            _ => key.set2(pressed),
        };
        if self.buffer.len() + codes.len() < BUFFER_SIZE {
            self.buffer.extend(codes);
        } else if self.buffer.len() < BUFFER_SIZE {
            // The last place is for the overrun code.
            self.buffer.push_back(if self.set == 1 { 0xff } else { 0x00 });
            while self.buffer.len() < BUFFER_SIZE {
                self.buffer.push_back(0);
            }
        }
    }

    /// True when the keyboard has a byte to send.
    pub fn has_data(&self) -> bool {
        !self.answers.is_empty() || !self.buffer.is_empty()
    }

    /// The next byte goes over the line.
    pub fn send(&mut self) -> Option<u8> {
        let byte = self.answers.pop_front().or_else(|| self.buffer.pop_front())?;
        if byte != RESEND {
            self.last = byte;
        }
        Some(byte)
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.answers.clear();
        self.answers.extend(bytes);
    }

    fn defaults(&mut self) {
        *self = Self {
            answers: std::mem::take(&mut self.answers),
            leds: self.leds,
            last: self.last,
            ..Self::new()
        };
    }

    /// A byte arrives from the system.
    pub fn receive(&mut self, byte: u8) {
        match self.command.take() {
            // An argument has bit 7 clear; anything else is a new command.
            Some(command) if byte < 0x80 || matches!(command, 0xfb..=0xfd) && byte < 0xed => {
                self.argument(command, byte);
            }
            _ => self.command(byte),
        }
    }

    fn command(&mut self, command: u8) {
        match command {
            0xed | 0xf0 | 0xf3 | 0xfb..=0xfd => {
                self.command = Some(command);
                self.answer(&[ACK]);
            }
            0xee => self.answer(&[0xee]),
            0xf2 => self.answer(&[ACK, 0xab, 0x83]),
            0xf4 => {
                self.buffer.clear();
                self.enabled = true;
                self.answer(&[ACK]);
            }
            0xf5 => {
                self.defaults();
                self.enabled = false;
                self.answer(&[ACK]);
            }
            0xf6 => {
                let enabled = self.enabled;
                self.defaults();
                self.enabled = enabled;
                self.answer(&[ACK]);
            }
            0xf7..=0xfa => self.answer(&[ACK]),
            0xfe => self.answer(&[self.last]),
            0xff => {
                *self = Self::new();
                self.answer(&[ACK, SELF_TEST_PASSED]);
            }
            _ => self.answer(&[RESEND]),
        }
    }

    fn argument(&mut self, command: u8, value: u8) {
        match (command, value) {
            (0xed, _) => self.leds = value & 7,
            (0xf0, 0) => return self.answer(&[ACK, self.set]),
            (0xf0, 1..=3) => {
                self.buffer.clear();
                self.set = value;
            }
            (0xf0, _) => return self.answer(&[RESEND]),
            (0xf3, _) => self.typematic = value,
            // FBh to FDh take keys until a command ends the list.
            _ => self.command = Some(command),
        }
        self.answer(&[ACK]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(keyboard: &mut Ps2Keyboard) -> Vec<u8> {
        std::iter::from_fn(|| keyboard.send()).collect()
    }

    fn answers(keyboard: &mut Ps2Keyboard, bytes: &[u8]) -> Vec<u8> {
        bytes
            .iter()
            .flat_map(|&byte| {
                keyboard.receive(byte);
                drain(keyboard)
            })
            .collect()
    }

    #[test]
    fn commands_answer_as_the_manual_says() {
        let mut keyboard = Ps2Keyboard::new();
        assert_eq!(answers(&mut keyboard, &[0xee]), [0xee]);
        assert_eq!(answers(&mut keyboard, &[0xff]), [0xfa, 0xaa]);
        assert_eq!(answers(&mut keyboard, &[0xf2]), [0xfa, 0xab, 0x83]);
        assert_eq!(answers(&mut keyboard, &[0xed, 0x05]), [0xfa, 0xfa]);
        assert_eq!(keyboard.leds(), 5);
        assert_eq!(answers(&mut keyboard, &[0xf0, 0x00]), [0xfa, 0xfa, 2]);
        assert_eq!(answers(&mut keyboard, &[0x12]), [0xfe]);
        assert_eq!(answers(&mut keyboard, &[0xfe]), [2]);
    }

    #[test]
    fn disabled_means_silent() {
        let mut keyboard = Ps2Keyboard::new();
        answers(&mut keyboard, &[0xf5]);
        keyboard.key(Key::SPACE, true);
        assert_eq!(drain(&mut keyboard), []);
        answers(&mut keyboard, &[0xf4]);
        keyboard.key(Key::SPACE, true);
        assert_eq!(drain(&mut keyboard), [0x29]);
    }

    #[test]
    fn each_set_has_its_codes() {
        let mut keyboard = Ps2Keyboard::new();
        for (set, expected) in [
            (1, vec![0xe0, 0x4b, 0xe0, 0xcb]),
            (2, vec![0xe0, 0x6b, 0xe0, 0xf0, 0x6b]),
            (3, vec![0x61, 0xf0, 0x61]),
        ] {
            answers(&mut keyboard, &[0xf0, set]);
            keyboard.key(Key::LEFT, true);
            keyboard.key(Key::LEFT, false);
            assert_eq!(drain(&mut keyboard), expected);
        }
    }

    #[test]
    fn too_many_keys_end_with_the_overrun_code() {
        let mut keyboard = Ps2Keyboard::new();
        (0..40).for_each(|_| keyboard.key(Key::SPACE, true));
        let sent = drain(&mut keyboard);
        assert_eq!(sent.len(), 16);
        assert_eq!((sent[14], sent[15]), (0x29, 0));
    }

    #[test]
    fn an_unfinished_command_gives_way_to_a_new_one() {
        let mut keyboard = Ps2Keyboard::new();
        assert_eq!(answers(&mut keyboard, &[0xed, 0xf4]), [0xfa, 0xfa]);
        assert_eq!(keyboard.leds(), 0);
    }
}
