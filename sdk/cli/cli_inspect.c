/* tern inspect: what is inside a model, as a table or as the library's JSON with the memory plan added. */
#include "cli.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct inspect_options {
  cli_common common;
  int64_t prompt_tokens;
  cli_list input;
} inspect_options;

/* ------------------------------------------------------------------------------------- memory */

/* What a run with these inputs takes. A model with a KV cache is planned as the text-generation pipeline runs
 * it. */
static tern_status plan_memory(const inspect_options *o, const cli_app *app, tern_model *model,
                               tern_memory_plan *plan) {
  tern_status status;
  *plan = (tern_memory_plan){.struct_size = sizeof *plan};
  if (cli_model_has_cache(model) && !o->input.count) {
    tern_pipeline_desc desc;
    tern_pipeline *pipeline = NULL;
    cli_fill_pipeline(&o->common, app, "text-generation", &desc);
    desc.progress = (tern_progress){NULL, NULL};
    status = tern_pipeline_open(app->runtime, &desc, &pipeline);
    if (status == TERN_OK) status = tern_pipeline_memory(pipeline, plan);
    tern_pipeline_close(pipeline);
    return status;
  }
  tern_session_desc create;
  tern_session *session = NULL;
  cli_inputs inputs = {0};
  cli_fill_session(&o->common, app, &create);
  if (cli_inputs_make(app->runtime, model, &o->input, o->prompt_tokens, false, &inputs))
    return TERN_STATUS_INVALID_ARGUMENT;
  status = tern_session_create(model, &create, &session);
  if (status == TERN_OK)
    status = tern_session_plan(session, inputs.count, inputs.names,
                               (const tern_tensor *const *)inputs.tensors, plan);
  cli_inputs_free(&inputs);
  tern_session_destroy(session);
  return status;
}

/* ------------------------------------------------------------------------------------- table */

static void print_value(const cJSON *value) {
  char text[32];
  if (cJSON_IsString(value)) fputs(value->valuestring, stdout);
  else if (cJSON_IsNumber(value) && value->string && strstr(value->string, "bytes"))
    fputs(cli_bytes((uint64_t)value->valuedouble, text, sizeof text), stdout);
  else if (cJSON_IsNumber(value)) printf("%.10g", value->valuedouble);
  else if (cJSON_IsBool(value)) fputs(cJSON_IsTrue(value) ? "yes" : "no", stdout);
  else if (cJSON_IsArray(value)) {
    putchar('[');
    for (const cJSON *item = value->child; item; item = item->next) {
      /* an open dimension */
      if (cJSON_IsNumber(item) && item->valuedouble == -1) putchar('?');
      else print_value(item);
      if (item->next) putchar(',');
    }
    putchar(']');
  }
}

/* past_key_values.7.key repeats past_key_values.0.key: only the first of a series is shown. */
static bool repeats(const cJSON *item) {
  const cJSON *name = cJSON_GetObjectItemCaseSensitive(item, "name");
  const char *number = cJSON_IsString(name) ? strpbrk(name->valuestring, "0123456789") : NULL;
  bool cache = number && (!strncmp(name->valuestring, "past_", 5) || !strncmp(name->valuestring, "present", 7));
  return cache && *number != '0';
}

static void print_list(const cJSON *list) {
  int n_repeats = 0;
  for (const cJSON *item = list->child; item; item = item->next) {
    if (repeats(item)) {
      ++n_repeats;
      continue;
    }
    fputs(" ", stdout);
    for (const cJSON *field = cJSON_IsObject(item) ? item->child : NULL; field; field = field->next) {
      if (cJSON_IsArray(field) && !field->child && strcmp(field->string, "shape")) continue;
      if (cJSON_IsString(field) && !*field->valuestring) continue;
      bool named = !cJSON_IsString(field) && strcmp(field->string, "shape") && strcmp(field->string, "bytes");
      if (named) printf(" %s", field->string);
      putchar(' ');
      print_value(field);
    }
    if (!cJSON_IsObject(item)) putchar(' '), print_value(item);
    putchar('\n');
  }
  if (n_repeats) printf("  and %d like these of other layers\n", n_repeats);
}

static bool is_table(const cJSON *value) { return cJSON_IsArray(value) && cJSON_IsObject(value->child); }

/* Scalars first, then each list under its name. Unknown members are printed like known ones. */
static int print_table(const char *json) {
  cJSON *root = cJSON_Parse(json);
  if (!root) return cli_error("the description of the model cannot be read");
  for (const cJSON *value = root->child; value; value = value->next) {
    if (is_table(value) || cJSON_IsObject(value)) continue;
    printf("%-16s ", value->string);
    print_value(value);
    putchar('\n');
  }
  for (const cJSON *value = root->child; value; value = value->next) {
    if (!is_table(value) && !cJSON_IsObject(value)) continue;
    printf("\n%s\n", value->string);
    if (is_table(value)) print_list(value);
    for (const cJSON *field = cJSON_IsObject(value) ? value->child : NULL; field; field = field->next) {
      printf("  %-18s ", field->string);
      print_value(field);
      putchar('\n');
    }
  }
  cJSON_Delete(root);
  return CLI_OK;
}

