/* tern: on-device inference for native and hybrid apps. This header is the whole stable API and its manual.
 *
 * Life of a program: tern_runtime -> tern_pipeline (a task) -> tern_result, or, one level down,
 * tern_runtime -> tern_model -> tern_session -> tern_tensor for any graph.
 *
 * Rules that hold for every function
 *  - Errors: fallible functions return a tern_status. tern_last_error() gives the sentence for the calling
 *    thread's last failure: what, where (file, offset, node, option) and what to try. Out parameters are set to
 *    NULL or zero on failure.
 *  - Descs: the first member is struct_size (use the _INIT macro); zero in any other member means its default;
 *    a NULL desc means all defaults. Members are only ever appended.
 *  - Ownership: X_create/X_open gives the caller one reference, X_destroy/X_close(NULL) is fine. Children keep
 *    their parents alive, so destroy order is free.
 *  - Strings are UTF-8. `const char *` results stay valid as long as the object that gave them.
 *  - Threads: [any] callable from any thread at any time; [one] one thread at a time per object.
 *  - Nothing here aborts, prints, or changes process state (signals, locale, working directory).
 */
#ifndef TERN_H
#define TERN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#  if defined(TERN_BUILD_SHARED)
#    define TERN_API __declspec(dllexport)
#  elif defined(TERN_USE_SHARED)
#    define TERN_API __declspec(dllimport)
#  else
#    define TERN_API
#  endif
#else
#  define TERN_API __attribute__((visibility("default")))
#endif

#define TERN_VERSION_MAJOR 0
#define TERN_VERSION_MINOR 1
#define TERN_VERSION_PATCH 0
#define TERN_VERSION_PACK(major, minor, patch) (((major) << 22) | ((minor) << 12) | (patch))

/* The library's version as TERN_VERSION_PACK(major, minor, patch). Same major = same ABI. [any] */
TERN_API uint32_t tern_version(void);

/* ------------------------------------------------------------------------------------------------ status */

/* X(name, value, text). Values are pinned; families leave gaps. */
#define TERN_STATUS_LIST(X)                                                  \
  X(OK, 0, "ok")                                                             \
  X(INVALID_ARGUMENT, 1, "an argument is not valid")                         \
  X(INVALID_STATE, 2, "the object is not in a state that allows this")       \
  X(BUSY, 3, "the object is in use by another thread")                       \
  X(CANCELLED, 4, "cancelled by the caller")                                 \
  X(TIMEOUT, 5, "not done within the given time")                            \
  X(OUT_OF_MEMORY, 10, "the allocator gave no memory")                       \
  X(OUT_OF_BUDGET, 11, "more memory needed than the budget allows")          \
  X(NOT_FOUND, 20, "no such file, name or entry")                            \
  X(IO, 21, "reading or writing failed")                                     \
  X(CORRUPT, 22, "the file is not what its format demands")                  \
  X(UNSUPPORTED, 30, "a feature of the file or an option is not supported")  \
  X(SHAPE_MISMATCH, 40, "a shape or type does not fit the graph")            \
  X(CONTEXT_FULL, 41, "the context window has no room left")                 \
  X(NO_DEVICE, 50, "no such device on this machine")                         \
  X(DEVICE_LOST, 51, "the device stopped working")                           \
  X(INTERNAL, 90, "a defect in tern; please report it")

typedef int32_t tern_status;
enum {
#define TERN_X(name, value, text) TERN_STATUS_##name = value,
  TERN_STATUS_LIST(TERN_X)
#undef TERN_X
  TERN_OK = 0
};

/* "OUT_OF_BUDGET" and the one-line text of a status; never NULL. [any] */
TERN_API const char *tern_status_name(tern_status status);
TERN_API const char *tern_status_text(tern_status status);
/* The sentence for the last failed call on this thread; "" if none. Valid until this thread's next failure. [any] */
TERN_API const char *tern_last_error(void);

/* ------------------------------------------------------------------------------------------------ types */

