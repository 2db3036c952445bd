//! The hooks of a session: what the application wants done before the session takes its runtime down,
//! such as the SDK's own shutdown.
//!
//! They run once, one after another. On the session's runtime they run as a task, which continues if a
//! close is given up. Without a runtime, whoever awaits a close polls them, in the context that it has. A
//! hook that blocks its thread in `poll` blocks that caller then, for which no limit can be kept; what it
//! gets is an answer that says so. Other callers keep theirs.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::Future,
    mem,
    panic::Location,
    pin::Pin,
    sync::Weak,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
    vec,
};

use super::{Blocked, Guarded, HookFailure, HookFailureKind, runtime::Runtime};
use crate::{
    latch::Latch,
    panics,
    sync::{Arc, Mutex, lock},
    waker::{self, Helpers, ToWake},
};

/// A hook that has not been called.
pub(super) struct Hook {
    call: Box<dyn FnOnce() -> Run + Send>,
    given_at: &'static Location<'static>,
    /// The value of its own session that it keeps a handle to.
    keeps: Option<Kept>,
}

/// A value, whatever its type.
type Kept = Weak<dyn Send + Sync>;

type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Hook {
    pub(super) fn new<F>(
        hook: impl FnOnce() -> F + Send + 'static,
        given_at: &'static Location<'static>,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { call: Box::new(|| Box::pin(hook())), given_at, keeps: None }
    }

    /// A hook that gets this handle. It keeps the value alive until then.
    pub(super) fn with<T, F>(
        handle: Guarded<T>,
        is_ours: bool,
        hook: impl FnOnce(Guarded<T>) -> F + Send + 'static,
        given_at: &'static Location<'static>,
    ) -> Self
    where
        T: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let keeps = is_ours.then(|| handle.weak_value() as Kept);
        Self { keeps, ..Self::new(|| hook(handle), given_at) }
    }
}

/// The hooks of a session.
pub(super) struct Hooks {
    shared: Arc<Shared>,
}

struct Shared {
    /// Tells which session a thread is in the hooks of.
    id: u64,
    state: Mutex<State>,
    /// Fires when all hooks have ended.
    ended: Latch,
    /// Of the session.
    helpers: Arc<Helpers>,
}

struct State {
    stage: Stage,
    /// The hook that runs now, or is about to.
    running: Option<&'static Location<'static>>,
    failures: Vec<HookFailure>,
    /// There were hooks, and they have begun.
    have_run: bool,
    /// The hook that blocked a caller's thread for the longest time, in one poll.
    blocked: Option<Blocked>,
    /// Callers that wait for their turn to poll.
    callers: Vec<(u64, Waker)>,
    next_caller: u64,
    /// A caller came while another polled. It may have been woken for the hooks.
    has_missed: bool,
}

enum Stage {
    NotBegun(Vec<Hook>),
    /// They run as a task of the session's runtime.
    OnRuntime,
    /// They are polled by callers. `None` while one polls.
    ByCallers(Option<Run>),
    Ended,
}

impl Hooks {
    pub(super) fn new(hooks: Vec<Hook>, helpers: Arc<Helpers>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: a number that no other session has.
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let state = State {
            stage: Stage::NotBegun(hooks),
            running: None,
            failures: Vec::new(),
            have_run: false,
            blocked: None,
            callers: Vec::new(),
            next_caller: 0,
            has_missed: false,
        };
        let (state, ended) = (Mutex::new(state), Latch::of(&helpers));
        Self { shared: Arc::new(Shared { id, state, ended, helpers }) }
    }

    /// Adds a hook. Returns it if the hooks have begun.
    pub(super) fn add<H>(&self, hook: H, made: impl FnOnce(H) -> Hook) -> Result<(), H> {
        match &mut lock(&self.shared.state).stage {
            Stage::NotBegun(hooks) => hooks.push(made(hook)),
            _ => return Err(hook),
        }
        Ok(())
    }

    /// Whether the hooks, which have not begun, hold every handle to so many values (a snapshot).
    pub(super) fn hold_all_of(&self, values: usize) -> bool {
        let state = lock(&self.shared.state);
        let Stage::NotBegun(hooks) = &state.stage else { return false };
        // By value: how many handles the hooks keep to it, and how many there are.
        let mut kept = HashMap::new();
        for value in hooks.iter().filter_map(|hook| hook.keeps.as_ref()) {
            let at = value.as_ptr().cast::<()>();
            kept.entry(at).or_insert((0, value.strong_count())).0 += 1;
        }
        kept.len() == values && kept.values().all(|(by_hooks, all)| by_hooks == all)
    }

