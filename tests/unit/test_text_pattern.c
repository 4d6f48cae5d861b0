/* The hand-written scanners against the regular expressions they stand for, on texts drawn from characters
 * that every Unicode version in use classes alike; and the seam over PCRE2. */
#include "text/tokenizer_internal.h"

#include <criterion/criterion.h>
#include <string.h>

static const char *const alphabet[] = {
    "a",
    "b",
    "Z",
    "s",
    "t",
    "r",
    "e",
    "v",
    "l",
    "m",
    "d",
    "S",
    "T",
    "RE",
    "LL",
    "'",
    "'",
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    "'S",
    "'Ll",
    "'ſ",
    "’s",
    " ",
    " ",
    " ",
    "  ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\v",
    "\f",
    "\x1c",
    "\xC2\x85",
    "\xC2\xA0",
    "\xE2\x80\xA8", "\xE1\xA0\x8E",
    "\xE3\x80\x80",
    "0",
    "1",
    "23",
    "456",
    "7890",
    "٣",
    "²",
    "Ⅷ",
    "½",
    "é",
    "ß",
    "Ж",
    "ש",
    "م",
    "न",
    "्",
    "ক",
    "ไ",
    "日",
    "本",
    "각",
    "ª",
    "ʰ",
    "ǅ",
    "e\xCC\x81",
    "\xCC\x81",
    "!",
    "?",
    ".",
    ",",
    "-",
    "_",
    "(",
    ")",
    "$",
    "+",
    "€",
    "→",
    "😀",
    "\xE2\x80\x8D",
    "\xC2\xAD",
    "\x01",
    "\x7f",
};

static uint32_t next(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 33);
}

static void hold(const char *regex, tern__pattern_kind kind) {
  tern__alloc heap;
  tern__arena arena;
  tern__regex *compiled;
  tern__regex_state *state = NULL;
  tern__scanner scan = tern__scanner_for(regex, kind);
  cr_assert_not_null(scan);
  tern__alloc_init(&heap, NULL, 0);
  tern__arena_init(&arena, &heap);
  cr_assert_eq(tern__regex_compile(&arena, regex, strlen(regex), &compiled), TERN_OK, "%s",
               tern_last_error());
  uint64_t seed = 42;
  for (int round = 0; round < 20000; round++) {
    char text[512];
    size_t size = 0;
    for (uint32_t n = 1 + next(&seed) % 20; n--;) {
      const char *piece = alphabet[next(&seed) % (sizeof alphabet / sizeof *alphabet)];
      memcpy(text + size, piece, strlen(piece));
      size += strlen(piece);
    }
    for (size_t at = 0; at < size;) {
      tern__regex_match m;
      cr_assert_eq(tern__regex_find(compiled, &heap, &state, text, size, at, &m), TERN_OK);
      size_t got = scan(text + at, size - at);
      cr_assert(m.found && m.start == at && m.end == at + got, "'%.*s' at %zu: scanner %zu, regex %zu..%zu",
                (int)size, text, at, got, m.start, m.end);
      at += got;
    }
  }
  tern__regex_state_free(state);
  tern__arena_deinit(&arena);
  cr_assert_eq(heap.live_bytes, 0);
}

#define FAMILY(c, digits)                                                                                    \
  c "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| "                                                            \
                                             "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define FOLDED "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPELLED "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
Test(text_pattern, gpt2) { hold(GPT2, TERN_PATTERN_REGEX); }
Test(text_pattern, gpt2_llama_cpp) { hold(GPT2, TERN_PATTERN_LLAMA_CPP); }
Test(text_pattern, llama3) { hold(FAMILY(FOLDED, "\\p{N}{1,3}"), TERN_PATTERN_REGEX); }
Test(text_pattern, qwen2) { hold(FAMILY(FOLDED, "\\p{N}"), TERN_PATTERN_REGEX); }
Test(text_pattern, llama3_llama_cpp) { hold(FAMILY(SPELLED, "\\p{N}{1,3}"), TERN_PATTERN_LLAMA_CPP); }
Test(text_pattern, qwen2_llama_cpp) { hold(FAMILY(SPELLED, "\\p{N}"), TERN_PATTERN_LLAMA_CPP); }

Test(text_pattern, refuses_what_pcre2_reads_differently) {
  static const char *const patterns[] = {"[a[bc]]", "[\\p{L}&&[^a]]", "[\\W_]"};
  tern__alloc heap;
  tern__arena arena;
  tern__regex *compiled;
  tern__alloc_init(&heap, NULL, 0);
  tern__arena_init(&arena, &heap);
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
    cr_assert_eq(tern__regex_compile(&arena, patterns[i], strlen(patterns[i]), &compiled),
                 TERN_STATUS_UNSUPPORTED, "%s", patterns[i]);
  cr_assert_eq(tern__regex_compile(&arena, "a(", 2, &compiled), TERN_STATUS_CORRUPT);
  cr_assert(strstr(tern_last_error(), "a("), "%s", tern_last_error());
  tern__arena_deinit(&arena);
}

/* Catastrophic backtracking ends in an error, soon. */
Test(text_pattern, steps_are_limited, .timeout = 60) {
  tern__alloc heap;
  tern__arena arena;
  tern__regex *compiled;
  tern__regex_state *state = NULL;
  tern__regex_match m;
  char text[64];
  memset(text, 'a', sizeof text);
  tern__alloc_init(&heap, NULL, 0);
  tern__arena_init(&arena, &heap);
  cr_assert_eq(tern__regex_compile(&arena, "(?:a|a|aa)+[bc]", 15, &compiled), TERN_OK);
  cr_assert_eq(tern__regex_find(compiled, &heap, &state, text, sizeof text, 0, &m),
               TERN_STATUS_INVALID_ARGUMENT);
  tern__regex_state_free(state);
  tern__arena_deinit(&arena);
}

/* Every pattern of every tokenizer.ggml.pre kind compiles. */
Test(text_pattern, pre_kinds_compile) {
  static const char *const names[] = {
      "default",   "llama-bpe", "deepseek-llm", "deepseek-coder", "deepseek-v3", "falcon",
      "starcoder", "gpt-2",     "qwen2",        "qwen35",         "smollm",      "refact",
      "command-r", "stablelm2", "tekken",       "gpt-4o",         "llama4",      "bloom",
      "viking",    "chameleon", "exaone-moe",   "bailingmoe",     "seed-coder",  "laguna",
      "youtu",     "spark2_5",  "jais-2",       "minicpm5",       "glm4"};
  tern__alloc heap;
  tern__arena arena;
  tern__part *pre;
  tern__alloc_init(&heap, NULL, 0);
  tern__arena_init(&arena, &heap);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const tern__pre_kind *kind = tern__pre_kind_find(names[i]);
    size_t n = 0;
    cr_assert_not_null(kind, "%s", names[i]);
    while (n < 8 && kind->patterns[n]) n++;
    cr_assert_eq(tern__pre_tokenizer_from_patterns(&arena, kind->patterns, n, true, &pre), TERN_OK, "%s: %s",
                 names[i], tern_last_error());
  }
  cr_assert_null(tern__pre_kind_find("no such kind"));
  cr_assert_null(tern__pre_kind_find("gpt"));
  tern__arena_deinit(&arena);
}
