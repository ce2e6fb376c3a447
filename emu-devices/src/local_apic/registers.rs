//! The registers of a local APIC as software reaches them: the page of the xAPIC, the MSRs of the x2APIC, and
//! IA32_APIC_BASE, which chooses between the two.

use emu_core::bus::Tick;

use super::{BASE_BSP, BASE_ENABLE, BASE_X2APIC, LVT_MASKED, LVT_TIMER, LocalApic};
use crate::apic_message::{ApicMessage, DeliveryMode, Destination};
use crate::apic_timer::TimerMode;

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
/// Bits of each LVT entry that software writes.
const LVT_WRITABLE: [u32; 6] = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];

const ERROR_SEND_VECTOR: u32 = 1 << 5;
const ERROR_REGISTER: u32 = 1 << 7;

const BASE_ADDRESS: u64 = 0xff_ffff_f000;
/// First MSR of the x2APIC registers.
const X2APIC_MSR: u32 = 0x800;

impl LocalApic {
    /// A register that only software changes, by its offset: time and interrupts do not. `None` for all others.
    fn still_register(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            ID if self.x2apic() => self.apic_id(),
            ID => u32::from(self.id) << 24,
            VERSION => VERSION_VALUE,
            TPR => u32::from(self.tpr),
            LDR if self.x2apic() => self.logical_id(),
            LDR => self.ldr,
            DFR if !self.x2apic() => self.dfr,
            SVR => self.svr,
            _ => return None,
        })
    }

    /// A register by its offset, `None` where there is none.
    fn read_register(&mut self, offset: u32, now: Tick) -> Option<u32> {
        self.advance(now);
        if let still @ Some(_) = self.still_register(offset) {
            return still;
        }
        let word = (offset >> 4 & 7) as usize;
        Some(match offset {
            APR if !self.x2apic() => 0,
            PPR => u32::from(self.ppr()),
            EOI if !self.x2apic() => 0,
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

    /// Reads from the register page what only software changes: nothing has to be looked at before and after. `None`
    /// for everything else.
    pub fn read_still(&self, offset: u64, size: u8) -> Option<u64> {
        let plain = self.enabled() && !self.x2apic() && offset & 0xf == 0 && size == 4;
        plain.then(|| self.still_register(offset as u32)).flatten().map(u64::from)
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

    /// Where the register page lies.
    pub fn page(&self) -> u64 {
        self.base & BASE_ADDRESS
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
