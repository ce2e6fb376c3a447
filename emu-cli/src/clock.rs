//! Guest time from the host's clock.

use std::time::{Duration, Instant};

use emu_core::bus::Tick;

/// The longest step that guest time takes at once. Whatever kept us away for longer (a stopped process, a sleeping
/// laptop) is not the guest's affair: for it, that time did not pass.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// The longest that the main loop sleeps at once; well below [`LONGEST_STEP`].
pub const LONGEST_SLEEP: Duration = Duration::from_millis(250);

/// Counts host time while the guest runs.
#[derive(Debug)]
pub struct HostClock {
    guest: Duration,
    last: Instant,
}

impl HostClock {
    /// Starts at zero.
    pub fn start() -> Self {
        Self { guest: Duration::ZERO, last: Instant::now() }
    }

    /// Guest time.
    pub fn now(&mut self) -> Tick {
        self.at(Instant::now())
    }

    fn at(&mut self, now: Instant) -> Tick {
        self.guest += now.saturating_duration_since(self.last).min(LONGEST_STEP);
        self.last = now;
        self.guest.as_nanos() as Tick
    }

    /// Goes on from here: the time since the last look does not count.
    pub fn skip(&mut self) {
        self.last = Instant::now();
    }
}

/// Instructions between two looks at the clock in host time, where the guest's moves only then: as many as take about
/// [`Pace::TIME`], whether the guest copies memory or talks to chips.
#[derive(Debug)]
pub struct Pace(u64);

impl Pace {
    /// What a slice should take.
    const TIME: Duration = Duration::from_micros(100);
    /// Instructions of the shortest and of the longest slice.
    const RANGE: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;

    /// For a guest of which nothing is known.
    pub fn start() -> Self {
        Self(20_000)
    }

    /// Instructions of the next slice.
    pub fn length(&self) -> u64 {
        self.0
    }

    /// Learns from a slice: instructions, and what they took.
    pub fn learn(&mut self, instructions: u64, took: Duration) {
        if instructions < self.0 {
            // The guest waits, or something else stopped it.
            return;
        }
        let wanted = u128::from(instructions) * Self::TIME.as_nanos() / took.as_nanos().max(1);
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX).clamp(self.0 / 2, self.0 * 2);
        self.0 = wanted.clamp(*Self::RANGE.start(), *Self::RANGE.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_take_about_as_long_whatever_the_guest_does() {
        let mut pace = Pace::start();
        for (nanoseconds, length) in [(0.05, 1_000_000), (2.0, 50_000), (30.0, 3_333), (1000.0, 1_000)] {
            for _ in 0..20 {
                pace.learn(pace.length(), Duration::from_nanos((pace.length() as f64 * nanoseconds) as u64));
            }
            assert!(pace.length().abs_diff(length) <= length / 100, "{nanoseconds}: {}", pace.length());
        }
        pace.learn(pace.length() - 1, Duration::ZERO);
        assert_eq!(pace.length(), 1_000, "a guest that waits teaches nothing");
    }

    #[test]
    fn time_follows_the_host_but_leaps_are_cut() {
        let mut clock = HostClock::start();
        let start = clock.last;
        assert_eq!(clock.at(start + Duration::from_millis(5)), 5_000_000);
        assert_eq!(clock.at(start + Duration::from_millis(250)), 250_000_000);
        assert_eq!(clock.at(start + Duration::from_secs(3600)), 1_250_000_000);
        assert_eq!(clock.at(start + Duration::from_secs(3601)), 2_250_000_000);
    }
}
