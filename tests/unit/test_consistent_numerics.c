/* numerics CONSISTENT: the same tokens and embeddings on every device, instruction set and processor. Tiny models against
 * what float64 gives (models/tiny/make_tiny_gguf.py), so that the machines that run this need not meet: x86 with each of
 * its instruction sets, 64-bit ARM under an emulator, WebAssembly, and the GPU drivers that TERN_TEST_DEVICES names. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tern/tern.h>

enum { MAX_INPUTS = 16, VOCABULARY = 64, GREEDY = 64, PROMPT = 12 };
/* A float16 cache moves the gap between two logits by this much at most (docs/numerics.md: 0.0053). */
static const float close_call = 0.01f;
static const double embedding_bound = 1e-5;
/* FAST rounds activations to 16 bits: its stated bound. */
static const double fast_cosine = 0.9999;

static const char *const models[] = {"tiny_llama", "tiny_qwen2", "tiny_qwen3", "tiny_gemma3"};
static const char *const sets[] = {"cpu",      "cpu:avx-512",      "cpu:avx2",              "cpu:plain C", "cpu:neon",
                                   "cpu:neon dotprod", "cpu:neon dotprod i8mm", "wasm"};

typedef struct golden {
  uint32_t n_prompt;
  int32_t prompt[PROMPT];
  float logits[PROMPT][VOCABULARY];
} golden;
typedef struct greedy { int32_t token; float gap; } greedy;

#define ok(call) cr_assert_eq(call, TERN_OK, "%s: %s", #call, tern_last_error())

static void read_file(const char *model, const char *ending, void *out, size_t size) {
  char path[512];
  snprintf(path, sizeof path, "%s/tests/models/tiny/%s%s", TERN_SOURCE_DIR, model, ending);
  FILE *f = fopen(path, "rb");
  cr_assert_not_null(f, "%s", path);
  cr_assert_eq(fread(out, 1, size, f), size, "%s is short", path);
  fclose(f);
}

static tern_tensor *tensor_of(tern_runtime *runtime, const tern_io_info *info, const int32_t *tokens, int64_t n,
                              int64_t past) {
  tern_tensor *tensor;
  int64_t ids[2] = {1, n}, kv[4] = {1, info->dims[1], 0, info->dims[3]};
  if (info->dtype == TERN_DTYPE_F32) {
    ok(tern_tensor_create(runtime, TERN_DTYPE_F32, 4, kv, &tensor));
    return tensor;
  }
  ok(tern_tensor_create(runtime, TERN_DTYPE_I64, 2, ids, &tensor));
  for (int64_t i = 0; i < n; i++)
    ((int64_t *)tern_tensor_data(tensor))[i] = info->name[0] == 'i' ? tokens[i] : info->name[0] == 'a' ? 1 : past + i;
  return tensor;
}

/* Logits of `tokens` from position `past` on. Without a cache in the session the graph is given an empty one. */
static tern_tensor *run(tern_runtime *runtime, tern_model *model, tern_session *session, const int32_t *tokens, int64_t n,
                        int64_t past, bool cache) {
  const char *names[MAX_INPUTS];
  static tern_io_info infos[MAX_INPUTS];
  tern_tensor *inputs[MAX_INPUTS], *logits;
  int32_t count = 0;
  for (int32_t i = 0; i < tern_model_input_count(model); i++) {
    infos[count] = (tern_io_info){.struct_size = sizeof *infos};
    ok(tern_model_input(model, i, &infos[count]));
    const char *name = names[count] = infos[count].name;
    if (cache && (name[0] == 'a' || !strncmp(name, "past_", 5))) continue;
    inputs[count] = tensor_of(runtime, &infos[count], tokens, n, past);
    count++;
  }
  /* With a cache some graphs know positions from it; the ids come first. */
  static const char *const output[] = {"logits"};
  const tern_tensor *const *given = (const tern_tensor *const *)inputs;
  tern_status status = tern_session_run(session, count, names, given, 1, output, &logits);
  if (cache && status == TERN_STATUS_NOT_FOUND)
    status = tern_session_run(session, 1, names, given, 1, output, &logits);
  cr_assert_eq(status, TERN_OK, "%s", tern_last_error());
  for (int32_t i = 0; i < count; i++) tern_tensor_destroy(inputs[i]);
  return logits;
}

static const float *row_of(const tern_tensor *logits) {
  size_t n = tern_tensor_size_bytes(logits) / sizeof(float);
  return (const float *)tern_tensor_data(logits) + n - VOCABULARY;
}

/* False where there is no such device. */
static bool open_session(tern_model *model, const char *device, tern_numerics numerics, bool cache,
                         tern_session **session) {
  tern_session_desc desc = TERN_SESSION_DESC_INIT;
  desc.device = device, desc.numerics = numerics, desc.kv_cache = cache;
  tern_status status = tern_session_create(model, &desc, session);
  if (status == TERN_STATUS_NO_DEVICE) return false;
  cr_assert_eq(status, TERN_OK, "%s: %s", device, tern_last_error());
  return true;
}

