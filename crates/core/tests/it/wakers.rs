//! Wakers are foreign code. One that panics, blocks, or comes back harms nobody else, whatever it is
//! registered with.

use std::{
    future::{Future, pending},
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use cooked_waker::{IntoWaker as _, Wake, WakeRef};
use futures::executor::block_on;
use sundown::{
    gate::EntryGate,
    latch::Latch,
    limit::{PLENTY, within},
    oneshot,
};

use crate::fixtures::Counting;

type Does = Arc<dyn Fn() + Send + Sync>;

/// A waker that runs code of its own whenever anything is done to it.
pub struct Hostile {
    on_clone: Does,
    on_wake: Does,
    on_drop: Does,
}

impl Default for Hostile {
    fn default() -> Self {
        let nothing: Does = Arc::new(|| ());
        Self { on_clone: Arc::clone(&nothing), on_wake: Arc::clone(&nothing), on_drop: nothing }
    }
}

impl Clone for Hostile {
    fn clone(&self) -> Self {
        (self.on_clone)();
        let (on_clone, on_wake, on_drop) = (&self.on_clone, &self.on_wake, &self.on_drop);
        Self {
            on_clone: Arc::clone(on_clone),
            on_wake: Arc::clone(on_wake),
            on_drop: Arc::clone(on_drop),
        }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        (self.on_drop)();
    }
}

impl WakeRef for Hostile {
    fn wake_by_ref(&self) {
        (self.on_wake)();
    }
}

impl Wake for Hostile {}

impl Hostile {
    pub fn on_clone(mut self, does: Does) -> Self {
        self.on_clone = does;
        self
    }

    pub fn on_wake(mut self, does: Does) -> Self {
        self.on_wake = does;
        self
    }

    pub fn on_drop(mut self, does: Does) -> Self {
        self.on_drop = does;
        self
    }

    pub fn waker(self) -> Waker {
        Box::new(self).into_waker()
    }
}

/// Panics without a message from the panic hook.
fn panics() -> Does {
    Arc::new(|| resume_unwind(Box::new("a hostile waker")))
}

/// Code that runs once, and only once.
fn once(does: impl FnOnce() + Send + 'static) -> Does {
    let does = Mutex::new(Some(does));
    Arc::new(move || {
        let does = does.lock().unwrap().take();
        if let Some(does) = does {
            does();
        }
    })
}

/// Runs a test on a thread of its own, because a failure might hang.
fn in_time<R: Send + 'static>(test: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, is_done) = mpsc::channel();
    let testing = thread::spawn(move || done.send(test()));
    match is_done.recv_timeout(PLENTY) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match testing.join() {
            Err(payload) => resume_unwind(payload),
            Ok(_) => unreachable!("it has sent its result"),
        },
    }
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something to wait for.
struct Event {
    name: &'static str,
    wait: Wait,
    happen: Box<dyn FnOnce() + Send>,
}

