//! Our machine against the log of another, instruction by instruction.
//!
//! What the processor does not decide is taken over: what ports and chips answered ([`follow`]), registers that
//! CPUID, RDMSR, RDTSC, RDRAND and their like return, and the moments of interrupts. Flags that the manual leaves
//! undefined are taken over as well, so that they do not show later.
//!
//! [`step`] is what is known of the other machine, `adopt` its state beside ours, [`known`] what is known to
//! differ, [`conditions`] and [`target`] what can be asked about an instruction that differs.

pub(crate) mod adopt;
pub mod conditions;
pub mod follow;
pub mod known;
pub mod step;
pub mod target;

use std::collections::{BTreeMap, HashMap};

use emu_core::cpu::interrupt::Source;
use emu_core::cpu::{RAX, RCX, RDX, RIP, RSP, SS, eflags};
use emu_core::machine::{Machine, Stop};
use iced_x86::{FlowControl, Mnemonic as M, OpKind};

use adopt::{adopt, adopt_reset, comparable, comparable_vectors};
use conditions::{Conditions, Happened, index_mask, mode, operands};
use follow::Follower;
use known::{Known, explain};
use step::{Answer, LogError, Step, Steps};

use crate::last_page::LastPage;
use crate::listing::{Place, Recent};
use crate::state::{Difference, State, Vectors};
use crate::undefined::undefined_flags;

/// Instructions that are listed.
pub(crate) const LISTED: usize = 20;
/// Bytes below the stack pointer that the frame of a fault takes at most, without a change of stacks.
const KEPT: usize = 64;

/// Announcements of one step that are waited through.
const MOST_AGAIN: u32 = 1000;
/// Why the comparison ends after those.
pub const STANDS_STILL: &str = "the reference does one instruction again and again";

/// A difference, with all that one wants to know.
#[derive(Clone, Debug)]
pub struct Found {
    /// Instructions compared before it.
    pub count: u64,
    /// The instruction.
    pub place: Place,
    /// Fields that differ after it.
    pub differences: Vec<Difference>,
    /// State before it.
    pub before: State,
    /// Our state after it.
    pub ours: State,
    /// The reference's, as far as it is known.
    pub theirs: State,
    /// The instructions that led there.
    pub recent: Recent,
    /// Its memory operands: linear address and what stands there after it.
    pub memory: Vec<(u64, Vec<u8>)>,
    /// What happened on the reference's side: exceptions (vector, error code) and interrupts.
    pub exceptions: Vec<(u8, u16)>,
    /// External interrupts taken after it.
    pub interrupts: Vec<u8>,
    /// What the list of known differences asks about the instruction.
    pub conditions: Conditions,
    /// Anything that our machine said.
    pub note: Option<String>,
}

impl Found {
    /// Mode of the processor, by the name that the file of known differences uses.
    pub fn mode(&self) -> &'static str {
        mode(&self.before)
    }

    /// The mnemonic in small letters.
    pub fn mnemonic(&self) -> String {
        format!("{:?}", self.place.instruction().mnemonic()).to_lowercase()
    }
}

/// What CPUID gives for a leaf and a subleaf: EAX, EBX, ECX, EDX.
pub type Answers = HashMap<(u32, u32), [u32; 4]>;

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Comparisons: of instructions, or of blocks.
    pub compared: u64,
    /// Instructions that our machine ran.
    pub instructions: u64,
    /// Results taken over, by instruction.
    pub taken: BTreeMap<String, u64>,
    /// External interrupts, by vector.
    pub interrupts: BTreeMap<u8, u64>,
    /// Instructions after which undefined flags differed.
    pub undefined: u64,
    /// WRMSR that we refuse and the reference does not, by MSR.
    pub refused: BTreeMap<u32, u64>,
    /// Known differences, by reason.
    pub known: BTreeMap<String, u64>,
}

/// How one instruction of ours ended.
pub(crate) enum Ran {
    /// As any other.
    Fine,
    /// The machine was reset.
    Reset,
    /// It cannot be run.
    Stuck(String),
    /// Nothing comes behind it.
    End(String),
}

/// How the comparison goes on after a step.
#[derive(Debug)]
pub enum Next {
    /// With the next step.
    Same,
    /// With the next step, after a difference that no entry explains; the reference's state was adopted.
    Different(Box<Found>),
    /// No more: our machine stopped for this reason, or the log ended.
    End(String),
}

