/* Buffers and uploads: division of blocks, a card with memory of its own (vk_hooks.h plays it), order of
 * writes, limits and what is said when memory ends. */
#include "vk_hooks.h"

#include <inttypes.h>

enum { MIB = 1 << 20 };

static uint64_t seed = 88172645463325252u;
static uint64_t next_random(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed;
}

/* What the device holds in `buffer`. */
static void read_back(rig *r, tern__gpu_buffer *buffer, uint64_t offset, void *out, uint64_t size) {
  tern__gpu_buffer *back;
  tern__gpu_commands *c;
  uint64_t ticket;
  OK(r->api->buffer_create(r->device, TERN__GPU_READBACK, size, &back));
  OK(r->api->commands_create(r->device, &c));
  tern__gpu_range from = {buffer, offset, size}, to = {back, 0, size};
  OK(r->api->copy(c, &from, &to));
  OK(r->api->commands_finish(c));
  OK(r->api->submit(r->device, c, &ticket));
  OK(r->api->wait(r->device, ticket, UINT64_MAX));
  OK(r->api->invalidate(r->device, &to));
  memcpy(out, r->api->buffer_host(back), size);
  r->api->commands_destroy(c);
  r->api->buffer_destroy(r->device, back);
}

static void open_card(rig *r, uint64_t bytes) {
  hook.card = true, hook.card_bytes = bytes;
  rig_open(r, NULL, &hook_table);
  cr_assert_not(r->api->info(r->device)->unified);
}

Test(vk_memory, types_fit_their_use) {
  rig r;
  tern__gpu_buffer *b[3];
  open_card(&r, 0);
  for (int i = 0; i < 3; i++)
    OK(r.api->buffer_create(r.device, (tern__gpu_memory)(TERN__GPU_DEVICE + i), 100, &b[i]));
  cr_assert_eq(b[0]->slice->block->type, 0u);
  cr_assert_eq(b[1]->slice->block->type, 1u, "uploads are written, not read, by the host");
  cr_assert_eq(b[2]->slice->block->type, 2u, "results lie in cached memory");
  cr_assert_null(r.api->buffer_host(b[0]));
  cr_assert_not_null(r.api->buffer_host(b[1]));
  cr_assert_not_null(r.api->buffer_host(b[2]));
  for (int i = 0; i < 3; i++) r.api->buffer_destroy(r.device, b[i]);
  rig_close(&r);
}

/* Random buffers come and go: they never overlap, and the blocks are few and end with them. */
Test(vk_memory, blocks_are_divided) {
  enum { LIVE = 200, ROUNDS = 3000 };
  rig r;
  static tern__gpu_buffer *live[LIVE];
  uint32_t most = 0;
  rig_open(&r, NULL, &hook_table);
  for (int round = 0; round < ROUNDS; round++) {
    tern__gpu_buffer **b = &live[next_random() % LIVE];
    if (*b) {
      r.api->buffer_destroy(r.device, *b), *b = NULL;
      continue;
    }
    uint64_t size = 1 + next_random() % (next_random() % 16 ? 20000 : 600000);
    OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, size, b));
    const tern__vk_slice *s = (*b)->slice;
    cr_assert_geq(s->size, size);
    cr_assert_eq(s->offset % 256, 0u);
    for (int i = 0; i < LIVE; i++) {
      if (!live[i] || live[i] == *b || live[i]->slice->block != s->block) continue;
      const tern__vk_slice *t = live[i]->slice;
      cr_assert(t->offset + t->size <= s->offset || s->offset + s->size <= t->offset, "round %d", round);
    }
    if (r.device->memory.n_allocations > most) most = r.device->memory.n_allocations;
  }
  cr_assert_leq(most, 5u, "%u allocations", most);
  for (int i = 0; i < LIVE; i++) r.api->buffer_destroy(r.device, live[i]);
  cr_assert_null(r.device->memory.blocks);
  cr_assert_eq(r.device->memory.n_allocations, 0u);
  cr_assert_eq(r.device->memory.held_bytes[0], 0u);
  rig_close(&r);
}

