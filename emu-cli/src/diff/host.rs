//! `emu diff fuzz --against host`: random instructions of user code on the host's processor and on the interpreter.

use anyhow::Result;
use indicatif::ProgressBar;

use super::fuzz::Report;
use crate::args::FuzzArgs;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn run(_: &FuzzArgs, _: &mut Report, _: &ProgressBar) -> Result<()> {
    crate::outcome::usage!("--against host: expected an x86-64 host with Linux")
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use on_x86::run;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod on_x86 {
    use std::collections::HashSet;

    use anyhow::bail;
    use emu_diff::fuzz::cases::{self, Encoding};
    use emu_diff::fuzz::places::PAGE;
    use emu_diff::host::shrink::{kind, shrink, vector};
    use emu_diff::host::{Case, Oracle, host_lacks, is_implemented, subjects};
    use emu_diff::random::Random;
    use iced_x86::{Code, Formatter, IntelFormatter};

    use super::{FuzzArgs, ProgressBar, Report, Result};
    use crate::args::Bits;
    use crate::diff::fuzz::Difference;

    /// Cases that share an encoding.
    const PER_ENCODING: u64 = 16;
    /// Attempts to make an encoding of a form.
    const ATTEMPTS: usize = 64;
    /// Encodings between two looks at the progress bar.
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
        let mut oracle = Oracle::new().map_err(|why| anyhow::anyhow!("--against host: {why}"))?;
        let forms = [subjects(64), subjects(32)];
        let mut seen = HashSet::new();
        for n in 0.. {
            if report.cases >= args.cases {
                break;
            }
            if n % LOOK == 0 {
                bar.set_position(report.cases);
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
            let mut data = [0; PAGE];
            cases::memory(random, &mut data);
            for _ in 0..PER_ENCODING {
                report.cases += 1;
                let before = cases::registers(&e, bits, random, &mut data);
                let case = Case { before, data };
                let (found, _) = oracle.compare(&e, &case);
                if !found.is_empty() && seen.insert((bits, code, kind(&found))) {
                    let (case, fields, host) = shrink(&mut oracle, &e, case);
                    let line = vector(bits, &e, &case, &host, oracle.data());
                    report.differences.push(Difference {
                        bits,
                        seed,
                        instruction: text(&e),
                        fields,
                        vector: line.map(|line| line.to_string()),
                    });
                }
            }
        }
        Ok(())
    }

    fn encoding(code: Code, bits: u32, random: &mut Random) -> Option<Encoding> {
        let e = (0..ATTEMPTS).find_map(|_| cases::encoding(code, bits, random))?;
        is_implemented(&e, bits).then_some(e)
    }

    fn text(e: &Encoding) -> String {
        let bytes: Vec<_> = e.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut text = String::new();
        IntelFormatter::new().format(&e.insn, &mut text);
        format!("{}  {text}", bytes.join(" "))
    }
}
