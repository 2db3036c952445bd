//! The thread that owns a runtime.

use std::{cell::OnceCell, io, sync::Arc};

use tokio::runtime::{Handle, Runtime};

use super::threads::{Role, Threads};
use crate::{
    fork::ProcessGuard,
    lifecycle::{End, Lifecycle},
    oneshot::Sender,
    panics,
};

/// Says that the thread is gone, as the last thing that the thread does.
///
/// It is a thread-local, so it is dropped whatever ends the thread: an interpreter that is being
/// finalized ends threads by `pthread_exit`. Thread-locals are destroyed in reverse order of their
/// registration, and this one is registered first.
struct Farewell {
    life: Arc<Lifecycle>,
    /// If a task of a current-thread runtime forks, the child has this thread, and destroys its
    /// thread-locals when it exits. It must not say anything.
    process: ProcessGuard,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if self.process.forked_from().is_none() {
            self.life.gone();
        }
    }
}

thread_local!(static FAREWELL: OnceCell<Farewell> = const { OnceCell::new() });

/// Makes a runtime, owns it until it is released, and drops it.
///
/// The runtime is made here because making one may panic (the system has no thread for a worker) or
/// hang (it had a thread for the first worker and none for the second, and Tokio waits for the first).
/// It is dropped here because the drop waits for all of its threads: this is the one thread that may
/// wait as long as it takes, and it ends when they have.
pub(super) fn run(
    make: impl FnOnce() -> io::Result<Runtime>,
    life: &Arc<Lifecycle>,
    threads: &Threads,
    ready: Sender<io::Result<Handle>>,
) {
    let farewell = Farewell { life: Arc::clone(life), process: ProcessGuard::this_process() };
    FAREWELL.with(|cell| cell.set(farewell).is_ok());
    threads.add(Role::Owner);
    let made = panics::catch(make).unwrap_or_else(|message| Err(io::Error::other(message)));
    let runtime = match made {
        Ok(runtime) => runtime,
        Err(error) => {
            life.record(End::Told);
            let _ = ready.send(Err(error));
            return;
        }
    };
    if ready.send(Ok(runtime.handle().clone())).is_err() {
        // Nobody waits for it any more.
        life.abort();
    }
    let mut end = match panics::catch(|| runtime.block_on(life.until_released())) {
        Ok(()) => End::Told,
        Err(message) => End::Panicked {
            message,
            still_running: life.tasks().still_running(),
            tasks: runtime.metrics().num_alive_tasks(),
        },
    };
    if let Err(message) = panics::catch(|| drop(runtime)) {
        let still_running = life.tasks().still_running();
        end = End::Panicked { message, still_running, tasks: 0 };
    }
    life.record(end);
    threads.remove();
}
