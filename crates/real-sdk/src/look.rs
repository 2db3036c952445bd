//! What can be seen from outside: files that are open, threads, panics.

use std::{
    fs, panic,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
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

/// How many threads of this process have a name that begins like this.
pub fn threads(prefix: &str) -> Result<usize> {
    let mut count = 0;
    for task in fs::read_dir("/proc/self/task")? {
        // A thread may end between the list and the look.
        let name = fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        count += usize::from(name.starts_with(prefix));
    }
    Ok(count)
}
