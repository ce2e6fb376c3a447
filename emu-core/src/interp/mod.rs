//! The interpreter: portable, safe, and the reference for every other engine.

pub mod events;
pub mod op;
pub mod sem;
pub mod table;
mod watched;

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

use crate::cpu::{CS, Cpu, Fallible, Fault, RIP, attention, eflags};
use crate::decode::cache::CodeCache;
use crate::decode::{CodeMode, MAX_LENGTH, Undecoded, decode};
use crate::engine::{Engine, Exit, Unimplemented};
use crate::mem::PAGE_SIZE;
use crate::mem::page::FrameNumber;
use crate::mmu::Want;
use crate::mmu::tlb::Context;
use op::{NO_TRAP, Op, WRITES_RIP};

/// The interpreter.
#[derive(Debug)]
pub struct Interpreter {
    cache: CodeCache,
    current: CurrentPage,
}

impl Default for Interpreter {
    fn default() -> Self {
        Self { cache: CodeCache::default(), current: NO_PAGE }
    }
}

impl Engine for Interpreter {
    fn name(&self) -> &'static str {
        "interp"
    }

    fn run(&mut self, cpu: &mut Cpu, until: u64) -> Exit {
        self.begin(cpu);
        loop {
            if (cpu.attention != 0 || cpu.retired >= cpu.deadline)
                && let Some(exit) = self.attend(cpu, until)
            {
                return exit;
            }
            if let Err(fault) = self.run_block(cpu)
                && let Some(exit) = take_fault(cpu, fault)
            {
                return exit;
            }
        }
    }

    fn clear(&mut self, cpu: &mut Cpu) {
        self.cache.clear(&mut cpu.system_mut().mem);
        self.current = NO_PAGE;
    }

    fn counters(&self) -> (u64, u64) {
        (self.cache.decoded, self.cache.dropped)
    }
}

impl Interpreter {
    /// Before a run, for which everything may have changed.
    pub fn begin(&mut self, cpu: &mut Cpu) {
        cpu.deadline = cpu.retired;
        self.current = NO_PAGE;
        cpu.attention |= attention::INTERRUPTS | attention::MEMORY | attention::REQUEST;
    }

    /// Has [`take_dropped`](Self::take_dropped) anything to say?
    #[inline]
    pub fn has_dropped(&self) -> bool {
        self.cache.has_dropped()
    }

    /// Runs one block; `Some` when the run must stop. For an engine that leaves its cold code to this one, which has
    /// looked at [`Cpu::attention`] and the deadline before.
    #[inline]
    pub fn step(&mut self, cpu: &mut Cpu) -> Option<Exit> {
        self.run_block(cpu).err().and_then(|fault| take_fault(cpu, fault))
    }

    /// Frames whose blocks were dropped since the last call, because their code was overwritten; `None` when
    /// everything was.
    pub fn take_dropped(&mut self) -> Option<Vec<FrameNumber>> {
        self.cache.take_dropped()
    }

    /// Looks at everything that may have happened outside; `Some` when the run must stop.
    pub fn attend(&mut self, cpu: &mut Cpu, until: u64) -> Option<Exit> {
        loop {
            let what = cpu.attention;
            cpu.attention = what & attention::TRAP;
            if what & attention::MEMORY != 0 {
                self.cache.invalidate(&mut cpu.system_mut().mem);
                self.current = NO_PAGE;
                let epoch = cpu.system().mem.epoch();
                if epoch != cpu.epoch {
                    cpu.epoch = epoch;
                    cpu.flush_tlb();
                }
            }
            match cpu.take_events(what, until) {
                Ok(Some(exit)) => return Some(exit),
                Ok(None) => {}
                Err(Fault::Exception(exception)) => {
                    if let Err(fault) = cpu.deliver_exception(exception) {
                        debug_assert_eq!(fault, Fault::Shutdown);
                        return Some(Exit::Shutdown);
                    }
                }
                Err(_) => return Some(Exit::Shutdown),
            }
            if cpu.attention & !attention::TRAP == 0 && cpu.retired < cpu.deadline {
                return None;
            }
        }
    }

