//! `cargo xtask probe`: runs any command many times in the lab's sandbox. The implementation is
//! `lab::probe`.

pub(crate) mod held;
mod text;

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    time::SystemTime,
};

use clap::Args as _;
use serde::Serialize;

use lab::{
    interrupt::{self, Interrupt},
    nearest,
    probe::{Command, Plan, Report, Trial},
    sandbox::{AS_PROCESS_1, Input, Provoked},
};

use self::held::{Held, HeldBack};
use crate::{
    child,
    failure::{Context as _, Failure, Result},
    figures::plural,
    flags::{self, Format},
    output::{self, Paper, Progress},
    workspace::Workspace,
};

/// The default number of trials.
const DEFAULT_TRIALS: u32 = 50;

/// The same with --chaos, whose policies share them.
const DEFAULT_CHAOS_TRIALS: u32 = 200;

pub fn run(flags: &flags::Probe, workspace: &Workspace) -> Result<ExitCode> {
    match &flags.policy {
        Some(policy) if policy == "help" => {
            output::print(&held::policies());
            return Ok(ExitCode::SUCCESS);
        }
        Some(_) if !flags.chaos => {
            return Err(Failure::Usage("--policy needs --chaos".to_owned()));
        }
        _ => {}
    }
    let mut commands = vec![command(flags.command.clone())?];
    match &flags.compare {
        Some(Some(second_command)) => commands.push(command(split_words(second_command)?)?),
        Some(None) if flags.chaos => commands.push(commands[0].clone()),
        Some(None) => {
            return Err(Failure::Usage(
                "--compare needs a command, or --chaos, to compare with the same command without it"
                    .to_owned(),
            ));
        }
        None => {}
    }
    check(flags)?;
    let mut held = if flags.chaos { Some(Held::new(flags.policy.as_deref())?) } else { None };
    let mut plan = plan(flags, folder(flags.keep.as_deref(), workspace)?);
    let interrupt = Interrupt::install()?;
    if let Some(held) = &mut held {
        held.survey(&commands[0], &plan, &interrupt)?;
        let mut progress = Trials::start(&plan, 1);
        held.explore(&commands[0], &mut plan, &interrupt, |trial, is_new_failure| {
            progress.trial_ended(trial, is_new_failure);
        })?;
    }
    let bare = commands[0].clone();
    if let Some(held) = &held {
        commands[0] = held.command(&bare)?;
    }
    let mut progress = Trials::start(&plan, commands.len());
    let (report, result) = plan.run(commands, &interrupt, |trial, is_new_failure| {
        progress.trial_ended(trial, is_new_failure);
        if let Some(held) = &mut held {
            held.ended(trial);
        }
    });
    drop(progress);
    let held = match held {
        Some(held) => Some(held.finish(&report, &bare, &plan, &interrupt)?),
        None => None,
    };
    if flags.keep.is_none() {
        // `remove_dir` fails if the folder has output, so only an empty one goes.
        let _ = fs::remove_dir(&plan.keep);
    }
    let has_failures = report.has_failures() || held.as_ref().is_some_and(HeldBack::has_failures);
    // The report is printed even if the sandbox failed.
    output::print(&match flags.format {
        Format::Text => {
            let mut text = text::render(&report, Paper::stdout());
            text.extend(held.iter().map(|held| held.render(Paper::stdout())));
            text
        }
        Format::Json => serde_json::to_string(&Whole { report: &report, chaos: held })? + "\n",
    });
    result?;
    Ok(exit_code(has_failures, &report, &interrupt))
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    chaos: Option<HeldBack>,
}

/// Looks for what the options need, before anything runs.
fn check(flags: &flags::Probe) -> Result<()> {
    if let Input::File(path) = &flags.stdin {
        fs::File::open(path).map_err(|error| {
            let like = path.to_str().and_then(|word| nearest::of(word, ["open", "null"]));
            let guess = like.map(|it| format!("; did you mean `--stdin {it}`?"));
            let (path, guess) = (path.display(), guess.unwrap_or_default());
            Failure::Usage(format!("cannot read {path} for --stdin: {error}{guess}"))
        })?;
    }
    let [unshare, arguments @ ..] = AS_PROCESS_1;
    if flags.pid1 {
        let can = process::Command::new(unshare).args(arguments).arg("true").output();
        if !can.is_ok_and(|it| it.status.success()) {
            return Err(Failure::Failed(
                "--pid1 needs Linux, `unshare` of util-linux, and user namespaces or root; \
                 `unshare --user --map-root-user --pid --fork true` fails here"
                    .to_owned(),
            ));
        }
    }
    Ok(())
}

