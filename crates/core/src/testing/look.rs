//! What there is in this process, and what of it is new.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io, iter,
    path::Path,
    process,
};

use rustix::{
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
    },
};

use super::{Kind, Leak, Options, in_time, memory};
use crate::evidence::{
    EvidenceError,
    by_link::descriptors,
    identity::Identity as File,
    proc::{self, Stat, number_behind, numbers},
    sockets::linux::{inode, sockets},
};

pub(super) const THREADS: &str = "/proc/self/task";

/// A thread or a process by number and start.
type Identity = (u32, u64);

/// What there is in this process.
#[derive(Debug, Default)]
pub(super) struct Look {
    threads: BTreeSet<Identity>,
    descriptors: BTreeMap<String, Open>,
    processes: BTreeSet<Identity>,
}

/// What a descriptor stands for.
#[derive(Debug)]
struct Open {
    /// What its link says: the name that the file has now. It changes when the file is renamed.
    link: String,
    /// Unless its file system does not say.
    file: Option<File>,
}

/// The processes that this one has to wait for and that have not ended.
pub(super) fn children() -> Result<BTreeSet<Identity>, EvidenceError> {
    if there_is_no_child() {
        return Ok(BTreeSet::new());
    }
    let children = proc::children(iter::empty())?;
    Ok(children.into_iter().map(|(process, stat)| (process, stat.started)).collect())
}

/// Whether the kernel says that this process has no child at all, not even one that has ended. That takes one call, and
/// the lists take a dozen.
fn there_is_no_child() -> bool {
    /// Linux: also those that do not send SIGCHLD when they end.
    const WALL: WaitIdOptions = WaitIdOptions::from_bits_retain(0x4000_0000);
    // It asks, and takes nothing: `NOWAIT` leaves an ended child to whoever waits for it.
    let ask = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT | WALL;
    waitid(WaitId::All, ask).is_err_and(|error| error == Errno::CHILD)
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
            let link = open.link.to_string_lossy().into_owned();
            let file = match fs::metadata(&open.entry) {
                // Another thread has closed it in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.ok().map(|file| File::of(&file)),
            };
            look.descriptors.insert(number, Open { link, file });
        }
        look.processes = children()?;
        Ok(look)
    }

    /// What there is and was not there before.
    fn new_since(mut self, before: &Self) -> Self {
        self.threads.retain(|it| !before.threads.contains(it));
        self.descriptors.retain(|number, open| {
            before.descriptors.get(number).is_none_or(|before| before.file != open.file)
        });
        self.processes.retain(|it| !before.processes.contains(it));
        self
    }

    /// What was left behind since this look. What is not allowed has time to end.
    pub(super) fn left(&self, options: &Options) -> Result<Vec<Leak>, String> {
        let mut last = Ok(Self::default());
        in_time(|| {
            last = Self::now().map(|now| now.new_since(self));
            last.as_ref().is_ok_and(|left| left.is_allowed_by(options))
        });
        let left =
            last.map_err(|error| format!("cannot look at what the test left behind: {error}"))?;
        let mut leaks = left.leaks();
        // The threads come first. Only now, and only what is printed: it takes a while.
        for (leak, (thread, _)) in leaks.iter_mut().zip(&left.threads) {
            if !options.allows(leak) {
                leak.origin = memory::thread(*thread);
            }
        }
        Ok(leaks)
    }

    /// Ends the processes that were started since this look, and what those leave behind, except what is allowed.
    pub(super) fn end_processes(&self, is_allowed: impl Fn(&Leak) -> bool) {
        // Where `/proc` has numbers of its own, they are not those that signals go by.
        if !number_behind("/proc/self").is_ok_and(|number| number == process::id()) {
            return;
        }
        in_time(|| {
            let Ok(children) = children() else { return false };
            let left: Vec<_> = children
                .into_iter()
                .filter(|it| !self.processes.contains(it) && !is_allowed(&process_leak(it.0)))
                .collect();
            left.iter().for_each(|process| end(*process));
            left.is_empty()
        });
    }

    fn is_allowed_by(&self, options: &Options) -> bool {
        let is_empty = [self.threads.len(), self.descriptors.len(), self.processes.len()] == [0; 3];
        // Names take a while: those of sockets are in tables of all sockets of the machine.
        is_empty || !options.allowed.is_empty() && self.leaks().iter().all(|it| options.allows(it))
    }

    fn leaks(&self) -> Vec<Leak> {
        let mut leaks = Vec::new();
        let names = Names::read(!self.descriptors.is_empty());
        for (thread, _) in &self.threads {
            // The kernel may have cut the name within a character.
            let name = fs::read(format!("{THREADS}/{thread}/comm")).unwrap_or_default();
            let name = format!("`{}` ({thread})", String::from_utf8_lossy(&name).trim_end());
            leaks.push(Leak { kind: Kind::Thread, name, origin: String::new() });
        }
        for (number, open) in &self.descriptors {
            leaks.push(names.descriptor(number, &open.link));
        }
        leaks.extend(self.processes.iter().map(|(process, _)| process_leak(*process)));
        leaks
    }
}

fn process_leak(process: u32) -> Leak {
    let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command);
    let command = command.trim_end_matches('\0').replace('\0', " ");
    let name = format!("`{command}` ({process})");
    Leak { kind: Kind::Process, name, origin: "still runs".to_owned() }
}

/// Ends a process, and no other that has got its number.
fn end((number, started): Identity) {
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else { return };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // Only now: from here on the descriptor stands for one process.
    let stat = Stat::read(&format!("/proc/{number}/stat"));
    if stat.is_ok_and(|stat| stat.is_some_and(|stat| stat.started == started)) {
        // If it has ended meanwhile, that is as well.
        let _ = pidfd_send_signal(process, Signal::KILL);
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
