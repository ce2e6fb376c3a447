//! Cost curves: how time and memory grow with the size of the guest and of what it does.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use indicatif::ProgressBar;

use crate::chart::{self, Line};
use crate::document::Section;
use crate::engine::{Engine, Hardware};
use crate::error::Error;
use crate::guest::{Files, Guest, Medium};
use crate::peer::{Answer, Memory, Peer};
use crate::report::Clock;
use crate::statistics::median;

/// What to draw, and where to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Our own binary.
    pub emu: PathBuf,
    /// Where files that are fetched or made are kept.
    pub cache: PathBuf,
    /// On which engines; those that boot guests take part in all curves, the host in those of workloads.
    pub engines: Vec<Engine>,
    /// Where the pictures go.
    pub folder: PathBuf,
    /// Which of the [`SECTIONS`], or none for all.
    pub only: Vec<String>,
    /// What leads from the document to the pictures, if it shows them.
    pub link: Option<String>,
    /// Samples of each point.
    pub rounds: usize,
    /// The clock that counts.
    pub clock: Clock,
}

/// A curve over workloads with a size.
struct Sized {
    /// The picture's name.
    file: &'static str,
    title: &'static str,
    across: &'static str,
    up: &'static str,
    workload: &'static str,
    sizes: &'static [u32],
    /// Steps in a unit, for the time of one in nanoseconds.
    steps: f64,
}

const SIZED: [Sized; 3] = [
    Sized {
        file: "working-set",
        title: "Working set: one read in a pointer chase",
        across: "KB",
        up: "ns",
        workload: "set",
        sizes: &[16, 64, 256, 1024, 4096, 16384, 65536],
        steps: 500_000.0,
    },
    Sized {
        file: "code-size",
        title: "Hot code: one piece of 10 instructions in 64 bytes",
        across: "KB of code",
        up: "ns",
        workload: "code",
        sizes: &[10, 100, 1000, 5000, 20_000, 50_000],
        steps: 1_000_000.0,
    },
    Sized {
        file: "processes",
        title: "Processes in a ring: passing a byte on",
        across: "processes",
        up: "ns",
        workload: "ring",
        sizes: &[2, 8, 32, 128],
        steps: 4000.0,
    },
];

/// The names of the sections, in their order.
pub const SECTIONS: [&str; 9] =
    ["start", "ram", "memory", "touched", "disks", "processors", "working-set", "code-size", "processes"];

/// Measures all curves, writes their pictures and returns the tables.
///
/// # Errors
/// As for [`measure`](crate::measure::measure).
pub fn draw(plan: &Plan, bar: &ProgressBar, stop: &AtomicBool) -> Result<Vec<Section>, Error> {
    fs::create_dir_all(&plan.folder).map_err(Error::host(plan.folder.display()))?;
    let files = Guest::Linux64.files(&plan.cache)?;
    let mut work = Work { plan, bar, stop, files, sections: Vec::new() };
    bar.set_length(4 + 14 + 5 + 4 + 17);
    if plan.wants("start") {
        work.start()?;
    }
    if ["ram", "memory", "touched"].iter().any(|name| plan.wants(name)) {
        work.ram()?;
    }
    if plan.wants("disks") {
        work.disks()?;
    }
    if plan.wants("processors") {
        work.processors()?;
    }
    work.workloads()?;
    Ok(work.sections)
}

impl Plan {
    fn wants(&self, section: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == section)
    }
}

struct Work<'a> {
    plan: &'a Plan,
    bar: &'a ProgressBar,
    stop: &'a AtomicBool,
    files: Files,
    sections: Vec<Section>,
}

