//! What a sync tells a client, in either form.

use serde_json::{Value, json};

/// What is new for a user in a room.
pub(crate) struct News {
    /// The user has not seen the room before.
    pub(crate) is_initial: bool,
    pub(crate) members: usize,
    pub(crate) state: Vec<Value>,
    pub(crate) timeline: Vec<Value>,
}

/// As many keys as a client wants the server to have, so that it uploads no more.
pub(crate) fn key_counts() -> Value {
    json!({ "signed_curve25519": 50 })
}
