//! Random programs of user code on the host's processor, on the interpreter and on the translator: registers, flags,
//! vectors, x87, memory and every exception on the way must be equal. 64-bit and 32-bit code, and from one to the
//! other; integer instructions, x87, MMX, SSE and AVX; accesses across pages, to pages that may only be read and to
//! nothing; programs that change themselves. One that fails is cut down to the instructions that matter.
//!
//! `EMU_PROGRAMS` sets how many programs run, `EMU_SEED` where they start.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::time::Instant;

use emu_core::engine::Engine;
use emu_diff::host::host_lacks;
use emu_diff::host::programs::draw::Draw;
use emu_diff::host::programs::trial::{Habits, Trial};
use emu_jit::Translator;
use emu_jit::analysis::MOST;
use emu_tests::external::skip;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

fn translator(habits: Habits) -> Result<Box<dyn Engine>, String> {
    let Habits { hot, longest, room } = habits;
    let engine =
        Translator::with_room(hot, longest.unwrap_or(MOST), room).map_err(|error| error.to_string())?;
    Ok(Box::new(engine))
}

#[test]
fn programs_end_as_on_the_host() {
    let missing = host_lacks();
    if !missing.is_empty() {
        skip(&format!("the host's processor lacks {}", missing.join(", ")));
        return;
    }
    let mut draw = Draw::default();
    let mut trial = Trial::new(translator).expect("signals and low addresses are free");
    let (first, count, start) = (setting("EMU_SEED", 1), setting("EMU_PROGRAMS", 3000), Instant::now());
    let (mut failures, mut done) = (Vec::new(), 0);
    for n in 0..count {
        done += 1;
        let seed = first.wrapping_add(n);
        let case = draw.case(seed);
        let Some(failure) = trial.compare(&case, seed) else { continue };
        let text = match trial.shrink(case.clone(), seed) {
            Some((small, failure)) => format!("{}{failure:#?}", small.listing()),
            None => format!("{}{failure:#?}\nonly behind the programs before it", case.listing()),
        };
        failures.push(format!("program {n}, EMU_SEED={seed}, {text}"));
        if failures.len() == 5 {
            break;
        }
    }
    let instructions = trial.instructions() / done.max(1);
    println!(
        "{done} programs of {instructions} instructions, {:.0} a second",
        done as f64 / start.elapsed().as_secs_f64()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
