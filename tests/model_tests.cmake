# Tests that need models, oracles or tools beyond a C compiler. Each prints why when it is skipped (exit code 77).
function(tern_script_test name script)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${script})
    add_test(NAME ${name} COMMAND ${TERN_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800
      ENVIRONMENT "TERN_BINARY_DIR=${CMAKE_BINARY_DIR};TERN_LIBRARY=${CMAKE_BINARY_DIR}/lib/libtern.so;TERN=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE};PYTHONPATH=${CMAKE_SOURCE_DIR}/bindings/python")
  endif()
endfunction()

# Tools that the scripts drive.
tern_test_program(tokenize_lines ${CMAKE_CURRENT_SOURCE_DIR}/conformance/tokenizer/tokenize_lines.c)

tern_script_test(tokenizers_equal_oracles conformance/tokenizer/compare_tokenizers.py --tool $<TARGET_FILE:tokenize_lines>)
tern_script_test(parity_greedy_gguf models/test_parity.py --only smollm2-gguf --only gemma3-gguf --require)
tern_script_test(parity_greedy_onnx models/test_parity.py --only smollm2-onnx-fp32 --only smollm2-onnx-fp16
                 --only smollm2-onnx-q4 --only smollm2-onnx-q4f16 --only smollm2-onnx-plain --require)
# Every model that has golden/logits_*.json; what is committed there is enough (teacher_forced.py).
tern_script_test(parity_logits models/test_parity.py --logits --require)
# Each quantization of a run of the q8 file, held to the operators' definitions. Its greedy tokens are not among those
# above: right computations of that file differ by whole logits (docs/numerics.md).
tern_script_test(parity_q8_arithmetic models/test_q8_arithmetic.py)
tern_script_test(parity_embeddings models/test_parity.py --only minilm --require)
tern_script_test(parity_judge models/test_judge.py)
add_test(NAME python_package COMMAND ${TERN_PYTHON} -m pytest -q ${CMAKE_CURRENT_SOURCE_DIR}/bindings
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(python_package PROPERTIES TIMEOUT 1800 ENVIRONMENT
  "TERN_LIBRARY=${CMAKE_BINARY_DIR}/lib/libtern.so;TERN_COMMAND=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE};PYTHONDONTWRITEBYTECODE=1")

# The browser build, under node and in Chromium (bindings/web/build.sh, npm ci in tests/web); 77 where one is missing.
find_program(TERN_NODE node)
if(TERN_NODE)
  foreach(name engine browser sample)
    add_test(NAME web_${name} COMMAND ${TERN_NODE} ${CMAKE_CURRENT_SOURCE_DIR}/web/test_${name}.mjs)
    set_tests_properties(web_${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 RUN_SERIAL TRUE ENVIRONMENT
      "TERN=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE}")
  endforeach()
endif()
if(TERN_WITH_VULKAN)
  add_test(NAME devices_agree COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/vulkan/with_driver.sh both ${TERN_PYTHON}
           ${CMAKE_CURRENT_SOURCE_DIR}/models/test_devices.py WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(devices_agree PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800
    ENVIRONMENT "TERN=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE}")
endif()
