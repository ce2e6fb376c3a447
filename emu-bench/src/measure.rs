//! Measuring: rounds of fresh processes, in which engines take turns at each workload.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use indicatif::ProgressBar;

use crate::engine::{EARLIER, Engine, Hardware};
use crate::error::Error;
use crate::guest::{Files, Guest};
use crate::peer::{Answer, Peer, Time};
use crate::report::{Measured, Report};
use crate::workload::{BOOT, Workload};

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
    /// What the engines of an earlier build run, if they take part: what is in this report, on what it booted.
    pub earlier: Option<Report>,
    /// These rows of the whole, or none for all.
    pub rows: Option<Vec<Row>>,
    /// Fresh processes for each engine, and samples for each workload.
    pub rounds: usize,
    /// About how many seconds one sample takes.
    pub target: f64,
}

/// One workload on one of our engines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The guest.
    pub guest: Guest,
    /// The workload's name.
    pub workload: String,
    /// The engine's name.
    pub engine: &'static str,
}

impl Plan {
    /// True when this workload is measured on this engine.
    fn wants(&self, guest: Guest, workload: &str, engine: &Engine) -> bool {
        let possible = match engine {
            // The bundled kernel's programs do not run on the host.
            Engine::Native => guest != Guest::Kernel,
            Engine::Bochs => guest == Guest::Kernel || self.patient,
            _ => true,
        };
        let name = engine.name();
        let today = name.strip_prefix(EARLIER).unwrap_or(name);
        let was = |report: &Report| report.has(guest, workload, today);
        let row = |row: &Row| row.guest == guest && row.workload == workload && row.engine == today;
        possible
            && (self.only.is_empty() || self.only.iter().any(|only| only == workload))
            && (name == today || self.earlier.as_ref().is_some_and(was))
            && self.rows.as_ref().is_none_or(|rows| rows.iter().any(row))
    }

    fn workloads(&self, guest: Guest) -> impl Iterator<Item = &'static Workload> {
        guest.workloads().iter().filter(move |workload| {
            self.engines.iter().any(|engine| self.wants(guest, workload.name, engine))
        })
    }

    /// The engines that have something to do in this guest.
    fn engines(&self, guest: Guest) -> impl Iterator<Item = &Engine> {
        self.engines.iter().filter(move |engine| {
            guest.workloads().iter().any(|workload| self.wants(guest, workload.name, engine))
        })
    }

    /// Samples of one round.
    fn steps(&self, guest: Guest) -> usize {
        let engines = |workload: &Workload| {
            self.engines.iter().filter(|engine| self.wants(guest, workload.name, engine)).count()
        };
        guest.workloads().iter().map(engines).sum()
    }
}

/// How often each of two builds tries a sample, in turn, so that what other work of the host spoils is seldom both.
const GOES: usize = 2;
/// Most units in a sample.
const MOST_UNITS: f64 = 1000.0;

/// Measures, and adds to the report what was measured.
///
/// # Errors
/// When a file is missing, a process ends, or an answer is wrong: then the whole measurement is worth nothing.
/// [`Error::Stopped`] when the user ends it: then the report has what was measured until then.
pub fn measure(plan: &Plan, report: &mut Report, bar: &ProgressBar, stop: &AtomicBool) -> Result<(), Error> {
    bar.set_length((plan.guests.iter().map(|guest| plan.steps(*guest)).sum::<usize>() * plan.rounds) as u64);
    for guest in &plan.guests {
        rounds(plan, *guest, 0..plan.rounds, report, bar, stop)?;
    }
    Ok(())
}

/// The `n`th round in each guest alone, for plans that change in between; else as [`measure`].
///
/// # Errors
/// As for it.
pub fn round(
    plan: &Plan,
    n: usize,
    report: &mut Report,
    bar: &ProgressBar,
    stop: &AtomicBool,
) -> Result<(), Error> {
    plan.guests.iter().try_for_each(|guest| rounds(plan, *guest, n..n + 1, report, bar, stop))
}

fn rounds(
    plan: &Plan,
    guest: Guest,
    which: Range<usize>,
    report: &mut Report,
    bar: &ProgressBar,
    stop: &AtomicBool,
) -> Result<(), Error> {
    if plan.workloads(guest).next().is_none() {
        return Ok(());
    }
    bar.set_message(format!("{}: files", guest.name()));
    let files = Media::new(plan, guest)?;
    if let Some(booted) = files.today.booted(guest).filter(|booted| !report.booted.contains(booted)) {
        report.booted.push(booted);
    }
    let mut work = Round { plan, guest, files, report, bar, stop };
    which.into_iter().try_for_each(|n| work.run(n))
}

/// What a guest boots from.
struct Media {
    today: Files,
    /// What an earlier build boots, when that is something else and is still there.
    earlier: Option<Files>,
}

impl Media {
    fn new(plan: &Plan, guest: Guest) -> Result<Self, Error> {
        let today = guest.files(&plan.cache)?;
        let booted = plan.earlier.as_ref().and_then(|report| {
            report
                .booted
                .iter()
                .find(|booted| booted.guest == guest && Some(*booted) != today.booted(guest).as_ref())
        });
        let there = booted.filter(|booted| booted.kernel.is_file() && booted.initrd.is_file());
        let earlier = there.map(|booted| today.earlier(booted));
        Ok(Self { today, earlier })
    }

