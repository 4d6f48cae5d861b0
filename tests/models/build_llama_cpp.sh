#!/bin/sh
# Builds llama.cpp, the oracle for GGUF models and the peer in benches, from the source that the
# llama-cpp-python package carries, natively for this machine. Result:
# ${TERN_MODEL_CACHE:-~/.cache/tern}/peers/llama.cpp/bin with llama-bench, llama-completion, llama-tokenize and
# our llama_oracle (token ids and logits as JSON). Takes minutes on two cores; does nothing when the result is
# there. JOBS=n sets the parallel compile jobs (1).
set -eu
VERSION=0.3.36
SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
HERE=$(cd "$(dirname "$0")" && pwd)
CACHE=${TERN_MODEL_CACHE:-$HOME/.cache/tern}
PEER=$CACHE/peers/llama.cpp
BIN=$PEER/bin

if [ ! -x "$BIN/llama-bench" ] || [ ! -x "$BIN/llama-completion" ] || [ ! -x "$BIN/llama-tokenize" ]; then
  mkdir -p "$PEER"
  SDIST=$PEER/llama_cpp_python-$VERSION.tar.gz
  if [ ! -f "$SDIST" ]; then
    # pip runs the package's build back end to read its metadata, hence the build requirements it fetches
    python3 -m pip download -q --no-deps --no-binary :all: --dest "$PEER" "llama-cpp-python==$VERSION" || {
      echo "build_llama_cpp.sh: pip could not download llama-cpp-python $VERSION; check the network, run again" >&2
      exit 1
    }
  fi
  echo "$SHA256  $SDIST" | sha256sum --check --quiet || {
    echo "build_llama_cpp.sh: $SDIST is not the pinned file; delete it and run again" >&2
    exit 1
  }
  SOURCE=$PEER/llama_cpp_python-$VERSION/vendor/llama.cpp
  [ -f "$SOURCE/CMakeLists.txt" ] || tar -xzf "$SDIST" -C "$PEER"
  nice -n 15 cmake -S "$SOURCE" -B "$PEER/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF
  nice -n 15 cmake --build "$PEER/build" -j "${JOBS:-1}" --target llama-bench llama-completion llama-tokenize
  ln -sfn build/bin "$BIN"
fi

ORACLE=$HERE/llama_oracle.c
if [ ! -x "$BIN/llama_oracle" ] || [ "$ORACLE" -nt "$BIN/llama_oracle" ]; then
  SOURCE=$PEER/llama_cpp_python-$VERSION/vendor/llama.cpp
  cc -O2 -Wall -I"$SOURCE/include" -I"$SOURCE/ggml/include" "$ORACLE" -o "$BIN/llama_oracle" \
    -L"$BIN" -lllama -lggml -lggml-base -lm -Wl,-rpath,"$(cd "$BIN" && pwd -P)"
fi
echo "$BIN"
