//! Two builds held against each other: what changed beyond noise.
//!
//! Best both run in turn, each time in fresh processes, and what counts is the ratio of one to the other
//! ([`in_turn`]). Of many rows some differ by chance; so those that seem to have changed are measured once more, and
//! only what shows again is told ([`confirm`]).
//!
//! When the earlier build is not there any more, samples count as ratios to the host's own ([`by_native`]), so that a
//! host that is faster today than yesterday does not show. What other work on the host does to a sample only ever makes
//! it slower, so there a change must show in the median and in the best quarter alike, and of the faster two thirds
//! those of one side must be the slower ones more often than chance would have it (the rank-sum test of Mann and
//! Whitney).

use std::fmt::Write as _;

use crate::engine::EARLIER;
use crate::measure::Row;
use crate::report::{Clock, Measured, Report};
use crate::statistics::{geometric_mean, median, quantile, rank_sum, signed_rank};

/// Smaller changes are not told: what a benchmark made slower by 5 % shows at least.
const LEAST: f64 = 0.025;
/// How improbable a change by chance must be.
const CHANCE: f64 = 0.01;
/// How improbable it must be to be worth another look.
const SUSPICIOUS: f64 = 0.3;
/// The same after each round of a second look, which looks several times at rows that the first found by chance.
const CHANCE_AGAIN: f64 = 0.0025;
/// A row of a second look that changed by less in so many pairs is done with.
const NOTHING: (f64, usize) = (0.01, 6);
/// Pairs that a second look takes at most.
pub const SECOND_LOOK: usize = 16;

/// What became of one workload on one engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which.
    pub row: Row,
    /// New over old, less one: 0.05 is 5 % slower.
    pub by: f64,
    /// How far the samples scatter about their medians, relative, of the worse side.
    pub scatter: f64,
    /// It is beyond noise.
    pub certain: bool,
    /// There are samples enough for any change to be beyond noise.
    pub enough: bool,
    /// How probable as much or more is by chance.
    chance: f64,
    /// The sign of what a first look saw.
    first: f64,
}

/// How far some numbers scatter about their median, relative: half of them are nearer.
fn scatter(values: &[f64]) -> f64 {
    let middle = median(values);
    median(&values.iter().map(|value| (value / middle - 1.0).abs()).collect::<Vec<_>>())
}

/// The engines of ours that both this report and the earlier build's share of it have, with the pairs' ratios.
pub fn in_turn(report: &Report) -> Vec<Change> {
    let mut changes = Vec::new();
    for result in &report.results {
        for engine in report.engines() {
            let ratios = result.ratios(engine, &format!("{EARLIER}{engine}"), report.clock);
            if ratios.is_empty() {
                continue;
            }
            let differences: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
            let by = median(&ratios) - 1.0;
            changes.push(Change {
                row: Row { guest: result.guest, workload: result.workload.clone(), engine },
                by,
                scatter: scatter(&ratios),
                certain: false,
                enough: 2.0f64.powi(1 - ratios.len() as i32) <= SUSPICIOUS,
                chance: signed_rank(&differences),
                first: by.signum(),
            });
        }
    }
    changes
}

/// Those that are worth another look, of [`SECOND_LOOK`] rounds.
pub fn suspects(changes: &[Change]) -> Vec<Row> {
    let suspicious = |change: &&Change| change.by.abs() > LEAST && change.chance <= SUSPICIOUS;
    changes.iter().filter(suspicious).map(|change| change.row.clone()).collect()
}

/// What a second look says so far: what shows again, in the same direction, is certain, and by as much as it shows
/// there. Returns the rows that need more rounds, after `rounds` of them.
pub fn confirm(changes: &mut [Change], second: &[Change], rounds: usize) -> Vec<Row> {
    let mut open = Vec::new();
    for change in changes.iter_mut().filter(|change| !change.certain) {
        let Some(again) = second.iter().find(|again| again.row == change.row) else { continue };
        change.certain =
            again.by.abs() > LEAST && again.by.signum() == change.first && again.chance < CHANCE_AGAIN;
        (change.by, change.scatter) = (again.by, again.scatter);
        let (little, pairs) = NOTHING;
        let nothing = rounds >= SECOND_LOOK || (rounds >= pairs && again.by.abs() < little);
        if !change.certain && !nothing {
            open.push(change.row.clone());
        }
    }
    open
}

