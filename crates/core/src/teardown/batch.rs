//! A batch: the values of one session or of one teardown, and the work that their destructors started.

use std::{
    collections::VecDeque,
    sync::OnceLock,
    task::Waker,
    time::{Duration, Instant},
};

use super::{Unfinished, schedule::RETRY, site::Site};
use crate::{
    latch::Latch,
    quiet::Quiet,
    sync::{Arc, Condvar, Mutex, MutexGuard, lock},
    waker::{self, Helpers},
};

/// How long a destructor, or a closure that is waited for, runs without a driver. It may be waiting for
/// a timer.
const DRIVE_ANYWAY_AFTER: Duration = Duration::from_millis(5);

/// How often that time doubles at most, for closures.
const DOUBLES: u32 = 6;

/// How often to check whether a task has appeared that needs a driver.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// How many messages of panics are kept.
const MESSAGES: usize = 16;

/// Values that are dropped one after another, in order. A batch is *pending* from the first value until
/// everything that the destructors started has ended. Then it can become pending again.
pub(super) struct Batch {
    state: Mutex<State>,
    /// Notified when something changes for the threads of the lane.
    changed: Condvar,
    helpers: Arc<Helpers>,
    /// Asks the runtime of the session whether it is down, if nothing says when that is.
    is_runtime_down: OnceLock<IsDown>,
}

type IsDown = Box<dyn Fn() -> bool + Send + Sync>;

#[derive(Default)]
pub(super) struct State {
    pub(super) values: VecDeque<Box<dyn Send>>,
    pub(super) pending: bool,
    /// Fired at the end of the period for which the batch is pending. Those who wait share it, so a wait
    /// that was given up leaves nothing behind.
    pub(super) period: Option<Arc<Latch>>,
    /// Where the values are dropped.
    pub(super) site: Option<Arc<Site>>,
    /// A second thread has been started for this period.
    pub(super) has_second: bool,
    pub(super) quiet: Quiet,
    /// Since when a destructor runs.
    pub(super) dropping: Option<Instant>,
    /// Since when a thread drives the lane's runtime.
    pub(super) driving: Option<Instant>,
    /// When the first fence was posted of those since a fence has passed or a driver has stopped: how long the
    /// closures before it may have been waiting for a driver.
    fence_posted: Option<Instant>,
    /// How many drivers there were because a fence was late, since a value was dropped.
    late_fences: u32,
    /// When the OS refused the blocking thread, if it has granted none since.
    refused: Option<Instant>,
    /// How long destructors ran, in total.
    pub(super) destructors: Duration,
    /// How many tasks were alive when their destructor returned, in total.
    pub(super) tasks: usize,
    /// The messages of the first destructors that panicked, at most [`MESSAGES`], and how many did.
    pub(super) panics: Vec<String>,
    pub(super) panicked: usize,
    /// How many values have come since the batch became pending.
    in_period: usize,
    /// How many values were not torn down when the runtime of their session was about to be cut off, if
    /// that has begun.
    outlived: Option<usize>,
    /// Wakes the driver when this state changes.
    driver: Option<Waker>,
    /// Wakes the driver when the last task has ended.
    driver_idle: Option<Waker>,
}

/// What a thread of the lane does next.
pub(super) enum Step {
    /// Drop this value.
    Drop(Box<dyn Send>),
    /// Drive the runtime.
    Drive,
    /// Post a fence for this epoch.
    Post(u64),
    /// Wait for a change; at most for this long, if there is a limit.
    Wait(Option<Duration>),
}

impl Batch {
    pub(super) fn of(helpers: Arc<Helpers>) -> Self {
        let (state, is_runtime_down) = (Mutex::default(), OnceLock::new());
        Self { state, changed: Condvar::new(), helpers, is_runtime_down }
    }

    /// Sets what [`ask_the_runtime`](Self::ask_the_runtime) asks. The first call counts.
    pub(super) fn set_runtime(&self, is_down: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.is_runtime_down.set(Box::new(is_down));
    }

    /// Records that the runtime of the session is down, if it is.
    pub(super) fn ask_the_runtime(&self) {
        let Some(is_down) = self.is_runtime_down.get() else { return };
        let is_unknown = self.lock().outlived.is_none();
        if is_unknown && is_down() {
            self.lock().runtime_is_cut_off();
        }
    }

