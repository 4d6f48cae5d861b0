#!/usr/bin/env python3
"""Measures tern beside llama.cpp (GGUF) and ONNX Runtime (ONNX folders): same model files, same threads, same
run.

Rounds are interleaved (tern, peer, tern, peer ..., each in a process of its own, the order swapped every
round), so that a busy machine hits both. A figure is the median over the rounds with its range; `ratio` is
tern's speed over the peer's, above 1 where tern is faster. Beside every speed stands output agreement: how
many of the first 64 greedy tokens equal the peer's on three prompts, or the lowest cosine of embeddings to
the peer's.

  compare.py [--tern build/release/bin/tern] [--only SUBSTRING] [--rounds 5] [--json FILE] [--markdown FILE]

Needs the models and environment of tests/models (fetch_models.py, make_*_folder.py, venv.sh); builds
llama.cpp by tests/models/build_llama_cpp.sh if it is not there. A timed comparison: it never fails for being
slow, only when something could not be run.
"""
import argparse
import array
import base64
import json
import os
import platform
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(os.path.dirname(HERE), "models")
sys.path.insert(0, MODELS)
from fetch_models import CACHE  # noqa: E402
from llama_peer import LLAMA, run_json  # noqa: E402
from test_parity import END_TOKENS, Tern, cosine, find_tern, golden, vectors_of  # noqa: E402

PYTHON = os.path.join(CACHE, "venv", "bin", "python")
SMOLLM2, MINILM = os.path.join(CACHE, "SmolLM2-135M-Instruct-ONNX"), os.path.join(CACHE, "all-MiniLM-L6-v2")
SHAPES = {"fp32": ("1x16", "1x128", "32x32"), "q8": ("1x16", "1x128", "32x32")}  # beside the two of every dtype
FILES = {"fp32": "", "fp16": "_fp16", "q8": "_quantized", "q4": "_q4", "q4f16": "_q4f16"}
# what is measured: name -> (peer, kind, path for tern, dtype, path for the peer, golden name, shape)
CASES = {
  "SmolLM2-135M GGUF Q4_1": ("llama.cpp", "llm", os.path.join(CACHE, "SmolLM2-135M-Instruct-Q4_1.gguf"), None,
                             os.path.join(CACHE, "SmolLM2-135M-Instruct-Q4_1.gguf"), "smollm2-gguf", None),
  "Gemma-3-270M GGUF Q4_K_M": ("llama.cpp", "llm", os.path.join(CACHE, "gemma-3-270m-Q4_K_M.gguf"), None,
                               os.path.join(CACHE, "gemma-3-270m-Q4_K_M.gguf"), "gemma3-gguf", None),
  **{f"SmolLM2-135M ONNX {d}": ("ONNX Runtime", "llm", SMOLLM2, d, f"{SMOLLM2}/onnx/model{s}.onnx",
                                f"smollm2-onnx-{d}", None) for d, s in FILES.items()},
  **{f"MiniLM ONNX {d}, {shape}": ("ONNX Runtime", "graph", MINILM, d, f"{MINILM}/onnx/model{FILES[d]}.onnx",
                                   f"minilm-{d}", shape)
     for d in ("fp32", "fp16", "q8", "q4") for shape in ("1x32", "8x128", *SHAPES.get(d, ()))},
}
# key -> (heading, True where more is better)
METRICS = {"load_ms": ("load ms", False), "prefill_tokens_per_s": ("prefill tok/s", True),
           "first_token_ms": ("first token ms", False), "decode_tokens_per_s": ("decode tok/s", True),
           "latency_ms": ("latency ms", False), "peak_rss_bytes": ("peak RSS MB", False)}
AGREEMENT_PROMPTS, AGREEMENT_TOKENS, AGREEMENT_SENTENCES = ("story", "chat", "python"), 64, 8


def flat(answer):
  """One device's figures with latency_ms as a number."""
  if isinstance(answer, list):
    answer = answer[0]
  if isinstance(answer.get("devices"), list):
    answer = answer["devices"][0]
  latency = answer.get("latency_ms")
  if isinstance(latency, dict):
    answer = {**answer, "latency_ms": latency["median"]}
  return {k: answer[k] for k in METRICS if answer.get(k) is not None}


