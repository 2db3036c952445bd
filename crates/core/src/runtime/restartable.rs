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
    limit::until,
    observe, park,
    shutdown::{ShutdownError, ShutdownErrorKind, ShutdownReport},
};

/// The generations of a runtime, in the process that used it first, and in forked children that asked for
/// generations of their own.
pub(super) struct Restartable {
    recipe: Recipe,
    /// The first is that of the process that used it first, the next that of its child, and so on: each
    /// process has a copy of its ancestors', and takes the next one that is free.
    lives: [Life; 8],
}

/// The generations in one process.
struct Life {
    /// Check this before touching anything else: in a forked child any lock may be held by a thread that
    /// does not exist there.
    process: ProcessGuard,
    /// The name, kept so that a forked child can be answered without the user's builder. That builder
    /// may take a lock that another thread of the parent held at the fork.
    name: OnceLock<String>,
    generations: Generations<Generation>,
}

impl Life {
    const fn new() -> Self {
        Self {
            process: ProcessGuard::unclaimed(),
            name: OnceLock::new(),
            generations: Generations::new(),
        }
    }
}

/// Where the configuration of the next generation comes from.
pub(super) enum Recipe {
    /// An owner's.
    Given(RuntimeBuilder),
    /// A cell's.
    Kept(RuntimeBuilder),
    /// A cell's.
    Made(fn() -> RuntimeBuilder),
}

impl Restartable {
    pub(super) const fn new(recipe: Recipe) -> Self {
        Self { recipe, lives: [const { Life::new() }; 8] }
    }

    fn builder(&self) -> Cow<'_, RuntimeBuilder> {
        match &self.recipe {
            Recipe::Given(builder) | Recipe::Kept(builder) => Cow::Borrowed(builder),
            Recipe::Made(make) => Cow::Owned(make()),
        }
    }

    /// The generations in this process. The first process that asks gets the first.
    ///
    /// # Errors
    ///
    /// The closest ancestor that used the runtime, if this is a forked child that has not begun one of its
    /// own.
    fn life(&self) -> Result<&Life, u32> {
        let [first, others @ ..] = &self.lives;
        let Err(mut ancestor) = first.process.claim() else { return Ok(first) };
        for life in others {
            match life.process.forked_from() {
                None => return Ok(life),
                // Not claimed, like all after it.
                Some(0) => break,
                Some(owner) => ancestor = owner,
            }
        }
        Err(ancestor)
    }

    /// The generations in this process, for a caller that asks for a new one: a forked child takes the next
    /// that are free.
    fn life_of_its_own(&self) -> Result<&Life, u32> {
        self.life().or_else(|ancestor| match self.recipe {
            // The last owner takes the runtime down when it is dropped. In a child that is a copy.
            Recipe::Given(_) => Err(ancestor),
            Recipe::Kept(_) | Recipe::Made(_) => {
                self.lives.iter().find(|life| life.process.claim().is_ok()).ok_or(ancestor)
            }
        })
    }

    /// The name of the runtime.
    pub(super) fn component(&self) -> String {
        match self.life() {
            Ok(life) => self.component_in(life),
            Err(_) => self.component_in_child(),
        }
    }

    /// The name of the runtime in this process. May call the user's builder.
    fn component_in(&self, life: &Life) -> String {
        life.name.get().cloned().unwrap_or_else(|| named(life, &self.builder()))
    }

    /// The name of the runtime in a forked child, where the user's builder must not be called. A cell
    /// that was not started before the fork has no name yet.
    fn component_in_child(&self) -> String {
        // The closest ancestor's.
        let name = self.lives.iter().rev().find_map(|life| life.name.get());
        match (&self.recipe, name) {
            (_, Some(name)) => name.clone(),
            (Recipe::Given(builder) | Recipe::Kept(builder), None) => builder.component(),
            (Recipe::Made(_), None) => "a runtime that had not started".to_owned(),
        }
    }

    fn forked(&self, owner: u32) -> RuntimeError {
        RuntimeError::Forked { component: self.component_in_child(), owner }
    }

    pub(super) fn begin(&self, which: Begin) -> Result<Arc<Generation>, StartError> {
        let life = match which {
            Begin::First => self.life(),
            Begin::Next => self.life_of_its_own(),
        };
        let life = life.map_err(|owner| self.forked(owner))?;
        if which == Begin::First {
            if let Some(generation) = life.generations.latest() {
                return Ok(generation);
            }
        }
        // The builder is the user's code: it must not run under the lock.
        let builder = self.builder();
        named(life, &builder);
        let before = life.generations.latest();
        let begun = life.generations.begin(which, |number| Generation::start(&builder, number));
        if let (Ok(begun), Some(before)) = (&begun, before) {
            if before.number < begun.number {
                // It has ended, or the next could not begin. Perhaps nobody has asked it since.
                before.release();
            }
        }
        begun.map_err(|not_begun| match not_begun {
            NotBegun::Failed(error) => error,
            NotBegun::NotEnded => StartError::NotEnded { component: self.component_in(life) },
            NotBegun::Closed => {
                let component = self.component_in(life);
                RuntimeError::ShutDown { component, generation: 0 }.into()
            }
        })
    }

    /// The latest generation, if one has begun.
    pub(super) fn latest(&self) -> Result<Option<Arc<Generation>>, RuntimeError> {
        let life = self.life().map_err(|owner| self.forked(owner))?;
        Ok(life.generations.latest())
    }

    /// Foreign tasks get `foreign_time`, or that of the builder.
    pub(super) async fn shutdown(
        &self,
        limit: Option<Duration>,
        foreign_time: Option<Duration>,
    ) -> Result<ShutdownReport, ShutdownError> {
        // Another caller may be starting the runtime. That is waited for within the limit, too.
        let entered = Instant::now();
        let life = match self.life() {
            Ok(life) => life,
            Err(owner) => return Err(lost_in_fork(self.component_in_child(), owner)),
        };
        let generation = loop {
            let beginning = match life.generations.close() {
                Ok(generation) => break generation,
                Err(beginning) => beginning,
            };
            let limit = limit.unwrap_or_else(|| self.builder().default_limit());
            if until(entered.checked_add(limit), beginning.wait()).await.is_none() {
                // The runtime gets its stop signal as soon as it has started.
                let (component, kind) = (self.component_in(life), ShutdownErrorKind::TimedOut);
                return Err(ShutdownError::new(component, entered.elapsed(), kind));
            }
        };
        match generation {
            Some(generation) => generation.shutdown(entered, limit, foreign_time).await,
            None => Ok(ShutdownReport::new(self.component_in(life), Duration::ZERO, 0)),
        }
    }

    pub(super) fn shutdown_blocking(
        &self,
        limit: Option<Duration>,
        foreign_time: Option<Duration>,
    ) -> Result<ShutdownReport, ShutdownError> {
        park::wait_for(Box::pin(self.shutdown(limit, foreign_time)))
    }

    pub(super) fn stats(&self) -> Stats {
        match self.latest() {
            Ok(Some(generation)) => generation.stats(),
            Ok(None) => Stats::empty(State::NotStarted),
            Err(_) => Stats::empty(State::Forked),
        }
    }
}

