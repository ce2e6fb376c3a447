//! Items of a trace as lines of text.

use std::fmt::Write;

use emu_core::cpu::fault::mnemonic;
use emu_trace::model::{Event, REGISTERS, Step, event, field};
use emu_trace::read::{Executed, Item};
use emu_trace::wide;
use iced_x86::{Formatter, GasFormatter, IntelFormatter};

use super::args::Syntax;
use super::symbols::Symbols;

/// Names of the general registers, in encoding order.
pub const NAMES: [&str; REGISTERS] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// Makes text of items.
pub struct Text {
    formatter: Box<dyn Formatter>,
    /// Names of addresses.
    pub symbols: Symbols,
    brief: bool,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text").finish_non_exhaustive()
    }
}

impl Text {
    /// With names, or without registers and memory.
    pub fn new(syntax: Syntax, symbols: Symbols, brief: bool) -> Self {
        let mut formatter: Box<dyn Formatter> = match syntax {
            Syntax::Intel => Box::new(IntelFormatter::new()),
            Syntax::Att => Box::new(GasFormatter::new()),
        };
        let options = formatter.options_mut();
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_uppercase_hex(false);
        options.set_small_hex_numbers_in_decimal(false);
        options.set_space_after_operand_separator(true);
        options.set_branch_leading_zeros(false);
        options.set_rip_relative_addresses(true);
        Self { formatter, symbols, brief }
    }

    /// The instruction alone.
    pub fn instruction(&mut self, executed: &Executed<'_>) -> String {
        let insn = executed.decode();
        let mut text = String::new();
        if insn.is_invalid() {
            text.push_str("(bad)");
        } else {
            self.formatter.format(&insn, &mut text);
        }
        if !self.symbols.is_empty() && insn.near_branch_target() != 0 {
            let base = executed.before.fields[field::BASE + 1];
            let name = self.symbols.show(base.wrapping_add(insn.near_branch_target()));
            if !name.is_empty() {
                let _ = write!(text, " <{name}>");
            }
        }
        text
    }

    /// A whole line.
    pub fn line(&mut self, item: &Item<'_>) -> String {
        match item {
            Item::Instruction(executed) => self.executed(executed),
            Item::Delivery(step, _) => {
                let mut line = format!("{:>12}   {:35}", "", "delivery");
                effects(&mut line, step, None);
                line.truncate(line.trim_end().len());
                line
            }
            Item::Event(event) => format!("{:>12} * {}", "", describe(event)),
        }
    }

    fn executed(&mut self, executed: &Executed<'_>) -> String {
        let before = executed.before;
        let mut line = format!("{:>12} {} ", before.count, before.fields[field::CPL]);
        if executed.cpu != 0 {
            let _ = write!(line, "cpu{} ", executed.cpu);
        }
        if before.fields[field::CODE_SIZE] == 16 {
            let _ = write!(line, "{:04x}:{:04x}", before.fields[field::SELECTOR + 1], executed.ip());
        } else {
            let _ = write!(line, "{:08x}", executed.linear());
        }
        let name = self.symbols.show(executed.linear());
        if !name.is_empty() {
            let _ = write!(line, " {name}");
        }
        let _ = write!(line, "  {}", self.instruction(executed));
        if !self.brief {
            line.push_str("  ;");
            effects(&mut line, executed.step, Some(executed.before.flags));
            if line.ends_with(';') {
                line.truncate(line.len() - 3);
            }
        }
        line
    }
}

/// Accesses, registers and flags.
fn effects(line: &mut String, step: &Step, flags: Option<u64>) {
    for access in &step.accesses {
        let arrow = if access.write { "<-" } else { "->" };
        let kind = if access.bus { "io" } else { "" };
        let width = usize::from(access.size) * 2;
        let _ = write!(line, " [{:x}{kind}]{arrow}{:0width$x}", access.linear, access.value);
        if access.physical != access.linear {
            let _ = write!(line, "@{:x}", access.physical);
        }
    }
    for (number, name) in NAMES.iter().enumerate() {
        if step.mask >> number & 1 != 0 {
            let _ = write!(line, " {name}={:x}", step.regs[number]);
        }
    }
    if flags.is_some_and(|flags| flags != step.flags) {
        let _ = write!(line, " rflags={:x}", step.flags);
    }
}

/// An event in words.
pub fn describe(event: &Event) -> String {
    let data = |n: usize| event.data.get(n).copied().unwrap_or(0);
    match event.kind {
        event::SYNC => "registers changed without an instruction recorded".into(),
        event::FIELDS => {
            let pairs = event.data.chunks_exact(2).map(|pair| {
                let name = field::NAMES.get(pair[0] as usize).copied().unwrap_or("?");
                format!(" {name}={:x}", pair[1])
            });
            format!("mode:{}", pairs.collect::<String>())
        }
        event::COUNT => format!("count goes on by {}", data(0) as i64),
        event::CPU => format!("processor {}", data(0)),
        event::INTERRUPT => {
            let vector = data(0) as u8;
            let mut text = match data(1) {
                0 => format!("interrupt {vector:#04x}"),
                1 => format!("exception {}", mnemonic(vector)),
                _ => format!("software interrupt {vector:#04x}"),
            };
            if data(2) != 0 {
                let _ = write!(text, "({:#x})", data(2) - 1);
            }
            if vector == 14 && data(1) == 1 {
                let _ = write!(text, " address {:#x}", data(5));
            }
            let _ = write!(text, " returns to {:x}", data(3));
            text
        }
        event::PORT => {
            let arrow = if data(2) != 0 { "<-" } else { "->" };
            let width = data(1) as usize * 2;
            format!("port {:#06x} {arrow} {:0width$x}", data(0), data(3))
        }
        event::CONTROL if data(0) < 16 => format!("cr{} <- {:x}", data(0), data(1)),
        event::CONTROL => format!("msr {:#x} <- {:x}", data(0) - 16, data(1)),
        event::VECTOR => {
            let changes = wide::changes(&event.data);
            let texts: Vec<String> = changes
                .iter()
                .map(|change| format!("{}={:0width$x}", change.name, change.value, width = 2 * change.size))
                .collect();
            texts.join(" ")
        }
        event::GAP => "instructions here were not recorded".into(),
        kind => format!("event {kind}"),
    }
}
