//! `cargo xtask explain`: prints what the code or the message of a panic means.
//!
//! Reads the pages in docs/src/explain and nothing else. A test of `core` keeps them equal to what the panic
//! hook recognises.

use std::{fmt::Write as _, fs, process::ExitCode};

use serde_json::json;

use crate::{
    failure::{Context as _, Failure, Result},
    flags::{self, Format},
    output::{self, Paper},
    workspace::{self, Workspace},
};

/// The folder of the pages.
const FOLDER: &str = "docs/src/explain";

/// The shortest text that is looked for within a message, or a message within a text, in characters.
const SHORTEST: usize = 12;

pub fn run(flags: &flags::Explain, workspace: &Workspace) -> Result<ExitCode> {
    let pages = pages(workspace)?;
    let asked = flags.about.join(" ");
    let found = match (asked.trim(), number(&asked)) {
        ("", _) => pages.iter().collect(),
        (code, Some(number)) => vec![with_code(&pages, code, number)?],
        (message, None) => with_message(&pages, message)?,
    };
    output::print(&match (flags.format, &found[..]) {
        (Format::Json, _) => json(&found)?,
        (Format::Text, [page]) => page.text.clone(),
        (Format::Text, _) => list(&found),
    });
    Ok(ExitCode::SUCCESS)
}

/// The codes and titles of the pages, for the messages of others.
pub struct Codes(Vec<Page>);

impl Codes {
    /// No codes.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    pub fn read(workspace: &Workspace) -> Result<Self> {
        pages(workspace).map(Self)
    }

    /// The code of a message, if a page has it.
    pub fn of(&self, message: &str) -> Option<&str> {
        let message = plain(message);
        Some(&self.0.iter().find(|page| page.has(&message))?.code)
    }
}

/// The page of a code.
struct Page {
    code: String,
    title: String,
    /// The messages that the hook recognises, without what stands for the rest of a message.
    messages: Vec<String>,
    text: String,
}

fn pages(workspace: &Workspace) -> Result<Vec<Page>> {
    let folder = workspace.path(FOLDER);
    let mut pages = Vec::new();
    for file in workspace::names(&folder)? {
        let path = folder.join(&file);
        let text = fs::read_to_string(&path).context(|| format!("cannot read {FOLDER}/{file}"))?;
        pages.push(Page::of(text).context(|| format!("{FOLDER}/{file}"))?);
    }
    match pages.is_empty() {
        true => Err(Failure::Failed(format!("there are no pages in {FOLDER}"))),
        false => Ok(pages),
    }
}

impl Page {
    fn of(text: String) -> Result<Self, &'static str> {
        let title = text.lines().next().and_then(|line| line.strip_prefix("# "));
        let (code, title) = title.and_then(|it| it.split_once(" · ")).ok_or("it has no title")?;
        let block = text.split_once("```text\n").and_then(|(_, rest)| rest.split_once("\n```"));
        let (block, _) = block.ok_or("it has no messages")?;
        let message = |line: &str| {
            let (message, _) = line.split_once("  (in ").unwrap_or((line, ""));
            message.trim_end_matches('…').to_owned()
        };
        let messages = block.lines().map(message).collect();
        Ok(Self { code: code.to_owned(), title: title.to_owned(), messages, text })
    }

    /// Whether a message is on this page: a part of one, or one with more around it.
    fn has(&self, asked: &str) -> bool {
        self.messages.iter().map(|message| plain(message)).any(|message| {
            let is_long = |text: &str| text.chars().count() >= SHORTEST;
            message == asked
                || (is_long(asked) && message.contains(asked))
                || (is_long(&message) && asked.contains(&message))
        })
    }
}

/// The number of a code, as in `SD0003`, `sd3` or `3`.
fn number(asked: &str) -> Option<u32> {
    let asked = asked.trim().to_ascii_uppercase();
    asked.strip_prefix("SD").unwrap_or(&asked).parse().ok()
}

/// How far a code may be from one that was meant: the last digit is another one.
const NEAR: u32 = 9;

fn with_code<'a>(pages: &'a [Page], asked: &str, number: u32) -> Result<&'a Page> {
    let distance = |page: &&Page| self::number(&page.code).unwrap_or(0).abs_diff(number);
    match pages.iter().min_by_key(distance) {
        Some(page) if distance(&page) == 0 => Ok(page),
        nearest => {
            let mut message = format!("there is no code {asked}");
            if let Some(Page { code, title, .. }) = nearest.filter(|page| distance(page) <= NEAR) {
                let _ = write!(message, "; the nearest is {code} ({title})");
            }
            message.push_str(". `cargo xtask explain` lists all");
            Err(Failure::Usage(message))
        }
    }
}

fn with_message<'a>(pages: &'a [Page], asked: &str) -> Result<Vec<&'a Page>> {
    let plain = plain(asked);
    let found: Vec<_> = pages.iter().filter(|page| page.has(&plain)).collect();
    match found.is_empty() {
        true => Err(Failure::Usage(format!(
            "no page has the message `{asked}`. Either it has another cause, or the panic hook does not \
             know it. `cargo xtask explain` lists the causes"
        ))),
        false => Ok(found),
    }
}

/// A message in lower case, on one line, with `#` in place of each number, and without the dots of one that was cut.
fn plain(message: &str) -> String {
    let message = message.to_lowercase();
    let is_number = |word: &str| word.bytes().all(|digit| digit.is_ascii_digit());
    let words = message.split_whitespace().map(|word| if is_number(word) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ").trim_end_matches([' ', '…']).to_owned()
}

fn list(pages: &[&Page]) -> String {
    let rows = pages.iter().map(|page| vec![page.code.clone(), page.title.clone()]);
    let table = Paper::stdout().table(&["code", "cause"], rows.collect(), &[]);
    table + "\n`cargo xtask explain CODE` prints the page of a code.\n"
}

fn json(pages: &[&Page]) -> Result<String> {
    let objects = pages.iter().map(|page| {
        json!({
            "code": page.code,
            "title": page.title,
            "messages": page.messages,
            "page": format!("{FOLDER}/{}.md", page.code),
            "text": page.text,
        })
    });
    Ok(serde_json::to_string(&objects.collect::<Vec<_>>())? + "\n")
}
