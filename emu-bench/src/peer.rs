//! A running process that performs workloads, and the time that it takes for them.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Hardware, Start, Wire};
use crate::error::Error;
use crate::guest::{Files, Medium};

/// No boot and no workload takes longer.
const LIMIT: Duration = Duration::from_secs(600);
/// Longer lines are none of ours.
const LONGEST_LINE: usize = 1 << 16;
/// Between two looks whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Seconds that something took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// Processor time of the whole process.
    pub processor: f64,
    /// By the clock on the wall.
    pub elapsed: f64,
}

/// Bytes that a process of emu has in the host's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The guest's RAM.
    pub guest: u64,
    /// Everything else: its own, translated code, mapped files.
    pub own: u64,
}

impl Memory {
    /// What the host says of a process's mappings (`/proc/PID/smaps`, see proc(5)).
    fn of(smaps: &str) -> Self {
        let (mut memory, mut guest) = (Self::default(), false);
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Rss:"), Some(kilobytes)) => {
                    let bytes = kilobytes.parse::<u64>().unwrap_or(0) << 10;
                    if guest { memory.guest += bytes } else { memory.own += bytes }
                }
                // A range of addresses begins a mapping, whose file is in the sixth column.
                (Some(range), _) if range.contains('-') => guest = line.contains(GUEST_MEMORY),
                _ => {}
            }
        }
        memory
    }
}

/// The file that emu keeps guest memory in.
const GUEST_MEMORY: &str = "memfd:guest-memory";

/// How a workload ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Its checksum and the time for all units.
    Done(String, Time),
    /// The machine lacks what it needs.
    Skipped(String),
}

/// What a guest showed, and when that came.
#[derive(Debug)]
struct Mark {
    text: String,
    at: Instant,
    processor: f64,
}

/// The process. It stands still while it has nothing to do, so that it disturbs nobody; killed when dropped.
#[derive(Debug)]
pub struct Peer<'a> {
    engine: &'a Engine,
    child: Child,
    manner: Manner,
    input: Box<dyn Input>,
    marks: Receiver<Mark>,
    wire: Wire,
    folder: Option<PathBuf>,
    stop: &'a AtomicBool,
}

/// A writer that can be shown for debugging.
trait Input: Write + std::fmt::Debug {}
impl<W: Write + std::fmt::Debug> Input for W {}

/// Processor time of all threads of a process, in seconds.
///
/// # Errors
/// When there is no such process, or the host does not tell.
pub fn processor_seconds(process: u32) -> io::Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end between the two looks.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanoseconds += text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(nanoseconds / 1e9)
}

/// How a guest shows what it does on its serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Lines that begin with `@`, from the workloads' program.
    Marks,
    /// The bundled kernel's prompt, and the last line of what a command says.
    Prompt,
}

impl Manner {
    /// What a line says, which is complete or not yet.
    fn mark(self, line: &[u8], complete: bool) -> Option<String> {
        match self {
            Self::Marks if complete => {
                line.strip_prefix(b"@").map(|rest| String::from_utf8_lossy(rest).trim_end().to_owned())
            }
            Self::Marks => None,
            Self::Prompt if complete => {
                let text = String::from_utf8_lossy(line);
                let ends = text.starts_with("selftest: ") || text.contains(" primes below ");
                ends.then(|| text.trim_end().to_owned())
            }
            Self::Prompt => (line == b"emu$ ").then(|| "ready".to_owned()),
        }
    }
}

/// Passes on what comes in, with the time of its arrival.
fn read_marks(mut from: impl Read, manner: Manner, process: u32, to: &Sender<Mark>) {
    let mut piece = [0; 4096];
    let mut line: Vec<u8> = Vec::new();
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let at = Instant::now();
        for &byte in &piece[..count] {
            let complete = byte == b'\n';
            if !complete {
                line.push(byte);
            }
            if let Some(text) = manner.mark(&line, complete) {
                let processor = processor_seconds(process).unwrap_or(0.0);
                if to.send(Mark { text, at, processor }).is_err() {
                    return;
                }
            }
            if complete || line.len() > LONGEST_LINE {
                line.clear();
            }
        }
    }
}

/// The two directions of a serial line.
type Ends = (Box<dyn Read + Send>, Box<dyn Input>);

