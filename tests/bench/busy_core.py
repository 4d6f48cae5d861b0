#!/usr/bin/env python3
"""Measures what decoding loses when another program keeps one core busy: tern beside llama.cpp, the same GGUF file:
SmolLM2's and the random one of 1B (make_random_1b.py), or the one named.

Each round measures both alone and beside a loop that is pinned to one core (the programs themselves are not pinned),
in turn. A loss is 1 - the busy median over the quiet one. A timed comparison: it never fails for being slow, only when
something could not be run.

  busy_core.py [--tern PATH] [--model FILE.gguf] [--rounds 5] [--threads 2] [--new-tokens 64] [--json FILE]
"""
import os
import statistics
import subprocess
import sys

from llama_peer import LLAMA, RANDOM_1B, SMOLLM2_Q4_1, arguments, need, run_json, write_json

BENCH = os.path.join(LLAMA, "llama-bench")


def tern_rate(args, model):
  answer = run_json([args.tern, "bench", "--model", model, "--threads", str(args.threads), "--prompt-tokens", "16",
                     "--new-tokens", str(args.new_tokens), "--repeat", "1", "--json"])
  answer = answer[0] if isinstance(answer, list) else answer
  return (answer["devices"][0] if "devices" in answer else answer)["decode_tokens_per_s"]


def llama_rate(args, model):
  rows = run_json([BENCH, "-m", model, "-t", str(args.threads), "-p", "0", "-n", str(args.new_tokens), "-r", "1",
                   "-o", "json"])
  return rows[0]["avg_ts"]


def hog(core):
  return subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"])


def measure(args, model, core):
  """name -> {False: rates alone, True: rates beside the loop}."""
  rates = {}
  for i in range(args.rounds):
    for busy in (False, True):
      process = hog(core) if busy else None
      try:
        for name, rate in [("tern", tern_rate), ("llama.cpp", llama_rate)][:: 1 if i % 2 == 0 else -1]:
          rates.setdefault(name, {}).setdefault(busy, []).append(rate(args, model))
      finally:
        if process:
          process.kill()
          process.wait()
  return rates


def main():
  parser = arguments(__doc__)
  parser.set_defaults(model=None)
  parser.add_argument("--new-tokens", type=int, default=64)
  args = parser.parse_args()
  models = [args.model] if args.model else [SMOLLM2_Q4_1, RANDOM_1B]
  for args.model in models:
    need(args, BENCH)
  core = max(os.sched_getaffinity(0))
  results = {"threads": args.threads, "rounds": args.rounds, "models": {}}
  print(f"decoding, tokens/s, {args.threads} threads, {args.rounds} rounds; a loop on core {core}\n")
  print("| | alone | one core busy | loss |\n|---|---|---|---|")
  for model in models:
    label = os.path.basename(model).removesuffix(".gguf")
    of_model = results["models"][label] = {}
    for name, by in measure(args, model, core).items():
      quiet, busy = statistics.median(by[False]), statistics.median(by[True])
      of_model[name] = {"alone": by[False], "busy": by[True], "loss": 1 - busy / quiet}
      print(f"| {label}, {name} | {quiet:.1f} ({min(by[False]):.1f}-{max(by[False]):.1f}) | {busy:.1f} "
            f"({min(by[True]):.1f}-{max(by[True]):.1f}) | {100 * (1 - busy / quiet):.0f} % |", flush=True)
  write_json(args, results)


if __name__ == "__main__":
  main()
