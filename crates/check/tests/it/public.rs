//! The check on public code: what it found there, and what live values did.
//!
//! `public/Cargo.toml` pins the crates and everything that they depend on. `public/constructors` makes the values, and
//! `public/untried.toml` says why there is no value of the other types. `public/results.json` has what came of it, and
//! `docs/src/check-public.md` is computed from that. To check and try it all again:
//!
//! ```sh
//! cargo test --manifest-path crates/check/Cargo.toml -- --ignored the_public_code_again
//! ```
//!
//! `the_public_page_again` writes the page only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use cargo_metadata::{Metadata, MetadataCommand, Package};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    command::{command, ran},
    trials::{PLACES, short},
};

/// The crates, and what of them is checked.
const CHECKED: [(&str, &[&str]); 3] =
    [("effectum", &["--lib"]), ("mini-redis", &["--lib"]), ("bore-cli", &["--bin", "bore"])];

#[derive(Deserialize, Serialize)]
struct Results {
    /// The version of Tokio, and of the compiler.
    built_with: String,
    programs: Vec<Program>,
}

#[derive(Deserialize, Serialize)]
struct Program {
    #[serde(rename = "crate")]
    of_crate: String,
    version: String,
    target: String,
    functions: u64,
    types: u64,
    /// Of types with a name.
    findings: Vec<Finding>,
    /// The findings of closures, futures and wrappers of such, by culprit.
    unnamed: Vec<Unnamed>,
    /// Trials that no finding is about.
    others: Vec<Other>,
}

#[derive(Deserialize, Serialize)]
struct Unnamed {
    code: String,
    certainty: String,
    culprit: String,
    count: usize,
}

#[derive(Deserialize, Serialize)]
struct Finding {
    code: String,
    certainty: String,
    #[serde(rename = "type")]
    of_type: String,
    culprit: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Tried(Vec<State>),
    /// Why not.
    Untried(String),
}

#[derive(Deserialize, Serialize)]
struct Other {
    #[serde(rename = "type")]
    of_type: String,
    place: String,
    verdict: String,
    states: Vec<State>,
}

/// As the check's own JSON has it.
#[derive(Clone, Deserialize, Serialize)]
struct State {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    when: String,
    seen: Seen,
    control: Seen,
}

#[derive(Clone, Deserialize, Serialize)]
struct Seen {
    trials: u32,
    panicked: u32,
    hung: u32,
    died: u32,
    panics: Vec<String>,
}

impl Seen {
    const fn is_clean(&self) -> bool {
        self.panicked + self.hung + self.died == 0
    }
}

impl Finding {
    /// Whether a live value panicked with this very code, and the controls did not fail.
    fn is_confirmed(&self) -> bool {
        let Outcome::Tried(states) = &self.outcome else { return false };
        states.iter().all(|state| state.control.is_clean())
            && states.iter().any(|state| state.seen.panics.contains(&self.code))
    }

    const fn is_tried(&self) -> bool {
        matches!(self.outcome, Outcome::Tried(_))
    }
}

impl Program {
    /// Whose a type is: of the crate that was checked, of Tokio, or of another dependency.
    fn owner<'a>(&self, of_type: &'a str) -> Owner<'a> {
        let (path, _) = of_type.split_once("::").unwrap_or((of_type, ""));
        let is_in_name = |char: char| char.is_alphanumeric() || char == '_';
        let of_crate = path.rsplit(|char| !is_in_name(char)).next().unwrap_or(path);
        let target = self.target.rsplit(' ').next().unwrap_or_default();
        let own = [self.of_crate.as_str(), target].map(|name| name.replace('-', "_"));
        match of_crate {
            "tokio" => Owner::Tokio,
            name if own.iter().any(|own| own == name) => Owner::Own,
            name => Owner::Dependency(name),
        }
    }

    fn unnamed(&self) -> usize {
        self.unnamed.iter().map(|it| it.count).sum()
    }
}

/// Whose a type is.
#[derive(Debug, PartialEq, Eq)]
enum Owner<'a> {
    Own,
    Tokio,
    Dependency(&'a str),
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("its own"),
            Self::Tokio => f.write_str("Tokio's"),
            Self::Dependency(name) => write!(f, "`{name}`'s"),
        }
    }
}

