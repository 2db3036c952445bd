//! Checks the chapter on what an `Ok` says: a test holds each sentence, and every kind of what a report does
//! not cover has a row.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

const PAGE: &str = "docs/src/what-ok-says.md";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of all tables, as cells.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let is_head = lines.peek().is_some_and(|next| next.starts_with("| ---"));
        if line.starts_with("| ") && !line.starts_with("| ---") && !is_head {
            rows.push(line.trim_matches('|').split(" | ").map(str::trim).collect());
        }
    }
    rows
}

fn in_backticks(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Why this is not a list of tests, each after the file that it is in; or how many there are.
fn named_tests(cell: &str) -> Result<usize, String> {
    let (mut file, mut tests) = (None, 0);
    for word in in_backticks(cell) {
        if word.contains('/') {
            file = Some((word, read(word)));
            continue;
        }
        let (path, text) = file.as_ref().ok_or(format!("`{word}` follows no file"))?;
        if !is_test(path, text, word) {
            return Err(format!("`{word}` is no test in {path}"));
        }
        tests += 1;
    }
    if tests == 0 { Err("no test is named".to_owned()) } else { Ok(tests) }
}

fn is_test(path: &str, text: &str, name: &str) -> bool {
    // A program without the standard harness has a table of its tests.
    if path.contains("/threads/") {
        let table = read("crates/core/tests/threads/main.rs");
        return text.contains(&format!("\npub fn {name}()"))
            && table.contains(&format!("::{name},\n"));
    }
    // So does the host in C, and that in Python has classes.
    if path.ends_with(".c") {
        let (body, case) = (format!("static void {name}(void) {{"), format!("    CASE({name}),"));
        return [body, case].iter().all(|line| text.lines().any(|found| found == line));
    }
    if path.ends_with(".py") {
        return name.starts_with("test_") && text.contains(&format!("    def {name}(self):\n"));
    }
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[test]") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ") {
            if is_test && rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')) {
                return true;
            }
            is_test = false;
        }
    }
    false
}

#[test]
fn a_test_holds_each_sentence() {
    let page = read(PAGE);
    let rows = rows(&page);
    let mut wrong = Vec::new();
    for row in &rows {
        let tests = match &row[..] {
            [_, sentence, tests] if sentence.ends_with('.') => named_tests(tests),
            [_, sentence, _] => Err(format!("no sentence: {sentence}")),
            _ => Err("it has three cells".to_owned()),
        };
        wrong.extend(tests.err().map(|why| format!("{}: {why}", row.join(" | "))));
    }
    assert!(rows.len() > 20 && wrong.is_empty(), "{PAGE}:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_no_test_is_found() {
    let file = "`xtask/tests/what_ok_says.rs`";
    assert_eq!(named_tests(&format!("{file} `what_is_no_test_is_found`")), Ok(1));
    for wrong in ["`a_test_holds_each`", "`named_tests`", "`is_test`"] {
        assert!(named_tests(&format!("{file} {wrong}")).is_err(), "{wrong}");
    }
    assert!(named_tests("`a_test_holds_each_sentence`").is_err(), "no file");
    assert!(named_tests(file).is_err(), "no test");
    let threads = "`crates/core/tests/threads/answers.rs`";
    assert!(named_tests(&format!("{threads} `busy`")).is_err(), "in no table");
    for wrong in ["`crates/ffi/tests/c/host.c` `end`", "`crates/ffi/tests/python/host.py` `stop`"] {
        assert!(named_tests(wrong).is_err(), "{wrong}");
    }
}

/// The variants of `NotCovered`, which a report can name.
#[test]
fn every_kind_of_what_is_not_covered_has_a_row() {
    let (page, source) = (read(PAGE), read("crates/core/src/shutdown/not_covered.rs"));
    let variants =
        source.split_once("pub enum NotCovered {").unwrap().1.split_once("\n}").unwrap().0;
    let variants = variants.lines().filter_map(|line| line.strip_prefix("    "));
    let names: Vec<_> = variants
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .map(|line| line.trim_end_matches([',', '{', ' ']))
        .collect();
    assert!(names.contains(&"Success") && names.contains(&"SharedRuntime"), "{names:?}");
    let rows = rows(&page);
    let named: Vec<_> = rows.iter().flat_map(|row| in_backticks(row[0])).collect();
    let missing: Vec<_> = names.iter().filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "{PAGE} has no row of {missing:?}");
}
