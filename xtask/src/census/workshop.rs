//! Where the census is built: in the workspace as it is locked, or in a copy with other versions.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lab::interrupt::Interrupt;
use rustix::process::Signal;
use serde::Deserialize;
use toml::{Table, Value};

use crate::{
    child,
    failure::{Context as _, Failure, Result},
    flags, output,
    workspace::{self, Workspace},
};

/// The package.
pub const PACKAGE: &str = "crates/census";

/// A folder with the package.
pub struct Workshop {
    pub folder: PathBuf,
    pub target: PathBuf,
    is_a_copy: bool,
}

impl Workshop {
    pub fn of(flags: &flags::Census, workspace: &Workspace, interrupt: &Interrupt) -> Result<Self> {
        let target = workspace.target()?.join("census");
        if !flags.update && flags.patch.is_empty() {
            return Ok(Self { folder: workspace.path(PACKAGE), target, is_a_copy: false });
        }
        let shop = Self { folder: target.join("copy"), target, is_a_copy: true };
        let mut patched = Table::new();
        for patch in &flags.patch {
            let folder = shop.patched(patch, workspace)?.display().to_string();
            let path = Table::from_iter([("path".to_owned(), folder.into())]);
            patched.insert(patch.name.clone(), Value::Table(path));
        }
        shop.copy(flags.update, patched, workspace)?;
        if flags.update {
            shop.cargo(workspace, interrupt, &["update"])?;
        }
        if !flags.patch.is_empty() {
            shop.cargo(workspace, interrupt, &["fetch"])?;
        }
        for patch in &flags.patch {
            // A patch that nobody uses would show that nothing changes.
            if !uses_patch(&shop.folder, &patch.name)? {
                return Err(Failure::Failed(format!(
                    "nothing depends on {} in the version that {} has: set the version of a locked release there",
                    patch.name,
                    patch.from.display()
                )));
            }
        }
        Ok(shop)
    }

    pub const fn is_a_copy(&self) -> bool {
        self.is_a_copy
    }

    pub fn manifest(&self) -> PathBuf {
        self.folder.join("Cargo.toml")
    }

    /// The versions of a package in the lock file.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        versions(&self.folder, package)
    }

    fn copy(&self, newer: bool, patched: Table, workspace: &Workspace) -> Result<()> {
        let from = workspace.path(PACKAGE);
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        copy(&from.join("src"), &self.folder.join("src"))?;
        fs::copy(from.join("Cargo.lock"), self.folder.join("Cargo.lock"))?;
        let text = fs::read_to_string(from.join("Cargo.toml"))?;
        let mut manifest: Table = text.parse().context(|| format!("{PACKAGE}/Cargo.toml"))?;
        if let Some(Value::Table(dependencies)) = manifest.get_mut("dependencies") {
            for (_, dependency) in dependencies.iter_mut() {
                changed(dependency, newer, &from)?;
            }
        }
        let patched = Table::from_iter([("crates-io".to_owned(), Value::Table(patched))]);
        manifest.insert("patch".to_owned(), Value::Table(patched));
        fs::write(self.manifest(), toml::to_string(&manifest)?)?;
        Ok(())
    }

    /// The folder that takes the place of a release: the one that is named, or a copy of the release with the diff.
    fn patched(&self, patch: &flags::Patch, workspace: &Workspace) -> Result<PathBuf> {
        let from = fs::canonicalize(&patch.from)
            .context(|| format!("cannot find {}", patch.from.display()))?;
        if from.is_dir() {
            return Ok(from);
        }
        let (name, version) = (&patch.name, locked_version(patch, workspace)?);
        let folder = self.target.join("patched").join(format!("{name}-{version}"));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        copy(&release(name, &version, workspace)?, &folder)?;
        let mut git = Command::new("git");
        git.arg("apply").arg(&from).current_dir(&folder);
        // The folder is no part of this repository, whose ignored files git would pass over.
        git.env("GIT_CEILING_DIRECTORIES", self.target.join("patched"));
        let output = git.output().context(|| "cannot start git (is it on PATH?)")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let from = from.display();
            return Err(Failure::Failed(format!(
                "{from} does not apply to {name} {version}: {said}"
            )));
        }
        Ok(folder)
    }

    fn cargo(&self, workspace: &Workspace, interrupt: &Interrupt, words: &[&str]) -> Result<()> {
        output::note(&format!("cargo {}", words.join(" ")));
        let mut cargo = workspace.cargo();
        cargo.args(words).arg("--manifest-path").arg(self.manifest());
        let status = child::wait(&mut cargo.spawn()?, interrupt, Signal::INT)?;
        match status.success() {
            _ if interrupt.raised() => Err(Failure::Interrupted),
            true => Ok(()),
            false => Err(Failure::Failed(format!("`cargo {}` failed", words.join(" ")))),
        }
    }
}

