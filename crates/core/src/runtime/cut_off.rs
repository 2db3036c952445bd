//! Who is told that a runtime is about to be cut off: its tasks are dropped, and its sockets go dead.

use std::{
    mem,
    sync::{Arc, Mutex, Weak},
};

use crate::sync::lock;

type Tell = dyn Fn() + Send + Sync;

/// Those who are told, once, on the owner thread.
pub(super) struct CutOffWatches(Mutex<Option<Vec<Weak<Tell>>>>);

/// One of them. Dropping it takes it off the list.
pub(crate) struct CutOffWatch {
    _tell: Arc<Tell>,
}

impl Default for CutOffWatches {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl CutOffWatches {
    /// Adds one. If they have been told, this tells it at once.
    pub(super) fn add(&self, tell: impl Fn() + Send + Sync + 'static) -> CutOffWatch {
        let tell: Arc<Tell> = Arc::new(tell);
        let is_late = match &mut *lock(&self.0) {
            Some(watches) => {
                watches.retain(|watch| watch.strong_count() > 0);
                watches.push(Arc::downgrade(&tell));
                false
            }
            None => true,
        };
        if is_late {
            tell();
        }
        CutOffWatch { _tell: tell }
    }

    /// Tells all of them.
    pub(super) fn tell(&self) {
        let watches = mem::take(&mut *lock(&self.0));
        // Without the lock: the last reference to what a watch has may be dropped here.
        for tell in watches.into_iter().flatten().filter_map(|watch| watch.upgrade()) {
            tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_watch_is_told_once_a_late_one_at_once_and_a_dropped_one_never() {
        let (watches, told) = (CutOffWatches::default(), Arc::<AtomicUsize>::default());
        let add = || {
            let told = Arc::clone(&told);
            watches.add(move || {
                told.fetch_add(1, Ordering::SeqCst);
            })
        };
        let told = || told.load(Ordering::SeqCst);
        let _kept = [add(), add()];
        drop(add());
        watches.tell();
        watches.tell();
        assert_eq!(told(), 2);
        let _late = add();
        assert_eq!(told(), 3);
    }

    #[test]
    fn sessions_that_have_gone_leave_nothing_behind() {
        let watches = CutOffWatches::default();
        for _ in 0..1_000 {
            drop(watches.add(|| ()));
        }
        assert_eq!(lock(&watches.0).as_ref().map(Vec::len), Some(1), "the last one");
    }
}
