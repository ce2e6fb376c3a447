//! Memory for the monitor: dumps, disassembly, page walks and what is mapped.

use std::fmt::Write as _;

use emu_core::cpu::CS;
use emu_core::cpu::control::CR4_PAE;
use emu_core::machine::Machine;
use emu_core::mmu::look::{self, Page, Walk};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

/// Bytes of memory, 16 a line; what cannot be read ends it.
pub fn dump(lines: u64, mut at: u64, mut read: impl FnMut(u64, &mut [u8]) -> usize) -> String {
    let mut text = String::new();
    for _ in 0..lines {
        let mut bytes = [0; 16];
        let count = read(at, &mut bytes);
        if count == 0 {
            let _ = writeln!(text, "{at:016x}  no RAM or ROM is mapped here");
            break;
        }
        let hex: String = bytes[..count].iter().map(|byte| format!(" {byte:02x}")).collect();
        let show = |&byte: &u8| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' };
        let letters: String = bytes[..count].iter().map(show).collect();
        let _ = writeln!(text, "{at:016x} {hex:48}  {letters}");
        at = at.wrapping_add(count as u64);
        if count < bytes.len() {
            let _ = writeln!(text, "{at:016x}  no RAM or ROM is mapped here");
            break;
        }
    }
    text
}

/// Instructions from a linear address on, as code of so many bits.
pub fn disassemble(machine: &Machine, number: usize, linear: u64, count: u64, bits: u32) -> String {
    let cpu = &machine.cpus()[number];
    let base = cpu.seg[CS].base;
    let mut text = String::new();
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    let mut at = linear;
    for _ in 0..count {
        let mut bytes = [0; 15];
        let read = machine.peek(number, at, &mut bytes);
        if read == 0 {
            let _ = writeln!(text, "{at:x}  no RAM or ROM is mapped here");
            break;
        }
        // The operands of jumps are offsets in CS.
        let ip = at.wrapping_sub(base) & if bits == 64 { u64::MAX } else { 0xffff_ffff };
        let insn = Decoder::with_ip(bits, &bytes[..read], ip, DecoderOptions::NONE).decode();
        let mut words = String::new();
        if insn.is_invalid() {
            words.push_str("(bad)");
        } else {
            formatter.format(&insn, &mut words);
        }
        let len = insn.len().max(1);
        let hex: String = bytes[..len.min(read)].iter().map(|byte| format!("{byte:02x}")).collect();
        let place = if base == 0 && !cpu.paragraphs() {
            format!("{at:x}")
        } else {
            format!("{:04x}:{ip:04x} {at:x}", cpu.seg[CS].selector)
        };
        let _ = writeln!(text, "{place}  {hex:16} {words}");
        at = at.wrapping_add(len as u64) & cpu.linear_mask;
    }
    text
}

/// The bits of an entry that software looks at first.
fn entry_bits(value: u64, wide: bool) -> String {
    const NAMES: [(u32, &str); 10] = [
        (0, "P"),
        (1, "R/W"),
        (2, "U/S"),
        (3, "PWT"),
        (4, "PCD"),
        (5, "A"),
        (6, "D"),
        (7, "PS/PAT"),
        (8, "G"),
        (63, "XD"),
    ];
    let set = |&&(bit, _): &&(u32, &str)| value >> bit & 1 != 0 && (wide || bit < 32);
    let names: Vec<&str> = NAMES.iter().filter(set).map(|(_, name)| *name).collect();
    names.join(" ")
}

fn size_in_words(size: u64) -> String {
    match size {
        u64::MAX => "paging is off".into(),
        0x1000 => "4 KiB page".into(),
        0x4000_0000 => "1 GiB page".into(),
        size => format!("{} MiB page", size >> 20),
    }
}

fn page_in_words(page: &Page) -> String {
    let right = |on: bool, name: &'static str| if on { name } else { "-" };
    format!(
        "{}{}{} {}",
        right(page.user, "u"),
        right(page.writable, "w"),
        right(page.executable, "x"),
        size_in_words(page.size)
    )
}

