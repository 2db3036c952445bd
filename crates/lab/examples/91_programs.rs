//! An experiment on the lab itself: trials that become another program, and runs that lack something.
//!
//! Each variant becomes a shell that ends in one way, and predicts how the lab sees it. The variable
//! `LACK` decides whether the experiment has what it needs. `tests/lab` runs it.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lab::{
    Equipment, Experiment, Lack,
    Outcome::{Aborted, Clean, Failed, Hung, Panicked, Signalled},
    Preparation, Program, Trial, TrialResult, control, every, hazard,
    sandbox::{Ending, Sandboxed, Surroundings},
};

/// Reports an observation.
const OBSERVES: &str =
    r#"echo '{"observation":{"name":"rows","value":{"integer":3}}}' >&$LAB_REPORT"#;

/// Reports that it leaves, by a clock that began with the machine.
const LEAVES: &str = r#"echo "{\"leaving\":$(cut -d. -f1 /proc/uptime)000000000}" >&$LAB_REPORT"#;

const PANICS: &str = "echo \"thread 'worker' panicked at src/lib.rs:2:5:\" >&2; echo over >&2";

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What does the lab make of a trial that becomes another program?")
        .hypothesis("Only the expected end is clean.")
        .needs(shell)
        .variants([
            control("ends-well", |trial| {
                trial.record("before", true);
                shell_says(trial, &format!("{OBSERVES}; echo bye"), |it| it.ends_with("bye"))
            }),
            control("says-when-it-leaves", |trial| shell_says(trial, LEAVES, |it| it)),
            control("ends-with-3", |trial| {
                shell_says(trial, "echo lost >&2; exit 3", |it| it.exits_with(3).complains("lost"))
            }),
            hazard("ends-otherwise", Failed, |trial| {
                shell_says(trial, "exit 0", |it| it.exits_with(3))
            }),
            hazard("misses-its-last-line", Failed, |trial| {
                shell_says(trial, "echo hello", |it| it.ends_with("bye"))
            }),
            hazard("says-what-it-must-not", Failed, |trial| {
                shell_says(trial, "echo FATAL: odd >&2", |it| it.never_says("FATAL"))
            }),
            hazard("has-a-problem", Failed, |trial| {
                shell_says(trial, r#"echo '{"problem":"a row was lost"}' >&$LAB_REPORT"#, |it| it)
            }),
            hazard("panics", Panicked, |trial| shell_says(trial, PANICS, |it| it)),
            hazard("aborts", Aborted, |trial| shell_says(trial, "kill -ABRT $$", |it| it)),
            hazard("is-killed", Signalled, |trial| shell_says(trial, "kill -SEGV $$", |it| it)),
            hazard("hangs", Hung, |trial| shell_says(trial, "sleep 1000 & wait", |it| it))
                .deadline(Duration::from_millis(400)),
            hazard("cannot-start", Failed, |trial| {
                trial.becomes(Program::new(Command::new("there-is-no-such-program")).exits_with(1))
            }),
            control("sees-its-world", |trial| {
                let world = r#"test "$PWD" = "$TMPDIR" && test -z "$CARGO" && test $CALLED = once \
                               && test 2 = $# && ! read line && echo "$WITH""#;
                let mut command = Command::new(env::var_os("SHELL_FOUND").unwrap_or_default());
                command.args(["-c", world, "sh", "one", "two"]).env("WITH", "more");
                trial.becomes(Program::new(command).ends_with("more"))
            }),
        ])
        .claim("Z1", "every end is clean")
        .supported_if(every("*").is(Clean))
        .refuted_if(every("aborts").is(Aborted))
        .run()
}

fn shell_says(
    trial: &Trial<'_>,
    script: &str,
    expecting: impl FnOnce(Program) -> Program,
) -> TrialResult {
    let mut command = Command::new(env::var_os("SHELL_FOUND").unwrap_or_default());
    command.args(["-c", script]);
    trial.becomes(expecting(Program::new(command)))
}

/// Finds the shell, once; or does what `LACK` says.
fn shell(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    static CALLED: AtomicBool = AtomicBool::new(false);
    preparation.say("looking for a shell");
    let (program, directory) = (Path::new("/bin/sh"), &env::temp_dir());
    let script = match env::var("LACK").as_deref() {
        Ok("it") => return Err(Lack::missing("there is no shell", "install one")),
        Ok("order") => return Err(Lack::broken("the shell is out of order")),
        Ok("time") => "echo $$ > \"$FILE\"; sleep 1000 & wait",
        _ => "exit 7",
    };
    let ran = preparation.run(&Sandboxed {
        program,
        arguments: vec!["-c".into(), script.into()],
        surroundings: Surroundings::Inherited { directory, variables: Vec::new() },
        deadline: Duration::from_secs(60),
    })?;
    if ran.ending != Ending::Exited(7) {
        return Err(Lack::broken(format!("the shell ended with {}", ran.ending)));
    }
    let called = if CALLED.swap(true, Ordering::Relaxed) { "again" } else { "once" };
    Ok(Equipment::new()
        .version("shell", "of some kind")
        .variable("SHELL_FOUND", program)
        .variable("CALLED", called))
}
