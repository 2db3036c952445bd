//! A lane of the closing service: a thread that drops values in the context of a small runtime.
//!
//! A destructor finds its runtime through the context that the dropping thread has entered, and any
//! runtime will do (experiment 01). The lane's thread has entered the context, but it is not inside a
//! `block_on`, so a destructor may itself wait for what it started, block on a handle, or
//! `block_in_place`. After the destructor has returned, the same thread drives the runtime if tasks are
//! alive. While the destructor runs for long, or a task blocks the thread, the supervisor adds a second
//! thread.

use std::{cell::Cell, future::poll_fn, io, task::Poll, thread, time::Duration};

use tokio::runtime::{Handle, Runtime};

use super::{
    KitThread,
    batch::{Batch, Step},
    hold::Hold,
    schedule::{Next, RETRY},
    service::Service,
    site::{Site, there_are_threads},
    slot::Slot,
};
use crate::{
    panics,
    sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, lock},
};

/// How long one thread of a lane is given before it gets a second: a destructor may be waiting for a task
/// that it has started, and a task may block the thread that drives it.
const SECOND_AFTER: Duration = Duration::from_millis(2);

thread_local! {
    /// The number of the lane that this thread belongs to. A constant without a destructor, so it can be
    /// read while the other locals of the thread are being destroyed.
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// Whether this thread belongs to a lane.
pub(super) fn is_this_thread_of_any_lane() -> bool {
    LANE.get() != 0
}

/// Whether this thread belongs to the lane with this number.
pub(super) fn is_this_thread_of(lane: usize) -> bool {
    LANE.get() == lane
}

pub(super) fn this_thread_is_of(lane: usize) {
    LANE.set(lane);
}

/// What the thread of a lane and the service share.
pub(super) struct Lane {
    number: usize,
    service: Arc<Service>,
    slot: Slot<Arc<Batch>>,
    /// Keeps a blocking thread ready for the next value.
    hold: Mutex<Option<Hold>>,
    /// What the lane serves now.
    serving: Mutex<Option<Serving>>,
    /// Whether the OS refused what another runtime needs, and has granted no thread since.
    was_refused: AtomicBool,
}

/// A batch, and where its values are dropped.
#[derive(Clone)]
struct Serving {
    batch: Arc<Batch>,
    site: Arc<Site>,
    runtime: Arc<Runtime>,
}

impl PartialEq for Lane {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Lane {
    pub(super) fn new(service: Arc<Service>) -> Arc<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Arc::new(Self {
            // Relaxed: a number that no other lane gets, and that publishes nothing.
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            service,
            slot: Slot::new(),
            hold: Mutex::default(),
            serving: Mutex::default(),
            was_refused: AtomicBool::new(false),
        })
    }

    /// Gives an idle lane a batch.
    pub(super) fn give(&self, batch: Arc<Batch>) {
        // At once: its blocking thread wakes up while the lane's does.
        if let Some(hold) = &*lock(&self.hold) {
            hold.wake();
        }
        self.slot.serve(batch);
    }

    /// Tells an idle lane to end.
    pub(super) fn end(&self) {
        self.slot.end();
    }

    /// The lane's thread. It reports to the service whether it could be opened.
    pub(super) fn run(self: &Arc<Self>) {
        LANE.set(self.number);
        let service = &self.service;
        let (mut site, mut runtime) = match self.open() {
            Ok(opened) => opened,
            Err(refused) => return service.lane_refused(&refused),
        };
        service.lane_is_open(self);
        while let Some(batch) = self.next() {
            let serving = Serving { batch, site: Arc::clone(&site), runtime: Arc::clone(&runtime) };
            self.serve(serving);
            // What comes through a handle that a destructor gave away must not delay other batches. So the
            // next gets another runtime, if the OS gives one.
            if service.goes_on() {
                match self.open() {
                    Ok(opened) => (site, runtime) = opened,
                    // Relaxed: it decides only who is asked first.
                    Err(_refused) => self.was_refused.store(true, Ordering::Relaxed),
                }
            }
        }
        service.lane_ends(self);
        // Releases the blocking thread, if it was kept ready for a value that never came.
        drop(lock(&self.hold).take());
        // This waits for the blocking thread.
        drop(runtime);
    }

    fn open(&self) -> io::Result<(Arc<Site>, Arc<Runtime>)> {
        // Tokio panics if the OS refuses what the first runtime of a process needs for signals.
        let opened = panics::catch(|| Site::open(self.number, &self.service));
        let (site, runtime) = opened.unwrap_or_else(|message| Err(io::Error::other(message)))?;
        let hold = self.hold_on(runtime.handle())?;
        // There is none: each value takes it.
        *lock(&self.hold) = Some(hold);
        Ok((site, runtime))
    }

    fn hold_on(&self, handle: &Handle) -> io::Result<Hold> {
        let service = Arc::clone(&self.service);
        Hold::on(handle, move || service.watch())
    }

    /// Waits for the next batch. Returns `None` if the lane has to end.
    fn next(self: &Arc<Self>) -> Option<Arc<Batch>> {
        match self.service.lane_is_idle(self) {
            Next::Serve(batch) => Some(batch),
            Next::Wait => self.slot.wait(),
            Next::End => None,
        }
    }

    fn serve(&self, serving: Serving) {
        preempt::before_the_batch_is_served();
        serving.site.serve(&serving.batch);
        *lock(&self.serving) = Some(serving.clone());
        self.serve_until_quiet(&serving);
        preempt::before_the_batch_is_given_up();
        // Nobody can add a second thread any more. If there is one, it returns soon, and holds nobody up.
        let kept = lock(&self.serving).take();
        drop((kept, serving));
    }

    /// Does whatever the batch needs, until it is quiet. Both threads of a lane run this.
    fn serve_until_quiet(&self, serving: &Serving) {
        let Serving { batch, site, runtime } = serving;
        let mut state = batch.lock();
        while state.is_served_at(site) {
            match state.next_step(site.tasks()) {
                Step::Drop(value) => {
                    drop(state);
                    self.drop_value(serving, value);
                    state = batch.lock();
                }
                Step::Drive => {
                    drop(state);
                    self.service.watch();
                    drive(serving);
                    batch.ask_the_runtime();
                    state = batch.lock();
                    state.drove();
                    batch.changed(state);
                    state = batch.lock();
                }
                Step::Post(epoch) => {
                    drop(state);
                    Site::post_fence(runtime.handle(), batch, epoch);
                    state = batch.lock();
                }
                Step::Wait(limit) => state = batch.wait(state, limit),
            }
        }
    }

    fn drop_value(&self, Serving { batch, site, runtime }: &Serving, value: Box<dyn Send>) {
        let handle = runtime.handle();
        let kept = lock(&self.hold).take();
        if kept.is_none() {
            // The blocking thread may be busy, and cannot say if this takes long.
            self.service.watch();
        }
        let hold = kept.unwrap_or_else(|| self.keep_asking(handle, batch));
        hold.begin();
        batch.ask_the_runtime();
        let panic = panics::catch(|| {
            // For each value anew: a destructor may leave a context of its own behind.
            let _context = handle.enter();
            drop(value);
        });
        let mut state = batch.lock();
        let fence = state.returned(panic.err(), site.tasks());
        batch.changed(state);
        preempt::before_the_fence_is_posted();
        // While the blocking thread is held, so that none has to be started for the fence.
        if let Some(epoch) = fence {
            Site::post_fence(handle, batch, epoch);
        }
        drop(hold);
    }

    /// Asks for a blocking thread until there is one: without it, a destructor that queues a closure panics.
    fn keep_asking(&self, handle: &Handle, batch: &Batch) -> Hold {
        // Tokio panics if there is no thread, so the OS is asked first once it has refused one.
        // Relaxed: it decides only who is asked first.
        let mut is_refused = self.was_refused.load(Ordering::Relaxed);
        loop {
            while is_refused && !there_are_threads() {
                batch.lock().thread_was_refused();
                // No event says when the OS has a thread again.
                thread::sleep(RETRY);
            }
            if let Ok(hold) = self.hold_on(handle) {
                self.was_refused.store(false, Ordering::Relaxed);
                // Also if it was refused for a fence: this may be the last one, and then no other could be had
                // for the next fence.
                batch.lock().thread_was_granted();
                return hold;
            }
            is_refused = true;
        }
    }

    /// Adds a second thread if the first does not suffice, or returns when to look again. The supervisor
    /// calls this.
    pub(super) fn look_at(self: &Arc<Self>, service: &Arc<Service>) -> Option<Duration> {
        // While the lock is held, the lane's thread keeps the runtime: it is not dropped here.
        let serving = lock(&self.serving);
        let serving = serving.as_ref()?;
        let mut state = serving.batch.lock();
        // It may be pending again, in another lane, before this one has seen that it was finished.
        if !state.is_served_at(&serving.site) {
            return None;
        }
        let since = state.one_thread_may_not_suffice()?;
        if let Some(left) = SECOND_AFTER.checked_sub(since.elapsed()) {
            return Some(left);
        }
        state.has_second = true;
        drop(state);
        let (lane, both) = (Arc::clone(self), serving.clone());
        let started = service.start_thread(KitThread::Driving, move || {
            LANE.set(lane.number);
            lane.serve_until_quiet(&both);
        });
        started.err().map(|_refused| {
            serving.batch.lock().has_second = false;
            RETRY
        })
    }
}

/// Polls tasks until there is a value to drop, or nothing left to wait for.
fn drive(Serving { batch, site, runtime }: &Serving) {
    let driver = poll_fn(|context| {
        let can_stop = batch.lock().can_stop_driving(site.tasks(), context.waker());
        if can_stop { Poll::Ready(()) } else { Poll::Pending }
    });
    runtime.block_on(driver);
}

/// Where a preemption is the most harmful. The tests of this module delay a thread there.
pub(super) mod preempt {
    #[cfg(test)]
    pub(in super::super) use super::tests::{
        before_the_batch_is_given_up, before_the_batch_is_served, before_the_exit_is_recorded,
        before_the_fence_is_posted,
    };

    #[cfg(not(test))]
    pub(in super::super) const fn before_the_batch_is_given_up() {}

    #[cfg(not(test))]
    pub(in super::super) const fn before_the_batch_is_served() {}

    #[cfg(not(test))]
    pub(in super::super) const fn before_the_exit_is_recorded() {}

    #[cfg(not(test))]
    pub(in super::super) const fn before_the_fence_is_posted() {}
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc, Mutex, MutexGuard,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
        task::Wake,
        thread,
        time::{Duration, Instant},
    };

    use tokio::{
        runtime::{Builder, Handle},
        task::spawn_blocking,
        time::sleep,
    };

    use crate::{
        limit::PLENTY,
        park,
        sync::lock,
        teardown::{batch::Batch, reaper::Reaper, site::Site},
        waker::Helpers,
    };

    /// What one test does makes the supervisor look at the lanes of another.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        lock(&ALONE)
    }

    /// How long a thread is delayed where that is the most harmful, in microseconds.
    static DELAY: AtomicU64 = AtomicU64::new(0);

    /// The same, where a lane's thread has been given a batch.
    static DELAY_BEFORE: AtomicU64 = AtomicU64::new(0);

    /// The same, where a lane's thread sees that a batch was finished.
    static DELAY_AFTER: AtomicU64 = AtomicU64::new(0);

    fn delay(by: &AtomicU64) {
        match by.load(Ordering::Relaxed) {
            0 => {}
            delay => thread::sleep(Duration::from_micros(delay)),
        }
    }

    pub(in super::super) fn before_the_batch_is_given_up() {
        delay(&DELAY_AFTER);
    }

    pub(in super::super) fn before_the_batch_is_served() {
        delay(&DELAY_BEFORE);
    }

    pub(in super::super) fn before_the_exit_is_recorded() {
        delay(&DELAY);
    }

    pub(in super::super) fn before_the_fence_is_posted() {
        delay(&DELAY);
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
        let _alone = alone();
        let reaper = Reaper::start(&Helpers::none()).unwrap();
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

    /// Waits for a timer, which needs the second thread of a lane.
    struct Sleeps;

    impl Drop for Sleeps {
        fn drop(&mut self) {
            Handle::current().block_on(sleep(Duration::from_millis(1)));
        }
    }

    /// If the time counts before the destructor has begun, the second thread never comes.
    #[test]
    fn a_lane_that_begins_late_gets_a_second_thread() {
        let _alone = alone();
        let reaper = Reaper::start(&Helpers::none()).unwrap();
        for delay in [0, 500, 2_000, 8_000].repeat(3) {
            // Until the lane is idle: then the blocking thread is woken together with it.
            thread::sleep(Duration::from_millis(5));
            DELAY_BEFORE.store(delay, Ordering::Relaxed);
            reaper.take(Box::new(Sleeps));
            let has_ended = park::wait(Box::pin(reaper.wait_quiescent()), PLENTY).is_some();
            DELAY_BEFORE.store(0, Ordering::Relaxed);
            assert!(has_ended, "a lane that begins {delay} µs late: {:?}", reaper.unfinished());
        }
    }

    /// If the first lane gets the second thread, the other's never comes.
    #[test]
    fn a_batch_that_is_pending_again_in_another_lane_gets_its_second_thread_there() {
        let _alone = alone();
        let reaper = Reaper::start(&Helpers::none()).unwrap();
        DELAY_AFTER.store(50_000, Ordering::Relaxed);
        for value in [Box::new(()) as Box<dyn Send>, Box::new(Sleeps)] {
            reaper.take(value);
            let has_ended = park::wait(Box::pin(reaper.wait_quiescent()), PLENTY).is_some();
            assert!(has_ended, "{:?}", reaper.unfinished());
        }
        DELAY_AFTER.store(0, Ordering::Relaxed);
    }

    /// If each driver that comes because a fence is late voids it, and so does the next, this never ends.
    #[test]
    fn a_batch_whose_blocking_threads_are_always_slow_is_finished() {
        let _alone = alone();
        let reaper = Reaper::start(&Helpers::none()).unwrap();
        DELAY.store(20_000, Ordering::Relaxed);
        reaper.take(Box::new(()));
        let has_ended = park::wait(Box::pin(reaper.wait_quiescent()), PLENTY).is_some();
        DELAY.store(0, Ordering::Relaxed);
        assert!(has_ended, "{:?}", reaper.unfinished());
    }

    /// Starts a closure that waits for a timer, which needs a driver.
    struct ClosesSlowly(Arc<AtomicBool>);

    impl Drop for ClosesSlowly {
        fn drop(&mut self) {
            let ended = Arc::clone(&self.0);
            drop(spawn_blocking(move || {
                Handle::current().block_on(sleep(Duration::from_millis(1)));
                ended.store(true, Ordering::SeqCst);
            }));
        }
    }

    /// If each value restarts the time after which there is a driver, there is none before the values end.
    #[test]
    fn a_closure_that_waits_for_a_timer_ends_while_values_come() {
        let _alone = alone();
        let reaper = Reaper::start(&Helpers::none()).unwrap();
        let ended = Arc::<AtomicBool>::default();
        reaper.take(Box::new(ClosesSlowly(Arc::clone(&ended))));
        let began = Instant::now();
        while !ended.load(Ordering::SeqCst) && began.elapsed() < Duration::from_secs(5) {
            reaper.take(Box::new(()));
            let next = Instant::now() + Duration::from_micros(500);
            while Instant::now() < next {
                thread::yield_now();
            }
        }
        let has_ended = ended.load(Ordering::SeqCst);
        assert!(park::wait(Box::pin(reaper.wait_quiescent()), PLENTY).is_some());
        assert!(has_ended, "not before the values ended");
    }

    /// If it is not woken then, both threads of the lane wait for ever.
    #[test]
    fn a_driver_that_waits_for_a_fence_is_woken_when_the_os_refuses_the_thread() {
        /// More than any system has for the stack of a thread.
        const TOO_MUCH: usize = usize::MAX >> 3;

        struct Woken(AtomicBool);

        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }

        let refusing = Builder::new_current_thread().thread_stack_size(TOO_MUCH).build().unwrap();
        let batch = Arc::new(Batch::of(Helpers::none()));
        let mut state = batch.lock();
        state.quiet.begin();
        state.dropping = Some(Instant::now());
        let epoch = state.returned(None, 0).unwrap();
        state.quiet.begin();
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Arc::clone(&woken).into();
        assert!(!state.can_stop_driving(0, &waker), "it waits for the fence");
        drop(state);
        Site::post_fence(refusing.handle(), &batch, epoch);
        let mut state = batch.lock();
        assert!(state.is_thread_refused() && state.can_stop_driving(0, &waker));
        assert!(woken.0.load(Ordering::SeqCst), "nobody says so");
    }
}
