//! A session's share of a runtime.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{RuntimeError, Stats, generation::Generation};
use crate::{
    shutdown::{ShutdownError, ShutdownReport},
    sync::lock,
};

/// One session's share of a generation of a runtime. Sessions that share one do not end it for each
/// other: the last to close takes it down. A drop gives the share back and ends nothing.
pub(crate) struct Enlisted {
    generation: Arc<Generation>,
    /// Whether this was the last, once it has left.
    was_last: Mutex<Option<bool>>,
}

impl Enlisted {
    /// Takes a share.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`], if the runtime is stopping or has stopped, also for another session's sake, and in
    /// a forked child.
    pub(super) fn of(generation: Arc<Generation>) -> Result<Self, RuntimeError> {
        generation.check_running()?;
        if !generation.users.enter() {
            return Err(generation.shut_down_error());
        }
        Ok(Self { generation, was_last: Mutex::default() })
    }

    /// Leaves, for a session that closes. Returns whether it was the last session there: then it must call
    /// [`shutdown`](Self::shutdown). Asked again, the last says so again; another becomes the last if the
    /// others were dropped without a close.
    pub(crate) fn leave(&self) -> bool {
        let users = &self.generation.users;
        let mut was_last = lock(&self.was_last);
        let is_last = match *was_last {
            None => users.leave_to_end(),
            Some(false) => users.take_over(),
            Some(true) => true,
        };
        *was_last = Some(is_last);
        is_last
    }

    /// How many other sessions use the generation now.
    pub(crate) fn others(&self) -> usize {
        // Under the lock, so that this one does not leave in between.
        let was_last = lock(&self.was_last);
        let present = self.generation.users.present();
        present.saturating_sub(usize::from(was_last.is_none()))
    }

    /// How long foreign tasks get to end by themselves: what the builder of the runtime was given, or this.
    pub(crate) fn foreign_time(&self, otherwise: Duration) -> Duration {
        self.generation.foreign_time.unwrap_or(otherwise)
    }

    /// Shuts this generation down, as [`RuntimeOwner::shutdown`](super::RuntimeOwner::shutdown) does, and
    /// gives its foreign tasks this time to end by themselves. A restart does not matter: later generations are
    /// not touched.
    pub(crate) fn shutdown(
        &self,
        limit: Duration,
        foreign_time: Duration,
    ) -> impl Future<Output = Result<ShutdownReport, ShutdownError>> + Send + '_ {
        self.generation.shutdown(Instant::now(), Some(limit), Some(foreign_time))
    }

    /// Whether a shutdown would wait for this thread to end, or to return from `block_on`.
    pub(crate) fn includes_this_thread(&self) -> bool {
        self.generation.includes_this_thread()
    }

    /// The generation in numbers.
    pub(crate) fn stats(&self) -> Stats {
        self.generation.stats()
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        // In a forked child another thread of the parent may have held the lock for ever.
        if self.generation.check_process().is_ok() && lock(&self.was_last).is_none() {
            self.generation.users.leave();
        }
    }
}

impl fmt::Debug for Enlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enlisted").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::future::pending;

    use futures::executor::block_on;

    use crate::{
        limit::PLENTY,
        runtime::{RuntimeOwner, State},
    };

    #[test]
    fn of_sessions_that_share_a_runtime_the_last_to_close_takes_it_down() {
        for builder in [
            RuntimeOwner::builder("shared-c").current_thread(),
            RuntimeOwner::builder("shared-m").workers(2),
        ] {
            let owner = builder.start().unwrap();
            let [first, second, dropped] =
                [(); 3].map(|()| owner.current().unwrap().enlist().unwrap());
            assert_eq!(first.others(), 2);
            drop(dropped);
            assert!(!first.leave() && !first.leave(), "the second uses it");
            assert_eq!((first.others(), second.others()), (1, 0));
            let third = owner.current().unwrap().enlist().unwrap();
            assert!(!second.leave() && third.leave() && third.leave());
            assert!(owner.current().unwrap().enlist().is_err(), "it is going down");
            owner.handle().unwrap().spawn(pending::<()>());
            let report = block_on(third.shutdown(PLENTY, PLENTY / 600)).unwrap();
            assert_eq!(report.foreign, 1);
            assert_eq!((third.stats().state, owner.stats().state), (State::Ended, State::Ended));

            owner.restart().unwrap();
            let [closed, left] = [(); 2].map(|()| owner.current().unwrap().enlist().unwrap());
            assert!(!closed.leave(), "the other uses it");
            drop(left);
            assert!(closed.leave() && closed.leave(), "nobody else ends it");
            let _ = block_on(closed.shutdown(PLENTY, PLENTY)).unwrap();

            owner.restart().unwrap();
            drop((first, second, third));
            let next = owner.current().unwrap().enlist().unwrap();
            assert!(next.leave(), "it shares nothing with the generation before");
            let _ = block_on(next.shutdown(PLENTY, PLENTY)).unwrap();
        }
    }
}
