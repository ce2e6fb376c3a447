//! Local APIC of one processor, in xAPIC and x2APIC mode.
//!
//! Manual: SDM 3A, "Advanced Programmable Interrupt Controller (APIC)".
//! Modelled: all registers of version 14h with six LVT entries, priorities, EOI with broadcast, IPIs, errors,
//! the timer (in [`apic_timer`](crate::apic_timer)), software and global disabling, the transitions of
//! IA32_APIC_BASE, x2APIC registers with their reserved bits.
//! The registers as software reaches them are in `registers`.
//! Left out: the remote-read IPI; arbitration registers, which read as 0; level-triggered LINT pins in fixed mode (they
//! count as edges).
//! After reset LINT0 of the bootstrap processor lets the 8259A through (virtual wire), although software has
//! not enabled the APIC; firmware for the QEMU `pc` relies on that.

mod registers;
#[cfg(test)]
mod tests;

use emu_core::bus::{NEVER, Signals, Tick};

use crate::apic_message::{ApicMessage, DeliveryMode, Destination};
use crate::apic_timer::ApicTimer;

/// Where the registers of every local APIC lie.
pub const BASE: u64 = 0xfee0_0000;

const SVR_ENABLE: u32 = 1 << 8;
const LVT_MASKED: u32 = 1 << 16;
/// ExtINT, not masked.
const VIRTUAL_WIRE: u32 = 0x700;
// Entries of the LVT, in the order of their addresses.
const LVT_TIMER: usize = 0;
const LVT_LINT0: usize = 3;
const LVT_LINT1: usize = 4;
const LVT_ERROR: usize = 5;

const ERROR_RECEIVE_VECTOR: u32 = 1 << 6;

// IA32_APIC_BASE.
const BASE_BSP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLE: u64 = 1 << 11;

/// A set of vectors: ISR, TMR or IRR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Vectors([u32; 8]);

impl Vectors {
    fn set(&mut self, vector: u8, on: bool) {
        let bit = 1 << (vector % 32);
        let word = &mut self.0[usize::from(vector / 32)];
        *word = if on { *word | bit } else { *word & !bit };
    }

    fn get(&self, vector: u8) -> bool {
        self.0[usize::from(vector / 32)] >> (vector % 32) & 1 != 0
    }

    fn highest(&self) -> Option<u8> {
        let word = self.0.iter().rposition(|&word| word != 0)?;
        Some((word * 32) as u8 + (31 - self.0[word].leading_zeros()) as u8)
    }
}

/// The chip.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalApic {
    /// Number of the processor, also its initial APIC ID.
    cpu: u8,
    /// IA32_APIC_BASE.
    base: u64,
    /// ID register in xAPIC mode, bits 31:24.
    id: u8,
    tpr: u8,
    ldr: u32,
    dfr: u32,
    svr: u32,
    isr: Vectors,
    tmr: Vectors,
    irr: Vectors,
    /// ESR as software sees it.
    esr: u32,
    /// Errors since software last wrote ESR.
    errors: u32,
    icr: u64,
    lvt: [u32; 6],
    timer: ApicTimer,
    /// Levels of LINT0 and LINT1.
    lint: [bool; 2],
    /// A vector waits that is above the processor priority.
    ready: bool,
    signals: Signals,
    /// IPI to be sent.
    message: Option<ApicMessage>,
    /// Level-triggered vector whose EOI is to be broadcast.
    eoi: Option<u8>,
}

impl LocalApic {
    /// The local APIC of processor `cpu` after power-on; processor 0 is the bootstrap processor.
    pub fn new(cpu: u8) -> Self {
        let bsp = if cpu == 0 { BASE_BSP } else { 0 };
        let mut apic = Self {
            cpu,
            base: BASE | BASE_ENABLE | bsp,
            id: cpu,
            tpr: 0,
            ldr: 0,
            dfr: u32::MAX,
            svr: 0xff,
            isr: Vectors::default(),
            tmr: Vectors::default(),
            irr: Vectors::default(),
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [LVT_MASKED; 6],
            timer: ApicTimer::default(),
            lint: [false; 2],
            ready: false,
            signals: Signals::default(),
            message: None,
            eoi: None,
        };
        if cpu == 0 {
            apic.lvt[LVT_LINT0] = VIRTUAL_WIRE;
        }
        apic
    }

