//! Runs the experiments, each as soon as it is built, and two at a time: in many trials somebody waits, for a limit
//! or a late answer, and meanwhile the other experiment works.

use std::{
    collections::BTreeMap,
    panic,
    sync::mpsc,
    thread::{self, Scope, ScopedJoinHandle},
};

use lab::results::ExperimentResult;

use super::{
    Run, binary::Trouble, left_out, probe_seed, report::Finding, screen::Screen,
    snapshots::Snapshots, trials, work::Work,
};
use crate::{
    child,
    failure::{Failure, Result},
    flags::Format,
    workspace::Source,
};

/// How many experiments run at a time.
const AT_A_TIME: usize = 2;

/// What an experiment does while it runs.
enum Step {
    Preparing(String),
    /// A trial has ended.
    Trial,
}

/// An experiment that runs.
struct Running<'scope> {
    source: Source,
    digests: BTreeMap<String, String>,
    ended: u64,
    all: u64,
    thread: ScopedJoinHandle<'scope, Result<ExperimentResult, Trouble>>,
}

/// Runs the experiments, and compares them with their snapshots. Returns also how many were to run.
pub fn run(
    run: &Run<'_>,
    chosen: &[Source],
    snapshots: &Snapshots,
) -> Result<(usize, Vec<Finding>)> {
    let is_built = |source: &&Source| run.flags.shard.is_some() || run.left_out(source).is_none();
    let built: Vec<_> = chosen.iter().filter(is_built).cloned().collect();
    thread::scope(|scope| {
        let mut work = Work::start(run, &built, scope);
        let mine = work.share(chosen)?;
        let screen = Screen::open(&mine, run.flags, run.workspace);
        for source in mine.iter().filter(|source| run.left_out(source).is_some()) {
            screen.leaves_out(source);
        }
        let findings = side_by_side(run, &mine, &mut work, &screen, snapshots, scope);
        if findings.is_err() {
            // Of nothing that still runs the result is wanted.
            run.interrupt.raise();
        }
        let findings = findings?;
        if run.interrupt.raised() && findings.iter().all(|it| it.result.is_none()) {
            return Err(Failure::Interrupted);
        }
        Ok((mine.len(), findings))
    })
}

/// How many experiments this run has at a time, at most. What is asked for by name or measured for the notebook runs
/// alone.
pub fn at_a_time(run: &Run<'_>) -> usize {
    let asked_for = !run.flags.only.is_empty() || run.flags.accept || run.flags.jobs.is_some();
    let alone = asked_for || !run.under.is_empty() || probe_seed().is_some();
    if alone { 1 } else { AT_A_TIME }
}

/// Whether an experiment may begin while those run. With `--all` those that a run leaves out unless they are asked
/// for run alone: interpreters and the real SDK need the whole machine.
fn go_together<'a>(
    all: bool,
    running: impl ExactSizeIterator<Item = &'a Source>,
    next: &'a Source,
) -> bool {
    running.len() == 0 || !all || !running.chain([next]).any(left_out::is_optional)
}

/// What became of an experiment whose turn it was.
enum Begun<'scope> {
    Runs(Running<'scope>),
    Ended(Box<Finding>),
}

fn side_by_side<'scope>(
    run: &'scope Run<'scope>,
    mine: &[Source],
    work: &mut Work<'_>,
    screen: &Screen<'_>,
    snapshots: &Snapshots,
    scope: &'scope Scope<'scope, '_>,
) -> Result<Vec<Finding>> {
    let (send, steps) = mpsc::channel();
    let mut waiting = mine.iter().enumerate().peekable();
    // By their places among all.
    let mut running = BTreeMap::<usize, Running<'_>>::new();
    let mut findings = BTreeMap::<usize, Finding>::new();
    let mut failures = Vec::new();
    while !running.is_empty() || (waiting.peek().is_some() && !run.interrupt.raised()) {
        let mut ended = Vec::new();
        // One at a time prepares what it needs: two might install the same.
        let has_room = running.len() < at_a_time(run) && running.values().all(|it| it.ended > 0);
        if has_room
            && !run.interrupt.raised()
            && let Some(&(place, source)) = waiting.peek()
            && go_together(run.flags.all, running.values().map(|it| &it.source), source)
        {
            let tell = {
                let send = send.clone();
                move |step| drop(send.send((place, step)))
            };
            match begin(run, source, work, tell, scope) {
                Some(begun) => {
                    waiting.next();
                    match begun {
                        Begun::Runs(it) => {
                            screen.starts(source);
                            running.insert(place, it);
                        }
                        Begun::Ended(finding) => ended.push((place, *finding)),
                    }
                }
                None if running.is_empty() => screen.building(work.builds.status()),
                None => {}
            }
        }
        // Before their steps are read: what they have said is all there then.
        let over: Vec<_> = running.extract_if(.., |_, it| it.thread.is_finished()).collect();
        if over.is_empty() && ended.is_empty() {
            match steps.recv_timeout(child::TICK) {
                Ok((place, step)) => take(&mut running, place, step, work, screen),
                Err(_) if running.is_empty() => {}
                Err(_) => screen.waits(),
            }
        }
        while let Ok((place, step)) = steps.try_recv() {
            take(&mut running, place, step, work, screen);
        }
        for (place, it) in over {
            ended.push((place, it.finding(run, snapshots)));
        }
        for (place, finding) in ended {
            if let Some(said) = work.builds.said() {
                screen.note(&said);
            }
            failures.extend(std::iter::from_fn(|| work.builds.failure()));
            if finding.result.is_some() {
                // So it is not that nothing builds.
                failures.drain(..).for_each(|failure| screen.note(failure.message()));
            }
            screen.ended(&finding);
            if run.flags.format == Format::Json {
                finding.print_json()?;
            }
            findings.insert(place, finding);
        }
    }
    let has_results = findings.values().any(|it| it.result.is_some());
    match failures.into_iter().next() {
        Some(failure) if !has_results => Err(failure),
        failure => {
            failure.iter().for_each(|failure| screen.note(failure.message()));
            Ok(findings.into_values().collect())
        }
    }
}

