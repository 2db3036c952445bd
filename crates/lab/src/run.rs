//! A run: many trials in parallel, and the result computed from them.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    ops::ControlFlow,
    path::Path,
    time::Instant,
};

use crate::{
    condition::{self, Condition, enough},
    equipment::Equipment,
    experiment::{Claim, Experiment},
    interrupt::Interrupt,
    observation::{Observation, Spread},
    outcome::{Ending, Outcome, Outcomes},
    parallel,
    prediction::Prediction,
    record::Record,
    results::{
        ClaimResult, ExperimentResult, ResourceSpreads, Role, TrialExample, VariantResult, Verdict,
    },
    sandbox::{Sandbox, SandboxError, Sandboxed, Surroundings},
    seed,
    statistics::wilson,
    trial::TRIAL,
    variant::Variant,
};

/// The id of the kit's own claim.
pub(crate) const KIT: &str = "kit";

/// How many trials that contradict a prediction a result shows.
const EXAMPLES: usize = 10;

/// How many trials run at a time per core: two, because a child process leaves its core idle while it
/// starts, ends or waits for another thread.
const WORKING_PER_CORE: usize = 2;

/// How many trials that mostly wait run at a time per core.
const WAITING_PER_CORE: usize = 8;

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The trials, in parallel lanes.
    pub(crate) lanes: Vec<Lane>,
    /// The seed from which every trial's seed is derived.
    pub(crate) seed: u64,
}

/// Trials, and how many of them run at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) jobs: usize,
    /// A variant's index, and the trial's number within the variant.
    pub(crate) trials: Vec<(usize, u32)>,
}

impl Plan {
    /// How many trials there are.
    pub(crate) fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.trials.len()).sum()
    }
}

/// Puts the trials that mostly wait into a lane of their own, with more at a time, because they hardly use
/// the cores.
pub(crate) fn in_lanes(
    experiment: &Experiment,
    trials: Vec<(usize, u32)>,
    cores: usize,
) -> Vec<Lane> {
    let waits = |at: usize| experiment.variants.get(at).is_some_and(Variant::mostly_waits);
    let (waiting, working) = trials.into_iter().partition(|(at, _)| waits(*at));
    vec![
        Lane { jobs: WORKING_PER_CORE * cores, trials: working },
        Lane { jobs: WAITING_PER_CORE * cores, trials: waiting },
    ]
}

/// The trials of all variants in turn, so that a change on the machine affects all of them.
pub(crate) fn interleave(planned: &[u32]) -> Vec<(usize, u32)> {
    let most = planned.iter().copied().max().unwrap_or(0);
    (0..most)
        .flat_map(|trial| {
            planned
                .iter()
                .enumerate()
                .filter(move |(_, planned)| trial < **planned)
                .map(move |(variant, _)| (variant, trial))
        })
        .collect()
}

/// A run of an experiment, and everything that it needs.
pub(crate) struct Run<'a> {
    pub(crate) experiment: &'a Experiment,
    pub(crate) plan: Plan,
    pub(crate) equipment: Equipment,
    /// The program, and its arguments, that runs each trial, if there is one between.
    pub(crate) under: &'a [OsString],
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// Runs the trials, and calls the listener when one ends, until the listener breaks.
    pub(crate) fn trials(
        &self,
        mut on_trial: impl FnMut(&Variant, &Record) -> ControlFlow<()>,
    ) -> Result<ExperimentResult, SandboxError> {
        let Self { experiment, plan, equipment, under, sandbox, interrupt } = self;
        let began = Instant::now();
        let equipped = &equipment.variables;
        // This program runs itself again for each trial.
        let start = |source| SandboxError::Start { program: "this program".into(), source };
        let program = env::current_exe().map_err(start)?.into_os_string();
        let mut records: Vec<_> = experiment.variants.iter().map(|_| Vec::new()).collect();
        let trial = |lane: usize, number: usize| {
            let trial = plan.lanes.get(lane).and_then(|lane| lane.trials.get(number));
            let Some(&(at, trial)) = trial else { return Ok(None) };
            let Some(variant) = experiment.variants.get(at) else { return Ok(None) };
            let seed = seed::of_trial(plan.seed, &variant.name, trial);
            let (seed_text, number) =
                (OsString::from(seed.to_string()), OsString::from(trial.to_string()));
            let of_trial = [(&variant.name).into(), seed_text.clone(), number.clone()];
            let own = [program.clone(), TRIAL.into()].into_iter().chain(of_trial);
            let mut words = under.iter().cloned().chain(own);
            let (first, arguments) = (words.next().unwrap_or_default(), words.collect());
            let mut variables = equipped.clone();
            if !under.is_empty() {
                variables.extend([
                    ("PROBE_SEED".to_owned(), seed_text),
                    ("PROBE_TRIAL".to_owned(), number),
                ]);
            }
            let command = Sandboxed {
                program: Path::new(&first),
                arguments,
                surroundings: Surroundings::Bare { variables: &variables },
                deadline: variant.deadline,
            };
            let record = Record::of(trial, seed, &sandbox.run(&command, interrupt)?);
            Ok((record.ending != Ending::Interrupted).then_some((at, record)))
        };
        let lanes = plan.lanes.iter();
        let lanes = lanes.map(|it| parallel::Lane { jobs: it.jobs, count: it.trials.len() });
        parallel::side_by_side(&lanes.collect::<Vec<_>>(), trial, |(at, record)| {
            let (Some(variant), Some(records)) = (experiment.variants.get(at), records.get_mut(at))
            else {
                return ControlFlow::Continue(());
            };
            let flow = on_trial(variant, &record);
            records.push(record);
            flow
        })?;
        let ran: usize = records.iter().map(Vec::len).sum();
        let mut result = conclude(experiment, plan.seed, records);
        result.equipment.clone_from(&equipment.versions);
        result.seconds = began.elapsed().as_secs_f64();
        result.in_memory = sandbox.is_in_memory();
        result.interrupted = ran < plan.len();
        Ok(result)
    }

    /// Describes a trial for the results, with the command that repeats it.
    pub(crate) fn example(&self, variant: &Variant, record: &Record) -> TrialExample {
        example(self.experiment, self.plan.seed, variant, record)
    }
}

