//! The table of claims that others made, with the verdicts of the experiments.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use lab::Verdict;
use serde::Deserialize;

use super::{committed::Record, counts, markdown::cell};
use crate::workspace::Source;

pub const PAGE: &str = "docs/src/claims.md";

/// The id of the project's own claims, about its cures. docs/claims.toml does not list them.
pub const OUR_OWN: &str = "kit";

/// The claims of others, as docs/claims.toml lists them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimList {
    source: Vec<Origin>,
}

/// Where claims were made: a write-up, an issue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Origin {
    name: String,
    about: String,
    claim: Vec<Claim>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    id: String,
    /// The source's own words. A finding has none.
    #[serde(default)]
    quote: String,
    states: String,
    /// Why the verdicts are what they are, for a reader in a hurry.
    #[serde(default)]
    reason: String,
    /// The verdicts that the reason was written for.
    #[serde(default)]
    explains: Verdicts,
    /// The counts in the reason that another run gave, and no result has: `5 of 20`.
    #[serde(default)]
    elsewhere: Vec<String>,
    /// Why no experiment tests it.
    #[serde(default)]
    untested: String,
    /// What an earlier test said, if the verdict or the statement has changed.
    before: Option<Before>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    /// The earlier verdict, with its experiment: `refuted by 01`.
    verdict: String,
    /// What was wrong with the earlier test.
    why: String,
}

/// The verdicts on a claim, by the number of the experiment.
type Verdicts = BTreeMap<String, Verdict>;

/// The committed results of experiments.
type Records<'a> = BTreeMap<&'a str, &'a Record>;

fn anchor(id: &str) -> String {
    id.to_lowercase()
}

/// A link to the claim on the page of claims.
pub fn link(id: &str) -> String {
    format!("[{id}](claims.md#{})", anchor(id))
}

