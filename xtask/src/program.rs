//! Programs that somebody wants to be run, looked for before anything else is done.

use std::{env, ffi::OsStr, io, path::Path};

use rustix::fs::{Access, access};

use crate::failure::Failure;

/// Finds out whether there is such a program, as the system is going to look for it.
pub fn find(program: &OsStr) -> Result<(), Failure> {
    let name = program.display();
    if program.as_encoded_bytes().contains(&b'/') {
        return is_program(Path::new(program))
            .map_err(|error| Failure::Usage(format!("cannot run {name}: {error}")));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|folder| is_program(&folder.join(program)).is_ok());
    if found {
        return Ok(());
    }
    Err(Failure::Usage(match is_program(Path::new(program)) {
        Ok(()) => format!("there is no command `{name}` in PATH: did you mean `./{name}`?"),
        Err(_) => format!("there is no command `{name}` in PATH"),
    }))
}

/// Whether this is a file that may be executed.
fn is_program(path: &Path) -> io::Result<()> {
    if path.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(access(path, Access::EXEC_OK)?)
}
