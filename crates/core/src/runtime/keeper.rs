//! The thread that a runtime lives on.

use std::{
    cell::OnceCell,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::Arc,
};

use tokio::runtime::{Handle, Runtime};

use super::threads::{Role, Threads};
use crate::{
    crew::panic_message,
    life::{End, Life},
    oneshot::Sender,
};

/// What the thread does last, after all other thread-locals of it are gone: it says so.
///
/// A thread-local, so that it is said whatever ends the thread; an interpreter that is being
/// finalized ends threads by `pthread_exit`. Destructors of thread-locals run in reverse order
/// of their registration, and this is the first.
struct LastBreath {
    life: Arc<Life>,
    /// A child that is forked by a task of a current-thread runtime has this thread, and when it
    /// exits its thread-locals are destroyed. It has nothing to say.
    process: u32,
}

impl Drop for LastBreath {
    fn drop(&mut self) {
        if process::id() == self.process {
            self.life.went();
        }
    }
}

thread_local!(static LAST_BREATH: OnceCell<LastBreath> = const { OnceCell::new() });

/// Makes a runtime, keeps it until it is let go, and drops it.
///
/// It is made here because making one may panic (where the system has no thread for a worker) or
/// hang (where it had one for the first worker and has none for the second: Tokio then waits for
/// the first). And it is dropped here because dropping it waits for all of its threads: this
/// thread is the one that may wait as long as it takes, and ends when they have.
pub(super) fn keep(
    make: impl FnOnce() -> io::Result<Runtime>,
    life: &Arc<Life>,
    threads: &Threads,
    ready: Sender<io::Result<Handle>>,
) {
    let last_breath = LastBreath { life: Arc::clone(life), process: process::id() };
    LAST_BREATH.with(|breath| breath.set(last_breath).is_ok());
    threads.come(Role::Keeper);
    let made = catch_unwind(AssertUnwindSafe(make));
    let runtime =
        match made.unwrap_or_else(|payload| Err(io::Error::other(panic_message(&*payload)))) {
            Ok(runtime) => runtime,
            Err(error) => {
                life.put_down(End::Told);
                let _ = ready.send(Err(error));
                return;
            }
        };
    if ready.send(Ok(runtime.handle().clone())).is_err() {
        // Nobody waits for it any more.
        life.abort();
    }
    let kept = catch_unwind(AssertUnwindSafe(|| runtime.block_on(life.until_let_go())));
    let mut end = match kept {
        Ok(()) => End::Told,
        Err(payload) => End::Panicked {
            message: panic_message(&*payload),
            running: life.crew().registry().labels(),
            tasks: runtime.metrics().num_alive_tasks(),
        },
    };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(runtime))) {
        let message = panic_message(&*payload);
        end = End::Panicked { message, running: life.crew().registry().labels(), tasks: 0 };
    }
    life.put_down(end);
    threads.go();
}