/// Begins an experiment, if it is built and is to run. `None` if it is not built yet, or the run is interrupted.
fn begin<'scope>(
    run: &'scope Run<'scope>,
    source: &Source,
    work: &mut Work<'_>,
    tell: impl Fn(Step) + Send + 'scope,
    scope: &'scope Scope<'scope, '_>,
) -> Option<Begun<'scope>> {
    let over = |finding| Some(Begun::Ended(Box::new(finding)));
    if let Some(skipped) = run.left_out(source) {
        return over(Finding::skipped(source, skipped));
    }
    let built = work.builds.look(source)?;
    let (binary, declaration) = match work.declaration(source, built) {
        Ok(declared) => declared,
        Err(Trouble::Interrupted) if run.interrupt.raised() => return None,
        Err(trouble) => return over(Finding::trouble(source, &trouble)),
    };
    if let Some(skipped) = run.not_asked_for(source, declaration.on_demand.as_deref()) {
        return over(Finding::skipped(source, skipped));
    }
    let (source, digests) = (source.clone(), binary.digests.clone());
    let thread = scope.spawn(move || {
        let prepares = |doing: &str| tell(Step::Preparing(doing.to_owned()));
        binary.run(run, || tell(Step::Trial), prepares)
    });
    Some(Begun::Runs(Running { source, digests, ended: 0, all: trials(&declaration), thread }))
}

/// An experiment did something.
fn take(
    running: &mut BTreeMap<usize, Running<'_>>,
    place: usize,
    step: Step,
    work: &mut Work<'_>,
    screen: &Screen<'_>,
) {
    match step {
        Step::Preparing(doing) => {
            if let Some(it) = running.get(&place) {
                screen.prepares(&it.source, &doing);
            }
        }
        Step::Trial => {
            // What is over already shows no trial any more.
            if let Some(it) = running.get_mut(&place) {
                it.ended += 1;
                screen.trials(&it.source, it.ended, it.all, work.builds.go_on());
            }
        }
    }
}

impl Running<'_> {
    /// What an experiment that has ended has found.
    fn finding(self, run: &Run<'_>, snapshots: &Snapshots) -> Finding {
        let Self { source, digests, thread, .. } = self;
        let ran = thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        match ran {
            Ok(result) if result.interrupted => Finding::interrupted(&source, Some(result)),
            Ok(result) => {
                let result = ExperimentResult { sources: digests, ..result };
                if run.under.is_empty() {
                    Finding::compared(&source, result, snapshots)
                } else {
                    Finding::held(&source, result)
                }
            }
            Err(Trouble::Skipped(skipped)) => Finding::skipped(&source, skipped),
            Err(Trouble::Interrupted) if run.interrupt.raised() => {
                Finding::interrupted(&source, None)
            }
            Err(trouble) => Finding::trouble(&source, &trouble),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn what_needs_the_whole_machine_has_it_in_a_run_of_all() {
        let sources = Workspace::find().unwrap().experiments().unwrap();
        let [one, two, clients, sdk] = ["01", "02", "62", "70"]
            .map(|id| sources.iter().find(|source| source.id == id).unwrap());
        let may = |all, running: &[&_], next| go_together(all, running.iter().copied(), next);
        assert!(may(true, &[one], two) && may(true, &[], clients));
        assert!(!may(true, &[one], clients) && !may(true, &[clients], sdk));
        assert!(!may(true, &[sdk], one));
        // What is built already runs by default, as the others do.
        assert!(may(false, &[one], clients) && may(false, &[clients], one));
    }
}
