//! An experiment on the lab itself: trials that misbehave in every way the sandbox must survive.
//!
//! Each variant does one thing that a crashing, hanging or careless program does, and predicts how
//! the lab sees it. `cargo run -p lab --example 90_misbehaviour` shows the table; the tests in
//! `tests/faults.rs` hold it to that, and look that nothing is left running and nothing is left on
//! the disk.

#![allow(clippy::panic, reason = "panics are what some of these trials are about")]

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::{AsRawFd as _, IntoRawFd as _},
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Failed, Hung, Panicked, Signalled},
    Trial, TrialResult, control, every, hazard,
};

const SHORT: Duration = Duration::from_millis(400);

fn main() -> ExitCode {
    Experiment::new("90_misbehaviour")
        .question("What does the lab make of trials that misbehave?")
        .hypothesis("Each misbehaviour has its outcome, and none outlives its trial.")
        .variants([
            control("well-behaved", well_behaved),
            hazard("panics-elsewhere", Panicked, panics_elsewhere),
            hazard("aborts", Aborted, aborts),
            hazard("kills-itself", Signalled, kills_itself),
            hazard("hangs", Hung, hangs).deadline(SHORT),
            hazard("waits-for-long", Hung, waits_for_long),
            hazard("fails-a-check", Failed, fails_a_check),
            hazard("returns-an-error", Failed, returns_an_error),
            hazard("exits-with-3", Failed, exits_with_3),
            hazard("leaves-early", Failed, leaves_early),
            control("leaves-when-done", leaves_when_done),
            hazard("closes-its-descriptors", Failed, closes_its_descriptors),
            hazard("reuses-the-descriptor", Failed, reuses_the_descriptor),
            hazard("reports-nonsense", Failed, reports_nonsense),
            control("prints-100-megabytes", prints_100_megabytes),
            control("leaves-a-child", leaves_a_child),
            control("leaves-a-daemon", leaves_a_daemon),
            control("leaves-a-quiet-daemon", leaves_a_quiet_daemon),
            hazard("runs-out-of-descriptors", Panicked, runs_out_of_descriptors),
            control("sees-a-clean-world", sees_a_clean_world),
            control("looks-at-a-part", looks_at_a_part),
        ])
        .part("panics", |arguments| panic!("{}", arguments.concat()))
        .tells("aborts")
        .tells("panics-elsewhere")
        .claim("Z1", "whatever a trial does, the lab is not harmed")
        .supported_if(every("well-behaved").is(Clean))
        .refuted_if(every("well-behaved").is(Hung))
        .run()
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

fn well_behaved(trial: &Trial<'_>) -> TrialResult {
    trial.record("seed", trial.random().i64(..));
    trial.record("spent", Duration::from_micros(3));
    trial.record("fine", true);
    trial.check("one is one", true);
    Ok(())
}

/// A panic on a thread that nobody asks: the exit code is 0 all the same.
fn panics_elsewhere(_: &Trial<'_>) -> TrialResult {
    let thread = thread::Builder::new().name("elsewhere".to_owned());
    let _ = thread.spawn(|| panic!("nobody looks here"))?.join();
    Ok(())
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

fn kills_itself(_: &Trial<'_>) -> TrialResult {
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL)?;
    Ok(())
}

fn hangs(_: &Trial<'_>) -> TrialResult {
    loop {
        thread::park();
    }
}

/// Waits, with a child that ignores every signal that can be ignored, until somebody kills both.
fn waits_for_long(trial: &Trial<'_>) -> TrialResult {
    let child = stubborn("sh")?;
    fs::write(trial.directory().join("processes"), format!("{} {child}", std::process::id()))?;
    hangs(trial)
}

fn fails_a_check(trial: &Trial<'_>) -> TrialResult {
    trial.check("two is one", 2 == trial.directory().iter().take(1).count());
    Ok(())
}

fn returns_an_error(_: &Trial<'_>) -> TrialResult {
    File::open("there is no such file")?;
    Ok(())
}

fn exits_with_3(trial: &Trial<'_>) -> TrialResult {
    trial.done();
    std::process::exit(3)
}

fn leaves_early(_: &Trial<'_>) -> TrialResult {
    std::process::exit(0)
}

fn leaves_when_done(trial: &Trial<'_>) -> TrialResult {
    trial.done();
    std::process::exit(0)
}

/// The report pipe is among them: the lab must not take silence for success.
fn closes_its_descriptors(_: &Trial<'_>) -> TrialResult {
    for descriptor in 3..64 {
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

/// A file gets the number that the report pipe had. The report must not end up in it.
fn reuses_the_descriptor(trial: &Trial<'_>) -> TrialResult {
    for descriptor in 3..64 {
        let _ = nix::unistd::close(descriptor);
    }
    let path = trial.directory().join("mine");
    for _ in 3..16 {
        let file = File::create(&path)?.into_raw_fd();
        assert!(file >= 3, "{file} belongs to the standard streams");
    }
    let _ = thread::spawn(|| panic!("reported to nobody")).join();
    trial.done();
    // What an outsider can see of it: the exit code.
    if fs::read(&path)?.is_empty() { Ok(()) } else { std::process::exit(7) }
}

fn reports_nonsense(_: &Trial<'_>) -> TrialResult {
    // The lowest descriptor after the standard streams is the report pipe.
    let mut pipe = File::options().write(true).open("/dev/fd/3")?;
    pipe.write_all(b"\xff\xfe{\"done\nwhat is this?\n")?;
    Ok(())
}

fn prints_100_megabytes(_: &Trial<'_>) -> TrialResult {
    let line = [b'x'; 1 << 20];
    for _ in 0..50 {
        std::io::stdout().write_all(&line)?;
        std::io::stderr().write_all(&line)?;
    }
    Ok(())
}

/// A child in the trial's own group, which ignores signals and holds the trial's pipes open.
fn leaves_a_child(trial: &Trial<'_>) -> TrialResult {
    trial.record("left", stubborn("sh")?);
    Ok(())
}

/// A child that leaves the group by `setsid`, and holds the trial's pipes open.
fn leaves_a_daemon(trial: &Trial<'_>) -> TrialResult {
    trial.record("left", stubborn("setsid")?);
    Ok(())
}

/// The same without a hold on any pipe: nothing at all tells of it but the process table.
fn leaves_a_quiet_daemon(trial: &Trial<'_>) -> TrialResult {
    let mut daemon = Command::new("setsid");
    daemon.args(["sh", "-c", STUBBORN]);
    daemon.stdout(File::open("/dev/null")?).stderr(File::open("/dev/null")?);
    trial.record("left", daemon.spawn()?.id());
    Ok(())
}

const STUBBORN: &str = "trap '' HUP INT TERM; while :; do sleep 1; done";

fn stubborn(program: &str) -> std::io::Result<u32> {
    let arguments: &[&str] =
        if program == "setsid" { &["sh", "-c", STUBBORN] } else { &["-c", STUBBORN] };
    Ok(Command::new(program).args(arguments).spawn()?.id())
}

fn runs_out_of_descriptors(_: &Trial<'_>) -> TrialResult {
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    panic!("no descriptor is left after number {:?}", files.last().map(|file| file.as_raw_fd()))
}

fn sees_a_clean_world(trial: &Trial<'_>) -> TrialResult {
    let mut names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
    names.sort_unstable();
    trial.record("environment", names.join(" "));
    trial.check("the directory is empty", fs::read_dir(trial.directory())?.next().is_none());
    trial.check("it is the current one", std::env::current_dir()? == trial.directory());
    trial.check("it is for temporary files", std::env::temp_dir() == trial.directory());
    let mut input = String::new();
    trial.check("the input is empty", std::io::stdin().read_line(&mut input)? == 0);
    Ok(())
}
