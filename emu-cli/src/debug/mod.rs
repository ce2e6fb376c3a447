//! What stands between the main loop and whoever debugs the guest: the points at which it stops, and how it moves.
//!
//! [`gdb`](crate::gdb) and the monitor both work on this; the machine itself only knows [`Stops`]. [`commands`] are
//! the monitor's, [`expression`] what can be computed in them, [`memory`] and [`tables`] what they print.

pub mod commands;
pub mod expression;
pub mod memory;
pub mod tables;

use emu_core::cpu::debugger::{BreakPoint, Hit, Place, Stops, WatchPoint};
use emu_core::cpu::fault;
use emu_core::machine::Machine;
use emu_core::mmu::look;

use crate::gdb::agent;
use expression::Expression;

/// How the machine moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// It runs.
    Run,
    /// It stands still.
    Stand,
    /// It runs until a processor has retired one more instruction and, if there is a range, has left it.
    Step {
        /// The processor.
        cpu: usize,
        /// Its count of retired instructions when the step began.
        from: u64,
        /// First linear address of the range and the one behind its end.
        range: Option<(u64, u64)>,
    },
}

/// Who set a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// gdb, by a packet of this type; it goes with the connection.
    Gdb(u8),
    /// A command to the monitor.
    Monitor,
}

/// What a point waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An instruction.
    Break(BreakPoint),
    /// An access to memory.
    Watch(WatchPoint),
    /// An access to the ports from the first to the last.
    Ports(u16, u16),
    /// Bit n: exception n.
    Exceptions(u32),
    /// An external or software interrupt.
    Interrupt(u8),
    /// WRMSR to the registers from the first to the last.
    Msrs(u32, u32),
    /// A new value for CR3.
    Cr3,
    /// A change of mode.
    Mode,
}

impl What {
    /// For the user.
    pub fn in_words(self) -> String {
        let place = |at: Place| match at {
            Place::Linear(at) => format!("{at:#x}"),
            Place::Physical(at) => format!("physical {at:#x}"),
        };
        let range = |first: u32, last: u32| {
            if first == last { format!("{first:#x}") } else { format!("{first:#x} to {last:#x}") }
        };
        match self {
            Self::Break(BreakPoint { at, cs: None }) => format!("instruction at {}", place(at)),
            Self::Break(BreakPoint { at, cs: Some(cs) }) => {
                format!("instruction at {} with CS {cs:04x}", place(at))
            }
            Self::Watch(WatchPoint { at, len, read, write }) => {
                let kind = match (read, write) {
                    (true, true) => "access to",
                    (true, false) => "read of",
                    _ => "write to",
                };
                format!("{kind} {len} bytes at {}", place(at))
            }
            Self::Ports(first, last) => format!("access to port {}", range(first.into(), last.into())),
            Self::Exceptions(u32::MAX) => "every exception".into(),
            Self::Exceptions(bits) => format!("exception {}", fault::mnemonic(bits.trailing_zeros() as u8)),
            Self::Interrupt(vector) => format!("interrupt {vector:#x}"),
            Self::Msrs(first, last) => format!("write to MSR {}", range(first, last)),
            Self::Cr3 => "load of CR3".into(),
            Self::Mode => "change of mode".into(),
        }
    }
}

/// On what condition a point stops the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// An expression of the monitor.
    Typed {
        /// As it was typed.
        text: String,
        /// As it was understood.
        parsed: Expression,
    },
    /// Programs of gdb, of which one must give something other than 0.
    Agent(Vec<Vec<u8>>),
}

impl Condition {
    /// Is it met? What cannot be decided is.
    fn holds(&self, machine: &Machine, cpu: usize) -> bool {
        match self {
            Self::Typed { parsed, .. } => parsed.value(machine, cpu) != Some(0),
            Self::Agent(programs) => {
                programs.iter().any(|program| agent::run(program, machine, cpu) != Some(0))
            }
        }
    }
}

/// A point at which the machine stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its number, for the monitor.
    pub number: u32,
    /// Who set it.
    pub owner: Owner,
    /// What it waits for.
    pub what: What,
    /// On what condition.
    pub condition: Option<Condition>,
    /// How often it stopped the machine.
    pub met: u64,
}

