#!/usr/bin/env python3
"""Writes golden/*.json: what the oracles say about the real models, and how sure each of them is of itself.

  greedy_MODEL.json  20 prompts (prompts.json), up to 128 greedy tokens each by the model's oracle: llama.cpp
                     for the GGUF files, ONNX Runtime for each dtype of the SmolLM2 folder. Per step: the
                     second-best token, the oracle's gap between the two, the same pair's gap in the reference
                     (below); and in `near` [step, token, gap, reference gap] of further tokens within the
                     noise, or that the reference prefers to the oracle's. q8 has several references, each as
                     right as the oracle: there a token's reference gap is to the reference's own best token,
                     the least of them, and `near` has those within `reference_bound` of one, too.
                     `noise` sums up how far the gap moves between computations that are all legitimate (see
                     noise_of).
  logits_MODEL.json  teacher-forced logits of the reference over prompt + continuation: at some positions the
                     best 20, the norm and a sketch (logit_sketch.py) of the row, and the oracle's cosine to
                     the reference; whole rows in the cache, as golden/logits_MODEL_PROMPT.npy
  minilm.json        sentence embeddings in float64 numpy, and ONNX Runtime's cosine to them for each dtype
                     file

The reference computes the dequantized weights with float32 activations: ONNX Runtime on a float32 graph for
SmolLM2 (its own weights for each dtype), numpy for Gemma. That of q8, which quantizes its activations by its
own graph, is that very graph by the operators' definitions (standard_graph.py). Takes three quarters of an
hour for all on two idle cores, a third of it for q8.

What ONNX Runtime makes of q8 depends on the processor. `--add smollm2-onnx-q8`, run on another kind than the file
names, keeps the file's tokens and adds that processor's computation to the references.
"""
import argparse
import base64
import json
import os
import platform
import sys
import tempfile

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two that wait for each other are slow on a busy machine
import numpy as np

import oracles as o
from fetch_models import CACHE
from logit_sketch import sketch

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "golden")
NEW_TOKENS = 128
DTYPES = {"fp32": "", "fp16": "_fp16", "q8": "_quantized", "q4": "_q4", "q4f16": "_q4f16"}
MINILM_DTYPES = {"fp32": "", "fp16": "_fp16", "q8": "_quantized", "int8": "_int8", "uint8": "_uint8",
                 "q4": "_q4", "q4f16": "_q4f16", "bnb4": "_bnb4"}
NEAR = 4.0  # larger than any noise bound
LOGIT_PROMPTS = ("plain", "chat", "python", "chinese")  # those whose teacher-forced logits are kept
LOGIT_POSITIONS = 8   # of them, how many positions (the last ones) in the JSON file
LOGIT_ROWS = 32       # and in the .npy file


def read_prompts():
  with open(os.path.join(GOLDEN, "prompts.json"), encoding="utf-8") as f:
    return json.load(f)


def write(name, value):
  path = os.path.join(GOLDEN, name)
  text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
  text = text.replace(',{"name"', ',\n{"name"').replace('"prompts":[', '"prompts":[\n')  # one line a prompt
  with open(path + ".part", "w", encoding="utf-8") as f:
    f.write(text + "\n")
  os.replace(path + ".part", path)
  print(f"{path}  {os.path.getsize(path)} bytes", flush=True)


def rounded(values):
  return [float(f"{v:.5g}") for v in values]


def pair_gaps(logits, record):
  """The gap between the oracle's best and second token in other logits of the same sequence: may be
  negative."""
  rows = logits[len(record["prompt_tokens"]) - 1:][:len(record["tokens"])].astype(np.float64)
  steps = np.arange(len(rows))
  return rows[steps, record["tokens"]] - rows[steps, record["second"]]


