//! An experiment: a question, one hypothesis, its variants, and the claims that it tests.

use std::{collections::BTreeMap, ffi::OsStr, fmt, mem, path::Path};

use crate::{
    condition::Condition,
    equipment::{Equipment, Lack, Preparation},
    results::Role,
    trial::TrialResult,
    variant::Variant,
};

/// An experiment, declared before it runs.
///
/// ```no_run
/// use std::process::ExitCode;
/// use lab::{Experiment, Outcome::{Clean, Panicked}, control, every, hazard};
///
/// fn main() -> ExitCode {
///     Experiment::new("90_integer_division")
///         .question("What does a division by zero do?")
///         .hypothesis("It panics, whatever is divided.")
///         .variants([
///             hazard("by-zero", Panicked, |trial| {
///                 trial.record("quotient", 1 / std::hint::black_box(0));
///                 Ok(())
///             }),
///             control("by-one", |_| Ok(())),
///         ])
///         .claim("Z1", "division never fails")
///         .supported_if(every("by-zero").is(Clean))
///         .refuted_if(every("by-zero").is(Panicked))
///         .run()
/// }
/// ```
pub struct Experiment {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) binary: String,
    pub(crate) question: String,
    pub(crate) hypothesis: String,
    /// What the hypothesis says of rates, which no prediction of a variant covers.
    pub(crate) holds_only_if: Vec<Condition>,
    /// What was expected before the first figures, if the hypothesis was changed after them.
    pub(crate) first_expected: Option<String>,
    /// The observations that the snapshot shows, each with the edges of its buckets.
    pub(crate) kept: BTreeMap<String, Vec<i64>>,
    pub(crate) variants: Vec<Variant>,
    /// Derived cures that are not among the variants yet.
    derived: Vec<Variant>,
    pub(crate) parts: Vec<Part>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) kit_claim: Option<String>,
    pub(crate) shown_first: Vec<String>,
    pub(crate) needs: Vec<Need>,
    /// Why a run of all experiments leaves it out.
    pub(crate) on_demand: Option<String>,
}

/// Finds or prepares an external requirement of the trials.
pub(crate) type Need = Box<dyn Fn(&Preparation<'_>) -> Result<Equipment, Lack> + Send + Sync>;

/// Code that a trial can run in another process.
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) body: PartBody,
}

type PartBody = Box<dyn Fn(&[String]) -> TrialResult + Send + Sync>;

/// A claim of a write-up, with the conditions that support and refute it.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) id: String,
    pub(crate) statement: String,
    /// Whether it is this project's statement, and not the write-up's.
    pub(crate) finding: bool,
    /// Whether some runs leave it open.
    pub(crate) open_in_some_runs: bool,
    pub(crate) supported: Condition,
    pub(crate) refuted: Condition,
}

impl Experiment {
    /// Begins the declaration of an experiment: pass `file!()`. The number and the name come from the
    /// file's name, `src/bin/NN_name.rs`.
    #[must_use]
    pub fn new(file: &str) -> Self {
        let binary = Path::new(file).file_stem().and_then(OsStr::to_str).unwrap_or(file);
        let (id, name) = binary.split_once('_').unwrap_or(("", binary));
        Self {
            id: id.to_owned(),
            name: name.replace('_', "-"),
            binary: binary.to_owned(),
            question: String::new(),
            hypothesis: String::new(),
            holds_only_if: Vec::new(),
            first_expected: None,
            kept: BTreeMap::new(),
            variants: Vec::new(),
            derived: Vec::new(),
            parts: Vec::new(),
            claims: Vec::new(),
            kit_claim: None,
            shown_first: Vec::new(),
            needs: Vec::new(),
            on_demand: None,
        }
    }

    /// The number: `01`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sets the question that the experiment asks.
    #[must_use]
    pub fn question(mut self, question: &str) -> Self {
        self.question = question.to_owned();
        self
    }

    /// Sets the one statement that the experiment tests. It is supported if the counts of every variant
    /// are as predicted, and refuted if those of one variant are not.
    #[must_use]
    pub fn hypothesis(mut self, hypothesis: &str) -> Self {
        self.hypothesis = hypothesis.to_owned();
        self
    }

    /// Adds to the hypothesis what it says and no prediction covers: how often a variant fails at most, on which
    /// thread it panics, what its trials observe. The hypothesis is refuted without it.
    #[must_use]
    pub fn holds_only_if(mut self, condition: Condition) -> Self {
        self.holds_only_if.push(condition);
        self
    }

    /// Says what was expected before the first figures, if the hypothesis was changed after them.
    #[must_use]
    pub fn first_expected(mut self, expectation: &str) -> Self {
        self.first_expected = Some(expectation.to_owned());
        self
    }

    /// Puts an observation into the snapshot, below every variant that records it: a run in which it
    /// differs does not match.
    ///
    /// Of words and flags the snapshot has those that occurred. Of numbers it has the bucket that they
    /// fall in, between two of these edges (for a duration, in nanoseconds). Choose edges far away from
    /// what is measured, so that noise does not cross them. Without edges the numbers stand there as they
    /// are, so leave the edges out only where every run records the same.
    #[must_use]
    pub fn keeps(mut self, observation: &str, edges: impl IntoIterator<Item = i64>) -> Self {
        self.kept.insert(observation.to_owned(), edges.into_iter().collect());
        self
    }

