/* What normalizers, pre-tokenizers and decoders of tokenizer.json share: an object whose "type" names a kind
 * of the family, or a Sequence of them. */
#include "text/tokenizer_internal.h"

#include <string.h>

tern_status tern__part_apply_all(const tern__part *part, tern__work *work) {
  tern_status status = TERN_OK;
  for (size_t i = 0; i < part->n_children; i++)
    TERN_TRY(part->children[i]->apply(part->children[i], work));
cleanup:
  return status;
}

static tern_status read_sequence(const tern__part_family *family, const tern__spec *spec, tern__part *out) {
  tern_status status = TERN_OK;
  tern__spec list = tern__spec_get(spec, family->list);
  if (!tern__json_is_array(list.node)) return tern__spec_fail(&list, TERN_STATUS_CORRUPT, "is not an array");
  size_t i = 0;
  tern__part **children = tern__arena_calloc(spec->arena, tern__json_count(list.node), sizeof *children);
  TERN_CHECK_ALLOC(children);
  for (const tern__json *n = tern__json_first(list.node); n; n = tern__json_next(n), i++) {
    tern__spec at = tern__spec_at(&list, n, i);
    TERN_TRY(tern__part_read(family, &at, &children[i]));
    if (!children[i]) TERN_TRY(tern__spec_fail(&at, TERN_STATUS_CORRUPT, "is null"));
  }
  out->apply = tern__part_apply_all, out->children = children, out->n_children = i;
cleanup:
  return status;
}

tern_status tern__part_read(const tern__part_family *family, const tern__spec *spec, tern__part **out) {
  tern_status status = TERN_OK;
  const char *type;
  *out = NULL;
  if (!spec->node) return TERN_OK;
  TERN_TRY(tern__spec_type(spec, &type));
  const tern__part_kind *kind = NULL;
  bool sequence = !strcmp(type, "Sequence");
  for (size_t i = 0; i < family->n_kinds && !kind; i++)
    if (!strcmp(family->kinds[i].type, type)) kind = &family->kinds[i];
  if (!kind && !sequence)
    TERN_TRY(tern__spec_fail(spec, TERN_STATUS_UNSUPPORTED, "the %s type '%s' is not supported",
                             family->what, type));
  tern__part *made = tern__arena_calloc(spec->arena, 1, family->part_size);
  TERN_CHECK_ALLOC(made);
  if (kind) made->apply = kind->apply;
  if (sequence) TERN_TRY(read_sequence(family, spec, made));
  else if (kind->read) TERN_TRY(kind->read(spec, made));
  *out = made;
cleanup:
  return status;
}
