#!/usr/bin/env python3
"""Holds every #include of sdk/, backends/, bindings/ and samples/ against the dependency table of docs/architecture.md."""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1]).resolve()
TABLE = "docs/architecture.md"
SOURCES = (".c", ".h", ".def", ".inc")
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.M)
OWN_HEADERS = ("tern/tern.h",)


def read_table():
  """folder -> set of folders and single headers; library header -> the one file that may include it."""
  text = (ROOT / TABLE).read_text(encoding="utf-8")
  found = re.search(r"^## Dependency table\n.*?^```\n(.*?)^```", text, re.M | re.S)
  if not found:
    sys.exit(f"{TABLE}: no '## Dependency table' with a fenced table")
  folders, seams = {}, {}
  for line in found.group(1).splitlines():
    name, _, rest = line.partition(":")
    if rest.strip().startswith("only "):
      seams[name.strip("<> ")] = [path_of(f) for f in rest.split()[1:]]
    elif name.strip():
      folders[path_of(name.strip())] = {path_of(f) for f in rest.split()}
  return folders, seams


def path_of(name):
  return name if name.startswith("backends/") else "sdk/" + name


def folder_of(path, folders):
  """The table's folder that holds `path`, by the longest name."""
  inside = [f for f in folders if path.startswith(f + "/")]
  return max(inside, key=len) if inside else None


def resolve(name, includer):
  """Where `#include "name"` of file `includer` points to, relative to the root; None = nowhere."""
  for base in (includer.parent, ROOT / "sdk", ROOT / "backends", ROOT / "backends/cpu", ROOT / "backends/kernels/generated"):
    if (base / name).is_file():
      return (base / name).resolve().relative_to(ROOT).as_posix()
  return None


def check_inside(path, folders, seams, problems):
  name = path.relative_to(ROOT).as_posix()
  folder = folder_of(name, folders)
  if not folder:
    if not name.startswith(("sdk/include/", "backends/kernels/")):
      problems.append(f"{name}: its folder has no line in the dependency table of {TABLE}")
    return
  allowed = folders[folder] | {folder}
  for own, system in INCLUDE.findall(path.read_text(encoding="utf-8", errors="replace")):
    if system in seams and name not in seams[system] and folder != "sdk/cli":  # a program may use what serves people
      problems.append(f"{name}: <{system}> may be included by {' '.join(seams[system])} alone")
    if not own:
      continue
    target = resolve(own, path)
    if target is None:
      problems.append(f'{name}: "{own}" is no file below sdk/ or backends/')
    elif not any(target == a or target.startswith(a + "/") for a in allowed) and not target.endswith(OWN_HEADERS):
      problems.append(f"{name}: includes {target}; the table lets {folder} see {' '.join(sorted(folders[folder])) or 'itself alone'}")


def check_users(folder, problems):
  """Programs outside of the library know tern.h and each other's headers in their own folder."""
  for path in sorted((ROOT / folder).rglob("*")):
    if path.suffix not in (".c", ".h", ".cc", ".cpp"):
      continue
    for own, system in INCLUDE.findall(path.read_text(encoding="utf-8", errors="replace")):
      if own and not (path.parent / own).is_file():
        problems.append(f'{path.relative_to(ROOT)}: includes "{own}"; {folder}/ may include <tern/tern.h> alone')
      if system.startswith(("base/", "ir/", "ops/", "formats/", "passes/", "runtime/", "text/", "pipeline/", "api/")):
        problems.append(f"{path.relative_to(ROOT)}: includes <{system}>; {folder}/ may include <tern/tern.h> alone")


def main():
  folders, seams = read_table()
  problems, count = [], 0
  for top in ("sdk", "backends"):
    for path in sorted((ROOT / top).rglob("*")):
      if path.suffix in SOURCES and "target" not in path.parts:
        count += 1
        check_inside(path, folders, seams, problems)
  for folder in ("bindings", "samples"):
    check_users(folder, problems)
  if count < 10:
    problems.append(f"only {count} source files found below {ROOT}: wrong folder?")
  print("\n".join(problems) or f"{count} files keep to the dependency table")
  sys.exit(bool(problems))


if __name__ == "__main__":
  main()
