/* tern exec: any graph on .npy files. */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct exec_options {
  cli_common common;
  cli_list in;
  const char *out_dir;
} exec_options;

typedef struct exec_run {
  cli_app app;
  tern_model *model;
  tern_session *session;
  cli_inputs inputs;
  int32_t n_outputs;
  tern_tensor **outputs;
} exec_run;

static int read_inputs(const exec_options *o, exec_run *r) {
  r->inputs.names = calloc((size_t)o->in.count + 1, sizeof *r->inputs.names);
  r->inputs.tensors = calloc((size_t)o->in.count + 1, sizeof *r->inputs.tensors);
  if (!r->inputs.names || !r->inputs.tensors) return cli_error("out of memory");
  for (int i = 0; i < o->in.count; ++i) {
    tern_io_info info = {.struct_size = sizeof info};
    const char *path;
    int index;
    int rc = cli_split_input(r->model, "--in", o->in.items[i], &index, &path);
    if (rc) return rc;
    tern_status status = tern_model_input(r->model, index, &info);
    if (status != TERN_OK) return cli_fail(status);
    r->inputs.names[i] = info.name;
    if ((rc = cli_npy_read(r->app.runtime, path, &r->inputs.tensors[i]))) return rc;
    r->inputs.count = i + 1;
  }
  return CLI_OK;
}

/* An output's name as a file name: what may mean something to a file system becomes '_'. */
static void file_name(char *to, size_t capacity, const char *dir, const char *name, int32_t index) {
  char safe[200];
  size_t n = 0;
  for (const char *c = name; *c && n + 1 < sizeof safe; ++c)
    safe[n++] = strchr("/\\:*?\"<>|{} ", *c) || (unsigned char)*c < 0x20 ? '_' : *c;
  safe[n] = 0;
  if (!n || !strcmp(safe, ".") || !strcmp(safe, "..") || strlen(name) > n)
    snprintf(safe, sizeof safe, "output_%" PRId32, index); /* no usable name */
  snprintf(to, capacity, "%s/%s.npy", dir, safe);
}

static int write_outputs(const exec_options *o, const exec_run *r) {
  for (int32_t i = 0; i < r->n_outputs; ++i) {
    char path[PATH_MAX];
    tern_io_info info = {.struct_size = sizeof info};
    tern_status status = tern_model_output(r->model, i, &info);
    if (status != TERN_OK) return cli_fail(status);
    file_name(path, sizeof path, o->out_dir, info.name, i);
    int rc = cli_npy_write(path, r->outputs[i]);
    if (rc) return rc;
    printf("%s %s [", path, tern_dtype_name(tern_tensor_dtype(r->outputs[i])));
    for (int d = 0; d < tern_tensor_rank(r->outputs[i]); ++d)
      printf("%s%" PRId64, d ? "," : "", tern_tensor_dims(r->outputs[i])[d]);
    puts("]");
  }
  return CLI_OK;
}

static int run_graph(const exec_options *o, exec_run *r) {
  tern_model_desc open;
  tern_session_desc create;
  cli_fill_model(&o->common, &r->app, &open);
  tern_status status = tern_model_open(r->app.runtime, &open, &r->model);
  cli_progress_clear();
  if (status != TERN_OK) return cli_fail(status);
  int rc = read_inputs(o, r);
  if (rc) return rc;
  cli_fill_session(&o->common, &r->app, &create);
  if ((status = tern_session_create(r->model, &create, &r->session)) != TERN_OK) return cli_fail(status);
  r->n_outputs = tern_model_output_count(r->model);
  if (!(r->outputs = calloc((size_t)r->n_outputs + 1, sizeof *r->outputs))) return cli_error("out of memory");
  status = tern_session_run(r->session, r->inputs.count, r->inputs.names,
                            (const tern_tensor *const *)r->inputs.tensors, r->n_outputs, NULL, r->outputs);
  if (status != TERN_OK) return cli_fail(status);
  if (mkdir(o->out_dir, 0777) && errno != EEXIST) return cli_error("%s: cannot be created", o->out_dir);
  return write_outputs(o, r);
}

static const char about[] =
    "Runs a graph once. Every input is a NumPy file (--in NAME=FILE.npy), every output is written to\n"
    "DIR/NAME.npy, with characters that a file name cannot hold written as '_'. `tern inspect` lists a\n"
    "model's inputs and outputs.";
static const char examples[] =
    "  tern exec --model model.onnx --in x=x.npy --out-dir out/\n"
    "  tern exec --model all-MiniLM-L6-v2/ --dtype q8 --in input_ids=ids.npy \\\n"
    "      --in attention_mask=mask.npy --in token_type_ids=types.npy --out-dir out/";

int cli_exec(int argc, char **argv) {
  exec_options o = {0};
  exec_run r = {0};
  cli_list positional = {0};
  const cli_option options[] = {
      CLI_MODEL_OPTIONS(&o.common),
      {"--in", CLI_LIST, &o.in, "NAME=FILE.npy", "an input", 0, 0},
      {"--out-dir", CLI_TEXT, &o.out_dir, "DIR", "where outputs go; made if missing", 0, 0},
      CLI_DEVICE_OPTION(&o.common),
      CLI_SESSION_OPTIONS(&o.common),
  };
  const cli_command command = {"tern exec", "--model PATH --in NAME=FILE.npy ... --out-dir DIR", about,
                               examples, options, sizeof options / sizeof *options};
  int rc = cli_parse(&command, argc, argv, &positional);
  if (rc == CLI_OK && positional.count) rc = cli_usage("'%s' is no option", positional.items[0]);
  if (rc == CLI_OK && !o.out_dir) rc = cli_usage("--out-dir DIR is missing");
  if (rc == CLI_OK) {
    rc = cli_start(&o.common, true, &r.app);
    if (rc == CLI_OK) rc = run_graph(&o, &r);
    for (int32_t i = 0; r.outputs && i < r.n_outputs; ++i) tern_tensor_destroy(r.outputs[i]);
    free(r.outputs);
    cli_inputs_free(&r.inputs);
    tern_session_destroy(r.session);
    tern_model_close(r.model);
    cli_stop(&r.app);
  }
  cli_list_free(&o.in);
  cli_list_free(&positional);
  return rc < 0 ? CLI_OK : rc;
}
