//! `probe --chaos`: the trials of a command whose threads are held back, and what was done to them.
//!
//! Nobody knows beforehand which policy finds something. So a part of the trials explores: all policies in turn, then
//! those that made the most trials fail. The rest, with other seeds, goes to the best one. Only these trials say
//! anything about the rate: the best of ten is partly the luckiest.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chaos::{NONE, Options, POLICIES, Place, Policy, Survey, Surveys};
use lab::{
    interrupt::Interrupt,
    nearest,
    probe::{Arm, Command, EndKind, FailureKind, Plan, Report, Trial},
    seed,
    statistics::wilson,
};
use serde::Serialize;
use tempfile::TempDir;

use super::text;
use crate::{
    failure::{Context as _, Failure, Result},
    figures::plural,
    output::{self, Paper},
};

/// How many trials count the places, without holding anything.
const SURVEYS: u32 = 3;

/// How many policies are explored further when all had their turn.
const PROMISING: usize = 3;

/// How a seed is chosen, round by round: how many seeds are run again, the best of the round before, and how often each.
/// One that has failed by chance comes through the first round, and seldom through the second.
const ROUNDS: [(usize, u32); 2] = [(10, 3), (3, 8)];

/// How often the chosen seed is then run again. What has chosen it is not counted.
const REPEATS: u32 = 20;

/// Holds the threads of a command's trials.
pub(super) struct Held {
    /// None if all take turns.
    policies: Vec<Policy>,
    folder: TempDir,
    surveys: PathBuf,
    surveyed: Option<Surveyed>,
    explored: BTreeMap<&'static str, Trials>,
    /// How these failed, and the folders of their output.
    explored_kinds: Vec<(FailureKind, PathBuf)>,
    /// The trials of the command in question that failed.
    failed: Vec<(u32, u64, EndKind)>,
    /// Of the command, and of the one that it is compared with: how many trials, and how long they took together.
    walls: [(u32, Duration); 2],
}

/// What was done to the trials, and with which of them they failed.
#[derive(Debug, Serialize)]
pub(super) struct HeldBack {
    /// The longest that a thread was held at once, at most, in milliseconds: by the policies of these trials.
    longest_ms: u128,
    surveyed: Option<Surveyed>,
    /// By policy: the trials that explored. They count nowhere else.
    explored: BTreeMap<&'static str, Trials>,
    /// How these failed, and the folders of their output.
    #[serde(skip)]
    explored_kinds: Vec<(FailureKind, PathBuf)>,
    /// By policy: the trials of the command.
    policies: BTreeMap<&'static str, Trials>,
    /// How often threads were held at each kind of place, in these trials.
    places: BTreeMap<Place, u32>,
    /// How many times as long these trials took as those of the command that it was compared with.
    times: Option<f64>,
    /// A seed of the most frequent kind of failure, run again.
    repeats: Vec<Repeat>,
    /// Whether every trial failed, also those in which nothing was held. Then no seed is run again.
    #[serde(skip)]
    all_failed: bool,
}

/// What is known of the command before its threads are held.
#[derive(Clone, Debug, Serialize)]
struct Surveyed {
    trials: usize,
    /// In the trial with the most.
    threads: usize,
    places: u32,
    /// How long it takes if it is not traced, in microseconds: the median.
    bare_micros: Option<u64>,
    /// How many trials were not traced, and how many of these failed.
    bare_trials: u32,
    bare_failed: u32,
}

impl Surveyed {
    /// Whether it failed each time although nothing was held.
    const fn all_failed(&self) -> bool {
        self.bare_trials > 0 && self.bare_failed == self.bare_trials
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
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
    policy: &'static str,
    /// How it had ended.
    ending: String,
    /// How many of the repeats failed, in whichever way.
    failed: u32,
    of: u32,
    /// How many seeds it was chosen from, by other repeats.
    seeds: usize,
    /// Runs it once more. Unknown if none of the repeats failed.
    rerun: Option<String>,
}

impl Held {
    pub(super) fn new(policy: Option<&str>) -> Result<Self> {
        check()?;
        Ok(Self {
            policies: policy.map(known).transpose()?.into_iter().collect(),
            folder: tempfile::tempdir()?,
            surveys: PathBuf::new(),
            surveyed: None,
            explored: BTreeMap::new(),
            explored_kinds: Vec::new(),
            failed: Vec::new(),
            walls: Default::default(),
        })
    }

