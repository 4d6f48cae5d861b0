/* Task text-generation: prompt or chat -> tokens -> prefill -> decode, sampled and streamed.
 *
 * The session's KV cache remembers the tokens of the last run; a new prompt that starts with the same tokens only
 * evaluates the rest. Prompts are evaluated in chunks, so that memory and the time to cancel stay bounded. Several
 * prompts run as one batch of sequences with lengths of their own. With prompt lookup a decode step evaluates a draft
 * of the next tokens behind the last one, and keeps of it what the sampler picks as well. */
#include <math.h>
#include <string.h>

#include "passes/pass.h"
#include "pipeline/pipeline.h"
#include "pipeline/prompt_lookup.h"
#include "text/chat_template.h"
#include "text/sampler.h"

enum { DEFAULT_NEW_TOKENS = 256, DEFAULT_CONTEXT = 4096, MAX_INPUTS = 4, MAX_BATCH = 256 };

typedef struct generator {          /* one session and what its cache holds */
  tern__session *session;
  int32_t batch;
  int32_t **cached;                 /* per sequence: token ids in the KV cache (base/array.h arrays) */
} generator;

typedef struct state {
  tern__arena arena;
  tern__graph *graph;               /* after the passes for an internal cache */
  int32_t context_length, vocab_size;
  generator single, many;           /* `many` is made when several prompts come at once */
  const tern__session *last;        /* that ran last */
  int32_t input_kind[MAX_INPUTS];   /* per graph input */
} state;

enum { INPUT_IDS, INPUT_POSITIONS, INPUT_MASK };

/* One sequence while it runs. */
typedef struct sequence {
  int32_t *tokens;                  /* prompt, then generated, less what context shifts dropped; base/array.h */
  size_t n_prompt;
  char *prompt;                     /* its text, if the result is to begin with it; base/array.h */
  int32_t *generated;               /* base/array.h */
  tern__sampler *sampler;
  tern__prompt_lookup lookup;
  tern__text_stream stream;
  char *text;                       /* generated so far; base/array.h */
  size_t streamed;                  /* bytes of it already given to on_text */
  const char *finish_reason;        /* NULL while running */
} sequence;

static void close_generator(tern_pipeline *p, generator *g) {
  tern__alloc *alloc = &p->runtime->alloc;
  for (int32_t b = 0; g->cached && b < g->batch; b++) TERN_ARRAY_FREE(alloc, g->cached[b]);
  tern__free(alloc, g->cached);
  tern__session_destroy(g->session);
  memset(g, 0, sizeof *g);
}

static tern_status open_generator(tern_pipeline *p, generator *g, int32_t batch) {
  tern_status status = TERN_OK;
  state *s = p->state;
  tern__session_options options = p->session_options;
  options.kv_batch = batch, options.kv_capacity = s->context_length;
  g->batch = batch;
  g->cached = tern__calloc(&p->runtime->alloc, (size_t)batch, sizeof *g->cached);
  TERN_CHECK_ALLOC(g->cached);
  TERN_TRY(tern__session_create(p->runtime, s->graph, p->model->packs, &options, &g->session));
  if (!tern__session_kv(g->session))
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "a text-generation graph needs attention that reads past_key_values.*; this one "
                                       "has none");
cleanup:
  if (status != TERN_OK) close_generator(p, g);
  return status;
}

static tern_status read_inputs(tern_pipeline *p, const tern__graph *graph) {
  tern_status status = TERN_OK;
  state *s = p->state;
  size_t n = tern__array_count(graph->inputs);
  if (n > MAX_INPUTS || n == 0) TERN_FAIL(TERN_STATUS_UNSUPPORTED, "a text-generation graph with %zu inputs", n);
  for (size_t i = 0; i < n; i++) {
    const char *name = graph->values[graph->inputs[i]].name;
    if (strcmp(name, "input_ids") == 0) s->input_kind[i] = INPUT_IDS;
    else if (strcmp(name, "position_ids") == 0) s->input_kind[i] = INPUT_POSITIONS;
    else
      TERN_FAIL(TERN_STATUS_UNSUPPORTED,
                "input '%s' is not understood by text-generation; it takes input_ids, attention_mask, position_ids and "
                "past_key_values.* (of attention that reads its past in a known form)", name);
  }
  if (tern__array_count(graph->outputs) != 1 || strcmp(graph->values[graph->outputs[0]].name, "logits") != 0)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "a text-generation graph must give 'logits' and present.* of known form only");
