//! The closing service of the process: its leases, its batches and its lanes.
//!
//! There is at most one service at a time that takes leases. It starts with the first lease and ends with
//! the last. An open session holds a lease, and so does a pending batch: so the number of leases is zero
//! exactly if nobody and nothing needs the service. A new lease meanwhile starts a new service.
//!
//! Locks are taken in this order: a batch, the service, a lane's slot. No foreign code runs under any.

use std::{
    collections::VecDeque,
    future::pending,
    io,
    sync::{OnceLock, Weak},
    thread,
    time::{Duration, Instant},
};

use super::{
    KitThread,
    batch::{self, Batch},
    lane::{self, Lane},
    supervisor,
};
use crate::{
    fork::{GENERATIONS, OfProcess, PerProcess},
    joinable::Joinable,
    latch::Latch,
    limit::within,
    sync::{Arc, Condvar, Mutex, MutexGuard, lock},
    this_thread,
};

/// How often to ask whether the supervisor is gone, after it has said that it is about to end.
const CHECK_INTERVAL: Duration = Duration::from_micros(200);

/// How often to ask at once.
const CHECKS_AT_ONCE: usize = 50;

static CURRENT: PerProcess<Mutex<Weak<Service>>> =
    PerProcess::new([const { OfProcess::new(Mutex::new(Weak::new())) }; GENERATIONS]);

pub(super) struct Service {
    state: Mutex<State>,
    /// Wakes the supervisor.
    supervise: Condvar,
    /// Notified when the first lane is open, or was refused.
    started: Condvar,
    /// Fired by the supervisor, last.
    ended: Latch,
    supervisor: Mutex<Option<Joinable>>,
    /// The number of the supervisor's thread.
    supervisor_number: OnceLock<usize>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) phase: Phase,
    leases: usize,
    /// Batches that no lane serves, and since when.
    pub(super) waiting: VecDeque<(Arc<Batch>, Instant)>,
    /// A batch needs a lane at once: a thread of another lane may wait for it.
    pub(super) urgent: bool,
    /// When a lane last took a batch.
    pub(super) last_taken: Option<Instant>,
    pub(super) lanes: Vec<Arc<Lane>>,
    /// The lanes that wait for a batch, the one that waited longest first.
    pub(super) idle: Vec<(Arc<Lane>, Instant)>,
    /// How many lanes are being started.
    pub(super) starting: usize,
    /// When to ask again for a thread that the OS refused.
    pub(super) retry_at: Option<Instant>,
    /// The supervisor will look again within a few milliseconds.
    pub(super) watching: bool,
    /// The supervisor has to look again before it waits.
    pub(super) attention: bool,
}

impl State {
    /// Gives a batch to the lane that became idle last. Returns the batch if no lane is idle.
    fn give_to_idle_lane(&mut self, batch: Arc<Batch>) -> Result<(), Arc<Batch>> {
        let Some((lane, _)) = self.idle.pop() else { return Err(batch) };
        self.last_taken = Some(Instant::now());
        lane.serve(batch);
        Ok(())
    }

    /// The others find that the service ends when they would become idle.
    pub(super) fn end_idle_lanes(&mut self) {
        self.idle.drain(..).for_each(|(lane, _)| lane.end());
    }
}