typedef struct tern_runtime tern_runtime;     /* devices, allocator, log, thread pool */
typedef struct tern_model tern_model;         /* immutable weights + graph, shareable between threads */
typedef struct tern_session tern_session;     /* activations and KV cache of one user */
typedef struct tern_tensor tern_tensor;       /* a dense row-major array */
typedef struct tern_tokenizer tern_tokenizer; /* text <-> token ids; immutable */
typedef struct tern_pipeline tern_pipeline;   /* a task: tokenize, run, decode */
typedef struct tern_job tern_job;             /* an asynchronous run */
typedef struct tern_result tern_result;       /* what a pipeline run gave */
typedef struct tern_cancel tern_cancel;       /* a flag that stops load, plan and run within 20 ms */

/* Element types. Values are pinned. Block-quantized GGUF types hold whole rows of blocks. */
typedef enum tern_dtype {
  TERN_DTYPE_NONE = 0,
  TERN_DTYPE_F32 = 1,
  TERN_DTYPE_F16 = 2,
  TERN_DTYPE_BF16 = 3,
  TERN_DTYPE_F64 = 4,
  TERN_DTYPE_I8 = 5,
  TERN_DTYPE_U8 = 6,
  TERN_DTYPE_I16 = 7,
  TERN_DTYPE_U16 = 8,
  TERN_DTYPE_I32 = 9,
  TERN_DTYPE_U32 = 10,
  TERN_DTYPE_I64 = 11,
  TERN_DTYPE_U64 = 12,
  TERN_DTYPE_BOOL = 13,
  TERN_DTYPE_STRING = 14, /* declared by graphs; not storable in a tern_tensor yet */
  TERN_DTYPE_I4 = 15,     /* ONNX int4/uint4, two to a byte, low nibble first */
  TERN_DTYPE_U4 = 16,
  TERN_DTYPE_Q4_0 = 32,
  TERN_DTYPE_Q4_1 = 33,
  TERN_DTYPE_Q5_0 = 34,
  TERN_DTYPE_Q5_1 = 35,
  TERN_DTYPE_Q8_0 = 36,
  TERN_DTYPE_Q4_K = 37,
  TERN_DTYPE_Q5_K = 38,
  TERN_DTYPE_Q6_K = 39,
  TERN_DTYPE_MAX_ENUM = 0x7fffffff
} tern_dtype;

#define TERN_MAX_RANK 8

/* "float32", "int64", "q4_0", ...; "unknown" otherwise. [any] */
TERN_API const char *tern_dtype_name(tern_dtype dtype);

typedef enum tern_log_level {
  TERN_LOG_ERROR = 1, TERN_LOG_WARNING = 2, TERN_LOG_INFO = 3, TERN_LOG_DEBUG = 4, TERN_LOG_MAX_ENUM = 0x7fffffff
} tern_log_level;

/* Both or neither. `align` is a power of two. Called from any thread; must not call tern. */
typedef struct tern_allocator {
  void *(*alloc)(void *user_data, size_t size, size_t align); /* NULL = no memory */
  void (*free)(void *user_data, void *ptr, size_t size, size_t align);
  void *user_data;
} tern_allocator;

/* Silent without one. Called from any thread; must not call tern. */
typedef struct tern_log {
  void (*message)(void *user_data, tern_log_level level, const char *text);
  void *user_data;
  tern_log_level max_level; /* 0 = TERN_LOG_WARNING */
} tern_log;

/* Progress of loading: `phase` is "map", "graph", "pack", "plan", ...; done/total in bytes or steps of that phase.
 * A nonzero return cancels. Called on the thread that loads. */
typedef struct tern_progress {
  int32_t (*fn)(void *user_data, const char *phase, uint64_t done, uint64_t total);
  void *user_data;
} tern_progress;

/* [any] for all four. tern_cancel_set makes everything in progress that was given this token (a load, a plan, a run)
 * return TERN_STATUS_CANCELLED within 20 ms; tern_cancel_reset arms it again. */
TERN_API tern_status tern_cancel_create(tern_cancel **out);
TERN_API void tern_cancel_set(tern_cancel *cancel);
TERN_API void tern_cancel_reset(tern_cancel *cancel);
TERN_API void tern_cancel_destroy(tern_cancel *cancel);

/* ------------------------------------------------------------------------------------------------ runtime */

