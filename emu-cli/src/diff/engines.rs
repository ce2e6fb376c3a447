//! `emu diff run --against interp|jit`: where do the two engines part?
//!
//! Both run side by side and tell the hash of their state every million instructions; where it first differs they run
//! again up to the line before and compare every thousand, and at last single instructions. There the translator runs
//! blocks of one instruction, since it would leave anything shorter than its blocks to the interpreter; a fault that
//! needs longer blocks is brought down to its block.

use std::thread;

use anyhow::{Context, Result, bail};
use crossbeam_channel::{Receiver, bounded};
use emu_core::cpu::Cpu;
use emu_core::mem::PAGE_SIZE;
use emu_diff::fuzz::places::DATA;
use emu_diff::listing::{Place, Recent};
use emu_diff::lockstep::conditions::operands;
use emu_diff::state::{Difference, State, Vectors};

use super::progress;
use super::recipe::{End, EngineKind, Recipe, advance};
use crate::args::Accel;
use crate::machine::Guest;
use crate::outcome::Outcome;
use crate::say::{report, say};

/// Instructions between two hashes in each pass.
const COARSE: u64 = 1_000_000;
const FINE: u64 = 1_000;
/// Instructions that are listed.
const LISTED: usize = 20;
/// Instructions of an image with a single case, at most.
const SHORT: u64 = 100_000;
/// Hashes that an engine may be ahead.
const AHEAD: usize = 64;

/// What one side says at a count.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    count: u64,
    hash: u64,
    end: End,
}

/// A stretch of instructions: equal after `equal`, different after `different`.
#[derive(Clone, Copy, Debug)]
struct Window {
    equal: u64,
    different: u64,
}

/// Where two engines part.
#[derive(Clone, Debug)]
pub struct Parted {
    /// The instruction.
    pub place: Place,
    /// State before it.
    pub before: State,
    /// Its memory operands: linear address and what stood there before.
    pub memory: Vec<(u64, Vec<u8>)>,
    /// What differs after it.
    pub differences: Vec<Difference>,
    /// States after it.
    pub after: [State; 2],
    /// The exception that the second engine raised.
    pub fault: Option<u8>,
    /// The data page of a random instruction, on the second engine.
    pub data: [u8; PAGE_SIZE as usize],
}

/// Compares two engines over a whole run.
///
/// # Errors
/// When a machine cannot be built.
pub fn compare(recipe: &Recipe, ours: Accel, theirs: Accel) -> Result<Outcome> {
    if ours == theirs {
        report!("both engines are {}: this only shows whether a run repeats", EngineKind::Whole(ours).name());
    }
    let parted = compare_kinds(recipe, [EngineKind::Whole(ours), EngineKind::Whole(theirs)])?;
    Ok(if parted.is_some() { Outcome::Different } else { Outcome::Done })
}

/// The same for any two. Returns where they part, if they do.
///
/// # Errors
/// When a machine cannot be built.
pub fn compare_kinds(recipe: &Recipe, kinds: [EngineKind; 2]) -> Result<Option<Parted>> {
    let whole = Window { equal: 0, different: recipe.args.max_insns.unwrap_or(u64::MAX) };
    let window = match search(recipe, kinds, whole, COARSE)? {
        Ok((count, end)) => {
            let how = if let End::Stopped(why) = end { why } else { "--max-insns was reached".into() };
            if !recipe.quiet {
                say!("emu diff: no difference in {count} instructions; {how}\n");
            }
            return Ok(None);
        }
        Err(window) => window,
    };
    report!("the states differ between {} and {} instructions", window.equal, window.different);
    let window = match search(recipe, kinds, window, FINE)? {
        Ok(_) => bail!("the difference did not come again in the second pass; the run does not repeat"),
        Err(window) => window,
    };
    report!("... between {} and {}", window.equal, window.different);
    let single = kinds.map(|kind| match kind {
        EngineKind::Whole(Accel::Jit) => EngineKind::Single,
        other => other,
    });
    if single == kinds {
        return walk(recipe, single, window).map(Some);
    }
    // Blocks of one instruction may go wrong earlier, where longer ones hid it.
    let whole = Window { equal: 0, different: window.different };
    let found = match search(recipe, single, whole, COARSE)? {
        Err(window) => search(recipe, single, window, FINE)?.err(),
        Ok(_) => None,
    };
    match found {
        Some(window) => walk(recipe, single, window).map(Some),
        None => {
            report!("... with translated blocks of one instruction there is no difference");
            halve(recipe, kinds, window).map(Some)
        }
    }
}

/// Starts an engine on a thread of its own; its lines come through the channel until nobody listens.
fn hashes(
    recipe: &Recipe,
    kind: EngineKind,
    window: Window,
    step: u64,
) -> Result<(Receiver<Line>, thread::JoinHandle<Result<()>>)> {
    let (sender, lines) = bounded(AHEAD);
    let recipe = recipe.clone();
    let run = move || {
        let no_reboot = recipe.args.no_reboot;
        let mut guest = recipe.guest(kind)?;
        let mut until = window.equal;
        loop {
            let end = advance(&mut guest, until, no_reboot);
            let done = end != End::Reached || until >= window.different;
            let line = Line { count: guest.instructions(), hash: guest.state_hash(), end };
            if sender.send(line).is_err() || done {
                return Ok(());
            }
            until = until.saturating_add(step).min(window.different);
        }
    };
    let thread =
        thread::Builder::new().name(kind.name().into()).spawn(run).context("a thread for an engine")?;
    Ok((lines, thread))
}

