//! What of a value is alive, seen from outside it: tasks, descriptors and threads of this process.

use std::{fs, io, sync::Mutex, time::Duration};

use tokio::runtime::Handle;

/// The ports of the servers in this process: their sockets are not the value's.
static SERVED: Mutex<Vec<u16>> = Mutex::new(Vec::new());

/// The kernel lists a thread for a moment after it was joined, and Tokio a task after its end was told.
const MOMENT: Duration = Duration::from_millis(50);

/// What the name of a thread of the census begins with: of a server, or of a clock.
pub const OWN: &str = "census-own";

/// Excludes the sockets of a server in this process.
pub fn exclude(port: u16) {
    if let Ok(mut served) = SERVED.lock() {
        served.push(port);
    }
}

/// How much is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    pub tasks: usize,
    pub descriptors: usize,
    pub threads: usize,
}

impl Alive {
    /// Looks now.
    pub fn now(runtime: &Handle) -> io::Result<Self> {
        let tasks = runtime.metrics().num_alive_tasks();
        Ok(Self { tasks, descriptors: descriptors()?, threads: threads()? })
    }

    /// What is alive beyond `before`.
    pub const fn beyond(self, before: Self) -> Self {
        Self {
            tasks: self.tasks.saturating_sub(before.tasks),
            descriptors: self.descriptors.saturating_sub(before.descriptors),
            threads: self.threads.saturating_sub(before.threads),
        }
    }

    pub const fn is_nothing(self) -> bool {
        self.tasks == 0 && self.descriptors == 0 && self.threads == 0
    }

    /// Looks for what a close has left: at once for descriptors, a moment later for tasks and threads.
    pub fn left(runtime: &Handle, before: Self) -> io::Result<Self> {
        let at_once = Self::now(runtime)?.beyond(before);
        std::thread::sleep(MOMENT);
        let later = Self::now(runtime)?.beyond(before);
        Ok(Self { descriptors: at_once.descriptors, ..later })
    }
}

impl std::fmt::Display for Alive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tasks, descriptors, threads } = self;
        let parts = [(tasks, "task"), (descriptors, "descriptor"), (threads, "thread")];
        let parts = parts.into_iter().filter(|(count, _)| **count > 0);
        let parts =
            parts.map(|(count, of)| format!("{count} {of}{}", if *count == 1 { "" } else { "s" }));
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// The open files and sockets of this process, without those of a server in it.
fn descriptors() -> io::Result<usize> {
    let served = served_inodes()?;
    let mut count = 0;
    for entry in fs::read_dir("/proc/self/fd")? {
        // It may have been closed since.
        let Ok(link) = fs::read_link(entry?.path()) else {
            continue;
        };
        let link = link.to_string_lossy();
        let inode = link.strip_prefix("socket:[").and_then(|it| it.strip_suffix(']'));
        let is_file =
            link.starts_with('/') && !["/proc/", "/dev/"].iter().any(|it| link.starts_with(it));
        let in_memory = link.starts_with("/dev/shm/");
        if is_file || in_memory || inode.is_some_and(|it| served.iter().all(|no| no != it)) {
            count += 1;
        }
    }
    Ok(count)
}

/// The inodes of the sockets that have a server's port as their own.
fn served_inodes() -> io::Result<Vec<String>> {
    let served = SERVED.lock().map(|it| it.clone()).unwrap_or_default();
    let mut inodes = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/udp"] {
        for line in fs::read_to_string(table)?.lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            let port = words.get(1).and_then(|it| it.split_once(':'));
            let port = port.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            if let (Some(port), Some(inode)) = (port, words.get(9))
                && served.contains(&port)
            {
                inodes.push((*inode).to_owned());
            }
        }
    }
    Ok(inodes)
}

/// The threads of this process, without Tokio's and those of the census.
fn threads() -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc/self/task")? {
        let Ok(name) = fs::read_to_string(entry?.path().join("comm")) else {
            continue;
        };
        if !["tokio-r", OWN].iter().any(|it| name.starts_with(it)) {
            count += 1;
        }
    }
    Ok(count)
}
