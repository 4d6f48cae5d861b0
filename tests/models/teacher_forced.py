"""Teacher-forced logits through the Python package, against the float32 computation of the same weights. Part of
test_parity.py.

Every row must have a cosine of 0.9999 or more to the reference's, computed in two ways: the whole sequence at once
without a cache, and as generation does it, the last tokens one at a time over the session's float16 KV cache.

golden/logits_MODEL.json, which is committed, has of the last rows of each prompt the 20 best tokens with their logits,
the norm, and a sketch (logit_sketch.py): so any machine bounds the cosine from below, wrongly in 3 of 10,000 rows at
most, and holds the 20 values. Where make_golden.py has left whole rows in the cache (golden/logits_MODEL_PROMPT.npy)
the cosines are exact, and those of the logits less their mean are told, too, which says more: an offset common to all
tokens changes no probability, yet it dominates the raw cosine."""
import os

import numpy as np

from fetch_models import CACHE
from logit_sketch import least_cosine

LEAST = 0.9999


def all_at_once(tern, model, ids, rows):
  """The last logits of a whole sequence, from empty caches of the declared types and shapes."""
  session = tern.Session(model)
  feeds = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, len(ids)), np.int64),
           "position_ids": np.arange(len(ids), dtype=np.int64)[None]}
  names = {info.name for info in session.inputs}
  feeds = {name: value for name, value in feeds.items() if name in names}
  for info in session.inputs:
    if info.name.startswith("past_key_values."):
      _, heads, _, head = info.shape
      feeds[info.name] = np.zeros((1, heads, 0, head), info.dtype)
  return session.run(feeds, ["logits"])["logits"][0, -rows:].astype(np.float64)


def one_by_one(tern, model, ids, rows):
  """The same with the session's own cache: all but the last tokens in one run, then each in a run of its own."""
  session = tern.Session(model, kv_cache=True, context_length=len(ids))
  names = {info.name for info in session.inputs}
  def step(tokens):
    feeds = {"input_ids": np.array([tokens], np.int64)}
    if "position_ids" in names:  # some graphs compute positions themselves, others ask for them
      start = session.kv_length
      feeds["position_ids"] = np.arange(start, start + len(tokens), dtype=np.int64)[None]
    return session.run(feeds, ["logits"])["logits"][0, -1]
  step(ids[:-rows])
  return np.stack([step([token]) for token in ids[-rows:]]).astype(np.float64)


def row_cosines(a, b):
  return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def against_committed(got, top):
  """(least cosine by the sketches, largest difference among the values of the best tokens)."""
  got = got[-len(top):]
  bound = least_cosine(got, np.array([t["sketch"] for t in top]), np.array([t["norm"] for t in top]))
  apart = max(np.abs(row[t["ids"]] - t["values"]).max() for row, t in zip(got, top))
  return bound.min(), apart


def check_prompt(tern, model, name, prompt, saved):
  """(whether it holds, what to say)."""
  wanted = np.load(saved).astype(np.float64) if os.path.exists(saved) else None
  rows = len(prompt["top"]) if wanted is None else len(wanted)
  got = all_at_once(tern, model, prompt["ids"], rows)
  cached = one_by_one(tern, model, prompt["ids"], len(prompt["top"]))
  (bound, apart), (cached_bound, cached_apart) = (against_committed(g, prompt["top"]) for g in (got, cached))
  # A row that differs by a cosine of LEAST lies sqrt(2 (1 - LEAST)) of its norm away; no one value may lie further.
  most = min(t["norm"] for t in prompt["top"]) * (2 * (1 - LEAST)) ** 0.5
  facts = [f"cosine at least {bound:.6f}, one by one over the cache {cached_bound:.6f}",
           f"best 20 apart {apart:.4f}, {cached_apart:.4f}"]
  cosines = [bound, cached_bound]
  if wanted is not None:
    centred = row_cosines(got - got.mean(-1, keepdims=True), wanted - wanted.mean(-1, keepdims=True)).min()
    cosines.append(row_cosines(got, wanted).min())
    facts.append(f"all {rows} rows {cosines[-1]:.6f}, centred {centred:.6f}, "
                 f"largest difference {abs(got - wanted).max():.4f}")
  facts.append(f"the oracle's own cosine is {prompt['oracle_cosine_min']:.6f}")
  return min(cosines) >= LEAST and max(apart, cached_apart) <= most, "; ".join(facts)


def check_logits(report, name, path, dtype, golden):
  try:
    import tern
    model = tern.Model(path, dtype=dtype)
  except Exception as error:  # whatever a broken package raises is this test's finding
    report.add("FAIL", name, "logits", f"cannot open by the Python package: {error}")
    return
  for prompt in golden["prompts"]:
    saved = os.path.join(CACHE, "golden", f"logits_{golden['model']}_{prompt['name']}.npy")
    try:
      held, detail = check_prompt(tern, model, name, prompt, saved)
    except Exception as error:
      held, detail = False, f"no logits: {error}"
    report.add("pass" if held else "FAIL", name, prompt["name"], detail)