def run_tern(args, case):
  _, kind, path, dtype, _, _, shape = case
  command = [args.tern, "bench", "--model", path, "--threads", str(args.threads), "--json"]
  command += ["--dtype", dtype] if dtype else []
  if kind == "llm":
    command += ["--prompt-tokens", str(args.prompt_tokens), "--new-tokens", str(args.new_tokens)]
    command += ["--repeat", "1"]
  else:
    for name in ("input_ids", "attention_mask", "token_type_ids"):
      command += ["--input", f"{name}={shape}:int64"]
    command += ["--repeat", str(args.repeat)]
  return flat(run_json(command))


def run_peer(args, case):
  peer, kind, _, _, path, _, shape = case
  if peer == "llama.cpp":
    rows = run_json([os.path.join(LLAMA, "llama-bench"), "-m", path, "-t", str(args.threads), "-p",
                     str(args.prompt_tokens), "-n", str(args.new_tokens), "-r", "1", "-o", "json"])
    by_test = {("decode" if row["n_gen"] else "prefill") + "_tokens_per_s": row["avg_ts"] for row in rows}
    return by_test | {"first_token_ms": args.prompt_tokens / by_test["prefill_tokens_per_s"] * 1e3}
  command = [PYTHON, os.path.join(HERE, "peer_onnxruntime.py"), kind, path, "--threads", str(args.threads)]
  if kind == "llm":
    command += ["--prompt-tokens", str(args.prompt_tokens), "--new-tokens", str(args.new_tokens)]
  else:
    command += ["--shape", shape, "--repeat", str(args.repeat)]
  return flat(run_json(command))


def agreement(args, case):
  """Against the golden files, which are the peer's own answers."""
  _, kind, path, dtype, _, name, _ = case
  tern = Tern(args.tern, args.threads, [])
  prompts = golden("prompts.json")
  if kind == "graph":
    file = golden("minilm.json")
    sentences = prompts["sentences"][:AGREEMENT_SENTENCES]
    wanted = [array.array("f", base64.b64decode(e)) for e in file["embeddings_f32_base64"]]
    got = [vectors_of(tern.run("feature-extraction", path, dtype, s))[0] for s in sentences]
    ours = min(cosine(g, w) for g, w in zip(got, wanted))
    theirs = min(file["onnxruntime"][dtype]["cosine"][:len(sentences)])
    return f"cosine to f32 {ours:.5f} (peer {theirs:.5f})"
  texts = {p["name"]: p["text"] for p in prompts["generation"]}
  records = {r["name"]: r for r in golden(f"greedy_{name}.json")["prompts"]}
  ends, equal, total = END_TOKENS[name.split("-")[0]], 0, 0
  for prompt in AGREEMENT_PROMPTS:
    wanted = [t for t in records[prompt]["tokens"][:AGREEMENT_TOKENS] if t not in ends]
    got = tern.run("text-generation", path, dtype, "--prompt", texts[prompt], "--max-new-tokens",
                   str(AGREEMENT_TOKENS), "--temperature", "0")["tokens"]
    equal += next((i for i, (a, b) in enumerate(zip(wanted, got)) if a != b), min(len(wanted), len(got)))
    total += len(wanted)
  return f"{equal} of {total} greedy tokens before a difference"


def spread(values):
  return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def measure(args, name, case):
  ours, theirs = [], []
  for i in range(args.rounds):
    pair = [(run_tern, ours), (run_peer, theirs)]
    for run, into in (pair if i % 2 == 0 else pair[::-1]):
      into.append(run(args, case))
    print(f"  {name}: round {i + 1} of {args.rounds}", file=sys.stderr, flush=True)
  record = {"case": name, "peer": case[0], "agreement": agreement(args, case), "metrics": {}}
  for key, (_, more_is_better) in METRICS.items():
    sides = {side: spread([r[key] for r in rows]) for side, rows in (("tern", ours), ("peer", theirs))
             if all(key in r for r in rows)}
    if not sides:
      continue
    if len(sides) == 2 and sides["tern"]["median"] > 0 and sides["peer"]["median"] > 0:
      ratio = sides["tern"]["median"] / sides["peer"]["median"]
      sides["ratio"] = ratio if more_is_better else 1 / ratio
    record["metrics"][key] = sides
  return record


