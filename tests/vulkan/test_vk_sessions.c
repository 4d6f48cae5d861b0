/* Sessions and pipelines over a device that fails: it is lost in mid-generation, or has no memory left. With
 * TERN_SESSION_FALLBACK_CPU the results are the CPU's and the log says why; without, the error does, and what
 * was there before can be used again or closed without a leak. */
#include "vk_hooks.h"
#include "vk_hooked_runtime.h"

#include "runtime/session.h"

#include <string.h>

enum { NEW_TOKENS = 12, PROMPT = 20 };

static const char *const models[] = {"tiny_llama.gguf", "tiny_gemma3.gguf"};
static const char repeating_text[] = "ABCDEFG.HIJK.ABCDEFG.HI", short_text[] = "abc%&'", long_text[] = "the quick brown fox jumps over the lazy dog";

static int32_t drafts; /* prompt_lookup_num_tokens of what the device generates */

typedef struct tokens { int32_t ids[NEW_TOKENS + 1]; size_t n; } tokens;

static tern_status open_pipeline(hooked *h, const char *model, const char *device, uint32_t flags,
                                 tern_pipeline **out) {
  char path[512];
  tern_pipeline_desc desc = TERN_PIPELINE_DESC_INIT;
  snprintf(path, sizeof path, TERN_SOURCE_DIR "/tests/models/tiny/%s", model);
  desc.task = "text-generation", desc.path = path;
  desc.session.device = device, desc.session.flags = flags;
  desc.session.numerics = TERN_NUMERICS_CONSISTENT;
  return tern_pipeline_open(h->runtime, &desc, out);
}

static tern_status generate(tern_pipeline *pipeline, const char *text, tokens *out) {
  tern_run_desc desc = TERN_RUN_DESC_INIT;
  tern_result *result = NULL;
  desc.texts = &text, desc.n_texts = 1;
  desc.max_new_tokens = NEW_TOKENS, desc.ignore_eos = 1;
  desc.prompt_lookup_num_tokens = drafts;
  memset(out, 0, sizeof *out);
  tern_status status = tern_pipeline_run(pipeline, &desc, &result);
  cr_assert((status == TERN_OK) == (result != NULL));
  if (status == TERN_OK) {
    const int32_t *ids = tern_result_tokens(result, 0, &out->n);
    cr_assert_leq(out->n, (size_t)NEW_TOKENS);
    memcpy(out->ids, ids, out->n * sizeof *ids);
  }
  tern_result_destroy(result);
  return status;
}

static void check_same(const tokens *a, const tokens *b, const char *what) {
  cr_assert_eq(a->n, b->n, "%s: %zu tokens, not %zu", what, b->n, a->n);
  for (size_t i = 0; i < a->n; i++)
    cr_assert_eq(a->ids[i], b->ids[i], "%s: token %zu is %d, not %d", what, i, b->ids[i], a->ids[i]);
}

static tokens on_cpu(hooked *h, const char *model, const char *text) {
  tern_pipeline *pipeline;
  tokens out;
  int32_t on_device = drafts;
  OK(open_pipeline(h, model, "cpu", 0, &pipeline));
  drafts = 0;
  OK(generate(pipeline, text, &out));
  drafts = on_device;
  cr_assert_eq(out.n, (size_t)NEW_TOKENS);
  tern_pipeline_close(pipeline);
  return out;
}

static void fail(const char *name, uint32_t nth, VkResult result) {
  hook.failed = NULL, hook.named_calls = 0;
  hook.fail_nth = nth, hook.result = result, hook.fail_name = name;
}

static void heal(void) { hook.fail_name = NULL, hook.failed = NULL, hook.stays_lost = hook.from_then_on = false; }

/* ---- the device is lost ---- */

