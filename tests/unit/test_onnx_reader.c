/* The ONNX reader on the small models of tests/fuzz/corpus/onnx, and on damaged, hostile and memory-starved
 * variants. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/onnx_reader.h"
#include "ir/op.h"

typedef struct file {
  uint8_t *data;
  size_t size;
} file;

static file load(const char *name) {
  char path[4096];
  file f = {NULL, 0};
  snprintf(path, sizeof path, "%s/tests/fuzz/corpus/onnx/%s.onnx", TERN_SOURCE_DIR, name);
  FILE *in = fopen(path, "rb");
  cr_assert(in, "%s is missing", path);
  f.data = malloc(1 << 20);
  f.size = fread(f.data, 1, 1 << 20, in);
  fclose(in);
  return f;
}

typedef struct opened {
  tern__alloc alloc;
  tern__arena arena;
  tern__graph *graph;
  tern__onnx_files files;
  tern_status status;
} opened;

static void open_bytes(opened *o, const uint8_t *data, size_t size, const char *path) {
  memset(o, 0, sizeof *o);
  tern__alloc_init(&o->alloc, NULL, (uint64_t)64 << 20);
  tern__arena_init(&o->arena, &o->alloc);
  tern__error_clear();
  o->status = tern__onnx_read(&o->alloc, &o->arena, data, size, path, &o->graph, &o->files);
}

static void close_all(opened *o) {
  tern__graph_destroy(o->graph);
  tern__onnx_files_close(&o->alloc, &o->files);
  tern__arena_deinit(&o->arena);
  cr_assert_eq(o->alloc.live_bytes, 0, "a leak of %llu bytes", (unsigned long long)o->alloc.live_bytes);
}

static const tern__value *value(const opened *o, const char *name) {
  tern__value_id id = tern__graph_find(o->graph, name);
  cr_assert_geq(id, 0, "no value '%s'", name);
  return &o->graph->values[id];
}

Test(onnx_reader, reads_nodes_weights_and_metadata) {
  opened o;
  file f = load("linear");
  open_bytes(&o, f.data, f.size, NULL);
  cr_assert_eq(o.status, TERN_OK, "%s", tern_last_error());
  cr_expect_eq(tern__array_count(o.graph->nodes), 2);
  cr_expect_str_eq(o.graph->nodes[0].name, "first");
  cr_expect_str_eq(o.graph->nodes[1].op->name, "Relu");
  const tern__value *w = value(&o, "w"), *x = value(&o, "x");
  cr_expect_eq(w->size_bytes, 24);
  float last;
  memcpy(&last, (const char *)w->data + 20, 4);
  cr_expect_eq(last, 5.0f);
  cr_expect_eq(x->shape.dims[0], -1);
  cr_expect_eq(x->shape.dims[1], 3);
  cr_expect_eq(o.files.info.ir_version, 8);
  cr_expect_str_eq(o.files.info.producer, "tern");
  cr_expect_eq(o.files.info.opsets[0].version, 17);
  cr_expect_str_eq(o.files.info.metadata[0].key, "character");
  cr_expect_str_eq(o.files.info.metadata[0].value, "abc");
  close_all(&o);
  free(f.data);
}

Test(onnx_reader, constant_nodes_become_constants) {
  opened o;
  file f = load("constants");
  open_bytes(&o, f.data, f.size, NULL);
  cr_assert_eq(o.status, TERN_OK, "%s", tern_last_error());
  cr_expect_eq(*(const float *)value(&o, "c1")->data, 2.5f);
  cr_expect_eq(value(&o, "c1")->shape.rank, 0);
  cr_expect_eq(((const int64_t *)value(&o, "c2")->data)[1], -1);
  cr_expect_eq(((const float *)value(&o, "c3")->data)[1], 0.25f);
  cr_expect_eq(*(const int64_t *)value(&o, "c4")->data, -7);
  cr_expect_eq(tern__array_count(o.graph->nodes), 4);
  cr_expect_eq(tern__array_count(o.graph->inputs), 2);
  cr_expect_eq(o.graph->nodes[1].inputs[1], -1, "an empty input name is an absent input");
  close_all(&o);
  free(f.data);
}

Test(onnx_reader, typed_data_and_listed_initializers) {
  opened o;
  file f = load("typed");
  open_bytes(&o, f.data, f.size, NULL);
  cr_assert_eq(o.status, TERN_OK, "%s", tern_last_error());
  cr_expect_eq(tern__array_count(o.graph->inputs), 1, "initializers among the inputs are constants");
  cr_expect_eq(((const float *)value(&o, "f")->data)[1], -2.0f);
  cr_expect_eq(((const int64_t *)value(&o, "l")->data)[0], 2);
  cr_expect_eq(((const uint16_t *)value(&o, "h")->data)[1], 0x4000);
  cr_expect_eq(((const uint8_t *)value(&o, "b")->data)[0], 1);
  cr_expect_eq(*(const double *)value(&o, "d")->data, 3.0);
  cr_expect_eq(((const int8_t *)value(&o, "q")->data)[0], -1);
  cr_expect_eq(value(&o, "e")->size_bytes, 0);
  cr_expect_eq(o.graph->nodes[0].opset, 9);
  close_all(&o);
  free(f.data);
}

Test(onnx_reader, nodes_in_any_order) {
  opened o;
  file f = load("unordered");
  open_bytes(&o, f.data, f.size, NULL);
  cr_assert_eq(o.status, TERN_OK, "%s", tern_last_error());
  cr_expect_str_eq(o.graph->nodes[0].name, "early");
  cr_expect_eq(o.graph->outputs[1], o.graph->inputs[0]);
  close_all(&o);
  free(f.data);
}

Test(onnx_reader, lists_every_missing_operator) {
  opened o;
  file f = load("subgraphs");
  open_bytes(&o, f.data, f.size, NULL);
  cr_assert_eq(o.status, TERN_STATUS_UNSUPPORTED);
  cr_expect(strstr(tern_last_error(), "2 operators are not supported"), "%s", tern_last_error());
  cr_expect(strstr(tern_last_error(), "If (domain 'ai.onnx', opset 17, node 'branch')"), "%s",
            tern_last_error());
  cr_expect(strstr(tern_last_error(), "Unheard (domain 'com.example'"), "%s", tern_last_error());
  close_all(&o);
  free(f.data);
}

Test(onnx_reader, external_data_stays_beside_the_model) {
  opened o;
  file f = load("external_escape");
  open_bytes(&o, f.data, f.size, "/tmp/model.onnx");
  cr_expect_eq(o.status, TERN_STATUS_CORRUPT);
  cr_expect(strstr(tern_last_error(), "../secret.bin"), "%s", tern_last_error());
  close_all(&o);
  open_bytes(&o, f.data, f.size, NULL);
  cr_expect_eq(o.status, TERN_STATUS_UNSUPPORTED, "in memory there is nothing beside it");
  close_all(&o);
  static const char *const locations[] = {"/etc/pass_wd", "a/../../b.dat", "c:/secret.bin", "a\\..\\..\\b.x"};
  uint8_t *at = memmem(f.data, f.size, "../secret.bin", 13);
  for (size_t i = 0; i < sizeof locations / sizeof *locations; i++) {
    memset(at, 'x', 13);
    memcpy(at, locations[i], strlen(locations[i]));
    open_bytes(&o, f.data, f.size, "/tmp/model.onnx");
    cr_expect_eq(o.status, TERN_STATUS_CORRUPT, "'%s': %s", locations[i], tern_last_error());
    close_all(&o);
  }
  free(f.data);
}

Test(onnx_reader, external_data_is_read_and_bounds_are_checked) {
  opened o;
  file f = load("external_escape");
  char folder[] = "/tmp/tern_onnx_XXXXXX", path[64], data[64];
  cr_assert(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/m.onnx", folder);
  snprintf(data, sizeof data, "%s/weights.bin_x", folder);
  uint8_t *at = memmem(f.data, f.size, "../secret.bin", 13);
  memcpy(at, "weights.bin_x", 13);
  open_bytes(&o, f.data, f.size, path);
  cr_expect_eq(o.status, TERN_STATUS_NOT_FOUND, "%s", tern_last_error());
  close_all(&o);
  for (size_t size = 7; size <= 9; size++) {
    FILE *out = fopen(data, "wb");
    fwrite("\0\0\x80\x3f\0\0\0\x40\0", 1, size, out);
    fclose(out);
    open_bytes(&o, f.data, f.size, path);
    cr_expect_eq(o.status, size == 8 ? TERN_OK : TERN_STATUS_CORRUPT, "%zu bytes: %s", size,
                 tern_last_error());
    if (size == 8) cr_expect_eq(((const float *)value(&o, "w")->data)[1], 2.0f);
    close_all(&o);
  }
  remove(data);
  remove(folder);
  free(f.data);
}

static const char *const models[] = {"linear",    "constants", "typed",          "subgraphs",
                                     "unordered", "attention", "external_escape"};

/* Whatever happens to the bytes: a status, a sentence, no leak, no crash. */
static void survive(const uint8_t *data, size_t size) {
  opened o;
  uint8_t *exact = malloc(size + !size); /* so that a sanitizer sees reads beyond the end */
  memcpy(exact, data, size);
  open_bytes(&o, exact, size, NULL);
  if (o.status != TERN_OK) cr_expect_neq(tern_last_error()[0], 0);
  if (o.status != TERN_OK) cr_expect_null(o.graph);
  close_all(&o);
  free(exact);
}

