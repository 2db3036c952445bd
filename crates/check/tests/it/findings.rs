//! The command, on programs whose destructors are known.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::SystemTime};

use crate::command::{Ran, check, command, fixture, sundown};
use serde_json::Value;

/// The findings of a type: code and certainty.
fn of_type<'a>(report: &'a Value, of_type: &str) -> Vec<(&'a str, &'a str)> {
    let findings = report["findings"].as_array().expect("findings");
    let of = findings.iter().filter(|it| it["type"] == of_type);
    let text = |it: &'a Value, key: &str| it[key].as_str().expect("a text");
    let mut found: Vec<_> = of.map(|it| (text(it, "code"), text(it, "certainty"))).collect();
    found.sort_unstable();
    found
}

#[test]
fn a_store_in_deadpools_wrapper_is_found_with_the_way_to_the_panic() {
    let report = fixture(&["--bin", "pooled", "--format", "json"]).json();
    assert_eq!(of_type(&report, "pooled::Store"), [("SD0001", "will")]);
    assert_eq!(of_type(&report, "tokio::runtime::runtime::Runtime"), [("SD0005", "will")]);
    assert!(of_type(&report, "pooled::Plain").is_empty());

    let findings = report["findings"].as_array().expect("findings");
    let store = findings.iter().find(|it| it["type"] == "pooled::Store").expect("the store");
    let wrapper = "deadpool_sync::SyncWrapper<alloc::vec::Vec<u8>>";
    assert_eq!(store["holds"], serde_json::json!(["pooled::Store", wrapper]));
    assert_eq!(store["culprit"], wrapper);
    let path = store["path"].as_array().expect("a path");
    let at: Vec<_> = path.iter().filter_map(|place| place["at"].as_str()).collect();
    assert!(at.iter().any(|at| at.starts_with("deadpool-runtime-0.1.4/src/lib.rs:")), "{at:?}");
    let last = path.last().expect("a step");
    assert_eq!(last["function"], "<tokio::runtime::handle::Handle>::current");
}

#[test]
fn each_destructor_is_judged_as_its_comment_says() {
    let report = fixture(&["--bin", "destructors", "--format", "json"]).json();
    let will = |code| vec![(code, "will")];
    let may = |code| vec![(code, "may")];
    for (name, expected) in [
        ("Spawns", will("SD0001")),
        ("SpawnsBlocking", will("SD0001")),
        ("Sleeps", will("SD0001")),
        ("Blocks", will("SD0006")),
        ("Receives", will("SD0006")),
        ("InPlace", will("SD0009")),
        ("DropsInPlace", [may("SD0001"), will("SD0009")].concat()),
        ("SpawnsLocal", will("SD0012")),
        ("Enters", may("SD0001")),
        ("Asks", may("SD0001")),
        ("EntersSometimes", may("SD0001")),
        ("Takes", may("SD0001")),
        ("Catches", vec![]),
        ("StartsThread", vec![]),
        ("HoldsDyn", may("SD0001")),
        ("HoldsDynInCell", may("SD0001")),
        ("HoldsRuntime", will("SD0005")),
        ("OnSeveral", will("SD0009")),
        ("OnSeveralOnly", [will("SD0001"), will("SD0009")].concat()),
        ("InPlaceOrElse", will("SD0009")),
        ("InPlaceIfPossible", may("SD0009")),
        ("HoldsOneOf", may("SD0005")),
        ("HoldsEither", may("SD0005")),
        ("HoldsBoth", will("SD0005")),
    ] {
        assert_eq!(of_type(&report, &format!("destructors::{name}")), expected, "{name}");
    }
    // Its field is empty when it is dropped; only the check cannot know.
    assert_eq!(of_type(&report, "destructors::InBackground"), may("SD0005"));
}

/// Whether a condition of its own prevents the panic is for the running program to say.
#[test]
fn a_destructor_with_a_condition_may_panic_and_one_without_will() {
    let source = include_str!("../../fixture/src/bin/conditions.rs");
    let (_, cases) = source.split_once("\ndestructors! {\n").expect("the cases");
    let (cases, _) = cases.split_once("\n}\n").expect("their end");
    let cases = commented(cases, |line| line.split_once(':').map(|(name, _)| name));
    let counts = predicted_and_dropped("conditions", &cases);
    assert!(counts.0 >= 10 && counts.1 >= 20, "{counts:?}");
}

