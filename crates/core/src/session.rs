//! Many owners of one resource, torn down once, wherever the last of them is dropped.
//!
//! An application spreads a client around: tabs, caches, callbacks, tasks. With an `Arc`, the thread
//! that drops the last clone runs the destructor, in whatever context it happens to have (experiments
//! 01, 04, 07). In a session every handle is a [`Guarded`]. Dropping the last handle sends the value to
//! the session and returns at once; the session drops it where its destructor can run.
//! [`Session::close`] returns when all teardowns have ended, or reports what blocks them.
//!
//! A session sees its handles. It does not see a clone that was taken out of a handle. A task of the
//! resource may hold a clone. That clone keeps the connections open after the last handle is dropped.
//! Two options close this gap. Use both if you can:
//!
//! - a *runtime of its own* for those tasks, which closing shuts down ([`Builder::runtime`]);
//! - *evidence*: a check that `close` calls until it confirms the end from outside, for example that no
//!   file of the store is open ([`Builder::evidence`]).
//!
//! [`CloseReport::confirmation`] says how the end was confirmed.
//!
//! Close the session before the process exits: a value whose last handle is dropped during the exit may
//! not be torn down.

mod close;
mod close_report;
mod guarded;
mod weak;

use std::{borrow::Cow, fmt, panic::Location, pin::pin, sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    call_sites::CallSites,
    evidence::Evidence,
    flag::Flag,
    handle_count::HandleCount,
    limit::within,
    observe, park,
    runtime::RuntimeOwner,
    shutdown::{
        GracefulShutdown, ShutdownError, ShutdownErrorKind, ShutdownFuture, ShutdownReport,
    },
    teardown::reaper::Reaper,
};
use close::Closing;

pub use crate::teardown::Unfinished;
pub use close_report::{CloseError, CloseErrorKind, CloseReport, Confirmation, Held};
pub use guarded::Guarded;
pub use weak::GuardedWeak;

/// A session: it owns resources that others use through handles. Clones are the same session.
///
/// If you drop the last clone before [`close`](Session::close) succeeds, the session logs a warning and
/// accepts no new values. Existing handles still work, and their values are torn down. The session's
/// runtime is shut down, unless it has another owner.
///
/// In a forked child the session has no threads. Dropping a handle there leaks its value, and every call
/// returns at once.
///
/// ```
/// use std::{thread, time::Duration};
/// use sundown::session::Session;
///
/// /// A client over pooled connections, whose destructor needs a runtime.
/// struct Client;
///
/// impl Drop for Client {
///     fn drop(&mut self) {
///         tokio::task::spawn_blocking(|| println!("closed"));
///     }
/// }
///
/// let session = Session::new("matrix")?;
/// let client = session.guard(Client)?;
/// let tab = thread::spawn({
///     let client = client.clone();
///     // `drop(Client)` would panic on this thread.
///     move || drop(client)
/// });
/// drop(client);
/// let report = session.close_blocking(Duration::from_secs(5))?;
/// println!("closed, confirmed by {:?}", report.confirmation);
/// # tab.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "the session begins to close when its last clone is dropped"]
pub struct Session {
    owner: Arc<Owner>,
}

/// State shared by the clones of a session, but not by its handles. Dropped with the last clone.
struct Owner {
    core: Arc<Core>,
    made_at: &'static Location<'static>,
    runtime: Option<Runtime>,
    evidence: Option<Check>,
    /// Raised once a `close` has confirmed the end.
    confirmed: Flag,
}

/// State shared by the session and its handles.
struct Core {
    name: Cow<'static, str>,
    count: HandleCount,
    call_sites: CallSites,
    reaper: Reaper,
}

/// One generation of a runtime. The session does not own later generations.
struct Runtime {
    owner: RuntimeOwner,
    generation: u64,
}

impl Runtime {
    /// Whether the owner has started a later generation. It can do that only after this generation has
    /// ended.
    fn was_restarted(&self) -> bool {
        self.owner.stats().generation > self.generation
    }

    fn includes_this_thread(&self) -> bool {
        !self.was_restarted() && self.owner.includes_this_thread()
    }
}

type Check = Arc<dyn Evidence>;

