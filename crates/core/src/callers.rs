//! Who waits for the end of tasks, and when each of them would have the tasks aborted.
//!
//! Each caller of a shutdown has a limit of its own. A short limit must not take the time from the tasks
//! that a more patient caller gave them. So each caller registers when it comes in, and one whose time
//! has come aborts only if none of the others is more patient.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use smallvec::SmallVec;

use crate::{
    sync::{Mutex, lock},
    waker::{self, Helpers, ToWake, Wakers},
};

/// When a caller would have the tasks aborted. The later, the more patient the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AbortAt {
    /// At this moment.
    Moment(Instant),
    /// The clock cannot represent the moment.
    Never,
}

impl From<Option<Instant>> for AbortAt {
    fn from(moment: Option<Instant>) -> Self {
        moment.map_or(Self::Never, Self::Moment)
    }
}

/// Whether a shutdown that was not in time left the abort to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// No: everything has ended, or this caller has aborted what had not.
    Own,
    /// Yes, some or all of the tasks: another caller has given them more time.
    Another,
}

/// The callers that wait for the same tasks.
#[derive(Default)]
pub struct Callers {
    waiting: Mutex<Waiting>,
    /// Of the component that they wait for.
    helpers: Option<Arc<Helpers>>,
}

#[derive(Default)]
struct Waiting {
    /// The number of the next caller.
    next: u64,
    /// Usually there is one caller, who must not pay for an allocation.
    entries: SmallVec<[Entry; 1]>,
}

struct Entry {
    number: u64,
    abort_at: AbortAt,
    /// Of a caller whose time has come while another was more patient.
    waker: Option<Waker>,
}

/// One caller. It leaves when this is dropped.
pub struct Caller<'a> {
    callers: &'a Callers,
    number: u64,
    abort_at: AbortAt,
    /// Whether it leaves before it has an answer.
    gives_up: bool,
}

impl Callers {
    /// Those that wait for this component.
    pub(crate) fn of(helpers: &Arc<Helpers>) -> Self {
        Self { helpers: Some(Arc::clone(helpers)), ..Self::default() }
    }

    /// Registers a caller.
    pub fn enter(&self, abort_at: AbortAt) -> Caller<'_> {
        let mut waiting = lock(&self.waiting);
        let number = waiting.next;
        waiting.next += 1;
        waiting.entries.push(Entry { number, abort_at, waker: None });
        drop(waiting);
        Caller { callers: self, number, abort_at, gives_up: true }
    }

    /// Whether any caller is more patient.
    pub fn are_more_patient(&self, than: AbortAt) -> bool {
        lock(&self.waiting).entries.iter().any(|entry| entry.abort_at > than)
    }
}