    /// Whether hooks, which have not begun, keep handles to values.
    pub(super) fn keep_some(&self) -> bool {
        match &lock(&self.shared.state).stage {
            Stage::NotBegun(hooks) => hooks.iter().any(|hook| hook.keeps.is_some()),
            _ => false,
        }
    }

    /// Whether there were hooks, and they have begun.
    pub(super) fn have_run(&self) -> bool {
        lock(&self.shared.state).have_run
    }

    /// Whether there are hooks, ended or not.
    pub(super) fn are_pending(&self) -> bool {
        match &lock(&self.shared.state).stage {
            Stage::NotBegun(hooks) => !hooks.is_empty(),
            Stage::OnRuntime | Stage::ByCallers(_) => true,
            Stage::Ended => false,
        }
    }

    /// Whether this thread is polling a hook of this session.
    pub(super) fn include_this_thread(&self) -> bool {
        INSIDE.try_with(|inside| inside.borrow().contains(&self.shared.id)).unwrap_or(false)
    }

    /// Runs the hooks, unless they have begun, and waits until they have ended.
    pub(super) async fn run(&self, runtime: Option<&Runtime>) {
        let hooks = {
            let mut state = lock(&self.shared.state);
            match &mut state.stage {
                Stage::NotBegun(hooks) => {
                    let hooks = mem::take(hooks);
                    state.running = hooks.first().map(|hook| hook.given_at);
                    state.have_run = !hooks.is_empty();
                    state.stage = match (hooks.is_empty(), runtime) {
                        (true, _) => Stage::Ended,
                        (false, Some(_)) => Stage::OnRuntime,
                        (false, None) => Stage::ByCallers(None),
                    };
                    Some(hooks)
                }
                _ => None,
            }
        };
        match hooks {
            Some(hooks) if hooks.is_empty() => _ = self.shared.ended.fire(),
            Some(hooks) => {
                let run = run(Arc::clone(&self.shared), hooks);
                match runtime {
                    // If the runtime is down, it drops the task, which notes that.
                    Some(runtime) => runtime.spawn(run),
                    None => {
                        let run: Run = Box::pin(run);
                        lock(&self.shared.state).stage = Stage::ByCallers(Some(run));
                        self.shared.wake_callers();
                    }
                }
            }
            None => {}
        }
        let by_callers = matches!(lock(&self.shared.state).stage, Stage::ByCallers(_));
        if by_callers {
            Turns { shared: &self.shared, caller: None }.await;
        } else {
            self.shared.ended.wait().await;
        }
    }

    /// The hook that blocked a caller's thread for the longest time, if that was at least this long.
    pub(super) fn blocked(&self, at_least: Duration) -> Option<Blocked> {
        lock(&self.shared.state).blocked.filter(|blocked| blocked.for_so_long >= at_least)
    }

    /// What did not end well, and what has not ended.
    pub(super) fn failures(&self) -> Vec<HookFailure> {
        let state = lock(&self.shared.state);
        let running = state.running.map(|given_at| (given_at, HookFailureKind::StillRunning));
        let running = running.map(|(given_at, kind)| HookFailure { given_at, kind });
        state.failures.iter().cloned().chain(running).collect()
    }

    /// Drops nothing of the hooks, ever: for a forked child.
    pub(super) fn leak(&self) {
        mem::forget(Arc::clone(&self.shared));
    }

    /// Takes out hooks that have not begun, or that nobody will poll again. Their destructors are foreign
    /// code.
    pub(super) fn take(&self) -> Option<Box<dyn Send>> {
        let stage = &mut lock(&self.shared.state).stage;
        match stage {
            Stage::OnRuntime => return None,
            Stage::NotBegun(hooks) if hooks.is_empty() => return None,
            Stage::ByCallers(None) | Stage::Ended => return None,
            Stage::NotBegun(_) | Stage::ByCallers(Some(_)) => {}
        }
        Some(Box::new(mem::replace(stage, Stage::Ended)))
    }
}