/// The OS refused a thread or a file descriptor, so the session was not started.
#[derive(Debug, Error)]
#[error(
    "cannot start the session `{session}`: {source}; end some threads or close some files, and try again"
)]
pub struct NotStarted {
    /// The name of the session.
    pub session: String,
    /// The error from the OS.
    pub source: std::io::Error,
}

/// The session took no new value, because it is closing, or because this is a forked child. This returns
/// the value.
///
/// - If the session is closing, tear the value down yourself, by [`teardown`](crate::teardown()), unless
///   its destructor can run here.
/// - In a forked child ([`forked_from`](Self::forked_from) is set), start a session of this process's
///   own and guard the value there.
#[derive(Error)]
#[error("the session `{session}` {}", why_refused(*.forked_from))]
pub struct Refused<T> {
    /// The value. It has not been changed.
    pub value: T,
    /// The name of the session.
    pub session: String,
    /// In a forked child: the process that the session belongs to.
    pub forked_from: Option<u32>,
}

fn why_refused(forked_from: Option<u32>) -> String {
    match forked_from {
        None => "is closing and takes no new value; tear the value down yourself".to_owned(),
        Some(process) => format!(
            "belongs to process {process}, which this one was forked from; start a session in this \
             process"
        ),
    }
}

/// Without the value, which need not be `Debug`.
impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("session", &self.session)
            .field("forked_from", &self.forked_from)
            .finish_non_exhaustive()
    }
}

/// The configuration of a session. Made by [`Session::builder`].
#[must_use = "a builder starts nothing before `start`"]
pub struct Builder {
    name: Cow<'static, str>,
    runtime: Option<RuntimeOwner>,
    evidence: Option<Check>,
}

impl Builder {
    /// The runtime that the resource's own tasks run on. `close` shuts it down, with all its tasks. If
    /// its tasks hold handles and have not dropped them soon after closing began, the handles are dropped
    /// with the runtime.
    ///
    /// Give the tasks of that runtime handles, not the session: if a task on it holds the `Session`,
    /// neither is ever dropped.
    ///
    /// The session owns the current generation only. If the owner [restarts](RuntimeOwner::restart) the
    /// runtime after the session has closed, the new generation belongs to the next session.
    pub fn runtime(mut self, owner: RuntimeOwner) -> Self {
        self.runtime = Some(owner);
        self
    }

    /// A check from outside: [`no_open_files`] of the store's directory, or a closure of your own.
    /// `close` calls this check repeatedly until it succeeds or the limit expires.
    ///
    /// The check runs on its own thread, so a hanging check cannot delay a caller past its limit. After
    /// [`Unconfirmed::Against`], `close` retries after 1 ms, backing off to 20 ms. After
    /// [`Unconfirmed::Unavailable`], or if the check panics, `close` returns the error at once.
    ///
    /// [`no_open_files`]: crate::evidence::no_open_files
    /// [`Unconfirmed::Against`]: crate::evidence::Unconfirmed::Against
    /// [`Unconfirmed::Unavailable`]: crate::evidence::Unconfirmed::Unavailable
    pub fn evidence(mut self, check: impl Evidence + 'static) -> Self {
        self.evidence = Some(Arc::new(check));
        self
    }

    /// Starts the session, with the threads that tear its values down.
    ///
    /// # Errors
    ///
    /// [`NotStarted`]: the OS refused a thread or a file descriptor.
    #[track_caller]
    #[must_use = "the session begins to close when its last clone is dropped"]
    pub fn start(self) -> Result<Session, NotStarted> {
        let Self { name, runtime, evidence } = self;
        let reaper = match Reaper::start() {
            Ok(reaper) => reaper,
            Err(source) => return Err(NotStarted { session: name.into_owned(), source }),
        };
        let (count, call_sites) = (HandleCount::new(), CallSites::default());
        let core = Arc::new(Core { name, count, call_sites, reaper });
        let runtime = runtime.map(|owner| Runtime { generation: owner.stats().generation, owner });
        let (made_at, confirmed) = (Location::caller(), Flag::new());
        Ok(Session { owner: Arc::new(Owner { core, made_at, runtime, evidence, confirmed }) })
    }
}

