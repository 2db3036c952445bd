//! Closing the window, in a process of its own: the program `src/bin/window.rs`, and the next start
//! after it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use leak_strategy::{
    app::{CLIENT, REQUEST_SENDER, RUNTIME, SYNC_SERVICE},
    ledger::{Ledger, Outcome, Reason},
};
use mock_sdk::app::{App, exit::SESSION_RUNTIME};

use crate::setting::{ROOM, Setting, runtime, soon};

const CODE: i32 = 7;
const MESSAGES: usize = 20;

/// The limit of the plan if everything hangs, and what a busy machine may add to it.
const LIMIT: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_secs(10);

/// A window that has been closed.
struct Closed {
    setting: Setting,
    ledger: Option<Ledger>,
    /// From closing the window to the end of the process.
    took: Duration,
}

impl Closed {
    fn run(scenario: &str) -> Self {
        let setting = Setting::new();
        let mut program = Command::new(env!("CARGO_BIN_EXE_window"));
        program.arg(scenario).arg(setting.directory()).arg(setting.server.url());
        let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let accepted = lines.take_while(|line| line != "closing").count();
        let closing = Instant::now();
        let code = child.wait().unwrap().code();
        assert_eq!((code, accepted), (Some(CODE), MESSAGES));
        let ledger = fs::read(setting.directory().join("exit.json")).ok();
        let ledger = ledger.map(|json| serde_json::from_slice(&json).unwrap());
        Self { setting, ledger, took: closing.elapsed() }
    }

    /// The outcome of each resource, in the order in which they were torn down.
    fn outcomes(&self) -> [Outcome; 5] {
        let entries = &self.ledger.as_ref().unwrap().entries;
        let (names, outcomes): (Vec<_>, Vec<_>) =
            entries.iter().map(|entry| (&*entry.name, entry.outcome)).unzip();
        assert_eq!(names, [REQUEST_SENDER, SYNC_SERVICE, CLIENT, SESSION_RUNTIME, RUNTIME]);
        outcomes.try_into().unwrap()
    }

    /// How many messages have come to the server when the next start has sent what was waiting.
    fn arrived_after_the_next_start(&self) -> usize {
        let (app, _event_loop) = App::new(self.setting.config());
        runtime().block_on(async {
            app.log_in_latest().await.unwrap().unwrap();
            let client = app.globals().client.take().unwrap();
            soon("what is queued", client.send_queued()).await.unwrap();
            soon("the end of the client", client.close()).await.unwrap();
        });
        let mut messages = self.setting.server.messages(ROOM);
        messages.retain(|message| message.starts_with("message "));
        let arrived = messages.len();
        messages.sort_unstable();
        messages.dedup();
        assert_eq!(messages.len(), arrived, "none comes twice");
        arrived
    }
}

#[test]
fn closing_the_window_carries_out_what_was_accepted_and_tears_everything_down_in_order() {
    let closed = Closed::run("closed");
    assert_eq!(closed.outcomes(), [Outcome::TornDown; 5]);
    closed.setting.nothing_is_left();
    assert_eq!(closed.arrived_after_the_next_start(), MESSAGES);
}

/// What the test above would see if the window were closed without a plan.
#[test]
fn without_a_plan_what_was_accepted_is_lost() {
    let closed = Closed::run("without-plan");
    assert!(closed.ledger.is_none());
    assert_eq!(closed.setting.logs_left(), 3, "one of each of the client's stores");
    assert_eq!(closed.arrived_after_the_next_start(), 0);
}

#[test]
fn a_plan_ends_the_session_that_is_there_when_the_window_is_closed() {
    let closed = Closed::run("second-login");
    assert_eq!(closed.outcomes(), [Outcome::TornDown; 5]);
    assert_eq!(closed.setting.server.logins(), 1, "the second login is still logged in");
    assert_eq!(closed.arrived_after_the_next_start(), MESSAGES);
}

#[test]
fn a_window_closes_within_its_limit_and_loses_nothing_that_was_saved_when_everything_hangs() {
    let closed = Closed::run("hangs");
    assert!(closed.took < LIMIT + SLACK, "{:?}", closed.took);
    let outcomes = closed.outcomes();
    // The worker has nothing left to do, but cannot say so.
    assert_eq!(outcomes[0], Outcome::Failed);
    assert_eq!(outcomes[1..4], [Outcome::Leaked; 3]);
    let entries = &closed.ledger.as_ref().unwrap().entries;
    assert!(matches!(entries[2].reason, Some(Reason::StillNeeded { .. })), "{entries:?}");
    assert_eq!(closed.arrived_after_the_next_start(), MESSAGES);
}