    /// The threads that call wakers of those who wait for it.
    pub(super) const fn helpers(&self) -> &Arc<Helpers> {
        &self.helpers
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits for a change, at most for this long.
    pub(super) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match limit {
            None => self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner()),
            Some(limit) => match self.changed.wait_timeout(state, limit) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            },
        }
    }

    /// Unlocks after a change, and lets every thread of the lane see it.
    pub(super) fn changed(&self, mut state: MutexGuard<'_, State>) {
        let driver = state.driver.take();
        drop(state);
        self.changed.notify_all();
        waker::wake_all_in_place(driver);
    }

    /// Wakes the driver if it waits for the last task to end.
    pub(super) fn last_task_ended(&self) {
        let driver = self.lock().driver_idle.take();
        waker::wake_all_in_place(driver);
    }
}

impl State {
    /// Queues a value.
    pub(super) fn add(&mut self, value: Box<dyn Send>) {
        self.values.push_back(value);
        self.in_period += 1;
        if let Some(outlived) = &mut self.outlived {
            *outlived += 1;
        }
    }

    /// Takes the last value back: it is torn down elsewhere.
    pub(super) fn take_back(&mut self) -> Option<Box<dyn Send>> {
        self.in_period = self.in_period.saturating_sub(1);
        self.values.pop_back()
    }

    /// Records that the runtime of the session is about to be cut off, or is down. What is not torn down by now,
    /// and what comes later, outlives it.
    pub(super) fn runtime_is_cut_off(&mut self) {
        self.outlived.get_or_insert(self.in_period);
    }

    /// How many values have outlived the runtime of their session.
    pub(super) fn outlived(&self) -> usize {
        self.outlived.unwrap_or(0)
    }

    /// Whether the batch is served at this site.
    pub(super) fn is_served_at(&self, site: &Arc<Site>) -> bool {
        self.site.as_ref().is_some_and(|serving| Arc::ptr_eq(serving, site))
    }

    /// What a free thread of the lane does next. A destructor and a driver may run at the same time, on
    /// two threads; two of one kind never do.
    pub(super) fn next_step(&mut self, tasks: usize) -> Step {
        let now = Instant::now();
        if self.dropping.is_none() {
            if let Some(value) = self.values.pop_front() {
                self.dropping = Some(now);
                self.quiet.begin();
                return Step::Drop(value);
            }
        }
        if self.driving.is_some() {
            return Step::Wait(None);
        }
        let is_fence_late = tasks == 0 && self.dropping.is_none();
        let waiting_since = self.dropping.or(self.fence_posted);
        // The end of the driver makes the fence void. If a late one only shows that threads are slow here, the
        // next is given more time, or none would ever pass.
        let doubled = if is_fence_late { self.late_fences.min(DOUBLES) } else { 0 };
        let patience = DRIVE_ANYWAY_AFTER * (1 << doubled);
        if tasks > 0 || waiting_since.is_some_and(|since| now - since >= patience) {
            self.late_fences += u32::from(is_fence_late);
            self.driving = Some(now);
            self.quiet.begin();
            return Step::Drive;
        }
        if self.refused.is_some_and(|refused| now - refused < RETRY) {
            return Step::Wait(Some(RETRY));
        }
        match self.post_fence(now) {
            Some(epoch) => Step::Post(epoch),
            None => Step::Wait(Some(CHECK_INTERVAL)),
        }
    }

    fn post_fence(&mut self, now: Instant) -> Option<u64> {
        let epoch = self.quiet.post()?;
        self.fence_posted.get_or_insert(now);
        Some(epoch)
    }

    /// Records that the OS refused the blocking thread.
    pub(super) fn thread_was_refused(&mut self) {
        self.refused = Some(Instant::now());
    }

    /// Records that there is a blocking thread.
    pub(super) const fn thread_was_granted(&mut self) {
        self.refused = None;
    }

    /// Whether the OS refuses the blocking thread.
    pub(super) const fn is_thread_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Records that a destructor has returned. Returns the epoch of a fence to post, if it was the last
    /// value and no task needs a driver first.
    pub(super) fn returned(&mut self, panic: Option<String>, tasks: usize) -> Option<u64> {
        let now = Instant::now();
        if let Some(began) = self.dropping.take() {
            self.destructors += now - began;
        }
        self.panicked += usize::from(panic.is_some());
        self.panics.extend(panic.filter(|_| self.panicked <= MESSAGES));
        self.tasks += tasks;
        self.late_fences = 0;
        // Otherwise a closure from before may still wait for a driver, however many values come meanwhile.
        if self.quiet.has_fence_passed() {
            self.fence_posted = None;
        }
        self.quiet.end();
        if self.values.is_empty() && tasks == 0 { self.post_fence(now) } else { None }
    }