#[test]
fn a_flag_that_only_the_destructor_sets_is_no_condition() {
    let source = include_str!("../../fixture/src/bin/flags.rs");
    let counts = predicted_and_dropped("flags", &commented(source, struct_in));
    assert!(counts.0 >= 6 && counts.1 >= 15, "{counts:?}");
}

#[test]
fn a_variant_that_the_source_names_is_a_condition() {
    let source = include_str!("../../fixture/src/bin/variants.rs");
    let counts = predicted_and_dropped("variants", &commented(source, struct_in));
    assert!(counts.0 >= 2 && counts.1 >= 9, "{counts:?}");
}

/// The report recommends the kit, so what it says of the kit must be true. The program drops each value off context and in
/// async code.
#[test]
fn the_kit_that_is_recommended_is_not_accused() {
    let report = fixture(&["--bin", "kit", "--format", "json"]).json();
    let named = report["findings"].as_array().expect("findings").iter();
    let named = named.filter(|it| it["is_named"] == true).filter_map(|it| it["type"].as_str());
    let of_kit: BTreeSet<_> = named.filter(|it| it.starts_with("sundown_")).collect();
    // These have a value that the kit could not take.
    let refused = ["session::refused::Refused", "teardown::TeardownError"];
    let refused =
        refused.map(|it| ["Goodbye", "Slow"].map(|of| format!("sundown_core::{it}<kit::{of}>")));
    let refused = refused.as_flattened().iter().map(String::as_str);
    assert_eq!(of_kit, refused.collect());
    // The same program has what goes wrong without the kit.
    assert_eq!(of_type(&report, "kit::Goodbye"), [("SD0001", "will")]);
    assert_eq!(of_type(&report, "kit::Client"), [("SD0005", "will")]);

    let ran = Command::new(report["program"].as_str().expect("a program")).output();
    let said = String::from_utf8(ran.expect("the program").stdout).expect("UTF-8");
    let (bare, with_kit): (Vec<_>, Vec<_>) =
        said.lines().partition(|it| it.starts_with("without the kit"));
    assert_eq!(
        bare,
        ["without the kit off context: panicked", "without the kit in async code: panicked"]
    );
    assert!(with_kit.iter().all(|line| line.ends_with(": clean")), "{with_kit:#?}");
    assert!(with_kit.len() >= 48, "{said}");
}

/// The name in `struct Name(…`.
fn struct_in(line: &str) -> Option<&str> {
    let (_, name) = line.split_once("struct ")?;
    name.split([' ', '(']).next()
}

/// What the comment before each type says that the check has to say: name and certainty.
fn commented<'a>(
    source: &'a str,
    name_in: impl Fn(&'a str) -> Option<&'a str>,
) -> Vec<(&'a str, &'a str)> {
    let mut cases = Vec::new();
    let mut expected = None;
    for line in source.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("// ") {
            let certainty = comment.split(':').next();
            expected =
                certainty.filter(|word| ["will", "may", "nothing"].contains(word)).or(expected);
        } else if let Some((certainty, name)) = expected.zip(name_in(line)) {
            cases.push((name, certainty));
            expected = None;
        }
    }
    cases
}

/// Compares the findings with what was expected, and with what happens: the program drops a live and full value of each
/// type off context, and every `will` has to panic. Returns how many there are of `will` and `may`.
fn predicted_and_dropped(bin: &str, cases: &[(&str, &str)]) -> (u32, u32) {
    let report = fixture(&["--bin", bin, "--format", "json"]).json();
    let program = report["program"].as_str().expect("a program");
    let said = Command::new(program).output().expect("the program").stdout;
    let said = String::from_utf8(said).expect("UTF-8");
    let has_said = |line: String| said.lines().any(|it| it == line);
    let mut counts = (0, 0);
    let expected =
        |certainty| if certainty == "nothing" { vec![] } else { vec![("SD0001", certainty)] };
    let wrong = cases.iter().filter_map(|(name, certainty)| {
        let found = of_type(&report, &format!("{bin}::{name}"));
        (found != expected(*certainty)).then_some((name, certainty, found))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), []);
    for (name, certainty) in cases {
        let has_panicked = has_said(format!("{name} panicked"));
        assert!(has_panicked || has_said(format!("{name} did not")), "{name} was not dropped");
        match *certainty {
            "will" => {
                assert!(has_panicked, "{name} did not panic");
                counts.0 += 1;
            }
            "nothing" => assert!(!has_panicked, "{name} panicked"),
            _ => counts.1 += 1,
        }
    }
    counts
}

