#!/usr/bin/env python3
"""No tracked file names a package registry's host: where packages come from is the user's setting, not ours."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1]).resolve()
# Written in pieces, so that this file does not name them either.
HOSTS = ["pypi" + ".org", "python" + "hosted.org", "npmjs" + ".org", "npmjs" + ".com", "yarn" + "pkg.com", "crates" + ".io",
         "rubygems" + ".org", "nuget" + ".org", "maven" + ".org", "proxy.golang" + ".org",
         "ana" + "conda.org", "deb" + ".debian.org", "archive" + ".ubuntu.com", "download.pytorch" + ".org", "jsr" + ".io"]
PATTERN = re.compile("|".join(re.escape(h) for h in HOSTS) + r"|(?:index-url|registry)\s*[=:]?\s*https?://", re.I)
# cargo writes the name of its default index into every lock file.
EXEMPT_NAMES = {"Cargo.lock"}


def tracked():
  try:
    out = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True).stdout
    names = [n.decode() for n in out.split(b"\0") if n]
  except (OSError, subprocess.CalledProcessError):
    names = [p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*") if p.is_file() and not p.parts[-1].startswith(".")]
  return [n for n in names if pathlib.PurePosixPath(n).name not in EXEMPT_NAMES]


def main():
  problems, names = [], tracked()
  for name in names:
    path = ROOT / name
    if not path.is_file() or path.is_symlink():
      continue
    data = path.read_bytes()
    if b"\0" in data[:4096]:
      continue
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
      found = PATTERN.search(line)
      if found:
        problems.append(f"{name}:{number}: names a package registry: {found.group(0)}")
  if len(names) < 10:
    problems.append(f"only {len(names)} files found below {ROOT}: wrong folder?")
  print("\n".join(problems) or f"{len(names)} files name no package registry")
  sys.exit(bool(problems))


if __name__ == "__main__":
  main()
