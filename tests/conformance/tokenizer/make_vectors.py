#!/usr/bin/env python3
"""make_vectors.py OUT: one small tokenizer.json for every normalizer, pre-tokenizer, model option, added-token flag,
post-processor and decoder, with what Hugging Face `tokenizers` makes of some texts. tests/unit/test_tokenizer_vectors.c
replays them.

To see where pieces begin and end, most cases use a model that spells bytes: the vocabulary is <0x00>..<0xFF>, there are
no merges, and every piece ends in the bytes of "|"."""
import json
import sys

from tokenizers import Tokenizer

BYTES = {f"<0x{i:02X}>": i for i in range(256)}
SPELL = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": "|",
         "fuse_unk": False, "byte_fallback": True, "ignore_merges": False, "vocab": BYTES, "merges": []}

TEXTS = ["", " ", "a", "Hello, World!  It's 2024.", "  lead and trail \t\n", "ÀÉÎõü Ünïcödé İIıi ΑΣΟΣ ΟΔΥΣΣΕΥΣ ẞß Å Å",
         "e\u0301 o\u0308\u0323 a\u0323\u0308 ﬁ½²㎏ Ⅷ ｶﾞ ｱ", "日本語 한국어 각 中文，。", "नमस्ते ১২৩ ٤٥٦ ⅕ ①", "👋🏽👨‍👩‍👧 🏳️‍🌈 1️⃣",
         "\u0001\u0007\u001f\u007f\u0085\u009f\u00ad\u200b\u200d\u2028\ufeff\ufffdx", "a\u00a0b\u3000c\u1680d\u2003e \u180e \u180ef",
         "snake_case--dash…(x)[y]{z} $5+6=11 ~`^|<>", "▁already▁marked ▁ x", "tab\tnew\nline\r\n\r\n  end", "'S 't 'RE we'll I'M",
         "\u0378\U0001e95e\u2e5d\u1df6\U00011f5a a\u0345\u0334b", "aaaa ab abab bbb", "12 345 6789 1000000", "don't. I do not , he 's"]


def split(pattern, behavior, invert=False, regex=False):
  return {"type": "Split", "pattern": {"Regex" if regex else "String": pattern}, "behavior": behavior, "invert": invert}


def sequence(key, *parts):
  return {"type": "Sequence", key: list(parts)}