def near_candidates(oracle, reference, record):
  """[step, id, gap, reference gap] of tokens beyond the best two: a tie can have more than two sides. The
  gaps are from the oracle's best token. Written are later those within the noise bound, and those that the
  reference prefers to that token; below NEAR nothing is left out here."""
  first = len(record["prompt_tokens"]) - 1
  result = []
  for step, best in enumerate(record["tokens"]):
    gaps, exact = (logits[first + step][best] - logits[first + step] for logits in (oracle, reference))
    close = np.flatnonzero((gaps <= NEAR) | (exact <= 0))
    result += [[step, int(i), *rounded([gaps[i], exact[i]])] for i in close[np.argsort(gaps[close])]
               if i not in (best, record["second"][step])]
  return result


def judge_alike(oracle, references, record):
  """Sets the record's `near` and `reference_gap` where each reference is as right as the oracle: how far a token is
  from a reference's own best one, the least of them. What `near` has already is of another processor's oracle: its
  tokens stay, and of two gaps the smaller one."""
  first, near, least = len(record["prompt_tokens"]) - 1, [], []
  elsewhere = {(step, token): gap for step, token, gap, _ in record.get("near", [])}
  for step, (best, second) in enumerate(zip(record["tokens"], record["second"])):
    gaps = oracle[first + step][best] - oracle[first + step]
    exact = np.minimum.reduce([row.max() - row for row in (logits[first + step] for logits in references)])
    for token in [t for at, t in elsewhere if at == step]:
      gaps[token] = min(gaps[token], elsewhere[step, token])
    least.append(exact[second])
    close = np.flatnonzero((gaps <= NEAR) | (exact <= NEAR))
    near += [[step, int(i), *rounded([gaps[i], exact[i]])] for i in close[np.argsort(gaps[close])]
             if i not in (best, second)]
  record |= {"near": near, "reference_gap": rounded(least)}


def cosine(a, b):
  a, b = a.astype(np.float64), b.astype(np.float64)
  return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def noise_of(records, others):
  """How far the gap between the two best moves when the same weights are computed in another legitimate way.
  others: {what differs: [gaps of one prompt, ...]}. bound is the 99th percentile of the largest movement at
  each step: within it the oracle can't be said to prefer its first token."""
  result, largest = {}, None
  for name, gaps in others.items():
    moves = np.concatenate([np.abs(g - np.array(r["gap"])) for g, r in zip(gaps, records)])
    values = rounded([np.median(moves), np.percentile(moves, 99), moves.max()])
    result[name] = dict(zip(("median", "p99", "max"), values))
    largest = moves if largest is None else np.maximum(largest, moves)
  gap = np.concatenate([r["gap"] for r in records])
  bound = float(np.percentile(largest, 99))
  return {"bound": rounded([bound])[0], "steps": len(gap), "steps_within_bound": int((gap <= bound).sum()),
          **result}


def greedy_file(model, oracle, records, others, reference, alike=False, where=None):
  """reference: a name among `others`, or with `alike` what the records' reference gaps are of (judge_alike)."""
  for i, r in enumerate(records) if not alike else ():
    r["reference_gap"] = rounded(others[reference][i])
  noise = noise_of(records, others)
  reference_bound = noise["bound"] if alike else 0
  print(model, json.dumps(noise), flush=True)
  write(f"greedy_{model}.json", {
    "model": model, "oracle": oracle, "new_tokens": NEW_TOKENS, "processor": where or processor(),
    "reference": reference, "reference_bound": reference_bound, "noise": noise, "prompts": [
      {"name": r["name"], "prompt_tokens": r["prompt_tokens"], "tokens": r["tokens"], "second": r["second"],
       "gap": rounded(r["gap"]), "reference_gap": r["reference_gap"],
       "near": [n for n in r["near"] if n[2] <= noise["bound"] or n[3] <= reference_bound]} for r in records]})


def processor():
  with open("/proc/cpuinfo", encoding="utf-8") as f:
    names = {line.split(":")[1].strip() for line in f if line.startswith("model name")}
  return ", ".join(sorted(names)) or platform.machine()


