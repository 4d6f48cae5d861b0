/* A token that is set while a model loads, a session is made or plans, or weights are packed stops that, not only runs.
 * The allocator sets it, so that the moment is the same in every run. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "passes/pass.h"
#include "tern/tern.h"

#define TINY TERN_SOURCE_DIR "/tests/models/tiny/tiny_llama.gguf"

typedef struct trigger {
  long count, set_at, live;
  tern_cancel *cancel;   /* what is set at allocation set_at: this token, or the session's own */
  tern_session *session;
} trigger;

static void *counting_alloc(void *user_data, size_t size, size_t align) {
  trigger *t = user_data;
  if (++t->count == t->set_at) {
    if (t->session) tern_session_cancel(t->session);
    else tern_cancel_set(t->cancel);
  }
  t->live++;
  if (align < sizeof(void *)) align = sizeof(void *);
  return aligned_alloc(align, (size + align - 1) / align * align);
}

static void counting_free(void *user_data, void *ptr, size_t size, size_t align) {
  (void)size, (void)align;
  ((trigger *)user_data)->live--;
  free(ptr);
}

/* One thread: the trigger counts without locks. */
static tern_runtime *counting_runtime(trigger *t) {
  tern_runtime *runtime;
  tern_runtime_desc d = TERN_RUNTIME_DESC_INIT;
  d.n_threads = 1;
  d.allocator = (tern_allocator){counting_alloc, counting_free, t};
  cr_assert_eq(tern_runtime_create(&d, &runtime), TERN_OK, "%s", tern_last_error());
  return runtime;
}

typedef enum phase { OPEN_MODEL, CREATE_SESSION, PLAN, FIRST_RUN, OPEN_PIPELINE, N_PHASES } phase;
static const char *const phase_names[] = {"opening a model", "creating a session", "planning", "the first run",
                                          "opening a pipeline"};

typedef struct life {
  tern_runtime *runtime;
  tern_model *model;
  tern_session *session;
  tern_tensor *ids;
  tern_pipeline *pipeline;
} life;

static tern_status do_phase(life *l, phase p, tern_cancel *cancel) {
  static const char *const input[] = {"input_ids"}, *const output[] = {"logits"};
  static int64_t ids[6] = {1, 2, 3, 4, 5, 6};
  const int64_t dims[] = {1, 6};
  const tern_tensor *inputs[1] = {l->ids};
  tern_tensor *logits;
  tern_memory_plan plan = {.struct_size = sizeof plan};
  tern_status status;
  switch (p) {
    case OPEN_MODEL: {
      tern_model_desc d = TERN_MODEL_DESC_INIT;
      d.path = TINY, d.cancel = cancel;
      return tern_model_open(l->runtime, &d, &l->model);
    }
    case CREATE_SESSION: {
      tern_session_desc d = TERN_SESSION_DESC_INIT;
      d.kv_cache = 1, d.context_length = 32, d.cancel = cancel;
      status = tern_session_create(l->model, &d, &l->session);
      if (status != TERN_OK) return status;
      return tern_tensor_wrap(l->runtime, TERN_DTYPE_I64, 2, dims, ids, sizeof ids, &l->ids);
    }
    case PLAN: return tern_session_plan(l->session, 1, input, inputs, &plan);
    case FIRST_RUN:
      status = tern_session_run(l->session, 1, input, inputs, 1, output, &logits);
      if (status == TERN_OK) tern_tensor_destroy(logits);
      return status;
    default: {
      tern_pipeline_desc d = TERN_PIPELINE_DESC_INIT;
      d.task = "text-generation", d.path = TINY, d.cancel = cancel, d.session.context_length = 32;
      return tern_pipeline_open(l->runtime, &d, &l->pipeline);
    }
  }
}

static void end_life(life *l) {
  tern_pipeline_close(l->pipeline);
  tern_session_destroy(l->session);
  tern_tensor_destroy(l->ids);
  tern_model_close(l->model);
  tern_runtime_destroy(l->runtime);
  memset(l, 0, sizeof *l);
}

