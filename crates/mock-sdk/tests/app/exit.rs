//! Closing the window, in a process of its own: the program of `src/bin/window.rs`, run as a user
//! would run it, and started again after that.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use leak_strategy::{
    app::{CLIENT, REQUEST_SENDER, RUNTIME, SYNC_SERVICE},
    ledger::{Ledger, Outcome, Reason},
};

use mock_sdk::{app::exit::SESSION_RUNTIME, store::residue};

use crate::setting::{ROOM, Setting, soon};

/// What the program is asked to leave with, and the limit of its plan if everything hangs.
const CODE: i32 = 7;
const LIMIT: Duration = Duration::from_secs(1);

/// What a busy machine may add to that. A program that is stuck ends after 90 s, with another code.
const SLACK: Duration = Duration::from_secs(10);

const MESSAGES: usize = 20;

/// A window that has been closed.
struct Closed {
    code: Option<i32>,
    said: Vec<String>,
    ledger: Option<Ledger>,
    /// From the user's closing the window to the end of the process.
    took: Duration,
}

impl Closed {
    fn of(scenario: &str, setting: &Setting) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_window"));
        program.arg(scenario).arg(setting.directory.path()).arg(setting.server.url());
        let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said: Vec<_> =
            lines.by_ref().map_while(Result::ok).take_while(|line| line != "closing").collect();
        let closing = Instant::now();
        if scenario == "signal" {
            let kill = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
            assert!(kill.unwrap().success());
        }
        said.extend(lines.map_while(Result::ok));
        let code = child.wait().unwrap().code();
        let took = closing.elapsed();
        let ledger = fs::read(setting.directory.path().join("exit.json")).ok();
        let ledger = ledger.map(|json| serde_json::from_slice(&json).unwrap());
        Self { code, said, ledger, took }
    }

    fn count(&self, what: &str) -> usize {
        self.said.iter().filter(|line| *line == what).count()
    }

    /// What became of the four, in the order in which they were dealt with.
    fn outcomes(&self) -> Vec<(&str, Outcome)> {
        let entries = &self.ledger.as_ref().unwrap().entries;
        entries.iter().map(|entry| (&*entry.name, entry.outcome)).collect()
    }
}

/// How many messages have come to the server when the application has been started once more, and has
/// sent what was waiting.
fn arrived_after_the_next_start(setting: Setting) -> usize {
    let (app, ui) = setting.app();
    setting.runtime.block_on(async {
        app.log_in_latest().await.unwrap().unwrap();
        let client = app.globals().client.get().unwrap();
        soon("what is queued", client.send_queued()).await.unwrap();
    });
    let messages = setting.server.messages(ROOM);
    setting.end(&app, ui);
    let arrived = |number: &usize| {
        messages.iter().filter(|body| **body == format!("message {number}")).count()
    };
    let each: Vec<_> = (0..MESSAGES).map(|number| arrived(&number)).collect();
    assert!(each.iter().all(|&times| times <= 1), "some came twice: {messages:?}");
    each.into_iter().sum()
}

/// How many databases have their log beside them: none, where every connection was closed.
fn logs_left(setting: &Setting) -> usize {
    let entries = |below: PathBuf| fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path());
    let stores = entries(setting.directory.path().join("stores")).flat_map(entries);
    stores.filter(|store| !residue(&store.join("store.sqlite3")).unwrap().is_none()).count()
}

const ALL_TORN_DOWN: [(&str, Outcome); 4] = [
    (REQUEST_SENDER, Outcome::TornDown),
    (SYNC_SERVICE, Outcome::TornDown),
    (CLIENT, Outcome::TornDown),
    (RUNTIME, Outcome::TornDown),
];

const ALL_TORN_DOWN_WITH_A_SESSION: [(&str, Outcome); 5] = [
    (REQUEST_SENDER, Outcome::TornDown),
    (SYNC_SERVICE, Outcome::TornDown),
    (CLIENT, Outcome::TornDown),
    (SESSION_RUNTIME, Outcome::TornDown),
    (RUNTIME, Outcome::TornDown),
];

#[test]
fn closing_the_window_carries_out_what_was_accepted_and_takes_everything_down_in_order() {
    let setting = Setting::new();
    let closed = Closed::of("closed", &setting);
    assert_eq!(closed.code, Some(CODE));
    assert_eq!(closed.count("accepted"), MESSAGES);
    assert_eq!(closed.outcomes(), ALL_TORN_DOWN);
    assert_eq!(logs_left(&setting), 0);
    assert_eq!(arrived_after_the_next_start(setting), MESSAGES);
}

