//! The results of a run: what `--format json` prints, and what the notebook is written from.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    observation::{Observation, Spread},
    outcome::Outcomes,
};

/// The role of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Expected to fail: what the experiment is about.
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

/// What the counts say about a hypothesis or a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The counts support it.
    Supported,
    /// The counts contradict it.
    Refuted,
    /// Neither, or there were too few trials.
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

/// How the result compares with the committed snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotStatus {
    /// The same.
    Match,
    /// Different.
    Mismatch,
    /// There is no snapshot yet.
    New,
}

/// The result of one run of one experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentResult {
    /// The number, as two digits: `01`.
    pub id: String,
    /// The name without the number: `drop-context`.
    pub name: String,
    /// The claims that the experiment tests, each with its verdict.
    pub claims: Vec<ClaimResult>,
    /// What the experiment asks.
    pub question: String,
    /// The one statement that the experiment tests.
    pub hypothesis: String,
    /// What was expected first, if the hypothesis was changed after the first figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_expected: Option<String>,
    /// The verdict on the hypothesis.
    pub verdict: Verdict,
    /// Why: a line for each variant, made from the counts.
    pub reasons: Vec<String>,
    /// The comparison with the committed snapshot; absent if none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotStatus>,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// The seed from which every trial's seed was derived.
    pub seed: u64,
    /// What it used that the workspace does not hold, such as an interpreter, with the version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub equipment: BTreeMap<String, String>,
    /// Whether the run was interrupted, so that the counts are incomplete.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Whether the trials' files were in memory, so that no disk affected the times.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_memory: bool,
    /// The sources that the experiment was built from, each with a digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, String>,
    /// The observations that the snapshot shows, each with the edges of its buckets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, Vec<i64>>,
    /// The variants, in the order in which the experiment declares them.
    pub variants: Vec<VariantResult>,
}

/// An experiment that was not run because this machine lacks what it needs.
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

/// A claim of a write-up, and what the counts say about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimResult {
    /// The claim's number in the ledger, such as `A2`.
    pub id: String,
    /// What it states.
    pub statement: String,
    /// Whether it is a finding of this project, which nobody claims.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finding: bool,
    /// Whether [some runs leave it open](crate::ClaimDraft::open_in_some_runs).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open_in_some_runs: bool,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in lines made from the counts.
    pub reasons: Vec<String>,
}

impl ClaimResult {
    /// The verdict as a snapshot has it.
    #[must_use]
    pub fn kept_verdict(&self) -> String {
        match self.verdict {
            Verdict::Supported | Verdict::Inconclusive if self.open_in_some_runs => {
                "not refuted".to_owned()
            }
            verdict => verdict.to_string(),
        }
    }
}

/// The result of one variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantResult {
    /// The name: `old/outside-alive`.
    pub name: String,
    /// The role.
    pub role: Role,
    /// What is different in this variant, in one line.
    pub about: String,
    /// The prediction, in words.
    pub prediction: String,
    /// Whether the counts are as predicted.
    pub predicted: bool,
    /// How many trials ran.
    pub trials: u32,
    /// How they ended.
    pub outcomes: Outcomes,
    /// The class, as it stands in the snapshot: `always aborted`.
    pub class: String,
    /// How many trials had the outcome that the class names. If the class names several, this is about
    /// the predicted one.
    pub hits: u32,
    /// The Wilson interval, at 95 %, for the rate of `hits` among the trials.
    pub interval: [f64; 2],
    /// The sites of panics: each once, sorted, without those that may or may not occur.
    pub sites: Vec<String>,
    /// Sites that may or may not occur, and did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub occasional_sites: Vec<String>,
    /// The names of the threads that panicked at `sites`: each once, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<String>,
    /// The names of the threads that panicked at `occasional_sites`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub occasional_threads: Vec<String>,
    /// What the trials recorded, by name.
    pub observations: BTreeMap<String, Observation>,
    /// What the trials cost.
    pub resources: Option<ResourceSpreads>,
    /// Trials to look at: those that contradict the prediction (at most ten), and the first of each
    /// outcome other than clean.
    pub examples: Vec<TrialExample>,
}

/// What the trials of a variant cost: the spread over the trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceSpreads {
    /// From start to end, in microseconds.
    pub wall_micros: Spread,
    /// Processor time in user mode, in microseconds.
    pub user_micros: Spread,
    /// Processor time in the kernel, in microseconds.
    pub system_micros: Spread,
    /// Largest resident memory, in KiB. The system counts at least what the sandbox itself occupied when
    /// it started the trial.
    pub peak_kib: Spread,
}

/// One trial, for a report.
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
    /// Checks that did not hold, and errors.
    pub problems: Vec<String>,
    /// The end of its standard error.
    pub stderr: String,
    /// The command that runs this trial again, alone.
    pub rerun: String,
}

/// What an experiment declares before any trial runs: what `--list` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// The number, as two digits: `01`.
    pub id: String,
    /// The name without the number: `drop-context`.
    pub name: String,
    /// The name of the binary, the source, the page and the snapshot: `01_drop_context`.
    pub binary: String,
    /// What the experiment asks.
    pub question: String,
    /// The one statement that the experiment tests.
    pub hypothesis: String,
    /// The claims that the experiment tests, by number.
    pub claims: Vec<String>,
    /// The variants, in the order in which they are declared.
    pub variants: Vec<VariantDeclaration>,
    /// Why a run of all experiments leaves it out, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<String>,
}

/// What an experiment declares about one variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantDeclaration {
    /// The name: `old/outside-alive`.
    pub name: String,
    /// The role.
    pub role: Role,
    /// What is different in this variant, in one line.
    pub about: String,
    /// What is predicted, in words.
    pub prediction: String,
    /// How many trials a run with the given options makes.
    pub trials: u32,
}

/// One line of `--format events`.
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
    /// Something that the trials need is being made ready.
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
        /// The result.
        result: Box<ExperimentResult>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_tells_an_open_claim_from_a_supported_one_unless_runs_differ_in_that() {
        use Verdict::{Inconclusive, Refuted, Supported};
        let kept = |open_in_some_runs| {
            [Supported, Inconclusive, Refuted].map(|verdict| {
                let (id, statement) = (String::new(), String::new());
                let (finding, reasons) = (false, Vec::new());
                ClaimResult { id, statement, finding, open_in_some_runs, verdict, reasons }
                    .kept_verdict()
            })
        };
        assert_eq!(kept(false), ["supported", "inconclusive", "refuted"]);
        assert_eq!(kept(true), ["not refuted", "not refuted", "refuted"]);
    }
}
