//! The shell: reads lines, splits them at `;`, runs one command after the other.

use crate::program::{self, name_of};
use crate::task::{self, Exit, State};
use crate::{apic, boot_info, console, cpu, frames, ide, irq, oops, power, print, println, rtc, selftest, timer};

/// One command: name, arguments, what it does, and the function that does it.
struct Command {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&str),
}

const COMMANDS: &[Command] = &[
    Command { name: "help", arguments: "", about: "this list", run: help },
    Command { name: "clear", arguments: "", about: "clear the screen", run: |_| console::clear() },
    Command { name: "cpu", arguments: "", about: "the processor", run: cpu_info },
    Command { name: "date", arguments: "", about: "the battery clock", run: date },
    Command { name: "disk", arguments: "", about: "the disk", run: disk },
    Command { name: "echo", arguments: "TEXT", about: "print a text", run: |text| println!("{text}") },
    Command { name: "irq", arguments: "", about: "interrupt counts", run: interrupts },
    Command { name: "kill", arguments: "ID", about: "stop a program", run: kill },
    Command { name: "mem", arguments: "", about: "memory", run: memory },
    Command { name: "oops", arguments: "", about: "die of a mistake in memory, for practice", run: oops::command },
    Command { name: "poweroff", arguments: "", about: "switch the machine off", run: |_| power::off() },
    Command { name: "programs", arguments: "", about: "user programs on the disk", run: programs },
    Command { name: "ps", arguments: "", about: "tasks", run: ps },
    Command { name: "reboot", arguments: "", about: "start over", run: |_| power::reboot() },
    Command {
        name: "run",
        arguments: "NAME [NUMBER] [&]",
        about: "run a user program; & in the background",
        run,
    },
    Command {
        name: "selftest",
        arguments: "[--exit]",
        about: "check the machine; --exit reports to port F4h",
        run: selftest::command,
    },
    Command { name: "ticks", arguments: "", about: "the timers", run: ticks },
    Command { name: "uname", arguments: "", about: "the system's name", run: |_| uname() },
    Command { name: "uptime", arguments: "", about: "time since power-on", run: uptime },
];

/// Never returns.
pub fn run_forever() -> ! {
    let mut line = [0; 256];
    loop {
        report_background();
        print!("emu$ ");
        let length = console::read_line(&mut line);
        let text = core::str::from_utf8(&line[..length]).unwrap_or("");
        for command in text.split(';') {
            execute(command.trim());
        }
    }
}

fn execute(text: &str) {
    if text.is_empty() {
        return;
    }
    let (name, arguments) = text.split_once(' ').unwrap_or((text, ""));
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(arguments.trim()),
        None => println!("{name}: not found; try help"),
    }
}

fn help(_: &str) {
    for command in COMMANDS {
        let mut head = [b' '; 28];
        for (to, from) in head
            .iter_mut()
            .zip(command.name.bytes().chain(core::iter::once(b' ')).chain(command.arguments.bytes()))
        {
            *to = from;
        }
        println!("  {}{}", core::str::from_utf8(&head).unwrap_or(""), command.about);
    }
    println!(
        "Several commands on a line: separate them with `;`. Ctrl-C stops a program, Ctrl-U clears the line."
    );
}

/// Name, release and machine.
pub fn uname() {
    println!("emu-guest {} x86_64", env!("GUEST_VERSION"));
}

fn uptime(_: &str) {
    let ms = timer::now_ns() / 1_000_000;
    println!("up {}.{:03} s, {} ticks", ms / 1000, ms % 1000, timer::ticks());
}

fn date(_: &str) {
    let [year, month, day, hour, minute, second] = rtc::now();
    println!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
}

fn ticks(_: &str) {
    println!("{} ticks, one every {} us", timer::ticks(), timer::period_ns() / 1000);
    println!("time-stamp counter {}.{:03} MHz", timer::tsc_khz() / 1000, timer::tsc_khz() % 1000);
    if apic::present() {
        println!("local APIC timer {} kHz (after division by 16)", timer::apic_hz() / 1000);
    }
    println!("8254: {} interrupts", timer::pit_ticks());
}

fn ps(_: &str) {
    println!("  ID  STATE    TICKS  SWITCHES        TIME  NAME");
    let current = task::current().id;
    task::for_each(|task| {
        let state = match task.state {
            State::Ready if task.id == current => "running",
            State::Ready => "ready",
            State::Blocked => "blocked",
            _ => "ended",
        };
        let kind = if task.user { "" } else { " (kernel)" };
        println!(
            "{:4}  {state:7}{:7}{:10}{:9} us  {}{kind}",
            task.id,
            task.ticks,
            task.switches,
            timer::tsc_span_ns(task.ran) / 1000,
            name_of(&task.name)
        );
    });
}

fn memory(_: &str) {
    let info = boot_info::get();
    let source = ["?", "INT 15h E820h", "INT 15h E801h", "INT 15h 88h"][info.map_source as usize & 3];
    println!("map from {source}:");
    for range in info.map() {
        let kind = match range.kind {
            1 => "usable",
            2 => "reserved",
            3 => "ACPI tables",
            4 => "ACPI non-volatile",
            _ => "bad",
        };
        println!("  {:012x}-{:012x}  {kind}", range.base, range.base + range.length - 1);
    }
    let (total, free) = frames::counts();
    println!("{} KiB managed, {} KiB free", total * 4, free * 4);
}

