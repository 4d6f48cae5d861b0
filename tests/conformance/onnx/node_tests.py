"""Holds tern's operators to the node tests of the `onnx` package.

    node_tests.py --tool BUILD/run_node_tests [--update] [--filter TEXT] [--verbose]

The tests' models and tensors are generated once by the package itself into the cache folder. Every test whose operators
tern has must pass. expected.txt lists the tests that pass: a listed test that fails, an unlisted failure of an operator
that tern has, and (until --update writes it) a new pass are all reported; the first two fail the run. A test that tern
refuses with UNSUPPORTED (a type or a mode) is counted, and fails only if it is listed.
"""

import argparse
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
EXPECTED = HERE / "expected.txt"


def cache_folder():
    default = pathlib.Path.home() / ".cache" / "tern"
    return pathlib.Path(os.environ.get("TERN_MODEL_CACHE") or default)


def generate(folder):
    """Writes node/NAME/{model.onnx,tolerance.txt,test_data_set_N/*.pb} as the package's own tool does."""
    import argparse as namespace
    import onnx.backend.test.case.model as model_cases
    import onnx.backend.test.cmd_tools as tools

    cases = [c for c in model_cases.collect_testcases() if c.kind == "node"]
    from onnx.backend.test.case.node import collect_testcases

    cases = cases or list(collect_testcases(None))
    original = model_cases.collect_testcases
    model_cases.collect_testcases = lambda: cases
    try:
        tools.generate_data(namespace.Namespace(output=str(folder)))
    finally:
        model_cases.collect_testcases = original
    for case in cases:
        (folder / "node" / case.name / "tolerance.txt").write_text(f"{case.rtol} {case.atol}\n")
    (folder / "complete").write_text(f"{len(cases)}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, help="the run_node_tests program")
    parser.add_argument("--update", action="store_true", help="write expected.txt from this run")
    parser.add_argument("--filter", default="", help="only tests whose name holds this")
    parser.add_argument("--verbose", action="store_true", help="also print why tests are unsupported")
    args = parser.parse_args()
    try:
        import onnx
    except ImportError:
        print("skipped: the onnx package is not installed for this Python")
        return 77
    folder = cache_folder() / "onnx-node-tests" / onnx.__version__
    if not (folder / "complete").exists():
        generate(folder)
    names = sorted(p.name for p in (folder / "node").iterdir() if args.filter in p.name)
    results = {}
    for start in range(0, len(names), 200):
        command = [args.tool] + [str(folder / "node" / n) for n in names[start : start + 200]]
        run = subprocess.run(command, capture_output=True, text=True, errors="replace")
        for line in run.stdout.splitlines():
            verdict, _, rest = line.partition(" ")
            name, _, why = rest.partition(": ")
            results[name] = (verdict, why)
        if run.returncode != 0:
            print(f"the tool ended with {run.returncode}\n{run.stderr[-4000:]}")
    passed = sorted(n for n, (v, _) in results.items() if v == "pass")
    failed = sorted(n for n in names if results.get(n, ("fail", ""))[0] == "fail")
    unsupported = sorted(n for n, (v, _) in results.items() if v == "unsupported")
    if args.update:
        EXPECTED.write_text("".join(n + "\n" for n in passed))
    expected = {n for n in EXPECTED.read_text().split() if args.filter in n} if EXPECTED.exists() else set()
    lost = sorted(n for n in expected & set(unsupported))
    for name in failed:
        print("FAIL", name, results.get(name, ("", "no result: the tool crashed"))[1])
    for name in lost:
        print("LOST", name, results[name][1])
    if args.verbose:
        for name in unsupported:
            print("unsupported", name, results[name][1])
    new = [n for n in passed if n not in expected]
    if new:
        print(f"{len(new)} tests pass that expected.txt does not list (--update writes them): {' '.join(new[:5])} ...")
    print(f"{len(names)} node tests of onnx {onnx.__version__}: {len(passed)} pass, {len(failed)} fail, "
          f"{len(unsupported)} use what tern lacks")
    missing = expected - set(names)
    if missing:
        print(f"{len(missing)} listed tests are not in this version of the package")
    return 1 if failed or lost or new else 0


if __name__ == "__main__":
    sys.exit(main())
