//! The interpreter: portable, safe, and the reference for every other engine.

pub mod events;
pub mod listing;
pub mod op;
pub mod sem;
pub mod table;
mod watched;

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

use crate::cpu::{CS, Cpu, Fallible, Fault, RIP, attention, eflags};
use crate::decode::cache::{CodeCache, CodePage};
use crate::decode::{CodeMode, MAX_LENGTH, Undecoded, decode};
use crate::engine::{Engine, Exit, Unimplemented};
use crate::mem::CodeWrite;
use crate::mem::PAGE_SIZE;
use crate::mmu::Want;
use crate::observe::{Block, Code};
use op::{NO_TRAP, Op, WRITES_RIP};

/// The interpreter.
#[derive(Debug)]
pub struct Interpreter {
    cache: CodeCache,
    /// Pages that instructions came from lately, by the low bits of their numbers.
    pages: Box<[KnownPage; KNOWN_PAGES]>,
}

impl Default for Interpreter {
    fn default() -> Self {
        Self::with_cache(CodeCache::default())
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
            let ran =
                if cpu.observed() { self.run_observed(cpu) } else { self.run_blocks::<false, Unseen>(cpu) };
            if let Err(fault) = ran
                && let Some(exit) = take_fault(cpu, fault)
            {
                return exit;
            }
        }
    }

    fn clear(&mut self, cpu: &mut Cpu) {
        self.cache.clear(&mut cpu.system_mut().mem);
        self.pages.fill(NO_PAGE);
    }

    fn counters(&self) -> (u64, u64) {
        (self.cache.decoded, self.cache.dropped)
    }
}

impl Interpreter {
    /// One whose decoded code lies in this cache.
    pub fn with_cache(cache: CodeCache) -> Self {
        Self { cache, pages: Box::new([NO_PAGE; KNOWN_PAGES]) }
    }

    /// Before a run, for which everything may have changed.
    pub fn begin(&mut self, cpu: &mut Cpu) {
        cpu.deadline = cpu.retired;
        self.pages.fill(NO_PAGE);
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
        self.run_blocks::<true, Unseen>(cpu).err().and_then(|fault| take_fault(cpu, fault))
    }

    /// Runs blocks while the hooks are called that [`Cpu::observed`] speaks of; otherwise as [`step`](Self::step).
    #[inline(never)]
    pub fn step_observed(&mut self, cpu: &mut Cpu) -> Option<Exit> {
        self.run_observed(cpu).err().and_then(|fault| take_fault(cpu, fault))
    }

    #[inline(never)]
    fn run_observed(&mut self, cpu: &mut Cpu) -> Fallible {
        self.run_blocks::<false, Seen>(cpu)
    }

    /// Where blocks were dropped since the last call, because they were overwritten; `None` when all were.
    pub fn take_dropped(&mut self) -> Option<Vec<CodeWrite>> {
        self.cache.take_dropped()
    }

