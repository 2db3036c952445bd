//! The files that an experiment's results are about, each with a digest: so that a page can be found
//! that is older than its experiment.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::workspace::{self, Source, Workspace};

/// Modules that nearly every experiment uses, or every one on the real SDK. They are the harness, as the
/// lab is: a change of them does not make a page old.
const HARNESS: [&str; 3] = ["prelude", "real_sdk", "scene"];

const RUST: &str = "experiments/src";
const PYTHON: &str = "experiments/python";
const REAL_SDK: &str = "crates/real-sdk/src";

/// A digest of each file: the experiment's own source, the modules of the package that it imports, and
/// the programs that it names: in Python with what they import, around the real SDK, or packages of the
/// workspace. Comments and white space do not count.
/// What the experiment tests does not count either: the snapshots notice when that changes a result.
pub fn digests(workspace: &Workspace, source: &Source) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    let mut open = BTreeSet::from([format!("{RUST}/bin/{}.rs", source.binary)]);
    while let Some(path) = open.pop_first() {
        let Ok(text) = fs::read_to_string(workspace.path(&path)) else { continue };
        // The parts of a module are in a folder of its name.
        if let Some(folder) = path.strip_suffix(".rs") {
            let parts = workspace::names(&workspace.path(folder)).unwrap_or_default();
            open.extend(parts.into_iter().map(|part| format!("{folder}/{part}")));
        }
        let named = match path.strip_suffix(".py") {
            Some(_) => python_imports(&text),
            None if digests.is_empty() => named_in_rust(&text),
            // What a module imports is not the experiment's.
            None => Vec::new(),
        };
        digests.insert(path, digest(&text));
        open.extend(named.into_iter().filter(|path| !digests.contains_key(path)));
    }
    digests
}

/// The modules in `use experiments::…;`, and the names of programs, as paths that may not exist.
fn named_in_rust(text: &str) -> Vec<String> {
    let imports = text.split("use experiments::").skip(1).filter_map(|rest| rest.split(';').next());
    let modules = imports.flat_map(first_words).filter(|name| !HARNESS.contains(name));
    let modules = modules.map(|name| format!("{RUST}/{name}.rs"));
    let strings =
        text.split('"').skip(1).step_by(2).filter(|it| it.starts_with(char::is_alphanumeric));
    let programs = strings.map(|name| match name.rsplit_once('.') {
        Some((_, "py")) => format!("{PYTHON}/{name}"),
        Some((_, "rs")) => format!("{REAL_SDK}/{name}"),
        _ => format!("{name}/src/main.rs"),
    });
    modules.chain(programs).collect()
}

/// The first name of an import, or of each import in its group: `a` of `a::{b, c}`.
fn first_words(import: &str) -> Vec<&str> {
    let (mut depth, mut at) = (0_usize, 0);
    let group = import.trim().strip_prefix('{').unwrap_or(import);
    let mut items = Vec::new();
    for (place, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                items.extend(group.get(at..place));
                at = place + 1;
            }
            _ => {}
        }
    }
    items.extend(group.get(at..));
    items.into_iter().filter_map(|item| words(item).next()).collect()
}

/// The modules that a program imports, as paths that may not exist.
fn python_imports(text: &str) -> Vec<String> {
    let imported = text.lines().filter_map(|line| {
        let line = line.trim();
        line.strip_prefix("import ").or_else(|| line.strip_prefix("from "))
    });
    imported.filter_map(|it| words(it).next()).map(|it| format!("{PYTHON}/{it}.py")).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let of_a_name = |character: char| character.is_alphanumeric() || character == '_';
    text.split(move |character| !of_a_name(character)).filter(|word| !word.is_empty())
}

fn digest(text: &str) -> String {
    let lines =
        text.lines().map(str::trim).filter(|it| !it.starts_with("//") && !it.starts_with("# "));
    let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
    format!("{:08x}", crc32fast::hash(words.join(" ").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_ignores_comments_and_layout_and_nothing_else() {
        let of = digest("//! A head.\nfn main() {\n    run(1)\n}\n");
        assert_eq!(of, digest("fn main() { run(1) }"));
        assert_ne!(of, digest("fn main() { run(2) }"));
    }

    #[test]
    fn an_experiment_names_its_modules_and_its_programs() {
        let text = "use experiments::{\n    pattern::{Manager, steps},\n    prelude::*,\n};\n\
                    use lab::server::Kind;\nfn trial() { becomes(\"exit.py\"); becomes(\"close.rs\"); built(\"experiments/overhead\") }";
        let named = named_in_rust(text);
        let has = |path: &str| named.iter().any(|it| it == path);
        assert!(
            has("experiments/src/pattern.rs")
                && has("experiments/python/exit.py")
                && has("crates/real-sdk/src/close.rs"),
            "{named:?}"
        );
        assert!(
            !has("experiments/src/prelude.rs") && !has("experiments/src/server.rs"),
            "{named:?}"
        );
        let imports = python_imports("import lab\nfrom designs import static\n");
        assert_eq!(imports, ["experiments/python/lab.py", "experiments/python/designs.py"]);
    }
}
