//! Exits from every place and with every fault, each in a process of its own.
//!
//! [`run`] starts the current test again in a child process, and runs its program there. So a test first
//! calls `run` for each of its programs, and then checks the results.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod exits;
mod exits_by_itself;
mod faults;
#[cfg(target_os = "linux")]
mod leftovers;
mod resources;
mod signals;

use std::{
    collections::BTreeMap,
    env,
    fs::{self, DirEntry},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    panic::Location,
    path::PathBuf,
    process::{self, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use leak_strategy::{
    exit_token::ExitToken,
    ledger::{Entry, Ledger, Outcome, Reason},
    plan::{Exit, ExitPlan},
    resource::{Policy, Resource, TeardownResult},
};
use rustix::process::{Pid, Signal, kill_process};

/// The exit code of the programs.
const CODE: i32 = 7;

/// The exit code of a program that hangs.
const STUCK: i32 = 99;

/// The limit of a plan in which nothing hangs.
const PLENTY: Duration = Duration::from_secs(30);

/// The limit of a plan in which something hangs.
const SHORT: Duration = Duration::from_secs(1);

/// How much longer than `SHORT` a process may take on a busy machine; less than `PLENTY`.
const SLACK: Duration = Duration::from_secs(10);

/// The environment of a child: the program to run, by the place of its [`run`], and the directory.
const PROGRAM: &str = "EXIT_TEST_PROGRAM";
const DIRECTORY: &str = "EXIT_TEST_DIRECTORY";

/// Printed before a program, and after the lines of the test harness.
const BEGINS: &str = "the program begins\n";

/// A plan in which nothing hangs.
const PLAN: Plan = Plan { limit: PLENTY, exit: Exit::Immediate, ledger: "exit.json", signals: &[] };

/// A plan, and the signals for its process.
#[derive(Clone, Copy)]
struct Plan {
    limit: Duration,
    exit: Exit,
    /// The ledger's path in the directory of the process.
    ledger: &'static str,
    /// Each signal is sent when its line has been printed.
    signals: &'static [(&'static str, Signal)],
}

/// A child process that has ended.
#[derive(Default)]
struct Exited {
    code: Option<i32>,
    signal: Option<i32>,
    stdout: String,
    stderr: String,
    ledger: Option<Ledger>,
    /// What is in its directory, by name: the contents of files.
    left: BTreeMap<String, String>,
    took: Duration,
}

/// Starts this test in a child process, which runs the program and then leaves by the plan.
#[track_caller]
fn run(plan: Plan, program: fn(&ExitPlan)) -> Exited {
    run_with(plan, |_| (), program)
}

/// The same, with something else about the child process.
#[track_caller]
fn run_with(plan: Plan, set: impl FnOnce(&mut Command), program: fn(&ExitPlan)) -> Exited {
    let place = Location::caller().to_string();
    match env::var(PROGRAM) {
        Ok(wanted) if wanted == place => leave(plan, program),
        // This child runs the program of another call.
        Ok(_) => return Exited::default(),
        Err(_) => {}
    }
    let directory = tempfile::tempdir().unwrap();
    let (began, test) = (Instant::now(), thread::current());
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "--nocapture", test.name().unwrap()]).env(PROGRAM, place);
    child.env(DIRECTORY, directory.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    set(&mut child);
    let mut child = child.spawn().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    let mut stdout = String::new();
    for (line, signal) in plan.signals {
        while !stdout.ends_with(&format!("{line}\n")) {
            assert_ne!(printed.read_line(&mut stdout).unwrap(), 0, "it has ended: {stdout}");
        }
        kill_process(Pid::from_child(&child), *signal).unwrap();
    }
    printed.read_to_string(&mut stdout).unwrap();
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let took = began.elapsed();
    let ledger = fs::read(directory.path().join(plan.ledger)).ok();
    Exited {
        code: status.code(),
        signal: status.signal(),
        stdout: stdout.split_once(BEGINS).expect("it did not begin").1.to_owned(),
        stderr: String::from_utf8(stderr).unwrap(),
        ledger: ledger.map(|json| serde_json::from_slice(&json).unwrap()),
        left: fs::read_dir(directory.path()).unwrap().map(contents).collect(),
        took,
    }
}

/// A socket or a directory has none.
fn contents(entry: io::Result<DirEntry>) -> (String, String) {
    let entry = entry.unwrap();
    let contents = fs::read_to_string(entry.path()).unwrap_or_default();
    (entry.file_name().into_string().unwrap(), contents)
}

fn leave(Plan { limit, exit, ledger, .. }: Plan, program: fn(&ExitPlan)) -> ! {
    // Ends a program that hangs.
    let (started, has_started) = mpsc::channel();
    thread::spawn(move || {
        started.send(()).unwrap();
        thread::sleep(2 * PLENTY);
        process::exit(STUCK);
    });
    has_started.recv().unwrap();
    let directory = PathBuf::from(env::var_os(DIRECTORY).unwrap());
    let plan = ExitPlan::builder(limit).by(exit).ledger(directory.join(ledger)).build();
    print!("{BEGINS}");
    program(&plan);
    plan.leave(CODE)
}

impl Exited {
    /// Checks that the process exited with `CODE`, without waiting for `PLENTY`. Returns its ledger.
    #[track_caller]
    fn expect_code(&self) -> &Ledger {
        assert_eq!(self.code, Some(CODE), "{}", self.stderr);
        assert!(self.took < SHORT + SLACK, "it took {:?}", self.took);
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
    fn outcome_of(&self, name: &str) -> (Outcome, Option<&Reason>) {
        let entry = self.entry(name);
        (entry.outcome, entry.reason.as_ref())
    }
}

const TEAR_DOWN: Policy = Policy::TearDown { within: PLENTY };
const OR_LEAK: Policy = Policy::TearDownOrLeak { within: PLENTY };
const LEAK: Policy = Policy::Leak { why: "it is harmless" };

/// Prints a line when it is dropped.
struct Noisy(&'static str);

impl Drop for Noisy {
    fn drop(&mut self) {
        println!("dropped {}", self.0);
    }
}

/// Adds a resource whose teardown prints a line.
fn add_noisy(plan: &ExitPlan, name: &'static str, policy: Policy, needs: &[&str]) {
    plan.add(needs.iter().fold(noisy(name, policy), |noisy, name| noisy.needs(*name))).unwrap();
}

fn noisy(name: &'static str, policy: Policy) -> Resource {
    let held = Noisy(name);
    Resource::new(name, policy, move |_exit| {
        drop(held);
        Ok(())
    })
}

/// Adds a resource with this teardown.
fn add(
    plan: &ExitPlan,
    name: &str,
    policy: Policy,
    teardown: impl FnOnce(&ExitToken) -> TeardownResult + Send + 'static,
) {
    plan.add(Resource::new(name, policy, teardown)).unwrap();
}

/// Runs an example of this package to its end.
fn example(name: &str, arguments: &[&str]) -> Output {
    let test = env::current_exe().unwrap();
    let program = test.parent().unwrap().with_file_name("examples").join(name);
    let ended = Command::new(&program).args(arguments).output();
    ended.expect("cargo build -p leak-strategy --examples")
}

/// A teardown that hangs.
fn hang(_exit: &ExitToken) -> TeardownResult {
    println!("hanging");
    park_forever()
}

fn park_forever() -> ! {
    loop {
        thread::park();
    }
}
