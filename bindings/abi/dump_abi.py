#!/usr/bin/env python3
"""Reads tern.h and writes what a binding needs: bindings/abi/tern_abi.json (constants, structs, functions),
bindings/python/tern/_abi.py (the same as ctypes), bindings/web/src/abi.js (with the offsets of 32-bit WebAssembly) and
bindings/web/abi_layout.h (those offsets as assertions for the C compiler). Pure Python: the header keeps to a shape that
a small reader gets right (one declaration a statement, no varargs, no bit fields), and anything else is an error here.

  dump_abi.py            write the files
  dump_abi.py --check    write nothing; exit 1 if a file on disk is not what the header says
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = ROOT / "sdk/include/tern/tern.h"
JSON_FILE = ROOT / "bindings/abi/tern_abi.json"
PYTHON_FILE = ROOT / "bindings/python/tern/_abi.py"
WEB_FILE = ROOT / "bindings/web/src/abi.js"
WEB_LAYOUT_FILE = ROOT / "bindings/web/abi_layout.h"

SCALARS = {
  "void": None, "int32_t": "c_int32", "uint32_t": "c_uint32", "int64_t": "c_int64", "uint64_t": "c_uint64",
  "size_t": "c_size_t", "float": "c_float", "double": "c_double", "char": "c_char",
}


class HeaderError(Exception):
  pass


def clean(text):
  text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
  return re.sub(r"\\\n", " ", text)


def status_list(text):
  return [(f"TERN_STATUS_{n}", int(v)) for n, v in re.findall(r"\bX\(([A-Z_]+), (\d+), \"", text)]


def constants(text):
  found = {n: int(v, 0) for n, v in re.findall(r"^#define (TERN_[A-Z_]+) (\d+|0x[0-9a-f]+)\s*$", text, re.M)}
  found.update(status_list(text))
  for body in re.findall(r"enum\s*(?:tern_\w+)?\s*\{([^{}#]*)\}", text):
    for entry in filter(None, (e.strip() for e in body.split(","))):
      match = re.fullmatch(r"(TERN_\w+)\s*=\s*(\d+|0x[0-9a-f]+)", entry)
      if not match:
        raise HeaderError(f"enum entry without a pinned value: {entry!r}")
      found[match[1]] = int(match[2], 0)
  return found


def declarator(text):
  """'const char *const *names' -> (name, type)"""
  text = " ".join(text.split())
  array = re.fullmatch(r"(.*)\[(\w+)\]", text)
  if array:
    name, kind = declarator(array[1])
    return name, {"array": array[2], "of": kind}
  match = re.fullmatch(r"(.*?[\s*])(\w+)", text)
  if not match:
    raise HeaderError(f"cannot read {text!r}")
  base = match[1].replace("const", " ")
  stars = base.count("*")
  return match[2], {"type": base.replace("*", " ").strip(), "pointers": stars}


def split_arguments(text):
  text = text.strip()
  return [] if text == "void" else [declarator(part) for part in text.split(",")]


def callback(text):
  match = re.fullmatch(r"\s*(.*?)\(\*(\w+)\)\s*\((.*)\)\s*", text, re.S)
  if not match:
    return None
  _, result = declarator(match[1] + " result")
  return match[2], {"callback": result, "arguments": [k for _, k in split_arguments(match[3])]}


def members(body):
  found = []
  for statement in filter(None, (s.strip() for s in body.split(";"))):
    entry = callback(statement)
    if entry:
      found.append(entry)
      continue
    parts = statement.split(",")
    name, kind = declarator(parts[0])
    found.append((name, kind))
    for other in parts[1:]:
      if not re.fullmatch(r"\s*\w+\s*", other) or kind.get("pointers", 1):
        raise HeaderError(f"declare one member a statement: {statement!r}")
      found.append((other.strip(), kind))
  return found


def parse(text):
  constant_values = constants(clean(text))
  text = clean(text)
  text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
  handles, structs, functions = [], {}, {}
  for line in re.findall(r"typedef struct (tern_\w+) (tern_\w+);", text):
    handles.append(line[1])
  for body, name in re.findall(r"typedef struct tern_\w+ \{([^{}]*)\} (tern_\w+);", text):
    structs[name] = members(body)
  enums = re.findall(r"typedef enum (tern_\w+)", text)
  for result, name, arguments in re.findall(r"TERN_API ([^;()]*?[\s*])(tern_\w+)\(([^;]*)\);", text):
    functions[name] = {"result": declarator(result + " r")[1], "arguments": split_arguments(arguments)}
  if len(functions) != text.count("TERN_API"):
    raise HeaderError(f"{text.count('TERN_API')} declarations, {len(functions)} understood")
  return {"constants": constant_values, "enums": enums, "handles": handles, "structs": structs, "functions": functions}


def ctype(kind, abi):
  if "callback" in kind:
    parts = [ctype(k, abi) for k in [kind["callback"], *kind["arguments"]]]
    return f"CFUNCTYPE({', '.join(parts)})"
  if "array" in kind:
    return f"{ctype(kind['of'], abi)} * {kind['array']}"
  base, stars = kind["type"], kind["pointers"]
  if base == "char" and stars:
    base, stars, name = "char", stars - 1, "c_char_p"
  elif base == "void" and stars:
    stars, name = stars - 1, "c_void_p"
  elif base in abi["handles"]:
    if not stars:
      raise HeaderError(f"{base} by value")
    stars, name = stars - 1, "c_void_p"
  elif base in abi["enums"] or base == "tern_status":
    name = "c_int32"
  elif base in abi["structs"]:
    name = base
  elif base in SCALARS:
    name = str(SCALARS[base])
  else:
    raise HeaderError(f"unknown type {base!r}")
  for _ in range(stars):
    name = f"POINTER({name})"
  return name


def callback_ctype(kind, abi):
  """As ctype, but bytes that come with a size stay a pointer (they are not NUL-terminated)."""
  parts = [ctype(kind["callback"], abi)]
  kinds = kind["arguments"]
  for i, k in enumerate(kinds):
    sized = i + 1 < len(kinds) and kinds[i + 1].get("type") == "size_t"
    parts.append("c_void_p" if sized and k["pointers"] else ctype(k, abi))
  return f"CFUNCTYPE({', '.join(parts)})"


def to_python(abi):
  lines = [
    '"""The C ABI as ctypes. Generated from tern.h by bindings/abi/dump_abi.py: do not edit."""',
    "# ruff: noqa",
    "from ctypes import (CFUNCTYPE, POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t,",
    "                    c_uint32, c_uint64, c_void_p)", "",
  ]
  lines += [f"{name} = {value}" for name, value in abi["constants"].items()]
  for name, fields in abi["structs"].items():
    lines += ["", "", f"class {name}(Structure):", "  _fields_ = ["]
    for field, kind in fields:
      kind_text = callback_ctype(kind, abi) if "callback" in kind else ctype(kind, abi)
      lines.append(f'    ("{field}", {kind_text}),')
    lines.append("  ]")
  lines += ["", "", "# name -> (result, arguments)", "FUNCTIONS = {"]
  for name, function in abi["functions"].items():
    kinds = [k for _, k in function["arguments"]]
    result = ctype(function["result"], abi)
    if result == "c_char_p" and any(k.get("type") == "size_t" and k["pointers"] for k in kinds):
      result = "c_void_p"  # text with a size may hold NULs
    lines.append(f'  "{name}": ({result}, [{", ".join(ctype(k, abi) for k in kinds)}]),')
  lines += ["}", "", "", "def declare(library):",
            '  """Gives every function of the library its result and argument types."""',
            "  for name, (result, arguments) in FUNCTIONS.items():",
            "    function = getattr(library, name)",
            "    function.restype, function.argtypes = result, arguments", ""]
  return "\n".join(lines)


# kind of a scalar in JavaScript, its size (and alignment) in 32-bit WebAssembly
WASM32 = {
  "int32_t": ("i32", 4), "uint32_t": ("u32", 4), "int64_t": ("i64", 8), "uint64_t": ("u64", 8), "size_t": ("u32", 4),
  "float": ("f32", 4), "double": ("f64", 8), "char": ("u8", 1),
}


def wasm32_layout(kind, abi):
  """(what JavaScript needs to know, size, alignment)"""
  if "array" in kind:
    entry, size, align = wasm32_layout(kind["of"], abi)
    count = int(abi["constants"].get(kind["array"], 0) or kind["array"])
    return {**entry, "count": count}, size * count, align
  if "callback" in kind or kind["pointers"]:
    return {"kind": "pointer"}, 4, 4
  base = kind["type"]
  if base in abi["enums"] or base == "tern_status":
    return {"kind": "i32"}, 4, 4
  if base in abi["structs"]:
    size, align, _ = wasm32_struct(base, abi)
    return {"kind": "struct", "of": base}, size, align
  if base not in WASM32:
    raise HeaderError(f"{base} by value")
  name, size = WASM32[base]
  return {"kind": name}, size, size


def wasm32_struct(name, abi):
  at, alignment, fields = 0, 1, {}
  for field, kind in abi["structs"][name]:
    entry, size, align = wasm32_layout(kind, abi)
    at = (at + align - 1) // align * align
    fields[field] = {"at": at, **entry}
    at, alignment = at + size, max(alignment, align)
  return (at + alignment - 1) // alignment * alignment, alignment, fields


def to_javascript(abi):
  lines = ["// The C ABI for 32-bit WebAssembly. Generated from tern.h by bindings/abi/dump_abi.py: do not edit.", "",
           "export const constants = {"]
  lines += [f"  {name}: {value}," for name, value in abi["constants"].items()]
  lines += ["};", "", "/** size in bytes; fields: offset, kind, and count of arrays or name of the struct inside */",
            "export const structs = {"]
  for name in abi["structs"]:
    size, _, fields = wasm32_struct(name, abi)
    lines.append(f"  {name}: {{size: {size}, fields: {{")
    for field, entry in fields.items():
      parts = [f"{k}: {json.dumps(v)}" for k, v in entry.items()]
      lines.append(f"    {field}: {{{', '.join(parts)}}},".replace('"', "'"))
    lines.append("  }},")
  return "\n".join(lines + ["};", ""])


def to_layout_header(abi):
  lines = ["/* The offsets that bindings/web/src/abi.js holds, for the compiler to confirm. Generated from tern.h by",
           " * bindings/abi/dump_abi.py: do not edit. */", "#include <tern/tern.h>", ""]
  for name in abi["structs"]:
    size, _, fields = wasm32_struct(name, abi)
    lines.append(f'_Static_assert(sizeof({name}) == {size}, "{name}");')
    for field, entry in fields.items():
      lines.append(f'_Static_assert(offsetof({name}, {field}) == {entry["at"]}, "{name}.{field}");')
  return "\n".join(lines + [""])


def main():
  abi = parse(HEADER.read_text(encoding="utf-8"))
  wanted = {JSON_FILE: json.dumps(abi, indent=1) + "\n", PYTHON_FILE: to_python(abi),
            WEB_FILE: to_javascript(abi), WEB_LAYOUT_FILE: to_layout_header(abi)}
  stale = []
  for path, text in wanted.items():
    if "--check" in sys.argv[1:]:
      if not path.exists() or path.read_text(encoding="utf-8") != text:
        stale.append(path.relative_to(ROOT))
    else:
      path.write_text(text, encoding="utf-8")
      print(f"wrote {path.relative_to(ROOT)}")
  for path in stale:
    print(f"{path} is not what tern.h says: run bindings/abi/dump_abi.py", file=sys.stderr)
  return 1 if stale else 0


if __name__ == "__main__":
  sys.exit(main())
