/* Memory of packed weights: in a few large pieces, filled once, by whoever comes first, also after what has failed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/pack_cache.h"

/* An allocator over the library's own that notes large pieces and fails when it is told to. */
typedef struct watcher {
  tern__alloc own;
  size_t pieces[16];
  _Atomic int n_pieces, left; /* left: allocations before the one that fails; negative = none fails */
} watcher;

static void *watched_alloc(void *user, size_t size, size_t align) {
  watcher *w = user;
  if (atomic_load(&w->left) >= 0 && atomic_fetch_sub(&w->left, 1) == 0) return atomic_store(&w->left, 0), NULL;
  if (size >= 4096 && align == TERN__LARGE_ALIGN) w->pieces[atomic_fetch_add(&w->n_pieces, 1) % 16] = size;
  return tern__alloc_aligned(&w->own, size, align);
}
static void watched_free(void *user, void *ptr, size_t size, size_t align) {
  tern__free_aligned(&((watcher *)user)->own, ptr, size, align);
}

typedef struct fixture { watcher watcher; tern__alloc alloc; tern__pack_cache *cache; } fixture;

static void open_cache(fixture *f) {
  memset(f, 0, sizeof *f);
  f->watcher.left = -1;
  tern__alloc_init(&f->watcher.own, NULL, 0);
  tern__alloc_init(&f->alloc, &(tern_allocator){watched_alloc, watched_free, &f->watcher}, 0);
  cr_assert_eq(tern__pack_cache_create(&f->alloc, &f->cache), TERN_OK);
}
static void close_cache(fixture *f) {
  tern__pack_cache_destroy(f->cache);
  cr_expect_eq(f->alloc.live_bytes, 0, "memory is kept");
  cr_expect_eq(f->watcher.own.live_bytes, 0, "memory was given back with another size");
}

enum { KEYS = 12, MIB = 1 << 20 };
static const char keys[KEYS]; /* their addresses are the keys */

/* A weight of `size` bytes; touched whole only where it is small. */
typedef struct weight { size_t size; uint8_t byte; tern_status status; _Atomic int built; } weight;

static tern_status build(void *user, void *packed) {
  weight *w = user;
  if (w->status != TERN_OK) return tern__fail(w->status, "made to fail");
  memset(packed, w->byte, w->size < MIB ? w->size : 1);
  atomic_fetch_add(&w->built, 1);
  return TERN_OK;
}

static const uint8_t *get(fixture *f, int key, weight *w) {
  const void *packed = NULL;
  tern_status status = tern__pack_cache_get(f->cache, &keys[key], 7, w->size, build, w, &packed);
  cr_expect_eq(status, w->status, "key %d: %s", key, tern_last_error());
  cr_expect(!packed == (status != TERN_OK));
  cr_expect_eq((uintptr_t)packed % 64, 0, "key %d", key);
  return packed;
}

static bool holds(const uint8_t *data, const weight *w) {
  for (size_t i = 0; i < w->size; i++)
    if (data[i] != w->byte) return false;
  return true;
}

static tern__pack_request request(int key, size_t size) { return (tern__pack_request){&keys[key], 7, size}; }

static const size_t sizes[KEYS] = {1, 64, 65, 1000, 4096, 5000, 63, 128, 70000, 3, 640, 99};

