//! A situation in which every wrapper is tried: its declaration, for a table of them.

use lab::{
    Outcome::{self, Clean},
    TrialResult, Variant, seen,
};
use mock_sdk::store::Generation;

use super::{Way, pool::Kind};
use crate::{Scene, control, hazard};

/// A situation in which every wrapper is tried.
pub struct Situation {
    name: &'static str,
    about: &'static str,
    body: fn(&Scene<'_>, Kind) -> TrialResult,
    /// How the ways fail that do. The real wrappers are predicted to do as `asks` does.
    fails: Vec<(Outcome, &'static [Way])>,
    /// Whether those fail in some trials only.
    is_race: bool,
    /// Whether the failures of the real wrappers are repeated with the kit.
    is_cured: bool,
    /// Whether the ways that fail, or all others, do so by waiting for the end of a hold.
    waits: Option<bool>,
    kinds: Vec<Kind>,
}

/// A situation in which no wrapper fails.
#[must_use]
pub fn situation(
    name: &'static str,
    about: &'static str,
    body: fn(&Scene<'_>, Kind) -> TrialResult,
) -> Situation {
    let real = Generation::ALL.map(Kind::Real).into_iter();
    let kinds = real.chain(Way::ALL.map(Kind::Ours)).collect();
    let (fails, waits) = (Vec::new(), None);
    Situation { name, about, body, fails, is_race: false, is_cured: false, waits, kinds }
}

/// How often each is tried, and how often where it is a race. The page says why.
const TRIALS: u32 = 8;
const RACE: u32 = 20;

impl Situation {
    /// Predicts how these ways fail. The real wrappers are predicted to do as [`Way::Asks`] does.
    #[must_use]
    pub fn fails(mut self, outcome: Outcome, ways: &'static [Way]) -> Self {
        self.fails.push((outcome, ways));
        self
    }

    /// Predicts that those fail in some trials only.
    #[must_use]
    pub const fn race(mut self) -> Self {
        self.is_race = true;
        self
    }

    /// Repeats the failures of the real wrappers with the kit.
    #[must_use]
    pub const fn cured(mut self) -> Self {
        self.is_cured = true;
        self
    }

    /// Says that the ways that fail, or else all others, wait for the end of a hold.
    #[must_use]
    pub const fn waits(mut self, where_it_fails: bool) -> Self {
        self.waits = Some(where_it_fails);
        self
    }

    /// Tries one more way.
    #[must_use]
    pub fn and(mut self, way: Way) -> Self {
        self.kinds.push(Kind::Ours(way));
        self
    }

    /// Tries only these ways, and not the real wrappers.
    #[must_use]
    pub fn only(mut self, ways: &[Way]) -> Self {
        self.kinds = ways.iter().copied().map(Kind::Ours).collect();
        self
    }

    /// A variant for each wrapper.
    #[must_use]
    pub fn variants(&self) -> Vec<Variant> {
        self.kinds.iter().map(|kind| self.variant(*kind)).collect()
    }

    fn variant(&self, kind: Kind) -> Variant {
        let (name, way) = match kind {
            Kind::Real(generation) => (format!("{}/{}", generation.word(), self.name), Way::Asks),
            Kind::Ours(way) => (format!("{}/{}", self.name, way.word()), way),
        };
        let body = self.body;
        let body = move |scene: &Scene<'_>| body(scene, kind);
        let fails = self.fails.iter().find(|(_, ways)| ways.contains(&way));
        let mut variant = match fails.map(|(outcome, _)| *outcome) {
            Some(outcome) if self.is_race => {
                hazard(name, seen(outcome).allowing([Clean]), body).trials(RACE)
            }
            Some(outcome) => hazard(name, outcome, body).trials(TRIALS),
            None => control(name, body).trials(TRIALS),
        };
        if self.waits == Some(fails.is_some()) {
            variant = variant.waits();
        }
        if self.is_cured && matches!(kind, Kind::Real(_)) {
            variant = variant.cured();
        }
        // The lines of our own wrapper are no result.
        variant.sometimes_at("experiments/src/wrapper.rs").about(format!(
            "{}; {}",
            self.about,
            about(kind)
        ))
    }
}

const fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Real(_) => "the real wrapper",
        Kind::Ours(Way::Asks) => "asks the thread, as the real one does",
        Kind::Ours(Way::AsksOrInline) => "asks, or else closes here",
        Kind::Ours(Way::Inline) => "closes here",
        Kind::Ours(Way::InlineLocked) => "closes here, under the lock",
        Kind::Ours(Way::Handle) => "asks the runtime that it was made on",
        Kind::Ours(Way::HandleOrInline) => "asks that one, or else closes here",
        Kind::Ours(Way::Thread) => "sends it to a thread",
        Kind::Ours(Way::ThreadJoined) => "sends it to a thread that is joined",
    }
}
