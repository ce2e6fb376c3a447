//! The main loop: slices of instructions, and between two of them everything that the outside wants or gets.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use crossbeam_channel::{Receiver, Select};
use emu_core::bus::{NEVER, Tick};
use emu_core::explain;
use emu_core::machine::{Stop, TimeSource};
use emu_devices::keys::Key;

use crate::clock::{HostClock, LONGEST_SLEEP, Pace};
use crate::console::SerialOut;
use crate::debug::{self, Motion, commands};
use crate::display::{self, TextDisplay};
use crate::events::Event;
use crate::explain::Explainer;
use crate::gdb::{self, News};
use crate::hash_log::HashLog;
use crate::keys;
use crate::lint::Linter;
use crate::machine::{Guest, PORTS};
use crate::monitor::{self, Command, Monitor};
use crate::outcome::Outcome;
use crate::say::{report, say};
use crate::terminal::{self, Screen};
use crate::tracing::Tracing;
use crate::typed::{self, Typed};

/// Instructions between two looks at the outside in virtual time: a few milliseconds of host time.
const SLICE: u64 = 500_000;

/// Time between two looks whether the keyboard can take the next key of a paste.
const KEY_PAUSE: Duration = Duration::from_millis(1);

/// Triple faults of a run that are explained.
const MOST_CHAINS: u32 = 8;

/// The host's rest while the guest sleeps through the events of its board.
const SLEEPER_PAUSE: Duration = Duration::from_millis(50);

/// Bytes typed or received that wait for a serial port.
const TYPE_AHEAD: usize = 1 << 16;

/// Who gets what is typed at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyboard {
    /// A serial port.
    Serial(usize),
    /// The PS/2 keyboard.
    Ps2,
}

/// One serial port's connections.
#[derive(Debug)]
pub struct Line {
    /// Where the guest's bytes go.
    pub out: SerialOut,
    /// A socket's client.
    pub input: Option<Receiver<u8>>,
    /// Bytes for which the port had no room yet.
    pub waiting: VecDeque<u8>,
}

impl Default for Line {
    fn default() -> Self {
        Self { out: SerialOut::None, input: None, waiting: VecDeque::new() }
    }
}

/// What ends a run from outside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// `--max-insns`.
    pub instructions: Option<u64>,
    /// `--timeout`.
    pub deadline: Option<Instant>,
    /// `--no-reboot`.
    pub no_reboot: bool,
}

/// A machine and everything around it.
#[derive(Debug)]
pub struct Session {
    /// The machine.
    pub guest: Guest,
    /// Who gets what is typed.
    pub keyboard: Option<Keyboard>,
    /// `--display text`.
    pub display: Option<TextDisplay>,
    /// `--debugcon`.
    pub debugcon: Option<File>,
    /// `--hash-log`.
    pub hash_log: Option<HashLog>,
    /// What ends the run.
    pub limits: Limits,
    /// Host time that it slept while all processors were halted.
    pub slept: Duration,
    /// `--trace`.
    pub tracing: Option<Tracing>,
    /// `--gdb`.
    pub gdb: Option<gdb::Server>,
    /// What stopped the machine before a debugger was told: dealt with when it goes on.
    stopped: Option<Stop>,
    clock: Option<HostClock>,
    pace: Pace,
    events: Receiver<Event>,
    lines: [Line; PORTS],
    keys: VecDeque<(Key, bool)>,
    monitor: Option<Monitor>,
    /// Triple faults that were explained.
    chains: u32,
    /// The monitor's `stop`.
    standing: bool,
    /// The user was told that the guest sleeps through interrupts.
    told_of_sleep: bool,
}

/// Goes on, or ends the run.
type Step = Result<Option<Outcome>>;

impl Session {
    /// A session that has not begun.
    pub fn new(guest: Guest, time: TimeSource, events: Receiver<Event>, lines: [Line; PORTS]) -> Self {
        Self {
            guest,
            keyboard: None,
            display: None,
            debugcon: None,
            hash_log: None,
            limits: Limits::default(),
            slept: Duration::ZERO,
            tracing: None,
            chains: 0,
            gdb: None,
            stopped: None,
            clock: (time == TimeSource::Host).then(HostClock::start),
            pace: Pace::start(),
            events,
            lines,
            keys: VecDeque::new(),
            monitor: None,
            standing: false,
            told_of_sleep: false,
        }
    }

