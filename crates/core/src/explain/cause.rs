//! The causes that the hook knows: how it recognises them, and how it explains them.

use super::value::Dropped;

/// The cause of a panic during a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// A thread without runtime context did something that needs one, for example dropped a pooled
    /// connection (experiment 01).
    NoContext,
    /// Another destructor panicked while a panic of one of these causes unwound: the process aborts
    /// (experiment 06).
    SecondPanic,
    /// A destructor of a thread-local needed Tokio's thread-local, which had been destroyed (experiment
    /// 07).
    ContextDestroyed,
    /// Something waited for a timer of a runtime that is gone.
    RuntimeGone,
    /// A runtime was dropped in async code (experiment 10).
    RuntimeDropped,
    /// Async code blocked its thread, by `block_on` or a blocking call of a channel (experiment 10).
    BlockedInAsync,
    /// Work was cancelled, and the caller took that for a panic, or for something that cannot happen
    /// (experiment 11).
    CancelledJoin,
    /// A runtime needed one more blocking thread, and the system refused it (experiment 16).
    NoThread,
}

impl Cause {
    /// All causes.
    pub const ALL: &'static [Self] = &[
        Self::NoContext,
        Self::SecondPanic,
        Self::ContextDestroyed,
        Self::RuntimeGone,
        Self::RuntimeDropped,
        Self::BlockedInAsync,
        Self::CancelledJoin,
        Self::NoThread,
    ];

    /// The cause of a panic with this message, from this file; `None` if it has another cause. `before` is
    /// the cause of the panic before it on the same thread: a second panic is explained only after a
    /// first that was.
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
        // By how they begin: a panic that only quotes one of these messages has another cause.
        let begins = |beginnings: &[&str]| beginnings.iter().any(|it| message.starts_with(it));
        if begins(&["there is no reactor running, must be called", NO_CONTEXT, NO_CONTEXT_BEFORE_1])
        {
            Some(Self::NoContext)
        } else if message == "panic in a destructor during cleanup" {
            before.map(|_| Self::SecondPanic)
        } else if begins(&["The Tokio context thread-local variable has been destroyed"])
            || (begins(&[NO_THREAD_LOCAL]) && is_from("tokio-", file))
        {
            Some(Self::ContextDestroyed)
        } else if begins(&["A Tokio 1.x context was found, but it is being shutdown"]) {
            Some(Self::RuntimeGone)
        } else if begins(&["Cannot drop a runtime in a context where blocking is not allowed"]) {
            Some(Self::RuntimeDropped)
        } else if begins(&["Cannot start a runtime from within a runtime", BLOCKED]) {
            Some(Self::BlockedInAsync)
        } else if begins(&["`JoinError` reason is not a panic"])
            || is_unwrapped_cancellation(message)
            || (message == "Task has been cancelled" && is_from("deadpool-sync-", file))
            || (message.ends_with(CANCELLED_CALL) && is_from("matrix-sdk-sqlite-", file))
        {
            Some(Self::CancelledJoin)
        } else if begins(&["OS can't spawn worker thread: "]) {
            Some(Self::NoThread)
        } else {
            let passed_on = panic_of_a_joined_task(message)?;
            Self::of(passed_on, file, before)
        }
    }

    /// What happened.
    pub(super) fn happened(self, thread: &str, place: &str, dropped: Option<&Dropped>) -> String {
        match (self, dropped) {
            (Self::NoContext, Some(dropped)) => format!(
                "{dropped} was dropped on {thread}, which has no runtime context, and its \
                 destructor needs one"
            ),
            (Self::NoContext, None) => format!(
                "{thread} has no runtime context, and {place} needed one there; if it was a \
                 destructor, RUST_BACKTRACE=1 names the value"
            ),
            (Self::SecondPanic, Some(dropped)) => format!(
                "{dropped} was being dropped on {thread} when a second destructor panicked while \
                 the first panic unwound, and the process aborts"
            ),
            (Self::SecondPanic, None) => format!(
                "a second destructor panicked on {thread} while the first panic unwound, and the \
                 process aborts"
            ),
            (Self::ContextDestroyed, Some(dropped)) => format!(
                "{dropped} was dropped while {thread} ended, when Tokio's own thread-local was \
                 gone already"
            ),
            (Self::ContextDestroyed, None) => format!(
                "{thread} was ending, and a destructor of one of its thread-locals needed Tokio's \
                 own ({place}), which was gone already"
            ),
            (Self::RuntimeGone, _) => format!(
                "something on {thread} waited for a timer of a runtime that has been shut down \
                 ({place})"
            ),
            (Self::RuntimeDropped, Some(dropped)) => format!(
                "a `Runtime` was dropped in async code on {thread}, with {}: its drop waits, and a \
                 thread that drives tasks must not",
                dropped.outermost()
            ),
            (Self::RuntimeDropped, None) => format!(
                "a `Runtime` was dropped in async code on {thread}: its drop waits, and a thread \
                 that drives tasks must not"
            ),
            (Self::BlockedInAsync, _) => format!(
                "{thread} drives tasks, and something blocked it ({place}): `block_on`, or a \
                 blocking call of a channel"
            ),
            (Self::CancelledJoin, _) => format!(
                "work that {thread} awaited was cancelled, by an abort or because its runtime went \
                 down, and {place} took it for a panic or a success"
            ),
            (Self::NoThread, Some(dropped)) => format!(
                "{dropped} was dropped on {thread}, its destructor needed a blocking thread of the \
                 runtime, and the system refused one more"
            ),
            (Self::NoThread, None) => format!(
                "{thread} needed a blocking thread of the runtime ({place}), and the system refused \
                 one more"
            ),
        }
    }

    /// What to do instead.
    pub(super) const fn instead(self) -> &'static str {
        match self {
            Self::NoContext => {
                "enter a context around it, `let _context = handle.enter();`, with a handle of any \
                 runtime, alive or not; or hand the value to `sundown::teardown`, which needs none"
            }
            Self::SecondPanic => {
                "prevent the first one, which is explained above: `catch_unwind` cannot help \
                 where two values die"
            }
            Self::ContextDestroyed => {
                "take the value out of its thread-local before the thread ends; a `Drop` that \
                 enters a context is what panicked here"
            }
            Self::RuntimeGone => {
                "stop the tasks that wait for a runtime's timers before it, and await their handles"
            }
            Self::RuntimeDropped => {
                "drop it on a plain thread, or in `spawn_blocking` and await that; better, keep the \
                 `Runtime` in one place that is not async and give everybody else a `Handle`"
            }
            Self::BlockedInAsync => "`.await` it, or wait in `spawn_blocking` or on a plain thread",
            Self::CancelledJoin => {
                "stop the tasks before their runtime (`sundown::group`), and take \
                 `JoinError::is_cancelled` for the end of the work; deadpool-runtime does since 0.2"
            }
            Self::NoThread => {
                "let the process have more threads or more memory, or start fewer threads \
                 (`max_blocking_threads`)"
            }
        }
    }

    /// The page of the notebook that explains the cause.
    pub(super) const fn page(self) -> &'static str {
        match self {
            Self::NoContext => "docs/src/01-drop-context.md",
            Self::SecondPanic => "docs/src/06-double-panic.md",
            Self::ContextDestroyed => "docs/src/07-thread-local.md",
            Self::RuntimeGone => "docs/src/09-shutdown-methods.md",
            Self::RuntimeDropped | Self::BlockedInAsync => "docs/src/10-runtime-in-async.md",
            Self::CancelledJoin => "docs/src/11-cancelled-interact.md",
            Self::NoThread => "docs/src/16-wrapper-drop.md",
        }
    }
}

