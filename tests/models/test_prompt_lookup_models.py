#!/usr/bin/env python3
"""Prompt lookup on SmolLM2 (Q4_1): texts that repeat themselves and texts that don't give the tokens of plain decoding, and
where they repeat themselves drafts are accepted. Closes with 'N passed, N failed'; 77 where the model is missing.

A draft's rows are summed in another order than single ones (docs/numerics.md). Where tokens part, plain decoding's two must
have logits closer than TIE, several times what test_parity.py sees between orders of summation."""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bindings", "python"))
import numpy as np  # noqa: E402
from fetch_models import CACHE  # noqa: E402

import tern  # noqa: E402

GGUF = os.path.join(CACHE, "SmolLM2-135M-Instruct-Q4_1.gguf")
TIE = 0.05
LIST = """Copy this list exactly, then stop.
- apple pie with cinnamon
- banana bread with walnuts
- cherry cake with almonds
- lemon tart with meringue
- walnut brownies with cream"""
SENTENCE = """Repeat the following text exactly:
The old lighthouse keeper climbed the spiral stairs every evening to light the great lamp, and every morning he climbed \
down again to sleep."""
CODE = """def area_of_square(side):
  result = side * side
  return result

def area_of_rectangle(width, height):
  result = width * height
  return result

def area_of_triangle(base, height):
"""
STORY = "Once upon a time there was a small fox who"
# name, prompt, through the chat template, new tokens, at least so many of them accepted with drafts of 10
CASES = [("list", LIST, True, 60, 16), ("sentence", SENTENCE, True, 60, 12), ("code", CODE, False, 96, 20),
         ("story", STORY, False, 96, 0)]
# Of the first two some end with the end token within a draft (3 and 10 tokens) and some behind one.
LENGTHS = (1, 3, 4, 7, 10, 16, 40)


def tie(pipe, text, chat, plain, drafted):
  """Whether the logits that plain decoding compares where the two part are as good as equal."""
  at = next((i for i, (a, b) in enumerate(zip(plain, drafted)) if a != b), min(len(plain), len(drafted)))
  if at >= len(plain) or at >= len(drafted):
    return False
  tokenizer = pipe.tokenizer
  message = [{"role": "user", "content": text}]
  prompt = tokenizer.apply_chat_template(message, tokenize=True) if chat else tokenizer.encode(text)
  ids = np.array([prompt + plain[:at]], np.int64)
  with tern.Session(GGUF, context_length=1024, kv_cache=True) as session:
    feed = {"input_ids": ids, "position_ids": np.arange(ids.shape[1])[None], "attention_mask": np.ones_like(ids)}
    logits = session.run({i.name: feed[i.name] for i in session.inputs})["logits"][0, -1]
  gap = abs(float(logits[plain[at]] - logits[drafted[at]]))
  print(f"      token {at}: {plain[at]} or {drafted[at]}, {gap:.4f} apart")
  return gap < TIE


def main():
  if not os.path.exists(GGUF):
    print(f"skipped: {GGUF} is missing; try: tests/models/fetch_models.py")
    sys.exit(77)
  results = []
  with tern.pipeline("text-generation", GGUF, context_length=1024) as pipe:
    for name, text, chat, new_tokens, least in CASES:
      prompt = [{"role": "user", "content": text}] if chat else text

      def run(num, ngram=0):
        return pipe(prompt, max_new_tokens=new_tokens, prompt_lookup_num_tokens=num, max_matching_ngram_size=ngram,
                    return_result=True)
      plain = run(0)
      for num, ngram in [(num, 0) for num in LENGTHS] + [(10, 1), (10, 4)]:
        result = run(num, ngram)
        t, tokens = result.timings, result.tokens()
        same = tokens == plain.tokens() and result.finish_reason() == plain.finish_reason()
        good = same or tie(pipe, text, chat, plain.tokens(), tokens)
        if same and (num, ngram) == (10, 0):
          good = good and t.n_accepted_tokens >= least
        print(f"{'pass' if good else 'FAIL'}  {name}, drafts of {num}{f', n-grams of {ngram}' if ngram else ''}: "
              f"{len(tokens)} tokens, {result.finish_reason()}, {t.n_accepted_tokens} of {t.n_drafted_tokens} accepted"
              f"{'' if same else '; other tokens than without'}", flush=True)
        results.append(good)
  print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
  sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
  main()
