//! The part of `emu diff fuzz --against host` that has x87, MMX, SSE and AVX instructions: half of the cases.

use std::collections::HashSet;

use anyhow::Result;
use emu_diff::float_random::Random;
use emu_diff::host::shrink::kind;
use emu_diff::host::vectors::{
    Pair, X87, cases, exceptions, is_implemented, is_subject, legacy_features, vex_features,
};
use emu_diff::random::Random as Seeds;
use iced_x86::{Code, EncodingKind};

use super::fuzz::Difference;
use super::host::line;
use super::parts::Teller;
use crate::args::{Bits, FuzzArgs};

/// Cases that share an encoding.
const PER_ENCODING: u64 = 16;
/// Encodings between two words about the progress.
const LOOK: u64 = 256;

/// The forms in code of so many bits, with legacy and with VEX encodings.
fn forms(bits: u32) -> Vec<(Code, bool)> {
    let legacy = [legacy_features(), X87.to_vec()].concat();
    let vex = if is_x86_feature_detected!("avx2") { vex_features() } else { Vec::new() };
    let of = |kind, features: &[_]| {
        let wide = kind == EncodingKind::VEX;
        let subject = move |&code: &Code| is_subject(code, kind, bits, features);
        Code::values().filter(subject).map(|code| (code, wide)).collect::<Vec<_>>()
    };
    [of(EncodingKind::Legacy, &legacy), of(EncodingKind::VEX, &vex)].concat()
}

/// Does half of what the process has to do, and tells about it. Returns how many cases that were.
///
/// # Errors
/// When nobody listens any more.
pub fn run(args: &FuzzArgs, part: u64, of: u64, teller: &mut Teller) -> Result<u64> {
    let widths: &[usize] = match args.bits {
        Bits::Wide => &[0],
        Bits::Narrow => &[1],
        Bits::Both => &[0, 1],
    };
    let forms = [64, 32].map(forms);
    let mut pairs = [64, 32].map(|bits| [false, true].map(|wide| Pair::new(wide, bits)));
    let (mut done, wanted, mut seen) = (0, args.cases.div_ceil(of) / 2, HashSet::new());
    for (turn, n) in (part..).step_by(of as usize).enumerate() {
        if done >= wanted {
            break;
        }
        if (turn as u64).is_multiple_of(LOOK) {
            teller.cases(done)?;
        }
        let seed = args.seed.wrapping_add(n);
        let random = &mut Random::of_seed(Seeds::new(seed).word());
        let narrow = widths[random.below(widths.len() as u64) as usize];
        let bits = [64, 32][narrow];
        let (code, wide) = forms[narrow][random.below(forms[narrow].len() as u64) as usize];
        let memory = random.below(2) == 0;
        let Some(insn) = cases::instruction(code, memory, bits, random) else { continue };
        let Some(bytes) = cases::encode(&insn, bits).filter(|_| is_implemented(&insn, bits)) else {
            continue;
        };
        let pair = &mut pairs[narrow][usize::from(wide)];
        pair.load(&insn, &bytes);
        let mut before = pair.state(random);
        for _ in 0..PER_ENCODING {
            done += 1;
            before = pair.next(before, random);
            let mut fields = pair.compare(&before);
            if !fields.is_empty() && seen.insert((bits, code, kind(&fields))) {
                let key = format!("{bits} {code:?} {:?}", kind(&fields));
                fields.push(exceptions::describe(&before));
                let instruction = line(&insn, &bytes);
                teller.found(key, Difference { bits, seed, instruction, fields, vector: None })?;
            }
        }
    }
    Ok(done)
}
