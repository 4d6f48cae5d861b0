/* Compiling: what ops add to a program. */
#include "gpu/gpu_program.h"

#include <string.h>

#define GPU_OP(name, domain, symbol) \
  tern_status tern__gpu_compile_##symbol(tern__program *program, const tern__node *node, bool *taken);
#include "gpu/gpu_ops.def"
#undef GPU_OP

typedef struct op_entry { const char *name, *domain; tern__gpu_compile_fn compile; } op_entry;

static const op_entry ops[] = {
#define GPU_OP(name, domain, symbol) {name, domain, tern__gpu_compile_##symbol},
#include "gpu/gpu_ops.def"
#undef GPU_OP
    {NULL, NULL, NULL},
};

tern__gpu_compile_fn tern__gpu_find_op(const tern__op_def *op) {
  for (const op_entry *entry = ops; entry->name; entry++)
    if (!strcmp(entry->name, op->name) && !strcmp(entry->domain, op->domain)) return entry->compile;
  return NULL;
}

tern_status tern__gpu_compile_node(tern__program *program, const tern__node *node, bool *taken) {
  tern_status status = TERN_OK;
  *taken = false;
  for (const op_entry *entry = ops; entry->name && !*taken; entry++)
    if (!strcmp(entry->name, node->op->name) && !strcmp(entry->domain, node->op->domain))
      TERN_TRY(entry->compile(program, node, taken));
cleanup:
  return status;
}

void *tern__gpu_params(tern__program *program, size_t size) { return tern__arena_calloc(&program->arena, 1, size); }

void tern__gpu_need_scratch(tern__program *program, uint64_t bytes) {
  if (bytes > program->scratch_bytes) program->scratch_bytes = bytes;
}

tern__gpu_operand tern__gpu_keep(tern__program *program, uint64_t bytes) {
  tern__gpu_operand operand = {TERN__GPU_KEPT, 0, program->kept_bytes, bytes};
  if (!program->dry) program->kept_bytes += tern__gpu_place(bytes);
  return operand;
}

bool tern__gpu_only_reader(const tern__program *program, tern__value_id root, const tern__node *node) {
  const tern__plan *plan = program->plan;
  int32_t own = 0;
  for (int32_t i = 0; i < plan->n_exports; i++)
    if (plan->exports[i] == root) return false;
  for (int32_t s = 0; s < plan->n_steps; s++) {
    const tern__node *reader = &plan->graph->nodes[plan->steps[s]];
    for (int32_t i = 0; i < reader->n_inputs; i++) {
      if (reader->inputs[i] < 0 || plan->root[reader->inputs[i]] != root) continue;
      if (reader != node || own++) return false;
    }
  }
  return own == 1;
}

void tern__gpu_groups_1d(const tern__program *program, uint64_t count, uint32_t size, uint32_t groups[2]) {
  uint64_t n = (count + size - 1) / size, limit = program->backend->info->max_groups;
  groups[0] = (uint32_t)(n < limit ? n : limit);
  if (!groups[0]) groups[0] = 1;
  groups[1] = (uint32_t)((n + groups[0] - 1) / groups[0]);
  if (!groups[1]) groups[1] = 1;
}

const void *tern__gpu_constant(const tern__program *program, const tern__node *node, int32_t i) {
  const tern__view *view = tern__gpu_in(program, node, i);
  return view ? view->data : NULL; /* while compiling, only what is known has data */
}

/* True if the bytes are the model's and outlive the plan: a constant of the graph, through reshapes. */
static bool is_graph_constant(const tern__graph *graph, tern__value_id id) {
  while (id >= 0) {
    const tern__value *value = &graph->values[id];
    if (value->data) return true;
    if (value->producer < 0) return false;
    const tern__node *producer = &graph->nodes[value->producer];
    if (!(producer->op->flags & TERN__OP_ALIAS)) return false;
    id = producer->inputs[0];
  }
  return false;
}

/* A VALUE that is known becomes a CONSTANT. */
static tern_status resolve_constant(tern__program *program, tern__gpu_operand *operand) {
  tern_status status = TERN_OK;
  const tern__view *view = &program->plan->views[operand->index];
  if (!view->data) return TERN_OK;
  size_t n = tern__array_count(program->constants);
  for (size_t i = 0; i < n; i++)
    if (program->constants[i].data == view->data && program->constants[i].size == view->size_bytes) {
      operand->kind = TERN__GPU_CONSTANT, operand->index = (int32_t)i;
      return TERN_OK;
    }
  TERN_ARRAY_PUSH(program->backend->env.alloc, program->constants,
                  (tern__gpu_constant_value){.data = view->data, .size = view->size_bytes,
                   .folded = !is_graph_constant(program->plan->graph, operand->index)});
  operand->kind = TERN__GPU_CONSTANT, operand->index = (int32_t)n;
cleanup:
  return status;
}

