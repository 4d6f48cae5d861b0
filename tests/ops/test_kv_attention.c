/* tern.KvAttention against attention over the whole sequence in double: fed in one piece, in pieces, row by
 * row and in batches of different lengths, it must give the same. */
#include "one_node.h"

#include "base/half.h"

typedef struct config {
  int heads, kv_heads, dim, rotary, window;
  float scale, softcap;
  bool interleaved;
} config;

enum { CAPACITY = 16, LENGTH = 11 };

typedef struct fixture {
  config c;
  float *q, *k, *v, *cos, *sin; /* of one sequence: [LENGTH, ...]; tables [CAPACITY, rotary / 2] */
  tern__kv_cache kv;
  uint16_t *k_store, *v_store;
  int32_t heads[1], dims[1], past[3], fresh[3];
  uint16_t *k_layers[1], *v_layers[1];
} fixture;

static void begin(fixture *f, config c, int batch) {
  size_t cells = (size_t)(batch * c.kv_heads * CAPACITY * c.dim);
  memset(f, 0, sizeof *f);
  f->c = c;
  f->q = noise_array((size_t)(LENGTH * c.heads * c.dim), 1),
  f->k = noise_array((size_t)(LENGTH * c.kv_heads * c.dim), 2);
  f->v = noise_array((size_t)(LENGTH * c.kv_heads * c.dim), 3);
  f->cos = noise_array((size_t)(CAPACITY * c.rotary), 0),
  f->sin = noise_array((size_t)(CAPACITY * c.rotary), 0);
  for (int p = 0; p < CAPACITY; p++)
    for (int i = 0; i < c.rotary / 2; i++) {
      double angle = p * pow(100, -2.0 * i / c.rotary);
      f->cos[p * c.rotary / 2 + i] = (float)cos(angle), f->sin[p * c.rotary / 2 + i] = (float)sin(angle);
    }
  f->k_store = malloc(cells * 2), f->v_store = malloc(cells * 2);
  cr_assert(f->k_store && f->v_store);
  memset(f->k_store, 0xff, cells * 2),
      memset(f->v_store, 0xff, cells * 2); /* NaN: what is not stored must not be read */
  f->heads[0] = c.kv_heads, f->dims[0] = c.dim, f->k_layers[0] = f->k_store, f->v_layers[0] = f->v_store;
  f->kv = (tern__kv_cache){.n_layers = 1,
                           .batch = batch,
                           .capacity = CAPACITY,
                           .kv_heads = f->heads,
                           .head_dim = f->dims,
                           .k = f->k_layers,
                           .v = f->v_layers,
                           .past = f->past,
                           .fresh = f->fresh};
}
static void end(fixture *f) {
  free(f->q), free(f->k), free(f->v), free(f->cos), free(f->sin), free(f->k_store), free(f->v_store);
}

static void turn(const fixture *f, int position, const float *x, double *y) {
  const config *c = &f->c;
  for (int i = 0; i < c->dim; i++) y[i] = (double)x[i];
  for (int i = 0; i < c->rotary / 2; i++) {
    int a = c->interleaved ? 2 * i : i, b = c->interleaved ? 2 * i + 1 : i + c->rotary / 2;
    double cosine = (double)f->cos[position * c->rotary / 2 + i],
           sine = (double)f->sin[position * c->rotary / 2 + i];
    y[a] = (double)x[a] * cosine - (double)x[b] * sine, y[b] = (double)x[b] * cosine + (double)x[a] * sine;
  }
}

/* Row `at` of head h in double; the cache's rounding to half is the one difference. */
static void expected(const fixture *f, int at, int h, double *y) {
  const config *c = &f->c;
  double q[64], k[64], p[LENGTH], sum = 0, scale = c->scale != 0 ? (double)c->scale : 1 / sqrt(c->dim);
  int g = h / (c->heads / c->kv_heads), width = c->kv_heads * c->dim;
  turn(f, at, f->q + (at * c->heads + h) * c->dim, q);
  for (int j = 0; j <= at; j++) {
    double dot = 0;
    turn(f, j, f->k + j * width + g * c->dim, k);
    for (int i = 0; i < c->dim; i++) dot += q[i] * k[i];
    dot *= scale;
    if (c->softcap > 0) dot = (double)c->softcap * tanh(dot / (double)c->softcap);
    sum += p[j] = c->window > 0 && j <= at - c->window ? 0 : exp(dot);
  }
  for (int i = 0; i < c->dim; i++) y[i] = 0;
  for (int j = 0; j <= at; j++)
    for (int i = 0; i < c->dim; i++) y[i] += p[j] / sum * (double)f->v[j * width + g * c->dim + i];
}

static void set_node(one_node *n, fixture *f) {
  node_init(n, "KvAttention", "tern");
  node_int(n, "layer", 0), node_int(n, "num_heads", f->c.heads), node_int(n, "kv_num_heads", f->c.kv_heads);
  node_float(n, "scale", f->c.scale), node_float(n, "softcap", f->c.softcap);
  node_int(n, "rotary_interleaved", f->c.interleaved),
      node_int(n, "local_window", f->c.window ? f->c.window : -1);
  n->call.kv = &f->kv;
}

/* Each sequence b gets the rows past[b] .. past[b] + fresh[b] of the fixture; rows up to `rows` are padded
 * with NaN. */
