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
    /// The same in the newer form, simplified sliding sync.
    SlidingSync,
    /// Joins a room.
    Join,
    /// Sends a message.
    Send,
    /// Forgets a token.
    Logout,
    /// The user's account data, and backups of keys. This server has none.
    AccountData,
    /// What a full client asks besides: filters, keys, the state and the members of a room.
    Other,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Versions,
        Self::Login,
        Self::Whoami,
        Self::Sync,
        Self::SlidingSync,
        Self::Join,
        Self::Send,
        Self::Logout,
        Self::AccountData,
        Self::Other,
    ];
}

/// What a request asks for, as far as its first line says so.
#[derive(Debug)]
pub(crate) enum Question {
    Versions,
    Login,
    Whoami,
    Sync(Position),
    SlidingSync(Position),
    Join {
        room: String,
    },
    Send {
        room: String,
        transaction: String,
    },
    Logout,
    /// A filter for syncs. The server takes it, and filters nothing.
    Filter,
    /// Uploads keys for encryption. The server counts them, and keeps none.
    UploadKeys,
    /// Asks for the keys of other devices. There are none.
    QueryKeys,
    /// One state event of a room.
    State {
        room: String,
        kind: String,
        key: String,
    },
    Members {
        room: String,
    },
    AccountData,
}

/// Where a sync goes on, and how long it waits there for something to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) since: Option<usize>,
    pub(crate) wait: Duration,
}

impl Question {
    pub(crate) const fn endpoint(&self) -> Endpoint {
        match self {
            Self::Versions => Endpoint::Versions,
            Self::Login => Endpoint::Login,
            Self::Whoami => Endpoint::Whoami,
            Self::Sync(_) => Endpoint::Sync,
            Self::SlidingSync(_) => Endpoint::SlidingSync,
            Self::Join { .. } => Endpoint::Join,
            Self::Send { .. } => Endpoint::Send,
            Self::Logout => Endpoint::Logout,
            Self::AccountData => Endpoint::AccountData,
            Self::Filter
            | Self::UploadKeys
            | Self::QueryKeys
            | Self::State { .. }
            | Self::Members { .. } => Endpoint::Other,
        }
    }

    /// `None` if there is no such endpoint.
    pub(crate) fn parse(method: &Method, path: &str, query: &str) -> Option<Self> {
        let path: Vec<_> = path.strip_prefix("/_matrix/client/")?.split('/').collect();
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        Some(match (method.as_str(), &path[..]) {
            ("GET", ["versions"]) => Self::Versions,
            ("POST", ["v3", "login"]) => Self::Login,
            ("GET", ["v3", "account", "whoami"]) => Self::Whoami,
            ("GET", ["v3", "sync"]) => Self::Sync(position(query, "since")),
            ("POST", ["unstable", "org.matrix.simplified_msc3575", "sync"]) => {
                Self::SlidingSync(position(query, "pos"))
            }
            ("POST", ["v3", "join", room] | ["v3", "rooms", room, "join"]) => {
                Self::Join { room: decoded(room) }
            }
            ("PUT", ["v3", "rooms", room, "send", "m.room.message", transaction]) => {
                Self::Send { room: decoded(room), transaction: decoded(transaction) }
            }
            ("POST", ["v3", "logout"]) => Self::Logout,
            ("POST", ["v3", "user", _, "filter"]) => Self::Filter,
            ("POST", ["v3", "keys", "upload"]) => Self::UploadKeys,
            ("POST", ["v3", "keys", "query"]) => Self::QueryKeys,
            ("GET", ["v3", "rooms", room, "state", kind, key @ ..]) => Self::State {
                room: decoded(room),
                kind: decoded(kind),
                key: decoded(key.first().copied().unwrap_or_default()),
            },
            ("GET", ["v3", "rooms", room, "members"]) => Self::Members { room: decoded(room) },
            ("GET", ["v3", "room_keys", "version"] | ["v3", "user", _, "account_data", _]) => {
                Self::AccountData
            }
            _ => return None,
        })
    }
}

fn position(query: &str, since_is_called: &str) -> Position {
    let (mut since, mut wait) = (None, Duration::ZERO);
    for pair in query.split('&') {
        match pair.split_once('=') {
            // A bad position becomes one where the server has never been, which is refused.
            Some((name, position)) if name == since_is_called => {
                since = Some(position.parse().unwrap_or(usize::MAX));
            }
            Some(("timeout", milliseconds)) => {
                wait = Duration::from_millis(milliseconds.parse().unwrap_or(0));
            }
            _ => {}
        }
    }
    Position { since, wait }
}
