//! An experiment on the lab itself: trials that misbehave in every way the sandbox must survive.
//!
//! Each variant does one thing that a crashing, hanging or careless program does, and predicts how the
//! lab sees it. `cargo run -p lab --example 90_misbehaviour` shows the table. `tests/lab` runs it, and
//! checks that nothing is left running and nothing is left on the disk.

#![allow(clippy::panic, reason = "panics are what some of these trials are about")]

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    os::fd::{AsRawFd as _, IntoRawFd as _},
    process::{self, Command, ExitCode},
    thread,
    time::Duration,
};

use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Failed, Hung, Panicked, Signalled},
    Trial, TrialResult, control, every, hazard,
};
use nix::sys::signal::{Signal, raise};

fn panics_elsewhere() -> TrialResult {
    let thread = thread::Builder::new().name("elsewhere".to_owned());
    let _ = thread.spawn(|| panic!("nobody looks here"))?.join();
    Ok(())
}

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What does the lab make of trials that misbehave?")
        .hypothesis("Each misbehaviour has its outcome, and none outlives its trial.")
        .variants([
            control("well-behaved", |trial| {
                trial.record("seed", trial.random().i64(..));
                trial.record("number", trial.number());
                trial.record("spent", Duration::from_micros(3));
                trial.record("fine", true);
                trial.check("one is one", true);
                Ok(())
            }),
            // A panic on a thread that nobody asks: the exit code is 0 all the same.
            hazard("panics-elsewhere", Panicked, |_| panics_elsewhere()),
            hazard("panics-elsewhere-or-not", Panicked, |_| panics_elsewhere())
                .sometimes_at("crates/lab/examples/"),
            hazard("aborts", Aborted, aborts),
            hazard("kills-itself", Signalled, |_| Ok(raise(Signal::SIGKILL)?)),
            hazard("hangs", Hung, |_| hangs()).deadline(Duration::from_millis(400)),
            hazard("waits-for-long", Hung, waits_for_long),
            hazard("fails-a-check", Failed, |trial| {
                trial.check("two is one", trial.directory().as_os_str().is_empty());
                Ok(())
            }),
            hazard("returns-an-error", Failed, |_| {
                File::open("there is no such file")?;
                Ok(())
            }),
            hazard("exits-with-3", Failed, |trial| {
                trial.done();
                process::exit(3)
            }),
            hazard("leaves-early", Failed, |_| process::exit(0)),
            control("leaves-when-done", |trial| {
                trial.done();
                process::exit(0)
            }),
            // The report pipe is among them: the lab must not take silence for success.
            hazard("closes-its-descriptors", Failed, |_| {
                close_all_descriptors();
                Ok(())
            }),
            hazard("reuses-the-descriptor", Failed, reuses_the_descriptor),
            hazard("reports-nonsense", Failed, |_| {
                // The lowest descriptor after the standard streams is the report pipe.
                let mut pipe = File::options().write(true).open("/dev/fd/3")?;
                Ok(pipe.write_all(b"\xff\xfe{\"done\nwhat is this?\n")?)
            }),
            control("prints-100-megabytes", |_| {
                let line = [b'x'; 1 << 20];
                for _ in 0..50 {
                    std::io::stdout().write_all(&line)?;
                    std::io::stderr().write_all(&line)?;
                }
                Ok(())
            }),
            // In the trial's own group, with the trial's pipes open.
            control("leaves-a-child", |trial| leaves(trial, stubborn("sh"))),
            // Out of the group by `setsid`, with the trial's pipes open.
            control("leaves-a-daemon", |trial| leaves(trial, stubborn("setsid"))),
            // Without a pipe: only the process table shows it.
            control("leaves-a-quiet-daemon", |trial| {
                let mut daemon = stubborn("setsid");
                daemon.stdout(File::open("/dev/null")?).stderr(File::open("/dev/null")?);
                leaves(trial, daemon)
            }),
            hazard("runs-out-of-descriptors", Panicked, |_| {
                let mut files = Vec::new();
                while let Ok(file) = File::open("/dev/null") {
                    files.push(file);
                }
                panic!("no descriptor is left after {:?}", files.last().map(|it| it.as_raw_fd()))
            }),
            control("sees-a-clean-world", sees_a_clean_world),
            control("looks-at-a-part", looks_at_a_part),
        ])
        .part("panics", |arguments| panic!("{}", arguments.concat()))
        .shows_first("aborts")
        .shows_first("panics-elsewhere")
        .claim("Z1", "whatever a trial does, the lab is not harmed")
        .supported_if(every("well-behaved").is(Clean))
        .refuted_if(every("well-behaved").is(Hung))
        .run()
}

fn aborts(_: &Trial<'_>) -> TrialResult {
    struct Second;
    impl Drop for Second {
        fn drop(&mut self) {
            panic!("two");
        }
    }
    let _second = Second;
    panic!("one")
}

fn hangs() -> TrialResult {
    loop {
        thread::park();
    }
}

/// Waits until somebody kills it, with a child that ignores every signal that can be ignored.
fn waits_for_long(trial: &Trial<'_>) -> TrialResult {
    let child = stubborn("sh").spawn()?.id();
    fs::write(trial.directory().join("processes"), format!("{} {child}", process::id()))?;
    hangs()
}

fn close_all_descriptors() {
    for descriptor in 3..64 {
        let _ = nix::unistd::close(descriptor);
    }
}

/// A file gets the number that the report pipe had. The report must not end up in it.
fn reuses_the_descriptor(trial: &Trial<'_>) -> TrialResult {
    close_all_descriptors();
    let path = trial.directory().join("mine");
    for _ in 3..16 {
        let file = File::create(&path)?.into_raw_fd();
        assert!(file >= 3, "{file} belongs to the standard streams");
    }
    let _ = thread::spawn(|| panic!("reported to nobody")).join();
    trial.done();
    // The exit code is all that an outsider can see of it.
    if fs::read(&path)?.is_empty() { Ok(()) } else { process::exit(7) }
}

/// A process that ignores every signal that can be ignored, started by `sh` or `setsid`.
fn stubborn(by: &str) -> Command {
    let mut command = Command::new(by);
    if by == "setsid" {
        command.arg("sh");
    }
    command.args(["-c", "trap '' HUP INT TERM; while :; do sleep 1; done"]);
    command
}

fn leaves(trial: &Trial<'_>, mut command: Command) -> TrialResult {
    trial.record("left", command.spawn()?.id());
    Ok(())
}

fn sees_a_clean_world(trial: &Trial<'_>) -> TrialResult {
    let mut names: Vec<_> = env::vars().map(|(name, _)| name).collect();
    names.sort_unstable();
    trial.record("environment", names.join(" "));
    trial.check("the directory is empty", fs::read_dir(trial.directory())?.next().is_none());
    trial.check("it is the current one", env::current_dir()? == trial.directory());
    trial.check("it is for temporary files", env::temp_dir() == trial.directory());
    let mut input = String::new();
    trial.check("the input is empty", std::io::stdin().read_line(&mut input)? == 0);
    Ok(())
}

fn looks_at_a_part(trial: &Trial<'_>) -> TrialResult {
    let ended = trial.part("panics")?.args(["as ", "told"]).output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    trial.check("its panic was seen from outside", said.contains("as told"));
    trial.check("and so was how it ended", ended.status.code() == Some(101));
    let ended = trial.part("missing")?.output()?;
    trial.check("there is no such part", ended.status.code() == Some(2));
    Ok(())
}
