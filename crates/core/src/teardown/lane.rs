//! A lane of the closing service: a thread that drops values in the context of a small runtime.
//!
//! A destructor finds its runtime through the context that the dropping thread has entered, and any
//! runtime will do (experiment 01). The lane's thread has entered the context, but it is not inside a
//! `block_on`, so a destructor may itself wait for what it started, block on a handle, or
//! `block_in_place`. After the destructor has returned, the same thread drives the runtime if tasks are
//! alive. While the destructor runs for long, or a task blocks the thread, the supervisor adds a second
//! thread.
//!
//! The runtime has one blocking thread, because SQLite connections that are closed concurrently can leave
//! the write-ahead log behind (experiment 12). It is kept ready for the first value. After that it exists
//! only while a closure is running or queued.

use std::{
    cell::Cell,
    future::poll_fn,
    io, mem,
    sync::OnceLock,
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Handle, Runtime};

use super::{
    batch::{self, Batch, Step},
    hold::Hold,
    service::Service,
};
use crate::{
    joinable::Joinable,
    panics,
    sync::{Arc, AtomicUsize, Condvar, Mutex, Ordering, lock},
    this_thread,
};

/// How long a lane that has just finished waits for its next batch before it starts a blocking thread for
/// it. If the service ends now, that thread would have been started for nothing.
const PREPARE_AFTER: Duration = Duration::from_micros(300);

/// How long a lane waits for its second thread, which takes microseconds to end after its batch.
const PATIENCE: Duration = Duration::from_millis(5);

