#!/usr/bin/env python3
"""Checks that backends/kernels/generated/ is what the kernel compiler makes of its inputs.

usage: check_generated.py [REPO_ROOT]

Always: every hash in MANIFEST.sha256 holds, and every input and output is listed.
With TERN_CHECK_REGENERATE=1 also: builds the compiler with cargo (into CARGO_TARGET_DIR, by default a
temporary folder), generates afresh and compares byte for byte.
"""
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

HOW = "regenerate: see backends/kernels/README.md"


def inputs_on_disk(kernels):
    """The same list as Manifest::inputs in compiler/src/manifest.rs."""
    names = {"kernels.def", "compiler/Cargo.toml", "compiler/Cargo.lock"}
    for line in (kernels / "kernels.def").read_text().splitlines():
        words = line.split("#")[0].split()
        if words[:1] in (["math"], ["include"]):
            names.add(words[1])
        elif words[:1] == ["kernel"]:
            names.add(words[2])
    names.update(f"compiler/src/{p.name}" for p in (kernels / "compiler/src").iterdir())
    return names


def outputs_on_disk(generated):
    return {f"generated/{p.relative_to(generated).as_posix()}" for p in generated.rglob("*")
            if p.is_file() and p.name != "MANIFEST.sha256"}


def check_hashes(kernels):
    manifest = kernels / "generated/MANIFEST.sha256"
    if not manifest.is_file():
        return [f"{manifest} is missing: {HOW}"]
    lines = [line for line in manifest.read_text().splitlines() if not line.startswith("#")]
    listed = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
    problems = []
    for path in sorted(inputs_on_disk(kernels) | outputs_on_disk(kernels / "generated")):
        if path not in listed:
            problems.append(f"{path} is not in MANIFEST.sha256: {HOW}, or delete the file")
    for path, digest in listed.items():
        file = kernels / path
        if not file.is_file():
            problems.append(f"{path} is in MANIFEST.sha256 but does not exist: {HOW}")
            continue
        data = file.read_bytes()
        if not path.startswith("generated/"):
            data = data.replace(b"\r\n", b"\n")
        if hashlib.sha256(data).hexdigest() != digest:
            is_output = path.startswith("generated/")
            what = "was edited by hand" if is_output else "changed after generated/ was written"
            problems.append(f"{path} {what}: {HOW}")
    return problems


def check_regenerated(kernels):
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ)
        env.setdefault("CARGO_TARGET_DIR", os.path.join(folder, "target"))
        out = pathlib.Path(folder) / "generated"
        command = ["cargo", "run", "-q", "-j1", "--locked", "--manifest-path",
                   str(kernels / "compiler/Cargo.toml"), "--", str(kernels), str(out)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode != 0:
            return [f"the kernel compiler failed:\n{done.stderr}"]
        problems = []
        fresh = {p.relative_to(out) for p in out.rglob("*") if p.is_file()}
        committed = kernels / "generated"
        kept = {p.relative_to(committed) for p in committed.rglob("*") if p.is_file()}
        for path in sorted(fresh | kept):
            old, new = committed / path, out / path
            if not (old.is_file() and new.is_file() and old.read_bytes() == new.read_bytes()):
                problems.append(f"generated/{path.as_posix()} differs from a fresh run: {HOW}")
        return problems


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2])
    kernels = root / "backends/kernels"
    if not kernels.is_dir():
        sys.exit(f"{kernels}: no such folder; the argument is the root of the repository")
    problems = check_hashes(kernels)
    if os.environ.get("TERN_CHECK_REGENERATE") == "1":
        problems += check_regenerated(kernels)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
