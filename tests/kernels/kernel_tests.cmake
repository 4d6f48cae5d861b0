# Tests of backends/kernels/generated: the SPIR-V modules as validators and SPIRV-Cross see them.
add_test(NAME kernel_spirv_valid
         COMMAND ${TERN_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/kernels/check_spirv.py ${CMAKE_SOURCE_DIR})
set_tests_properties(kernel_spirv_valid PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77)

pkg_check_modules(SPIRV_CROSS IMPORTED_TARGET spirv-cross-c-shared)
if(TERN_WITH_VULKAN AND SPIRV_CROSS_FOUND)
  tern_test_program(test_kernel_reflection kernels/test_kernel_reflection.c)
  target_link_libraries(test_kernel_reflection PRIVATE tern_criterion PkgConfig::SPIRV_CROSS)
  add_test(NAME test_kernel_reflection COMMAND test_kernel_reflection --jobs 2 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(test_kernel_reflection PROPERTIES TIMEOUT 300)
else()
  message(STATUS "test_kernel_reflection is left out: it needs libspirv-cross-c-shared-dev and the Vulkan backend")
endif()
