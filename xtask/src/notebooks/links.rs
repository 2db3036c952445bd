//! Checks the links of pages: to other pages, to their headings, to files.
//!
//! A page of the book may only link to pages of the book; other links would be dead in the rendered book.
//! It names other files of the workspace in backticks, and these must exist too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::{
    failure::{Context as _, Result},
    workspace::{self, Workspace},
};

/// Text in backticks with one of these beginnings is the path of a file.
const FOLDERS: [&str; 4] = ["crates/", "docs/", "experiments/", "xtask/"];

#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    /// The targets of its links, as written.
    targets: Vec<String>,
    /// The anchors in it.
    anchors: BTreeSet<String>,
    /// The files of the workspace that it names.
    named: Vec<String>,
    /// Whether mdBook includes files in it.
    includes: bool,
}

/// Returns a line for each broken link.
pub fn wrong(workspace: &Workspace) -> Result<Vec<String>> {
    let (root, book) = (workspace.root(), workspace.path("docs/src"));
    let mut pages = BTreeMap::new();
    for path in paths(workspace)? {
        let text =
            fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
        pages.insert(path, Page::of(&text));
    }
    let mut lines = Vec::new();
    for (path, page) in &pages {
        let bounds = if path.starts_with(&book) { &book } else { root };
        let shown = workspace.shown(path);
        for target in &page.targets {
            if let Some(what) = wrong_link(target, path, bounds, &pages) {
                lines.push(format!("{shown}: its link to {target} {what}"));
            }
        }
        let named = page.named.iter().map(|name| (name, root.join(name)));
        for (name, _) in named.filter(|(_, path)| !path.exists()) {
            lines.push(format!("{shown}: it names {name}, which does not exist: correct it"));
        }
        if page.includes {
            lines.push(format!(
                "{shown}: mdBook includes a file, which readers of the page itself do not see: write \
                 `<!-- listing: FILE -->` before an empty block of code"
            ));
        }
    }
    // A picture that no page shows is an error: nobody would see that it is wrong.
    for file in workspace::names(&book.join("plots"))? {
        let target = format!("plots/{file}");
        if !pages.values().any(|page| page.targets.contains(&target)) {
            lines.push(format!("docs/src/{target}: no page shows it: show it or remove it"));
        }
    }
    Ok(lines)
}

/// The pages of the book, and the READMEs.
pub fn paths(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let (crates, book) = (workspace.path("crates"), workspace.path("docs/src"));
    let packages = workspace::names(&crates)?;
    let readmes = packages.iter().map(|name| crates.join(name).join("README.md"));
    let mut all: Vec<_> = [workspace.path("README.md")].into_iter().chain(readmes).collect();
    // The pages of the codes of panics have a folder of their own, and so have those of the census.
    for folder in [book.join("census"), book.join("explain"), book] {
        let files = workspace::names(&folder)?;
        all.extend(files.iter().filter(|it| it.ends_with(".md")).map(|it| folder.join(it)));
    }
    Ok(all.into_iter().filter(|path| path.is_file()).collect())
}

fn wrong_link(
    target: &str,
    page: &Path,
    bounds: &Path,
    pages: &BTreeMap<PathBuf, Page>,
) -> Option<&'static str> {
    let (file, part) = target.split_once('#').map_or((target, None), |(file, it)| (file, Some(it)));
    let path = match file {
        "" => page.to_owned(),
        file => without_dots(&page.parent().unwrap_or(page).join(file)),
    };
    if !path.starts_with(bounds) {
        return Some("leaves the book, where readers cannot follow it: name the file in backticks");
    }
    let has = |part| pages.get(&path).is_none_or(|page| page.anchors.contains(part));
    (!path.exists() || !part.is_none_or(has)).then_some("points nowhere: correct it")
}

/// Resolves `.` and `..` in a path.
fn without_dots(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, component| {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            component => path.push(component),
        }
        path
    })
}

