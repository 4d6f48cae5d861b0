/* Regular expressions as tokenizer.json writes them (Oniguruma's dialect): the seam over PCRE2. */
#ifndef TERN_TEXT_REGEX_H
#define TERN_TEXT_REGEX_H

#include "base/memory.h"

typedef struct tern__regex tern__regex; /* immutable; lives in the arena it was compiled into */
/* CORRUPT: not a regular expression; UNSUPPORTED: a construct that PCRE2 would read differently. */
tern_status tern__regex_compile(tern__arena *arena, const char *pattern, size_t size, tern__regex **out);

typedef struct tern__regex_state tern__regex_state; /* working memory of one thread; NULL at first */
void tern__regex_state_free(tern__regex_state *state);

typedef struct tern__regex_match { bool found; size_t start, end; } tern__regex_match;
/* The first match at or after `from` in valid UTF-8. A text that takes too many steps is INVALID_ARGUMENT. */
tern_status tern__regex_find(const tern__regex *regex, tern__alloc *alloc, tern__regex_state **state,
                             const char *text, size_t size, size_t from, tern__regex_match *match);

#endif
