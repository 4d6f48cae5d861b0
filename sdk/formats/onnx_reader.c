/* ModelProto -> tern__graph. A graph's message is walked several times: constants and inputs first, then
 * declared types, then what nodes write, then the nodes, so that any order in the file is fine. Field
 * numbers: onnx.proto. */
#include "formats/onnx_reader.h"

#include <stdio.h>
#include <string.h>

#include "formats/onnx_tensor.h"
#include "ir/op.h"

/* Graphs nest through If, Loop and Scan; published models stay below 5. */
enum { MAX_DEPTH = 16 };

typedef struct reader {
  tern__onnx_source source;
  tern__onnx_info *info;
  char missing[480]; /* the operators that tern lacks, as text */
  size_t missing_size;
  int32_t n_missing;
  tern__map missing_seen; /* "domain:op" */
} reader;

/* A graph being read, with the one around it. */
typedef struct scope {
  tern__graph *graph;
  struct scope *outer;
  tern__map declared; /* value name -> index into types */
  struct declared_type {
    tern_dtype dtype;
    tern__shape shape;
  } * types; /* base/array.h array */
  int32_t depth;
} scope;

static char *copy_text(reader *r, const tern__pb_field *f) {
  return tern__arena_strndup(r->source.arena, f->data ? (const char *)f->data : "", f->size);
}

static tern_status read_text(reader *r, const tern__pb *pb, const tern__pb_field *f, const char **out) {
  tern__pb inner;
  tern_status status = tern__pb_open(pb, f, &inner);
  if (status != TERN_OK) return status;
  *out = copy_text(r, f);
  return *out ? TERN_OK : tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a name");
}

/* ------------------------------------------------------------------------------------------------ value
 * types */

static tern_status read_dim(tern__pb dim, int64_t *out) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  *out = -1; /* dim_param, or nothing */
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&dim, &f, &more));
    if (!more) break;
    if (f.number == 1 && f.wire == TERN__PB_VARINT && f.value <= INT64_MAX) *out = (int64_t)f.value;
  }
cleanup:
  return status;
}

/* TensorShapeProto. More dimensions than tern has: not declared. */
static tern_status read_shape(tern__pb pb, tern__shape *shape) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  tern__pb dim;
  int64_t size;
  shape->rank = 0;
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number != 1) continue;
    TERN_TRY(tern__pb_open(&pb, &f, &dim));
    TERN_TRY(read_dim(dim, &size));
    if (shape->rank < TERN_MAX_RANK) shape->dims[shape->rank] = size;
    shape->rank++;
  }
  if (shape->rank > TERN_MAX_RANK) shape->rank = -1;
cleanup:
  return status;
}

/* TypeProto.Tensor: elem_type 1, shape 2. */
static tern_status read_tensor_type(tern__pb pb, struct declared_type *type) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  tern__pb shape;
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number == 1) type->dtype = tern__dtype_of_onnx((int64_t)f.value);
    if (f.number != 2) continue;
    TERN_TRY(tern__pb_open(&pb, &f, &shape));
    TERN_TRY(read_shape(shape, &type->shape));
  }
cleanup:
  return status;
}

/* ValueInfoProto: name 1, type 2 (whose field 1 is the tensor type; sequences, maps and optionals stay
 * undeclared). */
static tern_status read_value_info(reader *r, tern__pb pb, const char **name, struct declared_type *type) {
  tern_status status = TERN_OK;
  tern__pb_field f, t;
  tern__pb inner, tensor;
  *name = "", *type = (struct declared_type){.shape = {.rank = -1}};
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number == 1) TERN_TRY(read_text(r, &pb, &f, name));
    if (f.number != 2) continue;
    TERN_TRY(tern__pb_open(&pb, &f, &inner));
    for (bool deeper = true;;) {
      TERN_TRY(tern__pb_next(&inner, &t, &deeper));
      if (!deeper) break;
      if (t.number != 1) continue;
      TERN_TRY(tern__pb_open(&inner, &t, &tensor));
      TERN_TRY(read_tensor_type(tensor, type));
    }
  }
