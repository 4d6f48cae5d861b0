#!/usr/bin/env python3
"""Writes the seeds of fuzz_gguf into corpus/gguf: the smallest models that load, with and without each optional part, and
ones that a reader could trip over. All weights are zero; what matters is the structure."""
import os
import struct

import numpy as np
from gguf import GGUFWriter

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "gguf")


def model(name, arch, tied, edit=None, scalar_heads=True):
  w = GGUFWriter(os.path.join(OUT, name), arch)
  width, ff, vocabulary = 4, 4, 3
  w.add_block_count(1)
  w.add_context_length(16)
  w.add_embedding_length(width)
  w.add_feed_forward_length(ff)
  w.add_head_count(2 if scalar_heads else [2])
  w.add_layer_norm_rms_eps(1e-5)
  w.add_tokenizer_model("llama")
  w.add_token_list(["<unk>", "a", "b"])
  w.add_token_scores([0.0, -1.0, -2.0])
  w.add_token_types([2, 1, 1])
  zero = lambda *shape: np.zeros(shape, np.float32)
  w.add_tensor("token_embd.weight", zero(vocabulary, width))
  w.add_tensor("output_norm.weight", zero(width))
  if not tied:
    w.add_tensor("output.weight", zero(vocabulary, width))
    w.add_tensor("rope_freqs.weight", np.ones(1, np.float32))
    w.add_tensor("blk.0.attn_q.bias", zero(width))
  names = {"attn_norm": (width,), "attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width), "attn_output": (width, width),
           "ffn_norm": (width,), "ffn_gate": (ff, width), "ffn_up": (ff, width), "ffn_down": (width, ff)}
  if arch in ("gemma3", "qwen3"):
    names.update({"attn_q_norm": (width // 2,), "attn_k_norm": (width // 2,)})
  if arch == "gemma3":
    names.update({"post_attention_norm": (width,), "post_ffw_norm": (width,)})
  for key, shape in names.items():
    w.add_tensor(f"blk.0.{key}.weight", zero(*shape))
  if edit:
    edit(w)
  w.write_header_to_file()
  w.write_kv_data_to_file()
  w.write_tensors_to_file()
  w.close()


def raw(name, data):
  with open(os.path.join(OUT, name), "wb") as f:
    f.write(data)


def main():
  os.makedirs(OUT, exist_ok=True)
  model("llama_tied", "llama", True)
  model("llama_untied", "llama", False, scalar_heads=False)
  model("qwen2", "qwen2", False)
  model("qwen3", "qwen3", True)
  model("gemma3", "gemma3", True, lambda w: w.add_sliding_window(2))
  model("gemma3_scaled", "gemma3", True, lambda w: (w.add_string("gemma3.rope.scaling.type", "linear"), w.add_float32("gemma3.rope.scaling.factor", 8.0)))
  model("llama_yarn", "llama", True, lambda w: w.add_string("llama.rope.scaling.type", "yarn"))
  model("llama_experts", "llama", True, lambda w: w.add_expert_count(8))
  model("unknown_architecture", "mamba", True)
  header = lambda tensors, entries: b"GGUF" + struct.pack("<IQQ", 3, tensors, entries)
  text = lambda t: struct.pack("<Q", len(t)) + t
  raw("empty", b"")
  raw("header_only", header(0, 0))
  raw("big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
  raw("many_tensors", header(2 ** 64 - 1, 0) + bytes(64))
  raw("many_entries", header(0, 2 ** 63) + bytes(64))
  raw("deep_array", header(0, 1) + text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 64)
  raw("wide_array", header(0, 1) + text(b"a") + struct.pack("<IIQ", 9, 12, 2 ** 61 + 1) + bytes(64))
  raw("overflowing_dims", header(1, 0) + text(b"t") + struct.pack("<IQQIQ", 2, 2 ** 40, 2 ** 40, 0, 0) + bytes(64))


if __name__ == "__main__":
  main()
