/* Drives libllama for the tests: greedy continuations with the gap between the two best logits, and
 * teacher-forced logits. Built by build_llama_cpp.sh; called by make_golden.py. A test tool: plain stdio, exits
 * on any error.
 *
 *   llama_oracle greedy MODEL NEW_TOKENS [options] < NUL-separated prompts
 *       one JSON line a prompt: {"prompt_tokens":[..],"tokens":[..],"second":[..],"best":[..],"gap":[..]}
 *       (stops after an end-of-generation token, which is kept)
 *   llama_oracle force MODEL OUT.f32 [options] < ids separated by blanks
 *       writes one float32 row of logits per id
 *   options: -t THREADS  -b PROMPT_BATCH (tokens a decode call)  -k f16|f32 (KV cache)
 *            -f auto|on|off (flash attention)
 */
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 4096 };

static void die(const char *what) {
  fprintf(stderr, "llama_oracle: %s\n", what);
  exit(1);
}

static void log_errors(enum ggml_log_level level, const char *text, void *user) {
  (void)user;
  if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

struct options {
  int threads, batch;
  enum ggml_type kv;
  enum llama_flash_attn_type flash;
};

static struct options read_options(int count, char **args) {
  struct options o = {2, 512, GGML_TYPE_F16, LLAMA_FLASH_ATTN_TYPE_AUTO};
  for (int i = 0; i + 1 < count; i += 2) {
    const char *v = args[i + 1];
    if (!strcmp(args[i], "-t")) o.threads = atoi(v);
    else if (!strcmp(args[i], "-b")) o.batch = atoi(v);
    else if (!strcmp(args[i], "-k")) o.kv = !strcmp(v, "f32") ? GGML_TYPE_F32 : GGML_TYPE_F16;
    else if (!strcmp(args[i], "-f"))
      o.flash = !strcmp(v, "on")    ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                : !strcmp(v, "off") ? LLAMA_FLASH_ATTN_TYPE_DISABLED
                                    : LLAMA_FLASH_ATTN_TYPE_AUTO;
    else die("unknown option");
  }
  return o;
}

static struct llama_context *new_context(struct llama_model *model, const struct options *o) {
  struct llama_context_params p = llama_context_default_params();
  p.n_ctx = MAX_TOKENS;
  p.n_batch = 512;
  p.n_threads = p.n_threads_batch = o->threads;
  p.type_k = p.type_v = o->kv;
  p.flash_attn_type = o->flash;
  struct llama_context *context = llama_init_from_model(model, p);
  if (!context) die("no context");
  return context;
}

/* Decodes tokens in calls of at most o->batch; writes every row of logits to out unless it is NULL. */
static void decode(struct llama_context *context, llama_token *tokens, int count, int first, int per_call,
                   int vocab, FILE *out) {
  for (int at = 0; at < count; at += per_call) {
    int n = count - at < per_call ? count - at : per_call;
    struct llama_batch batch = llama_batch_init(n, 0, 1);
    batch.n_tokens = n;
    for (int i = 0; i < n; i++) {
      batch.token[i] = tokens[at + i];
      batch.pos[i] = first + at + i;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = out != NULL || at + i == count - 1;
    }
    if (llama_decode(context, batch)) die("decode failed");
    for (int i = 0; out && i < n; i++)
      if (fwrite(llama_get_logits_ith(context, i), sizeof(float), vocab, out) != (size_t)vocab)
        die("write failed");
    llama_batch_free(batch);
  }
}

static void print_ids(const char *name, const llama_token *ids, int count) {
  printf("\"%s\":[", name);
  for (int i = 0; i < count; i++) printf(i ? ",%d" : "%d", ids[i]);
  printf("],");
}

static void print_floats(const char *name, const float *values, int count, const char *end) {
  printf("\"%s\":[", name);
  for (int i = 0; i < count; i++) printf(i ? ",%.6g" : "%.6g", values[i]);
  printf("]%s", end);
}

static void greedy(struct llama_model *model, const char *prompt, int new_tokens, const struct options *o) {
  const struct llama_vocab *vocab = llama_model_get_vocab(model);
  int size = llama_vocab_n_tokens(vocab);
  static llama_token ids[MAX_TOKENS], tokens[MAX_TOKENS], second[MAX_TOKENS];
  static float best[MAX_TOKENS], gap[MAX_TOKENS];
  int count = llama_tokenize(vocab, prompt, (int)strlen(prompt), ids, MAX_TOKENS - new_tokens, true, true);
  if (count <= 0) die("prompt has no tokens or too many");
  struct llama_context *context = new_context(model, o);
  decode(context, ids, count, 0, o->batch, size, NULL);
  int made = 0;
  while (made < new_tokens) {
    const float *logits = llama_get_logits_ith(context, -1);
    int first = 0, next = 1;
    if (logits[next] > logits[first]) first = 1, next = 0;
    for (int i = 2; i < size; i++) {
      if (logits[i] > logits[first]) next = first, first = i;
      else if (logits[i] > logits[next]) next = i;
    }
    tokens[made] = first, second[made] = next;
    best[made] = logits[first], gap[made] = logits[first] - logits[next];
    made++;
    if (llama_vocab_is_eog(vocab, first)) break;
    if (made < new_tokens) decode(context, &tokens[made - 1], 1, count + made - 1, 1, size, NULL);
  }
  printf("{");
  print_ids("prompt_tokens", ids, count);
  print_ids("tokens", tokens, made);
  print_ids("second", second, made);
  print_floats("best", best, made, ",");
  print_floats("gap", gap, made, "}\n");
  fflush(stdout);
  llama_free(context);
}

static void force(struct llama_model *model, const char *path, const struct options *o) {
  static llama_token ids[MAX_TOKENS];
  int count = 0;
  while (count < MAX_TOKENS && scanf("%d", &ids[count]) == 1) count++;
  FILE *out = fopen(path, "wb");
  if (!out) die("cannot write the output file");
  struct llama_context *context = new_context(model, o);
  decode(context, ids, count, 0, o->batch, llama_vocab_n_tokens(llama_model_get_vocab(model)), out);
  llama_free(context);
  if (fclose(out)) die("write failed");
}

int main(int argc, char **argv) {
  if (argc < 4) die("usage: llama_oracle greedy MODEL NEW_TOKENS | force MODEL OUT.f32 [options]");
  struct options o = read_options(argc - 4, argv + 4);
  llama_log_set(log_errors, NULL);
  llama_backend_init();
  struct llama_model *model = llama_model_load_from_file(argv[2], llama_model_default_params());
  if (!model) die("cannot load the model");
  if (!strcmp(argv[1], "force")) {
    force(model, argv[3], &o);
  } else if (!strcmp(argv[1], "greedy")) {
    static char prompt[1 << 16];
    int c, n = 0;
    while ((c = getchar()) != EOF) {
      if (n + 1 >= (int)sizeof prompt) die("prompt too long");
      prompt[n++] = (char)c;
      if (c == 0) greedy(model, prompt, atoi(argv[3]), &o), n = 0;
    }
  } else {
    die("unknown mode");
  }
  llama_model_free(model);
  return 0;
}
