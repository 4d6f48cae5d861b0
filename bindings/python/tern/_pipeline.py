"""Tasks: text generation and feature extraction, with the call shapes of transformers and Transformers.js.

Every run is a job off the calling thread that the caller waits for in short steps, so that Ctrl-C works."""
from __future__ import annotations

import ctypes
import json
import queue
import threading
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Optional, Sequence, Union

import numpy as np

from . import _abi
from ._library import (Handle, PathLike, Runtime, TernError, check, encoded, lib, new_desc, pick_runtime,
                       progress_callback)
from ._session import MemoryPlan, fill_session, to_numpy
from ._tokenizer import Messages, PipelineTokenizer, messages_json

_STEP_MS = 50
_POOLING = {None: _abi.TERN_POOLING_DEFAULT, "none": _abi.TERN_POOLING_NONE, "mean": _abi.TERN_POOLING_MEAN,
            "cls": _abi.TERN_POOLING_CLS, "last": _abi.TERN_POOLING_LAST, "last_token": _abi.TERN_POOLING_LAST}
_POLICY = {"error": _abi.TERN_CONTEXT_ERROR, "shift": _abi.TERN_CONTEXT_SHIFT}
Streamer = Callable[[str], Any]


class Timings(NamedTuple):
  n_prompt_tokens: int
  n_reused_tokens: int
  n_new_tokens: int
  tokenize_ms: float
  prefill_ms: float
  decode_ms: float
  first_token_ms: float
  total_ms: float
  n_drafted_tokens: int
  n_accepted_tokens: int


class Result(Handle):
  """What a run gave, as the library holds it."""
  _close_function = lib.tern_result_destroy

  def __init__(self, handle: int) -> None:
    self._handle = handle

  def __len__(self) -> int:
    return lib.tern_result_count(self.handle)

  def text(self, index: int = 0) -> str:
    size = ctypes.c_size_t()
    data = lib.tern_result_text(self.handle, index, ctypes.byref(size))
    return ctypes.string_at(data, size.value).decode("utf-8", "replace") if data else ""

  def tokens(self, index: int = 0) -> list[int]:
    n = ctypes.c_size_t()
    tokens = lib.tern_result_tokens(self.handle, index, ctypes.byref(n))
    return tokens[:n.value] if n.value else []

  def finish_reason(self, index: int = 0) -> str:
    """"stop", "length" or "cancelled"."""
    return (lib.tern_result_finish_reason(self.handle, index) or b"").decode()

  def array(self) -> np.ndarray:
    """Vectors of feature extraction: a view that keeps this result alive."""
    tensor = lib.tern_result_tensor(self.handle)
    if not tensor:
      raise TernError("INVALID_STATE", "this result has no tensor")
    return to_numpy(tensor, owner=_KeepResult(self))

  def row_lengths(self) -> list[int]:
    """Without pooling: how many rows of each text in array() are its own; zeros follow them. Else an empty list."""
    n = ctypes.c_size_t()
    lengths = lib.tern_result_row_lengths(self.handle, ctypes.byref(n))
    return lengths[:n.value] if n.value else []

  @property
  def timings(self) -> Timings:
    timings = new_desc(_abi.tern_timings)
    check(lib.tern_result_timings(self.handle, ctypes.byref(timings)))
    return Timings(*(getattr(timings, name) for name in Timings._fields))

  @property
  def json(self) -> Any:
    """The result in the shape of Transformers.js."""
    return json.loads(lib.tern_result_json(self.handle))


class _KeepResult(Handle):
  """Takes a result's C object over, so that closing the Result does not free memory that an array shows."""
  _close_function = lib.tern_result_destroy

  def __init__(self, result: Result) -> None:
    self._handle, result._handle = result.handle, None