cleanup:
  return status;
}

/* ------------------------------------------------------------------------------------------------ attributes
 */

typedef struct raw_attr {
  const char *name, *text;
  size_t text_size;
  int64_t type, i;
  float f;
  bool has_i, has_f, has_s, foreign; /* foreign: lists of tensors or graphs, sparse tensors, types, references
                                      */
  tern__pb message, tensor, graph;
  bool has_tensor, has_graph;
  size_t n_floats, n_ints, n_strings;
} raw_attr;

static tern_status count_values(const tern__pb *pb, const tern__pb_field *f, uint32_t wire, size_t *count) {
  tern_status status = TERN_OK;
  tern__pb values;
  TERN_TRY(tern__pb_first(pb, f, wire, &values));
  while (values.at < values.end) {
    uint64_t bits;
    TERN_TRY(tern__pb_value(&values, wire, &bits));
    ++*count;
  }
cleanup:
  return status;
}

static tern_status scan_attr(reader *r, tern__pb pb, raw_attr *a) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  *a = (raw_attr){.name = "", .text = "", .message = pb};
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    switch (f.number) {
      case 1: TERN_TRY(read_text(r, &pb, &f, &a->name)); break;
      case 2:
        a->has_f = f.wire == TERN__PB_FIXED32;
        memcpy(&a->f, &(uint32_t){(uint32_t)f.value}, 4);
        break;
      case 3: a->i = (int64_t)f.value, a->has_i = true; break;
      case 4:
        TERN_TRY(read_text(r, &pb, &f, &a->text));
        a->text_size = f.size, a->has_s = true;
        break;
      case 5:
        TERN_TRY(tern__pb_open(&pb, &f, &a->tensor));
        a->has_tensor = true;
        break;
      case 6:
        TERN_TRY(tern__pb_open(&pb, &f, &a->graph));
        a->has_graph = true;
        break;
      case 7: TERN_TRY(count_values(&pb, &f, TERN__PB_FIXED32, &a->n_floats)); break;
      case 8: TERN_TRY(count_values(&pb, &f, TERN__PB_VARINT, &a->n_ints)); break;
      case 9: a->n_strings++; break;
      case 10:
      case 11:
      case 14:
      case 15:
      case 21:
      case 22:
      case 23: a->foreign = true; break;
      case 20: a->type = (int64_t)f.value; break;
      default: break;
    }
  }
  if (!a->type) /* files from before the field existed */
    a->type = a->has_f        ? 1
              : a->has_i      ? 2
              : a->has_s      ? 3
              : a->has_tensor ? 4
              : a->has_graph  ? 5
              : a->n_floats   ? 6
              : a->n_ints     ? 7
              : a->n_strings  ? 8
                              : 0;
cleanup:
  return status;
}

/* AttributeProto.AttributeType -> tern__attr_kind; 0 = none of tern's. */
static int32_t attr_kind(const raw_attr *a) {
  static const int8_t kinds[] = {0,
                                 TERN__ATTR_FLOAT,
                                 TERN__ATTR_INT,
                                 TERN__ATTR_STRING,
                                 TERN__ATTR_TENSOR,
                                 TERN__ATTR_GRAPH,
                                 TERN__ATTR_FLOATS,
                                 TERN__ATTR_INTS,
                                 TERN__ATTR_STRINGS};
  return a->foreign || a->type < 0 || a->type >= (int64_t)sizeof kinds ? 0 : kinds[a->type];
}

