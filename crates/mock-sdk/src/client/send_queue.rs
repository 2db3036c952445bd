//! Sends what is queued, in order, until the server has it.

use std::sync::Arc;

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::sync::Notify;

use super::{Client, ClientError, WeakClient};
use crate::{
    backoff::Backoff,
    http::{HttpError, HttpErrorKind},
    store::Queued,
};

impl Client {
    /// Sends what is queued, in order, and returns when the server has all of it. A message that the
    /// server refuses for good is marked and skipped. After a lost answer a message is sent twice, and
    /// the server takes it once, as long as the login is the same.
    ///
    /// A client with background tasks does this by itself.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`], [`ClientError::Http`] at the first message that may go through
    /// later, [`ClientError::Store`] and [`ClientError::Closed`]. What has not been sent stays queued.
    pub async fn send_queued(&self) -> Result<(), ClientError> {
        for message in self.open_stores()?.state.outbox().await? {
            self.send_one(message).await?;
        }
        Ok(())
    }

    async fn send_one(&self, Queued { number, room, body }: Queued) -> Result<(), ClientError> {
        let token = self.access_token().ok_or(ClientError::NotLoggedIn)?;
        let room = utf8_percent_encode(&room, NON_ALPHANUMERIC);
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{number}");
        let body = json!({ "msgtype": "m.text", "body": body });
        let sent = self.call(Method::PUT, &path, Some(&token), Some(body)).await;
        let store = &self.open_stores()?.state;
        match sent {
            Ok(_) => store.dequeue(number).await?,
            Err(ClientError::Http(HttpError { kind: HttpErrorKind::Refused(error), .. }))
                if is_for_good(error.status) =>
            {
                store.refuse(number, error.to_string()).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The task that sends: at once what an earlier process has left, then whatever is queued. As in the SDK,
/// it holds the client only while it has something to send, and ends with it.
pub(super) async fn keep_sending(client: WeakClient, queue: Arc<Notify>) {
    let mut backoff = Backoff::new();
    loop {
        let Some(client) = client.upgrade() else { return };
        let try_again = match client.send_queued().await {
            Ok(()) => {
                backoff.reset();
                false
            }
            Err(error) if error.is_closed() => return,
            // Without a valid token there is nothing to do until the next login.
            Err(error) => error.is_transient(),
        };
        drop(client);
        tokio::select! {
            () = queue.notified() => {}
            () = backoff.wait(), if try_again => {}
        }
    }
}

/// Whether a refusal is about the message, and not about the token or the number of requests.
const fn is_for_good(status: u16) -> bool {
    status >= 400 && status < 500 && status != 401 && status != 429
}
