/* Tokens of a template, with jinja2's whitespace rules under trim_blocks and lstrip_blocks (jinja2/lexer.py).
 */
#include "text/jinja_internal.h"

typedef struct lexer {
  jinja *j;
  const char *p, *end;
  uint32_t line;
  bool line_starting; /* the last delimiter ended with a newline */
  char stack[JINJA_PARSE_DEPTH];
  size_t depth;
} lexer;

static void fail_at(lexer *lx, const char *what) {
  lx->j->line = lx->line;
  j_fail(lx->j, TERN_STATUS_CORRUPT, "%s", what);
}

static tern_status store(jinja *j, jtoken token) {
  tern_status status = TERN_OK;
  TERN_ARRAY_PUSH(j->alloc, j->tokens, token);
cleanup:
  return status;
}

static void push(lexer *lx, jtoken token) {
  token.line = lx->line;
  if (lx->j->status == TERN_OK && store(lx->j, token) != TERN_OK) lx->j->status = TERN_STATUS_OUT_OF_MEMORY;
}

static void advance(lexer *lx, const char *to) {
  for (; lx->p < to; lx->p++) lx->line += *lx->p == '\n';
}

static bool at(const lexer *lx, const char *p, const char *text) {
  size_t n = strlen(text);
  return (size_t)(lx->end - p) >= n && !memcmp(p, text, n);
}

static const char *skip_space(const lexer *lx, const char *p) {
  while (p < lx->end) {
    size_t n = tern__jinja_char_size(p, lx->end);
    if (!tern__jinja_is_space(tern__jinja_codepoint(p, n))) break;
    p += n;
  }
  return p;
}

static const char *strip_end(const char *start, const char *end) {
  while (end > start) {
    size_t n = tern__jinja_last_char_size(start, end);
    if (!tern__jinja_is_space(tern__jinja_codepoint(end - n, n))) break;
    end -= n;
  }
  return end;
}

/* Emits the text before a delimiter; `sign` follows the delimiter, `lstrip` says whether blanks before it may
 * go. */
static void push_text(lexer *lx, const char *to, char sign, bool lstrip) {
  const char *start = lx->p, *keep = to;
  if (sign == '-') keep = strip_end(start, to);
  else if (sign != '+' && lstrip) {
    const char *line = to;
    while (line > start && line[-1] != '\n') line--;
    if ((line > start || lx->line_starting) && strip_end(line, to) == line) keep = line;
  }
  if (keep > start) push(lx, (jtoken){.kind = T_TEXT, .text = {start, (size_t)(keep - start)}});
  advance(lx, to);
}

/* Moves over the end of a tag at `p`, which is at an optional sign: `size` bytes of delimiter, then what goes
 * with it. */
static void close_tag(lexer *lx, const char *p, size_t size, bool trim_newline) {
  char sign = *p;
  p += size + (sign == '-' || sign == '+');
  if (sign == '-') p = skip_space(lx, p);
  else if (sign != '+' && trim_newline && p < lx->end && *p == '\n') p++;
  lx->line_starting = p[-1] == '\n';
  advance(lx, p);
}

static const char *name_end(const lexer *lx, const char *p) {
  while (p < lx->end && (*p == '_' || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                         (*p >= '0' && *p <= '9') || (unsigned char)*p >= 0x80))
    p++;
  return p;
}

/* At "{%": the end of "{% raw %}" or "{% endraw %}" up to its closing delimiter, or NULL when it is another
 * tag. */
static const char *raw_tag(const lexer *lx, const char *p, const char *word) {
  p += 2;
  if (p < lx->end && (*p == '-' || *p == '+')) p++;
  p = skip_space(lx, p);
  if (!at(lx, p, word)) return NULL;
  p = skip_space(lx, p + strlen(word));
  if (at(lx, p, "%}") || at(lx, p, "-%}") || (word[0] == 'e' && at(lx, p, "+%}"))) return p;
  return NULL;
}

static void lex_raw(lexer *lx, const char *close) {
  close_tag(lx, close, 2, false);
  for (const char *p = lx->p; p < lx->end; p++) {
    if (!at(lx, p, "{%")) continue;
    if (!(close = raw_tag(lx, p, "endraw"))) continue;
    push_text(lx, p, p[2], true);
    close_tag(lx, close, 2, true);
    return;
  }
  fail_at(lx, "{% raw %} without {% endraw %}");
}

