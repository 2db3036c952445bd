//! The few statistics that a report needs.

/// The standard score of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// The Wilson score interval, at 95 %, of a rate, given `hits` in `trials`.
///
/// Unlike the textbook interval it is sensible at the ends: 0 hits in 20 trials give `0.000…0.161`,
/// not `0…0`. No trials at all give `0…1`. (E. B. Wilson, 1927.)
///
/// ```
/// let (low, high) = lab::statistics::wilson(0, 20);
/// assert_eq!(low, 0.0);
/// assert!((high - 0.161).abs() < 0.001);
/// ```
#[must_use]
pub fn wilson(hits: u32, trials: u32) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let n = f64::from(trials);
    let rate = f64::from(hits.min(trials)) / n;
    let middle = rate + Z * Z / (2.0 * n);
    let spread = Z * (rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    // With no hits, or nothing but hits, one end is exact; rounding must not blur it.
    let low = if hits == 0 { 0.0 } else { ((middle - spread) / scale).max(0.0) };
    let high = if hits >= trials { 1.0 } else { ((middle + spread) / scale).min(1.0) };
    (low, high)
}

/// The upper bound, at 95 %, of the failure rate after `trials` without a failure. At any higher rate,
/// fewer than one run in twenty would have no failure. It is close to three divided by the number of
/// trials (the rule of three). Without trials it is 1.
///
/// ```
/// assert!((lab::statistics::failure_rate_upper_bound(50) - 0.058).abs() < 0.001);
/// ```
#[must_use]
pub fn failure_rate_upper_bound(trials: u32) -> f64 {
    if trials == 0 { 1.0 } else { 1.0 - 0.05_f64.powf(1.0 / f64::from(trials)) }
}

/// Hits among trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many trials hit.
    pub hits: u32,
    /// How many trials there were, at least as many as hits.
    pub trials: u32,
}

impl Share {
    fn rate(self) -> f64 {
        if self.trials == 0 { 0.0 } else { f64::from(self.hits) / f64::from(self.trials) }
    }
}

/// Fisher's exact test, two-sided: the probability of shares at least as unlikely as these, if the
/// rates behind them were the same. It holds for small numbers too, and those of a rare failure are
/// small.
#[must_use]
pub fn fisher(one: Share, other: Share) -> f64 {
    let (first, second) = (u64::from(one.trials), u64::from(other.trials));
    let hits = u64::from(one.hits) + u64::from(other.hits);
    let trials = first + second;
    let factorials = LogFactorials::up_to(trials);
    // The hypergeometric probability of this many of the hits among the first trials.
    let probability = |among_first: u64| {
        let log = factorials.choose(first, among_first)
            + factorials.choose(second, hits - among_first)
            - factorials.choose(trials, hits);
        log.exp()
    };
    let observed = probability(u64::from(one.hits));
    // Rounding must not exclude a share that is exactly as unlikely.
    let at_most = observed * (1.0 + 1e-7);
    let possible = hits.saturating_sub(second)..=hits.min(first);
    possible.map(probability).filter(|p| *p <= at_most).sum::<f64>().min(1.0)
}

/// The logarithms of factorials.
struct LogFactorials(Vec<f64>);

impl LogFactorials {
    fn up_to(most: u64) -> Self {
        let mut log = 0.0;
        let rest = (1..=most).map(|number| {
            log += (number as f64).ln();
            log
        });
        Self(std::iter::once(0.0).chain(rest).collect())
    }

    fn of(&self, number: u64) -> f64 {
        usize::try_from(number).ok().and_then(|at| self.0.get(at)).copied().unwrap_or(f64::NAN)
    }

    /// The logarithm of the binomial coefficient.
    fn choose(&self, all: u64, chosen: u64) -> f64 {
        self.of(all) - self.of(chosen) - self.of(all - chosen)
    }
}

/// The first rate minus the second, with its interval at 95 %, which is made from the two Wilson
/// intervals. (R. G. Newcombe, 1998, "hybrid score".)
#[must_use]
pub fn difference(one: Share, other: Share) -> (f64, [f64; 2]) {
    let (rate, (low, high)) = (one.rate(), wilson(one.hits, one.trials));
    let (other_rate, (other_low, other_high)) = (other.rate(), wilson(other.hits, other.trials));
    let difference = rate - other_rate;
    let below = (rate - low).hypot(other_high - other_rate);
    let above = (high - rate).hypot(other_rate - other_low);
    (difference, [(difference - below).max(-1.0), (difference + above).min(1.0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: (f64, f64), expected: (f64, f64)) {
        assert!((found.0 - expected.0).abs() < 5e-4, "{found:?} is not {expected:?}");
        assert!((found.1 - expected.1).abs() < 5e-4, "{found:?} is not {expected:?}");
    }

    #[test]
    fn the_interval_agrees_with_published_values() {
        // Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
        assert_close(wilson(81, 263), (0.2553, 0.3662));
        assert_close(wilson(15, 148), (0.0624, 0.1605));
        assert_close(wilson(0, 20), (0.0, 0.1611));
        assert_close(wilson(1, 29), (0.0061, 0.1718));
    }

    #[test]
    fn the_interval_is_symmetric_and_keeps_its_ends() {
        let (low, high) = wilson(3, 10);
        assert_close(wilson(7, 10), (1.0 - high, 1.0 - low));
        assert_eq!(wilson(20, 20).1, 1.0);
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn the_upper_bound_is_about_three_divided_by_the_trials() {
        for trials in [100, 300, 1000] {
            let bound = failure_rate_upper_bound(trials);
            assert!((bound * f64::from(trials) - 3.0).abs() < 0.05, "{trials}: {bound}");
            let chance_of_none = (1.0 - bound).powf(f64::from(trials));
            assert!((chance_of_none - 0.05).abs() < 1e-9);
        }
        assert_eq!(failure_rate_upper_bound(0), 1.0);
    }

    fn share(hits: u32, trials: u32) -> Share {
        Share { hits, trials }
    }

    #[test]
    fn the_exact_test_agrees_with_published_values() {
        // Fisher's own: a lady who names three cups of four.
        assert!((fisher(share(3, 4), share(1, 4)) - 0.485_7).abs() < 5e-5);
        // Two-sided, as R's fisher.test(matrix(c(1, 11, 9, 3), 2)) gives it.
        assert!((fisher(share(1, 10), share(11, 14)) - 0.002_759).abs() < 5e-7);
        assert!((fisher(share(5, 50), share(5, 50)) - 1.0).abs() < 1e-9);
        assert_eq!(fisher(share(0, 20), share(0, 30)), 1.0);
        assert_eq!(fisher(share(0, 0), share(3, 3)), 1.0);
    }

    #[test]
    fn the_exact_test_does_not_mind_the_order() {
        let (one, other) = (share(12, 50), share(1, 40));
        assert!((fisher(one, other) - fisher(other, one)).abs() < 1e-12);
        assert!(fisher(one, other) < 0.05);
    }

    #[test]
    fn the_difference_agrees_with_published_values() {
        // Newcombe, "Interval estimation for the difference between independent proportions",
        // 1998, table II, method 10.
        for (one, other, expected) in [
            ((56, 70), (48, 80), (0.2, 0.0524, 0.3339)),
            ((9, 10), (3, 10), (0.6, 0.1705, 0.8090)),
            ((10, 10), (0, 10), (1.0, 0.6075, 1.0)),
        ] {
            let (found, [low, high]) = difference(share(one.0, one.1), share(other.0, other.1));
            assert!((found - expected.0).abs() < 1e-9, "{found}");
            assert_close((low, high), (expected.1, expected.2));
        }
    }
}
