//! What differs between a snapshot and what was found, in sentences that a stranger understands.

use std::{collections::BTreeMap, fmt::Write as _};

use lab::results::{ExperimentResult, VariantResult};
use similar::{ChangeTag, TextDiff};

use crate::{figures, workspace::Source};

/// How many lines without a change are shown around one.
const CONTEXT: usize = 3;

/// Says that an experiment has no snapshot, and what one would hold.
pub fn none_yet(source: &Source, found: &str) -> String {
    let mut text = format!("{} has no snapshot yet. This run found:\n\n", source.title());
    for line in found.lines() {
        let _ = writeln!(text, "{}", format!("  + {line}").trim_end());
    }
    text + &what_to_do(source, "If that is what it should find")
}

/// Says what a snapshot expected and what was found instead, and what to do about it.
pub fn between(source: &Source, expected: &str, found: &str, result: &ExperimentResult) -> String {
    described(source, expected, found, result) + &what_to_do(source, "If the change is meant")
}

/// Says what a snapshot expected and what was found instead.
pub fn described(
    source: &Source,
    expected: &str,
    found: &str,
    result: &ExperimentResult,
) -> String {
    let mut sentences = sentences(expected, result);
    if sentences.is_empty() {
        sentences.push("the snapshot says the same in other words".to_owned());
    }
    let mut text = String::new();
    for sentence in sentences {
        let _ = writeln!(text, "{}: {sentence}", source.title());
    }
    text.push_str("\n  - what the snapshot expects\n  + what this run found\n\n");
    let expected = expected.trim_end().to_owned() + "\n";
    let found = found.trim_end().to_owned() + "\n";
    let difference = TextDiff::from_lines(&expected, &found);
    for (place, group) in difference.grouped_ops(CONTEXT).iter().enumerate() {
        if place > 0 {
            text.push_str("    …\n");
        }
        for change in group.iter().flat_map(|operation| difference.iter_changes(operation)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            let _ = writeln!(text, "{}", format!("  {sign} {}", change.value()).trim_end());
        }
    }
    let reruns: Vec<_> = reruns(result).collect();
    if !reruns.is_empty() {
        let _ = writeln!(text, "\n  To see a trial that was not expected, alone:");
    }
    for rerun in reruns {
        let _ = writeln!(text, "    {rerun}");
    }
    text
}

fn what_to_do(source: &Source, condition: &str) -> String {
    format!(
        "\n  {condition}: cargo xtask experiments --only {} --accept\n  \
         or look at each change with: cargo insta review\n",
        source.id
    )
}

/// What a snapshot says of one variant.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    role: &'a str,
    class: &'a str,
    sites: &'a str,
}

fn sentences(expected: &str, result: &ExperimentResult) -> Vec<String> {
    let (verdicts, variants) = parse(expected);
    let mut sentences = Vec::new();
    let hypothesis = ("hypothesis".to_owned(), result.verdict.to_string());
    let claims = result
        .claims
        .iter()
        .map(|claim| (format!("claim {}", claim.id), claim.verdict.to_string()));
    let found: BTreeMap<_, _> = claims.chain([hypothesis]).collect();
    for variant in &result.variants {
        match variants.get(variant.name.as_str()) {
            None => sentences.push(format!("variant {} is not in the snapshot", variant.name)),
            Some(line) => compare(line, variant, &mut sentences),
        }
    }
    for name in variants.keys().filter(|name| result.variants.iter().all(|v| v.name != **name)) {
        sentences.push(format!("variant {name} is in the snapshot, and the experiment has none"));
    }
    for (of, verdict) in &found {
        match verdicts.get(of.as_str()) {
            Some(expected) if expected == verdict => {}
            Some(expected) => sentences
                .push(format!("the {of} was expected to be `{expected}`, and was `{verdict}`")),
            None => sentences.push(format!("the {of} is not in the snapshot")),
        }
    }
    for of in verdicts.keys().filter(|of| !found.contains_key(**of)) {
        sentences.push(format!("the {of} is in the snapshot, and the experiment has none"));
    }
    sentences
}

fn compare(line: &Line<'_>, variant: &VariantResult, sentences: &mut Vec<String>) {
    let name = &variant.name;
    let count = figures::counted(variant);
    if line.class != variant.class {
        sentences.push(format!(
            "variant {name} was expected to be `{}`, and was `{}` ({count} of {})",
            line.class, variant.class, variant.trials
        ));
    }
    let sites = variant.sites.join(", ");
    if line.sites != sites {
        let place = |sites: &str| match sites {
            "" => "nowhere".to_owned(),
            sites => format!("at {sites}"),
        };
        sentences.push(format!(
            "variant {name} was expected to panic {}, and did {}",
            place(line.sites),
            place(&sites)
        ));
    }
    let role = variant.role.to_string();
    if line.role != role {
        sentences.push(format!("variant {name} is a {role} now, and was a {}", line.role));
    }
}

/// Takes a snapshot apart: verdicts by what they are of, and variants by name. Columns are two
/// spaces or more from each other.
fn parse(snapshot: &str) -> (BTreeMap<&str, &str>, BTreeMap<&str, Line<'_>>) {
    let (mut verdicts, mut variants) = (BTreeMap::new(), BTreeMap::new());
    let mut in_verdicts = true;
    for line in snapshot.lines() {
        in_verdicts &= !line.is_empty();
        let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
        let (Some(first), Some(second)) = (columns.next(), columns.next()) else { continue };
        if in_verdicts {
            verdicts.insert(first, second);
        } else {
            let class = columns.next().unwrap_or_default();
            let sites = columns.next().and_then(|sites| sites.strip_prefix("at "));
            let sites = sites.unwrap_or_default();
            variants.insert(second, Line { role: first, class, sites });
        }
    }
    (verdicts, variants)
}

/// The commands that show trials which nobody expected: the first of each variant.
fn reruns(result: &ExperimentResult) -> impl Iterator<Item = &str> {
    result.variants.iter().filter_map(|variant| {
        let example = variant.examples.iter().find(|example| !example.expected)?;
        Some(example.rerun.as_str())
    })
}