def bert(**options):
  base = {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
  return {**base, **options}


def metaspace(scheme, do_split=True):
  return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": do_split}


def byte_level(prefix=False, regex=True):
  return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
NORMALIZERS = [
  {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "StripAccents"},
  {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Strip", "strip_left": True, "strip_right": False},
  {"type": "Strip", "strip_left": False, "strip_right": True}, {"type": "Nmt"}, {"type": "ByteLevel"},
  {"type": "Prepend", "prepend": "▁"}, {"type": "Prepend", "prepend": ""},
  bert(clean_text=True), bert(handle_chinese_chars=True), bert(strip_accents=True), bert(lowercase=True),
  bert(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True),
  bert(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=False),
  {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
  {"type": "Replace", "pattern": {"String": "a"}, "content": ""}, {"type": "Replace", "pattern": {"Regex": "^."}, "content": "<>"},
  {"type": "Replace", "pattern": {"Regex": r" {2,}$"}, "content": "$"}, {"type": "Replace", "pattern": {"Regex": r"b*"}, "content": "-"},
  sequence("normalizers"), sequence("normalizers", {"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}),
  sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
]
PRE_TOKENIZERS = [
  byte_level(), byte_level(prefix=True), byte_level(regex=False), byte_level(True, False), {"type": "BertPreTokenizer"},
  {"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "CharDelimiterSplit", "delimiter": "a"},
  {"type": "FixedLength", "length": 3}, {"type": "Digits", "individual_digits": True}, {"type": "Digits", "individual_digits": False},
  *[{"type": "Punctuation", "behavior": b} for b in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")],
  {"type": "Punctuation"},
  *[split(" ", b, i) for b in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous") for i in (False, True)],
  *[split("a|b", b, i, True) for b in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous") for i in (False, True)],
  split("", "Isolated"), split(r"(?=a)", "Isolated", regex=True), split(r"\d{1,3}(?=(?:\d{3})*\b)", "Isolated", regex=True),
  split(r"^\s+|\s+$", "Removed", regex=True), split(GPT2, "Isolated", regex=True), split(GPT2, "Removed", True, True),
  split(LLAMA3, "Isolated", regex=True), split(LLAMA3.replace("{1,3}", ""), "Isolated", regex=True), split(LLAMA3, "Removed", True, True),
  split(LLAMA3, "MergedWithPrevious", regex=True),
  *[metaspace(s, d) for s in ("always", "first", "never") for d in (True, False)],
  {"type": "Metaspace", "replacement": "_", "add_prefix_space": True}, {"type": "Metaspace", "replacement": "_", "add_prefix_space": False,
                                                                       "prepend_scheme": "never"},
  sequence("pretokenizers"), sequence("pretokenizers", {"type": "Whitespace"}, {"type": "Digits", "individual_digits": True}),
  sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level()),
  sequence("pretokenizers", split(LLAMA3, "Isolated", regex=True), byte_level(regex=False)),
  sequence("pretokenizers", byte_level(), {"type": "Punctuation", "behavior": "Isolated"}),
  sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("first")),
  sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("always")),
]
CASES = []


def case(name, texts=TEXTS, pairs=(), decode=(), plain=False, **parts):
  spec = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
          "post_processor": None, "decoder": None, "model": SPELL, **parts}
  oracle = Tokenizer.from_str(json.dumps(spec))
  out = {"name": name, "spec": spec, "encode": [], "pairs": [], "decode": []}
  if spec["model"] is SPELL:
    out["spec"] = {**spec, "model": "spell"}  # kept once in the file
  for text in texts:
    row = {"text": text, "ids": oracle.encode(text).ids}
    if spec["post_processor"]:
      row["bare"] = oracle.encode(text, add_special_tokens=False).ids
    if plain:
      oracle.encode_special_tokens = True
      row["plain"] = oracle.encode(text).ids
      oracle.encode_special_tokens = False
    out["encode"].append(row)
  for a, b in pairs:
    for special in (True, False):
      e = oracle.encode(a, b, add_special_tokens=special)
      out["pairs"].append({"a": a, "b": b, "special": special, "ids": e.ids, "types": e.type_ids})
  for ids in decode:
    out["decode"].append({"ids": ids, "text": oracle.decode(ids, skip_special_tokens=False),
                          "bare": oracle.decode(ids, skip_special_tokens=True)})
  CASES.append(out)


def added(content, id, **flags):
  return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False,
          **flags}


def normalizers():
  for spec in NORMALIZERS:
    case("normalizer " + json.dumps(spec, ensure_ascii=False), normalizer=spec)
  strip = {"type": "Strip", "strip_left": True, "strip_right": False}
  case("Metaspace first after Strip", normalizer=strip, pre_tokenizer=metaspace("first"))


def pre_tokenizers():
  for spec in PRE_TOKENIZERS:
    case("pre-tokenizer " + json.dumps(spec, ensure_ascii=False), pre_tokenizer=spec)


def models():
  words = ["a", "b", "ab", "abab", "aab", "c", "bc", "abc", "é", "[UNK]", "##a", "##b", "##ab", "b</w>", "ab</w>", "a</w>", "##b</w>"]
  vocab = {w: i for i, w in enumerate(words)}
  texts = ["", "a", "ab", "abab", "aabab", "abc", "abcabc", "xx", "axb", "xxyxa", "é", "aé", "ab" * 40, "a" * 61 + "bc", "bca", "☃a☃☃"]
  merges = [["a", "b"], ["ab", "ab"], ["a", "ab"], ["b", "c"], ["a", "bc"]]
  bpe = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
         "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": merges}
  case("BPE pairs", texts, model=bpe)
  case("BPE strings", texts, model={**bpe, "merges": ["#version: 0.2"] + [" ".join(m) for m in merges]})
  case("BPE without type", texts, model={k: v for k, v in bpe.items() if k != "type"})
  case("BPE other order", texts, model={**bpe, "merges": merges[::-1]})
  case("BPE merge named twice", texts, model={**bpe, "merges": merges + [["a", "b"]]})
  for fuse in (False, True):
    case(f"BPE unk fuse {fuse}", texts, model={**bpe, "unk_token": "[UNK]", "fuse_unk": fuse})
  some = {**vocab, **{f"<0x{b:02X}>": 100 + b for b in "☃x".encode()}}
  case("BPE byte fallback with unk", texts, model={**bpe, "unk_token": "[UNK]", "byte_fallback": True, "vocab": some})
  case("BPE byte fallback, fused unk", texts, model={**bpe, "unk_token": "[UNK]", "fuse_unk": True, "byte_fallback": True, "vocab": some})
  case("BPE ignore merges", texts, model={**bpe, "merges": [], "ignore_merges": True})
  case("BPE prefix", texts, model={**bpe, "continuing_subword_prefix": "##", "unk_token": "[UNK]", "merges": [["a", "##b"]]})
  case("BPE suffix", texts, model={**bpe, "end_of_word_suffix": "</w>", "merges": [["a", "b"], ["a", "b</w>"]]})
  case("BPE prefix and suffix", texts, model={**bpe, "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>", "merges": []})
  spelled = {**bpe, "vocab": {"a": 0, "b": 1, "Ġ": 2, "Ġa": 3, "Ã": 4, "©": 5, "Ã©": 6, "ab": 7, "[UNK]": 8, "Ġab": 9},
             "merges": [["Ġ", "a"], ["Ã", "©"], ["a", "b"], ["Ġa", "b"]]}
  for extra in ({}, {"unk_token": "[UNK]"}, {"unk_token": "[UNK]", "fuse_unk": True}, {"ignore_merges": True, "merges": []}):
    case(f"BPE over ByteLevel {extra}", texts + [" a ab", "éé é", "a" * 70], model={**spelled, **extra}, pre_tokenizer=byte_level())
    case(f"BPE over ByteLevel with a prefix space {extra}", texts, model={**spelled, **extra}, pre_tokenizer=byte_level(True))
  piece = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 10, "vocab": vocab}
  more = texts + ["abababab", "ababababab", "abababababa", "a ab  abc", "éa éé ab"]
  case("WordPiece", more, model=piece, pre_tokenizer={"type": "Whitespace"})
  case("WordPiece without type", more, model={k: v for k, v in piece.items() if k != "type"}, pre_tokenizer={"type": "Whitespace"})
  case("WordPiece other prefix", more, model={**piece, "continuing_subword_prefix": "a"}, pre_tokenizer={"type": "Whitespace"})


def added_tokens():
  texts = ["", "<s>", "a<s>b", " <s> ", "a <s> b", "<s><s>", "x<s>", "_<s>_", "  <s>  <s>  a", "<ss><s>s", "<S> <s>", "é<s>é", "\n<s>\n", "<s",
           "hello yes", "yesterday", "oh yes!", "yes", "Yes YES", "a\u00a0<s>\u3000b"]
  for flag in ({}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"single_word": True}, {"special": True},
               {"normalized": False}, {"special": True, "normalized": False}):
    case(f"added {flag}", texts, plain=True, normalizer={"type": "Lowercase"}, pre_tokenizer={"type": "WhitespaceSplit"},
         added_tokens=[added("<s>", 256, **flag), added("<ss>", 257, **flag), added("Yes", 258, **flag)])
  case("added, mixed", texts, plain=True, normalizer={"type": "Prepend", "prepend": "▁"}, pre_tokenizer=metaspace("first"),
       added_tokens=[added("<s>", 256, special=True, normalized=False), added("yes", 257), added("<S", 258, normalized=False)])
  case("added to the vocabulary", ["a<0x41>b", "<0x41"], added_tokens=[added("<0x41>", 0x41, normalized=False)])
  case("added, decoded", ["x"], normalizer={"type": "Lowercase"}, decoder={"type": "Fuse"}, decode=[[256, 65, 257, 258, 300, 259]],
       added_tokens=[added("<S>", 256, special=True, normalized=False), added("<T>", 257, special=True), added("Yes", 258),
                     added("<t>", 259, special=True)])


def post_processors():
  tokens = [added("[CLS]", 256, special=True, normalized=False), added("[SEP]", 257, special=True, normalized=False)]
  pairs = [("a", "b"), ("", ""), ("a b", ""), ("[SEP]", "c")]
  special = {t["content"]: {"id": t["content"], "ids": [t["id"]], "tokens": [t["content"]]} for t in tokens}
  two = {**special, "[SEP]": {"id": "[SEP]", "ids": [257, 256], "tokens": ["[SEP]", "[CLS]"]}}

  def s(id, type_id=0):
    return {"SpecialToken": {"id": id, "type_id": type_id}}

  def q(id, type_id=0):
    return {"Sequence": {"id": id, "type_id": type_id}}

  template = {"type": "TemplateProcessing", "single": [s("[CLS]"), q("A"), s("[SEP]")],
              "pair": [s("[CLS]"), q("A"), s("[SEP]"), q("B", 1), s("[SEP]", 1)], "special_tokens": special}
  swapped = {"type": "TemplateProcessing", "single": [q("A", 3), s("[SEP]", 4)], "pair": [q("B", 2), s("[SEP]", 5), q("A", 1)],
             "special_tokens": two}
  ends = {"sep": ["[SEP]", 257], "cls": ["[CLS]", 256]}
  for spec in (None, template, swapped, {"type": "BertProcessing", **ends},
               {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False, **ends}, byte_level(),
               sequence("processors", byte_level(), template), sequence("processors")):
    case("post-processor " + json.dumps(spec), ["", "a", "a[SEP]b"], pairs=pairs, post_processor=spec, added_tokens=tokens)


def decoders():
  words = ["Hello", "▁world", "##ing", "do", "n't", "▁", ".", "!", "'", "Ġthe", "Ċ", "Ã", "©", "ðŁĳĭ", "<0xE4>", "<0xBD>", "<0xA0>",
           "<0x41>", "<0xFF>", "end</w>", "mid", "x", " ", "  a  ", "日", "▁▁", "|", "<pad>", "'s", "▁do not", ",", "ï¿½", "a▁b", "é", "<0x+1>"]
  model = {**SPELL, "byte_fallback": False, "end_of_word_suffix": None, "vocab": {w: i for i, w in enumerate(words)}}
  eos = len(words)
  tokens = [added("<eos>", eos, special=True, normalized=False), added("Ġ raw", eos + 1, normalized=False)]
  seed, rows = 1, [[], [eos], [0], [eos, eos], list(range(eos + 3)), [14, 15, 16], [14, 15], [17, 14, 15], [14, eos, 15, 16], [11, 12], [11, eos, 12]]
  for _ in range(60):
    row = []
    for _ in range(1 + seed % 7):
      seed = (seed * 1103515245 + 12345) % (1 << 31)
      row.append((seed >> 8) % (eos + 2))
    rows.append(row)
  replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
  fallback, fuse, strip = {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}
  for spec in (None, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
               {"type": "WordPiece", "prefix": "##", "cleanup": True}, {"type": "WordPiece", "prefix": "##", "cleanup": False},
               {"type": "BPEDecoder", "suffix": "</w>"}, metaspace("always"), metaspace("first"), metaspace("never"), fallback, fuse, strip,
               {"type": "Strip", "content": "▁", "start": 2, "stop": 0}, replace,
               {"type": "Replace", "pattern": {"Regex": "[ae]+"}, "content": "<>"},
               {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
               {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": False},
               sequence("decoders", replace, fallback, fuse, strip), sequence("decoders", replace, fallback, fuse), sequence("decoders")):
    # The oracle panics on BPEDecoder without tokens; an empty text is what it should be.
    some = [r for r in rows if [i for i in r if i != eos]] if spec and spec["type"] == "BPEDecoder" else rows
    case("decoder " + json.dumps(spec, ensure_ascii=False), [], decode=some, model=model, added_tokens=tokens, decoder=spec)


if __name__ == "__main__":
  for make in (normalizers, pre_tokenizers, models, added_tokens, post_processors, decoders):
    make()
  rows = ",\n".join(json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in CASES)
  with open(sys.argv[1], "w") as f:
    f.write('{"spell":' + json.dumps(SPELL, separators=(",", ":")) + ',\n"cases":[\n' + rows + "\n]}\n")
  print(f"{len(CASES)} cases, {sum(len(c['encode']) + len(c['pairs']) + len(c['decode']) for c in CASES)} rows")
