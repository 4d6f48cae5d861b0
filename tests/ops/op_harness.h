/* A plain interpreter for graphs: infer and reference, node by node. Tests hold operators to oracles with it.
 */
#ifndef TERN_TESTS_OP_HARNESS_H
#define TERN_TESTS_OP_HARNESS_H

#include "ir/op.h"

/* Runs the graph in its order. feeds[i] is for graph->inputs[i]; *views gets one view per value, in the
 * arena. */
tern_status harness_run(const tern__graph *graph, const tern__view *feeds, size_t n_feeds, tern__arena *arena,
                        tern__view **views);

/* Whether two tensors agree: type, shape, and |got - want| <= atol + rtol |want|; NaN equals NaN. On failure
 * `why` says where they differ first. */
bool harness_close(const tern__view *got, const tern__view *want, double rtol, double atol, char *why,
                   size_t why_size);

/* Element i as a number, whatever the type. */
double harness_at(const tern__view *view, size_t i);

/* The bytes of a file, malloc'ed; NULL if it cannot be read. */
uint8_t *harness_read_file(const char *path, size_t *size);

/* Runs a case in the ONNX backend test layout: FOLDER/model.onnx, FOLDER/test_data_set_N/{input,output}_I.pb,
 * tolerances in FOLDER/tolerance.txt ("rtol atol"). OK and an empty `why` is a pass; any status but OK is the
 * library's refusal. */
tern_status harness_run_case(const char *folder, char *why, size_t why_size);

#endif
