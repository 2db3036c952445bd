//! Many owners of one resource, torn down once, wherever the last of them is dropped.
//!
//! An application spreads a client around: tabs, caches, callbacks, tasks. With an `Arc`, the thread
//! that drops the last clone runs the destructor, in whatever context it happens to have (experiments
//! 01, 04, 07). In a session every handle is a [`Guarded`]. Dropping the last handle sends the value to
//! the session and returns at once; the session drops it where its destructor can run.
//! [`Session::close`] returns when all teardowns have ended, or reports what blocks them.
//!
//! # What a close does, in this order
//!
//! 1. It takes no new values, and gives the handles a short time to be dropped, and the destructors of
//!    their values time to end.
//! 2. It runs the *hooks* ([`Session::before_close_with`]): the SDK's own shutdown, which stops the SDK's
//!    tasks. A hook needs the value for that, so it gets a handle, which is dropped with the hook.
//! 3. If the session owns a *runtime* ([`Builder::runtime`]), it takes that down. *Foreign* tasks, which
//!    were not spawned through the kit, get a short time to end by themselves: after a hook, a tenth of the
//!    limit, at most 100 ms; otherwise half of what is left of the limit, at most 2 s. Then they are cut
//!    off, and the report counts them. Many SDKs have tasks that never end by themselves, so more time would
//!    only be waited for; [`foreign_time`](crate::runtime::RuntimeBuilder::foreign_time) sets another.
//! 4. It waits until every value has been torn down.
//! 5. The *evidence* ([`Builder::evidence`]) must confirm the end from outside: once, if the runtime of the
//!    session has ended; otherwise twice, 15 ms apart.
//!
//! The values come first, because a destructor may need what the SDK's tasks do, or a socket of the runtime. The hooks come before the
//! runtime goes down, because a task that is cut off in the middle of its work may panic.
//!
//! # What a session cannot see
//!
//! A session sees its handles. It does not see a clone that was taken out of a handle. A task of the
//! resource may hold a clone, which keeps the connections open after the last handle is dropped. Hooks, a
//! runtime of its own and evidence close this gap. Use what you can.
//!
//! The end of the runtime does not free a clone that the resource itself holds. The usual case is an event
//! handler that captures the bare client: the client holds its handlers, the handler holds the client, and
//! nothing ever drops either. The files of the store stay open, and only evidence sees it. Let the handler
//! capture a weak handle instead ([`Guarded::downgrade`], or the SDK's own weak reference):
//!
//! ```
//! # use std::time::Duration;
//! # use sundown::session::Session;
//! # #[derive(Default)] struct Client(std::sync::Mutex<Vec<Box<dyn Fn() + Send>>>);
//! # impl Client {
//! #   fn add_event_handler(&self, it: impl Fn() + Send + 'static) {
//! #       self.0.lock().unwrap().push(Box::new(it));
//! #   }
//! #   fn reply(&self) {}
//! # }
//! # let session = Session::new("matrix")?;
//! let client = session.guard(Client::default())?;
//! let weak = client.downgrade();
//! client.add_event_handler(move || {
//!     if let Some(client) = weak.upgrade() {
//!         client.reply();
//!     }
//! });
//! # drop(client);
//! # let _ = session.close_blocking(Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Evidence speaks of an instant, and of what it looks at. If the session's runtime has ended, nothing there
//! can open a file again. Otherwise work that is still running may: a connection that is just being made is
//! not open yet. Asking twice catches much of that, and not all.
//!
//! | the tasks of the resource run on | give the session | its report says |
//! | --- | --- | --- |
//! | a runtime made for the session | the [`RuntimeOwner`](crate::RuntimeOwner), a hook if the SDK can stop its tasks, evidence | [`Confirmation::Evidence`] |
//! | the application's only runtime | its `Handle`, a hook, evidence | [`Confirmation::Evidence`] |
//!
//! Without evidence the report says less: [`CloseReport::confirmation`] says how the end was confirmed, and
//! [`CloseReport::not_covered`] what it does not speak of.
//!
//! Close the session before the process exits: a value whose last handle is dropped during the exit may
//! not be torn down.

mod builder;
mod checks;
mod close;
mod close_report;
mod guarded;
mod hook;
mod hook_outcome;
mod probe;
mod refused;
mod runtime;
mod weak;

use std::{borrow::Cow, fmt, future::Future, panic::Location, pin::pin, sync::Arc, time::Duration};

