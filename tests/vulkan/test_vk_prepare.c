/* What a program's weights and constants become on a device: the bytes of the whole, although threads pack and write
 * them piece by piece; one buffer however many programs ask at once; everything again after a failure; and little of
 * the host's memory meanwhile. */
#include "vk_hooks.h"
#include "vk_hooked_runtime.h"

#include "base/half.h"
#include "gpu/gpu_pack.h"

enum { MAX_WEIGHTS = 40, MIB = 1 << 20 };

static uint64_t seed = 88172645463325252u;
static uint64_t next_random(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}

/* Every format, in rows that are few, odd, or more than one run; float16 scales are finite. */
typedef struct shape {
  tern_dtype dtype;
  size_t n, k, block_bytes, block;
  bool k_major;
  int n_sources;
  bool in_turn;
} shape;

static const shape shapes[] = {
    {TERN_DTYPE_F32, 1000, 130, 4, 1, false, 1, false},
    {TERN_DTYPE_F32, 70, 5000, 4, 1, true, 1, false},
    {TERN_DTYPE_F32, 5, 70000, 4, 1, false, 1, false},
    {TERN_DTYPE_F16, 1001, 257, 2, 1, false, 2, false},
    {TERN_DTYPE_F16, 601, 321, 2, 1, true, 2, true},
    {TERN_DTYPE_BF16, 3000, 96, 2, 1, false, 1, false},
    {TERN_DTYPE_Q4_0, 3001, 32 * 9, 18, 32, false, 1, false},
    {TERN_DTYPE_Q4_0, 1501, 32 * 17, 18, 32, false, 2, true},
    {TERN_DTYPE_Q4_0, 700, 32 * 33, 18, 32, false, 3, false},
    {TERN_DTYPE_Q4_0, 1, 32, 18, 32, false, 1, false},
    {TERN_DTYPE_Q4_1, 2001, 32 * 11, 20, 32, false, 1, false},
    {TERN_DTYPE_Q5_0, 999, 32 * 13, 22, 32, false, 1, false},
    {TERN_DTYPE_Q5_1, 999, 32 * 13, 24, 32, false, 1, false},
    {TERN_DTYPE_Q8_0, 1999, 32 * 7, 34, 32, false, 1, false},
    {TERN_DTYPE_Q4_K, 601, 256 * 3, 144, 256, false, 2, true},
    {TERN_DTYPE_Q5_K, 401, 256 * 3, 176, 256, false, 1, false},
    {TERN_DTYPE_Q6_K, 401, 256 * 5, 210, 256, false, 1, false},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, N_CONSTANTS = 4 };
static const size_t constant_sizes[N_CONSTANTS] = {4, 6, 3 * MIB + 12, MIB};

typedef struct fixture {
  hooked h;
  tern__backend *backend;
  tern__pack_cache *cache;
  tern__graph graph;
  tern__plan plan;
  uint8_t *data[N_SHAPES], *constants[N_CONSTANTS];
} fixture;

static void fill(uint8_t *data, const shape *s, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)next_random();
  if (s->block == 1) /* no NaN: bytes are compared, not numbers; but none may be changed either */
    return;
  for (size_t at = 0; at + 1 < bytes; at += s->block_bytes) /* d, and m where there is one; Q6_K has d at the end */
    for (size_t k = 0; k < 4; k += 2) data[at + (s->dtype == TERN_DTYPE_Q6_K ? 208 : k) + 1] &= 0x3f;
}

