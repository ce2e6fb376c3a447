//! `emu trace export`: the whole trace as text, JSON lines, or a timeline for Perfetto.

use std::io::Write;
use std::mem::replace;
use std::ops::ControlFlow::Continue;

use anyhow::Result;
use emu_trace::model::field;
use emu_trace::read::Item;
use serde_json::{Map, Value, json};

use super::args::{ExportArgs, Format, Part};
use super::calls::{Calls, Change};
use super::symbols::Symbols;
use super::text::{NAMES, Text, describe};
use super::walk::{Out, walk};

/// `emu trace export`.
///
/// # Errors
/// What the files ran into.
pub fn run(args: &ExportArgs) -> Result<()> {
    let part = &args.output.part;
    let symbols = Symbols::load(&part.symbols)?;
    let mut out = Out::open(args.output.output.as_deref())?;
    match args.format {
        Format::Text => {
            let mut text = Text::new(part.syntax, symbols, false);
            walk(part, |item| {
                writeln!(out, "{}", text.line(&item))?;
                Ok(Continue(()))
            })?;
        }
        Format::Json => {
            let mut text = Text::new(part.syntax, symbols, false);
            walk(part, |item| {
                writeln!(out, "{}", object(&item, &mut text))?;
                Ok(Continue(()))
            })?;
        }
        Format::Perfetto => perfetto(part, &symbols, &mut out)?,
    }
    Ok(out.flush()?)
}

fn hex(value: u64) -> Value {
    Value::String(format!("{value:#x}"))
}

fn object(item: &Item<'_>, text: &mut Text) -> Value {
    let step = match item {
        Item::Event(event) => {
            return json!({ "event": describe(event), "kind": event.kind, "data": event.data });
        }
        Item::Instruction(executed) => executed.step,
        Item::Delivery(step, _) => step,
    };
    let accesses: Vec<Value> = step
        .accesses
        .iter()
        .map(|access| {
            json!({
                "kind": if access.write { "write" } else { "read" },
                "address": hex(access.linear),
                "physical": hex(access.physical),
                "size": access.size,
                "value": hex(access.value),
            })
        })
        .collect();
    let mut registers = Map::new();
    for (number, name) in NAMES.iter().enumerate() {
        if step.mask >> number & 1 != 0 {
            registers.insert((*name).into(), hex(step.regs[number]));
        }
    }
    let Item::Instruction(executed) = item else {
        return json!({ "delivery": true, "registers": registers, "memory": accesses });
    };
    if executed.before.flags != step.flags {
        registers.insert("rflags".into(), hex(step.flags));
    }
    json!({
        "count": executed.before.count,
        "cpu": executed.cpu,
        "cpl": executed.before.fields[field::CPL],
        "address": hex(executed.linear()),
        "physical": hex(executed.physical()),
        "symbol": text.symbols.show(executed.linear()),
        "bytes": executed.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "text": text.instruction(executed),
        "registers": registers,
        "memory": accesses,
    })
}

/// The trace-event format: one span for each call, a thread for each processor, a microsecond for a thousand
/// instructions.
fn perfetto(part: &Part, symbols: &Symbols, out: &mut Out) -> Result<()> {
    let mut calls = Calls::default();
    // Spans that are open, for each processor that was seen.
    let mut open: Vec<usize> = Vec::new();
    let mut last = 0;
    let mut separator = "[\n";
    let mut put = |out: &mut Out, event: Value| write!(out, "{}{event}", replace(&mut separator, ",\n"));
    let time = |count: u64| count as f64 / 1000.0;
    walk(part, |item| {
        let mut changes = Vec::new();
        calls.see(&item, |change| changes.push(change));
        if let Item::Instruction(executed) = &item {
            last = executed.before.count;
            while open.len() <= calls.cpu {
                let name = json!({ "name": format!("CPU {}", open.len()) });
                let tid = open.len() + 1;
                put(out, json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": tid, "args": name }))?;
                open.push(0);
            }
        }
        for change in changes {
            let (phase, name, count) = match change {
                Change::Enter(frame) => ("B", symbols.name(frame.entry), frame.since),
                Change::Leave(frame, count) => ("E", symbols.name(frame.entry), count),
            };
            let depth = &mut open[calls.cpu];
            *depth = if phase == "B" { *depth + 1 } else { depth.saturating_sub(1) };
            let tid = calls.cpu + 1;
            put(out, json!({ "name": name, "ph": phase, "ts": time(count), "pid": 1, "tid": tid }))?;
        }
        Ok(Continue(()))
    })?;
    for (cpu, depth) in open.iter().enumerate() {
        for _ in 0..*depth {
            put(out, json!({ "ph": "E", "ts": time(last), "pid": 1, "tid": cpu + 1 }))?;
        }
    }
    writeln!(out, "{}]", if separator == "[\n" { "[" } else { "\n" })?;
    Ok(())
}
