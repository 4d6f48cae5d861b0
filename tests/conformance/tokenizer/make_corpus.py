#!/usr/bin/env python3
"""make_corpus.py OUT [--lines N]: the text that tokenizers are compared on, the same bytes on every run.

Records of a little-endian u32 size and as many bytes. Ordinary sentences and random words in 25 scripts, mixed
scripts, emoji with joiners and modifiers, combining marks, control and format characters, white space runs, digits of
many scripts, code, markup, URLs, long words, spellings of special tokens, any code point, and invalid UTF-8."""
import argparse
import random
import struct

SENTENCES = """The quick brown fox jumps over the lazy dog.
It's we're they've I'll he'd don't I'm 'tis O'Neill's CAN'T WE'LL I'VE 'S 'T 'RE
Le cœur a ses raisons que la raison ne connaît point : « été », naïve, Noël !
Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; STRASSE, Straße.
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia. ¿Qué? ¡Ay!
Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń.
Pijamalı hasta yağız şoföre çabucak güvendi. İstanbul'da IĞDIR ığdır.
Tiếng Việt có dấu: người Việt Nam rất thân thiện và mến khách.
Съешь же ещё этих мягких французских булок, да выпей чаю. Ёлка ЇЖАК ґанок
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ΟΔΥΣΣΕΥΣ ὀδυσσεύς ᾳ ᾼ
Բելառուսի արագավազ շունը ցատկում է ծույլ կատվի վրայով։
ქართული ენა მშვენიერია, ᲛᲗᲐᲕᲠᲣᲚᲘ.
עברית: דג סקרן שט בים מאוכזב ולפתע מצא חברה. שָׁלוֹם עֲלֵיכֶם
نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر. مُحَمَّد ١٢٣
زبان فارسی گچ پژ ۴۵۶؛ می‌خواهم نیم‌فاصله
उत्तर प्रदेश में ऋषियों को हिन्दी क्षत्रिय १२३। नमस्ते दुनिया
বাংলা ভাষা খুব সুন্দর। ক্ষুদ্র ৭৮৯
தமிழ் மொழி மிகவும் பழமையானது. ஸ்ரீ
తెలుగు భాష చాలా తీయనిది.
ಕನ್ನಡ ಭಾಷೆ ಬಹಳ ಸುಂದರ.
മലയാളം ഒരു ദ്രാവിഡ ഭാഷയാണ്.
ગુજરાતી ભાષા મીઠી છે. ਪੰਜਾਬੀ ਬੋਲੀ ਸੋਹਣੀ ਹੈ
සිංහල භාෂාව ලස්සනයි.
ภาษาไทยไม่มีการเว้นวรรคระหว่างคำ ๑๒๓ น้ำ
ພາສາລາວ ສະບາຍດີ
မြန်မာဘာသာစကား မင်္ဂလာပါ
ភាសាខ្មែរ សួស្តី ២០២៤
བོད་སྐད་ བཀྲ་ཤིས་བདེ་ལེགས།
አማርኛ ቋንቋ ሰላም ለዓለም።
ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ꮳꮃꭹ
ᐃᓄᒃᑎᑐᑦ ᐊᐃ
ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ
我能吞下玻璃而不伤身体。中文分词，没有空格！「引号」……
繁體中文：龜鱻麤𠮷𡃁 兀﨑塚
いろはにほへと ちりぬるを。カタカナ ﾊﾝｶｸ ｶﾞｷﾞ 日本語、東京タワー
다람쥐 헌 쳇바퀴에 타고파. 한국어 ㅋㅋㅋ 각
Hello 世界, привет мир, مرحبا bonjour שלום नमस्ते 👋🏽!
e\u0301 vs \u00e9, o\u0308\u0304 vs \u022b, A\u030a Å Å, ﬁ ﬂ ﬃ ﬆ, ½ ¾ ², ㎏ ㍿ ™ ℌ Ⅷ ①②
\U0001F468\u200d\U0001F469\u200d\U0001F467\u200d\U0001F466 \U0001F3F3\ufe0f\u200d\U0001F308 \U0001F1EF\U0001F1F5\U0001F1E9\U0001F1EA 1\ufe0f\u20e3 \u2764\ufe0f\u200d\U0001F525
for (int i = 0; i < n; ++i) { a[i] = b[i] ** 2 != 0x1F ? "x\\n" : 'y'; } // TODO\n\treturn NULL;
def f(x: int) -> str:\n    return f"{x:>10_d}"  # 3.14e-10\n\n\n    pass
SELECT * FROM t WHERE a >= 1_000 AND b <> 'it''s'; -- 2024-02-30T12:34:56.789Z
<html lang="en"><!-- c --><p class='a b'>&nbsp;&amp;</p></html> https://example.org/a/b?q=%20x&y=1#z user@mail.co
$100,000.00 €5 £3 ¥9 ₹10 50% ±2 ≤3 ≠4 → ⇒ ∀x∈ℝ ∑ ∫ √2 x² H₂O 10⁻³
[CLS] a [SEP] [MASK] [UNK] [PAD] <s> </s> <unk> <pad> <bos> <eos> <|endoftext|> <|im_start|>user <|im_end|>
<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model <unused3> <0x41> [multimodal] <table> <tr><td> <h1>
a[MASK]b [MASK]. x<|im_end|>y<|im_start|><|im_start|> <|im_end |> <|endoftext|><|endoftext|> <file_sep> <repo_name>""".split("\n")