static void lose(const char *model, const char *call, uint32_t nth) {
  hooked h;
  char what[100];
  tern_pipeline *pipeline;
  tokens got;
  snprintf(what, sizeof what, "%s, lost at %s %u", model, call, nth);
  hooked_open(&h);
  tokens want = on_cpu(&h, model, short_text), want_long = on_cpu(&h, model, long_text);
  OK(open_pipeline(&h, model, "vulkan", TERN_SESSION_FALLBACK_CPU, &pipeline));
  hook.stays_lost = true;
  fail(call, nth, VK_ERROR_DEVICE_LOST);
  OK(generate(pipeline, short_text, &got));
  bool failed = hook.failed != NULL;
  cr_assert(failed || strcmp(call, "QueueSubmit"), "%s: it did not come to that", what);
  check_same(&want, &got, what);
  if (failed) {
    cr_assert(strstr(h.warnings, "stopped working") && strstr(h.warnings, "the CPU computes instead"), "%s: \"%s\"",
              what, h.warnings);
    cr_assert(strstr(h.warnings, h.device_name), "\"%s\" does not name %s", h.warnings, h.device_name);
  }
  OK(generate(pipeline, long_text, &got)); /* where it is now */
  check_same(&want_long, &got, what);
  tern_pipeline_close(pipeline);
  heal();
  hooked_close(&h);
}

static void lose_without_leave(const char *model, uint32_t nth) {
  hooked h;
  tern_pipeline *pipeline, *another;
  tokens got;
  hooked_open(&h);
  tokens want = on_cpu(&h, model, short_text);
  OK(open_pipeline(&h, model, "vulkan", 0, &pipeline));
  hook.stays_lost = true;
  fail("QueueSubmit", nth, VK_ERROR_DEVICE_LOST);
  cr_assert_eq(generate(pipeline, short_text, &got), TERN_STATUS_DEVICE_LOST, "submit %u", nth);
  cr_assert(strstr(tern_last_error(), h.device_name) && strstr(tern_last_error(), "vkQueueSubmit") &&
                strstr(tern_last_error(), "stopped working"), "%s", tern_last_error());
  cr_assert_eq(h.warnings[0], 0, "%s", h.warnings);
  cr_assert_eq(generate(pipeline, short_text, &got), TERN_STATUS_DEVICE_LOST);
  cr_assert(strstr(tern_last_error(), "open it again"), "%s", tern_last_error());
  /* Who asks for the device now gets it opened again, beside the lost one. */
  heal();
  OK(open_pipeline(&h, model, "vulkan", 0, &another));
  OK(generate(another, short_text, &got));
  check_same(&want, &got, "on the device opened again");
  cr_assert_eq(generate(pipeline, short_text, &got), TERN_STATUS_DEVICE_LOST);
  tern_pipeline_close(pipeline);
  OK(generate(another, short_text, &got));
  check_same(&want, &got, "without the lost one");
  tern_pipeline_close(another);
  hooked_close(&h);
}

Test(vk_sessions, lost_at_a_submit) {
  const uint32_t nth[] = {1, 2, NEW_TOKENS / 2, NEW_TOKENS};
  for (size_t i = 0; i < sizeof nth / sizeof *nth; i++) lose(models[i % 2], "QueueSubmit", nth[i]);
}
Test(vk_sessions, lost_at_a_wait) {
  lose(models[0], "GetSemaphoreCounterValue", 2);
  lose(models[1], "GetSemaphoreCounterValue", NEW_TOKENS);
  lose(models[0], "WaitSemaphores", 3);
}
Test(vk_sessions, lost_at_a_fence) {
  hook.card = hook.no_timeline = true;
  lose(models[0], "QueueSubmit", 4);
  lose(models[0], "WaitForFences", 2);
}
/* With drafts, too, the tokens are those of plain decoding, whether the device is lost under one, before, or not at all. */
Test(vk_sessions, lost_under_a_draft) {
  drafts = 7;
  for (uint32_t nth = 1; nth < NEW_TOKENS / 2; nth++) lose(models[0], "QueueSubmit", nth);
  hooked h;
  tern_pipeline *pipeline;
  tokens got;
  hooked_open(&h);
  for (int m = 0; m < 2; m++) {
    tokens want = on_cpu(&h, models[m], repeating_text);
    OK(open_pipeline(&h, models[m], "vulkan", 0, &pipeline));
    OK(generate(pipeline, repeating_text, &got));
    check_same(&want, &got, models[m]);
    tern_pipeline_close(pipeline);
  }
  hooked_close(&h);
  drafts = 0;
}
Test(vk_sessions, lost_without_leave) {
  lose_without_leave(models[0], 1);
  lose_without_leave(models[1], 5);
}

/* ---- no memory ---- */

