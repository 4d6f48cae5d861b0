/* The parts of a tokenizer and how they meet. text -> added tokens -> normalizer -> pre-tokenizer -> model ->
 * ids -> post-processor; ids -> decoder -> text. Every part is a table of small functions: a new kind is a
 * function and a line. */
#ifndef TERN_TEXT_TOKENIZER_INTERNAL_H
#define TERN_TEXT_TOKENIZER_INTERNAL_H

#include "base/array.h"
#include "base/json.h"
#include "base/map.h"
#include "text/merge_queue.h"
#include "text/regex.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

struct tern__pattern;
/* ---- a place in tokenizer.json: the node, and where it is for error messages. */
typedef struct tern__spec {
  const struct tern__spec *parent;
  const char *key;   /* in an object, else NULL */
  size_t index;      /* in an array */
  const char *file;
  const tern__json *node; /* NULL = absent or null */
  tern__arena *arena;     /* what is read lives here */
  int32_t depth;
} tern__spec;
enum { TERN_SPEC_MAX_DEPTH = 24 };

tern__spec tern__spec_get(const tern__spec *spec, const char *key);
tern__spec tern__spec_at(const tern__spec *spec, const tern__json *node, size_t index);
tern_status tern__spec_fail(const tern__spec *spec, tern_status code, const char *fmt, ...) TERN_PRINTF(3, 4);
/* Strings land in the arena; an absent one is an error unless `fallback` is given. */
tern_status tern__spec_string(const tern__spec *spec, const char *key, const char *fallback,
                              const char **out);
tern_status tern__spec_bool(const tern__spec *spec, const char *key, int32_t fallback,
                            bool *out); /* fallback -1: required */
tern_status tern__spec_int(const tern__spec *spec, const char *key, int64_t fallback, int64_t min,
                           int64_t max, int64_t *out);                  /* fallback < min: required */
tern_status tern__spec_type(const tern__spec *spec, const char **type); /* the object's "type" */
tern_status tern__spec_pattern(const tern__spec *spec, const char *key, struct tern__pattern **out);
/* A required string of exactly one character. */
tern_status tern__spec_character(const tern__spec *spec, const char *key, int32_t *out);

/* ---- what is cut out of a text. */
typedef struct tern__piece {
  uint32_t start, size;
  bool at_origin; /* begins with the first character of the caller's text */
} tern__piece;
typedef struct tern__match { uint32_t start, end; bool hit; } tern__match;

typedef struct tern__symbol { int32_t id, prev, next; uint32_t start, size; } tern__symbol;

/* Everything that one encode or decode needs; buffers grow once and are reused by every piece of the text. */
typedef struct tern__work {
  tern__alloc *alloc;
  const tern__tokenizer *tokenizer;
  uint32_t flags;
  int32_t *ids;             /* what the model appends to */
  char *text, *spare;       /* the fragment under work, and where the next step writes */
  tern__piece *pieces, *spare_pieces;
  tern__match *matches;
  int32_t *points;
  tern__symbol *symbols;
  tern__merge_candidate *merges;
  char *key;                /* for look-ups of changed spellings */
  int32_t *owner;           /* added tokens found, per byte (longest-first matching) */
  tern__regex_state *regex;
  bool at_origin;           /* the fragment begins with the first character of the caller's text */
  bool after_special;       /* ... or follows an added token */
} tern__work;

/* ---- patterns (Split, Replace): a string, a regular expression, or a scanner that stands for a known one.
 */
typedef size_t (*tern__scanner)(const char *text, size_t size); /* bytes of the token at text, size > 0 */
typedef struct tern__pattern {
  const char *literal;
  size_t literal_size;
  tern__scanner scan;  /* covers the whole text with matches */
  tern__regex *regex;
} tern__pattern;
typedef enum tern__pattern_kind {
  TERN_PATTERN_STRING,
  TERN_PATTERN_REGEX,    /* as Hugging Face reads it */
  TERN_PATTERN_LLAMA_CPP /* as llama.cpp does: its scanners see Unicode 15.1 */
} tern__pattern_kind;
tern_status tern__pattern_create(tern__arena *arena, const char *text, tern__pattern_kind kind,
                                 tern__pattern **out);
/* Fills work->matches: hits, and what is between them. */
tern_status tern__pattern_find(const tern__pattern *pattern, tern__work *work, const char *text, size_t size);
tern__scanner tern__scanner_for(const char *regex,
                                tern__pattern_kind kind); /* NULL = no scanner stands for it */
