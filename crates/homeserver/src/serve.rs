//! Connections, and how a request on one is answered.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    HeaderMap, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use sundown_core::flag::Flag;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    body::AnswerBody,
    endpoint::{Position, Question},
    fault::{Answer, Effect, Fault},
    matrix_error::{ErrorCode, MatrixError},
    world::{Asked, Outcome, World},
};

type State = Arc<watch::Sender<World>>;

/// The longest body that is read.
const LONGEST_BODY: usize = 1 << 20;

/// How long to wait before accepting again after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Accepts connections, and serves each in a task of its own.
pub(crate) async fn accept(listener: TcpListener, state: State) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, Arc::clone(&state)))),
            // Usually there are no descriptors left. Later there may be one.
            Err(error) => {
                tracing::warn!(%error, "the homeserver could not accept a connection");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, state: State) {
    let reset = Arc::new(Flag::new());
    let service = service_fn(|request| {
        let (state, reset) = (Arc::clone(&state), Arc::clone(&reset));
        Box::pin(async move { Ok::<_, Infallible>(answer(request, state, &reset).await) })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Without a shutdown of the socket, which would be a proper end. If the client goes first, that is
    // not the server's trouble.
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let stream = connection.into_parts().io.into_inner();
    if reset.is_raised() {
        // Closing a socket that lingers for no time resets its connection. If this fails, the
        // connection is closed properly, and the answer is cut off all the same.
        let _ = stream.set_zero_linger();
    }
}

/// Answers a request, with the fault that is due.
async fn answer(request: Request<Incoming>, state: State, reset: &Flag) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let Some(question) = Question::parse(&head.method, head.uri.path(), query) else {
        return error(ErrorCode::Unrecognized.into());
    };
    // A request has arrived now, whatever becomes of it.
    let mut fault = Fault::NONE;
    state.send_modify(|world| fault = world.arrive(question.endpoint()));
    let Ok(body) = Limited::new(body, LONGEST_BODY).collect().await.map(|body| body.to_bytes())
    else {
        return error(ErrorCode::BadJson.into());
    };
    let asked = Asked { question, token: token(&head.headers), body };
    let Fault { delay, effect, answer } = fault;
    let outcome = if let Question::Sync(position) | Question::SlidingSync(position) = asked.question
    {
        let Position { since, wait } = position;
        // A sync does nothing, and so nothing goes on when the client has given up.
        sleep(delay).await;
        if let (Answer::Ordinary, Some(token)) = (answer, &asked.token) {
            let mut changes = state.subscribe();
            let news = changes.wait_for(|world| world.has_news(token, since));
            // Without news the answer is empty.
            let _ = timeout(wait, news).await;
        }
        carry_out(&state, &asked)
    } else {
        // In a task of its own, which goes on when the client has given up, as in a real server.
        let carried_out = tokio::spawn(async move {
            let at_once = (effect == Effect::AtOnce).then(|| carry_out(&state, &asked));
            sleep(delay).await;
            match (at_once, effect) {
                (Some(outcome), _) => outcome,
                (None, Effect::AfterDelay) => carry_out(&state, &asked),
                (None, _) => Err(ErrorCode::Unknown),
            }
        });
        carried_out.await.unwrap_or(Err(ErrorCode::Unknown))
    };
    match (answer, outcome) {
        (Answer::Ordinary, Ok(value)) => json(StatusCode::OK, AnswerBody::whole(value.to_string())),
        (Answer::Ordinary, Err(code)) | (Answer::Error(code), _) => error(code.into()),
        (Answer::Status(status), _) => {
            let proxy = "<html>This is a proxy. The server behind it went away.</html>";
            json(status_code(status), AnswerBody::whole(proxy.to_owned()))
        }
        (Answer::Malformed, _) => {
            json(StatusCode::OK, AnswerBody::whole("{\"next_batch\": ".to_owned()))
        }
        (Answer::ResetMidBody, outcome) => {
            reset.raise();
            let body = outcome.unwrap_or_else(|code| MatrixError::from(code).to_json());
            json(StatusCode::OK, AnswerBody::half(body.to_string()))
        }
        (Answer::Never, _) => pending().await,
    }
}

fn carry_out(state: &State, asked: &Asked) -> Outcome {
    let mut outcome = Err(ErrorCode::Unknown);
    state.send_modify(|world| outcome = world.carry_out(asked));
    outcome
}

fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn error(error: MatrixError) -> Response<AnswerBody> {
    json(status_code(error.status), AnswerBody::whole(error.to_json().to_string()))
}

fn json(status: StatusCode, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