/// Tokio's message without its first half, and its message before 1.0.
const NO_CONTEXT: &str = "must be called from the context of a Tokio 1.x runtime";
const NO_CONTEXT_BEFORE_1: &str = "must be called from the context of Tokio runtime";

/// The message of the standard library for any thread-local.
const NO_THREAD_LOCAL: &str =
    "cannot access a Thread Local Storage value during or after destruction";

/// The message of the blocking calls of Tokio's channels.
const BLOCKED: &str = "Cannot block the current thread from within a runtime";

/// Whether this is the message of an `unwrap` or `expect` of a task that was cancelled.
fn is_unwrapped_cancellation(message: &str) -> bool {
    message
        .rsplit_once(": JoinError::Cancelled(Id(")
        .and_then(|(_, rest)| rest.strip_suffix("))"))
        .is_some_and(|id| id.bytes().all(|digit| digit.is_ascii_digit()))
}

/// The end of the message where `deadpool_sync::InteractError::Cancelled` is unwrapped. Others may have
/// an error of this name.
const CANCELLED_CALL: &str = "`Result::unwrap()` on an `Err` value: Cancelled";

/// The message of the panic that a task ended with, in the message of an `unwrap` or `expect` of its
/// `JoinError`.
fn panic_of_a_joined_task(message: &str) -> Option<&str> {
    let (_, joined) = message.split_once(": JoinError::Panic(Id(")?;
    let (id, rest) = joined.split_once("), \"")?;
    let is_id = !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit());
    rest.strip_suffix("\", ...)").filter(|_| is_id)
}

