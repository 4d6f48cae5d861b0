#!/usr/bin/env python3
"""make_unicode_tables.py LINES [--check] [--out sdk/text/unicode_tables.c]

Asks Hugging Face `tokenizers` about every code point and writes where its Unicode tables differ from ours (utf8proc's);
LINES is the output of unicode_lines. With --check nothing is written: any difference that the tables leave is an error."""
import argparse
import sys

from tokenizers import Regex, normalizers, pre_tokenizers

LETTER, NUMBER, MARK, NONSPACING, PUNCTUATION, SPACE, OTHER, WORD, NUMERIC = (1 << i for i in range(9))
FORMS = [normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD()]
CLEAN = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
ACCENTS = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
STRIP, LOWER = normalizers.StripAccents(), normalizers.Lowercase()
BERT, WHITESPACE, DIGITS = pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)
CLASSES = [(pre_tokenizers.Split(Regex(p), "isolated"), bit) for p, bit in
           ((r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\p{M}", MARK), (r"\p{P}", PUNCTUATION), (r"\s", SPACE))]


def new_flags(c):
  flags = sum(bit for split, bit in CLASSES if len(split.pre_tokenize_str("\x01" + c + "\x01")) == 3)
  flags |= WORD if len(WHITESPACE.pre_tokenize_str("a" + c + "b")) == 1 else 0
  return flags | (NUMERIC if len(DIGITS.pre_tokenize_str("a" + c + "b")) == 3 else 0)


def old_flags(c, plain):
  """plain: the character has no canonical decomposition."""
  flags = MARK if STRIP.normalize_str("a" + c + "b") == "ab" else 0
  flags |= NONSPACING if plain and ACCENTS.normalize_str("a" + c + "b") == "ab" else 0
  flags |= PUNCTUATION if [t for t, _ in BERT.pre_tokenize_str("a" + c + "b")] == ["a", c, "b"] else 0
  return flags | (OTHER if CLEAN.normalize_str("a" + c + "b") == "ab" else 0)


def has_class(c):
  """A combining class that the oracle knows reorders c with a mark of class 1 or 240."""
  return FORMS[1].normalize_str("a" + c + "\u0334") != "a" + c + "\u0334" or \
         FORMS[1].normalize_str("a\u0345" + c) != "a\u0345" + c


def ranges(found):
  out = []
  for cp, flags in sorted(found.items()):
    if out and out[-1][1] == cp - 1 and out[-1][2] == flags:
      out[-1][1] = cp
    else:
      out.append([cp, cp, flags])
  return out


def lower_ranges(found):
  out = []
  for cp, low in sorted(found.items()):
    if out and out[-1][1] == cp - 1 and low == out[-1][2] + cp - out[-1][0]:
      out[-1][1] = cp
    else:
      out.append([cp, cp, low])
  return out


def probe(path):
  newer, older, undecomposed, lower, left = {}, {}, {}, {}, []
  for line in open(path):
    fields = line.split()
    cp, base, ours_new, ours_old = (int(x, 16) for x in fields[:4])
    texts, combining = [bytes.fromhex(x).decode() for x in fields[4:9]], int(fields[9])
    c, plain = chr(cp), texts[2] == chr(cp)
    if cp < 128:
      continue
    want = new_flags(c)
    mask = LETTER | NUMBER | MARK | PUNCTUATION | SPACE | WORD | NUMERIC
    if want != ours_new & mask:
      left.append((cp, "newer", ours_new, want))
    if want != base & mask:
      if base:
        left.append((cp, "a class that changed", base, want))
      newer[cp] = want
    want = old_flags(c, plain) | (0 if plain else ours_old & NONSPACING)
    mask = MARK | NONSPACING | PUNCTUATION | OTHER
    if cp == 0xFFFD:
      want &= ~OTHER  # removed by name, not by category
    if want != ours_old & mask:
      left.append((cp, "older", ours_old, want))
    if want != base & mask:
      older[cp] = want ^ (base & mask)
    if LOWER.normalize_str(c) != texts[0]:
      left.append((cp, "lower", texts[0], LOWER.normalize_str(c)))
    lower[cp] = LOWER.normalize_str(c)
    forms = 15 if combining and not has_class(c) else 0
    for form in range(4):
      want = FORMS[form].normalize_str(c)
      if want != texts[1 + form]:
        left.append((cp, "form", form, want))
      if want == c:
        forms |= (1 << form) if NFX.get((cp, form), c) != c else 0
    if forms:
      undecomposed[cp] = forms
  return newer, older, undecomposed, lower, left


def table(name, rows, comment):
  lines, line = [f"/* {comment} */", f"const tern__unicode_range {name}[] = {{"], " "
  for first, last, flags in rows:
    item = f" {{0x{first:X}, 0x{last:X}, {flags if 'lower' not in name else hex(flags)}}},"
    if len(line) + len(item) > 108:
      lines.append(line)
      line = " "
    line += item
  return "\n".join(lines + [line, "};", f"const size_t {name}_count = sizeof {name} / sizeof *{name};", ""])


NFX = {}


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("lines")
  parser.add_argument("--out")
  parser.add_argument("--check", action="store_true")
  args = parser.parse_args()
  import ctypes.util
  import ctypes
  # What utf8proc alone makes of each character, and its plain lower case: the tables hold the difference.
  lib = ctypes.CDLL(ctypes.util.find_library("utf8proc") or "libutf8proc.so.2")
  lib.utf8proc_map.argtypes = [ctypes.c_char_p, ctypes.c_ssize_t, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int]
  libc = ctypes.CDLL(None)
  libc.free.argtypes = [ctypes.c_void_p]
  stable, compat, compose, decompose = 2, 4, 8, 16
  for cp in range(128, 0x110000):
    if 0xD800 <= cp < 0xE000:
      continue
    for form, options in enumerate((stable | compose, stable | decompose, stable | compose | compat, stable | decompose | compat)):
      out, data = ctypes.c_void_p(), chr(cp).encode()
      size = lib.utf8proc_map(data, len(data), ctypes.byref(out), options)
      text = ctypes.string_at(out, size).decode()
      libc.free(out)
      if text != chr(cp):
        NFX[cp, form] = text
  newer, older, undecomposed, lower, left = probe(args.lines)
  for cp in list(lower):
    plain = chr(lib.utf8proc_tolower(cp))
    if lower[cp] == plain or cp == 0x130:
      del lower[cp]
    else:
      lower[cp] = ord(lower[cp])
  if args.check:
    for row in left[:20]:
      print("U+%04X: %s: ours %r, the oracle's %r" % row)
    print(f"{len(left)} differences over all code points")
    sys.exit(bool(left))
  text = ("/* Where the Unicode versions that tokenizers were built with differ from utf8proc's. Generated by\n"
          " * tests/conformance/tokenizer/make_unicode_tables.py; do not edit. */\n#include \"text/unicode.h\"\n\n")
  text += table("tern__unicode_newer", ranges(newer), "Assigned after Unicode 15.1: flags.")
  text += "\n" + table("tern__unicode_older", ranges(older), "Unknown to the tables of the Bert parts: flags to flip.")
  text += "\n" + table("tern__unicode_undecomposed", ranges(undecomposed), "Not decomposed or reordered: a bit for each form.")
  text += "\n" + table("tern__unicode_lower_newer", lower_ranges(lower), "Lower case that utf8proc lacks: the first one's.")
  open(args.out, "w").write(text)


if __name__ == "__main__":
  main()
