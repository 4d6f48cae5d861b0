#!/usr/bin/env python3
"""Holds the devices to one another on real models, by `tern parity --numerics consistent`: the same greedy tokens
(forced decoding, best token equal at every step) on the CPU, lavapipe and SwiftShader, and embeddings within 1e-5.

Run by tests/vulkan/with_driver.sh, which names the drivers. Closes with 'N passed, N failed'; 77 where a model is
missing."""
import json
import os
import subprocess
import sys

from fetch_models import CACHE

TERN = os.environ.get("TERN", "tern")
DEVICES = "cpu,vulkan:llvmpipe,vulkan:SwiftShader"
# A float16 cache makes logits of right computations differ by some 1e-2 (docs/numerics.md: 0.0053 between two of one
# device); embeddings have no such step between.
EMBEDDINGS = 1e-5
CASES = [
  # name, path, dtype, tokens, texts
  ("smollm2-gguf", "SmolLM2-135M-Instruct-Q4_1.gguf", None, 64, ["The capital of France is"]),
  ("smollm2-onnx-q4", "SmolLM2-135M-Instruct-ONNX", "q4", 16, ["Once upon a time"]),
  ("smollm2-onnx-fp16", "SmolLM2-135M-Instruct-ONNX", "fp16", 8, ["Once upon a time"]),
  ("minilm-fp32", "all-MiniLM-L6-v2", "fp32", 0, []),
  ("minilm-q8", "all-MiniLM-L6-v2", "q8", 0, []),
  ("minilm-q4", "all-MiniLM-L6-v2", "q4", 0, []),
]


def main():
  passed = failed = 0
  for name, path, dtype, tokens, texts in CASES:
    path = os.path.join(CACHE, path)
    if not os.path.exists(path):
      print(f"skipped: {path} is missing; try: tests/models/fetch_models.py")
      sys.exit(77)
    command = [TERN, "parity", "--model", path, "--numerics", "consistent", "--device", DEVICES, "--json"]
    command += ["--dtype", dtype] if dtype else []
    command += ["--new-tokens", str(tokens)] if tokens else []
    result = subprocess.run(command + texts, capture_output=True, text=True, timeout=900)
    if result.returncode:
      print(f"FAIL  {name}: exit {result.returncode}: {result.stderr.strip()[-300:]}", flush=True)
      failed += 1
      continue
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    if len(lines) != 2:
      print(f"FAIL  {name}: {len(lines)} devices were compared, not 2", flush=True)
      failed += 1
    for line in lines:
      if tokens:
        good = line["top1_agreement"] == 1 and line["rows"] == tokens * len(texts)
      else:
        good = line["max_abs_difference"] <= EMBEDDINGS and line["rows"] > 0
      passed, failed = passed + good, failed + (not good)
      print(f"{'pass' if good else 'FAIL'}  {name:18s} {line['device']:20s} largest difference "
            f"{line['max_abs_difference']:.3g}, least cosine {line['min_cosine']:.9f}"
            + (f", best token equal in {line['top1_agreement'] * 100:g} % of {line['rows']} steps" if tokens else ""),
            flush=True)
  print(f"{passed} passed, {failed} failed")
  sys.exit(1 if failed else 0)


if __name__ == "__main__":
  main()