    /// Records that the driver has stopped.
    pub(super) fn drove(&mut self) {
        self.driving = None;
        (self.driver, self.driver_idle) = (None, None);
        self.quiet.end();
        self.fence_posted = None;
    }

    /// Records that the OS refused the thread for a fence, unless there has been another fence or a thread
    /// since.
    pub(super) fn fence_was_refused(&mut self, epoch: u64) {
        if self.quiet.refused(epoch) {
            self.fence_posted = None;
            self.thread_was_refused();
        }
    }

    /// Whether the driver can stop: there is a value to drop, or nothing left to wait for. If not, this
    /// keeps its waker.
    pub(super) fn can_stop_driving(&mut self, tasks: usize, waker: &Waker) -> bool {
        if self.dropping.is_none() {
            let is_idle = tasks == 0 && !self.quiet.is_fence_pending();
            if is_idle || !self.values.is_empty() {
                return true;
            }
        }
        self.driver = Some(waker.clone());
        // Only if there is a task that can be the last to end. The runtime calls `on_park` whenever it
        // has nothing to poll, and waking the driver each time would make it spin.
        self.driver_idle = (tasks > 0).then(|| waker.clone());
        false
    }

    /// Whether the lane needs a second thread if this goes on for a while: its only thread runs a
    /// destructor, which may wait for a task, or polls a task, for which values wait. Or it is about to run
    /// a destructor.
    pub(super) fn one_thread_may_not_suffice(&self) -> Option<Instant> {
        match (self.dropping, self.driving) {
            _ if self.has_second => None,
            (Some(since), None) => Some(since),
            (None, None) if !self.values.is_empty() => Some(Instant::now()),
            (None, Some(since)) if !self.values.is_empty() => Some(since),
            _ => None,
        }
    }

    /// Ends the period if every value has been dropped and nothing is left. Returns whom to tell.
    pub(super) fn finish(&mut self, tasks: usize) -> Option<Arc<Latch>> {
        if !self.values.is_empty() || !self.quiet.finish(tasks) {
            return None;
        }
        (self.pending, self.site, self.fence_posted) = (false, None, None);
        (self.has_second, self.in_period, self.late_fences) = (false, 0, 0);
        self.period.take()
    }

