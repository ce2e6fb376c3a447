//! A machine: processors, memory, board and engine, and the rules by which time passes.

use std::any::Any;
use std::fmt;

use crate::bus::{Access, Bus, NEVER, Request, Tick};
use crate::cpu::debugger::{Hit, Stops};
use crate::cpu::model::Model;
use crate::cpu::{Cpu, RIP, Segment, System};
use crate::engine::{Engine, Exit, Translation, Unimplemented};
use crate::hash::StateHash;
use crate::mem::{Memory, PAGE_SIZE};
use crate::mmu::look;
use crate::observe::{Hooks, Observer, Team};
use crate::turns::Turns;

/// Where guest time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// From retired instructions, one a nanosecond; a halted guest skips to its next event. Repeatable.
    Virtual,
    /// From [`Machine::set_host_time`].
    Host,
}

/// The exceptions that led to a triple fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultChain(pub String);

impl fmt::Display for FaultChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "triple fault: {}", self.0)
    }
}

/// Why [`Machine::run`] returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The count was reached; or, in virtual time, a halted guest has slept through [`MOST_SKIPS`] events of the
    /// board without being woken, and the driver should have a look around before it goes on.
    Limit,
    /// An observer asked for it, or the debugger ([`Machine::take_hits`] says why). The next run goes on as if nothing
    /// had been.
    Observed,
    /// The guest switched itself off.
    PowerOff,
    /// The guest asked for a reset; [`Machine::reset`] does it.
    Reset,
    /// The guest wrote this value to the debug-exit port.
    DebugExit(u32),
    /// All processors are halted. In virtual time only when nothing will ever be due.
    Halted {
        /// When the board has something to do next.
        next_event: Tick,
    },
    /// A triple fault: a processor shut down, which on a PC resets all of them. [`Machine::reset`] goes on as a PC
    /// does.
    TripleFault(FaultChain),
    /// An instruction that is not implemented.
    Unimplemented(Unimplemented),
}

/// Events of the board that one [`Machine::run`] lets a halted guest sleep through. A guest that halts with its
/// interrupts off while a timer runs would otherwise never give control back.
pub const MOST_SKIPS: u32 = 4096;

/// Counts for `--stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Retired instructions; each REP iteration and each delivered fault counts as one.
    pub instructions: u64,
    /// Iterations of repeated string instructions beyond the first of each run.
    pub rep_iterations: u64,
    /// Exceptions delivered.
    pub exceptions: u64,
    /// External interrupts delivered.
    pub interrupts: u64,
    /// Translations that were filled into the cache.
    pub tlb_fills: u64,
    /// Flushes of the translation cache.
    pub tlb_flushes: u64,
    /// Memory accesses that took the slow path.
    pub slow_accesses: u64,
    /// Blocks decoded or translated.
    pub blocks: u64,
    /// Code pages dropped because they were overwritten.
    pub code_invalidations: u64,
}

/// A whole machine.
pub struct Machine {
    turns: Turns,
    engine: Box<dyn Engine>,
    time: TimeSource,
}

impl Machine {
    /// Puts a machine with one processor together, in its power-on state.
    pub fn new(mem: Memory, bus: Box<dyn Bus>, engine: Box<dyn Engine>, time: TimeSource) -> Self {
        Self::with_processors(1, mem, bus, engine, time)
    }

    /// The same with so many processors (at least one), the first of which is the bootstrap processor.
    pub fn with_processors(
        count: usize,
        mem: Memory,
        bus: Box<dyn Bus>,
        engine: Box<dyn Engine>,
        time: TimeSource,
    ) -> Self {
        let system = Box::new(System::new(mem, bus));
        Self { turns: Turns::new(count, system), engine, time }
    }

    /// Makes its processors those of another model; for a machine that has not run yet.
    pub fn set_model(&mut self, model: Model) {
        self.turns.all_mut().iter_mut().for_each(|cpu| cpu.set_model(model));
    }

