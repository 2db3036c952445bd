//! What an experiment predicts of a variant, and what the counts then say.

use std::fmt;

use crate::outcome::{Outcome, Outcomes};

/// What is predicted of the trials of one variant, before they run. An [`Outcome`] alone predicts that
/// every trial ends so.
///
/// ```
/// use lab::{Outcome, Prediction, seen};
///
/// let certain = Prediction::from(Outcome::Aborted);
/// assert_eq!(certain.to_string(), "always aborted");
/// let race = seen(Outcome::Panicked).allowing([Outcome::Clean]);
/// assert_eq!(race.to_string(), "seen panicked (clean allowed)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// Every trial ends this way.
    Always(Outcome),
    /// A true race: at least one trial ends this way, and the others only in ways that are allowed.
    Seen {
        /// The outcome that must occur.
        outcome: Outcome,
        /// The other outcomes that may occur.
        allowed: Vec<Outcome>,
    },
}

impl From<Outcome> for Prediction {
    fn from(outcome: Outcome) -> Self {
        Self::Always(outcome)
    }
}

/// Predicts a race: at least one trial ends this way. See [`Prediction::allowing`].
#[must_use]
pub const fn seen(outcome: Outcome) -> Prediction {
    Prediction::Seen { outcome, allowed: Vec::new() }
}

impl Prediction {
    /// Allows other outcomes than the predicted one. Has an effect only on a race.
    #[must_use]
    pub fn allowing(self, others: impl IntoIterator<Item = Outcome>) -> Self {
        match self {
            Self::Seen { outcome, .. } => {
                let mut allowed: Vec<_> = others.into_iter().filter(|o| *o != outcome).collect();
                allowed.sort_unstable();
                allowed.dedup();
                Self::Seen { outcome, allowed }
            }
            certain => certain,
        }
    }

    /// The outcome that the prediction is about.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Always(outcome) | Self::Seen { outcome, .. } => *outcome,
        }
    }

    /// Whether this is a race, whose trials no option may reduce.
    pub(crate) const fn is_race(&self) -> bool {
        matches!(self, Self::Seen { .. })
    }

    /// Whether a single trial may end this way without contradicting the prediction.
    pub(crate) fn admits(&self, found: Outcome) -> bool {
        match self {
            Self::Always(outcome) => found == *outcome,
            Self::Seen { outcome, allowed } => found == *outcome || allowed.contains(&found),
        }
    }

    /// Whether the counts are as predicted.
    pub(crate) fn holds(&self, counts: &Outcomes) -> bool {
        counts.count(self.outcome()) > 0 && counts.seen().all(|outcome| self.admits(outcome))
    }

    /// Classifies the counts by the terms of the prediction.
    pub(crate) fn classify(&self, counts: &Outcomes) -> Class {
        let seen: Vec<_> = counts.seen().collect();
        match (self, &seen[..]) {
            (_, []) => Class::NotRun,
            (Self::Always(_), [only]) => Class::Always(*only),
            (Self::Always(_), _) => Class::Mixed(seen),
            (Self::Seen { outcome, .. }, seen) if !seen.contains(outcome) => Class::Never(*outcome),
            (Self::Seen { outcome, allowed }, seen) => Class::Seen {
                outcome: *outcome,
                allowed: allowed.clone(),
                unexpected: seen.iter().copied().filter(|found| !self.admits(*found)).collect(),
            },
        }
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(outcome) => write!(f, "always {outcome}"),
            Self::Seen { outcome, allowed } => write_seen(f, *outcome, allowed),
        }
    }
}

/// The class of a variant's counts: their stable part, which a snapshot may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// All trials ended this way.
    Always(Outcome),
    /// No trial of a race ended this way.
    Never(Outcome),
    /// At least one trial of a race ended this way.
    Seen {
        outcome: Outcome,
        /// The other outcomes that the prediction allows, whether they occurred or not.
        allowed: Vec<Outcome>,
        /// The outcomes that occurred and were not allowed.
        unexpected: Vec<Outcome>,
    },
    /// Trials that should all have ended in one way ended in these.
    Mixed(Vec<Outcome>),
    /// No trial ran.
    NotRun,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(outcome) => write!(f, "always {outcome}"),
            Self::Never(outcome) => write!(f, "never {outcome}"),
            Self::Seen { outcome, allowed, unexpected } => {
                write_seen(f, *outcome, allowed)?;
                if unexpected.is_empty() {
                    return Ok(());
                }
                write!(f, ", and {}, which is not allowed", list(unexpected))
            }
            Self::Mixed(outcomes) => write!(f, "mixed: {}", list(outcomes)),
            Self::NotRun => f.write_str("not run"),
        }
    }
}

fn write_seen(f: &mut fmt::Formatter<'_>, outcome: Outcome, allowed: &[Outcome]) -> fmt::Result {
    write!(f, "seen {outcome}")?;
    if allowed.is_empty() { Ok(()) } else { write!(f, " ({} allowed)", list(allowed)) }
}

fn list(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(|outcome| outcome.word()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Aborted, Clean, Hung, Panicked};

    /// Whether these outcomes are as predicted, and what they say.
    fn found(prediction: &Prediction, outcomes: &[Outcome]) -> (bool, String) {
        let counts = outcomes.iter().copied().collect();
        (prediction.holds(&counts), prediction.classify(&counts).to_string())
    }

    #[test]
    fn one_stray_trial_is_enough_to_contradict_always() {
        let always = Prediction::from(Aborted);
        assert_eq!(found(&always, &[Aborted; 20]), (true, "always aborted".to_owned()));
        let stray = [&[Aborted; 19][..], &[Clean]].concat();
        assert_eq!(found(&always, &stray), (false, "mixed: clean, aborted".to_owned()));
        assert_eq!(found(&always, &[Clean; 3]), (false, "always clean".to_owned()));
    }

    #[test]
    fn a_race_must_be_seen_and_excuses_only_what_it_allows() {
        let race = seen(Panicked).allowing([Clean, Panicked, Aborted]);
        assert_eq!(found(&race, &[Clean; 9]), (false, "never panicked".to_owned()));
        let seen = "seen panicked (clean, aborted allowed)";
        assert_eq!(found(&race, &[Clean, Panicked]), (true, seen.to_owned()));
        let not_allowed = format!("{seen}, and hung, which is not allowed");
        assert_eq!(found(&race, &[Clean, Panicked, Hung]), (false, not_allowed));
    }

    #[test]
    fn without_trials_nothing_is_as_predicted() {
        for prediction in [Clean.into(), seen(Panicked)] {
            assert_eq!(found(&prediction, &[]), (false, "not run".to_owned()));
        }
    }
}