/// The comparison.
pub struct Lockstep<'a, S> {
    pub(crate) log: S,
    /// Our machine; its board is a [`Follower`].
    pub machine: Machine,
    known: &'a [Known],
    /// What was counted so far.
    pub counts: Counts,
    pub(crate) recent: Recent,
    /// The pages of code and stack.
    pub(crate) pages: [LastPage; 2],
    started: bool,
    /// What lay below the stack pointer before the instruction, and where; 0 for nowhere.
    kept: [u8; KEPT],
    below: u64,
    /// The exception that our machine delivered in this step: vector and error code.
    pub(crate) raised: Option<(u8, u16)>,
    /// How often the step that comes now was announced again.
    pub(crate) again: u32,
    /// A reset ends the comparison.
    pub no_reboot: bool,
    /// What CPUID gives on the reference, for instructions whose results the log does not show.
    pub answers: Answers,
    /// The instructions of the block that runs, each with our state before it.
    pub(crate) block: Vec<(Place, State)>,
}

impl<'a, S: Steps> Lockstep<'a, S> {
    /// Compares `machine`, which has not run yet and whose board is a [`Follower`], with a log.
    pub fn new(log: S, machine: Machine, known: &'a [Known]) -> Self {
        let recent = Recent::new(LISTED);
        Self {
            log,
            machine,
            known,
            counts: Counts::default(),
            recent,
            pages: [LastPage::default(); 2],
            started: false,
            kept: [0; KEPT],
            below: 0,
            raised: None,
            again: 0,
            no_reboot: false,
            answers: Answers::new(),
            block: Vec::new(),
        }
    }

    /// Compares one instruction.
    ///
    /// # Errors
    /// When the log cannot be read or understood.
    pub fn step(&mut self) -> Result<Next, LogError> {
        let Some(mut step) = self.take()? else { return Ok(Next::End(log_ends::<S>())) };
        let place = Place::seen_by(&mut self.pages[0], self.machine.cpu(), self.counts.compared);
        self.recent.push(place);
        let next = self.log.peek()?.cloned();
        if next.as_ref().is_some_and(|next| announced_again(&place, &step, next)) {
            self.again += 1;
            return Ok(if self.again < MOST_AGAIN { Next::Same } else { Next::End(STANDS_STILL.into()) });
        }
        self.again = 0;
        if !S::SHOWS_PORTS
            && let Some(next) = &next
        {
            step.reads.extend(port_read(&place, &step, next));
        }
        self.begin(&step);
        let mut ran = Ran::Fine;
        if !next.as_ref().is_some_and(|next| self.take_over(&place, &step, next)) {
            self.keep_stack();
            ran = self.run_on();
        }
        let (mut note, reset) = match ran {
            Ran::End(why) => return Ok(Next::End(why)),
            Ran::Fine => (None, false),
            Ran::Reset => (None, true),
            Ran::Stuck(note) => (Some(note), false),
        };
        self.counts.compared += 1;
        self.counts.instructions += 1;
        if let Some(next) = &next
            && !step.exceptions.is_empty()
            && step.interrupts.is_empty()
            && self.raised.is_none()
            && self.machine.rip() != next.state.rip
        {
            // QEMU announces an instruction once it has been fetched, so a fault of the fetch shows one step early.
            self.run();
        }
        let Some(next) = next else { return Ok(Next::End(log_ends::<S>())) };
        if reset {
            adopt_reset(self.machine.cpu_mut(), &next);
        }
        self.follow_repeat(&place, step.state.regs[RCX], &step, next.state.rip);
        if self.flags_differ(&next) {
            let undefined = undefined_flags(&place.instruction(), step.state.regs[RCX] as u8);
            self.adopt_flags(undefined, &next);
        }
        self.deliver(&step, &mut note);
        Ok(self.compare(&[(place, step.state.clone())], &step, &next, note))
    }

    /// The next step of the log, if there is one.
    pub(crate) fn take(&mut self) -> Result<Option<Step>, LogError> {
        let Some(step) = self.log.take()? else { return Ok(None) };
        if !self.started {
            // Power-on: EDX tells the model, which is theirs.
            self.started = true;
            adopt(self.machine.cpu_mut(), &step);
        }
        Ok(Some(step))
    }

