//! The threads of a runtime, as far as stable Tokio reports them: by the hooks that it calls when a
//! thread starts and when it stops.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use crate::sync::{Mutex, lock};

/// The threads that are there now.
#[derive(Default)]
pub(super) struct Threads {
    list: Mutex<Vec<Thread>>,
}

struct Thread {
    key: u64,
    role: Role,
    name: String,
}

/// What a thread does for the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It owns the runtime. Of a current-thread runtime it also polls the tasks.
    Owner,
    /// It is a worker or runs blocking work. Which of the two is not known: to Tokio a worker is a
    /// blocking closure.
    Pool,
    /// It belongs to somebody else, and is inside `block_on`.
    Guest,
}

/// A number that no other thread of the process has. It can be had before and after the thread's other
/// thread-locals exist, because a constant without a destructor lives as long as the thread. That is
/// not so of `std::thread::current`.
fn this_thread() -> u64 {
    thread_local!(static KEY: Cell<u64> = const { Cell::new(0) });
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if KEY.get() == 0 {
        // Relaxed: a number that no other thread gets, and that publishes nothing.
        KEY.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    KEY.get()
}

impl Threads {
    /// Adds this thread, under its name.
    pub(super) fn add(&self, role: Role) {
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        lock(&self.list).push(Thread { key: this_thread(), role, name });
    }

    /// Adds this thread as a guest, for as long as the guard lives.
    pub(super) fn add_guest(&self) -> Guest<'_> {
        let thread = Thread { key: this_thread(), role: Role::Guest, name: String::new() };
        lock(&self.list).push(thread);
        Guest(self)
    }

    /// Removes this thread. A guest that was added twice is removed once.
    pub(super) fn remove(&self) {
        let mut list = lock(&self.list);
        if let Some(at) = list.iter().rposition(|thread| thread.key == this_thread()) {
            list.remove(at);
        }
    }

    /// Whether this is a thread whose end, or whose return, an end of the runtime waits for.
    pub(super) fn include_this_thread(&self) -> bool {
        lock(&self.list).iter().any(|thread| thread.key == this_thread())
    }

    /// Whether this thread has this role.
    pub(super) fn include_this_thread_as(&self, role: Role) -> bool {
        let this = this_thread();
        lock(&self.list).iter().any(|thread| thread.key == this && thread.role == role)
    }

    pub(super) fn count(&self, role: Role) -> usize {
        lock(&self.list).iter().filter(|thread| thread.role == role).count()
    }

    /// The names of the threads that an end of the runtime waits for. The owner thread waits for the
    /// others, so it is named only if there are none.
    pub(super) fn names(&self) -> Vec<String> {
        let list = lock(&self.list);
        let names = |role| -> Vec<String> {
            let those = list.iter().filter(|thread| thread.role == role);
            those.map(|thread| thread.name.clone()).collect()
        };
        let pool = names(Role::Pool);
        if pool.is_empty() { names(Role::Owner) } else { pool }
    }
}

/// A thread that is inside `block_on`.
pub(super) struct Guest<'a>(&'a Threads);

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.remove();
    }
}