/// One of each kind.
fn events() -> Vec<Event> {
    fn event<W, H>(name: &'static str, wait: W, happen: H) -> Event
    where
        W: Future<Output = ()> + Send + 'static,
        H: FnOnce() + Send + 'static,
    {
        Event { name, wait: Box::pin(wait), happen: Box::new(happen) }
    }
    let latch = Arc::new(Latch::new());
    let firing = Arc::clone(&latch);
    let (sending, to_be_sent) = oneshot::channel();
    let (dropping, to_be_dropped) = oneshot::channel::<()>();
    let [open, left] = [(); 2].map(|()| &*Box::leak(Box::new(EntryGate::new())));
    let inside = left.enter().unwrap();
    left.close();
    vec![
        event("a latch fires", async move { latch.wait().await }, move || assert!(firing.fire())),
        event("a value is sent", async move { assert_eq!(to_be_sent.await, Ok(7)) }, move || {
            assert_eq!(sending.send(7), Ok(()))
        }),
        event(
            "a sender is dropped",
            async move { assert!(to_be_dropped.await.is_err()) },
            move || drop(dropping),
        ),
        event("an empty gate is closed", open.wait_empty(), || assert_eq!(open.close(), 0)),
        event("the last leaves a closed gate", left.wait_empty(), move || drop(inside)),
    ]
}

fn poll(wait: &mut Wait, waker: &Waker) -> Poll<()> {
    wait.as_mut().poll(&mut Context::from_waker(waker))
}

#[test]
fn what_a_waker_waits_for_may_happen_while_it_is_cloned() {
    for Event { name, mut wait, happen } in events() {
        in_time(move || {
            let waker = Hostile::default().on_clone(once(happen)).waker();
            // It may be found at once. A wait that is pending must have been woken, or be woken.
            let ready = poll(&mut wait, &waker).is_ready() || poll(&mut wait, &waker).is_ready();
            assert!(ready, "{name}");
        });
    }
}

#[test]
fn a_waker_that_cannot_be_cloned_is_woken_instead() {
    for Event { name, mut wait, happen } in events() {
        let (counting, counts) = Counting::waker();
        let on_wake: Does = Arc::new(move || counts.wake_by_ref());
        let waker = Hostile::default().on_clone(panics()).on_wake(on_wake).waker();
        assert!(poll(&mut wait, &waker).is_pending());
        assert_eq!(counting.woken(), 1, "{name}: nobody would poll it again");
        happen();
        assert!(poll(&mut wait, &waker).is_ready(), "{name}");
    }
}

#[test]
fn a_waker_that_panics_when_it_is_woken_does_not_stop_what_happens() {
    for Event { name, mut wait, happen } in events() {
        let waker = Hostile::default().on_wake(panics()).waker();
        assert!(poll(&mut wait, &waker).is_pending());
        happen();
        assert!(poll(&mut wait, &waker).is_ready(), "{name}");
    }
}

#[test]
fn a_waker_that_panics_when_it_is_dropped_harms_nobody() {
    for Event { name, mut wait, happen } in events() {
        let waker = || Hostile::default().on_drop(panics()).waker();
        let (first, second) = (waker(), waker());
        // It is replaced by another, and that one by a third.
        for waker in [&first, &second] {
            assert!(poll(&mut wait, waker).is_pending(), "{name}");
        }
        let (counting, counts) = Counting::waker();
        assert!(poll(&mut wait, &counts).is_pending());
        happen();
        assert_eq!(counting.woken_at_least(1), 1, "{name}");
        assert!(poll(&mut wait, &counts).is_ready());
        // The originals are the caller's own.
        std::mem::forget((first, second));
    }
    for Event { mut wait, .. } in events() {
        let waker = Hostile::default().on_drop(panics()).waker();
        assert!(poll(&mut wait, &waker).is_pending());
        drop(wait);
        std::mem::forget(waker);
    }
}

#[test]
fn a_waker_may_poll_and_drop_what_it_is_woken_for() {
    for Event { name, wait, happen } in events() {
        in_time(move || {
            let slot = Arc::new(Mutex::new(Some(wait)));
            let ended = Arc::new(Latch::new());
            let on_wake = {
                let (slot, ended) = (Arc::clone(&slot), Arc::clone(&ended));
                once(move || {
                    let wait = slot.lock().unwrap().take();
                    assert!(poll(&mut wait.unwrap(), Waker::noop()).is_ready());
                    ended.fire();
                })
            };
            let waker = Hostile::default().on_wake(on_wake).waker();
            assert!(poll(slot.lock().unwrap().as_mut().unwrap(), &waker).is_pending());
            happen();
            assert!(ended.wait_blocking(PLENTY), "{name}");
        });
    }
}

#[test]
fn a_waker_that_panics_loses_no_other_waiter() {
    let latch = Latch::new();
    let hostile = Hostile::default().on_wake(panics()).waker();
    let (counting, counts) = Counting::waker();
    // Before and after the hostile one.
    let mut waits = [&counts, &hostile, &counts].map(|waker| {
        let mut wait = Box::pin(latch.wait());
        assert!(wait.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        wait
    });
    assert!(latch.fire(), "this call fired it");
    assert_eq!(counting.woken_at_least(2), 2);
    for wait in &mut waits {
        assert!(wait.as_mut().poll(&mut Context::from_waker(&counts)).is_ready());
    }
}

#[test]
fn waiters_are_woken_in_the_order_in_which_they_came() {
    let latch = Latch::new();
    let order = Arc::new(Mutex::new(Vec::new()));
    let poll = |wait: &mut sundown::latch::Wait<'_>, number: u32| {
        let order = Arc::clone(&order);
        let on_wake: Does = Arc::new(move || order.lock().unwrap().push(number));
        let waker = Hostile::default().on_wake(on_wake).waker();
        assert!(Pin::new(wait).poll(&mut Context::from_waker(&waker)).is_pending());
    };
    let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| latch.wait());
    poll(&mut first, 1);
    poll(&mut second, 2);
    drop(first);
    poll(&mut third, 3);
    poll(&mut fourth, 4);
    // Another waker for one who waits already.
    poll(&mut second, 22);
    latch.fire();
    assert_eq!(*order.lock().unwrap(), [22, 3, 4]);
}

