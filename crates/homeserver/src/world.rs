//! What the homeserver knows: users, tokens, rooms and what happened in them, the requests that
//! arrived, and the faults that are due.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    endpoint::{Endpoint, Position, Question},
    fault::Fault,
    matrix_error::ErrorCode,
    news::{News, key_counts},
    sliding_sync,
};

/// The part of an id that names the server.
const SERVER: &str = "example.org";

/// Who creates the rooms, and when, in milliseconds since 1970. An event happens a second after the one
/// before.
const CREATOR: &str = "@creator:example.org";
const BEGINNING: usize = 1_700_000_000_000;

/// A request that is complete.
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) token: Option<String>,
    pub(crate) body: Bytes,
}

/// The body of the answer, or why there is none.
pub(crate) type Outcome = Result<Value, ErrorCode>;

#[derive(Default)]
pub(crate) struct World {
    /// The passwords, by user id.
    users: BTreeMap<String, String>,
    /// Who is logged in, by access token.
    tokens: HashMap<String, Device>,
    /// The rooms. Those with a list of members have to be joined. In the others everybody is.
    rooms: BTreeMap<String, Option<BTreeSet<String>>>,
    /// All that has happened, in order. The position of a sync is a number of events.
    events: Vec<Event>,
    /// The events that clients sent, by device and transaction: a repetition is the same event.
    sent: HashMap<(Device, String), String>,
    /// How many requests have arrived.
    pub(crate) arrived: HashMap<Endpoint, usize>,
    pub(crate) faults: HashMap<Endpoint, VecDeque<Fault>>,
    pub(crate) standing_faults: HashMap<Endpoint, Fault>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Device {
    user: String,
    id: String,
}

struct Event {
    room: String,
    sender: String,
    what: What,
}

enum What {
    Joined,
    Said(String),
}

/// A client may give only the first part of a user id.
fn user_id(user: &str) -> String {
    if user.starts_with('@') { user.to_owned() } else { format!("@{user}:{SERVER}") }
}

impl World {
    pub(crate) fn add_user(&mut self, user: &str, password: &str) {
        self.users.insert(user_id(user), password.to_owned());
    }

    pub(crate) fn add_room_to_join(&mut self, room: &str) {
        self.rooms.insert(room.to_owned(), Some(BTreeSet::new()));
    }

    /// Returns the event's id.
    pub(crate) fn say(&mut self, room: &str, sender: &str, body: &str) -> String {
        self.rooms.entry(room.to_owned()).or_default();
        self.happens(room, &user_id(sender), What::Said(body.to_owned()))
    }

    fn happens(&mut self, room: &str, sender: &str, what: What) -> String {
        let id = event_id(self.events.len());
        self.events.push(Event { room: room.to_owned(), sender: sender.to_owned(), what });
        id
    }

    pub(crate) fn messages(&self, room: &str) -> Vec<String> {
        let events = self.events.iter().filter(|event| event.room == room);
        events.filter_map(|event| event.what.said().map(str::to_owned)).collect()
    }

