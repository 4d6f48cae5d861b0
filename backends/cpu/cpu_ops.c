/* The table of ops with kernels of their own (cpu_ops.def), and what their compile functions share. */
#include "cpu/cpu_program.h"

#include <string.h>

#define CPU_OP(name, domain, symbol) \
  tern_status tern__cpu_compile_##symbol(tern__program *program, const tern__node *node, bool *taken);
#include "cpu/cpu_ops.def"
#undef CPU_OP

typedef struct op_entry { const char *name, *domain; tern__cpu_compile_fn compile; } op_entry;

static const op_entry ops[] = {
#define CPU_OP(name, domain, symbol) {name, domain, tern__cpu_compile_##symbol},
#include "cpu/cpu_ops.def"
#undef CPU_OP
};

tern__cpu_compile_fn tern__cpu_find_op(const tern__op_def *op) {
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    if (!strcmp(ops[i].name, op->name) && !strcmp(ops[i].domain, op->domain)) return ops[i].compile;
  return NULL;
}

void *tern__cpu_params(tern__program *program, size_t size) {
  return tern__arena_alloc(&program->arena, size);
}

void tern__cpu_need_scratch(tern__program *program, size_t thread_bytes, size_t shared_bytes) {
  if (thread_bytes > program->thread_scratch) program->thread_scratch = thread_bytes;
  if (!shared_bytes) return;
  program->shared_holds = NULL;
  program->shared_at = program->plan->separate ? tern__cpu_divide_up(program->shared_scratch, 64) * 64 : 0;
  if (program->shared_at + shared_bytes > program->shared_scratch)
    program->shared_scratch = program->shared_at + shared_bytes;
}

tern_status tern__cpu_add_pack(tern__program *program, const tern__cpu_pack *pack) {
  tern_status status = TERN_OK;
  TERN_ARRAY_PUSH(program->backend->env.alloc, program->packs, *pack);
cleanup:
  return status;
}

tern_status tern__cpu_add_step(tern__program *program, const tern__node *node, tern__cpu_chunk_fn run,
                               size_t n_chunks, void *params) {
  tern_status status = TERN_OK;
  tern__cpu_step step = {.run = run, .n_chunks = (uint32_t)n_chunks, .node = node, .params = params,
                        .shared = program->shared_at};
  /* Trailing optional operands that a node leaves out read as absent. */
  step.in = tern__arena_calloc(&program->arena, (size_t)node->n_inputs + 8, sizeof *step.in);
  step.out = tern__arena_calloc(&program->arena, (size_t)node->n_outputs + 8, sizeof *step.out);
  if (!step.in || !step.out) TERN_CHECK_ALLOC(NULL);
  for (int32_t i = 0; i < node->n_inputs; i++) step.in[i] = tern__cpu_in(program, node, i);
  for (int32_t i = 0; i < node->n_outputs; i++) step.out[i] = tern__cpu_out(program, node, i);
  TERN_ARRAY_PUSH(program->backend->env.alloc, program->steps, step);
cleanup:
  return status;
}

void tern__cpu_repeatable(tern__program *program) {
  program->steps[tern__array_count(program->steps) - 1].repeatable = true;
}

/* ---- the reference as a step ---- */

typedef struct reference_params { const tern__plan *plan; tern__view *in, *out; } reference_params;

/* Views are copied anew in each run: their data moves between runs. */
static tern_status run_reference(const tern__cpu_step *step, const tern__cpu_context *context,
                                 uint32_t chunk) {
  const reference_params *params = step->params;
  const tern__node *node = step->node;
  (void)chunk;
  for (int32_t i = 0; i < node->n_inputs; i++)
    if (step->in[i]) params->in[i] = *step->in[i];
  for (int32_t i = 0; i < node->n_outputs; i++)
    if (step->out[i]) params->out[i] = *step->out[i];
  tern__op_call call = {node,           params->plan->graph, params->in,     params->out,
                        node->n_inputs, node->n_outputs,     context->alloc, context->args->kv,
                        context->args->cancel};
  return node->op->reference(&call);
}

tern_status tern__cpu_compile_reference(tern__program *program, const tern__node *node) {
  tern_status status = TERN_OK;
  reference_params *params = tern__cpu_params(program, sizeof *params);
  TERN_CHECK_ALLOC(params);
  params->plan = program->plan;
  params->in = tern__arena_calloc(&program->arena, (size_t)node->n_inputs + 1, sizeof *params->in);
  params->out = tern__arena_calloc(&program->arena, (size_t)node->n_outputs + 1, sizeof *params->out);
  if (!params->in || !params->out) TERN_CHECK_ALLOC(NULL);
  TERN_TRY(tern__cpu_add_step(program, node, run_reference, 1, params));
cleanup:
  return status;
}
