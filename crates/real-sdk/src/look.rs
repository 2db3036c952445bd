//! What can be seen from outside: files that are open, threads, panics.

use std::{
    fs, panic,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result};
use sundown::evidence::open_files;

/// How many panics there have been, on any thread.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts panics from now on. They are printed as always.
pub fn count_panics() {
    let printing = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        // A count and nothing else: read when the threads that could panic have been joined, or later.
        PANICS.fetch_add(1, Ordering::Relaxed);
        printing(panic);
    }));
}

pub fn panics() -> usize {
    PANICS.load(Ordering::Relaxed)
}

/// How many files are open below a folder.
pub fn files(folder: &Path) -> Result<usize> {
    Ok(open_files(folder)?.len())
}

/// The flag of a thread that is past its last instruction: the kernel takes it apart, and it never
/// returns to code of the program. Such a thread can still be listed after it was joined.
const PF_EXITING: u32 = 4;

/// How many threads that can run code of this process have a name that begins like this.
pub fn threads(prefix: &str) -> Result<usize> {
    Ok(names_of_threads(prefix)?.len())
}

/// Their names.
pub fn names_of_threads(prefix: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        // A thread may be gone between the list and the look.
        let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
        let (name, can_run) = name_of_a_thread(&stat).context("what /proc says of a thread")?;
        if can_run && name.starts_with(prefix) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The name of a thread, and whether it can still run.
fn name_of_a_thread(stat: &str) -> Option<(&str, bool)> {
    // `17 (a name) S 1 17 17 0 -1 4194304 …`: the state, five numbers, and the flags.
    let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').collect();
    let flags: u32 = fields.get(6)?.parse().ok()?;
    let has_ended = matches!(fields[0], "Z" | "X") || flags & PF_EXITING != 0;
    Some((name, !has_ended))
}
