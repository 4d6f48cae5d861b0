/* Runs test cases in the ONNX backend test layout: DIR/model.onnx, DIR/test_data_set_N/{input,output}_I.pb.
 * Prints a line a case: "pass NAME", "fail NAME: why" or "unsupported NAME: why". node_tests.py holds the
 * result to expected.txt. */
#include <stdio.h>
#include <string.h>

#include "ops/op_harness.h"

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    char why[512];
    const char *name = strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];
    tern_status status = harness_run_case(argv[i], why, sizeof why);
    if (status == TERN_STATUS_UNSUPPORTED) printf("unsupported %s: %s\n", name, tern_last_error());
    else if (status != TERN_OK) printf("fail %s: %s\n", name, tern_last_error());
    else if (*why) printf("fail %s: %s\n", name, why);
    else printf("pass %s\n", name);
    fflush(stdout);
  }
  return 0;
}