# script, first and last code point (blocks hold unassigned code points too; they stay)
SCRIPTS = [
  ("Latin", 0x41, 0x5A), ("Latin", 0x61, 0x7A), ("Latin-1", 0xC0, 0xFF), ("Latin Extended", 0x100, 0x24F),
  ("Latin Additional", 0x1E00, 0x1EFF), ("IPA", 0x250, 0x2AF), ("Greek", 0x370, 0x3FF), ("Greek Extended", 0x1F00, 0x1FFF),
  ("Cyrillic", 0x400, 0x52F), ("Armenian", 0x531, 0x58A), ("Hebrew", 0x591, 0x5F4), ("Arabic", 0x600, 0x6FF),
  ("Syriac", 0x700, 0x74F), ("Thaana", 0x780, 0x7B1), ("Devanagari", 0x900, 0x97F), ("Bengali", 0x980, 0x9FE),
  ("Gurmukhi", 0xA01, 0xA76), ("Gujarati", 0xA81, 0xAFF), ("Oriya", 0xB01, 0xB77), ("Tamil", 0xB82, 0xBFA),
  ("Telugu", 0xC00, 0xC7F), ("Kannada", 0xC80, 0xCF2), ("Malayalam", 0xD00, 0xD7F), ("Sinhala", 0xD81, 0xDF4),
  ("Thai", 0xE01, 0xE5B), ("Lao", 0xE81, 0xEDF), ("Tibetan", 0xF00, 0xFDA), ("Myanmar", 0x1000, 0x109F),
  ("Georgian", 0x10A0, 0x10FF), ("Hangul Jamo", 0x1100, 0x11FF), ("Ethiopic", 0x1200, 0x137C), ("Cherokee", 0x13A0, 0x13FD),
  ("Canadian", 0x1400, 0x167F), ("Khmer", 0x1780, 0x17F9), ("Mongolian", 0x1800, 0x18AA), ("Hiragana", 0x3041, 0x309F),
  ("Katakana", 0x30A0, 0x30FF), ("Bopomofo", 0x3105, 0x312F), ("Han", 0x4E00, 0x9FFF), ("Han A", 0x3400, 0x4DBF),
  ("Yi", 0xA000, 0xA48C), ("Hangul", 0xAC00, 0xD7A3), ("Han B", 0x20000, 0x2A6DF), ("Compatibility", 0xF900, 0xFAD9),
  ("Gothic", 0x10330, 0x1034A), ("Deseret", 0x10400, 0x1044F), ("Adlam", 0x1E900, 0x1E959), ("Fullwidth", 0xFF01, 0xFFEE),
  ("Mathematical", 0x1D400, 0x1D7FF), ("Letterlike", 0x2100, 0x214F), ("Arabic forms", 0xFB50, 0xFDFF),
]
DIGITS = [0x30, 0x660, 0x6F0, 0x966, 0x9E6, 0xBE6, 0xE50, 0xF20, 0x1040, 0x17E0, 0xFF10, 0x1D7CE, 0x2460, 0x2160, 0xB2]
EMOJI = [0x1F600, 0x1F44B, 0x1F468, 0x1F469, 0x1F9D1, 0x2764, 0x1F525, 0x1F308, 0x1F3F4, 0x1F680, 0x1F1E6, 0x1F1FF, 0x231A,
         0x1F9FF, 0x1FAE0, 0x2B50, 0x3030, 0x1F004]
SPACES = [0x20, 0x20, 0x20, 0x9, 0xA, 0xD, 0xB, 0xC, 0xA0, 0x85, 0x2003, 0x2009, 0x2028, 0x2029, 0x202F, 0x3000, 0x1680, 0x205F]
CONTROLS = [0, 1, 7, 8, 0x1B, 0x1F, 0x7F, 0x80, 0x9F, 0xAD, 0x600, 0x61C, 0x180E, 0x200B, 0x200C, 0x200D, 0x200E, 0x202E, 0x2060,
            0x2066, 0xFEFF, 0xFFF9, 0xFFFD, 0xE000, 0xE0001, 0xE0041, 0xF0000]
