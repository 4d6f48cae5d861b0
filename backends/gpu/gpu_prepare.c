/* Preparing a program: weights and constants go to the device, pipelines are compiled. All threads of the pool take
 * from one list of tasks. What is large is cut into pieces of some hundred KiB, each of them packed into memory that a
 * core's cache holds and written from there: neither does a large weight keep one thread busy when the others are done,
 * nor is a weight ever in the host's memory as a whole, on pages that the system would have to find and clear first.
 * The device's memory may be a write-combining one: it is written in order, and never read. */
#include <string.h>

#include "gpu/gpu_cache.h"
#include "gpu/gpu_pack.h"
#include "gpu/gpu_recording.h"
#include "runtime/thread_pool.h"

enum { ERROR_TEXT = 512, RAW_LAYOUT = 0x72617721, CONSTANT_PIECE = 1 << 20 };

/* A weight or a constant that is not there yet. */
typedef struct item {
  const tern__gpu_weight *weight; /* NULL: a constant, */
  const void *data;               /* of these bytes */
  uint64_t size;
  tern__gpu_buffer **out;         /* the program's place for the buffer */
  tern__gpu_buffer *buffer;
  const void *key;                /* in the pack cache, with `layout`; NULL: the program's own, not in there */
  uint64_t layout;
  uint64_t first, n;              /* pieces of all items, this one's */
  _Atomic uint64_t left;          /* pieces not written */
  bool busy;                      /* another program makes it */
  bool settled;
} item;

typedef struct preparation {
  tern__program *program;
  const tern_progress *progress;
  item *items;
  size_t n_items;
  uint64_t n_pieces;
  size_t scratch_bytes;           /* that a piece needs at most */
  size_t n_kernels;
  tern__gpu_kernel_id kernels[TERN__KERNEL_COUNT];
  uint64_t n_tasks;
  _Atomic uint64_t next, done;
  uint64_t told;                  /* percent */
  tern__mutex lock;               /* of `n_made`, as far as it is waited for */
  tern__cond changed;
  _Atomic size_t n_made;          /* items, in order, whose buffers are there */
  _Atomic int32_t failed;
  tern_status status;
  char error[ERROR_TEXT];
} preparation;

static void release(void *owner, void *resource) {
  tern__backend *backend = owner;
  backend->api->buffer_destroy(backend->device, resource);
}

/* ---- what is to be made ---- */

/* Part of the key: a session's own constants may come to lie where those of an earlier session were. */
static uint64_t content_hash(const uint8_t *data, uint64_t size) {
  return tern__pack_hash(TERN__PACK_HASH ^ RAW_LAYOUT, data, size);
}

/* A model may be open on two devices. */
static uint64_t of_device(const tern__backend *backend, uint64_t layout) {
  return (layout ^ (uint64_t)(uintptr_t)backend) * TERN__HASH_PRIME;
}

static tern_status add_item(preparation *p, item *made) {
  tern_status status = TERN_OK;
  tern__pack_claim claim = TERN__PACK_OURS;
  void *there = NULL;
  if (made->key) TERN_TRY(tern__pack_cache_claim(p->program->cache, made->key, made->layout, &claim, &there));
  if (claim == TERN__PACK_THERE) {
    *made->out = there;
    return TERN_OK;
  }
  made->busy = claim == TERN__PACK_BUSY;
  if (made->busy) made->n = 0;
  made->first = p->n_pieces;
  atomic_init(&made->left, made->n);
  p->n_pieces += made->n;
  p->items[p->n_items++] = *made;
cleanup:
  return status;
}

static tern_status add_weight(preparation *p, tern__gpu_weight *weight) {
  size_t scratch;
  item made = {.weight = weight, .size = weight->size, .out = &weight->buffer, .key = weight->key,
               .layout = of_device(p->program->backend, weight->layout)};
  made.n = tern__gpu_weight_runs(weight, &scratch);
  if (!made.n) made.n = 1; /* made whole */
  tern_status status = add_item(p, &made);
  if (status == TERN_OK && scratch > p->scratch_bytes) p->scratch_bytes = scratch;
  return status;
}

