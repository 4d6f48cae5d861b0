/* Chat templates against transformers' own renderings (tests/conformance/chat_template/vectors.json, written
 * by make_vectors.py there), and against hostile templates. */
#include "base/array.h"
#include "base/json.h"
#include "text/chat_template.h"

#include <criterion/criterion.h>
#include <stdio.h>

#ifndef TERN_SOURCE_DIR
#  define TERN_SOURCE_DIR "."
#endif

static tern__alloc heap;

static tern_status render(const char *template_text, const tern__chat_inputs *inputs, char **text) {
  tern__alloc_init(&heap, NULL, 0);
  *text = NULL;
  return tern__chat_render(&heap, template_text, inputs, text);
}

static const tern__chat_inputs hello = {.messages_json = "[{\"role\":\"user\",\"content\":\"hi\"}]"};

static void check_case(const tern__json *c) {
  const char *name = tern__json_string(tern__json_get(c, "name"), "?");
  const char *want = tern__json_string(tern__json_get(c, "text"), NULL);
  tern__chat_inputs in = {
      .messages_json = tern__json_string(tern__json_get(c, "messages"), NULL),
      .tools_json = tern__json_string(tern__json_get(c, "tools"), NULL),
      .variables_json = tern__json_string(tern__json_get(c, "variables"), NULL),
      .bos_token = tern__json_string(tern__json_get(c, "bos_token"), NULL),
      .eos_token = tern__json_string(tern__json_get(c, "eos_token"), NULL),
      .add_generation_prompt = tern__json_bool(tern__json_get(c, "add_generation_prompt"), false),
      .date_string = tern__json_string(tern__json_get(c, "date"), NULL),
  };
  char *text;
  tern_status status = render(tern__json_string(tern__json_get(c, "template"), ""), &in, &text);
  if (!want) {
    cr_expect(status != TERN_OK, "%s: transformers refuses this (%s), tern rendered it", name,
              tern__json_string(tern__json_get(c, "error"), "?"));
    cr_expect(tern__array_count(text) == 0, "%s: text left behind after an error", name);
  } else {
    cr_expect(status == TERN_OK, "%s: %s", name, tern_last_error());
    size_t n = tern__array_count(text);
    cr_expect(n == strlen(want) && !memcmp(text, want, n), "%s:\n--- tern\n%.*s\n--- transformers\n%s\n---",
              name, (int)n, text ? text : "", want);
  }
  TERN_ARRAY_FREE(&heap, text);
  cr_expect(atomic_load(&heap.live_bytes) == 0, "%s: memory leaked", name);
}

Test(chat_template, vectors_of_transformers) {
  tern__json *root;
  tern_status status = tern__json_open(TERN_SOURCE_DIR "/tests/conformance/chat_template/vectors.json",
                                       &root);
  cr_assert(status == TERN_OK, "%s", tern_last_error());
  const tern__json *cases = tern__json_get(root, "cases");
  cr_assert(tern__json_count(cases) >= 90, "the vectors are not all there");
  for (const tern__json *c = tern__json_first(cases); c; c = tern__json_next(c)) check_case(c);
  tern__json_close(root);
}

/* `text` NULL: an error of `status` whose sentence holds `error`. */
typedef struct expectation {
  const char *name, *template_text;
  tern_status status;
  const char *error;
} expectation;

static void check_refused(const expectation *e, size_t n) {
  for (size_t i = 0; i < n; i++) {
    char *text;
    tern_status status = render(e[i].template_text, &hello, &text);
    cr_expect(status == e[i].status, "%s: status %d, expected %d (%s)", e[i].name, status, e[i].status,
              tern_last_error());
    cr_expect(strstr(tern_last_error(), e[i].error), "%s: \"%s\" does not say \"%s\"", e[i].name,
              tern_last_error(), e[i].error);
    TERN_ARRAY_FREE(&heap, text);
    cr_expect(atomic_load(&heap.live_bytes) == 0, "%s: memory leaked", e[i].name);
  }
}

