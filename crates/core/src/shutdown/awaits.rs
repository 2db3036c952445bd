//! Where a task waited that did not end in time.

use std::{
    fmt,
    panic::UnwindSafe,
    sync::{Arc, LazyLock},
    time::Duration,
};

/// Finds the places. Only whoever prints them pays for it.
type Find = Box<dyn FnOnce() -> Vec<String> + Send + UnwindSafe>;

/// The places where a task waited that did not end in time: see the module `stuck`.
///
/// A `select!` waits at several places. A task that took no waker when it was polled has none, and neither has one that was
/// not polled because others had used up the time for that.
#[derive(Clone)]
pub struct Awaits {
    places: Arc<LazyLock<Vec<String>, Find>>,
    /// How long its poll took, if that was so long that the tasks after it were not polled.
    blocked: Option<Duration>,
    /// Whether it was not polled, because others had used up the time.
    is_left_out: bool,
}

impl Awaits {
    #[cfg(all(any(feature = "stuck", test), not(loom)))]
    pub(crate) fn found_by(
        find: impl FnOnce() -> Vec<String> + Send + UnwindSafe + 'static,
    ) -> Self {
        let places = Arc::new(LazyLock::new(Box::new(find) as Find));
        Self { places, blocked: None, is_left_out: false }
    }

    /// Nobody knows, because there was no time to poll the task once more.
    #[cfg(all(any(feature = "stuck", test), not(loom)))]
    pub(crate) fn left_out() -> Self {
        Self { is_left_out: true, ..Self::found_by(Vec::new) }
    }

    /// Its poll took so long that the tasks after it were not polled.
    #[cfg(all(any(feature = "stuck", test), not(loom)))]
    pub(crate) fn blocked(self, took: Duration) -> Self {
        Self { blocked: Some(took), ..self }
    }

    /// Each place: `src/server.rs:12:34 (app::serve)`, or only the function if the program has no debug information. The
    /// first call reads the program's debug information, which takes a while.
    #[must_use]
    pub fn places(&self) -> &[String] {
        &self.places
    }
}

/// What a future promises that waits is that it keeps the waker of its last poll.
const NO_WAKER: &str =
    "waits without a waker: it took none when it was polled, so nothing may wake it";

const LEFT_OUT: &str =
    "was not asked where it waits: the polls of others had used up the time for that";

/// `waits at src/server.rs:12:34 (app::serve)`
impl fmt::Display for Awaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.places() {
            [] if self.is_left_out => return f.write_str(LEFT_OUT),
            [] => f.write_str(NO_WAKER)?,
            places => write!(f, "waits at {}", places.join(" and at "))?,
        }
        match self.blocked {
            Some(took) => write!(f, ", and blocked for {took:.1?} when asked"),
            None => Ok(()),
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
        (self.blocked, self.is_left_out) == (other.blocked, other.is_left_out)
            && (Arc::ptr_eq(&self.places, &other.places) || self.places() == other.places())
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
        let slow = awaits.clone().blocked(Duration::from_millis(1200));
        let expected =
            "waits at src/a.rs:1:2 (app::a) and at app::b, and blocked for 1.2s when asked";
        assert_eq!(slow.to_string(), expected);
        assert_ne!(awaits, slow);
        assert_eq!(Awaits::left_out().to_string(), LEFT_OUT);
        assert_ne!(Awaits::left_out(), none);
    }
}
