//! Every way out, and every fault on it, in a process of its own: the programs of
//! `examples/departures.rs`, run as a user would run them.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use leak_strategy::{
    app,
    ledger::{Entry, Ledger, Outcome, Reason},
    plan::Exit,
    resource::PolicyKind,
};
use rustix::process::{Pid, Signal, kill_process};

/// The code that the programs are asked to leave with.
const CODE: i32 = 7;

/// What a process may take longer than its limit, on a machine that may be busy. The programs that
/// do not hang have a limit of 30 s, and those that are stuck end with a code of their own after 60.
const SLACK: Duration = Duration::from_secs(10);

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().with_file_name("examples").join("departures");
    assert!(
        path.exists(),
        "{} is missing: cargo build -p leak-strategy --examples",
        path.display()
    );
    path
}

/// A program that has left.
struct Left {
    code: Option<i32>,
    signal: Option<i32>,
    stdout: String,
    stderr: String,
    ledger: Option<Ledger>,
    took: Duration,
}

impl Left {
    fn of(scenario: &str) -> Self {
        Self::after(scenario, &[])
    }

    /// A program that gets each of these signals when it has printed the line beside it.
    fn after(scenario: &str, signals: &[(&str, Signal)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let mut child = Command::new(program())
            .arg(scenario)
            .arg(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        let mut stdout = String::new();
        for (line, signal) in signals {
            while !stdout.ends_with(&format!("{line}\n")) {
                assert_ne!(printed.read_line(&mut stdout).unwrap(), 0, "it is gone: {stdout}");
            }
            kill_process(Pid::from_child(&child), *signal).unwrap();
        }
        printed.read_to_string(&mut stdout).unwrap();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        let took = began.elapsed();
        let ledger = fs::read(directory.path().join("exit.json")).ok();
        Self {
            code: status.code(),
            signal: status.signal(),
            stdout,
            stderr: String::from_utf8(stderr).unwrap(),
            ledger: ledger.map(|json| serde_json::from_slice(&json).unwrap()),
            took,
        }
    }

    /// It left with its code, and a ledger that says so.
    #[track_caller]
    fn as_asked(&self) -> &Ledger {
        assert_eq!(self.code, Some(CODE), "{}", self.stderr);
        let ledger = self.ledger.as_ref().expect("a ledger");
        assert_eq!(ledger.code, CODE);
        ledger
    }

    #[track_caller]
    fn entry(&self, name: &str) -> &Entry {
        let ledger = self.ledger.as_ref().expect("a ledger");
        ledger.entries.iter().find(|entry| entry.name == name).expect("an entry")
    }

    #[track_caller]
    fn became(&self, name: &str) -> (Outcome, Option<&Reason>) {
        let entry = self.entry(name);
        (entry.outcome, entry.reason.as_ref())
    }
}

#[test]
fn nothing_to_do_leaves_with_the_code_either_way() {
    let left = Left::of("nothing");
    assert!(left.as_asked().entries.is_empty());
    assert_eq!(left.as_asked().exit, Exit::Immediate);
    assert_eq!(Left::of("nothing-normal").as_asked().exit, Exit::Normal);
}

#[test]
fn who_needs_another_is_torn_down_before_it() {
    let left = Left::of("order");
    let names: Vec<_> = left.as_asked().entries.iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, ["sync service", "rooms", "client", "runtime"]);
    assert_eq!(left.stdout, "dropped sync service\ndropped client\ndropped runtime\n");
    let rooms = left.entry("rooms");
    assert_eq!((rooms.outcome, rooms.policy), (Outcome::Leaked, PolicyKind::Leak));
    let why = "it is harmless".to_owned();
    assert_eq!(rooms.reason, Some(Reason::Policy { why }));
    assert!(rooms.created_at.contains("departures.rs:"), "{}", rooms.created_at);
}

#[test]
fn a_teardown_that_panics_hangs_or_fails_keeps_no_other_from_its_own() {
    let left = Left::of("faults");
    assert_eq!(left.as_asked().entries.len(), 5);
    let message = "it is broken".to_owned();
    let panicked = (Outcome::Leaked, Some(&Reason::Panicked { message }));
    assert_eq!(left.became("panicking"), panicked);
    assert_eq!(left.became("hanging"), (Outcome::Leaked, Some(&Reason::TimedOut)));
    let message = "it is busy".to_owned();
    assert_eq!(left.became("refusing"), (Outcome::Failed, Some(&Reason::Error { message })));
    assert_eq!(left.became("impatient"), (Outcome::Failed, Some(&Reason::NoTimeLeft)));
    assert_eq!(left.became("first\0"), (Outcome::TornDown, None), "no name of a thread");
    assert!(left.entry("hanging").tried >= Duration::from_millis(100));
    assert!(left.stdout.ends_with("dropped first\0\n"), "{}", left.stdout);
}

#[test]
fn everything_hangs_and_the_process_is_gone_with_its_code_and_a_whole_ledger() {
    let left = Left::of("everything-hangs");
    assert!(left.took < SLACK, "it took {:?}", left.took);
    assert_eq!(left.as_asked().entries.len(), 3);
    for entry in &left.as_asked().entries {
        let must = entry.policy == PolicyKind::TearDown;
        assert_eq!(entry.outcome, if must { Outcome::Failed } else { Outcome::Leaked });
        // Which of them a busy machine gets to is its affair.
        let Some(Reason::TimedOut | Reason::NoTimeLeft | Reason::Unfinished | Reason::NotReached) =
            entry.reason
        else {
            panic!("{entry:?}")
        };
    }
}

#[test]
fn a_teardown_that_aborts_the_process_is_named_by_the_ledger() {
    let left = Left::of("aborts");
    assert_eq!(left.signal, Some(Signal::ABORT.as_raw()));
    assert_eq!(left.became("last"), (Outcome::TornDown, None));
    assert_eq!(left.became("doomed"), (Outcome::Failed, Some(&Reason::Unfinished)));
    assert_eq!(left.became("first"), (Outcome::Failed, Some(&Reason::NotReached)));
}

#[test]
fn a_limit_of_zero_tears_nothing_down_and_accounts_for_everything() {
    let left = Left::of("zero-limit");
    assert_eq!(left.as_asked().entries.len(), 3);
    assert_eq!(left.became("must"), (Outcome::Failed, Some(&Reason::NoTimeLeft)));
    assert_eq!(left.became("may"), (Outcome::Leaked, Some(&Reason::NoTimeLeft)));
    assert_eq!(left.stdout, "");
}

#[test]
fn what_is_still_needed_is_leaked_unless_it_must_be_torn_down() {
    let left = Left::of("still-needed");
    left.as_asked();
    let by = |name: &str| Reason::StillNeeded { by: name.to_owned() };
    assert_eq!(left.became("client"), (Outcome::Leaked, Some(&by("room"))));
    assert_eq!(left.became("runtime"), (Outcome::Leaked, Some(&by("client"))));
    assert_eq!(left.became("database"), (Outcome::TornDown, None));
    assert_eq!(left.stdout, "dropped database\n");
}

#[test]
fn a_teardown_leaks_with_its_token_and_the_ledger_tells_of_it() {
    let left = Left::of("leaks-by-token");
    left.as_asked();
    let [leak] = &*left.entry("client").leaks else { panic!("one leak") };
    assert_eq!((&*leak.what, &*leak.why), ("departures::Noisy", "it would not close"));
    assert!(leak.leaked_at.contains("departures.rs:"), "{}", leak.leaked_at);
    assert_eq!(left.stdout, "still of use: held\n");
}

#[test]
fn what_a_teardown_registers_is_refused_and_leaked() {
    let left = Left::of("registers-another");
    left.as_asked();
    assert_eq!(left.became("inner"), (Outcome::Leaked, Some(&Reason::TooLate)));
    assert!(
        matches!(left.became("outer"), (Outcome::Failed, Some(Reason::Error { message })) if message.contains("'inner'"))
    );
    assert_eq!(left.stdout, "", "the destructor of what was captured did not run");
}

#[test]
fn a_teardown_that_leaves_waits_for_its_own_end_and_times_out() {
    let left = Left::of("leaves-in-a-teardown");
    left.as_asked();
    assert_eq!(left.became("impatient"), (Outcome::Leaked, Some(&Reason::TimedOut)));
}

#[test]
fn a_ledger_that_cannot_be_written_changes_nothing_and_is_reported() {
    let left = Left::of("unwritable-ledger");
    assert_eq!(left.code, Some(CODE));
    assert!(left.stderr.contains("cannot write the exit ledger to /nowhere/exit.json"));
}

#[test]
fn of_two_threads_that_leave_the_first_decides_and_the_plan_runs_once() {
    let left = Left::of("two-threads");
    left.as_asked();
    assert_eq!(left.stdout, "torn down\n");
}

#[test]
fn a_task_may_leave_from_its_worker() {
    let left = Left::of("worker");
    left.as_asked();
    assert_eq!(left.stdout, "dropped client\n");
}

#[test]
fn a_panic_on_the_main_thread_runs_the_plan() {
    let left = Left::of("panic-on-main");
    assert_eq!(left.code, Some(101));
    assert_eq!(left.ledger.as_ref().unwrap().code, 101);
    assert_eq!(left.stdout, "dropped client\n");
    assert!(left.stderr.contains("the program is broken"));
}

#[test]
fn a_program_that_returns_runs_the_plan() {
    let left = Left::of("returns");
    left.as_asked();
    assert_eq!(left.stdout, "the program\ndropped client\n");
}

#[test]
fn what_was_printed_is_there_after_an_immediate_exit() {
    assert_eq!(Left::of("unfinished-line").stdout, "a line without an end");
}

/// The last one is the control: what the other two leave out does run there.
#[test]
fn an_immediate_exit_runs_no_hooks_and_a_normal_one_no_thread_locals() {
    assert_eq!(Left::of("hooks-immediate").stdout, "");
    assert_eq!(Left::of("hooks-normal").stdout, "hook\n");
    assert_eq!(Left::of("hooks-std").stdout, "dropped local\nhook\n");
}

#[test]
fn a_hook_that_hangs_is_cut_off_at_the_limit() {
    let left = Left::of("hanging-hook");
    left.as_asked();
    assert_eq!(left.stdout, "hanging\n");
    assert!(left.took < SLACK, "it took {:?}", left.took);
}

#[test]
fn the_destructor_of_a_thread_local_may_leave() {
    for scenario in ["thread-local-main", "thread-local-main-normal", "thread-local-spawned"] {
        let left = Left::of(scenario);
        left.as_asked();
        assert_eq!(left.stdout, "dropped client\n", "{scenario}");
        assert!(left.took < SLACK, "{scenario} took {:?}", left.took);
    }
}

#[test]
fn a_log_that_hangs_panics_or_leaves_does_not_keep_the_process() {
    for scenario in ["hanging-log", "panicking-log", "leaving-log"] {
        let left = Left::of(scenario);
        left.as_asked();
        assert!(left.took < SLACK, "{scenario} took {:?}", left.took);
    }
}

#[test]
fn the_four_of_an_application_end_in_order_and_every_request_is_carried_out() {
    let left = Left::of("app");
    let became: Vec<_> =
        left.as_asked().entries.iter().map(|entry| (&*entry.name, entry.outcome)).collect();
    let all = [app::REQUEST_SENDER, app::SYNC_SERVICE, app::CLIENT, app::RUNTIME];
    assert_eq!(became, all.map(|name| (name, Outcome::TornDown)));
    let printed = "request 1\nrequest 2\nrequest 3\nsync service stopped\nclient closed\n";
    assert_eq!(left.stdout, printed);
    let at = &left.entry(app::CLIENT).created_at;
    assert!(at.contains("departures.rs:"), "{at}");
}

#[test]
fn a_session_is_closed_by_the_plan_or_the_ledger_tells_who_holds_it() {
    let left = Left::of("session");
    left.as_asked();
    assert_eq!(left.became(app::CLIENT), (Outcome::TornDown, None));
    let (outcome, reason) = left.became("held");
    assert_eq!(outcome, Outcome::Leaked);
    assert!(
        matches!(reason, Some(Reason::Error { message }) if message.contains("departures.rs:")),
        "{reason:?}"
    );
    assert_eq!(left.stdout, "client closed\n", "the other was not closed under its holder");
}

#[cfg(target_os = "linux")]
#[test]
fn without_threads_everything_is_leaked_and_the_code_is_kept() {
    let left = Left::of("no-threads");
    left.as_asked();
    assert!(matches!(left.became("client"), (Outcome::Leaked, Some(Reason::NoThread { .. }))));
    assert!(matches!(left.became("drafts"), (Outcome::Failed, Some(Reason::NoThread { .. }))));
    assert_eq!(left.stdout, "", "nothing was dropped on the thread that leaves");
}

#[test]
fn a_signal_runs_the_plan() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let left = Left::after("signal", &[("ready", signal)]);
        assert_eq!(left.code, Some(code), "{}", left.stderr);
        assert_eq!(left.became("client"), (Outcome::TornDown, None));
        assert_eq!(left.stdout, "ready\ndropped client\n");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let signals = [("ready", Signal::TERM), ("hanging", Signal::INT)];
    let left = Left::after("second-signal", &signals);
    assert_eq!(left.code, Some(130));
    assert_eq!(left.became("hanging"), (Outcome::Failed, Some(&Reason::Unfinished)));
    assert!(left.took < SLACK, "it took {:?}", left.took);
}

#[test]
fn a_guard_that_is_dropped_gives_the_signals_back() {
    let left = Left::after("guard-dropped", &[("ready", Signal::TERM)]);
    assert_eq!(left.signal, Some(Signal::TERM.as_raw()));
    assert!(left.ledger.is_none());

    let left = Left::after("guard-again", &[("ready", Signal::TERM)]);
    assert_eq!(left.code, Some(143), "a guard after a guard");
}
