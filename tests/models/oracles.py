"""The oracles behind the golden files and the parity tests: llama.cpp, ONNX Runtime, and float32 computations
of our own that share no code with the SDK. Shapes: ids are lists of int, logits float32 [tokens,
vocabulary]."""
import json
import math
import os
import subprocess
import tempfile

import numpy as np

from fetch_models import CACHE

SMOLLM2_GGUF = os.path.join(CACHE, "SmolLM2-135M-Instruct-Q4_1.gguf")
GEMMA_GGUF = os.path.join(CACHE, "gemma-3-270m-Q4_K_M.gguf")
SMOLLM2_ONNX = os.path.join(CACHE, "SmolLM2-135M-Instruct-ONNX")
MINILM = os.path.join(CACHE, "all-MiniLM-L6-v2")
LLAMA_BIN = os.path.join(CACHE, "peers", "llama.cpp", "bin")
EOS = 2  # SmolLM2's <|im_end|>


def top_two(row):
  """(best id, second id, gap). Equal logits: the lower id is the best, as argmax has it."""
  best = int(row.argmax())
  value = row[best]
  rest = row.copy()
  rest[best] = -np.inf
  second = int(rest.argmax())
  return best, second, float(value - rest[second])


# ---- llama.cpp ----

def llama_command(*args):
  program = os.path.join(LLAMA_BIN, "llama_oracle")
  if not os.access(program, os.X_OK):
    raise SystemExit(f"{program} is missing\n  try: tests/models/build_llama_cpp.sh")
  return [program, *map(str, args)]


def llama_greedy(model, prompts, new_tokens, *options):
  """One record a prompt: prompt_tokens, tokens, second, best, gap."""
  text = b"".join(p.encode() + b"\0" for p in prompts)
  result = subprocess.run(llama_command("greedy", model, new_tokens, "-t", 1, *options), input=text,
                          stdout=subprocess.PIPE, check=True)
  return [json.loads(line) for line in result.stdout.splitlines()]


def llama_force(model, ids, vocabulary, *options):
  """Logits after each id, decoded as the options say (-b: tokens a call)."""
  with tempfile.NamedTemporaryFile(suffix=".f32") as out:
    subprocess.run(llama_command("force", model, out.name, "-t", 1, *options),
                   input=" ".join(map(str, ids)).encode(), check=True)
    return np.fromfile(out.name, np.float32).reshape(len(ids), vocabulary)


# ---- ONNX Runtime ----

def ort_session(path, threads=1, optimize=True):
  import onnxruntime as ort
  options = ort.SessionOptions()
  options.intra_op_num_threads = threads
  options.log_severity_level = 3
  if not optimize:
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
  return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class OrtLlm:
  """A decoder with KV cache from a Transformers.js folder, run by ONNX Runtime."""

  def __init__(self, path, **options):
    self.session = ort_session(path, **options)
    inputs = {i.name: i for i in self.session.get_inputs()}
    self.names = set(inputs)
    self.past_names = [n for n in inputs if n.startswith("past_key_values.")]
    first = inputs[self.past_names[0]]
    self.empty = np.zeros((1, first.shape[1], 0, first.shape[3]),
                          np.float16 if first.type == "tensor(float16)" else np.float32)
    self.outputs = ["logits"] + [n.replace("past_key_values", "present") for n in self.past_names]
    self.reset()

  def reset(self):
    self.past, self.length = [self.empty] * len(self.past_names), 0

  def step(self, ids):
    """Logits [len(ids), vocabulary] as float32, the cache grown by ids."""
    total = self.length + len(ids)
    feeds = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, total), np.int64),
             "position_ids": np.arange(self.length, total, dtype=np.int64)[None]}
    feeds = {k: v for k, v in feeds.items() if k in self.names} | dict(zip(self.past_names, self.past))
    logits, *self.past = self.session.run(self.outputs, feeds)
    self.length = total
    return logits[0].astype(np.float32)

  def force(self, ids):
    self.reset()
    return self.step(ids)

  def force_stepwise(self, ids, prompt_length):
    """Logits as generation sees them: the prompt at once, then one token at a time."""
    self.reset()
    rows = [self.step(ids[:prompt_length])]
    return np.concatenate(rows + [self.step([i]) for i in ids[prompt_length:]])

  def greedy(self, ids, new_tokens):
    self.reset()
    record = {"tokens": [], "second": [], "gap": []}
    logits = self.step(ids)[-1]
    while True:
      best, second, gap = top_two(logits)
      for key, value in zip(record, (best, second, gap)):
        record[key].append(value)
      if best == EOS or len(record["tokens"]) == new_tokens:
        return record
      logits = self.step([best])[-1]