/* Runs all phases before `p`, then p with the token set at its k-th allocation (0: never). */
static tern_status cancelled_at(phase p, long k, bool by_session, long *allocations) {
  trigger t = {0};
  life l = {0};
  cr_assert_eq(tern_cancel_create(&t.cancel), TERN_OK);
  l.runtime = counting_runtime(&t);
  for (phase before = OPEN_MODEL; before < p; before = (phase)(before + 1))
    cr_assert_eq(do_phase(&l, before, t.cancel), TERN_OK, "%s: %s", phase_names[before], tern_last_error());
  long begin = t.count;
  if (k) t.set_at = begin + k;
  t.session = by_session ? l.session : NULL;
  tern_status status = do_phase(&l, p, t.cancel);
  *allocations = t.count - begin;
  if (status == TERN_STATUS_CANCELLED)
    cr_assert(strstr(tern_last_error(), "cancelled"), "%s: %s", phase_names[p], tern_last_error());
  t.set_at = 0;
  tern_cancel_reset(t.cancel);
  if (status == TERN_STATUS_CANCELLED && p < OPEN_PIPELINE) /* it was as if nothing had happened */
    cr_assert_eq(do_phase(&l, p, t.cancel), TERN_OK, "%s after a cancellation: %s", phase_names[p], tern_last_error());
  end_life(&l);
  cr_assert_eq(t.live, 0, "%s: %ld blocks leaked after a cancellation at allocation %ld", phase_names[p], t.live, k);
  tern_cancel_destroy(t.cancel);
  return status;
}

static void cancel_everywhere(phase p, bool by_session) {
  long total, ignored, kept = 0;
  cr_assert_eq(cancelled_at(p, 0, by_session, &total), TERN_OK);
  cr_assert_gt(total, 0, "%s allocates nothing: the test is broken", phase_names[p]);
  for (long k = 1; k <= total; k++) {
    tern_status status = cancelled_at(p, k, by_session, &ignored);
    cr_assert(status == TERN_STATUS_CANCELLED || status == TERN_OK, "%s, allocation %ld: %s: %s", phase_names[p], k,
              tern_status_name(status), tern_last_error());
    /* What comes after the last look at the token is finished. */
    if (status == TERN_OK) kept++;
    else cr_assert_eq(kept, 0, "%s: a token set at allocation %ld of %ld was ignored, at a later one it was not",
                      phase_names[p], k - 1, total);
  }
  cr_assert_lt(kept * 2, total, "%s: the token was ignored at %ld of %ld allocations", phase_names[p], kept, total);
}

Test(cancel, stops_opening_a_model) { cancel_everywhere(OPEN_MODEL, false); }
Test(cancel, stops_creating_a_session) { cancel_everywhere(CREATE_SESSION, false); }
Test(cancel, stops_planning) { cancel_everywhere(PLAN, false); }
Test(cancel, stops_packing_and_the_first_run) { cancel_everywhere(FIRST_RUN, false); }
Test(cancel, stops_opening_a_pipeline) { cancel_everywhere(OPEN_PIPELINE, false); }
Test(cancel, of_the_session_stops_planning) { cancel_everywhere(PLAN, true); }
Test(cancel, of_the_session_stops_packing_and_the_first_run) { cancel_everywhere(FIRST_RUN, true); }

/* One node over one large constant: what looks at the token is the reference itself. */
Test(cancel, stops_the_folding_of_one_constant) {
  enum { N = 512 };
  static float weights[N * N];
  static const struct { const char *op; int32_t opset; } ops[] = {{"Transpose", 13}, {"Neg", 13}, {"Cast", 13}};
  tern_status tern__pass_fold_constants(tern__graph *, const tern__pass_options *);
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    for (int set = 0; set < 2; set++) {
      tern__alloc alloc;
      tern__arena arena;
      tern__graph *graph;
      tern_cancel cancel = {0};
      int64_t dims[2] = {N, N};
      tern__value_id in, out;
      int32_t node;
      tern__alloc_init(&alloc, NULL, 0);
      tern__arena_init(&arena, &alloc);
      cr_assert_eq(tern__graph_create(&alloc, &arena, &graph), TERN_OK);
      cr_assert_eq(tern__graph_add_constant(graph, "w", TERN_DTYPE_F32, 2, dims, weights, sizeof weights, &in), TERN_OK);
      cr_assert_eq(tern__graph_add_value(graph, "y", TERN_DTYPE_NONE, -1, NULL, &out), TERN_OK);
      cr_assert_eq(tern__graph_add_node(graph, tern__op_find(ops[i].op, "", ops[i].opset), "n", ops[i].opset, &in, 1, &out,
                                        1, &node), TERN_OK);
      if (strcmp(ops[i].op, "Cast") == 0) cr_assert_eq(tern__node_set_int(graph, node, "to", 6), TERN_OK);
      cr_assert_eq(tern__graph_add_output(graph, out), TERN_OK);
      if (set) tern_cancel_set(&cancel);
      tern__pass_options options = {.cancel = &cancel};
      cr_expect_eq(tern__pass_fold_constants(graph, &options), set ? TERN_STATUS_CANCELLED : TERN_OK, "%s: %s", ops[i].op,
                   tern_last_error());
      tern__graph_destroy(graph);
      tern__arena_deinit(&arena);
    }
}