/// Why the machine stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// The processor that it is about.
    pub cpu: usize,
    /// What happened; `None` for the end of a step.
    pub hit: Option<Hit>,
    /// The point that waited for it.
    pub point: Option<Point>,
}

/// The state of debugging.
#[derive(Debug)]
pub struct Debug {
    /// How the machine moves.
    pub motion: Motion,
    /// The points.
    pub points: Vec<Point>,
    /// How it is to move when it goes on next, as gdb puts it together.
    pub planned: Option<Motion>,
    /// Conditions for the next break-point that gdb sets.
    pub agent: Option<Vec<Vec<u8>>>,
    /// What stopped the machine last; `None` for a step or Ctrl-C.
    pub last: Option<Hit>,
    /// A processor has shut down after a triple fault.
    pub shutdown: bool,
    /// The processor that commands are about.
    pub selected: usize,
    next_number: u32,
}

impl Default for Debug {
    fn default() -> Self {
        Self {
            motion: Motion::Run,
            points: Vec::new(),
            planned: None,
            agent: None,
            last: None,
            shutdown: false,
            selected: 0,
            next_number: 1,
        }
    }
}

impl Debug {
    /// Sets a point and returns its number. A point of gdb replaces the one that it set in the same place.
    pub fn add(
        &mut self,
        machine: &mut Machine,
        owner: Owner,
        what: What,
        condition: Option<Condition>,
    ) -> u32 {
        if let Owner::Gdb(_) = owner {
            self.points.retain(|point| point.owner != owner || point.what != what);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.points.push(Point { number, owner, what, condition, met: 0 });
        self.apply(machine);
        number
    }

    /// Removes the points that are not to be kept; returns how many.
    pub fn remove(&mut self, machine: &mut Machine, keep: impl Fn(&Point) -> bool) -> usize {
        let before = self.points.len();
        self.points.retain(keep);
        if self.points.len() != before {
            self.apply(machine);
        }
        before - self.points.len()
    }

    fn apply(&self, machine: &mut Machine) {
        let mut stops = Stops::default();
        for point in &self.points {
            match point.what {
                What::Break(at) => stops.breaks.push(at),
                What::Watch(at) => stops.watches.push(at),
                What::Ports(first, last) => stops.ports.push((first, last)),
                What::Exceptions(bits) => stops.exceptions |= bits,
                What::Interrupt(vector) => stops.interrupts.push(vector),
                What::Msrs(first, last) => stops.msrs.push((first, last)),
                What::Cr3 => stops.cr3 = true,
                What::Mode => stops.mode = true,
            }
        }
        machine.set_stops(&stops);
    }

    /// The machine goes on. Where it stands it does not stop again at once.
    pub fn resume(&mut self, machine: &mut Machine, motion: Motion) {
        machine.cpu_mut().pass_break_point();
        self.last = None;
        self.shutdown = false;
        self.motion = motion;
    }

    /// The count of all processors' instructions up to which the machine may run, of `until` at most.
    pub fn limit(&self, machine: &Machine, until: u64) -> u64 {
        match self.motion {
            Motion::Step { .. } => until.min(machine.instructions() + 1),
            _ => until,
        }
    }

    /// Looks, after a run, whether there is a reason to stand.
    pub fn check(&mut self, machine: &mut Machine) -> Option<Halt> {
        for (cpu, hit) in machine.take_hits() {
            let met = self.points.iter_mut().find(|point| {
                let holds = |condition: &Condition| condition.holds(machine, cpu);
                meets(machine, point.what, cpu, &hit) && point.condition.as_ref().is_none_or(holds)
            });
            if let Some(point) = met {
                point.met += 1;
                self.motion = Motion::Stand;
                self.last = Some(hit);
                self.selected = cpu;
                return Some(Halt { cpu, hit: Some(hit), point: Some(point.clone()) });
            }
        }
        if let Motion::Step { cpu, .. } = self.motion
            && !self.steps_on(machine)
        {
            self.motion = Motion::Stand;
            return Some(Halt { cpu, hit: None, point: None });
        }
        None
    }

    /// Is there a step that has not come to its end?
    pub fn steps_on(&self, machine: &Machine) -> bool {
        let Motion::Step { cpu, from, range } = self.motion else { return false };
        let processor = &machine.cpus()[cpu];
        let within = |(start, end): (u64, u64)| (start..end).contains(&processor.linear_ip());
        processor.retired == from || range.is_some_and(within)
    }
}

/// Is this what the point waits for?
fn meets(machine: &Machine, what: What, cpu: usize, hit: &Hit) -> bool {
    match (what, *hit) {
        (What::Break(point), Hit::Break { linear }) => {
            let processor = &machine.cpus()[cpu];
            let here = match point.at {
                Place::Linear(at) => at == linear,
                Place::Physical(at) => look::walk(processor, machine.memory(), linear)
                    .page
                    .is_some_and(|page| same_cell(machine, page.physical, at)),
            };
            here && point.cs.is_none_or(|cs| cs == processor.seg[emu_core::cpu::CS].selector)
        }
        (What::Watch(point), Hit::Watch { linear, physical, size, write }) => {
            let (at, first) = match point.at {
                Place::Linear(at) => (at, linear),
                Place::Physical(at) => (at, physical),
            };
            let meets = first.wrapping_sub(at) < point.len || at.wrapping_sub(first) < size;
            meets && if write { point.write } else { point.read }
        }
        (What::Ports(first, last), Hit::Port { port, size, .. }) => {
            port <= last && u32::from(port) + u32::from(size) > u32::from(first)
        }
        (What::Exceptions(bits), Hit::Exception { exception, .. }) => bits >> exception.vector & 1 != 0,
        (What::Interrupt(wanted), Hit::Interrupt { vector, .. }) => wanted == vector,
        (What::Msrs(first, last), Hit::Msr { number, .. }) => (first..=last).contains(&number),
        (What::Cr3, Hit::Cr3 { .. }) | (What::Mode, Hit::Mode(_)) => true,
        _ => false,
    }
}

/// Do two physical addresses of code reach the same byte of RAM or ROM?
fn same_cell(machine: &Machine, one: u64, other: u64) -> bool {
    let mem = machine.memory();
    let cell = |at: u64| mem.code_page(mem.gate_a20(at)).read_frame().map(|frame| (frame, at % 4096));
    cell(one).is_some() && cell(one) == cell(other)
}

/// What happened, in words.
pub fn describe(hit: &Hit) -> String {
    match *hit {
        Hit::Break { linear } => format!("break-point at {linear:#x}"),
        Hit::Watch { linear, physical, size, write } => {
            let kind = if write { "write" } else { "read" };
            format!("{kind} of {size} bytes at {linear:#x} (physical {physical:#x})")
        }
        Hit::Port { port, size, written } => match written {
            Some(value) => format!("write of {value:#x} ({size} bytes) to port {port:#x}"),
            None => format!("read of {size} bytes from port {port:#x}"),
        },
        Hit::Exception { exception, held } => {
            let when = if held { "about to be delivered" } else { "delivered" };
            format!("exception {exception}, vector {}, {when}", exception.vector)
        }
        Hit::Interrupt { vector, software } => {
            let kind = if software { "software interrupt" } else { "interrupt" };
            // What software calls by number mostly is a service: of the BIOS, or of DOS.
            let name = if vector < 32 && !software { fault::mnemonic(vector) } else { "" };
            format!("{kind} {vector:#x} {name}").trim_end().to_owned()
        }
        Hit::Msr { number, value } => format!("MSR {number:#x} written with {value:#x}"),
        Hit::Cr3 { value } => format!("CR3 loaded with {value:#x}"),
        Hit::Mode(mode) => {
            let on = |on: bool| if on { "on" } else { "off" };
            let (protection, paging) = (on(mode.protected), on(mode.paging));
            format!("{}-bit code, protection {protection}, paging {paging}", mode.bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_no_exception() {
        assert_eq!(describe(&Hit::Interrupt { vector: 0x13, software: true }), "software interrupt 0x13");
        assert_eq!(describe(&Hit::Interrupt { vector: 2, software: false }), "interrupt 0x2 NMI");
    }
}