/* From the n-th buffer on there is no memory. False when a whole life needed fewer. */
static bool starve(hooked *h, const char *model, const char *call, uint32_t nth, uint32_t flags, const tokens *want,
                   const tokens *want_long) {
  char what[100];
  tern_pipeline *pipeline = NULL;
  tokens got;
  snprintf(what, sizeof what, "%s, %s %u", model, call, nth);
  h->warnings[0] = 0;
  hook.from_then_on = true;
  fail(call, nth, VK_ERROR_OUT_OF_DEVICE_MEMORY);
  tern_status status = open_pipeline(h, model, "vulkan", flags, &pipeline);
  const char *stage = "opening";
  if (status == TERN_OK) stage = "generating", status = generate(pipeline, short_text, &got);
  if (status == TERN_OK) check_same(want, &got, what);
  if (status == TERN_OK) stage = "growing", status = generate(pipeline, long_text, &got);
  if (status == TERN_OK) check_same(want_long, &got, what);
  bool failed = hook.failed != NULL;
  if (failed && flags) {
    cr_assert_eq(status, TERN_OK, "%s, %s: %s", what, stage, tern_last_error());
    cr_assert(strstr(h->warnings, "no memory left") && strstr(h->warnings, "the CPU computes instead"), "%s: \"%s\"",
              what, h->warnings);
  } else if (failed) {
    cr_assert_eq(status, TERN_STATUS_OUT_OF_MEMORY, "%s, %s: %s", what, stage, tern_last_error());
    cr_assert(strstr(tern_last_error(), h->device_name) && strstr(tern_last_error(), "no memory left"), "%s: %s", what,
              tern_last_error());
    cr_assert_eq(h->warnings[0], 0, "%s", h->warnings);
  }
  heal();
  if (!pipeline) OK(open_pipeline(h, model, "vulkan", flags, &pipeline));
  else if (nth % 4 == 1) { /* there is memory again; a fourth of the cases, for the validation layer's sake */
    OK(generate(pipeline, long_text, &got));
    check_same(want_long, &got, what);
  }
  tern_pipeline_close(pipeline);
  return failed;
}

static void starve_each(uint32_t flags) {
  hooked h;
  hooked_open(&h);
  for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
    tokens want = on_cpu(&h, models[m], short_text), want_long = on_cpu(&h, models[m], long_text);
    uint32_t nth = 1;
    while (starve(&h, models[m], "CreateBuffer", nth, flags, &want, &want_long)) nth++;
    cr_assert_gt(nth, 20u, "%s needs %u buffers?", models[m], nth - 1);
  }
  hooked_close(&h);
}

Test(vk_sessions, no_memory_with_leave) { starve_each(TERN_SESSION_FALLBACK_CPU); }
Test(vk_sessions, no_memory) { starve_each(0); }

