#!/usr/bin/env python3
"""compare_tokenizers.py [--tool TOKENIZE_LINES] [--llama LLAMA_LINES] [--lines N] [--show N] [--only NAME]

Holds tern's tokenizers against Hugging Face `tokenizers` (tokenizer.json) and llama.cpp (GGUF) on make_corpus.py's
lines: ids with and without special tokens, special spellings as plain text, decoding, streamed decoding. Invalid UTF-8
goes to tern as it is and to the oracles with U+FFFD, as Python's errors="replace" puts it. Any difference fails.
Models come from ${TERN_MODEL_CACHE:-~/.cache/tern}, and so does llama.cpp (peers/llama.cpp, built; llama_lines.c is
compiled against it). What is missing is named and left out; with nothing left to compare the exit code is 77."""
import argparse
import glob
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


def write_variant(path, out, changes):
  """The vocabulary of a GGUF file alone, said to be of another kind."""
  import gguf
  from dump_vocab import read
  writer = gguf.GGUFWriter(out, "llama")
  for key, (value, kind) in read(path).items():
    if key not in changes:
      writer.add_array(key, value) if isinstance(value, list) else writer.add_key_value(key, value, kind)
  for key, value in changes.items():
    writer.add_bool(key, value) if isinstance(value, bool) else writer.add_string(key, value)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.close()


# Kinds whose patterns llama.cpp's engine reads as the tokenizer.json of those models does. It folds case classes (tekken,
# gpt-4o, youtu) and non-ASCII white space (deepseek-*) together before it matches; tern keeps to the pattern there.
PRE_KINDS = ["default", "gpt-2", "llama-bpe", "qwen2", "smollm", "starcoder", "falcon", "command-r", "refact", "stablelm2", "seed-coder", "deepseek-v3",
             "bailingmoe", "minicpm5", "glm4", "qwen35"]


def compare_kinds(tool, llama, lines, texts, show):
  """Other kinds of GGUF tokenizers, on the vocabularies at hand."""
  from dump_vocab import dump
  bad, clean = 0, [t.encode() for t in texts]
  smollm2, gemma = (os.path.join(CACHE, path) for _, path in GGUF_MODELS)
  kinds = [(f"pre {k}", smollm2, {"tokenizer.ggml.pre": k}) for k in PRE_KINDS] + [("llama with a space prefix", gemma, {"tokenizer.ggml.add_space_prefix": True})]
  with tempfile.TemporaryDirectory() as folder:
    for name, path, change in kinds:
      if os.path.exists(path):
        file, vocab = os.path.join(folder, "kind.gguf"), os.path.join(folder, "kind.vocab")
        write_variant(path, file, change)
        dump(path, vocab, change)
        bad += report("gguf", name, texts, run_ids([tool, "--vocab", vocab], lines), run_ids([llama, file, "--special", "--parse"], clean),
                      show)
  return bad


def gguf_decoder(path):
  """What the model's tokenizer.json says, on the GGUF file's tokens."""
  from dump_vocab import read
  from tokenizers import decoders
  fields = read(path)
  tokens = [t.decode() for t in fields["tokenizer.ggml.tokens"][0]]
  if fields["tokenizer.ggml.model"][0] == "gpt2":
    decoder = decoders.ByteLevel()
  else:
    decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
  return lambda ids: decoder.decode([tokens[i] for i in ids])


def build_llama(folder):
  """Compiles llama_lines.c against the llama.cpp in the cache; None if there is none."""
  root = os.path.join(CACHE, "peers", "llama.cpp")
  libraries = os.path.join(root, "build", "bin")
  headers = glob.glob(os.path.join(root, "**", "include", "llama.h"), recursive=True)
  if not headers or not os.path.exists(os.path.join(libraries, "libllama.so")):
    print(f"{root} holds no built llama.cpp: GGUF tokenizers are not compared")
    return None
  include, out = os.path.dirname(headers[0]), os.path.join(folder, "llama_lines")
  ggml = os.path.join(os.path.dirname(include), "ggml", "include")
  source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama_lines.c")
  subprocess.run(["cc", "-O1", source, "-o", out, f"-I{include}", f"-I{ggml}", f"-L{libraries}", "-lllama",
                  f"-Wl,-rpath,{libraries}", "-Wl,--allow-shlib-undefined"], check=True)
  return out


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--tool", default=os.path.join(os.environ.get("TERN_BINARY_DIR", "build"), "tests", "tokenize_lines"))
  parser.add_argument("--llama")
  parser.add_argument("--lines", type=int, default=10000)
  parser.add_argument("--show", type=int, default=5)
  parser.add_argument("--only")
  args = parser.parse_args()
  try:
    import gguf, tokenizers  # noqa: F401, E401
  except ImportError as missing:
    print(f"not compared: {missing}")
    sys.exit(77)
  lines = make(args.lines)
  texts = [line.decode(errors="replace") for line in lines]
  bad = ran = 0
  with tempfile.TemporaryDirectory() as folder:
    llama = args.llama or build_llama(folder)
    for name, path in JSON_MODELS + (GGUF_MODELS if llama else []):
      path = os.path.join(CACHE, path)
      if args.only and args.only != name:
        continue
      if not os.path.exists(path):
        print(f"{name}: {path} is missing; tests/models/fetch_models.py brings it")
        continue
      ran += 1
      if path.endswith(".gguf"):
        bad += compare_gguf(name, path, args.tool, llama, lines, texts, args.show)
      else:
        bad += compare_json(name, path, args.tool, lines, texts, args.show)
    if llama and args.only in (None, "kinds"):
      some = slice(0, len(lines) // 4)
      bad += compare_kinds(args.tool, llama, lines[some], texts[some], args.show)
      ran += 1
  print(f"{ran} comparisons, {bad} differences")
  sys.exit(1 if bad else 0 if ran else 77)


if __name__ == "__main__":
  main()