/// What the host itself took for something that both reports have, for each: seconds count in it.
fn basis(results: [&Measured; 2], clock: Clock) -> Option<[f64; 2]> {
    let native = results.map(|result| result.median("native", clock).unwrap_or(0.0));
    native.iter().all(|seconds| *seconds > 0.0).then_some(native)
}

/// An engine's samples, in the order of their turns.
fn samples(result: &Measured, engine: &str, clock: Clock, basis: f64) -> Vec<f64> {
    let own = result.samples(engine).map(|samples| samples.by(clock)).unwrap_or_default();
    own.iter().map(|seconds| seconds / basis).collect()
}

/// All workloads and engines that both reports have, by the host's own time; and how many there are without it, of
/// which nothing is told.
pub fn by_native(old: &Report, new: &Report) -> (Vec<Change>, usize) {
    let (mut changes, mut untold) = (Vec::new(), 0);
    for after in &new.results {
        let same = |result: &&Measured| result.guest == after.guest && result.workload == after.workload;
        let Some(before) = old.results.iter().find(same) else { continue };
        // The host itself is no build of ours, and its absolute speed is weather.
        for engine in new.engines().into_iter().filter(|engine| *engine != "native") {
            if before.samples(engine).is_none() || after.samples(engine).is_none() {
                continue;
            }
            let Some([earlier, later]) = basis([before, after], new.clock) else {
                untold += 1;
                continue;
            };
            let old = samples(before, engine, new.clock, earlier);
            let new = samples(after, engine, new.clock, later);
            let row = Row { guest: after.guest, workload: after.workload.clone(), engine };
            changes.push(change(row, &old, &new));
        }
    }
    (changes, untold)
}

fn change(row: Row, old: &[f64], new: &[f64]) -> Change {
    let by = median(new) / median(old) - 1.0;
    let best = quantile(new, 0.25) / quantile(old, 0.25) - 1.0;
    let (before, after) = (quiet(old), quiet(new));
    let chance = rank_sum(&before, &after);
    let certain = by.abs() > LEAST && best.abs() > LEAST && by.signum() == best.signum() && chance < CHANCE;
    // As if all of one side were slower than all of the other.
    let ranks = |from: usize, samples: &[f64]| (from..from + samples.len()).map(|rank| rank as f64).collect();
    let [first, second]: [Vec<f64>; 2] = [ranks(0, &before), ranks(before.len(), &after)];
    let enough = rank_sum(&first, &second) < CHANCE;
    Change { row, by, scatter: scatter(old).max(scatter(new)), certain, enough, chance, first: by.signum() }
}

/// The faster two thirds of some samples.
fn quiet(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.truncate((samples.len() * 2).div_ceil(3));
    sorted
}

