//! The timer of a local APIC: one-shot, periodic, and TSC deadline.
//!
//! Manual: SDM 3A, "APIC Timer", "TSC-Deadline Mode".
//! The bus clock behind the divider runs at 1 GHz, the TSC as well, so a pulse before the divider, a count of
//! the TSC and a tick are the same.

use emu_core::bus::{NEVER, Tick};

/// Timer mode, bits 18:17 of its LVT entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimerMode {
    /// Counts down once.
    #[default]
    OneShot,
    /// Counts down again and again.
    Periodic,
    /// Waits for a value of the TSC.
    TscDeadline,
    /// The reserved code: nothing runs.
    Reserved,
}

impl TimerMode {
    /// Decodes an LVT entry.
    pub fn of(lvt: u32) -> Self {
        match lvt >> 17 & 3 {
            0 => Self::OneShot,
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::Reserved,
        }
    }
}

/// The timer, without its LVT entry.
#[derive(Clone, Debug, PartialEq)]
pub struct ApicTimer {
    mode: TimerMode,
    /// Initial-count register.
    initial: u32,
    /// Divide-configuration register.
    divide: u32,
    /// When the count reaches 0, or the deadline comes.
    expiry: Tick,
}

impl Default for ApicTimer {
    fn default() -> Self {
        Self { mode: TimerMode::OneShot, initial: 0, divide: 0, expiry: NEVER }
    }
}

impl ApicTimer {
    /// Initial-count register.
    pub fn initial(&self) -> u32 {
        self.initial
    }

    /// Divide-configuration register.
    pub fn divide(&self) -> u32 {
        self.divide
    }

    /// When it expires next.
    pub fn expiry(&self) -> Tick {
        self.expiry
    }

    /// Pulses for one count: 2, 4, ... 128, 1.
    fn divisor(&self) -> u64 {
        let code = self.divide & 3 | (self.divide & 8) >> 1;
        1 << ((code + 1) & 7)
    }

    /// Current-count register. Only right after [`expire`](Self::expire) with the same time.
    pub fn current(&self, now: Tick) -> u32 {
        match self.mode {
            TimerMode::OneShot | TimerMode::Periodic if self.expiry != NEVER => {
                (self.expiry - now).div_ceil(self.divisor()) as u32
            }
            _ => 0,
        }
    }

    /// True when it has expired since the last call; a periodic timer has started again.
    pub fn expire(&mut self, now: Tick) -> bool {
        if self.expiry > now {
            return false;
        }
        let period = u64::from(self.initial) * self.divisor();
        self.expiry = if self.mode == TimerMode::Periodic && period != 0 {
            let periods = (now - self.expiry) / period + 1;
            self.expiry.saturating_add(periods.saturating_mul(period))
        } else {
            NEVER
        };
        true
    }

    /// Writes the initial-count register: starts, or stops with 0.
    pub fn set_initial(&mut self, count: u32, now: Tick) {
        if self.mode == TimerMode::TscDeadline {
            return; // "writes to the initial-count register are ignored"
        }
        self.initial = count;
        self.start(count, now);
    }

    fn start(&mut self, count: u32, now: Tick) {
        let pulses = u64::from(count) * self.divisor();
        self.expiry =
            if count == 0 || self.mode == TimerMode::Reserved { NEVER } else { now.saturating_add(pulses) };
    }

    /// Writes the divide-configuration register; a running count goes on from where it is.
    pub fn set_divide(&mut self, value: u32, now: Tick) {
        let count = self.current(now);
        self.divide = value & 0xb;
        if count != 0 {
            self.start(count, now);
        }
    }

    /// Changes the mode. To and from TSC-deadline mode disarms.
    pub fn set_mode(&mut self, mode: TimerMode) {
        let counts = |mode| matches!(mode, TimerMode::OneShot | TimerMode::Periodic);
        if mode != self.mode && !(counts(mode) && counts(self.mode)) {
            self.expiry = NEVER;
        }
        self.mode = mode;
    }

    /// IA32_TSC_DEADLINE.
    pub fn deadline(&self) -> u64 {
        if self.mode == TimerMode::TscDeadline && self.expiry != NEVER { self.expiry } else { 0 }
    }

    /// Writes IA32_TSC_DEADLINE: arms, or disarms with 0. Ignored in the other modes.
    pub fn set_deadline(&mut self, value: u64) {
        if self.mode == TimerMode::TscDeadline {
            self.expiry = if value == 0 { NEVER } else { value };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divide_codes_are_those_of_figure_divide_configuration() {
        for (code, divisor) in [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)] {
            let mut timer = ApicTimer::default();
            timer.set_divide(code, 0);
            timer.set_initial(10, 100);
            assert_eq!(timer.expiry(), 100 + 10 * divisor, "code {code}");
        }
    }

    #[test]
    fn one_shot_counts_down_once() {
        let mut timer = ApicTimer::default();
        timer.set_initial(100, 0); // divided by two
        assert!(!timer.expire(50));
        assert_eq!(timer.current(50), 75);
        assert!(timer.expire(200));
        assert_eq!((timer.current(200), timer.expiry()), (0, NEVER));
    }

    #[test]
    fn periodic_keeps_its_grid_after_a_late_look() {
        let mut timer = ApicTimer::default();
        timer.set_divide(11, 0);
        timer.set_mode(TimerMode::Periodic);
        timer.set_initial(100, 0);
        assert!(timer.expire(350));
        assert_eq!((timer.expiry(), timer.current(350)), (400, 50));
    }

    #[test]
    fn a_new_divisor_keeps_the_count() {
        let mut timer = ApicTimer::default();
        timer.set_initial(100, 0);
        timer.set_divide(1, 100); // 50 left, now divided by four
        assert_eq!(timer.expiry(), 300);
    }

    #[test]
    fn a_deadline_disarms_itself_and_needs_its_mode() {
        let mut timer = ApicTimer::default();
        timer.set_deadline(500);
        assert_eq!(timer.deadline(), 0);
        timer.set_mode(TimerMode::TscDeadline);
        timer.set_deadline(500);
        timer.set_initial(7, 0);
        assert_eq!(timer.deadline(), 500);
        assert!(timer.expire(500));
        assert_eq!(timer.deadline(), 0);
    }
}
