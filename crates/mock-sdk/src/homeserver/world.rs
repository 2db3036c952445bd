//! What the homeserver knows: users, tokens, rooms and their messages, the requests that arrived, and
//! the faults that are due.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::{
    endpoint::{Endpoint, Question},
    fault::Fault,
};
use crate::matrix_error::ErrorCode;

/// The part of an id that names the server.
const SERVER: &str = "example.org";

/// A request that is complete.
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) token: Option<String>,
    pub(super) body: Bytes,
}

/// The body of the answer, or why there is none.
pub(super) type Outcome = Result<Value, ErrorCode>;

#[derive(Default)]
pub(super) struct World {
    /// The passwords, by user id.
    users: HashMap<String, String>,
    /// Who is logged in, by access token.
    tokens: HashMap<String, Device>,
    rooms: BTreeSet<String>,
    /// All messages, in order. The position of a sync is a number of messages.
    messages: Vec<Message>,
    /// The events that clients sent, by device and transaction: a repetition is the same event.
    sent: HashMap<(Device, String), String>,
    /// How many requests have arrived.
    pub(super) arrived: HashMap<Endpoint, usize>,
    pub(super) faults: HashMap<Endpoint, VecDeque<Fault>>,
    pub(super) standing_faults: HashMap<Endpoint, Fault>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Device {
    user: String,
    id: String,
}

struct Message {
    id: String,
    room: String,
    sender: String,
    body: String,
}

/// A client may give only the first part of a user id.
fn user_id(user: &str) -> String {
    if user.starts_with('@') { user.to_owned() } else { format!("@{user}:{SERVER}") }
}

impl World {
    pub(super) fn add_user(&mut self, user: &str, password: &str) {
        self.users.insert(user_id(user), password.to_owned());
    }

    /// Returns the event's id.
    pub(super) fn say(&mut self, room: &str, sender: &str, body: &str) -> String {
        let (room, sender, body) = (room.to_owned(), user_id(sender), body.to_owned());
        let id = format!("${}", self.messages.len());
        self.rooms.insert(room.clone());
        self.messages.push(Message { id: id.clone(), room, sender, body });
        id
    }

    pub(super) fn messages(&self, room: &str) -> Vec<String> {
        let messages = self.messages.iter().filter(|message| message.room == room);
        messages.map(|message| message.body.clone()).collect()
    }

    pub(super) fn logins(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn is_alive(&self, token: &str) -> bool {
        self.tokens.contains_key(token)
    }

    pub(super) fn forget_token(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    /// Counts a request, and returns the fault that is due: a queued one, or else the standing one.
    pub(super) fn arrive(&mut self, endpoint: Endpoint) -> Fault {
        *self.arrived.entry(endpoint).or_default() += 1;
        let queued = self.faults.get_mut(&endpoint).and_then(VecDeque::pop_front);
        queued.or_else(|| self.standing_faults.get(&endpoint).cloned()).unwrap_or(Fault::NONE)
    }

    /// Whether a sync from there has something to report, which may be an error.
    pub(super) fn has_news(&self, token: &str, since: Option<usize>) -> bool {
        !self.is_alive(token) || since != Some(self.messages.len())
    }

    pub(super) fn carry_out(&mut self, asked: &Asked) -> Outcome {
        let json = || serde_json::from_slice(&asked.body).map_err(|_| ErrorCode::BadJson);
        match &asked.question {
            Question::Versions => return Ok(json!({ "versions": ["v1.11"] })),
            Question::Login => return self.log_in(&json()?),
            _ => {}
        }
        let token = asked.token.as_deref().ok_or(ErrorCode::MissingToken)?;
        let device = self.tokens.get(token).ok_or(ErrorCode::UnknownToken)?;
        let Device { user, id } = device;
        match &asked.question {
            Question::Sync { since, .. } => self.sync(since.unwrap_or(0)),
            Question::Send { room, transaction } => {
                let device = device.clone();
                self.send(device, room, transaction, &json()?)
            }
            Question::Logout => {
                self.forget_token(token);
                Ok(json!({}))
            }
            _ => Ok(json!({ "user_id": user, "device_id": id })),
        }
    }

    fn log_in(&mut self, body: &Value) -> Outcome {
        let text = |pointer| body.pointer(pointer).and_then(Value::as_str);
        let (Some("m.login.password"), Some(user), Some(password)) =
            (text("/type"), text("/identifier/user"), text("/password"))
        else {
            return Err(ErrorCode::BadJson);
        };
        let user = user_id(user);
        if self.users.get(&user).is_none_or(|known| known != password) {
            return Err(ErrorCode::Forbidden);
        }
        // Random, so that no token comes twice, also not from another server.
        let token = format!("mock_{:016x}", fastrand::u64(..));
        let id = format!("DEVICE{:08X}", fastrand::u32(..));
        self.tokens.insert(token.clone(), Device { user: user.clone(), id: id.clone() });
        Ok(json!({ "user_id": user, "device_id": id, "access_token": token }))
    }

    fn send(&mut self, device: Device, room: &str, transaction: &str, body: &Value) -> Outcome {
        if !self.rooms.contains(room) {
            return Err(ErrorCode::NotFound);
        }
        let body = body.get("body").and_then(Value::as_str).ok_or(ErrorCode::BadJson)?;
        let sent = (device, transaction.to_owned());
        let event = match self.sent.get(&sent) {
            Some(event) => event.clone(),
            None => {
                let event = self.say(room, &sent.0.user, body);
                self.sent.insert(sent, event.clone());
                event
            }
        };
        Ok(json!({ "event_id": event }))
    }

    /// What has happened since a position.
    fn sync(&self, since: usize) -> Outcome {
        let news = self.messages.get(since..).ok_or(ErrorCode::BadJson)?;
        let mut rooms = BTreeMap::<&str, Vec<Value>>::new();
        for Message { id, room, sender, body } in news {
            rooms.entry(room).or_default().push(json!({
                "type": "m.room.message", "event_id": id, "sender": sender,
                "content": { "msgtype": "m.text", "body": body },
            }));
        }
        let joined = rooms.into_iter().map(|(id, events)| {
            let name = json!({ "type": "m.room.name", "content": { "name": id } });
            let room = json!({ "state": { "events": [name] }, "timeline": { "events": events } });
            (id.to_owned(), room)
        });
        let joined: Map<String, Value> = joined.collect();
        Ok(json!({ "next_batch": self.messages.len().to_string(), "rooms": { "join": joined } }))
    }
}
