//! `--gdb`: gdb's remote protocol, by the crate gdbstub. [`target`] is the guest as it sees it, [`registers`] how it
//! sees the registers and [`change`] how it changes them, [`link`] the line, [`packets`] and [`agent`] what gdbstub
//! lacks: conditions that are decided here.
//!
//! One client at a time; another one is turned away. A client that connects stops the machine. What happens when it
//! goes: `detach` lets the machine run without any points; `kill` ends the emulator; a connection that is lost leaves
//! the machine as it is, running or standing, without points, until the next client comes.

pub mod agent;
pub mod change;
pub mod link;
pub mod packets;
pub mod registers;
pub mod target;

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use anyhow::Result;
use emu_core::cpu::debugger::{Hit, Place};
use gdbstub::common::Signal;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, MultiThreadStopReason};
use gdbstub::target::ext::breakpoints::WatchKind;

use crate::debug::{self, Halt, Motion, Owner, Point, What};
use crate::machine::Guest;
use crate::outcome::Outcome;
use crate::say::report;
use link::{Address, Link, Listener, NAP};
use packets::{Incoming, Packets};
use registers::EXPEDITED;
use target::{Number, thread};

type Machine = GdbStubStateMachine<'static, Guest, Link>;
type Failure = GdbStubError<&'static str, io::Error>;
type Reason = MultiThreadStopReason<u64>;

/// Bytes in a packet, and of what is read at once.
const PACKET: usize = 16 << 10;
/// What a client sends for Ctrl-C.
const CTRL_C: u8 = 3;
/// Something that the machine tells its debugger.
#[derive(Debug)]
pub enum News {
    /// It stands.
    Halt(Halt),
    /// A processor has shut down after a triple fault; the text says how. The machine stands.
    Shutdown(String),
    /// The run ends.
    End(Outcome),
}

/// The server.
pub struct Server {
    listener: Listener,
    client: Option<Machine>,
    packets: Packets,
    /// What has arrived and is not looked at yet.
    ahead: VecDeque<u8>,
    /// When it last looked for somebody who wants to connect.
    looked: Instant,
    buffer: Box<[u8; PACKET]>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("connected", &self.client.is_some()).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens. With port 0 the host chooses one, which is told on standard error.
    ///
    /// # Errors
    /// When the address makes no sense or is in use.
    pub fn listen(address: &Address) -> Result<Self> {
        Ok(Self {
            listener: Listener::bind(address)?,
            client: None,
            packets: Packets::default(),
            ahead: VecDeque::new(),
            looked: Instant::now(),
            buffer: Box::new([0; PACKET]),
        })
    }

    /// Is somebody connected?
    pub fn connected(&self) -> bool {
        self.client.is_some()
    }

    /// Does what a client wants. While the machine stands this waits for a moment.
    pub fn serve(&mut self, guest: &mut Guest) -> Option<Outcome> {
        loop {
            while let Some(client) = self.client.take() {
                match self.exchange(client, guest) {
                    Exchange::Something(client) => {
                        let runs = matches!(client, Machine::Running(_));
                        self.client = Some(client);
                        if runs {
                            return None;
                        }
                    }
                    Exchange::Nothing(client) => {
                        self.client = Some(client);
                        break;
                    }
                    Exchange::Gone(DisconnectReason::Kill) => return Some(Outcome::Quit),
                    Exchange::Gone(_) => {
                        forget_points(guest);
                        guest.debug.resume(&mut guest.machine, Motion::Run);
                    }
                    Exchange::Lost(why) => lost(guest, &why),
                }
            }
            // Only now, since whoever was connected may have made room; and not at every step of a debugger.
            if self.client.is_some() && self.looked.elapsed() < NAP {
                return None;
            }
            self.looked = Instant::now();
            let link = self.listener.accept().ok()?;
            if let Some(client) = self.client.take() {
                match self.exchange(client, guest) {
                    Exchange::Nothing(client) | Exchange::Something(client) => {
                        report!("a second debugger was turned away");
                        self.client = Some(client);
                        continue;
                    }
                    Exchange::Gone(DisconnectReason::Kill) => return Some(Outcome::Quit),
                    Exchange::Gone(_) => forget_points(guest),
                    Exchange::Lost(why) => lost(guest, &why),
                }
            }
            match connect(link, guest) {
                Ok(client) => {
                    self.client = Some(client);
                    self.packets = Packets::default();
                    self.ahead.clear();
                }
                Err(why) => report!("a debugger could not be served: {why}"),
            }
        }
    }

