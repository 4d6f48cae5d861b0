#!/usr/bin/env python3
"""Builds a Transformers.js folder of SmolLM2-135M-Instruct in the cache, from the GGUF that fetch_models.py
brings.

No ONNX form of a chat model can be had from the package registries, so the GGUF's weights are dequantized
(float32 holds Q4_1 and Q8_0 exactly but for rounding of d * q + m) and written in the op sets that published
folders use: llama.cpp and ONNX Runtime are then oracles for the same weights.

  onnx/model.onnx + model.onnx_data  fp32: GroupQueryAttention with rotary inside, tied embedding by a
                                     Transpose
  onnx/model_fp16.onnx       fp16: RotaryEmbedding nodes reading position_ids, then GroupQueryAttention; fp16
                             logits
  onnx/model_quantized.onnx  q8: ONNX Runtime's dynamic quantization (DynamicQuantizeLinear, MatMulInteger)
  onnx/model_q8.onnx         a link to it
  onnx/model_q4.onnx         MatMulNBits with zero points, packed QKV, GatherBlockQuantized embedding
  onnx/model_q4f16.onnx      the same, symmetric, fp16 between; fp16 cache, float32 logits
  onnx/model_plain.onnx      fp32 without contrib ops: Concat past, RoPE by Slice/Neg/Concat, Trilu mask,
                             repeat_kv by Expand, MatMul/Softmax, RMSNorm by Pow/ReduceMean (shares the data
                             file); it is also the model.onnx of a second folder,
                             SmolLM2-135M-Instruct-ONNX-plain
"""
import argparse
import json
import os
import sys
import tempfile

import numpy as np
from gguf import GGUFReader, dequantize
from onnx import TensorProto

from fetch_models import CACHE
from onnx_builder import FLOAT_TYPES, MS, GraphWriter, matmul_4bit, quantize_4bit

SOURCE = os.path.join(CACHE, "SmolLM2-135M-Instruct-Q4_1.gguf")
FOLDER = os.path.join(CACHE, "SmolLM2-135M-Instruct-ONNX")
LAYERS, HEADS, KV_HEADS, HEAD, WIDTH, FF, VOCABULARY = 30, 9, 3, 64, 576, 1536, 49152
EPSILON, ROPE_BASE, CONTEXT = 1e-5, 100000.0, 8192
BLOCK = 32


def field(reader, key):
  return reader.fields[key].contents()


