//! The pure layer: which state follows which, and what to do on the way.
//!
//! [`next`] is total and pure: it returns a transition for every event in every state. Properties of
//! every logout are tested over random sequences of events (`tests/transition.rs`). The
//! [`driver`](crate::driver) performs the effects.
//!
//! An event that means nothing in a state changes nothing: the state stays, without effects.

use std::fmt;

use Effect::{
    AskServer, CheckPrerequisites, CleanAppState, ClearIntent, CloseSession, CloseTabs,
    DeleteLatestUserId, RecordIntent, RequestLogout, RestartRuntime, RestartSync, ShutDownTasks,
    StopSync,
};
use Severity::{Recoverable, Unrecoverable};
use State::{
    AskingServer, CleaningAppState, ClosingSession, ClosingTabs, Completed, Failed, Idle,
    LoggingOutFromServer, PointOfNoReturn, PreChecking, RecordingIntent, RestartingRuntime,
    ShuttingDownTasks, StoppingSyncService,
};

/// How far a logout is. Each state between [`Idle`] and an end performs one effect, and ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing has begun.
    Idle,
    /// Checking that there is a session to log out.
    PreChecking,
    /// Stopping the sync service.
    StoppingSyncService,
    /// Recording durably that a logout is about to be requested.
    RecordingIntent,
    /// The request is on its way. Only the server knows how it ends.
    LoggingOutFromServer,
    /// The request had no clear result. Asking the server whom the token belongs to.
    AskingServer,
    /// The server has forgotten the token, and there is no way back. Deleting the latest user id, so
    /// that the next start does not restore the session.
    PointOfNoReturn,
    /// Closing the tabs of the user interface. On a desktop only.
    ClosingTabs,
    /// Making the user interface and the caches drop everything of the session.
    CleaningAppState,
    /// Tearing down the session: client, stores, connections.
    ClosingSession,
    /// Shutting down the session's tasks, and with them the runtime if it is to be restarted.
    ShuttingDownTasks,
    /// Starting a runtime for the next login. Only if the runtime is to be restarted.
    RestartingRuntime,
    /// Logged out.
    Completed,
    /// The logout did not complete.
    Failed(Severity),
}

/// On which side of the point of no return a logout failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Before it: the session and its sync service go on.
    Recoverable,
    /// After it: logged out, but the cleanup is not complete. Another run finishes it.
    Unrecoverable,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A run begins.
    Started,
    /// A run begins after an earlier run passed the point of no return and did not complete.
    Resumed,
    /// The state's effect is done.
    Done,
    /// The state's effect failed or took too long. For the request: it was certainly not sent.
    Failed,
    /// A cancel was accepted, and no request has been sent.
    Cancelled,
    /// The server does not know the token: this request invalidated it, or something did before.
    TokenUnknown,
    /// The server knows the token.
    TokenValid,
    /// The request may or may not have reached the server.
    InDoubt,
    /// The driver's future was dropped.
    Dropped,
}

/// Something to do. The next event says how it went, except for [`RestartSync`] and [`ClearIntent`],
/// which have no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Check that there is a session to log out.
    CheckPrerequisites,
    /// Stop the sync service.
    StopSync,
    /// Record durably that a logout is about to be requested.
    RecordIntent,
    /// Send the request, unless a cancel was accepted. This is the last moment for a cancel.
    RequestLogout,
    /// Ask the server whom the token belongs to.
    AskServer,
    /// Delete the latest user id, so that the next start does not restore the session.
    DeleteLatestUserId,
    /// Make the user interface close its tabs.
    CloseTabs,
    /// Make the user interface and the caches drop everything of the session.
    CleanAppState,
    /// Tear the session down.
    CloseSession,
    /// Shut the session's tasks down.
    ShutDownTasks,
    /// Start a runtime for the next login.
    RestartRuntime,
    /// Start the sync service again. This does not wait, because dropping the driver does it too.
    RestartSync,
    /// Clear the intent, because the server has answered and the user id is deleted.
    ClearIntent,
}

/// What the transitions need to know about the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Whether there are tabs to close.
    pub tabs: bool,
    /// Whether the runtime is restarted.
    pub restart: bool,
}

/// The result of [`next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The next state.
    pub state: State,
    /// What to do when entering it, in this order. Unless the state is an end, the result of the last
    /// effect is the next event.
    pub effects: &'static [Effect],
}

impl State {
    /// All states, in order.
    pub const ALL: [Self; 15] = [
        Idle,
        PreChecking,
        StoppingSyncService,
        RecordingIntent,
        LoggingOutFromServer,
        AskingServer,
        PointOfNoReturn,
        ClosingTabs,
        CleaningAppState,
        ClosingSession,
        ShuttingDownTasks,
        RestartingRuntime,
        Completed,
        Failed(Recoverable),
        Failed(Unrecoverable),
    ];

