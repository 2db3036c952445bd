//! The errors that a homeserver answers with, as both the server and the client know them.

use std::fmt;

use serde_json::{Value, json};

/// The body of every error in Matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct MatrixError {
    /// The status of the answer.
    pub status: u16,
    /// The reason, for a program.
    pub code: ErrorCode,
    /// The reason, for a person.
    pub message: String,
}

/// The `errcode` of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The server does not know the access token, or no longer: its owner is logged out.
    UnknownToken,
    /// The request needs an access token and has none.
    MissingToken,
    /// Too many requests.
    LimitExceeded,
    /// A wrong password, or something that the user may not do.
    Forbidden,
    /// No such room.
    NotFound,
    /// The request is not what the endpoint expects.
    BadJson,
    /// No such endpoint, or not with this method.
    Unrecognized,
    /// The server does not know what went wrong; also any code that the client does not know.
    Unknown,
}

impl ErrorCode {
    const ALL: [Self; 8] = [
        Self::UnknownToken,
        Self::MissingToken,
        Self::LimitExceeded,
        Self::Forbidden,
        Self::NotFound,
        Self::BadJson,
        Self::Unrecognized,
        Self::Unknown,
    ];

    /// Its name in an answer, and the status and the message that usually come with it.
    const fn usual(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::UnknownToken => ("M_UNKNOWN_TOKEN", 401, "Unknown access token"),
            Self::MissingToken => ("M_MISSING_TOKEN", 401, "Missing access token"),
            Self::LimitExceeded => ("M_LIMIT_EXCEEDED", 429, "Too many requests"),
            Self::Forbidden => ("M_FORBIDDEN", 403, "Forbidden"),
            Self::NotFound => ("M_NOT_FOUND", 404, "Not found"),
            Self::BadJson => ("M_BAD_JSON", 400, "The request is not of the expected form"),
            Self::Unrecognized => ("M_UNRECOGNIZED", 404, "Unrecognized request"),
            Self::Unknown => ("M_UNKNOWN", 500, "Internal server error"),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.usual().0)
    }
}

impl MatrixError {
    /// The body of the answer.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "errcode": self.code.to_string(), "error": self.message })
    }

    /// Reads an answer. `None` if it does not have the form of an error.
    #[must_use]
    pub fn from_json(status: u16, body: &Value) -> Option<Self> {
        let code = body.get("errcode")?.as_str()?;
        let known = ErrorCode::ALL.into_iter().find(|known| known.usual().0 == code);
        let message = body.get("error").and_then(Value::as_str).unwrap_or_default();
        let code = known.unwrap_or(ErrorCode::Unknown);
        Some(Self { status, code, message: message.to_owned() })
    }
}

/// The error that a server usually sends with this code.
impl From<ErrorCode> for MatrixError {
    fn from(code: ErrorCode) -> Self {
        let (_, status, message) = code.usual();
        Self { status, code, message: message.to_owned() }
    }
}
