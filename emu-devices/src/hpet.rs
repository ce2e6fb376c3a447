//! High-precision event timer: a 64-bit up counter at 100 MHz and three comparators.
//!
//! Manual: IA-PC HPET specification 1.0a, "Register Definitions", "Theory of Operation".
//! Modelled: one-shot and periodic comparators of 64 and 32 bits, edge and level interrupts, routing to inputs 16 to 23
//! of the I/O APIC, and the legacy replacement, in which timer 0 stands for the 8254 and timer 1 for the clock.
//! Left out: interrupts by message (FSB_EN cannot be set). Registers are read in any size and written in halves or
//! whole; other writes are ignored.
//! A comparator matches when the counter equals it, as the specification says: one that was passed waits for the
//! counter to come round. An edge interrupt leaves its line high until the next one or until the timer is switched
//! off.

use emu_core::bus::{NEVER, Tick};

/// Where the registers lie, and how many bytes they take.
pub const BASE: u64 = 0xfed0_0000;
/// Bytes of registers.
pub const SIZE: u64 = 0x400;
/// Lower half of GCAP_ID: vendor 8086h, legacy replacement, a 64-bit counter, three timers, revision 1.
pub const BLOCK_ID: u32 = 0x8086_a201;

/// Number of comparators.
pub const TIMERS: usize = 3;
/// Ticks of guest time in one count, and in femtoseconds.
const PERIOD: Tick = 10;
const PERIOD_FS: u64 = 10_000_000;

const GCAP_ID: u64 = 0x000;
const GEN_CONF: u64 = 0x010;
const GINTR_STA: u64 = 0x020;
const MAIN_CNT: u64 = 0x0f0;
const TIMER_0: u64 = 0x100;
const TIMER_STRIDE: u64 = 0x20;
const TN_CONF: u64 = 0x00;
const TN_COMP: u64 = 0x08;

const ENABLE_CNF: u64 = 1 << 0;
const LEG_RT_CNF: u64 = 1 << 1;

/// TN_CONF: level-triggered, enabled, periodic, "the next comparator value counts", 32 bits.
const INT_TYPE: u64 = 1 << 1;
const INT_ENB: u64 = 1 << 2;
const TYPE: u64 = 1 << 3;
const VAL_SET: u64 = 1 << 6;
const MODE_32: u64 = 1 << 8;
const INT_ROUTE_SHIFT: u32 = 9;
const INT_ROUTE: u64 = 0x1f << INT_ROUTE_SHIFT;
const WRITABLE: u64 = INT_TYPE | INT_ENB | TYPE | VAL_SET | MODE_32 | INT_ROUTE;
/// What every timer can: periodic, 64 bits, routed to inputs 16 to 23.
const CAPABILITIES: u64 = 0x00ff_0000 << 32 | 1 << 5 | 1 << 4;

/// One comparator.
#[derive(Clone, Debug, PartialEq)]
struct Timer {
    /// TN_CONF without the capabilities.
    config: u64,
    /// TN_COMP.
    comparator: u64,
    /// What a periodic comparator moves on by.
    period: u64,
    /// When the counter equals the comparator next.
    next_match: Tick,
    /// Interrupts so far.
    rises: u64,
    /// The line is high after an edge interrupt.
    edge: bool,
}

impl Timer {
    fn new() -> Self {
        Self { config: 0, comparator: u64::MAX, period: 0, next_match: NEVER, rises: 0, edge: false }
    }

    /// The bits that count.
    fn mask(&self) -> u64 {
        if self.config & MODE_32 != 0 { u32::MAX.into() } else { u64::MAX }
    }

    /// Finds the next match from the counter's value.
    fn aim(&mut self, counter: u64, now: Tick) {
        let counts = self.comparator.wrapping_sub(counter) & self.mask();
        // A count begins at a multiple of its length.
        let begins = now - now % PERIOD;
        self.next_match =
            if counts == 0 { now } else { begins.saturating_add(counts.saturating_mul(PERIOD)) };
    }

