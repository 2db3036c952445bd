//! The endpoints, and what a request to each of them asks for.

use std::time::Duration;

use hyper::Method;
use percent_encoding::percent_decode_str;

/// An endpoint of the homeserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Which versions the server speaks. Needs no token.
    Versions,
    /// Exchanges a password for a token.
    Login,
    /// Whose token this is.
    Whoami,
    /// What has happened. Waits for something to happen, for as long as the client asks it to.
    Sync,
    /// Sends a message.
    Send,
    /// Forgets a token.
    Logout,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Versions, Self::Login, Self::Whoami, Self::Sync, Self::Send, Self::Logout];
}

/// What a request asks for, as far as its first line says so.
#[derive(Debug)]
pub(super) enum Question {
    Versions,
    Login,
    Whoami,
    Sync { since: Option<usize>, wait: Duration },
    Send { room: String, transaction: String },
    Logout,
}

impl Question {
    pub(super) const fn endpoint(&self) -> Endpoint {
        match self {
            Self::Versions => Endpoint::Versions,
            Self::Login => Endpoint::Login,
            Self::Whoami => Endpoint::Whoami,
            Self::Sync { .. } => Endpoint::Sync,
            Self::Send { .. } => Endpoint::Send,
            Self::Logout => Endpoint::Logout,
        }
    }

    /// `None` if there is no such endpoint.
    pub(super) fn parse(method: &Method, path: &str, query: &str) -> Option<Self> {
        let path: Vec<_> = path.strip_prefix("/_matrix/client/")?.split('/').collect();
        Some(match (method.as_str(), &path[..]) {
            ("GET", ["versions"]) => Self::Versions,
            ("POST", ["v3", "login"]) => Self::Login,
            ("GET", ["v3", "account", "whoami"]) => Self::Whoami,
            ("GET", ["v3", "sync"]) => sync(query),
            ("PUT", ["v3", "rooms", room, "send", "m.room.message", transaction]) => {
                let decoded = |part| percent_decode_str(part).decode_utf8_lossy().into_owned();
                Self::Send { room: decoded(room), transaction: decoded(transaction) }
            }
            ("POST", ["v3", "logout"]) => Self::Logout,
            _ => return None,
        })
    }
}

fn sync(query: &str) -> Question {
    let (mut since, mut wait) = (None, Duration::ZERO);
    for pair in query.split('&') {
        match pair.split_once('=') {
            // A bad position becomes one where the server has never been, which is refused.
            Some(("since", position)) => since = Some(position.parse().unwrap_or(usize::MAX)),
            Some(("timeout", milliseconds)) => {
                wait = Duration::from_millis(milliseconds.parse().unwrap_or(0));
            }
            _ => {}
        }
    }
    Question::Sync { since, wait }
}