impl Caller<'_> {
    /// When it would have the tasks aborted.
    pub const fn abort_at(&self) -> AbortAt {
        self.abort_at
    }

    /// Completes when no other caller is more patient.
    pub fn is_last(&self) -> impl Future<Output = ()> {
        poll_fn(|context| self.poll_last(context))
    }

    fn poll_last(&self, context: &Context<'_>) -> Poll<()> {
        // Cloned before the lock is taken: a waker is foreign code.
        let Some(new) = waker::clone(context.waker()) else { return Poll::Pending };
        let mut waiting = lock(&self.callers.waiting);
        let is_last = !waiting.entries.iter().any(|entry| entry.abort_at > self.abort_at);
        let unused = match waiting.entries.iter_mut().find(|entry| entry.number == self.number) {
            // Under the lock that a more patient caller takes to leave. So that one either has left
            // already, or will find this waker.
            Some(entry) if !is_last => entry.waker.replace(new),
            _ => Some(new),
        };
        drop(waiting);
        waker::discard(unused);
        if is_last { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Leaves with an answer. The tasks have ended, or it was this caller's turn to abort them, or
    /// another caller is more patient still.
    pub fn leave(mut self) {
        self.gives_up = false;
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.callers.waiting);
        let at = waiting.entries.iter().position(|entry| entry.number == self.number);
        let left = at.map(|at| waiting.entries.swap_remove(at));
        // A caller that goes away without an answer leaves the abort to those whose time has come.
        let wakers = match self.gives_up {
            true => waiting.entries.iter_mut().filter_map(|entry| entry.waker.take()).collect(),
            false => Wakers::new(),
        };
        // Under the lock that another caller takes to leave, before it looks for threads.
        let to_wake =
            (!wakers.is_empty()).then(|| ToWake::new(self.callers.helpers.as_ref(), wakers));
        drop(waiting);
        waker::discard(left.and_then(|entry| entry.waker));
        if to_wake.is_some() {
            waker::wake(to_wake);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        pin::{Pin, pin},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        task::Wake,
        time::Duration,
    };

    use super::*;
    use crate::limit::PLENTY;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn is_ready(future: Pin<&mut impl Future<Output = ()>>, waker: &Waker) -> bool {
        future.poll(&mut Context::from_waker(waker)).is_ready()
    }

    #[test]
    fn only_the_most_patient_caller_is_the_last() {
        let callers = Callers::default();
        let now = Instant::now();
        let moments = [AbortAt::Moment(now), AbortAt::Moment(now + Duration::from_secs(1))];
        let entered = moments.map(|moment| callers.enter(moment));
        let same = callers.enter(moments[1]);
        let is_last = |caller: &Caller<'_>| is_ready(pin!(caller.is_last()), Waker::noop());
        assert!(!is_last(&entered[0]) && is_last(&entered[1]) && is_last(&same));
        let never = callers.enter(None.into());
        assert!(!is_last(&entered[1]) && is_last(&never));
        assert!(callers.are_more_patient(moments[1]) && !callers.are_more_patient(AbortAt::Never));
    }

    #[test]
    fn a_caller_that_goes_away_without_an_answer_leaves_the_abort_to_the_others() {
        let counting = Arc::new(Counting::default());
        let waker = Waker::from(Arc::clone(&counting));
        let woken = || counting.0.load(Ordering::SeqCst);
        let callers = Callers::default();
        let impatient = callers.enter(AbortAt::Moment(Instant::now()));
        let is_last = || is_ready(pin!(impatient.is_last()), &waker);
        assert!(is_last(), "it is alone");
        let patient = callers.enter(AbortAt::Never);
        for _ in 0..2 {
            assert!(!is_last());
        }
        drop(patient);
        // On another thread, which may be late on a busy machine.
        while woken() == 0 {}
        assert_eq!(woken(), 1);
        assert!(is_last());
        // One that has its answer need not wake anybody: everyone else has it, too, or waits on.
        let answered = callers.enter(AbortAt::Never);
        assert!(!is_last());
        answered.leave();
        assert_eq!(woken(), 1);
        drop(impatient);
        assert_eq!(Arc::strong_count(&counting), 2, "no waker is kept");
    }

    /// Says that it was called, and blocks until it is let go.
    struct Blocking(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);

    impl Wake for Blocking {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
            let _ = lock(&self.1).recv_timeout(PLENTY);
        }
    }

    #[test]
    fn the_drop_of_a_caller_is_not_late_for_the_waker_of_another_which_is_known_until_it_returns() {
        let helpers = Helpers::none();
        let callers = Callers::of(&helpers);
        let (calls, called) = mpsc::channel();
        let (let_go, is_let_go) = mpsc::channel();
        let waker = Waker::from(Arc::new(Blocking(calls, Mutex::new(is_let_go))));
        let impatient = callers.enter(AbortAt::Moment(Instant::now()));
        let patient = callers.enter(AbortAt::Never);
        assert!(!is_ready(pin!(impatient.is_last()), &waker));
        let began = Instant::now();
        drop(patient);
        assert!(began.elapsed() < PLENTY / 2, "the drop waits for the waker");
        assert!(called.recv_timeout(PLENTY).is_ok() && helpers.are_alive());
        drop(let_go);
        while helpers.are_alive() {
            assert!(began.elapsed() < PLENTY, "the waker has returned");
        }
    }
}
