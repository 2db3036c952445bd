//! One HTTP request, on a connection of its own.
//!
//! Nothing is spawned and nothing is kept: when the future of a request has ended or is dropped, its
//! socket is closed. The same future drives the request and its connection, and so an error can say
//! whether the server may have *seen* the request: a logout depends on that.

use std::{
    error::Error,
    fmt,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::matrix_error::{ErrorCode, MatrixError};

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 16 << 20;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[error("{request}: {kind}")]
pub struct HttpError {
    /// The request: `POST /_matrix/client/v3/logout`.
    pub request: String,
    /// What went wrong.
    pub kind: HttpErrorKind,
}

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpErrorKind {
    /// The server has not seen the request: it is no valid request, or there was no connection.
    #[error("it was not sent: {0}; is the homeserver running?")]
    NotSent(Box<dyn Error + Send + Sync>),
    /// The connection ended, or the limit passed, before the answer was complete.
    #[error("no complete answer: {0}; the server may have carried it out all the same")]
    Unanswered(Box<dyn Error + Send + Sync>),
    /// The answer is complete, but not what Matrix answers.
    #[error("status {status}, and the body makes no sense: {reason}")]
    Malformed {
        /// The status.
        status: u16,
        /// What is wrong with the body.
        reason: String,
    },
    /// The server refused, and said why.
    #[error("refused: {0}")]
    Refused(MatrixError),
    /// An error status without an error of Matrix in the body: usually from a proxy.
    #[error("status {0}, without a reason")]
    Status(u16),
}

impl HttpError {
    /// Whether the server does not know the access token: its owner is logged out.
    #[must_use]
    pub fn is_unknown_token(&self) -> bool {
        matches!(&self.kind, HttpErrorKind::Refused(error) if error.code == ErrorCode::UnknownToken)
    }

    /// Whether the same request may succeed later, without anybody doing anything about it.
    pub(crate) const fn is_transient(&self) -> bool {
        match &self.kind {
            HttpErrorKind::NotSent(_)
            | HttpErrorKind::Unanswered(_)
            | HttpErrorKind::Malformed { .. } => true,
            HttpErrorKind::Status(status) | HttpErrorKind::Refused(MatrixError { status, .. }) => {
                *status == 429 || *status >= 500
            }
        }
    }
}

/// A homeserver, as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    authority: String,
}

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) body: Option<Value>,
    /// How long it may take, from connecting to the last byte of the answer.
    pub(crate) limit: Duration,
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // After the question mark there are only positions and time limits.
        write!(f, "{} {}", self.method, self.path.split('?').next().unwrap_or_default())
    }
}

/// The answer to a request.
pub(crate) struct Answer {
    request: String,
    pub(crate) body: Value,
}

impl Answer {
    /// The text at a place in the body where Matrix has one.
    pub(crate) fn text(&self, pointer: &str) -> Result<String, HttpError> {
        let text = self.body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| HttpError {
            request: self.request.clone(),
            kind: HttpErrorKind::Malformed {
                status: 200,
                reason: format!("there is no text at `{pointer}`"),
            },
        })
    }
}

impl Http {
    /// Takes a URL apart, or says what is wrong with it. Sends nothing.
    pub(crate) fn new(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        if uri.scheme_str() != Some("http") {
            return Err("it does not begin with http:// (this client has no TLS)".to_owned());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("it has no host")?;
        Ok(Self { authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)) })
    }

    /// Sends a request, and waits for the answer. Needs a runtime with both drivers.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Answer, HttpError> {
        let (limit, request) = (call.limit, call.to_string());
        // Set and read by this one task.
        let sent = AtomicBool::new(false);
        let lost = |source: Box<dyn Error + Send + Sync>| match sent.load(Ordering::Relaxed) {
            true => HttpErrorKind::Unanswered(source),
            false => HttpErrorKind::NotSent(source),
        };
        let answered = match tokio::time::timeout(limit, self.exchange(call, &sent)).await {
            Ok(Ok((status, body))) => parse(status, &body),
            Ok(Err(source)) => Err(lost(source)),
            Err(_) => Err(lost(format!("{limit:?} have passed").into())),
        };
        match answered {
            Ok(body) => Ok(Answer { request, body }),
            Err(kind) => Err(HttpError { request, kind }),
        }
    }

    async fn exchange(
        &self,
        call: Call<'_>,
        sent: &AtomicBool,
    ) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = call.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = call.body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(body))?;

        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        sent.store(true, Ordering::Relaxed);
        let mut exchange = pin!(async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await?;
            Ok((status, body.to_bytes()))
        });
        tokio::select! {
            answer = &mut exchange => answer,
            // When the connection has ended, well or badly, the exchange knows all it ever will.
            _ = pin!(connection) => exchange.await,
        }
    }
}

fn parse(status: StatusCode, body: &[u8]) -> Result<Value, HttpErrorKind> {
    let (success, status) = (status.is_success(), status.as_u16());
    match serde_json::from_slice::<Value>(body) {
        Ok(body) if success => Ok(body),
        Err(error) if success => {
            Err(HttpErrorKind::Malformed { status, reason: error.to_string() })
        }
        body => Err(match body.ok().and_then(|body| MatrixError::from_json(status, &body)) {
            Some(error) => HttpErrorKind::Refused(error),
            None => HttpErrorKind::Status(status),
        }),
    }
}
