//! What Linux tells of threads and processes in `/proc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use super::EvidenceError;

pub(super) fn unlisted(list: impl AsRef<Path>, source: io::Error) -> EvidenceError {
    EvidenceError::Unlisted { list: list.as_ref().to_owned(), source }
}

/// Reads a list that must exist.
pub(super) fn read(list: &str) -> Result<Vec<u8>, EvidenceError> {
    fs::read(list).map_err(|source| unlisted(list, source))
}

/// The entries of a directory whose names are numbers: processes, threads, or descriptors.
pub fn numbers(list: &str) -> Result<Vec<u32>, EvidenceError> {
    let unlisted = |source| unlisted(list, source);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(list).map_err(unlisted)? {
        numbers.extend(
            entry.map_err(unlisted)?.file_name().to_str().and_then(|it| it.parse::<u32>().ok()),
        );
    }
    Ok(numbers)
}

/// The number at the end of a link: `/proc/self` leads to this process, `/proc/thread-self` to this
/// thread, as they are numbered where `/proc` was mounted.
pub fn number_behind(link: &str) -> Result<u32, EvidenceError> {
    let target = fs::read_link(link).map_err(|source| unlisted(link, source))?;
    let number = target.file_name().and_then(|name| name.to_str()?.parse().ok());
    number.ok_or_else(|| unlisted(link, io::Error::other("it leads to no number")))
}

