//! What there is in this process, and what of it is new.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{Kind, Leak, in_time, memory};
use crate::evidence::{
    EvidenceError,
    by_link::descriptors,
    proc::{Stat, number_behind, numbers, possible_children},
    sockets::linux::{inode, sockets},
};

pub(super) const THREADS: &str = "/proc/self/task";

/// A thread or a process by number and start.
type Identity = (u32, u64);

/// What there is in this process.
#[derive(Debug, Default)]
pub(super) struct Look {
    threads: BTreeSet<Identity>,
    /// By number, with what the link says.
    descriptors: BTreeSet<(String, String)>,
    processes: BTreeSet<Identity>,
}

/// Looks for the first time.
pub(super) fn begin() -> Result<Look, EvidenceError> {
    // What a child leaves behind becomes a child of this process, and is seen. A kernel that does not know this is older
    // than any that Rust runs on.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    Look::now()
}

impl Look {
    fn now() -> Result<Self, EvidenceError> {
        let mut look = Self::default();
        for thread in numbers(THREADS)? {
            let Some(stat) = Stat::read(&format!("{THREADS}/{thread}/stat"))? else { continue };
            if !stat.has_ended && !stat.is_ending {
                look.threads.insert((thread, stat.started));
            }
        }
        for open in descriptors()? {
            let number = open.entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            look.descriptors.insert((number, open.link.to_string_lossy().into_owned()));
        }
        let this = number_behind("/proc/self")?;
        for process in possible_children()? {
            let Some(stat) = Stat::read(&format!("/proc/{process}/stat"))? else { continue };
            if stat.parent == this && !stat.has_ended {
                look.processes.insert((process, stat.started));
            }
        }
        Ok(look)
    }

    /// What there is and was not there before.
    fn new_since(mut self, before: &Self) -> Self {
        self.threads.retain(|it| !before.threads.contains(it));
        self.descriptors.retain(|it| !before.descriptors.contains(it));
        self.processes.retain(|it| !before.processes.contains(it));
        self
    }

    /// What was left behind since this look. What is not allowed has time to end.
    pub(super) fn left(&self, is_allowed: impl Fn(&Leak) -> bool) -> Result<Vec<Leak>, String> {
        let mut last = Ok(Self::default());
        in_time(|| {
            last = Self::now().map(|now| now.new_since(self));
            last.as_ref().is_ok_and(|left| left.leaks().iter().all(&is_allowed))
        });
        let left =
            last.map_err(|error| format!("cannot look at what the test left behind: {error}"))?;
        let mut leaks = left.leaks();
        // The threads come first. Only now, and only what is printed: it takes a while.
        for (leak, (thread, _)) in leaks.iter_mut().zip(&left.threads) {
            if !is_allowed(leak) {
                leak.origin = memory::thread(*thread);
            }
        }
        Ok(leaks)
    }

    fn leaks(&self) -> Vec<Leak> {
        let mut leaks = Vec::new();
        let names = Names::read(!self.descriptors.is_empty());
        for (thread, _) in &self.threads {
            let name = fs::read_to_string(format!("{THREADS}/{thread}/comm")).unwrap_or_default();
            let name = format!("`{}` ({thread})", name.trim_end());
            leaks.push(Leak { kind: Kind::Thread, name, origin: String::new() });
        }
        for (number, link) in &self.descriptors {
            leaks.push(names.descriptor(number, link));
        }
        for (process, _) in &self.processes {
            let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command);
            let command = command.trim_end_matches('\0').replace('\0', " ");
            let name = format!("`{command}` ({process})");
            leaks.push(Leak { kind: Kind::Process, name, origin: "still runs".to_owned() });
        }
        leaks
    }
}

/// The names of sockets, by inode.
#[derive(Default)]
struct Names {
    sockets: BTreeMap<u64, String>,
}

impl Names {
    fn read(are_needed: bool) -> Self {
        let mut names = Self::default();
        if are_needed {
            // Without the lists, a socket has its number.
            let of_internet = sockets().unwrap_or_default();
            names.sockets.extend(of_internet.iter().map(|(inode, it)| (*inode, it.to_string())));
            let unix = fs::read_to_string("/proc/thread-self/net/unix").unwrap_or_default();
            names.sockets.extend(unix.lines().skip(1).filter_map(Self::unix));
        }
        names
    }

    /// `address: count protocol flags type state inode path`
    fn unix(line: &str) -> Option<(u64, String)> {
        let mut fields = line.split_ascii_whitespace().skip(6);
        let inode = fields.next()?.parse().ok()?;
        Some((
            inode,
            fields.next().map_or("a Unix socket".to_owned(), |path| format!("Unix socket {path}")),
        ))
    }

    fn descriptor(&self, number: &str, link: &str) -> Leak {
        if let Some(inode) = inode(link) {
            let name = self.sockets.get(&inode).map_or(link, |name| name);
            let name = format!("`{name}` (descriptor {number})");
            return Leak { kind: Kind::Socket, name, origin: "still open".to_owned() };
        }
        let what = match link {
            "anon_inode:[eventpoll]" => {
                "still open: an event loop, such as that of a runtime that was not shut down"
            }
            "anon_inode:[eventfd]" => {
                "still open: an event counter, such as what wakes a runtime's event loop"
            }
            link if link.starts_with("pipe:") => "still open: an end of a pipe",
            link if Path::new(link).is_absolute() => "still open: a file",
            _ => "still open",
        };
        let name = format!("`{link}` (descriptor {number})");
        Leak { kind: Kind::Descriptor, name, origin: what.to_owned() }
    }
}
