//! Why a client could not do what it was asked.

use crate::{
    http::{HttpError, HttpErrorKind},
    store::{StoreError, StoreErrorKind},
};

/// An operation of a client failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A request to the server failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This is not the URL of a homeserver.
    #[error(
        "`{url}` is not the URL of a homeserver: {reason}; give one like http://127.0.0.1:8008"
    )]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody is logged in.
    #[error("nobody is logged in; log in, or restore a session")]
    NotLoggedIn,
    /// Somebody is logged in.
    #[error("`{user}` is logged in already; log out first, or make another client")]
    AlreadyLoggedIn {
        /// The user.
        user: String,
    },
    /// The client has been closed.
    #[error("the client is closed; make another one")]
    Closed,
    /// There is no runtime on this thread.
    #[error("this thread has no Tokio runtime; call this where a runtime is entered")]
    NoRuntime,
}

impl ClientError {
    /// Whether the server does not know the access token.
    #[must_use]
    pub fn is_unknown_token(&self) -> bool {
        matches!(self, Self::Http(error) if error.is_unknown_token())
    }

    /// Whether no byte of the request has reached the server.
    pub(crate) const fn is_not_sent(&self) -> bool {
        match self {
            Self::Http(error) => matches!(error.kind, HttpErrorKind::NotSent(_)),
            Self::Closed | Self::NoRuntime => true,
            _ => false,
        }
    }

    /// Whether the client has been closed: by [`Client::close`](super::Client::close), or its store.
    pub(crate) const fn is_closed(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Store(error) => matches!(error.kind, StoreErrorKind::Closed),
            _ => false,
        }
    }

    /// Whether the same may succeed later, without anybody doing anything about it: the server comes
    /// back, or another process unlocks the store.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Store(error) => !matches!(error.kind, StoreErrorKind::Closed),
            _ => false,
        }
    }
}