impl Page {
    fn of(text: &str) -> Self {
        // The same Markdown options as mdBook, where they affect links.
        let options = Options::ENABLE_TABLES | Options::ENABLE_HEADING_ATTRIBUTES;
        let mut page = Self::default();
        let (mut heading, mut fenced) = (None::<String>, false);
        for event in Parser::new_ext(text, options) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.add_target(&dest_url);
                }
                Event::Start(Tag::Heading { id: Some(id), .. }) => {
                    page.anchors.insert(id.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    if let Some(title) = heading.take() {
                        page.add_heading(&title);
                    }
                }
                Event::Start(Tag::CodeBlock(_)) => fenced = true,
                Event::End(TagEnd::CodeBlock) => fenced = false,
                Event::Text(words) if fenced => page.includes |= words.contains("{{#"),
                Event::Code(words) => {
                    if is_path(&words) {
                        page.named.push(words.to_string());
                    }
                    heading.iter_mut().for_each(|it| it.push_str(&words));
                }
                Event::Text(words) => heading.iter_mut().for_each(|it| it.push_str(&words)),
                Event::Html(html) | Event::InlineHtml(html) => {
                    page.anchors.extend(attribute(&html, "id").map(str::to_owned));
                    for name in ["href", "src"] {
                        attribute(&html, name).for_each(|target| page.add_target(target));
                    }
                }
                _ => {}
            }
        }
        page
    }

    fn add_target(&mut self, target: &str) {
        let scheme = target.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['/', '.']));
        if !scheme && !target.is_empty() {
            self.targets.push(target.to_owned());
        }
    }

    /// The anchor of a heading, as mdBook and GitHub derive it from the words.
    fn add_heading(&mut self, title: &str) {
        let id: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|it| it.is_alphanumeric() || it.is_whitespace() || "_-".contains(*it))
            .map(|it| if it.is_whitespace() { '-' } else { it })
            .collect();
        let numbered = (1..).map(|number: u32| format!("{id}-{number}"));
        let free = [id.clone()].into_iter().chain(numbered).find(|it| !self.anchors.contains(it));
        self.anchors.extend(free);
    }
}

/// Whether a text in backticks is the path of a file or folder of the workspace.
fn is_path(words: &str) -> bool {
    let ordinary = |it: char| it.is_ascii_alphanumeric() || "_-./".contains(it);
    // `NN` stands for any experiment's number.
    FOLDERS.iter().any(|folder| words.starts_with(folder))
        && words.chars().all(ordinary)
        && !words.contains("NN")
}

/// Finds the values of an attribute: `a` in `id="a"`.
fn attribute<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let opening = format!(" {name}=\"");
    let values: Vec<_> =
        html.split(&opening).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    values.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(anchors: &[&str]) -> BTreeSet<String> {
        anchors.iter().map(|anchor| (*anchor).to_owned()).collect()
    }

    #[test]
    fn relative_links_are_found_and_no_others() {
        let page = Page::of(
            "[a](a.md#part), [`b`](../b.rs), [c](https://c.example), [d](#d), [e](mailto:e)\n\
             and `no[](link.md)` ![f](f.png \"title\") [g] <a href=\"h.md\">h</a>\n\n\
             ```md\n[no](link.md)\n```\n\n[g]: g.md\n",
        );
        assert_eq!(page.targets, ["a.md#part", "../b.rs", "#d", "f.png", "g.md", "h.md"]);
    }

    #[test]
    fn headings_and_marks_can_be_linked_to() {
        let page = Page::of(
            "# 01 · drop-context\n## None of `so` many!\n## Twice\n## Twice\n## Own {#other}\n\
             | <a id=\"a1\"></a>A1 |\n",
        );
        let expected = ["01--drop-context", "none-of-so-many", "twice", "twice-1", "other", "a1"];
        assert_eq!(page.anchors, set(&expected));
    }

    #[test]
    fn files_that_are_named_are_found_and_so_is_an_include() {
        let page = Page::of(
            "`crates/core/src`, `experiments/src/bin/NN_name.rs`, `docs/…`, `cargo xtask`\n\n\
             ```rust\n{{#include ../../crates/a.rs:part}}\n```\n",
        );
        assert_eq!(page.named, ["crates/core/src"]);
        assert!(page.includes);
    }
}
