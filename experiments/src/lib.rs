//! What the experiments share: a runtime, a warm store on it, and variants in pairs.
//!
//! Everything that an experiment is *about* stands in its own file. What is here is the part that
//! is the same in all of them and never the question.

pub mod faults;
pub mod killed;
#[cfg(doctest)]
mod pages;
pub mod pattern;
pub mod probe;
pub mod python;
pub mod real_clients;
pub mod runtime_thread;
pub mod scene;
pub mod setting;
pub mod steps;
pub mod story;
pub mod venv;

use std::{
    error::Error,
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use lab::{Prediction, Trial, TrialResult, Variant};
use mock_sdk::store::{Generation, Store};
use tokio::runtime::{Builder, Runtime};

/// How many connections a warm store has, unless the experiment is about their number.
pub const CONNECTIONS: usize = 4;

/// A runtime as an application has one.
///
/// # Errors
///
/// Where the system gives it no threads or no descriptors.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// A store in the trial's directory, with [`CONNECTIONS`] idle connections, and the runtime that
/// opened them.
///
/// # Errors
///
/// Where the runtime or the store cannot be had.
pub fn warm_store(
    trial: &Trial<'_>,
    generation: Generation,
) -> Result<(Runtime, Store), Box<dyn Error>> {
    warm_store_of(trial, generation, CONNECTIONS)
}

/// The same with a number of idle connections of one's own.
///
/// # Errors
///
/// Where the runtime or the store cannot be had.
pub fn warm_store_of(
    trial: &Trial<'_>,
    generation: Generation,
    connections: usize,
) -> Result<(Runtime, Store), Box<dyn Error>> {
    let runtime = runtime()?;
    let store = runtime.block_on(Store::open(trial.directory(), generation, connections))?;
    Ok((runtime, store))
}

/// The generation of this [word](Generation::word), as a part of an experiment is told it.
///
/// # Errors
///
/// Where there is none of it.
pub fn generation_named(word: &str) -> Result<Generation, Box<dyn Error>> {
    let named = Generation::ALL.into_iter().find(|generation| generation.word() == word);
    named.ok_or_else(|| format!("there is no generation '{word}'").into())
}

/// Polls a future once, in the context of the task that calls this. Dropping the future after that
/// is what a limit or a `select!` does to one that has begun and not ended.
pub async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// The body of a variant, in the form in which [`lab::hazard`] and its kin take it.
type Body = Box<dyn Fn(&Trial<'_>) -> TrialResult + Send + Sync>;

/// The same variant twice, once for each generation of the pool: `old/name` and `current/name`.
///
/// ```
/// use experiments::{each_generation, warm_store};
/// use lab::{Outcome::Aborted, always, hazard};
///
/// let variants = each_generation(hazard, "outside", always(Aborted), |trial, generation| {
///     let (_runtime, store) = warm_store(trial, generation)?;
///     drop(store);
///     Ok(())
/// })
/// .about("the store is dropped on a thread without context");
/// assert_eq!(variants.into_iter().count(), 2);
/// ```
pub fn each_generation(
    role: fn(String, Prediction, Body) -> Variant,
    name: &str,
    prediction: Prediction,
    body: impl Fn(&Trial<'_>, Generation) -> TrialResult + Clone + Send + Sync + 'static,
) -> EachGeneration {
    EachGeneration(Generation::ALL.map(|generation| {
        let body = body.clone();
        let name = format!("{}/{name}", generation.word());
        role(name, prediction.clone(), Box::new(move |trial| body(trial, generation)))
    }))
}

/// A variant for each generation of the pool. See [`each_generation`].
#[derive(Debug)]
pub struct EachGeneration([Variant; 2]);

impl EachGeneration {
    /// As [`Variant::about`].
    #[must_use]
    pub fn about(self, about: &str) -> Self {
        Self(self.0.map(|variant| variant.about(about)))
    }

    /// As [`Variant::trials`].
    #[must_use]
    pub fn trials(self, trials: u32) -> Self {
        Self(self.0.map(|variant| variant.trials(trials)))
    }

    /// As [`Variant::waits`].
    #[must_use]
    pub fn waits(self) -> Self {
        Self(self.0.map(Variant::waits))
    }
}

impl IntoIterator for EachGeneration {
    type Item = Variant;
    type IntoIter = std::array::IntoIter<Variant, 2>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
