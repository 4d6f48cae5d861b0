#!/usr/bin/env python3
"""Tests of the parity runner's own judgement: it must be able to fail."""
import unittest

import numpy as np

from logit_sketch import least_cosine, sketch
from teacher_forced import LEAST, against_committed, row_cosines
from test_parity import judge, vectors_of

EXPECTED = {"tokens": [5, 6, 7, 2], "second": [9, 8, 2, 4], "gap": [1.0, 0.1, 0.3, 2.0],
            "reference_gap": [1.0, 0.2, -0.1, 2.0], "near": [[1, 33, 0.15, 0.3]]}


def verdict(tokens, bound=0.2, expected=EXPECTED):
  return judge(expected, tokens, bound, {0, 2})[0]


class Judge(unittest.TestCase):
  def test_equal_with_and_without_end_token(self):
    self.assertEqual(verdict([5, 6, 7, 2]), "equal")
    self.assertEqual(verdict([5, 6, 7]), "equal")

  def test_second_best_within_noise_is_a_tie(self):
    self.assertEqual(verdict([5, 8, 1, 1]), "tie")

  def test_third_best_within_noise_is_a_tie(self):
    self.assertEqual(verdict([5, 33, 1]), "tie")

  def test_second_best_with_a_clear_gap_differs(self):
    self.assertEqual(verdict([9, 6, 7]), "DIFFERS")
    self.assertEqual(verdict([5, 8, 1], bound=0.05), "DIFFERS")

  def test_a_gap_that_the_f16_cache_moves(self):
    close = dict(EXPECTED, gap=[0.004, 0.1, 0.3, 2.0])
    self.assertEqual(verdict([9, 1], bound=0.001, expected=close), "f16 cache")
    self.assertEqual(verdict([9, 1], bound=0.001), "DIFFERS")

  def test_another_token_differs_even_at_a_tie(self):
    self.assertEqual(verdict([5, 11, 7]), "DIFFERS")

  def test_the_reference_can_side_with_us(self):
    self.assertEqual(verdict([5, 6, 2]), "oracle off")  # an end token where the oracle went on

  def test_references_as_right_as_the_oracle_have_their_own_noise(self):
    def near_one(token, reference_bound):
      return judge(EXPECTED, [5, token, 7], 0.05, {0, 2}, reference_bound)[0]
    self.assertEqual(near_one(33, 0.3), "reference")
    self.assertEqual(near_one(33, 0.29), "DIFFERS")
    self.assertEqual(near_one(8, 0.2), "reference")
    self.assertEqual(near_one(11, 9.0), "DIFFERS")  # near nobody's best
    self.assertEqual(judge(EXPECTED, [5, 8, 7], 0.1, {0, 2}, 0.3)[0], "tie")
    self.assertEqual(judge(EXPECTED, [5, 6, 2], 0.1, {0, 2}, 0.3)[0], "oracle off")

  def test_stopping_early_or_late_differs(self):
    self.assertEqual(verdict([5]), "DIFFERS")
    self.assertEqual(verdict([]), "DIFFERS")
    self.assertEqual(verdict([5, 6, 7, 12, 13]), "DIFFERS")


class Vectors(unittest.TestCase):
  def test_shapes(self):
    for answer in ([[1, 2]], [[[1, 2]]], [1, 2], {"dims": [1, 2], "data": [1, 2]}, {"embeddings": [[1, 2]]}):
      self.assertEqual(vectors_of(answer), [[1, 2]])


class Sketch(unittest.TestCase):
  """What golden/logits_*.json holds of a row, rounded as there, against rows near it and further away."""

  def setUp(self):
    self.random = np.random.default_rng(1)
    self.wanted = self.random.normal(4, 6, (200, 49152))
    self.sketches = np.array([[float(f"{v:.7g}") for v in row] for row in sketch(self.wanted)])
    self.norms = np.linalg.norm(self.wanted, axis=-1)

  def moved(self, cosine):
    """Rows of that cosine to the wanted ones."""
    noise = self.random.normal(size=self.wanted.shape)
    noise -= self.wanted * ((noise * self.wanted).sum(-1) / self.norms ** 2)[:, None]
    angle = np.arccos(cosine)
    return self.wanted * np.cos(angle) + noise * (self.norms / np.linalg.norm(noise, axis=-1) * np.sin(angle))[:, None]

  def test_the_bound_is_below_the_cosine_and_not_far(self):
    for cosine in (0.999999, 0.99995, 0.9999, 0.99, 0.9):
      rows = self.moved(cosine)
      np.testing.assert_allclose(row_cosines(rows, self.wanted), cosine, atol=1e-9)
      bound = least_cosine(rows, self.sketches, self.norms)
      self.assertLessEqual((bound > cosine).mean(), 0.01, f"bounds that do not hold at {cosine}")
      self.assertGreater(bound.min(), 1 - 4.5 * (1 - cosine), f"bounds that say nothing at {cosine}")

  def test_what_is_a_little_too_far_is_found(self):
    bound = least_cosine(self.moved(1 - 2 * (1 - LEAST)), self.sketches, self.norms)
    self.assertTrue((bound < LEAST).all())
    self.assertTrue((least_cosine(self.wanted * 1.01, self.sketches, self.norms) > 0.9998).all(), "length is no angle")

  def test_one_wrong_value_among_the_best_is_seen(self):
    top = [{"ids": np.argsort(-row)[:20].tolist(), "sketch": s, "norm": n}
           for row, s, n in zip(self.wanted, self.sketches, self.norms)]
    for t, row in zip(top, self.wanted):
      t["values"] = row[t["ids"]].tolist()
    wrong = self.wanted.copy()
    wrong[7, top[7]["ids"][3]] += 5
    self.assertLess(against_committed(self.wanted, top)[1], 1e-9)
    self.assertAlmostEqual(against_committed(wrong, top)[1], 5)


if __name__ == "__main__":
  unittest.main()