thread_local! {
    /// The number of the lane that this thread belongs to. A constant without a destructor, so it can be
    /// read while the other locals of the thread are being destroyed.
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// Whether this thread belongs to a lane.
pub(super) fn is_this_thread_of_any_lane() -> bool {
    LANE.get() != 0
}

/// What the threads of a lane and the supervisor share.
pub(super) struct Lane {
    number: usize,
    service: Arc<Service>,
    handle: OnceLock<Handle>,
    slot: Mutex<Slot>,
    changed: Condvar,
    hold: Mutex<Option<Hold>>,
    second: Mutex<Second>,
    /// How many blocking threads run. One that exits may overlap with the next.
    blocking_threads: AtomicUsize,
}

/// What the lane has to do.
#[derive(Default)]
struct Slot {
    batch: Option<Arc<Batch>>,
    end: bool,
}

/// The second thread of a lane. It exists only while the first does not suffice.
#[derive(Default)]
struct Second {
    /// `None` before the lane is open, and once it ends.
    runtime: Option<Arc<Runtime>>,
    thread: Option<Joinable>,
    /// Those before it, which have nothing left to do and are not gone.
    leaving: Vec<Joinable>,
}

impl Lane {
    pub(super) fn new(service: Arc<Service>) -> Arc<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Arc::new(Self {
            // Relaxed: a number that no other lane gets, and that publishes nothing.
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            service,
            handle: OnceLock::new(),
            slot: Mutex::default(),
            changed: Condvar::new(),
            hold: Mutex::default(),
            second: Mutex::default(),
            blocking_threads: AtomicUsize::new(0),
        })
    }

    /// Whether this thread belongs to the lane, or has the context of its runtime.
    pub(super) fn includes_this_thread(&self) -> bool {
        let is_here = |here: Handle| self.handle.get().is_some_and(|own| own.id() == here.id());
        LANE.get() == self.number || Handle::try_current().is_ok_and(is_here)
    }

    /// How many tasks are alive.
    pub(super) fn tasks(&self) -> usize {
        self.handle.get().map_or(0, |handle| handle.metrics().num_alive_tasks())
    }

    pub(super) fn has_blocking_thread(&self) -> bool {
        // Relaxed: a snapshot for a report.
        self.blocking_threads.load(Ordering::Relaxed) > 0
    }

    /// The batch that the lane serves.
    pub(super) fn batch(&self) -> Option<Arc<Batch>> {
        lock(&self.slot).batch.clone()
    }

    /// Gives an idle lane a batch.
    pub(super) fn serve(&self, batch: Arc<Batch>) {
        lock(&self.slot).batch = Some(batch);
        self.changed.notify_one();
    }

    /// Tells an idle lane to end.
    pub(super) fn end(&self) {
        lock(&self.slot).end = true;
        self.changed.notify_one();
    }

    /// The lane's thread. It reports to the service whether it could be opened.
    pub(super) fn run(self: Arc<Self>) {
        LANE.set(self.number);
        let opened = self.open();
        let service = &self.service;
        match opened {
            Err(refused) => service.lane_refused(&refused),
            Ok(runtime) => {
                service.lane_is_open(&self);
                while let Some(batch) = self.next() {
                    batch.lock().lane = Some(Arc::clone(&self));
                    self.serve_until_quiet(&runtime, &batch);
                    self.part_with_second();
                }
                self.close(runtime);
            }
        }
        service.lane_has_ended(&self);
    }

    fn open(self: &Arc<Self>) -> io::Result<Arc<Runtime>> {
        let runtime = Arc::new(self.runtime()?);
        let _ = self.handle.set(runtime.handle().clone());
        *lock(&self.hold) = Some(Hold::on(runtime.handle())?);
        lock(&self.second).runtime = Some(Arc::clone(&runtime));
        Ok(runtime)
    }

    /// Ends the threads.
    fn close(&self, runtime: Arc<Runtime>) {
        lock(&self.second).runtime = None;
        self.join_seconds();
        // Releases the blocking thread, if it was kept ready for a value that never came.
        let hold = lock(&self.hold).take();
        drop(hold);
        // The last clone: this waits for the blocking thread.
        drop(runtime);
    }

    /// Builds the runtime that destructors find: driven by the lane's thread, with at most one blocking
    /// thread.
    fn runtime(self: &Arc<Self>) -> io::Result<Runtime> {
        // Weak: a handle that a destructor gives away must not keep the lane.
        let [started, stopped, parked] = [(); 3].map(|()| Arc::downgrade(self));
        Builder::new_current_thread()
            .enable_all()
            .thread_name("sundown-close")
            .max_blocking_threads(1)
            // A blocking thread with an empty queue exits at once. The exit shows that the queue is
            // empty: stable Tokio does not expose the queue length.
            .thread_keep_alive(Duration::ZERO)
            .on_thread_start(move || {
                if let Some(lane) = started.upgrade() {
                    lane.on_thread_start();
                }
            })
            .on_thread_stop(move || {
                if let Some(lane) = stopped.upgrade() {
                    lane.on_thread_exit();
                }
            })
            .on_thread_park(move || {
                if let Some(lane) = parked.upgrade() {
                    lane.on_park();
                }
            })
            .build()
    }

    /// A blocking thread starts.
    fn on_thread_start(&self) {
        LANE.set(self.number);
        // Relaxed: a count for reports.
        self.blocking_threads.fetch_add(1, Ordering::Relaxed);
    }

    /// A blocking thread exits. If no work of the batch is left now, the batch is finished.
    fn on_thread_exit(self: &Arc<Self>) {
        preempt::before_the_exit_is_recorded();
        // Relaxed: a count for reports.
        self.blocking_threads.fetch_sub(1, Ordering::Relaxed);
        let Some(batch) = self.batch() else { return };
        let tasks = self.tasks();
        let mut state = batch.lock();
        // Another thread that exits at the same time may have finished it.
        if !state.is_served_by(self) {
            return;
        }
        state.quiet.on_thread_exit(this_thread::number());
        let period = state.finish(tasks);
        if period.is_some() {
            lock(&self.slot).batch = None;
            // Before anybody who waits is told: then the lease of this batch has been given back.
            self.service.give_back();
        }
        batch.changed(state);
        if let Some(period) = period {
            period.fire();
        }
    }

    /// The runtime has nothing to poll.
    fn on_park(&self) {
        if self.tasks() == 0
            && let Some(batch) = self.batch()
        {
            batch.last_task_ended();
        }
    }

    /// Waits for the next batch. Returns `None` if the lane has to end.
    fn next(self: &Arc<Self>) -> Option<Arc<Batch>> {
        let batch = self.wait_for_batch()?;
        // A task that somebody has spawned here since, through a handle that a destructor gave away, must
        // not delay other batches. It ends with this lane.
        if self.tasks() > 0 {
            lock(&self.slot).batch = None;
            self.service.add_again(batch);
            return None;
        }
        Some(batch)
    }

    fn wait_for_batch(self: &Arc<Self>) -> Option<Arc<Batch>> {
        if !self.service.lane_is_idle(self) {
            return None;
        }
        let mut slot = lock(&self.slot);
        let mut is_prepared = lock(&self.hold).is_some();
        loop {
            if slot.batch.is_some() || slot.end {
                return slot.batch.clone();
            }
            slot = if is_prepared {
                self.changed.wait(slot).unwrap_or_else(|poisoned| poisoned.into_inner())
            } else {
                let waited = self.changed.wait_timeout(slot, PREPARE_AFTER);
                let (slot, waited) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
                if waited.timed_out() && slot.batch.is_none() && !slot.end {
                    drop(slot);
                    self.prepare();
                    is_prepared = true;
                    lock(&self.slot)
                } else {
                    slot
                }
            };
        }
    }

    /// Keeps the blocking thread ready for the next value, if the OS gives one.
    fn prepare(&self) {
        if let Some(handle) = self.handle.get()
            && let Ok(hold) = Hold::on(handle)
        {
            *lock(&self.hold) = Some(hold);
        }
    }

    /// Does whatever the batch needs, until it is quiet. Both threads of a lane run this.
    fn serve_until_quiet(self: &Arc<Self>, runtime: &Runtime, batch: &Arc<Batch>) {
        let mut state = batch.lock();
        while state.is_served_by(self) {
            match state.next_step(self.tasks()) {
                Step::Drop(value) => {
                    drop(state);
                    self.drop_value(runtime.handle(), batch, value);
                    state = batch.lock();
                }
                Step::Drive => {
                    drop(state);
                    self.drive(runtime, batch);
                    state = batch.lock();
                    state.drove();
                    batch.changed(state);
                    state = batch.lock();
                }
                Step::Post(epoch) => {
                    drop(state);
                    Self::post_fence(runtime.handle(), batch, epoch);
                    state = batch.lock();
                }
                Step::Wait(limit) => state = batch.wait(state, limit),
            }
        }
    }

    fn drop_value(&self, handle: &Handle, batch: &Arc<Batch>, value: Box<dyn Send>) {
        let kept = lock(&self.hold).take();
        let hold = kept.unwrap_or_else(|| Self::keep_asking(handle));
        hold.begin();
        self.service.watch();
        let panic = panics::catch(|| {
            // For each value anew: a destructor may leave a context of its own behind.
            let _context = handle.enter();
            drop(value);
        });
        let mut state = batch.lock();
        let fence = state.returned(panic.err(), self.tasks());
        batch.changed(state);
        preempt::before_the_fence_is_posted();
        // While the blocking thread is held, so that none has to be started for the fence.
        if let Some(epoch) = fence {
            Self::post_fence(handle, batch, epoch);
        }
        drop(hold);
    }

    /// Asks for a blocking thread until there is one: without it, a destructor that queues a closure panics.
    fn keep_asking(handle: &Handle) -> Hold {
        loop {
            match Hold::on(handle) {
                Ok(hold) => return hold,
                Err(_refused) => thread::sleep(batch::RETRY),
            }
        }
    }

    /// Posts a fence behind everything that is queued.
    fn post_fence(handle: &Handle, batch: &Arc<Batch>, epoch: u64) {
        let fence = Arc::clone(batch);
        let fence = move || fence.lock().quiet.on_fence(epoch, this_thread::number());
        // Tokio panics if it can start no thread. The fence is queued all the same, and runs with the
        // next.
        if panics::catch(|| drop(handle.spawn_blocking(fence))).is_err() {
            batch.lock().fence_was_refused(epoch);
        }
    }

    /// Polls tasks until there is a value to drop, or nothing left to wait for.
    fn drive(&self, runtime: &Runtime, batch: &Batch) {
        let driver = poll_fn(|context| {
            let can_stop = batch.lock().can_stop_driving(self.tasks(), context.waker());
            if can_stop { Poll::Ready(()) } else { Poll::Pending }
        });
        runtime.block_on(driver);
    }

    /// Starts a second thread for a batch, unless there is one. Returns `false` if the OS refused it.
    pub(super) fn add_second(self: &Arc<Self>, batch: &Arc<Batch>) -> bool {
        let mut second = lock(&self.second);
        let Second { runtime: Some(runtime), thread, leaving } = &mut *second else { return true };
        // It came after its batch was finished, and has returned.
        leaving.extend(thread.take_if(|thread| thread.has_returned()));
        Joinable::join_those_gone(leaving);
        if thread.is_some() {
            return true;
        }
        let (lane, batch, runtime) = (Arc::clone(self), Arc::clone(batch), Arc::clone(runtime));
        let started = Joinable::spawn("sundown-drive", move || {
            LANE.set(lane.number);
            lane.serve_until_quiet(&runtime, &batch);
        });
        second.thread = started.ok();
        second.thread.is_some()
    }

    /// Whether the lane has a second thread that has not returned.
    pub(super) fn has_second(&self) -> bool {
        lock(&self.second).thread.as_ref().is_some_and(|thread| !thread.has_returned())
    }

    /// Joins the second thread after its batch, or leaves it alone if a thread-local keeps it.
    fn part_with_second(&self) {
        let thread = lock(&self.second).thread.take();
        if let Some(Err(leaving)) = thread.map(|it| it.join_until(Instant::now() + PATIENCE)) {
            lock(&self.second).leaving.push(leaving);
        }
    }

    /// Joins what was a second thread, as long as that takes.
    fn join_seconds(&self) {
        let mut second = lock(&self.second);
        let threads = mem::take(&mut second.leaving).into_iter().chain(second.thread.take());
        drop(second);
        threads.for_each(Joinable::join);
    }
}

