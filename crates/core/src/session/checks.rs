//! The evidence of a session: several checks, asked again and again by one thread.
//!
//! A check is the application's code and may hang, so no close runs it. One thread for the session does,
//! from the first close that gets so far until the checks confirm the end. A check that hangs costs this
//! one thread, not one for each close: callers share the answer that is pending.

use std::{
    cell::Cell,
    io, mem,
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::{
    evidence::{Evidence, Unconfirmed},
    joinable::Joinable,
    latch::Latch,
    limit::pause,
    panics,
    sync::{Arc, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, lock},
    teardown::KitThread,
    this_thread,
    waker::Helpers,
};

/// How often to look whether the thread has ended, when it has nothing left to do.
const LOOK_AGAIN: Duration = Duration::from_micros(100);

/// The checks of a session. All must confirm the end. Clones share them.
#[derive(Clone)]
pub(super) struct Checks {
    shared: Arc<Shared>,
    are_there_any: bool,
}

/// Clones share the checks.
type AllChecks = Arc<[Box<dyn Evidence>]>;

struct Shared {
    state: Mutex<State>,
    /// Notified when a round begins, and when no more will.
    changed: Condvar,
    /// The number of the thread that runs the checks, plus one.
    thread: AtomicUsize,
    /// Of the session.
    helpers: Arc<Helpers>,
}

struct State {
    /// Empty once they have confirmed the end: nothing that they hold is kept alive by a closed session.
    checks: AllChecks,
    thread: Option<Joinable>,
    /// The round that has not been answered.
    pending: Option<Arc<Round>>,
    /// The checks have looked since the session began to close.
    looked: bool,
    /// When they held first, of the answers since one spoke against the end.
    held_since: Option<Instant>,
    confirmed: bool,
    /// Nobody will ask again.
    ended: bool,
}

/// One call of every check.
struct Round {
    what: What,
    answer: OnceLock<Result<Confirmed, Unconfirmed>>,
    answered: Latch,
}

/// What every check is called for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Look,
    /// The end is confirmed if all of them hold, and held this long before.
    Check(Duration),
}

/// What all checks together say, if none speaks against the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    Yes,
    /// They hold, but have not held for long enough. Ask again.
    NotYet,
}

impl Checks {
    pub(super) fn new(checks: Vec<Box<dyn Evidence>>, helpers: Arc<Helpers>) -> Self {
        let are_there_any = !checks.is_empty();
        let state = State {
            checks: checks.into(),
            thread: None,
            pending: None,
            looked: false,
            held_since: None,
            confirmed: false,
            ended: false,
        };
        let state = Mutex::new(state);
        let (changed, thread) = (Condvar::new(), AtomicUsize::new(0));
        let shared = Shared { state, changed, thread, helpers };
        Self { shared: Arc::new(shared), are_there_any }
    }

    /// Whether the session has evidence.
    pub(super) const fn are_there_any(&self) -> bool {
        self.are_there_any
    }

    /// A value that has every check look before it is dropped: it is open until then.
    pub(super) fn look_before_drop<T: Send + 'static>(&self, value: T) -> Box<dyn Send> {
        /// The value is dropped after the look, and before the checks.
        struct LastLook<T> {
            _value: T,
            checks: Checks,
        }

        impl<T> Drop for LastLook<T> {
            fn drop(&mut self) {
                self.checks.look();
            }
        }

        match self.are_there_any {
            true => Box::new(LastLook { _value: value, checks: self.clone() }),
            false => Box::new(value),
        }
    }

    /// Has every check look, on this thread. A check that comes back here from its look is left alone.
    pub(super) fn look(&self) {
        thread_local!(static LOOKING: Cell<bool> = const { Cell::new(false) });
        if !self.are_there_any || LOOKING.replace(true) {
            return;
        }
        let checks = Arc::clone(&self.shared.lock().checks);
        look(&checks);
        // The last reference may be this one, if the checks have confirmed the end meanwhile.
        let _ = panics::catch(|| drop(checks));
        LOOKING.set(false);
    }

    /// Whether this is the thread that runs the checks.
    pub(super) fn include_this_thread(&self) -> bool {
        // Relaxed: only this very thread stores its own number.
        self.are_there_any
            && self.shared.thread.load(Ordering::Relaxed) == this_thread::number() + 1
    }

    /// Has every check look on their thread, unless they have before.
    pub(super) async fn look_once(&self) {
        // If there is no thread, they have not looked, and say so when they are asked to confirm.
        let _ = self.ask_for(What::Look).await;
    }

    /// Asks the checks. The end is confirmed if they hold, and held so long before that there was time for
    /// something to be opened again. If a round is pending, waits for its answer: it began when everything that the
    /// session sees had ended, as it has for this caller.
    pub(super) async fn ask(&self, held_for: Duration) -> Result<Confirmed, Unconfirmed> {
        self.ask_for(What::Check(held_for)).await
    }

    async fn ask_for(&self, what: What) -> Result<Confirmed, Unconfirmed> {
        loop {
            let round = match self.shared.round(what) {
                Ok(Some(round)) => round,
                Ok(None) => return Ok(Confirmed::Yes),
                Err(refused) => {
                    let why = format!("cannot start a thread to run the check: {refused}");
                    return Err(unavailable(&why));
                }
            };
            round.answered.wait().await;
            if (round.what == What::Look) == (what == What::Look) {
                let no_answer = || Err(unavailable("the checks returned no result"));
                return round.answer.get().cloned().unwrap_or_else(no_answer);
            }
        }
    }

    /// Waits until the thread has ended, after a confirmation or in a session without evidence.
    pub(super) async fn join(&self) {
        while self.has_thread() {
            // The thread may still be waking other callers, or destroying what the checks have left in
            // its thread-locals: foreign code.
            pause(LOOK_AGAIN).await;
        }
    }

    /// Whether there is a thread. Joins one that is gone.
    pub(super) fn has_thread(&self) -> bool {
        // Under the lock, so that other callers wait for the join, too. It takes microseconds.
        !Joinable::join_if_gone(&mut self.shared.lock().thread)
    }

    /// Drops nothing of the checks, ever: for a forked child.
    pub(super) fn leak(&self) {
        mem::forget(Arc::clone(&self.shared));
    }

    /// Tells the thread that nobody will ask again. It drops the checks. Without a thread, this takes them out:
    /// their destructors are foreign code. Not in a forked child.
    pub(super) fn end(&self) -> Option<Box<dyn Send>> {
        if !self.are_there_any {
            return None;
        }
        let mut state = self.shared.lock();
        state.ended = true;
        let left = match &state.thread {
            Some(_) => AllChecks::default(),
            None => mem::take(&mut state.checks),
        };
        drop(state);
        self.shared.changed.notify_all();
        if left.is_empty() { None } else { Some(Box::new(left)) }
    }
}