#[test]
fn a_type_is_the_programs_own_tokios_or_a_dependencys() {
    let results = results();
    let [effectum, _, bore] = &results.programs[..] else { panic!("other programs") };
    assert_eq!(effectum.owner("effectum::job::RunningJob"), Owner::Own);
    assert_eq!(effectum.owner("&mut effectum::job::RunningJob"), Owner::Own);
    assert_eq!(effectum.owner("tokio::runtime::runtime::Runtime"), Owner::Tokio);
    let pool = "deadpool::managed::pool::Pool<effectum::A>";
    assert_eq!(effectum.owner(pool), Owner::Dependency("deadpool"));
    assert_eq!(bore.owner("bore::main"), Owner::Own);
    assert_eq!(bore.owner("bore_cli::server::Server"), Owner::Own);
}

/// Why types were not tried, by crate and by the beginning of their path.
type Reasons = BTreeMap<String, BTreeMap<String, String>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("public")
}

fn page_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/check-public.md")
}

fn results() -> Results {
    let text = fs::read_to_string(folder().join("results.json")).expect("the results");
    serde_json::from_str(&text).expect("results")
}

fn reasons() -> Reasons {
    let text = fs::read_to_string(folder().join("untried.toml")).expect("the reasons");
    toml::from_str(&text).expect("reasons")
}

#[test]
fn the_public_page_says_what_the_results_say() {
    let page = fs::read_to_string(page_path()).expect("the page");
    assert_eq!(
        page,
        render(&results()),
        "{} is not computed from results.json",
        page_path().display()
    );
}

#[test]
fn a_finding_in_public_code_is_confirmed_or_has_a_reason() {
    let results = results();
    let checked: Vec<_> = results.programs.iter().map(|it| it.of_crate.as_str()).collect();
    assert_eq!(checked, CHECKED.map(|(of_crate, _)| of_crate));
    for program in &results.programs {
        // No finding would say nothing, and neither would trials that always panic.
        assert!(program.findings.iter().any(Finding::is_confirmed), "{}", program.of_crate);
        let is_clean = |it: &Other| it.verdict == "clean";
        assert!(program.others.iter().any(is_clean), "{}", program.of_crate);
        for finding in &program.findings {
            if let Outcome::Untried(why) = &finding.outcome {
                assert!(!why.is_empty(), "{}", finding.of_type);
            }
        }
    }
}

#[test]
fn every_reason_is_about_a_type_that_was_not_tried() {
    no_reason_is_left_over(&results());
}

fn no_reason_is_left_over(results: &Results) {
    for (of_crate, reasons) in reasons() {
        let program = results.programs.iter().find(|it| it.of_crate == of_crate).expect("a crate");
        for (start, why) in &reasons {
            let is_it = |it: &Finding| {
                matches!(&it.outcome, Outcome::Untried(of) if of == why)
                    && it.of_type.starts_with(start)
            };
            assert!(program.findings.iter().any(is_it), "{start}");
        }
    }
}

#[test]
#[ignore = "writes the page, and is needed only when its words have changed"]
fn the_public_page_again() {
    fs::write(page_path(), render(&results())).expect("written");
}

#[test]
#[ignore = "downloads and builds public code, and runs a process for every trial"]
fn the_public_code_again() {
    let compiler = Command::new("rustc").arg("--version").output().expect("rustc").stdout;
    let compiler = String::from_utf8_lossy(&compiler);
    let compiler = compiler.split_whitespace().nth(1).unwrap_or("?");
    let metadata = MetadataCommand::new()
        .manifest_path(folder().join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .expect("the sources");
    let tokio = package(&metadata, "tokio").version.to_string();
    let programs = CHECKED.map(|(of_crate, target)| program(package(&metadata, of_crate), target));
    let results = Results {
        built_with: format!("Tokio {tokio}, Rust {compiler}"),
        programs: programs.into(),
    };
    let mut text = serde_json::to_string_pretty(&results).expect("JSON");
    text.push('\n');
    fs::write(folder().join("results.json"), text).expect("written");
    fs::write(page_path(), render(&results)).expect("written");
    no_reason_is_left_over(&results);
}

fn package<'a>(metadata: &'a Metadata, name: &str) -> &'a Package {
    let mut named = metadata.packages.iter().filter(|it| it.name.as_str() == name);
    let package = named.next().expect(name);
    assert!(named.next().is_none(), "several versions of {name}");
    package
}

