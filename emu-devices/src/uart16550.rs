//! National Semiconductor PC16550D UART: eight byte-wide ports.
//!
//! Manual: NS TL/C/8652, "Registers", "FIFO Interrupt Mode Operation", "Loopback".
//! Modelled: all registers, both FIFOs' control, trigger levels, character time-out, interrupt priorities, the
//! transmitter-empty interrupt with its resets, modem-status deltas, loopback.
//! The transmitter takes no time: a character leaves as soon as it is written. Received characters keep the
//! pace of the line. Left out: DMA modes, parity and framing errors (the line has none), break, receiving in
//! loopback at the line's pace (it is immediate).
//! The modem lines CTS, DSR and DCD are always asserted. OUT2 does not gate the interrupt as it does on PC
//! cards: xv6 leaves it clear and waits for interrupts all the same.
//!
//! Bytes from the host are offered to the receiver only when there is room and the guest listens: the
//! received-data interrupt is enabled, or the guest has read LSR in vain many times in a row. Once it has taken a
//! character in this way, one look is enough for the next, until the line is set up anew: SeaBIOS looks at its serial
//! console once in a tick of 55 ms. When that is depends on nothing but the guest, so input from a pipe arrives at the
//! same instruction in every run.

use std::collections::VecDeque;

use emu_core::bus::{NEVER, PortIo, TICKS_PER_SECOND, Tick};

// Register offsets.
const RBR_THR: u16 = 0;
const IER: u16 = 1;
const IIR_FCR: u16 = 2;
const LCR: u16 = 3;
const MCR: u16 = 4;
const LSR: u16 = 5;
const MSR: u16 = 6;

const IER_RECEIVED: u8 = 1 << 0;
const IER_TRANSMITTER: u8 = 1 << 1;
const IER_LINE: u8 = 1 << 2;
const IER_MODEM: u8 = 1 << 3;
const IIR_NONE: u8 = 0x01;
const IIR_LINE: u8 = 0x06;
const IIR_RECEIVED: u8 = 0x04;
const IIR_TIMEOUT: u8 = 0x0c;
const IIR_TRANSMITTER: u8 = 0x02;
const IIR_MODEM: u8 = 0x00;
const IIR_FIFOS: u8 = 0xc0;
const FCR_ENABLE: u8 = 1 << 0;
const FCR_CLEAR_RECEIVER: u8 = 1 << 1;
const LCR_STOP: u8 = 1 << 2;
const LCR_PARITY: u8 = 1 << 3;
const LCR_DLAB: u8 = 1 << 7;
const MCR_LOOP: u8 = 1 << 4;
const LSR_DR: u8 = 1 << 0;
const LSR_OE: u8 = 1 << 1;
/// THRE and TEMT.
const LSR_EMPTY: u8 = 0x60;
/// DCD, DSR and CTS.
const MSR_LINES: u8 = 0xb0;

const FIFO_SIZE: usize = 16;
/// Frequency of the crystal over 16: the baud rate for divisor 1.
const BASE_BAUD: u64 = 115_200;
/// LSR reads without data in a row after which the guest is taken to wait for a character.
const PATIENCE: u32 = 32;
/// Output that nobody fetched: here the transmitter stops being empty.
const OUTPUT_LIMIT: usize = 1 << 20;
/// Characters from the host that wait for the receiver.
const INPUT_LIMIT: usize = 1 << 16;

/// Where characters come from that are not pushed in by [`Uart16550::send`]: asked one at a time, when the
/// guest can take one.
pub trait ByteSource {
    /// The next byte. May block for the host, where the run must not depend on the host's time. `sent` is what
    /// the guest has sent on this line and nobody fetched: a source that blocks passes it on first, because
    /// whoever is at its other end may want to read before answering.
    fn next(&mut self, sent: &mut Vec<u8>) -> NextByte;
}

/// Answer of a [`ByteSource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextByte {
    /// Here it is.
    Byte(u8),
    /// None now; ask again a little later in guest time.
    Later,
    /// There will be no more.
    End,
}

/// The chip.
#[derive(Clone, Debug, PartialEq)]
pub struct Uart16550 {
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    scr: u8,
    /// DLL and DLM.
    divisor: u16,
    /// OE, the one error that can happen.
    overrun: bool,
    /// MSR bits 3:0.
    deltas: u8,
    /// RBR or the receiver FIFO.
    received: VecDeque<u8>,
    /// The transmitter-empty interrupt is due.
    transmitter_interrupt: bool,
    /// The interrupt line went down since [`take_drop`](Self::take_drop), perhaps for an instant.
    dropped: bool,
    /// When the character time-out comes.
    timeout_at: Tick,
    timed_out: bool,
    /// Characters sent and not fetched.
    output: Vec<u8>,
    /// Characters from the host.
    input: VecDeque<u8>,
    /// A [`ByteSource`] stands behind the line.
    source: bool,
    /// LSR reads without data in a row.
    polls: u32,
    /// The guest has taken a character by polling since the line was set up.
    polling: bool,
    /// Earliest time for the next character from the line, [`NEVER`] while the guest does not listen.
    next_character: Tick,
}

