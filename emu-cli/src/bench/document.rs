//! `emu bench --document`: everything measured, into the sections of a document.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use emu_bench::chart;
use emu_bench::curves;
use emu_bench::document::{self, Section};
use emu_bench::engine::Engine;
use emu_bench::guest::Guest;
use emu_bench::measure::{self, Plan};
use emu_bench::report::{Clock, Report};
use emu_bench::table;
use signal_hook::consts::SIGINT;

use super::{bar, stopped};
use crate::info;
use crate::outcome::{Outcome, usage};
use crate::say::report;

/// Where the pictures go, from the document.
const PICTURES: &str = "images/";

/// Measures, and writes the document when all is there.
///
/// # Errors
/// A document without sections, something that the host could not do, or a wrong answer of a guest.
pub fn fill(
    file: &Path,
    emu: &Path,
    engines: Vec<Engine>,
    rounds: usize,
    clock: Clock,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let names: Vec<&str> =
        ["machine"].into_iter().chain(Guest::ALL.map(Guest::name)).chain(curves::SECTIONS).collect();
    let old = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder_of(file).is_dir() => {
            document::skeleton(&names)
        }
        text => text.with_context(|| format!("--document {}", file.display()))?,
    };
    let wanted = match document::names(&old) {
        Ok(wanted) => wanted,
        Err(why) => usage!("--document {}: {why}", file.display()),
    };
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        usage!(
            "--document {}: expected one of the sections {}, not {unknown}",
            file.display(),
            names.join(", ")
        );
    }
    let folder = folder_of(file).join(PICTURES);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let cache = measure::cache(emu);
    let began = load();
    let only: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    let Some((mut sections, pictures)) = tables(emu, &cache, &engines, &only, rounds, clock, stop)? else {
        report!("stopped: the document stays as it was");
        return Ok(Outcome::Signal(SIGINT));
    };
    if curves::SECTIONS.iter().any(|name| wanted.contains(name)) {
        // Bochs takes minutes for each boot of Linux.
        let engines = engines.into_iter().filter(|engine| *engine != Engine::Bochs).collect();
        let (emu, link) = (emu.to_owned(), Some(PICTURES.to_owned()));
        let plan = curves::Plan { emu, cache, engines, folder: folder.clone(), only, link, rounds, clock };
        let bar = bar();
        let drawn = curves::draw(&plan, &bar, stop);
        bar.finish_and_clear();
        let Some(drawn) = stopped(drawn)? else {
            report!("stopped: the document stays as it was");
            return Ok(Outcome::Signal(SIGINT));
        };
        sections.extend(drawn);
    }
    sections.push(Section { name: "machine", text: machine(rounds, &began) });
    for (name, picture) in pictures {
        let path = folder.join(name);
        fs::write(&path, picture).with_context(|| path.display().to_string())?;
    }
    let filled = document::fill(&old, &sections);
    let part = file.with_extension(format!("part-{}", std::process::id()));
    fs::write(&part, filled)
        .and_then(|()| fs::rename(&part, file))
        .with_context(|| format!("--document {}", file.display()))?;
    Ok(Outcome::Done)
}

/// The folder that a file is in or would be.
fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Sections, and pictures by their file names.
type Tables = (Vec<Section>, Vec<(String, String)>);

/// The tables of all guests; nothing when the user stops it.
fn tables(
    emu: &Path,
    cache: &Path,
    engines: &[Engine],
    only: &[String],
    rounds: usize,
    clock: Clock,
    stop: &AtomicBool,
) -> Result<Option<Tables>> {
    let (mut sections, mut pictures) = (Vec::new(), Vec::new());
    for guest in Guest::ALL.into_iter().filter(|guest| only.iter().any(|name| name == guest.name())) {
        let plan = Plan {
            emu: emu.to_owned(),
            cache: cache.to_owned(),
            guests: vec![guest],
            engines: engines.to_vec(),
            patient: false,
            only: Vec::new(),
            earlier: None,
            rows: None,
            rounds,
            target: 0.3,
        };
        let mut result = Report::new(env!("CARGO_PKG_VERSION"), host(), clock);
        let bar = bar();
        let measured = measure::measure(&plan, &mut result, &bar, stop);
        bar.finish_and_clear();
        if stopped(measured)?.is_none() {
            return Ok(None);
        }
        let picture = chart::bars(&result, guest).map(|picture| (format!("{}.svg", guest.name()), picture));
        let link = picture.as_ref().map(|(name, _)| format!("![{}]({PICTURES}{name})\n\n", guest.name()));
        pictures.extend(picture);
        let (title, table) = split_title(&table::render(&result));
        let text = format!("{}{title}\n\n{table}", link.unwrap_or_default());
        sections.push(Section { name: guest.name(), text });
    }
    Ok(Some((sections, pictures)))
}

/// The first line, which a table in Markdown needs an empty one behind, and the rest.
fn split_title(text: &str) -> (String, String) {
    text.split_once('\n').map(|(title, table)| (title.into(), table.into())).unwrap_or_default()
}

fn host() -> String {
    info::cpu_brand().unwrap_or_else(|| "unknown".into())
}

/// The host's load of the last minute, which spoils samples.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// What this was measured on, and with what.
fn machine(rounds: usize, began: &str) -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let qemu = Command::new("qemu-system-x86_64").arg("--version").output().ok();
    let qemu = qemu.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let qemu = qemu.lines().next().unwrap_or("no QEMU");
    format!(
        "Measured with emu {} on {}, {processors} processors, load {began} before and {} at the end; medians of {rounds} fresh processes; {qemu}.\n",
        env!("CARGO_PKG_VERSION"),
        host(),
        load(),
    )
}
