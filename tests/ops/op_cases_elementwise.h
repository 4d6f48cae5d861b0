/* Part of op_cases.h: elementwise ops of all types and shapes. */
#ifndef TERN_TESTS_OP_CASES_ELEMENTWISE_H
#define TERN_TESTS_OP_CASES_ELEMENTWISE_H

#include "ops/op_builder.h"

/* Integers that exercise both words, carries and signs; `spread` bits of magnitude. */
static void fill_integers(void *data, tern_dtype dtype, size_t n, int spread) {
  for (size_t i = 0; i < n; i++) {
    int64_t v =
        (int64_t)(((uint64_t)(uint32_t)(noise() * 2147483647.0f) << 32) ^ (uint64_t)(noise() * 4e9f + 4e9f));
    v >>= 63 - spread;
    if (i % 7 == 3) v = 0;
    if (i % 11 == 5) v = -1;
    if (i % 13 == 6) v = dtype == TERN_DTYPE_I64 ? INT64_MIN : INT32_MIN;
    if (dtype == TERN_DTYPE_I64) ((int64_t *)data)[i] = v;
    else ((int32_t *)data)[i] = (int32_t)v;
  }
}

Test(elementwise, activations_with_parameters) {
  static const struct { const char *op, *domain, *attr[2]; float value[2]; } ops[] = {
      {"LeakyRelu", "", {"alpha"}, {0.3f}},       {"Elu", "", {"alpha"}, {1.5f}},
      {"Celu", "", {"alpha"}, {0.7f}},            {"Selu", "", {NULL}, {0}},
      {"Selu", "", {"alpha", "gamma"}, {2, 3}},   {"HardSigmoid", "", {"alpha", "beta"}, {0.25f, 0.4f}},
      {"ThresholdedRelu", "", {"alpha"}, {2}},    {"QuickGelu", "com.microsoft", {NULL}, {0}},
      {"QuickGelu", "com.microsoft", {"alpha"}, {1.2f}}, {"Gelu", "com.microsoft", {NULL}, {0}},
      {"Round", "", {NULL}, {0}},                 {"Sign", "", {NULL}, {0}},
      {"FastGelu", "com.microsoft", {NULL}, {0}}};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
    one_op t;
    begin(&t, ops[i].op, ops[i].domain, ops[i].domain[0] ? 1 : 20);
    float *x = input(&t, TERN_DTYPE_F32, 2, 31, 77);
    for (int e = 0; e < 31 * 77; e++) x[e] *= 9;
    x[5] = 0, x[6] = -0.0f, x[7] = 2.5f;
    node(&t, 1, 20);
    for (int a = 0; a < 2; a++)
      if (ops[i].attr[a]) set_float(&t, ops[i].attr[a], ops[i].value[a]);
    check(&t, 1e-6, ops[i].attr[0] ? "with parameters" : "");
    end(&t);
  }
  for (int tanh = 0; tanh < 2; tanh++) {
    one_op t;
    begin(&t, "Gelu", "", 20);
    input(&t, TERN_DTYPE_F32, 2, 31, 77);
    node(&t, 1, 20);
    tern__node_set_string(t.graph, t.node, "approximate", tanh ? "tanh" : "none");
    check(&t, 1e-6, tanh ? "tanh" : "erf");
    end(&t);
  }
}

Test(elementwise, clip) {
  for (int bounds = 0; bounds < 4; bounds++) {
    one_op t;
    begin(&t, "Clip", "", 13);
    input(&t, TERN_DTYPE_F32, 1, 1001);
    if (bounds & 1) *(float *)constant(&t, TERN_DTYPE_F32, 0) = -0.25f;
    else absent(&t);
    if (bounds & 2) *(float *)constant(&t, TERN_DTYPE_F32, 0) = 0.5f;
    node(&t, 1, 13);
    check(&t, 0, bounds == 3 ? "two bounds" : bounds ? "one bound" : "no bounds");
    end(&t);
  }
}

