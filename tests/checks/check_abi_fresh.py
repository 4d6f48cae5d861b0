#!/usr/bin/env python3
"""bindings/abi/tern_abi.json and bindings/python/tern/_abi.py are what tern.h says, and ctypes lays structs out as a
C compiler does: sizes and offsets of every struct are compared with a compiled program where a compiler is there."""
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]


def c_layout(compiler, abi):
  lines = ["#include <stdio.h>", "#include <tern/tern.h>", "int main(void) {"]
  for name, members in abi["structs"].items():
    lines.append(f'  printf("{name} %zu\\n", sizeof({name}));')
    lines += [f'  printf("{name}.{m} %zu\\n", offsetof({name}, {m}));' for m, _ in members]
  lines.append("  return 0; }")
  with tempfile.TemporaryDirectory() as folder:
    source, program = os.path.join(folder, "layout.c"), os.path.join(folder, "layout")
    pathlib.Path(source).write_text("\n".join(lines))
    subprocess.run([compiler, "-I", str(ROOT / "sdk/include"), source, "-o", program], check=True)
    return dict(line.split() for line in subprocess.run([program], check=True, capture_output=True,
                                                         text=True).stdout.splitlines())


def python_layout(abi):
  import ctypes
  spec = importlib.util.spec_from_file_location("_abi", ROOT / "bindings/python/tern/_abi.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  found = {}
  for name, members in abi["structs"].items():
    struct = getattr(module, name)
    found[name] = str(ctypes.sizeof(struct))
    found.update({f"{name}.{m}": str(getattr(struct, m).offset) for m, _ in members})
  return found


def main():
  if subprocess.run([sys.executable, str(ROOT / "bindings/abi/dump_abi.py"), "--check"]).returncode:
    return 1
  compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
  if not compiler:
    print("no C compiler: layouts not compared")
    return 0
  abi = json.loads((ROOT / "bindings/abi/tern_abi.json").read_text())
  wanted, found = c_layout(compiler, abi), python_layout(abi)
  wrong = [f"{key}: C {wanted.get(key)}, ctypes {found.get(key)}" for key in wanted if wanted[key] != found.get(key)]
  print("\n".join(wrong) or f"{len(wanted)} sizes and offsets agree")
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
