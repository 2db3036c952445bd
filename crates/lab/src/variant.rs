//! One arm of an experiment.

use std::{fmt, mem, sync::Arc, time::Duration};

use crate::{
    condition::FEWEST_TRIALS,
    outcome::Outcome,
    prediction::Prediction,
    results::Role,
    trial::{Trial, TrialResult},
};

/// How long a trial may take before it counts as hung.
const DEADLINE: Duration = Duration::from_secs(10);

/// The default number of trials, for a variant whose outcome is certain.
const TRIALS: u32 = 20;

type Body = Arc<dyn Fn(&Trial<'_>) -> TrialResult + Send + Sync>;

/// One arm of an experiment: a function that runs in a child process, with a prediction.
///
/// Made by [`hazard`], [`control`] or [`cure`]. The role implies the prediction: a hazard names how
/// it fails, and a control or a cure is always clean unless [`Variant::predict`] says otherwise.
#[derive(Clone)]
pub struct Variant {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) about: String,
    pub(crate) prediction: Prediction,
    pub(crate) body: Body,
    pub(crate) deadline: Duration,
    pub(crate) occasional_sites: Vec<String>,
    /// Which of the declared versions this one is.
    pub(crate) version: Option<String>,
    /// Whether this is a cure that a hazard derived.
    pub(crate) is_derived: bool,
    /// The versions to declare this for.
    versions: Vec<String>,
    /// Whether to derive a cure from this.
    has_cure: bool,
    trials: u32,
    /// How few a race may be reduced to.
    fewest: Option<u32>,
    waits: bool,
}