static tern_status read_lists(reader *r, const raw_attr *a, tern__attr *out) {
  tern_status status = TERN_OK;
  tern__arena *arena = r->source.arena;
  tern__pb pb = a->message, values;
  tern__pb_field f;
  bool is_float = out->kind == TERN__ATTR_FLOATS, is_int = out->kind == TERN__ATTR_INTS;
  size_t at = 0;
  out->count = is_float ? a->n_floats : is_int ? a->n_ints : a->n_strings;
  float *floats = is_float ? tern__arena_calloc(arena, out->count + 1, sizeof *floats) : NULL;
  int64_t *ints = is_int ? tern__arena_calloc(arena, out->count + 1, sizeof *ints) : NULL;
  const char **strings =
      !is_float && !is_int ? tern__arena_calloc(arena, out->count + 1, sizeof *strings) : NULL;
  if (!floats && !ints && !strings) TERN_CHECK_ALLOC(NULL);
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (strings && f.number == 9) TERN_TRY(read_text(r, &pb, &f, &strings[at++]));
    if (!(floats && f.number == 7) && !(ints && f.number == 8)) continue;
    uint32_t wire = floats ? TERN__PB_FIXED32 : TERN__PB_VARINT;
    TERN_TRY(tern__pb_first(&pb, &f, wire, &values));
    while (values.at < values.end) {
      uint64_t bits;
      TERN_TRY(tern__pb_value(&values, wire, &bits));
      if (ints) ints[at++] = (int64_t)bits;
      else memcpy(&floats[at++], &(uint32_t){(uint32_t)bits}, 4);
    }
  }
  out->floats = floats, out->ints = ints, out->strings = strings;
cleanup:
  return status;
}

static tern_status read_graph(reader *r, scope *s, tern__pb pb);
static void close_scope(reader *r, scope *s) {
  tern__map_deinit(r->source.alloc, &s->declared);
  TERN_ARRAY_FREE(r->source.alloc, s->types);
}

static tern_status read_subgraph(reader *r, scope *outer, tern__pb pb, tern__graph **out) {
  tern_status status = TERN_OK;
  scope s = {.outer = outer, .depth = outer->depth + 1};
  *out = NULL;
  if (s.depth > MAX_DEPTH)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "graphs are nested more than %d deep", MAX_DEPTH);
  TERN_TRY(tern__graph_create(r->source.alloc, r->source.arena, &s.graph));
  s.graph->parent = outer->graph;
  TERN_TRY(read_graph(r, &s, pb));
  *out = s.graph, s.graph = NULL;
cleanup:
  tern__graph_destroy(s.graph);
  close_scope(r, &s);
  return status;
}

static tern_status make_attr(reader *r, scope *s, const raw_attr *a, tern__attr *out) {
  tern_status status = TERN_OK;
  tern__onnx_tensor t;
  *out = (tern__attr){.name = a->name,
                      .kind = attr_kind(a),
                      .i = a->i,
                      .f = a->f,
                      .s = a->text,
                      .s_size = a->text_size,
                      .tensor = -1};
  if (out->kind == TERN__ATTR_TENSOR) {
    TERN_TRY(tern__onnx_tensor_parse(&r->source, a->tensor, &t));
    TERN_TRY(tern__graph_add_constant(s->graph, "", t.dtype, t.shape.rank, t.shape.dims, t.data, t.size_bytes,
                                      &out->tensor));
  } else if (out->kind == TERN__ATTR_GRAPH) TERN_TRY(read_subgraph(r, s, a->graph, &out->graph));
  else if (out->kind >= TERN__ATTR_INTS && out->kind <= TERN__ATTR_STRINGS) TERN_TRY(read_lists(r, a, out));
cleanup:
  return status;
}

/* ------------------------------------------------------------------------------------------------ nodes */

typedef struct raw_node {
  const char *name, *op, *domain;
  size_t offset;
  tern__pb message;
  int32_t n_inputs, n_outputs, n_attrs;
} raw_node;