    /// Handles what has arrived.
    fn exchange(&mut self, mut client: Machine, guest: &mut Guest) -> Exchange {
        let runs = matches!(client, Machine::Running(_));
        if runs || self.ahead.is_empty() {
            match line(&mut client).receive(&mut self.buffer[..], !runs) {
                Ok(0) => return Exchange::Nothing(client),
                Ok(count) => self.ahead.extend(&self.buffer[..count]),
                Err(error) => return Exchange::Lost(error.to_string()),
            }
        }
        if runs && let Some(at) = interrupt(&self.ahead) {
            // It overtakes packets that were sent ahead.
            self.ahead.remove(at);
            self.ahead.push_front(CTRL_C);
        }
        while let Some(&byte) = self.ahead.front() {
            if byte == b'$' && matches!(client, Machine::Running(_)) {
                // A packet that was sent ahead: it is answered when the machine stands again.
                break;
            }
            self.ahead.pop_front();
            match self.packets.take(byte) {
                Incoming::More => continue,
                Incoming::Bytes => {}
                Incoming::Conditions(programs) => guest.debug.agent = Some(programs),
                Incoming::Greeting => line(&mut client).add_to_next(";ConditionalBreakpoints+"),
                Incoming::TooLong => return Exchange::Lost("a packet without end".into()),
            }
            for &byte in self.packets.ready() {
                client = match feed(client, guest, byte) {
                    Ok(Machine::Disconnected(mut gone)) => {
                        // gdbstub leaves this out, which vKill waits for and k ignores.
                        if gone.get_reason() == DisconnectReason::Kill {
                            let _ = gone.borrow_conn().answer("OK");
                        }
                        return Exchange::Gone(gone.get_reason());
                    }
                    Ok(client) => client,
                    Err(why) => return Exchange::Lost(why.to_string()),
                };
            }
            // Only for the packet that they came with.
            guest.debug.agent = None;
        }
        Exchange::Something(client)
    }

    /// Tells the client, who has let the machine run, what came of it.
    pub fn tell(&mut self, guest: &mut Guest, news: &News) {
        let Some(client) = self.client.take() else { return };
        let Machine::Running(mut running) = client else {
            self.client = Some(client);
            return;
        };
        let (cpu, reason, text) = match news {
            News::Halt(halt) => (halt.cpu, reason(halt), text(halt)),
            News::Shutdown(story) => {
                let cpu = guest.machine.cpu().number;
                let reason = Reason::SignalWithThread { tid: thread(cpu), signal: Signal::SIGSEGV };
                (cpu, reason, Some(story.clone()))
            }
            News::End(outcome) => (0, Reason::Exited(outcome.status() as u8), None),
        };
        let told = match text {
            Some(text) => running.borrow_conn().say(&format!("emu: {text}\n")).map_err(|why| why.to_string()),
            None => Ok(()),
        };
        let values = EXPEDITED.map(|number| (number, registers::read(&guest.machine, cpu, number)));
        let mut expedited = values.iter().map(|(number, value)| (Number(*number), &value[..8]));
        let reported = told.and_then(|()| {
            running.report_stop_with_regs(guest, reason, &mut expedited).map_err(|why| why.to_string())
        });
        match reported {
            Ok(Machine::Disconnected(_)) => {}
            Ok(client) => self.client = Some(client),
            Err(why) => lost(guest, &why),
        }
    }
}

enum Exchange {
    Nothing(Machine),
    Something(Machine),
    Gone(DisconnectReason),
    Lost(String),
}

fn line(client: &mut Machine) -> &mut Link {
    match client {
        Machine::Idle(inner) => inner.borrow_conn(),
        Machine::Running(inner) => inner.borrow_conn(),
        Machine::CtrlCInterrupt(inner) => inner.borrow_conn(),
        Machine::Disconnected(inner) => inner.borrow_conn(),
    }
}

