//! Logging in and out.

use hyper::Method;
use serde_json::json;

use super::{Client, ClientError, REQUEST_LIMIT, lock};
use crate::{
    http::{Call, Http},
    store::Session,
};

/// Logs a client in and out. Holds a clone of it.
#[derive(Clone, Debug)]
pub struct MatrixAuth {
    client: Client,
}

impl MatrixAuth {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Logs in with a password. The session is written to the crypto store, and the client's own
    /// tasks begin.
    ///
    /// # Errors
    ///
    /// [`ClientError::AlreadyLoggedIn`]; [`ClientError::Http`] if the server refuses or cannot be
    /// reached; [`ClientError::Store`] if the session cannot be written: then the server is asked to
    /// forget it again.
    pub async fn login(&self, user: &str, password: &str) -> Result<Session, ClientError> {
        self.check_logged_out()?;
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
            // Nobody will ever use this token. If the server keeps it, nobody can help that.
            let _ = self.forget(&session.access_token).await;
            return Err(error.into());
        }
        self.begin(session.clone())?;
        Ok(session)
    }

    /// Continues an earlier session. Asks the server nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError::AlreadyLoggedIn`], and [`ClientError::Store`] if the session cannot be written.
    pub async fn restore(&self, session: Session) -> Result<(), ClientError> {
        self.check_logged_out()?;
        self.client.store().crypto.save_session(session.clone()).await?;
        self.begin(session)
    }

    /// Asks the server to forget the access token. Afterwards nobody is logged in. After an error, or
    /// if the future is dropped half-way, the client keeps its session, although the server may have
    /// forgotten the token all the same: only the server knows.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`] and [`ClientError::Http`].
    pub async fn logout(&self) -> Result<(), ClientError> {
        let token = self.client.access_token().ok_or(ClientError::NotLoggedIn)?;
        self.forget(&token).await?;
        let mut session = lock(&self.client.inner.session);
        // Not a session that began meanwhile.
        session.take_if(|session| session.access_token == token);
        Ok(())
    }

    /// Whether the client has a session. Only the server knows whether it is still valid.
    #[must_use]
    pub fn logged_in(&self) -> bool {
        self.client.session().is_some()
    }

    async fn forget(&self, token: &str) -> Result<(), ClientError> {
        let path = "/_matrix/client/v3/logout";
        self.client.call(Method::POST, path, Some(token), Some(json!({}))).await.map(drop)
    }

    fn check_logged_out(&self) -> Result<(), ClientError> {
        match self.client.session() {
            Some(Session { user, .. }) => Err(ClientError::AlreadyLoggedIn { user }),
            None => Ok(()),
        }
    }

    fn begin(&self, session: Session) -> Result<(), ClientError> {
        {
            let mut current = lock(&self.client.inner.session);
            if let Some(Session { user, .. }) = &*current {
                return Err(ClientError::AlreadyLoggedIn { user: user.clone() });
            }
            *current = Some(session);
        }
        self.client.start_background_tasks();
        Ok(())
    }
}

/// Asks a homeserver whose token this is, without a client.
pub(crate) async fn whoami(homeserver: &str, token: &str) -> Result<String, ClientError> {
    let http = Http::new(homeserver)
        .map_err(|reason| ClientError::Url { url: homeserver.to_owned(), reason })?;
    let path = "/_matrix/client/v3/account/whoami";
    let limit = REQUEST_LIMIT;
    let call = Call { method: Method::GET, path, token: Some(token), body: None, limit };
    Ok(http.call(call).await?.text("/user_id")?)
}
