/* Finds the file that a path and a dtype mean, opens it, and ends in one graph. */
#include "pipeline/model.h"

#include <stdio.h>
#include <string.h>

#include "passes/pass.h"

/* dtype names and file suffixes of Transformers.js, in the order in which "best present" takes them: exact first. */
static const struct { const char *dtype, *suffix; } variants[] = {
    {"fp32", ""},       {"fp16", "_fp16"},   {"q8", "_quantized"},  {"q4", "_q4"},
    {"q4f16", "_q4f16"}, {"int8", "_int8"}, {"uint8", "_uint8"}, {"bnb4", "_bnb4"},
};
enum { N_VARIANTS = sizeof variants / sizeof *variants };

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

static tern_status resolve_folder(tern_model *model, const tern_model_desc *desc) {
  tern_status status = TERN_OK;
  const char *name = desc->file_name ? desc->file_name : "model";
  char present[256] = "";
  bool known = !desc->dtype;
  for (int i = 0; i < N_VARIANTS; i++) {
    const char *file = tern__arena_printf(&model->arena, "%s/onnx/%s%s.onnx", desc->path, name, variants[i].suffix);
    TERN_CHECK_ALLOC(file);
    bool wanted = !desc->dtype || strcmp(desc->dtype, variants[i].dtype) == 0;
    if (desc->dtype && wanted) known = true;
    if (!tern__path_exists(file)) continue;
    size_t n = strlen(present);
    snprintf(present + n, sizeof present - n, "%s%s", n ? ", " : "", variants[i].dtype);
    if (wanted && !model->file) model->file = file, model->dtype = variants[i].dtype;
  }
  if (!known)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT,
              "dtype '%s' is not one of fp32, fp16, q8, int8, uint8, q4, q4f16, bnb4", desc->dtype);
  if (!model->file && *present)
    TERN_FAIL(TERN_STATUS_NOT_FOUND, "'%s' has no dtype %s for '%s'; it has: %s", desc->path, desc->dtype,
              name, present);
  if (!model->file)
    TERN_FAIL(
        TERN_STATUS_NOT_FOUND,
        "'%s' holds no onnx/%s*.onnx; give a Transformers.js model folder, an .onnx file or a .gguf file",
        desc->path, name);
  model->folder = tern__arena_strdup(&model->arena, desc->path);
  TERN_CHECK_ALLOC(model->folder);
cleanup:
  return status;
}

static tern_status resolve(tern_model *model, const tern_model_desc *desc) {
  tern_status status = TERN_OK;
  if (desc->data) {
    if (desc->path) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "tern_model_desc has both path and data; give one");
    model->file = "<memory>";
    goto cleanup;
  }
  if (!desc->path || !*desc->path) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "tern_model_desc has neither path nor data");
  model->path = tern__arena_strdup(&model->arena, desc->path);
  TERN_CHECK_ALLOC(model->path);
  if (!tern__path_exists(desc->path))
    TERN_FAIL(TERN_STATUS_NOT_FOUND, "no file or folder '%s'; check the path", desc->path);
  if (tern__path_is_dir(desc->path)) {
    TERN_TRY(resolve_folder(model, desc));
    goto cleanup;
  }
  if (desc->dtype)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "dtype '%s' chooses a file of a model folder, but '%s' is a file",
              desc->dtype, desc->path);
  model->file = model->path;
cleanup:
  return status;
}

static tern_status add_end_ids(tern_model *model, const tern__json *node) {
  tern_status status = TERN_OK;
  if (tern__json_is_number(node))
    TERN_ARRAY_PUSH(&model->runtime->alloc, model->end_ids, (int32_t)tern__json_int(node, -1));
  else if (tern__json_is_array(node))
    for (const tern__json *e = tern__json_first(node); e; e = tern__json_next(e))
      TERN_ARRAY_PUSH(&model->runtime->alloc, model->end_ids, (int32_t)tern__json_int(e, -1));
cleanup:
  return status;
}