    /// Adds an external requirement. The parent process calls `prepare` once per run, before the first
    /// trial. If the requirement is [missing](Lack::Missing), the experiment is skipped: it prints the
    /// reason and exits with 0.
    #[must_use]
    pub fn needs(
        mut self,
        prepare: impl Fn(&Preparation<'_>) -> Result<Equipment, Lack> + Send + Sync + 'static,
    ) -> Self {
        self.needs.push(Box::new(prepare));
        self
    }

    /// Leaves the experiment out of a run of all experiments, for this reason, as a part of a sentence:
    /// `it builds the real SDK first, which takes minutes`. It runs if somebody names it. Being left out is
    /// a skip, and so it is reported.
    #[must_use]
    pub fn on_demand(mut self, because: &str) -> Self {
        self.on_demand = Some(because.to_owned());
        self
    }

    /// Adds variants.
    #[must_use]
    pub fn variants(mut self, variants: impl IntoIterator<Item = Variant>) -> Self {
        for variant in variants {
            if variant.role == Role::Cure {
                self.variants.append(&mut self.derived);
            }
            let (variants, mut cures) = variant.expand();
            self.variants.extend(variants);
            self.derived.append(&mut cures);
        }
        self
    }

    /// Changes every variant added so far: `.each(|variant| variant.trials(10))`.
    #[must_use]
    pub fn each(mut self, change: impl Fn(Variant) -> Variant) -> Self {
        for variants in [&mut self.variants, &mut self.derived] {
            *variants = mem::take(variants).into_iter().map(&change).collect();
        }
        self
    }

    /// Adds a part. A trial can run this code in another process, to observe that process.
    /// [`Trial::part`](crate::Trial::part) makes the command. The body gets the arguments that the trial
    /// adds to it, and runs on the main thread. The process then exits normally. On an error, it prints
    /// the error and exits with 1.
    #[must_use]
    pub fn part(
        mut self,
        name: &str,
        body: impl Fn(&[String]) -> TrialResult + Send + Sync + 'static,
    ) -> Self {
        self.parts.push(Part { name: name.to_owned(), body: Box::new(body) });
        self
    }

    /// The text report starts with the first trial of this variant: its standard error, and how it
    /// ended. For trials that print what they do.
    #[must_use]
    pub fn shows_first(mut self, variant: &str) -> Self {
        self.shown_first.push(variant.to_owned());
        self
    }

    /// Returns only the variants, so another experiment can reuse them.
    #[must_use]
    pub fn into_variants(self) -> Vec<Variant> {
        self.complete().variants
    }

    /// Appends the derived cures to the variants.
    pub(crate) fn complete(mut self) -> Self {
        self.variants.append(&mut self.derived);
        self
    }

    /// Begins the declaration of a claim that the experiment tests: its id in `docs/claims.toml` and its
    /// own words. [`ClaimDraft::supported_if`] and then [`SupportedClaim::refuted_if`] complete it. Both
    /// are required: an unfalsifiable claim is no claim.
    #[must_use]
    pub fn claim(self, id: &str, statement: &str) -> ClaimDraft {
        ClaimDraft {
            experiment: self,
            id: id.to_owned(),
            statement: statement.to_owned(),
            finding: false,
            open_in_some_runs: false,
        }
    }

    /// Begins the declaration of a finding, like that of a [claim](Self::claim): a statement of this
    /// project about somebody's program, which its authors do not make.
    #[must_use]
    pub fn finding(self, id: &str, statement: &str) -> ClaimDraft {
        ClaimDraft { finding: true, ..self.claim(id, statement) }
    }

    /// States the kit's promise here: a claim of this project, with the id `kit`. No claim of others uses the cures.
    /// A cure with unpredicted counts refutes this one, and the hypothesis, which all predictions decide. It is
    /// supported if all cures *and all hazards* behave as predicted: a cure proves nothing unless the failure was
    /// reproduced in the same experiment.
    #[must_use]
    pub fn kit_claim(mut self, statement: &str) -> Self {
        self.kit_claim = Some(statement.to_owned());
        self
    }

    /// Whether variants of this role count for the claims of others, and for conditions.
    pub(crate) fn counts(&self, role: Role) -> bool {
        self.kit_claim.is_none() || role != Role::Cure
    }
}

impl fmt::Debug for Experiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Experiment").field("binary", &self.binary).finish_non_exhaustive()
    }
}

/// A claim without its conditions.
#[derive(Debug)]
pub struct ClaimDraft {
    experiment: Experiment,
    id: String,
    statement: String,
    finding: bool,
    open_in_some_runs: bool,
}

impl ClaimDraft {
    /// Says that one run may support the claim and the next leave it open, because it compares rates that
    /// depend on the machine, and on what else the machine does. The snapshot then says `not refuted` for
    /// both. Say on the page how often it was which.
    #[must_use]
    pub fn open_in_some_runs(self) -> Self {
        Self { open_in_some_runs: true, ..self }
    }

    /// Sets the condition that supports the claim.
    #[must_use]
    pub fn supported_if(self, supported: Condition) -> SupportedClaim {
        SupportedClaim { draft: self, supported }
    }
}

/// A claim with the condition that supports it, but without the one that refutes it.
#[derive(Debug)]
pub struct SupportedClaim {
    draft: ClaimDraft,
    supported: Condition,
}

impl SupportedClaim {
    /// Sets the condition that refutes the claim, and completes the declaration.
    #[must_use]
    pub fn refuted_if(self, refuted: Condition) -> Experiment {
        let Self { draft, supported } = self;
        let ClaimDraft { mut experiment, id, statement, finding, open_in_some_runs } = draft;
        experiment.claims.push(Claim {
            id,
            statement,
            finding,
            open_in_some_runs,
            supported,
            refuted,
        });
        experiment
    }
}
