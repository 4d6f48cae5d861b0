#!/usr/bin/env python3
"""Writes tiny random models, tiny_<architecture>.gguf, and beside each `<name>.logits`: the prompt's ids
(uint32 count, then int32 each) and float32 logits [count, vocabulary] computed here in float64 from the papers' formulas;
and `<name>.greedy`: the tokens that greedy decoding appends to the prompt in float64, each (int32) with the gap (float32)
between the two best logits of its step.

  make_tiny_gguf.py                         writes the files
  make_tiny_gguf.py --llama-cpp DIR         also compares the logits with llama.cpp's (DIR is its source tree, with
                                            libllama.so in bin/, build/bin/ or itself)
  make_tiny_gguf.py --f32 --llama-cpp DIR   compares with float32 weights, in a scratch folder; writes nothing here

The files load in llama.cpp, too: that is the check that they and the formulas here mean what everybody else's do.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGMLQuantizationType as Q, GGUFWriter
from gguf.quants import dequantize, quantize

HERE = os.path.dirname(os.path.abspath(__file__))
VOCABULARY, WIDTH = 64, 64
PROMPT = [1, 17, 5, 42, 63, 9, 9, 30, 2, 51, 26, 11]
GREEDY = 64


class Model:
  folder, all_f32 = HERE, False

  def __init__(self, arch, seed):
    self.rng, self.path = np.random.default_rng(seed), os.path.join(self.folder, f"tiny_{arch}.gguf")
    self.w, self.writer, self.arch = {}, GGUFWriter(self.path, arch), arch
    self.writer.add_name(f"tiny random {arch}")
    self.writer.add_context_length(128)
    self.writer.add_embedding_length(WIDTH)

  def tensor(self, name, shape, kind, scale=None, offset=0.0):
    kind = Q.F32 if self.all_f32 else kind
    value = self.rng.standard_normal(shape) * (shape[-1] ** -0.5 if scale is None else scale) + offset
    data = quantize(value.astype(np.float32), kind)
    self.writer.add_tensor(name, data, raw_dtype=kind)
    self.w[name] = dequantize(data, kind).astype(np.float64).reshape(shape)

  def vocabulary(self):
    """A byte-level BPE of printable characters; 0, 1, 2 are special."""
    tokens = ["<unk>", "<s>", "</s>"] + [chr(c) for c in range(ord("!"), ord("!") + VOCABULARY - 5)] + ["%&", "%&'"]
    w = self.writer
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([2, 3, 3] + [1] * (VOCABULARY - 3))
    w.add_token_merges(["% &", "%& '"])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")

  def save(self, forward):
    logits = forward(PROMPT)
    self.writer.write_header_to_file()
    self.writer.write_kv_data_to_file()
    self.writer.write_tensors_to_file()
    self.writer.close()
    with open(self.path.replace(".gguf", ".logits"), "wb") as f:
      f.write(np.uint32(len(PROMPT)).tobytes() + np.array(PROMPT, np.int32).tobytes() + logits.astype(np.float32).tobytes())
    tokens, last = [], logits[-1]
    with open(self.path.replace(".gguf", ".greedy"), "wb") as f:
      while len(tokens) < GREEDY:
        second, best = np.sort(last)[-2:]
        tokens.append(int(last.argmax()))
        f.write(np.int32(tokens[-1]).tobytes() + np.float32(best - second).tobytes())
        last = forward(PROMPT + tokens)[-1]
    return logits


def rms(x, w, epsilon=1e-5):
  return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * w


def rotate(x, base, interleaved, factors=1.0):
  """x [S, heads, D]"""
  s, _, d = x.shape
  angle = np.arange(s)[:, None] * base ** (-np.arange(0, d, 2) / d) / factors
  cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
  a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :d // 2], x[..., d // 2:])
  a, b = a * cos - b * sin, b * cos + a * sin
  return np.stack([a, b], -1).reshape(x.shape) if interleaved else np.concatenate([a, b], -1)


def attend(q, k, v, window=None):
  """q [S, H, D], k and v [S, Hkv, D] -> [S, H D]"""
  s, heads, d = q.shape
  k, v = (np.repeat(t, heads // t.shape[1], 1) for t in (k, v))
  scores = np.einsum("shd,thd->hst", q, k) / np.sqrt(d)
  distance = np.arange(s)[:, None] - np.arange(s)[None]
  scores[:, (distance < 0) | (distance >= (window or s))] = -np.inf
  p = np.exp(scores - scores.max(-1, keepdims=True))
  return np.einsum("hst,thd->shd", p / p.sum(-1, keepdims=True), v).reshape(s, -1)


def like_llama(arch, seed, interleaved, biases, head_norms, tied, factors):
  layers, heads, kv_heads, ff, base = 2, 4, 2, 128, 10000.0
  d = 32 if head_norms else WIDTH // heads  # heads need not divide the width
  m = Model(arch, seed)
  w = m.writer
  w.add_block_count(layers)
  w.add_feed_forward_length(ff)
  w.add_head_count(heads)
  w.add_head_count_kv(kv_heads)
  w.add_layer_norm_rms_eps(1e-5)
  w.add_rope_freq_base(base)
  w.add_rope_dimension_count(d)
  if head_norms:
    w.add_key_length(d)
    w.add_value_length(d)
  m.vocabulary()
  m.tensor("token_embd.weight", (VOCABULARY, WIDTH), Q.Q8_0, 1.0)
  m.tensor("output_norm.weight", (WIDTH,), Q.F32, 0.1, 1.0)
  if not tied:
    m.tensor("output.weight", (VOCABULARY, WIDTH), Q.F16)
  if factors is not None:
    m.writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
  for i in range(layers):
    b = f"blk.{i}."
    for name, shape, kind in (("attn_norm", (WIDTH,), Q.F32), ("attn_q", (heads * d, WIDTH), Q.Q4_0), ("attn_k", (kv_heads * d, WIDTH), Q.Q5_1),
                              ("attn_v", (kv_heads * d, WIDTH), Q.BF16), ("attn_output", (WIDTH, heads * d), Q.Q5_0), ("ffn_norm", (WIDTH,), Q.F32),
                              ("ffn_gate", (ff, WIDTH), Q.Q4_1), ("ffn_up", (ff, WIDTH), Q.Q4_0), ("ffn_down", (WIDTH, ff), Q.F32 if i else Q.Q8_0)):
      m.tensor(b + name + ".weight", shape, kind, *((0.1, 1.0) if len(shape) == 1 else ()))
    for name in ("attn_q_norm", "attn_k_norm") if head_norms else ():
      m.tensor(b + name + ".weight", (d,), Q.F32, 0.1, 1.0)
    for name in biases:
      m.tensor(b + name + ".bias", (m.w[b + name + ".weight"].shape[0],), Q.F32, 0.1)
  t = m.w
  bias = lambda name: t.get(name + ".bias", 0.0)

  def forward(tokens):
    s = len(tokens)
    x = t["token_embd.weight"][tokens]
    for i in range(layers):
      b = f"blk.{i}."
      h = rms(x, t[b + "attn_norm.weight"])
      q, k, v = ((h @ t[f"{b}attn_{n}.weight"].T + bias(f"{b}attn_{n}")).reshape(s, -1, d) for n in "qkv")
      if head_norms:
        q, k = rms(q, t[b + "attn_q_norm.weight"]), rms(k, t[b + "attn_k_norm.weight"])
      q, k = (rotate(a, base, interleaved, 1.0 if factors is None else np.array(factors)) for a in (q, k))
      x = x + attend(q, k, v) @ t[b + "attn_output.weight"].T + bias(b + "attn_output")
      h = rms(x, t[b + "ffn_norm.weight"])
      gate = h @ t[b + "ffn_gate.weight"].T
      x = x + (gate / (1 + np.exp(-gate)) * (h @ t[b + "ffn_up.weight"].T)) @ t[b + "ffn_down.weight"].T
    return rms(x, t["output_norm.weight"]) @ t["token_embd.weight" if tied else "output.weight"].T

  return m.path, m.save(forward)


def llama():
  return like_llama("llama", 1, True, ("attn_q", "attn_k", "attn_v", "attn_output"), False, False, (1, 1, 1, 1, 1.5, 2.5, 8, 8))


def qwen2():
  return like_llama("qwen2", 3, False, ("attn_q", "attn_k", "attn_v"), False, False, None)


def qwen3():
  return like_llama("qwen3", 4, False, (), True, True, None)


def gemma3():
  layers, heads, kv_heads, d, ff, window, period = 4, 2, 1, 32, 96, 4, 3
  m = Model("gemma3", 2)
  w = m.writer
  w.add_block_count(layers)
  w.add_feed_forward_length(ff)
  w.add_head_count([heads] * layers)  # an array that says the same for each layer
  w.add_head_count_kv(kv_heads)
  w.add_key_length(d)
  w.add_value_length(d)
  w.add_layer_norm_rms_eps(1e-6)
  w.add_rope_freq_base(1000000.0)
  w.add_sliding_window(window)
  w.add_uint32("gemma3.attention.sliding_window_pattern", period)
  w.add_float32("gemma3.rope.scaling.factor", 8.0)
  w.add_string("gemma3.rope.scaling.type", "linear")
  m.vocabulary()
  m.tensor("token_embd.weight", (VOCABULARY, WIDTH), Q.Q8_0, 0.2)
  m.tensor("output_norm.weight", (WIDTH,), Q.F32, 0.1, 1.0)
  for i in range(layers):
    b = f"blk.{i}."
    for name, shape, kind in (("attn_norm", (WIDTH,), Q.F32), ("attn_q", (heads * d, WIDTH), Q.Q5_0), ("attn_q_norm", (d,), Q.F32),
                              ("attn_k", (kv_heads * d, WIDTH), Q.Q5_0), ("attn_k_norm", (d,), Q.F32), ("attn_v", (kv_heads * d, WIDTH), Q.Q8_0),
                              ("attn_output", (WIDTH, heads * d), Q.Q4_1), ("post_attention_norm", (WIDTH,), Q.F32), ("ffn_norm", (WIDTH,), Q.F32),
                              ("ffn_gate", (ff, WIDTH), Q.Q5_1), ("ffn_up", (ff, WIDTH), Q.Q4_0), ("ffn_down", (WIDTH, ff), Q.Q4_1),
                              ("post_ffw_norm", (WIDTH,), Q.F32)):
      m.tensor(b + name + ".weight", shape, kind, *((0.1, 1.0) if len(shape) == 1 else ()))
  t = m.w

  def forward(tokens):
    s = len(tokens)
    x = t["token_embd.weight"][tokens] * np.sqrt(WIDTH)
    for i in range(layers):
      b, local = f"blk.{i}.", i % period < period - 1
      h = rms(x, t[b + "attn_norm.weight"], 1e-6)
      q, k, v = ((h @ t[f"{b}attn_{n}.weight"].T).reshape(s, -1, d) for n in "qkv")
      q, k = (rotate(rms(a, t[f"{b}attn_{n}_norm.weight"], 1e-6), 1e4 if local else 1e6, False, 1.0 if local else 8.0) for a, n in ((q, "q"), (k, "k")))
      h = attend(q, k, v, window if local else None) @ t[b + "attn_output.weight"].T
      x = x + rms(h, t[b + "post_attention_norm.weight"], 1e-6)
      h = rms(x, t[b + "ffn_norm.weight"], 1e-6)
      gate = h @ t[b + "ffn_gate.weight"].T
      gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate ** 3)))
      h = (gate * (h @ t[b + "ffn_up.weight"].T)) @ t[b + "ffn_down.weight"].T
      x = x + rms(h, t[b + "post_ffw_norm.weight"], 1e-6)
    return rms(x, t["output_norm.weight"], 1e-6) @ t["token_embd.weight"].T

  return m.path, m.save(forward)


PROGRAM = r"""
#include "llama.h"
#include <stdio.h>
#include <stdlib.h>
static void quiet(enum ggml_log_level l, const char *t, void *u) { (void)u; if (l >= GGML_LOG_LEVEL_ERROR) fputs(t, stderr); }
int main(int n, char **v) {
  llama_log_set(quiet, NULL);
  struct llama_model *m = llama_model_load_from_file(v[1], llama_model_default_params());
  struct llama_context_params p = llama_context_default_params();
  p.n_ctx = 128, p.n_threads = p.n_threads_batch = 2, p.type_k = p.type_v = GGML_TYPE_F32, p.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  struct llama_context *c = m ? llama_init_from_model(m, p) : NULL;
  if (!c) return 1;
  struct llama_batch b = llama_batch_init(n, 0, 1);
  for (int i = 2; i < n; i++) {
    int at = b.n_tokens++;
    b.token[at] = atoi(v[i]), b.pos[at] = at, b.n_seq_id[at] = 1, b.seq_id[at][0] = 0, b.logits[at] = 1;
  }
  if (llama_decode(c, b)) return 2;
  for (int i = 0; i < b.n_tokens; i++)
    fwrite(llama_get_logits_ith(c, i), sizeof(float), llama_vocab_n_tokens(llama_model_get_vocab(m)), stdout);
  return 0;
}
"""


def compare(directory, path, logits):
  """llama.cpp rounds activations to 8 bits before quantized weights, which is what the difference shows."""
  with tempfile.TemporaryDirectory() as temp:
    source, program = os.path.join(temp, "logits.c"), os.path.join(temp, "logits")
    with open(source, "w", encoding="utf-8") as f:
      f.write(PROGRAM)
    includes = [f"-I{os.path.join(directory, i)}" for i in ("include", "ggml/include")]
    lib = next(d for d in (directory, f"{directory}/bin", f"{directory}/build/bin") if os.path.exists(f"{d}/libllama.so"))
    subprocess.run(["gcc", source, "-o", program, *includes, f"-L{lib}", f"-Wl,-rpath,{lib}", "-lllama", "-lggml", "-lggml-base"], check=True)
    raw = subprocess.run([program, path, *map(str, PROMPT)], check=True, stdout=subprocess.PIPE).stdout
  other = np.frombuffer(raw, np.float32).reshape(logits.shape).astype(np.float64)
  cosine = (other * logits).sum(-1) / np.linalg.norm(other, axis=-1) / np.linalg.norm(logits, axis=-1)
  print(f"{os.path.basename(path)}: cosine with llama.cpp, least of {len(cosine)} positions: {cosine.min():.6f}, "
        f"largest difference {abs(other - logits).max():.4f} of {abs(logits).max():.2f}")
  if cosine.min() < (0.999999 if Model.all_f32 else 0.999):
    sys.exit("the logits disagree")


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--llama-cpp", metavar="DIR")
  parser.add_argument("--f32", action="store_true")
  args = parser.parse_args()
  if args.f32:
    Model.folder, Model.all_f32 = tempfile.mkdtemp(), True
  for build in (llama, gemma3, qwen2, qwen3):
    path, logits = build()
    print(f"{path}: {os.path.getsize(path)} bytes")
    if args.llama_cpp:
      compare(args.llama_cpp, path, logits)


if __name__ == "__main__":
  main()
