//! The header is what the source says: `BLESS=1 cargo test --test header` writes it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs, path::Path};

#[test]
fn the_header_is_current() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(package.join("src/answer.rs"))
        .with_src(package.join("src/code.rs"))
        .with_src(package.join("src/fork.rs"))
        .with_src(package.join("src/job.rs"))
        .with_src(package.join("src/runtime.rs"))
        .with_src(package.join("src/gate.rs"))
        .with_src(package.join("src/unload.rs"))
        .generate()
        .unwrap();
    let mut written = Vec::new();
    bindings.write(&mut written);
    let written = String::from_utf8(written).unwrap();
    let header = package.join("include/sundown.h");
    if env::var_os("BLESS").is_some() {
        fs::write(&header, &written).unwrap();
    }
    let committed = fs::read_to_string(&header).unwrap_or_default();
    assert!(written == committed, "run `BLESS=1 cargo test --test header`");
}
