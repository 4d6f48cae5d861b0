/* Decoders of tokenizer.json: work->pieces are the tokens' spellings in work->text; each decoder rewrites
 * them, and in the end they are joined. A new one is a function and a line in the table. */
#include "text/tokenizer_internal.h"

#include <string.h>

typedef struct decoder {
  tern__part part;
  tern__pattern *pattern;
  const char *content; /* Replace; prefix of WordPiece; suffix of BPEDecoder; pad token of CTC */
  size_t content_size;
  const char *delimiter;
  int32_t character; /* Strip, Metaspace */
  int64_t start, stop;
  bool cleanup, keep_first;
} decoder;

/* ---- GPT-2's bytes (encoder.py, bytes_to_unicode): printable Latin-1 stands for itself, the rest from
 * U+0100 on. */
int32_t tern__byte_to_char(uint8_t b) {
  if (b <= 0x20) return 0x100 + b;
  if (b >= 0x7F && b <= 0xA0) return 0x121 + (b - 0x7F);
  return b == 0xAD ? 0x143 : b;
}
int32_t tern__char_to_byte(int32_t cp) {
  if ((cp > 0x20 && cp < 0x7F) || (cp > 0xA0 && cp < 0x100 && cp != 0xAD)) return cp;
  if (cp >= 0x100 && cp <= 0x120) return cp - 0x100;
  if (cp >= 0x121 && cp <= 0x142) return cp - 0x121 + 0x7F;
  return cp == 0x143 ? 0xAD : -1;
}

static int32_t hex(char c) {
  return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}
int32_t tern__byte_token_value(const char *text, size_t size) {
  if (size != 6 || memcmp(text, "<0x", 3) || text[5] != '>' || hex(text[4]) < 0) return -1;
  if (text[3] == '+') return hex(text[4]); /* as Rust's from_str_radix reads it */
  return hex(text[3]) < 0 ? -1 : hex(text[3]) << 4 | hex(text[4]);
}

/* ---- writing the new spellings: pieces to spare_pieces, text to spare. */
static tern_status put(tern__work *w, const char *text, size_t size) {
  tern_status status = TERN_OK;
  TERN_ARRAY_APPEND(w->alloc, w->spare, text, size);
cleanup:
  return status;
}
static tern_status end_piece(tern__work *w, size_t start) {
  tern_status status = TERN_OK;
  TERN_ARRAY_PUSH(w->alloc, w->spare_pieces,
                  (tern__piece){(uint32_t)start, (uint32_t)(tern__array_count(w->spare) - start), false});
cleanup:
  return status;
}
static void begin(tern__work *w) {
  tern__array_clear(w->spare);
  tern__array_clear(w->spare_pieces);
}
static void finish(tern__work *w) {
  char *t = w->text;
  tern__piece *p = w->pieces;
  w->text = w->spare, w->spare = t;
  w->pieces = w->spare_pieces, w->spare_pieces = p;
}

/* Replaces every `from` in the spare text from `start` on. */
static tern_status replace_all(tern__work *w, size_t start, const char *from, size_t from_size,
                               const char *to, size_t to_size) {
  tern_status status = TERN_OK;
  if (!from_size) return TERN_OK;
  tern__array_clear(w->key);
  size_t end = tern__array_count(w->spare);
  bool any = false;
  for (size_t at = start; at < end;) {
    if (end - at >= from_size && !memcmp(w->spare + at, from, from_size)) {
      TERN_ARRAY_APPEND(w->alloc, w->key, to, to_size);
      at += from_size, any = true;
    } else {
      TERN_ARRAY_PUSH(w->alloc, w->key, w->spare[at]);
      at++;
    }
  }
  if (!any) return TERN_OK;
  tern__array_truncate(w->spare, start);
  TERN_ARRAY_APPEND(w->alloc, w->spare, w->key, tern__array_count(w->key));
cleanup:
  return status;
}

