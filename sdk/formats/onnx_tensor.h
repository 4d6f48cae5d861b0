/* TensorProto -> a constant's bytes. Inside of the ONNX reader. */
#ifndef TERN_FORMATS_ONNX_TENSOR_H
#define TERN_FORMATS_ONNX_TENSOR_H

#include "formats/onnx_reader.h"
#include "formats/protobuf.h"

typedef struct tern__onnx_tensor {
  const char *name;
  tern_dtype dtype;
  tern__shape shape;
  const void *data; /* never NULL */
  size_t size_bytes;
} tern__onnx_tensor;

typedef struct tern__onnx_source {
  tern__alloc *alloc;
  tern__arena *arena;
  const char *path;
  tern__onnx_files *files; /* NULL: external data is an error */
} tern__onnx_source;

tern_status tern__onnx_tensor_parse(const tern__onnx_source *source, tern__pb message,
                                    tern__onnx_tensor *out);

#endif
