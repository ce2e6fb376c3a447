//! Which processors have nothing to do, as one that spins has to know: PAUSE gives its turn away only to somebody who
//! would do something with it.

use super::monitor::Monitor;
use super::{Cpu, eflags};

/// A processor whose last turn ended with nothing to do.
#[derive(Clone, Copy, Debug)]
struct Sleeper {
    /// An interrupt wakes it.
    interruptible: bool,
    /// What it waits for with MWAIT.
    monitor: Monitor,
}

/// By number of processor; those that are not here are awake.
#[derive(Debug, Default)]
pub struct Sleepers(Vec<Option<Sleeper>>);

impl Sleepers {
    /// Somebody from outside may have changed any of them.
    pub fn wake(&mut self) {
        self.0.clear();
    }
}

impl Cpu {
    /// Notes whether its turn ended with nothing to do.
    pub fn note_sleep(&mut self, asleep: bool) {
        let number = self.number;
        let interruptible = self.flags.system() & eflags::IF != 0 && !self.wait_for_sipi;
        let sleeper = Sleeper { interruptible, monitor: self.monitor };
        // What ends the sleep of a guest of its own is not looked at here.
        let asleep = asleep && !self.vmx.non_root;
        let sleepers = &mut self.system_mut().sleepers.0;
        if asleep && sleepers.len() <= number {
            sleepers.resize(number + 1, None);
        }
        if let Some(place) = sleepers.get_mut(number) {
            *place = asleep.then_some(sleeper);
        }
    }

    /// Would every other processor end its turn at once and sleep on?
    pub fn others_sleep(&self) -> bool {
        let (system, now) = (self.system(), self.now());
        (0..self.processors).filter(|&number| number != self.number).all(|number| {
            system.sleepers.0.get(number).copied().flatten().is_some_and(|sleeper| {
                let interrupted = sleeper.interruptible && system.bus.intr(number);
                !interrupted
                    && !system.bus.has_signals(number)
                    && !sleeper.monitor.has_ended(number, system, now)
            })
        })
    }
}