static tern_status scan_node(reader *r, tern__pb pb, raw_node *n) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  *n = (raw_node){.name = "", .op = "", .domain = "", .offset = tern__pb_offset(&pb), .message = pb};
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number == 1 || f.number == 2 || f.number == 5) {
      int32_t *count = f.number == 1 ? &n->n_inputs : f.number == 2 ? &n->n_outputs : &n->n_attrs;
      if (f.wire != TERN__PB_BYTES || *count == INT32_MAX)
        TERN_FAIL(TERN_STATUS_CORRUPT, "a node at byte %zu is damaged", n->offset);
      ++*count;
    } else if (f.number == 3) TERN_TRY(read_text(r, &pb, &f, &n->name));
    else if (f.number == 4) TERN_TRY(read_text(r, &pb, &f, &n->op));
    else if (f.number == 7) TERN_TRY(read_text(r, &pb, &f, &n->domain));
  }
  if (strcmp(n->domain, "ai.onnx") == 0) n->domain = "";
cleanup:
  return status;
}

/* The value of a name: here, or in an enclosing graph, whose value is captured then. -1 = nowhere. */
static tern_status resolve(reader *r, scope *s, const char *name, tern__value_id *out) {
  tern_status status = TERN_OK;
  *out = tern__graph_find(s->graph, name);
  if (*out >= 0 || !s->outer) goto cleanup;
  tern__capture capture;
  TERN_TRY(resolve(r, s->outer, name, &capture.outer));
  if (capture.outer < 0) goto cleanup;
  const tern__value *v = &s->outer->graph->values[capture.outer];
  TERN_TRY(tern__graph_add_value(s->graph, name, v->dtype, v->shape.rank, v->shape.dims, &capture.inner));
  TERN_ARRAY_PUSH(r->source.alloc, s->graph->captures, capture);
  *out = capture.inner;
cleanup:
  return status;
}

/* Adds a value that a node writes, with the type that the file declares for it. */
static tern_status add_written(scope *s, const char *name, tern__value_id *out) {
  static const struct declared_type none = {.shape = {.rank = -1}};
  int64_t index;
  const struct declared_type *type =
      tern__map_get(&s->declared, name, strlen(name), &index) ? &s->types[index] : &none;
  return tern__graph_add_value(s->graph, name, type->dtype, type->shape.rank, type->shape.dims, out);
}

static bool is_constant(const raw_node *n) { return strcmp(n->op, "Constant") == 0 && !*n->domain; }

/* A Constant node becomes a constant: value, or value_{int,float,ints,floats}. */
static tern_status read_constant_node(reader *r, scope *s, const raw_node *n, const char *output) {
  tern_status status = TERN_OK;
  tern__pb pb = n->message, inner;
  tern__pb_field f;
  raw_attr a = {.name = ""};
  tern__attr attr;
  tern__onnx_tensor t;
  tern__value_id id;
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number != 5) continue;
    TERN_TRY(tern__pb_open(&pb, &f, &inner));
    TERN_TRY(scan_attr(r, inner, &a));
  }
  int32_t kind = attr_kind(&a);
  if (strcmp(a.name, "value") == 0 && kind == TERN__ATTR_TENSOR) {
    TERN_TRY(tern__onnx_tensor_parse(&r->source, a.tensor, &t));
    TERN_TRY(tern__graph_add_constant(s->graph, output, t.dtype, t.shape.rank, t.shape.dims, t.data,
                                      t.size_bytes, &id));
    goto cleanup;
  }
  if (strncmp(a.name, "value_", 6) != 0 || kind < TERN__ATTR_INT || kind > TERN__ATTR_FLOATS ||
      kind == TERN__ATTR_STRING)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "a Constant in the form '%s'", a.name);
  TERN_TRY(make_attr(r, s, &a, &attr));
  bool floats = kind == TERN__ATTR_FLOAT || kind == TERN__ATTR_FLOATS, list = kind >= TERN__ATTR_INTS;
  size_t count = list ? attr.count : 1, size = count * (floats ? 4 : 8);
  void *data = tern__arena_alloc(r->source.arena, size + 1);
  TERN_CHECK_ALLOC(data);
  memcpy(data,
         list     ? (floats ? (const void *)attr.floats : attr.ints)
         : floats ? (const void *)&attr.f
                  : &attr.i,
         size);
  TERN_TRY(tern__graph_add_constant(s->graph, output, floats ? TERN_DTYPE_F32 : TERN_DTYPE_I64, list,
                                    &(int64_t){(int64_t)count}, data, size, &id));
