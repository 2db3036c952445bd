#!/usr/bin/env bash
# build.sh CLIENT FOLDER ENVIRONMENT: builds a client from its source distribution, with its dependency on
# pyo3-async-runtimes replaced by crates/pyo3, and installs it in a virtual environment.
#
# CLIENT is the name of a patch here, without `.patch`: `etcd-client-py-0.4.1`. Builds in FOLDER, where the
# sources, the tools (maturin, and the protocol buffer compiler of grpcio-tools) and the artefacts stay. Needs
# cargo, a package index, and crates.io. Takes some minutes the first time.
set -euo pipefail
client=$1
package=${client%-*}
version=${client##*-}
mkdir -p "$2" && folder=$(cd "$2" && pwd)
environment=$(cd "$3" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)

tools=$folder/tools
if [ ! -e "$tools/bin/protoc" ]; then
  rm -rf "$tools"
  "$environment/bin/python" -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check maturin grpcio-tools
  printf '#!/bin/sh\nexec "%s/bin/python" -m grpc_tools.protoc "$@"\n' "$tools" >"$tools/bin/protoc"
  chmod +x "$tools/bin/protoc"
fi
export PATH=$tools/bin:$PATH PROTOC=$tools/bin/protoc CARGO_TARGET_DIR=$folder/target

# Unpacked again only if the patch has changed, so that cargo finds what it has built.
source=$folder/$client
patch=$folder/$client.patch
sed "s|SUNDOWN|$project|" "$here/$client.patch" >"$patch"
if ! cmp -s "$patch" "$source/the.patch"; then
  rm -rf "$source" "$source.new"
  mkdir -p "$source.new"
  "$tools/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --no-binary :all: --dest "$source.new" "$package==$version"
  tar -xzf "$source.new"/*.tar.gz -C "$source.new" --strip-components 1
  patch --quiet --strip 1 --directory "$source.new" <"$patch"
  # The folder may be inside the workspace of this project.
  grep -q '^\[workspace\]' "$source.new/Cargo.toml" || printf '\n[workspace]\n' >>"$source.new/Cargo.toml"
  cp "$patch" "$source.new/the.patch"
  mv "$source.new" "$source"
fi

rm -rf "$source/wheels"
(cd "$source" && maturin build --quiet --release --interpreter "$environment/bin/python" --out wheels)
installed=$environment/$client.whl
if ! cmp -s "$source"/wheels/*.whl "$installed"; then
  "$environment/bin/pip" install --quiet --disable-pip-version-check --force-reinstall "$source"/wheels/*.whl
  cp "$source"/wheels/*.whl "$installed"
fi
