//! A runtime that can be shut down and started again: what an owner and a cell have in common.

use std::{borrow::Cow, sync::Arc, time::Duration};

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
    /// In a forked child nothing else may be touched before this is asked: any lock may be held by a
    /// thread that is not there.
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
        Self { recipe, process, generations: Generations::new() }
    }

    fn builder(&self) -> Cow<'_, RuntimeBuilder> {
        match &self.recipe {
            Recipe::Given(builder) => Cow::Borrowed(builder),
            Recipe::Made(make) => Cow::Owned(make()),
        }
    }

    pub(super) fn component(&self) -> String {
        self.builder().component()
    }

    fn check_process(&self) -> Result<(), RuntimeError> {
        let forked = |owner| RuntimeError::Forked { component: self.component(), owner };
        self.process.claim().map_err(forked)
    }

    pub(super) fn begin(&self, which: Begin) -> Result<Arc<Generation>, StartError> {
        self.check_process()?;
        let begun =
            self.generations.begin(which, |number| Generation::start(&self.builder(), number));
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
        if let Err(owner) = self.process.claim() {
            return Err(lost_in_fork(self.component(), owner));
        }
        match self.generations.close() {
            Some(generation) => generation.shutdown(limit).await,
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
        let Ok(Some(generation)) = self.latest() else { return };
        if let Some(running) = generation.was_left_running() {
            let builder = self.builder();
            observe::dropped_without_shutdown(&builder.component(), builder.made_at, running);
        }
        generation.abort();
    }
}
