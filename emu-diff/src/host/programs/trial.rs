//! Programs on the host and on both engines, and one that fails made small.

use emu_core::engine::Engine;
use emu_core::interp::Interpreter;

use super::guest::Guest;
use super::silicon::Host;
use super::{Case, differences};
use crate::random::Random;

/// How a translator works.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How often a place is come by before it is translated.
    pub hot: u8,
    /// Most instructions of a block; `None` for as many as it can.
    pub longest: Option<usize>,
    /// Bytes for code; 0 for as few as it can.
    pub room: usize,
}

/// Translators that differ in what is hot, in the longest block, and in the room for code.
const TRANSLATORS: [(&str, Habits); 4] = [
    ("translator, all at once", Habits { hot: 1, longest: None, room: 16 << 20 }),
    ("translator", Habits { hot: 3, longest: None, room: 16 << 20 }),
    ("translator, short blocks", Habits { hot: 1, longest: Some(3), room: 16 << 20 }),
    ("translator, little room", Habits { hot: 2, longest: None, room: 0 }),
];

/// Makes a translator.
pub type Make = fn(Habits) -> Result<Box<dyn Engine>, String>;

/// The host and machines with each engine.
pub struct Trial {
    host: Host,
    make: Make,
    guests: Vec<(&'static str, Guest)>,
}

/// What the first engine does that the host does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The engine, or the host when the program did not end there.
    pub engine: &'static str,
    /// What differs.
    pub found: Vec<String>,
}

impl Trial {
    /// Takes some pages in the low 4 GiB and signals of this process; `make` makes the translators.
    ///
    /// # Errors
    /// When somebody else has them, or there is no memory.
    pub fn new(make: Make) -> Result<Self, String> {
        // Translators come behind the host: they pass signals on.
        let host = Host::new()?;
        Ok(Self { host, make, guests: guests(make)? })
    }

    /// Instructions that the interpreter has run, those of its small kernel included.
    pub fn instructions(&self) -> u64 {
        self.guests[0].1.instructions()
    }

    /// What is different, if anything: the interpreter runs each program, and one of the translators, by the seed.
    pub fn compare(&mut self, case: &Case, seed: u64) -> Option<Failure> {
        let host = match self.host.run(case) {
            Ok(end) => end,
            Err(why) => return Some(Failure { engine: "host", found: vec![why] }),
        };
        let mut random = Random::new(seed);
        let which = 1 + random.below(TRANSLATORS.len() as u64) as usize;
        // Slices end anywhere, as they do at interrupts.
        let slice = if random.below(4) == 0 { 1 + random.below(300) } else { u64::MAX / 2 };
        for n in [0, which] {
            let (engine, guest) = &mut self.guests[n];
            let found = match guest.run(case, slice) {
                Ok(end) => differences(case, &host, &end),
                Err(why) => vec![why],
            };
            if !found.is_empty() {
                return Some(Failure { engine, found });
            }
        }
        None
    }

    /// The same on machines that have run nothing else.
    fn compare_afresh(&mut self, case: &Case, seed: u64) -> Option<Failure> {
        match guests(self.make) {
            Ok(guests) => self.guests = guests,
            Err(why) => return Some(Failure { engine: "host", found: vec![why] }),
        }
        self.compare(case, seed)
    }

    /// Leaves out of a program that fails what does not matter. Returns what is left and what differs then; nothing
    /// when the program does not fail on machines that have run nothing else.
    pub fn shrink(&mut self, mut case: Case, seed: u64) -> Option<(Case, Failure)> {
        let mut failure = self.compare_afresh(&case, seed)?;
        let rounds = (0..).map(|n| 1 << n).take_while(|&rounds| rounds < case.rounds()).collect::<Vec<_>>();
        let by_rounds = rounds.into_iter().map(|rounds| (None, rounds));
        let by_slot = (0..case.len()).rev().map(|slot| (Some(slot), 0));
        for (slot, rounds) in by_rounds.chain(by_slot) {
            let less = match slot {
                Some(slot) => case.without(slot),
                None if rounds < case.rounds() => case.with_rounds(rounds),
                None => continue,
            };
            if let Some(still) = self.compare_afresh(&less, seed) {
                (case, failure) = (less, still);
            }
        }
        Some((case, failure))
    }
}

fn guests(make: Make) -> Result<Vec<(&'static str, Guest)>, String> {
    let mut all = vec![("interpreter", Guest::new(Box::<Interpreter>::default())?)];
    for (name, habits) in TRANSLATORS {
        all.push((name, Guest::new(make(habits)?)?));
    }
    Ok(all)
}