    /// The command that runs this one and holds its threads.
    pub(super) fn command(&self, of: &Command) -> Result<Command> {
        self.with(of, &self.policies, &self.folder.path().join("confirm"))
    }

    fn with(&self, of: &Command, policies: &[Policy], reports: &Path) -> Result<Command> {
        fs::create_dir_all(reports)?;
        let surveys = self.surveyed.is_some().then_some(&*self.surveys);
        let all = |reports| -> Result<Vec<_>> {
            let mut words = chaos::words(&Options { policies, reports, surveys })?;
            words.push(of.program.clone().into());
            words.extend(of.arguments.iter().cloned());
            Ok(words)
        };
        // Whoever runs a trial again has no folder for a report.
        let shell_quoted = super::shell_quoted(&all(None)?);
        let mut words = all(Some(reports))?.into_iter();
        let program = words.next().unwrap_or_default().into();
        Ok(Command { program, arguments: words.collect(), shell_quoted })
    }

    /// Counts the places of the command, and how long it takes if nothing is held.
    pub(super) fn survey(
        &mut self,
        command: &Command,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> Result<()> {
        output::note(&format!("counting the places of {SURVEYS} trials in which nothing is held"));
        let reports = self.folder.path().join("survey");
        let commands = vec![self.with(command, &[NONE], &reports)?, command.clone()];
        let survey = Plan {
            trials: Some(SURVEYS),
            time: None,
            until_failure: false,
            seed: seed::of_trial(plan.seed, "survey", 0),
            keep: self.folder.path().join("kept"),
            ..plan.clone()
        };
        let (mut walls, mut bare_trials, mut bare_failed) = (Vec::new(), 0, 0);
        let (_, result) = survey.run(commands, interrupt, |trial, _| {
            if trial.command == 1 {
                walls.push(trial.wall);
                bare_trials += 1;
                bare_failed += u32::from(trial.end.is_failure());
            }
        });
        result?;
        walls.sort_unstable();
        let median = walls.get(walls.len() / 2);
        let bare_micros = median.map(|it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX));
        let surveys: Vec<_> =
            (0..SURVEYS).filter_map(|trial| report(&reports, trial)?.survey).collect();
        self.surveyed = Some(Surveyed {
            trials: surveys.len(),
            threads: surveys.iter().map(Survey::threads).max().unwrap_or(0),
            places: surveys.iter().map(|it| it.total().values().sum()).max().unwrap_or(0),
            bare_micros,
            bare_trials,
            bare_failed,
        });
        // Beside the output, since whoever runs a trial again needs it.
        self.surveys = plan.keep.join("surveys.json");
        let path = &self.surveys;
        Surveys { bare_micros, surveys }
            .write(path)
            .context(|| format!("cannot write {}", path.display()))
    }

    /// Spends a part of the plan on finding the policy that makes the most trials fail, and takes it from the plan.
    /// Calls the listener with every trial.
    pub(super) fn explore(
        &mut self,
        command: &Command,
        plan: &mut Plan,
        interrupt: &Interrupt,
        mut on_trial: impl FnMut(&Trial, bool),
    ) -> Result<()> {
        let half = plan.trials.map(|trials| trials / 2);
        let is_short = half.is_some_and(|half| (half as usize) < POLICIES.len());
        if !self.policies.is_empty() || plan.until_failure || is_short {
            return Ok(());
        }
        let began = Instant::now();
        // The first round has to be enough for all policies, and the second for a few.
        for (round, part) in [(1_u32, 3), (2, 2)] {
            let policies = if round == 1 { POLICIES.to_vec() } else { self.promising(PROMISING) };
            if interrupt.raised() || policies.is_empty() {
                break;
            }
            let reports = self.folder.path().join(format!("explore-{round}"));
            let commands = vec![self.with(command, &policies, &reports)?];
            let explores = Plan {
                trials: half.map(|half| (half * part / 5).max(1)),
                time: plan.time.map(|time| time * part / 10),
                seed: seed::of_trial(plan.seed, "explore", round),
                keep: plan.keep.join(format!("explored-{round}")),
                ..plan.clone()
            };
            let mut ended = Vec::new();
            let (explored, result) = explores.run(commands, interrupt, |trial, is_new_failure| {
                on_trial(trial, is_new_failure);
                ended.push((trial.number, trial.end.is_failure()));
            });
            for kind in explored.commands.into_iter().flat_map(|arm| arm.kinds) {
                match self.explored_kinds.iter_mut().find(|(it, _)| it.end == kind.end) {
                    Some((known, _)) => known.trials += kind.trials,
                    None => self.explored_kinds.push((kind, explores.keep.clone())),
                }
            }
            for (trial, failed) in &ended {
                let policy = chaos::policy_of_trial(&policies, *trial);
                self.explored.entry(policy.name).or_default().add(&reports, *trial, *failed);
            }
            if let Some(trials) = &mut plan.trials {
                *trials -= u32::try_from(ended.len()).unwrap_or(0).min(*trials - 1);
            }
            result?;
        }
        plan.time = plan.time.map(|time| time.saturating_sub(began.elapsed()));
        self.policies = self.promising(1);
        match &self.policies[..] {
            [] => output::note("no policy has made a trial fail; all take turns"),
            [best, ..] => output::note(&format!("the rest of the trials goes to `{}`", best.name)),
        }
        Ok(())
    }

