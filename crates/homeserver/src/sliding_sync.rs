//! The answer to a request of simplified sliding sync (MSC4186): what is new in the rooms, and counts for
//! the lists that the client keeps. This server has few rooms: every list gets all of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::news::{News, key_counts};

/// Answers a request of a user who is in this many rooms with what is new in some of them. A client has one connection for rooms, and one without lists for
/// encryption, which gets no rooms.
pub(crate) fn answer(
    request: &Value,
    position: usize,
    in_rooms: usize,
    news: &BTreeMap<&str, News>,
) -> Value {
    let lists = request.get("lists").and_then(Value::as_object);
    let count = |name: &String| (name.clone(), json!({ "count": in_rooms }));
    let counts: Map<_, _> = lists.into_iter().flatten().map(|(name, _)| count(name)).collect();
    let rooms = if counts.is_empty() { Map::new() } else { rooms(position, news) };
    let mut answer = json!({ "pos": position.to_string(), "lists": counts, "rooms": rooms });
    let extensions = request.get("extensions");
    let wants =
        |name| extensions.and_then(|it| it.get(name)?.get("enabled")?.as_bool()).unwrap_or(false);
    let mut extended = Map::new();
    if wants("to_device") {
        let nothing = json!({ "next_batch": position.to_string(), "events": [] });
        extended.insert("to_device".to_owned(), nothing);
    }
    if wants("e2ee") {
        let keys = json!({ "device_one_time_keys_count": key_counts() });
        extended.insert("e2ee".to_owned(), keys);
    }
    answer["extensions"] = extended.into();
    if let Some(transaction) = request.get("txn_id") {
        answer["txn_id"] = transaction.clone();
    }
    answer
}

fn rooms(position: usize, news: &BTreeMap<&str, News>) -> Map<String, Value> {
    let room = |(id, News { is_initial, members, state, timeline }): (&&str, &News)| {
        let room = json!({
            "name": id,
            "initial": is_initial,
            "required_state": state,
            "timeline": timeline,
            "num_live": timeline.len(),
            "joined_count": members,
            "invited_count": 0,
            "bump_stamp": position,
        });
        ((*id).to_owned(), room)
    };
    news.iter().map(room).collect()
}
