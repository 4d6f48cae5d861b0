/* Profiles of the CPU: the time of each step of the last run, and what its node asks of the machine. A phase takes from
 * one join to the next, waiting included; where several steps share it, each has the part that its chunks took of all
 * chunks' time. */
#include "cpu/cpu_program.h"

#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 128 };

tern_status tern__cpu_times_create(tern__program *program) {
  tern_status status = TERN_OK;
  tern__alloc *alloc = program->backend->env.alloc;
  size_t steps = tern__array_count(program->steps) + 1, phases = tern__array_count(program->ends) + 1;
  program->times = tern__calloc(alloc, 1, sizeof *program->times);
  TERN_CHECK_ALLOC(program->times);
  program->times->step_ns = tern__calloc(alloc, steps, sizeof *program->times->step_ns);
  program->times->phase_end = tern__calloc(alloc, phases, sizeof *program->times->phase_end);
  program->times->work = tern__calloc(alloc, steps, sizeof *program->times->work);
  if (!program->times->step_ns || !program->times->phase_end || !program->times->work) TERN_CHECK_ALLOC(NULL);
cleanup:
  if (status != TERN_OK) tern__cpu_times_destroy(program);
  return status;
}

void tern__cpu_times_destroy(tern__program *program) {
  tern__alloc *alloc = program->backend->env.alloc;
  if (!program->times) return;
  tern__free(alloc, (void *)program->times->step_ns);
  tern__free(alloc, program->times->phase_end);
  tern__free(alloc, program->times->work);
  tern__free(alloc, program->times);
  program->times = NULL;
}

static bool begins_node(const tern__program *program, size_t step) {
  for (size_t s = 0; s < step; s++)
    if (program->steps[s].node == program->steps[step].node) return false;
  return true;
}

/* Now, as the KV cache's positions will have moved on when the profile is asked for. */
static tern__op_work work_of(const tern__program *program, const tern__node *node, const tern__run_args *args) {
  tern__op_work none = {0};
  tern__alloc *alloc = program->backend->env.alloc;
  tern__view *views = tern__calloc(alloc, (size_t)(node->n_inputs + node->n_outputs + 1), sizeof *views);
  if (!views) return none;
  for (int32_t i = 0; i < node->n_inputs + node->n_outputs; i++) {
    tern__value_id id = i < node->n_inputs ? node->inputs[i] : node->outputs[i - node->n_inputs];
    views[i].dtype = TERN_DTYPE_NONE;
    if (id >= 0) views[i] = program->plan->views[id];
  }
  tern__op_call call = {node, program->plan->graph, views, views + node->n_inputs, node->n_inputs, node->n_outputs,
                        alloc, args->kv, args->cancel};
  tern__op_work work = tern__op_work_of(&call);
  tern__free(alloc, views);
  return work;
}

void tern__cpu_times_begin(tern__program *program, const tern__run_args *args) {
  tern__cpu_times *times = program->times;
  size_t n = tern__array_count(program->steps);
  for (size_t s = 0; s < n; s++) {
    atomic_store_explicit(&times->step_ns[s], 0, memory_order_relaxed);
    if (begins_node(program, s)) times->work[s] = work_of(program, program->steps[s].node, args);
  }
  times->begin = tern__now_ns();
}

/* ---- what is said ---- */

typedef struct kernel_sum {
  char kernel[NAME_SIZE];
  const char *op;
  uint64_t count, nanoseconds, operations, bytes;
} kernel_sum;

/* The type of the node's largest constant, or NULL; float32, which tables are, too, names none. */
static const char *weight_type(const tern__program *program, const tern__node *node) {
  const char *name = NULL;
  size_t largest = 4096; /* a bias or a scale does not name a kernel */
  for (int32_t i = 0; i < node->n_inputs; i++) {
    const tern__value *v = node->inputs[i] < 0 ? NULL : &program->plan->graph->values[node->inputs[i]];
    if (v && v->data && v->size_bytes > largest)
      largest = v->size_bytes, name = v->dtype == TERN_DTYPE_F32 ? NULL : tern_dtype_name(v->dtype);
  }
  return name;
}

