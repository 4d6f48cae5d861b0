#!/usr/bin/env python3
"""tern's Vulkan device beside llama.cpp's Vulkan build (and PyTorch for MiniLM) on a machine with a GPU and no network;
gpu_compare.sh calls it.

  gpu_compare.py pack DIR [--tern FILE]      where there is a network
  gpu_compare.py run DIR [--json FILE] [--markdown FILE] [--rows TEXT[,TEXT]] [--rounds 3] [--small] ...

Models have the shapes of real ones and random weights, made on the spot; one file for both programs. Rounds alternate
(tern, peer; peer, tern ...). A figure is the median over the rounds; a round of a speed is the median of --repeat runs
after one to warm up. tern: `tern bench`, a process a round. The peer: its server, every layer on the GPU, flash
attention, default batch sizes, one process a model, its own timings. First token: from the start of the process to the
answer, the model file in the page cache; "no caches" has the driver's shader cache off and tern's empty. "tern's pace"
is what a speed comes to in bytes that must be read (all weights, the keys and values before it) or in operations.

The whole run ends within --seconds: rows that time does not suffice for say so. JSON is written after each sample.
Exit code 1 if a row could not be measured.
"""
import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

import gpu_models
import gpu_rows
from gpu_rows import PEER, TERN, Failure, Machine, Results

BILLION, SMOLLM2, MINILM = "1B-shaped Q4_0", "SmolLM2-135M-shaped Q4_1", "MiniLM"
SAVED_FOR_THE_END = 5  # seconds


def unpack(args):
  archive = os.path.join(args.directory, "pack.tar.gz")
  if not os.path.isfile(archive):
    sys.exit(f"gpu_compare: {archive} is missing\n"
             f"  try: gpu_compare.sh pack {args.directory}, where there is a network")
  target = os.path.join(args.work, "pack")
  shutil.rmtree(target, ignore_errors=True)
  os.makedirs(target)
  with tarfile.open(archive) as f:
    f.extractall(target, **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))
  with open(os.path.join(target, "pack.json"), encoding="utf-8") as f:
    return target, json.load(f)


def make_models(pack, work, names):
  """name -> path, of GGUF files and of the MiniLM folder if it was packed; and name -> work of the GGUF files."""
  folder, works, paths = os.path.join(pack, "models"), {}, {}
  with open(os.path.join(folder, "smollm2.head"), "rb") as f:
    head = gpu_models.read_head(f.read())
  for name, file, make in ((SMOLLM2, "random-SmolLM2-Q4_1.gguf", lambda: head),
                           (BILLION, "random-1B-Q4_0.gguf", lambda: gpu_models.head_of_1b(head))):
    if name in names:
      paths[name] = os.path.join(work, file)
      gpu_models.write_gguf(paths[name], make())
      works[name] = gpu_models.work_of(make())
  minilm = os.path.join(folder, "minilm")
  if MINILM in names and os.path.isdir(minilm):
    paths[MINILM] = minilm
    with open(os.path.join(minilm, "matrices.json"), encoding="utf-8") as f:
      matrices = json.load(f)
    with open(os.path.join(minilm, "onnx", "model_fp16.onnx"), "r+b") as f:
      data = bytearray(f.read())
      gpu_models.fill_onnx(data, matrices)
      f.seek(0)
      f.write(data)
  return paths, works


def what_is_here(m):
  """Names of the device and of its driver, as far as programs tell."""
  found = {}
  for key, command in (("nvidia-smi", ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]),
                       ("peer's devices", [m.server, "--list-devices"])):
    try:
      found[key] = m.run("devices", command, 60).strip()
    except (Failure, OSError) as error:
      found[key] = f"unknown: {error}"
  return found


