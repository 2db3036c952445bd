//! What the closing service decides: who needs it, which batch a lane gets, and when lanes begin and end.
//!
//! This knows neither Tokio nor threads nor the time, so that the models check it as it is. `B` is a batch
//! and `L` a lane.

use std::{
    collections::VecDeque,
    io, mem,
    time::{Duration, Instant},
};

/// How often to look at the lanes while a destructor runs or a batch waits.
const TICK: Duration = Duration::from_millis(2);

/// How many lanes are started at once when they are needed. For more, a batch must have waited.
const AT_ONCE: usize = 2;

/// How long batches wait for lanes that take none before there are more lanes.
const MORE_AFTER: Duration = Duration::from_millis(3);

/// How long a lane is kept that has nothing to do. The last one is kept as long as there is a lease.
const IDLE: Duration = Duration::from_millis(100);

/// When to ask again for a thread that the OS refused.
pub const RETRY: Duration = Duration::from_millis(100);

/// The state of a closing service. Its owner guards it with a lock.
///
/// An open session holds a lease, and so does a pending batch. So there is no lease exactly if nobody and
/// nothing needs the service. It ends then, and takes no lease again.
pub struct Schedule<B, L> {
    phase: Phase,
    leases: usize,
    /// How many threads have not ended: the supervisor, and those of lanes.
    threads: usize,
    /// Batches that no lane serves, and since when.
    waiting: VecDeque<(B, Instant)>,
    /// A batch needs a lane at once: a thread of another lane may wait for it.
    is_urgent: bool,
    /// When a lane last took a batch.
    last_taken: Option<Instant>,
    /// The lanes that are open.
    lanes: Vec<L>,
    /// The lanes that wait for a batch, the one that waited longest first.
    idle: Vec<(L, Instant)>,
    /// How many lanes are being started.
    starting: usize,
    /// When to ask again for a thread that the OS refused.
    retry_at: Option<Instant>,
    /// The supervisor will look again within a few milliseconds.
    is_watched: bool,
    /// The supervisor has to look before it waits.
    attention: bool,
}

enum Phase {
    /// The first lane is not open yet.
    Starting,
    Running,
    /// The first lane was refused.
    Refused(io::ErrorKind, String),
    /// There is no lease.
    Ending,
}

/// What becomes of a batch.
pub enum Added<B, L> {
    /// Give it to this lane, which was idle.
    ToLane(L, B),
    /// A lane takes it when it becomes idle, or there will be another one.
    Waits,
    /// The service takes none any more.
    Ended(B),
}

/// What an idle lane does next.
pub enum Next<B> {
    /// Serve this batch.
    Serve(B),
    /// Wait until it is given one, or told to end.
    Wait,
    /// End.
    End,
}

/// What the supervisor does next.
pub struct Look<L> {
    /// How many lanes to start. Each is to be reported as open or refused.
    pub start: usize,
    /// Lanes to end.
    pub retired: Vec<L>,
    /// Lanes that may need a second thread.
    pub lanes: Vec<L>,
    /// When to look again, apart from what those lanes do.
    pub again: Option<Duration>,
}