#[test]
fn a_waiter_may_leave_while_the_latch_fires() {
    let latch: &Latch = Box::leak(Box::new(Latch::new()));
    let mut waits = [(); 3].map(|()| Box::pin(latch.wait()));
    let leaving = Arc::new(Mutex::new(None));
    let on_wake = {
        let leaving = Arc::clone(&leaving);
        once(move || drop(leaving.lock().unwrap().take()))
    };
    let waker = Hostile::default().on_wake(on_wake).waker();
    for wait in &mut waits {
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    *leaving.lock().unwrap() = Some(waits);
    assert!(in_time(|| latch.fire()));
    assert!(leaving.lock().unwrap().is_none(), "the first that was woken dropped all");
}

fn a_limit_is_kept() -> Duration {
    let began = Instant::now();
    in_time(|| assert_eq!(block_on(within(Duration::from_millis(5), pending::<()>())), None));
    began.elapsed()
}

/// A limit that is polled once, with this waker.
fn limited(waker: &Waker) -> Wait {
    let mut limited: Wait = Box::pin(async {
        within(Duration::from_millis(5), pending::<()>()).await;
    });
    assert!(poll(&mut limited, waker).is_pending());
    limited
}

#[test]
fn a_waker_that_panics_ends_no_other_limit() {
    let (called, is_called) = mpsc::channel();
    let on_wake: Does = Arc::new(move || {
        let _ = called.send(());
        panics()();
    });
    let mut limited = limited(&Hostile::default().on_wake(on_wake).waker());
    is_called.recv_timeout(PLENTY).unwrap();
    a_limit_is_kept();
    assert!(poll(&mut limited, Waker::noop()).is_ready());
}

#[test]
fn wakers_that_block_make_no_other_limit_late() {
    let enough = Arc::new(Latch::new());
    let (called, is_called) = mpsc::channel();
    let blocked: Vec<_> = (0..4)
        .map(|_| {
            let (enough, called) = (Arc::clone(&enough), called.clone());
            let on_wake: Does = Arc::new(move || {
                called.send(()).unwrap();
                assert!(enough.wait_blocking(PLENTY));
            });
            limited(&Hostile::default().on_wake(on_wake).waker())
        })
        .collect();
    for _ in &blocked {
        is_called.recv_timeout(PLENTY).expect("one waker that blocks delays another");
    }
    assert!(a_limit_is_kept() < PLENTY / 2, "a limit of 5 ms waits for a waker that blocks");
    enough.fire();
    drop(blocked);
}

#[test]
fn a_limit_whose_waker_never_returns_ends_all_the_same() {
    let enough = Arc::new(Latch::new());
    let (called, is_called) = mpsc::channel();
    let on_wake: Does = {
        let enough = Arc::clone(&enough);
        Arc::new(move || {
            called.send(()).unwrap();
            let _ = enough.wait_blocking(Duration::MAX);
        })
    };
    let mut limited = limited(&Hostile::default().on_wake(on_wake).waker());
    is_called.recv_timeout(PLENTY).unwrap();
    in_time(move || assert!(poll(&mut limited, Waker::noop()).is_ready()));
    a_limit_is_kept();
    enough.fire();
}

#[test]
fn a_limit_survives_whatever_its_waker_does() {
    // It cannot be cloned.
    let waker = Hostile::default().on_clone(panics()).waker();
    let mut cannot_be_cloned = limited(&waker);
    // It panics when it is dropped, and is replaced.
    let waker = Hostile::default().on_drop(panics()).waker();
    let mut replaced = limited(&waker);
    std::mem::forget(waker);
    for limited in [&mut cannot_be_cloned, &mut replaced] {
        block_on(within(PLENTY, limited)).unwrap();
    }
    // It sets, and waits for, a limit of its own; and it drops the limit that it was called for.
    let slot = Arc::new(Mutex::new(None));
    let ended = Arc::new(Latch::new());
    let on_wake = {
        let (slot, ended) = (Arc::clone(&slot), Arc::clone(&ended));
        once(move || {
            a_limit_is_kept();
            drop(slot.lock().unwrap().take());
            ended.fire();
        })
    };
    let waker = Hostile::default().on_wake(on_wake).waker();
    let mut guard = slot.lock().unwrap();
    *guard = Some(limited(&waker));
    drop(guard);
    assert!(ended.wait_blocking(PLENTY));
    a_limit_is_kept();
}
