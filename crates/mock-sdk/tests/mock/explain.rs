//! `sundown::explain` on the real pool: a client's store that dies without a runtime context. Here and
//! not with the experiments, because those are built without the symbols that a backtrace names.

use std::{
    env,
    process::{Command, Output},
};

use mock_sdk::store::{Generation, Store};
use sundown::explain;
use tokio::runtime::Runtime;

/// The variable that names the generation of the pool to a child.
const GENERATION: &str = "EXPLAINED_GENERATION";

/// The child: drops a pool without a context, with the hook installed. Does nothing unless it was
/// started as one.
#[test]
fn child() {
    let Ok(word) = env::var(GENERATION) else { return };
    let generation = Generation::ALL.into_iter().find(|it| it.word() == word).unwrap();
    let directory = env::current_dir().unwrap();
    let runtime = Runtime::new().unwrap();
    let store = runtime.block_on(Store::open(&directory, generation, 1)).unwrap();
    explain::install();
    drop(store);
}

/// What a child writes to standard error.
fn stderr_of(generation: Generation, backtrace: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let Output { stderr, .. } = Command::new(env::current_exe().unwrap())
        .args(["explain::child", "--exact", "--nocapture"])
        .env(GENERATION, generation.word())
        .env("RUST_BACKTRACE", backtrace)
        .env_remove("RUST_LIB_BACKTRACE")
        .current_dir(directory.path())
        .output()
        .unwrap();
    String::from_utf8(stderr).unwrap()
}

#[test]
fn a_pool_that_dies_without_a_context_is_explained_in_three_lines() {
    for generation in Generation::ALL {
        let stderr = stderr_of(generation, "0");
        assert!(stderr.contains("there is no reactor running"), "{stderr}");
        let lines: Vec<_> = stderr.lines().filter(|line| line.starts_with("sundown: ")).collect();
        assert_eq!(lines.len(), 3, "{stderr}");
        let words = "thread `explain::child` has no runtime context, and deadpool-runtime-";
        assert!(lines[0].contains(words), "{stderr}");
        assert!(lines[1].contains("handle.enter()"), "{stderr}");
        assert!(lines[1].contains("sundown::teardown::teardown_blocking"), "{stderr}");
        assert_eq!(
            lines[2],
            "sundown: SD0001, docs/src/explain/SD0001.md in the repository of sundown"
        );
    }
}

#[test]
fn a_backtrace_names_the_connection_and_what_it_died_with() {
    for generation in Generation::ALL {
        let stderr = stderr_of(generation, "1");
        let words =
            "sundown: `SyncWrapper<Counted>` (in `Store`) was dropped on thread `explain::child`";
        assert!(stderr.contains(words), "{stderr}");
    }
}
