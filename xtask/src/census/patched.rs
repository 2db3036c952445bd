//! Cells with diffs of releases in place of these: what a fix changes. In docs/results/census-patched, one file for each
//! crate.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    record::{self, Record},
    workshop,
};
use crate::{
    failure::{Failure, Result},
    flags::Patch,
    workspace::Workspace,
};

/// The folder of the cells with fixes in place of released crates.
pub const FOLDER: &str = "docs/results/census-patched";

/// The cells of a crate, with diffs applied to releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patched {
    pub patches: Vec<Applied>,
    #[serde(flatten)]
    pub record: Record,
}

/// A diff, and the release that it was applied to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub package: String,
    pub version: String,
    /// The file with the diff, from the root of the repository.
    pub file: String,
    pub digest: String,
}

/// The cells with fixes.
pub fn read(workspace: &Workspace) -> Result<Vec<Patched>> {
    record::read_in(workspace, FOLDER)
}

/// Writes the cells with fixes.
pub fn write(workspace: &Workspace, patches: &[Applied], found: Vec<Record>) -> Result<()> {
    found.into_iter().try_for_each(|record| {
        let package = record.package.clone();
        let patched = Patched { patches: patches.to_vec(), record };
        record::write_in(workspace, FOLDER, &package, &patched)
    })
}

/// The diffs that a run applies. Each has to be a file of this repository, or nobody else could apply it.
pub fn applied(patches: &[Patch], workspace: &Workspace) -> Result<Vec<Applied>> {
    let applied = |patch: &Patch| {
        let path = fs::canonicalize(&patch.from).unwrap_or_else(|_| patch.from.clone());
        let root = fs::canonicalize(workspace.root())?;
        let (Ok(file), true) = (path.strip_prefix(root), path.is_file()) else {
            return Err(Failure::Usage(format!(
                "--accept with --patch {}={}: only a diff in this repository can be recorded",
                patch.name,
                patch.from.display()
            )));
        };
        Ok(Applied {
            package: patch.name.clone(),
            version: workshop::locked_version(patch, workspace)?,
            file: file.display().to_string(),
            digest: digest(&path)?,
        })
    };
    patches.iter().map(applied).collect()
}

/// The digest of a diff: of all that it says.
pub fn digest(path: &Path) -> io::Result<String> {
    Ok(format!("{:08x}", crc32fast::hash(&fs::read(path)?)))
}
