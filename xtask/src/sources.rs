//! The files that an experiment's results are about, each with a digest: so that a page can be found
//! that is older than its experiment.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::workspace::{self, Source, Workspace};

const RUST: &str = "experiments/src";
const SERVERS: &str = "experiments/servers/src";
const PYTHON: &str = "experiments/python";
const REAL_SDK: &str = "crates/real-sdk/src";

/// What experiments on the real SDK use; with what reads the arguments of its programs, and what these are built
/// with.
const USES_THE_REAL_SDK: &str = "experiments/src/real_sdk.rs";
const REAL_SDK_FILES: [&str; 3] = [
    "crates/real-sdk/src/main.rs",
    "crates/real-sdk/sdk-0.13/Cargo.toml",
    "crates/real-sdk/sdk-0.18/Cargo.toml",
];

/// The owners that the mock has, which an experiment compares with those of the SDK.
const OWNERS: (&str, &str) = ("mock_sdk::owners::", "crates/mock-sdk/src/owners.rs");

/// A digest of each file that the experiment is made of: its own source, every module of the package that
/// it uses, through whatever other module; the files that these include; and the programs that they name:
/// in Python, around the real SDK, or packages of the workspace, each with its own modules; and what the mock says
/// of the SDK's owners, where that is compared with the SDK. Comments, white space and declarations of modules do not
/// count.
/// What the experiment tests does not count either, nor does the lab: the snapshots notice when a change
/// there changes a result.
pub fn digests(workspace: &Workspace, source: &Source) -> BTreeMap<String, String> {
    of_files(workspace.root(), &format!("{RUST}/bin/{}.rs", source.binary))
}

fn of_files(root: &Path, first: &str) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    let mut open = BTreeSet::from([first.to_owned()]);
    while let Some(path) = open.pop_first() {
        let Ok(text) = fs::read_to_string(root.join(&path)) else { continue };
        // The parts of a module are in a folder of its name.
        if let Some(folder) = path.strip_suffix(".rs") {
            let parts = workspace::names(&root.join(folder)).unwrap_or_default();
            open.extend(parts.into_iter().map(|part| format!("{folder}/{part}")));
        }
        let code = without_comments(&text);
        let mut named = match path.strip_suffix(".py") {
            Some(_) => python_imports(&code),
            None => named_in_rust(&path, &code),
        };
        if path == USES_THE_REAL_SDK {
            named.extend(REAL_SDK_FILES.map(str::to_owned));
        }
        if code.contains(OWNERS.0) {
            named.push(OWNERS.1.to_owned());
        }
        named.retain(|path| !digests.contains_key(path));
        digests.insert(path, digest(&code));
        open.extend(named);
    }
    digests
}

/// The digest of one file; nothing if it cannot be read.
pub fn of_file(path: &Path) -> Option<String> {
    Some(digest(&without_comments(&fs::read_to_string(path).ok()?)))
}

/// The modules of its crate that a source names, as files of its folder `src`.
pub fn modules_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path)
        .map_or(Vec::new(), |text| modules(&without_comments(&text), "crate::", "src"))
}

/// The modules and files that a source names, as paths that may not exist.
fn named_in_rust(path: &str, code: &str) -> Vec<String> {
    let (folder, _) = path.rsplit_once('/').unwrap_or_default();
    // A program in `bin` is a crate beside the library.
    let own = folder.split_inclusive("src").next().unwrap_or(folder);
    let mut named = modules(code, "crate::", own);
    if [RUST, SERVERS].contains(&own) {
        named.push(format!("{own}/lib.rs"));
        named.extend(modules(code, "experiments::", RUST));
        named.extend(modules(code, "servers::", SERVERS));
    }
    // Every second piece is in quotation marks, unless a mark is itself quoted: so look at all of them.
    let names = code.split('"').filter(|it| !it.is_empty() && !it.contains(char::is_whitespace));
    for name in names {
        named.extend(relative(folder, name));
        named.extend(match name.rsplit_once('.') {
            Some((_, "py")) => vec![format!("{PYTHON}/{name}")],
            Some((_, "rs")) if !name.contains('/') => vec![format!("{REAL_SDK}/{name}")],
            _ => vec![format!("{name}/src/main.rs")],
        });
    }
    named
}

/// The modules behind each `crate::` or the like, which may be a group, as files of this folder.
fn modules(code: &str, root: &str, folder: &str) -> Vec<String> {
    let imports = code.split(root).skip(1).flat_map(first_words);
    imports.map(|name| format!("{folder}/{name}.rs")).collect()
}

