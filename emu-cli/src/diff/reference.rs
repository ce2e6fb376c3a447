//! `emu diff run --against qemu|bochs`: our machine and another emulator in lockstep.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use emu_core::cpu::model::Model;
use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, TimeSource};
use emu_diff::bochs::trace::Trace;
use emu_diff::lockstep::follow::{Follower, Taken};
use emu_diff::lockstep::known::{self, Known};
use emu_diff::lockstep::step::{LogError, Steps};
use emu_diff::lockstep::{Answers, Counts, Found, Lockstep, Next};
use emu_diff::qemu::log::Log;
use emu_diff::qemu::survey;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::child::Reference;
use super::ending::Ending;
use super::qemu_process::{self, Depth};
use super::recipe::Recipe;
use super::{bochs_process, progress};
use crate::args::{Against, DiffRunArgs};
use crate::machine::board;
use crate::outcome::{Outcome, usage};
use crate::say::say;

/// The built-in lists of known differences.
const QEMU_KNOWN: &str = include_str!("../../../emu-diff/data/qemu-known.txt");
const BOCHS_KNOWN: &str = include_str!("../../../emu-diff/data/bochs-known.txt");
/// How long the reference gets to write more once its log is read; it fills its pipe in some milliseconds.
const PAUSE: Duration = Duration::from_millis(1);
/// Instructions between two looks at the clock and the guest's console.
const LOOK: u64 = 4096;
/// Lines of the guest's console in the summary.
const CONSOLE_LINES: usize = 3;
/// How long it may say nothing. A guest that sleeps wakes in its own time, which passes at once while it sleeps.
const SILENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
/// Lines of each list in the summary.
const LISTED: usize = 12;

/// The other machine.
#[derive(Clone, Copy, Debug)]
pub enum Peer<'a> {
    /// QEMU: the program, and how much its log says.
    Qemu(Option<&'a Path>, Depth),
    /// Bochs: the program, and every how many instructions it shows all registers.
    Bochs(Option<&'a Path>, u64),
}

impl Peer<'_> {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu(..) => "QEMU",
            Self::Bochs(..) => "Bochs",
        }
    }
}

/// What a comparison came to.
pub struct Run {
    /// What was counted.
    pub counts: Counts,
    /// Reads taken over, by address.
    taken: BTreeMap<u64, Taken>,
    /// Reads that our own board answered.
    own: BTreeMap<u64, u64>,
    groups: Groups,
    /// Why it ended.
    pub why: String,
    /// The last lines that the guest wrote to COM1.
    console: Vec<String>,
    /// What was wrong with the reference.
    pub trouble: Option<anyhow::Error>,
    /// Our machine as it is then.
    pub machine: Machine,
    reference: String,
    seconds: f64,
    /// Blocks were compared.
    blocks: bool,
    /// The signal that ended it.
    signal: Option<i32>,
}

/// Compares, and tells about it.
///
/// # Errors
/// When the reference is missing or its log ends too early, or the machine cannot be built.
pub fn compare(recipe: &Recipe, args: &DiffRunArgs) -> Result<Outcome> {
    let known = known_differences(args.against, args.known.as_deref())?;
    let peer = match args.against {
        Against::Bochs => {
            if args.blocks || args.vectors {
                usage!("--blocks and --vectors: expected --against qemu");
            }
            Peer::Bochs(args.bochs.as_deref(), args.every)
        }
        _ => Peer::Qemu(args.qemu.as_deref(), Depth { blocks: args.blocks, vectors: args.vectors }),
    };
    let mut number = 0;
    let run = lockstep(recipe, &known, peer, &mut |found, first, _| {
        if first {
            number += 1;
            tell(found, number, peer);
        }
        args.r#continue
    })?
    .without_trouble()?;
    run.tell();
    if let Some(signal) = run.signal {
        return Ok(Outcome::Signal(signal));
    }
    Ok(if run.groups.all.is_empty() { Outcome::Done } else { Outcome::Different })
}

