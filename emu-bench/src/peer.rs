//! A running process that performs workloads, and the time that it takes for them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Wire};
use crate::error::Error;
use crate::guest::Files;

/// No boot and no workload takes longer.
const LIMIT: Duration = Duration::from_secs(600);
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

/// How a workload ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Its checksum and the time for all units.
    Done(String, Time),
    /// The machine lacks what it needs.
    Skipped(String),
}

/// A line that begins with `@`, and when it came.
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
    input: Box<dyn Input>,
    marks: Receiver<Mark>,
    socket: Option<PathBuf>,
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

/// Passes on what comes in line by line, with the time of its first byte's arrival.
fn read_marks(mut from: impl Read, process: u32, to: &Sender<Mark>) {
    let mut piece = [0; 4096];
    let mut line: Vec<u8> = Vec::new();
    let mut stamp = None;
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let at = Instant::now();
        for &byte in &piece[..count] {
            match byte {
                b'\n' => {
                    if let Some((at, processor)) = stamp.take() {
                        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                        if to.send(Mark { text, at, processor }).is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
                b'@' if line.is_empty() => {
                    stamp = Some((at, processor_seconds(process).unwrap_or(0.0)));
                }
                _ => {
                    if stamp.is_some() || line.len() < piece.len() {
                        line.push(byte);
                    }
                }
            }
        }
    }
}

impl<'a> Peer<'a> {
    /// Starts a process and waits until it serves; says how long that took.
    ///
    /// # Errors
    /// When it does not start or ends before that.
    pub fn start(
        engine: &'a Engine,
        emu: &std::path::Path,
        files: &Files,
        megabytes: u64,
        stop: &'a AtomicBool,
    ) -> Result<(Self, Time), Error> {
        let (mut command, wire) = engine.command(emu, files, megabytes);
        let socket = (wire == Wire::Socket).then(|| {
            std::env::temp_dir().join(format!("emu-bench-{}-{}", std::process::id(), engine.name()))
        });
        if let Some(path) = &socket {
            let _ = fs::remove_file(path);
            command.arg(Engine::socket_argument(path));
        }
        let pipe = || if socket.is_none() { Stdio::piped() } else { Stdio::null() };
        command.stdin(pipe()).stdout(pipe()).stderr(Stdio::null());
        let program = command.get_program().to_string_lossy().into_owned();
        let began = Instant::now();
        let mut child = command.spawn().map_err(Error::host(&program))?;
        let process = child.id();
        let (sender, marks) = channel();
        let spawn = |reader: Box<dyn Read + Send>| {
            thread::Builder::new()
                .name(engine.name().into())
                .spawn(move || read_marks(reader, process, &sender))
                .map_err(Error::host("a thread"))
        };
        let input: Box<dyn Input> = match &socket {
            Some(path) => {
                let stream = connect(path, &mut child)
                    .map_err(|error| Error::Peer(format!("{program} does not start a guest: {error}")))?;
                spawn(Box::new(stream.try_clone().map_err(Error::host(path.display()))?))?;
                Box::new(stream)
            }
            None => {
                spawn(Box::new(child.stdout.take().expect("it was piped")))?;
                Box::new(child.stdin.take().expect("it was piped"))
            }
        };
        let mut peer = Self { engine, child, input, marks, socket, stop };
        let ready = peer.mark("its boot")?;
        if ready.text != "ready" {
            return Err(Error::Peer(format!("{}: it said {}", engine.name(), ready.text)));
        }
        peer.signal(Signal::STOP);
        let time = Time { processor: ready.processor, elapsed: (ready.at - began).as_secs_f64() };
        Ok((peer, time))
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
        let line = format!("{workload} {units}\n");
        self.signal(Signal::CONT);
        self.input
            .write_all(line.as_bytes())
            .and_then(|()| self.input.flush())
            .map_err(|error| Error::Peer(format!("{}: {workload}: {error}", self.engine.name())))?;
        let answer = self.answer(workload);
        self.signal(Signal::STOP);
        answer
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

/// Connects to the socket that a process is about to listen on.
fn connect(path: &std::path::Path, child: &mut Child) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
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
        if let Some(path) = &self.socket {
            let _ = fs::remove_file(path);
        }
    }
}
