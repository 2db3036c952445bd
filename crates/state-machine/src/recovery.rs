//! Resolves a logout that was interrupted, at the next start of the application.

use thiserror::Error;

use crate::{
    application::{AccessToken, Server, Storage},
    attempt::attempt,
    config::LogoutConfig,
    error::StepError,
};

/// What became of the logout.
#[derive(Debug)]
#[must_use = "it decides whether the session may be restored"]
pub enum Resolution {
    /// No logout was requested. Restore the session.
    NothingRecorded,
    /// The logout did not take place. Restore the session.
    StillLoggedIn,
    /// The server does not know the token, the latest user id is deleted, and the intent is cleared. Let
    /// the user log in. Nothing else was cleaned up: after a dropped run in *this* process, run the
    /// driver instead, which closes the tabs and the session and shuts the tasks down.
    LoggedOut,
    /// The server does not answer. The intent stays, and the next start asks again. Restore the session
    /// or wait. If the server later rejects the token, run a logout to finish this one.
    InDoubt(StepError),
}

/// Why an interrupted logout could not be resolved. Nothing is lost; try again.
#[derive(Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The intent could not be read.
    #[error("cannot tell whether a logout was requested before: {0}")]
    IntentNotRead(StepError),
    /// The server has logged the session out, but the latest user id is still there.
    #[error("logged out, but the latest user id could not be deleted: {0}; do not restore it")]
    UserIdNotDeleted(StepError),
    /// The server has answered, but the intent could not be cleared. The next start asks again.
    #[error("{} intent to log out could not be cleared: {error}", match .settled {
        AccessToken::Valid => "the session is alive, but the",
        AccessToken::Unknown => "logged out, but the",
    })]
    IntentNotCleared {
        /// What the server said about the token.
        settled: AccessToken,
        /// Why the intent could not be cleared.
        error: StepError,
    },
}

sundown_core::debug_as_text!(RecoveryError);

/// Resolves a logout that an earlier process, or a dropped run of the driver, may have requested: if an
/// intent is recorded, asks the server.
///
/// Call this at each start, before restoring a session. [`Server`] must use the access token that is
/// stored in the session. The limits are `storage` and `question` of the settings. You may drop the
/// future at any point and call again, because the intent is cleared last.
///
/// ```
/// use sundown::logout::{config::LogoutConfig, recovery::{Resolution, resolve_at_start}};
/// # mod by_effect { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/by_effect/mod.rs")); }
/// # use {by_effect::{ByEffect, Perform}, std::time::Duration};
/// # use sundown::logout::{application::Failure, transition::Effect};
/// # struct Recorded;
/// # impl Perform for Recorded {
/// #     async fn perform(&self, _: Effect, _: Option<Duration>) -> Result<(), Failure> { Ok(()) }
/// #     fn has_intent(&self) -> bool { true }
/// # }
///
/// # futures::executor::block_on(async {
/// # let app = ByEffect(Recorded);
/// match resolve_at_start(&app, &LogoutConfig::default()).await? {
///     Resolution::NothingRecorded | Resolution::StillLoggedIn => { /* restore the session */ }
///     Resolution::LoggedOut => { /* show the login screen */ }
///     Resolution::InDoubt(error) => { /* restore it: the next start asks again */ }
/// }
/// # Ok::<(), sundown::logout::recovery::RecoveryError>(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// [`RecoveryError`] if the storage fails.
pub async fn resolve_at_start<A: Server + Storage>(
    app: &A,
    config: &LogoutConfig,
) -> Result<Resolution, RecoveryError> {
    let recorded = attempt(config.storage, || app.has_intent()).await;
    if !recorded.map_err(RecoveryError::IntentNotRead)? {
        return Ok(Resolution::NothingRecorded);
    }
    let settled = match attempt(config.question, || app.who_am_i()).await {
        Ok(token) => token,
        Err(error) => return Ok(Resolution::InDoubt(error)),
    };
    if settled == AccessToken::Unknown {
        let deleted = attempt(config.storage, || app.delete_latest_user_id()).await;
        deleted.map_err(RecoveryError::UserIdNotDeleted)?;
    }
    let cleared = attempt(config.storage, || app.clear_intent()).await;
    cleared.map_err(|error| RecoveryError::IntentNotCleared { settled, error })?;
    Ok(match settled {
        AccessToken::Valid => Resolution::StillLoggedIn,
        AccessToken::Unknown => Resolution::LoggedOut,
    })
}
