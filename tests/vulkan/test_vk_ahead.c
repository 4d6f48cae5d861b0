/* Steps that are begun before the host knows their token (gpu_ahead.c): what comes of runs is the same bits as where
 * nothing is begun early, whatever the caller does in place of what was expected. Devices play hardware. */
#include "vk_hooks.h"
#include "vk_hooked_runtime.h"
#include "validated.h"

#include "gpu/gpu_recording.h"
#include "models/model_fixture.h"
#include "passes/pass.h"
#include "pipeline/model.h"
#include "runtime/session.h"

enum { CAPACITY = 40, BRIEF = 8, BEYOND = 4, NEW_TOKENS = 12, MOST_SESSIONS = 4 };

static const char *const models[] = {"tiny_llama.gguf", "tiny_gemma3.gguf"};

/* ---- what is seen of the backend, and changed ---- */

static struct {
  tern__gpu_api gpu;
  const tern__gpu_api *real;
  long submits, told;      /* so far, and before the last wait */
  uint64_t waited;         /* for this ticket */
  long all_early;          /* runs that submitted nothing: all had been */
  char shape[200];         /* how many submits there were before each wait, a digit each */
} seen;

static tern_status count_submit(tern__gpu_device *d, tern__gpu_commands *c, uint64_t *ticket) {
  seen.submits++;
  return seen.real->submit(d, c, ticket);
}

/* Asking again for the same ticket is one wait. */
static tern_status count_wait(tern__gpu_device *d, uint64_t ticket, uint64_t timeout) {
  size_t n = strlen(seen.shape);
  if (ticket > seen.waited) {
    if (n + 1 < sizeof seen.shape) seen.shape[n] = (char)('0' + seen.submits - seen.told);
    seen.told = seen.submits, seen.waited = ticket;
  }
  return seen.real->wait(d, ticket, timeout);
}

/* Plays hardware, as far as what is chosen goes. */
static void look_at(tern__backend *backend) {
  memset(&seen, 0, sizeof seen);
  seen.real = backend->api, seen.gpu = *seen.real;
  seen.gpu.submit = count_submit, seen.gpu.wait = count_wait;
  backend->api = &seen.gpu;
  backend->info->software = false;
  atomic_store(&backend->no_chains, synchronization_is_validated());
}

static void forget(void) { memset(seen.shape, 0, sizeof seen.shape); }

static void open_hooked(hooked *h) {
  hooked_open(h);
  look_at(h->runtime->devices[1].backend);
}

/* ---- sessions ---- */

typedef struct source { tern_model *model; tern__arena arena; tern__graph *graph; } source;

static void open_source(tern_runtime *runtime, const char *path, source *s) {
  tern_model_desc desc = TERN_MODEL_DESC_INIT;
  desc.path = path;
  OK(tern_model_open(runtime, &desc, &s->model));
  tern__arena_init(&s->arena, &runtime->alloc);
  OK(tern__graph_copy(s->model->graph, &runtime->alloc, &s->arena, &s->graph));
  OK(tern__passes_run(s->graph, &(tern__pass_options){.kv_cache = true, .last_row = true, .float_outputs = true}));
}

static void close_source(source *s) {
  tern__graph_destroy(s->graph);
  tern__arena_deinit(&s->arena);
  tern_model_close(s->model);
}

static tern__session *open_session(tern_runtime *runtime, source *s, int32_t device, int32_t capacity,
                                   tern_numerics numerics) {
  tern__session *session;
  OK(tern__session_create(runtime, s->graph, s->model->packs,
                          &(tern__session_options){.device = device, .kv_batch = 1, .kv_capacity = capacity,
                                                   .numerics = numerics}, &session));
  return session;
}

typedef struct best { float value; int32_t place; } best;

