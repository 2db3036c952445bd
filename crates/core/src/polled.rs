//! Which member is being polled on this thread.
//!
//! A member leaves its waker in its seat once, before its body is polled. A [`Stop`](crate::stop)
//! that is polled in there, with that waker, has nothing left to register: it needs no lock and no
//! waker of its own, only to know that this is where it is polled.

use std::{
    cell::Cell,
    ptr,
    task::{RawWakerVTable, Waker},
};

use crate::{crew::Crew, registry::Seat};

/// A member in the middle of a poll. Pointers are compared, and never followed: while that poll
/// lasts, what they point to is borrowed, and nothing else can be at the same address.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Polled {
    crew: *const Crew,
    seat: Seat,
    /// What makes a waker the same as another: a future that is polled in between, such as a
    /// `FuturesUnordered`, has wakers of its own.
    data: *const (),
    vtable: *const RawWakerVTable,
}

const NOBODY: Polled =
    Polled { crew: ptr::null(), seat: Seat::NOWHERE, data: ptr::null(), vtable: ptr::null() };

#[cfg(not(loom))]
thread_local! {
    // Without a destructor, and so there as long as the thread is.
    static POLLED: Cell<Polled> = const { Cell::new(NOBODY) };
}
#[cfg(loom)]
crate::sync::thread_local! {
    static POLLED: Cell<Polled> = Cell::new(NOBODY);
}

impl Polled {
    #[inline]
    fn new(crew: &Crew, seat: Seat, waker: &Waker) -> Self {
        Self { crew, seat, data: waker.data(), vtable: waker.vtable() }
    }
}

/// Puts back who was polled before: a member may be polled in the middle of another.
struct Before(Polled);

impl Drop for Before {
    #[inline]
    fn drop(&mut self) {
        POLLED.with(|polled| polled.set(self.0));
    }
}

/// Polls the body of the member in this seat.
#[inline]
pub(crate) fn poll<R>(crew: &Crew, seat: Seat, waker: &Waker, body: impl FnOnce() -> R) -> R {
    let member = Polled::new(crew, seat, waker);
    let _before = Before(POLLED.with(|polled| polled.replace(member)));
    body()
}

/// Whether this is the poll of the member in this seat, with the waker that it left there.
#[inline]
pub(crate) fn is(crew: &Crew, seat: Seat, waker: &Waker) -> bool {
    POLLED.with(Cell::get) == Polled::new(crew, seat, waker)
}
