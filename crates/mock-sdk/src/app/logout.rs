//! What the state machine asks of an application, by [`ManagedApp`].
//!
//! Three things here are not what comes to mind first:
//!
//! - **The last owner is the session's.** Tasks of the client's own hold clones of it that no handle
//!   tells of, and only the end of their runtime ends them. Were one of them the last owner, its
//!   connections would be closed by a runtime that goes down, side by side, and could leave their log
//!   behind (experiment 12). So the session keeps one handle until the runtime has ended.
//! - **What the worker does while the tabs are closed.** It may open another one. When the runtime
//!   has ended there is no worker any more; where handles are left then, the user interface is asked
//!   once more.
//! - **Where requests run.** On the session's runtime, which has the drivers for them; the driver of
//!   the logout needs none. A request that is given up is dropped there, and its connection with it.

use std::time::{Duration, Instant};

use hyper::Method;
use state_machine::{
    application::{
        Failure, RequestError, Runtime, Server, Session, Storage, SyncService, Token, UserInterface,
    },
    config::RuntimePolicy,
};
use sundown::limit::within;

use super::{
    managed::{ManagedApp, Stay, done_on},
    requests::WorkerState,
};
use crate::{
    client::ClientError,
    http::{Call, Http, HttpError},
};

/// The part of the closing of a session that its worker has, to end by itself: one in so many.
const FOR_WORKER: u32 = 4;

/// And the part of what is left then that its runtime has.
const FOR_RUNTIME: u32 = 2;

impl ManagedApp {
    /// What the worker is at is over: by itself, or because its runtime is.
    async fn worker_ended(&self) {
        let mut worker = self.app.worker();
        // The application holds the sender.
        let _ = worker.wait_for(|state| *state != WorkerState::Running).await;
    }

    /// Ends the runtime of a session. Of the application's own, where it is shared, too: it is
    /// started again.
    async fn end_runtime(stay: &Stay, limit: Duration) -> Result<(), Failure> {
        let _ = stay.runtime.shutdown(limit).await?;
        Ok(())
    }
}

impl Session for ManagedApp {
    /// There is one as long as there is a client, even one that has been logged out on the server in
    /// a run that did not see it.
    async fn check_logged_in(&self) -> Result<(), Failure> {
        match (self.current(), self.app.globals().client.change(|client| client.is_some())) {
            (Some(_), true) => Ok(()),
            _ => Err("nobody is logged in".into()),
        }
    }

    async fn close_session(&self, limit: Duration) -> Result<(), Failure> {
        let began = Instant::now();
        let left = || limit.saturating_sub(began.elapsed());
        let Some(stay) = self.current() else { return Ok(()) };
        within(limit / FOR_WORKER, self.worker_ended()).await;
        let runtime = Self::end_runtime(&stay, left() / FOR_RUNTIME).await;
        let client = self.app.globals().client.take();
        if stay.session.values() > usize::from(client.is_some()) {
            within(left() / 2, self.clean_app_state()).await;
        }
        drop(client);
        let _ = stay.session.close(left()).await?;
        runtime
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
        let not_sent = |why: Failure| RequestError::NotSent(why);
        let client = self.app.globals().client.get();
        let (Some(client), Some(stay)) = (client, self.current()) else {
            return Err(not_sent("nobody is logged in".into()));
        };
        let request = async move { client.matrix_auth().logout().await };
        match done_on(&stay.runtime, "logout", request).await? {
            Ok(()) => Ok(()),
            // There is no token left: a run before this one was answered.
            Err(ClientError::NotLoggedIn) => Err(RequestError::TokenUnknown),
            Err(error) if error.is_unknown_token() => Err(RequestError::TokenUnknown),
            Err(error) if is_not_sent(&error) => Err(not_sent(error.into())),
            Err(error) => Err(RequestError::InDoubt(error.into())),
        }
    }

    async fn who_am_i(&self) -> Result<Token, Failure> {
        let client = self.app.globals().client.get();
        let token = match client.and_then(|client| client.access_token()) {
            Some(token) => Some(token),
            None => self.stored_token()?,
        };
        let Some(token) = token else { return Ok(Token::Unknown) };
        let (http, limit) =
            (Http::to(&self.app.shared.config.homeserver)?, self.app.shared.config.request_limit);
        let runtime = self.current().map_or_else(|| self.runtime.clone(), |stay| stay.runtime);
        let question = async move {
            let call = Call {
                method: Method::GET,
                path: "/_matrix/client/v3/account/whoami".to_owned(),
                token: Some(&token),
                body: None,
                limit,
            };
            http.call(call).await.and_then(|answer| answer.text("/user_id"))
        };
        match done_on(&runtime, "whoami", question).await? {
            Ok(_user) => Ok(Token::Valid),
            Err(error) if error.is_unknown_token() => Ok(Token::Unknown),
            Err(error) => Err(error.into()),
        }
    }
}

impl ManagedApp {
    /// The token of whoever was logged in last and is remembered.
    fn stored_token(&self) -> Result<Option<String>, Failure> {
        let files = self.app.files();
        let Some(user) = files.latest_user_id()? else { return Ok(None) };
        Ok(files.session(&user)?.map(|stored| stored.session.access_token))
    }
}

/// Whether no byte of the request has reached the server.
fn is_not_sent(error: &ClientError) -> bool {
    match error {
        ClientError::Closed | ClientError::NoRuntime => true,
        ClientError::Http(error) => matches!(
            error,
            HttpError::Url { .. }
                | HttpError::Unsendable { .. }
                | HttpError::Unreachable { .. }
                | HttpError::TimedOut { sent: false, .. }
        ),
        _ => false,
    }
}

impl UserInterface for ManagedApp {
    async fn close_tabs(&self) -> Result<(), Failure> {
        Ok(self.app.ui().close_all_tabs().await?)
    }

    async fn clean_app_state(&self) -> Result<(), Failure> {
        let globals = self.app.globals();
        if let Some(stay) = self.current() {
            stay.leaving.raise();
        }
        // The globals first: they need nobody's confirmation, and an interface that never confirms
        // must not keep them. The client stays for the session.
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
    /// As a rule the session has seen to it.
    async fn shut_down_tasks(&self, limit: Duration) -> Result<(), Failure> {
        let ended = match self.current() {
            Some(stay) => Self::end_runtime(&stay, limit).await,
            // Called again: where the runtime is to be started anew, it has to be down.
            None if self.policy == RuntimePolicy::Restart => {
                self.runtime.shutdown(limit).await.map(drop).map_err(Into::into)
            }
            None => Ok(()),
        };
        self.leave();
        ended
    }

    async fn restart_runtime(&self) -> Result<(), Failure> {
        Ok(self.runtime.restart()?)
    }
}