cleanup:
  return status;
}

static tern_status text_generation_open(tern_pipeline *p, const tern_pipeline_desc *desc) {
  tern_status status = TERN_OK;
  state *s = p->state;
  tern__arena_init(&s->arena, &p->runtime->alloc);
  TERN_TRY(tern__graph_copy(p->model->graph, &p->runtime->alloc, &s->arena, &s->graph));
  tern__pass_options options = {.kv_cache = true, .last_row = true, .float_outputs = true, .cancel = desc->cancel};
  TERN_TRY(tern__passes_run(s->graph, &options));
  TERN_TRY(read_inputs(p, s->graph));
  int32_t own = p->model->context_length, asked = p->session_options.kv_capacity;
  if (asked > 0 && own > 0 && asked > own)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "context_length %d is beyond the model's own %d", asked, own);
  s->context_length = asked > 0 ? asked : own > 0 && own < DEFAULT_CONTEXT ? own : DEFAULT_CONTEXT;
  s->vocab_size = tern__tokenizer_vocab_size(p->tokenizer);
  TERN_TRY(open_generator(p, &s->single, 1));
cleanup:
  return status;
}

static void text_generation_close(tern_pipeline *p) {
  state *s = p->state;
  close_generator(p, &s->single);
  close_generator(p, &s->many);
  tern__graph_destroy(s->graph);
  if (s->arena.alloc) tern__arena_deinit(&s->arena);
}

static tern_status text_generation_memory(tern_pipeline *p, tern_memory_plan *out) {
  state *s = p->state;
  int64_t ids[1] = {0}, positions[1] = {0};
  tern__shape shape = {2, {1, 1}};
  tern__view inputs[MAX_INPUTS];
  const tern__graph *graph = tern__session_graph(s->single.session);
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++)
    inputs[i] = (tern__view){TERN_DTYPE_I64, shape, s->input_kind[i] == INPUT_IDS ? ids : positions, 8};
  tern_status status = tern__session_plan_for(s->single.session, inputs, NULL, NULL);
  shape.dims[1] = tern__session_prompt_rows(s->single.session);
  if (shape.dims[1] > s->context_length) shape.dims[1] = s->context_length;
  for (size_t i = 0; i < tern__array_count(graph->inputs); i++)
    inputs[i] = (tern__view){TERN_DTYPE_I64, shape, NULL, 8 * (size_t)shape.dims[1]};
  if (status == TERN_OK) status = tern__session_plan_for(s->single.session, inputs, NULL, NULL);
  tern__session_memory(s->single.session, out);
  return status;
}

/* Plans for the longest draft, so that a budget, or a device that can't, refuses it before anything is generated. */
static tern_status plan_draft(tern_pipeline *p, generator *g, int32_t num_tokens, const tern_cancel *cancel) {
  const state *s = p->state;
  tern__kv_cache *kv = tern__session_kv(g->session);
  tern__view inputs[MAX_INPUTS];
  int64_t rows = num_tokens < s->context_length ? num_tokens + 1 : s->context_length;
  for (size_t i = 0; i < tern__array_count(tern__session_graph(g->session)->inputs); i++)
    inputs[i] = (tern__view){TERN_DTYPE_I64, {2, {1, rows}}, NULL, 8 * (size_t)rows};
  kv->all_rows = true;
  tern_status status = tern__session_plan_for(g->session, inputs, cancel, NULL);
  kv->all_rows = false;
  if (status == TERN_STATUS_OUT_OF_BUDGET) tern__fail_context(status, "prompt_lookup_num_tokens %d", num_tokens);
  if (status == TERN_OK || !tern__session_fall_back(g->session, status)) return status;
  tern__array_clear(g->cached[0]);
  return plan_draft(p, g, num_tokens, cancel); /* on the CPU now */
}

/* ------------------------------------------------------------------------------------------------ evaluation */

/* Evaluates fresh[b] tokens from tokens[b] + cached count for every sequence; afterwards they are cached. The logits
 * are those of each sequence's last token, or of all. */
