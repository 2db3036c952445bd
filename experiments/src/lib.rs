//! What the experiments share: how one is declared, and the code that is never the question. What an
//! experiment is *about* is in its own file, in `src/bin`:
//!
//! ```
//! use experiments::prelude::*;
//!
//! fn dropped(scene: &Scene<'_>) -> TrialResult {
//!     let (_runtime, store) = scene.warm_store()?;
//!     drop(store);
//!     Ok(())
//! }
//!
//! let experiment = Experiment::new(file!())
//!     .question("Can a pool be dropped on a thread without a runtime context?")
//!     .hypothesis("No: it aborts the process.")
//!     .variants([
//!         hazard("*/dropped", Aborted, dropped).about("no context").cured(),
//!         control("leaked", |_| Ok(())).about("no pool"),
//!     ]);
//!
//! let names: Vec<_> = experiment.into_variants().iter().map(|it| it.name().to_owned()).collect();
//! let generations = ["old/dropped", "current/dropped"];
//! assert_eq!(names, [&generations[..], &["leaked", "old/kit/dropped", "current/kit/dropped"]].concat());
//! ```
//!
//! - *The role implies the prediction.* A [`hazard`] names its outcome. A [`control`] and a [`cure`]
//!   are always clean, unless they [`predict`](Variant::predict) something else.
//! - *`*/` stands for each generation of the pool*, and the [`Scene`] that a body takes makes stores of
//!   that generation.
//! - *[`cured`](Variant::cured) derives the cure of a hazard*: the same body, with the store in a session.
//!
//! The chapter *Writing an experiment* of the book has the rest.

pub mod authors;
pub mod cell;
pub mod faults;
pub mod killed;
pub mod measured;
pub mod moved_clients;
#[cfg(doctest)]
mod pages;
pub mod pattern;
pub mod plugins;
pub mod prelude;
pub mod probe;
pub mod published;
pub mod python;
pub mod query;
pub mod real_clients;
pub mod real_libraries;
pub mod real_sdk;
pub mod runtime_thread;
pub mod scene;
pub mod server_process;
pub mod setting;
pub mod steps;
pub mod story;
pub mod usage;
pub mod venv;
pub mod wrapper;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use lab::{Outcome, Prediction, TrialResult, Variant};
use mock_sdk::store::Generation;
use tokio::runtime::{Builder, Runtime};

use crate::scene::{Body, staged};

pub use crate::scene::Scene;

/// How many connections a warm store has, unless the experiment is about their number.
pub const CONNECTIONS: usize = 4;

/// Longer than anything takes that is not broken, however busy the machine is, and shorter than a trial
/// may.
pub const PLENTY: Duration = Duration::from_secs(8);

/// A runtime as an application has one.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// The generation of this [word](Generation::word), as a part of an experiment is told it.
pub fn generation_named(word: &str) -> TrialResult<Generation> {
    let named = Generation::ALL.into_iter().find(|generation| generation.word() == word);
    named.ok_or_else(|| format!("there is no generation `{word}`").into())
}

/// Polls a future once, in the context of the task that calls this. Dropping the future after that
/// is what a limit or a `select!` does to one that has begun and not ended.
pub async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// A variant that is expected to fail in this way. See [`lab::hazard`]. The name may begin with a
/// generation of the pool, or with `*/`, which stands for each of them.
pub fn hazard(
    name: impl Into<String>,
    prediction: impl Into<Prediction>,
    body: impl Body,
) -> Variant {
    of_generations(name.into(), |name| lab::hazard(name, prediction, staged(body)))
}

/// A [`hazard`] that hangs. Its deadline is long enough to get there on a busy machine, and short, because a
/// longer one would not help; each of its few trials takes as long.
pub fn hang(name: impl Into<String>, body: impl Body) -> Variant {
    hazard(name, Outcome::Hung, body).deadline(Duration::from_millis(1500)).trials(5)
}

/// A variant that is expected not to fail, without the kit. See [`lab::control`] and [`hazard`].
pub fn control(name: impl Into<String>, body: impl Body) -> Variant {
    of_generations(name.into(), |name| lab::control(name, staged(body)))
}

/// A variant that is expected not to fail, by means of the kit. See [`lab::cure`] and [`hazard`].
pub fn cure(name: impl Into<String>, body: impl Body) -> Variant {
    of_generations(name.into(), |name| lab::cure(name, staged(body)))
}

fn of_generations(name: String, variant: impl FnOnce(&str) -> Variant) -> Variant {
    let generations = Generation::ALL.map(Generation::word);
    match name.split_once('/') {
        Some(("*", rest)) => variant(rest).versions(generations),
        Some((word, rest)) if generations.contains(&word) => variant(rest).versions([word]),
        _ => variant(&name),
    }
}