impl<B, L: Clone + PartialEq> Schedule<B, L> {
    /// One lease, one thread (the supervisor's), and no lane yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: Phase::Starting,
            leases: 1,
            threads: 1,
            waiting: VecDeque::new(),
            is_urgent: false,
            last_taken: None,
            lanes: Vec::new(),
            idle: Vec::new(),
            starting: 0,
            retry_at: None,
            is_watched: false,
            attention: true,
        }
    }

    /// Whether the first lane is open. `None` until that is known.
    ///
    /// # Errors
    ///
    /// The first lane was refused.
    #[must_use]
    pub fn has_started(&self) -> Option<io::Result<()>> {
        match &self.phase {
            Phase::Starting => None,
            Phase::Running | Phase::Ending => Some(Ok(())),
            Phase::Refused(kind, message) => Some(Err(io::Error::new(*kind, message.clone()))),
        }
    }

    /// Whether there is no lease any more.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending)
    }

    /// Takes a lease, unless there is none any more.
    #[must_use]
    pub fn try_lease(&mut self) -> bool {
        let takes = matches!(self.phase, Phase::Starting | Phase::Running);
        self.leases += usize::from(takes);
        takes
    }

    /// Gives a lease back. With the last one the service ends. Returns the lanes to end at once; the others
    /// find it when they would become idle.
    #[must_use]
    pub fn give_back(&mut self) -> Vec<L> {
        self.leases -= 1;
        if self.leases > 0 || !matches!(self.phase, Phase::Running) {
            return Vec::new();
        }
        self.phase = Phase::Ending;
        // Otherwise the last lane wakes the supervisor: first things first.
        self.attention |= self.lanes.is_empty();
        self.idle.drain(..).map(|(lane, _)| lane).collect()
    }

    /// Adds a batch that has just become pending, and its lease. The lane that became idle last gets it. It
    /// is urgent if a thread of another lane may wait for it.
    #[must_use]
    pub fn add(&mut self, batch: B, is_urgent: bool, now: Instant) -> Added<B, L> {
        if self.is_ending() {
            return Added::Ended(batch);
        }
        self.leases += 1;
        if let Some((lane, _)) = self.idle.pop() {
            self.last_taken = Some(now);
            return Added::ToLane(lane, batch);
        }
        self.waiting.push_back((batch, now));
        self.is_urgent |= is_urgent;
        self.attention = true;
        Added::Waits
    }

    /// A lane can serve batches now.
    pub fn lane_is_open(&mut self, lane: L) {
        self.starting -= 1;
        self.lanes.push(lane);
        if matches!(self.phase, Phase::Starting) {
            self.phase = Phase::Running;
        }
    }

    /// The OS refused what a lane needs.
    pub fn lane_refused(&mut self, refused: &io::Error, now: Instant) {
        self.starting -= 1;
        self.retry_at = Some(now + RETRY);
        self.attention = true;
        if matches!(self.phase, Phase::Starting) {
            self.phase = Phase::Refused(refused.kind(), refused.to_string());
        }
    }

    /// A lane has nothing to do.
    #[must_use]
    pub fn lane_is_idle(&mut self, lane: &L, now: Instant) -> Next<B> {
        if let Some((batch, _)) = self.waiting.pop_front() {
            self.last_taken = Some(now);
            return Next::Serve(batch);
        }
        if self.is_ending() {
            return Next::End;
        }
        self.idle.push((lane.clone(), now));
        // From the second on, the supervisor has to end one that is idle for long.
        self.attention |= self.idle.len() == 2;
        Next::Wait
    }

    /// A lane ends, and will serve no batch any more. Its thread ends later.
    pub fn lane_ends(&mut self, lane: &L) {
        self.lanes.retain(|known| known != lane);
        self.attention = true;
    }

    /// Counts a thread that is about to be started, by one that is counted.
    pub const fn thread_starts(&mut self) {
        self.threads += 1;
    }

    /// A thread is about to return, or was refused. Returns whether it was the last.
    #[must_use]
    pub const fn thread_ends(&mut self) -> bool {
        self.threads -= 1;
        self.threads == 0
    }

    /// Makes sure that the supervisor looks at the lanes within a few milliseconds.
    pub const fn watch(&mut self) {
        self.attention |= !self.is_watched;
    }

    /// Whether the supervisor has to look before it waits.
    #[must_use]
    pub const fn needs_attention(&self) -> bool {
        self.attention
    }

    /// The supervisor begins to wait, at most for this long. Call [`look`](Self::look) after that.
    pub fn is_watched_within(&mut self, limit: Option<Duration>) {
        self.is_watched = limit.is_some_and(|limit| limit <= TICK);
    }

    /// What the supervisor does next. `None`: it ends.
    #[must_use]
    pub fn look(&mut self, now: Instant) -> Option<Look<L>> {
        (self.attention, self.is_watched) = (false, false);
        if matches!(self.phase, Phase::Ending | Phase::Refused(..)) {
            return None;
        }
        let start = self.lanes_to_start(now);
        self.starting += start;
        let retired = self.retire(now);
        Some(Look { start, retired, lanes: self.lanes.clone(), again: self.look_again(now) })
    }

    fn lanes_to_start(&mut self, now: Instant) -> usize {
        if self.retry_at.is_some_and(|at| now < at) {
            return 0;
        }
        let lanes = self.lanes.len() + self.starting;
        let needed = self.waiting.len().saturating_sub(self.starting);
        let Some(&(_, oldest)) = self.waiting.front() else {
            self.is_urgent = false;
            return usize::from(lanes == 0);
        };
        if lanes < AT_ONCE {
            return needed.min(AT_ONCE - lanes);
        }
        let urgent = usize::from(mem::take(&mut self.is_urgent));
        let waits_since = self.last_taken.map_or(oldest, |taken| taken.max(oldest));
        if now.saturating_duration_since(waits_since) < MORE_AFTER {
            return needed.min(urgent);
        }
        self.last_taken = Some(now);
        // Half as many again: a thousand that are stuck soon have lanes of their own.
        needed.min(lanes / 2)
    }

    /// Takes the lanes out that have been idle for long.
    fn retire(&mut self, now: Instant) -> Vec<L> {
        let spare = self.idle.len().saturating_sub(1);
        let is_over = |(_, since): &&(L, Instant)| now.saturating_duration_since(*since) >= IDLE;
        let count = self.idle.iter().take(spare).take_while(is_over).count();
        self.idle.drain(..count).map(|(lane, _)| lane).collect()
    }

    fn look_again(&self, now: Instant) -> Option<Duration> {
        let lanes = self.lanes.len() + self.starting;
        if !self.waiting.is_empty() || lanes == 0 {
            let retry = self.retry_at.map(|at| at.saturating_duration_since(now));
            return Some(retry.map_or(TICK, |retry| retry.max(TICK)));
        }
        match &*self.idle {
            [(_, longest), _, ..] => {
                Some(IDLE.saturating_sub(now.saturating_duration_since(*longest)))
            }
            _ => None,
        }
    }
}
