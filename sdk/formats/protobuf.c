/* Protobuf wire format. Groups (wire types 3 and 4) are not in any format that tern reads. */
#include "formats/protobuf.h"

static tern_status read_varint(tern__pb *pb, uint64_t *out) {
  uint64_t value = 0;
  const uint8_t *start = pb->at;
  for (int shift = 0; shift < 64; shift += 7) {
    if (pb->at >= pb->end)
      return tern__fail(TERN_STATUS_CORRUPT, "a number is cut off at byte %zu", (size_t)(start - pb->file));
    uint8_t byte = *pb->at++;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) {
      *out = value;
      return TERN_OK;
    }
  }
  return tern__fail(TERN_STATUS_CORRUPT, "a number at byte %zu is longer than 64 bits",
                    (size_t)(start - pb->file));
}

static tern_status read_fixed(tern__pb *pb, size_t size, uint64_t *out) {
  if ((size_t)(pb->end - pb->at) < size)
    return tern__fail(TERN_STATUS_CORRUPT, "a number is cut off at byte %zu", tern__pb_offset(pb));
  *out = 0;
  for (size_t i = 0; i < size; i++) *out |= (uint64_t)pb->at[i] << 8 * i;
  pb->at += size;
  return TERN_OK;
}

tern_status tern__pb_value(tern__pb *values, uint32_t wire, uint64_t *out) {
  if (wire == TERN__PB_VARINT) return read_varint(values, out);
  return read_fixed(values, wire == TERN__PB_FIXED32 ? 4 : 8, out);
}

tern_status tern__pb_next(tern__pb *pb, tern__pb_field *field, bool *more) {
  tern_status status = TERN_OK;
  uint64_t key = 0;
  size_t start = tern__pb_offset(pb);
  *field = (tern__pb_field){0};
  *more = pb->at < pb->end;
  if (!*more) goto cleanup;
  TERN_TRY(read_varint(pb, &key));
  field->wire = (uint32_t)(key & 7);
  if (key >> 3 == 0 || key >> 3 > 0x1fffffff)
    TERN_FAIL(TERN_STATUS_CORRUPT, "field number %llu at byte %zu", (unsigned long long)(key >> 3), start);
  field->number = (uint32_t)(key >> 3);
  switch (field->wire) {
    case TERN__PB_VARINT:
    case TERN__PB_FIXED32:
    case TERN__PB_FIXED64: TERN_TRY(tern__pb_value(pb, field->wire, &field->value)); break;
    case TERN__PB_BYTES:
      TERN_TRY(read_varint(pb, &field->value));
      if (field->value > (uint64_t)(pb->end - pb->at))
        TERN_FAIL(TERN_STATUS_CORRUPT,
                  "field %u at byte %zu claims %llu bytes, %zu are left: the file is cut off or damaged",
                  field->number, start, (unsigned long long)field->value, (size_t)(pb->end - pb->at));
      field->data = pb->at, field->size = (size_t)field->value;
      pb->at += field->size;
      break;
    default:
      TERN_FAIL(TERN_STATUS_CORRUPT, "wire type %u at byte %zu is not one of protobuf's", field->wire, start);
  }
cleanup:
  return status;
}

tern_status tern__pb_open(const tern__pb *outer, const tern__pb_field *field, tern__pb *out) {
  if (field->wire != TERN__PB_BYTES)
    return tern__fail(TERN_STATUS_CORRUPT, "field %u before byte %zu has wire type %u instead of bytes",
                      field->number, tern__pb_offset(outer), field->wire);
  *out = (tern__pb){field->data, field->data + field->size, outer->file};
  return TERN_OK;
}

tern_status tern__pb_first(const tern__pb *outer, const tern__pb_field *field, uint32_t wire,
                           tern__pb *values) {
  if (field->wire == TERN__PB_BYTES) return tern__pb_open(outer, field, values);
  if (field->wire != wire)
    return tern__fail(TERN_STATUS_CORRUPT, "field %u before byte %zu has wire type %u instead of %u",
                      field->number, tern__pb_offset(outer), field->wire, wire);
  /* One unpacked value: it ends where the outer message stands. A varint is found again from its last byte.
   */
  const uint8_t *end = outer->at, *begin = end - (wire == TERN__PB_FIXED32   ? 4
                                                  : wire == TERN__PB_FIXED64 ? 8
                                                                             : 1);
  if (wire == TERN__PB_VARINT)
    while (begin > outer->file && begin[-1] & 0x80) begin--;
  *values = (tern__pb){begin, end, outer->file};
  return TERN_OK;
}
