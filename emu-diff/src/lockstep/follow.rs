//! A board that answers as another machine's did.
//!
//! The real board hangs behind it: it gets every access, so DMA, the memory map, the A20 gate and requests for
//! power-off and reset happen as always. But what the processor reads is what the reference read, and interrupts come
//! when they came there. Guest time is of no use then; the board's own clock is moved on when the guest looks at a
//! disk, far enough for the disk to be done.

use std::collections::{BTreeMap, VecDeque};

use emu_core::bus::{Access, Bus, NEVER, Request, Signals, Tick};

use super::step::Answer;

/// Time that passes on the board when the guest looks at a disk: more than any command takes.
const LEAP: Tick = 50_000_000;
/// Events of the board that are dealt with in one leap.
const MOST_EVENTS: usize = 10_000;

/// COM1's transmitter, and its interrupt-enable and line-control registers.
const COM1_THR: u16 = 0x3f8;
const COM1_IER: u16 = 0x3f9;
const COM1_LCR: u16 = 0x3fb;

/// Bytes of the console that are kept.
const CONSOLE: usize = 1024;

/// How often something was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// In all.
    pub times: u64,
    /// Where our own board would have answered otherwise.
    pub different: u64,
}

/// The board.
pub struct Follower {
    inner: Box<dyn Bus>,
    /// What the reference read in the instructions that run now, oldest first.
    pub reads: VecDeque<Answer>,
    /// Reads taken over, by port (below 10000h) or physical address.
    pub taken: BTreeMap<u64, Taken>,
    /// Reads that the reference's log did not show; our own board answered.
    pub own: BTreeMap<u64, u64>,
    /// The guest has enabled the receive interrupt of COM1: it can be typed at.
    pub listening: bool,
    /// What it wrote to COM1 last.
    pub console: VecDeque<u8>,
    divisor_access: bool,
    ahead: Tick,
}

impl Follower {
    /// Puts itself in front of a board.
    pub fn new(inner: Box<dyn Bus>) -> Self {
        Self {
            inner,
            reads: VecDeque::new(),
            taken: BTreeMap::new(),
            own: BTreeMap::new(),
            listening: false,
            console: VecDeque::new(),
            divisor_access: false,
            ahead: 0,
        }
    }

    /// What the reference read from `size` bytes at `address`; it may have taken several smaller reads.
    fn recorded(&mut self, address: u64, size: u8) -> Option<u64> {
        let (mut value, mut done) = (0u64, 0u8);
        while done < size {
            let wanted = address + u64::from(done);
            let place = self.reads.iter().position(|read| read.address == wanted)?;
            let read = self.reads.remove(place)?;
            value |= read.value << (8 * done);
            done += read.size.max(1);
        }
        Some(value & u64::MAX >> (64 - 8 * u32::from(size)))
    }

    fn take_over(&mut self, address: u64, size: u8, ours: u64) -> u64 {
        match self.recorded(address, size) {
            Some(theirs) => {
                let taken = self.taken.entry(address).or_default();
                taken.times += 1;
                taken.different += u64::from(theirs != ours);
                theirs
            }
            None => {
                *self.own.entry(address).or_default() += 1;
                ours
            }
        }
    }

    fn later(&self, at: &Access<'_>) -> Tick {
        at.now + self.ahead
    }

    /// Lets the board's disks come to rest.
    fn leap(&mut self, at: &mut Access<'_>) {
        self.ahead += LEAP;
        let end = self.later(at);
        for _ in 0..MOST_EVENTS {
            let next = self.inner.next_event();
            if next > end {
                break;
            }
            let now = next.max(at.now);
            self.inner.advance(&mut Access { cpu: at.cpu, now, mem: at.mem });
        }
        self.inner.advance(&mut Access { cpu: at.cpu, now: end, mem: at.mem });
    }
}

/// Status, alternate status and command registers of the two IDE channels.
fn disk_status(port: u16) -> bool {
    matches!(port, 0x1f7 | 0x177 | 0x3f6 | 0x376)
}

/// Where firmware puts the bus-master registers of the IDE function; also the ports around them.
fn bus_master(port: u16) -> bool {
    port >= 0xc000
}

