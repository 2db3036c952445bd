//! What the process leaves behind, as far as Linux tells: child processes and what they have started, and the files
//! of Unix sockets.

use std::{
    collections::{HashMap, HashSet},
    env, fs, iter,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    process,
    thread::Builder,
    time::Duration,
};

use rustix::{
    net::sockopt::socket_peercred,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};
use sundown_core::{
    evidence::{
        EvidenceError,
        proc::{self, Stat, number_behind, numbers},
    },
    oneshot,
};

use crate::{ledger::LeftBehind, resource::Subject};

/// The least and the most that a plan waits for the look, whatever its limit.
const AT_LEAST: Duration = Duration::from_millis(20);
const AT_MOST: Duration = Duration::from_millis(100);

/// When it ends, the kernel kills all other processes of its namespace.
const FIRST_PROCESS: u32 = 1;

/// How many generations below this process are looked at.
const GENERATIONS: usize = 32;

/// A flag of a socket that listens: the kernel's `__SO_ACCEPTCON`.
const LISTENS: u32 = 0x10000;

/// What is known when the plan begins.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// What resources are about.
    pub(super) subjects: Vec<Subject>,
    /// Those of them that are meant to stay.
    pub(super) meant: Vec<Subject>,
    /// A former working directory, if there is one.
    pub(super) directory: Option<PathBuf>,
    /// What the children of this process have started.
    pub(super) descendants: Vec<Descendant>,
}

/// A process below a child of this one.
#[derive(Clone, Debug)]
pub(super) struct Descendant {
    id: u32,
    /// With the number, its identity.
    started: u64,
    /// From its parent up to the child of this process.
    ancestors: Vec<u32>,
}

/// The processes below the children of this one. When a child is ended, nobody can tell what it had started.
pub(super) fn descendants(time_left: Duration) -> Vec<Descendant> {
    if time_left.is_zero() {
        return Vec::new();
    }
    on_a_thread(time_left, || below_children().unwrap_or_default())
}

/// What is left behind, and none of the subjects is about. Where the system does not tell, nothing.
pub(super) fn look(known: Known, time_left: Duration) -> Vec<LeftBehind> {
    on_a_thread(time_left, move || left_behind(&known))
}