static tern_status evaluate(tern_pipeline *p, generator *g, sequence *seqs, const int32_t *fresh, bool all_rows,
                            const tern_cancel *cancel) {
  tern_status status = TERN_OK;
  state *s = p->state;
  tern__alloc *alloc = &p->runtime->alloc;
  int32_t width = 0;
  tern__kv_cache *kv = tern__session_kv(g->session);
  int64_t stack_ids[8], stack_positions[8], *ids = stack_ids, *positions = stack_positions, *heap = NULL;
  for (int32_t b = 0; b < g->batch; b++)
    if (fresh[b] > width) width = fresh[b];
  size_t cells = (size_t)g->batch * (size_t)width;
  if (cells > 8) { /* a single decode step needs no allocation */
    heap = tern__calloc(alloc, cells * 2, sizeof *heap);
    TERN_CHECK_ALLOC(heap);
    ids = heap, positions = heap + cells;
  }
  for (int32_t b = 0; b < g->batch; b++) {
    kv->past[b] = (int32_t)tern__array_count(g->cached[b]);
    kv->fresh[b] = fresh[b];
    TERN_ARRAY_RESERVE(alloc, g->cached[b], (size_t)fresh[b]);
    for (int32_t i = 0; i < width; i++) {
      bool real = i < fresh[b];
      ids[(size_t)b * (size_t)width + (size_t)i] = real ? seqs[b].tokens[kv->past[b] + i] : 0;
      positions[(size_t)b * (size_t)width + (size_t)i] = kv->past[b] + (real ? i : 0);
    }
  }
  tern__shape shape = {2, {g->batch, width}};
  tern__view inputs[MAX_INPUTS];
  size_t n_inputs = tern__array_count(tern__session_graph(g->session)->inputs);
  for (size_t i = 0; i < n_inputs; i++)
    inputs[i] = (tern__view){TERN_DTYPE_I64, shape, s->input_kind[i] == INPUT_IDS ? ids : positions, cells * 8};
  tern__session_want_top(g->session, 0, tern__sampler_wants(seqs[0].sampler)); /* all sequences have one's options */
  kv->all_rows = all_rows;
  TERN_TRY(tern__session_run(g->session, inputs, cancel, NULL));
  for (int32_t b = 0; b < g->batch; b++)
    for (int32_t i = 0; i < fresh[b]; i++) tern__array_put(g->cached[b], seqs[b].tokens[kv->past[b] + i]);
cleanup:
  kv->all_rows = false;
  tern__free(alloc, heap);
  return status;
}

static tern_status prefill(tern_pipeline *p, generator *g, sequence *seqs, const tern_cancel *cancel);

/* As evaluate; if the device fails and the caller allows it, everything so far is evaluated again on the CPU. */
static tern_status evaluate_somewhere(tern_pipeline *p, generator *g, sequence *seqs, const int32_t *fresh,
                                      const tern_cancel *cancel) {
  tern_status status = evaluate(p, g, seqs, fresh, false, cancel);
  if (status == TERN_OK || !tern__session_fall_back(g->session, status)) return status;
  for (int32_t b = 0; b < g->batch; b++) tern__array_clear(g->cached[b]);
  return prefill(p, g, seqs, cancel);
}

/* Evaluates everything not cached yet, in chunks. */
static tern_status prefill(tern_pipeline *p, generator *g, sequence *seqs, const tern_cancel *cancel) {
  tern_status status = TERN_OK;
  int32_t *fresh = tern__calloc(&p->runtime->alloc, (size_t)g->batch, sizeof *fresh);
  bool more = true;
  TERN_CHECK_ALLOC(fresh);
  int32_t chunk = tern__session_prompt_rows(g->session) / g->batch;
  if (chunk < 16) chunk = 16;
  while (more) {
    more = false;
    int32_t longest = 0;
    for (int32_t b = 0; b < g->batch; b++) {
      int32_t left = (int32_t)(tern__array_count(seqs[b].tokens) - tern__array_count(g->cached[b]));
      if (left > longest) longest = left;
      fresh[b] = left;
    }
    if (longest <= 0) break;
    /* All sequences end in the same last chunk: its logits are the ones that are read. */
    int32_t later = longest > chunk ? longest - chunk : 0;
    for (int32_t b = 0; b < g->batch; b++) fresh[b] = fresh[b] > later ? fresh[b] - later : 0;
    more = later > 0;
    TERN_TRY(evaluate_somewhere(p, g, seqs, fresh, cancel));
  }
cleanup:
  tern__free(&p->runtime->alloc, fresh);
  return status;
}

