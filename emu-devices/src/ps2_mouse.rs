//! PS/2 mouse: the device at the other end of the 8042's auxiliary port.
//!
//! Manual: IBM PS/2 Hardware Interface Technical Reference, "Auxiliary Device"; the wheel and the five buttons
//! are Microsoft's IntelliMouse extensions, found by their sequences of sample rates.
//! Modelled: all commands, stream, remote and wrap mode, scaling, packets of three and four bytes.
//! Left out: the sample rate does not slow packets down; movement adds up while the line is busy.

use std::collections::VecDeque;

const ACK: u8 = 0xfa;
const NACK: u8 = 0xfe;
const BUFFER_SIZE: usize = 16;

/// The mouse.
#[derive(Clone, Debug, PartialEq)]
pub struct Ps2Mouse {
    /// Movement packets that wait to be sent.
    buffer: VecDeque<u8>,
    /// Answers to the last command; they go first.
    answers: VecDeque<u8>,
    /// Command whose argument is awaited.
    command: Option<u8>,
    /// Data reporting, in stream mode.
    reporting: bool,
    remote: bool,
    wrap: bool,
    /// 2:1 scaling.
    scaling: bool,
    /// 2 to the power of this many counts per millimetre.
    resolution: u8,
    rate: u8,
    /// The two rates before, for the IntelliMouse sequences.
    older_rates: [u8; 2],
    /// 0 (three bytes), 3 (wheel) or 4 (wheel and five buttons).
    id: u8,
    /// Movement that no packet has told: right, up, wheel towards the user.
    moved: [i32; 3],
    /// Bits 4:0: buttons 5, 4, middle, right, left.
    buttons: u8,
    /// Buttons changed since the last packet.
    changed: bool,
    /// The byte sent last, for RESEND.
    last: u8,
}

impl Default for Ps2Mouse {
    fn default() -> Self {
        Self::new()
    }
}

impl Ps2Mouse {
    /// A mouse after its power-on self-test.
    pub fn new() -> Self {
        Self {
            buffer: VecDeque::new(),
            answers: VecDeque::new(),
            command: None,
            reporting: false,
            remote: false,
            wrap: false,
            scaling: false,
            resolution: 2,
            rate: 100,
            older_rates: [0; 2],
            id: 0,
            moved: [0; 3],
            buttons: 0,
            changed: false,
            last: 0,
        }
    }

    /// The mouse moves (right, up, wheel towards the user) and holds `buttons` (bits 4:0: fifth, fourth,
    /// middle, right, left).
    pub fn moves(&mut self, right: i32, up: i32, wheel: i32, buttons: u8) {
        for (sum, by) in self.moved.iter_mut().zip([right, up, wheel]) {
            *sum = sum.saturating_add(by).clamp(-0x7fff, 0x7fff);
        }
        self.changed |= buttons != self.buttons;
        self.buttons = buttons & 0x1f;
        self.report();
    }

    /// Queues packets while there is something to tell and room for it.
    fn report(&mut self) {
        let size = if self.id == 0 { 3 } else { 4 };
        while self.reporting
            && !self.remote
            && !self.wrap
            && (self.changed || self.moved[..2] != [0, 0] || self.id != 0 && self.moved[2] != 0)
            && self.buffer.len() + size <= BUFFER_SIZE
        {
            let (packet, size) = self.packet(self.scaling);
            self.buffer.extend(&packet[..size]);
        }
    }

    fn packet(&mut self, scaling: bool) -> ([u8; 4], usize) {
        let (x, y) = (take(&mut self.moved[0], 255), take(&mut self.moved[1], 255));
        let wheel = take(&mut self.moved[2], 7);
        self.changed = false;
        let (x, y) = if scaling { (scale(x), scale(y)) } else { (x, y) };
        let signs = u8::from(x < 0) << 4 | u8::from(y < 0) << 5;
        let head = 0x08 | self.buttons & 7 | signs;
        let last = if self.id == 4 { wheel as u8 & 0x0f | (self.buttons & 0x18) << 1 } else { wheel as u8 };
        ([head, x as u8, y as u8, last], if self.id == 0 { 3 } else { 4 })
    }

    /// True when the mouse has a byte to send.
    pub fn has_data(&self) -> bool {
        !self.answers.is_empty() || !self.buffer.is_empty()
    }

    /// The next byte goes over the line.
    pub fn send(&mut self) -> Option<u8> {
        let byte = self.answers.pop_front().or_else(|| self.buffer.pop_front())?;
        self.last = byte;
        self.report();
        Some(byte)
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.answers.clear();
        self.answers.extend(bytes);
    }

    /// A byte arrives from the system.
    pub fn receive(&mut self, byte: u8) {
        // A command ends what was being sent.
        self.buffer.clear();
        if self.wrap && !matches!(byte, 0xec | 0xff) {
            return self.answer(&[byte]);
        }
        match self.command.take() {
            Some(command) => self.argument(command, byte),
            None => self.command(byte),
        }
    }