/* A card whose memory ends: the driver's own answer, not a call that is made to fail. */
Test(vk_sessions, small_card) {
  hooked h;
  tern_pipeline *pipeline;
  tokens got;
  hook.card = true, hook.card_bytes = 96 << 10;
  hooked_open(&h);
  tokens want = on_cpu(&h, models[0], short_text);
  cr_assert_eq(open_pipeline(&h, models[0], "vulkan", 0, &pipeline), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(generate(pipeline, short_text, &got), TERN_STATUS_OUT_OF_MEMORY);
  cr_assert(strstr(tern_last_error(), "MiB left"), "%s", tern_last_error());
  tern_pipeline_close(pipeline);
  OK(open_pipeline(&h, models[0], "vulkan", TERN_SESSION_FALLBACK_CPU, &pipeline));
  OK(generate(pipeline, short_text, &got));
  check_same(&want, &got, "on a small card");
  cr_assert(strstr(h.warnings, "MiB left"), "\"%s\"", h.warnings);
  tern_pipeline_close(pipeline);
  hooked_close(&h);
}

/* Once, in the middle: whatever the driver runs out of. */
Test(vk_sessions, no_memory_in_mid_run) {
  static const char *const calls[] = {"QueueSubmit", "AllocateDescriptorSets", "CreateCommandPool",
                                      "AllocateCommandBuffers", "EndCommandBuffer", "CreateDescriptorPool"};
  hooked h;
  hook.no_push_descriptors = true; /* sets have calls that can fail */
  hooked_open(&h);
  tokens want = on_cpu(&h, models[0], short_text);
  for (size_t c = 0; c < sizeof calls / sizeof *calls; c++)
    for (uint32_t flags = 0; flags <= TERN_SESSION_FALLBACK_CPU; flags++)
      for (uint32_t nth = 1; nth <= 2; nth++) {
        tern_pipeline *pipeline;
        tokens got;
        h.warnings[0] = 0;
        OK(open_pipeline(&h, models[0], "vulkan", flags, &pipeline));
        fail(calls[c], nth, VK_ERROR_OUT_OF_DEVICE_MEMORY);
        tern_status status = generate(pipeline, short_text, &got);
        if (!hook.failed) cr_assert(status == TERN_OK && nth > 1, "%s %u", calls[c], nth);
        else if (!flags) {
          cr_assert_eq(status, TERN_STATUS_OUT_OF_MEMORY, "%s %u: %s", calls[c], nth, tern_last_error());
          cr_assert(strstr(tern_last_error(), calls[c]), "%s", tern_last_error());
          heal();
          OK(generate(pipeline, short_text, &got));
        } else {
          cr_assert_eq(status, TERN_OK, "%s %u: %s", calls[c], nth, tern_last_error());
          cr_assert(strstr(h.warnings, calls[c]), "\"%s\"", h.warnings);
        }
        heal();
        check_same(&want, &got, calls[c]);
        tern_pipeline_close(pipeline);
      }
  hooked_close(&h);
  hook.no_push_descriptors = false;
}

/* ---- sessions ---- */

typedef struct feed {
  tern_tensor *tensors[24];
  char names[24][64];
  const char *name_list[24];
  int32_t n;
} feed;

/* `count` tokens after `past` ones; a past that is an input is empty. */
static void make_feed(hooked *h, tern_model *model, int64_t past, int64_t count, bool with_cache, feed *f) {
  memset(f, 0, sizeof *f);
  for (int32_t i = 0; i < tern_model_input_count(model); i++) {
    tern_io_info info = {.struct_size = sizeof info};
    OK(tern_model_input(model, i, &info));
    bool is_past = strncmp(info.name, "past_", 5) == 0, is_mask = strstr(info.name, "mask") != NULL;
    if (with_cache && strcmp(info.name, "input_ids")) continue;
    for (int32_t d = 0; d < info.rank; d++)
      if (info.dims[d] < 0) info.dims[d] = d == 0 ? 1 : is_past ? 0 : count;
    OK(tern_tensor_create(h->runtime, info.dtype, info.rank, info.dims, &f->tensors[f->n]));
    int64_t *data = tern_tensor_data(f->tensors[f->n]);
    for (int64_t k = 0; !is_past && k < count; k++)
      data[k] = is_mask ? 1 : strstr(info.name, "position") ? past + k : (past + k) * 7 % 60;
    snprintf(f->names[f->n], sizeof f->names[0], "%s", info.name);
    f->name_list[f->n] = f->names[f->n];
    f->n++;
  }
}

static tern_status run_feed(tern_session *session, feed *f, tern_tensor **logits) {
  const char *name = "logits";
  return tern_session_run(session, f->n, f->name_list, (const tern_tensor *const *)f->tensors, 1, &name, logits);
}

static void drop_feed(feed *f) {
  for (int32_t i = 0; i < f->n; i++) tern_tensor_destroy(f->tensors[i]);
}

static tern_model *open_model(hooked *h) {
  tern_model *model;
  tern_model_desc desc = TERN_MODEL_DESC_INIT;
  desc.path = TERN_SOURCE_DIR "/tests/models/tiny/tiny_llama.gguf";
  OK(tern_model_open(h->runtime, &desc, &model));
  return model;
}

static tern_session *open_session(tern_model *model, const char *device, uint32_t flags, bool with_cache) {
  tern_session *session;
  tern_session_desc desc = TERN_SESSION_DESC_INIT;
  desc.device = device, desc.flags = flags, desc.numerics = TERN_NUMERICS_CONSISTENT;
  desc.kv_cache = with_cache, desc.context_length = 64;
  OK(tern_session_create(model, &desc, &session));
  return session;
}

static void check_equal(const tern_tensor *a, const tern_tensor *b) {
  size_t bytes = tern_tensor_size_bytes(a);
  cr_assert(bytes > 0 && bytes == tern_tensor_size_bytes(b));
  cr_assert(!memcmp(tern_tensor_data(a), tern_tensor_data(b), bytes), "not what the CPU gives");
}

/* The device's own result: CONSISTENT, but not bit for bit the CPU's (docs/numerics.md). */
static void check_close(const tern_tensor *a, const tern_tensor *b) {
  const float *x = tern_tensor_data(a), *y = tern_tensor_data(b);
  for (size_t i = 0; i < tern_tensor_size_bytes(a) / sizeof *x; i++)
    cr_assert_lt(fabsf(x[i] - y[i]), 0.02f, "%g and %g", (double)x[i], (double)y[i]);
}

/* Without a cache a run is simply repeated on the CPU; without leave, the session is there for the next run. */
Test(vk_sessions, plain_session) {
  static const struct { const char *call; VkResult result; } faults[] = {
      {"CreateShaderModule", VK_ERROR_OUT_OF_HOST_MEMORY}, {"CreateComputePipelines", VK_ERROR_UNKNOWN},
      {"CreateBuffer", VK_ERROR_OUT_OF_DEVICE_MEMORY},     {"QueueSubmit", VK_ERROR_OUT_OF_DEVICE_MEMORY},
      {"QueueSubmit", VK_ERROR_DEVICE_LOST}};
  enum { N = sizeof faults / sizeof *faults };
  hooked h;
  feed f;
  tern_tensor *want = NULL, *got = NULL;
  hooked_open(&h);
  tern_model *model = open_model(&h);
  tern_session *cpu = open_session(model, "cpu", 0, false), *refused = open_session(model, "vulkan", 0, false);
  make_feed(&h, model, 0, PROMPT, false, &f);
  OK(run_feed(cpu, &f, &want));
  for (size_t i = 0; i < N; i++) {
    h.warnings[0] = 0;
    tern_session *session = open_session(model, "vulkan", TERN_SESSION_FALLBACK_CPU, false);
    fail(faults[i].call, 1, faults[i].result);
    tern_status status = run_feed(refused, &f, &got);
    cr_assert(status != TERN_OK && !got, "%s did not fail", faults[i].call);
    cr_assert(strstr(tern_last_error(), faults[i].call), "%s", tern_last_error());
    cr_assert_eq(h.warnings[0], 0);
    fail(faults[i].call, 1, faults[i].result);
    OK(run_feed(session, &f, &got));
    cr_assert(strstr(h.warnings, "the CPU computes instead"), "%s: \"%s\"", faults[i].call, h.warnings);
    check_equal(want, got);
    tern_tensor_destroy(got);
    heal();
    tern_session_destroy(session);
    if (i < 2) continue; /* kernels are left to be compiled */
    if (faults[i].result == VK_ERROR_DEVICE_LOST) {
      cr_assert_eq(run_feed(refused, &f, &got), TERN_STATUS_DEVICE_LOST);
      continue;
    }
    OK(run_feed(refused, &f, &got));
    check_close(want, got);
    tern_tensor_destroy(got);
  }
  tern_tensor_destroy(want);
  drop_feed(&f);
  tern_session_destroy(refused);
  tern_session_destroy(cpu);
  tern_model_close(model);
  hooked_close(&h);
}

/* An id that no row of the embedding table answers to is the same error on every device, and no harm is done. */
Test(vk_sessions, ids_out_of_range) {
  static const int64_t bad[] = {64, -65, INT64_MAX, INT64_MIN};
  hooked h;
  hooked_open(&h);
  tern_model *model = open_model(&h);
  tern_session *sessions[2] = {open_session(model, "cpu", 0, true), open_session(model, "vulkan", 0, true)};
  feed f;
  make_feed(&h, model, 0, PROMPT, true, &f);
  int64_t *ids = tern_tensor_data(f.tensors[0]), good = ids[3];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char message[512];
    for (int d = 0; d < 2; d++) {
      tern_tensor *got = NULL;
      ids[3] = bad[i];
      cr_assert_eq(run_feed(sessions[d], &f, &got), TERN_STATUS_SHAPE_MISMATCH, "%lld on device %d: %s",
                   (long long)bad[i], d, tern_last_error());
      if (!d) snprintf(message, sizeof message, "%s", tern_last_error());
      else cr_assert_str_eq(tern_last_error(), message);
      ids[3] = i % 2 ? good : -1; /* the last row, by ONNX's rule */
      OK(run_feed(sessions[d], &f, &got));
      tern_tensor_destroy(got);
      OK(tern_session_kv_truncate(sessions[d], 0));
    }
  }
  drop_feed(&f);
  for (int d = 0; d < 2; d++) tern_session_destroy(sessions[d]);
  tern_model_close(model);
  hooked_close(&h);
}