Test(chat_template, errors_name_what_and_where) {
  static const expectation cases[] = {
      {"syntax", "a\n\n{{ 1 + }}", TERN_STATUS_CORRUPT, "line 3"},
      {"unclosed if", "{% if 1 %}", TERN_STATUS_CORRUPT, "endif"},
      {"unclosed string", "{{ 'abc }}", TERN_STATUS_CORRUPT, "closing quote"},
      {"unclosed comment", "x {# y", TERN_STATUS_CORRUPT, "#}"},
      {"unclosed raw", "{% raw %} x", TERN_STATUS_CORRUPT, "endraw"},
      {"brackets", "{{ (1] }}", TERN_STATUS_CORRUPT, "bracket"},
      {"tag", "\n{% frobnicate %}", TERN_STATUS_CORRUPT, "line 2: unexpected or unknown tag 'frobnicate'"},
      {"statement", "{% include 'x' %}", TERN_STATUS_UNSUPPORTED, "'include'"},
      {"filter", "\n{{ 1|urlize }}", TERN_STATUS_UNSUPPORTED, "line 2: the filter 'urlize'"},
      {"test", "{{ 1 is sameas 1 }}", TERN_STATUS_UNSUPPORTED, "the test 'sameas'"},
      {"raise", "{{ raise_exception('no system role') }}", TERN_STATUS_INVALID_ARGUMENT, "no system role"},
      {"undefined", "{{ nobody.x }}", TERN_STATUS_INVALID_ARGUMENT, "'nobody' is undefined"},
      {"integer", "{{ 99999999999999999999 }}", TERN_STATUS_UNSUPPORTED, "64 bits"},
      {"overflow", "{{ 2 ** 64 }}", TERN_STATUS_UNSUPPORTED, "64 bits"},
      {"divide", "{{ (0 - 9223372036854775807 - 1) // -1 }}", TERN_STATUS_UNSUPPORTED, "64 bits"},
  };
  check_refused(cases, sizeof cases / sizeof *cases);
}

Test(chat_template, hostile_templates_end) {
  static const expectation cases[] = {
      {"loops",
       "{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% if 1 > 2 or 3 > 4 or 5 > 6 %}{% endif "
       "%}{% endfor %}"
       "{% endfor %}",
       TERN_STATUS_INVALID_ARGUMENT, "steps"},
      {"ranges", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
       TERN_STATUS_OUT_OF_MEMORY, "256 MiB"},
      {"recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", TERN_STATUS_INVALID_ARGUMENT,
       "nested deeper"},
      {"doubling",
       "{% set n = namespace(s='x') %}{% for i in range(64) %}{% set n.s = n.s + n.s %}{% endfor %}",
       TERN_STATUS_INVALID_ARGUMENT, "longer than"},
      {"repeat", "{{ 'abcdefgh' * 1000000000000 }}", TERN_STATUS_INVALID_ARGUMENT, "longer than"},
      {"deep list",
       "{% set n = namespace(s=[]) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% endfor %}{{ n.s }}",
       TERN_STATUS_INVALID_ARGUMENT, "nested deeper"},
      {"deep equal",
       "{% set n = namespace(s=[], t=[]) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% set n.t = [n.t] "
       "%}{% endfor %}"
       "{{ n.s == n.t }}",
       TERN_STATUS_INVALID_ARGUMENT, "nested deeper"},
      {"width", "{{ 'x'|indent(99999999) }}", TERN_STATUS_INVALID_ARGUMENT, "width"},
  };
  check_refused(cases, sizeof cases / sizeof *cases);
}

/* `count` times `open`, then `middle`. */
static char *nested(const char *open, int count, const char *middle) {
  size_t n = strlen(open), total = n * (size_t)count + strlen(middle) + 1;
  char *text = malloc(total);
  for (int i = 0; i < count; i++) memcpy(text + n * (size_t)i, open, n);
  memcpy(text + n * (size_t)count, middle, strlen(middle) + 1);
  return text;
}

