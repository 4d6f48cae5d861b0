/* What a decode step takes on a device: dispatches, submits, waits, bytes, and that it makes nothing. SmolLM2's Q4_1 file, on
 * the way of software devices and on the way of hardware; and sampling there against sampling from all logits. */
#include "gpu/gpu_program.h"
#include "models/model_fixture.h"
#include "runtime/runtime.h"
#include "validated.h"

enum { LAYERS = 30, BESIDES = 8, TOKENS = 8, MAX_TOKENS = 64 };

/* ---- what is counted ---- */

typedef struct counts { long allocations, made, submits, tickets; } counts;

static struct {
  const tern__gpu_api *real;
  tern__gpu_api api;
  _Atomic long allocations;
  long made, submits, waits;
  uint64_t last_ticket;
  counts at_token[MAX_TOKENS + 1];
  int n_tokens;
} seen;

static void *counting_alloc(void *user_data, size_t size, size_t align) {
  atomic_fetch_add(&seen.allocations, 1);
  if (align < sizeof(void *)) align = sizeof(void *);
  return aligned_alloc(align, (size + align - 1) / align * align);
}
static void counting_free(void *user_data, void *ptr, size_t size, size_t align) { free(ptr); }

static tern_status count_buffer(tern__gpu_device *d, tern__gpu_memory m, uint64_t size, tern__gpu_buffer **out) {
  seen.made++;
  return seen.real->buffer_create(d, m, size, out);
}
static tern_status count_commands(tern__gpu_device *d, tern__gpu_commands **out) {
  seen.made++;
  return seen.real->commands_create(d, out);
}
static tern_status count_dispatch(tern__gpu_commands *c, const tern__gpu_dispatch *dispatch) {
  seen.made++;
  return seen.real->dispatch(c, dispatch);
}
static tern_status count_submit(tern__gpu_device *d, tern__gpu_commands *c, uint64_t *ticket) {
  seen.submits++;
  return seen.real->submit(d, c, ticket);
}
/* Asking again for the same ticket, so that a cancellation is seen, is one wait. */
static tern_status count_wait(tern__gpu_device *d, uint64_t ticket, uint64_t timeout) {
  seen.waits += ticket != seen.last_ticket;
  seen.last_ticket = ticket;
  return seen.real->wait(d, ticket, timeout);
}

static int32_t at_token(void *user_data, const char *text, size_t size, int32_t id) {
  if (seen.n_tokens <= MAX_TOKENS)
    seen.at_token[seen.n_tokens++] = (counts){atomic_load(&seen.allocations), seen.made, seen.submits, seen.waits};
  return 0;
}

/* ---- running ---- */

typedef struct device { tern_runtime *runtime; tern__backend *backend; tern_pipeline *pipeline; } device;

static void open_device(device *d, bool hardware, bool whole_logits, tern_numerics numerics) {
  int32_t index;
  tern_runtime_desc desc = TERN_RUNTIME_DESC_INIT;
  tern_pipeline_desc open = TERN_PIPELINE_DESC_INIT;
  memset(&seen, 0, sizeof seen);
  desc.allocator = (tern_allocator){counting_alloc, counting_free, NULL};
  ok(tern_runtime_create(&desc, &d->runtime));
  ok(tern__runtime_find_device(d->runtime, "vulkan", &index));
  d->backend = d->runtime->devices[index].backend;
  seen.real = d->backend->api, seen.api = *seen.real;
  seen.api.buffer_create = count_buffer, seen.api.commands_create = count_commands, seen.api.dispatch = count_dispatch;
  seen.api.submit = count_submit, seen.api.wait = count_wait;
  d->backend->api = &seen.api;
  d->backend->info->software = !hardware;
  atomic_store(&d->backend->no_chains, synchronization_is_validated());
  if (whole_logits) d->backend->info->max_invocations = 128; /* too few for the kernel that samples */
  open.task = "text-generation", open.path = cached_model(SMOLLM2_GGUF);
  open.session.device = "vulkan", open.session.context_length = 256, open.session.numerics = numerics;
  ok(tern_pipeline_open(d->runtime, &open, &d->pipeline));
}

/* One thread, so that none is ever late: a run would make another plan then. */
static void open_cpu(device *d, tern_numerics numerics) {
  tern_runtime_desc desc = TERN_RUNTIME_DESC_INIT;
  tern_pipeline_desc open = TERN_PIPELINE_DESC_INIT;
  memset(&seen, 0, sizeof seen), memset(d, 0, sizeof *d);
  desc.allocator = (tern_allocator){counting_alloc, counting_free, NULL};
  desc.n_threads = 1;
  ok(tern_runtime_create(&desc, &d->runtime));
  open.task = "text-generation", open.path = cached_model(SMOLLM2_GGUF);
  open.session.device = "cpu", open.session.context_length = 256, open.session.numerics = numerics;
  ok(tern_pipeline_open(d->runtime, &open, &d->pipeline));
}

static void close_device(device *d) {
  tern_pipeline_close(d->pipeline);
  if (d->backend) d->backend->api = seen.real;
  tern_runtime_destroy(d->runtime);
}