/* A name as a JSON string. */
static void put_text(FILE *out, const char *text) {
  cJSON *string = cJSON_CreateString(text);
  char *quoted = string ? cJSON_PrintUnformatted(string) : NULL;
  fputs(quoted ? quoted : "\"\"", out);
  cJSON_free(quoted);
  cJSON_Delete(string);
}

/* The library's object, before its last brace the members "devices", those that are open (what of them is not used is
 * in their descriptions), and "memory" if there is a plan; free it. */
static char *with_more(const char *json, const tern_runtime *runtime, const tern_memory_plan *plan) {
  char *text = NULL;
  size_t size = 0;
  const char *end = strrchr(json, '}');
  FILE *out = end ? open_memstream(&text, &size) : NULL;
  if (!out) return NULL;
  fprintf(out, "%.*s,\"devices\":[", (int)(end - json), json);
  tern_device_info device = {.struct_size = sizeof device};
  for (int32_t i = 0; tern_runtime_device(runtime, i, &device) == TERN_OK; i++) {
    fputs(i ? ",{\"name\":" : "{\"name\":", out);
    put_text(out, device.name);
    fputs(",\"description\":", out);
    put_text(out, device.description);
    fputc('}', out);
  }
  fputc(']', out);
  if (plan)
    fprintf(out,
            ",\"memory\":{\"peak_bytes\":%" PRIu64 ",\"activation_bytes\":%" PRIu64 ",\"packed_bytes\":%" PRIu64
            ",\"kv_bytes\":%" PRIu64 ",\"scratch_bytes\":%" PRIu64 ",\"steps\":%d}",
            plan->peak_bytes, plan->activation_bytes, plan->packed_bytes, plan->kv_bytes, plan->scratch_bytes,
            plan->n_steps);
  fputc('}', out);
  return fclose(out) ? NULL : text;
}

static int inspect(const inspect_options *o) {
  cli_app app;
  tern_model *model = NULL;
  tern_model_desc open;
  tern_memory_plan plan;
  char *text = NULL;
  int rc = cli_start(&o->common, true, &app);
  if (rc) goto cleanup;
  cli_fill_model(&o->common, &app, &open);
  tern_status status = tern_model_open(app.runtime, &open, &model);
  cli_progress_clear();
  if (status != TERN_OK) {
    rc = cli_fail(status);
    goto cleanup;
  }
  /* A model that cannot run here, or whose shapes are open, is still shown; the reason is said. */
  const char *json = tern_model_json(model);
  status = plan_memory(o, &app, model, &plan);
  if (status == TERN_STATUS_CANCELLED) rc = cli_fail(status);
  else if (status != TERN_OK) cli_error("no memory plan: %s", *tern_last_error() ? tern_last_error() : "see above");
  text = with_more(json, app.runtime, status == TERN_OK ? &plan : NULL);
  if (rc == CLI_OK && o->common.json) puts(text ? text : json);
  else if (rc == CLI_OK) rc = print_table(text ? text : json);
cleanup:
  free(text);
  tern_model_close(model);
  cli_stop(&app);
  return rc;
}

static const char about[] =
    "Shows a model's format, weights by type, operators (and the devices that run them by plain\n"
    "reference code), inputs, outputs, and the memory that a run takes. In a shape, '?' is known only at run\n"
    "time; the plan takes [1, --prompt-tokens] for input_ids and its like, and --input for others.";
static const char examples[] = "  tern inspect SmolLM2.gguf\n"
                               "  tern inspect all-MiniLM-L6-v2/ --dtype q8 --json\n"
                               "  tern inspect detector.onnx --input image=1x3x640x640:float32";

int cli_inspect(int argc, char **argv) {
  inspect_options o = {.prompt_tokens = 128};
  cli_list positional = {0};
  const cli_option options[] = {
      {"--model", CLI_TEXT, &o.common.model, "PATH", "the same as PATH", 0, 0},
      CLI_FOLDER_OPTIONS(&o.common),
      {"--prompt-tokens", CLI_INT, &o.prompt_tokens, "P", "tokens of the planned run (128)", 1, 1 << 20},
      {"--input", CLI_LIST, &o.input, "NAME=1x128:int64", "shape and type of an input of that run", 0, 0},
      CLI_CONTEXT_OPTION(&o.common),
      CLI_DEVICE_OPTION(&o.common),
      CLI_SESSION_OPTIONS(&o.common),
      CLI_JSON_OPTION(&o.common),
  };
  const cli_command command = {"tern inspect", "PATH [options]", about, examples,
                               options, sizeof options / sizeof *options};
  int rc = cli_parse(&command, argc, argv, &positional);
  if (rc == CLI_OK && positional.count + !!o.common.model != 1) rc = cli_usage("give one PATH to inspect");
  if (rc == CLI_OK) {
    if (positional.count) o.common.model = positional.items[0];
    rc = inspect(&o);
  }
  cli_list_free(&o.input);
  cli_list_free(&positional);
  return rc < 0 ? CLI_OK : rc;
}
