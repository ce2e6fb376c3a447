//! Intel 8237A DMA controllers: the AT's pair with its page registers, channels 0 to 3 for bytes and 5 to 7 for words.
//!
//! Manuals: Intel 231466, "8237A High Performance Programmable DMA Controller"; IBM AT Technical Reference, "DMA".
//! Modelled: address and count with their base registers, single, block, demand and cascade modes, autoinitialization,
//! both directions of the address, verify transfers, masks, software requests, status with terminal counts, pages.
//! Left out: memory-to-memory transfers, compressed timing, rotating priority; a transfer takes no time of its own.
//! Channel 4 is the cascade: while it is masked, or the second controller disabled, channels 0 to 3 wait.

use emu_core::bus::{PortIo, Tick};
use emu_core::mem::Memory;

use crate::dma::{DmaDirection, IsaDmaDevice};

/// Registers of a controller; on the second one they lie two ports apart.
const COMMAND_STATUS: u16 = 8;
const REQUEST: u16 = 9;
const SINGLE_MASK: u16 = 10;
const MODE: u16 = 11;
const CLEAR_FLIP_FLOP: u16 = 12;
const MASTER_CLEAR: u16 = 13;
const CLEAR_MASK: u16 = 14;
const ALL_MASK: u16 = 15;

/// Command register: controller disable.
const DISABLE: u8 = 1 << 2;
/// Mode register.
const AUTOINITIALIZE: u8 = 1 << 4;
const DECREMENT: u8 = 1 << 5;
const SELECT: u8 = 0b11 << 6;
const CASCADE: u8 = 0b11 << 6;

/// Page registers 80h to 8Fh by channel.
const PAGES: [usize; 8] = [7, 3, 1, 2, 15, 11, 9, 10];

/// One channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    base_address: u16,
    base_count: u16,
    /// Current address, in bytes or words.
    address: u16,
    /// Current count: one less than the transfers to go.
    count: u16,
    mode: u8,
}

/// One controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controller {
    channels: [Channel; 4],
    command: u8,
    /// Bits 3:0: channels that are masked.
    mask: u8,
    /// Bits 3:0: software requests.
    requests: u8,
    /// Bits 3:0: channels that have reached their terminal count since the status was read.
    terminal: u8,
    /// The next byte is a high one.
    high: bool,
    /// What the temporary register would hold.
    temporary: u8,
}

impl Controller {
    const RESET: Self = Self {
        channels: [Channel { base_address: 0, base_count: 0, address: 0, count: 0, mode: 0 }; 4],
        command: 0,
        mask: 0xf,
        requests: 0,
        terminal: 0,
        high: false,
        temporary: 0,
    };

    fn master_clear(&mut self) {
        *self = Self { channels: self.channels, ..Self::RESET };
    }

    fn read(&mut self, register: u16) -> u8 {
        match register {
            0..=7 => {
                let channel = &self.channels[usize::from(register / 2)];
                let value = if register & 1 == 0 { channel.address } else { channel.count };
                self.byte_of(value)
            }
            COMMAND_STATUS => std::mem::take(&mut self.terminal) | self.requests << 4,
            MASTER_CLEAR => self.temporary,
            ALL_MASK => 0xf0 | self.mask,
            _ => 0xff,
        }
    }

    fn byte_of(&mut self, value: u16) -> u8 {
        self.high = !self.high;
        value.to_le_bytes()[usize::from(!self.high)]
    }

    fn write(&mut self, register: u16, value: u8) {
        let bit = 1 << (value & 3);
        let set = value & 4 != 0;
        match register {
            0..=7 => {
                let high = self.high;
                self.high = !high;
                let channel = &mut self.channels[usize::from(register / 2)];
                let (base, current) = match register & 1 {
                    0 => (&mut channel.base_address, &mut channel.address),
                    _ => (&mut channel.base_count, &mut channel.count),
                };
                let mut bytes = base.to_le_bytes();
                bytes[usize::from(high)] = value;
                *base = u16::from_le_bytes(bytes);
                *current = *base;
            }
            COMMAND_STATUS => self.command = value,
            REQUEST => self.requests = if set { self.requests | bit } else { self.requests & !bit },
            SINGLE_MASK => self.mask = if set { self.mask | bit } else { self.mask & !bit },
            MODE => self.channels[usize::from(value & 3)].mode = value,
            CLEAR_FLIP_FLOP => self.high = false,
            MASTER_CLEAR => self.master_clear(),
            CLEAR_MASK => self.mask = 0,
            _ => self.mask = value & 0xf,
        }
    }

