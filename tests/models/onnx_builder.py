"""A small writer of ONNX graphs, shared by the scripts that build test models here.

The files must look like what people publish, so it writes what exporters write: named initializers, Constant
nodes for small values, values named after the node that makes them (/model/layers.0/.../MatMul_output_0).
"""
import os

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MS = "com.microsoft"


class GraphWriter:
  """Collects nodes and weights. Methods named op() return the node's output name (or a list of them)."""

  def __init__(self, name, opset, producer, ir_version=8, microsoft=False):
    self.name, self.producer, self.ir_version = name, producer, ir_version
    self.opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(MS, 1)] if microsoft else [])
    self.nodes, self.inputs, self.outputs = [], [], []
    self.weights, self.counts, self.constants = {}, {}, {}

  def input(self, name, dtype, shape):
    self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
    return name

  def output(self, name, dtype, shape):
    self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))
    return name

  def weight(self, name, array):
    """An initializer; giving the same name again returns the first one."""
    if name not in self.weights:
      self.weights[name] = np.ascontiguousarray(array)
    return name

  def const(self, value, dtype=np.int64):
    """A Constant node; equal constants are written once."""
    array = np.asarray(value, dtype=dtype)
    key = (array.tobytes(), array.dtype.str, array.shape)
    if key not in self.constants:
      name = f"/Constant_{len(self.constants)}_output_0" if self.constants else "/Constant_output_0"
      node = helper.make_node("Constant", [], [name], name=name[:-len("_output_0")],
                              value=numpy_helper.from_array(array))
      self.nodes.append(node)
      self.constants[key] = name
    return self.constants[key]

  def op(self, op_type, *inputs, scope="", outputs=1, domain="", **attributes):
    """Adds a node. outputs: how many, or the names themselves ("" leaves one out)."""
    base = f"{scope}/{op_type}"
    count = self.counts.get(base, 0)
    self.counts[base] = count + 1
    base = f"{base}_{count}" if count else base
    names = [f"{base}_output_{i}" for i in range(outputs)] if isinstance(outputs, int) else list(outputs)
    self.nodes.append(helper.make_node(op_type, list(inputs), names, name=base, domain=domain, **attributes))
    return names[0] if len(names) == 1 else names

  def model(self):
    initializers = [tensor_of(name, array) for name, array in self.weights.items()]
    graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, initializers)
    return helper.make_model(graph, opset_imports=self.opsets, producer_name=self.producer,
                             ir_version=self.ir_version)

  def save(self, path):
    save_atomically(path, self.model())

  def save_external(self, path, data_path, layout):
    """Saves with weights over 1 kB in data_path (beside path). layout: name -> (offset, length) of what it
    holds already; weights it lacks are appended, so that two graphs can share one data file."""
    mode = "r+b" if layout else "wb"
    with open(data_path, mode) as data:
      data.seek(0, os.SEEK_END)
      for name, array in self.weights.items():
        if array.nbytes > 1024 and name not in layout:
          data.write(b"\0" * (-data.tell() % 4096))  # page aligned, as exporters do, so that it can be mapped
          layout[name] = (data.tell(), array.nbytes)
          data.write(array.tobytes())
    initializers = []
    for name, array in self.weights.items():
      if name not in layout:
        initializers.append(tensor_of(name, array))
        continue
      offset, length = layout[name]
      tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
                           dims=array.shape, data_location=TensorProto.EXTERNAL)
      for key, value in (("location", os.path.basename(data_path)), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
      initializers.append(tensor)
    graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, initializers)
    save_atomically(path, helper.make_model(graph, opset_imports=self.opsets, producer_name=self.producer,
                                            ir_version=self.ir_version))


def tensor_of(name, array):
  return numpy_helper.from_array(array, name)


def save_atomically(path, model):
  temp = path + ".part"
  with open(temp, "wb") as f:
    f.write(model.SerializeToString())
  os.replace(temp, path)


def quantize_4bit(weight, block, symmetric):
  """Block-wise 4-bit form of weight [N, K] for MatMulNBits: (packed [N, K/block, block/2], scales
  [N*K/block], zero points [N*ceil(K/block/2)] or None). Low nibble first; a missing zero point means 8. Each
  block takes the scale and zero point of least squared error among a few, because the weights here were in 4
  bits once already."""
  n, k = weight.shape
  assert k % block == 0
  blocks = weight.astype(np.float32).reshape(n, k // block, block)
  low, high = np.minimum(blocks.min(-1), 0), np.maximum(blocks.max(-1), 0)
  extreme = np.where(-low > high, low, high)
  eight = np.full(low.shape, 8, np.float32)
  best = np.full(low.shape, np.inf, np.float32)
  scales, zero, q = np.zeros_like(low), eight.copy(), np.zeros(blocks.shape, np.uint8)
  for factor in (0.85, 0.9, 0.95, 1.0, 1.05):
    scale = factor * (extreme / -8 if symmetric else (high - low) / 15)  # symmetric: the extreme becomes -8
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
    exact = np.clip(-low * inverse, 0, 15)
    for z in [eight] if symmetric else [np.floor(exact), np.ceil(exact)]:
      level = np.clip(np.rint(blocks * inverse[..., None] + z[..., None]), 0, 15)
      error = np.square((level - z[..., None]) * scale[..., None] - blocks).sum(-1)
      better = error < best
      best[better], scales[better], zero[better], q[better] = (v[better] for v in (error, scale, z, level))
  packed = q[..., 0::2] | (q[..., 1::2] << 4)
  if symmetric:
    return packed, scales.reshape(-1), None
  z = zero.astype(np.uint8)
  if z.shape[1] % 2:
    z = np.pad(z, ((0, 0), (0, 1)))
  return packed, scales.reshape(-1), (z[:, 0::2] | (z[:, 1::2] << 4)).reshape(-1)


def dequantize_4bit(weight, block, symmetric, dtype):
  """The float32 matrix that quantize_4bit's result stands for, scales rounded to dtype."""
  packed, scales, zero = quantize_4bit(weight, block, symmetric)
  q = np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:2], block).astype(np.float32)
  if zero is None:
    z = np.float32(8)
  else:
    zero = zero.reshape(weight.shape[0], -1)
    z = np.stack([zero & 15, zero >> 4], -1).reshape(weight.shape[0], -1)
    z = z[:, :packed.shape[1], None].astype(np.float32)
  scales = scales.astype(dtype).astype(np.float32).reshape(*packed.shape[:2], 1)
  return ((q - z) * scales).reshape(weight.shape)


def matmul_4bit(g, x, name, weight, scope, dtype=np.float32, block=32, symmetric=True, accuracy_level=None):
  """x @ weight.T with weight [N, K] stored in 4 bits: com.microsoft MatMulNBits."""
  packed, scales, zero = quantize_4bit(weight, block, symmetric)
  inputs = [x, g.weight(f"{name}_Q4", packed), g.weight(f"{name}_scales", scales.astype(dtype))]
  if zero is not None:
    inputs.append(g.weight(f"{name}_zp", zero))
  extra = {} if accuracy_level is None else {"accuracy_level": accuracy_level}
  return g.op("MatMulNBits", *inputs, scope=scope, domain=MS, K=weight.shape[1], N=weight.shape[0], bits=4,
              block_size=block, **extra)


FLOAT_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16,
               np.dtype(ml_dtypes.bfloat16): TensorProto.BFLOAT16}