/* Twice in a list, and there already. */
Test(pack_cache, reserves_each_once_in_one_piece) {
  fixture f;
  weight weights[KEYS];
  tern__pack_request list[2 * KEYS];
  const uint8_t *data[KEYS], *before;
  size_t expected = 0;
  open_cache(&f);
  for (int i = 0; i < KEYS; i++) {
    weights[i] = (weight){sizes[i], (uint8_t)(i + 1), TERN_OK, 0};
    list[i] = list[2 * KEYS - 1 - i] = request(i, sizes[i]);
    if (i != 3) expected += (sizes[i] + 63) / 64 * 64;
  }
  before = get(&f, 3, &weights[3]);
  cr_assert_eq(tern__pack_cache_reserve(f.cache, list, 2 * KEYS), TERN_OK, "%s", tern_last_error());
  cr_expect_eq(f.watcher.n_pieces, 1);
  cr_expect_eq(f.watcher.pieces[0], expected, "%zu bytes, not %zu", f.watcher.pieces[0], expected);
  cr_expect_eq(tern__pack_cache_bytes(f.cache), sizes[3], "reserved is not packed");
  uint64_t reserved = f.alloc.live_bytes;
  cr_assert_eq(tern__pack_cache_reserve(f.cache, list, 2 * KEYS), TERN_OK);
  cr_assert_eq(tern__pack_cache_reserve(f.cache, NULL, 0), TERN_OK);
  for (int i = 0; i < KEYS; i++) {
    cr_expect(tern__pack_cache_has(f.cache, &keys[i], 7) && !tern__pack_cache_has(f.cache, &keys[i], 8));
    data[i] = get(&f, i, &weights[i]);
  }
  cr_expect_eq(f.alloc.live_bytes, reserved, "what is reserved needs no more memory");
  cr_expect_eq(data[3], before);
  uint64_t bytes = 0;
  for (int i = 0; i < KEYS; i++) {
    cr_expect_eq(get(&f, i, &weights[i]), data[i]);
    cr_expect(weights[i].built == 1 && holds(data[i], &weights[i]), "weight %d", i);
    bytes += sizes[i];
  }
  cr_expect_eq(tern__pack_cache_bytes(f.cache), bytes);
  close_cache(&f);
}

/* Up to 64 MiB in a piece, what is larger alone. Little of it is touched. */
Test(pack_cache, reserves_large_weights_in_several_pieces) {
  static const size_t large[7] = {40 * MIB, 40 * MIB + 1, 20 * MIB, 100 * MIB, 1 * MIB, 62 * MIB, 1 * MIB};
  static const size_t pieces[5] = {40 * MIB, 60 * MIB + 64, 100 * MIB, 64 * MIB};
  fixture f;
  tern__pack_request list[7];
  const uint8_t *data[7];
  open_cache(&f);
  for (int i = 0; i < 7; i++) list[i] = request(i, large[i]);
  cr_assert_eq(tern__pack_cache_reserve(f.cache, list, 7), TERN_OK, "%s", tern_last_error());
  cr_assert_eq(f.watcher.n_pieces, 4);
  for (int i = 0; i < 4; i++)
    cr_expect_eq(f.watcher.pieces[i], pieces[i], "piece %d has %zu bytes", i, f.watcher.pieces[i]);
  for (int i = 0; i < 7; i++) {
    weight w = {large[i], (uint8_t)(i + 1), TERN_OK, 0};
    data[i] = get(&f, i, &w);
    for (int k = 0; k < i; k++)
      cr_expect(data[k] + large[k] <= data[i] || data[i] + large[i] <= data[k], "%d and %d overlap", k, i);
  }
  for (int i = 0; i < 7; i++) cr_expect_eq(data[i][0], i + 1);
  cr_expect_eq(f.watcher.n_pieces, 4);
  close_cache(&f);
}