static void lex_comment(lexer *lx) {
  for (const char *start = lx->p, *p = start; p < lx->end; p++) {
    if (!at(lx, p, "#}")) continue;
    close_tag(lx, p > start && (p[-1] == '-' || p[-1] == '+') ? p - 1 : p, 2, true);
    return;
  }
  fail_at(lx, "{# without #}");
}

static int hex_digits(const char *p, const char *end, int n, uint32_t *out) {
  uint32_t v = 0;
  int i = 0;
  for (; i < n && p + i < end; i++) {
    char c = p[i];
    int d = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : -1;
    if (d < 0) break;
    v = v << 4 | (uint32_t)d;
  }
  *out = v;
  return i;
}

/* Python's unicode-escape codec. Returns the byte after the escape whose backslash is at p[-1]. */
static const char *unescape(lexer *lx, const char *p, const char *end) {
  static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
  jinja *j = lx->j;
  const char *simple = *p ? strchr(from, *p) : NULL;
  if (*p == '\n') return p + 1;
  if (simple) return tern__jinja_emit(j, &to[simple - from], 1), p + 1;
  if (*p >= '0' && *p <= '7') {
    uint32_t v = 0;
    for (int i = 0; i < 3 && p < end && *p >= '0' && *p <= '7'; i++) v = v * 8 + (uint32_t)(*p++ - '0');
    tern__jinja_emit_codepoint(j, v);
    return p;
  }
  int n = *p == 'x' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 0;
  if (!n) return tern__jinja_emit(j, "\\", 1), p;
  uint32_t v;
  if (hex_digits(p + 1, end, n, &v) != n || v > 0x10FFFF)
    fail_at(lx, "a truncated \\x, \\u or \\U escape in a string");
  else tern__jinja_emit_codepoint(j, v >= 0xD800 && v < 0xE000 ? 0xFFFD : v);
  return p + 1 + n;
}

