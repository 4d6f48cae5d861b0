#!/usr/bin/env python3
"""Holds the `tern` command to the golden files: greedy continuations and sentence embeddings of the real
models.

Greedy. A continuation must equal the oracle's token by token. At the first difference the oracle's own gap
between its best token and ours decides:
  equal       no difference (an end token may or may not be reported)
  tie         the gap is within the oracle's noise: `noise.bound` of the golden file, the 99th percentile of
              how far the gap moves between legitimate computations of the same weights (see make_golden.py:
              float32 activations, other batch splits, other kernels of the oracle; for q8, whose noise is
              whole logits, the operators' definitions: test_q8_arithmetic.py says more about it)
  f16 cache   the gap is above that, but within F16_CACHE: how far a KV cache in float16 (our choice, see
              docs/architecture.md) moves gaps of a float32 model. Counted apart, so that it can be seen
  oracle off  the gap is larger, but the golden file's reference prefers our token: the oracle strays there
  reference   q8 alone, whose right computations differ by whole logits, so that it has several references, none
              better than the oracle: our token is within the noise of the best one of one of them
  DIFFERS     anything else: the test fails
What follows a difference is another text and is not compared.

Embeddings. Cosine to the float64 reference: fp32 and fp16 at least 0.9999 for every text. Other dtypes: the
mean at least ONNX Runtime's on the same file less 0.0005; a single text at least ONNX Runtime's less 0.0005
and less its noise (zero to six digits but for int8 and uint8, which quantize activations: see
make_golden.py).

Teacher-forced (--teacher-forced, or --logits for that alone; by the Python package): rows of logits against the
float32 computation of the same weights, a cosine of at least 0.9999 (teacher_forced.py).

Closes with 'N passed, N failed, N skipped'. A missing model is a skip that says what to run, or a failure
with --require. Needs Python 3.11 alone for greedy and embeddings, numpy for logits.
"""
import argparse
import array
import base64
import json
import math
import os
import shutil
import subprocess
import sys

from fetch_models import CACHE

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "golden")
ONNX_FOLDER = "SmolLM2-135M-Instruct-ONNX"
# golden name -> (path in the cache, dtype for --dtype, the file that must be there)
GREEDY = {
  "smollm2-gguf": ("SmolLM2-135M-Instruct-Q4_1.gguf", None, ""),
  "gemma3-gguf": ("gemma-3-270m-Q4_K_M.gguf", None, ""),
  **{f"smollm2-onnx-{d}": (ONNX_FOLDER, d, f"onnx/model{s}.onnx") for d, s in (
    ("fp32", ""), ("fp16", "_fp16"), ("q8", "_quantized"), ("q4", "_q4"), ("q4f16", "_q4f16"))},
  "smollm2-onnx-plain": (f"{ONNX_FOLDER}-plain", "fp32", "onnx/model.onnx"),
}
MINILM = {"fp32": "", "fp16": "_fp16", "q8": "_quantized", "int8": "_int8", "uint8": "_uint8", "q4": "_q4",
          "q4f16": "_q4f16", "bnb4": "_bnb4"}
# Measured with ONNX Runtime's float32 SmolLM2, its cache rounded to float16 after each step: four prompts,
# 560 steps, gaps moved by 0.0008 in the median and 0.0053 at most.
F16_CACHE = 0.0053
EXACT_COSINE, BELOW_ORACLE = 0.9999, 0.0005
END_TOKENS = {"smollm2": {0, 2}, "gemma3": {1, 106}}
HOW_TO_GET = "tests/models/fetch_models.py, then make_{smollm2,minilm}_folder.py with venv.sh's Python"


def golden(name):
  with open(os.path.join(GOLDEN, name), encoding="utf-8") as f:
    return json.load(f)


def golden_name(kind, model):
  """The plain graph holds fp32's weights."""
  return f"{kind}_{model.replace('-plain', '-fp32')}.json"


class Tern:
  """Runs the command; every answer is its --json output."""

  def __init__(self, program, threads, extra):
    self.program = program
    self.options = ["--json", *extra] + (["--threads", str(threads)] if threads else [])

  def run(self, task, path, dtype, *args):
    which = ["--model", path] + (["--dtype", dtype] if dtype else [])
    command = [self.program, "run", task, *which, *self.options, *args]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if result.returncode != 0:
      raise RuntimeError(f"exit {result.returncode}: {result.stderr.strip()[-400:]}")
    return json.loads(result.stdout)


class Report:
  """Counts and prints; a line a check."""

  def __init__(self):
    self.passed = self.failed = self.skipped = 0
    self.records = []

  def add(self, state, model, name, detail, **facts):
    self.passed += state == "pass"
    self.failed += state == "FAIL"
    self.skipped += state == "skip"
    self.records.append({"state": state, "model": model, "name": name, "detail": detail, **facts})
    print(f"{state:4s}  {model:20s} {name:12s} {detail}", flush=True)


