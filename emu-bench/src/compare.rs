//! Two reports held against each other: what changed beyond noise.
//!
//! A sample counts as a ratio to the median of the host's own where both reports have them, and else to the median of
//! what the [yardstick](crate::yardstick) took, so that a host that is faster today than yesterday does not show.
//! What other work on the host does to a sample only ever makes it slower, so a change must show in the median and in
//! the best quarter alike, and of the faster two thirds those of one side must be the slower ones more often than
//! chance would have it (the rank-sum test of Mann and Whitney).

use std::fmt::Write as _;

use crate::report::{Clock, Measured, Report};
use crate::statistics::{median, quantile, rank_sum};

/// Smaller changes are not told: what a benchmark made slower by 5 % shows at least.
const LEAST: f64 = 0.025;
/// How improbable a change by chance must be.
const CHANCE: f64 = 0.01;

/// What became of one workload on one engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Guest and workload.
    pub what: String,
    /// The engine.
    pub engine: String,
    /// New median over old one, less one: 0.05 is 5 % slower.
    pub by: f64,
    /// How far the samples scatter about their medians, relative, of the worse side.
    pub scatter: f64,
    /// It is beyond noise.
    pub certain: bool,
    /// There are samples enough for any change to be beyond noise.
    pub enough: bool,
}

/// What a host took for something that both reports have, for each: seconds count in it. The host's own run of the
/// workload, else the yardstick; nothing in reports of before there was one.
fn basis(results: [&Measured; 2], clock: Clock) -> Option<[f64; 2]> {
    let native = results.map(|result| result.samples("native").map(|samples| samples.by(clock)));
    let yardstick = results.map(|result| result.host.iter().map(|time| clock.of(*time)).collect::<Vec<_>>());
    let native = if let [Some(before), Some(after)] = native { Some([before, after]) } else { None };
    [native, Some(yardstick)]
        .into_iter()
        .flatten()
        .map(|basis| basis.map(|seconds| median(&seconds)))
        .find(|basis| basis.iter().all(|seconds| *seconds > 0.0))
}

/// An engine's samples, in the order of their turns.
fn samples(result: &Measured, engine: &str, clock: Clock, basis: f64) -> Vec<f64> {
    let own = result.samples(engine).map(|samples| samples.by(clock)).unwrap_or_default();
    own.iter().map(|seconds| seconds / basis).collect()
}

/// All workloads and engines that both reports have.
pub fn compare(old: &Report, new: &Report) -> Vec<Change> {
    let mut changes = Vec::new();
    for after in &new.results {
        let same = |result: &&Measured| result.guest == after.guest && result.workload == after.workload;
        let Some(before) = old.results.iter().find(same) else { continue };
        let [earlier, later] = basis([before, after], new.clock).unwrap_or([1.0; 2]);
        // The host itself is no build of ours, and its absolute speed is weather.
        for engine in new.engines().into_iter().filter(|engine| *engine != "native") {
            let old = samples(before, engine, new.clock, earlier);
            let new = samples(after, engine, new.clock, later);
            if !old.is_empty() && !new.is_empty() {
                changes.push(change(
                    format!("{} {}", after.guest.name(), after.workload),
                    engine,
                    &old,
                    &new,
                ));
            }
        }
    }
    changes
}

fn change(what: String, engine: &str, old: &[f64], new: &[f64]) -> Change {
    let by = median(new) / median(old) - 1.0;
    let best = quantile(new, 0.25) / quantile(old, 0.25) - 1.0;
    let scatter = |values: &[f64]| {
        let middle = median(values);
        median(&values.iter().map(|value| (value / middle - 1.0).abs()).collect::<Vec<_>>())
    };
    let (before, after) = (quiet(old), quiet(new));
    let certain = by.abs() > LEAST
        && best.abs() > LEAST
        && by.signum() == best.signum()
        && rank_sum(&before, &after) < CHANCE;
    // As if all of one side were slower than all of the other.
    let ranks = |from: usize, samples: &[f64]| (from..from + samples.len()).map(|rank| rank as f64).collect();
    let [first, second]: [Vec<f64>; 2] = [ranks(0, &before), ranks(before.len(), &after)];
    let enough = rank_sum(&first, &second) < CHANCE;
    Change { what, engine: engine.into(), by, scatter: scatter(old).max(scatter(new)), certain, enough }
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
    for change in &certain {
        let word = if change.by > 0.0 { "slower" } else { "faster" };
        let _ =
            writeln!(text, "{} on {}: {:.1} % {word}", change.what, change.engine, change.by.abs() * 100.0);
    }
    let noise = median(&changes.iter().map(|change| change.scatter).collect::<Vec<_>>()) * 100.0;
    let _ = writeln!(
        text,
        "{} of {} changed beyond noise (samples scatter by {noise:.1} % in the middle)",
        certain.len(),
        changes.len()
    );
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
                host: Vec::new(),
            });
        }
        report
    }

    #[test]
    fn five_percent_are_reported() {
        let mut noise = Noise(1);
        let (old, new) = (report(1.0, &mut noise), report(1.05, &mut noise));
        let changes = compare(&old, &new);
        let told = changes.iter().filter(|change| change.certain && change.by > 0.0).count();
        assert!(changes.len() == 40 && told >= 38, "{told} of {}", changes.len());
    }

    #[test]
    fn nothing_is_reported_of_the_same_build() {
        let mut noise = Noise(2);
        for _ in 0..20 {
            let (old, new) = (report(1.0, &mut noise), report(1.0, &mut noise));
            assert_eq!(compare(&old, &new).iter().filter(|change| change.certain).count(), 0);
        }
    }

    #[test]
    fn without_native_samples_a_slower_host_does_not_show() {
        let mut noise = Noise(3);
        let without = |noise: &mut Noise, host: f64, factor: f64| {
            let mut report = report(host * factor, noise);
            for result in &mut report.results {
                result.engines.retain(|samples| samples.engine != "native");
                let seconds = (0..9).map(|_| host * 0.01 * noise.next());
                result.host = seconds.map(|s| Time { processor: s, elapsed: s }).collect();
            }
            report
        };
        let old = without(&mut noise, 1.0, 1.0);
        let told = |new: &Report| compare(&old, new).iter().filter(|change| change.certain).count();
        assert_eq!(told(&without(&mut noise, 1.2, 1.0)), 0);
        assert!(told(&without(&mut noise, 1.2, 1.08)) >= 30);
    }

    #[test]
    fn a_single_sample_proves_nothing() {
        let single = change("w".into(), "jit", &[1.0], &[2.0]);
        assert!(!single.certain && !single.enough);
        assert!(render(&[single]).contains("too few samples"));
        let (old, new): (Vec<f64>, Vec<f64>) =
            ((0..7).map(f64::from).collect(), (9..16).map(f64::from).collect());
        let many = change("w".into(), "jit", &old, &new);
        assert!(many.certain && many.enough && !render(&[many]).contains("too few"));
        assert!(!change("w".into(), "jit", &old[..6], &new[..6]).enough, "what the message says");
    }
}
