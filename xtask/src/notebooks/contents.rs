//! Generates the files of the notebook.

use std::{collections::BTreeMap, fmt::Write as _, fs, io, path::PathBuf};

use lab::results::Verdict;

use super::{
    benchmarks, block, census,
    claims::{self, ClaimList},
    committed::{Record, Records},
    links, listings, page, plots,
};
use crate::{
    experiments::line::Pages,
    failure::Result,
    finding, results,
    workspace::{Source, Workspace},
};

pub struct Notebook {
    pub files: Vec<File>,
    /// What an author must do before the notebook is complete, one line each.
    pub to_do: Vec<String>,
}

pub struct File {
    pub path: PathBuf,
    /// Its text, or why it could not be generated.
    pub text: Result<String, String>,
}

impl Notebook {
    pub fn of(workspace: &Workspace, sources: &[Source], records: &Records) -> Result<Self> {
        let mut files = Vec::new();
        let mut to_do = Vec::new();
        let mut known = BTreeMap::new();
        for source in sources {
            let path = results::committed(workspace, source);
            match records.get(&source.binary) {
                None => {
                    let (path, run) = (workspace.shown(&path), run(source));
                    to_do.push(format!("{path}: there are no results of the experiment: {run}"));
                }
                Some(Err(error)) => files.push(File { path, text: Err(error.clone()) }),
                Some(Ok(record)) => {
                    files.push(File { path, text: Ok(results::json(record)?) });
                    let page = workspace.path("docs/src").join(source.page());
                    let blocks = page::blocks(source, record);
                    files.push(filled(page, &page::skeleton(source), &blocks));
                    known.insert(source.binary.as_str(), record);
                }
            }
        }
        let census = census::Census::read(workspace)?;
        files.extend(summary(workspace, sources, &known, &census));
        files.extend(census.pages(workspace));
        to_do.extend(census.wrong(workspace)?);
        let claims = claims(workspace, sources, &known, &mut to_do);
        files.extend(readme(workspace, sources, &known, claims.headline.as_deref()));
        files.push(claims.page);
        let figures = benchmarks::read(workspace)?;
        let path = workspace.path("docs/src/benchmarks.md");
        if !figures.is_empty() || path.exists() {
            files.push(filled(path, "", &benchmarks::blocks(&figures)));
        }
        for (name, svg) in plots::all(&known, &figures)? {
            files.push(File { path: workspace.path(plots::FOLDER).join(name), text: Ok(svg) });
        }
        with_listings(&mut files, workspace)?;
        Ok(Self { files, to_do })
    }
}

/// Fills the listings of all pages, also of those that have nothing else to fill.
fn with_listings(files: &mut Vec<File>, workspace: &Workspace) -> Result<()> {
    for path in links::paths(workspace)? {
        if files.iter().all(|file| file.path != path) {
            files.push(filled(path, "", &[]));
        }
    }
    for file in files.iter_mut().filter(|it| it.path.extension().is_some_and(|it| it == "md")) {
        file.text = file.text.clone().and_then(|page| listings::replace(&page, workspace));
    }
    Ok(())
}

/// The commands that renew an experiment's results.
pub fn run(source: &Source) -> String {
    format!("run `cargo xtask experiments --only {}` and `cargo xtask notebooks`", source.id)
}

/// Fills these blocks of a page, or of the skeleton if there is no page.
pub fn filled(path: PathBuf, skeleton: &str, blocks: &[(&str, String)]) -> File {
    let page = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(skeleton.to_owned()),
        page => page.map_err(|error| error.to_string()),
    };
    let text = page.and_then(|page| {
        blocks.iter().try_fold(page, |page, (name, text)| block::replace(&page, name, text))
    });
    File { path, text }
}

/// A part of the book that consists of experiments.
struct Part {
    /// The number of its first experiment.
    first: &'static str,
    title: &'static str,
    /// Its page, which lists them.
    page: &'static str,
}

const PARTS: [Part; 7] = [
    Part { first: "00", title: "Dropping a client", page: "lab-dropping.md" },
    Part { first: "20", title: "Logging out", page: "lab-logout.md" },
    Part { first: "30", title: "Ending the process", page: "lab-exit.md" },
    Part { first: "40", title: "Background tasks", page: "lab-tasks.md" },
    Part { first: "50", title: "Owning a runtime", page: "lab-runtime.md" },
    Part { first: "60", title: "Python and other hosts", page: "lab-hosts.md" },
    Part { first: "70", title: "The real Matrix SDK", page: "lab-sdk.md" },
];

