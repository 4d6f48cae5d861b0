/* An opened model: its files, its graph before session passes, its packed weights. */
#ifndef TERN_PIPELINE_MODEL_H
#define TERN_PIPELINE_MODEL_H

#include "base/file_map.h"
#include "base/json.h"
#include "formats/arch.h"
#include "formats/gguf_reader.h"
#include "formats/onnx_reader.h"
#include "runtime/pack_cache.h"
#include "runtime/runtime.h"
#include "text/tokenizer.h"

struct tern_model {
  _Atomic int32_t refs;
  tern_runtime *runtime;
  tern__arena arena;
  tern__file_map map;
  const char *path;          /* as given; NULL for bytes */
  const char *folder;        /* the Transformers.js folder, or NULL */
  const char *file;          /* the file that holds the graph; "<memory>" for bytes */
  const char *format;        /* "onnx" or "gguf" */
  const char *dtype;         /* of the folder's files that was chosen, or NULL */
  tern__gguf *gguf;          /* NULL unless GGUF */
  tern__onnx_files onnx_files;
  tern__graph *graph;
  tern__pack_cache *packs;
  int32_t context_length;    /* 0 = the model has none */
  int32_t *end_ids;          /* base/array.h: generation_config / config / GGUF end-of-sequence ids */
  char *json;                /* tern_model_json, made on first use under `lock` */
  tern__mutex lock;
};

tern_status tern__model_open(tern_runtime *runtime, const tern_model_desc *desc, tern_model **out);
void tern__model_ref(tern_model *model);
void tern__model_unref(tern_model *model);
const char *tern__model_json(tern_model *model); /* NULL = no memory */
uint64_t tern__model_weight_bytes(const tern_model *model);
/* The model's tokenizer: tokenizer.json of its folder (or beside its file), else its GGUF vocabulary.
 * NOT_FOUND tells where it looked. */
tern_status tern__model_tokenizer(tern_model *model, const tern_cancel *cancel, tern__tokenizer **out);
/* Tokenizer of a folder, a tokenizer.json or a .gguf file, without opening a model. */
tern_status tern__tokenizer_for_path(tern__alloc *alloc, const char *path, tern__tokenizer **out);

#endif