/* Evaluates the one token of a decode step, and behind it a draft if there is one. */
static tern_status evaluate_step(tern_pipeline *p, generator *g, sequence *q, size_t limit, const tern_cancel *cancel) {
  tern_status status = TERN_OK;
  const state *s = p->state;
  tern__prompt_lookup *lookup = &q->lookup;
  size_t n = tern__array_count(q->tokens), window = (size_t)s->context_length - n;
  size_t wanted = limit - tern__array_count(q->generated) - 1; /* the run gives one more than it is right about */
  size_t room = window < wanted ? window : wanted;
  int32_t fresh = 1;
  if (lookup->num_tokens)
    tern__prompt_lookup_propose(lookup, q->tokens, n, room < TERN__PROMPT_LOOKUP_MOST ? (int32_t)room
                                                                                        : TERN__PROMPT_LOOKUP_MOST);
  else if (room) /* greedy decoding goes on with the largest logit; a device brings no single one for anything else */
    tern__session_expect_follower(g->session);
  if (!lookup->n_run) return evaluate_somewhere(p, g, q, &fresh, cancel);
  fresh += lookup->n_run;
  TERN_ARRAY_APPEND(&p->runtime->alloc, q->tokens, lookup->draft, (size_t)lookup->n_run);
  status = evaluate(p, g, q, &fresh, true, cancel);
  tern__array_truncate(q->tokens, n);
  if (status != TERN_OK && tern__session_fall_back(g->session, status)) {
    tern__array_clear(g->cached[0]);
    lookup->n_run = 0;
    status = prefill(p, g, q, cancel);
  }
cleanup:
  return status;
}

static void keep_common_prefix(tern_pipeline *p, generator *g, const sequence *seqs, tern_result *result) {
  (void)p;
  tern__kv_cache *kv = tern__session_kv(g->session);
  for (int32_t b = 0; b < g->batch; b++) {
    size_t n = tern__array_count(seqs[b].tokens), cached = tern__array_count(g->cached[b]), same = 0;
    while (same < cached && same + 1 < n && g->cached[b][same] == seqs[b].tokens[same])
      same++; /* one is left to evaluate */
    tern__array_truncate(g->cached[b], same);
    kv->past[b] = (int32_t)same;
    result->timings.n_reused_tokens += (int32_t)same;
  }
}

/* ------------------------------------------------------------------------------------------------ text and stops */

static bool is_end(const tern_pipeline *p, int32_t id) {
  for (size_t i = 0; i < tern__array_count(p->model->end_ids); i++)
    if (p->model->end_ids[i] == id) return true;
  return tern__tokenizer_is_end(p->tokenizer, id);
}

/* Earliest stop text in text[from..); SIZE_MAX if none. *partial = bytes at the end that may begin a stop text. */
static size_t find_stop(const tern_run_desc *d, const char *text, size_t size, size_t from, size_t *partial) {
  size_t found = SIZE_MAX;
  *partial = 0;
  for (int32_t k = 0; k < d->n_stop; k++) {
    size_t m = strlen(d->stop[k]);
    for (size_t i = from; i + m <= size && i < found; i++)
      if (memcmp(text + i, d->stop[k], m) == 0) found = i;
    for (size_t tail = m - 1 < size ? m - 1 : size; tail > *partial; tail--)
      if (memcmp(text + size - tail, d->stop[k], tail) == 0) {
        *partial = tail;
        break;
      }
  }
  return found;
}

/* Gives new text to the caller, holding back what may turn out to be a stop text. */
static tern_status emit(sequence *q, const tern_run_desc *d, int32_t id, bool last) {
  size_t size = tern__array_count(q->text), longest = 0, partial;
  for (int32_t k = 0; k < d->n_stop; k++)
    if (strlen(d->stop[k]) > longest) longest = strlen(d->stop[k]);
  size_t from = q->streamed > longest ? q->streamed - longest : 0;
  size_t stop = find_stop(d, q->text, size, from, &partial);
  if (stop != SIZE_MAX) {
    tern__array_truncate(q->text, stop);
    size = stop, q->finish_reason = "stop", last = true;
  }
  size_t until = last ? size : size - partial;
  if (until > q->streamed) {
    size_t begin = q->streamed;
    q->streamed = until;
    if (d->on_text.fn && d->on_text.fn(d->on_text.user_data, q->text + begin, until - begin, id))
      q->finish_reason = "cancelled";
  }
  return TERN_OK;
}