/// Compares until the end, or until `found` does not want to go on; it gets each difference, whether that is the
/// first of its kind, and our machine.
///
/// # Errors
/// When the reference is missing, or the machine cannot be built. What goes wrong with it later is in the result.
pub fn lockstep(recipe: &Recipe, known: &[Known], peer: Peer<'_>, found: &mut OnFound<'_>) -> Result<Run> {
    match peer {
        Peer::Qemu(program, depth) => {
            let answers = if depth.blocks { survey(recipe, program)? } else { Answers::new() };
            let (child, log) = qemu_process::start(recipe, program, depth)?;
            let step = if depth.blocks { Lockstep::step_block } else { Lockstep::step };
            let mut run = drive(recipe, (known, answers), child, Log::new(Batches::of(log)), step, found)?;
            run.blocks = depth.blocks;
            Ok(run)
        }
        Peer::Bochs(program, whole) => {
            let (child, log) = bochs_process::start(recipe, program, whole)?;
            let known = (known, Answers::new());
            drive(recipe, known, child, Trace::new(Batches::of(log)), Lockstep::step, found)
        }
    }
}

/// What is done with a difference.
pub type OnFound<'a> = dyn FnMut(&Found, bool, &Machine) -> bool + 'a;

fn drive<'a, S: Steps>(
    recipe: &Recipe,
    (known, answers): (&'a [Known], Answers),
    mut child: Reference,
    log: S,
    step: impl Fn(&mut Lockstep<'a, S>) -> Result<Next, LogError>,
    found: &mut OnFound<'_>,
) -> Result<Run> {
    let mut parts = recipe.parts()?;
    let (mut pc, mem) = board(&mut parts)?;
    pc.set_disks_wait_for_host(true);
    let follower = Follower::new(Box::new(pc));
    let engine = Box::new(Interpreter::default());
    let mut machine = Machine::new(mem, Box::new(follower), engine, TimeSource::Virtual);
    machine.set_model(Model { tracks_xinuse: S::TRACKS_XINUSE, ..parts.cpu });
    let mut lockstep = Lockstep::new(log, machine, known);
    lockstep.answers = answers;
    lockstep.no_reboot = recipe.args.no_reboot;

    let ending = Ending::watch()?;
    let started = Instant::now();
    let end = recipe.args.max_insns;
    let bar = progress::count("instructions compared", end);
    let mut groups = Groups::default();
    let mut typed = false;
    let mut trouble_met = None;
    let why = loop {
        let count = lockstep.counts.instructions;
        if end.is_some_and(|end| count >= end) {
            break "--max-insns was reached".to_owned();
        }
        if lockstep.counts.compared.is_multiple_of(LOOK) {
            bar.set_position(count);
            if !typed && lockstep.machine.with_bus(|board: &mut Follower, _| board.listening) {
                typed = true;
                child.send(&recipe.input);
            }
            if recipe.args.timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
                break "--timeout was reached".to_owned();
            }
        }
        let next = step(&mut lockstep);
        if let Some(signal) = ending.signal() {
            break format!("stopped by signal {signal}");
        }
        match next {
            Ok(Next::Same) => {}
            Ok(Next::Different(what)) => {
                let first = groups.add(&what);
                if !bar.suspend(|| found(&what, first, &lockstep.machine)) {
                    break "stopped at the first difference".to_owned();
                }
            }
            Ok(Next::End(why)) => {
                if why.starts_with(child.name)
                    && let Some(trouble) = child.finish()
                {
                    trouble_met = Some(anyhow!("{trouble} (after {count} instructions)"));
                }
                break why;
            }
            Err(LogError::Io(name, error)) if error.kind() == io::ErrorKind::TimedOut => {
                break format!("{name}'s guest sleeps for good: {error}");
            }
            Err(error) => {
                let trouble = if matches!(error, LogError::CutShort(_)) { child.finish() } else { None };
                trouble_met = Some(anyhow!(
                    "{error} after {count} instructions{}",
                    trouble.map_or(String::new(), |t| format!("; {t}"))
                ));
                break error.to_string();
            }
        }
    };
    bar.finish_and_clear();
    let (taken, own, console) = lockstep.machine.with_bus(|board: &mut Follower, _| {
        (board.taken.clone(), board.own.clone(), board.console.iter().copied().collect::<Vec<_>>())
    });
    let console = String::from_utf8_lossy(&console);
    let lines: Vec<_> = console.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Ok(Run {
        counts: lockstep.counts.clone(),
        taken,
        own,
        groups,
        why,
        console: lines[lines.len().saturating_sub(CONSOLE_LINES)..].iter().map(|&line| line.into()).collect(),
        trouble: trouble_met,
        machine: lockstep.machine,
        reference: format!("{} {}", child.name, child.version),
        seconds: started.elapsed().as_secs_f64(),
        blocks: false,
        signal: ending.signal(),
    })
}

