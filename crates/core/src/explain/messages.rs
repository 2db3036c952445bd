//! The messages of each cause: a table, and how a message is compared with it.
//!
//! A row says who words the message, so that a maintainer can look it up. The pages in
//! `docs/src/explain` list the same messages, and a test compares both.

use super::cause::Cause;

/// A message, and its cause.
pub(super) struct Message {
    pub(super) text: Text,
    /// The crate whose file panics. Only messages that others may use as well have one.
    from: Option<&'static str>,
    pub(super) cause: Cause,
}

/// How a message is recognised.
#[derive(Clone, Copy)]
pub(super) enum Text {
    /// The whole message.
    Is(&'static str),
    /// How the message begins.
    Begins(&'static str),
    /// Part of the error that an `unwrap` or `expect` found, as `{:?}` prints it.
    Unwrapped(&'static str),
}

use Cause::{
    BlockInPlace, BlockedInAsync, CancelledJoin, ContextDestroyed, Forked, NoContext, NoDriver,
    NoInterpreter, NoThread, NotLocal, OldTokio, RuntimeDropped, RuntimeGone, SecondPanic,
    TaskGone, WrongThread,
};
use Text::{Begins, Is, Unwrapped};

/// A row. Anybody's file may panic with a text that is distinct.
const fn row(cause: Cause, text: Text) -> Message {
    Message { text, from: None, cause }
}

/// A row whose text others may use.
const fn only(from: &'static str, cause: Cause, text: Text) -> Message {
    Message { text, from: Some(from), cause }
}

/// The first row that fits decides.
#[rustfmt::skip] // A row is one line.
pub(super) static MESSAGES: &[Message] = &[
    // tokio 1.2 and later: src/util/error.rs; the file is that of the caller.
    row(NoContext, Begins("there is no reactor running, must be called from the context of a Tokio 1.x runtime")),
    // tokio 1.0: src/io/driver/mod.rs, src/time/driver/handle.rs, src/task/spawn.rs, src/runtime/handle.rs.
    row(NoContext, Begins("there is no reactor running, must be called from the context of Tokio runtime")),
    row(NoContext, Begins("there is no timer running, must be called from the context of Tokio runtime")),
    row(NoContext, Begins("must be called from the context of a Tokio 1.x runtime")),
    row(NoContext, Begins("must be called from the context of Tokio runtime")),
    row(NoContext, Is("not currently running on the Tokio runtime.")),
    // tokio: src/time/clock.rs, with `test-util`.
    row(NoContext, Is("time cannot be frozen from outside the Tokio runtime")),
    // tokio: `Handle::try_current`.
    row(NoContext, Unwrapped("TryCurrentError { kind: NoContext }")),
    row(NoContext, Unwrapped("there is no reactor running, must be called from the context of a Tokio 1.x runtime")),
    // sqlx-core 0.7 to 0.9: src/rt/mod.rs.
    row(NoContext, Is("this functionality requires a Tokio context")),
    // actix-server 2: src/server.rs.
    row(NoContext, Is("Actix or Tokio runtime not found; halting")),
    // aws-smithy-http-client 1: src/client/pool.
    row(NoContext, Unwrapped("the anonymous connection-pool partition requires an active Tokio runtime on first use")),

    // core: library/core/src/panicking.rs.
    row(SecondPanic, Is("panic in a destructor during cleanup")),

    // tokio 1.9 and later: src/util/error.rs.
    row(ContextDestroyed, Begins("The Tokio context thread-local variable has been destroyed")),
    row(ContextDestroyed, Unwrapped("TryCurrentError { kind: ThreadLocalDestroyed }")),
    row(ContextDestroyed, Unwrapped("The Tokio context thread-local variable has been destroyed")),
    // tokio: src/task/local.rs, src/task/task_local.rs, src/runtime/handle.rs.
    row(ContextDestroyed, Begins("cannot create LocalSet during thread shutdown")),
    row(ContextDestroyed, Is("cannot enter a task-local scope during or after destruction of the underlying thread-local")),
    only("tokio", ContextDestroyed, Is("failed to park thread: AccessError")),
    // std, for any thread-local: library/std/src/thread/local.rs.
    only("tokio", ContextDestroyed, Begins("cannot access a Thread Local Storage value during or after destruction")),

    // tokio 1.2 and later: src/util/error.rs. A timer panics with it, a socket fails with it.
    row(RuntimeGone, Begins("A Tokio 1.x context was found, but it is being shutdown")),
    row(RuntimeGone, Unwrapped("A Tokio 1.x context was found, but it is being shutdown")),
    // tokio: src/time/error.rs, src/io/driver/registration.rs (1.0), src/runtime/signal/mod.rs.
    row(RuntimeGone, Begins("timer error: the timer is shutdown, must be called from the context of Tokio runtime")),
    row(RuntimeGone, Unwrapped("the timer is shutdown, must be called from the context of Tokio runtime")),
    row(RuntimeGone, Unwrapped("Custom { kind: Other, error: \"reactor gone\" }")),
    row(RuntimeGone, Unwrapped("Custom { kind: Other, error: \"signal driver gone\" }")),
    only("tokio", RuntimeGone, Begins("reactor gone: ")),
    // tokio: src/fs/mod.rs.
    row(RuntimeGone, Unwrapped("Custom { kind: Other, error: \"background task failed\" }")),
    // napi 3: src/tokio_runtime.rs.
    row(RuntimeGone, Begins("Access tokio runtime failed in ")),

    // tokio 0.2 and later: src/runtime/blocking/shutdown.rs.
    row(RuntimeDropped, Begins("Cannot drop a runtime in a context where blocking is not allowed")),

    // tokio 0.2 and later: src/runtime/context/runtime.rs, src/future/block_on.rs.
    row(BlockedInAsync, Begins("Cannot start a runtime from within a runtime")),
    row(BlockedInAsync, Begins("Cannot block the current thread from within a runtime")),
    // futures-executor 0.3: src/local_pool.rs.
    row(BlockedInAsync, Begins("cannot execute `LocalPool` executor from within another executor")),
    // tokio-executor 0.1: src/enter.rs.
    row(BlockedInAsync, Unwrapped("attempted to run an executor while another executor is already running")),

    // tokio: src/runtime/task/error.rs. Older versions print no `Id`.
    row(CancelledJoin, Begins("`JoinError` reason is not a panic")),
    row(CancelledJoin, Unwrapped("JoinError::Cancelled")),
    // tokio: the same, as an error of I/O. tokio-util 0.7: src/task/spawn_pinned.rs.
    row(CancelledJoin, Unwrapped("Custom { kind: Other, error: \"task was cancelled\" }")),
    row(CancelledJoin, Begins("spawn_pinned task was canceled: ")),
    // deadpool-sync 0.1 and 0.2: src/lib.rs.
    only("deadpool-sync", CancelledJoin, Is("Task has been cancelled")),
    // matrix-sdk-sqlite: the error of deadpool-sync. Others have errors of this name.
    only("matrix-sdk-sqlite", CancelledJoin, Unwrapped("Cancelled")),
    // zbus 5: src/abstractions/executor.rs.
    row(CancelledJoin, Unwrapped("Custom { kind: Other, error: \"tokio::task cancelled\" }")),
    // async_executors 0.7: src/iface/join_handle.rs.
    row(CancelledJoin, Begins("Task has been canceled or it has panicked. Are you dropping the executor to early?")),

    // tokio: src/runtime/blocking/pool.rs. tokio-threadpool 0.1: src/pool/mod.rs.
    row(NoThread, Begins("OS can't spawn worker thread: ")),
    only("tokio-threadpool", NoThread, Begins("failed to spawn worker thread: ")),

    // tokio 0.2 and later: src/runtime/scheduler/multi_thread/worker.rs.
    row(BlockInPlace, Is("can call blocking only when running on the multi-threaded runtime")),

    // tokio 1.2 and later: src/runtime/driver.rs.
    row(NoDriver, Begins("A Tokio 1.x context was found, but timers are disabled")),
    row(NoDriver, Begins("A Tokio 1.x context was found, but IO is disabled")),
    row(NoDriver, Begins("there is no signal driver running, must be called from the context of Tokio runtime")),

    // tokio 0.2 and 0.3: src/io/driver/mod.rs, src/time/driver/handle.rs, src/task/spawn.rs,
    // src/runtime/handle.rs.
    row(OldTokio, Begins("there is no reactor running, must be called from the context of a Tokio 0.")),
    row(OldTokio, Begins("there is no timer running, must be called from the context of a Tokio 0.")),
    row(OldTokio, Begins("must be called from the context of a Tokio 0.")),
    row(OldTokio, Begins("not currently running on a Tokio 0.")),

    // tokio 0.2 and later: src/task/local.rs, src/runtime/scheduler/mod.rs.
    row(NotLocal, Begins("`spawn_local` called from outside of a `task::LocalSet`")),
    row(NotLocal, Is("Only current_thread and LocalSet have spawn_local internals implemented")),
    // actix-rt 2: src/system.rs, src/arbiter.rs.
    only("actix-rt", NotLocal, Is("System is not running")),
    only("actix-rt", NotLocal, Is("Arbiter is not running.")),

    // async-task 4: src/runnable.rs, for smol and async-executor.
    row(WrongThread, Is("local task dropped by a thread that didn't spawn it")),
    row(WrongThread, Is("local task polled by a thread that didn't spawn it")),

    // hyper 0.14 and 1: src/error.rs, src/client/dispatch.rs, src/client/conn; also inside errors of
    // hyper-util, reqwest, tonic and the AWS SDK.
    row(TaskGone, Unwrapped("hyper::Error(User(DispatchGone)")),
    row(TaskGone, Unwrapped("dispatch task is gone")),
    row(TaskGone, Unwrapped("runtime dropped the dispatch task")),
    row(TaskGone, Is("dispatch dropped without returning error")),
    row(TaskGone, Is("internal error: entered unreachable code: dispatch dropped without returning error")),
    // reqwest 0.11 to 0.13: src/blocking/client.rs.
    only("reqwest", TaskGone, Is("event loop thread panicked")),
    // tower 0.4 and 0.5: src/buffer/error.rs.
    row(TaskGone, Unwrapped("buffer's worker closed unexpectedly")),
    // quinn 0.10 and 0.11: src/connection.rs.
    row(TaskGone, Unwrapped("endpoint driver future was dropped")),
    // aws-smithy-http-client 1: src/client/pool/dispatch.rs.
    row(TaskGone, Unwrapped("EstablishmentTaskDropped")),

    // std: library/std/src/thread. On Linux a forked child's join finds no result; elsewhere no thread.
    only("std", Forked, Is("threads should not terminate unexpectedly")),
    only("std", Forked, Begins("failed to join thread: No such process")),

    // pyo3: src/interpreter_lifecycle.rs.
    only("pyo3", NoInterpreter, Begins("assertion `left != right` failed: The Python interpreter is not initialized")),
];

/// The cause of a message from a file.
pub(super) fn cause_of(message: &str, file: &str) -> Option<Cause> {
    let fits =
        |row: &&Message| row.from.is_none_or(|name| is_from(name, file)) && row.text.is_in(message);
    match MESSAGES.iter().find(fits) {
        Some(row) => Some(row.cause),
        None => cause_of(&panic_of_a_joined_task(message)?, file),
    }
}

#[cfg(test)]
impl Message {
    /// A message that this row is about, and a file that panics with it.
    pub(super) fn example(&self) -> (String, String) {
        let text = self.text.words();
        let message = match self.text {
            Is(_) => text.to_owned(),
            Begins(_) => format!("{text}, or so"),
            Unwrapped(_) => format!("{UNWRAP}Outer({text})"),
        };
        (message, format!("/registry/{}/src/lib.rs", self.from.unwrap_or("app")))
    }
}

impl Text {
    fn is_in(self, message: &str) -> bool {
        match self {
            Is(text) => message == text,
            Begins(text) => message.starts_with(text),
            Unwrapped(text) => is_unwrapped(text, message),
        }
    }

    /// The text itself.
    #[cfg(test)]
    pub(super) const fn words(self) -> &'static str {
        match self {
            Is(text) | Begins(text) | Unwrapped(text) => text,
        }
    }
}

/// How the message of `Result::unwrap` begins.
const UNWRAP: &str = "called `Result::unwrap()` on an `Err` value: ";

/// Whether this text is in the error that an `unwrap` or `expect` found.
///
/// After `unwrap`'s own words, everything is the error. `expect` prints the caller's words and `: `, and then
/// the error: there the text may only be followed by what closes it.
fn is_unwrapped(text: &str, message: &str) -> bool {
    let Some(at) = message.rfind(text) else { return false };
    let (before, found) = message.split_at(at);
    let rest = found.strip_prefix(text).unwrap_or(found);
    let is_word = !before.ends_with(|last: char| last.is_alphanumeric());
    let is_error = match before.strip_prefix(UNWRAP) {
        Some(_) => true,
        None => is_after_words(before) && rest.chars().all(closes),
    };
    is_word && is_error
}

/// Whether an error can begin or go on after this: after the words of `expect`, on the same line; or, in the
/// report of an error with causes, on a line of its own.
fn is_after_words(before: &str) -> bool {
    let last_line = before.rsplit('\n').next().unwrap_or(before);
    let is_one_line = last_line.len() == before.len();
    let is_cause = before.contains("\n\nCaused by:\n");
    !before.starts_with("assertion ") && ((is_one_line && before.contains(": ")) || is_cause)
}

/// Whether this may follow the text of an error: what closes it, and the number of its task, `(Id(8))`.
const fn closes(end: char) -> bool {
    matches!(end, ')' | '}' | ']' | '"' | ' ' | '.' | '\n' | '(' | 'I' | 'd' | '0'..='9')
}

/// The message of the panic that a task ended with, in the message of an `unwrap` or `expect` of its
/// `JoinError`.
fn panic_of_a_joined_task(message: &str) -> Option<String> {
    let (_, joined) = message.split_once("JoinError::Panic(Id(")?;
    let (id, rest) = joined.split_once("), \"")?;
    let is_id = !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit());
    let (quoted, end) = rest.rsplit_once("\", ...)").filter(|_| is_id)?;
    end.chars().all(closes).then(|| quoted.replace("\\\"", "\"").replace("\\n", "\n"))
}

/// Whether a file is of this crate. Its folder ends with a version, or is followed by `src`.
fn is_from(name: &str, file: &str) -> bool {
    let mut folders = file.split(['/', '\\']).peekable();
    while let Some(folder) = folders.next() {
        let is_it = match folder.strip_prefix(name) {
            Some("") => folders.peek() == Some(&"src"),
            Some(rest) => rest.strip_prefix('-').is_some_and(begins_with_a_digit),
            None => false,
        };
        if is_it {
            return true;
        }
    }
    false
}

fn begins_with_a_digit(version: &str) -> bool {
    version.starts_with(|first: char| first.is_ascii_digit())
}
