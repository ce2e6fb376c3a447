//! Calls and returns: the stack of functions at each instruction, for `calls`, `flame` and `export`.

use std::io::Write;
use std::ops::ControlFlow::Continue;

use anyhow::Result;
use emu_trace::model::{event, field};
use emu_trace::read::{Executed, Item};
use iced_x86::FlowControl;

use super::args::CallsArgs;
use super::symbols::Symbols;
use super::walk::{Out, walk};

/// Deeper stacks lose their outermost calls.
const DEEPEST: usize = 4096;

/// One call that has not returned.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Where it was entered.
    pub entry: u64,
    /// Count at its first instruction.
    pub since: u64,
    /// Stack pointer before its return address was pushed.
    stack: u64,
    /// It was entered by an interrupt or exception.
    pub interrupt: bool,
}

/// What an instruction did to the stack of calls.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// A function was entered.
    Enter(Frame),
    /// One was left, at this count.
    Leave(Frame, u64),
}

/// The stacks of calls, one for each processor. Where a kernel changes the stack from one process to another, the calls
/// of the first stay open until it comes back to one of them.
#[derive(Debug, Default)]
pub struct Calls {
    /// The processor of the last item.
    pub cpu: usize,
    stacks: Vec<Stack>,
}

/// The calls of one processor.
#[derive(Debug, Default)]
struct Stack {
    frames: Vec<Frame>,
    /// A call, interrupt or system call that the next instruction completes: stack pointer before it.
    pending: Option<(u64, bool)>,
}

impl Calls {
    /// Functions that have not returned on the processor of the last item, outermost first.
    pub fn stack(&self) -> &[Frame] {
        self.stacks.get(self.cpu).map_or(&[], |stack| &stack.frames)
    }

    /// Takes an item in; `change` hears what it does.
    pub fn see(&mut self, item: &Item<'_>, mut change: impl FnMut(Change)) {
        match item {
            Item::Event(seen) if seen.kind == event::CPU => {
                self.cpu = seen.data.first().map_or(0, |&cpu| usize::from(cpu as u8));
            }
            Item::Event(seen) if seen.kind == event::INTERRUPT => {
                self.current().pending = Some((u64::MAX, true));
            }
            Item::Instruction(executed) => {
                self.cpu = executed.cpu;
                self.current().executed(executed, &mut change);
            }
            _ => {}
        }
    }

    fn current(&mut self) -> &mut Stack {
        if self.stacks.len() <= self.cpu {
            self.stacks.resize_with(self.cpu + 1, Stack::default);
        }
        &mut self.stacks[self.cpu]
    }
}

impl Stack {
    fn executed(&mut self, executed: &Executed<'_>, change: &mut impl FnMut(Change)) {
        let count = executed.before.count;
        if let Some((stack, interrupt)) = self.pending.take() {
            let stack = if interrupt { executed.before.regs[4].wrapping_add(40) } else { stack };
            let frame = Frame { entry: executed.linear(), since: count, stack, interrupt };
            if self.frames.len() == DEEPEST {
                self.frames.remove(0);
            }
            self.frames.push(frame);
            change(Change::Enter(frame));
        } else if self.frames.is_empty() {
            let frame = Frame { entry: executed.linear(), since: count, stack: u64::MAX, interrupt: false };
            self.frames.push(frame);
            change(Change::Enter(frame));
        }
        let insn = executed.decode();
        match insn.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                self.pending = Some((executed.before.regs[4], false));
            }
            FlowControl::Return => {
                let after = executed.after.regs[4];
                let code16 = executed.before.fields[field::CODE_SIZE] != 64;
                let interrupt = matches!(
                    insn.mnemonic(),
                    iced_x86::Mnemonic::Iret | iced_x86::Mnemonic::Iretd | iced_x86::Mnemonic::Iretq
                );
                // A return leaves the call whose stack pointer it restores, and all that were entered since.
                let found = self.frames.iter().rposition(|frame| {
                    if interrupt { frame.interrupt } else { frame.stack == after && !frame.interrupt }
                });
                let found = found.or_else(|| code16.then(|| self.frames.len().checked_sub(1)).flatten());
                if let Some(depth) = found
                    && depth > 0
                {
                    for frame in self.frames.drain(depth..).rev() {
                        change(Change::Leave(frame, count + 1));
                    }
                }
            }
            _ => {}
        }
    }
}

/// `emu trace calls`.
///
/// # Errors
/// What the files ran into.
pub fn run(args: &CallsArgs) -> Result<()> {
    let symbols = Symbols::load(&args.part.symbols)?;
    let mut out = Out::open(None)?;
    let mut calls = Calls::default();
    walk(&args.part, |item| {
        let mut entered = None;
        calls.see(&item, |change| {
            if let Change::Enter(frame) = change {
                entered = Some(frame);
            }
        });
        if let Some(frame) = entered
            && calls.stack().len() <= args.depth
        {
            let indent = 2 * (calls.stack().len().saturating_sub(1));
            let cpu = if calls.cpu == 0 { String::new() } else { format!("cpu{} ", calls.cpu) };
            let kind = if frame.interrupt { "! " } else { "" };
            writeln!(out, "{:>12} {cpu}{:indent$}{kind}{}", frame.since, "", symbols.name(frame.entry))?;
        }
        Ok(Continue(()))
    })?;
    Ok(out.flush()?)
}
