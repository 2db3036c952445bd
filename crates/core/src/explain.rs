//! A panic hook that explains the panics that occur when a runtime is shut down.
//!
//! *There is no reactor running* says what Tokio needed, and not what happened: a value was dropped on a
//! thread where its destructor could not run, or a call came from a thread of a foreign library. Such a panic
//! surfaces in whichever crate happens to be on the stack. The hook recognises it, calls the hook that was
//! there before, and adds three lines: what happened on which thread, what to do instead, and the code of
//! the cause. The code has a page in the notebook (`docs/src/explain`), and `cargo xtask explain SD0001`
//! prints it. On every other panic the hook is silent.
//!
//! ```
//! sundown::explain::install();
//! let lost = std::thread::spawn(|| drop(tokio::spawn(async {})));
//! assert!(lost.join().is_err());
//! // thread '<unnamed>' panicked at src/main.rs:2:
//! // there is no reactor running, must be called from the context of a Tokio 1.x runtime
//! // sundown: an unnamed thread has no runtime context, and the call at src/main.rs:2 needed …
//! // sundown: instead, call it with a runtime that is running and stays so: `handle.spawn(…)` …
//! // sundown: SD0001, docs/src/explain/SD0001.md in the repository of sundown
//! ```
//!
//! # A call, or a destructor
//!
//! The same message needs another cure in a destructor than in a call. The hook looks at the stack to tell
//! them apart, and names the value that was dropped. Finding the names of the functions takes 0.1 s the first
//! time (0.1 ms later), so the hook does it once for each cause, and only where it matters.
//! `RUST_BACKTRACE=0` prevents it. Then, and in an optimized program without debug information, the advice has
//! a part for each.
//!
//! A program with a hook of its own installs this one after it, or calls [`explanation`] itself.

mod advice;
mod cause;
mod messages;
mod stack;

use std::{
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
use self::stack::Place;
use crate::newer_std::payload_as_str;

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
    /// The causes of this thread's last two panics, as far as they were recognised. When a second destructor panics,
    /// one is its own, and the other that of the panic which unwound. Constant and without a destructor, so it can
    /// be used while the thread's other locals are being destroyed.
    static BEFORE: Cell<[Option<Cause>; 2]> = const { Cell::new([None; 2]) };
}

/// Explains a panic on standard error, if its cause is recognised and has not been explained before.
fn explain(panic: &PanicHookInfo<'_>) {
    static EXPLAINED: AtomicU32 = AtomicU32::new(0);
    let Some(cause) = cause_of(panic) else { return };
    // The thread that sets the bit explains. Relaxed: nothing else is shared, and one atomic operation
    // reads and sets the bit.
    let bit = 1 << cause as u32;
    if EXPLAINED.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return;
    }
    let explanation = Explanation::new(cause, panic);
    // In one write, so that the lines of two threads do not mix. Standard error may be closed.
    let _ = io::stderr().write_all(explanation.to_string().as_bytes());
}

/// The cause of a panic, given the panic before it on this thread.
fn cause_of(panic: &PanicHookInfo<'_>) -> Option<Cause> {
    let file = panic.location().map_or("", |at| at.file());
    let message = payload_as_str(panic).unwrap_or_default();
    let [last, one_before] = BEFORE.get();
    let cause = Cause::of(message, file, last.or(one_before));
    BEFORE.set([cause, last]);
    cause
}

/// The explanation of a panic, for a hook that reports panics in its own way; `None` if the cause is not
/// recognised. Call it in the hook, on every panic: it remembers the last one of the thread, and looks at
/// the stack.
///
/// ```
/// std::panic::set_hook(Box::new(|panic| {
///     eprintln!("{panic}");
///     if let Some(explanation) = sundown::explain::explanation(panic) {
///         eprint!("{}: {explanation}", explanation.cause().code());
///     }
/// }));
/// ```
#[must_use]
pub fn explanation(panic: &PanicHookInfo<'_>) -> Option<Explanation> {
    Some(Explanation::new(cause_of(panic)?, panic))
}

/// What happened in one panic, and what to do instead. Prints three lines.
#[derive(Clone, Debug)]
pub struct Explanation {
    cause: Cause,
    thread: String,
    file: String,
    place: Place,
    /// The line of the program that led there.
    own_code: Option<String>,
    /// Whether the program may have such an error of its own.
    may_be_its_own: bool,
}

impl Explanation {
    fn new(cause: Cause, panic: &PanicHookInfo<'_>) -> Self {
        let thread = match thread::current().name() {
            Some(name) => format!("thread `{name}`"),
            None => "an unnamed thread".to_owned(),
        };
        let file = match panic.location() {
            Some(at) => format!("{}:{}", stack::below_its_crate(at.file()), at.line()),
            None => "an unknown place".to_owned(),
        };
        let (place, own_code) = match advice::depends_on_the_place(cause) {
            true => Place::of_this_thread(),
            false => (Place::Unknown, None),
        };
        let message = payload_as_str(panic).unwrap_or_default();
        let may_be_its_own =
            messages::may_be_anybodys(message, panic.location().map_or("", |at| at.file()));
        Self { cause, thread, file, place, own_code, may_be_its_own }
    }

    /// The cause.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, thread, file, place, own_code, may_be_its_own } = self;
        let code = cause.code();
        write!(f, "sundown: {}", advice::happened(*cause, thread, file, place))?;
        own_code.iter().try_for_each(|line| write!(f, "; reached from {line}"))?;
        if *may_be_its_own {
            write!(f, "; unless the program has an error of its own in the same words as Tokio")?;
        }
        writeln!(f)?;
        writeln!(f, "sundown: instead, {}", advice::instead(*cause, place))?;
        writeln!(f, "sundown: {code}, docs/src/explain/{code}.md in the repository of sundown")
    }
}

#[cfg(test)]
mod tests;
