/* NumPy's .npy files: format versions 1 to 3, little endian, C order.
 * Format: numpy.lib.format in the NumPy manual ("\x93NUMPY", version, header length, a Python dict, data). */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 1 << 16 };

static const struct {
  const char *descr;
  tern_dtype dtype;
  int size;
} kinds[] = {
    {"<f4", TERN_DTYPE_F32, 4}, {"<f2", TERN_DTYPE_F16, 2}, {"<f8", TERN_DTYPE_F64, 8},
    {"|i1", TERN_DTYPE_I8, 1},  {"|u1", TERN_DTYPE_U8, 1},  {"<i2", TERN_DTYPE_I16, 2},
    {"<u2", TERN_DTYPE_U16, 2}, {"<i4", TERN_DTYPE_I32, 4}, {"<u4", TERN_DTYPE_U32, 4},
    {"<i8", TERN_DTYPE_I64, 8}, {"<u8", TERN_DTYPE_U64, 8}, {"|b1", TERN_DTYPE_BOOL, 1},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

typedef struct npy_header {
  int kind; /* index into kinds */
  int32_t rank;
  int64_t dims[TERN_MAX_RANK];
} npy_header;

/* The text after 'key': in the dict. */
static const char *find_key(const char *dict, const char *key) {
  const char *at = strstr(dict, key);
  if (!at) return NULL;
  at += strlen(key);
  return at + strspn(at, " :");
}

static int parse_shape(const char *path, const char *at, npy_header *header) {
  if (!at || *at++ != '(') return cli_error("%s: the header has no 'shape'", path);
  while (*(at += strspn(at, " ,")) != ')') {
    char *end = NULL;
    long long dim = strtoll(at, &end, 10);
    if (end == at || dim < 0) return cli_error("%s: the header's shape is not a tuple of numbers", path);
    if (header->rank == TERN_MAX_RANK) return cli_error("%s: more than %d dimensions", path, TERN_MAX_RANK);
    header->dims[header->rank++] = dim;
    at = end;
  }
  return CLI_OK;
}

static int parse_header(const char *path, const char *dict, npy_header *header) {
  const char *descr = find_key(dict, "'descr'"), *order = find_key(dict, "'fortran_order'");
  *header = (npy_header){.kind = -1};
  if (!descr || (*descr != '\'' && *descr != '"'))
    return cli_error("%s: records are not supported, only arrays of numbers", path);
  for (int i = 0; i < N_KINDS; ++i)
    if (!strncmp(descr + 1, kinds[i].descr, 3) && descr[4] == *descr) header->kind = i;
  if (header->kind < 0)
    return cli_error("%s: dtype '%.*s' is not supported; save little-endian numbers (array.astype('<f4'))",
                     path, (int)strcspn(descr + 1, "'\""), descr + 1);
  if (!order || strncmp(order, "False", 5))
    return cli_error("%s: is in Fortran order; save numpy.ascontiguousarray(array)", path);
  return parse_shape(path, find_key(dict, "'shape'"), header);
}

/* Reads magic, version and dict; the file then stands at the data. */
static int read_header(FILE *file, const char *path, npy_header *header) {
  unsigned char head[12];
  size_t size;
  if (fread(head, 1, 10, file) != 10 || memcmp(head, "\x93NUMPY", 6))
    return cli_error("%s: not a .npy file", path);
  if (head[6] < 1 || head[6] > 3) return cli_error("%s: .npy version %d is not known", path, head[6]);
  size = head[8] | (size_t)head[9] << 8;
  if (head[6] > 1) {
    if (fread(head + 10, 1, 2, file) != 2) return cli_error("%s: ends in its header", path);
    size |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
  }
  if (size > MAX_HEADER) return cli_error("%s: a header of %zu bytes is not plausible", path, size);
  char *dict = malloc(size + 1);
  if (!dict) return cli_error("out of memory");
  int rc;
  if (fread(dict, 1, size, file) != size) rc = cli_error("%s: ends in its header", path);
  else dict[size] = 0, rc = parse_header(path, dict, header);
  free(dict);
  return rc;
}

int cli_npy_read(tern_runtime *runtime, const char *path, tern_tensor **out) {
  npy_header header;
  tern_tensor *tensor = NULL;
  *out = NULL;
  FILE *file = fopen(path, "rb");
  if (!file) return cli_error("%s: cannot be opened", path);
  int rc = read_header(file, path, &header);
  if (rc == CLI_OK) {
    /* A shape that the file cannot fill is refused before memory is asked for. */
    long at = ftell(file), end = fseek(file, 0, SEEK_END) ? -1 : ftell(file);
    double need = kinds[header.kind].size;
    for (int i = 0; i < header.rank; ++i) need *= (double)header.dims[i];
    if (at < 0 || end < at || fseek(file, at, SEEK_SET))
      rc = cli_error("%s: cannot be measured (is it a file?)", path);
    else if (need > (double)(end - at))
      rc = cli_error("%s: its shape needs %.0f bytes, there are %ld", path, need, end - at);
  }
  if (rc == CLI_OK) {
    tern_status status =
        tern_tensor_create(runtime, kinds[header.kind].dtype, header.rank, header.dims, &tensor);
    if (status != TERN_OK) rc = cli_fail(status);
  }
  if (rc == CLI_OK) {
    size_t size = tern_tensor_size_bytes(tensor);
    if (fread(tern_tensor_data(tensor), 1, size, file) != size) rc = cli_error("%s: reading failed", path);
  }
  fclose(file);
  if (rc) tern_tensor_destroy(tensor);
  else *out = tensor;
  return rc;
}

/* bfloat16 has no NumPy dtype: it is written as float32, which holds all of its values. */
static bool write_data(FILE *file, const tern_tensor *tensor) {
  size_t size = tern_tensor_size_bytes(tensor);
  const unsigned char *data = tern_tensor_data(tensor);
  if (tern_tensor_dtype(tensor) != TERN_DTYPE_BF16) return fwrite(data, 1, size, file) == size;
  for (size_t i = 0; i + 1 < size; i += 2) {
    unsigned char wide[4] = {0, 0, data[i], data[i + 1]};
    if (fwrite(wide, 1, 4, file) != 4) return false;
  }
  return true;
}

int cli_npy_write(const char *path, const tern_tensor *tensor) {
  char dict[512];
  int used, kind = -1;
  tern_dtype dtype = tern_tensor_dtype(tensor);
  for (int i = 0; i < N_KINDS; ++i)
    if (kinds[i].dtype == (dtype == TERN_DTYPE_BF16 ? TERN_DTYPE_F32 : dtype)) kind = i;
  if (kind < 0) return cli_error("%s: .npy has no type for %s", path, tern_dtype_name(dtype));
  used = snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (", kinds[kind].descr);
  for (int i = 0; i < tern_tensor_rank(tensor); ++i)
    used += snprintf(dict + used, sizeof dict - (size_t)used, "%" PRId64 ",", tern_tensor_dims(tensor)[i]);
  used += snprintf(dict + used, sizeof dict - (size_t)used, "), }");
  /* Data begins at a multiple of 64 bytes; the header ends with a newline. */
  int padded = (10 + used + 1 + 63) / 64 * 64 - 10;
  FILE *file = fopen(path, "wb");
  if (!file) return cli_error("%s: cannot be written", path);
  fprintf(file, "\x93NUMPY%c%c%c%c%s%*s\n", 1, 0, padded & 0xff, padded >> 8, dict, padded - used - 1, "");
  bool ok = write_data(file, tensor);
  ok = fclose(file) == 0 && ok;
  return ok ? CLI_OK : cli_error("%s: writing failed (is the disk full?)", path);
}
