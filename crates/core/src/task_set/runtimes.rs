//! The runtimes on which the tasks of a set were spawned, to count what else is alive there.

use std::sync::OnceLock;

use smallvec::SmallVec;
use tokio::runtime::{Handle, Id};

use crate::sync::{Mutex, lock};

/// The runtimes on which tasks were spawned, usually one.
///
/// A handle keeps the descriptors of its runtime open. So the handles are released as soon as nothing is
/// left to count.
#[derive(Default)]
pub struct Runtimes {
    /// The first runtime, for a spawn to compare with. Most spawns need no more.
    first: OnceLock<Id>,
    handles: Mutex<SmallVec<[Handle; 1]>>,
}

impl Runtimes {
    /// Remembers a runtime. Returns whether it is new.
    #[inline]
    pub fn remember(&self, runtime: &Handle) -> bool {
        self.first.get() != Some(&runtime.id()) && self.add(runtime)
    }

    #[cold]
    fn add(&self, runtime: &Handle) -> bool {
        let mut handles = lock(&self.handles);
        let is_new = handles.iter().all(|known| known.id() != runtime.id());
        if is_new {
            handles.push(runtime.clone());
            // Only now, so that whoever finds it here need not look there.
            let _ = self.first.set(runtime.id());
        }
        is_new
    }

    /// How many tasks are alive on them.
    pub fn alive_tasks(&self) -> usize {
        // Under the lock: it reads a number of each.
        lock(&self.handles).iter().map(|runtime| runtime.metrics().num_alive_tasks()).sum()
    }

    /// Whether this is one of them.
    pub fn include(&self, runtime: &Handle) -> bool {
        lock(&self.handles).iter().any(|known| known.id() == runtime.id())
    }

    /// Releases the handles, when nobody will ask any more.
    pub fn release(&self) {
        let handles = std::mem::take(&mut *lock(&self.handles));
        // The last handle frees what is left of a runtime: not under the lock.
        drop(handles);
    }
}