    pub(crate) fn logins(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn is_alive(&self, token: &str) -> bool {
        self.tokens.contains_key(token)
    }

    pub(crate) fn forget_token(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    /// Counts a request, and returns the fault that is due: a queued one, or else the standing one.
    pub(crate) fn arrive(&mut self, endpoint: Endpoint) -> Fault {
        *self.arrived.entry(endpoint).or_default() += 1;
        let queued = self.faults.get_mut(&endpoint).and_then(VecDeque::pop_front);
        queued.or_else(|| self.standing_faults.get(&endpoint).cloned()).unwrap_or(Fault::NONE)
    }

    /// Whether a sync from there has something to report, which may be an error.
    pub(crate) fn has_news(&self, token: &str, since: Option<usize>) -> bool {
        !self.is_alive(token) || since != Some(self.events.len())
    }

    pub(crate) fn carry_out(&mut self, asked: &Asked) -> Outcome {
        let json = || serde_json::from_slice(&asked.body).map_err(|_| ErrorCode::BadJson);
        match &asked.question {
            Question::Versions => return Ok(versions()),
            Question::Login => return self.log_in(&json()?),
            _ => {}
        }
        let token = asked.token.as_deref().ok_or(ErrorCode::MissingToken)?;
        let device = self.tokens.get(token).ok_or(ErrorCode::UnknownToken)?.clone();
        let Device { user, id } = &device;
        match &asked.question {
            Question::Sync(Position { since, .. }) => self.sync(user, since.unwrap_or(0)),
            Question::SlidingSync(Position { since, .. }) => {
                let news = self.news(user, since.unwrap_or(0))?;
                let rooms = self.rooms.keys().filter(|room| self.is_in(user, room)).count();
                Ok(sliding_sync::answer(&json()?, self.events.len(), rooms, &news))
            }
            Question::Join { room } => self.join(user, room),
            Question::Send { room, transaction } => self.send(device, room, transaction, &json()?),
            Question::Logout => {
                self.forget_token(token);
                Ok(json!({}))
            }
            Question::State { room, kind, key } => {
                let is_it = |it: &Value| it["type"] == **kind && it["state_key"] == **key;
                let found = self.seen_state(user, room)?.into_iter().find(is_it);
                found.map(|mut it| it["content"].take()).ok_or(ErrorCode::NotFound)
            }
            Question::Members { room } => {
                let mut members = self.seen_state(user, room)?;
                members.retain(|it| it["type"] == "m.room.member");
                // Outside a sync, an event says which room it belongs to.
                for member in &mut members {
                    member["room_id"] = room.clone().into();
                }
                Ok(json!({ "chunk": members }))
            }
            Question::Filter => Ok(json!({ "filter_id": "0" })),
            Question::UploadKeys => Ok(json!({ "one_time_key_counts": key_counts() })),
            Question::QueryKeys => Ok(json!({ "device_keys": {} })),
            Question::AccountData => Err(ErrorCode::NotFound),
            Question::Whoami | Question::Versions | Question::Login => {
                Ok(json!({ "user_id": user, "device_id": id }))
            }
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

    fn join(&mut self, user: &str, room: &str) -> Outcome {
        let members = self.rooms.get_mut(room).ok_or(ErrorCode::NotFound)?;
        if members.as_mut().is_some_and(|members| members.insert(user.to_owned())) {
            self.happens(room, user, What::Joined);
        }
        Ok(json!({ "room_id": room }))
    }

    fn is_in(&self, user: &str, room: &str) -> bool {
        self.rooms
            .get(room)
            .is_some_and(|members| members.as_ref().is_none_or(|members| members.contains(user)))
    }

    fn send(&mut self, device: Device, room: &str, transaction: &str, body: &Value) -> Outcome {
        if !self.rooms.contains_key(room) {
            return Err(ErrorCode::NotFound);
        }
        if !self.is_in(&device.user, room) {
            return Err(ErrorCode::Forbidden);
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

    /// What has happened since a position, in the rooms that the user is in: all that ever happened in a
    /// room, if the user joined it since then.
    fn news(&self, user: &str, since: usize) -> Result<BTreeMap<&str, News>, ErrorCode> {
        let new = self.events.get(since..).ok_or(ErrorCode::BadJson)?;
        let mut news = BTreeMap::new();
        for Event { room, .. } in new {
            if !self.is_in(user, room) || news.contains_key(&**room) {
                continue;
            }
            let joined = |it: &Event| {
                it.room == *room && it.sender == user && matches!(it.what, What::Joined)
            };
            let from = if new.iter().any(joined) { 0 } else { since };
            let in_room =
                self.events.iter().enumerate().skip(from).filter(|(_, it)| it.room == *room);
            let earlier = self.events.iter().take(from).any(|event| event.room == *room);
            let timeline = in_room.map(|(at, event)| event.json(at)).collect();
            let members = self.users.keys().filter(|user| self.is_in(user, room)).count();
            let state = self.state(room);
            news.insert(&**room, News { is_initial: !earlier, members, state, timeline });
        }
        Ok(news)
    }

    fn sync(&self, user: &str, since: usize) -> Outcome {
        let joined =
            self.news(user, since)?.into_iter().map(|(id, News { state, timeline, .. })| {
                let timeline = json!({ "events": timeline, "limited": false });
                (id.to_owned(), json!({ "state": { "events": state }, "timeline": timeline }))
            });
        let joined: Map<String, Value> = joined.collect();
        Ok(json!({
            "next_batch": self.events.len().to_string(),
            "rooms": { "join": joined },
            "device_one_time_keys_count": key_counts(),
        }))
    }

    /// The state of a room, for a user who may see it.
    fn seen_state(&self, user: &str, room: &str) -> Result<Vec<Value>, ErrorCode> {
        if self.is_in(user, room) { Ok(self.state(room)) } else { Err(ErrorCode::NotFound) }
    }

    /// The state of a room: that it exists, its name, and who is in it.
    fn state(&self, room: &str) -> Vec<Value> {
        let event = |kind: &str, key: &str, sender: &str, content: Value| {
            json!({
                "type": kind, "state_key": key, "sender": sender, "content": content,
                // A colon would begin the name of a server.
                "event_id": format!("${kind}{key}{room}").replace(':', "."), "origin_server_ts": BEGINNING,
            })
        };
        let created = json!({ "creator": CREATOR, "room_version": "10" });
        let mut state = vec![
            event("m.room.create", "", CREATOR, created),
            event("m.room.name", "", CREATOR, json!({ "name": room })),
        ];
        let members = self.users.keys().filter(|user| self.is_in(user, room));
        let is_member = || json!({ "membership": "join" });
        state.extend(members.map(|user| event("m.room.member", user, user, is_member())));
        state
    }
}

impl What {
    fn said(&self) -> Option<&str> {
        match self {
            Self::Said(body) => Some(body),
            Self::Joined => None,
        }
    }
}

impl Event {
    fn json(&self, at: usize) -> Value {
        let Self { sender, what, .. } = self;
        let mut event = json!({
            "event_id": event_id(at), "sender": sender, "origin_server_ts": BEGINNING + 1000 * at,
        });
        match what {
            What::Said(body) => {
                event["type"] = "m.room.message".into();
                event["content"] = json!({ "msgtype": "m.text", "body": body });
            }
            What::Joined => {
                event["type"] = "m.room.member".into();
                event["state_key"] = sender.clone().into();
                event["content"] = json!({ "membership": "join" });
            }
        }
        event
    }
}

fn event_id(at: usize) -> String {
    format!("${at}")
}

fn versions() -> Value {
    let features = json!({ "org.matrix.simplified_msc3575": true });
    json!({ "versions": ["v1.11"], "unstable_features": features })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A world with a user, who is logged in, and a room to join in which something was said.
    fn world() -> (World, String) {
        let mut world = World::default();
        world.add_user("me", "secret");
        world.add_room_to_join("!club");
        world.say("!club", "friend", "hello");
        let login = json!({
            "type": "m.login.password", "identifier": { "user": "me" }, "password": "secret",
        });
        let answer = world.log_in(&login).unwrap_or_default();
        (world, answer["access_token"].as_str().unwrap_or_default().to_owned())
    }

    fn ask(world: &mut World, token: &str, question: Question, body: Value) -> Outcome {
        let body = Bytes::from(body.to_string());
        world.carry_out(&Asked { question, token: Some(token.to_owned()), body })
    }

    fn from(since: Option<usize>) -> Position {
        Position { since, wait: Duration::ZERO }
    }

    #[test]
    fn a_room_is_seen_by_those_who_have_joined_it_with_all_that_was_said_before() {
        let (mut world, token) = world();
        let room = || "!club".to_owned();
        let name = || Question::State { room: room(), kind: "m.room.name".into(), key: "".into() };
        let say = || Question::Send { room: room(), transaction: "1".to_owned() };
        let sync = |since| Question::Sync(from(since));
        let body = json!({ "body": "hi" });
        let seen = ask(&mut world, &token, sync(None), json!({})).unwrap_or_default();
        assert_eq!(seen["rooms"]["join"], json!({}));
        assert_eq!(ask(&mut world, &token, name(), json!({})), Err(ErrorCode::NotFound));
        assert_eq!(ask(&mut world, &token, say(), body.clone()), Err(ErrorCode::Forbidden));

        let before = world.events.len();
        let join = Question::Join { room: room() };
        assert!(ask(&mut world, &token, join, json!({})).is_ok());
        assert!(ask(&mut world, &token, say(), body).is_ok());
        let seen = ask(&mut world, &token, sync(Some(before)), json!({})).unwrap_or_default();
        let events = &seen["rooms"]["join"]["!club"]["timeline"]["events"];
        let said: Vec<_> = events.as_array().into_iter().flatten().collect();
        let bodies: Vec<_> =
            said.iter().filter_map(|event| event["content"]["body"].as_str()).collect();
        assert_eq!(bodies, ["hello", "hi"]);
        assert_eq!(ask(&mut world, &token, name(), json!({})), Ok(json!({ "name": "!club" })));
    }

    #[test]
    fn a_sliding_sync_has_rooms_for_a_connection_with_lists_and_no_others() {
        let (mut world, token) = world();
        world.say("!lobby", "friend", "hello");
        let sync = |since| Question::SlidingSync(from(since));
        let lists = json!({ "lists": { "all": {} }, "txn_id": "7" });
        let answer = ask(&mut world, &token, sync(None), lists.clone()).unwrap_or_default();
        assert_eq!(answer["lists"]["all"]["count"], 1);
        assert_eq!(answer["rooms"]["!lobby"]["initial"], true);
        assert_eq!(answer["rooms"].as_object().map(Map::len), Some(1));
        assert_eq!(answer["txn_id"], "7");

        let position = answer["pos"].as_str().and_then(|it| it.parse().ok());
        let answer = ask(&mut world, &token, sync(position), lists).unwrap_or_default();
        assert_eq!(answer["rooms"], json!({}));

        let encryption = json!({ "extensions": { "e2ee": { "enabled": true } } });
        let answer = ask(&mut world, &token, sync(None), encryption).unwrap_or_default();
        assert_eq!(answer["rooms"], json!({}));
        assert_eq!(answer["extensions"]["e2ee"]["device_one_time_keys_count"], key_counts());
        assert!(answer["extensions"].get("to_device").is_none());
    }
}
