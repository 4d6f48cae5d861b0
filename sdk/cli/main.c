/* The `tern` command: picks one of its commands. DESIGN §10 is the contract; docs and scripts rely on it. */
#include "cli.h"

#include <string.h>

static const struct {
  const char *name, *about;
  int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "run a task: text generation, embeddings", cli_run},
    {"bench", "measure speed and memory of a model", cli_bench},
    {"exec", "run any graph on .npy files", cli_exec},
    {"tokenize", "lines of text to token ids, and back", cli_tokenize},
    {"parity", "whether devices give the same answer", cli_parity},
    {"inspect", "what is inside a model file or folder", cli_inspect},
};
static const struct {
  const char *name, *about;
  int (*run)(int argc, char **argv);
} tasks[] = {
    {"text-generation", "continue a prompt or answer a chat message", cli_run_text},
    {"feature-extraction", "turn texts into embedding vectors", cli_run_embed},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands, N_TASKS = sizeof tasks / sizeof *tasks };

static int print_overview(void) {
  puts("tern runs AI models on this machine: GGUF files, ONNX files and Transformers.js folders, as "
       "published.\n\n"
       "Usage: tern COMMAND [options]\n\nCommands:");
  for (int i = 0; i < N_COMMANDS; ++i) printf("  %-10s %s\n", commands[i].name, commands[i].about);
  puts("\nExamples:\n"
       "  tern run text-generation --model SmolLM2-135M-Instruct.gguf --chat \"Why is the sky blue?\"\n"
       "  tern run feature-extraction --model all-MiniLM-L6-v2/ --similarity \"a cat\" \"a kitten\" \"a "
       "bus\"\n"
       "  tern inspect all-MiniLM-L6-v2/onnx/model.onnx\n\n"
       "'tern COMMAND --help' explains a command. Results go to stdout, messages to stderr.\n"
       "Exit status: 0 success, 1 failure, 2 wrong usage, 130 interrupted.");
  return CLI_OK;
}

static int print_version(void) {
  uint32_t v = tern_version();
  printf("tern %u.%u.%u\n", v >> 22, v >> 12 & 0x3ff, v & 0xfff);
  return CLI_OK;
}

static int print_tasks(void) {
  puts("Usage: tern run TASK --model PATH [options] INPUT...\n\nTasks:");
  for (int i = 0; i < N_TASKS; ++i) printf("  %-20s %s\n", tasks[i].name, tasks[i].about);
  puts("\nExamples:\n"
       "  tern run text-generation --model model.gguf --chat \"Hello\"\n"
       "  tern run feature-extraction --model folder/ \"first text\" \"second text\"\n\n"
       "'tern run TASK --help' lists the options of a task.");
  return CLI_OK;
}

int cli_run(int argc, char **argv) {
  const char *names[N_TASKS];
  char list[256] = "";
  const char *task = argc > 0 ? argv[0] : "--help";
  for (int i = 0; i < N_TASKS; ++i) {
    size_t n = strlen(list);
    names[i] = tasks[i].name;
    snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", names[i]);
    if (!strcmp(task, names[i])) return tasks[i].run(argc - 1, argv + 1);
  }
  if (!strcmp(task, "--help") || !strcmp(task, "-h")) {
    print_tasks();
    return argc > 0 ? CLI_OK : CLI_USAGE;
  }
  if (task[0] == '-') return cli_usage("name the task first: tern run text-generation %s ...", task);
  const char *nearest = cli_nearest(task, names, N_TASKS);
  if (nearest) return cli_usage("unknown task '%s'; did you mean %s?", task, nearest);
  return cli_usage("unknown task '%s'; there are: %s", task, list);
}

int main(int argc, char **argv) {
  const char *names[N_COMMANDS];
  const char *name = argc > 1 ? argv[1] : "--help";
  if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
    print_overview();
    return argc > 1 ? CLI_OK : CLI_USAGE;
  }
  if (!strcmp(name, "--version") || !strcmp(name, "-V")) return print_version();
  for (int i = 0; i < N_COMMANDS; ++i) {
    names[i] = commands[i].name;
    if (strcmp(name, names[i])) continue;
    int rc = commands[i].run(argc - 2, argv + 2);
    if (fflush(stdout) && rc == CLI_OK) return cli_error("writing to stdout failed");
    return rc;
  }
  const char *nearest = cli_nearest(name, names, N_COMMANDS);
  const char *kind = name[0] == '-' ? "option" : "command";
  if (nearest) return cli_usage("unknown %s '%s'; did you mean %s?", kind, name, nearest);
  return cli_usage("unknown %s '%s'; see 'tern --help'", kind, name);
}
