//! The workspace: its paths and its experiments.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Display, Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::failure::{Context as _, Failure, Result};

#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    cargo: OsString,
}

/// An experiment, as the name of its source file describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The number, as two digits: `01`.
    pub id: String,
    /// The name of binary, source and snapshot: `01_drop_context`.
    pub binary: String,
}

impl Source {
    /// An experiment's name is two digits, an underscore, and words.
    pub fn named(binary: &str) -> Option<Self> {
        let (id, name) = binary.split_once('_')?;
        let numbered = id.len() == 2 && id.bytes().all(|byte| byte.is_ascii_digit());
        (numbered && !name.is_empty())
            .then(|| Self { id: id.to_owned(), binary: binary.to_owned() })
    }

    /// The name without the number: `drop-context`.
    pub fn name(&self) -> String {
        self.binary.split_once('_').map_or(&*self.binary, |(_, name)| name).replace('_', "-")
    }

    /// `01 drop-context`.
    pub fn title(&self) -> String {
        format!("{} {}", self.id, self.name())
    }

    /// Its page in the notebook: `01-drop-context.md`.
    pub fn page(&self) -> String {
        format!("{}.md", self.binary.replace('_', "-"))
    }
}

impl Workspace {
    pub fn find() -> Result<Self> {
        // `cargo run` sets the package's path. A program that is started directly uses the workspace
        // around the current directory, or else the one that it was built in.
        let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let package = package.or_else(package_around);
        let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = package.parent().filter(|root| root.is_dir()).ok_or_else(|| {
            let package = package.display();
            Failure::Failed(format!("no workspace around {package}: run `cargo xtask` inside it"))
        })?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Ok(Self { root: root.to_owned(), cargo })
    }

    /// A path in the workspace, from its root.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Formats a path: relative to the root if it is inside the workspace.
    pub fn shown<'a>(&self, path: &'a Path) -> Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// A command that runs cargo in the workspace.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root);
        command
    }

    /// Cargo's target directory, which is not always `target`.
    pub fn target(&self) -> Result<PathBuf> {
        #[derive(Deserialize)]
        struct Metadata {
            target_directory: PathBuf,
        }
        let mut cargo = self.cargo();
        let cargo = cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
        let output = cargo.output().context(|| "cannot start cargo (is it on PATH?)")?;
        match serde_json::from_slice::<Metadata>(&output.stdout) {
            Ok(metadata) => Ok(metadata.target_directory),
            Err(_) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let message =
                    format!("`cargo metadata` does not say where it builds: {}", said.trim());
                Err(Failure::Failed(message))
            }
        }
    }

    /// The results file: a run writes it, the notebook reads it.
    pub fn results(&self) -> Result<PathBuf> {
        Ok(self.target()?.join("experiments/results.json"))
    }

    /// The experiments, in the order of their numbers.
    pub fn experiments(&self) -> Result<Vec<Source>> {
        let files = names(&self.path("experiments/src/bin"))?;
        let binaries = files.iter().filter_map(|file| file.strip_suffix(".rs"));
        let mut sources: Vec<_> = binaries.filter_map(Source::named).collect();
        sources.sort();
        for pair in sources.windows(2) {
            if let [one, other] = pair
                && one.id == other.id
            {
                let (one, other) = (&one.binary, &other.binary);
                let message = format!("{one} and {other} have the same number: rename one");
                return Err(Failure::Failed(message));
            }
        }
        Ok(sources)
    }
}

/// The package of these commands in the workspace around the current directory.
fn package_around() -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    let is_root = |folder: &&Path| {
        folder.join("xtask/Cargo.toml").is_file() && folder.join("experiments/src/bin").is_dir()
    };
    here.ancestors().find(is_root).map(|root| root.join("xtask"))
}

/// The names of the files in a folder, sorted; empty if there is no such folder.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let unreadable = || format!("cannot read {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(unreadable)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.context(unreadable)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn an_experiment_is_two_digits_and_a_name() {
        let source = Source::named("01_drop_context").unwrap();
        assert_eq!(source.title(), "01 drop-context");
        assert_eq!(source.page(), "01-drop-context.md");
        for other in ["main", "1_short", "001_long", "ab_letters", "01_", "01"] {
            assert_eq!(Source::named(other), None, "{other}");
        }
    }
}
