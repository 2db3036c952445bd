//! The pure layer: which state follows which, and what is to be done on the way.
//!
//! [`next`] is total: it has an answer for every state and every event, and does nothing itself.
//! Whatever must hold of every logout is a property of this function, and is tested as one, over
//! random sequences of events (`tests/transition.rs`); the [`driver`](crate::driver) only does what it
//! says.
//!
//! An event that means nothing in a state changes nothing there: it is answered by the same state,
//! without effects.

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

/// Where a logout is. Each state between [`Idle`] and an end has one thing to do, and leaves when it
/// is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing has begun.
    Idle,
    /// Is there somebody to log out?
    PreChecking,
    /// The sync service is being stopped.
    StoppingSyncService,
    /// That a logout is about to be requested is being written down, durably.
    RecordingIntent,
    /// The request is on its way. How it ends is the server's to tell.
    LoggingOutFromServer,
    /// The request came to nothing that is known: the server is asked whom the token belongs to.
    AskingServer,
    /// The server has forgotten the token, and there is no way back. What would log in again at the
    /// next start is being deleted.
    PointOfNoReturn,
    /// The user interface is closing its tabs. On a desktop only.
    ClosingTabs,
    /// The user interface and the caches are letting go of what they hold of the session.
    CleaningAppState,
    /// The session is being torn down: client, stores, connections.
    ClosingSession,
    /// The session's tasks are being shut down, and the runtime with them where it is restarted.
    ShuttingDownTasks,
    /// A runtime is being started for whoever logs in next. Not where runtimes are kept.
    RestartingRuntime,
    /// Logged out.
    Completed,
    /// It did not come to that.
    Failed(Severity),
}

/// On which side of the point of no return a logout failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Before it: the session goes on, and so does its sync service.
    Recoverable,
    /// After it: logged out, with a cleanup that has not come to its end. Another run finishes it.
    Unrecoverable,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A run begins.
    Started,
    /// A run begins, and finds that an earlier one passed the point of no return and did not
    /// complete.
    Resumed,
    /// What the state does is done.
    Done,
    /// What the state does has failed, or took too long. Of the request: it has certainly not been
    /// sent. Of the question: no answer.
    Failed,
    /// A cancel was accepted, and no request has been sent.
    Cancelled,
    /// The server knows no such token: because of this request or since before.
    TokenUnknown,
    /// The server knows the token.
    TokenValid,
    /// The request may have reached the server, or not.
    InDoubt,
    /// Whoever drove the logout has given it up.
    Dropped,
}

/// Something that is to be done.
///
/// Most are what a state does, and the next event says how that went. Two are done in passing, and
/// have no event: [`RestartSync`] and [`ClearIntent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Check that there is a session to log out.
    CheckPrerequisites,
    /// Stop the sync service.
    StopSync,
    /// Write durably that a logout is about to be requested.
    RecordIntent,
    /// Send the request, unless a cancel was accepted: the last moment for one.
    RequestLogout,
    /// Ask the server whom the token belongs to.
    AskServer,
    /// Delete what would log in again at the next start.
    DeleteLatestUserId,
    /// Have the user interface close its tabs.
    CloseTabs,
    /// Have the user interface and the caches let go of the session.
    CleanAppState,
    /// Tear the session down.
    CloseSession,
    /// Shut the session's tasks down.
    ShutDownTasks,
    /// Start a runtime for whoever logs in next.
    RestartRuntime,
    /// Have the sync service run again. In passing, and at once: a dropped driver does it too.
    RestartSync,
    /// Forget the intent: the server has spoken, and what follows from it is done. In passing.
    ClearIntent,
}

/// What the application is like, as far as the transitions depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Whether there are tabs to close.
    pub tabs: bool,
    /// Whether the runtime is restarted.
    pub restart: bool,
}

/// The answer of [`next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state that follows.
    pub state: State,
    /// What is to be done on entering it, in this order. Unless it is an end, the last of them is
    /// what the state is for, and how that goes is the next event.
    pub effects: &'static [Effect],
}

impl State {
    /// All of them, in order.
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

