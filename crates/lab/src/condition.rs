//! Conditions on counts: how an experiment declares, before it runs, what would bear a claim out
//! and what would contradict it.

use std::ops::{BitAnd, BitOr, Not};

use crate::{
    observation::Spread,
    outcome::Outcomes,
    prediction::Prediction,
    results::{VariantResult, Verdict},
};

/// The fewest trials of a variant from which anything is concluded.
pub const FEWEST_TRIALS: u32 = 5;

/// A statement about counts that holds, does not hold, or cannot be told.
#[derive(Clone, Debug)]
pub struct Condition(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Outcome { variants: String, prediction: Prediction },
    Failures { variants: String, percent: Bound },
    Number { variants: String, observation: String, statistic: Statistic, bound: Bound },
    Word { variants: String, observation: String, word: String, share: Share },
    Both(Box<Condition>, Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

#[derive(Clone, Copy, Debug)]
enum Statistic {
    Min,
    Median,
    Max,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(i64),
    AtMost(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    All,
    None,
}

/// The variants that a condition speaks of. See [`every`].
#[derive(Clone, Debug)]
pub struct Subject(String);

/// Speaks of every variant whose name fits the pattern, in which `*` stands for any text. A
/// pattern that fits no variant is a mistake, which the experiment reports when it starts.
///
/// ```
/// use lab::{Outcome, every};
///
/// let context_decides = every("*/outside").is(Outcome::Aborted)
///     & every("*/inside").is(Outcome::Clean);
/// # let _ = context_decides;
/// ```
#[must_use]
pub fn every(pattern: &str) -> Subject {
    Subject(pattern.to_owned())
}

impl Subject {
    /// Holds where the counts of each of the variants bear the prediction out.
    #[must_use]
    pub fn is(self, prediction: impl Into<Prediction>) -> Condition {
        Condition(Kind::Outcome { variants: self.0, prediction: prediction.into() })
    }

    /// Holds where of the trials of each of the variants at least so many in a hundred did not end
    /// clean.
    #[must_use]
    pub fn fails_at_least(self, percent: u32) -> Condition {
        let percent = Bound::AtLeast(percent.into());
        Condition(Kind::Failures { variants: self.0, percent })
    }

    /// Holds where of the trials of each of the variants at most so many in a hundred did not end
    /// clean.
    #[must_use]
    pub fn fails_at_most(self, percent: u32) -> Condition {
        let percent = Bound::AtMost(percent.into());
        Condition(Kind::Failures { variants: self.0, percent })
    }

    /// Speaks of a number or a word that the trials recorded under this name.
    #[must_use]
    pub fn observed(self, observation: &str) -> Observed {
        Observed { variants: self.0, observation: observation.to_owned() }
    }
}

/// What trials recorded under one name. Durations are compared in nanoseconds.
#[derive(Clone, Debug)]
pub struct Observed {
    variants: String,
    observation: String,
}

impl Observed {
    fn number(self, statistic: Statistic, bound: Bound) -> Condition {
        let Self { variants, observation } = self;
        Condition(Kind::Number { variants, observation, statistic, bound })
    }

    /// Holds where no trial recorded less.
    #[must_use]
    pub fn always_at_least(self, bound: i64) -> Condition {
        self.number(Statistic::Min, Bound::AtLeast(bound))
    }

    /// Holds where no trial recorded more.
    #[must_use]
    pub fn always_at_most(self, bound: i64) -> Condition {
        self.number(Statistic::Max, Bound::AtMost(bound))
    }

    /// Holds where some trial recorded at least this.
    #[must_use]
    pub fn once_at_least(self, bound: i64) -> Condition {
        self.number(Statistic::Max, Bound::AtLeast(bound))
    }

    /// Holds where the middle of what was recorded is at least this.
    #[must_use]
    pub fn mostly_at_least(self, bound: i64) -> Condition {
        self.number(Statistic::Median, Bound::AtLeast(bound))
    }

    /// Holds where the middle of what was recorded is at most this.
    #[must_use]
    pub fn mostly_at_most(self, bound: i64) -> Condition {
        self.number(Statistic::Median, Bound::AtMost(bound))
    }

    /// Holds where every trial recorded this word (`true` or `false` for a flag).
    #[must_use]
    pub fn always_reads(self, word: &str) -> Condition {
        self.word(word, Share::All)
    }

    /// Holds where no trial recorded this word, though each recorded one.
    #[must_use]
    pub fn never_reads(self, word: &str) -> Condition {
        self.word(word, Share::None)
    }

    fn word(self, word: &str, share: Share) -> Condition {
        let Self { variants, observation } = self;
        Condition(Kind::Word { variants, observation, word: word.to_owned(), share })
    }
}

impl BitAnd for Condition {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(Kind::Both(Box::new(self), Box::new(other)))
    }
}

impl BitOr for Condition {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(Kind::Either(Box::new(self), Box::new(other)))
    }
}

impl Not for Condition {
    type Output = Self;
    fn not(self) -> Self {
        Self(Kind::Not(Box::new(self)))
    }
}

/// Whether a condition holds: `None` where it cannot be told.
type Holds = Option<bool>;

impl Condition {
    /// The patterns that the condition speaks of.
    pub(crate) fn patterns(&self) -> Vec<&str> {
        match &self.0 {
            Kind::Outcome { variants, .. }
            | Kind::Failures { variants, .. }
            | Kind::Number { variants, .. }
            | Kind::Word { variants, .. } => vec![variants],
            Kind::Both(one, other) | Kind::Either(one, other) => {
                let mut patterns = one.patterns();
                patterns.extend(other.patterns());
                patterns
            }
            Kind::Not(inner) => inner.patterns(),
        }
    }

    /// Whether the condition holds of these results, and why, one line for each variant consulted.
    pub(crate) fn weigh(&self, results: &[VariantResult], reasons: &mut Vec<String>) -> Holds {
        match &self.0 {
            Kind::Both(one, other) => {
                match (one.weigh(results, reasons), other.weigh(results, reasons)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                }
            }
            Kind::Either(one, other) => {
                match (one.weigh(results, reasons), other.weigh(results, reasons)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                }
            }
            Kind::Not(inner) => inner.weigh(results, reasons).map(|holds| !holds),
            Kind::Outcome { variants, prediction } => all(variants, results, |result| {
                note(reasons, outcome_reason(result));
                enough(&result.outcomes).then(|| prediction.holds(&result.outcomes))
            }),
            Kind::Failures { variants, percent } => all(variants, results, |result| {
                note(reasons, outcome_reason(result));
                let total = i64::from(result.outcomes.total());
                let failed = total - i64::from(result.outcomes.clean);
                enough(&result.outcomes).then(|| match percent {
                    Bound::AtLeast(least) => failed * 100 >= least * total,
                    Bound::AtMost(most) => failed * 100 <= most * total,
                })
            }),
            Kind::Number { variants, observation, statistic, bound } => {
                all(variants, results, |result| {
                    let spread = result.observations.get(observation).and_then(|o| o.spread());
                    note(reasons, number_reason(result, observation));
                    let spread = spread.filter(|spread| spread.n >= FEWEST_TRIALS)?;
                    let value = match statistic {
                        Statistic::Min => spread.min,
                        Statistic::Median => spread.median,
                        Statistic::Max => spread.max,
                    };
                    Some(match bound {
                        Bound::AtLeast(least) => value >= *least,
                        Bound::AtMost(most) => value <= *most,
                    })
                })
            }
            Kind::Word { variants, observation, word, share } => all(variants, results, |result| {
                let seen = result.observations.get(observation);
                let count = seen.map_or(0, |seen| seen.count(word));
                let reason = format!(
                    "{}: {observation} was {word} in {count} of {}",
                    result.name, result.trials
                );
                note(reasons, reason);
                let recorded = seen.is_some() && enough(&result.outcomes);
                recorded.then_some(match share {
                    Share::All => count == result.trials,
                    Share::None => count == 0,
                })
            }),
        }
    }
}

/// A condition under which a claim is supported, and one under which it is refuted. Where both or
/// neither hold, or where it cannot be told, the claim is inconclusive.
pub(crate) fn verdict(
    supported: &Condition,
    refuted: &Condition,
    results: &[VariantResult],
) -> (Verdict, Vec<String>) {
    let mut reasons = Vec::new();
    let supported = supported.weigh(results, &mut reasons);
    let refuted = refuted.weigh(results, &mut reasons);
    let verdict = match (supported, refuted) {
        (Some(true), Some(false)) => Verdict::Supported,
        (Some(false), Some(true)) => Verdict::Refuted,
        _ => Verdict::Inconclusive,
    };
    (verdict, reasons)
}

/// Whether there were enough trials to conclude anything.
pub(crate) fn enough(outcomes: &Outcomes) -> bool {
    outcomes.total() >= FEWEST_TRIALS
}

/// `old/outside: always aborted (20 of 20)`.
pub(crate) fn outcome_reason(result: &VariantResult) -> String {
    let counts: Vec<_> = result
        .outcomes
        .seen()
        .map(|outcome| format!("{} {outcome}", result.outcomes.count(outcome)))
        .collect();
    let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
    format!("{}: {} ({counts} of {})", result.name, result.class, result.trials)
}

/// `old/outside: open_files 0 … 4 … 4 in 20 trials`.
fn number_reason(result: &VariantResult, observation: &str) -> String {
    let name = &result.name;
    match result.observations.get(observation).map(|found| (found, found.spread())) {
        Some((found, Some(Spread { n, .. }))) => {
            format!("{name}: {observation} {found} in {n} trials")
        }
        _ => format!("{name}: {observation} was not recorded as a number"),
    }
}

/// Keeps a reason, once.
fn note(reasons: &mut Vec<String>, reason: String) {
    if !reasons.contains(&reason) {
        reasons.push(reason);
    }
}

/// Whether all variants that fit the pattern hold; one that does not decides, one that cannot be
/// told leaves it open.
fn all(
    pattern: &str,
    results: &[VariantResult],
    mut holds: impl FnMut(&VariantResult) -> Holds,
) -> Holds {
    let verdicts: Vec<_> =
        results.iter().filter(|result| fits(pattern, &result.name)).map(&mut holds).collect();
    if verdicts.contains(&Some(false)) {
        Some(false)
    } else if verdicts.is_empty() || verdicts.contains(&None) {
        None
    } else {
        Some(true)
    }
}

/// Whether a name fits a pattern in which `*` stands for any text.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| rest.get(at..).is_some_and(|tail| fits(after, tail)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Outcome::{self, Aborted, Clean},
        Role, never,
        observation::{Observation, Value},
    };

    fn result(name: &str, outcomes: &[Outcome], open_files: &[i32]) -> VariantResult {
        let outcomes: Outcomes = outcomes.iter().copied().collect();
        let values: Vec<_> = open_files.iter().copied().map(Value::from).collect();
        let observation = Observation::of(&values);
        VariantResult {
            name: name.to_owned(),
            role: Role::Hazard,
            about: String::new(),
            prediction: String::new(),
            predicted: false,
            trials: outcomes.total(),
            outcomes,
            class: Prediction::from(Aborted).classify(&outcomes).to_string(),
            interval: [0.0, 1.0],
            sites: Vec::new(),
            occasional_sites: Vec::new(),
            observations: observation.map(|o| ("open_files".to_owned(), o)).into_iter().collect(),
            resources: None,
            examples: Vec::new(),
        }
    }

    fn judge(supported: Condition, refuted: Condition, results: &[VariantResult]) -> Verdict {
        verdict(&supported, &refuted, results).0
    }

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(fits("*/outside", "old/outside"));
        assert!(fits("old/*-alive", "old/outside-alive"));
        assert!(fits("*", ""));
        assert!(!fits("old/*", "current/outside"));
        assert!(!fits("outside", "old/outside"));
    }

    #[test]
    fn verdicts_follow_the_counts() {
        let aborted = [result("old/outside", &[Aborted; 20], &[])];
        let clean = [result("old/outside", &[Clean; 20], &[])];
        let fails = || every("*/outside").is(Aborted);
        let works = || every("*/outside").is(never(Aborted));
        assert_eq!(judge(fails(), works(), &aborted), Verdict::Supported);
        assert_eq!(judge(fails(), works(), &clean), Verdict::Refuted);
    }

    #[test]
    fn too_few_trials_or_none_conclude_nothing() {
        let few = [result("old/outside", &[Aborted; 4], &[])];
        let fails = || every("*/outside").is(Aborted);
        assert_eq!(judge(fails(), !fails(), &few), Verdict::Inconclusive);
        assert_eq!(judge(fails(), !fails(), &[]), Verdict::Inconclusive);
    }

    #[test]
    fn one_variant_against_it_decides_though_another_was_not_run() {
        let results = [result("old/outside", &[Clean; 9], &[]), result("new/outside", &[], &[])];
        let fails = every("*/outside").is(Aborted);
        assert_eq!(fails.weigh(&results, &mut Vec::new()), Some(false));
        let works = every("*/outside").is(Clean);
        assert_eq!(works.weigh(&results, &mut Vec::new()), None);
    }

    #[test]
    fn every_end_but_a_clean_one_counts_as_a_failure() {
        use Outcome::{Failed, Hung};
        let results = [result("a", &[Aborted, Failed, Hung, Clean, Clean, Clean], &[])];
        let holds = |condition: Condition| condition.weigh(&results, &mut Vec::new());
        assert_eq!(holds(every("a").fails_at_least(50)), Some(true));
        assert_eq!(holds(every("a").fails_at_least(51)), Some(false));
        assert_eq!(holds(every("a").fails_at_most(50)), Some(true));
        assert_eq!(holds(every("a").fails_at_most(49)), Some(false));
        assert_eq!(holds(every("b").fails_at_most(49)), None);
    }

    #[test]
    fn numbers_are_compared_over_all_trials() {
        let results = [result("a", &[Clean; 5], &[0, 0, 4, 4, 4])];
        let holds = |condition: Condition| condition.weigh(&results, &mut Vec::new());
        let files = || every("a").observed("open_files");
        assert_eq!(holds(files().always_at_least(1)), Some(false));
        assert_eq!(holds(files().once_at_least(4)), Some(true));
        assert_eq!(holds(files().mostly_at_least(4)), Some(true));
        assert_eq!(holds(files().always_at_most(3)), Some(false));
        assert_eq!(holds(every("a").observed("threads").always_at_most(3)), None);
    }

    #[test]
    fn reasons_are_made_from_the_counts() {
        let results = [result("a", &[Aborted, Aborted, Clean, Aborted, Aborted], &[])];
        let mut reasons = Vec::new();
        every("a").is(Aborted).weigh(&results, &mut reasons);
        assert_eq!(reasons, ["a: mixed: clean, aborted (1 clean, 4 aborted of 5)"]);
    }
}
