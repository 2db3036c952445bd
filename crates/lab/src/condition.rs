//! Conditions on counts. An experiment declares before it runs which condition supports a claim, and which
//! refutes it.

use std::{
    fmt,
    ops::{BitAnd, BitOr, Not, RangeInclusive},
};

use crate::{
    observation::{Observation, Spread},
    outcome::{Outcome, Outcomes},
    prediction::Prediction,
    results::{VariantResult, Verdict},
    statistics::{Share, difference, fisher},
};

/// The fewest trials of a variant that allow a conclusion.
pub const FEWEST_TRIALS: u32 = 5;

/// Whether a condition holds. `None` means that the counts do not decide it.
type Holds = Option<bool>;

type Weigh = Box<dyn Fn(&[VariantResult], &mut Vec<String>) -> Holds + Send + Sync>;

/// A statement about counts. The counts may confirm it, contradict it, or leave it open.
pub struct Condition {
    /// The variants of the condition.
    patterns: Vec<String>,
    weigh: Weigh,
}

/// The variants of a condition. See [`every`].
#[derive(Clone, Debug)]
pub struct Subject(String);

/// Selects every variant whose name matches the pattern, in which `*` matches any text, and `|` stands between
/// two patterns. A pattern without a match is an error, which the experiment reports when it starts.
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
    /// Holds if the counts of each of the variants are as predicted.
    #[must_use]
    pub fn is(self, prediction: impl Into<Prediction>) -> Condition {
        let prediction = prediction.into();
        self.outcomes(move |outcomes| prediction.holds(outcomes))
    }

    /// Holds if at least this percentage of each variant's trials did not end clean.
    #[must_use]
    pub fn fails_at_least(self, percent: u32) -> Condition {
        self.outcomes(move |outcomes| failures(outcomes) * 100 >= percent * outcomes.total())
    }

    /// Holds if at most this percentage of each variant's trials did not end clean.
    #[must_use]
    pub fn fails_at_most(self, percent: u32) -> Condition {
        self.outcomes(move |outcomes| failures(outcomes) * 100 <= percent * outcomes.total())
    }

    /// Holds if of the trials of all these variants, taken together, a share of this many percent did not end
    /// clean.
    #[must_use]
    pub fn fails_together_in(self, percent: RangeInclusive<u32>) -> Condition {
        let Self(pattern) = self;
        let patterns = vec![pattern.clone()];
        let weigh = Box::new(move |results: &[VariantResult], reasons: &mut Vec<String>| {
            let Share { hits, trials } = share(&pattern, results);
            let reason = format!("{pattern}: {hits} of {trials} failed");
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
            let bounds = [percent.start(), percent.end()].map(|it| it * trials);
            (trials >= FEWEST_TRIALS).then(|| (bounds[0]..=bounds[1]).contains(&(hits * 100)))
        });
        Condition { patterns, weigh }
    }

    /// Holds if these variants, taken together, fail more often than the others, taken together, significantly so
    /// (Fisher's exact test, 5 %).
    #[must_use]
    pub fn fails_more_often_than(self, others: Self) -> Condition {
        let patterns = vec![self.0, others.0];
        let pair = patterns.clone();
        let weigh = Box::new(move |results: &[VariantResult], reasons: &mut Vec<String>| {
            let shares = [0, 1].map(|at| share(&pair[at], results));
            for (pattern, Share { hits, trials }) in pair.iter().zip(&shares) {
                let reason = format!("{pattern}: {hits} of {trials} failed");
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
            let [these, others] = shares;
            let decides = these.trials.min(others.trials) >= FEWEST_TRIALS;
            let is_significant = || fisher(these, others) < SIGNIFICANT;
            decides.then(|| difference(these, others).0 > 0.0 && is_significant())
        });
        Condition { patterns, weigh }
    }

    /// Holds if a trial of one of the variants ended in this way.
    #[must_use]
    pub fn once(self, outcome: Outcome) -> Condition {
        self.together(move |results, pattern| {
            let ended: u32 = results.iter().map(|result| result.outcomes.count(outcome)).sum();
            let trials = results.iter().map(|result| result.outcomes.total()).sum();
            (ended, trials, format!("{pattern}: {ended} {outcome} of {trials}"))
        })
    }

    /// Holds if there is one, of all trials of the variants together.
    fn together(
        self,
        count: impl Fn(&[&VariantResult], &str) -> (u32, u32, String) + Send + Sync + 'static,
    ) -> Condition {
        let Self(pattern) = self;
        let patterns = vec![pattern.clone()];
        let weigh = Box::new(move |results: &[VariantResult], reasons: &mut Vec<String>| {
            let selected: Vec<_> =
                results.iter().filter(|result| fits(&pattern, &result.name)).collect();
            let (hits, trials, reason) = count(&selected, &pattern);
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
            (trials >= FEWEST_TRIALS).then_some(hits > 0)
        });
        Condition { patterns, weigh }
    }

    /// Holds if each of the variants had a panic at this place: a file, with a line and a column or without.
    #[must_use]
    pub fn panics_at(self, place: &str) -> Condition {
        let place = place.to_owned();
        self.each(move |result| {
            let mut sites = result.sites.iter().chain(&result.occasional_sites);
            let is_there = |site: &String| {
                let rest = site.strip_prefix(&place);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            };
            let there = sites.any(is_there);
            let reason = format!("{}: panics at {}", result.name, result.sites.join(" and "));
            (enough(&result.outcomes).then_some(there), reason)
        })
    }

    /// Holds if each of the variants panicked on a thread of this name, and on no other thread. Sites of panics that
    /// may or may not occur do not count.
    #[must_use]
    pub fn panics_on(self, thread: &str) -> Condition {
        let thread = thread.to_owned();
        self.each(move |result| {
            let there = result.threads == [thread.as_str()];
            let reason = format!("{}: panics on {}", result.name, result.threads.join(" and "));
            (enough(&result.outcomes).then_some(there), reason)
        })
    }

    /// Holds if no trial of the variants panicked on a thread of this name, wherever.
    #[must_use]
    pub fn never_panics_on(self, thread: &str) -> Condition {
        let thread = thread.to_owned();
        self.each(move |result| {
            let mut threads = result.threads.iter().chain(&result.occasional_threads);
            let never = !threads.any(|it| *it == thread);
            let reason = match never {
                true => format!("{}: never panics on {thread}", result.name),
                false => format!("{}: panics on {thread}", result.name),
            };
            (enough(&result.outcomes).then_some(never), reason)
        })
    }

    /// A suite that repeats this variant's trial so many times. The pattern must be a name.
    #[must_use]
    pub fn suite_of(self, exits: u32) -> Suite {
        Suite { variant: self.0, exits }
    }

    fn outcomes(self, holds: impl Fn(&Outcomes) -> bool + Send + Sync + 'static) -> Condition {
        self.each(move |result| {
            let holds = enough(&result.outcomes).then(|| holds(&result.outcomes));
            (holds, outcome_reason(result))
        })
    }

    /// Selects an observation: the numbers or words that the trials recorded under this name.
    #[must_use]
    pub fn observed(self, observation: &str) -> Observed {
        Observed { variants: self, observation: observation.to_owned() }
    }

    /// Holds if it holds for each of the variants. A variant that contradicts it decides; one that does
    /// not decide leaves it open.
    fn each(
        self,
        holds: impl Fn(&VariantResult) -> (Holds, String) + Send + Sync + 'static,
    ) -> Condition {
        let Self(pattern) = self;
        let patterns = vec![pattern.clone()];
        let weigh = Box::new(move |results: &[VariantResult], reasons: &mut Vec<String>| {
            let mut all = None;
            for result in results.iter().filter(|result| fits(&pattern, &result.name)) {
                let (holds, reason) = holds(result);
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
                all = Some(all.map_or(holds, |all| both(all, holds)));
            }
            all.flatten()
        });
        Condition { patterns, weigh }
    }
}