def judge(expected, got, bound, end_tokens, reference_bound=0.0):
  """(verdict, step, detail) of one continuation against its golden record. reference_bound: how far a token may be
  from what the reference prefers and still stand beside it (0: it must be the preferred one)."""
  def text_tokens(tokens):
    return tokens[:-1] if tokens and tokens[-1] in end_tokens else tokens
  wanted, ours = text_tokens(expected["tokens"]), text_tokens(got)
  step = next((i for i, (a, b) in enumerate(zip(wanted, ours)) if a != b), min(len(wanted), len(ours)))
  if len(wanted) == len(ours) == step:
    return "equal", None, f"equal, {len(wanted)} tokens"
  if step >= len(expected["tokens"]):
    return "DIFFERS", step, f"goes on after the oracle's {len(wanted)} tokens"
  # a continuation that stopped earlier than ours or the oracle's chose an end token there
  chosen = ours[step] if step < len(ours) else None
  # token -> (the oracle's gap to its best, the reference's gap): the second best, and further ones within the
  # noise
  rivals = {expected["second"][step]: (expected["gap"][step], expected["reference_gap"][step])}
  rivals |= {token: (gap, exact) for at, token, gap, exact in expected["near"] if at == step}
  if chosen is None:
    chosen = next((t for t in rivals if t in end_tokens), None)
  if chosen not in rivals:
    return "DIFFERS", step, f"DIFFERS; token {step}: {chosen} for {expected['tokens'][step]}, rivals {rivals}"
  gap, exact = rivals[chosen]
  facts = (f"at token {step}: {chosen} for {expected['tokens'][step]}, gap {gap:.4g}, "
           f"in the reference {exact:.4g}, bound {bound:.4g}")
  if gap <= bound:
    return "tie", step, "tie " + facts
  if gap <= F16_CACHE:
    return "f16 cache", step, "f16 cache " + facts
  verdict = "oracle off" if exact <= 0 else "reference" if exact <= reference_bound else "DIFFERS"
  return verdict, step, f"{verdict} {facts}"


def find_model(report, model, args):
  """(path, dtype), or None if the report has it that it is missing."""
  path, dtype, needed = GREEDY[model]
  path = os.path.join(CACHE, path)
  if os.path.exists(os.path.join(path, needed) if needed else path):
    return path, dtype
  report.add("FAIL" if args.require else "skip", model, "-", f"{path} is missing; try: {HOW_TO_GET}")
  return None