impl Default for Uart16550 {
    fn default() -> Self {
        Self::new()
    }
}

impl Uart16550 {
    /// The chip after master reset, at 9600 baud (the manual leaves the divisor open).
    pub fn new() -> Self {
        Self {
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            scr: 0,
            divisor: 12,
            overrun: false,
            deltas: 0,
            received: VecDeque::new(),
            transmitter_interrupt: false,
            dropped: false,
            timeout_at: NEVER,
            timed_out: false,
            output: Vec::new(),
            input: VecDeque::new(),
            source: false,
            polls: 0,
            polling: false,
            next_character: NEVER,
        }
    }

    /// Master reset. What the host has sent, and what it has not fetched, stays.
    pub fn reset(&mut self) {
        let (output, input) = (std::mem::take(&mut self.output), std::mem::take(&mut self.input));
        *self = Self { output, input, source: self.source, dropped: true, ..Self::new() };
    }

    /// Takes the characters that the guest has sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The characters that the guest has sent and nobody fetched.
    pub fn output_mut(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Queues characters for the guest; returns how many there was room for.
    pub fn send(&mut self, bytes: &[u8], now: Tick) -> usize {
        let count = bytes.len().min(INPUT_LIMIT - self.input.len());
        self.input.extend(&bytes[..count]);
        self.pace(now);
        count
    }

    /// Says whether a [`ByteSource`] stands behind the line.
    pub fn set_source(&mut self, source: bool, now: Tick) {
        self.source = source;
        self.pace(now);
    }

    /// INTRPT.
    pub fn irq(&self) -> bool {
        self.identification() != IIR_NONE
    }

    /// True when the interrupt line went down since the last call, though it may be up again.
    pub fn take_drop(&mut self) -> bool {
        std::mem::take(&mut self.dropped)
    }

    /// When [`advance`](Self::advance) has something to do.
    pub fn next_event(&self) -> Tick {
        let timeout = if self.ier & IER_RECEIVED != 0 { self.timeout_at } else { NEVER };
        timeout.min(self.next_character)
    }

    /// Lets time-outs happen and characters arrive. True: ask the [`ByteSource`] and answer with
    /// [`receive`](Self::receive), [`set_source`](Self::set_source) or [`wait_until`](Self::wait_until).
    #[must_use]
    pub fn advance(&mut self, now: Tick) -> bool {
        if self.timeout_at <= now {
            self.timeout_at = NEVER;
            self.timed_out = true;
        }
        if self.next_character > now {
            return false;
        }
        match self.input.pop_front() {
            Some(byte) => self.receive(byte, now),
            None => return self.source,
        }
        false
    }

    /// A character arrives from the line.
    pub fn receive(&mut self, byte: u8, now: Tick) {
        self.push(byte, now);
        self.next_character = NEVER;
        self.pace(now);
    }

    /// The line is silent until `at`.
    pub fn wait_until(&mut self, at: Tick) {
        self.next_character = at;
    }

    /// Time of one character on the line.
    fn character_time(&self) -> Tick {
        let parity = u64::from(self.lcr & LCR_PARITY != 0);
        let stop = 1 + u64::from(self.lcr & LCR_STOP != 0);
        let bits = 1 + 5 + u64::from(self.lcr & 0b11) + parity + stop;
        let divisor = match self.divisor {
            0 => 0x1_0000,
            divisor => u64::from(divisor),
        };
        (divisor * bits * TICKS_PER_SECOND).div_ceil(BASE_BAUD)
    }

    fn fifos(&self) -> bool {
        self.fcr & FCR_ENABLE != 0
    }

    /// Characters that the receiver holds before it overruns.
    fn capacity(&self) -> usize {
        if self.fifos() { FIFO_SIZE } else { 1 }
    }

    fn listening(&self) -> bool {
        let patience = if self.polling { 1 } else { PATIENCE };
        let wanted = self.ier & IER_RECEIVED != 0 || self.polls >= patience;
        wanted && self.mcr & MCR_LOOP == 0 && self.received.len() < self.capacity()
    }

    /// Sets off the next character if one could come and none is on its way.
    fn pace(&mut self, now: Tick) {
        if !self.listening() || (self.input.is_empty() && !self.source) {
            self.next_character = NEVER;
        } else if self.next_character == NEVER {
            self.next_character = now.saturating_add(self.character_time());
        }
    }

    fn push(&mut self, byte: u8, now: Tick) {
        if self.received.len() >= self.capacity() {
            self.overrun = true;
            if self.fifos() {
                return; // lost in the shift register; the FIFO stays as it is
            }
            self.received.clear();
        }
        self.received.push_back(byte);
        self.polls = 0;
        self.restart_timeout(now);
    }

    /// "FIFO Interrupt Mode": four character times without any traffic while something waits.
    fn restart_timeout(&mut self, now: Tick) {
        self.timed_out = false;
        let waiting = self.fifos() && !self.received.is_empty();
        self.timeout_at = if waiting { now.saturating_add(4 * self.character_time()) } else { NEVER };
    }

    fn trigger(&self) -> usize {
        match (self.fifos(), self.fcr >> 6) {
            (false, _) | (true, 0) => 1,
            (true, 1) => 4,
            (true, 2) => 8,
            (true, _) => 14,
        }
    }

    fn identification(&self) -> u8 {
        if self.ier & IER_LINE != 0 && self.overrun {
            IIR_LINE
        } else if self.ier & IER_RECEIVED != 0 && self.received.len() >= self.trigger() {
            IIR_RECEIVED
        } else if self.ier & IER_RECEIVED != 0 && self.timed_out {
            IIR_TIMEOUT
        } else if self.ier & IER_TRANSMITTER != 0 && self.transmitter_interrupt {
            IIR_TRANSMITTER
        } else if self.ier & IER_MODEM != 0 && self.deltas != 0 {
            IIR_MODEM
        } else {
            IIR_NONE
        }
    }

    fn transmitter_full(&self) -> bool {
        self.output.len() >= OUTPUT_LIMIT
    }

    /// Modem lines in the upper half of MSR.
    fn lines(&self) -> u8 {
        if self.mcr & MCR_LOOP == 0 {
            return MSR_LINES;
        }
        // RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to DCD.
        (self.mcr & 0b10) << 3 | (self.mcr & 0b01) << 5 | (self.mcr & 0b1100) << 4
    }

    fn transmit(&mut self, byte: u8, now: Tick) {
        if self.mcr & MCR_LOOP != 0 {
            self.push(byte, now);
        } else if !self.transmitter_full() {
            self.output.push(byte);
        }
        self.polls = 0;
        // The interrupt goes with the write and comes again as the character leaves.
        self.dropped |= self.identification() == IIR_TRANSMITTER;
        self.transmitter_interrupt = true;
    }

    fn read_rbr(&mut self, now: Tick) -> u8 {
        let byte = self.received.pop_front();
        self.polling |= byte.is_some() && self.ier & IER_RECEIVED == 0 && self.mcr & MCR_LOOP == 0;
        self.polls = 0;
        self.restart_timeout(now);
        byte.unwrap_or(0)
    }

    fn read_iir(&mut self) -> u8 {
        let identification = self.identification();
        if identification == IIR_TRANSMITTER {
            self.transmitter_interrupt = false;
        }
        identification | if self.fifos() { IIR_FIFOS } else { 0 }
    }

    fn read_lsr(&mut self) -> u8 {
        let data = if self.received.is_empty() { 0 } else { LSR_DR };
        self.polls = if data == 0 { self.polls.saturating_add(1) } else { 0 };
        let overrun = if std::mem::take(&mut self.overrun) { LSR_OE } else { 0 };
        data | overrun | if self.transmitter_full() { 0 } else { LSR_EMPTY }
    }

    fn write_ier(&mut self, value: u8) {
        let enabled = value & !self.ier & IER_TRANSMITTER != 0;
        self.ier = value & 0x0f;
        // Enabling the interrupt while THR is empty raises it at once.
        self.transmitter_interrupt |= enabled && !self.transmitter_full();
    }

    fn write_fcr(&mut self, value: u8) {
        if (value ^ self.fcr) & FCR_ENABLE != 0 || value & FCR_CLEAR_RECEIVER != 0 {
            self.received.clear();
            self.timed_out = false;
            self.timeout_at = NEVER;
            self.polling = false;
        }
        // Without FIFOs the other bits are not programmed.
        self.fcr = if value & FCR_ENABLE != 0 { value & 0xc9 } else { 0 };
    }

    fn write_mcr(&mut self, value: u8) {
        let before = self.lines();
        self.mcr = value & 0x1f;
        let (after, changed) = (self.lines(), before ^ self.lines());
        // RI counts when it ends; the others whenever they change.
        let ring_ended = before & !after & 0x40;
        self.deltas |= (changed & 0xb0 | ring_ended) >> 4;
    }
}

impl PortIo for Uart16550 {
    fn read8(&mut self, port: u16, now: Tick) -> u8 {
        let was_up = self.irq();
        let dlab = self.lcr & LCR_DLAB != 0;
        let value = match port & 7 {
            RBR_THR if dlab => self.divisor as u8,
            RBR_THR => self.read_rbr(now),
            IER if dlab => (self.divisor >> 8) as u8,
            IER => self.ier,
            IIR_FCR => self.read_iir(),
            LCR => self.lcr,
            MCR => self.mcr,
            LSR => self.read_lsr(),
            MSR => self.lines() | std::mem::take(&mut self.deltas),
            _ => self.scr,
        };
        self.dropped |= was_up && !self.irq();
        self.pace(now);
        value
    }