class Job(Handle):
  """A run under way on a thread of its own. result() gives what the pipeline's call would have given."""
  _close_function = lib.tern_job_destroy

  def __init__(self, handle: int, finish: Callable[[int], Any], keep: Any, errors: list[BaseException]) -> None:
    self._handle = handle
    self._finish, self._errors = finish, errors
    self._keep = keep  # callbacks and the pipeline, for as long as the job's thread may use them
    self._done = False
    self._value: Any = None
    self._failure: Optional[BaseException] = None

  def poll(self) -> str:
    """"running", "done" or "failed"."""
    return ("running", "done", "failed")[lib.tern_job_poll(self.handle)]

  def cancel(self) -> None:
    """Stops the run; result() then raises TernError with status CANCELLED, if it was not done already."""
    lib.tern_job_cancel(self.handle)

  def wait(self, timeout: Optional[float] = None) -> bool:
    """Waits up to `timeout` seconds (None: for ever); True when the job has ended, in whatever way."""
    left = None if timeout is None else max(0, round(timeout * 1000))
    while True:
      step = _STEP_MS if left is None else min(left, _STEP_MS)
      if lib.tern_job_wait(self.handle, step) != _abi.TERN_STATUS_TIMEOUT:
        return True
      if left is not None:
        left -= step
        if left <= 0:
          return False

  def result(self, timeout: Optional[float] = None) -> Any:
    """Waits and gives the result, or raises what the run failed with; TimeoutError if it is not done in time."""
    if not self._done:
      if not self.wait(timeout):
        raise TimeoutError(f"the job is not done after {timeout} s")
      try:
        if self._errors:
          raise self._errors[0]
        check(lib.tern_job_wait(self.handle, -1))
        self._value = self._finish(self.handle)
      except BaseException as error:
        self._failure = error
      self._done = True
      self.close()
    if self._failure is not None:
      raise self._failure
    return self._value

  def _result_or_cancel(self) -> Any:
    try:
      return self.result()
    except KeyboardInterrupt:
      self.close()
      raise

  def close(self) -> None:
    """Cancels and waits for the end. On the job's own thread (a callback), another thread does that."""
    handle, self._handle = self._handle, None
    if handle is None:
      return
    if threading.get_ident() in self._keep[0]:
      threading.Thread(target=lambda keep: lib.tern_job_destroy(handle), args=(self._keep,)).start()
    else:
      lib.tern_job_destroy(handle)

  @property
  def handle(self) -> int:
    if self._handle is None:
      raise TernError("INVALID_STATE", "this job is closed; its result was taken or it was closed")
    return self._handle


