//! The census: its pages agree with the committed cells, and a mistyped name is refused before a build.

use serde_json::{Value, json};

use crate::{fixture::Workspace, notebooks::complete};

const CELLS: &str = "docs/results/census/pool.json";
const PAGE: &str = "docs/src/census/pool.md";
const PANIC: &str = "main: there is no reactor running (pool-1.0.0/src/lib.rs:1:2)";

fn cells(drop: &Value, panics: &[&str]) -> Value {
    json!({
        "package": "pool",
        "started": "2026-01-02T03:04:05Z",
        "rustc": "rustc 1.95.0",
        "tokio": "1.54.0",
        "os": "linux",
        "arch": "x86_64",
        "cores": 2,
        "sources": {},
        "rows": [{
            "code": "pool-object",
            "version": "1.0.0",
            "value": "an object",
            "call": "a call",
            "cells": [
                { "question": "control", "about": "a", "answers": { "clean": 20 } },
                { "question": "drop-off-context", "about": "b", "answers": drop, "panics": panics },
                { "question": "close-twice", "about": "c", "not_asked": "it has no close" },
            ],
        }],
    })
}

fn workspace() -> Workspace {
    let workspace = complete();
    let summary = workspace.read("docs/src/SUMMARY.md");
    let block = "<!-- census:begin -->\n<!-- census:end -->\n";
    workspace.write("docs/src/SUMMARY.md", &(summary + block));
    workspace.write("docs/src/census.md", "# C\n\n<!-- census:begin -->\n<!-- census:end -->\n\n<!-- census-issues:begin -->\n<!-- census-issues:end -->\n\n<!-- census-again:begin -->\n<!-- census-again:end -->\n\n<!-- census-patched:begin -->\n<!-- census-patched:end -->\n");
    workspace.write(
        "docs/src/explain/SD0001.md",
        "# SD0001 · no context\n\n```text\nthere is no reactor running\n```\n",
    );
    workspace
        .write("crates/census/Cargo.lock", "[[package]]\nname = \"pool\"\nversion = \"1.0.0\"\n");
    workspace.write("crates/census/Cargo.toml", "[dependencies]\npool = \"=1.0.0\"\n");
    let panics = cells(&json!({ "panics": 3, "clean": 17 }), &[PANIC]);
    workspace.write(CELLS, &panics.to_string());
    workspace.run(&["notebooks"]).expect_code(0);
    workspace
}

#[test]
fn a_page_has_the_crate_and_its_panic_in_the_title_and_says_what_is_a_race() {
    let workspace = workspace();
    let page = workspace.read(PAGE);
    assert!(page.starts_with("# pool panics: there is no reactor running\n"), "{page}");
    assert!(page.contains("| **panics**, clean | 3 of 20, 17 of 20 | [SD0001]"), "{page}");
    assert!(page.contains("| not asked | | it has no close |"), "{page}");
    let overview = workspace.read("docs/src/census.md");
    let row = "| [pool-object](census/pool.md) | 1.0.0 | **panics** 3 of 20, clean 17 of 20 | – |";
    assert!(overview.contains(row), "{overview}");
    let contents = workspace.read("docs/src/SUMMARY.md");
    assert!(contents.contains("  - [pool panics: there is no reactor running](census/pool.md)"));
}

#[test]
fn pages_that_do_not_agree_with_the_cells_are_found() {
    let workspace = workspace();
    workspace.run(&["notebooks", "--check"]).expect_code(0);
    let clean = cells(&json!({ "clean": 20 }), &[]);
    workspace.write(CELLS, &clean.to_string());
    let ran = workspace.run(&["notebooks", "--check"]).expect_code(1);
    ran.says("docs/src/census/pool.md: line 1 differs").says("docs/src/census.md: line ");
    workspace.run(&["notebooks"]).expect_code(0);
    workspace.run(&["notebooks", "--check"]).expect_code(0);
    workspace.write("docs/src/census/gone.md", "# Gone\n");
    let ran = workspace.run(&["notebooks", "--check"]).expect_code(1);
    ran.says("docs/src/census/gone.md: it belongs to no cells");
}

