//! The threads that keep limits: the last limit ends them, and joins them.
//!
//! A host may unload the library afterwards. A model fails if a waker still uses it then.

use std::{
    sync::Arc as StdArc,
    task::{Wake, Waker},
};

use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use sundown::{
    clock::{Clock, Instant},
    latch::Latch,
};

use crate::{Bound, beside, explore, must_be_caught, shared};

fn clock() -> &'static Clock {
    Box::leak(Box::new(Clock::new()))
}

/// What a waker uses.
#[derive(Default)]
struct Library {
    unloaded: AtomicBool,
}

impl Library {
    fn used(&self) {
        thread::yield_now();
        assert!(!self.unloaded.load(Ordering::Relaxed), "used after it was unloaded");
    }

    fn unload(&self) {
        self.unloaded.store(true, Ordering::Relaxed);
    }
}

/// Uses the library after it has told that it was called.
struct Calls {
    library: Arc<Library>,
    called: Arc<Latch>,
}

impl Wake for Calls {
    fn wake(self: StdArc<Self>) {
        self.called.fire();
        self.library.used();
    }
}

fn calls() -> (Arc<Library>, Arc<Latch>, Waker) {
    let (library, called) = (shared::<Library>(), shared::<Latch>());
    let calls = Calls { library: Arc::clone(&library), called: Arc::clone(&called) };
    (library, called, StdArc::new(calls).into())
}

#[test]
fn clock_a_limit_that_goes_has_no_thread_in_its_waker() {
    explore("clock, a limit goes against its alarm", Bound::Full, || {
        let (clock, (library, _, waker)) = (clock(), calls());
        let key = clock.set(Instant::now(), waker).unwrap();
        clock.unset(key);
        library.unload();
    });
}

#[test]
fn clock_an_alarm_that_is_due_is_called_and_left_before_its_limit_ends() {
    explore("clock, a limit that passes", Bound::Full, || {
        let (clock, (library, called, waker)) = (clock(), calls());
        let key = clock.set(Instant::now(), waker).unwrap();
        loom::future::block_on(called.wait());
        clock.unset(key);
        library.unload();
    });
}

#[test]
fn clock_another_limit_may_be_set_while_the_last_one_ends() {
    explore("clock, a limit goes against one that comes", Bound::Three, || {
        let clock = clock();
        let going = clock.set(Instant::NEVER, Waker::noop().clone()).unwrap();
        let other = beside(&(), move |()| clock.unset(going));
        let (library, called, waker) = calls();
        let key = clock.set(Instant::now(), waker).unwrap();
        loom::future::block_on(called.wait());
        // It does not wait for this limit, which goes later.
        other.join().unwrap();
        clock.unset(key);
        library.unload();
    });
}

#[test]
fn clock_a_waker_that_waits_for_another_alarm_is_overtaken() {
    /// Returns when the other has been called.
    struct WaitsFor(Arc<Latch>);

    impl Wake for WaitsFor {
        fn wake(self: StdArc<Self>) {
            loom::future::block_on(self.0.wait());
        }
    }

    explore("clock, a waker that waits for another", Bound::Three, || {
        let (clock, (library, called, waker)) = (clock(), calls());
        let waits = Waker::from(StdArc::new(WaitsFor(called)));
        let keys = [waits, waker].map(|waker| clock.set(Instant::now(), waker).unwrap());
        for key in keys {
            clock.unset(key);
        }
        library.unload();
    });
}

/// A clock whose thread ends when there is no alarm, and not when the last limit has told it to.
#[derive(Default)]
struct Unowned {
    /// How many alarms there are, and whether the thread was told to end.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Unowned {
    fn keep(&self) {
        let mut state = self.state.lock().unwrap();
        while state.0 > 0 {
            let was_told = state.1;
            drop(state);
            assert!(!was_told, "the last limit waits for a later one");
            state = self.state.lock().unwrap();
            if state.0 > 0 && !state.1 {
                state = self.changed.wait(state).unwrap();
            }
        }
    }

    fn unset(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 -= 1;
        state.1 |= state.0 == 0;
        drop(state);
        self.changed.notify_all();
    }
}

/// The last limit joins the thread. If another limit comes before the thread looks, it stays for that one.
#[test]
fn clock_twin_whose_thread_stays_for_the_next_limit_makes_the_last_wait_for_it() {
    let says = "the last limit waits for a later one";
    must_be_caught("clock, a thread that no limit owns", says, || {
        let twin = shared::<Unowned>();
        twin.state.lock().unwrap().0 = 1;
        let keeping = beside(&twin, |twin| twin.keep());
        let going = beside(&twin, move |twin| {
            twin.unset();
            keeping.join().unwrap();
        });
        twin.state.lock().unwrap().0 += 1;
        twin.unset();
        going.join().unwrap();
    });
}

/// The alarm is taken out, and nobody says that its waker is being called.
#[test]
fn clock_twin_that_forgets_an_alarm_while_it_is_called_unloads_what_the_waker_uses() {
    must_be_caught("clock, a waker that is not waited for", "used after it was unloaded", || {
        let twin = shared::<(Mutex<Option<()>>, Library)>();
        *twin.0.lock().unwrap() = Some(());
        let calling = beside(&twin, |twin| {
            let alarm = twin.0.lock().unwrap().take();
            if alarm.is_some() {
                twin.1.used();
            }
        });
        let _ = twin.0.lock().unwrap().take();
        twin.1.unload();
        calling.join().unwrap();
    });
}
