//! `--lint`: what a guest does that the manuals leave without meaning, or that nobody hears.
//!
//! Each finding is told once for each instruction that is to blame. Nothing about the run changes.

use std::collections::{HashMap, HashSet};

use clap::ValueEnum;
use emu_core::cpu::interrupt::Source;
use emu_core::cpu::{Cpu, RIP};
use emu_core::observe::{Control, Event, Flow, Hooks, Instruction, Kind, Memory, Observer, Port, Target};
use emu_devices::ports::{Claim, claim};
use iced_x86::{Formatter, IntelFormatter, Mnemonic, RflagsBits};

use crate::trace::symbols::Symbols;

/// Findings that a run prints.
const MOST: usize = 1000;
/// Ports below belong to fixed chips; above it PCI functions move about.
const FIXED_PORTS: u16 = 0x400;
/// The local APIC's EOI register in its page, and as an MSR.
const APIC_EOI: u64 = 0xb0;
const X2APIC_EOI: u32 = 0x80b;
const APIC_BASE: u64 = 0xfee0_0000;

/// `--lint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lint {
    /// Reads from pages of RAM that nobody has written.
    Unwritten,
    /// Use of flags that the instruction before left undefined.
    Flags,
    /// A handler of an external interrupt that returns without EOI.
    Eoi,
    /// Ports where no chip answers.
    Ports,
    /// Writes to ROM.
    Rom,
    /// All of them.
    All,
}

/// What is known of an instruction, by its address and bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    read: u32,
    defined: u32,
    undefined: u32,
    returns: bool,
}

/// An external interrupt whose handler has not returned.
#[derive(Clone, Copy, Debug)]
struct Handler {
    vector: u8,
    acknowledged: bool,
}

/// Looks on and finds fault.
#[derive(Debug)]
pub struct Linter {
    lints: Vec<Lint>,
    symbols: Symbols,
    known: HashMap<(u64, [u8; 15]), Flags>,
    /// Flags without a defined value, and the instruction that left them so.
    undefined: u32,
    culprit: u64,
    handlers: Vec<Handler>,
    told: HashSet<(u64, u8)>,
    lines: Vec<String>,
    here: u64,
}

impl Linter {
    /// Looks for these.
    pub fn new(lints: Vec<Lint>, symbols: Symbols) -> Self {
        Self {
            lints,
            symbols,
            known: HashMap::new(),
            undefined: 0,
            culprit: 0,
            handlers: Vec::new(),
            told: HashSet::new(),
            lines: Vec::new(),
            here: 0,
        }
    }

    fn wants(&self, lint: Lint) -> bool {
        self.lints.contains(&lint) || self.lints.contains(&Lint::All)
    }

    /// Takes the lines that there are to print.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    fn find(&mut self, cpu: &Cpu, kind: u8, what: impl FnOnce(&Self) -> String) {
        if self.told.len() >= MOST || !self.told.insert((self.here, kind)) {
            return;
        }
        let (place, text) = (self.place(self.here), what(self));
        self.lines.push(format!("lint: at {place}, count {}: {text}", cpu.instructions()));
        if self.told.len() == MOST {
            self.lines.push(format!("lint: {MOST} findings were told; no more are"));
        }
    }

    /// An address, with its name if it has one.
    fn place(&self, linear: u64) -> String {
        let name = self.symbols.show(linear);
        if name.is_empty() { format!("{linear:x}") } else { format!("{linear:x} <{name}>") }
    }

    fn facts(&mut self, cpu: &Cpu, instruction: &Instruction<'_>) -> Flags {
        let mut bytes = [0; 15];
        let (start, length) = (usize::from(instruction.op().start()), usize::from(instruction.op().length));
        let mut all = vec![0; start + length];
        instruction.block.bytes(cpu, &mut all);
        bytes[..length.min(15)].copy_from_slice(&all[start..start + length.min(15)]);
        *self.known.entry((u64::from(cpu.code_size()), bytes)).or_insert_with(|| {
            let insn = instruction.decode(cpu);
            // PUSHF and LAHF keep flags rather than use them.
            let keeps = matches!(
                insn.mnemonic(),
                Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq | Mnemonic::Lahf | Mnemonic::Syscall
            );
            let status = RflagsBits::OF
                | RflagsBits::SF
                | RflagsBits::ZF
                | RflagsBits::AF
                | RflagsBits::CF
                | RflagsBits::PF;
            // A shift by a count in CL may leave all flags as they were.
            let maybe = insn.op_count() > 1 && insn.op1_register() == iced_x86::Register::CL;
            Flags {
                read: if keeps { 0 } else { insn.rflags_read() & status },
                defined: (insn.rflags_written() | insn.rflags_cleared() | insn.rflags_set()) & status,
                undefined: if maybe { 0 } else { insn.rflags_undefined() & status },
                returns: matches!(insn.mnemonic(), Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq),
            }
        })
    }

    fn acknowledge(&mut self) {
        if let Some(handler) = self.handlers.iter_mut().rev().find(|handler| !handler.acknowledged) {
            handler.acknowledged = true;
        }
    }
}