size_t tern__scan_gpt2(const char *text, size_t size);

/* ---- parts: normalizers, pre-tokenizers and decoders of tokenizer.json. A family is a table of kinds; what a
 * kind keeps is a struct of its family that begins with tern__part. */
typedef struct tern__part tern__part;
struct tern__part {
  tern_status (*apply)(const tern__part *part, tern__work *work);
  tern__part **children; /* of a Sequence, applied in turn */
  size_t n_children;
};
typedef struct tern__part_kind {
  const char *type;
  tern_status (*apply)(const tern__part *part, tern__work *work);
  tern_status (*read)(const tern__spec *spec, tern__part *part); /* NULL: nothing but its type */
} tern__part_kind;
typedef struct tern__part_family {
  const char *what; /* "normalizer", for messages */
  const char *list; /* where a Sequence of this family keeps its parts */
  size_t part_size;
  const tern__part_kind *kinds;
  size_t n_kinds;
} tern__part_family;
extern const tern__part_family tern__normalizers, tern__pre_tokenizers, tern__decoders;
tern_status tern__part_read(const tern__part_family *family, const tern__spec *spec,
                            tern__part **out); /* absent node: NULL */
tern_status tern__part_apply_all(const tern__part *part, tern__work *work); /* what a Sequence does */

/* ---- normalizer: work->text in place. */
tern_status tern__normalize(const tern__part *normalizer, tern__work *work);

/* ---- pre-tokenizer: work->text -> work->pieces (may rewrite the text). */
/* Split by each pattern in turn, as llama.cpp does; with_bytes adds ByteLevel (use_regex false) at the end.
 */
tern_status tern__pre_tokenizer_from_patterns(tern__arena *arena, const char *const *patterns, size_t n,
                                              bool with_bytes, tern__part **out);
tern_status tern__pre_tokenize(const tern__part *pre, tern__work *work);
/* Leaves the last ByteLevel's spelling of bytes out: the model reads raw bytes. False = it does not end in
 * ByteLevel. */
bool tern__pre_tokenizer_take_bytes(tern__part *pre);

/* ---- post-processor: where special tokens and type ids go. */
typedef struct tern__template_item {
  int32_t sequence;
  int32_t id;
  int32_t type;
} tern__template_item; /* sequence -1: id */
typedef struct tern__post_processor {
  const tern__template_item *single, *pair;
  size_t n_single, n_pair;
} tern__post_processor;
tern_status tern__post_processor_read(const tern__spec *spec, int32_t n_ids, tern__post_processor **out);

/* ---- decoder: work->text/pieces hold the tokens' spellings. */
tern_status tern__decoder_for_bytes(tern__arena *arena, tern__part **out);                  /* ByteLevel */
tern_status tern__decoder_for_spm(tern__arena *arena, bool strip_first,
                                  tern__part **out); /* Replace, ByteFallback, Fuse, Strip */
tern_status tern__decode_pieces(const tern__part *decoder, tern__work *work);
bool tern__decoder_has_byte_fallback(const tern__part *decoder);
/* The value of a "<0xAB>" token, or -1. */
int32_t tern__byte_token_value(const char *text, size_t size);

/* GPT-2's spelling of bytes as printable characters. */
int32_t tern__byte_to_char(uint8_t byte);
int32_t tern__char_to_byte(int32_t cp); /* -1 = spells no byte */

/* ---- added tokens: found in the text before (or, "normalized", after) the normalizer. */
typedef struct tern__added_token {
  const char *text, *match; /* as written, and as looked for: normalized */
  size_t size, match_size;
  int32_t id;
  bool single_word, lstrip, rstrip, normalized, special;
  bool plain_keeps; /* TERN_TOKENIZE_PLAIN_SPECIAL does not switch it off */
} tern__added_token;
typedef struct tern__trie_node { uint32_t child, sibling; int32_t token; uint8_t byte; } tern__trie_node;
typedef struct tern__trie {
  tern__trie_node *nodes;
  uint32_t root[256];
  uint32_t n_tokens;
} tern__trie; /* array */
typedef struct tern__added_tokens {
  tern__added_token *tokens; /* array */
  tern__trie raw, normalized;
  bool longest_first; /* llama.cpp: the longest token of the whole text first; else leftmost-longest */
} tern__added_tokens;
tern_status tern__added_tokens_index(tern__alloc *alloc, tern__added_tokens *added);
void tern__added_tokens_deinit(tern__alloc *alloc, tern__added_tokens *added);
/* Calls back for each stretch in order: token -1 is text between. */
typedef tern_status (*tern__fragment_fn)(tern__work *work, const char *text, size_t size,
                                         const tern__added_token *token);
