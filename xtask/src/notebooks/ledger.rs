//! The claims ledger: what others have stated, and what the experiments that bear on it say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use lab::Verdict;
use serde::Deserialize;
use thiserror::Error;

use super::{
    block::{self, BlockError},
    committed::Record,
    markdown::cell,
};
use crate::{
    figures::plural,
    workspace::{Source, Workspace},
};

/// The block that holds the claims.
const BLOCK: &str = "claims";

/// What this project claims of its own cures: no claim of others, and in no source.
pub const OUR_OWN: &str = "kit";

/// Why the claims cannot be read.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// There is no such file, or it cannot be read.
    #[error("cannot read the claims in {path}: {error}")]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It holds something else.
    #[error("{path} is no list of claims: {}", error.to_string().trim_end())]
    Malformed {
        /// Where.
        path: PathBuf,
        /// Why.
        error: Box<toml::de::Error>,
    },
    /// A claim is there twice.
    #[error("{path}: claim {id} is there twice: remove one")]
    Twice {
        /// Where.
        path: PathBuf,
        /// Which.
        id: String,
    },
}

/// What others have claimed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    source: Vec<Origin>,
}

/// Who claims it: a write-up, say.
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
    /// The verdicts that the reason was written for, by the number of the experiment.
    #[serde(default)]
    explains: BTreeMap<String, Verdict>,
}

/// What experiments say of a claim, by their numbers.
type Verdicts = BTreeMap<String, Verdict>;

/// Where the claims are.
pub fn source(workspace: &Workspace) -> PathBuf {
    workspace.docs().join("claims.toml")
}

/// Where the ledger is.
pub fn path(workspace: &Workspace) -> PathBuf {
    workspace.docs().join("src/claims.md")
}

/// A page of which only the claims are missing.
pub fn skeleton() -> String {
    format!("# Claims\n\n{}\n{}\n", block::begin(BLOCK), block::end(BLOCK))
}

/// How a claim is called within the page.
pub fn anchor(id: &str) -> String {
    id.to_lowercase()
}

