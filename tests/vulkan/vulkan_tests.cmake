# Vulkan's tests: every tests/vulkan/test_vk_*.c runs on each driver that needs no GPU, under the validation layer.
if(NOT TERN_WITH_VULKAN)
  return()
endif()
file(GLOB TERN_VULKAN_TESTS CONFIGURE_DEPENDS vulkan/test_vk_*.c ops/test_gpu_*.c)
foreach(source IN LISTS TERN_VULKAN_TESTS)
  get_filename_component(name ${source} NAME_WE)
  tern_test_program(${name} ${source})
  target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/vulkan)
  target_link_libraries(${name} PRIVATE tern_criterion)
  foreach(driver lavapipe swiftshader)
    add_test(NAME ${name}.${driver}
             COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/vulkan/with_driver.sh --validate ${driver} $<TARGET_FILE:${name}> --jobs 1
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name}.${driver} PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77)
  endforeach()
endforeach()
