//! Motorola MC146818 real-time clock with the 128 bytes of CMOS memory of a PC, ports 70h and 71h.
//!
//! Manual: Motorola MC146818, "Address Map", "Registers", "Update Cycle", "Interrupts".
//! Modelled: time, calendar with century at 32h, alarm, all rates of the periodic interrupt at 32,768 Hz,
//! update-in-progress, SET, BCD and binary, 12 and 24 hours, divider reset, registers A to D.
//! Left out: daylight saving (DSE), the square wave, the NMI mask of port 70h bit 7.
//! The clock catches up when somebody looks; it asks for attention only when an enabled interrupt will come.

use emu_core::bus::{NEVER, OPEN_BUS, PortIo, TICKS_PER_SECOND, Tick};

/// Port of the address register.
pub const INDEX: u16 = 0x70;
/// Port of the data register.
pub const DATA: u16 = 0x71;

const SECONDS: usize = 0x00;
const SECONDS_ALARM: usize = 0x01;
const MINUTES: usize = 0x02;
const MINUTES_ALARM: usize = 0x03;
const HOURS: usize = 0x04;
const HOURS_ALARM: usize = 0x05;
const DAY_OF_WEEK: usize = 0x06;
const DAY_OF_MONTH: usize = 0x07;
const MONTH: usize = 0x08;
const YEAR: usize = 0x09;
const A: usize = 0x0a;
const B: usize = 0x0b;
const C: usize = 0x0c;
const D: usize = 0x0d;
/// Where a PC keeps the century; always in the format of the year.
pub const CENTURY: usize = 0x32;

const A_UIP: u8 = 0x80;
const A_DV_RESET: u8 = 0x60;
const B_SET: u8 = 0x80;
/// PIE, AIE and UIE, and at the same places PF, AF and UF.
const INTERRUPTS: u8 = 0x70;
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATE: u8 = 0x10;
const B_BINARY: u8 = 0x04;
const B_24_HOURS: u8 = 0x02;
const C_IRQF: u8 = 0x80;
const D_VRT: u8 = 0x80;
/// PM, in 12-hour format.
const PM: u8 = 0x80;
/// Two ones on top of an alarm byte: any value matches.
const ANY: u8 = 0xc0;

/// UIP goes up tBUC before the update cycle, which takes tUC.
const UIP_TIME: Tick = 244_000 + 1_984_000;
const CRYSTAL_HZ: u64 = 32_768;
const DAY: u64 = 86_400;

/// The chip.
#[derive(Clone, Debug, PartialEq)]
pub struct Mc146818 {
    registers: [u8; 128],
    /// Address register.
    index: u8,
    /// Added to the time, gives the time of the divider chain: whole seconds are updates.
    offset: Tick,
    /// What happened up to here is in the registers.
    seen: Tick,
    /// When an enabled interrupt comes next.
    due: Tick,
}

impl Mc146818 {
    /// The chip as a running PC has it at power-on: battery good, 24 hours, BCD, 1024 Hz selected,
    /// `start` seconds after the beginning of 1970 at time `now`.
    pub fn new(start: u64, now: Tick) -> Self {
        let mut registers = [0; 128];
        (registers[A], registers[B], registers[D]) = (0x26, B_24_HOURS, D_VRT);
        let mut rtc = Self {
            registers,
            index: 0,
            offset: (TICKS_PER_SECOND - now % TICKS_PER_SECOND) % TICKS_PER_SECOND,
            seen: now,
            due: NEVER,
        };
        let start = start.min(253_402_300_799); // the end of the year 9999
        rtc.set_calendar(start);
        rtc.registers[DAY_OF_WEEK] = ((start / DAY + 4) % 7 + 1) as u8; // 1970 began on a Thursday
        rtc
    }

    /// RESET#: interrupts off; the time and the memory stay.
    pub fn reset(&mut self, now: Tick) {
        self.catch_up(now);
        self.registers[B] &= !(INTERRUPTS | 0x08);
        self.registers[C] = 0;
        self.schedule();
    }