impl<'a> Peer<'a> {
    /// Starts a process and waits until it serves; says how long that took.
    ///
    /// # Errors
    /// When it does not start or ends before that.
    pub fn start(
        engine: &'a Engine,
        emu: &Path,
        files: &Files,
        hardware: &Hardware,
        stop: &'a AtomicBool,
    ) -> Result<(Self, Time), Error> {
        let Start { mut command, wire, folder } = engine.start(emu, files, hardware)?;
        if let Wire::Unix(path) = &wire {
            let _ = fs::remove_file(path);
        }
        let pipe = || if wire == Wire::Pipes { Stdio::piped() } else { Stdio::null() };
        // Bochs's debugger wants an input, even if nothing comes.
        let input = if matches!(wire, Wire::Unix(_)) { Stdio::null() } else { Stdio::piped() };
        command.stdin(input).stdout(pipe()).stderr(Stdio::null());
        let program = command.get_program().to_string_lossy().into_owned();
        let began = Instant::now();
        let mut child = command.spawn().map_err(Error::host(&program))?;
        let process = child.id();
        let ends = ends(&wire, &mut child)
            .map_err(|error| Error::Peer(format!("{program} does not start a guest: {error}")));
        let (sender, marks) = channel();
        let manner = match files.medium {
            Medium::Linux { .. } => Manner::Marks,
            Medium::Disk(_) => Manner::Prompt,
        };
        let mut peer = Self { engine, manner, child, input: Box::new(io::sink()), marks, wire, folder, stop };
        let (from, input) = ends?;
        peer.input = input;
        thread::Builder::new()
            .name(engine.name().into())
            .spawn(move || read_marks(from, manner, process, &sender))
            .map_err(Error::host("a thread"))?;
        let ready = peer.mark("its boot")?;
        if ready.text != "ready" {
            return Err(Error::Peer(format!("{}: it said {}", engine.name(), ready.text)));
        }
        peer.signal(Signal::STOP);
        let time = Time { processor: ready.processor, elapsed: (ready.at - began).as_secs_f64() };
        Ok((peer, time))
    }

    /// What it runs on.
    pub fn engine(&self) -> &'a Engine {
        self.engine
    }

    /// The memory that it has now.
    ///
    /// # Errors
    /// When the host does not tell.
    pub fn memory(&self) -> Result<Memory, Error> {
        let path = format!("/proc/{}/smaps", self.child.id());
        Ok(Memory::of(&fs::read_to_string(&path).map_err(Error::host(&path))?))
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(process, signal);
        }
    }

    /// The next mark.
    fn mark(&mut self, of: &str) -> Result<Mark, Error> {
        let name = self.engine.name();
        let began = Instant::now();
        loop {
            match self.marks.recv_timeout(LOOK) {
                Ok(mark) => return Ok(mark),
                Err(_) if self.stop.load(Ordering::Relaxed) => return Err(Error::Stopped),
                Err(RecvTimeoutError::Timeout) if began.elapsed() < LIMIT => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::Peer(format!("{name}: {of} takes more than {} s", LIMIT.as_secs())));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Peer(format!("{name}: it ended during {of}")));
                }
            }
        }
    }

    /// Runs so many units of a workload.
    ///
    /// # Errors
    /// When the process ends, takes too long, or its units differ.
    pub fn run(&mut self, workload: &str, units: u64) -> Result<Answer, Error> {
        let line = match self.manner {
            Manner::Marks => format!("{workload} {units}\n"),
            Manner::Prompt => format!("{workload}\r"),
        };
        let began = Instant::now();
        let before = processor_seconds(self.child.id()).unwrap_or(0.0);
        self.signal(Signal::CONT);
        self.input
            .write_all(line.as_bytes())
            .and_then(|()| self.input.flush())
            .map_err(|error| Error::Peer(format!("{}: {workload}: {error}", self.engine.name())))?;
        let answer = match self.manner {
            Manner::Marks => self.answer(workload),
            Manner::Prompt => self.prompt(workload, began, before),
        };
        self.signal(Signal::STOP);
        answer
    }

    /// What the bundled kernel says, and the time since the command was typed.
    fn prompt(&mut self, workload: &str, began: Instant, before: f64) -> Result<Answer, Error> {
        let end = self.mark(workload)?;
        if self.mark(workload)?.text != "ready" {
            return Err(Error::Peer(format!("{}: {workload}: no prompt follows", self.engine.name())));
        }
        if end.text.starts_with("selftest: ") && !end.text.ends_with(" 0 failed") {
            return Err(Error::Wrong(format!("{}: {}", self.engine.name(), end.text)));
        }
        let time = Time { processor: end.processor - before, elapsed: (end.at - began).as_secs_f64() };
        Ok(Answer::Done(end.text, time))
    }

    fn answer(&mut self, workload: &str) -> Result<Answer, Error> {
        let start = self.mark(workload)?;
        if let Some(why) = start.text.strip_prefix("skip ") {
            return Ok(Answer::Skipped(why.split_once(' ').map_or(why, |(_, why)| why).into()));
        }
        let wrong = |mark: &Mark| Error::Wrong(format!("{}: {}", self.engine.name(), mark.text));
        if start.text != format!("start {workload}") {
            return Err(wrong(&start));
        }
        let end = self.mark(workload)?;
        let words: Vec<_> = end.text.split(' ').collect();
        let (sum, own) = match words[..] {
            ["done", name, sum, own] if name == workload => (sum.to_owned(), own.parse::<f64>()),
            _ => return Err(Error::Wrong(format!("{}: {}", self.engine.name(), end.text))),
        };
        let processor = match (self.engine, own) {
            // On the host its own clock is the host's, and counts the processes that it started.
            (Engine::Native, Ok(microseconds)) => microseconds / 1e6,
            _ => end.processor - start.processor,
        };
        Ok(Answer::Done(sum, Time { processor, elapsed: (end.at - start.at).as_secs_f64() }))
    }
}

