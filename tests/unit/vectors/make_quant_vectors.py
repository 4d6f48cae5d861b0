#!/usr/bin/env python3
"""Writes quants.bin: blocks of every GGUF type that tern reads and what Python's gguf.quants.dequantize makes of them.

Record: uint32 tern_dtype, uint32 elements, uint32 bytes, the bytes, the elements as float32. The scales are random finite
halves (subnormal ones too), everything else in a block is random bits, so that every bit of the layout matters.
"""
import os
import struct

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Q
from gguf.quants import dequantize

# type: (tern_dtype of tern.h, byte offsets of the block's halves)
TYPES = {Q.F32: (1, None), Q.F16: (2, None), Q.BF16: (3, None), Q.Q4_0: (32, [0]), Q.Q4_1: (33, [0, 2]), Q.Q5_0: (34, [0]),
         Q.Q5_1: (35, [0, 2]), Q.Q8_0: (36, [0]), Q.Q4_K: (37, [0, 2]), Q.Q5_K: (38, [0, 2]), Q.Q6_K: (39, [208])}
ELEMENTS = 512


def main():
  rng = np.random.default_rng(20261123)
  path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "quants.bin")
  with open(path, "wb") as f:
    for kind, (dtype, halves) in TYPES.items():
      block, size = GGML_QUANT_SIZES[kind]
      if halves is None:
        values = rng.standard_normal(ELEMENTS).astype(np.float32)
        raw = {Q.F32: values, Q.F16: (values * 2.0 ** rng.integers(-24, 8, ELEMENTS)).astype(np.float16),
               Q.BF16: (values.view(np.uint32) >> 16).astype(np.uint16)}[kind].view(np.uint8).reshape(1, -1)
      else:
        raw = rng.integers(0, 256, (ELEMENTS // block, size), dtype=np.uint8)
        for at in halves:
          scale = (rng.standard_normal(len(raw)) * 2.0 ** rng.integers(-22, 4, len(raw))).astype(np.float16)
          raw[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
      expected = dequantize(raw.reshape(1, -1), kind).astype(np.float32).reshape(-1)
      assert expected.size == ELEMENTS and np.isfinite(expected).all()
      f.write(struct.pack("<III", dtype, ELEMENTS, raw.size) + raw.tobytes() + expected.tobytes())


if __name__ == "__main__":
  main()
