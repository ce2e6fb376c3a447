//! Another emulator as a child process whose log comes through a pipe. Nothing is left behind: files that it needs
//! are memory of ours, which it opens by way of `/proc`, and it dies when we do.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use rustix::fs::MemfdFlags;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

/// Bytes that the child may write ahead.
const PIPE_SIZE: usize = 1 << 20;
/// Bytes of its standard error that are kept.
const ERRORS: u64 = 1 << 16;

/// Where COM1 of the child listens.
pub enum Input {
    /// On its standard input.
    Pipe(ChildStdin),
    /// On a connection that it makes.
    Socket(TcpListener),
}

/// What a child is started with besides its command.
#[derive(Debug)]
pub struct Means {
    /// Files that it opens by way of `/proc`.
    pub files: Vec<OwnedFd>,
    /// The end of the pipe that its log goes into.
    pub log: OwnedFd,
    read: File,
}

impl Means {
    /// A pipe, and no files.
    ///
    /// # Errors
    /// When the host has no pipe.
    pub fn new() -> Result<Self> {
        let (read, log) = pipe_with(PipeFlags::CLOEXEC).context("a pipe for a log")?;
        let _ = fcntl_setpipe_size(&read, PIPE_SIZE);
        Ok(Self { files: Vec::new(), log, read: File::from(read) })
    }

    /// The name of a file of these bytes, in memory.
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub fn in_memory(&mut self, bytes: &[u8]) -> Result<String> {
        let file = rustix::fs::memfd_create("emu-diff", MemfdFlags::CLOEXEC).context("memory for a file")?;
        let mut file = File::from(file);
        file.write_all(bytes).context("memory for a file")?;
        Ok(self.keep(file.into()))
    }

    /// The name of a file that is kept open.
    pub fn keep(&mut self, file: OwnedFd) -> String {
        let name = name_of(&file);
        self.files.push(file);
        name
    }
}

/// A running emulator.
pub struct Reference {
    /// What it is called.
    pub name: &'static str,
    /// Its version, as it says it.
    pub version: String,
    /// Where to type.
    pub input: Option<Input>,
    /// The line of its standard error that says why it ended.
    said: fn(&str) -> Option<&str>,
    pid: Pid,
    exited: Arc<AtomicBool>,
    waiter: Option<JoinHandle<Option<ExitStatus>>>,
    errors: Option<JoinHandle<String>>,
    _files: Vec<OwnedFd>,
}

impl Reference {
    /// Starts it, and returns the end of the pipe that its log comes out of.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        (name, version): (&'static str, String),
        mut command: Command,
        means: Means,
        said: fn(&str) -> Option<&str>,
    ) -> Result<(Self, File)> {
        let program = command.get_program().to_owned();
        command.stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
        // It has the ends of pipes that only it may have open.
        drop(command);
        let (input, stderr) = (child.stdin.take().map(Input::Pipe), child.stderr.take());
        let pid = Pid::from_child(&child);
        let exited = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&exited);
        // Our end of the pipe is open as long as the child is, so that the log does not end before it has begun.
        let log = means.log;
        let waiter = thread::spawn(move || wait(child, log, &ended));
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut stderr) = stderr {
                let _ = stderr.by_ref().take(ERRORS).read_to_end(&mut text);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        let (waiter, errors) = (Some(waiter), Some(errors));
        let child = Self { name, version, input, said, pid, exited, waiter, errors, _files: means.files };
        Ok((child, means.read))
    }

    /// Types at its COM1, and closes it.
    pub fn send(&mut self, text: &[u8]) {
        let Some(input) = self.input.take() else { return };
        let text = text.to_owned();
        // It takes that as its UART has room; that may last.
        thread::spawn(move || match input {
            Input::Pipe(mut pipe) => pipe.write_all(&text),
            Input::Socket(listener) => listener.accept()?.0.write_all(&text),
        });
    }

    /// Waits for its end; what it said, when it failed.
    pub fn finish(&mut self) -> Option<String> {
        let status = self.waiter.take()?.join().ok().flatten();
        let errors = self.errors.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        match status {
            Some(status) if status.success() => None,
            Some(status) => {
                let said = (self.said)(&errors).unwrap_or("").trim().to_owned();
                Some(if said.is_empty() { format!("{} ended: {status}", self.name) } else { said })
            }
            None => Some(format!("{}'s end was not seen", self.name)),
        }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        if !self.exited.load(Ordering::Acquire) {
            let _ = kill_process(self.pid, Signal::KILL);
        }
        self.finish();
    }
}

fn wait(mut child: Child, log: OwnedFd, ended: &AtomicBool) -> Option<ExitStatus> {
    let status = child.wait().ok();
    ended.store(true, Ordering::Release);
    drop(log);
    status
}

/// A command that is killed when this process dies, where setpriv (util-linux) is there to arrange it.
pub fn die_with_us(program: &Path) -> Command {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("setpriv").is_file()));
    if !found {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A name by which another process can open what we have open.
pub fn name_of(file: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}
