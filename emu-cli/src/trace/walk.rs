//! One walk through (a part of) a trace, for every query.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use emu_trace::chunk::Damage;
use emu_trace::read::{Item, NoTrace, Trace};

use super::args::Part;
use crate::say::report;

/// Opens a trace and tells when its end is torn.
///
/// # Errors
/// When it is none.
pub fn open(path: &Path) -> Result<Trace> {
    let trace = Trace::open(path).map_err(|error| match error {
        NoTrace::Host(error) => anyhow!(error),
        other => anyhow!(other),
    });
    let trace = trace.with_context(|| path.display().to_string())?;
    if trace.torn {
        let steps: u64 = trace.chunks.iter().map(|chunk| chunk.header.steps).sum();
        report!(
            "{}: its end is torn or still being written; {steps} instructions before it are read",
            path.display()
        );
    }
    Ok(trace)
}

/// Calls `see` with every item of a part.
///
/// # Errors
/// What the file or `see` ran into.
pub fn walk(part: &Part, mut see: impl FnMut(Item<'_>) -> Result<ControlFlow<()>>) -> Result<()> {
    let mut trace = open(&part.file)?;
    let first = part.from.map_or(0, |from| {
        trace.chunks.iter().position(|chunk| chunk.header.last > from).unwrap_or(trace.chunks.len())
    });
    let (from, to) = (part.from.unwrap_or(0), part.to.unwrap_or(u64::MAX));
    for number in first..trace.chunks.len() {
        if trace.chunks[number].header.first > to {
            break;
        }
        let Some(mut chunk) = chunk(&mut trace, number, &part.file)? else { break };
        // Events count as what follows them.
        let mut count = 0;
        while let Some(item) = chunk.item() {
            match &item {
                Item::Instruction(executed) => {
                    count = executed.before.count;
                    if count > to {
                        return Ok(());
                    }
                }
                Item::Delivery(..) | Item::Event(_) => {}
            }
            if count >= from && see(item)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads a chunk; `None`, and a line that says so, when it is damaged.
///
/// # Errors
/// When the host cannot read.
pub fn chunk(trace: &mut Trace, number: usize, path: &Path) -> Result<Option<emu_trace::read::Chunk>> {
    match trace.chunk(number) {
        Ok(chunk) => Ok(Some(chunk)),
        Err(Damage::Torn) => {
            let count = trace.chunks[number].header.first;
            report!("{}: damaged from count {count} on", path.display());
            Ok(None)
        }
        Err(Damage::Host(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Standard output, or a file.
#[derive(Debug)]
pub enum Out {
    /// Standard output.
    Stdout(BufWriter<StdoutLock<'static>>),
    /// A file.
    File(BufWriter<std::fs::File>),
}

impl Out {
    /// Opens it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        Ok(match path {
            None => Self::Stdout(BufWriter::new(io::stdout().lock())),
            Some(path) => {
                let file =
                    std::fs::File::create(path).with_context(|| format!("--output {}", path.display()))?;
                Self::File(BufWriter::new(file))
            }
        })
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(out) => out.flush(),
        }
    }
}