/// Where a preemption is the most harmful. The tests of this module delay a thread there.
mod preempt {
    #[cfg(test)]
    pub(super) use super::tests::{before_the_exit_is_recorded, before_the_fence_is_posted};

    #[cfg(not(test))]
    pub(super) const fn before_the_exit_is_recorded() {}

    #[cfg(not(test))]
    pub(super) const fn before_the_fence_is_posted() {}
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
        thread,
        time::{Duration, Instant},
    };

    use tokio::task::spawn_blocking;

    use crate::{limit::PLENTY, park, teardown::reaper::Reaper};

    /// How long a thread is delayed where that is the most harmful, in microseconds.
    static DELAY: AtomicU64 = AtomicU64::new(0);

    fn delay() {
        match DELAY.load(Ordering::Relaxed) {
            0 => {}
            delay => thread::sleep(Duration::from_micros(delay)),
        }
    }

    pub(in super::super) fn before_the_exit_is_recorded() {
        delay();
    }

    pub(in super::super) fn before_the_fence_is_posted() {
        delay();
    }

    /// Starts a closer, which takes this long.
    struct Closes(Duration, Arc<AtomicBool>);

    impl Drop for Closes {
        fn drop(&mut self) {
            let (takes, ended) = (self.0, Arc::clone(&self.1));
            drop(spawn_blocking(move || {
                thread::sleep(takes);
                ended.store(true, Ordering::SeqCst);
            }));
        }
    }

    /// With a fence that vouches for more than its epoch, some of these are early.
    #[test]
    fn a_thread_that_is_preempted_on_its_way_out_vouches_for_no_later_value() {
        let reaper = Reaper::start().unwrap();
        let mut early = 0;
        for (delay, round) in
            [60, 200, 500].into_iter().flat_map(|delay| (0..300).map(move |round| (delay, round)))
        {
            DELAY.store(delay, Ordering::Relaxed);
            let ended = [(); 2].map(|()| Arc::<AtomicBool>::default());
            let [first, second] = ended.each_ref().map(Arc::clone);
            reaper.take(Box::new(Closes(Duration::ZERO, first)));
            // The second value comes while the thread of the first fence is on its way out, now and then.
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(round * 2) {}
            reaper.take(Box::new(Closes(Duration::from_micros(300), second)));
            assert!(park::wait(Box::pin(reaper.wait_quiescent()), PLENTY).is_some());
            early += ended.iter().filter(|ended| !ended.load(Ordering::SeqCst)).count();
        }
        DELAY.store(0, Ordering::Relaxed);
        assert_eq!(early, 0);
    }
}
