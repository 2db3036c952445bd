//! The few statistics that a report needs.

/// The standard score of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// The Wilson score interval, at 95 %, of a rate of which `hits` of `trials` are evidence.
///
/// Unlike the textbook interval it says something sensible at the ends: of 0 hits in 20 trials it
/// makes `0.000…0.161`, not `0…0`. No trials at all tell nothing: `0…1`. (E. B. Wilson, 1927.)
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
    // The ends are exact where nothing or everything hit; rounding must not blur that.
    let low = if hits == 0 { 0.0 } else { ((middle - spread) / scale).max(0.0) };
    let high = if hits >= trials { 1.0 } else { ((middle + spread) / scale).min(1.0) };
    (low, high)
}

/// The highest rate that `trials` without a single hit leave room for, at 95 %: at any higher one,
/// fewer than one run in twenty would see none. Close to three divided by the trials, which is
/// known as the rule of three; after no trials at all, 1.
///
/// ```
/// assert!((lab::statistics::room_left_by_none(50) - 0.058).abs() < 0.001);
/// ```
#[must_use]
pub fn room_left_by_none(trials: u32) -> f64 {
    if trials == 0 { 1.0 } else { 1.0 - 0.05_f64.powf(1.0 / f64::from(trials)) }
}

/// How often something was seen, and in how many trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How often.
    pub hits: u32,
    /// Of how many; never fewer than the hits.
    pub trials: u32,
}

impl Share {
    fn rate(self) -> f64 {
        if self.trials == 0 { 0.0 } else { f64::from(self.hits) / f64::from(self.trials) }
    }
}

/// The probability, if the rates behind two shares were the same, of shares that are at least as
/// unlikely as these: Fisher's exact test, two-sided. It assumes nothing of how large the numbers
/// are, and so holds for the small ones of which a rare failure consists.
#[must_use]
pub fn fisher(one: Share, other: Share) -> f64 {
    let (first, second) = (u64::from(one.trials), u64::from(other.trials));
    let hits = u64::from(one.hits) + u64::from(other.hits);
    let trials = first + second;
    let factorials = LogFactorials::up_to(trials);
    // The probability of this many of the hits among the first trials: the hypergeometric one.
    let probability = |among_first: u64| {
        let log = factorials.choose(first, among_first)
            + factorials.choose(second, hits - among_first)
            - factorials.choose(trials, hits);
        log.exp()
    };
    let observed = probability(u64::from(one.hits));
    // Rounding must not exclude what is exactly as unlikely.
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

    /// The logarithm of the number of ways to choose so many of all.
    fn choose(&self, all: u64, chosen: u64) -> f64 {
        self.of(all) - self.of(chosen) - self.of(all - chosen)
    }
}

/// The difference between two rates, the first less the second, and its interval at 95 %, made of
/// the two Wilson intervals. (R. G. Newcombe, 1998, "hybrid score".)
#[must_use]
pub fn difference(one: Share, other: Share) -> (f64, [f64; 2]) {
    let (rate, (low, high)) = (one.rate(), wilson(one.hits, one.trials));
    let (other_rate, (other_low, other_high)) = (other.rate(), wilson(other.hits, other.trials));
    let difference = rate - other_rate;
    let below = (rate - low).hypot(other_high - other_rate);
    let above = (high - rate).hypot(other_rate - other_low);
    (difference, [(difference - below).max(-1.0), (difference + above).min(1.0)])
}

/// The smallest, the middle and the largest of some numbers; `None` of no numbers.
///
/// The middle of an even number of values is the lower of the two, so that it is a value that
/// really occurred.
#[must_use]
pub fn spread(mut values: Vec<i64>) -> Option<(i64, i64, i64)> {
    values.sort_unstable();
    let (first, last) = (*values.first()?, *values.last()?);
    let median = *values.get((values.len() - 1) / 2)?;
    Some((first, median, last))
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
    fn none_leaves_room_for_about_three_divided_by_the_trials() {
        for trials in [100, 300, 1000] {
            let room = room_left_by_none(trials);
            assert!((room * f64::from(trials) - 3.0).abs() < 0.05, "{trials}: {room}");
            let chance_of_none = (1.0 - room).powf(f64::from(trials));
            assert!((chance_of_none - 0.05).abs() < 1e-9);
        }
        assert_eq!(room_left_by_none(0), 1.0);
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

    #[test]
    fn the_median_is_a_value_that_occurred() {
        assert_eq!(spread(vec![4, 1, 3, 2]), Some((1, 2, 4)));
        assert_eq!(spread(vec![7]), Some((7, 7, 7)));
        assert_eq!(spread(Vec::new()), None);
    }
}
