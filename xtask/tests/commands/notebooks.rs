//! The notebook: written from results, and checked against everything it should agree with.

use std::fs;

use lab::{
    Observation, Outcome, Role, Value, Verdict,
    results::{ClaimResult, ExperimentResult},
};

use crate::fixture::{SITE, Workspace, drop_context, experiment, sleep_duration, variant};

const PAGE: &str = "docs/src/01-drop-context.md";
const RESULTS: &str = "docs/results/01_drop_context.json";
const CLAIMS: &str = "docs/claims.toml";
const LEDGER: &str = "docs/src/claims.md";
const SNAPSHOT: &str = "experiments/snapshots/01_drop_context.snap";

const PLOT: &str = "docs/src/plots/failure-against-sleep.svg";
const FIGURES: &str = "docs/results/bench/latch.jsonl";
const BENCHMARKS: &str = "docs/src/benchmarks.md";
const BENCHMARKS_SKELETON: &str = "![](plots/latch-bare-none.svg)\n\
    <!-- groups:begin -->\n<!-- groups:end -->\n<!-- teardowns:begin -->\n<!-- teardowns:end -->\n";

/// An experiment with a picture.
fn waiting() -> ExperimentResult {
    let hazard = |name| variant(Role::Hazard, name, Outcome::Aborted, &[SITE]);
    let cure = variant(Role::Cure, "old/kit/init-task/10ms", Outcome::Clean, &[]);
    let names = ["old/drop-then-wait/0ms", "current/drop-then-wait/1s"];
    experiment("03", "sleep-duration", names.map(hazard).into_iter().chain([cure]).collect())
}

/// Figures of a bench: two subjects at two sizes.
fn figures() -> String {
    let sizes =
        [("floor", 1, 1.0), ("floor", 100, 1.0), ("sundown", 1, 1.1), ("sundown", 100, 1.3)];
    let figure = |(subject, n, ratio): (&str, u32, f64)| {
        let figure = serde_json::json!({
            "bench": "latch", "case": "bare", "n": n, "runtime": "none", "subject": subject,
            "rounds": 21, "ns": 9.0, "ns_quartiles": [8.0, 10.0], "ratio_to_floor": ratio,
            "ratio_to_floor_quartiles": [ratio - 0.1, ratio + 0.1], "bytes": null, "observed": null,
        });
        format!("{figure}\n")
    };
    sizes.map(figure).concat()
}

/// A workspace whose notebook is complete: written, with prose where prose was missing.
fn complete() -> Workspace {
    let workspace = Workspace::with_two();
    workspace.experiment(&waiting());
    workspace.run(&["experiments", "--accept"]).expect_code(0);
    workspace.write(FIGURES, &figures());
    workspace.write(BENCHMARKS, BENCHMARKS_SKELETON);
    workspace.run(&["notebooks"]).expect_code(0);
    for page in [PAGE, "docs/src/03-sleep-duration.md"] {
        let text = workspace.read(page);
        let prose = text
            .lines()
            .map(|line| if line.starts_with("<!-- prose is missing") { "Words." } else { line });
        workspace.write(page, &(prose.collect::<Vec<_>>().join("\n") + "\n"));
    }
    workspace.run(&["notebooks", "--check"]).expect_code(0);
    workspace
}

