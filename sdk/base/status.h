/* How functions report failure: a tern_status, a sentence in a thread-local buffer, one `cleanup:` label. */
#ifndef TERN_BASE_STATUS_H
#define TERN_BASE_STATUS_H

#include <tern/tern.h>

#if defined(__GNUC__)
#  define TERN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#  define TERN_PRINTF(fmt, args)
#endif

/* Records the sentence and returns `code`. */
tern_status tern__fail(tern_status code, const char *fmt, ...) TERN_PRINTF(2, 3);
/* Puts more context before the recorded sentence ("model.onnx: ..."); returns `code`. */
tern_status tern__fail_context(tern_status code, const char *fmt, ...) TERN_PRINTF(2, 3);
void tern__error_set(const char *text); /* for handing a job's error to the thread that waits */
void tern__error_clear(void);

/* Both need `tern_status status` and a `cleanup:` label in scope. */
#define TERN_TRY(call)                                  \
  do {                                                  \
    if ((status = (call)) != TERN_OK) goto cleanup;     \
  } while (0)
#define TERN_FAIL(code, ...)                            \
  do {                                                  \
    status = tern__fail((code), __VA_ARGS__);           \
    goto cleanup;                                       \
  } while (0)
#define TERN_CHECK_ALLOC(ptr)                                                              \
  do {                                                                                     \
    if (!(ptr)) TERN_FAIL(TERN_STATUS_OUT_OF_MEMORY, "out of memory in %s", __func__);     \
  } while (0)

#endif
