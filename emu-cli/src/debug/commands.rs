//! The monitor's commands about the machine: the same for gdb's `monitor` and for Ctrl-A C.

use std::fs::OpenOptions;

use emu_core::cpu::debugger::{BreakPoint, Place, WatchPoint};
use emu_core::cpu::{CS, DS, ES, FS, GS, SS, fault};
use emu_core::explain;
use emu_core::mmu::look;
use emu_trace::record::Recorder;

use super::expression::{self, Expression};
use super::{Condition, Owner, What, describe, memory, tables};
use crate::display;
use crate::explain::Explainer;
use crate::gdb::registers;
use crate::machine::Guest;
use crate::screenshot;

/// What `help` prints about these commands.
pub const HELP: &str = "\
info                     where the machine is, and why it stands
cpu [N]                  the processor that commands are about
regs                     registers, in the processor's own terms
print EXPR               a value
x ADDR [LINES]           memory in hexadecimal
disas [ADDR [COUNT]]     instructions, as code of the current mode
disas16, 32, 64          the same, as code of so many bits
write ADDR BYTE...       writes memory (bytes in hexadecimal)
walk ADDR                page walk of a linear address
maps [FROM [TO]]         linear addresses that are mapped
gdt, ldt, idt, tss       descriptor tables, decoded
devices [NAME]           chips, or the state of one
screen                   the text screen
screenshot FILE.png      the screen as a picture, to a new file
why                      the last exceptions: which check failed, tables, branches (--explain)
trace                    has all that --trace recorded so far written
break ADDR [if EXPR]     stops before an instruction
watch, rwatch, awatch ADDR [LEN] [if EXPR]
                         stops behind writes, reads, both
catch exception N|#PF|all, interrupt N, port P[-Q], msr N[-M], cr3, mode [if EXPR]
                         stops at these; mode is 16, 32 or 64 bits, CR0.PE, CR0.PG
points                   what stops, and how often it did
delete N|all             removes such a point
reset                    presses the reset button
ADDR is an expression (linear), p:EXPR (physical) or SEG:OFF. In SEG:OFF, SEG is a segment register or a selector, and
bare digits are hexadecimal; elsewhere 0x is needed. Expressions have C's operators, registers, and b[] w[] d[] q[] [].
";

/// Names of the commands.
pub const NAMES: [&str; 28] = [
    "cpu",
    "regs",
    "print",
    "p",
    "x",
    "disas",
    "disas16",
    "disas32",
    "disas64",
    "write",
    "walk",
    "maps",
    "gdt",
    "ldt",
    "idt",
    "tss",
    "devices",
    "screen",
    "screenshot",
    "why",
    "trace",
    "break",
    "watch",
    "rwatch",
    "awatch",
    "catch",
    "points",
    "delete",
];

/// Most lines or instructions of one command.
const MOST: u64 = 1000;

type Reply = Result<String, String>;

