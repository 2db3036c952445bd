//! The workload of every task: it registers for the signal, counts down, and waits. The future is the same
//! for every subject, and wraps the subject's own wait.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;

/// The state of a task in bytes: a timer and a little more.
const STATE: usize = 160;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Waits for the signal, and is measured.
    Measured,
    /// Waits for the signal, and its end is counted.
    Listening,
    /// Registers for the signal and ignores it; its end is counted.
    Deaf,
}

/// Counts down. It is a static, because only one group is measured at a time, and so it costs the
/// tasks no byte.
pub struct Countdown {
    left: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

/// How many tasks have not registered yet.
pub static UNREGISTERED: Countdown = Countdown::new();

/// How many counted tasks have completed, and how many were dropped before that.
pub static COMPLETED: AtomicUsize = AtomicUsize::new(0);
pub static ABORTED: AtomicUsize = AtomicUsize::new(0);

impl Countdown {
    /// A countdown at zero.
    pub const fn new() -> Self {
        Self { left: AtomicUsize::new(0), waker: Mutex::new(None) }
    }

    /// Starts from a number.
    pub fn begin(&self, n: usize) {
        self.left.store(n, Ordering::Release);
    }

    /// Counts one down.
    pub fn count(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            waker.map(Waker::wake).unwrap_or_default();
        }
    }

    /// Waits until it is at zero.
    pub async fn at_zero(&self) {
        poll_fn(|context| {
            let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if self.left.load(Ordering::Acquire) == 0 {
                return Poll::Ready(());
            }
            *waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

pin_project! {
    /// A task's future.
    pub struct Task<F> {
        #[pin]
        wait: F,
        work: Work,
        has_registered: bool,
        has_completed: bool,
        state: [u8; STATE],
    }

    impl<F> PinnedDrop for Task<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if *this.work != Work::Measured {
                let count = if *this.has_completed { &COMPLETED } else { &ABORTED };
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

impl Work {
    /// Wraps a wait for a signal.
    pub const fn on<F: Future>(self, wait: F) -> Task<F> {
        Task { wait, work: self, has_registered: false, has_completed: false, state: [0; STATE] }
    }
}

impl<F: Future> Future for Task<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if *this.has_registered && *this.work == Work::Deaf {
            return Poll::Pending;
        }
        if this.wait.poll(context).is_ready() {
            *this.has_completed = true;
            return Poll::Ready(());
        }
        if !*this.has_registered {
            *this.has_registered = true;
            UNREGISTERED.count();
        }
        Poll::Pending
    }
}