class LogitsFile:
  """Collects teacher-forced logits of a few prompts."""

  def __init__(self, model):
    self.model, self.prompts = model, []
    self.folder = os.path.join(CACHE, "golden")
    os.makedirs(self.folder, exist_ok=True)

  def add(self, record, reference, oracle):
    if record["name"] not in LOGIT_PROMPTS:
      return
    tail = reference[-LOGIT_ROWS:]
    np.save(os.path.join(self.folder, f"logits_{self.model}_{record['name']}.npy"), tail.astype(np.float32))
    rows = []
    sketches = sketch(reference[-LOGIT_POSITIONS:])
    for position in range(len(reference) - LOGIT_POSITIONS, len(reference)):
      row = reference[position].astype(np.float64)
      top = np.argsort(-row, kind="stable")[:20]
      rows.append({"position": position, "ids": top.tolist(), "values": rounded(row[top]),
                   "norm": float(f"{np.linalg.norm(row):.9g}"),
                   "sketch": [float(f"{v:.7g}") for v in sketches[position - len(reference)]]})
    c = cosine(oracle, reference)
    self.prompts.append({
      "name": record["name"], "ids": record["prompt_tokens"] + record["tokens"],
      "oracle_cosine_min": float(c.min()), "oracle_cosine_median": float(np.median(c)), "top": rows
    })

  def write(self, reference):
    write(f"logits_{self.model}.json",
          {"model": self.model, "reference": reference, "rows_in_npy": LOGIT_ROWS, "prompts": self.prompts})


GGUF = {"smollm2-gguf": o.SMOLLM2_GGUF, "gemma3-gguf": o.GEMMA_GGUF}


def gguf_reference(model):
  """(what computes float32 logits of the file's weights, its name)."""
  if model == "smollm2-gguf":
    return (o.OrtLlm(os.path.join(o.SMOLLM2_ONNX, "onnx", "model.onnx")),
            "dequantized weights, float32 activations (ONNX Runtime)")
  return o.GemmaReference(o.GEMMA_GGUF), "dequantized weights, float32 activations (numpy)"


def golden_gguf(model):
  path, (reference, reference_name) = GGUF[model], gguf_reference(model)
  prompts = read_prompts()["generation"]
  records = o.llama_greedy(path, [p["text"] for p in prompts], NEW_TOKENS)
  others = {reference_name: [], "one prompt token a call": [], "flash attention off, f32 cache": []}
  logits = LogitsFile(model)
  for prompt, r in zip(prompts, records):
    r["name"] = prompt["name"]
    ids = r["prompt_tokens"] + r["tokens"]
    exact = reference.force(ids)
    others[reference_name].append(pair_gaps(exact, r))
    vocabulary = exact.shape[1]
    single = o.llama_force(path, ids, vocabulary, "-b", 1)
    others["one prompt token a call"].append(pair_gaps(single, r))
    r["near"] = near_candidates(single, exact, r)
    logits.add(r, exact, single)
    variant = o.llama_force(path, ids, vocabulary, "-b", 1, "-k", "f32", "-f", "off")
    others["flash attention off, f32 cache"].append(pair_gaps(variant, r))
    print(model, r["name"], len(r["tokens"]), flush=True)
  greedy_file(model, "llama.cpp of llama-cpp-python 0.3.36, 1 thread", records, others, reference_name)
  logits.write(reference_name)


def float32_twin(dtype):
  """A float32 graph holding the weights that the dtype's file stands for; its path (a temporary folder's
  file)."""
  import make_smollm2_folder as m
  from gguf import GGUFReader
  from onnx import TensorProto
  w = m.read_weights(GGUFReader(m.SOURCE))
  if dtype == "fp16":
    w = {k: v.astype(np.float16).astype(np.float32) for k, v in w.items()}
  elif dtype in ("q4", "q4f16"):
    from onnx_builder import dequantize_4bit
    half = np.float16 if dtype == "q4f16" else np.float32
    def round_trip(v):
      if v.ndim == 1:
        return v.astype(half).astype(np.float32)
      return dequantize_4bit(v, m.BLOCK, dtype == "q4f16", half)
    w = {k: round_trip(v) for k, v in w.items()}
  path = os.path.join(tempfile.mkdtemp(prefix="tern-twin-"), "model.onnx")
  m.GenaiWriter(w, np.float32).write(TensorProto.FLOAT).save(path)
  return path


