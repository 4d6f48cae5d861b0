/* Renders a chat template: sets up what transformers' render_jinja_template gives to a template, then runs
 * it. */
#include "text/chat_template.h"

#include "text/jinja_internal.h"

static void set(jinja *j, const char *name, jvalue v) {
  tern__jinja_set(j, j->scope, (jstr){name, strlen(name)}, v);
}

static void set_text(jinja *j, const char *name, const char *text) {
  if (text) set(j, name, j_string(text, strlen(text)));
}

/* transformers gives the reasoning of a message under all its names: {"thinking": r, ...message,
 * "reasoning_content": r}. */
static jvalue alias_reasoning(jinja *j, jvalue message) {
  static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
  jvalue reasoning = j_none();
  for (size_t i = 0; i < 3 && reasoning.kind == J_NONE; i++) {
    const jvalue *found = tern__jinja_dict_get(j, message.as.dict, names[i]);
    if (found) reasoning = *found;
  }
  if (reasoning.kind == J_NONE) return message;
  jdict *out = tern__jinja_dict(j);
  tern__jinja_dict_set(j, out, j_string("thinking", 8), reasoning);
  for (size_t i = 0; i < message.as.dict->count; i++)
    tern__jinja_dict_set(j, out, message.as.dict->pairs[i].key, message.as.dict->pairs[i].value);
  tern__jinja_dict_set(j, out, j_string("reasoning_content", 17), reasoning);
  return j_dict(out);
}

static jvalue read_messages(jinja *j, const char *json) {
  jvalue messages = tern__jinja_from_json(j, json, "messages");
  if (j->status != TERN_OK) return messages;
  if (messages.kind != J_LIST)
    return j_fail(j, TERN_STATUS_INVALID_ARGUMENT,
                  "messages must be a JSON array of {\"role\", \"content\"}");
  for (size_t i = 0; i < messages.as.list->count && j->status == TERN_OK; i++) {
    jvalue *message = &messages.as.list->items[i];
    if (message->kind != J_DICT)
      return j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "messages[%zu] must be an object", i);
    *message = alias_reasoning(j, *message);
  }
  return messages;
}

static void set_inputs(jinja *j, const tern__chat_inputs *in) {
  j->line = 0;
  /* As in transformers, absent tools and documents are defined, and none. */
  set(j, "documents", j_none());
  set(j, "messages", read_messages(j, in->messages_json ? in->messages_json : "[]"));
  set(j, "tools", in->tools_json ? tern__jinja_from_json(j, in->tools_json, "tools") : j_none());
  set(j, "add_generation_prompt", j_bool(in->add_generation_prompt));
  set_text(j, "bos_token", in->bos_token ? in->bos_token : "");
  set_text(j, "eos_token", in->eos_token ? in->eos_token : "");
  set_text(j, "pad_token", in->pad_token);
  set_text(j, "unk_token", in->unk_token);
  if (!in->variables_json || j->status != TERN_OK) return;
  jvalue more = tern__jinja_from_json(j, in->variables_json, "variables");
  if (j->status == TERN_OK && more.kind != J_DICT)
    j_fail(j, TERN_STATUS_INVALID_ARGUMENT, "variables must be a JSON object");
  for (size_t i = 0; j->status == TERN_OK && i < more.as.dict->count; i++)
    tern__jinja_set(j, j->scope, more.as.dict->pairs[i].key.as.s, more.as.dict->pairs[i].value);
}

tern_status tern__chat_render(tern__alloc *alloc, const char *template_text, const tern__chat_inputs *inputs,
                              char **text) {
  size_t start = tern__array_count(*text);
  jscope globals = {NULL, NULL};
  jinja j = {.alloc = alloc, .out = *text, .scope = &globals, .date_string = inputs->date_string};
  tern__arena_init(&j.arena, alloc);
  set_inputs(&j, inputs);
  if (j.status == TERN_OK) tern__jinja_lex(&j, template_text);
  jnode *body = j.status == TERN_OK ? tern__jinja_parse(&j) : NULL;
  if (j.status == TERN_OK) tern__jinja_run(&j, body);
  if (j.status != TERN_OK) tern__array_truncate(j.out, start);
  *text = j.out;
  TERN_ARRAY_FREE(alloc, j.tokens);
  tern__arena_deinit(&j.arena);
  return j.status;
}
