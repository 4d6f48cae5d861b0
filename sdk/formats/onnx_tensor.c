/* TensorProto: raw, typed and external data. Field numbers: onnx.proto, message TensorProto. */
#include "formats/onnx_tensor.h"

#include <string.h>

#include "base/half.h"

enum {
  DIMS = 1,
  DATA_TYPE = 2,
  SEGMENT = 3,
  FLOAT_DATA = 4,
  INT32_DATA = 5,
  STRING_DATA = 6,
  INT64_DATA = 7,
  NAME = 8,
  RAW_DATA = 9,
  DOUBLE_DATA = 10,
  UINT64_DATA = 11,
  EXTERNAL_DATA = 13,
  DATA_LOCATION = 14
};

/* Misaligned weights above this stay views; smaller ones are copied so that every op may read them directly.
 */
enum { COPY_LIMIT = 1 << 20 };

typedef struct parts {
  int64_t onnx_type;
  tern__pb raw;
  bool has_raw, external, has_strings, segmented;
  uint32_t typed; /* number of the typed data field that is there */
  size_t typed_count;
  const char *location;
  uint64_t offset, length; /* length UINT64_MAX: to the end of the file */
} parts;

static uint32_t wire_of(uint32_t number) {
  return number == FLOAT_DATA ? TERN__PB_FIXED32 : number == DOUBLE_DATA ? TERN__PB_FIXED64 : TERN__PB_VARINT;
}

static tern_status parse_number(const char *text, uint64_t *out) {
  uint64_t value = 0;
  const char *c = text;
  for (; *c >= '0' && *c <= '9'; c++)
    if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
        __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
      break;
  if (c == text || *c) return tern__fail(TERN_STATUS_CORRUPT, "external data: '%s' is no byte count", text);
  *out = value;
  return TERN_OK;
}

/* StringStringEntryProto: key 1, value 2. */
static tern_status parse_external(const tern__onnx_source *source, tern__pb entry, parts *p) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  const char *key = "", *value = "";
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&entry, &f, &more));
    if (!more) break;
    if ((f.number != 1 && f.number != 2) || f.wire != TERN__PB_BYTES) continue;
    const char *text = tern__arena_strndup(source->arena, (const char *)f.data, f.size);
    TERN_CHECK_ALLOC(text);
    *(f.number == 1 ? &key : &value) = text;
  }
  if (strcmp(key, "location") == 0) p->location = value;
  else if (strcmp(key, "offset") == 0) TERN_TRY(parse_number(value, &p->offset));
  else if (strcmp(key, "length") == 0) TERN_TRY(parse_number(value, &p->length));
cleanup:
  return status;
}

static tern_status parse_dims(const tern__pb *pb, const tern__pb_field *f, tern__shape *shape) {
  tern_status status = TERN_OK;
  tern__pb values;
  TERN_TRY(tern__pb_first(pb, f, TERN__PB_VARINT, &values));
  while (values.at < values.end) {
    uint64_t dim;
    TERN_TRY(tern__pb_value(&values, TERN__PB_VARINT, &dim));
    if (shape->rank == TERN_MAX_RANK)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "a tensor before byte %zu has more than %d dimensions",
                tern__pb_offset(pb), TERN_MAX_RANK);
    if (dim > INT64_MAX)
      TERN_FAIL(TERN_STATUS_CORRUPT, "a tensor before byte %zu has a negative dimension",
                tern__pb_offset(pb));
    shape->dims[shape->rank++] = (int64_t)dim;
  }
cleanup:
  return status;
}

static tern_status count_typed(const tern__pb *pb, const tern__pb_field *f, parts *p) {
  tern_status status = TERN_OK;
  tern__pb values;
  if (p->typed && p->typed != f->number)
    TERN_FAIL(TERN_STATUS_CORRUPT, "a tensor before byte %zu has two kinds of data", tern__pb_offset(pb));
  p->typed = f->number;
  uint32_t wire = wire_of(f->number);
  TERN_TRY(tern__pb_first(pb, f, wire, &values));
  size_t bytes = (size_t)(values.end - values.at), width = wire == TERN__PB_FIXED32 ? 4 : 8;
  if (wire != TERN__PB_VARINT) {
    if (bytes % width)
      TERN_FAIL(TERN_STATUS_CORRUPT, "packed numbers before byte %zu are cut off", tern__pb_offset(pb));
    p->typed_count += bytes / width;
  } else
    for (const uint8_t *at = values.at; at < values.end; at++) p->typed_count += !(*at & 0x80);
cleanup:
  return status;
}

