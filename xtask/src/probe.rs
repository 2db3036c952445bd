//! `cargo xtask probe`: runs any command many times in the lab's sandbox. The engine is in the lab.

mod text;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use lab::{
    interrupt::{self, Interrupt},
    probe::{Command, Plan, Report, Trial},
};

use crate::{
    failure::{Context as _, Failure, Result},
    figures::plural,
    flags::{self, Format},
    output::{self, Paper, Progress},
    process,
    workspace::Workspace,
};

/// How many trials there are, if nothing else limits them.
const TRIALS: u32 = 50;

pub fn run(flags: &flags::Probe, workspace: &Workspace) -> Result<ExitCode> {
    let mut commands = vec![command(flags.command.clone())?];
    if let Some(other) = &flags.compare {
        commands.push(command(words(other)?)?);
    }
    let plan = plan(flags, folder(flags.keep.as_deref(), workspace)?);
    let interrupt = Interrupt::install()?;
    let mut progress = Trials::start(&plan, commands.len());
    let (report, ran) = plan.run(commands, &interrupt, |trial, news| progress.ended(trial, news));
    drop(progress);
    // It stays if something was kept in it.
    let _ = fs::remove_dir(&plan.keep);
    output::print(&match flags.format {
        Format::Text => text::render(&report, Paper::stdout()),
        Format::Json => serde_json::to_string(&report)? + "\n",
    });
    ran?;
    Ok(exit_code(&report))
}

fn exit_code(report: &Report) -> ExitCode {
    if report.interrupted {
        ExitCode::from(interrupt::EXIT_CODE)
    } else if report.has_failures() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn plan(flags: &flags::Probe, keep: PathBuf) -> Plan {
    let has_limit = flags.time.is_some() || flags.until_failure;
    let plan = Plan::new(flags.seed.unwrap_or_else(|| fastrand::u64(..)), keep);
    Plan {
        trials: flags.trials.or((!has_limit).then_some(TRIALS)),
        time: flags.time,
        until_failure: flags.until_failure,
        jobs: flags.jobs.map_or(plan.jobs, |jobs| jobs as usize),
        load: flags.load,
        timeout: flags.timeout,
        ..plan
    }
}

/// The command that consists of these words, if its program is there.
fn command(words: Vec<OsString>) -> Result<Command> {
    let typed = typed(&words);
    let mut words = words.into_iter();
    let program = words.next().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| Failure::Usage("there is no command to run".into()))?;
    process::find(&program)?;
    Ok(Command { program: program.into(), arguments: words.collect(), typed })
}

/// The words of a command that is quoted as for a shell.
fn words(command: &str) -> Result<Vec<OsString>> {
    let words = shlex::split(command)
        .ok_or_else(|| Failure::Usage(format!("a quote is not closed in `{command}`")))?;
    if words.is_empty() {
        return Err(Failure::Usage("there is no command in --compare".into()));
    }
    Ok(words.into_iter().map(OsString::from).collect())
}

/// A command as it is typed into a shell.
fn typed(words: &[OsString]) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words = words.iter().map(|word| &**word);
    // No shell takes a word with a zero byte, and neither does the system.
    shlex::try_join(words.clone()).unwrap_or_else(|_| words.collect::<Vec<_>>().join(" "))
}

/// The folder for the output of trials: the one that was asked for, which must be new, or one in the
/// target directory.
fn folder(asked: Option<&Path>, workspace: &Workspace) -> Result<PathBuf> {
    let Some(asked) = asked else {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let name = format!("{}-{}", now.replace(':', ""), std::process::id());
        let folder = workspace.target()?.join("probe").join(name);
        fs::create_dir_all(&folder).context(|| {
            format!("cannot make the folder {} (--keep names another)", folder.display())
        })?;
        return Ok(folder);
    };
    let folder = std::path::absolute(asked)?;
    let shown = folder.display();
    if folder.symlink_metadata().is_ok() {
        return Err(Failure::Usage(format!("{shown} already exists: name a new folder")));
    }
    fs::create_dir_all(&folder)
        .map_err(|error| Failure::Usage(format!("cannot make the folder {shown}: {error}")))?;
    Ok(folder)
}

/// The progress of a probe.
struct Trials {
    progress: Progress,
    ended: usize,
    failed: usize,
}

impl Trials {
    fn start(plan: &Plan, commands: usize) -> Self {
        let trials = plan.trials.map(|trials| u64::from(trials) * commands as u64);
        let template = match (trials, plan.time) {
            (Some(_), _) => "{bar:24} {pos}/{len} trials, {msg}  {elapsed} gone, about {eta} to go",
            (None, None) => "{spinner} {pos} trials, {msg}  {elapsed} gone",
            (None, Some(time)) => {
                let time = humantime::format_duration(time);
                &format!("{{spinner}} {{pos}} trials, {{msg}}  {{elapsed}} of {time} gone")
            }
        };
        let progress = Progress::start(trials, template);
        progress.message("0 failed".to_owned());
        Self { progress, ended: 0, failed: 0 }
    }

    /// A trial ended. The first that fails in a way of its own is worth a line.
    fn ended(&mut self, trial: &Trial, is_news: bool) {
        self.ended += 1;
        self.failed += usize::from(trial.way.is_failure());
        self.progress.step();
        self.progress.message(format!("{} failed", self.failed));
        if is_news {
            self.progress.note(&format!("trial {}: {}", trial.number, trial.way));
        }
        let Self { progress, ended, failed } = self;
        progress.line(|| format!("{}, {failed} failed", plural(*ended, "trial")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_typed_again() {
        let command = words("sh -c 'echo \"it is $PROBE_TRIAL\"; exit 3'").unwrap();
        assert_eq!(command.len(), 3);
        assert_eq!(words(&typed(&command)).unwrap(), command);
    }
}