    fn open(&self, channel: usize) -> bool {
        self.command & DISABLE == 0 && self.mask >> channel & 1 == 0
    }
}

/// Both controllers and the page registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct I8237 {
    controllers: [Controller; 2],
    pages: [u8; 16],
}

impl Default for I8237 {
    fn default() -> Self {
        Self::new()
    }
}

impl I8237 {
    /// Reset state: every channel is masked.
    pub fn new() -> Self {
        Self { controllers: [Controller::RESET; 2], pages: [0; 16] }
    }

    /// Lets a device on a byte channel (0 to 3) transfer as much as it asks for and the channel allows.
    pub fn serve(&mut self, number: usize, device: &mut dyn IsaDmaDevice, mem: &mut Memory, now: Tick) {
        let number = number & 3;
        let page = u64::from(self.pages[PAGES[number]]) << 16;
        let cascade = self.controllers[1].open(0);
        let controller = &mut self.controllers[0];
        while cascade && controller.open(number) {
            let channel = &mut controller.channels[number];
            let verify = channel.mode & 0b1100 == 0;
            let direction = match channel.mode >> 2 & 0b11 {
                0b10 => DmaDirection::FromMemory,
                _ => DmaDirection::ToMemory,
            };
            let asks = device.dma_request();
            if asks.is_none() || channel.mode & SELECT == CASCADE || !verify && asks != Some(direction) {
                return;
            }
            let at = page | u64::from(channel.address);
            let mut byte = [0];
            let moved = match asks {
                Some(DmaDirection::ToMemory) => {
                    let moved = device.dma_take(&mut byte, now);
                    if moved != 0 && !verify {
                        mem.write_bytes(at, &byte);
                    }
                    moved
                }
                _ => {
                    if !verify {
                        mem.read_bytes(at, &mut byte);
                    }
                    device.dma_give(&byte, now)
                }
            };
            if moved == 0 {
                return;
            }
            let step = if channel.mode & DECREMENT != 0 { u16::MAX } else { 1 };
            channel.address = channel.address.wrapping_add(step);
            let last = channel.count == 0;
            channel.count = channel.count.wrapping_sub(1);
            if last {
                controller.terminal |= 1 << number;
                if channel.mode & AUTOINITIALIZE != 0 {
                    (channel.address, channel.count) = (channel.base_address, channel.base_count);
                } else {
                    controller.mask |= 1 << number;
                }
                device.terminal_count(now);
            }
        }
    }
}

/// Ports 00h to 0Fh, C0h to DEh (even ones) and 81h to 8Fh.
impl PortIo for I8237 {
    fn read8(&mut self, port: u16, _now: Tick) -> u8 {
        match port {
            0x00..=0x0f => self.controllers[0].read(port),
            0xc0..=0xdf => self.controllers[1].read((port & 0x1f) / 2),
            _ => self.pages[usize::from(port & 0xf)],
        }
    }

