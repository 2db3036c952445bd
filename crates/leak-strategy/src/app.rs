//! The four resources of an application that embeds a client: runtime, client, sync service and
//! request sender. The write-up of Robrix's logout (project-robius/robrix, pull request 432) leaks
//! these four at exit.
//!
//! Each function returns an ordinary [`Resource`], with its name and what it needs filled in.
//!
//! ```
//! use std::time::Duration;
//! use sundown::{BackgroundTask, RuntimeOwner, exit::{app, plan::ExitPlan, resource::Policy}};
//!
//! let runtime = RuntimeOwner::builder("matrix").workers(1).start()?;
//! let handle = runtime.handle()?;
//! let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel::<String>();
//! let worker = BackgroundTask::spawn_on(&handle, "requests", |_stop| async move {
//!     while requests.recv().await.is_some() {}
//! });
//! let sync_service = BackgroundTask::spawn_on(&handle, "sync", |stop| stop);
//! let client = String::from("a client");
//!
//! let plan = ExitPlan::builder(Duration::from_secs(3)).build();
//! let tear_down = || Policy::TearDownOrLeak { within: Duration::from_secs(1) };
//! plan.add(app::runtime(tear_down(), runtime))?;
//! plan.add(app::client(tear_down(), client))?;
//! plan.add(app::sync_service(tear_down(), sync_service))?;
//! plan.add(app::request_sender(tear_down(), sender, worker))?;
//! plan.leave(0)
//! # ; #[allow(unreachable_code)] Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::time::{Duration, Instant};

use sundown_core::{GracefulShutdown, TeardownError, teardown_blocking};
use tokio::runtime::Builder;

use crate::{
    exit_token::ExitToken,
    resource::{Policy, Resource, TeardownResult},
};

/// The name of the runtime in the plan. It needs nothing.
pub const RUNTIME: &str = "runtime";
/// The name of the client in the plan. It needs the runtime.
pub const CLIENT: &str = "client";
/// The name of the sync service in the plan. It needs the client.
pub const SYNC_SERVICE: &str = "sync service";
/// The name of the request sender in the plan. It needs the client.
pub const REQUEST_SENDER: &str = "request sender";

/// A runtime to shut down: a [`RuntimeOwner`](sundown_core::RuntimeOwner) or a
/// [`RuntimeCell`](sundown_core::RuntimeCell).
#[track_caller]
pub fn runtime(policy: Policy, runtime: impl GracefulShutdown + Send + 'static) -> Resource {
    shut_down(RUNTIME, policy, runtime)
}

/// A runtime to leak: the system ends its threads wherever they are. Any value will do, such as Tokio's
/// own `Runtime`, whose `shutdown_timeout` does not report whether the time was enough.
#[track_caller]
pub fn leaked_runtime(runtime: impl Send + 'static) -> Resource {
    let policy = Policy::Leak { why: "the system ends its threads" };
    Resource::new(RUNTIME, policy, move |_exit| {
        drop(runtime);
        Ok(())
    })
}

/// A client, or any other value whose destructor needs a runtime. [`teardown_blocking`] drops it and
/// waits until everything that the destructor started has ended. The client's own runtime may have ended
/// before.
///
/// Other clones of the client stay alive. Add their owners to the plan as resources that need the
/// client.
#[track_caller]
pub fn client(policy: Policy, client: impl Send + 'static) -> Resource {
    Resource::new(CLIENT, policy, move |exit| drop_in_context(client, exit.limit(), exit))
        .needs(RUNTIME)
}

/// A [`Session`](sundown_core::Session) that owns the client. If it cannot be closed, the ledger says where
/// the remaining handles were created.
///
/// The plan cannot drop handles that the program holds, in windows and caches: drop them before it begins, or by
/// resources that need the client. After a logout, [withdraw](crate::plan::ExitPlan::withdraw) the session by
/// [`CLIENT`], before the next login registers its own.
#[track_caller]
pub fn session(policy: Policy, session: impl GracefulShutdown + Send + 'static) -> Resource {
    shut_down(CLIENT, policy, session).needs(RUNTIME)
}

/// A sync service: it is asked to stop, and then awaited.
#[track_caller]
pub fn sync_service(policy: Policy, service: impl GracefulShutdown + Send + 'static) -> Resource {
    shut_down(SYNC_SERVICE, policy, service).needs(CLIENT)
}

/// The sender of a channel, and the worker that receives from it.
///
/// Dropping the last sender closes the channel. If the worker ignores the signal to stop and ends when
/// the channel is closed, it processes every accepted request within the limit. Clones of the sender
/// keep the channel open.
#[track_caller]
pub fn request_sender(
    policy: Policy,
    sender: impl Send + 'static,
    worker: impl GracefulShutdown + Send + 'static,
) -> Resource {
    Resource::new(REQUEST_SENDER, policy, move |exit| {
        let began = Instant::now();
        drop_in_context(sender, exit.limit(), exit)?;
        wait_for(&worker, exit.limit().saturating_sub(began.elapsed()))
    })
    .needs(CLIENT)
}

#[track_caller]
fn shut_down(
    name: &str,
    policy: Policy,
    component: impl GracefulShutdown + Send + 'static,
) -> Resource {
    Resource::new(name, policy, move |exit| wait_for(&component, exit.limit()))
}

fn wait_for(component: &impl GracefulShutdown, limit: Duration) -> TeardownResult {
    // The kit's limits hold under any executor.
    let executor = Builder::new_current_thread().build()?;
    let _ = executor.block_on(component.shutdown_within(limit))?;
    Ok(())
}

fn drop_in_context<T: Send + 'static>(
    value: T,
    limit: Duration,
    exit: &ExitToken,
) -> TeardownResult {
    match teardown_blocking(value, limit) {
        Ok(_) => Ok(()),
        Err(TeardownError::CannotStart { value, source }) => {
            exit.leak(value, format!("there was no thread to drop it on: {source}"));
            Err(source.into())
        }
        // As text: the error contains the value, which may not be `Sync`.
        Err(error) => Err(error.to_string().into()),
    }
}