    /// Runs until `until` instructions have retired in all, or something stops it sooner.
    pub fn run(&mut self, until: u64) -> Stop {
        let (mut skips, mut count) = (0, self.instructions());
        // Processors in a row that had nothing to do.
        let mut asleep = 0;
        self.cpu_mut().system_mut().sleepers.wake();
        loop {
            let before = self.turns.cpu().retired;
            let limit = self.turns.limit(until);
            let exit = self.engine.run(self.turns.cpu_mut(), limit);
            self.turns.cpu_mut().note_sleep(exit == Exit::Halted);
            match exit {
                exit @ (Exit::Limit | Exit::Paused) => {
                    asleep = 0;
                    if exit == Exit::Paused || self.turns.over() {
                        self.turns.pass_on();
                    }
                    if self.instructions() >= until {
                        return Stop::Limit;
                    }
                }
                Exit::Observed => return Stop::Observed,
                Exit::Request(Request::PowerOff) => return Stop::PowerOff,
                Exit::Request(Request::Reset) => return Stop::Reset,
                Exit::Request(Request::DebugExit(value)) => return Stop::DebugExit(value),
                Exit::Shutdown => return Stop::TripleFault(FaultChain(self.cpu().describe_fault_chain())),
                Exit::Unimplemented(what) => return Stop::Unimplemented(what),
                Exit::Halted => {
                    let cpu = self.turns.cpu();
                    asleep = if cpu.retired == before { asleep + 1 } else { 1 };
                    if asleep < self.turns.all().len() {
                        self.turns.pass_on();
                        continue;
                    }
                    let timers = self.cpus().iter().filter_map(Cpu::preemption_due);
                    let next_event = timers.fold(cpu.system().bus.next_event(), Tick::min);
                    if self.time == TimeSource::Host || next_event == NEVER {
                        return Stop::Halted { next_event };
                    }
                    if self.instructions() != count {
                        (skips, count) = (0, self.instructions());
                    }
                    if skips == MOST_SKIPS {
                        return Stop::Limit;
                    }
                    skips += 1;
                    self.skip_to(next_event);
                    // The same one begins after every sleep, however often the driver looked in meanwhile.
                    self.turns.give_to(0);
                    asleep = 0;
                }
            }
        }
    }

    /// True when all processors sleep through interrupts: only an NMI, an SMI, INIT or a reset wakes one of them, and
    /// mostly nothing does.
    pub fn sleeps_through_interrupts(&self) -> bool {
        self.cpus().iter().all(Cpu::sleeps_through_interrupts)
    }

    fn skip_to(&mut self, time: Tick) {
        let cpu = self.turns.cpu_mut();
        let count = cpu.instructions();
        cpu.system_mut().clock.set(count, time);
    }

    /// Instructions that all processors together have retired so far; each REP iteration counts as one.
    pub fn instructions(&self) -> u64 {
        self.turns.instructions()
    }

    /// Guest time.
    pub fn now(&self) -> Tick {
        self.cpu().now()
    }

    /// Host time only: tells the guest what time it is. Time never goes back.
    pub fn set_host_time(&mut self, now: Tick) {
        if self.time == TimeSource::Host {
            self.skip_to(now);
        }
    }

    /// Where guest time comes from.
    pub fn time_source(&self) -> TimeSource {
        self.time
    }

    /// Reaches the board, as what it really is, between two runs.
    ///
    /// # Panics
    /// When the board is not a `T`.
    pub fn with_bus<T: Bus, R>(&mut self, touch: impl FnOnce(&mut T, &mut Access<'_>) -> R) -> R {
        self.cpu_mut().with_bus(|bus, at| {
            let board =
                (bus as &mut dyn Any).downcast_mut::<T>().expect("the machine was built with this board");
            touch(board, at)
        })
    }

    /// Has `observer` look on from now, with the hooks that it wants, and gives the one before back.
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) -> Option<Box<dyn Observer>> {
        let cpu = self.cpu_mut();
        cpu.set_hooks(observer.as_ref().map_or(Hooks::NONE, |observer| observer.hooks()));
        std::mem::replace(&mut cpu.system_mut().observer, observer)
    }

    /// Has `observer` look on beside those that do already.
    pub fn add_observer(&mut self, observer: Box<dyn Observer>) {
        let Some(before) = self.set_observer(None) else {
            self.set_observer(Some(observer));
            return;
        };
        let mut team = Box::<Team>::default();
        if (&*before as &dyn Any).is::<Team>() {
            team = (before as Box<dyn Any>).downcast().expect("it was asked whether it is one");
        } else {
            team.add(before);
        }
        team.add(observer);
        self.set_observer(Some(team));
    }

