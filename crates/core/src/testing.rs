//! Tests that notice what they leave behind.
//!
//! A test that passes and leaves a task, a thread, a descriptor, a socket or a child process behind has found a bug that
//! it does not report. `#[sundown::test]` looks when the test has ended, and fails it with the name of each.
//!
//! ```
//! # use sundown::*;
//! #[sundown::test(flavor = "multi_thread", worker_threads = 2)]
//! async fn the_server_closes_its_connections() -> std::io::Result<()> {
//!     // As with `#[tokio::test]`: `flavor`, `worker_threads`, `start_paused`, `crate`.
//!     Ok(())
//! }
//!
//! #[sundown::test(allow(thread = "libfoo-", reason = "libfoo keeps its pool for ever"))]
//! fn without_a_runtime() {}
//! ```
//!
//! A failure reads like this:
//!
//! ```text
//! the test left behind what it had started or opened:
//!   task `app::server::serve`: alive on the test's runtime when the test had ended
//!   thread `indexer` (4711): runs `app::index` at src/index.rs:7, and is in `app::wait` at src/index.rs:12
//!   socket `127.0.0.1:41233 to 0.0.0.0:0` (descriptor 9): still open
//! ```
//!
//! With another framework, such as rstest, call [`leak_free`] in an ordinary test.
//!
//! # What is looked at
//!
//! | kind | left behind is | named by |
//! | --- | --- | --- |
//! | task | a task of the test's own runtime that is alive when the test's future is ready | its function, where that can be found |
//! | thread | a thread that has not ended | its name, the function that it runs, and where it is now |
//! | descriptor | a descriptor that is open | its path, or what it is |
//! | socket | a descriptor of a socket | its addresses, or its path |
//! | process | a process that runs, also one that a child has left behind | its command line |
//!
//! The test runs on a thread of its own, and the look comes after that thread has ended: what a thread-local owns is
//! dropped by then. What is not allowed gets two seconds to end, and more on a busy machine.
//!
//! A look needs Linux and `/proc`. Elsewhere only tasks are looked at. It does not see memory that leaks, files that are
//! left on disk, a child that has ended and was not waited for, or a task of another runtime than the test's own (that
//! runtime's threads and descriptors are seen).
//!
//! # Whose it is
//!
//! Tests of one process run side by side, and the system does not say which of them opened a descriptor. So each of these
//! tests runs in a process of its own: the test starts its program again for this one test, and passes on what that
//! prints. Under [nextest](https://nexte.st) each test has a process of its own already.
//!
//! A test also runs where it is if nothing runs beside it: with `--test-threads=1`, while no thread and no process is left
//! behind.
//!
//! A process of its own also means that statics begin anew in each test, that a test which aborts the process fails
//! alone, and that what a failed test has left behind ends with that process. The processes that it has started and not
//! waited for are killed, except those that are allowed.

#[cfg(target_os = "linux")]
mod answer;
#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod look;
#[cfg(target_os = "linux")]
mod memory;
mod runner;

use std::{fmt, future::Future, io, process::Termination, time::Duration};

use tokio::runtime::{Builder, Runtime};

use crate::newer_std::floor_char_boundary;

/// How long something that is ending may take to end.
const TIME_TO_END: Duration = Duration::from_secs(2);

/// How many bytes of a thread's name the kernel keeps.
const THREAD_NAME: usize = 15;

/// How long a pause is between two looks, at most.
const PAUSE: Duration = Duration::from_millis(10);

/// What a test can leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A task of the test's runtime.
    Task,
    /// A thread.
    Thread,
    /// A descriptor of anything but a socket.
    Descriptor,
    /// A descriptor of a socket.
    Socket,
    /// A process.
    Process,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Task => "task",
            Self::Thread => "thread",
            Self::Descriptor => "descriptor",
            Self::Socket => "socket",
            Self::Process => "process",
        })
    }
}

/// Something that a test left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leak {
    kind: Kind,
    /// What an allowance is compared with.
    name: String,
    /// More about it, such as where it was started.
    origin: String,
}

/// ``thread `indexer` (17): runs `app::index` at src/index.rs:7``
impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, origin } = self;
        write!(f, "{kind} {name}")?;
        if !origin.is_empty() {
            write!(f, ": {origin}")?;
        }
        Ok(())
    }
}

/// What a test may leave behind.
#[derive(Clone, Debug, Default)]
pub struct Options {
    allowed: Vec<Allowance>,
    /// A part of its message. Empty for any.
    expected_panic: Option<String>,
}

#[derive(Clone, Debug)]
struct Allowance {
    kind: Kind,
    name: String,
    reason: String,
}

