#!/usr/bin/env python3
"""The checks themselves: each must find the violation that it is for, in a small tree made to break the law."""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TABLE = "# A\n\n## Dependency table\n\n```\nbase:\nir: base\nops: base ir\npasses: base ir\nbackends/cpu: base runtime/backend.h\nruntime: base ir\ncli:\n<cjson/cJSON.h>: only base/json.c\n```\n"
GOOD = {f"sdk/base/file{i}.c": '#include "base/a.h"\nint f(void) { return 1; }\n' for i in range(12)}
GOOD.update({"docs/architecture.md": TABLE, "sdk/base/a.h": "int a;\n", "sdk/ir/ir.h": '#include "base/a.h"\n', "sdk/ops/op.h": "",
             "sdk/runtime/backend.h": "", "sdk/runtime/plan.h": "", "samples/hello.c": "#include <tern/tern.h>\n", "bindings/x.txt": ""})
LONG_BODY = "int f(int x) {\n" + "  x++;\n" * 130 + "  return x;\n}\n"

# (check, file, its text, words that the message must hold); None: the tree is fine
CASES = [
    ("check_includes", None, None, "keep to the dependency table"),
    ("check_includes", "sdk/base/bad.c", '#include "ir/ir.h"\n', "sdk/base/bad.c: includes sdk/ir/ir.h"),
    ("check_includes", "sdk/passes/bad.c", '#include "ops/op.h"\n', "includes sdk/ops/op.h"),
    ("check_includes", "sdk/passes/bad.c", '#include "runtime/backend.h"\n', "includes sdk/runtime/backend.h"),
    ("check_includes", "backends/cpu/bad.c", '#include "runtime/plan.h"\n', "includes sdk/runtime/plan.h"),
    ("check_includes", "sdk/ir/bad.c", '#include "nowhere.h"\n', "is no file"),
    ("check_includes", "sdk/ir/bad.c", "#include <cjson/cJSON.h>\n", "may be included by sdk/base/json.c alone"),
    ("check_includes", "sdk/extra/new.c", "int x;\n", "no line in the dependency table"),
    ("check_includes", "samples/bad.c", '#include "base/a.h"\n', "<tern/tern.h> alone"),
    ("check_banned", None, None, "keep to docs/style.md"),
    ("check_banned", "sdk/ir/bad.c", "int *f(void) {\n  return malloc (4);\n}\n", "sdk/ir/bad.c:2: malloc()"),
    ("check_banned", "sdk/ir/bad.c", 'void f(void) { printf("x"); }\n', "printf()"),
    ("check_banned", "sdk/ir/bad.c", "/* malloc() and */ int f(void) { s.free(1); s->malloc(2); return tern__malloc(3); }\n", "keep to"),
    ("check_banned", "sdk/ir/bad.c", 'const char *s = "malloc(4) is banned";\n', "keep to"),
    ("check_banned", "sdk/cli/main.c", 'int main(void) { printf("x"); }\n', "keep to"),
    ("check_banned", "backends/cpu/bad.c", "double f(void) { return strtod(s, 0); }\n", "strtod()"),
    ("check_banned", "sdk/ir/bad.c", LONG_BODY, "a function of 133 lines"),
    ("check_banned", "sdk/ir/bad.c", "int " + "x" * 120 + ";\n", "125 columns"),
    ("check_banned", "sdk/ir/bad.c", "int x;\n" * 1501, "1502 lines"),
    ("check_banned", "backends/kernels/generated/k.c", "int " + "x" * 200 + ";\n", "keep to"),
    ("check_no_hosts", None, None, "name no package registry"),
    ("check_no_hosts", "docs/bad.md", "get it from " + "pypi" + ".org\n", "docs/bad.md:1"),
]


def main():
  problems = []
  for check, name, text, words in CASES:
    with tempfile.TemporaryDirectory() as folder:
      for path, content in {**GOOD, **({name: text} if name else {})}.items():
        target = pathlib.Path(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
      done = subprocess.run([sys.executable, str(HERE / f"{check}.py"), folder], capture_output=True, text=True)
      fine = words.startswith(("keep to", "name no"))
      if words not in done.stdout or (done.returncode == 0) != fine:
        problems.append(f"{check} on {name}: exit {done.returncode}, expected '{words}' in:\n{done.stdout}{done.stderr}")
  print("\n".join(problems) or f"{len(CASES)} cases: the checks find what they are for")
  sys.exit(bool(problems))


if __name__ == "__main__":
  main()
