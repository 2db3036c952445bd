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
    /// Part of the error that an `unwrap` or `expect` found, as a derived `{:?}` prints it.
    Unwrapped(&'static str),
    /// The text of the error that an `unwrap` or `expect` found: of an error whose `{:?}` is its text, such as
    /// anyhow's, or of one of its causes; or of an `io::Error` with a text.
    Said(&'static str),
}

/// In place of a number.
const NUMBER: char = '#';

use Cause::{
    BlockInPlace, BlockedInAsync, CancelledJoin, ContextDestroyed, Forked, NoContext, NoDriver,
    NoInterpreter, NoThread, NotLocal, OldTokio, RuntimeDropped, RuntimeGone, SecondPanic,
    TaskGone, WrongThread,
};
use Text::{Begins, Is, Said, Unwrapped};

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
    row(NoContext, Said("there is no reactor running, must be called from the context of a Tokio 1.x runtime")),
    // sqlx-core 0.7 to 0.9: src/rt/mod.rs.
    row(NoContext, Is("this functionality requires a Tokio context")),
    // actix-server 2: src/server.rs.
    row(NoContext, Is("Actix or Tokio runtime not found; halting")),
    // aws-smithy-http-client 1: src/client/pool.
    row(NoContext, Said("the anonymous connection-pool partition requires an active Tokio runtime on first use")),
    // tokio-process-tools 0.11: src/async_drop.rs.
    row(NoContext, Begins("TerminateOnDrop requires a tokio runtime to be active when the handle drops")),
    // quinn 0.10 and 0.11: src/endpoint.rs.
    row(NoContext, Said("no async runtime found")),
    // tokio-uring 0.5: src/buf/fixed, src/runtime.
    only("tokio-uring", NoContext, Is("Not in a runtime context")),

    // core: library/core/src/panicking.rs.
    row(SecondPanic, Is("panic in a destructor during cleanup")),

    // tokio 1.9 and later: src/util/error.rs.
    row(ContextDestroyed, Begins("The Tokio context thread-local variable has been destroyed")),
    row(ContextDestroyed, Unwrapped("TryCurrentError { kind: ThreadLocalDestroyed }")),
    row(ContextDestroyed, Said("The Tokio context thread-local variable has been destroyed")),
    // zenoh-runtime 1: src/lib.rs.
    row(ContextDestroyed, Begins("The Thread Local Storage inside Tokio is destroyed.")),
    // tokio: src/task/local.rs, src/task/task_local.rs, src/runtime/handle.rs.
    row(ContextDestroyed, Begins("cannot create LocalSet during thread shutdown")),
    row(ContextDestroyed, Is("cannot enter a task-local scope during or after destruction of the underlying thread-local")),
    only("tokio", ContextDestroyed, Is("failed to park thread: AccessError")),
    // std, for any thread-local: library/std/src/thread/local.rs.
    only("tokio", ContextDestroyed, Begins("cannot access a Thread Local Storage value during or after destruction")),

    // tokio 1.2 and later: src/util/error.rs. A timer panics with it, a socket fails with it.
    row(RuntimeGone, Begins("A Tokio 1.x context was found, but it is being shutdown")),
    row(RuntimeGone, Said("A Tokio 1.x context was found, but it is being shutdown")),
    // tokio: src/time/error.rs, src/io/driver/registration.rs (1.0), src/runtime/signal/mod.rs.
    row(RuntimeGone, Begins("timer error: the timer is shutdown, must be called from the context of Tokio runtime")),
    row(RuntimeGone, Said("the timer is shutdown, must be called from the context of Tokio runtime")),
    row(RuntimeGone, Said("reactor gone")),
    row(RuntimeGone, Said("signal driver gone")),
    only("tokio", RuntimeGone, Begins("reactor gone: ")),
    // tokio: src/fs/mod.rs.
    row(RuntimeGone, Said("background task failed")),
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
    row(BlockedInAsync, Unwrapped("EnterError { reason: \"attempted to run an executor while another executor is already running\"")),

    // tokio: src/runtime/task/error.rs. Older versions print no `Id`.
    row(CancelledJoin, Begins("`JoinError` reason is not a panic")),
    row(CancelledJoin, Unwrapped("JoinError::Cancelled")),
    // tokio: the same, as an error of I/O. tokio-util 0.7: src/task/spawn_pinned.rs.
    row(CancelledJoin, Said("task was cancelled")),
    // tokio 1.28 and later: the same by `{}`; src/task/join_set.rs.
    row(CancelledJoin, Said("task # was cancelled")),
    only("tokio", CancelledJoin, Is("task # was cancelled")),
    // actix-http 3: src/encoding.
    row(CancelledJoin, Said("Blocking task was cancelled unexpectedly")),
    row(CancelledJoin, Begins("spawn_pinned task was canceled: ")),
    // deadpool-sync 0.1 and 0.2: src/lib.rs.
    only("deadpool-sync", CancelledJoin, Is("Task has been cancelled")),
    // matrix-sdk-sqlite: the error of deadpool-sync. Others have errors of this name.
    only("matrix-sdk-sqlite", CancelledJoin, Unwrapped("Cancelled")),
    // zbus 5: src/abstractions/executor.rs.
    row(CancelledJoin, Said("tokio::task cancelled")),
    // async_executors 0.7: src/iface/join_handle.rs.
    row(CancelledJoin, Begins("Task has been canceled or it has panicked. Are you dropping the executor to early?")),

    // tokio: src/runtime/blocking/pool.rs. tokio-threadpool 0.1: src/pool/mod.rs.
    row(NoThread, Begins("OS can't spawn worker thread: ")),
    only("tokio-threadpool", NoThread, Begins("failed to spawn worker thread: ")),

    // tokio 0.2 and later: src/runtime/scheduler/multi_thread/worker.rs.
    row(BlockInPlace, Is("can call blocking only when running on the multi-threaded runtime")),
    // zenoh-runtime 1: src/lib.rs. tokio-process-tools 0.11: src/async_drop.rs.
    row(BlockInPlace, Begins("Zenoh runtime doesn't support Tokio's current thread scheduler.")),
    row(BlockInPlace, Begins("TerminateOnDrop requires a multi-threaded tokio runtime to function correctly.")),

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
    row(NotLocal, Begins("Local tasks can only be spawned on a LocalRuntime from the thread the runtime was created on")),
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
    row(TaskGone, Said("dispatch task is gone")),
    row(TaskGone, Said("runtime dropped the dispatch task")),
    row(TaskGone, Is("dispatch dropped without returning error")),
    row(TaskGone, Is("internal error: entered unreachable code: dispatch dropped without returning error")),
    // reqwest 0.11 to 0.13: src/blocking/client.rs.
    only("reqwest", TaskGone, Is("event loop thread panicked")),
    // tower 0.4 and 0.5: src/buffer/error.rs.
    row(TaskGone, Said("buffer's worker closed unexpectedly")),
    // quinn 0.10 and 0.11: src/connection.rs.
    row(TaskGone, Unwrapped("reason: \"endpoint driver future was dropped\"")),
    // alloy-transport 2: src/error.rs.
    row(TaskGone, Unwrapped("Transport(BackendGone)")),
    row(TaskGone, Said("backend connection task has stopped")),
    // sqlx-core 0.7 to 0.9: src/error.rs. Others have errors of its name, `WorkerCrashed`.
    row(TaskGone, Said("attempted to communicate with a crashed background worker")),
    // aws-smithy-http-client 1: src/client/pool/dispatch.rs.
    row(TaskGone, Unwrapped("EstablishmentTaskDropped")),

    // std: library/std/src/thread. On Linux a forked child's join finds no result; elsewhere no thread.
    only("std", Forked, Is("threads should not terminate unexpectedly")),
    only("std", Forked, Begins("failed to join thread: No such process")),

    // pyo3: src/interpreter_lifecycle.rs.
    only("pyo3", NoInterpreter, Begins("assertion `left != right` failed: The Python interpreter is not initialized")),
];