    /// Whether nothing follows it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Completed | Failed(_))
    }

    /// Whether it lies beyond the point of no return: the server has forgotten the token.
    #[must_use]
    pub const fn is_committed(self) -> bool {
        matches!(
            self,
            PointOfNoReturn
                | ClosingTabs
                | CleaningAppState
                | ClosingSession
                | ShuttingDownTasks
                | RestartingRuntime
                | Completed
                | Failed(Unrecoverable)
        )
    }
}

impl Event {
    /// All of them.
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

/// The words for a person: `the sync service is being stopped`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Idle => "nothing has begun",
            PreChecking => "checking prerequisites",
            StoppingSyncService => "stopping the sync service",
            RecordingIntent => "recording the intent to log out",
            LoggingOutFromServer => "logging out from the server",
            AskingServer => "asking the server whether the logout took place",
            PointOfNoReturn => "point of no return reached",
            ClosingTabs => "closing all tabs",
            CleaningAppState => "cleaning up the application's state",
            ClosingSession => "closing the session",
            ShuttingDownTasks => "shutting down background tasks",
            RestartingRuntime => "restarting the runtime",
            Completed => "logged out",
            Failed(Recoverable) => "not logged out, as far as is known; the session goes on",
            Failed(Unrecoverable) => "logged out, but the cleanup has not ended",
        })
    }
}

/// The words for an error: `closing the tabs`.
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

/// How far a logout is, in percent. A failure is at 0: nothing more will come.
///
/// ```
/// use state_machine::transition::{State, progress};
///
/// assert_eq!(progress(State::PointOfNoReturn), 50);
/// ```
#[must_use]
pub const fn progress(state: State) -> u8 {
    match state {
        Idle | Failed(_) => 0,
        PreChecking => 10,
        StoppingSyncService => 20,
        RecordingIntent => 25,
        LoggingOutFromServer => 30,
        AskingServer => 40,
        PointOfNoReturn => 50,
        ClosingTabs => 60,
        CleaningAppState => 70,
        ClosingSession => 75,
        ShuttingDownTasks => 80,
        RestartingRuntime => 90,
        Completed => 100,
    }
}

/// What follows when something happens in a state.
///
/// ```
/// use state_machine::transition::{Effect, Event, Plan, Severity, State, next};
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

        // From the first step on, every way out that is not a logout has the sync service run again.
        // The intent stays: not even the server's word that it knows the token clears it, because a
        // request that was given up may still be on its way. The next start asks once more.
        (PreChecking | StoppingSyncService | RecordingIntent, NotDone | Cancelled | Dropped)
        | (LoggingOutFromServer, NotDone | Cancelled | Dropped)
        | (AskingServer, TokenValid | NotDone | Dropped) => to(Failed(Recoverable), &[RestartSync]),

        (LoggingOutFromServer, InDoubt) => to(AskingServer, &[AskServer]),
        (LoggingOutFromServer, Done | TokenUnknown) | (AskingServer, TokenUnknown) => {
            to(PointOfNoReturn, &[DeleteLatestUserId])
        }

        // From here on it goes one way, and what fails on it is a warning. Where the latest user id
        // could not be deleted, the intent stays, and the next start tries again.
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

        (Idle, Done | NotDone | Cancelled | TokenUnknown | TokenValid | InDoubt | Dropped)
        | (
            PreChecking | StoppingSyncService | RecordingIntent,
            Started | Resumed | TokenUnknown | TokenValid | InDoubt,
        )
        | (LoggingOutFromServer, Started | Resumed | TokenValid)
        | (AskingServer, Started | Resumed | Done | Cancelled | InDoubt)
        | (
            PointOfNoReturn | ClosingTabs | CleaningAppState | ClosingSession | ShuttingDownTasks
            | RestartingRuntime,
            Started | Resumed | Cancelled | TokenUnknown | TokenValid | InDoubt,
        )
        | (Completed | Failed(_), _) => to(state, &[]),
    }
}

const fn to(state: State, effects: &'static [Effect]) -> Transition {
    Transition { state, effects }
}