/* Runs `n` ids behind `past` positions; how many of the largest are asked for, 0: all. */
static tern_status run(tern__session *session, const int64_t *ids, int32_t n, int32_t past, bool follows, int32_t k,
                       best *out) {
  tern__kv_cache *kv = tern__session_kv(session);
  tern__view input = {TERN_DTYPE_I64, {2, {1, n}}, (void *)ids, (size_t)n * sizeof *ids};
  tern__top top;
  kv->past[0] = past, kv->fresh[0] = n;
  tern__session_want_top(session, 0, k);
  if (follows) tern__session_expect_follower(session);
  long before = seen.submits;
  tern_status status = tern__session_run(session, &input, NULL, NULL);
  if (status != TERN_OK) return status;
  seen.all_early += seen.submits == before;
  if (k) {
    cr_assert(tern__session_top(session, &top));
    *out = (best){top.values[0], top.places[0]};
  } else {
    const tern__view *logits = tern__session_output(session, 0);
    const float *x = logits->data;
    out->place = 0;
    for (int32_t i = 1; i < logits->shape.dims[2]; i++) if (x[i] > x[out->place]) out->place = i;
    out->value = x[out->place];
  }
  return TERN_OK;
}

/* All logits of the last run. */
static void fetch(tern__session *session, float *to, size_t bytes) {
  OK(tern__session_fetch(session, NULL));
  const tern__view *logits = tern__session_output(session, 0);
  cr_assert_leq(logits->size_bytes, bytes);
  memcpy(to, logits->data, logits->size_bytes);
}

static uint32_t random_of(uint32_t *seed, uint32_t n) {
  *seed = *seed * 1664525u + 1013904223u;
  return (*seed >> 8) % n;
}

/* A caller who mostly decodes greedily, and now and then does something else, the same for each of the sessions; the
 * first has no hints. */
static void wander(tern__session **sessions, int n_sessions, uint32_t seed, int steps) {
  static float want_all[1024], got_all[1024];
  int64_t ids[5];
  int32_t past = 0, n = 3, full = 0, other = 0;
  best want = {0, 0}, got;
  for (int i = 0; i < n; i++) ids[i] = 5 + 7 * i;
  for (int step = 0; step < steps; step++) {
    uint32_t what = random_of(&seed, 16), hints = random_of(&seed, 8);
    bool all = what == 0, after = what == 1;
    tern_status status = TERN_OK;
    for (int s = 0; s < n_sessions; s++) {
      bool follows = s > 0 && (hints || s == n_sessions - 1); /* the last one always hints */
      tern_status mine = run(sessions[s], ids, n, past, follows, all ? 0 : 1, s ? &got : &want);
      if (!s) status = mine;
      cr_assert_eq(mine, status, "step %d: %s", step, tern_last_error());
      if (status != TERN_OK) continue;
      if (s) cr_assert(!memcmp(&got, &want, sizeof got), "step %d, session %d, %d ids at %d: %d (%a), not %d (%a)",
                       step, s, n, past, got.place, (double)got.value, want.place, (double)want.value);
      if (!after) continue;
      fetch(sessions[s], s ? got_all : want_all, sizeof got_all);
      if (s) cr_assert(!memcmp(want_all, got_all, sizeof got_all), "step %d: all logits", step);
    }
    if (status != TERN_OK) {
      cr_assert_eq(status, TERN_STATUS_CONTEXT_FULL);
      past = 0, full++;
    } else {
      past += n;
    }
    n = 1, ids[0] = want.place;
    if (what == 2 || what == 3) { /* another token, or several */
      other++;
      n = what == 2 ? 1 : 1 + (int32_t)random_of(&seed, 5);
      for (int i = 0; i < n; i++) ids[i] = random_of(&seed, 60);
    }
    if (what == 4 && past > 4) past -= 1 + (int32_t)random_of(&seed, 3); /* the token, at another place */
    if (what == 5 && past > 8) { /* something else is written before, then the token where it was expected */
      int64_t written[3] = {1, 2, (int64_t)random_of(&seed, 60)};
      for (int s = 0; s < n_sessions; s++) OK(run(sessions[s], written, 3, past - 5, false, 1, &got));
    }
  }
  cr_assert(full > 0 && other > 0);
}

