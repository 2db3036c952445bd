//! The threads that keep asynchronous limits: none without a limit, and one that waits for the first
//! alarm otherwise.
//!
//! Waking a task is foreign code, which may block. So before a thread calls a waker while other alarms
//! are pending, there is a second one, the *standby*. It takes over when an alarm is overdue. A thread
//! that returns from a waker becomes the standby in its turn, or ends if there is one.
//!
//! The last limit to go ends the threads and joins them, so that none is left when its caller goes on.
//! Wakers may leave thread-locals behind, whose destructors are foreign code, too: no thread is joined
//! before it is gone, and one that takes too long is given up.
//!
//! It takes them out of the list first: a thread that is not in the list ends, whatever alarms others
//! have set meanwhile, for which they have started a thread of their own.

use std::{cell::Cell, collections::BTreeMap, io, mem, task::Waker, time::Duration};

#[cfg(not(loom))]
use std::time::Instant;

#[cfg(loom)]
pub use model::Instant;

#[cfg(not(loom))]
use crate::fork::{GENERATIONS, OfProcess, PerProcess};
use crate::{
    joinable::Joinable,
    newer_std::extract_if,
    sync::{Condvar, Mutex, MutexGuard, lock},
    waker,
};

/// How late an alarm must be before the standby takes over: longer than an executor takes to queue a
/// task.
const OVERDUE: Duration = if cfg!(loom) { Duration::ZERO } else { Duration::from_millis(1) };

/// How long the end of a limit waits for its waker to return. An executor's waker returns in
/// microseconds; on a busy machine its thread may have to wait for a processor.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long it waits for a thread that has called wakers to end. One that has called none has no foreign
/// thread-local, and is waited for as long as it takes.
const UNTIL_GONE: Duration = Duration::from_millis(300);

/// If no clock is left for a forked child, its limits count as passed, as they do if no thread can be
/// started.
#[cfg(not(loom))]
static CLOCKS: PerProcess<Clock> =
    PerProcess::new([const { OfProcess::new(Clock::new()) }; GENERATIONS]);

#[cfg(not(loom))]
thread_local! {
    /// The number of this thread, if it is one of a clock's. Without a destructor, which would keep a
    /// library loaded for as long as the thread lives.
    static NUMBER: Cell<Option<u64>> = const { Cell::new(None) };
}

#[cfg(loom)]
crate::sync::thread_local! {
    static NUMBER: Cell<Option<u64>> = Cell::new(None);
}

/// The number of this thread, if it is one of a clock's.
fn own_number() -> Option<u64> {
    NUMBER.with(Cell::get)
}

/// A deadline, and a number that tells apart those at the same moment.
pub type Key = (Instant, u64);

/// All alarms of a process.
pub struct Clock {
    state: Mutex<State>,
    /// For the threads: there is an earlier alarm, or an end.
    changed: Condvar,
    /// For the limits that end: a waker has returned.
    returned: Condvar,
}

struct State {
    alarms: BTreeMap<Key, Waker>,
    /// The limits whose alarm is set, or has gone off. The last one to go joins the threads.
    limits: usize,
    threads: Vec<Thread>,
    /// The thread that wakes at the very moment of the first alarm. The others wait a little longer.
    leader: Option<u64>,
    /// Threads that end by themselves, to be joined.
    leaving: Vec<Thread>,
    /// The next number of an alarm or a thread.
    next: u64,
}

struct Thread {
    number: u64,
    joinable: Joinable,
    /// The alarm whose waker it is calling.
    calling: Option<Key>,
    has_called: bool,
}

impl Thread {
    /// Joins a thread that was told to end, or gives it up.
    fn join_until(self, deadline: Instant) {
        if !self.has_called {
            self.joinable.join();
        } else if let Err(thread) = self.joinable.join_until(deadline) {
            thread.give_up();
        }
    }
}