/// Computes classes and verdicts from the records of the trials.
fn conclude(experiment: &Experiment, seed: u64, records: Vec<Vec<Record>>) -> ExperimentResult {
    let variants: Vec<_> = experiment
        .variants
        .iter()
        .zip(records)
        .map(|(variant, mut records)| {
            records.sort_unstable_by_key(|record| record.trial);
            sum_up(experiment, seed, variant, &records)
        })
        .collect();
    let counting = variants.iter().filter(|variant| experiment.counts(variant.role));
    let counting: Vec<_> = counting.cloned().collect();
    let claims = experiment.claims.iter().map(|claim| {
        let (verdict, reasons) = condition::verdict(&claim.supported, &claim.refuted, &counting);
        let (id, statement) = (claim.id.clone(), claim.statement.clone());
        let &Claim { finding, open_in_some_runs, .. } = claim;
        ClaimResult { id, statement, finding, open_in_some_runs, verdict, reasons }
    });
    let (verdict, reasons) = hypothesis(&experiment.holds_only_if, &variants, &counting);
    let kit_claim = experiment.kit_claim.iter().map(|statement| kit_claim(statement, &variants));
    ExperimentResult {
        id: experiment.id.clone(),
        name: experiment.name.clone(),
        claims: claims.chain(kit_claim).collect(),
        question: experiment.question.clone(),
        hypothesis: experiment.hypothesis.clone(),
        first_expected: experiment.first_expected.clone(),
        verdict,
        reasons,
        snapshot: None,
        seconds: 0.0,
        seed,
        equipment: BTreeMap::new(),
        interrupted: false,
        in_memory: false,
        sources: BTreeMap::new(),
        kept: experiment.kept.clone(),
        variants,
    }
}

/// The verdict on the hypothesis: all predictions decide it, those of the cures too, and what it says besides.
fn hypothesis(
    besides: &[Condition],
    variants: &[VariantResult],
    counting: &[VariantResult],
) -> (Verdict, Vec<String>) {
    let mut reasons: Vec<_> = variants.iter().map(condition::outcome_reason).collect();
    let besides = besides.iter().map(|condition| condition.holds(counting, &mut reasons));
    let verdict = besides.fold(verdict(variants), |verdict, holds| match (verdict, holds) {
        (Verdict::Refuted, _) | (_, Some(false)) => Verdict::Refuted,
        (_, None) => Verdict::Inconclusive,
        (verdict, Some(true)) => verdict,
    });
    (verdict, reasons)
}

/// Refuted if the counts of one variant contradict its prediction, supported if those of all are as
/// predicted.
fn verdict(variants: &[VariantResult]) -> Verdict {
    let enough = |variant: &&VariantResult| enough(&variant.outcomes);
    if variants.iter().filter(enough).any(|variant| !variant.predicted) {
        Verdict::Refuted
    } else if variants.is_empty() || !variants.iter().all(|variant| enough(&variant)) {
        Verdict::Inconclusive
    } else {
        Verdict::Supported
    }
}

