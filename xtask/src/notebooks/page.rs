//! A page of the notebook: one per experiment, with the same headings each time.

use std::path::PathBuf;

use super::{
    block::{self, BlockError},
    committed::Record,
    markdown,
};
use crate::workspace::{Source, Workspace};

/// The headings, in their order; under each, the block that is written or the prose to be written.
const HEADINGS: [(&str, Part); 6] = [
    ("Question", Part::Block("question")),
    ("Hypothesis", Part::Block("hypothesis")),
    ("Method", Part::Prose("how the experiment asks, and what each variant changes")),
    ("Result", Part::Block("result")),
    ("What it means", Part::Prose("why it happens, for a reader who does not know the internals")),
    ("What to do instead", Part::Prose("what an application does so that it does not happen")),
];

/// How the comment begins that stands where prose is missing.
pub const MISSING_PROSE: &str = "<!-- prose is missing";

enum Part {
    Block(&'static str),
    Prose(&'static str),
}

/// Where the page of an experiment is.
pub fn path(workspace: &Workspace, source: &Source) -> PathBuf {
    workspace.docs().join("src").join(source.page())
}

/// Whether a file in the folder of pages is the page of an experiment, by its name: which.
pub fn experiment(file: &str) -> Option<String> {
    let stem = file.strip_suffix(".md")?;
    let (id, name) = stem.split_once('-')?;
    let numbered = id.len() == 2 && id.bytes().all(|byte| byte.is_ascii_digit());
    numbered.then(|| format!("{id}_{}", name.replace('-', "_")))
}

/// The first line of an experiment's page.
pub fn title(source: &Source) -> String {
    format!("# {} · {}", source.id, source.name())
}

/// A page of which only the headings are written.
pub fn skeleton(source: &Source) -> String {
    let mut page = format!("{}\n", title(source));
    for (heading, part) in HEADINGS {
        let below = match part {
            Part::Block(name) => format!("{}\n{}", block::begin(name), block::end(name)),
            Part::Prose(what) => format!("{MISSING_PROSE}: {what} -->"),
        };
        page += &format!("\n## {heading}\n\n{below}\n");
    }
    page
}

/// What stands in the blocks of an experiment's page.
fn blocks(source: &Source, record: &Record) -> [(&'static str, String); 3] {
    [
        ("question", record.experiment.question.clone()),
        ("hypothesis", record.experiment.hypothesis.clone()),
        ("result", markdown::result(record, source)),
    ]
}

/// A page with the blocks as they should be.
pub fn written(page: &str, source: &Source, record: &Record) -> Result<String, BlockError> {
    blocks(source, record)
        .iter()
        .try_fold(page.to_owned(), |page, (name, text)| block::replace(&page, name, text))
}

/// What is wrong with a page's blocks, given the results that they should be written from.
pub fn wrong_blocks(page: &str, source: &Source, record: &Record) -> Vec<String> {
    let wrong = |(name, text): (&str, String)| match block::holds(page, name, &text) {
        Ok(true) => None,
        Ok(false) => Some(format!("its {name} is not what the committed results say")),
        Err(error) => Some(error.to_string()),
    };
    blocks(source, record).into_iter().filter_map(wrong).collect()
}

/// What is wrong with a page's headings.
pub fn wrong_headings(page: &str) -> Option<String> {
    let found: Vec<_> = prose(page).filter_map(|line| line.strip_prefix("## ")).collect();
    let expected = HEADINGS.map(|(heading, _)| heading);
    (found != expected)
        .then(|| format!("its headings are {}; they should be {}", list(&found), list(&expected)))
}

fn list(headings: &[&str]) -> String {
    if headings.is_empty() { "none".to_owned() } else { headings.join(", ") }
}

/// The lines of a page that are not code.
pub fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_those_that_every_page_has_in_their_order() {
        let page = "# 01\n## Question\n## Hypothesis\n## Method\n```sh\n## no heading\n```\n\
                    ## Result\n## What it means\n### Aside\n## What to do instead\n";
        assert_eq!(wrong_headings(page), None);
        assert!(wrong_headings(&page.replace("## Method\n", "")).is_some());
        assert!(wrong_headings(&page.replace("## Result", "## Outcome")).is_some());
        assert!(wrong_headings("").is_some());
    }

    #[test]
    fn a_page_is_known_by_its_name() {
        assert_eq!(experiment("01-drop-context.md").as_deref(), Some("01_drop_context"));
        for other in ["introduction.md", "results-format.md", "1-a.md", "01-drop-context.txt"] {
            assert_eq!(experiment(other), None);
        }
    }
}