static tern_status clean_up(tern__work *w, size_t start) {
  static const char *const pairs[][2] = {
    {" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
    {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  tern_status status = TERN_OK;
  for (size_t i = 0; status == TERN_OK && i < sizeof pairs / sizeof *pairs; i++)
    status = replace_all(w, start, pairs[i][0], strlen(pairs[i][0]), pairs[i][1], strlen(pairs[i][1]));
  return status;
}

static tern_status apply_word_piece(const tern__part *part, tern__work *w) {
  const decoder *self = (const decoder *)part;
  tern_status status = TERN_OK;
  begin(w);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    const char *text = w->text + w->pieces[i].start;
    size_t size = w->pieces[i].size, start = tern__array_count(w->spare);
    bool inside = i && size >= self->content_size && !memcmp(text, self->content, self->content_size);
    if (i && !inside) TERN_TRY(put(w, " ", 1));
    TERN_TRY(inside ? put(w, text + self->content_size, size - self->content_size) : put(w, text, size));
    if (self->cleanup) TERN_TRY(clean_up(w, start));
    TERN_TRY(end_piece(w, start));
  }
  finish(w);
cleanup:
  return status;
}

static tern_status apply_bpe(const tern__part *part, tern__work *w) {
  const decoder *self = (const decoder *)part;
  tern_status status = TERN_OK;
  begin(w);
  size_t n = tern__array_count(w->pieces);
  for (size_t i = 0; i < n; i++) {
    size_t start = tern__array_count(w->spare);
    TERN_TRY(put(w, w->text + w->pieces[i].start, w->pieces[i].size));
    TERN_TRY(replace_all(w, start, self->content, self->content_size, " ", i + 1 < n));
    TERN_TRY(end_piece(w, start));
  }
  finish(w);
cleanup:
  return status;
}

static tern_status apply_byte_level(const tern__part *part, tern__work *w) {
  tern_status status = TERN_OK;
  begin(w);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    const char *text = w->text + w->pieces[i].start;
    size_t size = w->pieces[i].size, start = tern__array_count(w->spare), n = start;
    TERN_ARRAY_RESERVE(w->alloc, w->spare, size);
    bool spelled = true;
    for (size_t at = 0; spelled && at < size;) {
      int32_t byte = tern__char_to_byte(tern__utf8_next(text, size, &at));
      if (byte < 0) spelled = false;
      else w->spare[n++] = (char)byte;
    }
    if (spelled) tern__array_truncate(w->spare, n);
    else TERN_TRY(put(w, text, size)); /* an added token in plain letters */
  }
  /* Bytes become text only now: a character's bytes may lie in several tokens. */
  size_t size = tern__array_count(w->spare);
  if (tern__utf8_valid_prefix(w->spare, size) != size) {
    tern__array_clear(w->text);
    TERN_TRY(tern__utf8_append_lossy(w->alloc, w->spare, size, &w->text));
    char *t = w->text;
    w->text = w->spare, w->spare = t;
  }
  TERN_TRY(end_piece(w, 0));
  finish(w);
cleanup:
  return status;
}

/* A run of byte tokens is text if it is valid UTF-8, else one U+FFFD for each byte. */
static tern_status end_bytes(tern__work *w, size_t *run) {
  tern_status status = TERN_OK;
  size_t n = tern__array_count(w->spare) - *run;
  if (!n) return TERN_OK;
  if (tern__utf8_valid_prefix(w->spare + *run, n) == n) return end_piece(w, *run);
  tern__array_truncate(w->spare, *run);
  for (size_t i = 0; i < n; i++) {
    TERN_TRY(put(w, "\xEF\xBF\xBD", 3));
    TERN_TRY(end_piece(w, tern__array_count(w->spare) - 3));
  }
cleanup:
  return status;
}

static tern_status apply_byte_fallback(const tern__part *part, tern__work *w) {
  tern_status status = TERN_OK;
  begin(w);
  size_t run = 0;
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    const char *text = w->text + w->pieces[i].start;
    int32_t byte = tern__byte_token_value(text, w->pieces[i].size);
    char c = (char)byte;
    if (byte >= 0) {
      TERN_TRY(put(w, &c, 1));
      continue;
    }
    TERN_TRY(end_bytes(w, &run));
    run = tern__array_count(w->spare);
    TERN_TRY(put(w, text, w->pieces[i].size));
    TERN_TRY(end_piece(w, run));
    run = tern__array_count(w->spare);
  }
  TERN_TRY(end_bytes(w, &run));
  finish(w);
cleanup:
  return status;
}