    fn command(&mut self, command: u8) {
        match command {
            0xe6 | 0xe7 => self.scaling = command == 0xe7,
            0xe8 | 0xf3 => self.command = Some(command),
            0xe9 => {
                let status = u8::from(self.remote) << 6
                    | u8::from(self.reporting) << 5
                    | u8::from(self.scaling) << 4
                    | (self.buttons & 1) << 2
                    | (self.buttons & 4) >> 1
                    | (self.buttons & 2) >> 1;
                return self.answer(&[ACK, status, self.resolution, self.rate]);
            }
            0xea => self.remote = false,
            0xeb => {
                let (packet, size) = self.packet(false); // scaling is for stream mode
                self.answer(&[ACK]);
                self.answers.extend(&packet[..size]);
                return;
            }
            0xec => self.wrap = false,
            0xee => self.wrap = true,
            0xf0 => self.remote = true,
            0xf2 => return self.answer(&[ACK, self.id]),
            0xf4 => self.reporting = true,
            0xf5 => self.reporting = false,
            0xf6 => *self = Self { id: self.id, buttons: self.buttons, last: self.last, ..Self::new() },
            0xfe => return self.answer(&[self.last]),
            0xff => {
                *self = Self { buttons: self.buttons, ..Self::new() };
                return self.answer(&[ACK, 0xaa, 0x00]);
            }
            _ => return self.answer(&[NACK]),
        }
        self.answer(&[ACK]);
    }

    fn argument(&mut self, command: u8, value: u8) {
        match (command, value) {
            (0xe8, 0..=3) => self.resolution = value,
            (0xf3, 10 | 20 | 40 | 60 | 80 | 100 | 200) => {
                let sequence = [self.older_rates[1], self.rate, value];
                match (sequence, self.id) {
                    ([200, 100, 80], _) => self.id = self.id.max(3),
                    ([200, 200, 80], 3..) => self.id = 4,
                    _ => {}
                }
                self.older_rates = [self.older_rates[1], self.rate];
                self.rate = value;
            }
            _ => return self.answer(&[NACK]),
        }
        self.answer(&[ACK]);
    }
}

/// Takes up to `limit` of a movement in either direction.
fn take(sum: &mut i32, limit: i32) -> i32 {
    let part = (*sum).clamp(-limit, limit);
    *sum -= part;
    part
}

/// 2:1 scaling, "Set Scaling 2:1".
fn scale(counts: i32) -> i32 {
    let size = match counts.abs() {
        size @ 0..=1 => size,
        2 => 1,
        3 => 3,
        4 => 6,
        5 => 9,
        size => (2 * size).min(255),
    };
    size * counts.signum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mouse: &mut Ps2Mouse) -> Vec<u8> {
        std::iter::from_fn(|| mouse.send()).collect()
    }

    fn answers(mouse: &mut Ps2Mouse, bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for &byte in bytes {
            mouse.receive(byte);
            all.extend(drain(mouse));
        }
        all
    }

    #[test]
    fn packets_tell_movement_and_buttons() {
        let mut mouse = Ps2Mouse::new();
        assert_eq!(answers(&mut mouse, &[0xff, 0xf4]), [0xfa, 0xaa, 0, 0xfa]);
        mouse.moves(3, -2, 0, 1);
        assert_eq!(drain(&mut mouse), [0x29, 3, 0xfe]);
    }

    #[test]
    fn far_movement_takes_several_packets() {
        let mut mouse = Ps2Mouse::new();
        answers(&mut mouse, &[0xf4]);
        mouse.moves(300, 0, 0, 0);
        assert_eq!(drain(&mut mouse), [0x08, 255, 0, 0x08, 45, 0]);
    }

    #[test]
    fn the_wheel_appears_after_200_100_80_and_buttons_after_200_200_80() {
        let mut mouse = Ps2Mouse::new();
        assert_eq!(answers(&mut mouse, &[0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2]).last(), Some(&3));
        answers(&mut mouse, &[0xf4]);
        mouse.moves(0, 0, -1, 0);
        assert_eq!(drain(&mut mouse), [0x08, 0, 0, 0xff]);
        assert_eq!(answers(&mut mouse, &[0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf2]).last(), Some(&4));
        mouse.moves(0, 0, 1, 0x10);
        assert_eq!(drain(&mut mouse), [0x08, 0, 0, 0x21]);
    }

    #[test]
    fn status_tells_mode_resolution_and_rate() {
        let mut mouse = Ps2Mouse::new();
        assert_eq!(answers(&mut mouse, &[0xe9]), [0xfa, 0x00, 2, 100]);
        answers(&mut mouse, &[0xe7, 0xf4, 0xe8, 3, 0xf3, 40]);
        assert_eq!(answers(&mut mouse, &[0xe9]), [0xfa, 0x30, 3, 40]);
    }

    #[test]
    fn wrap_mode_echoes_until_it_is_reset() {
        let mut mouse = Ps2Mouse::new();
        assert_eq!(answers(&mut mouse, &[0xee, 0xf4, 0x55, 0xec, 0xf2]), [0xfa, 0xf4, 0x55, 0xfa, 0xfa, 0]);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut mouse = Ps2Mouse::new();
        assert_eq!(answers(&mut mouse, &[0x00, 0xe8, 9]), [0xfe, 0xfa, 0xfe]);
    }
}
