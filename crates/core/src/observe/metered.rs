//! What a shutdown counts through the `metrics` facade.
//!
//! To make the keys of its two metrics takes several allocations and two hashes, as long as a group of one
//! takes to end, and the facade does not say whether anybody records. So the last keys are kept.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics::{Key, Label, Level, Metadata};

use super::Outcome;

/// The keys of the last shutdown. Only ever tried: in a forked child it may be locked for ever.
static LAST: Mutex<Option<Box<Keys>>> = Mutex::new(None);

static METADATA: Metadata<'static> = Metadata::new("sundown", Level::INFO, Some(module_path!()));

struct Keys {
    component: Arc<str>,
    outcome: Outcome,
    total: Key,
    seconds: Key,
}

impl Keys {
    fn new(component: &str, outcome: Outcome) -> Box<Self> {
        let component = Arc::<str>::from(component);
        let of_component = Label::new("component", Arc::clone(&component));
        let of_outcome = Label::from_static_parts("outcome", outcome.word());
        let total = vec![of_component.clone(), of_outcome];
        Box::new(Self {
            component,
            outcome,
            total: Key::from_parts("sundown_shutdown_total", total),
            seconds: Key::from_parts("sundown_shutdown_seconds", vec![of_component]),
        })
    }
}

/// Counts a shutdown. The recorder is foreign code: no lock is held.
pub(super) fn shutdown(component: &str, outcome: Outcome, elapsed: Duration) {
    let last = LAST.try_lock().ok().and_then(|mut last| last.take());
    let same = last.filter(|last| *last.component == *component && last.outcome == outcome);
    let keys = same.unwrap_or_else(|| Keys::new(component, outcome));
    metrics::with_recorder(|recorder| {
        recorder.register_counter(&keys.total, &METADATA).increment(1);
        recorder.register_histogram(&keys.seconds, &METADATA).record(elapsed.as_secs_f64());
    });
    if let Ok(mut last) = LAST.try_lock() {
        *last = Some(keys);
    }
}