static void check_tokens(tern_runtime *runtime, tern_model *model, tern_session *session, const char *what) {
  golden want;
  greedy list[GREEDY];
  int32_t next[PROMPT];
  read_file(what, ".logits", &want, sizeof want);
  read_file(what, ".greedy", list, sizeof list);
  memcpy(next, want.prompt, sizeof next);
  int64_t n = PROMPT, past = 0;
  for (int step = 0; step < GREEDY; step++, past += n, n = 1) {
    if (step) next[0] = list[step - 1].token;
    tern_tensor *logits = run(runtime, model, session, next, step ? 1 : PROMPT, past, true);
    if (!step) n = PROMPT;
    const float *row = row_of(logits);
    int best = 0;
    for (int i = 1; i < VOCABULARY; i++)
      if (row[i] > row[best]) best = i;
    if (list[step].gap > close_call)
      cr_assert_eq(best, list[step].token, "%s, step %d: token %d, expected %d", what, step, best, list[step].token);
    tern_tensor_destroy(logits);
  }
}

/* The mean over the rows, as a vector of length 1: what an encoder's pooling makes. */
static void pool(const float rows[][VOCABULARY], double out[VOCABULARY]) {
  double length = 0;
  for (int i = 0; i < VOCABULARY; i++) {
    out[i] = 0;
    for (int r = 0; r < PROMPT; r++) out[i] += (double)rows[r][i] / PROMPT;
    length += out[i] * out[i];
  }
  for (int i = 0; i < VOCABULARY; i++) out[i] /= sqrt(length);
}

static void check_embeddings(tern_runtime *runtime, tern_model *model, tern_session *session, const char *what) {
  golden want;
  double expected[VOCABULARY], got[VOCABULARY];
  read_file(what, ".logits", &want, sizeof want);
  tern_tensor *logits = run(runtime, model, session, want.prompt, PROMPT, 0, false);
  cr_assert_eq(tern_tensor_size_bytes(logits), sizeof want.logits);
  pool(want.logits, expected);
  pool((const float(*)[VOCABULARY])tern_tensor_data(logits), got);
  for (int i = 0; i < VOCABULARY; i++)
    cr_assert(fabs(got[i] - expected[i]) <= embedding_bound, "%s: value %d of the embedding is %.9g, expected %.9g", what,
              i, got[i], expected[i]);
  tern_tensor_destroy(logits);
}

static void check_fast(tern_runtime *runtime, tern_model *model, tern_session *session, const char *what) {
  golden want;
  read_file(what, ".logits", &want, sizeof want);
  tern_tensor *logits = run(runtime, model, session, want.prompt, PROMPT, 0, false);
  const float *rows = tern_tensor_data(logits);
  for (int r = 0; r < PROMPT; r++) {
    double dot = 0, x2 = 0, y2 = 0;
    for (int i = 0; i < VOCABULARY; i++) {
      double x = (double)rows[r * VOCABULARY + i], y = (double)want.logits[r][i];
      dot += x * y, x2 += x * x, y2 += y * y;
    }
    cr_assert(dot / sqrt(x2 * y2) >= fast_cosine, "%s: cosine of row %d is %.7f", what, r, dot / sqrt(x2 * y2));
  }
  tern_tensor_destroy(logits);
}

typedef void check_fn(tern_runtime *, tern_model *, tern_session *, const char *);

/* On the devices that TERN_TEST_DEVICES lists, which must be there; or on this processor's instruction sets. */
static void everywhere(tern_numerics numerics, bool cache, check_fn *check) {
  char given[256] = "";
  const char *list[16];
  int n = 0, checked = 0;
  if (getenv("TERN_TEST_DEVICES")) snprintf(given, sizeof given, "%s", getenv("TERN_TEST_DEVICES"));
  for (char *at = given; *at && n < 16; n++) {
    list[n] = at;
    at += strcspn(at, ",");
    if (*at) *at++ = 0;
  }
  bool named = n > 0;
  if (!named) n = sizeof sets / sizeof *sets, memcpy(list, sets, sizeof sets);
  for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
    char path[512];
    tern_runtime *runtime;
    tern_model *model;
    tern_session *session;
    tern_model_desc open = TERN_MODEL_DESC_INIT;
    snprintf(path, sizeof path, "%s/tests/models/tiny/%s.gguf", TERN_SOURCE_DIR, models[m]);
    open.path = path;
    ok(tern_runtime_create(NULL, &runtime));
    ok(tern_model_open(runtime, &open, &model));
    for (int d = 0; d < n; d++) {
      if (!open_session(model, list[d], numerics, cache, &session)) {
        cr_assert(!named, "%s: %s", list[d], tern_last_error());
        continue;
      }
      check(runtime, model, session, models[m]);
      if (!m) printf("%s\n", list[d]);
      tern_session_destroy(session);
      checked++;
    }
    tern_model_close(model);
    tern_runtime_destroy(runtime);
  }
  cr_assert(checked >= (int)(sizeof models / sizeof *models));
}

Test(consistent_numerics, greedy_tokens) { everywhere(TERN_NUMERICS_CONSISTENT, true, check_tokens); }
Test(consistent_numerics, embeddings) { everywhere(TERN_NUMERICS_CONSISTENT, false, check_embeddings); }
Test(consistent_numerics, fast_stays_within_its_bound) { everywhere(TERN_NUMERICS_FAST, false, check_fast); }