/// The failures of all variants that the pattern selects, taken together.
fn share(pattern: &str, results: &[VariantResult]) -> Share {
    let selected = results.iter().filter(|result| fits(pattern, &result.name));
    selected.fold(
        Share { hits: 0, trials: 0 },
        |Share { hits, trials }, VariantResult { outcomes, .. }| Share {
            hits: hits + failures(outcomes),
            trials: trials + outcomes.total(),
        },
    )
}

/// Variants that fail significantly more often than others: see [`Subject::fails_more_often_than`].
const SIGNIFICANT: f64 = 0.05;

/// How much more often one suite must pass than another, see [`Suite::passes_more_often_than`].
const CLEARLY: f64 = 0.1;

/// A test suite that repeats a variant's trial, and passes if every repetition ends clean.
#[derive(Clone, Debug)]
pub struct Suite {
    variant: String,
    exits: u32,
}

impl Suite {
    /// Holds if this suite passes more often than the other, by at least ten percentage points. The
    /// probabilities follow from the variants' rates.
    #[must_use]
    pub fn passes_more_often_than(self, other: Self) -> Condition {
        let of = |results: &[VariantResult], Self { variant, exits }: &Self| {
            let result = results.iter().find(|result| result.name == *variant)?;
            let total = result.outcomes.total();
            let clean = f64::from(total - failures(&result.outcomes)) / f64::from(total);
            enough(&result.outcomes).then(|| clean.powf(f64::from(*exits)))
        };
        let patterns = vec![self.variant.clone(), other.variant.clone()];
        let weigh = Box::new(move |results: &[VariantResult], reasons: &mut Vec<String>| {
            let (one, two) = (of(results, &self)?, of(results, &other)?);
            for (Self { variant, exits }, passes) in [(&self, one), (&other, two)] {
                let reason =
                    format!("a suite of {exits} × {variant} passes in {:.1} %", passes * 100.0);
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
            Some(one >= two + CLEARLY)
        });
        Condition { patterns, weigh }
    }
}

/// An observation of a variant. Durations are compared in nanoseconds.
#[derive(Clone, Debug)]
pub struct Observed {
    variants: Subject,
    observation: String,
}

impl Observed {
    /// Holds if every trial recorded at least this.
    #[must_use]
    pub fn always_at_least(self, bound: i64) -> Condition {
        self.number(move |recorded, trials| in_each(recorded.min >= bound, recorded.n, trials))
    }

