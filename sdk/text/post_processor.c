/* Post-processors of tokenizer.json, all read into one form: a template of special tokens and sequences, for
 * one text and for a pair. */
#include "text/tokenizer_internal.h"

#include <string.h>

typedef tern_status (*read_fn)(const tern__spec *spec, int32_t n_ids, tern__post_processor *out);

static tern_status set_template(const tern__spec *spec, const tern__template_item *items, size_t n,
                                const tern__template_item **out, size_t *n_out) {
  tern_status status = TERN_OK;
  tern__template_item *copy = tern__arena_calloc(spec->arena, n, sizeof *copy);
  TERN_CHECK_ALLOC(copy);
  memcpy(copy, items, n * sizeof *copy);
  *out = copy, *n_out = n;
cleanup:
  return status;
}

/* ["[SEP]", 102] */
static tern_status read_token(const tern__spec *spec, const char *key, int32_t n_ids, int32_t *id) {
  tern__spec at = tern__spec_get(spec, key);
  const tern__json *first = tern__json_first(at.node);
  int64_t value = tern__json_count(at.node) == 2 ? tern__json_int(tern__json_next(first), -1) : -1;
  if (!tern__json_is_string(first) || value < 0 || value >= n_ids)
    return tern__spec_fail(&at, TERN_STATUS_CORRUPT, "is not [token, id] with an id of the vocabulary");
  *id = (int32_t)value;
  return TERN_OK;
}

static tern_status read_bert(const tern__spec *spec, int32_t n_ids, tern__post_processor *out) {
  tern_status status = TERN_OK;
  int32_t sep, cls;
  TERN_TRY(read_token(spec, "sep", n_ids, &sep));
  TERN_TRY(read_token(spec, "cls", n_ids, &cls));
  const tern__template_item items[] = {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}, {1, 0, 1}, {-1, sep, 1}};
  TERN_TRY(set_template(spec, items, 3, &out->single, &out->n_single));
  TERN_TRY(set_template(spec, items, 5, &out->pair, &out->n_pair));
cleanup:
  return status;
}

static tern_status read_roberta(const tern__spec *spec, int32_t n_ids, tern__post_processor *out) {
  tern_status status = TERN_OK;
  int32_t sep, cls;
  TERN_TRY(read_token(spec, "sep", n_ids, &sep));
  TERN_TRY(read_token(spec, "cls", n_ids, &cls));
  const tern__template_item items[] = {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0},
                                       {-1, sep, 0}, {1, 0, 0}, {-1, sep, 0}};
  TERN_TRY(set_template(spec, items, 3, &out->single, &out->n_single));
  TERN_TRY(set_template(spec, items, 6, &out->pair, &out->n_pair));
cleanup:
  return status;
}

/* {"SpecialToken": {"id": "[CLS]", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}}; a special token
 * may stand for several ids. */
static tern_status read_item(const tern__spec *spec, const tern__spec *specials, int32_t n_ids, bool is_pair,
                             tern__template_item **items) {
  tern_status status = TERN_OK;
  tern__spec token = tern__spec_get(spec, "SpecialToken"), sequence = tern__spec_get(spec, "Sequence");
  const tern__spec *at = token.node ? &token : &sequence;
  const char *name;
  int64_t type = 0;
  if (!at->node) TERN_TRY(tern__spec_fail(spec, TERN_STATUS_CORRUPT, "is neither SpecialToken nor Sequence"));
  TERN_TRY(tern__spec_string(at, "id", NULL, &name));
  TERN_TRY(tern__spec_int(at, "type_id", -1, 0, INT32_MAX, &type));
  if (sequence.node) {
    int32_t which = !strcmp(name, "B");
    if (!which && strcmp(name, "A"))
      TERN_TRY(tern__spec_fail(at, TERN_STATUS_CORRUPT, "id is neither A nor B"));
    if (which && !is_pair)
      TERN_TRY(tern__spec_fail(at, TERN_STATUS_CORRUPT, "asks for B where there is one sequence"));
    TERN_ARRAY_PUSH(spec->arena->alloc, *items, (tern__template_item){which, 0, (int32_t)type});
    return TERN_OK;
  }
  tern__spec special = tern__spec_get(specials, name), ids = tern__spec_get(&special, "ids");
  if (!tern__json_count(ids.node))
    TERN_TRY(tern__spec_fail(at, TERN_STATUS_CORRUPT, "names '%s', which special_tokens lacks", name));
  for (const tern__json *n = tern__json_first(ids.node); n; n = tern__json_next(n)) {
    int64_t id = tern__json_int(n, -1);
    if (id < 0 || id >= n_ids)
      TERN_TRY(tern__spec_fail(&ids, TERN_STATUS_CORRUPT, "holds an id that is not in the vocabulary"));
    TERN_ARRAY_PUSH(spec->arena->alloc, *items, (tern__template_item){-1, (int32_t)id, (int32_t)type});
  }
cleanup:
  return status;
}

