/* The `tern` command: what its files share. It is a user of tern.h like any other and sees nothing else of
 * the sdk. main.c picks a command; each command is one cli_*.c file with its option table, which also makes
 * its help. */
#ifndef TERN_CLI_H
#define TERN_CLI_H

#include <stdbool.h>
#include <stdio.h>
#include <tern/tern.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };

/* ---------------------------------------------------------------------- options (cli_args.c) */

typedef struct cli_list {
  const char **items; /* borrowed from argv */
  int count;
} cli_list;

typedef enum cli_kind {
  CLI_FLAG,      /* bool *: present or not */
  CLI_FLAG_TEXT, /* bool *: a flag; `--name=TEXT` also adds TEXT to the positional arguments */
  CLI_TEXT,      /* const char ** */
  CLI_INT,       /* int64_t *, within min..max */
  CLI_REAL,      /* double *, within min..max */
  CLI_BYTES,     /* uint64_t *: 1000, 64K, 512M, 2G (powers of 1024) */
  CLI_LIST,      /* cli_list *: may be given again and again */
  CLI_CHOICE     /* int *: 1-based index into the `value` "a|b|c" */
} cli_kind;

typedef struct cli_option {
  const char *name; /* "--threads" */
  cli_kind kind;
  void *target;
  const char *value; /* "N", for the help */
  const char *help;
  double min, max;
} cli_option;

typedef struct cli_command {
  const char *name;     /* "tern run text-generation" */
  const char *usage;    /* "--model PATH [options] INPUT..." */
  const char *about;    /* paragraphs under the usage line */
  const char *examples; /* lines, each indented by two */
  const cli_option *options;
  int n_options;
} cli_command;

/* Fills the targets; everything that is no option lands in `inputs` (free with cli_list_free). Returns
 * CLI_OK, CLI_USAGE with a sentence on stderr, or -1 after printing the help that was asked for. */
int cli_parse(const cli_command *command, int argc, char **argv, cli_list *inputs);
bool cli_list_add(cli_list *list, const char *item);
void cli_list_free(cli_list *list);
/* The name nearest to `word`, or NULL if none is near. */
const char *cli_nearest(const char *word, const char *const *names, int n_names);
/* Decimal integer that fills all of `text`. */
bool cli_parse_int(const char *text, int64_t *out);

/* ---------------------------------------------------------------------- messages (cli_print.c) */

/* "tern: ..." on stderr, after removing a progress line; returns CLI_FAILED or CLI_USAGE. */
int cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The library's sentence for the last failure; CLI_INTERRUPTED if it was a cancel. */
int cli_fail(tern_status status);
/* `text` as a JSON string with its quotes. */
void cli_json_string(FILE *to, const char *text, size_t size);
void cli_json_number(FILE *to, double value);
/* Bytes as people read them: "91.4 MB". Returns `buffer`. */
const char *cli_bytes(uint64_t bytes, char *buffer, size_t capacity);
/* A whole stream as a NUL-terminated text (free it); NULL with a sentence on stderr. */
char *cli_read_all(FILE *from, const char *name, size_t *size);

/* ---------------------------------------------------------------------- profiles (cli_profile.c) */

/* What the machine can do at best, as the caller says; 0: not said. */
typedef struct cli_roof { double gbps, gops; } cli_roof;
void cli_print_profile(const char *profile, const cli_roof *roof);
void cli_json_roof(const char *profile, const cli_roof *roof); /* as a member, with its comma */

/* ---------------------------------------------------------------------- opening (cli_open.c) */

/* Options that every command which opens a model has. */
typedef struct cli_common {
  const char *model, *device, *dtype, *file_name;
  int64_t threads, context;
  uint64_t memory_budget;
  int numerics;
  bool verbose, json;
} cli_common;

/* clang-format off: one option a row */
#define CLI_DTYPE_HELP "which file of a folder: fp32 fp16 q8 int8 uint8 q4 q4f16 bnb4"
#define CLI_FOLDER_OPTIONS(c) \
  {"--dtype", CLI_TEXT, &(c)->dtype, "T", CLI_DTYPE_HELP, 0, 0}, \
  {"--file-name", CLI_TEXT, &(c)->file_name, "NAME", "base name of the file in onnx/ (model)", 0, 0}
