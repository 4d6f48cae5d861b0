#!/bin/sh
# Builds llama.cpp, the oracle for GGUF models and the peer in benches, from the source that the
# llama-cpp-python package carries, natively for this machine. Result:
# ${TERN_MODEL_CACHE:-~/.cache/tern}/peers/llama.cpp/bin with llama-bench, llama-completion, llama-tokenize and
# our llama_oracle (token ids and logits as JSON). Takes minutes on two cores; does nothing when the result is
# there. JOBS=n sets the parallel compile jobs (1).
#   build_llama_cpp.sh [--avx2]
#   --avx2   for x86 processors with AVX2, FMA, F16C and BMI2 but nothing newer, whatever this machine has: the peer of
#            `cpu:avx2` in compare.py. Result: bin-avx2/llama-bench beside bin
set -eu
VERSION=0.3.36
SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
HERE=$(cd "$(dirname "$0")" && pwd)
CACHE=${TERN_MODEL_CACHE:-$HOME/.cache/tern}
PEER=$CACHE/peers/llama.cpp
BUILD=build
BIN=$PEER/bin
TARGETS="llama-bench llama-completion llama-tokenize"
PROCESSOR="-DGGML_NATIVE=ON"
case "${1:-}" in
  "") ;;
  --avx2)
    BUILD=build-avx2 BIN=$PEER/bin-avx2 TARGETS=llama-bench
    PROCESSOR="-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
    PROCESSOR="$PROCESSOR -DGGML_AVX_VNNI=OFF -DGGML_AVX512=OFF -DGGML_AMX_TILE=OFF -DGGML_AMX_INT8=OFF"
    ;;
  *) echo "usage: build_llama_cpp.sh [--avx2]" >&2; exit 2 ;;
esac

missing=
for target in $TARGETS; do
  [ -x "$BIN/$target" ] || missing=1
done
if [ -n "$missing" ]; then
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
  # shellcheck disable=SC2086 # lists of options and targets
  nice -n 15 cmake -S "$SOURCE" -B "$PEER/$BUILD" -G Ninja -DCMAKE_BUILD_TYPE=Release $PROCESSOR \
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF
  # shellcheck disable=SC2086
  nice -n 15 cmake --build "$PEER/$BUILD" -j "${JOBS:-1}" --target $TARGETS
  ln -sfn "$BUILD/bin" "$BIN"
fi
if [ "$BUILD" != build ]; then
  echo "$BIN"
  exit
fi

ORACLE=$HERE/llama_oracle.c
if [ ! -x "$BIN/llama_oracle" ] || [ "$ORACLE" -nt "$BIN/llama_oracle" ]; then
  SOURCE=$PEER/llama_cpp_python-$VERSION/vendor/llama.cpp
  cc -O2 -Wall -I"$SOURCE/include" -I"$SOURCE/ggml/include" "$ORACLE" -o "$BIN/llama_oracle" \
    -L"$BIN" -lllama -lggml -lggml-base -lm -Wl,-rpath,"$(cd "$BIN" && pwd -P)"
fi
echo "$BIN"
