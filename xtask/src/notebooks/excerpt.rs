//! The excerpt in the README: what the first experiment prints, without the cures.

use std::path::PathBuf;

use super::{
    block::{self, BlockError},
    committed::Record,
};
use crate::{experiments::table, workspace::Workspace};

/// The block that holds it.
const BLOCK: &str = "excerpt";

/// The experiment that it is of.
pub const BINARY: &str = "01_drop_context";

/// Where it is.
pub fn path(workspace: &Workspace) -> PathBuf {
    workspace.root().join("README.md")
}

/// The README with what the results say.
pub fn written(readme: &str, record: &Record) -> Result<String, BlockError> {
    let excerpt = table::excerpt(&record.experiment);
    block::replace(readme, BLOCK, &format!("```text\n{}\n```", excerpt.trim_end()))
}
