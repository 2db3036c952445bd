// An application in which every call is one effect, so that a test or a bench writes one function.
// Examples in the documentation include this file.

use std::{future::Future, time::Duration};

use state_machine::{
    application::{
        AccessToken, Failure, RequestError, Runtime, Server, Session, Storage, SyncService,
        UserInterface,
    },
    transition::Effect,
};

/// Does what the calls of an application ask for.
pub trait Perform: Send + Sync {
    /// Performs an effect. The limit is there where the call has one.
    ///
    /// A `RequestError` among the errors of the logout request is passed on as it is.
    fn perform(
        &self,
        effect: Effect,
        limit: Option<Duration>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Restarts the sync service.
    fn restart_sync(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// What the server says about the token, once `AskServer` is performed.
    fn token(&self) -> AccessToken {
        AccessToken::Unknown
    }

    /// Whether the intent is recorded.
    fn has_intent(&self) -> bool {
        false
    }
}

/// The application.
pub struct ByEffect<P>(pub P);

impl<P: Perform> Session for ByEffect<P> {
    async fn check_logged_in(&self) -> Result<(), Failure> {
        self.0.perform(Effect::CheckPrerequisites, None).await
    }
    async fn close_session(&self, limit: Duration) -> Result<(), Failure> {
        self.0.perform(Effect::CloseSession, Some(limit)).await
    }
}

impl<P: Perform> SyncService for ByEffect<P> {
    async fn stop_sync(&self, limit: Duration) -> Result<(), Failure> {
        self.0.perform(Effect::StopSync, Some(limit)).await
    }
    fn restart_sync(&self) -> Result<(), Failure> {
        self.0.restart_sync()
    }
}

impl<P: Perform> Server for ByEffect<P> {
    async fn log_out(&self) -> Result<(), RequestError> {
        let answer = self.0.perform(Effect::RequestLogout, None).await;
        answer.map_err(|failure| match failure.downcast::<RequestError>() {
            Ok(error) => *error,
            Err(failure) => RequestError::InDoubt(failure),
        })
    }
    async fn who_am_i(&self) -> Result<AccessToken, Failure> {
        self.0.perform(Effect::AskServer, None).await?;
        Ok(self.0.token())
    }
}

impl<P: Perform> UserInterface for ByEffect<P> {
    async fn close_tabs(&self) -> Result<(), Failure> {
        self.0.perform(Effect::CloseTabs, None).await
    }
    async fn clean_app_state(&self) -> Result<(), Failure> {
        self.0.perform(Effect::CleanAppState, None).await
    }
}

impl<P: Perform> Storage for ByEffect<P> {
    async fn record_intent(&self) -> Result<(), Failure> {
        self.0.perform(Effect::RecordIntent, None).await
    }
    async fn has_intent(&self) -> Result<bool, Failure> {
        Ok(self.0.has_intent())
    }
    async fn clear_intent(&self) -> Result<(), Failure> {
        self.0.perform(Effect::ClearIntent, None).await
    }
    async fn delete_latest_user_id(&self) -> Result<(), Failure> {
        self.0.perform(Effect::DeleteLatestUserId, None).await
    }
}

impl<P: Perform> Runtime for ByEffect<P> {
    async fn shut_down_tasks(&self, limit: Duration) -> Result<(), Failure> {
        self.0.perform(Effect::ShutDownTasks, Some(limit)).await
    }
    async fn restart_runtime(&self) -> Result<(), Failure> {
        self.0.perform(Effect::RestartRuntime, None).await
    }
}
