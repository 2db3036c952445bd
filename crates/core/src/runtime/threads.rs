//! The threads of a runtime, as far as stable Tokio tells: by the hooks that it calls when one starts
//! and when one stops.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use crate::sync::{Mutex, lock};

/// Who is there.
#[derive(Default)]
pub(super) struct Threads {
    list: Mutex<Vec<Thread>>,
}

struct Thread {
    key: u64,
    role: Role,
    name: String,
}

/// What a thread is to the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Owns the runtime. Of a current-thread runtime it is the one that polls its tasks as well.
    Keeper,
    /// One of the pool that polls tasks, if the runtime has workers, and runs what blocks. Which of
    /// the two a thread does is not known: to Tokio a worker is something that blocks.
    Pool,
    /// Somebody else's thread, inside `block_on`.
    Guest,
}

/// What tells this thread from all others of the process, before and after its other thread-locals:
/// a constant without a destructor is there as long as the thread is, `std::thread::current` is not.
fn this_thread() -> u64 {
    thread_local!(static KEY: Cell<u64> = const { Cell::new(0) });
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if KEY.get() == 0 {
        // A number that nobody else has, and nothing that another thread would rely on.
        KEY.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    KEY.get()
}

impl Threads {
    /// This thread comes, under the name that it has.
    pub(super) fn come(&self, role: Role) {
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        lock(&self.list).push(Thread { key: this_thread(), role, name });
    }

    /// This thread comes for as long as the guard lives.
    pub(super) fn guest(&self) -> Guest<'_> {
        let thread = Thread { key: this_thread(), role: Role::Guest, name: String::new() };
        lock(&self.list).push(thread);
        Guest(self)
    }

    /// This thread goes. A guest who has come twice goes once.
    pub(super) fn go(&self) {
        let mut list = lock(&self.list);
        if let Some(at) = list.iter().rposition(|thread| thread.key == this_thread()) {
            list.remove(at);
        }
    }

    /// Whether this thread is one whose end, or whose return, an end of the runtime waits for.
    pub(super) fn include_this(&self) -> bool {
        lock(&self.list).iter().any(|thread| thread.key == this_thread())
    }

    /// Whether this thread is there in this role.
    pub(super) fn include_this_as(&self, role: Role) -> bool {
        let here = this_thread();
        lock(&self.list).iter().any(|thread| thread.key == here && thread.role == role)
    }

    pub(super) fn count(&self, role: Role) -> usize {
        lock(&self.list).iter().filter(|thread| thread.role == role).count()
    }

    /// Those that an end of the runtime waits for, by name. The keeper waits for the others, and is
    /// named where there is none.
    pub(super) fn left(&self) -> Vec<String> {
        let list = lock(&self.list);
        let names = |role| -> Vec<String> {
            let those = list.iter().filter(|thread| thread.role == role);
            those.map(|thread| thread.name.clone()).collect()
        };
        let pool = names(Role::Pool);
        if pool.is_empty() { names(Role::Keeper) } else { pool }
    }
}

/// A thread that is inside `block_on`.
pub(super) struct Guest<'a>(&'a Threads);

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.go();
    }
}
