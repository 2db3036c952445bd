//! How a runtime comes to rest: who is kept at the start, and who is let go when. The threads have no
//! scheduler here, and otherwise come to the same places in the same order as those of the runtime.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use sundown::{roll_call::RollCall, this_thread};

use crate::{Bound, beside, explore, must_be_caught, shared};

/// The owner thread, the warden and one other worker.
#[derive(Clone)]
struct Threads {
    roll: Arc<RollCall>,
    /// Whether all tasks have been dropped. Relaxed: the roll call has to publish it.
    dropped: Arc<AtomicBool>,
}

impl Threads {
    fn new() -> Self {
        Self { roll: Arc::new(RollCall::new(2)), dropped: shared() }
    }

    /// A worker: it comes in, goes idle for the first time, and either is the warden, or works until it is
    /// held. Returns whether it was the warden, and let out to drop the tasks.
    fn worker(&self, number: usize, is_held: bool) -> bool {
        this_thread::set_number(number);
        self.roll.started();
        let is_let_out = self.roll.parking(|| {});
        if is_let_out {
            self.dropped.store(true, Ordering::Relaxed);
        } else if is_held {
            self.roll.hold(|_| false);
            assert!(self.dropped.load(Ordering::Relaxed), "polls while tasks are left");
        }
        self.roll.stopped();
        is_let_out
    }

    fn spawn(&self, are_held: bool) -> [thread::JoinHandle<bool>; 2] {
        [1, 2].map(|number| beside(self, move |threads| threads.worker(number, are_held)))
    }
}

fn wardens(workers: [thread::JoinHandle<bool>; 2]) -> usize {
    workers.into_iter().map(|worker| usize::from(worker.join().unwrap())).sum()
}

#[test]
fn roll_call_keeps_one_worker_and_lets_the_others_go_when_it_has_ended() {
    explore("roll call, from the start to the end", Bound::Three, || {
        let threads = Threads::new();
        let workers = threads.spawn(true);
        assert!(threads.roll.begun(None), "one is kept");
        assert!(threads.roll.until_held(1, None));
        threads.roll.close();
        assert_eq!(wardens(workers), 1);
        assert!(!threads.roll.went_early());
    });
}

#[test]
fn roll_call_a_release_lets_everybody_go_wherever_they_are() {
    explore("roll call, a release against the start", Bound::Three, || {
        let threads = Threads::new();
        let workers = threads.spawn(false);
        threads.roll.release();
        assert!(!threads.roll.begun(None) && !threads.roll.has_warden());
        assert_eq!(wardens(workers), 0, "nobody was let out to drop tasks");
    });
}

/// Lets the held ones go when the closing begins, and not when the warden has ended.
#[test]
fn roll_call_twin_that_lets_all_go_at_once_polls_while_tasks_are_left() {
    must_be_caught("roll call, let go at the closing", "polls while tasks are left", || {
        let twin = shared::<(loom::sync::Mutex<bool>, loom::sync::Condvar, AtomicBool)>();
        let wait = |twin: &(loom::sync::Mutex<bool>, loom::sync::Condvar, AtomicBool)| {
            let mut closing = twin.0.lock().unwrap();
            while !*closing {
                closing = twin.1.wait(closing).unwrap();
            }
        };
        let warden = beside(&twin, move |twin| {
            wait(&twin);
            twin.2.store(true, Ordering::SeqCst);
        });
        let held = beside(&twin, move |twin| {
            wait(&twin);
            assert!(twin.2.load(Ordering::SeqCst), "polls while tasks are left");
        });
        *twin.0.lock().unwrap() = true;
        twin.1.notify_all();
        warden.join().unwrap();
        held.join().unwrap();
    });
}
