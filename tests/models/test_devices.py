#!/usr/bin/env python3
"""Holds the devices to one another on real models, by `tern parity`: lavapipe, SwiftShader, and each of the CPU's
instruction sets, against the CPU's best one.

CONSISTENT: the same greedy tokens (forced decoding, best token equal at every step), and embeddings within 1e-5.
FAST: every row of logits and every embedding within the cosine that docs/numerics.md states.
Other processors: tests/unit/test_consistent_numerics.c, on tiny models.

Run by tests/vulkan/with_driver.sh, which names the drivers. Closes with 'N passed, N failed'; 77 where a model is
missing."""
import json
import os
import platform
import subprocess
import sys

from fetch_models import CACHE

TERN = os.environ.get("TERN", "tern")
SETS = {"x86_64": ["cpu:avx2", "cpu:plain C"], "aarch64": ["cpu:neon", "cpu:plain C"]}.get(platform.machine(), [])
GPUS = ["vulkan:llvmpipe", "vulkan:SwiftShader"]
# A float16 cache makes logits of right computations differ by some 1e-2 (docs/numerics.md: 0.0053 between two of one
# device); embeddings have no such step between.
EMBEDDINGS = 1e-5
FAST_COSINE, FAST_TOKENS = 0.9999, 8
FP16_TOKENS = 64 if os.environ.get("TERN_FULL") == "1" else 16  # slow on plain C and the software drivers
CASES = [
  # name, path, dtype, tokens, texts
  ("smollm2-gguf", "SmolLM2-135M-Instruct-Q4_1.gguf", None, 64, ["The capital of France is"]),
  ("smollm2-onnx-q4", "SmolLM2-135M-Instruct-ONNX", "q4", 64, ["Once upon a time"]),
  ("smollm2-onnx-fp16", "SmolLM2-135M-Instruct-ONNX", "fp16", FP16_TOKENS, ["Once upon a time"]),
  ("minilm-fp32", "all-MiniLM-L6-v2", "fp32", 0, []),
  ("minilm-q8", "all-MiniLM-L6-v2", "q8", 0, []),
  ("minilm-q4", "all-MiniLM-L6-v2", "q4", 0, []),
]


def is_good(line, numerics, tokens, texts):
  if numerics == "fast":
    return line["min_cosine"] >= FAST_COSINE and line["rows"] > 0
  if tokens:
    return line["top1_agreement"] == 1 and line["rows"] == tokens * len(texts)
  return line["max_abs_difference"] <= EMBEDDINGS and line["rows"] > 0


def compare(name, path, dtype, tokens, texts, numerics):
  """Counts of comparisons that hold and that do not."""
  devices = ["cpu"] + SETS + GPUS
  command = [TERN, "parity", "--model", path, "--numerics", numerics, "--device", ",".join(devices), "--json"]
  command += ["--dtype", dtype] if dtype else []
  command += ["--new-tokens", str(tokens)] if tokens else []
  try:
    result = subprocess.run(command + texts, capture_output=True, text=True, timeout=1800)
  except subprocess.TimeoutExpired:
    print(f"FAIL  {name}: {numerics}: not done after 1800 s", flush=True)
    return 0, 1
  if result.returncode:
    print(f"FAIL  {name}: exit {result.returncode}: {result.stderr.strip()[-300:]}", flush=True)
    return 0, 1
  lines = [json.loads(line) for line in result.stdout.splitlines()]
  missing = len(lines) != len(devices) - 1
  if missing:
    print(f"FAIL  {name}: {len(lines)} devices were compared, not {len(devices) - 1}", flush=True)
  good = 0
  for line in lines:
    fine = is_good(line, numerics, tokens, texts)
    good += fine
    print(f"{'pass' if fine else 'FAIL'}  {name:18s} {numerics:10s} {line['device']:20s} largest difference "
          f"{line['max_abs_difference']:.3g}, least cosine {line['min_cosine']:.9f}"
          + (f", best token equal in {line['top1_agreement'] * 100:g} % of {line['rows']} steps" if tokens else ""),
          flush=True)
  return good, len(lines) - good + missing


def main():
  passed = failed = 0
  for name, path, dtype, tokens, texts in CASES:
    path = os.path.join(CACHE, path)
    if not os.path.exists(path):
      print(f"skipped: {path} is missing; try: tests/models/fetch_models.py")
      sys.exit(77)
    for numerics in ("consistent", "fast"):
      n = min(tokens, FAST_TOKENS) if numerics == "fast" else tokens
      good, bad = compare(name, path, dtype, n, texts, numerics)
      passed, failed = passed + good, failed + bad
  print(f"{passed} passed, {failed} failed")
  sys.exit(1 if failed else 0)


if __name__ == "__main__":
  main()