    /// Runs until something ends it.
    ///
    /// # Errors
    /// When the host fails us or the guest uses what does not exist yet.
    pub fn run(&mut self) -> Result<Outcome> {
        let outcome = loop {
            match self.step() {
                Ok(None) => {}
                Ok(Some(outcome)) => break Ok(outcome),
                Err(error) => break Err(error),
            }
        };
        if let (Ok(outcome), Some(gdb)) = (&outcome, &mut self.gdb) {
            gdb.tell(&mut self.guest, &News::End(*outcome));
        }
        self.lines.iter_mut().for_each(|line| line.out.finish());
        outcome
    }

    fn step(&mut self) -> Step {
        while let Ok(event) = self.events.try_recv() {
            if let Some(outcome) = self.event(event)? {
                return Ok(Some(outcome));
            }
        }
        if self.limits.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Some(Outcome::Timeout));
        }
        if let Some(gdb) = &mut self.gdb
            && let Some(outcome) = gdb.serve(&mut self.guest)
        {
            return Ok(Some(outcome));
        }
        if self.standing || self.guest.debug.motion == Motion::Stand {
            if let Some(tracing) = &mut self.tracing {
                tracing.rest(&mut self.guest);
            }
            // With a client the server has waited already.
            if !self.gdb.as_ref().is_some_and(gdb::Server::connected) {
                self.sleep(LONGEST_SLEEP);
            }
            if let Some(clock) = &mut self.clock {
                clock.skip();
            }
            return Ok(None);
        }
        let count = self.guest.instructions();
        if self.limits.instructions.is_some_and(|limit| count >= limit) {
            return Ok(Some(Outcome::InstructionLimit));
        }
        match self.stopped.take() {
            Some(stop) => self.after(stop),
            None => self.slice(count),
        }
    }

    fn slice(&mut self, count: u64) -> Step {
        let length = if self.clock.is_some() { self.pace.length() } else { SLICE };
        let traced = self.tracing.as_ref().and_then(|tracing| tracing.due(&mut self.guest));
        let limits = [self.limits.instructions, self.hash_log.as_ref().map(HashLog::due), traced];
        let until = limits.into_iter().flatten().fold(count.saturating_add(length), u64::min);
        if let Some(clock) = &mut self.clock {
            self.guest.set_host_time(clock.now());
        }
        self.feed();
        let began = Instant::now();
        let stop = self.guest.run(until);
        if stop == Stop::Limit && self.clock.is_some() {
            self.pace.learn(self.guest.instructions() - count, began.elapsed());
        }
        if let Some(outcome) = self.drain()? {
            return Ok(Some(outcome));
        }
        // Where only the debugger stops, the state is not the one that a run without it would show.
        if stop != Stop::Observed {
            self.log_hash()?;
        }
        self.explain();
        if let Some(tracing) = &mut self.tracing {
            tracing.look(&mut self.guest)?;
        }
        if let Some(halt) = self.guest.check_debug() {
            self.tell(&News::Halt(halt));
            self.tell_user();
        } else if let Stop::TripleFault(chain) = &stop
            && self.gdb.as_ref().is_some_and(gdb::Server::connected)
        {
            self.guest.debug.motion = Motion::Stand;
            self.guest.debug.shutdown = true;
            self.tell(&News::Shutdown(chain.to_string()));
        }
        if self.guest.debug.motion == Motion::Stand {
            self.stopped = Some(stop).filter(|stop| !matches!(stop, Stop::Limit | Stop::Observed));
            return Ok(None);
        }
        self.look_at_sleeper(count, &stop);
        self.after(stop)
    }

    /// A guest that has halted with its interrupts disabled mostly stays so: the user is told, and in virtual time,
    /// which would rush from one event of the board to the next, the host gets some rest.
    fn look_at_sleeper(&mut self, count: u64, stop: &Stop) {
        let slept = match stop {
            Stop::Halted { .. } => true,
            Stop::Limit => self.guest.instructions() == count,
            _ => false,
        };
        if !slept || !self.guest.machine().sleeps_through_interrupts() {
            self.told_of_sleep = false;
            return;
        }
        if !std::mem::replace(&mut self.told_of_sleep, true) {
            report!(
                "the guest has halted with interrupts disabled: an NMI, an SMI, INIT or a reset could wake it"
            );
        }
        if *stop == Stop::Limit {
            self.sleep(SLEEPER_PAUSE);
        }
    }

    /// Tells whoever debugs.
    fn tell(&mut self, news: &News) {
        if let Some(gdb) = &mut self.gdb {
            gdb.tell(&mut self.guest, news);
        }
    }

    /// Tells the user of the monitor, when no debugger is there to tell.
    fn tell_user(&mut self) {
        if !self.gdb.as_ref().is_some_and(gdb::Server::connected)
            && let Some(hit) = &self.guest.debug.last
        {
            say!("\nThe machine stands: {}. The monitor's cont lets it go on.\n", debug::describe(hit));
            if self.monitor.is_some() {
                say!("{}", monitor::PROMPT);
            }
        }
    }

    /// Deals with what stopped the machine.
    fn after(&mut self, stop: Stop) -> Step {
        match stop {
            Stop::Limit | Stop::Observed => Ok(None),
            Stop::PowerOff => Ok(Some(Outcome::PowerOff)),
            Stop::DebugExit(value) => Ok(Some(Outcome::DebugExit(value))),
            Stop::Reset if self.limits.no_reboot => Ok(Some(Outcome::Reset)),
            Stop::TripleFault(chain) => {
                if self.limits.no_reboot {
                    terminal::suspend();
                }
                self.explain_chain(&chain.to_string());
                if self.limits.no_reboot {
                    return Ok(Some(Outcome::Reset));
                }
                self.guest.reset();
                Ok(None)
            }
            Stop::Reset => {
                self.guest.reset();
                Ok(None)
            }
            Stop::Unimplemented(what) => bail!("{what}"),
            Stop::Halted { next_event } => {
                self.sleep_until(next_event);
                Ok(None)
            }
        }
    }

    /// Prints what `--explain` and `--lint` have found.
    fn explain(&mut self) {
        if let Some(explainer) = self.guest.machine().observer::<Explainer>() {
            let text = explainer.take();
            text.lines().for_each(|line| report!("{line}"));
        }
        if let Some(linter) = self.guest.machine().observer::<Linter>() {
            linter.take().iter().for_each(|line| report!("{line}"));
        }
    }

    /// Explains the faults that shut the processor down. A guest may reset itself so for ever: the first few are told.
    fn explain_chain(&mut self, chain: &str) {
        if self.chains == MOST_CHAINS && !self.limits.no_reboot {
            return;
        }
        report!("{chain}");
        self.chains = (self.chains + 1).min(MOST_CHAINS);
        let cpu = self.guest.machine().cpu();
        let mut lines = explain::chain(cpu);
        lines.extend(explain::registers(cpu));
        match self.guest.machine().observer::<Explainer>() {
            Some(explainer) => lines.extend(explainer.branches()),
            None => lines.push("--explain lists the last branches too".into()),
        }
        if self.chains == MOST_CHAINS && !self.limits.no_reboot {
            lines.push(format!("{MOST_CHAINS} triple faults were told; no more are"));
        }
        lines.iter().for_each(|line| report!("  {line}"));
    }

    /// Hands the guest what came in.
    fn feed(&mut self) {
        for (port, line) in self.lines.iter_mut().enumerate() {
            if let Some(input) = &line.input {
                let room = TYPE_AHEAD.saturating_sub(line.waiting.len());
                line.waiting.extend(input.try_iter().take(room));
            }
            if !line.waiting.is_empty() {
                let sent = self.guest.serial_send(port, line.waiting.make_contiguous());
                line.waiting.drain(..sent);
            }
        }
        // The keyboard's own buffer is small, so a paste goes in key by key.
        if let Some(&(key, pressed)) = self.keys.front()
            && self.guest.key(key, pressed)
        {
            self.keys.pop_front();
        }
    }

    /// Passes on what the guest said.
    fn drain(&mut self) -> Step {
        for (port, line) in self.lines.iter_mut().enumerate() {
            let bytes = self.guest.take_serial(port);
            if bytes.is_empty() {
                continue;
            }
            match line.out.write(&bytes) {
                Ok(()) => {}
                Err(error)
                    if error.kind() == ErrorKind::BrokenPipe && matches!(line.out, SerialOut::Stdout) =>
                {
                    return Ok(Some(Outcome::OutputClosed));
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("the output of COM{} cannot be written", port + 1));
                }
            }
        }
        let bytes = self.guest.take_debugcon();
        if let Some(file) = &mut self.debugcon {
            file.write_all(&bytes).context("--debugcon: it cannot be written")?;
        }
        if self.monitor.is_none()
            && let Some(display) = &mut self.display
            && display.due()
        {
            display.draw(self.guest.text_screen().as_ref()).context("the screen cannot be drawn")?;
        }
        Ok(None)
    }

    fn log_hash(&mut self) -> Result<()> {
        if let Some(log) = &mut self.hash_log
            && self.guest.instructions() == log.due()
        {
            let (count, rip, hash) = (self.guest.instructions(), self.guest.rip(), self.guest.state_hash());
            log.line(count, rip, hash).context("--hash-log: it cannot be written")?;
        }
        Ok(())
    }

    /// Sleeps while all processors are halted: until the guest's next event or until something comes in.
    fn sleep_until(&mut self, next_event: Tick) {
        let time = match &mut self.clock {
            Some(clock) if next_event != NEVER => {
                Duration::from_nanos(next_event.saturating_sub(clock.now()))
            }
            _ => LONGEST_SLEEP,
        };
        let frame = if self.display.is_some() { display::FRAME } else { LONGEST_SLEEP };
        let key = if self.keys.is_empty() { LONGEST_SLEEP } else { KEY_PAUSE };
        self.sleep(time.min(frame).min(key));
    }

    fn sleep(&mut self, time: Duration) {
        let began = Instant::now();
        let mut until = began + time.min(LONGEST_SLEEP);
        if let Some(deadline) = self.limits.deadline {
            until = until.min(deadline);
        }
        let mut select = Select::new();
        select.recv(&self.events);
        // The event itself is left for the next step.
        let _ = select.ready_deadline(until);
        drop(select);
        self.slept += began.elapsed();
    }

    fn event(&mut self, event: Event) -> Step {
        match event {
            Event::Input => {}
            Event::Signal(signal) => return Ok(Some(Outcome::Signal(signal))),
            Event::Redraw => {
                if let Some(display) = &mut self.display {
                    display.forget();
                }
                if self.monitor.is_some() {
                    say!("{}", monitor::PROMPT);
                }
            }
            Event::Typed(Typed::Quit) => return Ok(Some(Outcome::Quit)),
            Event::Typed(Typed::ToggleMonitor) => self.toggle_monitor(),
            Event::Typed(Typed::Help) => {
                if self.display.is_some() && self.monitor.is_none() {
                    self.toggle_monitor();
                }
                say!("\n{}", typed::HELP);
            }
            Event::Typed(Typed::Bytes(bytes)) => return self.typed(&bytes),
        }
        Ok(None)
    }

    fn typed(&mut self, bytes: &[u8]) -> Step {
        let Some(monitor) = &mut self.monitor else {
            match self.keyboard {
                Some(Keyboard::Serial(port)) => {
                    let waiting = &mut self.lines[port].waiting;
                    let room = TYPE_AHEAD.saturating_sub(waiting.len());
                    waiting.extend(bytes.iter().take(room));
                }
                Some(Keyboard::Ps2) if self.keys.len() < TYPE_AHEAD => {
                    self.keys.extend(keys::transitions(bytes))
                }
                _ => {}
            }
            return Ok(None);
        };
        let reply = monitor.typed(bytes);
        say!("{}", reply.echo);
        for command in reply.commands {
            match command {
                Ok(Command::Quit) => return Ok(Some(Outcome::Quit)),
                Ok(command) => self.command(command),
                Err(message) => say!("{message}\n"),
            }
        }
        if reply.echo.ends_with('\n') {
            say!("{}", monitor::PROMPT);
        }
        Ok(None)
    }

    fn toggle_monitor(&mut self) {
        if self.monitor.take().is_some() {
            say!("\n");
            if let Some(display) = &mut self.display {
                terminal::show(Screen::Full);
                display.forget();
            }
        } else {
            terminal::show(Screen::Scrolling);
            say!("\nMonitor: help lists the commands, Ctrl-A C goes back.\n{}", monitor::PROMPT);
            self.monitor = Some(Monitor::default());
        }
    }

    /// The monitor's `cont`.
    fn go_on(&mut self) {
        self.standing = false;
        if self.guest.debug.motion == Motion::Stand {
            if self.gdb.as_ref().is_some_and(gdb::Server::connected) {
                say!("The debugger that is connected holds the machine.\n");
                return;
            }
            let Guest { machine, debug, .. } = &mut self.guest;
            debug.resume(machine, Motion::Run);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Help => say!("{}{}", monitor::HELP, commands::HELP),
            Command::Info => {
                say!("{}", self.guest.describe(self.standing || self.guest.debug.motion == Motion::Stand))
            }
            Command::Screen => match self.guest.text_screen() {
                Some(screen) => say!("{}", display::plain(&screen)),
                None => say!("The guest shows graphics.\n"),
            },
            Command::Stop => self.standing = true,
            Command::Cont => self.go_on(),
            Command::Reset => self.guest.reset(),
            Command::Machine(line) => match commands::run(&mut self.guest, &line) {
                Some(Ok(reply)) => say!("{reply}"),
                Some(Err(why)) => say!("{why}\n"),
                None => say!("{line}: expected a command; help lists them\n"),
            },
            Command::Quit => {}
        }
    }
}
