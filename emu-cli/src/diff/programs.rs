//! `emu diff fuzz --programs --against qemu`: cases of random system instructions, each of which begins anew.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use emu_core::machine::Machine;
use emu_diff::fuzz::system::{self, monitor, places};
use emu_diff::lockstep::known::{Known, explain};
use emu_diff::lockstep::{Found, STANDS_STILL};
use emu_diff::random::Random;

use super::fuzz::{self, Difference, Report};
use super::qemu_process::Depth;
use super::reference::{self, Peer};
use crate::args::FuzzArgs;
use crate::say::say;

/// Instructions before the first case, and of a case with what is around it.
const BOOT: u64 = 10_000;
const LONGEST: u64 = 600;

/// What was found in one image or more.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Known differences, by reason.
    known: BTreeMap<String, u64>,
    /// Differences behind another one of the same case, which may be its consequences.
    consequences: u64,
    /// The others, by instruction, mode and fields: how many, and the first of them.
    kinds: BTreeMap<String, (u64, Difference)>,
    /// Cases in which our machine stopped.
    broken: Vec<String>,
    /// Cases that were led to where no INT3 lies, and did not come back.
    long: u64,
    /// Cases in which QEMU died or shut down: seed, bits, number.
    ends: Vec<(u64, u32, u32)>,
}

impl Findings {
    /// Adds all of it to the report.
    pub(super) fn report(self, report: &mut Report) {
        report.known.extend(self.known);
        report.consequences = self.consequences;
        report.broken = self.broken;
        report.long = self.long;
        report.ends = self
            .ends
            .iter()
            .map(|(seed, bits, case)| format!("{bits}-bit, seed {seed}, case {case}"))
            .collect();
        for (kind, (times, mut difference)) in self.kinds {
            difference.instruction = format!("{times} times {kind}: {}", difference.instruction);
            report.differences.push(difference);
        }
    }
}

/// Runs an image of up to `most` cases on our machine and QEMU, and returns how many cases it had. Where QEMU dies or
/// shuts down, the rest runs on another.
///
/// # Errors
/// When QEMU is missing, or does not come to the first case.
pub(super) fn against_qemu(
    known: &[Known],
    args: &FuzzArgs,
    (seed, bits, most): (u64, u32, u64),
    findings: &mut Findings,
) -> Result<u64> {
    let mut first = 0;
    loop {
        // QEMU's breakpoints die of a failed assertion now and then.
        let image = system::build(bits, false, first, most, &mut Random::new(seed));
        let end = first + image.instructions;
        let mut recipe = fuzz::recipe(image.bytes)?;
        recipe.args.max_insns = Some(BOOT + LONGEST * image.instructions);
        let mut case = Case { seed, bits, number: None, differed: false, traces: Vec::new() };
        let peer = Peer::Qemu(args.qemu.as_deref(), Depth::default());
        let run = reference::lockstep(&recipe, &[], peer, &mut |found, _, machine| {
            case.look(found, machine, known, findings);
            true
        })?;
        if run.why.starts_with("debug exit") {
            return Ok(end);
        }
        let reached = number(&run.machine).filter(|&n| u64::from(n) >= first);
        let (Some(last), false) = (reached, end == first) else {
            return Err(run.trouble.unwrap_or_else(|| anyhow!("{}", run.why)));
        };
        if run.why.starts_with("QEMU") || run.why == STANDS_STILL {
            findings.ends.push((seed, bits, last));
        } else if run.why.starts_with("--max-insns") {
            findings.long += 1;
        } else if case.differed && case.number == reached {
            findings.consequences += 1;
        } else {
            findings.broken.push(format!("{bits}-bit, seed {seed}, case {last}: {}", run.why));
        }
        first = u64::from(last) + 1;
    }
}

/// Number of the case that runs.
fn number(machine: &Machine) -> Option<u32> {
    let mut number = [0; 4];
    machine.memory().read_bytes(places::CASE.into(), &mut number);
    Some(u32::from_le_bytes(number))
}

/// The case that runs.
struct Case {
    seed: u64,
    bits: u32,
    number: Option<u32>,
    differed: bool,
    /// Linear addresses that one machine wrote and the other did not, in all cases of the image so far: what a case
    /// does not find anew keeps such traces.
    traces: Vec<(u64, u64)>,
}

impl Case {
    fn look(&mut self, found: &Found, machine: &Machine, known: &[Known], findings: &mut Findings) {
        let number = number(machine);
        if number != self.number {
            (self.number, self.differed) = (number, false);
        }
        let name = region(found).map_or_else(|| found.mnemonic(), str::to_owned);
        let explained = explain(known, &name, &found.conditions, &found.differences);
        if let Some(entry) = explained.filter(|_| found.note.is_none()) {
            *findings.known.entry(entry.reason.clone()).or_default() += 1;
        } else if self.differed || self.reads_a_trace(found) {
            findings.consequences += 1;
        } else {
            let fields: Vec<_> = found.differences.iter().map(|d| d.field.as_str()).collect();
            let key =
                format!("{name} ({}, {:?}): {}", found.mode(), found.conditions.raised, fields.join(" "));
            let kind = findings.kinds.entry(key).or_insert_with(|| {
                say!("\n{}-bit, seed {}, case {}, {name}", self.bits, self.seed, number.unwrap_or_default());
                reference::tell(found, 1, Peer::Qemu(None, Depth::default()));
                (0, fuzz::difference(self.bits, self.seed, found, None, "QEMU"))
            });
            kind.0 += 1;
        }
        self.differed = true;
        if found.conditions.raised[0].is_some() != found.conditions.raised[1].is_some() {
            self.traces.extend(operands(found));
        }
    }

    fn reads_a_trace(&self, found: &Found) -> bool {
        operands(found).any(|(start, end)| self.traces.iter().any(|&(from, to)| start < to && from < end))
    }
}

/// First and last address of each memory operand, the last one exclusive.
fn operands(found: &Found) -> impl Iterator<Item = (u64, u64)> {
    let size = found.place.instruction().memory_size().size().max(1) as u64;
    found.memory.iter().map(move |&(start, _)| (start, start.saturating_add(size)))
}

/// What a doubleword that is read behind a case belongs to.
fn region(found: &Found) -> Option<&'static str> {
    use places::*;
    if found.place.rip < monitor::linear(0) {
        return None;
    }
    let (address, _) = found.memory.first()?;
    Some(match u32::try_from(*address).ok()? {
        GDT..IDT => "descriptors",
        TSS_16..TSS_DOUBLE_FAULT => "tss16",
        IDT..TSS_16 => "tss",
        TSS_DOUBLE_FAULT..TABLES_END => "stack",
        DATA..DATA_END => "data",
        _ => return None,
    })
}
