//! An experiment: a question, one hypothesis, its variants, and the claims that it bears on.

use std::{ffi::OsStr, fmt, path::Path, process::ExitCode};

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
///                 let zero = trial.directory().components().count() as i32 * 0;
///                 trial.record("quotient", 1 / zero);
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
#[derive(Debug)]
pub struct Experiment {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) binary: String,
    pub(crate) question: String,
    pub(crate) hypothesis: String,
    pub(crate) variants: Vec<Variant>,
    /// Derived cures that are not among the variants yet.
    derived: Vec<Variant>,
    pub(crate) parts: Vec<Part>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) kit_claim: Option<String>,
    pub(crate) told: Vec<String>,
    pub(crate) needs: Vec<Need>,
}

type Prepare = Box<dyn Fn(&Preparation<'_>) -> Result<Equipment, Lack> + Send + Sync>;

/// What finds or makes something that the trials need.
pub(crate) struct Need(pub(crate) Prepare);

impl fmt::Debug for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Need").finish_non_exhaustive()
    }
}

type PartBody = Box<dyn Fn(&[String]) -> TrialResult + Send + Sync>;

/// What a trial may run in another process.
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) body: PartBody,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A claim of a write-up, and what would bear it out or contradict it.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) id: String,
    pub(crate) statement: String,
    pub(crate) supported: Condition,
    pub(crate) refuted: Condition,
}

impl Experiment {
    /// Begins to declare the experiment of this file: pass `file!()`. From `src/bin/NN_name.rs` it
    /// takes its number and its name.
    #[must_use]
    pub fn new(file: &str) -> Self {
        let binary = Path::new(file).file_stem().and_then(OsStr::to_str).unwrap_or(file);
        let (id, name) = binary.split_once('_').unwrap_or(("00", binary));
        Self {
            id: id.to_owned(),
            name: name.replace('_', "-"),
            binary: binary.to_owned(),
            question: String::new(),
            hypothesis: String::new(),
            variants: Vec::new(),
            derived: Vec::new(),
            parts: Vec::new(),
            claims: Vec::new(),
            kit_claim: None,
            told: Vec::new(),
            needs: Vec::new(),
        }
    }

    /// Its number: `01`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the experiment asks.
    #[must_use]
    pub fn question(mut self, question: &str) -> Self {
        self.question = question.to_owned();
        self
    }

    /// The one statement that the experiment tests. It is supported where the counts of every
    /// variant bear its prediction out, and refuted where those of one contradict it.
    #[must_use]
    pub fn hypothesis(mut self, hypothesis: &str) -> Self {
        self.hypothesis = hypothesis.to_owned();
        self
    }

    /// Adds something that the trials need and that the workspace does not hold. It is looked for, and
    /// made ready, in the parent before any trial, once per run; what it returns is there for all of
    /// them. Where it is [missing](Lack::Missing) the experiment is skipped, says why, and exits 0.
    #[must_use]
    pub fn needs(
        mut self,
        prepare: impl Fn(&Preparation<'_>) -> Result<Equipment, Lack> + Send + Sync + 'static,
    ) -> Self {
        self.needs.push(Need(Box::new(prepare)));
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

    /// Adds a part: what a trial runs in a process of its own beside it, to look at from outside.
    /// [`Trial::part`](crate::Trial::part) makes the command. The body gets the command's further
    /// arguments; it runs on the main thread, and what happens after it has returned happens as at
    /// the end of any program. An error is printed, and makes the exit code 1.
    #[must_use]
    pub fn part(
        mut self,
        name: &str,
        body: impl Fn(&[String]) -> TrialResult + Send + Sync + 'static,
    ) -> Self {
        self.parts.push(Part { name: name.to_owned(), body: Box::new(body) });
        self
    }

    /// Has the report for a person begin with the first trial of this variant: how it ended, and what
    /// it had said on its standard error until then. For trials that tell what they do.
    #[must_use]
    pub fn tells(mut self, variant: &str) -> Self {
        self.told.push(variant.to_owned());
        self
    }

    /// The variants alone, for an experiment that collects those of others.
    #[must_use]
    pub fn into_variants(mut self) -> Vec<Variant> {
        self.variants.append(&mut self.derived);
        self.variants
    }

    /// Begins to declare a claim that the experiment bears on, by its number in the ledger and in
    /// its own words. It is finished by [`ClaimDraft::supported_if`] and
    /// [`SupportedClaim::refuted_if`]; a claim of which nothing could be the contrary is none.
    #[must_use]
    pub fn claim(self, id: &str, statement: &str) -> ClaimDraft {
        ClaimDraft { experiment: self, id: id.to_owned(), statement: statement.to_owned() }
    }

    /// States what the kit promises here: a claim of our own, with `kit` for a number. Cures are
    /// weighed for it and for nothing else; neither the hypothesis nor a claim of others speaks of
    /// them then. It is refuted where the counts of a cure contradict its prediction. It is supported
    /// where those of all bear it out *and every hazard beside them failed as predicted*: of a cure
    /// without a disease nothing follows.
    #[must_use]
    pub fn kit_claim(mut self, statement: &str) -> Self {
        self.kit_claim = Some(statement.to_owned());
        self
    }

    /// Runs what the command line asks for: the experiment, one trial of it, or a listing.
    ///
    /// This is the whole of an experiment's `main`. In the child process of a trial it runs the
    /// trial's body and returns, so that what happens at the end of a process happens as it does
    /// in any program.
    #[must_use]
    pub fn run(mut self) -> ExitCode {
        self.variants.append(&mut self.derived);
        crate::command::run(&self)
    }
}

/// A claim of which nothing but the words is declared yet.
#[derive(Debug)]
pub struct ClaimDraft {
    experiment: Experiment,
    id: String,
    statement: String,
}

impl ClaimDraft {
    /// What would bear the claim out.
    #[must_use]
    pub fn supported_if(self, supported: Condition) -> SupportedClaim {
        SupportedClaim { draft: self, supported }
    }
}

/// A claim of which it is declared what would bear it out, and not yet what would contradict it.
#[derive(Debug)]
pub struct SupportedClaim {
    draft: ClaimDraft,
    supported: Condition,
}

impl SupportedClaim {
    /// What would contradict the claim.
    #[must_use]
    pub fn refuted_if(self, refuted: Condition) -> Experiment {
        let Self { draft: ClaimDraft { mut experiment, id, statement }, supported } = self;
        experiment.claims.push(Claim { id, statement, supported, refuted });
        experiment
    }
}