/* What a lost cache held the session cannot know: the run fails, and the CPU goes on from an empty one. */
Test(vk_sessions, session_with_cache) {
  hooked h;
  feed first, second;
  tern_tensor *want = NULL, *got = NULL;
  hooked_open(&h);
  tern_model *model = open_model(&h);
  tern_session *cpu = open_session(model, "cpu", 0, true);
  tern_session *session = open_session(model, "vulkan", TERN_SESSION_FALLBACK_CPU, true);
  make_feed(&h, model, 0, PROMPT, true, &first);
  make_feed(&h, model, PROMPT, 1, true, &second);
  OK(run_feed(cpu, &first, &want));
  tern_tensor_destroy(want);
  OK(run_feed(cpu, &second, &want));
  /* Nothing is in the cache yet: nothing is lost with it. */
  fail("QueueSubmit", 1, VK_ERROR_OUT_OF_DEVICE_MEMORY);
  OK(run_feed(session, &first, &got));
  tern_tensor_destroy(got);
  cr_assert(strstr(h.warnings, "the CPU computes instead"), "\"%s\"", h.warnings);
  OK(run_feed(session, &second, &got));
  check_equal(want, got);
  tern_tensor_destroy(got);
  tern_session_destroy(session);
  heal();
  h.warnings[0] = 0;
  session = open_session(model, "vulkan", TERN_SESSION_FALLBACK_CPU, true);
  OK(run_feed(session, &first, &got));
  tern_tensor_destroy(got);
  hook.stays_lost = true;
  fail("QueueSubmit", 1, VK_ERROR_DEVICE_LOST);
  cr_assert_eq(run_feed(session, &second, &got), TERN_STATUS_DEVICE_LOST);
  cr_assert(strstr(tern_last_error(), "evaluate its 20 positions again") &&
                strstr(tern_last_error(), "stopped working"), "%s", tern_last_error());
  cr_assert(strstr(h.warnings, "the CPU computes instead"), "\"%s\"", h.warnings);
  cr_assert_eq(tern_session_kv_length(session), 0);
  OK(run_feed(session, &first, &got));
  tern_tensor_destroy(got);
  OK(run_feed(session, &second, &got));
  check_equal(want, got);
  tern_tensor_destroy(got);
  tern_tensor_destroy(want);
  drop_feed(&first);
  drop_feed(&second);
  tern_session_destroy(session);
  tern_session_destroy(cpu);
  tern_model_close(model);
  heal();
  hooked_close(&h);
}

