//! How long to wait before the next try.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// A wait that doubles with every failure in a row, up to [`LONGEST`]. Without jitter, so that a test
/// knows what to expect.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self(FIRST)
    }

    /// Waits, after another failure.
    pub(crate) async fn wait(&mut self) {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST);
        tokio::time::sleep(wait).await;
    }

    pub(crate) const fn reset(&mut self) {
        self.0 = FIRST;
    }
}
