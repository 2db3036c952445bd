//! The files in which insta keeps snapshots: a header between two lines of dashes, then the text.

use std::{fs, io, path::Path};

/// What a snapshot file holds, without its header and without the line end that insta adds; `None`
/// if there is no such file.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(|file| Some(body(&file).to_owned())),
    }
}

/// Whether a snapshot's text is what was rendered. As for insta, the end of the last line does not
/// matter.
pub fn agree(expected: &str, found: &str) -> bool {
    expected.trim_end().lines().eq(found.trim_end().lines())
}

fn body(file: &str) -> &str {
    let after_header = file
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
        .map_or(file, |(_, body)| body);
    after_header.trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_not_part_of_the_text() {
        let file = "---\nsource: xtask/src/main.rs\n---\nhypothesis  supported\n\nhazard  a\n";
        assert_eq!(body(file), "hypothesis  supported\n\nhazard  a");
        assert!(agree(body(file), "hypothesis  supported\n\nhazard  a\n"));
        assert!(!agree(body(file), "hypothesis  refuted\n\nhazard  a\n"));
    }

    #[test]
    fn a_file_without_a_header_is_all_text() {
        assert_eq!(body("hypothesis  supported\n"), "hypothesis  supported");
    }
}
