/* sdk/base/json: reading, what absent means, limits of numbers, broken input; and the writer. */
#include "base/json.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static tern__json *parse(const char *text) {
  tern__json *root;
  tern_status status = tern__json_parse(text, strlen(text), "test", &root);
  cr_assert(status == TERN_OK && root, "%s: %s", text, tern_last_error());
  return root;
}

Test(json, reads_every_type) {
  tern__json *root = parse(" {\"s\":\"a\\u00e9\\n\",\"i\":-12,\"f\":2.5e3,\"t\":true,\"n\":null,\"a\":[1,[2],"
                           "{}],\"o\":{\"k\":\"v\"}} ");
  cr_expect(tern__json_is_object(root) && tern__json_count(root) == 7);
  cr_expect_str_eq(tern__json_string(tern__json_get(root, "s"), ""), "a\xc3\xa9\n");
  cr_expect(tern__json_int(tern__json_get(root, "i"), 0) == -12 &&
            tern__json_number(tern__json_get(root, "f"), 0) == 2500);
  cr_expect(tern__json_bool(tern__json_get(root, "t"), false));
  const tern__json *a = tern__json_get(root, "a"), *e = tern__json_first(a);
  cr_expect(tern__json_is_array(a) && tern__json_count(a) == 3 && tern__json_is_number(e));
  cr_expect(tern__json_is_array(e = tern__json_next(e)) && tern__json_is_object(e = tern__json_next(e)) &&
            !tern__json_next(e));
  cr_expect_str_eq(tern__json_key(tern__json_first(tern__json_get(root, "o"))), "k");
  tern__json_close(root);
}

Test(json, absent_null_and_other_types_read_as_the_fallback) {
  tern__json *root = parse("{\"n\":null,\"s\":\"7\",\"i\":7,\"S\":1}");
  cr_expect(!tern__json_get(root, "none") && !tern__json_get(root, "n"), "null reads as absent");
  cr_expect(tern__json_is_null(tern__json_first(root)), "but is there");
  cr_expect(tern__json_int(tern__json_get(root, "S"), 0) == 1 &&
                tern__json_is_string(tern__json_get(root, "s")),
            "keys have case");
  cr_expect(tern__json_int(tern__json_get(root, "s"), -1) == -1 && tern__json_number(NULL, 2) == 2 &&
            tern__json_bool(NULL, true));
  cr_expect_str_eq(tern__json_string(tern__json_get(root, "i"), "no"), "no");
  cr_expect(!tern__json_get(NULL, "x") && !tern__json_first(NULL) && !tern__json_next(NULL) &&
            tern__json_count(NULL) == 0);
  cr_expect(!tern__json_first(tern__json_get(root, "i")) && !tern__json_get(tern__json_get(root, "i"), "x"));
  cr_expect_str_eq(tern__json_key(NULL), "");
  tern__json_close(root);
  tern__json_close(NULL);
}

Test(json, whole_numbers_only_where_doubles_are_exact) {
  static const struct {
    const char *text;
    int64_t value;
  } cases[] = {{"9007199254740992", 9007199254740992},
               {"-9007199254740992", -9007199254740992},
               {"1e3", 1000},
               {"0", 0},
               {"-0", 0},
               {"9007199254740994", -77},
               {"1e300", -77},
               {"1.5", -77},
               {"-1e19", -77}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tern__json *root = parse(cases[i].text);
    cr_expect(tern__json_int(root, -77) == cases[i].value, "%s", cases[i].text);
    tern__json_close(root);
  }
}

static bool is_error(const char *text, size_t size) {
  char *exact = malloc(size ? size : 1); /* without a terminator: a sanitizer sees reads beyond it */
  tern__json *root = NULL;
  if (size) memcpy(exact, text, size);
  tern_status status = tern__json_parse(exact, size, "cut.json", &root);
  free(exact);
  if (status == TERN_OK) return tern__json_close(root), false;
  cr_expect(status == TERN_STATUS_CORRUPT && strstr(tern_last_error(), "cut.json"), "%s", tern_last_error());
  return true;
}

