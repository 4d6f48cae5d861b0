/* Inputs for a graph: names given on the command line, and made-up data where only shapes matter (bench,
 * plan). */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

bool cli_model_has_cache(const tern_model *model) {
  for (int32_t i = 0; i < tern_model_input_count(model); ++i) {
    tern_io_info info = {.struct_size = sizeof info};
    if (tern_model_input(model, i, &info) == TERN_OK && !strncmp(info.name, "past_key_values", 15))
      return true;
  }
  return false;
}

int cli_split_input(const tern_model *model, const char *option, const char *text, int *index,
                    const char **rest) {
  int32_t n = tern_model_input_count(model);
  tern_io_info info = {.struct_size = sizeof info};
  for (int32_t i = 0; i < n; ++i) {
    if (tern_model_input(model, i, &info) != TERN_OK) continue;
    size_t size = strlen(info.name);
    if (strncmp(text, info.name, size) || text[size] != '=') continue;
    *index = i;
    *rest = text + size + 1;
    return CLI_OK;
  }
  if (!strchr(text, '=')) return cli_usage("%s needs NAME=VALUE, not '%s'", option, text);
  cli_usage("%s %s: the model has no such input; its inputs are:", option, text);
  for (int32_t i = 0; i < n; ++i)
    if (tern_model_input(model, i, &info) == TERN_OK) fprintf(stderr, "  %s\n", info.name);
  return CLI_USAGE;
}

/* "1x128:int64"; the type may be left out. */
static int parse_spec(const char *spec, tern_io_info *info) {
  const char *colon = strrchr(spec, ':');
  size_t size = colon ? (size_t)(colon - spec) : strlen(spec);
  info->rank = 0;
  for (const char *at = spec; at < spec + size;) {
    char *end = NULL;
    long long dim = strtoll(at, &end, 10);
    if (end == at || dim < 0 || info->rank == TERN_MAX_RANK ||
        (end < spec + size && *end != 'x' && *end != ','))
      return cli_usage("--input %s=%s: the shape is numbers with x between them, as in 1x128", info->name,
                       spec);
    info->dims[info->rank++] = dim;
    at = end < spec + size ? end + 1 : end;
  }
  if (!colon) return CLI_OK;
  for (tern_dtype dtype = TERN_DTYPE_F32; dtype <= TERN_DTYPE_BOOL; dtype = (tern_dtype)(dtype + 1))
    if (!strcmp(colon + 1, tern_dtype_name(dtype))) return info->dtype = dtype, CLI_OK;
  return cli_usage("--input %s=%s: unknown type '%s'; use float32, int64, ...", info->name, spec, colon + 1);
}

static bool is_token_input(const char *name) {
  static const char *const names[] = {"input_ids", "attention_mask", "token_type_ids", "position_ids"};
  for (int i = 0; i < 4; ++i)
    if (!strcmp(name, names[i])) return true;
  return false;
}

/* Open dimensions of the usual token inputs: those of a token input that was given, else one sequence. */
static int choose_shape(tern_io_info *info, const tern_io_info *tokens) {
  bool open = info->rank < 0;
  for (int i = 0; i < info->rank; ++i) open |= info->dims[i] < 0;
  if (!open) return CLI_OK;
  if (!is_token_input(info->name))
    return cli_usage("the shape of input '%s' is open: say it, as in --input %s=1x3x224x224:%s", info->name,
                     info->name, tern_dtype_name(info->dtype));
  info->rank = tokens->rank;
  memcpy(info->dims, tokens->dims, sizeof info->dims);
  return CLI_OK;
}

static int64_t integer_value(const char *name, int64_t position, int64_t i) {
  if (strstr(name, "mask")) return 1;
  if (strstr(name, "type")) return 0;
  if (strstr(name, "position")) return position;
  return i * 7 % 16; /* small enough to be a valid id in any vocabulary */
}

static uint16_t half_bits(float x) { /* of numbers in [-1, 1): exact enough for made-up data */
  union {
    float f;
    uint32_t u;
  } v = {.f = x};
  int exponent = (int)(v.u >> 23 & 0xff) - 112;
  return exponent <= 0 ? 0
                       : (uint16_t)((v.u >> 16 & 0x8000) | (uint32_t)exponent << 10 | (v.u >> 13 & 0x3ff));
}

