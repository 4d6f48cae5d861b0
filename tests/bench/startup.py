#!/usr/bin/env python3
"""Measures process start to the first token: `tern run text-generation` beside llama.cpp's llama-completion, the same
GGUF file and prompt, one new token, greedy.

Rounds alternate; `cold` asks the system to forget the model file first (posix_fadvise; the programs themselves stay
cached), `warm` reads it before. A figure is the median with its range; `ratio` is the peer's time over tern's, above 1
where tern is faster. Agreement: whether both print the same first token. A timed comparison: it never fails for being
slow, only when something could not be run.

  startup.py [--tern PATH] [--model FILE.gguf] [--rounds 5] [--threads 2] [--json FILE]
"""
import os
import statistics
import subprocess
import time

from llama_peer import LLAMA, arguments, need, write_json

COMPLETION = os.path.join(LLAMA, "llama-completion")
PROMPT = "The capital of France is"


def forget(path):
  with open(path, "rb") as f:
    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path):
  with open(path, "rb") as f:
    while f.read(1 << 24):
      pass


def timed(command):
  begin = time.perf_counter()
  result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
  ms = (time.perf_counter() - begin) * 1e3
  if result.returncode:
    raise RuntimeError(f"{' '.join(command[:3])} ...: exit {result.returncode}: {result.stderr.strip()[-300:]}")
  return ms, result.stdout


def main():
  parser = arguments(__doc__)
  args = parser.parse_args()
  need(args, COMPLETION)
  threads = str(args.threads)
  commands = {
    "tern": [args.tern, "run", "text-generation", "--model", args.model, "--prompt", PROMPT, "--max-new-tokens", "1",
             "--temperature", "0", "--threads", threads],
    "llama.cpp": [COMPLETION, "-m", args.model, "-p", PROMPT, "-n", "1", "--temp", "0", "-t", threads, "-no-cnv",
                  "--no-warmup", "--no-display-prompt"],
  }
  times, texts = {}, {}
  for i in range(args.rounds):
    for state, prepare in (("cold", forget), ("warm", read)):
      for name in list(commands)[:: 1 if i % 2 == 0 else -1]:
        prepare(args.model)
        ms, text = timed(commands[name])
        times.setdefault(state, {}).setdefault(name, []).append(ms)
        texts[name] = text.replace(PROMPT, "").strip().split("\n")[0].split(" [")[0].strip()
  results = {"threads": args.threads, "rounds": args.rounds, "texts": texts, "states": {}}
  print(f"process start to the first token, {args.threads} threads, {args.rounds} rounds; first token: {texts}\n")
  print("| page cache | tern | llama.cpp | ratio |\n|---|---|---|---|")
  for state, by in times.items():
    middle = {name: statistics.median(list_) for name, list_ in by.items()}
    ratio = middle["llama.cpp"] / middle["tern"]
    results["states"][state] = {"ratio": ratio, **{name: {"median_ms": middle[name], "min_ms": min(list_),
                                                         "max_ms": max(list_)} for name, list_ in by.items()}}
    cells = " | ".join(f"{middle[n]:.0f} ms ({min(by[n]):.0f}-{max(by[n]):.0f})" for n in commands)
    print(f"| {state} | {cells} | {ratio:.2f} |")
  write_json(args, results)


if __name__ == "__main__":
  main()