/* Allocation k = 0, 1, ... fails, and all after it: whole pieces stay, nothing else; the next attempt works. */
Test(pack_cache, reserving_fails_and_is_repeated) {
  static const size_t large[6] = {100, 40 * MIB, 40 * MIB, 5, 70 * MIB, 64};
  bool worked = false;
  for (int k = 0; k < 50 && !worked; k++) {
    fixture f;
    tern__pack_request list[6];
    open_cache(&f);
    for (int i = 0; i < 6; i++) list[i] = request(i, large[i]);
    f.watcher.left = k;
    tern_status status = tern__pack_cache_reserve(f.cache, list, 6);
    worked = status == TERN_OK;
    cr_expect(worked || status == TERN_STATUS_OUT_OF_MEMORY, "allocation %d: %s", k, tern_status_name(status));
    f.watcher.left = 0; /* what is said to have its memory needs no more */
    bool had[6];
    for (int i = 0; i < 6; i++) {
      weight w = {large[i], (uint8_t)(i + 1), TERN_OK, 0};
      had[i] = tern__pack_cache_has(f.cache, &keys[i], 7);
      cr_expect(!worked || had[i], "key %d", i);
      if (had[i] && i % 2) cr_expect_eq(get(&f, i, &w)[0], i + 1);
    }
    f.watcher.left = -1;
    if (k % 2) cr_assert_eq(tern__pack_cache_reserve(f.cache, list, 6), TERN_OK, "%s", tern_last_error());
    for (int i = 0; i < 6; i++) { /* reserved now or not */
      weight w = {large[i], (uint8_t)(i + 1), TERN_OK, 0};
      cr_expect_eq(get(&f, i, &w)[0], i + 1);
      cr_expect_eq(w.built, had[i] && i % 2 ? 0 : 1, "allocation %d, key %d: built %d times", k, i, (int)w.built);
    }
    close_cache(&f);
  }
  cr_expect(worked);
}

/* Memory of a piece stays for the next attempt, memory of its own does not. */
Test(pack_cache, building_fails_and_is_repeated) {
  static const tern_status failures[] = {TERN_STATUS_CANCELLED, TERN_STATUS_OUT_OF_MEMORY, TERN_STATUS_CORRUPT};
  fixture f;
  open_cache(&f);
  tern__pack_request list[3] = {request(0, 1000), request(1, 2000), request(2, 3000)};
  cr_assert_eq(tern__pack_cache_reserve(f.cache, list, 3), TERN_OK);
  uint64_t reserved = f.alloc.live_bytes;
  weight last = {3000, 3, TERN_OK, 0}, middle = {2000, 2, TERN_OK, 0}, alone = {500, 4, TERN_OK, 0};
  const uint8_t *kept = get(&f, 2, &last);
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
    middle.status = alone.status = failures[i];
    cr_expect_null(get(&f, 1, &middle));
    cr_expect(tern__pack_cache_has(f.cache, &keys[1], 7), "the reserved memory is gone");
    cr_expect_null(get(&f, 5, &alone));
    cr_expect(!tern__pack_cache_has(f.cache, &keys[5], 7));
    cr_expect_eq(tern__pack_cache_bytes(f.cache), 3000);
    cr_expect_eq(tern__pack_cache_reserve(f.cache, list, 3), TERN_OK);
  }
  middle.status = alone.status = TERN_OK;
  const uint8_t *data = get(&f, 1, &middle), *own = get(&f, 5, &alone);
  cr_expect(data < kept && data + 2000 <= kept && f.watcher.n_pieces == 1, "not in the piece that was reserved");
  cr_expect(holds(data, &middle) && holds(own, &alone) && holds(kept, &last));
  cr_expect(middle.built == 1 && alone.built == 1);
  cr_expect_eq(tern__pack_cache_bytes(f.cache), 5500);
  cr_expect_lt(f.alloc.live_bytes, reserved + 1000); /* 500 and what the list needs */
  close_cache(&f); /* key 0 was never built */
}

/* ---- several threads prepare the same model */

enum { THREADS = 4, ROUNDS = 200 };
typedef struct preparing {
  fixture *f;
  weight *weights;
  _Atomic int *failing; /* per key: builds that are still to fail */
  _Atomic int *waiting; /* threads that are not at the start yet */
  int first;            /* key that the thread begins with */
  const void *data[KEYS];
  tern_status status;
} preparing;

typedef struct job { weight *weight; _Atomic int *failing; } job;

static tern_status build_at_last(void *user, void *packed) {
  job *j = user;
  if (atomic_load(j->failing) > 0 && atomic_fetch_sub(j->failing, 1) > 0)
    return tern__fail(TERN_STATUS_CANCELLED, "made to fail");
  return build(j->weight, packed);
}

