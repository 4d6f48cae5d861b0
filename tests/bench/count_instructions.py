#!/usr/bin/env python3
"""Counts the instructions that the CPU backend's hot paths take per multiply-add: AVX2 and AVX-512 of this machine
beside NEON, plain, with dotprod and with i8mm.

bench_cpu_instructions runs one case on one thread. Counted is everything that one more run of it executes: quantizing
the activations, the kernel with its loads and stores, the walk over the steps; not packing, which happens before.
  NEON, AVX2   under QEMU's user-mode emulation, whose plugin (qemu_count.c) counts: the program with three runs less
               the program with one, halved
  AVX-512      which QEMU does not emulate: the processor itself, one instruction after the other (ptrace); some minutes
Both ways are used for one AVX2 case, and have to agree within 0.1 %. A count says how much is issued, not how fast: an
AVX-512 instruction has four times as many lanes as a NEON one. Counts depend on the compiler; nothing here is timed.

  count_instructions.py [--native PROGRAM] [--arm PROGRAM] [--only TEXT] [--json FILE]

PROGRAM: bench_cpu_instructions of the release build and of the aarch64 build (CONTRIBUTING.md). Needs qemu-user and cc.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROGRAM = "tests/bench_cpu_instructions"
ARM = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu", "max"]
# name -> (the bit of cpu_features.h, the emulator or None: single steps)
SETS = {"NEON": (8, ARM), "NEON dotprod": (16, ARM), "NEON i8mm": (32, ARM),
        "AVX2": (2, ["qemu-x86_64", "-cpu", "max"]), "AVX-512": (4, None)}
CHECKED = ("AVX2", "Q4_0 matvec")
NOT_HERE = 77


class Missing(Exception):
  """The processor or the emulator has not what the set needs."""


def run(command):
  result = subprocess.run(command, capture_output=True, text=True)
  if result.returncode == NOT_HERE:
    raise Missing
  if result.returncode:
    sys.exit(f"count_instructions.py: {' '.join(command)}: exit {result.returncode}: "
             f"{(result.stderr or result.stdout).strip()[-300:]}")
  return result.stdout


def emulated(emulator, plugin, program, case, bit):
  counts = []
  with tempfile.NamedTemporaryFile("r") as out:
    for repeat in (1, 3):
      run([*emulator, "-plugin", f"file={plugin},to={out.name}", program, case, str(bit), str(repeat)])
      out.seek(0)
      counts.append(int(out.read()))
  return (counts[1] - counts[0]) // 2


def stepped(program, case, bit):
  return int(run([program, case, str(bit), "step"]))


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--native", default=os.path.join(ROOT, "build/release", PROGRAM))
  parser.add_argument("--arm", default=os.path.join(ROOT, "build/aarch64", PROGRAM))
  parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name holds TEXT")
  parser.add_argument("--json", metavar="FILE")
  args = parser.parse_args()
  programs = {name: args.arm if emulator is ARM else args.native for name, (_, emulator) in SETS.items()}
  names = []
  for name, (_, emulator) in SETS.items():
    if not os.path.exists(programs[name]):
      print(f"{name}: {programs[name]} is not built", file=sys.stderr)
    elif emulator and not shutil.which(emulator[0]):
      print(f"{name}: {emulator[0]} is missing (qemu-user)", file=sys.stderr)
    else:
      names.append(name)
  if not names:
    print("skipped: nothing to count with; try --native and --arm", file=sys.stderr)
    sys.exit(NOT_HERE)
  lister = [] if programs[names[-1]] == args.native else ARM
  lines = run([*lister, programs[names[-1]], "list"]).splitlines()
  cases = {n: float(macs) for n, macs in (line.split("\t") for line in lines) if args.only in n}
  results = {}
  with tempfile.TemporaryDirectory() as temp:
    plugin = os.path.join(temp, "qemu_count.so")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", os.path.join(HERE, "qemu_count.c"), "-o",
                    plugin], check=True)
    for case in cases:
      results[case] = {}
      for name in list(names):
        bit, emulator = SETS[name]
        try:
          counted = (emulated(emulator, plugin, programs[name], case, bit) if emulator
                     else stepped(programs[name], case, bit))
          if (name, case) == CHECKED and abs(stepped(programs[name], case, bit) - counted) > 1e-3 * counted:
            sys.exit(f"count_instructions.py: {case}: the emulator counts {counted}, single steps differ")
        except Missing:
          print(f"{name}: not on this processor, or not to be counted here", file=sys.stderr)
          names.remove(name)
          continue
        results[case][name] = counted
        print(f"  {case}, {name}: {counted}", file=sys.stderr, flush=True)
  print("| path | multiply-adds | " + " | ".join(names) + " |\n|---|---|" + "---|" * len(names))
  for case, by_name in results.items():
    cells = (f"{by_name[n] / cases[case]:.3f}" for n in names)
    print(f"| {case} | {cases[case]:,.0f} | " + " | ".join(cells) + " |")
  if args.json:
    with open(args.json, "w", encoding="utf-8") as f:
      json.dump({"multiply_adds": cases, "instructions": results}, f, indent=1)


if __name__ == "__main__":
  main()
