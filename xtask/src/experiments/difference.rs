//! Describes in sentences how a result differs from its snapshot.

use std::{collections::BTreeMap, fmt::Write as _};

use lab::results::{ExperimentResult, VariantResult};
use similar::TextDiff;

use crate::workspace::Source;

/// How many unchanged lines are shown around a change.
const CONTEXT: usize = 3;

/// Describes a result without a snapshot.
pub fn new(source: &Source, found: &str) -> String {
    let mut text = format!("{} has no snapshot yet. This run found:\n\n", source.title());
    for line in found.lines() {
        let _ = writeln!(text, "{}", format!("  +{line}").trim_end());
    }
    text + &what_to_do(source)
}

/// Describes a result that differs from its snapshot.
pub fn between(source: &Source, expected: &str, found: &str, result: &ExperimentResult) -> String {
    let mut sentences = sentences(expected, found, result);
    if sentences.is_empty() {
        sentences.push("the snapshot says the same in other words".to_owned());
    }
    let title = source.title();
    let mut text: String = sentences.iter().map(|it| format!("{title}: {it}\n")).collect();
    text.push_str("\n  - what the snapshot expects\n  + what this run found\n\n");
    let [expected, found] = [expected, found].map(|text| text.trim_end().to_owned() + "\n");
    let difference = TextDiff::from_lines(&expected, &found);
    for line in difference.unified_diff().context_radius(CONTEXT).to_string().lines().skip(1) {
        // A line that begins with @@ separates two parts.
        let line = if line.starts_with("@@") { " …" } else { line };
        let _ = writeln!(text, "{}", format!("  {line}").trim_end());
    }
    let unexpected = |variant: &VariantResult| {
        variant.examples.iter().find(|it| !it.expected).map(|it| it.rerun.clone())
    };
    let reruns: Vec<_> = result.variants.iter().filter_map(unexpected).collect();
    if !reruns.is_empty() {
        text.push_str("\n  To see an unexpected trial alone:\n    ");
        text += &(reruns.join("\n    ") + "\n");
    }
    text + &what_to_do(source)
}

fn what_to_do(source: &Source) -> String {
    format!(
        "\n  If this is right: cargo xtask experiments --only {} --accept\n  \
         or review each change: cargo insta review\n",
        source.id
    )
}

/// One variant's line in a snapshot.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    role: &'a str,
    class: &'a str,
    sites: &'a str,
}

fn sentences(expected: &str, found: &str, result: &ExperimentResult) -> Vec<String> {
    let details_found = details(found);
    let changed = details(expected).into_iter().filter_map(|(of, expected)| {
        let found = details_found.get(of)?;
        (*found != expected).then(|| {
            format!(
                "below `{of}` the snapshot has `{}`, and this run `{}`",
                expected.join(" "),
                found.join(" ")
            )
        })
    });
    let changed: Vec<_> = changed.collect();
    let (verdicts, variants) = parse(expected);
    let mut sentences = Vec::new();
    for variant in &result.variants {
        match variants.get(variant.name.as_str()) {
            None => sentences.push(format!("variant `{}` is not in the snapshot", variant.name)),
            Some(line) => sentences.extend(compare(line, variant)),
        }
    }
    let gone = |name: &&&str| result.variants.iter().all(|variant| variant.name != **name);
    for name in variants.keys().filter(gone) {
        sentences.push(format!("variant `{name}` is in the snapshot and not in the experiment"));
    }
    let claims = result.claims.iter().map(|it| (format!("claim {}", it.id), it.kept_verdict()));
    let hypothesis = ("hypothesis".to_owned(), result.verdict.to_string());
    let found: BTreeMap<_, _> = claims.chain([hypothesis]).collect();
    for (of, verdict) in &found {
        match verdicts.get(of.as_str()) {
            Some(expected) if expected == verdict => {}
            Some(expected) => sentences
                .push(format!("the {of} was expected to be `{expected}`, and was `{verdict}`")),
            None => sentences.push(format!("the {of} is not in the snapshot")),
        }
    }
    for of in verdicts.keys().filter(|of| !found.contains_key(**of)) {
        sentences.push(format!("the {of} is in the snapshot and not in the experiment"));
    }
    sentences.extend(changed);
    sentences
}

/// The indented lines of a snapshot, by the subject that they stand below: a claim or a variant.
fn details(snapshot: &str) -> BTreeMap<&str, Vec<&str>> {
    let (mut details, mut subject) = (BTreeMap::<_, Vec<_>>::new(), "");
    let mut in_verdicts = true;
    for line in snapshot.lines() {
        in_verdicts &= !line.is_empty();
        if line.starts_with(' ') {
            details.entry(subject).or_default().push(line.trim());
        } else {
            let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
            subject = columns.nth(usize::from(!in_verdicts)).unwrap_or_default();
            details.entry(subject).or_default();
        }
    }
    details
}

fn compare(line: &Line<'_>, variant: &VariantResult) -> Vec<String> {
    let VariantResult { name, class, hits, trials, .. } = variant;
    let mut sentences = Vec::new();
    if line.class != class {
        let expected = line.class;
        sentences.push(format!(
            "variant `{name}` was expected to be `{expected}`, and was `{class}` ({hits} of {trials})"
        ));
    }
    let sites = variant.sites.join(", ");
    if line.sites != sites {
        let place = |sites: &str| match sites {
            "" => "nowhere".to_owned(),
            sites => format!("at {sites}"),
        };
        sentences.push(format!(
            "variant `{name}` was expected to panic {}, and did {}",
            place(line.sites),
            place(&sites)
        ));
    }
    let role = variant.role.to_string();
    if line.role != role {
        sentences.push(format!("variant `{name}` was a {}, and is now a {role}", line.role));
    }
    sentences
}

/// Parses a snapshot: verdicts by subject, and variants by name. At least two spaces separate the columns.
fn parse(snapshot: &str) -> (BTreeMap<&str, &str>, BTreeMap<&str, Line<'_>>) {
    let (mut verdicts, mut variants) = (BTreeMap::new(), BTreeMap::new());
    let mut in_verdicts = true;
    for line in snapshot.lines() {
        in_verdicts &= !line.is_empty();
        if line.starts_with(' ') {
            continue;
        }
        let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
        let (Some(first), Some(second)) = (columns.next(), columns.next()) else { continue };
        if in_verdicts {
            verdicts.insert(first, second);
        } else {
            let class = columns.next().unwrap_or_default();
            let sites = columns.next().and_then(|it| it.strip_prefix("at ")).unwrap_or_default();
            variants.insert(second, Line { role: first, class, sites });
        }
    }
    (verdicts, variants)
}
