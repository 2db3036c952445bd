//! A process for one test.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs::File,
    io::{Read as _, Seek as _},
    os::unix::process::{ExitStatusExt as _, parent_id},
    process::{self, Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::{fs::MemfdFlags, process::Signal};

use super::look::THREADS;
use crate::evidence::proc::numbers;

/// In the environment of the child: the number of its parent. A process that the test starts inherits the variable, and
/// has another parent.
const PARENT: &str = "SUNDOWN_TEST_PARENT";

/// What the child writes if everything went well.
const PASSED: &str = "passed";

/// Where a test runs.
pub(super) enum Role {
    /// Here: this process runs no other test, or none beside this one.
    Alone,
    /// Here: this process was started for the test.
    Child(ToParent),
    /// In a process that this one starts.
    Parent(Child),
}

/// The parent, to be told what became of the test. Standard input is an empty file, into which this is written.
pub(super) struct ToParent;

/// The process that runs the test.
pub(super) struct Child {
    test: String,
}

impl Role {
    /// The role of this process for a test with this path: `crate::module::test`, or the name of this thread.
    pub(super) fn of_this_process(path: Option<&str>) -> Self {
        static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
        let runs_one =
            |variable: &str, value: &str| env::var_os(variable).is_some_and(|it| it == value);
        // Only the first test of a child is what it was started for.
        if runs_one(PARENT, &parent_id().to_string()) && !HAS_BEGUN.swap(true, Ordering::Relaxed) {
            // A harness that is killed, at a time-out for example, takes the test with it. Without that, the test runs on.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            return Self::Child(ToParent);
        }
        // Without the name of the crate.
        let of_path = path.and_then(|path| Some(path.split_once("::")?.1.to_owned()));
        let test =
            of_path.or_else(|| Some(thread::current().name()?.to_owned())).unwrap_or_default();
        // A harness that runs its tests on the main thread runs one at a time, and the thread has not the test's name.
        if runs_one("NEXTEST_EXECUTION_MODE", "process-per-test")
            || HAS_BEGUN.load(Ordering::Relaxed)
            || nothing_runs_beside_this_thread()
            || test == "main"
        {
            return Self::Alone;
        }
        Self::Parent(Child { test })
    }
}

impl ToParent {
    /// Says how the test ended, and ends the process.
    pub(super) fn tell(&self, result: Result<(), String>) -> ! {
        let (text, code) = match &result {
            Ok(()) => (PASSED, 0),
            Err(message) => (&**message, 101),
        };
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(rustix::stdio::stdin(), rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                // The parent sees that there is no answer.
                Err(_) => break,
            }
        }
        process::exit(code);
    }
}

impl Child {
    /// Runs the test, and passes on what it prints.
    pub(super) fn run(&self) -> Result<(), String> {
        static RUN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        // The child ends with its first body, so a second one would never run.
        if !RUN.lock().unwrap_or_else(PoisonError::into_inner).insert(self.test.clone()) {
            return Err(format!(
                "`{}` calls `leak_free` for the second time: a test has one body, so put both into it, or write two \
                 tests",
                self.test
            ));
        }
        let not_run =
            |error| format!("cannot run `{}` in a process of its own: {error}", self.test);
        let (mut answer, mut output) =
            (memory_file("answer").map_err(not_run)?, memory_file("output").map_err(not_run)?);
        let mut command = Command::new(env::current_exe().map_err(not_run)?);
        command.args(["--exact", &self.test, "--include-ignored", "--nocapture", "--quiet"]);
        command.arg("--test-threads=1").env(PARENT, process::id().to_string());
        command.stdin(answer.try_clone().map_err(not_run)?);
        let is_captured = !env::args_os().any(|it| is_no_capture(&it))
            && env::var_os("RUST_TEST_NOCAPTURE").is_none_or(|it| it == "0");
        if is_captured {
            let output = || output.try_clone().map(Stdio::from);
            command.stdout(output().map_err(not_run)?).stderr(output().map_err(not_run)?);
        }
        let status = command.status().map_err(not_run)?;
        let (answer, said) =
            (contents(&mut answer).map_err(not_run)?, contents(&mut output).map_err(not_run)?);
        // What the child's harness prints first.
        let said = said.strip_prefix("\nrunning 1 test\n").unwrap_or(&said);
        // By `print!`, so that the harness captures it.
        print!("{said}");
        match &*answer {
            PASSED if status.success() => Ok(()),
            "" | PASSED => Err(self.unanswered(status)),
            failed => Err(failed.to_owned()),
        }
    }

    /// The process ended before the test did, or the test was not found.
    fn unanswered(&self, status: ExitStatus) -> String {
        let Self { test } = self;
        match (status.signal(), status.code()) {
            (Some(signal), _) => {
                format!(
                    "the process of `{test}` was ended by signal {signal} before the test had ended"
                )
            }
            (None, Some(0)) => format!(
                "`{test}` did not run in a process of its own: the program must understand `--exact {test}` as \
                 `cargo test` does"
            ),
            (None, code) => format!(
                "the process of `{test}` ended with code {} before the test had ended",
                code.unwrap_or_default()
            ),
        }
    }
}

/// Whether there is no other thread, or only the main thread of a harness that runs one test at a time.
fn nothing_runs_beside_this_thread() -> bool {
    let one_by_one = || {
        let arguments: Vec<_> = env::args_os().collect();
        let by_arguments = arguments.iter().any(|it| it == "--test-threads=1")
            || arguments.windows(2).any(|it| it[0] == "--test-threads" && it[1] == "1");
        by_arguments || env::var_os("RUST_TEST_THREADS").is_some_and(|it| it == "1")
    };
    numbers(THREADS).is_ok_and(|threads| match *threads {
        [_] => true,
        [one, other] => (one == process::id() || other == process::id()) && one_by_one(),
        _ => false,
    })
}

fn is_no_capture(argument: &OsStr) -> bool {
    argument == "--nocapture" || argument == "--no-capture"
}

/// A file without a name, which needs no disk and is gone with its last descriptor.
fn memory_file(name: &str) -> std::io::Result<File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

fn contents(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