/// On a thread of its own: nobody promises that `/proc` answers.
fn on_a_thread<T: Send + 'static>(
    time_left: Duration,
    look: impl FnOnce() -> Vec<T> + Send + 'static,
) -> Vec<T> {
    let (sender, mut found) = oneshot::channel();
    match Builder::new().name("exit look".to_owned()).spawn(move || drop(sender.send(look()))) {
        Ok(_) => found.wait_blocking(time_left.clamp(AT_LEAST, AT_MOST)).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

fn left_behind(known: &Known) -> Vec<LeftBehind> {
    let Known { subjects, directory, .. } = known;
    let mut found = children(subjects).unwrap_or_default();
    found.extend(known.descendants.iter().filter_map(|it| orphan(it, known).unwrap_or_default()));
    found.extend(sockets(subjects, directory.as_deref()).unwrap_or_default());
    found
}

fn children(subjects: &[Subject]) -> Result<Vec<LeftBehind>, EvidenceError> {
    if !can_leave_processes()? {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (id, stat) in proc::children(iter::empty())? {
        let is_known = subjects.contains(&Subject::Process(id))
            || subjects.contains(&Subject::Group(stat.group));
        if !stat.is_ending && !is_known && !is_killed(id) {
            found.push(LeftBehind::ChildProcess { id, name: stat.display().into_owned() });
        }
    }
    Ok(found)
}

fn can_leave_processes() -> Result<bool, EvidenceError> {
    let this = process::id();
    // What is mounted there may number processes in another way.
    Ok(this != FIRST_PROCESS && number_behind("/proc/self")? == this)
}

fn stat(id: u32) -> Result<Option<Stat>, EvidenceError> {
    Stat::read(&format!("/proc/{id}/stat"))
}

fn below_children() -> Result<Vec<Descendant>, EvidenceError> {
    let this = process::id();
    if !can_leave_processes()? || proc::children(iter::empty())?.is_empty() {
        return Ok(Vec::new());
    }
    let mut processes = HashMap::new();
    for id in numbers("/proc")? {
        if let Ok(Some(stat)) = stat(id) {
            processes.insert(id, (stat.parent, stat.started));
        }
    }
    let parent = |id: &u32| processes.get(id).map(|(parent, _)| *parent);
    let below = processes.iter().filter_map(|(&id, &(_, started))| {
        let above = iter::successors(parent(&id), |id| parent(id)).take(GENERATIONS);
        let ancestors: Vec<_> = above.take_while(|id| *id != this).collect();
        let is_below = ancestors.last().and_then(parent) == Some(this);
        is_below.then_some(Descendant { id, started, ancestors })
    });
    Ok(below.collect())
}

/// A process that has outlived the child which had started it, unless that is meant.
fn orphan(descendant: &Descendant, known: &Known) -> Result<Option<LeftBehind>, EvidenceError> {
    let Descendant { id, started, ancestors } = descendant;
    let Some(stat) = stat(*id)? else { return Ok(None) };
    let is_known = known.subjects.contains(&Subject::Process(*id))
        || known.subjects.contains(&Subject::Group(stat.group))
        || ancestors.iter().any(|id| known.meant.contains(&Subject::Process(*id)));
    let is_alive =
        stat.started == *started && !stat.has_ended && !stat.is_ending && !is_killed(*id);
    let have_ended = !ancestors.iter().all(|id| is_alive_still(*id));
    let child = ancestors.last().copied().unwrap_or_default();
    let left = is_alive && have_ended && !is_known;
    Ok(left.then(|| LeftBehind::Descendant { id: *id, name: stat.display().into_owned(), child }))
}

fn is_alive_still(id: u32) -> bool {
    matches!(stat(id), Ok(Some(stat)) if !stat.has_ended && !stat.is_ending) && !is_killed(id)
}

/// Whether a process has been sent SIGKILL, such as by the drop of a runtime, and has not come to it yet.
fn is_killed(id: u32) -> bool {
    const SIGKILL: u64 = 1 << 8;
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let pending = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:")));
    pending.filter_map(|set| u64::from_str_radix(set.trim(), 16).ok()).any(|set| set & SIGKILL != 0)
}

fn sockets(
    subjects: &[Subject],
    directory: Option<&Path>,
) -> Result<Vec<LeftBehind>, EvidenceError> {
    const DESCRIPTORS: &str = "/proc/thread-self/fd";
    let mut open = Vec::new();
    for descriptor in numbers(DESCRIPTORS)? {
        // The one that lists them is closed by now.
        let link = fs::read_link(format!("{DESCRIPTORS}/{descriptor}")).unwrap_or_default();
        open.extend(link.to_str().and_then(inode).map(|inode| (descriptor, inode)));
    }
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let inodes: HashSet<_> = open.iter().map(|(_, inode)| *inode).collect();
    let listed = fs::read("/proc/thread-self/net/unix").unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    let mut found = Vec::new();
    for (inode, path) in listed.lines().filter_map(listening) {
        if !inodes.contains(&inode) {
            continue;
        }
        let Some(path) = file_of_a_socket(path, directory) else { continue };
        // One of which only the end is known is compared with the ends.
        let is_it = |subject: &Subject| match subject {
            Subject::File(file) => file.ends_with(&path),
            Subject::Process(_) | Subject::Group(_) => false,
        };
        let descriptor = open.iter().find(|(_, open)| *open == inode).map(|(it, _)| *it);
        if !subjects.iter().any(is_it) && descriptor.is_some_and(is_own) {
            let socket = LeftBehind::SocketFile { path: path.to_string_lossy().into_owned() };
            if !found.contains(&socket) {
                found.push(socket);
            }
        }
    }
    Ok(found)
}

/// Where the file is to which a socket was bound by this path, or nothing if it is gone. A relative path
/// stays as it is if the working directory has changed and nobody knows what it was in between.
fn file_of_a_socket(path: PathBuf, directory: Option<&Path>) -> Option<PathBuf> {
    let now = env::current_dir().ok();
    let directories = [now.as_deref(), directory];
    // An absolute path replaces the directory.
    let mut paths = directories.iter().flatten().map(|directory| directory.join(&path));
    paths.find(|path| is_socket(path)).or_else(|| {
        let is_unknown = path.is_relative() && (now.is_none() || now.as_deref() != directory);
        is_unknown.then_some(path)
    })
}

/// `socket:[17]`
fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// `number: references protocol flags type state inode path`. The path of an abstract socket begins with `@`.
fn listening(line: &str) -> Option<(u64, PathBuf)> {
    let mut rest = line;
    let mut fields = [""; 7];
    for field in &mut fields {
        rest = rest.trim_start_matches(' ');
        (*field, rest) = rest.split_at(rest.find(' ')?);
    }
    let path = rest.strip_prefix(' ').filter(|path| !path.starts_with('@'))?;
    let [_, _, _, flags, _, _, inode] = fields;
    let listens = u32::from_str_radix(flags, 16).ok()? & LISTENS != 0;
    listens.then_some((inode.parse().ok()?, PathBuf::from(path)))
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Whether this process made the socket listen. It may come from a supervisor, which keeps its file.
fn is_own(descriptor: u32) -> bool {
    let listener = || {
        let this = Pid::from_raw(process::id().try_into().ok()?)?;
        let handle = pidfd_open(this, PidfdFlags::empty()).ok()?;
        let descriptor = descriptor.try_into().ok()?;
        // A copy of the descriptor. Not everywhere is that allowed.
        let socket = pidfd_getfd(handle, descriptor, PidfdGetfdFlags::empty()).ok()?;
        Some(socket_peercred(socket).ok()?.pid == this)
    };
    listener().unwrap_or_else(|| env::var_os("LISTEN_FDS").is_none())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_relative_path_is_found_where_it_was_bound_or_kept_if_nobody_knows_where_that_was() {
        let (now, before) = (env::current_dir().unwrap(), tempfile::tempdir().unwrap());
        let file = |path: &str| file_of_a_socket(PathBuf::from(path), Some(before.path()));
        assert_eq!(file("gone.sock"), Some(PathBuf::from("gone.sock")));
        assert_eq!(file("/nowhere/gone.sock"), None);
        assert_eq!(
            file_of_a_socket(PathBuf::from("gone.sock"), Some(&now)),
            None,
            "it was removed"
        );
        let _socket = UnixListener::bind(before.path().join("a.sock")).unwrap();
        assert_eq!(file("a.sock"), Some(before.path().join("a.sock")));
    }

    #[test]
    fn a_line_of_the_kernels_list_is_a_listening_socket_with_a_path_or_nothing() {
        let line = |flags: &str, path: &str| {
            format!("ffff8881: 00000002 00000000 {flags} 0001 01    17{path}")
        };
        let found = listening;
        for path in ["/run/a b.sock", "relative.sock"] {
            let line = line("00010000", &format!(" {path}"));
            assert_eq!(found(&line), Some((17, PathBuf::from(path))));
        }
        assert_eq!(found(&line("00000000", " /run/a.sock")), None, "it is connected");
        assert_eq!(found(&line("00010000", "")), None, "it has no name");
        assert_eq!(found(&line("00010000", " @abstract")), None);
        assert_eq!(found("Num       RefCount Protocol Flags    Type St Inode Path"), None);
    }
}