/* config.json and generation_config.json; both are optional for a graph on its own. */
static tern_status read_configs(tern_model *model) {
  tern_status status = TERN_OK;
  tern__json *json = NULL;
  static const char *const names[] = {"config.json", "generation_config.json"};
  for (int i = 0; i < 2; i++) {
    const char *path = tern__path_join(&model->arena, model->folder, names[i]);
    TERN_CHECK_ALLOC(path);
    if (!tern__path_exists(path)) continue;
    TERN_TRY(tern__json_open(path, &json));
    TERN_TRY(add_end_ids(model, tern__json_get(json, "eos_token_id")));
    int64_t positions = tern__json_int(tern__json_get(json, "max_position_embeddings"), 0);
    if (i == 0 && positions > 0 && positions <= INT32_MAX) model->context_length = (int32_t)positions;
    tern__json_close(json);
    json = NULL;
  }
cleanup:
  tern__json_close(json);
  return status;
}

static tern_status report(const tern_model_desc *desc, const char *phase, uint64_t done, uint64_t total) {
  if (tern__cancelled(desc->cancel) ||
      (desc->progress.fn && desc->progress.fn(desc->progress.user_data, phase, done, total)))
    return tern__fail(TERN_STATUS_CANCELLED, "loading was cancelled");
  return TERN_OK;
}

static tern_status read_graph(tern_model *model, const uint8_t *data, size_t size, const tern_cancel *cancel) {
  tern_status status = TERN_OK;
  tern__alloc *alloc = &model->runtime->alloc;
  if (tern__gguf_has_magic(data, size)) {
    tern__arch_info info;
    model->format = "gguf";
    TERN_TRY(tern__gguf_open(alloc, data, size, &model->gguf));
    TERN_TRY(tern__cancel_check(cancel, "reading the file"));
    model->gguf->cancel = cancel;
    TERN_TRY(tern__arch_build(model->gguf, 0, alloc, &model->arena, &model->graph, &info));
    model->gguf->cancel = NULL;
    model->context_length = info.context_length;
  } else {
    model->format = "onnx";
    if (model->path && !model->folder && !ends_with(model->file, ".onnx") && (size == 0 || data[0] != 0x08))
      TERN_FAIL(TERN_STATUS_UNSUPPORTED,
                "this is neither GGUF nor ONNX; give an .onnx or .gguf file, or a model folder");
    model->onnx_files.cancel = cancel;
    TERN_TRY(tern__onnx_read(alloc, &model->arena, data, size, model->path ? model->file : NULL, &model->graph,
                             &model->onnx_files));
    model->onnx_files.cancel = NULL;
  }
cleanup:
  return status;
}

tern_status tern__model_open(tern_runtime *runtime, const tern_model_desc *desc, tern_model **out) {
  tern_status status = TERN_OK;
  tern_model *model = tern__calloc(&runtime->alloc, 1, sizeof *model);
  *out = NULL;
  TERN_CHECK_ALLOC(model);
  atomic_init(&model->refs, 1);
  model->runtime = runtime;
  tern__runtime_ref(runtime);
  tern__arena_init(&model->arena, &runtime->alloc);
  tern__mutex_init(&model->lock);
  TERN_TRY(tern__pack_cache_create(&runtime->alloc, &model->packs));
  TERN_TRY(resolve(model, desc));
  const uint8_t *data = desc->data;
  size_t size = (size_t)desc->data_size;
  if (!data) {
    TERN_TRY(tern__file_map_open(model->file, &model->map));
    data = model->map.data, size = model->map.size;
  }
  TERN_TRY(report(desc, "map", size, size));
  status = read_graph(model, data, size, desc->cancel);
  if (status == TERN_OK && model->map.size) status = tern__pack_cache_add_file(model->packs, &model->map);
  for (size_t i = 0; status == TERN_OK && i < tern__array_count(model->onnx_files.files); i++)
    status = tern__pack_cache_add_file(model->packs, &model->onnx_files.files[i].map);
  if (status == TERN_OK && model->folder) status = read_configs(model);
  if (status != TERN_OK) {
    tern__fail_context(status, "%s", model->file);
    goto cleanup;
  }
  TERN_TRY(report(desc, "graph", tern__array_count(model->graph->nodes), tern__array_count(model->graph->nodes)));
  *out = model, model = NULL;
cleanup:
  tern__model_unref(model);
  return status;
}

void tern__model_ref(tern_model *model) { atomic_fetch_add(&model->refs, 1); }

