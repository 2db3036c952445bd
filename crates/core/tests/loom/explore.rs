//! Explores a model, and sees that a broken twin is caught. `cargo xtask loom` reads the lines that this
//! prints. The models of the other packages use this, too.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    // Not loom's: these count its interleavings from outside.
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use loom::model::Builder;

/// How far a model is explored.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "a package may have no large model")]
pub enum Bound {
    /// Every interleaving.
    Full,
    /// The interleavings with at most three preemptions.
    Three,
}

/// Explores a model, and prints what that took.
pub fn explore(name: &str, bound: Bound, model: impl Fn() + Send + Sync + 'static) {
    let began = Instant::now();
    let explored = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&explored);
    let mut builder = Builder::new();
    let bounded = match bound {
        Bound::Full => "unbounded",
        Bound::Three => {
            builder.preemption_bound = Some(3);
            "at most 3 preemptions"
        }
    };
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let explored = explored.load(Ordering::Relaxed);
    println!("model {name}: {explored} interleavings, {bounded}, {:.2?}", began.elapsed());
}

/// Explores a broken twin, which loom must catch.
pub fn must_be_caught(name: &str, says: &str, model: impl Fn() + Send + Sync + 'static) {
    let began = Instant::now();
    let caught = catch_unwind(AssertUnwindSafe(|| Builder::new().check(model)));
    let payload = caught.expect_err("the model cannot fail: loom did not catch its broken twin");
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(text.contains(says), "caught for another reason: {text}");
    println!("twin {name}: caught, {:.2?}", began.elapsed());
}
