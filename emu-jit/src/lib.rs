//! The binary translator of emu: x86-64 host code from guest code.
//!
//! It is an engine like the interpreter and retires the same instructions with the same results. In this version it
//! translates nothing yet: every block is still cold, and cold blocks are the interpreter's. `emu` does not offer it
//! on the command line until that changes.

#![forbid(unsafe_code)]

use emu_core::cpu::Cpu;
use emu_core::engine::{Engine, Exit};
use emu_core::interp::Interpreter;

/// The translating engine; what is not translated is interpreted.
#[derive(Debug, Default)]
pub struct Translator {
    cold: Interpreter,
}

impl Engine for Translator {
    fn name(&self) -> &'static str {
        "jit"
    }

    fn run(&mut self, cpu: &mut Cpu, until: u64) -> Exit {
        self.cold.run(cpu, until)
    }

    fn clear(&mut self, cpu: &mut Cpu) {
        self.cold.clear(cpu);
    }

    fn counters(&self) -> (u64, u64) {
        self.cold.counters()
    }
}