/// The version that a diff is of.
pub fn locked_version(patch: &flags::Patch, workspace: &Workspace) -> Result<String> {
    let name = &patch.name;
    let locked = versions(&workspace.path(PACKAGE), name)?;
    match (&patch.version, &locked[..]) {
        (Some(version), _) if locked.contains(version) => Ok(version.clone()),
        (None, [version]) => Ok(version.clone()),
        (_, []) => Err(Failure::Usage(format!("{PACKAGE}/Cargo.lock has no {name}"))),
        (_, [first, ..]) => Err(Failure::Usage(format!(
            "{PACKAGE}/Cargo.lock has {name} {}: say which, as in {name}@{first}=…",
            locked.join(" and "),
        ))),
    }
}

/// Where cargo keeps the files of a locked release.
fn release(name: &str, version: &str, workspace: &Workspace) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        source: Option<String>,
        manifest_path: PathBuf,
    }
    let mut cargo = workspace.cargo();
    let manifest = workspace.path(PACKAGE).join("Cargo.toml");
    cargo.args(["metadata", "--locked", "--format-version", "1", "--manifest-path"]).arg(manifest);
    let output = cargo.output().context(|| "cannot start cargo (is it on PATH?)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::Failed(format!("`cargo metadata` of {PACKAGE} failed: {said}")));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let is_it = |it: &Package| it.name == name && it.version == version && it.source.is_some();
    let found = metadata.packages.into_iter().find(is_it);
    let folder = found.and_then(|it| it.manifest_path.parent().map(Path::to_owned));
    folder.ok_or_else(|| Failure::Failed(format!("cargo does not say where {name} {version} is")))
}