/// Checks a crate as it was published, and tries what was found.
fn program(package: &Package, target: &[&str]) -> Program {
    let of_crate = package.name.to_string();
    eprintln!("{of_crate}");
    let copies = Path::new(env!("CARGO_TARGET_TMPDIR")).join("public");
    let constructors = folder().join("constructors").join(&of_crate).with_extension("toml");
    let ran = ran(command()
        .args(target)
        .args(["--format", "json", "--manifest-path"])
        .arg(copy(package, &copies.join(&of_crate)))
        .arg("--try")
        .arg(&constructors)
        .env("CARGO_TARGET_DIR", copies.join("target")));
    assert!(ran.is_success(), "the check of {of_crate}: {}", ran.stderr);
    let report = ran.json();
    let list = |key: &str| report[key].as_array().expect(key).clone();
    let (found, mut trials) = (list("findings"), list("trials"));

    let reasons = reasons().remove(&of_crate).unwrap_or_default();
    let (named, unnamed): (Vec<_>, Vec<_>) = found.iter().partition(|it| it["is_named"] == true);
    let unnamed = by_culprit(&unnamed);
    let named = named.into_iter();
    let mut findings: Vec<_> = named.map(|it| finding(it, &trials, &reasons)).collect();
    findings.sort_by_key(|it| (!it.is_confirmed(), !it.is_tried()));
    trials.retain(|trial| !found.iter().any(|finding| is_about(trial, finding)));
    let others = trials.into_iter().map(|trial| Other {
        of_type: text(&trial, "type"),
        place: text(&trial, "place"),
        verdict: text(&trial, "verdict"),
        states: states(&trial),
    });
    Program {
        version: package.version.to_string(),
        target: text(&report, "target"),
        functions: report["functions"].as_u64().expect("a number"),
        types: report["types"].as_u64().expect("a number"),
        unnamed,
        findings,
        others: others.collect(),
        of_crate,
    }
}

/// Findings with one code, certainty and culprit are one.
fn by_culprit(findings: &[&Value]) -> Vec<Unnamed> {
    let mut counts = BTreeMap::<_, usize>::new();
    for it in findings {
        let key = (text(it, "culprit"), text(it, "code"), text(it, "certainty"));
        *counts.entry(key).or_default() += 1;
    }
    let unnamed = counts.into_iter().map(|((culprit, code, certainty), count)| Unnamed {
        code,
        certainty,
        culprit,
        count,
    });
    unnamed.collect()
}

/// Copies the sources, because cargo builds in the folder, and returns the manifest.
fn copy(package: &Package, to: &Path) -> PathBuf {
    let from = package.manifest_path.parent().expect("a folder").as_std_path();
    copy_folder(from, to).expect("copied");
    let manifest = to.join("Cargo.toml");
    // Not a member of the workspace above, and with versions that the check knows.
    let mut text = fs::read_to_string(&manifest).expect("a manifest");
    text.push_str("\n[workspace]\n");
    fs::write(&manifest, text).expect("written");
    fs::copy(folder().join("Cargo.lock"), to.join("Cargo.lock")).expect("a lock file");
    manifest
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, to) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        match path.is_dir() {
            true => copy_folder(&path, &to)?,
            false => fs::write(&to, fs::read(&path)?)?,
        }
    }
    Ok(())
}

fn finding(found: &Value, trials: &[Value], reasons: &BTreeMap<String, String>) -> Finding {
    let of_type = text(found, "type");
    let reason = || {
        let why = reasons.iter().find(|(start, _)| of_type.starts_with(*start));
        let why = why.map(|(_, why)| why.clone());
        why.unwrap_or_else(|| panic!("{of_type}: no constructor, and no reason in untried.toml"))
    };
    let outcome = match trials.iter().find(|trial| is_about(trial, found)) {
        Some(trial) => Outcome::Tried(states(trial)),
        None => Outcome::Untried(reason()),
    };
    Finding {
        code: text(found, "code"),
        certainty: text(found, "certainty"),
        culprit: text(found, "culprit"),
        of_type,
        outcome,
    }
}

fn is_about(trial: &Value, finding: &Value) -> bool {
    trial["type"] == finding["type"] && trial["place"] == place(&text(finding, "code"))
}

/// Where a destructor with this code panics.
fn place(code: &str) -> &'static str {
    let place = PLACES.iter().find(|(_, codes)| codes.contains(&code));
    place.map(|(place, _)| *place).expect(code)
}

fn states(trial: &Value) -> Vec<State> {
    serde_json::from_value(trial["states"].clone()).expect("states")
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// The page.
fn render(results: &Results) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = render_to(&mut page, results);
    page
}

