#!/usr/bin/env bash
# versions.sh FOLDER VERSION…: builds the extensions of the tests with these versions of PyO3 (0.25 0.26 …), and
# runs the programs of test_exits.py with them.
#
# Only what an extension says of PyO3 is changed, in a copy; cargo finds what fits this crate. Needs the packages
# of `pip install pytest`, in PYTHON. Builds in FOLDER.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
python=$(command -v "${PYTHON:-python3}")
export PYO3_BUILD_EXTENSION_MODULE=1 PYO3_PYTHON=$python CARGO_TARGET_DIR=$folder/target

for version in "$@"; do
  copy=$folder/$version
  rm -rf "$copy"
  mkdir -p "$copy/modules/ours" "$copy/modules/bare"
  cp -r "$here"/{Cargo.toml,Cargo.lock,README.md,src,tests} "$copy"
  sed -i.bak "s|\"../sundown\"|\"$here/../sundown\"|" "$copy/Cargo.toml"
  sed -i.bak "s|^\(pyo3 = .*\)\">=0.25, <0.31\"|\1\"$version\"|" "$copy"/tests/*/Cargo.toml
  if [ "$version" = 0.25 ]; then
    sed -i.bak 's/Python::attach/Python::with_gil/; s/py\.detach/py.allow_threads/' "$copy"/tests/*/src/*.rs
  fi
  build() {
    cargo build --quiet --manifest-path "$copy/Cargo.toml" -p "$1" "${@:3}"
    for library in "$folder/target/debug/lib$1.so" "$folder/target/debug/lib$1.dylib"; do
      if [ -e "$library" ]; then cp "$library" "$copy/modules/$2/$1.abi3.so"; fi
    done
  }
  # Everything compiles, and what the tests import is there twice.
  cargo check --quiet --manifest-path "$copy/Cargo.toml" --all-features
  build extension ours
  build guide ours
  build extension bare --features bare
  found=$(grep -A1 '^name = "pyo3"$' "$copy/Cargo.lock" | sed -n 's/version = "\(.*\)"/\1/p')
  printf 'PyO3 %s: ' "$found"
  [ "${found%.*}" = "$version" ]
  if PYO3_VERSION=$version EXTENSIONS=$copy/modules "$python" -m pytest --quiet -p no:cacheprovider "$copy/tests" >"$copy/log"; then
    tail -n 1 "$copy/log"
  else
    cat "$copy/log"
    exit 1
  fi
done