# ---- float32 computations ----

erf = np.vectorize(math.erf)


class GemmaReference:
  """Gemma 3's forward pass over a whole sequence in float32 numpy, weights dequantized from the GGUF file."""

  def __init__(self, path):
    from gguf import GGUFReader, dequantize
    reader = GGUFReader(path)
    def field(name):
      return reader.fields["gemma3." + name].contents()

    self.w = {
      t.name: np.ascontiguousarray(dequantize(t.data, t.tensor_type), np.float32) for t in reader.tensors
    }
    self.layers, self.heads = field("block_count"), field("attention.head_count")
    self.kv_heads, self.head = field("attention.head_count_kv"), field("attention.key_length")
    self.epsilon, self.window = field("attention.layer_norm_rms_epsilon"), field("attention.sliding_window")
    self.global_base = field("rope.freq_base")

  def rms_norm(self, x, name):
    x64 = x.astype(np.float64)
    y = x64 / np.sqrt((x64 * x64).mean(-1, keepdims=True) + self.epsilon)
    return (y * self.w[name]).astype(np.float32)

  def rotate(self, x, base):
    """Rotary embedding, halves form; x [tokens, heads, head]."""
    frequency = base ** (-np.arange(0, self.head, 2, dtype=np.float64) / self.head)
    angle = np.arange(len(x))[:, None] * frequency
    cos, sin = np.cos(angle)[:, None].astype(np.float32), np.sin(angle)[:, None].astype(np.float32)
    a, b = np.split(x, 2, -1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

  def attention(self, x, i):
    b, tokens = f"blk.{i}.", len(x)
    is_global = i % 6 == 5  # five layers with a window, then one that sees everything
    base = self.global_base if is_global else 10000.0
    def heads(name, count):
      return (x @ self.w[f"{b}attn_{name}.weight"].T).reshape(tokens, count, self.head)
    q = self.rotate(self.rms_norm(heads("q", self.heads), b + "attn_q_norm.weight"), base)
    k = self.rotate(self.rms_norm(heads("k", self.kv_heads), b + "attn_k_norm.weight"), base)
    k, v = (np.repeat(t, self.heads // self.kv_heads, 1) for t in (k, heads("v", self.kv_heads)))
    scores = np.einsum("qhd,khd->hqk", q, k) * self.head ** -0.5
    distance = np.arange(tokens)[:, None] - np.arange(tokens)[None]
    hidden = (distance < 0) | (False if is_global else distance >= self.window)
    scores = np.where(hidden, -np.inf, scores)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", p, v).reshape(tokens, -1) @ self.w[b + "attn_output.weight"].T

  def force(self, ids):
    x = self.w["token_embd.weight"][ids] * np.float32(np.sqrt(self.w["token_embd.weight"].shape[1]))
    for i in range(self.layers):
      b = f"blk.{i}."
      y = self.attention(self.rms_norm(x, b + "attn_norm.weight"), i)
      x = x + self.rms_norm(y, b + "post_attention_norm.weight")
      y = self.rms_norm(x, b + "ffn_norm.weight")
      gate = y @ self.w[b + "ffn_gate.weight"].T
      gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate ** 3)))
      y = (gate * (y @ self.w[b + "ffn_up.weight"].T)).astype(np.float32) @ self.w[b + "ffn_down.weight"].T
      x = x + self.rms_norm(y, b + "post_ffw_norm.weight")
    return self.rms_norm(x, "output_norm.weight") @ self.w["token_embd.weight"].T