    /// Holds if every trial recorded at most this.
    #[must_use]
    pub fn always_at_most(self, bound: i64) -> Condition {
        self.number(move |recorded, trials| in_each(recorded.max <= bound, recorded.n, trials))
    }

    /// Holds if some trial recorded at least this.
    #[must_use]
    pub fn once_at_least(self, bound: i64) -> Condition {
        self.number(move |recorded, _| Some(recorded.max >= bound))
    }

    /// Holds if the median of the recorded numbers is at least this.
    #[must_use]
    pub fn mostly_at_least(self, bound: i64) -> Condition {
        self.number(move |recorded, _| Some(recorded.median >= bound))
    }

    /// Holds if the median of the recorded numbers is at most this.
    #[must_use]
    pub fn mostly_at_most(self, bound: i64) -> Condition {
        self.number(move |recorded, _| Some(recorded.median <= bound))
    }

    /// Holds if every trial recorded this word (`true` or `false` for a flag).
    #[must_use]
    pub fn always_reads(self, word: &str) -> Condition {
        self.word(word, |count, _, trials| Some(count == trials))
    }

    /// Holds if a trial of one of the variants recorded this word.
    #[must_use]
    pub fn once_reads(self, word: &str) -> Condition {
        let (Self { variants, observation }, word) = (self, word.to_owned());
        variants.together(move |results, pattern| {
            let recorded: Vec<_> =
                results.iter().filter_map(|result| result.observations.get(&observation)).collect();
            let read = recorded.iter().map(|found| found.count(&word)).sum();
            let trials = match recorded.is_empty() {
                // There is no such observation.
                true => 0,
                false => results.iter().map(|result| result.trials).sum(),
            };
            (read, trials, format!("{pattern}: {observation} was {word} in {read} of {trials}"))
        })
    }

    /// Holds if every trial recorded a word, and none this one.
    #[must_use]
    pub fn never_reads(self, word: &str) -> Condition {
        self.word(word, |count, recorded, trials| in_each(count == 0, recorded, trials))
    }

