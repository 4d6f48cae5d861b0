#!/usr/bin/env python3
"""Runs logits through transformers' own processors, in the order of generate(), and writes vectors.json, which
tests/unit/test_sampler.c compares. Needs torch (CPU is enough) and transformers."""
import json
import pathlib
import struct

import torch
from transformers.generation import logits_process as hf

HERE = pathlib.Path(__file__).resolve().parent


def process(logits, seen, temperature=1.0, top_k=0, top_p=0.0, min_p=0.0, penalty=0.0):
    ids = torch.tensor([seen], dtype=torch.long)
    chain = []
    if penalty not in (0.0, 1.0):
        chain.append(hf.RepetitionPenaltyLogitsProcessor(penalty))
    if temperature != 1.0:
        chain.append(hf.TemperatureLogitsWarper(temperature))
    if top_k:
        chain.append(hf.TopKLogitsWarper(top_k))
    if 0 < top_p < 1:
        chain.append(hf.TopPLogitsWarper(top_p))
    if min_p:
        chain.append(hf.MinPLogitsWarper(min_p))
    scores = logits[None]
    for processor in chain:
        scores = processor(ids, scores)
    return scores[0]


def as_list(t):  # f32 exactly, -inf as null
    return [None if v == float("-inf") else float(f"{v:.9g}") for v in t.tolist()]


def f32(x):  # the options are floats in C
    return struct.unpack("f", struct.pack("f", x))[0]


def main():
    torch.manual_seed(20240726)
    spread = torch.randn(40) * 4
    flat = torch.randn(300) * 0.5
    holes = torch.randn(64) * 3
    holes[::5] = float("-inf")
    ties = torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0, -1.0, 2.0, 0.0])
    cases = []
    for name, logits in {"spread": spread, "flat": flat, "holes": holes}.items():
        seen = [1, 3, 3, 7, 11, 39]
        for options in [dict(), dict(temperature=0.7), dict(top_k=1), dict(top_k=5), dict(top_k=1000), dict(top_p=0.9),
                        dict(top_p=0.05), dict(top_p=0.999), dict(min_p=0.1), dict(min_p=1.0), dict(penalty=1.3),
                        dict(penalty=0.8), dict(temperature=1.5, top_k=20, top_p=0.8),
                        dict(temperature=0.6, top_k=40, top_p=0.95, min_p=0.05, penalty=1.1),
                        dict(temperature=2.0, top_p=0.7, min_p=0.2)]:
            cases.append((name, logits, seen, options))
    cases += [("ties", ties, [1], dict(top_k=2)), ("ties", ties, [], dict(top_k=4)), ("ties", ties, [2], dict(min_p=0.3, penalty=1.5))]
    out = []
    for name, logits, seen, options in cases:
        options = {k: f32(v) if isinstance(v, float) else v for k, v in options.items()}
        scores = process(logits.clone(), seen, **options)
        label = name + "".join(f" {k}={v:.4g}" for k, v in options.items())
        out.append({"name": label, "logits": as_list(logits), "seen": seen, **{k: float(v) for k, v in options.items()},
                    "scores": as_list(scores)})
    (HERE / "vectors.json").write_text(json.dumps({"generator": "make_vectors.py", "torch": torch.__version__, "cases": out}, indent=None)
                                       .replace('{"name"', '\n{"name"') + "\n")
    print(len(out), "cases")


if __name__ == "__main__":
    main()