typedef struct tern_runtime_desc {
  uint32_t struct_size;
  int32_t n_threads;        /* threads that may compute at once, the caller's included; 0 = physical cores */
  tern_allocator allocator; /* zero = the C library's */
  tern_log log;
  uint64_t budget_bytes;    /* all memory that tern may hold through `allocator`; 0 = no limit */
  const char *cache_path;   /* a folder for what can be made again: kernels as a device's driver compiled them. Made
                               where it is missing; what cannot be read or written there is no error. NULL = nothing is
                               kept */
} tern_runtime_desc;
#define TERN_RUNTIME_DESC_INIT \
  { sizeof(tern_runtime_desc), 0, {NULL, NULL, NULL}, {NULL, NULL, (tern_log_level)0}, 0, NULL }

TERN_API tern_status tern_runtime_create(const tern_runtime_desc *desc, tern_runtime **out); /* [any] */
TERN_API void tern_runtime_destroy(tern_runtime *runtime);                                   /* [any] */
/* Bytes held through the allocator now, and the most ever. [any] */
TERN_API void tern_runtime_memory(const tern_runtime *runtime, uint64_t *live_bytes, uint64_t *peak_bytes);
TERN_API int32_t tern_runtime_n_threads(const tern_runtime *runtime);

typedef struct tern_device_info {
  uint32_t struct_size;
  int32_t reserved;
  const char *name;         /* "cpu" */
  const char *description;  /* "AVX2, FMA, F16C" */
} tern_device_info;
TERN_API int32_t tern_runtime_device_count(const tern_runtime *runtime);
TERN_API tern_status tern_runtime_device(const tern_runtime *runtime, int32_t index, tern_device_info *out);

/* ------------------------------------------------------------------------------------------------ tensors */

/* Zero-filled, dense, row-major; a rank of 0 is a scalar. [any] */
TERN_API tern_status tern_tensor_create(tern_runtime *runtime, tern_dtype dtype, int32_t rank, const int64_t *dims,
                                        tern_tensor **out);
/* A view of the caller's memory, which must outlive the tensor; size_bytes is checked against the shape. [any] */
TERN_API tern_status tern_tensor_wrap(tern_runtime *runtime, tern_dtype dtype, int32_t rank, const int64_t *dims,
                                      void *data, size_t size_bytes, tern_tensor **out);
TERN_API void tern_tensor_destroy(tern_tensor *tensor);
TERN_API tern_dtype tern_tensor_dtype(const tern_tensor *tensor);
TERN_API int32_t tern_tensor_rank(const tern_tensor *tensor);
TERN_API const int64_t *tern_tensor_dims(const tern_tensor *tensor);
TERN_API void *tern_tensor_data(const tern_tensor *tensor);
TERN_API size_t tern_tensor_size_bytes(const tern_tensor *tensor);

/* ------------------------------------------------------------------------------------------------ models */

typedef struct tern_model_desc {
  uint32_t struct_size;
  uint32_t reserved;
  const char *path;        /* a .onnx or .gguf file, or a Transformers.js folder */
  const void *data;        /* or the bytes of a .onnx or .gguf file, borrowed until the model is closed */
  uint64_t data_size;
  const char *dtype;       /* which file of a folder: fp32 fp16 q8 int8 uint8 q4 q4f16 bnb4; NULL = best present */
  const char *file_name;   /* base name in a folder's onnx/; NULL = "model" */
  tern_progress progress;
  tern_cancel *cancel;
} tern_model_desc;
#define TERN_MODEL_DESC_INIT { sizeof(tern_model_desc), 0, NULL, NULL, 0, NULL, NULL, { NULL, NULL }, NULL }

/* Maps and checks the file and builds its graph; weights stay in the map. [any]
 * NOT_FOUND, IO, CORRUPT (file, offset, node), UNSUPPORTED (operator, type, architecture). */
TERN_API tern_status tern_model_open(tern_runtime *runtime, const tern_model_desc *desc, tern_model **out);
TERN_API void tern_model_close(tern_model *model);

typedef struct tern_io_info {
  uint32_t struct_size;
  tern_dtype dtype;
  const char *name;
  int32_t rank;                  /* -1 = not declared */
  int32_t reserved;
  int64_t dims[TERN_MAX_RANK];   /* -1 = known only at run time */
} tern_io_info;