class MiniLmReference:
  """all-MiniLM-L6-v2 in numpy from the published float32 weights, computed in float64: token ids to
  embedding."""

  def __init__(self):
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
    source = os.path.join(CACHE, "sources", "all-MiniLM-L6-v2")
    weights = load_file(os.path.join(source, "model.safetensors"))
    self.w = {k: v.astype(np.float64) for k, v in weights.items()}
    self.tokenizer = Tokenizer.from_file(os.path.join(source, "tokenizer.json"))
    self.tokenizer.no_padding()
    self.tokenizer.enable_truncation(512)  # the file itself says 128, sentence-transformers' setting

  def ids(self, text):
    return self.tokenizer.encode(text).ids

  def layer_norm(self, x, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
    return x * self.w[name + ".weight"] + self.w[name + ".bias"]

  def linear(self, x, name):
    return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

  def hidden(self, ids):
    e, n = "embeddings.", len(ids)
    x = self.w[e + "word_embeddings.weight"][ids] + self.w[e + "position_embeddings.weight"][:n]
    x = self.layer_norm(x + self.w[e + "token_type_embeddings.weight"][0], e + "LayerNorm")
    for i in range(6):
      b = f"encoder.layer.{i}."
      q, k, v = (
        self.linear(x, f"{b}attention.self.{p}").reshape(n, 12, 32) for p in ("query", "key", "value"))
      s = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(32)
      s = np.exp(s - s.max(-1, keepdims=True))
      y = np.einsum("hqk,khd->qhd", s / s.sum(-1, keepdims=True), v).reshape(n, -1)
      x = self.layer_norm(x + self.linear(y, b + "attention.output.dense"), b + "attention.output.LayerNorm")
      y = self.linear(x, b + "intermediate.dense")
      y = 0.5 * y * (1 + erf(y / np.sqrt(2)))
      x = self.layer_norm(x + self.linear(y, b + "output.dense"), b + "output.LayerNorm")
    return x

  def embed(self, text):
    return normalized_mean(self.hidden(self.ids(text)))


class QuantizedMiniLmReference(MiniLmReference):
  """What a dynamically quantized MiniLM file says, by the standard's definition in float64: its integers, and
  DynamicQuantizeLinear before each linear layer. Integer products are exact, so that only rounding ties
  differ."""

  def __init__(self, path):
    import onnx
    from onnx import numpy_helper
    super().__init__()
    self.q = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    for name in [n for n in self.w if n + "_quantized" in self.q]:
      values, scale = self.integers(name)
      self.w[name] = values * scale

  def integers(self, name):
    zero, scale = (float(self.q[name + suffix].reshape(-1)[0]) for suffix in ("_zero_point", "_scale"))
    return self.q[name + "_quantized"].astype(np.float64) - zero, scale

  def linear(self, x, name):
    scale = (max(x.max(), 0) - min(x.min(), 0)) / 255
    zero = np.clip(np.rint(-min(x.min(), 0) / scale), 0, 255)
    q = np.clip(np.rint(x / scale) + zero, 0, 255) - zero
    weight, weight_scale = self.integers("onnx::MatMul_" + name)
    return q @ weight * (scale * weight_scale) + self.w[name + ".bias"]


def normalized_mean(hidden):
  """sentence-transformers' pooling of one unpadded text: mean over tokens, then unit length."""
  mean = hidden.astype(np.float64).mean(0)
  return mean / np.linalg.norm(mean)


def ort_embed(session, ids):
  ids = np.array([ids], np.int64)
  feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
  return normalized_mean(session.run(["last_hidden_state"], feeds)[0][0])
