/* `tern bench --profile` as a table: what each kernel took of the last run, and which share of the machine's roof that
 * is. The library's profile is JSON of its own writing (tern_session_profile in tern.h), so that a scan for its keys will
 * do; nodes' names, which anybody may choose, stand in another list than the kernels, with their quotes escaped. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 160 };

typedef struct kernel_row { char name[NAME_SIZE]; double count, ns, operations, bytes; } kernel_row;

/* The number behind "key": in [from, to), or 0. */
static double number_of(const char *from, const char *to, const char *key) {
  const char *at = strstr(from, key);
  return at && at < to ? strtod(at + strlen(key), NULL) : 0;
}

/* Reads the object at `*at` and moves on to the next; false behind the last. */
static bool next_kernel(const char **at, kernel_row *row) {
  static const char kernel[] = "{\"kernel\":\"";
  if (strncmp(*at, kernel, sizeof kernel - 1)) return false;
  const char *name = *at + sizeof kernel - 1, *end = strchr(name, '}'), *quote = strchr(name, '"');
  if (!end || !quote || quote > end) return false;
  snprintf(row->name, sizeof row->name, "%.*s", (int)(quote - name), name);
  row->count = number_of(name, end, "\"count\":"), row->ns = number_of(name, end, "\"ns\":");
  row->operations = number_of(name, end, "\"operations\":"), row->bytes = number_of(name, end, "\"bytes\":");
  *at = end[1] == ',' ? end + 2 : end + 1;
  return true;
}

/* Of what the roof allows in that time: the larger of both shares is what binds. */
static double share_of_roof(const kernel_row *row, const cli_roof *roof) {
  double read = roof->gbps > 0 && row->ns > 0 ? row->bytes / row->ns / roof->gbps : 0;
  double computed = roof->gops > 0 && row->ns > 0 ? row->operations / row->ns / roof->gops : 0;
  return read > computed ? read : computed;
}

/* Into the next list of kernels (each segment has one), or NULL. */
static const char *first_kernel(const char *profile) {
  static const char list[] = "\"kernels\":[";
  const char *at = strstr(profile, list);
  return at ? at + sizeof list - 1 : NULL;
}

static void print_row(const kernel_row *row, double all_ns, const cli_roof *roof) {
  double ns = row->ns > 0 ? row->ns : 1;
  printf("  %-44s %6.0f %10.3f ms %4.0f %% %9.2f MB %9.2f M %8.1f %8.1f", row->name, row->count, row->ns * 1e-6,
         all_ns > 0 ? 100 * row->ns / all_ns : 0, row->bytes * 1e-6, row->operations * 1e-6, row->bytes / ns,
         row->operations / ns);
  if (roof->gbps > 0 || roof->gops > 0) printf(" %6.0f %%", 100 * share_of_roof(row, roof));
  putchar('\n');
}

/* Devices with memory of their own, a segment a line. */
static void print_counts(const char *profile) {
  static const char first[] = "\"dispatches\":";
  for (const char *at = strstr(profile, first); at; at = strstr(at + 1, first)) {
    const char *end = at + strlen(at);
    printf("  last run: %.0f dispatches, %.0f barriers, %.0f submits, %.0f bytes to the device, %.0f back\n",
           number_of(at, end, first), number_of(at, end, "\"barriers\":"), number_of(at, end, "\"submits\":"),
           number_of(at, end, "\"bytes_to_device\":"), number_of(at, end, "\"bytes_from_device\":"));
  }
}

void cli_print_profile(const char *profile, const cli_roof *roof) {
  kernel_row row, all = {.name = "all of them"};
  print_counts(profile);
  for (const char *list = first_kernel(profile); list; list = first_kernel(list))
    while (next_kernel(&list, &row))
      all.count += row.count, all.ns += row.ns, all.operations += row.operations, all.bytes += row.bytes;
  if (all.count < 1) return;
  bool roofed = roof->gbps > 0 || roof->gops > 0;
  printf("  last run, kernel by kernel; operations of products and attention are counted, of others it is one an element"
         "\n  %-44s %6s %13s %6s %12s %11s %8s %8s%s\n", "", "nodes", "time", "", "bytes", "operations",
         "GB/s", "GOPS", roofed ? "  of roof" : "");
  for (const char *list = first_kernel(profile); list; list = first_kernel(list))
    while (next_kernel(&list, &row)) print_row(&row, all.ns, roof);
  print_row(&all, all.ns, roof);
  if (roofed) printf("  roof: %g GB/s, %g GOPS, as given; the larger share of the two\n", roof->gbps, roof->gops);
  else puts("  no roof was given: --roof-gbps, --roof-gops (tests/bench/roofs.py measures them)");
}

/* ,"roof":{"gbps","gops","kernels":[{"kernel","share"}]} */
void cli_json_roof(const char *profile, const cli_roof *roof) {
  kernel_row row;
  bool comma = false;
  if (roof->gbps <= 0 && roof->gops <= 0) return;
  printf(",\"roof\":{\"gbps\":%.6g,\"gops\":%.6g,\"kernels\":[", roof->gbps, roof->gops);
  for (const char *list = first_kernel(profile); list; list = first_kernel(list))
    while (next_kernel(&list, &row)) {
      printf("%s{\"kernel\":", comma ? "," : "");
      cli_json_string(stdout, row.name, strlen(row.name));
      printf(",\"share\":%.4g}", share_of_roof(&row, roof));
      comma = true;
    }
  printf("]}");
}
