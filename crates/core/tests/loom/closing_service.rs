//! The leases and the lanes of the closing service. The threads here have no runtime: a batch is served by
//! saying so, and finished by the thread of its lane.

use std::{sync::Arc, time::Instant};

use loom::{
    future::block_on,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use sundown::{
    latch::Latch,
    schedule::{Added, Next, Schedule},
    slot::Slot,
};

use crate::{Bound, beside, explore, must_be_caught};

type Batch = Arc<AtomicBool>;

/// The schedule, or a broken one.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Shipped,
    /// A batch has no lease of its own.
    WithoutLease,
    /// A service that ends takes batches.
    TakesLate,
    /// A service that ends takes a lease again.
    Revives,
    /// A second thread is not counted.
    Uncounted,
}

struct Service {
    rule: Rule,
    /// Loom knows no time: it is the same all along.
    now: Instant,
    schedule: Mutex<Schedule<Batch, Arc<Lane>>>,
    /// The lane, while it serves a batch.
    serving: Mutex<Option<Batch>>,
    ended: Latch,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    /// How many threads have not come to their end.
    working: AtomicUsize,
    /// How many batches have been taken and not served.
    pending: AtomicUsize,
}

struct Lane {
    slot: Slot<Batch>,
}

impl PartialEq for Lane {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Service {
    /// A service with one lease and an open lane. The lane's thread is the supervisor, too.
    fn start(rule: Rule) -> Arc<Self> {
        let service = Arc::new(Self {
            rule,
            now: Instant::now(),
            schedule: Mutex::new(Schedule::new()),
            serving: Mutex::new(None),
            ended: Latch::new(),
            threads: Mutex::new(Vec::new()),
            working: AtomicUsize::new(1),
            pending: AtomicUsize::new(0),
        });
        let look = service.schedule.lock().unwrap().look(service.now);
        assert!(look.is_some_and(|look| look.start == 1));
        let lane = Arc::new(Lane { slot: Slot::new() });
        service.schedule.lock().unwrap().lane_is_open(Arc::clone(&lane));
        service.spawn(move |service| service.run_lane(&lane));
        service
    }

    fn spawn(self: &Arc<Self>, body: impl FnOnce(&Arc<Self>) + 'static) {
        let mut threads = self.threads.lock().unwrap();
        threads.push(beside(self, move |service| {
            body(&service);
            service.thread_ends();
        }));
    }

    fn thread_ends(&self) {
        // Relaxed here and below: the locks and the latch order these.
        self.working.fetch_sub(1, Ordering::Relaxed);
        let is_last = self.schedule.lock().unwrap().thread_ends();
        if is_last {
            self.ended.fire();
        }
    }

    fn run_lane(&self, lane: &Arc<Lane>) {
        loop {
            let next = self.schedule.lock().unwrap().lane_is_idle(lane, self.now);
            let batch = match next {
                Next::Serve(batch) => batch,
                Next::Wait => match lane.slot.wait() {
                    Some(batch) => batch,
                    None => break,
                },
                Next::End => break,
            };
            *self.serving.lock().unwrap() = Some(Arc::clone(&batch));
            assert!(!batch.swap(true, Ordering::Relaxed), "served twice");
            *self.serving.lock().unwrap() = None;
            self.pending.fetch_sub(1, Ordering::Relaxed);
            if self.rule != Rule::WithoutLease {
                self.give_back();
            }
        }
        self.schedule.lock().unwrap().lane_ends(lane);
    }

    /// What the supervisor does for a lane whose thread may not suffice.
    fn add_second(self: &Arc<Self>) {
        let serving = self.serving.lock().unwrap();
        if serving.is_some() {
            let is_counted = self.rule != Rule::Uncounted;
            if is_counted {
                self.schedule.lock().unwrap().thread_starts();
            }
            self.working.fetch_add(1, Ordering::Relaxed);
            let service = Arc::clone(self);
            self.threads.lock().unwrap().push(thread::spawn(move || {
                thread::yield_now();
                match is_counted {
                    true => service.thread_ends(),
                    false => _ = service.working.fetch_sub(1, Ordering::Relaxed),
                }
            }));
        }
    }

    fn give_back(&self) {
        let mut schedule = self.schedule.lock().unwrap();
        let idle = schedule.give_back();
        // No lane would be started for it any more.
        let is_lost = schedule.is_ending() && self.pending.load(Ordering::Relaxed) > 0;
        assert!(!is_lost, "ends with a batch pending");
        drop(schedule);
        idle.iter().for_each(|lane| lane.slot.end());
    }

    fn try_lease(&self) -> bool {
        let mut schedule = self.schedule.lock().unwrap();
        schedule.try_lease() || self.rule == Rule::Revives
    }