    fn number(self, holds: impl Fn(Spread, u32) -> Holds + Send + Sync + 'static) -> Condition {
        let Self { variants, observation } = self;
        variants.each(move |result| {
            let found = result.observations.get(&observation);
            let spread = found.and_then(Observation::spread);
            let name = &result.name;
            let reason = match (found, spread) {
                (Some(found), Some(Spread { n, .. })) => {
                    format!("{name}: {observation} {found} in {n} trials")
                }
                _ => format!("{name}: {observation} was not recorded as a number"),
            };
            let spread = spread.filter(|spread| spread.n >= FEWEST_TRIALS);
            (spread.and_then(|spread| holds(spread, result.trials)), reason)
        })
    }

    fn word(self, word: &str, holds: fn(u32, u32, u32) -> Holds) -> Condition {
        let (Self { variants, observation }, word) = (self, word.to_owned());
        variants.each(move |result| {
            let found = result.observations.get(&observation);
            let (count, trials) = (found.map_or(0, |found| found.count(&word)), result.trials);
            let reason =
                format!("{}: {observation} was {word} in {count} of {trials}", result.name);
            let recorded = found.map_or(0, Observation::recorded);
            let decides = recorded > 0 && enough(&result.outcomes);
            (decides.then(|| holds(count, recorded, trials)).flatten(), reason)
        })
    }
}

/// What holds in all that was recorded, holds in each trial only if each recorded it.
fn in_each(holds: bool, recorded: u32, trials: u32) -> Holds {
    match holds {
        true if recorded < trials => None,
        decided => Some(decided),
    }
}

impl BitAnd for Condition {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        self.combined(other, both)
    }
}

impl BitOr for Condition {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.combined(other, |one, other| {
            both(one.map(Not::not), other.map(Not::not)).map(Not::not)
        })
    }
}

impl Not for Condition {
    type Output = Self;
    fn not(self) -> Self {
        let Self { patterns, weigh } = self;
        let weigh =
            Box::new(move |results: &[_], reasons: &mut _| weigh(results, reasons).map(Not::not));
        Self { patterns, weigh }
    }
}

impl Condition {
    /// Holds if all of these hold.
    #[must_use]
    pub fn all(conditions: impl IntoIterator<Item = Self>) -> Self {
        let weigh = Box::new(|_: &[_], _: &mut _| Some(true));
        let nothing = Self { patterns: Vec::new(), weigh };
        conditions.into_iter().fold(nothing, BitAnd::bitand)
    }

    /// Holds if one of these holds.
    #[must_use]
    pub fn any(conditions: impl IntoIterator<Item = Self>) -> Self {
        !Self::all(conditions.into_iter().map(Not::not))
    }

    /// The patterns of the condition.
    pub(crate) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Evaluates the condition for these results. Adds a reason for each variant it uses.
    pub(crate) fn holds(&self, results: &[VariantResult], reasons: &mut Vec<String>) -> Holds {
        (self.weigh)(results, reasons)
    }

    fn combined(mut self, other: Self, combine: fn(Holds, Holds) -> Holds) -> Self {
        self.patterns.extend(other.patterns);
        let (one, other) = (self.weigh, other.weigh);
        let weigh = Box::new(move |results: &[_], reasons: &mut _| {
            combine(one(results, reasons), other(results, reasons))
        });
        Self { patterns: self.patterns, weigh }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("patterns", &self.patterns).finish_non_exhaustive()
    }
}

