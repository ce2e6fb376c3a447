//! `--explain`: faults in words while the machine runs, and the last chain of faults before a reset.

use std::collections::VecDeque;
use std::fmt::Write;

use emu_core::cpu::interrupt::Source;
use emu_core::cpu::{Cpu, Exception, RIP};
use emu_core::explain;
use emu_core::observe::{Event, Flow, Hooks, Instruction, Observer};

use crate::trace::symbols::Symbols;

/// Branches that are remembered.
const BRANCHES: usize = 32;
/// Explanations that a run prints; a guest that faults for ever fills no disk.
const MOST: u32 = 1000;

/// A branch that was taken.
#[derive(Clone, Copy, Debug, Default)]
struct Branch {
    from: u64,
    to: u64,
    count: u64,
}

/// Looks on, remembers the last branches, and explains faults.
#[derive(Debug)]
pub struct Explainer {
    symbols: Symbols,
    branches: VecDeque<Branch>,
    /// Linear address of the instruction before, and where it ends.
    before: (u64, u64),
    /// What is not printed yet.
    text: String,
    left: u32,
}

impl Explainer {
    /// Explains with these names.
    pub fn new(symbols: Symbols) -> Self {
        Self { symbols, branches: VecDeque::new(), before: (0, 0), text: String::new(), left: MOST }
    }

    /// Takes what there is to print.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// The last branches, the newest last, as lines.
    pub fn branches(&self) -> Vec<String> {
        let name = |address| {
            let name = self.symbols.show(address);
            if name.is_empty() { String::new() } else { format!(" <{name}>") }
        };
        let mut lines = vec![format!("last {} branches, the newest last:", self.branches.len())];
        lines.extend(self.branches.iter().map(|branch| {
            let (from, to) = (branch.from, branch.to);
            format!("  {:>12} {from:x}{} -> {to:x}{}", branch.count, name(from), name(to))
        }));
        lines
    }
}

/// The faults that are explained: those of descriptors, pages and double faults.
fn explained(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14)
}

impl Observer for Explainer {
    fn hooks(&self) -> Hooks {
        Hooks::INSTRUCTIONS | Hooks::EVENTS
    }

    fn instruction(&mut self, cpu: &mut Cpu, instruction: &Instruction<'_>) -> Flow {
        let here = instruction.linear(cpu);
        if here != self.before.1 && self.before != (0, 0) && here != self.before.0 {
            if self.branches.len() == BRANCHES {
                self.branches.pop_front();
            }
            self.branches.push_back(Branch { from: self.before.0, to: here, count: cpu.instructions() });
        }
        self.before = (here, here.wrapping_add(instruction.op().length.into()));
        Flow::Go
    }

    fn event(&mut self, cpu: &mut Cpu, event: &Event) {
        if event.source != Source::Exception || !explained(event.vector) || self.left == 0 {
            return;
        }
        self.left -= 1;
        let exception = Exception {
            has_error: event.error.is_some(),
            vector: event.vector,
            error: event.error.unwrap_or(0),
        };
        let mut lines = explain::fault(cpu, exception, cpu.fault_address);
        let name = self.symbols.show(cpu.linear_ip());
        if !name.is_empty() {
            lines.push(format!("in {name}"));
        }
        lines.extend(explain::registers(cpu));
        lines.extend(self.branches());
        let _ = writeln!(self.text, "at count {}, rip {:x}:", cpu.instructions(), cpu.regs[RIP]);
        for line in lines {
            let _ = writeln!(self.text, "  {line}");
        }
        if self.left == 0 {
            let _ = writeln!(self.text, "{MOST} faults were explained; no more are");
        }
    }
}
