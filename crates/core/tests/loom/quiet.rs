//! The rule by which the closing service decides that everything has ended, beside a model of Tokio's
//! blocking pool: at most one thread takes closures, and it exits, outside the pool's lock, when it finds
//! none. So one thread may be on its way out while the next runs.

use std::{collections::VecDeque, mem, sync::Arc};

use loom::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use sundown::quiet::Quiet;

use crate::{Bound, explore, must_be_caught};

/// The rule, as the lane uses it.
trait Rule: Default + 'static {
    /// Whether it is a mistake that it answers more than once.
    const ONCE: bool = true;

    fn begin(&mut self);
    fn end(&mut self);
    fn post(&mut self) -> Option<u64>;
    fn on_fence(&mut self, epoch: u64, thread: usize);
    fn on_thread_exit(&mut self, thread: usize);
    fn finish(&mut self, tasks: usize) -> bool;
}

impl Rule for Quiet {
    fn begin(&mut self) {
        self.begin();
    }

    fn end(&mut self) {
        self.end();
    }

    fn post(&mut self) -> Option<u64> {
        self.post()
    }

    fn on_fence(&mut self, epoch: u64, thread: usize) {
        self.on_fence(epoch, thread);
    }

    fn on_thread_exit(&mut self, thread: usize) {
        self.on_thread_exit(thread);
    }

    fn finish(&mut self, tasks: usize) -> bool {
        self.finish(tasks)
    }
}

/// Counts fences instead of giving each an epoch: so a fence vouches for whatever ends before it passes.
#[derive(Default)]
struct WithoutEpoch {
    active: usize,
    posted: usize,
    ran: usize,
    ran_on: usize,
    has_exited: bool,
}

impl Rule for WithoutEpoch {
    const ONCE: bool = false;

    fn begin(&mut self) {
        self.active += 1;
    }

    fn end(&mut self) {
        self.active -= 1;
    }

    fn post(&mut self) -> Option<u64> {
        if self.active > 0 {
            return None;
        }
        self.posted += 1;
        Some(0)
    }

    fn on_fence(&mut self, _: u64, thread: usize) {
        self.ran += 1;
        (self.ran_on, self.has_exited) = (thread, false);
    }

    fn on_thread_exit(&mut self, thread: usize) {
        self.has_exited |= thread == self.ran_on;
    }

    fn finish(&mut self, tasks: usize) -> bool {
        self.active == 0 && self.ran == self.posted && self.has_exited && tasks == 0
    }
}

/// Vouches when the fence runs, not when its thread exits.
#[derive(Default)]
struct WithoutExit(Quiet);

impl Rule for WithoutExit {
    fn begin(&mut self) {
        self.0.begin();
    }

    fn end(&mut self) {
        self.0.end();
    }

    fn post(&mut self) -> Option<u64> {
        self.0.post()
    }

    fn on_fence(&mut self, epoch: u64, thread: usize) {
        self.0.on_fence(epoch, thread);
        self.0.on_thread_exit(thread);
    }

    fn on_thread_exit(&mut self, _: usize) {}

    fn finish(&mut self, tasks: usize) -> bool {
        self.0.finish(tasks)
    }
}

/// Answers `true` again and again.
#[derive(Default)]
struct Repeats(Quiet, bool);

impl Rule for Repeats {
    fn begin(&mut self) {
        self.1 = false;
        self.0.begin();
    }

    fn end(&mut self) {
        self.0.end();
    }

    fn post(&mut self) -> Option<u64> {
        self.0.post()
    }

    fn on_fence(&mut self, epoch: u64, thread: usize) {
        self.0.on_fence(epoch, thread);
    }

    fn on_thread_exit(&mut self, thread: usize) {
        self.0.on_thread_exit(thread);
    }

    fn finish(&mut self, tasks: usize) -> bool {
        self.1 |= self.0.finish(tasks);
        self.1
    }
}

type Closure<R> = Box<dyn FnOnce(&Arc<Lane<R>>, usize) + Send>;

/// A lane: its state, and the blocking pool of its runtime.
struct Lane<R> {
    state: Mutex<State<R>>,
    pool: Mutex<Pool<R>>,
    tasks: AtomicUsize,
    /// How many closers have been started and have not ended.
    closers: AtomicUsize,
}

struct State<R> {
    values: usize,
    rule: R,
    is_finished: bool,
}

struct Pool<R> {
    queue: VecDeque<Closure<R>>,
    /// Whether a thread takes closures.
    has_thread: bool,
    threads: Vec<thread::JoinHandle<()>>,
}

impl<R: Rule + Send> Lane<R> {
    fn new() -> Arc<Self> {
        let pool = Pool { queue: VecDeque::new(), has_thread: false, threads: Vec::new() };
        Arc::new(Self {
            state: Mutex::new(State { values: 0, rule: R::default(), is_finished: false }),
            pool: Mutex::new(pool),
            tasks: AtomicUsize::new(0),
            closers: AtomicUsize::new(0),
        })
    }