static tern_status scan(const tern__onnx_source *source, tern__pb pb, tern__onnx_tensor *out, parts *p) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  tern__pb inner;
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    switch (f.number) {
      case DIMS: TERN_TRY(parse_dims(&pb, &f, &out->shape)); break;
      case DATA_TYPE: p->onnx_type = (int64_t)f.value; break;
      case SEGMENT: p->segmented = true; break;
      case FLOAT_DATA:
      case INT32_DATA:
      case INT64_DATA:
      case DOUBLE_DATA:
      case UINT64_DATA: TERN_TRY(count_typed(&pb, &f, p)); break;
      case STRING_DATA: p->has_strings = true; break;
      case NAME:
        TERN_TRY(tern__pb_open(&pb, &f, &inner));
        out->name = tern__arena_strndup(source->arena, (const char *)f.data, f.size);
        TERN_CHECK_ALLOC(out->name);
        break;
      case RAW_DATA:
        TERN_TRY(tern__pb_open(&pb, &f, &p->raw));
        p->has_raw = true;
        break;
      case EXTERNAL_DATA:
        TERN_TRY(tern__pb_open(&pb, &f, &inner));
        TERN_TRY(parse_external(source, inner, p));
        break;
      case DATA_LOCATION: p->external = f.value == 1; break;
      default: break;
    }
  }
cleanup:
  return status;
}

static void store(tern_dtype dtype, uint8_t *at, uint64_t bits) {
  size_t width = tern__dtype_info_of(dtype)->block_bytes;
  if (dtype == TERN_DTYPE_BOOL) bits = bits != 0;
  memcpy(at, &bits, width); /* little-endian, as all that tern runs on */
}

/* Typed fields hold one element a number; which field holds which type: the comments in onnx.proto. */
static tern_status decode_typed(const tern__onnx_source *source, tern__pb pb, const parts *p,
                                tern__onnx_tensor *out) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  static const uint8_t field_of[] = {
      [TERN_DTYPE_F32] = FLOAT_DATA,  [TERN_DTYPE_F16] = INT32_DATA, [TERN_DTYPE_BF16] = INT32_DATA,
      [TERN_DTYPE_F64] = DOUBLE_DATA, [TERN_DTYPE_I8] = INT32_DATA,  [TERN_DTYPE_U8] = INT32_DATA,
      [TERN_DTYPE_I16] = INT32_DATA,  [TERN_DTYPE_U16] = INT32_DATA, [TERN_DTYPE_I32] = INT32_DATA,
      [TERN_DTYPE_U32] = UINT64_DATA, [TERN_DTYPE_I64] = INT64_DATA, [TERN_DTYPE_U64] = UINT64_DATA,
      [TERN_DTYPE_BOOL] = INT32_DATA, [TERN_DTYPE_I4] = INT32_DATA,  [TERN_DTYPE_U4] = INT32_DATA};
  size_t width = tern__dtype_info_of(out->dtype)->block_bytes;
  uint8_t *at;
  if (p->typed != field_of[out->dtype] || p->typed_count != out->size_bytes / width)
    TERN_FAIL(TERN_STATUS_CORRUPT, "tensor '%s' needs %zu numbers of type %s; the file gives %zu in field %u",
              out->name, out->size_bytes / width, tern_dtype_name(out->dtype), p->typed_count, p->typed);
  out->data = at = tern__arena_alloc(source->arena, out->size_bytes + 1);
  TERN_CHECK_ALLOC(at);
  uint32_t wire = wire_of(p->typed);
  for (bool more = true;;) {
    tern__pb values;
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number != p->typed) continue;
    TERN_TRY(tern__pb_first(&pb, &f, wire, &values));
    while (values.at < values.end) {
      uint64_t bits;
      TERN_TRY(tern__pb_value(&values, wire, &bits));
      store(out->dtype, at, bits);
      at += width;
    }
  }
cleanup:
  return status;
}

static bool location_is_safe(const char *location) {
  if (!*location || *location == '/' || strchr(location, '\\') || strchr(location, ':')) return false;
  for (const char *part = location; part; part = strchr(part, '/')) {
    part += *part == '/';
    if (part[0] == '.' && part[1] == '.' && (part[2] == '/' || !part[2])) return false;
  }
  return true;
}

