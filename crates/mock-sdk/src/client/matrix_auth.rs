//! Logging in and out.

use hyper::Method;
use serde_json::json;

use super::{Client, ClientError};
use crate::store::Session;

/// Logs a client in and out. Holds a clone of it.
#[derive(Clone, Debug)]
pub struct MatrixAuth {
    client: Client,
}

impl MatrixAuth {
    pub(super) const fn of(client: Client) -> Self {
        Self { client }
    }

    /// Logs in with a password. The session is written to the crypto store, and the client's own
    /// tasks begin.
    ///
    /// # Errors
    ///
    /// [`ClientError::AlreadyLoggedIn`]; [`ClientError::Http`] where the server refuses or is not to
    /// be had; [`ClientError::Store`] where the session cannot be written, in which case the server
    /// is asked to forget it again.
    pub async fn login(&self, user: &str, password: &str) -> Result<Session, ClientError> {
        self.not_logged_in()?;
        let body = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user },
            "password": password,
        });
        let answer =
            self.client.call(Method::POST, "/_matrix/client/v3/login", None, Some(body)).await?;
        let session = Session {
            user: answer.text("/user_id")?,
            device: answer.text("/device_id")?,
            access_token: answer.text("/access_token")?,
        };
        if let Err(error) = self.client.store().crypto.save_session(session.clone()).await {
            // Nobody would ever use this token. If this fails too, nobody can.
            let _ = self.forget(&session.access_token).await;
            return Err(error.into());
        }
        self.begin(session.clone())?;
        Ok(session)
    }

    /// Goes on with a session of before. Asks the server nothing: [`MatrixAuth::whoami`] does.
    ///
    /// # Errors
    ///
    /// [`ClientError::AlreadyLoggedIn`], and [`ClientError::Store`] where the session cannot be
    /// written.
    pub async fn restore(&self, session: Session) -> Result<(), ClientError> {
        self.not_logged_in()?;
        self.client.store().crypto.save_session(session.clone()).await?;
        self.begin(session)
    }

    /// Has the server forget the access token. When it has, the client is not logged in any more;
    /// where this fails, it still is: an error may mean that the server has forgotten the token
    /// ([`is_unknown_token`](crate::http::HttpError::is_unknown_token)) or that it may have
    /// ([`is_in_doubt`](crate::http::HttpError::is_in_doubt)), and what follows from that is for the
    /// caller to say. The same holds where the future is dropped half-way.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`] and [`ClientError::Http`].
    pub async fn logout(&self) -> Result<(), ClientError> {
        let token = self.client.access_token().ok_or(ClientError::NotLoggedIn)?;
        self.forget(&token).await?;
        self.client.end_session(&token);
        Ok(())
    }

    /// Whether there is a session. Whether the server still knows it, only the server can tell.
    #[must_use]
    pub fn logged_in(&self) -> bool {
        self.client.session().is_some()
    }

    /// Asks the server whose the access token is.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`] and [`ClientError::Http`].
    pub async fn whoami(&self) -> Result<String, ClientError> {
        let answer = self.client.get("/_matrix/client/v3/account/whoami").await?;
        Ok(answer.text("/user_id")?)
    }

    async fn forget(&self, token: &str) -> Result<(), ClientError> {
        let body = Some(json!({}));
        self.client
            .call(Method::POST, "/_matrix/client/v3/logout", Some(token), body)
            .await
            .map(drop)
    }

    fn not_logged_in(&self) -> Result<(), ClientError> {
        match self.client.session() {
            Some(Session { user, .. }) => Err(ClientError::AlreadyLoggedIn { user }),
            None => Ok(()),
        }
    }

    fn begin(&self, session: Session) -> Result<(), ClientError> {
        if let Some(already) = self.client.begin_session(session) {
            return Err(ClientError::AlreadyLoggedIn { user: already.user });
        }
        self.client.start_background_tasks();
        Ok(())
    }
}