static tern_status add_constant(preparation *p, tern__gpu_constant_value *constant) {
  tern__backend *backend = p->program->backend;
  item made = {.data = constant->data, .size = constant->size, .out = &constant->buffer,
               .n = constant->size ? (constant->size - 1) / CONSTANT_PIECE + 1 : 1};
  if (constant->folded && constant->buffer) return TERN_OK;
  if (!constant->folded) {
    bool in_file = tern__pack_cache_in_file(p->program->cache, constant->data, constant->size);
    made.key = constant->data;
    made.layout = of_device(backend, content_hash(constant->data, in_file ? 0 : constant->size) ^ constant->size);
  }
  return add_item(p, &made);
}

/* ---- making it ---- */

/* Kernels read whole words: the tail of a type narrower than a word is padded. */
static tern_status make_buffer(tern__backend *backend, uint64_t size, tern__gpu_buffer **out) {
  return backend->api->buffer_create(backend->device, TERN__GPU_DEVICE, tern__gpu_place(size), out);
}

static tern_status write_whole(tern__backend *backend, const tern__gpu_weight *weight, tern__gpu_buffer *buffer) {
  tern_status status = TERN_OK;
  size_t size = (size_t)weight->size;
  void *packed = tern__alloc_aligned(backend->env.alloc, size, 64);
  if (!packed) TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "no memory to pack a weight of %zu bytes", size);
  TERN_TRY(weight->build(weight->user_data, packed));
  TERN_TRY(backend->api->write(backend->device, buffer, 0, packed, size));
cleanup:
  tern__free_aligned(backend->env.alloc, packed, size, 64);
  return status;
}

static tern_status write_run(tern__backend *backend, const item *i, uint64_t run, uint8_t *scratch) {
  tern_status status = TERN_OK;
  tern__gpu_packed packed[TERN__GPU_WEIGHT_BINDINGS];
  tern__gpu_pack_run(i->weight, run, scratch, packed);
  for (int k = 0; k < TERN__GPU_WEIGHT_BINDINGS; k++)
    if (packed[k].size)
      TERN_TRY(backend->api->write(backend->device, i->buffer, packed[k].offset, packed[k].data, packed[k].size));
cleanup:
  return status;
}

static tern_status write_piece(tern__backend *backend, const item *i, uint64_t piece, uint8_t *scratch) {
  size_t none;
  if (i->weight && tern__gpu_weight_runs(i->weight, &none)) return write_run(backend, i, piece, scratch);
  if (i->weight) return write_whole(backend, i->weight, i->buffer);
  uint64_t at = piece * CONSTANT_PIECE, left = i->size - at;
  return backend->api->write(backend->device, i->buffer, at, (const uint8_t *)i->data + at,
                             (size_t)(left < CONSTANT_PIECE ? left : CONSTANT_PIECE));
}

static void settle(preparation *p, item *i, tern_status status) {
  tern__backend *backend = p->program->backend;
  i->settled = true;
  if (status == TERN_OK) *i->out = i->buffer;
  if (i->key)
    tern__pack_cache_settle(p->program->cache, i->key, i->layout, status, i->buffer, (size_t)i->size, release, backend);
  if (status != TERN_OK) backend->api->buffer_destroy(backend->device, i->buffer);
}

static void set_failure(preparation *p, tern_status status) {
  int32_t unset = 0;
  if (!atomic_compare_exchange_strong(&p->failed, &unset, 1)) return;
  p->status = status;
  const char *text = tern_last_error();
  size_t size = strlen(text);
  if (size >= ERROR_TEXT) size = ERROR_TEXT - 1;
  memcpy(p->error, text, size);
  p->error[size] = 0;
}

static void wake_all(preparation *p) {
  tern__mutex_lock(&p->lock);
  tern__cond_broadcast(&p->changed);
  tern__mutex_unlock(&p->lock);
}

