//! `emu trace export`: the whole trace as text, JSON lines, or a timeline for Perfetto.

use std::io::Write;
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

/// The trace-event format: one span for each call, a microsecond for a thousand instructions.
fn perfetto(part: &Part, symbols: &Symbols, out: &mut Out) -> Result<()> {
    let mut calls = Calls::default();
    let mut open: Vec<u64> = Vec::new();
    let mut last = 0;
    let mut separator = "[\n";
    walk(part, |item| {
        let mut changes = Vec::new();
        calls.see(&item, |change| changes.push(change));
        if let Item::Instruction(executed) = &item {
            last = executed.before.count;
        }
        for change in changes {
            let (phase, name, count) = match change {
                Change::Enter(frame) => ("B", symbols.name(frame.entry), frame.since),
                Change::Leave(frame, count) => ("E", symbols.name(frame.entry), count),
            };
            if phase == "B" {
                open.push(count);
            } else {
                open.pop();
            }
            let span = json!({ "name": name, "ph": phase, "ts": count as f64 / 1000.0, "pid": 1, "tid": 1 });
            write!(out, "{separator}{span}")?;
            separator = ",\n";
        }
        Ok(Continue(()))
    })?;
    for _ in open {
        let span = json!({ "ph": "E", "ts": last as f64 / 1000.0, "pid": 1, "tid": 1 });
        write!(out, "{separator}{span}")?;
        separator = ",\n";
    }
    writeln!(out, "{}]", if separator == "[\n" { "[" } else { "\n" })?;
    Ok(())
}
