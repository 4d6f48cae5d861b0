/* The tasks of this build. */
#include <stdio.h>
#include <string.h>

#include "pipeline/pipeline.h"

#define TERN__TASKS(X)        \
  X(text_generation)          \
  X(feature_extraction)

#define TERN_X(symbol) extern const tern__task tern__task_##symbol;
TERN__TASKS(TERN_X)
#undef TERN_X

static const tern__task *const tasks[] = {
#define TERN_X(symbol) &tern__task_##symbol,
    TERN__TASKS(TERN_X)
#undef TERN_X
};

const tern__task *tern__task_find(const char *name) {
  for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
    if (strcmp(tasks[i]->name, name) == 0) return tasks[i];
  return NULL;
}

const char *tern__task_names(char *text, size_t size) {
  size_t n = 0;
  *text = 0;
  for (size_t i = 0; i < sizeof tasks / sizeof *tasks && n < size; i++)
    n += (size_t)snprintf(text + n, size - n, "%s%s", i ? ", " : "", tasks[i]->name);
  return text;
}
