//! Faults that name a descriptor: the entry of the GDT, LDT or IDT, decoded, and what is wrong with it.

use super::pages;
use crate::cpu::segment::Descriptor;
use crate::cpu::{Cpu, Exception, LDTR, TR};

/// A system descriptor's type. SDM 3A, table "System-Segment and Gate-Descriptor Types".
fn kind_name(kind: u16, long: bool) -> &'static str {
    match (kind, long) {
        (2, _) => "LDT",
        (9, true) => "available 64-bit TSS",
        (11, true) => "busy 64-bit TSS",
        (12, true) => "64-bit call gate",
        (14, true) => "64-bit interrupt gate",
        (15, true) => "64-bit trap gate",
        (1, _) => "available 16-bit TSS",
        (3, _) => "busy 16-bit TSS",
        (4, _) => "16-bit call gate",
        (5, _) => "task gate",
        (6, _) => "16-bit interrupt gate",
        (7, _) => "16-bit trap gate",
        (9, _) => "available 32-bit TSS",
        (11, _) => "busy 32-bit TSS",
        (12, _) => "32-bit call gate",
        (14, _) => "32-bit interrupt gate",
        (15, _) => "32-bit trap gate",
        _ => "reserved type",
    }
}

/// A descriptor or gate in words; `high` is the upper half of those that have 16 bytes.
pub fn describe(raw: u64, high: Option<u64>, long: bool) -> String {
    let descriptor = Descriptor { raw, address: 0 };
    let rights = descriptor.rights();
    let present = if rights.present() { "present" } else { "not present" };
    let dpl = rights.dpl();
    if rights.code_or_data() {
        let kind = if rights.code() {
            let conforming = if rights.conforming() { "conforming " } else { "" };
            let width = match (rights.long(), rights.big()) {
                (true, false) => "64-bit",
                (true, true) => "L and D both set",
                (_, true) => "32-bit",
                _ => "16-bit",
            };
            format!("{width} {conforming}code")
        } else {
            let access = if rights.kind() & 2 != 0 { "writable" } else { "read-only" };
            format!("{access} data")
        };
        return format!(
            "{raw:016x}: {kind}, base {:#x}, limit {:#x}, DPL {dpl}, {present}",
            descriptor.base(),
            descriptor.limit()
        );
    }
    let kind = rights.kind();
    let name = kind_name(kind, long);
    if matches!(kind, 4..=7 | 12 | 14 | 15) {
        let offset = descriptor.gate_offset() | high.unwrap_or(0) << 32;
        return format!(
            "{raw:016x}: {name} to {:04x}:{offset:x}, DPL {dpl}, {present}",
            descriptor.gate_selector()
        );
    }
    let base = u64::from(descriptor.base() as u32) | high.unwrap_or(0) << 32;
    format!("{raw:016x}: {name}, base {base:#x}, limit {:#x}, DPL {dpl}, {present}", descriptor.limit())
}

