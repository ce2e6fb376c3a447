//! Descriptor tables and task-state segments, decoded. SDM 3A, "Segment Descriptors", "Gate Descriptors", "TSS".

use std::fmt::Write as _;

use emu_core::cpu::segment::{Descriptor, kind};
use emu_core::cpu::{CS, Cpu, LDTR, Rights, TR, fault};
use emu_core::machine::Machine;

/// What a descriptor's type field means, for a system descriptor.
fn system_type(rights: Rights, long: bool) -> &'static str {
    match rights.kind() {
        kind::TSS16_AVAILABLE => "16-bit TSS, available",
        kind::LDT => "LDT",
        kind::TSS16_BUSY => "16-bit TSS, busy",
        kind::CALL_GATE16 => "16-bit call gate",
        kind::TASK_GATE => "task gate",
        kind::INTERRUPT_GATE16 => "16-bit interrupt gate",
        kind::TRAP_GATE16 => "16-bit trap gate",
        kind::TSS_AVAILABLE if long => "64-bit TSS, available",
        kind::TSS_AVAILABLE => "32-bit TSS, available",
        kind::TSS_BUSY if long => "64-bit TSS, busy",
        kind::TSS_BUSY => "32-bit TSS, busy",
        kind::CALL_GATE if long => "64-bit call gate",
        kind::CALL_GATE => "32-bit call gate",
        kind::INTERRUPT_GATE if long => "64-bit interrupt gate",
        kind::INTERRUPT_GATE => "32-bit interrupt gate",
        kind::TRAP_GATE if long => "64-bit trap gate",
        kind::TRAP_GATE => "32-bit trap gate",
        _ => "reserved",
    }
}

fn is_gate(rights: Rights) -> bool {
    !rights.code_or_data()
        && matches!(
            rights.kind(),
            kind::CALL_GATE16
                | kind::TASK_GATE
                | kind::INTERRUPT_GATE16
                | kind::TRAP_GATE16
                | kind::CALL_GATE
                | kind::INTERRUPT_GATE
                | kind::TRAP_GATE
        )
}

/// A segment's rights in words.
pub fn rights_in_words(rights: Rights, long: bool) -> String {
    let mut text = if !rights.code_or_data() {
        system_type(rights, long).to_owned()
    } else if rights.code() {
        let bits = if rights.long() { 64 } else { 16 << u32::from(rights.big()) };
        let conforming = if rights.conforming() { ", conforming" } else { "" };
        let read = if rights.readable() { ", readable" } else { "" };
        format!("{bits}-bit code{conforming}{read}")
    } else {
        let write = if rights.writable() { ", writable" } else { "" };
        let down = if rights.expand_down() { ", expands down" } else { "" };
        let big = if rights.big() { "" } else { ", 16-bit" };
        format!("data{write}{down}{big}")
    };
    if rights.code_or_data() && rights.0 & 1 != 0 {
        text += ", accessed";
    }
    let _ = write!(text, ", DPL {}", rights.dpl());
    if !rights.present() {
        text += ", not present";
    }
    if rights.unusable() {
        text += ", unusable";
    }
    text
}

