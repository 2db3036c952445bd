//! SIGINT and SIGTERM.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{self, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use leak_strategy::{
    ledger::{Outcome, Reason},
    plan::ExitPlan,
    signals::{SignalError, SignalGuard},
};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{consts::SIGTERM, flag, iterator::Signals, low_level};

use crate::{
    PLAN, Plan, SHORT, SLACK, TEAR_DOWN, add, add_noisy, example, hang, park_forever, run,
};

/// A plan whose process receives SIGTERM.
const TERM: Plan = Plan { signals: &[("ready", Signal::TERM)], ..PLAN };

fn wait_for_a_signal() {
    println!("ready");
    io::stdout().flush().unwrap();
    park_forever()
}

fn wait_with_a_guard(plan: &ExitPlan) {
    add_noisy(plan, "client", TEAR_DOWN, &[]);
    let _guard = SignalGuard::install(plan).unwrap();
    let second = SignalGuard::install(plan);
    assert!(matches!(second, Err(SignalError::AlreadyWatched)));
    wait_for_a_signal();
}

#[test]
fn a_signal_executes_the_plan() {
    let interrupted = run(Plan { signals: &[("ready", Signal::INT)], ..PLAN }, wait_with_a_guard);
    let terminated = run(TERM, wait_with_a_guard);
    for (exited, code) in [(interrupted, 130), (terminated, 143)] {
        assert_eq!(exited.code, Some(code), "{}", exited.stderr);
        assert_eq!(exited.outcome_of("client"), (Outcome::TornDown, None));
        assert_eq!(exited.stdout, "ready\ndropped client\n");
    }
}

#[test]
fn the_program_of_the_guide_closes_its_pool_and_writes_its_log_when_it_ends_and_at_a_signal() {
    let test = env::current_exe().unwrap();
    let program = test.parent().unwrap().with_file_name("examples").join("cli");
    for (argument, code) in [(None, 0), (Some("waits"), 143)] {
        let mut program = Command::new(&program);
        program.args(argument).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = program.spawn().expect("cargo build -p leak-strategy --examples");
        let mut printed = BufReader::new(program.stdout.take().unwrap());
        let mut stdout = String::new();
        printed.read_line(&mut stdout).unwrap();
        assert_eq!(stdout, "at work\n");
        if argument.is_some() {
            kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
        }
        printed.read_to_string(&mut stdout).unwrap();
        let ended = program.wait_with_output().unwrap();
        let log = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(code), "{log}");
        assert_eq!(stdout, "at work\nclosed\n");
        let line = log.lines().last().unwrap_or_default();
        assert!(line.contains("leaving the process") && line.contains("torn_down=2"), "{log}");
        assert!(line.contains("failed=0 remaining=1"), "{log}");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let signals = &[("ready", Signal::TERM), ("hanging", Signal::INT)];
    let exited = run(Plan { signals, ..PLAN }, |plan| {
        add(plan, "hanging", TEAR_DOWN, |exit| {
            // A signal that comes sooner is taken for the first.
            thread::sleep(Duration::from_millis(500));
            hang(exit)
        });
        wait_with_a_guard(plan);
    });
    assert_eq!(exited.code, Some(130));
    assert_eq!(exited.outcome_of("hanging"), (Outcome::Failed, Some(&Reason::Unfinished)));
    assert!(exited.took < SHORT + SLACK, "it took {:?}", exited.took);
}

#[test]
fn a_return_from_main_at_the_same_signal_waits_until_the_plan_has_ended_the_process() {
    let ended = example("main_returns", &[]);
    assert_eq!(ended.status.code(), Some(143), "{ended:?}");
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "main returns\nthe cache is written\n");
}

/// The guard is gone before its thread has come to the signal.
#[test]
fn a_signal_that_came_before_its_guard_was_dropped_executes_the_plan() {
    let exited = run(TERM, |plan| {
        let mut own = Signals::new([SIGTERM]).unwrap();
        add_noisy(plan, "client", TEAR_DOWN, &[]);
        let guard = SignalGuard::install(plan).unwrap();
        println!("ready");
        io::stdout().flush().unwrap();
        own.forever().next();
        drop(guard);
        process::exit(0)
    });
    assert_eq!(exited.code, Some(143), "{}", exited.stderr);
    assert_eq!(exited.outcome_of("client"), (Outcome::TornDown, None));
}

/// The signal has come on another thread, whose handler calls the program's own actions and then those of the guard.
#[test]
fn a_signal_whose_handler_still_runs_when_its_guard_is_dropped_executes_the_plan() {
    let exited = run(PLAN, |plan| {
        let in_handler = Arc::new(AtomicBool::new(false));
        flag::register(SIGTERM, Arc::clone(&in_handler)).unwrap();
        // So many that the handler takes longer than a drop.
        let (_read, written) = UnixStream::pair().unwrap();
        for _ in 0..800 {
            low_level::pipe::register(SIGTERM, written.try_clone().unwrap()).unwrap();
        }
        add_noisy(plan, "client", TEAR_DOWN, &[]);
        let guard = SignalGuard::install(plan).unwrap();
        thread::spawn(|| low_level::raise(SIGTERM).unwrap());
        while !in_handler.load(Ordering::SeqCst) {}
        drop(guard);
        process::exit(0)
    });
    assert_eq!(exited.code, Some(143), "{}", exited.stderr);
    assert_eq!(exited.outcome_of("client"), (Outcome::TornDown, None));
}

/// How many threads of a guard there are.
#[cfg(target_os = "linux")]
fn threads_of_guards() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    names.filter(|name| name.as_ref().is_ok_and(|name| name.trim() == "exit signals")).count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_guard_that_was_dropped_has_no_thread() {
    let exited = run(TERM, |plan| {
        let until_there_are = |number| {
            let began = Instant::now();
            while threads_of_guards() != number {
                assert!(began.elapsed() < SLACK, "there are not {number} threads");
            }
        };
        for _ in 0..100 {
            let guard = SignalGuard::install(plan).unwrap();
            // The control. A thread gives itself its name.
            until_there_are(1);
            drop(guard);
            // A thread that was joined may be listed for a moment.
            until_there_are(0);
        }
        wait_for_a_signal();
    });
    assert_eq!(exited.signal, Some(Signal::TERM.as_raw()), "{}", exited.stderr);
}

#[test]
fn a_dropped_guard_restores_the_signals_and_another_can_follow() {
    let dropped = run(TERM, |plan| {
        drop(SignalGuard::install(plan).unwrap());
        wait_for_a_signal();
    });
    let another = run(TERM, |plan| {
        drop(SignalGuard::install(plan).unwrap());
        wait_with_a_guard(plan);
    });
    assert_eq!(dropped.signal, Some(Signal::TERM.as_raw()));
    assert!(dropped.ledger.is_none());
    assert_eq!(another.code, Some(143));
}