def check_greedy(tern, report, model, args):
  found = find_model(report, model, args)
  if not found:
    return
  path, dtype = found
  texts = {p["name"]: p["text"] for p in golden("prompts.json")["generation"]}
  # the plain graph's logits are within fp32's own noise (see that file)
  name = golden_name("greedy", model)
  if not os.path.exists(os.path.join(GOLDEN, name)):
    report.add("skip", model, "-", f"no {name} yet: make_golden.py writes it")
    return
  file = golden(name)
  verdicts, records = {}, file["prompts"][:args.prompts]
  if len(records) < len(file["prompts"]):
    print(f"      {model}: only the first {len(records)} of {len(file['prompts'])} prompts (--prompts)", flush=True)
  for record in records:
    try:
      answer = tern.run("text-generation", path, dtype, "--prompt", texts[record["name"]], "--max-new-tokens",
                        str(file["new_tokens"]), "--temperature", "0")
      verdict, step, detail = judge(record, answer["tokens"], file["noise"]["bound"],
                                    END_TOKENS[model.split("-")[0]], file.get("reference_bound", 0))
    except (RuntimeError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
      verdict, step, detail = "DIFFERS", None, f"no answer: {error}"
    verdicts[verdict] = verdicts.get(verdict, 0) + 1
    report.add("FAIL" if verdict == "DIFFERS" else "pass", model, record["name"], detail, verdict=verdict,
               step=step)
  print(f"      {model}: " + ", ".join(f"{n} {v}" for v, n in sorted(verdicts.items())), flush=True)


def vectors_of(answer):
  """The embeddings in a feature-extraction answer: a nested list, or a tensor as {"dims", "data"}."""
  if isinstance(answer, dict):
    if "dims" in answer:
      width = answer["dims"][-1]
      return [answer["data"][i:i + width] for i in range(0, len(answer["data"]), width)]
    answer = answer.get("embeddings", answer.get("data"))
  while answer and isinstance(answer[0], list) and answer[0] and isinstance(answer[0][0], list):
    answer = [row for part in answer for row in part]
  return answer if answer and isinstance(answer[0], list) else [answer]


def cosine(a, b):
  return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def check_embeddings(tern, report, dtype, args):
  model, path = f"minilm-{dtype}", os.path.join(CACHE, "all-MiniLM-L6-v2")
  if not os.path.exists(os.path.join(path, "onnx", f"model{MINILM[dtype]}.onnx")):
    report.add("FAIL" if args.require else "skip", model, "-", f"{path} lacks it; try: {HOW_TO_GET}")
    return
  file, sentences = golden("minilm.json"), golden("prompts.json")["sentences"][:args.sentences]
  wanted = [array.array("f", base64.b64decode(e)) for e in file["embeddings_f32_base64"]]
  theirs, noise = (file["onnxruntime"][dtype][key] for key in ("cosine", "noise"))
  if dtype in ("int8", "uint8"):
    # Activations are rounded to 8 bits between layers: a last-bit difference before flips a step of 1/255. ONNX Runtime
    # moves by 0.0026 (int8) and 0.00013 (uint8) between its own optimization levels; the larger stands for both, as
    # a flip costs the same in either. The mean over all texts must still be no lower than ONNX Runtime's less 0.0005.
    noise = max(file["onnxruntime"][d]["noise"] for d in ("int8", "uint8"))
  ours, failures = [], []
  try:
    for i, sentence in enumerate(sentences):
      got = vectors_of(tern.run("feature-extraction", path, dtype, "--", sentence))[0]
      if len(got) != len(wanted[i]):
        raise ValueError(f"an embedding of {len(got)} values, not {len(wanted[i])}")
      ours.append(cosine(got, wanted[i]))
      least = EXACT_COSINE if dtype in ("fp32", "fp16") else theirs[i] - BELOW_ORACLE - noise
      if not ours[-1] >= least:
        failures.append(f"{sentence[:24]!r} {ours[-1]:.6f} < {least:.6f}")
  except (RuntimeError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError, IndexError) as error:
    report.add("FAIL", model, "-", f"no answer: {error}")
    return
  mean, their_mean = sum(ours) / len(ours), sum(theirs[:len(ours)]) / len(ours)
  if not mean >= their_mean - BELOW_ORACLE:
    failures.append(f"mean {mean:.6f} < {their_mean - BELOW_ORACLE:.6f}")
  detail = (f"least {min(ours):.6f} (ONNX Runtime {min(theirs[:len(ours)]):.6f}), mean {mean:.6f} "
            f"({their_mean:.6f}), its noise {noise:.2g}")
  report.add("FAIL" if failures else "pass", model, f"{len(ours)} texts", detail + "".join(
    "; " + f for f in failures[:3]))


def find_tern():
  root = os.path.dirname(os.path.dirname(HERE))
  for path in (os.environ.get("TERN"),
               *(os.path.join(root, "build", p, "bin", "tern") for p in ("release", ""))):
    if path and os.access(path, os.X_OK):
      return path
  return shutil.which("tern")


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--tern", default=find_tern(),
                      help="the command (else $TERN, build/release/bin/tern, PATH)")
  parser.add_argument("--only", action="append", metavar="MODEL",
                      help="a golden name or a prefix (may be repeated)")
  parser.add_argument("--prompts", type=int, metavar="N", help="the first N prompts only")
  parser.add_argument("--sentences", type=int, metavar="N", help="the first N sentences only")
  parser.add_argument("--threads", type=int, default=0)
  parser.add_argument("--option", action="append", default=[], metavar="WORD", help="passed on to tern run")
  parser.add_argument("--require", action="store_true", help="a missing model fails instead of being skipped")
  parser.add_argument("--teacher-forced", action="store_true",
                      help="also compare logits, by the Python package")
  parser.add_argument("--logits", action="store_true", help="compare logits alone")
  parser.add_argument("--report", metavar="FILE.json", help="write every result there")
  args = parser.parse_args()
  if not args.tern:
    sys.exit("test_parity.py: no tern command found\n  try: build it, or name it with --tern or $TERN")
  tern, report = Tern(args.tern, args.threads, args.option), Report()
  wanted = [m for m in [*GREEDY, *(f"minilm-{d}" for d in MINILM)]
            if not args.only or any(m.startswith(o) for o in args.only)]
  if not wanted:
    sys.exit(f"test_parity.py: --only matches nothing\n  try: {' '.join(GREEDY)} minilm")
  for model in wanted if not args.logits else []:
    if model in GREEDY:
      check_greedy(tern, report, model, args)
    else:
      check_embeddings(tern, report, model.removeprefix("minilm-"), args)
  if args.teacher_forced or args.logits:
    from teacher_forced import check_logits
    for model in wanted:
      name = golden_name("logits", model)
      found = os.path.exists(os.path.join(GOLDEN, name)) and find_model(report, model, args)
      if found:
        check_logits(report, model, *found, golden(name))
    if args.logits and not report.records:
      sys.exit("test_parity.py: none of these models has golden logits: the test is broken")
  if args.report:
    with open(args.report, "w", encoding="utf-8") as f:
      json.dump(report.records, f, indent=1)
  print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
  sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
  main()
