//! What happened and what to do instead, in words, for each cause and place.

use super::{cause::Cause, stack::Place};

/// Whether the words are others in a destructor than in a call.
pub(super) const fn depends_on_the_place(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::NoContext
            | Cause::SecondPanic
            | Cause::ContextDestroyed
            | Cause::RuntimeDropped
            | Cause::BlockedInAsync
            | Cause::NoThread
            | Cause::BlockInPlace
            | Cause::NotLocal
            | Cause::WrongThread
    )
}

/// What happened. `file` is the file and line that panicked.
pub(super) fn happened(cause: Cause, thread: &str, file: &str, place: &Place) -> String {
    use Place::{Call, Drop, Unknown};
    match (cause, place) {
        (Cause::NoContext, Drop(dropped)) => format!(
            "{dropped} was dropped on {thread}, which has no runtime context, and its destructor \
             needs one"
        ),
        (Cause::NoContext, Call) => {
            format!("{thread} has no runtime context, and the call at {file} needed one there")
        }
        (Cause::NoContext, Unknown) => format!(
            "{thread} has no runtime context, and {file} needed one there; a build with debug \
             information tells a call from a destructor, and names the value, unless \
             RUST_BACKTRACE is 0"
        ),
        (Cause::SecondPanic, Drop(dropped)) => format!(
            "{dropped} was being dropped on {thread} when a second destructor panicked while the \
             first panic unwound, and the process aborts"
        ),
        (Cause::SecondPanic, _) => format!(
            "a second destructor panicked on {thread} while the first panic unwound, and the \
             process aborts"
        ),
        (Cause::ContextDestroyed, Drop(dropped)) => format!(
            "{dropped} was dropped while {thread} ended, when Tokio's own thread-local was gone \
             already"
        ),
        (Cause::ContextDestroyed, _) => format!(
            "{thread} was ending, and a destructor of one of its thread-locals needed Tokio's own \
             ({file}), which was gone already"
        ),
        (Cause::RuntimeGone, _) => format!(
            "something on {thread} used a timer, a socket or a file of a runtime that has been \
             shut down ({file})"
        ),
        (Cause::RuntimeDropped, Drop(dropped)) if dropped.blocking_api().is_some() => format!(
            "`{}` was used in async code on {thread}: it has a `Runtime` of its own, whose drop waits, \
             and a thread that drives tasks must not",
            dropped.blocking_api().map_or("", |api| api)
        ),
        (Cause::RuntimeDropped, Drop(dropped)) if dropped.outermost() != "`Runtime`" => format!(
            "a `Runtime` was dropped in async code on {thread}, with {}: its drop waits, and a \
             thread that drives tasks must not",
            dropped.outermost()
        ),
        (Cause::RuntimeDropped, _) => format!(
            "a `Runtime` was dropped in async code on {thread}: its drop waits, and a thread that \
             drives tasks must not"
        ),
        (Cause::BlockedInAsync, Drop(dropped)) => format!(
            "{dropped} was dropped in async code on {thread}, and its destructor blocked, which a \
             thread that drives tasks must not"
        ),
        (Cause::BlockedInAsync, _) => format!(
            "{thread} drives tasks, and something blocked it ({file}): `block_on`, or a blocking \
             call of a channel"
        ),
        (Cause::CancelledJoin, _) => format!(
            "work that {thread} awaited was cancelled, by an abort or because its runtime went \
             down, and {file} took it for a panic or a success"
        ),
        (Cause::NoThread, Drop(dropped)) => format!(
            "{dropped} was dropped on {thread}, its destructor needed a blocking thread of the \
             runtime, and the system refused one more"
        ),
        (Cause::NoThread, _) => format!(
            "{thread} needed one more thread for the runtime ({file}), and the system refused it"
        ),
        (Cause::BlockInPlace, Drop(dropped)) => format!(
            "{dropped} was dropped on {thread}, and its destructor called `block_in_place`, where \
             nobody else can drive the tasks meanwhile: the runtime has one thread, or the task is one \
             of a `LocalSet`"
        ),
        (Cause::BlockInPlace, _) => format!(
            "`block_in_place` was called on {thread} ({file}), where nobody else can drive the \
             tasks meanwhile: the runtime has one thread, or the task is one of a `LocalSet`"
        ),
        (Cause::NoDriver, _) => format!(
            "the runtime of {thread} was built without the driver that {file} needs: for timers, \
             or for sockets, signals and child processes"
        ),
        (Cause::OldTokio, _) => format!(
            "{file} is built on a Tokio older than 1.0, and {thread} has no context of that Tokio; \
             the context of Tokio 1 is another one"
        ),
        (Cause::NotLocal, Drop(dropped)) => format!(
            "{dropped} was dropped on {thread}, its destructor spawned a task that stays on one \
             thread, and there is no place for such tasks there"
        ),
        (Cause::NotLocal, _) => format!(
            "{file} needed a place for tasks that stay on one thread, and there is none on {thread}"
        ),
        (Cause::WrongThread, Drop(dropped)) => format!(
            "{dropped}, with a task that must stay on the thread that spawned it, was dropped on \
             {thread}"
        ),
        (Cause::WrongThread, _) => format!(
            "a task that must stay on the thread that spawned it was polled or dropped on {thread} \
             ({file})"
        ),
        (Cause::TaskGone, _) => format!(
            "the task or thread that serves a client is gone, and a call on {thread} was waiting \
             for it ({file}): its runtime was shut down, or it was aborted, or it panicked"
        ),
        (Cause::Forked, _) => format!(
            "{thread} joined a thread that has ended without a result: either this process is a \
             forked child, in which the threads of its parent do not exist, or somebody ended \
             that thread from outside"
        ),
        (Cause::NoInterpreter, _) => format!(
            "{thread} called Python, and there is no interpreter: it has been finalized, or nobody \
             has started it"
        ),
    }
}

