//! What was measured, as it is kept in a JSON file.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::Error;
use crate::guest::Guest;
use crate::peer::Time;
use crate::statistics::median;
use crate::workload::Class;

/// The layout of the file that this version writes.
const VERSION: u32 = 1;

/// Which of the host's clocks counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// Processor time of the process, in user mode and in the kernel.
    #[default]
    Processor,
    /// Time by the clock on the wall.
    Elapsed,
}

impl Clock {
    /// This clock's time.
    pub fn of(self, time: Time) -> f64 {
        match self {
            Self::Processor => time.processor,
            Self::Elapsed => time.elapsed,
        }
    }
}

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format.
    pub version: u32,
    /// The version of emu.
    pub emu: String,
    /// The host's processor, as it calls itself.
    pub host: String,
    /// The clock that tables and comparisons use.
    pub clock: Clock,
    /// One for each guest and workload.
    pub results: Vec<Measured>,
}

/// One workload in one guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The guest.
    pub guest: Guest,
    /// The workload's name.
    pub workload: String,
    /// What it is about.
    pub class: Class,
    /// One for each engine that ran it.
    pub engines: Vec<Samples>,
    /// What a [`Yardstick`](crate::yardstick::Yardstick) took in each round, just before.
    #[serde(default)]
    pub host: Vec<Time>,
}

/// One engine's times for one unit of a workload, in the order in which they were taken: the samples of all engines
/// at one place were taken one after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Samples {
    /// The engine's name.
    pub engine: String,
    /// Units in each sample.
    pub units: u64,
    /// Seconds for one unit.
    pub seconds: Vec<Time>,
}

impl Samples {
    /// Seconds for one unit, by this clock.
    pub fn by(&self, clock: Clock) -> Vec<f64> {
        self.seconds.iter().map(|time| clock.of(*time)).collect()
    }
}

impl Measured {
    /// An engine's samples.
    pub fn samples(&self, engine: &str) -> Option<&Samples> {
        self.engines.iter().find(|samples| samples.engine == engine)
    }

    /// An engine's median time for a unit.
    pub fn median(&self, engine: &str, clock: Clock) -> Option<f64> {
        self.samples(engine).map(|samples| median(&samples.by(clock)))
    }

    /// How many times as long one engine takes as another: the median over pairs.
    pub fn ratio(&self, engine: &str, to: &str, clock: Clock) -> Option<f64> {
        let (above, below) = (self.samples(engine)?.by(clock), self.samples(to)?.by(clock));
        let pairs: Vec<f64> =
            above.iter().zip(&below).filter(|(_, b)| **b > 0.0).map(|(a, b)| a / b).collect();
        (!pairs.is_empty()).then(|| median(&pairs))
    }
}

impl Report {
    /// An empty one.
    pub fn new(emu: &str, host: String, clock: Clock) -> Self {
        Self { version: VERSION, emu: emu.into(), host, clock, results: Vec::new() }
    }

    /// The engines that occur, in the order in which they are shown.
    pub fn engines(&self) -> Vec<&'static str> {
        let occurs = |name: &str| self.results.iter().any(|result| result.samples(name).is_some());
        Engine::NAMES.into_iter().filter(|name| occurs(name)).collect()
    }

    /// Reads one from a file.
    ///
    /// # Errors
    /// When it cannot be read or was not written by this version of the program.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(Error::host(path.display()))?;
        let report: Self = serde_json::from_str(&text).map_err(|error| {
            Error::Format(format!("{}: expected a file that emu bench --json wrote: {error}", path.display()))
        })?;
        if report.version != VERSION {
            let (found, path) = (report.version, path.display());
            return Err(Error::Format(format!("{path}: expected layout {VERSION}, not {found}")));
        }
        Ok(report)
    }

    /// The file's text.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and words can be written") + "\n"
    }
}