/* Generates from one prompt; returns the profile's JSON. */
static const char *generate(device *d, tern_run_desc desc, int32_t n, int32_t *tokens) {
  static const char *const prompt[] = {"The capital of France is"};
  tern_result *result;
  size_t count;
  desc.texts = prompt, desc.n_texts = 1, desc.max_new_tokens = n, desc.ignore_eos = 1;
  desc.on_text = (tern_on_text){at_token, NULL};
  seen.n_tokens = 0;
  ok(tern_pipeline_run(d->pipeline, &desc, &result));
  const int32_t *ids = tern_result_tokens(result, 0, &count);
  cr_assert_eq((int32_t)count, n);
  memcpy(tokens, ids, count * sizeof *ids);
  tern_result_destroy(result);
  return tern_pipeline_profile(d->pipeline);
}

static long number_of(const char *json, const char *name) {
  char key[64];
  snprintf(key, sizeof key, "\"%s\":", name);
  const char *at = strstr(json, key);
  cr_assert_not_null(at, "%s has no %s", json, name);
  return strtol(at + strlen(key), NULL, 10);
}

/* What kernels that multiply in whole numbers need. */
static bool has_dot(const device *d) {
  const uint32_t needs = TERN__GPU_HAS_SUBGROUPS | TERN__GPU_HAS_INT8_DOT;
  return (d->backend->info->features & needs) == needs && d->backend->info->subgroup_min >= 8;
}

static void check_step(bool hardware, tern_numerics numerics) {
  device d;
  int32_t want[TOKENS], tokens[TOKENS];
  counts on_cpu[TOKENS];
  tern_run_desc greedy = TERN_RUN_DESC_INIT;
  open_cpu(&d, numerics);
  (void)generate(&d, greedy, TOKENS, want);
  memcpy(on_cpu, seen.at_token, sizeof on_cpu);
  close_device(&d);
  open_device(&d, hardware, false, numerics);
  /* FAST, on hardware with the instructions: norms are part of the products that read them. */
  bool dot = hardware && numerics == TERN_NUMERICS_FAST && has_dot(&d);
  const char *json = generate(&d, greedy, TOKENS, tokens);
  long dispatches = number_of(json, "dispatches"), submits = number_of(json, "submits");
  printf("%s: %ld dispatches, %ld barriers, %ld submits, %ld bytes to the device, %ld from it\n",
         hardware ? "hardware" : "software", dispatches, number_of(json, "barriers"), submits,
         number_of(json, "bytes_to_device"), number_of(json, "bytes_from_device"));
  cr_expect_leq(dispatches, (dot ? 6 : hardware ? 8 : 7) * LAYERS + BESIDES);
  cr_expect_leq(number_of(json, "barriers"), dispatches);
  cr_expect_leq(number_of(json, "bytes_to_device"), 2048);
  cr_expect_eq(number_of(json, "bytes_from_device"), 8, "the best token and its logit");
  /* Work of software devices is cut, so that it can be cancelled; each piece is waited for in its turn. */
  if (hardware) cr_expect_eq(submits, 1);
  for (int t = 3; t < seen.n_tokens; t++) {
    const counts *a = &seen.at_token[t - 1], *b = &seen.at_token[t];
    cr_expect_eq(b->made, a->made, "token %d makes something", t);
    /* Hardware has the next step before the host has the token: nothing follows the last one. */
    cr_expect_eq(b->submits - a->submits, hardware && t + 1 == TOKENS ? 0 : submits, "token %d", t);
    cr_expect_leq(b->tickets - a->tickets, submits);
    if (hardware) cr_expect_eq(b->tickets - a->tickets, 1, "one wait");
    /* Tokens and text take what they take on the CPU, whose runs allocate nothing (unit/test_memory.c). */
    cr_expect_eq(b->allocations - a->allocations, on_cpu[t].allocations - on_cpu[t - 1].allocations, "token %d", t);
    cr_expect_eq(tokens[t], want[t]);
  }
  close_device(&d);
}

Test(vk_decode, step_of_software) { check_step(false, TERN_NUMERICS_CONSISTENT); }
Test(vk_decode, step_of_hardware) { check_step(true, TERN_NUMERICS_CONSISTENT); }
Test(vk_decode, fast_step_of_hardware) { check_step(true, TERN_NUMERICS_FAST); }