#[test]
fn a_page_is_written_with_all_that_was_found() {
    let workspace = Workspace::with_two();
    let ran = workspace.run(&["notebooks"]).expect_code(0);
    ran.says(PAGE).says(RESULTS).says("docs/src/SUMMARY.md");
    let page = workspace.read(PAGE);
    for words in [
        "## Question\n\n<!-- question:begin -->\n\nWhat does drop-context do?\n",
        "The hypothesis is **supported**.",
        "| [A2](claims.md#a2) | the panic comes from tasks that still run | **refuted** |",
        "| hazard | `old/outside-alive` | the last owner goes \\| outside | always aborted | \
         20 of 20 | 84–100 % |",
        "| `old/inside-alive` | elapsed | 1.50 · 1.50 · 1.50 ms |",
        &format!("- `{SITE}` in `old/outside-alive`"),
        "40 trials in 1.5 s",
        "deadpool 0.12.3, tokio 1.54.0",
        "`experiments/src/bin/01_drop_context.rs`",
    ] {
        assert!(page.contains(words), "no {words:?} in\n{page}");
    }
    let contents = workspace.read("docs/src/SUMMARY.md");
    let list = "# Context\n\n- [01 drop-context](01-drop-context.md)\n- [03 sleep-duration](03-";
    assert!(contents.contains(list), "{contents}");
    assert!(contents.starts_with("# Summary\n\n[Introduction](introduction.md)\n"), "{contents}");
}

#[test]
fn the_ledger_tells_what_the_experiments_say_of_each_claim() {
    let ledger = complete().read(LEDGER);
    for words in [
        "1 claim: 1 refuted.",
        "## a demo\n\nWhat the demo is.",
        "| <a id=\"a2\"></a>A2 | tasks \\| runtime | **refuted** by&nbsp;[01](01-drop-context.md) \
         | It is the context. |",
    ] {
        assert!(ledger.contains(words), "no {words:?} in\n{ledger}");
    }
}

#[test]
fn a_ledger_shows_where_experiments_disagree_and_no_reason_for_other_verdicts() {
    let workspace = complete();
    let mut other = waiting();
    let claim = drop_context().claims.remove(0);
    other.claims.push(ClaimResult { verdict: Verdict::Supported, ..claim });
    workspace.experiment(&other);
    workspace.run(&["experiments", "--accept"]).expect_code(0);
    let ran = workspace.run(&["notebooks"]).expect_code(0);
    let reason = "its reason explains 01 refuted, and the results say 01 refuted, 03 supported";
    ran.says("claim A2").says(reason);
    let ledger = workspace.read(LEDGER);
    let verdict = "| **refuted** by&nbsp;[01](01-drop-context.md), but **supported** by&nbsp;\
                   [03](03-sleep-duration.md) |  |";
    assert!(ledger.contains(verdict), "{ledger}");
    assert!(ledger.contains("1 claim: 1 supported by one experiment and refuted by"), "{ledger}");
    let check = workspace.run(&["notebooks", "--check"]).expect_code(1);
    check.says(CLAIMS).says("claim A2").says(reason);
    workspace.edit(CLAIMS, "01 = \"refuted\"", "01 = \"refuted\", 03 = \"supported\"");
    workspace.run(&["notebooks"]).expect_code(0);
    workspace.run(&["notebooks", "--check"]).expect_code(0);
}

#[test]
fn a_ledger_does_not_call_refuted_what_one_experiment_left_open() {
    let workspace = complete();
    let mut other = waiting();
    let claim = drop_context().claims.remove(0);
    other.claims.push(ClaimResult { verdict: Verdict::Inconclusive, ..claim });
    workspace.experiment(&other);
    workspace.run(&["experiments", "--accept"]).expect_code(0);
    workspace.run(&["notebooks"]).expect_code(0);
    let ledger = workspace.read(LEDGER);
    let summary = "1 claim: 1 refuted by one experiment and inconclusive by another.";
    assert!(ledger.contains(summary), "{ledger}");
}

#[test]
fn pictures_are_drawn_from_results_and_figures() {
    let workspace = complete();
    let page = workspace.read("docs/src/03-sleep-duration.md");
    assert!(page.contains("](plots/failure-against-sleep.svg)"), "{page}");
    // Both waits, both arms, and the unit of the axis.
    let plot = workspace.read(PLOT);
    for words in ["\n0\n", "\n10 ms\n", "\n1 s\n", "deadpool 0.13", "trials that failed, %"] {
        assert!(plot.contains(words), "no {words:?} in {plot}");
    }
    let plot = workspace.read("docs/src/plots/latch-bare-none.svg");
    for words in ["sundown", "floor", "waiters", "× floor", "currentColor"] {
        assert!(plot.contains(words), "no {words:?} in {plot}");
    }
}

