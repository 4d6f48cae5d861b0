/* Part of op_cases.h: norms with all their outputs, softmax, reductions and selections along any axis. */
#ifndef TERN_TESTS_OP_CASES_ROWS_H
#define TERN_TESTS_OP_CASES_ROWS_H

#include "ops/op_builder.h"
#include "ops/op_cases_elementwise.h"

/* Sums of up to some thousand terms in float32; the reference sums in double. */
static const double row_error = 2e-6;

Test(norm, outputs_and_axes) {
  for (int n = 63; n <= 64; n++) {
    one_op t;
    begin(&t, "LayerNormalization", "", 17);
    input(&t, TERN_DTYPE_F32, 3, 5, 3, n);
    constant(&t, TERN_DTYPE_F32, 1, n), constant(&t, TERN_DTYPE_F32, 1, n);
    node(&t, 3, 17);
    check(&t, row_error, "mean and deviation");
    end(&t);
    begin(&t, "LayerNormalization", "", 17);
    input(&t, TERN_DTYPE_F32, 3, 5, 3, n);
    constant(&t, TERN_DTYPE_F32, 2, 3, n);
    node(&t, 1, 17);
    set_int(&t, "axis", 1), set_float(&t, "epsilon", 0.01f);
    check(&t, row_error, "axis 1, no bias");
    end(&t);
    begin(&t, "SimplifiedLayerNormalization", "com.microsoft", 1);
    input(&t, TERN_DTYPE_F32, 2, 5, n);
    constant(&t, TERN_DTYPE_F32, 1, n);
    node(&t, 2, 1);
    check(&t, row_error, "deviation");
    end(&t);
    begin(&t, "RMSNormalization", "", 23);
    input(&t, TERN_DTYPE_F32, 2, 5, n);
    constant(&t, TERN_DTYPE_F32, 1, n);
    node(&t, 1, 23);
    check(&t, row_error, "");
    end(&t);
  }
}

Test(norm, skip_outputs) {
  for (int simplified = 0; simplified < 2; simplified++)
    for (int outputs = 1; outputs <= 4; outputs++)
      for (int n = 63; n <= 64; n++) {
        one_op t;
        begin(&t, simplified ? "SkipSimplifiedLayerNormalization" : "SkipLayerNormalization", "com.microsoft",
              1);
        input(&t, TERN_DTYPE_F32, 3, 2, 5, n);
        if (outputs % 2) input(&t, TERN_DTYPE_F32, 3, 1, 5, n);
        else input(&t, TERN_DTYPE_F32, 3, 2, 5, n);
        constant(&t, TERN_DTYPE_F32, 1, n);
        if (!simplified) constant(&t, TERN_DTYPE_F32, 1, n);
        if (outputs > 2) constant(&t, TERN_DTYPE_F32, 1, n);
        node(&t, outputs, 1);
        char what[32];
        snprintf(what, sizeof what, "%d outputs, n=%d", outputs, n);
        check(&t, row_error, what);
        end(&t);
      }
}

Test(softmax, any_axis) {
  const char *ops[] = {"Softmax", "LogSoftmax"};
  for (int i = 0; i < 2; i++)
    for (int opset = 11; opset <= 13; opset += 2)
      for (int axis = -3; axis < 3; axis++) {
        one_op t;
        begin(&t, ops[i], "", opset);
        input(&t, TERN_DTYPE_F32, 3, 5, 68, 9);
        node(&t, 1, opset);
        set_int(&t, "axis", axis);
        check(&t, 1e-6, opset < 13 ? "flattened" : "one axis");
        end(&t);
      }
}

/* More rows than one dimension of a dispatch has workgroups. */
Test(softmax, many_rows) {
  one_op t;
  begin(&t, "Softmax", "", 13);
  input(&t, TERN_DTYPE_F32, 2, 7 * 13 + 5, 70);
  node(&t, 1, 13);
  t.groups_limit = 13;
  check(&t, 1e-6, "13 workgroups wide");
  end(&t);
}

static const char *const reductions[] = {"ReduceSum",    "ReduceMean",      "ReduceMax", "ReduceMin",
                                         "ReduceProd",   "ReduceSumSquare", "ReduceL1",  "ReduceL2",
                                         "ReduceLogSum", "ReduceLogSumExp"};