    /// Sets a byte of memory (from 0Eh on), as the board's firmware settings.
    pub fn set_memory(&mut self, index: u8, value: u8) {
        if index > D as u8 {
            self.registers[usize::from(index & 0x7f)] = value;
        }
    }

    /// A byte of memory, or a register as it stands.
    pub fn memory(&self, index: u8) -> u8 {
        self.registers[usize::from(index & 0x7f)]
    }

    /// IRQ#, active here when true (IRQ 8).
    pub fn irq(&self) -> bool {
        self.registers[C] & C_IRQF != 0
    }

    /// When an enabled interrupt comes next.
    pub fn next_event(&self) -> Tick {
        self.due
    }

    /// Raises the interrupts whose time has come.
    pub fn advance(&mut self, now: Tick) {
        self.catch_up(now);
        self.schedule();
    }

    fn stopped(&self) -> bool {
        self.registers[A] & A_DV_RESET == A_DV_RESET
    }

    fn chain(&self, now: Tick) -> Tick {
        now.saturating_add(self.offset)
    }

    /// Pulses of the crystal between two periodic interrupts, `None` when they are off.
    fn periodic_pulses(&self) -> Option<u64> {
        match self.registers[A] & 0xf {
            0 => None,
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    fn catch_up(&mut self, now: Tick) {
        let (from, to) = (self.chain(self.seen), self.chain(now.max(self.seen)));
        self.seen = self.seen.max(now);
        if self.stopped() {
            return;
        }
        if let Some(pulses) = self.periodic_pulses()
            && pulses_at(from) / pulses != pulses_at(to) / pulses
        {
            self.registers[C] |= PERIODIC;
        }
        let seconds = to / TICKS_PER_SECOND - from / TICKS_PER_SECOND;
        if seconds != 0 && self.registers[B] & B_SET == 0 {
            self.update(seconds);
        }
        self.flag();
    }

    /// Update cycles: the calendar goes on by `seconds`.
    fn update(&mut self, seconds: u64) {
        self.registers[C] |= UPDATE;
        let before = self.calendar();
        let first = before.saturating_add(1).max((before + seconds).saturating_sub(DAY - 1));
        if (first..=before + seconds).any(|time| self.alarm_matches(time % DAY)) {
            self.registers[C] |= ALARM;
        }
        let days = (before + seconds) / DAY - before / DAY;
        self.set_calendar(before + seconds);
        let weekday = u64::from(self.registers[DAY_OF_WEEK].max(1)) - 1;
        self.registers[DAY_OF_WEEK] = ((weekday + days % 7) % 7 + 1) as u8;
    }

    fn flag(&mut self) {
        let active = self.registers[C] & self.registers[B] & INTERRUPTS != 0;
        self.registers[C] = self.registers[C] & INTERRUPTS | if active { C_IRQF } else { 0 };
    }

    /// Works out when the next enabled interrupt comes that is not yet flagged.
    fn schedule(&mut self) {
        let waiting = self.registers[B] & !self.registers[C];
        self.due = NEVER;
        if self.stopped() || self.irq() {
            return;
        }
        let chain = self.chain(self.seen);
        if waiting & PERIODIC != 0
            && let Some(pulses) = self.periodic_pulses()
        {
            let next = pulse_time((pulses_at(chain) / pulses + 1) * pulses);
            self.due = next - self.offset;
        }
        if waiting & (ALARM | UPDATE) != 0 && self.registers[B] & B_SET == 0 {
            let next = (chain / TICKS_PER_SECOND + 1).saturating_mul(TICKS_PER_SECOND);
            self.due = self.due.min(next - self.offset);
        }
    }

    fn updating(&self) -> bool {
        let into = self.chain(self.seen) % TICKS_PER_SECOND;
        !self.stopped() && self.registers[B] & B_SET == 0 && into >= TICKS_PER_SECOND - UIP_TIME
    }

    fn binary(&self) -> bool {
        self.registers[B] & B_BINARY != 0
    }

    fn decode(&self, value: u8) -> u64 {
        u64::from(if self.binary() { value } else { (value >> 4) * 10 + (value & 0xf) })
    }

    fn encode(&self, value: u64) -> u8 {
        let value = (value % 100) as u8;
        if self.binary() { value } else { ((value / 10) << 4) | (value % 10) }
    }

    fn decode_hour(&self, value: u8) -> u64 {
        if self.registers[B] & B_24_HOURS != 0 {
            return self.decode(value);
        }
        self.decode(value & !PM) % 12 + if value & PM != 0 { 12 } else { 0 }
    }

    fn encode_hour(&self, hour: u64) -> u8 {
        if self.registers[B] & B_24_HOURS != 0 {
            return self.encode(hour);
        }
        self.encode((hour + 11) % 12 + 1) | if hour >= 12 { PM } else { 0 }
    }

    /// The time in the registers, in seconds since 1970. Nonsense carries over into the next larger unit.
    fn calendar(&self) -> u64 {
        let r = &self.registers;
        let year = self.decode(r[CENTURY]) * 100 + self.decode(r[YEAR]);
        let days = days_to(year.max(1970), self.decode(r[MONTH]).clamp(1, 12))
            + self.decode(r[DAY_OF_MONTH]).saturating_sub(1);
        days * DAY
            + self.decode_hour(r[HOURS]) * 3600
            + self.decode(r[MINUTES]) * 60
            + self.decode(r[SECONDS])
    }

    /// Sets all of it but the day of the week.
    fn set_calendar(&mut self, time: u64) {
        let (days, second) = (time / DAY, time % DAY);
        let (year, month, day) = date_of(days);
        self.registers[SECONDS] = self.encode(second % 60);
        self.registers[MINUTES] = self.encode(second / 60 % 60);
        self.registers[HOURS] = self.encode_hour(second / 3600);
        self.registers[DAY_OF_MONTH] = self.encode(day);
        self.registers[MONTH] = self.encode(month);
        self.registers[YEAR] = self.encode(year % 100);
        self.registers[CENTURY] = self.encode(year / 100);
    }

    fn alarm_matches(&self, second_of_day: u64) -> bool {
        let matches =
            |alarm: usize, value: u8| self.registers[alarm] >= ANY || self.registers[alarm] == value;
        matches(SECONDS_ALARM, self.encode(second_of_day % 60))
            && matches(MINUTES_ALARM, self.encode(second_of_day / 60 % 60))
            && matches(HOURS_ALARM, self.encode_hour(second_of_day / 3600))
    }

    fn write_data(&mut self, value: u8) {
        match usize::from(self.index) {
            A => {
                let was_stopped = self.stopped();
                self.registers[A] = value & !A_UIP;
                if was_stopped && !self.stopped() {
                    // "Divider control": the first update comes half a second after the divider starts.
                    let into = (self.seen + TICKS_PER_SECOND / 2) % TICKS_PER_SECOND;
                    self.offset = TICKS_PER_SECOND - into;
                }
            }
            B => {
                self.registers[B] = value;
                if value & B_SET != 0 {
                    self.registers[B] &= !UPDATE; // SET clears UIE
                }
                self.flag();
            }
            C | D => {}
            index => self.registers[index] = value,
        }
    }
}

impl PortIo for Mc146818 {
    fn read8(&mut self, port: u16, now: Tick) -> u8 {
        if port != DATA {
            return OPEN_BUS;
        }
        self.catch_up(now);
        let index = usize::from(self.index);
        let value = match index {
            A if self.updating() => self.registers[A] | A_UIP,
            C => std::mem::take(&mut self.registers[C]),
            _ => self.registers[index],
        };
        self.schedule();
        value
    }

    fn write8(&mut self, port: u16, value: u8, now: Tick) {
        if port != DATA {
            self.index = value & 0x7f;
            return;
        }
        self.catch_up(now);
        self.write_data(value);
        self.schedule();
    }
}

/// Pulses of the crystal up to a time of the chain.
fn pulses_at(chain: Tick) -> u64 {
    let (seconds, rest) = (chain / TICKS_PER_SECOND, chain % TICKS_PER_SECOND);
    seconds * CRYSTAL_HZ + rest * CRYSTAL_HZ / TICKS_PER_SECOND
}

/// The first time of the chain at which so many pulses have come.
fn pulse_time(pulses: u64) -> Tick {
    let (seconds, rest) = (pulses / CRYSTAL_HZ, pulses % CRYSTAL_HZ);
    seconds.saturating_mul(TICKS_PER_SECOND).saturating_add((rest * TICKS_PER_SECOND).div_ceil(CRYSTAL_HZ))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first of a month.
fn days_to(year: u64, month: u64) -> u64 {
    let before = year - 1;
    let leaps = before / 4 - before / 100 + before / 400;
    let months: u64 = (1..month).map(|month| days_in_month(year, month)).sum();
    before * 365 + leaps + months - 719_162 // days from year 1 to 1970
}

/// Year, month and day, so many days after the beginning of 1970.
fn date_of(days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / 366;
    while days_to(year + 1, 1) <= days {
        year += 1;
    }
    let mut day = days - days_to(year, 1);
    let mut month = 1;
    while day >= days_in_month(year, month) {
        day -= days_in_month(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday, 29 February 2024, 23:59:58.
    const LEAP_NIGHT: u64 = 1_709_251_198;
    const SECOND: Tick = 1_000_000_000;

    fn read(rtc: &mut Mc146818, index: u8, now: Tick) -> u8 {
        rtc.write8(0x70, index, now);
        rtc.read8(0x71, now)
    }

    fn write(rtc: &mut Mc146818, index: u8, value: u8, now: Tick) {
        rtc.write8(0x70, index, now);
        rtc.write8(0x71, value, now);
    }

    fn all(rtc: &mut Mc146818, now: Tick) -> [u8; 8] {
        [0x32, 9, 8, 7, 6, 4, 2, 0].map(|index| read(rtc, index, now))
    }

    #[test]
    fn a_leap_day_ends_at_midnight() {
        let mut rtc = Mc146818::new(LEAP_NIGHT, 0);
        assert_eq!(all(&mut rtc, 0), [0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x58]);
        assert_eq!(all(&mut rtc, 2 * SECOND), [0x20, 0x24, 0x03, 0x01, 6, 0x00, 0x00, 0x00]);
    }

    #[test]
    fn the_century_turns() {
        let mut rtc = Mc146818::new(946_684_799, 0); // 31 December 1999, 23:59:59
        assert_eq!(all(&mut rtc, 0)[..4], [0x19, 0x99, 0x12, 0x31]);
        assert_eq!(all(&mut rtc, SECOND)[..4], [0x20, 0x00, 0x01, 0x01]);
    }

    #[test]
    fn binary_and_12_hours_are_how_the_registers_say() {
        let mut rtc = Mc146818::new(LEAP_NIGHT, 0);
        write(&mut rtc, 0x0b, 0x84, 0); // SET, binary, 12 hours
        write(&mut rtc, 4, 0x80 | 11, 0);
        write(&mut rtc, 2, 59, 0);
        write(&mut rtc, 0, 59, 0);
        write(&mut rtc, 7, 29, 0);
        write(&mut rtc, 9, 24, 0);
        write(&mut rtc, 0x32, 20, 0);
        write(&mut rtc, 0x0b, 0x04, 0);
        assert_eq!(all(&mut rtc, SECOND), [20, 24, 3, 1, 6, 12, 0, 0], "12 am is midnight");
    }

    #[test]
    fn uip_is_up_before_the_update_and_down_after() {
        let mut rtc = Mc146818::new(0, 0);
        let at = |rtc: &mut Mc146818, now| read(rtc, 0x0a, now) & 0x80;
        assert_eq!(at(&mut rtc, SECOND - 2_228_001), 0);
        assert_eq!(at(&mut rtc, SECOND - 2_228_000), 0x80);
        assert_eq!(at(&mut rtc, SECOND - 1), 0x80);
        assert_eq!(at(&mut rtc, SECOND), 0);
    }

    #[test]
    fn set_stops_updates() {
        let mut rtc = Mc146818::new(LEAP_NIGHT, 0);
        write(&mut rtc, 0x0b, 0x82, 0);
        assert_eq!(read(&mut rtc, 0, 10 * SECOND), 0x58);
        assert_eq!(read(&mut rtc, 0x0a, 11 * SECOND - 1) & 0x80, 0);
    }

    #[test]
    fn the_periodic_interrupt_comes_1024_times_a_second() {
        let mut rtc = Mc146818::new(0, 0);
        write(&mut rtc, 0x0b, 0x42, 0);
        let mut count = 0;
        while rtc.next_event() <= SECOND {
            let now = rtc.next_event();
            rtc.advance(now);
            assert!(rtc.irq());
            assert_eq!(read(&mut rtc, 0x0c, now) & 0xc0, 0xc0);
            assert!(!rtc.irq());
            count += 1;
        }
        assert_eq!(count, 1024);
    }

    #[test]
    fn the_rates_of_table_5() {
        for (rate, hertz) in [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)] {
            let mut rtc = Mc146818::new(0, 0);
            write(&mut rtc, 0x0a, 0x20 | rate, 0);
            write(&mut rtc, 0x0b, 0x42, 0);
            assert_eq!(rtc.next_event(), SECOND.div_ceil(hertz), "rate {rate}");
        }
    }

    #[test]
    fn the_alarm_matches_its_time_and_any() {
        let mut rtc = Mc146818::new(LEAP_NIGHT, 0);
        for (index, value) in [(1, 0x01), (3, 0xff), (5, 0x00)] {
            write(&mut rtc, index, value, 0);
        }
        write(&mut rtc, 0x0b, 0x22, 0);
        rtc.advance(2 * SECOND);
        assert!(!rtc.irq());
        rtc.advance(rtc.next_event());
        assert!(rtc.irq());
        assert_eq!(read(&mut rtc, 0x0c, 3 * SECOND) & 0xa0, 0xa0);
    }

    #[test]
    fn flags_are_set_without_their_enables() {
        let mut rtc = Mc146818::new(0, 0);
        assert_eq!(rtc.next_event(), NEVER);
        assert_eq!(read(&mut rtc, 0x0c, 90_000 * SECOND), 0x70, "PF, AF (00:00:00) and UF, but no IRQF");
        assert_eq!(read(&mut rtc, 0x0c, 90_000 * SECOND), 0);
    }

    #[test]
    fn the_first_update_after_a_divider_reset_comes_after_half_a_second() {
        let mut rtc = Mc146818::new(LEAP_NIGHT, 0);
        write(&mut rtc, 0x0a, 0x70, 0);
        let start = 5 * SECOND + 123_456_789;
        write(&mut rtc, 0x0a, 0x26, start);
        assert_eq!(read(&mut rtc, 0, start + SECOND / 2 - 1), 0x58);
        assert_eq!(read(&mut rtc, 0, start + SECOND / 2), 0x59);
    }

    #[test]
    fn register_d_is_read_only_and_valid() {
        let mut rtc = Mc146818::new(0, 0);
        write(&mut rtc, 0x0d, 0, 0);
        assert_eq!(read(&mut rtc, 0x0d, 0), 0x80);
    }
}
