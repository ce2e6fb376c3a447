//! Measuring: rounds of fresh processes, in which engines take turns at each workload.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use indicatif::ProgressBar;

use crate::engine::{Engine, Hardware};
use crate::error::Error;
use crate::guest::{Files, Guest};
use crate::peer::{Answer, Peer, Time};
use crate::report::{Measured, Report, Samples};
use crate::workload::{BOOT, Workload};
use crate::yardstick::Yardstick;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Our own binary.
    pub emu: PathBuf,
    /// Where files that are fetched or made are kept.
    pub cache: PathBuf,
    /// In which guests.
    pub guests: Vec<Guest>,
    /// On which engines.
    pub engines: Vec<Engine>,
    /// Bochs takes part in Linux guests as well, where a boot takes it minutes.
    pub patient: bool,
    /// The names of the workloads, or none for all.
    pub only: Vec<String>,
    /// Fresh processes for each engine, and samples for each workload.
    pub rounds: usize,
    /// About how many seconds one sample takes.
    pub target: f64,
}

impl Plan {
    fn workloads(&self, guest: Guest) -> impl Iterator<Item = &'static Workload> {
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        guest.workloads().iter().filter(move |workload| wanted(workload.name))
    }

    /// The bundled kernel's programs do not run on the host.
    fn engines(&self, guest: Guest) -> impl Iterator<Item = &Engine> {
        self.engines.iter().filter(move |engine| match engine {
            Engine::Native => guest != Guest::Kernel,
            Engine::Bochs => guest == Guest::Kernel || self.patient,
            _ => true,
        })
    }
}

/// Most units in a sample.
const MOST_UNITS: f64 = 1000.0;

/// Measures, and adds to the report what was measured.
///
/// # Errors
/// When a file is missing, a process ends, or an answer is wrong: then the whole measurement is worth nothing.
/// [`Error::Stopped`] when the user ends it: then the report has what was measured until then.
pub fn measure(plan: &Plan, report: &mut Report, bar: &ProgressBar, stop: &AtomicBool) -> Result<(), Error> {
    let steps = |guest: &Guest| plan.workloads(*guest).count() * plan.engines(*guest).count() * plan.rounds;
    bar.set_length(plan.guests.iter().map(steps).sum::<usize>() as u64);
    for guest in &plan.guests {
        if plan.workloads(*guest).next().is_none() {
            continue;
        }
        bar.set_message(format!("{}: files", guest.name()));
        let files = guest.files(&plan.cache)?;
        let mut table = Table::new(*guest, plan);
        let rounds = (0..plan.rounds).try_for_each(|round| table.round(plan, &files, round, bar, stop));
        // What there is is kept, also when the user stops it.
        report.results.extend(table.results.into_iter().filter(|result| !result.engines.is_empty()));
        rounds?;
    }
    Ok(())
}

/// The results of one guest under way.
struct Table {
    guest: Guest,
    results: Vec<Measured>,
}

impl Table {
    fn new(guest: Guest, plan: &Plan) -> Self {
        let empty = |workload: &Workload| Measured {
            guest,
            workload: workload.name.into(),
            class: workload.class,
            engines: Vec::new(),
            host: Vec::new(),
        };
        Self { guest, results: plan.workloads(guest).map(empty).collect() }
    }

    fn round(
        &mut self,
        plan: &Plan,
        files: &Files,
        round: usize,
        bar: &ProgressBar,
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let yardstick = Yardstick::default();
        let engines: Vec<&Engine> = plan.engines(self.guest).collect();
        let mut peers: Vec<Peer> = Vec::new();
        for engine in &engines {
            bar.set_message(format!("{}: boot on {}", self.guest.name(), engine.name()));
            let (peer, time) = Peer::start(engine, &plan.emu, files, &Hardware::default(), stop)?;
            peers.push(peer);
            if **engine != Engine::Native
                && let Some(result) = self.results.iter_mut().find(|result| result.workload == BOOT)
            {
                add(result, engine.name(), 1, time);
            }
        }
        for (n, result) in self.results.iter_mut().enumerate() {
            result.host.push(yardstick.measure());
            if result.workload == BOOT {
                bar.inc(engines.len() as u64);
                continue;
            }
            let mut expected: Option<String> = None;
            for turn in 0..peers.len() {
                // Another begins each time, so that a drift of the host's speed hits each alike.
                let at = (turn + n + round) % peers.len();
                let (engine, peer) = (engines[at], &mut peers[at]);
                bar.set_message(format!("{}: {} on {}", self.guest.name(), result.workload, engine.name()));
                // The bundled kernel's commands come in one size.
                let target = (self.guest != Guest::Kernel).then_some(plan.target);
                if let Some(sum) = sample(result, engine, peer, target)?
                    && *expected.get_or_insert_with(|| sum.clone()) != sum
                {
                    let text = format!(
                        "{} in {}: {} got {sum}, another engine {}",
                        result.workload,
                        self.guest.name(),
                        engine.name(),
                        expected.unwrap_or_default()
                    );
                    return Err(Error::Wrong(text));
                }
                bar.inc(1);
            }
        }
        Ok(())
    }
}

/// Takes one sample; returns the checksum, or nothing when the workload was skipped.
fn sample(
    result: &mut Measured,
    engine: &Engine,
    peer: &mut Peer,
    target: Option<f64>,
) -> Result<Option<String>, Error> {
    let units = match (result.samples(engine.name()), target) {
        (_, None) => 1,
        (Some(samples), _) => samples.units,
        (None, Some(target)) => match peer.run(&result.workload, 1)? {
            Answer::Skipped(_) => return Ok(None),
            Answer::Done(_, time) => {
                (target / time.processor.max(1e-6)).round().clamp(1.0, MOST_UNITS) as u64
            }
        },
    };
    match peer.run(&result.workload, units)? {
        Answer::Skipped(_) => Ok(None),
        Answer::Done(sum, time) => {
            add(result, engine.name(), units, time);
            Ok(Some(sum))
        }
    }
}

fn add(result: &mut Measured, engine: &str, units: u64, time: Time) {
    let time = Time { processor: time.processor / units as f64, elapsed: time.elapsed / units as f64 };
    match result.engines.iter_mut().find(|samples| samples.engine == engine) {
        Some(samples) => samples.seconds.push(time),
        None => {
            result.engines.push(Samples { engine: engine.into(), units, seconds: vec![time] });
        }
    }
}

/// Where fetched files are kept for the binary `emu`: the folder that `EMU_CACHE` names, else in cargo's target folder
/// when the binary lies there, else in the user's cache.
pub fn cache(emu: &Path) -> PathBuf {
    let given = |name: &str| std::env::var_os(name).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let target = emu.parent().and_then(Path::parent).filter(|target| target.join("CACHEDIR.TAG").exists());
    given("EMU_CACHE")
        .or_else(|| target.map(|target| target.join("tmp").join("emu-cache")))
        .or_else(|| given("XDG_CACHE_HOME").map(|folder| folder.join("emu")))
        .or_else(|| given("HOME").map(|folder| folder.join(".cache").join("emu")))
        .unwrap_or_else(|| std::env::temp_dir().join("emu-cache"))
}