static tern_status take_token(tern_pipeline *p, sequence *q, const tern_run_desc *d, int32_t id, size_t limit) {
  tern_status status = TERN_OK;
  tern__alloc *alloc = &p->runtime->alloc;
  if (!d->ignore_eos && is_end(p, id)) {
    TERN_TRY(tern__text_stream_flush(&q->stream, &q->text));
    q->finish_reason = "stop";
    TERN_TRY(emit(q, d, id, true));
    goto cleanup;
  }
  TERN_ARRAY_PUSH(alloc, q->tokens, id);
  TERN_ARRAY_PUSH(alloc, q->generated, id);
  TERN_TRY(tern__sampler_accept(q->sampler, id));
  TERN_TRY(tern__text_stream_push(&q->stream, id, &q->text));
  bool last = tern__array_count(q->generated) >= limit;
  if (last) TERN_TRY(tern__text_stream_flush(&q->stream, &q->text));
  TERN_TRY(emit(q, d, id, last));
  if (!q->finish_reason && last) q->finish_reason = "length";
cleanup:
  return status;
}

/* Drops the older half of what follows the first tokens and evaluates what is left again: exact, and rare. */
static tern_status shift_context(tern_pipeline *p, generator *g, sequence *seqs, int32_t b, const tern_cancel *cancel) {
  tern_status status = TERN_OK;
  sequence *q = &seqs[b];
  size_t n = tern__array_count(q->tokens), keep = n < 8 ? n / 2 : 4, drop = (n - keep) / 2;
  memmove(q->tokens + keep, q->tokens + keep + drop, (n - keep - drop) * sizeof *q->tokens);
  tern__array_truncate(q->tokens, n - drop);
  tern__array_truncate(g->cached[b], keep);
  TERN_TRY(prefill(p, g, seqs, cancel));
cleanup:
  return status;
}

/* ------------------------------------------------------------------------------------------------ the run */

static tern_status add_prompt(tern_pipeline *p, const char *text, size_t size, bool chat, const tern_run_desc *d,
                              sequence *q) {
  tern_status status = TERN_OK;
  state *s = p->state;
  tern__alloc *alloc = &p->runtime->alloc;
  /* A chat template spells its special tokens out, the BOS token included. */
  uint32_t flags = chat ? TERN_TOKENIZE_NO_SPECIAL : 0;
  TERN_TRY(tern__tokenizer_encode(p->tokenizer, alloc, text, size, flags, &q->tokens));
  if (tern__array_count(q->tokens) == 0) {
    int32_t bos = tern__tokenizer_bos(p->tokenizer);
    if (bos < 0) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "the prompt has no tokens; give some text");
    TERN_ARRAY_PUSH(alloc, q->tokens, bos);
  }
  q->n_prompt = tern__array_count(q->tokens);
  if (q->n_prompt >= (size_t)s->context_length)
    TERN_FAIL(TERN_STATUS_CONTEXT_FULL,
              "the prompt has %zu tokens, the context window %d; shorten the prompt or open with a larger "
              "context_length",
              q->n_prompt, s->context_length);
  tern__sampler_options options = {d->temperature, d->top_k, d->top_p, d->min_p, d->repetition_penalty, d->seed};
  if (!options.seed) options.seed = tern__now_ns();
  q->lookup.num_tokens = d->prompt_lookup_num_tokens;
  q->lookup.ngram_size = d->max_matching_ngram_size ? d->max_matching_ngram_size : TERN__PROMPT_LOOKUP_NGRAM;
  TERN_TRY(tern__sampler_create(alloc, &options, s->vocab_size, &q->sampler));
  for (size_t i = 0; i < q->n_prompt; i++) TERN_TRY(tern__sampler_accept(q->sampler, q->tokens[i]));
  tern__text_stream_init(&q->stream, p->tokenizer, alloc, TERN_TOKENIZE_NO_SPECIAL);
  if (d->return_full_text)
    TERN_TRY(tern__tokenizer_decode(p->tokenizer, alloc, q->tokens, q->n_prompt, TERN_TOKENIZE_NO_SPECIAL,
                                    &q->prompt));
cleanup:
  return status;
}