impl State {
    const fn new() -> Self {
        Self {
            alarms: BTreeMap::new(),
            limits: 0,
            threads: Vec::new(),
            leader: None,
            leaving: Vec::new(),
            next: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The threads that are not in a waker.
    fn ready(&self) -> usize {
        self.threads.iter().filter(|thread| thread.calling.is_none()).count()
    }

    fn position(&self, number: u64) -> Option<usize> {
        self.threads.iter().position(|thread| thread.number == number)
    }
}

impl Clock {
    #[cfg(not(loom))]
    const fn new() -> Self {
        Self { state: Mutex::new(State::new()), changed: Condvar::new(), returned: Condvar::new() }
    }

    /// A clock of a model. Not `const`: loom's `Mutex::new` is not.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self { state: Mutex::new(State::new()), changed: Condvar::new(), returned: Condvar::new() }
    }

    #[cfg(not(loom))]
    pub(super) fn of_this_process() -> io::Result<&'static OfProcess<Self>> {
        CLOCKS.get()
    }

    /// Sets an alarm. Each alarm that is set must be [unset](Self::unset), once.
    ///
    /// # Errors
    ///
    /// If no thread can be started. Then no alarm is set.
    pub fn set(&'static self, deadline: Instant, waker: Waker) -> io::Result<Key> {
        let mut state = lock(&self.state);
        if state.ready() == 0 {
            if let Err(error) = self.start_thread(&mut state) {
                drop(state);
                waker::discard([waker]);
                return Err(error);
            }
        }
        let key = (deadline, state.next());
        let is_first = state.alarms.first_key_value().is_none_or(|(first, _)| key < *first);
        state.alarms.insert(key, waker);
        state.limits += 1;
        drop(state);
        if is_first {
            // All: the leader must not miss it.
            self.changed.notify_all();
        }
        Ok(key)
    }

    /// Gives an alarm another waker.
    pub fn replace(&self, key: Key, waker: Waker) {
        let replaced = lock(&self.state).alarms.insert(key, waker);
        waker::discard(replaced);
    }

    /// Counts a limit that sets no alarm itself. It starts no thread, and keeps the one that others start.
    pub fn enter(&self) {
        lock(&self.state).limits += 1;
    }

    /// The end of what [entered](Self::enter). If it was the last, there is no thread afterwards.
    pub fn leave(&self) {
        self.leave_with(None);
    }

    /// Takes an alarm back. Afterwards no thread calls its waker; and if it was the last, there is no
    /// thread. Exceptions: a waker that does not return in time keeps its thread, as does the destructor of
    /// a thread-local; and this does not wait for the thread that it is called on.
    pub fn unset(&self, key: Key) {
        self.leave_with(Some(key));
    }

    fn leave_with(&self, key: Option<Key>) {
        let mut state = lock(&self.state);
        let unset = key.and_then(|key| state.alarms.remove(&key));
        state.limits -= 1;
        let (mut state, given_up) = self.wait_for_wakers(state, key);
        let ended = if state.limits == 0 { self.end(&mut state) } else { Vec::new() };
        drop(state);
        waker::discard(unset);
        given_up.into_iter().for_each(|thread| _ = thread.joinable.give_up());
        if !ended.is_empty() {
            let deadline = Instant::now() + UNTIL_GONE;
            ended.into_iter().for_each(|thread| thread.join_until(deadline));
        }
    }