    /// Runs one block, or as much of it as the deadline permits.
    #[inline(always)]
    fn run_block(&mut self, cpu: &mut Cpu) -> Fallible {
        let rip = cpu.regs[RIP];
        let linear = cpu.seg[CS].base.wrapping_add(rip) & cpu.linear_mask;
        if self.current.generation != cpu.fetch_generation || linear & !(PAGE_SIZE - 1) != self.current.linear
        {
            match self.enter_page(cpu, linear)? {
                true => {}
                false => return step_uncached(cpu, linear),
            }
        }
        let offset = (linear % PAGE_SIZE) as usize;
        let Some(ops) = self.cache.block(self.current.page, offset) else {
            return self.decode_here(cpu, linear, offset);
        };
        let mut count = ops.len().min((cpu.deadline - cpu.retired) as usize);
        while rip.wrapping_add(u64::from(ops[count - 1].end) - 1) > cpu.fetch_limit {
            count -= 1;
            if count == 0 {
                return Err(Fault::GP0);
            }
        }
        execute(cpu, &ops[..count])
    }

    /// Makes the page of `linear` current. False when no frame lies there.
    #[cold]
    #[inline(never)]
    fn enter_page(&mut self, cpu: &mut Cpu, linear: u64) -> Fallible<bool> {
        if cpu.must_step(linear) {
            return Ok(false);
        }
        let Some(frame) = fetch_frame(cpu, linear)? else { return Ok(false) };
        self.current = CurrentPage {
            linear: linear & !(PAGE_SIZE - 1),
            generation: cpu.fetch_generation,
            page: self.cache.page_of(frame, CodeMode::of(cpu)),
        };
        Ok(true)
    }

    /// Decodes the block at the current place, to be found there in the next round.
    #[cold]
    #[inline(never)]
    fn decode_here(&mut self, cpu: &mut Cpu, linear: u64, offset: usize) -> Fallible {
        let mem = &mut cpu.system_mut().mem;
        if !self.cache.decode_block(mem, self.current.page, offset) {
            return step_uncached(cpu, linear);
        }
        // A frame that got its first code loses its fast writes.
        cpu.note_memory_changes();
        Ok(())
    }
}

/// Delivers the exception of an instruction that did not complete; `Some` when the run must stop.
#[inline]
pub fn take_fault(cpu: &mut Cpu, fault: Fault) -> Option<Exit> {
    let fault = match fault {
        Fault::Exception(exception) => {
            // A delivered fault counts as one, so that a guest that only faults still makes progress.
            cpu.retired += 1;
            cpu.deliver_exception(exception).err()?
        }
        Fault::Frozen => {
            cpu.halt();
            // The instruction does not end before the interrupt, so nothing can hold that off until then.
            (cpu.inhibit_at, cpu.inhibit_traps_at) = (u64::MAX, u64::MAX);
            cpu.attention |= attention::INTERRUPTS;
            return None;
        }
        other => other,
    };
    Some(match fault {
        Fault::Unimplemented => Exit::Unimplemented(describe(cpu)),
        _ => Exit::Shutdown,
    })
}

/// The page that instructions come from now.
#[derive(Clone, Copy, Debug)]
struct CurrentPage {
    linear: u64,
    generation: u64,
    page: u32,
}

/// No page: no linear address is the start of this one.
const NO_PAGE: CurrentPage = CurrentPage { linear: 1, generation: 0, page: 0 };

/// Executes instructions one after the other until one asks to stop.
#[inline]
fn execute(cpu: &mut Cpu, ops: &[Op]) -> Fallible {
    let start = cpu.regs[RIP];
    cpu.stop = false;
    let mut last = &ops[0];
    let mut retired = 0;
    for op in ops {
        cpu.done = retired;
        if let Err(fault) = (op.run)(cpu, op) {
            cpu.done = 0;
            cpu.retired += u64::from(retired);
            cpu.regs[RIP] = start.wrapping_add(u64::from(op.start));
            return Err(fault);
        }
        retired += 1;
        last = op;
        if cpu.stop {
            break;
        }
    }
    cpu.done = 0;
    cpu.retired += u64::from(retired);
    if last.flags & WRITES_RIP == 0 {
        cpu.regs[RIP] = last.next(cpu);
    } else if last.flags & NO_TRAP != 0 {
        cpu.attention &= !attention::TRAP;
    }
    Ok(())
}