void tern__model_unref(tern_model *model) {
  if (!model || atomic_fetch_sub(&model->refs, 1) != 1) return;
  tern_runtime *runtime = model->runtime;
  tern__alloc *alloc = &runtime->alloc;
  tern__pack_cache_destroy(model->packs);
  tern__graph_destroy(model->graph);
  tern__gguf_close(model->gguf);
  tern__onnx_files_close(alloc, &model->onnx_files);
  tern__file_map_close(&model->map);
  TERN_ARRAY_FREE(alloc, model->end_ids);
  tern__free(alloc, model->json);
  tern__mutex_deinit(&model->lock);
  tern__arena_deinit(&model->arena);
  tern__free(alloc, model);
  tern__runtime_unref(runtime);
}

uint64_t tern__model_weight_bytes(const tern_model *model) {
  uint64_t total = 0;
  for (size_t v = 0; v < tern__array_count(model->graph->values); v++) total += model->graph->values[v].size_bytes;
  return total;
}

/* ------------------------------------------------------------------------------------------------ tokenizer */

static tern_status tokenizer_from_gguf(tern__alloc *alloc, const tern__gguf *gguf, const tern_cancel *cancel,
                                       tern__tokenizer **out) {
  tern_status status = TERN_OK;
  tern__arena arena;
  tern__gguf_vocab v;
  tern__arena_init(&arena, alloc);
  TERN_TRY(tern__gguf_read_vocab(gguf, &arena, &v));
  tern__vocab_source source = {
      .model = v.model, .pre = v.pre, .n_tokens = v.n_tokens, .tokens = v.tokens, .token_sizes = v.token_sizes,
      .scores = v.scores, .types = v.types, .n_merges = v.n_merges, .merges = v.merges, .merge_sizes = v.merge_sizes,
      .bos_id = v.bos_id, .eos_id = v.eos_id, .eot_id = v.eot_id, .unk_id = v.unk_id, .pad_id = v.pad_id,
      .add_bos = v.add_bos, .add_eos = v.add_eos, .add_space_prefix = v.add_space_prefix,
      .remove_extra_whitespaces = v.remove_extra_whitespaces, .chat_template = v.chat_template,
      .cancel = cancel};
  TERN_TRY(tern__tokenizer_from_vocab(alloc, &source, out));
cleanup:
  tern__arena_deinit(&arena);
  return status;
}

tern_status tern__model_tokenizer(tern_model *model, const tern_cancel *cancel, tern__tokenizer **out) {
  tern_status status = TERN_OK;
  *out = NULL;
  if (model->gguf) {
    TERN_TRY(tokenizer_from_gguf(&model->runtime->alloc, model->gguf, cancel, out));
    goto cleanup;
  }
  if (!model->folder)
    TERN_FAIL(TERN_STATUS_NOT_FOUND,
              "'%s' has no tokenizer with it; open its model folder (with tokenizer.json)", model->file);
  TERN_TRY(tern__tokenizer_open(&model->runtime->alloc, model->folder, cancel, out));
cleanup:
  return status;
}

tern_status tern__tokenizer_for_path(tern__alloc *alloc, const char *path, tern__tokenizer **out) {
  tern_status status = TERN_OK;
  tern__file_map map = {NULL, 0};
  tern__gguf *gguf = NULL;
  *out = NULL;
  if (tern__path_is_dir(path) || ends_with(path, ".json")) {
    TERN_TRY(tern__tokenizer_open(alloc, path, NULL, out));
    goto cleanup;
  }
  TERN_TRY(tern__file_map_open(path, &map));
  if (!tern__gguf_has_magic(map.data, map.size))
    TERN_FAIL(TERN_STATUS_UNSUPPORTED,
              "'%s' holds no tokenizer; give a model folder, a tokenizer.json or a .gguf file", path);
  status = tern__gguf_open(alloc, map.data, map.size, &gguf);
  if (status == TERN_OK) status = tokenizer_from_gguf(alloc, gguf, NULL, out);
  if (status != TERN_OK) tern__fail_context(status, "%s", path);
cleanup:
  tern__gguf_close(gguf);
  tern__file_map_close(&map);
  return status;
}

/* ------------------------------------------------------------------------------------------------ description */

