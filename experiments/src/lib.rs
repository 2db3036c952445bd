//! What the experiments share: how one is declared, and what is the same in all of them and never
//! the question. What an experiment is *about* stands in its own file.
//!
//! An experiment is a file in `src/bin`, with a question, a hypothesis, and variants:
//!
//! ```
//! use experiments::prelude::*;
//!
//! fn experiment() -> Experiment {
//!     Experiment::new(file!())
//!         .question("What does dropping a pool depend on: its runtime, or the thread?")
//!         .hypothesis("It can be dropped on a thread with a runtime context, and on no other.")
//!         .variants([
//!             hazard("*/outside", Aborted, outside).about("no context").cured(),
//!             control("*/inside", inside).about("in the context of its runtime"),
//!         ])
//!         .claim("Z1", "A pool can be dropped anywhere.")
//!         .supported_if(!every("*/outside").is(Aborted))
//!         .refuted_if(every("*/outside").is(Aborted))
//!         .kit_claim("What a session guards can be dropped anywhere.")
//! }
//!
//! fn outside(scene: &Scene<'_>) -> TrialResult {
//!     let (_runtime, store) = scene.warm_store()?;
//!     drop(store);
//!     Ok(())
//! }
//!
//! fn inside(scene: &Scene<'_>) -> TrialResult {
//!     let (runtime, store) = scene.warm_store()?;
//!     let _context = runtime.enter();
//!     drop(store);
//!     Ok(())
//! }
//!
//! let names = experiment().into_variants().iter().map(|it| it.name().to_owned()).collect::<Vec<_>>();
//! assert_eq!(names, [
//!     "old/outside", "current/outside",
//!     "old/inside", "current/inside",
//!     "old/kit/outside", "current/kit/outside",
//! ]);
//! ```
//!
//! - *The role implies the prediction.* A [`hazard`] names its outcome. A [`control`] and a [`cure`]
//!   are always clean, unless they [`predict`](Variant::predict) something else.
//! - *`*/` is each generation of the pool.* `*/outside` declares `old/outside` and
//!   `current/outside`; `old/outside` would declare that one alone.
//! - *Every body takes a [`Scene`]*: the [`Trial`] that it runs in, the generation of the pool, and
//!   who keeps the store.
//! - *[`cured`](Variant::cured) derives the cure of a hazard*: the same body, with the store of the
//!   scene in a session. When the session says that it has closed, the trial looks from outside
//!   whether that is true. A cure with a body of its own is declared as a [`cure`].

pub mod faults;
pub mod killed;
#[cfg(doctest)]
mod pages;
pub mod pattern;
pub mod prelude;
pub mod probe;
pub mod python;
pub mod query;
pub mod real_clients;
pub mod runtime_thread;
pub mod scene;
pub mod setting;
pub mod steps;
pub mod story;
pub mod usage;
pub mod venv;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use lab::{Outcome, Prediction, Trial, TrialResult, Variant};
use mock_sdk::store::{Generation, Store};
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

/// A store in the trial's directory, with [`CONNECTIONS`] idle connections, and the runtime that
/// opened them.
pub fn warm_store(trial: &Trial<'_>, generation: Generation) -> TrialResult<(Runtime, Store)> {
    warm_store_of(trial, generation, CONNECTIONS)
}

/// The same with a number of idle connections of one's own.
pub fn warm_store_of(
    trial: &Trial<'_>,
    generation: Generation,
    connections: usize,
) -> TrialResult<(Runtime, Store)> {
    let runtime = runtime()?;
    let store = runtime.block_on(Store::open(trial.directory(), generation, connections))?;
    Ok((runtime, store))
}

/// The generation of this [word](Generation::word), as a part of an experiment is told it.
pub fn generation_named(word: &str) -> TrialResult<Generation> {
    let named = Generation::ALL.into_iter().find(|generation| generation.word() == word);
    named.ok_or_else(|| format!("there is no generation '{word}'").into())
}

/// Polls a future once, in the context of the task that calls this. Dropping the future after that
/// is what a limit or a `select!` does to one that has begun and not ended.
pub async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// A variant that is expected to fail in this way. See [`lab::hazard`]; the name may begin with a
/// generation of the pool, or with `*/`, which stands for each of them.
pub fn hazard(
    name: impl Into<String>,
    prediction: impl Into<Prediction>,
    body: impl Fn(&Scene<'_>) -> TrialResult + Send + Sync + 'static,
) -> Variant {
    of_generations(name.into(), |name| lab::hazard(name, prediction, staged(body)))
}

/// A [`hazard`] that hangs. Its deadline is long enough to get there on a busy machine, and short, because a
/// longer one would not help; each of its few trials takes as long.
pub fn hang(name: impl Into<String>, body: impl Body) -> Variant {
    hazard(name, Outcome::Hung, body).deadline(Duration::from_millis(1500)).trials(5)
}

/// A variant that is expected not to fail, without the kit. See [`lab::control`] and [`hazard`].
pub fn control(
    name: impl Into<String>,
    body: impl Fn(&Scene<'_>) -> TrialResult + Send + Sync + 'static,
) -> Variant {
    of_generations(name.into(), |name| lab::control(name, staged(body)))
}

/// A variant that is expected not to fail, by means of the kit. See [`lab::cure`] and [`hazard`].
pub fn cure(
    name: impl Into<String>,
    body: impl Fn(&Scene<'_>) -> TrialResult + Send + Sync + 'static,
) -> Variant {
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