def read_weights(reader):
  """The tensors under Hugging Face's names, float32, rotary halves in Hugging Face's order."""
  def unpermute(w, heads):
    # llama.cpp's converter interleaves the two rotary halves of each head's rows; this puts them back
    return w.reshape(heads, HEAD // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)
  tensors = {t.name: t for t in reader.tensors}
  def get(name):
    t = tensors[name]
    return np.ascontiguousarray(dequantize(t.data, t.tensor_type), dtype=np.float32)
  w = {"embed_tokens": get("token_embd.weight"), "norm": get("output_norm.weight")}
  for i in range(LAYERS):
    b, layer = f"blk.{i}.", f"layers.{i}."
    w[layer + "q_proj"] = unpermute(get(b + "attn_q.weight"), HEADS)
    w[layer + "k_proj"] = unpermute(get(b + "attn_k.weight"), KV_HEADS)
    for ours, theirs in (("v_proj", "attn_v"), ("o_proj", "attn_output"), ("gate_proj", "ffn_gate"),
                         ("up_proj", "ffn_up"), ("down_proj", "ffn_down"), ("input_layernorm", "attn_norm"),
                         ("post_attention_layernorm", "ffn_norm")):
      w[layer + ours] = get(f"{b}{theirs}.weight")
  return w


class LlamaWriter:
  """What both graph styles share: the inputs, the outputs, linear layers, the gated MLP."""

  def __init__(self, weights, dtype, opset, producer, microsoft, bits4=None, tied=True):
    self.w, self.dtype, self.bits4, self.tied = weights, np.dtype(dtype), bits4, tied
    self.g = GraphWriter("main_graph", opset, producer, ir_version=8, microsoft=microsoft)
    self.onnx_type = FLOAT_TYPES[self.dtype]

  def declare(self, logits_type):
    g, int64 = self.g, TensorProto.INT64
    g.input("input_ids", int64, ["batch_size", "sequence_length"])
    g.input("attention_mask", int64, ["batch_size", "total_sequence_length"])
    g.input("position_ids", int64, ["batch_size", "sequence_length"])
    for i in range(LAYERS):
      for part in ("key", "value"):
        g.input(f"past_key_values.{i}.{part}", self.onnx_type,
                ["batch_size", KV_HEADS, "past_sequence_length", HEAD])
    g.output("logits", logits_type, ["batch_size", "sequence_length", VOCABULARY])
    for i in range(LAYERS):
      for part in ("key", "value"):
        g.output(f"present.{i}.{part}", self.onnx_type,
                 ["batch_size", KV_HEADS, "total_sequence_length", HEAD])

  def linear(self, x, names, scope):
    """x @ W.T, W being the named weights stacked (several: one packed projection)."""
    weight = np.concatenate([self.w[n] for n in names]) if len(names) > 1 else self.w[names[0]]
    joined = "_".join(n.rsplit(".", 1)[-1] for n in names)
    name = "model." + names[0].rsplit(".", 1)[0] + "." + joined + ".MatMul.weight"
    if self.bits4:
      return matmul_4bit(self.g, x, name, weight, f"{scope}/{joined}", self.dtype, BLOCK,
                         self.bits4 == "symmetric")
    return self.g.op("MatMul", x, self.g.weight(name, weight.T.astype(self.dtype)), scope=f"{scope}/{joined}")

  def norm_weight(self, name):
    return self.g.weight(f"model.{name}.weight", self.w[name].astype(self.dtype))

  def embed(self):
    g, table = self.g, self.w["embed_tokens"]
    if not self.bits4:
      weight = g.weight("model.embed_tokens.weight", table.astype(self.dtype))
      return g.op("Gather", weight, "input_ids", scope="/model/embed_tokens")
    packed, scales, zero = quantize_4bit(table, BLOCK, self.bits4 == "symmetric")
    shape = (VOCABULARY, WIDTH // BLOCK)
    inputs = [g.weight("model.embed_tokens.weight_quant", packed.reshape(VOCABULARY, WIDTH // 2)),
              "input_ids",
              g.weight("model.embed_tokens.weight_scales", scales.reshape(shape).astype(self.dtype))]
    if zero is not None:
      inputs.append(g.weight("model.embed_tokens.weight_zp", zero.reshape(VOCABULARY, -1)))
    return g.op("GatherBlockQuantized", *inputs, scope="/model/embed_tokens", domain=MS, bits=4,
                block_size=BLOCK, gather_axis=0, quantize_axis=1)

  def lm_head(self, x, logits_type):
    g, scope = self.g, "/lm_head"
    same = logits_type == self.onnx_type
    if self.bits4:
      y = matmul_4bit(g, x, "lm_head.MatMul.weight", self.w["embed_tokens"], scope, self.dtype, BLOCK,
                      self.bits4 == "symmetric")
    elif self.tied:
      table = g.op("Transpose", "model.embed_tokens.weight", scope=scope, perm=[1, 0])
      y = g.op("MatMul", x, table, scope=scope)
    else:
      y = g.op("MatMul", x, g.weight("lm_head.MatMul.weight", self.w["embed_tokens"].T.astype(self.dtype)),
               scope=scope)
    if same:
      g.nodes[-1].output[0] = "logits"
    else:
      g.op("Cast", y, scope=scope, outputs=["logits"], to=logits_type)

  def mlp(self, x, layer, scope):
    g = self.g
    gate = self.linear(x, [layer + "gate_proj"], scope)
    up = self.linear(x, [layer + "up_proj"], scope)
    silu = g.op("Mul", gate, g.op("Sigmoid", gate, scope=scope + "/act_fn"), scope=scope + "/act_fn")
    return self.linear(g.op("Mul", silu, up, scope=scope), [layer + "down_proj"], scope)


class GenaiWriter(LlamaWriter):
  """The op set of ONNX Runtime GenAI's model builder, which newer Transformers.js folders hold."""

  def __init__(self, weights, dtype, bits4=None, tied=True, packed_qkv=False, rotary_nodes=False):
    super().__init__(weights, dtype, 21 if bits4 else 14, "onnxruntime-genai", True, bits4, tied)
    self.packed_qkv, self.rotary_nodes = packed_qkv, rotary_nodes

  def lengths(self):
    """(seqlens_k int32 [batch], total_sequence_length int32) from the attention mask, which is padded on the
    right or not at all: GroupQueryAttention knows no other form."""
    g, scope, int32 = self.g, "/model/attn_mask_reformat/attn_mask_subgraph", TensorProto.INT32
    if self.bits4:  # opset 13 and later take the axes as an input
      total = g.op("ReduceSum", "attention_mask", g.const([1]), scope=scope, keepdims=0)
    else:
      total = g.op("ReduceSum", "attention_mask", g.const([1]), scope=scope, keepdims=1)
    seqlens = g.op("Cast", g.op("Sub", total, g.const([1]), scope=scope), scope=scope, to=int32)
    length = g.op("Gather", g.op("Shape", "attention_mask", scope=scope), g.const(1), scope=scope, axis=0)
    return seqlens, g.op("Cast", length, scope=scope, to=int32)

  def rotary_caches(self):
    frequency = 1.0 / ROPE_BASE ** (np.arange(0, HEAD, 2, dtype=np.float64) / HEAD)
    angle = np.arange(CONTEXT)[:, None] * frequency
    return (self.g.weight("cos_cache", np.cos(angle).astype(self.dtype)),
            self.g.weight("sin_cache", np.sin(angle).astype(self.dtype)))

  def attention(self, x, i, lengths, caches):
    g, layer, scope = self.g, f"layers.{i}.", f"/model/layers.{i}/attn"
    if self.packed_qkv:
      qkv = [self.linear(x, [layer + p for p in ("q_proj", "k_proj", "v_proj")], scope), "", ""]
    else:
      qkv = [self.linear(x, [layer + p], scope) for p in ("q_proj", "k_proj", "v_proj")]
    if self.rotary_nodes:
      for part, name in ((0, "q_rotary"), (1, "k_rotary")):
        # num_heads 0: the head size is told by the width of the caches
        qkv[part] = g.op("RotaryEmbedding", qkv[part], "position_ids", *caches, scope=f"{scope}/{name}",
                         domain=MS, interleaved=0, num_heads=0)
    past = [f"past_key_values.{i}.{part}" for part in ("key", "value")]
    names = [f"{scope}/GroupQueryAttention/output_0", f"present.{i}.key", f"present.{i}.value"]
    y = g.op("GroupQueryAttention", *qkv, *past, *lengths, *([] if self.rotary_nodes else caches),
             scope=scope, domain=MS, outputs=names, num_heads=HEADS, kv_num_heads=KV_HEADS,
             scale=HEAD ** -0.5, local_window_size=-1, softcap=0.0,
             do_rotary=0 if self.rotary_nodes else 1, rotary_interleaved=0)
    return self.linear(y[0], [layer + "o_proj"], scope)

  def write(self, logits_type):
    g = self.g
    self.declare(logits_type)
    lengths, caches = self.lengths(), self.rotary_caches()
    residual = x = self.embed()
    x = g.op("SimplifiedLayerNormalization", x, self.norm_weight("layers.0.input_layernorm"), axis=-1,
             scope="/model/layers.0/input_layernorm/LayerNorm", epsilon=EPSILON, stash_type=1)
    for i in range(LAYERS):
      y = self.attention(x, i, lengths, caches)
      x, residual = self.skip_norm(residual, y, f"layers.{i}.post_attention_layernorm")
      y = self.mlp(x, f"layers.{i}.", f"/model/layers.{i}/mlp")
      last = i + 1 == LAYERS
      x, residual = self.skip_norm(residual, y, "norm" if last else f"layers.{i + 1}.input_layernorm", last)
    self.lm_head(x, logits_type)
    return g

  def skip_norm(self, residual, y, name, last=False):
    scope = f"/model/{name}/SkipLayerNorm"
    outputs = [f"{scope}/output_0"] + ([] if last else ["", "", f"{scope}/output_3"])
    result = self.g.op("SkipSimplifiedLayerNormalization", residual, y, self.norm_weight(name), scope=scope,
                       domain=MS, outputs=outputs, epsilon=EPSILON)
    return (result, None) if last else (result[0], result[3])


class PlainWriter(LlamaWriter):
  """What PyTorch's exporter makes of the Transformers model: standard ops only, as older folders hold."""

  def __init__(self, weights, tied=True):
    super().__init__(weights, np.float32, 14, "pytorch", False, tied=tied)

  def dim(self, x, axis, scope, keep=True):
    g = self.g
    d = g.op("Gather", g.op("Shape", x, scope=scope), g.const(axis), scope=scope, axis=0)
    return g.op("Unsqueeze", d, g.const([0]), scope=scope) if keep else d

  def shape(self, scope, *parts):
    g = self.g
    return g.op("Concat", *[g.const([p]) if isinstance(p, int) else p for p in parts], scope=scope, axis=0)

  def positions(self):
    """Position of each new token in the cache, and the total length, both from the cache's shape."""
    g, scope = self.g, "/model"
    self.past = self.dim("past_key_values.0.key", 2, scope, keep=False)
    self.total = g.op("Add", self.past, self.dim("input_ids", 1, scope, keep=False), scope=scope)
    return g.op("Range", self.past, self.total, g.const(1), scope=scope)

  def rotary(self):
    """cos and sin [batch, 1, sequence, head] from position_ids."""
    g, scope = self.g, "/model/rotary_emb"
    frequency = 1.0 / ROPE_BASE ** (np.arange(0, HEAD, 2, dtype=np.float64) / HEAD)
    frequency = g.weight("model.rotary_emb.inv_freq", frequency.astype(np.float32).reshape(1, HEAD // 2, 1))
    frequency = g.op("Expand", frequency, self.shape(scope, self.dim("position_ids", 0, scope), HEAD // 2, 1),
                     scope=scope)
    position = g.op("Cast", g.op("Unsqueeze", "position_ids", g.const([1]), scope=scope), scope=scope,
                    to=TensorProto.FLOAT)
    angle = g.op("Transpose", g.op("MatMul", frequency, position, scope=scope), scope=scope, perm=[0, 2, 1])
    angle = g.op("Concat", angle, angle, scope=scope, axis=-1)
    return [g.op("Unsqueeze", g.op(f, angle, scope=scope), g.const([1]), scope=scope) for f in ("Cos", "Sin")]

  def mask(self):
    """Additive mask [batch, 1, sequence, total]: causal by Trilu and a comparison, padding by Where."""
    g, scope = self.g, "/model"
    least = g.const(np.finfo(np.float32).min, np.float32)
    size = self.shape(scope, self.dim("input_ids", 1, scope),
                      g.op("Unsqueeze", self.total, g.const([0]), scope=scope))
    full = g.op("Expand", least, size, scope=scope)
    upper = g.op("Trilu", full, g.const(1), scope=scope, upper=1)
    column = g.op("Range", g.const(0), self.total, g.const(1), scope=scope)
    row = g.op("Reshape", self.cache_position, g.const([-1, 1]), scope=scope)
    later = g.op("Cast", g.op("Greater", column, row, scope=scope), scope=scope, to=TensorProto.FLOAT)
    causal = g.op("Mul", upper, later, scope=scope)
    causal = g.op("Unsqueeze", causal, g.const([0, 1]), scope=scope)
    causal = g.op("Expand", causal, self.shape(scope, self.dim("input_ids", 0, scope), 1, 1, 1), scope=scope)
    padding = g.op("Unsqueeze", "attention_mask", g.const([1, 2]), scope=scope)
    both = g.op("Add", causal, g.op("Cast", padding, scope=scope, to=TensorProto.FLOAT), scope=scope)
    hidden = g.op("Equal", both, g.const(0.0, np.float32), scope=scope)
    return g.op("Where", hidden, least, causal, scope=scope)

  def rms_norm(self, x, name):
    g, scope = self.g, f"/model/{name}"
    mean = g.op("ReduceMean", g.op("Pow", x, g.const(2.0, np.float32), scope=scope), scope=scope, axes=[-1],
                keepdims=1)
    root = g.op("Sqrt", g.op("Add", mean, g.const(EPSILON, np.float32), scope=scope), scope=scope)
    inverse = g.op("Div", g.const(1.0, np.float32), root, scope=scope)
    return g.op("Mul", self.norm_weight(name), g.op("Mul", x, inverse, scope=scope), scope=scope)

  def rotate(self, x, cos_sin, scope):
    g, half = self.g, HEAD // 2
    low = g.op("Slice", x, g.const([0]), g.const([half]), g.const([3]), g.const([1]), scope=scope)
    high = g.op("Slice", x, g.const([half]), g.const([np.iinfo(np.int64).max]), g.const([3]), g.const([1]),
                scope=scope)
    turned = g.op("Concat", g.op("Neg", high, scope=scope), low, scope=scope, axis=-1)
    return g.op("Add", g.op("Mul", x, cos_sin[0], scope=scope), g.op("Mul", turned, cos_sin[1], scope=scope),
                scope=scope)

  def heads(self, x, name, count, scope):
    g = self.g
    x = self.linear(x, [name], scope)
    size = self.shape(scope, self.dim(x, 0, scope), self.dim(x, 1, scope), count, HEAD)
    return g.op("Transpose", g.op("Reshape", x, size, scope=scope), scope=scope, perm=[0, 2, 1, 3])

  def repeat_kv(self, x, scope):
    g, batch, length = self.g, self.dim(x, 0, scope), self.dim(x, 2, scope)
    size = self.shape(scope, batch, KV_HEADS, HEADS // KV_HEADS, length, HEAD)
    x = g.op("Expand", g.op("Unsqueeze", x, g.const([2]), scope=scope), size, scope=scope)
    return g.op("Reshape", x, self.shape(scope, batch, HEADS, length, HEAD), scope=scope)

  def attention(self, x, i, cos_sin, mask):
    g, layer, scope = self.g, f"layers.{i}.", f"/model/layers.{i}/self_attn"
    q = self.rotate(self.heads(x, layer + "q_proj", HEADS, scope), cos_sin, scope)
    k = self.rotate(self.heads(x, layer + "k_proj", KV_HEADS, scope), cos_sin, scope)
    v = self.heads(x, layer + "v_proj", KV_HEADS, scope)
    k = g.op("Concat", f"past_key_values.{i}.key", k, scope=scope, outputs=[f"present.{i}.key"], axis=-2)
    v = g.op("Concat", f"past_key_values.{i}.value", v, scope=scope, outputs=[f"present.{i}.value"], axis=-2)
    k, v = self.repeat_kv(k, scope), self.repeat_kv(v, scope)
    scores = g.op("MatMul", q, g.op("Transpose", k, scope=scope, perm=[0, 1, 3, 2]), scope=scope)
    scores = g.op("Div", scores, g.const(np.sqrt(HEAD), np.float32), scope=scope)
    scores = g.op("Softmax", g.op("Add", scores, mask, scope=scope), scope=scope, axis=-1)
    y = g.op("Transpose", g.op("MatMul", scores, v, scope=scope), scope=scope, perm=[0, 2, 1, 3])
    size = self.shape(scope, self.dim(x, 0, scope), self.dim(x, 1, scope), WIDTH)
    return self.linear(g.op("Reshape", y, size, scope=scope), [layer + "o_proj"], scope)

  def write(self, logits_type):
    g = self.g
    self.declare(logits_type)
    x = self.embed()
    self.cache_position = self.positions()
    cos_sin, mask = self.rotary(), self.mask()
    for i in range(LAYERS):
      layer, scope = f"layers.{i}", f"/model/layers.{i}"
      y = self.attention(self.rms_norm(x, f"{layer}.input_layernorm"), i, cos_sin, mask)
      x = g.op("Add", x, y, scope=scope)
      y = self.mlp(self.rms_norm(x, f"{layer}.post_attention_layernorm"), f"{layer}.", f"{scope}/mlp")
      x = g.op("Add", x, y, scope=scope)
    self.lm_head(self.rms_norm(x, "norm"), logits_type)
    return g


def quantize_dynamically(writer, target):
  """q8 as published, of an untied graph, so that the head is quantized too. Unsigned weights, because ONNX
  Runtime's signed kernel saturates on x86 processors without VNNI and would be no oracle there."""
  from onnxruntime.quantization import QuantType, quantize_dynamic
  with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as temp:
    source, part = os.path.join(temp, "source.onnx"), os.path.join(temp, "part.onnx")
    writer.write(TensorProto.FLOAT).save(source)
    # the default type: the quantizer's shape inference stops at contrib ops
    quantize_dynamic(source, part, weight_type=QuantType.QUInt8,
                     extra_options={"DefaultTensorType": TensorProto.FLOAT})
    os.replace(part, target)


def write_json(name, value):
  path = os.path.join(FOLDER, name)
  with open(path + ".part", "w", encoding="utf-8") as f:
    json.dump(value, f, ensure_ascii=False, indent=2)
  os.replace(path + ".part", path)


def write_text_side(reader):
  """tokenizer.json and the configs, laid out as Hugging Face's SmolLM2 folder has them."""
  tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
  merges = field(reader, "tokenizer.ggml.merges")
  special = [i for i, kind in enumerate(types) if kind == 3]  # GGUF's CONTROL
  added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True} for i in special]
  byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
  write_json("tokenizer.json", {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
    "pre_tokenizer": {"type": "Sequence",
                      "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
    "post_processor": None, "decoder": dict(byte_level, add_prefix_space=True),
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
              "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
              "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges}})
  begin, end, unknown = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
  write_json("tokenizer_config.json", {
    "add_prefix_space": False,
    "added_tokens_decoder": {str(a["id"]): {k: v for k, v in a.items() if k != "id"} for a in added},
    "additional_special_tokens": [begin, end], "bos_token": begin, "clean_up_tokenization_spaces": False,
    "eos_token": end, "model_max_length": CONTEXT, "pad_token": end, "tokenizer_class": "GPT2Tokenizer",
    "unk_token": unknown, "vocab_size": VOCABULARY,
    "chat_template": field(reader, "tokenizer.chat_template")})
  def entry(t):
    return {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
  write_json("special_tokens_map.json", {
    "additional_special_tokens": [begin, end], "bos_token": entry(begin), "eos_token": entry(end),
    "pad_token": entry(end), "unk_token": entry(unknown)})
  write_json("config.json", {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 1, "eos_token_id": 2, "head_dim": HEAD, "hidden_act": "silu", "hidden_size": WIDTH, 
    "initializer_range": 1 / 24, "intermediate_size": FF, "is_llama_config": True,
    "max_position_embeddings": CONTEXT, "mlp_bias": False,
    "model_type": "llama", "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": EPSILON,
    "rope_interleaved": False, "rope_scaling": None, "rope_theta": int(ROPE_BASE),
    "tie_word_embeddings": True, "torch_dtype": "float32", "transformers.js_config": {
      "dtype": "q4", "kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"},
      "use_external_data_format": {"model.onnx": 1}},
    "use_cache": True, "vocab_size": VOCABULARY})
  write_json("generation_config.json", {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2,
                                        "pad_token_id": 2, "transformers_version": "4.42.3"})


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--force", action="store_true", help="build again what is there")
  args = parser.parse_args()
  if not os.path.isfile(SOURCE):
    sys.exit(f"make_smollm2_folder.py: {SOURCE} is missing\n  try: fetch_models.py --only smollm2")
  onnx_dir = os.path.join(FOLDER, "onnx")
  os.makedirs(onnx_dir, exist_ok=True)
  reader = GGUFReader(SOURCE)
  write_text_side(reader)
  suffixes = ("", "_fp16", "_quantized", "_q4", "_q4f16", "_plain")
  paths = {s: os.path.join(onnx_dir, f"model{s}.onnx") for s in suffixes}
  if args.force or not all(os.path.isfile(p) for p in paths.values()):
    build(read_weights(reader), paths)
  link = os.path.join(onnx_dir, "model_q8.onnx")
  if not os.path.islink(link):
    os.symlink("model_quantized.onnx", link)
  make_plain_folder()
  for name in sorted(os.listdir(onnx_dir)):
    print(f"{os.path.join(onnx_dir, name)}  {os.path.getsize(os.path.join(onnx_dir, name))} bytes")


def make_plain_folder():
  """A folder that holds the plain graph alone, as its fp32 file, for whoever opens folders only.
  By hard links: takes no disk."""
  plain = FOLDER + "-plain"
  os.makedirs(os.path.join(plain, "onnx"), exist_ok=True)
  links = {name: name for name in os.listdir(FOLDER) if name.endswith(".json")}
  links |= {"onnx/model.onnx": "onnx/model_plain.onnx", "onnx/model.onnx_data": "onnx/model.onnx_data"}
  for name, source in links.items():
    target, temp = os.path.join(plain, name), os.path.join(plain, ".part")
    os.link(os.path.join(FOLDER, source), temp)
    os.replace(temp, target)
    if os.path.exists(temp):  # a rename over a link to the same file does nothing
      os.remove(temp)


def build(w, paths):
  f32, f16 = TensorProto.FLOAT, TensorProto.FLOAT16
  data, layout = paths[""] + "_data", {}
  GenaiWriter(w, np.float32).write(f32).save_external(paths[""], data, layout)
  PlainWriter(w).write(f32).save_external(paths["_plain"], data, layout)
  GenaiWriter(w, np.float16, rotary_nodes=True).write(f16).save(paths["_fp16"])
  GenaiWriter(w, np.float32, "zero points", packed_qkv=True).write(f32).save(paths["_q4"])
  GenaiWriter(w, np.float16, "symmetric", packed_qkv=True).write(f32).save(paths["_q4f16"])
  quantize_dynamically(GenaiWriter(w, np.float32, tied=False), paths["_quantized"])


if __name__ == "__main__":
  main()