#[test]
fn cells_of_another_release_and_issues_that_do_not_show_are_found() {
    let workspace = workspace();
    let issue = |question| {
        format!(
            "[[issue]]\nname = \"a/pool#1\"\ntitle = \"It panics\"\nshows = \"So.\"\npackage = \"pool\"\n\
             question = \"{question}\"\nanswer = \"panics\"\nmessage = \"no reactor\"\n"
        )
    };
    workspace.write("docs/census.toml", &issue("drop-off-context"));
    workspace.run(&["notebooks"]).expect_code(0);
    assert!(workspace.read(PAGE).contains("**a/pool#1**, \"It panics\""));
    let overview = workspace.read("docs/src/census.md");
    assert!(overview.contains("1 of 1 rows, of 1 crate, has it; 1 of them with \"no reactor\"."));
    assert!(overview.contains("1.0.0 | **panics** 3 of 20, clean 17 of 20 | yes | yes |"));
    workspace.run(&["notebooks", "--check"]).expect_code(0);
    // A row of another crate with the symptom is listed, and is not the issue's.
    workspace.write("docs/census.toml", &issue("drop-off-context").replace("\"pool\"", "\"lake\""));
    workspace.run(&["notebooks"]).expect_code(0);
    let overview = workspace.read("docs/src/census.md");
    assert!(overview.contains("clean 17 of 20 | yes | no |"), "{overview}");
    assert!(overview.contains("**None of these is of lake.**"), "{overview}");
    let ran = workspace.run(&["notebooks", "--check"]).expect_code(1);
    ran.says("a/pool#1 is not found again: no row of lake answers");
    // Nothing points to a row.
    let pointing = issue("drop-off-context") + "row = \"pool-object\"\n";
    workspace.write("docs/census.toml", &pointing);
    workspace.run(&["notebooks", "--check"]).expect_code(1).says("unknown field `row`");
    workspace.write("docs/census.toml", &issue("control"));
    let ran = workspace.run(&["notebooks", "--check"]).expect_code(1);
    ran.says("a/pool#1 is not found again: no row of pool answers `control` with `panics`");
    workspace.write("docs/census.toml", "");
    workspace.run(&["notebooks"]).expect_code(0);
    let lock = "[[package]]\nname = \"pool\"\nversion = \"1.0.1\"\n";
    workspace.write("crates/census/Cargo.lock", lock);
    let ran = workspace.run(&["notebooks", "--check"]).expect_code(1);
    ran.says("has no version 1.0.0: run `cargo xtask census --only pool --accept`");
}

#[test]
fn a_cell_that_was_kept_or_has_few_trials_is_named() {
    let workspace = workspace();
    let with = |kept: Option<(&str, &str)>, clean: u32| {
        let mut cells = cells(&json!({ "clean": clean }), &[]);
        if let (Some((version, digest)), Some(cell)) = (kept, cells.pointer_mut("/rows/0/cells/1"))
        {
            cell["kept"] = json!({
                "version": version, "started": "2025-01-02T03:04:05Z", "rustc": "rustc 1.94.0", "tokio": "1.53.0",
                "os": "linux", "arch": "x86_64", "cores": 2,
                "sources": { "crates/census/src/look.rs": digest },
            });
        }
        workspace.write(CELLS, &cells.to_string());
        workspace.run(&["notebooks"]).expect_code(0);
        workspace.run(&["notebooks", "--check"]).expect_code(1)
    };
    let name = "pool-object/drop-off-context";
    let ran = with(Some(("1.0.0", "0")), 20);
    ran.says(&format!("{name} is older than crates/census/src/look.rs: run `cargo xtask census"));
    assert!(workspace.read(PAGE).contains("measured on 2025-01-02 with 1.0.0"));
    let ran = with(Some(("0.9.0", "0")), 20);
    ran.says(&format!("{name} was measured with 0.9.0, and its row is of 1.0.0"));
    with(None, 19).says(&format!("{name} has 19 trials, and a cell needs 20"));
}

