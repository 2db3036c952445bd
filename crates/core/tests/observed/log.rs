//! Records the events and counts of some code, one line each. The state machine's tests use this, too.

use std::{
    fmt::Write as _,
    mem,
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};

/// What some code on this thread counts, and its events of this target, in order.
pub fn observed(target: &'static str, code: impl FnOnce()) -> Vec<String> {
    let log = Log { lines: Arc::default(), target };
    tracing::subscriber::with_default(log.clone(), || metrics::with_local_recorder(&log, code));
    mem::take(&mut *log.lines.lock().unwrap())
}

#[derive(Clone)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    /// What the targets of the events begin with.
    target: &'static str,
}

impl Log {
    fn push(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with(self.target)
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

/// A counter or a histogram that writes its calls to the log.
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