/// The measured points of one engine, by engine.
type Points = Vec<(&'static str, Vec<(f64, f64)>)>;

fn push(points: &mut Points, engine: &'static str, at: f64, value: f64) {
    match points.iter_mut().find(|(name, _)| *name == engine) {
        Some((_, list)) => list.push((at, value)),
        None => points.push((engine, vec![(at, value)])),
    }
}

/// A table with a row for each place on the axis.
fn table(title: &str, across: &str, up: &str, points: &Points) -> String {
    let mut text = format!("{title} ({up})\n\n| {across} |");
    points.iter().for_each(|(name, _)| {
        let _ = write!(text, " {name} |");
    });
    let _ = writeln!(text, "\n| --- |{}", " ---: |".repeat(points.len()));
    let places: Vec<f64> =
        points.first().map(|(_, list)| list.iter().map(|p| p.0).collect()).unwrap_or_default();
    for place in places {
        let _ = write!(text, "| {place} |");
        for (_, list) in points {
            let value = list.iter().find(|point| point.0 == place).map(|point| point.1);
            let _ = match value {
                Some(value) if value >= 100.0 => write!(text, " {value:.0} |"),
                Some(value) => write!(text, " {value:.2} |"),
                None => write!(text, " - |"),
            };
        }
        text += "\n";
    }
    text + "\n"
}

impl Work<'_> {
    fn emulators(&self) -> impl Iterator<Item = &Engine> {
        self.plan.engines.iter().filter(|engine| !matches!(engine, Engine::Native | Engine::Bochs))
    }

    /// Adds a section of a table.
    fn table(&mut self, name: &'static str, title: &str, axes: [&str; 2], points: &Points) {
        self.sections.push(Section { name, text: table(title, axes[0], axes[1], points) });
    }

    /// Adds a section of a picture and its table.
    fn curve(
        &mut self,
        name: &'static str,
        title: &str,
        axes: [&str; 2],
        logarithmic: bool,
        points: &Points,
    ) -> Result<(), Error> {
        let lines: Vec<Line> = points.iter().map(|(name, list)| (*name, list.clone())).collect();
        let path = self.plan.folder.join(format!("{name}.svg"));
        fs::write(&path, chart::curves(title, axes[0], axes[1], logarithmic, &lines))
            .map_err(Error::host(path.display()))?;
        let link = self.plan.link.as_ref().map(|link| format!("![{title}]({link}{name}.svg)\n\n"));
        let text = link.unwrap_or_default() + &table(title, axes[0], axes[1], points);
        self.sections.push(Section { name, text });
        Ok(())
    }

    /// Boots a machine; returns the seconds, and the memory that the process then has.
    fn boot(&self, engine: &Engine, hardware: &Hardware) -> Result<(f64, Memory), Error> {
        let mut seconds = Vec::new();
        let mut memory = Memory::default();
        for _ in 0..self.plan.rounds {
            let (peer, time) = Peer::start(engine, &self.plan.emu, &self.files, hardware, self.stop)?;
            seconds.push(self.plan.clock.of(time));
            memory = peer.memory()?;
        }
        Ok((median(&seconds), memory))
    }

    /// From the start of the process to the end of a run of one instruction.
    fn start(&mut self) -> Result<(), Error> {
        let mut text =
            String::from("Start: process created, one guest instruction, process gone (elapsed ms)\n\n");
        text += "| machine | interp | jit |\n| --- | ---: | ---: |\n";
        for (name, words) in [
            ("default", &[][..]),
            ("-m 8G", &["-m", "8G"][..]),
            ("--smp 8", &["--smp", "8"][..]),
            ("Linux, 64-bit", &["--kernel"][..]),
        ] {
            self.bar.set_message(format!("start: {name}"));
            let _ = write!(text, "| {name} |");
            for accel in ["interp", "jit"] {
                let mut samples = Vec::new();
                for _ in 0..21 {
                    let mut command = Command::new(&self.plan.emu);
                    command.args(["run", "--accel", accel, "--max-insns", "1"]).args(words);
                    if let (true, Medium::Linux { kernel, .. }) = (words == ["--kernel"], &self.files.medium)
                    {
                        command.arg(kernel);
                    }
                    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                    let began = Instant::now();
                    let status = command.status().map_err(Error::host(self.plan.emu.display()))?;
                    samples.push(began.elapsed().as_secs_f64() * 1e3);
                    if status.code() != Some(4) {
                        return Err(Error::Peer(format!("a run of one instruction ended with {status}")));
                    }
                }
                let _ = write!(text, " {:.1} |", median(&samples));
            }
            text += "\n";
            self.bar.inc(1);
        }
        self.sections.push(Section { name: "start", text });
        Ok(())
    }

    /// Over RAM: the boot's time, and memory.
    fn ram(&mut self) -> Result<(), Error> {
        let (mut boots, mut overhead, mut touched) = (Points::new(), Points::new(), Points::new());
        for megabytes in [128, 256, 512, 1024, 2048, 4096, 8192] {
            self.bar.set_message(format!("boot with {megabytes} MB"));
            for engine in self.emulators() {
                let hardware = Hardware { megabytes, ..Hardware::default() };
                let (seconds, memory) = self.boot(engine, &hardware)?;
                let at = megabytes as f64;
                push(&mut boots, engine.name(), at, seconds);
                // QEMU's guest memory is private to it, so what belongs to the guest cannot be told apart.
                if *engine != Engine::Qemu {
                    push(&mut overhead, engine.name(), at, memory.own as f64 / 1048576.0);
                    push(&mut touched, engine.name(), at, memory.guest as f64 / 1048576.0);
                }
                self.bar.inc(1);
            }
        }
        self.curve("ram", "Boot against RAM", ["MB of RAM", "s"], false, &boots)?;
        self.curve(
            "memory",
            "Memory beside the guest's RAM, after the boot",
            ["MB of RAM", "MB"],
            false,
            &overhead,
        )?;
        self.table("touched", "Guest RAM touched, after the boot", ["MB of RAM", "MB"], &touched);
        Ok(())
    }

    /// Over IDE disks.
    fn disks(&mut self) -> Result<(), Error> {
        let mut boots = Points::new();
        let image = self.plan.cache.join(format!("empty-{}.img", std::process::id()));
        let file = fs::File::create(&image).map_err(Error::host(image.display()))?;
        file.set_len(64 << 20).map_err(Error::host(image.display()))?;
        let mut disks = || -> Result<(), Error> {
            for count in 0..=4 {
                self.bar.set_message(format!("boot with {count} disks"));
                for engine in self.emulators() {
                    let hardware = Hardware { disks: vec![image.clone(); count], ..Hardware::default() };
                    push(&mut boots, engine.name(), count as f64, self.boot(engine, &hardware)?.0);
                }
                self.bar.inc(1);
            }
            Ok(())
        };
        let measured = disks();
        let _ = fs::remove_file(&image);
        measured?;
        self.curve("disks", "Boot against disks", ["disks", "s"], false, &boots)
    }

    /// Over processors.
    fn processors(&mut self) -> Result<(), Error> {
        let mut boots = Points::new();
        for processors in [1, 2, 4, 8] {
            self.bar.set_message(format!("boot with {processors} processors"));
            for engine in self.emulators() {
                let hardware = Hardware { processors, ..Hardware::default() };
                push(&mut boots, engine.name(), f64::from(processors), self.boot(engine, &hardware)?.0);
            }
            self.bar.inc(1);
        }
        self.curve("processors", "Boot against processors", ["processors", "s"], false, &boots)
    }

    /// Curves over workloads with a size.
    fn workloads(&mut self) -> Result<(), Error> {
        let curves: Vec<&Sized> = SIZED.iter().filter(|curve| self.plan.wants(curve.file)).collect();
        if curves.is_empty() {
            return Ok(());
        }
        let mut peers = Vec::new();
        for engine in &self.plan.engines {
            let hardware = Hardware { megabytes: 512, ..Hardware::default() };
            peers.push(Peer::start(engine, &self.plan.emu, &self.files, &hardware, self.stop)?.0);
        }
        for curve in curves {
            let mut points = Points::new();
            for size in curve.sizes {
                let name = format!("{}:{size}", curve.workload);
                self.bar.set_message(name.clone());
                let mut expected: Option<String> = None;
                for (engine, peer) in self.plan.engines.iter().zip(&mut peers) {
                    let mut samples = Vec::new();
                    for _ in 0..self.plan.rounds {
                        // Twice, as the first time everything is met for the first time.
                        let Answer::Done(sum, time) = peer.run(&name, 2)? else { continue };
                        if *expected.get_or_insert_with(|| sum.clone()) != sum {
                            return Err(Error::Wrong(format!("{name} on {}: {sum}", engine.name())));
                        }
                        samples.push(self.plan.clock.of(time) / 2.0);
                    }
                    push(&mut points, engine.name(), f64::from(*size), median(&samples) / curve.steps * 1e9);
                }
                self.bar.inc(1);
            }
            self.curve(curve.file, curve.title, [curve.across, curve.up], true, &points)?;
        }
        Ok(())
    }
}
