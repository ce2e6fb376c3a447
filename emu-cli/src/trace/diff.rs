//! `emu trace diff`: where two traces part.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
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

    /// The next line, from `from` on; `None` at the end.
    fn line(&mut self, text: &mut Text, from: u64) -> Result<Option<String>> {
        loop {
            if self.chunk.is_none() {
                while self.trace.chunks.get(self.number).is_some_and(|chunk| chunk.header.last < from) {
                    self.number += 1;
                }
                if self.number >= self.trace.chunks.len() {
                    return Ok(None);
                }
                self.chunk = chunk(&mut self.trace, self.number, &self.path)?;
                self.number += 1;
            }
            let Some(chunk) = &mut self.chunk else { return Ok(None) };
            match chunk.item() {
                Some(Item::Instruction(executed)) if executed.before.count < from => {}
                Some(item @ Item::Instruction(_)) => return Ok(Some(text.line(&item))),
                Some(item) if chunk_count(&item) => return Ok(Some(text.line(&item))),
                Some(_) => {}
                None => self.chunk = None,
            }
        }
    }
}

/// Does it belong to the guest's run, and not to how it was recorded?
fn chunk_count(item: &Item<'_>) -> bool {
    use emu_trace::model::event;
    match item {
        Item::Event(seen) => !matches!(seen.kind, event::SYNC | event::GAP),
        _ => true,
    }
}

/// `emu trace diff`.
///
/// # Errors
/// What the files ran into.
pub fn run(args: &DiffArgs) -> Result<Outcome> {
    let symbols = Symbols::load(&args.part.symbols)?;
    let mut text = Text::new(args.part.syntax, symbols, false);
    let mut out = Out::open(None)?;
    let (mut a, mut b) = (Side::new(&args.part.file)?, Side::new(&args.other)?);
    let mut context: VecDeque<String> = VecDeque::new();
    let from = args.part.from.unwrap_or(0);
    let mut same = 0u64;
    loop {
        let (one, other) = (a.line(&mut text, from)?, b.line(&mut text, from)?);
        if one == other {
            let Some(line) = one else {
                writeln!(out, "the traces are equal: {same} items")?;
                out.flush()?;
                return Ok(Outcome::Done);
            };
            same += 1;
            context.push_back(line);
            if context.len() > args.context {
                context.pop_front();
            }
            continue;
        }
        writeln!(out, "the traces part after {same} equal items")?;
        for line in &context {
            writeln!(out, "  {line}")?;
        }
        writeln!(out, "- {}", one.as_deref().unwrap_or("(the trace ends)"))?;
        writeln!(out, "+ {}", other.as_deref().unwrap_or("(the trace ends)"))?;
        out.flush()?;
        return Ok(Outcome::Different);
    }
}
