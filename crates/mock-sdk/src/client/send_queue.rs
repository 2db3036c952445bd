//! Sending what is queued, in order, until the server has it.

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{Client, ClientError};
use crate::{
    backoff::Backoff,
    http::HttpError,
    store::{Queued, StoreError},
};

impl Client {
    /// Everything that waits to be sent, and what the server refused to take.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] and [`ClientError::Closed`].
    pub async fn outbox(&self) -> Result<Vec<Queued>, ClientError> {
        Ok(self.open_store()?.state.outbox().await?)
    }

    /// Sends what is queued, in order, and returns when the server has all of it. A message that it
    /// refuses for good is noted as refused and passed over. What a repetition sends twice, after an
    /// answer that was lost, the server takes once, as long as the login is the same.
    ///
    /// A client with background tasks does this by itself.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`]; [`ClientError::Http`] at the first message that may go
    /// through another time; [`ClientError::Store`] and [`ClientError::Closed`]. What has not been
    /// sent is still queued.
    pub async fn send_queued(&self) -> Result<(), ClientError> {
        for message in self.outbox().await? {
            if message.refusal.is_none() {
                self.send_one(&message).await?;
            }
        }
        Ok(())
    }

    async fn send_one(&self, message: &Queued) -> Result<(), ClientError> {
        let token = self.access_token().ok_or(ClientError::NotLoggedIn)?;
        let room = utf8_percent_encode(&message.room, NON_ALPHANUMERIC);
        let path =
            format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{}", message.number);
        let body = json!({ "msgtype": "m.text", "body": message.body });
        let sent = self.call(Method::PUT, &path, Some(&token), Some(body)).await;
        let store = &self.open_store()?.state;
        match sent {
            Ok(_) => store.dequeue(message.number).await?,
            Err(ClientError::Http(HttpError::Refused { error, .. }))
                if is_for_good(error.status) =>
            {
                store.refuse(message.number, error.to_string()).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The task that sends: at once what an earlier process has left, then whatever is queued.
    pub(super) async fn keep_sending(self) {
        let mut backoff = Backoff::new();
        loop {
            let again_after = match self.send_queued().await {
                Ok(()) => {
                    backoff.succeeded();
                    None
                }
                Err(ClientError::Closed | ClientError::Store(StoreError::Closed { .. })) => return,
                // Without a token that the server knows there is nothing to do until the next login.
                Err(error) if !error.is_transient() => None,
                Err(error) => {
                    tracing::debug!(%error, "messages wait to be sent");
                    Some(backoff.wait(error.retry_after()))
                }
            };
            tokio::select! {
                () = self.queue_changed() => {}
                () = async {
                    match again_after {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }
}

/// Whether a refusal is the message's fault: not for want of a token, and not for being one of too
/// many.
const fn is_for_good(status: u16) -> bool {
    status >= 400 && status < 500 && status != 401 && status != 429
}
