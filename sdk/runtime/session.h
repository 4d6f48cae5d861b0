/* Runs a graph: plans per set of input shapes, kept; one activation arena for all of them; the KV cache. */
#ifndef TERN_RUNTIME_SESSION_H
#define TERN_RUNTIME_SESSION_H

#include "base/json.h"
#include "runtime/kv_cache.h"
#include "runtime/plan.h"
#include "runtime/runtime.h"

typedef struct tern__session tern__session;

typedef struct tern__session_options {
  int32_t device;           /* index into runtime->backends */
  tern_numerics numerics;
  int32_t n_threads;        /* 0 = the pool's */
  uint64_t budget_bytes;    /* 0 = none */
  int32_t kv_batch, kv_capacity; /* for graphs with tern.KvAttention; 0 batch = no cache */
  bool fallback;            /* a failing device is left for the CPU */
  bool profile;
  uint64_t long_run_bytes;  /* tests: see tern__plan_options */
} tern__session_options;

/* Takes its own copy of the graph and lets the backend rewrite it. `graph` and `cache` must outlive the session. */
tern_status tern__session_create(tern_runtime *runtime, const tern__graph *graph, tern__pack_cache *cache,
                                 const tern__session_options *options, tern__session **out);
void tern__session_destroy(tern__session *session);

const tern__graph *tern__session_graph(const tern__session *session);
int32_t tern__session_prompt_rows(const tern__session *session); /* of a long prompt, that are best run together */
tern__kv_cache *tern__session_kv(tern__session *session); /* NULL = none */

/* `inputs`: one view per graph input, in graph order. Plans if these shapes are new. A token of NULL is fine here and
 * in tern__session_run. */
tern_status tern__session_plan_for(tern__session *session, const tern__view *inputs, const tern_cancel *cancel,
                                   tern_memory_plan *out);
/* Runs; then tern__session_output gives views that stay valid until the next run. Allocates nothing when the shapes
 * were planned before and the activation arena is large enough; except where threads are late in all plans for these
 * inputs, and there are less than four: then it makes one more (docs/threading.md). */
tern_status tern__session_run(tern__session *session, const tern__view *inputs, const tern_cancel *cancel,
                              const tern_progress *progress);
const tern__view *tern__session_output(const tern__session *session, int32_t index);
/* Its size_bytes. */
tern_status tern__session_copy_output(const tern__session *session, int32_t index, void *to);
/* From now on outputs are taken by tern__session_copy_output alone, of tern__session_output just dtype and shape: large
 * ones may arrive meanwhile. */
void tern__session_allow_late(tern__session *session);
/* From the next run on: of output `index` only the k largest values of each row are wanted (k = 0: all). A device that
 * can then brings no more than these; the CPU has all of them anyway. */
void tern__session_want_top(tern__session *session, int32_t index, int32_t k);
/* Of the next run: as far as the caller knows the one after it will be of one more token, the largest of the output
 * that is wanted the top of. A device may begin that at once; nothing is lost but its time if it comes otherwise. */
void tern__session_expect_follower(tern__session *session);
/* What the last run brought of that output; false: all of it, see tern__session_output. */
bool tern__session_top(const tern__session *session, tern__top *out);
/* After a run that brought the largest: the whole output after all. */
tern_status tern__session_fetch(tern__session *session, const tern_cancel *cancel);
void tern__session_cancel(tern__session *session);      /* from any thread: the plan or run in progress stops */
/* Whether, after this failure of a run, the session may go on on the CPU; then it is there, with an empty KV cache, and
 * the log says why. A session without a KV cache does this by itself. */
bool tern__session_fall_back(tern__session *session, tern_status failure);
/* The last run as JSON (tern.h, tern_session_profile); false without memory or before the first run. */
bool tern__session_profile(const tern__session *session, tern__json_writer *w);
/* Bytes of the largest plan so far. */
void tern__session_memory(const tern__session *session, tern_memory_plan *out);

#endif
