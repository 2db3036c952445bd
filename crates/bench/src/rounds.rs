//! Interleaved rounds: in each of them every subject is measured once, so that whatever else the
//! machine does strikes all of them alike, and ratios are taken within a round.

use crate::clock::Took;

/// Which orders the rounds have.
const SEED: u64 = 0x5EED;

/// What one subject took in one round, in nanoseconds per unit of work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// By the clock on the wall.
    pub wall: f64,
    /// Of the processors.
    pub cpu: f64,
}

impl Sample {
    /// What each of so many units took.
    pub fn per(took: Took, units: usize) -> Self {
        let units = units.max(1) as f64;
        Self { wall: took.wall.as_nanos() as f64 / units, cpu: took.cpu.as_nanos() as f64 / units }
    }
}

/// What a subject comes to, over all rounds.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// How many rounds those were.
    pub rounds: usize,
    /// The time on the wall.
    pub ns: Middle,
    /// The median of the processors' time.
    pub cpu_ns: f64,
    /// The ratios to the floor of the same round.
    pub ratio_to_floor: Middle,
    /// The median of the ratios of ours to this one: below one where ours is faster.
    pub ratio_of_sundown: f64,
}

/// Where the middle of some values is, and where half of them lie around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Middle {
    /// The median.
    pub median: f64,
    /// The first and the third quartile.
    pub quartiles: [f64; 2],
}

/// Which of the subjects everybody is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    /// The place of the floor.
    pub floor: usize,
    /// The place of ours.
    pub sundown: Option<usize>,
}

/// Measures subjects in interleaved rounds: by subject, by round. One round comes before, to warm
/// up. In each the order is another, so that nobody always pays for what the same other one left
/// behind in the heap and the caches; which orders is the same in every run.
pub fn interleaved<S, const CASES: usize>(
    rounds: usize,
    subjects: &[S],
    mut measure: impl FnMut(&S) -> [Sample; CASES],
) -> Vec<Vec<[Sample; CASES]>> {
    let mut samples: Vec<_> = subjects.iter().map(|_| Vec::with_capacity(rounds)).collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut order: Vec<_> = (0..subjects.len()).collect();
    for round in 0..=rounds {
        random.shuffle(&mut order);
        for &at in &order {
            let sample = measure(&subjects[at]);
            if round > 0 {
                samples[at].push(sample);
            }
        }
    }
    samples
}

/// Sums up one case of one subject.
pub fn summary<const CASES: usize>(
    samples: &[Vec<[Sample; CASES]>],
    subject: usize,
    case: usize,
    reference: Reference,
) -> Summary {
    let of = |subject: usize| samples[subject].iter().map(move |round| round[case]);
    let ratios = |one, other| middle(of(one).zip(of(other)).map(|(a, b)| a.wall / b.wall));
    let ours = reference.sundown.map(|sundown| ratios(sundown, subject));
    Summary {
        rounds: samples[subject].len(),
        ns: middle(of(subject).map(|sample| sample.wall)),
        cpu_ns: middle(of(subject).map(|sample| sample.cpu)).median,
        ratio_to_floor: ratios(subject, reference.floor),
        ratio_of_sundown: ours.map_or(f64::NAN, |ours| ours.median),
    }
}

/// The same, with what is added to the floor in place of the whole.
pub fn added<const CASES: usize>(
    samples: &[Vec<[Sample; CASES]>],
    subject: usize,
    case: usize,
    reference: Reference,
) -> Summary {
    let of = |subject: usize| samples[subject].iter().map(move |round| round[case]);
    let pairs = || of(subject).zip(of(reference.floor));
    Summary {
        ns: middle(pairs().map(|(sample, floor)| sample.wall - floor.wall)),
        cpu_ns: middle(pairs().map(|(sample, floor)| sample.cpu - floor.cpu)).median,
        ..summary(samples, subject, case, reference)
    }
}

/// The median and the quartiles; where these fall between two values, on the line between them.
fn middle(values: impl Iterator<Item = f64>) -> Middle {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| {
        let steps = quarter * values.len().saturating_sub(1);
        let low = values.get(steps / 4).copied().unwrap_or(f64::NAN);
        let high = values.get(steps / 4 + 1).copied().unwrap_or(low);
        low + (high - low) * (steps % 4) as f64 / 4.0
    };
    Middle { median: at(2), quartiles: [at(1), at(3)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_half_of_all_lies_between_the_quartiles() {
        let of = |values: &[f64]| middle(values.iter().copied());
        assert_eq!(of(&[3.0, 1.0, 2.0]), Middle { median: 2.0, quartiles: [1.5, 2.5] });
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(of(&[5.0, 1.0, 4.0, 2.0, 3.0]).quartiles, [2.0, 4.0]);
        assert_eq!(of(&[7.0]), Middle { median: 7.0, quartiles: [7.0, 7.0] });
        assert!(of(&[]).median.is_nan());
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was ten times slower in the second round, for both.
        let sample = |wall| [Sample { wall, cpu: 0.0 }];
        let samples = [vec![sample(10.0), sample(100.0)], vec![sample(20.0), sample(200.0)]];
        let reference = Reference { floor: 0, sundown: None };
        assert_eq!(summary(&samples, 1, 0, reference).ratio_to_floor.median, 2.0);
        assert_eq!(added(&samples, 1, 0, reference).ns.median, 55.0);
    }

    #[test]
    fn every_subject_is_measured_once_a_round() {
        let mut order = Vec::new();
        let samples = interleaved(2, &[0, 1, 2], |subject| {
            order.push(*subject);
            [Sample::default()]
        });
        for round in order.chunks_mut(3) {
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2]);
        }
        assert_eq!(order.len(), 9);
        assert!(samples.iter().all(|rounds| rounds.len() == 2));
    }
}