    /// What has not ended.
    pub(super) fn unfinished(&self) -> Unfinished {
        let site = self.site.as_ref();
        Unfinished {
            waiting: self.values.len(),
            destructor_running: self.dropping.is_some(),
            tasks: site.map_or(0, |site| site.tasks()),
            blocking_work: site.is_some_and(|site| site.has_blocking_thread())
                || self.quiet.is_fence_pending(),
            thread_refused: self.is_thread_refused(),
            thread: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch with one value, whose destructor is running.
    fn running() -> State {
        let mut state = State { pending: true, ..State::default() };
        state.values.push_back(Box::new(()));
        assert!(matches!(state.next_step(0), Step::Drop(_)));
        state
    }

    #[test]
    fn a_destructor_that_runs_gets_a_driver_for_a_task_at_once_and_for_a_timer_later() {
        let mut state = running();
        let Step::Wait(Some(soon)) = state.next_step(0) else {
            panic!("there is nothing to drive")
        };
        assert!(soon < DRIVE_ANYWAY_AFTER && state.one_thread_may_not_suffice().is_some());
        assert!(matches!(state.next_step(1), Step::Drive));
        assert!(matches!(state.next_step(1), Step::Wait(None)), "one driver is enough");
        assert!(!state.can_stop_driving(0, Waker::noop()), "the destructor may start another task");
        let mut state = running();
        state.dropping = Instant::now().checked_sub(DRIVE_ANYWAY_AFTER);
        assert!(matches!(state.next_step(0), Step::Drive), "it may wait for a timer");
    }

    #[test]
    fn values_are_dropped_one_after_another_and_only_the_last_gets_a_fence() {
        let mut state = running();
        state.values.push_back(Box::new(()));
        assert!(matches!(state.next_step(0), Step::Wait(_)), "one at a time");
        assert!(state.returned(None, 0).is_none());
        assert!(matches!(state.next_step(0), Step::Drop(_)));
        assert!(state.returned(None, 0).is_some());
        assert!(matches!(state.next_step(0), Step::Wait(Some(CHECK_INTERVAL))));
    }

    #[test]
    fn a_driver_makes_way_for_a_value_and_stops_when_nothing_is_left() {
        let mut state = running();
        assert!(state.returned(None, 1).is_none(), "the task comes first");
        assert!(matches!(state.next_step(1), Step::Drive));
        assert!(!state.can_stop_driving(1, Waker::noop()));
        assert!(state.one_thread_may_not_suffice().is_none());
        state.values.push_back(Box::new(()));
        assert!(state.one_thread_may_not_suffice().is_some(), "the task may block the thread");
        assert!(state.can_stop_driving(1, Waker::noop()));
        state.values.clear();
        assert!(state.can_stop_driving(0, Waker::noop()));
        state.drove();
        assert!(matches!(state.next_step(0), Step::Post(_)), "what the task queued is not known");
    }

    #[test]
    fn a_fence_whose_thread_was_refused_is_posted_again_later() {
        let mut state = running();
        let epoch = state.returned(None, 0).unwrap();
        state.fence_was_refused(epoch);
        assert!(matches!(state.next_step(0), Step::Wait(Some(RETRY))));
        state.refused = Instant::now().checked_sub(RETRY);
        assert!(matches!(state.next_step(0), Step::Post(again) if again == epoch));
    }

    #[test]
    fn a_refusal_that_is_recorded_late_does_not_count_for_a_later_fence() {
        let mut state = running();
        let early = state.returned(None, 0).unwrap();
        state.values.push_back(Box::new(()));
        assert!(matches!(state.next_step(0), Step::Drop(_)));
        assert!(state.returned(None, 0).is_some());
        state.fence_was_refused(early);
        assert!(!state.is_thread_refused() && state.fence_posted.is_some());
    }

    #[test]
    fn a_fence_that_is_late_gets_a_driver_and_the_next_one_more_time() {
        let mut state = running();
        assert!(state.returned(None, 0).is_some());
        state.fence_posted = Instant::now().checked_sub(DRIVE_ANYWAY_AFTER);
        assert!(matches!(state.next_step(0), Step::Drive), "a closure may wait for a timer");
        state.drove();
        assert!(matches!(state.next_step(0), Step::Post(_)));
        state.fence_posted = Instant::now().checked_sub(DRIVE_ANYWAY_AFTER);
        assert!(matches!(state.next_step(0), Step::Wait(_)), "the threads may be slow");
        state.fence_posted = Instant::now().checked_sub(DRIVE_ANYWAY_AFTER * 2);
        assert!(matches!(state.next_step(0), Step::Drive));
        state.drove();
        state.values.push_back(Box::new(()));
        assert!(matches!(state.next_step(0), Step::Drop(_)));
        assert!(state.returned(None, 0).is_some());
        state.fence_posted = Instant::now().checked_sub(DRIVE_ANYWAY_AFTER);
        assert!(matches!(state.next_step(0), Step::Drive), "a new value, and new closures");
    }

    #[test]
    fn a_value_does_not_restart_the_time_of_a_fence_that_has_not_passed() {
        let mut state = running();
        state.values.push_back(Box::new(()));
        state.values.push_back(Box::new(()));
        assert!(state.returned(None, 0).is_none());
        assert!(matches!(state.next_step(0), Step::Drop(_)));
        assert!(state.returned(None, 0).is_none());
        assert!(matches!(state.next_step(0), Step::Drop(_)));
        let epoch = state.returned(None, 0).unwrap();
        let posted = Instant::now().checked_sub(DRIVE_ANYWAY_AFTER);
        state.fence_posted = posted;
        state.values.push_back(Box::new(()));
        assert!(matches!(state.next_step(0), Step::Drop(_)));
        let next = state.returned(None, 0).unwrap();
        assert!(state.fence_posted == posted && next > epoch, "a closure before it may still run");
        state.quiet.on_fence(next, 7);
        state.values.push_back(Box::new(()));
        assert!(matches!(state.next_step(0), Step::Drop(_)));
        state.quiet.on_thread_exit(7);
        assert!(state.returned(None, 0).is_some() && state.fence_posted != posted, "none does");
    }
}
