//! Logout as a state machine.
//!
//! A logout is a sequence of steps through parties that fail, hang and answer late: a sync service,
//! a server, a user interface, a session with its connections, a runtime. What makes it hard is that
//! it cannot be undone from somewhere on, and that the client is not the one who decides where. This
//! crate is the sequence, once, with every failure in it; the parties are the application's.
//!
//! ```text
//! Idle 0 → PreChecking 10 → StoppingSyncService 20 → RecordingIntent 25 → LoggingOutFromServer 30
//!        [→ AskingServer 40, where the answer was lost]
//!   ━━ PointOfNoReturn 50 ━━
//!   → ClosingTabs 60, on a desktop → CleaningAppState 70 → ClosingSession 75
//!   → ShuttingDownTasks 80 → RestartingRuntime 90, where it is restarted → Completed 100
//! any → Failed: Recoverable before the point of no return, Unrecoverable after it
//! ```
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`transition`] | the pure layer: which state follows which, and what is to be done |
//! | [`application`] | the traits that an application implements, one for each party |
//! | [`driver`] | does what the transitions say, through those traits |
//! | [`config`] | desktop or mobile, what becomes of the runtime, and every limit |
//! | [`progress`] | what the user is shown, and what a completed logout returns |
//! | [`passage`] | cancelling, on either side of the moment at which the request leaves |
//! | [`error`] | how a logout can fail, and what of it can fail without failing it |
//! | [`intent`] | the durable record that a logout is about to be requested |
//! | [`start`] | what the next start does about a logout whose end nobody saw |
//!
//! # The point of no return
//!
//! It is passed when *the server* forgets the token, and no client can know that moment. So the
//! intent to log out is written down, durably, before the request leaves; and whenever the request
//! does not come to an answer that settles it (a timeout, a reset, an error, a cancel while it is on
//! its way), the server is asked whom the token belongs to. A token that it does not know has been
//! logged out, by whomever. A valid one has not. Where it does not answer either, the intent stays
//! recorded, and so it does where the driver is dropped or the process killed: another run, or the
//! next start, asks again.
//!
//! A request that was given up may still be on its way when the server says that the token is valid.
//! So a run clears the intent only after the point of no return, once the latest user id is deleted.
//! Otherwise the next start asks, and it alone may forget.
//!
//! # What holds of every logout
//!
//! - It has exactly one end, whatever fails, hangs or panics, as long as its limits are finite.
//! - Before the point of no return every way out restarts the sync service, dropping the driver
//!   included. After it none does.
//! - The deletion of the latest user id is attempted if and only if the server has forgotten the
//!   token. What the session has stored stays.
//! - A cancel that is accepted is honoured: no request leaves. After that, it is told the truth.
//! - The in-progress mark goes with the run.
//!
//! The end of each run is an event and a count, behind the features `tracing` and `metrics`: as of every
//! shutdown of the kit, with `logout` for the component.
//!
//! The first three are properties of a pure function, over random events; the driver is tested by
//! dropping it at every await, by cancelling it in every state from another thread, and by every
//! fault in every state.

#[cfg(not(loom))]
pub mod application;
#[cfg(not(loom))]
mod attempt;
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
pub mod passage;
#[cfg(not(loom))]
pub mod progress;
#[cfg(not(loom))]
pub mod start;
pub mod transition;
