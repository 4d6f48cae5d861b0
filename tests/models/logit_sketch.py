"""Sketches of rows of logits: what lets a machine without the rows bound how far its own are from them.

A sketch of a row w is its products with 64 rows of random signs. They are the same in every run (the raw output of a
PCG64, which numpy keeps stable). For any rows v and w, |sketch(v) - sketch(w)|^2 / 64 estimates |v - w|^2: it is a
sum of 64 squares, each of that mean (Johnson and Lindenstrauss 1984; Achlioptas 2003 for signs), and comes out below
half the true value in 3 of 10,000 cases. The rest is geometry: cos(v, w) = (|v|^2 + |w|^2 - |v - w|^2) / (2 |v| |w|)."""
import numpy as np

SIZE = 64
SEED = 20240917


def signs(width):
  """float32 [width, SIZE] of +1 and -1: a 64-bit word of the generator for each column of logits."""
  words = np.random.PCG64(SEED).random_raw(width).astype("<u8")
  bits = np.unpackbits(words.view(np.uint8).reshape(width, 8), axis=1, bitorder="little")
  return bits.astype(np.float32) * 2 - 1


def sketch(rows):
  return rows.astype(np.float64) @ signs(rows.shape[1]).astype(np.float64)


def least_cosine(rows, sketches, norms):
  """Of each row to the one that its sketch and norm stand for: no lower than this but in 3 of 10,000 cases."""
  squared = 2 * ((sketch(rows) - sketches) ** 2).mean(-1)
  own = np.linalg.norm(rows.astype(np.float64), axis=-1)
  return (own ** 2 + norms ** 2 - squared) / (2 * own * norms)
