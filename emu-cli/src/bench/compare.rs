//! What `--compare` tells: this build in turn with the one that a report was made with.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use emu_bench::builds;
use emu_bench::compare::{self, Change};
use emu_bench::engine::Engine;
use emu_bench::guest::Guest;
use emu_bench::measure::{self, Plan, Row};
use emu_bench::report::Report;

use super::{bar, stopped};
use crate::say::report;

/// The build that an earlier report was made with.
pub struct Earlier {
    binary: PathBuf,
    /// Those of our engines that it has.
    pub engines: Vec<Engine>,
}

impl Earlier {
    /// Nothing when it is not kept here.
    pub fn find(old: &Report, cache: &Path) -> Option<Self> {
        let binary = old.build.as_ref().and_then(|name| builds::find(cache, name))?;
        let has = |engine: &Engine| old.engines().contains(&engine.name());
        let engines: Vec<Engine> = [Engine::Interp, Engine::Jit].into_iter().filter(has).collect();
        (!engines.is_empty()).then_some(Self { binary, engines })
    }

    /// These engines, each of ours with its twin of the earlier build.
    pub fn twins(&self, mut engines: Vec<Engine>) -> Vec<Engine> {
        let known = engines.iter().filter(|engine| self.engines.contains(engine));
        let twins: Vec<Engine> = known.filter_map(|engine| engine.earlier(&self.binary)).collect();
        engines.extend(twins);
        // Each beside its twin, so that little happens between their turns.
        engines.sort_by_key(|engine| Engine::NAMES.iter().position(|name| *name == engine.name()));
        engines
    }
}

/// What there is time for several times: in Linux guests the interpreter takes a minute a round.
pub fn quick_rows(guests: &[Guest], engines: &[Engine]) -> Vec<Row> {
    let of = |guest: Guest, engine: &'static str| {
        guest.workloads().iter().map(move |workload| Row { guest, workload: workload.name.into(), engine })
    };
    let pairs = guests.iter().flat_map(|guest| engines.iter().map(|engine| (*guest, engine)));
    let quick = pairs.filter(|(guest, engine)| *guest == Guest::Kernel || **engine != Engine::Interp);
    quick.flat_map(|(guest, engine)| of(guest, engine.name())).collect()
}

/// What changed since the earlier report, in words; nothing when the user stops it.
pub fn compared(
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
