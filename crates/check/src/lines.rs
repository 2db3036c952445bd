//! File and line of an address, from the debug information.

use std::{
    env,
    path::{Path, PathBuf},
};

use addr2line::{Loader, Location};

/// A place in a file, as an editor counts: from 1.
pub struct Position {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

/// The lines of a program, if it has them.
pub struct Lines {
    loader: Option<Loader>,
    /// The folder of this process, for files below it.
    here: Option<PathBuf>,
}

impl Lines {
    pub fn of(path: &Path) -> Self {
        Self { loader: Loader::new(path).ok(), here: env::current_dir().ok() }
    }

    /// `crate-1.0.0/src/lib.rs:12`, as far as it is known.
    pub fn of_address(&self, address: u64) -> Option<String> {
        let location = self.location(address)?;
        let file = location.file?;
        let here = self.here.as_ref().and_then(|here| Path::new(file).strip_prefix(here).ok());
        let file = here.and_then(Path::to_str).unwrap_or_else(|| below_registry(file));
        Some(format!("{file}:{}", location.line?))
    }

    /// The place itself, and the file as the compiler found it.
    pub fn position(&self, address: u64) -> Option<Position> {
        let location = self.location(address)?;
        Some(Position {
            file: location.file?.into(),
            line: location.line?.try_into().ok()?,
            column: location.column?.try_into().ok()?,
        })
    }

    fn location(&self, address: u64) -> Option<Location<'_>> {
        self.loader.as_ref()?.find_location(address).ok()?
    }

    /// The version of the crate that a function comes from, if that is a crate of a registry.
    pub fn version_of(&self, of_crate: &str, address: u64) -> Option<String> {
        let file = self.of_address(address)?;
        let (folder, _) = file.split_once('/')?;
        Some(folder.strip_prefix(of_crate)?.strip_prefix('-')?.to_owned())
    }
}

/// A file of a registry begins with its crate, and one of the standard library with `library`.
fn below_registry(file: &str) -> &str {
    let below = |folder| file.split_once(folder).map(|(_, below)| below);
    let crates = below("/registry/src/").and_then(|below| below.split_once('/'));
    let checkouts = || below("/git/checkouts/");
    let standard = || file.find("/library/").filter(|_| file.starts_with("/rustc/"));
    match crates {
        Some((_, below)) => below,
        None => checkouts().or_else(|| file.get(standard()? + 1..)).unwrap_or(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_with_its_crate() {
        let registry =
            "/home/a/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/b-1.0.0/src/lib.rs";
        assert_eq!(below_registry(registry), "b-1.0.0/src/lib.rs");
        assert_eq!(
            below_registry("/rustc/0123abcd/library/core/src/ptr/mod.rs"),
            "library/core/src/ptr/mod.rs"
        );
        assert_eq!(below_registry("/home/a/app/src/main.rs"), "/home/a/app/src/main.rs");
    }
}
