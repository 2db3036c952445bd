//! What an experiment predicts of a variant, and what the counts then say.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, Outcomes};

/// What is predicted of the trials of one variant, before they run.
///
/// ```
/// use lab::{Outcome, Prediction, seen};
///
/// let certain = Prediction::from(Outcome::Aborted);
/// assert_eq!(certain.to_string(), "always aborted");
/// let race = seen(Outcome::Panicked).allowing([Outcome::Clean]);
/// assert_eq!(race.to_string(), "seen panicked (clean allowed)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prediction {
    /// Every trial ends this way.
    Always(Outcome),
    /// No trial ends this way; how they end otherwise is left open.
    Never(Outcome),
    /// A true race: at least one trial ends this way, and the others only in ways that are allowed.
    Seen {
        /// The outcome that must occur.
        outcome: Outcome,
        /// The outcomes that may occur beside it.
        allowed: Vec<Outcome>,
    },
}

/// An outcome alone predicts that every trial ends this way.
impl From<Outcome> for Prediction {
    fn from(outcome: Outcome) -> Self {
        Self::Always(outcome)
    }
}

/// Predicts that no trial ends this way.
#[must_use]
pub const fn never(outcome: Outcome) -> Prediction {
    Prediction::Never(outcome)
}

/// Predicts a race: at least one trial ends this way. See [`Prediction::allowing`].
#[must_use]
pub const fn seen(outcome: Outcome) -> Prediction {
    Prediction::Seen { outcome, allowed: Vec::new() }
}

impl Prediction {
    /// Names the outcomes that may occur beside the one predicted. Only a race has such.
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

    /// The outcome that the prediction is about; its rate is what the interval is of.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Always(outcome) | Self::Never(outcome) | Self::Seen { outcome, .. } => *outcome,
        }
    }

    /// Whether this is a race, whose trials no option may reduce.
    #[must_use]
    pub const fn is_race(&self) -> bool {
        matches!(self, Self::Seen { .. })
    }

    /// Whether a single trial may end this way without contradicting the prediction.
    #[must_use]
    pub fn admits(&self, found: Outcome) -> bool {
        match self {
            Self::Always(outcome) => found == *outcome,
            Self::Never(outcome) => found != *outcome,
            Self::Seen { outcome, allowed } => found == *outcome || allowed.contains(&found),
        }
    }

    /// Whether the counts bear the prediction out.
    #[must_use]
    pub fn holds(&self, counts: &Outcomes) -> bool {
        let occurred = !self.is_race() || counts.count(self.outcome()) > 0;
        counts.total() > 0 && occurred && counts.seen().all(|outcome| self.admits(outcome))
    }

    /// What the counts say, in the terms in which the prediction was made.
    #[must_use]
    pub fn classify(&self, counts: &Outcomes) -> Class {
        if counts.total() == 0 {
            return Class::NotRun;
        }
        match self {
            Self::Always(_) => {
                let mut outcomes: Vec<_> = counts.seen().collect();
                match outcomes.pop() {
                    Some(only) if outcomes.is_empty() => Class::Always(only),
                    Some(last) => {
                        outcomes.push(last);
                        Class::Mixed(outcomes)
                    }
                    None => Class::NotRun,
                }
            }
            Self::Never(outcome) if counts.count(*outcome) == 0 => Class::Never(*outcome),
            Self::Never(outcome) => {
                Class::Seen { outcome: *outcome, allowed: Vec::new(), unexpected: Vec::new() }
            }
            Self::Seen { outcome, .. } if counts.count(*outcome) == 0 => Class::Never(*outcome),
            Self::Seen { outcome, allowed } => Class::Seen {
                outcome: *outcome,
                allowed: allowed.clone(),
                unexpected: counts.seen().filter(|found| !self.admits(*found)).collect(),
            },
        }
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(outcome) => write!(f, "always {outcome}"),
            Self::Never(outcome) => write!(f, "never {outcome}"),
            Self::Seen { outcome, allowed } => write_seen(f, *outcome, allowed, &[]),
        }
    }
}

/// What the counts of a variant say: the stable part, which a snapshot may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// All trials ended this way.
    Always(Outcome),
    /// No trial ended this way, of a variant in which that is the question.
    Never(Outcome),
    /// At least one trial of a race ended this way.
    Seen {
        /// The outcome that occurred.
        outcome: Outcome,
        /// The outcomes that the prediction allows beside it, whether they occurred or not.
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
                write_seen(f, *outcome, allowed, unexpected)
            }
            Self::Mixed(outcomes) => write!(f, "mixed: {}", list(outcomes)),
            Self::NotRun => f.write_str("not run"),
        }
    }
}

fn write_seen(
    f: &mut fmt::Formatter<'_>,
    outcome: Outcome,
    allowed: &[Outcome],
    unexpected: &[Outcome],
) -> fmt::Result {
    write!(f, "seen {outcome}")?;
    if !allowed.is_empty() {
        write!(f, " ({} allowed)", list(allowed))?;
    }
    if !unexpected.is_empty() {
        write!(f, ", and {}, which is not allowed", list(unexpected))?;
    }
    Ok(())
}

fn list(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(|outcome| outcome.word()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Aborted, Clean, Hung, Panicked};

    fn counts(outcomes: &[Outcome]) -> Outcomes {
        outcomes.iter().copied().collect()
    }

    #[test]
    fn one_stray_trial_is_enough_to_contradict_always() {
        let prediction = Prediction::from(Aborted);
        assert!(prediction.holds(&counts(&[Aborted; 20])));
        let mut stray = vec![Aborted; 19];
        stray.push(Clean);
        assert!(!prediction.holds(&counts(&stray)));
        assert_eq!(prediction.classify(&counts(&stray)).to_string(), "mixed: clean, aborted");
        assert_eq!(prediction.classify(&counts(&[Clean; 3])).to_string(), "always clean");
    }

    #[test]
    fn a_race_that_was_missed_is_not_seen() {
        let race = seen(Panicked).allowing([Clean, Panicked, Aborted]);
        assert!(!race.holds(&counts(&[Clean; 9])));
        assert_eq!(race.classify(&counts(&[Clean; 9])), Class::Never(Panicked));
        assert!(race.holds(&counts(&[Clean, Panicked])));
        assert_eq!(
            race.classify(&counts(&[Clean, Panicked])).to_string(),
            "seen panicked (clean, aborted allowed)"
        );
    }

    #[test]
    fn a_race_does_not_excuse_what_it_does_not_allow() {
        let race = seen(Panicked).allowing([Clean]);
        let found = counts(&[Clean, Panicked, Hung]);
        assert!(!race.holds(&found));
        assert_eq!(
            race.classify(&found).to_string(),
            "seen panicked (clean allowed), and hung, which is not allowed"
        );
    }

    #[test]
    fn no_trials_bear_nothing_out() {
        for prediction in [Clean.into(), never(Hung), seen(Panicked)] {
            assert!(!prediction.holds(&Outcomes::default()));
            assert_eq!(prediction.classify(&Outcomes::default()), Class::NotRun);
        }
    }

    #[test]
    fn never_leaves_the_rest_open() {
        assert!(never(Hung).holds(&counts(&[Clean, Panicked])));
        assert!(!never(Hung).holds(&counts(&[Clean, Hung])));
        assert_eq!(never(Hung).classify(&counts(&[Hung])).to_string(), "seen hung");
    }
}
