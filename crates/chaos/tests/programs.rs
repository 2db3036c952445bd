//! Programs of their own processes, whose threads are held. This is a program itself, because a trace begins by
//! executing the same program again.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what went wrong by a panic"
)]

use std::{
    env, fs,
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use chaos::{Options, POLICIES, Place, Policy, Report, Surveys};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The programs that this one can become.
const PROGRAMS: [(&str, fn()); 6] = [
    ("late", late),
    ("closes", closes),
    ("without-calls", without_calls),
    ("outlived", outlived),
    ("correct", correct),
    ("exits-while-threads-start", exits_while_threads_start),
];

/// Those that take longest come first.
const TESTS: [(&str, fn()); 14] = [
    ("a_race_without_system_calls_is_found", a_race_without_system_calls_is_found),
    ("nothing_is_held_when_the_time_is_up", nothing_is_held_when_the_time_is_up),
    ("a_thread_outlives_the_first_one", a_thread_outlives_the_first_one),
    ("a_correct_program_stays_correct", a_correct_program_stays_correct),
    ("it_ends_as_the_program_does", it_ends_as_the_program_does),
    ("input_output_and_signals_pass", input_output_and_signals_pass),
    ("a_crash_has_its_thread_and_its_file", a_crash_has_its_thread_and_its_file),
    ("children_threads_and_programs_are_followed", children_threads_and_programs_are_followed),
    ("a_rare_race_becomes_frequent", a_rare_race_becomes_frequent),
    ("places_are_counted_by_thread", places_are_counted_by_thread),
    ("a_thread_that_is_waited_for_is_let_go", a_thread_that_is_waited_for_is_let_go),
    ("what_a_program_leaves_is_named_and_killed", what_a_program_leaves_is_named_and_killed),
    ("an_exit_while_threads_start_is_seen", an_exit_while_threads_start_is_seen),
    ("a_mistake_is_an_error", a_mistake_is_an_error),
];

/// How many tests run at a time.
const AT_A_TIME: usize = 4;

fn main() -> ExitCode {
    if let Some(code) = chaos::served() {
        return code;
    }
    let named = env::args().nth(1);
    if let Some((_, program)) = PROGRAMS.iter().find(|(name, _)| named.as_deref() == Some(name)) {
        program();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if env::args().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    if let Err(error) = chaos::can_hold() {
        println!("skipped: holding threads: {error}");
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &str| filters.is_empty() || filters.iter().any(|word| name.contains(word));
    let tests = Mutex::new(TESTS.into_iter().filter(|(name, _)| chosen(name)));
    let next = || tests.lock().unwrap().next();
    // Each starts processes of its own, and mostly waits for them.
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((name, test)) = next() {
                    test();
                    println!("test {name} ... ok");
                }
            });
        }
    });
    ExitCode::SUCCESS
}

/// Fails if a new thread needs longer than a moment to begin.
fn late() {
    let begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&begun);
    let thread = thread::spawn(move || begins.store(true, Ordering::SeqCst));
    thread::sleep(Duration::from_micros(1500));
    if !begun.load(Ordering::SeqCst) {
        std::process::exit(3);
    }
    thread.join().unwrap();
}

/// A thread closes a thousand files.
fn closes() {
    let closes = || (0..1000).for_each(|_| drop(fs::File::open("/proc/self/stat")));
    thread::spawn(closes).join().unwrap();
}

/// Fails if the first thread gets far while another is between two instructions, a moment after a system call. The one
/// that is between them notices: a look from outside seldom comes at the right time, least of all on a busy machine.
fn without_calls() {
    const FAR: u32 = 2000;
    static GOT: AtomicU32 = AtomicU32::new(0);
    static ENDED: AtomicU32 = AtomicU32::new(0);
    let others = [(); 4].map(|()| {
        let (round, rounds) = mpsc::channel();
        let thread = thread::spawn(move || {
            for () in rounds {
                thread::yield_now();
                let before = GOT.load(Ordering::SeqCst);
                (0..10).for_each(|_| std::hint::spin_loop());
                if GOT.load(Ordering::SeqCst).wrapping_sub(before) > FAR {
                    std::process::exit(3);
                }
                ENDED.fetch_add(1, Ordering::SeqCst);
            }
        });
        (round, thread)
    });
    for number in 0..120 {
        others[number % others.len()].0.send(()).unwrap();
        while ENDED.load(Ordering::SeqCst) as usize == number {
            GOT.fetch_add(1, Ordering::SeqCst);
        }
    }
    for (round, thread) in others {
        drop(round);
        thread.join().unwrap();
    }
}

