//! `--try`: the trials of findings decide, and say so if there were none.

use std::{fs, path::Path};

use crate::command::{Ran, fixture};

fn tried(constructors: &Path, format: &str) -> Ran {
    let path = constructors.to_str().expect("a path");
    fixture(&["--lib", "--only", "fixture::", "--format", format, "--try", path])
}

#[test]
fn a_live_value_confirms_a_finding_or_does_not() {
    let constructors = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixture/constructors.toml");
    let ran = tried(&constructors, "json");
    assert!(ran.is_success(), "{ran:?}");
    let report = ran.json();
    let trials = report["trials"].as_array().expect("trials");
    let verdict = |of_type: &str, place: &str| {
        let is_it = |it: &&serde_json::Value| {
            it["place"] == place && it["type"].as_str().is_some_and(|it| it.ends_with(of_type))
        };
        let found: Vec<_> = trials.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{of_type}: {trials:?}");
        found[0]["verdict"].as_str().expect("a verdict").to_owned()
    };
    assert_eq!(verdict("fixture::Cache", "off-context"), "confirmed");
    assert_eq!(verdict("fixture::Cache", "in-async"), "clean");
    assert_eq!(verdict("fixture::Spare", "off-context"), "not-confirmed");
    assert_eq!(verdict("fixture::AtEnd", "off-context"), "missed");
    assert_eq!(verdict("fixture::Plain", "off-context"), "clean");
    assert_eq!(verdict("::Other", "off-context"), "not-in-program");
    assert_eq!(report["untried"], serde_json::json!([]));

    let text = tried(&constructors, "text").stdout;
    assert!(
        text.contains(
            "confirmed SD0001 will fixture::Cache, dropped off context: 5 of 5 panicked (SD0001)"
        ),
        "{text}"
    );
}

#[test]
fn a_finding_without_a_constructor_is_listed() {
    let file = constructors("[[values]]\nmake = \"fixture::Plain { rows: vec![] }\"\n");
    let ran = tried(file.path(), "text");
    let text = "no constructor SD0001 will fixture::Cache";
    assert!(ran.is_success() && ran.stdout.contains(text), "{ran:?}");
}

#[test]
fn a_control_that_panics_leaves_nothing_to_say() {
    let file = constructors("[[values]]\nmake = \"fixture::AtEnd(Some(Box::new(|| panic!())))\"\n");
    let ran = tried(file.path(), "text");
    assert!(ran.is_success() && ran.stdout.contains("  control failed fixture::AtEnd"), "{ran:?}");
}

#[test]
fn constructors_that_cannot_be_used() {
    for (text, reason) in [
        ("", "missing field `values`"),
        ("values = []\n", "no `[[values]]`"),
        ("[[values]]\nmade = \"1\"\n", "unknown field `made`"),
        ("[[values]]\nmake = \"missing()\"\n", "the program of trials does not build"),
        ("[[values]]\nmake = \"panic!(\\\"no server\\\"); 1\"\n", "made no value:"),
    ] {
        let file = constructors(text);
        let ran = tried(file.path(), "text");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains(reason), "no {reason:?} in {ran:?}");
    }
    let ran = tried(Path::new("/nonexistent"), "text");
    assert!(ran.code == Some(1) && ran.stderr.contains("cannot read /nonexistent"), "{ran:?}");
}

fn constructors(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("written");
    file
}