static tern_status read_list(const tern__spec *spec, const char *key, int32_t n_ids, bool is_pair,
                             const tern__template_item **out, size_t *n_out) {
  tern_status status = TERN_OK;
  tern__template_item *items = NULL;
  tern__spec list = tern__spec_get(spec, key), specials = tern__spec_get(spec, "special_tokens");
  size_t i = 0;
  if (!tern__json_is_array(list.node))
    TERN_TRY(tern__spec_fail(&list, TERN_STATUS_CORRUPT, "is not an array"));
  for (const tern__json *n = tern__json_first(list.node); n; n = tern__json_next(n), i++) {
    tern__spec at = tern__spec_at(&list, n, i);
    TERN_TRY(read_item(&at, &specials, n_ids, is_pair, &items));
  }
  TERN_TRY(set_template(spec, items, tern__array_count(items), out, n_out));
cleanup:
  TERN_ARRAY_FREE(spec->arena->alloc, items);
  return status;
}

static tern_status read_template(const tern__spec *spec, int32_t n_ids, tern__post_processor *out) {
  tern_status status = read_list(spec, "single", n_ids, false, &out->single, &out->n_single);
  return status == TERN_OK ? read_list(spec, "pair", n_ids, true, &out->pair, &out->n_pair) : status;
}

/* ByteLevel trims offsets, which nobody asks for here. */
static tern_status read_byte_level(const tern__spec *spec, int32_t n_ids, tern__post_processor *out) {
  (void)spec, (void)n_ids, (void)out;
  return TERN_OK;
}

static tern_status read_any(const tern__spec *spec, int32_t n_ids, tern__post_processor *out);

static tern_status read_sequence(const tern__spec *spec, int32_t n_ids, tern__post_processor *out) {
  tern_status status = TERN_OK;
  tern__spec list = tern__spec_get(spec, "processors");
  size_t i = 0;
  if (!tern__json_is_array(list.node)) return tern__spec_fail(&list, TERN_STATUS_CORRUPT, "is not an array");
  for (const tern__json *n = tern__json_first(list.node); n; n = tern__json_next(n), i++) {
    tern__spec at = tern__spec_at(&list, n, i);
    tern__post_processor one = {0};
    TERN_TRY(read_any(&at, n_ids, &one));
    if (one.single && out->single)
      TERN_TRY(tern__spec_fail(&at, TERN_STATUS_UNSUPPORTED, "is a second post-processor that adds tokens"));
    if (one.single) *out = one;
  }
cleanup:
  return status;
}

static const struct { const char *type; read_fn read; } kinds[] = {
  {"Sequence", read_sequence},
  {"TemplateProcessing", read_template},
  {"BertProcessing", read_bert},
  {"RobertaProcessing", read_roberta},
  {"ByteLevel", read_byte_level},
};

static tern_status read_any(const tern__spec *spec, int32_t n_ids, tern__post_processor *out) {
  const char *type;
  tern_status status = tern__spec_type(spec, &type);
  for (size_t i = 0; status == TERN_OK && i < sizeof kinds / sizeof *kinds; i++)
    if (!strcmp(kinds[i].type, type)) return kinds[i].read(spec, n_ids, out);
  if (status != TERN_OK) return status;
  return tern__spec_fail(spec, TERN_STATUS_UNSUPPORTED, "the post-processor type '%s' is not supported",
                         type);
}

tern_status tern__post_processor_read(const tern__spec *spec, int32_t n_ids, tern__post_processor **out) {
  tern_status status = TERN_OK;
  *out = NULL;
  if (!spec->node) return TERN_OK;
  tern__post_processor *made = tern__arena_alloc(spec->arena, sizeof *made);
  TERN_CHECK_ALLOC(made);
  TERN_TRY(read_any(spec, n_ids, made));
  if (made->single) *out = made;
cleanup:
  return status;
}