tern_status tern__gpu_set_operand(tern__program *program, tern__gpu_step *step, int32_t binding,
                                  tern__gpu_operand operand) {
  step->operands[binding] = operand;
  return operand.kind == TERN__GPU_VALUE ? resolve_constant(program, &step->operands[binding]) : TERN_OK;
}

tern_status tern__gpu_add_step(tern__program *program, const tern__node *node, tern__gpu_kernel_id kernel,
                               const tern__gpu_operand *operands, const void *immediates, uint32_t x, uint32_t y,
                               uint32_t z) {
  tern_status status = TERN_OK;
  const tern__gpu_kernel *facts = &tern__gpu_kernels[kernel];
  const tern__gpu_info *info = program->backend->info;
  if (facts->needs & ~info->features)
    TERN_FAIL(TERN_STATUS_INTERNAL, "node '%s' (%s): kernel %s needs features %x that %s lacks", node->name,
              node->op->name, facts->name, (unsigned)(facts->needs & ~info->features), info->name);
  if (x > info->max_groups || y > info->max_groups || z > info->max_groups || !x || !y || !z)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "node '%s' (%s): %u x %u x %u workgroups are beyond what %s can start",
              node->name, node->op->name, x, y, z, info->name);
  if (program->dry) return TERN_OK;
  tern__gpu_step step = {.kernel = kernel, .node = node, .groups = {x, y, z}};
  for (int i = 0; i < facts->n_bindings; i++) TERN_TRY(tern__gpu_set_operand(program, &step, i, operands[i]));
  if (facts->immediate_bytes) memcpy(step.immediates, immediates, facts->immediate_bytes);
  TERN_ARRAY_PUSH(program->backend->env.alloc, program->steps, step);
cleanup:
  return status;
}

void tern__gpu_set_brief(tern__program *program, const tern__gpu_brief *brief) {
  if (program->dry) return;
  program->steps[tern__array_count(program->steps) - 1].brief = *brief;
  program->brief_positions = brief->positions;
}

void tern__gpu_set_link(tern__program *program, tern__gpu_link link) {
  if (!program->dry) program->steps[tern__array_count(program->steps) - 1].link = link;
}

tern_status tern__gpu_check_indices(const tern__gpu_index_check *check, const tern__view *indices) {
  uint64_t n = tern__gpu_elements(indices);
  for (uint64_t i = 0; i < n; i++) {
    int64_t index = indices->dtype == TERN_DTYPE_I64 ? ((const int64_t *)indices->data)[i]
                                                     : ((const int32_t *)indices->data)[i];
    if (index < -check->dim || index >= check->dim)
      return tern__fail(TERN_STATUS_SHAPE_MISMATCH,
                        "node '%s' (%s): index %lld is out of range for a dimension of %lld", check->node->name,
                        check->node->op->name, (long long)index, (long long)check->dim);
  }
  return TERN_OK;
}

tern_status tern__gpu_add_index_check(tern__program *program, const tern__node *node, int32_t i, int64_t dim,
                                      bool *good) {
  tern_status status = TERN_OK;
  tern__gpu_index_check check = {node, node->inputs[i], dim};
  const tern__view *view = tern__gpu_in(program, node, i);
  *good = true;
  if (view->data) *good = tern__gpu_check_indices(&check, view) == TERN_OK;
  else if (!program->dry) TERN_ARRAY_PUSH(program->backend->env.alloc, program->index_checks, check);
cleanup:
  return status;
}

void tern__gpu_cost(tern__program *program, uint64_t operations, uint64_t bytes) {
  size_t n = tern__array_count(program->steps);
  if (program->dry || !n) return;
  program->steps[n - 1].operations = operations, program->steps[n - 1].bytes = bytes;
}

tern_status tern__gpu_add_weight(tern__program *program, const tern__gpu_weight *weight, int32_t *index) {
  tern_status status = TERN_OK;
  *index = 0;
  if (program->dry) return TERN_OK;
  size_t n = tern__array_count(program->weights);
  for (size_t i = 0; i < n; i++)
    if (program->weights[i].key == weight->key && program->weights[i].layout == weight->layout) {
      *index = (int32_t)i;
      return TERN_OK;
    }
  if (weight->size > program->backend->info->max_buffer_bytes)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "a weight of %llu bytes is beyond %s's largest buffer of %llu; use device 'cpu'",
              (unsigned long long)weight->size, program->backend->info->name,
              (unsigned long long)program->backend->info->max_buffer_bytes);
  TERN_ARRAY_PUSH(program->backend->env.alloc, program->weights, *weight);
  *index = (int32_t)n;
cleanup:
  return status;
}
