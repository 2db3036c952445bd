//! Where the panics are: the few functions of Tokio that look for a runtime or refuse to block, and functions of others
//! that say the same in words of their own.
//!
//! The functions are internal to Tokio, so a release may rename them. A test looks for each of them. They have these
//! names in Tokio 1.46 to 1.54.

use crate::{binary::Index, kind::Kind};

/// A function that panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sink {
    pub kind: Kind,
    /// Where it panics in words of its own: then it has already looked for a runtime, in vain.
    pub worded: Option<Panic>,
}

/// A call that panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panic {
    pub to: Index,
    /// The address of the instruction.
    pub at: u64,
    /// Whether something else decides as well.
    pub is_conditional: bool,
}

/// Tokio's own, by path.
const FUNCTIONS: [(&str, Kind); 9] = [
    // `tokio::spawn`.
    ("tokio::task::spawn::spawn_inner", Kind::Context),
    // `spawn_blocking`, and `Handle::current` itself.
    ("tokio::runtime::handle::Handle::current", Kind::Context),
    // Timers and sockets.
    ("tokio::runtime::scheduler::Handle::current", Kind::Context),
    ("tokio::task::local::spawn_local_inner", Kind::Local),
    // Behind every drop of a `Runtime`.
    ("tokio::runtime::blocking::shutdown::Receiver::wait", Kind::Runtime),
    // `Runtime::block_on` and `Handle::block_on`.
    ("tokio::runtime::context::runtime::enter_runtime", Kind::Block),
    // `blocking_recv`, `blocking_send`, `blocking_lock`.
    ("tokio::future::block_on::block_on", Kind::Block),
    ("tokio::runtime::scheduler::block_in_place::block_in_place", Kind::InPlace),
    ("tokio::runtime::scheduler::multi_thread::worker::block_in_place", Kind::InPlace),
];

/// The messages of others. `sundown::explain` knows them all.
const MESSAGES: [(&str, Kind); 3] = [
    ("this functionality requires a Tokio context", Kind::Context),
    ("there is no reactor running", Kind::Context),
    ("Not in a runtime context", Kind::Context),
];

/// Whether the functions have these names in a version of Tokio, as far as it is known.
pub fn knows(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse);
    let minor = numbers.next().zip(numbers.next());
    matches!(minor, Some((Ok(1), Ok(46..=54))))
}

/// What is to be said of a program with this version of Tokio, or with one that is not known.
pub fn warning(version: Option<&str>) -> Option<String> {
    let what = match version {
        Some(version) if knows(version) => return None,
        Some(version) => format!("this is Tokio {version}"),
        None => "the version of Tokio is not known, because the program has no line numbers or Tokio's sources are not \
                 from a registry"
            .to_owned(),
    };
    Some(format!(
        "{what}; this check knows the internal functions of Tokio 1.46 to 1.54, and others may have other names, so \
         what it does not find says nothing"
    ))
}

/// The sink that a function of Tokio is.
pub fn by_path(path: &str) -> Option<Kind> {
    FUNCTIONS.iter().find(|(sink, _)| *sink == path).map(|(_, kind)| *kind)
}

/// The kind of a message at the beginning of some data.
pub fn by_message(data: &[u8]) -> Option<Kind> {
    MESSAGES.iter().find(|(message, _)| data.starts_with(message.as_bytes())).map(|(_, kind)| *kind)
}

/// Whether a function of this path does not return.
pub fn panics(path: &str) -> bool {
    path.starts_with("core::panicking::")
        || path.starts_with("std::panicking::begin_panic")
        || path.starts_with("core::option::expect_failed")
        || path.starts_with("core::option::unwrap_failed")
        || path.starts_with("core::result::unwrap_failed")
}

#[cfg(test)]
mod tests {
    use sundown_core::explain::Cause;

    use super::*;

    #[test]
    fn a_version_of_tokio_is_known_by_its_first_two_numbers() {
        assert!(knows("1.54.1") && knows("1.46.0"));
        assert!(!knows("1.45.1") && !knows("1.55.0") && !knows("2.46.0") && !knows("1"));
    }

    #[test]
    fn a_version_that_is_not_known_is_warned_about() {
        assert_eq!(warning(Some("1.54.1")), None);
        assert!(warning(Some("1.55.0")).is_some_and(|it| it.starts_with("this is Tokio 1.55.0;")));
        assert!(
            warning(None).is_some_and(|it| it.starts_with("the version of Tokio is not known"))
        );
    }

    #[test]
    fn every_message_has_the_code_that_explain_gives_it() {
        let files = ["src/lib.rs", "/tokio-uring-0.5.0/src/a.rs", "/sqlx-core-0.9.0/src/a.rs"];
        for (message, kind) in MESSAGES {
            let whole = match message {
                "there is no reactor running" => {
                    "there is no reactor running, must be called from the context of a Tokio 1.x runtime"
                }
                whole => whole,
            };
            let cause = files.iter().find_map(|file| Cause::of(whole, file, None));
            assert_eq!(cause.map(Cause::code), Some(kind.code()), "{message}");
        }
    }
}