/* Drivers give out memory one piece at a time: one thread asks for it, the others fill what is there. */
static tern_status make_buffers(preparation *p) {
  tern_status status = TERN_OK;
  for (size_t i = 0; i < p->n_items && !atomic_load(&p->failed); i++) {
    TERN_TRY(tern__cancel_check(p->program->cancel, "preparing the device"));
    if (!p->items[i].busy) TERN_TRY(make_buffer(p->program->backend, p->items[i].size, &p->items[i].buffer));
    atomic_store(&p->n_made, i + 1);
    wake_all(p);
  }
cleanup:
  return status;
}

/* The item that a piece belongs to, once it has its buffer; NULL after a failure. */
static item *item_of(preparation *p, uint64_t piece) {
  size_t low = 0, high = p->n_items; /* the last one that does not begin behind it */
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (p->items[middle].first <= piece) low = middle;
    else high = middle;
  }
  if (atomic_load(&p->n_made) <= low) {
    tern__mutex_lock(&p->lock);
    while (atomic_load(&p->n_made) <= low && !atomic_load(&p->failed)) tern__cond_wait(&p->changed, &p->lock);
    tern__mutex_unlock(&p->lock);
  }
  return atomic_load(&p->failed) ? NULL : &p->items[low];
}

static tern_status do_piece(preparation *p, uint64_t piece, uint8_t **scratch) {
  tern_status status = TERN_OK;
  tern__backend *backend = p->program->backend;
  item *i = item_of(p, piece);
  if (!i) return TERN_OK;
  if (p->scratch_bytes && !*scratch) {
    *scratch = tern__alloc_aligned(backend->env.alloc, p->scratch_bytes, 64);
    if (!*scratch) TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "no memory to pack weights: %zu bytes", p->scratch_bytes);
  }
  TERN_TRY(write_piece(backend, i, piece - i->first, *scratch));
  if (atomic_fetch_sub(&i->left, 1) == 1) settle(p, i, TERN_OK);
cleanup:
  return status;
}

/* Buffers first, as all pieces wait for them. Then kernels, of which the longest may take as long to compile as all
 * weights to upload; but last where they are compiled by others meanwhile, and waited for. */
static tern_status run_task(preparation *p, uint64_t task, uint8_t **scratch) {
  tern_status status = TERN_OK;
  tern__backend *backend = p->program->backend;
  uint64_t kernels_at = backend->api->pipeline_start ? 1 + p->n_pieces : 1;
  TERN_TRY(tern__cancel_check(p->program->cancel, "preparing the device"));
  if (task == 0) {
    TERN_TRY(make_buffers(p));
  } else if (task >= kernels_at && task - kernels_at < p->n_kernels) {
    tern__gpu_pipeline *pipeline;
    TERN_TRY(backend->api->pipeline(backend->device, p->kernels[task - kernels_at], &pipeline));
  } else {
    TERN_TRY(do_piece(p, task - 1 - (task >= kernels_at ? p->n_kernels : 0), scratch));
  }
cleanup:
  return status;
}

static void tell(preparation *p, uint64_t done) {
  uint64_t percent = done * 100 / p->n_tasks;
  if (!p->progress || !p->progress->fn || percent == p->told || atomic_load(&p->failed)) return;
  p->told = percent;
  if (!p->progress->fn(p->progress->user_data, "upload", done, p->n_tasks)) return;
  (void)tern__fail(TERN_STATUS_CANCELLED, "cancelled by the progress callback");
  set_failure(p, TERN_STATUS_CANCELLED);
}

static void work(void *arg, int32_t thread, int32_t n_threads) {
  preparation *p = arg;
  uint8_t *scratch = NULL;
  uint64_t task;
  (void)n_threads;
  while (!atomic_load(&p->failed) && (task = atomic_fetch_add(&p->next, 1)) < p->n_tasks) {
    tern_status status = run_task(p, task, &scratch);
    if (status != TERN_OK) set_failure(p, status);
    uint64_t done = atomic_fetch_add(&p->done, 1) + 1;
    if (thread == 0) tell(p, done);
  }
  if (atomic_load(&p->failed)) wake_all(p);
  tern__free_aligned(p->program->backend->env.alloc, scratch, p->scratch_bytes, 64);
}

/* ---- what another program makes ---- */

typedef struct waiting { tern__backend *backend; const item *item; } waiting;

