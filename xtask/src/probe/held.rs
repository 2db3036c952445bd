//! `probe --chaos`: the trials of a command whose threads are held back, and what was done to them.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use chaos::{POLICIES, Place, Policy};
use lab::{
    interrupt::Interrupt,
    nearest,
    probe::{Command, Plan, Report},
};
use serde::Serialize;
use tempfile::TempDir;

use crate::{
    failure::{Failure, Result},
    output::{self, Paper},
};

/// How often the seed of a failure is run again, and for how many kinds of failure.
const REPEATS: u32 = 20;
const REPEATED_KINDS: usize = 3;

/// Holds the threads of a command's trials.
pub(super) struct Held {
    policy: Option<Policy>,
    reports: TempDir,
}

/// What was done to the trials, and with which of them they failed.
#[derive(Debug, Serialize)]
pub(super) struct HeldBack {
    /// The longest that a thread was held at once, at most, in milliseconds.
    longest_ms: u128,
    /// By policy: the trials.
    policies: BTreeMap<String, Trials>,
    /// How often threads were held at each kind of place, in all trials.
    places: BTreeMap<Place, u32>,
    /// The first seed of the most frequent kinds of failure, run again.
    repeats: Vec<Repeat>,
}

#[derive(Debug, Default, Serialize)]
struct Trials {
    trials: u32,
    failed: u32,
    holds: u32,
    held_micros: u64,
}

/// A seed that was run again.
#[derive(Debug, Serialize)]
struct Repeat {
    seed: u64,
    policy: String,
    /// How it had ended.
    ending: String,
    /// How many of the repeats failed, in whichever way.
    failed: u32,
    of: u32,
}

impl Held {
    pub(super) fn new(policy: Option<&str>) -> Result<Self> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err(Failure::Failed("--chaos needs Linux on x86-64".to_owned()));
        }
        chaos::can_hold().map_err(|error| {
            Failure::Failed(format!(
                "--chaos traces the command, which is not possible here (a container may forbid ptrace or \
                 seccomp): {error}"
            ))
        })?;
        let known = |name: &str| {
            Policy::named(name).ok_or_else(|| {
                let names = POLICIES.map(|policy| policy.name);
                let like = nearest::of(name, names);
                let guess = like.map(|it| format!("; did you mean `{it}`?")).unwrap_or_default();
                let lines = POLICIES.map(|it| format!("\n  {:<10} {}", it.name, it.about));
                Failure::Usage(format!("no policy `{name}`{guess} They are:{}", lines.concat()))
            })
        };
        Ok(Self { policy: policy.map(known).transpose()?, reports: tempfile::tempdir()? })
    }

    /// The command that runs this one and holds its threads.
    pub(super) fn command(&self, of: &Command) -> Result<Command> {
        let all = |reports| -> Result<Vec<_>> {
            let mut words = chaos::words(self.policy, reports)?;
            words.push(of.program.clone().into());
            words.extend(of.arguments.iter().cloned());
            Ok(words)
        };
        // Whoever runs a trial again has no folder for a report.
        let shell_quoted = super::shell_quoted(&all(None)?);
        let mut words = all(Some(self.reports.path()))?.into_iter();
        let program = words.next().unwrap_or_default().into();
        Ok(Command { program, arguments: words.collect(), shell_quoted })
    }

    /// Sums up what was done, and runs the seeds of failures again.
    pub(super) fn finish(
        self,
        report: &Report,
        failed: &[u32],
        command: &Command,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> Result<HeldBack> {
        let mut held = HeldBack {
            longest_ms: chaos::LONGEST.as_millis(),
            policies: BTreeMap::new(),
            places: BTreeMap::new(),
            repeats: Vec::new(),
        };
        let trials = report.commands.first().map_or(0, |arm| arm.trials);
        // A trial that was killed has written no report.
        let done = (0..trials).filter_map(|trial| Some((trial, self.report(trial)?)));
        for (trial, done) in done.collect::<Vec<_>>() {
            let of = held.policies.entry(done.policy).or_default();
            of.trials += 1;
            of.failed += u32::from(failed.contains(&trial));
            of.holds += done.holds.values().sum::<u32>();
            of.held_micros += done.held_micros;
            for (place, holds) in done.holds {
                *held.places.entry(place).or_default() += holds;
            }
        }
        let kinds = report.commands.first().map_or(&[][..], |arm| &arm.kinds);
        for kind in kinds.iter().take(REPEATED_KINDS) {
            if interrupt.raised() || report.until_failure {
                break;
            }
            output::note(&format!("running seed {} again, {REPEATS} times", kind.first.seed));
            let again = Plan {
                trials: Some(REPEATS),
                time: None,
                same_seed: Some(kind.first.seed),
                keep: plan.keep.join(format!("seed-{}", kind.first.seed)),
                ..plan.clone()
            };
            let (repeated, result) = again.run(vec![command.clone()], interrupt, |_, _| {});
            result?;
            let arm = repeated.commands.first();
            held.repeats.push(Repeat {
                seed: kind.first.seed,
                policy: self.policy.unwrap_or(Policy::of(kind.first.seed)).name.to_owned(),
                ending: kind.end.to_string(),
                failed: arm.map_or(0, |arm| arm.failed),
                of: arm.map_or(0, |arm| arm.trials),
            });
        }
        Ok(held)
    }

    fn report(&self, trial: u32) -> Option<chaos::Report> {
        let text = fs::read(self.reports.path().join(format!("trial-{trial}.json"))).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl HeldBack {
    pub(super) fn render(&self, paper: Paper) -> String {
        let mut text = String::from("\n");
        let holds: u32 = self.policies.values().map(|it| it.holds).sum();
        text += &paper.sentence(&format!(
            "In the first command, threads were held back {holds} times, for at most {} ms each. This rate \
             is not the natural one, and a zero is no proof.",
            self.longest_ms
        ));
        let rows = self.policies.iter().map(|(name, it)| {
            let about = Policy::named(name).map_or("", |policy| policy.about);
            let mean = f64::from(it.holds) / f64::from(it.trials.max(1));
            vec![
                name.clone(),
                format!("{}/{}", it.failed, it.trials),
                format!("{mean:.1}"),
                about.to_owned(),
            ]
        });
        text +=
            &paper.table(&["policy", "failed", "holds a trial", "holds"], rows.collect(), &[1, 2]);
        text.push('\n');
        for Repeat { seed, policy, ending, failed, of } in &self.repeats {
            let _ = writeln!(
                text,
                "Seed {seed} ({policy}), which {ending}: {failed} of {of} repeats failed."
            );
        }
        text
    }
}
