//! Finds and kills processes that left the group they were started in.
//!
//! The sandbox kills a trial's process group, but a descendant can leave the group by `setsid`. On Linux
//! the lab finds such a process in two ways. It is the *subreaper* of its descendants, so an orphan
//! becomes its child; and a variable in the environment marks them. On other systems the process escapes,
//! and the lab only stops waiting for the trial's pipes. The head of `sandbox` says when this is called.

/// The variable that names the run to which a process belongs.
pub(crate) const RUN: &str = "LAB_RUN";

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    Process, adopt, adopted, kill_adopted, kill_marked, path, processes, variable,
};

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{adopt, adopted, kill_adopted, kill_marked, variable};

#[cfg(target_os = "linux")]
mod linux {
    use std::{collections::HashSet, fs, path::PathBuf};

    use rustix::process::{
        Pid, Signal, WaitOptions, getpgid, getpgrp, getpid, kill_process, set_child_subreaper,
        waitpid,
    };

    use super::RUN;

    /// How often to read the process table again: a killed process may leave children.
    const ROUNDS: usize = 100;

    /// Makes this process the parent of every descendant that becomes an orphan.
    pub(crate) fn adopt() {
        // Every kernel since 3.4 allows it. Without it, strays are found by their mark alone.
        let _ = set_child_subreaper(Some(getpid()));
    }

    /// Kills the children of this process, except the known ones and the members of groups that these
    /// lead. Repeats until no other is left.
    pub(crate) fn kill_adopted(known: &HashSet<u32>) {
        for _ in 0..ROUNDS {
            let adopted = children_except(known);
            if adopted.is_empty() {
                return;
            }
            for pid in adopted {
                let _ = kill_process(pid, Signal::KILL);
                // After SIGKILL, this waits only for the kernel.
                let _ = waitpid(Some(pid), WaitOptions::empty());
            }
        }
    }

    /// The same children, and not those that this process has started itself, in its own group.
    pub(crate) fn adopted(known: &HashSet<u32>) -> Vec<i32> {
        let us = getpgrp();
        let is_adopted = |pid: &Pid| getpgid(Some(*pid)).is_ok_and(|group| group != us);
        let adopted = children_except(known).into_iter().filter(is_adopted);
        adopted.map(|pid| pid.as_raw_nonzero().get()).collect()
    }

    fn children_except(known: &HashSet<u32>) -> Vec<Pid> {
        let us = getpid().as_raw_nonzero().get();
        let is_known = |pid: Pid| known.contains(&pid.as_raw_nonzero().get().cast_unsigned());
        processes()
            .filter(|pid| Process::read(*pid).is_some_and(|it| it.parent == us))
            .filter_map(Pid::from_raw)
            .filter(|pid| !is_known(*pid) && !getpgid(Some(*pid)).is_ok_and(is_known))
            .collect()
    }

    /// Kills the processes with the mark of this run. Repeats until none is left.
    pub(crate) fn kill_marked(run: &str) {
        let mark = format!("{RUN}={run}").into_bytes();
        for _ in 0..ROUNDS {
            let marked: Vec<_> = processes()
                .filter(|pid| variable(*pid, |variable| variable == mark))
                .filter_map(Pid::from_raw)
                .collect();
            if marked.is_empty() {
                return;
            }
            for pid in marked {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    pub(crate) fn processes() -> impl Iterator<Item = i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    pub(crate) fn path(pid: i32, file: &str) -> PathBuf {
        format!("/proc/{pid}/{file}").into()
    }

    /// Whether a variable of the environment that a process was started with is like this.
    pub(crate) fn variable(pid: i32, is_it: impl Fn(&[u8]) -> bool) -> bool {
        let environment = fs::read(path(pid, "environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(is_it)
    }

    /// What the kernel says of a process.
    pub(crate) struct Process {
        pub(crate) parent: i32,
        pub(crate) group: i32,
        /// It has ended, and its parent has not asked for its status.
        pub(crate) has_ended: bool,
    }

    impl Process {
        /// `number (name) state parent group …`. The name may contain parentheses.
        pub(crate) fn read(pid: i32) -> Option<Self> {
            let stat = fs::read_to_string(path(pid, "stat")).ok()?;
            let mut words = stat.rsplit_once(')')?.1.split_whitespace();
            let has_ended = matches!(words.next()?, "Z" | "X");
            let mut number = || words.next()?.parse().ok();
            Some(Self { parent: number()?, group: number()?, has_ended })
        }
    }
}

/// Without a subreaper and a process table, a process that has left its group is not found. Unverified:
/// written for macOS, never run on it.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::collections::HashSet;

    pub(crate) fn adopt() {}
    pub(crate) fn adopted(_known: &HashSet<u32>) -> Vec<i32> {
        Vec::new()
    }
    pub(crate) fn kill_adopted(_known: &HashSet<u32>) {}
    pub(crate) fn variable(_pid: i32, _is_it: impl Fn(&[u8]) -> bool) -> bool {
        false
    }
    pub(crate) fn kill_marked(_run: &str) {}
}