static tern_status make_now(void *user_data, void **resource) {
  tern_status status = TERN_OK;
  const waiting *w = user_data;
  tern__backend *backend = w->backend;
  const item *i = w->item;
  tern__gpu_buffer *buffer = NULL;
  TERN_TRY(make_buffer(backend, i->size, &buffer));
  if (i->weight) TERN_TRY(write_whole(backend, i->weight, buffer));
  else TERN_TRY(backend->api->write(backend->device, buffer, 0, i->data, (size_t)i->size));
  *resource = buffer, buffer = NULL;
cleanup:
  backend->api->buffer_destroy(backend->device, buffer);
  return status;
}

/* It is there soon, unless the other program fails. */
static tern_status wait_for(preparation *p, const item *i) {
  tern_status status = TERN_OK;
  waiting w = {p->program->backend, i};
  void *resource = NULL;
  TERN_TRY(tern__cancel_check(p->program->cancel, "preparing the device"));
  TERN_TRY(tern__pack_cache_resource(p->program->cache, i->key, i->layout, (size_t)i->size, make_now, &w, release,
                                     w.backend, &resource));
  *i->out = resource;
cleanup:
  return status;
}

/* ---- */

static tern_status add_all(preparation *p) {
  tern_status status = TERN_OK;
  tern__program *program = p->program;
  const tern__gpu_api *api = program->backend->api;
  size_t n_weights = tern__array_count(program->weights), n_constants = tern__array_count(program->constants);
  bool used[TERN__KERNEL_COUNT] = {false};
  for (size_t i = 0; i < tern__array_count(program->steps); i++) {
    const tern__gpu_step *step = &program->steps[i];
    used[step->kernel] = true;
    if (step->brief.positions) used[step->brief.kernel] = true;
  }
  used[TERN__KERNEL_sample_top] |= tern__gpu_may_rank(program); /* gpu_top.c */
  used[TERN__KERNEL_sample_top_next] |= tern__gpu_may_go_ahead(program);
  for (int k = 0; k < TERN__KERNEL_COUNT; k++)
    if (used[k]) p->kernels[p->n_kernels++] = (tern__gpu_kernel_id)k;
  if (api->pipeline_start)
    for (size_t k = 0; k < p->n_kernels; k++)
      TERN_TRY(api->pipeline_start(program->backend->device, p->kernels[k]));
  p->items = tern__calloc(program->backend->env.alloc, n_weights + n_constants + 1, sizeof *p->items);
  TERN_CHECK_ALLOC(p->items);
  for (size_t i = 0; i < n_weights; i++) TERN_TRY(add_weight(p, &program->weights[i]));
  for (size_t i = 0; i < n_constants; i++) TERN_TRY(add_constant(p, &program->constants[i]));
  p->n_tasks = 1 + p->n_kernels + p->n_pieces;
cleanup:
  return status;
}

tern_status tern__gpu_prepare(tern__program *program, const tern_progress *progress, const tern_cancel *cancel) {
  tern__backend *backend = program->backend;
  preparation p = {.program = program, .progress = progress};
  program->cancel = cancel;
  tern__mutex_init(&p.lock);
  tern__cond_init(&p.changed);
  tern_status status = add_all(&p);
  if (status == TERN_OK) {
    tern__pool_run(backend->env.pool, backend->info->one_thread ? 1 : tern__pool_n_threads(backend->env.pool), work,
                   &p);
    if (atomic_load(&p.failed)) tern__error_set(p.error), status = p.status;
  }
  for (size_t i = 0; i < p.n_items; i++) /* what a failure left behind: others wait for it */
    if (!p.items[i].busy && !p.items[i].settled) settle(&p, &p.items[i], status);
  for (size_t i = 0; i < p.n_items && status == TERN_OK; i++)
    if (p.items[i].busy) status = wait_for(&p, &p.items[i]);
  if (status == TERN_OK && p.n_kernels) tern__gpu_cache_save(backend, false);
  tern__free(backend->env.alloc, p.items);
  tern__cond_deinit(&p.changed);
  tern__mutex_deinit(&p.lock);
  program->cancel = NULL;
  return status;
}
