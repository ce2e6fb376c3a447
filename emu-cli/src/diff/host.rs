//! `emu diff fuzz --against host`: random instructions of user code on the host's processor and on the interpreter
//! (those of x87, MMX, SSE and AVX by [`vectors`](super::vectors)), or
//! with `--programs` random programs on it and on both engines.
//!
//! A process can run instructions on one thread only, since it gives its signals and low addresses to them. So each
//! processor of the host gets a process of its own ([`parts`](super::parts)), which does every n-th encoding.

use anyhow::Result;
use indicatif::ProgressBar;

use super::fuzz::Report;
use crate::args::FuzzArgs;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn run(_: &FuzzArgs, _: &mut Report, _: &ProgressBar) -> Result<()> {
    crate::outcome::usage!("--against host: expected an x86-64 host with Linux")
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use on_x86::line;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use on_x86::run;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod on_x86 {
    use std::collections::HashSet;

    use anyhow::bail;
    use emu_core::engine::Engine;
    use emu_diff::fuzz::cases::{self, Encoding};
    use emu_diff::fuzz::places::{PAGE, Registers};
    use emu_diff::fuzz::shrink::Case;
    use emu_diff::host::programs::draw::Draw;
    use emu_diff::host::programs::trial::{Habits, Trial};
    use emu_diff::host::shrink::{kind, shrink, vector};
    use emu_diff::host::{Oracle, host_lacks, is_implemented, subjects};
    use emu_diff::random::Random;
    use emu_jit::Translator;
    use emu_jit::analysis::MOST;
    use iced_x86::{Code, Formatter, Instruction, IntelFormatter};

    use super::{FuzzArgs, ProgressBar, Report, Result};
    use crate::args::Bits;
    use crate::diff::fuzz::Difference;
    use crate::diff::parts::{self, Teller};
    use crate::diff::vectors;

    /// Cases that share an encoding.
    const PER_ENCODING: u64 = 16;
    /// Attempts to make an encoding of a form.
    const ATTEMPTS: usize = 64;
    /// Encodings that find the same memory.
    const PER_PAGE: u64 = 8;
    /// Encodings between two words about the progress.
    const LOOK: u64 = 256;

    /// Runs cases until there are enough.
    ///
    /// # Errors
    /// When the host cannot do it.
    pub fn run(args: &FuzzArgs, report: &mut Report, bar: &ProgressBar) -> Result<()> {
        let lacks = host_lacks();
        if !lacks.is_empty() {
            bail!("--against host: this processor lacks {}", lacks.join(", "));
        }
        match args.part {
            Some(part) if args.programs => programs(args, part, args.jobs.unwrap_or(1)),
            Some(part) => one(args, part, args.jobs.unwrap_or(1)),
            None => parts::run(args, report, bar),
        }
    }

    /// Does every `of`-th encoding, beginning with that number, and tells the parent process.
    fn one(args: &FuzzArgs, part: u64, of: u64) -> Result<()> {
        let mut teller = Teller;
        // The two take the same signals: one after the other.
        let vectors = vectors::run(args, part, of, &mut teller)?;
        let mut oracle = Oracle::new().map_err(|why| anyhow::anyhow!("--against host: {why}"))?;
        let forms = [subjects(64), subjects(32)];
        let mut seen = HashSet::new();
        let (mut page, mut data) = (None, [0; PAGE]);
        let (mut cases, wanted) = (vectors, args.cases.div_ceil(of));
        for (turn, n) in (part..).step_by(of as usize).enumerate() {
            if cases >= wanted {
                break;
            }
            if (turn as u64).is_multiple_of(LOOK) {
                teller.cases(cases)?;
            }
            let narrow = match args.bits {
                Bits::Wide => 0,
                Bits::Narrow => 1,
                Bits::Both => (n % 2) as usize,
            };
            let (bits, seed) = ([64, 32][narrow], args.seed.wrapping_add(n));
            let random = &mut Random::new(seed);
            let codes = &forms[narrow];
            let code = codes[random.below(codes.len() as u64) as usize];
            let Some(e) = encoding(code, bits, random) else { continue };
            if let Err(gap) = oracle.load(&e, bits) {
                bail!("{code:?}: {gap}");
            }
            // Which memory it is depends on the seed alone.
            if page != Some(seed / PER_PAGE) {
                page = Some(seed / PER_PAGE);
                cases::memory(&mut Random::new(!(seed / PER_PAGE)), &mut data);
            }
            let mut case = Case { before: Registers::default(), data };
            for _ in 0..PER_ENCODING {
                cases += 1;
                case.before = cases::registers(&e, bits, random, &mut case.data);
                let (found, _) = oracle.compare(&e, &case);
                if !found.is_empty() && seen.insert((bits, code, kind(&found))) {
                    let key = format!("{bits} {code:?} {:?}", kind(&found));
                    let (case, fields, host) = shrink(&mut oracle, &e, case.clone());
                    let line = vector(bits, &e, &case, &host, oracle.data());
                    let vector = line.map(|line| line.to_string());
                    teller.found(key, Difference { bits, seed, instruction: text(&e), fields, vector })?;
                }
            }
        }
        teller.cases(cases)
    }

    /// The same with programs.
    fn programs(args: &FuzzArgs, part: u64, of: u64) -> Result<()> {
        let trouble = |why| anyhow::anyhow!("--against host: {why}");
        let mut trial = Trial::new(translator).map_err(trouble)?;
        let (mut draw, mut seen, mut teller) = (Draw::of(widths(args.bits)), HashSet::new(), Teller);
        let mut cases = 0;
        for n in (part..args.cases).step_by(of as usize) {
            if cases % LOOK == 0 {
                teller.cases(cases)?;
            }
            cases += 1;
            let seed = args.seed.wrapping_add(n);
            let case = draw.case(seed);
            let Some(failure) = trial.compare(&case, seed) else { continue };
            let (case, failure) = trial.shrink(case.clone(), seed).unwrap_or((case, failure));
            let key = format!("{} {} {:?}", case.bits, failure.engine, kind(&failure.found));
            if seen.insert(key.clone()) {
                let (bits, fields) = (case.bits, failure.found);
                let instruction = format!("{}: {}", failure.engine, case.listing().trim_end());
                teller.found(key, Difference { bits, seed, instruction, fields, vector: None })?;
            }
        }
        teller.cases(cases)
    }

    fn widths(bits: Bits) -> &'static [u32] {
        match bits {
            Bits::Wide => &[64],
            Bits::Narrow => &[32],
            Bits::Both => &[64, 32],
        }
    }

    fn translator(habits: Habits) -> Result<Box<dyn Engine>, String> {
        let Habits { hot, longest, room } = habits;
        let engine = Translator::with_room(hot, longest.unwrap_or(MOST), room);
        Ok(Box::new(engine.map_err(|error| error.to_string())?))
    }

    fn encoding(code: Code, bits: u32, random: &mut Random) -> Option<Encoding> {
        let e = (0..ATTEMPTS).find_map(|_| cases::encoding(code, bits, random))?;
        is_implemented(&e, bits).then_some(e)
    }

    fn text(e: &Encoding) -> String {
        line(&e.insn, &e.bytes)
    }

    /// Bytes and disassembly.
    pub fn line(insn: &Instruction, bytes: &[u8]) -> String {
        let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut text = String::new();
        IntelFormatter::new().format(insn, &mut text);
        format!("{}  {text}", bytes.join(" "))
    }
}
