//! What a panicking thread was doing: a call, or the destructor of a value, as far as a backtrace shows.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
};

/// The longest name of a type, in characters.
const LONGEST: usize = 80;

/// Where the sources of the standard library and of dependencies are.
const DEPENDENCIES: [&str; 4] = ["/rustc/", "/library/", "/registry/", "/git/checkouts/"];

/// What the code that panicked was part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A destructor, of this value.
    Drop(Dropped),
    /// A call. No destructor was running.
    Call,
    /// One of both. There is no backtrace, or it does not have the name of every function.
    Unknown,
}

/// The values whose destructors were running when a thread panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    /// The one whose destructor panicked.
    innermost: String,
    /// The one that was dropped, which contains the other. Often it is the only one the reader knows.
    outermost: String,
    /// The library with a blocking API that dropped it: `reqwest::blocking`.
    blocking_api: Option<String>,
}

impl Place {
    /// Where the current thread is, and the line of the program's own code that it got there from.
    ///
    /// Looks at the stack unless `RUST_LIB_BACKTRACE` or `RUST_BACKTRACE` is `0`. Finding the names of the
    /// functions reads the debug information of the whole program, so call this once for each cause, not
    /// for each panic.
    pub(super) fn of_this_thread() -> (Self, Option<String>) {
        if is_unwanted() {
            return (Self::Unknown, None);
        }
        let backtrace = captured();
        match backtrace.status() {
            BacktraceStatus::Captured => {
                let backtrace = backtrace.to_string();
                (Self::on(&backtrace), own_code(&backtrace))
            }
            _ => (Self::Unknown, None),
        }
    }

    /// The place that a backtrace shows, as the standard library prints it.
    pub(super) fn on(backtrace: &str) -> Self {
        let frames = frames(backtrace);
        if let Some(dropped) = Dropped::on(&frames) {
            return Self::Drop(dropped);
        }
        // An optimized destructor may be part of the function that called it. Then only debug information
        // tells its name.
        let is_optimized = !frames.iter().any(|frame| frame.name.ends_with(CAPTURED));
        let is_whole =
            |frame: &Frame<'_>| frame.location.is_some() || is_of_the_standard_library(frame.name);
        match frames.is_empty() || (is_optimized && !frames.iter().all(is_whole)) {
            true => Self::Unknown,
            false => Self::Call,
        }
    }
}

/// Captures the stack. Small, and inlined wherever anything is: if a backtrace has this function, nothing
/// was optimized.
#[inline]
fn captured() -> Backtrace {
    Backtrace::force_capture()
}

/// How the name of [`captured`] ends.
const CAPTURED: &str = "explain::stack::captured";

/// Whether the user asked for no backtraces. Nothing set is no answer.
fn is_unwanted() -> bool {
    let asked = ["RUST_LIB_BACKTRACE", "RUST_BACKTRACE"].into_iter().find_map(std::env::var_os);
    asked.is_some_and(|asked| asked == "0")
}

impl Dropped {
    /// The destructors between the panic and the code that dropped something.
    fn on(frames: &[Frame<'_>]) -> Option<Self> {
        let destructors = || {
            let names = frames.iter().map(|frame| frame.name);
            names
                .skip_while(|name| dropped_by_glue(name).or(dropped_by_hand(name)).is_none())
                .take_while(|name| is_of_a_destructor(name))
        };
        // The name of a `Drop` has parameters for types: `<SyncWrapper<T> as …>`.
        let innermost = destructors().find_map(dropped_by_glue);
        let innermost = innermost.or_else(|| destructors().find_map(dropped_by_hand))?;
        let outermost = destructors().filter_map(dropped_by_glue).last().unwrap_or(innermost);
        Some(Self {
            innermost: shortened(innermost),
            outermost: shortened(outermost),
            blocking_api: blocking_api(frames),
        })
    }

    /// The blocking API of a library, in the code that dropped it.
    pub(super) const fn blocking_api(&self) -> Option<&String> {
        self.blocking_api.as_ref()
    }

    /// The value that was dropped, which contains the others.
    pub(super) fn outermost(&self) -> String {
        format!("`{}`", self.outermost)
    }
}

/// `` `SyncWrapper<Connection>` (in `Store`) ``
impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.innermost)?;
        if self.outermost == self.innermost {
            Ok(())
        } else {
            write!(f, " (in `{}`)", self.outermost)
        }
    }
}

/// A function on the stack.
struct Frame<'a> {
    name: &'a str,
    /// Its place in a file, if that is known.
    location: Option<&'a str>,
}

