/* tern tokenize: stdin a line at a time, text to token ids or back. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

typedef struct tokenize_options {
  cli_common common;
  bool no_special, plain_special, decode;
} tokenize_options;

typedef struct buffer {
  void *data;
  size_t capacity; /* in items */
} buffer;

static bool reserve(buffer *b, size_t n, size_t item_size) {
  if (n <= b->capacity) return true;
  void *data = n < SIZE_MAX / item_size / 2 ? realloc(b->data, 2 * n * item_size) : NULL;
  if (!data) return cli_error("no memory for a line of %zu items", n), false;
  b->data = data;
  b->capacity = 2 * n;
  return true;
}

static int encode_line(const tern_tokenizer *tokenizer, const tokenize_options *o, const char *line,
                       size_t size, buffer *ids) {
  uint32_t flags =
      (o->no_special ? TERN_TOKENIZE_NO_SPECIAL : 0) | (o->plain_special ? TERN_TOKENIZE_PLAIN_SPECIAL : 0);
  size_t n = 0;
  do {
    if (!reserve(ids, n > size + 16 ? n : size + 16, sizeof(int32_t))) return CLI_FAILED;
    tern_status status = tern_tokenizer_encode(tokenizer, line, size, flags, ids->data, ids->capacity, &n);
    if (status != TERN_OK) return cli_fail(status);
  } while (n > ids->capacity);
  const int32_t *id = ids->data;
  if (o->common.json) putchar('[');
  for (size_t i = 0; i < n; ++i) printf("%s%d", i ? o->common.json ? "," : " " : "", id[i]);
  puts(o->common.json ? "]" : "");
  return CLI_OK;
}

/* Ids between blanks, commas or brackets, so that the output of encoding is read in both its forms. */
static int parse_ids(const char *line, buffer *ids, size_t *n) {
  *n = 0;
  while (*(line += strspn(line, " \t\r,[]"))) {
    char *end = NULL;
    long id = strtol(line, &end, 10);
    if (end == line || id < 0 || id > INT32_MAX || !strchr(" \t\r,[]", *end))
      return cli_error("'%s' is not a list of token ids", line);
    if (!reserve(ids, *n + 1, sizeof(int32_t))) return CLI_FAILED;
    ((int32_t *)ids->data)[(*n)++] = (int32_t)id;
    line = end;
  }
  return CLI_OK;
}

static int decode_line(const tern_tokenizer *tokenizer, const tokenize_options *o, const char *line,
                       buffer *ids, buffer *text) {
  size_t n = 0, size = 0;
  int rc = parse_ids(line, ids, &n);
  if (rc) return rc;
  do {
    if (!reserve(text, size + 256, 1)) return CLI_FAILED;
    tern_status status =
        tern_tokenizer_decode(tokenizer, ids->data, n, o->no_special ? TERN_TOKENIZE_NO_SPECIAL : 0,
                              text->data, text->capacity, &size);
    if (status != TERN_OK) return cli_fail(status);
  } while (size > text->capacity);
  if (o->common.json) cli_json_string(stdout, text->data, size);
  else fwrite(text->data, 1, size, stdout);
  putchar('\n');
  return CLI_OK;
}

static int each_line(const tokenize_options *o) {
  cli_app app;
  tern_tokenizer *tokenizer = NULL;
  buffer ids = {0}, text = {0};
  char *line = NULL;
  size_t capacity = 0;
  ssize_t size;
  int rc = cli_start(&o->common, false, &app);
  if (rc == CLI_OK) {
    tern_status status = tern_tokenizer_open(app.runtime, o->common.model, &tokenizer);
    if (status != TERN_OK) rc = cli_fail(status);
  }
  while (rc == CLI_OK && (size = getline(&line, &capacity, stdin)) >= 0) {
    if (size && line[size - 1] == '\n') line[--size] = 0;
    rc = o->decode ? decode_line(tokenizer, o, line, &ids, &text)
                   : encode_line(tokenizer, o, line, (size_t)size, &ids);
  }
  free(line);
  free(ids.data);
  free(text.data);
  tern_tokenizer_close(tokenizer);
  cli_stop(&app);
  return rc;
}

static const char about[] =
    "Reads stdin a line at a time and prints the token ids of each line, or with --decode the text of each\n"
    "line of ids. PATH is a .gguf file, a tokenizer.json, or a folder with one. A text of several lines is\n"
    "told apart from several texts only with --json (ids as [1,2], text as a JSON string).";
static const char examples[] = "  echo \"Hello world\" | tern tokenize --model SmolLM2.gguf\n"
                               "  echo \"19556 905\" | tern tokenize --model SmolLM2.gguf --decode\n"
                               "  tern tokenize --model all-MiniLM-L6-v2/ --no-special < lines.txt";

int cli_tokenize(int argc, char **argv) {
  tokenize_options o = {0};
  cli_list inputs = {0};
  const cli_option options[] = {
      {"--model", CLI_TEXT, &o.common.model, "PATH", "a .gguf file, a tokenizer.json, or a folder with one",
       0, 0},
      {"--decode", CLI_FLAG, &o.decode, NULL, "lines of ids to text", 0, 0},
      {"--no-special", CLI_FLAG, &o.no_special, NULL,
       "without [CLS], <s>, ... (encode: add none; decode: drop)", 0, 0},
      {"--plain-special", CLI_FLAG, &o.plain_special, NULL,
       "text that spells a special token is ordinary text", 0, 0},
      CLI_JSON_OPTION(&o.common),
      {"--verbose", CLI_FLAG, &o.common.verbose, NULL, "log on stderr", 0, 0},
  };
  const cli_command command = {"tern tokenize", "--model PATH [options] < LINES", about, examples,
                               options, sizeof options / sizeof *options};
  int rc = cli_parse(&command, argc, argv, &inputs);
  if (rc == CLI_OK && inputs.count)
    rc = cli_usage("tokenize reads stdin; '%s' is no option", inputs.items[0]);
  if (rc == CLI_OK && o.decode && o.plain_special)
    rc = cli_usage("--plain-special is about encoding, not --decode");
  if (rc == CLI_OK) rc = each_line(&o);
  cli_list_free(&inputs);
  return rc < 0 ? CLI_OK : rc;
}
