//! The codes of panics: lists them, and prints the page of a code or of a message.

use std::{fs, path::Path};

use crate::fixture::Workspace;

/// A workspace with the pages of this one.
fn with_pages() -> Workspace {
    let workspace = Workspace::empty();
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/explain");
    fs::create_dir_all(workspace.path("docs/src/explain")).unwrap();
    for page in fs::read_dir(pages).unwrap() {
        let page = page.unwrap().path();
        let name = page.file_name().unwrap();
        fs::copy(&page, workspace.path("docs/src/explain").join(name)).unwrap();
    }
    workspace
}

#[test]
fn a_code_prints_its_page() {
    let workspace = with_pages();
    for code in ["SD0003", "sd3", "3"] {
        let ran = workspace.run(&["explain", code]).expect_code(0);
        assert!(ran.stdout.starts_with("# SD0003 · "), "{}", ran.stdout);
        ran.says("The Tokio context thread-local variable has been destroyed")
            .says("teardown_blocking(connection, Duration::from_secs(5))");
    }
}

#[test]
fn a_message_leads_to_its_code_whatever_is_around_it() {
    let workspace = with_pages();
    for (message, code) in [
        ("this functionality requires a Tokio context", "SD0001"),
        (
            "thread 'ui' panicked at a.rs:1: There is no reactor running, must be called from the context \
          of a Tokio 1.x runtime",
            "SD0001",
        ),
        (
            "Cannot drop a runtime in a context where blocking is not allowed. This happens when …",
            "SD0005",
        ),
        ("can call blocking only when", "SD0009"),
        ("called `Result::unwrap()` on an `Err` value: JoinError::Cancelled(Id(8))", "SD0007"),
        ("runtime dropped the dispatch task", "SD0014"),
        ("called `Result::unwrap()` on an `Err` value: task 417 was cancelled", "SD0007"),
    ] {
        let ran = workspace.run(&["explain", message]).expect_code(0);
        assert!(ran.stdout.starts_with(&format!("# {code} · ")), "{message}: {}", ran.stdout);
    }
    // The words of a message need no quotes.
    let ran = workspace.run(&["explain", "there", "is", "no", "reactor", "running"]).expect_code(0);
    // Tokio 1.0 and its predecessors.
    ran.says("SD0001").says("SD0011").does_not_say("SD0002");
}

#[test]
fn without_an_argument_all_codes_are_listed() {
    let workspace = with_pages();
    let ran = workspace.run(&["explain"]).expect_code(0);
    let codes: Vec<_> = ran.stdout.lines().filter(|line| line.starts_with(" SD")).collect();
    assert_eq!(codes.len(), 16, "{}", ran.stdout);
    assert!(codes.is_sorted());
}

#[test]
fn json_has_the_messages_and_the_page() {
    let workspace = with_pages();
    let ran = workspace.run(&["explain", "SD0006", "--format", "json"]).expect_code(0);
    let pages: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(pages[0]["code"], "SD0006");
    assert_eq!(pages[0]["page"], "docs/src/explain/SD0006.md");
    let first = pages[0]["messages"][0].as_str().unwrap();
    assert!(first.starts_with("Cannot start a runtime from within a runtime"), "{first}");
    assert_eq!(pages.as_array().unwrap().len(), 1);
}

#[test]
fn an_unknown_code_or_message_is_a_usage_error_with_the_next_step() {
    let workspace = with_pages();
    let ran = workspace.run(&["explain", "SD0017"]).expect_code(2);
    ran.says("there is no code SD0017; the nearest is SD0016")
        .says("`cargo xtask explain` lists all");
    let ran = workspace.run(&["explain", "SD0099"]).expect_code(2);
    ran.says("there is no code SD0099. `cargo xtask explain` lists all").does_not_say("nearest");
    let ran = workspace.run(&["explain", "index out of bounds"]).expect_code(2);
    ran.says("no page has the message `index out of bounds`");
    Workspace::empty()
        .run(&["explain"])
        .expect_code(1)
        .says("there are no pages in docs/src/explain");
}
