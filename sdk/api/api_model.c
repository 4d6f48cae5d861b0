/* Models. */
#include <string.h>

#include "api/api.h"
#include "pipeline/model.h"

tern_status tern_model_open(tern_runtime *runtime, const tern_model_desc *desc, tern_model **out) {
  tern_model_desc d;
  TERN_REQUIRE(out);
  *out = NULL;
  TERN_REQUIRE(runtime);
  tern_status status = tern__desc_read("tern_model_desc", desc, sizeof d, &d, sizeof d);
  return status == TERN_OK ? tern__alloc_explain(&runtime->alloc, tern__model_open(runtime, &d, out)) : status;
}

void tern_model_close(tern_model *model) { tern__model_unref(model); }

int32_t tern_model_input_count(const tern_model *model) {
  return model ? (int32_t)tern__array_count(model->graph->inputs) : 0;
}
int32_t tern_model_output_count(const tern_model *model) {
  return model ? (int32_t)tern__array_count(model->graph->outputs) : 0;
}

tern_status tern__io_info(const tern__graph *graph, const tern__value_id *ids, int32_t index, tern_io_info *out) {
  if (index < 0 || (size_t)index >= tern__array_count(ids))
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "index %d is not below %zu", index, tern__array_count(ids));
  const tern__value *v = &graph->values[ids[index]];
  tern_io_info info = {.struct_size = sizeof info, .dtype = v->dtype, .name = v->name, .rank = v->shape.rank};
  for (int32_t i = 0; i < v->shape.rank; i++) info.dims[i] = v->shape.dims[i];
  return tern__info_write("tern_io_info", out, &info, sizeof info);
}

tern_status tern_model_input(const tern_model *model, int32_t index, tern_io_info *out) {
  TERN_REQUIRE(model);
  TERN_REQUIRE(out);
  return tern__io_info(model->graph, model->graph->inputs, index, out);
}

tern_status tern_model_output(const tern_model *model, int32_t index, tern_io_info *out) {
  TERN_REQUIRE(model);
  TERN_REQUIRE(out);
  return tern__io_info(model->graph, model->graph->outputs, index, out);
}

const char *tern_model_json(const tern_model *model) {
  const char *json = model ? tern__model_json((tern_model *)(uintptr_t)model) : NULL;
  return json ? json : "{}";
}

uint64_t tern_model_weight_bytes(const tern_model *model) { return model ? tern__model_weight_bytes(model) : 0; }
