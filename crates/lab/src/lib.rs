//! The harness of the lab. It runs experiments that study how programs end.
//!
//! An [`Experiment`] is a small `main`. It declares a question, one hypothesis, the claims that it
//! tests, and its variants. Each [`Variant`] is a function, and every trial of it runs in a process of
//! its own, in an empty directory, with a deadline: the trials panic in destructors, abort and hang,
//! and a test in the same process would not survive that.
//!
//! The lab counts outcomes, and computes classes and verdicts from the counts; none is written by hand. A
//! [snapshot](snapshot::render) has what is the same in every run.
//!
//! The lab knows processes and statistics. It depends on neither Tokio nor the kit.

#[cfg(not(unix))]
compile_error!(
    "the lab needs process groups, signals and inherited pipes, so it runs on Unix only. \
     The kit (package `core`) does not depend on it, and builds wherever Tokio does."
);

pub mod aftermath;
pub mod arguments;
pub mod capture;
mod child;
mod command;
mod condition;
mod declaration;
mod equipment;
mod experiment;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod guardian;
pub mod interrupt;
pub mod nearest;
mod observation;
pub mod outcome;
mod output;
mod parallel;
mod prediction;
pub mod probe;
mod program;
mod record;
mod report_pipe;
pub mod results;
mod run;
pub mod sandbox;
pub mod seed;
pub mod server;
mod site;
pub mod snapshot;
pub mod statistics;
mod stderr;
mod stray;
mod trial;
mod variant;

pub use condition::{Condition, FEWEST_TRIALS, Observed, Subject, Suite, every};
pub use equipment::{Equipment, Lack, Preparation};
pub use experiment::{ClaimDraft, Experiment, SupportedClaim};
pub use observation::{Observation, Spread, Value};
pub use outcome::{Outcome, Outcomes};
pub use prediction::{Prediction, seen};
pub use program::Program;
pub use results::{Role, Verdict};
pub use trial::{Trial, TrialResult};
pub use variant::{Variant, control, cure, hazard};
