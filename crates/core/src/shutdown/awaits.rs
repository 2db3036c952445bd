//! Where a task waited that did not end in time.

use std::{
    fmt,
    panic::UnwindSafe,
    sync::{Arc, LazyLock},
};

/// Finds the places. Only whoever prints them pays for it.
type Find = Box<dyn FnOnce() -> Vec<String> + Send + UnwindSafe>;

/// The places where a task waited that did not end in time: see the module `stuck`.
///
/// A `select!` waits at several places. A task that took no waker when it was polled has none.
#[derive(Clone)]
pub struct Awaits(Arc<LazyLock<Vec<String>, Find>>);

impl Awaits {
    #[cfg(all(any(feature = "stuck", test), not(loom)))]
    pub(crate) fn found_by(
        find: impl FnOnce() -> Vec<String> + Send + UnwindSafe + 'static,
    ) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(find))))
    }

    /// Each place: `src/server.rs:12:34 (app::serve)`, or only the function if the program has no debug information. The
    /// first call reads the program's debug information, which takes a while.
    #[must_use]
    pub fn places(&self) -> &[String] {
        &self.0
    }
}

/// What a future promises that waits is that it keeps the waker of its last poll.
const NO_WAKER: &str =
    "waits without a waker: it took none when it was polled, so nothing may wake it";

/// `waits at src/server.rs:12:34 (app::serve)`
impl fmt::Display for Awaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.places() {
            [] => f.write_str(NO_WAKER),
            places => write!(f, "waits at {}", places.join(" and at ")),
        }
    }
}

impl fmt::Debug for Awaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Awaits").field(&self.places()).finish()
    }
}

/// The same places.
impl PartialEq for Awaits {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.places() == other.places()
    }
}

impl Eq for Awaits {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_looked_up_once_and_printed_in_order() {
        let awaits =
            Awaits::found_by(|| vec!["src/a.rs:1:2 (app::a)".to_owned(), "app::b".to_owned()]);
        assert_eq!(awaits.to_string(), "waits at src/a.rs:1:2 (app::a) and at app::b");
        assert_eq!(awaits, awaits.clone());
        let none = Awaits::found_by(Vec::new);
        assert_eq!(none.to_string(), NO_WAKER);
        assert_ne!(awaits, none);
    }
}