/// Reads something of a thread or a process: `None` if that has ended in the meantime.
pub(super) fn of_a_task(path: &str) -> Result<Option<Vec<u8>>, EvidenceError> {
    /// "No such process": the thread ended after the file was opened.
    const ESRCH: i32 = 3;
    // The kernel does not know how long these files are, so `fs::read` would ask in vain and begin with a small piece.
    let read = || -> io::Result<_> {
        let mut text = Vec::with_capacity(1024);
        File::open(path)?.take(u64::MAX).read_to_end(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(ESRCH) => Ok(None),
        Err(source) => Err(unlisted(path, source)),
    }
}

/// The children of this process that have not ended, by number. `also` are numbers that are looked at whether the kernel
/// lists them or not.
///
/// The kernel has a list for each thread, and lists and states are read one after another. What a child or a thread that
/// ends meanwhile hands to this process may come onto a list that has been read. So they are read until they have said
/// the same twice.
pub fn children(
    also: impl Iterator<Item = u32> + Clone,
) -> Result<BTreeMap<u32, Stat>, EvidenceError> {
    /// So that whoever starts processes without end does not keep this thread. It is itself a child or a thread.
    const READS: usize = 100;
    let this = number_behind("/proc/self")?;
    let (mut children, mut before) = (BTreeMap::new(), None);
    for _ in 0..READS {
        children.clear();
        let mut read = BTreeSet::new();
        for child in possible_children()?.into_iter().chain(also.clone()) {
            match Stat::read(&format!("/proc/{child}/stat"))? {
                Some(stat) if stat.parent == this && !stat.has_ended => {
                    read.insert((child, Some(stat.started)));
                    children.insert(child, stat);
                }
                // Another's: where the kernel has no lists of children, all processes are looked at.
                Some(stat) if stat.parent != this && !stat.has_ended => {}
                _ => {
                    read.insert((child, None));
                }
            }
        }
        if before.as_ref() == Some(&read) {
            break;
        }
        before = Some(read);
    }
    Ok(children)
}

/// Processes that may be children of this one. The kernel lists them for each thread, if it was built to
/// (`CONFIG_PROC_CHILDREN`). Otherwise these are all processes.
fn possible_children() -> Result<Vec<u32>, EvidenceError> {
    if of_a_task("/proc/thread-self/children")?.is_none() {
        return numbers("/proc");
    }
    let mut children = Vec::new();
    for thread in numbers("/proc/self/task")? {
        let list = of_a_task(&format!("/proc/self/task/{thread}/children"))?.unwrap_or_default();
        let list = String::from_utf8_lossy(&list);
        children
            .extend(list.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(children)
}

/// The part of a `stat` file that is needed here.
pub struct Stat {
    /// The name, of which the kernel keeps the first 15 bytes.
    pub(super) name: Vec<u8>,
    /// The number of its parent.
    pub parent: u32,
    /// The number of its process group.
    pub group: u32,
    /// In ticks after the system's start. With the number, this is an identity: numbers are reused.
    pub started: u64,
    /// A process that ended keeps its number until its parent has asked for its status.
    pub has_ended: bool,
    /// It does nothing any more but end.
    pub is_ending: bool,
}

/// How many bytes of a name the kernel keeps.
pub(super) const NAME: usize = 15;

impl Stat {
    /// `None` if the thread or process does not exist any more.
    pub fn read(path: &str) -> Result<Option<Self>, EvidenceError> {
        let Some(text) = of_a_task(path)? else { return Ok(None) };
        match Self::parse(&text) {
            Some(stat) => Ok(Some(stat)),
            None => Err(unlisted(path, io::Error::other("it has another format"))),
        }
    }

    /// `number (name) state parent group …`. A name may contain parentheses and spaces.
    fn parse(text: &[u8]) -> Option<Self> {
        let begin = text.iter().position(|byte| *byte == b'(')? + 1;
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let name = text.get(begin..end)?.to_vec();
        let fields: Vec<_> =
            std::str::from_utf8(text.get(end + 1..)?).ok()?.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        // Somebody has waited for it while this was read: nothing of it is left but its name and numbers.
        let is_gone = *fields.get(2)? == "-1";
        // Of a process whose first thread has ended, others may still run.
        let is_zombie = matches!(*fields.first()?, "Z" | "X" | "x") && number(17)? <= 1;
        // The kernel's `PF_EXITING`.
        let is_ending = number(6)? & 4 != 0;
        let group = if is_gone { 0 } else { number(2)?.try_into().ok()? };
        Some(Self {
            name,
            parent: number(1)?.try_into().ok()?,
            group,
            started: number(19)?,
            has_ended: is_zombie || is_gone,
            is_ending,
        })
    }

    /// Whether the name begins like this, as far as the kernel keeps it.
    pub(super) fn begins_with(&self, prefix: &str) -> bool {
        let prefix = prefix.as_bytes();
        self.name.starts_with(prefix.get(..NAME).unwrap_or(prefix))
    }

    /// The name, as text.
    pub fn display(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        iter,
        process::{Command, Stdio},
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

    use super::*;

    #[test]
    fn a_name_may_contain_what_separates_the_fields() {
        let rest = "S 7 7 7 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 3 0 4711 0";
        let stat = Stat::parse(format!("12 (a) b (c) {rest}").as_bytes()).unwrap();
        assert_eq!((&*stat.display(), stat.parent, stat.started), ("a) b (c", 7, 4711));
        assert_eq!((stat.group, stat.is_ending), (7, false));
        assert!(!stat.has_ended);
        assert!(Stat::parse(b"12 (a").is_none() && Stat::parse(b"").is_none());
    }

    #[test]
    fn a_process_has_ended_when_its_last_thread_has() {
        let stat = |threads| format!("1 (a) Z 7 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 1 0");
        assert!(Stat::parse(stat(1).as_bytes()).unwrap().has_ended);
        assert!(!Stat::parse(stat(2).as_bytes()).unwrap().has_ended);
    }

    #[test]
    fn a_process_that_was_waited_for_meanwhile_has_ended() {
        let text = "934 (sh) X 0 -1 -1 0 -1 4195332 0 0 0 0 0 0 0 0 20 0 0 0 812345 0";
        assert!(Stat::parse(text.as_bytes()).unwrap().has_ended);
        let text = "934 (sh) S 0 -1 -1 0 -1 4195332 0 0 0 0 0 0 0 0 20 0 0 0 812345 0";
        assert!(Stat::parse(text.as_bytes()).unwrap().has_ended);
    }

    #[test]
    fn a_long_prefix_is_compared_as_far_as_the_kernel_keeps_the_name() {
        let rest = "S 7 7 7 0 -1 4194308 0 0 0 0 0 0 0 0 0 20 0 1 0 1 0";
        let stat = Stat::parse(format!("1 (sqlx-sqlite-wor) {rest}").as_bytes()).unwrap();
        assert!(stat.is_ending);
        assert!(stat.begins_with("sqlx-sqlite-worker-3") && stat.begins_with("sqlx-"));
        assert!(!stat.begins_with("sqlx-postgres-worker"));
    }

    /// Whoever looks while a child ends must find it or what it hands to this process.
    #[test]
    fn a_process_whose_parent_ends_is_on_one_of_the_lists() {
        /// What was found by reading everything once.
        fn at_once() -> Vec<u32> {
            let lives = |child: &u32| {
                let stat = Stat::read(&format!("/proc/{child}/stat")).unwrap();
                stat.is_some_and(|stat| !stat.has_ended && stat.parent == std::process::id())
            };
            possible_children().unwrap().into_iter().filter(lives).collect()
        }
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        // Between the list and the state of the last on it there is time, because of these.
        let command = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut before: Vec<_> = (0..30).map(|_| command("cat", &[])).collect();
        let (mut found_at_once, mut missed_at_once) = (0, 0);
        for round in 0..500 {
            let mut shell = command("sh", &["-c", "sleep 60 & echo $!; wait"]);
            let mut child = String::new();
            BufReader::new(shell.stdout.take().unwrap()).read_line(&mut child).unwrap();
            let child: u32 = child.trim().parse().unwrap();
            let either = [shell.id(), child];
            let has_been_killed = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    shell.kill().unwrap();
                    shell.wait().unwrap();
                    has_been_killed.store(true, Ordering::Release);
                });
                while !has_been_killed.load(Ordering::Acquire) {
                    if round % 2 == 0 {
                        let found = children(iter::empty()).unwrap();
                        assert!(either.iter().any(|it| found.contains_key(it)), "{either:?}");
                    } else if at_once().iter().any(|it| either.contains(it)) {
                        found_at_once += 1;
                    } else {
                        missed_at_once += 1;
                    }
                }
            });
            let child = Pid::from_raw(child.try_into().unwrap()).unwrap();
            kill_process(child, Signal::KILL).unwrap();
            waitpid(Some(child), WaitOptions::empty()).unwrap();
            if round >= 100 && missed_at_once >= 5 {
                break;
            }
        }
        for child in &mut before {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        println!("at once, {found_at_once} looks found it and {missed_at_once} did not");
        assert!(missed_at_once > 0 && found_at_once > 0, "the test does not provoke it");
    }
}
