//! The closing service of the process: its leases, its threads, and who waits for their end.
//!
//! There is at most one service at a time that takes leases. It starts with the first lease and ends with
//! the last. A new lease meanwhile starts a new service. `schedule` decides all of this.
//!
//! Locks are taken in this order: a batch, the schedule, a lane's slot. No foreign code runs under any.

use std::{
    io, mem,
    sync::{OnceLock, Weak},
    thread,
    time::{Duration, Instant},
};

use super::{
    KitThread,
    batch::Batch,
    lane::{self, Lane},
    schedule::{Added, Look, Next, Schedule},
    supervisor,
};
use crate::{
    fork::{GENERATIONS, OfProcess, PerProcess},
    joinable::Joinable,
    latch::Latch,
    limit::pause,
    newer_std::extract_if,
    sync::{Arc, Condvar, Mutex, lock},
    this_thread, waker,
};

/// How often to ask whether the threads have ended, after the last has said that it is about to.
const CHECK_INTERVAL: Duration = Duration::from_micros(200);

/// How often to ask at once.
const CHECKS_AT_ONCE: usize = 50;

static CURRENT: PerProcess<Mutex<Weak<Service>>> =
    PerProcess::new([const { OfProcess::new(Mutex::new(Weak::new())) }; GENERATIONS]);

pub(super) struct Service {
    schedule: Mutex<Schedule<Arc<Batch>, Arc<Lane>>>,
    /// Wakes the supervisor.
    supervise: Condvar,
    /// Notified when the first lane is open, or was refused.
    started: Condvar,
    ended: Mutex<Ended>,
    /// The number of that thread.
    last_thread: OnceLock<usize>,
    threads: Mutex<Vec<(KitThread, Joinable)>>,
}

/// Whether the last thread is about to end, and whom it tells, last.
#[derive(Default)]
struct Ended {
    has_come: bool,
    /// One latch for each session or teardown: wakers of one do not belong to another.
    waiting: Vec<Arc<Latch>>,
}

impl Service {
    /// Takes a lease, and starts a service if there is none.
    ///
    /// # Errors
    ///
    /// The OS refused a thread or a file descriptor. Nothing is left running.
    pub(super) fn lease() -> io::Result<Arc<Self>> {
        let current = CURRENT.get()?;
        let mut current = lock(current);
        let running = current.upgrade().filter(|service| service.with(Schedule::try_lease));
        let service = match running {
            Some(service) => service,
            None => {
                let service = Self::start()?;
                *current = Arc::downgrade(&service);
                service
            }
        };
        drop(current);
        service.wait_until_started()?;
        Ok(service)
    }

    fn start() -> io::Result<Arc<Self>> {
        let service = Arc::new(Self {
            schedule: Mutex::new(Schedule::new()),
            supervise: Condvar::new(),
            started: Condvar::new(),
            ended: Mutex::default(),
            last_thread: OnceLock::new(),
            threads: Mutex::default(),
        });
        let supervised = Arc::clone(&service);
        service.spawn(KitThread::Closing, move || supervisor::supervise(&supervised))?;
        Ok(service)
    }

    /// Starts a thread that is counted already, and waited for at the end.
    fn spawn(
        self: &Arc<Self>,
        thread: KitThread,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let service = Arc::clone(self);
        // While the lock is held, so that whoever waits for the last thread finds it here.
        let mut threads = lock(&self.threads);
        let started = Joinable::spawn(thread.name(), move || {
            body();
            service.thread_ends();
        })?;
        threads.push((thread, started));
        Ok(())
    }

    /// Waits until the first lane is open. That takes as long as starting two threads.
    fn wait_until_started(&self) -> io::Result<()> {
        let mut schedule = lock(&self.schedule);
        loop {
            if let Some(started) = schedule.has_started() {
                drop(schedule);
                if started.is_err() {
                    // They end by themselves, at once, and have run no foreign code. Each caller waits until nothing
                    // is left running; without the lock, which they take. A thread's last act tells nobody, so
                    // they are asked again and again.
                    while !self.threads_are_joined() {
                        thread::sleep(CHECK_INTERVAL);
                    }
                }
                return started;
            }
            schedule = self.started.wait(schedule).unwrap_or_else(|it| it.into_inner());
        }
    }

    /// Asks or changes the schedule, and wakes the supervisor if it has to look again.
    fn with<R>(&self, change: impl FnOnce(&mut Schedule<Arc<Batch>, Arc<Lane>>) -> R) -> R {
        let mut schedule = lock(&self.schedule);
        let needed = schedule.needs_attention();
        let result = change(&mut schedule);
        let needs = schedule.needs_attention();
        drop(schedule);
        if needs && !needed {
            self.supervise.notify_one();
        }
        result
    }

    /// Gives a lease back. With the last one, the service ends.
    pub(super) fn give_back(&self) {
        self.with(Schedule::give_back).iter().for_each(|lane| lane.end());
    }

    /// Whether a lane that has served a batch should be ready for another.
    pub(super) fn goes_on(&self) -> bool {
        !lock(&self.schedule).is_ending()
    }

