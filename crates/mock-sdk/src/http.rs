//! One HTTP request, on a connection of its own.
//!
//! Nothing is spawned and nothing is kept: when the future of a request has ended, or is dropped,
//! its socket is closed, and what a client leaves behind is not its HTTP. The request and its
//! connection are driven by the same future, which is also what lets an error say whether the server
//! can have *seen* the request: a logout goes by that.

use std::{
    error::Error,
    fmt, io,
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

/// What a request is, for messages: `POST /_matrix/client/v3/logout`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    method: Method,
    path: String,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What follows the question mark is positions and time limits.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{} {path}", self.method)
    }
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The URL is none that a request could go to.
    #[error("{url} is no URL of a homeserver: {reason}; give one like http://127.0.0.1:8008")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The request could not be put on the wire: a header or the path has characters in it that HTTP
    /// does not have.
    #[error("{what} cannot be sent: {source}")]
    Unsendable {
        /// The request.
        what: What,
        /// What is wrong with it.
        source: hyper::http::Error,
    },
    /// No connection to the server. It has not seen the request.
    #[error("no connection to {address}: {source}; is the homeserver running?")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the system answered.
        source: io::Error,
    },
    /// No complete answer within the limit.
    #[error("{what} was not answered within {limit:?}{}", doubt(*sent))]
    TimedOut {
        /// The request.
        what: What,
        /// The limit.
        limit: Duration,
        /// Whether the server can have seen the request.
        sent: bool,
    },
    /// The connection went down before the answer was complete, or what came was no HTTP, or too
    /// long.
    #[error("the exchange broke off during {what}: {source}{}", doubt(true))]
    Reset {
        /// The request.
        what: What,
        /// What the transport says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The answer was complete, and is not what Matrix answers.
    #[error("{what} was answered with status {status} and a body that makes no sense: {reason}")]
    Malformed {
        /// The request.
        what: What,
        /// The status.
        status: u16,
        /// What is wrong with the body.
        reason: String,
    },
    /// The server refused, and said why.
    #[error("{what} was refused: {error}")]
    Refused {
        /// The request.
        what: What,
        /// What the server said.
        error: MatrixError,
    },
    /// A status that is no success, and no error of Matrix with it: from a proxy, as a rule.
    #[error("{what} was answered with status {status} and no reason")]
    Status {
        /// The request.
        what: What,
        /// The status.
        status: u16,
    },
}

const fn doubt(sent: bool) -> &'static str {
    if sent { "; it may have been carried out all the same" } else { "; it was not sent" }
}

impl HttpError {
    /// What the server said, if it was the server that refused.
    #[must_use]
    pub const fn refusal(&self) -> Option<&MatrixError> {
        match self {
            Self::Refused { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Whether the server does not know the access token: whoever had it is logged out.
    #[must_use]
    pub fn is_unknown_token(&self) -> bool {
        self.refusal().is_some_and(|error| error.code == ErrorCode::UnknownToken)
    }

    /// Whether the server may have carried the request out all the same: there was no answer, or
    /// none that says. Whoever has to know asks the server.
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        match self {
            Self::Url { .. } | Self::Unsendable { .. } | Self::Unreachable { .. } => false,
            Self::TimedOut { sent, .. } => *sent,
            Self::Reset { .. } | Self::Malformed { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Refused { error, .. } => error.status >= 500,
        }
    }

    /// Whether the same request may succeed another time, without anybody doing anything about it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Url { .. } | Self::Unsendable { .. } => false,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Reset { .. } => true,
            Self::Malformed { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Refused { error, .. } => {
                error.status >= 500 || error.code == ErrorCode::LimitExceeded
            }
        }
    }
}

/// A homeserver, as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    authority: String,
}

/// What a request was answered with.
pub(crate) struct Answer {
    what: What,
    pub(crate) body: Value,
}

impl Answer {
    /// The text at a place in the body where Matrix has one.
    pub(crate) fn text(&self, pointer: &str) -> Result<String, HttpError> {
        let text = self.body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| self.malformed(&format!("there is no text at {pointer}")))
    }

