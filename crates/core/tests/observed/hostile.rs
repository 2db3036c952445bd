//! Subscribers and recorders that panic or call back: foreign code, which must harm nobody.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use sundown::{group::TaskGroup, limit::PLENTY, stop::Stop, task::BackgroundTask};
use tokio::runtime::{Builder, Handle};
use tracing::{Event, Subscriber, span};

/// Does something at each event, and panics then.
#[derive(Clone)]
struct Hostile {
    events: Arc<AtomicUsize>,
    at_event: Arc<dyn Fn() + Send + Sync>,
}

impl Hostile {
    fn run(&self) {
        self.events.fetch_add(1, Ordering::SeqCst);
        (self.at_event)();
        panic!("the subscriber has had enough");
    }
}

impl Subscriber for Hostile {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("sundown")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {
        self.run();
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Recorder for Hostile {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.run();
        Counter::noop()
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Runs some code, and counts how often the subscriber and the recorder were called.
fn under_hostility(at_event: impl Fn() + Send + Sync + 'static, code: impl AsyncFnOnce()) -> usize {
    let events = Arc::new(AtomicUsize::new(0));
    let hostile = Hostile { events: Arc::clone(&events), at_event: Arc::new(at_event) };
    let run = || Builder::new_current_thread().build().unwrap().block_on(code());
    tracing::subscriber::with_default(hostile.clone(), || {
        metrics::with_local_recorder(&hostile, run);
    });
    events.load(Ordering::SeqCst)
}

#[test]
fn a_subscriber_and_a_recorder_that_panic_change_no_answer() {
    let events = under_hostility(
        || (),
        async || {
            let group = TaskGroup::new("group");
            group.spawn("member", |stop| stop).unwrap();
            assert_eq!(group.drain(PLENTY).await.ended, 1);
            let task = BackgroundTask::spawn("task", |stop| stop).unwrap();
            assert!(task.shutdown().await.is_ok());
        },
    );
    assert_eq!(events, 4, "an event and a count of each");
}

/// A group that is dropped aborts its tasks first, and tells of it then.
#[test]
fn a_log_line_comes_after_the_abort_that_it_tells_of() {
    let group = TaskGroup::new("forgotten");
    let signals = Arc::new(Mutex::new(vec![group.stop_signal()]));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let look = {
        let (signals, seen) = (Arc::clone(&signals), Arc::clone(&seen));
        move || {
            let raised = signals.lock().unwrap().iter().all(Stop::is_raised);
            seen.lock().unwrap().push(raised);
        }
    };
    let given = Arc::clone(&signals);
    let events = under_hostility(look, async || {
        group.spawn("member", |_| pending()).unwrap();
        drop(group);
        given.lock().unwrap().clear();
        let task = BackgroundTask::spawn("forgotten", |stop| async move {
            given.lock().unwrap().push(stop);
            pending::<()>().await;
        })
        .unwrap();
        while signals.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        // Also while the thread panics already.
        let unwinding = catch_unwind(AssertUnwindSafe(|| {
            let _task = task;
            panic!("somewhere else");
        }));
        assert!(unwinding.is_err());
    });
    assert_eq!((events, &seen.lock().unwrap()[..]), (2, &[true, true][..]));
}

/// It takes every lock that the kit has for a group.
#[test]
fn a_subscriber_that_calls_back_meets_no_lock() {
    let group = Arc::new(TaskGroup::new("group"));
    let called = Arc::clone(&group);
    let calls_back = move || {
        called.stop();
        let _ = (called.len(), called.child("late"), format!("{called:?}"));
        let spawned = called.spawn_on(&Handle::current(), "late", |stop| stop);
        assert!(spawned.is_err());
    };
    let events = under_hostility(calls_back, async || {
        let spawned = group.spawn("member", |stop| stop);
        spawned.unwrap();
        assert_eq!(group.drain(PLENTY).await.ended, 1);
        assert_eq!(group.drain(PLENTY).await.refused, 4);
    });
    assert_eq!(events, 4);
}