/* ---- outputs that stay where the device brings them ---- */

enum { WIDE = 1024 };

/* Outputs: relu(x), the same in another shape, -x, and what the CPU makes of that, which has no kernel on the device. */
static tern__graph *build_large(tern__alloc *alloc, tern__arena *arena) {
  tern__graph *graph;
  tern__value_id x, shape, out[4];
  int32_t index;
  static const int64_t flat[] = {-1};
  static const char *const ops[] = {"Relu", "Reshape", "Neg", "Tan"};
  OK(tern__graph_create(alloc, arena, &graph));
  OK(tern__graph_add_value(graph, "x", TERN_DTYPE_F32, 2, (int64_t[]){-1, WIDE}, &x));
  OK(tern__graph_add_input(graph, x));
  OK(tern__graph_add_constant(graph, "flat", TERN_DTYPE_I64, 1, (int64_t[]){1}, flat, sizeof flat, &shape));
  for (int i = 0; i < 4; i++) {
    OK(tern__graph_add_value(graph, ops[i], TERN_DTYPE_NONE, -1, NULL, &out[i]));
    tern__value_id in[] = {i % 2 ? out[i - 1] : x, shape};
    OK(tern__graph_add_node(graph, tern__op_find(ops[i], "", 13), ops[i], 13, in, i == 1 ? 2 : 1, &out[i], 1, &index));
    OK(tern__graph_add_output(graph, out[i]));
  }
  return graph;
}

