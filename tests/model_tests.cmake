# Tests that need models, oracles or tools beyond a C compiler. Each prints why when it is skipped (exit code 77).
set(TERN_PYTHON ${TERN_MODEL_CACHE}/venv/bin/python)
if(NOT EXISTS ${TERN_PYTHON})
  set(TERN_PYTHON ${Python3_EXECUTABLE})
endif()
function(tern_script_test name script)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${script})
    add_test(NAME ${name} COMMAND ${TERN_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800
      ENVIRONMENT "TERN_BINARY_DIR=${CMAKE_BINARY_DIR};TERN_LIBRARY=${CMAKE_BINARY_DIR}/lib/libtern.so;TERN_COMMAND=${CMAKE_BINARY_DIR}/bin/tern;TERN_MODEL_CACHE=${TERN_MODEL_CACHE};PYTHONPATH=${CMAKE_SOURCE_DIR}/bindings/python")
  endif()
endfunction()