cleanup:
  return status;
}

/* First walk over a node: what it writes comes into being. */
static tern_status declare_outputs(reader *r, scope *s, const raw_node *n) {
  tern_status status = TERN_OK;
  tern__pb pb = n->message;
  tern__pb_field f;
  tern__value_id id;
  if (is_constant(n) && n->n_outputs != 1) TERN_FAIL(TERN_STATUS_CORRUPT, "a Constant has one output");
  for (bool more = true;;) {
    const char *name;
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number != 2) continue;
    TERN_TRY(read_text(r, &pb, &f, &name));
    if (is_constant(n)) TERN_TRY(read_constant_node(r, s, n, name));
    else if (*name) TERN_TRY(add_written(s, name, &id));
  }
cleanup:
  return status;
}

static int32_t opset_of(const reader *r, const char *domain) {
  for (size_t i = 0; i < tern__array_count(r->info->opsets); i++)
    if (strcmp(r->info->opsets[i].domain, domain) == 0) return r->info->opsets[i].version;
  return *domain ? 1 : 0; /* exporters forget the import of custom domains, which have but one version */
}

static tern_status note_missing(reader *r, const raw_node *n, int32_t opset) {
  char *key = tern__arena_printf(r->source.arena, "%s:%s", n->domain, n->op);
  if (!key) return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a name");
  if (tern__map_get(&r->missing_seen, key, strlen(key), NULL)) return TERN_OK;
  if (!tern__map_put(r->source.alloc, &r->missing_seen, key, strlen(key), 1))
    return tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a name");
  r->n_missing++;
  size_t room = sizeof r->missing - r->missing_size;
  int size =
      snprintf(r->missing + r->missing_size, room, "%s%s (domain '%s', opset %d, node '%s')",
               r->n_missing > 1 ? ", " : "", n->op, *n->domain ? n->domain : "ai.onnx", opset, n->name);
  if (size > 0 && (size_t)size < room) r->missing_size += (size_t)size;
  else {
    snprintf(r->missing + r->missing_size, room, "%.*s", (int)(room - 1), " ...");
    r->missing_size = sizeof r->missing - 1; /* full: what follows is counted alone */
  }
  return TERN_OK;
}

static tern_status check_attr(const raw_node *n, const tern__op_def *op, const raw_attr *a) {
  const tern__attr_def *def = op->attrs;
  while (def && def->name && strcmp(def->name, a->name) != 0) def++;
  if (!def || !def->name)
    return tern__fail(TERN_STATUS_UNSUPPORTED, "node '%s' (%s): attribute '%s' is not supported", n->name,
                      n->op, a->name);
  if ((int32_t)def->kind != attr_kind(a))
    return tern__fail(TERN_STATUS_CORRUPT,
                      "node '%s' (%s): attribute '%s' has ONNX type %lld, which the operator does not take",
                      n->name, n->op, a->name, (long long)a->type);
  return TERN_OK;
}

static tern_status add_attrs(reader *r, scope *s, const raw_node *n, int32_t node, const tern__op_def *op) {
  tern_status status = TERN_OK;
  tern__pb pb = n->message, inner;
  tern__pb_field f;
  tern__attr attr = {.graph = NULL};
  for (bool more = true;;) {
    raw_attr a;
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number != 5) continue;
    TERN_TRY(tern__pb_open(&pb, &f, &inner));
    TERN_TRY(scan_attr(r, inner, &a));
    if (op) {
      TERN_TRY(check_attr(n, op, &a));
      if (tern__node_attr(&s->graph->nodes[node], a.name))
        TERN_FAIL(TERN_STATUS_CORRUPT, "attribute '%s' is given twice", a.name);
      TERN_TRY(make_attr(r, s, &a, &attr));
      TERN_TRY(tern__node_add_attr(s->graph, node, &attr));
      attr.graph = NULL;                            /* the node's now */
    } else if (attr_kind(&a) == TERN__ATTR_GRAPH) { /* read for the operators in it that are missing, too */
      TERN_TRY(read_subgraph(r, s, a.graph, &attr.graph));
      tern__graph_destroy(attr.graph);
      attr.graph = NULL;
    }
  }