/// The ends of a process's serial line, which it may only be about to open.
fn ends(wire: &Wire, child: &mut Child) -> io::Result<Ends> {
    loop {
        let connected = match wire {
            Wire::Pipes => {
                let (input, output) = (child.stdin.take(), child.stdout.take());
                let (Some(input), Some(output)) = (input, output) else {
                    return Err(ErrorKind::NotFound.into());
                };
                return Ok((Box::new(output), Box::new(input)));
            }
            Wire::Unix(path) => UnixStream::connect(path).and_then(|stream| {
                let other = stream.try_clone()?;
                Ok((Box::new(other) as Box<dyn Read + Send>, Box::new(stream) as Box<dyn Input>))
            }),
            Wire::Tcp(port) => TcpStream::connect(("localhost", *port)).and_then(|stream| {
                stream.set_nodelay(true)?;
                let other = stream.try_clone()?;
                Ok((Box::new(other) as Box<dyn Read + Send>, Box::new(stream) as Box<dyn Input>))
            }),
        };
        match connected {
            Ok(ends) => return Ok(ends),
            Err(error) => {
                if let Some(status) = child.try_wait()? {
                    return Err(io::Error::other(format!("it ended with {status}: {error}")));
                }
                thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Wire::Unix(path) = &self.wire {
            let _ = fs::remove_file(path);
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_lines_that_begin_with_an_at_sign() {
        assert_eq!(Manner::Marks.mark(b"@done crc 1 2\r", true), Some("done crc 1 2".into()));
        assert_eq!(Manner::Marks.mark(b"@done crc", false), None);
        assert_eq!(Manner::Marks.mark(b"[    0.1] mail @ here", true), None);
    }

    #[test]
    fn the_bundled_kernel_is_ready_at_its_prompt() {
        assert_eq!(Manner::Prompt.mark(b"emu$ ", false), Some("ready".into()));
        assert_eq!(Manner::Prompt.mark(b"emu$ selftest", true), None);
        let line = b"selftest: 133 ok, 0 failed\r";
        assert_eq!(Manner::Prompt.mark(line, true), Some("selftest: 133 ok, 0 failed".into()));
    }

    #[test]
    fn guest_memory_is_told_from_the_rest() {
        let smaps = "7f00-7f10 rw-s 00000000 00:01 12 /memfd:guest-memory (deleted)\nSize: 64 kB\nRss: 48 kB\nPss: 48 kB\n\
                     7f20-7f30 r-xs 00000000 00:01 13 /dev/zero (deleted)\nRss:  8 kB\n7f40-7f50 rw-p 0 00:00 0\nRss: 4 kB\n";
        assert_eq!(Memory::of(smaps), Memory { guest: 48 << 10, own: 12 << 10 });
    }

    #[test]
    fn the_time_of_a_process_grows() {
        let before = processor_seconds(std::process::id()).unwrap();
        let began = Instant::now();
        while processor_seconds(std::process::id()).unwrap() < before + 0.01 {
            assert!(began.elapsed() < Duration::from_secs(60), "no processor time was counted");
        }
    }
}
