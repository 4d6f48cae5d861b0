# Tests that need models, oracles or tools beyond a C compiler. Each prints why when it is skipped (exit code 77).
set(TERN_PYTHON ${TERN_MODEL_CACHE}/venv/bin/python)
if(NOT EXISTS ${TERN_PYTHON})
  set(TERN_PYTHON ${Python3_EXECUTABLE})
endif()
function(tern_script_test name script)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${script})
    add_test(NAME ${name} COMMAND ${TERN_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800
      ENVIRONMENT "TERN_BINARY_DIR=${CMAKE_BINARY_DIR};TERN_LIBRARY=${CMAKE_BINARY_DIR}/lib/libtern.so;TERN=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE};PYTHONPATH=${CMAKE_SOURCE_DIR}/bindings/python")
  endif()
endfunction()

# Tools that the scripts drive.
tern_test_program(tokenize_lines ${CMAKE_CURRENT_SOURCE_DIR}/conformance/tokenizer/tokenize_lines.c)

# llama.cpp's own tokens, where tests/models/build_llama_cpp.sh has built it.
set(TERN_LLAMA ${TERN_MODEL_CACHE}/peers/llama.cpp)
file(GLOB TERN_LLAMA_SOURCE ${TERN_LLAMA}/llama_cpp_python-*/vendor/llama.cpp)
set(llama_option "")
if(TERN_LLAMA_SOURCE AND EXISTS ${TERN_LLAMA}/bin/libllama.so AND NOT CMAKE_CROSSCOMPILING)
  add_executable(llama_lines conformance/tokenizer/llama_lines.c)
  target_include_directories(llama_lines PRIVATE ${TERN_LLAMA_SOURCE}/include ${TERN_LLAMA_SOURCE}/ggml/include)
  target_link_libraries(llama_lines PRIVATE ${TERN_LLAMA}/bin/libllama.so)
  target_link_options(llama_lines PRIVATE -Wl,-rpath,${TERN_LLAMA}/bin)
  set_target_properties(llama_lines PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  set(llama_option --llama $<TARGET_FILE:llama_lines>)
endif()

tern_script_test(tokenizers_equal_oracles conformance/tokenizer/compare_tokenizers.py --tool $<TARGET_FILE:tokenize_lines>
                 ${llama_option})
tern_script_test(parity_greedy_gguf models/test_parity.py --only smollm2-gguf --only gemma3-gguf --require)
tern_script_test(parity_greedy_onnx models/test_parity.py --only smollm2-onnx --require)
tern_script_test(parity_embeddings models/test_parity.py --only minilm --require)
tern_script_test(parity_judge models/test_judge.py)
add_test(NAME python_package COMMAND ${TERN_PYTHON} -m pytest -q ${CMAKE_CURRENT_SOURCE_DIR}/bindings
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(python_package PROPERTIES TIMEOUT 1800 ENVIRONMENT
  "TERN_LIBRARY=${CMAKE_BINARY_DIR}/lib/libtern.so;TERN_COMMAND=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE};PYTHONDONTWRITEBYTECODE=1")
