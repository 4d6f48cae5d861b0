/* Part of op_cases.h: ops that move elements. */
#ifndef TERN_TESTS_OP_CASES_LAYOUT_H
#define TERN_TESTS_OP_CASES_LAYOUT_H

#include "ops/elements.h"
#include "ops/op_builder.h"

static const tern_dtype layout_types[] = {TERN_DTYPE_F32, TERN_DTYPE_I64, TERN_DTYPE_U8, TERN_DTYPE_F16};

static void integers(one_op *t, int n, const int64_t *values) {
  memcpy(constant(t, TERN_DTYPE_I64, 1, n), values, (size_t)n * sizeof *values);
}

Test(layout, transpose_of_many_dimensions) {
  const int64_t orders[][8] = {{7, 6, 5, 4, 3, 2, 1, 0}, {1, 0, 3, 2, 5, 4, 7, 6}, {0, 1, 2, 3, 4, 5, 6, 7}};
  for (size_t d = 0; d < 2; d++)
    for (size_t i = 0; i < 3; i++) {
      one_op t;
      begin(&t, "Transpose", "", 13);
      input(&t, layout_types[d], 8, 2, 3, 2, 3, 2, 3, 2, 4);
      node(&t, 1, 13);
      tern__node_set_ints(t.graph, t.node, "perm", orders[i], 8);
      check(&t, 0, "rank 8");
      end(&t);
    }
}

Test(layout, slice) {
  static const struct { int64_t start[2], end[2], step[2]; } ranges[] = {
      {{1, 4}, {5, 20}, {1, 1}},          {{0, 0}, {7, 32}, {1, 1}}, {{-3, -9}, {INT64_MAX, -1}, {1, 3}},
      {{-1, -1}, {INT64_MIN, -30}, {-1, -2}}, {{2, 8}, {3, 16}, {1, 1}}, {{5, 0}, {2, 32}, {1, 1}}};
  for (size_t d = 0; d < 4; d++)
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
      one_op t;
      begin(&t, "Slice", "", 13);
      input(&t, layout_types[d], 4, 2, 7, 3, 32);
      integers(&t, 2, ranges[i].start), integers(&t, 2, ranges[i].end);
      integers(&t, 2, (int64_t[]){1, -1}), integers(&t, 2, ranges[i].step);
      node(&t, 1, 13);
      check(&t, 0, tern_dtype_name(layout_types[d]));
      end(&t);
    }
}

Test(layout, split) {
  for (size_t d = 0; d < 4; d++)
    for (int axis = 0; axis < 3; axis++)
      for (int sizes = 0; sizes < 2; sizes++) {
        one_op t;
        begin(&t, "Split", "", 18);
        input(&t, layout_types[d], 3, 8, 10, 12);
        if (sizes) integers(&t, 3, (int64_t[]){1, 2, 5 + 2 * axis});
        node(&t, 3, 18);
        set_int(&t, "axis", axis - (axis == 2 ? 3 : 0));
        if (!sizes) set_int(&t, "num_outputs", 3);
        check(&t, 0, tern_dtype_name(layout_types[d]));
        end(&t);
      }
}

Test(layout, concat) {
  const int widths[][3] = {{1, 2, 5}, {4, 8, 4}, {0, 3, 1}};
  for (size_t d = 0; d < 2; d++)
    for (size_t i = 0; i < 3; i++)
      for (int axis = 0; axis < 2; axis++) {
        one_op t;
        begin(&t, "Concat", "", 13);
        for (int k = 0; k < 3; k++)
          if (axis) input(&t, layout_types[d], 3, 3, 2, widths[i][k]);
          else input(&t, layout_types[d], 3, widths[i][k], 2, 5);
        node(&t, 1, 13);
        set_int(&t, "axis", axis ? -1 : 0);
        check(&t, 0, tern_dtype_name(layout_types[d]));
        end(&t);
      }
}

Test(layout, expand_and_tile) {
  for (size_t d = 0; d < 4; d++)
    for (int tile = 0; tile < 2; tile++) {
      one_op t;
      begin(&t, tile ? "Tile" : "Expand", "", 13);
      input(&t, layout_types[d], 4, 2, 1, 3, 4);
      integers(&t, 4, tile ? (int64_t[]){1, 3, 2, 2} : (int64_t[]){2, 5, 3, 1});
      node(&t, 1, 13);
      check(&t, 0, tern_dtype_name(layout_types[d]));
      end(&t);
    }
}