    /// Like Tokio's: pushes the closure, and starts a thread unless there is one.
    fn spawn_blocking(self: &Arc<Self>, closure: Closure<R>) {
        let mut pool = self.pool.lock().unwrap();
        pool.queue.push_back(closure);
        if !mem::replace(&mut pool.has_thread, true) {
            let lane = Arc::clone(self);
            let number = pool.threads.len() + 1;
            pool.threads.push(thread::spawn(move || lane.run_closures(number)));
        }
    }

    fn run_closures(self: &Arc<Self>, thread: usize) {
        loop {
            let mut pool = self.pool.lock().unwrap();
            let Some(closure) = pool.queue.pop_front() else {
                pool.has_thread = false;
                break;
            };
            drop(pool);
            closure(self, thread);
        }
        self.on_thread_exit(thread);
    }

    /// As the lane's hook does it.
    fn on_thread_exit(&self, thread: usize) {
        // Relaxed here and below: the locks order these.
        let tasks = self.tasks.load(Ordering::Relaxed);
        let mut state = self.state.lock().unwrap();
        state.rule.on_thread_exit(thread);
        if state.values == 0 && state.rule.finish(tasks) {
            assert_eq!(self.closers.load(Ordering::Relaxed), 0, "finished early");
            let is_repeated = mem::replace(&mut state.is_finished, true);
            assert!(!(R::ONCE && is_repeated), "finished twice");
        }
    }

    /// A closer that starts so many others, one after another.
    fn start_closer(self: &Arc<Self>, others: usize) {
        self.closers.fetch_add(1, Ordering::Relaxed);
        self.spawn_blocking(Box::new(move |lane, _| {
            if others > 0 {
                lane.start_closer(others - 1);
            }
            lane.closers.fetch_sub(1, Ordering::Relaxed);
        }));
    }

    fn take(&self) {
        let mut state = self.state.lock().unwrap();
        state.values += 1;
        state.is_finished = false;
    }

    /// Drops a value, as the lane's thread does it. Posts a fence, unless a task needs a driver first.
    fn drop_value(self: &Arc<Self>, destructor: impl FnOnce(&Arc<Self>)) {
        let mut state = self.state.lock().unwrap();
        state.values -= 1;
        state.rule.begin();
        drop(state);
        destructor(self);
        self.activity_ended();
    }

    /// Polls a task, which ends.
    fn drive(self: &Arc<Self>, task: impl FnOnce(&Arc<Self>)) {
        self.state.lock().unwrap().rule.begin();
        task(self);
        self.tasks.fetch_sub(1, Ordering::Relaxed);
        self.activity_ended();
    }

    fn activity_ended(self: &Arc<Self>) {
        self.state.lock().unwrap().rule.end();
        // Not in the same critical section: the lane can be preempted here.
        let fence = self.state.lock().unwrap().rule.post();
        if let Some(epoch) = fence {
            self.spawn_blocking(Box::new(move |lane, thread| {
                lane.state.lock().unwrap().rule.on_fence(epoch, thread);
            }));
        }
    }

    /// Waits until no thread of the pool is left. Then the batch must be finished.
    fn join(self: &Arc<Self>) {
        loop {
            let thread = self.pool.lock().unwrap().threads.pop();
            let Some(thread) = thread else { break };
            thread.join().unwrap();
        }
        assert!(self.state.lock().unwrap().is_finished, "never finished");
    }
}

/// Two values, each with a closer that starts a closer. The fence of the first may have passed, be
/// passing, or be queued when the second value is dropped.
fn two_values<R: Rule + Send>() {
    let lane = Lane::<R>::new();
    for _ in 0..2 {
        lane.take();
        lane.drop_value(|lane| lane.start_closer(1));
    }
    lane.join();
}

/// A value that starts a task. While the fence is under way, the task is polled, starts a closer, and
/// ends.
fn a_task<R: Rule + Send>() {
    let lane = Lane::<R>::new();
    lane.take();
    lane.drop_value(|lane| {
        lane.tasks.fetch_add(1, Ordering::Relaxed);
    });
    lane.drive(|lane| lane.start_closer(0));
    lane.join();
}

#[test]
fn quiet_with_two_values_is_never_early_and_always_finishes() {
    explore("quiet, two values with closers that start closers", Bound::Three, two_values::<Quiet>);
}

#[test]
fn quiet_with_a_task_that_is_polled_after_the_fence_is_never_early_and_always_finishes() {
    explore("quiet, a task that starts a closer", Bound::Three, a_task::<Quiet>);
}

#[test]
fn quiet_twin_whose_fences_have_no_epoch_is_early() {
    let early = "finished early";
    must_be_caught("quiet, fences without an epoch", early, two_values::<WithoutEpoch>);
    must_be_caught("quiet, a fence from before a poll", early, a_task::<WithoutEpoch>);
}

#[test]
fn quiet_twin_that_does_not_wait_for_the_exit_is_early() {
    must_be_caught("quiet, no exit", "finished early", two_values::<WithoutExit>);
}

#[test]
fn quiet_twin_that_answers_more_than_once_finishes_twice() {
    must_be_caught("quiet, finished twice", "finished twice", two_values::<Repeats>);
}