/// Runs both over a window. `Ok` with count and end when nothing differs, `Err` with a smaller window.
fn search(
    recipe: &Recipe,
    kinds: [EngineKind; 2],
    window: Window,
    step: u64,
) -> Result<Result<(u64, End), Window>> {
    let bar =
        progress::count("instructions compared", (window.different < u64::MAX).then_some(window.different));
    let (ours, our_thread) = hashes(recipe, kinds[0], window, step)?;
    let (theirs, their_thread) = hashes(recipe, kinds[1], window, step)?;
    let mut equal = Ok((0, End::Reached));
    loop {
        match (ours.recv(), theirs.recv()) {
            (Ok(a), Ok(b)) if a == b => {
                bar.set_position(a.count);
                equal = Ok((a.count, a.end));
            }
            (Ok(a), Ok(b)) => {
                let before = equal.as_ref().map_or(0, |(count, _)| *count);
                equal = Err(Window { equal: before, different: a.count.max(b.count) });
                break;
            }
            _ => break,
        }
    }
    drop((ours, theirs));
    for thread in [our_thread, their_thread] {
        match thread.join() {
            Ok(ended) => ended?,
            Err(_) => bail!("an engine panicked"),
        }
    }
    bar.finish_and_clear();
    Ok(equal)
}

/// Runs both to the beginning of a window and then one instruction at a time, and tells where they part.
fn walk(recipe: &Recipe, kinds: [EngineKind; 2], window: Window) -> Result<Parted> {
    let no_reboot = recipe.args.no_reboot;
    // Equal again does not mean that they always were: a wrong flag may be overwritten before anybody looks.
    let mut early = window.equal.saturating_sub(LISTED as u64);
    'earlier: loop {
        let (mut ours, mut theirs) = (recipe.guest(kinds[0])?, recipe.guest(kinds[1])?);
        let mut recent = Recent::new(LISTED);
        for guest in [&mut ours, &mut theirs] {
            advance(guest, early, no_reboot);
        }
        if ours.state_hash() != theirs.state_hash() && early > 0 {
            early = early.saturating_sub(FINE);
            continue 'earlier;
        }
        for count in early + 1..=window.different {
            recent.push(Place::of(theirs.machine().cpu(), count - 1));
            let (ends, parted) = step([&mut ours, &mut theirs], count, no_reboot);
            if let Some(parted) = parted {
                tell(kinds, &mut [&mut ours, &mut theirs], &ends, &parted, &recent, count, false);
                return Ok(parted);
            }
            if ends[0] != End::Reached {
                break;
            }
        }
        bail!(
            "single instructions do not show the difference that was there before; the run does not repeat"
        );
    }
}

/// Runs both for one instruction, up to this count, and says where they part if they do.
fn step(guests: [&mut Guest; 2], count: u64, no_reboot: bool) -> ([End; 2], Option<Parted>) {
    let [ours, theirs] = guests;
    let cpu = theirs.machine().cpu();
    let (before, place, exceptions) = (State::of(cpu), Place::of(cpu, count - 1), cpu.counters.exceptions);
    let memory = operands(cpu, &place.instruction(), &before);
    let ends = [advance(ours, count, no_reboot), advance(theirs, count, no_reboot)];
    if ends[0] == ends[1] && ours.state_hash() == theirs.state_hash() {
        return (ends, None);
    }
    let mut parted = parted([ours, theirs], place, before, memory);
    let cpu = theirs.machine().cpu();
    let raised = cpu.fault_chain.last().filter(|_| cpu.counters.exceptions != exceptions);
    parted.fault = raised.map(|last| last.exception.vector);
    (ends, Some(parted))
}

/// Both after the instruction behind which they part.
fn parted(guests: [&mut Guest; 2], place: Place, before: State, memory: Vec<(u64, Vec<u8>)>) -> Parted {
    let [ours, theirs] = guests;
    let after = [State::of(ours.machine().cpu()), State::of(theirs.machine().cpu())];
    let mut differences = after[0].differences(&after[1]);
    differences.extend(Vectors::of(ours.machine().cpu()).differences(&Vectors::of(theirs.machine().cpu())));
    if differences.is_empty()
        && let Some((_, ours, theirs)) = first_memory_difference(ours, theirs)
    {
        differences.push(Difference { field: "memory".into(), ours: ours.into(), theirs: theirs.into() });
    }
    let mut data = [0; PAGE_SIZE as usize];
    theirs.machine().cpu().system().mem.read_bytes(DATA, &mut data);
    Parted { place, before, memory, differences, after, fault: None, data }
}