/// Creates a variant that is expected to fail like this. The experiment is about this failure.
///
/// An [`Outcome`] predicts that every trial ends like this. For a race, see [`seen`](crate::seen).
pub fn hazard(
    name: impl Into<String>,
    prediction: impl Into<Prediction>,
    body: impl Fn(&Trial<'_>) -> TrialResult + Send + Sync + 'static,
) -> Variant {
    Variant::new(name.into(), Role::Hazard, Arc::new(body)).predict(prediction)
}

/// Creates a variant that is expected not to fail, without the kit: the same code with one thing changed.
pub fn control(
    name: impl Into<String>,
    body: impl Fn(&Trial<'_>) -> TrialResult + Send + Sync + 'static,
) -> Variant {
    Variant::new(name.into(), Role::Control, Arc::new(body))
}

/// Creates a variant that is expected not to fail because it uses the kit.
pub fn cure(
    name: impl Into<String>,
    body: impl Fn(&Trial<'_>) -> TrialResult + Send + Sync + 'static,
) -> Variant {
    Variant::new(name.into(), Role::Cure, Arc::new(body))
}

impl Variant {
    fn new(name: String, role: Role, body: Body) -> Self {
        Self {
            name,
            role,
            about: String::new(),
            prediction: Outcome::Clean.into(),
            body,
            deadline: DEADLINE,
            occasional_sites: Vec::new(),
            version: None,
            is_derived: false,
            versions: Vec::new(),
            has_cure: false,
            trials: TRIALS,
            fewest: None,
            waits: false,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Renames the variant, for an experiment that reuses those of others.
    #[must_use]
    pub fn renamed(mut self, rename: impl FnOnce(&str) -> String) -> Self {
        self.name = rename(&self.name);
        self
    }

    /// Sets another prediction than the role implies.
    #[must_use]
    pub fn predict(mut self, prediction: impl Into<Prediction>) -> Self {
        self.prediction = prediction.into();
        self
    }

    /// Declares the variant once for each of these versions of a crate: `version/name`. The body gets its
    /// version from [`Trial::version`].
    #[must_use]
    pub fn versions<V: Into<String>>(mut self, versions: impl IntoIterator<Item = V>) -> Self {
        self.versions = versions.into_iter().map(Into::into).collect();
        self
    }

    /// Derives a cure from this hazard: the same body, called `kit/name`, with the same trials and
    /// deadline, and always clean. In it [`Trial::is_cured`] is true, and the body uses the kit.
    ///
    /// Derived cures are listed together, before the first cure that the experiment declares
    /// itself, or else at the end.
    #[must_use]
    pub const fn cured(mut self) -> Self {
        self.has_cure = true;
        self
    }

    /// Describes in one line what is different in this variant.
    #[must_use]
    pub fn about(mut self, about: impl Into<String>) -> Self {
        self.about = about.into();
        self
    }

    /// Sets the number of trials; without it there are 20. For a race, choose it so that a run that
    /// misses the race is a one-in-a-million event: no option runs fewer, unless
    /// [`fewest_trials`](Self::fewest_trials) says how many are enough to see it.
    #[must_use]
    pub const fn trials(mut self, trials: u32) -> Self {
        self.trials = if trials == 0 { 1 } else { trials };
        self
    }

    /// Sets how few trials an option may reduce a race to, if more are declared than it takes to see it: for a
    /// rate that is worth knowing well, or a comparison.
    #[must_use]
    pub const fn fewest_trials(mut self, trials: u32) -> Self {
        self.fewest = Some(if trials == 0 { 1 } else { trials });
        self
    }

    /// Sets how long a trial may take before it is killed and counts as hung; without it, 10 s.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Declares, by its beginning, a panic site that may or may not occur. The snapshot leaves it out; the
    /// results have it.
    #[must_use]
    pub fn sometimes_at(mut self, site: impl Into<String>) -> Self {
        self.occasional_sites.push(site.into());
        self
    }

    /// Declares that a trial mostly waits: for a limit, a clock, a late answer. More of such trials run at a
    /// time, in parallel to the others. Do not use it if a busy machine could change the outcome. Variants
    /// that are predicted to hang have it implicitly.
    #[must_use]
    pub const fn waits(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Expands the declaration into one variant per version, and the cures derived from them.
    pub(crate) fn expand(mut self) -> (Vec<Self>, Vec<Self>) {
        let has_cure = mem::take(&mut self.has_cure);
        let cures = if has_cure { self.cure().for_each_version() } else { Vec::new() };
        (self.for_each_version(), cures)
    }

    fn cure(&self) -> Self {
        Self {
            name: format!("kit/{}", self.name),
            role: Role::Cure,
            about: format!("{}; with the kit", self.about),
            prediction: Outcome::Clean.into(),
            occasional_sites: Vec::new(),
            is_derived: true,
            ..self.clone()
        }
    }

    fn for_each_version(mut self) -> Vec<Self> {
        let versions = mem::take(&mut self.versions);
        if versions.is_empty() {
            return vec![self];
        }
        let of_version = |version: String| Self {
            name: format!("{version}/{}", self.name),
            version: Some(version),
            ..self.clone()
        };
        versions.into_iter().map(of_version).collect()
    }

    /// Whether a trial mostly waits.
    pub(crate) fn mostly_waits(&self) -> bool {
        self.waits || matches!(self.prediction, Prediction::Always(Outcome::Hung))
    }

    /// How many trials a run gives this variant: never fewer than a verdict needs. A race needs what it
    /// declares: see [`Variant::trials`] and [`Variant::fewest_trials`].
    pub(crate) fn planned(&self, asked: Option<u32>, quick: bool) -> u32 {
        let fewest = match self.fewest {
            Some(fewest) => fewest,
            None if self.prediction.is_race() => self.trials,
            None => FEWEST_TRIALS,
        };
        match asked {
            Some(trials) => trials.max(fewest),
            None if quick => self.trials.min(fewest),
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
    use crate::{Outcome::Clean, Outcome::Panicked, seen};

    #[test]
    fn no_option_reduces_a_race_to_fewer_than_it_needs() {
        let race = hazard("race", seen(Panicked).allowing([Clean]), |_| Ok(())).trials(200);
        assert_eq!(race.planned(None, true), 200);
        assert_eq!(race.planned(Some(10), false), 200);
        assert_eq!(race.planned(Some(1000), true), 1000);
        let frequent = race.fewest_trials(60);
        assert_eq!(frequent.planned(None, false), 200);
        assert_eq!(frequent.planned(None, true), 60);
        assert_eq!(frequent.planned(Some(10), false), 60);
    }

    #[test]
    fn what_is_certain_may_be_run_less_often_but_never_too_rarely_to_conclude() {
        let certain = control("certain", |_| Ok(()));
        assert_eq!(certain.planned(None, false), 20);
        assert_eq!(certain.planned(None, true), 5);
        assert_eq!(certain.planned(Some(1), false), 5);
        assert_eq!(certain.planned(Some(300), true), 300);
    }

    #[test]
    fn a_hazard_stands_for_its_versions_and_derives_their_cures() {
        let hazard = hazard("it", seen(Panicked).allowing([Clean]), |_| Ok(()))
            .about("as it is")
            .trials(200)
            .versions(["old", "new"])
            .cured();
        let (hazards, cures) = hazard.expand();
        let names = |variants: &[Variant]| {
            variants.iter().map(|it| (it.name.clone(), it.role, it.trials)).collect::<Vec<_>>()
        };
        let expected = |name: &str, role| (name.to_owned(), role, 200);
        assert_eq!(
            names(&hazards),
            [expected("old/it", Role::Hazard), expected("new/it", Role::Hazard)]
        );
        assert_eq!(
            names(&cures),
            [expected("old/kit/it", Role::Cure), expected("new/kit/it", Role::Cure)]
        );
        assert!(cures.iter().all(|cure| cure.is_derived && cure.prediction == Clean.into()));
        // Another experiment may collect them.
        let again = |variant: Variant| variant.renamed(|_| "01/it".to_owned()).expand();
        for (variants, cures) in hazards.into_iter().chain(cures).map(again) {
            assert_eq!((&*variants[0].name, variants.len(), cures.len()), ("01/it", 1, 0));
        }
    }
}