#[test]
fn what_was_counted_on_the_way_is_in_the_picture_and_not_in_the_table() {
    let workspace = complete();
    let mut churn = variant(Role::Cure, "keep", Outcome::Clean, &[]);
    churn.observations = [5, 40, 10, 100]
        .map(|cycle| (format!("kib_after_{cycle}"), counted(9_000 + cycle)))
        .into_iter()
        .chain([("kib_at_the_end".to_owned(), counted(9_100))])
        .collect();
    workspace.experiment(&experiment("26", "relogin-churn", vec![churn]));
    workspace.run(&["experiments", "--accept"]).expect_code(0);
    workspace.run(&["notebooks"]).expect_code(0);
    let page = workspace.read("docs/src/26-relogin-churn.md");
    assert!(page.contains("](plots/growth-over-cycles.svg)"), "{page}");
    assert!(page.contains("kib_at_the_end") && !page.contains("kib_after_"), "{page}");
    let plot = workspace.read("docs/src/plots/growth-over-cycles.svg");
    assert!(plot.contains("\nkeep\n") && plot.contains("memory of the process, KiB"), "{plot}");
    // The line goes from left to right: by number, not by name.
    let line = plot.split("<polyline").find(|it| it.contains("stroke-width=\"4\"")).unwrap();
    let points = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
    let places: Vec<i32> = points
        .split_whitespace()
        .map(|it| it.split(',').next().unwrap().parse().unwrap())
        .collect();
    assert!(places.len() == 4 && places.is_sorted(), "{places:?}");
}

#[test]
fn a_picture_needs_everything_that_it_shows() {
    let workspace = complete();
    let mut leak = variant(Role::Hazard, "forget/all", Outcome::Failed, &[]);
    let names = ["descriptors", "threads", "kib"].map(|name| format!("{name}_per_cycle"));
    leak.observations = names.map(|name| (name, counted(8))).into();
    workspace.experiment(&experiment("31", "leak-on-logout", vec![leak.clone()]));
    workspace.run(&["experiments", "--accept"]).expect_code(0);
    workspace.run(&["notebooks"]).expect_code(0);
    let plot = "docs/src/plots/cost-of-a-leaked-logout.svg";
    assert!(!workspace.exists(plot), "without the heap");
    leak.observations.insert("heap_bytes_per_cycle".to_owned(), counted(935));
    workspace.experiment(&experiment("31", "leak-on-logout", vec![leak]));
    workspace.run(&["experiments", "--accept"]).expect_code(0);
    workspace.run(&["notebooks"]).expect_code(0);
    assert!(workspace.read(plot).contains("\nforget/all\n"));
}

/// What five trials counted alike.
fn counted(number: i64) -> Observation {
    Observation::of(&[number; 5].map(Value::from)).unwrap()
}

#[test]
fn the_tables_of_the_benches_are_written_from_their_figures() {
    let workspace = complete();
    let group = figures().replace("latch", "group").replace("bare", "spawn");
    let group = group.replace("\"none\"", "\"multi-thread\"");
    workspace.write("docs/results/bench/group.jsonl", &group);
    let teardown = figures().replace("latch", "teardown").replace("bare", "dirty");
    let left = "\"observed\":\"log left 3 of 22\"";
    let teardown = teardown.replace("\"observed\":null", left).replace("9.0", "5000000.0");
    workspace.write("docs/results/bench/teardown.jsonl", &teardown);
    workspace.run(&["notebooks"]).expect_code(0);
    let page = workspace.read(BENCHMARKS);
    for words in [
        "| | 1 | 100 |\n",
        "| spawn, several threads | 1.10 | 1.30 |",
        "| | dirty, 1 | 100 |",
        "| floor | 5.00 ms, left 3 | 5.00 ms, left 3 |",
        "| `Session::close` | 1.10×, left 3 | 1.30×, left 3 |",
        "Medians of 21 interleaved rounds",
    ] {
        assert!(page.contains(words), "no {words:?} in\n{page}");
    }
}