fn render_to(page: &mut String, results: &Results) -> fmt::Result {
    let trials = results.programs.iter().flat_map(|it| &it.others).flat_map(|it| &it.states);
    writeln!(
        page,
        "# Checked on public code\n\n\
         <!-- Computed from crates/check/public/results.json by crates/check/tests/it/public.rs. -->\n\n\
         What does [`cargo sundown check`](check.md) find in code that was not written for it? It was run on three \
         crates from crates.io, with the sources as they were published and the dependencies of \
         `crates/check/public/Cargo.lock` ({}). What it found was then tried with `--try`: live values were dropped \
         off context and in async code, {} times each, and each time in a process of its own.\n\n\
         A finding is *confirmed* if a live value panicked with its code, and no control failed. All others are \
         unconfirmed. The last column of the tables below says why no value of the type was made. The trials of types \
         without a finding are listed, too.\n\n\
         | crate | checked | functions | findings | of its own types | culprits | tried | confirmed | tried, not confirmed | not tried |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        results.built_with,
        trials.map(|it| it.seen.trials).max().unwrap_or_default(),
    )?;
    for program in &results.programs {
        let findings = &program.findings;
        let tried = findings.iter().filter(|it| it.is_tried()).count();
        let confirmed = findings.iter().filter(|it| it.is_confirmed()).count();
        let culprits: BTreeSet<_> = findings.iter().map(|it| &it.culprit).collect();
        writeln!(
            page,
            "| {} {} | {} | {} | {} | {} | {} | {tried} | {confirmed} | {} | {} |",
            program.of_crate,
            program.version,
            program.target,
            program.functions,
            findings.len(),
            findings.iter().filter(|it| program.owner(&it.of_type) == Owner::Own).count(),
            culprits.len(),
            tried - confirmed,
            findings.len() - tried,
        )?;
    }
    writeln!(
        page,
        "\nA finding is about one type. {} more are about closures, futures and wrappers that hold such a type. They were \
         not tried, so they are unconfirmed. They are listed by culprit, below the others. Types with the same culprit have \
         one cause: the culprit's own destructor.",
        results.programs.iter().map(Program::unnamed).sum::<usize>()
    )?;
    for program in &results.programs {
        render_program(page, program)?;
    }
    Ok(())
}

fn render_program(page: &mut String, program: &Program) -> fmt::Result {
    writeln!(
        page,
        "\n## {} {}\n\n| finding | type | whose | culprit | seen | |\n| --- | --- | --- | --- | --- | --- |",
        program.of_crate, program.version
    )?;
    for finding in &program.findings {
        let (seen, verdict) = match &finding.outcome {
            Outcome::Tried(states) if finding.is_confirmed() => (seen(states), "confirmed"),
            Outcome::Tried(states) => (seen(states), "**not confirmed**"),
            Outcome::Untried(why) => (why.clone(), "not tried"),
        };
        let Finding { code, certainty, of_type, culprit, .. } = finding;
        let owner = program.owner(of_type);
        let (of_type, culprit) = (short(of_type), short(culprit));
        writeln!(
            page,
            "| {certainty} {code} | `{of_type}` | {owner} | `{culprit}` | {seen} | {verdict} |"
        )?;
    }
    if !program.unnamed.is_empty() {
        writeln!(
            page,
            "\nClosures, futures and wrappers, not tried:\n\n| finding | culprit | whose | how many |\n| --- | --- | --- | ---: |"
        )?;
    }
    for Unnamed { code, certainty, culprit, count } in &program.unnamed {
        let owner = program.owner(culprit);
        writeln!(page, "| {certainty} {code} | `{}` | {owner} | {count} |", short(culprit))?;
    }
    writeln!(
        page,
        "\nTrials without a finding:\n\n| type | place | seen | |\n| --- | --- | --- | --- |"
    )?;
    for Other { of_type, place, verdict, states } in &program.others {
        let verdict = match verdict.as_str() {
            "clean" => "clean".to_owned(),
            other => format!("**{}**", other.replace('-', " ")),
        };
        let place = place.replace('-', " ").replace("async", "async code");
        writeln!(page, "| `{}` | {place} | {} | {verdict} |", short(of_type), seen(states))?;
    }
    Ok(())
}

fn seen(states: &[State]) -> String {
    let one = |state: &State| {
        let Seen { trials, panicked, hung, died, panics } = &state.seen;
        let counts = [(panicked, "panicked"), (hung, "hung"), (died, "died")];
        let mut words: Vec<_> = counts
            .iter()
            .filter(|(count, _)| **count > 0)
            .map(|(count, word)| format!("{count} of {trials} {word}"))
            .collect();
        match panics.is_empty() {
            true if words.is_empty() => words.push(format!("{trials} of {trials} clean")),
            true => {}
            false => words.push(panics.join(", ").replace('|', "\\|")),
        }
        if !state.control.is_clean() {
            words.push("the control failed".to_owned());
        }
        match state.when.as_str() {
            "" => words.join(", "),
            when => format!("{when}: {}", words.join(", ")),
        }
    };
    states.iter().map(one).collect::<Vec<_>>().join("; ")
}
