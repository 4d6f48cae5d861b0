/* Recorded work: barriers, copies, submits again and again, tickets and timeouts, threads; each with timeline
 * semaphores and with fences. */
#include "vk_hooks.h"

enum { N = 256 };

/* Two buffers on the device, the way in and the way out, and commands. */
typedef struct work {
  rig r;
  tern__gpu_buffer *a, *b, *upload, *back;
  tern__gpu_commands *c;
} work;

static void work_open(work *w, bool fences) {
  hook.no_timeline = hook.no_push_descriptors = fences;
  rig_open(&w->r, NULL, &hook_table);
  cr_assert_eq(w->r.device->queue.timeline == VK_NULL_HANDLE, fences);
  OK(w->r.api->buffer_create(w->r.device, TERN__GPU_DEVICE, N * 4, &w->a));
  OK(w->r.api->buffer_create(w->r.device, TERN__GPU_DEVICE, N * 4, &w->b));
  OK(w->r.api->buffer_create(w->r.device, TERN__GPU_UPLOAD, N * 4, &w->upload));
  OK(w->r.api->buffer_create(w->r.device, TERN__GPU_READBACK, N * 4, &w->back));
}

static void work_close(work *w) {
  w->r.api->commands_destroy(w->c);
  w->r.api->buffer_destroy(w->r.device, w->a);
  w->r.api->buffer_destroy(w->r.device, w->b);
  w->r.api->buffer_destroy(w->r.device, w->upload);
  w->r.api->buffer_destroy(w->r.device, w->back);
  rig_close(&w->r);
}

static void add_copy(work *w, tern__gpu_commands *c, tern__gpu_buffer *from, tern__gpu_buffer *to) {
  tern__gpu_range f = {from, 0, N * 4}, t = {to, 0, N * 4};
  OK(w->r.api->copy(c, &f, &t));
}

/* upload -> a -> kernel -> b -> kernel -> a -> ... -> back */
static void record_chain(work *w, tern__gpu_commands *c, tern__gpu_kernel_id kernel, int steps) {
  add_copy(w, c, w->upload, w->a);
  tern__gpu_buffer *from = w->a, *to = w->b;
  for (int i = 0; i < steps; i++) {
    OK(w->r.api->barrier(c));
    OK(rig_add_unary(&w->r, c, kernel, from, to, N));
    tern__gpu_buffer *t = from;
    from = to, to = t;
  }
  OK(w->r.api->barrier(c));
  add_copy(w, c, from, w->back);
  OK(w->r.api->commands_finish(c));
}

static void set_input(work *w, float base) {
  float *in = w->r.api->buffer_host(w->upload);
  for (int i = 0; i < N; i++) in[i] = base + (float)i;
  tern__gpu_range all = {w->upload, 0, N * 4};
  OK(w->r.api->flush(w->r.device, &all));
}

static const float *result(work *w, uint64_t ticket) {
  tern__gpu_range all = {w->back, 0, N * 4};
  OK(w->r.api->wait(w->r.device, ticket, UINT64_MAX));
  OK(w->r.api->invalidate(w->r.device, &all));
  return w->r.api->buffer_host(w->back);
}

static void resubmit(bool fences) {
  work w = {0};
  uint64_t ticket, before = 0;
  work_open(&w, fences);
  OK(w.r.api->commands_create(w.r.device, &w.c));
  record_chain(&w, w.c, TERN__KERNEL_unary_neg, 3);
  for (int run = 0; run < 1000; run++) {
    set_input(&w, (float)run);
    OK(w.r.api->submit(w.r.device, w.c, &ticket));
    cr_assert_gt(ticket, before);
    before = ticket;
    const float *out = result(&w, ticket);
    for (int i = 0; i < N; i++)
      cr_assert_eq(out[i], -(float)(run + i), "run %d: out[%d] = %g", run, i, out[i]);
  }
  if (fences) cr_assert_leq(tern__array_count(w.r.device->queue.flights), 2u, "fences are used again");
  work_close(&w);
}
Test(vk_commands, resubmit_1000_times) { resubmit(false); }
Test(vk_commands, resubmit_1000_times_with_fences) { resubmit(true); }