static tern_status tokenize(tern_pipeline *p, const tern_run_desc *d, sequence *seqs) {
  tern_status status = TERN_OK;
  tern__alloc *alloc = &p->runtime->alloc;
  char *text = NULL;
  if (d->chat_json) {
    const char *template_text = tern__tokenizer_chat_template(p->tokenizer);
    if (!template_text)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "this model has no chat template; give a raw prompt in texts instead");
    int32_t bos = tern__tokenizer_bos(p->tokenizer), eos = tern__tokenizer_eos(p->tokenizer);
    tern__chat_inputs inputs = {.messages_json = d->chat_json, .add_generation_prompt = true};
    inputs.bos_token = bos >= 0 ? tern__tokenizer_token(p->tokenizer, bos) : NULL;
    inputs.eos_token = eos >= 0 ? tern__tokenizer_token(p->tokenizer, eos) : NULL;
    TERN_TRY(tern__chat_render(alloc, template_text, &inputs, &text));
    TERN_TRY(add_prompt(p, text ? text : "", tern__array_count(text), true, d, &seqs[0]));
  }
  for (int32_t i = 0; i < d->n_texts; i++)
    TERN_TRY(add_prompt(p, d->texts[i], strlen(d->texts[i]), false, d, &seqs[i]));
cleanup:
  TERN_ARRAY_FREE(alloc, text);
  return status;
}

/* Picks what follows a token that the last run evaluated of sequence b, the last one but `back`: from the largest
 * logits where the device gave only those and they decide. */
static tern_status pick(generator *g, sequence *q, int32_t b, int32_t back, const tern_cancel *cancel, int32_t *id) {
  tern_status status = TERN_OK;
  const tern__view *logits = tern__session_output(g->session, 0);
  int64_t rows = logits->shape.dims[1], row = b * rows;
  if (rows > 1) row += tern__session_kv(g->session)->fresh[b] - 1 - back; /* behind them may be padding */
  tern__top top;
  bool enough = false;
  if (tern__session_top(g->session, &top)) {
    TERN_TRY(tern__sampler_pick_top(q->sampler, top.values + row * top.k, top.places + row * top.k, top.k, id,
                                    &enough));
    if (enough) goto cleanup;
    TERN_TRY(tern__session_fetch(g->session, cancel));
  }
  TERN_TRY(tern__sampler_pick(q->sampler, (float *)logits->data + row * logits->shape.dims[2], id));
cleanup:
  return status;
}

/* Takes the token that the last run gives sequence b, and more where it evaluated a draft: one for each token of the
 * draft that was right. What was wrong leaves the cache. */
static tern_status take_run(tern_pipeline *p, generator *g, sequence *q, int32_t b, const tern_run_desc *d,
                            size_t limit) {
  tern_status status = TERN_OK;
  tern__prompt_lookup *lookup = &q->lookup;
  int32_t n_run = lookup->n_run, right = 0;
  for (int32_t row = 0; row <= n_run && !q->finish_reason; row++) {
    int32_t id;
    if (row && tern__cancelled(d->cancel)) TERN_FAIL(TERN_STATUS_CANCELLED, "generation was cancelled");
    TERN_TRY(pick(g, q, b, n_run - row, d->cancel, &id));
    TERN_TRY(take_token(p, q, d, id, limit));
    if (row >= lookup->n || lookup->draft[row] != id) break;
    right++;
  }
  tern__array_truncate(g->cached[b], tern__array_count(g->cached[b]) - (size_t)(n_run > right ? n_run - right : 0));
  tern__prompt_lookup_settle(lookup, right);
cleanup:
  return status;
}

static tern_status decode(tern_pipeline *p, generator *g, sequence *seqs, const tern_run_desc *d, tern_result *result,
                          uint64_t begin) {
  tern_status status = TERN_OK;
  state *s = p->state;
  size_t limit = d->max_new_tokens ? (size_t)d->max_new_tokens : DEFAULT_NEW_TOKENS;
  int32_t *fresh = tern__calloc(&p->runtime->alloc, (size_t)g->batch, sizeof *fresh);
  TERN_CHECK_ALLOC(fresh);
  for (size_t step = 0;; step++) {
    const tern__view *logits = tern__session_output(g->session, 0);
    if (logits->shape.rank != 3 || logits->dtype != TERN_DTYPE_F32 || logits->shape.dims[2] < 1)
      TERN_FAIL(TERN_STATUS_UNSUPPORTED, "logits must be float32 [batch, sequence, vocabulary]");
    int64_t width = logits->shape.dims[2] < s->vocab_size ? logits->shape.dims[2] : s->vocab_size;
    if (width != s->vocab_size)
      TERN_FAIL(TERN_STATUS_CORRUPT, "the graph gives %lld logits for a vocabulary of %d",
                (long long)logits->shape.dims[2], s->vocab_size);
    bool running = false;
    for (int32_t b = 0; b < g->batch; b++) {
      fresh[b] = 0;
      if (seqs[b].finish_reason) continue;
      TERN_TRY(take_run(p, g, &seqs[b], b, d, limit));
      if (seqs[b].finish_reason) continue;
      fresh[b] = 1, running = true;
    }
    if (step == 0) result->timings.first_token_ms = (double)(tern__now_ns() - begin) * 1e-6;
    if (!running) break;
    if (tern__cancelled(d->cancel)) TERN_FAIL(TERN_STATUS_CANCELLED, "generation was cancelled");
    for (int32_t b = 0; b < g->batch; b++) {
      if (!fresh[b] || tern__array_count(seqs[b].tokens) <= (size_t)s->context_length) continue;
      if (d->context_policy == TERN_CONTEXT_SHIFT && g->batch == 1) {
        TERN_TRY(shift_context(p, g, seqs, b, d->cancel));
        fresh[b] = -1; /* already evaluated */
      } else {
        seqs[b].finish_reason = "context_full", fresh[b] = 0;
        TERN_TRY(emit(&seqs[b], d, -1, true));
      }
    }
    if (fresh[0] < 0) continue;
    running = false;
    for (int32_t b = 0; b < g->batch; b++) running |= fresh[b] > 0;
    if (!running) break;
    if (g->batch == 1) TERN_TRY(evaluate_step(p, g, seqs, limit, d->cancel));
    else TERN_TRY(evaluate_somewhere(p, g, seqs, fresh, d->cancel));
  }
cleanup:
  tern__free(&p->runtime->alloc, fresh);
  return status;
}

