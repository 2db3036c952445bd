#!/usr/bin/env bash
# overhead.sh FOLDER: builds extensions on this crate and on the one that it stands in for, with cargo's own release
# profile, and measures both in turn with overhead.py. Do it on a machine that does nothing else.
#
# Needs Python from 3.9 on, in PYTHON. Builds in FOLDER; a second run builds nothing. ROUNDS sets how often.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
python=$(command -v "${PYTHON:-python3}")
export PYO3_BUILD_EXTENSION_MODULE=1 PYO3_PYTHON=$python CARGO_TARGET_DIR=$folder/target
# As where an author changes nothing.
export CARGO_PROFILE_RELEASE_DEBUG=false

# `build EXTENSION WHICH [OPTION]…`
build() {
  cargo build --quiet --locked --release --manifest-path "$here/Cargo.toml" -p "$1" "${@:3}"
  mkdir -p "$folder/$2"
  for library in "$CARGO_TARGET_DIR/release/lib$1".{so,dylib}; do
    if [ -e "$library" ]; then cp "$library" "$folder/$2/$1.abi3.so"; fi
  done
}
build extension ours
build minimal ours
build extension bare --features bare
build minimal bare --no-default-features --features bare
EXTENSIONS=$folder "$python" "$here/tests/overhead.py"
