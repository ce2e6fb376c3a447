//! Counts the instructions of the bundled kernel's boot by mnemonic: `cargo run --release -p emu-tests --example
//! count_opcodes`.

use std::collections::HashMap;

use emu_core::cpu::Cpu;
use emu_core::interp::Interpreter;
use emu_core::observe::{Flow, Hooks, Instruction, Observer};
use iced_x86::Mnemonic;

#[derive(Default)]
struct Counter(HashMap<Mnemonic, u64>);

impl Observer for Counter {
    fn hooks(&self) -> Hooks {
        Hooks::INSTRUCTIONS
    }

    fn instruction(&mut self, cpu: &mut Cpu, instruction: &Instruction<'_>) -> Flow {
        *self.0.entry(instruction.decode(cpu).mnemonic()).or_default() += 1;
        Flow::Go
    }
}

fn main() {
    let mut machine = emu_tests::board::bundled(Box::new(Interpreter::default()));
    machine.set_observer(Some(Box::new(Counter::default())));
    machine.run(1_000_000);
    let counter: &mut Counter = machine.observer().expect("it was set");
    let mut counts: Vec<_> = counter.0.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    counts.iter().take(10).for_each(|(mnemonic, count)| println!("{count:>8} {mnemonic:?}"));
}
