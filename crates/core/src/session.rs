//! Many owners of one resource, torn down once, wherever the last of them is dropped.
//!
//! An application spreads a client around: tabs, caches, callbacks, tasks. With an `Arc`, the thread
//! that drops the last clone runs the destructor, in whatever context it happens to have (experiments
//! 01, 04, 07). In a session every handle is a [`Guarded`]. The last one hands its value to the session,
//! which drops it where its destructor can run, and returns at once. [`Session::close`] says when all of
//! that is over, or what is in the way.
//!
//! A session sees its handles. It does not see a clone that was taken out of a handle, or one that a
//! task of the resource itself holds, which keeps its connections open when every handle is gone. Two
//! things make the answer complete, and together they are best:
//!
//! - a *runtime of its own* on which those tasks run: closing shuts it down, too
//!   ([`Builder::runtime`]);
//! - *evidence*: a check that is asked until it confirms the end from outside, for example that no file
//!   of the store is open any more ([`Builder::evidence`]).
//!
//! [`CloseReport::confirmation`] says what an answer rests on.
//!
//! Close the session before the process exits: values that are handed over during the exit may not be
//! torn down any more.

mod close;
mod guarded;
mod outcome;

use std::{borrow::Cow, fmt, panic::Location, pin::pin, sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    blocking,
    evidence::Unconfirmed,
    flag::Flag,
    handle_count::HandleCount,
    limit::within,
    observe,
    runtime::RuntimeOwner,
    shutdown::{
        GracefulShutdown, ShutdownError, ShutdownErrorKind, ShutdownFuture, ShutdownReport,
    },
    teardown::reaper::Reaper,
};
use close::Closing;

pub use crate::teardown::Unfinished;
pub use guarded::Guarded;
pub use outcome::{CloseError, CloseErrorKind, CloseReport, Confirmation, Held};

/// A session: it owns resources that others use through handles. Clones are the same session.
///
/// If the last clone is dropped before a [`close`](Session::close) has confirmed the end, that is
/// reported as a warning. The session takes nothing new then, handles stay good, and their values are
/// torn down all the same. Its own runtime goes down, unless somebody else owns it, too.
///
/// A forked child has none of its threads, and nothing of it is torn down there: what is dropped stays
/// as it is, and every call answers at once.
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

/// What all clones of a session share, and its values do not: it is dropped with the last clone.
struct Owner {
    core: Arc<Core>,
    made_at: &'static Location<'static>,
    runtime: Option<Runtime>,
    evidence: Option<Check>,
    /// A close has confirmed the end.
    confirmed: Flag,
}

/// What the values of a session share with it.
struct Core {
    name: Cow<'static, str>,
    count: HandleCount,
    reaper: Reaper,
}

/// The runtime of a session: one generation of it. A later generation is not the session's.
struct Runtime {
    owner: RuntimeOwner,
    generation: u64,
}

impl Runtime {
    /// Whether the owner has started a later generation, which it can only if this one has ended.
    fn was_restarted(&self) -> bool {
        self.owner.stats().generation > self.generation
    }

    fn includes_this_thread(&self) -> bool {
        !self.was_restarted() && self.owner.includes_this_thread()
    }
}

type Check = Arc<dyn Fn() -> Result<(), Unconfirmed> + Send + Sync>;

/// The system gave no thread or no descriptor to start a session with.
#[derive(Debug, Error)]
#[error(
    "cannot start the session `{session}`: {source}; end some threads or close some files, and try again"
)]
pub struct NotStarted {
    /// The name of the session.
    pub session: String,
    /// What the system answered.
    pub source: std::io::Error,
}

/// The session is closing, or this is a forked child, and it takes no new value. The value is handed
/// back. Nobody else will tear it down: use [`teardown`](crate::teardown()), unless its destructor can
/// run here.
#[derive(Error)]
#[error(
    "the session `{session}` is closing or belongs to another process, and takes no new value; tear it down yourself"
)]
pub struct Refused<T> {
    /// The value, as it was.
    pub value: T,
    /// The name of the session.
    pub session: String,
}