/// The status register of the diskette controller.
fn diskette(port: u16) -> bool {
    matches!(port, 0x3f4 | 0x3f5)
}

impl Bus for Follower {
    fn port_read(&mut self, at: &mut Access<'_>, port: u16, size: u8) -> u32 {
        if disk_status(port) || diskette(port) {
            self.leap(at);
        }
        let now = self.later(at);
        let ours = self.inner.port_read(&mut Access { cpu: at.cpu, now, mem: at.mem }, port, size);
        self.take_over(u64::from(port), size, u64::from(ours)) as u32
    }

    fn port_write(&mut self, at: &mut Access<'_>, port: u16, size: u8, value: u32) {
        let now = self.later(at);
        self.inner.port_write(&mut Access { cpu: at.cpu, now, mem: at.mem }, port, size, value);
        match port {
            COM1_LCR => self.divisor_access = value & 0x80 != 0,
            COM1_IER if !self.divisor_access => self.listening |= value & 1 != 0,
            COM1_THR if !self.divisor_access => {
                if self.console.len() == CONSOLE {
                    self.console.pop_front();
                }
                self.console.push_back(value as u8);
            }
            _ => {}
        }
        if disk_status(port) || bus_master(port) {
            self.leap(at);
        }
    }

    fn mmio_read(&mut self, at: &mut Access<'_>, address: u64, size: u8) -> u64 {
        let now = self.later(at);
        let ours = self.inner.mmio_read(&mut Access { cpu: at.cpu, now, mem: at.mem }, address, size);
        self.take_over(address, size, ours)
    }

    fn mmio_write(&mut self, at: &mut Access<'_>, address: u64, size: u8, value: u64) {
        let now = self.later(at);
        self.inner.mmio_write(&mut Access { cpu: at.cpu, now, mem: at.mem }, address, size, value);
    }

    fn next_event(&self) -> Tick {
        NEVER
    }

    fn intr(&self, _: usize) -> bool {
        false
    }

    fn take_signals(&mut self, cpu: usize) -> Signals {
        // Whatever our own chips want to say: the reference decides.
        self.inner.take_signals(cpu);
        Signals::default()
    }

    fn take_request(&mut self) -> Option<Request> {
        self.inner.take_request()
    }

    fn set_ferr(&mut self, cpu: usize, level: bool) {
        self.inner.set_ferr(cpu, level);
    }

    fn ignne(&self, cpu: usize) -> bool {
        self.inner.ignne(cpu)
    }

    fn msr_read(&mut self, at: &mut Access<'_>, msr: u32) -> Option<u64> {
        self.inner.msr_read(at, msr)
    }

    fn msr_write(&mut self, at: &mut Access<'_>, msr: u32, value: u64) -> Option<()> {
        self.inner.msr_write(at, msr, value)
    }

    fn task_priority(&self, cpu: usize) -> u8 {
        self.inner.task_priority(cpu)
    }

    fn set_task_priority(&mut self, cpu: usize, class: u8) {
        self.inner.set_task_priority(cpu, class);
    }

    fn init(&mut self, cpu: usize) {
        self.inner.init(cpu);
    }

    fn reset(&mut self, at: &mut Access<'_>) {
        let now = self.later(at);
        self.inner.reset(&mut Access { cpu: at.cpu, now, mem: at.mem });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;
    impl Bus for Ones {}

    #[test]
    fn a_wide_read_is_put_together_from_bytes_in_any_order_of_ports() {
        let mut board = Follower::new(Box::new(Ones));
        let read = |address, value| Answer { address, value, size: 1 };
        board.reads = [read(0x61, 9), read(0x70, 0x34), read(0x71, 0x12)].into();
        assert_eq!(board.take_over(0x70, 2, 0xffff), 0x1234);
        assert_eq!(board.take_over(0x61, 1, 9), 9);
        assert_eq!(board.take_over(0x80, 1, 0xff), 0xff);
        assert_eq!(board.taken[&0x70], Taken { times: 1, different: 1 });
        assert_eq!(board.taken[&0x61], Taken { times: 1, different: 0 });
        assert_eq!(board.own[&0x80], 1);
    }
}
