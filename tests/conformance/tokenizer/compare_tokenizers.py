#!/usr/bin/env python3
"""compare_tokenizers.py --tool TOKENIZE_LINES [--llama LLAMA_LINES] [--lines N] [--show N] [--only NAME]

Holds tern's tokenizers against Hugging Face `tokenizers` (tokenizer.json) and llama.cpp (GGUF) on make_corpus.py's
lines: ids with and without special tokens, special spellings as plain text, decoding, streamed decoding. Invalid UTF-8
goes to tern as it is and to the oracles with U+FFFD, as Python's errors="replace" puts it. Any difference fails.
Models come from ${TERN_MODEL_CACHE:-~/.cache/tern}; one that is missing is an error (--skip-missing: a warning)."""
import argparse
import os
import struct
import subprocess
import sys
import tempfile

from make_corpus import make

CACHE = os.environ.get("TERN_MODEL_CACHE") or os.path.expanduser("~/.cache/tern")
JSON_MODELS = [("minilm", "sources/all-MiniLM-L6-v2"), ("smollm2-json", "SmolLM2-135M-Instruct-ONNX")]
GGUF_MODELS = [("smollm2-gguf", "SmolLM2-135M-Instruct-Q4_1.gguf"), ("gemma3-gguf", "gemma-3-270m-Q4_K_M.gguf")]


def records(lines):
  return b"".join(struct.pack("<I", len(line)) + line for line in lines)


def run(command, lines):
  done = subprocess.run(command, input=records(lines), capture_output=True, check=False)
  if done.returncode:
    sys.exit(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace')[-500:]}")
  return done.stdout


def run_ids(command, lines):
  out = run(command, lines).decode().split("\n")[:-1]
  return [[int(x) for x in line.split()] for line in out]


def run_texts(command, ids):
  out, texts, at = run(command, [struct.pack(f"<{len(i)}i", *i) for i in ids]), [], 0
  while at < len(out):
    size = struct.unpack_from("<I", out, at)[0]
    texts.append(out[at + 4:at + 4 + size].decode(errors="replace"))
    at += 4 + size
  return texts


def report(name, what, inputs, got, want, show):
  assert len(got) == len(want) == len(inputs), (name, what, len(got), len(want), len(inputs))
  wrong = [i for i in range(len(got)) if got[i] != want[i]]
  print(f"{name}: {what}: {len(got)} lines, {len(wrong)} differ")
  for i in wrong[:show]:
    print(f"  line {i}: {inputs[i]!r:.300}\n    tern   {got[i]!r:.300}\n    oracle {want[i]!r:.300}")
  return len(wrong)


def compare_json(name, folder, tool, lines, texts, show):
  from tokenizers import Tokenizer
  oracle = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
  oracle.no_padding()
  oracle.no_truncation()
  tern = [tool, "--json", folder]
  bad = 0
  for special, what in ((True, "ids"), (False, "ids without special tokens")):
    want = [e.ids for e in oracle.encode_batch(texts, add_special_tokens=special)]
    bad += report(name, what, texts, run_ids(tern + ([] if special else ["--no-special"]), lines), want, show)
  oracle.encode_special_tokens = True
  want = [e.ids for e in oracle.encode_batch(texts)]
  bad += report(name, "ids, special spellings as text", texts, run_ids(tern + ["--plain"], lines), want, show)
  oracle.encode_special_tokens = False
  ids = [e.ids for e in oracle.encode_batch(texts)] + random_ids(oracle.get_vocab_size(), len(texts) // 5)
  for skip, flags in ((True, ["--no-special"]), (False, [])):
    want = oracle.decode_batch(ids, skip_special_tokens=skip)
    what = "decoded" + (" without special tokens" if skip else "")
    bad += report(name, what, ids, run_texts(tern + ["--decode"] + flags, ids), want, show)
    bad += report(name, what + ", streamed", ids, run_texts(tern + ["--stream"] + flags, ids), want, show)
  return bad


def random_ids(size, count):
  import random
  rng = random.Random(7)
  return [[int(rng.random() * size) for _ in range(1 + int(rng.random() * 20))] for _ in range(count)]


def compare_gguf(name, path, tool, llama, lines, texts, show):
  from dump_vocab import dump
  clean, bad = [t.encode() for t in texts], 0
  with tempfile.NamedTemporaryFile(suffix=".vocab") as f:
    dump(path, f.name)
    tern = [tool, "--vocab", f.name]
    for what, ours, theirs in (("ids", [], ["--special", "--parse"]), ("ids without special tokens", ["--no-special"], ["--parse"]),
                               ("ids, special spellings as text", ["--plain"], ["--special"])):
      bad += report(name, what, texts, run_ids(tern + ours, lines), run_ids([llama, path] + theirs, clean), show)
    ids = run_ids(tern + ["--no-special"], lines)
    whole = run_texts(tern + ["--decode"], ids)
    bad += report(name, "decoded, as llama.cpp", ids, whole, run_texts([llama, path, "--decode"], ids), show)
    ids += random_ids(40000, len(texts) // 5)
    whole += run_texts(tern + ["--decode"], ids[len(texts):])
    want = gguf_decoder(path)
    bad += report(name, "decoded, as tokenizers", ids, whole, [want(i) for i in ids], show)
    bad += report(name, "decoded, streamed", ids, run_texts(tern + ["--stream"], ids), whole, show)
  return bad


def gguf_decoder(path):
  """What the model's tokenizer.json says, on the GGUF file's tokens."""
  import gguf
  from tokenizers import decoders
  fields = gguf.GGUFReader(path).fields
  tokens = fields["tokenizer.ggml.tokens"].contents()
  if fields["tokenizer.ggml.model"].contents() == "gpt2":
    decoder = decoders.ByteLevel()
  else:
    decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
  return lambda ids: decoder.decode([tokens[i] for i in ids])


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--tool", required=True)
  parser.add_argument("--llama")
  parser.add_argument("--lines", type=int, default=10000)
  parser.add_argument("--show", type=int, default=5)
  parser.add_argument("--only")
  parser.add_argument("--skip-missing", action="store_true")
  args = parser.parse_args()
  lines = make(args.lines)
  texts = [line.decode(errors="replace") for line in lines]
  bad = ran = 0
  for name, path in JSON_MODELS + (GGUF_MODELS if args.llama else []):
    path = os.path.join(CACHE, path)
    if args.only and args.only != name:
      continue
    if not os.path.exists(path):
      message = f"{name}: {path} is missing; tests/models/fetch_models.py brings it"
      if not args.skip_missing:
        sys.exit(message)
      print(message)
      continue
    ran += 1
    if path.endswith(".gguf"):
      bad += compare_gguf(name, path, args.tool, args.llama, lines, texts, args.show)
    else:
      bad += compare_json(name, path, args.tool, lines, texts, args.show)
  print(f"{ran} tokenizers, {bad} differences")
  sys.exit(1 if bad or not ran else 0)


if __name__ == "__main__":
  main()
