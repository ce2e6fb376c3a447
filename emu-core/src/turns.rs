//! How the processors of a machine take turns.
//!
//! One processor runs at a time, and guest time passes with every instruction that any of them retires. A turn ends
//! after [`TURN`] instructions; at HLT, MWAIT and while waiting for a start-up IPI, where there is nothing to do; and
//! after PAUSE, since what a spinning processor waits for is up to another one, unless all of them sleep. So who runs when follows from what
//! the guest does and from nothing else: the length of the driver's slices does not show, nor does the engine.
//!
//! Time never goes back on the way from one processor to the next, so their time-stamp counters agree, and to the
//! chips there is a single clock. LOCK needs no care: nobody else runs in the middle of an instruction.

use crate::bus::Tick;
use crate::cpu::{Clock, Cpu, System};

/// Instructions in a turn. A shorter one costs speed (see `benches`), a longer one delays the interrupts of the
/// processors that wait.
pub const TURN: u64 = 10_000;

/// The processors of a machine and whose turn it is.
pub(crate) struct Turns {
    /// All processors; the current one holds the system.
    cpus: Box<[Cpu]>,
    current: usize,
    /// The current processor's count of retired instructions at which its turn ends.
    end: u64,
    /// Instructions that all the others have retired.
    others: u64,
}

impl Turns {
    /// The processors in their power-on state, the first of them with the system.
    pub fn new(cpus: usize, system: Box<System>) -> Self {
        let ram = system.mem.ram().clone();
        let mut cpus: Box<[Cpu]> = (0..cpus.max(1)).map(|number| Cpu::new(number, ram.clone())).collect();
        let count = cpus.len();
        cpus.iter_mut().for_each(|cpu| cpu.processors = count);
        cpus[0].attach(system);
        let mut turns = Self { cpus, current: 0, end: 0, others: 0 };
        turns.begin();
        turns
    }

    /// The processor whose turn it is.
    #[inline]
    pub fn cpu(&self) -> &Cpu {
        &self.cpus[self.current]
    }

    /// The processor whose turn it is.
    #[inline]
    pub fn cpu_mut(&mut self) -> &mut Cpu {
        &mut self.cpus[self.current]
    }

    /// All processors.
    pub fn all(&self) -> &[Cpu] {
        &self.cpus
    }

    /// All processors.
    pub fn all_mut(&mut self) -> &mut [Cpu] {
        &mut self.cpus
    }

    /// Instructions that all processors together have retired.
    #[inline]
    pub fn instructions(&self) -> u64 {
        self.others + self.cpu().instructions()
    }

    /// How far the current processor may run, in its own count, when all together may get to `until`.
    pub fn limit(&self, until: u64) -> u64 {
        until.saturating_sub(self.others).min(self.end())
    }

    /// True when the current processor's turn is used up.
    pub fn over(&self) -> bool {
        self.cpu().retired >= self.end()
    }

    fn end(&self) -> u64 {
        self.end.max(self.cpu().turn_began + TURN)
    }

    /// The next one's turn begins.
    pub fn pass_on(&mut self) {
        self.give_to((self.current + 1) % self.cpus.len());
    }

    /// A turn of processor `next` begins.
    pub fn give_to(&mut self, next: usize) {
        if next != self.current {
            let total = self.instructions();
            let before = self.cpu_mut();
            if before.observed() {
                before.observe(|observer, cpu| observer.leave(cpu));
            }
            let now: Tick = before.now();
            let mut system = before.detach();
            self.current = next;
            let cpu = self.cpu_mut();
            system.clock = Clock { base: now, at: cpu.retired };
            cpu.attach(system);
            self.others = total - self.cpu().retired;
        }
        self.begin();
    }

    /// Lends the system to another processor for a look or a change from outside; the turn stays where it is.
    pub fn lend<R>(&mut self, to: usize, act: impl FnOnce(&mut Cpu) -> R) -> R {
        if to == self.current {
            return act(self.cpu_mut());
        }
        let now = self.cpu().now();
        let mut system = self.cpu_mut().detach();
        let other = &mut self.cpus[to];
        let clock = std::mem::replace(&mut system.clock, Clock { base: now, at: other.retired });
        other.attach(system);
        let result = act(other);
        let mut system = other.detach();
        system.clock = clock;
        self.cpu_mut().attach(system);
        result
    }

    /// One processor alone has all the time there is.
    fn begin(&mut self) {
        self.end = if self.cpus.len() == 1 { u64::MAX } else { self.cpu().retired + TURN };
    }
}
