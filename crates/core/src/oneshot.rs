//! A channel for one value, by which one party confirms something to another.
//!
//! It differs from `tokio::sync::oneshot` in how it is received: from async code of any executor,
//! or on a plain thread *with a limit*, or first the one and then the other on the same receiver;
//! and in what is lost when an awaiting future is dropped: nothing.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use thiserror::Error;

use crate::{
    blocking,
    sync::{Arc, Mutex, lock},
};

/// The sender is gone and has sent nothing: whatever it should have confirmed will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the sender was dropped without a confirmation; what it should have confirmed did not end")]
pub struct Abandoned;

/// Why a wait on a plain thread ended without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WaitError {
    /// The limit passed. The receiver is as good as before: wait again, or await it.
    #[error("no confirmation came within {limit:?}; it may still come")]
    TimedOut {
        /// The limit that passed.
        limit: Duration,
    },
    /// The sender is gone.
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
}

/// A channel for one value.
///
/// ```
/// use std::{thread, time::Duration};
///
/// let (sender, mut receiver) = sundown::oneshot::channel();
/// let worker = thread::spawn(move || sender.send("all tabs are closed"));
/// assert_eq!(receiver.wait_blocking(Duration::from_secs(5)), Ok("all tabs are closed"));
/// # worker.join().unwrap().unwrap();
/// ```
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = Arc::new(Mutex::new(State::Empty));
    (Sender { state: Some(Arc::clone(&state)) }, Receiver { state })
}

/// Where the value is. The sender moves it to `Sent` or `Abandoned`, once; all else is the
/// receiver's doing.
enum State<T> {
    /// Nothing was sent and nobody waits.
    Empty,
    /// Nothing was sent, and the receiver is to be woken when something is.
    Waiting(Waker),
    /// Sent, and not received yet.
    Sent(T),
    /// The sender is gone and sent nothing, or the value has been received.
    Abandoned,
    /// The receiver is gone.
    Unwanted,
}

/// The end that confirms.
pub struct Sender<T> {
    /// `None` once the value is sent.
    state: Option<Arc<Mutex<State<T>>>>,
}

/// The end that is told. A future: `.await` it, or `&mut` it to keep it. Ready again after it was
/// ready, it is [`Abandoned`]: there is one value.
pub struct Receiver<T> {
    state: Arc<Mutex<State<T>>>,
}

impl<T> Sender<T> {
    /// Sends the value, and wakes the receiver. Never blocks.
    ///
    /// # Errors
    ///
    /// When the receiver is gone: the value comes back.
    pub fn send(mut self, value: T) -> Result<(), T> {
        match self.state.take() {
            Some(state) => put(&state, value),
            None => Err(value),
        }
    }

    /// Whether the receiver is gone, so that there is nobody left to confirm anything to.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.state.as_ref().is_none_or(|state| matches!(*lock(state), State::Unwanted))
    }
}

fn put<T>(state: &Mutex<State<T>>, value: T) -> Result<(), T> {
    let mut state = lock(state);
    if matches!(*state, State::Unwanted) {
        return Err(value);
    }
    let before = mem::replace(&mut *state, State::Sent(value));
    drop(state);
    // Somebody else's code: not under the lock.
    if let State::Waiting(waker) = before {
        waker.wake();
    }
    Ok(())
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let Some(state) = self.state.take() else { return };
        let mut state = lock(&state);
        if matches!(*state, State::Unwanted) {
            return;
        }
        let before = mem::replace(&mut *state, State::Abandoned);
        drop(state);
        if let State::Waiting(waker) = before {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// Waits on this thread, for at most so long; a limit of zero looks once, [`Duration::MAX`] is
    /// no limit. On a runtime's worker it blocks that worker: there, `.await` the receiver.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] when the limit passed, which loses nothing, and
    /// [`WaitError::Abandoned`] when the sender is gone.
    pub fn wait_blocking(&mut self, limit: Duration) -> Result<T, WaitError> {
        match blocking::wait(self, limit) {
            Some(received) => Ok(received?),
            None => Err(WaitError::TimedOut { limit }),
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Abandoned>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.state);
        match &*state {
            State::Waiting(waker) if waker.will_wake(context.waker()) => return Poll::Pending,
            State::Empty | State::Waiting(_) => {
                // Replaced also where an earlier future, now dropped, left its waker.
                let before = mem::replace(&mut *state, State::Waiting(context.waker().clone()));
                drop(state);
                drop(before);
                return Poll::Pending;
            }
            State::Sent(_) | State::Abandoned | State::Unwanted => {}
        }
        let found = mem::replace(&mut *state, State::Abandoned);
        drop(state);
        match found {
            State::Sent(value) => Poll::Ready(Ok(value)),
            _ => Poll::Ready(Err(Abandoned)),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let before = mem::replace(&mut *lock(&self.state), State::Unwanted);
        // A value that was not received, or a waker: somebody else's destructor, after the lock.
        drop(before);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
