#!/usr/bin/env bash
# Builds bindings/web/dist: the ES modules and tern.wasm, tern-threads.wasm (for cross-origin isolated pages).
#   bindings/web/build.sh [--tests]     --tests: also the test programs, to be run by ctest under node
# Needs python3, cmake, ninja, dpkg-dev (for the dependencies' sources). zig comes from PyPI by requirements.txt, into the
# environment that TERN_WEB_PYTHON names or ${TERN_MODEL_CACHE:-~/.cache/tern}/venv. Build folders: ${TERN_BUILD_DIR:-build}/wasm*.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests=OFF
[ "${1:-}" != --tests ] || tests=ON
cache=${TERN_MODEL_CACHE:-$HOME/.cache/tern}
build=${TERN_BUILD_DIR:-build}
python=${TERN_WEB_PYTHON:-$cache/venv/bin/python}
[ -x "$python" ] || python3 -m venv "$cache/venv"
if ! "$python" -m pip freeze 2>/dev/null | grep -qxF "$(cat bindings/web/requirements.txt)"; then
  "$python" -m pip install --quiet --disable-pip-version-check -r bindings/web/requirements.txt
fi
TERN_ZIG=$("$python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))')
export TERN_ZIG
export ZIG_GLOBAL_CACHE_DIR=${ZIG_GLOBAL_CACHE_DIR:-$cache/zig}
sources=${TERN_WEB_SOURCES:-$cache/web-sources}
bindings/web/sources.sh "$sources"

build_one() { # folder, cmake options...
  local folder=$1
  shift
  mkdir -p "$build"
  cmake -G Ninja -B "$folder" -DCMAKE_TOOLCHAIN_FILE="$PWD/bindings/web/wasm-toolchain.cmake" -DCMAKE_BUILD_TYPE=Release \
    -DBUILD_SHARED_LIBS=OFF -DTERN_BUILD_TOOLS=OFF -DTERN_BUILD_SAMPLES=OFF -DTERN_CJSON_SOURCE_DIR="$sources/cjson" \
    -DTERN_PCRE2_SOURCE_DIR="$sources/pcre2" -DTERN_UTF8PROC_SOURCE_DIR="$sources/utf8proc" \
    -DTERN_STB_SOURCE_DIR="$sources/stb" "$@" >"$folder.configure.log" 2>&1 || { cat "$folder.configure.log"; exit 1; }
  cmake --build "$folder" -j "$(nproc)" >"$folder.build.log" 2>&1 || { tail -n 40 "$folder.build.log"; exit 1; }
}
build_one "$build/wasm" -DTERN_BUILD_TESTS=$tests
build_one "$build/wasm-threads" -DTERN_WASM_THREADS=ON -DTERN_BUILD_TESTS=$tests

dist=${TERN_WEB_DIST:-bindings/web/dist}
rm -rf "$dist"
mkdir -p "$dist"
cp bindings/web/src/*.js bindings/web/src/*.d.ts backends/kernels/generated/web/kernels.js "$dist"
cp bindings/web/package.json bindings/web/README.md LICENSE "$dist"
cp "$build/wasm/bin/tern.wasm" "$build/wasm-threads/bin/tern-threads.wasm" "$dist"
for file in "$dist"/*.wasm; do
  printf '%s: %d bytes, %d with gzip -9\n' "$(basename "$file")" "$(wc -c <"$file")" "$(gzip -9 -c "$file" | wc -c)"
done