use crate::{
    call_sites::CallSites,
    flag::Flag,
    handle_count::HandleCount,
    limit::within,
    observe, panics, park,
    runtime::CutOffWatch,
    shutdown::{
        GracefulShutdown, ShutdownError, ShutdownErrorKind, ShutdownFuture, ShutdownReport,
    },
    teardown::reaper::Reaper,
};
use checks::Checks;
use close::Closing;
use hook::{Hook, Hooks};
use runtime::{MayBlock, Runtime};

pub use crate::teardown::Unfinished;
pub use builder::{Builder, NotStarted};
pub use close_report::{CloseError, CloseErrorKind, CloseReport, Confirmation, Held, Inside, Seen};
pub use guarded::Guarded;
pub use hook_outcome::{Blocked, HookFailure, HookFailureKind};
pub use refused::Refused;
pub use runtime::SessionRuntime;
pub use weak::GuardedWeak;

/// A session: it owns resources that others use through handles. Clones are the same session.
///
/// If you drop the last clone before [`close`](Session::close) succeeds, the session logs a warning and
/// accepts no new values. Existing handles still work, and their values are torn down. Hooks that have not
/// begun are not called; what they and the checks hold is torn down, too. A runtime that the session owns is shut down, unless it has
/// another owner.
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
    /// Records which values outlive the runtime, if that is the kit's.
    _watch: Option<CutOffWatch>,
    hooks: Hooks,
    /// Raised once a `close` has confirmed the end.
    confirmed: Flag,
}