static void check_wandering(const char *model, tern_numerics numerics) {
  hooked h;
  source s;
  char path[512];
  tern__session *sessions[MOST_SESSIONS];
  snprintf(path, sizeof path, TERN_SOURCE_DIR "/tests/models/tiny/%s", model);
  open_hooked(&h);
  open_source(h.runtime, path, &s);
  for (int i = 0; i < MOST_SESSIONS; i++) sessions[i] = open_session(h.runtime, &s, 1, CAPACITY, numerics);
  for (uint32_t seed = 1; seed <= 2; seed++) wander(sessions, MOST_SESSIONS, seed, 120);
  cr_assert_gt(seen.all_early, 10, "%ld runs were begun early and followed by none", seen.all_early);
  for (int i = 0; i < MOST_SESSIONS; i++) { /* while a step is on its way */
    int64_t id = 9;
    best got;
    OK(run(sessions[i], &id, 1, 0, true, 1, &got));
    tern__session_destroy(sessions[i]);
  }
  close_source(&s);
  hooked_close(&h);
}

Test(vk_ahead, whatever_the_caller_does) { check_wandering(models[0], TERN_NUMERICS_CONSISTENT); }
Test(vk_ahead, whatever_the_caller_does_fast) { check_wandering(models[1], TERN_NUMERICS_FAST); }
Test(vk_ahead, whatever_the_caller_does_with_fences) {
  hook.no_timeline = hook.card = true;
  check_wandering(models[0], TERN_NUMERICS_FAST);
}

/* How many submits runs take: the first one its own and the next one's, then one each, and none when the last is
 * there. */
Test(vk_ahead, submits) {
  hooked h;
  source s;
  best got;
  int64_t id = 3;
  open_hooked(&h);
  open_source(h.runtime, TERN_SOURCE_DIR "/tests/models/tiny/tiny_llama.gguf", &s);
  tern__session *session = open_session(h.runtime, &s, 1, 10, TERN_NUMERICS_CONSISTENT);
  for (int i = 0; i < 10; i++, id = got.place) OK(run(session, &id, 1, i, true, 1, &got));
  cr_assert_str_eq(seen.shape, "2111111110", "a context of 10 has no place for more: %s", seen.shape);
  forget();
  id = 3;
  for (int i = 0; i < 4; i++, id = (got.place + 1) % 60) OK(run(session, &id, 1, i, true, 1, &got));
  cr_assert_str_eq(seen.shape, "2020202", "each token another one: %s", seen.shape);
  forget();
  for (int i = 4; i < 8; i++, id = got.place) OK(run(session, &id, 1, i, i < 6, i < 7 ? 1 : 3, &got));
  cr_assert_str_eq(seen.shape, "02101", "without a hint none, and three largest are another program's: %s", seen.shape);
  forget();
  for (int i = 0; i < 4; i++, id = got.place) OK(run(session, &id, 1, i, false, 1, &got));
  cr_assert_str_eq(seen.shape, "1111", "%s", seen.shape);
  tern__session_destroy(session);
  close_source(&s);
  hooked_close(&h);
}

/* ---- generation ---- */

typedef struct tokens { int32_t ids[NEW_TOKENS + 1]; size_t n; char text[256]; } tokens;

typedef struct order { /* what on_text does at a token: */
  int at, seen;
  tern_cancel *cancel;     /* sets this, or says that it is enough */
} order;

static int32_t at_text(void *user_data, const char *text, size_t size, int32_t id) {
  order *o = user_data;
  (void)text, (void)size, (void)id;
  if (++o->seen != o->at) return 0;
  if (!o->cancel) return 1;
  tern_cancel_set(o->cancel);
  return 0;
}

static tern_status generate(tern_pipeline *pipeline, const char *text, const char *stop, order *o, tokens *out) {
  tern_run_desc desc = TERN_RUN_DESC_INIT;
  tern_result *result = NULL;
  desc.texts = &text, desc.n_texts = 1, desc.max_new_tokens = NEW_TOKENS, desc.ignore_eos = 1;
  if (stop) desc.stop = &stop, desc.n_stop = 1;
  if (o) desc.on_text = (tern_on_text){at_text, o}, desc.cancel = o->cancel;
  memset(out, 0, sizeof *out);
  tern_status status = tern_pipeline_run(pipeline, &desc, &result);
  if (status == TERN_OK) {
    const int32_t *ids = tern_result_tokens(result, 0, &out->n);
    memcpy(out->ids, ids, out->n * sizeof *ids);
    snprintf(out->text, sizeof out->text, "%s", tern_result_text(result, 0, NULL));
  }
  tern_result_destroy(result);
  return status;
}