/// What CPUID gives on QEMU's model of the processor.
fn survey(recipe: &Recipe, program: Option<&Path>) -> Result<Answers> {
    let mut recipe = recipe.clone();
    let args = &mut recipe.args;
    (args.kernel, args.initrd, args.append, args.cdrom) = (None, None, None, None);
    args.drives.clear();
    args.debug_exit = Some(survey::EXIT_PORT);
    recipe.bios = Some(survey::image());
    recipe.input.clear();
    let (mut child, log) = qemu_process::start(&recipe, program, Depth::default())?;
    survey::answers(Batches::of(log)).map_err(|error| {
        let trouble = child.finish().map_or(String::new(), |trouble| format!("; {trouble}"));
        anyhow!("what CPUID gives on QEMU: {error}{trouble}")
    })
}

/// Reads much at a time: after each flush of its log the reference would otherwise wake us, twice an instruction and
/// more.
struct Batches {
    log: File,
    /// The last read took all there was.
    drained: bool,
}

impl Batches {
    fn of(log: File) -> Self {
        Self { log, drained: true }
    }
}

impl Read for Batches {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.drained {
            thread::sleep(PAUSE);
        }
        let log = &mut [PollFd::new(&self.log, PollFlags::IN)];
        if poll(log, Some(&SILENCE)) == Ok(0) {
            let what = format!("nothing came for {} s", SILENCE.tv_sec);
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        let count = self.log.read(to)?;
        self.drained = count < to.len();
        Ok(count)
    }
}

/// The list of known differences: this file's, or the reference's built-in one.
///
/// # Errors
/// When the file cannot be read or has a line that is none.
pub fn known_differences(against: Against, path: Option<&Path>) -> Result<Vec<Known>> {
    let (name, text) = match path {
        Some(path) => {
            let name = format!("--known {}", path.display());
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{name}: expected a list of known differences"))?;
            (name, text)
        }
        None => {
            let list = if against == Against::Bochs { BOCHS_KNOWN } else { QEMU_KNOWN };
            ("the built-in list".into(), list.to_owned())
        }
    };
    known::parse(&text).map_err(|error| anyhow::anyhow!("{name}: {error}"))
}

/// Differences by instruction and fields.
#[derive(Default)]
struct Groups {
    all: BTreeMap<(String, String), (u64, u64, String)>,
}

impl Groups {
    /// Adds one; true when it is the first of its kind.
    fn add(&mut self, found: &Found) -> bool {
        let fields: Vec<_> = found.differences.iter().map(|d| d.field.as_str()).collect();
        let key = (found.mnemonic(), fields.join(" "));
        let group = self.all.entry(key).or_insert_with(|| (0, found.count, found.place.to_string()));
        group.0 += 1;
        group.0 == 1
    }
}

