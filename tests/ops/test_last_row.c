/* tern.LastRow: which row, with and without a cache. */
#include "one_node.h"

Test(last_row, picks_the_last_new_row) {
  float x[2 * 3 * 2] = {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15};
  int32_t past[2] = {5, 0}, fresh[2] = {2, 3};
  tern__kv_cache kv = {.batch = 2, .past = past, .fresh = fresh};
  one_node n;
  node_init(&n, "LastRow", "tern");
  node_input(&n, TERN_DTYPE_F32, x, 3, 2, 3, 2);
  n.call.kv = &kv;
  float *y = node_run(&n);
  cr_expect(n.out[0].shape.dims[0] == 2 && n.out[0].shape.dims[1] == 1 && n.out[0].shape.dims[2] == 2);
  cr_expect(y[0] == 2 && y[1] == 3 && y[2] == 14 && y[3] == 15);
  free(y);
  fresh[0] = 0; /* nothing new: zeros */
  y = node_run(&n);
  cr_expect(y[0] == 0 && y[1] == 0 && y[2] == 14);
  free(y);
  n.call.kv = NULL; /* no cache: every row is new */
  y = node_run(&n);
  cr_expect(y[0] == 4 && y[1] == 5 && y[2] == 14);
  free(y);
}

Test(last_row, gives_all_rows_when_a_run_wants_them) {
  float x[2 * 3 * 2] = {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15};
  int32_t past[2] = {5, 0}, fresh[2] = {2, 3};
  tern__kv_cache kv = {.batch = 2, .past = past, .fresh = fresh, .all_rows = true};
  one_node n;
  node_init(&n, "LastRow", "tern");
  node_input(&n, TERN_DTYPE_F32, x, 3, 2, 3, 2);
  n.call.kv = &kv;
  float *y = node_run(&n);
  cr_expect_eq(n.out[0].shape.dims[1], 3);
  for (int i = 0; i < 12; i++) cr_expect_eq(y[i], x[i]);
  free(y);
}