#define CLI_MODEL_OPTIONS(c) \
  {"--model", CLI_TEXT, &(c)->model, "PATH", "a .gguf or .onnx file, or a Transformers.js folder", 0, 0}, \
  CLI_FOLDER_OPTIONS(c)
#define CLI_SESSION_OPTIONS(c) \
  {"--threads", CLI_INT, &(c)->threads, "N", "threads that may compute at once (physical cores)", 1, 1024}, \
  {"--memory-budget", CLI_BYTES, &(c)->memory_budget, "SIZE", "memory tern may allocate: 512M, 2G", 0, 0}, \
  {"--numerics", CLI_CHOICE, &(c)->numerics, "fast|consistent", "consistent: equal for any threads", 0, 0}, \
  {"--verbose", CLI_FLAG, &(c)->verbose, NULL, "log and timings on stderr", 0, 0}
#define CLI_DEVICE_OPTION(c) {"--device", CLI_TEXT, &(c)->device, "D", "cpu, vulkan, vulkan:NAME, or auto", 0, 0}
#define CLI_CONTEXT_OPTION(c) \
  {"--context", CLI_INT, &(c)->context, "N", "size of the window (the model's, at most 4096)", 1, 1 << 24}
#define CLI_JSON_OPTION(c) {"--json", CLI_FLAG, &(c)->json, NULL, "print JSON on stdout", 0, 0}
/* clang-format on */

typedef struct cli_app {
  tern_runtime *runtime;
  tern_cancel *cancel; /* set by Ctrl-C; a second one ends the process */
} cli_app;

/* Creates the runtime and, if `interruptible`, makes Ctrl-C set the cancel token. */
int cli_start(const cli_common *common, bool interruptible, cli_app *app);
void cli_stop(cli_app *app);
/* A line on stderr that is rewritten as loading goes on; empty if stderr is no terminal. */
tern_progress cli_progress(void);
void cli_progress_clear(void);
/* Descs for the options. */
void cli_fill_model(const cli_common *common, const cli_app *app, tern_model_desc *desc);
void cli_fill_session(const cli_common *common, const cli_app *app, tern_session_desc *desc);
void cli_fill_pipeline(const cli_common *common, const cli_app *app, const char *task,
                       tern_pipeline_desc *desc);

/* Ctrl-C (cli_signal.c): the handler writes to a pipe, a thread reads it and sets the token. */
bool cli_signal_start(tern_cancel *cancel);
void cli_signal_stop(void);

/* ---------------------------------------------------------------------- tensors */

/* cli_npy.c: NumPy files. Errors are sentences on stderr. */
int cli_npy_read(tern_runtime *runtime, const char *path, tern_tensor **out);
int cli_npy_write(const char *path, const tern_tensor *tensor);

/* Named tensors for one run (cli_inputs.c). */
typedef struct cli_inputs {
  const char **names; /* borrowed from the model */
  tern_tensor **tensors;
  int count;
} cli_inputs;

/* Made-up data for the inputs of a model: `specs` ("NAME=1x128:int64") first, then what the model declares,
 * then [1, n_tokens] for the usual token inputs. With `kv_cache`, past_key_values.* are left to the session.
 */
int cli_inputs_make(tern_runtime *runtime, const tern_model *model, const cli_list *specs, int64_t n_tokens,
                    bool kv_cache, cli_inputs *out);
void cli_inputs_free(cli_inputs *inputs);
/* A model with inputs for a KV cache generates text. */
bool cli_model_has_cache(const tern_model *model);
/* The split of "NAME=REST" whose NAME is an input of the model; CLI_USAGE with a sentence that lists them. */
int cli_split_input(const tern_model *model, const char *option, const char *text, int *index,
                    const char **rest);

/* ---------------------------------------------------------------------- commands */

int cli_run(int argc, char **argv);
int cli_run_text(int argc, char **argv);
int cli_run_embed(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_exec(int argc, char **argv);
int cli_tokenize(int argc, char **argv);
int cli_parity(int argc, char **argv);
int cli_inspect(int argc, char **argv);

#endif
