//! 37 left-behind: what does a process leave behind that a return from `main` would have cleaned up? By
//! `std::process::exit`, and by an exit plan that does not know of it: a child process, the file of a socket,
//! lines of the log, a temporary directory. A plan with a resource for each leaves nothing. Page:
//! `docs/src/37-left-behind.md`.

use std::{
    any::Any,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write},
    mem,
    os::unix::net::UnixListener,
    process::{self, Stdio},
    time::Instant,
};

use experiments::prelude::*;
use leak_strategy::{
    leftovers::{self, Kill},
    plan::{ExitPlan, PlanError},
    resource::{Policy, Resource},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

/// How long a child that was killed may take to end. A control shows that this is enough.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// What every resource and the plan may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How many lines the log gets, and how long its file takes before the first. The guard of the writer waits for a
/// second.
const LINES: usize = 100;
const ASLEEP: Duration = Duration::from_millis(300);

const SOCKET: &str = "control.sock";
const LOG: &str = "log";
const SCRATCH: &str = "scratch";

fn main() -> ExitCode {
    let whats = [
        ("child", "a child with `kill_on_drop`, in a task"),
        ("socket", "a listener that removes its file when it is dropped"),
        ("log", "lines in a non-blocking writer"),
        ("scratch", "a temporary directory"),
    ];
    // How a process leaves, and what it owns.
    let of = |how: &'static str, about: &str, variant: fn(String, &'static str) -> Variant| {
        whats.map(|(what, owned)| {
            variant(format!("{how}/{what}"), how).about(format!("{about}: {owned}")).waits()
        })
    };
    let clean = |name, how| control(name, move |scene| left(scene, how));
    let failed = |name, how| hazard(name, Failed, move |scene| left(scene, how));
    let cured = |name, how| cure(name, move |scene| left(scene, how));
    let run = "a plan with the resource, in whose `run` the program calls `exit`";
    Experiment::new(file!())
        .question("What does a process leave behind that a return from `main` would have cleaned up?")
        .hypothesis(
            "Whatever a destructor would have done outside of the process, if it leaves by \
             `std::process::exit` or by an exit plan that does not know of it: a child process runs on, the \
             file of a socket and a temporary directory stay, and lines of the log are lost. A plan that \
             knows leaves nothing. It warns of a child and of a socket that it was not told of.",
        )
        .variants(of("main", "a return from `main`", clean))
        .variants(of("exit", "`std::process::exit`", failed))
        .variants(of("leave", "an exit plan without resources", failed))
        .variants(of("exit-in-run", run, failed))
        .variants(of("plan", "a plan with the resource", cured))
        .keeps("left_behind", [])
        .keeps("warned", [])
        .kit_claim("A plan with a resource for each leaves nothing behind that a return from `main` cleans up.")
        .part("program", program)
        .run()
}

