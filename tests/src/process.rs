//! Runs programs that might hang: each has a limit on its time and is killed by its own handle.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A program that runs, in a process group of its own; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<Vec<u8>>>,
    readers: Vec<thread::JoinHandle<()>>,
    deadline: Instant,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; `None` when it was killed because its time was up.
    pub status: Option<ExitStatus>,
    /// Its standard output.
    pub output: Vec<u8>,
    /// Its standard error.
    pub errors: Vec<u8>,
}

impl Ended {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Exit status, `None` when it had to be killed or died of a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// Everything, for the message of a failed test.
    pub fn story(&self) -> String {
        let status = self.status.map_or_else(|| "killed: its time was up".into(), |s| s.to_string());
        format!("{status}\noutput:\n{}\nerrors:\n{}", self.text(), String::from_utf8_lossy(&self.errors))
    }
}

fn collect(mut from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) -> thread::JoinHandle<()> {
    let into = Arc::clone(into);
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            into.lock().expect("no reader panics").extend_from_slice(&piece[..count]);
        }
    })
}

impl Running {
    /// Starts a program with pipes to it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(mut command: Command, limit: Duration) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (output, errors) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take().expect("it was piped"), &output),
            collect(child.stderr.take().expect("it was piped"), &errors),
        ];
        Self { child, output, errors, readers, deadline: Instant::now() + limit }
    }

    /// Writes to its standard input. A program that has ended already is no failure here.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Some(input) = self.child.stdin.as_mut() {
            let _ = input.write_all(bytes).and_then(|()| input.flush());
        }
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.child.stdin = None;
    }

    /// Kilobytes of the host's memory that are its own or mapped from files; `None` where the host does not tell.
    pub fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let size = |name| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(size("RssAnon:")? + size("RssFile:")?)
    }

    /// What it has printed so far.
    ///
    /// # Panics
    /// Never: no reader panics.
    pub fn output(&self) -> Vec<u8> {
        self.output.lock().expect("no reader panics").clone()
    }

    /// What it has printed on standard error so far.
    ///
    /// # Panics
    /// Never: no reader panics.
    pub fn errors(&self) -> Vec<u8> {
        self.errors.lock().expect("no reader panics").clone()
    }

    /// Waits until its standard error holds a whole line that begins with this; `None` when it ended first, or its
    /// time is up.
    pub fn error_line(&mut self, start: &str) -> Option<String> {
        loop {
            let text = String::from_utf8_lossy(&self.errors()).into_owned();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(line) = whole.map(str::trim_end).find(|line| line.starts_with(start)) {
                return Some(line.to_owned());
            }
            if !matches!(self.child.try_wait(), Ok(None)) || Instant::now() >= self.deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until its output holds this text. False when it ended first, or its time is up.
    pub fn wait_for(&mut self, text: &str) -> bool {
        self.wait_for_times(text, 1)
    }

    /// Waits until its output holds this text so many times. False when it ended first, or its time is up.
    pub fn wait_for_times(&mut self, text: &str, times: usize) -> bool {
        let count =
            |output: &[u8]| output.windows(text.len()).filter(|part| *part == text.as_bytes()).count();
        self.wait_until(|output| count(output) >= times)
    }

    /// Waits until its output is as wanted. False when it ended first, or its time is up.
    pub fn wait_until(&mut self, wanted: impl Fn(&[u8]) -> bool) -> bool {
        loop {
            if wanted(&self.output()) {
                return true;
            }
            if !matches!(self.child.try_wait(), Ok(None)) || Instant::now() >= self.deadline {
                return wanted(&self.output());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end; kills it when its time is up.
    pub fn finish(mut self) -> Ended {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                _ if Instant::now() >= self.deadline => break None,
                _ => thread::sleep(Duration::from_millis(2)),
            }
        };
        self.reap(status)
    }

    /// Asks it to end (SIGTERM), waits until it has, and returns what it had printed.
    ///
    /// # Panics
    /// When the host has no `kill`.
    pub fn terminate(self) -> Ended {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().expect("there is a kill");
        assert!(sent.success() || !self.output().is_empty(), "it had ended without a word");
        self.finish()
    }

    /// Kills it (SIGKILL) and returns what it had printed.
    pub fn kill(mut self) -> Ended {
        self.reap(None)
    }

    fn reap(&mut self, status: Option<ExitStatus>) -> Ended {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let take = |of: &Mutex<Vec<u8>>| of.lock().map(|bytes| bytes.clone()).unwrap_or_default();
        Ended { status, output: take(&self.output), errors: take(&self.errors) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end with this on standard input.
pub fn run(command: Command, input: &[u8], limit: Duration) -> Ended {
    let mut running = Running::start(command, limit);
    running.send(input);
    running.end_input();
    running.finish()
}

/// Seconds of processor time (user and system) that this process's children have taken, as far as they have ended.
/// `None` where the host does not tell.
pub fn processor_seconds_of_children() -> Option<f64> {
    /// In which Linux shows processor time to programs.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses; cutime and cstime are the sixteenth and the next.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(13).map(str::parse::<f64>);
    Some((fields.next()?.ok()? + fields.next()?.ok()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_when_its_time_is_up() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let started = Instant::now();
        let ended = run(command, b"", Duration::from_millis(50));
        assert!(ended.status.is_none());
        assert!(started.elapsed() < Duration::from_secs(100));
    }

    #[test]
    fn input_goes_in_and_output_comes_out() {
        let ended = run(Command::new("cat"), b"one\ntwo\n", Duration::from_secs(20));
        assert_eq!((ended.code(), ended.text().as_str()), (Some(0), "one\ntwo\n"));
    }
}
