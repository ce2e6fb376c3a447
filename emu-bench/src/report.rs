//! What was measured, as it is kept in a JSON file.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::Error;
use crate::guest::{Booted, Guest};
use crate::peer::Time;
use crate::statistics::median;
use crate::workload::{Class, Workload};

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
    /// The [name of the build](crate::builds::name) that ran, if it is kept.
    #[serde(default)]
    pub build: Option<String>,
    /// What Linux guests booted.
    #[serde(default)]
    pub booted: Vec<Booted>,
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

    /// An engine's samples, each of so many units, to add to.
    pub(crate) fn samples_of(&mut self, engine: &str, units: u64) -> &mut Vec<Time> {
        let at = self.engines.iter().position(|samples| samples.engine == engine).unwrap_or_else(|| {
            self.engines.push(Samples { engine: engine.into(), units, seconds: Vec::new() });
            self.engines.len() - 1
        });
        &mut self.engines[at].seconds
    }

    /// An engine's median time for a unit.
    pub fn median(&self, engine: &str, clock: Clock) -> Option<f64> {
        self.samples(engine).map(|samples| median(&samples.by(clock)))
    }

    /// How many times as long one engine took as another, pair by pair; empty when one has no samples.
    pub fn ratios(&self, engine: &str, to: &str, clock: Clock) -> Vec<f64> {
        let (Some(above), Some(below)) = (self.samples(engine), self.samples(to)) else { return Vec::new() };
        let pairs = above.by(clock).into_iter().zip(below.by(clock));
        pairs
            .filter(|(above, below)| *above > 0.0 && *below > 0.0)
            .map(|(above, below)| above / below)
            .collect()
    }

    /// The median of these ratios.
    pub fn ratio(&self, engine: &str, to: &str, clock: Clock) -> Option<f64> {
        let ratios = self.ratios(engine, to, clock);
        (!ratios.is_empty()).then(|| median(&ratios))
    }
}

impl Report {
    /// An empty one.
    pub fn new(emu: &str, host: String, clock: Clock) -> Self {
        Self {
            version: VERSION,
            emu: emu.into(),
            host,
            clock,
            build: None,
            booted: Vec::new(),
            results: Vec::new(),
        }
    }

    /// The results of a workload, to add to.
    pub(crate) fn row(&mut self, guest: Guest, workload: &Workload) -> &mut Measured {
        let same = |result: &Measured| result.guest == guest && result.workload == workload.name;
        let at = self.results.iter().position(same).unwrap_or_else(|| {
            let (workload, class) = (workload.name.into(), workload.class);
            self.results.push(Measured { guest, workload, class, engines: Vec::new() });
            self.results.len() - 1
        });
        &mut self.results[at]
    }

    /// True when it has samples of this engine for a workload.
    pub fn has(&self, guest: Guest, workload: &str, engine: &str) -> bool {
        self.results.iter().any(|result| {
            result.guest == guest && result.workload == workload && result.samples(engine).is_some()
        })
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
