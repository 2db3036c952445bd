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
    fn the_median_is_a_value_that_occurred() {
        assert_eq!(spread(vec![4, 1, 3, 2]), Some((1, 2, 4)));
        assert_eq!(spread(vec![7]), Some((7, 7, 7)));
        assert_eq!(spread(Vec::new()), None);
    }
}
