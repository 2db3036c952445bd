//! Formats the result of an experiment as Markdown.

use std::{collections::BTreeMap, fmt::Write as _};

use lab::results::{ExperimentResult, Role, VariantResult};

use super::{claims, committed::Record, plots};
use crate::{experiments::report, figures, results::Meta, workspace::Source};

/// Formats the block under "Result".
pub fn result(record: &Record, source: &Source) -> String {
    let result = &record.experiment;
    let mut text = format!("The hypothesis is **{}**.\n\n", result.verdict);
    claims(&mut text, result);
    variants(&mut text, result);
    if let Some(picture) = plots::shown(source, record) {
        let _ = writeln!(text, "{picture}\n");
    }
    observations(&mut text, result);
    sites(&mut text, result);
    reasons(&mut text, result);
    circumstances(&mut text, record, source);
    text
}

fn claims(text: &mut String, result: &ExperimentResult) {
    if result.claims.is_empty() {
        return;
    }
    text.push_str("| claim | it states that | verdict |\n| --- | --- | --- |\n");
    for claim in &result.claims {
        let is_ours = claim.id == claims::OUR_OWN;
        let id = if is_ours { claim.id.clone() } else { claims::link(&claim.id) };
        let what = if claim.finding { "*finding:* " } else { "" };
        let (states, verdict) = (cell(&claim.statement), claim.verdict);
        let _ = writeln!(text, "| {id} | {what}{states} | **{verdict}** |");
    }
    text.push('\n');
}

fn variants(text: &mut String, result: &ExperimentResult) {
    text.push_str("| role | variant | what is different | outcome | n of N | 95 % interval |\n");
    text.push_str("| --- | --- | --- | --- | --: | --: |\n");
    for variant in &result.variants {
        let mut class = cell(&variant.class);
        if !variant.predicted && variant.class != variant.prediction {
            let _ = write!(class, " (predicted: {})", cell(&variant.prediction));
        }
        let _ = writeln!(
            text,
            "| {} | `{}` | {} | {class} | {} of {} | {} |",
            variant.role,
            variant.name,
            cell(&variant.about),
            variant.hits,
            variant.trials,
            figures::percent(variant.interval)
        );
    }
    text.push('\n');
}

fn observations(text: &mut String, result: &ExperimentResult) {
    if result.variants.iter().all(|variant| variant.observations.is_empty()) {
        return;
    }
    text.push_str(
        "What the trials recorded: min · median · max of numbers, and how often each word occurred.",
    );
    if result.variants.iter().flat_map(|it| it.observations.keys()).any(|it| after(it).is_some()) {
        text.push_str(" What they recorded on the way is in the picture.");
    }
    text.push_str("\n\n");
    text.push_str("| variant | observation | |\n| --- | --- | --- |\n");
    // Variants of one role with equal observations share a row. A picture shows the observations after
    // each cycle.
    let mut rows = Vec::<(Role, &str, String, Vec<&str>)>::new();
    for variant in &result.variants {
        for (name, observation) in variant.observations.iter().filter(|it| after(it.0).is_none()) {
            let seen = cell(&figures::observation(observation));
            let alike = rows.iter_mut().find(|(role, of, found, _)| {
                (*role, *of, found) == (variant.role, name.as_str(), &seen)
            });
            match alike {
                Some((.., variants)) => variants.push(&variant.name),
                None => rows.push((variant.role, name, seen, vec![&variant.name])),
            }
        }
    }
    for (role, name, seen, variants) in rows {
        let who = who(&variants, role, result);
        let _ = writeln!(text, "| {who} | {} | {seen} |", cell(name));
    }
    text.push('\n');
}

/// Splits the name of an observation after a number of cycles, `kib_after_10`, into its parts.
pub fn after(name: &str) -> Option<(&str, u32)> {
    let (count, cycle) = name.rsplit_once("_after_")?;
    Some((count, cycle.parse().ok()?))
}

