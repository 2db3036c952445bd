//! A process for one test.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{self, Command, ExitStatus},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::process::Signal;

use super::{
    answer::{ADDRESS, Answer, ToParent, Told, contents, memory_file},
    look::{THREADS, children},
    runner::Failure,
};
use crate::evidence::proc::numbers;

/// Where a test runs.
pub(super) enum Role {
    /// Here: this process runs no other test, or none beside this one.
    Alone,
    /// Here: this process was started for the test.
    Child(ToParent),
    /// In a process that this one starts.
    Parent(Child),
}

/// The process that runs the test.
pub(super) struct Child {
    test: String,
    /// Whether that is the name of the thread that called `leak_free`.
    is_thread: bool,
}

impl Role {
    /// The role of this process for a test with this path: `crate::module::test`, or the name of this thread.
    ///
    /// # Errors
    ///
    /// If the test cannot be run.
    pub(super) fn of_this_process(path: Option<&str>) -> Result<Self, String> {
        static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
        // Only the first test of a child is what it was started for.
        if !HAS_BEGUN.load(Ordering::Relaxed) {
            if let Some(parent) = ToParent::find() {
                HAS_BEGUN.store(true, Ordering::Relaxed);
                // A harness that is killed, at a time-out for example, takes the test with it. Without that, the test runs
                // on.
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                let parent = parent.map_err(|error| {
                    format!(
                        "cannot tell the process that started this one how the test ends: {error}"
                    )
                })?;
                return Ok(Self::Child(parent));
            }
        }
        let has_one_test =
            env::var_os("NEXTEST_EXECUTION_MODE").is_some_and(|it| it == "process-per-test");
        // A harness that runs its tests on the main thread runs one at a time, and the thread has not the test's name.
        let is_main_thread = rustix::thread::gettid() == rustix::process::getpid();
        if has_one_test
            || HAS_BEGUN.load(Ordering::Relaxed)
            || is_main_thread
            || nothing_runs_beside_this_thread()
        {
            return Ok(Self::Alone);
        }
        // Without the name of the crate.
        let of_path = path.and_then(|path| Some(path.split_once("::")?.1.to_owned()));
        let of_thread = || thread::current().name().map(str::to_owned);
        let test = of_path.or_else(of_thread).ok_or_else(|| {
            format!("`leak_free` was called on a thread without a name. {CALL_IT_ON}")
        })?;
        Ok(Self::Parent(Child { test, is_thread: path.is_none() }))
    }
}

/// What to do about a thread that is not the test's.
const CALL_IT_ON: &str = "Call it on the test's own thread, before anything else starts threads: the test is started again \
     in a process of its own, and that thread has its name";

impl Child {
    /// Runs the test, and passes on what it prints.
    pub(super) fn run(&self) -> Result<(), Failure> {
        static RUN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        // The child ends with its first body, so a second one would never run.
        if !RUN.lock().unwrap_or_else(PoisonError::into_inner).insert(self.test.clone()) {
            return Err(Failure::of(format!(
                "`{}` calls `leak_free` for the second time: a test has one body, so put both into it, or write two \
                 tests",
                self.test
            )));
        }
        self.start_and_wait().unwrap_or_else(|error| {
            let message = format!("cannot run `{}` in a process of its own: {error}", self.test);
            Err(Failure::of(message))
        })
    }

    fn start_and_wait(&self) -> io::Result<Result<(), Failure>> {
        let (mut answer, mut output) = (Answer::new()?, memory_file("output")?);
        // Not the file's name: `cargo test` may be building another program under the same.
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", &self.test, "--include-ignored", "--nocapture", "--quiet"]);
        command.arg("--test-threads=1").env(ADDRESS, answer.address()?);
        if let Some(name) = env::args_os().next() {
            command.arg0(name);
        }
        let is_captured = !env::args_os().any(|it| is_no_capture(&it))
            && env::var_os("RUST_TEST_NOCAPTURE").is_none_or(|it| it == "0");
        if is_captured {
            command.stdout(output.try_clone()?).stderr(output.try_clone()?);
        }
        let status = command.status()?;
        let said = contents(&mut output)?;
        // What the child's harness prints first.
        let said = said.strip_prefix("\nrunning 1 test\n").unwrap_or(&said);
        // By `print!`, so that the harness captures it.
        print!("{said}");
        Ok(match answer.read()? {
            Told::Ended(Ok(())) if !status.success() => {
                Err(Failure::of(self.ended(status, "after the test had passed")))
            }
            Told::Ended(result) => result,
            Told::Begun => Err(Failure::of(self.ended(status, "before the test had ended"))),
            Told::Nothing if status.success() => Err(Failure::of(self.did_not_run())),
            Told::Nothing => Err(Failure::of(self.ended(status, "before the test had begun"))),
        })
    }

    fn ended(&self, status: ExitStatus, when: &str) -> String {
        let by = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("was ended by signal {signal}"),
            (None, code) => format!("ended with code {}", code.unwrap_or_default()),
        };
        format!("the process of `{}` {by} {when}", self.test)
    }

    fn did_not_run(&self) -> String {
        let Self { test, is_thread } = self;
        let because = match is_thread {
            true => format!(
                "There may be no such test, because `leak_free` was called on another thread than the test's. \
                 {CALL_IT_ON}. Or the program"
            ),
            false => "The program".to_owned(),
        };
        format!(
            "`{test}` did not run in a process of its own. {because} does not understand `--exact {test}` as \
             `cargo test` does"
        )
    }
}

/// Whether there is no other thread, or only the main thread of a harness that runs one test at a time, and no process that
/// an earlier test has left behind.
fn nothing_runs_beside_this_thread() -> bool {
    let one_by_one = || {
        let arguments: Vec<_> = env::args_os().collect();
        let by_arguments = arguments.iter().any(|it| it == "--test-threads=1")
            || arguments.windows(2).any(|it| it[0] == "--test-threads" && it[1] == "1");
        by_arguments || env::var_os("RUST_TEST_THREADS").is_some_and(|it| it == "1")
    };
    let is_alone = numbers(THREADS).is_ok_and(|threads| match *threads {
        [_] => true,
        [one, other] => (one == process::id() || other == process::id()) && one_by_one(),
        _ => false,
    });
    // What an earlier test's process starts, or leaves behind when it ends, would count as this test's.
    is_alone && children().is_ok_and(|children| children.is_empty())
}

fn is_no_capture(argument: &OsStr) -> bool {
    argument == "--nocapture" || argument == "--no-capture"
}
