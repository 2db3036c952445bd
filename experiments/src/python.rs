//! A Python interpreter, and the extension modules built for it.
//!
//! A trial [becomes](Trial::becomes) the interpreter that runs a program of `experiments/python`:
//! nothing stands between the lab and the way it ends.
//!
//! The positive controls rest on what CPython does, up to 3.13, to a thread that asks for the
//! interpreter's lock while the interpreter is being taken down: it ends the thread, wherever that
//! is. From 3.14 on it hangs the thread. No zero would mean anything there, so the experiment is
//! skipped.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use lab::{
    Equipment, Lack,
    Outcome::{Aborted, Clean, Signalled},
    Prediction, Preparation, Program, Trial, TrialResult,
    sandbox::{Ended, Ending, Sandboxed, Surroundings},
    seen,
};

/// The variable in which a trial finds the interpreter.
const PYTHON: &str = "PYTHON";

/// The oldest version that the extension modules are built for, and the first that hangs late
/// threads.
const OLDEST: (u32, u32) = (3, 9);
const HANGS_LATE_THREADS: (u32, u32) = (3, 14);

/// The deadline of a program that ends by itself, on a machine with a hundred others too.
pub const PLENTY: Duration = Duration::from_secs(30);

/// How long a build may take on a machine that has never built it before.
const BUILD: Duration = Duration::from_secs(1800);

/// What the interpreter is asked about itself.
const ABOUT: &str = "import platform, sys; \
                     print(sys.executable); \
                     print(platform.python_implementation(), platform.python_version())";

/// What an interpreter, or the system for it, prints on standard error when it gives up.
const FATAL: [&str; 2] = ["Fatal Python error", "FATAL: exception not rethrown"];

/// How a program ends if the interpreter ends one of its threads inside Rust; not always in time.
#[must_use]
pub fn lost() -> Prediction {
    seen(Aborted).allowing([Clean, Signalled])
}

/// Finds a `python3` that ends late threads, and builds the extension modules for all trials.
pub fn extensions(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    let python = that_ends_late_threads(preparation)?;
    let packages = build(preparation)?;
    Ok(Equipment::new()
        .version("Python", &python.called)
        .variable(PYTHON, &python.executable)
        // The programs share a module, and a run leaves nothing beside it.
        .variable("PYTHONDONTWRITEBYTECODE", "1")
        .variable("PYTHONPATH", packages))
}

/// The variable in which a program finds the folder of the extension that is built twice.
const AUTHORS: &str = "AUTHORS";

/// Finds a `python3` that ends late threads, and builds the extension of `crates/pyo3` for all trials: on
/// pyo3-async-runtimes, and on the kit's crate.
pub fn extension_of_authors(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    let python = that_ends_late_threads(preparation)?;
    let target = root().join("target/python");
    let manifest = root().join("crates/pyo3/Cargo.toml");
    let authors = target.join("authors");
    for (which, options) in [("kit", &[][..]), ("bare", &["--features", "bare"][..])] {
        preparation.say(&format!("building the extension (crates/pyo3/tests/extension), {which}"));
        let package = ["--package", "extension"].iter().chain(options).map(OsStr::new);
        cargo_builds(preparation, &manifest, &target, &package.collect::<Vec<_>>())?;
        let folder = authors.join(which);
        fs::create_dir_all(&folder)
            .and_then(|()| {
                let library = library(&target.join("release"), "extension");
                put(&library, &folder.join("extension.abi3.so"))
            })
            .map_err(|error| Lack::broken(format!("{}: {error}", folder.display())))?;
    }
    Ok(Equipment::new()
        .version("Python", &python.called)
        .variable(PYTHON, &python.executable)
        .variable("PYTHONDONTWRITEBYTECODE", "1")
        .variable(AUTHORS, authors))
}

/// Turns the trial into the interpreter that runs `experiments/python/author.py`. Such a program says nothing on
/// standard error but what Python says of an exception of its own.
pub fn becomes_author(trial: &Trial<'_>, which: &str, ending: &str) -> TrialResult {
    becomes(trial, "author.py", &[which, ending], |program| match ending {
        "exits" => program.exits_with(3).is_silent(),
        "raises" => program.exits_with(1).complains("ValueError: the program's own"),
        _ => program.is_silent(),
    })
}

/// Turns the trial into the interpreter that was found, running a program of `experiments/python`.
/// To be clean the program must reach its last line, and meet the expectations that are added here.
pub fn becomes(
    trial: &Trial<'_>,
    program: &str,
    arguments: &[&str],
    expecting: impl FnOnce(Program) -> Program,
) -> TrialResult {
    let python =
        env::var_os(PYTHON).ok_or("the experiment does not declare `python::extensions`")?;
    becomes_in(trial, Path::new(&python), program, arguments, |it| {
        expecting(it.ends_with("the last line"))
    })
}

/// The same with another interpreter, such as that of a [virtual environment](crate::venv), and
/// without the last line.
pub fn becomes_in(
    trial: &Trial<'_>,
    python: &Path,
    program: &str,
    arguments: &[&str],
    expecting: impl FnOnce(Program) -> Program,
) -> TrialResult {
    let mut command = Command::new(python);
    command.arg(root().join("experiments/python").join(program)).args(arguments);
    let program = FATAL.into_iter().fold(Program::new(command), Program::never_says);
    trial.becomes(expecting(program))
}