/// A dependency of the copy: paths are absolute, and with `newer` a version is the least and not the only one.
fn changed(dependency: &mut Value, newer: bool, from: &Path) -> Result<()> {
    let newest = |version: &str| version.trim_start_matches('=').to_owned();
    match dependency {
        Value::String(version) if newer => *version = newest(version),
        Value::Table(table) => {
            if let Some(Value::String(path)) = table.get_mut("path") {
                *path = fs::canonicalize(from.join(&*path))?.display().to_string();
            }
            if let Some(Value::String(version)) = table.get_mut("version")
                && newer
            {
                *version = newest(version);
            }
        }
        _ => {}
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for name in workspace::names(from)? {
        let (from, to) = (from.join(&name), to.join(&name));
        match from.is_dir() {
            true => copy(&from, &to)?,
            false => drop(fs::copy(from, to)?),
        }
    }
    Ok(())
}

/// The crates that the package depends on, by their own names.
pub fn crates(workspace: &Workspace) -> Result<Vec<String>> {
    let path = workspace.path(PACKAGE).join("Cargo.toml");
    let text = fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
    let manifest: Table = text.parse().context(|| path.display().to_string())?;
    let dependencies = manifest.get("dependencies").and_then(Value::as_table).into_iter().flatten();
    let own = |it: &Value| it.get("package")?.as_str().map(str::to_owned);
    Ok(dependencies.map(|(name, it)| own(it).unwrap_or_else(|| name.clone())).collect())
}

/// The digest of what a text uses of the folder's dependencies: how the manifest asks for each, and the locked version
/// of each and of all that it needs itself. Nothing without a lock file. A dependency counts as used if its name stands
/// in the text. A package in a folder does not count, nor does what it needs.
pub fn used(folder: &Path, text: &str) -> Result<Option<String>> {
    let (lock, manifest) = (folder.join("Cargo.lock"), folder.join("Cargo.toml"));
    let (Ok(lock), Ok(manifest)) = (fs::read_to_string(lock), fs::read_to_string(manifest)) else {
        return Ok(None);
    };
    let lock: Table = lock.parse().context(|| format!("{}/Cargo.lock", folder.display()))?;
    let manifest: Table =
        manifest.parse().context(|| format!("{}/Cargo.toml", folder.display()))?;
    let words: BTreeSet<_> =
        text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_').collect();
    let dependencies = manifest.get("dependencies").and_then(Value::as_table).into_iter().flatten();
    let is_used = |name: &str| words.contains(&*name.replace('-', "_"));
    let dependencies: Vec<_> = dependencies.filter(|(name, _)| is_used(name)).collect();
    let packages: Vec<_> =
        lock.get("package").and_then(Value::as_array).into_iter().flatten().collect();
    let said = |it: &Value, what: &str| it.get(what).and_then(Value::as_str).map(str::to_owned);
    let mut parts = BTreeSet::new();
    let mut open: Vec<String> = Vec::new();
    for (name, dependency) in dependencies {
        parts.insert(format!("{name} = {dependency}"));
        open.push(said(dependency, "package").unwrap_or_else(|| name.clone()));
    }
    // A name is written with its version where the lock file has several.
    while let Some(needed) = open.pop() {
        let mut needed = needed.split(' ');
        let (name, version) = (needed.next(), needed.next());
        for package in &packages {
            let (its, its_version) = (said(package, "name"), said(package, "version"));
            let is_it =
                its.as_deref() == name && (version.is_none() || its_version.as_deref() == version);
            if !is_it || package.get("source").is_none() {
                continue;
            }
            let checksum = said(package, "checksum").unwrap_or_default();
            let (its, its_version) = (its.unwrap_or_default(), its_version.unwrap_or_default());
            if parts.insert(format!("{its} {its_version} {checksum}")) {
                let needs = package.get("dependencies").and_then(Value::as_array);
                let needs = needs.into_iter().flatten().filter_map(Value::as_str);
                open.extend(needs.map(str::to_owned));
            }
        }
    }
    let parts: Vec<_> = parts.into_iter().collect();
    Ok(Some(format!("{:08x}", crc32fast::hash(parts.join("\n").as_bytes()))))
}

/// The versions of a package in the lock file of a folder.
pub fn versions(folder: &Path, package: &str) -> Result<Vec<String>> {
    let locked = locked(folder, package)?;
    Ok(locked.iter().filter_map(|it| it.get("version")?.as_str().map(str::to_owned)).collect())
}

/// Whether the lock file has a package from a folder, and not from a registry.
fn uses_patch(folder: &Path, package: &str) -> Result<bool> {
    Ok(locked(folder, package)?.iter().any(|it| it.get("source").is_none()))
}

fn locked(folder: &Path, package: &str) -> Result<Vec<Value>> {
    let path = folder.join("Cargo.lock");
    let text = fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
    let lock: Table = text.parse().context(|| path.display().to_string())?;
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    let named = packages.filter(|it| it.get("name").and_then(Value::as_str) == Some(package));
    Ok(named.cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_loosens_exact_versions_and_a_patch_does_not() {
        let of = |text: &str, newer| {
            let mut table: Table = format!("it = {text}").parse().unwrap();
            changed(table.get_mut("it").unwrap(), newer, Path::new("/")).unwrap();
            table.remove("it").unwrap()
        };
        assert_eq!(of("'=1.2.3'", true), Value::from("1.2.3"));
        assert_eq!(of("'=1.2.3'", false), Value::from("=1.2.3"));
        assert_eq!(of("{ version = '=1.2.3' }", true).get("version"), Some(&"1.2.3".into()));
        assert_eq!(of("{ path = 'tmp/..' }", false).get("path"), Some(&"/".into()));
    }

    #[test]
    fn a_lock_file_may_have_two_versions() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\n[[package]]\nname = \"a\"\nversion = \"2.0.0\"\n";
        fs::write(folder.path().join("Cargo.lock"), text).unwrap();
        assert_eq!(versions(folder.path(), "a").unwrap(), ["1.0.0", "2.0.0"]);
    }

    #[test]
    fn a_patch_that_nobody_uses_is_told_from_one_that_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry\"\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\n[[patch.unused]]\nname = \"a\"\nversion = \"2.0.0\"\n";
        fs::write(folder.path().join("Cargo.lock"), text).unwrap();
        assert!(!uses_patch(folder.path(), "a").unwrap());
        assert!(uses_patch(folder.path(), "b").unwrap());
    }
}
