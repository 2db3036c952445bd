//! The thread that owns a runtime.

#[cfg(feature = "stuck")]
use std::time::{Duration, Instant};
use std::{cell::OnceCell, io, sync::Arc};

use tokio::runtime::{Handle, Runtime};

use super::{
    cut_off::CutOffWatches,
    foreign::Foreign,
    panic_watch::PanicLog,
    rest::Rest,
    threads::{Role, Threads},
};
#[cfg(feature = "stuck")]
use crate::limit::until;
use crate::{
    fork::ProcessGuard,
    lifecycle::{End, Lifecycle},
    oneshot::Sender,
    panics,
    shutdown::CutOff,
};

/// What the owner thread has in common with the other threads of a generation, and with its callers.
#[derive(Clone, Default)]
pub(super) struct Shared {
    pub(super) life: Arc<Lifecycle>,
    pub(super) threads: Arc<Threads>,
    pub(super) foreign: Arc<Foreign>,
    pub(super) cut_off_watches: Arc<CutOffWatches>,
    /// `None` if the runtime has no workers.
    pub(super) rest: Option<Arc<Rest>>,
    /// `None` unless the builder asked for it.
    pub(super) panics: Option<Arc<PanicLog>>,
}

impl Shared {
    /// How many tasks of the kit are on the runtime. (`block_on` is polled by threads of its callers.)
    fn kit_tasks(&self) -> usize {
        let running = self.life.tasks().registry().count().running;
        running.saturating_sub(self.threads.count(Role::Guest))
    }

    /// Waits until the runtime should be dropped: its own tasks have ended, and foreign tasks have had
    /// their time; or it is aborted.
    async fn until_idle(&self, alive: impl Fn() -> usize) {
        self.life.until_released().await;
        #[cfg(feature = "stuck")]
        self.until_awaits_are_noted().await;
        self.foreign.wait(&self.life, alive).await;
    }

    /// Lets the tasks be polled once more that say then where they wait.
    #[cfg(feature = "stuck")]
    async fn until_awaits_are_noted(&self) {
        /// A small part of what a caller leaves for an abort.
        const TIME: Duration = Duration::from_millis(20);
        if self.life.tasks().notes_awaits() {
            until(Instant::now().checked_add(TIME), self.life.tasks().closed().wait()).await;
        }
    }

    /// Cuts off what is left on the runtime, and waits for all of its threads.
    fn drop_runtime(&self, runtime: Runtime) -> Result<(), String> {
        self.cut_off_watches.tell();
        let (found, how_if_any) = match &self.rest {
            Some(rest) => {
                // A panic in between would drop the runtime without letting its threads go, and hang.
                let found = panics::catch(|| rest.bring(&runtime)).unwrap_or_default();
                let how = if found.exact { CutOff::AtRest } else { CutOff::InMotion };
                (found.tasks, how)
            }
            // This thread polls the tasks, and cuts them off.
            None => (runtime.metrics().num_alive_tasks(), CutOff::AtRest),
        };
        let how = if found == 0 { CutOff::Nothing } else { how_if_any };
        let foreign = found.saturating_sub(self.kit_tasks());
        self.foreign.record(foreign, how);
        match &self.rest {
            Some(rest) => {
                let stayed = rest.drop_runtime(runtime)?;
                if !stayed && how == CutOff::AtRest {
                    self.foreign.record(foreign, CutOff::InMotion);
                }
                Ok(())
            }
            None => panics::catch(|| drop(runtime)),
        }
    }
}

/// Says that the thread is gone, as almost the last thing that the thread does.
///
/// It is a thread-local, so it is dropped whatever ends the thread: an interpreter that is being
/// finalized ends threads by `pthread_exit`. It is registered second, after that of
/// [`Joinable`](crate::joinable::Joinable), and so destroyed after all others but that.
struct Farewell {
    shared: Shared,
    /// If a task of a current-thread runtime forks, the child has this thread, and destroys its
    /// thread-locals when it exits. It must not say anything.
    process: ProcessGuard,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if self.process.forked_from().is_none() {
            self.shared.threads.remove();
            self.shared.life.gone();
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
    shared: &Shared,
    ready: Sender<io::Result<Handle>>,
) {
    let Shared { life, threads, .. } = shared;
    let farewell = Farewell { shared: shared.clone(), process: ProcessGuard::this_process() };
    FAREWELL.with(|cell| cell.set(farewell).is_ok());
    threads.add(Role::Owner);
    shared.panics.iter().for_each(|panics| panics.watch_this_thread());
    let made = panics::catch(make).unwrap_or_else(|message| Err(io::Error::other(message)));
    let runtime = match made {
        Ok(runtime) => runtime,
        Err(error) => {
            life.record(End::Told);
            let _ = ready.send(Err(error));
            return;
        }
    };
    shared.rest.iter().for_each(|rest| rest.begin(runtime.metrics().num_workers()));
    if ready.send(Ok(runtime.handle().clone())).is_err() {
        // Nobody waits for it any more.
        life.abort();
    }
    let metrics = runtime.metrics();
    let alive = || metrics.num_alive_tasks();
    let mut end = match panics::catch(|| runtime.block_on(shared.until_idle(alive))) {
        Ok(()) => End::Told,
        Err(message) => {
            End::Panicked { message, still_running: life.tasks().still_running(), tasks: alive() }
        }
    };
    if let Err(message) = shared.drop_runtime(runtime) {
        let still_running = life.tasks().still_running();
        end = End::Panicked { message, still_running, tasks: 0 };
    }
    life.record(end);
}
