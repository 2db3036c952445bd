//! Logout as a state machine.
//!
//! A logout is a sequence of steps through parties that fail, hang and answer late: a sync service,
//! a server, a user interface, a session with its connections, a runtime. From some point on it cannot
//! be undone, and the client does not decide where that point is. This crate provides the sequence and
//! handles every failure in it. The application provides the parties.
//!
//! ```text
//! Idle 0 → PreChecking 10 → StoppingSyncService 20 → RecordingIntent 25 → LoggingOutFromServer 30
//!        [→ AskingServer 40, if the answer was lost]
//!   ━━ PointOfNoReturn 50 ━━
//!   → ClosingTabs 60, on a desktop → CleaningAppState 70 → ClosingSession 75
//!   → ShuttingDownTasks 80 → RestartingRuntime 90, if it is restarted → Completed 100
//! any → Failed: Recoverable before the point of no return, Unrecoverable after it
//! ```
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`transition`] | the pure layer: which state follows which, and what to do on the way |
//! | [`application`] | the traits that an application implements, one for each party |
//! | [`driver`] | performs the effects of the transitions through those traits |
//! | [`config`] | the settings: desktop or mobile, the runtime's policy, and every limit |
//! | [`progress`] | what the user is shown, and what a completed logout returns |
//! | [`cancel`] | cancels a logout, before and after the request leaves |
//! | [`error`] | why a logout failed, and what failed without failing the logout |
//! | [`intent`] | the durable record that a logout is about to be requested |
//! | [`recovery`] | what the next start does about an interrupted logout |
//!
//! # The point of no return
//!
//! A logout passes it when *the server* forgets the access token, and no client can know that moment. So
//! the driver records the intent to log out, durably, before the request leaves. If the request then
//! ends without a clear answer (a timeout, a reset, an error, a cancel while it is on its way), the
//! driver asks the server whom the token belongs to. If the server does not know the token, the session
//! is logged out. If it knows the token, the session is alive. If the server does not answer, the driver
//! is dropped, or the process is killed, the intent stays recorded, and another run or the next start
//! asks again.
//!
//! When the server says that the token is valid, an abandoned request may still be on its way. So a run
//! clears the intent only after the point of no return, once the latest user id is deleted. Otherwise
//! the next start asks, and only it may clear the intent.
//!
//! # What holds for every logout
//!
//! - It has exactly one end, whatever fails, hangs or panics, as long as its limits are finite.
//! - Before the point of no return, every end restarts the sync service, even if the driver is dropped.
//!   After it, none does.
//! - It tries to delete the latest user id if and only if the server has forgotten the token. It never
//!   deletes what the session has stored.
//! - If a cancel is accepted, no request leaves.
//! - When a run ends, `Driver::is_running` becomes `false`.
//!
//! The first three are properties of a pure function, tested over random events. The driver is tested
//! by dropping it at every await, by cancelling it in every state, and with every fault in every
//! state.
//!
//! With the features `tracing` and `metrics`, each run ends with an event and a count, in the same form
//! as every shutdown of the kit, for the component `logout`.

#[cfg(not(loom))]
pub mod application;
#[cfg(not(loom))]
mod attempt;
pub mod cancel;
#[cfg(not(loom))]
pub mod config;
#[cfg(not(loom))]
pub mod driver;
#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
pub mod intent;
#[cfg(not(loom))]
mod observe;
#[cfg(not(loom))]
pub mod progress;
#[cfg(not(loom))]
pub mod recovery;
pub mod transition;
