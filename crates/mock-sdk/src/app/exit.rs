//! Closing the window: what the application puts into an exit plan, and how the plan is carried out.
//!
//! An exit has no time and no second chance. It takes the application apart in order, within one limit,
//! and leaves behind what is not ready in time. A logout has both, and never leaves anything behind: it
//! cannot, because leaking takes a token that only an exit has.
//!
//! The plan looks at the globals when it is carried out: after a logout and another login it ends what
//! is there then.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use leak_strategy::{
    app::{CLIENT, REQUEST_SENDER, RUNTIME, SYNC_SERVICE, runtime},
    exit_token::ExitToken,
    plan::{ExitPlan, PlanError},
    resource::{Policy, Resource, TeardownResult},
};
use state_machine::config::RuntimePolicy;
use sundown::teardown::teardown_blocking;
use tokio::runtime::Builder;

use super::{managed::ManagedApp, requests::WorkerState, ui::EventLoop};

/// The name of the login's runtime in a plan, if each login has one of its own.
pub const SESSION_RUNTIME: &str = "session runtime";

impl ManagedApp {
    /// Puts the application into an exit plan. Call it once for each plan. The plan tears down in this
    /// order, each within `within`:
    ///
    /// | resource | how | if it does not end |
    /// | --- | --- | --- |
    /// | request sender | closes the channel, and waits until the worker has done what is in it | *failed*: an accepted request may be lost |
    /// | sync service | stops it | left to the system |
    /// | client | stops its tasks and closes its stores, whoever holds it | left to the system: what is committed is on disk |
    /// | the login's runtime, if it has one of its own | shuts it down | left to the system |
    /// | the application's runtime | shuts it down | left to the system |
    ///
    /// If nobody is logged in then, the first four have nothing to do. The session is not closed: after
    /// the client is closed nobody's handles matter, and an exit does not wait for those of the user
    /// interface.
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
    /// [`PlanError::Duplicate`] if the plan has a resource of the same name, and [`PlanError::Leaving`] if it
    /// is being carried out. The resources before that one are in the plan.
    pub fn add_to(self: &Arc<Self>, plan: &ExitPlan, within: Duration) -> Result<(), PlanError> {
        let or_leak = || Policy::TearDownOrLeak { within };
        let resource = |name, policy, teardown: fn(&Self, &ExitToken) -> TeardownResult| {
            let managed = Arc::clone(self);
            Resource::new(name, policy, move |exit: &ExitToken| teardown(&managed, exit))
        };
        plan.add(runtime(or_leak(), self.runtime.clone()))?;
        let mut needed = RUNTIME;
        if self.policy == RuntimePolicy::Keep {
            let end = Self::end_session_runtime;
            plan.add(resource(SESSION_RUNTIME, or_leak(), end).needs(RUNTIME))?;
            needed = SESSION_RUNTIME;
        }
        plan.add(resource(CLIENT, or_leak(), Self::close_client).needs(needed))?;
        plan.add(resource(SYNC_SERVICE, or_leak(), Self::end_sync_service).needs(CLIENT))?;
        let policy = Policy::TearDown { within };
        plan.add(resource(REQUEST_SENDER, policy, Self::end_worker).needs(CLIENT))
    }

    fn end_worker(&self, exit: &ExitToken) -> TeardownResult {
        self.app.expect_worker_end();
        drop(self.app.globals().request_sender.take());
        let mut worker = self.app.worker();
        // The application holds the sender of this state, and so only the limit can fail.
        let ended = wait("the worker", exit.limit(), async {
            worker.wait_for(|state| *state != WorkerState::Running).await.map(|state| state.clone())
        })??;
        match ended {
            WorkerState::EndedUnexpectedly { reason } => Err(reason.into()),
            WorkerState::Lost => {
                Err("the worker went away with its runtime, and may have left requests undone"
                    .into())
            }
            WorkerState::NotStarted | WorkerState::Running | WorkerState::EndedAsExpected => Ok(()),
        }
    }

    fn end_sync_service(&self, exit: &ExitToken) -> TeardownResult {
        let Some(service) = self.app.globals().sync_service.take() else { return Ok(()) };
        let stopped = wait("the sync service", exit.limit(), service.stop());
        if stopped.is_err() {
            exit.leak(service, "it may hold the last handle of the client");
        }
        stopped
    }

    /// Closes the client for everybody. Afterwards it does not matter who drops the last handle, where,
    /// and whether anybody does.
    fn close_client(&self, exit: &ExitToken) -> TeardownResult {
        let began = Instant::now();
        let rooms = self.app.globals().all_joined_rooms.take();
        let client = self.app.globals().client.take();
        if let Some(open) = &client {
            let closed = wait("the client", exit.limit(), open.close());
            if let Err(error) = closed.and_then(|closed| Ok(closed?)) {
                exit.leak((client, rooms), "dropped here, it would panic");
                return Err(error);
            }
        }
        let left = exit.limit().saturating_sub(began.elapsed());
        // The error as text: it holds the handles.
        teardown_blocking((client, rooms), left).map(drop).map_err(|error| error.to_string().into())
    }

    fn end_session_runtime(&self, exit: &ExitToken) -> TeardownResult {
        let Some(login) = self.login() else { return Ok(()) };
        let limit = exit.limit();
        let _ = wait("the login's runtime", limit, login.runtime.shutdown(limit))??;
        Ok(())
    }
}

impl EventLoop {
    /// Runs the event loop on this thread until the window is closed, then leaves the process by the
    /// plan, with this exit code. If the event loop panics, the plan is carried out all the same, and the
    /// code is 101.
    ///
    /// What is in the cache of this thread is not dropped, if the plan leaves as plans do: at the end of a
    /// thread that could abort the process (experiment 07).
    pub fn run_and_leave(self, plan: &ExitPlan, code: i32) -> ! {
        plan.run(|| {
            self.run();
            code
        })
    }
}

/// Waits on a runtime of its own: the application's may be what hangs.
fn wait<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    let executor = Builder::new_current_thread().enable_all().build()?;
    let waited = executor.block_on(async { tokio::time::timeout(limit, work).await });
    // Unlike a drop, this does not wait for blocking work.
    executor.shutdown_background();
    waited.map_err(|_| format!("{what} has not ended after {limit:.1?}").into())
}