/* Nothing is begun early where a copy brings results. */
static tern_pipeline *open_pipeline(hooked *h, const char *model, uint32_t flags, bool early) {
  char path[512];
  tern_pipeline *pipeline;
  tern_pipeline_desc desc = TERN_PIPELINE_DESC_INIT;
  snprintf(path, sizeof path, TERN_SOURCE_DIR "/tests/models/tiny/%s", model);
  desc.task = "text-generation", desc.path = path;
  desc.session.device = "vulkan", desc.session.flags = flags, desc.session.numerics = TERN_NUMERICS_CONSISTENT;
  h->runtime->devices[1].backend->info->binds_readback = early;
  OK(tern_pipeline_open(h->runtime, &desc, &pipeline));
  return pipeline;
}

static void check_same(const tokens *want, const tokens *got, const char *what) {
  cr_assert(!memcmp(want, got, sizeof *want), "%s: \"%s\", not \"%s\"", what, got->text, want->text);
}

/* To the end, to a stop text, until the caller has enough, until it cancels: and again afterwards. */
Test(vk_ahead, generation) {
  static const char *const texts[] = {"abc%&'", "the quick brown fox"};
  for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
    hooked h;
    tern_cancel *cancel;
    tokens want[2], want_stop, got;
    char stop[3] = "";
    open_hooked(&h);
    OK(tern_cancel_create(&cancel));
    tern_pipeline *plain = open_pipeline(&h, models[m], 0, false);
    for (int t = 0; t < 2; t++) OK(generate(plain, texts[t], NULL, NULL, &want[t]));
    cr_assert_gt(strlen(want[0].text), 6u);
    memcpy(stop, want[0].text + strlen(want[0].text) / 2, 2);
    OK(generate(plain, texts[0], stop, NULL, &want_stop));
    cr_assert_lt(want_stop.n, want[0].n);
    tern_pipeline_close(plain);
    for (int at = 1; at < NEW_TOKENS; at += 3) {
      tern_pipeline *p = open_pipeline(&h, models[m], 0, true);
      forget();
      OK(generate(p, texts[0], NULL, NULL, &got));
      check_same(&want[0], &got, "to the end");
      cr_assert_str_eq(seen.shape, "121111111110", "the prompt, then one step for each token: %s", seen.shape);
      OK(generate(p, texts[0], stop, NULL, &got));
      check_same(&want_stop, &got, "to a stop text");
      OK(generate(p, texts[1], NULL, NULL, &got));
      check_same(&want[1], &got, "another text");
      OK(generate(p, texts[0], NULL, &(order){.at = at}, &got));
      cr_assert_lt(got.n, want[0].n);
      OK(generate(p, texts[0], NULL, NULL, &got));
      check_same(&want[0], &got, "after the caller had enough");
      cr_assert_eq(generate(p, texts[0], NULL, &(order){.at = at, .cancel = cancel}, &got), TERN_STATUS_CANCELLED);
      tern_cancel_reset(cancel);
      OK(generate(p, texts[1], NULL, NULL, &got));
      check_same(&want[1], &got, "after it was cancelled");
      OK(generate(p, texts[0], NULL, &(order){.at = at}, &got));
      tern_pipeline_close(p); /* a step is on its way */
    }
    tern_cancel_destroy(cancel);
    hooked_close(&h);
  }
}