    /// The policies that made the most trials fail, the best first.
    fn promising(&self, most: usize) -> Vec<Policy> {
        let failing = self.explored.iter().filter(|(_, it)| it.failed > 0);
        let mut failing: Vec<_> =
            failing.map(|(name, it)| (wilson(it.failed, it.trials).0, *name)).collect();
        failing.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        failing.into_iter().take(most).filter_map(|(_, name)| Policy::named(name)).collect()
    }

    /// Takes note of a trial that does not explore.
    pub(super) fn ended(&mut self, trial: &Trial) {
        if let Some((trials, wall)) = self.walls.get_mut(trial.command) {
            *trials += 1;
            *wall += trial.wall;
        }
        if trial.command == 0 && trial.end.is_failure() {
            self.failed.push((trial.number, trial.seed, trial.end.clone()));
        }
    }

    /// Sums up what was done, and runs the seed of a failure again.
    pub(super) fn finish(
        self,
        run: &Report,
        command: &Command,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> Result<HeldBack> {
        let (mut policies, mut places) = (BTreeMap::<_, Trials>::new(), BTreeMap::new());
        let reports = self.folder.path().join("confirm");
        for trial in 0..run.commands.first().map_or(0, |arm| arm.trials) {
            let policy = chaos::policy_of_trial(&self.policies, trial);
            let failed = self.failed.iter().any(|(number, ..)| *number == trial);
            let done = policies.entry(policy.name).or_default().add(&reports, trial, failed);
            for (place, holds) in done.into_iter().flat_map(|done| done.holds) {
                *places.entry(place).or_default() += holds;
            }
        }
        let [held, bare] = self.walls.map(|(trials, wall)| wall.as_secs_f64() / f64::from(trials));
        let used = policies.keys().filter_map(|name| Policy::named(name));
        let longest = used.map(|policy| policy.longest()).max().unwrap_or(chaos::LONGEST);
        let kind = run.commands.first().and_then(|arm| arm.kinds.first());
        // What always fails needs no seed. A command that always hangs would take its timeout each time.
        let all_failed = self.surveyed.as_ref().is_some_and(Surveyed::all_failed)
            && policies.values().all(|it| it.failed == it.trials);
        let repeat = match kind {
            Some(kind) if !run.until_failure && !all_failed => {
                self.repeat(&kind.end, command, plan, interrupt)?
            }
            _ => None,
        };
        Ok(HeldBack {
            longest_ms: longest.as_millis(),
            surveyed: self.surveyed,
            explored: self.explored,
            explored_kinds: self.explored_kinds,
            policies,
            places,
            times: (run.commands.len() > 1).then_some(held / bare).filter(|it| it.is_finite()),
            repeats: repeat.into_iter().collect(),
            all_failed,
        })
    }

    /// Of the seeds whose trials ended in this way, chooses the one whose trials fail most often, and runs it again.
    fn repeat(
        &self,
        end: &EndKind,
        command: &Command,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> Result<Option<Repeat>> {
        let alike = self.failed.iter().filter(|(.., it)| it == end);
        let seeds = alike
            .map(|(trial, seed, _)| (*seed, chaos::policy_of_trial(&self.policies, *trial)))
            .collect();
        let again = |(seed, policy): (u64, Policy), trials| -> Result<Option<Arm>> {
            if interrupt.raised() {
                return Ok(None);
            }
            let commands =
                vec![self.with(command, &[policy], &self.folder.path().join("again"))?];
            let again = Plan {
                trials: Some(trials),
                time: None,
                same_seed: Some(seed),
                keep: plan.keep.join(format!("seed-{seed}-{trials}")),
                ..plan.clone()
            };
            let (repeated, result) = again.run(commands, interrupt, |_, _| {});
            result?;
            Ok(repeated.commands.into_iter().next())
        };
        let (tried, chosen) =
            choose(seeds, |seed, trials| Ok(again(seed, trials)?.map_or(0, |arm| arm.failed)))?;
        let Some((seed, policy)) = chosen.filter(|_| !interrupt.raised()) else { return Ok(None) };
        output::note(&format!("running seed {seed} again, {REPEATS} times"));
        let Some(arm) = again((seed, policy), REPEATS)? else { return Ok(None) };
        Ok(Some(Repeat {
            seed,
            policy: policy.name,
            ending: end.to_string(),
            failed: arm.failed,
            of: arm.trials,
            seeds: tried,
            rerun: arm.kinds.into_iter().next().map(|kind| kind.first.rerun),
        }))
    }
}

/// Chooses the seed that fails most often in [`ROUNDS`]. Says also from how many.
fn choose<Seed: Copy>(
    mut seeds: Vec<Seed>,
    mut failures: impl FnMut(Seed, u32) -> Result<u32>,
) -> Result<(usize, Option<Seed>)> {
    seeds.truncate(ROUNDS[0].0);
    let tried = seeds.len();
    let mut seeds: Vec<_> = seeds.into_iter().map(|seed| (0, seed)).collect();
    for (most, times) in ROUNDS {
        seeds.truncate(most);
        if seeds.len() > 1 {
            for (failed, seed) in &mut seeds {
                *failed += failures(*seed, times)?;
            }
            // Stable: of two that are as good, the one that was found first.
            seeds.sort_by_key(|(failed, _)| Reverse(*failed));
        }
    }
    Ok((tried, seeds.first().map(|(_, seed)| *seed)))
}

/// The words that stand before a trial of an experiment, all policies in turn.
pub(crate) fn words() -> Result<Vec<OsString>> {
    check()?;
    Ok(chaos::words(&Options::default())?)
}

/// Whether threads can be held here.
fn check() -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Failure::Failed("--chaos needs Linux on x86-64".to_owned()));
    }
    chaos::can_hold().map_err(|error| {
        Failure::Failed(format!(
            "--chaos traces the command, which is not possible here (a container may forbid ptrace or \
             seccomp): {error}"
        ))
    })
}

