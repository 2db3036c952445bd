//! The table of claims that others made, with the verdicts of the experiments.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use lab::Verdict;
use serde::Deserialize;

use super::{committed::Record, markdown::cell};
use crate::{figures::plural, workspace::Source};

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
    states: String,
    /// Why the verdicts are what they are, for a reader in a hurry.
    #[serde(default)]
    reason: String,
    /// The verdicts that the reason was written for.
    #[serde(default)]
    explains: Verdicts,
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
            .filter_map(|claim| {
                let what = claim.wrong(&verdicts(&claim.id, records))?;
                Some(format!("claim {}: {what}", claim.id))
            })
            .collect();
        for record in records.values() {
            for claim in &record.experiment.claims {
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

    /// The claims with their verdicts, for the page.
    pub fn rendered(&self, sources: &[Source], records: &Records<'_>) -> String {
        let mut text = self.summary(records);
        for Origin { name, about, claim: claims } in &self.source {
            let _ = write!(text, "## {name}\n\n{}\n\n", about.trim());
            text.push_str("| claim | it states that | verdict | because |\n");
            text.push_str("| --- | --- | --- | --- |\n");
            for Claim { id, states, reason, explains } in claims {
                let verdicts = verdicts(id, records);
                // A reason for other verdicts would mislead.
                let reason = if *explains == verdicts { reason } else { "" };
                let (anchor, shown) = (anchor(id), shown(&verdicts, sources));
                let (states, reason) = (cell(states), cell(reason));
                let _ = writeln!(
                    text,
                    "| <a id=\"{anchor}\"></a>{id} | {states} | {shown} | {reason} |"
                );
            }
            text.push('\n');
        }
        text
    }

    /// Counts the claims by verdict. Claims on which all experiments agree come first.
    fn summary(&self, records: &Records<'_>) -> String {
        let mut counts = BTreeMap::new();
        for claim in self.claims() {
            let found = verdicts(&claim.id, records);
            let (mut places, mut kinds) = (Vec::new(), Vec::new());
            let all = [Verdict::Supported, Verdict::Refuted, Verdict::Inconclusive];
            for (place, kind) in all.into_iter().enumerate() {
                if found.values().any(|verdict| *verdict == kind) {
                    places.push(place);
                    kinds.push(kind.to_string());
                }
            }
            let words = match kinds.as_slice() {
                [] => "without a result".to_owned(),
                [all_say] => all_say.clone(),
                they_say => format!("{} by another", they_say.join(" by one experiment and ")),
            };
            counts.entry((places.is_empty(), places.len(), places)).or_insert((0, words)).0 += 1;
        }
        let all: usize = counts.values().map(|(count, _)| count).sum();
        let parts = counts.values().map(|(count, words)| format!("{count} {words}"));
        format!("{}: {}.\n\n", plural(all, "claim"), parts.collect::<Vec<_>>().join(", "))
    }
}

impl Claim {
    fn wrong(&self, verdicts: &Verdicts) -> Option<String> {
        const WRITE: &str = "write a `reason`, and what it `explains`";
        let found = listed(verdicts);
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

fn verdicts(id: &str, records: &Records<'_>) -> Verdicts {
    let of = |record: &&Record| {
        let claim = record.experiment.claims.iter().find(|claim| claim.id == id)?;
        Some((record.experiment.id.clone(), claim.verdict))
    };
    records.values().filter_map(of).collect()
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
