//! The harness of the lab: it runs hypotheses about the end of a program.
//!
//! An [`Experiment`] is one small `main` that declares its question, its one hypothesis, the claims
//! it bears on, and its variants. Each [`Variant`] is a function, and every trial of it runs in a
//! process of its own, in an empty directory, with a deadline: what is studied here are panics in
//! destructors, aborts and hangs, which a test in the same process could not survive.
//!
//! Outcomes are counted, classes and verdicts are computed from the counts, and nothing is ever
//! written by hand. What is stable of them goes into a [snapshot](snapshot::render).
//!
//! The lab knows processes and statistics. It knows nothing of Tokio, and nothing of the kit.

#[cfg(not(unix))]
compile_error!(
    "the lab needs process groups, signals and inherited pipes: it runs on Unix only. \
     The kit (package `core`) does not depend on it and builds everywhere Tokio does."
);

pub mod capture;
mod child;
mod command;
mod condition;
pub mod count;
mod equipment;
mod experiment;
pub mod guardian;
pub mod interrupt;
pub mod nearest;
mod observation;
pub mod outcome;
mod output;
pub mod parallel;
mod prediction;
pub mod probe;
mod program;
mod record;
mod report;
pub mod results;
mod run;
pub mod sandbox;
pub mod seed;
pub mod server;
mod site;
pub mod snapshot;
pub mod statistics;
pub mod stderr;
mod stray;
mod trial;
mod variant;

pub use condition::{Condition, FEWEST_TRIALS, Observed, Subject, every};
pub use equipment::{Equipment, Lack, Preparation};
pub use experiment::{ClaimDraft, Experiment, SupportedClaim};
pub use observation::{Observation, Spread, Value};
pub use outcome::{Outcome, Outcomes};
pub use prediction::{Class, Prediction, never, seen};
pub use program::Program;
pub use results::{Role, Verdict};
pub use trial::{Trial, TrialResult};
pub use variant::{Variant, control, cure, hazard};