class Pipeline(Handle):
  """A task with its model. One run at a time."""
  _close_function = lib.tern_pipeline_close
  task = ""

  def __init__(self, model: PathLike, *, device: Optional[str] = None, dtype: Optional[str] = None,
               file_name: Optional[str] = None, threads: int = 0, memory_budget: int = 0, context_length: int = 0,
               numerics: str = "fast", runtime: Optional[Runtime] = None,
               progress: Optional[Callable[[str, int, int], Any]] = None) -> None:
    self.runtime = pick_runtime(runtime, threads, memory_budget)
    desc = new_desc(_abi.tern_pipeline_desc)
    desc.session.struct_size = ctypes.sizeof(_abi.tern_session_desc)
    desc.task = self.task.encode()
    desc.path = encoded(model, "the path")
    desc.dtype = encoded(dtype, "dtype")
    desc.file_name = encoded(file_name, "file_name")
    fill_session(desc.session, device, numerics, context_length, 0, 0)
    errors: list[BaseException] = []
    desc.progress.fn = progress_callback(progress, errors)
    out = ctypes.c_void_p()
    check(lib.tern_pipeline_open_async(self.runtime.handle, ctypes.byref(desc), ctypes.byref(out)))

    def take(job: int) -> int:
      pipeline_out = ctypes.c_void_p()
      check(lib.tern_job_pipeline(job, ctypes.byref(pipeline_out)))
      return pipeline_out.value
    self._handle = Job(out.value, take, (set(), desc), errors)._result_or_cancel()

  @property
  def tokenizer(self) -> PipelineTokenizer:
    return PipelineTokenizer(self, lib.tern_pipeline_tokenizer(self.handle))

  @property
  def memory(self) -> MemoryPlan:
    plan = new_desc(_abi.tern_memory_plan)
    check(lib.tern_pipeline_memory(self.handle, ctypes.byref(plan)))
    return MemoryPlan._from(plan)

  @property
  def description(self) -> dict[str, Any]:
    """What is inside the model: format, weights by type, operators, inputs, outputs."""
    return json.loads(lib.tern_model_json(lib.tern_pipeline_model(self.handle)))

  def _submit(self, desc: Any, keep: Any, streamer: Optional[Streamer], shape: Callable[[Result], Any]) -> Job:
    errors: list[BaseException] = []
    threads: set[int] = set()

    def on_text(_user_data: int, text: int, size: int, _token_id: int) -> int:
      threads.add(threading.get_ident())
      try:
        return 1 if streamer(ctypes.string_at(text, size).decode("utf-8", "replace")) is True else 0
      except BaseException as error:  # an exception cannot cross C: result() raises it
        errors.append(error)
        return 1
    if streamer is not None:
      desc.on_text.fn = type(desc.on_text.fn)(on_text)
    out = ctypes.c_void_p()
    check(lib.tern_pipeline_run_async(self.handle, ctypes.byref(desc), ctypes.byref(out)))

    def take(job: int) -> Any:
      result = ctypes.c_void_p()
      check(lib.tern_job_result(job, ctypes.byref(result)))
      return shape(Result(result.value))
    return Job(out.value, take, (threads, desc, keep, self), errors)


class TextGenerationPipeline(Pipeline):
  """Continues text, or answers chat messages through the model's template."""
  task = "text-generation"

  def submit(self, text: Union[str, Sequence[str], Messages], *, max_new_tokens: Optional[int] = None,
             do_sample: Optional[bool] = None, temperature: Optional[float] = None, top_k: int = 0,
             top_p: Optional[float] = None, min_p: Optional[float] = None,
             repetition_penalty: Optional[float] = None, seed: int = 0, stop: Union[str, Sequence[str], None] = None,
             ignore_eos: bool = False, context_policy: str = "error", return_full_text: bool = True,
             prompt_lookup_num_tokens: int = 0, max_matching_ngram_size: int = 0,
             streamer: Optional[Streamer] = None, return_result: bool = False) -> Job:
    """Starts a run off this thread. Greedy unless `temperature` is above 0 or `do_sample` is true. `streamer` gets
    each piece of text on the job's thread; returning True ends the run. `return_result`: a tern.Result (tokens,
    finish reason, timings) in place of the lists that transformers gives. `prompt_lookup_num_tokens`: evaluates up to
    that many tokens ahead where the text repeats itself (speculative decoding; one prompt at a time)."""
    desc = new_desc(_abi.tern_run_desc)
    chat = not isinstance(text, str) and len(text) > 0 and isinstance(text[0], Mapping)
    if chat:
      desc.chat_json = messages_json(text)  # type: ignore[arg-type]
      texts: list[str] = []
    else:
      texts = [text] if isinstance(text, str) else list(text)  # type: ignore[arg-type]
      if not texts or not all(isinstance(t, str) for t in texts):
        raise TypeError("give a str, a list of str, or a list of {'role', 'content'} messages")
    if do_sample is False and temperature:
      raise ValueError("do_sample=False with a temperature: leave one out")
    if temperature is None:
      temperature = 1.0 if do_sample else 0.0
    stops = [stop] if isinstance(stop, str) else list(stop or [])
    if context_policy not in _POLICY:
      raise ValueError(f"context_policy is 'error' or 'shift', not {context_policy!r}")
    desc.texts, desc.n_texts = _c_strings(texts, "a prompt"), len(texts)
    desc.stop, desc.n_stop = _c_strings(stops, "a stop text"), len(stops)
    desc.max_new_tokens = max_new_tokens or 0
    desc.temperature, desc.top_k, desc.top_p, desc.min_p = temperature, top_k, top_p or 0, min_p or 0
    desc.repetition_penalty, desc.seed = repetition_penalty or 0, seed
    desc.ignore_eos, desc.context_policy = int(ignore_eos), _POLICY[context_policy]
    desc.prompt_lookup_num_tokens, desc.max_matching_ngram_size = prompt_lookup_num_tokens, max_matching_ngram_size

    def shape(result: Result) -> Any:
      if return_result:
        return result
      if chat:
        answer: Any = result.text()
        if return_full_text:
          answer = [*text, {"role": "assistant", "content": answer}]
        return [{"generated_text": answer}]
      found = [[{"generated_text": (prompt if return_full_text else "") + result.text(i)}]
               for i, prompt in enumerate(texts)]
      return found[0] if isinstance(text, str) else found
    return self._submit(desc, (desc.texts, desc.stop), streamer, shape)

  def __call__(self, text: Union[str, Sequence[str], Messages], **options: Any) -> Any:
    """[{"generated_text": ...}] for a str or chat messages, a list of these for a list of str. Options: submit()."""
    return self.submit(text, **options)._result_or_cancel()

  def stream(self, text: Union[str, Messages], **options: Any) -> Iterator[str]:
    """Pieces of the text as they are generated. Leaving the loop ends the run."""
    pieces: queue.SimpleQueue[str] = queue.SimpleQueue()
    job = self.submit(text, streamer=lambda piece: pieces.put(piece), **options)
    try:
      while True:
        try:
          yield pieces.get(timeout=0 if job.poll() != "running" else _STEP_MS / 1000)
        except queue.Empty:
          if job.poll() != "running" and pieces.empty():
            job.result()
            return
    finally:
      job.close()


