//! Many owners of one resource, torn down once, wherever the last of them dies.
//!
//! An application spreads a client around: tabs, caches, callbacks, tasks. Whoever drops the last
//! handle runs the destructor, on its own thread, with whatever context that thread happens to have
//! (experiments 01, 04, 07). Here every handle is a [`Guarded`]: the last one hands its value to the
//! session, which drops it where its destructor can run, and returns at once. [`Session::close`]
//! tells when all of that is over, or who is in the way of it.
//!
//! A session sees its handles. It does not see a clone that was taken out of one, nor one that a task
//! of the resource's own holds, which keeps its connections open when every handle is gone. Two
//! things make the answer the whole truth, and together they are best:
//!
//! - a *runtime of its own* on which those tasks run: closing shuts it down, too
//!   ([`Builder::runtime`]);
//! - *evidence*: a check that is asked until it confirms the end from outside, for example that no
//!   file of the store is open any more ([`Builder::evidence`]).
//!
//! What an answer rests on is in [`CloseReport::confirmation`].
//!
//! While the process exits, values may not get to be torn down any more: close the session before.

use std::{borrow::Cow, fmt, panic::Location, pin::pin, sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    blocking,
    evidence::Unconfirmed,
    flag::Flag,
    limit::within,
    observe,
    reaper::Reaper,
    roster::Roster,
    runtime::RuntimeOwner,
    shutdown::{GracefulShutdown, ShutdownError, ShutdownFuture, ShutdownReport},
};

mod close;
mod guarded;
mod outcome;

use close::Closing;
pub use guarded::Guarded;
pub use outcome::{CloseError, CloseErrorKind, CloseReport, Confirmation, Held, Unfinished};

/// A session: an owner of resources that others use through handles. Clones are the same session.
///
/// When the last one is dropped and no [`close`](Session::close) has confirmed the end, that is
/// warned of; nothing new is taken any more, handles stay good, and their values are torn down
/// all the same. A runtime of its own goes down then, unless somebody else owns it, too.
///
/// In a forked child there are none of its threads, and nothing of it is torn down: what is dropped
/// there stays as it is, and everything else answers at once.
///
/// ```
/// use std::{thread, time::Duration};
/// use sundown::session::Session;
///
/// /// As a client over pooled connections: its destructor needs a runtime.
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
/// session.close_blocking(Duration::from_secs(5))?;
/// # tab.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Session {
    owner: Arc<Owner>,
}

/// What all clones of a session share, and its values do not: it goes when the last clone goes.
struct Owner {
    core: Arc<Core>,
    made_at: &'static Location<'static>,
    runtime: Option<Runtime>,
    evidence: Option<Check>,
    /// A close has confirmed the end.
    confirmed: Flag,
}

/// What the values of a session need, too.
struct Core {
    name: Cow<'static, str>,
    roster: Roster,
    reaper: Reaper,
}

/// The runtime of a session: one generation of it. What its owner starts anew is not the session's.
struct Runtime {
    owner: RuntimeOwner,
    generation: u64,
}

impl Runtime {
    /// Whether the owner has started the next one, which it can only when this one has ended.
    fn was_succeeded(&self) -> bool {
        self.owner.stats().generation > self.generation
    }

    fn tasks(&self) -> usize {
        self.owner.stats().tasks
    }

    fn is_here(&self) -> bool {
        !self.was_succeeded() && self.owner.is_here()
    }
}

type Check = Arc<dyn Fn() -> Result<(), Unconfirmed> + Send + Sync>;

/// The system gave no thread or no descriptor to start a session with.
#[derive(Debug, Error)]
#[error(
    "cannot start the session {session}: {source}; end some threads or close some files, and try again"
)]
pub struct NotStarted {
    /// The name of the session.
    pub session: String,
    /// What the system answered.
    pub source: std::io::Error,
}

/// The session is closing, or this is a forked child, and it takes no new value. Here it is back: as
/// nobody else will tear it down, hand it to [`teardown`](crate::teardown::teardown()), unless its
/// destructor can run here.
#[derive(Error)]
#[error(
    "the session {session} is closing, or another process's, and takes no new value; tear it down yourself"
)]
pub struct Refused<T> {
    /// The value, as it was.
    pub value: T,
    /// The name of the session.
    pub session: String,
}

/// Without the value: it need not be `Debug` for the error to be an error.
impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("session", &self.session).finish_non_exhaustive()
    }
}

/// What a session is to have besides its name.
#[must_use = "a builder starts nothing until it is told to"]
pub struct Builder {
    name: Cow<'static, str>,
    runtime: Option<RuntimeOwner>,
    evidence: Option<Check>,
}

impl Builder {
    /// The runtime that the resource's own tasks run on. It goes down when the session closes, and
    /// with it whatever is on it. Handles that its tasks hold, and have not dropped by themselves
    /// soon after closing began, are dropped then.
    ///
    /// A task of that runtime that holds the session itself keeps both from being dropped: give it
    /// handles.
    ///
    /// It is the runtime that the owner has now. One that it [restarts](RuntimeOwner::restart) after
    /// the session has closed belongs to the next session.
    pub fn runtime(mut self, owner: RuntimeOwner) -> Self {
        self.runtime = Some(owner);
        self
    }