Test(layout, pad) {
  const char *modes[] = {"constant", "edge", "reflect", "wrap"};
  for (size_t d = 0; d < 2; d++)
    for (int m = 0; m < 4; m++)
      for (int value = 0; value < 2; value++) {
        one_op t;
        if (value && m) continue;
        begin(&t, "Pad", "", 19);
        input(&t, layout_types[d], 3, 3, 4, 5);
        integers(&t, 6, m ? (int64_t[]){0, 2, 3, 0, 1, 2} : (int64_t[]){1, -1, 3, 0, 2, -2});
        if (value) constant(&t, layout_types[d], 0);
        node(&t, 1, 19);
        tern__node_set_string(t.graph, t.node, "mode", modes[m]);
        check(&t, 0, modes[m]);
        end(&t);
      }
}

Test(layout, trilu) {
  for (size_t d = 0; d < 2; d++)
    for (int upper = 0; upper < 2; upper++)
      for (int k = -2; k < 4; k += 2) {
        one_op t;
        begin(&t, "Trilu", "", 14);
        input(&t, layout_types[d], 3, 2, 5, 9);
        if (k) *(int64_t *)constant(&t, TERN_DTYPE_I64, 0) = k;
        node(&t, 1, 14);
        set_int(&t, "upper", upper);
        check(&t, 0, upper ? "upper" : "lower");
        end(&t);
      }
}

/* Indices from one below the range to one above it; floats, odd ones among them, are cut. */
static void fill_positions(const tern__view *indices, int depth) {
  size_t n;
  tern__shape_count(&indices->shape, &n);
  for (size_t i = 0; i < n; i++) {
    int position = (int)(i * 5 % (size_t)(2 * depth + 2)) - depth - 1;
    if (tern__dtype_is_float(indices->dtype))
      tern__view_set_real(indices, i, i == 4 ? NAN : i == 9 ? INFINITY : position + (position < 0 ? -0.75 : 0.75));
    else tern__view_set_int(indices, i, position);
  }
}

static void one_hot_case(tern_dtype index, tern_dtype value, int axis, int depth, bool computed_values) {
  one_op t;
  char what[96];
  begin(&t, "OneHot", "", 11);
  input(&t, index, 2, 5, 9);
  fill_positions(&t.feeds[0], depth);
  *(int64_t *)constant(&t, TERN_DTYPE_I64, 0) = depth;
  if (computed_values) input(&t, value, 1, 2);
  else constant(&t, value, 1, 2);
  node(&t, 1, 11);
  if (axis != 9) set_int(&t, "axis", axis);
  snprintf(what, sizeof what, "indices %s, values %s, axis %d, depth %d", tern_dtype_name(index),
           tern_dtype_name(value), axis, depth);
  check(&t, 0, what);
  end(&t);
}

Test(layout, one_hot) {
  enum { NO_AXIS = 9 };
  const int axes[] = {NO_AXIS, 0, 1, 2, -1, -2, -3}, depths[] = {1, 7, 16};
  for (size_t a = 0; a < sizeof axes / sizeof *axes; a++)
    for (size_t i = 0; i < 3; i++)
      for (size_t d = 0; d < 4; d++) one_hot_case(TERN_DTYPE_I64, layout_types[d], axes[a], depths[i], i == 0);
  for (tern_dtype type = TERN_DTYPE_F32; type <= TERN_DTYPE_U64; type++) {
    if (type != TERN_DTYPE_F64) one_hot_case(type, TERN_DTYPE_F32, 1, 7, false);
    one_hot_case(TERN_DTYPE_I32, type, -1, 7, false);
  }
  one_hot_case(TERN_DTYPE_I32, TERN_DTYPE_BOOL, -1, 7, true);
}

static void one_hot_shape(int rank, int rows, tern_dtype depth_type, uint32_t groups_limit) {
  one_op t;
  begin(&t, "OneHot", "", 11);
  if (rank) input(&t, TERN_DTYPE_I32, 2, rows, 3);
  else input(&t, TERN_DTYPE_I32, 0);
  fill_positions(&t.feeds[0], 11);
  if (depth_type == TERN_DTYPE_F32) *(float *)constant(&t, TERN_DTYPE_F32, 1, 1) = 11;
  else *(int32_t *)constant(&t, TERN_DTYPE_I32, 0) = 11;
  input(&t, TERN_DTYPE_U8, 1, 2); /* with constants alone beside empty indices it is evaluated while planning */
  node(&t, 1, 11);
  t.groups_limit = groups_limit;
  check(&t, 0, groups_limit ? "wide" : rank ? "empty" : "a scalar");
  end(&t);
}

