//! Finds the target in the workspace and has cargo build it as the check needs it.

use std::{
    env, fs,
    io::BufReader,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use cargo_metadata::{
    Artifact, Message, Metadata, MetadataCommand, Package, Target, TargetKind, camino::Utf8PathBuf,
};

use crate::{
    failure::{Failure, Result},
    flags, interrupt, nearest, rustc,
};

/// A program that can be read.
pub struct Program {
    pub path: PathBuf,
    /// What it is, for a reader: `binary app`.
    pub title: String,
    /// The crates of the workspace.
    pub own: Vec<String>,
    /// What it was built from, unless it was built already.
    pub source: Option<Source>,
    /// When it was built, if that was not now: its sources may have changed since.
    pub built: Option<SystemTime>,
}

/// A package that was built, for a program that uses its library.
pub struct Source {
    pub package: String,
    pub folder: PathBuf,
    pub has_library: bool,
    pub features: Vec<String>,
    pub has_default_features: bool,
    pub lock: PathBuf,
    /// The target directory of the check.
    pub target: PathBuf,
    is_offline: bool,
}

impl Source {
    fn of(flags: &flags::Target, metadata: &Metadata, package: &Package) -> Self {
        let features = match flags.all_features {
            true => package.features.keys().cloned().collect(),
            // As for cargo, one argument may name several.
            false => {
                let named = flags.features.iter().flat_map(|it| it.split([',', ' ']));
                named.filter(|it| !it.is_empty()).map(str::to_owned).collect()
            }
        };
        Self {
            package: package.name.to_string(),
            folder: package.manifest_path.parent().map(Into::into).unwrap_or_default(),
            has_library: package.targets.iter().any(|it| Kind::Lib.is_of(it)),
            features,
            has_default_features: !flags.no_default_features,
            lock: metadata.workspace_root.join("Cargo.lock").into(),
            target: target_directory(metadata),
            is_offline: flags.offline,
        }
    }
}

fn target_directory(metadata: &Metadata) -> PathBuf {
    metadata.target_directory.join("sundown-check").into()
}

/// Builds what the flags ask for, or takes the file that they name.
pub fn program(flags: &flags::Target) -> Result<Program> {
    if let Some(path) = &flags.binary {
        let title = path.display().to_string();
        let built = fs::metadata(path).and_then(|file| file.modified());
        let about = |error| Failure::File { action: "read", path: path.clone(), error };
        let built = Some(built.map_err(about)?);
        return Ok(Program { path: path.clone(), title, own: vec![], source: None, built });
    }
    let metadata = metadata(flags)?;
    let chosen = Chosen::of(&metadata, flags)?;
    let title = chosen.title();
    let path = build(flags, &metadata, &chosen, &title)?;
    let members = metadata.workspace_packages();
    let targets = members.iter().flat_map(|package| &package.targets);
    let own = targets.map(|target| target.name.replace('-', "_")).collect();
    let source = Some(Source::of(flags, &metadata, chosen.package));
    Ok(Program { path, title, own, source, built: None })
}

fn metadata(flags: &flags::Target) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.no_deps();
    if let Some(manifest) = &flags.manifest_path {
        command.manifest_path(manifest);
    }
    let about = |error: cargo_metadata::Error| match error {
        cargo_metadata::Error::CargoMetadata { stderr } => {
            Failure::Metadata(stderr.trim().to_owned())
        }
        other => Failure::Metadata(other.to_string()),
    };
    command.exec().map_err(about)
}

/// A kind of target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bin,
    Test,
    Example,
    Lib,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Bin => "binary",
            Self::Test => "test",
            Self::Example => "example",
            Self::Lib => "library",
        }
    }

    fn is_of(self, target: &Target) -> bool {
        match self {
            Self::Bin => target.is_bin(),
            Self::Test => target.is_test(),
            Self::Example => target.is_example(),
            Self::Lib => target.kind.iter().any(|kind| {
                matches!(
                    kind,
                    TargetKind::Lib
                        | TargetKind::RLib
                        | TargetKind::DyLib
                        | TargetKind::CDyLib
                        | TargetKind::StaticLib
                )
            }),
        }
    }
}