/// Runs the program until it has left, and looks for what it has left behind.
fn left(scene: &Scene<'_>, how: &'static str) -> TrialResult {
    let mut program = scene.part("program")?;
    program.args([how, scene.case()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = program.spawn()?;
    let mut line = String::new();
    BufReader::new(program.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
    let began: i32 = line.trim().parse()?;
    let ended = program.wait()?;
    scene.check("it leaves with its code", ended.success());
    let nothing_is_left = match scene.case() {
        "child" => has_ended(Pid::from_raw(began).ok_or("no process")?)?,
        "socket" => !scene.directory().join(SOCKET).exists(),
        "scratch" => !scene.directory().join(SCRATCH).exists(),
        _ => {
            let lines = fs::read_to_string(scene.directory().join(LOG))?.lines().count();
            scene.record("lines_lost", LINES - lines);
            lines == LINES
        }
    };
    scene.record("left_behind", !nothing_is_left);
    scene.check("nothing is left behind", nothing_is_left);
    if how != "main" && how != "exit" {
        let mut said = String::new();
        program.stderr.take().ok_or("no pipe")?.read_to_string(&mut said)?;
        let about = ["left behind: ", "inside `ExitPlan::run`"];
        scene.record("warned", about.iter().any(|about| said.contains(about)));
    }
    Ok(())
}

/// Whether a process has ended, or ends. Kills it otherwise.
fn has_ended(child: Pid) -> TrialResult<bool> {
    let began = Instant::now();
    while began.elapsed() < GONE_WITHIN {
        // One that has ended is listed until somebody has asked for its status.
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        match stat.rsplit(") ").next() {
            Some(rest) if rest.is_empty() || rest.starts_with(['Z', 'X']) => return Ok(true),
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
    kill_process(child, Signal::KILL)?;
    Ok(false)
}

fn program(arguments: &[String]) -> TrialResult {
    let [how, what] = arguments else { return Err("how, and what?".into()) };
    let plan = ExitPlan::builder(LIMIT).build();
    if how == "exit-in-run" {
        plan.run(|| work(how, what, &plan).map_or(1, |()| 0));
    }
    work(how, what, &plan)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn work(how: &str, what: &str, plan: &ExitPlan) -> TrialResult {
    let knows = matches!(how, "plan" | "exit-in-run");
    let (number, _owned) = begin(what, knows.then_some(plan))?;
    println!("{number}");
    match how {
        "main" => Ok(()),
        "exit" | "exit-in-run" => process::exit(0),
        _ => plan.leave(0),
    }
}

/// What a plan has, or a program.
type Owned = Option<Box<dyn Any + Send>>;

const POLICY: Policy = Policy::TearDown { within: LIMIT };

/// Begins something that a destructor ends: returns the number of a child, and what owns the thing, unless that is
/// the plan.
fn begin(what: &str, plan: Option<&ExitPlan>) -> TrialResult<(u32, Owned)> {
    let add = |resource| plan.map_or(Ok(()), |plan| plan.add(resource));
    match what {
        "child" => {
            let mut child = Command::new("sleep")
                .arg("600")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            let number = child.id().ok_or("it has ended")?;
            add(leftovers::child("child", POLICY, number, Kill::AtOnce))?;
            tokio::spawn(async move { child.wait().await });
            Ok((number, None))
        }
        "socket" => {
            let listener = Listener(UnixListener::bind(SOCKET)?);
            add(leftovers::files("socket", POLICY, [SOCKET])?)?;
            Ok((0, Some(Box::new(listener))))
        }
        "log" => {
            let (mut writer, guard) = tracing_appender::non_blocking(SlowFile {
                file: File::create(LOG)?,
                is_asleep: true,
            });
            for line in 0..LINES {
                writer.write_all(format!("line {line}\n").as_bytes())?;
            }
            Ok((
                0,
                owned_by(plan, guard, |it| leftovers::dropped("log", POLICY, it).writes_the_log())?,
            ))
        }
        _ => {
            let scratch = tempfile::Builder::new().prefix(SCRATCH).rand_bytes(0).tempdir_in(".")?;
            Ok((0, owned_by(plan, scratch, |it| leftovers::dropped("scratch", POLICY, it))?))
        }
    }
}

fn owned_by<T: Send + 'static>(
    plan: Option<&ExitPlan>,
    value: T,
    resource: fn(T) -> Resource,
) -> Result<Owned, PlanError> {
    match plan {
        Some(plan) => plan.add(resource(value)).map(|()| None),
        None => Ok(Some(Box::new(value))),
    }
}

/// A listener as several libraries have one. That of std and that of Tokio leave the file.
struct Listener(UnixListener);

impl Drop for Listener {
    fn drop(&mut self) {
        let path = self.0.local_addr().ok().and_then(|it| Some(it.as_pathname()?.to_owned()));
        let _ = path.map(fs::remove_file);
    }
}

/// A file that takes its time before the first line, so that the writer's thread is behind when the process leaves.
struct SlowFile {
    file: File,
    is_asleep: bool,
}

impl Write for SlowFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if mem::take(&mut self.is_asleep) {
            thread::sleep(ASLEEP);
        }
        self.file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