#[derive(Default)]
pub(super) enum Phase {
    /// The first lane is not open yet.
    #[default]
    Starting,
    Running,
    /// The first lane was refused.
    Refused(io::ErrorKind, String),
    /// There is no lease.
    Ending,
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
        let running = current.upgrade().filter(|service| service.try_lease());
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
            state: Mutex::new(State { leases: 1, ..State::default() }),
            supervise: Condvar::new(),
            started: Condvar::new(),
            ended: Latch::new(),
            supervisor: Mutex::new(None),
            supervisor_number: OnceLock::new(),
        });
        let supervised = Arc::clone(&service);
        let supervisor = Joinable::spawn(KitThread::Closing.name(), move || {
            let _ = supervised.supervisor_number.set(this_thread::number());
            supervisor::supervise(&supervised);
            supervised.ended.fire();
        })?;
        *lock(&service.supervisor) = Some(supervisor);
        Ok(service)
    }

    fn try_lease(&self) -> bool {
        let mut state = self.lock();
        let takes = matches!(state.phase, Phase::Starting | Phase::Running);
        if takes {
            state.leases += 1;
        }
        takes
    }

    /// Waits until the first lane is open. That takes as long as starting two threads.
    fn wait_until_started(&self) -> io::Result<()> {
        let mut state = self.lock();
        loop {
            match &state.phase {
                Phase::Starting => state = wait(&self.started, state, None),
                Phase::Refused(kind, message) => {
                    let refused = io::Error::new(*kind, message.clone());
                    drop(state);
                    // It ends by itself, at once: nothing is left running.
                    lock(&self.supervisor).take().into_iter().for_each(Joinable::join);
                    return Err(refused);
                }
                Phase::Running | Phase::Ending => return Ok(()),
            }
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Gives a lease back. With the last one, the service ends.
    pub(super) fn give_back(&self) {
        let mut state = self.lock();
        state.leases -= 1;
        if state.leases == 0 && matches!(state.phase, Phase::Running) {
            state.phase = Phase::Ending;
            state.attention = true;
            // At once, so that they end while the supervisor wakes up to join them.
            state.end_idle_lanes();
            drop(state);
            self.supervise.notify_one();
        }
    }

    /// Waits until every thread of the service has ended, if nobody holds a lease.
    pub(super) async fn ended(self: Arc<Self>) {
        if !matches!(self.lock().phase, Phase::Ending) {
            return;
        }
        self.ended.wait().await;
        let mut checks = 0;
        while !self.is_supervisor_joined() {
            checks += 1;
            if checks < CHECKS_AT_ONCE {
                thread::yield_now();
            } else {
                within(CHECK_INTERVAL, pending::<()>()).await;
            }
        }
    }

    /// Whether the supervisor is gone. Joins it then, which takes microseconds. Before it ends, it wakes
    /// those who wait, and their wakers are foreign code, which may block. So nobody blocks here.
    fn is_supervisor_joined(&self) -> bool {
        // A waker that polls at once, on the supervisor itself.
        self.supervisor_number.get() == Some(&this_thread::number())
            || Joinable::join_if_gone(&mut lock(&self.supervisor))
    }

    /// The thread that those wait for who have given the last lease back, unless it is gone.
    pub(super) fn ending_thread(&self) -> Option<KitThread> {
        let is_ending = matches!(self.lock().phase, Phase::Ending);
        (is_ending && !Joinable::join_if_gone(&mut lock(&self.supervisor)))
            .then_some(KitThread::Closing)
    }

    /// Adds a batch that has just become pending, and its lease. Takes microseconds.
    pub(super) fn add(&self, batch: &Arc<Batch>) {
        let mut state = self.lock();
        state.leases += 1;
        let Err(batch) = state.give_to_idle_lane(Arc::clone(batch)) else { return };
        state.waiting.push_back((batch, Instant::now()));
        state.urgent |= lane::is_this_thread_of_any_lane();
        state.attention = true;
        drop(state);
        self.supervise.notify_one();
    }

    /// Adds a batch whose lane cannot serve it. The supervisor starts another one at once.
    pub(super) fn add_again(&self, batch: Arc<Batch>) {
        let mut state = self.lock();
        let Err(batch) = state.give_to_idle_lane(batch) else { return };
        state.waiting.push_front((batch, Instant::now()));
        state.urgent = true;
        state.attention = true;
        drop(state);
        self.supervise.notify_one();
    }

    /// Makes sure that the supervisor looks at the lanes within a few milliseconds.
    pub(super) fn watch(&self) {
        let mut state = self.lock();
        if !state.watching && !state.attention {
            state.attention = true;
            drop(state);
            self.supervise.notify_one();
        }
    }

    /// Waits for a reason to look again; the supervisor calls this.
    pub(super) fn wait_for_attention(&self, limit: Option<Duration>) {
        let mut state = self.lock();
        if !state.attention {
            state.watching = limit.is_some_and(|limit| limit <= supervisor::TICK);
            state = wait(&self.supervise, state, limit);
            state.watching = false;
        }
        drop(state);
    }

    /// A lane can serve batches now.
    pub(super) fn lane_is_open(&self, lane: &Arc<Lane>) {
        let mut state = self.lock();
        state.starting -= 1;
        state.lanes.push(Arc::clone(lane));
        if matches!(state.phase, Phase::Starting) {
            state.phase = Phase::Running;
            drop(state);
            self.started.notify_all();
        }
    }

    /// The OS refused what a lane needs.
    pub(super) fn lane_refused(&self, refused: &io::Error) {
        let mut state = self.lock();
        state.starting -= 1;
        state.retry_at = Some(Instant::now() + batch::RETRY);
        if matches!(state.phase, Phase::Starting) {
            state.phase = Phase::Refused(refused.kind(), refused.to_string());
        }
        state.attention = true;
        drop(state);
        self.started.notify_all();
        self.supervise.notify_one();
    }

    /// A lane has nothing to do: it gets a batch that waits, or becomes idle. Returns `false` if it has to
    /// end.
    pub(super) fn lane_is_idle(&self, lane: &Arc<Lane>) -> bool {
        let mut state = self.lock();
        if let Some((batch, _)) = state.waiting.pop_front() {
            state.last_taken = Some(Instant::now());
            lane.serve(batch);
            return true;
        }
        let goes_on = matches!(state.phase, Phase::Running);
        if goes_on {
            state.idle.push((Arc::clone(lane), Instant::now()));
            if state.idle.len() == 2 {
                // From here on the supervisor has to end one that is idle for long.
                state.attention = true;
                drop(state);
                self.supervise.notify_one();
            }
        }
        goes_on
    }

    /// The thread of a lane is about to return.
    pub(super) fn lane_has_ended(&self, lane: &Arc<Lane>) {
        let mut state = self.lock();
        state.lanes.retain(|known| !Arc::ptr_eq(known, lane));
        state.attention = true;
        drop(state);
        self.supervise.notify_one();
    }
}

fn wait<'a>(
    condvar: &Condvar,
    state: MutexGuard<'a, State>,
    limit: Option<Duration>,
) -> MutexGuard<'a, State> {
    match limit {
        None => condvar.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner()),
        Some(limit) => match condvar.wait_timeout(state, limit) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        },
    }
}
