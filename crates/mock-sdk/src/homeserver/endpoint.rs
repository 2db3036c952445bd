//! The endpoints: what they are called, and how a request to each is answered.

use std::{future::pending, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use super::{
    Seen,
    connection::{BrokenBody, Reset},
    fault::{Answer, Effect, Fault},
    world::{Answered, World},
};
use crate::matrix_error::{ErrorCode, MatrixError};

/// Something that the homeserver can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Which versions it speaks: the one thing that needs no token.
    Versions,
    /// For a token, with a password.
    Login,
    /// Whose a token is.
    Whoami,
    /// What has happened; waits for something to happen, for as long as it is asked to.
    Sync,
    /// To send a message.
    Send,
    /// To forget a token.
    Logout,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Versions, Self::Login, Self::Whoami, Self::Sync, Self::Send, Self::Logout];
}

/// The longest body that is read.
const LONGEST_BODY: usize = 1 << 20;

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Shared(pub(super) Arc<watch::Sender<World>>);

/// A request as far as every endpoint wants to know it.
struct Asked {
    token: Option<String>,
    since: Option<usize>,
    wait: Duration,
    body: Bytes,
}

pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/_matrix/client/versions", get(versions))
        .route("/_matrix/client/v3/login", post(log_in))
        .route("/_matrix/client/v3/account/whoami", get(who_is))
        .route("/_matrix/client/v3/sync", get(sync))
        .route("/_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction}", put(send))
        .route("/_matrix/client/v3/logout", post(log_out))
        .fallback(unrecognized)
        .method_not_allowed_fallback(unrecognized)
        .with_state(shared)
}

async fn unrecognized() -> Response {
    error(&MatrixError::usual(ErrorCode::Unrecognized))
}

type Connection = ConnectInfo<Reset>;

async fn versions(
    State(shared): State<Shared>,
    connection: Connection,
    request: Request,
) -> Response {
    shared
        .answer(Endpoint::Versions, connection, request, |_, _| {
            Ok(json!({ "versions": ["v1.11"] }))
        })
        .await
}

async fn log_in(
    State(shared): State<Shared>,
    connection: Connection,
    request: Request,
) -> Response {
    shared
        .answer(Endpoint::Login, connection, request, |world, asked| world.log_in(&asked.json()?))
        .await
}

async fn who_is(
    State(shared): State<Shared>,
    connection: Connection,
    request: Request,
) -> Response {
    shared
        .answer(Endpoint::Whoami, connection, request, |world, asked| world.who_is(asked.token()))
        .await
}

async fn log_out(
    State(shared): State<Shared>,
    connection: Connection,
    request: Request,
) -> Response {
    shared
        .answer(Endpoint::Logout, connection, request, |world, asked| world.log_out(asked.token()))
        .await
}

async fn send(
    State(shared): State<Shared>,
    Path((room, transaction)): Path<(String, String)>,
    connection: Connection,
    request: Request,
) -> Response {
    shared
        .answer(Endpoint::Send, connection, request, move |world, asked| {
            world.send(asked.token(), &room, &transaction, &asked.json()?)
        })
        .await
}

/// The long poll: waits for news, then answers as the others do.
async fn sync(State(shared): State<Shared>, connection: Connection, request: Request) -> Response {
    shared
        .answer(Endpoint::Sync, connection, request, |world, asked| {
            world.sync(asked.token(), asked.since)
        })
        .await
}

