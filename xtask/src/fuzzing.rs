//! What `crates/fuzz` calls. Each function panics if a promise is broken.
#![allow(clippy::unwrap_used, reason = "a panic is what the fuzzer looks for")]

use std::path::PathBuf;

use crate::{
    experiments::{difference, merge, report},
    notebooks,
    output::Paper,
    results::{self, Results},
    workspace::Source,
};

/// Reads a file of results, or of a shard, and writes all that is made of it.
pub fn results(bytes: &[u8]) {
    let Ok(read) = Results::from_json(bytes) else { return };
    let written = serde_json::to_vec(&read).unwrap();
    let again = Results::from_json(&written).unwrap();
    assert_eq!(again, read);

    let (mut sources, mut findings) = (Vec::new(), Vec::new());
    for result in &read.experiments {
        let binary = format!("{}_{}", result.id, result.name.replace('-', "_"));
        let Some(source) = Source::named(&binary) else { continue };
        let found = lab::snapshot::render(result);
        difference::new(&source, &found);
        difference::between(&source, "", &found, result);
        notebooks::fuzz(&read.meta, result, &source);
        findings.push(report::Finding::interrupted(&source, Some(result.clone())));
        sources.push(source);
    }
    for width in [20, 80] {
        report::tables(&findings, Paper { width, ruled: true });
    }
    let path = PathBuf::from("results.json");
    if let Ok(joined) = merge::join(&[(&path, read)], &sources) {
        assert_eq!(joined.len(), sources.len());
    }
}

/// Reads the versions out of a lock file.
pub fn lock_file(text: &str) {
    results::versions(text);
}