/* Moves what the sequence has into an entry of the result. */
static tern_status finish(tern__alloc *alloc, sequence *q, tern_result *result) {
  tern_status status = TERN_OK;
  tern__text_entry entry = {.finish_reason = q->finish_reason ? q->finish_reason : "length"};
  if (q->prompt) {
    TERN_ARRAY_APPEND(alloc, q->prompt, q->text, tern__array_count(q->text));
    entry.text = q->prompt, q->prompt = NULL;
  } else {
    entry.text = q->text, q->text = NULL;
  }
  entry.tokens = q->generated, q->generated = NULL;
  TERN_ARRAY_PUSH(alloc, entry.text, 0); /* NUL-terminated for C callers; the count stays the text's */
  tern__array_truncate(entry.text, tern__array_count(entry.text) - 1);
  TERN_ARRAY_PUSH(alloc, result->entries, entry);
  memset(&entry, 0, sizeof entry);
cleanup:
  TERN_ARRAY_FREE(alloc, entry.text);
  TERN_ARRAY_FREE(alloc, entry.tokens);
  return status;
}

static tern_status write_json(tern_result *result) {
  tern__json_writer w = {.alloc = &result->runtime->alloc};
  tern__json_begin(&w, NULL, '[');
  for (size_t i = 0; i < tern__array_count(result->entries); i++) {
    tern__json_begin(&w, NULL, '{');
    tern__json_put_string(&w, "generated_text", result->entries[i].text, tern__array_count(result->entries[i].text));
    tern__json_end(&w, '}');
  }
  tern__json_end(&w, ']');
  result->json = w.text;
  return w.failed ? tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for the result") : TERN_OK;
}

static tern_status check_sampling(const tern_run_desc *d) {
  tern_status status = TERN_OK;
  const struct { const char *name; float value, most; } rules[] = {
      {"temperature", d->temperature, 1e6f}, {"top_p", d->top_p, 1.0f}, {"min_p", d->min_p, 1.0f},
      {"repetition_penalty", d->repetition_penalty, 1e6f}};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (!(rules[i].value >= 0.0f && rules[i].value <= rules[i].most)) /* also NaN */
      TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "%s is %g; give 0 (off) to %g", rules[i].name, (double)rules[i].value,
                (double)rules[i].most);
  if (d->top_k < 0) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "top_k is %d; give 0 (off) or more", d->top_k);
cleanup:
  return status;
}

static tern_status check_lookup(const tern_run_desc *d, int32_t batch) {
  tern_status status = TERN_OK;
  const struct { const char *name; int32_t value; const char *zero; } rules[] = {
      {"prompt_lookup_num_tokens", d->prompt_lookup_num_tokens, "off"},
      {"max_matching_ngram_size", d->max_matching_ngram_size, "2"}};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (rules[i].value < 0 || rules[i].value > TERN__PROMPT_LOOKUP_MOST)
      TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "%s is %d; give 0 (%s) to %d", rules[i].name, rules[i].value,
                rules[i].zero, TERN__PROMPT_LOOKUP_MOST);
  if (d->max_matching_ngram_size && !d->prompt_lookup_num_tokens)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "max_matching_ngram_size without prompt_lookup_num_tokens does nothing");
  if (d->prompt_lookup_num_tokens && batch > 1)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "prompt_lookup_num_tokens works for one prompt at a time, not %d", batch);
