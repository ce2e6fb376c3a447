//! What the interpreter and the translator have in common: they retire the same instructions with the same
//! results and take every event at the same count.

use std::time::Duration;

use crate::bus::Request;
use crate::cpu::Cpu;

/// An instruction (or a corner of one) that the emulator lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unimplemented {
    /// CS selector.
    pub cs: u16,
    /// Its offset.
    pub rip: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its disassembly.
    pub text: String,
}

impl std::fmt::Display for Unimplemented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not implemented: {} at {:04x}:{:x}, bytes", self.text, self.cs, self.rip)?;
        self.bytes.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

/// Why an engine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The count was reached.
    Limit,
    /// HLT, or waiting for a start-up IPI, and nothing is due.
    Halted,
    /// PAUSE where there are several processors: the others' turn.
    Paused,
    /// An observer or the debugger wants a look.
    Observed,
    /// The board wants something.
    Request(Request),
    /// A triple fault; `fault_chain` tells the story.
    Shutdown,
    /// The run cannot go on.
    Unimplemented(Unimplemented),
}

/// Something that executes guest instructions.
pub trait Engine {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Runs `cpu`, which holds the system, until its count of retired instructions reaches `until` or something
    /// else stops it.
    fn run(&mut self, cpu: &mut Cpu, until: u64) -> Exit;

    /// Forgets everything derived from guest memory.
    fn clear(&mut self, cpu: &mut Cpu);

    /// Blocks decoded or translated, and pages dropped because their code was overwritten.
    fn counters(&self) -> (u64, u64);

    /// What a translator did; `None` for an engine that is none.
    fn translation(&self) -> Option<Translation> {
        None
    }
}

/// What a translator did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Translation {
    /// Blocks translated.
    pub blocks: u64,
    /// Bytes of host code in use.
    pub code_bytes: u64,
    /// Host time spent translating.
    pub time: Duration,
    /// Instructions that retired in translated code, with those that it called handlers for.
    pub instructions: u64,
    /// Times that control went from the engine into translated code.
    pub entries: u64,
    /// Why it came back.
    pub exits: Exits,
    /// Instructions that translated code had their handlers run for.
    pub calls: Calls,
}

/// Why control came back from translated code, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exits {
    /// The next block was not known: not translated, or not in the jump cache.
    pub unknown: u64,
    /// The jump to the next block was not linked yet.
    pub unlinked: u64,
    /// The next block had more instructions than may retire before the engine looks around.
    pub no_room: u64,
    /// A handler ended the block, and there was something to look at before the next.
    pub handler: u64,
}

/// How it went on behind instructions that had their handlers run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// In the same block.
    pub same_block: u64,
    /// In another block.
    pub next_block: u64,
    /// By leaving translated code.
    pub left: u64,
}