/// What to do instead, at this place.
pub(super) const fn instead(cause: Cause, place: &Place) -> &'static str {
    match (cause, place) {
        (Cause::NoContext, Place::Drop(_)) => {
            "hand the value to `sundown::teardown::teardown_blocking(value, limit)`, which needs no \
             context and waits for what the destructor starts, or put it into a `sundown::Session`, if it \
             has clones; if it is not `Send`, drop it below `let _context = handle.enter();`, with the handle of a runtime that is running"
        }
        (Cause::NoContext, Place::Call) => {
            "call it with a runtime that is running and stays so: `handle.spawn(…)` and \
             `handle.block_on(…)` work on any thread, and `let _context = handle.enter();` gives \
             the calls below it a context; a runtime that is down drops the work and says nothing"
        }
        (Cause::BlockedInAsync | Cause::BlockInPlace, Place::Drop(_)) => {
            "do not wait in `Drop`: if the value is `Send`, \
             `sundown::teardown::teardown(value, limit).await` runs the destructor on a thread that may \
             wait; if it is not, give the type an `async fn close(self)` and await that"
        }
        (Cause::BlockedInAsync, Place::Call) => {
            "`.await` it, or wait in `spawn_blocking` or on a plain thread"
        }
        (Cause::NotLocal, Place::Drop(_)) => {
            "drop the value inside `local.run_until(async { drop(value) }).await`, and then await the \
             `LocalSet`, which ends when what the destructor spawned has ended; actix's inside its \
             `System`; a `LocalSet` that is itself dropped drops such tasks and says nothing"
        }
        (Cause::NotLocal, Place::Call) => {
            "run it inside `LocalSet::new().run_until(…)`, or actix's inside its `System`; a task \
             that is `Send` needs neither: `tokio::spawn`"
        }
        (Cause::RuntimeDropped, Place::Drop(dropped)) if dropped.blocking_api().is_some() => {
            "use the asynchronous API of that library (`reqwest::Client`); or make, use and drop what is \
             blocking inside `spawn_blocking(…).await`, or on a plain thread"
        }
        (Cause::BlockInPlace, Place::Call) => {
            "use `spawn_blocking(…).await`; `block_in_place` works only in tasks of a runtime with \
             `flavor = \"multi_thread\"`, and not in a `LocalSet`"
        }
        _ => general(cause),
    }
}

