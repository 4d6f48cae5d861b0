#!/usr/bin/env python3
"""Tests of the parity runner's own judgement: it must be able to fail."""
import unittest

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

  def test_stopping_early_or_late_differs(self):
    self.assertEqual(verdict([5]), "DIFFERS")
    self.assertEqual(verdict([]), "DIFFERS")
    self.assertEqual(verdict([5, 6, 7, 12, 13]), "DIFFERS")


class Vectors(unittest.TestCase):
  def test_shapes(self):
    for answer in ([[1, 2]], [[[1, 2]]], [1, 2], {"dims": [1, 2], "data": [1, 2]}, {"embeddings": [[1, 2]]}):
      self.assertEqual(vectors_of(answer), [[1, 2]])


if __name__ == "__main__":
  unittest.main()
