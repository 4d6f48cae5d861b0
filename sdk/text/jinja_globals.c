/* Global functions of a template: jinja2's range, dict and namespace, and what transformers adds. */
#if !defined(_POSIX_C_SOURCE)
#  define _POSIX_C_SOURCE 200809L /* localtime_r */
#endif
#include "text/jinja_internal.h"

#include <stdio.h>
#include <time.h>

static jvalue global_range(jinja *j, jvalue self, const jargs *args) {
  (void)self;
  int64_t first = tern__jinja_arg_whole(j, args, 0, "start", 0), from = args->count > 1 ? first : 0,
          to = args->count > 1 ? tern__jinja_arg_whole(j, args, 1, "stop", 0) : first;
  int64_t step = tern__jinja_arg_whole(j, args, 2, "step", 1), limit = (int64_t)1 << 62;
  if (!args->count || !step)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "range needs an end, and a step that is not 0");
  if (from < -limit || from > limit || to < -limit || to > limit || step < -limit || step > limit)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "range: the numbers are too large");
  int64_t span = step > 0 ? to - from : from - to, stride = step > 0 ? step : -step,
          n = span > 0 ? (span - 1) / stride + 1 : 0;
  if (n > JINJA_MAX_RANGE)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "range gives more than %d items", JINJA_MAX_RANGE);
  jlist *list = tern__jinja_list(j, (size_t)n);
  for (int64_t i = 0; i < n && tern__jinja_push(j, list, j_int(from)); i++) from += step;
  return j_list(list);
}

static jvalue build_dict(jinja *j, const jargs *args) {
  jdict *dict = tern__jinja_dict(j);
  if (args->count && args->items[0].kind == J_DICT) {
    for (size_t i = 0; i < args->items[0].as.dict->count; i++)
      tern__jinja_dict_set(j, dict, args->items[0].as.dict->pairs[i].key,
                           args->items[0].as.dict->pairs[i].value);
  } else if (args->count) {
    const jlist *pairs = tern__jinja_iterate(j, args->items[0]);
    for (size_t i = 0; pairs && i < pairs->count && j->status == TERN_OK; i++) {
      const jlist *pair = tern__jinja_iterate(j, pairs->items[i]);
      if (pair && pair->count == 2) tern__jinja_dict_set(j, dict, pair->items[0], pair->items[1]);
      else j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "dict: element %zu is not a pair", i);
    }
  }
  for (size_t i = 0; args->named && i < args->named->count; i++)
    tern__jinja_dict_set(j, dict, args->named->pairs[i].key, args->named->pairs[i].value);
  return j_dict(dict);
}

static jvalue global_dict(jinja *j, jvalue self, const jargs *args) {
  return (void)self, build_dict(j, args);
}

static jvalue global_namespace(jinja *j, jvalue self, const jargs *args) {
  (void)self;
  jvalue v = build_dict(j, args);
  for (size_t i = 0; v.kind == J_DICT && i < v.as.dict->count; i++) {
    jvalue key = v.as.dict->pairs[i].key;
    if (key.kind == J_STRING && key.as.s.size && key.as.s.data[0] == '_')
      return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "a namespace's attributes must not start with '_'");
  }
  if (v.kind == J_DICT) v.kind = J_NAMESPACE;
  return v;
}

static jvalue global_raise(jinja *j, jvalue self, const jargs *args) {
  (void)self;
  jstr message = tern__jinja_str(j, tern__jinja_arg(j, args, 0, "message", j_none()));
  return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "the template refuses this chat: %.*s",
                (int)(message.size > 400 ? 400 : message.size), message.data);
}

static void format_time(jinja *j, const struct tm *t, char c) {
  static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                     "Thursday", "Friday", "Saturday"};
  static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                       "July",    "August",   "September", "October", "November", "December"};
  char text[40];
  int n = 0;
  const char *day = days[t->tm_wday % 7], *month = months[t->tm_mon % 12];
  switch (c) { /* English whatever the locale, as a fresh Python has it */
    case 'Y': n = snprintf(text, sizeof text, "%d", t->tm_year + 1900); break;
    case 'y': n = snprintf(text, sizeof text, "%02d", t->tm_year % 100); break;
    case 'm': n = snprintf(text, sizeof text, "%02d", t->tm_mon + 1); break;
    case 'd': n = snprintf(text, sizeof text, "%02d", t->tm_mday); break;
    case 'e': n = snprintf(text, sizeof text, "%2d", t->tm_mday); break;
    case 'H': n = snprintf(text, sizeof text, "%02d", t->tm_hour); break;
    case 'I': n = snprintf(text, sizeof text, "%02d", (t->tm_hour + 11) % 12 + 1); break;
    case 'M': n = snprintf(text, sizeof text, "%02d", t->tm_min); break;
    case 'S': n = snprintf(text, sizeof text, "%02d", t->tm_sec); break;
    case 'j': n = snprintf(text, sizeof text, "%03d", t->tm_yday + 1); break;
    case 'p': n = snprintf(text, sizeof text, "%s", t->tm_hour < 12 ? "AM" : "PM"); break;
    case 'A': n = snprintf(text, sizeof text, "%s", day); break;
    case 'a': n = snprintf(text, sizeof text, "%.3s", day); break;
    case 'B': n = snprintf(text, sizeof text, "%s", month); break;
    case 'b': n = snprintf(text, sizeof text, "%.3s", month); break;
    case 'F':
      n = snprintf(text, sizeof text, "%d-%02d-%02d", t->tm_year + 1900, t->tm_mon + 1, t->tm_mday);
      break;
    case 'T': n = snprintf(text, sizeof text, "%02d:%02d:%02d", t->tm_hour, t->tm_min, t->tm_sec); break;
    case '%': n = snprintf(text, sizeof text, "%%"); break;
    default: j_fail(j, TERN_STATUS_UNSUPPORTED, "strftime_now: '%%%c' is not supported", c);
  }
  tern__jinja_emit(j, text, (size_t)n);
}

static jvalue global_strftime(jinja *j, jvalue self, const jargs *args) {
  (void)self;
  jstr format = tern__jinja_need_str(j, args, 0, "strftime_now");
  if (j->date_string) return j_string(j->date_string, strlen(j->date_string));
  struct tm now;
  time_t seconds = time(NULL);
  if (!localtime_r(&seconds, &now))
    return j_fail(j, TERN_STATUS_INTERNAL, "strftime_now: the clock cannot be read");
  size_t mark = tern__jinja_mark(j);
  for (size_t i = 0; i < format.size && j->status == TERN_OK; i++)
    if (format.data[i] == '%' && i + 1 < format.size) format_time(j, &now, format.data[++i]);
    else tern__jinja_emit(j, format.data + i, 1);
  return tern__jinja_capture(j, mark);
}

const jbuiltin *tern__jinja_find_global(jstr name) {
  static const jbuiltin globals[] = {{"range", global_range},           {"dict", global_dict},
                                     {"namespace", global_namespace},   {"raise_exception", global_raise},
                                     {"strftime_now", global_strftime}, {NULL, NULL}};
  return tern__jinja_find_builtin(globals, name);
}