    /// Whether no other state follows.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Completed | Failed(_))
    }

    /// Whether the point of no return is reached: the server has forgotten the token.
    #[must_use]
    pub const fn is_committed(self) -> bool {
        matches!(self, Failed(Unrecoverable)) || progress(self) >= progress(PointOfNoReturn)
    }

    /// The progress in percent, and the words for a person.
    const fn describe(self) -> (u8, &'static str) {
        match self {
            Idle => (0, "nothing has begun"),
            PreChecking => (10, "checking prerequisites"),
            StoppingSyncService => (20, "stopping the sync service"),
            RecordingIntent => (25, "recording the intent to log out"),
            LoggingOutFromServer => (30, "logging out from the server"),
            AskingServer => (40, "asking the server whether the logout took place"),
            PointOfNoReturn => (50, "point of no return reached"),
            ClosingTabs => (60, "closing all tabs"),
            CleaningAppState => (70, "cleaning up the application's state"),
            ClosingSession => (75, "closing the session"),
            ShuttingDownTasks => (80, "shutting down background tasks"),
            RestartingRuntime => (90, "restarting the runtime"),
            Completed => (100, "logged out"),
            Failed(Recoverable) => (0, "not logged out, as far as is known; the session goes on"),
            Failed(Unrecoverable) => (0, "logged out, but the cleanup is not complete"),
        }
    }
}

impl Event {
    /// All events.
    pub const ALL: [Self; 9] = [
        Self::Started,
        Self::Resumed,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
        Self::TokenUnknown,
        Self::TokenValid,
        Self::InDoubt,
        Self::Dropped,
    ];
}

/// For a person: `stopping the sync service`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe().1)
    }
}

/// For an error: `closing the tabs`.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CheckPrerequisites => "checking the prerequisites",
            StopSync => "stopping the sync service",
            RecordIntent => "recording the intent to log out",
            RequestLogout => "the logout request",
            AskServer => "asking the server whom the token belongs to",
            DeleteLatestUserId => "deleting the latest user id",
            CloseTabs => "closing the tabs",
            CleanAppState => "cleaning up the application's state",
            CloseSession => "closing the session",
            ShutDownTasks => "shutting down the tasks",
            RestartRuntime => "restarting the runtime",
            RestartSync => "restarting the sync service",
            ClearIntent => "clearing the recorded intent",
        })
    }
}

/// The progress of a logout, in percent. A failure is at 0.
///
/// ```
/// use sundown::logout::transition::{State, progress};
///
/// assert_eq!(progress(State::PointOfNoReturn), 50);
/// ```
#[must_use]
pub const fn progress(state: State) -> u8 {
    state.describe().0
}

/// The state and the effects that follow when an event happens in a state.
///
/// ```
/// use sundown::logout::transition::{Effect, Event, Plan, Severity, State, next};
///
/// let plan = Plan { tabs: true, restart: true };
/// let failed = next(plan, State::StoppingSyncService, Event::Failed);
/// assert_eq!(failed.state, State::Failed(Severity::Recoverable));
/// assert_eq!(failed.effects, [Effect::RestartSync]);
/// ```
#[must_use]
pub const fn next(plan: Plan, state: State, event: Event) -> Transition {
    use Event::{
        Cancelled, Done, Dropped, Failed as NotDone, InDoubt, Resumed, Started, TokenUnknown,
        TokenValid,
    };

    match (state, event) {
        (Idle, Started) => to(PreChecking, &[CheckPrerequisites]),
        (Idle, Resumed) => to(PointOfNoReturn, &[DeleteLatestUserId]),

        (PreChecking, Done) => to(StoppingSyncService, &[StopSync]),
        (StoppingSyncService, Done) => to(RecordingIntent, &[RecordIntent]),
        (RecordingIntent, Done) => to(LoggingOutFromServer, &[RequestLogout]),

        // An end without a logout restarts the sync service. It keeps the intent even if the server knows
        // the token, because an abandoned request may still be on its way. The next start asks again.
        (PreChecking | StoppingSyncService | RecordingIntent, NotDone | Cancelled | Dropped)
        | (LoggingOutFromServer, NotDone | Cancelled | Dropped)
        | (AskingServer, TokenValid | NotDone | Dropped) => to(Failed(Recoverable), &[RestartSync]),

        (LoggingOutFromServer, InDoubt) => to(AskingServer, &[AskServer]),
        (LoggingOutFromServer, Done | TokenUnknown) | (AskingServer, TokenUnknown) => {
            to(PointOfNoReturn, &[DeleteLatestUserId])
        }

        // From here on, a failure is a warning. If the latest user id could not be deleted, the intent
        // stays, and the next start tries again.
        (PointOfNoReturn, Done) if plan.tabs => to(ClosingTabs, &[ClearIntent, CloseTabs]),
        (PointOfNoReturn, Done) => to(CleaningAppState, &[ClearIntent, CleanAppState]),
        (PointOfNoReturn, NotDone) if plan.tabs => to(ClosingTabs, &[CloseTabs]),
        (PointOfNoReturn, NotDone) | (ClosingTabs, Done | NotDone) => {
            to(CleaningAppState, &[CleanAppState])
        }
        (CleaningAppState, Done | NotDone) => to(ClosingSession, &[CloseSession]),
        (ClosingSession, Done | NotDone) => to(ShuttingDownTasks, &[ShutDownTasks]),
        (ShuttingDownTasks, Done | NotDone) if plan.restart => {
            to(RestartingRuntime, &[RestartRuntime])
        }
        (ShuttingDownTasks, Done | NotDone) | (RestartingRuntime, Done) => to(Completed, &[]),
        (RestartingRuntime, NotDone)
        | (
            PointOfNoReturn | ClosingTabs | CleaningAppState | ClosingSession | ShuttingDownTasks
            | RestartingRuntime,
            Dropped,
        ) => to(Failed(Unrecoverable), &[]),

        // `tests/transition.rs` has a snapshot of these pairs.
        _ => to(state, &[]),
    }
}

const fn to(state: State, effects: &'static [Effect]) -> Transition {
    Transition { state, effects }
}