/// Whether a file is in the folder of this crate, which ends with a version.
fn is_from(name: &str, file: &str) -> bool {
    file.split(['/', '\\']).any(|folder| {
        let version = folder.strip_prefix(name);
        version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKIO: &str = "/home/me/.cargo/registry/src/index-1/tokio-1.54.1/src/runtime/handle.rs";
    const DEADPOOL: &str = r"C:\registry\deadpool-sync-0.2.0\src\lib.rs";

    #[test]
    fn a_shutdown_panic_is_recognised_wherever_it_surfaces() {
        for (message, file, expected) in [
            (
                "there is no reactor running, must be called from the context of a Tokio 1.x runtime",
                "src/main.rs",
                Cause::NoContext,
            ),
            (
                "must be called from the context of Tokio runtime configured with either \
                 `basic_scheduler` or `threaded_scheduler`",
                TOKIO,
                Cause::NoContext,
            ),
            (
                "there is no reactor running, must be called from the context of Tokio runtime",
                TOKIO,
                Cause::NoContext,
            ),
            (
                "OS can't spawn worker thread: Resource temporarily unavailable (os error 11)",
                DEADPOOL,
                Cause::NoThread,
            ),
            (
                "cannot access a Thread Local Storage value during or after destruction: AccessError",
                TOKIO,
                Cause::ContextDestroyed,
            ),
            (
                "Cannot block the current thread from within a runtime. This happens because …",
                "src/main.rs",
                Cause::BlockedInAsync,
            ),
            (
                "called `Result::unwrap()` on an `Err` value: JoinError::Cancelled(Id(8))",
                "src/main.rs",
                Cause::CancelledJoin,
            ),
            ("the sync task: JoinError::Cancelled(Id(417))", "src/main.rs", Cause::CancelledJoin),
            ("Task has been cancelled", DEADPOOL, Cause::CancelledJoin),
            (
                "joining failed: JoinError::Panic(Id(4), \"`JoinError` reason is not a panic.: \
                 JoinError::Cancelled(Id(7))\", ...)",
                "src/main.rs",
                Cause::CancelledJoin,
            ),
            (
                "called `Result::unwrap()` on an `Err` value: Cancelled",
                "/registry/matrix-sdk-sqlite-0.18.0/src/state_store.rs",
                Cause::CancelledJoin,
            ),
        ] {
            assert_eq!(Cause::of(message, file, None), Some(expected), "{message}");
        }
    }

    #[test]
    fn a_panic_that_only_resembles_one_is_left_alone() {
        for (message, file) in [
            ("", TOKIO),
            ("explicit panic", TOKIO),
            ("there is no reactor", "src/power_plant.rs"),
            ("expected `there is no reactor running, must be called` in stderr", "src/test.rs"),
            ("called `Result::unwrap()` on an `Err` value: JoinError::Panic(Id(8), ...)", TOKIO),
            ("the log says: JoinError::Cancelled(Id(8)), and more", "src/main.rs"),
            ("joining failed: JoinError::Panic(Id(8), \"explicit panic\", ...)", "src/main.rs"),
            ("called `Result::unwrap()` on an `Err` value: Cancelled", "src/main.rs"),
            ("Task has been cancelled", "src/scheduler.rs"),
            ("Task has been cancelled", "deadpool-sync-tools/src/lib.rs"),
            (
                "cannot access a Thread Local Storage value during or after destruction: AccessError",
                "src/main.rs",
            ),
            (
                "A Tokio 1.x context was found, but timers are disabled. Call `enable_time` on the \
                 runtime builder to enable timers.",
                TOKIO,
            ),
            ("panic in a destructor during cleanup", "library/core/src/panicking.rs"),
        ] {
            assert_eq!(Cause::of(message, file, None), None, "{message}");
        }
    }

    #[test]
    fn a_second_panic_is_explained_after_the_first_alone() {
        let second = "panic in a destructor during cleanup";
        let file = "library/core/src/panicking.rs";
        let of = |before| Cause::of(second, file, before);
        assert_eq!(of(Some(Cause::NoContext)), Some(Cause::SecondPanic));
        assert_eq!(of(None), None);
    }

    #[test]
    fn the_pages_are_there() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for cause in Cause::ALL {
            assert!(root.join(cause.page()).is_file(), "{}", cause.page());
        }
    }
}
