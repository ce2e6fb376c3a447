//! `emu bench`: guest workloads as whole processes on our engines, on the host and on other emulators.

mod compare;
mod document;

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::Args;
use emu_bench::builds;
use emu_bench::chart;
use emu_bench::curves;
use emu_bench::document::Section;
use emu_bench::engine::Engine;
use emu_bench::error::Error;
use emu_bench::guest::Guest;
use emu_bench::measure::{self, Plan};
use emu_bench::report::{Clock, Report};
use emu_bench::table;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use self::compare::{Earlier, compared, quick_rows};
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

    /// Of native, interp, jit, qemu and bochs, in place of all that there are; bochs takes minutes to boot
    /// Linux, so there it takes part only when it is named
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub engines: Vec<String>,

    /// Of linux64, linux32 and kernel, the bundled one
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_value = "linux64,kernel")]
    pub guests: Vec<String>,

    /// Another build of emu, to run in turn with this one
    #[arg(long, value_name = "FILE")]
    pub other: Option<PathBuf>,

    /// Processes of each engine, and so samples of each workload [default: 7]
    #[arg(long, value_name = "N")]
    pub rounds: Option<NonZeroUsize>,

    /// One round with short samples; with --compare, four and without the interpreter in Linux guests
    #[arg(long)]
    pub quick: bool,

    /// Count time on the wall, not the process's processor time
    #[arg(long)]
    pub elapsed: bool,

    /// Write all samples to FILE
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Draw ratios to native as bars into FILE
    #[arg(long, value_name = "FILE.svg")]
    pub svg: Option<PathBuf>,

    /// Say what changed beyond noise since FILE was written by --json
    #[arg(long, value_name = "OLD.json")]
    pub compare: Option<PathBuf>,

    /// Draw cost curves as SVG files into FOLDER, in place of the workloads
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["only", "guests", "json", "svg", "compare", "quick"])]
    pub curves: Option<PathBuf>,

    /// Measure all guests and all curves, and fill the sections of FILE, with pictures in the folder images beside it
    #[arg(long, value_name = "FILE.md", conflicts_with_all = ["only", "guests", "other", "json", "svg", "compare", "quick", "curves"])]
    pub document: Option<PathBuf>,

    /// List the workloads
    #[arg(long)]
    pub list: bool,
}

/// Rounds of curves and documents without `--rounds`.
const CURVE_ROUNDS: usize = 3;
/// Rounds of `--quick` in turn with an earlier build, where a change that seems to be one is looked at again.
const QUICK_PAIRS: usize = 4;
/// Rounds without `--rounds`: the fewest that tell a change from chance also when a sample is spoilt.
const ROUNDS: usize = 7;

