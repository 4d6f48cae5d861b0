"""What the comparisons with llama.cpp share: where it lies, their common options, and programs that answer in JSON."""
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(TESTS, "models"))
from fetch_models import CACHE  # noqa: E402
from test_parity import find_tern  # noqa: E402

LLAMA = os.path.join(CACHE, "peers", "llama.cpp", "bin")
SMOLLM2_Q4_1 = os.path.join(CACHE, "SmolLM2-135M-Instruct-Q4_1.gguf")
RANDOM_1B = os.path.join(CACHE, "random-1B-Q4_0.gguf")


def run_json(command):
  # From a shell, which forks: a program's peak memory counts that of the process that it was started from, and Python's
  # is larger than that of a small model.
  result = subprocess.run(["sh", "-c", '"$@"; exit $?', "sh", *command], capture_output=True, text=True, timeout=900)
  if result.returncode != 0:
    raise RuntimeError(
      f"{' '.join(command[:3])} ...: exit {result.returncode}: {result.stderr.strip()[-300:]}")
  return json.loads(result.stdout)


def arguments(doc):
  """A parser with the options of a comparison on one GGUF file."""
  parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--tern", default=find_tern())
  parser.add_argument("--model", default=SMOLLM2_Q4_1)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--json", metavar="FILE")
  return parser


def need(args, peer):
  """Ends the program if something that it runs is missing."""
  for path, what in ((args.tern, "the tern command (build it, or --tern)"),
                     (args.model, "the model (fetch_models.py, make_random_1b.py)"),
                     (peer, "llama.cpp (build_llama_cpp.sh)")):
    if not path or not os.path.exists(path):
      sys.exit(f"{os.path.basename(sys.argv[0])}: {what} is missing: {path}")


def write_json(args, results):
  if args.json:
    with open(args.json, "w", encoding="utf-8") as f:
      json.dump(results, f, indent=1)
