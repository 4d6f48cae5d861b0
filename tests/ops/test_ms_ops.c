/* com.microsoft operators against ONNX Runtime's results (vectors/make_ms_ops.py made them), and a few of
 * tern's promises about its operator table. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "ops/op_harness.h"

Test(ms_ops, agree_with_onnx_runtime) {
  char folder[4096], path[8192], why[512];
  int cases = 0;
  snprintf(folder, sizeof folder, "%s/tests/ops/vectors/ms", TERN_SOURCE_DIR);
  DIR *dir = opendir(folder);
  cr_assert(dir, "%s is missing", folder);
  for (struct dirent *e; (e = readdir(dir));) {
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    tern_status status = harness_run_case(path, why, sizeof why);
    cr_expect_eq(status, TERN_OK, "%s: %s", e->d_name, tern_last_error());
    if (status == TERN_OK) cr_expect_eq(why[0], 0, "%s: %s", e->d_name, why);
    cases++;
  }
  closedir(dir);
  cr_assert_geq(cases, 61, "only %d cases", cases);
}

/* A name of a domain is served by one definition at every version. */
Test(op_table, versions_do_not_overlap) {
  size_t n;
  const tern__op_def *const *ops = tern__op_list(&n);
  for (size_t i = 0; i < n; i++) {
    cr_expect(ops[i]->infer && ops[i]->reference, "%s", ops[i]->name);
    cr_expect_leq(ops[i]->min_inputs, ops[i]->max_inputs < 0 ? INT32_MAX : ops[i]->max_inputs, "%s",
                  ops[i]->name);
    for (size_t j = i + 1; j < n; j++) {
      if (strcmp(ops[i]->name, ops[j]->name) != 0 || strcmp(ops[i]->domain, ops[j]->domain) != 0) continue;
      int32_t end_i = ops[i]->until ? ops[i]->until : INT32_MAX,
              end_j = ops[j]->until ? ops[j]->until : INT32_MAX;
      cr_expect(end_i < ops[j]->since || end_j < ops[i]->since, "%s is defined twice", ops[i]->name);
    }
  }
}