static void step(fixture *f, int rows) {
  one_node n;
  const config *c = &f->c;
  int batch = f->kv.batch, qw = c->heads * c->dim, kw = c->kv_heads * c->dim;
  float *q = malloc((size_t)(batch * rows * qw) * 4), *k = malloc((size_t)(batch * rows * kw) * 4),
        *v = malloc((size_t)(batch * rows * kw) * 4);
  cr_assert(q && k && v);
  for (int i = 0; i < batch * rows * qw; i++) q[i] = NAN;
  for (int i = 0; i < batch * rows * kw; i++) k[i] = v[i] = NAN;
  for (int b = 0; b < batch; b++) {
    memcpy(q + b * rows * qw, f->q + f->past[b] * qw, (size_t)(f->fresh[b] * qw) * 4);
    memcpy(k + b * rows * kw, f->k + f->past[b] * kw, (size_t)(f->fresh[b] * kw) * 4);
    memcpy(v + b * rows * kw, f->v + f->past[b] * kw, (size_t)(f->fresh[b] * kw) * 4);
  }
  set_node(&n, f);
  node_input(&n, TERN_DTYPE_F32, q, 3, batch, rows, qw),
      node_input(&n, TERN_DTYPE_F32, k, 3, batch, rows, kw);
  node_input(&n, TERN_DTYPE_F32, v, 3, batch, rows, kw);
  if (c->rotary)
    node_input(&n, TERN_DTYPE_F32, f->cos, 2, CAPACITY, c->rotary / 2),
        node_input(&n, TERN_DTYPE_F32, f->sin, 2, CAPACITY, c->rotary / 2);
  float *y = node_run(&n);
  for (int b = 0; b < batch; b++)
    for (int s = 0; s < rows; s++)
      for (int h = 0; h < c->heads; h++) {
        const float *got = y + (b * rows + s) * qw + h * c->dim;
        double want[64] = {0};
        if (s < f->fresh[b]) expected(f, f->past[b] + s, h, want);
        /* K and V in (-1, 1) as halves err by 2^-12 each; scores by that times the size of q. */
        for (int i = 0; i < c->dim; i++)
          expect_close(got[i], want[i], s < f->fresh[b] ? 1e-3 : 0,
                       "sequence %d row %d head %d: %g, expected %g", b, s, h, (double)got[i], want[i]);
      }
  for (int b = 0; b < batch; b++) f->past[b] += f->fresh[b];
  free(q), free(k), free(v), free(y);
}

static void check(config c) {
  static const int pieces[][LENGTH + 1] = {{11, 0}, {4, 3, 4, 0}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0}};
  for (int i = 0; i < 3; i++) {
    fixture f;
    begin(&f, c, 1);
    for (int p = 0; pieces[i][p]; p++) f.fresh[0] = pieces[i][p], step(&f, pieces[i][p]);
    cr_expect_eq(f.past[0], LENGTH);
    end(&f);
  }
}

Test(kv_attention, no_rotary) { check((config){.heads = 2, .kv_heads = 2, .dim = 8}); }
Test(kv_attention, grouped_neox) { check((config){.heads = 6, .kv_heads = 2, .dim = 8, .rotary = 8}); }
Test(kv_attention, grouped_interleaved) {
  check((config){.heads = 4, .kv_heads = 1, .dim = 16, .rotary = 16, .interleaved = true});
}
Test(kv_attention, partial_rotary) { check((config){.heads = 2, .kv_heads = 1, .dim = 16, .rotary = 8}); }
Test(kv_attention, window) { check((config){.heads = 2, .kv_heads = 1, .dim = 8, .rotary = 8, .window = 3}); }
Test(kv_attention, window_of_one) { check((config){.heads = 2, .kv_heads = 1, .dim = 8, .window = 1}); }
Test(kv_attention, scale_and_softcap) {
  check((config){.heads = 2, .kv_heads = 2, .dim = 8, .scale = 0.5f, .softcap = 1.5f});
}

Test(kv_attention, batch_of_different_lengths) {
  fixture f;
  begin(&f, (config){.heads = 4, .kv_heads = 2, .dim = 8, .rotary = 8, .window = 4}, 3);
  f.fresh[0] = 5, f.fresh[1] = 2, f.fresh[2] = 0;
  step(&f, 5);
  f.fresh[0] = 1, f.fresh[1] = 4, f.fresh[2] = 3;
  step(&f, 4);
  f.fresh[0] = 1, f.fresh[1] = 1, f.fresh[2] = 1;
  step(&f, 1);
  cr_expect(f.past[0] == 7 && f.past[1] == 7 && f.past[2] == 4);
  end(&f);
}

static tern_status run_reference(fixture *f, one_node *n, int rows, int kv_width) {
  set_node(n, f);
  node_input(n, TERN_DTYPE_F32, f->q, 3, 1, rows, f->c.heads * f->c.dim),
      node_input(n, TERN_DTYPE_F32, f->k, 3, 1, rows, kv_width);
  node_input(n, TERN_DTYPE_F32, f->v, 3, 1, rows, kv_width);
  n->out[0].data = f->q;
  tern_status status = node_infer(n);
  return status == TERN_OK ? n->node.op->reference(&n->call) : status;
}

Test(kv_attention, refuses_what_does_not_fit) {
  fixture f;
  one_node n;
  begin(&f, (config){.heads = 2, .kv_heads = 1, .dim = 8}, 1);
  f.past[0] = CAPACITY - 1, f.fresh[0] = 2;
  cr_expect_eq(run_reference(&f, &n, 2, 8), TERN_STATUS_CONTEXT_FULL);
  cr_expect_not_null(strstr(tern_last_error(), "17 positions"));
  cr_expect_eq(run_reference(&f, &n, 2, 4), TERN_STATUS_SHAPE_MISMATCH);
  f.kv.n_layers = 0;
  cr_expect_eq(run_reference(&f, &n, 2, 8), TERN_STATUS_INVALID_STATE);
  end(&f);
}
