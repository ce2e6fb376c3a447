//! Random programs of user code on the host's processor, on the interpreter and on the translator: registers, flags,
//! vectors, x87, memory and every exception on the way must be equal. 64-bit and 32-bit code, and from one to the
//! other; integer instructions, x87, MMX, SSE and AVX; accesses across pages, to pages that may only be read and to
//! nothing; programs that change themselves. One that fails is cut down to the instructions that matter.
//!
//! `EMU_PROGRAMS` sets how many programs run, `EMU_SEED` where they start.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::time::Instant;

use emu_core::interp::Interpreter;
use emu_diff::host::host_lacks;
use emu_diff::host::programs::draw::Draw;
use emu_diff::host::programs::guest::Guest;
use emu_diff::host::programs::silicon::Host;
use emu_diff::host::programs::{Case, differences};
use emu_jit::Translator;
use emu_jit::analysis::MOST;
use emu_tests::external::skip;
use emu_tests::random::Random;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// The interpreter, and translators that differ in what is hot, in the longest block, and in the room for code.
struct Guests(Vec<(&'static str, Guest)>);

impl Guests {
    fn new() -> Self {
        let translator = |hot: u8, most: usize, room: usize| {
            let engine = Translator::with_room(hot, most, room).expect("the host has memory");
            Guest::new(Box::new(engine)).expect("the host has memory")
        };
        let interpreter = Guest::new(Box::<Interpreter>::default()).expect("the host has memory");
        Self(vec![
            ("interpreter", interpreter),
            ("translator, all at once", translator(1, MOST, 16 << 20)),
            ("translator", translator(3, MOST, 16 << 20)),
            ("translator, short blocks", translator(1, 3, 16 << 20)),
            ("translator, little room", translator(2, MOST, 0)),
        ])
    }
}

struct Test {
    host: Host,
    guests: Guests,
}

impl Test {
    /// What is different, if anything: the interpreter runs each program, one of the translators too.
    fn compare(&mut self, case: &Case, seed: u64) -> Option<String> {
        let host = match self.host.run(case) {
            Ok(end) => end,
            Err(why) => return Some(format!("the host: {why}")),
        };
        let mut random = Random::new(seed);
        let which = 1 + random.below(4) as usize;
        let slice = if random.below(4) == 0 { 1 + random.below(300) } else { u64::MAX / 2 };
        for n in [0, which] {
            let (name, guest) = &mut self.guests.0[n];
            let found = match guest.run(case, slice) {
                Ok(end) => differences(case, &host, &end),
                Err(why) => vec![why],
            };
            if !found.is_empty() {
                return Some(format!("{name}:\n  {}", found.join("\n  ")));
            }
        }
        None
    }

    /// The same on machines that have run nothing else.
    fn compare_afresh(&mut self, case: &Case, seed: u64) -> Option<String> {
        self.guests = Guests::new();
        self.compare(case, seed)
    }

    /// Leaves out what does not matter.
    fn shrink(&mut self, mut case: Case, seed: u64) -> (Case, Option<String>) {
        let Some(mut why) = self.compare_afresh(&case, seed) else { return (case, None) };
        let mut rounds = 1;
        while rounds < case.rounds() {
            let less = case.with_rounds(rounds);
            if let Some(still) = self.compare_afresh(&less, seed) {
                (case, why) = (less, still);
            }
            rounds *= 2;
        }
        for slot in (0..case.len()).rev() {
            let less = case.without(slot);
            if let Some(still) = self.compare_afresh(&less, seed) {
                (case, why) = (less, still);
            }
        }
        (case, Some(why))
    }
}

#[test]
fn programs_end_as_on_the_host() {
    let missing = host_lacks();
    if !missing.is_empty() {
        skip(&format!("the host's processor lacks {}", missing.join(", ")));
        return;
    }
    let mut draw = Draw::default();
    let mut test =
        Test { host: Host::new().expect("signals and low addresses are free"), guests: Guests::new() };
    let (first, count, start) = (setting("EMU_SEED", 1), setting("EMU_PROGRAMS", 2000), Instant::now());
    let (mut failures, mut done) = (Vec::new(), 0);
    for n in 0..count {
        done += 1;
        let seed = first.wrapping_add(n);
        let case = draw.case(seed);
        let Some(why) = test.compare(&case, seed) else { continue };
        let text = match test.shrink(case, seed) {
            (small, Some(why)) => format!("{}{why}", small.listing()),
            (case, None) => format!("{}{why}\nonly behind the programs before it", case.listing()),
        };
        failures.push(format!("program {n}, EMU_SEED={seed}, {text}"));
        if failures.len() == 5 {
            break;
        }
    }
    let instructions = test.guests.0[0].1.instructions() / done.max(1);
    println!(
        "{done} programs of {instructions} instructions, {:.0} a second",
        done as f64 / start.elapsed().as_secs_f64()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