/* A submit fails, of a step that was begun early or of another one: for good, or this once. */
Test(vk_ahead, failing) {
  static const uint32_t submits[] = {1, 2, 3, 4, NEW_TOKENS - 1, NEW_TOKENS};
  for (size_t i = 0; i < sizeof submits / sizeof *submits; i++)
    for (int way = 0; way < 3; way++) {
      uint32_t nth = submits[i];
      hooked h;
      tokens want, got;
      bool lost = way < 2, leave = way == 1;
      open_hooked(&h);
      tern_pipeline *p = open_pipeline(&h, models[0], leave ? TERN_SESSION_FALLBACK_CPU : 0, true);
      OK(generate(p, "abc%&'", NULL, NULL, &want));
      OK(generate(p, "zzz", NULL, NULL, &got));
      hook.named_calls = 0;
      hook.stays_lost = lost, hook.failed = NULL, hook.fail_nth = nth, hook.fail_name = "QueueSubmit";
      hook.result = lost ? VK_ERROR_DEVICE_LOST : VK_ERROR_OUT_OF_DEVICE_MEMORY;
      tern_status status = generate(p, "abc%&'", NULL, NULL, &got);
      cr_assert(hook.failed, "submit %u", nth);
      if (leave) {
        OK(status);
        check_same(&want, &got, "on the CPU");
        cr_assert(strstr(h.warnings, "stopped working"), "%s", h.warnings);
      } else if (lost) {
        cr_assert_eq(status, TERN_STATUS_DEVICE_LOST, "submit %u", nth);
        cr_assert(strstr(tern_last_error(), "stopped working"), "%s", tern_last_error());
      } else if (nth <= 2) { /* the prompt's, and the first step's own */
        cr_assert_eq(status, TERN_STATUS_OUT_OF_MEMORY, "submit %u", nth);
      } else {
        OK(status); /* steps go on without it */
        check_same(&want, &got, "without one that was begun early");
      }
      hook.fail_name = NULL, hook.failed = NULL, hook.stays_lost = false;
      if (!lost) OK(generate(p, "abc%&'", NULL, NULL, &got));
      if (!lost) check_same(&want, &got, "afterwards");
      tern_pipeline_close(p);
      hooked_close(&h);
    }
}

/* ---- few positions, and chains ---- */

static tern__program *compiled; /* last */

static tern_status compile_brief(tern__backend *backend, const tern__plan *plan, tern__pack_cache *cache,
                                 tern__program **out, tern__program_info *info) {
  tern_status status = tern__gpu_compile(backend, plan, cache, out, info);
  if (status == TERN_OK && (*out)->brief_positions) (*out)->brief_positions = BRIEF;
  compiled = *out;
  return status;
}

/* Where positions are no longer few, steps are others: the one before is not followed early. SmolLM2, whose attention
 * has such steps on a card; their limit is drawn near. Then an alarm is raised, of a chain that waits in vain, under a
 * step that was begun early. */
Test(vk_ahead, beyond_few_positions) {
  if (synchronization_is_validated()) cr_skip_test("skipped: runs as chains_ahead, without the validation layer");
  tern_runtime *runtime;
  tern_runtime_desc desc = TERN_RUNTIME_DESC_INIT;
  int32_t index;
  source s;
  best want[BRIEF + BEYOND], got;
  const char *path = cached_model(SMOLLM2_GGUF);
  OK(tern_runtime_create(&desc, &runtime));
  OK(tern__runtime_find_device(runtime, "vulkan", &index));
  tern__device *device = &runtime->devices[index];
  tern__backend_api near = *device->api;
  near.compile = compile_brief;
  device->api = &near;
  look_at(device->backend);
  device->backend->info->unified = false;
  open_source(runtime, path, &s);
  const char *shape = "211111111111";
  bool chained = false;
  for (int hints = 0; hints < 3; hints++) {
    tern__session *session = open_session(runtime, &s, index, 2048, TERN_NUMERICS_FAST);
    int64_t id = 19;
    if (hints < 2) forget();
    for (int i = 0; i < BRIEF + BEYOND; i++, id = want[i - 1].place) {
      OK(run(session, &id, 1, i, hints, 1, hints ? &got : &want[i]));
      if (hints) cr_assert(!memcmp(&got, &want[i], sizeof got), "position %d: %d (%a), not %d (%a)", i, got.place,
                           (double)got.value, want[i].place, (double)want[i].value);
      tern__gpu_recording *r = compiled->recording;
      uint32_t alarm = 1;
      if (compiled->brief_positions) shape = "211111102111"; /* the driver has what these kernels need */
      if (i == 2 && hints == 2 && (chained = r->counters))
        OK(device->backend->api->write(device->backend->device, r->kept, r->chain_at, &alarm, sizeof alarm));
    }
    cr_expect_eq(atomic_load(&device->backend->no_chains), chained || synchronization_is_validated());
    tern__session_destroy(session);
  }
  cr_assert_eq(strncmp(seen.shape, shape, BRIEF + BEYOND), 0, "%s", seen.shape);
  printf("%s, %s chains\n", seen.shape, chained ? "with" : "without");
  close_source(&s);
  device->backend->api = seen.real;
  tern_runtime_destroy(runtime);
}