Test(onnx_reader, truncation_at_every_byte) {
  for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
    file f = load(models[m]);
    for (size_t size = 0; size < f.size; size++) survive(f.data, size);
    free(f.data);
  }
}

Test(onnx_reader, every_bit_flipped) {
  for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
    file f = load(models[m]);
    for (size_t bit = 0; bit < f.size * 8; bit++) {
      f.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
      survive(f.data, f.size);
      f.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(f.data);
  }
}

/* A writer of protobuf bytes for models that no tool would write. */
typedef struct bytes {
  uint8_t data[1 << 16];
  size_t size;
} bytes;
static void put_varint(bytes *b, uint64_t v) {
  for (; v > 127; v >>= 7) b->data[b->size++] = (uint8_t)(v | 128);
  b->data[b->size++] = (uint8_t)v;
}
static void put_bytes(bytes *b, uint32_t field, const void *data, size_t size) {
  put_varint(b, field << 3 | 2);
  put_varint(b, size);
  memmove(b->data + b->size, data, size);
  b->size += size;
}
static void put_text(bytes *b, uint32_t field, const char *text) { put_bytes(b, field, text, strlen(text)); }
static void put_int(bytes *b, uint32_t field, uint64_t v) {
  put_varint(b, field << 3);
  put_varint(b, v);
}
static void put_node(bytes *graph, const char *op, const char *in, const char *out) {
  bytes *node = calloc(1, sizeof *node);
  put_text(node, 1, in);
  put_text(node, 2, out);
  put_text(node, 4, op);
  put_bytes(graph, 1, node->data, node->size);
  free(node);
}
static void finish(bytes *model, const bytes *graph) {
  bytes *opset = calloc(1, sizeof *opset);
  put_int(opset, 2, 17);
  put_int(model, 1, 8);
  put_bytes(model, 8, opset->data, opset->size);
  put_bytes(model, 7, graph->data, graph->size);
  free(opset);
}
static void put_info(bytes *graph, uint32_t field, const char *name) {
  bytes *info = calloc(1, sizeof *info);
  put_text(info, 1, name);
  put_bytes(graph, field, info->data, info->size);
  free(info);
}
static tern_status status_of(const bytes *model) {
  opened o;
  open_bytes(&o, model->data, model->size, NULL);
  tern_status status = o.status;
  close_all(&o);
  return status;
}

