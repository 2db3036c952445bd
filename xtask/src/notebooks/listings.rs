//! The listings that are files, or parts of files: `<!-- listing: FILE -->` or `<!-- listing: FILE:PART -->`
//! before a block of code. Each page has their text, so that it can be read without mdBook.

use std::fs;

use crate::workspace::Workspace;

const OPENING: &str = "<!-- listing: ";
const CLOSING: &str = " -->";
const FENCE: &str = "```";

/// Replaces the text of each listing in a page.
pub fn replace(page: &str, workspace: &Workspace) -> Result<String, String> {
    with(page, |file| {
        fs::read_to_string(workspace.path(file)).map_err(|error| format!("{file}: {error}"))
    })
}

fn with(page: &str, read: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let mut text = String::new();
    let mut lines = page.split_inclusive('\n');
    while let Some(line) = lines.next() {
        text += line;
        let marked = line.trim_end().strip_prefix(OPENING);
        let Some(source) = marked.and_then(|it| it.strip_suffix(CLOSING)) else { continue };
        let no_block = || format!("no block of code follows `{OPENING}{source}{CLOSING}`: add one");
        let opening = lines.find(|line| !line.trim().is_empty()).ok_or_else(no_block)?;
        if !opening.starts_with(FENCE) {
            return Err(no_block());
        }
        lines.find(|line| line.trim_end() == FENCE).ok_or_else(no_block)?;
        let (file, part) = source.split_once(':').map_or((source, None), |(it, of)| (it, Some(of)));
        let listing = listing(&read(file)?, part).ok_or_else(|| format!("no {source}"))?;
        text += &format!("\n{opening}{}\n{FENCE}\n", listing.trim_end());
    }
    Ok(text)
}

/// A file, or the part between `ANCHOR: PART` and `ANCHOR_END: PART`, without the lines that mark parts.
fn listing(file: &str, part: Option<&str>) -> Option<String> {
    let marks = |line: &str, mark: &str| {
        line.split_once(mark).is_some_and(|(_, of)| part.is_some_and(|part| of.trim() == part))
    };
    let mut lines = file.lines();
    if part.is_some() {
        lines.find(|line| marks(line, "ANCHOR: "))?;
    }
    let mut has_ended = part.is_none();
    let shown = lines.by_ref().take_while(|line| {
        has_ended |= marks(line, "ANCHOR_END: ");
        !marks(line, "ANCHOR_END: ")
    });
    let shown: Vec<_> =
        shown.filter(|line| !line.contains("ANCHOR: ") && !line.contains("ANCHOR_END: ")).collect();
    has_ended.then(|| shown.join("\n"))
}

/// The first line of a listing in Rust that rustdoc and mdBook hide.
pub fn hidden_line(page: &str) -> Option<&str> {
    let mut is_rust = false;
    page.lines().find(|line| {
        if let Some(language) = line.strip_prefix(FENCE) {
            is_rust = language.starts_with("rust");
        }
        is_rust && (*line == "#" || line.starts_with("# "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "use a;\n\n// ANCHOR: main\nfn main() {\n    // ANCHOR: inner\n    b();\n    \
                        // ANCHOR_END: inner\n}\n// ANCHOR_END: main\n\nfn b() {}\n";

    fn filled(page: &str) -> Result<String, String> {
        with(page, |file| match file {
            "a.rs" => Ok(FILE.to_owned()),
            _ => Err(format!("{file}: not there")),
        })
    }

    #[test]
    fn a_listing_has_the_text_of_its_file_or_part_and_the_rest_is_left_alone() {
        let page = "# A\n\n<!-- listing: a.rs:main -->\n```rust\nold\n```\nprose\n\n\
                    <!-- listing: a.rs -->\n\n```rust\n```\n\n```rust\nmine\n```\n";
        let expected = "# A\n\n<!-- listing: a.rs:main -->\n\n```rust\nfn main() {\n    b();\n}\n```\nprose\n\n\
                        <!-- listing: a.rs -->\n\n```rust\nuse a;\n\nfn main() {\n    b();\n}\n\nfn b() {}\n\
                        ```\n\n```rust\nmine\n```\n";
        assert_eq!(filled(page).unwrap(), expected);
        assert_eq!(filled(expected).unwrap(), expected);
    }

    #[test]
    fn a_listing_without_a_file_a_part_or_a_block_is_an_error() {
        let block = "\n\n```rust\n```\n";
        for (source, block, says) in [
            ("b.rs", block, "b.rs: not there"),
            ("a.rs:other", block, "no a.rs:other"),
            ("a.rs", "\n\nprose\n```\n```\n", "no block of code follows"),
            ("a.rs", "\n\n```rust\n", "no block of code follows"),
            ("a.rs", "\n", "no block of code follows"),
        ] {
            let error = filled(&format!("<!-- listing: {source} -->{block}")).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let unended = FILE.replace("ANCHOR_END: main", "");
        assert_eq!(listing(&unended, Some("main")), None);
    }

    #[test]
    fn a_hidden_line_is_found_in_rust_only() {
        assert_eq!(hidden_line("```rust,no_run\n# use a;\nb();\n```\n"), Some("# use a;"));
        assert_eq!(hidden_line("# Title\n```rust\n#[test]\n```\n```sh\n# comment\n```\n"), None);
    }
}