/// The policy of this name.
fn known(name: &str) -> Result<Policy> {
    Policy::named(name).ok_or_else(|| {
        let all = || POLICIES.into_iter().chain([NONE]);
        let like = nearest::of(name, all().map(|policy| policy.name));
        let guess = like.map(|it| format!("; did you mean `{it}`?")).unwrap_or_default();
        let guess = if guess.is_empty() { ".".to_owned() } else { guess };
        Failure::Usage(format!("no policy `{name}`{guess} They are:\n{}", policies().trim_end()))
    })
}

/// What `--policy help` prints.
pub(super) fn policies() -> String {
    let all = POLICIES.into_iter().chain([NONE]);
    all.map(|it| format!("  {:<10} {}\n", it.name, it.about)).collect()
}

/// What was done to a trial. A trial that was killed has written no report.
fn report(folder: &Path, trial: u32) -> Option<chaos::Report> {
    let text = fs::read(folder.join(format!("trial-{trial}.json"))).ok()?;
    serde_json::from_slice(&text).ok()
}

impl Trials {
    fn add(&mut self, reports: &Path, trial: u32, failed: bool) -> Option<chaos::Report> {
        self.trials += 1;
        self.failed += u32::from(failed);
        let done = report(reports, trial)?;
        self.holds += done.holds.values().sum::<u32>();
        self.held_micros += done.held_micros;
        Some(done)
    }
}