static void name_kernel(const tern__program *program, const tern__node *node, char *name) {
  size_t size = 0;
  for (int32_t p = 0; p < (node->n_parts ? node->n_parts : 1) && size < NAME_SIZE; p++)
    size += (size_t)snprintf(name + size, NAME_SIZE - size, "%s%s", p ? " + " : "",
                             node->n_parts ? node->parts[p].op->name : node->op->name);
  const char *type = weight_type(program, node);
  if (type && size < NAME_SIZE) snprintf(name + size, NAME_SIZE - size, " (%s)", type);
}

static tern_status add_step(tern__program *program, size_t s, uint64_t nanoseconds, kernel_sum **sums) {
  tern_status status = TERN_OK;
  const tern__node *node = program->steps[s].node;
  size_t at = 0, count = tern__array_count(*sums);
  kernel_sum fresh = {.op = node->op->name};
  name_kernel(program, node, fresh.kernel);
  while (at < count && strcmp((*sums)[at].kernel, fresh.kernel)) at++;
  if (at == count) TERN_ARRAY_PUSH(program->backend->env.alloc, *sums, fresh);
  kernel_sum *sum = &(*sums)[at];
  sum->count += begins_node(program, s), sum->nanoseconds += nanoseconds;
  sum->operations += program->times->work[s].operations, sum->bytes += program->times->work[s].bytes;
cleanup:
  return status;
}

static tern_status add_phase(tern__program *program, size_t phase, kernel_sum **sums) {
  tern_status status = TERN_OK;
  const tern__cpu_times *times = program->times;
  size_t from = program->starts[phase], to = program->starts[phase + 1];
  uint64_t begin = phase ? times->phase_end[phase - 1] : times->begin, end = times->phase_end[phase];
  double all = 0, ns = end > begin ? (double)(end - begin) : 0; /* a thread may be late to say that it was the last */
  for (size_t s = from; s < to; s++) all += (double)atomic_load_explicit(&times->step_ns[s], memory_order_relaxed);
  for (size_t s = from; s < to; s++) {
    double own = (double)atomic_load_explicit(&times->step_ns[s], memory_order_relaxed);
    double share = all > 0 ? own / all : 1 / (double)(to - from);
    TERN_TRY(add_step(program, s, (uint64_t)(share * ns), sums));
  }
cleanup:
  return status;
}

void tern__cpu_profile(tern__program *program, tern__json_writer *w) {
  tern_status status = TERN_OK;
  kernel_sum *sums = NULL;
  uint64_t operations = 0, bytes = 0;
  if (!program->times) return;
  for (size_t p = 0; p < tern__array_count(program->ends); p++) TERN_TRY(add_phase(program, p, &sums));
  for (size_t i = 0; i < tern__array_count(sums); i++) operations += sums[i].operations, bytes += sums[i].bytes;
  tern__json_put_int(w, "operations", (int64_t)operations);
  tern__json_put_int(w, "bytes", (int64_t)bytes);
  tern__json_begin(w, "kernels", '[');
  for (size_t i = 0; i < tern__array_count(sums); i++) {
    tern__json_begin(w, NULL, '{');
    tern__json_put_string(w, "kernel", sums[i].kernel, strlen(sums[i].kernel));
    tern__json_put_string(w, "op", sums[i].op, strlen(sums[i].op));
    tern__json_put_int(w, "count", (int64_t)sums[i].count);
    tern__json_put_int(w, "ns", (int64_t)sums[i].nanoseconds);
    tern__json_put_int(w, "operations", (int64_t)sums[i].operations);
    tern__json_put_int(w, "bytes", (int64_t)sums[i].bytes);
    tern__json_end(w, '}');
  }
  tern__json_end(w, ']');
cleanup:
  if (status != TERN_OK) w->failed = true;
  TERN_ARRAY_FREE(program->backend->env.alloc, sums);
}
