//! The report of a shutdown that has ended.

use std::{fmt, time::Duration};

use super::{NotCovered, StillRunning, count, list, not_covered::not_covered};

/// The report of a shutdown that has ended. Its `Display` says it in one sentence.
///
/// ```
/// use std::time::Duration;
/// use sundown::ShutdownReport;
///
/// let mut report = ShutdownReport::new("sync", Duration::from_millis(3), 1);
/// report.foreign = 2;
/// assert_eq!(
///     report.to_string(),
///     "`sync` has ended after 3.0ms: 1 task aborted, 2 foreign tasks cut off",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says whether anything had to be aborted"]
#[non_exhaustive]
pub struct ShutdownReport {
    /// What was shut down.
    pub component: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// How many tasks of the kit were dropped before they completed, because the limit passed or because
    /// their runtime went down.
    pub aborted: usize,
    /// The first 64 of them, by name.
    pub aborted_tasks: Vec<StillRunning>,
    /// How many *foreign* tasks were cut off. A foreign task was not spawned through the kit, but on the
    /// Tokio handle of the runtime: a library's own task, for example. It gets no stop signal, only time to
    /// end by itself. It is dropped where it was waiting.
    pub foreign: usize,
    /// The panics that were seen on the threads of the runtime, other than those of the kit's own tasks.
    /// They are seen only if the runtime was built with
    /// [`watch_panics`](crate::runtime::RuntimeBuilder::watch_panics).
    pub foreign_panics: Vec<ForeignPanic>,
    /// How the tasks of a runtime that had not ended were cut off.
    pub cut_off: CutOff,
    /// What this report does not speak of.
    pub not_covered: Vec<NotCovered>,
}

/// How the tasks that were left were cut off when their runtime went down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutOff {
    /// No task was left, or what was shut down is no runtime.
    #[default]
    Nothing,
    /// At rest: from the moment when the runtime began to refuse `spawn_blocking`, no task was polled. So
    /// none could panic because of that.
    ///
    /// Not included are futures inside `Handle::block_on` of Tokio, which are no tasks, and one case of a task
    /// inside `block_in_place`: its worker was handed to another thread by an earlier `block_in_place`,
    /// that thread had not been idle since, and the earlier call has returned and taken the worker back. Rest
    /// waits 20 ms for such a task.
    AtRest,
    /// The runtime was not brought to rest in time. A task may have been polled when `spawn_blocking` was
    /// refused already, and may have panicked: deadpool panics there. This happens only with workers, and if
    ///
    /// - a task does not yield for two seconds;
    /// - there are as many tasks that are always ready as workers, so that none goes idle for 0.2 s;
    /// - tasks have used `block_in_place`, and for 0.2 s no thread returns from it or from a closure of
    ///   `spawn_blocking` while one is inside (from outside, the two cannot be told apart, and the closure
    ///   may wait for a task);
    /// - or the destructors of the tasks do not return within two seconds.
    ///
    /// Instead of 0.2 s it is half of the time that the most patient caller has left, if that is less.
    InMotion,
}

/// A panic on a thread of a runtime, other than one of the kit's own tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPanic {
    /// The message of the panic.
    pub message: String,
    /// Where it panicked: file, line and column.
    pub site: String,
    /// The name of the thread.
    pub thread: String,
}

/// ``panicked at src/pool.rs:3:5 on `matrix-0`: no reactor``.
impl fmt::Display for ForeignPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, site, thread } = self;
        write!(f, "panicked at {site} on `{thread}`: {message}")
    }
}

impl ShutdownReport {
    /// A report for your own [`GracefulShutdown`](super::GracefulShutdown). The fields without a parameter
    /// are empty; you can set them afterwards.
    pub fn new(component: impl Into<String>, elapsed: Duration, aborted: usize) -> Self {
        Self {
            component: component.into(),
            elapsed,
            aborted,
            aborted_tasks: Vec::new(),
            foreign: 0,
            foreign_panics: Vec::new(),
            cut_off: CutOff::Nothing,
            not_covered: Vec::new(),
        }
    }

    /// Whether everything ended by itself, and no panic was seen.
    #[must_use]
    pub fn is_graceful(&self) -> bool {
        self.aborted == 0 && self.foreign == 0 && self.foreign_panics.is_empty()
    }

