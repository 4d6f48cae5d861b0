/* Fuzzes the Jinja interpreter: the input is a template, or, after a NUL byte, messages for it as JSON. */
#include "base/array.h"
#include "text/chat_template.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char messages[] =
      "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"h\\u00e9\"}]";
  tern__alloc alloc;
  tern__alloc_init(&alloc, NULL, 32u << 20);
  char *source = malloc(size + 1), *text = NULL;
  if (!source) return 0;
  if (size) memcpy(source, data, size);
  source[size] = 0;
  size_t template_size = strlen(source);
  tern__chat_inputs in = {.messages_json = template_size < size ? source + template_size + 1 : messages,
                          .tools_json = "[{\"name\":\"f\",\"parameters\":{\"a\":1.5}}]",
                          .bos_token = "<s>",
                          .eos_token = "</s>",
                          .date_string = "1 Jan 2024"};
  tern__chat_render(&alloc, source, &in, &text);
  TERN_ARRAY_FREE(&alloc, text);
  if (atomic_load(&alloc.live_bytes)) abort(); /* a leak */
  free(source);
  return 0;
}
