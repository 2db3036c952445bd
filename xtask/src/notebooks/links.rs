//! Links of the notebook's pages to files of the workspace.

use std::path::Path;

use super::page;

/// The links of a page that point nowhere, as they are written.
pub fn broken(text: &str, folder: &Path) -> Vec<String> {
    let is_broken = |target: &&str| !folder.join(without_fragment(target)).exists();
    let mut broken: Vec<_> = page::prose(text)
        .flat_map(|line| targets(line).into_iter().filter(is_broken).map(str::to_owned))
        .collect();
    broken.dedup();
    broken
}

/// The targets in a line that are relative paths: what stands between `](` and `)`, outside of code.
fn targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    // What stands between two backticks is code. Where that is the text of a link, its target is in
    // the prose after it.
    for prose in line.split('`').step_by(2) {
        let ends = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        targets.extend(ends.filter(|target| is_relative(target)));
    }
    targets
}

fn is_relative(target: &str) -> bool {
    let scheme = target.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['/', '.']));
    !scheme && !target.starts_with(['#', '/']) && !without_fragment(target).is_empty()
}

fn without_fragment(target: &str) -> &str {
    target.split('#').next().unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use super::targets;

    #[test]
    fn relative_links_are_found_and_others_are_not() {
        let line = "[a](a.md#part), [`b`](../b.rs), [c](https://c.example), [d](#d), [e](mailto:e) \
                    and `no[](link.md)` ![f](f.png \"title\")";
        assert_eq!(targets(line), ["a.md#part", "../b.rs", "f.png"]);
    }
}
