//! A figure: what one subject took for one thing, at one size, on one runtime.

use serde::Serialize;

use crate::rounds::{Samples, Summary};

/// A figure, as it is printed in JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// The name of the bench.
    pub bench: &'static str,
    /// What was measured or observed.
    pub case: &'static str,
    /// How many tasks, waiters or connections.
    pub n: usize,
    /// The runtime's flavour, or `none`.
    pub runtime: String,
    /// The name of the subject.
    pub subject: &'static str,
    /// The number of rounds.
    pub rounds: usize,
    /// Wall time in nanoseconds, for each.
    pub ns: Option<f64>,
    /// Its quartiles over the rounds.
    pub ns_quartiles: Option<[f64; 2]>,
    /// CPU time in nanoseconds, for each.
    pub cpu_ns: Option<f64>,
    /// The wall time as a multiple of the floor's.
    pub ratio_to_floor: Option<f64>,
    /// Its quartiles over the rounds.
    pub ratio_to_floor_quartiles: Option<[f64; 2]>,
    /// Our wall time as a multiple of this one's.
    pub ratio_of_sundown: Option<f64>,
    /// By how much the live heap grew, for each.
    pub bytes: Option<f64>,
    /// What was seen, if that is not a time.
    pub observed: Option<String>,
}

impl Figure {
    /// A figure without a value.
    pub fn new(
        bench: &'static str,
        case: &'static str,
        n: usize,
        runtime: impl ToString,
        subject: &'static str,
    ) -> Self {
        Self {
            bench,
            case,
            n,
            runtime: runtime.to_string(),
            subject,
            rounds: 0,
            ns: None,
            ns_quartiles: None,
            cpu_ns: None,
            ratio_to_floor: None,
            ratio_to_floor_quartiles: None,
            ratio_of_sundown: None,
            bytes: None,
            observed: None,
        }
    }

    /// The same figure with what was measured.
    pub fn measured(self, summary: Summary) -> Self {
        let finite = |value: f64| value.is_finite().then_some((value * 1000.0).round() / 1000.0);
        let both = |[low, high]: [f64; 2]| Some([finite(low)?, finite(high)?]);
        Self {
            rounds: summary.rounds,
            ns: finite(summary.ns.median),
            ns_quartiles: both(summary.ns.quartiles),
            cpu_ns: finite(summary.cpu_ns),
            ratio_to_floor: finite(summary.ratio_to_floor.median),
            ratio_to_floor_quartiles: both(summary.ratio_to_floor.quartiles),
            ratio_of_sundown: finite(summary.ratio_of_sundown),
            ..self
        }
    }

    /// The figures of one case of a measurement: one for each subject. The first subject is the floor.
    pub fn of_case<const CASES: usize>(
        bench: &'static str,
        (at, case): (usize, &'static str),
        n: usize,
        runtime: impl ToString,
        samples: &Samples<CASES>,
    ) -> Vec<Self> {
        let runtime = runtime.to_string();
        let figure = |(subject, name): (usize, &&'static str)| {
            Self::new(bench, case, n, &runtime, name).measured(samples.summary(subject, at, 0))
        };
        samples.subjects.iter().enumerate().map(figure).collect()
    }
}
