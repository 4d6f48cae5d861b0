/* Picks the next token: the logits processors of transformers in their order, then one draw.
 *
 * Equal seeds give equal tokens everywhere: the generator is PCG32 (M. O'Neill, "PCG: A Family of Simple Fast
 * Space-Efficient Statistically Good Algorithms for Random Number Generation", 2014, XSH-RR 64/32), exp() is
 * a polynomial of our own, because the C library's differs by platform, and sums run in a fixed order in
 * double. */
#include "text/sampler.h"

#include <math.h>
#include <string.h>

#if defined(__clang__)
#  pragma STDC FP_CONTRACT OFF /* gcc does not contract under -std=c11 */
#endif

typedef struct candidate {
  float logit;
  int32_t id;
  double weight;
} candidate;

struct tern__sampler {
  tern__alloc *alloc;
  tern__sampler_options options;
  int32_t vocab_size;
  uint64_t state;        /* of PCG32 */
  candidate *candidates; /* [vocab_size] */
  float *heap;           /* [top_k], NULL without top-k */
  uint8_t *seen;         /* [vocab_size], 1 = in the context */
};

/* ---- PCG32 */

static uint32_t next_u32(tern__sampler *s) {
  uint64_t old = s->state;
  s->state = old * 6364136223846793005u + 1442695040888963407u;
  uint32_t shifted = (uint32_t)(((old >> 18) ^ old) >> 27), rot = (uint32_t)(old >> 59);
  return shifted >> rot | shifted << (-rot & 31);
}

/* [0, 1) with 53 bits. */
static double next_uniform(tern__sampler *s) {
  uint64_t high = next_u32(s) >> 5, low = next_u32(s) >> 6;
  return (double)(high << 26 | low) * 0x1p-53;
}

/* e^x for x <= 0 to about 1e-15, by e^x = 2^k e^r, |r| <= ln2/2, and a Taylor polynomial of degree 13 in r.
 */
static double exp_negative(double x) {
  if (!(x > -700)) return 0;
  double k = floor(x * 1.44269504088896340736 + 0.5);
  double r = x - k * 6.93147180369123816490e-01 -
             k * 1.90821492927058770002e-10; /* ln2 in two parts (fdlibm) */
  static const double c[] = {
      1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1,           1};
  double p = c[0];
  for (size_t i = 1; i < sizeof c / sizeof *c; i++) p = p * r + c[i];
  uint64_t bits = (uint64_t)(1023 + (int64_t)k) << 52;
  double scale;
  memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

/* ---- life */

static tern_status check_options(const tern__sampler_options *o, int32_t vocab_size) {
  tern_status status = TERN_OK;
  const tern_status bad = TERN_STATUS_INVALID_ARGUMENT;
  if (vocab_size <= 0) TERN_FAIL(bad, "sampler: vocab_size is %d, must be above 0", vocab_size);
  if (!isfinite(o->temperature)) TERN_FAIL(bad, "temperature must be a finite number (0 = greedy)");
  if (!isfinite(o->top_p)) TERN_FAIL(bad, "top_p must be between 0 and 1 (0 or 1 = off)");
  if (!(o->min_p <= 1)) TERN_FAIL(bad, "min_p is %g, must be between 0 and 1 (0 = off)", (double)o->min_p);
  if (!(o->repetition_penalty >= 0) || !isfinite(o->repetition_penalty))
    TERN_FAIL(bad, "repetition_penalty is %g, must be above 0 (0 or 1 = off)", (double)o->repetition_penalty);
cleanup:
  return status;
}

tern_status tern__sampler_create(tern__alloc *alloc, const tern__sampler_options *options, int32_t vocab_size,
                                 tern__sampler **out) {
  tern_status status = TERN_OK;
  tern__sampler *s = NULL;
  *out = NULL;
  TERN_TRY(check_options(options, vocab_size));
  TERN_CHECK_ALLOC(s = tern__calloc(alloc, 1, sizeof *s));
  s->alloc = alloc, s->options = *options, s->vocab_size = vocab_size;
  if (s->options.top_k >= vocab_size) s->options.top_k = 0;
  TERN_CHECK_ALLOC(s->seen = tern__calloc(alloc, (size_t)vocab_size, 1));
  if (options->temperature > 0) {
    TERN_CHECK_ALLOC(s->candidates = tern__calloc(alloc, (size_t)vocab_size, sizeof *s->candidates));
    if (s->options.top_k > 0)
      TERN_CHECK_ALLOC(s->heap = tern__calloc(alloc, (size_t)s->options.top_k, sizeof *s->heap));
  }
  next_u32(s); /* pcg32_srandom */
  s->state += options->seed;
  next_u32(s);
  *out = s;
  s = NULL;
cleanup:
  tern__sampler_destroy(s);
  return status;
}

void tern__sampler_destroy(tern__sampler *s) {
  if (!s) return;
  tern__free(s->alloc, s->candidates);
  tern__free(s->alloc, s->heap);
  tern__free(s->alloc, s->seen);
  tern__free(s->alloc, s);
}

tern_status tern__sampler_accept(tern__sampler *s, int32_t id) {
  if (id < 0 || id >= s->vocab_size)
    return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "sampler: token id %d is not in [0, %d)", id,
                      s->vocab_size);
  s->seen[id] = 1;
  return TERN_OK;
}

