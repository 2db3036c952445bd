//! The hook that explains the panics of a shutdown, on real panics of Tokio. Each panics in a process
//! of its own: this test starts itself again, and the child installs the hook.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    cell::RefCell,
    env,
    future::pending,
    io::Write as _,
    panic,
    process::{Command, Output},
    thread,
    time::Duration,
};

use sundown::explain;
use tokio::runtime::{Builder, Handle, Runtime};

/// The environment variable that tells a child how to panic.
const SITUATION: &str = "EXPLAIN_SITUATION";

/// Ways to panic, by name.
const SITUATIONS: &[(&str, fn())] = &[
    ("spawn-outside", spawn_outside),
    ("drop-outside", drop_outside),
    ("two-dropped-outside", two_dropped_outside),
    ("runtime-in-async", runtime_in_async),
    ("block-on-in-async", block_on_in_async),
    ("blocking-channel-in-async", blocking_channel_in_async),
    ("cancelled-unwrapped", cancelled_unwrapped),
    ("cancelled-taken-for-a-panic", cancelled_taken_for_a_panic),
    ("thread-local", thread_local_too_late),
    ("timer-of-a-dead-runtime", timer_of_a_dead_runtime),
    ("unrelated", || panic!("no luck")),
    ("two-unrelated", two_unrelated),
    ("many-outside", many_outside),
    ("own-hook", own_hook),
];

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A value whose destructor needs a runtime, like a pooled connection.
struct Connection;

impl Drop for Connection {
    fn drop(&mut self) {
        drop(tokio::task::spawn_blocking(|| {}));
    }
}

struct Client {
    _connections: Vec<Connection>,
}

fn client(connections: usize) -> Client {
    Client { _connections: std::iter::repeat_with(|| Connection).take(connections).collect() }
}

fn spawn_outside() {
    drop(tokio::spawn(async {}));
}

fn drop_outside() {
    drop(client(1));
}

fn two_dropped_outside() {
    drop(client(2));
}

fn runtime_in_async() {
    struct Embedded {
        _runtime: Runtime,
    }
    let inner = Embedded { _runtime: runtime() };
    runtime().block_on(async move { drop(inner) });
}

fn block_on_in_async() {
    runtime().block_on(async { runtime().block_on(async {}) });
}

fn blocking_channel_in_async() {
    runtime().block_on(async { tokio::sync::mpsc::channel::<()>(1).1.blocking_recv() });
}

fn cancelled() -> Result<(), tokio::task::JoinError> {
    runtime().block_on(async {
        let task = tokio::spawn(pending::<()>());
        task.abort();
        task.await
    })
}

fn cancelled_unwrapped() {
    cancelled().unwrap();
}

fn cancelled_taken_for_a_panic() {
    drop(cancelled().unwrap_err().into_panic());
}

/// A value that enters a context when it is dropped, in a thread-local that is registered before Tokio's.
fn thread_local_too_late() {
    struct EntersInDrop(Handle);
    impl Drop for EntersInDrop {
        fn drop(&mut self) {
            let _context = self.0.enter();
        }
    }
    thread_local! {
        static CACHE: RefCell<Option<EntersInDrop>> = const { RefCell::new(None) };
    }
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let late = thread::Builder::new().name("late".to_owned()).spawn(move || {
        CACHE.with_borrow(Option::is_some);
        drop(handle.enter());
        CACHE.set(Some(EntersInDrop(handle)));
    });
    let _ = late.unwrap().join();
}

fn timer_of_a_dead_runtime() {
    let gone = runtime();
    let sleep = {
        let _context = gone.enter();
        tokio::time::sleep(Duration::from_secs(3600))
    };
    drop(gone);
    runtime().block_on(sleep);
}

fn two_unrelated() {
    struct Unlucky;
    impl Drop for Unlucky {
        fn drop(&mut self) {
            panic!("no luck here either");
        }
    }
    let _unlucky = Unlucky;
    panic!("no luck");
}

/// The same mistake on several threads, one after another.
fn many_outside() {
    for _ in 0..3 {
        assert!(thread::spawn(spawn_outside).join().is_err());
    }
}

fn own_hook() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let _ = writeln!(std::io::stderr(), "a hook of our own");
        default(panic);
    }));
    explain::install();
    spawn_outside();
}

/// What a child runs. Does nothing in the test program itself.
#[test]
fn child() {
    let Ok(name) = env::var(SITUATION) else { return };
    let (_, situation) = SITUATIONS.iter().find(|(known, _)| *known == name).unwrap();
    if name != "own-hook" {
        explain::install();
        // A second time does nothing; otherwise every count below would differ.
        explain::install();
    }
    situation();
}

/// What a child wrote to standard error.
struct Stderr(String);

fn stderr_with(situation: &str, backtrace: &str) -> Stderr {
    assert!(SITUATIONS.iter().any(|(known, _)| *known == situation), "{situation}");
    let Output { stderr, .. } = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(SITUATION, situation)
        .env("RUST_BACKTRACE", backtrace)
        .env_remove("RUST_LIB_BACKTRACE")
        .output()
        .unwrap();
    Stderr(String::from_utf8(stderr).unwrap())
}

