#!/usr/bin/env python3
"""check_symbols.py ROOT LIBTERN.SO: what the shared library exports is what tern.h declares and what tests/abi/symbols.txt lists
with the version that brought it. Nothing else is visible."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1]).resolve()


def declared():
  text = (ROOT / "sdk/include/tern/tern.h").read_text(encoding="utf-8")
  text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
  text = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.M)
  return set(re.findall(r"\bTERN_API\b[^;()]*?\b(tern_\w+)\s*\(", text))


def listed():
  symbols = {}
  for number, line in enumerate((ROOT / "tests/abi/symbols.txt").read_text(encoding="utf-8").splitlines(), 1):
    words = line.split("#")[0].split()
    if not words:
      continue
    if len(words) != 2 or not re.fullmatch(r"\d+\.\d+\.\d+", words[1]) or words[0] in symbols:
      sys.exit(f"tests/abi/symbols.txt:{number}: expected 'symbol since-version', each symbol once")
    symbols[words[0]] = words[1]
  return symbols


def exported(library):
  lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout.splitlines()
  # Symbols that linkers make themselves.
  own = {"_init", "_fini", "_edata", "_end", "__bss_start", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}
  return {line.split()[-1].split("@")[0] for line in lines} - own


def main():
  header, known, visible = declared(), set(listed()), exported(sys.argv[2])
  problems = [f"{s}: exported, but not declared with TERN_API in tern.h" for s in sorted(visible - header)]
  problems += [f"{s}: in tern.h, but the library does not export it" for s in sorted(header - visible)]
  problems += [f"{s}: in tern.h, but not in tests/abi/symbols.txt (add it with its version)" for s in sorted(header - known)]
  problems += [f"{s}: in tests/abi/symbols.txt, but gone from tern.h: that breaks the ABI" for s in sorted(known - header)]
  if not header:
    problems.append("no TERN_API found in tern.h: the check is broken")
  print("\n".join(problems) or f"{len(visible)} symbols, all declared and listed")
  sys.exit(bool(problems))


if __name__ == "__main__":
  main()