static void open_fixture(fixture *f) {
  memset(f, 0, sizeof *f);
  hooked_start(&f->h, NULL);
  OK(hooked_try_device(&f->h));
  f->backend = f->h.runtime->devices[1].backend;
  OK(tern__pack_cache_create(&f->h.runtime->alloc, &f->cache));
  f->plan.graph = &f->graph, f->plan.n_threads = 2;
  for (size_t i = 0; i < N_SHAPES; i++) {
    const shape *s = &shapes[i];
    size_t bytes = s->n * s->k / s->block * s->block_bytes * (size_t)s->n_sources;
    f->data[i] = malloc(bytes);
    fill(f->data[i], s, bytes);
  }
  for (size_t i = 0; i < N_CONSTANTS; i++) {
    f->constants[i] = malloc(constant_sizes[i]);
    for (size_t b = 0; b < constant_sizes[i]; b++) f->constants[i][b] = (uint8_t)next_random();
  }
}

static void close_fixture(fixture *f) {
  tern__pack_cache_destroy(f->cache);
  hooked_close(&f->h);
  for (size_t i = 0; i < N_SHAPES; i++) free(f->data[i]);
  for (size_t i = 0; i < N_CONSTANTS; i++) free(f->constants[i]);
}

/* A program that does nothing but needs all of these, and one kernel. */
static tern__program *make_program(fixture *f) {
  tern__alloc *alloc = &f->h.runtime->alloc;
  tern__program *p = calloc(1, sizeof *p);
  tern_status status = TERN_OK;
  p->backend = f->backend, p->plan = &f->plan, p->cache = f->cache;
  tern__arena_init(&p->arena, alloc);
  for (size_t i = 0; i < N_SHAPES; i++) {
    const shape *s = &shapes[i];
    tern__gpu_sources sources = {.n = s->n_sources, .in_turn = s->in_turn};
    tern__gpu_weights w;
    size_t bytes = s->n * s->k / s->block * s->block_bytes;
    for (int k = 0; k < s->n_sources; k++)
      sources.list[k] = (tern__weight_source){
          .dtype = s->dtype, .data = f->data[i] + (size_t)k * bytes, .n = s->n, .k = s->k, .k_major = s->k_major};
    cr_assert(tern__gpu_weights_fit(p, &sources, &w), "shape %zu", i);
    OK(tern__gpu_pack_weights(p, &sources, &w));
    cr_assert_eq(w.parts, 1);
  }
  for (size_t i = 0; i < N_CONSTANTS; i++)
    TERN_ARRAY_PUSH(alloc, p->constants,
                    (tern__gpu_constant_value){f->constants[i], constant_sizes[i], i == 1, NULL});
  TERN_ARRAY_PUSH(alloc, p->steps, (tern__gpu_step){.kernel = TERN__KERNEL_unary_neg});
cleanup:
  OK(status);
  return p;
}

static void drop_program(fixture *f, tern__program *p) {
  tern__alloc *alloc = &f->h.runtime->alloc;
  for (size_t i = 0; i < N_CONSTANTS; i++)
    if (p->constants[i].folded) f->backend->api->buffer_destroy(f->backend->device, p->constants[i].buffer);
  TERN_ARRAY_FREE(alloc, p->steps);
  TERN_ARRAY_FREE(alloc, p->weights);
  TERN_ARRAY_FREE(alloc, p->constants);
  tern__arena_deinit(&p->arena);
  free(p);
}

static void read_back(const fixture *f, tern__gpu_buffer *buffer, void *out, uint64_t size) {
  const tern__gpu_api *api = f->backend->api;
  tern__gpu_device *device = f->backend->device;
  tern__gpu_buffer *back;
  tern__gpu_commands *c;
  uint64_t ticket;
  OK(api->buffer_create(device, TERN__GPU_READBACK, size, &back));
  OK(api->commands_create(device, &c));
  tern__gpu_range from = {buffer, 0, size}, to = {back, 0, size};
  OK(api->copy(c, &from, &to));
  OK(api->commands_finish(c));
  OK(api->submit(device, c, &ticket));
  OK(api->wait(device, ticket, UINT64_MAX));
  OK(api->invalidate(device, &to));
  memcpy(out, api->buffer_host(back), size);
  api->commands_destroy(c);
  api->buffer_destroy(device, back);
}