cleanup:
  tern__graph_destroy(attr.graph);
  return status;
}

static tern_status read_operands(reader *r, scope *s, const raw_node *n, tern__value_id *inputs,
                                 tern__value_id *outputs) {
  tern_status status = TERN_OK;
  tern__pb pb = n->message;
  tern__pb_field f;
  for (bool more = true;;) {
    const char *name;
    tern__value_id id = -1;
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number != 1 && f.number != 2) continue;
    TERN_TRY(read_text(r, &pb, &f, &name));
    if (*name) {
      if (f.number == 1) TERN_TRY(resolve(r, s, name, &id));
      else id = tern__graph_find(s->graph, name);
      if (id < 0) TERN_FAIL(TERN_STATUS_CORRUPT, "nothing produces its input '%s'", name);
    }
    if (f.number == 1) *inputs++ = id;
    else *outputs++ = id;
  }
cleanup:
  return status;
}

/* Second walk over a node. */
static tern_status read_node(reader *r, scope *s, const raw_node *n) {
  tern_status status = TERN_OK;
  tern__value_id *ids = NULL;
  int32_t opset = opset_of(r, n->domain), index = -1, n_inputs = n->n_inputs;
  if (is_constant(n)) goto cleanup;
  if (opset < 1)
    TERN_FAIL(TERN_STATUS_CORRUPT,
              "the model does not say which version of its operators it uses (opset_import)");
  const tern__op_def *op = tern__op_find(n->op, n->domain, opset);
  if (!op) {
    TERN_TRY(note_missing(r, n, opset));
    TERN_TRY(add_attrs(r, s, n, -1, NULL));
    goto cleanup;
  }
  ids = tern__calloc(r->source.alloc, (size_t)n->n_inputs + (size_t)n->n_outputs + 1, sizeof *ids);
  TERN_CHECK_ALLOC(ids);
  TERN_TRY(read_operands(r, s, n, ids, ids + n->n_inputs));
  while (n_inputs > op->min_inputs && ids[n_inputs - 1] < 0) n_inputs--; /* trailing "" */
  TERN_TRY(tern__graph_add_node(s->graph, op, n->name, opset, ids, n_inputs, ids + n->n_inputs, n->n_outputs,
                                &index));
  TERN_TRY(add_attrs(r, s, n, index, op));
cleanup:
  tern__free(r->source.alloc, ids);
  if (status != TERN_OK && status != TERN_STATUS_OUT_OF_MEMORY)
    tern__fail_context(status, "node '%s' (%s) at byte %zu", n->name, n->op, n->offset);
  return status;
}

/* ------------------------------------------------------------------------------------------------ graphs */

static tern_status read_initializer(reader *r, scope *s, tern__pb pb) {
  tern_status status = TERN_OK;
  tern__onnx_tensor t;
  tern__value_id id;
  size_t offset = tern__pb_offset(&pb);
  TERN_TRY(tern__onnx_tensor_parse(&r->source, pb, &t));
  if (!*t.name) TERN_FAIL(TERN_STATUS_CORRUPT, "the initializer at byte %zu has no name", offset);
  TERN_TRY(tern__graph_add_constant(s->graph, t.name, t.dtype, t.shape.rank, t.shape.dims, t.data,
                                    t.size_bytes, &id));
cleanup:
  return status;
}