/// Runs the hooks one after another. Whatever ends it, what has not ended is noted.
fn run(shared: Arc<Shared>, hooks: Vec<Hook>) -> impl Future<Output = ()> + Send {
    let left = hooks.into_iter();
    let mut noted = Noted { shared: Arc::clone(&shared), left, is_running: false };
    let body = async move {
        while let Some(Hook { call, given_at, .. }) = noted.left.next() {
            noted.is_running = true;
            let outcome = match panics::catch(call) {
                Ok(run) => Caught(Some(run)).await,
                Err(message) => Err(message),
            };
            noted.is_running = false;
            let mut state = lock(&noted.shared.state);
            state.running = noted.left.as_slice().first().map(|next| next.given_at);
            if let Err(message) = outcome {
                let kind = HookFailureKind::Panicked(message);
                state.failures.push(HookFailure { given_at, kind });
            }
        }
        drop(noted);
    };
    Inside { id: shared.id, body: Some(Box::pin(body)) }
}

/// Notes the end of the hooks.
struct Noted {
    shared: Arc<Shared>,
    /// Those after the one that runs.
    left: vec::IntoIter<Hook>,
    is_running: bool,
}

impl Drop for Noted {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        let running = state.running.take().filter(|_| self.is_running);
        for given_at in running.into_iter().chain(self.left.as_slice().iter().map(|it| it.given_at))
        {
            state.failures.push(HookFailure { given_at, kind: HookFailureKind::Dropped });
        }
        state.stage = Stage::Ended;
        let to_wake = self.shared.take_callers(&mut state);
        drop(state);
        for hook in self.left.by_ref() {
            // Foreign code.
            let _ = panics::catch(|| drop(hook));
        }
        waker::wake(self.shared.ended.set_fired().into_iter().chain([to_wake]));
    }
}

/// A hook whose panics are caught, also those of its destructor.
struct Caught(Option<Run>);

impl Future for Caught {
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(run) = &mut self.0 else { return Poll::Ready(Ok(())) };
        let polled = match panics::catch(|| run.as_mut().poll(context)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => Ok(()),
            Err(message) => Err(message),
        };
        let run = self.0.take();
        let dropped = panics::catch(|| drop(run));
        Poll::Ready(polled.and(dropped))
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        let run = self.0.take();
        let _ = panics::catch(|| drop(run));
    }
}

thread_local! {
    /// The sessions whose hooks this thread is in: one inside the other.
    static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// A future that a thread is known to be in while it polls or drops it.
struct Inside {
    id: u64,
    body: Option<Run>,
}

impl Inside {
    fn enter<R>(&mut self, does: impl FnOnce(&mut Option<Run>) -> R) -> R {
        /// Leaves, even by a panic.
        struct Leaves;
        impl Drop for Leaves {
            fn drop(&mut self) {
                let _ = INSIDE.try_with(|inside| inside.borrow_mut().pop());
            }
        }
        let entered = INSIDE.try_with(|inside| inside.borrow_mut().push(self.id));
        let _leaves = entered.ok().map(|()| Leaves);
        does(&mut self.body)
    }
}

impl Future for Inside {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.enter(|body| {
            let polled = body.as_mut().map(|body| body.as_mut().poll(context));
            if polled == Some(Poll::Pending) {
                return Poll::Pending;
            }
            *body = None;
            Poll::Ready(())
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.enter(|body| *body = None);
    }
}

/// A caller that polls the hooks when nobody else does.
struct Turns<'a> {
    shared: &'a Arc<Shared>,
    /// Under which number its waker is registered.
    caller: Option<u64>,
}

impl Future for Turns<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = self.shared;
        if shared.ended.has_fired() {
            return Poll::Ready(());
        }
        let Some(waker) = waker::clone(context.waker()) else { return Poll::Pending };
        let (mut run, running, replaced) = {
            let mut state = lock(&shared.state);
            let number = *self.caller.get_or_insert_with(|| {
                state.next_caller += 1;
                state.next_caller
            });
            let replaced = match state.callers.iter_mut().find(|(caller, _)| *caller == number) {
                Some((_, known)) => Some(mem::replace(known, waker)),
                None => {
                    state.callers.push((number, waker));
                    None
                }
            };
            let Stage::ByCallers(run) = &mut state.stage else {
                drop(state);
                waker::discard(replaced);
                return Poll::Ready(());
            };
            let run = run.take();
            state.has_missed |= run.is_none();
            (run, state.running, replaced)
        };
        waker::discard(replaced);
        // If another caller polls now, it wakes this one when it is dropped, and so does the hook.
        let Some(body) = &mut run else { return Poll::Pending };
        let wakes_all = Waker::from(Arc::clone(shared));
        let began = Instant::now();
        let polled = body.as_mut().poll(&mut Context::from_waker(&wakes_all));
        let for_so_long = began.elapsed();
        let has_missed = {
            let mut state = lock(&shared.state);
            if let Some(given_at) = running {
                if state.blocked.is_none_or(|longest| longest.for_so_long < for_so_long) {
                    state.blocked = Some(Blocked { given_at, for_so_long });
                }
            }
            if polled.is_ready() {
                return Poll::Ready(());
            }
            if let Stage::ByCallers(slot) = &mut state.stage {
                *slot = run.take();
            }
            mem::take(&mut state.has_missed)
        };
        if has_missed {
            shared.wake_callers();
        }
        // The session was dropped meanwhile. (A caller has it, so it was not.)
        drop(run);
        Poll::Pending
    }
}

