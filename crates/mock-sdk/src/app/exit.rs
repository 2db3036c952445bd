//! Closing the window: what the application puts into an exit plan, and how it is carried out.
//!
//! An exit has no time and no second chance, and so it takes the application apart in order, within
//! one limit, and leaves behind what does not make it. A logout has both, and never leaves anything
//! behind: it uses nothing of this, and cannot, because leaking takes a token that only an exit has.
//!
//! The plan holds ways to where the application keeps things, not the things: whoever logs out and in
//! again between is in the plan with what is there when the window is closed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use leak_strategy::{
    app::{self, CLIENT, REQUEST_SENDER, RUNTIME, SYNC_SERVICE},
    plan::{ExitPlan, PlanError},
    resource::{Policy, Resource, TeardownResult},
    token::ExitToken,
};
use state_machine::config::RuntimePolicy;
use sundown::{shutdown::GracefulShutdown, teardown::teardown_blocking};
use tokio::runtime::Builder;

use super::{App, managed::ManagedApp, requests::WorkerState, ui::EventLoop};

impl App {
    /// Puts the application into an exit plan, with the runtime that it is on. Torn down in this order,
    /// each within its limit:
    ///
    /// | resource | how | if it does not end |
    /// | --- | --- | --- |
    /// | request sender | closes the channel, and waits until the worker has done what is in it | has *failed*: something accepted may be lost |
    /// | sync service | stops it | is left to the system |
    /// | client | stops its tasks and closes its stores, whoever holds it | is left to the system: what is committed is on disk |
    /// | runtime | shuts it down | is left to the system |
    ///
    /// What is not there when the plan is carried out, because nobody is logged in, has nothing to
    /// end. To be called once for each plan.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use leak_strategy::plan::ExitPlan;
    /// use mock_sdk::app::{App, AppConfig};
    /// use sundown::runtime::RuntimeOwner;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = RuntimeOwner::builder("matrix").workers(2).start()?;
    /// let (app, event_loop) =
    ///     App::new(AppConfig::new("http://127.0.0.1:8008", ".".as_ref()));
    /// app.start_worker(&runtime.handle()?);
    ///
    /// let plan = ExitPlan::builder(Duration::from_secs(3)).ledger("exit.json").build();
    /// app.add_to(&plan, runtime, Duration::from_secs(1))?;
    /// event_loop.run_and_leave(&plan, 0)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PlanError::Duplicate`] where something of the same name is in the plan, and
    /// [`PlanError::Leaving`] where it is being carried out. What came before that is in the plan.
    pub fn add_to(
        &self,
        plan: &ExitPlan,
        runtime: impl GracefulShutdown + Send + 'static,
        within: Duration,
    ) -> Result<(), PlanError> {
        plan.add(app::runtime(Policy::TearDownOrLeak { within }, runtime))?;
        self.add_all_but_the_runtime_to(plan, RUNTIME, within)
    }

    /// What needs a runtime, which is in the plan already.
    fn add_all_but_the_runtime_to(
        &self,
        plan: &ExitPlan,
        runtime: &str,
        within: Duration,
    ) -> Result<(), PlanError> {
        let or_leak = || Policy::TearDownOrLeak { within };
        let app = self.clone();
        let close = move |exit: &ExitToken| app.close_client(exit);
        plan.add(Resource::new(CLIENT, or_leak(), close).needs(runtime))?;
        let app = self.clone();
        let stop = move |exit: &ExitToken| app.stop_sync_service(exit);
        plan.add(Resource::new(SYNC_SERVICE, or_leak(), stop).needs(CLIENT))?;
        let app = self.clone();
        let end = move |exit: &ExitToken| app.end_worker(exit);
        plan.add(Resource::new(REQUEST_SENDER, Policy::TearDown { within }, end).needs(CLIENT))
    }

    fn end_worker(&self, exit: &ExitToken) -> TeardownResult {
        self.expect_worker_end();
        drop(self.globals().request_sender.take());
        let mut worker = self.worker();
        // Fails only where the application is gone, which this is part of.
        let ended = wait("the worker", exit.limit(), async {
            worker.wait_for(|state| *state != WorkerState::Running).await.map(|state| state.clone())
        })??;
        match ended {
            WorkerState::EndedUnexpectedly { reason } => Err(reason.into()),
            WorkerState::Lost => {
                Err("the worker went with its runtime, and may have left requests undone".into())
            }
            WorkerState::NotStarted | WorkerState::Running | WorkerState::EndedAsExpected => Ok(()),
        }
    }

