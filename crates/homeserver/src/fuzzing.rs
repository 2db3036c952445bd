//! What `crates/fuzz` calls besides the public interface.

use hyper::{Method, body::Bytes};

use crate::{
    endpoint::Question,
    world::{Asked, World},
};

/// Sends requests to a world of their own. Each is a line `METHOD PATH?QUERY TOKEN BODY`; the token `-` is that of the
/// user who is logged in.
pub fn requests(text: &str) {
    let mut world = World::default();
    world.add_user("me", "secret");
    world.add_room_to_join("!club");
    world.say("!lobby", "friend", "hello");
    let body = r#"{"type":"m.login.password","identifier":{"user":"me"},"password":"secret"}"#;
    let login = Asked { question: Question::Login, token: None, body: Bytes::from(body) };
    let answer = world.carry_out(&login).unwrap_or_default();
    let mine = answer["access_token"].as_str().unwrap_or_default().to_owned();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (method, uri, token, body) = (word(), word(), word(), word());
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let Ok(method) = Method::from_bytes(method.as_bytes()) else { continue };
        let Some(question) = Question::parse(&method, path, query) else { continue };
        world.arrive(question.endpoint());
        let token = if token == "-" { mine.clone() } else { token.to_owned() };
        let body = Bytes::from(body.to_owned());
        let asked = Asked { question, token: Some(token), body };
        if let Ok(answer) = world.carry_out(&asked) {
            let _ = answer.to_string();
        }
    }
}