/* More workgroups than one dimension of a dispatch has. */
Test(elementwise, many_elements) {
  one_op t;
  begin(&t, "Neg", "", 13);
  input(&t, TERN_DTYPE_F32, 1, 3 * 64 * 11 + 33);
  node(&t, 1, 13);
  t.groups_limit = 11;
  check(&t, 0, "wide");
  end(&t);
}

/* Larger than what a device binds at once: in pieces. */
Test(elementwise, beyond_a_binding) {
  one_op t;
  begin(&t, "Abs", "", 13);
  input(&t, TERN_DTYPE_F32, 1, 5003);
  node(&t, 1, 13);
  t.binding_limit = 4096;
  check(&t, 0, "in pieces");
  end(&t);
}

Test(elementwise, five_dimensions_that_do_not_merge) {
  one_op t;
  begin(&t, "Sub", "", 13);
  input(&t, TERN_DTYPE_F32, 5, 3, 1, 5, 1, 7);
  input(&t, TERN_DTYPE_F32, 5, 1, 4, 1, 6, 1);
  node(&t, 1, 13);
  check(&t, 0, "outer product");
  end(&t);
}

Test(elementwise, an_input_with_itself) {
  const char *ops[] = {"Mul", "Add"};
  for (int i = 0; i < 4; i++) {
    one_op t;
    begin(&t, ops[i / 2], "", 13);
    fill_integers(input(&t, i % 2 ? TERN_DTYPE_I64 : TERN_DTYPE_F32, 2, 9, 33), TERN_DTYPE_I32, 9 * 33, 20);
    if (i % 2) fill_integers(t.feeds[0].data, TERN_DTYPE_I64, 9 * 33, 60);
    else
      for (int e = 0; e < 9 * 33; e++) ((float *)t.feeds[0].data)[e] = noise();
    t.ids[t.n_inputs++] = t.ids[0];
    node(&t, 1, 13);
    check(&t, 0, "x, x");
    end(&t);
  }
}

Test(elementwise, integers_are_exact) {
  const char *ops[] = {"Add", "Sub", "Mul",        "Div",       "Max",
                       "Min", "Mod", "BitwiseAnd", "BitwiseOr", "BitwiseXor"};
  const tern_dtype types[] = {TERN_DTYPE_I32, TERN_DTYPE_I64};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    for (int d = 0; d < 2; d++)
      for (int variant = 0; variant < 3; variant++) {
        one_op t;
        if (variant == 2 && strcmp(ops[i], "Mod") != 0) continue;
        begin(&t, ops[i], "", 18);
        fill_integers(input(&t, types[d], 3, 4, 9, 13), types[d], 4 * 9 * 13, 62);
        if (variant == 1) fill_integers(input(&t, types[d], 2, 9, 1), types[d], 9, 12);
        else fill_integers(input(&t, types[d], 3, 4, 9, 13), types[d], 4 * 9 * 13, variant ? 5 : 40);
        node(&t, 1, 18);
        if (variant == 2) set_int(&t, "fmod", 1);
        check(&t, 0, d ? "int64" : "int32");
        end(&t);
      }
}

Test(elementwise, comparisons) {
  const char *ops[] = {"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"};
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_I32, TERN_DTYPE_I64};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    for (int d = 0; d < 3; d++)
      for (int broadcast = 0; broadcast < 2; broadcast++) {
        one_op t;
        begin(&t, ops[i], "", 16);
        for (int side = 0; side < 2; side++) {
          int n = side && broadcast ? 5 : 3 * 5 * 7;
          void *x = n == 5 ? input(&t, types[d], 2, 5, 1) : input(&t, types[d], 3, 3, 5, 7);
          if (d) fill_integers(x, types[d], (size_t)n, d == 2 ? 40 : 5);
          for (int e = 0; !d && e < n; e++) ((float *)x)[e] = roundf(noise() * 3);
          if (!d) ((float *)x)[3] = NAN, ((float *)x)[4] = side ? -0.0f : 0;
        }
        node(&t, 1, 16);
        check(&t, 0, tern_dtype_name(types[d]));
        end(&t);
      }
}

