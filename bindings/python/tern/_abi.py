"""The C ABI as ctypes. Generated from tern.h by bindings/abi/dump_abi.py: do not edit."""
# ruff: noqa
from ctypes import (CFUNCTYPE, POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t,
                    c_uint32, c_uint64, c_void_p)

TERN_VERSION_MAJOR = 0
TERN_VERSION_MINOR = 1
TERN_VERSION_PATCH = 0
TERN_MAX_RANK = 8
TERN_STATUS_OK = 0
TERN_STATUS_INVALID_ARGUMENT = 1
TERN_STATUS_INVALID_STATE = 2
TERN_STATUS_BUSY = 3
TERN_STATUS_CANCELLED = 4
TERN_STATUS_TIMEOUT = 5
TERN_STATUS_OUT_OF_MEMORY = 10
TERN_STATUS_OUT_OF_BUDGET = 11
TERN_STATUS_NOT_FOUND = 20
TERN_STATUS_IO = 21
TERN_STATUS_CORRUPT = 22
TERN_STATUS_UNSUPPORTED = 30
TERN_STATUS_SHAPE_MISMATCH = 40
TERN_STATUS_CONTEXT_FULL = 41
TERN_STATUS_NO_DEVICE = 50
TERN_STATUS_DEVICE_LOST = 51
TERN_STATUS_INTERNAL = 90
TERN_DTYPE_NONE = 0
TERN_DTYPE_F32 = 1
TERN_DTYPE_F16 = 2
TERN_DTYPE_BF16 = 3
TERN_DTYPE_F64 = 4
TERN_DTYPE_I8 = 5
TERN_DTYPE_U8 = 6
TERN_DTYPE_I16 = 7
TERN_DTYPE_U16 = 8
TERN_DTYPE_I32 = 9
TERN_DTYPE_U32 = 10
TERN_DTYPE_I64 = 11
TERN_DTYPE_U64 = 12
TERN_DTYPE_BOOL = 13
TERN_DTYPE_STRING = 14
TERN_DTYPE_I4 = 15
TERN_DTYPE_U4 = 16
TERN_DTYPE_Q4_0 = 32
TERN_DTYPE_Q4_1 = 33
TERN_DTYPE_Q5_0 = 34
TERN_DTYPE_Q5_1 = 35
TERN_DTYPE_Q8_0 = 36
TERN_DTYPE_Q4_K = 37
TERN_DTYPE_Q5_K = 38
TERN_DTYPE_Q6_K = 39
TERN_DTYPE_MAX_ENUM = 2147483647
TERN_LOG_ERROR = 1
TERN_LOG_WARNING = 2
TERN_LOG_INFO = 3
TERN_LOG_DEBUG = 4
TERN_LOG_MAX_ENUM = 2147483647
TERN_NUMERICS_FAST = 0
TERN_NUMERICS_CONSISTENT = 1
TERN_NUMERICS_MAX_ENUM = 2147483647
TERN_SESSION_FALLBACK_CPU = 1
TERN_SESSION_PROFILE = 2
TERN_TOKENIZE_NO_SPECIAL = 1
TERN_TOKENIZE_PLAIN_SPECIAL = 2
TERN_POOLING_DEFAULT = 0
TERN_POOLING_NONE = 1
TERN_POOLING_MEAN = 2
TERN_POOLING_CLS = 3
TERN_POOLING_LAST = 4
TERN_POOLING_MAX_ENUM = 2147483647
TERN_CONTEXT_ERROR = 0
TERN_CONTEXT_SHIFT = 1
TERN_CONTEXT_POLICY_MAX_ENUM = 2147483647
TERN_JOB_RUNNING = 0
TERN_JOB_DONE = 1
TERN_JOB_FAILED = 2
TERN_JOB_STATE_MAX_ENUM = 2147483647


class tern_allocator(Structure):
  _fields_ = [
    ("alloc", CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_size_t)),
    ("free", CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_size_t)),
    ("user_data", c_void_p),
  ]


