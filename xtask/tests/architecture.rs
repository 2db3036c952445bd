//! Checks the chapter on the architecture: the allowed dependencies, and the rules for every package.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

/// From each package to the packages of the workspace that it depends on.
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
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
    /// Whether `cargo test` builds it with its tests.
    test: bool,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or `None` for a normal dependency.
    kind: Option<String>,
    /// The path, unless it comes from a registry.
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

/// The dependencies in the manifests, of every kind. What `sundown` re-exports is tested under that name, so such
/// a package has it as a dev-dependency, which makes no cycle.
fn declared() -> Known {
    let known = |package: Package| {
        let is_facade = |it: &Dependency| it.name == "sundown" && it.kind.as_deref() == Some("dev");
        let is_kit = matches!(&*package.name, "core" | "leak-strategy" | "state-machine");
        let ours = package.dependencies.into_iter().filter(|it| it.path.is_some());
        let ours = ours.filter(|it| !(is_kit && is_facade(it)));
        (package.name, ours.map(|dependency| dependency.name).collect())
    };
    packages().into_iter().map(known).collect()
}

/// The table of the chapter: rows of a name, and of names or of `none`.
fn described() -> Known {
    let page = fs::read_to_string(root().join("docs/src/architecture.md")).unwrap();
    let table = page.split_once("| package | may depend on |").unwrap().1;
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
fn the_manifests_have_exactly_the_dependencies_of_the_chapter() {
    assert_eq!(declared(), described(), "(manifests on the left, docs/src/architecture.md right)");
}

#[test]
fn dependencies_point_one_way() {
    let cycle = cycles_in(declared());
    assert!(cycle.is_empty(), "a cycle: {cycle:?}");
}

/// A change of a line that has one makes it necessary to write that part of the patch again.
#[test]
fn the_defects_that_control_the_fuzzing_can_be_put_in() {
    let patch = "crates/fuzz/controls.patch";
    let checked =
        Command::new("git").args(["apply", "--check", patch]).current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{patch}: {said}");
}

/// Removes items without dependencies or without dependents, again and again. Returns the rest: the
/// cycles, and what lies between them.
fn cycles_in(mut known: Known) -> Known {
    loop {
        let others: BTreeSet<_> = known.values().flatten().cloned().collect();
        let is_at_an_end = |name: &String| known[name].is_empty() || !others.contains(name);
        let Some(end) = known.keys().find(|name| is_at_an_end(name)).cloned() else {
            return known;
        };
        known.remove(&end);
        for others in known.values_mut() {
            others.remove(&end);
        }
    }
}

/// A module is a file or a folder at the top of `src`; what is below it belongs to it. The root of a
/// crate knows all of them, and its re-exports stand for the modules that they come from.
#[test]
fn the_modules_of_a_crate_import_each_other_one_way() {
    let mut sources: Vec<_> =
        packages().iter().map(|package| package.manifest_path.with_file_name("src")).collect();
    sources.extend(
        ["bench", "check", "ffi", "python"]
            .map(|name| root().join("crates").join(name).join("src")),
    );
    let cycles: BTreeMap<_, _> =
        sources.iter().map(|source| (source, cycles_in(imports(source)))).collect();
    let cycles: Vec<_> = cycles.iter().filter(|(_, cycle)| !cycle.is_empty()).collect();
    assert!(cycles.is_empty(), "import cycles: {cycles:#?}");
}

/// From each module of a crate to those that it imports.
fn imports(source: &Path) -> Known {
    let mut files = Vec::new();
    rust_files(source, &mut files);
    let (mut modules, mut root) = (Vec::new(), String::new());
    for file in files {
        let below = file.strip_prefix(source).unwrap().with_extension("");
        let path: Vec<_> = below.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        let text = without_comments_and_tests(&fs::read_to_string(&file).unwrap());
        match &*path[0] {
            "bin" => {}
            "lib" | "main" if path.len() == 1 => root.push_str(&text),
            _ => modules.push((path, text)),
        }
    }
    let names: BTreeSet<_> = modules.iter().map(|(path, _)| path[0].clone()).collect();
    let mut known: Known = names.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for (path, text) in &modules {
        for name in imported(path, text) {
            // A name that is no module is re-exported from one, or defined in the root.
            let of_root = || names.iter().find(|module| exports(&root, module, &name)).cloned();
            let module = if names.contains(&name) { Some(name.clone()) } else { of_root() };
            known.get_mut(&path[0]).unwrap().extend(module.filter(|module| *module != path[0]));
        }
    }
    known
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// As rustfmt lays it out: a module of tests ends with the first brace at the beginning of a line.
fn without_comments_and_tests(text: &str) -> String {
    let (mut code, mut in_tests, mut for_tests) = (String::new(), false, false);
    for line in text.lines() {
        in_tests |= for_tests && line.starts_with("mod ") && line.ends_with('{');
        for_tests = line.starts_with("#[cfg(") && line.contains("test")
            || for_tests && (line.starts_with("#[") || line.starts_with("///"));
        if !in_tests && !line.trim_start().starts_with("//") {
            code.extend([line, "\n"]);
        }
        in_tests &= line != "}";
    }
    code
}

/// The names at the root of the crate that the text of this module begins a path with.
fn imported(path: &[String], text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // `super::`, as often as it leads from this module to the root.
    for to_root in ["crate::".to_owned(), "super::".repeat(path.len())] {
        for (at, _) in text.match_indices(&to_root) {
            let before = text.get(..at).unwrap().chars().next_back();
            let is_word = before.is_some_and(|last| last.is_alphanumeric() || "_:".contains(last));
            if !is_word {
                names.extend(first_names(text.get(at + to_root.len()..).unwrap()));
            }
        }
    }
    names
}

/// `a` of `a::b`, and `a` and `c` of `{a::b, c::{d, e}}`.
fn first_names(path: &str) -> Vec<String> {
    let first = |path: &str| {
        let path = path.trim_start();
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
        path.get(..end).unwrap().to_owned()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![first(path)] };
    let (mut names, mut depth) = (vec![first(group)], 0);
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first(group.get(at + 1..).unwrap())),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Whether the root of a crate re-exports this name from this module.
fn exports(root: &str, module: &str, name: &str) -> bool {
    let statements = root.split(';').filter_map(|it| it.split_once("use ")).map(|(_, it)| it);
    let of_module = statements.filter_map(|it| it.strip_prefix(module)?.strip_prefix("::"));
    let mut words = of_module.flat_map(|it| it.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.any(|word| word == name)
}

#[test]
fn the_imports_of_a_module_are_read_as_rustfmt_writes_them() {
    let text = "\
use crate::{
    limit::{until, within},
    park,
    sync::{Mutex, lock},
};
// use crate::comment;
use super::{TaskSet, registry::Slot};

fn f() -> crate::latch::Latch {
    super::super::gate::open($crate::flag!(), other_crate::it)
}

#[cfg(all(test, not(loom)))]
#[allow(unused, reason = \"a test\")]
mod tests {
    use crate::only_for_tests;
}

use crate::shutdown::list;
";
    let text = without_comments_and_tests(text);
    let path = ["task_set", "member"].map(str::to_owned);
    let expected = ["flag", "gate", "latch", "limit", "park", "shutdown", "sync"];
    assert_eq!(imported(&path, &text).into_iter().collect::<Vec<_>>(), expected);
    let root = "mod a;\npub use flag::Flag;\npub use task_set::stop;\npub use gate::{\n    Commit, Entry,\n};";
    assert!(exports(root, "flag", "Flag") && exports(root, "task_set", "stop"));
    assert!(exports(root, "gate", "Entry") && !exports(root, "gate", "Flag"));
}

#[test]
fn lab_and_xtask_do_not_depend_on_tokio_and_only_the_bench_depends_on_peers() {
    for Package { name, dependencies, .. } in packages() {
        let needs = |what: &str| {
            // `core` has an optional dependency on tokio-util, which is therefore not in the list below.
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
fn every_package_has_the_lints_of_the_workspace() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for Package { name, manifest_path, .. } in packages() {
        let manifest = fs::read_to_string(manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} has lints of its own");
    }
}

/// What has no tests is not built for them, which saves a newcomer seconds. A test there would never run.
#[test]
fn no_test_is_in_a_target_that_is_not_tested() {
    let mut untested = 0;
    for target in packages().into_iter().flat_map(|package| package.targets) {
        let mut files = vec![target.src_path.clone()];
        match &*target.kind[0] {
            _ if target.test => continue,
            "lib" => rust_files(target.src_path.parent().unwrap(), &mut files),
            "bin" => {}
            _ => continue,
        }
        untested += 1;
        for file in files {
            let has_test =
                fs::read_to_string(&file).unwrap().lines().any(|it| it.trim() == "#[test]");
            assert!(!has_test, "{}: `test = false` in its manifest", file.display());
        }
    }
    assert!(untested > 0);
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

/// Its users copy them, and the kit needs Rust 1.85. That Rust does not compile their dependencies here, so it cannot say.
#[test]
fn no_program_of_the_kit_has_a_chain_of_lets_which_needs_rust_1_88() {
    let folders =
        ["core", "leak-strategy"].map(|it| root().join("crates").join(it).join("examples"));
    let mut programs = Vec::new();
    folders.iter().for_each(|folder| rust_files(folder, &mut programs));
    assert!(!programs.is_empty());
    for program in programs {
        let text = fs::read_to_string(&program).unwrap();
        let chained = text.lines().find(|line| line.contains("&& let "));
        assert_eq!(chained, None, "{}", program.display());
    }
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