/// Generates the table of contents, and the page of each part. An experiment is called by what it finds, as long as
/// it finds it.
fn summary(
    workspace: &Workspace,
    sources: &[Source],
    records: &BTreeMap<&str, &Record>,
    census: &census::Census,
) -> Vec<File> {
    const BLOCK: &str = "experiments";
    let (mut list, mut files) = (String::new(), Vec::new());
    for (at, part) in PARTS.iter().enumerate() {
        let next = PARTS.get(at + 1).map_or("99", |next| next.first);
        let of_part = |it: &&Source| part.first <= it.id.as_str() && it.id.as_str() < next;
        let mut table =
            "| | finding | question | verdict |\n| :-- | --- | --- | :-- |\n".to_owned();
        let mut entries = String::new();
        for source in sources.iter().filter(of_part) {
            let (id, link) = (&source.id, source.page());
            let record = records.get(source.binary.as_str());
            // If there is none, or it cannot be read, that is reported where it is filled.
            let page =
                fs::read_to_string(workspace.path("docs/src").join(&link)).unwrap_or_default();
            let is_found = record.is_some_and(|it| it.experiment.verdict == Verdict::Supported);
            let finding = finding::of(&page, source);
            let finding = match finding.filter(|_| is_found) {
                Some(finding) => finding.to_owned(),
                None => source.name(),
            };
            let _ = writeln!(entries, "  - [{id} {finding}]({link})");
            if let Some(record) = record {
                let (question, verdict) = (&record.experiment.question, record.experiment.verdict);
                let question = question.split_whitespace().collect::<Vec<_>>().join(" ");
                let _ = writeln!(table, "| {id} | [{finding}]({link}) | {question} | {verdict} |");
            }
        }
        if !entries.is_empty() {
            let _ = write!(list, "- [{}]({})\n{entries}", part.title, part.page);
            let path = workspace.path("docs/src").join(part.page);
            let skeleton = format!("# {}\n\n{}", part.title, block::empty(BLOCK));
            files.push(filled(path, &skeleton, &[(BLOCK, table)]));
        }
    }
    let skeleton = format!("# Summary\n\n{}", block::empty(BLOCK));
    let mut blocks = vec![(BLOCK, list)];
    blocks.extend(census.contents().map(|list| (census::BLOCK, list)));
    files.push(filled(workspace.path("docs/src/SUMMARY.md"), &skeleton, &blocks));
    files
}

/// What others' claims give.
struct Claims {
    page: File,
    headline: Option<String>,
}

/// Generates the page of others' claims.
fn claims(
    workspace: &Workspace,
    sources: &[Source],
    records: &BTreeMap<&str, &Record>,
    to_do: &mut Vec<String>,
) -> Claims {
    const BLOCK: &str = "claims";
    let path = workspace.path("docs/claims.toml");
    let claims = match ClaimList::read(&path) {
        Ok(claims) => claims,
        Err(error) => return Claims { page: File { path, text: Err(error) }, headline: None },
    };
    let shown = workspace.shown(&path);
    to_do.extend(claims.wrong(records).iter().map(|wrong| format!("{shown}: {wrong}")));
    let skeleton = format!("# Claims\n\n{}", block::empty(BLOCK));
    let blocks = [(BLOCK, claims.rendered(sources, records))];
    let page = filled(workspace.path(claims::PAGE), &skeleton, &blocks);
    Claims { page, headline: Some(claims.headline(records)) }
}

/// How many experiments the README shows.
const EXCERPT: usize = 7;

/// Generates the README's excerpt, the lines of the first experiments, and its sentences on the claims.
fn readme(
    workspace: &Workspace,
    sources: &[Source],
    records: &BTreeMap<&str, &Record>,
    headline: Option<&str>,
) -> Option<File> {
    let known = sources.iter().filter_map(|source| Some((source, records.get(&*source.binary)?)));
    let lines = known.map(|(it, record)| Pages(workspace).of_result(it, &record.experiment, 80));
    let lines: Vec<_> = lines.take(EXCERPT).collect();
    if lines.is_empty() {
        return None;
    }
    let excerpt = format!("```text\n{}\n```", lines.join("\n"));
    let mut blocks = vec![("excerpt", excerpt)];
    blocks.extend(headline.map(|headline| ("claims", headline.to_owned())));
    Some(filled(workspace.path("README.md"), "", &blocks))
}