/// Carries out a command about the machine; `None` when there is no such command.
pub fn run(guest: &mut Guest, line: &str) -> Option<Reply> {
    let (name, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    guest.debug.selected = guest.debug.selected.min(guest.machine.cpus().len() - 1);
    Some(match name {
        "cpu" => select(guest, rest),
        "regs" => Ok(show_registers(guest)),
        "print" | "p" => print(guest, rest),
        "x" => dump(guest, rest),
        "disas" => disassemble(guest, rest, None),
        "disas16" => disassemble(guest, rest, Some(16)),
        "disas32" => disassemble(guest, rest, Some(32)),
        "disas64" => disassemble(guest, rest, Some(64)),
        "write" => write(guest, rest),
        "walk" => linear(guest, rest).map(|at| memory::page_walk(&guest.machine, guest.debug.selected, at)),
        "maps" => maps(guest, rest),
        "gdt" => Ok(tables::segments(&guest.machine, guest.debug.selected, false)),
        "ldt" => Ok(tables::segments(&guest.machine, guest.debug.selected, true)),
        "idt" => Ok(tables::interrupts(&guest.machine, guest.debug.selected)),
        "tss" => Ok(tables::task(&guest.machine, guest.debug.selected)),
        "devices" => devices(guest, rest),
        "screen" => Ok(guest
            .text_screen()
            .map_or_else(|| "The guest shows graphics.\n".into(), |screen| display::plain(&screen))),
        "screenshot" => take_picture(guest, rest),
        "why" => Ok(why(guest)),
        "trace" => trace(guest),
        "break" => set_break(guest, rest),
        "watch" => set_watch(guest, rest, false, true),
        "rwatch" => set_watch(guest, rest, true, false),
        "awatch" => set_watch(guest, rest, true, true),
        "catch" => set_catch(guest, rest),
        "points" => Ok(points(guest)),
        "delete" => delete(guest, rest),
        "reset" => {
            guest.reset();
            Ok(String::new())
        }
        _ => return None,
    })
}

fn select(guest: &mut Guest, rest: &str) -> Reply {
    if !rest.is_empty() {
        let count = guest.machine.cpus().len();
        let number = rest.parse().ok().filter(|&number| number < count);
        guest.debug.selected =
            number.ok_or_else(|| format!("expected a processor from 0 to {}", count - 1))?;
    }
    Ok(format!("processor {}\n", guest.debug.selected))
}

fn value(guest: &Guest, text: &str) -> Result<u64, String> {
    let parsed = expression::parse(text)?;
    parsed.value(&guest.machine, guest.debug.selected).ok_or_else(|| format!("{text}: it has no value now"))
}

/// An address as it is typed, and the selector when there is one.
fn place(guest: &Guest, text: &str) -> Result<(Place, Option<u16>), String> {
    if let Some(physical) = text.strip_prefix("p:") {
        return Ok((Place::Physical(value(guest, physical)?), None));
    }
    let Some((segment, offset)) = text.split_once(':') else {
        return Ok((Place::Linear(value(guest, text)?), None));
    };
    let part = |text: &str| {
        let text = text.trim();
        let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if bare { u64::from_str_radix(text, 16).map_err(|why| why.to_string()) } else { value(guest, text) }
    };
    let offset = part(offset)?;
    let cpu = &guest.machine.cpus()[guest.debug.selected];
    const NAMES: [(&str, usize); 6] =
        [("cs", CS), ("ds", DS), ("es", ES), ("ss", SS), ("fs", FS), ("gs", GS)];
    let name = segment.trim().trim_start_matches('$').to_ascii_lowercase();
    let (base, selector) = match NAMES.iter().find(|(known, _)| *known == name) {
        Some(&(_, register)) => (cpu.seg[register].base, cpu.seg[register].selector),
        None => {
            let selector = part(segment)? as u16;
            let base = tables::base_of(&guest.machine, guest.debug.selected, selector)
                .ok_or_else(|| format!("selector {selector:#x}: its descriptor cannot be read"))?;
            (base, selector)
        }
    };
    let mask = if cpu.long_mode() { u64::MAX } else { 0xffff_ffff };
    Ok((Place::Linear(base.wrapping_add(offset) & mask), Some(selector)))
}

fn linear(guest: &Guest, text: &str) -> Result<u64, String> {
    match place(guest, text)? {
        (Place::Linear(at), _) => Ok(at),
        (Place::Physical(_), _) => Err("expected a linear address".into()),
    }
}

/// An address and what follows it: the address may contain spaces only in parentheses or brackets.
fn split_address(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ' ' if depth <= 0 => return (&text[..at], text[at..].trim()),
            _ => {}
        }
    }
    (text, "")
}

fn count(guest: &Guest, text: &str, default: u64) -> Result<u64, String> {
    if text.is_empty() { Ok(default) } else { value(guest, text).map(|count| count.min(MOST)) }
}

fn print(guest: &Guest, rest: &str) -> Reply {
    let value = value(guest, rest)?;
    Ok(format!("{value:#x} = {value}\n"))
}