    /// Waits until the waker of an alarm has returned; if there is no limit any more, until every waker
    /// has. Returns the threads that take too long: nobody will wait for them again.
    fn wait_for_wakers<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        key: Option<Key>,
    ) -> (MutexGuard<'a, State>, Vec<Thread>) {
        let mut deadline = None;
        loop {
            let is_last = state.limits == 0;
            let is_awaited = |thread: &Thread| {
                let calls = thread.calling.is_some_and(|called| is_last || Some(called) == key);
                calls && own_number() != Some(thread.number)
            };
            if !state.threads.iter().any(is_awaited) {
                return (state, Vec::new());
            }
            let now = Instant::now();
            let left = deadline.get_or_insert(now + PATIENCE).saturating_duration_since(now);
            if left.is_zero() {
                let given_up = extract_if(&mut state.threads, |thread| is_awaited(thread));
                return (state, given_up);
            }
            state = wait_timeout(&self.returned, state, left);
        }
    }

    /// Tells all threads to end, and returns those that can be joined.
    fn end(&self, state: &mut State) -> Vec<Thread> {
        let (own, others): (Vec<_>, Vec<_>) = mem::take(&mut state.threads)
            .into_iter()
            .partition(|thread| own_number() == Some(thread.number));
        // A waker has dropped the last limit, on the thread that calls it. That thread cannot join
        // itself. It leaves as soon as it finds that there is no limit.
        state.threads = own;
        state.leader = None;
        self.changed.notify_all();
        others.into_iter().chain(mem::take(&mut state.leaving)).collect()
    }

    fn start_thread(&'static self, state: &mut State) -> io::Result<()> {
        let number = state.next();
        let joinable = Joinable::spawn("sundown-clock", move || {
            NUMBER.with(|own| own.set(Some(number)));
            self.keep(number);
        })?;
        state.threads.push(Thread { number, joinable, calling: None, has_called: false });
        Ok(())
    }

    /// What a thread does.
    fn keep(&'static self, number: u64) {
        let mut state = lock(&self.state);
        // Whoever takes it out of the list joins it, or has given it up.
        while let Some(position) = state.position(number) {
            let is_leader = *state.leader.get_or_insert(number) == number;
            // One leader and one standby are enough.
            if state.limits == 0 || !is_leader && state.ready() > 2 {
                let thread = state.threads.swap_remove(position);
                state.leaving.push(thread);
                state.leader = state.leader.filter(|leader| *leader != number);
                return;
            }
            // Under the lock: they are gone, so it takes microseconds, and it is rare.
            let gone = extract_if(&mut state.leaving, |thread| thread.joinable.is_gone());
            gone.into_iter().for_each(|thread| thread.joinable.join());
            let Some((&key, _)) = state.alarms.first_key_value() else {
                state = wait(&self.changed, state);
                continue;
            };
            let at = if is_leader { Some(key.0) } else { key.0.checked_add(OVERDUE) };
            let left = at.unwrap_or(key.0).saturating_duration_since(Instant::now());
            state = if left.is_zero() {
                self.call(state, position, key)
            } else {
                wait_timeout(&self.changed, state, left)
            };
        }
    }

    /// Calls the waker of an alarm on the thread at this position.
    fn call<'a>(
        &'static self,
        mut state: MutexGuard<'a, State>,
        position: usize,
        key: Key,
    ) -> MutexGuard<'a, State> {
        let due = state.alarms.remove(&key);
        let number = state.threads[position].number;
        (state.threads[position].calling, state.threads[position].has_called) = (Some(key), true);
        state.leader = state.leader.filter(|leader| *leader != number);
        if !state.alarms.is_empty() && state.ready() == 0 {
            // Without a standby, the others are late if this waker blocks. Nothing better can be done.
            let _ = self.start_thread(&mut state);
        }
        drop(state);
        waker::wake_all_in_place(due);
        state = lock(&self.state);
        if let Some(position) = state.position(number) {
            state.threads[position].calling = None;
        }
        self.returned.notify_all();
        state
    }
}

fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condition.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn wait_timeout<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    left: Duration,
) -> MutexGuard<'a, State> {
    match condition.wait_timeout(state, left) {
        Ok((state, _)) => state,
        Err(poisoned) => poisoned.into_inner().0,
    }
}

/// Loom knows no time: an alarm is due, or it never goes off.
#[cfg(loom)]
mod model {
    use std::{ops::Add, time::Duration};

    /// A moment: now, or never.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant(Duration);

    impl Instant {
        /// It does not come.
        pub const NEVER: Self = Self(Duration::MAX);

        /// It has come.
        #[must_use]
        pub fn now() -> Self {
            Self(Duration::ZERO)
        }