Test(json, truncation_at_every_byte_is_an_error) {
  static const char text[] = "{\"a\":[1,true,null,\"x\\u00e9\\n\"],\"b\":{\"c\":-1.5e-3}}";
  for (size_t n = 0; n < sizeof text - 1; n++)
    cr_expect(is_error(text, n), "the first %zu bytes were accepted", n);
  cr_expect(!is_error(text, sizeof text - 1));
}

Test(json, broken_text_is_an_error) {
  static const char *const bad[] = {"{",     "]",   "{\"a\"}",     "{\"a\":}",  "[1,]", "[1 2]",
                                    "{a:1}", "'a'", "\"\\x\"",     "\"\\u12\"", "tru",  "nul",
                                    "-",     "+1",  "\"\\ud800\"", "[\"abc]",   "\xff"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    cr_expect(is_error(bad[i], strlen(bad[i])), "%s was accepted", bad[i]);
}

Test(json, deep_nesting_is_an_error_not_a_crash) {
  size_t n = 1000000;
  char *deep = malloc(n);
  memset(deep, '[', n);
  cr_expect(is_error(deep, n));
  for (size_t i = 0; i + 5 <= n; i += 5) memcpy(deep + i, "{\"a\":", 5);
  cr_expect(is_error(deep, n));
  free(deep);
}

Test(json, missing_files_are_named) {
  tern__json *root;
  cr_expect(tern__json_open("/no/such/file.json", &root) == TERN_STATUS_NOT_FOUND && !root);
  cr_expect(strstr(tern_last_error(), "/no/such/file.json"), "%s", tern_last_error());
}

static void write_sample(tern__json_writer *w) {
  tern__json_begin(w, NULL, '{');
  tern__json_put_string(w, "text", "a\"\\\n\t\r\x01\xc3\xa9", 9);
  tern__json_put_int(w, "big", INT64_MAX);
  tern__json_put_number(w, "x", 0.1);
  tern__json_put_number(w, "nan", NAN);
  tern__json_begin(w, "list", '[');
  tern__json_put_bool(w, NULL, true);
  tern__json_begin(w, NULL, '{');
  tern__json_end(w, '}');
  tern__json_put_int(w, NULL, -1);
  tern__json_end(w, ']');
  tern__json_end(w, '}');
}

Test(json, writer_gives_what_the_reader_reads) {
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 0);
  tern__json_writer w = {.alloc = &alloc};
  write_sample(&w);
  cr_assert(!w.failed && w.size == strlen(w.text));
  cr_expect_str_eq(
      w.text,
      "{\"text\":\"a\\\"\\\\\\n\\t\\r\\u0001\xc3\xa9\",\"big\":9223372036854775807,\"x\":0.1,\"nan\":null,"
      "\"list\":[true,{},-1]}");
  tern__json *root = parse(w.text);
  cr_expect_str_eq(tern__json_string(tern__json_get(root, "text"), ""), "a\"\\\n\t\r\x01\xc3\xa9");
  cr_expect(tern__json_count(tern__json_get(root, "list")) == 3 &&
            tern__json_number(tern__json_get(root, "x"), 0) == 0.1);
  tern__json_close(root);
  tern__free(&alloc, w.text);
  cr_expect(atomic_load(&alloc.live_bytes) == 0);
}

Test(json, writer_says_when_memory_ran_out) {
  for (uint64_t budget = 1; budget < 1200; budget += 7) {
    tern__alloc alloc;
    tern__alloc_init(&alloc, NULL, budget);
    tern__json_writer w = {.alloc = &alloc};
    for (int i = 0; i < 20; i++) write_sample(&w);
    cr_expect(w.failed, "a budget of %d bytes was not felt", (int)budget);
    tern__free(&alloc, w.text);
    cr_expect(atomic_load(&alloc.live_bytes) == 0);
  }
}