/// The verdict on the kit's claim: cures decide it, if the hazards failed as predicted.
fn kit_claim(statement: &str, variants: &[VariantResult]) -> ClaimResult {
    let of = |role| variants.iter().filter(move |variant| variant.role == role).cloned();
    let (cures, hazards): (Vec<_>, Vec<_>) = (of(Role::Cure).collect(), of(Role::Hazard).collect());
    let verdict = match (verdict(&cures), verdict(&hazards)) {
        (Verdict::Supported, Verdict::Refuted) => Verdict::Inconclusive,
        (Verdict::Supported, hazards) => hazards,
        (cures, _) => cures,
    };
    let reasons = cures.iter().chain(&hazards).map(condition::outcome_reason).collect();
    let (id, statement) = (KIT.to_owned(), statement.to_owned());
    let (finding, open_in_some_runs) = (false, false);
    ClaimResult { id, statement, finding, open_in_some_runs, verdict, reasons }
}

fn sum_up(
    experiment: &Experiment,
    run_seed: u64,
    variant: &Variant,
    records: &[Record],
) -> VariantResult {
    let outcomes: Outcomes = records.iter().map(|record| record.outcome).collect();
    let hits = outcomes.count(subject(variant, &outcomes));
    let (low, high) = wilson(hits, outcomes.total());
    let panics = || records.iter().flat_map(|record| &record.panics);
    let sites: BTreeSet<_> = panics().map(|panic| panic.site.clone()).collect();
    let occasional = |site: &String| variant.occasional_sites.iter().any(|o| site.starts_with(o));
    let threads = |is_occasional: bool| -> Vec<_> {
        let there = panics().filter(|panic| occasional(&panic.site) == is_occasional);
        let threads: BTreeSet<_> = there.map(|panic| panic.thread.clone()).collect();
        threads.into_iter().collect()
    };
    let (occasional_sites, sites) = sites.into_iter().partition(|site| occasional(site));

    let mut values: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (name, value) in records.iter().flat_map(|record| &record.observations) {
        values.entry(name.clone()).or_default().push(value.clone());
    }
    VariantResult {
        name: variant.name.clone(),
        role: variant.role,
        about: variant.about.clone(),
        prediction: variant.prediction.to_string(),
        predicted: variant.prediction.holds(&outcomes),
        trials: outcomes.total(),
        class: variant.prediction.classify(&outcomes).to_string(),
        outcomes,
        hits,
        interval: [low, high],
        sites,
        occasional_sites,
        threads: threads(false),
        occasional_threads: threads(true),
        observations: values
            .into_iter()
            .filter_map(|(name, values)| Some((name, Observation::of(&values)?)))
            .collect(),
        resources: resources(records),
        examples: examples(experiment, run_seed, variant, records),
    }
}

/// The outcome that `hits` counts: the predicted one, unless a single outcome was predicted and all
/// trials had a single other one.
fn subject(variant: &Variant, outcomes: &Outcomes) -> Outcome {
    let mut seen = outcomes.seen();
    match (seen.next(), seen.next()) {
        (Some(only), None) if matches!(variant.prediction, Prediction::Always(_)) => only,
        _ => variant.prediction.outcome(),
    }
}

fn resources(records: &[Record]) -> Option<ResourceSpreads> {
    let spread = |of: fn(&Record) -> u128| {
        let values = records.iter().map(|record| i64::try_from(of(record)).unwrap_or(i64::MAX));
        Spread::of(values.collect())
    };
    Some(ResourceSpreads {
        wall_micros: spread(|record| record.wall.as_micros())?,
        user_micros: spread(|record| record.user.as_micros())?,
        system_micros: spread(|record| record.system.as_micros())?,
        peak_kib: spread(|record| u128::from(record.peak_bytes / 1024))?,
    })
}

fn examples(
    experiment: &Experiment,
    run_seed: u64,
    variant: &Variant,
    records: &[Record],
) -> Vec<TrialExample> {
    let (mut shown, mut unexpected) = (Outcomes::default(), 0);
    let worth_a_look = records.iter().filter(|record| {
        let first = shown.count(record.outcome) == 0 && record.outcome != Outcome::Clean;
        shown.add(record.outcome);
        let contradicts = !variant.prediction.admits(record.outcome) && unexpected < EXAMPLES;
        unexpected += usize::from(contradicts);
        first || contradicts
    });
    worth_a_look.map(|record| example(experiment, run_seed, variant, record)).collect()
}