/// A thread answers questions until the process ends, and does something after each answer. Fails if it does this when
/// the first thread has taken down what it uses.
fn outlived() {
    static IS_DOWN: AtomicBool = AtomicBool::new(false);
    let (question, questions) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    thread::spawn(move || {
        for number in questions {
            // Otherwise nobody waits yet, and there is nobody to wake.
            thread::sleep(Duration::from_micros(500));
            let _ = answer.send(number);
            if IS_DOWN.load(Ordering::SeqCst) {
                std::process::abort();
            }
        }
    });
    for number in 0..20 {
        question.send(number).unwrap();
        assert_eq!(answers.recv(), Ok(number));
        drop(fs::File::open("/proc/self/stat"));
    }
    // It takes a while to get there, and waits for nobody.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    drop(fs::File::open("/proc/self/stat"));
    IS_DOWN.store(true, Ordering::SeqCst);
    drop(fs::File::open("/proc/self/stat"));
    // The thread lives: it still has somebody who may ask.
    std::mem::forget(question);
}

/// Threads that wait for each other, write files and start processes, all in good order.
fn correct() {
    let (sender, receiver) = mpsc::channel();
    let file = env::temp_dir().join(format!("chaos-{}", std::process::id()));
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let (sender, file) = (sender.clone(), file.with_extension(number.to_string()));
            thread::spawn(move || {
                fs::write(&file, [number]).unwrap();
                sender.send(fs::read(&file).unwrap()[0]).unwrap();
                fs::remove_file(&file).unwrap();
            })
        })
        .collect();
    let mut numbers: Vec<_> = (0..8).map(|_| receiver.recv().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let child = Command::new("sh").args(["-c", "echo a | cat"]).output().unwrap();
    assert_eq!(child.stdout, b"a\n");
}

/// Exits while other threads start threads, so that some of these have begun and have not been reported.
fn exits_while_threads_start() {
    for _ in 0..3 {
        thread::spawn(|| {
            loop {
                // Refused if there are too many.
                drop(thread::Builder::new().spawn(|| ()));
            }
        });
    }
    thread::sleep(Duration::from_millis(2));
}

/// A command whose threads are held.
fn held(policy: &str, seed: u64, reports: Option<&Path>, command: &[&str]) -> Command {
    let policies = [Policy::named(policy).unwrap()];
    with(&Options { policies: &policies, reports, surveys: None }, seed, command)
}

fn with(options: &Options<'_>, seed: u64, command: &[&str]) -> Command {
    let words = chaos::words(options).unwrap();
    let mut held = Command::new(&words[0]);
    held.args(&words[1..])
        .args(command)
        .env("PROBE_SEED", seed.to_string())
        .env_remove("PROBE_TRIAL");
    held
}

fn run(policy: &str, seed: u64, command: &[&str]) -> Output {
    held(policy, seed, None, command).output().unwrap()
}

fn this() -> String {
    env::current_exe().unwrap().into_os_string().into_string().unwrap()
}

fn it_ends_as_the_program_does() {
    for policy in POLICIES {
        let ended = run(policy.name, 1, &["sh", "-c", "echo out; echo err >&2; exit 7"]);
        assert_eq!(ended.status.code(), Some(7), "{policy:?} {ended:?}");
        assert_eq!((&*ended.stdout, &*ended.stderr), (&b"out\n"[..], &b"err\n"[..]));
    }
    for signal in [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGTERM] {
        let ended = run("few", 1, &["sh", "-c", &format!("kill -{} $$", signal as i32)]);
        assert_eq!(ended.status.signal(), Some(signal as i32), "{ended:?}");
    }
}