    /// Makes ready for what the reference did in a step.
    pub(crate) fn begin(&mut self, step: &Step) {
        self.raised = None;
        if !step.reads.is_empty() {
            let reads = step.reads.clone();
            self.machine.with_bus(|board: &mut Follower, _| board.reads = reads);
        }
    }

    /// Takes the interrupts that the reference took after a step.
    pub(crate) fn deliver(&mut self, step: &Step, note: &mut Option<String>) {
        for &vector in &step.interrupts {
            *self.counts.interrupts.entry(vector).or_default() += 1;
            let cpu = self.machine.cpu_mut();
            cpu.halted = false;
            if let Err(fault) = cpu.deliver(vector, Source::External, None) {
                *note = Some(format!("our delivery of interrupt {vector:#x} faults: {fault:?}"));
            }
        }
    }

    /// Keeps what lies below the stack pointer, where a fault that only we raise would leave its frame.
    fn keep_stack(&mut self) {
        let cpu = self.machine.cpu();
        let top = cpu.seg[SS].base.wrapping_add(cpu.regs[RSP] & cpu.stack_mask) & cpu.linear_mask;
        self.below = top.wrapping_sub(self.kept.len() as u64) & cpu.linear_mask;
        if self.pages[1].read(cpu, self.below, &mut self.kept) < self.kept.len() {
            self.below = 0;
        }
    }

    /// Puts that back.
    fn restore_stack(&mut self) {
        let (below, kept) = (self.below, self.kept);
        let cpu = self.machine.cpu_mut();
        for (address, byte) in (below..).zip(kept) {
            if below != 0
                && let Some(physical) = cpu.peek_physical(address)
            {
                cpu.system_mut().mem.write_own(physical, &[byte]);
            }
        }
        cpu.note_memory_changes();
    }

    /// Runs one instruction, and says how that ended.
    pub(crate) fn run_on(&mut self) -> Ran {
        match self.run() {
            Stop::Limit | Stop::Observed | Stop::Halted { .. } => Ran::Fine,
            Stop::Reset | Stop::TripleFault(_) if self.no_reboot => Ran::End("the guest reset itself".into()),
            Stop::Reset | Stop::TripleFault(_) => {
                self.machine.reset();
                Ran::Reset
            }
            Stop::PowerOff => {
                self.counts.compared += 1;
                self.counts.instructions += 1;
                Ran::End("the guest switched itself off".into())
            }
            Stop::DebugExit(value) => Ran::End(format!("debug exit with {value:#x}")),
            Stop::Unimplemented(what) => Ran::Stuck(what.to_string()),
        }
    }

    fn run(&mut self) -> Stop {
        let until = self.machine.instructions() + 1;
        let exceptions = self.machine.cpu().counters.exceptions;
        let stop = self.machine.run(until);
        let cpu = self.machine.cpu();
        if cpu.counters.exceptions != exceptions {
            self.raised = cpu.fault_chain.last().map(|last| (last.exception.vector, last.exception.error));
        }
        stop
    }

    /// Does an instruction whose result the processor does not decide; false when it is to be run as any other.
    pub(crate) fn take_over(&mut self, place: &Place, step: &Step, next: &Step) -> bool {
        // 0F 01 is RDTSCP among others, 0F C7 RDRAND and RDSEED.
        if !matches!(place.opcode().0, [0x0f, 0x01 | 0x30..=0x33 | 0xa2 | 0xc7]) {
            return false;
        }
        let insn = &place.instruction();
        let (mnemonic, cpu) = (insn.mnemonic(), self.machine.cpu_mut());
        let random = matches!(mnemonic, M::Rdrand | M::Rdseed);
        let destination = if random { insn.op0_register().full_register().number() } else { 0 };
        let written: &[usize] = match mnemonic {
            M::Rdrand | M::Rdseed => &[destination],
            M::Cpuid => &[RAX, RCX, RDX, 3],
            M::Rdtsc | M::Rdmsr | M::Rdpmc => &[RAX, RDX],
            M::Rdtscp => &[RAX, RDX, RCX],
            M::Wrmsr => &[],
            _ => return false,
        };
        let target = step.interrupted_at.unwrap_or(next.state.rip);
        // After an interrupt the registers are still as the instruction left them.
        if !step.exceptions.is_empty() || target != insn.next_ip() {
            return false;
        }
        let what = match mnemonic {
            M::Wrmsr => {
                let value = cpu.regs[RDX] << 32 | cpu.regs[RAX] & 0xffff_ffff;
                let number = cpu.regs[RCX] as u32;
                if cpu.write_msr(number, value).is_err() {
                    *self.counts.refused.entry(number).or_default() += 1;
                }
                None
            }
            M::Rdmsr => Some(format!("rdmsr {:#x}", cpu.regs[RCX] as u32)),
            M::Cpuid => Some(format!("cpuid {:#x}", cpu.regs[RAX] as u32)),
            _ => Some(format!("{mnemonic:?}").to_lowercase()),
        };
        for &n in written {
            cpu.regs[n] = next.state.regs[n];
        }
        if random {
            cpu.flags.set_some(eflags::OSZAPC, next.state.flags);
        }
        cpu.regs[RIP] = insn.next_ip();
        if let Some(what) = what {
            *self.counts.taken.entry(what).or_default() += 1;
        }
        true
    }

