//! What an owner and a static cell have in common: the place in which one generation follows the
//! other, in the process that began the first.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    RuntimeBuilder, RuntimeError, StartError, State, Stats,
    home::{Home, signal_lost_in_fork},
};
use crate::{
    life::{Lives, NotBegun, Which},
    shutdown::{ShutdownError, ShutdownReport},
};

/// See the module.
pub(super) struct Root {
    /// The process that used it first; 0 until one has.
    process: AtomicU32,
    lives: Lives<Home>,
}

impl Root {
    pub(super) const fn new() -> Self {
        Self { process: AtomicU32::new(0), lives: Lives::new() }
    }

    /// That this is the process that used it first. In a forked child nothing may be touched before
    /// that is known: any lock may be held by a thread that is not there.
    pub(super) fn is_here(&self, component: impl FnOnce() -> String) -> Result<(), RuntimeError> {
        let here = process::id();
        // A fork copies all memory as it is, so that no order with other writes is needed.
        match self.process.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed) {
            Err(owner) if owner != here => {
                Err(RuntimeError::Forked { component: component(), owner })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn begin(
        &self,
        which: Which,
        builder: &RuntimeBuilder,
    ) -> Result<Arc<Home>, StartError> {
        self.is_here(|| builder.component())?;
        let begun = self.lives.begin(which, |generation| Home::start(builder, generation));
        begun.map_err(|not_begun| match not_begun {
            NotBegun::Failed(error) => error,
            NotBegun::NotEnded => StartError::NotEnded { component: builder.component() },
            NotBegun::Closed => {
                RuntimeError::ShutDown { component: builder.component(), generation: 0 }.into()
            }
        })
    }

    /// The latest generation, if there is one.
    pub(super) fn latest(
        &self,
        component: impl FnOnce() -> String,
    ) -> Result<Option<Arc<Home>>, RuntimeError> {
        self.is_here(component)?;
        Ok(self.lives.latest())
    }

    pub(super) async fn shutdown(
        &self,
        component: impl Fn() -> String,
        limit: Option<Duration>,
    ) -> Result<ShutdownReport, ShutdownError> {
        if let Err(RuntimeError::Forked { component, owner }) = self.is_here(&component) {
            return Err(signal_lost_in_fork(component, owner));
        }
        match self.lives.close() {
            Some(home) => home.shutdown(limit).await,
            None => {
                Ok(ShutdownReport { component: component(), elapsed: Duration::ZERO, aborted: 0 })
            }
        }
    }

    pub(super) fn stats(&self) -> Stats {
        match self.latest(String::new) {
            Ok(Some(home)) => home.stats(),
            Ok(None) => Stats::of_none(State::NotStarted),
            Err(_) => Stats::of_none(State::Forked),
        }
    }
}
