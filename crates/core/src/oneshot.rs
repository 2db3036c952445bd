//! A channel for one value, for example a confirmation.
//!
//! It differs from `tokio::sync::oneshot` in how the value is received: in async code of any
//! executor, or on a plain thread *with a limit*, or both in turn on the same receiver. Dropping a
//! future that awaits `&mut receiver` loses nothing.

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
    park,
    sync::{Arc, Mutex, MutexGuard, lock},
    waker,
};

/// The sender was dropped without sending a value.
#[derive(Clone, Copy, PartialEq, Eq, Error)]
#[error("the sender was dropped without a confirmation; what it should have confirmed did not end")]
pub struct Abandoned;

/// Why a wait on a plain thread ended without a value.
#[derive(Clone, Copy, PartialEq, Eq, Error)]
pub enum WaitError {
    /// The limit passed. The receiver remains valid: wait again, or await it.
    #[error("no confirmation came within {limit:?}; it may still come")]
    TimedOut {
        /// The limit that passed.
        limit: Duration,
    },
    /// The sender was dropped without sending, or the value has been received already.
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
}

crate::debug_as_text!(Abandoned, WaitError);

/// Makes a channel for one value.
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

/// Where the value is. The sender moves it to `Sent` or `Abandoned`, once; the receiver does the
/// rest.
enum State<T> {
    /// Nothing was sent, and nobody waits.
    Empty,
    /// Nothing was sent, and the receiver waits to be woken.
    Waiting(Waker),
    /// Sent, and not received yet.
    Sent(T),
    /// The sender is gone and sent nothing, or the value has been received.
    Abandoned,
    /// The receiver is gone.
    Unwanted,
}

/// The sending end.
pub struct Sender<T> {
    /// `None` once the value is sent.
    state: Option<Arc<Mutex<State<T>>>>,
}

/// The receiving end. It is a future: `.await` it, or await `&mut receiver` to keep it. After the value has
/// been received, it returns [`Abandoned`].
pub struct Receiver<T> {
    state: Arc<Mutex<State<T>>>,
}

impl<T> Sender<T> {
    /// Sends the value and wakes the receiver. Never blocks, unless the receiver's waker does. If that
    /// waker panics, the panic hook reports it, and the value stays for the receiver.
    ///
    /// # Errors
    ///
    /// The value, if the receiver was dropped.
    pub fn send(mut self, value: T) -> Result<(), T> {
        let Some(shared) = self.state.take() else { return Err(value) };
        let state = lock(&shared);
        if matches!(*state, State::Unwanted) {
            return Err(value);
        }
        settle(state, State::Sent(value));
        Ok(())
    }

    /// Whether the receiver was dropped, so that no value can be received.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.state.as_ref().is_none_or(|state| matches!(*lock(state), State::Unwanted))
    }
}

/// Ends the sender's part, and wakes the receiver if it waits.
fn settle<T>(mut state: MutexGuard<'_, State<T>>, to: State<T>) {
    let before = mem::replace(&mut *state, to);
    // A waker is caller code: do not hold the lock.
    drop(state);
    if let State::Waiting(waker) = before {
        // In place: there is nobody else whom it could delay.
        waker::wake_in_place(waker);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let Some(shared) = self.state.take() else { return };
        let state = lock(&shared);
        if !matches!(*state, State::Unwanted) {
            settle(state, State::Abandoned);
        }
    }
}

impl<T> Receiver<T> {
    /// Waits on a plain thread for the value.
    ///
    /// A limit of zero checks once; [`Duration::MAX`] means no limit. On a worker of a runtime this
    /// blocks the worker: `.await` the receiver there.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] if the limit passes, after which you can wait again, and
    /// [`WaitError::Abandoned`] if the sender was dropped or the value has been received.
    pub fn wait_blocking(&mut self, limit: Duration) -> Result<T, WaitError> {
        match park::wait(self, limit) {
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
            State::Sent(_) | State::Abandoned | State::Unwanted => return receive(state),
            State::Empty | State::Waiting(_) => drop(state),
        }
        // Cloning is caller code, which may use this channel: do not hold the lock.
        let Some(waker) = waker::clone(context.waker()) else { return Poll::Pending };
        state = lock(&self.state);
        // Check again under the lock: the sender may have come while the waker was cloned.
        if !matches!(*state, State::Empty | State::Waiting(_)) {
            let received = receive(state);
            waker::discard([waker]);
            return received;
        }
        let before = mem::replace(&mut *state, State::Waiting(waker));
        drop(state);
        // The waker before may be that of an earlier future, which was dropped.
        if let State::Waiting(waker) = before {
            waker::discard([waker]);
        }
        Poll::Pending
    }
}

/// Takes what the sender left.
fn receive<T>(mut state: MutexGuard<'_, State<T>>) -> Poll<Result<T, Abandoned>> {
    match mem::replace(&mut *state, State::Abandoned) {
        State::Sent(value) => Poll::Ready(Ok(value)),
        _ => Poll::Ready(Err(Abandoned)),
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let before = mem::replace(&mut *lock(&self.state), State::Unwanted);
        // A waker or a value that was not received: foreign destructors, not under the lock.
        if let State::Waiting(waker) = before {
            waker::discard([waker]);
        }
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
