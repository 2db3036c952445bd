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

/// The least that one is expected to take: what a process for it takes is not in its result.
const SHORTEST_EXPECTED: f64 = 0.5;

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
            (source.id.clone(), seconds.max(SHORTEST_EXPECTED))
        };
        let expected = sources.iter().map(expected).collect();
        Self { expected, ended: 0, was_expected: 0.0, took: 0.0 }
    }

    /// An experiment ran to its end, this long after the one before. While others were being built, that is longer than
    /// it would be otherwise: its pace does not count.
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

    /// How long the rest takes, if that can be known: with how many trials of those that run have ended, of how many.
    pub fn rest(&self, running: &BTreeMap<String, (u64, u64)>) -> Option<String> {
        if self.ended < FEWEST || self.took < SHORTEST.as_secs_f64() {
            return None;
        }
        let done = running.iter().map(|(id, (ended, all))| {
            let expected = self.expected.get(id).copied().unwrap_or_default();
            expected * *ended as f64 / (*all).max(1) as f64
        });
        let rest = self.expected.values().sum::<f64>() - done.sum::<f64>();
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
        let nothing = BTreeMap::new();
        for source in sources.iter().take(FEWEST) {
            assert_eq!(estimate.rest(&nothing), None);
            estimate.ended(source, Duration::from_secs(20), false);
        }
        // Five are left, of 10 s each, at half the pace.
        assert_eq!(estimate.rest(&nothing).unwrap(), "about 2 min");
        estimate.left_out(&sources[4]);
        estimate.left_out(&sources[5]);
        estimate.left_out(&sources[6]);
        assert_eq!(estimate.rest(&nothing).unwrap(), "about 40 s");
        let mut running = BTreeMap::from([(sources[8].id.clone(), (1, 2))]);
        assert_eq!(estimate.rest(&running).unwrap(), "about 30 s");
        // Two run side by side.
        running.insert(sources[7].id.clone(), (9, 12));
        assert_eq!(estimate.rest(&running).unwrap(), "about 20 s");
        running.insert(sources[8].id.clone(), (9, 10));
        assert_eq!(estimate.rest(&running).unwrap(), "a few seconds");
    }
}