def quantized_twin():
  """q8's quantization done to the graph in the plain style: the same integers, other float operations
  between."""
  import make_smollm2_folder as m
  from gguf import GGUFReader
  path = os.path.join(tempfile.mkdtemp(prefix="tern-twin-"), "model.onnx")
  m.quantize_dynamically(m.PlainWriter(m.read_weights(GGUFReader(m.SOURCE)), tied=False), path)
  return path


def open_and_remove(path):
  """A session on a twin, whose file is not needed any more then."""
  llm = o.OrtLlm(path)
  os.remove(path)
  os.rmdir(os.path.dirname(path))
  return llm


def onnx_reference(dtype):
  """(a float32 graph that holds the weights of the dtype's file, its name): for fp32 the plain graph."""
  if dtype == "fp32":
    return o.OrtLlm(os.path.join(o.SMOLLM2_ONNX, "onnx", "model_plain.onnx")), "the plain-ONNX graph"
  return open_and_remove(float32_twin(dtype)), "float32 twin"


def onnx_records(dtype):
  """(path of the dtype's file, prompts with ONNX Runtime's greedy tokens one after the other)."""
  from tokenizers import Tokenizer
  path = os.path.join(o.SMOLLM2_ONNX, "onnx", f"model{DTYPES[dtype]}.onnx")
  tokenizer = Tokenizer.from_file(os.path.join(o.SMOLLM2_ONNX, "tokenizer.json"))
  llm = o.OrtLlm(path)
  def records():
    for prompt in read_prompts()["generation"]:
      ids = tokenizer.encode(prompt["text"]).ids
      r = {"name": prompt["name"], "prompt_tokens": ids, **llm.greedy(ids, NEW_TOKENS)}
      yield r
      print(f"smollm2-onnx-{dtype}", r["name"], len(r["tokens"]), flush=True)
  return path, records()


def golden_onnx(dtype):
  path, prompts = onnx_records(dtype)
  plain = o.OrtLlm(path, optimize=False)
  twin, reference_name = onnx_reference(dtype)
  records, others, logits = [], {"fusions off": [], reference_name: []}, LogitsFile(f"smollm2-onnx-{dtype}")
  for r in prompts:
    records.append(r)
    ids = r["prompt_tokens"] + r["tokens"]
    unfused, exact = plain.force(ids), twin.force(ids)
    others["fusions off"].append(pair_gaps(unfused, r))
    others[reference_name].append(pair_gaps(exact, r))
    logits.add(r, exact, unfused)
    r["near"] = near_candidates(unfused, exact, r)
  greedy_file(f"smollm2-onnx-{dtype}", "ONNX Runtime 1.32.0, 1 thread", records, others, reference_name)
  logits.write(reference_name)