    fn write8(&mut self, port: u16, value: u8, now: Tick) {
        let was_up = self.irq();
        let dlab = self.lcr & LCR_DLAB != 0;
        match port & 7 {
            RBR_THR if dlab => self.divisor = self.divisor & 0xff00 | u16::from(value),
            RBR_THR => self.transmit(value, now),
            IER if dlab => self.divisor = self.divisor & 0xff | u16::from(value) << 8,
            IER => self.write_ier(value),
            IIR_FCR => self.write_fcr(value),
            LCR => {
                self.lcr = value;
                self.polling &= value & LCR_DLAB == 0;
            }
            MCR => self.write_mcr(value),
            LSR | MSR => {} // for the factory only
            _ => self.scr = value,
        }
        self.dropped |= was_up && !self.irq();
        self.pace(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 115200 baud, 8N1, FIFOs on with trigger level 8.
    fn uart() -> Uart16550 {
        let mut uart = Uart16550::new();
        for (port, value) in [(3, 0x83), (0, 1), (1, 0), (3, 0x03), (2, 0x87)] {
            uart.write8(port, value, 0);
        }
        uart
    }

    /// Ten bits at 115200 baud, in nanoseconds, rounded up.
    const CHARACTER: Tick = 86_806;

    #[test]
    fn the_transmitter_interrupt_comes_with_its_enable_and_goes_with_iir() {
        let mut uart = uart();
        uart.write8(1, 2, 0);
        assert!(uart.irq());
        assert_eq!(uart.read8(2, 0), 0xc2);
        assert!(!uart.irq());
        uart.write8(0, b'x', 0);
        assert!(uart.irq());
        assert_eq!(uart.take_output(), b"x");
    }

    #[test]
    fn a_write_without_reading_iir_still_makes_an_edge() {
        let mut uart = uart();
        uart.write8(1, 2, 0);
        uart.take_drop();
        uart.write8(0, b'x', 0);
        assert!(uart.irq() && uart.take_drop());
    }

    #[test]
    fn host_bytes_wait_until_the_guest_listens_and_keep_the_pace() {
        let mut uart = uart();
        assert_eq!(uart.send(b"ab", 1000), 2);
        assert_eq!(uart.next_event(), NEVER);
        uart.write8(1, 1, 5000);
        assert_eq!(uart.next_event(), 5000 + CHARACTER);
        assert!(!uart.advance(5000 + CHARACTER));
        assert_eq!(uart.read8(5, 6000), 0x61);
        assert_eq!(uart.next_event(), 5000 + 2 * CHARACTER);
    }

    #[test]
    fn a_guest_that_polls_long_enough_listens() {
        let mut uart = uart();
        uart.send(b"a", 0);
        for _ in 0..31 {
            assert_eq!(uart.read8(5, 0), 0x60);
        }
        assert_eq!(uart.next_event(), NEVER);
        uart.read8(5, 0);
        assert_eq!(uart.next_event(), CHARACTER);
        assert!(!uart.advance(CHARACTER));
        assert_eq!((uart.read8(5, CHARACTER), uart.read8(0, CHARACTER)), (0x61, b'a'));
    }

    /// SeaBIOS's serial console: a look in each tick, and what it shows in between. What is typed ahead must not be
    /// taken by its tick while a boot loader with a driver of its own shows something.
    #[test]
    fn a_guest_that_took_one_character_by_polling_gets_the_next_at_its_next_look() {
        let mut uart = uart();
        uart.send(b"abc", 0);
        (0..32).for_each(|_| assert_eq!(uart.read8(5, 0), 0x60));
        assert!(!uart.advance(CHARACTER));
        assert_eq!(uart.read8(0, CHARACTER), b'a');
        assert_eq!(uart.next_event(), NEVER);
        assert_eq!(uart.read8(5, CHARACTER), 0x60);
        uart.write8(0, b'a', CHARACTER);
        assert_eq!(uart.next_event(), NEVER, "a look before a transmission asks for no character");
        assert_eq!(uart.read8(5, 2 * CHARACTER), 0x60);
        assert_eq!(uart.next_event(), 3 * CHARACTER);
        assert!(!uart.advance(3 * CHARACTER));
        assert_eq!(uart.next_event(), NEVER, "one at a time");
        assert_eq!(uart.read8(0, 3 * CHARACTER), b'b');
        // Whoever sets the line up anew has not listened yet.
        uart.write8(3, 0x83, 3 * CHARACTER);
        uart.write8(3, 0x03, 3 * CHARACTER);
        uart.read8(5, 3 * CHARACTER);
        assert_eq!(uart.next_event(), NEVER);
    }

    #[test]
    fn the_fifo_interrupts_at_its_trigger_level_and_after_a_pause() {
        let mut uart = uart();
        uart.write8(1, 1, 0);
        for number in 1..=8 {
            assert!(!uart.irq(), "after {} characters", number - 1);
            uart.receive(number, 0);
        }
        assert_eq!(uart.read8(2, 0), 0xc4);
        assert_eq!(uart.read8(0, 0), 1);
        assert_eq!(uart.read8(2, 0), 0xc1, "below the level");
        assert_eq!(uart.next_event(), 4 * CHARACTER);
        assert!(!uart.advance(4 * CHARACTER));
        assert_eq!(uart.read8(2, 0), 0xcc);
        uart.read8(0, 4 * CHARACTER);
        assert!(!uart.irq());
    }

    #[test]
    fn loopback_brings_characters_and_modem_lines_home() {
        let mut uart = uart();
        uart.write8(4, 0x1a, 0); // loop, OUT2, RTS
        assert_eq!(uart.read8(6, 0), 0x92, "DCD, CTS; DSR went down");
        uart.write8(0, 0xae, 0);
        assert_eq!(uart.read8(0, 0), 0xae);
        assert!(uart.take_output().is_empty());
    }

    #[test]
    fn overrun_keeps_the_fifo_but_not_the_single_register() {
        let mut uart = uart();
        uart.write8(4, 0x10, 0);
        (0..17).for_each(|byte| uart.write8(0, byte, 0));
        assert_eq!(uart.read8(5, 0), 0x63);
        assert_eq!(uart.read8(5, 0), 0x61);
        assert_eq!(uart.read8(0, 0), 0);
        uart.write8(2, 0, 0);
        uart.write8(0, 1, 0);
        uart.write8(0, 2, 0);
        assert_eq!((uart.read8(5, 0), uart.read8(0, 0)), (0x63, 2));
    }

    #[test]
    fn interrupts_have_the_priorities_of_table_6() {
        let mut uart = uart();
        uart.write8(2, 0x01, 0);
        uart.write8(4, 0x10, 0); // modem lines fall: deltas
        (0..17).for_each(|byte| uart.write8(0, byte, 0));
        uart.write8(1, 0x0f, 0);
        assert_eq!(uart.read8(2, 0), 0xc6);
        uart.read8(5, 0);
        assert_eq!(uart.read8(2, 0), 0xc4);
        for _ in 0..16 {
            uart.read8(0, 0);
        }
        assert_eq!(uart.read8(2, 0), 0xc2);
        assert_eq!(uart.read8(2, 0), 0xc0);
        assert_eq!(uart.read8(6, 0) & 0x0f, 0x0b);
        assert_eq!(uart.read8(2, 0), 0xc1);
    }

    #[test]
    fn output_that_nobody_fetches_stops_the_transmitter() {
        let mut uart = uart();
        (0..(1 << 20) + 10).for_each(|_| uart.write8(0, 0, 0));
        assert_eq!(uart.read8(5, 0), 0);
        assert_eq!(uart.take_output().len(), 1 << 20);
        assert_eq!(uart.read8(5, 0), 0x60);
    }

    #[test]
    fn dlab_shows_the_divisor_and_scr_keeps_a_byte() {
        let mut uart = uart();
        uart.write8(3, 0x80, 0);
        uart.write8(1, 0x12, 0);
        assert_eq!((uart.read8(0, 0), uart.read8(1, 0)), (1, 0x12));
        uart.write8(7, 0xa5, 0);
        assert_eq!(uart.read8(7, 0), 0xa5);
    }
}
