//! How long to wait before trying again.

use std::time::Duration;

/// Doubles with every failure in a row. Without chance in it, so that a test knows what to expect.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// How long to wait after another failure: at least for as long as the server asks for.
    pub(crate) fn wait(&mut self, asked_for: Option<Duration>) -> Duration {
        let wait = self.next.max(asked_for.unwrap_or_default());
        self.next = (self.next * 2).min(LONGEST);
        wait
    }

    pub(crate) const fn succeeded(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_limit_and_starts_anew_after_a_success() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..9).map(|_| backoff.wait(None).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.succeeded();
        assert_eq!(backoff.wait(Some(Duration::from_secs(60))), Duration::from_secs(60));
        assert_eq!(backoff.wait(Some(Duration::ZERO)), FIRST * 2);
    }
}
