//! `emu diff fuzz --programs --against qemu`: cases of random system instructions, each of which begins anew.

use std::collections::BTreeMap;

use anyhow::Result;
use emu_diff::fuzz::system::{monitor, places};
use emu_diff::qemu::known::{Known, explain};
use emu_diff::qemu::lockstep::Found;

use super::fuzz::{self, Difference, Report};
use super::qemu;
use super::recipe::Recipe;
use crate::args::FuzzArgs;
use crate::say::say;

/// What was found in one image or more.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Known differences, by reason.
    pub known: BTreeMap<String, u64>,
    /// Differences behind another one of the same case, which may be its consequences.
    pub consequences: u64,
    /// The others, by instruction, mode and fields: how many, and the first of them.
    kinds: BTreeMap<String, (u64, Difference)>,
    /// Images that did not run to their end.
    pub broken: Vec<String>,
}

impl Findings {
    /// Adds all of it to the report.
    pub(super) fn report(self, report: &mut Report) {
        report.known.extend(self.known);
        report.consequences = self.consequences;
        report.broken = self.broken;
        for (kind, (times, mut difference)) in self.kinds {
            difference.instruction = format!("{times} times {kind}: {}", difference.instruction);
            report.differences.push(difference);
        }
    }
}

/// Runs an image on our machine and QEMU. `seed` and `bits` say which it is.
///
/// # Errors
/// When QEMU is missing or its log ends too early.
pub(super) fn against_qemu(
    recipe: &Recipe,
    known: &[Known],
    args: &FuzzArgs,
    (seed, bits): (u64, u32),
    findings: &mut Findings,
) -> Result<()> {
    let (mut case, mut differed) = (u32::MAX, false);
    let run = qemu::lockstep(recipe, &[], args.qemu.as_deref(), false, &mut |found, _, machine| {
        let mut number = [0; 4];
        machine.memory().read_bytes(places::CASE.into(), &mut number);
        let number = u32::from_le_bytes(number);
        if number != case {
            (case, differed) = (number, false);
        }
        let name = region(found).map_or_else(|| found.mnemonic(), str::to_owned);
        if let Some(entry) = explain(known, &name, &found.conditions, &found.differences)
            && found.note.is_none()
        {
            *findings.known.entry(entry.reason.clone()).or_default() += 1;
        } else if differed {
            findings.consequences += 1;
        } else {
            let fields: Vec<_> = found.differences.iter().map(|d| d.field.as_str()).collect();
            let key = format!("{name} ({}): {}", found.mode(), fields.join(" "));
            let kind = findings.kinds.entry(key).or_insert_with(|| {
                say!("\n{bits}-bit, seed {seed}, case {case}, {name}");
                qemu::tell(found, 1);
                (0, fuzz::difference(bits, seed, found))
            });
            kind.0 += 1;
        }
        differed = true;
        true
    })?;
    if !run.why.starts_with("debug exit") {
        findings.broken.push(format!("{bits}-bit, seed {seed}, case {case}: {}", run.why));
    }
    Ok(())
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
