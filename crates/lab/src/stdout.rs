//! Standard output, if there is none.

use std::{fs, os::fd::AsFd, os::unix::fs::MetadataExt as _};

use rustix::fs::{OFlags, fcntl_getfl, fstat};

/// Whether this process was started without standard output. Rust's standard library then opens
/// `/dev/null` in its place, for reading and writing; a shell opens it for writing alone.
pub fn was_closed(stdout: impl AsFd) -> bool {
    let is_open_to_both = fcntl_getfl(&stdout).is_ok_and(|flags| flags.contains(OFlags::RDWR));
    let null = fs::metadata("/dev/null").map(|null| null.rdev());
    is_open_to_both && fstat(&stdout).is_ok_and(|it| null.is_ok_and(|null| it.st_rdev == null))
}
