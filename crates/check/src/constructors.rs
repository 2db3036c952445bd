//! The program of trials: makes live values with the constructors of a file, next to the library that was checked.

use std::{
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{Table, Value};

use crate::{
    build::Source,
    failure::{Failure, Result},
};

/// Drops one value in one place. The trials of the book's page use the same file.
const HARNESS: &str = include_str!("../trials/src/lib.rs");

const HARNESS_MANIFEST: &str = r#"[package]
name = "sundown-trial-harness"
version = "0.1.0"
edition = "2024"

[dependencies]
serde_json = "1"
tokio = { version = "1", features = ["rt-multi-thread"] }
"#;

/// A file of constructors.
pub struct Constructors {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// As in a `Cargo.toml`. The library that is checked, and Tokio, are there without being named.
    #[serde(default)]
    dependencies: Table,
    /// Items that the expressions use.
    #[serde(default)]
    items: String,
    values: Vec<Constructor>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Constructor {
    /// An expression. It is in an `async` block, on a runtime with several threads.
    make: String,
    /// The state of the value, if there are several of its type.
    #[serde(default)]
    when: String,
}

impl Constructors {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| Failure::File {
            action: "read",
            path: path.to_owned(),
            error,
        })?;
        let refused = |why: String| Failure::Constructors { path: path.to_owned(), why };
        let content: Content =
            toml::from_str(&text).map_err(|error| refused(error.to_string().trim().to_owned()))?;
        if content.values.is_empty() {
            return Err(refused("no `[[values]]`".to_owned()));
        }
        Ok(Self { path: path.to_owned(), content })
    }

    /// Writes the program of trials below the target directory, and returns its manifest.
    pub fn write(&self, source: &Source) -> Result<PathBuf> {
        let name = name_of(&self.path);
        let folder = source.target.join("trials").join(&name);
        let manifest = folder.join("Cargo.toml");
        let dependencies = self.content.dependencies.clone();
        let files = [
            (manifest.clone(), manifest_of(&name, dependencies, source)),
            (folder.join("src/main.rs"), main_of(&self.content)),
            (folder.join("harness/Cargo.toml"), HARNESS_MANIFEST.to_owned()),
            (folder.join("harness/src/lib.rs"), HARNESS.to_owned()),
        ];
        for (path, text) in files {
            let written = path.parent().map_or(Ok(()), fs::create_dir_all);
            let written = written.and_then(|()| fs::write(&path, text));
            written.map_err(|error| Failure::File { action: "write", path, error })?;
        }
        // The same versions as in the program that was checked. Not every workspace has a lock file.
        if source.lock.exists() {
            let path = folder.join("Cargo.lock");
            let copied = fs::copy(&source.lock, &path);
            copied.map_err(|error| Failure::File { action: "write", path, error })?;
        }
        Ok(manifest)
    }
}

/// A name of its own for each file of constructors: several may be tried at the same time.
fn name_of(constructors: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    constructors.canonicalize().unwrap_or_else(|_| constructors.to_owned()).hash(&mut hasher);
    format!("sundown-trials-{:016x}", hasher.finish())
}

fn manifest_of(name: &str, mut dependencies: Table, source: &Source) -> String {
    let text = |text: &str| Value::String(text.to_owned());
    let harness = Table::from_iter([("path".to_owned(), text("harness"))]);
    dependencies.insert("sundown-trial-harness".to_owned(), Value::Table(harness));
    dependencies.entry("tokio").or_insert_with(|| text("1"));
    if source.has_library {
        let features = source.features.iter().map(|feature| text(feature)).collect();
        let library = Table::from_iter([
            ("path".to_owned(), text(&source.folder.to_string_lossy())),
            ("features".to_owned(), Value::Array(features)),
            ("default-features".to_owned(), Value::Boolean(source.has_default_features)),
        ]);
        dependencies.entry(&source.package).or_insert(Value::Table(library));
    }
    let package = Table::from_iter([
        ("name".to_owned(), text(name)),
        ("version".to_owned(), text("0.1.0")),
        ("edition".to_owned(), text("2024")),
    ]);
    let manifest = Table::from_iter([
        ("package".to_owned(), Value::Table(package)),
        // Not a member of a workspace above.
        ("workspace".to_owned(), Value::Table(Table::new())),
        ("dependencies".to_owned(), Value::Table(dependencies)),
    ]);
    manifest.to_string()
}

fn main_of(constructors: &Content) -> String {
    let mut main = format!(
        "use sundown_trial_harness::{{Case, run}};\n\n{}\n\nfn main() -> std::process::ExitCode {{\n    run(&[\n",
        constructors.items
    );
    for Constructor { make, when } in &constructors.values {
        // Writing to a string cannot fail.
        let _ = writeln!(main, "Case::of(\"\", || async {{\n{make}\n}}).when({when:?}),");
    }
    main.push_str("    ])\n}\n");
    main
}
