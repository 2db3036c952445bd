//! Interleaved rounds: each round measures every subject once. So whatever else the machine does
//! affects all of them alike, and ratios are taken within a round.

use std::io;

use crate::clock::Took;

/// Determines the orders of the rounds.
const SEED: u64 = 0x5EED;

/// What one subject took in one round, in nanoseconds per unit of work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Wall time.
    pub wall: f64,
    /// CPU time.
    pub cpu: f64,
}

impl Sample {
    /// What each of these units took.
    pub fn per(took: Took, units: usize) -> Self {
        let units = units.max(1) as f64;
        Self { wall: took.wall.as_nanos() as f64 / units, cpu: took.cpu.as_nanos() as f64 / units }
    }
}

/// The result of one subject over all rounds.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// The number of rounds.
    pub rounds: usize,
    /// The wall time.
    pub ns: Middle,
    /// The median of the CPU time.
    pub cpu_ns: f64,
    /// The ratios to the floor of the same round.
    pub ratio_to_floor: Middle,
    /// The median of the ratios of ours to this one: below one if ours is faster.
    pub ratio_of_sundown: f64,
}

/// The middle of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Middle {
    /// The median.
    pub median: f64,
    /// The first and the third quartile.
    pub quartiles: [f64; 2],
}

/// What was measured, by subject and by round.
pub struct Samples<const CASES: usize> {
    /// The names of the subjects.
    pub subjects: Vec<&'static str>,
    rounds: Vec<Vec<[Sample; CASES]>>,
}

/// Measures subjects in interleaved rounds, after one round to warm up.
///
/// Each round has another order, so that no subject always pays for what the same other one left
/// behind in the heap and the caches. The orders are the same in every run.
pub fn interleaved<S, const CASES: usize>(
    rounds: usize,
    subjects: &[S],
    name: impl Fn(&S) -> &'static str,
    mut measure: impl FnMut(&S) -> io::Result<[Sample; CASES]>,
) -> io::Result<Samples<CASES>> {
    let mut samples: Vec<_> = subjects.iter().map(|_| Vec::with_capacity(rounds)).collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut order: Vec<_> = (0..subjects.len()).collect();
    for round in 0..=rounds {
        random.shuffle(&mut order);
        for &at in &order {
            let sample = measure(&subjects[at])?;
            if round > 0 {
                samples[at].push(sample);
            }
        }
    }
    Ok(Samples { subjects: subjects.iter().map(name).collect(), rounds: samples })
}

impl<const CASES: usize> Samples<CASES> {
    /// The place of a subject, if it was measured.
    pub fn place(&self, subject: &str) -> Option<usize> {
        self.subjects.iter().position(|name| *name == subject)
    }

    fn of(&self, subject: usize, case: usize) -> impl Iterator<Item = Sample> {
        self.rounds[subject].iter().map(move |round| round[case])
    }

    /// Sums up one case of one subject.
    pub fn summary(&self, subject: usize, case: usize, floor: usize) -> Summary {
        let of = |subject| self.of(subject, case);
        let ratios = |one, other| middle(of(one).zip(of(other)).map(|(a, b)| a.wall / b.wall));
        let ours = self.place("sundown").map(|sundown| ratios(sundown, subject));
        Summary {
            rounds: self.rounds[subject].len(),
            ns: middle(of(subject).map(|sample| sample.wall)),
            cpu_ns: middle(of(subject).map(|sample| sample.cpu)).median,
            ratio_to_floor: ratios(subject, floor),
            ratio_of_sundown: ours.map_or(f64::NAN, |ours| ours.median),
        }
    }

    /// The same, but the times are what is added to the floor.
    pub fn added(&self, subject: usize, case: usize, floor: usize) -> Summary {
        let pairs = || self.of(subject, case).zip(self.of(floor, case));
        Summary {
            ns: middle(pairs().map(|(sample, floor)| sample.wall - floor.wall)),
            cpu_ns: middle(pairs().map(|(sample, floor)| sample.cpu - floor.cpu)).median,
            ..self.summary(subject, case, floor)
        }
    }
}

/// The median and the quartiles, interpolated if they fall between two values.
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
        let rounds = vec![vec![sample(10.0), sample(100.0)], vec![sample(20.0), sample(200.0)]];
        let samples = Samples { subjects: vec!["floor", "other"], rounds };
        assert_eq!(samples.summary(1, 0, 0).ratio_to_floor.median, 2.0);
        assert_eq!(samples.added(1, 0, 0).ns.median, 55.0);
    }

    #[test]
    fn every_subject_is_measured_once_a_round() {
        let mut order = Vec::new();
        let samples = interleaved(
            2,
            &["a", "b", "c"],
            |name| name,
            |subject| {
                order.push(*subject);
                Ok([Sample::default()])
            },
        );
        for round in order.chunks_mut(3) {
            round.sort_unstable();
            assert_eq!(round, ["a", "b", "c"]);
        }
        assert_eq!(order.len(), 9);
        assert!(samples.unwrap().rounds.iter().all(|rounds| rounds.len() == 2));
    }
}
