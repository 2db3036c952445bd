//! The bridge to `tokio_util`'s `CancellationToken`, in both directions. Behind the feature
//! `tokio-util`.

use std::{
    mem,
    sync::Arc,
    task::{Wake, Waker},
};

use tokio_util::sync::CancellationToken;

use super::TaskGroup;
use crate::{
    newer_std::extract_if,
    panics,
    spawn::SpawnError,
    sync::{Mutex, lock},
};

impl TaskGroup {
    /// Stops the group when a token is cancelled. A task of the group waits for that, until the group
    /// stops: do not call this for each request. Fails as [`TaskGroup::spawn`] does.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use sundown::group::TaskGroup;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sundown::SpawnError> {
    /// let token = CancellationToken::new();
    /// let group = TaskGroup::new("workers");
    /// group.stop_on(token.clone())?;
    /// group.spawn("worker", |stop| stop)?;
    /// token.cancel();
    /// group.stop_signal().await;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn stop_on(&self, token: CancellationToken) -> Result<(), SpawnError> {
        self.stop_when(token.cancelled_owned())
    }

    /// Cancels a token when the group is asked to stop; at once, if it is stopping. Needs no task and no
    /// runtime.
    ///
    /// The group keeps the token until the token is cancelled or the group stops: a token does not tell
    /// when nobody else has it any more. So use [`cancellation_token`](Self::cancellation_token) for
    /// requests that come and go.
    ///
    /// Cancelling calls the wakers of those who wait for the token. If one of them blocks, the stop does not
    /// wait for it longer than 50 ms, and a drain reports its thread.
    ///
    /// ```
    /// use sundown::group::TaskGroup;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let group = TaskGroup::new("workers");
    /// let token = CancellationToken::new();
    /// group.cancel_on_stop(token.clone());
    /// group.stop();
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancel_on_stop(&self, token: CancellationToken) {
        let tokens = self.tokens.get_or_init(|| {
            let tokens = Arc::new(Tokens::default());
            self.stop_signal().wake_for_good(Waker::from(Arc::clone(&tokens)));
            tokens
        });
        tokens.add(token);
        // Register first, then look: a stop in between is not missed.
        if self.stop_signal().is_raised() {
            tokens.wake_by_ref();
        }
    }

    /// Returns a token of the group, which is cancelled when the group is asked to stop. It is always the
    /// same one. Give each request a `child_token()` of it: nothing of that is kept after it was dropped.
    ///
    /// ```
    /// use sundown::group::TaskGroup;
    ///
    /// let group = TaskGroup::new("requests");
    /// let request = group.cancellation_token().child_token();
    /// group.stop();
    /// assert!(request.is_cancelled());
    /// ```
    #[must_use]
    pub fn cancellation_token(&self) -> CancellationToken {
        let token = self.token.get_or_init(|| {
            let token = CancellationToken::new();
            self.cancel_on_stop(token.clone());
            token
        });
        token.clone()
    }
}

/// The tokens to cancel when the group is asked to stop.
#[derive(Default)]
pub(super) struct Tokens {
    waiting: Mutex<Vec<CancellationToken>>,
}

impl Tokens {
    fn add(&self, token: CancellationToken) {
        let mut waiting = lock(&self.waiting);
        let mut cancelled = Vec::new();
        if waiting.len() == waiting.capacity() {
            // Before it grows, so that it is at most twice as large as needed.
            cancelled = extract_if(&mut waiting, |token| token.is_cancelled());
            let len = waiting.len();
            waiting.shrink_to(2 * len);
        }
        waiting.push(token);
        drop(waiting);
        drop(cancelled);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.waiting).len()
    }
}

/// Cancels the tokens. Each cancel calls wakers, which are foreign code.
impl Wake for Tokens {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = mem::take(&mut *lock(&self.waiting));
        for token in waiting {
            drop(panics::catch(|| token.cancel()));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn cancelled_tokens_are_forgotten_and_the_others_are_cancelled_by_the_stop() {
        let group = TaskGroup::new("requests");
        let lasting = CancellationToken::new();
        group.cancel_on_stop(lasting.clone());
        for _ in 0..10_000 {
            let token = CancellationToken::new();
            group.cancel_on_stop(token.clone());
            token.cancel();
        }
        assert!(group.tokens.get().unwrap().len() < 10);
        group.stop();
        assert!(lasting.is_cancelled());
    }

    #[test]
    fn a_request_with_a_child_of_the_groups_token_leaves_nothing_behind() {
        let group = TaskGroup::new("requests");
        for _ in 0..10_000 {
            drop(group.cancellation_token().child_token());
        }
        assert_eq!(group.tokens.get().unwrap().len(), 1);
        let request = group.cancellation_token().child_token();
        group.stop();
        assert!(request.is_cancelled());
        assert!(group.cancellation_token().is_cancelled());
    }

    #[test]
    fn a_token_that_comes_too_late_is_cancelled_at_once() {
        let group = TaskGroup::new("late");
        group.stop();
        assert!(group.cancellation_token().is_cancelled());
    }
}