#[test]
fn a_second_run_is_compared_with_the_committed_cells() {
    const AGAIN: &str = "docs/results/census-again/pool.json";
    let workspace = workspace();
    let overview = || workspace.read("docs/src/census.md");
    assert!(overview().contains("No second run of the committed cells is recorded."));
    workspace.write(AGAIN, &cells(&json!({ "clean": 20 }), &[]).to_string());
    workspace.run(&["notebooks"]).expect_code(0);
    workspace.run(&["notebooks", "--check"]).expect_code(0);
    let same = "On 2026-01-02, 2 of the 2 cells were asked a second time: 2 of 2 are as committed.";
    assert!(overview().contains(same), "{}", overview());
    workspace.write(AGAIN, &cells(&json!({ "panics": 20 }), &[PANIC]).to_string());
    workspace.run(&["notebooks"]).expect_code(0);
    let lost = "- `pool-object/drop-off-context`: panics 3 of 20, clean 17 of 20; the second time panics 20 of 20";
    assert!(overview().contains("1 of 2 are as committed"), "{}", overview());
    assert!(overview().contains(lost), "{}", overview());
    let mut other = cells(&json!({ "clean": 20 }), &[]);
    other["sources"] = json!({ "crates/census/src/look.rs": "0" });
    workspace.write(AGAIN, &other.to_string());
    workspace.run(&["notebooks"]).expect_code(0);
    let ran = workspace.run(&["notebooks", "--check"]).expect_code(1);
    ran.says(
        "pool.json: the second run is of other code than the committed cells: run `cargo xtask",
    );
}

#[test]
fn cells_with_a_fix_are_compared_with_those_of_the_release() {
    const PATCHED: &str = "docs/results/census-patched/pool.json";
    let workspace = workspace();
    let overview = || workspace.read("docs/src/census.md");
    assert!(overview().contains("No cells with a fix are recorded."));
    workspace.write("docs/patches/pool.patch", "--- a\n+++ b\n");
    let with = |digest: &str, sources: Value| {
        let mut patched = cells(&json!({ "clean": 20 }), &[]);
        patched["sources"] = sources;
        patched["patches"] = json!([{
            "package": "pool", "version": "1.0.0", "file": "docs/patches/pool.patch", "digest": digest
        }]);
        patched["rows"][0]["cells"][0]["answers"] = json!({ "clean": 20 });
        workspace.write(PATCHED, &patched.to_string());
        workspace.run(&["notebooks"]).expect_code(0);
    };
    let digest = format!("{:08x}", crc32fast::hash(b"--- a\n+++ b\n"));
    // The committed race had clean ones, too.
    let released = cells(&json!({ "panics": 20 }), &[PANIC]);
    workspace.write(CELLS, &released.to_string());
    with(&digest, json!({}));
    workspace.run(&["notebooks", "--check"]).expect_code(0);
    let words = "**pool** with `--patch pool@1.0.0=docs/patches/pool.patch`, 2026-01-02: 1 of 2 cells have other \
                 answers than the committed ones, and 1 have the same.";
    assert!(overview().contains(words), "{}", overview());
    let row = "| `pool-object` | `drop-off-context` | **panics** 20 of 20 | clean 20 of 20 |";
    assert!(overview().contains(row), "{}", overview());
    with("0", json!({}));
    let ran = workspace.run(&["notebooks", "--check"]).expect_code(1);
    ran.says("the cells are older than docs/patches/pool.patch: run `cargo xtask census --only");
    with(&digest, json!({ "crates/census/src/look.rs": "0" }));
    let ran = workspace.run(&["notebooks", "--check"]).expect_code(1);
    ran.says("pool.json: the cells are of other code than the committed ones: run `cargo xtask");
}

#[test]
fn mistyped_names_are_refused_before_a_build() {
    let workspace = workspace();
    for (options, words) in [
        ("--only pol", "the census has no crate or row `pol`; did you mean `pool`?"),
        ("--only pool-object", "cargo does not say where it has built"),
        ("--question drop-of-context", "did you mean `drop-off-context`?"),
        ("--again --trials 19", "--again with --trials 19: a committed cell needs at least 20"),
        ("--again --question fork", "cannot be used with"),
        ("--again --accept", "cannot be used with"),
        ("--trials 0", "--trials"),
        ("--accept --trials 19", "a committed cell needs at least 20 trials"),
        ("--patch pool", "expected a crate and a path"),
        ("--patch pool@=docs", "expected a crate and a path"),
        ("--patch pool=docs --accept", "only a diff in this repository can be recorded"),
        ("--patch pool=/etc/hostname --accept", "only a diff in this repository can be recorded"),
        ("--patch poll=README.md --accept", "crates/census/Cargo.lock has no poll"),
        ("--patch pool@1.0.1=README.md --accept", "say which, as in pool@1.0.0=…"),
        ("--update --accept", "cannot be used with"),
        ("--add", "--accept"),
        ("--format xml", "json"),
    ] {
        let arguments: Vec<_> = ["census"].into_iter().chain(options.split(' ')).collect();
        let code = if options.ends_with("pool-object") { 1 } else { 2 };
        workspace.run(&arguments).expect_code(code).says(words);
    }
}
