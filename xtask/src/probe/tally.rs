//! The trials of one command, counted: what is known of them takes no more room the longer they go
//! on, but for eight bytes each.

use std::collections::BTreeMap;

use lab::{Outcomes, Spread};

use super::trial::{Trial, Way};

/// The trials of one command, counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    outcomes: Outcomes,
    failures: BTreeMap<Way, Counted>,
    /// How long the clean ones took, in microseconds.
    clean_micros: Vec<i64>,
    cut: u32,
}

/// The trials that failed in one way.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// How many.
    pub trials: u32,
    /// The number of the first, and its seed.
    pub first: (u32, u64),
}

impl Tally {
    /// Counts one more trial, and says whether it is the first that failed in its way.
    pub fn add(&mut self, trial: &Trial) -> bool {
        self.outcomes.add(trial.way.outcome);
        self.cut += u32::from(trial.is_cut);
        if !trial.way.is_failure() {
            self.clean_micros.push(i64::try_from(trial.wall.as_micros()).unwrap_or(i64::MAX));
            return false;
        }
        let first = (trial.number, trial.seed);
        let counted =
            self.failures.entry(trial.way.clone()).or_insert(Counted { trials: 0, first });
        counted.trials += 1;
        counted.first = counted.first.min(first);
        counted.trials == 1
    }

    /// How they ended.
    pub const fn outcomes(&self) -> Outcomes {
        self.outcomes
    }

    /// The ways in which they failed, the most frequent first.
    pub fn failures(&self) -> Vec<(&Way, Counted)> {
        let mut failures: Vec<_> =
            self.failures.iter().map(|(way, counted)| (way, *counted)).collect();
        failures.sort_by_key(|(_, it)| (std::cmp::Reverse(it.trials), it.first));
        failures
    }

    /// How long the clean ones took, in microseconds.
    pub fn clean_micros(&self) -> Option<Spread> {
        Spread::of(self.clean_micros.clone())
    }

    /// Of how many the standard error was too long to be looked at in full.
    pub const fn cut(&self) -> u32 {
        self.cut
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lab::Outcome;

    use super::*;

    fn trial(number: u32, ending: &str, outcome: Outcome) -> Trial {
        let (panics, says) = (Vec::new(), None);
        let way = Way { outcome, ending: ending.to_owned(), panics, says };
        let wall = Duration::from_micros(number.into());
        Trial { number, seed: u64::from(number) * 10, way, wall, is_cut: false }
    }

    #[test]
    fn failures_are_counted_by_way_whatever_the_order_in_which_they_end() {
        let mut tally = Tally::default();
        let news: Vec<_> = [(4, "SIGABRT"), (2, "SIGSEGV"), (1, "SIGABRT"), (3, "SIGABRT")]
            .map(|(number, ending)| tally.add(&trial(number, ending, Outcome::Aborted)))
            .to_vec();
        assert_eq!(news, [true, true, false, false]);
        assert!(!tally.add(&trial(7, "exit code 0", Outcome::Clean)));
        let found: Vec<_> =
            tally.failures().iter().map(|(way, it)| (&*way.ending, it.trials, it.first)).collect();
        assert_eq!(found, [("SIGABRT", 3, (1, 10)), ("SIGSEGV", 1, (2, 20))]);
        assert_eq!(tally.outcomes().total(), 5);
        assert_eq!(tally.clean_micros().map(|spread| spread.median), Some(7));
    }
}
