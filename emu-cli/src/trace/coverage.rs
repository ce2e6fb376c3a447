//! `emu trace coverage`: which blocks ran, in the drcov format (version 2) that Lighthouse and others read.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow::Continue;

use anyhow::Result;
use emu_trace::read::Item;

use super::args::OutputArgs;
use super::walk::{Out, walk};

/// Addresses of one module of the file: a block's start is an offset of 32 bits.
const MODULE: u64 = 1 << 32;

/// `emu trace coverage`.
///
/// # Errors
/// What the files ran into.
pub fn run(args: &OutputArgs) -> Result<()> {
    // Runs of instructions without a jump, by start: their lengths.
    let mut blocks: BTreeMap<u64, u16> = BTreeMap::new();
    let mut open: Option<(u64, u64)> = None;
    walk(&args.part, |item| {
        if let Item::Instruction(executed) = item {
            let (at, length) = (executed.linear(), u64::from(executed.form.length));
            open = match open {
                Some((start, end)) if end == at && end - start + length <= u64::from(u16::MAX) => {
                    Some((start, at + length))
                }
                other => {
                    keep(&mut blocks, other);
                    Some((at, at + length))
                }
            };
            if executed.form.leaves {
                keep(&mut blocks, open.take());
            }
        }
        Ok(Continue(()))
    })?;
    keep(&mut blocks, open);
    let mut modules: Vec<u64> = blocks.keys().map(|start| start / MODULE).collect();
    modules.dedup();
    let mut out = Out::open(args.output.as_deref())?;
    write!(out, "DRCOV VERSION: 2\nDRCOV FLAVOR: emu\nModule Table: version 2, count {}\n", modules.len())?;
    writeln!(out, "Columns: id, base, end, entry, checksum, timestamp, path")?;
    for (id, module) in modules.iter().enumerate() {
        let base = module * MODULE;
        let end = base + (MODULE - 1);
        writeln!(out, "{id}, {base:#x}, {end:#x}, 0x0, 0x0, 0x0, guest-{base:x}")?;
    }
    writeln!(out, "BB Table: {} bbs", blocks.len())?;
    for (start, length) in blocks {
        let id = modules.binary_search(&(start / MODULE)).unwrap_or(0) as u16;
        out.write_all(&((start % MODULE) as u32).to_le_bytes())?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&id.to_le_bytes())?;
    }
    Ok(out.flush()?)
}

fn keep(blocks: &mut BTreeMap<u64, u16>, block: Option<(u64, u64)>) {
    if let Some((start, end)) = block {
        let length = blocks.entry(start).or_default();
        *length = (*length).max((end - start) as u16);
    }
}
