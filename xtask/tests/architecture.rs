//! What the chapter on the architecture says is so: who knows whom, and what holds of every package.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

/// From each package to those of the workspace that it knows.
type Known = BTreeMap<String, BTreeSet<String>>;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing for what is needed always.
    kind: Option<String>,
    /// Where it is, if it is not in a registry.
    path: Option<PathBuf>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The members of the workspace.
fn packages() -> Vec<Package> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let Metadata { packages } = serde_json::from_slice(&metadata.stdout).unwrap();
    assert!(!packages.is_empty());
    packages
}

/// What the manifests say, whatever a dependency is needed for.
fn declared() -> Known {
    let known = |package: Package| {
        let ours = package.dependencies.into_iter().filter(|it| it.path.is_some());
        (package.name, ours.map(|dependency| dependency.name).collect())
    };
    packages().into_iter().map(known).collect()
}

/// What the table of the chapter says: rows of a name, and of names or of `nobody`.
fn described() -> Known {
    let page = fs::read_to_string(root().join("docs/src/architecture.md")).unwrap();
    let table = page.split_once("| package | may know |").unwrap().1;
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
    rows.map(|row| {
        let (package, known) = row.split_once(" | ").unwrap();
        let names = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let [package] = &names(package)[..] else { panic!("{row}") };
        (package.clone(), names(known).into_iter().collect())
    })
    .collect()
}

#[test]
fn the_packages_know_those_whom_the_chapter_says_they_know_and_no_others() {
    assert_eq!(declared(), described(), "(manifests on the left, docs/src/architecture.md right)");
}

#[test]
fn dependencies_point_one_way() {
    let mut known = declared();
    // Whoever knows nobody that is left can be taken away; where all can, there is no circle.
    while let Some(last) =
        known.iter().find(|(_, whom)| whom.is_empty()).map(|(name, _)| name.clone())
    {
        known.remove(&last);
        for whom in known.values_mut() {
            whom.remove(&last);
        }
    }
    assert!(known.is_empty(), "in a circle: {known:?}");
}

#[test]
fn the_harness_and_the_commands_know_no_tokio_and_only_the_bench_knows_the_peers() {
    for Package { name, dependencies, .. } in packages() {
        let needs = |what: &str| {
            // `core` can be built with tokio-util, and says so.
            dependencies.iter().any(|it| it.name == what && it.kind.as_deref() != Some("dev"))
        };
        if matches!(&*name, "lab" | "xtask") {
            assert!(!needs("tokio"), "{name} depends on tokio");
        }
        for peer in ["async-shutdown", "tokio-graceful", "tokio-graceful-shutdown", "swansong"] {
            assert!(!needs(peer), "{name} depends on {peer}");
        }
    }
}

#[test]
fn every_package_is_held_to_the_lints_of_the_workspace() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for Package { name, manifest_path, .. } in packages() {
        let manifest = fs::read_to_string(manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} has lints of its own");
    }
}

/// Listings that are included from files are compiled there.
#[test]
fn every_listing_of_the_book_is_compiled() {
    let compiled = fs::read_to_string(root().join("experiments/src/pages.rs")).unwrap();
    let mut listings = 0;
    for entry in fs::read_dir(root().join("docs/src")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let here = fs::read_to_string(&path).unwrap().lines().filter(|it| *it == "```rust").count();
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(here == 0 || compiled.contains(&format!("\"{name}\"")), "{name} is not compiled");
        listings += here;
    }
    assert!(listings > 0);
}

#[test]
fn a_module_is_a_file_of_its_name() {
    fn look(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            assert!(!path.ends_with("mod.rs"), "{}", path.display());
            if path.is_dir() {
                look(&path);
            }
        }
    }
    for Package { manifest_path, .. } in packages() {
        look(&manifest_path.with_file_name("src"));
    }
}