def golden_q8(add=False):
  """q8 quantizes its activations by its own graph: a float32 twin would be another model, and what is
  evaluated together decides the ranges, so that all is done as generation does it, token by token after the
  prompt. Such a graph enlarges the last bit of a float to whole logits (docs/numerics.md). Its noise is
  measured between ONNX Runtime's computation, its own of the same quantization in the plain graph's style,
  and the operators' definitions (standard_graph.py), rounded to float32 after each operator and not at all,
  each with a float32 cache and, since tern's is one, with a float16 cache. None of these is the better one:
  each could be the oracle, so that a token within the noise of any one's best is as right as that. With `add`
  the tokens are the file's, and ONNX Runtime on this processor is one more of them."""
  from standard_graph import StandardLlm
  model = "smollm2-onnx-q8"
  path, prompts = onnx_records("q8")
  definition, where, here = "the operators' definitions", processor(), "fusions off"
  if add:
    with open(os.path.join(GOLDEN, f"greedy_{model}.json"), encoding="utf-8") as f:
      file = json.load(f)
    if where in file["processor"].split(", "):
      sys.exit(f"make_golden.py: {where} is in the file already\n  try: another kind of processor, or without --add")
    here = f"ONNX Runtime, {where}"
    prompts, where = file["prompts"], f"{file['processor']}, {where}"
  definitions = {definition: StandardLlm(path)}
  for name, options in {"float16 cache": {"half_cache": True}, "float64": {"number": np.float64},
                        "float64, float16 cache": {"number": np.float64, "half_cache": True}}.items():
    definitions[f"{definition}, {name}"] = StandardLlm(path, **options)
  for llm in definitions.values():
    llm.matrices = definitions[definition].matrices  # the weights, held once
  computations = {here: o.OrtLlm(path, optimize=False),
                  "the plain-ONNX graph, quantized likewise": open_and_remove(quantized_twin()),
                  **definitions}
  references = [name for name in computations if add or name != here]  # `here` is the oracle where it gave the tokens
  records, others = [], {name: [] for name in computations}
  for r in prompts:
    records.append(r)
    ids = r["prompt_tokens"] + r["tokens"][:-1]
    rows = {name: llm.force_stepwise(ids, len(r["prompt_tokens"])) for name, llm in computations.items()}
    for name, logits in rows.items():
      others[name].append(pair_gaps(logits, r))
    judge_alike(rows[here], [rows[name] for name in references], r)
    print(model, r["name"], "judged", flush=True)
  greedy_file(model, "ONNX Runtime 1.32.0, 1 thread", records, others, " / ".join(references), True, where)


def legitimate_others(dtype, path):
  """Functions, ids to embedding, that compute the same MiniLM weights in another order. Where activations are
  quantized on the fly that shows: the last bit of a float becomes a step of an int8. So for int8 and uint8
  the file is also computed by numpy as the standard defines it, and the same quantization done to the graph
  in the other exporter's style; and int8's weights are moved to unsigned ones, which changes no product but
  leaves ONNX Runtime's saturating kernel (make_smollm2_folder.py says when it saturates)."""
  import make_minilm_folder as m
  import onnx
  from onnx import TensorProto, numpy_helper
  from safetensors.numpy import load_file
  def embedder(model, **options):
    session = o.ort_session(model, **options)
    return lambda ids: o.ort_embed(session, ids)
  others = [embedder(path, optimize=False)]
  if dtype not in ("int8", "uint8"):
    return others
  exact = o.QuantizedMiniLmReference(path)
  others.append(lambda ids: o.normalized_mean(exact.hidden(ids)))
  with tempfile.TemporaryDirectory(prefix="tern-twin-") as temp:
    plain, twin = os.path.join(temp, "plain.onnx"), os.path.join(temp, "twin.onnx")
    weights = load_file(os.path.join(m.SOURCE, "model.safetensors"))
    m.BertWriter(weights, np.float32, decomposed=False).write().save(plain)
    m.quantize_dynamically(plain, twin, signed=dtype == "int8")
    models = [onnx.load(twin)] + ([onnx.load(path)] if dtype == "int8" else [])
  for model in models:
    for tensor in model.graph.initializer:
      if tensor.data_type == TensorProto.INT8:
        moved = (numpy_helper.to_array(tensor).astype(np.int16) + 128).astype(np.uint8)
        tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    others.append(embedder(model.SerializeToString()))
  return others