TERN_API int32_t tern_model_input_count(const tern_model *model);
TERN_API int32_t tern_model_output_count(const tern_model *model);
TERN_API tern_status tern_model_input(const tern_model *model, int32_t index, tern_io_info *out);
TERN_API tern_status tern_model_output(const tern_model *model, int32_t index, tern_io_info *out);
/* What is inside, as a JSON object: format, architecture, dtypes with bytes, operators with counts and the devices
 * that lack them, inputs, outputs, weight_bytes. [any] */
TERN_API const char *tern_model_json(const tern_model *model);
TERN_API uint64_t tern_model_weight_bytes(const tern_model *model);

/* ------------------------------------------------------------------------------------------------ sessions */

typedef enum tern_numerics {
  TERN_NUMERICS_FAST = 0,       /* the device's best kernels; bounds in docs/numerics.md */
  TERN_NUMERICS_CONSISTENT = 1, /* fixed reduction order: the same on every device, batch and thread count */
  TERN_NUMERICS_MAX_ENUM = 0x7fffffff
} tern_numerics;

enum {
  TERN_SESSION_FALLBACK_CPU = 1, /* where the device is absent, lost, out of memory or gives wrong results: go on on the
                                    CPU, and say why in the log (TERN_LOG_WARNING). Else such a run is an error. A run
                                    that loses a tern_session's KV cache is one all the same: the cache is empty then */
  TERN_SESSION_PROFILE = 2       /* keep figures of each run for tern_session_profile; costs some speed */
};

typedef struct tern_session_desc {
  uint32_t struct_size;
  tern_numerics numerics;
  const char *device;       /* "cpu", "vulkan", or "vulkan:WHICH" (part of a device's name, or its UUID in hex); NULL or
                               "auto" = "cpu" for now. "cpu:WHICH" takes a lesser instruction set by part of its name
                               ("cpu:avx2"), to compare. An unknown or absent one is NO_DEVICE */
  uint64_t budget_bytes;    /* activations + KV cache of this session; 0 = the runtime's budget alone */
  int32_t context_length;   /* KV cache positions for models that have one; 0 = the model's own, at most 4096 */
  int32_t n_threads;        /* at most the runtime's; 0 = all of them */
  int32_t kv_cache;         /* 1: past_key_values.* / present.* live inside the session, see tern_session_kv_* */
  uint32_t flags;           /* TERN_SESSION_* */
  tern_cancel *cancel;      /* stops creating the session, planning, packing weights and running */
} tern_session_desc;
#define TERN_SESSION_DESC_INIT { sizeof(tern_session_desc), TERN_NUMERICS_FAST, NULL, 0, 0, 0, 0, 0, NULL }

TERN_API tern_status tern_session_create(tern_model *model, const tern_session_desc *desc,
                                         tern_session **out); /* [any] */
TERN_API void tern_session_destroy(tern_session *session);
/* What a run of this session takes and gives: the model's, less what the session itself holds (with kv_cache: the
 * cache, and what only its attention read). [any] */
TERN_API int32_t tern_session_input_count(const tern_session *session);
TERN_API int32_t tern_session_output_count(const tern_session *session);
TERN_API tern_status tern_session_input(const tern_session *session, int32_t index, tern_io_info *out);
TERN_API tern_status tern_session_output(const tern_session *session, int32_t index, tern_io_info *out);

typedef struct tern_memory_plan {
  uint32_t struct_size;
  int32_t n_steps;            /* kernels that will run */
  uint64_t weight_bytes;      /* mapped file bytes in use */
  uint64_t packed_bytes;      /* weights in the device's layout */
  uint64_t activation_bytes;  /* the session's arena */
  uint64_t kv_bytes;
  uint64_t scratch_bytes;
  uint64_t peak_bytes;        /* what this session allocates at most, weights in the map not included */
} tern_memory_plan;

/* Plans for these inputs (shapes and dtypes count, data does not unless it decides shapes) and tells what a run
 * will take, before anything of it is allocated. OUT_OF_BUDGET names the numbers. [one] */