class tern_log(Structure):
  _fields_ = [
    ("message", CFUNCTYPE(None, c_void_p, c_int32, c_char_p)),
    ("user_data", c_void_p),
    ("max_level", c_int32),
  ]


class tern_progress(Structure):
  _fields_ = [
    ("fn", CFUNCTYPE(c_int32, c_void_p, c_char_p, c_uint64, c_uint64)),
    ("user_data", c_void_p),
  ]


class tern_runtime_desc(Structure):
  _fields_ = [
    ("struct_size", c_uint32),
    ("n_threads", c_int32),
    ("allocator", tern_allocator),
    ("log", tern_log),
    ("budget_bytes", c_uint64),
    ("cache_path", c_char_p),
  ]


class tern_device_info(Structure):
  _fields_ = [
    ("struct_size", c_uint32),
    ("reserved", c_int32),
    ("name", c_char_p),
    ("description", c_char_p),
  ]


class tern_model_desc(Structure):
  _fields_ = [
    ("struct_size", c_uint32),
    ("reserved", c_uint32),
    ("path", c_char_p),
    ("data", c_void_p),
    ("data_size", c_uint64),
    ("dtype", c_char_p),
    ("file_name", c_char_p),
    ("progress", tern_progress),
    ("cancel", c_void_p),
  ]


class tern_io_info(Structure):
  _fields_ = [
    ("struct_size", c_uint32),
    ("dtype", c_int32),
    ("name", c_char_p),
    ("rank", c_int32),
    ("reserved", c_int32),
    ("dims", c_int64 * TERN_MAX_RANK),
  ]


class tern_session_desc(Structure):
  _fields_ = [
    ("struct_size", c_uint32),
    ("numerics", c_int32),
    ("device", c_char_p),
    ("budget_bytes", c_uint64),
    ("context_length", c_int32),
    ("n_threads", c_int32),
    ("kv_cache", c_int32),
    ("flags", c_uint32),
    ("cancel", c_void_p),
  ]


class tern_memory_plan(Structure):
  _fields_ = [
    ("struct_size", c_uint32),
    ("n_steps", c_int32),
    ("weight_bytes", c_uint64),
    ("packed_bytes", c_uint64),
    ("activation_bytes", c_uint64),
    ("kv_bytes", c_uint64),
    ("scratch_bytes", c_uint64),
    ("peak_bytes", c_uint64),
  ]


class tern_pipeline_desc(Structure):
  _fields_ = [
    ("struct_size", c_uint32),
    ("reserved", c_uint32),
    ("task", c_char_p),
    ("path", c_char_p),
    ("dtype", c_char_p),
    ("file_name", c_char_p),
    ("session", tern_session_desc),
    ("progress", tern_progress),
    ("cancel", c_void_p),
  ]


class tern_on_text(Structure):
  _fields_ = [
    ("fn", CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, c_int32)),
    ("user_data", c_void_p),
  ]


class tern_run_desc(Structure):
  _fields_ = [
    ("struct_size", c_uint32),
    ("n_texts", c_int32),
    ("texts", POINTER(c_char_p)),
    ("chat_json", c_char_p),
    ("max_new_tokens", c_int32),
    ("temperature", c_float),
    ("top_k", c_int32),
    ("top_p", c_float),
    ("min_p", c_float),
    ("repetition_penalty", c_float),
    ("seed", c_uint64),
    ("n_stop", c_int32),
    ("context_policy", c_int32),
    ("stop", POINTER(c_char_p)),
    ("ignore_eos", c_int32),
    ("return_full_text", c_int32),
    ("on_text", tern_on_text),
    ("pooling", c_int32),
    ("normalize", c_int32),
    ("cancel", c_void_p),
    ("prompt_lookup_num_tokens", c_int32),
    ("max_matching_ngram_size", c_int32),
  ]