def golden_minilm():
  """Per sentence (one at a time, unpadded: dynamic quantization depends on what is computed together). noise
  is how far a sentence's cosine moves, at most, between legitimate computations of the same file."""
  reference, sentences = o.MiniLmReference(), read_prompts()["sentences"]
  ids = [reference.ids(s) for s in sentences]
  exact = [reference.embed(s) for s in sentences]
  files = {}
  for dtype, suffix in MINILM_DTYPES.items():
    path = os.path.join(o.MINILM, "onnx", f"model{suffix}.onnx")
    session = o.ort_session(path)
    c = [float((o.ort_embed(session, i) * e).sum()) for i, e in zip(ids, exact)]
    noise = 0.0
    for embed in legitimate_others(dtype, path):
      for value, i, e in zip(c, ids, exact):
        noise = max(noise, abs(float((embed(i) * e).sum()) - value))
    files[dtype] = {"cosine_min": round(min(c), 7), "cosine_mean": round(float(np.mean(c)), 7),
                    "noise": rounded([noise])[0], "cosine": [round(v, 7) for v in c]}
    print("minilm", dtype, files[dtype]["cosine_min"], files[dtype]["cosine_mean"], noise, flush=True)
  write("minilm.json", {
    "reference": "float64 numpy of the published float32 weights; mean over tokens, unit length",
    "oracle": "ONNX Runtime 1.32.0", "processor": processor(),
    "note": "int8 (signed dynamic quantization): ONNX Runtime's kernel saturates on x86 without VNNI, hence "
            "its low cosine",
    "ids": ids, "onnxruntime": files,
    "embeddings_f32_base64": [base64.b64encode(e.astype("<f4").tobytes()).decode() for e in exact]})


def logits_only(model):
  """Logits of the prompts that have them, over the tokens of the greedy file, which stays as it is."""
  with open(os.path.join(GOLDEN, f"greedy_{model}.json"), encoding="utf-8") as f:
    records = [r for r in json.load(f)["prompts"] if r["name"] in LOGIT_PROMPTS]
  if model in GGUF:
    reference, reference_name = gguf_reference(model)
  else:
    dtype = model.removeprefix("smollm2-onnx-")
    reference, reference_name = onnx_reference(dtype)
    plain = o.OrtLlm(os.path.join(o.SMOLLM2_ONNX, "onnx", f"model{DTYPES[dtype]}.onnx"), optimize=False)
  logits = LogitsFile(model)
  for r in records:
    ids = r["prompt_tokens"] + r["tokens"]
    exact = reference.force(ids)
    oracle = o.llama_force(GGUF[model], ids, exact.shape[1], "-b", 1) if model in GGUF else plain.force(ids)
    logits.add(r, exact, oracle)
    print(model, r["name"], flush=True)
  logits.write(reference_name)


def main():
  makers = {
    **{m: (lambda m=m: golden_gguf(m)) for m in GGUF},
    **{f"smollm2-onnx-{d}": (lambda d=d: golden_onnx(d)) for d in DTYPES if d != "q8"},
    "smollm2-onnx-q8": golden_q8,
    "minilm": golden_minilm,
  }
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("names", nargs="*", metavar="NAME", help="one of: " + " ".join(makers))
  parser.add_argument("--logits", action="store_true",
                      help="only logits_NAME.json again, over the tokens of greedy_NAME.json: minutes")
  parser.add_argument("--add", action="store_true",
                      help="smollm2-onnx-q8 alone: keep the file's tokens, add this processor's computation")
  args = parser.parse_args()
  if args.add:
    if args.names != ["smollm2-onnx-q8"] or args.logits:
      sys.exit("make_golden.py: only smollm2-onnx-q8 can be added to\n  try: make_golden.py --add smollm2-onnx-q8")
    return golden_q8(add=True)
  with_logits = [m for m in makers if m not in ("smollm2-onnx-q8", "minilm")]
  for name in args.names or (with_logits if args.logits else makers):
    if name not in (with_logits if args.logits else makers):
      sys.exit(f"make_golden.py: nothing is called '{name}'\n  try: one of {' '.join(makers)}")
    if args.logits:
      logits_only(name)
    else:
      makers[name]()


if __name__ == "__main__":
  main()