TERN_API tern_status tern_session_plan(tern_session *session, int32_t n_inputs, const char *const *names,
                                       const tern_tensor *const *inputs, tern_memory_plan *out);

/* Runs the graph. `outputs[i]` receives a new tensor for output_names[i] (destroy it), for all outputs in the
 * session's order if n_outputs is their count and output_names is NULL. [one] */
TERN_API tern_status tern_session_run(tern_session *session, int32_t n_inputs, const char *const *input_names,
                                      const tern_tensor *const *inputs, int32_t n_outputs,
                                      const char *const *output_names, tern_tensor **outputs);
/* run = submit + wait. A submitted run reads its inputs until wait returns; one at a time per session. [one] */
TERN_API tern_status tern_session_submit(tern_session *session, int32_t n_inputs, const char *const *input_names,
                                         const tern_tensor *const *inputs);
TERN_API tern_status tern_session_wait(tern_session *session, int32_t n_outputs, const char *const *output_names,
                                       tern_tensor **outputs);
/* Makes the plan or run in progress return CANCELLED within 20 ms. [any] */
TERN_API void tern_session_cancel(tern_session *session);
/* Where the last run's work was done, as JSON: {"device","segments":[{"device","steps","dispatches","barriers",
 * "submits","bytes_to_device","bytes_from_device","operations","bytes","nodes":[{"op","name","reference"}],
 * "kernels":[{"kernel","op","count","ns","operations","bytes"}]}]}; `kernels` with times only under
 * TERN_SESSION_PROFILE. NULL before the first run, or without memory. Valid until the next call. [one] */
TERN_API const char *tern_session_profile(tern_session *session);

/* KV cache of a session created with kv_cache = 1. Positions already in the cache of every sequence, and dropping
 * all from `length` on (0 = forget everything). [one] */
TERN_API int32_t tern_session_kv_length(const tern_session *session);
TERN_API tern_status tern_session_kv_truncate(tern_session *session, int32_t length);

/* ------------------------------------------------------------------------------------------------ tokenizer */

/* From a folder with tokenizer.json, a tokenizer.json file, or a .gguf file. [any] */
TERN_API tern_status tern_tokenizer_open(tern_runtime *runtime, const char *path, tern_tokenizer **out);
TERN_API void tern_tokenizer_close(tern_tokenizer *tokenizer);

enum {
  TERN_TOKENIZE_NO_SPECIAL = 1,    /* encode: leave out BOS/EOS/[CLS]...; decode: leave out special tokens */
  TERN_TOKENIZE_PLAIN_SPECIAL = 2  /* encode: text that spells a special token is ordinary text */
};
/* Token ids of `text` (any bytes; invalid UTF-8 is read as U+FFFD). Writes up to `capacity` ids, *n_out is the
 * full count; capacity 0 just counts. [any] */
TERN_API tern_status tern_tokenizer_encode(const tern_tokenizer *tokenizer, const char *text, size_t text_size,
                                           uint32_t flags, int32_t *ids, size_t capacity, size_t *n_out);
/* Text of `ids`, not NUL-terminated; *n_out is the full size in bytes. [any] */
TERN_API tern_status tern_tokenizer_decode(const tern_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                                           uint32_t flags, char *text, size_t capacity, size_t *n_out);
TERN_API int32_t tern_tokenizer_vocab_size(const tern_tokenizer *tokenizer);
/* Token of an id as the vocabulary spells it, or NULL. [any] */
TERN_API const char *tern_tokenizer_token(const tern_tokenizer *tokenizer, int32_t id);
/* Id of a vocabulary entry, or -1. [any] */
TERN_API int32_t tern_tokenizer_token_id(const tern_tokenizer *tokenizer, const char *token);
/* Renders the model's chat template over a JSON array of {"role","content"} messages. Same buffer rule as decode.
 * UNSUPPORTED if the model has no template. [any] */
TERN_API tern_status tern_tokenizer_chat(const tern_tokenizer *tokenizer, const char *messages_json,
                                         int32_t add_generation_prompt, char *text, size_t capacity, size_t *n_out);

/* ------------------------------------------------------------------------------------------------ pipelines */