static tern_status map_external(const tern__onnx_source *source, const char *location, tern__file_map *out) {
  tern_status status = TERN_OK;
  tern__onnx_file file = {location, {NULL, 0}};
  if (!source->path || !source->files)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "the model keeps weights in '%s': open it by its path, not from memory", location);
  if (!location_is_safe(location))
    TERN_FAIL(TERN_STATUS_CORRUPT, "external data may only lie beside the model, not at '%s'", location);
  for (size_t i = 0; i < tern__array_count(source->files->files); i++)
    if (strcmp(source->files->files[i].location, location) == 0) {
      *out = source->files->files[i].map;
      goto cleanup;
    }
  const char *slash = strrchr(source->path, '/');
  char *folder = tern__arena_strndup(source->arena, slash ? source->path : ".",
                                     slash ? (size_t)(slash - source->path) + 1 : 1);
  TERN_CHECK_ALLOC(folder);
  const char *full = tern__path_join(source->arena, folder, location);
  TERN_CHECK_ALLOC(full);
  TERN_ARRAY_RESERVE(source->alloc, source->files->files, 1);
  TERN_TRY(tern__file_map_open(full, &file.map));
  TERN_ARRAY_PUT(source->files->files, file);
  *out = file.map;
cleanup:
  return status;
}

static tern_status take_external(const tern__onnx_source *source, const parts *p, tern__onnx_tensor *out) {
  tern_status status = TERN_OK;
  tern__file_map map = {NULL, 0};
  if (!p->location)
    TERN_FAIL(TERN_STATUS_CORRUPT, "tensor '%s' has external data without a location", out->name);
  TERN_TRY(map_external(source, p->location, &map));
  uint64_t length = p->length != UINT64_MAX ? p->length : p->offset <= map.size ? map.size - p->offset : 0;
  if (p->offset > map.size || length > map.size - p->offset)
    TERN_FAIL(TERN_STATUS_CORRUPT,
              "tensor '%s' lies at bytes %llu + %llu of '%s', which has %zu: the file is cut off", out->name,
              (unsigned long long)p->offset, (unsigned long long)length, p->location, map.size);
  if (length != out->size_bytes)
    TERN_FAIL(TERN_STATUS_CORRUPT, "tensor '%s' needs %zu bytes, '%s' gives %llu", out->name, out->size_bytes,
              p->location, (unsigned long long)length);
  out->data = map.data + p->offset;
cleanup:
  return status;
}

static tern_status align(const tern__onnx_source *source, tern__onnx_tensor *out) {
  size_t width = tern__dtype_info_of(out->dtype)->block_bytes;
  if ((uintptr_t)out->data % width == 0 || out->size_bytes > COPY_LIMIT) return TERN_OK;
  void *copy = tern__arena_alloc(source->arena, out->size_bytes + 1);
  if (!copy) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for constant '%s'", out->name);
  memcpy(copy, out->data, out->size_bytes);
  out->data = copy;
  return TERN_OK;
}

tern_status tern__onnx_tensor_parse(const tern__onnx_source *source, tern__pb message,
                                    tern__onnx_tensor *out) {
  tern_status status = TERN_OK;
  parts p = {.length = UINT64_MAX};
  size_t start = tern__pb_offset(&message);
  *out = (tern__onnx_tensor){.name = "", .data = ""};
  TERN_TRY(scan(source, message, out, &p));
  out->dtype = tern__dtype_of_onnx(p.onnx_type);
  if (out->dtype == TERN_DTYPE_NONE || out->dtype == TERN_DTYPE_STRING || p.has_strings)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "tensor '%s' at byte %zu has the ONNX type %lld, which is not supported", out->name, start,
              (long long)p.onnx_type);
  if (p.segmented)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "tensor '%s' at byte %zu comes in segments", out->name, start);
  if (!tern__shape_bytes(out->dtype, &out->shape, &out->size_bytes))
    TERN_FAIL(TERN_STATUS_CORRUPT, "tensor '%s' at byte %zu is impossibly large", out->name, start);
  if (p.external) TERN_TRY(take_external(source, &p, out));
  else if (p.has_raw) {
    size_t given = (size_t)(p.raw.end - p.raw.at);
    if (given != out->size_bytes)
      TERN_FAIL(TERN_STATUS_CORRUPT, "tensor '%s' at byte %zu needs %zu bytes, the file gives %zu", out->name,
                start, out->size_bytes, given);
    if (given) out->data = p.raw.at;
  } else if (out->size_bytes) TERN_TRY(decode_typed(source, message, &p, out));
  if (out->size_bytes) TERN_TRY(align(source, out));
cleanup:
  return status;
}

tern_status tern__onnx_read_tensor(tern__alloc *alloc, tern__arena *arena, const uint8_t *bytes, size_t size,
                                   const char **name, tern_dtype *dtype, tern__shape *shape,
                                   const void **data, size_t *size_bytes) {
  tern__onnx_source source = {alloc, arena, NULL, NULL};
  tern__onnx_tensor t;
  tern_status status = tern__onnx_tensor_parse(&source, (tern__pb){bytes, bytes + size, bytes}, &t);
  if (status == TERN_OK)
    *name = t.name, *dtype = t.dtype, *shape = t.shape, *data = t.data, *size_bytes = t.size_bytes;
  return status;
}
