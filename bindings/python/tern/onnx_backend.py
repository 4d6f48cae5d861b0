"""The ONNX backend API over tern.Session: onnx.backend.test and other users of onnx.backend.base run on it."""
from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from ._session import Session


class TernBackendRep(BackendRep):
  """A prepared model."""

  def __init__(self, session: Session, input_names: Sequence[str]) -> None:
    self.session = session
    self._input_names = list(input_names)
    self._output_names = [info.name for info in session.outputs]

  def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Outputs in the model's order, as a named tuple. `inputs` is a sequence in the model's order, a dict, or one
    array."""
    if not isinstance(inputs, Mapping):
      values = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
      if len(values) > len(self._input_names):
        raise ValueError(f"{len(values)} inputs for a model that has {len(self._input_names)}")
      inputs = dict(zip(self._input_names, values))
    outputs = self.session.run({name: _to_array(value) for name, value in inputs.items()})
    return namedtupledict("Outputs", self._output_names)(*(outputs[name] for name in self._output_names))


def _to_array(value: Any) -> Any:
  return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


class TernBackend(Backend):
  @classmethod
  def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
    return cls.supports_device(device)

  @classmethod
  def supports_device(cls, device: str) -> bool:
    return Device(device).type == DeviceType.CPU

  @classmethod
  def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> TernBackendRep:
    super().prepare(model, device, **kwargs)  # checks the model
    if not cls.supports_device(device):
      raise ValueError(f"device {device!r} is not supported; use 'CPU'")
    initialized = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in initialized]
    return TernBackendRep(Session(model.SerializeToString(), device="cpu", **kwargs), names)

  @classmethod
  def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
    return cls.prepare(model, device, **kwargs).run(inputs)

  @classmethod
  def run_node(cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU",
               outputs_info: Optional[Sequence[tuple[Any, tuple[int, ...]]]] = None,
               **kwargs: Any) -> tuple[Any, ...]:
    """Runs one node as a model of its own."""
    names = [name for name in node.input if name]
    arrays = inputs if isinstance(inputs, Mapping) else dict(zip(names, map(np.asarray, inputs)))
    kind = onnx.helper.np_dtype_to_tensor_dtype
    info = onnx.helper.make_tensor_value_info
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    if outputs_info:
      outputs = [info(o.name, kind(np.dtype(dtype)), shape) for o, (dtype, shape) in zip(outputs, outputs_info)]
    graph = onnx.helper.make_graph(
      [node], "node", [info(name, kind(arrays[name].dtype), arrays[name].shape) for name in names], outputs)
    model = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph))  # types of the outputs
    return cls.prepare(model, device, **kwargs).run(arrays)


is_compatible = TernBackend.is_compatible
prepare = TernBackend.prepare
run_model = TernBackend.run_model
run_node = TernBackend.run_node
supports_device = TernBackend.supports_device