/* A draft's rows are ranked there side by side: the tokens, and the bytes that come of each, are those of plain decoding. */
static void check_drafts(bool hardware, tern_numerics numerics) {
  static const char *const prompt[] = {"one two three four one two three four one"};
  tern_run_desc desc = TERN_RUN_DESC_INIT;
  device d;
  open_device(&d, hardware, false, numerics);
  desc.texts = prompt, desc.n_texts = 1, desc.max_new_tokens = 12, desc.seed = 3;
  for (int sampled = 0; sampled < 2; sampled++) {
    tern_result *r[2];
    tern_timings t = {.struct_size = sizeof t};
    size_t n[2];
    if (sampled) desc.temperature = 0.3f, desc.top_k = 8, desc.repetition_penalty = 1.01f;
    for (int i = 0; i < 2; i++) {
      desc.prompt_lookup_num_tokens = i ? 7 : 0;
      ok(tern_pipeline_run(d.pipeline, &desc, &r[i]));
    }
    ok(tern_result_timings(r[1], &t));
    const int32_t *want = tern_result_tokens(r[0], 0, &n[0]), *got = tern_result_tokens(r[1], 0, &n[1]);
    cr_assert_eq(n[0], n[1]);
    cr_assert_arr_eq(want, got, n[0] * sizeof *want);
    cr_expect_gt(t.n_accepted_tokens, 4, "%d of %d", t.n_accepted_tokens, t.n_drafted_tokens);
    printf("%d of %d tokens accepted; %s\n", t.n_accepted_tokens, t.n_drafted_tokens,
           strstr(tern_pipeline_profile(d.pipeline), "bytes_from_device"));
    tern_result_destroy(r[0]), tern_result_destroy(r[1]);
  }
  close_device(&d);
}

Test(vk_decode, drafts) { check_drafts(false, TERN_NUMERICS_CONSISTENT); }
Test(vk_decode, fast_drafts_of_hardware) { check_drafts(true, TERN_NUMERICS_FAST); }

/* Seven sequences decoded together: the products of a step take all rows at once, the last one, which gives logits, too. */
Test(vk_decode, fast_batch_of_hardware) {
  enum { TEXTS = 7, N = 3 };
  static const char *const words[TEXTS] = {"France", "Italy", "Spain", "Japan", "China", "India", "Chile"};
  const char *prompts[TEXTS];
  tern_run_desc desc = TERN_RUN_DESC_INIT;
  tern_result *together, *alone;
  size_t n, want_n;
  device d;
  open_device(&d, true, false, TERN_NUMERICS_FAST);
  for (int i = 0; i < TEXTS; i++) prompts[i] = words[i]; /* short: rows of a prompt take a driver on the CPU seconds */
  desc.max_new_tokens = N, desc.ignore_eos = 1;
  desc.texts = prompts, desc.n_texts = TEXTS;
  ok(tern_pipeline_run(d.pipeline, &desc, &together));
  const char *json = tern_pipeline_profile(d.pipeline);
  printf("%d sequences: %ld dispatches\n", TEXTS, number_of(json, "dispatches"));
  /* Of each of a layer's four products: it, and rounding or, where there are no such instructions, half of their norms. */
  cr_expect_leq(number_of(json, "dispatches"), (has_dot(&d) ? 10 : 8) * LAYERS + BESIDES);
  cr_expect_eq(number_of(json, "bytes_from_device"), 8 * TEXTS, "each sequence's best token and its logit");
  for (int i = 0; i < TEXTS; i += 3) {
    desc.texts = &prompts[i], desc.n_texts = 1;
    ok(tern_pipeline_run(d.pipeline, &desc, &alone));
    const int32_t *got = tern_result_tokens(together, i, &n), *want = tern_result_tokens(alone, 0, &want_n);
    cr_assert_eq(n, want_n);
    cr_expect_arr_eq(got, want, n * sizeof *got, "%s", words[i]);
    tern_result_destroy(alone);
  }
  tern_result_destroy(together);
  close_device(&d);
}

/* Whatever the settings, the tokens are those of all logits. */
Test(vk_decode, sampled_there) {
  enum { N = 6 };
  const tern_run_desc plain = TERN_RUN_DESC_INIT;
  tern_run_desc runs[5];
  int32_t want[5][N], got[N];
  long bytes[] = {8, 8 * 65, 8 * 56, 8 * 120, 49152 * 4};
  for (int i = 0; i < 5; i++) runs[i] = plain, runs[i].seed = (uint64_t)i + 1;
  runs[1].repetition_penalty = 1.2f;
  runs[2].temperature = 0.9f, runs[2].top_k = 40, runs[2].top_p = 0.95f;
  runs[3].temperature = 1.5f, runs[3].top_k = 40, runs[3].min_p = 0.02f, runs[3].repetition_penalty = 1.1f;
  runs[4].temperature = 0.5f, runs[4].top_p = 0.9f; /* needs all logits */
  /* All logits; the largest, copied to the host; written where it reads them. */
  for (int way = 0; way < 3; way++) {
    bool whole = way == 0;
    device d;
    open_device(&d, false, whole, TERN_NUMERICS_CONSISTENT);
    if (way == 1) d.backend->info->binds_readback = false;
    for (int i = 0; i < 5; i++) {
      const char *json = generate(&d, runs[i], N, whole ? want[i] : got);
      cr_expect_eq(number_of(json, "bytes_from_device"), whole ? 49152 * 4 : bytes[i], "run %d: %s", i, json);
      for (int t = 0; t < N && !whole; t++)
        cr_expect_eq(got[t], want[i][t], "run %d, token %d: %d, from all logits %d", i, t, got[t], want[i][t]);
    }
    close_device(&d);
  }
}
