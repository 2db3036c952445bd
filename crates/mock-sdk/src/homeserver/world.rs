//! What the homeserver knows: users, tokens, rooms, what was said in them, and what was asked of it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Value, json};

use super::{Endpoint, Fault, Seen};
use crate::matrix_error::{ErrorCode, MatrixError};

/// The part of an id that names the server.
const SERVER: &str = "example.org";

#[derive(Debug, Default)]
pub(super) struct World {
    /// The passwords of the users, by id.
    users: HashMap<String, String>,
    /// Who is logged in, by access token.
    tokens: BTreeMap<String, Device>,
    rooms: BTreeMap<String, String>,
    /// Everything that a sync tells, in order. A position is a number of entries.
    log: Vec<Entry>,
    /// The events that were sent, by who sent them under what number: a repetition is the same event.
    sent: HashMap<(Device, String), String>,
    pub(super) seen: Vec<Seen>,
    pub(super) faults: HashMap<Endpoint, VecDeque<Fault>>,
    pub(super) standing: HashMap<Endpoint, Fault>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Device {
    user: String,
    id: String,
}

#[derive(Debug)]
enum Entry {
    Room { id: String },
    Message { id: String, room: String, sender: String, body: String },
}

/// What a request comes to.
pub(super) type Answered = Result<Value, MatrixError>;

fn refused<T>(code: ErrorCode) -> Result<T, MatrixError> {
    Err(MatrixError::usual(code))
}

/// The id of a user, of which a client may give only the first part.
fn user_id(user: &str) -> String {
    if user.starts_with('@') { user.to_owned() } else { format!("@{user}:{SERVER}") }
}

impl World {
    pub(super) fn add_user(&mut self, user: &str, password: &str) -> String {
        let user = user_id(user);
        self.users.insert(user.clone(), password.to_owned());
        user
    }

    pub(super) fn add_room(&mut self, id: &str, name: &str) {
        self.rooms.insert(id.to_owned(), name.to_owned());
        self.log.push(Entry::Room { id: id.to_owned() });
    }

    /// A message in a room; the room is made where it is missing.
    pub(super) fn say(&mut self, room: &str, sender: &str, body: &str) -> String {
        if !self.rooms.contains_key(room) {
            self.add_room(room, room);
        }
        let id = format!("${}", self.log.len());
        self.log.push(Entry::Message {
            id: id.clone(),
            room: room.to_owned(),
            sender: user_id(sender),
            body: body.to_owned(),
        });
        id
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = &String> {
        self.tokens.keys()
    }

    pub(super) fn is_alive(&self, token: &str) -> bool {
        self.tokens.contains_key(token)
    }

    pub(super) fn forget_token(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    pub(super) fn messages(&self, in_room: &str) -> Vec<String> {
        let said = self.log.iter().filter_map(|entry| match entry {
            Entry::Message { room, body, .. } if room == in_room => Some(body.clone()),
            _ => None,
        });
        said.collect()
    }

    fn device(&self, token: Option<&str>) -> Result<&Device, MatrixError> {
        let Some(token) = token else { return refused(ErrorCode::MissingToken) };
        self.tokens.get(token).map_or_else(|| refused(ErrorCode::UnknownToken), Ok)
    }

    pub(super) fn log_in(&mut self, body: &Value) -> Answered {
        let text = |pointer| body.pointer(pointer).and_then(Value::as_str);
        let (Some("m.login.password"), Some(user), Some(password)) =
            (text("/type"), text("/identifier/user"), text("/password"))
        else {
            return refused(ErrorCode::BadJson);
        };
        let user = user_id(user);
        if self.users.get(&user).is_none_or(|known| known != password) {
            return refused(ErrorCode::Forbidden);
        }
        // Not to be guessed, and not the same again after a restart of the server.
        let token = format!("mock_{:016x}", fastrand::u64(..));
        let id = format!("DEVICE{:08X}", fastrand::u32(..));
        self.tokens.insert(token.clone(), Device { user: user.clone(), id: id.clone() });
        Ok(json!({ "user_id": user, "device_id": id, "access_token": token }))
    }

    pub(super) fn who_is(&self, token: Option<&str>) -> Answered {
        let Device { user, id } = self.device(token)?;
        Ok(json!({ "user_id": user, "device_id": id }))
    }

    pub(super) fn log_out(&mut self, token: Option<&str>) -> Answered {
        self.device(token)?;
        self.forget_token(token.unwrap_or_default());
        Ok(json!({}))
    }

    pub(super) fn send(
        &mut self,
        token: Option<&str>,
        room: &str,
        transaction: &str,
        body: &Value,
    ) -> Answered {
        let device = self.device(token)?.clone();
        if !self.rooms.contains_key(room) {
            return refused(ErrorCode::NotFound);
        }
        let Some(text) = body.get("body").and_then(Value::as_str) else {
            return refused(ErrorCode::BadJson);
        };
        let sender = device.user.clone();
        let event = match self.sent.get(&(device.clone(), transaction.to_owned())) {
            Some(event) => event.clone(),
            None => {
                let event = self.say(room, &sender, text);
                self.sent.insert((device, transaction.to_owned()), event.clone());
                event
            }
        };
        Ok(json!({ "event_id": event }))
    }

    /// Whether a sync from there has something to tell, an error among it.
    pub(super) fn has_news(&self, token: &str, since: Option<usize>) -> bool {
        !self.is_alive(token) || since != Some(self.log.len())
    }

    /// What has happened since a position; everything, without one.
    pub(super) fn sync(&self, token: Option<&str>, since: Option<usize>) -> Answered {
        self.device(token)?;
        let Some(news) = self.log.get(since.unwrap_or(0)..) else {
            return refused(ErrorCode::UnknownPosition);
        };
        let mut rooms = BTreeMap::<&str, Vec<Value>>::new();
        for entry in news {
            match entry {
                Entry::Room { id } => drop(rooms.entry(id).or_default()),
                Entry::Message { id, room, sender, body } => {
                    rooms.entry(room).or_default().push(json!({
                        "type": "m.room.message", "event_id": id, "sender": sender,
                        "content": { "msgtype": "m.text", "body": body },
                    }));
                }
            }
        }
        let joined = rooms.into_iter().map(|(id, events)| {
            let name = json!({ "type": "m.room.name", "content": { "name": self.rooms.get(id) } });
            let room = json!({ "state": { "events": [name] }, "timeline": { "events": events } });
            (id.to_owned(), room)
        });
        let joined: serde_json::Map<String, Value> = joined.collect();
        Ok(json!({ "next_batch": self.log.len().to_string(), "rooms": { "join": joined } }))
    }
}
