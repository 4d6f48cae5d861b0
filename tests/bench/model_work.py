"""What a model asks of the machine: bytes of weights and of KV cache that a token reads, and operations (two a
multiply-add) of its products and its attention. Counted from what the files declare, the same for tern and its peers.

Norms, activations and rotations are left out: they are below 1 % of the operations. The KV cache counts as float16.
"""
import json
import math
import os

KV_VALUE_BYTES = 2


class Work:
  """weight_bytes: read for one token of decoding. product_macs: multiply-adds a token, without the output matrix;
  head_macs: those of the output matrix, which is evaluated for one position only."""

  def __init__(self, weight_bytes, product_macs, head_macs, layers, heads, kv_heads, head, causal=True, window=0,
               window_layers=0):
    self.weight_bytes, self.product_macs, self.head_macs, self.causal = weight_bytes, product_macs, head_macs, causal
    self.layers, self.heads, self.kv_heads, self.head = layers, heads, kv_heads, head
    self.window, self.window_layers = window, window_layers

  def key_positions(self, length):
    """Keys that one query behind `length` positions looks at, summed over the layers."""
    near = min(length, self.window) if self.window else length
    return (self.layers - self.window_layers) * length + self.window_layers * near

  def bytes_per_token(self, length):
    """Of a decode step with `length` positions in the cache."""
    return self.weight_bytes + 2 * self.key_positions(length) * self.kv_heads * self.head * KV_VALUE_BYTES

  def operations(self, tokens, batch=1):
    """Of one pass over `batch` sequences of `tokens` tokens, beginning with an empty cache."""
    keys = sum(self.key_positions(i + 1) for i in range(tokens)) if self.causal else tokens * self.key_positions(tokens)
    attention = 2 * keys * self.heads * self.head  # scores, and their sum over the values
    return 2 * batch * (tokens * self.product_macs + self.head_macs + attention)


def of_gguf(path):
  from gguf import GGUFReader
  reader = GGUFReader(path)
  name = reader.fields["general.architecture"].contents()

  def field(key, fallback=None):
    found = reader.fields.get(f"{name}.{key}")
    return found.contents() if found else fallback
  tensors = {t.name: t for t in reader.tensors}
  embedding, output = tensors["token_embd.weight"], tensors.get("output.weight")
  head = output or embedding  # one matrix for both where the file has no other
  products = [t for t in tensors.values() if len(t.shape) == 2 and t not in (embedding, output)]
  layers, heads = field("block_count"), field("attention.head_count")
  window = field("attention.sliding_window", 0)
  return Work(weight_bytes=sum(int(t.n_bytes) for t in tensors.values() if t is not embedding or not output),
              product_macs=sum(int(t.n_elements) for t in products), head_macs=int(head.n_elements), layers=layers,
              heads=heads, kv_heads=field("attention.head_count_kv"),
              head=field("attention.key_length", field("embedding_length") // heads), window=window,
              # Gemma 3 looks at everything in each sixth layer
              window_layers=layers - layers // 6 if window else 0)


def onnx_weight_bytes(path):
  """Initializers that something other than a look-up of rows reads."""
  import onnx
  graph = onnx.load(path, load_external_data=False).graph
  read = {name for node in graph.node for i, name in enumerate(node.input)
          if not (node.op_type in ("Gather", "GatherBlockQuantized") and i != 1)}
  total = 0
  for t in graph.initializer:
    if t.name in read:
      external = {e.key: e.value for e in t.external_data}
      total += int(external["length"]) if "length" in external else len(t.raw_data) or t.ByteSize()
  return total


def of_onnx_llm(folder, path):
  with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
    c = json.load(f)
  width, ff, layers = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
  heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
  head = c.get("head_dim") or width // heads
  macs = layers * (2 * width * heads * head + 2 * width * kv_heads * head + 3 * width * ff)
  return Work(onnx_weight_bytes(path), macs, c["vocab_size"] * width, layers, heads, kv_heads, head)


def of_bert(folder, path):
  with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
    c = json.load(f)
  width, layers, heads = c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"]
  macs = layers * (4 * width * width + 2 * width * c["intermediate_size"])
  return Work(onnx_weight_bytes(path), macs, 0, layers, heads, heads, width // heads, causal=False)


def shares(work, case, figures, roofs, depth):
  """metric -> share of the roof, of one side's figures. `depth`: positions in the cache before the first new token."""
  found = {}
  if decode := figures.get("decode_tokens_per_s"):
    mean = depth + math.ceil(case.new_tokens / 2)
    found["decode_tokens_per_s"] = decode * work.bytes_per_token(mean) * 1e-9 / roofs["read_gbps"]
  if prefill := figures.get("prefill_tokens_per_s"):
    found["prefill_tokens_per_s"] = (prefill / case.prompt_tokens * work.operations(case.prompt_tokens) * 1e-9
                                     / roofs["gops"])
  if latency := figures.get("latency_ms"):
    batch, length = map(int, case.shape.split("x"))
    found["latency_ms"] = work.operations(length, batch) * 1e-6 / latency / roofs["gops"]
  return found