impl Session {
    /// Starts a session with neither a runtime nor evidence: `close` waits for its handles and their
    /// teardowns only.
    ///
    /// # Errors
    ///
    /// [`NotStarted`]: the OS refused a thread or a file descriptor.
    #[track_caller]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Result<Self, NotStarted> {
        Self::builder(name).start()
    }

    /// Configures a session; [`start`](Builder::start) starts it.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> Builder {
        Builder { name: name.into(), runtime: None, evidence: None }
    }

    /// Takes a value, and returns its first handle.
    ///
    /// # Errors
    ///
    /// [`Refused`] with the value, if closing has begun, and in a forked child.
    #[track_caller]
    #[must_use = "the value is torn down when its last handle is dropped"]
    pub fn guard<T: Send + 'static>(&self, value: T) -> Result<Guarded<T>, Refused<T>> {
        let core = &self.owner.core;
        let forked_from = core.reaper.forked_from();
        if forked_from.is_some() || !core.count.add() {
            return Err(Refused { value, session: core.name.clone().into_owned(), forked_from });
        }
        let made_at = Location::caller();
        Ok(Guarded::first(value, Arc::clone(core), made_at, made_at))
    }

    /// Closes the session. It accepts no new values, and waits until every value has been torn down,
    /// with everything that its destructor started. Then it shuts down its own runtime. If handles
    /// remain shortly after closing began, it shuts the runtime down first, because its tasks may hold
    /// them. Last, the evidence must confirm the end.
    ///
    /// The limit holds under any executor. A limit of zero checks once (too short for evidence);
    /// [`Duration::MAX`] means no limit. If `r` of the limit remains when the runtime's turn comes, its
    /// shutdown gets `r - max(r / 10, min(100 ms, r / 2))`.
    ///
    /// Concurrent calls are allowed; each returns its own result. Closing begins with the first poll. If
    /// the future is dropped, the session keeps closing, and you can call `close` again.
    ///
    /// From then on [`guard`](Session::guard) refuses. Existing handles, their clones and derived handles
    /// still work. `close` waits for them.
    ///
    /// # Errors
    ///
    /// [`CloseError`], which says what blocks the close. The session is still closing then: remove the
    /// obstacle and call this again.
    pub async fn close(&self, limit: Duration) -> Result<CloseReport, CloseError> {
        let mut closing = Closing::begin(&self.owner, limit)?;
        let ended = within(limit, closing.run()).await;
        closing.conclude(ended)
    }

    /// Same as [`close`](Session::close), on a plain thread. On a worker of a runtime this blocks the
    /// worker.
    pub fn close_blocking(&self, limit: Duration) -> Result<CloseReport, CloseError> {
        let mut closing = Closing::begin(&self.owner, limit)?;
        let ended = park::wait(pin!(closing.run()), limit);
        closing.conclude(ended)
    }

    /// How many values still have a handle (a snapshot).
    #[must_use]
    pub fn values(&self) -> usize {
        self.owner.core.count.values()
    }

    /// Live handles by creation site, most first (a snapshot).
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        self.owner.held()
    }
}

impl Owner {
    fn held(&self) -> Vec<Held> {
        let held = self.core.call_sites.held().into_iter();
        held.map(|(made_at, handles)| Held { made_at, handles }).collect()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Remaining handles still send their values to be torn down.
        let Core { name, count, reaper, .. } = &*self.core;
        if reaper.forked_from().is_none() && !self.confirmed.is_raised() {
            observe::dropped_unclosed(name, self.made_at, count.values());
        }
    }
}

/// This report omits `confirmation`; call [`Session::close`] to get it.
impl GracefulShutdown for Session {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(async move {
            match self.close(limit).await {
                Ok(CloseReport { session: component, elapsed, aborted, .. }) => {
                    Ok(ShutdownReport::new(component, elapsed, aborted))
                }
                Err(error) => {
                    let (session, elapsed) = (error.session.clone(), error.elapsed);
                    let kind = ShutdownErrorKind::Failed(Arc::new(error));
                    Err(ShutdownError::new(session, elapsed, kind))
                }
            }
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("name", &self.owner.core.name)
            .field("values", &self.values())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("runtime", &self.runtime)
            .field("evidence", &self.evidence.is_some())
            .finish_non_exhaustive()
    }
}