fn input_output_and_signals_pass() {
    let mut cat = held("main", 2, None, &["cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through");

    let script = "trap 'echo asked; exit 4' TERM; echo ready; while true; do sleep 0.01; done";
    let mut waits = held("few", 2, None, &["sh", "-c", script]);
    let mut waits = waits.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(waits.stdout.as_mut().unwrap(), &mut ready).unwrap();
    kill(Pid::from_raw(i32::try_from(waits.id()).unwrap()), Signal::SIGTERM).unwrap();
    let ended = waits.wait_with_output().unwrap();
    assert_eq!((&*ended.stdout, ended.status.code()), (&b"asked\n"[..], Some(4)));
}

fn a_crash_has_its_thread_and_its_file() {
    let said = |command: &[&str]| String::from_utf8(run("none", 1, command).stderr).unwrap();
    let crashed = said(&["sh", "-c", "kill -SEGV $$"]);
    assert!(crashed.starts_with("hold-threads: thread `sh` was sent SIGSEGV in libc"), "{crashed}");
    // That of a child, too; not one that somebody handles, nor another signal.
    let child = said(&["sh", "-c", "sh -c 'kill -BUS $$'; true"]);
    assert!(child.contains("hold-threads: thread `sh` was sent SIGBUS in libc"), "{child}");
    for other in ["trap : SEGV; kill -SEGV $$", "kill -KILL $$"] {
        assert_eq!(said(&["sh", "-c", other]), "", "{other}");
    }
}

fn children_threads_and_programs_are_followed() {
    let reports = tempfile::tempdir().unwrap();
    let this = this();
    let script = format!("(exit 3); true | cat; exec {this} correct");
    let ended = held("others", 3, Some(reports.path()), &["sh", "-c", &script]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let report = report(reports.path());
    // The shell, its three children, the eight threads of the program, and its own three processes.
    assert!(report.threads >= 14, "{report:?}");
    assert_eq!((&*report.policy, report.seed), ("others", 3));
    assert!(report.holds.values().sum::<u32>() > 0, "{report:?}");
}

/// A program fails more often with its threads held than bare, by more than so many of at most 60 trials each. In turns,
/// so that the load of the machine affects both.
fn fails_more_often(program: &str, policy: &str, more_by: u32) {
    const TRIALS: u64 = 60;
    let this = this();
    let (mut bare, mut with_chaos) = (0, 0);
    for seed in 0..TRIALS {
        bare += u32::from(!Command::new(&this).arg(program).status().unwrap().success());
        let ended = held(policy, seed, None, &[&this, program]).status().unwrap();
        with_chaos += u32::from(!ended.success());
        if with_chaos > bare + more_by {
            return;
        }
    }
    panic!("{bare} of {TRIALS} fail, and with threads held {with_chaos}");
}

fn a_rare_race_becomes_frequent() {
    fails_more_often("late", "starts", 8);
}

fn report(folder: &Path) -> Report {
    let report = fs::read(folder.join("trial-0.json")).unwrap();
    serde_json::from_slice(&report).unwrap()
}

fn places_are_counted_by_thread() {
    let reports = tempfile::tempdir().unwrap();
    let ended = held("none", 0, Some(reports.path()), &[&this(), "closes"]).status().unwrap();
    assert!(ended.success());
    let report = report(reports.path());
    assert!(report.holds.is_empty(), "{report:?}");
    let survey = report.survey.unwrap();
    assert_eq!(survey.threads(), 2, "{survey:?}");
    assert!(survey.of(&[0]).unwrap()[&Place::Close] >= 1000, "{survey:?}");
    assert!(survey.of(&[]).unwrap()[&Place::Close] < 1000, "{survey:?}");
    assert_eq!(survey.total()[&Place::End], 2, "{survey:?}");
}

fn nothing_is_held_when_the_time_is_up() {
    side_by_side([(0, false), (60_000_000, true)], |(bare_micros, is_held)| {
        let folder = tempfile::tempdir().unwrap();
        let surveys = folder.path().join("surveys.json");
        Surveys { bare_micros: Some(bare_micros), surveys: Vec::new() }.write(&surveys).unwrap();
        let (policies, this) = ([Policy::named("last").unwrap()], this());
        let (reports, surveys) = (Some(folder.path()), Some(&*surveys));
        let options = Options { policies: &policies, reports, surveys };
        let holds: u32 = (0..8)
            .map(|seed| {
                assert!(with(&options, seed, &[&this, "closes"]).status().unwrap().success());
                report(folder.path()).holds.values().sum::<u32>()
            })
            .sum();
        assert_eq!(holds > 0, is_held, "{holds} holds");
    });
}

fn a_race_without_system_calls_is_found() {
    fails_more_often("without-calls", "steps", 4);
}

/// Does several things at a time: most of each is waiting.
fn side_by_side<T: Send, R: Send, const N: usize>(
    all: [T; N],
    does: impl Fn(T) -> R + Sync,
) -> [R; N] {
    let does = &does;
    thread::scope(|scope| {
        all.map(|one| scope.spawn(move || does(one))).map(|it| it.join().unwrap())
    })
}

/// The file with what is known of a program, in this folder.
fn surveys(folder: &Path, program: &str) -> PathBuf {
    let ended = held("none", 0, Some(folder), &[&this(), program]).status().unwrap();
    assert!(ended.success());
    let surveys = report(folder).survey.into_iter().collect();
    let path = folder.join("surveys.json");
    // It takes some tens of milliseconds.
    Surveys { bare_micros: Some(1_000_000), surveys }.write(&path).unwrap();
    path
}

fn a_thread_outlives_the_first_one() {
    const TRIALS: u64 = 40;
    let (folder, this) = (tempfile::tempdir().unwrap(), this());
    let surveys = surveys(folder.path(), "outlived");
    let policies = [Policy::named("outliving").unwrap()];
    let failures = |surveys| {
        let reports = tempfile::tempdir().unwrap();
        let options = Options { policies: &policies, reports: Some(reports.path()), surveys };
        let ended = (0..TRIALS).filter(|seed| {
            let ended = with(&options, *seed, &[&this, "outlived"]).status().unwrap();
            assert!(ended.success() || ended.signal() == Some(6), "{ended:?}");
            !ended.success()
        });
        ended.count()
    };
    let [known, unknown] = side_by_side([Some(&*surveys), None], failures);
    let bare =
        (0..TRIALS).filter(|_| !Command::new(&this).arg("outlived").status().unwrap().success());
    let bare = bare.count();
    let failures =
        format!("{bare} of {TRIALS} fail bare, {known} held, {unknown} without a survey");
    assert!(known > bare + 8 && unknown > bare, "{failures}");
    println!("{failures}");
}

fn a_thread_that_is_waited_for_is_let_go() {
    let (folder, this) = (tempfile::tempdir().unwrap(), this());
    let surveys = surveys(folder.path(), "correct");
    let policies = [Policy::named("outliving").unwrap()];
    for (seed, surveys) in (0..20).flat_map(|seed| [(seed, None), (seed, Some(&*surveys))]) {
        let options = Options { policies: &policies, reports: Some(folder.path()), surveys };
        let began = Instant::now();
        assert!(with(&options, seed, &[&this, "correct"]).status().unwrap().success());
        let (report, took) = (report(folder.path()), began.elapsed());
        let longest = policies[0].longest() * report.threads;
        assert!(Duration::from_micros(report.held_micros) <= longest, "{report:?}");
        assert!(took < Duration::from_secs(5), "{took:?} {report:?}");
    }
}

fn a_correct_program_stays_correct() {
    let this = this();
    side_by_side([0..2, 2..4, 4..6], |seeds| {
        for (policy, seed) in
            POLICIES.iter().flat_map(|it| seeds.clone().map(move |seed| (it, seed)))
        {
            let ended = run(policy.name, seed, &[&this, "correct"]);
            assert!(ended.status.success(), "{policy:?} {seed} {ended:?}");
            assert_eq!(ended.stderr, b"", "{policy:?} {seed}");
        }
    });
}

fn what_a_program_leaves_is_named_and_killed() {
    let reports = tempfile::tempdir().unwrap();
    let script = "sleep 600 >/dev/null 2>&1 & echo $!; sleep 0.3";
    let ended = held("few", 4, Some(reports.path()), &["sh", "-c", script]).output().unwrap();
    let left: i32 = String::from_utf8(ended.stdout).unwrap().trim().parse().unwrap();
    let report = report(reports.path());
    assert_eq!(report.left, ["sleep"]);
    for _ in 0..1000 {
        let state = fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("process {left} lives");
}

/// Half of these trials did not end while a thread that had not been reported was left where it had stopped.
fn an_exit_while_threads_start_is_seen() {
    let this = this();
    for seed in 0..20 {
        let mut held = held("few", seed, None, &[&this, "exits-while-threads-start"]);
        let mut held = held.spawn().unwrap();
        let began = Instant::now();
        let ended = loop {
            if let Some(ended) = held.try_wait().unwrap() {
                break ended;
            }
            if began.elapsed() > Duration::from_secs(30) {
                held.kill().unwrap();
                panic!("seed {seed} has not ended");
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert!(ended.success(), "seed {seed} {ended:?}");
    }
}

fn a_mistake_is_an_error() {
    let missing = run("few", 1, &["/nonexistent/program"]);
    assert_eq!(missing.status.code(), Some(126));
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.contains("/nonexistent/program"), "{said}");
    let unknown =
        Command::new(this()).args(["hold-threads", "nobody", "-", "-", "true"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(125));
}
