#!/usr/bin/env python3
"""One measured run of ONNX Runtime in a process of its own, as compare.py's peer; prints `tern bench`'s JSON
keys.

  peer_onnxruntime.py llm MODEL.onnx --threads N --prompt-tokens P --new-tokens N
  peer_onnxruntime.py graph MODEL.onnx --threads N --shape BATCHxLENGTH --repeat R

The cache stays in ONNX Runtime's own values between steps (no copies through numpy), as its users are told to
do. """
import argparse
import json
import resource
import time

import numpy as np
import onnxruntime as ort


def open_session(path, threads):
  options = ort.SessionOptions()
  options.intra_op_num_threads = threads
  options.inter_op_num_threads = 1
  options.log_severity_level = 3
  start = time.perf_counter()
  session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
  return session, (time.perf_counter() - start) * 1e3


def run_llm(session, prompt_tokens, new_tokens):
  inputs = {i.name: i for i in session.get_inputs()}
  past = [n for n in inputs if n.startswith("past_key_values.")]
  outputs = ["logits"] + [n.replace("past_key_values", "present") for n in past]
  first = inputs[past[0]]
  half = np.float16 if first.type == "tensor(float16)" else np.float32
  empty = ort.OrtValue.ortvalue_from_numpy(np.zeros((1, first.shape[1], 0, first.shape[3]), half))

  def step(ids, length, cache):
    total = length + len(ids)
    feeds = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, total), np.int64),
             "position_ids": np.arange(length, total, dtype=np.int64)[None]}
    feeds = {k: ort.OrtValue.ortvalue_from_numpy(v) for k, v in feeds.items() if k in inputs}
    result = session.run_with_ort_values(outputs, feeds | dict(zip(past, cache)))
    return int(result[0].numpy()[0, -1].argmax()), result[1:]

  # any ids: the work does not depend on them
  prompt = [(i * 7919 + 13) % 40000 + 100 for i in range(prompt_tokens)]
  step(prompt[:8], 0, [empty] * len(past))  # first-run costs are not what is measured
  start = time.perf_counter()
  token, cache = step(prompt, 0, [empty] * len(past))
  middle = time.perf_counter()
  for i in range(new_tokens):
    token, cache = step([token], prompt_tokens + i, cache)
  end = time.perf_counter()
  return {"first_token_ms": (middle - start) * 1e3, "prefill_tokens_per_s": prompt_tokens / (middle - start),
          "decode_tokens_per_s": new_tokens / (end - middle)}


def run_graph(session, shape, repeat):
  dims = [int(d) for d in shape.split("x")]
  rng = np.random.default_rng(7)
  feeds = {"input_ids": rng.integers(1000, 30000, dims, np.int64), "attention_mask": np.ones(dims, np.int64),
           "token_type_ids": np.zeros(dims, np.int64)}
  session.run(None, feeds)
  times = []
  for _ in range(repeat):
    start = time.perf_counter()
    session.run(None, feeds)
    times.append((time.perf_counter() - start) * 1e3)
  return {"latency_ms": {"median": float(np.median(times)), "min": min(times), "max": max(times)}}


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("mode", choices=("llm", "graph"))
  parser.add_argument("model")
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--prompt-tokens", type=int, default=512)
  parser.add_argument("--new-tokens", type=int, default=128)
  parser.add_argument("--shape", default="1x32")
  parser.add_argument("--repeat", type=int, default=10)
  args = parser.parse_args()
  session, load_ms = open_session(args.model, args.threads)
  result = (run_llm(session, args.prompt_tokens, args.new_tokens) if args.mode == "llm"
            else run_graph(session, args.shape, args.repeat))
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  print(json.dumps({"load_ms": load_ms, **result, "peak_rss_bytes": peak}))


if __name__ == "__main__":
  main()