def groups(m, results, paths, works, o):
  """(key, seconds at most, function): parts of the run in order, the more important ones first."""
  big = SMOLLM2 if o.small else BILLION
  # In order of time on a fast GPU: a group that hangs must leave time for the others.
  return [
    ("1b", 170, lambda: gpu_rows.language(m, results, big, paths[big], o.lengths, o.new_tokens, works[big])),
    ("cold", 120, lambda: gpu_rows.first_token(m, results, big, paths[big], o.lengths[0], True, min(2, o.rounds))),
    ("warm", 60, lambda: gpu_rows.first_token(m, results, big, paths[big], o.lengths[0], False, o.rounds)),
    ("together", 90, lambda: gpu_rows.together(m, results, big, paths[big], o.sequences, o.lengths[0] // 8,
                                               o.new_tokens, works[big])),
    ("smollm2", 90, lambda: gpu_rows.language(m, results, SMOLLM2, paths[SMOLLM2], o.lengths[:1], o.new_tokens // 2,
                                              works[SMOLLM2])),
    ("minilm", 100, lambda: minilm(m, results, paths, o)),
    ("profile", 60, lambda: gpu_rows.profiles(
      m, results, [(f"{name}, {n}", paths[name], n, o.new_tokens // 4) for name in dict.fromkeys((big, SMOLLM2))
                   for n in o.lengths])),
  ]


def minilm(m, results, paths, o):
  if MINILM in paths:
    gpu_rows.minilm(m, results, paths[MINILM], *o.batch)
  else:
    results.row("MiniLM fp16", "ms", False, gpu_rows.TORCH)["errors"][TERN] = "not in the pack"


# ---- the table ----

def cell(row, side):
  values = row["samples"].get(side)
  if not values:
    return f"not measured: {row['errors'].get(side, 'out of time')}".replace("|", "/").replace("\n", " ")[:160]
  digits = 0 if min(values) >= 100 else 1
  return f"{row['median'][side]:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def pace(row):
  if "cost" not in row or TERN not in row.get("median", {}):
    return "-"
  each, unit = row["cost"]
  return f"{row['median'][TERN] * each:.3g} {unit}"


def agreement_lines(header):
  for name, found in header.get("agreement", {}).items():
    parts = []
    for key, value in found.items():
      if "error" in value:
        parts.append(f"{key}: not measured: {value['error'][:120]}")
      elif "equal" in value:
        parts.append(f"{key}: {value['equal']} of {value['of']} before a difference")
      else:
        best = f", same best token in {100 * value['top1_agreement']:.0f} %" if "top1_agreement" in value else ""
        parts.append(f"{key}: least cosine {value['min_cosine']:.7f}, largest difference "
                     f"{value['max_abs_difference']:.3g}{best} of {value['rows']} rows")
    yield f"Agreement, {name} (random weights: near ties are many): " + "; ".join(parts) + "."


def markdown(results):
  h = results.header
  lines = [f"{h['device']}, {h['date']}, tern {h['commit']}, {h['peer']}, {h['rounds']} interleaved rounds, "
           f"{h['seconds']:.0f} s in all. Median (range); ratio above 1: tern is better.", "",
           "| work | unit | tern | peer | ratio | tern's pace |", "|---|---|---|---|---|---|"]
  for row in results.rows:
    side = row["peer"]
    name = "" if side == PEER else f" ({side})"
    ratio = f"{row['ratio']:.2f}" if "ratio" in row else "-"
    lines.append(f"| {row['row']} | {row['unit']} | {cell(row, TERN)} | {cell(row, side)}{name} | {ratio} | "
                 f"{pace(row)} |")
  return "\n".join([*lines, "", *agreement_lines(h)]) + "\n"


def writer(args):
  def write(results):
    results.header["seconds"] = round(time.monotonic() - args.begin, 1)
    data = {**results.header, "rows": results.rows}
    for path, text in ((args.json, json.dumps(data, indent=1)), (args.markdown, markdown(results))):
      if path:
        with open(path + ".part", "w", encoding="utf-8") as f:
          f.write(text)
        os.replace(path + ".part", path)
  return write


def run(args):
  args.begin = time.monotonic()
  args.work = args.work or os.path.join(tempfile.gettempdir(), "gpu_compare")
  os.makedirs(args.work, exist_ok=True)
  header = {"device": args.device, "date": datetime.date.today().strftime("%-d %B %Y"), "rounds": args.rounds,
            "repeat": args.repeat, "small": args.small}
  pack, facts = unpack(args)
  machine = Machine(args, pack)
  wanted = [key for key in (args.rows or "").split(",") if key]
  selected = [g for g in groups(machine, None, None, None, args) if not wanted or g[0] in wanted]
  if not selected or set(wanted) - {g[0] for g in selected}:
    sys.exit(f"gpu_compare: --rows takes {', '.join(g[0] for g in groups(machine, None, None, None, args))}")
  names = {SMOLLM2, MINILM} | (set() if args.small else {BILLION})
  paths, works = make_models(pack, args.work, names)
  here = what_is_here(machine)
  header |= {"device": next((text.splitlines()[-1].strip() for text in here.values() if not text.startswith("unknown")),
                           args.device), "devices": here,
             "commit": facts["commit"], "peer": facts["peer"], "notes": facts["notes"], "cpus": os.cpu_count(),
             "server": "-ngl 99 -fa on, default batch sizes"}
  results = Results(header, writer(args))
  for key, seconds, measure in groups(machine, results, paths, works, args):
    if key not in {g[0] for g in selected}:
      continue
    machine.begin_group(seconds)
    print(f"{time.monotonic() - args.begin:5.0f} s: {key}", file=sys.stderr)
    try:
      measure()
    except (Failure, OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
      print(f"  {key}: {type(error).__name__}: {error}", file=sys.stderr)
      header.setdefault("failed", {})[key] = str(error)
    results.save()
  print(markdown(results))
  print(f"logs: {machine.logs}", file=sys.stderr)
  return 1 if header.get("failed") or any("ratio" not in row for row in results.rows) else 0


def parse():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  commands = parser.add_subparsers(dest="command", required=True)
  one = commands.add_parser("pack")
  one.add_argument("directory")
  one.add_argument("--tern", help="the release program (build/release/bin/tern)")
  one = commands.add_parser("run")
  one.add_argument("directory")
  one.add_argument("--json", metavar="FILE")
  one.add_argument("--markdown", metavar="FILE")
  one.add_argument("--rows", metavar="KEY[,KEY]", help="some of 1b, cold, warm, together, smollm2, minilm, profile")
  one.add_argument("--rounds", type=int, default=3)
  one.add_argument("--repeat", type=int, default=3, help="runs of a speed within a round (3)")
  one.add_argument("--seconds", type=float, default=465, help="that the whole run may take (465)")
  one.add_argument("--device", default="vulkan", help="tern's name of the device (vulkan)")
  one.add_argument("--work", metavar="FOLDER", help="for models, caches and logs (gpu_compare in the temporary folder)")
  one.add_argument("--small", action="store_true",
                   help="SmolLM2's shape in place of 1B, and short lengths: for a software device")
  return parser.parse_args()


def main():
  args = parse()
  if args.command == "pack":
    import gpu_pack
    tern = args.tern or os.path.join(gpu_pack.ROOT, "build", "release", "bin", "tern")
    try:
      size = gpu_pack.pack(args.directory, tern)
    except gpu_pack.PackError as error:
      sys.exit(f"gpu_compare: {error}")
    print(f"{args.directory}: {size / 1e6:.1f} MB")
    return
  args.seconds -= SAVED_FOR_THE_END
  args.lengths, args.new_tokens, args.sequences, args.batch = (
    ((32, 64), 8, 3, (2, 16)) if args.small else ((512, 4096), 256, 8, (256, 128)))

  def end(signum, _):
    raise SystemExit(f"gpu_compare: ended by signal {signum}; what was measured is in the files")
  for number in (signal.SIGTERM, signal.SIGALRM):
    signal.signal(number, end)
  signal.alarm(int(args.seconds) + SAVED_FOR_THE_END)  # whatever hangs
  sys.exit(run(args))


if __name__ == "__main__":
  main()