/// A path that is meant from a folder, as of an included file, from the root of the workspace.
fn relative(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<_> = folder.split('/').collect();
    for part in path.split('/') {
        match part {
            "" => return None,
            "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The first name of a path, or of each path in a group: `a` of `a::{b, c}`, and `a` and `b` of
/// `{a::{c, d}, b}`.
fn first_words(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else {
        return path.split(|it| !of_a_name(it)).take(1).collect();
    };
    let (mut depth, mut at) = (0_usize, 0);
    let mut items = Vec::new();
    for (place, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                items.extend(group.get(at..place));
                at = place + 1;
                if character == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    items.into_iter().filter_map(|item| words(item).next()).collect()
}

/// The modules that a program imports, as paths that may not exist.
fn python_imports(code: &str) -> Vec<String> {
    let imported = code.lines().filter_map(|line| {
        let line = line.trim();
        line.strip_prefix("import ").or_else(|| line.strip_prefix("from "))
    });
    imported.filter_map(|it| words(it).next()).map(|it| format!("{PYTHON}/{it}.py")).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character| !of_a_name(character)).filter(|word| !word.is_empty())
}

fn of_a_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The lines of a source that are neither comments nor declarations of modules, which are in files of
/// their own.
fn without_comments(text: &str) -> String {
    let is_module = |line: &str| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ").is_some_and(|rest| rest.ends_with(';'))
    };
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|it| !it.starts_with("//") && !it.starts_with("# ") && !is_module(it));
    lines.collect::<Vec<_>>().join("\n")
}

fn digest(code: &str) -> String {
    let words: Vec<_> = code.split_whitespace().collect();
    format!("{:08x}", crc32fast::hash(words.join(" ").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_ignores_comments_layout_and_the_list_of_modules_and_nothing_else() {
        let of = |text| digest(&without_comments(text));
        let first = of("//! A head.\npub mod other;\nfn main() {\n    run(1)\n}\n");
        assert_eq!(first, of("fn main() { run(1) }"));
        assert_ne!(first, of("fn main() { run(2) }"));
    }

    #[test]
    fn a_change_in_any_file_that_an_experiment_is_made_of_changes_its_digests() {
        let files = [
            (
                "experiments/src/bin/01_a.rs",
                "use experiments::{\n    one::{Manager, steps},\n    prelude::*,\n    real_sdk,\n};\nconst LOCK: &str = include_str!(\"../../locks/a.lock\");\nfn trial() { becomes('\"', \"exit.py\"); built(\"experiments/overhead\"); real_sdk::becomes(\"close.rs\"); experiments::inline::call(); servers::web::serve(); mock_sdk::owners::OWNERS }",
            ),
            ("experiments/src/lib.rs", "pub mod one;\npub const PLENTY: u32 = 1;"),
            ("experiments/src/prelude.rs", "pub use crate::scene::Scene;"),
            ("experiments/src/scene.rs", "pub struct Scene;"),
            ("experiments/src/inline.rs", "pub fn call() {}"),
            ("experiments/servers/src/lib.rs", "pub mod web;\npub const PORT: u16 = 0;"),
            ("experiments/servers/src/web.rs", "use experiments::four::Four;"),
            ("experiments/src/four.rs", "pub struct Four;"),
            ("experiments/src/real_sdk.rs", "pub fn becomes() {}"),
            ("experiments/src/one.rs", "mod part;\nuse crate::two::Two;"),
            ("experiments/src/one/part.rs", "fn part() { crate::three::call() }"),
            ("experiments/src/two.rs", "pub struct Two;"),
            ("experiments/src/three.rs", "pub fn call() {}"),
            ("experiments/locks/a.lock", "version = 4"),
            ("experiments/python/exit.py", "from designs import static"),
            ("experiments/python/designs.py", "import sys"),
            (
                "experiments/overhead/src/main.rs",
                "#[path = \"../../src/two.rs\"]\nmod two;\nuse crate::own;",
            ),
            ("experiments/overhead/src/own.rs", "fn own() {}"),
            ("crates/real-sdk/src/close.rs", "use crate::work::{LOBBY, Setting};"),
            ("crates/real-sdk/src/work.rs", "pub struct Setting;"),
            ("crates/real-sdk/src/main.rs", "mod close;"),
            ("crates/real-sdk/sdk-0.13/Cargo.toml", "path = \"../src/main.rs\""),
            ("crates/real-sdk/sdk-0.18/Cargo.toml", "default = [\"pause\"]"),
            ("crates/mock-sdk/src/owners.rs", "pub const OWNERS: [u8; 0] = [];"),
        ];
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        files.iter().for_each(|(path, text)| write(path, text));
        write("experiments/src/unused.rs", "fn unused() {}");
        let of = || of_files(root.path(), files[0].0);
        let before = of();
        let expected: BTreeSet<_> = files.iter().map(|(path, _)| *path).collect();
        assert_eq!(before.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
        for (path, text) in files {
            write(path, &format!("{text}\nmore = 1"));
            assert_ne!(of(), before, "{path}");
            write(path, text);
        }
    }

    #[test]
    fn no_module_of_the_experiments_escapes_the_digests() {
        let workspace = Workspace::find().unwrap();
        let sources = workspace.experiments().unwrap();
        let covered: BTreeSet<_> =
            sources.iter().flat_map(|source| digests(&workspace, source).into_keys()).collect();
        // The tests of the book.
        let none = format!("{RUST}/pages.rs");
        for folder in [RUST, SERVERS, PYTHON, "experiments/locks"] {
            for file in workspace::names(&workspace.path(folder)).unwrap() {
                let path = format!("{folder}/{file}");
                let counts = workspace.path(&path).is_file() && !file.ends_with(".md");
                assert!(!counts || covered.contains(&path) || path == none, "{path}");
            }
        }
        assert!(covered.contains("crates/real-sdk/src/owners.rs"));
    }
}