/// State shared by the session and its handles.
struct Core {
    name: Cow<'static, str>,
    count: HandleCount,
    call_sites: CallSites,
    reaper: Reaper,
    checks: Checks,
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
        Builder::new(name.into())
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
        let guarded = Guarded::first(value, Arc::clone(core), made_at, made_at, true);
        core.checks.look();
        Ok(guarded)
    }

    /// Adds a hook: what must be done before the session takes its runtime down, or asks its evidence. This
    /// is the place for the SDK's own shutdown: stop the sync, pause the client. It is also the place for a
    /// goodbye over a socket, `QUIT` or a close frame: a socket works only while the runtime on which it was made
    /// runs. A destructor is too late for it if something has a handle until the runtime ends
    /// ([`OutlivedRuntime`](crate::NotCovered::OutlivedRuntime)).
    ///
    /// The hook gets a handle of its own. The session keeps it until then, so the value is there even
    /// if all others have been dropped. The handle is dropped with the hook, or with the session. (A
    /// [weak handle](GuardedWeak) would find no value if all others have been dropped.) Do not give a hook
    /// the session: neither would be dropped before a close.
    ///
    /// `close` calls the hooks once, one after another, when all other handles have been dropped, or after
    /// 100 ms (at most half of the limit). They run as a task of the session's runtime, if it has one; this
    /// task continues if a close is given up, and the next close waits for it. Otherwise whoever awaits a
    /// close polls them. Then a hook that blocks its thread (instead of awaiting) keeps that caller beyond
    /// its limit, and the answer names the hook ([`Seen::blocked`]); the limits of other callers hold.
    ///
    /// A hook that panics keeps nothing else from being torn down; `close` returns
    /// [`Hook`](CloseErrorKind::Hook) when everything has ended. A hook that does not end costs each close
    /// its limit, and is named. A hook that closes its own session is answered
    /// [`FromInside`](CloseErrorKind::FromInside).
    ///
    /// # Errors
    ///
    /// [`Refused`] with the hook, if the hooks have begun, and in a forked child.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use sundown::session::Session;
    /// # struct Client;
    /// # impl Client { async fn pause(&self) {} }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let session = Session::new("matrix")?;
    /// let client = session.guard(Client)?;
    /// session.before_close_with(&client, async |client| client.pause().await)?;
    ///
    /// drop(client);
    /// let _ = session.close_blocking(Duration::from_secs(5))?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn before_close_with<T, H, F>(&self, handle: &Guarded<T>, hook: H) -> Result<(), Refused<H>>
    where
        T: Send + Sync + 'static,
        H: FnOnce(Guarded<T>) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (is_ours, given_at) = (handle.is_of(&self.owner.core), Location::caller());
        self.add_hook(hook, |hook| Hook::with(handle.clone_at(given_at), is_ours, hook, given_at))
    }

    /// Adds a hook that needs no handle. Same as [`before_close_with`](Self::before_close_with) otherwise.
    /// (`close` cannot tell a handle that the hook captures from others, and waits 100 ms for it.)
    ///
    /// # Errors
    ///
    /// [`Refused`] with the hook, if the hooks have begun, and in a forked child.
    #[track_caller]
    pub fn before_close<H, F>(&self, hook: H) -> Result<(), Refused<H>>
    where
        H: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let given_at = Location::caller();
        self.add_hook(hook, |hook| Hook::new(hook, given_at))
    }

    fn add_hook<H>(&self, hook: H, made: impl FnOnce(Box<H>) -> Hook) -> Result<(), Refused<H>> {
        // At once: without optimization each function that passes it on would have room for it on the stack.
        let hook = Box::new(hook);
        let Owner { core, hooks, .. } = &*self.owner;
        let forked_from = core.reaper.forked_from();
        let added = if forked_from.is_some() { Err(hook) } else { hooks.add(hook, made) };
        added.map_err(|value| Refused {
            value: *value,
            session: core.name.clone().into_owned(),
            forked_from,
        })
    }

    /// Has the evidence look now, on this thread. Call this only if the resource opens something after it was
    /// guarded, and closes it before its last handle is dropped. At other times the session looks by itself:
    /// see [`Builder::evidence`]. Does nothing in a forked child.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::{fs::File, time::Duration};
    /// # use sundown::{evidence::no_open_files, session::Session};
    /// let store = tempfile::tempdir()?;
    /// let session = Session::builder("store").evidence(no_open_files(store.path())).start()?;
    /// let pool = session.guard(())?;
    ///
    /// let connection = File::create(store.path().join("store.sqlite3"))?;
    /// session.look();
    /// drop(connection); // before the last handle: without the look, nobody would have seen it open
    ///
    /// drop(pool);
    /// let _ = session.close_blocking(Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(target_os = "linux"))]
    /// # fn main() {}
    /// ```
    pub fn look(&self) {
        if self.owner.core.reaper.forked_from().is_none() {
            self.owner.core.checks.look();
        }
    }

    /// Closes the session: see [the steps](self#what-a-close-does-in-this-order). On success everything
    /// that the report speaks of has ended, and so have the threads that the session started.
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
    /// worker. If that runtime must run a hook, another thread takes over the worker's tasks.
    ///
    /// # Errors
    ///
    /// Same as [`close`](Session::close). [`FromInside`](CloseErrorKind::FromInside) also if a hook has not
    /// ended, and this thread is the only one that could run it, or is a worker of the hook's runtime that
    /// polls a `LocalSet`: await `close` there. (A thread of `spawn_blocking` may block.)
    pub fn close_blocking(&self, limit: Duration) -> Result<CloseReport, CloseError> {
        let mut closing = Closing::begin(&self.owner, limit)?;
        let Owner { hooks, runtime, .. } = &*self.owner;
        let may_block = match runtime {
            Some(runtime) if hooks.are_pending() => runtime.may_block_here(),
            _ => MayBlock::Yes,
        };
        let mut wait = || park::wait(pin!(closing.run()), limit);
        let ended = match may_block {
            MayBlock::Yes => Some(wait()),
            // Tokio panics inside a `LocalSet`, before it calls `wait`. Nothing else here panics.
            MayBlock::InPlace => panics::catch(|| tokio::task::block_in_place(wait)).ok(),
            MayBlock::No => None,
        };
        match ended {
            Some(ended) => closing.conclude(ended),
            None => Err(closing.refused_inside(Inside::HooksThread)),
        }
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
        let Core { name, count, reaper, checks, .. } = &*self.core;
        if reaper.forked_from().is_some() {
            // Foreign code, and what it holds may belong to threads that do not exist here.
            self.hooks.leak();
            checks.leak();
            return;
        }
        // Foreign code, which may block, or need a runtime.
        for left in [self.hooks.take(), checks.end()].into_iter().flatten() {
            reaper.take(left);
        }
        // After the acts, because a log line is foreign code.
        if !self.confirmed.is_raised() {
            observe::dropped_unclosed(name, self.made_at, count.values());
        }
    }
}

/// This report omits `confirmation`; call [`Session::close`] to get it.
impl GracefulShutdown for Session {
    fn shutdown_within(&self, limit: Duration) -> ShutdownFuture<'_> {
        Box::pin(async move {
            match self.close(limit).await {
                Ok(closed) => {
                    let CloseReport { session, elapsed, aborted, foreign, .. } = closed;
                    let mut report = ShutdownReport::new(session, elapsed, aborted);
                    report.aborted_tasks = closed.aborted_tasks;
                    report.foreign = foreign;
                    report.foreign_panics = closed.foreign_panics;
                    report.cut_off = closed.cut_off;
                    report.not_covered = closed.not_covered;
                    Ok(report)
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
