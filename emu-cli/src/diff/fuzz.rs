//! `emu diff fuzz`: firmware images of random instructions, run on two machines that are compared instruction by
//! instruction.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use emu_diff::fuzz::image::{self, EXIT_PORT};
use emu_diff::fuzz::system;
use emu_diff::listing::Place;
use emu_diff::lockstep::Found;
use emu_diff::random::Random;
use serde::{Deserialize, Serialize};

use super::qemu_process::Depth;
use super::recipe::{EngineKind, Recipe};
use super::reference::{self, Peer};
use super::small::{self, Small};
use super::{engines, host, programs, progress};
use crate::args::{Accel, Against, Bits, Cli, FuzzArgs};
use crate::outcome::{Outcome, usage};
use crate::say::say;

/// Random instructions of one image.
const PER_IMAGE: u64 = 20_000;
/// Bochs shows all registers so often.
const WHOLE_EVERY: u64 = 100;
/// Programs of one image: few, since one may run away.
const PROGRAMS: u64 = 250;

/// What `--report` holds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    against: &'static str,
    seed: u64,
    /// Random instructions that ran.
    pub(super) cases: u64,
    seconds: f64,
    cases_per_second: f64,
    /// Known differences, by reason.
    pub(super) known: std::collections::BTreeMap<String, u64>,
    /// Differences behind another one of the same program.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) consequences: u64,
    /// Programs that did not come to their end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) broken: Vec<String>,
    /// Programs that ran away.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) long: u64,
    /// Programs in which QEMU died or shut down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ends: Vec<String>,
    pub(super) differences: Vec<Difference>,
}

/// The first difference of its kind.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Difference {
    /// Code of 32 or 64 bits.
    pub bits: u32,
    /// It comes first from this seed.
    pub seed: u64,
    /// The instruction.
    pub instruction: String,
    /// What differs.
    pub fields: Vec<String>,
    /// The case as a line of a file of vectors.
    pub vector: Option<String>,
}

/// Runs images until enough instructions have run.
///
/// # Errors
/// What the host could not do.
pub fn run(args: &FuzzArgs) -> Result<Outcome> {
    let mut report = Report {
        against: match args.against {
            Against::Interp => "interp",
            Against::Jit => "jit",
            Against::Qemu => "qemu",
            Against::Host => "host",
            Against::Bochs => "bochs",
        },
        seed: args.seed,
        ..Report::default()
    };
    if args.programs && args.against == Against::Bochs {
        usage!("--programs: expected another reference than Bochs");
    }
    let started = Instant::now();
    let bar = progress::count("cases", Some(args.cases));
    let mut findings = programs::Findings::default();
    if args.against == Against::Host {
        host::run(args, &mut report, &bar)?;
        if args.part.is_some() {
            return Ok(Outcome::Done);
        }
    }
    for n in 0.. {
        if report.cases >= args.cases {
            break;
        }
        let seed = args.seed.wrapping_add(n);
        let bits = match args.bits {
            Bits::Wide => 64,
            Bits::Narrow => 32,
            Bits::Both => [64, 32][(n % 2) as usize],
        };
        // x87 and vector registers are held against the host's silicon by tests; QEMU's are known to differ.
        let vectors = !matches!(args.against, Against::Qemu | Against::Bochs);
        let most = (args.cases - report.cases).min(if args.programs { PROGRAMS } else { PER_IMAGE });
        let random = &mut Random::new(seed);
        if args.programs && args.against == Against::Qemu {
            let known = reference::known_differences(args.against, args.known.as_deref())?;
            report.cases += programs::against_qemu(&known, args, (seed, bits, most), &mut findings)?;
            bar.set_position(report.cases.min(args.cases));
            continue;
        }
        let image = if args.programs {
            system::build(bits, true, 0, most, random)
        } else {
            image::build(bits, vectors, most, random)
        };
        let recipe = recipe(image.bytes)?;
        match args.against {
            Against::Qemu | Against::Bochs => {
                let known = reference::known_differences(args.against, args.known.as_deref())?;
                let peer = match args.against {
                    Against::Bochs => Peer::Bochs(args.bochs.as_deref(), WHOLE_EVERY),
                    _ => Peer::Qemu(args.qemu.as_deref(), Depth::default()),
                };
                let mut firsts = Vec::new();
                let run = reference::lockstep(&recipe, &known, peer, &mut |found, first, _| {
                    if first {
                        firsts.push(found.clone());
                    }
                    true
                })?
                .without_trouble()?;
                for found in firsts {
                    let small = small::against_reference(bits, &found, &known, peer)?;
                    report.differences.push(difference(bits, seed, &found, small, peer.name()));
                }
                for (reason, times) in run.counts.known {
                    *report.known.entry(reason).or_default() += times;
                }
            }
            Against::Host => {}
            Against::Interp | Against::Jit => {
                let theirs = if args.against == Against::Jit {
                    EngineKind::Single
                } else {
                    EngineKind::Whole(Accel::Interp)
                };
                let ours = if args.against == Against::Jit {
                    EngineKind::Whole(Accel::Interp)
                } else {
                    EngineKind::Single
                };
                if let Some(parted) = engines::compare_kinds(&recipe, [ours, theirs])? {
                    say!("(image of seed {seed}, {bits}-bit code)\n");
                    let small = small::against_engine(bits, &parted, [ours, theirs])?;
                    report.differences.push(Difference::of(
                        (bits, seed),
                        &parted.place,
                        &parted.differences,
                        small,
                        theirs.name(),
                    ));
                }
            }
        }
        report.cases += image.instructions;
        bar.set_position(report.cases.min(args.cases));
    }
    bar.finish_and_clear();
    report.seconds = started.elapsed().as_secs_f64();
    report.cases_per_second = report.cases as f64 / report.seconds.max(1e-9);
    findings.report(&mut report);
    finish(args, &report)
}