/* Each plane as a whole weight has it; what lies between planes is nobody's. */
static void check_weight(const fixture *f, const tern__gpu_weight *weight, size_t i) {
  size_t scratch, size = (size_t)weight->size;
  uint8_t *want = calloc(1, size), *seen = malloc(size), *run = NULL;
  uint64_t n = tern__gpu_weight_runs(weight, &scratch), covered = 0;
  cr_assert(n >= 1 && scratch <= 2 * MIB, "shape %zu: %llu runs of %zu bytes", i, (unsigned long long)n, scratch);
  run = malloc(scratch);
  OK(weight->build(weight->user_data, want));
  read_back(f, weight->buffer, seen, size);
  for (uint64_t r = 0; r < n; r++) {
    tern__gpu_packed packed[TERN__GPU_WEIGHT_BINDINGS];
    tern__gpu_pack_run(weight, r, run, packed);
    for (int k = 0; k < TERN__GPU_WEIGHT_BINDINGS; k++) {
      const tern__gpu_packed *p = &packed[k];
      cr_assert(p->offset % 4 == 0 && p->offset + p->size <= size, "shape %zu, run %llu, plane %d", i,
                (unsigned long long)r, k);
      cr_assert_eq(memcmp(p->data, want + p->offset, p->size), 0, "shape %zu, run %llu, plane %d", i,
                   (unsigned long long)r, k);
      cr_assert_eq(memcmp(seen + p->offset, want + p->offset, p->size), 0,
                   "shape %zu, run %llu, plane %d is another on the device", i,
                   (unsigned long long)r, k);
      covered += p->size;
    }
  }
  cr_assert(covered <= size && covered + 3 * TERN__GPU_PLACE > size, "shape %zu: runs cover %llu of %zu bytes", i,
            (unsigned long long)covered, size);
  free(want), free(seen), free(run);
}

static void check_program(const fixture *f, const tern__program *p) {
  for (size_t i = 0; i < N_SHAPES; i++) {
    cr_assert_not_null(p->weights[i].buffer);
    check_weight(f, &p->weights[i], i);
  }
  for (size_t i = 0; i < N_CONSTANTS; i++) {
    uint8_t *seen = malloc(tern__gpu_place(constant_sizes[i]));
    cr_assert_not_null(p->constants[i].buffer);
    read_back(f, p->constants[i].buffer, seen, tern__gpu_place(constant_sizes[i]));
    cr_assert_eq(memcmp(seen, f->constants[i], constant_sizes[i]), 0, "constant %zu", i);
    free(seen);
  }
}

static void prepare_all(void) {
  fixture f;
  open_fixture(&f);
  tern__program *p = make_program(&f), *q;
  OK(tern__gpu_prepare(p, NULL, NULL));
  check_program(&f, p);
  q = make_program(&f);
  uint32_t calls = hook.calls;
  OK(tern__gpu_prepare(q, NULL, NULL));
  cr_assert_leq(hook.calls - calls, 10u, "a program of weights that are there makes its own constant, no more");
  for (size_t i = 0; i < N_SHAPES; i++) cr_assert_eq(q->weights[i].buffer, p->weights[i].buffer);
  for (size_t i = 0; i < N_CONSTANTS; i++)
    cr_assert_eq(q->constants[i].buffer == p->constants[i].buffer, !p->constants[i].folded);
  drop_program(&f, p);
  check_program(&f, q);
  drop_program(&f, q);
  close_fixture(&f);
}

Test(vk_prepare, shared_memory) { prepare_all(); }
Test(vk_prepare, card) {
  hook.card = true;
  prepare_all();
}
Test(vk_prepare, card_with_fences) {
  hook.card = hook.no_timeline = true;
  prepare_all();
}

/* Several programs of one model at once, each of which finds some of it made by another. */
typedef struct preparer { fixture *f; tern__program *p; tern__thread thread; tern_status status; } preparer;

