/* Options of the command line. One table per command drives parsing and help, so that the two cannot differ.
 * Every option is honoured or refused by name, with the nearest known name as a hint. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 64 };

bool cli_list_add(cli_list *list, const char *item) {
  const char **items = realloc((void *)list->items, ((size_t)list->count + 1) * sizeof *items);
  if (!items) return cli_error("out of memory"), false;
  items[list->count++] = item;
  list->items = items;
  return true;
}

void cli_list_free(cli_list *list) {
  free((void *)list->items);
  *list = (cli_list){0};
}

/* Levenshtein distance of two short names. */
static int distance(const char *a, size_t a_size, const char *b, size_t b_size) {
  int row[MAX_NAME + 1];
  if (a_size > MAX_NAME || b_size > MAX_NAME) return MAX_NAME;
  for (size_t j = 0; j <= b_size; ++j) row[j] = (int)j;
  for (size_t i = 1; i <= a_size; ++i) {
    int diagonal = row[0];
    row[0] = (int)i;
    for (size_t j = 1; j <= b_size; ++j) {
      int best = diagonal + (a[i - 1] != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[b_size];
}

const char *cli_nearest(const char *word, const char *const *names, int n_names) {
  const char *nearest = NULL;
  size_t size = strlen(word);
  int best = size < 6 ? 3 : (int)(size / 2);
  for (int i = 0; i < n_names; ++i) {
    int d = distance(word, size, names[i], strlen(names[i]));
    if (d < best) best = d, nearest = names[i];
  }
  return nearest;
}

bool cli_parse_int(const char *text, int64_t *out) {
  char *end = NULL;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  if (end == text || *end || errno) return false;
  *out = value;
  return true;
}

static int set_int(const cli_option *o, const char *text) {
  int64_t value;
  if (!cli_parse_int(text, &value)) return cli_usage("%s needs a whole number, not '%s'", o->name, text);
  if ((double)value < o->min || (double)value > o->max)
    return cli_usage("%s must be from %.0f to %.0f, not %s", o->name, o->min, o->max, text);
  *(int64_t *)o->target = value;
  return CLI_OK;
}

static int set_real(const cli_option *o, const char *text) {
  char *end = NULL;
  double value = strtod(text, &end);
  if (end == text || *end) return cli_usage("%s needs a number, not '%s'", o->name, text);
  if (!(value >= o->min && value <= o->max))
    return cli_usage("%s must be from %g to %g, not %s", o->name, o->min, o->max, text);
  *(double *)o->target = value;
  return CLI_OK;
}

static int set_bytes(const cli_option *o, const char *text) {
  char *end = NULL;
  double value = strtod(text, &end), scale = 1;
  bool known = end != text;
  if (known && *end) {
    const char *units = "KMGT", *unit = strchr(units, *end & ~0x20);
    known = unit && (!end[1] || !strcmp(end + 1, "B") || !strcmp(end + 1, "iB"));
    for (const char *u = units; known && u <= unit; ++u) scale *= 1024;
  }
  if (!known || !(value >= 1) || value * scale > 1e18)
    return cli_usage("%s needs a size such as 512M or 2G, not '%s'", o->name, text);
  *(uint64_t *)o->target = (uint64_t)(value * scale);
  return CLI_OK;
}

static int set_choice(const cli_option *o, const char *text) {
  const char *name = o->value;
  for (int index = 1;; ++index) {
    size_t size = strcspn(name, "|");
    if (strlen(text) == size && !strncmp(text, name, size)) {
      *(int *)o->target = index;
      return CLI_OK;
    }
    if (!name[size]) return cli_usage("%s is one of %s, not '%s'", o->name, o->value, text);
    name += size + 1;
  }
}

static int set_value(const cli_option *o, const char *text) {
  switch (o->kind) {
    case CLI_TEXT: *(const char **)o->target = text; return CLI_OK;
    case CLI_INT: return set_int(o, text);
    case CLI_REAL: return set_real(o, text);
    case CLI_BYTES: return set_bytes(o, text);
    case CLI_CHOICE: return set_choice(o, text);
    case CLI_LIST: return cli_list_add(o->target, text) ? CLI_OK : CLI_FAILED;
    default: return cli_usage("%s takes no value", o->name);
  }
}

static int unknown_option(const cli_command *command, const char *name) {
  const char *names[64] = {"--help"};
  int n = 1;
  for (int i = 0; i < command->n_options && n < 64; ++i) names[n++] = command->options[i].name;
  const char *nearest = cli_nearest(name, names, n);
  if (nearest) return cli_usage("unknown option '%s'; did you mean %s?", name, nearest);
  return cli_usage("unknown option '%s'; see '%s --help'", name, command->name);
}

static void print_help(const cli_command *command) {
  printf("Usage: %s %s\n\n%s\n\nOptions:\n", command->name, command->usage, command->about);
  for (int i = 0; i < command->n_options; ++i) {
    const cli_option *o = &command->options[i];
    char left[MAX_NAME];
    snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
    printf("  %-30s %s%s\n", left, o->help, o->kind == CLI_LIST ? " (repeatable)" : "");
  }
  printf("  %-30s %s\n\nExamples:\n%s\n", "--help", "this text", command->examples);
}

/* One `--name`, `--name value` or `--name=value`; moves *index past what it used. */
static int take_option(const cli_command *command, int argc, char **argv, int *index, cli_list *inputs) {
  const char *arg = argv[*index], *equals = strchr(arg, '=');
  size_t size = equals ? (size_t)(equals - arg) : strlen(arg);
  const cli_option *found = NULL;
  for (int i = 0; i < command->n_options && !found; ++i) {
    const char *name = command->options[i].name;
    if (strlen(name) == size && !strncmp(name, arg, size)) found = &command->options[i];
  }
  if (!found) {
    char name[MAX_NAME];
    snprintf(name, sizeof name, "%.*s", (int)(size < MAX_NAME ? size : MAX_NAME - 1), arg);
    return unknown_option(command, name);
  }
  if (found->kind == CLI_FLAG || found->kind == CLI_FLAG_TEXT) {
    *(bool *)found->target = true;
    if (!equals) return CLI_OK;
    if (found->kind == CLI_FLAG) return cli_usage("%s takes no value", found->name);
    return cli_list_add(inputs, equals + 1) ? CLI_OK : CLI_FAILED;
  }
  if (equals) return set_value(found, equals + 1);
  if (*index + 1 >= argc) return cli_usage("%s needs a value (%s)", found->name, found->value);
  return set_value(found, argv[++*index]);
}

int cli_parse(const cli_command *command, int argc, char **argv, cli_list *inputs) {
  bool options_end = false;
  for (int i = 0; i < argc; ++i) {
    const char *arg = argv[i];
    int rc = CLI_OK;
    if (options_end || arg[0] != '-' || !arg[1]) {
      if (!cli_list_add(inputs, arg)) rc = CLI_FAILED;
    } else if (!strcmp(arg, "--")) {
      options_end = true;
    } else if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
      print_help(command);
      return -1;
    } else {
      rc = take_option(command, argc, argv, &i, inputs);
    }
    if (rc) return rc;
  }
  return CLI_OK;
}