fn names(flags: u32) -> String {
    let all = [
        (RflagsBits::CF, "CF"),
        (RflagsBits::PF, "PF"),
        (RflagsBits::AF, "AF"),
        (RflagsBits::ZF, "ZF"),
        (RflagsBits::SF, "SF"),
        (RflagsBits::OF, "OF"),
    ];
    let names: Vec<&str> = all.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    names.join(", ")
}

impl Observer for Linter {
    fn hooks(&self) -> Hooks {
        let mut hooks = Hooks::INSTRUCTIONS;
        if self.wants(Lint::Unwritten) || self.wants(Lint::Rom) || self.wants(Lint::Eoi) {
            hooks = hooks | Hooks::MEMORY;
        }
        if self.wants(Lint::Ports) || self.wants(Lint::Eoi) {
            hooks = hooks | Hooks::PORTS;
        }
        if self.wants(Lint::Eoi) {
            hooks = hooks | Hooks::EVENTS | Hooks::CONTROL;
        }
        hooks
    }

    fn instruction(&mut self, cpu: &mut Cpu, instruction: &Instruction<'_>) -> Flow {
        self.here = instruction.linear(cpu);
        let (flags, eoi) = (self.wants(Lint::Flags), self.wants(Lint::Eoi));
        if !flags && !eoi {
            return Flow::Go;
        }
        let facts = self.facts(cpu, instruction);
        if flags {
            let used = facts.read & self.undefined;
            if used != 0 {
                let mut text = String::new();
                IntelFormatter::new().format(&instruction.decode(cpu), &mut text);
                self.find(cpu, 0, |linter| {
                    format!(
                        "{text} uses {}, which the instruction at {} left undefined",
                        names(used),
                        linter.place(linter.culprit)
                    )
                });
            }
            self.undefined = self.undefined & !facts.defined | facts.undefined;
            if facts.undefined != 0 {
                self.culprit = self.here;
            }
        }
        if eoi
            && facts.returns
            && let Some(handler) = self.handlers.pop()
            && !handler.acknowledged
        {
            let vector = handler.vector;
            self.find(cpu, 1, |_| {
                format!("the handler of interrupt {vector:#04x} returns, and there was no EOI")
            });
        }
        Flow::Go
    }

    fn memory(&mut self, cpu: &mut Cpu, access: &Memory) {
        let linear = access.linear;
        match access.target {
            Target::Frame(frame) if access.kind == Kind::Read => {
                let mem = &cpu.system().mem;
                let ram = u64::from(frame) < mem.ram_size() / 4096;
                if ram && self.wants(Lint::Unwritten) && !mem.frame(frame).dirty {
                    self.find(cpu, 2, |_| {
                        format!("reads {linear:x}, in a page of RAM that was never written")
                    });
                }
            }
            Target::Bus(physical) if access.kind == Kind::Write => {
                let page = cpu.system().mem.page(physical);
                if physical == APIC_BASE + APIC_EOI {
                    self.acknowledge();
                } else if self.wants(Lint::Rom) && !page.is_mmio() && page.read_frame().is_some() {
                    self.find(cpu, 3, |_| format!("writes {linear:x}, which is ROM"));
                }
            }
            _ => {}
        }
    }

    fn port(&mut self, cpu: &mut Cpu, access: &Port) {
        const OCW2_EOI: u32 = 0x20;
        let (port, write) = (access.port, access.kind == Kind::Write);
        if write && matches!(port, 0x20 | 0xa0) && access.value & 0x38 == OCW2_EOI {
            self.acknowledge();
        }
        let ones = access.value == u32::MAX >> (32 - 8 * u32::from(access.size));
        let absent =
            claim(port, access.size) == Claim::Nobody && if write { port < FIXED_PORTS } else { ones };
        if absent && self.wants(Lint::Ports) {
            let verb = if write { "writes" } else { "reads" };
            self.find(cpu, 4, |_| format!("{verb} port {port:#06x}, where no chip answers"));
        }
    }

    fn control(&mut self, _: &mut Cpu, register: Control, _: u64) {
        if register == Control::Msr(X2APIC_EOI) {
            self.acknowledge();
        }
    }

    fn event(&mut self, cpu: &mut Cpu, event: &Event) {
        let _ = cpu.regs[RIP];
        if event.source == Source::External && event.vector != 2 {
            self.handlers.push(Handler { vector: event.vector, acknowledged: false });
        } else {
            // Its own return must not be taken for that of an interrupt's handler.
            self.handlers.push(Handler { vector: event.vector, acknowledged: true });
        }
        if self.handlers.len() > 256 {
            self.handlers.remove(0);
        }
    }
}
