#!/usr/bin/env python3
"""Holds what tern does with SmolLM2's q8 file to the standard's arithmetic, piece by piece, without noise.

A dynamically quantized graph amplifies: the last bit of a float decides about a step of an 8-bit integer, and
30 layers enlarge it, so that two right computations of the whole graph can end at different tokens
(docs/numerics.md). So a run is not compared with another run. It is checked from its own values: the session
gives what each DynamicQuantizeLinear and each residual sum gave, the graph is cut there, and each piece,
evaluated in float64 from the values that tern had, must explain the values that tern had next:

  integers    are a right rounding of the real numbers
  floats      (scales, residuals, keys and values, logits) are within a few of float32's last bits

This is done with the cache as inputs and outputs (float32) and inside the session (float16: text generation),
for a prompt and for single tokens after it. Two more links make it a statement about what users run, both
exact:

  a session on the file as published gives the same logits, bit by bit
  text generation's greedy tokens are those that such a session's logits name, for all prompts

Prints what it saw; exits 77 where the model or its Python packages are missing.
"""
import argparse
import os
import sys
import tempfile

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two that wait for each other are slow beside other tests
try:
  import numpy as np
  import onnx
  from onnx import TensorProto, helper
except ImportError as missing:
  print(f"{missing}\n  try: run by the Python of tests/models/venv.sh")
  sys.exit(77)

from fetch_models import CACHE
from standard_graph import StandardGraph
from test_parity import END_TOKENS, ONNX_FOLDER, Tern, find_tern, golden

FOLDER = os.path.join(CACHE, ONNX_FOLDER)
PATH = os.path.join(FOLDER, "onnx", "model_quantized.onnx")
GOLDEN = "greedy_smollm2-onnx-q8.json"  # its prompts' tokens
PROMPTS, SINGLE_TOKENS = ("python", "german", "chat-turns"), 2
# The latter is text generation's: what is evaluated together is part of the result.
NEW_TOKENS, PREFILL_CHUNK = 32, 512
# What float32 arithmetic between two quantizations may move: steps of an 8-bit integer beyond the half that
# rounding takes, and parts of a tensor's largest magnitude. The largest error is attention's: a score of 50 is
# right to 1e-7 of itself, and its exponential to 5e-6. On a float16 cache, moreover, a key or value that lies
# in the middle of two halves may become the other one.
EXACT, HALF = {"beyond half": 0.001, "float": 1e-5}, {"beyond half": 0.05, "float": 1e-3}
OTHERS = 2e-5  # and the part of all integers that may lie on the other side of a half


def is_sum(node):
  return node.op_type == "SkipSimplifiedLayerNormalization" and len(node.output) > 3


def give_inner_values(model):
  """Declares the cut values as outputs. {name: type and dims}."""
  values, rows = {}, ["batch", "rows", "width"]
  for node in model.graph.node:
    if node.op_type == "DynamicQuantizeLinear":
      kinds = (TensorProto.UINT8, rows), (TensorProto.FLOAT, []), (TensorProto.UINT8, [])
      values |= dict(zip(node.output, kinds))
    elif is_sum(node):
      values[node.output[3]] = (TensorProto.FLOAT, rows)
  for name, kind in values.items():
    model.graph.output.append(helper.make_tensor_value_info(name, *kind))
  return values


