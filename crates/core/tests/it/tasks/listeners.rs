//! Stop signals that are polled outside the tasks of their group, with wakers of any kind.

use std::{
    future::Future as _,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    time::{Duration, Instant},
};

use sundown::{group::TaskGroup, runtime::RuntimeOwner, stop::Stop, task::BackgroundTask};

use crate::fixtures::{PLENTY, SHORT, both_flavours, obeys, on_drop, until, until_yielding};

/// Does something when it is woken.
struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        self.0();
    }
}

fn on_wake(what: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(OnWake(what)))
}

/// Registers a waker with a stop signal.
fn registered(mut signal: Stop, waker: &Waker) -> Stop {
    assert!(Pin::new(&mut signal).poll(&mut Context::from_waker(waker)).is_pending());
    signal
}

/// A waker that blocks until it is let go, and how many have begun to.
fn stuck() -> (mpsc::Sender<()>, Waker) {
    let (let_go, is_let_go) = mpsc::channel::<()>();
    let is_let_go = Mutex::new(is_let_go);
    (
        let_go,
        on_wake(move || {
            let _ = is_let_go.lock().unwrap().recv_timeout(PLENTY);
        }),
    )
}

fn counting() -> (Arc<AtomicUsize>, Waker) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    (
        count,
        on_wake(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
    )
}

/// A hundred tasks that end when they hear of the stop.
fn with_members(group: &TaskGroup) {
    for _ in 0..100 {
        group.spawn("member", obeys).unwrap();
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_from_hearing_of_the_stop() {
    both_flavours(async || {
        let group = TaskGroup::new("group");
        let panics = on_wake(|| panic!("the event loop of this waker is closed"));
        let (count, counts) = counting();
        let _signals =
            [&counts, &panics, &counts].map(|waker| registered(group.stop_signal(), waker));
        with_members(&group);
        let report = group.drain(PLENTY).await;
        assert_eq!((report.ended, report.aborted), (100, 0), "{report}");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_waker_that_blocks_delays_neither_the_tasks_nor_other_wakers_nor_a_limit() {
    both_flavours(async || {
        let group = TaskGroup::new("group");
        let ((let_go, sticks), (other_let_go, also_sticks)) = (stuck(), stuck());
        let (count, counts) = counting();
        let wakers = [&counts, &sticks, &counts, &also_sticks, &counts];
        let _signals = wakers.map(|waker| registered(group.stop_signal(), waker));
        with_members(&group);
        let began = Instant::now();
        let report = group.drain(Duration::from_secs(1)).await;
        assert!(began.elapsed() < PLENTY / 2, "{report}");
        assert_eq!((report.ended, report.aborted, report.still_running.len()), (100, 0, 0));
        assert_eq!(report.threads, ["sundown-wakers"], "it is named");
        let error = report.into_result().unwrap_err();
        assert!(error.to_string().contains("thread `sundown-wakers`"), "{error}");
        until_yielding("the others", || count.load(Ordering::SeqCst) == 3).await;
        drop((let_go, other_let_go));
        let report = group.drain(PLENTY).await;
        assert!(report.threads.is_empty(), "{report}");
    });
}

#[test]
fn a_parent_waits_for_the_wakers_of_a_child() {
    both_flavours(async || {
        let parent = TaskGroup::new("parent");
        let child = parent.child("child").unwrap();
        let (let_go, sticks) = stuck();
        let _signal = registered(child.stop_signal(), &sticks);
        assert_eq!(child.drain(SHORT).await.threads.len(), 1);
        assert_eq!(parent.drain(SHORT).await.threads.len(), 1);
        drop(let_go);
        assert!(parent.drain(PLENTY).await.into_result().is_ok());
        assert!(child.drain(Duration::ZERO).await.into_result().is_ok());
    });
}

#[test]
fn a_waker_that_blocks_delays_no_background_task_and_is_named() {
    both_flavours(async || {
        let (give, given) = mpsc::channel();
        let task = BackgroundTask::spawn("task", |stop| async move {
            give.send(stop.clone()).unwrap();
            stop.await;
        })
        .unwrap();
        let given = Mutex::new(given);
        let signal = Mutex::new(None);
        until_yielding("the signal", || {
            *signal.lock().unwrap() = given.lock().unwrap().try_recv().ok();
            signal.lock().unwrap().is_some()
        })
        .await;
        let (let_go, sticks) = stuck();
        let signal = signal.into_inner().unwrap().unwrap();
        let _signal = registered(signal, &sticks);
        let error = task.shutdown_within(SHORT).await.unwrap_err();
        assert_eq!((error.alive.threads.len(), error.alive.tasks), (1, 0), "{error}");
        assert!(task.has_ended());
        drop(let_go);
        assert!(task.shutdown_within(PLENTY).await.is_ok());
    });
}

#[test]
fn a_runtime_with_a_waker_that_blocks_is_shut_down_when_that_has_returned() {
    let owner = RuntimeOwner::builder("runtime").current_thread().start().unwrap();
    let (give, given) = mpsc::channel();
    let spawned = owner.spawn("task", move |stop| async move {
        give.send(stop.clone()).unwrap();
        stop.await;
    });
    drop(spawned.unwrap());
    let (let_go, sticks) = stuck();
    let _signal = registered(given.recv_timeout(PLENTY).unwrap(), &sticks);
    let error = owner.shutdown_blocking(SHORT).unwrap_err();
    assert!(error.alive.threads.contains(&"sundown-wakers".to_owned()), "{error}");
    drop(let_go);
    assert!(owner.shutdown_blocking(PLENTY).is_ok());
}

/// Registering another waker drops the first one, and dropping the signal drops the second.
#[test]
fn a_waker_that_comes_back_when_it_is_dropped_meets_no_lock() {
    let group = Arc::new(TaskGroup::new("group"));
    let dropped = Arc::new(AtomicUsize::new(0));
    let comes_back = || {
        let (group, dropped) = (Arc::clone(&group), Arc::clone(&dropped));
        let back = on_drop(move || {
            assert!(group.is_empty() && !group.stop_signal().is_raised());
            drop(registered(group.stop_signal(), Waker::noop()));
            dropped.fetch_add(1, Ordering::SeqCst);
            panic!("the last straw");
        });
        let back = Mutex::new(back);
        on_wake(move || drop(back.lock()))
    };
    let signal = registered(group.stop_signal(), &comes_back());
    let signal = registered(signal, &comes_back());
    drop(signal);
    until("both drops", || dropped.load(Ordering::SeqCst) == 2);
}

#[test]
fn no_thread_is_left_when_the_wakers_return() {
    both_flavours(async || {
        let group = TaskGroup::new("group");
        let (count, counts) = counting();
        let _signal = registered(group.stop_signal(), &counts);
        with_members(&group);
        assert!(group.drain(PLENTY).await.into_result().is_ok());
        assert_eq!(count.load(Ordering::SeqCst), 1);
    });
}
