//! Which experiments a run of all of them leaves out, because they build or install for minutes first.
//!
//! Most of them say so themselves. These here run as soon as what they need has been built, by a run that
//! asked for them.

use lab::{Lack, results::Skipped, server::Kind};

use crate::workspace::{Source, Workspace};

/// Experiments that need something from outside the workspace.
struct Group {
    numbers: &'static [&'static str],
    /// What is there once it has been built, as seen from the root.
    built: &'static str,
    because: &'static str,
    /// The servers that they start.
    servers: &'static [Kind],
}

const GROUPS: [Group; 6] = [
    Group {
        numbers: &["60", "61", "64"],
        built: "target/python/packages/sundown/_native.abi3.so",
        because: PYTHON,
        servers: &[],
    },
    Group { numbers: &["62"], built: CLIENTS, because: INSTALLS, servers: &[Kind::Etcd] },
    Group {
        numbers: &["63"],
        built: CLIENTS,
        because: INSTALLS,
        servers: &[Kind::Etcd, Kind::Redis],
    },
    Group {
        numbers: &["65"],
        built: "target/python/packages/sundown_cell_patched.abi3.so",
        because: PYTHON,
        servers: &[],
    },
    Group {
        numbers: &["66", "67"],
        built: "target/ffi/debug/libsundown_ffi.a",
        because: "it builds the C interface and a program that loads it",
        servers: &[],
    },
    Group {
        numbers: &["68"],
        built: "target/python/authors/kit/extension.abi3.so",
        because: PYTHON,
        servers: &[],
    },
];

const PYTHON: &str = "it builds extension modules for Python";
const INSTALLS: &str = "it builds extension modules for Python and installs real clients";
const CLIENTS: &str = "target/venvs/etcd-client-py-0.5.1/made-of";

fn group(source: &Source) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.numbers.contains(&source.id.as_str()))
}

/// Why a run that did not ask for an experiment leaves it out, if it does.
pub fn because(source: &Source, workspace: &Workspace) -> Option<&'static str> {
    let group = group(source)?;
    (!workspace.path(group.built).exists()).then_some(group.because)
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
    fn every_file_that_shows_a_build_is_named_by_what_builds_it() {
        let workspace = Workspace::find().unwrap();
        for (file, parts) in [
            ("python.rs", &["target/python", "packages", "_native.abi3.so"][..]),
            ("cell.rs", &["target/python/packages/sundown_cell_{cell}.abi3.so"]),
            ("real_clients.rs", &["etcd-client-py-0.5.1"]),
            ("venv.rs", &["target/venvs", "made-of"]),
            ("plugins.rs", &["target/ffi", "libsundown_ffi.a"]),
            ("authors.rs", &["target/python/authors", "kit", "extension.abi3.so"]),
        ] {
            let source = std::fs::read_to_string(workspace.path("experiments/src").join(file));
            let source = source.unwrap();
            assert!(parts.iter().all(|part| source.contains(part)), "{file}");
        }
    }
}