fn example(
    experiment: &Experiment,
    run_seed: u64,
    variant: &Variant,
    record: &Record,
) -> TrialExample {
    TrialExample {
        trial: record.trial,
        seed: record.seed,
        outcome: record.outcome,
        expected: variant.prediction.admits(record.outcome),
        ending: record.ending(),
        panics: record.panics.iter().map(ToString::to_string).collect(),
        problems: record.problems.clone(),
        stderr: record.stderr.clone(),
        rerun: format!(
            "cargo run --bin {} -- --only {} --trial {} --seed {run_seed}",
            experiment.binary, variant.name, record.trial
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{control, cure, every, hazard, seen};

    /// An experiment with a kit claim, whose trials ended like this: hazard, control, cure.
    fn concluded(ended: [Outcome; 3]) -> ExperimentResult {
        let experiment = Experiment::new("90_cured")
            .variants([
                hazard("it", Outcome::Aborted, |_| Ok(())),
                control("beside/it", |_| Ok(())),
                cure("kit/it", |_| Ok(())),
            ])
            .claim("Z1", "it aborts, wherever it stands")
            .supported_if(every("*it").is(Outcome::Aborted))
            .refuted_if(every("*/it").is(Outcome::Clean))
            .kit_claim("with the kit it does not");
        let records = ended.map(|outcome| {
            (0..condition::FEWEST_TRIALS).map(|trial| record(trial, outcome)).collect()
        });
        conclude(&experiment, 0, records.into())
    }

    fn record(trial: u32, outcome: Outcome) -> Record {
        Record {
            trial,
            seed: 0,
            outcome,
            ending: Ending::Exited(0),
            panics: Vec::new(),
            problems: Vec::new(),
            observations: Vec::new(),
            stderr: String::new(),
            wall: Duration::ZERO,
            user: Duration::ZERO,
            system: Duration::ZERO,
            peak_bytes: 0,
        }
    }

    fn verdicts(ended: [Outcome; 3]) -> (Verdict, Verdict, Verdict) {
        let result = concluded(ended);
        let [of_others, kit] = result.claims.as_slice() else { unreachable!("two claims") };
        assert_eq!(kit.id, KIT);
        (result.verdict, of_others.verdict, kit.verdict)
    }

    #[test]
    fn a_cure_decides_the_kits_claim_and_the_hypothesis_and_no_other_claim() {
        use Outcome::{Aborted, Clean};
        use Verdict::{Refuted, Supported};
        assert_eq!(verdicts([Aborted, Clean, Clean]), (Supported, Refuted, Supported));
        assert_eq!(verdicts([Aborted, Clean, Aborted]), (Refuted, Refuted, Refuted));
    }

    #[test]
    fn what_a_hypothesis_says_of_rates_decides_it_too() {
        let often = |trials: u32, failed: u32| {
            let experiment = Experiment::new("90_rates")
                .holds_only_if(every("it").fails_together_in(0..=10))
                .variants([control("it", |_| Ok(()))
                    .predict(seen(Outcome::Clean).allowing([Outcome::Failed]))]);
            let ended = |trial| if trial < failed { Outcome::Failed } else { Outcome::Clean };
            let records = (0..trials).map(|trial| record(trial, ended(trial))).collect();
            conclude(&experiment, 0, vec![records]).verdict
        };
        assert_eq!(often(20, 2), Verdict::Supported);
        assert_eq!(often(20, 3), Verdict::Refuted);
        assert_eq!(often(20, 20), Verdict::Refuted);
        assert_eq!(often(condition::FEWEST_TRIALS - 1, 0), Verdict::Inconclusive);
    }

    #[test]
    fn a_cure_proves_nothing_unless_the_hazard_failed() {
        use Outcome::{Aborted, Clean};
        use Verdict::{Inconclusive, Refuted};
        assert_eq!(verdicts([Clean, Clean, Clean]), (Refuted, Refuted, Inconclusive));
        assert_eq!(verdicts([Clean, Clean, Aborted]), (Refuted, Refuted, Refuted));
    }

    #[test]
    fn trials_that_mostly_wait_have_a_lane_of_their_own() {
        let experiment = Experiment::new("90_lanes").variants([
            control("works", |_| Ok(())),
            control("waits", |_| Ok(())).waits(),
            hazard("hangs", Outcome::Hung, |_| Ok(())),
        ]);
        let lanes = in_lanes(&experiment, interleave(&[2, 1, 1]), 2);
        assert_eq!(
            lanes,
            [
                Lane { jobs: 4, trials: vec![(0, 0), (0, 1)] },
                Lane { jobs: 16, trials: vec![(1, 0), (2, 0)] },
            ]
        );
    }

    #[test]
    fn variants_take_turns() {
        let turns = interleave(&[2, 1, 3]);
        assert_eq!(turns, [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (2, 2)]);
        assert!(interleave(&[]).is_empty());
    }
}
