/* PCRE2 behind text/regex.h. Compiled patterns live in the owner's arena (freed with it); match data comes
 * from tern__alloc and is reused by the calls of one encode. No JIT: an app's sandbox may forbid writable
 * code. */
#include "text/regex.h"

#include "base/array.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

enum { match_limit = 20 * 1000 * 1000, heap_limit_kib = 64 * 1024, max_pattern = 1 << 16 };

struct tern__regex { pcre2_code *code; };
struct tern__regex_state { tern__alloc *alloc; pcre2_match_data *data; pcre2_match_context *context; };

static void *arena_malloc(PCRE2_SIZE size, void *arena) { return tern__arena_alloc(arena, size); }
static void arena_free(void *block, void *arena) { (void)block, (void)arena; }
static void *alloc_malloc(PCRE2_SIZE size, void *alloc) { return tern__malloc(alloc, size); }
static void alloc_free(void *block, void *alloc) { tern__free(alloc, block); }

/* ---- Oniguruma's dialect. \w holds marks there (and \b follows it), \h is a hex digit; a set inside a set
 * and set intersection would be read differently by PCRE2 without a word. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}" /* White_Space; PCRE2's \s has U+180E too */
#define WORD "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}"
static const struct { char escape; const char *outside, *inside; } escapes[] = {
  {'s', "[" SPACE "]", SPACE},
  {'S', "[^" SPACE "]", "\\S"},
  {'w', "[" WORD "]", WORD},
  {'W', "[^" WORD "]", NULL},
  {'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))", "\\b"},
  {'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))", NULL},
  {'h', "[0-9a-fA-F]", "0-9a-fA-F"},
  {'H', "[^0-9a-fA-F]", NULL},
};

static tern_status put(tern__alloc *alloc, char **out, const char *text, size_t size) {
  tern_status status = TERN_OK;
  TERN_ARRAY_APPEND(alloc, *out, text, size);
cleanup:
  return status;
}

static tern_status put_escape(tern__alloc *alloc, char **out, const char *at, bool in_set) {
  for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
    if (escapes[i].escape != at[1]) continue;
    const char *text = in_set ? escapes[i].inside : escapes[i].outside;
    if (!text) return tern__fail(TERN_STATUS_UNSUPPORTED, "\\%c in a set is not supported", at[1]);
    return put(alloc, out, text, strlen(text));
  }
  return put(alloc, out, at, 2);
}

static tern_status translate(tern__alloc *alloc, const char *p, size_t n, char **out) {
  tern_status status = TERN_OK;
  bool in_set = false;
  for (size_t i = 0; i < n; i++) {
    if (p[i] == '\\' && i + 1 < n) {
      TERN_TRY(put_escape(alloc, out, p + i++, in_set));
      continue;
    }
    if (in_set && p[i] == '[') {
      const char *end = i + 1 < n && p[i + 1] == ':' ? strstr(p + i, ":]") : NULL; /* [:class:] */
      if (!end) TERN_FAIL(TERN_STATUS_UNSUPPORTED, "a set inside a set is not supported: '%s'", p);
      TERN_TRY(put(alloc, out, p + i, (size_t)(end + 2 - (p + i))));
      i = (size_t)(end + 1 - p);
      continue;
    }
    if (in_set && p[i] == '&' && i + 1 < n && p[i + 1] == '&')
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "set intersection (&&) is not supported: '%s'", p);
    TERN_TRY(put(alloc, out, p + i, 1));
    if (in_set) in_set = p[i] != ']';
    else if (p[i] == '[') { /* a ] that comes first is itself */
      in_set = true;
      if (i + 1 < n && p[i + 1] == '^') TERN_TRY(put(alloc, out, p + ++i, 1));
      if (i + 1 < n && p[i + 1] == ']') TERN_TRY(put(alloc, out, p + ++i, 1));
    }
  }
cleanup:
  return status;
}

tern_status tern__regex_compile(tern__arena *arena, const char *pattern, size_t size, tern__regex **out) {
  tern_status status = TERN_OK;
  char *translated = NULL;
  if (size > max_pattern)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "the pattern has %zu bytes, more than %d", size, max_pattern);
  TERN_TRY(translate(arena->alloc, pattern, size, &translated));
  tern__regex *regex = tern__arena_alloc(arena, sizeof *regex);
  TERN_CHECK_ALLOC(regex);
  pcre2_general_context *general = pcre2_general_context_create(arena_malloc, arena_free, arena);
  TERN_CHECK_ALLOC(general);
  pcre2_compile_context *context = pcre2_compile_context_create(general);
  TERN_CHECK_ALLOC(context);
  int error = 0;
  PCRE2_SIZE at = 0;
  /* Oniguruma's ^ and $ always work line by line. */
  uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  regex->code = pcre2_compile((PCRE2_SPTR)(translated ? translated : ""), tern__array_count(translated),
                              options, &error, &at, context);
  if (!regex->code) {
    char message[120];
    if (error == PCRE2_ERROR_HEAP_FAILED)
      TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "out of memory compiling a pattern");
    pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof message);
    TERN_FAIL(TERN_STATUS_CORRUPT, "the pattern '%s' is not valid at byte %zu: %s", pattern, (size_t)at,
              message);
  }
  *out = regex;
cleanup:
  TERN_ARRAY_FREE(arena->alloc, translated);
  return status;
}

void tern__regex_state_free(tern__regex_state *state) {
  if (!state) return;
  pcre2_match_data_free(state->data);
  pcre2_match_context_free(state->context);
  tern__free(state->alloc, state);
}

static tern__regex_state *make_state(tern__alloc *alloc) {
  tern__regex_state *state = tern__calloc(alloc, 1, sizeof *state);
  if (!state) return NULL;
  state->alloc = alloc;
  pcre2_general_context *general = pcre2_general_context_create(alloc_malloc, alloc_free, alloc);
  if (general) {
    /* One pair of offsets is enough: groups are never read. */
    state->data = pcre2_match_data_create(1, general);
    state->context = pcre2_match_context_create(general);
    pcre2_general_context_free(general);
  }
  if (state->data && state->context) {
    pcre2_set_match_limit(state->context, match_limit);
    pcre2_set_heap_limit(state->context, heap_limit_kib);
    return state;
  }
  tern__regex_state_free(state);
  return NULL;
}

tern_status tern__regex_find(const tern__regex *regex, tern__alloc *alloc, tern__regex_state **state,
                             const char *text, size_t size, size_t from, tern__regex_match *match) {
  tern_status status = TERN_OK;
  *match = (tern__regex_match){0};
  if (!*state) *state = make_state(alloc);
  TERN_CHECK_ALLOC(*state);
  int rc = pcre2_match(regex->code, (PCRE2_SPTR)text, size, from, PCRE2_NO_UTF_CHECK, (*state)->data,
                       (*state)->context);
  if (rc == PCRE2_ERROR_NOMATCH) return TERN_OK;
  if (rc == PCRE2_ERROR_NOMEMORY) TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "out of memory in a pattern match");
  if (rc < 0)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT,
              "the tokenizer's pattern takes too many steps on this text of %zu bytes "
              "(PCRE2 error %d near byte %zu); split the text into shorter pieces",
              size, rc, from);
  const PCRE2_SIZE *range = pcre2_get_ovector_pointer((*state)->data);
  *match = (tern__regex_match){true, range[0], range[1]};
cleanup:
  return status;
}
