"""Models and sessions: any graph, numpy arrays in and out."""
from __future__ import annotations

import ctypes
import json
from typing import Any, Callable, Mapping, NamedTuple, Optional, Sequence, Union

import numpy as np

from . import _abi
from ._library import (Handle, PathLike, Runtime, TernError, check, encoded, lib, new_desc, pick_runtime,
                       progress_callback)

DTYPES: dict[int, np.dtype] = {
  _abi.TERN_DTYPE_F32: np.dtype(np.float32), _abi.TERN_DTYPE_F16: np.dtype(np.float16),
  _abi.TERN_DTYPE_F64: np.dtype(np.float64), _abi.TERN_DTYPE_I8: np.dtype(np.int8),
  _abi.TERN_DTYPE_U8: np.dtype(np.uint8), _abi.TERN_DTYPE_I16: np.dtype(np.int16),
  _abi.TERN_DTYPE_U16: np.dtype(np.uint16), _abi.TERN_DTYPE_I32: np.dtype(np.int32),
  _abi.TERN_DTYPE_U32: np.dtype(np.uint32), _abi.TERN_DTYPE_I64: np.dtype(np.int64),
  _abi.TERN_DTYPE_U64: np.dtype(np.uint64), _abi.TERN_DTYPE_BOOL: np.dtype(np.bool_),
}
try:  # numpy has no bfloat16 of its own; without ml_dtypes, such outputs are widened to float32
  import ml_dtypes
  DTYPES[_abi.TERN_DTYPE_BF16] = np.dtype(ml_dtypes.bfloat16)
except ImportError:
  pass
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_NUMERICS = {"fast": _abi.TERN_NUMERICS_FAST, "consistent": _abi.TERN_NUMERICS_CONSISTENT}


class IOInfo(NamedTuple):
  """An input or output. `shape` is None if not declared; a None in it is known only at run time."""
  name: str
  dtype: str
  shape: Optional[tuple[Optional[int], ...]]


class MemoryPlan(NamedTuple):
  """Bytes that a run takes, known before anything is allocated; `peak_bytes` leaves out mapped weights."""
  n_steps: int
  weight_bytes: int
  packed_bytes: int
  activation_bytes: int
  kv_bytes: int
  scratch_bytes: int
  peak_bytes: int

  @classmethod
  def _from(cls, plan: Any) -> "MemoryPlan":
    return cls(*(getattr(plan, name) for name in cls._fields))


class _TensorMemory:
  """Memory of a tensor as numpy sees it; keeps `owner` alive, or destroys the tensor itself."""

  def __init__(self, tensor: int, owner: Any = None) -> None:
    self._tensor, self._owner = tensor, owner
    rank, dims = lib.tern_tensor_rank(tensor), lib.tern_tensor_dims(tensor)
    code = lib.tern_tensor_dtype(tensor)
    dtype = DTYPES.get(code)
    if dtype is None and code != _abi.TERN_DTYPE_BF16:
      raise TernError("UNSUPPORTED", f"numpy has no dtype for {lib.tern_dtype_name(code).decode()}")
    self.shape = tuple(dims[i] for i in range(rank))
    self.dtype = dtype
    # The interface knows numpy's own types alone: bfloat16 passes as the 16 bits that it is.
    stored = np.dtype(np.uint16) if code == _abi.TERN_DTYPE_BF16 else dtype
    self.__array_interface__ = {"shape": self.shape, "typestr": stored.str, "version": 3,
                                "data": (lib.tern_tensor_data(tensor) or 0, False)}

  def __del__(self) -> None:
    if self._owner is None:
      lib.tern_tensor_destroy(self._tensor)


def to_numpy(tensor: int, owner: Any = None) -> np.ndarray:
  """A view of the tensor's memory (no copy)."""
  memory = _TensorMemory(tensor, owner)
  if 0 in memory.shape:
    return np.empty(memory.shape, memory.dtype or np.float32)
  array = np.asarray(memory)
  if memory.dtype is None:
    return (array.astype(np.uint32) << 16).view(np.float32)
  return array if array.dtype == memory.dtype else array.view(memory.dtype)


