//! show, grep, who-wrote, last-value, stats.

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow::{Break, Continue};

use anyhow::{Result, bail};
use emu_trace::chunk::written_bit;
use emu_trace::model::{Access, State, event, field};
use emu_trace::read::{Chunk, Executed, Item, Trace};
use emu_trace::wide;

use super::args::{GrepArgs, LastValueArgs, Part, PartArgs, ShowArgs, WhoWroteArgs};
use super::symbols::Symbols;
use super::text::{NAMES, Text, describe};
use super::walk::{Out, chunk, open, walk};
use crate::outcome::usage;

/// The text of a part.
fn text(part: &Part, brief: bool) -> Result<Text> {
    Ok(Text::new(part.syntax, Symbols::load(&part.symbols)?, brief))
}

/// `emu trace show`.
///
/// # Errors
/// What the files ran into.
pub fn show(args: &ShowArgs) -> Result<()> {
    let mut text = text(&args.part, args.brief)?;
    let mut out = Out::open(None)?;
    let mut left = args.lines.unwrap_or(u64::MAX);
    walk(&args.part, |item| {
        if left == 0 {
            return Ok(Break(()));
        }
        if matches!(item, Item::Instruction(_)) {
            left -= 1;
        } else if args.brief {
            return Ok(Continue(()));
        }
        writeln!(out, "{}", text.line(&item))?;
        Ok(Continue(()))
    })?;
    Ok(out.flush()?)
}

/// `emu trace grep`.
///
/// # Errors
/// What the files ran into.
pub fn grep(args: &GrepArgs) -> Result<()> {
    let mut text = text(&args.part, false)?;
    let mut out = Out::open(None)?;
    let code = args.text.is_some()
        || args.at.is_some()
        || args.symbol.is_some()
        || args.reads.is_some()
        || args.writes.is_some()
        || args.value.is_some()
        || args.cpl.is_some();
    let events = args.port.is_some() || args.vector.is_some();
    if !code && !events {
        usage!("grep: expected something to look for, such as --text or --writes");
    }
    let mut count = 0;
    // An instruction that is sought if its vector registers, which are told behind it, have the value.
    let mut perhaps = None;
    walk(&args.part, |item| {
        match &item {
            Item::Instruction(executed) => {
                count = executed.before.count;
                perhaps = None;
                if code && matches(args, &mut text, executed) {
                    if args.value.is_none_or(|value| has_value(executed, value)) {
                        writeln!(out, "{}", text.line(&item))?;
                    } else {
                        perhaps = Some(text.line(&item));
                    }
                }
            }
            Item::Event(seen) if seen.kind == event::VECTOR => {
                let value = args.value.map(u128::from);
                let found = wide::changes(&seen.data).iter().any(|change| {
                    let low = change.value & u128::from(u64::MAX);
                    value == Some(low) || value == Some(change.value >> 64) && change.size == 16
                });
                if let Some(line) = perhaps.take().filter(|_| found) {
                    writeln!(out, "{line}\n{}", text.line(&item))?;
                }
            }
            Item::Event(seen) if events => {
                let number = seen.data.first().copied();
                let wanted = match seen.kind {
                    event::PORT => args.port,
                    event::INTERRUPT => args.vector,
                    _ => None,
                };
                if wanted.is_some() && number == wanted {
                    writeln!(out, "{count:>12} * {}", describe(seen))?;
                }
            }
            _ => {}
        }
        Ok(Continue(()))
    })?;
    Ok(out.flush()?)
}

fn touches(access: &Access, range: &std::ops::RangeInclusive<u64>) -> bool {
    let last = access.linear.wrapping_add(u64::from(access.size) - 1);
    access.linear <= *range.end() && last >= *range.start()
}

/// Does it move this value to or from memory, or into a general register?
fn has_value(executed: &Executed<'_>, value: u64) -> bool {
    let step = executed.step;
    step.accesses.iter().any(|access| access.value == value)
        || (0..NAMES.len()).any(|n| step.mask >> n & 1 != 0 && step.regs[n] == value)
}

/// Everything that is asked for but the value.
fn matches(args: &GrepArgs, text: &mut Text, executed: &Executed<'_>) -> bool {
    let step = executed.step;
    let any = |write: bool, range| step.accesses.iter().any(|a| a.write == write && touches(a, range));
    args.at.as_ref().is_none_or(|range| range.contains(&executed.linear()))
        && args.cpl.is_none_or(|level| executed.before.fields[field::CPL] == level)
        && args.reads.as_ref().is_none_or(|range| any(false, range))
        && args.writes.as_ref().is_none_or(|range| any(true, range))
        && args
            .symbol
            .as_ref()
            .is_none_or(|name| text.symbols.find(executed.linear()).is_some_and(|(found, _)| found == name))
        && args.text.as_ref().is_none_or(|wanted| text.instruction(executed).contains(wanted))
}