impl Ledger {
    /// Reads the claims of others.
    pub fn read(path: &Path) -> Result<Self, LedgerError> {
        let text = fs::read_to_string(path)
            .map_err(|error| LedgerError::Unreadable { path: path.to_owned(), error })?;
        let ledger: Self = toml::from_str(&text).map_err(|error| LedgerError::Malformed {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        let mut seen = BTreeSet::new();
        let twice = ledger.claims().find(|claim| !seen.insert(&claim.id));
        match twice.map(|claim| claim.id.clone()) {
            Some(id) => Err(LedgerError::Twice { path: path.to_owned(), id }),
            None => Ok(ledger),
        }
    }

    fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.source.iter().flat_map(|origin| &origin.claim)
    }

    /// The page with what the results say.
    pub fn written(
        &self,
        page: &str,
        sources: &[Source],
        records: &BTreeMap<String, Record>,
    ) -> Result<String, BlockError> {
        block::replace(page, BLOCK, &self.rendered(sources, records))
    }

    /// What is wrong with the claims, given the results.
    pub fn wrong(&self, records: &BTreeMap<String, Record>) -> Vec<String> {
        let mut wrong: Vec<_> = self
            .claims()
            .filter_map(|claim| {
                let what = claim.wrong(&verdicts(&claim.id, records))?;
                Some(format!("claim {}: {what}", claim.id))
            })
            .collect();
        for record in records.values() {
            for claim in &record.experiment.claims {
                if claim.id != OUR_OWN && !self.claims().any(|known| known.id == claim.id) {
                    let experiment = &record.experiment.id;
                    wrong.push(format!(
                        "claim {}: experiment {experiment} bears on it, and it is not in here: \
                         add it to its source",
                        claim.id
                    ));
                }
            }
        }
        wrong
    }

    fn rendered(&self, sources: &[Source], records: &BTreeMap<String, Record>) -> String {
        let mut text = self.summary(records);
        for Origin { name, about, claim: claims } in &self.source {
            let _ = write!(text, "## {name}\n\n{}\n\n", about.trim());
            text.push_str("| claim | it states that | verdict | because |\n");
            text.push_str("| --- | --- | --- | --- |\n");
            for claim in claims {
                let verdicts = verdicts(&claim.id, records);
                let _ = writeln!(
                    text,
                    "| <a id=\"{}\"></a>{} | {} | {} | {} |",
                    anchor(&claim.id),
                    claim.id,
                    cell(&claim.states),
                    shown(&verdicts, sources),
                    // A reason for other verdicts than these is none.
                    cell(if claim.explains == verdicts { &claim.reason } else { "" })
                );
            }
            text.push('\n');
        }
        text
    }

    /// How many claims there are, and what became of them: first those on which all experiments agree.
    fn summary(&self, records: &BTreeMap<String, Record>) -> String {
        let mut counts = BTreeMap::new();
        for claim in self.claims() {
            let found = verdicts(&claim.id, records);
            let kinds: Vec<_> = [Verdict::Supported, Verdict::Refuted, Verdict::Inconclusive]
                .into_iter()
                .enumerate()
                .filter(|(_, kind)| found.values().any(|verdict| verdict == kind))
                .collect();
            let places: Vec<_> = kinds.iter().map(|(place, _)| *place).collect();
            let kinds: Vec<_> = kinds.iter().map(|(_, kind)| kind.to_string()).collect();
            let kind = match kinds.as_slice() {
                [] => "without a result".to_owned(),
                [all_say] => all_say.clone(),
                they_say => format!("{} by another", they_say.join(" by one experiment and ")),
            };
            counts.entry((places.is_empty(), places.len(), places)).or_insert((0, kind)).0 += 1;
        }
        let all: usize = counts.values().map(|(count, _)| count).sum();
        let parts: Vec<_> =
            counts.values().map(|(count, kind)| format!("{count} {kind}")).collect();
        format!("{}: {}.\n\n", plural(all, "claim"), parts.join(", "))
    }
}

impl Claim {
    fn wrong(&self, verdicts: &Verdicts) -> Option<String> {
        if verdicts.is_empty() {
            return Some(
                "no experiment that has results bears on it: run one that declares it, and \
                 `cargo xtask notebooks`"
                    .to_owned(),
            );
        }
        let found = listed(verdicts);
        if self.reason.trim().is_empty() {
            return Some(format!(
                "it has no reason; the results say {found}: write `reason`, and what it `explains`"
            ));
        }
        (self.explains != *verdicts).then(|| {
            format!(
                "its reason explains {}, and the results say {found}: write another `reason`, and \
                 what it `explains`",
                listed(&self.explains)
            )
        })
    }
}

/// What the results say of a claim.
fn verdicts(id: &str, records: &BTreeMap<String, Record>) -> Verdicts {
    let of = |record: &Record| {
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

/// Each verdict with the experiments that came to it.
fn shown(verdicts: &Verdicts, sources: &[Source]) -> String {
    let mut by_verdict = BTreeMap::<String, Vec<String>>::new();
    for (id, verdict) in verdicts {
        let page = sources.iter().find(|source| source.id == *id).map(Source::page);
        let shown = page.map_or_else(|| id.clone(), |page| format!("[{id}]({page})"));
        by_verdict.entry(verdict.to_string()).or_default().push(shown);
    }
    let mut parts: Vec<_> = by_verdict
        .iter()
        .map(|(verdict, experiments)| {
            format!("**{verdict}** by&nbsp;{}", experiments.join(" and&nbsp;"))
        })
        .collect();
    // Whichever came first comes first.
    parts.sort_by_key(|part| part.find('[').map(|at| part.get(at..).map(str::to_owned)));
    if parts.is_empty() { "no result".to_owned() } else { parts.join(", but ") }
}
