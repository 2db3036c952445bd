//! A service in a process of its own.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    panic::Location,
    process::{self, Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sundown::{
    limit::PLENTY,
    service::{BoxError, Builder, Service, ServiceError, ServiceReport},
};

/// The environment of a child: the service to run, by the place of its [`start`].
pub const SERVICE: &str = "SERVICE_TEST";

/// The limit of a service in which something hangs.
pub const SHORT: Duration = Duration::from_secs(1);

/// How much longer than `SHORT` a process may take on a busy machine.
pub const SLACK: Duration = Duration::from_secs(20);

pub type Ended = Result<ServiceReport, ServiceError>;
pub type Done = Result<(), BoxError>;

/// A child process that runs a service.
pub struct Process {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    printed: BufReader<ChildStdout>,
}

/// A child process that has ended.
pub struct Exited {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Starts this test in a child process, which runs the service. `None` in a child that runs another.
#[track_caller]
pub fn start(service: fn() -> Ended) -> Option<Process> {
    start_under(&[], service)
}

/// The same, as the last argument of another command.
#[track_caller]
pub fn start_under(command: &[&str], service: fn() -> Ended) -> Option<Process> {
    let place = Location::caller().to_string();
    match env::var(SERVICE) {
        Ok(wanted) if wanted == place => run_here(service),
        Ok(_) => return None,
        Err(_) => {}
    }
    let this = env::current_exe().unwrap();
    let mut words = command.iter().map(AsRef::as_ref).chain([this.as_os_str()]);
    let test = thread::current();
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .args(["--exact", "--nocapture", test.name().unwrap()])
        .env(SERVICE, place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdin, printed) = (child.stdin.take(), child.stdout.take().unwrap());
    let mut process = Process { child, stdin, printed: BufReader::new(printed) };
    process.wait_for("the service begins");
    Some(process)
}

/// Runs a test in a process of its own: no process may have two services at the same time.
pub fn alone(test: fn()) {
    if env::var_os(SERVICE).is_some() {
        return test();
    }
    let this = thread::current();
    let name = this.name().unwrap();
    let mut child = Command::new(env::current_exe().unwrap());
    let ran = child.args(["--exact", "--nocapture", name]).env(SERVICE, name).output().unwrap();
    let [stdout, stderr] =
        [ran.stdout, ran.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(ran.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "no test `{name}`: {stdout}");
}

/// Whether a process can be started as the last argument of this command. Prints that this is skipped, if not.
pub fn can_start_under(command: &[&str], skipped: &str) -> bool {
    let tried = Command::new(command[0]).args(&command[1..]).arg("true").output();
    let can = tried.as_ref().is_ok_and(|it| it.status.success());
    if !can {
        let why = tried.map(|it| String::from_utf8_lossy(&it.stderr).trim().to_owned());
        // Not `println!`, which the harness shows only of a test that fails.
        let line = format!("skipped: {skipped}: `{}` does not work here: {why:?}\n", command[0]);
        io::stdout().write_all(line.as_bytes()).unwrap();
    }
    can
}

fn run_here(service: fn() -> Ended) -> ! {
    println!("the service begins");
    // Ends a service that hangs.
    thread::spawn(|| {
        thread::sleep(PLENTY);
        process::exit(99);
    });
    process::exit(match service() {
        Ok(report) => {
            println!("{report}");
            0
        }
        Err(error) => {
            eprintln!("{error}");
            1
        }
    })
}

impl Process {
    /// Reads lines until this one, and returns it from there on.
    pub fn wait_for(&mut self, beginning: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.printed.read_line(&mut line).unwrap(), 0, "no `{beginning}`");
            if let Some(at) = line.find(beginning) {
                return line[at..].trim_end().to_owned();
            }
        }
    }

    pub fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn wait(mut self) -> Exited {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.printed.read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        // Until now: a service may read it.
        drop(self.stdin);
        Exited { code: status.code(), signal: status.signal(), stdout, stderr }
    }
}

/// Runs a service in which something hangs, and returns its error.
#[track_caller]
pub fn leaves_within_the_limit(mut process: Process) -> String {
    process.wait_for("ready");
    process.send(Signal::TERM);
    let sent = Instant::now();
    let error = process.wait().with_error();
    assert!(sent.elapsed() < SHORT + SLACK, "it took {:?}", sent.elapsed());
    error
}

impl Exited {
    #[track_caller]
    pub fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    #[track_caller]
    pub fn with_error(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

pub fn service() -> Builder {
    Service::builder("tested").limit(PLENTY / 2)
}