/* Each step takes a square root: a step that ran early or not at all shows in the exponent. */
Test(vk_commands, barriers_order_a_long_chain) {
  work w = {0};
  uint64_t ticket;
  work_open(&w, false);
  OK(w.r.api->commands_create(w.r.device, &w.c));
  record_chain(&w, w.c, TERN__KERNEL_unary_sqrt, 5);
  float *in = w.r.api->buffer_host(w.upload);
  for (int i = 0; i < N; i++) in[i] = exp2f((float)(32 * (i % 4)));
  OK(w.r.api->submit(w.r.device, w.c, &ticket));
  const float *out = result(&w, ticket);
  for (int i = 0; i < N; i++)
    cr_assert_float_eq(out[i], exp2f((float)(i % 4)), 1e-5, "out[%d] = %g", i, out[i]);
  work_close(&w);
}

/* What one submit wrote is seen by the next: no wait between them. */
static void chain_of_submits(bool fences) {
  work w = {0};
  tern__gpu_commands *first, *next, *last;
  uint64_t ticket;
  work_open(&w, fences);
  set_input(&w, 1);
  OK(w.r.api->commands_create(w.r.device, &first));
  add_copy(&w, first, w.upload, w.a);
  OK(w.r.api->commands_finish(first));
  OK(w.r.api->commands_create(w.r.device, &next));
  OK(rig_add_unary(&w.r, next, TERN__KERNEL_unary_neg, w.a, w.b, N));
  OK(w.r.api->commands_finish(next));
  OK(w.r.api->commands_create(w.r.device, &last));
  add_copy(&w, last, w.b, w.back);
  OK(w.r.api->commands_finish(last));
  OK(w.r.api->submit(w.r.device, first, &ticket));
  OK(w.r.api->submit(w.r.device, next, &ticket));
  OK(w.r.api->submit(w.r.device, last, &ticket));
  const float *out = result(&w, ticket);
  for (int i = 0; i < N; i++) cr_assert_eq(out[i], -(float)(1 + i));
  w.r.api->commands_destroy(first);
  w.r.api->commands_destroy(next);
  w.r.api->commands_destroy(last);
  work_close(&w);
}
Test(vk_commands, submits_see_each_other) { chain_of_submits(false); }
Test(vk_commands, submits_see_each_other_with_fences) { chain_of_submits(true); }

/* Work that takes a while: many large dispatches. */
static void timeouts(bool fences) {
  enum { LARGE = 1 << 21 };
  work w = {0};
  tern__gpu_buffer *x, *y;
  uint64_t first, second;
  work_open(&w, fences);
  OK(w.r.api->buffer_create(w.r.device, TERN__GPU_DEVICE, LARGE * 4u, &x));
  OK(w.r.api->buffer_create(w.r.device, TERN__GPU_DEVICE, LARGE * 4u, &y));
  OK(w.r.api->commands_create(w.r.device, &w.c));
  for (int i = 0; i < 4; i++) {
    OK(rig_add_unary(&w.r, w.c, TERN__KERNEL_unary_erf, x, y, LARGE));
    OK(w.r.api->barrier(w.c));
  }
  OK(w.r.api->commands_finish(w.c));
  OK(w.r.api->submit(w.r.device, w.c, &first));
  cr_assert_eq(w.r.api->wait(w.r.device, first, 1000), TERN_STATUS_TIMEOUT);
  cr_assert(strstr(tern_last_error(), "not done within"), "%s", tern_last_error());
  cr_assert_eq(w.r.api->wait(w.r.device, first, 0), TERN_STATUS_TIMEOUT);
  cr_assert_eq(w.r.api->wait(w.r.device, first + 1, 0), TERN_STATUS_INVALID_ARGUMENT);
  OK(w.r.api->wait(w.r.device, first, UINT64_MAX));
  OK(w.r.api->wait(w.r.device, first, 0));
  OK(w.r.api->submit(w.r.device, w.c, &second)); /* destroyed while it runs */
  w.r.api->commands_destroy(w.c), w.c = NULL;
  OK(w.r.api->wait(w.r.device, second, 0));
  w.r.api->buffer_destroy(w.r.device, x);
  w.r.api->buffer_destroy(w.r.device, y);
  work_close(&w);
}
Test(vk_commands, waits_end_in_time) { timeouts(false); }
Test(vk_commands, waits_end_in_time_with_fences) { timeouts(true); }