/// Keeps the name that this builder gives.
fn named(life: &Life, builder: &RuntimeBuilder) -> String {
    // Another thread may have been faster. Only a builder that changes its mind makes a difference.
    let _ = life.name.set(builder.component());
    builder.component()
}

impl Drop for Restartable {
    fn drop(&mut self) {
        // A cell is not an owner: a static is never dropped, and another cell leaves its runtime running.
        let Recipe::Given(_) = self.recipe else { return };
        let Ok(Some(generation)) = self.latest() else { return };
        let left_running = generation.was_left_running();
        generation.abort();
        // After the act: a subscriber is foreign code, and may block.
        if let Some(running) = left_running {
            let builder = self.builder();
            observe::dropped_without_shutdown(&builder.component(), builder.made_at, running);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;
    use crate::{limit::PLENTY, panics, runtime::RuntimeOwner};

    #[test]
    fn while_a_start_hangs_nobody_else_does_and_a_shutdown_ends_what_starts_after_it() {
        let builder = RuntimeOwner::builder("hangs").workers(1);
        let runtime = Restartable::new(Recipe::Given(builder.clone()));
        let ((let_go, is_let_go), (begun, has_begun)) = (mpsc::channel::<()>(), mpsc::channel());
        thread::scope(|scope| {
            let generations = &runtime.life().unwrap().generations;
            let make = move |number| {
                begun.send(()).unwrap();
                let _ = is_let_go.recv_timeout(PLENTY);
                Generation::start(&builder, number)
            };
            let starting = scope.spawn(move || generations.begin(Begin::First, make));
            has_begun.recv_timeout(PLENTY).unwrap();
            assert_eq!(runtime.stats().state, State::NotStarted);
            assert!(runtime.latest().unwrap().is_none());
            let error =
                runtime.shutdown_blocking(Some(Duration::from_millis(20)), None).unwrap_err();
            assert!(matches!(error.kind, ShutdownErrorKind::TimedOut), "{error}");
            assert!(!starting.is_finished(), "the control");
            drop(let_go);
            let generation = starting.join().unwrap().unwrap();
            assert!(generation.check_running().is_err(), "it was told to stop");
            let _ = runtime.shutdown_blocking(Some(PLENTY), None).unwrap();
            assert_eq!(runtime.stats().state, State::Ended);
        });
    }

    #[test]
    fn a_start_that_fails_or_panics_leaves_what_was_there_before() {
        let builder = RuntimeOwner::builder("fails").workers(1);
        let runtime = Restartable::new(Recipe::Given(builder));
        let generations = &runtime.life().unwrap().generations;
        let panicked =
            panics::catch(|| generations.begin(Begin::First, |_| -> Result<_, ()> { panic!() }));
        assert!(panicked.is_err());
        assert!(generations.begin(Begin::First, |_| Err(())).is_err());
        let first = runtime.begin(Begin::First).unwrap();
        let _ = runtime.shutdown_blocking(Some(PLENTY), None).unwrap();
        assert!(generations.begin(Begin::Next, |_| Err(())).is_err());
        assert!(Arc::ptr_eq(&runtime.latest().unwrap().unwrap(), &first));
        assert_eq!(runtime.begin(Begin::Next).unwrap().number, 2);
        let _ = runtime.shutdown_blocking(Some(PLENTY), None).unwrap();
    }
}
