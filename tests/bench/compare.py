#!/usr/bin/env python3
"""Measures tern beside llama.cpp (GGUF), ONNX Runtime (ONNX folders) and Transformers.js in Node (MiniLM): same model
files, same threads, same run.

Rounds are interleaved (tern, peer, tern, peer ..., each in a process of its own, the order swapped every
round), so that a busy machine hits both. A figure is the median over the rounds with its range; `ratio` is
tern's speed over the peer's, above 1 where tern is faster. Beside every speed stands output agreement: how
many of the first 64 greedy tokens equal the peer's on three prompts, or the lowest cosine of embeddings to
the float64 reference.

Roofs. In the same run, roof.c measures what the threads can multiply (int8, bf16, f32) and read. `share` holds a figure
to that: decoding reads its weights and the KV cache once a token, held to a plain read of as many bytes, over and over;
prefill and encoders do so many operations (model_work.py), held to the peak of the element type that the file's
products are due (float files f32, others int8), with the instruction set that the row is about.

Disturbances. Around each sample roofs.py looks whether the threads share a core, the host took time away or other
programs ran; such a sample is measured again up to --retries times, and is left out of the medians as long as half of
the samples are clean (else the row says so). Decoding is compared within a class of samples whose read bandwidth
was alike, where memory was at two speeds. --json keeps every sample.

  compare.py [--tern build/release/bin/tern] [--only SUBSTRING] [--rounds 5] [--json FILE] [--markdown FILE]

plots.py draws the JSON. Needs the models and environment of tests/models (fetch_models.py, make_*_folder.py, venv.sh)
and a C compiler; makes the random 1B model, builds llama.cpp by tests/models/build_llama_cpp.sh and installs
Transformers.js into the cache if they are not there. A timed comparison: it never fails for being slow, only when
something could not be run.
"""
import argparse
import array
import base64
import dataclasses
import datetime
import filecmp
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys

import model_work
from llama_peer import CACHE, HERE, LLAMA, RANDOM_1B, SMOLLM2_Q4_1, TESTS, run_json
from roofs import Roofs, median_peaks, processor, split_by_bandwidth, undisturbed
from test_parity import END_TOKENS, Tern, cosine, find_tern, golden, vectors_of

MODELS = os.path.join(TESTS, "models")
PYTHON = os.path.join(CACHE, "venv", "bin", "python")
NODE_MODULES = os.path.join(CACHE, "peers", "transformers.js")
SMOLLM2, MINILM = os.path.join(CACHE, "SmolLM2-135M-Instruct-ONNX"), os.path.join(CACHE, "all-MiniLM-L6-v2")
SHAPES = {"fp32": ("1x16", "1x128", "32x32"), "q8": ("1x16", "1x128", "32x32")}  # beside the two of every dtype
FILES = {"fp32": "", "fp16": "_fp16", "q8": "_quantized", "q4": "_q4", "q4f16": "_q4f16"}
LLAMA_CPP, LLAMA_AVX2, ORT, JS = "llama.cpp", "llama.cpp for AVX2", "ONNX Runtime", "Transformers.js in Node"


@dataclasses.dataclass(frozen=True)
class Case:
  peers: tuple
  kind: str  # "llm" or "graph"
  path: str  # for tern
  file: str  # for the peers
  dtype: str = None
  golden: str = None  # None: the peer is asked in the same run
  shape: str = None
  device: str = None
  instruction: str = None  # the peak that it is held to; None: the highest
  prompt_tokens: int = 512
  new_tokens: int = 128
  draft: int = 0  # tern decodes with drafts by prompt lookup, which the prompt, repeating itself, invites; the peer plainly

  @property
  def element(self):
    return "f32" if self.dtype in ("fp32", "fp16") else "int8"


def gguf(path, golden_name, peer=LLAMA_CPP, **more):
  return Case((peer,), "llm", path, path, golden=golden_name, **more)