#[test]
fn the_readme_has_the_first_experiment_without_its_cures() {
    let workspace = complete();
    let mut cured = drop_context();
    cured.variants.push(variant(Role::Cure, "kit/outside-alive", Outcome::Clean, &[]));
    workspace.experiment(&cured);
    workspace.run(&["experiments", "--accept"]).expect_code(0);
    workspace.run(&["notebooks"]).expect_code(0);
    assert!(workspace.read(PAGE).contains("kit/outside-alive"));
    let readme = workspace.read("README.md");
    assert!(readme.contains("```text\n01 drop-context · What does drop-context do?\n"), "{readme}");
    assert!(readme.contains("hazard   old/outside-alive  always aborted  20/20"), "{readme}");
    assert!(!readme.contains("kit"), "{readme}");
}

#[test]
fn nothing_of_the_machine_is_committed() {
    let results = complete().read(RESULTS);
    for trace in ["/tmp", "/home", "thread main panicked"] {
        assert!(!results.contains(trace), "{trace} in {results}");
    }
    assert!(results.contains("cannot open …/store.db"), "{results}");
}

#[test]
fn writing_twice_changes_nothing() {
    let workspace = complete();
    let before = [PAGE, RESULTS, "docs/src/SUMMARY.md"].map(|path| workspace.read(path));
    workspace.run(&["notebooks"]).expect_code(0).says("nothing to write");
    // Nor from what is committed, when the results of the run are gone.
    fs::remove_dir_all(workspace.path("target")).unwrap();
    workspace.run(&["notebooks"]).expect_code(0).says("nothing to write");
    assert_eq!(before, [PAGE, RESULTS, "docs/src/SUMMARY.md"].map(|path| workspace.read(path)));
}

#[test]
fn prose_survives_new_results() {
    let workspace = complete();
    workspace.edit(PAGE, "Words.", "Words of my own.");
    let mut slower = drop_context();
    slower.seconds = 99.0;
    workspace.experiment(&slower);
    workspace.run(&["experiments", "--only", "1"]).expect_code(0);
    let ran = workspace.run(&["notebooks"]).expect_code(0);
    ran.says(PAGE).does_not_say("docs/src/03-sleep-duration.md");
    let page = workspace.read(PAGE);
    assert!(page.contains("99.0 s") && page.contains("Words of my own."), "{page}");
}

#[test]
fn an_older_run_does_not_replace_newer_results() {
    let workspace = complete();
    let results = workspace.read(RESULTS);
    let started = results.split("\"started\": \"").nth(1).unwrap().get(..10).unwrap().to_owned();
    workspace.edit(RESULTS, &started, "2999-01-01");
    workspace.run(&["notebooks"]).expect_code(0).says("the committed results are newer");
    assert!(workspace.read(RESULTS).contains("2999-01-01"));
}

#[test]
fn an_experiment_that_was_taken_away_is_taken_out_of_the_contents() {
    let workspace = Workspace::with_two();
    workspace.run(&["notebooks"]).expect_code(0);
    for file in [
        "experiments/src/bin/03_sleep_duration.rs",
        "experiments/snapshots/03_sleep_duration.snap",
        "docs/src/03-sleep-duration.md",
        "docs/results/03_sleep_duration.json",
    ] {
        fs::remove_file(workspace.path(file)).unwrap();
    }
    let ran = workspace.run(&["notebooks"]).expect_code(0);
    ran.says("03 sleep-duration is in the results of the last run, and no more");
    assert!(!workspace.read("docs/src/SUMMARY.md").contains("sleep-duration"));
    let of_the_run = ["notebooks", "--results", "target/experiments/results.json"];
    workspace.run(&of_the_run).expect_code(1).says("03 sleep-duration in the results is not among");
}