/// The frame from which `linear` is executed; `None` when no frame lies there (a chip, or nothing).
///
/// # Errors
/// #GP(0) for an address that is not canonical, #PF.
#[inline]
pub fn fetch_frame(cpu: &mut Cpu, linear: u64) -> Fallible<Option<u32>> {
    let context = if cpu.cpl == 3 { Context::User } else { Context::Supervisor };
    if let Some(frame) = cpu.tlb.fetch(context, linear) {
        return Ok(Some(frame));
    }
    if cpu.linear_mask == u64::MAX && !cpu.canonical(linear) {
        return Err(Fault::GP0);
    }
    let physical = cpu.translate(linear, Want::Execute)?.physical;
    let mem = &cpu.system().mem;
    let frame = mem.code_page(mem.gate_a20(physical)).read_frame();
    if let Some(frame) = frame {
        cpu.tlb.fill_fetch(context, linear, frame);
    }
    Ok(frame)
}

/// Fetches, decodes and runs one instruction that cannot be cached: it crosses a page, or lies in no frame.
#[cold]
#[inline(never)]
fn step_uncached(cpu: &mut Cpu, linear: u64) -> Fallible {
    if cpu.must_step(linear) {
        return watched::step(cpu, linear);
    }
    let op = fetch_op(cpu, linear)?;
    if cpu.regs[RIP].wrapping_add(u64::from(op.end) - 1) > cpu.fetch_limit {
        return Err(Fault::GP0);
    }
    execute(cpu, &[op])
}

fn fetch_op(cpu: &mut Cpu, linear: u64) -> Fallible<Op> {
    let mode = CodeMode::of(cpu);
    let mut bytes = [0; MAX_LENGTH];
    let room = ((PAGE_SIZE - linear % PAGE_SIZE) as usize).min(MAX_LENGTH);
    fetch_bytes(cpu, linear, &mut bytes[..room])?;
    match decode(&bytes[..room], mode, 0) {
        Ok(op) => Ok(op),
        Err(Undecoded::TooShort) => {
            let next = linear.wrapping_add(room as u64) & cpu.linear_mask;
            fetch_bytes(cpu, next, &mut bytes[room..])?;
            decode(&bytes, mode, 0).map_err(|Undecoded::TooShort| Fault::GP0)
        }
    }
}

/// Fetches bytes within one page.
fn fetch_bytes(cpu: &mut Cpu, linear: u64, bytes: &mut [u8]) -> Fallible {
    if cpu.linear_mask == u64::MAX && !cpu.canonical(linear) {
        return Err(Fault::GP0);
    }
    let physical = cpu.translate(linear, Want::Execute)?.physical;
    let mem = &cpu.system().mem;
    let address = mem.gate_a20(physical);
    if let Some(frame) = mem.code_page(address).read_frame() {
        mem.ram().read_slice(mem.host_of(frame) + (address % PAGE_SIZE) as usize, bytes);
        return Ok(());
    }
    for (byte, address) in bytes.iter_mut().zip(physical..) {
        *byte = cpu.read_physical(address, 1) as u8;
    }
    Ok(())
}

/// Names the instruction at CS:RIP for the message that ends the run.
fn describe(cpu: &mut Cpu) -> Unimplemented {
    let code_size = cpu.code_size();
    let linear = cpu.seg[CS].base.wrapping_add(cpu.regs[RIP]) & cpu.linear_mask;
    let mut bytes = Vec::new();
    for n in 0..MAX_LENGTH as u64 {
        let mut byte = [0];
        if fetch_bytes(cpu, linear.wrapping_add(n), &mut byte).is_err() {
            break;
        }
        bytes.push(byte[0]);
    }
    let insn = Decoder::with_ip(code_size, &bytes, cpu.regs[RIP], DecoderOptions::NONE).decode();
    bytes.truncate(insn.len());
    let mut text = String::new();
    IntelFormatter::new().format(&insn, &mut text);
    Unimplemented { cs: cpu.seg[CS].selector, rip: cpu.regs[RIP], bytes, text }
}

impl Cpu {
    /// True while single-stepping.
    #[inline]
    pub fn stepping(&self) -> bool {
        self.flags.system() & eflags::TF != 0
    }
}