const fn both(one: Holds, other: Holds) -> Holds {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// The verdict on a claim, from the conditions that support and refute it, and the reasons. It is
/// inconclusive if both or neither hold, or if the counts do not decide.
pub(crate) fn verdict(
    supported: &Condition,
    refuted: &Condition,
    results: &[VariantResult],
) -> (Verdict, Vec<String>) {
    let mut reasons = Vec::new();
    let supported = supported.holds(results, &mut reasons);
    let refuted = refuted.holds(results, &mut reasons);
    let verdict = match (supported, refuted) {
        (Some(true), Some(false)) => Verdict::Supported,
        (Some(false), Some(true)) => Verdict::Refuted,
        _ => Verdict::Inconclusive,
    };
    (verdict, reasons)
}

/// Whether there were enough trials for a conclusion.
pub(crate) fn enough(outcomes: &Outcomes) -> bool {
    outcomes.total() >= FEWEST_TRIALS
}

fn failures(outcomes: &Outcomes) -> u32 {
    outcomes.total() - outcomes.count(Outcome::Clean)
}

/// `old/outside: always aborted (20 aborted of 20)`.
pub(crate) fn outcome_reason(result: &VariantResult) -> String {
    let VariantResult { name, class, outcomes, trials, .. } = result;
    let counts: Vec<_> =
        outcomes.seen().map(|outcome| format!("{} {outcome}", outcomes.count(outcome))).collect();
    let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
    format!("{name}: {class} ({counts} of {trials})")
}

/// Whether a name matches a pattern in which `*` matches any text.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    pattern.split('|').any(|pattern| fits_one(pattern, name))
}