/// An interpreter.
#[derive(Debug)]
pub struct Python {
    /// Its path.
    pub executable: PathBuf,
    /// `CPython 3.11.7`.
    pub called: String,
    version: (u32, u32),
}

/// Finds `python3`, if it is CPython and not too old for the extension modules.
pub fn found(preparation: &Preparation<'_>) -> Result<Python, Lack> {
    const REMEDY: &str = "install CPython, 3.9 to 3.13 (Debian: apt-get install python3)";
    let missing = |what: String| Lack::missing(what, REMEDY);
    // Run by its name: what PATH finds may be a script that knows where the interpreter is.
    let which = env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path).any(|directory| directory.join("python3").is_file())
    });
    if !which {
        return Err(missing("there is no python3 on PATH".to_owned()));
    }
    let deadline = Duration::from_secs(30);
    let ended = run(preparation, Path::new("python3"), &["-c", ABOUT], Vec::new(), deadline)?;
    let said = ended.stdout.text();
    let lines: Vec<_> = said.lines().collect();
    let [executable, called] = lines[..] else {
        return Err(missing(format!("python3 does not run ({})", ended.ending)));
    };
    let Some(version) = called.strip_prefix("CPython ").and_then(version) else {
        return Err(missing(format!("python3 is {called}, and not CPython")));
    };
    if version < OLDEST {
        return Err(missing(format!("python3 is {called}")));
    }
    Ok(Python { executable: executable.into(), called: called.to_owned(), version })
}

fn that_ends_late_threads(preparation: &Preparation<'_>) -> Result<Python, Lack> {
    let python = found(preparation)?;
    if python.version >= HANGS_LATE_THREADS {
        return Err(Lack::missing(
            format!(
                "{} hangs late threads instead of ending them, and the positive control of this \
                 experiment rests on their end",
                python.called
            ),
            "put a python3 from 3.9 to 3.13 first on PATH",
        ));
    }
    Ok(python)
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// Builds the extension modules with cargo alone, and puts them where the interpreter looks.
fn build(preparation: &Preparation<'_>) -> Result<OsString, Lack> {
    preparation.say("building the extension modules (crates/python)");
    let target = root().join("target/python");
    let manifest = root().join("crates/python/Cargo.toml");
    cargo_builds(preparation, &manifest, &target, &["--workspace".as_ref()])?;
    let packages = target.join("packages");
    assemble(&target.join("release"), &packages)
        .map_err(|error| Lack::broken(format!("{}: {error}", packages.display())))?;
    Ok(packages.into())
}

/// Builds extension modules with cargo alone.
fn cargo_builds(
    preparation: &Preparation<'_>,
    manifest: &Path,
    target: &Path,
    what: &[&OsStr],
) -> Result<(), Lack> {
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let options = ["build", "--release", "--quiet", "--locked", "--manifest-path"];
    let arguments = [
        &options.map(OsStr::new)[..],
        &[manifest.as_os_str(), "--target-dir".as_ref(), target.as_os_str()],
        what,
    ]
    .concat();
    // Without this, they would link a library of the interpreter that not every machine has, and
    // that the interpreter which loads them may not be made of.
    let variables = vec![("PYO3_BUILD_EXTENSION_MODULE", "1".into())];
    let ended = run(preparation, &cargo, &arguments, variables, BUILD)?;
    if ended.ending != Ending::Exited(0) {
        let said = ended.stderr.text();
        return Err(Lack::broken(format!("cargo ended with {}:\n{said}", ended.ending)));
    }
    Ok(())
}

/// The file of a library that cargo has built.
fn library(built: &Path, name: &str) -> PathBuf {
    built.join(format!("{}{name}{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX))
}

/// Copies the libraries into the folder of packages, under the names by which they are imported.
fn assemble(built: &Path, packages: &Path) -> io::Result<()> {
    let (sundown, sources) =
        (packages.join("sundown"), root().join("crates/python/python/sundown"));
    fs::create_dir_all(&sundown)?;
    for source in fs::read_dir(sources)? {
        let source = source?.path();
        if let Some(name) = source.file_name().filter(|_| source.is_file()) {
            put(&source, &sundown.join(name))?;
        }
    }
    put(&library(built, "sundown_python"), &sundown.join("_native.abi3.so"))?;
    put(&library(built, "sundown_designs"), &packages.join("sundown_designs.abi3.so"))
}

/// Copies a file so that a program which has the old one open keeps it.
fn put(from: &Path, to: &Path) -> io::Result<()> {
    let beside = to.with_extension(std::process::id().to_string());
    fs::copy(from, &beside)?;
    fs::rename(&beside, to)
}

/// Runs a command in the folder of the workspace, with further variables in its environment.
pub(crate) fn run(
    preparation: &Preparation<'_>,
    program: &Path,
    arguments: &[impl AsRef<OsStr>],
    variables: Vec<(&'static str, OsString)>,
    deadline: Duration,
) -> Result<Ended, Lack> {
    preparation.run(&Sandboxed {
        program,
        arguments: arguments.iter().map(|argument| argument.as_ref().to_owned()).collect(),
        surroundings: Surroundings::Inherited { directory: &root(), variables },
        deadline,
    })
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_is_known_by_its_first_two_numbers() {
        assert_eq!(version("3.11.7"), Some((3, 11)));
        assert_eq!(version("3.14.0rc1"), Some((3, 14)));
        assert_eq!(version("3.15.0a1+"), Some((3, 15)));
        assert_eq!(version("three"), None);
    }
}