static void *prepare(void *arg) {
  preparer *one = arg;
  one->status = tern__gpu_prepare(one->p, NULL, NULL);
  return NULL;
}

Test(vk_prepare, programs_at_once) {
  enum { PROGRAMS = 3, ROUNDS = 4 };
  for (int round = 0; round < ROUNDS; round++) {
    fixture f;
    preparer one[PROGRAMS];
    hook.card = round % 2;
    open_fixture(&f);
    for (int i = 0; i < PROGRAMS; i++) one[i] = (preparer){.f = &f, .p = make_program(&f)};
    for (int i = 0; i < PROGRAMS; i++) cr_assert_eq(tern__thread_start(&one[i].thread, prepare, &one[i]), TERN_OK);
    for (int i = 0; i < PROGRAMS; i++) tern__thread_join(&one[i].thread);
    for (int i = 0; i < PROGRAMS; i++) {
      OK(one[i].status);
      for (size_t k = 0; k < N_SHAPES; k++) cr_assert_eq(one[i].p->weights[k].buffer, one[0].p->weights[k].buffer);
    }
    check_program(&f, one[PROGRAMS - 1].p);
    for (int i = 0; i < PROGRAMS; i++) drop_program(&f, one[i].p);
    close_fixture(&f);
  }
}

/* A call of the driver's fails: the error says so, and the next attempt makes what is not there. */
static void fail_each(const char *name, VkResult result, tern_status expected) {
  bool failed = true;
  int n = 0;
  for (uint32_t nth = 1; failed; nth += 1 + nth / 3, n++) {
    fixture f;
    open_fixture(&f);
    tern__program *p = make_program(&f);
    hook.failed = NULL, hook.named_calls = 0;
    hook.fail_nth = nth, hook.result = result, hook.fail_name = name;
    tern_status status = tern__gpu_prepare(p, NULL, NULL);
    failed = hook.failed != NULL;
    hook.fail_name = NULL, hook.failed = NULL;
    cr_assert_eq(status, failed ? expected : TERN_OK, "%s %u: %s", name, nth, tern_last_error());
    if (failed) cr_assert_not_null(strstr(tern_last_error(), name), "%s", tern_last_error());
    OK(tern__gpu_prepare(p, NULL, NULL));
    check_program(&f, p);
    drop_program(&f, p);
    close_fixture(&f);
  }
  cr_assert_gt(n, 1, "%s is not called", name);
}

Test(vk_prepare, a_call_fails) {
  fail_each("CreateBuffer", VK_ERROR_OUT_OF_HOST_MEMORY, TERN_STATUS_OUT_OF_MEMORY);
  fail_each("CreateComputePipelines", VK_ERROR_OUT_OF_HOST_MEMORY, TERN_STATUS_OUT_OF_MEMORY);
}
Test(vk_prepare, a_call_fails_on_a_card) {
  hook.card = true;
  fail_each("AllocateMemory", VK_ERROR_OUT_OF_HOST_MEMORY, TERN_STATUS_OUT_OF_MEMORY);
  fail_each("QueueSubmit", VK_ERROR_OUT_OF_HOST_MEMORY, TERN_STATUS_OUT_OF_MEMORY);
}

/* The host's memory ends anywhere: what was made stays, the rest is made by the next attempt. */
Test(vk_prepare, the_budget_ends) {
  bool worked = false;
  int failures = 0;
  hook.card = true;
  for (uint64_t room = 64; !worked; room += room / 3 + 16) {
    fixture f;
    open_fixture(&f);
    tern__alloc *alloc = &f.h.runtime->alloc;
    tern__program *p = make_program(&f);
    alloc->budget_bytes = atomic_load(&alloc->live_bytes) + room;
    tern_status status = tern__gpu_prepare(p, NULL, NULL);
    alloc->budget_bytes = 0;
    worked = status == TERN_OK;
    failures += !worked;
    cr_assert(worked || status == TERN_STATUS_OUT_OF_MEMORY, "%llu bytes: %s: %s", (unsigned long long)room,
              tern_status_name(status), tern_last_error());
    OK(tern__gpu_prepare(p, NULL, NULL));
    check_program(&f, p);
    drop_program(&f, p);
    close_fixture(&f);
  }
  cr_assert_gt(failures, 10);
}

