#!/usr/bin/env python3
"""Measures what decoding loses when another program keeps one core busy: tern beside llama.cpp, the same GGUF file.

Each round measures both alone and beside a loop that is pinned to one core (the programs themselves are not pinned),
in turn. A loss is 1 - the busy median over the quiet one. A timed comparison: it never fails for being slow, only when
something could not be run.

  busy_core.py [--tern PATH] [--model FILE.gguf] [--rounds 5] [--threads 2] [--new-tokens 64] [--json FILE]
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "models"))
from fetch_models import CACHE  # noqa: E402
from test_parity import find_tern  # noqa: E402

LLAMA = os.path.join(CACHE, "peers", "llama.cpp", "bin", "llama-bench")


def run_json(command):
  result = subprocess.run(command, capture_output=True, text=True, timeout=600)
  if result.returncode:
    raise RuntimeError(f"{' '.join(command[:3])} ...: exit {result.returncode}: {result.stderr.strip()[-300:]}")
  return json.loads(result.stdout)


def tern_rate(args):
  answer = run_json([args.tern, "bench", "--model", args.model, "--threads", str(args.threads), "--prompt-tokens", "16",
                     "--new-tokens", str(args.new_tokens), "--repeat", "1", "--json"])
  answer = answer[0] if isinstance(answer, list) else answer
  return (answer["devices"][0] if "devices" in answer else answer)["decode_tokens_per_s"]


def llama_rate(args):
  rows = run_json([LLAMA, "-m", args.model, "-t", str(args.threads), "-p", "0", "-n", str(args.new_tokens), "-r", "1",
                   "-o", "json"])
  return rows[0]["avg_ts"]


def hog(core):
  return subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"])


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--tern", default=find_tern())
  parser.add_argument("--model", default=os.path.join(CACHE, "SmolLM2-135M-Instruct-Q4_1.gguf"))
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--new-tokens", type=int, default=64)
  parser.add_argument("--json", metavar="FILE")
  args = parser.parse_args()
  for path, what in ((args.tern, "the tern command (build it, or --tern)"), (args.model, "the model (fetch_models.py)"),
                     (LLAMA, "llama.cpp (build_llama_cpp.sh)")):
    if not path or not os.path.exists(path):
      sys.exit(f"busy_core.py: {what} is missing: {path}")
  core = max(os.sched_getaffinity(0))
  rates = {}
  for i in range(args.rounds):
    for busy in (False, True):
      process = hog(core) if busy else None
      try:
        for name, rate in [("tern", tern_rate), ("llama.cpp", llama_rate)][:: 1 if i % 2 == 0 else -1]:
          rates.setdefault(name, {}).setdefault(busy, []).append(rate(args))
      finally:
        if process:
          process.kill()
          process.wait()
  results = {"threads": args.threads, "rounds": args.rounds}
  print(f"decoding, tokens/s, {args.threads} threads, {args.rounds} rounds; a loop on core {core}\n")
  print("| | alone | one core busy | loss |\n|---|---|---|---|")
  for name, by in rates.items():
    quiet, busy = statistics.median(by[False]), statistics.median(by[True])
    results[name] = {"alone": by[False], "busy": by[True], "loss": 1 - busy / quiet}
    print(f"| {name} | {quiet:.1f} ({min(by[False]):.1f}-{max(by[False]):.1f}) | {busy:.1f} ({min(by[True]):.1f}-"
          f"{max(by[True]):.1f}) | {100 * (1 - busy / quiet):.0f} % |")
  if args.json:
    with open(args.json, "w", encoding="utf-8") as f:
      json.dump(results, f, indent=1)


if __name__ == "__main__":
  main()