/// The program may be older than what is read.
#[test]
fn a_flag_is_a_condition_if_the_sources_are_newer_than_the_program() {
    let report = fixture(&["--bin", "flags", "--format", "json"]).json();
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("flags");
    fs::copy(report["program"].as_str().expect("a path"), &copy).expect("a copy");
    let once =
        |report: &Value| of_type(report, "flags::Once").first().map(|(_, it)| (*it).to_owned());
    assert_eq!(once(&check_binary(&copy).json()).as_deref(), Some("will"));
    let file = fs::File::options().write(true).open(&copy).expect("the copy");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("an older file");
    assert_eq!(once(&check_binary(&copy).json()).as_deref(), Some("may"));
}

/// Tokio's functions are internal, so a release may rename them, and the check would find nothing.
#[test]
fn every_function_of_tokio_that_the_check_looks_for_is_there() {
    let report = fixture(&["--bin", "destructors", "--format", "json"]).json();
    let tokio = report["tokio"].as_str().expect("a version");
    assert!(tokio.starts_with("1.5"), "{tokio}");
    let sinks: Vec<_> = report["sinks"].as_array().expect("sinks").iter().collect();
    for path in [
        "tokio::task::spawn::spawn_inner",
        "tokio::runtime::handle::Handle::current",
        "tokio::runtime::scheduler::Handle::current",
        "tokio::task::local::spawn_local_inner",
        "tokio::runtime::blocking::shutdown::Receiver::wait",
        "tokio::runtime::context::runtime::enter_runtime",
        "tokio::future::block_on::block_on",
        "tokio::runtime::scheduler::block_in_place::block_in_place",
        "tokio::runtime::scheduler::multi_thread::worker::block_in_place",
    ] {
        assert!(sinks.iter().any(|sink| *sink == path), "no {path} in {sinks:#?}");
    }
}

/// Names in the legacy mangling have no generic arguments, so what was taken may be any `Option`.
#[test]
fn a_program_that_plain_cargo_built_has_the_same_findings() {
    let own = fixture(&["--bin", "destructors", "--format", "json"]).json();
    let plain = check_binary(&plain("destructors")).json();
    let names =
        ["Spawns", "Enters", "EntersSometimes", "Asks", "Takes", "HoldsDyn", "HoldsRuntime"];
    for name in names.map(|name| format!("destructors::{name}")) {
        assert_eq!(of_type(&plain, &name), of_type(&own, &name), "{name}");
    }
    assert_eq!(of_type(&plain, "destructors::Takes"), [("SD0001", "may")]);
}

/// A binary of the fixture as `cargo build` builds it.
fn plain(name: &str) -> std::path::PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plain");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixture/Cargo.toml");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--bin", name, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status();
    assert!(built.expect("cargo").success());
    target.join("debug").join(name)
}

fn check_binary(path: &Path) -> Ran {
    check(&["--binary", path.to_str().expect("a path"), "--format", "json"])
}

/// The futures of a trait's `async fn` have the trait in their names, and are no implementors.
#[test]
fn a_future_of_a_method_is_not_behind_a_dyn_of_its_trait() {
    let report = fixture(&["--bin", "methods", "--format", "json"]).json();
    // It is behind another `dyn`, so its vtable is there.
    assert_eq!(of_type(&report, "methods::Spawns"), [("SD0001", "will")]);
    assert_eq!(of_type(&report, "methods::HoldsBehind"), [("SD0001", "may")]);
    assert!(of_type(&report, "methods::HoldsDyn").is_empty());
}

