#!/usr/bin/env python3
"""dump_vocab.py FILE.gguf OUT: a GGUF file's tokenizer metadata in the plain form that tokenize_lines reads."""
import functools
import struct
import sys

import gguf


@functools.lru_cache
def read(path):
  """key -> (value, GGUF type) of the tokenizer's metadata; strings in arrays as their bytes."""
  fields = {}
  for key, field in gguf.GGUFReader(path).fields.items():
    if key.startswith("tokenizer."):
      raw = len(field.types) > 1 and field.types[-1] == gguf.GGUFValueType.STRING
      fields[key] = ([bytes(field.parts[i]) for i in field.data] if raw else field.contents(), field.types[0])
  return fields


def dump(path, out, changes=None):
  fields = {**read(path), **{k: (v, None) for k, v in (changes or {}).items()}}

  def value(key, default=None):
    return fields.get("tokenizer." + key, (default,))[0]

  def raw_strings(key):
    return value(key, [])

  def text(value):
    if value is None:
      return struct.pack("<I", 0xFFFFFFFF)
    data = value.encode()
    return struct.pack("<I", len(data)) + data

  def strings(values):
    return struct.pack("<I", len(values)) + b"".join(struct.pack("<I", len(v)) + v for v in values)

  scores, types = value("ggml.scores", []), value("ggml.token_type", [])
  ids = [value(f"ggml.{k}_token_id", -1) for k in ("bos", "eos", "eot", "unknown", "padding")]
  flags = [int(value(f"ggml.{k}", -1)) for k in ("add_bos_token", "add_eos_token", "add_space_prefix",
                                                 "remove_extra_whitespaces")]
  with open(out, "wb") as f:
    f.write(text(value("ggml.model")) + text(value("ggml.pre")) + text(value("chat_template")))
    f.write(strings(raw_strings("ggml.tokens")) + strings(raw_strings("ggml.merges")))
    f.write(struct.pack(f"<I{len(scores)}f", len(scores), *scores))
    f.write(struct.pack(f"<I{len(types)}i", len(types), *types))
    f.write(struct.pack("<9i", *ids, *flags))


if __name__ == "__main__":
  dump(sys.argv[1], sys.argv[2])
