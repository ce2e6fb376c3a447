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

#[cfg(test)]
mod tests {
    use super::*;

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