/* ---- filters */

static void apply_penalty(const tern__sampler *s, float *logits) {
  float penalty = s->options.repetition_penalty;
  if (penalty == 0 || penalty == 1) return;
  for (int32_t i = 0; i < s->vocab_size; i++)
    if (s->seen[i]) logits[i] = logits[i] > 0 ? logits[i] / penalty : logits[i] * penalty;
}

static tern_status bad_logit(const float *logits, int32_t n) {
  for (int32_t i = 0; i < n; i++)
    if (!(logits[i] < INFINITY))
      return tern__fail(TERN_STATUS_INTERNAL,
                        "the model gave %f as logit of token %d; no token can be picked", (double)logits[i],
                        i);
  return tern__fail(TERN_STATUS_INTERNAL, "all logits are -infinity; no token can be picked");
}

/* The lowest id of the largest logit. Side by side in lanes, as a vocabulary can have 262144 tokens. */
static tern_status find_best(const float *logits, int32_t n, int32_t *best) {
  enum { LANES = 16 };
  float top[LANES], largest = -INFINITY;
  int32_t numbers[LANES], i = 0, b = 0; /* numbers: all bits set while a lane has only seen such below infinity */
  for (int j = 0; j < LANES; j++) top[j] = -INFINITY, numbers[j] = -1;
  for (; i + LANES <= n; i += LANES)
    for (int j = 0; j < LANES; j++) {
      float x = logits[i + j];
      top[j] = x > top[j] ? x : top[j];
      numbers[j] &= -(int32_t)(x < INFINITY);
    }
  for (int j = 0; i < n; i++, j++) {
    top[j] = logits[i] > top[j] ? logits[i] : top[j];
    numbers[j] &= -(int32_t)(logits[i] < INFINITY);
  }
  for (int j = 0; j < LANES; j++) {
    if (!numbers[j]) return bad_logit(logits, n);
    largest = top[j] > largest ? top[j] : largest;
  }
  if (largest == -INFINITY) return bad_logit(logits, n);
  while (logits[b] != largest) b++;
  *best = b;
  return TERN_OK;
}

static void sift_down_floats(float *heap, int32_t n, int32_t at) {
  float v = heap[at];
  for (int32_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && heap[child + 1] < heap[child]) child++;
    if (v <= heap[child]) break;
    heap[at] = heap[child];
  }
  heap[at] = v;
}

/* The k-th largest logit, with a heap of the k largest so far: no sort of the vocabulary. */
static float kth_largest(const float *logits, int32_t n, float *heap, int32_t k) {
  memcpy(heap, logits, (size_t)k * sizeof *heap);
  for (int32_t i = k / 2; i--;) sift_down_floats(heap, k, i);
  for (int32_t i = k; i < n; i++)
    if (logits[i] > heap[0]) heap[0] = logits[i], sift_down_floats(heap, k, 0);
  return heap[0];
}

