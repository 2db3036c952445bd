//! The kit as a registry would get it: it is packaged, each package builds from its files, a dry run of publishing
//! passes, and programs in folders of their own build on it: from the packaged files, and after `cargo add`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

const PROGRAM: &str = r#"
use std::{error::Error, thread, time::Duration};

use sundown::{Session, exit::plan::ExitPlan, explain, logout::config::LogoutConfig};

/// Its destructor needs a runtime, as that of many pools does.
struct Client;

impl Drop for Client {
    fn drop(&mut self) {
        drop(tokio::runtime::Handle::current().spawn_blocking(|| println!("closed")));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    explain::install();
    let (_, _) = (ExitPlan::builder(Duration::from_secs(3)).build(), LogoutConfig::default());
    let session = Session::new("login")?;
    let client = session.guard(Client)?;
    let tab = client.clone();
    thread::spawn(move || drop(tab));
    drop(client);
    session.close_blocking(Duration::from_secs(60))?;
    println!("over");
    Ok(())
}
"#;

const FEATURES: &str = "exit,explain,logout";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Beside what this test was built with: cargo may be locked there.
fn target() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(3).unwrap().join("package")
}

/// A program in a folder of its own, which depends on Tokio, and for the rest on what is said here.
fn program(folder: &Path, manifest: &str) {
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src/main.rs"), PROGRAM).unwrap();
    let package = "[package]\nname = \"program\"\nedition = \"2024\"\n\n[workspace]\n\n";
    let tokio = "tokio = { version = \"1\", features = [\"rt\"] }\n";
    let manifest = format!("{package}[dependencies]\n{tokio}{manifest}");
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    // The versions that everything else is tested with.
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

fn cargo(folder: &Path, arguments: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).arg("--offline").current_dir(folder);
    cargo.env("CARGO_TARGET_DIR", target().join("program"));
    let output = cargo.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}: {said}", arguments.join(" "));
    output
}

#[test]
#[ignore = "builds the kit from nothing, twice: cargo test -p xtask --test package -- --ignored"]
fn a_program_builds_and_runs_on_the_packaged_files() {
    let publish = target().join("publish");
    // Of an earlier run of this test.
    if publish.exists() {
        fs::remove_dir_all(&publish).unwrap();
    }
    let mut package = Command::new(env!("CARGO_BIN_EXE_xtask"));
    package.arg("package").arg("--folder").arg(&publish);
    let packaged = package.output().unwrap();
    let (files, said) = (
        String::from_utf8(packaged.stdout).unwrap(),
        String::from_utf8_lossy(&packaged.stderr).into_owned(),
    );
    assert!(packaged.status.success(), "{said}");
    for skipped in said.lines().filter(|line| line.starts_with("skipped: ")) {
        writeln!(io::stderr(), "{skipped}").unwrap();
    }
    // What was built would be used again, and with it the packages as they were then.
    let kept = fs::read_dir(&publish).unwrap();
    let mut kept =
        kept.map(|it| it.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    kept.retain(|name| !name.ends_with(".crate"));
    kept.sort();
    assert_eq!(kept, ["Cargo.lock", "Cargo.toml", "crates"]);

    let folder = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for file in files.lines() {
        let unpacked = Command::new("tar").args(["-xzf", file]).current_dir(&folder).status();
        assert!(unpacked.unwrap().success(), "{file}");
        let name = Path::new(file).file_stem().unwrap().to_str().unwrap();
        for kept in ["CHANGELOG.md", "LICENSE", "README.md"] {
            assert!(folder.path().join(name).join(kept).is_file(), "{name} has no {kept}");
        }
        names.push(name.to_owned());
    }
    let version = names.last().and_then(|name| name.strip_prefix("sundown-macros-")).unwrap();
    let packages = ["sundown", "sundown-core", "sundown-exit", "sundown-logout", "sundown-macros"];
    assert_eq!(names, packages.map(|name| format!("{name}-{version}")), "{files}");

    let features = FEATURES.replace(',', "\", \"");
    let mut manifest = format!(
        "sundown = {{ version = \"{version}\", features = [\"{features}\"] }}\n\n[patch.crates-io]\n"
    );
    for package in packages {
        manifest += &format!("{package} = {{ path = \"../{package}-{version}\" }}\n");
    }
    let folder = folder.path().join("program");
    program(&folder, &manifest);
    let ran = cargo(&folder, &["run", "--quiet"]);
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "closed\nover\n");
}

#[test]
#[ignore = "builds the kit from nothing, twice: cargo test -p xtask --test package -- --ignored"]
fn a_program_builds_after_cargo_add() {
    let folder = tempfile::tempdir().unwrap();
    program(folder.path(), "");
    let path = root().join("crates/sundown").display().to_string();
    cargo(folder.path(), &["add", "sundown", "--path", &path, "--features", FEATURES]);
    cargo(folder.path(), &["check", "--quiet"]);
}

#[test]
fn a_folder_with_files_of_others_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("crates/kept");
    fs::create_dir_all(&kept).unwrap();
    let mut package = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let refused = package.arg("package").arg("--folder").arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("name a new or an empty folder"), "{said}");
    assert!(kept.is_dir());
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    // Not even root makes a folder there.
    let folder = "/proc/publish";
    let mut package = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let failed = package.arg("package").arg("--folder").arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot write to {folder}: ")), "{said}");
}