CASES = {
  "SmolLM2-135M GGUF Q4_1": gguf(SMOLLM2_Q4_1, "smollm2-gguf"),
  "SmolLM2-135M GGUF Q4_1, AVX2 alone": gguf(SMOLLM2_Q4_1, "smollm2-gguf", LLAMA_AVX2, device="cpu:avx2",
                                             instruction="AVX2"),
  "Gemma-3-270M GGUF Q4_K_M": gguf(os.path.join(CACHE, "gemma-3-270m-Q4_K_M.gguf"), "gemma3-gguf"),
  "1B-shaped random Q4_0": gguf(RANDOM_1B, None, prompt_tokens=256, new_tokens=64),
  "1B-shaped random Q4_0, drafts": gguf(RANDOM_1B, None, prompt_tokens=256, new_tokens=64, draft=10),
  "SmolLM2-135M GGUF Q4_1, drafts": gguf(SMOLLM2_Q4_1, "smollm2-gguf", draft=10),
  **{f"SmolLM2-135M ONNX {d}": Case((ORT,), "llm", SMOLLM2, f"{SMOLLM2}/onnx/model{s}.onnx", d, f"smollm2-onnx-{d}")
     for d, s in FILES.items()},
  **{f"MiniLM ONNX {d}, {shape}": Case((ORT, JS) if shape in SHAPES.get(d, ()) else (ORT,), "graph", MINILM,
                                       f"{MINILM}/onnx/model{FILES[d]}.onnx", d, f"minilm-{d}", shape)
     for d in ("fp32", "fp16", "q8", "q4") for shape in ("1x32", "8x128", *SHAPES.get(d, ()))},
}
# key -> (heading, True where more is better)
METRICS = {"load_ms": ("load ms", False), "prefill_tokens_per_s": ("prefill tok/s", True),
           "first_token_ms": ("first token ms", False), "decode_tokens_per_s": ("decode tok/s", True),
           "latency_ms": ("latency ms", False), "peak_rss_bytes": ("peak RSS MB", False)}
BY_BANDWIDTH = {"decode_tokens_per_s"}  # what memory sets the pace of
LEAST_OF_A_CLASS = 2  # samples of each side
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
  command = [args.tern, "bench", "--model", case.path, "--threads", str(args.threads), "--json"]
  command += ["--dtype", case.dtype] if case.dtype else []
  command += ["--device", case.device] if case.device else []
  if case.kind == "llm":
    command += ["--prompt-tokens", str(case.prompt_tokens), "--new-tokens", str(case.new_tokens)]
    command += ["--repeat", "1"]
    command += ["--prompt-lookup-num-tokens", str(case.draft)] if case.draft else []
  else:
    for name in ("input_ids", "attention_mask", "token_type_ids"):
      command += ["--input", f"{name}={case.shape}:int64"]
    command += ["--repeat", str(args.repeat)]
  return flat(run_json(command))


def llama_bench(peer):
  return os.path.join(LLAMA if peer == LLAMA_CPP else LLAMA + "-avx2", "llama-bench")


def run_peer(args, case, peer):
  if peer in (LLAMA_CPP, LLAMA_AVX2):
    rows = run_json([llama_bench(peer), "-m", case.file, "-t", str(args.threads), "-p", str(case.prompt_tokens), "-n",
                     str(case.new_tokens), "-r", "1", "-o", "json"])
    by_test = {("decode" if row["n_gen"] else "prefill") + "_tokens_per_s": row["avg_ts"] for row in rows}
    return by_test | {"first_token_ms": case.prompt_tokens / by_test["prefill_tokens_per_s"] * 1e3}
  if peer == JS:
    return flat(run_json([*transformers_js(args, case), "bench", case.shape, str(args.repeat)]))
  command = [PYTHON, os.path.join(HERE, "peer_onnxruntime.py"), case.kind, case.file, "--threads", str(args.threads)]
  if case.kind == "llm":
    command += ["--prompt-tokens", str(case.prompt_tokens), "--new-tokens", str(case.new_tokens)]
  else:
    command += ["--shape", case.shape, "--repeat", str(args.repeat)]
  return flat(run_json(command))


def transformers_js(args, case):
  return ["node", os.path.join(HERE, "peer_transformers.mjs"), NODE_MODULES, case.path, case.dtype, str(args.threads)]