static bool before(const candidate *a, const candidate *b) {
  return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void sift_down(candidate *heap, size_t n, size_t at) {
  candidate v = heap[at];
  for (size_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && before(&heap[child + 1], &heap[child])) child++;
    if (!before(&heap[child], &v)) break;
    heap[at] = heap[child];
  }
  heap[at] = v;
}

/* Moves the likeliest candidates whose predecessors sum to less than top_p to the end of the array; returns
 * how many. A heap gives them one by one, so that the cost follows the size of the nucleus. */
static size_t take_nucleus(candidate *c, size_t n, double mass) {
  size_t left = n;
  for (size_t i = n / 2; i--;) sift_down(c, n, i);
  for (double sum = 0; left && sum < mass;) {
    candidate top = c[0];
    sum += top.weight;
    c[0] = c[--left], c[left] = top;
    if (left) sift_down(c, left, 0);
  }
  return n - left;
}

static int32_t draw(tern__sampler *s, const candidate *c, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += c[i].weight;
  double at = next_uniform(s) * sum;
  size_t last = 0;
  for (size_t i = 0; i < n; i++) {
    if (c[i].weight > 0) last = i;
    at -= c[i].weight;
    if (at < 0) break;
  }
  return c[last].id;
}

/* What is left of candidates in order of their ids, whose weights are `sum` together, after top-p and min-p. */
static candidate *filter(const tern__sampler_options *o, candidate *c, size_t *n, double sum) {
  if (o->top_p > 0 && o->top_p < 1) {
    size_t kept = take_nucleus(c, *n, (double)o->top_p * sum);
    c += *n - kept, *n = kept;
  }
  if (o->min_p > 0) { /* weights are probabilities relative to the best token's */
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++)
      if (c[i].weight >= (double)o->min_p) c[kept++] = c[i];
    *n = kept;
  }
  return c;
}

tern_status tern__sampler_pick(tern__sampler *s, float *logits, int32_t *id_out) {
  tern_status status = TERN_OK;
  const tern__sampler_options *o = &s->options;
  int32_t best = 0;
  apply_penalty(s, logits);
  TERN_TRY(find_best(logits, s->vocab_size, &best));
  *id_out = best;
  /* So cold that the scaled logits overflow: only the best is left. */
  if (!(o->temperature > 0) || !isfinite(logits[best] / o->temperature)) goto cleanup;

  for (int32_t i = 0; i < s->vocab_size; i++) logits[i] /= o->temperature;
  float limit = o->top_k > 0 ? kth_largest(logits, s->vocab_size, s->heap, o->top_k) : -INFINITY,
        max = logits[best];
  candidate *c = s->candidates;
  size_t n = 0;
  double sum = 0;
  for (int32_t i = 0; i < s->vocab_size; i++) {
    if (logits[i] < limit || logits[i] == -INFINITY) continue;
    c[n] = (candidate){logits[i], i, exp_negative((double)logits[i] - (double)max)};
    sum += c[n++].weight;
  }
  c = filter(o, c, &n, sum);
  for (int32_t i = 0; i < s->vocab_size; i++) logits[i] = -INFINITY;
  for (size_t i = 0; i < n; i++) logits[c[i].id] = c[i].logit;
  *id_out = draw(s, c, n);
cleanup:
  return status;
}

/* ---- from the largest logits */

enum { TIES = 16, PENALIZED = 64, MIN_P_TOKENS = 128, MOST_WANTED = 256 };

int32_t tern__sampler_wants(const tern__sampler *s) {
  const tern__sampler_options *o = &s->options;
  bool penalty = o->repetition_penalty != 0 && o->repetition_penalty != 1;
  int32_t wanted = 1;
  if (penalty && o->repetition_penalty < 1) return 0; /* raises tokens that are not among the largest */
  if (o->temperature > 0) {
    if (o->top_k > 0) wanted = o->top_k < MOST_WANTED ? o->top_k + TIES : MOST_WANTED + 1;
    else if (o->min_p > 0 && !(o->top_p > 0 && o->top_p < 1)) wanted = MIN_P_TOKENS;
    else return 0; /* the sum over the vocabulary */
  }
  if (penalty) wanted += PENALIZED; /* that may sink below others */
  return wanted <= MOST_WANTED && wanted < s->vocab_size ? wanted : 0;
}