def cell(side, key):
  if side is None:
    return "-"
  scale = 2 ** 20 if key == "peak_rss_bytes" else 1
  low, middle, high = (side[k] / scale for k in ("min", "median", "max"))
  digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
  return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def markdown(header, records):
  lines = [
    f"{header['processor']}, {header['threads']} threads, {header['rounds']} interleaved rounds, prompt "
    f"{header['prompt_tokens']} tokens, {header['new_tokens']} new tokens; load average "
    f"{header['load_average']}. Median (range); ratio above 1: tern is better.", "",
    "| model | figure | tern | peer | ratio | agreement |", "|---|---|---|---|---|---|"
  ]
  for r in records:
    if "error" in r:
      lines.append(f"| {r['case']} | could not be run | {r['error'].replace('|', '/')[:160]} | | | |")
      continue
    for i, (key, sides) in enumerate(r["metrics"].items()):
      ratio = f"{sides['ratio']:.2f}" if "ratio" in sides else "-"
      lines.append(f"| {r['case'] + ' / ' + r['peer'] if i == 0 else ''} | {METRICS[key][0]} | "
                   f"{cell(sides.get('tern'), key)} | {cell(sides.get('peer'), key)} | {ratio} | "
                   f"{r['agreement'] if i == 0 else ''} |")
  return "\n".join(lines) + "\n"


def processor():
  with open("/proc/cpuinfo", encoding="utf-8") as f:
    return next((l.split(":")[1].strip() for l in f if l.startswith("model name")), platform.machine())


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--tern", default=find_tern(),
                      help="the command (else $TERN, build/release/bin/tern, PATH)")
  parser.add_argument("--only", action="append", metavar="TEXT",
                      help="cases whose name holds TEXT (may be repeated)")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--prompt-tokens", type=int, default=512)
  parser.add_argument("--new-tokens", type=int, default=128)
  parser.add_argument("--repeat", type=int, default=10, help="runs of a plain graph within a round")
  parser.add_argument("--json", metavar="FILE")
  parser.add_argument("--markdown", metavar="FILE")
  args = parser.parse_args()
  if not args.tern:
    sys.exit("compare.py: no tern command found\n  try: build it, or name it with --tern or $TERN")
  cases = {n: c for n, c in CASES.items() if not args.only or any(t.lower() in n.lower() for t in args.only)}
  if not cases:
    sys.exit("compare.py: --only matches no case\n  try: part of " + "; ".join(CASES))
  needs_llama = any(case[0] == "llama.cpp" for case in cases.values())
  if needs_llama and not os.access(os.path.join(LLAMA, "llama-bench"), os.X_OK):
    subprocess.run(["sh", os.path.join(MODELS, "build_llama_cpp.sh")], check=True)
  header = {"processor": processor(), "threads": args.threads, "rounds": args.rounds,
            "prompt_tokens": args.prompt_tokens, "new_tokens": args.new_tokens,
            "load_average": round(os.getloadavg()[0], 1), "system": platform.platform()}
  records = []
  for name, case in cases.items():
    try:
      records.append(measure(args, name, case))
    except (RuntimeError, subprocess.TimeoutExpired, ValueError, KeyError, OSError) as error:
      records.append({"case": name, "peer": case[0], "error": str(error)})
  table = markdown(header, records)
  print(table)
  everything = json.dumps({**header, "results": records}, indent=1)
  for path, text in ((args.json, everything), (args.markdown, table)):
    if path:
      with open(path, "w", encoding="utf-8") as f:
        f.write(text)
  sys.exit(1 if any("error" in r for r in records) else 0)


if __name__ == "__main__":
  main()
