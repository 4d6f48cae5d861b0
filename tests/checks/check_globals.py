#!/usr/bin/env python3
"""check_globals.py ROOT LIBTERN.A: the library has no mutable globals, so that two copies in one process are fine. Looks at the
sections of all data symbols: .data and .bss are writable, .data.rel.ro (tables of pointers) is not once it is loaded."""
import re
import subprocess
import sys

# Per thread, fixed size: the sentence of tern_last_error().
ALLOWED = {("status.c.o", "error_text"), ("status.o", "error_text")}
# volk declares a pointer for every Vulkan function. tern never writes them: each device has tables of its own
# (backends/vulkan/vk_loader.h says how).
UNUSED = re.compile(r"tern__vk[A-Z]\w+|loadedInstance|loadedDevice")


def main():
  text = subprocess.run(["nm", "--format=sysv", sys.argv[2]], check=True, capture_output=True, text=True).stdout
  member, problems, seen = "?", [], 0
  for line in text.splitlines():
    if "[" in line and line.rstrip().endswith("]:"):
      member = line.split("[")[1].split("]")[0]
    parts = [p.strip() for p in line.split("|")]
    if len(parts) < 7:
      continue
    name, kind, section = parts[0].split(".")[0], parts[2], parts[6].split()[0] if parts[6] else ""
    seen += 1
    if member.startswith("vk_volk.") and UNUSED.fullmatch(name):
      continue
    writable = section.startswith((".data", ".bss", ".tbss", ".tdata", ".ldata", ".lbss")) and not section.startswith(".data.rel.ro")
    if (writable or kind == "C") and not section.startswith("*UND") and (member, name) not in ALLOWED and not name.startswith("$"):
      problems.append(f"{member}: {parts[0]} lies in {section or 'common'}: mutable globals are not allowed")
  if seen < 50:
    problems.append(f"only {seen} symbols in {sys.argv[2]}: the check is broken")
  print("\n".join(problems) or f"{seen} symbols, no mutable global beside the thread's error text")
  sys.exit(bool(problems))


if __name__ == "__main__":
  main()