static int by_id(const candidate *a, const candidate *b) { return a->id < b->id ? -1 : a->id > b->id; }

/* Shell's sort (Ciura's gaps): a few hundred at most, and nothing allocated. */
static void sort_by_id(candidate *c, int32_t n) {
  static const int32_t gaps[] = {132, 57, 23, 10, 4, 1};
  for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++)
    for (int32_t i = gaps[g]; i < n; i++) {
      candidate v = c[i];
      int32_t at = i;
      for (; at >= gaps[g] && by_id(&v, &c[at - gaps[g]]) < 0; at -= gaps[g]) c[at] = c[at - gaps[g]];
      c[at] = v;
    }
}

/* `c` in order of ids, scaled; no other token is above `bound` (-INFINITY: there is none). Draws if they decide. */
static bool draw_from(tern__sampler *s, candidate *c, int32_t n, float max, float bound, int32_t *id_out) {
  const tern__sampler_options *o = &s->options;
  float limit = -INFINITY;
  size_t kept = 0;
  double sum = 0;
  if (o->top_k > 0) {
    if (n < o->top_k) return false;
    float scores[MOST_WANTED];
    for (int32_t i = 0; i < n; i++) scores[i] = c[i].logit;
    limit = kth_largest(scores, n, s->heap, o->top_k);
    if (!(limit > bound)) return false;
  } else if (exp_negative((double)bound - (double)max) >= (double)o->min_p) {
    return false;
  }
  for (int32_t i = 0; i < n; i++) {
    if (c[i].logit < limit || c[i].logit == -INFINITY) continue;
    c[kept] = (candidate){c[i].logit, c[i].id, exp_negative((double)c[i].logit - (double)max)};
    sum += c[kept++].weight;
  }
  c = filter(o, c, &kept, sum);
  *id_out = draw(s, c, kept);
  return true;
}

tern_status tern__sampler_pick_top(tern__sampler *s, const float *logits, const int32_t *ids, int32_t n,
                                   int32_t *id_out, bool *enough) {
  tern_status status = TERN_OK;
  const tern__sampler_options *o = &s->options;
  float penalty = o->repetition_penalty == 0 ? 1 : o->repetition_penalty;
  candidate list[MOST_WANTED], best = {-INFINITY, -1, 0};
  int32_t first;
  *enough = false;
  if (n < 1 || n > MOST_WANTED || n < tern__sampler_wants(s) || !tern__sampler_wants(s)) return TERN_OK;
  for (int32_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] >= s->vocab_size) return TERN_OK;
  /* The largest tells what find_best would look for in all of them. */
  if (isnan(logits[0]) || logits[0] == INFINITY)
    TERN_FAIL(TERN_STATUS_INTERNAL, "the model gave %f as logit of token %d; no token can be picked", (double)logits[0],
              ids[0]);
  TERN_TRY(find_best(logits, 1, &first));
  for (int32_t i = 0; i < n; i++) {
    float v = logits[i];
    if (penalty != 1 && s->seen[ids[i]]) v = v > 0 ? v / penalty : v * penalty;
    list[i] = (candidate){v, ids[i], 0};
    if (best.id < 0 || before(&list[i], &best)) best = list[i];
  }
  float bound = logits[n - 1];
  if (penalty != 1 && !(best.logit > bound)) goto cleanup; /* one that sank to what others have */
  *id_out = best.id;
  *enough = !(o->temperature > 0) || !isfinite(best.logit / o->temperature);
  if (*enough) goto cleanup;
  for (int32_t i = 0; i < n; i++) list[i].logit /= o->temperature;
  sort_by_id(list, n);
  *enough = draw_from(s, list, n, best.logit / o->temperature, bound / o->temperature, id_out);
cleanup:
  return status;
}
