//! How a runtime comes to rest: who is gathered, kept and held, and who is let go when. The threads have no
//! scheduler here, and otherwise come to the same places in the same order as those of the runtime.

use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use sundown::{roll_call::RollCall, this_thread};

use crate::{Bound, beside, explore, must_be_caught, shared};

/// The owner thread and two threads of the pool.
#[derive(Clone)]
struct Threads {
    roll: Arc<RollCall>,
    /// Whether the pool refuses work.
    refuses: Arc<(Mutex<bool>, Condvar)>,
    /// Whether all tasks have been dropped. Relaxed: the roll call has to publish it.
    dropped: Arc<AtomicBool>,
}

impl Threads {
    /// All are gathered, and workers that go idle are kept.
    fn catching() -> Self {
        let threads = Self::new();
        threads.roll.catch();
        threads
    }

    fn new() -> Self {
        Self { roll: Arc::new(RollCall::new()), refuses: shared(), dropped: shared() }
    }

    /// Runs this on a thread of the pool.
    fn spawn(&self, number: usize, run: fn(&Self)) -> thread::JoinHandle<()> {
        beside(self, move |threads| {
            this_thread::set_number(number);
            threads.roll.started();
            run(&threads);
            threads.roll.stopped();
        })
    }

    fn refuses(&self) -> bool {
        *self.refuses.0.lock().unwrap()
    }

    fn poll(&self) {
        assert!(!self.refuses(), "polls while the pool refuses work");
    }

    /// A worker that has nothing to do any more.
    fn goes_idle(&self) {
        if self.roll.parking() {
            let mut refuses = self.refuses.0.lock().unwrap();
            while !*refuses {
                refuses = self.refuses.1.wait(refuses).unwrap();
            }
            drop(refuses);
            self.dropped.store(true, Ordering::Relaxed);
        }
    }

    /// A worker that always has something to do.
    fn is_busy(&self) {
        self.poll();
        self.roll.hold();
        self.polls_what_is_left();
    }

    fn polls_what_is_left(&self) {
        assert!(self.dropped.load(Ordering::Relaxed), "polls while tasks are left");
    }

    /// The owner thread, from when all are gathered up to the drop of the runtime.
    fn bring(&self) {
        assert!(self.roll.until_one_kept(None));
        assert!(self.roll.until_at_rest(2, None));
    }

    fn drop_runtime(&self) {
        self.roll.close(None);
        *self.refuses.0.lock().unwrap() = true;
        self.refuses.1.notify_all();
    }
}

#[test]
fn roll_call_holds_the_others_until_the_worker_that_was_kept_has_ended() {
    explore("roll call, one goes idle and one is busy", Bound::Three, || {
        let threads = Threads::catching();
        let workers = [threads.spawn(1, Threads::goes_idle), threads.spawn(2, Threads::is_busy)];
        threads.bring();
        threads.drop_runtime();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(!threads.roll.went_early());
    });
}

#[test]
fn roll_call_keeps_every_worker_that_goes_idle() {
    explore("roll call, both go idle", Bound::Three, || {
        let threads = Threads::catching();
        let workers = [1, 2].map(|number| threads.spawn(number, Threads::goes_idle));
        threads.bring();
        threads.drop_runtime();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(threads.dropped.load(Ordering::Relaxed));
    });
}

/// A worker that was gathered does not miss that it is to be kept, or nothing would wake it again.
#[test]
fn roll_call_keeps_a_worker_that_was_gathered() {
    explore("roll call, a worker is gathered", Bound::Full, || {
        let threads = Threads::new();
        threads.roll.expect(1);
        let worker = threads.spawn(1, |threads| {
            threads.roll.gather();
            threads.goes_idle();
        });
        assert!(threads.roll.until_gathered(1, None));
        assert!(threads.roll.until_one_kept(None));
        threads.drop_runtime();
        worker.join().unwrap();
    });
}

/// A thread that starts late runs blocking work, and tasks wait for that.
#[test]
fn roll_call_lets_newcomers_wait_for_the_end() {
    explore("roll call, a newcomer", Bound::Three, || {
        let threads = Threads::catching();
        threads.roll.started();
        threads.roll.let_newcomers_wait();
        let newcomer = threads.spawn(1, Threads::polls_what_is_left);
        let worker = beside(&threads, |threads| {
            this_thread::set_number(2);
            threads.goes_idle();
            threads.roll.stopped();
        });
        assert!(threads.roll.until_one_kept(None));
        threads.drop_runtime();
        worker.join().unwrap();
        newcomer.join().unwrap();
    });
}

#[test]
fn roll_call_a_release_lets_everybody_go_wherever_they_are() {
    explore("roll call, a release against two workers", Bound::Three, || {
        let threads = Threads::catching();
        let workers = [
            threads.spawn(1, |threads| {
                assert!(!threads.roll.parking(), "nobody was let out to drop tasks");
            }),
            threads.spawn(2, |threads| threads.roll.hold()),
        ];
        threads.roll.release();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

/// Drops the runtime as soon as one worker is kept.
#[test]
fn roll_call_twin_that_does_not_wait_for_the_others_polls_in_a_closed_runtime() {
    let says = "polls while the pool refuses work";
    must_be_caught("roll call, one is kept and the others are not held", says, || {
        let threads = Threads::catching();
        let workers = [threads.spawn(1, Threads::goes_idle), threads.spawn(2, Threads::is_busy)];
        assert!(threads.roll.until_one_kept(None));
        threads.drop_runtime();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

/// Leaves the hook when it is let out, and not when the pool refuses work. A task wakes it before that.
#[test]
fn roll_call_twin_that_leaves_before_the_pool_refuses_polls_in_a_closed_runtime() {
    let says = "polls while the pool refuses work";
    must_be_caught("roll call, let out and not waiting for the pool", says, || {
        let threads = Threads::catching();
        let worker = threads.spawn(1, |threads| {
            if threads.roll.parking() && !threads.refuses() {
                threads.poll();
            }
        });
        assert!(threads.roll.until_one_kept(None));
        threads.drop_runtime();
        worker.join().unwrap();
    });
}

/// Lets the held ones go when the closing begins, and not when the kept one has ended.
#[test]
fn roll_call_twin_that_lets_all_go_at_once_polls_while_tasks_are_left() {
    must_be_caught("roll call, let go at the closing", "polls while tasks are left", || {
        let threads = Threads::catching();
        let workers = [threads.spawn(1, Threads::goes_idle), threads.spawn(2, Threads::is_busy)];
        threads.bring();
        threads.drop_runtime();
        threads.roll.release();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}