def install_transformers_js():
  """What tests/web pins, into the cache. The lock file is copied last: it says that the rest is there."""
  source, lock = os.path.join(TESTS, "web"), os.path.join(NODE_MODULES, "package-lock.json")
  done = os.path.join(NODE_MODULES, "installed-lock.json")
  if os.path.exists(done) and filecmp.cmp(done, os.path.join(source, "package-lock.json"), shallow=False):
    return
  os.makedirs(NODE_MODULES, exist_ok=True)
  for name in ("package.json", "package-lock.json"):
    shutil.copy(os.path.join(source, name), NODE_MODULES)
  subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=NODE_MODULES, check=True)
  shutil.copy(lock, done)


def lowest_cosine(vectors, wanted):
  return min(cosine(v, w) for v, w in zip(vectors, wanted))


def embedding_agreement(args, case, tern, sentences):
  """side -> text. ONNX Runtime's cosines are the golden file's, which it made."""
  file = golden("minilm.json")
  wanted = [array.array("f", base64.b64decode(e)) for e in file["embeddings_f32_base64"]][:len(sentences)]
  found = {"tern": lowest_cosine([vectors_of(tern.run("feature-extraction", case.path, case.dtype, s))[0]
                                  for s in sentences], wanted),
           ORT: min(file["onnxruntime"][case.dtype]["cosine"][:len(sentences)])}
  if JS in case.peers:
    result = subprocess.run([*transformers_js(args, case), "embed"], input=json.dumps(sentences), capture_output=True,
                            text=True, timeout=300, check=True)
    found[JS] = lowest_cosine(json.loads(result.stdout), wanted)
  return {peer: f"cosine to f32 {found['tern']:.5f} (peer {found[peer]:.5f})" for peer in case.peers}


def agreement(args, case):
  """peer -> text. Against the golden files, which are the peer's own answers, or against the peer itself."""
  tern = Tern(args.tern, args.threads, ["--device", case.device] if case.device else [])
  prompts = golden("prompts.json")
  if case.kind == "graph":
    return embedding_agreement(args, case, tern, prompts["sentences"][:AGREEMENT_SENTENCES])
  texts = {p["name"]: p["text"] for p in prompts["generation"]}
  if case.golden:
    records = {r["name"]: r for r in golden(f"greedy_{case.golden}.json")["prompts"]}
    ends = END_TOKENS[case.golden.split("-")[0]]
  else:
    from oracles import llama_greedy  # the one thing here that needs NumPy
    answers = llama_greedy(case.file, [texts[p] for p in AGREEMENT_PROMPTS], AGREEMENT_TOKENS)
    records, ends = dict(zip(AGREEMENT_PROMPTS, answers)), END_TOKENS["smollm2"]
  equal, total = 0, 0
  for prompt in AGREEMENT_PROMPTS:
    wanted = [t for t in records[prompt]["tokens"][:AGREEMENT_TOKENS] if t not in ends]
    got = tern.run("text-generation", case.path, case.dtype, "--prompt", texts[prompt], "--max-new-tokens",
                   str(AGREEMENT_TOKENS), "--temperature", "0")["tokens"]
    equal += next((i for i, (a, b) in enumerate(zip(wanted, got)) if a != b), min(len(wanted), len(got)))
    total += len(wanted)
  return dict.fromkeys(case.peers, f"{equal} of {total} greedy tokens before a difference")


# ---- samples ----

def depth_of(case, side):
  """llama-bench decodes from an empty cache, the others behind the prompt."""
  return 0 if side in (LLAMA_CPP, LLAMA_AVX2) else case.prompt_tokens