/// The texts of errors that a program may have of its own, too, in the very same words.
const ANYBODYS: [&str; 3] =
    ["background task failed", "task was cancelled", "task # was cancelled"];

/// The cause of a message from a file.
pub(super) fn cause_of(message: &str, file: &str) -> Option<Cause> {
    match row_of(message, file) {
        Some(row) => Some(row.cause),
        None => cause_of(&panic_of_a_joined_task(message)?, file),
    }
}

/// Whether the message is recognised by words that a program may have of its own.
pub(super) fn may_be_anybodys(message: &str, file: &str) -> bool {
    row_of(message, file).is_some_and(|row| match row.text {
        Said(text) => ANYBODYS.contains(&text),
        Is(_) | Begins(_) | Unwrapped(_) => false,
    })
}

fn row_of(message: &str, file: &str) -> Option<&'static Message> {
    let fits =
        |row: &&Message| row.from.is_none_or(|name| is_from(name, file)) && row.text.is_in(message);
    MESSAGES.iter().find(fits)
}

#[cfg(test)]
impl Message {
    /// A message that this row is about, and a file that panics with it.
    pub(super) fn example(&self) -> (String, String) {
        let text = self.text.words().replace(NUMBER, "12");
        let message = match self.text {
            Is(_) => text,
            Begins(_) => format!("{text}, or so"),
            Unwrapped(_) => format!("{UNWRAP}Outer({})", closed(&text)),
            Said(_) => format!("{UNWRAP}Outer(Custom {{ kind: Other, error: \"{text}\" }})"),
        };
        (message, format!("/registry/{}/src/lib.rs", self.from.unwrap_or("app")))
    }
}

