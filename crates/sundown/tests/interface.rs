//! The public interface is the one in `interface.txt`: every item, method and implementation of a trait that the
//! documentation shows, with its signature, all features on. Who changes it says so in `CHANGELOG.md`, and accepts it:
//! `SUNDOWN_ACCEPT_INTERFACE=1 cargo test -p sundown --test interface -- --ignored`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// Auto traits that are not public.
const HIDDEN: [&str; 2] = ["Freeze for", "UnsafeUnpin for"];

#[test]
#[ignore = "builds all that sundown depends on once more, for its documentation: most of a minute"]
fn the_public_interface_is_the_one_that_was_accepted() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Beside what this test was built with: cargo may be locked there.
    let target = env::current_exe().unwrap().ancestors().nth(3).unwrap().join("interface");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["doc", "--quiet", "--no-deps", "--all-features", "--package", "sundown"]);
    cargo.arg("--target-dir").arg(&target).current_dir(here);
    cargo.env_remove("RUSTDOCFLAGS").env_remove("RUSTFLAGS");
    let built = cargo.output().unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    if !built.status.success() && said.contains("failed to download") {
        writeln!(io::stderr(), "skipped: the interface of sundown: {said}").unwrap();
        return;
    }
    assert!(built.status.success(), "{said}");
    let interface = interface(&target.join("doc/sundown"));
    let expected = here.join("interface.txt");
    if env::var_os("SUNDOWN_ACCEPT_INTERFACE").is_some() {
        fs::write(&expected, &interface).unwrap();
    }
    let accepted = fs::read_to_string(&expected).unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (accepted, interface) = (lines(&accepted), lines(&interface));
    let gone: Vec<_> = accepted.difference(&interface).map(|line| format!("- {line}\n")).collect();
    let new: Vec<_> = interface.difference(&accepted).map(|line| format!("+ {line}\n")).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "the interface has changed (or rustdoc prints it otherwise); see the head of {}\n{}{}",
        file!(),
        gone.concat(),
        new.concat()
    );
}

/// A line for each item, and for each part of it: lines can be compared by themselves. An item with several paths is
/// described under the shortest.
fn interface(folder: &Path) -> String {
    let mut pages = Vec::new();
    html_files(folder, &mut pages);
    let mut items = BTreeMap::<Vec<String>, Vec<String>>::new();
    for page in pages {
        let name = page.file_stem().unwrap().to_str().unwrap();
        // `struct.Session`; pages of modules and lists have no kind.
        let Some((_, name)) = name.split_once('.') else { continue };
        let below = page.strip_prefix(folder).unwrap().parent().unwrap();
        let modules = below.iter().map(|module| module.to_str().unwrap());
        let path = ["sundown"].into_iter().chain(modules).chain([name]).collect::<Vec<_>>();
        let parts = parts(&fs::read_to_string(&page).unwrap());
        assert!(!parts.is_empty(), "rustdoc does not write what it did: {}", page.display());
        items.entry(parts).or_default().push(path.join("::"));
    }
    assert!(items.len() > 100, "rustdoc does not write what it did: {} items", items.len());
    let mut lines = BTreeSet::new();
    for (parts, mut paths) in items {
        paths.sort_by_key(|path| (path.matches("::").count(), path.clone()));
        let (path, others) = paths.split_first().unwrap();
        lines.extend(parts.iter().map(|part| format!("{path}: {part}\n")));
        lines.extend(others.iter().map(|other| format!("{other} = {path}\n")));
    }
    String::from_iter(lines)
}

fn html_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            html_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "html") {
            files.push(path);
        }
    }
}

/// The declaration of an item, its own methods, and the traits that it implements.
fn parts(page: &str) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some((_, rest)) = page.split_once("<pre class=\"rust item-decl\">") {
        parts.push(text(rest.split_once("</pre>").unwrap().0));
    }
    let own = page.split("id=\"blanket-implementations\"").next().unwrap();
    for section in own.split("<section id=\"").skip(1) {
        let Some((_, rest)) = section.split_once("class=\"") else { continue };
        let (class, rest) = rest.split_once('"').unwrap();
        let Some((_, header)) = rest.split_once("class=\"code-header\">") else { continue };
        let header = text(header.split("</h").next().unwrap());
        let is_hidden = class.contains("trait-impl") || HIDDEN.iter().any(|it| header.contains(it));
        if !is_hidden {
            parts.push(header);
        }
    }
    parts
}

/// HTML without its tags, on one line.
fn text(html: &str) -> String {
    let mut text = String::new();
    for piece in html.split('<') {
        let (tag, after) = piece.split_once('>').unwrap_or(("", piece));
        if tag.starts_with("div") || tag.starts_with("br") {
            text.push(' ');
        }
        text.push_str(after);
    }
    let signs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    for (escaped, sign) in signs {
        text = text.replace(escaped, sign);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
