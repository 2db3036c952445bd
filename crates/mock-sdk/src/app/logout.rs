//! What the state machine asks of an application, implemented by [`ManagedApp`].
//!
//! Three decisions are not obvious:
//!
//! - **The session is the last owner.** The application's main loop has a handle until its runtime ends,
//!   and tasks of the client's own may hold clones that no handle reports. If one of those were the last
//!   owner, a runtime that goes down would close its connections side by side, and could leave their log
//!   behind (experiment 12). So the session keeps one handle until the runtime has ended.
//! - **The user interface may be asked twice.** While the tabs are closed, the worker may open another
//!   one. When the runtime has ended there is no worker any more; if handles are left then, the user
//!   interface is asked once more.
//! - **Requests run on the login's runtime,** which has the drivers for them; the driver of the logout
//!   needs none. A request that is given up is dropped there, and its connection with it.

use std::time::{Duration, Instant};

use state_machine::{
    application::{
        AccessToken, Failure, RequestError, Runtime, Server, Session, Storage, SyncService,
        UserInterface,
    },
    config::RuntimePolicy,
};
use sundown::{limit::within, runtime::RuntimeOwner};

use super::{
    managed::{ManagedApp, run_on},
    requests::WorkerState,
};
use crate::client::{ClientError, whoami};

/// Of the limit to close a session, the worker has one part in this many to end by itself.
const FOR_WORKER: u32 = 4;

/// Of what is left then, the runtime has one part in this many.
const FOR_RUNTIME: u32 = 2;

impl Session for ManagedApp {
    /// There is a session as long as there is a client, even if an earlier run has logged it out on the
    /// server and did not see that.
    async fn check_logged_in(&self) -> Result<(), Failure> {
        match (self.login(), self.app.globals().client.with(|client| client.is_some())) {
            (Some(_), true) => Ok(()),
            _ => Err("nobody is logged in".into()),
        }
    }

    async fn close_session(&self, limit: Duration) -> Result<(), Failure> {
        let began = Instant::now();
        let left = || limit.saturating_sub(began.elapsed());
        let Some(login) = self.login() else { return Ok(()) };
        // The worker finishes what it is doing, or its runtime ends it. The application holds the
        // sender of its state, and so this does not fail.
        let mut worker = self.app.worker();
        let worker_ended = worker.wait_for(|state| *state != WorkerState::Running);
        drop(within(limit / FOR_WORKER, worker_ended).await);
        let runtime = login.runtime.shutdown(left() / FOR_RUNTIME).await;
        let client = self.app.globals().client.take();
        if login.session.values() > usize::from(client.is_some()) {
            within(left() / 2, self.clean_app_state()).await;
        }
        drop(client);
        let _ = login.session.close(left()).await?;
        let _ = runtime?;
        Ok(())
    }
}

impl SyncService for ManagedApp {
    async fn stop_sync(&self, _limit: Duration) -> Result<(), Failure> {
        // Taken out of the global before the await: the lock is not held across it.
        let service = self.app.globals().sync_service.get();
        if let Some(service) = service {
            service.stop().await;
        }
        Ok(())
    }

    fn restart_sync(&self) -> Result<(), Failure> {
        let service = self.app.globals().sync_service.get();
        if let Some(service) = service {
            service.start()?;
        }
        Ok(())
    }
}

impl Server for ManagedApp {
    async fn log_out(&self) -> Result<(), RequestError> {
        let client = self.app.globals().client.get();
        let (Some(client), Some(login)) = (client, self.login()) else {
            return Err(RequestError::NotSent("nobody is logged in".into()));
        };
        let request = async move { client.matrix_auth().logout().await };
        match request_on(&login.runtime, "logout", request).await? {
            Ok(()) => Ok(()),
            // There is no token left: an earlier run was answered.
            Err(ClientError::NotLoggedIn) => Err(RequestError::TokenUnknown),
            Err(error) if error.is_unknown_token() => Err(RequestError::TokenUnknown),
            Err(error) if error.is_not_sent() => Err(RequestError::NotSent(error.into())),
            Err(error) => Err(RequestError::InDoubt(error.into())),
        }
    }

    async fn who_am_i(&self) -> Result<AccessToken, Failure> {
        let client = self.app.globals().client.get();
        let token = match client.and_then(|client| client.access_token()) {
            Some(token) => Some(token),
            None => self.stored_token()?,
        };
        let Some(token) = token else { return Ok(AccessToken::Unknown) };
        let runtime = self.login().map_or_else(|| self.runtime.clone(), |login| login.runtime);
        let homeserver = self.app.shared.config.homeserver.clone();
        let question = async move { whoami(&homeserver, &token).await };
        match request_on(&runtime, "whoami", question).await? {
            Ok(_user) => Ok(AccessToken::Valid),
            Err(error) if error.is_unknown_token() => Ok(AccessToken::Unknown),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends a request on a runtime, and waits for its result.
async fn request_on<T: Send + 'static>(
    runtime: &RuntimeOwner,
    name: &'static str,
    request: impl Future<Output = T> + Send + 'static,
) -> Result<T, Failure> {
    let done = run_on(runtime, name, request).await?;
    done.ok_or_else(|| "the runtime was shut down meanwhile".into())
}

impl ManagedApp {
    /// The stored token of the latest user.
    fn stored_token(&self) -> Result<Option<String>, Failure> {
        let files = self.app.files();
        let Some(user) = files.latest_user_id()? else { return Ok(None) };
        Ok(files.session(&user)?.map(|stored| stored.session.access_token))
    }
}

impl UserInterface for ManagedApp {
    async fn close_tabs(&self) -> Result<(), Failure> {
        Ok(self.app.ui().close_all_tabs().await?)
    }

    async fn clean_app_state(&self) -> Result<(), Failure> {
        let globals = self.app.globals();
        if let Some(login) = self.login() {
            login.leaving.raise();
        }
        // The globals first: they need no confirmation, and a user interface that never confirms must
        // not keep them. The client stays for the session.
        self.app.expect_worker_end();
        drop(globals.request_sender.take());
        drop(globals.sync_service.take());
        drop(globals.all_joined_rooms.take());
        globals.tombstoned_rooms.take();
        globals.ignored_users.take();
        Ok(self.app.ui().clean_app_state().await?)
    }
}

impl Storage for ManagedApp {
    async fn record_intent(&self) -> Result<(), Failure> {
        Ok(self.intent.record()?)
    }

    async fn has_intent(&self) -> Result<bool, Failure> {
        Ok(self.intent.is_recorded()?)
    }

    async fn clear_intent(&self) -> Result<(), Failure> {
        Ok(self.intent.clear()?)
    }

    async fn delete_latest_user_id(&self) -> Result<(), Failure> {
        Ok(self.app.files().delete_latest_user_id()?)
    }
}

impl Runtime for ManagedApp {
    /// Usually `close_session` has shut the runtime down already.
    async fn shut_down_tasks(&self, limit: Duration) -> Result<(), Failure> {
        let runtime = match self.login() {
            Some(login) => Some(login.runtime),
            // A second call: a runtime that is to be restarted must be down.
            None => (self.policy == RuntimePolicy::Restart).then(|| self.runtime.clone()),
        };
        let ended = match runtime {
            Some(runtime) => runtime.shutdown(limit).await.map(drop),
            None => Ok(()),
        };
        self.forget_login();
        Ok(ended?)
    }

    async fn restart_runtime(&self) -> Result<(), Failure> {
        Ok(self.runtime.restart()?)
    }
}