    /// Waits until every thread of the service has ended, if nobody holds a lease.
    pub(super) async fn ended(&self, told: &Arc<Latch>) {
        if self.goes_on() {
            return;
        }
        if !self.tells_of_end(told) {
            told.wait().await;
        }
        let mut checks = 0;
        while !self.threads_are_joined() {
            checks += 1;
            if checks < CHECKS_AT_ONCE {
                thread::yield_now();
            } else {
                pause(CHECK_INTERVAL).await;
            }
        }
    }

    /// Has the last thread fire this latch. Returns whether it fires none any more.
    fn tells_of_end(&self, told: &Arc<Latch>) -> bool {
        let mut ended = lock(&self.ended);
        if !ended.has_come && !ended.waiting.iter().any(|known| Arc::ptr_eq(known, told)) {
            ended.waiting.push(Arc::clone(told));
        }
        ended.has_come
    }

    /// Whether all threads are gone. Joins those that are, which takes microseconds. What a destructor has
    /// left in a thread-local is foreign code, which may block, so nobody blocks here.
    fn threads_are_joined(&self) -> bool {
        let mut threads = lock(&self.threads);
        let gone = extract_if(&mut threads, |(_, thread)| thread.is_gone());
        gone.into_iter().for_each(|(_, thread)| thread.join());
        // Or a waker polls at once, on the last thread itself, and only that one is left.
        threads.is_empty()
            || threads.len() == 1 && self.last_thread.get() == Some(&this_thread::number())
    }

    /// A thread that those wait for who have given the last lease back, unless all are gone.
    pub(super) fn ending_thread(&self) -> Option<KitThread> {
        if self.goes_on() || self.threads_are_joined() {
            return None;
        }
        let threads = lock(&self.threads);
        // The supervisor ends soon after the others.
        let others = threads.iter().find(|(thread, _)| *thread != KitThread::Closing);
        others.or(threads.first()).map(|(thread, _)| *thread)
    }

    fn thread_ends(&self) {
        if self.with(Schedule::thread_ends) {
            let _ = self.last_thread.set(this_thread::number());
            let mut ended = lock(&self.ended);
            ended.has_come = true;
            let waiting = mem::take(&mut ended.waiting);
            drop(ended);
            waker::wake(waiting.iter().filter_map(|latch| latch.set_fired()));
        }
    }

    /// Adds a batch that has just become pending, and its lease. Takes microseconds. Returns `false` if the
    /// service takes none any more.
    #[must_use]
    pub(super) fn add(&self, batch: &Arc<Batch>) -> bool {
        let (is_urgent, now) = (lane::is_this_thread_of_any_lane(), Instant::now());
        match self.with(|schedule| schedule.add(Arc::clone(batch), is_urgent, now)) {
            Added::ToLane(lane, batch) => lane.give(batch),
            Added::Waits => {}
            Added::Ended(_) => return false,
        }
        true
    }

    /// Makes sure that the supervisor looks at the lanes within a few milliseconds.
    pub(super) fn watch(&self) {
        self.with(Schedule::watch);
    }

    /// What the supervisor does next.
    pub(super) fn look(&self) -> Option<Look<Arc<Lane>>> {
        let _ = self.threads_are_joined();
        lock(&self.schedule).look(Instant::now())
    }

    /// Waits for a reason to look again; the supervisor calls this.
    pub(super) fn wait_for_attention(&self, limit: Option<Duration>) {
        let mut schedule = lock(&self.schedule);
        if schedule.needs_attention() {
            return;
        }
        schedule.is_watched_within(limit);
        // Woken for another reason or none, it looks once more.
        drop(match limit {
            None => self.supervise.wait(schedule).unwrap_or_else(|it| it.into_inner()),
            Some(limit) => match self.supervise.wait_timeout(schedule, limit) {
                Ok((schedule, _)) => schedule,
                Err(poisoned) => poisoned.into_inner().0,
            },
        });
    }

    /// Starts a lane, which reports whether it could be opened; the supervisor calls this.
    pub(super) fn start_lane(self: &Arc<Self>) {
        let lane = Lane::new(Arc::clone(self));
        if let Err(refused) = self.start_thread(KitThread::Dropping, move || lane.run()) {
            self.lane_refused(&refused);
        }
    }

    /// Starts a thread; the supervisor calls this.
    pub(super) fn start_thread(
        self: &Arc<Self>,
        thread: KitThread,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.with(Schedule::thread_starts);
        // The supervisor itself has not ended, so it was not the last.
        self.spawn(thread, body).inspect_err(|_refused| _ = self.with(Schedule::thread_ends))
    }

    /// A lane can serve batches now.
    pub(super) fn lane_is_open(&self, lane: &Arc<Lane>) {
        self.with(|schedule| schedule.lane_is_open(Arc::clone(lane)));
        self.started.notify_all();
    }

    /// The OS refused what a lane needs.
    pub(super) fn lane_refused(&self, refused: &io::Error) {
        self.with(|schedule| schedule.lane_refused(refused, Instant::now()));
        self.started.notify_all();
    }

    /// A lane has nothing to do.
    pub(super) fn lane_is_idle(&self, lane: &Arc<Lane>) -> Next<Arc<Batch>> {
        self.with(|schedule| schedule.lane_is_idle(lane, Instant::now()))
    }

    /// A lane ends.
    pub(super) fn lane_ends(&self, lane: &Arc<Lane>) {
        self.with(|schedule| schedule.lane_ends(lane));
    }
}
