//! The page of an experiment. All pages have the same headings.

use lab::results::ExperimentResult;

use super::{block, committed::Record, markdown};
use crate::{finding, workspace::Source};

/// The headings in their order. Under each is a generated block or hand-written prose.
const HEADINGS: [(&str, Part); 6] = [
    ("Question", Part::Block("question")),
    ("Hypothesis", Part::Block("hypothesis")),
    ("Method", Part::Prose("how the experiment works, and what each variant changes")),
    ("Result", Part::Block("result")),
    ("What it means", Part::Prose("why it happens, for a reader who does not know the internals")),
    ("What to do instead", Part::Prose("how an application avoids the failure")),
];

enum Part {
    Block(&'static str),
    Prose(&'static str),
}

/// The beginning of the comment that marks missing prose.
const MISSING_PROSE: &str = "<!-- prose is missing";

/// Finds the experiment of a page by the name of the file.
pub fn source(file: &str) -> Option<Source> {
    let (id, name) = file.strip_suffix(".md")?.split_once('-')?;
    Source::named(&format!("{id}_{}", name.replace('-', "_")))
}

/// The longest finding that the table of contents shows in one line.
const LONGEST_FINDING: usize = 50;

/// Creates a page that has only its headings.
pub fn skeleton(source: &Source) -> String {
    let mut page = format!("{}{}\n", finding::begin(source), source.name());
    for (heading, part) in HEADINGS {
        let below = match part {
            Part::Block(name) => block::empty(name),
            Part::Prose(what) => format!("{MISSING_PROSE}: {what} -->\n"),
        };
        page += &format!("\n## {heading}\n\n{below}");
    }
    page
}

/// The text of each block.
pub fn blocks(source: &Source, record: &Record) -> [(&'static str, String); 3] {
    [
        ("question", record.experiment.question.clone()),
        ("hypothesis", hypothesis(&record.experiment)),
        ("result", markdown::result(record, source)),
    ]
}

fn hypothesis(experiment: &ExperimentResult) -> String {
    let now = &experiment.hypothesis;
    match &experiment.first_expected {
        Some(first) => {
            format!("{now}\n\n*Changed after the first figures. First expected:* {first}")
        }
        None => now.clone(),
    }
}

/// Returns the errors in the hand-written parts of a page.
pub fn wrong(page: &str, source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    match finding::of(page, source) {
        None => {
            let before = finding::begin(source);
            wrong.push(format!("its first line is not `{before}` and the finding in a few words"));
        }
        Some(name) if name == source.name() => {
            wrong
                .push("its first line has the experiment's name instead of the finding".to_owned());
        }
        Some(long) if long.chars().count() > LONGEST_FINDING => {
            wrong.push(format!(
                "the finding in its first line is longer than {LONGEST_FINDING} characters"
            ));
        }
        Some(_) => {}
    }
    let found: Vec<_> = outside_code(page).filter_map(|line| line.strip_prefix("## ")).collect();
    let expected = HEADINGS.map(|(heading, _)| heading);
    if found != expected {
        let (found, expected) = (found.join(", "), expected.join(", "));
        wrong.push(format!("its headings are `{found}`, and should be `{expected}`"));
    }
    if page.contains(MISSING_PROSE) {
        wrong.push("a comment stands where prose is missing".to_owned());
    }
    wrong
}

fn outside_code(page: &str) -> impl Iterator<Item = &str> {
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
    fn every_page_has_the_same_headings_in_the_same_order() {
        let source = Source::named("01_a").unwrap();
        let page = "# 01 · It is a\n## Question\n## Hypothesis\n## Method\n```sh\n## no heading\n```\n\
                    ## Result\n## What it means\n### Aside\n## What to do instead\n";
        assert!(wrong(page, &source).is_empty());
        assert_eq!(wrong(&page.replace("## Method\n", ""), &source).len(), 1);
        assert_eq!(wrong(&page.replace("## Result", "## Outcome"), &source).len(), 1);
        assert_eq!(wrong("", &source).len(), 2);
        assert_eq!(wrong(&skeleton(&source), &source).len(), 2, "finding and prose are missing");
        assert_eq!(wrong(&page.replace("It is a", &"a".repeat(51)), &source).len(), 1);
    }

    #[test]
    fn a_page_is_known_by_its_name() {
        assert_eq!(source("01-drop-context.md"), Source::named("01_drop_context"));
        for other in ["introduction.md", "results-format.md", "1-a.md", "01-drop-context.txt"] {
            assert_eq!(source(other), None);
        }
    }
}
