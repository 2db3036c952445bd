//! The programs of the guide build with the lines for `Cargo.toml` that the guide has below them, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// How many programs each page has.
const PAGES: [(&str, usize); 2] = [("a-server.md", 3), ("using-the-kit.md", 6)];

/// A whole program of a page, and the lines below it.
struct Program<'a> {
    name: &'a str,
    manifest: &'a str,
    source: &'a str,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The listings of whole files with lines for `Cargo.toml` directly below.
fn programs(page: &str) -> Vec<Program<'_>> {
    let listings = page.split("<!-- listing: ").skip(1);
    let program = |listing| {
        let (path, rest) = str::split_once(listing, " -->\n\n```rust,noplayground\n")?;
        let (source, below) = rest.split_once("\n```\n")?;
        let (manifest, _) = below.strip_prefix("\n```toml\n")?.split_once("\n```")?;
        let name = path.strip_suffix(".rs")?.rsplit('/').next()?;
        Some(Program { name, manifest, source })
    };
    listings.filter_map(program).collect()
}

#[test]
#[ignore = "builds nine programs from nothing: cargo test -p xtask --test guide -- --ignored"]
fn the_programs_of_the_guide_build_with_the_lines_below_them() {
    let root = root();
    let folder = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for (page, count) in PAGES {
        let text = fs::read_to_string(root.join("docs/src").join(page)).unwrap();
        let programs = programs(&text);
        assert_eq!(programs.len(), count, "{page}");
        for Program { name, manifest, source } in programs {
            // Examples have numbers, with which no package begins.
            let name = format!("program_{name}");
            let crates = format!("path = \"{}/crates/", root.display());
            let manifest = manifest.replace("path = \"../sundown/crates/", &crates);
            assert!(manifest.contains(&crates), "{page}: {name} does not use the kit");
            let package =
                format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n\n{manifest}\n");
            fs::create_dir_all(folder.path().join(&name).join("src")).unwrap();
            fs::write(folder.path().join(&name).join("Cargo.toml"), package).unwrap();
            fs::write(folder.path().join(&name).join("src/main.rs"), source).unwrap();
            names.push(name);
        }
    }
    let workspace = format!("[workspace]\nresolver = \"3\"\nmembers = {names:?}\n");
    fs::write(folder.path().join("Cargo.toml"), workspace).unwrap();
    // The versions that everything else is tested with.
    fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    // Their features need a crate that nothing else here does. Without a network, what is there is used.
    let _ = Command::new(env!("CARGO")).args(["fetch", "--quiet"]).current_dir(&folder).output();
    let target = env::current_exe().unwrap().ancestors().nth(3).unwrap().join("guide");
    for name in names {
        // One at a time: together they would share their features.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["check", "--quiet", "--offline", "--package", &name]);
        let checked = cargo.env("CARGO_TARGET_DIR", &target).current_dir(&folder).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && said.is_empty(), "{name}: {said}");
    }
}
