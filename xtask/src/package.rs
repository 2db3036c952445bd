//! `cargo xtask package`: the kit as a registry would get it.
//!
//! A registry has no room for a package called `core`, and a package there depends on others by their versions. So
//! this copies the packages of the kit into a workspace of their own, under names that a registry accepts.

use std::{
    fs, io,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use lab::interrupt::Interrupt;
use rustix::process::Signal;
use toml::{Table, Value};

use crate::{
    child,
    failure::{Context as _, Failure, Result},
    flags, output, results,
    workspace::{self, Workspace},
};

/// Each package of the kit: its folder in `crates`, and its name in a registry. In the order of their dependencies.
const PACKAGES: [(&str, &str); 5] = [
    ("macros", "sundown-macros"),
    ("core", "sundown-core"),
    ("state-machine", "sundown-logout"),
    ("leak-strategy", "sundown-exit"),
    ("sundown", "sundown"),
];

/// What only a build inside this workspace needs.
const NOT_PUBLISHED: [&str; 4] = ["dev-dependencies", "bench", "example", "test"];

/// The first line of the workspace that this command writes.
const WRITTEN_HERE: &str = "# Written by `cargo xtask package`.\n";

/// What cargo prints if it cannot reach the registry.
const UNREACHABLE: [&str; 4] =
    ["download of config.json failed", "failed to fetch", "network failure", "unable to update"];

pub fn run(flags: &flags::Package, workspace: &Workspace) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let folder = match &flags.folder {
        Some(folder) if !workspace::names(folder)?.is_empty() && !is_ours(folder) => {
            let folder = folder.display();
            return Err(Failure::Usage(format!(
                "{folder} holds files of others, which this command would replace: name a new or an empty folder"
            )));
        }
        Some(folder) => folder.clone(),
        None => workspace.target()?.join("publish"),
    };
    results::check_folder(&folder).context(|| format!("cannot write to {}", folder.display()))?;
    fs::remove_dir_all(folder.join("crates")).or_else(may_be_missing)?;
    stage(workspace, &folder)?;
    // Cargo runs in the workspace, wherever this command does.
    let folder = fs::canonicalize(folder)?;
    let manifest = folder.join("Cargo.toml");
    // New each time: cargo unpacks a package that others depend on into its home, once for each target folder and
    // version, and would build the others on what an earlier run packaged.
    let target = tempfile::tempdir_in(&folder)?;
    let cargo = |arguments: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.args(arguments).arg("--manifest-path").arg(&manifest);
        cargo.arg("--target-dir").arg(target.path());
        cargo.args(["--workspace", "--allow-dirty"]);
        cargo
    };
    // Builds every package from the files that it has in the registry.
    let offline: &[&str] = if flags.offline { &["--offline"] } else { &[] };
    let said = run_cargo(cargo(&[&["package"], offline].concat()), &interrupt)?;
    if let Err(said) = said {
        return Err(Failure::Failed(said));
    }
    if flags.offline {
        output::note("skipped: cargo publish --dry-run needs the registry");
    } else if let Err(said) =
        run_cargo(cargo(&["publish", "--dry-run", "--no-verify"]), &interrupt)?
    {
        match UNREACHABLE.iter().any(|it| said.contains(it)) {
            true => output::note("skipped: cargo publish --dry-run cannot reach the registry"),
            false => return Err(Failure::Failed(said)),
        }
    }
    let built = target.path().join("package");
    for name in workspace::names(&built)?.iter().filter(|name| name.ends_with(".crate")) {
        let packaged = folder.join(name);
        fs::rename(built.join(name), &packaged)?;
        output::print(&format!("{}\n", packaged.display()));
    }
    output::note(&format!(
        "to publish these: cargo publish --workspace --manifest-path {}",
        manifest.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Runs cargo, and returns what it printed if it failed.
fn run_cargo(mut cargo: Command, interrupt: &Interrupt) -> Result<Result<(), String>> {
    let shown = cargo.get_args().take_while(|it| *it != "--manifest-path");
    let shown = shown.map(|it| it.to_string_lossy()).collect::<Vec<_>>();
    output::note(&format!("cargo {}", shown.join(" ")));
    // To a file, so that no pipe can fill up.
    let log = tempfile::NamedTempFile::new()?;
    let mut child = cargo.stdin(Stdio::null()).stderr(log.reopen()?).spawn()?;
    let status = child::wait(&mut child, interrupt, Signal::INT)?;
    if interrupt.raised() {
        return Err(Failure::Interrupted);
    }
    let said = fs::read_to_string(log.path())?;
    Ok(if status.success() { Ok(()) } else { Err(said) })
}

fn may_be_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Whether this command wrote the workspace in this folder.
fn is_ours(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.starts_with(WRITTEN_HERE))
}

/// Writes the workspace that can be published.
fn stage(workspace: &Workspace, folder: &Path) -> Result<()> {
    let read = |below: &str| -> Result<Table> {
        let text = fs::read_to_string(workspace.path(below)).context(|| below.to_owned())?;
        text.parse().context(|| below.to_owned())
    };
    let mut root = read("Cargo.toml")?;
    publishable_workspace(&mut root);
    fs::create_dir_all(folder)?;
    fs::write(folder.join("Cargo.toml"), WRITTEN_HERE.to_owned() + &toml::to_string(&root)?)?;
    // The versions that everything is tested with.
    fs::copy(workspace.path("Cargo.lock"), folder.join("Cargo.lock"))?;
    for (package, name) in PACKAGES {
        let (from, to) = (format!("crates/{package}"), folder.join("crates").join(package));
        let mut manifest = read(&format!("{from}/Cargo.toml"))?;
        publishable_package(&mut manifest, name);
        copy(&workspace.path(&from).join("src"), &to.join("src"))?;
        fs::write(to.join("Cargo.toml"), toml::to_string(&manifest)?)?;
        for file in ["README.md", "CHANGELOG.md"] {
            fs::copy(workspace.path("crates/sundown").join(file), to.join(file))?;
        }
        fs::copy(workspace.path("LICENSE"), to.join("LICENSE"))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for name in workspace::names(from)? {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

fn table<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Table> {
    table.get_mut(key)?.as_table_mut()
}

/// Only the kit, and each of its packages under its name in the registry, in exactly this version: they use what
/// they hide from others.
fn publishable_workspace(root: &mut Table) {
    root.remove("profile");
    let Some(workspace) = table(root, "workspace") else { return };
    workspace.remove("exclude");
    let members = PACKAGES.map(|(package, _)| Value::from(format!("crates/{package}")));
    workspace.insert("members".to_owned(), Value::Array(members.into()));
    let mut version = None;
    if let Some(package) = table(workspace, "package") {
        package.remove("publish");
        version = package.get("version").and_then(Value::as_str).map(|it| format!("={it}"));
    }
    let Some(dependencies) = table(workspace, "dependencies") else { return };
    dependencies.retain(|_, dependency| {
        let Some(dependency) = dependency.as_table_mut() else { return true };
        let Some(path) = dependency.get("path").and_then(Value::as_str) else { return true };
        let package = PACKAGES.iter().find(|(folder, _)| path == format!("crates/{folder}"));
        let Some((_, name)) = package else { return false };
        dependency.insert("package".to_owned(), (*name).into());
        dependency.extend(version.clone().map(|it| ("version".to_owned(), it.into())));
        true
    });
}

fn publishable_package(manifest: &mut Table, name: &str) {
    if let Some(package) = table(manifest, "package") {
        package.insert("name".to_owned(), name.into());
        package.remove("publish");
    }
    if let Some(targets) = table(manifest, "target") {
        for (_, target) in targets.iter_mut() {
            target.as_table_mut().and_then(|it| it.remove("dev-dependencies"));
        }
    }
    for key in NOT_PUBLISHED {
        manifest.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_depends_on_the_others_by_the_names_of_the_registry() {
        let mut root: Table = "\
            [workspace]\nmembers = [\"crates/core\", \"xtask\"]\n\
            [workspace.package]\nversion = \"1.2.3\"\npublish = false\n\
            [workspace.dependencies]\n\
            sundown-core = { package = \"core\", path = \"crates/core\" }\n\
            lab = { path = \"crates/lab\" }\ntokio = \"1\"\n"
            .parse()
            .unwrap();
        publishable_workspace(&mut root);
        let workspace = root["workspace"].as_table().unwrap();
        assert!(workspace["package"].get("publish").is_none());
        assert_eq!(workspace["members"].as_array().unwrap().len(), PACKAGES.len());
        let dependencies = workspace["dependencies"].as_table().unwrap();
        assert_eq!(dependencies.keys().collect::<Vec<_>>(), ["sundown-core", "tokio"]);
        let core = &dependencies["sundown-core"];
        assert_eq!(core["package"].as_str(), Some("sundown-core"));
        assert_eq!(core["version"].as_str(), Some("=1.2.3"));
    }

    #[test]
    fn nothing_that_only_tests_need_is_published() {
        let mut manifest: Table = "\
            [package]\nname = \"core\"\npublish.workspace = true\n\
            [dev-dependencies]\nsundown.workspace = true\n\
            [target.'cfg(unix)'.dev-dependencies]\nfork = \"1\"\n\
            [target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n\
            [[test]]\nname = \"it\"\n"
            .parse()
            .unwrap();
        publishable_package(&mut manifest, "sundown-core");
        let left = toml::to_string(&manifest).unwrap();
        let expected = "[package]\nname = \"sundown-core\"\n\n\
                        [target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n";
        assert_eq!(left.parse::<Table>().unwrap(), expected.parse().unwrap(), "{left}");
    }
}