/// Names variants of one role, by the role if that is shorter: `every cure but …`.
fn who(variants: &[&str], role: Role, result: &ExperimentResult) -> String {
    let all = result.variants.iter().filter(|it| it.role == role).map(|it| it.name.as_str());
    let others: Vec<_> = all.filter(|name| !variants.contains(name)).collect();
    let list = |names: &[&str]| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    match (variants.len(), others.len()) {
        (2.., 0) => format!("every {role}"),
        (few, more) if few <= 2 * more => list(variants),
        (_, 0) => list(variants),
        _ => format!("every {role} but {}", list(&others)),
    }
}

fn sites(text: &mut String, result: &ExperimentResult) {
    let by_site = |of: fn(&VariantResult) -> &Vec<String>| {
        let mut sites = BTreeMap::<&str, Vec<String>>::new();
        for variant in &result.variants {
            for site in of(variant) {
                sites.entry(site).or_default().push(format!("`{}`", variant.name));
            }
        }
        sites
    };
    for (heading, sites) in [
        ("Where the panics came from:", by_site(|variant| &variant.sites)),
        ("Where some trials panicked and others did not:", by_site(|it| &it.occasional_sites)),
    ] {
        if sites.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{heading}\n");
        for (site, variants) in sites {
            let _ = writeln!(text, "- `{site}` in {}", variants.join(", "));
        }
        text.push('\n');
    }
}

/// The reasons of the verdicts, folded because the table above has most of their facts.
fn reasons(text: &mut String, result: &ExperimentResult) {
    text.push_str("<details><summary>How the verdicts follow from the counts</summary>\n\n");
    let hypothesis = ("The hypothesis".to_owned(), result.verdict, &result.reasons);
    let claims = result
        .claims
        .iter()
        .map(|claim| (format!("Claim {}", claim.id), claim.verdict, &claim.reasons));
    for (what, verdict, reasons) in [hypothesis].into_iter().chain(claims) {
        let _ = writeln!(text, "{what} is {verdict}:\n");
        for reason in reasons {
            let _ = writeln!(text, "- {}", plain(reason));
        }
        text.push('\n');
    }
    text.push_str("</details>\n\n");
}

fn circumstances(text: &mut String, Record { meta, experiment }: &Record, source: &Source) {
    let trials = report::trials(experiment);
    let day = meta.started.split('T').next().unwrap_or_default();
    let binary = &source.binary;
    let _ = writeln!(
        text,
        "*{trials} trials in {} on {day}, seed {}: {}, {} {}, {}{}; {}. \
         Source: `experiments/src/bin/{binary}.rs`*",
        figures::seconds(experiment.seconds),
        experiment.seed,
        meta.rustc,
        meta.os,
        meta.arch,
        figures::plural(meta.cores, "core"),
        if experiment.in_memory { ", files in memory" } else { "" },
        versions(meta, experiment)
    );
}

/// `deadpool 0.12.3 and 0.13.1, tokio 1.54.0`.
fn versions(meta: &Meta, experiment: &ExperimentResult) -> String {
    // What an experiment brings itself is not the workspace's.
    let of_crates =
        meta.versions.iter().filter(|(name, _)| !experiment.equipment.contains_key(*name));
    let of_crates = of_crates.map(|(name, them)| format!("{name} {}", them.join(" and ")));
    let of_equipment =
        experiment.equipment.iter().map(|(name, version)| format!("{name} {version}"));
    of_crates.chain(of_equipment).collect::<Vec<_>>().join(", ")
}

/// Escapes text for a table's cell.
pub fn cell(text: &str) -> String {
    plain(text).replace('|', "\\|")
}

/// Puts text on one line and escapes HTML, but not Markdown. A code span shows an entity as it stands, so
/// nothing is escaped there.
fn plain(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let pieces: Vec<_> = text.split('`').collect();
    let closed = |nth: usize| nth + 1 < pieces.len();
    let pieces = pieces.iter().enumerate().map(|(nth, piece)| match nth % 2 {
        1 if closed(nth) => (*piece).to_owned(),
        _ => piece.replace('<', "&lt;"),
    });
    pieces.collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn html_is_escaped_except_in_a_code_span() {
        for (text, expected) in [
            ("a <b> | `Option<T>`\n<c>", "a &lt;b> \\| `Option<T>` &lt;c>"),
            ("`<a>` <b> `<c>", "`<a>` &lt;b> `&lt;c>"),
            ("", ""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
