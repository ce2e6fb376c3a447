//! Intel 82371AB (PIIX4) power management, 00:01.3: ACPI events, the power-management timer, soft-off.
//!
//! Manual: Intel 290562, "Power Management PCI Configuration Registers", "Power Management I/O Registers".
//! Modelled: PM1 status, enable and control with SCI; the 24-bit timer; SUS_TYP 0 as soft-off; the APM ports with
//! SMI# by APMC (DEVACTB.APMC_EN and GLBCTL.SMI_EN); a general-purpose event block at AFE0h (where QEMU's board has
//! one); an SMBus host with nothing on its bus.
//! Left out: the other suspend types (SUS_EN has no effect then), idle and event monitors, SMI# by anything else,
//! GLBSTS, and GLBCTL.EOS: each write to APMC is an SMI# of its own. The two commands by which firmware tables switch
//! ACPI on and off (F1h and F0h on port B2h) act at once and cause no SMI#, as on QEMU's board: SeaBIOS, whose tables
//! give these commands, does not handle them.

use emu_core::bus::{NEVER, OPEN_BUS, TICKS_PER_SECOND, Tick};

use super::config::{COMMAND_IO, ConfigSpace, Identity, STATUS_FAST_MEDIUM, header};
use super::{Changed, PciFunction};

const PMBA: u8 = 0x40;
const DEVACTB: u8 = 0x58;
const APMC_EN: u32 = 1 << 25;
/// GLBCTL in the power-management registers, and its bit that lets SMI# through.
const GLBCTL: u16 = 0x28;
const SMI_EN: u8 = 1 << 0;
const PMREGMISC: u8 = 0x80;
const SMBBA: u8 = 0x90;
const SMBHSTCFG: u8 = 0xd2;

const PM_PORTS: u16 = 64;
const SMBUS_PORTS: u16 = 16;
const GPE_BASE: u16 = 0xafe0;
const GPE_PORTS: u16 = 4;
const APMC: u16 = 0xb2;
const APMS: u16 = 0xb3;
const ACPI_ENABLE: u8 = 0xf1;
const ACPI_DISABLE: u8 = 0xf0;

/// PMSTS and PMEN: timer overflow, global, power button, real-time clock.
const TMROF: u16 = 1 << 0;
const PWRBTN: u16 = 1 << 8;
const RTC: u16 = 1 << 10;
const EVENTS: u16 = 0x0521;
/// PMCNTRL: SCI instead of SMI; suspend type; suspend now.
const SCI_EN: u16 = 1 << 0;
const SUS_TYP: u16 = 0b111 << 10;
const SUS_EN: u16 = 1 << 13;
const PMCNTRL_BITS: u16 = SUS_TYP | 0b11;

/// Frequency of the timer in hertz, and how far its top bit is from its lowest.
const TIMER_HZ: u128 = 3_579_545;
const TIMER_TOP_BIT: u32 = 23;

/// SMBus host status: device error (nobody answered).
const DEV_ERR: u8 = 1 << 2;
const SMBUS_START: u8 = 1 << 6;

/// The function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piix4Pm {
    config: ConfigSpace,
    /// PMSTS.
    status: u16,
    /// PMEN.
    enable: u16,
    /// PMCNTRL.
    control: u16,
    /// How often the top bit of the timer had changed when that was last noted in PMSTS.
    timer_changes: u64,
    /// The other power-management registers, which only hold what is written.
    plain: [u8; PM_PORTS as usize],
    /// Status and enable bits of the general-purpose events.
    gpe_status: u16,
    gpe_enable: u16,
    /// APMC and APMS.
    apm: [u8; 2],
    smbus: [u8; SMBUS_PORTS as usize],
    power_off: bool,
    /// SMI# was asserted.
    smi: bool,
}

fn timer(now: Tick) -> u64 {
    (u128::from(now) * TIMER_HZ / u128::from(TICKS_PER_SECOND)) as u64
}

/// Replaces one byte of a 16-bit register.
fn merge(register: u16, high: bool, value: u8) -> u16 {
    let [low_byte, high_byte] = register.to_le_bytes();
    u16::from_le_bytes(if high { [low_byte, value] } else { [value, high_byte] })
}

/// Clears the bits of a 16-bit register that are written as ones in one of its bytes.
fn clear(register: u16, high: bool, value: u8) -> u16 {
    register & !(u16::from(value) << if high { 8 } else { 0 })
}