Test(layout, one_hot_shapes) {
  one_hot_shape(0, 1, TERN_DTYPE_F32, 0);
  one_hot_shape(2, 0, TERN_DTYPE_I32, 0);
  one_hot_shape(2, 601, TERN_DTYPE_I32, 11); /* more workgroups than one dimension of a dispatch has */
  one_op t; /* the indices are the values, too */
  begin(&t, "OneHot", "", 11);
  memcpy(input(&t, TERN_DTYPE_I64, 1, 2), (int64_t[]){3, -1}, 2 * sizeof(int64_t));
  *(int64_t *)constant(&t, TERN_DTYPE_I64, 0) = 5;
  t.ids[t.n_inputs++] = t.ids[0];
  node(&t, 1, 11);
  check(&t, 0, "x, depth, x");
  end(&t);
}

static void gather_case(tern_dtype dtype, bool narrow_index, int axis, int inner, uint64_t limit) {
  one_op t;
  enum { DIM = 23, N = 6 };
  const int picks[N] = {0, 22, -1, 5, -23, 11};
  begin(&t, "Gather", "", 13);
  if (axis) input(&t, dtype, 3, 4, DIM, inner);
  else constant(&t, dtype, 2, DIM, inner);
  void *j = input(&t, narrow_index ? TERN_DTYPE_I32 : TERN_DTYPE_I64, 2, 2, 3);
  for (int i = 0; i < N; i++)
    if (narrow_index) ((int32_t *)j)[i] = picks[i];
    else ((int64_t *)j)[i] = picks[i];
  node(&t, 1, 13);
  set_int(&t, "axis", axis);
  t.binding_limit = limit;
  check(&t, 0, tern_dtype_name(dtype));
  end(&t);
}

Test(layout, gather) {
  for (int axis = 0; axis < 2; axis++) {
    gather_case(TERN_DTYPE_F32, false, axis, 7, 0);
    gather_case(TERN_DTYPE_F32, true, axis, 64, 0);
    gather_case(TERN_DTYPE_I64, false, axis, 3, 0);
    gather_case(TERN_DTYPE_U8, false, axis, 8, 0);
    gather_case(TERN_DTYPE_F16, false, axis, 9, 0);
    gather_case(TERN_DTYPE_BF16, true, axis, 8, 0);
  }
  gather_case(TERN_DTYPE_F32, false, 0, 48, 2048); /* tables in slices */
  gather_case(TERN_DTYPE_F16, false, 0, 96, 2560);
  gather_case(TERN_DTYPE_F32, false, 0, 64, 1536);
}

Test(layout, gather_elements) {
  for (size_t d = 0; d < 2; d++)
    for (int axis = 0; axis < 3; axis++) {
      one_op t;
      begin(&t, "GatherElements", "", 13);
      input(&t, layout_types[d], 3, 6, 7, 8);
      int64_t *j = input(&t, TERN_DTYPE_I64, 3, 4, 5, 6);
      for (int i = 0; i < 4 * 5 * 6; i++) j[i] = (int64_t)(noise() * 5.9f);
      node(&t, 1, 13);
      set_int(&t, "axis", axis);
      check(&t, 0, tern_dtype_name(layout_types[d]));
      end(&t);
    }
}

Test(layout, last_row) {
  one_op t;
  int32_t heads = 1, dim = 8;
  begin(&t, "LastRow", "tern", 1);
  input(&t, TERN_DTYPE_F32, 3, 3, 5, 19);
  node(&t, 1, 1);
  tern__kv_layout layout = {1, &heads, &dim};
  cr_assert_eq(tern__kv_cache_create(&t.alloc, &layout, 3, 8, true, &t.kv), TERN_OK);
  t.kv->fresh[0] = 5, t.kv->fresh[1] = 2, t.kv->fresh[2] = 0;
  check(&t, 0, "of three sequences");
  t.kv->all_rows = true;
  check(&t, 0, "all rows");
  end(&t);
}

#endif