static void fill(tern_tensor *tensor, const char *name) {
  void *data = tern_tensor_data(tensor);
  int32_t rank = tern_tensor_rank(tensor);
  const int64_t *dims = tern_tensor_dims(tensor);
  int64_t last = rank ? dims[rank - 1] : 1, n = 1;
  uint32_t state = 12345;
  for (int i = 0; i < rank; ++i) n *= dims[i];
  for (int64_t i = 0; i < n; ++i) {
    int64_t whole = integer_value(name, i % last, i);
    state = state * 1664525u + 1013904223u;
    float real = (float)(int32_t)state / 2147483648.0f;
    switch (tern_tensor_dtype(tensor)) {
      case TERN_DTYPE_F32: ((float *)data)[i] = real; break;
      case TERN_DTYPE_F64: ((double *)data)[i] = real; break;
      case TERN_DTYPE_F16: ((uint16_t *)data)[i] = half_bits(real); break;
      case TERN_DTYPE_I64:
      case TERN_DTYPE_U64: ((int64_t *)data)[i] = whole; break;
      case TERN_DTYPE_I32:
      case TERN_DTYPE_U32: ((int32_t *)data)[i] = (int32_t)whole; break;
      case TERN_DTYPE_I16:
      case TERN_DTYPE_U16: ((int16_t *)data)[i] = (int16_t)whole; break;
      case TERN_DTYPE_I8:
      case TERN_DTYPE_U8: ((int8_t *)data)[i] = (int8_t)whole; break;
      case TERN_DTYPE_BOOL: ((uint8_t *)data)[i] = 1; break;
      default: return; /* zeros, as created */
    }
  }
}

static int add_input(tern_runtime *runtime, const tern_io_info *info, cli_inputs *out) {
  tern_tensor *tensor = NULL;
  tern_status status = tern_tensor_create(runtime, info->dtype, info->rank, info->dims, &tensor);
  if (status != TERN_OK) return cli_fail(status);
  fill(tensor, info->name);
  out->names[out->count] = info->name;
  out->tensors[out->count++] = tensor;
  return CLI_OK;
}

/* What --input says of input `index`; NULL if nothing. */
static const char *find_spec(const tern_model *model, const cli_list *specs, int32_t index) {
  const char *spec, *found = NULL;
  int at;
  for (int i = 0; i < specs->count; ++i)
    if (cli_split_input(model, "--input", specs->items[i], &at, &spec) == CLI_OK && at == index) found = spec;
  return found;
}

int cli_inputs_make(tern_runtime *runtime, const tern_model *model, const cli_list *specs, int64_t n_tokens,
                    bool kv_cache, cli_inputs *out) {
  int32_t n = tern_model_input_count(model);
  int rc = CLI_OK, index;
  const char *spec;
  tern_io_info info = {.struct_size = sizeof info}, tokens = {.rank = 2, .dims = {1, n_tokens}};
  *out = (cli_inputs){calloc((size_t)n + 1, sizeof *out->names), calloc((size_t)n + 1, sizeof *out->tensors), 0};
  if (!out->names || !out->tensors) rc = cli_error("out of memory");
  for (int i = 0; rc == CLI_OK && i < specs->count; ++i) {
    rc = cli_split_input(model, "--input", specs->items[i], &index, &spec);
    if (rc == CLI_OK && tern_model_input(model, index, &info) == TERN_OK) rc = parse_spec(spec, &info);
    if (rc == CLI_OK && is_token_input(info.name)) tokens = info;
  }
  for (int32_t i = 0; rc == CLI_OK && i < n; ++i) {
    const char *given = find_spec(model, specs, i);
    tern_status status = tern_model_input(model, i, &info);
    if (status != TERN_OK) rc = cli_fail(status);
    if (rc == CLI_OK && kv_cache && !given && !strncmp(info.name, "past_key_values", 15)) continue;
    if (rc == CLI_OK) rc = given ? parse_spec(given, &info) : choose_shape(&info, &tokens);
    if (rc == CLI_OK) rc = add_input(runtime, &info, out);
  }
  if (rc) cli_inputs_free(out);
  return rc;
}

void cli_inputs_free(cli_inputs *inputs) {
  for (int i = 0; i < inputs->count; ++i) tern_tensor_destroy(inputs->tensors[i]);
  free((void *)inputs->names);
  free(inputs->tensors);
  *inputs = (cli_inputs){0};
}