fn stderr(situation: &str) -> Stderr {
    stderr_with(situation, "0")
}

impl Stderr {
    fn explanations(&self) -> Vec<&str> {
        self.0.lines().filter(|line| line.starts_with("sundown: ")).collect()
    }

    /// The standard library's report is there and comes first. One explanation of three lines follows:
    /// the first contains these words, and the last names this page.
    #[track_caller]
    fn explains(&self, original: &str, words: &str, page: &str) {
        let original = self.0.find(original).unwrap_or_else(|| panic!("{}", self.0));
        let explained = self.0.find("sundown: ").unwrap_or_else(|| panic!("{}", self.0));
        assert!(original < explained, "{}", self.0);
        let [happened, instead, explains] = self.explanations()[..] else { panic!("{}", self.0) };
        assert!(happened.contains(words), "no {words:?} in {}", self.0);
        assert!(instead.starts_with("sundown: instead, "), "{}", self.0);
        assert_eq!(explains, format!("sundown: docs/src/{page}.md explains it"));
    }
}

#[test]
fn a_missing_context_is_explained() {
    let words = "thread `child` has no runtime context, and ";
    stderr("spawn-outside").explains("there is no reactor running", words, "01-drop-context");
    stderr("drop-outside").explains("there is no reactor running", words, "01-drop-context");
}

#[test]
fn the_value_that_was_dropped_is_named_if_there_is_a_backtrace_anyway() {
    let words = "`Connection` (in `Client`) was dropped on thread `child`, which has no runtime";
    let stderr = stderr_with("drop-outside", "1");
    stderr.explains("there is no reactor running", words, "01-drop-context");
    let stderr = stderr_with("runtime-in-async", "1");
    let words = "a `Runtime` was dropped in async code on thread `child`, with `Embedded`: ";
    stderr.explains("Cannot drop a runtime", words, "10-runtime-in-async");
    // If nothing was dropped, nothing is named.
    let stderr = stderr_with("spawn-outside", "1");
    stderr.explains("there is no reactor running", "thread `child` has no", "01-drop-context");
}

#[test]
fn a_second_panic_is_explained_after_the_first() {
    let stderr = stderr("two-dropped-outside");
    let explanations = stderr.explanations();
    assert_eq!(explanations.len(), 6, "{}", stderr.0);
    assert!(explanations[2].contains("01-drop-context"), "{}", stderr.0);
    assert!(explanations[3].contains("a second destructor panicked on thread `child`"));
    assert!(explanations[5].contains("06-double-panic"), "{}", stderr.0);
    assert!(stderr.0.contains("panic in a destructor during cleanup"), "{}", stderr.0);
}

#[test]
fn blocking_in_async_code_is_explained() {
    let page = "10-runtime-in-async";
    let words = "a `Runtime` was dropped in async code on thread `child`: its drop waits";
    stderr("runtime-in-async").explains("Cannot drop a runtime", words, page);
    let words = "thread `child` drives tasks, and something blocked it (";
    stderr("block-on-in-async").explains("Cannot start a runtime from within", words, page);
    stderr("blocking-channel-in-async").explains("Cannot block the current thread", words, page);
}

#[test]
fn a_cancellation_that_was_not_expected_is_explained() {
    let words = "work that thread `child` awaited was cancelled";
    for (situation, original) in [
        ("cancelled-unwrapped", "JoinError::Cancelled"),
        ("cancelled-taken-for-a-panic", "`JoinError` reason is not a panic"),
    ] {
        stderr(situation).explains(original, words, "11-cancelled-interact");
    }
}

#[test]
fn a_thread_local_that_is_destroyed_too_late_is_explained() {
    let words = "thread-locals needed Tokio's own";
    stderr("thread-local").explains("variable has been destroyed", words, "07-thread-local");
}

#[test]
fn a_timer_of_a_runtime_that_has_gone_is_explained() {
    let words = "on thread `child` waited for a timer of a runtime that has been shut down";
    let stderr = stderr("timer-of-a-dead-runtime");
    stderr.explains("it is being shutdown", words, "09-shutdown-methods");
}

#[test]
fn on_other_panics_the_hook_is_silent() {
    for situation in ["unrelated", "two-unrelated"] {
        let stderr = stderr(situation);
        assert!(stderr.0.contains("no luck"), "{}", stderr.0);
        assert!(!stderr.0.contains("sundown: "), "{}", stderr.0);
    }
}

#[test]
fn one_mistake_is_explained_once() {
    let stderr = stderr("many-outside");
    assert_eq!(stderr.0.matches("there is no reactor running").count(), 3, "{}", stderr.0);
    let words = "an unnamed thread has no runtime context";
    stderr.explains("there is no reactor running", words, "01-drop-context");
}

#[test]
fn a_hook_that_was_there_before_is_still_called() {
    let stderr = stderr("own-hook");
    stderr.explains("a hook of our own", "thread `child` has no", "01-drop-context");
    assert!(stderr.0.contains("there is no reactor running"), "{}", stderr.0);
}
