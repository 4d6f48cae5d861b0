/* What JavaScript cannot do by itself: callbacks are addresses of functions in the module's table. JavaScript calls all of
 * this on one thread, between runs. */
#include <stdint.h>

#include "abi_layout.h"

#define HOST(name) __attribute__((import_module("tern"), import_name(name))) extern
#define EXPORT(name) __attribute__((export_name(name)))

HOST("on_text") int32_t host_on_text(void *user_data, const char *text, size_t size, int32_t token);
HOST("on_progress") int32_t host_on_progress(void *user_data, const char *phase, double done, double total);
HOST("on_log") void host_on_log(int32_t level, const char *text);

static int32_t on_text(void *user_data, const char *text, size_t size, int32_t token) {
  return host_on_text(user_data, text, size, token);
}
static int32_t on_progress(void *user_data, const char *phase, uint64_t done, uint64_t total) {
  return host_on_progress(user_data, phase, (double)done, (double)total);
}
static void on_log(void *user_data, tern_log_level level, const char *text) {
  (void)user_data;
  host_on_log((int32_t)level, text);
}

/* The library's heap (sdk/base/heap_wasm.h), for what JavaScript hands in: descs, strings, the bytes of model files. */
void *tern__heap_alloc(size_t size, size_t align);
void tern__heap_free(void *ptr, size_t size, size_t align);
EXPORT("tern_web_alloc") void *tern_web_alloc(size_t size) { return tern__heap_alloc(size ? size : 1, 64); }
EXPORT("tern_web_free") void tern_web_free(void *ptr, size_t size) { tern__heap_free(ptr, size ? size : 1, 64); }

/* Fills the members that are functions. */
EXPORT("tern_web_set_log") void tern_web_set_log(tern_log *log) { log->message = on_log; }
EXPORT("tern_web_set_progress") void tern_web_set_progress(tern_progress *progress) { progress->fn = on_progress; }
EXPORT("tern_web_set_text") void tern_web_set_text(tern_on_text *callback) { callback->fn = on_text; }