    pub(crate) fn malformed(&self, reason: &str) -> HttpError {
        HttpError::Malformed { what: self.what.clone(), status: 200, reason: reason.to_owned() }
    }
}

/// A request to one.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) token: Option<&'a str>,
    pub(crate) body: Option<Value>,
    pub(crate) limit: Duration,
}

impl Http {
    /// Understands a URL; sends nothing.
    pub(crate) fn to(url: &str) -> Result<Self, HttpError> {
        let wrong =
            |reason: &str| HttpError::Url { url: url.to_owned(), reason: reason.to_owned() };
        let uri: Uri = url.parse().map_err(|error| wrong(&format!("{error}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("this client speaks no TLS")),
            _ => return Err(wrong("it does not begin with http://")),
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("it goes on after the host and the port"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no host"))?;
        Ok(Self { authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)) })
    }

    /// Sends a request, and waits for the answer. Needs a runtime with both drivers.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Answer, HttpError> {
        let limit = call.limit;
        let what = What { method: call.method.clone(), path: call.path.clone() };
        // Set and read by this one task.
        let sent = AtomicBool::new(false);
        match tokio::time::timeout(limit, self.exchange(call, &what, &sent)).await {
            Ok(body) => Ok(Answer { body: body?, what }),
            Err(_) => Err(HttpError::TimedOut { what, limit, sent: sent.load(Ordering::Relaxed) }),
        }
    }

    async fn exchange(
        &self,
        call: Call<'_>,
        what: &What,
        sent: &AtomicBool,
    ) -> Result<Value, HttpError> {
        let request = self
            .request(call)
            .map_err(|source| HttpError::Unsendable { what: what.clone(), source })?;
        let unreachable =
            |source| HttpError::Unreachable { address: self.authority.clone(), source };
        let stream = TcpStream::connect(&self.authority).await.map_err(unreachable)?;
        let reset = |source| HttpError::Reset { what: what.clone(), source };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| reset(error.into()))?;
        sent.store(true, Ordering::Relaxed);

        let mut exchange = pin!(async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await?;
            Ok((status, body.to_bytes()))
        });
        let answer = tokio::select! {
            answer = &mut exchange => answer,
            // A connection that has ended, well or badly, has told the exchange all it will.
            _ = pin!(connection) => exchange.await,
        };
        match answer {
            Ok((status, body)) => understand(what, status, &body),
            Err(source) => Err(reset(source)),
        }
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = call.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = call.body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        request.body(Full::new(body))
    }
}

fn understand(what: &What, status: StatusCode, body: &[u8]) -> Result<Value, HttpError> {
    let what = || what.clone();
    let parsed = serde_json::from_slice::<Value>(body);
    if status.is_success() {
        return parsed.map_err(|error| HttpError::Malformed {
            what: what(),
            status: status.as_u16(),
            reason: error.to_string(),
        });
    }
    match parsed.ok().and_then(|body| MatrixError::from_json(status.as_u16(), &body)) {
        Some(error) => Err(HttpError::Refused { what: what(), error }),
        None => Err(HttpError::Status { what: what(), status: status.as_u16() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_of_a_homeserver_is_refused_and_named() {
        for (url, reason) in [
            ("https://localhost:1", "TLS"),
            ("localhost:1", "http://"),
            ("ftp://localhost", "http://"),
            ("http://localhost:1/elsewhere", "goes on"),
            ("http://", ""),
            ("", ""),
        ] {
            let message = Http::to(url).expect_err(url).to_string();
            assert!(message.contains(url) && message.contains(reason), "{message}");
        }
        for url in ["http://127.0.0.1:8008", "http://localhost", "http://[::1]:80/"] {
            assert!(Http::to(url).is_ok(), "{url}");
        }
    }
}