static tern_status read_input(reader *r, scope *s, tern__pb pb) {
  tern_status status = TERN_OK;
  const char *name;
  struct declared_type type;
  tern__value_id id;
  size_t offset = tern__pb_offset(&pb);
  TERN_TRY(read_value_info(r, pb, &name, &type));
  if (!*name) TERN_FAIL(TERN_STATUS_CORRUPT, "the graph input at byte %zu has no name", offset);
  id = tern__graph_find(s->graph, name);
  if (id >= 0 && s->graph->values[id].data)
    goto cleanup; /* an initializer listed among the inputs, as before IR 4 */
  TERN_TRY(tern__graph_add_value(s->graph, name, type.dtype, type.shape.rank, type.shape.dims, &id));
  TERN_TRY(tern__graph_add_input(s->graph, id));
cleanup:
  return status;
}

static tern_status read_declaration(reader *r, scope *s, tern__pb pb) {
  tern_status status = TERN_OK;
  const char *name;
  struct declared_type type;
  TERN_TRY(read_value_info(r, pb, &name, &type));
  int64_t index = (int64_t)tern__array_count(s->types);
  TERN_ARRAY_PUSH(r->source.alloc, s->types, type);
  if (!tern__map_put(r->source.alloc, &s->declared, name, strlen(name), index)) TERN_CHECK_ALLOC(NULL);
cleanup:
  return status;
}

static tern_status read_output(reader *r, scope *s, tern__pb pb) {
  tern_status status = TERN_OK;
  const char *name;
  struct declared_type type;
  tern__value_id id;
  TERN_TRY(read_value_info(r, pb, &name, &type));
  TERN_TRY(resolve(r, s, name, &id));
  if (id < 0) TERN_FAIL(TERN_STATUS_CORRUPT, "nothing produces the graph's output '%s'", name);
  TERN_TRY(tern__graph_add_output(s->graph, id));
cleanup:
  return status;
}

typedef enum walk { CONSTANTS, INPUTS, DECLARATIONS, WRITTEN, NODES, OUTPUTS } walk;

static tern_status walk_graph(reader *r, scope *s, tern__pb pb, walk what) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  tern__pb inner;
  raw_node node;
  for (bool more = true;;) {
    TERN_TRY(tern__cancel_check(r->source.files->cancel, "reading the graph"));
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    bool wanted = what == CONSTANTS      ? f.number == 5 || f.number == 15 || f.number == 2
                  : what == INPUTS       ? f.number == 11
                  : what == DECLARATIONS ? f.number == 12 || f.number == 13
                  : what == OUTPUTS      ? f.number == 12
                                         : f.number == 1;
    if (!wanted) continue;
    TERN_TRY(tern__pb_open(&pb, &f, &inner));
    if (what == CONSTANTS) {
      if (f.number == 2) TERN_TRY(read_text(r, &pb, &f, &s->graph->name));
      else if (f.number == 5) TERN_TRY(read_initializer(r, s, inner));
      else
        TERN_FAIL(TERN_STATUS_UNSUPPORTED, "sparse initializers (byte %zu) are not supported",
                  tern__pb_offset(&inner));
    } else if (what == INPUTS) TERN_TRY(read_input(r, s, inner));
    else if (what == DECLARATIONS) TERN_TRY(read_declaration(r, s, inner));
    else if (what == OUTPUTS) TERN_TRY(read_output(r, s, inner));
    else {
      TERN_TRY(scan_node(r, inner, &node));
      if (what == WRITTEN) {
        status = declare_outputs(r, s, &node);
        if (status != TERN_OK) {
          tern__fail_context(status, "node '%s' (%s) at byte %zu", node.name, node.op, node.offset);
          goto cleanup;
        }
      } else TERN_TRY(read_node(r, s, &node));
    }
  }
cleanup:
  return status;
}

static tern_status read_graph(reader *r, scope *s, tern__pb pb) {
  tern_status status = TERN_OK;
  for (walk what = CONSTANTS; what <= OUTPUTS; what = (walk)(what + 1)) TERN_TRY(walk_graph(r, s, pb, what));
  if (r->n_missing) goto cleanup; /* the graph has holes; the model's error comes at the end */
  TERN_TRY(tern__graph_verify(s->graph));
  TERN_TRY(tern__graph_tidy(s->graph));
cleanup:
  return status;
}