impl Piix4Pm {
    pub(super) fn new() -> Self {
        let identity = Identity { vendor: 0x8086, device: 0x7113, revision: 3, class: 0x06_8000 };
        let mut config = ConfigSpace::new(identity);
        config.allow(header::COMMAND, &COMMAND_IO.to_le_bytes());
        config.set16(header::STATUS, STATUS_FAST_MEDIUM);
        config.set8(header::INTERRUPT_PIN, 1);
        config.set32(PMBA, 0x0000_0001);
        config.allow(PMBA, &[0xc0, 0xff]);
        config.allow(0x44, &[0xff; 0x3c]);
        config.allow(PMREGMISC, &[0x01]);
        config.set32(SMBBA, 0x0000_0001);
        config.allow(SMBBA, &[0xf0, 0xff]);
        config.allow(SMBHSTCFG, &[0x0f]);
        Self {
            config,
            status: 0,
            enable: 0,
            control: 0,
            timer_changes: 0,
            plain: [0; PM_PORTS as usize],
            gpe_status: 0,
            gpe_enable: 0,
            apm: [0; 2],
            smbus: [0; SMBUS_PORTS as usize],
            power_off: false,
            smi: false,
        }
    }

    /// Where the power-management registers answer now (PMBASE).
    pub fn pm_base(&self) -> Option<u16> {
        let base = self.config.get16(PMBA) & !(PM_PORTS - 1);
        (self.config.get8(PMREGMISC) & 1 != 0 && base != 0).then_some(base)
    }

    /// Where the SMBus host answers now.
    pub fn smbus_base(&self) -> Option<u16> {
        let base = self.config.get16(SMBBA) & !(SMBUS_PORTS - 1);
        let enabled = self.config.command() & COMMAND_IO != 0 && self.config.get8(SMBHSTCFG) & 1 != 0;
        (enabled && base != 0).then_some(base)
    }

    fn place_of(&self, port: u16) -> Option<Place> {
        let within = |base: Option<u16>, ports: u16| port.checked_sub(base?).filter(|offset| *offset < ports);
        if let APMC | APMS = port {
            return Some(Place::Apm(port - APMC));
        }
        within(self.pm_base(), PM_PORTS)
            .map(Place::Pm)
            .or_else(|| within(self.smbus_base(), SMBUS_PORTS).map(Place::Smbus))
            .or_else(|| within(Some(GPE_BASE), GPE_PORTS).map(Place::Gpe))
    }

    /// IN from PMBASE, SMBus, the event block (AFE0h) or the APM ports (B2h, B3h); `None` when the port is
    /// not (now) its own.
    pub fn port_read(&mut self, port: u16, size: u8, now: Tick) -> Option<u32> {
        self.place_of(port)?;
        self.advance(now);
        let mut bytes = [0; 4];
        for (number, byte) in bytes[..usize::from(size.min(4))].iter_mut().enumerate() {
            let place = self.place_of(port.wrapping_add(number as u16));
            *byte = place.map_or(OPEN_BUS, |place| self.read(place, now));
        }
        Some(u32::from_le_bytes(bytes))
    }

    /// OUT to the same ports; false when the port is not (now) its own.
    pub fn port_write(&mut self, port: u16, size: u8, value: u32, now: Tick) -> bool {
        if self.place_of(port).is_none() {
            return false;
        }
        self.advance(now);
        for (number, byte) in value.to_le_bytes()[..usize::from(size.min(4))].iter().enumerate() {
            if let Some(place) = self.place_of(port.wrapping_add(number as u16)) {
                self.write(place, *byte);
            }
        }
        true
    }

    fn read(&self, place: Place, now: Tick) -> u8 {
        let byte_of = |register: u16, offset: u16| register.to_le_bytes()[usize::from(offset & 1)];
        match place {
            Place::Pm(offset @ 0..=1) => byte_of(self.status, offset),
            Place::Pm(offset @ 2..=3) => byte_of(self.enable, offset),
            Place::Pm(offset @ 4..=5) => byte_of(self.control, offset),
            Place::Pm(offset @ 8..=10) => timer(now).to_le_bytes()[usize::from(offset - 8)],
            Place::Pm(offset) => self.plain[usize::from(offset)],
            Place::Gpe(offset @ 0..=1) => byte_of(self.gpe_status, offset),
            Place::Gpe(offset) => byte_of(self.gpe_enable, offset),
            Place::Apm(offset) => self.apm[usize::from(offset)],
            Place::Smbus(offset) => self.smbus[usize::from(offset)],
        }
    }

