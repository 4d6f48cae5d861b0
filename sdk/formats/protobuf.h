/* Walking protobuf messages in memory without copying: the wire format alone, no schema. Source:
 * https://protobuf.dev/programming-guides/encoding/ */
#ifndef TERN_FORMATS_PROTOBUF_H
#define TERN_FORMATS_PROTOBUF_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { TERN__PB_VARINT = 0, TERN__PB_FIXED64 = 1, TERN__PB_BYTES = 2, TERN__PB_FIXED32 = 5 };

/* The rest of a message. `file` is where the file begins: errors give offsets from there. */
typedef struct tern__pb {
  const uint8_t *at, *end, *file;
} tern__pb;

typedef struct tern__pb_field {
  uint32_t number;
  uint32_t wire;
  uint64_t value;      /* VARINT, FIXED32, FIXED64: the bits */
  const uint8_t *data; /* BYTES: a view */
  size_t size;
} tern__pb_field;

/* Reads the next field; *more is false at the end of the message. CORRUPT names the byte offset. */
tern_status tern__pb_next(tern__pb *pb, tern__pb_field *field, bool *more);

/* The message, string or packed array inside a BYTES field; CORRUPT if the field is something else. */
tern_status tern__pb_open(const tern__pb *outer, const tern__pb_field *field, tern__pb *out);

/* Elements of a repeated scalar field, packed or not: walks `field` as one or many values of `wire` type. */
tern_status tern__pb_first(const tern__pb *outer, const tern__pb_field *field, uint32_t wire,
                           tern__pb *values);
tern_status tern__pb_value(tern__pb *values, uint32_t wire, uint64_t *out); /* while values->at < values->end
                                                                             */

static inline size_t tern__pb_offset(const tern__pb *pb) { return (size_t)(pb->at - pb->file); }

#endif