impl Allowance {
    fn fits(&self, leak: &Leak) -> bool {
        let mut name = &*self.name;
        if self.kind == Kind::Thread {
            name = name.get(..floor_char_boundary(name, THREAD_NAME)).unwrap_or(name);
        }
        self.kind == leak.kind && leak.name.contains(name)
    }
}

impl Options {
    /// Allows nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { allowed: Vec::new(), expected_panic: None }
    }

    /// Allows the test to leave everything of this kind behind whose name contains `name`: the name is what the failure
    /// prints in backquotes. Linux keeps the first 15 bytes of a thread's name, so a longer name is compared as far as that.
    /// A thread without a name has the name of the thread that started it, often the test's.
    /// The reason is for the reader, and is printed if nothing of the kind was left: then the allowance can go.
    #[must_use]
    pub fn allow(mut self, kind: Kind, name: impl Into<String>, reason: impl Into<String>) -> Self {
        self.allowed.push(Allowance { kind, name: name.into(), reason: reason.into() });
        self
    }

    /// The body must panic with a message that contains this; with an empty text, it must panic. What it leaves behind is
    /// still a failure. `#[sundown::test]` makes this of a `#[should_panic]`. Use it with [`leak_free`], too: there
    /// `#[should_panic]` would take every failure for the panic that is expected, unless it has `expected = "…"`.
    ///
    /// ```
    /// use sundown::testing::{self, Options};
    ///
    /// testing::leak_free(Options::new().should_panic("out of bounds"), || {
    ///     panic!("the index is out of bounds");
    /// });
    /// ```
    #[must_use]
    pub fn should_panic(mut self, expected: impl Into<String>) -> Self {
        self.expected_panic = Some(expected.into());
        self
    }

    /// Removes what is allowed. Says of each allowance that nothing needed it.
    fn judge(&self, leaks: Vec<Leak>) -> Vec<Leak> {
        for allowance in &self.allowed {
            if !leaks.iter().any(|leak| allowance.fits(leak)) {
                let Allowance { kind, name, reason } = allowance;
                eprintln!(
                    "note: no {kind} `{name}` was left behind, so this allowance is not needed: {reason}"
                );
            }
        }
        leaks.into_iter().filter(|leak| !self.allows(leak)).collect()
    }

    fn allows(&self, leak: &Leak) -> bool {
        self.allowed.iter().any(|allowance| allowance.fits(leak))
    }
}

/// Runs the body of a test, and fails the test by a panic if the body fails or leaves something behind. Call it once, at
/// the start of a test of any framework that runs its tests as `cargo test` does, on the test's own thread, and do
/// everything inside: what comes before it runs twice.
///
/// ```
/// use sundown::testing::{self, Options};
///
/// // In a test:
/// testing::leak_free(Options::new(), || {
///     let thread = std::thread::spawn(|| 7);
///     assert_eq!(thread.join().unwrap(), 7); // without the `join`, it might still run
/// });
/// ```
///
/// The body runs on another thread, and as a rule in another process; see the [module](self). If it has to panic, say so by
/// [`Options::should_panic`]. The runtime of a `#[tokio::test]` is not the body's, and this does not look for tasks on it:
/// `#[sundown::test]` does.
pub fn leak_free<R: Termination>(options: Options, body: impl FnOnce() -> R + Send) {
    runner::run(None, &options, || runner::sync(&options, body));
}

/// What `#[sundown::test]` builds its runtime with.
#[doc(hidden)]
#[must_use]
pub fn new_current_thread() -> Builder {
    Builder::new_current_thread()
}

/// What `#[sundown::test(flavor = "multi_thread")]` builds its runtime with.
#[doc(hidden)]
#[must_use]
pub fn new_multi_thread() -> Builder {
    Builder::new_multi_thread()
}

/// What `#[sundown::test]` makes of a function.
#[doc(hidden)]
pub fn run<R: Termination>(path: &str, options: Options, body: impl FnOnce() -> R + Send) {
    runner::run(Some(path), &options, || runner::sync(&options, body));
}

/// What `#[sundown::test]` makes of an asynchronous function.
#[doc(hidden)]
pub fn run_async<F>(
    path: &str,
    options: Options,
    runtime: impl FnOnce() -> io::Result<Runtime> + Send,
    body: impl FnOnce() -> F + Send,
) where
    F: Future<Output: Termination>,
{
    runner::run(Some(path), &options, || runner::with_runtime(&options, runtime, body));
}

/// Waits until something holds, for as long as things may take to end. Returns whether it does.
///
/// It counts looks and no time: on a machine that is so busy that nothing gets to end, this thread does not run either.
fn in_time(mut holds: impl FnMut() -> bool) -> bool {
    let mut pause = Duration::from_micros(50);
    for _ in 0..TIME_TO_END.as_millis() / PAUSE.as_millis() {
        if holds() {
            return true;
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(PAUSE);
    }
    holds()
}
