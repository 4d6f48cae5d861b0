#!/usr/bin/env python3
"""tern.h compiles without a warning as C99 and as C++11, extensions off (tests/abi/)."""
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
FLAGS = ["-Wall", "-Wextra", "-Werror", "-pedantic-errors", "-fsyntax-only", "-I", str(ROOT / "sdk/include")]
CASES = [("CC", ["cc", "gcc", "clang"], "-std=c99", "test_header_c99.c"),
         ("CXX", ["c++", "g++", "clang++"], "-std=c++11", "test_header_cxx.cpp")]


def main():
  failed = ran = 0
  for variable, names, standard, source in CASES:
    compiler = os.environ.get(variable) or next(filter(None, map(shutil.which, names)), None)
    if not compiler:
      print(f"{source}: no compiler ({', '.join(names)}), not checked")
      continue
    ran += 1
    failed += subprocess.run([compiler, standard, *FLAGS, str(ROOT / "tests/abi" / source)]).returncode != 0
  return 1 if failed or not ran else 0


if __name__ == "__main__":
  sys.exit(main())