/* ------------------------------------------------------------------------------------------------ model */

static tern_status read_opset(reader *r, tern__pb pb) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  tern__onnx_opset opset = {"", 0};
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number == 1) TERN_TRY(read_text(r, &pb, &f, &opset.domain));
    if (f.number == 2) opset.version = f.value <= INT32_MAX ? (int32_t)f.value : 0;
  }
  if (strcmp(opset.domain, "ai.onnx") == 0) opset.domain = "";
  TERN_ARRAY_PUSH(r->source.alloc, r->info->opsets, opset);
cleanup:
  return status;
}

static tern_status read_metadata(reader *r, tern__pb pb) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  tern__onnx_entry entry = {"", ""};
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number == 1) TERN_TRY(read_text(r, &pb, &f, &entry.key));
    if (f.number == 2) TERN_TRY(read_text(r, &pb, &f, &entry.value));
  }
  TERN_ARRAY_PUSH(r->source.alloc, r->info->metadata, entry);
cleanup:
  return status;
}

static tern_status read_header(reader *r, tern__pb pb, tern__pb *graph) {
  tern_status status = TERN_OK;
  tern__pb_field f;
  tern__pb inner;
  tern__onnx_info *info = r->info;
  info->producer = info->producer_version = "";
  for (bool more = true;;) {
    TERN_TRY(tern__pb_next(&pb, &f, &more));
    if (!more) break;
    if (f.number == 7 || f.number == 8 || f.number == 14) TERN_TRY(tern__pb_open(&pb, &f, &inner));
    switch (f.number) {
      case 1: info->ir_version = (int64_t)f.value; break;
      case 2: TERN_TRY(read_text(r, &pb, &f, &info->producer)); break;
      case 3: TERN_TRY(read_text(r, &pb, &f, &info->producer_version)); break;
      case 5: info->model_version = (int64_t)f.value; break;
      case 7: *graph = inner; break;
      case 8: TERN_TRY(read_opset(r, inner)); break;
      case 14: TERN_TRY(read_metadata(r, inner)); break;
      default:
        break; /* training_info is not for inference; unused functions do no harm, used ones are missing
                  operators */
    }
  }
  if (!graph->at) TERN_FAIL(TERN_STATUS_CORRUPT, "the file has no graph: is it an ONNX model?");
cleanup:
  return status;
}

tern_status tern__onnx_read(tern__alloc *alloc, tern__arena *arena, const uint8_t *data, size_t size,
                            const char *path, tern__graph **out, tern__onnx_files *files) {
  tern_status status = TERN_OK;
  reader r = {.source = {alloc, arena, path, files}, .info = &files->info};
  scope s = {.graph = NULL};
  tern__pb graph = {NULL, NULL, NULL};
  *out = NULL;
  TERN_TRY(read_header(&r, (tern__pb){data, data + size, data}, &graph));
  TERN_TRY(tern__graph_create(alloc, arena, &s.graph));
  TERN_TRY(read_graph(&r, &s, graph));
  if (r.n_missing)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "%d operator%s not supported: %s", r.n_missing,
              r.n_missing > 1 ? "s are" : " is", r.missing);
  *out = s.graph, s.graph = NULL;
cleanup:
  tern__graph_destroy(s.graph);
  close_scope(&r, &s);
  tern__map_deinit(alloc, &r.missing_seen);
  return status;
}

void tern__onnx_files_close(tern__alloc *alloc, tern__onnx_files *files) {
  for (size_t i = 0; i < tern__array_count(files->files); i++) tern__file_map_close(&files->files[i].map);
  TERN_ARRAY_FREE(alloc, files->files);
  TERN_ARRAY_FREE(alloc, files->info.opsets);
  TERN_ARRAY_FREE(alloc, files->info.metadata);
}