static void put_io(tern__json_writer *w, const char *key, const tern__graph *graph, const tern__value_id *ids) {
  tern__json_begin(w, key, '[');
  for (size_t i = 0; i < tern__array_count(ids); i++) {
    const tern__value *v = &graph->values[ids[i]];
    tern__json_begin(w, NULL, '{');
    tern__json_put_string(w, "name", v->name, strlen(v->name));
    const char *dtype = tern_dtype_name(v->dtype);
    tern__json_put_string(w, "dtype", dtype, strlen(dtype));
    tern__json_begin(w, "shape", '[');
    for (int32_t d = 0; d < v->shape.rank; d++) tern__json_put_int(w, NULL, v->shape.dims[d]);
    tern__json_end(w, ']');
    tern__json_end(w, '}');
  }
  tern__json_end(w, ']');
}

static void put_weights(tern__json_writer *w, const tern__graph *graph) {
  uint64_t bytes[TERN_DTYPE_Q6_K + 1] = {0}, tensors[TERN_DTYPE_Q6_K + 1] = {0};
  for (size_t v = 0; v < tern__array_count(graph->values); v++) {
    const tern__value *value = &graph->values[v];
    if (value->data && value->dtype <= TERN_DTYPE_Q6_K)
      bytes[value->dtype] += value->size_bytes, tensors[value->dtype]++;
  }
  tern__json_begin(w, "weights", '[');
  for (int t = 0; t <= TERN_DTYPE_Q6_K; t++) {
    if (!tensors[t]) continue;
    const char *name = tern_dtype_name((tern_dtype)t);
    tern__json_begin(w, NULL, '{');
    tern__json_put_string(w, "dtype", name, strlen(name));
    tern__json_put_int(w, "tensors", (int64_t)tensors[t]);
    tern__json_put_int(w, "bytes", (int64_t)bytes[t]);
    tern__json_end(w, '}');
  }
  tern__json_end(w, ']');
}

static void put_operators(tern__json_writer *w, const tern_model *model) {
  size_t n_ops, n_apis;
  const tern__op_def *const *ops = tern__op_list(&n_ops);
  const tern__backend_api *const *apis = tern__backend_list(&n_apis);
  tern__json_begin(w, "operators", '[');
  for (size_t o = 0; o < n_ops; o++) {
    int64_t count = 0;
    for (size_t n = 0; n < tern__array_count(model->graph->nodes); n++) count += model->graph->nodes[n].op == ops[o];
    if (!count) continue;
    tern__json_begin(w, NULL, '{');
    tern__json_put_string(w, "name", ops[o]->name, strlen(ops[o]->name));
    tern__json_put_string(w, "domain", ops[o]->domain, strlen(ops[o]->domain));
    tern__json_put_int(w, "count", count);
    tern__json_begin(w, "reference_only_on", '['); /* devices without a kernel of their own for it */
    for (size_t d = 0; d < n_apis; d++) /* open or not: that is no matter of the machine */
      if (!apis[d]->supports(NULL, ops[o])) tern__json_put_string(w, NULL, apis[d]->name, strlen(apis[d]->name));
    tern__json_end(w, ']');
    tern__json_end(w, '}');
  }
  tern__json_end(w, ']');
}

const char *tern__model_json(tern_model *model) {
  tern__mutex_lock(&model->lock);
  if (!model->json) {
    tern__json_writer w = {.alloc = &model->runtime->alloc};
    tern__json_begin(&w, NULL, '{');
    tern__json_put_string(&w, "format", model->format, strlen(model->format));
    tern__json_put_string(&w, "file", model->file, strlen(model->file));
    const char *arch = "";
    if (model->gguf) (void)tern__gguf_string(model->gguf, "general.architecture", "", &arch);
    if (*arch) tern__json_put_string(&w, "architecture", arch, strlen(arch));
    if (model->dtype) tern__json_put_string(&w, "dtype", model->dtype, strlen(model->dtype));
    if (model->context_length) tern__json_put_int(&w, "context_length", model->context_length);
    tern__json_put_int(&w, "weight_bytes", (int64_t)tern__model_weight_bytes(model));
    put_weights(&w, model->graph);
    put_operators(&w, model);
    put_io(&w, "inputs", model->graph, model->graph->inputs);
    put_io(&w, "outputs", model->graph, model->graph->outputs);
    tern__json_end(&w, '}');
    if (w.failed) tern__free(w.alloc, w.text);
    else model->json = w.text;
  }
  const char *json = model->json;
  tern__mutex_unlock(&model->lock);
  return json;
}
