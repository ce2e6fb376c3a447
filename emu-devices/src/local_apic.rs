//! Local APIC of one processor, in xAPIC and x2APIC mode.
//!
//! Manual: SDM 3A, "Advanced Programmable Interrupt Controller (APIC)".
//! Modelled: all registers of version 14h with six LVT entries, priorities, EOI with broadcast, IPIs, errors,
//! the timer (in [`apic_timer`](crate::apic_timer)), software and global disabling, the transitions of
//! IA32_APIC_BASE, x2APIC registers with their reserved bits.
//! Left out: moving the register page (the base address is kept and reads back, the page stays at FEE00000h);
//! the remote-read IPI; arbitration registers, which read as 0; level-triggered LINT pins in fixed mode (they
//! count as edges).
//! After reset LINT0 of the bootstrap processor lets the 8259A through (virtual wire), although software has
//! not enabled the APIC; firmware for the QEMU `pc` relies on that.

use emu_core::bus::{NEVER, Signals, Tick};

use crate::apic_message::{ApicMessage, DeliveryMode, Destination};
use crate::apic_timer::{ApicTimer, TimerMode};

/// Where the registers of every local APIC lie.
pub const BASE: u64 = 0xfee0_0000;

// Register offsets.
const ID: u32 = 0x020;
const VERSION: u32 = 0x030;
const TPR: u32 = 0x080;
const APR: u32 = 0x090;
const PPR: u32 = 0x0a0;
const EOI: u32 = 0x0b0;
const LDR: u32 = 0x0d0;
const DFR: u32 = 0x0e0;
const SVR: u32 = 0x0f0;
const ISR: u32 = 0x100;
const TMR: u32 = 0x180;
const IRR: u32 = 0x200;
const ESR: u32 = 0x280;
const ICR_LOW: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const LVT: u32 = 0x320;
const LVT_LAST: u32 = 0x370;
const INITIAL_COUNT: u32 = 0x380;
const CURRENT_COUNT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;
const SELF_IPI: u32 = 0x3f0;

/// Version 14h, six LVT entries.
const VERSION_VALUE: u32 = 0x0005_0014;
const SVR_ENABLE: u32 = 1 << 8;
const LVT_MASKED: u32 = 1 << 16;
/// ExtINT, not masked.
const VIRTUAL_WIRE: u32 = 0x700;
// Entries of the LVT, in the order of their addresses.
const LVT_TIMER: usize = 0;
const LVT_LINT0: usize = 3;
const LVT_LINT1: usize = 4;
const LVT_ERROR: usize = 5;
/// Bits of each LVT entry that software writes.
const LVT_WRITABLE: [u32; 6] = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];

const ERROR_SEND_VECTOR: u32 = 1 << 5;
const ERROR_RECEIVE_VECTOR: u32 = 1 << 6;
const ERROR_REGISTER: u32 = 1 << 7;