impl ClaimList {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))?;
        let claims: Self = toml::from_str(&text)
            .map_err(|error| format!("not a list of claims: {}", error.to_string().trim_end()))?;
        let mut seen = BTreeSet::new();
        let twice = claims.claims().map(|claim| &claim.id).find(|id| !seen.insert(*id)).cloned();
        match twice {
            Some(id) => Err(format!("claim {id} is listed twice: remove one")),
            None => Ok(claims),
        }
    }

    fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.source.iter().flat_map(|origin| &origin.claim)
    }

    /// Returns a line for each claim that disagrees with the results.
    pub fn wrong(&self, records: &Records<'_>) -> Vec<String> {
        let mut wrong: Vec<_> = self
            .claims()
            .flat_map(|claim| {
                let verdicts = verdicts(&claim.id, records);
                let wrong = claim.wrong(&verdicts).into_iter();
                wrong
                    .chain(claim.wrong_counts(&verdicts, records))
                    .map(|what| format!("claim {}: {what}", claim.id))
            })
            .collect();
        for record in records.values() {
            for claim in &record.experiment.claims {
                if claim.finding != is_finding(&claim.id, records) {
                    let (id, experiment) = (&claim.id, &record.experiment.id);
                    wrong.push(format!(
                        "claim {id}: experiment {experiment} calls it a claim, and another one a \
                         finding: call it the same in both"
                    ));
                }
                if claim.id != OUR_OWN && self.claims().all(|known| known.id != claim.id) {
                    let (id, experiment) = (&claim.id, &record.experiment.id);
                    wrong.push(format!(
                        "claim {id}: experiment {experiment} tests it, but it is not listed: add it \
                         under its source"
                    ));
                }
            }
        }
        wrong
    }

    /// How the claims fared, in a few sentences.
    pub fn headline(&self, records: &Records<'_>) -> String {
        let (findings, claims): (Vec<_>, Vec<_>) =
            self.claims().partition(|claim| is_finding(&claim.id, records));
        let mut fared = BTreeMap::<_, usize>::new();
        for claim in &claims {
            *fared.entry(fate(&verdicts(&claim.id, records))).or_default() += 1;
        }
        let fared: Vec<_> = fared.iter().map(|((_, fate), n)| format!("{n} {fate}")).collect();
        let origins = self.source.len();
        let changed = self.claims().filter(|claim| claim.before.is_some()).count();
        let (claims, findings) = (claims.len(), findings.len());
        let experiments = records.len();
        let expected = |record: &&&Record| record.experiment.first_expected.is_some();
        let other: Vec<_> =
            records.values().filter(expected).map(|it| it.experiment.id.clone()).collect();
        format!(
            "{claims} claims from {origins} sources (a sentence whose parts fare differently counts as several, \
             so this is no score): {}. The experiments add {findings} findings, which no \
             source makes. {changed} of these tests have changed since they were first written, most of \
             them because they were not fair to the source. In {} of {experiments} experiments the \
             hypothesis was changed after the first figures; the page says what was first expected{}\n",
            fared.join(", "),
            other.len(),
            if other.is_empty() { ".".to_owned() } else { format!(": {}.", other.join(", ")) },
        )
    }

    /// The claims with their verdicts, for the page.
    pub fn rendered(&self, sources: &[Source], records: &Records<'_>) -> String {
        let mut text = self.headline(records) + "\n";
        for Origin { name, about, claim: all } in &self.source {
            let _ = write!(text, "## {name}\n\n{}\n\n", about.trim());
            let (findings, claims): (Vec<_>, Vec<_>) =
                all.iter().partition(|claim| is_finding(&claim.id, records));
            for (kind, rows) in [("claim", claims), ("finding", findings)] {
                if !rows.is_empty() {
                    let _ = writeln!(text, "| {kind} | it states that | verdict | because |");
                    text.push_str("| :-- | --- | --- | --- |\n");
                    text.extend(rows.into_iter().map(|claim| claim.row(sources, records)));
                    text.push('\n');
                }
            }
        }
        text + &self.changed(sources, records)
    }

    /// The claims whose test has changed, with the verdict before and now.
    fn changed(&self, sources: &[Source], records: &Records<'_>) -> String {
        let rows = self.claims().filter_map(|claim| {
            let (id, before) = (&claim.id, claim.before.as_ref()?);
            let [was, why] = [&before.verdict, &before.why].map(|it| cell(it));
            let what = if is_finding(id, records) { "as a finding, " } else { "" };
            let now = claim.shown(&verdicts(id, records), sources);
            Some(format!("| [{id}](#{}) | {was} | {what}{now} | {why} |\n", anchor(id)))
        });
        let rows: String = rows.collect();
        if rows.is_empty() {
            return rows;
        }
        let heads = "| | first verdict | verdict now | what was wrong with the first test |";
        format!("## Tests that changed\n\n{heads}\n| :-- | --- | --- | --- |\n{rows}\n")
    }
}

impl Claim {
    fn row(&self, sources: &[Source], records: &Records<'_>) -> String {
        let Self { id, quote, states, reason, explains, untested, elsewhere: _, before: _ } = self;
        let verdicts = verdicts(id, records);
        // A reason for other verdicts would mislead.
        let reason = match *explains == verdicts {
            true if untested.is_empty() => reason,
            true => untested,
            false => "",
        };
        let quote =
            if quote.is_empty() { String::new() } else { format!("“{}”<br>", cell(quote)) };
        let (anchor, states, reason) = (anchor(id), cell(states), cell(reason));
        let shown = self.shown(&verdicts, sources);
        format!("| <a id=\"{anchor}\"></a>{id} | {quote}{states} | {shown} | {reason} |\n")
    }

    fn shown(&self, verdicts: &Verdicts, sources: &[Source]) -> String {
        match self.untested.is_empty() {
            true => shown(verdicts, sources),
            false => "not tested".to_owned(),
        }
    }

    fn wrong(&self, verdicts: &Verdicts) -> Option<String> {
        const WRITE: &str = "write a `reason`, and what it `explains`";
        let found = listed(verdicts);
        if !self.untested.is_empty() {
            return (!verdicts.is_empty())
                .then(|| format!("it is `untested`, but the results say {found}"));
        }
        if verdicts.is_empty() {
            let run = "run one that declares it, and `cargo xtask notebooks`";
            return Some(format!("no experiment with results tests it: {run}"));
        }
        if self.reason.trim().is_empty() {
            return Some(format!("it has no reason; the results say {found}: {WRITE}"));
        }
        let explains = listed(&self.explains);
        (self.explains != *verdicts).then(|| {
            format!("its reason explains {explains}, but the results say {found}: {WRITE}")
        })
    }
}