/* `late`: outputs are copied as they arrive, but for one, which nobody takes. */
static void run_large(tern__session *session, int32_t rows, float *x, bool late) {
  tern__view in = {TERN_DTYPE_F32, {2, {rows, WIDE}}, x, (size_t)rows * WIDE * sizeof *x};
  float *copy = malloc(in.size_bytes);
  for (int32_t i = 0; i < rows * WIDE; i++) x[i] = (float)((i * 37 + rows) % 1999 - 999) / 512.0f;
  OK(tern__session_run(session, &in, NULL, NULL));
  for (int o = 0; o < 4; o++) {
    const tern__view *view = tern__session_output(session, o);
    const float *y = late ? copy : view->data;
    cr_assert_eq(view->size_bytes, in.size_bytes);
    cr_assert_eq(view->shape.rank, o == 1 ? 1 : 2);
    if (late && rows % 5 == o) continue;
    memset(copy, 0x55, in.size_bytes);
    OK(tern__session_copy_output(session, o, copy));
    if (!late) cr_assert_eq(memcmp(copy, y, in.size_bytes), 0);
    for (int32_t i = 0; i < rows * WIDE; i++) {
      float want = o < 2 ? (x[i] > 0 ? x[i] : 0) : o == 2 ? -x[i] : tanf(-x[i]);
      cr_assert(o < 3 ? y[i] == want : fabsf(y[i] - want) <= 1e-4f * (1 + fabsf(want)),
                "%d rows, output %d, value %d: %g, not %g", rows, o, i, (double)y[i], (double)want);
    }
  }
  bool same = tern__session_output(session, 0)->data == tern__session_output(session, 1)->data;
  cr_assert(same);
  free(copy);
}

/* More shapes than a session keeps plans for; small ones (which are copied) and some of several parts among them. */
static void run_all_large(bool late, bool fallback) {
  hooked h;
  tern__arena arena;
  tern__pack_cache *cache;
  tern__session *session;
  enum { MANY = 7001 };
  hooked_open(&h);
  tern__alloc *alloc = &h.runtime->alloc;
  tern__arena_init(&arena, alloc);
  tern__graph *graph = build_large(alloc, &arena);
  float *x = malloc(sizeof *x * WIDE * MANY);
  OK(tern__pack_cache_create(alloc, &cache));
  OK(tern__session_create(h.runtime, graph, cache, &(tern__session_options){.device = 1, .fallback = fallback}, &session));
  if (late) tern__session_allow_late(session);
  for (int32_t rows = 300; rows < 318; rows++) run_large(session, rows, x, late);
  for (int32_t rows = MANY; rows > 1; rows /= 3) run_large(session, rows, x, late), run_large(session, 310, x, late);
  run_large(session, MANY, x, late);
  tern__session_destroy(session); /* late: what nobody took may still be on its way */
  tern__pack_cache_destroy(cache);
  tern__graph_destroy(graph);
  tern__arena_deinit(&arena);
  free(x);
  hooked_close(&h);
}

Test(vk_sessions, large_outputs) { run_all_large(false, false); }
Test(vk_sessions, large_outputs_that_come_late) { run_all_large(true, false); }
Test(vk_sessions, large_outputs_with_leave) { run_all_large(true, true); }

/* The device is lost while outputs are on their way. */
Test(vk_sessions, lost_before_outputs_came) {
  hooked h;
  tern__arena arena;
  tern__pack_cache *cache;
  tern__session *session;
  hooked_open(&h);
  tern__alloc *alloc = &h.runtime->alloc;
  tern__arena_init(&arena, alloc);
  tern__graph *graph = build_large(alloc, &arena);
  float *x = malloc(sizeof *x * WIDE * 400);
  OK(tern__pack_cache_create(alloc, &cache));
  OK(tern__session_create(h.runtime, graph, cache, &(tern__session_options){.device = 1}, &session));
  tern__session_allow_late(session);
  run_large(session, 400, x, true);
  tern__view in = {TERN_DTYPE_F32, {2, {400, WIDE}}, x, sizeof *x * 400 * WIDE};
  hook.stays_lost = true;
  fail("QueueSubmit", 2, VK_ERROR_DEVICE_LOST); /* the first of them is the work, then come parts of outputs */
  cr_assert_eq(tern__session_run(session, &in, NULL, NULL), TERN_STATUS_DEVICE_LOST);
  cr_assert_eq(tern__session_run(session, &in, NULL, NULL), TERN_STATUS_DEVICE_LOST);
  heal();
  tern__session_destroy(session);
  tern__pack_cache_destroy(cache);
  tern__graph_destroy(graph);
  tern__arena_deinit(&arena);
  free(x);
  hooked_close(&h);
}
