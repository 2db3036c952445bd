//! What the next start does about a logout whose end nobody saw.

use thiserror::Error;

use crate::{
    application::{Server, Storage, Token},
    attempt::attempt,
    config::LogoutConfig,
    error::Trouble,
};

/// What the next start found.
#[derive(Debug)]
#[must_use = "it decides whether the session may be restored"]
pub enum Resolution {
    /// No logout was requested. Restore the session.
    NothingRecorded,
    /// The logout did not take place. Restore the session.
    StillLoggedIn,
    /// The logout took place, and its end is now complete. Have the user log in.
    LoggedOut,
    /// The server does not say. The intent stays, and the next start asks again. Restore the
    /// session, or wait: should its token turn out to be unknown, a logout finishes it.
    InDoubt(Trouble),
}

/// Why the next start could not settle it. Everything is as it was found; try again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot be told whether a logout was requested.
    #[error("cannot tell whether a logout was requested before: {0}")]
    IntentNotRead(Trouble),
    /// The server has logged the session out, and what would log in again is still there.
    #[error("logged out, but the latest user id could not be deleted: {0}; do not restore it")]
    UserIdNotDeleted(Trouble),
    /// It is settled, but the intent could not be cleared: the next start will ask again.
    #[error("{} intent to log out could not be cleared: {trouble}", match .settled {
        Token::Valid => "the session is alive, but the",
        Token::Unknown => "logged out, but the",
    })]
    IntentNotCleared {
        /// What the server said of the token.
        settled: Token,
        /// Why it could not be cleared.
        trouble: Trouble,
    },
}

/// Settles a logout that was requested in an earlier run of the process, or in a run of the driver
/// that was dropped: where an intent is recorded, the server is asked.
///
/// To be called at each start, before a session is restored, with a server that is asked with the
/// token that the session has stored; of the settings, the limits `storage` and `question` are used.
/// It can be dropped anywhere and called again: the intent goes last.
///
/// ```
/// use state_machine::{
///     application::{Failure, RequestError, Server, Storage, Token},
///     config::LogoutConfig,
///     start::{Resolution, resolve_at_start},
/// };
/// # use std::sync::atomic::{AtomicBool, Ordering};
/// # struct Start { intent: AtomicBool, user_id: AtomicBool }
/// # impl Server for Start {
/// #     async fn log_out(&self) -> Result<(), RequestError> { Ok(()) }
/// #     async fn who_am_i(&self) -> Result<Token, Failure> { Ok(Token::Unknown) }
/// # }
/// # impl Storage for Start {
/// #     async fn record_intent(&self) -> Result<(), Failure> { Ok(()) }
/// #     async fn has_intent(&self) -> Result<bool, Failure> { Ok(self.intent.load(Ordering::SeqCst)) }
/// #     async fn clear_intent(&self) -> Result<(), Failure> { Ok(self.intent.store(false, Ordering::SeqCst)) }
/// #     async fn delete_latest_user_id(&self) -> Result<(), Failure> { Ok(self.user_id.store(false, Ordering::SeqCst)) }
/// # }
///
/// # futures::executor::block_on(async {
/// # let start = Start { intent: true.into(), user_id: true.into() };
/// match resolve_at_start(&start, &LogoutConfig::default()).await? {
///     Resolution::NothingRecorded | Resolution::StillLoggedIn => { /* restore the session */ }
///     Resolution::LoggedOut => { /* show the login screen */ }
///     Resolution::InDoubt(trouble) => { /* restore it: the next start asks again */ }
/// }
/// # assert!(!start.intent.load(Ordering::SeqCst) && !start.user_id.load(Ordering::SeqCst));
/// # Ok::<(), state_machine::start::StartError>(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// [`StartError`], where the storage does not do what it should.
pub async fn resolve_at_start<A: Server + Storage>(
    app: &A,
    config: &LogoutConfig,
) -> Result<Resolution, StartError> {
    // In blocks of their own, so that a panic on the way to a future is caught as well.
    let recorded = attempt(config.storage, async { app.has_intent().await }).await;
    if !recorded.map_err(StartError::IntentNotRead)? {
        return Ok(Resolution::NothingRecorded);
    }
    let settled = match attempt(config.question, async { app.who_am_i().await }).await {
        Ok(token) => token,
        Err(trouble) => return Ok(Resolution::InDoubt(trouble)),
    };
    if settled == Token::Unknown {
        let deleted = attempt(config.storage, async { app.delete_latest_user_id().await }).await;
        deleted.map_err(StartError::UserIdNotDeleted)?;
    }
    let cleared = attempt(config.storage, async { app.clear_intent().await }).await;
    cleared.map_err(|trouble| StartError::IntentNotCleared { settled, trouble })?;
    Ok(match settled {
        Token::Valid => Resolution::StillLoggedIn,
        Token::Unknown => Resolution::LoggedOut,
    })
}
