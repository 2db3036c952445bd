//! Which experiments a run of all of them leaves out, because they build or install for long first.
//!
//! A run that asked for them builds what they need. From then on some of them run by default. The others would
//! be left out by what they declare, but to learn that they would have to be built.

use lab::{Lack, results::Skipped, server::Kind};

use crate::workspace::{Source, Workspace};

/// Experiments that need more than what the workspace has built.
struct Group {
    numbers: &'static [&'static str],
    /// What is there once it has been built, as seen from the root, if they run by default from then on.
    built: Option<&'static str>,
    because: &'static str,
    /// The servers that they start.
    servers: &'static [Kind],
}

const GROUPS: [Group; 10] = [
    Group {
        numbers: &["46"],
        built: Some("target/measured/release/overhead"),
        because: "it builds the kit a second time, optimized, which takes half a minute",
        servers: &[],
    },
    Group { numbers: &["59"], built: None, because: LIBRARIES, servers: &[] },
    Group {
        numbers: &["60", "61", "64"],
        built: Some("target/python/packages/sundown/_native.abi3.so"),
        because: PYTHON,
        servers: &[],
    },
    Group { numbers: &["62"], built: Some(CLIENTS), because: INSTALLS, servers: &[Kind::Etcd] },
    Group {
        numbers: &["63"],
        built: Some(CLIENTS),
        because: INSTALLS,
        servers: &[Kind::Etcd, Kind::Redis],
    },
    Group {
        numbers: &["65"],
        built: Some("target/python/packages/sundown_cell_patched.abi3.so"),
        because: PYTHON,
        servers: &[],
    },
    Group {
        numbers: &["66", "67"],
        built: Some("target/ffi/debug/libsundown_ffi.a"),
        because: "it builds the C interface and a program that loads it",
        servers: &[],
    },
    Group {
        numbers: &["68"],
        built: Some("target/python/authors/kit/extension.abi3.so"),
        because: PYTHON,
        servers: &[],
    },
    Group { numbers: &["69"], built: None, because: MOVED, servers: &[Kind::Etcd, Kind::Nats] },
    Group {
        numbers: &["70", "71", "72", "73", "74", "75", "76"],
        built: None,
        because: SDK,
        servers: &[],
    },
];

const LIBRARIES: &str =
    "it builds sqlx, reqwest, OpenTelemetry and actix, which takes one to two minutes";
const MOVED: &str = "it builds real clients from their sources, twice each, which takes minutes";
const SDK: &str = "it builds the real matrix-sdk, twice, which takes five to ten minutes";

const PYTHON: &str = "it builds extension modules for Python";
const INSTALLS: &str = "it builds extension modules for Python and installs real clients";
const CLIENTS: &str = "target/venvs/etcd-client-py-0.5.1/made-of";

fn group(source: &Source) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.numbers.contains(&source.id.as_str()))
}

/// Whether an experiment needs more than what the workspace has built.
pub fn is_optional(source: &Source) -> bool {
    group(source).is_some()
}

/// Why a run that did not ask for an experiment leaves it out, if it does.
pub fn because(source: &Source, workspace: &Workspace) -> Option<&'static str> {
    let group = group(source)?;
    let is_built = group.built.is_some_and(|built| workspace.path(built).exists());
    (!is_built).then_some(group.because)
}

/// The first server that an experiment needs and that this machine does not have. It is looked for before
/// anything is installed.
pub fn missing_server(source: &Source) -> Option<Skipped> {
    let missing = |kind: &Kind| match kind.find() {
        Err(Lack::Missing { what, remedy }) => {
            Some(Skipped { id: source.id.clone(), name: source.name(), missing: what, remedy })
        }
        _ => None,
    };
    group(source)?.servers.iter().find_map(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_experiment_that_may_be_left_out_exists() {
        let sources = Workspace::find().unwrap().experiments().unwrap();
        for number in GROUPS.iter().flat_map(|group| group.numbers) {
            assert!(sources.iter().any(|source| source.id == *number), "{number}");
        }
    }

    #[test]
    fn what_is_said_here_is_said_by_what_builds_it() {
        let workspace = Workspace::find().unwrap();
        for (file, parts) in [
            ("measured.rs", &["target/measured", "release"][..]),
            ("python.rs", &["target/python", "packages", "_native.abi3.so"]),
            ("cell.rs", &["target/python/packages/sundown_cell_{cell}.abi3.so"]),
            ("real_clients.rs", &["etcd-client-py-0.5.1"]),
            ("venv.rs", &["target/venvs", "made-of"]),
            ("plugins.rs", &["target/ffi", "libsundown_ffi.a"]),
            ("authors.rs", &["target/python/authors", "kit", "extension.abi3.so"]),
            ("moved_clients.rs", &[MOVED]),
            ("real_libraries.rs", &[LIBRARIES]),
            ("real_sdk.rs", &[SDK]),
        ] {
            let source = std::fs::read_to_string(workspace.path("experiments/src").join(file));
            let source = source.unwrap();
            assert!(parts.iter().all(|part| source.contains(part)), "{file}");
        }
    }
}