/// What the test above would see, if the window were closed without a plan.
#[test]
fn without_a_plan_what_was_accepted_is_lost() {
    let setting = Setting::new();
    let closed = Closed::of("by-hand", &setting);
    assert_eq!((closed.code, closed.ledger.as_ref()), (Some(CODE), None));
    assert_eq!(closed.count("accepted"), MESSAGES);
    assert_eq!(logs_left(&setting), 3, "one of each of the client's stores");
    assert_eq!(arrived_after_the_next_start(setting), 0);
}

#[test]
fn a_window_closes_within_its_limit_and_loses_nothing_that_was_saved_when_everything_hangs() {
    let setting = Setting::new();
    let closed = Closed::of("everything-hangs", &setting);
    assert_eq!(closed.code, Some(CODE));
    assert!(closed.took < LIMIT + SLACK, "{:?}", closed.took);
    assert_eq!((closed.count("accepted"), closed.count("saved")), (MESSAGES, 1));
    let outcomes = closed.outcomes();
    let names: Vec<_> = outcomes.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [REQUEST_SENDER, SYNC_SERVICE, CLIENT, RUNTIME]);
    // Its worker has nothing left to do, but cannot say so.
    assert_eq!(outcomes[0].1, Outcome::Failed);
    assert!(outcomes[1..].iter().all(|(_, outcome)| *outcome == Outcome::Leaked), "{outcomes:?}");
    let ledger = closed.ledger.unwrap();
    assert!(ledger.entries.iter().all(|entry| entry.reason.is_some()));
    assert!(matches!(&ledger.entries[2].reason, Some(Reason::StillNeeded { .. })));
    assert_eq!(arrived_after_the_next_start(setting), MESSAGES);
}

/// The user interface holds a tab, and a room in its caches, and goes on drawing meanwhile.
#[cfg(unix)]
#[test]
fn a_signal_takes_everything_down_behind_a_window_that_is_open() {
    let setting = Setting::new();
    let closed = Closed::of("signal", &setting);
    assert_eq!(closed.code, Some(128 + 15));
    assert_eq!(closed.outcomes(), ALL_TORN_DOWN);
    assert_eq!(logs_left(&setting), 0);
    assert_eq!(arrived_after_the_next_start(setting), MESSAGES);
}

#[test]
fn logging_out_runs_no_exit_plan_and_the_next_session_is_in_it() {
    let setting = Setting::new();
    let closed = Closed::of("logged-out", &setting);
    assert_eq!((closed.code, closed.count("still here")), (Some(CODE), 1));
    assert_eq!(closed.outcomes(), ALL_TORN_DOWN);
    assert_eq!(setting.server.tokens().len(), 1, "who logged in last is still logged in");
    assert_eq!(arrived_after_the_next_start(setting), MESSAGES);
}

#[test]
fn a_window_with_nobody_logged_in_has_nothing_to_end() {
    let setting = Setting::new();
    let closed = Closed::of("nobody-there", &setting);
    assert_eq!(closed.code, Some(CODE));
    assert_eq!(closed.outcomes(), ALL_TORN_DOWN);
    assert!(setting.open_files().is_empty());
}

/// The same with the application's own runtime and one of the session's, in the order in which the one
/// needs the other.
#[test]
fn the_runtime_of_the_session_goes_with_the_window() {
    let setting = Setting::new();
    let closed = Closed::of("managed", &setting);
    assert_eq!(closed.code, Some(CODE));
    assert_eq!(closed.outcomes(), ALL_TORN_DOWN_WITH_A_SESSION);
    assert_eq!(logs_left(&setting), 0);
    assert_eq!(arrived_after_the_next_start(setting), MESSAGES);
}

#[test]
fn a_session_whose_runtime_hangs_is_left_and_named_and_the_window_closes() {
    let setting = Setting::new();
    let closed = Closed::of("managed-hangs", &setting);
    assert_eq!(closed.code, Some(CODE));
    assert!(closed.took < LIMIT + SLACK, "{:?}", closed.took);
    let outcomes = closed.outcomes();
    assert_eq!(outcomes[3], (SESSION_RUNTIME, Outcome::Leaked), "{outcomes:?}");
    assert!(outcomes.iter().all(|(_, outcome)| *outcome != Outcome::TornDown), "{outcomes:?}");
    assert_eq!(arrived_after_the_next_start(setting), MESSAGES);
}

#[test]
fn where_nobody_is_logged_in_there_is_no_runtime_of_a_session_to_end() {
    let setting = Setting::new();
    let closed = Closed::of("managed-nobody-there", &setting);
    assert_eq!(closed.code, Some(CODE));
    assert_eq!(closed.outcomes(), ALL_TORN_DOWN_WITH_A_SESSION);
}
