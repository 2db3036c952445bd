//! `SUMMARY.md`: the experiments among the notebook's contents, in the parts that their numbers say.

use std::{fmt::Write as _, path::PathBuf};

use super::block::{self, BlockError};
use crate::workspace::{Source, Workspace};

/// The block that lists the experiments.
const BLOCK: &str = "experiments";

/// The parts, each with the first number that belongs to it.
const PARTS: [(&str, &str); 6] = [
    ("00", "Context"),
    ("20", "Logout"),
    ("30", "Leaving"),
    ("40", "Background tasks"),
    ("50", "Owning a runtime"),
    ("60", "Python"),
];

/// Where the contents are.
pub fn path(workspace: &Workspace) -> PathBuf {
    workspace.docs().join("src/SUMMARY.md")
}

/// Contents that list nothing but the experiments.
pub fn skeleton() -> String {
    format!("# Summary\n\n{}\n{}\n", block::begin(BLOCK), block::end(BLOCK))
}

/// The contents with all experiments listed.
pub fn written(contents: &str, sources: &[Source]) -> Result<String, BlockError> {
    block::replace(contents, BLOCK, &list(sources))
}

/// What is wrong with the list of experiments.
pub fn wrong(contents: &str, sources: &[Source]) -> Option<String> {
    match block::holds(contents, BLOCK, &list(sources)) {
        Ok(true) => None,
        Ok(false) => {
            Some("its list of experiments is not what experiments/src/bin holds".to_owned())
        }
        Err(error) => Some(error.to_string()),
    }
}

fn list(sources: &[Source]) -> String {
    let (mut text, mut current) = (String::new(), None);
    for source in sources {
        let part = PARTS.iter().rev().find(|(first, _)| *first <= source.id.as_str());
        let part = part.map(|(_, title)| *title);
        if let Some(title) = part.filter(|_| part != current) {
            let _ = write!(text, "{}# {title}\n\n", if text.is_empty() { "" } else { "\n" });
        }
        current = part;
        let _ = writeln!(text, "- [{}]({})", source.title(), source.page());
    }
    text
}