/// What to do instead, where the place is not known or makes no difference.
pub(super) const fn general(cause: Cause) -> &'static str {
    match cause {
        Cause::NoContext => {
            "if it is a call, use a runtime that is running: `handle.spawn(…)`, \
             `handle.block_on(…)`, or `let _context = handle.enter();` before it; if it is a \
             destructor, hand the value to `sundown::teardown::teardown_blocking(value, limit)`, or put it \
             into a `sundown::Session`, if it has clones"
        }
        Cause::SecondPanic => {
            "prevent the first one, which is explained above: `catch_unwind` cannot help where two \
             values die"
        }
        Cause::ContextDestroyed => {
            "take the value out of its thread-local before the thread ends, and hand it to \
             `sundown::teardown::teardown_blocking(value, limit)`, which works even while the \
             thread's locals are destroyed; a `Drop` that enters a context does not"
        }
        Cause::RuntimeGone => {
            "stop the tasks that use a runtime's timers, sockets and files before it, and await \
             their handles (`sundown::group`); then shut the runtime down"
        }
        Cause::RuntimeDropped => {
            "own it by a `sundown::runtime::RuntimeOwner`, which can be dropped anywhere, and await its \
             `shutdown(limit)`; or wait elsewhere: `spawn_blocking(move || drop(runtime)).await`; \
             `shutdown_background()` does not wait, so files and connections may still be open after it; \
             if it is that of a blocking API (`reqwest::blocking`), use the asynchronous one, or call it in \
             `spawn_blocking`"
        }
        Cause::BlockedInAsync => {
            "if it is a call, `.await` it, or wait in `spawn_blocking` or on a plain thread; if it \
             is a destructor of a value that is `Send`, `sundown::teardown::teardown(value, limit).await` \
             runs it where it may wait; if it is not, give the type an `async fn close(self)`"
        }
        Cause::CancelledJoin => {
            "stop the tasks before their runtime (`sundown::group`), and take \
             `JoinError::is_cancelled` for the end of the work; deadpool-runtime does since 0.2"
        }
        Cause::NoThread => {
            "let the process have more threads or more memory, or start fewer threads \
             (`max_blocking_threads`)"
        }
        Cause::BlockInPlace => {
            "if it is a call, use `spawn_blocking(…).await`, or a runtime with \
             `flavor = \"multi_thread\"` and no `LocalSet`; if it is a destructor of a value that is `Send`, \
             `sundown::teardown::teardown(value, limit).await` runs it where it may wait; if it is not, \
             give the type an `async fn close(self)`"
        }
        Cause::NoDriver => "build the runtime with `Builder::enable_all()`",
        Cause::OldTokio => {
            "update that library to a version for Tokio 1; until there is one, give it a runtime of \
             its own Tokio, and enter that"
        }
        Cause::NotLocal => {
            "run it inside `LocalSet::new().run_until(…)`, or actix's inside its `System`; if it is a \
             destructor, drop the value there, and then await the `LocalSet`; a task that is `Send` \
             needs neither: `tokio::spawn`"
        }
        Cause::WrongThread => {
            "drop the executor and its tasks on the thread that spawned them, before it ends; give \
             other threads a channel to it, not the task"
        }
        Cause::TaskGone => {
            "end the calls first, then drop the client, then shut down the runtime that it was made \
             on; a client in a `static` must not be shared by the runtimes of several tests"
        }
        Cause::Forked => {
            "start runtimes and threads after the fork, or `exec` in the child; a \
             `sundown::runtime::RuntimeCell` answers at once in a child, and can be restarted there"
        }
        Cause::NoInterpreter => {
            "before the interpreter ends, close a gate (`sundown::gate::EntryGate`) that every call \
             into Python passes, then shut the runtime down; Python's `atexit` is the place"
        }
    }
}