    /// QEMU looks at the count of a repeated instruction once more when it is zero, and interrupts find it there.
    /// `count` is RCX before the instruction, and `target` where the step leads.
    pub(crate) fn follow_repeat(&mut self, place: &Place, count: u64, step: &Step, target: u64) {
        if !S::REPEATS_AT_ZERO || !place.opcode().1 {
            return;
        }
        let insn = &place.instruction();
        if !(insn.has_rep_prefix() || insn.has_repne_prefix()) || !insn.is_string_instruction() {
            return;
        }
        let mask = match insn.op_kinds().find_map(index_mask) {
            Some(mask) => mask,
            None => return,
        };
        let cpu = self.machine.cpu_mut();
        let left = cpu.regs[RIP] != place.rip;
        let had_any = count & mask != 0;
        if !left || !had_any || cpu.regs[RCX] & mask != 0 || !step.exceptions.is_empty() {
            return;
        }
        let compares = matches!(
            insn.mnemonic(),
            M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq | M::Scasb | M::Scasw | M::Scasd | M::Scasq
        );
        let equal = cpu.flags.get() & eflags::ZF != 0;
        let ended_by_flag = compares && equal != insn.has_rep_prefix();
        if step.interrupts.is_empty() && target == place.rip || !step.interrupts.is_empty() && !ended_by_flag
        {
            cpu.regs[RIP] = place.rip;
        }
    }

    pub(crate) fn flags_differ(&self, next: &Step) -> bool {
        (self.machine.cpu().flags.get() ^ next.state.flags) & eflags::OSZAPC != 0
    }

    /// Flags that the manual leaves undefined become the reference's.
    pub(crate) fn adopt_flags(&mut self, undefined: u64, next: &Step) {
        let cpu = self.machine.cpu_mut();
        if undefined & (cpu.flags.get() ^ next.state.flags) != 0 {
            cpu.flags.set_some(undefined, next.state.flags);
            self.counts.undefined += 1;
        }
    }