/* Cancelled from the callback after some of it. */
typedef struct listener { int calls, stop_at; uint64_t done, total; } listener;

static int32_t listen(void *user_data, const char *phase, uint64_t done, uint64_t total) {
  listener *l = user_data;
  cr_assert_str_eq(phase, "upload");
  cr_assert(done >= l->done && done <= total && (!l->total || l->total == total));
  l->done = done, l->total = total;
  return ++l->calls == l->stop_at;
}

Test(vk_prepare, cancelled_and_repeated) {
  fixture f;
  open_fixture(&f);
  listener l = {.stop_at = 1};
  tern_progress progress = {listen, &l};
  int stopped = 0;
  for (;; l = (listener){.stop_at = l.stop_at + 7}, stopped++) {
    tern__program *p = make_program(&f);
    tern_status status = tern__gpu_prepare(p, &progress, NULL);
    cr_assert(l.calls <= 101, "%d calls", l.calls);
    if (status == TERN_OK) check_program(&f, p);
    else cr_assert(status == TERN_STATUS_CANCELLED && strstr(tern_last_error(), "callback"), "%s", tern_last_error());
    drop_program(&f, p);
    if (status == TERN_OK) break;
  }
  cr_assert_gt(stopped, 0);
  tern_cancel *cancel;
  OK(tern_cancel_create(&cancel));
  tern_cancel_set(cancel);
  tern__pack_cache_destroy(f.cache);
  OK(tern__pack_cache_create(&f.h.runtime->alloc, &f.cache));
  tern__program *p = make_program(&f);
  cr_assert_eq(tern__gpu_prepare(p, NULL, cancel), TERN_STATUS_CANCELLED);
  tern_cancel_reset(cancel);
  OK(tern__gpu_prepare(p, NULL, cancel));
  check_program(&f, p);
  drop_program(&f, p);
  tern_cancel_destroy(cancel);
  close_fixture(&f);
}

/* A weight of 64 MiB costs the host no more than a few pieces. */
Test(vk_prepare, large_weights_take_little_memory) {
  enum { N = 16384, K = 8192 };
  fixture f;
  hook.card = true;
  open_fixture(&f);
  tern__alloc *alloc = &f.h.runtime->alloc;
  uint8_t *data = malloc((size_t)N * K / 32 * 18);
  for (size_t i = 0; i < (size_t)N * K / 32 * 18; i++) data[i] = (uint8_t)(i * 2654435761u >> 13);
  tern__program p = {.backend = f.backend, .plan = &f.plan, .cache = f.cache};
  tern__arena_init(&p.arena, alloc);
  tern__gpu_sources sources = {.n = 1, .list = {{.dtype = TERN_DTYPE_Q4_0, .data = data, .n = N, .k = K}}};
  tern__gpu_weights w;
  cr_assert(tern__gpu_weights_fit(&p, &sources, &w));
  OK(tern__gpu_pack_weights(&p, &sources, &w));
  uint64_t before = atomic_load(&alloc->live_bytes);
  atomic_store(&alloc->peak_bytes, before);
  OK(tern__gpu_prepare(&p, NULL, NULL));
  cr_expect_lt(atomic_load(&alloc->peak_bytes) - before, 2u * MIB, "%llu bytes at the most",
               (unsigned long long)(atomic_load(&alloc->peak_bytes) - before));
  check_weight(&f, &p.weights[0], 0);
  TERN_ARRAY_FREE(alloc, p.weights);
  tern__arena_deinit(&p.arena);
  close_fixture(&f);
  free(data);
}