#[test]
fn a_version_of_tokio_that_is_not_known_is_warned_about() {
    let known = fixture(&["--bin", "pooled", "--format", "json"]).json();
    assert_eq!(known["warnings"], serde_json::json!([]));
    let version = known["tokio"].as_str().expect("a version");
    let program = fs::read(known["program"].as_str().expect("a path")).expect("the program");
    let folder = tempfile::tempdir().expect("a folder");
    let without = fixture(&["--bin", "without_tokio", "--format", "json"]).json();
    assert_eq!(without["warnings"], serde_json::json!([]));

    // The folder of the sources, in the debug information.
    let (of_tokio, newer) = (format!("/tokio-{version}"), format!("/tokio-9{}", &version[1..]));
    for (other, warning) in [
        (newer.as_str(), format!("this is Tokio {};", &newer[7..])),
        (&of_tokio.replace('-', "_"), "the version of Tokio is not known".to_owned()),
    ] {
        let mut program = program.clone();
        let places: Vec<_> = (0..program.len() - of_tokio.len())
            .filter(|place| program[*place..].starts_with(of_tokio.as_bytes()))
            .collect();
        assert!(!places.is_empty());
        for place in places {
            program[place..place + other.len()].copy_from_slice(other.as_bytes());
        }
        let file = folder.path().join("program");
        fs::write(&file, program).expect("written");
        let warnings = check_binary(&file).json()["warnings"].clone();
        let warnings = warnings.as_array().expect("warnings");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let said = warnings[0].as_str().expect("a text");
        assert!(said.starts_with(&warning), "{said}");
        let text = check(&["--binary", file.to_str().expect("a path")]).stdout;
        assert!(text.contains(&format!("\nwarning: {warning}")), "{text}");
    }
}

#[test]
fn a_library_is_checked_with_types_that_nobody_drops() {
    let report = fixture(&["--lib", "--format", "json"]).json();
    assert_eq!(of_type(&report, "fixture::Cache"), [("SD0001", "will")]);
    assert!(of_type(&report, "fixture::Plain").is_empty());
}

#[test]
fn a_program_without_tokio_has_nothing() {
    let ran = fixture(&["--bin", "without_tokio"]);
    assert!(ran.is_success() && ran.stdout.contains("nothing in it can"), "{ran:?}");
}

#[test]
fn only_reports_the_types_that_it_names() {
    let report =
        fixture(&["--bin", "pooled", "--only", "pooled::Store", "--format", "json"]).json();
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|it| it["type"].as_str().is_some_and(|it| it.contains("Store"))));
    assert_eq!(of_type(&report, "pooled::Store"), [("SD0001", "will")]);
    // A type of the program that is clean.
    let clean = fixture(&["--bin", "pooled", "--only", "pooled::Plain", "--format", "json"]).json();
    assert_eq!(clean["findings"], serde_json::json!([]));

    let both = ["--only", "pooled::Store", "--only", "pooled::Plain"];
    let both = fixture(&[&["--bin", "pooled", "--format", "json"], &both[..]].concat()).json();
    assert_eq!(of_type(&both, "pooled::Store"), [("SD0001", "will")]);
    let program = both["program"].as_str().expect("a program");
    assert!(
        program.ends_with("debug/pooled") && fs::exists(program).is_ok_and(|it| it),
        "{program}"
    );

    let mistyped = fixture(&["--bin", "pooled", "--only", "pooled::Stroe"]);
    assert_eq!(mistyped.code, Some(2));
    assert!(mistyped.stderr.contains("did you mean `pooled::Store`?"), "{mistyped:?}");
}

#[test]
fn deny_fails_on_what_the_baseline_does_not_accept() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("accepted.txt");
    let baseline = file.to_str().expect("a path");
    let target = ["--bin", "pooled", "--baseline", baseline];
    fs::write(&file, "").expect("written");
    let denied = fixture(&[&target[..], &["--deny"]].concat());
    assert_eq!(denied.code, Some(1));
    assert!(denied.stdout.contains("not accepted:\n"), "{denied:?}");
    assert!(denied.stdout.contains("\n  SD0001 will pooled::Store\n"), "{denied:?}");

    assert!(fixture(&[&target[..], &["--accept"]].concat()).is_success());
    assert!(fixture(&[&target[..], &["--deny=may"]].concat()).is_success());

    let accepted = fs::read_to_string(&file).expect("a baseline");
    let without = accepted.replace("SD0001 will pooled::Store\n", "");
    assert_ne!(accepted, without);
    fs::write(&file, without).expect("written");
    let new = fixture(&[&target[..], &["--deny"]].concat());
    assert_eq!(new.code, Some(1));
    let (_, list) = new.stdout.split_once("not accepted:\n").expect("a list");
    assert_eq!(list, "  SD0001 will pooled::Store\n");

    fs::write(&file, "pooled::Store\n").expect("written");
    let damaged = fixture(&[&target[..], &["--deny"]].concat());
    assert_eq!(damaged.code, Some(1));
    assert!(
        damaged.stderr.contains("accepted.txt:1: `pooled::Store` is not a code"),
        "{damaged:?}"
    );
}