Test(chat_template, deep_nesting_is_an_error_not_a_crash) {
  static const char *const opens[][3] = {
      {"{{ ", "(", "1"},
      {"{{ ", "[", "1"},
      {"{{ ", "{'a':", "1"},
      {"{{ ", "not ", "1"},
      {"{{ ", "-", "1 }}"},
      {"", "{% if 1 %}", ""},
      {"", "{% for x in y %}", ""},
      {"{{ 1", " + 1", "}}"},
      {"{{ a", ".a", "}}"},
      {"{{ 1", "|abs", "}}"},
      {"{{ 1", " if 1 else 1", "}}"},
      {"{{ 'a'", " ~ 'a'", "}}"},
      {"{% set ", "(", "a"},
      {"{{ f", "(f", "}}"},
      {"{{ a", "[a", "}}"},
  };
  for (size_t i = 0; i < sizeof opens / sizeof *opens; i++) {
    char *tail = nested(opens[i][1], 20000, opens[i][2]), *all = nested(opens[i][0], 1, tail), *text;
    cr_expect(render(all, &hello, &text) != TERN_OK, "20000 times '%s' was accepted", opens[i][1]);
    TERN_ARRAY_FREE(&heap, text);
    cr_expect(atomic_load(&heap.live_bytes) == 0);
    free(tail), free(all);
  }
}

Test(chat_template, bad_inputs_are_errors) {
  static const char *const bad[] = {"",
                                    "{}",
                                    "[1]",
                                    "[{]",
                                    "[{\"role\":\"user\"",
                                    "[{\"a\":\"\\u12\"}]",
                                    "[{\"a\":01x}]",
                                    "[{\"a\":\"\n\"}]",
                                    "[] x",
                                    "[{\"a\":123456789012345678901234567890}]"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char *text;
    tern__chat_inputs in = {.messages_json = bad[i]};
    cr_expect(render("{{ messages }}", &in, &text) != TERN_OK, "messages %s were accepted", bad[i]);
    cr_expect(strstr(tern_last_error(), "messages"), "%s", tern_last_error());
    TERN_ARRAY_FREE(&heap, text);
  }
  char *deep = nested("[", 100000, ""), *text;
  tern__chat_inputs in = {.messages_json = deep};
  cr_expect(render("x", &in, &text) == TERN_STATUS_INVALID_ARGUMENT);
  free(deep);
}

Test(chat_template, appends_and_keeps_what_was_there) {
  char *text = NULL;
  tern__alloc_init(&heap, NULL, 0);
  cr_assert(tern__chat_render(&heap, "{{ messages[0].content }}", &hello, &text) == TERN_OK);
  cr_assert(tern__chat_render(&heap, "!{{ bos_token }}{{ pad_token is defined }}", &hello, &text) == TERN_OK);
  cr_expect(tern__array_count(text) == 8 && !memcmp(text, "hi!False", 8));
  cr_assert(tern__chat_render(&heap, "more {{ x.y }}", &hello, &text) != TERN_OK);
  cr_expect(tern__array_count(text) == 8 && !memcmp(text, "hi!False", 8),
            "an error must leave the text as it was");
  TERN_ARRAY_FREE(&heap, text);
}

/* Every allocation fails once: an OUT_OF_MEMORY status, and nothing leaks. */
static int64_t until_failure;
static void *failing_alloc(void *user_data, size_t size, size_t align) {
  (void)user_data, (void)align;
  return until_failure-- == 0 ? NULL : malloc(size);
}
static void failing_free(void *user_data, void *ptr, size_t size, size_t align) {
  (void)user_data, (void)size, (void)align;
  free(ptr);
}

Test(chat_template, survives_running_out_of_memory) {
  static const char source[] =
      "{% macro m(a) %}{{ a|tojson }}{% endmacro %}{% for x in range(300) %}{% set y = 'v' ~ x %}{{ m([y, "
      "{'k': x}]) }}"
      "{% endfor %}{{ messages|map(attribute='role')|join(',') }}{{ ['b', 'a']|sort }}";
  tern_status status = TERN_STATUS_OUT_OF_MEMORY;
  for (int64_t k = 0; status != TERN_OK; k++) {
    tern__alloc alloc;
    char *text = NULL;
    tern__alloc_init(&alloc, &(tern_allocator){failing_alloc, failing_free, NULL}, 0);
    until_failure = k;
    status = tern__chat_render(&alloc, source, &hello, &text);
    cr_assert(status == TERN_OK || status == TERN_STATUS_OUT_OF_MEMORY, "allocation %d: %s", (int)k,
              tern_last_error());
    TERN_ARRAY_FREE(&alloc, text);
    cr_assert(atomic_load(&alloc.live_bytes) == 0, "allocation %d: memory leaked", (int)k);
    cr_assert(k < 10000);
  }
}