/// A page walk, entry by entry.
pub fn page_walk(machine: &Machine, number: usize, linear: u64) -> String {
    let cpu = &machine.cpus()[number];
    let Walk { entries, page } = look::walk(cpu, machine.memory(), linear);
    let mut text = format!("linear {linear:#x}, CR3 {:#x}\n", cpu.cr3);
    let wide = cpu.long_mode() || entries.len() == 3 || entries.iter().any(|entry| entry.name == "PDPTE");
    for entry in entries {
        let place = entry.address.map_or("in the processor".into(), |at| format!("at {at:#x}"));
        let bits = entry_bits(entry.value, wide);
        let _ = writeln!(text, "{:6} {place}: {:#018x}  {bits}", entry.name, entry.value);
    }
    let _ = match page {
        Some(page) => writeln!(text, "physical {:#x}, {}", page.physical, page_in_words(&page)),
        None => writeln!(text, "not present"),
    };
    text
}

/// Most ranges that one command prints.
const MOST_RANGES: usize = 1000;

/// The linear addresses that are mapped, neighbours with equal rights together: `info mem` of other monitors.
pub fn maps(machine: &Machine, number: usize, from: u64, to: u64) -> String {
    let cpu = &machine.cpus()[number];
    let mem = machine.memory();
    let (mut text, mut ranges) = (String::new(), 0);
    let mut open: Option<(u64, u64, Page)> = None;
    let mut at = from & !0xfff;
    loop {
        let walk = look::walk(cpu, mem, at);
        // What is not present is skipped by as much as its entry would cover.
        let step = match walk.page {
            Some(page) if page.size == u64::MAX => return "paging is off: linear is physical\n".into(),
            Some(page) => page.size,
            None => covered(
                walk.entries.last().map_or("PTE", |entry| entry.name),
                cpu.long_mode() || cpu.cr4 & CR4_PAE != 0,
            ),
        };
        let start = at & !(step - 1);
        let end = start.wrapping_add(step);
        let same = |one: &Page, other: &Page| {
            (one.user, one.writable, one.executable) == (other.user, other.writable, other.executable)
        };
        open = match (open, walk.page) {
            (Some((first, last, page)), Some(next)) if last == start && same(&page, &next) => {
                Some((first, end, page))
            }
            (before, next) => {
                if let Some((first, last, page)) = before {
                    ranges += 1;
                    line(&mut text, first, last, &page);
                }
                next.map(|page| (start, end, Page { physical: page.physical & !(step - 1), ..page }))
            }
        };
        let bits = if !cpu.long_mode() {
            32
        } else if walk.entries.first().is_some_and(|entry| entry.name == "PML5E") {
            57
        } else {
            48
        };
        // From the end of the lower half to the upper one.
        at = if bits > 32 && end == 1 << (bits - 1) { u64::MAX << (bits - 1) } else { end };
        if at == 0 || at > to || bits == 32 && at >> 32 != 0 || ranges >= MOST_RANGES {
            break;
        }
    }
    if let Some((first, last, page)) = open {
        line(&mut text, first, last, &page);
    }
    if ranges >= MOST_RANGES {
        let _ = writeln!(text, "and more; maps {at:#x} goes on from here");
    }
    if text.is_empty() { "nothing is mapped there\n".into() } else { text }
}

fn line(text: &mut String, first: u64, last: u64, page: &Page) {
    let right = |on: bool, name: char| if on { name } else { '-' };
    let _ = writeln!(
        text,
        "{first:016x}-{last:016x} {:12x} {}r{}{}",
        last.wrapping_sub(first),
        right(page.user, 'u'),
        right(page.writable, 'w'),
        right(page.executable, 'x')
    );
}

/// How much of linear memory one entry of this name covers.
fn covered(name: &str, wide: bool) -> u64 {
    let shift = match (name, wide) {
        ("PML5E", _) => 48,
        ("PML4E", _) => 39,
        ("PDPTE", _) => 30,
        ("PDE", true) => 21,
        ("PDE", false) => 22,
        _ => 12,
    };
    1 << shift
}
