//! The texts of real panics: of the kind, through many crates, and unrelated ones from every crate that this
//! workspace builds.

use std::collections::BTreeSet;

use sundown::explain::Cause;

/// Of the kind. The head of the file says what its columns are.
const OF_THE_KIND: &str = include_str!("of_the_kind.tsv");

/// Unrelated, with near misses.
const UNRELATED: &str = include_str!("unrelated.tsv");

/// Of the kind, and not recognised: tower and sqlx print names that other errors have as well.
const MISSED: [&str; 2] = [
    "called `Result::unwrap()` on an `Err` value: Closed",
    "called `Result::unwrap()` on an `Err` value: WorkerCrashed",
];

/// How the message of `unwrap` begins.
const UNWRAP: &str = "called `Result::unwrap()` on an `Err` value: ";

fn rows<const COLUMNS: usize>(table: &'static str) -> Vec<[&'static str; COLUMNS]> {
    let rows = table.lines().filter(|line| !line.starts_with("# "));
    rows.map(|row| {
        let columns: Vec<_> = row.split('\t').collect();
        columns.try_into().unwrap_or_else(|_| panic!("{row}"))
    })
    .collect()
}

/// The name of a crate with a version.
fn name(of: &str) -> &str {
    of.rsplit_once('-').filter(|(_, version)| version.contains('.')).map_or(of, |(name, _)| name)
}

#[test]
fn the_panics_of_a_shutdown_are_recognised_whichever_crate_words_them() {
    let rows = rows::<6>(OF_THE_KIND);
    let mut missed = Vec::new();
    for [code, _, through, _, file, message] in &rows {
        let message = message.replace("\\n", "\n");
        // Only `SD0002` depends on the panic before.
        let found = Cause::of(&message, file, Some(Cause::NoContext));
        match found {
            None => missed.push(message),
            Some(cause) => assert_eq!(cause.code(), *code, "{through}: {message}"),
        }
    }
    assert_eq!(missed, MISSED);
    let crates: BTreeSet<_> = rows.iter().map(|[_, _, through, ..]| name(through)).collect();
    let texts: BTreeSet<_> = rows.iter().map(|[.., message]| message).collect();
    let provoked = rows.iter().filter(|[_, how, ..]| *how == "provoked").count();
    println!(
        "recognised {} of {}: {} texts, through {} crates; {provoked} were provoked",
        rows.len() - missed.len(),
        rows.len(),
        texts.len(),
        crates.len(),
    );
    assert!(texts.len() >= 40 && crates.len() >= 15, "too few to say anything");
    let codes: BTreeSet<_> = rows.iter().map(|[code, ..]| *code).collect();
    assert_eq!(codes, Cause::ALL.iter().map(|cause| cause.code()).collect());
}

#[test]
fn unrelated_panics_of_the_crates_of_this_workspace_are_left_alone() {
    let rows = rows::<2>(UNRELATED);
    for [place, text] in &rows {
        let folder = "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
        let file = format!("{folder}/{}", place.split(':').next().unwrap());
        // As a message, in the words of `unwrap` and `expect`, and in a caller's file.
        let unwrapped = format!("called `Result::unwrap()` on an `Err` value: \"{text}\"");
        for message in [(*text).to_owned(), unwrapped, format!("it failed: {text}")] {
            for file in [&*file, "src/main.rs"] {
                assert_eq!(Cause::of(&message, file, None), None, "{place}: {message}");
            }
        }
    }
    let crates: BTreeSet<_> =
        rows.iter().map(|[place, _]| name(place.split('/').next().unwrap())).collect();
    println!("0 of {} explained, from {} crates", rows.len(), crates.len());
    assert!(rows.len() >= 200, "too few to say anything");
}

#[test]
fn a_message_of_the_kind_is_left_alone_where_somebody_only_quotes_it() {
    for [code, .., message] in rows::<6>(OF_THE_KIND) {
        for quoting in [
            format!("assertion failed: stderr.contains(\"{message}\")"),
            format!("the child said `{message}`, which is wrong"),
            format!("{UNWRAP}the server answered 500: {message}"),
            format!("{UNWRAP}Failed {{ status: 500, body: {message:?} }}"),
            format!(
                "{UNWRAP}the worker failed:\nError: {message}\nnote: run with `RUST_BACKTRACE=1`"
            ),
            format!(
                "{UNWRAP}Failed(\"thread 'main' panicked at src/a.rs:1:\\n{}\")",
                message.escape_debug()
            ),
        ] {
            let found = Cause::of(&quoting, "src/main.rs", Some(Cause::NoContext));
            assert_eq!(found, None, "{code}: {quoting}");
        }
    }
}
