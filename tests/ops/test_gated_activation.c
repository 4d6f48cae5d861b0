/* tern.SiluMul and tern.GeluMul against libm in double. */
#include "one_node.h"

static double silu(double x) { return x / (1 + exp(-x)); }
static double gelu(double x) { return 0.5 * x * (1 + erf(x / sqrt(2))); }
static double gelu_tanh(double x) {
  return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

static void check(const char *op, const char *approximate, double (*f)(double)) {
  enum { COUNT = 2001 };
  one_node n;
  float gate[COUNT], *up = noise_array(COUNT, 11);
  for (int i = 0; i < COUNT; i++) gate[i] = (float)(i - COUNT / 2) / 50;
  node_init(&n, op, "tern");
  if (approximate) node_text(&n, "approximate", approximate);
  node_input(&n, TERN_DTYPE_F32, gate, 2, 1, COUNT), node_input(&n, TERN_DTYPE_F32, up, 2, 1, COUNT);
  float *y = node_run(&n);
  for (int i = 0; i < COUNT; i++) {
    double want = f((double)gate[i]) * (double)up[i];
    /* Near -x the factor 1 + erf cancels: an ulp of 1 remains, times x. */
    expect_close(y[i], want, fabs(want) * 1e-6 + fabs((double)gate[i]) * 1.2e-7,
                 "%s(%g): %.9g, expected %.9g", op, (double)gate[i], (double)y[i], want);
  }
  free(up), free(y);
}

Test(gated_activation, silu) { check("SiluMul", NULL, silu); }
Test(gated_activation, gelu) { check("GeluMul", "none", gelu), check("GeluMul", NULL, gelu); }
Test(gated_activation, gelu_tanh) { check("GeluMul", "tanh", gelu_tanh); }
Test(gated_activation, infinite_gates) {
  float gate[4] = {INFINITY, -100, 100, 0}, up[4] = {1, 1, 1, 1};
  one_node n;
  node_init(&n, "SiluMul", "tern");
  node_input(&n, TERN_DTYPE_F32, gate, 1, 4), node_input(&n, TERN_DTYPE_F32, up, 1, 4);
  float *y = node_run(&n);
  cr_expect(isinf(y[0]) && y[1] == 0 && y[2] == 100 && y[3] == 0, "%g %g %g %g", (double)y[0], (double)y[1],
            (double)y[2], (double)y[3]);
  free(y);
}
Test(gated_activation, refuses_what_does_not_fit) {
  float x[4] = {0};
  one_node n;
  node_init(&n, "SiluMul", "tern");
  node_input(&n, TERN_DTYPE_F32, x, 1, 4), node_input(&n, TERN_DTYPE_F32, x, 1, 3);
  fails(&n, TERN_STATUS_SHAPE_MISMATCH, "gate [4] and up [3]");
  node_init(&n, "GeluMul", "tern");
  node_text(&n, "approximate", "sigmoid");
  node_input(&n, TERN_DTYPE_F32, x, 1, 4), node_input(&n, TERN_DTYPE_F32, x, 1, 4);
  fails(&n, TERN_STATUS_UNSUPPORTED, "sigmoid");
}