/// The functions of a backtrace, the innermost first, up to what the standard library calls.
fn frames(backtrace: &str) -> Vec<Frame<'_>> {
    let mut frames: Vec<Frame<'_>> = Vec::new();
    for line in backtrace.lines() {
        let text = line.trim_start();
        // A location has its own line, below the name: `             at src/main.rs:7:5`.
        let location = text.strip_prefix("at ").filter(|_| line.starts_with("         "));
        if location.is_some() {
            if let Some(last) = frames.last_mut() {
                last.location = location;
            }
        } else {
            let name = numbered(text).unwrap_or(text);
            if name.contains("__rust_begin_short_backtrace") {
                break;
            }
            frames.push(Frame { name, location: None });
        }
    }
    frames
}

/// The module called `blocking` that dropped something, inside of what Tokio polls. Such an API has a runtime of its
/// own.
fn blocking_api(frames: &[Frame<'_>]) -> Option<String> {
    let names = frames.iter().map(|frame| frame.name.trim_start_matches('<'));
    let inside = names
        .skip_while(|name| dropped_by_glue(name).or(dropped_by_hand(name)).is_none())
        .skip_while(|name| is_of_a_destructor(name))
        .take_while(|name| !name.starts_with("tokio::"));
    let mut apis = inside.filter_map(|name| Some(name.split_once("::blocking::")?.0));
    apis.next().map(|name| format!("{name}::blocking"))
}

/// The innermost place that is neither in the standard library, nor in a dependency, nor in the kit:
/// `src/main.rs:7:5`.
pub(super) fn own_code(backtrace: &str) -> Option<String> {
    let is_own = |frame: &Frame<'_>| {
        let is_elsewhere =
            |location: &str| DEPENDENCIES.iter().any(|folder| location.contains(folder));
        let is_of_the_kit = frame.name.trim_start_matches('<').starts_with("sundown_core::");
        !is_of_the_kit
            && !is_of_the_standard_library(frame.name)
            && frame.location.is_some_and(|location| !is_elsewhere(location))
    };
    // What the hook itself called comes first. Its names may be cut, where a program has debug information of lines
    // only.
    let is_hook = |frame: &Frame<'_>| {
        ["panic_with_hook", "rust_begin_unwind"].iter().any(|name| frame.name.contains(name))
    };
    let frames = frames(backtrace);
    let hook = frames.iter().position(is_hook).map_or(0, |at| at + 1);
    let frame = frames.into_iter().skip(hook).find(is_own)?;
    Some(frame.location?.trim_start_matches("./").to_owned())
}

/// The name after the number of a frame: `12: core::ptr::drop_in_place<a::B>`. An inlined function may have
/// no number.
fn numbered(text: &str) -> Option<&str> {
    let (number, name) = text.split_once(": ")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(name)
}

fn is_of_the_standard_library(name: &str) -> bool {
    let name = name.trim_start_matches('<');
    ["std::", "core::", "alloc::", "__rust", "rust_panic", "rust_begin", "_rust"]
        .iter()
        .any(|begin| name.starts_with(begin))
}

/// Whether a function is part of dropping something: drop glue, a `Drop`, or an `Arc`'s `drop_slow`.
fn is_of_a_destructor(name: &str) -> bool {
    let is_called = |what: &str| {
        // An inlined method has no path, and others have no parameters.
        let (path, parameters) = (format!("::{what}"), format!("{what}<"));
        name.ends_with(&path)
            || name.starts_with(&parameters)
            || name.contains(&format!("::{parameters}"))
    };
    dropped_by_glue(name).is_some() || is_called("drop") || is_called("drop_slow")
}

/// The type that a function drops, if it is drop glue.
fn dropped_by_glue(name: &str) -> Option<&str> {
    let glue = ["drop_in_place", "drop_glue"];
    let (_, rest) = glue.iter().find_map(|glue| name.split_once(glue))?;
    rest.trim_start_matches(':').strip_prefix('<')?.strip_suffix('>')
}

/// The type whose `Drop` this function is.
fn dropped_by_hand(name: &str) -> Option<&str> {
    name.strip_suffix(" as core::ops::drop::Drop>::drop")?.strip_prefix('<')
}

/// The name of a type without the paths of its parts: `SyncWrapper<Connection>`.
fn shortened(name: &str) -> String {
    let mut short = String::new();
    for part in name.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        // `deadpool_sync::SyncWrapper<` without what comes before the last `::`.
        short.push_str(part.rsplit_once("::").map_or(part, |(_, last)| last));
    }
    match short.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", short.get(..end).unwrap_or_default()),
        None => short,
    }
}

/// A file's path from its crate's folder on: `tokio-1.54.1/src/runtime/handle.rs`.
pub(super) fn below_its_crate(file: &str) -> &str {
    let registry = file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
    registry.map_or(file, |(_, rest)| rest)
}
