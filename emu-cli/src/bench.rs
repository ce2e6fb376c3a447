//! `emu bench`: guest workloads as whole processes on our engines, on the host and on other emulators.

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::Args;
use emu_bench::builds;
use emu_bench::chart;
use emu_bench::compare::{self, Change};
use emu_bench::curves;
use emu_bench::engine::Engine;
use emu_bench::error::Error;
use emu_bench::guest::Guest;
use emu_bench::measure::{self, Plan, Row};
use emu_bench::report::{Clock, Report};
use emu_bench::table;
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

    /// List the workloads
    #[arg(long)]
    pub list: bool,
}

/// The same of curves.
const CURVE_ROUNDS: usize = 3;
/// Rounds of `--quick` in turn with an earlier build: the fewest that make a change worth a second look.
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
    let old = args.compare.as_deref().map(Report::read).transpose()?;
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
    if let Some(folder) = &args.curves {
        let rounds = args.rounds.map_or(CURVE_ROUNDS, NonZeroUsize::get);
        let plan = curves::Plan { emu, cache, engines, folder: folder.clone(), rounds, clock };
        let bar = bar();
        let drawn = curves::draw(&plan, &bar, &stop);
        bar.finish_and_clear();
        return stopped(drawn)?.map_or(Ok(Outcome::Signal(SIGINT)), |text| print(&text));
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

/// The build that an earlier report was made with.
struct Earlier {
    binary: PathBuf,
    /// Those of our engines that it has.
    engines: Vec<Engine>,
}

impl Earlier {
    /// Nothing when it is not kept here.
    fn find(old: &Report, cache: &Path) -> Option<Self> {
        let binary = old.build.as_ref().and_then(|name| builds::find(cache, name))?;
        let has = |engine: &Engine| old.engines().contains(&engine.name());
        let engines: Vec<Engine> = [Engine::Interp, Engine::Jit].into_iter().filter(has).collect();
        (!engines.is_empty()).then_some(Self { binary, engines })
    }
}

/// What there is time for several times: in Linux guests the interpreter takes a minute a round.
fn quick_rows(guests: &[Guest], engines: &[Engine]) -> Vec<Row> {
    let of = |guest: Guest, engine: &'static str| {
        guest.workloads().iter().map(move |workload| Row { guest, workload: workload.name.into(), engine })
    };
    let pairs = guests.iter().flat_map(|guest| engines.iter().map(|engine| (*guest, engine)));
    let quick = pairs.filter(|(guest, engine)| *guest == Guest::Kernel || **engine != Engine::Interp);
    quick.flat_map(|(guest, engine)| of(guest, engine.name())).collect()
}

/// What changed since the earlier report, in words; nothing when the user stops it.
fn compared(
    old: &Report,
    new: &Report,
    plan: &Plan,
    earlier: Option<&Earlier>,
    stop: &AtomicBool,
) -> Result<Option<String>> {
    if earlier.is_none() {
        let (changes, untold) = compare::by_native(old, new);
        let mut text = compare::render(&changes);
        report!("the build of --compare is not kept here, so its figures count in the host's own (native)");
        if untold > 0 {
            text += &format!("{untold} without native samples on both sides: nothing is told of them\n");
        }
        return Ok(Some(text));
    }
    let mut changes = compare::in_turn(new);
    let suspects = compare::suspects(&changes);
    if !suspects.is_empty() {
        report!("{} of {} seem to have changed: a second look at them", suspects.len(), changes.len());
        let Some(()) = second_look(plan, new, &mut changes, suspects, stop)? else { return Ok(None) };
    }
    let same = builds::name(&plan.emu).ok() == old.build;
    let which = if same { "the same build" } else { "the build of --compare" };
    Ok(Some(format!("in turn with {which}:\n{}", compare::render(&changes))))
}

/// Measures those that seem to have changed until it is clear whether they did; nothing when the user stops it.
fn second_look(
    plan: &Plan,
    new: &Report,
    changes: &mut [Change],
    suspects: Vec<Row>,
    stop: &AtomicBool,
) -> Result<Option<()>> {
    let mut plan = Plan { rows: Some(suspects), ..plan.clone() };
    let mut second = Report::new(&new.emu, new.host.clone(), new.clock);
    let bar = bar();
    bar.set_length((compare::SECOND_LOOK * plan.rows.iter().flatten().count()) as u64);
    for n in 0..compare::SECOND_LOOK {
        let round = measure::round(&plan, n, &mut second, &bar, stop);
        if stopped(round)?.is_none() {
            bar.finish_and_clear();
            report!("stopped: it is not told what changed");
            return Ok(None);
        }
        let open = compare::confirm(changes, &compare::in_turn(&second), n + 1);
        if open.is_empty() {
            break;
        }
        plan.rows = Some(open);
    }
    bar.finish_and_clear();
    Ok(Some(()))
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
    if let Some(earlier) = earlier {
        let known = chosen.iter().filter(|engine| earlier.engines.contains(engine));
        let twins: Vec<Engine> = known.filter_map(|engine| engine.earlier(&earlier.binary)).collect();
        chosen.extend(twins);
        // Each beside its twin, so that little happens between their turns.
        chosen.sort_by_key(|engine| Engine::NAMES.iter().position(|name| *name == engine.name()));
    }
    Ok(chosen)
}