static void *prepare(void *arg) {
  preparing *p = arg;
  tern__pack_request list[KEYS];
  for (int i = 0; i < KEYS; i++) list[i] = request((i + p->first) % KEYS, p->weights[(i + p->first) % KEYS].size);
  atomic_fetch_sub(p->waiting, 1);
  while (atomic_load(p->waiting) > 0) tern__cpu_relax();
  p->status = tern__pack_cache_reserve(p->f->cache, list, KEYS - (size_t)(p->first % 3)); /* not always all */
  for (int i = 0; i < KEYS && p->status == TERN_OK; i++) {
    int key = (i + p->first) % KEYS;
    job j = {&p->weights[key], &p->failing[key]};
    do
      p->status = tern__pack_cache_get(p->f->cache, &keys[key], 7, p->weights[key].size, build_at_last, &j,
                                       &p->data[key]);
    while (p->status == TERN_STATUS_CANCELLED);
  }
  return NULL;
}

Test(pack_cache, several_threads_prepare_the_same) {
  for (int round = 0; round < ROUNDS; round++) {
    fixture f;
    weight weights[KEYS];
    preparing threads[THREADS];
    tern__thread handles[THREADS];
    _Atomic int failing[KEYS], waiting = THREADS;
    open_cache(&f);
    for (int i = 0; i < KEYS; i++) {
      weights[i] = (weight){sizes[i], (uint8_t)(i + 1), TERN_OK, 0};
      atomic_init(&failing[i], round % 2 ? i % 3 : 0);
    }
    for (int t = 0; t < THREADS; t++) {
      threads[t] = (preparing){.f = &f, .weights = weights, .failing = failing, .waiting = &waiting,
                               .first = t * (round % 4)};
      cr_assert_eq(tern__thread_start(&handles[t], prepare, &threads[t]), TERN_OK);
    }
    for (int t = 0; t < THREADS; t++) tern__thread_join(&handles[t]);
    for (int t = 0; t < THREADS; t++) {
      cr_assert_eq(threads[t].status, TERN_OK);
      cr_assert_arr_eq(threads[t].data, threads[0].data, sizeof threads[0].data);
    }
    for (int i = 0; i < KEYS; i++) {
      cr_assert_eq(weights[i].built, 1, "round %d: key %d was built %d times", round, i, (int)weights[i].built);
      cr_assert(holds(threads[0].data[i], &weights[i]), "round %d, key %d", round, i);
    }
    close_cache(&f);
  }
}

/* ---- in two steps ---- */

static _Atomic int released;
static void drop(void *owner, void *resource) {
  cr_expect_eq(resource, owner, "its owner's is the one that is made");
  atomic_fetch_add(&released, 1);
}

static tern_status never(void *user_data, void **resource) {
  (void)user_data, (void)resource;
  return tern__fail(TERN_STATUS_INTERNAL, "it was made already");
}

typedef struct waiter { fixture *f; const void *key; void *resource; tern_status status; } waiter;

static void *wait_for(void *arg) {
  waiter *w = arg;
  w->status = tern__pack_cache_resource(w->f->cache, w->key, 7, 10, never, NULL, drop, NULL, &w->resource);
  return NULL;
}

static tern__pack_claim claim(fixture *f, int key, void **there) {
  tern__pack_claim out;
  cr_assert_eq(tern__pack_cache_claim(f->cache, &keys[key], 7, &out, there), TERN_OK);
  return out;
}