static tern_status apply_fuse(const tern__part *part, tern__work *w) {
  tern_status status = TERN_OK;
  begin(w);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++)
    TERN_TRY(put(w, w->text + w->pieces[i].start, w->pieces[i].size));
  TERN_TRY(end_piece(w, 0));
  finish(w);
cleanup:
  return status;
}

static tern_status apply_metaspace(const tern__part *part, tern__work *w) {
  const decoder *self = (const decoder *)part;
  tern_status status = TERN_OK;
  char mark[4];
  size_t mark_size = tern__utf8_put(mark, self->character);
  begin(w);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    size_t start = tern__array_count(w->spare);
    TERN_TRY(put(w, w->text + w->pieces[i].start, w->pieces[i].size));
    TERN_TRY(replace_all(w, start, mark, mark_size, " ", i || self->keep_first));
    TERN_TRY(end_piece(w, start));
  }
  finish(w);
cleanup:
  return status;
}

static tern_status apply_strip(const tern__part *part, tern__work *w) {
  const decoder *self = (const decoder *)part;
  char mark[4];
  size_t mark_size = tern__utf8_put(mark, self->character);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    tern__piece *p = &w->pieces[i];
    for (int64_t n = 0;
         n < self->start && p->size >= mark_size && !memcmp(w->text + p->start, mark, mark_size); n++)
      p->start += (uint32_t)mark_size, p->size -= (uint32_t)mark_size;
    for (int64_t n = 0; n < self->stop && p->size >= mark_size &&
                        !memcmp(w->text + p->start + p->size - mark_size, mark, mark_size); n++)
      p->size -= (uint32_t)mark_size;
  }
  return TERN_OK;
}

static tern_status apply_replace(const tern__part *part, tern__work *w) {
  const decoder *self = (const decoder *)part;
  tern_status status = TERN_OK;
  begin(w);
  for (size_t i = 0; i < tern__array_count(w->pieces); i++) {
    const char *text = w->text + w->pieces[i].start;
    size_t start = tern__array_count(w->spare);
    TERN_TRY(tern__pattern_find(self->pattern, w, text, w->pieces[i].size));
    for (size_t k = 0; k < tern__array_count(w->matches); k++) {
      tern__match m = w->matches[k];
      TERN_TRY(m.hit ? put(w, self->content, self->content_size) : put(w, text + m.start, m.end - m.start));
    }
    TERN_TRY(end_piece(w, start));
  }
  finish(w);
cleanup:
  return status;
}

static tern_status apply_ctc(const tern__part *part, tern__work *w) {
  const decoder *self = (const decoder *)part;
  tern_status status = TERN_OK;
  begin(w);
  const tern__piece *last = NULL;
  for (size_t i = 0; i < tern__array_count(w->pieces); last = &w->pieces[i++]) {
    const tern__piece *p = &w->pieces[i];
    if (last && last->size == p->size && !memcmp(w->text + last->start, w->text + p->start, p->size))
      continue;
    size_t start = tern__array_count(w->spare);
    TERN_TRY(put(w, w->text + p->start, p->size));
    TERN_TRY(replace_all(w, start, self->content, self->content_size, "", 0));
    if (self->cleanup) {
      TERN_TRY(clean_up(w, start));
      TERN_TRY(replace_all(w, start, self->delimiter, strlen(self->delimiter), " ", 1));
    }
    if (tern__array_count(w->spare) > start) TERN_TRY(end_piece(w, start));
  }
  finish(w);
cleanup:
  return status;
}

tern_status tern__decode_pieces(const tern__part *decoder, tern__work *work) {
  return decoder->apply(decoder, work);
}

bool tern__decoder_has_byte_fallback(const tern__part *decoder) {
  if (!decoder) return false;
  bool found = decoder->apply == apply_byte_fallback;
  for (size_t i = 0; i < decoder->n_children; i++)
    found |= tern__decoder_has_byte_fallback(decoder->children[i]);
  return found;
}

tern_status tern__decoder_for_bytes(tern__arena *arena, tern__part **out) {
  decoder *d = tern__arena_alloc(arena, sizeof *d);
  *out = NULL;
  if (!d) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory in %s", __func__);
  d->part.apply = apply_byte_level;
  *out = &d->part;
  return TERN_OK;
}