impl HeldBack {
    /// Whether a trial failed that explored.
    pub(super) fn has_failures(&self) -> bool {
        self.explored.values().any(|it| it.failed > 0)
    }

    pub(super) fn render(&self, paper: Paper) -> String {
        let mut text = String::from("\n");
        let holds: u32 = self.policies.values().map(|it| it.holds).sum();
        let (whose, times) = match self.times {
            Some(times) => {
                ("the trials of A", format!(" They took {times:.1} times as long as those of B."))
            }
            None => ("these trials", String::new()),
        };
        text += &paper.sentence(&format!(
            "In {whose}, threads were held back {holds} times, for at most {} ms each.{times} \
             This rate is not the natural one, and a zero is no proof.",
            self.longest_ms
        ));
        text += &table(&self.policies, paper);
        for Repeat { seed, policy, ending, failed, of, seeds, rerun } in &self.repeats {
            let chosen = match seeds {
                0 | 1 => String::new(),
                seeds => format!(
                    " It was chosen from {seeds} seeds by repeats that are not counted here."
                ),
            };
            text.push('\n');
            text += &paper.sentence(&format!(
                "Seed {seed} ({policy}), which {ending}: {failed} of {of} repeats failed.{chosen}"
            ));
            text.extend(rerun.iter().map(|rerun| format!("    rerun: {rerun}\n")));
        }
        if !self.explored.is_empty() {
            text.push('\n');
            text +=
                &paper.sentence("Before, these trials had explored. They are not counted above.");
            text += &table(&self.explored, paper);
            // Otherwise the report of the command has them.
            if self.policies.values().all(|it| it.failed == 0) {
                for (kind, folder) in &self.explored_kinds {
                    text += &text::failure_kind(kind, folder);
                }
            }
        }
        if let Some(surveyed) = &self.surveyed {
            let Surveyed { trials, threads, places, bare_micros, .. } = surveyed;
            if self.all_failed {
                text.push('\n');
                text += &paper.sentence(
                    "Every trial failed, also those in which nothing was held. Run the command without --chaos \
                     first. No seed was run again.",
                );
            }
            let bare = Duration::from_micros(bare_micros.unwrap_or(0));
            text.push('\n');
            text += &paper.sentence(&format!(
                "Nothing was held in {}: up to {} came to {}. Bare, a trial took {bare:.1?}; no thread is held any more after \
                 {} times that.",
                plural(*trials, "trial"),
                plural(*threads, "thread"),
                plural(*places as usize, "place"),
                chaos::TIMES
            ));
        }
        text
    }
}

fn table(policies: &BTreeMap<&str, Trials>, paper: Paper) -> String {
    let rows = policies.iter().map(|(name, it)| {
        let about = Policy::named(name).map_or("", |policy| policy.about);
        let mean = f64::from(it.holds) / f64::from(it.trials.max(1));
        let failed = format!("{}/{}", it.failed, it.trials);
        vec![(*name).to_owned(), failed, format!("{mean:.1}"), about.to_owned()]
    });
    paper.table(&["policy", "failed", "holds a trial", "holds"], rows.collect(), &[1, 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_failed_by_chance_is_not_chosen() {
        // The first seeds fail in their first three repeats, and never again; the last fails in most of all.
        let mut repeats = BTreeMap::<u32, u32>::new();
        let (tried, chosen) = choose((0..20).collect(), |seed: u32, times| {
            let done = repeats.entry(seed).or_default();
            let failing = if seed < 2 { 3_u32.saturating_sub(*done) } else { 0 };
            *done += times;
            Ok(if seed == 9 { times - 1 } else { failing.min(times) })
        })
        .unwrap();
        assert_eq!((tried, chosen), (10, Some(9)));
        let run: u32 = repeats.values().sum();
        assert_eq!(run, 10 * 3 + 3 * 8, "{repeats:?}");
        assert!(!repeats.contains_key(&10), "the others are not tried: {repeats:?}");
    }

    #[test]
    fn the_only_seed_needs_no_round() {
        let (tried, chosen) = choose(vec![7], |_, _| Err(Failure::Interrupted)).unwrap();
        assert_eq!((tried, chosen), (1, Some(7)));
        assert_eq!(choose(Vec::<u8>::new(), |_, _| Ok(1)).unwrap(), (0, None));
    }
}