fn exit_code(has_failures: bool, report: &Report, interrupt: &Interrupt) -> ExitCode {
    // Also while seeds were run again, after the report was complete.
    if report.interrupted || interrupt.raised() {
        ExitCode::from(interrupt::EXIT_CODE)
    } else if has_failures {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn plan(flags: &flags::Probe, keep: PathBuf) -> Plan {
    let has_other_end = flags.time.is_some() || flags.until_failure;
    let default = if flags.chaos { DEFAULT_CHAOS_TRIALS } else { DEFAULT_TRIALS };
    let plan = Plan::new(flags.seed.unwrap_or_else(|| fastrand::u64(..)), keep);
    Plan {
        trials: flags.trials.or((!has_other_end).then_some(default)),
        time: flags.time,
        until_failure: flags.until_failure,
        jobs: flags.jobs.map_or(plan.jobs, |jobs| jobs as usize),
        load: flags.load,
        timeout: flags.timeout,
        provoked: Provoked {
            stdin: flags.stdin.clone(),
            signals: flags.signal.iter().map(|(_, after, signal)| (*after, *signal)).collect(),
            as_process_1: flags.pid1,
            is_looked_at: true,
        },
        provoked_by: flags.provoked(),
        ..plan
    }
}

/// Parses a command line; fails if the program does not exist.
fn command(words: Vec<OsString>) -> Result<Command> {
    let shell_quoted = shell_quoted(&words);
    let mut words = words.into_iter();
    let program = words.next().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| Failure::Usage("there is no command to run".into()))?;
    child::find(&program).map_err(|error| no_option(&program).unwrap_or(error))?;
    Ok(Command { program: program.into(), arguments: words.collect(), shell_quoted })
}

/// What is wrong with a word that may be an option with a slip of the pen: clap takes it for the command.
fn no_option(word: &OsStr) -> Option<Failure> {
    let word = word.to_str()?;
    let name = word.split('=').next().filter(|it| it.starts_with('-'))?;
    let probe = flags::Probe::augment_args(clap::Command::new("probe"));
    let options: Vec<_> =
        probe.get_arguments().filter_map(|it| Some(format!("--{}", it.get_long()?))).collect();
    let guess = nearest::of(name, options.iter().map(|it| &**it));
    let guess = guess.map(|it| format!("; did you mean `{it}`?")).unwrap_or_default();
    Some(Failure::Usage(format!("`{name}` is neither an option nor a command{guess}")))
}

/// Splits a shell-quoted command into arguments.
fn split_words(command: &str) -> Result<Vec<OsString>> {
    let words = shlex::split(command)
        .ok_or_else(|| Failure::Usage(format!("a quote is not closed in `{command}`")))?;
    if words.is_empty() {
        return Err(Failure::Usage("there is no command in --compare".into()));
    }
    Ok(words.into_iter().map(OsString::from).collect())
}

/// Quotes a command for a shell.
fn shell_quoted(words: &[OsString]) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words = words.iter().map(|word| &**word);
    // Only a word with a zero byte cannot be quoted. The operating system does not accept one either.
    shlex::try_join(words.clone()).unwrap_or_else(|_| words.collect::<Vec<_>>().join(" "))
}

/// Creates the folder for the output of trials: the requested one, which must not exist yet, or one in
/// the target directory.
fn folder(requested: Option<&Path>, workspace: &Workspace) -> Result<PathBuf> {
    let Some(requested) = requested else {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let name = format!("{}-{}", now.replace(':', ""), process::id());
        let folder = workspace.target()?.join("probe").join(name);
        fs::create_dir_all(&folder).context(|| {
            format!("cannot create {}; choose another folder with --keep", folder.display())
        })?;
        return Ok(folder);
    };
    let folder = std::path::absolute(requested)?;
    let shown = folder.display();
    if folder.symlink_metadata().is_ok() {
        return Err(Failure::Usage(format!("{shown} already exists; choose a new folder")));
    }
    fs::create_dir_all(&folder)
        .map_err(|error| Failure::Usage(format!("cannot create {shown}: {error}")))?;
    Ok(folder)
}

/// The progress of a probe.
struct Trials {
    progress: Progress,
    /// How many commands take turns.
    commands: usize,
    ended: usize,
    failed: usize,
}

impl Trials {
    fn start(plan: &Plan, commands: usize) -> Self {
        let trials = plan.trials.map(|trials| u64::from(trials) * commands as u64);
        let template = match (trials, plan.time) {
            (Some(_), _) => {
                "{bar:24} {pos}/{len} trials, {msg}  {elapsed} elapsed, about {eta} left"
            }
            (None, None) => "{spinner} {pos} trials, {msg}  {elapsed} elapsed",
            (None, Some(time)) => {
                let time = humantime::format_duration(time);
                &format!("{{spinner}} {{pos}} trials, {{msg}}  {{elapsed}} of {time} elapsed")
            }
        };
        let progress = Progress::start(trials, template);
        progress.message("0 failed".to_owned());
        Self { progress, commands, ended: 0, failed: 0 }
    }

    /// Counts a trial, and prints a line for the first trial of each kind of failure.
    fn trial_ended(&mut self, trial: &Trial, is_new_failure: bool) {
        self.ended += 1;
        self.failed += usize::from(trial.end.is_failure());
        self.progress.step();
        self.progress.message(format!("{} failed", self.failed));
        if is_new_failure {
            let of = match (self.commands, trial.command) {
                (1, _) => "",
                (_, 0) => " of A",
                _ => " of B",
            };
            self.progress.note(&format!("trial {}{of}: {}", trial.number, trial.end));
        }
        let Self { progress, ended, failed, .. } = self;
        progress.line(|| format!("{}, {failed} failed", plural(*ended, "trial")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_command_splits_into_the_same_words() {
        let command = split_words("sh -c 'echo \"it is $PROBE_TRIAL\"; exit 3'").unwrap();
        assert_eq!(command.len(), 3);
        assert_eq!(split_words(&shell_quoted(&command)).unwrap(), command);
    }
}
