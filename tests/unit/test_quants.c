/* tern__dequantize_row against Python's gguf.quants.dequantize, bit by bit: vectors/make_quant_vectors.py. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/file_map.h"
#include "ir/quants.h"

typedef struct record {
  uint32_t dtype, elements, bytes;
} record;

Test(quants, every_type_equals_gguf_py) {
  tern__file_map map;
  cr_assert_eq(tern__file_map_open(TERN_SOURCE_DIR "/tests/unit/vectors/quants.bin", &map), TERN_OK, "%s",
               tern_last_error());
  size_t at = 0, types = 0;
  while (at < map.size) {
    record r;
    memcpy(&r, map.data + at, sizeof r);
    const uint8_t *raw = map.data + at + sizeof r, *expected = raw + r.bytes;
    tern__shape shape = {.rank = 1, .dims = {r.elements}};
    size_t bytes;
    cr_assert(tern__dequantize_known((tern_dtype)r.dtype));
    cr_assert(tern__shape_bytes((tern_dtype)r.dtype, &shape, &bytes) && bytes == r.bytes, "size of %s",
              tern_dtype_name((tern_dtype)r.dtype));
    float got[512];
    uint8_t *odd = malloc(r.bytes + 1); /* blocks of a file lie at any address */
    cr_assert(r.elements == 512 && odd);
    memcpy(odd + 1, raw, r.bytes);
    tern__dequantize_row((tern_dtype)r.dtype, odd + 1, got, r.elements);
    for (size_t i = 0; i < r.elements; i++) {
      float want;
      memcpy(&want, expected + i * 4, 4);
      cr_assert(memcmp(&got[i], &want, 4) == 0, "%s element %zu: %.9g, expected %.9g",
                tern_dtype_name((tern_dtype)r.dtype), i, (double)got[i], (double)want);
    }
    free(odd);
    at += sizeof r + r.bytes + r.elements * 4;
    types++;
  }
  cr_assert_eq(types, 11);
  tern__file_map_close(&map);
}

Test(quants, other_types_are_not_known) {
  cr_assert_not(tern__dequantize_known(TERN_DTYPE_I8));
  cr_assert_not(tern__dequantize_known(TERN_DTYPE_NONE));
  cr_assert_not(tern__dequantize_known(TERN_DTYPE_F64));
}