    fn write(&mut self, place: Place, value: u8) {
        match place {
            Place::Pm(offset @ 0..=1) => self.status = clear(self.status, offset == 1, value),
            Place::Pm(offset @ 2..=3) => self.enable = merge(self.enable, offset == 3, value) & EVENTS,
            Place::Pm(offset @ 4..=5) => {
                let written = merge(self.control, offset == 5, value);
                self.control = written & PMCNTRL_BITS;
                self.power_off |= written & (SUS_EN | SUS_TYP) == SUS_EN;
            }
            // Processor control, global and device events, general-purpose outputs.
            Place::Pm(offset @ (0x10..=0x13 | 0x20..=0x21 | 0x28..=0x2f | 0x34..=0x37)) => {
                self.plain[usize::from(offset)] = value;
            }
            Place::Pm(_) => {}
            Place::Gpe(offset @ 0..=1) => self.gpe_status = clear(self.gpe_status, offset == 1, value),
            Place::Gpe(offset) => self.gpe_enable = merge(self.gpe_enable, offset == 3, value),
            Place::Apm(offset) => {
                self.apm[usize::from(offset)] = value;
                match (offset, value) {
                    (0, ACPI_ENABLE) => self.control |= SCI_EN,
                    (0, ACPI_DISABLE) => self.control &= !SCI_EN,
                    (0, _) => {
                        let enabled = self.plain[usize::from(GLBCTL)] & SMI_EN != 0;
                        self.smi |= enabled && self.config.get32(DEVACTB) & APMC_EN != 0;
                    }
                    _ => {}
                }
            }
            Place::Smbus(offset) => self.write_smbus(offset, value),
        }
    }

    /// Status bits are cleared by ones; a command that is started finds nobody on the bus.
    fn write_smbus(&mut self, offset: u16, value: u8) {
        let register = &mut self.smbus[usize::from(offset)];
        match offset {
            0 | 1 => *register &= !value,
            2 => {
                *register = value & !SMBUS_START;
                if value & SMBUS_START != 0 {
                    self.smbus[0] |= DEV_ERR;
                }
            }
            _ => *register = value,
        }
    }

    /// Level of SCI (IRQ 9).
    pub fn sci(&self) -> bool {
        let pm1 = self.status & self.enable & EVENTS != 0;
        self.control & SCI_EN != 0 && (pm1 || self.gpe_status & self.gpe_enable != 0)
    }

    /// When the timer will raise SCI; never while that would go unnoticed.
    pub fn next_event(&self) -> Tick {
        if self.control & SCI_EN == 0 || self.enable & TMROF == 0 || self.status & TMROF != 0 {
            return NEVER;
        }
        let ticks = u128::from(self.timer_changes + 1) << TIMER_TOP_BIT;
        Tick::try_from((ticks * u128::from(TICKS_PER_SECOND)).div_ceil(TIMER_HZ)).unwrap_or(NEVER)
    }

    /// Notes in PMSTS when the top bit of the timer has changed.
    pub fn advance(&mut self, now: Tick) {
        let changes = timer(now) >> TIMER_TOP_BIT;
        if changes > self.timer_changes {
            self.timer_changes = changes;
            self.status |= TMROF;
        }
    }

    /// True once after the guest switched itself off (S5).
    pub fn take_power_off(&mut self) -> bool {
        std::mem::take(&mut self.power_off)
    }

    /// True once after SMI# was asserted.
    pub fn take_smi(&mut self) -> bool {
        std::mem::take(&mut self.smi)
    }

    /// Is there one?
    pub fn has_smi(&self) -> bool {
        self.smi
    }

    /// The real-time clock has interrupted (IRQ 8).
    pub fn note_clock_interrupt(&mut self) {
        self.status |= RTC;
    }

    /// Presses the power button.
    pub fn press_power_button(&mut self) {
        self.status |= PWRBTN;
    }
}

/// Which register block a port belongs to, and its offset there.
#[derive(Clone, Copy)]
enum Place {
    Pm(u16),
    Gpe(u16),
    Apm(u16),
    Smbus(u16),
}

impl PciFunction for Piix4Pm {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, register: u8, value: u8) -> Changed {
        let before = (self.pm_base(), self.smbus_base());
        self.config.write(register, value);
        Changed { ports: before != (self.pm_base(), self.smbus_base()), ..Changed::default() }
    }

    /// The timer runs on.
    fn reset(&mut self) {
        *self = Self { timer_changes: self.timer_changes, ..Self::new() };
    }
}