/* Who claimed makes it; whoever else wants it waits, or goes on with something else; failure makes room for another. */
Test(pack_cache, claims_several_and_settles_each) {
  fixture f;
  void *there;
  char made[KEYS];
  weight host = {100, 5, TERN_OK, 0};
  tern__thread thread;
  open_cache(&f);
  for (int i = 0; i < KEYS; i++) cr_expect_eq(claim(&f, i, &there), TERN__PACK_OURS);
  for (int i = 0; i < KEYS; i++) cr_expect(claim(&f, i, &there) == TERN__PACK_BUSY && !there);
  for (int i = 0; i < KEYS; i += 2)
    tern__pack_cache_settle(f.cache, &keys[i], 7, TERN_OK, &made[i], 10, drop, &made[i]);
  for (int i = 1; i < KEYS; i += 2)
    tern__pack_cache_settle(f.cache, &keys[i], 7, TERN_STATUS_CANCELLED, NULL, 10, drop, NULL);
  cr_expect_eq(tern__pack_cache_bytes(f.cache), 10 * KEYS / 2);
  for (int i = 0; i < KEYS; i += 2) cr_expect(claim(&f, i, &there) == TERN__PACK_THERE && there == &made[i]);
  cr_expect_eq(get(&f, 3, &host)[0], 5, "what was given up is made by another way");
  cr_expect_eq(claim(&f, 3, &there), TERN__PACK_THERE);
  cr_expect_eq(claim(&f, 5, &there), TERN__PACK_OURS);
  waiter w = {.f = &f, .key = &keys[5]};
  cr_assert_eq(tern__thread_start(&thread, wait_for, &w), TERN_OK);
  usleep(2000);
  tern__pack_cache_settle(f.cache, &keys[5], 7, TERN_OK, &made[5], 10, drop, &made[5]);
  tern__thread_join(&thread);
  cr_expect(w.status == TERN_OK && w.resource == &made[5], "%s", tern_status_name(w.status));
  close_cache(&f);
  cr_expect_eq(released, KEYS / 2 + 1);
}

/* Allocation k = 0, 1, ... fails: nothing is claimed then. */
Test(pack_cache, claiming_fails_and_is_repeated) {
  bool worked = false;
  for (int k = 0; k < 20 && !worked; k++) {
    fixture f;
    tern__pack_claim out;
    void *there;
    open_cache(&f);
    f.watcher.left = k;
    worked = tern__pack_cache_claim(f.cache, &keys[0], 7, &out, &there) == TERN_OK;
    f.watcher.left = -1;
    if (!worked) cr_expect_eq(claim(&f, 0, &there), TERN__PACK_OURS);
    tern__pack_cache_settle(f.cache, &keys[0], 7, TERN_STATUS_CANCELLED, NULL, 10, drop, NULL);
    close_cache(&f);
  }
  cr_expect(worked);
}

/* ---- where weights come from ---- */

Test(pack_cache, pages_of_a_file_are_given_back_and_stay_readable) {
  enum { SIZE = 70000 };
  fixture f;
  char path[] = "/tmp/tern_pack_cache_XXXXXX";
  uint8_t *bytes = malloc(SIZE);
  int fd = mkstemp(path);
  cr_assert(bytes && fd >= 0);
  for (int i = 0; i < SIZE; i++) bytes[i] = (uint8_t)(i * 31 >> 3);
  cr_assert_eq(write(fd, bytes, SIZE), SIZE);
  close(fd);
  tern__file_map map;
  cr_assert_eq(tern__file_map_open(path, &map), TERN_OK);
  unlink(path);
  open_cache(&f);
  cr_expect(!tern__pack_cache_in_file(f.cache, map.data, SIZE), "a file that it was not told of");
  cr_assert_eq(tern__pack_cache_add_file(f.cache, &map), TERN_OK);
  cr_expect(tern__pack_cache_in_file(f.cache, map.data, SIZE));
  cr_expect(tern__pack_cache_in_file(f.cache, map.data + SIZE - 1, 1));
  cr_expect(!tern__pack_cache_in_file(f.cache, map.data + SIZE - 1, 2), "it goes on beyond the file");
  cr_expect(!tern__pack_cache_in_file(f.cache, bytes, 1));
  for (size_t at = 0; at < SIZE; at += 9000) tern__pack_cache_release_source(f.cache, map.data + at, 5000);
  tern__pack_cache_release_source(f.cache, map.data, SIZE);
  tern__pack_cache_release_source(f.cache, bytes, SIZE); /* no file's: stays as it is */
  cr_expect(!memcmp(map.data, bytes, SIZE));
  cr_expect_eq(bytes[SIZE - 1], (uint8_t)((SIZE - 1) * 31 >> 3));
  close_cache(&f);
  tern__file_map_close(&map);
  free(bytes);
}
