/* Reading ONNX models. Weights stay views into the file (or its external data files); everything else that
 * the graph needs is copied into the arena. Source: onnx/onnx.proto and docs/IR.md of the ONNX repository. */
#ifndef TERN_FORMATS_ONNX_READER_H
#define TERN_FORMATS_ONNX_READER_H

#include "base/file_map.h"
#include "base/thread.h"
#include "ir/graph.h"

typedef struct tern__onnx_opset {
  const char *domain;
  int32_t version;
} tern__onnx_opset;
typedef struct tern__onnx_entry {
  const char *key, *value;
} tern__onnx_entry;

/* What a file says about itself; strings live in the arena. */
typedef struct tern__onnx_info {
  int64_t ir_version, model_version;
  const char *producer, *producer_version;
  tern__onnx_opset *opsets; /* base/array.h arrays */
  tern__onnx_entry *metadata;
} tern__onnx_info;

typedef struct tern__onnx_file {
  const char *location;
  tern__file_map map;
} tern__onnx_file;

/* External data files, mapped once each, and the info. Zeroed before tern__onnx_read; the model keeps it. */
typedef struct tern__onnx_files {
  tern__onnx_file *files;    /* base/array.h array */
  const tern_cancel *cancel; /* stops the reading; NULL = nothing does */
  tern__onnx_info info;
} tern__onnx_files;

/* Builds the graph of a ModelProto. `data` and *files must outlive it. `path` is the file's own path, beside
 * which its external data lie; NULL if it has none. The graph is verified and in topological order. CORRUPT
 * names the byte offset and the node; UNSUPPORTED lists every operator of the file that tern lacks. *files
 * must be closed on failure, too. */
tern_status tern__onnx_read(tern__alloc *alloc, tern__arena *arena, const uint8_t *data, size_t size,
                            const char *path, tern__graph **out, tern__onnx_files *files);
void tern__onnx_files_close(tern__alloc *alloc, tern__onnx_files *files);

/* One TensorProto on its own (the .pb files of ONNX's tests): *data points into `bytes` or the arena. */
tern_status tern__onnx_read_tensor(tern__alloc *alloc, tern__arena *arena, const uint8_t *bytes, size_t size,
                                   const char **name, tern_dtype *dtype, tern__shape *shape,
                                   const void **data, size_t *size_bytes);

#endif
