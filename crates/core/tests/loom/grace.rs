//! The second thread of a lane: it comes when a destructor takes long, and the destructor may be waiting for
//! it.

use loom::{
    sync::{Arc, Mutex},
    thread,
};
use std::time::Duration;
use sundown::{
    grace::{Found, Grace},
    latch::Latch,
};

use crate::{Bound, beside, explore, must_be_caught};

/// A lane, its blocking thread, and the supervisor.
#[derive(Default)]
struct Lane {
    grace: Grace,
    /// Whether the lane serves something: only then does the supervisor add a thread.
    serves: Mutex<bool>,
    second: Latch,
}

impl Lane {
    /// The supervisor, when the blocking thread reports a long destructor.
    fn look_at(&self) {
        // The shipped one would wait for another reason to look.
        assert!(*self.serves.lock().unwrap(), "there is no destructor yet");
        self.second.fire();
    }

    /// The blocking thread. A limit of zero has always passed.
    fn wait(&self, look: impl Fn(&Grace) -> Found) {
        self.grace.wait();
        loop {
            match look(&self.grace) {
                Found::NotBegun => thread::yield_now(),
                Found::Runs => return self.look_at(),
                Found::Returned => return,
            }
        }
    }

    /// The lane's thread: a destructor that waits for the second one, if it waits at all.
    fn drop_value(&self, destructor_waits: bool) {
        *self.serves.lock().unwrap() = true;
        self.grace.begin();
        if destructor_waits {
            assert!(self.second.wait_blocking(Duration::MAX));
        }
        self.grace.end();
    }
}

fn a_batch_is_given(destructor_waits: bool, look: impl Fn(&Grace) -> Found + 'static) {
    let lane = Arc::<Lane>::default();
    let blocking = beside(&lane, |lane| lane.wait(look));
    lane.grace.wake();
    lane.drop_value(destructor_waits);
    blocking.join().unwrap();
}

fn shipped(grace: &Grace) -> Found {
    grace.look(Duration::ZERO)
}

#[test]
fn grace_gets_a_destructor_that_waits_its_second_thread() {
    let model = || a_batch_is_given(true, shipped);
    explore("grace, a destructor waits for the second thread", Bound::Full, model);
}

#[test]
fn grace_lets_the_blocking_thread_go_when_the_destructor_returns() {
    let model = || a_batch_is_given(false, shipped);
    explore("grace, a destructor returns", Bound::Full, model);
}

#[test]
fn grace_twin_that_counts_before_the_destructor_begins_leaves_it_alone() {
    let at_once = |grace: &Grace| match grace.look(Duration::ZERO) {
        Found::NotBegun => Found::Runs,
        found => found,
    };
    let model = move || a_batch_is_given(false, at_once);
    must_be_caught("grace, counted from the wake-up", "no destructor yet", model);
}
