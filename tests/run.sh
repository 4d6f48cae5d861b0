#!/usr/bin/env bash
# Installs what the tests need, fetches the models, builds, and runs every test. Ends with ctest's summary.
#   tests/run.sh          the suite that CI runs; on x86 also the C tests as 64-bit ARM under qemu
#   tests/run.sh --full   also under the address, undefined-behaviour and thread sanitizers (tests/sanitize), and every op
#                         case in the browser
set -euo pipefail
cd "$(dirname "$0")/.."
full=0
for argument in "$@"; do
  case "$argument" in
    --full) full=1 ;;
    *) echo "usage: tests/run.sh [--full]" >&2; exit 2 ;;
  esac
done
build=${TERN_BUILD_DIR:-build}
jobs=$(nproc)
cache=${TERN_MODEL_CACHE:-$HOME/.cache/tern}
export TERN_MODEL_CACHE=$cache

sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
packages="cmake ninja-build gcc g++ pkg-config libcjson-dev libpcre2-dev libutf8proc-dev libstb-dev libcriterion-dev binutils python3 python3-venv"
packages="$packages libvulkan-dev libvulkan-volk-dev mesa-vulkan-drivers vulkan-validationlayers chromium" # Vulkan without a GPU
packages="$packages spirv-tools libspirv-cross-c-shared-dev" # validators and reflection of kernels
[ "$(uname -m)" != x86_64 ] || packages="$packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
packages="$packages dpkg-dev chromium" # the browser build: sources of the dependencies, and a browser
command -v npm >/dev/null || packages="$packages nodejs npm"
missing=""
for package in $packages; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  echo "== installing$missing"
  $sudo apt-get update -qq
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

echo "== models and oracles in $cache"
tests/models/venv.sh
python=$cache/venv/bin/python
"$python" tests/models/fetch_models.py
[ -f "$cache/all-MiniLM-L6-v2/onnx/model_bnb4.onnx" ] || "$python" tests/models/make_minilm_folder.py
[ -f "$cache/SmolLM2-135M-Instruct-ONNX/onnx/model_q4f16.onnx" ] || "$python" tests/models/make_smollm2_folder.py
echo "== llama.cpp, the oracle for GGUF"
JOBS=$jobs tests/models/build_llama_cpp.sh >"$cache/llama_cpp.log" 2>&1 || { tail -n 20 "$cache/llama_cpp.log"; exit 1; }

run_preset() { # name, cmake options...
  local name=$1
  shift
  echo "== $name"
  cmake -G Ninja -B "$build/$name" -DTERN_BUILD_TESTS=ON "$@" >"$build/$name.configure.log" 2>&1 || { cat "$build/$name.configure.log"; exit 1; }
  cmake --build "$build/$name" -j "$jobs" 2>&1 | tail -n 25
  test "${PIPESTATUS[0]}" = 0
}
mkdir -p "$build"
export TERN_FULL=$full # tests that have more to run read it
if [ $full = 1 ]; then
  run_preset asan-ubsan -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-g -O1" -DTERN_SANITIZE=address,undefined
  ctest --test-dir "$build/asan-ubsan" --output-on-failure -j "$jobs"
  run_preset tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTERN_SANITIZE=thread
  ctest --test-dir "$build/tsan" --output-on-failure -j "$jobs" --no-tests=error -L threads
fi
if [ "$(uname -m)" = x86_64 ]; then # on 64-bit ARM the release build tests what this one emulates
  tests/arm_sysroot.sh "$build/aarch64-sysroot"
  export TERN_ARM_SYSROOT=$PWD/$build/aarch64-sysroot
  case "$build" in /*) export TERN_ARM_SYSROOT=$build/aarch64-sysroot ;; esac
  run_preset aarch64 -DCMAKE_BUILD_TYPE=Release -DCMAKE_TOOLCHAIN_FILE="$PWD/tests/aarch64-toolchain.cmake" \
    -DBUILD_SHARED_LIBS=OFF -DTERN_BUILD_TOOLS=OFF -DTERN_BUILD_SAMPLES=OFF
  ctest --test-dir "$build/aarch64" --output-on-failure -j "$jobs"
fi
echo "== WebAssembly, under node; the browser tests are part of the release build's"
(cd tests/web && npm ci --omit=optional --ignore-scripts --no-audit --no-fund --silent)
bindings/web/build.sh --tests
for folder in wasm wasm-threads; do
  ctest --test-dir "$build/$folder" --output-on-failure -j "$jobs"
done
run_preset release -DCMAKE_BUILD_TYPE=Release
ctest --test-dir "$build/release" --output-on-failure -j "$jobs"
