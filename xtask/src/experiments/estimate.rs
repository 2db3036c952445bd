//! How long the rest of a run takes. What a trial costs differs a thousandfold between experiments, so
//! trials cannot be counted for it: the estimate rests on how long each experiment took in the committed
//! results, and on how much faster or slower this run is.

use std::{collections::BTreeMap, fs, time::Duration};

use serde::Deserialize;

use crate::{
    results,
    workspace::{Source, Workspace},
};

/// No estimate before so many experiments have ended, and have taken this time in all.
const FEWEST: usize = 4;
const SHORTEST: Duration = Duration::from_secs(5);

/// What an experiment may take of which nothing is known, in seconds.
const UNKNOWN: f64 = 5.0;

pub struct Estimate {
    /// By the id of those that have not ended, in seconds.
    expected: BTreeMap<String, f64>,
    ended: usize,
    /// What those that have ended were expected to take, and have taken.
    was_expected: f64,
    took: f64,
}

impl Estimate {
    pub fn of(sources: &[Source], workspace: &Workspace) -> Self {
        let expected = |source: &Source| {
            let seconds = committed_seconds(source, workspace).unwrap_or(UNKNOWN);
            (source.id.clone(), seconds.max(0.01))
        };
        let expected = sources.iter().map(expected).collect();
        Self { expected, ended: 0, was_expected: 0.0, took: 0.0 }
    }

    /// An experiment ran to its end. While others were being built, it took longer than it would alone: its pace
    /// does not count.
    pub fn ended(&mut self, source: &Source, took: Duration, during_a_build: bool) {
        if let Some(expected) = self.expected.remove(&source.id)
            && !during_a_build
        {
            self.ended += 1;
            self.was_expected += expected;
            self.took += took.as_secs_f64();
        }
    }

    /// An experiment does not run.
    pub fn left_out(&mut self, source: &Source) {
        self.expected.remove(&source.id);
    }

    /// How long the rest takes, if that can be known: with the part of the current one that is done.
    pub fn rest(&self, current: &Source, done: f64) -> Option<String> {
        if self.ended < FEWEST || self.took < SHORTEST.as_secs_f64() {
            return None;
        }
        let current = self.expected.get(&current.id).map_or(0.0, |it| it * done);
        let rest = self.expected.values().sum::<f64>() - current;
        Some(rounded(rest * self.took / self.was_expected))
    }
}

/// No more exact than it is.
fn rounded(seconds: f64) -> String {
    match seconds {
        it if it < 10.0 => "a few seconds".to_owned(),
        it if it < 60.0 => format!("about {:.0} s", (it / 10.0).round() * 10.0),
        it if it < 3600.0 => format!("about {:.0} min", (it / 60.0).ceil()),
        _ => "more than an hour".to_owned(),
    }
}

/// How long an experiment took in the committed results.
fn committed_seconds(source: &Source, workspace: &Workspace) -> Option<f64> {
    #[derive(Deserialize)]
    struct Record {
        experiment: Experiment,
    }
    #[derive(Deserialize)]
    struct Experiment {
        seconds: f64,
    }
    let text = fs::read(results::committed(workspace, source)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    Some(record.experiment.seconds).filter(|seconds| seconds.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_estimate_until_enough_has_ended_and_then_it_follows_the_pace() {
        let sources: Vec<_> =
            (1..=9).map(|it| Source::named(&format!("{it:02}_a")).unwrap()).collect();
        let expected = sources.iter().map(|it| (it.id.clone(), 10.0)).collect();
        let mut estimate = Estimate { expected, ended: 0, was_expected: 0.0, took: 0.0 };
        let early = Source::named("00_early").unwrap();
        estimate.expected.insert(early.id.clone(), 10.0);
        estimate.ended(&early, Duration::from_secs(90), true);
        for source in sources.iter().take(FEWEST) {
            assert_eq!(estimate.rest(&sources[8], 0.0), None);
            estimate.ended(source, Duration::from_secs(20), false);
        }
        // Five are left, of 10 s each, at half the pace.
        assert_eq!(estimate.rest(&sources[8], 0.0).unwrap(), "about 2 min");
        estimate.left_out(&sources[4]);
        estimate.left_out(&sources[5]);
        estimate.left_out(&sources[6]);
        assert_eq!(estimate.rest(&sources[8], 0.0).unwrap(), "about 40 s");
        assert_eq!(estimate.rest(&sources[8], 0.5).unwrap(), "about 30 s");
        estimate.left_out(&sources[7]);
        assert_eq!(estimate.rest(&sources[8], 0.9).unwrap(), "a few seconds");
    }
}