/// `emu trace who-wrote`: looks from the end, and only into chunks that may hold a write to the page.
///
/// # Errors
/// What the files ran into.
pub fn who_wrote(args: &WhoWroteArgs) -> Result<bool> {
    let mut text = text(&args.part, false)?;
    let mut out = Out::open(None)?;
    let mut trace = open(&args.part.file)?;
    let before = args.before.or(args.part.to.map(|to| to.saturating_add(1))).unwrap_or(u64::MAX);
    let from = args.part.from.unwrap_or(0);
    let Some(last) = args.address.checked_add(args.size.saturating_sub(1)) else {
        usage!("who-wrote: expected an address and a size within 64 bits");
    };
    let wanted = |access: &Access| {
        let first = if args.physical { access.physical } else { access.linear };
        access.write && first <= last && first.wrapping_add(u64::from(access.size) - 1) >= args.address
    };
    let numbers: Vec<usize> = (0..trace.chunks.len()).collect();
    let order: Box<dyn Iterator<Item = usize>> =
        if args.all { Box::new(numbers.into_iter()) } else { Box::new(numbers.into_iter().rev()) };
    let mut any = false;
    for number in order {
        let header = trace.chunks[number].header;
        let pages = (args.address >> 12)..=(last >> 12);
        let possible = !args.physical
            || pages.clone().take(64).any(|page| header.written & written_bit(page << 12) != 0);
        if header.first >= before || header.last < from || !possible {
            continue;
        }
        let Some(mut chunk) = chunk(&mut trace, number, &args.part.file)? else { continue };
        let mut found = None;
        while let Some(item) = chunk.item() {
            let line = match &item {
                Item::Instruction(executed) if executed.before.count >= before => break,
                Item::Instruction(executed) if executed.before.count >= from => {
                    executed.step.accesses.iter().any(wanted)
                }
                Item::Delivery(step, _) => step.accesses.iter().any(wanted),
                _ => false,
            };
            if line {
                let line = text.line(&item);
                if args.all {
                    writeln!(out, "{line}")?;
                    any = true;
                } else {
                    found = Some(line);
                }
            }
        }
        if let Some(line) = found {
            writeln!(out, "{line}")?;
            any = true;
            break;
        }
    }
    out.flush()?;
    Ok(any)
}

/// Reads a register.
type Value = Box<dyn Fn(&State) -> u64>;

/// A register by its name in small letters.
fn register(name: &str) -> Option<Value> {
    if let Some(number) = NAMES.iter().position(|known| *known == name) {
        return Some(Box::new(move |state| state.regs[number]));
    }
    if name == "rflags" || name == "eflags" {
        return Some(Box::new(|state| state.flags));
    }
    let number = field::NAMES.iter().position(|known| *known == name)?;
    Some(Box::new(move |state| state.fields[number]))
}