/// The words for the terminal.
pub fn render(changes: &[Change]) -> String {
    let mut text = String::new();
    let mut certain: Vec<_> = changes.iter().filter(|change| change.certain).collect();
    certain.sort_by(|a, b| b.by.total_cmp(&a.by));
    for Change { row, by, .. } in &certain {
        let word = if *by > 0.0 { "slower" } else { "faster" };
        let (guest, by) = (row.guest.name(), by.abs() * 100.0);
        let _ = writeln!(text, "{guest} {} on {}: {by:.1} % {word}", row.workload, row.engine);
    }
    let noise = median(&changes.iter().map(|change| change.scatter).collect::<Vec<_>>()) * 100.0;
    let _ = write!(text, "{} of {} changed beyond noise", certain.len(), changes.len());
    if let Some(mean) = geometric_mean(changes.iter().map(|change| 1.0 + change.by)) {
        let mean = (mean - 1.0) * 100.0;
        let _ = write!(text, " (samples scatter by {noise:.1} % in the middle; all together {mean:+.1} %)");
    }
    text += "\n";
    let few = changes.iter().filter(|change| !change.enough).count();
    if few > 0 {
        let _ = writeln!(
            text,
            "{few} of them have too few samples to tell: expected 7 rounds or more on both sides"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Guest;
    use crate::peer::Time;
    use crate::report::Samples;
    use crate::workload::Class;

    /// Deterministic noise: mostly small, sometimes a sample that other work made much slower.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let unit = (self.0 >> 40) as f64 / (1u64 << 24) as f64;
            if unit > 0.9 { 1.0 + unit / 4.0 } else { 1.0 + 0.02 * unit }
        }
    }

    /// Forty workloads whose emulator takes `factor` times ten seconds.
    fn report(factor: f64, noise: &mut Noise) -> Report {
        let mut report = Report::new("0", "host".into(), Clock::Processor);
        for n in 0..40 {
            let mut samples = |engine: &str, seconds: f64| Samples {
                engine: engine.into(),
                units: 1,
                seconds: (0..9)
                    .map(|_| seconds * noise.next())
                    .map(|s| Time { processor: s, elapsed: s })
                    .collect(),
            };
            report.results.push(Measured {
                guest: Guest::Linux64,
                workload: format!("w{n}"),
                class: Class::Integer,
                engines: vec![samples("native", 1.0), samples("jit", 10.0 * factor)],
            });
        }
        report
    }

    #[test]
    fn five_percent_are_reported() {
        let mut noise = Noise(1);
        let (old, new) = (report(1.0, &mut noise), report(1.05, &mut noise));
        let (changes, _) = by_native(&old, &new);
        let told = changes.iter().filter(|change| change.certain && change.by > 0.0).count();
        assert!(changes.len() == 40 && told >= 38, "{told} of {}", changes.len());
    }

    #[test]
    fn nothing_is_reported_of_the_same_build() {
        let mut noise = Noise(2);
        for _ in 0..20 {
            let (old, new) = (report(1.0, &mut noise), report(1.0, &mut noise));
            assert_eq!(by_native(&old, &new).0.iter().filter(|change| change.certain).count(), 0);
        }
    }

    #[test]
    fn without_native_samples_nothing_is_told() {
        let mut noise = Noise(3);
        let (mut old, new) = (report(1.0, &mut noise), report(2.0, &mut noise));
        old.results.iter_mut().for_each(|result| result.engines.retain(|samples| samples.engine != "native"));
        assert_eq!(by_native(&old, &new), (Vec::new(), 40));
    }

    /// Forty workloads on a host whose speed changes from round to round, in turn with a build that takes `1 / factor`
    /// of the time.
    fn both(factor: f64, rounds: usize, noise: &mut Noise) -> Report {
        let mut report = report(1.0, noise);
        for result in &mut report.results {
            let weather: Vec<f64> = (0..rounds).map(|_| 0.7 + noise.next()).collect();
            let mut samples = |engine: &str, seconds: f64| Samples {
                engine: engine.into(),
                units: 1,
                seconds: weather
                    .iter()
                    // The better of two goes.
                    .map(|weather| weather * seconds * noise.next().min(noise.next()))
                    .map(|s| Time { processor: s, elapsed: s })
                    .collect(),
            };
            result.engines = vec![samples("jit", factor), samples("earlier-jit", 1.0)];
        }
        report
    }

    /// How many of forty are told, in two looks.
    fn told(factor: f64, noise: &mut Noise) -> usize {
        let mut changes = in_turn(&both(factor, 7, noise));
        let mut open = suspects(&changes);
        let second = both(factor, SECOND_LOOK, noise);
        for rounds in 1..=SECOND_LOOK {
            let mut so_far = second.clone();
            let short = |samples: &mut Samples| samples.seconds.truncate(rounds);
            so_far.results.iter_mut().flat_map(|result| &mut result.engines).for_each(short);
            let mut looked = in_turn(&so_far);
            looked.retain(|change| open.contains(&change.row));
            open = confirm(&mut changes, &looked, rounds);
        }
        assert!(open.is_empty());
        assert_eq!(changes.len(), 40);
        changes.iter().filter(|change| change.certain).count()
    }

    #[test]
    fn five_percent_are_reported_of_builds_that_ran_in_turn() {
        let mut noise = Noise(4);
        let told = told(1.05, &mut noise);
        assert!(told >= 34, "{told}");
    }

    #[test]
    fn nothing_is_reported_of_a_build_that_ran_in_turn_with_itself() {
        let mut noise = Noise(5);
        let told: usize = (0..50).map(|_| told(1.0, &mut noise)).sum();
        assert!(told <= 2, "{told} of 2000");
    }

    #[test]
    fn a_single_sample_proves_nothing() {
        let row = || Row { guest: Guest::Linux64, workload: "w".into(), engine: "jit" };
        let single = change(row(), &[1.0], &[2.0]);
        assert!(!single.certain && !single.enough);
        assert!(render(&[single]).contains("too few samples"));
        let (old, new): (Vec<f64>, Vec<f64>) =
            ((0..7).map(f64::from).collect(), (9..16).map(f64::from).collect());
        let many = change(row(), &old, &new);
        assert!(many.certain && many.enough && !render(&[many]).contains("too few"));
        assert!(!change(row(), &old[..6], &new[..6]).enough, "what the message says");
    }
}