    /// Adds a batch that has become pending. Returns `false` if the service takes none any more.
    fn add(&self, batch: &Batch) -> bool {
        let mut schedule = self.schedule.lock().unwrap();
        let added = schedule.add(Arc::clone(batch), false, self.now);
        if let Added::Ended(_) = added {
            return self.rule == Rule::TakesLate;
        }
        self.pending.fetch_add(1, Ordering::Relaxed);
        if self.rule == Rule::WithoutLease {
            assert!(schedule.give_back().is_empty(), "the caller has another lease");
        }
        drop(schedule);
        if let Added::ToLane(lane, batch) = added {
            lane.slot.serve(batch);
        }
        true
    }

    /// Waits for the end, as whoever gave the last lease back does.
    fn wait_until_ended(&self) {
        block_on(self.ended.wait());
        assert_eq!(self.working.load(Ordering::Relaxed), 0, "a thread still works");
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// A value arrives while the last lease is given back.
fn a_value_arrives(rule: Rule) {
    let (service, batch) = (Service::start(rule), Batch::default());
    let arrives =
        beside(&(Arc::clone(&service), Arc::clone(&batch)), |(service, batch)| service.add(&batch));
    service.give_back();
    let was_taken = arrives.join().unwrap();
    service.wait_until_ended();
    assert_eq!(batch.load(Ordering::Relaxed), was_taken, "taken and not served");
}

/// The last lease but that of a pending batch is given back.
fn a_batch_is_pending(rule: Rule) {
    let (service, batch) = (Service::start(rule), Batch::default());
    assert!(service.add(&batch));
    service.give_back();
    service.wait_until_ended();
    assert!(batch.load(Ordering::Relaxed), "ended before the batch");
}

/// The supervisor adds a second thread to the lane while its batch is finished.
fn a_second_thread_comes_late(rule: Rule) {
    let (service, batch) = (Service::start(rule), Batch::default());
    service.schedule.lock().unwrap().thread_starts();
    service.working.fetch_add(1, Ordering::Relaxed);
    service.spawn(Service::add_second);
    assert!(service.add(&batch));
    service.give_back();
    service.wait_until_ended();
}

/// A session takes a lease, has a value torn down, and waits for the end of its service.
fn open_and_close(current: &Mutex<Arc<Service>>) {
    let service = {
        let mut current = current.lock().unwrap();
        if !current.try_lease() {
            *current = Service::start(current.rule);
        }
        Arc::clone(&current)
    };
    let batch = Batch::default();
    assert!(service.add(&batch), "refused with a lease");
    service.give_back();
}

/// A session starts while the last one ends.
fn a_session_starts(rule: Rule) {
    let service = Service::start(rule);
    let current = Arc::new(Mutex::new(Arc::clone(&service)));
    let starts = beside(&current, |current| open_and_close(&current));
    service.give_back();
    service.wait_until_ended();
    starts.join().unwrap();
    let last = Arc::clone(&current.lock().unwrap());
    last.wait_until_ended();
}

#[test]
fn closing_service_takes_a_value_and_serves_it_or_says_that_it_ends() {
    let model = || a_value_arrives(Rule::Shipped);
    explore("closing service, a value arrives at the end", Bound::Three, model);
}

#[test]
fn closing_service_ends_after_the_last_pending_batch() {
    let model = || a_batch_is_pending(Rule::Shipped);
    explore("closing service, a batch is pending at the end", Bound::Three, model);
}

#[test]
fn closing_service_waits_for_a_second_thread_that_came_late() {
    let model = || a_second_thread_comes_late(Rule::Shipped);
    explore("closing service, a late second thread", Bound::Three, model);
}

#[test]
fn closing_service_that_ends_gives_way_to_a_new_one() {
    let model = || a_session_starts(Rule::Shipped);
    explore("closing service, a session starts at the end", Bound::Three, model);
}

#[test]
fn closing_service_twin_that_takes_values_at_its_end_loses_them() {
    let model = || a_value_arrives(Rule::TakesLate);
    must_be_caught("closing service, takes values too late", "taken and not served", model);
}

#[test]
fn closing_service_twin_whose_batches_have_no_lease_ends_with_one_pending() {
    let model = || a_batch_is_pending(Rule::WithoutLease);
    must_be_caught("closing service, batches without a lease", "pending", model);
}

#[test]
fn closing_service_twin_that_does_not_count_a_second_thread_ends_before_it() {
    let model = || a_second_thread_comes_late(Rule::Uncounted);
    must_be_caught("closing service, an uncounted thread", "a thread still works", model);
}

#[test]
fn closing_service_twin_that_takes_a_lease_at_its_end_refuses_its_session() {
    let model = || a_session_starts(Rule::Revives);
    must_be_caught("closing service, revived", "refused with a lease", model);
}
