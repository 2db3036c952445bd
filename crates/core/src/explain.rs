//! A panic hook that explains the panics that occur when a runtime is shut down.
//!
//! *There is no reactor running* says what Tokio needed, and not what happened: a value was dropped on a
//! thread where its destructor could not run. Such a panic surfaces in whichever crate happens to be on
//! the stack. The hook recognises it, calls the hook that was there before, and adds three lines: what
//! happened on which thread, what to do instead, and which page of the notebook has the experiment that
//! shows it. On every other panic it is silent.
//!
//! ```
//! sundown::explain::install();
//! let lost = std::thread::spawn(|| drop(tokio::spawn(async {})));
//! assert!(lost.join().is_err());
//! // thread '<unnamed>' panicked at src/main.rs:2:
//! // there is no reactor running, must be called from the context of a Tokio 1.x runtime
//! // sundown: an unnamed thread has no runtime context, and src/main.rs:2 needed one there; …
//! // sundown: instead, enter a context around it, `let _context = handle.enter();`, with a …
//! // sundown: docs/src/01-drop-context.md explains it
//! ```
//!
//! If `RUST_BACKTRACE` asks for a backtrace, the hook names the value that was dropped. Otherwise it
//! makes no backtrace, because finding the names takes longer than all the rest of a program that
//! panics.
//!
//! A program with a hook of its own installs this one after it, or calls [`Cause::of`] itself.

mod cause;
mod value;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    cell::Cell,
    fmt,
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

pub use self::cause::Cause;
use self::value::Dropped;

/// Installs the hook. The hook that was there before is still called first. A second call does nothing,
/// and neither does a call on a thread that is panicking.
///
/// Each [cause](Cause) is explained once per process: a runtime that is shut down under a hundred
/// tasks is one mistake, not a hundred.
pub fn install() {
    static INSTALLED: Once = Once::new();
    // The standard library would panic.
    if thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            before(panic);
            explain(panic);
        }));
    });
}

thread_local! {
    /// The cause of this thread's last panic, if it was recognised. Constant and without a destructor,
    /// so it can be used while the thread's other locals are being destroyed.
    static BEFORE: Cell<Option<Cause>> = const { Cell::new(None) };
}

/// Explains a panic, if its cause is recognised and has not been explained before.
fn explain(panic: &PanicHookInfo<'_>) {
    static EXPLAINED: AtomicU32 = AtomicU32::new(0);
    let place = panic.location().map(|at| (at.file(), at.line()));
    let (file, line) = place.unwrap_or(("an unknown place", 0));
    let message = panic.payload_as_str().unwrap_or_default();
    let cause = Cause::of(message, file, BEFORE.get());
    BEFORE.set(cause);
    let Some(cause) = cause else { return };
    // The thread that sets the bit explains. Relaxed: nothing else is shared, and one atomic operation
    // reads and sets the bit.
    let bit = 1 << cause as u32;
    if EXPLAINED.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return;
    }
    let backtrace = Backtrace::capture();
    let names = matches!(backtrace.status(), BacktraceStatus::Captured);
    let explanation = Explanation {
        cause,
        thread: thread::current().name().map(str::to_owned),
        place: format!("{}:{line}", value::below_its_crate(file)),
        dropped: names.then(|| Dropped::on(&backtrace.to_string())).flatten(),
    };
    // In one write, so that the lines of two threads do not mix. Standard error may be closed.
    let _ = io::stderr().write_all(explanation.to_string().as_bytes());
}

/// The explanation of one panic.
struct Explanation {
    cause: Cause,
    thread: Option<String>,
    place: String,
    dropped: Option<Dropped>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thread = match &self.thread {
            Some(name) => format!("thread `{name}`"),
            None => "an unnamed thread".to_owned(),
        };
        let happened = self.cause.happened(&thread, &self.place, self.dropped.as_ref());
        writeln!(f, "sundown: {happened}")?;
        writeln!(f, "sundown: instead, {}", self.cause.instead())?;
        writeln!(f, "sundown: {} explains it", self.cause.page())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_has_three_lines() {
        for &cause in Cause::ALL {
            for (thread, dropped) in [
                (None, None),
                (Some("main".to_owned()), Dropped::on("0: core::ptr::drop_in_place<a::B>\n")),
            ] {
                let place = "tokio-1.54.1/src/a.rs:7".to_owned();
                let text = Explanation { cause, thread, place, dropped }.to_string();
                assert_eq!(text.lines().count(), 3, "{text}");
                assert!(text.lines().all(|line| line.starts_with("sundown: ")), "{text}");
            }
        }
    }
}
