#!/usr/bin/env bash
# upstream.sh FOLDER: runs the tests of pyo3-async-runtimes for Tokio, as its crate publishes them, on this crate.
#
# Needs Python's shared library and the packages of `pip install uvloop`, in PYTHON. Builds in FOLDER.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
folder=$1
python=${PYTHON:-python3}
mkdir -p "$folder/src"
theirs=$(cargo metadata --locked --manifest-path "$here/Cargo.toml" --format-version 1 |
  "$python" -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(*(os.path.dirname(p["manifest_path"]) for p in packages if p["name"] == "pyo3-async-runtimes"))')
rm -rf "$folder/pytests"
cp -r "$theirs/pytests" "$folder"
cp "$here/Cargo.lock" "$folder"
: >"$folder/src/lib.rs"
{
  cat <<MANIFEST
[package]
name = "upstream"
version = "0.1.0"
edition = "2021"

[workspace]

[dependencies]
pyo3 = { version = "0.30", features = ["macros"] }
pyo3-async-runtimes = { package = "sundown-pyo3", path = "$here", features = ["attributes", "testing"] }
tokio = { version = "1", features = ["rt-multi-thread", "time", "macros", "sync"] }
futures-util = "0.3"

[features]
default = ["unstable-streams"]
unstable-streams = ["pyo3-async-runtimes/unstable-streams"]
MANIFEST
  for test in "$folder"/pytests/test_tokio_*.rs; do
    name=$(basename "$test" .rs)
    printf '\n[[test]]\nname = "%s"\npath = "pytests/%s.rs"\nharness = false\n' "$name" "$name"
  done
} >"$folder/Cargo.toml"

PYO3_PYTHON=$(command -v "$python")
LD_LIBRARY_PATH=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')
PYTHONPATH=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PYTHONHOME=$("$python" -c 'import sys; print(sys.base_prefix)')
export PYO3_PYTHON
cargo test --quiet --no-run --manifest-path "$folder/Cargo.toml"
export LD_LIBRARY_PATH PYTHONPATH PYTHONHOME RUST_BACKTRACE=0
cargo test --manifest-path "$folder/Cargo.toml" --tests 2>&1 | grep -E '^(test |[a-z]+ passed|error)'