MARKS = list(range(0x300, 0x370)) + list(range(0x1AB0, 0x1ABE)) + list(range(0x20D0, 0x20F1)) + [0x5B0, 0x64B, 0x93C, 0x94D, 0xE31,
         0x3099, 0xFE0F, 0x1F3FB]
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿§¶·«»‐–—‘’“”„†•…‰‹›※⁂、。〈〉《》「」【】〜！，．：；？·։؟،।॥၊።᠀"
BAD = [b"\x80", b"\xbf\xbf", b"\xc0\xaf", b"\xc3", b"\xe2\x82", b"\xe2\x28\xa1", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x9f\x98",
       b"\xf0\x9f", b"\xf4\x90\x80\x80", b"\xf5\x80", b"\xfe\xff", b"\xf0\x80\x80\x80", b"\xe0\x80\x80", b"\xc1\xbf", b"\xff"]


def make(count):
  rng = random.Random(20240229)
  below = lambda n: int(rng.random() * n)  # random() is pinned across Python versions, randrange() is not
  pick = lambda seq: seq[below(len(seq))]
  char = lambda low, high: chr(low + below(high - low + 1))

  def word(low, high, most=9):
    return "".join(char(low, high) for _ in range(1 + below(most)))

  def script():
    _, low, high = pick(SCRIPTS)
    return low, high

  def emoji():
    out = chr(pick(EMOJI))
    for _ in range(below(4)):
      out += pick(["\u200d", "\ufe0f", chr(0x1F3FB + below(5)), "\u20e3", ""]) + chr(pick(EMOJI))
    return out

  def spaces(most=12):
    return "".join(chr(pick(SPACES)) for _ in range(1 + below(most)))

  def any_text(size):
    out = []
    while len(out) < size:
      cp = below(0x110000) if below(2) else below(0x3000)
      if not 0xD800 <= cp < 0xE000:
        out.append(chr(cp))
    return "".join(out)

  def one_script():
    low, high = script()
    return " ".join(word(low, high) + (pick(PUNCTUATION) if below(4) == 0 else "") for _ in range(1 + below(10)))

  def mixed():
    parts = [lambda: word(*script()), emoji, lambda: spaces(3), lambda: pick(PUNCTUATION), lambda: chr(pick(CONTROLS)),
             lambda: "".join(chr(pick(DIGITS) + below(10)) for _ in range(1 + below(7))), lambda: pick(SENTENCES)[:below(30)],
             lambda: word(0x61, 0x7A)]
    return "".join(pick(parts)() for _ in range(1 + below(14)))

  def marked():
    low, high = script()
    return "".join(char(low, high) + "".join(chr(pick(MARKS)) for _ in range(below(4))) for _ in range(1 + below(20)))

  def numbers():
    zero = pick(DIGITS)
    return pick([" ", "", ",", "."]).join("".join(chr(zero + below(10)) for _ in range(1 + below(9))) for _ in range(1 + below(5)))

  def sentence():
    text = pick(SENTENCES)
    if below(3) == 0:
      text = text.upper() if below(2) else text.lower()
    if below(3) == 0:
      at = below(len(text) + 1)
      text = text[:at] + pick([spaces(), emoji(), chr(pick(CONTROLS)), pick(PUNCTUATION), mixed()]) + text[at:]
    return pick(["", "", " ", "  ", "\n", "\t"]) + text + pick(["", "", " ", "\n", "\r\n", "   "])

  def long_word():
    low, high = script()
    return word(low, high, 400) if below(2) else pick(["a", "ab", "=", "-", "\n", " ", "\t", "字", "é", "0", "😀", "'s"]) * (1 + below(300))

  def specials():
    names = SENTENCES[-3].split() + SENTENCES[-2].split() + SENTENCES[-1].split()
    return "".join(pick(names) + pick(["", "", " ", "\n", "x", "▁"]) for _ in range(1 + below(6)))

  makers = [(sentence, 26), (one_script, 22), (mixed, 18), (marked, 8), (numbers, 4), (long_word, 4), (specials, 6), (spaces, 3),
            (lambda: any_text(1 + below(24)), 6), (lambda: " ".join(emoji() for _ in range(1 + below(6))), 3)]
  table = [f for f, weight in makers for _ in range(weight)]
  lines = [b""] + [s.encode() for s in SENTENCES]
  while len(lines) < count:
    line = pick(table)().encode()
    if below(12) == 0:  # invalid UTF-8, also cut characters
      for _ in range(1 + below(3)):
        at = below(len(line) + 1)
        line = line[:at] + pick(BAD) + line[at:]
    lines.append(line)
  return lines[:count]


def write(path, lines):
  with open(path, "wb") as f:
    for line in lines:
      f.write(struct.pack("<I", len(line)) + line)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("out")
  parser.add_argument("--lines", type=int, default=10000)
  args = parser.parse_args()
  write(args.out, make(args.lines))
