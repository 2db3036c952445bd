#!/usr/bin/env bash
# build.sh CLIENT FOLDER [PYTHON]: builds a published client twice from its source distribution, for this interpreter
# (python3): as it is, and moved over to crates/pyo3 by the patch here.
#
# CLIENT is the name of a patch without `.patch`: `etcd-client-py-0.4.1`. The clients are then in the virtual
# environments FOLDER/CLIENT/bare/venv and FOLDER/CLIENT/moved/venv. The bare one depends on crates/pyo3 as well, and does
# not use it: so both have the same versions of the same packages, with the same features. FOLDER also keeps the sources, the tools (maturin, and a protocol buffer
# compiler, unless there is a protoc), and the artefacts. Needs cargo, patch, a package index, and crates.io. Takes some
# minutes for each client, the first time. Ends with 3 if the package index does not give what is needed.
set -euo pipefail
client=$1
package=${client%-*}
version=${client##*-}
mkdir -p "$2" && folder=$(cd "$2" && pwd)
python=${3:-python3}
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)

# pip of an environment, for what comes from the package index.
pip() {
  "$1/bin/python" -m pip "${@:2}" --quiet --disable-pip-version-check --no-input || exit 3
}

tools=$folder/tools
if [ ! -e "$tools/complete" ]; then
  rm -rf "$tools"
  "$python" -m venv "$tools"
  pip "$tools" install maturin
  if ! command -v protoc >/dev/null; then
    pip "$tools" install grpcio-tools
    printf '#!/bin/sh\nexec "%s/bin/python" -m grpc_tools.protoc "$@"\n' "$tools" >"$tools/bin/protoc"
    chmod +x "$tools/bin/protoc"
  fi
  touch "$tools/complete"
fi
export PATH=$tools/bin:$PATH CARGO_TARGET_DIR=$folder/target
# Some are published with optimization across crates, which takes many minutes more.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

# Unpacks the source distribution, and changes it. Only if the patch has changed, so that cargo finds what it has built.
unpack() {
  local which=$1 source=$these/$1/source
  if cmp -s "$patch" "$source/the.patch"; then return; fi
  rm -rf "$source" "$source.new"
  mkdir -p "$source.new"
  pip "$tools" download --no-deps --no-build-isolation --no-binary :all: --dest "$source.new" "$package==$version"
  tar -xzf "$source.new"/*.tar.gz -C "$source.new" --strip-components 1
  if [ "$which" = moved ]; then
    patch --quiet --strip 1 --directory "$source.new" <"$patch"
  else
    # The same line, but under another name.
    unused=$(sed -n 's/^+pyo3-async-runtimes = { package = "sundown-pyo3", /sundown-pyo3 = { /p' "$patch")
    manifest=$(sed -n '2s|^+++ b/||p' "$patch")
    sed -i.bak "s|^\[dependencies\]|&\n$unused|" "$source.new/$manifest"
    grep -q '^sundown-pyo3 = ' "$source.new/$manifest"
    cp "$these/moved/source/Cargo.lock" "$source.new/Cargo.lock"
  fi
  # The folder may be inside the workspace of this project. What a client has copied may be a workspace of its own.
  grep -q '^\[workspace\]' "$source.new/Cargo.toml" ||
    printf '\n[workspace]\nexclude = ["vendor"]\n' >>"$source.new/Cargo.toml"
  cp "$patch" "$source.new/the.patch"
  mv "$source.new" "$source"
}

# Builds a source, and installs the wheel if it is another than before.
build() {
  local source=$these/$1/source environment=$these/$1/venv
  [ -e "$environment/bin/pip" ] || "$python" -m venv --clear "$environment"
  rm -rf "$source/wheels"
  # With the same interpreter for both: if it changes, PyO3 is built again.
  (cd "$source" && maturin build --quiet --release --interpreter "$tools/bin/python" --out wheels)
  if ! cmp -s "$source"/wheels/*.whl "$environment/the.whl"; then
    pip "$environment" install --force-reinstall "$source"/wheels/*.whl
    cp "$source"/wheels/*.whl "$environment/the.whl"
  fi
}

these=$folder/$client
mkdir -p "$these"
patch=$these/patch
sed "s|SUNDOWN|$project|" "$here/$client.patch" >"$patch"
# Both builds of the client have the same name for cargo, so it would build each again every time.
sources() {
  "$python" --version
  cat "$patch" "$here/build.sh"
  cd "$project/crates"
  find core/src sundown/src pyo3/src {core,sundown,pyo3}/Cargo.toml -type f | sort | xargs cksum
}
(sources) >"$these/made-of.new"
if cmp -s "$these/made-of.new" "$these/made-of"; then exit; fi
for which in moved bare; do
  unpack "$which"
  build "$which"
done
mv "$these/made-of.new" "$these/made-of"