typedef struct tern_pipeline_desc {
  uint32_t struct_size;
  uint32_t reserved;
  const char *task;          /* "text-generation", "feature-extraction" */
  const char *path;          /* a .gguf file or a Transformers.js folder */
  const char *dtype;         /* as tern_model_desc */
  const char *file_name;     /* as tern_model_desc */
  tern_session_desc session; /* device, numerics, budget, context, threads */
  tern_progress progress;
  tern_cancel *cancel;       /* for loading */
} tern_pipeline_desc;
#define TERN_PIPELINE_DESC_INIT \
  { sizeof(tern_pipeline_desc), 0, NULL, NULL, NULL, NULL, TERN_SESSION_DESC_INIT, { NULL, NULL }, NULL }

TERN_API tern_status tern_pipeline_open(tern_runtime *runtime, const tern_pipeline_desc *desc,
                                        tern_pipeline **out); /* [any] */
/* The same off the caller's thread; tern_job_pipeline takes the pipeline out when the job is done. [any] */
TERN_API tern_status tern_pipeline_open_async(tern_runtime *runtime, const tern_pipeline_desc *desc, tern_job **out);
TERN_API void tern_pipeline_close(tern_pipeline *pipeline);
/* Borrowed: valid while the pipeline is. [any] */
TERN_API const tern_tokenizer *tern_pipeline_tokenizer(const tern_pipeline *pipeline);
TERN_API tern_model *tern_pipeline_model(const tern_pipeline *pipeline);
/* Memory that the pipeline's session takes for its largest planned run. [one] */
TERN_API tern_status tern_pipeline_memory(tern_pipeline *pipeline, tern_memory_plan *out);
/* As tern_session_profile, of the pipeline's session; of text-generation that is the last step. [one] */
TERN_API const char *tern_pipeline_profile(tern_pipeline *pipeline);

typedef enum tern_pooling {
  TERN_POOLING_DEFAULT = 0, /* the folder's 1_Pooling/config.json, else mean */
  TERN_POOLING_NONE = 1, TERN_POOLING_MEAN = 2, TERN_POOLING_CLS = 3, TERN_POOLING_LAST = 4,
  TERN_POOLING_MAX_ENUM = 0x7fffffff
} tern_pooling;

typedef enum tern_context_policy {
  TERN_CONTEXT_ERROR = 0, /* generation ends with finish reason "context_full" when the window does */
  TERN_CONTEXT_SHIFT = 1, /* drop the oldest half after the first tokens and go on */
  TERN_CONTEXT_POLICY_MAX_ENUM = 0x7fffffff
} tern_context_policy;

/* One piece of generated text, always whole characters. A nonzero return stops the run ("cancelled"). */
typedef struct tern_on_text {
  int32_t (*fn)(void *user_data, const char *text, size_t text_size, int32_t token_id);
  void *user_data;
} tern_on_text;

/* What to run. A task reads its own members and refuses the others by name when they are set. */
typedef struct tern_run_desc {
  uint32_t struct_size;
  int32_t n_texts;
  const char *const *texts;      /* feature-extraction: texts to embed; text-generation: raw prompts */
  const char *chat_json;         /* text-generation: JSON array of {"role","content"}, through the chat template */
  /* text-generation */
  int32_t max_new_tokens;        /* 0 = 256 */
  float temperature;             /* 0 = greedy */
  int32_t top_k;                 /* 0 = off */
  float top_p;                   /* 0 = off */
  float min_p;                   /* 0 = off */
  float repetition_penalty;      /* 0 or 1 = off */
  uint64_t seed;                 /* 0 = from the clock */
  int32_t n_stop;
  int32_t context_policy;        /* tern_context_policy */
  const char *const *stop;       /* generation ends before any of these texts */
  int32_t ignore_eos;            /* 1: go on past the end-of-sequence token (benchmarks) */
  int32_t return_full_text;      /* 1: the result's text starts with the prompt */
  tern_on_text on_text;
  /* feature-extraction */
  tern_pooling pooling;
  int32_t normalize;             /* 0 = as the folder says, 1 = yes, -1 = no */
  tern_cancel *cancel;
  /* text-generation of one prompt: speculative decoding by prompt lookup. Where the last tokens stand earlier in the
   * prompt or the generated text, what followed there is evaluated in one run with the last token, and kept as far as
   * it is what is picked. The tokens are those of a run without it, up to the rounding of sums (docs/numerics.md) */
  int32_t prompt_lookup_num_tokens; /* most tokens that a run evaluates ahead, to 64; 0 = off */
  int32_t max_matching_ngram_size;  /* most tokens that are looked up, to 64; 0 = 2 */
} tern_run_desc;
#define TERN_RUN_DESC_INIT                                                                     \
  {                                                                                            \
    sizeof(tern_run_desc), 0, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, 0, 0, {NULL, NULL}, \
        TERN_POOLING_DEFAULT, 0, NULL, 0, 0                                                    \
  }