    /// What did not end by itself.
    pub(crate) fn cut_short(&self) -> Vec<String> {
        let Self { aborted, aborted_tasks, foreign, foreign_panics, cut_off, .. } = self;
        cut_short(*aborted, aborted_tasks, *foreign, foreign_panics, *cut_off)
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` has ended after {:.1?}", self.component, self.elapsed)?;
        let said = self.cut_short();
        if !said.is_empty() {
            write!(f, ": {}", list(&said))?;
        }
        f.write_str(&not_covered(&self.not_covered))
    }
}

/// What did not end by itself.
pub(crate) fn cut_short(
    aborted: usize,
    aborted_tasks: &[StillRunning],
    foreign: usize,
    foreign_panics: &[ForeignPanic],
    cut_off: CutOff,
) -> Vec<String> {
    let mut said = Vec::new();
    if aborted > 0 {
        said.push(format!("{} aborted{}", count(aborted, "task"), names(aborted, aborted_tasks)));
    }
    if foreign > 0 {
        said.push(format!("{} cut off", count(foreign, "foreign task")));
    }
    if cut_off == CutOff::InMotion {
        said.push("tasks may have been polled after `spawn_blocking` was refused".to_owned());
    }
    said.extend(foreign_panics.iter().map(|panic| format!("a foreign task {panic}")));
    said
}

/// A handful of names, of different tasks: ``: `worker` (spawned at src/main.rs:3:5) and 2 more``.
pub(crate) fn names(number: usize, tasks: &[StillRunning]) -> String {
    const HANDFUL: usize = 5;
    let mut named: Vec<&StillRunning> = Vec::new();
    for task in tasks {
        if named.len() < HANDFUL && !named.contains(&task) {
            named.push(task);
        }
    }
    match (named.len(), number.saturating_sub(named.len())) {
        (0, _) => String::new(),
        (_, 0) => format!(": {}", list(&named)),
        (_, more) => format!(": {} and {more} more", list(&named)),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;

    #[test]
    fn a_report_says_in_one_sentence_what_ended_how_and_what_it_does_not_cover() {
        let mut report = ShutdownReport::new("store", Duration::from_millis(3), 0);
        assert_eq!(report.to_string(), "`store` has ended after 3.0ms");
        assert!(report.is_graceful());
        report.foreign = 1;
        report.cut_off = CutOff::InMotion;
        report.foreign_panics.push(ForeignPanic {
            message: "no reactor".to_owned(),
            site: "pool.rs:1:2".to_owned(),
            thread: "store-0".to_owned(),
        });
        report.not_covered = vec![NotCovered::PlainThreads, NotCovered::Success];
        assert!(!report.is_graceful());
        assert_eq!(
            report.to_string(),
            "`store` has ended after 3.0ms: 1 foreign task cut off, tasks may have been polled after \
             `spawn_blocking` was refused, a foreign task panicked at pool.rs:1:2 on `store-0`: no \
             reactor; not visible to the kit: plain threads, whether the work succeeded"
        );
        report.not_covered.push(NotCovered::ForeignTasks { alive: 2 });
        let text = report.to_string();
        let end = "; not covered: 2 other tasks of the runtime; not visible to the kit: plain \
                   threads, whether the work succeeded";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn a_handful_of_aborted_tasks_is_named_and_the_others_are_counted() {
        let mut report = ShutdownReport::new("store", Duration::from_millis(3), 0);
        let text = |report: &ShutdownReport| report.to_string().split_off("`store` has ".len());
        let (begin, at) = ("ended after 3.0ms: ", Location::caller());
        let task = |number: usize| StillRunning {
            name: format!("{number}"),
            spawned_at: at,
            awaits: None,
        };
        report.aborted = 1;
        report.aborted_tasks = vec![task(1)];
        assert_eq!(text(&report), format!("{begin}1 task aborted: `1` (spawned at {at})"));
        report.aborted = 100;
        report.aborted_tasks = vec![task(1); 64];
        let expected = format!("{begin}100 tasks aborted: `1` (spawned at {at}) and 99 more");
        assert_eq!(text(&report), expected);
        report.aborted_tasks = (0..64).map(task).collect();
        assert!(text(&report).ends_with(&format!("`4` (spawned at {at}) and 95 more")), "{report}");
    }
}