fn finish(args: &FuzzArgs, report: &Report) -> Result<Outcome> {
    let found = report.differences.len() + report.broken.len();
    say!(
        "emu diff fuzz: {} cases against {} from seed {} in {:.1} s ({:.0} a second), {found} kinds of differences\n",
        report.cases,
        report.against,
        report.seed,
        report.seconds,
        report.cases_per_second
    );
    for d in &report.differences {
        say!("  {}-bit, seed {}: {}\n    {}\n", d.bits, d.seed, d.instruction, d.fields.join(", "));
        if let Some(vector) = &d.vector {
            say!("    {vector}\n");
        }
    }
    if report.consequences != 0 {
        say!("behind others in the same program: {}\n", report.consequences);
    }
    for line in &report.broken {
        say!("did not end: {line}\n");
    }
    if report.long != 0 {
        say!("ran away, on both: {}\n", report.long);
    }
    for line in &report.ends {
        say!("QEMU died or shut down: {line}\n");
    }
    for (reason, times) in &report.known {
        say!("known, {times} times: {reason}\n");
    }
    if let Some(path) = &args.report {
        let context = || format!("--report {}", path.display());
        let text = serde_json::to_string_pretty(report)? + "\n";
        std::fs::write(path, text).with_context(context)?;
    }
    if let Some(path) = &args.vectors {
        write_vectors(path, report)?;
    }
    Ok(if found == 0 { Outcome::Done } else { Outcome::Different })
}

fn write_vectors(path: &Path, report: &Report) -> Result<()> {
    let context = || format!("--vectors {}", path.display());
    let mut file = OpenOptions::new().create(true).append(true).open(path).with_context(context)?;
    for vector in report.differences.iter().filter_map(|d| d.vector.as_ref()) {
        writeln!(file, "{vector}").with_context(context)?;
    }
    Ok(())
}

pub(super) fn recipe(image: Vec<u8>) -> Result<Recipe> {
    let exit = format!("{EXIT_PORT:#x}");
    let cli = Cli::parse_from(["emu", "-m", "64M", "--no-reboot", "--debug-exit", &exit]);
    let mut recipe = Recipe::without_input(&cli.run)?;
    (recipe.bios, recipe.quiet) = (Some(image), true);
    Ok(recipe)
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A difference with another emulator, as it was found and made small.
pub(super) fn difference(
    bits: u32,
    seed: u64,
    found: &Found,
    small: Option<Small>,
    reference: &str,
) -> Difference {
    Difference::of((bits, seed), &found.place, &found.differences, small, reference)
}

/// What differs, with values.
pub(super) fn texts(differences: &[emu_diff::state::Difference], reference: &str) -> Vec<String> {
    differences.iter().map(|d| format!("{} {:x}, {reference} {:x}", d.field, d.ours, d.theirs)).collect()
}

impl Difference {
    fn of(
        (bits, seed): (u32, u64),
        place: &Place,
        differences: &[emu_diff::state::Difference],
        small: Option<Small>,
        reference: &str,
    ) -> Self {
        let instruction = place.to_string().trim().to_owned();
        let (fields, vector) = match small {
            Some(small) => (small.texts, small.vector.map(|vector| vector.to_string())),
            None => (texts(differences, reference), None),
        };
        Self { bits, seed, instruction, fields, vector }
    }
}
