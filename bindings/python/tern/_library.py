"""Finds and loads libtern, turns statuses into exceptions, and holds the runtime."""
from __future__ import annotations

import ctypes
import ctypes.util
import logging
import os
import pathlib
import sys
import threading
from typing import Any, Callable, NamedTuple, Optional, Union

from . import _abi

PathLike = Union[str, "os.PathLike[str]"]
_logger = logging.getLogger("tern")
_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}


class TernError(RuntimeError):
  """A call that failed. `status` is the name in tern.h ("NOT_FOUND"), `message` says what, where and what to try."""

  def __init__(self, status: str, message: str) -> None:
    super().__init__(f"{status}: {message}")
    self.status = status
    self.message = message


def _candidates() -> list[str]:
  chosen = os.environ.get("TERN_LIBRARY")
  if chosen:
    return [chosen]
  names = {"darwin": ["libtern.dylib", "libtern.0.dylib"], "win32": ["tern.dll"]}.get(
    sys.platform, ["libtern.so.0", "libtern.so"])
  beside = [str(path) for name in names if (path := pathlib.Path(__file__).with_name(name)).exists()]
  system = ctypes.util.find_library("tern")
  return beside + names + ([system] if system else [])


def _load() -> ctypes.CDLL:
  reasons = []
  for name in _candidates():
    try:
      library = ctypes.CDLL(name)
      _abi.declare(library)
    except (OSError, AttributeError) as error:
      reasons.append(f"  {name}: {error}")
      continue
    major = library.tern_version() >> 22
    if major == _abi.TERN_VERSION_MAJOR:
      return library
    reasons.append(f"  {name}: has major version {major}, this package needs {_abi.TERN_VERSION_MAJOR}")
  raise ImportError("libtern was not found; build it and set TERN_LIBRARY to its file, or install it. Tried:\n"
                    + "\n".join(reasons))


lib = _load()


def version() -> tuple[int, int, int]:
  """The library's (major, minor, patch)."""
  packed = lib.tern_version()
  return packed >> 22, packed >> 12 & 0x3FF, packed & 0xFFF


def check(status: int) -> None:
  if status == _abi.TERN_STATUS_OK:
    return
  message = lib.tern_last_error() or lib.tern_status_text(status)
  raise TernError(lib.tern_status_name(status).decode(), message.decode("utf-8", "replace"))


def new_desc(struct: Any) -> Any:
  """A struct with struct_size set and every other member its default."""
  desc = struct()
  desc.struct_size = ctypes.sizeof(struct)
  return desc


def encoded(text: Optional[PathLike], what: str) -> Optional[bytes]:
  """UTF-8 for a C string; None stays None."""
  if text is None:
    return None
  data = os.fsencode(text) if isinstance(text, os.PathLike) else text.encode("utf-8", "surrogatepass")
  if b"\0" in data:
    raise ValueError(f"{what} holds a NUL character")
  return data


class Handle:
  """Owns one C object; closes with `with`, close() or collection."""
  _close_function: Callable[[int], None]
  _handle: Optional[int] = None

  @property
  def handle(self) -> int:
    if self._handle is None:
      raise TernError("INVALID_STATE", f"this {type(self).__name__} is closed")
    return self._handle

  def close(self) -> None:
    handle, self._handle = self._handle, None
    if handle is not None:
      type(self)._close_function(handle)

  def __enter__(self) -> Any:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def __del__(self) -> None:
    self.close()


class DeviceInfo(NamedTuple):
  name: str
  description: str


@_abi.tern_log._fields_[0][1]
def _log_message(_user_data: int, level: int, text: bytes) -> None:
  _logger.log(_LEVELS.get(level, logging.INFO), "%s", text.decode("utf-8", "replace"))


class Runtime(Handle):
  """Threads, memory and devices. `threads`: how many may compute at once (0: physical cores). `memory_budget`: bytes
  that tern may allocate (0: no limit). Messages go to the logger "tern"; `log_level` is the most it passes on.
  `cache_path`: a folder in which kernels are kept as a device's driver compiled them (None: nothing is kept)."""
  _close_function = lib.tern_runtime_destroy

  def __init__(self, threads: int = 0, memory_budget: int = 0, log_level: int = logging.WARNING,
               cache_path: str | os.PathLike[str] | None = None) -> None:
    desc = new_desc(_abi.tern_runtime_desc)
    desc.n_threads = threads
    desc.budget_bytes = memory_budget
    desc.cache_path = os.fsencode(cache_path) if cache_path else None
    desc.log.message = _log_message
    desc.log.max_level = next((level for level, python in sorted(_LEVELS.items(), reverse=True)
                               if python >= log_level), 1)
    out = ctypes.c_void_p()
    check(lib.tern_runtime_create(ctypes.byref(desc), ctypes.byref(out)))
    self._handle = out.value

  @property
  def threads(self) -> int:
    return lib.tern_runtime_n_threads(self.handle)

  @property
  def memory(self) -> tuple[int, int]:
    """Bytes allocated now, and the most ever."""
    live, peak = ctypes.c_uint64(), ctypes.c_uint64()
    lib.tern_runtime_memory(self.handle, ctypes.byref(live), ctypes.byref(peak))
    return live.value, peak.value

  @property
  def devices(self) -> list[DeviceInfo]:
    found = []
    for index in range(lib.tern_runtime_device_count(self.handle)):
      info = new_desc(_abi.tern_device_info)
      check(lib.tern_runtime_device(self.handle, index, ctypes.byref(info)))
      found.append(DeviceInfo(info.name.decode(), (info.description or b"").decode()))
    return found


_default: Optional[Runtime] = None
_default_lock = threading.Lock()


def default_runtime() -> Runtime:
  """The runtime that objects share when they are given none."""
  global _default
  with _default_lock:
    if _default is None:
      _default = Runtime()
    return _default


def pick_runtime(runtime: Optional[Runtime], threads: int, memory_budget: int) -> Runtime:
  if runtime is not None:
    if threads or memory_budget:
      raise ValueError("give threads and memory_budget to the Runtime that is passed, not beside it")
    return runtime
  return Runtime(threads, memory_budget) if threads or memory_budget else default_runtime()


def progress_callback(progress: Optional[Callable[[str, int, int], Any]], errors: list[BaseException]) -> Any:
  """As tern_progress.fn; a True return or an exception cancels."""
  kind = _abi.tern_progress._fields_[0][1]
  if progress is None:
    return kind()

  def call(_user_data: int, phase: bytes, done: int, total: int) -> int:
    try:
      return 1 if progress(phase.decode(), done, total) is True else 0
    except BaseException as error:  # an exception cannot cross C: it is raised again by the caller
      errors.append(error)
      return 1
  return kind(call)