def sample(args, case, side, work, roofs, peaks):
  """One undisturbed run of one side, or the last of the retries; `dropped` says what became of those before."""
  dropped = []

  def run():
    return run_tern(args, case) if side == "tern" else run_peer(args, case, side)
  while True:
    taken = roofs.watched(run)
    if not taken["disturbed"] or len(dropped) == args.retries:
      break
    dropped.append({key: taken[key] for key in ("figures", "disturbed", "probes")})
  by_name = peaks[case.element]
  roof = {"gops": by_name[case.instruction][1] if case.instruction else max(p[1] for p in by_name.values())}
  if case.kind == "llm":
    depth = depth_of(case, side)
    roof["read_gbps"] = roofs.read(work.bytes_per_token(depth + case.new_tokens // 2))["gbps"]
  return {**taken, "roof": roof, "shares": model_work.shares(work, case, taken["figures"], roof, depth_of(case, side)),
          "dropped": dropped}


def spread(values):
  return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def metrics_of(key, samples):
  """One figure of all sides, from these samples: spreads, shares of the roof, and ratios to each peer."""
  record = {"sides": {}, "shares": {}, "ratios": {}}
  for side, taken in samples.items():
    values = [s["figures"][key] for s in taken if key in s["figures"]]
    if values:
      record["sides"][side] = spread(values)
    shares = [s["shares"][key] for s in taken if key in s["shares"]]
    if shares:
      record["shares"][side] = spread(shares)
  ours = record["sides"].get("tern")
  for side, theirs in record["sides"].items():
    if side != "tern" and ours and ours["median"] > 0 and theirs["median"] > 0:
      ratio = ours["median"] / theirs["median"]
      record["ratios"][side] = ratio if METRICS[key][1] else 1 / ratio
  return record


def summarize(key, samples):
  """Of the undisturbed samples, and of those of one class of bandwidth where that matters: the larger one's is what
  the table shows; `classes` has both."""
  clean = {side: undisturbed(taken) for side, taken in samples.items()}
  everything = [(side, s) for side, taken in clean.items() for s in taken]
  record = metrics_of(key, clean) | {"class": "all"}
  if key not in BY_BANDWIDTH:
    return record
  classes = {}
  for name, members in split_by_bandwidth([s for _, s in everything]):
    ids = {id(s) for s in members}
    classes[name] = {side: [s for s in taken if id(s) in ids] for side, taken in clean.items()}
  if len(classes) == 1:
    return record
  least = {name: min(map(len, sides.values())) for name, sides in classes.items()}
  best = max(least, key=least.get)
  all_classes = {name: metrics_of(key, sides) for name, sides in classes.items()}
  if least[best] < LEAST_OF_A_CLASS:
    return record | {"class": "both memory speeds", "classes": all_classes}
  return all_classes[best] | {"class": best, "classes": all_classes}


def measure(args, name, case, roofs):
  work = (model_work.of_bert(case.path, case.file) if case.kind == "graph" else
          model_work.of_onnx_llm(case.path, case.file) if case.dtype else model_work.of_gguf(case.file))
  sides = ["tern", *case.peers]
  samples, peaks, reads = {side: [] for side in sides}, [], []
  for i in range(args.rounds):
    peaks.append(roofs.peaks())
    reads.append(roofs.read())
    for side in sides if i % 2 == 0 else sides[::-1]:
      samples[side].append(sample(args, case, side, work, roofs, peaks[-1]))
    print(f"  {name}: round {i + 1} of {args.rounds}", file=sys.stderr, flush=True)
  metrics = {key: summarize(key, samples) for key in METRICS}
  kept = [s for taken in samples.values() for s in taken]
  return {"case": name, "peers": case.peers, "agreement": agreement(args, case), "element": case.element,
          "prompt_tokens": case.prompt_tokens, "new_tokens": case.new_tokens,
          "metrics": {key: m for key, m in metrics.items() if m["sides"]},
          "disturbed": sum(bool(s["disturbed"]) for s in kept), "samples_taken": len(kept),
          "dropped": sum(len(s["dropped"]) for s in kept), "peaks": median_peaks(peaks),
          "read_gbps": [statistics.median(r[k] for r in reads) for k in ("gbps_1", "gbps")], "samples": samples}


# ---- the table ----

def cell(side, key):
  if side is None:
    return "-"
  scale = 2 ** 20 if key == "peak_rss_bytes" else 1
  low, middle, high = (side[k] / scale for k in ("min", "median", "max"))
  digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
  return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def share_cell(metric, peer):
  shares = metric["shares"]
  if "tern" not in shares:
    return "-"
  return " / ".join(f"{100 * shares[side]['median']:.0f}" for side in ("tern", peer) if side in shares) + " %"


def rows_of(record, peer):
  lines = []
  for key, metric in record["metrics"].items():
    first = not lines
    ratio = f"{metric['ratios'][peer]:.2f}" if peer in metric["ratios"] else "-"
    note = "" if metric["class"] == "all" else f" ({metric['class']})"
    label = f"{record['case']} / {peer}" if first else ""
    if first and 2 * record["disturbed"] > record["samples_taken"]:
      label += f" (disturbed: {record['disturbed']} of {record['samples_taken']} samples)"
    lines.append(f"| {label} | {METRICS[key][0]}{note} | {cell(metric['sides'].get('tern'), key)} | "
                 f"{cell(metric['sides'].get(peer), key)} | {ratio} | {share_cell(metric, peer)} | "
                 f"{record['agreement'][peer] if first else ''} |")
  return lines


def roof_line(records):
  """The medians over the cases; one instruction set's peak after the other."""
  peaks = median_peaks([r["peaks"] for r in records])
  texts = [f"{element} {', '.join(f'{name} {both[1]:.0f} ({both[0]:.0f})' for name, both in by_name.items())}"
           for element, by_name in peaks.items()]
  one, both = (statistics.median(r["read_gbps"][i] for r in records) for i in (0, 1))
  return (f"Roofs, all threads (one): {'; '.join(texts)} GOPS; plain read {both:.1f} ({one:.1f}) GB/s beyond the "
          f"caches. {sum(r['dropped'] for r in records)} disturbed samples were measured again.")


def markdown(header, records):
  lines = [
    f"{header['processor']}, {header['date']}, {header['threads']} threads, {header['rounds']} interleaved rounds; "
    f"load average {header['load_average']}. Median (range); ratio above 1: tern is better; share of the roof: "
    "tern / peer.", ""]
  measured = [r for r in records if "error" not in r]
  if measured:
    lines += [roof_line(measured), ""]
  lines += ["| model | figure | tern | peer | ratio | share | agreement |", "|---|---|---|---|---|---|---|"]
  for r in records:
    if "error" in r:
      lines.append(f"| {r['case']} | could not be run | {r['error'].replace('|', '/')[:160]} | | | | |")
      continue
    for peer in r["peers"]:
      lines += rows_of(r, peer)
  return "\n".join(lines) + "\n"


def prepare(cases):
  """Builds and installs what is not there yet."""
  peers = {peer for case in cases for peer in case.peers}
  for peer, option in ((LLAMA_CPP, []), (LLAMA_AVX2, ["--avx2"])):
    if peer in peers and not os.access(llama_bench(peer), os.X_OK):
      subprocess.run(["sh", os.path.join(MODELS, "build_llama_cpp.sh"), *option], check=True)
  if JS in peers:
    install_transformers_js()
  if any(case.path == RANDOM_1B for case in cases):
    subprocess.run([PYTHON, os.path.join(MODELS, "make_random_1b.py")], check=True, stdout=sys.stderr)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--tern", default=find_tern(),
                      help="the command (else $TERN, build/release/bin/tern, PATH)")
  parser.add_argument("--only", action="append", metavar="TEXT",
                      help="cases whose name holds TEXT (may be repeated)")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--prompt-tokens", type=int, help="in place of each case's own")
  parser.add_argument("--new-tokens", type=int, help="in place of each case's own")
  parser.add_argument("--repeat", type=int, default=10, help="runs of a plain graph within a round")
  parser.add_argument("--retries", type=int, default=2, help="of a disturbed sample")
  parser.add_argument("--json", metavar="FILE")
  parser.add_argument("--markdown", metavar="FILE")
  args = parser.parse_args()
  if not args.tern:
    sys.exit("compare.py: no tern command found\n  try: build it, or name it with --tern or $TERN")
  own = {key: value for key in ("prompt_tokens", "new_tokens") if (value := getattr(args, key))}
  cases = {n: dataclasses.replace(c, **own) for n, c in CASES.items()
           if not args.only or any(t.lower() in n.lower() for t in args.only)}
  if not cases:
    sys.exit("compare.py: --only matches no case\n  try: part of " + "; ".join(CASES))
  prepare(cases.values())
  header = {"processor": processor()[0], "threads": args.threads, "rounds": args.rounds,
            "load_average": round(os.getloadavg()[0], 1), "system": platform.platform(),
            "date": datetime.date.today().strftime("%-d %B %Y")}
  records = []
  with Roofs(args.threads) as roofs:
    for name, case in cases.items():
      try:
        records.append(measure(args, name, case, roofs))
      except (RuntimeError, subprocess.SubprocessError, ValueError, KeyError, OSError) as error:
        records.append({"case": name, "peers": case.peers, "error": str(error)})
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
