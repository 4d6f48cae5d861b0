/* Fuzzes the JSON reader as the library uses it: parse, then walk everything. */
#include "base/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static double walk(const tern__json *node) {
  double sum = tern__json_number(node, 0) + (double)tern__json_int(node, 1) +
               tern__json_string(node, "x")[0] + tern__json_bool(node, false);
  for (const tern__json *n = tern__json_first(node); n; n = tern__json_next(n))
    sum += walk(n) + tern__json_key(n)[0];
  return sum + (double)tern__json_count(node) + (tern__json_get(node, "a") != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tern__json *root = NULL;
  if (tern__json_parse((const char *)data, size, "fuzz", &root) != TERN_OK) {
    if (root) abort(); /* an error must not leave a document behind */
    return 0;
  }
  volatile double used = walk(root);
  (void)used;
  tern__json_close(root);
  return 0;
}