fn show_registers(guest: &Guest) -> String {
    let (machine, number) = (&guest.machine, guest.debug.selected);
    let cpu = &machine.cpus()[number];
    let get = |name: &str| registers::by_name(name).map_or(0, |n| registers::value(machine, number, n));
    let mut text = format!(
        "CPU {number}, {}-bit code, CPL {}{}\n",
        cpu.code_size(),
        cpu.cpl,
        if cpu.halted { ", halted" } else { "" }
    );
    let names = [
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15",
    ];
    for four in names.chunks(4) {
        let line: Vec<String> = four.iter().map(|name| format!("{name:3} {:016x}", get(name))).collect();
        text += &(line.join("  ") + "\n");
    }
    text += &format!(
        "{:04x}:{:x} (linear {:x})  eflags {:08x}\n",
        cpu.seg[CS].selector,
        get("ip"),
        get("rip"),
        get("eflags")
    );
    for (name, register) in [("cs", CS), ("ss", SS), ("ds", DS), ("es", ES), ("fs", FS), ("gs", GS)] {
        let s = &cpu.seg[register];
        let words = tables::rights_in_words(s.rights, cpu.long_mode());
        text += &format!("{name} {:04x}  base {:016x}  limit {:08x}  {words}\n", s.selector, s.base, s.limit);
    }
    text += &format!(
        "cr0 {:08x}  cr2 {:016x}  cr3 {:016x}  cr4 {:08x}  cr8 {:x}  efer {:x}\n",
        cpu.cr0,
        cpu.cr2,
        cpu.cr3,
        cpu.cr4,
        get("cr8"),
        cpu.efer
    );
    text
}

fn dump(guest: &Guest, rest: &str) -> Reply {
    let (address, lines) = split_address(rest);
    let lines = count(guest, lines, 4)?;
    let machine = &guest.machine;
    Ok(match place(guest, address)?.0 {
        Place::Linear(at) => memory::dump(lines, at, |at, out| machine.peek(guest.debug.selected, at, out)),
        Place::Physical(at) => {
            memory::dump(lines, at, |at, out| look::read_physical(machine.memory(), at, out))
        }
    })
}

fn disassemble(guest: &Guest, rest: &str, bits: Option<u32>) -> Reply {
    let (address, lines) = split_address(rest);
    let cpu = &guest.machine.cpus()[guest.debug.selected];
    let at = if address.is_empty() { cpu.linear_ip() } else { linear(guest, address)? };
    let lines = count(guest, lines, 8)?;
    let bits = bits.unwrap_or_else(|| cpu.code_size());
    Ok(memory::disassemble(&guest.machine, guest.debug.selected, at, lines, bits))
}

fn write(guest: &mut Guest, rest: &str) -> Reply {
    let (address, bytes) = split_address(rest);
    let bytes: Result<Vec<u8>, _> =
        bytes.split_whitespace().map(|byte| u8::from_str_radix(byte.trim_start_matches("0x"), 16)).collect();
    let bytes = bytes.ok().filter(|bytes| !bytes.is_empty());
    let bytes = bytes.ok_or("expected bytes in hexadecimal behind the address")?;
    let done = match place(guest, address)?.0 {
        Place::Linear(at) => guest.machine.poke(guest.debug.selected, at, &bytes),
        Place::Physical(at) => guest.machine.poke_physical(at, &bytes),
    };
    if done < bytes.len() {
        return Err(format!("{done} of {} bytes written: the next one is not RAM", bytes.len()));
    }
    Ok(String::new())
}

fn maps(guest: &Guest, rest: &str) -> Reply {
    let (from, to) = split_address(rest);
    let from = if from.is_empty() { 0 } else { linear(guest, from)? };
    let to = if to.is_empty() { u64::MAX } else { linear(guest, to)? };
    Ok(memory::maps(&guest.machine, guest.debug.selected, from, to))
}

fn devices(guest: &mut Guest, rest: &str) -> Reply {
    let names = emu_devices::pc::CHIPS;
    if rest.is_empty() {
        return Ok(names.join(" ") + "\n");
    }
    guest
        .chip_state(rest)
        .map(|state| one_field_a_line(&state))
        .ok_or_else(|| format!("expected one of {}", names.join(" ")))
}

