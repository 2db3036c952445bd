//! What an answer does not speak of.

use std::fmt;

use super::{count, list};

/// Something that may still be alive, or may have failed, although the answer is `Ok`: the kit cannot see
/// it. Every report lists what it does not cover, so that an `Ok` is not taken for more than it says. What
/// the kit has counted comes first; the rest is what it can never see of such an answer.
///
/// ```
/// use sundown::shutdown::NotCovered;
///
/// let open = NotCovered::ForeignTasks { alive: 2 };
/// assert_eq!(open.to_string(), "2 other tasks of the runtime");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotCovered {
    /// Whether the work succeeded. The kit sees that a task has ended, not whether its goodbye reached the
    /// server. A socket whose own runtime has been shut down
    /// [delivers nothing](mod@crate::teardown#a-goodbye-over-a-socket).
    Success,
    /// Threads that the code started by itself, such as `std::thread::spawn`.
    PlainThreads,
    /// Tasks and blocking work on other runtimes, and tasks of a `LocalSet` or `LocalRuntime`. A local task can be
    /// a member of a group: [`TaskGroup::hold`](crate::TaskGroup::hold).
    OtherRuntimes,
    /// Processes that the code started. The end of a runtime ends none, except those of `kill_on_drop` that a task
    /// owned.
    ChildProcesses,
    /// Clones of a value that were taken out of a handle, or that the value's own tasks hold.
    Clones,
    /// Values that were taken out of their handle by `into_inner`.
    Escaped {
        /// How many.
        values: usize,
    },
    /// Tasks on the same runtime that are not of the component which answers, such as the connections of an
    /// HTTP server, or the tasks of another group.
    ForeignTasks {
        /// How many were alive when the report was made.
        alive: usize,
    },
    /// Closures of `spawn_blocking`. Stable Tokio does not expose whether any are queued or running.
    BlockingWork,
    /// Panics of tasks that were not spawned through the kit.
    ForeignPanics,
    /// Whether a goodbye of values that were not torn down when the session's runtime was cut off was
    /// delivered. A socket of that runtime delivers nothing from then on. Something kept a handle until then:
    /// say goodbye in a [hook](crate::Session::before_close_with), which runs while the runtime does.
    ///
    /// A session that has Tokio's `Handle` of a runtime asks it before each value is dropped, and after the tasks of
    /// its destructor have ended: a value is counted if the runtime has been shut down by then.
    OutlivedRuntime {
        /// How many.
        values: usize,
    },
    /// Threads of the kit that foreign code keeps: a waker that has not returned, or the destructor of a
    /// thread-local. They belong to another component, to a [`Latch`](crate::Latch) or gate, or to a limit that
    /// has passed: if a waker of the same component has not returned, there is no `Ok`. Do not unload the library
    /// while there are any.
    KitThreads {
        /// How many.
        alive: usize,
    },
    /// The runtime is still running, because other sessions use it.
    SharedRuntime {
        /// How many other sessions use it.
        sessions: usize,
    },
}

impl NotCovered {
    /// The threads of the kit that nobody waits for any more, if there are any, of all components. A
    /// library looks at this before it is unloaded.
    #[cfg(not(loom))]
    #[must_use]
    pub fn kit_threads() -> Option<Self> {
        let alive = crate::joinable::given_up();
        (alive > 0).then_some(Self::KitThreads { alive })
    }
}

impl fmt::Display for NotCovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("whether the work succeeded"),
            Self::PlainThreads => f.write_str("threads that the code started by itself"),
            Self::OtherRuntimes => f.write_str("work on other runtimes"),
            Self::ChildProcesses => f.write_str("processes that the code started"),
            Self::Clones => f.write_str("clones outside the handles"),
            Self::Escaped { values } => {
                write!(f, "{} taken out of a handle", count(*values, "value"))
            }
            Self::ForeignTasks { alive } => {
                write!(f, "{} of the runtime", count(*alive, "other task"))
            }
            Self::BlockingWork => f.write_str("closures of `spawn_blocking`"),
            Self::ForeignPanics => {
                f.write_str("panics of tasks that were not spawned through the kit")
            }
            Self::OutlivedRuntime { values } => write!(
                f,
                "the goodbye of {} that outlived the session's runtime",
                count(*values, "value")
            ),
            Self::KitThreads { alive } => {
                write!(f, "{} of the kit that foreign code keeps", count(*alive, "thread"))
            }
            Self::SharedRuntime { sessions } => {
                write!(f, "the runtime, in use by {}", count(*sessions, "other session"))
            }
        }
    }
}

impl NotCovered {
    /// A short name for what the kit can never see; `None` for what it has counted.
    pub(crate) const fn invisible(&self) -> Option<&'static str> {
        match self {
            Self::Success => Some("whether the work succeeded"),
            Self::PlainThreads => Some("plain threads"),
            Self::OtherRuntimes => Some("other runtimes"),
            Self::ChildProcesses => Some("child processes"),
            Self::Clones => Some("clones outside the handles"),
            Self::BlockingWork => Some("`spawn_blocking`"),
            Self::ForeignPanics => Some("panics of foreign tasks"),
            Self::Escaped { .. }
            | Self::ForeignTasks { .. }
            | Self::OutlivedRuntime { .. }
            | Self::KitThreads { .. }
            | Self::SharedRuntime { .. } => None,
        }
    }
}

/// The end of a report's sentence: what was counted in full, and a short list of the rest.
pub(crate) fn not_covered(items: &[NotCovered]) -> String {
    let counted: Vec<_> = items.iter().filter(|item| item.invisible().is_none()).collect();
    let invisible: Vec<_> = items.iter().filter_map(NotCovered::invisible).collect();
    let mut text = String::new();
    if !counted.is_empty() {
        text += &format!("; not covered: {}", list(&counted));
    }
    if !invisible.is_empty() {
        text += &format!("; not visible to the kit: {}", list(&invisible));
    }
    text
}