Test(onnx_reader, cycles_duplicates_and_dangling_names) {
  bytes *graph = calloc(1, sizeof *graph), *model = calloc(1, sizeof *model);
  put_node(graph, "Neg", "b", "a");
  put_node(graph, "Neg", "a", "b");
  put_info(graph, 12, "b");
  finish(model, graph);
  cr_expect_eq(status_of(model), TERN_STATUS_CORRUPT);
  cr_expect(strstr(tern_last_error(), "cycle"), "%s", tern_last_error());
  memset(graph, 0, sizeof *graph), memset(model, 0, sizeof *model);
  put_info(graph, 11, "x");
  put_node(graph, "Neg", "x", "a");
  put_node(graph, "Abs", "x", "a");
  finish(model, graph);
  cr_expect_eq(status_of(model), TERN_STATUS_CORRUPT);
  cr_expect(strstr(tern_last_error(), "'a' is defined twice"), "%s", tern_last_error());
  memset(graph, 0, sizeof *graph), memset(model, 0, sizeof *model);
  put_node(graph, "Neg", "nowhere", "a");
  finish(model, graph);
  cr_expect_eq(status_of(model), TERN_STATUS_CORRUPT);
  cr_expect(strstr(tern_last_error(), "nothing produces its input 'nowhere'"), "%s", tern_last_error());
  memset(graph, 0, sizeof *graph), memset(model, 0, sizeof *model);
  put_info(graph, 12, "y");
  finish(model, graph);
  cr_expect_eq(status_of(model), TERN_STATUS_CORRUPT);
  free(graph);
  free(model);
}