    /// Looks at everything that may have happened outside; `Some` when the run must stop.
    pub fn attend(&mut self, cpu: &mut Cpu, until: u64) -> Option<Exit> {
        if let Some(exit) = cpu.resume_from_debugger() {
            return Some(exit);
        }
        if cpu.settle() {
            return None;
        }
        loop {
            let what = cpu.attention;
            if what & attention::STOP != 0 {
                // Whatever else is due is looked at again when the next run begins.
                cpu.attention = what & !attention::STOP;
                return Some(Exit::Observed);
            }
            cpu.attention = what & attention::TRAP;
            if what & attention::MEMORY != 0 {
                self.cache.invalidate(&mut cpu.system_mut().mem);
                self.pages.fill(NO_PAGE);
                cpu.take_epoch();
            }
            match cpu.take_events(what, until) {
                Ok(Some(exit)) => return Some(exit),
                Ok(None) => {}
                Err(Fault::Exception(exception)) => {
                    if cpu.hold_exception(exception, false) {
                        return Some(Exit::Observed);
                    }
                    if let Err(fault) = cpu.deliver_exception(exception) {
                        debug_assert_eq!(fault, Fault::Shutdown);
                        return Some(Exit::Shutdown);
                    }
                }
                Err(Fault::VmExit) => {
                    if cpu.vm_exit().is_err() {
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

    /// Runs blocks of one page until another page, the deadline or something outside wants a look; only one when
    /// `ONE` is set.
    #[inline(always)]
    fn run_blocks<const ONE: bool, S: Sight>(&mut self, cpu: &mut Cpu) -> Fallible {
        let linear = cpu.seg[CS].base.wrapping_add(cpu.regs[RIP]) & cpu.linear_mask;
        let known = &self.pages[number_of(linear)];
        let here = known.generation == cpu.fetch_generation && known.linear == linear & !(PAGE_SIZE - 1);
        if !here && !self.enter_page(cpu, linear)? {
            return step_uncached::<S>(cpu, linear);
        }
        let known = &self.pages[number_of(linear)];
        match run_page::<ONE, S>(cpu, self.cache.page(known.page), known, linear % PAGE_SIZE)? {
            Left::Decoded => Ok(()),
            Left::At(offset) => {
                self.decode_here::<S>(cpu, known.linear | offset, known.page, offset as usize)
            }
        }
    }

    /// Makes the page of `linear` known. False when no frame lies there.
    #[cold]
    #[inline(never)]
    fn enter_page(&mut self, cpu: &mut Cpu, linear: u64) -> Fallible<bool> {
        if cpu.must_step(linear) {
            return Ok(false);
        }
        let Some(frame) = fetch_frame(cpu, linear)? else { return Ok(false) };
        if cpu.must_step_frame(frame) {
            return Ok(false);
        }
        let aligned = cpu.seg[CS].base.is_multiple_of(PAGE_SIZE);
        self.pages[number_of(linear)] = KnownPage {
            linear: linear & !(PAGE_SIZE - 1),
            generation: cpu.fetch_generation,
            page: self.cache.page_of(frame, CodeMode::of(cpu)),
            whole: aligned && cpu.regs[RIP] | (PAGE_SIZE - 1) <= cpu.fetch_limit,
        };
        Ok(true)
    }

    /// Decodes the block at `offset` of a page, to be found there in the next round.
    #[cold]
    #[inline(never)]
    fn decode_here<S: Sight>(&mut self, cpu: &mut Cpu, linear: u64, page: u32, offset: usize) -> Fallible {
        let mem = &mut cpu.system_mut().mem;
        if !self.cache.decode_block(mem, page, offset) {
            return step_uncached::<S>(cpu, linear);
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
            if cpu.hold_exception(exception, true) {
                return Some(Exit::Observed);
            }
            // A delivered fault counts as one, so that a guest that only faults still makes progress.
            cpu.vmx.fault_at = cpu.retired;
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
        Fault::VmExit | Fault::VmEntry => {
            // An exit still asks about the instruction; an entry has retired when the guest begins.
            let moved = if fault == Fault::VmExit {
                let moved = cpu.vm_exit();
                cpu.retired += 1;
                moved
            } else {
                cpu.retired += 1;
                cpu.vm_entry()
            };
            moved.err()?
        }
        Fault::Stopped => {
            cpu.request_stop();
            return None;
        }
        other => other,
    };
    Some(match fault {
        Fault::Unimplemented => Exit::Unimplemented(describe(cpu)),
        _ => Exit::Shutdown,
    })
}

/// How many pages are known at most. Few, as all are forgotten with each change of translations.
const KNOWN_PAGES: usize = 64;

/// Where among the known pages the one of a linear address is.
#[inline(always)]
fn number_of(linear: u64) -> usize {
    (linear / PAGE_SIZE) as usize % KNOWN_PAGES
}

/// A page that instructions come from.
#[derive(Clone, Copy, Debug)]
struct KnownPage {
    linear: u64,
    generation: u64,
    /// Its number in the cache of decoded blocks.
    page: u32,
    /// CS permits all of it.
    whole: bool,
}

/// No page: no linear address is the start of this one.
const NO_PAGE: KnownPage = KnownPage { linear: 1, generation: 0, page: 0, whole: false };

/// How [`run_page`] ended.
enum Left {
    /// With all blocks that it came to.
    Decoded,
    /// At an offset where no block is decoded.
    At(u64),
}

/// Runs blocks of a page, from the one at `offset` on.
#[inline(never)]
fn run_page<const ONE: bool, S: Sight>(
    cpu: &mut Cpu,
    page: &CodePage,
    known: &KnownPage,
    mut offset: u64,
) -> Fallible<Left> {
    // While the generation stays, RIP and linear address differ by the same.
    let page_rip = cpu.regs[RIP].wrapping_sub(offset);
    let mut first = page.first(offset);
    loop {
        let Some(number) = first else { return Ok(Left::At(offset)) };
        let mut ops = page.block(number);
        let budget = cpu.deadline - cpu.retired;
        if budget < ops.len() as u64 {
            ops = &ops[..budget as usize];
        }
        if !known.whole {
            ops = fetchable(cpu, ops)?;
        }
        let block = Block {
            linear: known.linear | offset,
            ops,
            code: Code::Frame(page.frame(), offset as u16),
            serial: if S::SEEN { page.serial(number) } else { 0 },
        };
        let last = execute::<S>(cpu, &block)?;
        // Whatever happened outside has set `stop`.
        if ONE || cpu.stop || cpu.retired >= cpu.deadline {
            return Ok(Left::Decoded);
        }
        offset = cpu.regs[RIP].wrapping_sub(page_rip);
        first = page.after(last, offset);
        if offset >= PAGE_SIZE {
            return Ok(Left::Decoded);
        }
    }
}

/// As much of a block as CS permits to fetch.
///
/// # Errors
/// #GP(0) when that is nothing.
#[cold]
fn fetchable<'a>(cpu: &Cpu, ops: &'a [Op]) -> Fallible<&'a [Op]> {
    let last = |op: &Op| cpu.regs[RIP].wrapping_add(u64::from(op.end) - 1);
    match ops.iter().take_while(|op| last(op) <= cpu.fetch_limit).count() {
        0 => Err(Fault::GP0),
        count => Ok(&ops[..count]),
    }
}

/// Does anybody look on?
trait Sight {
    const SEEN: bool;
}

/// Nobody does.
struct Unseen;

impl Sight for Unseen {
    const SEEN: bool = false;
}

/// An observer may.
struct Seen;

impl Sight for Seen {
    const SEEN: bool = true;
}

/// Executes instructions one after the other until one leaves the block or asks to stop; returns that one.
#[inline(always)]
fn execute<'a, S: Sight>(cpu: &mut Cpu, block: &Block<'a>) -> Fallible<&'a Op> {
    let ops = block.ops;
    let start = cpu.regs[RIP];
    cpu.stop = false;
    let mut done = 0;
    let mut last = &ops[0];
    let mut ended = Ok(());
    for op in ops {
        cpu.done = done;
        last = op;
        ended = if S::SEEN { cpu.tell_instruction(block, done as usize) } else { Ok(()) };
        if ended.is_ok() {
            ended = (op.run)(cpu, op);
        }
        if ended.is_err() {
            break;
        }
        done += 1;
        if cpu.stop {
            break;
        }
    }
    cpu.done = 0;
    cpu.retired += u64::from(done);
    match ended {
        Ok(()) if last.flags & WRITES_RIP == 0 => cpu.regs[RIP] = last.next(cpu),
        Ok(()) if last.flags & NO_TRAP != 0 => cpu.attention &= !attention::TRAP,
        Ok(()) => {}
        Err(Fault::Jumped) => cpu.retired += 1,
        Err(fault) => {
            cpu.regs[RIP] = start.wrapping_add(u64::from(last.start()));
            cpu.vmx.length = last.length;
            return Err(fault);
        }
    }
    Ok(last)
}

/// The frame from which `linear` is executed; `None` when no frame lies there (a chip, or nothing).
///
/// # Errors
/// #GP(0) for an address that is not canonical, #PF.
#[inline]
pub fn fetch_frame(cpu: &mut Cpu, linear: u64) -> Fallible<Option<u32>> {
    if cpu.linear_mask == u64::MAX && !cpu.canonical(linear) {
        return Err(Fault::GP0);
    }
    let physical = cpu.translate(linear, Want::Execute)?;
    let mem = &cpu.system().mem;
    Ok(mem.code_page(mem.gate_a20(physical)).read_frame())
}

/// Fetches, decodes and runs one instruction that cannot be cached: it crosses a page, or lies in no frame.
#[cold]
#[inline(never)]
fn step_uncached<S: Sight>(cpu: &mut Cpu, linear: u64) -> Fallible {
    if cpu.must_step(linear) || cpu.has_break_points(linear) {
        return watched::step::<S>(cpu, linear);
    }
    let (op, bytes) = fetch_op(cpu, linear)?;
    execute_alone::<S>(cpu, linear, op, bytes)
}

/// Executes an instruction that was fetched on its own, if CS permits to fetch all of it.
fn execute_alone<S: Sight>(cpu: &mut Cpu, linear: u64, op: Op, bytes: [u8; MAX_LENGTH]) -> Fallible {
    if cpu.regs[RIP].wrapping_add(u64::from(op.end) - 1) > cpu.fetch_limit {
        return Err(Fault::GP0);
    }
    execute::<S>(cpu, &Block { linear, ops: &[op], code: Code::Bytes(bytes), serial: 0 }).map(|_| ())
}

/// Fetches and decodes an instruction; its bytes come with it.
fn fetch_op(cpu: &mut Cpu, linear: u64) -> Fallible<(Op, [u8; MAX_LENGTH])> {
    let mode = CodeMode::of(cpu);
    let mut bytes = [0; MAX_LENGTH];
    let room = ((PAGE_SIZE - linear % PAGE_SIZE) as usize).min(MAX_LENGTH);
    fetch_bytes(cpu, linear, &mut bytes[..room])?;
    match decode(&bytes[..room], mode, 0) {
        Ok(op) => Ok((op, bytes)),
        Err(Undecoded::TooShort) => {
            let next = linear.wrapping_add(room as u64) & cpu.linear_mask;
            fetch_bytes(cpu, next, &mut bytes[room..])?;
            decode(&bytes, mode, 0).map(|op| (op, bytes)).map_err(|Undecoded::TooShort| Fault::GP0)
        }
    }
}

/// Fetches bytes within one page.
fn fetch_bytes(cpu: &mut Cpu, linear: u64, bytes: &mut [u8]) -> Fallible {
    if cpu.linear_mask == u64::MAX && !cpu.canonical(linear) {
        return Err(Fault::GP0);
    }
    let physical = cpu.translate(linear, Want::Execute)?;
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
