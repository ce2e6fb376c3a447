//! The first serial port: a 16550 at 3F8h on interrupt 4 (PC16550D sheet). Interrupts both ways.
//!
//! Input may be waiting before the kernel runs: somebody pipes commands into the machine. Switching the
//! FIFOs on or off empties them ("FIFO Control Register"), so when a byte is waiting and the FIFOs are off,
//! they stay off, and the chip works as a 16450: slower, but nothing is lost.

use crate::irq_cell::IrqCell;
use crate::port::{in8, out8};
use crate::ring::Ring;
use crate::{console, cpu, task, timer};

const BASE: u16 = 0x3F8;
const DATA: u16 = BASE; // RBR and THR; divisor latch low
const IER: u16 = BASE + 1; // divisor latch high
const IIR_FCR: u16 = BASE + 2;
const LCR: u16 = BASE + 3;
const MCR: u16 = BASE + 4;
const LSR: u16 = BASE + 5;
const MSR: u16 = BASE + 6;
const SCR: u16 = BASE + 7;

const IER_RECEIVED: u8 = 1;
const IER_TRANSMITTED: u8 = 2;
const LSR_DATA_READY: u8 = 1;
const LSR_THR_EMPTY: u8 = 1 << 5;
const LSR_ALL_SENT: u8 = 1 << 6;
const MCR_LOOP: u8 = 1 << 4;

struct Uart {
    output: Ring<8192>,
    ier: u8,
    fifo: bool,
    live: bool,
    /// No chip answers: an empty bus reads all ones.
    absent: bool,
}

static UART: IrqCell<Uart> =
    IrqCell::new(Uart { output: Ring::new(), ier: 0, fifo: false, live: false, absent: false });

/// Sets the line up: 115200 baud, 8 bits, no parity. No interrupts yet.
pub fn init() {
    UART.with(|uart| {
        uart.absent = in8(LSR) == 0xFF;
        out8(IER, 0);
        out8(LCR, 0x80); // divisor latch access
        out8(DATA, 1);
        out8(IER, 0);
        out8(LCR, 0x03);
        out8(MCR, 0x0B); // DTR, RTS, OUT2: the last connects the interrupt line
        uart.fifo = in8(IIR_FCR) & 0xC0 == 0xC0;
        if !uart.fifo && in8(LSR) & LSR_DATA_READY == 0 {
            out8(IIR_FCR, 0x01);
            uart.fifo = in8(IIR_FCR) & 0xC0 == 0xC0;
        }
    });
}

/// Takes interrupts from here on.
pub fn listen() {
    UART.with(|uart| {
        if uart.absent {
            return;
        }
        uart.live = true;
        uart.ier = IER_RECEIVED;
        uart.service();
    });
}

/// Does IIR show the FIFOs as `init` left them?
pub fn identity_fits() -> bool {
    UART.with(|uart| (in8(IIR_FCR) & 0xC0 == 0xC0) == uart.fifo)
}

/// Interrupt 4.
pub fn interrupt() {
    UART.with(Uart::service);
}

/// The console has room again.
pub fn resume_input() {
    UART.with(|uart| {
        if uart.live && uart.ier & IER_RECEIVED == 0 {
            uart.ier |= IER_RECEIVED;
            uart.service();
        }
    });
}

/// Sends a byte: into the queue, which the chip's interrupts empty.
pub fn send(byte: u8) {
    loop {
        let (queued, live) = UART.with(|uart| {
            if uart.absent {
                return (true, false);
            }
            let queued = uart.output.push(byte);
            uart.transmit();
            uart.set_interrupts();
            (queued, uart.live)
        });
        if queued {
            return;
        }
        if live && cpu::interrupts_enabled() {
            cpu::enable_and_halt();
        }
    }
}

/// Waits until everything has left the chip: asleep where that is possible, and by looking where it is not.
pub fn flush() {
    let sent = || {
        UART.with(|uart| {
            uart.transmit();
            uart.output.is_empty() && in8(LSR) & LSR_ALL_SENT != 0
        })
    };
    if cpu::interrupts_enabled() {
        task::wait_until(timer::now_ns() + 2_000_000_000, sent);
    } else {
        (0..10_000_000u32).any(|_| sent());
    }
}

impl Uart {
    /// Does whatever the chip wants until it wants nothing more, so that its line drops and can rise again.
    fn service(&mut self) {
        for _ in 0..64 {
            self.receive();
            self.transmit();
            self.set_interrupts();
            let cause = in8(IIR_FCR);
            if cause & 1 != 0 {
                return;
            }
            if cause & 0x0E == 0 {
                in8(MSR);
            }
        }
    }

    fn receive(&mut self) {
        while in8(LSR) & LSR_DATA_READY != 0 {
            if console::input_room() == 0 {
                self.ier &= !IER_RECEIVED; // the chip, and the sender behind it, must wait
                return;
            }
            console::input(in8(DATA));
        }
    }

    fn transmit(&mut self) {
        if self.output.is_empty() || in8(LSR) & LSR_THR_EMPTY == 0 {
            return;
        }
        for _ in 0..if self.fifo { 16 } else { 1 } {
            let Some(byte) = self.output.pop() else { return };
            out8(DATA, byte);
        }
    }

    fn set_interrupts(&mut self) {
        if self.live {
            let transmit = if self.output.is_empty() { 0 } else { IER_TRANSMITTED };
            self.ier = self.ier & !IER_TRANSMITTED | transmit;
            out8(IER, self.ier);
        }
    }
}

/// Sends bytes to itself ("Modem Control Register", loop) and tells whether all came back. Input that is
/// received on the way goes where input goes.
pub fn loopback_works() -> bool {
    flush();
    UART.with(|uart| {
        out8(IER, 0);
        uart.receive();
        let mcr = in8(MCR);
        out8(MCR, mcr | MCR_LOOP);
        let mut good = true;
        for pattern in [0xA5u8, 0xC3, 0xFF, 0x80] {
            out8(DATA, pattern);
            let mut seen = false;
            for _ in 0..200_000u32 {
                if in8(LSR) & LSR_DATA_READY != 0 {
                    let byte = in8(DATA);
                    if byte == pattern {
                        seen = true;
                        break;
                    }
                    console::input(byte);
                }
            }
            good &= seen;
        }
        // In the loop DTR, RTS, OUT1 and OUT2 come back as DSR, CTS, RI and DCD.
        out8(MCR, MCR_LOOP | 0x02);
        good &= in8(MSR) & 0xF0 == 0x10;
        out8(MCR, MCR_LOOP | 0x01);
        good &= in8(MSR) & 0xF0 == 0x20;
        out8(MCR, mcr);
        in8(MSR);
        uart.set_interrupts();
        uart.service();
        good
    })
}

/// The scratch register keeps what is written.
pub fn scratch_works() -> bool {
    [0x55, 0xAA].into_iter().all(|byte| {
        out8(SCR, byte);
        in8(SCR) == byte
    })
}