/// Without the value, which need not be `Debug`.
impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("session", &self.session).finish_non_exhaustive()
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
    /// The runtime that the resource's own tasks run on. It is shut down when the session closes, with
    /// everything that is on it. If its tasks hold handles and have not dropped them soon after closing
    /// began, the handles are dropped with the runtime.
    ///
    /// A task of that runtime that holds the session itself keeps both from being dropped: give it
    /// handles instead.
    ///
    /// The session takes the generation that runs now. If the owner [restarts](RuntimeOwner::restart)
    /// it after the session has closed, the new generation belongs to the next session.
    pub fn runtime(mut self, owner: RuntimeOwner) -> Self {
        self.runtime = Some(owner);
        self
    }

    /// A check that is asked before the session counts as closed, until it confirms the end or the
    /// limit of the close passes: [`no_open_files`] of the store's directory, or a closure of your own.
    ///
    /// It is asked on a thread of its own, so a check that does not answer keeps nobody beyond their
    /// limit. After [`Unconfirmed::Against`] it is asked again, 1 ms later at first and 20 ms later at
    /// most. [`Unconfirmed::Unavailable`] ends the close at once, and so does a panic of the check.
    ///
    /// [`no_open_files`]: crate::evidence::no_open_files
    pub fn evidence(
        mut self,
        check: impl Fn() -> Result<(), Unconfirmed> + Send + Sync + 'static,
    ) -> Self {
        self.evidence = Some(Arc::new(check));
        self
    }

    /// Starts the session, with the threads that tear its values down.
    ///
    /// # Errors
    ///
    /// [`NotStarted`], if the system gives no thread or no descriptor.
    #[track_caller]
    #[must_use = "the session begins to close when its last clone is dropped"]
    pub fn start(self) -> Result<Session, NotStarted> {
        let Self { name, runtime, evidence } = self;
        let reaper = match Reaper::start() {
            Ok(reaper) => reaper,
            Err(source) => return Err(NotStarted { session: name.into_owned(), source }),
        };
        let core = Arc::new(Core { name, count: HandleCount::new(), reaper });
        let runtime = runtime.map(|owner| Runtime { generation: owner.stats().generation, owner });
        let (made_at, confirmed) = (Location::caller(), Flag::new());
        Ok(Session { owner: Arc::new(Owner { core, made_at, runtime, evidence, confirmed }) })
    }
}

impl Session {
    /// Starts a session with neither a runtime nor evidence: its closing rests on its handles only.
    ///
    /// # Errors
    ///
    /// [`NotStarted`], if the system gives no thread or no descriptor.
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
    /// [`Refused`] with the value, once closing has begun, and in a forked child.
    #[track_caller]
    #[must_use = "the value is torn down when its last handle is dropped"]
    pub fn guard<T: Send + 'static>(&self, value: T) -> Result<Guarded<T>, Refused<T>> {
        let core = &self.owner.core;
        if core.reaper.forked_from().is_some() || !core.count.add() {
            return Err(Refused { value, session: core.name.clone().into_owned() });
        }
        Ok(Guarded::new(value, Arc::clone(core), Location::caller()))
    }

    /// Closes the session: takes nothing new from now on, and waits until every value has been torn
    /// down, with everything that its destructor started. After that it shuts its own runtime down; if
    /// handles are still held a moment after closing began, before that, in case its tasks hold them.
    /// Last, the evidence must confirm the end.
    ///
    /// The limit holds under any executor. A limit of zero looks once (too short for evidence);
    /// [`Duration::MAX`] means no limit. Of what is left of the limit when its turn comes, the session's
    /// own runtime gets nine tenths (if that is below a second, all but 100 ms or half of it).
    ///
    /// You may call this again, and from many callers at the same time: each gets the real answer, for
    /// its own limit. Closing begins with the first poll. If the future is dropped half-way, the session
    /// stays closing, and somebody else can ask.
    ///
    /// From then on [`guard`](Session::guard) refuses. Handles that are left stay good, and so do their
    /// clones and what is derived from them: they are what this waits for.
    ///
    /// # Errors
    ///
    /// [`CloseError`], which says what is in the way. The session is still closing then: remove the
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
        let ended = blocking::wait(pin!(closing.run()), limit);
        closing.conclude(ended)
    }

    /// How many guarded values have not been handed over to be torn down, at some moment.
    #[must_use]
    pub fn values(&self) -> usize {
        self.owner.core.count.values()
    }

    /// Where the handles that exist were made, and how many at each place, at some moment. Most first.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        self.owner.held()
    }
}

impl Owner {
    fn held(&self) -> Vec<Held> {
        let held = self.core.count.held().into_iter();
        held.map(|(made_at, handles)| Held { made_at, handles }).collect()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Handles that are left hand their values over as before.
        let Core { name, count, reaper } = &*self.core;
        if reaper.forked_from().is_none() && !self.confirmed.is_raised() {
            observe::dropped_unclosed(name, self.made_at, count.values());
        }
    }
}

/// The report of this trait does not say what the answer rests on: for that, call [`Session::close`].
impl GracefulShutdown for Session {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(async move {
            match self.close(limit).await {
                Ok(CloseReport { session: component, elapsed, aborted, .. }) => {
                    Ok(ShutdownReport { component, elapsed, aborted })
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
