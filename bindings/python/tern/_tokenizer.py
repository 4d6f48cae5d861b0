"""Text to token ids and back."""
from __future__ import annotations

import ctypes
import json
from typing import Any, Iterable, Mapping, Optional, Sequence, Union

from . import _abi
from ._library import Handle, PathLike, Runtime, check, default_runtime, encoded, lib

Messages = Sequence[Mapping[str, Any]]


class Tokenizer(Handle):
  """From a folder with tokenizer.json, a tokenizer.json file, or a .gguf file. Usable from any thread."""
  _close_function = lib.tern_tokenizer_close

  def __init__(self, path: PathLike, *, runtime: Optional[Runtime] = None) -> None:
    self._owner: Any = runtime or default_runtime()
    out = ctypes.c_void_p()
    check(lib.tern_tokenizer_open(self._owner.handle, encoded(path, "the path"), ctypes.byref(out)))
    self._handle = out.value

  def encode(self, text: Union[str, bytes], *, add_special_tokens: bool = True,
             split_special_tokens: bool = False) -> list[int]:
    """Token ids. With `split_special_tokens`, text that spells a special token is ordinary text."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
    flags = 0 if add_special_tokens else _abi.TERN_TOKENIZE_NO_SPECIAL
    flags |= _abi.TERN_TOKENIZE_PLAIN_SPECIAL if split_special_tokens else 0
    capacity, n = len(data) + 16, ctypes.c_size_t()
    while True:
      ids = (ctypes.c_int32 * capacity)()
      check(lib.tern_tokenizer_encode(self.handle, data, len(data), flags, ids, capacity, ctypes.byref(n)))
      if n.value <= capacity:
        return ids[:n.value]
      capacity = n.value

  def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
    """Text of the ids; bytes that form no character become U+FFFD."""
    numbers = [int(i) for i in ids]
    array = (ctypes.c_int32 * max(len(numbers), 1))(*numbers)
    flags = _abi.TERN_TOKENIZE_NO_SPECIAL if skip_special_tokens else 0
    return _read_text(lambda text, capacity, n: lib.tern_tokenizer_decode(
      self.handle, array, len(numbers), flags, text, capacity, n), 16 * len(numbers) + 64)

  def apply_chat_template(self, messages: Messages, *, add_generation_prompt: bool = True,
                          tokenize: bool = False) -> Union[str, list[int]]:
    """The messages as the model's chat template writes them; as token ids with `tokenize`."""
    data = messages_json(messages)
    text = _read_text(lambda out, capacity, n: lib.tern_tokenizer_chat(
      self.handle, data, int(add_generation_prompt), out, capacity, n), 2 * len(data) + 1024)
    return self.encode(text, add_special_tokens=False) if tokenize else text

  @property
  def vocab_size(self) -> int:
    return lib.tern_tokenizer_vocab_size(self.handle)

  def id_to_token(self, token_id: int) -> Optional[str]:
    token = lib.tern_tokenizer_token(self.handle, token_id)
    return None if token is None else token.decode("utf-8", "replace")

  def token_to_id(self, token: str) -> Optional[int]:
    found = lib.tern_tokenizer_token_id(self.handle, encoded(token, "a token"))
    return None if found < 0 else found

  def __len__(self) -> int:
    return self.vocab_size


class PipelineTokenizer(Tokenizer):
  """The tokenizer of a pipeline, which owns it."""

  def __init__(self, owner: Handle, handle: int) -> None:
    self._owner = owner
    self._handle = handle

  @property
  def handle(self) -> int:
    self._owner.handle  # raises if the pipeline is closed
    return super().handle

  def close(self) -> None:
    self._handle = None


def messages_json(messages: Messages) -> bytes:
  return json.dumps(list(messages), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _read_text(call: Any, capacity: int) -> str:
  n = ctypes.c_size_t()
  while True:
    buffer = ctypes.create_string_buffer(capacity)
    check(call(buffer, capacity, ctypes.byref(n)))
    if n.value <= capacity:
      return buffer.raw[:n.value].decode("utf-8", "replace")
    capacity = n.value
