//! What is told when something is dropped; for the tests of tasks and for those of runtimes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Sets a flag when it is dropped: what a task owns tells of its end.
pub struct Told(Arc<AtomicBool>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub fn told() -> (Told, Arc<AtomicBool>) {
    let flag = Arc::new(AtomicBool::new(false));
    (Told(Arc::clone(&flag)), flag)
}