    /// A check that is asked before the session counts as closed, again and again until it confirms
    /// the end or the limit of the close has passed: [`no_open_files`] of the store's directory, or
    /// a closure of one's own.
    ///
    /// It is asked on a thread of its own, so that a check that does not answer keeps nobody beyond
    /// their limit. Where it answers [`Unconfirmed::Against`] it is asked again, 1 ms later at first
    /// and 20 ms later at most; [`Unconfirmed::Unavailable`] ends the close at once, and so does a
    /// panic of the check.
    ///
    /// [`no_open_files`]: crate::evidence::no_open_files
    pub fn evidence(
        mut self,
        check: impl Fn() -> Result<(), Unconfirmed> + Send + Sync + 'static,
    ) -> Self {
        self.evidence = Some(Arc::new(check));
        self
    }

    /// Starts the session: the threads that tear its values down.
    ///
    /// # Errors
    ///
    /// [`NotStarted`], when the system gives no thread or no descriptor.
    #[track_caller]
    #[must_use = "a session begins to close when it is dropped"]
    pub fn start(self) -> Result<Session, NotStarted> {
        let Self { name, runtime, evidence } = self;
        let reaper = match Reaper::start() {
            Ok(reaper) => reaper,
            Err(source) => return Err(NotStarted { session: name.into_owned(), source }),
        };
        let core = Arc::new(Core { name, roster: Roster::new(), reaper });
        let runtime = runtime.map(|owner| Runtime { generation: owner.stats().generation, owner });
        let (made_at, confirmed) = (Location::caller(), Flag::new());
        Ok(Session { owner: Arc::new(Owner { core, made_at, runtime, evidence, confirmed }) })
    }
}

impl Session {
    /// Starts a session that has neither a runtime nor evidence: when it closes it rests on its
    /// handles only.
    ///
    /// # Errors
    ///
    /// [`NotStarted`], when the system gives no thread or no descriptor.
    #[track_caller]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Result<Self, NotStarted> {
        Self::builder(name).start()
    }

    /// A session that is to have more than its name.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> Builder {
        Builder { name: name.into(), runtime: None, evidence: None }
    }

    /// Takes a value, and returns its first handle.
    ///
    /// # Errors
    ///
    /// [`Refused`] once closing has begun, and in a forked child: the value comes back.
    #[track_caller]
    #[must_use = "the value is torn down when its last handle is dropped"]
    pub fn guard<T: Send + 'static>(&self, value: T) -> Result<Guarded<T>, Refused<T>> {
        let core = &self.owner.core;
        if core.reaper.forked_from().is_some() || !core.roster.enter() {
            return Err(Refused { value, session: core.name.clone().into_owned() });
        }
        Ok(Guarded::new(value, Arc::clone(core), Location::caller()))
    }

    /// Closes the session: takes nothing new from now on, and waits until every value has been torn
    /// down, with everything that its destructor started. A runtime of its own is shut down after
    /// that, or where handles are still held a moment after closing began, to see whether its tasks
    /// hold them. Last, the evidence is to confirm it.
    ///
    /// It does not wait for longer than the limit, whatever executor it is awaited on; zero looks
    /// once (too short for evidence), [`Duration::MAX`] is none. It may be called again, and by many
    /// at the same time: everybody gets the real answer, for their limit. If the future is dropped
    /// half-way the session stays closing, and somebody else can ask.
    ///
    /// Closing begins with the first poll. From then on [`guard`](Session::guard) refuses. Handles
    /// that are left stay good, and so do their clones and what is derived from them: they are what
    /// this waits for.
    ///
    /// The session's own runtime has nine tenths of what is left of the limit when its turn comes (of
    /// less than a second all but 100 ms of it, or half).
    ///
    /// # Errors
    ///
    /// [`CloseError`], which says what is in the way. After that the session is still closing: call
    /// it again when that has been seen to.
    pub async fn close(&self, limit: Duration) -> Result<CloseReport, CloseError> {
        let mut closing = Closing::begin(&self.owner, limit)?;
        let ended = within(limit, closing.run()).await;
        closing.conclude(ended)
    }

    /// The same on a plain thread. On a runtime's worker it blocks that worker: there, await
    /// [`Session::close`].
    ///
    /// # Errors
    ///
    /// As [`Session::close`].
    pub fn close_blocking(&self, limit: Duration) -> Result<CloseReport, CloseError> {
        let mut closing = Closing::begin(&self.owner, limit)?;
        let ended = blocking::wait(pin!(closing.run()), limit);
        closing.conclude(ended)
    }

    /// How many guarded values have not been handed over to be torn down, at some moment.
    #[must_use]
    pub fn values(&self) -> usize {
        self.owner.core.roster.values()
    }

    /// Where the handles that there are were made, and how many at each place, at some moment; most
    /// first.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        self.owner.held()
    }
}

impl Owner {
    fn held(&self) -> Vec<Held> {
        let held = self.core.roster.held().into_iter();
        held.map(|(made_at, handles)| Held { made_at, handles }).collect()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Core { name, roster, reaper } = &*self.core;
        if reaper.forked_from().is_some() {
            return;
        }
        if !self.confirmed.is_raised() {
            observe::dropped_unclosed(name, self.made_at, roster.values());
        }
        // Those who still have handles hand their values over as before.
        roster.close();
    }
}

/// What a session's answer rests on is not in the report of this trait: ask [`Session::close`].
impl GracefulShutdown for Session {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(async move {
            let report = self.close(limit).await.map_err(|error| {
                ShutdownError::failed(error.session.clone(), error.elapsed, error)
            })?;
            let CloseReport { session: component, elapsed, aborted, .. } = report;
            Ok(ShutdownReport { component, elapsed, aborted })
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