/* [one] Runs on the calling thread. */
TERN_API tern_status tern_pipeline_run(tern_pipeline *pipeline, const tern_run_desc *desc, tern_result **out);
/* [one] Runs off the caller's thread; desc and what it points to are copied. Callbacks come on the job's thread. */
TERN_API tern_status tern_pipeline_run_async(tern_pipeline *pipeline, const tern_run_desc *desc, tern_job **out);

typedef struct tern_timings {
  uint32_t struct_size;
  int32_t n_prompt_tokens;   /* of all sequences; reused ones included */
  int32_t n_reused_tokens;   /* found in the KV cache of the last run */
  int32_t n_new_tokens;
  double tokenize_ms, prefill_ms, decode_ms, first_token_ms, total_ms;
  int32_t n_drafted_tokens;  /* evaluated ahead (prompt_lookup_num_tokens) */
  int32_t n_accepted_tokens; /* of these, what was picked as well: tokens that cost no run of their own */
} tern_timings;

TERN_API void tern_result_destroy(tern_result *result);
/* text-generation: entry per prompt. */
TERN_API int32_t tern_result_count(const tern_result *result);
TERN_API const char *tern_result_text(const tern_result *result, int32_t index, size_t *size_out);
TERN_API const int32_t *tern_result_tokens(const tern_result *result, int32_t index, size_t *n_out);
/* "stop" (end token or stop text), "length" (max_new_tokens), "context_full" (the window ended), "cancelled"
 * (by on_text). */
TERN_API const char *tern_result_finish_reason(const tern_result *result, int32_t index);
/* feature-extraction: float32 [n_texts, hidden], or [n_texts, longest, hidden] without pooling. Borrowed. */
TERN_API const tern_tensor *tern_result_tensor(const tern_result *result);
/* feature-extraction without pooling: how many of the `longest` rows of each text are the text's own tokens; the rows
 * behind them are zeros. *n_out is the number of texts. NULL and 0 for results with pooling and of other tasks.
 * Borrowed. [one] */
TERN_API const int32_t *tern_result_row_lengths(const tern_result *result, size_t *n_out);
TERN_API tern_status tern_result_timings(const tern_result *result, tern_timings *out);
/* The result in the shape that Transformers.js gives. */
TERN_API const char *tern_result_json(const tern_result *result);

typedef enum tern_job_state {
  TERN_JOB_RUNNING = 0, TERN_JOB_DONE = 1, TERN_JOB_FAILED = 2, TERN_JOB_STATE_MAX_ENUM = 0x7fffffff
} tern_job_state;

TERN_API tern_job_state tern_job_poll(const tern_job *job);     /* [any] */
TERN_API void tern_job_cancel(tern_job *job);                   /* [any] */
/* Waits up to timeout_ms (-1 = for ever); TIMEOUT if still running, else the run's own status, and tern_last_error()
 * of this thread is the run's. [any] */
TERN_API tern_status tern_job_wait(tern_job *job, int64_t timeout_ms);
/* The result of a finished job, once: ownership moves to the caller. [one] */
TERN_API tern_status tern_job_result(tern_job *job, tern_result **out);
TERN_API tern_status tern_job_pipeline(tern_job *job, tern_pipeline **out);
/* Cancels, waits for the job's thread to end, frees. [one] */
TERN_API void tern_job_destroy(tern_job *job);

#ifdef __cplusplus
}
#endif
#endif