impl Drop for Turns<'_> {
    fn drop(&mut self) {
        let Some(number) = self.caller else { return };
        let gone = {
            let mut state = lock(&self.shared.state);
            let at = state.callers.iter().position(|(caller, _)| *caller == number);
            at.map(|at| state.callers.swap_remove(at).1)
        };
        waker::discard(gone);
        // A wake-up that was meant for the hooks may have come to this caller.
        self.shared.wake_callers();
    }
}

impl Shared {
    fn wake_callers(&self) {
        let callers = self.take_callers(&mut lock(&self.state));
        waker::wake([callers]);
    }

    /// Under the lock: whoever sees that the hooks have ended sees that these may be called.
    fn take_callers(&self, state: &mut State) -> ToWake<'_> {
        let callers = mem::take(&mut state.callers).into_iter().map(|(_, waker)| waker);
        ToWake::new(Some(&self.helpers), callers.collect())
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_callers();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_callers();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{future::pending, pin::pin};

    use super::*;

    #[test]
    fn a_caller_that_gives_up_is_forgotten() {
        let hooks = Hooks::new(vec![Hook::new(pending::<()>, Location::caller())], Arc::default());
        let callers = || lock(&hooks.shared.state).callers.len();
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..1_000 {
            let mut run = pin!(hooks.run(None));
            assert!(run.as_mut().poll(&mut context).is_pending());
            assert_eq!(callers(), 1);
        }
        assert_eq!(callers(), 0);
        drop(hooks.take());
        assert!(!hooks.are_pending() && hooks.failures().len() == 1, "it was dropped");
    }

    /// A hook that keeps a handle to a value.
    fn keeps(value: &Arc<u8>) -> Hook {
        let weak = Arc::downgrade(value);
        let keeps: Kept = weak;
        let kept = Arc::clone(value);
        let hook = move || async move { drop(kept) };
        Hook { keeps: Some(keeps), ..Hook::new(hook, Location::caller()) }
    }

    #[test]
    fn hooks_hold_all_handles_if_there_are_no_others_to_these_and_no_other_values() {
        let [one, other] = [1, 2].map(Arc::new);
        let hooks = Hooks::new(vec![keeps(&one), keeps(&other), keeps(&one)], Arc::default());
        assert!(!hooks.hold_all_of(2), "there are handles to both");
        drop(one);
        assert!(!hooks.hold_all_of(2), "there is a handle to the other");
        drop(other);
        assert!(hooks.hold_all_of(2) && !hooks.hold_all_of(3));
    }

    #[test]
    fn many_hooks_are_looked_at_in_no_time() {
        let values: Vec<_> = (0..200_000).map(|_| Arc::new(0)).collect();
        let hooks = Hooks::new(values.iter().map(keeps).collect(), Arc::default());
        drop(values);
        // If each were compared with all others, this would take minutes.
        let (say, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || say.send(hooks.hold_all_of(200_000)));
        assert_eq!(said.recv_timeout(crate::limit::PLENTY), Ok(true));
    }

    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The hooks may have been woken through that caller.
    #[test]
    fn a_caller_that_comes_while_another_polls_is_woken_when_the_hooks_are_put_back() {
        type Caller = Pin<Box<dyn Future<Output = ()> + Send>>;
        let (second, woken) =
            (Arc::new(Mutex::new(None::<Caller>)), Arc::new(Woken(AtomicU64::new(0))));
        let waker = Waker::from(Arc::clone(&woken));
        let comes = Arc::clone(&second);
        let polls_second = move || {
            std::future::poll_fn(move |_| {
                if let Some(second) = &mut *lock(&comes) {
                    assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                }
                Poll::Pending
            })
        };
        let hooks: &'static Hooks = Box::leak(Box::new(Hooks::new(
            vec![Hook::new(polls_second, Location::caller())],
            Arc::default(),
        )));
        *lock(&second) = Some(Box::pin(hooks.run(None)));
        let mut first = pin!(hooks.run(None));
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    }
}