Test(vk_memory, large_buffers_have_memory_of_their_own) {
  rig r;
  tern__gpu_buffer *a, *b, *c;
  rig_open(&r, NULL, NULL);
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 40 * MIB, &a));
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 1000, &b));
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 1000, &c));
  cr_assert(a->slice->block->dedicated);
  cr_assert_eq(a->slice->block->size, 40u * MIB);
  cr_assert_eq(b->slice->block, c->slice->block);
  cr_assert_neq(a->slice->block, b->slice->block);
  r.api->buffer_destroy(r.device, a);
  cr_assert_eq(r.device->memory.n_allocations, 1u);
  r.api->buffer_destroy(r.device, b);
  r.api->buffer_destroy(r.device, c);
  rig_close(&r);
}

/* Large, small, odd, overlapping: the device must hold what a plain array would. */
static void writes(rig *r) {
  enum { SIZE = 20 * MIB };
  uint8_t *mirror = calloc(1, SIZE), *source = malloc(SIZE), *seen = malloc(SIZE);
  tern__gpu_buffer *b;
  for (int i = 0; i < SIZE; i += 8) {
    uint64_t x = next_random();
    memcpy(source + i, &x, 8);
  }
  OK(r->api->buffer_create(r->device, TERN__GPU_DEVICE, SIZE, &b));
  OK(r->api->write(r->device, b, 0, mirror, SIZE));
  for (int round = 0; round < 400; round++) {
    size_t size = round % 100 == 7 ? 9 * MIB + 4 : 1 + next_random() % 5000,
           at = next_random() % (SIZE - size);
    if (round % 3) at %= 10000; /* much of it in one place */
    size_t from = next_random() % (SIZE - size);
    OK(r->api->write(r->device, b, at, source + from, size));
    memcpy(mirror + at, source + from, size);
    if (round % 50) continue;
    read_back(r, b, 0, seen, SIZE);
    cr_assert_eq(memcmp(seen, mirror, SIZE), 0, "round %d", round);
  }
  read_back(r, b, 0, seen, SIZE);
  cr_assert_eq(memcmp(seen, mirror, SIZE), 0);
  cr_assert_eq(r->api->write(r->device, b, SIZE - 4, source, 8), TERN_STATUS_INTERNAL);
  r->api->buffer_destroy(r->device, b);
  free(mirror), free(source), free(seen);
}

Test(vk_memory, writes_arrive_in_order_on_a_card) {
  rig r;
  open_card(&r, 0);
  writes(&r);
  cr_assert_not_null(r.device->upload.half[0].buffer, "a card needs staging");
  rig_close(&r);
}

Test(vk_memory, writes_arrive_in_order_on_a_card_with_fences) {
  rig r;
  hook.no_timeline = true;
  open_card(&r, 0);
  writes(&r);
  rig_close(&r);
}

Test(vk_memory, writes_to_shared_memory_need_no_staging) {
  rig r;
  rig_open(&r, NULL, NULL);
  writes(&r);
  cr_assert_null(r.device->upload.half[0].buffer);
  rig_close(&r);
}

/* Threads that fill the ring side by side, with writes of several halves and small ones after them. */
typedef struct writer { rig *r; tern__thread thread; tern__gpu_buffer *b; uint8_t *mirror; int index; } writer;
enum { WRITERS = 4, WRITER_BYTES = 19 * MIB + 4 };

static void *write_some(void *arg) {
  writer *w = arg;
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < WRITER_BYTES; i++)
      w->mirror[i] = (uint8_t)((i * 2654435761u >> 11) + (size_t)(w->index + round));
    OK(w->r->api->write(w->r->device, w->b, 0, w->mirror, WRITER_BYTES));
    for (size_t i = 0; i < 100; i++) {
      size_t at = i * 190000 / 4 * 4;
      w->mirror[at] ^= 0xff;
      OK(w->r->api->write(w->r->device, w->b, at, w->mirror + at, 4));
    }
  }
  return NULL;
}

Test(vk_memory, threads_write_at_once_on_a_card) {
  rig r;
  writer w[WRITERS] = {0};
  uint8_t *seen = malloc(WRITER_BYTES);
  open_card(&r, 0);
  for (int i = 0; i < WRITERS; i++) {
    w[i].r = &r, w[i].index = i, w[i].mirror = malloc(WRITER_BYTES);
    OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, WRITER_BYTES, &w[i].b));
  }
  for (int i = 0; i < WRITERS; i++) cr_assert_eq(tern__thread_start(&w[i].thread, write_some, &w[i]), TERN_OK);
  for (int i = 0; i < WRITERS; i++) tern__thread_join(&w[i].thread);
  for (int i = 0; i < WRITERS; i++) {
    read_back(&r, w[i].b, 0, seen, WRITER_BYTES);
    cr_expect_eq(memcmp(seen, w[i].mirror, WRITER_BYTES), 0, "writer %d", i);
    r.api->buffer_destroy(r.device, w[i].b);
    free(w[i].mirror);
  }
  free(seen);
  rig_close(&r);
}