    fn write8(&mut self, port: u16, value: u8, _now: Tick) {
        match port {
            0x00..=0x0f => self.controllers[0].write(port, value),
            0xc0..=0xdf => self.controllers[1].write((port & 0x1f) / 2, value),
            _ => self.pages[usize::from(port & 0xf)] = value,
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    /// Has bytes to give, or takes them.
    struct Device {
        direction: DmaDirection,
        data: Vec<u8>,
        terminal: u32,
    }

    impl IsaDmaDevice for Device {
        fn dma_request(&self) -> Option<DmaDirection> {
            (self.terminal == 0).then_some(self.direction)
        }
        fn dma_take(&mut self, out: &mut [u8], _now: Tick) -> usize {
            if self.data.is_empty() {
                return 0;
            }
            out[0] = self.data.remove(0);
            1
        }
        fn dma_give(&mut self, bytes: &[u8], _now: Tick) -> usize {
            self.data.push(bytes[0]);
            1
        }
        fn terminal_count(&mut self, _now: Tick) {
            self.terminal += 1;
        }
    }

    fn memory() -> Memory {
        let mut mem = Memory::new(0x3_0000, 0).unwrap();
        mem.map(0, 0x3_0000, emu_core::mem::page::PhysPage::ram);
        mem
    }

    fn write(dma: &mut I8237, writes: &[(u16, u8)]) {
        writes.iter().for_each(|&(port, value)| dma.write8(port, value, 0));
    }

    /// Channel 2 for `count + 1` bytes at 2FFFEh in this mode, with the cascade open.
    fn set_up(mode: u8, count: u8) -> I8237 {
        let mut dma = I8237::new();
        write(&mut dma, &[(0xd6, 0xc0), (0xd4, 0), (0x0a, 6), (0x0c, 0), (0x0b, mode)]);
        write(&mut dma, &[(4, 0xfe), (4, 0xff), (5, count), (5, 0), (0x81, 2), (0x0a, 2)]);
        dma
    }

    #[test]
    fn bytes_go_up_to_the_count_and_wrap_within_64_kib() {
        let (mut dma, mut mem) = (set_up(0x46, 2), memory());
        let mut device = Device { direction: DmaDirection::ToMemory, data: vec![1, 2, 3, 4], terminal: 0 };
        dma.serve(2, &mut device, &mut mem, 0);
        assert_eq!((device.data.as_slice(), device.terminal), (&[4][..], 1));
        let mut bytes = [0; 2];
        mem.read_bytes(0x2_fffe, &mut bytes);
        assert_eq!(bytes, [1, 2]);
        mem.read_bytes(0x2_0000, &mut bytes);
        assert_eq!(bytes[0], 3, "the page does not change");
        assert_eq!([dma.read8(5, 0), dma.read8(5, 0)], [0xff, 0xff], "the count stops below zero");
        assert_eq!((dma.read8(8, 0), dma.read8(8, 0)), (4, 0), "reading the status takes the terminal count");
        assert_eq!(dma.read8(0xf, 0), 0xff, "the channel is masked again");
    }

    #[test]
    fn memory_is_read_for_the_device() {
        let (mut dma, mut mem) = (set_up(0x4a, 1), memory());
        mem.write_bytes(0x2_fffe, &[7, 8]);
        let mut device = Device { direction: DmaDirection::FromMemory, data: Vec::new(), terminal: 0 };
        dma.serve(2, &mut device, &mut mem, 0);
        assert_eq!(device.data, [7, 8]);
    }

    #[test]
    fn verify_counts_and_leaves_memory_alone() {
        let (mut dma, mut mem) = (set_up(0x42, 1), memory());
        let mut device = Device { direction: DmaDirection::ToMemory, data: vec![1, 2, 3], terminal: 0 };
        dma.serve(2, &mut device, &mut mem, 0);
        let mut bytes = [9; 2];
        mem.read_bytes(0x2_fffe, &mut bytes);
        assert_eq!((bytes, device.terminal, device.data.len()), ([0, 0], 1, 1));
    }

    #[test]
    fn autoinitialization_starts_over_and_leaves_the_channel_open() {
        let (mut dma, mut mem) = (set_up(0x56, 1), memory());
        let mut device = Device { direction: DmaDirection::ToMemory, data: vec![1, 2, 3], terminal: 0 };
        dma.serve(2, &mut device, &mut mem, 0);
        assert_eq!(dma.controllers[0].channels[2].address, 0xfffe);
        assert_eq!(dma.read8(0xf, 0), 0xfb);
    }

    #[test]
    fn nothing_moves_through_a_mask_the_wrong_way_or_without_the_cascade() {
        let mut mem = memory();
        for prepare in [(0x0a, 6), (0x0b, 0x4a), (0xd4, 4), (0x08, 4)] {
            let mut dma = set_up(0x46, 1);
            write(&mut dma, &[prepare]);
            let mut device = Device { direction: DmaDirection::ToMemory, data: vec![1, 2], terminal: 0 };
            dma.serve(2, &mut device, &mut mem, 0);
            assert_eq!(device.data.len(), 2, "{prepare:x?}");
        }
    }

    #[test]
    fn master_clear_masks_everything_and_keeps_the_channels() {
        let mut dma = set_up(0x46, 1);
        write(&mut dma, &[(4, 1), (0x0d, 0)]);
        assert_eq!(dma.read8(0xf, 0), 0xff);
        assert_eq!([dma.read8(4, 0), dma.read8(4, 0)], [1, 0xff], "the flip-flop is at the low byte");
    }
}