#[test]
fn what_cannot_be_read_is_not_written_over() {
    let workspace = Workspace::with_two();
    workspace.run(&["notebooks"]).expect_code(0);
    fs::write(workspace.path(PAGE), b"\xff\xfe prose in another encoding").unwrap();
    let ran = workspace.run(&["notebooks"]).expect_code(1);
    ran.says(&format!("{PAGE}: stream did not contain valid UTF-8"));
    assert!(fs::read(workspace.path(PAGE)).unwrap().starts_with(b"\xff\xfe prose"));
    workspace.write(PAGE, "# 01 · drop-context\n");
    workspace.write("docs/results/01_drop_context.json", "{");
    workspace.run(&["notebooks"]).expect_code(1).says("take it from git again, or remove it");
}

#[test]
fn without_results_there_is_nothing_to_write_from() {
    let workspace = Workspace::empty();
    workspace.experiment(&drop_context());
    workspace.run(&["notebooks"]).expect_code(1).says("run `cargo xtask experiments` first");
    let ran = workspace.run(&["notebooks", "--results", "none.json"]).expect_code(1);
    ran.says("cannot read the results in none.json");
}

#[test]
fn interrupted_results_are_not_written_about() {
    let workspace = Workspace::with_two();
    let mut partial = sleep_duration();
    partial.interrupted = true;
    workspace.experiment(&partial);
    workspace.run(&["experiments"]);
    workspace.run(&["notebooks"]).expect_code(1).says("03 sleep-duration").says("interrupted");
}

#[test]
fn a_block_that_was_removed_is_an_error_that_names_the_page() {
    let workspace = complete();
    workspace.edit(PAGE, "<!-- result:end -->", "");
    workspace.run(&["notebooks"]).expect_code(1).says(PAGE).says("<!-- result:end -->");
}