class _Inputs:
  """Numpy arrays wrapped as tensors for one call: no copy of contiguous arrays."""

  def __init__(self, runtime: Runtime, values: Mapping[str, Any], declared: Mapping[str, IOInfo]) -> None:
    self.tensors: list[int] = []
    self.arrays = []
    self.names = (ctypes.c_char_p * len(values))(*(encoded(name, "an input's name") for name in values))
    try:
      for name, value in values.items():
        self._add(runtime, name, value, declared.get(name))
    except BaseException:
      self.close()
      raise
    self.handles = (ctypes.c_void_p * len(values))(*self.tensors)

  def _add(self, runtime: Runtime, name: str, value: Any, info: Optional[IOInfo]) -> None:
    if not isinstance(value, (np.ndarray, np.generic)) and info is not None:
      try:  # lists and plain numbers take the type that the model declares
        value = np.asarray(value, dtype=np.dtype(info.dtype))
      except TypeError:
        pass
    array = np.require(value, requirements=["C", "A"])
    if not array.dtype.isnative:
      array = array.astype(array.dtype.newbyteorder("="))
    code = _CODES.get(array.dtype)
    if code is None:
      raise TypeError(f"input '{name}' has dtype {array.dtype}; tern takes "
                      + ", ".join(str(dtype) for dtype in _CODES))
    if array.ndim > _abi.TERN_MAX_RANK:
      raise TypeError(f"input '{name}' has {array.ndim} dimensions, tern takes up to {_abi.TERN_MAX_RANK}")
    dims = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
    out = ctypes.c_void_p()
    check(lib.tern_tensor_wrap(runtime.handle, code, array.ndim, dims, array.ctypes.data, array.nbytes,
                               ctypes.byref(out)))
    self.tensors.append(out.value)
    self.arrays.append(array)

  def close(self) -> None:
    for tensor in self.tensors:
      lib.tern_tensor_destroy(tensor)
    self.tensors = []

  def __enter__(self) -> "_Inputs":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def _io(handle: int, count: Callable[[int], int], get: Callable[..., int]) -> list[IOInfo]:
  """The inputs or outputs of a model or session."""
  found = []
  for index in range(count(handle)):
    info = new_desc(_abi.tern_io_info)
    check(get(handle, index, ctypes.byref(info)))
    shape = None if info.rank < 0 else tuple(None if d < 0 else d for d in info.dims[:info.rank])
    found.append(IOInfo(info.name.decode("utf-8", "replace"), lib.tern_dtype_name(info.dtype).decode(), shape))
  return found


class Model(Handle):
  """Weights and graph of a .gguf or .onnx file (a path, or its bytes) or of a Transformers.js folder. Immutable; one
  model serves sessions on any number of threads."""
  _close_function = lib.tern_model_close

  def __init__(self, source: Union[PathLike, bytes, bytearray, memoryview], *, dtype: Optional[str] = None,
               file_name: Optional[str] = None, runtime: Optional[Runtime] = None, threads: int = 0,
               memory_budget: int = 0, progress: Optional[Callable[[str, int, int], Any]] = None) -> None:
    self.runtime = pick_runtime(runtime, threads, memory_budget)
    desc = new_desc(_abi.tern_model_desc)
    if isinstance(source, (bytes, bytearray, memoryview)):
      self._data = bytes(source)  # bytes stay as they are: the model reads them for as long as it lives
      desc.data = ctypes.cast(ctypes.c_char_p(self._data), ctypes.c_void_p)
      desc.data_size = len(self._data)
    else:
      desc.path = encoded(source, "the path")
    desc.dtype = encoded(dtype, "dtype")
    desc.file_name = encoded(file_name, "file_name")
    errors: list[BaseException] = []
    desc.progress.fn = progress_callback(progress, errors)
    out = ctypes.c_void_p()
    status = lib.tern_model_open(self.runtime.handle, ctypes.byref(desc), ctypes.byref(out))
    if errors:
      lib.tern_model_close(out)
      raise errors[0]
    check(status)
    self._handle = out.value

  @property
  def inputs(self) -> list[IOInfo]:
    return _io(self.handle, lib.tern_model_input_count, lib.tern_model_input)

  @property
  def outputs(self) -> list[IOInfo]:
    return _io(self.handle, lib.tern_model_output_count, lib.tern_model_output)

  @property
  def weight_bytes(self) -> int:
    return lib.tern_model_weight_bytes(self.handle)

  @property
  def description(self) -> dict[str, Any]:
    """What is inside: format, weights by type, operators, inputs, outputs."""
    return json.loads(lib.tern_model_json(self.handle))