Test(onnx_reader, hostile_tensors) {
  static const struct {
    uint64_t dims[9];
    int n;
    uint64_t type;
    tern_status want;
  } cases[] = {{{(uint64_t)1 << 62, 1 << 10}, 2, 1, TERN_STATUS_CORRUPT}, /* more elements than can be counted
                                                                           */
               {{(uint64_t)1 << 40}, 1, 1, TERN_STATUS_CORRUPT},          /* bytes that are not there */
               {{UINT64_MAX}, 1, 1, TERN_STATUS_CORRUPT},                 /* negative */
               {{1, 1, 1, 1, 1, 1, 1, 1, 1}, 9, 1, TERN_STATUS_UNSUPPORTED}, /* rank 9 */
               {{1}, 1, 8, TERN_STATUS_UNSUPPORTED},
               {{1}, 1, 17, TERN_STATUS_UNSUPPORTED},
               {{1}, 1, 99, TERN_STATUS_UNSUPPORTED},
               {{1}, 1, (uint64_t)-1, TERN_STATUS_UNSUPPORTED}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int raw = 0; raw < 2; raw++) {
      bytes *tensor = calloc(1, sizeof *tensor), *graph = calloc(1, sizeof *graph),
            *model = calloc(1, sizeof *model);
      for (int d = 0; d < cases[i].n; d++) put_int(tensor, 1, cases[i].dims[d]);
      put_int(tensor, 2, cases[i].type);
      put_text(tensor, 8, "w");
      put_bytes(tensor, raw ? 9 : 4, "\0\0\0\0", 4);
      put_bytes(graph, 5, tensor->data, tensor->size);
      finish(model, graph);
      cr_expect_eq(status_of(model), cases[i].want, "case %zu: %s", i, tern_last_error());
      free(tensor), free(graph), free(model);
    }
}

Test(onnx_reader, deep_nesting_is_refused) {
  bytes *inner = calloc(1, sizeof *inner), *node = calloc(1, sizeof *node), *attr = calloc(1, sizeof *attr),
        *model = calloc(1, sizeof *model);
  for (int depth = 0; depth < 200; depth++) { /* graph { node { attribute { g: graph ... */
    attr->size = node->size = 0;
    put_text(attr, 1, "g");
    put_int(attr, 20, 5);
    put_bytes(attr, 6, inner->data, inner->size);
    put_text(node, 4, "Nest");
    put_bytes(node, 5, attr->data, attr->size);
    inner->size = 0;
    put_bytes(inner, 1, node->data, node->size);
  }
  finish(model, inner);
  cr_expect_eq(status_of(model), TERN_STATUS_UNSUPPORTED);
  cr_expect(strstr(tern_last_error(), "nested more than"), "%s", tern_last_error());
  free(inner), free(node), free(attr), free(model);
}

Test(onnx_reader, unknown_and_wrong_attributes_are_named) {
  for (int wrong = 0; wrong < 3; wrong++) {
    bytes *graph = calloc(1, sizeof *graph), *node = calloc(1, sizeof *node), *attr = calloc(1, sizeof *attr),
          *model = calloc(1, sizeof *model);
    put_text(attr, 1, wrong == 0 ? "flavour" : "axis");
    put_int(attr, 20, wrong == 1 ? 1 : 2); /* FLOAT where INT is due */
    put_int(attr, 3, 0);
    put_text(node, 1, "x");
    put_text(node, 2, "y");
    put_text(node, 3, "odd");
    put_text(node, 4, "Softmax");
    put_bytes(node, 5, attr->data, attr->size);
    if (wrong == 2) put_bytes(node, 5, attr->data, attr->size); /* twice */
    put_info(graph, 11, "x");
    put_bytes(graph, 1, node->data, node->size);
    finish(model, graph);
    cr_expect_eq(status_of(model), wrong == 0 ? TERN_STATUS_UNSUPPORTED : TERN_STATUS_CORRUPT);
    cr_expect(strstr(tern_last_error(), "node 'odd' (Softmax)") &&
                  strstr(tern_last_error(), wrong == 0 ? "flavour" : "axis"),
              "%s", tern_last_error());
    free(graph), free(node), free(attr), free(model);
  }
}

/* Fails the k-th allocation. */
typedef struct failing {
  size_t left;
} failing;
static void *failing_alloc(void *user, size_t size, size_t align) {
  failing *f = user;
  void *block = NULL;
  if (f->left-- == 0 || posix_memalign(&block, align < sizeof(void *) ? sizeof(void *) : align, size + !size))
    return NULL;
  return block;
}
static void failing_free(void *user, void *ptr, size_t size, size_t align) {
  (void)user, (void)size, (void)align;
  free(ptr);
}

Test(onnx_reader, out_of_memory_at_every_allocation) {
  for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
    file f = load(models[m]);
    tern_status status = TERN_STATUS_OUT_OF_MEMORY;
    for (size_t k = 0; status == TERN_STATUS_OUT_OF_MEMORY; k++) {
      failing state = {k};
      opened o = {.status = TERN_OK};
      tern_allocator fns = {failing_alloc, failing_free, &state};
      tern__alloc_init(&o.alloc, &fns, 0);
      tern__arena_init(&o.arena, &o.alloc);
      status = tern__onnx_read(&o.alloc, &o.arena, f.data, f.size, NULL, &o.graph, &o.files);
      close_all(&o);
      cr_assert_lt(k, 100000);
    }
    free(f.data);
  }
}