    /// "Local APIC State After It Receives an INIT": as after power-on but for the ID and the mode.
    pub fn init(&mut self) {
        *self = Self {
            base: self.base,
            id: self.id,
            lint: self.lint,
            signals: self.signals,
            ..Self::new(self.cpu)
        };
    }

    fn enabled(&self) -> bool {
        self.base & BASE_ENABLE != 0
    }

    fn x2apic(&self) -> bool {
        self.base & BASE_X2APIC != 0
    }

    fn software_enabled(&self) -> bool {
        self.svr & SVR_ENABLE != 0
    }

    /// The APIC ID that messages name.
    fn apic_id(&self) -> u32 {
        if self.x2apic() { u32::from(self.cpu) } else { u32::from(self.id) }
    }

    /// True when the local APIC itself has a vector for the processor.
    #[inline]
    pub fn intr(&self) -> bool {
        self.ready
    }

    /// True when the 8259A's INT reaches the processor.
    #[inline]
    pub fn passes_8259(&self) -> bool {
        if self.enabled() {
            self.lvt[LVT_LINT0] & (LVT_MASKED | 0x700) == VIRTUAL_WIRE
        } else {
            self.base & BASE_BSP != 0 // LINT0 is the INTR pin
        }
    }

    /// Takes the edge-triggered events for the processor.
    #[inline]
    pub fn take_signals(&mut self) -> Signals {
        std::mem::take(&mut self.signals)
    }

    /// Are there any?
    pub fn has_signals(&self) -> bool {
        self.signals != Signals::default()
    }

    /// Takes the IPI that software has written.
    pub fn take_message(&mut self) -> Option<ApicMessage> {
        self.message.take()
    }

    /// Takes the level-triggered vector whose EOI goes to the I/O APICs.
    pub fn take_eoi(&mut self) -> Option<u8> {
        self.eoi.take()
    }

    /// The vector for the processor, which goes into service; the spurious vector when there is none.
    pub fn acknowledge(&mut self) -> u8 {
        match self.irr.highest() {
            Some(vector) if self.ready => {
                self.irr.set(vector, false);
                self.isr.set(vector, true);
                self.update();
                vector
            }
            _ => self.svr as u8,
        }
    }

    /// PPR: the larger of TPR and the class in service.
    fn ppr(&self) -> u8 {
        let serving = self.isr.highest().unwrap_or(0);
        if self.tpr >> 4 >= serving >> 4 { self.tpr } else { serving & 0xf0 }
    }

    /// Works out whether a vector waits for the processor.
    fn update(&mut self) {
        let waiting = self.irr.highest().unwrap_or(0);
        self.ready = self.enabled() && self.software_enabled() && waiting >> 4 > self.ppr() >> 4;
    }

    /// TPR.
    #[inline]
    pub fn tpr(&self) -> u8 {
        self.tpr
    }

    /// Writes TPR.
    pub fn set_tpr(&mut self, tpr: u8) {
        self.tpr = tpr;
        self.update();
    }

    /// True when a message to `destination` is for this processor (shorthands are the board's business).
    pub fn is_named(&self, destination: Destination) -> bool {
        if !self.enabled() {
            return false;
        }
        match destination {
            Destination::Physical(id) => id == u32::MAX || id == self.apic_id(),
            Destination::Logical(u32::MAX) => true,
            Destination::Logical(mda) if self.x2apic() => {
                let ldr = self.logical_id();
                mda >> 16 == ldr >> 16 && mda & ldr & 0xffff != 0
            }
            Destination::Logical(mda) => {
                let own = self.ldr >> 24;
                if self.dfr >> 28 == 0xf {
                    mda & own & 0xff != 0
                } else {
                    mda >> 4 & 0xf == own >> 4 && mda & own & 0xf != 0
                }
            }
            Destination::Itself | Destination::All | Destination::Others => true,
        }
    }