/// Runs both to where `here` says so, and then one instruction more; says where they part if they do.
///
/// # Errors
/// When a machine cannot be built.
pub fn at_instruction(
    recipe: &Recipe,
    kinds: [EngineKind; 2],
    here: impl Fn(&Cpu) -> bool,
) -> Result<Option<Parted>> {
    let no_reboot = recipe.args.no_reboot;
    let (mut ours, mut theirs) = (recipe.guest(kinds[0])?, recipe.guest(kinds[1])?);
    let mut count = 0;
    while !here(theirs.machine().cpu()) {
        count += 1;
        if count > SHORT || advance(&mut theirs, count, no_reboot) != End::Reached {
            return Ok(None);
        }
    }
    advance(&mut ours, count, no_reboot);
    Ok(step([&mut ours, &mut theirs], count + 1, no_reboot).1)
}

/// Finds the smallest count at which whole blocks leave another state, by halving.
fn halve(recipe: &Recipe, kinds: [EngineKind; 2], mut window: Window) -> Result<Parted> {
    let no_reboot = recipe.args.no_reboot;
    let (start, early) = (window.equal, window.equal.saturating_sub(LISTED as u64));
    let at = |kind: EngineKind, count: u64| -> Result<Guest> {
        let mut guest = recipe.guest(kind)?;
        advance(&mut guest, start, no_reboot);
        advance(&mut guest, count, no_reboot);
        Ok(guest)
    };
    while window.different - window.equal > 1 {
        let middle = window.equal + (window.different - window.equal) / 2;
        let (mut a, mut b) = (at(kinds[0], middle)?, at(kinds[1], middle)?);
        if same(&mut a, &mut b) { window.equal = middle } else { window.different = middle }
    }
    let (mut ours, mut theirs) = (at(kinds[0], window.different)?, at(kinds[1], window.different)?);
    let mut recent = Recent::new(LISTED);
    let mut guest = recipe.guest(EngineKind::Whole(Accel::Interp))?;
    let first = early.max(window.different.saturating_sub(LISTED as u64));
    for count in first..window.different {
        advance(&mut guest, count, no_reboot);
        recent.push(Place::of(guest.machine().cpu(), count));
    }
    let cpu = guest.machine().cpu();
    let (before, place) = (State::of(cpu), recent.last().copied().unwrap_or_default());
    let memory = operands(cpu, &place.instruction(), &before);
    let parted = parted([&mut ours, &mut theirs], place, before, memory);
    let ends = [End::Reached, End::Reached];
    tell(kinds, &mut [&mut ours, &mut theirs], &ends, &parted, &recent, window.different, true);
    Ok(parted)
}

fn same(a: &mut Guest, b: &mut Guest) -> bool {
    let registers = |guest: &mut Guest| {
        let cpu = guest.machine().cpu();
        (State::of(cpu), Vectors::of(cpu))
    };
    registers(a) == registers(b) && first_memory_difference(a, b).is_none()
}

/// The first byte of RAM that differs: its offset and both values.
fn first_memory_difference(a: &mut Guest, b: &mut Guest) -> Option<(u64, u8, u8)> {
    let size = a.machine().cpu().system().mem.ram_size();
    let (mut left, mut right) = (vec![0; PAGE_SIZE as usize], vec![0; PAGE_SIZE as usize]);
    for address in (0..size).step_by(PAGE_SIZE as usize) {
        a.machine().cpu().system().mem.read_bytes(address, &mut left);
        b.machine().cpu().system().mem.read_bytes(address, &mut right);
        if left != right {
            let at = left.iter().zip(&right).position(|(a, b)| a != b).unwrap_or(0);
            return Some((address + at as u64, left[at], right[at]));
        }
    }
    None
}

/// Tells everything about a difference.
fn tell(
    kinds: [EngineKind; 2],
    guests: &mut [&mut Guest; 2],
    ends: &[End; 2],
    parted: &Parted,
    recent: &Recent,
    count: u64,
    in_block: bool,
) {
    let [ours, theirs] = kinds.map(EngineKind::name);
    say!("\nemu diff: {ours} and {theirs} part at instruction {count}\n");
    if let Some(place) = recent.last() {
        let within = if in_block { " (or before it in its block)" } else { "" };
        say!("{place}{within}\n");
    }
    let [a, b] = guests;
    say!("\nfield     {ours:<16}  {theirs}\n");
    parted.differences.iter().for_each(|difference| say!("{difference}\n"));
    if let Some((address, left, right)) = first_memory_difference(a, b) {
        say!("RAM at {address:#x}: {left:02x}, {right:02x}\n");
    } else if parted.differences.is_empty() && ends[0] == ends[1] {
        say!("(neither registers nor RAM: a model-specific register, or time)\n");
    }
    for (end, name) in ends.iter().zip([ours, theirs]) {
        if let End::Stopped(why) = end {
            say!("{name} stopped: {why}\n");
        }
    }
    say!("\nbefore:\n{}\n\nthe last instructions:\n{recent}", parted.before);
    for (state, name) in parted.after.iter().zip([ours, theirs]) {
        say!("\nafter, {name}:\n{state}\n");
    }
}