class Session(Handle):
  """Runs a graph. `source` is a path, the bytes of a file, or a Model to share. One thread at a time."""
  _close_function = lib.tern_session_destroy

  def __init__(self, source: Union[PathLike, bytes, bytearray, memoryview, Model], *, device: Optional[str] = None,
               dtype: Optional[str] = None, file_name: Optional[str] = None, threads: int = 0,
               memory_budget: int = 0, context_length: int = 0, kv_cache: bool = False, numerics: str = "fast",
               runtime: Optional[Runtime] = None, progress: Optional[Callable[[str, int, int], Any]] = None) -> None:
    shared = isinstance(source, Model)
    if shared:
      if dtype or file_name or runtime or progress:
        raise ValueError("dtype, file_name, runtime and progress belong to the Model that is shared")
      self.model = source
    else:
      self.model = Model(source, dtype=dtype, file_name=file_name, runtime=runtime,
                         threads=0 if runtime else threads, progress=progress)
    desc = new_desc(_abi.tern_session_desc)
    fill_session(desc, device, numerics, context_length, threads if shared or runtime else 0, memory_budget)
    desc.kv_cache = int(kv_cache)
    out = ctypes.c_void_p()
    check(lib.tern_session_create(self.model.handle, ctypes.byref(desc), ctypes.byref(out)))
    self._handle = out.value
    self._declared = {info.name: info for info in self.inputs}
    self._output_names = [info.name for info in self.outputs]

  @property
  def inputs(self) -> list[IOInfo]:
    """What `run` takes: the model's inputs, less (with kv_cache=True) what the session itself holds."""
    return _io(self.handle, lib.tern_session_input_count, lib.tern_session_input)

  @property
  def outputs(self) -> list[IOInfo]:
    """What `run` gives, likewise."""
    return _io(self.handle, lib.tern_session_output_count, lib.tern_session_output)

  def run(self, inputs: Mapping[str, Any], outputs: Optional[Sequence[str]] = None) -> dict[str, np.ndarray]:
    """Runs the graph on named arrays; returns the named outputs, or all of them."""
    names = self._output_names if outputs is None else list(outputs)
    found = (ctypes.c_void_p * max(len(names), 1))()
    c_names = (ctypes.c_char_p * max(len(names), 1))(*(encoded(name, "an output's name") for name in names))
    with _Inputs(self.model.runtime, inputs, self._declared) as given:
      check(lib.tern_session_run(self.handle, len(given.tensors), given.names, given.handles, len(names), c_names,
                                 found))
    return {name: to_numpy(found[i]) for i, name in enumerate(names)}

  def plan(self, inputs: Mapping[str, Any]) -> MemoryPlan:
    """What a run with such inputs takes, before anything of it is allocated."""
    plan = new_desc(_abi.tern_memory_plan)
    with _Inputs(self.model.runtime, inputs, self._declared) as given:
      check(lib.tern_session_plan(self.handle, len(given.tensors), given.names, given.handles, ctypes.byref(plan)))
    return MemoryPlan._from(plan)

  def cancel(self) -> None:
    """Makes the run under way on another thread fail with CANCELLED."""
    lib.tern_session_cancel(self.handle)

  @property
  def kv_length(self) -> int:
    """Positions in the KV cache (sessions with kv_cache=True)."""
    return lib.tern_session_kv_length(self.handle)

  def kv_truncate(self, length: int) -> None:
    """Forgets all positions from `length` on."""
    check(lib.tern_session_kv_truncate(self.handle, length))


def fill_session(desc: Any, device: Optional[str], numerics: str, context_length: int, threads: int,
                 memory_budget: int) -> None:
  if numerics not in _NUMERICS:
    raise ValueError(f"numerics is 'fast' or 'consistent', not {numerics!r}")
  desc.device = encoded(device, "device")
  desc.numerics = _NUMERICS[numerics]
  desc.context_length = context_length
  desc.n_threads = threads
  desc.budget_bytes = memory_budget
