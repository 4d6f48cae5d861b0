"""Teacher-forced logits through the Python package: rows against the float32 reference that make_golden.py
left in the cache (golden/logits_MODEL_PROMPT.npy, the last rows of prompt + continuation). Part of
test_parity.py.

Two cosines a row: of the raw logits, at least 0.9999; and of the logits less their mean, which says more (an
offset common to all tokens changes no probability, yet it dominates the raw cosine)."""
import os

import numpy as np

from fetch_models import CACHE

LEAST = 0.9999


def forward(session, ids):
  """Logits [tokens, vocabulary] of a whole sequence, from empty caches of the declared types and shapes."""
  feeds = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, len(ids)), np.int64),
           "position_ids": np.arange(len(ids), dtype=np.int64)[None]}
  names = {info.name for info in session.inputs}
  feeds = {name: value for name, value in feeds.items() if name in names}
  for info in session.inputs:
    if info.name.startswith("past_key_values."):
      _, heads, _, head = info.shape
      feeds[info.name] = np.zeros((1, heads, 0, head), info.dtype)
  return session.run(feeds, ["logits"])["logits"][0].astype(np.float64)


def row_cosines(a, b):
  return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def check_logits(report, model, path, dtype, golden):
  try:
    import tern
    session = tern.Session(path, dtype=dtype)
  except Exception as error:  # whatever a broken package raises is this test's finding
    report.add("FAIL", model, "logits", f"cannot open by the Python package: {error}")
    return
  for prompt in golden["prompts"]:
    saved = os.path.join(CACHE, "golden", f"logits_{model}_{prompt['name']}.npy")
    if not os.path.exists(saved):
      report.add("skip", model, prompt["name"], f"{saved} is missing; try: make_golden.py {model}")
      continue
    wanted = np.load(saved).astype(np.float64)
    try:
      got = forward(session, prompt["ids"])[-len(wanted):]
    except Exception as error:
      report.add("FAIL", model, prompt["name"], f"no logits: {error}")
      continue
    raw = row_cosines(got, wanted).min()
    centred = row_cosines(got - got.mean(-1, keepdims=True), wanted - wanted.mean(-1, keepdims=True)).min()
    report.add(
      "pass" if raw >= LEAST else "FAIL", model, prompt["name"],
      f"logits cosine {raw:.6f}, centred {centred:.6f}, largest difference {abs(got - wanted).max():.4f}; "
      f"the oracle's own cosine is {prompt['oracle_cosine_min']:.6f}")
