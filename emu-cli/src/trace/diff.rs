//! `emu trace diff`: where two traces part.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use emu_trace::model::{REGISTERS, field};
use emu_trace::read::{Chunk, Item, Trace};

use super::args::DiffArgs;
use super::symbols::Symbols;
use super::text::Text;
use super::walk::{Out, chunk, open};
use crate::outcome::Outcome;

/// One trace, item by item. Where chunks end does not show.
struct Side {
    trace: Trace,
    path: PathBuf,
    number: usize,
    chunk: Option<Chunk>,
}

impl Side {
    fn new(path: &Path) -> Result<Self> {
        Ok(Self { trace: open(path)?, path: path.to_owned(), number: 0, chunk: None })
    }

    /// Calls `see` with the next item of the part; false at its end.
    fn next(&mut self, (from, to): (u64, u64), mut see: impl FnMut(&Item<'_>)) -> Result<bool> {
        loop {
            if self.chunk.is_none() {
                while self.trace.chunks.get(self.number).is_some_and(|chunk| chunk.header.last < from) {
                    self.number += 1;
                }
                if self.number >= self.trace.chunks.len() {
                    return Ok(false);
                }
                self.chunk = chunk(&mut self.trace, self.number, &self.path)?;
                self.number += 1;
            }
            let Some(chunk) = &mut self.chunk else { return Ok(false) };
            match chunk.item() {
                Some(Item::Instruction(executed)) if executed.before.count < from => {}
                Some(Item::Instruction(executed)) if executed.before.count > to => return Ok(false),
                Some(item) if of_the_run(&item) => {
                    see(&item);
                    return Ok(true);
                }
                Some(_) => {}
                None => self.chunk = None,
            }
        }
    }
}

/// Does it belong to the guest's run, and not to how it was recorded?
fn of_the_run(item: &Item<'_>) -> bool {
    use emu_trace::model::event;
    match item {
        Item::Event(seen) => !matches!(seen.kind, event::SYNC | event::GAP),
        _ => true,
    }
}

/// Everything that the text of an item is made of, as numbers: they are compared a hundred times as fast.
fn numbers(item: &Item<'_>, out: &mut Vec<u64>) {
    out.clear();
    let step = match item {
        Item::Event(event) => {
            out.push(event.kind.into());
            out.extend(&event.data);
            return;
        }
        Item::Delivery(step, _) => step,
        Item::Instruction(executed) => {
            let fields = &executed.before.fields;
            out.extend([executed.before.count, executed.cpu as u64, executed.linear(), executed.ip()]);
            out.extend([fields[field::CPL], fields[field::CODE_SIZE], fields[field::SELECTOR + 1]]);
            let mut bytes = [0; 16];
            let code = executed.bytes();
            bytes[..code.len().min(16)].copy_from_slice(&code[..code.len().min(16)]);
            let bytes = u128::from_le_bytes(bytes);
            out.extend([bytes as u64, (bytes >> 64) as u64]);
            executed.step
        }
    };
    for access in &step.accesses {
        let kind = u64::from(access.size) | u64::from(access.write) << 8 | u64::from(access.bus) << 9;
        out.extend([access.linear, access.physical, access.value, kind]);
    }
    out.push(step.mask.into());
    out.extend((0..REGISTERS).filter(|n| step.mask >> n & 1 != 0).map(|n| step.regs[n]));
    out.push(step.flags);
}

/// How many items are equal, and whether both traces end behind them.
fn equal(args: &DiffArgs, part: (u64, u64)) -> Result<(u64, bool)> {
    let (mut a, mut b) = (Side::new(&args.part.file)?, Side::new(&args.other)?);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for same in 0.. {
        let more = a.next(part, |item| numbers(item, &mut one))?;
        let equal = more == b.next(part, |item| numbers(item, &mut other))?;
        if !more && equal {
            return Ok((same, true));
        }
        if !equal || one != other {
            return Ok((same, false));
        }
    }
    unreachable!("traces end")
}

/// `emu trace diff`.
///
/// # Errors
/// What the files ran into.
pub fn run(args: &DiffArgs) -> Result<Outcome> {
    let symbols = Symbols::load(&args.part.symbols)?;
    let mut text = Text::new(args.part.syntax, symbols, false);
    let mut out = Out::open(None)?;
    let part = (args.part.from.unwrap_or(0), args.part.to.unwrap_or(u64::MAX));
    let (same, all) = equal(args, part)?;
    if all {
        writeln!(out, "the traces are equal: {same} items")?;
        out.flush()?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "the traces part after {same} equal items")?;
    let context = same.min(args.context as u64);
    for (path, sign) in [(&args.part.file, '-'), (&args.other, '+')] {
        let mut side = Side::new(path)?;
        for _ in context..same {
            side.next(part, |_| ())?;
        }
        for _ in 0..context {
            let mut line = String::new();
            side.next(part, |item| line = text.line(item))?;
            if sign == '-' {
                writeln!(out, "  {line}")?;
            }
        }
        let mut line = "(the trace ends)".to_owned();
        side.next(part, |item| line = text.line(item))?;
        writeln!(out, "{sign} {line}")?;
    }
    out.flush()?;
    Ok(Outcome::Different)
}