/// The target that is built.
struct Chosen<'a> {
    package: &'a Package,
    kind: Kind,
    name: &'a str,
}

impl<'a> Chosen<'a> {
    fn of(metadata: &'a Metadata, flags: &flags::Target) -> Result<Self> {
        let members = metadata.workspace_packages();
        let is_by_name = flags.bin.is_some() || flags.test.is_some() || flags.example.is_some();
        let packages = match (&flags.package, here(flags, &members)) {
            (Some(name), _) => {
                let is_it = |it: &&Package| it.name.as_str() == name;
                let named = members.iter().copied().filter(is_it).collect();
                let names = members.iter().map(|it| it.name.as_str());
                not_empty(named, || nearest::missing("package", name, names))?
            }
            // As for `cargo run`. A name is looked for in the whole workspace.
            (None, Some(here)) if !is_by_name => vec![here],
            (None, _) => members,
        };
        let all = |kind: Kind| -> Vec<Self> {
            let of = |package: &&'a Package| {
                let package: &'a Package = package;
                let targets = package.targets.iter().filter(move |it| kind.is_of(it));
                targets
                    .map(move |target| Self { package, kind, name: &target.name })
                    .collect::<Vec<_>>()
            };
            packages.iter().flat_map(of).collect()
        };
        let named = |kind: Kind, name: &str| {
            let all = all(kind);
            let names: Vec<_> = all.iter().map(|it| it.name).collect();
            let named: Vec<_> = all.into_iter().filter(|it| it.name == name).collect();
            not_empty(named, || nearest::missing(kind.word(), name, names.iter().copied()))
        };
        let found = match (&flags.bin, &flags.test, &flags.example) {
            (Some(name), ..) => named(Kind::Bin, name)?,
            (_, Some(name), _) => named(Kind::Test, name)?,
            (.., Some(name)) => named(Kind::Example, name)?,
            _ if flags.lib => not_empty(all(Kind::Lib), || "there is no library here".to_owned())?,
            _ => {
                let bins =
                    not_empty(all(Kind::Bin), String::new).unwrap_or_else(|_| all(Kind::Lib));
                not_empty(bins, || "there is neither a binary nor a library here".to_owned())?
            }
        };
        Self::only(found)
    }

    fn only(mut found: Vec<Self>) -> Result<Self> {
        // What `cargo run` would run.
        let default =
            found.iter().position(|it| it.package.default_run.as_deref() == Some(it.name));
        if let Some(default) = default.filter(|_| found.len() > 1) {
            return Ok(found.swap_remove(default));
        }
        match found.len() {
            1 => Ok(found.remove(0)),
            _ => {
                let names: Vec<_> = found
                    .iter()
                    .map(|it| {
                        format!("  {} `{}` of `{}`", it.kind.word(), it.name, it.package.name)
                    })
                    .collect();
                let names = names.join("\n");
                Err(Failure::Usage(format!(
                    "several targets could be meant:\n{names}\nchoose one with --bin, --test, --example or --package"
                )))
            }
        }
    }

    fn title(&self) -> String {
        format!("{} {}", self.kind.word(), self.name)
    }
}

/// The package in whose folder cargo is called, or whose manifest is named.
fn here<'a>(flags: &flags::Target, members: &[&'a Package]) -> Option<&'a Package> {
    let folder = match &flags.manifest_path {
        Some(manifest) => manifest.canonicalize().ok()?.parent()?.to_owned(),
        None => env::current_dir().ok()?,
    };
    let folder_of = |package: &&'a Package| package.manifest_path.parent().map(Path::new);
    let is_around = |it: &&&'a Package| folder_of(it).is_some_and(|of| folder.starts_with(of));
    let around = members.iter().filter(is_around);
    around.copied().max_by_key(|it| it.manifest_path.as_str().len())
}