    fn stop_sync_service(&self, exit: &ExitToken) -> TeardownResult {
        let Some(service) = self.globals().sync_service.take() else { return Ok(()) };
        let stopped = wait("the sync service", exit.limit(), service.stop());
        if stopped.is_err() {
            exit.leak(service, "it may hold the last handle of the client");
        }
        stopped
    }

    /// Closes the client for everybody: after that it does not matter who drops the last handle of it,
    /// or where, or whether anybody does.
    fn close_client(&self, exit: &ExitToken) -> TeardownResult {
        let began = Instant::now();
        let rooms = self.globals().all_joined_rooms.take();
        let client = self.globals().client.take();
        if let Some(open) = &client {
            let closed = wait("the client", exit.limit(), open.close());
            if let Err(error) = closed.and_then(|closed| Ok(closed?)) {
                exit.leak((client, rooms), "dropped here, it would panic");
                return Err(error);
            }
        }
        let left = exit.limit().saturating_sub(began.elapsed());
        // As text: the error has the handles in it.
        teardown_blocking((client, rooms), left).map(drop).map_err(|error| error.to_string().into())
    }
}

/// What the runtime of whoever is logged in is called in the plan of a [`ManagedApp`], where each login
/// has one of its own.
pub const SESSION_RUNTIME: &str = "session runtime";

impl ManagedApp {
    /// Puts the application into an exit plan: as [`App::add_to`] does, with its own runtime, and, where
    /// each login has one, with that of whoever is logged in when the plan is carried out, between the
    /// client and the application's. The session is not closed: a closed client needs nobody's handles
    /// to be gone, and an exit does not wait for those of the user interface.
    ///
    /// ```no_run
    /// use std::{sync::Arc, time::Duration};
    /// use leak_strategy::plan::ExitPlan;
    /// use mock_sdk::app::{AppConfig, managed::ManagedApp};
    /// use state_machine::config::RuntimePolicy;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = AppConfig::new("http://127.0.0.1:8008", ".".as_ref());
    /// let (managed, event_loop) = ManagedApp::start(config, RuntimePolicy::Keep)?;
    ///
    /// let plan = ExitPlan::builder(Duration::from_secs(3)).ledger("exit.json").build();
    /// Arc::new(managed).add_to(&plan, Duration::from_secs(1))?;
    /// event_loop.run_and_leave(&plan, 0)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`App::add_to`].
    pub fn add_to(self: &Arc<Self>, plan: &ExitPlan, within: Duration) -> Result<(), PlanError> {
        let or_leak = || Policy::TearDownOrLeak { within };
        plan.add(app::runtime(or_leak(), self.runtime.clone()))?;
        let needed = match self.policy {
            RuntimePolicy::Restart => RUNTIME,
            RuntimePolicy::Keep => {
                let managed = Arc::clone(self);
                let end = move |exit: &ExitToken| managed.end_session_runtime(exit);
                plan.add(Resource::new(SESSION_RUNTIME, or_leak(), end).needs(RUNTIME))?;
                SESSION_RUNTIME
            }
        };
        self.app.add_all_but_the_runtime_to(plan, needed, within)
    }

    fn end_session_runtime(&self, exit: &ExitToken) -> TeardownResult {
        let Some(stay) = self.current() else { return Ok(()) };
        let shutdown = stay.runtime.shutdown(exit.limit());
        let _ = wait("the session's runtime", exit.limit(), shutdown)??;
        Ok(())
    }
}

impl EventLoop {
    /// Runs the event loop on this thread until the window is closed, and then leaves the process by
    /// the plan, with this code. Where the event loop panics the plan is carried out all the same, and
    /// the code is 101.
    ///
    /// What the caches of this thread hold is not dropped, if the plan leaves as plans do: at the end
    /// of a thread that could abort the process (experiment 07).
    pub fn run_and_leave(self, plan: &ExitPlan, code: i32) -> ! {
        plan.run(|| {
            self.run();
            code
        })
    }
}

/// Waits for so long, on a runtime of its own: the application's may be what hangs.
fn wait<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    let executor = Builder::new_current_thread().enable_all().build()?;
    let waited = executor.block_on(async { tokio::time::timeout(limit, work).await });
    // Unlike a drop it does not wait for what blocks.
    executor.shutdown_background();
    waited.map_err(|_| format!("{what} has not ended after {limit:.1?}").into())
}
