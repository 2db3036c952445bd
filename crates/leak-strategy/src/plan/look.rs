//! What the process leaves behind, as far as Linux tells: child processes, and the files of Unix sockets.

use std::{
    collections::HashSet,
    env, fs,
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
use sundown::{
    evidence::{
        EvidenceError,
        proc::{Stat, number_behind, numbers, possible_children},
    },
    oneshot,
};

use crate::{ledger::LeftBehind, resource::Subject};

/// The least and the most that a plan waits for the look, whatever its limit.
const AT_LEAST: Duration = Duration::from_millis(20);
const AT_MOST: Duration = Duration::from_millis(100);

/// A flag of a socket that listens: the kernel's `__SO_ACCEPTCON`.
const LISTENS: u32 = 0x10000;

/// What is left behind, and none of the subjects is about. Where the system does not tell, nothing. On a thread
/// of its own: nobody promises that `/proc` answers.
/// The directory is a former working directory, if there is one.
pub(super) fn look(
    subjects: Vec<Subject>,
    directory: Option<PathBuf>,
    time_left: Duration,
) -> Vec<LeftBehind> {
    let (sender, mut found) = oneshot::channel();
    let look = move || drop(sender.send(left_behind(&subjects, directory.as_deref())));
    match Builder::new().name("exit look".to_owned()).spawn(look) {
        Ok(_) => found.wait_blocking(time_left.clamp(AT_LEAST, AT_MOST)).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

fn left_behind(subjects: &[Subject], directory: Option<&Path>) -> Vec<LeftBehind> {
    let mut children = children(subjects).unwrap_or_default();
    children.extend(sockets(subjects, directory).unwrap_or_default());
    children
}

fn children(subjects: &[Subject]) -> Result<Vec<LeftBehind>, EvidenceError> {
    /// When it ends, the kernel kills all other processes of its namespace.
    const FIRST_PROCESS: u32 = 1;

    let this = process::id();
    if this == FIRST_PROCESS {
        return Ok(Vec::new());
    }
    // What is mounted there may number processes in another way.
    if number_behind("/proc/self")? != this {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for id in possible_children()? {
        let Some(stat) = Stat::read(&format!("/proc/{id}/stat"))? else { continue };
        let is_known = subjects.contains(&Subject::Process(id))
            || subjects.contains(&Subject::Group(stat.group));
        if stat.parent == this && !stat.has_ended && !stat.is_ending && !is_known && !is_killed(id)
        {
            found.push(LeftBehind::ChildProcess { id, name: stat.display().into_owned() });
        }
    }
    Ok(found)
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

fn sockets(subjects: &[Subject], directory: Option<&Path>) -> Result<Vec<LeftBehind>, EvidenceError> {
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
        assert_eq!(file_of_a_socket(PathBuf::from("gone.sock"), Some(&now)), None, "it was removed");
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
