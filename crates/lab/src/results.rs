//! What a run found out: the objects that `--format json` prints and the notebook is written from.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    observation::{Observation, Spread},
    outcome::Outcomes,
};

/// Whether a variant is expected to fail, and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Expected to fail: the thing that the experiment is about.
    Hazard,
    /// Expected not to fail, without the kit: the same harness, one thing changed.
    Control,
    /// Expected not to fail, by means of the kit.
    Cure,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hazard => "hazard",
            Self::Control => "control",
            Self::Cure => "cure",
        })
    }
}

/// What the counts say of a hypothesis or a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The counts bear it out.
    Supported,
    /// The counts contradict it.
    Refuted,
    /// Neither, or too few trials to tell.
    Inconclusive,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Supported => "supported",
            Self::Refuted => "refuted",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// Whether what was found is what the committed snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotStatus {
    /// The same.
    Match,
    /// Something else.
    Mismatch,
    /// There is no snapshot yet.
    New,
}

/// Everything that one run of one experiment found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentResult {
    /// The number, as two digits: `01`.
    pub id: String,
    /// The name without the number: `drop-context`.
    pub name: String,
    /// The claims that the experiment bears on, each with what the counts say of it.
    pub claims: Vec<ClaimResult>,
    /// What the experiment asks.
    pub question: String,
    /// The one statement that the experiment tests.
    pub hypothesis: String,
    /// What the counts say of the hypothesis.
    pub verdict: Verdict,
    /// Why, variant by variant, in words made from the counts.
    pub reasons: Vec<String>,
    /// What the comparison with the committed snapshot gave; absent where none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotStatus>,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// The seed from which every trial's seed was derived.
    pub seed: u64,
    /// What it used that the workspace does not hold, an interpreter say, and in which version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub equipment: BTreeMap<String, String>,
    /// Whether the run was interrupted, and the counts are what was known by then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Whether the trials' files were in memory, and no disk had a part in what they took.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_memory: bool,
    /// The variants, in the order in which the experiment declares them.
    pub variants: Vec<VariantResult>,
}

/// An experiment that was not run, because this machine lacks what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The number, as two digits: `60`.
    pub id: String,
    /// The name without the number: `finalization`.
    pub name: String,
    /// What is missing.
    pub missing: String,
    /// What to do about it.
    pub remedy: String,
}

/// `skipped: 60 finalization: there is no python3 on PATH (install it)`.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, missing, remedy } = self;
        write!(f, "skipped: {id} {name}: {missing} ({remedy})")
    }
}

/// One claim of a write-up, and what the counts say of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimResult {
    /// The claim's number in the ledger, `A2` say.
    pub id: String,
    /// What it states.
    pub statement: String,
    /// What the counts say.
    pub verdict: Verdict,
    /// Why, in words made from the counts.
    pub reasons: Vec<String>,
}

/// What the trials of one variant did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantResult {
    /// The name: `old/outside-alive`.
    pub name: String,
    /// Whether it is expected to fail.
    pub role: Role,
    /// What is different in this variant, in one line.
    pub about: String,
    /// What was predicted, in words.
    pub prediction: String,
    /// Whether the counts bear the prediction out.
    pub predicted: bool,
    /// How many trials ran.
    pub trials: u32,
    /// How they ended.
    pub outcomes: Outcomes,
    /// The class, as it stands in the snapshot: `always aborted`.
    pub class: String,
    /// The Wilson interval, at 95 %, of the rate of the outcome that the class names.
    pub interval: [f64; 2],
    /// Where panics came from: each site once, sorted, those that only may occur left out.
    pub sites: Vec<String>,
    /// Sites that may or may not occur, and did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub occasional_sites: Vec<String>,
    /// What the trials recorded, by name.
    pub observations: BTreeMap<String, Observation>,
    /// What the trials cost.
    pub resources: Option<ResourceSpreads>,
    /// Trials worth a look: every one that contradicts the prediction (ten at the most), and the
    /// first of each other outcome than clean.
    pub examples: Vec<TrialExample>,
}

/// What the trials of a variant cost, each a spread over trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceSpreads {
    /// From start to end, in microseconds.
    pub wall_micros: Spread,
    /// Processor time in user mode, in microseconds.
    pub user_micros: Spread,
    /// Processor time in the kernel, in microseconds.
    pub system_micros: Spread,
    /// Largest resident memory, in KiB. Never less than what the sandbox itself occupied when it
    /// started the trial (a limit of what the system records).
    pub peak_kib: Spread,
}

/// One trial, as far as it is worth showing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialExample {
    /// Which trial of its variant, from 0.
    pub trial: u32,
    /// Its own seed.
    pub seed: u64,
    /// How it ended.
    pub outcome: crate::Outcome,
    /// Whether the prediction admits that.
    pub expected: bool,
    /// How it ended, in words: `SIGABRT after 2 panics`.
    pub ending: String,
    /// The panics, in the order in which they happened.
    pub panics: Vec<String>,
    /// Checks of its own that did not hold, and errors.
    pub problems: Vec<String>,
    /// The end of what it wrote to its standard error.
    pub stderr: String,
    /// The command that runs exactly this trial again, alone.
    pub rerun: String,
}

/// What an experiment declares of itself, before any trial runs: what `--list` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// The number, as two digits: `01`.
    pub id: String,
    /// The name without the number: `drop-context`.
    pub name: String,
    /// The name of the binary, of its source, of its page and of its snapshot: `01_drop_context`.
    pub binary: String,
    /// What the experiment asks.
    pub question: String,
    /// The one statement that the experiment tests.
    pub hypothesis: String,
    /// The claims that the experiment bears on, by number.
    pub claims: Vec<String>,
    /// The variants, in the order in which they are declared.
    pub variants: Vec<VariantDeclaration>,
}

/// What an experiment declares of one variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantDeclaration {
    /// The name: `old/outside-alive`.
    pub name: String,
    /// Whether it is expected to fail.
    pub role: Role,
    /// What is different in this variant, in one line.
    pub about: String,
    /// What is predicted, in words.
    pub prediction: String,
    /// How many trials a run with the given options makes.
    pub trials: u32,
}

/// One line of `--format events`: what happens, as it happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A trial ended.
    Trial {
        /// The variant's name.
        variant: String,
        /// Which trial of the variant, from 0.
        trial: u32,
        /// How it ended.
        outcome: crate::Outcome,
    },
    /// Something is made ready that the trials need.
    Preparing {
        /// What is being done.
        doing: String,
    },
    /// The experiment is not run; nothing follows.
    Skipped {
        /// Why.
        skipped: Skipped,
    },
    /// The run ended; nothing follows.
    Result {
        /// What it found out.
        result: Box<ExperimentResult>,
    },
}