    /// Takes the matches that have come; true when there was one.
    fn advance(&mut self, now: Tick) -> bool {
        if self.next_match > now {
            return false;
        }
        let step = match self.config & TYPE {
            0 => 0,
            _ => self.period & self.mask(),
        };
        let counts = if step != 0 { step } else { self.mask().saturating_add(1) };
        let length = counts.saturating_mul(PERIOD);
        let matches = (now - self.next_match) / length + 1;
        self.comparator = self.comparator.wrapping_add(matches.wrapping_mul(step)) & self.mask();
        self.next_match = self.next_match.saturating_add(matches.saturating_mul(length));
        true
    }
}

/// The chip.
#[derive(Clone, Debug, PartialEq)]
pub struct Hpet {
    /// GEN_CONF.
    config: u64,
    /// GINTR_STA: level-triggered interrupts that wait.
    status: u64,
    /// The counter while it stands; while it runs, what it is ahead of guest time.
    counter: u64,
    timers: [Timer; TIMERS],
}

impl Default for Hpet {
    fn default() -> Self {
        Self::new()
    }
}

impl Hpet {
    /// The chip after reset: the counter stands at 0.
    pub fn new() -> Self {
        Self { config: 0, status: 0, counter: 0, timers: std::array::from_fn(|_| Timer::new()) }
    }

    fn runs(&self) -> bool {
        self.config & ENABLE_CNF != 0
    }

    /// MAIN_CNT.
    fn count(&self, now: Tick) -> u64 {
        if self.runs() { (now / PERIOD).wrapping_add(self.counter) } else { self.counter }
    }

    /// True while timers 0 and 1 have the wires of the 8254 and of the clock.
    pub fn replaces_legacy(&self) -> bool {
        self.config & LEG_RT_CNF != 0
    }

    /// Level of a timer's interrupt output.
    pub fn line(&self, timer: usize) -> bool {
        let Timer { config, edge, .. } = self.timers[timer];
        config & INT_ENB != 0 && if config & INT_TYPE != 0 { self.status >> timer & 1 != 0 } else { edge }
    }

    /// How often a timer has interrupted. Edges that follow each other leave the line high between them.
    pub fn rises(&self, timer: usize) -> u64 {
        self.timers[timer].rises
    }

    /// The input of the I/O APIC that a timer is wired to.
    pub fn route(&self, timer: usize) -> Option<usize> {
        let input = (self.timers[timer].config & INT_ROUTE) >> INT_ROUTE_SHIFT;
        let legacy = self.replaces_legacy() && timer < 2;
        (!legacy && CAPABILITIES >> (32 + input) & 1 != 0).then_some(input as usize)
    }

    /// When a timer interrupts next.
    pub fn next_event(&self) -> Tick {
        let due =
            self.timers.iter().filter(|timer| timer.config & INT_ENB != 0).map(|timer| timer.next_match);
        if self.runs() { due.min().unwrap_or(NEVER) } else { NEVER }
    }

    /// Takes all matches up to now.
    pub fn advance(&mut self, now: Tick) {
        if !self.runs() {
            return;
        }
        for (number, timer) in self.timers.iter_mut().enumerate() {
            if timer.advance(now) && timer.config & INT_ENB != 0 {
                timer.rises = timer.rises.wrapping_add(1);
                match timer.config & INT_TYPE {
                    0 => timer.edge = true,
                    _ => self.status |= 1 << number,
                }
            }
        }
    }

    /// Finds all next matches anew.
    fn aim(&mut self, now: Tick) {
        let (counter, runs) = (self.count(now), self.runs());
        for timer in &mut self.timers {
            match runs {
                true => timer.aim(counter, now),
                false => timer.next_match = NEVER,
            }
        }
    }

    /// The timer that a register belongs to, and the register's offset among its own.
    fn timer_of(register: u64) -> Option<(usize, u64)> {
        let offset = register.checked_sub(TIMER_0)?;
        let number = (offset / TIMER_STRIDE) as usize;
        (number < TIMERS).then_some((number, offset % TIMER_STRIDE))
    }

