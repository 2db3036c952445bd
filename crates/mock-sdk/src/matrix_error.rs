//! The errors that a homeserver answers with, as both of its ends know them.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

/// What an answer other than success says: the body of every error in Matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}{}", retry_hint(*retry_after))]
pub struct MatrixError {
    /// The status of the answer.
    pub status: u16,
    /// What a program goes by.
    pub code: ErrorCode,
    /// What a person reads.
    pub message: String,
    /// How long to wait before trying again, where the server says.
    pub retry_after: Option<Duration>,
}

fn retry_hint(retry_after: Option<Duration>) -> String {
    retry_after.map(|wait| format!(" (try again after {wait:?})")).unwrap_or_default()
}

macro_rules! codes {
    ($($(#[$about:meta])* $name:ident = $code:literal, $status:literal, $message:literal;)*) => {
        /// The `errcode` of an error.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$about])* $name,)*
            /// Any other.
            Other(String),
        }

        impl ErrorCode {
            /// As it is on the wire: `M_UNKNOWN_TOKEN`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }

            fn of(code: &str) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Other(other.to_owned()),
                }
            }

            /// The status that it usually comes with, and the message.
            fn usual(&self) -> (u16, &'static str) {
                match self {
                    $(Self::$name => ($status, $message),)*
                    Self::Other(_) => (400, "The request failed"),
                }
            }
        }
    };
}

codes! {
    /// The access token is not, or no longer, known: whoever had it is logged out.
    UnknownToken = "M_UNKNOWN_TOKEN", 401, "Unknown access token";
    /// The request needs an access token and has none.
    MissingToken = "M_MISSING_TOKEN", 401, "Missing access token";
    /// Too many requests.
    LimitExceeded = "M_LIMIT_EXCEEDED", 429, "Too many requests";
    /// A wrong password, or something that the user may not do.
    Forbidden = "M_FORBIDDEN", 403, "Forbidden";
    /// No such room.
    NotFound = "M_NOT_FOUND", 404, "Not found";
    /// The body is no JSON.
    NotJson = "M_NOT_JSON", 400, "The body is not JSON";
    /// The body is JSON, and not what was expected.
    BadJson = "M_BAD_JSON", 400, "The body is not of the expected form";
    /// The body is too long.
    TooLarge = "M_TOO_LARGE", 413, "The body is too large";
    /// A sync was to go on from where the server has never been.
    UnknownPosition = "M_UNKNOWN_POS", 400, "Unknown position";
    /// No such endpoint, or not with this method.
    Unrecognized = "M_UNRECOGNIZED", 404, "Unrecognized request";
    /// The server does not know what went wrong.
    Unknown = "M_UNKNOWN", 500, "Internal server error";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl MatrixError {
    /// The error as a server usually gives it for this code.
    #[must_use]
    pub fn usual(code: ErrorCode) -> Self {
        let (status, message) = code.usual();
        Self { status, code, message: message.to_owned(), retry_after: None }
    }

    /// `M_LIMIT_EXCEEDED`, to be tried again after so long.
    #[must_use]
    pub fn limit_exceeded(retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::usual(ErrorCode::LimitExceeded) }
    }

    /// The body of the answer.
    pub(crate) fn to_json(&self) -> Value {
        let mut body = json!({ "errcode": self.code.as_str(), "error": self.message });
        if let Some(wait) = self.retry_after {
            body["retry_after_ms"] = json!(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        }
        body
    }

    /// The error that an answer is, if it has the form of one.
    pub(crate) fn from_json(status: u16, body: &Value) -> Option<Self> {
        Some(Self {
            status,
            code: ErrorCode::of(body.get("errcode")?.as_str()?),
            message: body.get("error").and_then(Value::as_str).unwrap_or_default().to_owned(),
            retry_after: body
                .get("retry_after_ms")
                .and_then(Value::as_u64)
                .map(Duration::from_millis),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_wire() {
        for error in [
            MatrixError::usual(ErrorCode::UnknownToken),
            MatrixError::limit_exceeded(Duration::from_millis(250)),
            MatrixError::usual(ErrorCode::Other("M_STRANGE".to_owned())),
        ] {
            let read = MatrixError::from_json(error.status, &error.to_json());
            assert_eq!(read.as_ref(), Some(&error));
        }
        let message = MatrixError::limit_exceeded(Duration::from_millis(250)).to_string();
        assert_eq!(message, "M_LIMIT_EXCEEDED: Too many requests (try again after 250ms)");
    }

    #[test]
    fn what_has_no_code_is_no_matrix_error() {
        for body in [json!({}), json!({ "errcode": 7 }), json!("M_UNKNOWN"), json!(null)] {
            assert_eq!(MatrixError::from_json(500, &body), None, "{body}");
        }
    }
}