class Pieces:
  """One way of running the file, beside the float64 evaluation of each piece."""

  def __init__(self, path, half_cache):
    import tern
    self.half_cache, self.failures = half_cache, []
    self.inner, self.plain = (tern.Session(p, kv_cache=half_cache) for p in (path, PATH))
    model = onnx.load(PATH)
    self.given = {name: "given " + name for name in give_inner_values(model)}
    for node in model.graph.node:
      node.input[:] = [self.given.get(name, name) for name in node.input]
    self.exact = StandardGraph(model, np.float64, half_cache)
    self.quantizers = [n for n, _ in self.exact.nodes if n.op_type == "DynamicQuantizeLinear"]
    attention = {n.output[0] for n, _ in self.exact.nodes if n.op_type == "GroupQueryAttention"}
    self.bounds = {n.input[0]: HALF if half_cache and n.input[0] in attention else EXACT
                   for n in self.quantizers}
    self.floats = [n.output[3] for n, _ in self.exact.nodes if is_sum(n)] + ["logits"]
    self.cache = [i.name for i in model.graph.input if i.name.startswith("past_key_values.")]
    heads, head = (model.graph.input[-1].type.tensor_type.shape.dim[i].dim_value for i in (1, 3))
    self.empty = np.zeros((1, heads, 0, head), np.float32)
    self.reset()

  def reset(self):
    self.past, self.length = dict.fromkeys(self.cache, self.empty), 0
    self.integers = self.others = self.largest_step = self.largest_error = 0
    if self.half_cache:
      self.inner.kv_truncate(0), self.plain.kv_truncate(0)

  def step(self, ids, where):
    total = self.length + len(ids)
    feeds = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, total), np.int64),
             "position_ids": np.arange(self.length, total, dtype=np.int64)[None], **self.past}
    self.length = total
    # a session that holds the cache takes neither the cache nor what only attention reads
    taken = {"input_ids": feeds["input_ids"]} if self.half_cache else feeds
    present = [] if self.half_cache else [name.replace("past_key_values", "present") for name in self.cache]
    got = self.inner.run(taken, [*self.given, "logits", *present])
    if not np.array_equal(self.plain.run(taken, ["logits"])["logits"], got["logits"]):
      self.failures.append(f"{where}: the published file's logits are others")
    exact = self.exact.run(feeds | {self.given[name]: got[name] for name in self.given},
                           also=[n.input[0] for n in self.quantizers])
    for node in self.quantizers:
      self.check_quantizer(node.input[0], exact[node.input[0]], *(got[name] for name in node.output), where)
    for name in self.floats + present:
      self.check_float(exact[name], got[name], EXACT, f"{where}: {name}")
    # keys and values in the session's cache can't be asked for: those of the evaluation stand for them
    source = exact if self.half_cache else got
    self.past = {name: source[name.replace("past_key_values", "present")] for name in self.cache}

  def check_quantizer(self, name, x, integers, scale, zero, where):
    bounds, where = self.bounds[name], f"{where}: {name}"
    real, real_scale, real_zero = self.exact.before_rounding(x)
    self.check_float(real_scale, scale, bounds, where + ", scale")
    steps = np.abs(np.clip(real + float(zero), 0, 255) - integers)
    self.integers += steps.size
    self.others += int((np.clip(np.rint(real) + float(zero), 0, 255) != integers).sum())
    off = abs(np.clip(real_zero, 0, 255) - zero)
    largest = np.max([off, steps.max()])
    self.largest_step = max(self.largest_step, largest)
    if not largest <= 0.5 + bounds["beyond half"]:
      self.failures.append(f"{where}: an integer is {steps.max():.4f} steps from the real number, the zero "
                           f"point {zero} {off:.4f}")

  def check_float(self, wanted, got, bounds, where):
    error = np.abs(wanted - got).max() / np.abs(wanted).max()
    self.largest_error = max(self.largest_error, error)
    if not error <= bounds["float"]:
      self.failures.append(f"{where}: off by {error:.3g} of the largest magnitude")


def check_generation(session, tern, record, text):
  """Text generation's tokens must be those that the session's logits name."""
  answer = tern.run("text-generation", FOLDER, "q8", "--prompt", text, "--max-new-tokens", str(NEW_TOKENS),
                    "--temperature", "0")
  session.kv_truncate(0)
  def best(ids):
    return int(session.run({"input_ids": np.array([ids], np.int64)}, ["logits"])["logits"][0, -1].argmax())
  prompt, tokens = record["prompt_tokens"], answer["tokens"]
  for at in range(0, len(prompt), PREFILL_CHUNK):
    named = [best(prompt[at:at + PREFILL_CHUNK])]
  named += [best([token]) for token in tokens[:NEW_TOKENS - 1]]
  if len(named) > len(tokens) and named[-1] in END_TOKENS["smollm2"]:
    named.pop()
  same = named == tokens
  return [] if same else [f"{record['name']}: text generation gives {tokens}, the session {named}"]


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--tern", default=find_tern(),
                      help="the command (else $TERN, build/release/bin/tern, PATH)")
  parser.add_argument("--prompts", type=int, metavar="N", help="generate from the first N prompts only")
  args = parser.parse_args()
  if not os.path.exists(PATH):
    print(f"{PATH} is missing\n  try: tests/models/make_smollm2_folder.py")
    sys.exit(77)
  records, failures = {r["name"]: r for r in golden(GOLDEN)["prompts"]}, []
  with tempfile.TemporaryDirectory(prefix="tern-q8-") as folder:
    path = os.path.join(folder, "inner.onnx")
    model = onnx.load(PATH)
    give_inner_values(model)
    onnx.save(model, path)
    for half_cache in (False, True):
      pieces = Pieces(path, half_cache)
      way = "float16 cache inside" if half_cache else "float32 cache as inputs"
      for name in PROMPTS:
        pieces.reset()
        pieces.step(records[name]["prompt_tokens"], f"{name}, {way}, the prompt")
        for i, token in enumerate(records[name]["tokens"][:SINGLE_TOKENS]):
          pieces.step([token], f"{name}, {way}, token {i}")
        if pieces.others > OTHERS * pieces.integers:
          failures.append(f"{name}, {way}: {pieces.others} integers are rounded to the other neighbour")
        print(f"{name}, {way}: of {pieces.integers} integers {pieces.others} rounded to the other neighbour, "
              f"none more than {pieces.largest_step:.6f} steps away; floats within "
              f"{pieces.largest_error:.2g}", flush=True)
      failures += pieces.failures
  tern = Tern(args.tern, 0, [])
  prompts = golden("prompts.json")["generation"]
  if len(prompts[:args.prompts]) < len(prompts):
    print(f"text generation from the first {args.prompts} of {len(prompts)} prompts only (--prompts)", flush=True)
  for prompt in prompts[:args.prompts]:
    failures += check_generation(pieces.plain, tern, records[prompt["name"]], prompt["text"])
  for failure in failures[:20]:
    print("FAIL", failure)
  print(f"{len(failures)} failures")
  sys.exit(1 if failures else 0)


if __name__ == "__main__":
  main()