    /// Takes an observer away, as what it really is; `None` when there is no such.
    pub fn remove_observer<T: Observer>(&mut self) -> Option<Box<T>> {
        let mut observer = self.set_observer(None)?;
        if (&*observer as &dyn Any).is::<T>() {
            return (observer as Box<dyn Any>).downcast().ok();
        }
        let team = (&mut *observer as &mut dyn Any).downcast_mut::<Team>();
        let nobody = |team: &mut Team| (team.remove(), team.is_empty());
        let (found, empty) = team.map_or((None, false), nobody);
        self.set_observer(if empty { None } else { Some(observer) });
        found
    }

    /// Lets an observer, as what it really is, do something with the processor between two runs; it may set its hooks
    /// anew. `None` when there is no such.
    pub fn with_observer<T: Observer, R>(&mut self, touch: impl FnOnce(&mut T, &mut Cpu) -> R) -> Option<R> {
        let mut observer = self.remove_observer::<T>()?;
        let result = touch(&mut observer, self.cpu_mut());
        self.add_observer(observer);
        Some(result)
    }

    /// Reaches the observer, as what it really is, between two runs; `None` when there is none, or another one.
    pub fn observer<T: Observer>(&mut self) -> Option<&mut T> {
        let observer = self.cpu_mut().system_mut().observer.as_deref_mut()?;
        let any = observer as &mut dyn Any;
        if any.is::<Team>() { any.downcast_mut::<Team>()?.find() } else { any.downcast_mut() }
    }

    /// The processor whose turn it is: the one that reaches memory and the board.
    pub fn cpu(&self) -> &Cpu {
        self.turns.cpu()
    }

    /// The processor whose turn it is, to change.
    pub fn cpu_mut(&mut self) -> &mut Cpu {
        self.turns.cpu_mut()
    }

    /// All processors by number.
    pub fn cpus(&self) -> &[Cpu] {
        self.turns.all()
    }

    /// Replaces what stops the run of any processor.
    pub fn set_stops(&mut self, stops: &Stops) {
        self.turns.all_mut().iter_mut().for_each(|cpu| cpu.set_stops(stops.clone()));
    }

    /// Takes what the debugger waited for and what happened, by number of processor.
    pub fn take_hits(&mut self) -> Vec<(usize, Hit)> {
        let mut hits = Vec::new();
        for cpu in self.turns.all_mut() {
            hits.extend(cpu.take_hits().into_iter().map(|hit| (cpu.number, hit)));
        }
        hits
    }

    /// Has a processor changed from outside, with memory and board at hand, whoever's turn it is.
    ///
    /// # Panics
    /// When there is no such processor.
    pub fn change_processor<R>(&mut self, number: usize, change: impl FnOnce(&mut Cpu) -> R) -> R {
        self.turns.lend(number, change)
    }

    /// Guest memory.
    pub fn memory(&self) -> &Memory {
        &self.cpu().system().mem
    }

    /// Reads memory at a linear address of a processor, without any effect on the guest; returns how many bytes
    /// there are before the first that is not mapped or is not RAM or ROM.
    pub fn peek(&self, processor: usize, linear: u64, out: &mut [u8]) -> usize {
        look::read_linear(&self.cpus()[processor], self.memory(), linear, out)
    }

    /// Writes memory at a linear address of a processor, whatever its rights; returns how many bytes there are
    /// before the first that is not mapped or is not RAM.
    pub fn poke(&mut self, processor: usize, linear: u64, bytes: &[u8]) -> usize {
        look::pieces(linear, bytes.len(), |at, range| {
            let page = look::walk(&self.cpus()[processor], self.memory(), at).page;
            page.is_some_and(|page| self.poke_physical(page.physical, &bytes[range.clone()]) == range.len())
        })
    }

    /// Writes physical memory; returns how many bytes there are before the first that is not RAM.
    pub fn poke_physical(&mut self, address: u64, bytes: &[u8]) -> usize {
        let cpu = self.turns.cpu_mut();
        let done = look::write_physical(&mut cpu.system_mut().mem, address, bytes);
        cpu.note_memory_changes();
        done
    }

    /// Offset of the next instruction of the processor whose turn it is.
    pub fn rip(&self) -> u64 {
        self.cpu().regs[RIP]
    }