        pub(super) fn checked_add(self, duration: Duration) -> Option<Self> {
            self.0.checked_add(duration).map(Self)
        }

        pub(super) fn saturating_duration_since(self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }
    }

    impl Add<Duration> for Instant {
        type Output = Self;

        fn add(self, duration: Duration) -> Self {
            Self(self.0 + duration)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        task::Wake,
        thread,
    };

    use super::*;
    use crate::{latch::Latch, limit::PLENTY};

    const HOUR: Duration = Duration::from_secs(3600);

    fn clock() -> &'static Clock {
        Box::leak(Box::new(Clock::new()))
    }

    /// A waker that runs a closure.
    struct Runs<F>(F);

    impl<F: Fn() + Send + Sync + 'static> Wake for Runs<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }

    fn runs(does: impl Fn() + Send + Sync + 'static) -> Waker {
        Waker::from(Arc::new(Runs(does)))
    }

    fn fires() -> (Arc<Latch>, Waker) {
        let latch = Arc::new(Latch::new());
        let waker = runs({
            let latch = Arc::clone(&latch);
            move || {
                latch.fire();
            }
        });
        (latch, waker)
    }

    fn threads(clock: &Clock) -> usize {
        lock(&clock.state).threads.len()
    }

    #[test]
    fn alarms_at_the_same_moment_are_all_woken() {
        let (clock, moment, alarms) = (clock(), Instant::now(), [(); 3].map(|()| fires()));
        let keys: Vec<_> =
            alarms.iter().map(|(_, waker)| clock.set(moment, waker.clone()).unwrap()).collect();
        assert!(alarms.iter().all(|(fired, _)| fired.wait_blocking(PLENTY)));
        keys.into_iter().for_each(|key| clock.unset(key));
        assert_eq!(threads(clock), 0);
    }

    #[test]
    fn an_earlier_alarm_is_minded_and_one_that_was_given_up_is_forgotten() {
        let clock = clock();
        for _ in 0..20 {
            let ((soon, soon_waker), (late, late_waker)) = (fires(), fires());
            let late_key = clock.set(Instant::now() + HOUR, late_waker).unwrap();
            // In most of these rounds at least, the clock waits for the hour to pass after this.
            (0..1000).for_each(|_| thread::yield_now());
            let soon_key = clock.set(Instant::now(), soon_waker).unwrap();
            assert!(soon.wait_blocking(PLENTY));
            clock.unset(soon_key);
            assert!(threads(clock) > 0, "there is another limit");
            clock.unset(late_key);
            assert_eq!((threads(clock), Arc::strong_count(&late)), (0, 1));
            assert!(!late.has_fired());
        }
    }

    #[test]
    fn limits_one_after_another_share_a_thread_while_something_has_entered() {
        let clock = clock();
        clock.enter();
        assert_eq!(threads(clock), 0, "none is needed yet");
        let mut numbers = Vec::new();
        for _ in 0..3 {
            let key = clock.set(Instant::now() + HOUR, fires().1).unwrap();
            clock.unset(key);
            numbers.extend(lock(&clock.state).threads.iter().map(|thread| thread.number));
        }
        assert!(numbers.len() == 3 && numbers.iter().all(|number| *number == numbers[0]));
        clock.leave();
        assert_eq!(threads(clock), 0);
    }

    /// A waker that returns when it is told to, and says when it is called.
    fn blocks() -> (mpsc::Receiver<()>, Arc<Latch>, Waker) {
        let (calls, called) = mpsc::channel();
        let enough = Arc::new(Latch::new());
        let waker = runs({
            let enough = Arc::clone(&enough);
            move || {
                let _ = calls.send(());
                assert!(enough.wait_blocking(PLENTY));
            }
        });
        (called, enough, waker)
    }

