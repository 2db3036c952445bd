//! A runtime that can be shut down and started again: what an owner and a cell have in common.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use super::{
    RuntimeBuilder, RuntimeError, StartError, State, Stats,
    generation::{Generation, lost_in_fork},
};
use crate::{
    fork::ProcessGuard,
    lifecycle::{Begin, Generations, NotBegun},
    observe, park,
    shutdown::{ShutdownError, ShutdownReport},
};

/// Generations of a runtime, in the process that began the first.
pub(super) struct Restartable {
    recipe: Recipe,
    /// The name, kept so that a forked child can be answered without the user's builder. That builder
    /// may take a lock that another thread of the parent held at the fork.
    name: OnceLock<String>,
    /// Check this before touching anything else: in a forked child any lock may be held by a thread that
    /// does not exist there.
    process: ProcessGuard,
    generations: Generations<Generation>,
}

/// Where the configuration of the next generation comes from.
pub(super) enum Recipe {
    Given(RuntimeBuilder),
    Made(fn() -> RuntimeBuilder),
}

impl Restartable {
    pub(super) const fn new(recipe: Recipe) -> Self {
        let process = ProcessGuard::unclaimed();
        Self { recipe, name: OnceLock::new(), process, generations: Generations::new() }
    }

    fn builder(&self) -> Cow<'_, RuntimeBuilder> {
        match &self.recipe {
            Recipe::Given(builder) => Cow::Borrowed(builder),
            Recipe::Made(make) => Cow::Owned(make()),
        }
    }

    /// The name of the runtime. May call the user's builder: not for a forked child.
    pub(super) fn component(&self) -> String {
        match self.name.get() {
            Some(name) => name.clone(),
            None => self.named(&self.builder()),
        }
    }

    /// The name of the runtime in a forked child, where the user's builder must not be called. A cell
    /// that was not started before the fork has no name yet.
    fn component_in_child(&self) -> String {
        match (&self.recipe, self.name.get()) {
            (_, Some(name)) => name.clone(),
            (Recipe::Given(builder), None) => builder.component(),
            (Recipe::Made(_), None) => "a runtime that had not started".to_owned(),
        }
    }

    /// Keeps the name that this builder gives.
    fn named(&self, builder: &RuntimeBuilder) -> String {
        // Another thread may have been faster. Only a builder that changes its mind makes a difference.
        let _ = self.name.set(builder.component());
        builder.component()
    }

    fn check_process(&self) -> Result<(), RuntimeError> {
        self.process
            .claim()
            .map_err(|owner| RuntimeError::Forked { component: self.component_in_child(), owner })
    }

    pub(super) fn begin(&self, which: Begin) -> Result<Arc<Generation>, StartError> {
        self.check_process()?;
        if which == Begin::First
            && let Some(generation) = self.generations.latest()
        {
            return Ok(generation);
        }
        // The builder is the user's code: it must not run under the lock.
        let builder = self.builder();
        self.named(&builder);
        let begun = self.generations.begin(which, |number| Generation::start(&builder, number));
        begun.map_err(|not_begun| match not_begun {
            NotBegun::Failed(error) => error,
            NotBegun::NotEnded => StartError::NotEnded { component: self.component() },
            NotBegun::Closed => {
                RuntimeError::ShutDown { component: self.component(), generation: 0 }.into()
            }
        })
    }

    /// The latest generation, if one has begun.
    pub(super) fn latest(&self) -> Result<Option<Arc<Generation>>, RuntimeError> {
        self.check_process()?;
        Ok(self.generations.latest())
    }

    pub(super) async fn shutdown(
        &self,
        limit: Option<Duration>,
    ) -> Result<ShutdownReport, ShutdownError> {
        // Before `close`, which may wait until another caller has started the runtime.
        let entered = Instant::now();
        if let Err(owner) = self.process.claim() {
            return Err(lost_in_fork(self.component_in_child(), owner));
        }
        match self.generations.close() {
            Some(generation) => generation.shutdown(entered, limit, None).await,
            None => Ok(ShutdownReport::new(self.component(), Duration::ZERO, 0)),
        }
    }

    pub(super) fn shutdown_blocking(
        &self,
        limit: Option<Duration>,
    ) -> Result<ShutdownReport, ShutdownError> {
        park::wait_for(Box::pin(self.shutdown(limit)))
    }

    pub(super) fn stats(&self) -> Stats {
        match self.latest() {
            Ok(Some(generation)) => generation.stats(),
            Ok(None) => Stats::empty(State::NotStarted),
            Err(_) => Stats::empty(State::Forked),
        }
    }
}

impl Drop for Restartable {
    fn drop(&mut self) {
        // A cell is not an owner: a static is never dropped, and another cell leaves its runtime running.
        if let Recipe::Made(_) = self.recipe {
            return;
        }
        let Ok(Some(generation)) = self.latest() else { return };
        if let Some(running) = generation.was_left_running() {
            let builder = self.builder();
            observe::dropped_without_shutdown(&builder.component(), builder.made_at, running);
        }
        generation.abort();
    }
}