/// The next build may have other numbers for closures, and no program can own a part of Tokio.
#[test]
fn the_baseline_has_only_types_that_keep_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("accepted.txt");
    let baseline = file.to_str().expect("a path");
    let ran =
        fixture(&["--bin", "destructors", "--format", "json", "--baseline", baseline, "--accept"]);
    let report = ran.json();
    let findings = report["findings"].as_array().expect("findings").iter();
    let types: Vec<_> = findings.filter_map(|it| it["type"].as_str()).collect();
    let has_closure = |it: &&str| {
        it.split_once('<').is_some_and(|(path, rest)| !path.contains('{') && rest.contains('{'))
    };
    assert!(types.iter().any(has_closure), "{types:#?}");
    assert!(types.iter().any(|it| it.ends_with("::BlockingPool")), "{types:#?}");

    let accepted = fs::read_to_string(&file).expect("a baseline");
    assert!(accepted.contains("SD0001 will destructors::Spawns\n"), "{accepted}");
    assert!(accepted.contains("SD0005 will tokio::runtime::runtime::Runtime\n"), "{accepted}");
    assert!(!accepted.contains('{') && !accepted.contains("BlockingPool"), "{accepted}");
    // Nor has the pool a paragraph of its own.
    let text = fixture(&["--bin", "destructors"]).stdout;
    assert!(text.contains("panic: tokio::runtime::runtime::Runtime,"), "{text}");
    assert!(!text.contains("panic: tokio::runtime::blocking::"), "{text}");
}

#[test]
fn the_report_says_what_where_and_what_instead() {
    let ran = fixture(&["--bin", "pooled"]);
    assert!(ran.is_success());
    let report = &ran.stdout;
    for part in [
        "SD0001 will panic: deadpool_sync::SyncWrapper, dropped where there is no runtime context\n",
        "pooled::Store → SyncWrapper<Vec<u8>>\n",
        "Runtime::spawn_blocking_background, from deadpool-sync-0.1.4/src/lib.rs:",
        "teardown_blocking(value, limit)",
        "  more     cargo sundown explain SD0001\n",
    ] {
        assert!(report.contains(part), "no {part:?} in:\n{report}");
    }
    assert!(ran.stderr.contains("Reading ") && ran.stderr.contains("Checking "), "{ran:?}");
}

#[test]
fn help_explains_the_exit_codes() {
    let help = check(&["--help"]);
    assert!(help.is_success() && help.stdout.contains("Exit codes:"), "{help:?}");
}

#[test]
fn the_page_of_a_code_is_printed() {
    for code in ["SD0001", "sd0001"] {
        let page = sundown(&["explain", code]);
        assert!(page.is_success() && page.stdout.starts_with("# SD0001 "), "{page:?}");
        assert!(page.stdout.contains("teardown_blocking(Connection"), "{page:?}");
    }
    let help = sundown(&["explain", "--help"]);
    assert!(help.is_success() && help.stdout.contains("<CODE>"), "{help:?}");
    let all = sundown(&["--help"]);
    assert!(all.is_success() && all.stdout.contains("  explain "), "{all:?}");
    let mistyped = sundown(&["explain", "SD00012"]);
    assert_eq!((mistyped.code, mistyped.stdout.as_str()), (Some(2), ""), "{mistyped:?}");
    assert!(mistyped.stderr.contains("did you mean `SD0012`?"), "{mistyped:?}");
    assert_eq!(sundown(&["explain"]).code, Some(2));
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let full = || fs::File::options().write(true).open("/dev/full").expect("a full device");
    let program = fixture(&["--bin", "pooled", "--format", "json"]).json()["program"].clone();
    let program = program.as_str().expect("a path");
    let ran = command().args(["--binary", program]).stdout(full()).output().expect("the command");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write to standard output: "), "{said}");
}