    #[test]
    fn however_many_wakers_block_the_others_are_called() {
        let clock = clock();
        let (fired, waker) = fires();
        let blocking = [(); 5].map(|()| blocks());
        let soon = Instant::now() + Duration::from_millis(5);
        let mut keys: Vec<_> =
            blocking.iter().map(|(.., waker)| clock.set(soon, waker.clone()).unwrap()).collect();
        keys.push(clock.set(soon + Duration::from_millis(5), waker).unwrap());
        blocking.iter().for_each(|(called, ..)| called.recv_timeout(PLENTY).unwrap());
        assert!(fired.wait_blocking(PLENTY), "wakers that block make another limit late");
        assert!(threads(clock) > 5);
        blocking.iter().for_each(|(_, enough, _)| assert!(enough.fire()));
        // One waits for alarms, and one is the standby.
        let deadline = Instant::now() + PLENTY;
        while threads(clock) > 2 {
            assert!(Instant::now() < deadline, "threads stay that have nothing to do");
            thread::yield_now();
        }
        keys.into_iter().for_each(|key| clock.unset(key));
        assert_eq!(threads(clock), 0);
    }

    #[test]
    fn the_end_of_a_limit_waits_for_its_waker() {
        let clock = clock();
        let returned = Arc::new(Latch::new());
        let (calls, called) = mpsc::channel();
        let waker = runs({
            let returned = Arc::clone(&returned);
            move || {
                let _ = calls.send(());
                (0..100).for_each(|_| thread::yield_now());
                returned.fire();
            }
        });
        let key = clock.set(Instant::now(), waker).unwrap();
        called.recv_timeout(PLENTY).unwrap();
        let asked = Instant::now();
        clock.unset(key);
        assert!(returned.has_fired() || asked.elapsed() >= PATIENCE, "it did not wait");
    }

    #[test]
    fn a_waker_that_never_returns_is_waited_for_once() {
        let clock = clock();
        let (called, enough, waker) = blocks();
        let key = clock.set(Instant::now(), waker).unwrap();
        called.recv_timeout(PLENTY).unwrap();
        let asked = Instant::now();
        clock.unset(key);
        assert!(asked.elapsed() >= PATIENCE, "the waker has not returned yet");
        assert_eq!(threads(clock), 0, "its thread is given up");
        // The next limit has a thread of its own, and does not wait for that one.
        let (fired, waker) = fires();
        let key = clock.set(Instant::now(), waker).unwrap();
        assert!(fired.wait_blocking(PLENTY));
        clock.unset(key);
        assert!(lock(&clock.state).leaving.is_empty());
        enough.fire();
    }

    #[test]
    fn a_waker_may_end_the_last_limit_on_the_clocks_own_thread() {
        let clock = clock();
        let key = Arc::new(Mutex::new(None));
        let ended = Arc::new(Latch::new());
        let waker = runs({
            let (key, ended) = (Arc::clone(&key), Arc::clone(&ended));
            move || {
                let key = lock(&key).take();
                clock.unset(key.unwrap());
                ended.fire();
            }
        });
        let mut slot = lock(&key);
        *slot = Some(clock.set(Instant::now(), waker).unwrap());
        drop(slot);
        assert!(ended.wait_blocking(PLENTY));
        // The next limit joins the thread that has left by itself.
        let (_, waker) = fires();
        let key = clock.set(Instant::now() + HOUR, waker).unwrap();
        clock.unset(key);
        let state = lock(&clock.state);
        assert!(state.threads.is_empty() && state.leaving.is_empty());
    }

    #[test]
    fn limits_on_many_threads_leave_no_thread_behind() {
        let clock = clock();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..200 {
                        let (fired, waker) = fires();
                        let far = Duration::from_micros(round % 3 * 50);
                        let key = clock.set(Instant::now() + far, waker).unwrap();
                        assert!(round % 2 == 0 || fired.wait_blocking(PLENTY), "a limit is lost");
                        clock.unset(key);
                    }
                });
            }
        });
        let state = lock(&clock.state);
        assert!(state.threads.is_empty() && state.leaving.is_empty() && state.alarms.is_empty());
        assert_eq!(state.limits, 0);
    }
}