fn connect(link: Link, guest: &mut Guest) -> Result<Machine, String> {
    let stub = GdbStub::builder(link).packet_buffer_size(PACKET).build().map_err(|why| why.to_string())?;
    let client = stub.run_state_machine(guest).map_err(|why| why.to_string())?;
    guest.debug.motion = Motion::Stand;
    Ok(client)
}

fn feed(client: Machine, guest: &mut Guest, byte: u8) -> Result<Machine, Failure> {
    match client {
        Machine::Idle(inner) => inner.incoming_data(guest, byte),
        Machine::Running(inner) => match inner.incoming_data(guest, byte)? {
            // Ctrl-C: between two instructions is where we are.
            Machine::CtrlCInterrupt(inner) => {
                guest.debug.motion = Motion::Stand;
                let tid = thread(guest.machine.cpu().number);
                inner.interrupt_handled(guest, Some(Reason::SignalWithThread { tid, signal: Signal::SIGINT }))
            }
            other => Ok(other),
        },
        Machine::CtrlCInterrupt(inner) => inner.interrupt_handled(guest, None::<Reason>),
        gone @ Machine::Disconnected(_) => Ok(gone),
    }
}

/// Where Ctrl-C lies among bytes that begin with a packet or between two; within packets the byte is data.
fn interrupt(ahead: &VecDeque<u8>) -> Option<usize> {
    /// Bytes of the sum behind `#`.
    const SUM: usize = 2;
    let (mut within, mut sum) = (false, 0);
    ahead.iter().position(|&byte| {
        if sum > 0 {
            sum -= 1;
        } else if within {
            within = byte != b'#';
            sum = if within { 0 } else { SUM };
        } else {
            within = byte == b'$';
            return byte == CTRL_C;
        }
        false
    })
}

/// The connection is gone without a word.
fn lost(guest: &mut Guest, why: &str) {
    forget_points(guest);
    let state = match guest.debug.motion {
        Motion::Stand => "the machine stands until another one connects",
        _ => "the machine goes on",
    };
    if let Motion::Step { .. } = guest.debug.motion {
        guest.debug.motion = Motion::Run;
    }
    report!("the debugger is gone ({why}); {state}");
}

fn forget_points(guest: &mut Guest) {
    let Guest { machine, debug, .. } = guest;
    debug.remove(machine, |_| false);
}

fn reason(halt: &Halt) -> Reason {
    let tid = thread(halt.cpu);
    match (halt.hit, &halt.point) {
        (Some(Hit::Break { .. }), Some(Point { owner: Owner::Gdb(0), .. })) => Reason::SwBreak(tid),
        (Some(Hit::Break { .. }), Some(Point { owner: Owner::Gdb(_), .. })) => Reason::HwBreak(tid),
        (
            Some(Hit::Watch { linear, .. }),
            Some(Point { owner: Owner::Gdb(_), what: What::Watch(watch), .. }),
        ) => {
            let kind = match (watch.read, watch.write) {
                (false, _) => WatchKind::Write,
                (_, false) => WatchKind::Read,
                _ => WatchKind::ReadWrite,
            };
            // gdb knows its watch-point by an address within it.
            let addr = match watch.at {
                Place::Linear(at) => linear.max(at),
                Place::Physical(_) => linear,
            };
            Reason::Watch { tid, kind, addr }
        }
        _ => Reason::SignalWithThread { tid, signal: Signal::SIGTRAP },
    }
}

/// What gdb's own message would not tell.
fn text(halt: &Halt) -> Option<String> {
    let (hit, point) = (halt.hit.as_ref()?, halt.point.as_ref()?);
    (point.owner == Owner::Monitor).then(|| format!("point {}: {}", point.number, debug::describe(hit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_c_is_found_between_packets_and_not_within() {
        let find = |bytes: &[u8]| interrupt(&bytes.iter().copied().collect());
        assert_eq!(find(b"$X0,1:\x03#00$p10#d1"), None);
        assert_eq!(find(b"$p10#d1\x03$p10#d1"), Some(7));
        assert_eq!(find(b"$p10#d\x03"), None, "a sum, if a wrong one");
        assert_eq!(find(b"+\x03"), Some(1));
        assert_eq!(find(b"$p10"), None);
    }
}
