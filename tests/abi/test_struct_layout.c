/* The ABI as it is promised: sizes and offsets of the public structs on 64-bit targets, and the values of status codes and
 * enumerators. A change of a line here breaks programs that are already compiled; members are appended, values are added. */
#include <tern/tern.h>

#include <criterion/criterion.h>
#include <stddef.h>

/* Every struct of tern.h, its members in order. */
#define SIZE(type, size) _Static_assert(sizeof(void *) != 8 || sizeof(type) == (size), "size of " #type)
#define AT(type, member, offset) \
  _Static_assert(sizeof(void *) != 8 || offsetof(type, member) == (offset), "offset of " #type "." #member)
#define VALUE(name, value) _Static_assert((name) == (value), "value of " #name)

SIZE(tern_allocator, 24);
AT(tern_allocator, alloc, 0);
AT(tern_allocator, free, 8);
AT(tern_allocator, user_data, 16);
SIZE(tern_log, 24);
AT(tern_log, message, 0);
AT(tern_log, user_data, 8);
AT(tern_log, max_level, 16);
SIZE(tern_progress, 16);
AT(tern_progress, fn, 0);
AT(tern_progress, user_data, 8);
SIZE(tern_runtime_desc, 72);
AT(tern_runtime_desc, struct_size, 0);
AT(tern_runtime_desc, n_threads, 4);
AT(tern_runtime_desc, allocator, 8);
AT(tern_runtime_desc, log, 32);
AT(tern_runtime_desc, budget_bytes, 56);
AT(tern_runtime_desc, cache_path, 64);
SIZE(tern_device_info, 24);
AT(tern_device_info, struct_size, 0);
AT(tern_device_info, reserved, 4);
AT(tern_device_info, name, 8);
AT(tern_device_info, description, 16);
SIZE(tern_model_desc, 72);
AT(tern_model_desc, struct_size, 0);
AT(tern_model_desc, reserved, 4);
AT(tern_model_desc, path, 8);
AT(tern_model_desc, data, 16);
AT(tern_model_desc, data_size, 24);
AT(tern_model_desc, dtype, 32);
AT(tern_model_desc, file_name, 40);
AT(tern_model_desc, progress, 48);
AT(tern_model_desc, cancel, 64);
SIZE(tern_io_info, 88);
AT(tern_io_info, struct_size, 0);
AT(tern_io_info, dtype, 4);
AT(tern_io_info, name, 8);
AT(tern_io_info, rank, 16);
AT(tern_io_info, reserved, 20);
AT(tern_io_info, dims, 24);
SIZE(tern_session_desc, 48);
AT(tern_session_desc, struct_size, 0);
AT(tern_session_desc, numerics, 4);
AT(tern_session_desc, device, 8);
AT(tern_session_desc, budget_bytes, 16);
AT(tern_session_desc, context_length, 24);
AT(tern_session_desc, n_threads, 28);
AT(tern_session_desc, kv_cache, 32);
AT(tern_session_desc, flags, 36);
AT(tern_session_desc, cancel, 40);
SIZE(tern_memory_plan, 56);
AT(tern_memory_plan, struct_size, 0);
AT(tern_memory_plan, n_steps, 4);
AT(tern_memory_plan, weight_bytes, 8);
AT(tern_memory_plan, packed_bytes, 16);
AT(tern_memory_plan, activation_bytes, 24);
AT(tern_memory_plan, kv_bytes, 32);
AT(tern_memory_plan, scratch_bytes, 40);
AT(tern_memory_plan, peak_bytes, 48);
SIZE(tern_pipeline_desc, 112);
AT(tern_pipeline_desc, struct_size, 0);
AT(tern_pipeline_desc, reserved, 4);
AT(tern_pipeline_desc, task, 8);
AT(tern_pipeline_desc, path, 16);
AT(tern_pipeline_desc, dtype, 24);
AT(tern_pipeline_desc, file_name, 32);
AT(tern_pipeline_desc, session, 40);
AT(tern_pipeline_desc, progress, 88);
AT(tern_pipeline_desc, cancel, 104);
SIZE(tern_on_text, 16);
AT(tern_on_text, fn, 0);
AT(tern_on_text, user_data, 8);
SIZE(tern_run_desc, 120);
AT(tern_run_desc, struct_size, 0);
AT(tern_run_desc, n_texts, 4);
AT(tern_run_desc, texts, 8);
AT(tern_run_desc, chat_json, 16);
AT(tern_run_desc, max_new_tokens, 24);
AT(tern_run_desc, temperature, 28);
AT(tern_run_desc, top_k, 32);
AT(tern_run_desc, top_p, 36);
AT(tern_run_desc, min_p, 40);
AT(tern_run_desc, repetition_penalty, 44);
AT(tern_run_desc, seed, 48);
AT(tern_run_desc, n_stop, 56);
AT(tern_run_desc, context_policy, 60);
AT(tern_run_desc, stop, 64);
AT(tern_run_desc, ignore_eos, 72);
AT(tern_run_desc, return_full_text, 76);
AT(tern_run_desc, on_text, 80);
AT(tern_run_desc, pooling, 96);
AT(tern_run_desc, normalize, 100);
AT(tern_run_desc, cancel, 104);
AT(tern_run_desc, prompt_lookup_num_tokens, 112);
AT(tern_run_desc, max_matching_ngram_size, 116);
SIZE(tern_timings, 64);
AT(tern_timings, struct_size, 0);
AT(tern_timings, n_prompt_tokens, 4);
AT(tern_timings, n_reused_tokens, 8);
AT(tern_timings, n_new_tokens, 12);
AT(tern_timings, tokenize_ms, 16);
AT(tern_timings, prefill_ms, 24);
AT(tern_timings, decode_ms, 32);
AT(tern_timings, first_token_ms, 40);
AT(tern_timings, total_ms, 48);
AT(tern_timings, n_drafted_tokens, 56);
AT(tern_timings, n_accepted_tokens, 60);

/* Values. Version numbers are left out: they change. */
VALUE(TERN_MAX_RANK, 8);
VALUE(TERN_STATUS_OK, 0);
VALUE(TERN_STATUS_INVALID_ARGUMENT, 1);
VALUE(TERN_STATUS_INVALID_STATE, 2);
VALUE(TERN_STATUS_BUSY, 3);
VALUE(TERN_STATUS_CANCELLED, 4);
VALUE(TERN_STATUS_TIMEOUT, 5);
VALUE(TERN_STATUS_OUT_OF_MEMORY, 10);
VALUE(TERN_STATUS_OUT_OF_BUDGET, 11);
VALUE(TERN_STATUS_NOT_FOUND, 20);
VALUE(TERN_STATUS_IO, 21);
VALUE(TERN_STATUS_CORRUPT, 22);
VALUE(TERN_STATUS_UNSUPPORTED, 30);
VALUE(TERN_STATUS_SHAPE_MISMATCH, 40);
VALUE(TERN_STATUS_CONTEXT_FULL, 41);
VALUE(TERN_STATUS_NO_DEVICE, 50);
VALUE(TERN_STATUS_DEVICE_LOST, 51);
VALUE(TERN_STATUS_INTERNAL, 90);
VALUE(TERN_DTYPE_NONE, 0);
VALUE(TERN_DTYPE_F32, 1);
VALUE(TERN_DTYPE_F16, 2);
VALUE(TERN_DTYPE_BF16, 3);
VALUE(TERN_DTYPE_F64, 4);
VALUE(TERN_DTYPE_I8, 5);
VALUE(TERN_DTYPE_U8, 6);
VALUE(TERN_DTYPE_I16, 7);
VALUE(TERN_DTYPE_U16, 8);
VALUE(TERN_DTYPE_I32, 9);
VALUE(TERN_DTYPE_U32, 10);
VALUE(TERN_DTYPE_I64, 11);
VALUE(TERN_DTYPE_U64, 12);
VALUE(TERN_DTYPE_BOOL, 13);
VALUE(TERN_DTYPE_STRING, 14);
VALUE(TERN_DTYPE_I4, 15);
VALUE(TERN_DTYPE_U4, 16);
VALUE(TERN_DTYPE_Q4_0, 32);
VALUE(TERN_DTYPE_Q4_1, 33);
VALUE(TERN_DTYPE_Q5_0, 34);
VALUE(TERN_DTYPE_Q5_1, 35);
VALUE(TERN_DTYPE_Q8_0, 36);
VALUE(TERN_DTYPE_Q4_K, 37);
VALUE(TERN_DTYPE_Q5_K, 38);
VALUE(TERN_DTYPE_Q6_K, 39);
VALUE(TERN_DTYPE_MAX_ENUM, 0x7fffffff);
VALUE(TERN_LOG_ERROR, 1);
VALUE(TERN_LOG_WARNING, 2);
VALUE(TERN_LOG_INFO, 3);
VALUE(TERN_LOG_DEBUG, 4);
VALUE(TERN_LOG_MAX_ENUM, 0x7fffffff);
VALUE(TERN_NUMERICS_FAST, 0);
VALUE(TERN_NUMERICS_CONSISTENT, 1);
VALUE(TERN_NUMERICS_MAX_ENUM, 0x7fffffff);
VALUE(TERN_TOKENIZE_NO_SPECIAL, 1);
VALUE(TERN_TOKENIZE_PLAIN_SPECIAL, 2);
VALUE(TERN_POOLING_DEFAULT, 0);
VALUE(TERN_POOLING_NONE, 1);
VALUE(TERN_POOLING_MEAN, 2);
VALUE(TERN_POOLING_CLS, 3);
VALUE(TERN_POOLING_LAST, 4);
VALUE(TERN_POOLING_MAX_ENUM, 0x7fffffff);
VALUE(TERN_CONTEXT_ERROR, 0);
VALUE(TERN_CONTEXT_SHIFT, 1);
VALUE(TERN_CONTEXT_POLICY_MAX_ENUM, 0x7fffffff);
VALUE(TERN_JOB_RUNNING, 0);
VALUE(TERN_JOB_DONE, 1);
VALUE(TERN_JOB_FAILED, 2);
VALUE(TERN_JOB_STATE_MAX_ENUM, 0x7fffffff);

_Static_assert(sizeof(tern_status) == 4, "tern_status is 32 bits");
_Static_assert(sizeof(tern_dtype) == 4 && sizeof(tern_job_state) == 4, "enumerations are 32 bits");

Test(abi, descs_start_with_their_size_and_default_to_zero) {
  tern_runtime_desc runtime = TERN_RUNTIME_DESC_INIT;
  tern_model_desc model = TERN_MODEL_DESC_INIT;
  tern_session_desc session = TERN_SESSION_DESC_INIT;
  tern_pipeline_desc pipeline = TERN_PIPELINE_DESC_INIT;
  tern_run_desc run = TERN_RUN_DESC_INIT;
  cr_expect(runtime.struct_size == sizeof runtime && model.struct_size == sizeof model && session.struct_size == sizeof session);
  cr_expect(pipeline.struct_size == sizeof pipeline && pipeline.session.struct_size == sizeof session && run.struct_size == sizeof run);
  cr_expect(!model.path && !model.data && !session.device && !session.budget_bytes && !run.max_new_tokens && !run.cancel);
}

Test(abi, every_status_has_a_name_and_a_text) {
#define CHECK(name, value, text)                                   \
  cr_expect_str_eq(tern_status_name(TERN_STATUS_##name), #name);    \
  cr_expect_str_eq(tern_status_text(TERN_STATUS_##name), text);
  TERN_STATUS_LIST(CHECK)
#undef CHECK
  cr_expect(tern_status_name(12345) && tern_status_text(-7), "unknown values must not give NULL");
}
