"""An ONNX graph evaluated as the operators are defined, in numpy: the arbiter where two runtimes compute a
dynamically quantized graph differently. Knows the operators of SmolLM2's q8 file (make_smollm2_folder.py).

Sums of 8-bit products are exact. Every other node is computed in float64 and rounded once to the type of its
output, so that no order of operations is preferred; DynamicQuantizeLinear alone divides in float32, as its
definition and its tensors' types say. Written from the standard, not from the SDK: shares no code with it.
"""
import numpy as np
import onnx
from onnx import helper, numpy_helper


class StandardGraph:
  """number: what stands for float32. np.float64 leaves out the rounding after each node, for whoever asks
  what the real number would have been. half_cache: keys and values are rounded to float16 on their way into
  the cache and read from there, those of the current rows too, as tern's sessions with a cache do."""

  def __init__(self, model, number=np.float32, half_cache=False):
    graph = (onnx.load(model) if isinstance(model, str) else model).graph
    self.number, self.half_cache = np.dtype(number), half_cache
    self.nodes = [(n, {a.name: helper.get_attribute_value(a) for a in n.attribute}) for n in graph.node]
    self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    self.outputs = [o.name for o in graph.output]
    self.matrices = {}
    self.last_use = {name: i for i, (n, _) in enumerate(self.nodes) for name in n.input}

  def run(self, feeds, also=()):
    """Values by name: the graph's outputs, and the values named in `also` (all of them: also=None)."""
    values, wanted = dict(feeds), None if also is None else {*self.outputs, *also}
    for i, (node, attributes) in enumerate(self.nodes):
      inputs = [self.constants.get(x, values.get(x)) if x else None for x in node.input]
      results = getattr(self, node.op_type)(node, attributes, *inputs)
      for name, y in zip(node.output, results if isinstance(results, tuple) else (results,)):
        if name:
          values[name] = y
      for x in node.input if wanted is not None else ():
        if self.last_use[x] == i and x not in wanted:
          values.pop(x, None)
    return values

  def rounded(self, y):
    return y.astype(self.number)

  # ---- operators: (node, attributes, inputs ...) to the output or a tuple of outputs ----

  def Constant(self, node, attributes):
    return numpy_helper.to_array(attributes["value"])

  def Shape(self, node, attributes, x):
    return np.array(x.shape, np.int64)

  def Gather(self, node, attributes, x, indices):
    return np.take(x, indices, axis=attributes.get("axis", 0))

  def ReduceSum(self, node, attributes, x, axes):
    return x.sum(axis=tuple(axes), keepdims=bool(attributes.get("keepdims", 1)))

  def Sub(self, node, attributes, a, b):
    return a - b

  def Cast(self, node, attributes, x):
    to = helper.tensor_dtype_to_np_dtype(attributes["to"])
    return x.astype(self.number if to == np.float32 else to)

  def DequantizeLinear(self, node, attributes, x, scale, zero):
    return self.rounded((x.astype(np.float64) - float(zero)) * np.float64(scale))

  def Mul(self, node, attributes, a, b):
    return self.rounded(a.astype(np.float64) * b)

  def Sigmoid(self, node, attributes, x):
    return self.rounded(1 / (1 + np.exp(-x.astype(np.float64))))

  def SimplifiedLayerNormalization(self, node, attributes, x, weight):
    x = x.astype(np.float64)
    return self.rounded(x / np.sqrt((x * x).mean(-1, keepdims=True) + attributes["epsilon"]) * weight)

  def SkipSimplifiedLayerNormalization(self, node, attributes, x, skip, weight):
    total = self.rounded(x.astype(np.float64) + skip)  # an output of its own, hence of the declared type
    return self.SimplifiedLayerNormalization(node, attributes, total, weight), None, None, total

  def DynamicQuantizeLinear(self, node, attributes, x):
    real, scale, zero = self.before_rounding(x)
    zero = np.rint(np.clip(zero, 0, 255))
    return np.clip(np.rint(real) + zero, 0, 255).astype(np.uint8), np.asarray(scale), np.uint8(zero)

  def before_rounding(self, x):
    """x / scale, scale and zero point of DynamicQuantizeLinear. The range is over the whole tensor and
    includes zero."""
    number = self.number.type
    low, high = min(number(0), x.min()), max(number(0), x.max())
    scale = (high - low) / number(255) if high != low else number(1)
    return x / scale, scale, (number(0) - low) / scale

  def MatMulInteger(self, node, attributes, a, b, a_zero, b_zero):
    name = node.input[1]
    if name not in self.matrices:
      self.matrices[name] = b.astype(np.float32) - np.float32(b_zero)
    q = a.reshape(-1, a.shape[-1]).astype(np.int32) - int(a_zero)
    # Fast and exact: q = 16 high + low, and the products of either sum up to less than 2^24 in any order.
    assert q.shape[1] * 16 * 255 < 1 << 24
    high = q >> 4
    sums = (np.concatenate([high, q - 16 * high]).astype(np.float32) @ self.matrices[name]).astype(np.int32)
    return (16 * sums[:len(q)] + sums[len(q):]).reshape(*a.shape[:-1], -1)

  def rotate(self, x, cos, sin):
    low, high = np.split(x.astype(np.float64), 2, -1)
    return self.rounded(np.concatenate([low * cos - high * sin, high * cos + low * sin], -1))

  def GroupQueryAttention(self, node, attributes, q, k, v, past_k, past_v, _, total, cos, sin):
    """Batch 1, rotary inside (halves form), causal. Attention is one node: only what it gives is rounded."""
    kv, group = attributes["kv_num_heads"], attributes["num_heads"] // attributes["kv_num_heads"]
    rows, past, head = q.shape[1], past_k.shape[2], q.shape[2] // attributes["num_heads"]
    assert len(q) == 1 and past + rows == int(total)
    cos, sin = (t[past:past + rows].astype(np.float64) for t in (cos, sin))
    q, k, v = (x.reshape(rows, -1, head).swapaxes(0, 1) for x in (q, k, v))
    q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
    if self.half_cache:
      k, v = (self.rounded(x.astype(np.float16)) for x in (k, v))
    k, v = np.concatenate([past_k[0], k], 1), np.concatenate([past_v[0], v], 1)
    q = q.reshape(kv, group, rows, head).astype(np.float64)
    scores = q @ k[:, None].swapaxes(-1, -2).astype(np.float64) * attributes["scale"]
    scores[..., np.arange(past + rows) > past + np.arange(rows)[:, None]] = -np.inf
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    y = scores / scores.sum(-1, keepdims=True) @ v[:, None].astype(np.float64)
    return self.rounded(y.transpose(2, 0, 1, 3).reshape(1, rows, -1)), k[None], v[None]


class StandardLlm(StandardGraph):
  """A decoder with KV cache, batch 1, with the face of oracles.OrtLlm."""

  def __init__(self, path, **options):
    model = onnx.load(path)
    super().__init__(model, **options)
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    self.empty = {name: np.zeros((1, s[1], 0, s[3]), self.number) for name, s in shapes.items()
                  if name.startswith("past_key_values.")}
    self.reset()

  def reset(self):
    self.past, self.length = self.empty, 0

  def feeds(self, ids):
    total = self.length + len(ids)
    return {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(self.length, total, dtype=np.int64)[None], **self.past}

  def step(self, ids):
    values = self.run(self.feeds(ids))
    self.past = {name: values[name.replace("past_key_values", "present")] for name in self.past}
    self.length += len(ids)
    return values["logits"][0]

  def force_stepwise(self, ids, prompt_length):
    self.reset()
    rows = [self.step(ids[:prompt_length])]
    return np.concatenate(rows + [self.step([i]) for i in ids[prompt_length:]])