/// The beginning of an error, with what closes it.
#[cfg(test)]
pub(super) fn closed(error: &str) -> String {
    let mut closers = String::new();
    for char in error.chars() {
        match char {
            '(' => closers.push(')'),
            '{' => closers.push('}'),
            ')' | '}' => drop(closers.pop()),
            _ => {}
        }
    }
    error.chars().chain(closers.chars().rev()).collect()
}

impl Text {
    fn is_in(self, message: &str) -> bool {
        match self {
            Is(text) => after(message, text) == Some(""),
            Begins(text) => message.starts_with(text),
            Unwrapped(text) => errors_in(message).any(|error| is_part_of(text, error)),
            Said(text) => {
                is_said_by(text, message) || errors_in(message).any(|error| is_of_io(text, error))
            }
        }
    }

    /// The text itself.
    #[cfg(test)]
    pub(super) const fn words(self) -> &'static str {
        match self {
            Is(text) | Begins(text) | Unwrapped(text) | Said(text) => text,
        }
    }
}

/// How the message of `Result::unwrap` begins.
const UNWRAP: &str = "called `Result::unwrap()` on an `Err` value: ";

/// After how many colons an error is looked for.
const COLONS: usize = 8;

/// What may be the error that an `unwrap` or `expect` found, as a derived `{:?}` prints it. After `unwrap`'s own words,
/// everything is the error. `expect` prints the caller's words and `: `, and then the error.
fn errors_in(message: &str) -> impl Iterator<Item = &str> {
    let unwrapped = message.strip_prefix(UNWRAP);
    let is_assertion = message.starts_with("assertion ");
    let expected = message.match_indices(": ").map(|(at, colon)| at + colon.len());
    // A bound on the work for a long message.
    let expected = expected.filter(move |_| unwrapped.is_none() && !is_assertion).take(COLONS);
    let found = unwrapped.into_iter().chain(expected.filter_map(|at| message.get(at..)));
    found.filter(|error| structure(error).is_some())
}

/// The places of an error that are outside of a quoted text, if the error looks like what a derived `{:?}` prints: no
/// words without punctuation, and every bracket closed.
fn structure(error: &str) -> Option<Vec<usize>> {
    let (mut outside, mut open) = (Vec::new(), Vec::new());
    let (mut is_quoted, mut is_escaped, mut before) = (false, false, '(');
    let mut chars = error.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        if is_quoted {
            is_quoted = is_escaped || char != '"';
            is_escaped = !is_escaped && char == '\\';
            before = char;
            continue;
        }
        outside.push(at);
        let next = chars.peek().map(|(_, next)| *next);
        match char {
            '"' => is_quoted = true,
            '(' | '[' | '{' => open.push(char),
            ')' | ']' | '}' => {
                let opened = open.pop()?;
                let is_pair = matches!((opened, char), ('(', ')') | ('[', ']') | ('{', '}'));
                is_pair.then_some(())?;
            }
            ' ' | '\n' => {
                let is_after = matches!(before, '{' | '[' | '(' | ',' | ' ' | '\n');
                let is_of_a_field = before == ':' && !open.is_empty();
                let is_before = matches!(next, Some('{' | '}' | ']' | ')' | ' ' | '\n'));
                (is_after || is_of_a_field || is_before).then_some(())?;
            }
            _ => {}
        }
        before = char;
    }
    (!is_quoted && open.is_empty()).then_some(outside)
}

