#!/usr/bin/env python3
"""dump_vocab.py FILE.gguf OUT: a GGUF file's tokenizer metadata in the plain form that tokenize_lines reads."""
import struct
import sys

import gguf


def dump(path, out):
  fields = gguf.GGUFReader(path).fields

  def value(key, default=None):
    field = fields.get("tokenizer." + key)
    return default if field is None else field.contents()

  def raw_strings(key):
    field = fields.get("tokenizer." + key)
    return [] if field is None else [bytes(field.parts[i]) for i in field.data]

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