/// Breaks the debug form of a struct into lines, one a field.
fn one_field_a_line(text: &str) -> String {
    let (mut out, mut depth) = (String::new(), 0u32);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == ',' && depth <= 1 || c == '{' && depth == 1 {
            if c == '{' {
                out.push(c);
            }
            out.push_str("\n  ");
            chars.next_if_eq(&' ');
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

fn take_picture(guest: &mut Guest, rest: &str) -> Reply {
    if rest.is_empty() {
        return Err("expected a file for the picture".into());
    }
    // Whoever is on the line is not trusted to overwrite files.
    let file = OpenOptions::new().write(true).create_new(true).open(rest);
    let file = file.map_err(|why| format!("{rest}: {why}; expected a new file"))?;
    let picture = guest.picture();
    screenshot::write(&picture, file).map_err(|why| format!("{rest}: {why:#}"))?;
    Ok(format!("{} by {} pixels\n", picture.width, picture.height))
}

fn trace(guest: &mut Guest) -> Reply {
    let machine = &mut guest.machine;
    let flushed = machine.with_observer(|recorder: &mut Recorder, cpu| recorder.flush_and_wait(cpu));
    match flushed {
        Some(Ok(())) => Ok(format!("the trace is written up to count {}\n", machine.instructions())),
        Some(Err(why)) => Err(format!("--trace: it cannot be written: {why}")),
        None => Err("nothing is traced: expected emu --trace FILE".into()),
    }
}

fn why(guest: &mut Guest) -> String {
    let mut text = String::new();
    if let Some(hit) = &guest.debug.last {
        text += &format!("The machine stands because of: {}.\n", describe(hit));
    }
    let cpu = &guest.machine.cpus()[guest.debug.selected];
    // Only the processor whose turn it is reaches memory.
    let here = guest.machine.cpu().number == cpu.number;
    let mut lines = Vec::new();
    if guest.debug.shutdown && here {
        text += "The processor has shut down; going on resets the machine.\n";
        lines.extend(explain::chain(cpu));
        lines.extend(explain::registers(cpu));
    } else if let Some(exception) = cpu.debugger.held().filter(|_| here) {
        text += &format!("{exception} is delivered when it goes on.\n");
        lines.extend(explain::fault(cpu, exception, cpu.fault_address));
    } else if cpu.fault_chain.is_empty() {
        return text + "No exception has been delivered.\n";
    } else {
        text += match cpu.fault_chain.len() {
            1 => "The last exception:\n",
            _ => "The last exceptions, each raised while the one before was delivered:\n",
        };
        for delivered in &cpu.fault_chain {
            lines.push(delivered.to_string());
            let why = here.then(|| explain::delivered(cpu, delivered.exception, delivered.address));
            lines.extend(why.into_iter().flatten().map(|line| format!("  {line}")));
        }
    }
    if let Some(explainer) = guest.machine.observer::<Explainer>() {
        lines.extend(explainer.branches());
    }
    for line in lines {
        text += &format!("  {line}\n");
    }
    text
}

/// Splits off `if EXPR`.
fn condition(rest: &str) -> Result<(&str, Option<Condition>), String> {
    let found = rest.find(" if ").map(|at| (rest[..at].trim(), &rest[at + 4..]));
    let Some((before, text)) = found else { return Ok((rest, None)) };
    let parsed: Expression = expression::parse(text)?;
    Ok((before, Some(Condition::Typed { text: text.trim().to_owned(), parsed })))
}

fn add(guest: &mut Guest, what: What, condition: Option<Condition>) -> Reply {
    let Guest { machine, debug, .. } = guest;
    let number = debug.add(machine, Owner::Monitor, what, condition);
    Ok(format!("point {number}: {}\n", what.in_words()))
}

fn set_break(guest: &mut Guest, rest: &str) -> Reply {
    let (address, condition) = condition(rest)?;
    let (at, cs) = if address.is_empty() {
        (Place::Linear(guest.machine.cpus()[guest.debug.selected].linear_ip()), None)
    } else {
        place(guest, address)?
    };
    add(guest, What::Break(BreakPoint { at, cs }), condition)
}

fn set_watch(guest: &mut Guest, rest: &str, read: bool, write: bool) -> Reply {
    let (rest, condition) = condition(rest)?;
    let (address, len) = split_address(rest);
    let len = if len.is_empty() { 1 } else { value(guest, len)? };
    if len == 0 {
        return Err("expected at least one byte to watch".into());
    }
    let at = place(guest, address)?.0;
    add(guest, What::Watch(WatchPoint { at, len, read, write }), condition)
}

fn range<T: Copy + TryFrom<u64> + PartialOrd>(guest: &Guest, text: &str) -> Result<(T, T), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let end = |text: &str| {
        T::try_from(value(guest, text.trim())?).map_err(|_| format!("{text}: expected a smaller number"))
    };
    let (first, last) = (end(first)?, end(last)?);
    if first > last { Err(format!("{text}: expected a range that goes up")) } else { Ok((first, last)) }
}

fn set_catch(guest: &mut Guest, rest: &str) -> Reply {
    let (rest, condition) = condition(rest)?;
    let (kind, argument) = rest.split_once(' ').map_or((rest, ""), |(kind, rest)| (kind, rest.trim()));
    let what = match kind {
        "exception" => What::Exceptions(exceptions(guest, argument)?),
        "interrupt" => What::Interrupt(range::<u8>(guest, argument)?.0),
        "port" => {
            let (first, last) = range(guest, argument)?;
            What::Ports(first, last)
        }
        "msr" => {
            let (first, last) = range(guest, argument)?;
            What::Msrs(first, last)
        }
        "cr3" if argument.is_empty() => What::Cr3,
        "mode" if argument.is_empty() => What::Mode,
        _ => return Err("expected exception, interrupt, port, msr, cr3 or mode; help tells more".into()),
    };
    add(guest, what, condition)
}

fn exceptions(guest: &Guest, text: &str) -> Result<u32, String> {
    if text == "all" {
        return Ok(u32::MAX);
    }
    let named = (0..32).find(|&vector| {
        let name = fault::mnemonic(vector);
        name.eq_ignore_ascii_case(text) || name.trim_start_matches('#').eq_ignore_ascii_case(text)
    });
    let vector = match named {
        Some(vector) => Some(u64::from(vector)),
        None => value(guest, text).ok(),
    };
    match vector {
        Some(vector @ 0..32) => Ok(1 << vector),
        _ => Err(format!("{text}: expected all, an exception such as #PF, or a number from 0 to 31")),
    }
}

fn points(guest: &Guest) -> String {
    if guest.debug.points.is_empty() {
        return "nothing stops the machine\n".into();
    }
    let mut text = String::new();
    for point in &guest.debug.points {
        let owner = if point.owner == Owner::Monitor { "" } else { ", of gdb" };
        let condition = match &point.condition {
            Some(Condition::Typed { text, .. }) => format!(", if {text}"),
            Some(Condition::Agent(_)) => ", with a condition of gdb's".into(),
            None => String::new(),
        };
        text += &format!(
            "{}: {}{condition}{owner}; met {} times\n",
            point.number,
            point.what.in_words(),
            point.met
        );
    }
    text
}

fn delete(guest: &mut Guest, rest: &str) -> Reply {
    let Guest { machine, debug, .. } = guest;
    if rest == "all" {
        debug.remove(machine, |point| point.owner != Owner::Monitor);
        return Ok(String::new());
    }
    let number = rest.parse::<u32>().map_err(|_| "expected the number of a point, or all")?;
    match debug.remove(machine, |point| point.number != number || point.owner != Owner::Monitor) {
        0 => Err(format!("{number}: no such point, or it is gdb's")),
        _ => Ok(String::new()),
    }
}
