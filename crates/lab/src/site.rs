//! Normalises panic sites: removes the paths of this machine.

/// Normalises a site, so that it is the same on every machine: `crate-version/src/file.rs:line:col` for a crate from
/// a registry, the path below the workspace for our own code, and only the file for the standard library,
/// whose lines change with the compiler.
pub(crate) fn normalise(file: &str, line: u32, column: u32) -> String {
    let file = file.replace('\\', "/");
    let in_toolchain = file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/");
    if let Some((_, rest)) = file.split_once("/library/").filter(|_| in_toolchain) {
        return format!("std: {rest}");
    }
    format!("{}:{line}:{column}", below_its_crate(&file))
}

/// The path from the crate's folder on.
fn below_its_crate(file: &str) -> String {
    // …/registry/src/index.crates.io-1949cf8c6b5b557f/deadpool-runtime-0.1.4/src/lib.rs
    if let Some((_, rest)) = file.split_once("/registry/src/")
        && let Some((_index, rest)) = rest.split_once('/')
    {
        return rest.to_owned();
    }
    // …/git/checkouts/deadpool-0123456789abcdef/fedcba9/src/lib.rs
    if let Some((_, rest)) = file.split_once("/git/checkouts/")
        && let Some((checkout, rest)) = rest.split_once('/')
        && let Some((revision, rest)) = rest.split_once('/')
    {
        let name = checkout.rsplit_once('-').map_or(checkout, |(name, _hash)| name);
        return format!("{name}@{revision}/{rest}");
    }
    if !file.starts_with('/') && !file.contains(":/") {
        return file.to_owned();
    }
    // Any other absolute path: from the folder above the last `src` on, or the file alone.
    let parts: Vec<_> = file.split('/').collect();
    let source = parts.iter().rposition(|part| *part == "src").filter(|at| *at > 0);
    let from = source.map_or(parts.len().saturating_sub(1), |at| at - 1);
    parts.get(from..).unwrap_or_default().join("/")
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn a_site_does_not_depend_on_the_machine() {
        for (file, expected) in [
            (
                "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.54.1/src/a.rs",
                "tokio-1.54.1/src/a.rs:7:3",
            ),
            (
                r"C:\Users\me\.cargo\registry\src\index.crates.io-19\tokio-1.54.1\src\a.rs",
                "tokio-1.54.1/src/a.rs:7:3",
            ),
            (
                "/home/me/.cargo/git/checkouts/deadpool-runtime-0123456789abcdef/fedcba9/src/lib.rs",
                "deadpool-runtime@fedcba9/src/lib.rs:7:3",
            ),
            (
                "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/panicking.rs",
                "std: core/src/panicking.rs",
            ),
            (
                "/home/me/.rustup/toolchains/stable/lib/rustlib/src/rust/library/std/src/thread/mod.rs",
                "std: std/src/thread/mod.rs",
            ),
            (
                "experiments/src/bin/01_drop_context.rs",
                "experiments/src/bin/01_drop_context.rs:7:3",
            ),
            ("/home/me/vendor/tokio/src/runtime/handle.rs", "tokio/src/runtime/handle.rs:7:3"),
            ("/home/me/build.rs", "build.rs:7:3"),
        ] {
            assert_eq!(normalise(file, 7, 3), expected);
        }
    }
}
