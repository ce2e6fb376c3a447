//! Medians, means and how far samples scatter.

/// The middle one of these numbers, or the mean of the two in the middle; 0 without any.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// The geometric mean of these positive numbers; `None` without any.
pub fn geometric_mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (count, sum) =
        values.into_iter().fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value.ln()));
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

/// The value below which this part of the numbers lies, by straight lines between them; 0 without any.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = part.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The probability that two groups of numbers from one source differ in rank as much as these or more, in either
/// direction: the exact distribution of the rank-sum test. Ties count half.
pub fn rank_sum(a: &[f64], b: &[f64]) -> f64 {
    let pairs = a.len() * b.len();
    let wins: f64 = a
        .iter()
        .flat_map(|x| b.iter().map(move |y| f64::from(u8::from(x < y)) + f64::from(u8::from(x == y)) / 2.0))
        .sum();
    let least = wins.min(pairs as f64 - wins).floor() as usize;
    // ways[m][u]: orders of m numbers of the one and n of the other group with u pairs won, for growing n.
    let mut ways = vec![vec![0.0f64; pairs + 1]; a.len() + 1];
    ways.iter_mut().for_each(|row| row[0] = 1.0);
    for n in 1..=b.len() {
        for m in 1..=a.len() {
            // The greatest of all is one of the other group, or of the first: then it has won n pairs.
            let smaller = ways[m - 1].clone();
            for u in n..=pairs {
                ways[m][u] += smaller[u - n];
            }
        }
    }
    let all: f64 = ways[a.len()].iter().sum();
    let extreme: f64 = ways[a.len()][..=least.min(pairs)].iter().sum();
    (2.0 * extreme / all).min(1.0)
}

/// The probability that differences of pairs from one source lean to one direction as much as these or more: the exact
/// distribution of Wilcoxon's signed-rank test, in which ranks above the half count as the half, so that a spoilt pair
/// has no great say. Equal distances rank by their order.
pub fn signed_rank(differences: &[f64]) -> f64 {
    let mut sorted = differences.to_vec();
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let weight = |rank: usize| rank.min(sorted.len().div_ceil(2));
    let ranks = |positive: bool| -> usize {
        let chosen = sorted.iter().enumerate().filter(|(_, difference)| (**difference > 0.0) == positive);
        chosen.map(|(n, _)| weight(n + 1)).sum()
    };
    let least = ranks(true).min(ranks(false));
    // ways[s]: choices of signs with this sum of positive ranks.
    let most = (1..=sorted.len()).map(weight).sum();
    let mut ways = vec![0.0f64; most + 1];
    ways[0] = 1.0;
    for rank in (1..=sorted.len()).map(weight) {
        for sum in (rank..=most).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let all: f64 = ways.iter().sum();
    (2.0 * ways[..=least].iter().sum::<f64>() / all).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn the_geometric_mean_of_a_ratio_and_its_reverse_is_one() {
        assert!((geometric_mean([4.0, 0.25]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean([]), None);
    }

    #[test]
    fn quantiles_lie_between_the_numbers() {
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0, 5.0], 0.25), 2.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.75), 1.75);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn rank_sums_are_those_of_the_tables() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(rank_sum(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 2.0 / 20.0));
        assert!(close(rank_sum(&[1.0, 2.0, 4.0], &[3.0, 5.0, 6.0]), 4.0 / 20.0));
        assert!(close(rank_sum(&[1.0, 3.0], &[2.0, 4.0]), 4.0 / 6.0));
        assert!(close(rank_sum(&[1.0; 4], &[1.0; 4]), 1.0));
        assert!(close(rank_sum(&[1.0], &[2.0]), 1.0));
    }

    #[test]
    fn signed_ranks_are_those_of_the_tables() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(signed_rank(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), 2.0 / 128.0));
        assert!(close(signed_rank(&[-1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), 4.0 / 128.0));
        assert!(close(signed_rank(&[1.0, -2.0]), 1.0));
        // Weights 1, 2, 2; by hand: of eight choices of signs, those with 0, 1 and 2 positive are 1, 1 and 2.
        assert!(close(signed_rank(&[1.0, 2.0, 3.0]), 2.0 / 8.0));
        assert!(close(signed_rank(&[1.0, 2.0, -30.0]), 1.0));
        assert!(close(signed_rank(&[]), 1.0));
    }
}