fn fits_one(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let mut starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts.any(|at| rest.get(at..).is_some_and(|tail| fits_one(after, tail)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Outcome::{Aborted, Clean, Failed, Hung},
        Role,
        observation::Value,
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
            hits: 0,
            interval: [0.0, 1.0],
            sites: Vec::new(),
            occasional_sites: Vec::new(),
            threads: Vec::new(),
            occasional_threads: Vec::new(),
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
        assert!(fits("old/a|new/*", "old/a") && fits("old/a|new/*", "new/b"));
        assert!(!fits("old/a|new/*", "old/b"));
    }

    #[test]
    fn verdicts_follow_the_counts() {
        let aborted = [result("old/outside", &[Aborted; 20], &[])];
        let clean = [result("old/outside", &[Clean; 20], &[])];
        let (fails, works) = (|| every("*/outside").is(Aborted), || every("*").is(Clean));
        assert_eq!(judge(fails(), works(), &aborted), Verdict::Supported);
        assert_eq!(judge(fails(), works(), &clean), Verdict::Refuted);
        assert_eq!(judge(fails() | works(), fails() & works(), &clean), Verdict::Supported);
    }

    #[test]
    fn too_few_trials_or_none_conclude_nothing() {
        let few = [result("old/outside", &[Aborted; 4], &[])];
        let fails = || every("*/outside").is(Aborted);
        assert_eq!(judge(fails(), !fails(), &few), Verdict::Inconclusive);
        assert_eq!(judge(fails(), !fails(), &[]), Verdict::Inconclusive);
    }

    #[test]
    fn one_variant_against_it_decides_even_if_another_was_not_run() {
        let results = [result("old/outside", &[Clean; 9], &[]), result("new/outside", &[], &[])];
        let fails = every("*/outside").is(Aborted);
        assert_eq!(fails.holds(&results, &mut Vec::new()), Some(false));
        let works = every("*/outside").is(Clean);
        assert_eq!(works.holds(&results, &mut Vec::new()), None);
    }

    #[test]
    fn every_end_but_a_clean_one_counts_as_a_failure() {
        let results = [result("a", &[Aborted, Failed, Hung, Clean, Clean, Clean], &[])];
        let holds = |condition: Condition| condition.holds(&results, &mut Vec::new());
        assert_eq!(holds(every("a").fails_at_least(50)), Some(true));
        assert_eq!(holds(every("a").fails_at_least(51)), Some(false));
        assert_eq!(holds(every("a").fails_at_most(50)), Some(true));
        assert_eq!(holds(every("a").fails_at_most(49)), Some(false));
        assert_eq!(holds(every("b").fails_at_most(49)), None);
    }

    #[test]
    fn a_share_of_all_trials_together_lies_within_bounds_or_not() {
        let results = [result("a", &[Aborted; 3], &[]), result("b", &[Clean; 7], &[])];
        let holds =
            |percent| every("a|b").fails_together_in(percent).holds(&results, &mut Vec::new());
        assert_eq!([holds(30..=40), holds(20..=30)], [Some(true), Some(true)]);
        assert_eq!([holds(31..=100), holds(0..=29)], [Some(false), Some(false)]);
        let few = every("a").fails_together_in(0..=100);
        assert_eq!(few.holds(&results, &mut Vec::new()), None);
    }

    #[test]
    fn a_small_difference_between_two_rates_is_none() {
        let rate = |name, failed: usize| {
            let outcomes: Vec<_> =
                (0..40).map(|nth| if nth < failed { Failed } else { Clean }).collect();
            result(name, &outcomes, &[])
        };
        let results = [
            rate("a", 20),
            rate("b", 17),
            rate("c", 2),
            rate("d/one", 5),
            rate("d/two", 15),
            result("few", &[Failed; 4], &[]),
        ];
        let more = |one: &str, other: &str| {
            every(one).fails_more_often_than(every(other)).holds(&results, &mut Vec::new())
        };
        assert_eq!(more("a", "c"), Some(true));
        assert_eq!(more("a", "b"), Some(false));
        assert_eq!(more("c", "a"), Some(false));
        assert_eq!(more("d/one", "c"), Some(false));
        assert_eq!(more("d/*", "c"), Some(true), "taken together");
        assert_eq!(more("a", "d/*"), Some(true));
        assert_eq!(more("few", "c"), None);
    }

    #[test]
    fn a_suite_with_more_exits_passes_less_often() {
        let mut outcomes = vec![Clean; 8];
        outcomes.extend([Aborted; 2]);
        let results = [result("a", &outcomes, &[]), result("few", &[Clean; 4], &[])];
        let mut reasons = Vec::new();
        let mut more = |one: (&str, u32), other: (&str, u32)| {
            let [one, other] = [one, other].map(|(name, exits)| every(name).suite_of(exits));
            one.passes_more_often_than(other).holds(&results, &mut reasons)
        };
        assert_eq!(more(("a", 5), ("a", 20)), Some(true));
        assert_eq!(more(("a", 20), ("a", 5)), Some(false));
        assert_eq!(more(("few", 5), ("a", 20)), None);
        assert_eq!(reasons[0], "a suite of 5 × a passes in 32.8 %");
    }

    #[test]
    fn numbers_are_compared_over_all_trials() {
        let results = [result("a", &[Clean; 5], &[0, 0, 4, 4, 4])];
        let holds = |condition: Condition| condition.holds(&results, &mut Vec::new());
        let files = || every("a").observed("open_files");
        assert_eq!(holds(files().always_at_least(1)), Some(false));
        assert_eq!(holds(files().once_at_least(4)), Some(true));
        assert_eq!(holds(files().mostly_at_most(3)), Some(false));
        assert_eq!(holds(files().mostly_at_least(4)), Some(true));
        assert_eq!(holds(files().mostly_at_least(5)), Some(false));
        assert_eq!(holds(files().always_at_most(4)), Some(true));
        assert_eq!(holds(every("a").observed("threads").always_at_most(3)), None);
    }

    #[test]
    fn what_not_every_trial_recorded_does_not_hold_in_each() {
        let mut some = result("a", &[Clean; 9], &[1; 6]);
        let words = Observation::of(&[Value::from("late")]).unwrap();
        some.observations.insert("says".to_owned(), words);
        some.sites = vec!["src/lib.rs:101:22".to_owned()];
        let results = [some];
        let holds = |condition: Condition| condition.holds(&results, &mut Vec::new());
        let of = |observation| every("a").observed(observation);
        assert_eq!(holds(of("open_files").always_at_most(1)), None);
        assert_eq!(holds(of("open_files").always_at_most(0)), Some(false));
        assert_eq!(holds(of("open_files").always_at_least(1)), None);
        assert_eq!(holds(of("says").never_reads("early")), None);
        assert_eq!(holds(of("says").never_reads("late")), Some(false));
        assert_eq!(holds(!of("says").once_reads("early")), Some(true));
        assert_eq!(holds(!of("sayz").once_reads("late")), None);
        assert_eq!(holds(every("a").panics_at("src/lib.rs:101")), Some(true));
        assert_eq!(holds(every("a").panics_at("src/lib.rs:10")), Some(false));
    }

    #[test]
    fn one_trial_of_one_variant_is_enough_for_what_occurs_once() {
        let results = [result("a/one", &[Clean; 5], &[1; 5]), result("a/two", &[Aborted], &[2])];
        let holds = |condition: Condition| condition.holds(&results, &mut Vec::new());
        assert_eq!(holds(every("a/*").once(Aborted)), Some(true));
        assert_eq!(holds(every("a/one").once(Aborted)), Some(false));
        assert_eq!(holds(every("a/*").once(Hung)), Some(false));
        assert_eq!(holds(every("a/two").once(Aborted)), None, "too few trials");
        let says = || every("a/one").observed("says");
        assert_eq!(holds(says().once_reads("fatal")), None, "nothing was recorded");
    }

    #[test]
    fn all_and_any_of_several_conditions() {
        let results = [result("a", &[Clean; 5], &[])];
        let [yes, no, open] = [Some(Clean), Some(Hung), None];
        let condition = |of: Option<Outcome>| {
            of.map_or_else(|| every("b"), |_| every("a")).is(of.unwrap_or(Clean))
        };
        let these = |these: [Option<Outcome>; 2]| these.map(condition);
        let holds = |of: Condition| of.holds(&results, &mut Vec::new());
        let all = |of| holds(Condition::all(these(of)));
        let any = |of| holds(Condition::any(these(of)));
        assert_eq!([all([yes, yes]), any([no, no])], [Some(true), Some(false)]);
        assert_eq!([all([yes, no]), any([yes, no])], [Some(false), Some(true)]);
        assert_eq!([all([yes, open]), any([no, open])], [None, None]);
        assert_eq!([all([no, open]), any([yes, open])], [Some(false), Some(true)]);
    }

    #[test]
    fn a_place_of_a_panic_is_found_among_all_and_not_among_none() {
        let mut panicked = result("a", &[Aborted; 5], &[]);
        panicked.sites = vec!["a/src/lib.rs:1:2".to_owned(), "b/src/lib.rs:3:4".to_owned()];
        let results = [panicked, result("none", &[Clean; 5], &[]), result("few", &[], &[])];
        let at = |name, place| every(name).panics_at(place).holds(&results, &mut Vec::new());
        assert_eq!(at("a", "b/src/lib.rs:3"), Some(true));
        assert_eq!(at("a", "c/src/lib.rs"), Some(false));
        assert_eq!(at("none", "b/src/lib.rs:3"), Some(false));
        assert_eq!(at("few", "b/src/lib.rs:3"), None);
    }

    #[test]
    fn a_thread_that_panics_is_the_only_one() {
        let on = |name: &str, threads: &[&str]| {
            let mut result = result(name, &[Aborted; 5], &[]);
            result.threads = threads.iter().map(ToString::to_string).collect();
            result
        };
        let results = [
            on("main", &["main"]),
            on("both", &["main", "worker"]),
            on("none", &[]),
            result("few", &[], &[]),
        ];
        let on_main = |name| every(name).panics_on("main").holds(&results, &mut Vec::new());
        assert_eq!(on_main("main"), Some(true));
        assert_eq!(on_main("both"), Some(false));
        assert_eq!(on_main("none"), Some(false));
        assert_eq!(on_main("few"), None);
        let mut sometimes = on("sometimes", &["worker"]);
        sometimes.occasional_threads = vec!["main".to_owned()];
        let results =
            [on("worker", &["worker"]), on("main", &["main"]), sometimes, result("few", &[], &[])];
        let never = |name| every(name).never_panics_on("main").holds(&results, &mut Vec::new());
        assert_eq!(never("worker"), Some(true));
        assert_eq!(never("main"), Some(false));
        assert_eq!(never("sometimes"), Some(false));
        assert_eq!(never("few"), None);
    }

    #[test]
    fn reasons_are_made_from_the_counts() {
        let results = [result("a", &[Aborted, Aborted, Clean, Aborted, Aborted], &[])];
        let mut reasons = Vec::new();
        every("a").is(Aborted).holds(&results, &mut reasons);
        assert_eq!(reasons, ["a: mixed: clean, aborted (1 clean, 4 aborted of 5)"]);
    }
}