fn unavailable(why: &str) -> Unconfirmed {
    Unconfirmed::Unavailable(why.to_owned())
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The pending round, or a new one; `None` if no more is needed.
    fn round(self: &Arc<Self>, what: What) -> io::Result<Option<Arc<Round>>> {
        let mut state = self.lock();
        let is_done = state.confirmed || what == What::Look && state.looked;
        if is_done || state.checks.is_empty() {
            return Ok(None);
        }
        if let Some(pending) = &state.pending {
            return Ok(Some(Arc::clone(pending)));
        }
        if state.thread.is_none() {
            let shared = Arc::clone(self);
            state.thread =
                Some(Joinable::spawn(KitThread::Evidence.name(), move || shared.answer_rounds())?);
        }
        let answered = Latch::of(&self.helpers);
        let round = Arc::new(Round { what, answer: OnceLock::new(), answered });
        state.pending = Some(Arc::clone(&round));
        drop(state);
        self.changed.notify_all();
        Ok(Some(round))
    }

    /// What the thread does.
    fn answer_rounds(&self) {
        // Relaxed: see `include_this_thread`.
        self.thread.store(this_thread::number() + 1, Ordering::Relaxed);
        while let Some((round, checks)) = self.next() {
            let began = Instant::now();
            let answer = match round.what {
                What::Look => {
                    look(&checks);
                    None
                }
                What::Check(held_for) => Some(run(&checks).map(|()| held_for)),
            };
            // The last reference may be this one, if the session is gone.
            let _ = panics::catch(|| drop(checks));
            let mut state = self.lock();
            let answer = match answer {
                None => Ok(Confirmed::NotYet),
                Some(Ok(held_for)) => {
                    let since = *state.held_since.get_or_insert_with(Instant::now);
                    let long_enough = began.saturating_duration_since(since) >= held_for;
                    Ok(if long_enough { Confirmed::Yes } else { Confirmed::NotYet })
                }
                Some(Err(why)) => {
                    state.held_since = None;
                    Err(why)
                }
            };
            let is_confirmed = answer == Ok(Confirmed::Yes);
            // The round has one thread that answers it.
            let _ = round.answer.set(answer);
            state.pending = None;
            state.looked = true;
            state.confirmed = is_confirmed;
            let done = if is_confirmed { mem::take(&mut state.checks) } else { Arc::default() };
            drop(state);
            // Its destructor is foreign code.
            let _ = panics::catch(|| drop(done));
            round.answered.fire();
            if is_confirmed {
                return;
            }
        }
        let left = mem::take(&mut self.lock().checks);
        let _ = panics::catch(|| drop(left));
    }

    fn next(&self) -> Option<(Arc<Round>, AllChecks)> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            if let Some(round) = &state.pending {
                return Some((Arc::clone(round), Arc::clone(&state.checks)));
            }
            state = match self.changed.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }
}

/// Has every check look. One that cannot says so when it is asked to confirm.
fn look(checks: &[Box<dyn Evidence>]) {
    for check in checks {
        let _ = panics::catch(|| check.look());
    }
}

/// Runs every check. The first that cannot decide decides; otherwise all that speak against the end do.
fn run(checks: &[Box<dyn Evidence>]) -> Result<(), Unconfirmed> {
    let mut against = Vec::new();
    for check in checks {
        let checked = panics::catch(|| check.check());
        match checked.unwrap_or_else(|why| Err(unavailable(&format!("the check panicked: {why}"))))
        {
            Ok(()) => {}
            Err(Unconfirmed::Against(why)) => against.push(why),
            Err(why) => return Err(why),
        }
    }
    match against.is_empty() {
        true => Ok(()),
        false => Err(Unconfirmed::Against(against.join("; "))),
    }
}