    fn register(&self, register: u64, now: Tick) -> u64 {
        match (register, Self::timer_of(register)) {
            (GCAP_ID, _) => PERIOD_FS << 32 | u64::from(BLOCK_ID),
            (GEN_CONF, _) => self.config,
            (GINTR_STA, _) => self.status,
            (MAIN_CNT, _) => self.count(now),
            (_, Some((number, TN_CONF))) => self.timers[number].config | CAPABILITIES,
            (_, Some((number, TN_COMP))) => self.timers[number].comparator,
            _ => 0,
        }
    }

    /// Reads from the register page; zeros behind the registers.
    pub fn read(&mut self, offset: u64, size: u8, now: Tick) -> u64 {
        self.advance(now);
        let value = self.register(offset & !7, now) >> (8 * (offset & 7));
        value & u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))
    }

    /// Writes to the register page.
    pub fn write(&mut self, offset: u64, size: u8, value: u64, now: Tick) {
        if !matches!((size, offset & 7), (8, 0) | (4, 0 | 4)) {
            return;
        }
        self.advance(now);
        let shift = 8 * (offset & 7);
        let mask = u64::MAX >> (64 - 8 * u32::from(size)) << shift;
        let (register, written) = (offset & !7, value << shift & mask);
        let whole = self.register(register, now) & !mask | written;
        match (register, Self::timer_of(register)) {
            (GEN_CONF, _) => self.configure(whole & (ENABLE_CNF | LEG_RT_CNF), now),
            (GINTR_STA, _) => self.status &= !written,
            (MAIN_CNT, _) if !self.runs() => self.counter = whole,
            (_, Some((number, TN_CONF))) => {
                self.configure_timer(number, whole & WRITABLE);
                self.aim_timer(number, now);
            }
            (_, Some((number, TN_COMP))) => {
                let timer = &mut self.timers[number];
                let periodic = timer.config & TYPE != 0;
                if periodic {
                    timer.period = (timer.period & !mask | written) & timer.mask();
                }
                if !periodic || timer.config & VAL_SET != 0 {
                    timer.comparator = whole & timer.mask();
                    timer.config &= !VAL_SET;
                    self.aim_timer(number, now);
                }
            }
            _ => {}
        }
    }

    fn aim_timer(&mut self, number: usize, now: Tick) {
        let counter = self.count(now);
        if self.runs() {
            self.timers[number].aim(counter, now);
        }
    }

    fn configure(&mut self, config: u64, now: Tick) {
        let count = self.count(now);
        let changed = config ^ self.config;
        self.config = config;
        if changed & ENABLE_CNF != 0 {
            self.counter = if self.runs() { count.wrapping_sub(now / PERIOD) } else { count };
            self.aim(now);
        }
        if changed != 0 {
            // No edge stands on the wires that are connected now.
            self.timers.iter_mut().for_each(|timer| timer.edge = false);
        }
    }

    fn configure_timer(&mut self, number: usize, config: u64) {
        let timer = &mut self.timers[number];
        timer.config = config;
        timer.edge &= config & INT_ENB != 0 && config & INT_TYPE == 0;
        timer.comparator &= timer.mask();
        timer.period &= timer.mask();
        if config & INT_TYPE == 0 {
            self.status &= !(1 << number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counter running from 0 at time 0, timer 2 with this configuration and comparator.
    fn timer_2(config: u64, comparator: u64) -> Hpet {
        let mut chip = Hpet::new();
        chip.write(0x140, 8, config, 0);
        chip.write(0x148, 8, comparator, 0);
        chip.write(0x010, 8, 1, 0);
        chip
    }

    #[test]
    fn capabilities_are_readable_in_halves() {
        let mut chip = Hpet::new();
        assert_eq!(chip.read(0, 8, 0), 0x0098_9680_8086_a201);
        assert_eq!((chip.read(0, 4, 0), chip.read(4, 4, 0)), (0x8086_a201, 10_000_000));
        assert_eq!(chip.read(0x140, 8, 0), 0x00ff_0000_0000_0030);
        assert_eq!(chip.read(0x3f8, 8, 0), 0);
    }

    #[test]
    fn the_counter_runs_while_enabled_and_is_written_while_it_stands() {
        let mut chip = Hpet::new();
        chip.write(0xf0, 8, 1000, 50);
        assert_eq!(chip.read(0xf0, 8, 500), 1000);
        chip.write(0x10, 4, 1, 500);
        assert_eq!(chip.read(0xf0, 8, 1500), 1100);
        chip.write(0xf0, 8, 5, 1500);
        assert_eq!(chip.read(0xf0, 8, 1500), 1100, "a running counter is not written");
        chip.write(0x10, 4, 0, 2500);
        assert_eq!(chip.read(0xf0, 8, 9999), 1200);
        chip.write(0xf4, 4, 1, 9999);
        assert_eq!(chip.read(0xf0, 8, 9999), 1 << 32 | 1200);
    }

    #[test]
    fn one_shot_interrupts_when_the_counter_equals_the_comparator() {
        let mut chip = timer_2(INT_ENB | 20 << 9, 100);
        assert_eq!((chip.next_event(), chip.route(2)), (1000, Some(20)));
        chip.advance(999);
        assert!(!chip.line(2));
        chip.advance(1000);
        assert!(chip.line(2) && chip.rises(2) == 1);
        assert!(chip.next_event() > 1 << 60, "once");
        chip.write(0x148, 8, 50, 2000);
        assert!(chip.next_event() > 1 << 60, "a comparator that was passed waits");
    }

    #[test]
    fn a_32_bit_comparator_matches_again_when_the_counter_comes_round() {
        let chip = timer_2(INT_ENB | MODE_32, 0xffff_ffff_0000_0064);
        assert_eq!(chip.next_event(), 1000);
        let mut chip = chip;
        chip.advance(1000);
        assert_eq!(chip.next_event(), 1000 + (10 << 32));
    }

    /// As Linux sets it up: the first value with VAL_SET is the first match, the second the period.
    #[test]
    fn periodic_takes_its_first_match_and_its_period_from_two_writes() {
        let mut chip = Hpet::new();
        chip.write(0x10, 4, 1, 0);
        chip.write(0x100, 4, INT_ENB | TYPE | VAL_SET | MODE_32, 0);
        chip.write(0x108, 4, 500, 0);
        assert_eq!(chip.read(0x100, 4, 0) & VAL_SET, 0);
        chip.write(0x108, 4, 200, 0);
        assert_eq!(chip.next_event(), 5000);
        chip.advance(5000);
        assert_eq!((chip.next_event(), chip.rises(0)), (7000, 1));
        chip.advance(100_000);
        assert_eq!((chip.next_event(), chip.rises(0)), (101_000, 2), "matches that nobody saw are one");
        assert_eq!(chip.read(0x108, 4, 100_000), 10_100);
    }

    #[test]
    fn a_level_interrupt_stands_until_its_status_is_cleared() {
        let mut chip = timer_2(INT_ENB | INT_TYPE | 16 << 9, 100);
        chip.advance(1000);
        assert!(chip.line(2));
        assert_eq!(chip.read(0x20, 8, 1000), 0b100);
        chip.write(0x20, 8, 0b011, 1000);
        assert!(chip.line(2));
        chip.write(0x20, 8, 0b100, 1000);
        assert!(!chip.line(2));
    }

    #[test]
    fn legacy_replacement_takes_the_routes_of_timers_0_and_1() {
        let mut chip = timer_2(INT_ENB | 17 << 9, 100);
        chip.write(0x100, 8, INT_ENB | 16 << 9, 0);
        assert_eq!((chip.route(0), chip.route(2), chip.replaces_legacy()), (Some(16), Some(17), false));
        chip.write(0x10, 8, 3, 0);
        assert_eq!((chip.route(0), chip.route(1), chip.route(2)), (None, None, Some(17)));
        chip.write(0x140, 8, INT_ENB | 2 << 9, 0);
        assert_eq!(chip.route(2), None, "no such wire");
    }

    #[test]
    fn a_stopped_counter_has_no_events() {
        let mut chip = timer_2(INT_ENB, 100);
        chip.write(0x10, 8, 0, 500);
        assert_eq!(chip.next_event(), NEVER);
        chip.write(0x10, 8, 1, 1_000_000);
        assert_eq!(chip.next_event(), 1_000_500);
    }
}