cleanup:
  return status;
}

static tern_status text_generation_run(tern_pipeline *p, const tern_run_desc *d, tern_result *result) {
  tern_status status = TERN_OK;
  state *s = p->state;
  tern__alloc *alloc = &p->runtime->alloc;
  int32_t batch = d->chat_json ? 1 : d->n_texts;
  sequence *seqs = NULL;
  generator *g = &s->single;
  if (d->chat_json && d->n_texts) TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "give chat_json or texts, not both");
  if (batch < 1 || batch > MAX_BATCH)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "give 1 to %d prompts, not %d", MAX_BATCH, batch);
  if (d->max_new_tokens < 0)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "max_new_tokens is %d; give 1 or more", d->max_new_tokens);
  if (d->context_policy != TERN_CONTEXT_ERROR && d->context_policy != TERN_CONTEXT_SHIFT)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "context_policy %d is neither ERROR nor SHIFT", d->context_policy);
  if (d->context_policy == TERN_CONTEXT_SHIFT && batch > 1)
    TERN_FAIL(TERN_STATUS_UNSUPPORTED, "context_policy SHIFT works for one prompt at a time");
  TERN_TRY(check_sampling(d));
  TERN_TRY(check_lookup(d, batch));
  seqs = tern__calloc(alloc, (size_t)batch, sizeof *seqs);
  TERN_CHECK_ALLOC(seqs);
  uint64_t begin = tern__now_ns();
  TERN_TRY(tokenize(p, d, seqs));
  uint64_t tokenized = tern__now_ns();
  if (batch > 1) {
    if (s->many.session && s->many.batch != batch) close_generator(p, &s->many), s->last = NULL;
    if (!s->many.session) TERN_TRY(open_generator(p, &s->many, batch));
    g = &s->many;
  }
  s->last = g->session;
  if (d->prompt_lookup_num_tokens) TERN_TRY(plan_draft(p, g, d->prompt_lookup_num_tokens, d->cancel));
  keep_common_prefix(p, g, seqs, result);
  for (int32_t b = 0; b < batch; b++) result->timings.n_prompt_tokens += (int32_t)seqs[b].n_prompt;
  TERN_TRY(prefill(p, g, seqs, d->cancel));
  uint64_t prefilled = tern__now_ns();
  TERN_TRY(decode(p, g, seqs, d, result, begin));
  result->timings.tokenize_ms = (double)(tokenized - begin) * 1e-6;
  result->timings.prefill_ms = (double)(prefilled - tokenized) * 1e-6;
  result->timings.decode_ms = (double)(tern__now_ns() - prefilled) * 1e-6;
  for (int32_t b = 0; b < batch; b++) {
    result->timings.n_new_tokens += (int32_t)tern__array_count(seqs[b].generated);
    result->timings.n_drafted_tokens += seqs[b].lookup.n_drafted;
    result->timings.n_accepted_tokens += seqs[b].lookup.n_accepted;
    TERN_TRY(finish(alloc, &seqs[b], result));
  }
  TERN_TRY(write_json(result));
cleanup:
  for (int32_t b = 0; seqs && b < batch; b++) {
    TERN_ARRAY_FREE(alloc, seqs[b].tokens);
    TERN_ARRAY_FREE(alloc, seqs[b].prompt);
    TERN_ARRAY_FREE(alloc, seqs[b].generated);
    TERN_ARRAY_FREE(alloc, seqs[b].text);
    tern__sampler_destroy(seqs[b].sampler);
    if (seqs[b].stream.alloc) tern__text_stream_deinit(&seqs[b].stream);
  }
  tern__free(alloc, seqs);
  return status;
}

static const tern__session *text_generation_session(const tern_pipeline *p) {
  const state *s = p->state;
  return s->last;
}

const tern__task tern__task_text_generation = {
    .name = "text-generation",
    .members = TERN__RUN_TEXTS | TERN__RUN_CHAT | TERN__RUN_GENERATION,
    .state_size = sizeof(state),
    .open = text_generation_open,
    .run = text_generation_run,
    .close = text_generation_close,
    .memory = text_generation_memory,
    .session = text_generation_session,
};