fn not_empty<T>(found: Vec<T>, otherwise: impl FnOnce() -> String) -> Result<Vec<T>> {
    match found.is_empty() {
        true => Err(Failure::Usage(otherwise())),
        false => Ok(found),
    }
}

/// Builds the target, and finds the file. cargo's own messages go to standard error.
fn build(
    flags: &flags::Target,
    metadata: &Metadata,
    chosen: &Chosen<'_>,
    title: &str,
) -> Result<PathBuf> {
    let mut command = cargo();
    let subcommand: &[&str] = match chosen.kind {
        Kind::Bin | Kind::Example => &["build"],
        Kind::Test => &["test", "--no-run"],
        Kind::Lib => &["rustc"],
    };
    command.args(subcommand).arg(MESSAGES);
    command.args(["--package", &chosen.package.id.repr]);
    command.arg("--manifest-path").arg(metadata.workspace_root.join("Cargo.toml"));
    command.arg("--target-dir").arg(target_directory(metadata));
    command.args(flags.features.iter().flat_map(|features| ["--features", features]));
    for (is_set, flag) in [
        (flags.all_features, "--all-features"),
        (flags.no_default_features, "--no-default-features"),
        (flags.locked, "--locked"),
        (flags.offline, "--offline"),
    ] {
        command.args(is_set.then_some(flag));
    }
    match chosen.kind {
        Kind::Bin => command.args(["--bin", chosen.name]),
        Kind::Test => command.args(["--test", chosen.name]),
        Kind::Example => command.args(["--example", chosen.name]),
        // A library of its own, with the destructor of every type, whether somebody uses it or not.
        Kind::Lib => command.args(["--lib", "--crate-type", "cdylib", "--", "-Clink-dead-code"]),
    };
    built(&mut command, title, |artifact| {
        let is_it = artifact.target.name == chosen.name && artifact.package_id == chosen.package.id;
        let is_library = |path: &&Utf8PathBuf| path.extension() == Some("so");
        let file = match chosen.kind {
            Kind::Lib => artifact.filenames.iter().find(is_library).cloned(),
            _ => artifact.executable.clone(),
        };
        file.filter(|_| is_it)
    })
}

/// Builds the program of trials, which has this manifest.
pub fn generated(manifest: &Path, source: &Source) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", MESSAGES, "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(&source.target);
    command.args(source.is_offline.then_some("--offline"));
    built(&mut command, "the program of trials", |artifact| artifact.executable.clone())
}

/// So that `built` can read which files there are.
const MESSAGES: &str = "--message-format=json-render-diagnostics";

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs cargo, with this program as its wrapper of rustc, and finds the file that it has built.
fn built(
    command: &mut Command,
    title: &str,
    file_of: impl Fn(&Artifact) -> Option<Utf8PathBuf>,
) -> Result<PathBuf> {
    let myself = env::current_exe().map_err(Failure::Cargo)?;
    command
        .env(rustc::WRAPPER, env::var_os("RUSTC_WRAPPER").unwrap_or_default())
        .env("RUSTC_WRAPPER", myself)
        .env("CARGO_INCREMENTAL", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // A group of its own, so that an interrupt ends the compilers as well.
        .process_group(0);

    let mut cargo = command.spawn().map_err(Failure::Cargo)?;
    interrupt::end_with_this(cargo.id());
    let output =
        BufReader::new(cargo.stdout.take().ok_or_else(|| Failure::NothingBuilt(title.into()))?);
    let mut built = None;
    for message in Message::parse_stream(output) {
        if let Message::CompilerArtifact(artifact) = message.map_err(Failure::Cargo)? {
            built = file_of(&artifact).or(built);
        }
    }
    let status = cargo.wait().map_err(Failure::Cargo)?;
    interrupt::has_ended();
    if !status.success() {
        return Err(Failure::DoesNotBuild(title.to_owned()));
    }
    let built = built.map(|path| Path::new(path.as_str()).to_owned());
    built.ok_or_else(|| Failure::NothingBuilt(title.to_owned()))
}
