//! PostgreSQL needs more than a command on PATH: a directory that `initdb` has filled, and a user that is not root.
//!
//! It runs as process 1 of a user namespace, for three reasons. It refuses to run as root, and there it is somebody
//! else, with the same rights to its directory. Its processes leave the group in which they were started, and the end of
//! the namespace is also theirs. If it is killed, it leaves a segment of System V memory, which ends with the
//! namespace's own.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Kind, find};
use crate::equipment::Lack;

/// Runs a command in such a namespace. Any user but root would do.
const UNSHARE: [&str; 8] =
    ["unshare", "--user", "--map-user=1000", "--ipc", "--pid", "--fork", "--kill-child", "--"];

/// Makes the database, and becomes the server. `$1` is `initdb`, `$2` the server, and `$3` the port.
const SCRIPT: &str =
    "\"$1\" --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --no-locale --no-sync \
                      >initdb.log 2>&1 || { cat initdb.log; exit 1; }
exec \"$2\" -D data -c listen_addresses=127.0.0.1 -c port=\"$3\" -c unix_socket_directories= \
                      -c dynamic_shared_memory_type=mmap -c shared_buffers=16MB -c fsync=off";

/// Where Debian installs each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The start of a session of the user `postgres`: its length, version 3.0 of the protocol, and the user.
pub const GREETING: &str = "\0\0\0\x17\0\x03\0\0user\0postgres\0\0";

/// Finds `postgres`: on PATH, or else the newest one of Debian, which has it elsewhere.
pub fn program() -> Option<PathBuf> {
    find(&["postgres"]).or_else(|| {
        let versions = fs::read_dir(DEBIAN).ok()?.flatten().filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let program = entry.path().join("bin/postgres");
            program.is_file().then_some((version, program))
        });
        versions.max().map(|(_, program)| program)
    })
}

/// The command that starts this program.
///
/// # Errors
///
/// [`Lack::Missing`] if `initdb` is not beside the program, or if the system makes no such namespace.
pub fn command(program: &Path, port: u16) -> Result<(PathBuf, Vec<OsString>), Lack> {
    let initdb = fs::canonicalize(program).map(|it| it.with_file_name("initdb"));
    let initdb = initdb.ok().filter(|it| it.is_file()).ok_or_else(|| {
        let what = format!("there is no initdb beside {}", program.display());
        Lack::missing(what, Kind::Postgres.remedy())
    })?;
    let [unshare, options @ ..] = UNSHARE;
    let works = Command::new(unshare).args(options).arg("true").output();
    if !works.is_ok_and(|it| it.status.success()) {
        return Err(Lack::missing(
            "PostgreSQL needs namespaces, and `unshare` makes none",
            "use Linux, and allow user namespaces",
        ));
    }
    let script = ["sh", "-c", SCRIPT, "sh"].map(OsString::from);
    let arguments = options.iter().map(OsString::from).chain(script);
    let own = [initdb.into(), program.into(), port.to_string().into()];
    Ok((unshare.into(), arguments.chain(own).collect()))
}
