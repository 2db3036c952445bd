//! What a logout tells the outside: an event and a count, each behind its feature.
#![cfg(all(feature = "metrics", feature = "tracing"))]

use std::{
    fmt::Write as _,
    mem,
    sync::{Arc, Mutex},
};

use futures::{FutureExt as _, executor::block_on};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use state_machine::transition::Effect;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::script::{Answer, App, driver};

/// What was observed, in order, one line each.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("state_machine")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() != "elapsed" {
                    let _ = write!(self.0, " {}={value:?}", field.name());
                }
            }
        }
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.push(fields.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A counter or a histogram that writes what it is told.
struct Writes(Log, String);

impl CounterFn for Writes {
    fn increment(&self, value: u64) {
        self.0.push(format!("{} +{value}", self.1));
    }
    fn absolute(&self, value: u64) {
        self.0.push(format!("{} ={value}", self.1));
    }
}

impl HistogramFn for Writes {
    fn record(&self, value: f64) {
        assert!(value >= 0.0);
        self.0.push(format!("{} recorded", self.1));
    }
}

impl Recorder for Log {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Writes(self.clone(), named(key))))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("there is no gauge {key}")
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Writes(self.clone(), named(key))))
    }
}

fn named(key: &Key) -> String {
    let labels: Vec<_> =
        key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

/// What some code lets the outside know of the logouts in it.
fn observed(code: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || metrics::with_local_recorder(&log, code));
    mem::take(&mut *log.0.lock().unwrap())
}

/// The lines of one run.
fn lines(level: &str, outcome: &str, message: &str) -> Vec<String> {
    vec![
        format!("{level} message={message} component=\"logout\" outcome=\"{outcome}\""),
        format!("sundown_shutdown_total{{component=logout,outcome={outcome}}} +1"),
        "sundown_shutdown_seconds{component=logout} recorded".to_owned(),
    ]
}

#[test]
fn a_logout_that_completes_is_an_event_and_a_count() {
    let told = observed(|| {
        block_on(driver(&App::new()).run()).unwrap();
    });
    assert_eq!(told, lines("DEBUG", "graceful", "logged out"));
}

#[test]
fn what_a_logout_leaves_undone_is_told_in_its_outcome() {
    let app = App::new().answering(Effect::CloseTabs, Answer::Fails);
    let mut message = String::new();
    let told = observed(|| {
        let driver = driver(&app);
        assert_eq!(block_on(driver.run()).unwrap().warnings.len(), 1);
        message = driver.progress().borrow().message.clone();
    });
    assert_eq!(told, lines("WARN", "partial", &message));
}

#[test]
fn a_logout_that_fails_tells_on_which_side_of_the_point_of_no_return() {
    for (effect, outcome) in
        [(Effect::StopSync, "recoverable"), (Effect::RestartRuntime, "unrecoverable")]
    {
        let app = App::new().answering(effect, Answer::Fails);
        let mut message = String::new();
        let told = observed(|| message = block_on(driver(&app).run()).unwrap_err().to_string());
        assert_eq!(told, lines("WARN", outcome, &message), "{effect:?}");
    }
}

#[test]
fn a_run_that_is_dropped_is_told_of_and_one_that_is_refused_is_not() {
    let app = App::new().answering(Effect::CloseTabs, Answer::Never);
    let mut message = String::new();
    let told = observed(|| {
        let driver = driver(&app);
        let mut run = Box::pin(driver.run());
        assert!(run.as_mut().now_or_never().is_none());
        assert!(block_on(driver.run()).is_err());
        drop(run);
        message = driver.progress().borrow().message.clone();
    });
    assert_eq!(told, lines("WARN", "given_up", &message));
}
