//! One arm of an experiment.

use std::{fmt, time::Duration};

use crate::{
    outcome::Outcome,
    prediction::Prediction,
    results::Role,
    trial::{Trial, TrialResult},
};

/// How long a trial may take before it counts as hung.
const DEADLINE: Duration = Duration::from_secs(10);

/// The trials of a variant whose outcome is certain, and when the run is to be quick.
const TRIALS: u32 = 20;
const QUICK_TRIALS: u32 = crate::condition::FEWEST_TRIALS;

type Body = Box<dyn Fn(&Trial<'_>) -> TrialResult + Send + Sync>;

/// One arm of an experiment: a function that runs in a child process, and what is predicted of it.
///
/// Made by [`hazard`], [`control`] or [`cure`].
pub struct Variant {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) about: String,
    pub(crate) prediction: Prediction,
    pub(crate) body: Body,
    pub(crate) deadline: Duration,
    pub(crate) occasional_sites: Vec<String>,
    trials: u32,
    waits: bool,
}

/// A variant that is expected to fail: what the experiment is about.
pub fn hazard(
    name: impl Into<String>,
    prediction: Prediction,
    body: impl Fn(&Trial<'_>) -> TrialResult + Send + Sync + 'static,
) -> Variant {
    Variant::new(name.into(), Role::Hazard, prediction, Box::new(body))
}

/// A variant that is expected not to fail, without the kit: the same harness, one thing changed.
pub fn control(
    name: impl Into<String>,
    prediction: Prediction,
    body: impl Fn(&Trial<'_>) -> TrialResult + Send + Sync + 'static,
) -> Variant {
    Variant::new(name.into(), Role::Control, prediction, Box::new(body))
}

/// A variant that is expected not to fail, by means of the kit.
pub fn cure(
    name: impl Into<String>,
    prediction: Prediction,
    body: impl Fn(&Trial<'_>) -> TrialResult + Send + Sync + 'static,
) -> Variant {
    Variant::new(name.into(), Role::Cure, prediction, Box::new(body))
}

impl Variant {
    fn new(name: String, role: Role, prediction: Prediction, body: Body) -> Self {
        let (deadline, about, trials) = (DEADLINE, String::new(), TRIALS);
        let occasional_sites = Vec::new();
        let waits = false;
        Self { name, role, about, prediction, body, deadline, occasional_sites, trials, waits }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it stands for.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Calls it something else.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Says in one line what is different in this variant.
    #[must_use]
    pub fn about(mut self, about: impl Into<String>) -> Self {
        self.about = about.into();
        self
    }

    /// Sets the number of trials, 20 unless told. For a race it is the number below which no
    /// option goes, chosen so that a run that misses it is a one-in-a-million event.
    #[must_use]
    pub const fn trials(mut self, trials: u32) -> Self {
        self.trials = if trials == 0 { 1 } else { trials };
        self
    }

    /// Sets how long a trial may take before it is killed and counts as hung, 10 s unless told.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Names a panic site that may or may not occur, by how it begins. It stays out of the
    /// snapshot, and in the results.
    #[must_use]
    pub fn sometimes_at(mut self, site: impl Into<String>) -> Self {
        self.occasional_sites.push(site.into());
        self
    }

    /// Says that a trial mostly waits: for a limit, a clock, an answer that is late. Such trials run
    /// beside those that work, and more of them at a time; not for what a busy machine could change.
    /// One that is to hang need not say so.
    #[must_use]
    pub const fn waits(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Whether a trial mostly waits.
    pub(crate) fn mostly_waits(&self) -> bool {
        self.waits || matches!(self.prediction, Prediction::Always(Outcome::Hung))
    }

    /// How many trials a run gives this variant.
    ///
    /// A race never gets fewer than it declares, and nothing gets fewer than the five below which
    /// no verdict is drawn.
    pub(crate) fn planned(&self, asked: Option<u32>, quick: bool) -> u32 {
        match asked {
            Some(trials) if self.prediction.is_race() => trials.max(self.trials),
            Some(trials) => trials.max(QUICK_TRIALS),
            None if quick && !self.prediction.is_race() => self.trials.min(QUICK_TRIALS),
            None => self.trials,
        }
    }
}

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variant")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("prediction", &self.prediction)
            .field("trials", &self.trials)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome::Clean, Outcome::Panicked, always, seen};

    #[test]
    fn no_option_reduces_a_race() {
        let race = hazard("race", seen(Panicked).allowing([Clean]), |_| Ok(())).trials(200);
        assert_eq!(race.planned(None, true), 200);
        assert_eq!(race.planned(Some(10), false), 200);
        assert_eq!(race.planned(Some(1000), true), 1000);
    }

    #[test]
    fn what_is_certain_may_be_run_less_often_but_never_too_rarely_to_conclude() {
        let certain = control("certain", always(Clean), |_| Ok(()));
        assert_eq!(certain.planned(None, false), 20);
        assert_eq!(certain.planned(None, true), 5);
        assert_eq!(certain.planned(Some(1), false), 5);
        assert_eq!(certain.planned(Some(300), true), 300);
    }
}
