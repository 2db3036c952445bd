//! What an experiment finds, in a few words: the first line of its page says it.

use crate::workspace::Source;

/// What that line begins with.
pub fn begin(source: &Source) -> String {
    format!("# {} · ", source.id)
}

/// The finding of an experiment by its page: `Waiting only chooses the last owner`.
pub fn of<'page>(page: &'page str, source: &Source) -> Option<&'page str> {
    let finding = page.lines().next()?.strip_prefix(&begin(source))?;
    (!finding.is_empty()).then_some(finding)
}