/* While work runs, shared memory is written through the ring: the work may be reading it. */
Test(vk_memory, a_write_waits_its_turn) {
  enum { LARGE = 1 << 21 };
  rig r;
  tern__gpu_buffer *x, *y;
  tern__gpu_commands *c;
  uint64_t ticket;
  float one = 1, got;
  rig_open(&r, NULL, NULL);
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, LARGE * 4u, &x));
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, LARGE * 4u, &y));
  OK(r.api->commands_create(r.device, &c));
  OK(rig_add_unary(&r, c, TERN__KERNEL_unary_identity, x, y, LARGE));
  OK(r.api->commands_finish(c));
  for (int run = 0; run < 10; run++) {
    float before = (float)run * 10;
    OK(r.api->write(r.device, x, (LARGE - 1) * 4u, &before, 4));
    OK(r.api->submit(r.device, c, &ticket));
    OK(r.api->write(r.device, x, (LARGE - 1) * 4u, &one, 4)); /* the run may still read it */
    OK(r.api->wait(r.device, ticket, UINT64_MAX));
    read_back(&r, y, (LARGE - 1) * 4u, &got, 4);
    cr_assert_eq(got, before);
    read_back(&r, x, (LARGE - 1) * 4u, &got, 4);
    cr_assert_eq(got, one);
  }
  r.api->commands_destroy(c);
  r.api->buffer_destroy(r.device, x);
  r.api->buffer_destroy(r.device, y);
  rig_close(&r);
}

Test(vk_memory, a_buffer_goes_with_its_pending_writes) {
  rig r;
  tern__gpu_buffer *a, *b;
  uint32_t value = 77, got = 0;
  open_card(&r, 0);
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 64, &a));
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 64, &b));
  OK(r.api->write(r.device, a, 0, &value, 4));
  OK(r.api->write(r.device, b, 0, &value, 4));
  r.api->buffer_destroy(r.device, a);
  read_back(&r, b, 0, &got, 4);
  cr_assert_eq(got, value);
  r.api->buffer_destroy(r.device, b);
  rig_close(&r);
}

Test(vk_memory, says_how_much_is_missing) {
  rig r;
  tern__gpu_buffer *a, *b;
  open_card(&r, 64 * MIB);
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 40 * MIB, &a));
  cr_assert_eq(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 35 * MIB, &b), TERN_STATUS_OUT_OF_MEMORY);
  cr_assert_null(b);
  const char *words[] = {"35 MiB wanted", "24 of 64 MiB left", "40 MiB held", "smaller model"};
  for (int i = 0; i < 4; i++) cr_assert(strstr(tern_last_error(), words[i]), "%s", tern_last_error());
  /* Blocks of the usual size do not fit any more; just what is needed does. */
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 24 * MIB, &b));
  r.api->buffer_destroy(r.device, a);
  r.api->buffer_destroy(r.device, b);
  cr_assert_eq(r.api->buffer_create(r.device, TERN__GPU_DEVICE, UINT64_MAX, &b), TERN_STATUS_OUT_OF_MEMORY);
  cr_assert_eq(
      r.api->buffer_create(r.device, TERN__GPU_DEVICE, r.api->info(r.device)->max_buffer_bytes + 1, &b),
      TERN_STATUS_OUT_OF_MEMORY);
  rig_close(&r);
}

Test(vk_memory, the_number_of_allocations_is_kept) {
  rig r;
  tern__gpu_buffer *b[3];
  hook.max_allocations = 2;
  rig_open(&r, NULL, &hook_table);
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 33 * MIB, &b[0]));
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 33 * MIB, &b[1]));
  cr_assert_eq(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 33 * MIB, &b[2]), TERN_STATUS_OUT_OF_MEMORY);
  cr_assert(strstr(tern_last_error(), "allows 2 allocations"), "%s", tern_last_error());
  r.api->buffer_destroy(r.device, b[0]);
  OK(r.api->buffer_create(r.device, TERN__GPU_DEVICE, 33 * MIB, &b[2]));
  r.api->buffer_destroy(r.device, b[1]);
  r.api->buffer_destroy(r.device, b[2]);
  rig_close(&r);
}