/// How to break an agreement, and what is then said.
type Disagreement = (&'static str, fn(&Workspace), &'static [&'static str]);

const DISAGREEMENTS: &[Disagreement] = &[
    (
        "a figure in a page",
        |it| it.edit(PAGE, "20 of 20", "19 of 20"),
        &[PAGE, "its result is not what the committed results say", "run `cargo xtask notebooks`"],
    ),
    ("a question in a page", |it| it.edit(PAGE, "What does", "What did"), &["its question is not"]),
    ("a hypothesis in a page", |it| it.edit(PAGE, "It is", "It was"), &["its hypothesis is not"]),
    (
        "a page without the block",
        |it| it.edit(PAGE, "<!-- result:begin -->", ""),
        &[PAGE, "there is no <!-- result:begin -->"],
    ),
    ("no page", |it| fs::remove_file(it.path(PAGE)).unwrap(), &[PAGE, "there is no such page"]),
    ("no result", |it| fs::remove_file(it.path(RESULTS)).unwrap(), &[RESULTS, "--only 01"]),
    (
        "no snapshot",
        |it| fs::remove_file(it.path(SNAPSHOT)).unwrap(),
        &[SNAPSHOT, "there is no such snapshot", "--accept"],
    ),
    (
        "another snapshot",
        |it| it.edit(SNAPSHOT, "always clean", "never aborted"),
        &[SNAPSHOT, "it is not what the committed results say"],
    ),
    (
        "another result",
        |it| it.edit(RESULTS, "\"always aborted\"", "\"always clean\""),
        &[PAGE, SNAPSHOT],
    ),
    (
        "a result of nothing",
        |it| it.write(RESULTS, "{}"),
        &[RESULTS, "it holds no results of an experiment"],
    ),
    (
        "the result of another",
        |it| {
            let other = it.read("docs/results/03_sleep_duration.json");
            it.write(RESULTS, &other);
        },
        &["it holds the results of 03 sleep-duration"],
    ),
    (
        "a path of the machine",
        |it| it.edit(RESULTS, "…/store.db", "/tmp/store.db"),
        &[RESULTS, "paths of the machine"],
    ),
    (
        "a new source",
        |it| it.write("experiments/src/bin/02_new.rs", "fn main() {}\n"),
        &["docs/src/02-new.md", "docs/results/02_new.json", "its list of experiments is not"],
    ),
    (
        "a source that is gone",
        |it| fs::remove_file(it.path("experiments/src/bin/01_drop_context.rs")).unwrap(),
        &[PAGE, RESULTS, SNAPSHOT, "an experiment that is no more", "its list of experiments"],
    ),
    (
        "contents without an experiment",
        |it| it.edit("docs/src/SUMMARY.md", "- [03", "- [04"),
        &["docs/src/SUMMARY.md: its list of experiments is not"],
    ),
    (
        "no contents",
        |it| fs::remove_file(it.path("docs/src/SUMMARY.md")).unwrap(),
        &["there is no table of contents"],
    ),
    (
        "a missing heading",
        |it| it.edit(PAGE, "## Method", "Method"),
        &["its headings are Question"],
    ),
    (
        "headings out of order",
        |it| {
            it.edit(PAGE, "## Method", "## Aside");
            it.edit(PAGE, "## What it means", "## Method");
        },
        &["they should be Question, Hypothesis, Method, Result, What it means, What to do instead"],
    ),
    (
        "a title of another manner",
        |it| it.edit(PAGE, "# 01 · drop-context\n", "# 01 drop-context\n"),
        &["its first line is not `# 01 · drop-context`"],
    ),
    (
        "prose that is missing",
        |it| it.edit(PAGE, "Words.", "<!-- prose is missing: all of it -->"),
        &["a part of it is not written yet"],
    ),
    (
        "a link that points nowhere",
        |it| it.edit(PAGE, "Words.", "[See](02-nowhere.md#there)."),
        &["its link to 02-nowhere.md#there points nowhere"],
    ),
    (
        "a link of another page",
        |it| it.write("docs/src/introduction.md", "[See](../none.md)\n"),
        &["docs/src/introduction.md", "../none.md leaves the book"],
    ),
    (
        "a link to a part that is not there",
        |it| it.write("docs/src/introduction.md", "[See](01-drop-context.md#nothing)\n"),
        &["docs/src/introduction.md", "01-drop-context.md#nothing points nowhere"],
    ),
    (
        "a link out of the book",
        |it| it.edit(PAGE, "Words.", "[See](../../README.md)."),
        &[PAGE, "leaves the book", "name the file in backticks"],
    ),
    (
        "a link of the README",
        |it| it.edit("README.md", "<!-- excerpt:begin", "[a](docs/no.md)\n\n<!-- excerpt:begin"),
        &["README.md: its link to docs/no.md points nowhere"],
    ),
    (
        "a name of a file that is not there",
        |it| it.edit(PAGE, "Words.", "See `experiments/src/bin/02_none.rs`."),
        &[PAGE, "there is no experiments/src/bin/02_none.rs"],
    ),
    (
        "a listing of a file that is not there",
        |it| it.edit(PAGE, "Words.", "```rust\n{{#include ../none.rs}}\n```"),
        &[PAGE, "there is no ../none.rs"],
    ),
    (
        "a figure in the README",
        |it| it.edit("README.md", "20/20", "19/20"),
        &["README.md: it is not what the committed results say"],
    ),
    (
        "a README without the block",
        |it| it.edit("README.md", "<!-- excerpt:end -->", ""),
        &["README.md: there is no <!-- excerpt:begin --> followed by"],
    ),
    (
        "a verdict in the ledger",
        |it| it.edit(LEDGER, "**refuted**", "**supported**"),
        &["docs/src/claims.md: it is not what the committed results say"],
    ),
    (
        "no ledger",
        |it| fs::remove_file(it.path(LEDGER)).unwrap(),
        &["docs/src/claims.md: there is no ledger of claims"],
    ),
    (
        "a claim without an experiment",
        |it| {
            let claim = "[[source.claim]]\nid = \"A9\"\nstates = \"cure\"\n";
            it.write(CLAIMS, &(it.read(CLAIMS) + claim));
        },
        &["docs/claims.toml: claim A9: no experiment that has results bears on it"],
    ),
    (
        "a claim without a source",
        |it| it.edit(CLAIMS, "id = \"A2\"", "id = \"A3\""),
        &["claim A2: experiment 01 bears on it, and it is not in here", "claim A3: no experiment"],
    ),
    (
        "a claim without a reason",
        |it| it.edit(CLAIMS, "reason = \"It is the context.\"", ""),
        &["claim A2: it has no reason; the results say 01 refuted"],
    ),
    (
        "a reason for another verdict",
        |it| it.edit(CLAIMS, "01 = \"refuted\"", "01 = \"supported\""),
        &["claim A2: its reason explains 01 supported, and the results say 01 refuted"],
    ),
    (
        "a claim that is there twice",
        |it| {
            let claim = "[[source.claim]]\nid = \"A2\"\nstates = \"again\"\n";
            it.write(CLAIMS, &(it.read(CLAIMS) + claim));
        },
        &["docs/claims.toml: claim A2 is there twice"],
    ),
    (
        "no claims",
        |it| fs::remove_file(it.path(CLAIMS)).unwrap(),
        &["cannot read the claims in", "docs/claims.toml"],
    ),
    (
        "a list of claims that is none",
        |it| it.write(CLAIMS, "[[source]]\nverdict = \"supported\"\n"),
        &["docs/claims.toml is no list of claims", "verdict"],
    ),
    (
        "a picture that nobody shows",
        |it| it.write("docs/src/plots/old.svg", "<svg/>"),
        &[
            "docs/src/plots/old.svg: no page shows it",
            "docs/src/plots/old.svg: nothing in the committed results gives this picture",
        ],
    ),
    (
        "another picture",
        |it| it.edit(PLOT, "<circle", "<ellipse"),
        &["failure-against-sleep.svg: it is not what the committed results give"],
    ),
    (
        "a picture of other results",
        |it| it.edit("docs/results/03_sleep_duration.json", "\"clean\": 0", "\"clean\": 10"),
        &["failure-against-sleep.svg: it is not what the committed results give"],
    ),
    (
        "no picture",
        |it| fs::remove_file(it.path(PLOT)).unwrap(),
        &["failure-against-sleep.svg: there is no such picture", "points nowhere"],
    ),
    (
        "a picture of other figures",
        |it| it.edit(FIGURES, "\"ratio_to_floor\":1.3", "\"ratio_to_floor\":1.9"),
        &["latch-bare-none.svg: it is not what the committed results give"],
    ),
    (
        "no figures",
        |it| fs::remove_file(it.path(FIGURES)).unwrap(),
        &["latch-bare-none.svg: nothing in the committed results gives this picture"],
    ),
    (
        "a table of other figures",
        |it| {
            let group = figures().replace("latch", "group").replace("bare", "spawn");
            it.write("docs/results/bench/group.jsonl", &group);
        },
        &["docs/src/benchmarks.md: it is not what the committed results say"],
    ),
];

#[test]
fn every_disagreement_is_noticed_and_nothing_is_changed() {
    let complete = complete();
    for (name, disagree, words) in DISAGREEMENTS {
        let workspace = complete.copy();
        disagree(&workspace);
        let page = fs::read_to_string(workspace.path(PAGE)).ok();
        let ran = workspace.run(&["notebooks", "--check"]);
        assert_eq!(ran.code, Some(1), "{name}: {ran}");
        for words in *words {
            assert!(ran.stderr.contains(words), "{name}: no {words:?} in {ran}");
        }
        assert_eq!(fs::read_to_string(workspace.path(PAGE)).ok(), page, "{name}");
    }
}
