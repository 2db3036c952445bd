//! The threads of a runtime, as far as stable Tokio reports them: by the hooks that it calls when a
//! thread starts and when it stops.

use std::{
    cell::{Cell, OnceCell},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    fork::ProcessGuard,
    sync::{Mutex, lock},
    this_thread,
};

/// The threads that are there now.
pub(super) struct Threads {
    /// A number that no other runtime of the process has.
    runtime: usize,
    list: Mutex<Vec<Thread>>,
}

thread_local! {
    /// The runtime that this thread belongs to, as its owner or in its pool; 0 if it belongs to none.
    ///
    /// It stays until the thread has ended: an end of the runtime waits until then, and so also for the
    /// destructors of other thread-locals. A constant without a destructor can be read in them.
    static RUNTIME: Cell<usize> = const { Cell::new(0) };

    /// Registered when the thread starts, so destroyed after those of the tasks that it polls.
    static LISTED: OnceCell<Listed> = const { OnceCell::new() };
}

/// Takes a thread of the pool off the list when it ends.
struct Listed {
    threads: Arc<Threads>,
    /// A forked child destroys the thread-locals of the thread that forked, too. Nobody asks there, and the
    /// list may have been locked at the fork.
    process: ProcessGuard,
}

impl Drop for Listed {
    fn drop(&mut self) {
        if self.process.forked_from().is_none() {
            self.threads.remove();
        }
    }
}

impl Default for Threads {
    fn default() -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: a number that no other runtime gets, and that publishes nothing.
        Self { runtime: LAST.fetch_add(1, Ordering::Relaxed) + 1, list: Mutex::default() }
    }
}

struct Thread {
    number: usize,
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
    /// It is one of those, and held by the shutdown. See [`rest`](super::rest).
    Held,
    /// It was one of those, and destroys its thread-locals.
    Ending,
    /// It belongs to somebody else, and is inside `block_on`.
    Guest,
}

impl Threads {
    /// Adds this thread, which belongs to the runtime, under its name.
    pub(super) fn add(&self, role: Role) {
        RUNTIME.set(self.runtime);
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        lock(&self.list).push(Thread { number: this_thread::number(), role, name });
    }

    /// Adds this thread of the pool, until it has destroyed its thread-locals.
    pub(super) fn add_to_pool(self: &Arc<Self>) {
        let listed = Listed { threads: Arc::clone(self), process: ProcessGuard::this_process() };
        if LISTED.with(|cell| cell.set(listed)).is_ok() {
            self.add(Role::Pool);
        }
    }

    /// Adds this thread as a guest, for as long as the guard lives.
    pub(super) fn add_guest(&self) -> Guest<'_> {
        let (number, role, name) = (this_thread::number(), Role::Guest, String::new());
        let thread = Thread { number, role, name };
        lock(&self.list).push(thread);
        Guest(self)
    }

    /// Gives this thread another role.
    pub(super) fn change_role(&self, role: Role) {
        let this = this_thread::number();
        if let Some(thread) = lock(&self.list).iter_mut().find(|thread| thread.number == this) {
            thread.role = role;
        }
    }

    /// Removes this thread. A guest that was added twice is removed once.
    pub(super) fn remove(&self) {
        let (this, mut list) = (this_thread::number(), lock(&self.list));
        if let Some(at) = list.iter().rposition(|thread| thread.number == this) {
            list.remove(at);
        }
    }

    /// Whether this is a thread whose end, or whose return, an end of the runtime waits for.
    pub(super) fn include_this_thread(&self) -> bool {
        let this = this_thread::number();
        RUNTIME.get() == self.runtime || lock(&self.list).iter().any(|thread| thread.number == this)
    }

    /// Whether this thread has this role.
    pub(super) fn include_this_thread_as(&self, role: Role) -> bool {
        let this = this_thread::number();
        lock(&self.list).iter().any(|thread| thread.number == this && thread.role == role)
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
        let mut pool = names(Role::Pool);
        pool.extend(names(Role::Ending));
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