/// Whether a part of an error begins outside of a quoted text, and where a word begins.
fn is_part_of(part: &str, error: &str) -> bool {
    let outside = structure(error).unwrap_or_default();
    error.match_indices(part).any(|(at, _)| {
        let before = error.get(..at).unwrap_or_default();
        outside.binary_search(&at).is_ok() && !before.ends_with(|last: char| last.is_alphanumeric())
    })
}

/// Whether there is an `io::Error` with this text in an error: `Custom { kind: Other, error: "…" }`.
fn is_of_io(text: &str, error: &str) -> bool {
    let outside = structure(error).unwrap_or_default();
    let quotes =
        outside.iter().filter(|at| error.get(**at..).is_some_and(|it| it.starts_with('"')));
    quotes.into_iter().any(|at| {
        let (before, rest) = error.split_at(*at);
        let kind =
            before.strip_suffix(", error: ").and_then(|it| it.rsplit_once("Custom { kind: "));
        let is_of_io = kind.is_some_and(|(_, kind)| kind.chars().all(char::is_alphanumeric));
        let quoted = rest.get(1..).and_then(|rest| after(rest, text));
        is_of_io && quoted.is_some_and(|rest| rest.trim_start_matches('.').starts_with('"'))
    })
}

/// Whether an error whose `{:?}` is its text says this, or one of its causes does:
///
/// ```text
/// called `Result::unwrap()` on an `Err` value: cannot reconnect
///
/// Caused by:
///     0: client error
///     1: dispatch task is gone
/// ```
///
/// The words of an `expect` may be those of anybody, so there only a cause counts.
fn is_said_by(text: &str, message: &str) -> bool {
    let is_it = |line: &str| matches!(after(line, text), Some("" | "."));
    let unwrapped = message.strip_prefix(UNWRAP);
    let report = unwrapped.unwrap_or(message);
    let report = report.split("\n\nStack backtrace:").next().unwrap_or(report);
    let report = report.split("\n\nLocation:").next().unwrap_or(report);
    let (head, causes) = report.split_once("\n\nCaused by:\n").unwrap_or((report, ""));
    // Somebody else's report is in it, such as that of a child process.
    if head.contains('\n') {
        return false;
    }
    // A text that was made of an error.
    let quoted = head.strip_prefix('"').and_then(|head| head.strip_suffix('"'));
    let head = quoted.filter(|_| !ANYBODYS.contains(&text)).unwrap_or(head);
    let cause = |line| {
        let line = str::trim(line);
        let numbered = line.split_once(": ").filter(|(number, _)| is_number(number));
        numbered.map_or(line, |(_, line)| line)
    };
    (unwrapped.is_some() && is_it(head)) || causes.lines().map(cause).any(is_it)
}

/// What follows a text at the beginning of a message.
fn after<'a>(message: &'a str, text: &str) -> Option<&'a str> {
    let Some((before, behind)) = text.split_once(NUMBER) else { return message.strip_prefix(text) };
    let rest = message.strip_prefix(before)?;
    let number = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    (number.len() < rest.len()).then_some(number)?.strip_prefix(behind)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// The message of the panic that a task ended with, in the message of an `unwrap` or `expect` of its
/// `JoinError`.
fn panic_of_a_joined_task(message: &str) -> Option<String> {
    const PANIC: &str = "JoinError::Panic(Id(";
    let joined = errors_in(message).find(|error| is_part_of(PANIC, error))?;
    let (_, joined) = joined.split_once(PANIC)?;
    let (id, rest) = joined.split_once("), \"")?;
    let (quoted, _) = rest.rsplit_once("\", ...)").filter(|_| is_number(id))?;
    Some(quoted.replace("\\\"", "\"").replace("\\n", "\n"))
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