tern_status tern__added_tokens_split(const tern__added_tokens *added, const tern__trie *trie,
                                     tern__work *work, const char *text, size_t size, tern__fragment_fn fn);

/* ---- models */
enum {
  TERN_TOKEN_EXISTS = 1,
  TERN_TOKEN_SKIP = 2,  /* left out of decoded text with TERN_TOKENIZE_NO_SPECIAL */
  TERN_TOKEN_END = 4,
  TERN_TOKEN_BYTE = 8   /* "<0xAB>" */
};
typedef struct tern__token {
  const char *text;
  const char *decoded;
  uint32_t size, decoded_size;
  uint32_t flags;
} tern__token;

typedef struct tern__model_def {
  const char *json_type;  /* tokenizer.json model.type; NULL = none */
  const char *gguf_model; /* tokenizer.ggml.model; NULL = none */
  tern_status (*read_json)(tern__tokenizer *tokenizer, const tern__spec *spec);
  tern_status (*read_vocab)(tern__tokenizer *tokenizer, const tern__vocab_source *source);
  /* Appends the ids of one piece to work->ids. */
  tern_status (*encode)(const tern__tokenizer *tokenizer, tern__work *work, const char *text, size_t size);
} tern__model_def;
extern const tern__model_def tern__model_bpe, tern__model_wordpiece, tern__model_spm;

struct tern__tokenizer {
  tern__alloc *alloc;
  tern__arena arena;
  const tern__model_def *def;
  void *model;                /* the model's own, in the arena */
  tern__token *tokens;        /* array, by id */
  tern__map ids;              /* the model's vocabulary */
  size_t max_token_size;
  tern__map added_ids;
  tern__added_tokens added;
  tern__part *normalizer, *pre_tokenizer, *decoder; /* NULL = none */
  tern__post_processor *post_processor;
  int32_t bos_id, eos_id, pad_id, unk_id, max_length;
  const char *chat_template;
  const tern_cancel *cancel;  /* while it is read; then NULL */
};

/* For loops over tokens and merges: CANCELLED if the token is set; looks at it when i is a multiple of 256. */
static inline tern_status tern__tokenizer_poll(const tern__tokenizer *t, size_t i) {
  return i & 255 ? TERN_OK : tern__cancel_check(t->cancel, "reading the tokenizer");
}

tern__tokenizer *tern__tokenizer_new(tern__alloc *alloc);
/* Adds one entry of the model's vocabulary; `text` must live in the arena. */
tern_status tern__tokenizer_add_token(tern__tokenizer *tokenizer, const char *text, size_t size, int64_t id);
/* {"token": id, ...} */
tern_status tern__tokenizer_read_vocab_object(tern__tokenizer *tokenizer, const tern__spec *vocab);
/* Of the model's vocabulary; -1 = absent. */
static inline int32_t tern__model_token_id(const tern__tokenizer *t, const char *text, size_t size) {
  int64_t id;
  return tern__map_get(&t->ids, text, size, &id) ? (int32_t)id : -1;
}
/* Marks the tokens that end a turn by their spelling; call when tokens and added tokens are complete. */
void tern__tokenizer_mark_ends(tern__tokenizer *tokenizer);
tern_status tern__tokenizer_read_json(tern__tokenizer *tokenizer, const char *path, const tern__json *root);
/* With the "model" taken from elsewhere (test vectors share one). */
tern_status tern__tokenizer_read_json_with(tern__tokenizer *tokenizer, const char *path,
                                           const tern__json *root, const tern__json *model);
tern_status tern__tokenizer_read_config(tern__tokenizer *tokenizer, const char *path, const tern__json *root);
extern const tern__model_def *const tern__model_defs[];
extern const size_t tern__model_def_count;

/* What tokenizer.ggml.pre stands for. */
typedef struct tern__pre_kind {
  const char *names;             /* "a|b|c" */
  const char *patterns[8];
  bool ignore_merges, add_bos;
} tern__pre_kind;
const tern__pre_kind *tern__pre_kind_find(const char *name); /* NULL = unknown */

#endif
