//! The notebook: written from results, and checked against everything it should agree with.

use std::fs;

use lab::{
    Observation, Outcome, Role, Value, Verdict,
    results::{ClaimResult, ExperimentResult},
};

use crate::fixture::{SITE, Workspace, drop_context, experiment, sleep_duration, variant};

const PAGE: &str = "docs/src/01-drop-context.md";
const OTHER_PAGE: &str = "docs/src/03-sleep-duration.md";
const RESULTS: &str = "docs/results/01_drop_context.json";
const CLAIMS: &str = "docs/claims.toml";
const LEDGER: &str = "docs/src/claims.md";
const SNAPSHOT: &str = "experiments/snapshots/01_drop_context.snap";
const PLOT: &str = "docs/src/plots/failure-against-sleep.svg";
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

impl Workspace {
    /// Runs this experiment and writes the notebook.
    fn notebook_with(&self, result: &ExperimentResult) -> &Self {
        self.experiment(result);
        self.run(&["experiments", "--accept"]).expect_code(0);
        self.run(&["notebooks"]).expect_code(0);
        self
    }

    #[track_caller]
    fn contains(&self, file: &str, words: &[&str]) -> &Self {
        let text = self.read(file);
        for words in words {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
        self
    }
}

/// A workspace with a complete notebook: written, with prose where prose was missing.
pub fn complete() -> Workspace {
    let workspace = Workspace::with_two();
    workspace.write("docs/results/bench/latch.jsonl", &figures());
    workspace.write(BENCHMARKS, BENCHMARKS_SKELETON);
    workspace.notebook_with(&waiting());
    for page in [PAGE, OTHER_PAGE] {
        let text = workspace.read(page);
        let is_missing = |line: &str| line.starts_with("<!-- prose is missing");
        let lines = text.lines().map(|line| if is_missing(line) { "Words." } else { line });
        workspace.write(page, &(lines.collect::<Vec<_>>().join("\n") + "\n"));
    }
    workspace.edit(PAGE, "# 01 · drop-context\n", "# 01 · It is the context\n");
    workspace.edit(OTHER_PAGE, "# 03 · sleep-duration\n", "# 03 · Waiting helps\n");
    workspace.run(&["notebooks"]).expect_code(0);
    workspace.run(&["notebooks", "--check"]).expect_code(0);
    workspace
}

#[test]
fn a_page_has_the_whole_result() {
    let workspace = Workspace::with_two();
    let ran = workspace.run(&["notebooks"]).expect_code(0);
    ran.says(PAGE).says(RESULTS).says("docs/src/SUMMARY.md");
    workspace.contains(
        PAGE,
        &[
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
        ],
    );
    let contents = "# Summary\n\n[Introduction](introduction.md)\n\n<!-- experiments:begin -->\n\n\
                    - [Dropping a client](lab-dropping.md)\n  - [01 drop-context](01-drop-context.md)\n  - [03 sleep-duration](03-";
    workspace.contains("docs/src/SUMMARY.md", &[contents]);
    // Nothing of the machine is committed.
    let results = workspace.read(RESULTS);
    for trace in ["/tmp", "/home", "thread main panicked"] {
        assert!(!results.contains(trace), "{trace} in {results}");
    }
    assert!(results.contains("cannot open …/store.db"), "{results}");
}

#[test]
fn the_contents_call_an_experiment_by_its_finding_only_while_it_finds_it() {
    const CONTENTS: &str = "docs/src/SUMMARY.md";
    let workspace = complete();
    workspace.contains(CONTENTS, &["  - [01 It is the context](01-drop-context.md)\n"]);
    workspace.contains(
        "docs/src/lab-dropping.md",
        &["| 01 | [It is the context](01-drop-context.md) |"],
    );
    let mut refuted = drop_context();
    refuted.verdict = Verdict::Refuted;
    let workspace = workspace.notebook_with(&refuted);
    workspace.contains(CONTENTS, &["  - [01 drop-context](01-drop-context.md)\n"]);
}

#[test]
fn a_page_and_a_snapshot_say_what_was_first_expected() {
    let workspace = Workspace::empty();
    let mut changed = drop_context();
    changed.first_expected = Some("It is something else.".to_owned());
    workspace.notebook_with(&changed).contains(
        PAGE,
        &[
            "It is drop-context that decides.",
            "*Changed after the first figures. First expected:* It is something else.",
        ],
    );
    let texts = "hypothesis  supported\n    It is drop-context that decides.\n    \
                 First expected: It is something else.\nclaim A2    refuted\n    the panic";
    workspace.contains(SNAPSHOT, &[texts]);
}

#[test]
fn the_page_of_claims_has_the_verdict_of_each_experiment() {
    let workspace = complete();
    workspace.contains(
        LEDGER,
        &[
            "## a demo\n\nWhat the demo is.",
            "| <a id=\"a2\"></a>A2 | tasks \\| runtime | **refuted** by&nbsp;[01](01-drop-context.md) \
             | It is the context. |",
        ],
    );
    // Another experiment says something else: the reason is for other verdicts.
    let (mut other, claim) = (waiting(), drop_context().claims.remove(0));
    other.claims.push(ClaimResult { verdict: Verdict::Supported, ..claim.clone() });
    workspace.notebook_with(&other).contains(
        LEDGER,
        &["| **refuted** by&nbsp;[01](01-drop-context.md), but **supported** by&nbsp;\
             [03](03-sleep-duration.md) |  |"],
    );
    let reason = "its reason explains 01 refuted, but the results say 01 refuted, 03 supported";
    workspace.run(&["notebooks"]).expect_code(0).says("claim A2").says(reason);
    workspace.run(&["notebooks", "--check"]).expect_code(1).says(CLAIMS).says(reason);
    workspace.edit(CLAIMS, "01 = \"refuted\"", "01 = \"refuted\", 03 = \"supported\"");
    workspace.run(&["notebooks"]).expect_code(0);
    workspace.run(&["notebooks", "--check"]).expect_code(0);
}

#[test]
fn the_page_of_claims_quotes_the_source_and_tells_findings_and_changed_verdicts_apart() {
    let workspace = complete();
    let claim = drop_context().claims.remove(0);
    let mut other = waiting();
    other.first_expected = Some("It is something else.".to_owned());
    other.claims = vec![ClaimResult { id: "A3".to_owned(), finding: true, ..claim }];
    let quoted = "states = \"tasks | runtime\"\nquote = \"it is the tasks\"\n\
                  before = { verdict = \"supported by 01\", why = \"It looked at one thread.\" }";
    workspace.edit(CLAIMS, "states = \"tasks | runtime\"", quoted);
    let found = "[[source.claim]]\nid = \"A3\"\nstates = \"a surprise\"\n\
                 reason = \"So it is.\"\nexplains = { 03 = \"refuted\" }\n";
    workspace.write(CLAIMS, &(workspace.read(CLAIMS) + found));
    workspace.notebook_with(&other).contains(
        LEDGER,
        &[
            "</a>A2 | “it is the tasks”<br>tasks \\| runtime | **refuted** by",
            "| finding | it states that | verdict | because |\n| :-- | --- | --- | --- |\n\
             | <a id=\"a3\"></a>A3 | a surprise | **refuted** by",
            "## Tests that changed",
            "| [A2](#a2) | supported by 01 | **refuted** by&nbsp;[01](01-drop-context.md) | It looked \
             at one thread. |",
        ],
    );
    workspace.contains(
        OTHER_PAGE,
        &[
            "*Changed after the first figures. First expected:* It is something else.",
            "| [A3](claims.md#a3) | *finding:* the panic comes from tasks",
        ],
    );
    workspace.run(&["notebooks", "--check"]).expect_code(0);
    let mut unlike = drop_context();
    unlike.claims[0].id = "A3".to_owned();
    workspace.notebook_with(&unlike);
    workspace.run(&["notebooks", "--check"]).expect_code(1).says("call it the same in both");
}

#[test]
fn a_reason_may_have_the_counts_of_its_results_and_those_that_are_marked() {
    let workspace = complete();
    let counts = "20 of 20 abort, in another run 18 and 19 of 20. \
                  ([03](03-sleep-duration.md): 0 and 100 of 100.)";
    workspace.edit(CLAIMS, "It is the context.", counts);
    workspace.run(&["notebooks"]).says("says 18 of 20, which is in no result of 01, 03");
    workspace.edit(CLAIMS, "explains", "elsewhere = [\"18 and 19 of 20\"]\nexplains");
    workspace.run(&["notebooks"]).expect_code(0);
    workspace.run(&["notebooks", "--check"]).expect_code(0);
}

#[test]
fn pictures_are_drawn_from_results_and_figures() {
    let workspace = complete();
    workspace.contains(OTHER_PAGE, &["](plots/failure-against-sleep.svg)"]);
    // Both waits, both arms, and the unit of the axis.
    let words = ["\n0\n", "\n10 ms\n", "\n1 s\n", "deadpool 0.13", "trials that failed, %"];
    workspace.contains(PLOT, &words);
    let words = ["sundown", "floor", "waiters", "× floor", "currentColor"];
    workspace.contains("docs/src/plots/latch-bare-none.svg", &words);

    let mut churn = variant(Role::Cure, "keep", Outcome::Clean, &[]);
    churn.observations = [5, 40, 10, 100]
        .map(|cycle| (format!("kib_after_{cycle}"), counted(9_000 + cycle)))
        .into_iter()
        .chain([("kib_at_the_end".to_owned(), counted(9_100))])
        .collect();
    workspace.notebook_with(&experiment("26", "relogin-churn", vec![churn]));
    let (page, growth) = ("docs/src/26-relogin-churn.md", "docs/src/plots/growth-over-cycles.svg");
    workspace.contains(page, &["](plots/growth-over-cycles.svg)", "kib_at_the_end"]);
    assert!(!workspace.read(page).contains("kib_after_"), "it is in the picture");
    workspace.contains(growth, &["\nkeep\n", "memory of the process, KiB"]);
    // The line goes from left to right: by number, not by name.
    let plot = workspace.read(growth);
    let line = plot.split("<polyline").find(|it| it.contains("stroke-width=\"4\"")).unwrap();
    let points = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
    let x = |point: &str| point.split(',').next().unwrap().parse::<i32>().unwrap();
    let places: Vec<_> = points.split_whitespace().map(x).collect();
    assert!(places.len() == 4 && places.is_sorted(), "{places:?}");
}

#[test]
fn a_picture_is_drawn_only_from_complete_results() {
    let workspace = complete();
    let mut leak = variant(Role::Hazard, "forget/all", Outcome::Failed, &[]);
    let names = ["descriptors", "threads", "kib"].map(|name| format!("{name}_per_cycle"));
    leak.observations = names.map(|name| (name, counted(8))).into();
    workspace.notebook_with(&experiment("31", "leak-on-logout", vec![leak.clone()]));
    let plot = "docs/src/plots/cost-of-a-leaked-logout.svg";
    assert!(!workspace.exists(plot), "without the heap");
    leak.observations.insert("heap_bytes_per_cycle".to_owned(), counted(935));
    workspace.notebook_with(&experiment("31", "leak-on-logout", vec![leak]));
    workspace.contains(plot, &["\nforget/all\n"]);
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
    workspace.run(&["notebooks", "--check"]).expect_code(1).says("docs/src/benchmarks.md: line ");
    workspace.run(&["notebooks"]).expect_code(0);
    workspace.contains(
        BENCHMARKS,
        &[
            "| | 1 | 100 |\n",
            "| spawn, several threads | 1.10 | 1.30 |",
            "| | dirty, 1 | 100 |",
            "| floor | 5.00 ms, left 3 | 5.00 ms, left 3 |",
            "| `Session::close` | 1.10×, left 3 | 1.30×, left 3 |",
            "Medians of 21 interleaved rounds",
        ],
    );
}

#[test]
fn the_readme_has_the_lines_of_the_first_experiments() {
    let workspace = complete();
    let mut cured = drop_context();
    cured.variants.push(variant(Role::Cure, "kit/outside-alive", Outcome::Clean, &[]));
    workspace.notebook_with(&cured).contains(
        "README.md",
        &["```text\n✓ 01 It is the context · failed 20/20 · cured\n✓ 03 Waiting helps · failed "],
    );
}

#[test]
fn the_readme_and_the_page_of_claims_count_how_the_claims_fared() {
    let workspace = complete();
    let untested = "[[source.claim]]\nid = \"A4\"\nstates = \"it helps\"\n\
                    untested = \"Nobody can count that.\"\n";
    workspace.write(CLAIMS, &(workspace.read(CLAIMS) + untested));
    let mut changed = waiting();
    changed.first_expected = Some("It is something else.".to_owned());
    workspace.notebook_with(&changed);
    for page in ["README.md", LEDGER] {
        workspace.contains(
            page,
            &[
                "2 claims from 1 sources (a sentence whose parts fare differently counts as several, so this is \
                 no score): 1 refuted, 1 not tested.",
                "In 1 of 2 experiments the hypothesis was changed",
                ": 03.",
            ],
        );
    }
    workspace.contains(LEDGER, &["A4 | it helps | not tested | Nobody can count that. |"]);
    workspace.run(&["notebooks", "--check"]).expect_code(0);
    workspace.edit("README.md", "1 refuted", "1 supported");
    workspace.run(&["notebooks", "--check"]).expect_code(1).says("README.md: line");
}

#[test]
fn only_changed_blocks_are_written_and_prose_stays() {
    let workspace = complete();
    workspace.run(&["notebooks"]).expect_code(0).says("nothing to write");
    // Also from what is committed, if the results of the run are gone.
    fs::remove_dir_all(workspace.path("target")).unwrap();
    workspace.run(&["notebooks"]).expect_code(0).says("nothing to write");
    workspace.edit(PAGE, "Words.", "Words of my own.");
    let mut slower = drop_context();
    slower.seconds = 99.0;
    workspace.experiment(&slower);
    workspace.run(&["experiments", "--only", "1"]).expect_code(0);
    workspace.run(&["notebooks"]).expect_code(0).says(PAGE).does_not_say(OTHER_PAGE);
    workspace.contains(PAGE, &["99.0 s", "Words of my own."]);
}

#[test]
fn an_older_run_does_not_replace_newer_results() {
    let workspace = complete();
    let results = workspace.read(RESULTS);
    let started = results.split("\"started\": \"").nth(1).unwrap().get(..10).unwrap().to_owned();
    workspace.edit(RESULTS, &started, "2999-01-01");
    workspace.run(&["notebooks"]).expect_code(0).says("the committed results are newer");
    workspace.contains(RESULTS, &["2999-01-01"]);
}

#[test]
fn an_experiment_that_was_removed_leaves_the_contents() {
    let workspace = Workspace::with_two();
    workspace.run(&["notebooks"]).expect_code(0);
    workspace.remove("experiments/src/bin/03_sleep_duration.rs");
    let ran = workspace.run(&["notebooks"]).expect_code(0);
    ran.says("03 sleep-duration is in the last run's results, but was removed since");
    assert!(!workspace.read("docs/src/SUMMARY.md").contains("sleep-duration"));
    let of_the_run = ["notebooks", "--results", "target/experiments/results.json"];
    workspace.run(&of_the_run).expect_code(1).says("there is no experiment 03 sleep-duration");
}

#[test]
fn unreadable_results_are_not_overwritten() {
    let workspace = Workspace::with_two();
    workspace.run(&["notebooks"]).expect_code(0);
    fs::write(workspace.path(PAGE), b"\xff\xfe prose in another encoding").unwrap();
    let ran = workspace.run(&["notebooks"]).expect_code(1);
    ran.says(&format!("{PAGE}: stream did not contain valid UTF-8"));
    assert!(fs::read(workspace.path(PAGE)).unwrap().starts_with(b"\xff\xfe prose"));
    workspace.write(PAGE, "# 01 · drop-context\n");
    let ran = workspace.run(&["notebooks"]).expect_code(1);
    ran.says(PAGE).says("there is no <!-- question:begin --> followed by");
    workspace.write(RESULTS, "{");
    workspace.run(&["notebooks"]).expect_code(1).says(RESULTS).says("take the file from git again");
    assert_eq!(workspace.read(RESULTS), "{");
}

#[test]
fn without_complete_results_nothing_is_written() {
    let workspace = Workspace::empty();
    workspace.experiment(&drop_context());
    workspace
        .run(&["notebooks"])
        .expect_code(1)
        .says("run `cargo xtask experiments --only NUMBER`");
    let ran = workspace.run(&["notebooks", "--results", "none.json"]).expect_code(1);
    ran.says("cannot read the results in none.json");
    let mut partial = sleep_duration();
    partial.interrupted = true;
    workspace.experiment(&partial);
    workspace.run(&["experiments", "--full", "--jobs", "4"]).expect_code(1);
    workspace.run(&["notebooks"]).expect_code(1).says("03 sleep-duration was interrupted");
}

/// What is broken, how, and what is then said.
type Disagreement = (&'static str, fn(&Workspace), &'static [&'static str]);

/// One of each kind. Everything that is written is compared in the same way.
const OTHER_LOCK_FILE: &str = "[[package]]\nname = \"rusqlite\"\nversion = \"0.36.0\"\n";
const WITH_THE_REAL_SDK: &str =
    "\"id\": \"01\", \"equipment\": { \"matrix-sdk\": \"0.13.0\", \"rusqlite\": \"0.35.0\" },";

const DISAGREEMENTS: &[Disagreement] = &[
    (
        "a file that differs from what would be written",
        |it| it.edit(PAGE, "20 of 20", "19 of 20"),
        &["docs/src/01-drop-context.md: line ", "differs from the results: run `cargo xtask note"],
    ),
    ("a file that is not there", |it| it.remove(PLOT), &["sleep.svg: it is missing: run `cargo"]),
    (
        "a page without a block",
        |it| it.edit(PAGE, "<!-- result:begin -->", ""),
        &[PAGE, "there is no <!-- result:begin -->"],
    ),
    (
        "an experiment without results",
        |it| it.write("experiments/src/bin/02_new.rs", "fn main() {}\n"),
        &["docs/results/02_new.json: there are no results", "docs/src/SUMMARY.md: line "],
    ),
    (
        "counts that do not add up",
        |it| it.edit(RESULTS, "\"aborted\": 20", "\"aborted\": 19"),
        &["the counts of old/outside-alive do not add up: take the file from git again"],
    ),
    ("results that are not complete", |it| it.write(RESULTS, "{}"), &[RESULTS, "not a complete"]),
    (
        "results of another experiment",
        |it| it.write(RESULTS, &it.read("docs/results/03_sleep_duration.json")),
        &["it holds the results of 03 sleep-duration: take the file from git again"],
    ),
    (
        "results with a path of the machine",
        |it| it.edit(RESULTS, "…/store.db", "/tmp/store.db"),
        &["docs/results/01_drop_context.json: line "],
    ),
    (
        "no snapshot",
        |it| it.remove(SNAPSHOT),
        &[SNAPSHOT, "there is no such snapshot: run `cargo xtask experiments --only 01 --accept`"],
    ),
    (
        "another snapshot",
        |it| it.edit(SNAPSHOT, "always clean", "never aborted"),
        &[SNAPSHOT, "it differs from the committed results: run "],
    ),
    (
        "results that are older than their experiment",
        |it| it.write("experiments/src/bin/01_drop_context.rs", "fn main() { other() }\n"),
        &[
            "the results are older than experiments/src/bin/01_drop_context.rs: run `cargo xtask exp",
        ],
    ),
    (
        "results without a word of what they were made from",
        |it| it.edit(RESULTS, "\"experiments/src/bin/01_drop_context.rs\"", "\"another\""),
        &[
            "the results are older than experiments/src/bin/01_drop_context.rs: run `cargo xtask exp",
        ],
    ),
    (
        "a panic without its thread",
        |it| it.edit(RESULTS, "\"threads\": [\n", "\"names\": [\n"),
        &[
            "panicked, and the results do not say where or on which thread: run `cargo xtask experiments",
        ],
    ),
    (
        "results that were made with other versions",
        |it| it.edit("Cargo.lock", "1.54.0", "1.55.0"),
        &["03_sleep_duration.json: the results were made with another version of tokio: run"],
    ),
    (
        "results that were made with other versions around the real SDK",
        |it| {
            it.write("crates/real-sdk/sdk-0.13/Cargo.lock", OTHER_LOCK_FILE);
            it.edit(RESULTS, "\"id\": \"01\",", WITH_THE_REAL_SDK);
        },
        &["01_drop_context.json: the results were made with another version of rusqlite: run"],
    ),
    (
        "an experiment that was removed",
        |it| it.remove("experiments/src/bin/01_drop_context.rs"),
        &[PAGE, RESULTS, SNAPSHOT, "it belongs to no experiment: remove it"],
    ),
    (
        "a picture of nothing",
        |it| it.write("docs/src/plots/old.svg", "<svg/>"),
        &["plots/old.svg: no page shows it", "plots/old.svg: no results give this picture"],
    ),
    (
        "a page with other headings",
        |it| {
            it.edit(PAGE, "# 01 · It is the context\n", "# It is the context\n");
            it.edit(PAGE, "## Method", "## Methods");
        },
        &[
            "its first line is not `# 01 · ` and the finding in a few words",
            "should be `Question, Hypothesis, Method,",
        ],
    ),
    (
        "a page without prose",
        |it| it.edit(PAGE, "Words.", "<!-- prose is missing: all of it -->"),
        &[PAGE, "a comment stands where prose is missing"],
    ),
    (
        "a link that points nowhere",
        |it| it.edit(PAGE, "Words.", "[See](02-nowhere.md#there)."),
        &["its link to 02-nowhere.md#there points nowhere"],
    ),
    (
        "a link to a part that is not there",
        |it| it.write("docs/src/introduction.md", "[See](01-drop-context.md#nothing)\n"),
        &["docs/src/introduction.md: its link to 01-drop-context.md#nothing points nowhere"],
    ),
    (
        "a link out of the book",
        |it| it.edit(PAGE, "Words.", "[See](../../README.md)."),
        &["its link to ../../README.md leaves the book", "name the file in backticks"],
    ),
    (
        "a file that is named and not there",
        |it| it.edit(PAGE, "Words.", "`xtask/none.rs`\n```rust\n{{#include ../none.rs}}\n```"),
        &["it names xtask/none.rs, which does not exist", "mdBook includes a file"],
    ),
    (
        "a listing that is not what its file is",
        |it| {
            it.write("xtask/a.rs", "fn a() {}\n");
            it.edit(PAGE, "Words.", "<!-- listing: xtask/a.rs -->\n\n```rust\nfn b() {}\n```");
        },
        &["docs/src/01-drop-context.md: line"],
    ),
    (
        "a listing of a file that is not there",
        |it| it.write("docs/src/introduction.md", "<!-- listing: xtask/a.rs -->\n\n```rust\n```\n"),
        &["docs/src/introduction.md: xtask/a.rs: No such file"],
    ),
    (
        "a claim without an experiment, and an experiment without the claim",
        |it| it.edit(CLAIMS, "id = \"A2\"", "id = \"A3\""),
        &["claim A2: experiment 01 tests it, but it is not listed", "claim A3: no experiment with"],
    ),
    (
        "a claim without a reason",
        |it| it.edit(CLAIMS, "reason = \"It is the context.\"", ""),
        &["claim A2: it has no reason; the results say 01 refuted"],
    ),
    (
        "a reason with a count of an older run",
        |it| {
            it.edit(CLAIMS, "It is the context.", "19 of 20 abort, and 100 of 100.");
        },
        &["claim A2: its reason says 19 of 20, which is in no result of 01: write what they say"],
    ),
    (
        "a mark for a count that is not there",
        |it| it.edit(CLAIMS, "explains", "elsewhere = [\"5 of 20\"]\nexplains"),
        &["claim A2: `elsewhere` has 5 of 20, and its reason does not: remove it"],
    ),
    (
        "a claim that is untested, and is tested",
        |it| it.edit(CLAIMS, "reason = \"It is the context.\"", "untested = \"How?\""),
        &["claim A2: it is `untested`, but the results say 01 refuted"],
    ),
    (
        "a claim that is there twice",
        |it| {
            let claim = "[[source.claim]]\nid = \"A2\"\nstates = \"again\"\n";
            it.write(CLAIMS, &(it.read(CLAIMS) + claim));
        },
        &["docs/claims.toml: claim A2 is listed twice"],
    ),
    ("no list of claims", |it| it.write(CLAIMS, "[[source]]\n"), &["claims.toml: not a list of"]),
];

#[test]
fn check_reports_every_kind_of_disagreement_and_changes_nothing() {
    let complete = complete();
    for (name, disagree, words) in DISAGREEMENTS {
        let workspace = complete.copy();
        disagree(&workspace);
        let page = workspace.read(PAGE);
        let ran = workspace.run(&["notebooks", "--check"]);
        assert_eq!(ran.code, Some(1), "{name}: {ran}");
        for words in *words {
            assert!(ran.stderr.contains(words), "{name}: no {words:?} in {ran}");
        }
        assert_eq!(workspace.read(PAGE), page, "{name}");
    }
}

#[test]
fn the_notebook_takes_no_figures_that_were_measured_in_a_hurry_or_in_company() {
    for (options, why) in [
        (&[][..], "ran with few trials"),
        (&["--all"], "ran with few trials"),
        (&["--trials", "9"], "ran with --trials"),
        (&["--full"], "ran with another experiment beside it"),
    ] {
        let workspace = Workspace::with_two();
        workspace.run(&["notebooks"]).expect_code(0);
        let before = workspace.read("docs/results/01_drop_context.json");
        workspace.run(&[&["experiments"], options].concat()).expect_code(0);
        workspace.run(&["notebooks"]).expect_code(0).says(why);
        assert_eq!(workspace.read("docs/results/01_drop_context.json"), before);
        let results = workspace.path("target/experiments/results.json");
        let results = results.to_str().unwrap();
        workspace.run(&["notebooks", "--results", results]).expect_code(1).says(why);
        // By hand.
        workspace.edit("docs/results/01_drop_context.json", "\"quick\": false", "\"quick\": true");
        workspace.run(&["notebooks", "--check"]).expect_code(1).says("ran with few trials");
    }
}
