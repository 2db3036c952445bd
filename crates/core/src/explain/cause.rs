//! The causes that the hook knows, with their codes.

use super::{advice, messages};

/// The cause of a panic during a shutdown.
///
/// Each cause has a [code](Self::code), which never changes, and a page in the notebook
/// (`docs/src/explain`). `cargo xtask explain CODE` prints the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// `SD0001`: a thread without runtime context did something that needs one, for example dropped a
    /// pooled connection (experiment 01) or spawned a task.
    NoContext,
    /// `SD0002`: another destructor panicked while a panic of one of these causes unwound: the process
    /// aborts (experiment 06).
    SecondPanic,
    /// `SD0003`: a destructor of a thread-local needed Tokio's thread-local, which had been destroyed
    /// (experiment 07).
    ContextDestroyed,
    /// `SD0004`: something used a timer, a socket or a file of a runtime that has been shut down.
    RuntimeGone,
    /// `SD0005`: a runtime was dropped in async code (experiment 10).
    RuntimeDropped,
    /// `SD0006`: async code blocked its thread, by `block_on` or a blocking call of a channel
    /// (experiment 10).
    BlockedInAsync,
    /// `SD0007`: work was cancelled, and the caller took that for a panic, or for something that cannot
    /// happen (experiment 11).
    CancelledJoin,
    /// `SD0008`: a runtime needed one more thread, and the system refused it (experiment 16).
    NoThread,
    /// `SD0009`: `block_in_place` was called on a runtime with one thread, which cannot hand its tasks over.
    BlockInPlace,
    /// `SD0010`: the runtime was built without the driver for timers or for I/O.
    NoDriver,
    /// `SD0011`: a library uses a Tokio older than 1.0, which does not see the context of Tokio 1.
    OldTokio,
    /// `SD0012`: a task that is not `Send` was spawned outside a `LocalSet`, or outside actix's system
    /// (experiment 58).
    NotLocal,
    /// `SD0013`: a task that must stay on one thread was polled or dropped on another.
    WrongThread,
    /// `SD0014`: the task or thread that serves a client is gone, and a call of that client failed.
    TaskGone,
    /// `SD0015`: a thread ended without a result. In a forked child the threads of the parent do not exist
    /// (experiment 55).
    Forked,
    /// `SD0016`: a thread called Python when there was no interpreter (experiments 60 to 63).
    NoInterpreter,
}

impl Cause {
    /// All causes, in the order of their codes.
    pub const ALL: &'static [Self] = &[
        Self::NoContext,
        Self::SecondPanic,
        Self::ContextDestroyed,
        Self::RuntimeGone,
        Self::RuntimeDropped,
        Self::BlockedInAsync,
        Self::CancelledJoin,
        Self::NoThread,
        Self::BlockInPlace,
        Self::NoDriver,
        Self::OldTokio,
        Self::NotLocal,
        Self::WrongThread,
        Self::TaskGone,
        Self::Forked,
        Self::NoInterpreter,
    ];

    /// The cause of a panic with this message, from this file; `None` if it has another cause. `before` is
    /// the cause of one of the two panics before it on the same thread: that of a second destructor is explained only
    /// if one of them was.
    ///
    /// The message of an `unwrap` or `expect` is recognised by the error in it. A message that only quotes
    /// one of these texts has another cause.
    ///
    /// ```
    /// use sundown::explain::Cause;
    ///
    /// let message = "The Tokio context thread-local variable has been destroyed.";
    /// assert_eq!(Cause::of(message, "src/cache.rs", None), Some(Cause::ContextDestroyed));
    /// assert_eq!(Cause::of("index out of bounds", "src/cache.rs", None), None);
    /// ```
    #[must_use]
    pub fn of(message: &str, file: &str, before: Option<Self>) -> Option<Self> {
        match messages::cause_of(message, file)? {
            Self::SecondPanic if before.is_none() => None,
            cause => Some(cause),
        }
    }

    /// The code: `SD` and four digits. It stays the same in later versions, and no code is used twice.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoContext => "SD0001",
            Self::SecondPanic => "SD0002",
            Self::ContextDestroyed => "SD0003",
            Self::RuntimeGone => "SD0004",
            Self::RuntimeDropped => "SD0005",
            Self::BlockedInAsync => "SD0006",
            Self::CancelledJoin => "SD0007",
            Self::NoThread => "SD0008",
            Self::BlockInPlace => "SD0009",
            Self::NoDriver => "SD0010",
            Self::OldTokio => "SD0011",
            Self::NotLocal => "SD0012",
            Self::WrongThread => "SD0013",
            Self::TaskGone => "SD0014",
            Self::Forked => "SD0015",
            Self::NoInterpreter => "SD0016",
        }
    }

    /// The cause with this code; `None` if there is none. Upper and lower case are the same.
    ///
    /// ```
    /// use sundown::explain::Cause;
    ///
    /// let cause = Cause::from_code("SD0006");
    /// assert_eq!(cause, Some(Cause::BlockedInAsync));
    /// assert_eq!(Cause::from_code("SD9999"), None);
    /// ```
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.code().eq_ignore_ascii_case(code))
    }

    /// What to do instead, for a call and for a destructor. The hook prints the part that applies.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        advice::general(self)
    }
}