fn quad(machine: &Machine, cpu: usize, linear: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    (machine.peek(cpu, linear, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
}

/// The GDT, or the LDT, without its empty entries.
pub fn segments(machine: &Machine, number: usize, local: bool) -> String {
    let cpu = &machine.cpus()[number];
    let (name, base, limit) = if local {
        ("LDT", cpu.seg[LDTR].base, u64::from(cpu.seg[LDTR].limit))
    } else {
        ("GDT", cpu.gdtr.base, u64::from(cpu.gdtr.limit))
    };
    if local && (cpu.seg[LDTR].rights.unusable() || cpu.seg[LDTR].selector & 0xfffc == 0) {
        return "LDTR holds a null selector\n".into();
    }
    let long = cpu.long_mode();
    let mut text = format!("{name} at {base:#x}, limit {limit:#x}\n");
    let mut offset = 0;
    while offset + 7 <= limit.min(0xffff) {
        let selector = offset | if local { 4 } else { 0 };
        let address = base.wrapping_add(offset);
        let Some(raw) = quad(machine, number, address) else {
            let _ = writeln!(text, "{selector:04x}  cannot be read");
            break;
        };
        offset += 8;
        if raw == 0 {
            continue;
        }
        let descriptor = Descriptor { raw, address };
        let rights = descriptor.rights();
        // In long mode system descriptors take two entries.
        let high = if long && !rights.code_or_data() {
            offset += 8;
            quad(machine, number, address.wrapping_add(8)).unwrap_or(0)
        } else {
            0
        };
        let words = rights_in_words(rights, long);
        let _ = if is_gate(rights) {
            let target = descriptor.gate_offset() | high << 32;
            writeln!(text, "{selector:04x}  {:04x}:{target:08x}  {words}", descriptor.gate_selector())
        } else {
            let base = descriptor.base() | high << 32;
            writeln!(text, "{selector:04x}  base {base:08x}  limit {:08x}  {words}", descriptor.limit())
        };
    }
    text
}

/// The IDT: the interrupt vector table in real mode.
pub fn interrupts(machine: &Machine, number: usize) -> String {
    let cpu = &machine.cpus()[number];
    let (base, limit) = (cpu.idtr.base, u64::from(cpu.idtr.limit));
    let name = |vector: u64| if vector < 32 { fault::mnemonic(vector as u8) } else { "" };
    let mut text = format!("IDT at {base:#x}, limit {limit:#x}\n");
    let size: u64 = if !cpu.protected() {
        4
    } else if cpu.long_mode() {
        16
    } else {
        8
    };
    for vector in 0..256 {
        let address = base.wrapping_add(vector * size);
        if vector * size + size - 1 > limit {
            break;
        }
        let mut bytes = [0; 16];
        if machine.peek(number, address, &mut bytes[..size as usize]) < size as usize {
            let _ = writeln!(text, "{vector:02x}  cannot be read");
            break;
        }
        let raw = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        if raw == 0 {
            continue;
        }
        let what = if size == 4 {
            format!("{:04x}:{:04x}", raw >> 16 & 0xffff, raw & 0xffff)
        } else {
            let gate = Descriptor { raw, address };
            let high = u64::from_le_bytes(bytes[8..].try_into().expect("eight bytes"));
            let ist = if size == 16 && raw >> 32 & 7 != 0 {
                format!(", IST {}", raw >> 32 & 7)
            } else {
                String::new()
            };
            let words = rights_in_words(gate.rights(), size == 16);
            format!("{:04x}:{:08x}  {words}{ist}", gate.gate_selector(), gate.gate_offset() | high << 32)
        };
        let _ = writeln!(text, "{}", format!("{vector:02x}  {:4} {what}", name(vector)).trim_end());
    }
    text
}

/// The task-state segment that TR names.
pub fn task(machine: &Machine, number: usize) -> String {
    let cpu = &machine.cpus()[number];
    let tr = &cpu.seg[TR];
    let long = cpu.long_mode();
    let mut text = format!(
        "TR {:04x}, base {:#x}, limit {:#x}, {}\n",
        tr.selector,
        tr.base,
        tr.limit,
        rights_in_words(tr.rights, long)
    );
    if tr.selector & 0xfffc == 0 {
        return text;
    }
    let field = |offset: u64, size: usize| {
        let mut bytes = [0; 8];
        let read = machine.peek(number, tr.base.wrapping_add(offset), &mut bytes[..size]);
        (read == size).then(|| u64::from_le_bytes(bytes))
    };
    let mut line = |name: &str, value: Option<u64>| {
        let _ = match value {
            Some(value) => writeln!(text, "{name:8} {value:#x}"),
            None => writeln!(text, "{name:8} cannot be read"),
        };
    };
    if long {
        for n in 0..3 {
            line(&format!("RSP{n}"), field(4 + n * 8, 8));
        }
        for n in 1..8 {
            line(&format!("IST{n}"), field(0x1c + n * 8, 8));
        }
        line("I/O map", field(0x66, 2));
    } else if tr.rights.kind() & 8 != 0 {
        for n in 0..3 {
            line(&format!("ESP{n}"), field(4 + n * 8, 4));
            line(&format!("SS{n}"), field(8 + n * 8, 2));
        }
        let saved = ["CR3", "EIP", "EFLAGS", "EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"];
        for (n, name) in (0..).zip(saved) {
            line(name, field(0x1c + n * 4, 4));
        }
        for (n, name) in (0..).zip(["ES", "CS", "SS", "DS", "FS", "GS", "LDT"]) {
            line(name, field(0x48 + n * 4, 2));
        }
        line("I/O map", field(0x66, 2));
    } else {
        for n in 0..3 {
            line(&format!("SP{n}"), field(2 + n * 4, 2));
            line(&format!("SS{n}"), field(4 + n * 4, 2));
        }
        for (n, name) in (0..).zip(["IP", "FLAGS", "AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI"]) {
            line(name, field(0xe + n * 2, 2));
        }
        for (n, name) in (0..).zip(["ES", "CS", "SS", "DS", "LDT"]) {
            line(name, field(0x22 + n * 2, 2));
        }
    }
    text
}

/// The base of the segment that a selector names now, as a load would find it.
pub fn base_of(machine: &Machine, number: usize, selector: u16) -> Option<u64> {
    let cpu: &Cpu = &machine.cpus()[number];
    // What is loaded counts first: at reset CS does not lie where F000h says.
    if cpu.seg[CS].selector == selector {
        return Some(cpu.seg[CS].base);
    }
    if cpu.paragraphs() {
        return Some(u64::from(selector) << 4);
    }
    let table = if selector & 4 == 0 { cpu.gdtr.base } else { cpu.seg[LDTR].base };
    let address = table.wrapping_add(u64::from(selector & 0xfff8));
    let raw = quad(machine, number, address)?;
    Some(Descriptor { raw, address }.base())
}