/// Prints a difference.
pub fn tell(found: &Found, number: usize, peer: Peer<'_>) {
    let name = peer.name();
    say!(
        "\nemu diff: difference {number}, after {} equal instructions ({} mode)\n",
        found.count,
        found.mode()
    );
    say!("{}\n", found.place);
    if let Some(note) = &found.note {
        say!("{note}\n");
    }
    say!("\nfield     emu               {name}\n");
    found.differences.iter().for_each(|difference| say!("{difference}\n"));
    for (address, bytes) in &found.memory {
        let text: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        say!("memory at {address:#x}, on emu after it: {}\n", text.join(" "));
    }
    for (vector, error) in &found.exceptions {
        say!("{name} raised vector {vector:#x} with error code {error:#x}\n");
    }
    for vector in &found.interrupts {
        say!("{name} took interrupt {vector:#x} after it\n");
    }
    say!(
        "\nbefore, on {name}:\n{}\n\nafter, on emu:\n{}\n\nafter, on {name}:\n{}\n",
        found.before,
        found.ours,
        found.theirs
    );
    say!("\nthe last instructions:\n{}", found.recent);
}

impl Run {
    /// Itself, when the reference was well to the end.
    ///
    /// # Errors
    /// What was wrong with it.
    pub fn without_trouble(mut self) -> Result<Self> {
        self.trouble.take().map_or(Ok(self), Err)
    }

    /// Tells what was compared and what was taken over.
    fn tell(&self) {
        let Self { counts, taken, own, groups, why, console, reference, seconds, blocks, .. } = self;
        let rate = counts.compared as f64 / seconds.max(1e-9);
        let what = if *blocks {
            format!("{} blocks ({} instructions)", counts.compared, counts.instructions)
        } else {
            format!("{} instructions", counts.compared)
        };
        say!(
            "emu diff: {what} compared with {reference} in {seconds:.1} s ({rate:.0} a second), {} kinds of differences; {why}\n",
            groups.all.len()
        );
        if !console.is_empty() {
            say!("the guest's console ends with:\n");
        }
        for line in console {
            say!("  {line}\n");
        }
        for ((mnemonic, fields), (times, first, place)) in &groups.all {
            say!("  {mnemonic}: {fields}: {times} times, first after {first}\n{place}\n");
        }
        let reads: u64 = taken.values().map(|taken| taken.times).sum();
        let different: u64 = taken.values().map(|taken| taken.different).sum();
        say!(
            "taken over: {reads} reads of ports and chips ({different} where our board had another value)\n"
        );
        list(taken.iter().filter(|(_, t)| t.different > 0).map(|(a, t)| (format!("{a:#x}"), t.different)));
        say!("read from our own board, as the reference's log had nothing: {}\n", own.values().sum::<u64>());
        list(own.iter().map(|(address, times)| (format!("{address:#x}"), *times)));
        say!("results of instructions: {}\n", counts.taken.values().sum::<u64>());
        list(counts.taken.iter().map(|(what, times)| (what.clone(), *times)));
        say!("interrupts: {}\n", counts.interrupts.values().sum::<u64>());
        list(counts.interrupts.iter().map(|(vector, times)| (format!("vector {vector:#x}"), *times)));
        say!("undefined flags: after {} instructions\n", counts.undefined);
        if !counts.refused.is_empty() {
            say!("WRMSR that we refuse:\n");
            list(counts.refused.iter().map(|(msr, times)| (format!("{msr:#x}"), *times)));
        }
        for (reason, times) in &counts.known {
            say!("known, {times} times: {reason}\n");
        }
    }
}

/// The most frequent ones in one line.
fn list(all: impl Iterator<Item = (String, u64)>) {
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    let more = all.len().saturating_sub(LISTED);
    let shown: Vec<_> = all.iter().take(LISTED).map(|(what, times)| format!("{what} {times}")).collect();
    if !shown.is_empty() {
        let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
        say!("  {}{rest}\n", shown.join(", "));
    }
}
