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
                 --only smollm2-onnx-q8 --only smollm2-onnx-q4 --only smollm2-onnx-plain --require)
tern_script_test(parity_q8_arithmetic models/test_q8_arithmetic.py)
tern_script_test(parity_embeddings models/test_parity.py --only minilm --require)
tern_script_test(parity_judge models/test_judge.py)
add_test(NAME python_package COMMAND ${TERN_PYTHON} -m pytest -q ${CMAKE_CURRENT_SOURCE_DIR}/bindings
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(python_package PROPERTIES TIMEOUT 1800 ENVIRONMENT
  "TERN_LIBRARY=${CMAKE_BINARY_DIR}/lib/libtern.so;TERN_COMMAND=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE};PYTHONDONTWRITEBYTECODE=1")