/// `emu trace last-value`: looks from the end.
///
/// # Errors
/// What the files ran into.
pub fn last_value(args: &LastValueArgs) -> Result<bool> {
    let name = args.register.to_ascii_lowercase();
    let look: Look = match register(&name) {
        _ if wide::is_name(&name) => {
            Box::new(move |chunk, text, before| last_wide(&name, chunk, text, before))
        }
        Some(value) => Box::new(move |chunk, text, before| last_plain(&value, chunk, text, before)),
        None => usage!(
            "last-value: {}: expected a register, such as rax, rflags, cr3, fs.base, xmm0 or st0",
            args.register
        ),
    };
    let mut text = text(&args.part, false)?;
    let mut trace = open(&args.part.file)?;
    let before = args.before.or(args.part.to.map(|to| to.saturating_add(1))).unwrap_or(u64::MAX);
    for number in (0..trace.chunks.len()).rev() {
        if trace.chunks[number].header.first >= before {
            continue;
        }
        let Some(mut chunk) = chunk(&mut trace, number, &args.part.file)? else { continue };
        if let Some((value, lines)) = look(&mut chunk, &mut text, before) {
            let mut out = Out::open(None)?;
            writeln!(out, "{} = {value:#x}\n{}", args.register, lines.trim_start_matches('\n'))?;
            out.flush()?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The last change of a register in a chunk, before a count: its value and the lines that tell of it.
type Look = Box<dyn Fn(&mut Chunk, &mut Text, u64) -> Option<(u128, String)>>;

/// Of a register that is part of every instruction's state.
fn last_plain(value: &Value, chunk: &mut Chunk, text: &mut Text, before: u64) -> Option<(u128, String)> {
    let current = |chunk: &Chunk| chunk.model.cpus.get(chunk.model.current).map(value);
    let mut found = None;
    let mut old = current(chunk);
    while let Some(item) = chunk.item() {
        let now = match &item {
            Item::Instruction(executed) if executed.before.count >= before => break,
            Item::Instruction(executed) => Some(value(executed.after)),
            Item::Delivery(_, state) => Some(value(state)),
            Item::Event(seen) => {
                // Another processor's turn is no change of a register.
                let line = (seen.kind == event::FIELDS).then(|| text.line(&item));
                let now = current(chunk);
                if let (Some(line), Some(now)) = (line, now.filter(|_| now != old)) {
                    found = Some((now.into(), line));
                }
                old = now;
                continue;
            }
        };
        if now != old {
            found = now.map(|now| (now.into(), text.line(&item)));
            old = now;
        }
    }
    found
}

/// Of a vector or x87 register, whose changes are told behind the instruction.
fn last_wide(name: &str, chunk: &mut Chunk, text: &mut Text, before: u64) -> Option<(u128, String)> {
    let (mut line, mut found) = (String::new(), None);
    while let Some(item) = chunk.item() {
        match &item {
            Item::Instruction(executed) if executed.before.count >= before => break,
            Item::Event(seen) if seen.kind == event::VECTOR => {
                let changes = wide::changes(&seen.data);
                if let Some(change) = changes.into_iter().find(|change| change.name == name) {
                    found = Some((change.value, format!("{line}\n{}", text.line(&item))));
                }
            }
            // Only the line before an event is wanted, but which one that is shows too late.
            Item::Instruction(_) | Item::Delivery(..) => line = text.line(&item),
            Item::Event(_) => {}
        }
    }
    found
}

/// `emu trace stats`.
///
/// # Errors
/// What the files ran into.
pub fn stats(args: &PartArgs) -> Result<()> {
    let mut out = Out::open(None)?;
    let mut mnemonics: HashMap<iced_x86::Mnemonic, u64> = HashMap::new();
    let (mut instructions, mut reads, mut writes, mut ports, mut interrupts) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let (mut levels, mut last) = ([0u64; 4], 0);
    let mut first = None;
    walk(&args.part, |item| {
        match item {
            Item::Instruction(executed) => {
                instructions += 1;
                first.get_or_insert(executed.before.count);
                last = executed.before.count;
                levels[executed.before.fields[field::CPL] as usize & 3] += 1;
                *mnemonics.entry(executed.decode().mnemonic()).or_default() += 1;
                let wrote = executed.step.accesses.iter().filter(|access| access.write).count() as u64;
                writes += wrote;
                reads += executed.step.accesses.len() as u64 - wrote;
            }
            Item::Event(seen) if seen.kind == event::PORT => ports += 1,
            Item::Event(seen) if seen.kind == event::INTERRUPT => interrupts += 1,
            _ => {}
        }
        Ok(Continue(()))
    })?;
    let trace = Trace::open(&args.part.file)?;
    let steps: u64 = trace.chunks.iter().map(|chunk| chunk.header.steps).sum();
    let (bytes, chunks) = (trace.bytes, trace.chunks.len());
    let per = bytes as f64 / steps.max(1) as f64;
    writeln!(out, "{bytes} bytes in {chunks} chunks, {steps} steps, {per:.2} bytes each")?;
    writeln!(out, "counts {} to {last}: {instructions} instructions", first.unwrap_or(0))?;
    writeln!(
        out,
        "memory: {reads} reads, {writes} writes; {ports} port accesses; {interrupts} interrupts and exceptions"
    )?;
    writeln!(out, "levels: {} {} {} {}", levels[0], levels[1], levels[2], levels[3])?;
    let mut busiest: Vec<_> = mnemonics.into_iter().collect();
    busiest.sort_by_key(|&(mnemonic, count)| (std::cmp::Reverse(count), mnemonic as u32));
    for (mnemonic, count) in busiest.into_iter().take(20) {
        let share = 100.0 * count as f64 / instructions.max(1) as f64;
        writeln!(out, "{count:>12} {share:5.1} % {}", format!("{mnemonic:?}").to_lowercase())?;
    }
    if instructions == 0 && chunks != 0 && args.part.from.is_some() {
        bail!("no instruction in that part of the trace");
    }
    Ok(out.flush()?)
}
