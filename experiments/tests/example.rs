//! The experiment of the chapter *Writing an experiment* finds what the chapter says.

use std::{error::Error, process::Command};

use lab::results::{ExperimentResult, Verdict};

#[test]
fn the_experiment_of_the_chapter_is_supported_and_refutes_its_claim() -> Result<(), Box<dyn Error>>
{
    // Beside this test: `cargo test` builds examples, `cargo test --test` alone not.
    let test = std::env::current_exe()?;
    let folder = test.parent().ok_or("a test is in a folder")?.with_file_name("examples");
    let example = folder.join("48_dropped_handle");
    assert!(example.exists(), "{}: cargo build -p experiments --examples", example.display());

    let found = Command::new(example).args(["--trials", "5", "--format", "json"]).output()?;
    let errors = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{}\n{errors}", found.status);
    let result: ExperimentResult = serde_json::from_slice(&found.stdout)?;
    assert_eq!(result.verdict, Verdict::Supported, "{:#?}", result.reasons);
    let verdicts: Vec<_> = result.claims.iter().map(|claim| (&*claim.id, claim.verdict)).collect();
    assert_eq!(verdicts, [("Z1", Verdict::Refuted), ("kit", Verdict::Supported)]);
    Ok(())
}