Test(vk_commands, wrong_order_is_refused) {
  work w = {0};
  uint64_t ticket;
  tern__gpu_pipeline *pipeline;
  work_open(&w, false);
  OK(w.r.api->commands_create(w.r.device, &w.c));
  cr_assert_eq(w.r.api->submit(w.r.device, w.c, &ticket), TERN_STATUS_INVALID_STATE);
  OK(w.r.api->commands_finish(w.c));
  cr_assert_eq(w.r.api->barrier(w.c), TERN_STATUS_INVALID_STATE);
  cr_assert_eq(w.r.api->commands_finish(w.c), TERN_STATUS_INVALID_STATE);
  cr_assert_eq(rig_add_unary(&w.r, w.c, TERN__KERNEL_unary_neg, w.a, w.b, N), TERN_STATUS_INVALID_STATE);
  OK(w.r.api->submit(w.r.device, w.c, &ticket));
  w.r.api->commands_destroy(w.c);
  /* Ranges outside of buffers, unaligned ones, and no workgroups are our own mistakes and never reach the
   * driver. */
  OK(w.r.api->pipeline(w.r.device, TERN__KERNEL_unary_neg, &pipeline));
  unary_params params = {N, 0, 0, 0};
  const struct {
    tern__gpu_range x;
    uint32_t groups;
  } bad[] = {{{w.a, 0, N * 4 + 4}, 4}, {{w.a, 4, N * 4 - 4}, 4}, {{w.a, UINT64_MAX - 255, 256}, 4},
             {{w.a, 0, 0}, 4},         {{w.a, 0, 6}, 4},         {{NULL, 0, 4}, 4},
             {{w.a, 0, N * 4}, 0}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    tern__gpu_range ranges[2] = {bad[i].x, {w.b, 0, N * 4}};
    tern__gpu_dispatch d = {pipeline, ranges, &params, {bad[i].groups, 1, 1}};
    OK(w.r.api->commands_create(w.r.device, &w.c));
    cr_assert_eq(w.r.api->dispatch(w.c, &d), TERN_STATUS_INTERNAL, "case %zu", i);
    cr_assert_eq(w.r.api->commands_finish(w.c), TERN_STATUS_INVALID_STATE, "broken commands end nowhere");
    w.r.api->commands_destroy(w.c);
  }
  w.c = NULL;
  work_close(&w);
}

Test(vk_commands, times_each_dispatch) {
  enum { DISPATCHES = 300 }; /* more than one query pool */
  work w = {0};
  uint64_t ticket, ns[DISPATCHES + 1], sum = 0;
  work_open(&w, false);
  OK(w.r.api->commands_create(w.r.device, &w.c));
  w.r.api->profile(w.c, true);
  for (int i = 0; i < DISPATCHES; i++) {
    OK(rig_add_unary(&w.r, w.c, TERN__KERNEL_unary_neg, w.a, w.b, N));
    OK(w.r.api->barrier(w.c));
  }
  OK(w.r.api->commands_finish(w.c));
  cr_assert_eq(w.r.api->timestamps(w.c, ns, DISPATCHES), 0u, "nothing ran yet");
  uint64_t start = tern__now_ns();
  for (int run = 0; run < 2; run++) {
    OK(w.r.api->submit(w.r.device, w.c, &ticket));
    OK(w.r.api->wait(w.r.device, ticket, UINT64_MAX));
  }
  uint64_t wall = tern__now_ns() - start;
  memset(ns, 0xff, sizeof ns);
  cr_assert_eq(w.r.api->timestamps(w.c, ns, DISPATCHES), (size_t)DISPATCHES);
  for (int i = 0; i < DISPATCHES; i++) sum += ns[i];
  cr_assert_leq(sum, wall, "%llu ns in kernels, %llu in all", (unsigned long long)sum,
                (unsigned long long)wall);
  cr_assert_eq(ns[DISPATCHES], UINT64_MAX, "not more than there is room for");
  ns[10] = 7;
  cr_assert_eq(w.r.api->timestamps(w.c, ns, 10), (size_t)DISPATCHES);
  cr_assert_eq(ns[10], 7u);
  work_close(&w);
}

