//! Which member is being polled on this thread.
//!
//! A member leaves its waker in its seat once, before its body is polled. A [`Stop`](crate::stop) of
//! the same crew that is polled in there, with that waker, has nothing left to register: it needs no
//! lock and no waker of its own, only to know where it is polled.

use std::{cell::Cell, ptr, task::Waker};

use crate::crew::Crew;

/// A member in the middle of a poll. Pointers are compared, and never followed: while that poll
/// lasts, what they point to is borrowed, and nothing else can be at the same address.
struct Polled {
    crew: Cell<*const Crew>,
    /// The very waker that the member was given. A future that is polled in between may have wakers
    /// of its own, as a `FuturesUnordered` does, and must be woken by those.
    waker: Cell<*const Waker>,
}

impl Polled {
    const fn nobody() -> Self {
        Self { crew: Cell::new(ptr::null()), waker: Cell::new(ptr::null()) }
    }
}

#[cfg(not(loom))]
thread_local! {
    // Without a destructor, and so there as long as the thread is.
    static POLLED: Polled = const { Polled::nobody() };
}
#[cfg(loom)]
crate::sync::thread_local! {
    static POLLED: Polled = Polled::nobody();
}

/// Ends a poll, also by a panic.
struct End;

impl Drop for End {
    #[inline]
    fn drop(&mut self) {
        // Whoever polled this member in the middle of another's poll is not put back: the signals
        // in there register by themselves, and a turn of a loop is spared the looking.
        POLLED.with(|polled| polled.crew.set(ptr::null()));
    }
}

/// Polls the body of a member of this crew, which has left this waker.
#[inline]
pub(crate) fn poll<R>(crew: &Crew, waker: &Waker, body: impl FnOnce() -> R) -> R {
    POLLED.with(|polled| {
        polled.crew.set(crew);
        polled.waker.set(waker);
    });
    let _end = End;
    body()
}

/// Whether this is the poll of a member of this crew, with the waker that it has left.
#[inline]
pub(crate) fn is(crew: &Crew, waker: &Waker) -> bool {
    POLLED.with(|polled| ptr::eq(polled.crew.get(), crew) && ptr::eq(polled.waker.get(), waker))
}