static void reduce_case(const char *op, tern_dtype dtype, int n_axes, const int64_t *axes, int keep) {
  one_op t;
  enum { COUNT = 3 * 5 * 70 * 4 };
  begin(&t, op, "", 18);
  void *x = input(&t, dtype, 4, 3, 5, 70, 4);
  if (dtype != TERN_DTYPE_F32) fill_integers(x, dtype, COUNT, 40);
  else
    for (int e = 0; e < COUNT; e++)
      ((float *)x)[e] = !strcmp(op, "ReduceProd")     ? 1 + noise() / 64
                        : !strcmp(op, "ReduceLogSum") ? noise() + 2
                                                      : noise();
  if (n_axes) memcpy(constant(&t, TERN_DTYPE_I64, 1, n_axes), axes, (size_t)n_axes * sizeof *axes);
  node(&t, 1, 18);
  set_int(&t, "keepdims", keep);
  check(&t, dtype == TERN_DTYPE_F32 ? 5e-6 : 0, tern_dtype_name(dtype));
  end(&t);
}

Test(reduce, any_axes) {
  static const struct {
    int n;
    int64_t axes[3];
  } sets[] = {{0, {0}}, {1, {2}}, {1, {-1}}, {2, {0, 2}}, {2, {1, 3}}, {3, {1, 2, 3}}, {2, {0, 1}}};
  for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++)
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++)
      reduce_case(reductions[i], TERN_DTYPE_F32, sets[s].n, sets[s].axes, (int)s & 1);
  for (size_t i = 0; i < 7; i++)
    for (size_t s = 0; s < 4; s++) {
      reduce_case(reductions[i], TERN_DTYPE_I64, sets[s].n, sets[s].axes, 1);
      reduce_case(reductions[i], TERN_DTYPE_I32, sets[s].n, sets[s].axes, 0);
    }
}

Test(reduce, not_a_number_and_infinity) {
  for (size_t i = 2; i < 4; i++)
    for (int n = 40; n < 400; n += 300) {
      one_op t;
      begin(&t, reductions[i], "", 13);
      float *x = input(&t, TERN_DTYPE_F32, 2, 3, n);
      x[n + 17] = NAN, x[2 * n] = INFINITY, x[2 * n + 1] = -INFINITY;
      node(&t, 1, 13);
      tern__node_set_ints(t.graph, t.node, "axes", (int64_t[]){1}, 1);
      check(&t, 0, "NaN and infinity");
      end(&t);
    }
}

Test(select, arg) {
  for (int which = 0; which < 2; which++)
    for (int last = 0; last < 2; last++)
      for (int axis = 0; axis < 3; axis++) {
        one_op t;
        begin(&t, which ? "ArgMin" : "ArgMax", "", 13);
        float *x = input(&t, TERN_DTYPE_F32, 3, 7, 131, 5);
        for (int e = 0; e < 7 * 131 * 5; e++) x[e] = roundf(x[e] * 8); /* many equals */
        x[100] = NAN, x[200] = -0.0f, x[205] = 0, x[300] = INFINITY;
        node(&t, 1, 13);
        set_int(&t, "axis", axis), set_int(&t, "select_last_index", last), set_int(&t, "keepdims", axis != 1);
        check(&t, 0, last ? "last of equals" : "first of equals");
        end(&t);
      }
}

Test(select, top_k) {
  for (int largest = 0; largest < 2; largest++)
    for (int axis = 0; axis < 3; axis++)
      for (int equals = 0; equals < 2; equals++) {
        one_op t;
        begin(&t, "TopK", "", 11);
        float *x = input(&t, TERN_DTYPE_F32, 3, 9, 130, 5);
        for (int e = 0; equals && e < 9 * 130 * 5; e++) x[e] = roundf(x[e] * 4);
        *(int64_t *)constant(&t, TERN_DTYPE_I64, 1, 1) = 5;
        node(&t, 2, 11);
        set_int(&t, "axis", axis), set_int(&t, "largest", largest);
        check(&t, 0, equals ? "equals" : "distinct");
        end(&t);
      }
}

Test(select, cum_sum) {
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_I32, TERN_DTYPE_I64};
  for (int d = 0; d < 3; d++)
    for (int flags = 0; flags < 4; flags++)
      for (int axis = 0; axis < 2; axis++) {
        one_op t;
        begin(&t, "CumSum", "", 14);
        void *x = input(&t, types[d], 2, 300, 37);
        if (d) fill_integers(x, types[d], 300 * 37, 50);
        *(int64_t *)constant(&t, TERN_DTYPE_I64, 0) = axis;
        node(&t, 1, 14);
        set_int(&t, "exclusive", flags & 1), set_int(&t, "reverse", flags >> 1);
        check(&t, d ? 0 : 1e-7, tern_dtype_name(types[d]));
        end(&t);
      }
}

#endif
