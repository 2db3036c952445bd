//! Sessions: wherever the last handle is dropped, and whatever the destructor does then.

mod closing;
mod destructors;
mod evidence;
mod handles;
mod hooks;
mod properties;
mod runtime;
mod shared;

use std::time::{Duration, Instant};

use sundown::session::{CloseError, CloseErrorKind, Inside, Session};

use crate::fixtures::{PLENTY, SHORT};

fn session() -> Session {
    Session::new("test").unwrap()
}

/// Closes a session that cannot close, until this is in its way. On a busy machine it takes longer to
/// come there.
fn in_the_way(session: &Session, kind: impl Fn(&CloseErrorKind) -> bool) -> CloseError {
    in_the_way_within(session, SHORT, kind)
}

fn in_the_way_within(
    session: &Session,
    limit: Duration,
    kind: impl Fn(&CloseErrorKind) -> bool,
) -> CloseError {
    let began = Instant::now();
    loop {
        let error = session.close_blocking(limit).unwrap_err();
        if kind(&error.kind) {
            return error;
        }
        assert!(began.elapsed() < PLENTY, "{error}");
    }
}

#[track_caller]
fn still_held<T: std::fmt::Debug>(result: Result<T, CloseError>) -> CloseError {
    let error = result.unwrap_err();
    assert!(matches!(error.kind, CloseErrorKind::StillHeld), "{error}");
    error
}

#[track_caller]
fn from_inside<T: std::fmt::Debug>(what: Inside, result: Result<T, CloseError>) {
    let error = result.unwrap_err();
    assert!(matches!(error.kind, CloseErrorKind::FromInside), "{error}");
    assert_eq!(error.seen.inside, Some(what), "{error}");
    assert!(error.to_string().contains(&what.to_string()), "{error}");
}
