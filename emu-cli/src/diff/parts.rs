//! A comparison that several processes do side by side. Each is this program again with `--part`, and tells what it
//! does line by line on its standard output, as JSON.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use crossbeam_channel::unbounded;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::fuzz::{Difference, Report};
use crate::args::FuzzArgs;

/// What a part says.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// It has run so many cases.
    Cases(u64),
    /// Something differs, and what kind of difference that is.
    Found(String, Difference),
}

/// A part's way to its parent. When nobody listens any more, the part ends with an error.
#[derive(Debug)]
pub struct Teller;

impl Teller {
    /// Tells how many cases have run.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn cases(&mut self, cases: u64) -> Result<()> {
        tell(&Line::Cases(cases))
    }

    /// Tells about a difference.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn found(&mut self, kind: String, difference: Difference) -> Result<()> {
        tell(&Line::Found(kind, difference))
    }
}

fn tell(line: &Line) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n").and_then(|()| out.flush()).context("the process that started this one")
}

/// Processes that end with this value.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs all parts, and adds what they say to the report.
///
/// # Errors
/// When one cannot be started or fails.
pub fn run(args: &FuzzArgs, report: &mut Report, bar: &ProgressBar) -> Result<()> {
    let jobs = args.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, |n| n.get() as u64));
    let (sender, lines) = unbounded();
    let mut children = Children(Vec::new());
    for part in 0..jobs {
        let mut child = start(args, part, jobs).context("another process of this program")?;
        let out = child.stdout.take().context("its standard output")?;
        children.0.push(child);
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send((part as usize, line)).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let (mut done, mut seen) = (vec![0; jobs as usize], HashSet::new());
    for (part, line) in lines {
        match serde_json::from_str(&line).with_context(|| format!("what a process says: {line}"))? {
            Line::Cases(cases) => {
                done[part] = cases;
                bar.set_position(done.iter().sum());
            }
            Line::Found(kind, difference) => {
                if seen.insert(kind) {
                    report.differences.push(difference);
                }
            }
        }
    }
    for child in &mut children.0 {
        let status = child.wait().context("another process of this program")?;
        if !status.success() {
            bail!("--against host: a process that runs instructions ended: {status}");
        }
    }
    report.cases = done.iter().sum();
    Ok(())
}

fn start(args: &FuzzArgs, part: u64, jobs: u64) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["diff", "fuzz", "--against", "host"]);
    let bits = match args.bits {
        crate::args::Bits::Narrow => "32",
        crate::args::Bits::Wide => "64",
        crate::args::Bits::Both => "both",
    };
    for (option, value) in
        [("--seed", args.seed), ("--cases", args.cases), ("--jobs", jobs), ("--part", part)]
    {
        command.arg(option).arg(value.to_string());
    }
    if args.programs {
        command.arg("--programs");
    }
    command.args(["--bits", bits]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}