    /// Compares the states after a step, in which the instructions at `places` ran; each stands with our state before
    /// it.
    pub(crate) fn compare(
        &mut self,
        places: &[(Place, State)],
        step: &Step,
        next: &Step,
        note: Option<String>,
    ) -> Next {
        let cpu = self.machine.cpu();
        let ours = State::of(cpu);
        let theirs = comparable(&ours, next);
        let error = error_codes(self.raised, &step.exceptions);
        let same_vectors = next.vectors.is_none();
        if ours == theirs && same_vectors && error.is_none() && note.is_none() {
            return Next::Same;
        }
        let mut differences = ours.differences(&theirs);
        if let Some(vectors) = &next.vectors {
            let ours = Vectors::of(cpu);
            differences.extend(ours.differences(&comparable_vectors(&ours, vectors, next)));
        }
        let error_differs = error.is_some();
        let codes = error.as_ref().map(|error| (error.ours, error.theirs));
        differences.extend(error);
        if differences.is_empty() && note.is_none() {
            return Next::Same;
        }
        let raised = [self.raised, step.exceptions.last().copied()];
        let ours_rip = ours.rip;
        let fault_differs = (ours.rip != theirs.rip || error_differs) && !step.exceptions.is_empty();
        // Of a block any instruction may be the one that differs, and flags behind it may follow from that.
        let not_flags = |d: &&Difference| d.field != "rflags" || (d.ours ^ d.theirs) & !eflags::OSZAPC != 0;
        let first: Vec<_> = differences.iter().filter(not_flags).cloned().collect();
        let mut result = Next::Same;
        for (place, before) in places.iter().rev() {
            let memory = operands(cpu, &place.instruction(), before);
            let conditions = Happened {
                place,
                before,
                step,
                after: [&ours, &theirs],
                raised: raised.map(|raised| raised.map(|(vector, _)| vector)),
                codes,
                memory: &memory,
            }
            .conditions(cpu);
            let mnemonic = format!("{:?}", place.instruction().mnemonic()).to_lowercase();
            let explained = |differences| explain(self.known, &mnemonic, &conditions, differences);
            let in_block = places.len() > 1 && !first.is_empty();
            if let Some(entry) = explained(&differences).or_else(|| explained(&first).filter(|_| in_block))
                && note.is_none()
            {
                *self.counts.known.entry(entry.reason.clone()).or_default() += 1;
                result = Next::Same;
                break;
            }
            if matches!(result, Next::Same) {
                result = Next::Different(Box::new(Found {
                    count: self.counts.compared - 1,
                    place: *place,
                    differences: differences.clone(),
                    before: step.state.clone(),
                    memory,
                    ours: ours.clone(),
                    theirs: theirs.clone(),
                    recent: self.recent.clone(),
                    exceptions: step.exceptions.clone(),
                    interrupts: step.interrupts.clone(),
                    conditions,
                    note: note.clone(),
                }));
            }
        }
        if ours_rip != next.state.rip && step.exceptions.is_empty() && step.interrupts.is_empty() {
            self.restore_stack();
        }
        let cpu = self.machine.cpu_mut();
        if fault_differs {
            // They faulted and we did not, or not in this way: what lies on the stack is to be theirs.
            match &step.faulting {
                Some(state) => adopt(cpu, &Step { state: (**state).clone(), vectors: None, ..step.clone() }),
                None => adopt(cpu, step),
            }
            // Of exceptions that led to each other the last one was delivered.
            if let Some(&(vector, error)) = step.exceptions.last() {
                let error = has_error_code(vector).then_some(error);
                let _ = cpu.deliver(vector, Source::Exception, error);
            }
        }
        adopt(cpu, next);
        result
    }
}

/// Why the comparison ends when nothing more comes.
pub(crate) fn log_ends<S: Steps>() -> String {
    format!("{}'s log ends", S::NAME)
}

/// What an instruction read from a port, by its result.
fn port_read(place: &Place, step: &Step, next: &Step) -> Option<Answer> {
    let insn = &place.instruction();
    if !step.exceptions.is_empty() {
        return None;
    }
    let dx = step.state.regs[RDX] & 0xffff;
    let (address, value, size) = match insn.mnemonic() {
        M::In => {
            let size = insn.op0_register().size();
            let port = if insn.op1_kind() == OpKind::Immediate8 { insn.immediate8().into() } else { dx };
            (port, next.state.regs[RAX] & u64::MAX >> (64 - 8 * size), size as u8)
        }
        M::Insb | M::Insw | M::Insd => {
            let (value, size) = step.written?;
            (dx, value, size)
        }
        _ => return None,
    };
    Some(Answer { address, value, size })
}

/// Did nothing happen, so that the step is only announced again? QEMU does so where a data breakpoint is met: it gives
/// up the instruction and does it again by itself. A jump to itself is no such thing.
pub(crate) fn announced_again(place: &Place, step: &Step, next: &Step) -> bool {
    next.state == step.state
        && step.exceptions.is_empty()
        && step.interrupts.is_empty()
        && step.reads.is_empty()
        && !step.management
        && place.instruction().flow_control() == FlowControl::Next
}

/// What differs in the error codes, when both machines delivered the same exception.
fn error_codes(ours: Option<(u8, u16)>, theirs: &[(u8, u16)]) -> Option<Difference> {
    let ((vector, ours), &(same, theirs)) = (ours?, theirs.last()?);
    (vector == same && has_error_code(vector) && ours != theirs).then(|| Difference {
        field: "error".into(),
        ours: ours.into(),
        theirs: theirs.into(),
    })
}

/// Does this exception push an error code? SDM 3A, "Error Code".
pub(crate) fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}
