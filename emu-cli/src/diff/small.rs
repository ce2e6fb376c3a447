//! What `emu diff fuzz` found, made small: the instruction alone, with as little in registers and memory as shows the
//! difference, as a test vector.

use anyhow::Result;
use emu_core::cpu::{RIP, RSP};
use emu_diff::fuzz::image;
use emu_diff::fuzz::places::{DATA, PAGE, Registers};
use emu_diff::fuzz::shrink::{Case, shrink, stretches};
use emu_diff::lockstep::Found;
use emu_diff::lockstep::known::Known;
use emu_diff::state::State;
use emu_diff::undefined::undefined_flags;
use emu_diff::vector::Vector;

use super::engines::{self, Parted};
use super::fuzz;
use super::recipe::EngineKind;
use super::reference::{self, Peer};

/// What an instruction did that differs on two machines.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Names of the fields, which tell its kind.
    fields: Vec<String>,
    /// What differs, with values.
    pub texts: Vec<String>,
    /// The exception that the reference raised.
    fault: Option<u8>,
    /// The reference's state behind it.
    after: State,
    /// The data page behind it, on our machine.
    data: [u8; PAGE],
}

/// A failure made small.
pub struct Small {
    /// What differs then.
    pub texts: Vec<String>,
    /// As a vector with the reference's registers; `None` for what a vector does not show.
    pub vector: Option<Vector>,
}

/// The instruction that fails, and what was in registers and memory before it.
pub struct Start<'a> {
    /// Code of 32 or 64 bits.
    pub bits: u32,
    /// The instruction.
    pub instruction: &'a [u8],
    /// Registers before it.
    pub before: &'a State,
    /// What it found in memory: linear addresses and bytes.
    pub memory: &'a [(u64, Vec<u8>)],
    /// Names of the fields that differ behind it.
    pub fields: Vec<String>,
}

impl Start<'_> {
    fn case(&self) -> Case {
        let mut data = [0; PAGE];
        for (address, bytes) in self.memory {
            for (at, &byte) in (*address..).zip(bytes) {
                if let Some(to) = at.checked_sub(DATA).and_then(|at| data.get_mut(at as usize)) {
                    *to = byte;
                }
            }
        }
        Case { before: Registers { regs: self.before.regs, flags: self.before.flags }, data }
    }

    /// Makes it small; `None` when the instruction alone does not fail in this way, since it takes more than
    /// registers and memory.
    fn shrink(&self, mut run: impl FnMut(&[Case]) -> Result<Vec<Option<Failure>>>) -> Result<Option<Small>> {
        let same = |failure: &Option<Failure>| failure.as_ref().is_some_and(|f| f.fields == self.fields);
        let first = self.case();
        if !run(std::slice::from_ref(&first))?.iter().any(same) {
            return Ok(None);
        }
        let case = shrink(first, |cases| Ok::<_, anyhow::Error>(run(cases)?.iter().map(same).collect()))?;
        let failure = run(std::slice::from_ref(&case))?.pop().flatten();
        Ok(failure.map(|failure| Small { vector: self.vector(&case, &failure), texts: failure.texts }))
    }

    fn vector(&self, case: &Case, failure: &Failure) -> Option<Vector> {
        let insn = iced_x86::Decoder::new(self.bits, self.instruction, 0).decode();
        let lies_at = failure.after.rip.wrapping_sub(insn.len() as u64);
        if failure.fault.is_none() && !lies_at.is_multiple_of(16) {
            return None;
        }
        Some(Vector {
            bits: self.bits,
            bytes: self.instruction.to_vec(),
            before: case.before.regs,
            flags_before: case.before.flags,
            memory_before: stretches(&case.data, |_, byte| byte != 0),
            after: failure.after.regs,
            flags_after: failure.after.flags,
            memory_after: stretches(&failure.data, |n, byte| byte != case.data[n]),
            undefined: undefined_flags(&insn, case.before.regs[1] as u8),
            fault: failure.fault,
        })
    }
}

/// Runs cases on our machine and another emulator.
fn on_reference(
    start: &Start<'_>,
    known: &[Known],
    peer: Peer<'_>,
    cases: &[Case],
) -> Result<Vec<Option<Failure>>> {
    let mut all: Vec<Option<Failure>> = vec![None; cases.len()];
    // Without its stack an exception ends the image, and with it all cases behind.
    let with_stack: Vec<_> =
        (0..cases.len()).filter(|&n| cases[n].before.regs[RSP] == start.before.regs[RSP]).collect();
    let mut left = &with_stack[..];
    while !left.is_empty() {
        let some: Vec<_> = left.iter().map(|&n| cases[n].clone()).collect();
        let (image, places) = image::of_cases(start.bits, start.instruction, &some);
        let (now, rest) = left.split_at(places.len().max(1));
        left = rest;
        reference::lockstep(&fuzz::recipe(image.bytes)?, known, peer, &mut |found, _, machine| {
            if let Some(n) = places.iter().position(|place| *place == found.place.rip) {
                let mut data = [0; PAGE];
                machine.memory().read_bytes(DATA, &mut data);
                all[now[n]] = Some(Failure {
                    fields: fields(found),
                    texts: fuzz::texts(&found.differences, peer.name()),
                    fault: found.exceptions.last().map(|&(vector, _)| vector),
                    after: found.theirs.clone(),
                    data,
                });
            }
            true
        })?
        .without_trouble()?;
    }
    Ok(all)
}

/// Names of the fields that differ.
fn fields(found: &Found) -> Vec<String> {
    found.differences.iter().map(|d| d.field.clone()).collect()
}

/// Makes a difference with another emulator small.
///
/// # Errors
/// What was wrong with it.
pub fn against_reference(bits: u32, found: &Found, known: &[Known], peer: Peer<'_>) -> Result<Option<Small>> {
    let start = Start {
        bits,
        instruction: found.place.bytes(),
        before: &found.before,
        memory: &found.memory,
        fields: fields(found),
    };
    start.shrink(|cases| on_reference(&start, known, peer, cases))
}

/// Makes a difference between our engines small.
///
/// # Errors
/// When a machine cannot be built.
pub fn against_engine(bits: u32, parted: &Parted, kinds: [EngineKind; 2]) -> Result<Option<Small>> {
    let start = Start {
        bits,
        instruction: parted.place.bytes(),
        before: &parted.before,
        memory: &parted.memory,
        fields: parted.differences.iter().map(|d| d.field.clone()).collect(),
    };
    start.shrink(|cases| cases.iter().map(|case| on_engines(&start, kinds, case)).collect())
}

/// Runs a case on both engines.
fn on_engines(start: &Start<'_>, kinds: [EngineKind; 2], case: &Case) -> Result<Option<Failure>> {
    let (image, places) = image::of_cases(start.bits, start.instruction, std::slice::from_ref(case));
    let (recipe, Some(&place)) = (fuzz::recipe(image.bytes)?, places.first()) else { return Ok(None) };
    let parted = engines::at_instruction(&recipe, kinds, |cpu| cpu.regs[RIP] == place)?;
    Ok(parted.map(|parted| Failure {
        fields: parted.differences.iter().map(|d| d.field.clone()).collect(),
        texts: fuzz::texts(&parted.differences, kinds[1].name()),
        fault: parted.fault,
        after: parted.after[1].clone(),
        data: parted.data,
    }))
}