/// Measures and prints a table.
///
/// # Errors
/// Wrong usage, something that the host could not do, or a wrong answer of a guest.
pub fn run(args: &BenchArgs) -> Result<Outcome> {
    if args.list {
        return list();
    }
    if let Some(name) = args.only.iter().find(|name| !known(name)) {
        usage!("--only {name}: expected a workload; --list shows them");
    }
    let emu = std::env::current_exe().context("the path of this program")?;
    let cache = measure::cache(&emu);
    let guests = guests(args)?;
    let linux = guests.iter().any(|guest| *guest != Guest::Kernel);
    let old = args.compare.as_deref().map(Report::read).transpose().context("--compare")?;
    let earlier = old.as_ref().and_then(|old| Earlier::find(old, &cache));
    let mut engines = engines(args, earlier.as_ref())?;
    // What a later build is held against, if this one should not be kept.
    let basis = args.json.is_some() || (args.compare.is_some() && earlier.is_none());
    if basis && linux && !engines.contains(&Engine::Native) && Engine::Native.missing().is_none() {
        report!("native takes part, since comparisons count in its seconds");
        engines.insert(0, Engine::Native);
    }
    if args.svg.is_some() && !(linux && engines.contains(&Engine::Native)) {
        usage!("--svg: expected native among the engines, and a Linux guest");
    }
    let clock = if args.elapsed { Clock::Elapsed } else { Clock::Processor };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals")?;
    }
    if let Some(file) = &args.document {
        let rounds = args.rounds.map_or(CURVE_ROUNDS, NonZeroUsize::get);
        return document::fill(file, &emu, engines, rounds, clock, &stop);
    }
    if let Some(folder) = &args.curves {
        let rounds = args.rounds.map_or(CURVE_ROUNDS, NonZeroUsize::get);
        let plan = curves::Plan {
            emu,
            cache,
            engines,
            folder: folder.clone(),
            only: Vec::new(),
            link: None,
            rounds,
            clock,
        };
        let bar = bar();
        let drawn = curves::draw(&plan, &bar, &stop);
        bar.finish_and_clear();
        let text =
            |sections: Vec<Section>| sections.into_iter().map(|section| section.text).collect::<String>();
        return stopped(drawn)?.map_or(Ok(Outcome::Signal(SIGINT)), |sections| print(&text(sections)));
    }
    let mut outputs = Outputs::default();
    args.compare.iter().for_each(|path| outputs.reads(path));
    let json = args.json.as_ref().map(|path| outputs.open("--json", path)).transpose()?;
    let svg = args.svg.as_ref().map(|path| outputs.open("--svg", path)).transpose()?;
    let rounds = match (args.quick, &earlier) {
        (false, _) => ROUNDS,
        (true, None) => 1,
        (true, Some(_)) => QUICK_PAIRS,
    };
    let plan = Plan {
        cache,
        emu,
        patient: !args.engines.is_empty(),
        only: args.only.clone(),
        earlier: earlier.is_some().then(|| old.clone()).flatten(),
        rows: (args.quick && earlier.is_some()).then(|| quick_rows(&guests, &engines)),
        guests,
        engines,
        rounds: args.rounds.map_or(rounds, NonZeroUsize::get),
        target: if args.quick { 0.05 } else { 0.3 },
    };
    let host = info::cpu_brand().unwrap_or_else(|| "unknown".into());
    let mut result = Report::new(env!("CARGO_PKG_VERSION"), host, clock);
    if json.is_some() {
        match builds::keep(&plan.cache, &plan.emu) {
            Ok(name) => result.build = Some(name),
            Err(error) => report!("--compare will not have this build to run in turn with: {error}"),
        }
    }
    let bar = bar();
    let measured = measure::measure(&plan, &mut result, &bar, &stop);
    bar.finish_and_clear();
    // Files that were there already lose nothing to a measurement that came to nothing.
    if !result.results.is_empty() {
        outputs.keep()?;
        if let Some(mut file) = json {
            file.write_all(result.json().as_bytes()).context("--json: it cannot be written")?;
        }
        if let Some(mut file) = svg {
            let picture = plan.guests.iter().find_map(|guest| chart::bars(&result, *guest));
            file.write_all(picture.unwrap_or_default().as_bytes()).context("--svg: it cannot be written")?;
        }
    }
    let mut complete = stopped(measured)?.is_some();
    if !complete {
        report!("stopped: this is what was measured until then");
    }
    let mut text = table::render(&result);
    if let (Some(old), true) = (&old, complete) {
        match compared(old, &result, &plan, earlier.as_ref(), &stop)? {
            Some(words) => text += &words,
            None => complete = false,
        }
    }
    let printed = print(&text)?;
    Ok(if complete { printed } else { Outcome::Signal(SIGINT) })
}

/// Prints the workloads of each guest.
fn list() -> Result<Outcome> {
    let mut text = String::new();
    for (names, guest) in [("linux64, linux32", Guest::Linux64), ("kernel", Guest::Kernel)] {
        text += &format!("in {names}:\n");
        for workload in guest.workloads() {
            text += &format!("  {:18} {}\n", workload.name, workload.about);
        }
    }
    print(&text)
}

/// Nothing when the user stopped it.
fn stopped<T>(result: std::result::Result<T, Error>) -> Result<Option<T>> {
    match result {
        Err(Error::Stopped) => Ok(None),
        other => Ok(Some(other?)),
    }
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

/// True when a guest has a workload of this name.
fn known(name: &str) -> bool {
    Guest::ALL.iter().any(|guest| guest.workloads().iter().any(|workload| workload.name == name))
}

fn guests(args: &BenchArgs) -> Result<Vec<Guest>> {
    let mut chosen = Vec::new();
    for name in &args.guests {
        match Guest::ALL.into_iter().find(|guest| guest.name() == name) {
            Some(guest) => chosen.push(guest),
            None => usage!("--guests {name}: expected linux64, linux32 or kernel"),
        }
    }
    Ok(chosen)
}

/// The engines that are named; or all that there are, saying which are not. In turn with an earlier build, ours are
/// enough; its own follow them.
fn engines(args: &BenchArgs, earlier: Option<&Earlier>) -> Result<Vec<Engine>> {
    let all = [Engine::Native, Engine::Interp, Engine::Jit, Engine::Qemu, Engine::Bochs];
    let mut chosen = Vec::new();
    if let (true, Some(earlier)) = (args.engines.is_empty(), earlier) {
        chosen.clone_from(&earlier.engines);
    } else if args.engines.is_empty() {
        for engine in &all {
            match engine.missing() {
                Some(why) => report!("without {}: {why}", engine.name()),
                None => chosen.push(engine.clone()),
            }
        }
    }
    for name in &args.engines {
        let Some(engine) = all.iter().find(|engine| engine.name() == name) else {
            usage!("--engines {name}: expected native, interp, jit, qemu or bochs");
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
    Ok(match earlier {
        Some(earlier) => earlier.twins(chosen),
        None => chosen,
    })
}
