# Tests that need models, oracles or tools beyond a C compiler. Each prints why when it is skipped (exit code 77).

# Under sanitizers, everything takes some times as long, and what a longer comparison of tokens adds is no memory error:
# the same programs on the first prompts. They say so.
set(TERN_PROMPTS "")
set(TERN_LINES "")
if(TERN_SANITIZE)
  set(TERN_PROMPTS --prompts 4)
  set(TERN_LINES --lines 2000)
endif()

# Where Python loads the library: a sanitizer's own must be there first. Python has leaks by the thousand; those of the
# library are looked for in the C tests and in the command's. The thread sanitizer can't be loaded into Python.
set(TERN_IN_PYTHON "")
if(TERN_SANITIZE MATCHES "address")
  foreach(library asan stdc++)
    execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=lib${library}.so OUTPUT_VARIABLE file
                    OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT IS_ABSOLUTE "${file}")
      message(FATAL_ERROR "${CMAKE_C_COMPILER} has no lib${library}.so to load into Python: build the sanitizers by gcc")
    endif()
    list(APPEND TERN_PRELOAD ${file})
  endforeach()
  list(JOIN TERN_PRELOAD ":" TERN_PRELOAD)
  set(TERN_IN_PYTHON "LD_PRELOAD=${TERN_PRELOAD}" "ASAN_OPTIONS=detect_leaks=0")
endif()

# A script that drives programs; tern_python_test: one that loads the library.
function(tern_script_test name script)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${script})
    add_test(NAME ${name} COMMAND ${TERN_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800
      ENVIRONMENT "TERN_BINARY_DIR=${CMAKE_BINARY_DIR};TERN_LIBRARY=${CMAKE_BINARY_DIR}/lib/libtern.so;TERN=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE};PYTHONPATH=${CMAKE_SOURCE_DIR}/bindings/python")
  endif()
endfunction()
function(tern_python_test name)
  if(TERN_SANITIZE MATCHES "thread")
    message(STATUS "${name} is left out: Python can't load a library with the thread sanitizer")
    return()
  endif()
  tern_script_test(${name} ${ARGN})
  set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT ${TERN_IN_PYTHON})
endfunction()

# Tools that the scripts drive.
tern_test_program(tokenize_lines ${CMAKE_CURRENT_SOURCE_DIR}/conformance/tokenizer/tokenize_lines.c)

tern_script_test(tokenizers_equal_oracles conformance/tokenizer/compare_tokenizers.py --tool $<TARGET_FILE:tokenize_lines>
                 ${TERN_LINES})
tern_script_test(parity_greedy_gguf models/test_parity.py --only smollm2-gguf --only gemma3-gguf --require
                 ${TERN_PROMPTS})
tern_script_test(parity_greedy_onnx models/test_parity.py --only smollm2-onnx-fp32 --only smollm2-onnx-fp16
                 --only smollm2-onnx-q8 --only smollm2-onnx-q4 --only smollm2-onnx-q4f16 --only smollm2-onnx-plain
                 --require ${TERN_PROMPTS})
# Every model that has golden/logits_*.json; what is committed there is enough (teacher_forced.py).
tern_python_test(parity_logits models/test_parity.py --logits --require)
# Each quantization of a run of the q8 file, held to the operators' definitions: its greedy tokens, above, say less, for
# right computations of that file differ by whole logits (docs/numerics.md).
tern_python_test(parity_q8_arithmetic models/test_q8_arithmetic.py ${TERN_PROMPTS})
tern_python_test(prompt_lookup_models models/test_prompt_lookup_models.py)
tern_script_test(parity_embeddings models/test_parity.py --only minilm --require)
tern_script_test(parity_judge models/test_judge.py)
tern_script_test(bench_tools bench/test_bench_tools.py)
if(TARGET bench_cpu_instructions) # that it counts; the table is for docs/performance.md
  tern_script_test(bench_instructions bench/count_instructions.py --native $<TARGET_FILE:bench_cpu_instructions>
                   --only "int8 per channel matvec")
endif()
if(NOT TERN_SANITIZE) # they hold memory of their own
  tern_python_test(resources models/test_resources.py)
endif()
# pytest; what a sanitizer prints before it ends the process must not be kept for the end: --capture=sys.
tern_script_test(command_line bindings/run.py command --capture=sys)
tern_python_test(python_package bindings/run.py python --capture=sys)
foreach(name command_line python_package)
  if(TEST ${name})
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT "TERN_COMMAND=${CMAKE_BINARY_DIR}/bin/tern")
  endif()
endforeach()

# The browser build, under node and in Chromium (bindings/web/build.sh, npm ci in tests/web); 77 where one is missing.
find_program(TERN_NODE node)
if(TERN_NODE AND NOT TERN_SANITIZE) # of the browser build's own compiler: no sanitizer of this build sees them
  foreach(name engine browser webgpu sample)
    add_test(NAME web_${name} COMMAND ${TERN_NODE} ${CMAKE_CURRENT_SOURCE_DIR}/web/test_${name}.mjs)
    set_tests_properties(web_${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800 RUN_SERIAL TRUE ENVIRONMENT
      "TERN=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE}")
  endforeach()
endif()
if(TERN_SANITIZE)
  message(STATUS "devices_agree is left out: hours under a sanitizer; the op cases run every kernel that it does")
elseif(TERN_WITH_VULKAN)
  add_test(NAME devices_agree COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/vulkan/with_driver.sh both ${TERN_PYTHON}
           ${CMAKE_CURRENT_SOURCE_DIR}/models/test_devices.py WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(devices_agree PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 3600
    ENVIRONMENT "TERN=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE}")
endif()
