#!/usr/bin/env python3
"""Writes a language model of a billion parameters with random weights into the cache: random-1B-Q4_0.gguf (606 MB).

Speed depends on the shapes and on the format, not on what the weights say, and no such model can be had from the
package registries. The shape is that of a Llama with 16 layers; tokenizer and chat template are those of SmolLM2's
file. Weights are spread as a trained model's are (a product keeps the size of its input), so that numbers neither
vanish nor overflow on the way. The bits come from a generator whose stream NumPy keeps the same in all versions:
the file is checked by its hash.

  make_random_1b.py [--force]

Needs venv.sh's Python and fetch_models.py --only smollm2. Takes 15 seconds.
"""
import argparse
import os
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter

from fetch_models import CACHE, sha256_of

SOURCE = os.path.join(CACHE, "SmolLM2-135M-Instruct-Q4_1.gguf")
TARGET = os.path.join(CACHE, "random-1B-Q4_0.gguf")
SIZE, SHA256 = 606027808, "334be0df9afb9d448ae70af26d8fc7fbbe68ae3047b264df9173e3918a8a678b"
LAYERS, WIDTH, HEADS, KV_HEADS, FF, CONTEXT = 16, 2048, 32, 8, 8192, 8192
HEAD = WIDTH // HEADS
BLOCK, BLOCK_BYTES = 32, 18  # Q4_0: a float16 scale and 32 integers of -8 to 7
# Two integers in a byte, 8 stands for 0. What would be -8 becomes 0: integers whose mean is not 0 would give all rows
# a common direction, and the model one token, whatever it reads.
CENTRED = np.array([(b // 16 or 8) * 16 + (b % 16 or 8) for b in range(256)], np.uint8)
DEVIATION = 4.18  # of the integers
SEED = 1


def copy_tokenizer(reader, writer):
  """Returns the number of tokens."""
  count = 0
  for key, field in reader.fields.items():
    if not key.startswith("tokenizer."):
      continue
    value = field.contents()
    if field.types[0] == GGUFValueType.ARRAY:
      writer.add_array(key, value)
      count = len(value) if key == "tokenizer.ggml.tokens" else count
    else:
      writer.add_key_value(key, value, field.types[0])
  return count


def q4_0(bits, rows, columns):
  """[rows, columns / 32 * 18] bytes of a product that keeps the size of its input."""
  n = rows * columns // BLOCK
  blocks = np.empty((n, BLOCK_BYTES), np.uint8)
  blocks[:, 2:] = CENTRED[bits.random_raw(n * 2).view(np.uint8)].reshape(n, 16)
  uniform = (bits.random_raw(n) >> np.uint64(11)).astype(np.float64) * 2.0 ** -53
  scales = (0.75 + 0.5 * uniform) / (DEVIATION * np.sqrt(columns))
  blocks[:, :2] = scales.astype("<f2").view(np.uint8).reshape(n, 2)
  return blocks.reshape(rows, -1)


def write(path):
  writer, bits = GGUFWriter(path, "llama"), np.random.PCG64(SEED)
  writer.add_name("random 1B")
  writer.add_context_length(CONTEXT)
  writer.add_embedding_length(WIDTH)
  writer.add_block_count(LAYERS)
  writer.add_feed_forward_length(FF)
  writer.add_head_count(HEADS)
  writer.add_head_count_kv(KV_HEADS)
  writer.add_layer_norm_rms_eps(1e-5)
  writer.add_rope_dimension_count(HEAD)
  writer.add_rope_freq_base(10000.0)
  vocabulary = copy_tokenizer(GGUFReader(SOURCE), writer)

  def product(name, rows, columns):
    writer.add_tensor(name + ".weight", q4_0(bits, rows, columns), raw_dtype=GGMLQuantizationType.Q4_0)

  def norm(name):
    writer.add_tensor(name + ".weight", np.ones(WIDTH, np.float32))

  product("token_embd", vocabulary, WIDTH)  # also the output matrix, as in SmolLM2's file
  for i in range(LAYERS):
    layer = f"blk.{i}."
    norm(layer + "attn_norm")
    product(layer + "attn_q", WIDTH, WIDTH)
    product(layer + "attn_k", KV_HEADS * HEAD, WIDTH)
    product(layer + "attn_v", KV_HEADS * HEAD, WIDTH)
    product(layer + "attn_output", WIDTH, WIDTH)
    norm(layer + "ffn_norm")
    product(layer + "ffn_gate", FF, WIDTH)
    product(layer + "ffn_up", FF, WIDTH)
    product(layer + "ffn_down", WIDTH, FF)
  norm("output_norm")
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--force", action="store_true", help="write again what is there")
  args = parser.parse_args()
  # It is put in place whole and checked, so the size tells.
  if not args.force and os.path.isfile(TARGET) and os.path.getsize(TARGET) == SIZE:
    return print(TARGET)
  if not os.path.isfile(SOURCE):
    sys.exit(f"make_random_1b.py: {SOURCE} is missing\n  try: fetch_models.py --only smollm2")
  part = TARGET + ".part"
  write(part)
  size, digest = os.path.getsize(part), sha256_of(part)
  if (size, digest) != (SIZE, SHA256):
    os.remove(part)
    sys.exit(f"make_random_1b.py: {TARGET} came to {size} bytes and SHA-256 {digest}, pinned are {SIZE} and {SHA256}\n"
             "  try: tests/models/venv.sh, for the pinned gguf and numpy, then this again with its Python")
  os.replace(part, TARGET)
  print(TARGET)


if __name__ == "__main__":
  main()