typedef struct lane {
  work w;
  int index;
  tern__thread thread;
} lane;

static void *run_lane(void *arg) {
  lane *l = arg;
  work *w = &l->w;
  uint64_t ticket;
  OK(w->r.api->commands_create(w->r.device, &w->c));
  record_chain(w, w->c, TERN__KERNEL_unary_neg, 1);
  for (int run = 0; run < 50; run++) {
    set_input(w, (float)(1000 * l->index + run));
    OK(w->r.api->submit(w->r.device, w->c, &ticket));
    const float *out = result(w, ticket);
    for (int i = 0; i < N; i++) cr_assert_eq(out[i], -(float)(1000 * l->index + run + i));
    float one = 5;
    OK(w->r.api->write(w->r.device, w->b, 0, &one, sizeof one)); /* uploads of others in between */
  }
  return NULL;
}

static void lanes(bool fences) {
  enum { LANES = 4 };
  lane l[LANES] = {0};
  work_open(&l[0].w, fences);
  for (int i = 1; i < LANES; i++) {
    l[i].w.r = l[0].w.r, l[i].index = i;
    OK(l[0].w.r.api->buffer_create(l[0].w.r.device, TERN__GPU_DEVICE, N * 4, &l[i].w.a));
    OK(l[0].w.r.api->buffer_create(l[0].w.r.device, TERN__GPU_DEVICE, N * 4, &l[i].w.b));
    OK(l[0].w.r.api->buffer_create(l[0].w.r.device, TERN__GPU_UPLOAD, N * 4, &l[i].w.upload));
    OK(l[0].w.r.api->buffer_create(l[0].w.r.device, TERN__GPU_READBACK, N * 4, &l[i].w.back));
  }
  for (int i = 0; i < LANES; i++) cr_assert_eq(tern__thread_start(&l[i].thread, run_lane, &l[i]), TERN_OK);
  for (int i = 0; i < LANES; i++) tern__thread_join(&l[i].thread);
  for (int i = LANES - 1; i > 0; i--) {
    l[i].w.r.api->commands_destroy(l[i].w.c);
    l[i].w.r.api->buffer_destroy(l[0].w.r.device, l[i].w.a);
    l[i].w.r.api->buffer_destroy(l[0].w.r.device, l[i].w.b);
    l[i].w.r.api->buffer_destroy(l[0].w.r.device, l[i].w.upload);
    l[i].w.r.api->buffer_destroy(l[0].w.r.device, l[i].w.back);
  }
  work_close(&l[0].w);
}
Test(vk_commands, four_threads) { lanes(false); }
Test(vk_commands, four_threads_with_fences) { lanes(true); }

typedef struct compiler {
  rig *r;
  tern__thread thread;
  tern__gpu_pipeline *made[8];
} compiler;

static void *compile_some(void *arg) {
  compiler *c = arg;
  for (int i = 0; i < 8; i++)
    OK(c->r->api->pipeline(c->r->device, (tern__gpu_kernel_id)(TERN__KERNEL_unary_identity + i),
                           &c->made[i]));
  return NULL;
}

Test(vk_commands, pipelines_compile_once_on_many_threads) {
  rig r;
  compiler c[4];
  rig_open(&r, NULL, NULL);
  for (int i = 0; i < 4; i++) {
    c[i] = (compiler){.r = &r};
    cr_assert_eq(tern__thread_start(&c[i].thread, compile_some, &c[i]), TERN_OK);
  }
  for (int i = 0; i < 4; i++) tern__thread_join(&c[i].thread);
  for (int i = 1; i < 4; i++)
    for (int k = 0; k < 8; k++) cr_assert_eq(c[i].made[k], c[0].made[k]);
  rig_close(&r);
}
