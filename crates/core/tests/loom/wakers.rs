//! When the wakers of those who wait for a set are called, which may be foreign and block: after every set has
//! closed that could. And when another caller may be answered: after they have returned.

use std::{
    future::Future as _,
    // Not loom's: a waker is made of it.
    sync::Arc as StdArc,
    task::{Context, Wake, Waker},
    time::Duration,
};

use loom::{
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use sundown::{
    latch::Latch,
    task_set::{Label, TaskSet},
};

use crate::{Bound, beside, explore, member, must_be_caught, shared, task_set::signal};

/// What a waker says: that it was called, and whether that was too early. (A panic of a waker is caught.) Relaxed,
/// so that nothing but the answer orders it.
#[derive(Default)]
struct Call {
    was_made: AtomicBool,
    was_early: AtomicBool,
}

impl Call {
    fn was_made(&self) -> bool {
        self.was_made.load(Ordering::Relaxed)
    }

    fn was_early(&self) -> bool {
        self.was_early.load(Ordering::Relaxed)
    }
}

/// Looks when it is called whether that may be.
struct Looks<F> {
    may_be: F,
    call: Arc<Call>,
}

impl<F: Fn() -> bool + Send + Sync + 'static> Wake for Looks<F> {
    fn wake(self: StdArc<Self>) {
        self.call.was_early.store(!(self.may_be)(), Ordering::Relaxed);
        self.call.was_made.store(true, Ordering::Relaxed);
    }
}

fn looks(call: &Arc<Call>, may_be: impl Fn() -> bool + Send + Sync + 'static) -> Waker {
    Waker::from(StdArc::new(Looks { may_be, call: Arc::clone(call) }))
}

/// The last task leaves a child of a parent that stops, while somebody begins to wait for the child.
#[test]
fn wakers_are_called_when_the_sets_above_have_closed_and_no_waiter_is_missed() {
    explore("wakers, last task of a child against a waiter", Bound::Three, || {
        let parent = TaskSet::new();
        let child = parent.child(Label::new("child")).unwrap();
        let task = member(&child, |stop| stop).unwrap();
        parent.stop();
        let running = thread::spawn(move || block_on(task));
        let (call, above) = (shared::<Call>(), StdArc::downgrade(&parent));
        let waker = looks(&call, move || above.upgrade().unwrap().closed().has_fired());
        let mut waits = Box::pin(child.closed().wait());
        let is_pending = waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
        running.join().unwrap();
        assert!(parent.closed().has_fired());
        assert_eq!(call.was_made(), is_pending, "a waiter is never woken");
        assert!(!call.was_early(), "called before the parent has closed");
        drop(waits);
    });
}

/// Each set wakes those who wait for it, and then tells the one above.
#[test]
fn wakers_twin_that_calls_them_before_the_parent_knows_lets_one_delay_it() {
    let name = "wakers, called before the parent is told";
    must_be_caught(name, "called before the parent has closed", || {
        let (child, parent) = (Arc::new(Latch::new()), StdArc::new(Latch::new()));
        let above = StdArc::clone(&parent);
        let leaving = beside(&(Arc::clone(&child), parent), |(child, parent)| {
            child.fire();
            parent.fire();
        });
        let call = shared::<Call>();
        let waker = looks(&call, move || above.has_fired());
        let mut waits = Box::pin(child.wait());
        let _ = waits.as_mut().poll(&mut Context::from_waker(&waker));
        leaving.join().unwrap();
        assert!(!call.was_early(), "called before the parent has closed");
        drop(waits);
    });
}

/// What every caller does at the end.
fn answered(tasks: &TaskSet) {
    assert!(tasks.closed().wait_blocking(Duration::MAX));
    while tasks.helpers().are_alive() {
        thread::yield_now();
    }
}

#[test]
fn wakers_of_one_caller_have_returned_when_another_is_answered() {
    explore("wakers, last task against another caller", Bound::Three, || {
        let (tasks, call) = (TaskSet::new(), shared::<Call>());
        let task = member(&tasks, |stop| stop).unwrap();
        tasks.stop();
        let mut waits = Box::pin(tasks.closed().wait());
        let waker = looks(&call, || true);
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let running = thread::spawn(move || block_on(task));
        answered(&tasks);
        assert!(call.was_made(), "answered before a waker has returned");
        running.join().unwrap();
        drop(waits);
    });
}

/// The parent is answered for the wakers of a child's callers, too.
#[test]
fn wakers_of_a_child_have_returned_when_a_caller_of_its_parent_is_answered() {
    explore("wakers, last task of a child against its parent", Bound::Three, || {
        let (parent, call) = (TaskSet::new(), shared::<Call>());
        let child = parent.child(Label::new("child")).unwrap();
        let task = member(&child, |stop| stop).unwrap();
        parent.stop();
        let mut waits = Box::pin(child.closed().wait());
        let waker = looks(&call, || true);
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let running = thread::spawn(move || block_on(task));
        answered(&parent);
        assert!(call.was_made(), "answered before a waker has returned");
        running.join().unwrap();
        drop(waits);
    });
}

/// A stop calls the wakers of signals when the tasks know. They may end, and another thread closes the set.
#[test]
fn wakers_of_signals_have_returned_when_a_caller_is_answered() {
    explore("wakers, stop with a signal against the last task", Bound::Three, || {
        let (tasks, call) = (TaskSet::new(), shared::<Call>());
        let task = member(&tasks, |stop| stop).unwrap();
        let mut signal = Box::pin(signal(&tasks));
        let waker = looks(&call, || true);
        assert!(signal.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let stopping = beside(&tasks, |tasks| tasks.stop());
        block_on(task);
        answered(&tasks);
        assert!(call.was_made(), "answered before a waker has returned");
        stopping.join().unwrap();
    });
}

/// The calls are counted when the set has closed, and not before.
#[test]
fn wakers_twin_that_counts_them_too_late_answers_too_early() {
    let name = "wakers, counted when the set has closed";
    must_be_caught(name, "answered before a waker has returned", || {
        // Whether the set has closed, how many call wakers, and whether the waker was called.
        let twin = shared::<(AtomicBool, AtomicUsize, AtomicBool)>();
        let leaving = beside(&twin, |twin| {
            twin.0.store(true, Ordering::SeqCst);
            twin.1.fetch_add(1, Ordering::SeqCst);
            twin.2.store(true, Ordering::SeqCst);
            twin.1.fetch_sub(1, Ordering::SeqCst);
        });
        if twin.0.load(Ordering::SeqCst) && twin.1.load(Ordering::SeqCst) == 0 {
            let was_called = twin.2.load(Ordering::SeqCst);
            assert!(was_called, "answered before a waker has returned");
        }
        leaving.join().unwrap();
    });
}