fn read(cpu: &Cpu, linear: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    (cpu.peek_linear(linear, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
}

/// Explains #TS, #NP, #SS and #GP whose error code names a descriptor.
pub fn explain(cpu: &Cpu, exception: Exception) -> Vec<String> {
    let code = exception.error;
    let external =
        if code & 1 != 0 { ", while an event from outside the program was delivered (EXT)" } else { "" };
    if code & 2 != 0 {
        let vector = u64::from(code >> 3);
        let mut lines = vec![format!("error code {code:#x}: entry {vector:#x} of the IDT{external}")];
        lines.extend(gate(cpu, exception.vector, vector));
        return lines;
    }
    let (table, base, limit) = if code & 4 != 0 {
        ("LDT", cpu.seg[LDTR].base, u64::from(cpu.seg[LDTR].limit))
    } else {
        ("GDT", cpu.gdtr.base, u64::from(cpu.gdtr.limit))
    };
    let index = u64::from(code >> 3);
    let mut lines = vec![format!(
        "error code {code:#x}: selector {:#06x}, entry {index:#x} of the {table}{external}",
        code & !3
    )];
    if index * 8 + 7 > limit {
        lines.push(format!("check: the selector's index lies beyond the {table}'s limit {limit:#x}"));
        return lines;
    }
    let Some(raw) = read(cpu, base.wrapping_add(index * 8)) else {
        lines.push(format!("the {table} at {base:#x} cannot be read"));
        return lines;
    };
    lines.push(format!("check: {}", wrong(cpu, exception.vector, raw)));
    lines.push(format!(
        "descriptor at {:#x}: {}",
        base.wrapping_add(index * 8),
        describe(raw, None, cpu.long_mode())
    ));
    lines
}

/// What the check of a descriptor may have found.
fn wrong(cpu: &Cpu, vector: u8, raw: u64) -> String {
    let rights = Descriptor { raw, address: 0 }.rights();
    match vector {
        11 => "the segment or gate is not present (P = 0)".into(),
        12 if !rights.present() => "the stack segment is not present (P = 0)".into(),
        12 => "the stack's limit is exceeded, or its address is not canonical".into(),
        10 if raw == 0 => "the descriptor is empty: no segment, no TSS".into(),
        10 => "the TSS, or a segment that it names, is not what its place demands (limit, type, DPL or P)"
            .into(),
        _ if raw == 0 => "the descriptor is empty: its type does not fit".into(),
        _ if !rights.code_or_data() => {
            format!(
                "the descriptor is a {}, not what is loaded here",
                kind_name(rights.kind(), cpu.long_mode())
            )
        }
        _ if rights.code() && cpu.long_mode() && rights.long() && rights.big() => {
            "L and D are both 1 in a code segment".into()
        }
        _ if rights.code() && !rights.conforming() && rights.dpl() != cpu.cpl => {
            format!("DPL {} of the code segment does not fit CPL {}", rights.dpl(), cpu.cpl)
        }
        _ if !rights.code() && rights.dpl() < cpu.cpl => {
            format!("DPL {} of the data segment is below CPL {} or the RPL", rights.dpl(), cpu.cpl)
        }
        _ => "the descriptor's type, DPL or the selector's RPL does not permit this use".into(),
    }
}

/// An entry of the IDT, and why it could not be used.
fn gate(cpu: &Cpu, fault: u8, vector: u64) -> Vec<String> {
    let long = cpu.long_mode();
    let size = if long { 16 } else { 8 };
    let (base, limit) = (cpu.idtr.base, u64::from(cpu.idtr.limit));
    let at = base.wrapping_add(vector * size);
    if vector * size + size - 1 > limit {
        return vec![format!("check: the entry lies beyond the IDT's limit {limit:#x} (base {base:#x})")];
    }
    let Some(raw) = read(cpu, at) else {
        return vec![format!("the IDT entry at {at:#x} cannot be read")];
    };
    let high = if long { read(cpu, at.wrapping_add(8)) } else { None };
    let rights = Descriptor { raw, address: 0 }.rights();
    let kinds: &[u16] = if long { &[14, 15] } else { &[5, 6, 7, 14, 15] };
    let check = if rights.code_or_data() || !kinds.contains(&rights.kind()) {
        "the entry is no interrupt, trap or task gate".into()
    } else if !rights.present() {
        "the gate is not present (P = 0)".into()
    } else if fault == 13 && rights.dpl() < cpu.cpl {
        format!("INT n at CPL {} through a gate with DPL {}", cpu.cpl, rights.dpl())
    } else {
        "the gate is in order now".into()
    };
    vec![format!("check: {check}"), format!("gate at {at:#x}: {}", describe(raw, high, long))]
}

/// Why an exception could not be delivered: `exception` arose on the way to the handler of the one before.
pub fn delivery(cpu: &Cpu, exception: Exception, address: u64) -> Vec<String> {
    if exception.vector == 14 {
        return pages::explain(cpu, exception.error, address);
    }
    if exception.has_error && exception.error & !1 != 0 {
        return explain(cpu, exception);
    }
    let what = match exception.vector {
        12 => "the handler's stack does not permit the frame (limit, or an address that is not canonical)",
        13 => "the gate's code selector is null, or its offset is outside the code segment",
        _ => "see the exception's page",
    };
    let tss = &cpu.seg[TR];
    vec![
        format!("check: {what}"),
        format!("TSS {:04x}: base {:#x}, limit {:#x}", tss.selector, tss.base, tss.limit),
    ]
}