    /// LDR in x2APIC mode: the cluster and one bit, from the ID.
    fn logical_id(&self) -> u32 {
        let id = self.apic_id();
        (id >> 4) << 16 | 1 << (id & 0xf)
    }

    /// True when a lowest-priority message may come here.
    pub fn competes(&self) -> bool {
        self.enabled() && self.software_enabled()
    }

    /// The priority that counts for lowest-priority delivery.
    pub fn arbitration_priority(&self) -> u8 {
        self.ppr()
    }

    /// A message for this processor arrives.
    pub fn deliver(&mut self, message: &ApicMessage) {
        if !self.enabled() {
            return;
        }
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority if self.software_enabled() => {
                self.accept(message.vector, message.level_triggered);
            }
            DeliveryMode::Smi => self.signals.smi = true,
            DeliveryMode::Nmi => self.signals.nmi = true,
            DeliveryMode::Init if message.assert => {
                // A start-up message from before the INIT has nothing left to start.
                self.signals = Signals { init: true, sipi: None, ..self.signals };
            }
            DeliveryMode::StartUp => self.signals.sipi = Some(message.vector),
            _ => {}
        }
    }

    fn accept(&mut self, vector: u8, level_triggered: bool) {
        if vector < 16 {
            return self.error(ERROR_RECEIVE_VECTOR);
        }
        self.irr.set(vector, true);
        self.tmr.set(vector, level_triggered);
        self.update();
    }

    /// "Error Handling": a new error raises the error interrupt.
    fn error(&mut self, bit: u32) {
        self.errors |= bit;
        let lvt = self.lvt[LVT_ERROR];
        if lvt & LVT_MASKED == 0 && lvt & 0xff >= 16 {
            self.irr.set(lvt as u8, true);
            self.tmr.set(lvt as u8, false);
            self.update();
        }
    }

    /// Sets the level of LINT0 or LINT1. ExtINT is a matter of [`passes_8259`](Self::passes_8259).
    pub fn set_lint(&mut self, pin: usize, high: bool) {
        let rising = high && !std::mem::replace(&mut self.lint[pin & 1], high);
        let lvt = self.lvt[if pin == 0 { LVT_LINT0 } else { LVT_LINT1 }];
        if !rising || !self.enabled() || lvt & LVT_MASKED != 0 {
            return;
        }
        match DeliveryMode::from_bits(lvt) {
            Some(DeliveryMode::Fixed) => self.accept(lvt as u8, false),
            Some(DeliveryMode::Nmi) => self.signals.nmi = true,
            Some(DeliveryMode::Smi) => self.signals.smi = true,
            Some(DeliveryMode::Init) => self.signals.init = true,
            _ => {}
        }
    }

    /// When the timer has something to tell.
    #[inline]
    pub fn next_event(&self) -> Tick {
        if self.lvt[LVT_TIMER] & LVT_MASKED != 0 { NEVER } else { self.timer.expiry() }
    }

    /// Lets the timer expire.
    pub fn advance(&mut self, now: Tick) {
        let lvt = self.lvt[LVT_TIMER];
        if self.timer.expire(now) && lvt & LVT_MASKED == 0 {
            self.accept(lvt as u8, false);
        }
    }

    fn end_of_interrupt(&mut self) {
        if let Some(vector) = self.isr.highest() {
            self.isr.set(vector, false);
            if self.tmr.get(vector) {
                self.eoi = Some(vector);
            }
            self.update();
        }
    }
}
