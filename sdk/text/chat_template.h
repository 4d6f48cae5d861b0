/* Chat templates: the Jinja subset that Hugging Face models use, with transformers' settings (trim_blocks,
 * lstrip_blocks, its globals and filters). */
#ifndef TERN_TEXT_CHAT_TEMPLATE_H
#define TERN_TEXT_CHAT_TEMPLATE_H

#include "base/memory.h"

typedef struct tern__chat_inputs {
  const char *messages_json;     /* array of {"role","content",...}; content may be a string or an array of parts */
  const char *tools_json;        /* NULL = none, as transformers gives it */
  const char *variables_json;    /* object of further template variables; NULL = none */
  const char *bos_token, *eos_token, *pad_token, *unk_token; /* NULL = undefined (bos/eos: "") */
  bool add_generation_prompt;
  const char *date_string;       /* what strftime_now gives, already formatted time: NULL = now */
} tern__chat_inputs;

/* Appends the text to *text (base/array.h). CORRUPT: syntax error with line; UNSUPPORTED: names the filter, test or
 * statement; INVALID_ARGUMENT: raise_exception's message, bad messages_json; loops and output are capped. */
tern_status tern__chat_render(tern__alloc *alloc, const char *template_text, const tern__chat_inputs *inputs,
                              char **text);

#endif