class tern_timings(Structure):
  _fields_ = [
    ("struct_size", c_uint32),
    ("n_prompt_tokens", c_int32),
    ("n_reused_tokens", c_int32),
    ("n_new_tokens", c_int32),
    ("tokenize_ms", c_double),
    ("prefill_ms", c_double),
    ("decode_ms", c_double),
    ("first_token_ms", c_double),
    ("total_ms", c_double),
    ("n_drafted_tokens", c_int32),
    ("n_accepted_tokens", c_int32),
  ]


# name -> (result, arguments)
FUNCTIONS = {
  "tern_version": (c_uint32, []),
  "tern_status_name": (c_char_p, [c_int32]),
  "tern_status_text": (c_char_p, [c_int32]),
  "tern_last_error": (c_char_p, []),
  "tern_dtype_name": (c_char_p, [c_int32]),
  "tern_cancel_create": (c_int32, [POINTER(c_void_p)]),
  "tern_cancel_set": (None, [c_void_p]),
  "tern_cancel_reset": (None, [c_void_p]),
  "tern_cancel_destroy": (None, [c_void_p]),
  "tern_runtime_create": (c_int32, [POINTER(tern_runtime_desc), POINTER(c_void_p)]),
  "tern_runtime_destroy": (None, [c_void_p]),
  "tern_runtime_memory": (None, [c_void_p, POINTER(c_uint64), POINTER(c_uint64)]),
  "tern_runtime_n_threads": (c_int32, [c_void_p]),
  "tern_runtime_device_count": (c_int32, [c_void_p]),
  "tern_runtime_device": (c_int32, [c_void_p, c_int32, POINTER(tern_device_info)]),
  "tern_tensor_create": (c_int32, [c_void_p, c_int32, c_int32, POINTER(c_int64), POINTER(c_void_p)]),
  "tern_tensor_wrap": (c_int32, [c_void_p, c_int32, c_int32, POINTER(c_int64), c_void_p, c_size_t, POINTER(c_void_p)]),
  "tern_tensor_destroy": (None, [c_void_p]),
  "tern_tensor_dtype": (c_int32, [c_void_p]),
  "tern_tensor_rank": (c_int32, [c_void_p]),
  "tern_tensor_dims": (POINTER(c_int64), [c_void_p]),
  "tern_tensor_data": (c_void_p, [c_void_p]),
  "tern_tensor_size_bytes": (c_size_t, [c_void_p]),
  "tern_model_open": (c_int32, [c_void_p, POINTER(tern_model_desc), POINTER(c_void_p)]),
  "tern_model_close": (None, [c_void_p]),
  "tern_model_input_count": (c_int32, [c_void_p]),
  "tern_model_output_count": (c_int32, [c_void_p]),
  "tern_model_input": (c_int32, [c_void_p, c_int32, POINTER(tern_io_info)]),
  "tern_model_output": (c_int32, [c_void_p, c_int32, POINTER(tern_io_info)]),
  "tern_model_json": (c_char_p, [c_void_p]),
  "tern_model_weight_bytes": (c_uint64, [c_void_p]),
  "tern_session_create": (c_int32, [c_void_p, POINTER(tern_session_desc), POINTER(c_void_p)]),
  "tern_session_destroy": (None, [c_void_p]),
  "tern_session_input_count": (c_int32, [c_void_p]),
  "tern_session_output_count": (c_int32, [c_void_p]),
  "tern_session_input": (c_int32, [c_void_p, c_int32, POINTER(tern_io_info)]),
  "tern_session_output": (c_int32, [c_void_p, c_int32, POINTER(tern_io_info)]),
  "tern_session_plan": (c_int32, [c_void_p, c_int32, POINTER(c_char_p), POINTER(c_void_p), POINTER(tern_memory_plan)]),
  "tern_session_run": (c_int32, [c_void_p, c_int32, POINTER(c_char_p), POINTER(c_void_p), c_int32, POINTER(c_char_p), POINTER(c_void_p)]),
  "tern_session_submit": (c_int32, [c_void_p, c_int32, POINTER(c_char_p), POINTER(c_void_p)]),
  "tern_session_wait": (c_int32, [c_void_p, c_int32, POINTER(c_char_p), POINTER(c_void_p)]),
  "tern_session_cancel": (None, [c_void_p]),
  "tern_session_profile": (c_char_p, [c_void_p]),
  "tern_session_kv_length": (c_int32, [c_void_p]),
  "tern_session_kv_truncate": (c_int32, [c_void_p, c_int32]),
  "tern_tokenizer_open": (c_int32, [c_void_p, c_char_p, POINTER(c_void_p)]),
  "tern_tokenizer_close": (None, [c_void_p]),
  "tern_tokenizer_encode": (c_int32, [c_void_p, c_char_p, c_size_t, c_uint32, POINTER(c_int32), c_size_t, POINTER(c_size_t)]),
  "tern_tokenizer_decode": (c_int32, [c_void_p, POINTER(c_int32), c_size_t, c_uint32, c_char_p, c_size_t, POINTER(c_size_t)]),
  "tern_tokenizer_vocab_size": (c_int32, [c_void_p]),
  "tern_tokenizer_token": (c_char_p, [c_void_p, c_int32]),
  "tern_tokenizer_token_id": (c_int32, [c_void_p, c_char_p]),
  "tern_tokenizer_chat": (c_int32, [c_void_p, c_char_p, c_int32, c_char_p, c_size_t, POINTER(c_size_t)]),
  "tern_pipeline_open": (c_int32, [c_void_p, POINTER(tern_pipeline_desc), POINTER(c_void_p)]),
  "tern_pipeline_open_async": (c_int32, [c_void_p, POINTER(tern_pipeline_desc), POINTER(c_void_p)]),
  "tern_pipeline_close": (None, [c_void_p]),
  "tern_pipeline_tokenizer": (c_void_p, [c_void_p]),
  "tern_pipeline_model": (c_void_p, [c_void_p]),
  "tern_pipeline_memory": (c_int32, [c_void_p, POINTER(tern_memory_plan)]),
  "tern_pipeline_profile": (c_char_p, [c_void_p]),
  "tern_pipeline_run": (c_int32, [c_void_p, POINTER(tern_run_desc), POINTER(c_void_p)]),
  "tern_pipeline_run_async": (c_int32, [c_void_p, POINTER(tern_run_desc), POINTER(c_void_p)]),
  "tern_result_destroy": (None, [c_void_p]),
  "tern_result_count": (c_int32, [c_void_p]),
  "tern_result_text": (c_void_p, [c_void_p, c_int32, POINTER(c_size_t)]),
  "tern_result_tokens": (POINTER(c_int32), [c_void_p, c_int32, POINTER(c_size_t)]),
  "tern_result_finish_reason": (c_char_p, [c_void_p, c_int32]),
  "tern_result_tensor": (c_void_p, [c_void_p]),
  "tern_result_row_lengths": (POINTER(c_int32), [c_void_p, POINTER(c_size_t)]),
  "tern_result_timings": (c_int32, [c_void_p, POINTER(tern_timings)]),
  "tern_result_json": (c_char_p, [c_void_p]),
  "tern_job_poll": (c_int32, [c_void_p]),
  "tern_job_cancel": (None, [c_void_p]),
  "tern_job_wait": (c_int32, [c_void_p, c_int64]),
  "tern_job_result": (c_int32, [c_void_p, POINTER(c_void_p)]),
  "tern_job_pipeline": (c_int32, [c_void_p, POINTER(c_void_p)]),
  "tern_job_destroy": (None, [c_void_p]),
}


def declare(library):
  """Gives every function of the library its result and argument types."""
  for name, (result, arguments) in FUNCTIONS.items():
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
