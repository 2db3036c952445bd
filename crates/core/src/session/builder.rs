//! The configuration of a session.

use std::{borrow::Cow, fmt, future::Future, panic::Location, sync::Arc};

use thiserror::Error;

use super::{Checks, Core, Hook, Hooks, Owner, Runtime, Session, SessionRuntime};
use crate::{
    call_sites::CallSites, evidence::Evidence, flag::Flag, handle_count::HandleCount, latch::Latch,
    runtime::RuntimeError, teardown::reaper::Reaper,
};

/// Why a session was not started.
#[derive(Error)]
#[non_exhaustive]
pub enum NotStarted {
    /// The OS refused a thread or a file descriptor.
    #[error(
        "cannot start the session `{session}`: {source}; end some threads or close some files, and try again"
    )]
    NoThread {
        /// The name of the session.
        session: String,
        /// The error from the OS.
        source: std::io::Error,
    },
    /// The runtime for the session is stopping or has stopped, or this is a forked child. The last session
    /// on a runtime takes it down when it closes.
    #[error("cannot start the session `{session}`: {source}")]
    NoRuntime {
        /// The name of the session.
        session: String,
        /// Why the runtime cannot be used.
        source: RuntimeError,
    },
}

crate::debug_as_text!(NotStarted);

/// The configuration of a session. Made by [`Session::builder`].
#[must_use = "a builder starts nothing before `start`"]
pub struct Builder {
    name: Cow<'static, str>,
    runtime: Option<SessionRuntime>,
    evidence: Vec<Box<dyn Evidence>>,
    hooks: Vec<Hook>,
}

impl Builder {
    pub(super) const fn new(name: Cow<'static, str>) -> Self {
        Self { name, runtime: None, evidence: Vec::new(), hooks: Vec::new() }
    }

    /// The runtime that the resource's own tasks run on. The hooks run there, too.
    ///
    /// - If you pass a [`RuntimeOwner`], the session owns the current generation, and `close` takes it
    ///   down. *Foreign* tasks, which were not spawned through the kit, get a short time to end by
    ///   themselves: after a hook, a tenth of the limit, at most 100 ms; otherwise half of what is left of
    ///   the limit, at most 2 s. [`foreign_time`](crate::runtime::RuntimeBuilder::foreign_time) sets
    ///   another. Then they are cut off, [at rest](crate::shutdown::CutOff::AtRest). Handles that its tasks
    ///   hold are dropped with it. If several sessions own a runtime, the last to close takes it down, and
    ///   the reports of the others say [`SharedRuntime`](crate::NotCovered::SharedRuntime).
    /// - If you pass a [`RuntimeHandle`] or a `tokio::runtime::Handle`, somebody else owns the runtime,
    ///   and `close` never takes it down. Stop the resource's tasks with a
    ///   [hook](Session::before_close_with), and give the session [evidence](Self::evidence).
    ///
    /// Give the tasks of a runtime that the session owns handles, not the session: if a task on it holds
    /// the `Session`, neither is ever dropped.
    ///
    /// If the owner [restarts](crate::RuntimeOwner::restart) the runtime after the session has closed, the new
    /// generation belongs to the next session.
    ///
    /// [`RuntimeOwner`]: crate::RuntimeOwner
    /// [`RuntimeHandle`]: crate::RuntimeHandle
    pub fn runtime(mut self, runtime: impl Into<SessionRuntime>) -> Self {
        self.runtime = Some(runtime.into());
        self
    }

    /// Adds a check from outside: [`no_open_files`] of the store's directory, or a closure of your own.
    /// All checks must confirm the end. `close` asks them again and again until they do or the limit
    /// expires. Unless the session's own runtime has ended, they must confirm it twice, 15 ms apart: work
    /// that goes on elsewhere may be about to open something.
    ///
    /// A check can confirm only the end of what it saw. So each [looks](Evidence::look) when the session is
    /// given a value, on the caller's thread, before that value is torn down, and when the session begins to
    /// close. If your resource is open only in between, call [`Session::look`].
    ///
    /// The checks run on a thread of their own, one for the session, so a check that hangs cannot delay a
    /// close past its limit; a later close waits for the answer that is pending. After
    /// [`Unconfirmed::Against`], `close` asks again after 1 ms, backing off to 20 ms. After
    /// [`Unconfirmed::Unavailable`], or if a check panics, `close` returns the error at once. Once the
    /// checks have confirmed the end, they are dropped and not asked again.
    ///
    /// [`no_open_files`]: crate::evidence::no_open_files
    /// [`Unconfirmed::Against`]: crate::evidence::Unconfirmed::Against
    /// [`Unconfirmed::Unavailable`]: crate::evidence::Unconfirmed::Unavailable
    pub fn evidence(mut self, check: impl Evidence + 'static) -> Self {
        self.evidence.push(Box::new(check));
        self
    }

    /// Adds a hook that needs no handle. Same as [`Session::before_close`].
    #[track_caller]
    pub fn before_close<F>(mut self, hook: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push(Hook::new(Box::new(hook), Location::caller()));
        self
    }

    /// Starts the session. The first one that is open starts the closing service, which tears the values of
    /// all sessions down.
    ///
    /// # Errors
    ///
    /// [`NotStarted`]: the OS refused a thread or a file descriptor, or the runtime is going down.
    #[track_caller]
    #[must_use = "the session begins to close when its last clone is dropped"]
    pub fn start(self) -> Result<Session, NotStarted> {
        let Self { name, runtime, evidence, hooks } = self;
        let runtime = match runtime.map(SessionRuntime::start).transpose() {
            Ok(runtime) => runtime,
            Err(source) => {
                return Err(NotStarted::NoRuntime { session: name.into_owned(), source });
            }
        };
        let helpers = Arc::default();
        let reaper = match Reaper::start(&helpers) {
            Ok(reaper) => reaper,
            Err(source) => {
                return Err(NotStarted::NoThread { session: name.into_owned(), source });
            }
        };
        let (count, call_sites) = (HandleCount::with(Latch::of(&helpers)), CallSites::default());
        let checks = Checks::new(evidence, Arc::clone(&helpers));
        let watch = runtime.as_ref().and_then(|runtime| {
            let reaper = reaper.clone();
            runtime.before_cut_off(move || reaper.runtime_is_cut_off())
        });
        if let Some(is_down) = runtime.as_ref().and_then(Runtime::probe) {
            reaper.ask_the_runtime(is_down);
        }
        let core = Arc::new(Core { name, count, call_sites, reaper, checks });
        let (made_at, confirmed) = (Location::caller(), Flag::new());
        let hooks = Hooks::new(hooks, helpers);
        let owner = Owner { core, made_at, runtime, _watch: watch, hooks, confirmed };
        Ok(Session { owner: Arc::new(owner) })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("runtime", &self.runtime)
            .field("evidence", &self.evidence.len())
            .field("hooks", &self.hooks.len())
            .finish_non_exhaustive()
    }
}