// IA32_APIC_BASE.
const BASE_BSP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_ADDRESS: u64 = 0xff_ffff_f000;
/// First MSR of the x2APIC registers.
const X2APIC_MSR: u32 = 0x800;

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
            DeliveryMode::Init => self.signals.init |= message.assert,
            DeliveryMode::StartUp => self.signals.sipi = Some(message.vector),
            DeliveryMode::Fixed | DeliveryMode::LowestPriority | DeliveryMode::ExtInt => {}
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

    /// A register by its offset, `None` where there is none.
    fn read_register(&mut self, offset: u32, now: Tick) -> Option<u32> {
        self.advance(now);
        let word = (offset >> 4 & 7) as usize;
        Some(match offset {
            ID if self.x2apic() => self.apic_id(),
            ID => u32::from(self.id) << 24,
            VERSION => VERSION_VALUE,
            TPR => u32::from(self.tpr),
            APR if !self.x2apic() => 0,
            PPR => u32::from(self.ppr()),
            EOI if !self.x2apic() => 0,
            LDR if self.x2apic() => self.logical_id(),
            LDR => self.ldr,
            DFR if !self.x2apic() => self.dfr,
            SVR => self.svr,
            ISR..TMR => self.isr.0[word],
            TMR..IRR => self.tmr.0[word],
            IRR..ESR => self.irr.0[word],
            ESR => self.esr,
            ICR_LOW => self.icr as u32,
            ICR_HIGH if !self.x2apic() => (self.icr >> 32) as u32,
            LVT..=LVT_LAST => self.lvt[((offset - LVT) >> 4) as usize],
            INITIAL_COUNT => self.timer.initial(),
            CURRENT_COUNT => self.timer.current(now),
            DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// Writes a register by its offset; `None` where there is none that can be written.
    fn write_register(&mut self, offset: u32, value: u32, now: Tick) -> Option<()> {
        self.advance(now);
        match offset {
            ID if !self.x2apic() => self.id = (value >> 24) as u8,
            TPR => self.set_tpr(value as u8),
            EOI => self.end_of_interrupt(),
            LDR if !self.x2apic() => self.ldr = value & 0xff00_0000,
            DFR if !self.x2apic() => self.dfr = value | 0x0fff_ffff,
            SVR => self.write_svr(value),
            ESR => self.esr = std::mem::take(&mut self.errors),
            ICR_LOW => {
                self.icr = self.icr & !0xffff_ffff | u64::from(value & 0xc_cfff);
                self.send_ipi();
            }
            ICR_HIGH if !self.x2apic() => {
                self.icr = self.icr & 0xffff_ffff | u64::from(value & 0xff00_0000) << 32;
            }
            LVT..=LVT_LAST => self.write_lvt(((offset - LVT) >> 4) as usize, value),
            INITIAL_COUNT => self.timer.set_initial(value, now),
            DIVIDE => self.timer.set_divide(value, now),
            _ => return None,
        }
        Some(())
    }

    fn write_svr(&mut self, value: u32) {
        self.svr = value & 0x3ff;
        if !self.software_enabled() {
            // "Local APIC State After It Has Been Software Disabled": all LVT entries are masked.
            self.lvt.iter_mut().for_each(|lvt| *lvt |= LVT_MASKED);
        }
        self.update();
    }

    fn write_lvt(&mut self, index: usize, value: u32) {
        let disabled = if self.software_enabled() { 0 } else { LVT_MASKED };
        self.lvt[index] = value & LVT_WRITABLE[index] | disabled;
        if index == LVT_TIMER {
            self.timer.set_mode(TimerMode::of(value));
        }
    }

    /// ICR was written.
    fn send_ipi(&mut self) {
        let low = self.icr as u32;
        let field = (self.icr >> 32) as u32;
        let logical = low & 1 << 11 != 0;
        let destination = match low >> 18 & 3 {
            0 if self.x2apic() && logical => Destination::Logical(field),
            0 if self.x2apic() => Destination::Physical(field),
            0 => Destination::short((field >> 24) as u8, logical),
            1 => Destination::Itself,
            2 => Destination::All,
            _ => Destination::Others,
        };
        let Some(mode) = DeliveryMode::from_bits(low) else { return };
        let vector = low as u8;
        if matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority) && vector < 16 {
            return self.error(ERROR_SEND_VECTOR);
        }
        let (level, assert) = (low & 1 << 15 != 0, low & 1 << 14 != 0);
        self.message = Some(ApicMessage {
            destination,
            mode,
            vector,
            level_triggered: false, // IPIs are edges whatever the bit says, but for the INIT de-assert
            assert: assert || !level,
        });
    }

    /// Reads from the register page. Wider or odd accesses see the bytes that lie there.
    pub fn read(&mut self, offset: u64, size: u8, now: Tick) -> u64 {
        if !self.enabled() || self.x2apic() {
            return u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
        }
        let within = (offset & 0xf) as u32;
        let value = match self.read_register(offset as u32 & 0xff0, now) {
            Some(value) => value,
            None => {
                self.error(ERROR_REGISTER);
                0
            }
        };
        let shifted = if within < 4 { u64::from(value) >> (8 * within) } else { 0 };
        shifted & u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))
    }

    /// Writes to the register page. Only aligned writes of 32 bits are defined; others are ignored.
    pub fn write(&mut self, offset: u64, size: u8, value: u64, now: Tick) {
        let defined = self.enabled() && !self.x2apic() && offset & 0xf == 0 && size >= 4;
        if defined && self.write_register(offset as u32 & 0xff0, value as u32, now).is_none() {
            self.error(ERROR_REGISTER);
        }
    }

    /// IA32_APIC_BASE.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Writes IA32_APIC_BASE. `None` is #GP(0): a reserved bit, or a transition that "x2APIC State
    /// Transitions" does not have.
    pub fn set_base(&mut self, value: u64) -> Option<()> {
        if value & !(BASE_ADDRESS | BASE_BSP | BASE_X2APIC | BASE_ENABLE) != 0 {
            return None;
        }
        let state = |base: u64| (base & BASE_ENABLE != 0, base & BASE_X2APIC != 0);
        match (state(self.base), state(value)) {
            (_, (false, true)) | ((false, _), (true, true)) | ((_, true), (true, false)) => return None,
            ((true, _), (false, false)) => {
                // Disabled, it forgets all but its pins.
                *self = Self { lint: self.lint, signals: self.signals, ..Self::new(self.cpu) };
            }
            _ => {}
        }
        self.base = value & !BASE_BSP | if self.cpu == 0 { BASE_BSP } else { 0 };
        self.update();
        Some(())
    }

    /// IA32_TSC_DEADLINE.
    pub fn deadline(&mut self, now: Tick) -> u64 {
        self.advance(now);
        self.timer.deadline()
    }

    /// Writes IA32_TSC_DEADLINE.
    pub fn set_deadline(&mut self, value: u64, now: Tick) {
        self.advance(now);
        self.timer.set_deadline(value);
    }

    /// Reads an x2APIC register (MSRs 800h to 8FFh). `None` is #GP(0).
    pub fn read_msr(&mut self, msr: u32, now: Tick) -> Option<u64> {
        if !self.x2apic() {
            return None;
        }
        match msr.checked_sub(X2APIC_MSR)? << 4 {
            ICR_LOW => Some(self.icr),
            EOI | SELF_IPI => None, // write-only
            offset => self.read_register(offset, now).map(u64::from),
        }
    }

    /// Writes an x2APIC register. `None` is #GP(0): no such register, or a reserved bit.
    pub fn write_msr(&mut self, msr: u32, value: u64, now: Tick) -> Option<()> {
        if !self.x2apic() {
            return None;
        }
        let offset = msr.checked_sub(X2APIC_MSR)? << 4;
        let writable: u64 = match offset {
            TPR | SELF_IPI => 0xff,
            EOI | ESR => 0,
            SVR => 0x1ff,
            ICR_LOW => 0xffff_ffff_000c_cfff,
            LVT..=LVT_LAST => u64::from(LVT_WRITABLE[((offset - LVT) >> 4) as usize]),
            INITIAL_COUNT => 0xffff_ffff,
            DIVIDE => 0xb,
            _ => return None,
        };
        // Delivery status and remote IRR are read-only, not reserved.
        let read_only = if (LVT..=LVT_LAST).contains(&offset) { 0x5000 } else { 0 };
        if value & !(writable | read_only) != 0 {
            return None;
        }
        match offset {
            ICR_LOW => {
                self.icr = value;
                self.send_ipi();
                Some(())
            }
            SELF_IPI => {
                match value as u8 {
                    0..16 => self.error(ERROR_SEND_VECTOR),
                    vector if self.software_enabled() => self.accept(vector, false),
                    _ => {}
                }
                Some(())
            }
            _ => self.write_register(offset, value as u32, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled() -> LocalApic {
        let mut apic = LocalApic::new(0);
        apic.write(0xf0, 4, 0x1ff, 0);
        apic
    }

    fn fixed(vector: u8) -> ApicMessage {
        ApicMessage {
            destination: Destination::Physical(0),
            mode: DeliveryMode::Fixed,
            vector,
            level_triggered: false,
            assert: true,
        }
    }

    #[test]
    fn registers_after_reset_are_those_of_the_manual() {
        let mut apic = LocalApic::new(3);
        let expected = [
            (0x20, 0x0300_0000),
            (0x30, 0x0005_0014),
            (0x80, 0),
            (0xd0, 0),
            (0xe0, 0xffff_ffff),
            (0xf0, 0xff),
        ];
        for (offset, value) in expected {
            assert_eq!(apic.read(offset, 4, 0), value, "{offset:x}");
        }
        for offset in (0x320..=0x370).step_by(16) {
            assert_eq!(apic.read(offset, 4, 0), 0x1_0000);
        }
        assert_eq!(LocalApic::new(0).read(0x350, 4, 0), 0x700);
    }

    #[test]
    fn higher_classes_interrupt_lower_ones_only() {
        let mut apic = enabled();
        apic.deliver(&fixed(0x41));
        assert_eq!(apic.acknowledge(), 0x41);
        apic.deliver(&fixed(0x4f));
        assert!(!apic.intr(), "same class");
        assert_eq!(apic.read(0xa0, 4, 0), 0x40);
        apic.deliver(&fixed(0x50));
        assert_eq!(apic.acknowledge(), 0x50);
        apic.write(0xb0, 4, 0, 0);
        assert!(!apic.intr());
        apic.write(0xb0, 4, 0, 0);
        assert_eq!(apic.acknowledge(), 0x4f);
    }

    #[test]
    fn the_task_priority_holds_back_its_class() {
        let mut apic = enabled();
        apic.write(0x80, 4, 0x50, 0);
        apic.deliver(&fixed(0x5f));
        assert!(!apic.intr());
        apic.set_tpr(0x4f);
        assert!(apic.intr());
    }

    #[test]
    fn level_triggered_vectors_ask_for_an_eoi_broadcast() {
        let mut apic = enabled();
        apic.deliver(&ApicMessage { level_triggered: true, ..fixed(0x31) });
        apic.acknowledge();
        assert_eq!(apic.read(0x180 + 0x10, 4, 0), 1 << 0x11);
        apic.write(0xb0, 4, 0, 0);
        assert_eq!((apic.take_eoi(), apic.take_eoi()), (Some(0x31), None));
    }

    #[test]
    fn the_timer_interrupts_and_reads_down() {
        let mut apic = enabled();
        apic.write(0x3e0, 4, 0xb, 0);
        apic.write(0x320, 4, 0x2_0040, 0); // periodic
        apic.write(0x380, 4, 1000, 0);
        assert_eq!(apic.read(0x390, 4, 400), 600);
        assert_eq!(apic.next_event(), 1000);
        apic.advance(1000);
        assert_eq!(apic.acknowledge(), 0x40);
        assert_eq!(apic.next_event(), 2000);
    }

    #[test]
    fn software_disabling_masks_the_lvt() {
        let mut apic = enabled();
        apic.write(0x320, 4, 0x40, 0);
        apic.write(0xf0, 4, 0xff, 0);
        assert_eq!(apic.read(0x320, 4, 0), 0x1_0040);
        apic.write(0x320, 4, 0x40, 0);
        assert_eq!(apic.read(0x320, 4, 0), 0x1_0040);
        assert!(!apic.passes_8259());
        apic.deliver(&fixed(0x40));
        assert_eq!(apic.read(0x220, 4, 0), 0, "fixed interrupts are not accepted");
    }

    #[test]
    fn virtual_wire_works_before_software_enables_the_apic() {
        assert!(LocalApic::new(0).passes_8259());
        assert!(!LocalApic::new(1).passes_8259());
        let mut apic = enabled();
        apic.write(0x350, 4, 0x1_0700, 0);
        assert!(!apic.passes_8259());
    }

    #[test]
    fn ipis_carry_their_destination() {
        let mut apic = enabled();
        apic.write(0x310, 4, 0x0200_0000, 0);
        apic.write(0x300, 4, 0x0000_4500, 0); // INIT to APIC 2
        let message = apic.take_message().unwrap();
        assert_eq!((message.destination, message.mode), (Destination::Physical(2), DeliveryMode::Init));
        apic.write(0x300, 4, 0x000c_4608, 0); // SIPI, page 8, all but self
        let message = apic.take_message().unwrap();
        assert_eq!(
            (message.destination, message.mode, message.vector),
            (Destination::Others, DeliveryMode::StartUp, 8)
        );
    }

    #[test]
    fn the_init_level_de_assert_does_nothing() {
        let mut apic = enabled();
        apic.write(0x300, 4, 0x0008_8500, 0);
        let message = apic.take_message().unwrap();
        apic.deliver(&message);
        assert!(!apic.take_signals().init);
    }

    #[test]
    fn logical_destinations_match_flat_and_cluster() {
        let mut apic = enabled();
        apic.write(0xd0, 4, 0x2100_0000, 0);
        assert!(apic.is_named(Destination::Logical(0x01)) && apic.is_named(Destination::Logical(0xe0)));
        assert!(!apic.is_named(Destination::Logical(0x1e & !0x20 & !1)));
        apic.write(0xe0, 4, 0x0fff_ffff, 0);
        assert!(apic.is_named(Destination::Logical(0x23)));
        assert!(!apic.is_named(Destination::Logical(0x11)));
        assert!(!apic.is_named(Destination::Logical(0x22)));
    }

    #[test]
    fn an_illegal_vector_is_an_error() {
        let mut apic = enabled();
        apic.write(0x370, 4, 0xfe, 0);
        apic.write(0x300, 4, 0x0004_0005, 0); // to self, vector 5
        assert!(apic.take_message().is_none());
        assert_eq!(apic.acknowledge(), 0xfe);
        assert_eq!(apic.read(0x280, 4, 0), 0);
        apic.write(0x280, 4, 0, 0);
        assert_eq!(apic.read(0x280, 4, 0), 0x20);
    }

    #[test]
    fn base_goes_through_its_legal_transitions_only() {
        let mut apic = LocalApic::new(0);
        assert_eq!(apic.base(), 0xfee0_0900);
        assert_eq!(apic.set_base(0xfee0_0500), None, "x2APIC without enable");
        assert_eq!(apic.set_base(0xfee0_0901), None, "reserved bit");
        assert_eq!(apic.set_base(0xfee0_0d00), Some(()));
        assert_eq!(apic.set_base(0xfee0_0900), None, "x2APIC back to xAPIC");
        assert_eq!(apic.set_base(0xfee0_0100), Some(()));
        assert_eq!(apic.set_base(0xfee0_0d00), None, "disabled to x2APIC");
        assert!(apic.passes_8259());
    }

    #[test]
    fn x2apic_registers_fault_on_reserved_bits() {
        let mut apic = LocalApic::new(2);
        assert_eq!(apic.read_msr(0x802, 0), None);
        apic.set_base(0xfee0_0c00).unwrap();
        assert_eq!(apic.read_msr(0x802, 0), Some(2));
        assert_eq!(apic.read_msr(0x80d, 0), Some(4));
        assert_eq!(apic.read_msr(0x80e, 0), None, "no DFR");
        assert_eq!(apic.write_msr(0x80b, 1, 0), None);
        assert_eq!(apic.write_msr(0x80f, 0x1ff, 0), Some(()));
        assert_eq!(apic.write_msr(0x83f, 0x40, 0), Some(()));
        assert_eq!(apic.acknowledge(), 0x40);
        assert_eq!(apic.write_msr(0x830, 1 << 32 | 0x4041, 0), Some(()));
        assert_eq!(apic.take_message().unwrap().destination, Destination::Physical(1));
        assert_eq!(apic.read(0x20, 4, 0), 0xffff_ffff, "no page in this mode");
    }

    #[test]
    fn the_deadline_fires_once() {
        let mut apic = enabled();
        apic.write(0x320, 4, 0x4_0060, 0);
        apic.set_deadline(5000, 0);
        assert_eq!((apic.next_event(), apic.deadline(4999)), (5000, 5000));
        apic.advance(5000);
        assert_eq!((apic.acknowledge(), apic.deadline(5000), apic.next_event()), (0x60, 0, NEVER));
    }
}