impl Shared {
    /// Answers a request, with the fault that is due.
    async fn answer(
        self,
        endpoint: Endpoint,
        ConnectInfo(reset): Connection,
        request: Request,
        work: impl FnOnce(&mut World, &Asked) -> Answered + Send + 'static,
    ) -> Response {
        let (head, body) = request.into_parts();
        let token = token(&head.headers);
        // Seen is what arrived, whatever becomes of it.
        let mut fault = Fault::NONE;
        self.0.send_modify(|world| {
            world.seen.push(Seen { endpoint, token: token.clone() });
            fault = world.due(endpoint);
        });
        let Ok(body) = axum::body::to_bytes(body, LONGEST_BODY).await else {
            return error(&MatrixError::usual(ErrorCode::TooLarge));
        };
        let query = head.uri.query().unwrap_or_default();
        let (since, wait) = match sync_query(query) {
            Ok(understood) => understood,
            Err(refusal) => return error(&refusal),
        };
        let asked = Asked { token, since, wait, body };

        let Fault { delay, effect, answer } = fault;
        let answered = if endpoint == Endpoint::Sync {
            // Nothing is done by a sync, and so nothing has to go on when the client has given up.
            sleep(delay).await;
            if answer == Answer::Ordinary {
                self.news(&asked).await;
            }
            self.carry_out(work, &asked)
        } else {
            // In a task of its own, which goes on when the client has given up, as a server does.
            let carried_out = tokio::spawn(async move {
                if effect == Effect::AtOnce {
                    let answered = self.carry_out(work, &asked);
                    sleep(delay).await;
                    return answered;
                }
                sleep(delay).await;
                if effect == Effect::AfterDelay {
                    return self.carry_out(work, &asked);
                }
                Err(MatrixError::usual(ErrorCode::Unknown))
            });
            carried_out.await.unwrap_or_else(|_| Err(MatrixError::usual(ErrorCode::Unknown)))
        };
        respond(answer, answered, &reset).await
    }

    fn carry_out(
        &self,
        work: impl FnOnce(&mut World, &Asked) -> Answered,
        asked: &Asked,
    ) -> Answered {
        let mut answered = Ok(Value::Null);
        self.0.send_modify(|world| answered = work(world, asked));
        answered
    }

    /// Waits until a sync has something to tell, for as long as the client wants to wait.
    async fn news(&self, asked: &Asked) {
        let Some(token) = asked.token() else { return };
        let mut world = self.0.subscribe();
        let news = world.wait_for(|world| world.has_news(token, asked.since));
        // Without news there is an answer too, an empty one.
        let _ = tokio::time::timeout(asked.wait, news).await;
    }
}

impl World {
    /// The fault that is due at an endpoint: the first of those in turn, else the standing one.
    fn due(&mut self, endpoint: Endpoint) -> Fault {
        let in_turn = self.faults.get_mut(&endpoint).and_then(|faults| faults.pop_front());
        in_turn.or_else(|| self.standing.get(&endpoint).cloned()).unwrap_or(Fault::NONE)
    }
}

impl Asked {
    fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    fn json(&self) -> Result<Value, MatrixError> {
        serde_json::from_slice(&self.body).map_err(|_| MatrixError::usual(ErrorCode::NotJson))
    }
}

fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

/// Where a sync goes on, and how long it waits. What else there is is ignored, as Matrix has it.
fn sync_query(query: &str) -> Result<(Option<usize>, Duration), MatrixError> {
    let (mut since, mut wait) = (None, Duration::ZERO);
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("since", position)) => {
                let known = position.parse();
                since = Some(known.map_err(|_| MatrixError::usual(ErrorCode::UnknownPosition))?);
            }
            Some(("timeout", milliseconds)) => {
                wait = Duration::from_millis(milliseconds.parse().unwrap_or(0));
            }
            _ => {}
        }
    }
    Ok((since, wait))
}

async fn respond(answer: Answer, answered: Answered, reset: &Reset) -> Response {
    match (answer, answered) {
        (Answer::Ordinary, Ok(value)) => ok(Bytes::from(value.to_string())),
        (Answer::Ordinary, Err(refusal)) | (Answer::Error(refusal), _) => error(&refusal),
        (Answer::Status(status), _) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, "<html>This is a proxy. The server behind it went away.</html>")
                .into_response()
        }
        (Answer::Malformed, _) => ok(Bytes::from_static(b"{\"next_batch\": ")),
        (Answer::ResetMidBody, answered) => {
            reset.0.raise();
            let body = answered.unwrap_or_else(|refusal| refusal.to_json()).to_string();
            (json_type(), Body::new(BrokenBody::of(&Bytes::from(body)))).into_response()
        }
        (Answer::Never, _) => pending().await,
    }
}

fn json_type() -> [(header::HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, "application/json")]
}

fn ok(body: Bytes) -> Response {
    (json_type(), body).into_response()
}

fn error(error: &MatrixError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, json_type(), error.to_json().to_string()).into_response()
}