    /// Hard reset of processors and board; time and counts go on, RAM keeps its contents.
    pub fn reset(&mut self) {
        self.turns.give_to(0);
        self.cpu_mut().with_bus(|bus, at| bus.reset(at));
        self.turns.all_mut().iter_mut().for_each(Cpu::reset);
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        let (blocks, code_invalidations) = self.engine.counters();
        let sum = |count: fn(&Cpu) -> u64| self.cpus().iter().map(count).sum();
        Stats {
            instructions: self.instructions(),
            rep_iterations: sum(|cpu| cpu.counters.rep_iterations),
            exceptions: sum(|cpu| cpu.counters.exceptions),
            interrupts: sum(|cpu| cpu.counters.interrupts),
            tlb_fills: sum(|cpu| cpu.tlb.fills),
            tlb_flushes: sum(|cpu| cpu.tlb.flushes),
            slow_accesses: sum(|cpu| cpu.counters.slow_accesses),
            blocks,
            code_invalidations,
        }
    }

    /// What the translator did, if the engine is one.
    pub fn translation(&self) -> Option<Translation> {
        self.engine.translation()
    }

    /// Name of the engine.
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// A hash of all architectural state and of the memory written since the last call.
    pub fn state_hash(&mut self) -> u64 {
        let mut hash = StateHash::default();
        let now = self.now();
        self.cpus().iter().for_each(|cpu| hash_cpu(cpu, now, &mut hash));
        let mem = &mut self.cpu_mut().system_mut().mem;
        let mut page = [0; PAGE_SIZE as usize];
        for frame in mem.take_dirty() {
            mem.ram().read_slice(mem.host_of(frame), &mut page);
            hash.word(u64::from(frame));
            hash.bytes(&page);
        }
        self.cpu_mut().note_memory_changes();
        hash.finish()
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("engine", &self.engine.name())
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

fn hash_segment(segment: &Segment, hash: &mut StateHash) {
    let limit = u64::from(segment.limit);
    hash.words(&[
        segment.base,
        limit << 32 | u64::from(segment.selector) << 16 | u64::from(segment.rights.0),
    ]);
}

fn hash_cpu(cpu: &Cpu, now: Tick, hash: &mut StateHash) {
    hash.words(&cpu.regs[..16]);
    hash.words(&[cpu.regs[RIP], cpu.flags.get(), u64::from(cpu.cpl)]);
    for segment in &cpu.seg {
        hash_segment(segment, hash);
    }
    hash.words(&[cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.efer]);
    hash.words(&cpu.dr);
    hash.words(&[cpu.gdtr.base, u64::from(cpu.gdtr.limit), cpu.idtr.base, u64::from(cpu.idtr.limit)]);
    let f = &cpu.fpu;
    for reg in &f.regs {
        hash.words(&[reg.significand, u64::from(reg.sign_exponent)]);
    }
    hash.words(&[u64::from(f.control), u64::from(f.status_word()), u64::from(f.valid), u64::from(f.opcode)]);
    hash.words(&[u64::from(f.instruction.0), f.instruction.1, u64::from(f.data.0), f.data.1]);
    hash.words(&[u64::from(f.mxcsr), f.xcr0]);
    for vector in &f.vectors {
        hash.words(vector);
    }
    let m = &cpu.msrs;
    hash.words(&[m.star, m.lstar, m.cstar, m.fmask, m.kernel_gs_base, m.tsc_aux, m.tsc_offset, m.pat]);
    hash.words(&[m.sysenter_cs, m.sysenter_esp, m.sysenter_eip, m.misc_enable, m.mtrr_def_type]);
    hash.words(&m.mtrr_variable);
    hash.words(&m.mtrr_fixed);
    hash.words(&[u64::from(cpu.pkru), u64::from(cpu.msrs.pkrs), cpu.debug.control, cpu.random]);
    hash.words(&[u64::from(cpu.halted), u64::from(cpu.nmi_blocked), cpu.instructions(), now]);
    hash.words(&[cpu.machine_check.status, cpu.machine_check.control, u64::from(cpu.ferr)]);
    for bank in &cpu.machine_check.banks {
        hash.words(&[bank.control, bank.address, bank.misc]);
    }
    cpu.vmx.add_to_hash(hash);
    let s = &cpu.management;
    hash.words(&[u64::from(cpu.smm), u64::from(s.smi_pending), u64::from(s.init_pending)]);
    hash.words(&[u64::from(s.base), u64::from(s.count)]);
}