impl Claim {
    /// Finds counts in the reason that are in no result of an experiment which tests the claim, or to whose
    /// page the reason links.
    fn wrong_counts(&self, verdicts: &Verdicts, records: &Records<'_>) -> Vec<String> {
        let text = if self.untested.is_empty() { &self.reason } else { &self.untested };
        let is_linked = |id: &str| verdicts.contains_key(id) || text.contains(&format!("]({id}-"));
        let linked: Vec<_> = records.values().map(|record| &record.experiment).collect();
        let linked: Vec<_> = linked.into_iter().filter(|it| is_linked(&it.id)).collect();
        let elsewhere: Vec<_> =
            self.elsewhere.iter().flat_map(|count| counts::in_text(count)).collect();
        let found = counts::in_text(text);
        let unknown = found.iter().filter(|count| !elsewhere.contains(count));
        let unknown = unknown.filter(|count| linked.iter().all(|result| !count.is_in(result)));
        let ids: Vec<_> = linked.iter().map(|result| result.id.as_str()).collect();
        let unknown = unknown.map(|count| {
            format!(
                "its reason says {count}, which is in no result of {}: write what they say, or add it to \
                 `elsewhere` if another run gave it",
                ids.join(", ")
            )
        });
        let gone = elsewhere.iter().filter(|count| !found.contains(count));
        let gone = gone
            .map(|count| format!("`elsewhere` has {count}, and its reason does not: remove it"));
        unknown.chain(gone).collect()
    }
}

fn verdicts(id: &str, records: &Records<'_>) -> Verdicts {
    let of = |record: &&Record| {
        let claim = record.experiment.claims.iter().find(|claim| claim.id == id)?;
        Some((record.experiment.id.clone(), claim.verdict))
    };
    records.values().filter_map(of).collect()
}

/// Whether an experiment with results declares it as a finding.
fn is_finding(id: &str, records: &Records<'_>) -> bool {
    let claims = records.values().flat_map(|record| &record.experiment.claims);
    claims.into_iter().any(|claim| claim.id == id && claim.finding)
}

/// How a claim fared, with its place in the list of all.
fn fate(verdicts: &Verdicts) -> (u8, &'static str) {
    let has = |verdict| verdicts.values().any(|it| *it == verdict);
    match (has(Verdict::Supported), has(Verdict::Refuted)) {
        _ if verdicts.is_empty() => (4, "not tested"),
        (true, true) => (2, "supported by one experiment and refuted by another"),
        (true, false) => (0, "supported"),
        (false, true) => (1, "refuted"),
        (false, false) => (3, "inconclusive"),
    }
}

/// `07 supported, 32 refuted`.
fn listed(verdicts: &Verdicts) -> String {
    let each: Vec<_> = verdicts.iter().map(|(id, verdict)| format!("{id} {verdict}")).collect();
    if each.is_empty() { "nothing".to_owned() } else { each.join(", ") }
}

/// Each verdict with its experiments. The verdict of the first experiment comes first.
fn shown(verdicts: &Verdicts, sources: &[Source]) -> String {
    let mut by_verdict = Vec::<(Verdict, Vec<String>)>::new();
    for (id, verdict) in verdicts {
        let page = sources.iter().find(|source| source.id == *id).map(Source::page);
        let shown = page.map_or_else(|| id.clone(), |page| format!("[{id}]({page})"));
        match by_verdict.iter_mut().find(|(known, _)| known == verdict) {
            Some((_, experiments)) => experiments.push(shown),
            None => by_verdict.push((*verdict, vec![shown])),
        }
    }
    let parts = by_verdict.iter().map(|(verdict, experiments)| {
        format!("**{verdict}** by&nbsp;{}", experiments.join(" and&nbsp;"))
    });
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() { "no result".to_owned() } else { parts.join(", but ") }
}