class FeatureExtractionPipeline(Pipeline):
  """Texts to vectors."""
  task = "feature-extraction"

  def submit(self, text: Union[str, Sequence[str]], *, pooling: Optional[str] = None,
             normalize: Optional[bool] = None, return_result: bool = False) -> Job:
    """Starts a run off this thread. `pooling` (none, mean, cls, last) and `normalize` default to the model's own."""
    if pooling not in _POOLING:
      raise ValueError(f"pooling is none, mean, cls or last, not {pooling!r}")
    texts = [text] if isinstance(text, str) else list(text)
    if not texts or not all(isinstance(t, str) for t in texts):
      raise TypeError("give a str or a list of str")
    desc = new_desc(_abi.tern_run_desc)
    desc.texts, desc.n_texts = _c_strings(texts, "a text"), len(texts)
    desc.pooling = _POOLING[pooling]
    desc.normalize = 0 if normalize is None else 1 if normalize else -1
    return self._submit(desc, desc.texts, None, lambda result: result if return_result else result.array())

  def __call__(self, text: Union[str, Sequence[str]], **options: Any) -> Any:
    """float32 [texts, hidden], or [texts, longest, hidden] with pooling="none", where zeros follow the rows of shorter
    texts: with return_result=True, tern.Result.row_lengths() says how many rows are theirs."""
    return self.submit(text, **options)._result_or_cancel()


_TASKS = {kind.task: kind for kind in (TextGenerationPipeline, FeatureExtractionPipeline)}


def pipeline(task: str, model: PathLike, **options: Any) -> Any:
  """tern.pipeline("text-generation", "model.gguf")("Hello"). Options: device, dtype, file_name, threads,
  memory_budget, context_length, numerics, runtime, progress."""
  kind = _TASKS.get(task)
  if kind is None:
    raise TernError("UNSUPPORTED", f"unknown task '{task}'; there are " + ", ".join(_TASKS))
  return kind(model, **options)


def _c_strings(texts: Sequence[str], what: str) -> Any:
  return (ctypes.c_char_p * max(len(texts), 1))(*(encoded(text, what) for text in texts))