Test(elementwise, logic) {
  const char *ops[] = {"And", "Or", "Xor", "Equal", "Not"};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
    one_op t;
    begin(&t, ops[i], "", 13);
    for (int side = 0; side < (i == 4 ? 1 : 2); side++) {
      uint8_t *x = side ? input(&t, TERN_DTYPE_BOOL, 1, 35) : input(&t, TERN_DTYPE_BOOL, 2, 3, 35);
      for (int e = 0; e < (side ? 35 : 105); e++) x[e] = noise() > 0;
    }
    node(&t, 1, 13);
    check(&t, 0, "");
    end(&t);
  }
  one_op t;
  begin(&t, "IsNaN", "", 13);
  float *x = input(&t, TERN_DTYPE_F32, 1, 21);
  x[0] = x[20] = NAN, x[3] = INFINITY;
  node(&t, 1, 13);
  check(&t, 0, "");
  end(&t);
}

Test(elementwise, where) {
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_I64};
  for (int d = 0; d < 2; d++)
    for (int shape = 0; shape < 3; shape++) {
      one_op t;
      begin(&t, "Where", "", 16);
      int n = shape == 1 ? 7 : 2 * 3 * 7;
      uint8_t *c = shape == 1 ? input(&t, TERN_DTYPE_BOOL, 2, 1, 7) : input(&t, TERN_DTYPE_BOOL, 3, 2, 3, 7);
      for (int e = 0; e < n; e++) c[e] = noise() > 0;
      input(&t, types[d], 3, 2, 3, 7);
      if (shape == 2) input(&t, types[d], 0);
      else input(&t, types[d], 3, 2, 1, 7);
      node(&t, 1, 16);
      check(&t, 0, tern_dtype_name(types[d]));
      end(&t);
    }
}

Test(elementwise, casts) {
  const tern_dtype types[] = {TERN_DTYPE_F32, TERN_DTYPE_F16, TERN_DTYPE_I32, TERN_DTYPE_I64,
                              TERN_DTYPE_U8,  TERN_DTYPE_I8,  TERN_DTYPE_BOOL};
  const int onnx[] = {1, 10, 6, 7, 2, 3, 9};
  for (size_t a = 0; a < 7; a++)
    for (size_t b = 0; b < 7; b++) {
      one_op t;
      char what[64];
      enum { N = 1003 };
      if (a == b) continue;
      begin(&t, "Cast", "", 13);
      void *x = input(&t, types[a], 1, N);
      if (types[a] == TERN_DTYPE_I32 || types[a] == TERN_DTYPE_I64) {
        fill_integers(x, types[a], N / 2, 62);
        fill_integers((char *)x + N / 2 * (types[a] == TERN_DTYPE_I64 ? 8 : 4), types[a], N - N / 2, 23);
      }
      for (int e = 0; a == 0 && e < N; e++) ((float *)x)[e] = ldexpf(noise(), e % 80 - 10);
      for (int e = 0; types[a] == TERN_DTYPE_BOOL && e < N; e++) ((uint8_t *)x)[e] &= 1;
      if (a == 0)
        ((float *)x)[0] = NAN, ((float *)x)[1] = INFINITY, ((float *)x)[2] = -INFINITY,
                ((float *)x)[3] = -0.0f, ((float *)x)[4] = 65519.99f, ((float *)x)[5] = -9.2e18f,
                ((float *)x)[6] = 9.3e18f;
      node(&t, 1, 13);
      set_int(&t, "to", onnx[b]);
      snprintf(what, sizeof what, "%s to %s", tern_dtype_name(types[a]), tern_dtype_name(types[b]));
      check(&t, 0, what);
      end(&t);
    }
}

#endif