    fn of(&self, engine: &Engine) -> &Files {
        self.earlier.as_ref().filter(|_| engine.is_earlier()).unwrap_or(&self.today)
    }
}

/// Rounds in one guest.
struct Round<'a> {
    plan: &'a Plan,
    guest: Guest,
    files: Media,
    report: &'a mut Report,
    bar: &'a ProgressBar,
    stop: &'a AtomicBool,
}

impl Round<'_> {
    /// The `n`th: fresh processes, and a sample of each workload.
    fn run(&mut self, n: usize) -> Result<(), Error> {
        let (plan, guest) = (self.plan, self.guest);
        let engines: Vec<&Engine> = plan.engines(guest).collect();
        let mut peers: Vec<Peer> = Vec::new();
        for at in turns(engines.len(), n) {
            let engine = engines[at];
            self.bar.set_message(format!("{}: boot on {}", guest.name(), engine.name()));
            let files = self.files.of(engine);
            let (peer, time) = Peer::start(engine, &plan.emu, files, &Hardware::default(), self.stop)?;
            peers.push(peer);
            if plan.wants(guest, BOOT, engine) {
                self.bar.inc(1);
                if *engine != Engine::Native
                    && let Some(boot) = guest.workloads().iter().find(|workload| workload.name == BOOT)
                {
                    self.report.row(guest, boot).samples_of(engine.name(), 1).push(time);
                }
            }
        }
        let workloads = plan.workloads(guest).filter(|workload| workload.name != BOOT);
        workloads.enumerate().try_for_each(|(at, workload)| self.workload(workload, &mut peers, n + at))
    }

    /// A sample of a workload on each engine, in the `n`th order.
    fn workload(&mut self, workload: &Workload, peers: &mut [Peer], n: usize) -> Result<(), Error> {
        let (plan, guest, count) = (self.plan, self.guest, peers.len());
        let mut expected: Option<String> = None;
        let goes = if plan.earlier.is_some() { GOES } else { 1 };
        for (go, at) in (0..goes).flat_map(|go| turns(count, n + go).map(move |at| (go, at))) {
            let peer = &mut peers[at];
            let engine = peer.engine();
            if !plan.wants(guest, workload.name, engine) {
                continue;
            }
            self.bar.set_message(format!("{}: {} on {}", guest.name(), workload.name, engine.name()));
            // The bundled kernel's commands come in one size.
            let target = (guest != Guest::Kernel).then_some(plan.target / goes as f64);
            let sum = sample(self.report.row(guest, workload), peer, target, go)?;
            self.bar.inc(u64::from(go == 0));
            // Another program may compute something else.
            let same = self.files.earlier.is_none() || !engine.is_earlier();
            let Some(sum) = sum.filter(|_| same) else { continue };
            if *expected.get_or_insert_with(|| sum.clone()) != sum {
                let (name, guest, engine) = (workload.name, guest.name(), engine.name());
                let other = expected.unwrap_or_default();
                return Err(Error::Wrong(format!(
                    "{name} in {guest}: {engine} got {sum}, another engine {other}"
                )));
            }
        }
        Ok(())
    }
}

/// The order in which so many take turns at the `n`th: another begins each time, and each second time it goes
/// backwards, so that a drift of the host's speed hits each alike.
fn turns(count: usize, n: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| {
        let at = (turn + n / 2) % count;
        if n % 2 == 1 { count - 1 - at } else { at }
    })
}

/// Takes one sample; returns the checksum, or nothing when the workload was skipped. Of several goes at one sample the
/// quickest counts.
fn sample(
    result: &mut Measured,
    peer: &mut Peer,
    target: Option<f64>,
    go: usize,
) -> Result<Option<String>, Error> {
    let name = peer.engine().name();
    let own = result.samples(name).map(|samples| samples.units);
    let units = match (own, target) {
        (_, None) => 1,
        (Some(units), _) => units,
        // Twice, as the first time everything is met for the first time.
        (None, Some(target)) => match peer.run(&result.workload, 1)? {
            Answer::Skipped(_) => return Ok(None),
            Answer::Done(_, time) => {
                let units = (target / time.processor.max(1e-6)).round().clamp(1.0, MOST_UNITS) as u64;
                // Two builds are compared by the same work.
                let twin =
                    name.strip_prefix(EARLIER).map_or_else(|| format!("{EARLIER}{name}"), str::to_owned);
                result.samples(&twin).map_or(units, |samples| samples.units)
            }
        },
    };
    match peer.run(&result.workload, units)? {
        Answer::Skipped(_) => Ok(None),
        Answer::Done(sum, time) => {
            let time =
                Time { processor: time.processor / units as f64, elapsed: time.elapsed / units as f64 };
            let samples = result.samples_of(name, units);
            match samples.last_mut() {
                Some(last) if go > 0 => {
                    last.processor = last.processor.min(time.processor);
                    last.elapsed = last.elapsed.min(time.elapsed);
                }
                _ => samples.push(time),
            }
            Ok(Some(sum))
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