fn cpu_info(_: &str) {
    let leaf = cpu::cpuid(0);
    let mut vendor = [0; 12];
    for (part, value) in vendor.chunks_exact_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    let signature = cpu::cpuid(1).eax;
    let (base_family, base_model) = (signature >> 8 & 15, signature >> 4 & 15);
    let family = base_family + if base_family == 15 { signature >> 20 & 0xFF } else { 0 };
    let model = base_model + if matches!(base_family, 6 | 15) { (signature >> 16 & 15) << 4 } else { 0 };
    println!(
        "{} family {family} model {model} stepping {}",
        core::str::from_utf8(&vendor).unwrap_or("?"),
        signature & 15
    );
    let mut brand = [0; 48];
    for (part, leaf) in brand.chunks_exact_mut(16).zip(0x8000_0002u32..) {
        let r = cpu::cpuid(leaf);
        for (bytes, value) in part.chunks_exact_mut(4).zip([r.eax, r.ebx, r.ecx, r.edx]) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }
    let brand = core::str::from_utf8(&brand).unwrap_or("").trim_matches(['\0', ' ']);
    if !brand.is_empty() {
        println!("{brand}");
    }
    let (features, extended) = (cpu::cpuid(1), cpu::cpuid(0x8000_0001));
    let list: &[(u32, u32, &str)] = &[
        (features.edx, 0, "fpu"),
        (features.edx, 3, "pse"),
        (features.edx, 4, "tsc"),
        (features.edx, 5, "msr"),
        (features.edx, 6, "pae"),
        (features.edx, 8, "cx8"),
        (features.edx, 9, "apic"),
        (features.edx, 13, "pge"),
        (features.edx, 15, "cmov"),
        (features.edx, 24, "fxsr"),
        (features.edx, 25, "sse"),
        (features.edx, 26, "sse2"),
        (features.ecx, 0, "sse3"),
        (features.ecx, 9, "ssse3"),
        (features.ecx, 19, "sse4.1"),
        (features.ecx, 20, "sse4.2"),
        (features.ecx, 23, "popcnt"),
        (features.ecx, 28, "avx"),
        (extended.edx, 11, "syscall"),
        (extended.edx, 20, "nx"),
        (extended.edx, 26, "1gb-pages"),
        (extended.edx, 29, "lm"),
    ];
    for (register, bit, name) in list {
        if register >> bit & 1 != 0 {
            print!("{name} ");
        }
    }
    println!();
    println!("CR0 {:#x} CR3 {:#x} CR4 {:#x}", cpu::read_cr0(), cpu::read_cr3(), cpu::read_cr4());
    println!("EFER {:#x}, {} MHz", cpu::read_msr(cpu::MSR_EFER), timer::tsc_khz() / 1000);
}

fn disk(_: &str) {
    let Some(drive) = ide::drive() else { return println!("no disk") };
    println!("{}", core::str::from_utf8(&drive.model).unwrap_or("?").trim_end());
    println!(
        "{} sectors, {} KiB, {} heads, {} sectors per track, {}",
        drive.sectors,
        drive.sectors / 2,
        drive.heads,
        drive.sectors_per_track,
        if drive.lba48 { "LBA48" } else { "LBA28" }
    );
    let (read, written) = ide::counts();
    println!("{read} sectors read, {written} written, {} interrupts", irq::count(irq::line::IDE));
}

fn interrupts(_: &str) {
    for (line, name) in [(0, "8254"), (1, "keyboard"), (4, "serial"), (8, "clock"), (14, "disk")] {
        println!("{line:3} {:8}  {name}", irq::count(line));
    }
    let (pic, apic, spurious) = irq::totals();
    println!("by the 8259 {pic}, from the APIC timer {apic}, without a cause {spurious}");
}

fn programs(_: &str) {
    match program::catalogue() {
        Ok(entries) => {
            for entry in entries {
                println!("{:8}  {}", entry.bytes, name_of(&entry.name));
            }
        }
        Err(error) => println!("programs: {error:?}"),
    }
}

fn run(arguments: &str) {
    let background = arguments.ends_with('&');
    let mut words = arguments.trim_end_matches('&').split_ascii_whitespace();
    let Some(name) = words.next() else { return println!("run: which program? try programs") };
    let argument = match words.next().map(str::parse) {
        None => 0,
        Some(Ok(number)) => number,
        Some(Err(_)) => return println!("run: the argument is a number"),
    };
    let program = match program::load(name, argument) {
        Ok(program) => program,
        Err(program::LoadError::NotFound) => return println!("run: {name}: not found; try programs"),
        Err(error) => return println!("run: {name}: {error:?}"),
    };
    let Some(id) = task::spawn_program(name, program, false) else { return println!("run: too many tasks") };
    if background {
        return println!("[{id}] {name}");
    }
    console::clear_interrupted();
    task::wait_until(u64::MAX, || task::has_ended(id) || console::interrupted());
    if !task::has_ended(id) {
        task::kill(id);
        console::drop_until_interrupt();
        println!("^C");
    }
    if let Some((exit, _)) = task::wait(id) {
        report(id, name, exit, false);
    }
}

fn kill(argument: &str) {
    match argument.parse().ok().and_then(task::get) {
        Some(task) if task.user => task::kill(task.id),
        _ => println!("kill: {argument}: no such program"),
    }
}

/// Tells about background programs that have ended.
fn report_background() {
    task::for_each(|task| {
        if task.state == State::Ended
            && let Some((exit, task)) = task::reap(task.id)
        {
            report(task.id, name_of(&task.name), exit, true);
        }
    });
}

fn report(id: u64, name: &str, exit: Exit, always: bool) {
    match exit {
        Exit::Code(0) if !always => {}
        Exit::Code(code) => println!("[{id}] {name}: exit {code}"),
        Exit::Fault(fault) => println!("[{id}] {name}: {fault}"),
        Exit::Killed => println!("[{id}] {name}: stopped"),
    }
}
