#!/usr/bin/env python3
"""What an app pays for a model that it holds: memory against the plan, memory after many opens, processor time when idle.
Linux alone (/proc). Closes with 'N passed, N failed'; 77 where a model is missing.

Bounds: peak <= weights + KV + plan + 25 % of the weights while packing; steady <= weights + KV + plan + 16 MB; 100 times
open and close give back all but 1 MB; 0 % when idle. Weights are those that are packed. The file is mapped, and the
system may drop it; what was packed out of it is given back all the same, so that the process never holds all weights
twice."""
import gc
import os
import resource
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bindings", "python"))
from fetch_models import CACHE  # noqa: E402

import tern  # noqa: E402

MB = 1 << 20
GGUF = os.path.join(CACHE, "SmolLM2-135M-Instruct-Q4_1.gguf")
MINILM = os.path.join(CACHE, "all-MiniLM-L6-v2")
CYCLES, WARM_UP = 100, 10


def anonymous():
  """Bytes that the process holds for itself: without mapped files, which the system can drop."""
  with open("/proc/self/smaps_rollup", encoding="ascii") as f:
    return sum(int(line.split()[1]) * 1024 for line in f if line.startswith(("Anonymous:", "SwapPss:")))


def resident(key):
  """A line of /proc/self/status in bytes: VmRSS, VmHWM (its peak), RssFile."""
  with open("/proc/self/status", encoding="ascii") as f:
    return next(int(line.split()[1]) * 1024 for line in f if line.startswith(key + ":"))


def forget_peak():
  with open("/proc/self/clear_refs", "w", encoding="ascii") as f:
    f.write("5")


def check(good, what):
  print(f"{'pass' if good else 'FAIL'}  {what}", flush=True)
  return good


def memory():
  """Of one generation, in what the runtime's own count and the process say."""
  before = anonymous()
  forget_peak()
  whole, files = resident("VmRSS"), resident("RssFile")
  runtime = tern.Runtime(threads=2)
  pipe = tern.pipeline("text-generation", GGUF, runtime=runtime, context_length=1024)
  plan = pipe.memory
  pipe("The capital of France is", max_new_tokens=8, temperature=0)
  live, peak = runtime.memory
  steady = anonymous() - before
  top, mapped = resident("VmHWM") - whole, resident("RssFile") - files
  pipe("one two three one two three one two", max_new_tokens=32, prompt_lookup_num_tokens=10)
  with_drafts, drafts = pipe.memory, runtime.memory
  planned_drafts = (with_drafts.packed_bytes + with_drafts.kv_bytes + with_drafts.activation_bytes +
                    with_drafts.scratch_bytes)
  planned = plan.packed_bytes + plan.kv_bytes + plan.activation_bytes + plan.scratch_bytes
  print(f"      plan: {plan}; live {live / MB:.1f} MB, peak {peak / MB:.1f} MB, the process {steady / MB:.1f} MB more")
  results = [
    check(peak <= planned + plan.packed_bytes // 4, f"peak {peak / MB:.1f} MB, planned {planned / MB:.1f} MB and a quarter "
                                                     "of the weights"),
    check(live <= planned + 16 * MB, f"steady {live / MB:.1f} MB, planned {planned / MB:.1f} MB and 16"),
    check(steady <= planned + 16 * MB, f"the process holds {steady / MB:.1f} MB, planned {planned / MB:.1f} MB and 16"),
    check(top <= planned + plan.packed_bytes // 4 + 16 * MB, f"with mapped files {top / MB:.1f} MB at most, planned "
                                                             f"{planned / MB:.1f} MB, a quarter of the weights and 16"),
    check(mapped <= plan.packed_bytes // 4, f"{mapped / MB:.1f} MB of files, a quarter of the weights at most"),
  ]
  results.append(check(drafts[0] <= planned_drafts + 16 * MB, f"with drafts {drafts[0] / MB:.1f} MB, planned "
                                                              f"{planned_drafts / MB:.1f} MB and 16"))
  begin = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
  time.sleep(3)
  spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - begin
  results.append(check(spent < 0.01, f"idle for 3 s: {spent * 1e3:.1f} ms of processor time"))
  pipe.close()
  runtime.close()
  return results


def cycle():
  runtime = tern.Runtime(threads=2)
  pipe = tern.pipeline("feature-extraction", MINILM, dtype="q8", runtime=runtime)
  pipe("The ferry leaves at nine.")
  pipe.close()
  runtime.close()


def cycles():
  for _ in range(WARM_UP):
    cycle()
  gc.collect()
  before = anonymous()
  for _ in range(CYCLES):
    cycle()
  gc.collect()
  grown = anonymous() - before
  return [check(grown <= MB, f"{CYCLES} times open, run and close: {grown / 1024:.0f} KiB more")]


def main():
  for path in (GGUF, os.path.join(MINILM, "onnx", "model_quantized.onnx")):
    if not os.path.exists(path):
      print(f"skipped: {path} is missing; try: tests/models/fetch_models.py")
      sys.exit(77)
  if not os.path.exists("/proc/self/smaps_rollup"):
    print("skipped: no /proc/self/smaps_rollup")
    sys.exit(77)
  results = memory() + cycles()
  print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
  sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
  main()