static void lex_string(lexer *lx) {
  char quote = *lx->p;
  const char *start = lx->p + 1, *p = start;
  bool escapes = false;
  for (; p < lx->end && *p != quote; p++)
    if (*p == '\\') escapes = true, p++;
  if (p >= lx->end) {
    fail_at(lx, "a string without its closing quote");
    return;
  }
  jtoken token = {.kind = T_STRING, .text = {start, (size_t)(p - start)}};
  if (escapes) {
    size_t mark = tern__jinja_mark(lx->j);
    for (const char *q = start; q < p;) {
      const char *run = q;
      while (q < p && *q != '\\') q++;
      tern__jinja_emit(lx->j, run, (size_t)(q - run));
      if (q < p) q = unescape(lx, q + 1, p);
    }
    jvalue text = tern__jinja_capture(lx->j, mark);
    if (text.kind == J_STRING) token.text = text.as.s;
  }
  push(lx, token);
  advance(lx, p + 1);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *digits_end(const lexer *lx, const char *p) {
  while (p < lx->end && (is_digit(*p) || (*p == '_' && p + 1 < lx->end && is_digit(p[1])))) p++;
  return p;
}

static void lex_number(lexer *lx, bool after_dot) {
  char text[64];
  size_t n = 0;
  const char *start = lx->p, *p = digits_end(lx, start), *q;
  jtoken token = {.kind = T_INT};
  if (*start == '0' && lx->end - start > 2 && strchr("xXoObB", start[1])) {
    lx->j->line = lx->line;
    j_fail(lx->j, TERN_STATUS_UNSUPPORTED, "numbers in base 2, 8 and 16 are not supported");
    return;
  }
  if (!after_dot && p + 1 < lx->end && *p == '.' && is_digit(p[1]))
    token.kind = T_FLOAT, p = digits_end(lx, p + 1);
  if (!after_dot && p + 1 < lx->end && (*p == 'e' || *p == 'E')) {
    q = p + 1 + (p[1] == '+' || p[1] == '-');
    if (q < lx->end && is_digit(*q)) token.kind = T_FLOAT, p = digits_end(lx, q);
  }
  for (q = start; q < p; q++) {
    if (*q == '_') continue;
    if (n == sizeof text) {
      fail_at(lx, "a number with more than 64 digits");
      return;
    }
    text[n++] = *q;
  }
  if (token.kind == T_FLOAT) tern__jinja_parse_float((jstr){text, n}, &token.f);
  else
    for (size_t i = 0; i < n; i++)
      if (__builtin_mul_overflow(token.i, (int64_t)10, &token.i) ||
          __builtin_add_overflow(token.i, (int64_t)(text[i] - '0'), &token.i)) {
        lx->j->line = lx->line;
        j_fail(lx->j, TERN_STATUS_UNSUPPORTED, "whole numbers beyond 64 bits are not supported");
        return;
      }
  push(lx, token);
  advance(lx, p);
}

static void lex_operator(lexer *lx) {
  static const struct {
    char text[3];
    char op;
  } pairs[] = {{"==", OP_EQ}, {"!=", OP_NE},       {">=", OP_GE},
               {"<=", OP_LE}, {"//", OP_FLOORDIV}, {"**", OP_POW}};
  char c = *lx->p, open = c == ')' ? '(' : c == ']' ? '[' : c == '}' ? '{' : 0;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    if (at(lx, lx->p, pairs[i].text)) {
      push(lx, (jtoken){.kind = T_OP, .op = pairs[i].op});
      advance(lx, lx->p + 2);
      return;
    }
  if (!c || !strchr("+-/*%~[](){}><=.:|,;", c)) {
    fail_at(lx, "an unexpected character in a tag");
    return;
  }
  if (c == '(' || c == '[' || c == '{') {
    if (lx->depth == JINJA_PARSE_DEPTH) {
      fail_at(lx, "brackets nested deeper than 200");
      return;
    }
    lx->stack[lx->depth++] = c;
  } else if (open && (!lx->depth || lx->stack[--lx->depth] != open)) {
    fail_at(lx, "an unmatched closing bracket");
    return;
  }
  push(lx, (jtoken){.kind = T_OP, .op = c});
  advance(lx, lx->p + 1);
}

/* From after "{{" or "{%" to after its end. */
static void lex_tag(lexer *lx, bool block) {
  const char *end = block ? "%}" : "}}";
  lx->depth = 0;
  while (lx->j->status == TERN_OK) {
    const char *p = skip_space(lx, lx->p);
    bool after_dot = p == lx->p && p[-1] == '.';
    advance(lx, p);
    if (p >= lx->end) {
      fail_at(lx, block ? "{% without %}" : "{{ without }}");
      return;
    }
    if (!lx->depth && (at(lx, p, end) || (at(lx, p + 1, end) && (*p == '-' || (block && *p == '+'))))) {
      push(lx, (jtoken){.kind = block ? T_BLOCK_END : T_VAR_END});
      close_tag(lx, p, 2, block);
      return;
    }
    if (*p == '"' || *p == '\'') lex_string(lx);
    else if (is_digit(*p)) lex_number(lx, after_dot);
    else if (name_end(lx, p) > p) {
      const char *stop = name_end(lx, p);
      push(lx, (jtoken){.kind = T_NAME, .text = {p, (size_t)(stop - p)}});
      advance(lx, stop);
    } else lex_operator(lx);
  }
}

/* jinja2 makes every line end "\n" and drops one at the end of the template. */
static jstr normalize(jinja *j, const char *text) {
  size_t n = 0;
  char *copy = tern__jinja_alloc(j, strlen(text) + 1, 1);
  if (!copy) return (jstr){"", 0};
  for (const char *p = text; *p; p++) {
    if (*p == '\r' && p[1] == '\n') continue;
    copy[n++] = *p == '\r' ? '\n' : *p;
  }
  if (n && copy[n - 1] == '\n') n--;
  copy[n] = 0;
  return (jstr){copy, n};
}

void tern__jinja_lex(jinja *j, const char *text) {
  jstr source = normalize(j, text);
  lexer lx = {.j = j, .p = source.data, .end = source.data + source.size, .line = 1, .line_starting = true};
  while (lx.p < lx.end && j->status == TERN_OK) {
    const char *p = lx.p, *raw;
    while (p < lx.end && !(*p == '{' && (p[1] == '{' || p[1] == '%' || p[1] == '#'))) p++;
    if (p >= lx.end) {
      push_text(&lx, lx.end, '+', false);
      break;
    }
    char kind = p[1], sign = p[2];
    push_text(&lx, p, sign, kind != '{');
    if (kind == '%' && (raw = raw_tag(&lx, p, "raw"))) {
      advance(&lx, raw);
      lex_raw(&lx, raw);
      continue;
    }
    if (kind != '#') push(&lx, (jtoken){.kind = kind == '%' ? T_BLOCK_BEGIN : T_VAR_BEGIN});
    advance(&lx, p + 2 + (sign == '-' || sign == '+'));
    if (kind == '#') lex_comment(&lx);
    else lex_tag(&lx, kind == '%');
  }
  push(&lx, (jtoken){.kind = T_END});
}
