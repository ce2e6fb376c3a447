//! `emu bench`: guest workloads as whole processes on our engines, on the host and on other emulators.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::Args;
use emu_bench::engine::Engine;
use emu_bench::error::Error;
use emu_bench::guest::Guest;
use emu_bench::measure::{self, Plan};
use emu_bench::report::{Clock, Report};
use emu_bench::table;
use emu_bench::workload::{self, WORKLOADS, Workload};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::info;
use crate::outcome::{Outcome, usage};
use crate::outputs::Outputs;
use crate::say::report;

/// Options of `emu bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Workloads, separated by commas, in place of all
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Of native, interp, jit and qemu, in place of all that there are
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub engines: Vec<String>,

    /// Of linux64 and linux32
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "linux64")]
    pub guests: Vec<String>,

    /// Another build of emu, to run in turn with this one
    #[arg(long, value_name = "FILE")]
    pub other: Option<PathBuf>,

    /// Processes of each engine, and so samples of each workload [default: 5]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,

    /// One round with short samples
    #[arg(long)]
    pub quick: bool,

    /// Count time on the wall, not the process's processor time
    #[arg(long)]
    pub elapsed: bool,

    /// Write all samples to FILE
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// List the workloads
    #[arg(long)]
    pub list: bool,
}

/// RAM of the guests, in megabytes.
const MEMORY: u64 = 256;

/// Measures and prints a table.
///
/// # Errors
/// Wrong usage, something that the host could not do, or a wrong answer of a guest.
pub fn run(args: &BenchArgs) -> Result<Outcome> {
    if args.list {
        return print(&WORKLOADS.iter().map(|w| format!("{:14} {}\n", w.name, w.about)).collect::<String>());
    }
    let workloads = workloads(args)?;
    let guests = guests(args)?;
    let engines = engines(args)?;
    let mut outputs = Outputs::default();
    let json = args.json.as_ref().map(|path| outputs.open("--json", path)).transpose()?;
    outputs.keep()?;
    let emu = std::env::current_exe().context("the path of this program")?;
    let plan = Plan {
        cache: measure::cache(&emu),
        emu,
        guests,
        engines,
        workloads,
        rounds: args.rounds.unwrap_or(if args.quick { 1 } else { 5 }),
        target: if args.quick { 0.05 } else { 0.3 },
        megabytes: MEMORY,
    };
    let host = info::cpu_brand().unwrap_or_else(|| "unknown".into());
    let clock = if args.elapsed { Clock::Elapsed } else { Clock::Processor };
    let mut result = Report::new(env!("CARGO_PKG_VERSION"), host, clock);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals")?;
    }
    let bar = bar();
    let measured = measure::measure(&plan, &mut result, &bar, &stop);
    bar.finish_and_clear();
    match measured {
        Err(Error::Stopped) => return Ok(Outcome::Signal(SIGINT)),
        other => other?,
    }
    if let Some(mut file) = json {
        file.write_all(result.json().as_bytes()).context("--json: it cannot be written")?;
    }
    print(&table::render(&result))
}

fn print(text: &str) -> Result<Outcome> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Outcome::OutputClosed),
        result => result.map(|()| Outcome::Done).context("standard output"),
    }
}

fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {eta:>4} {wide_msg}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn workloads(args: &BenchArgs) -> Result<Vec<&'static Workload>> {
    if args.only.is_empty() {
        return Ok(WORKLOADS.iter().collect());
    }
    let mut chosen = Vec::new();
    for name in &args.only {
        match workload::find(name) {
            Some(workload) => chosen.push(workload),
            None => usage!("--only {name}: expected a workload; --list shows them"),
        }
    }
    Ok(chosen)
}

fn guests(args: &BenchArgs) -> Result<Vec<Guest>> {
    let mut chosen = Vec::new();
    for name in &args.guests {
        match Guest::ALL.into_iter().find(|guest| guest.name() == name) {
            Some(guest) => chosen.push(guest),
            None => usage!("--guests {name}: expected linux64 or linux32"),
        }
    }
    Ok(chosen)
}

/// The engines that are named; or all that there are, saying which are not.
fn engines(args: &BenchArgs) -> Result<Vec<Engine>> {
    let all = [Engine::Native, Engine::Interp, Engine::Jit, Engine::Qemu];
    let mut chosen = Vec::new();
    if args.engines.is_empty() {
        for engine in &all {
            match engine.missing() {
                Some(why) => report!("without {}: {why}", engine.name()),
                None => chosen.push(engine.clone()),
            }
        }
    }
    for name in &args.engines {
        let Some(engine) = all.iter().find(|engine| engine.name() == name) else {
            usage!("--engines {name}: expected native, interp, jit or qemu");
        };
        if let Some(why) = engine.missing() {
            usage!("--engines {name}: {why}");
        }
        chosen.push(engine.clone());
    }
    if let Some(path) = &args.other {
        let engine = Engine::Other(path.clone());
        if let Some(why) = engine.missing() {
            usage!("--other: {why}");
        }
        chosen.push(engine);
    }
    Ok(chosen)
}