tern_status tern__decoder_for_spm(tern__arena *arena, bool strip_first, tern__part **out) {
  tern_status status = TERN_OK;
  decoder *d = tern__arena_calloc(arena, 5, sizeof *d);
  tern__part **children = tern__arena_calloc(arena, 4, sizeof *children);
  TERN_CHECK_ALLOC(d && children ? d : NULL);
  for (int i = 0; i < 4; i++) children[i] = &d[i + 1].part;
  d[0].part = (tern__part){tern__part_apply_all, children, strip_first ? 4 : 3};
  d[1] = (decoder){.part.apply = apply_replace, .content = " ", .content_size = 1};
  TERN_TRY(tern__pattern_create(arena, "\xE2\x96\x81", TERN_PATTERN_STRING, &d[1].pattern));
  d[2].part.apply = apply_byte_fallback, d[3].part.apply = apply_fuse;
  d[4] = (decoder){.part.apply = apply_strip, .character = ' ', .start = 1};
  *out = &d[0].part;
cleanup:
  return status;
}

/* ---- reading */

static tern_status read_content(const tern__spec *spec, const char *key, decoder *out) {
  tern_status status = tern__spec_string(spec, key, NULL, &out->content);
  if (status == TERN_OK) out->content_size = strlen(out->content);
  return status;
}
static tern_status read_word_piece(const tern__spec *spec, tern__part *part) {
  decoder *out = (decoder *)part;
  tern_status status = read_content(spec, "prefix", out);
  return status == TERN_OK ? tern__spec_bool(spec, "cleanup", -1, &out->cleanup) : status;
}
static tern_status read_bpe(const tern__spec *spec, tern__part *part) {
  return read_content(spec, "suffix", (decoder *)part);
}

static tern_status read_ctc(const tern__spec *spec, tern__part *part) {
  decoder *out = (decoder *)part;
  tern_status status = read_content(spec, "pad_token", out);
  if (status == TERN_OK) status = tern__spec_string(spec, "word_delimiter_token", NULL, &out->delimiter);
  return status == TERN_OK ? tern__spec_bool(spec, "cleanup", -1, &out->cleanup) : status;
}

static tern_status read_metaspace(const tern__spec *spec, tern__part *part) {
  decoder *out = (decoder *)part;
  tern_status status = TERN_OK;
  bool add;
  const char *scheme;
  TERN_TRY(tern__spec_character(spec, "replacement", &out->character));
  TERN_TRY(tern__spec_bool(spec, "add_prefix_space", true, &add));
  TERN_TRY(tern__spec_string(spec, "prepend_scheme", add ? "always" : "never", &scheme));
  out->keep_first = !strcmp(scheme, "never");
cleanup:
  return status;
}

static tern_status read_strip(const tern__spec *spec, tern__part *part) {
  decoder *out = (decoder *)part;
  tern_status status = TERN_OK;
  TERN_TRY(tern__spec_character(spec, "content", &out->character));
  TERN_TRY(tern__spec_int(spec, "start", -1, 0, INT32_MAX, &out->start));
  TERN_TRY(tern__spec_int(spec, "stop", -1, 0, INT32_MAX, &out->stop));
cleanup:
  return status;
}

static tern_status read_replace(const tern__spec *spec, tern__part *part) {
  decoder *out = (decoder *)part;
  tern_status status = tern__spec_pattern(spec, "pattern", &out->pattern);
  return status == TERN_OK ? read_content(spec, "content", out) : status;
}

static const tern__part_kind kinds[] = {
    {"ByteLevel", apply_byte_level, NULL},
    {"WordPiece", apply_word_piece, read_word_piece},
    {"BPEDecoder", apply_bpe, read_bpe},
    {"Metaspace", apply_metaspace, read_metaspace},
    {"ByteFallback", apply_byte_fallback, NULL},
    {"Fuse", apply_fuse, NULL},
    {"Strip", apply_strip, read_strip},
    {"Replace", apply_replace, read_replace},
    {"CTC", apply_ctc, read_ctc},
};

const tern__part_family tern__decoders = {"decoder", "decoders", sizeof(decoder), kinds,
                                         sizeof kinds / sizeof *kinds};
