//! Why there is no answer, and the exit code for it.

use std::{io, path::PathBuf, process::ExitCode};

use lab::sandbox::SandboxError;
use thiserror::Error;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Failure {
    /// The command line asks for what is not there.
    #[error("{0}")]
    Usage(String),
    /// cargo cannot say what is in the workspace.
    #[error("cargo cannot read the workspace:\n{0}")]
    Metadata(String),
    /// cargo cannot be run.
    #[error("cannot run cargo: {0}")]
    Cargo(io::Error),
    /// The program does not build.
    #[error("{0} does not build; cargo's messages are above")]
    DoesNotBuild(String),
    /// cargo succeeded without a program.
    #[error("cargo has built {0}, and names no file for it")]
    NothingBuilt(String),
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    File {
        /// What was tried: `read`.
        action: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    /// The file is not a program that can be checked.
    #[error("{}: {why}", path.display())]
    Unreadable { path: PathBuf, why: Unreadable },
    /// The file of accepted findings has a line that is not a finding.
    #[error("{}:{line}: {why}; `--accept` writes such a file", path.display())]
    Baseline { path: PathBuf, line: usize, why: String },
    /// The file of constructors cannot be used.
    #[error("{}: {why}", path.display())]
    Constructors { path: PathBuf, why: String },
    /// A constructor did not return.
    #[error("the constructor of {of_type} made no value:\n{why}")]
    NotMade { of_type: String, why: String },
    /// The trials cannot be run.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Why a file cannot be checked.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Unreadable {
    #[error("not an ELF file; `cargo sundown check` reads programs for Linux")]
    NotElf,
    #[error("a damaged ELF file: {0}")]
    Damaged(String),
    #[error("a program for {0}; `cargo sundown check` reads machine code for x86-64 only")]
    Architecture(String),
    #[error(
        "no symbols: it was stripped; build it with `strip = false`, or let `cargo sundown check` build it"
    )]
    Stripped,
    #[error("no destructor of Rust in it: not a Rust program, or one without local symbols")]
    NotRust,
    #[error(
        "optimized, so the functions that the check follows are inlined; build it with `opt-level = 0` for all \
         packages, or let `cargo sundown check` build it"
    )]
    Optimized,
    #[error(
        "an object file, not linked yet: addresses are missing in it; name the program that it is linked into"
    )]
    NotLinked,
    #[error(
        "it has Tokio's runtime, and none of the functions of Tokio that panic under the names that this check knows, \
         those of Tokio 1.46 to 1.54: so it would find nothing, whatever there is"
    )]
    OtherTokio,
}

impl Failure {
    /// 2 for usage, 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;
