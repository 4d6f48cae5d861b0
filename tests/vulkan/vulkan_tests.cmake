# Vulkan's tests: every tests/vulkan/test_vk_*.c runs on each driver that needs no GPU, under the validation
# layer.
if(NOT TERN_WITH_VULKAN)
  return()
endif()
set(TERN_VULKAN_WRAPPER ${CMAKE_CURRENT_SOURCE_DIR}/vulkan/with_driver.sh)
# SwiftShader takes minutes for what is the host's business on either driver: there, what it computes and refuses.
set(TERN_FILTER_test_vk_ahead.swiftshader --filter "vk_ahead/@(submits|generation|failing)")
set(TERN_FILTER_test_vk_decode.swiftshader --filter "vk_decode/@(step_of_software|fast_step_of_hardware)")
set(TERN_FILTER_test_vk_prepare.swiftshader --filter "vk_prepare/@(shared_memory|card|a_call_fails|the_budget_ends)")
set(TERN_FILTER_test_vk_sessions.swiftshader --filter
    "vk_sessions/@(lost_at_a_submit|no_memory|plain_session|ids*|session*|large_outputs|lost_before*)")
file(GLOB TERN_VULKAN_TESTS CONFIGURE_DEPENDS vulkan/test_vk_*.c ops/test_gpu_*.c)
foreach(source IN LISTS TERN_VULKAN_TESTS)
  get_filename_component(name ${source} NAME_WE)
  tern_test_program(${name} ${source})
  target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/vulkan)
  target_link_libraries(${name} PRIVATE tern_criterion)
  foreach(driver lavapipe swiftshader)
    add_test(NAME ${name}.${driver}
             COMMAND ${TERN_VULKAN_WRAPPER} --validate ${driver} $<TARGET_FILE:${name}> --jobs 1
                     ${TERN_FILTER_${name}.${driver}}
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name}.${driver} PROPERTIES TIMEOUT 1200 SKIP_RETURN_CODE 77)
  endforeach()
endforeach()

# Kernels that wait for each other, which the layer cannot follow (validated.h).
foreach(driver lavapipe swiftshader)
  add_test(NAME chains.${driver} COMMAND ${TERN_VULKAN_WRAPPER} ${driver} $<TARGET_FILE:test_gpu_ops> --jobs 1
           --filter "consistent/@(chains*|rotated*)" WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  add_test(NAME chains_check.${driver} COMMAND ${TERN_VULKAN_WRAPPER} ${driver} $<TARGET_FILE:test_vk_check> --jobs 1
           --filter "vk_check/chains*" WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(chains.${driver} chains_check.${driver} PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77)
endforeach()
add_test(NAME chains_ahead COMMAND ${TERN_VULKAN_WRAPPER} lavapipe $<TARGET_FILE:test_vk_ahead> --jobs 1
         --filter "vk_ahead/beyond*" WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(chains_ahead PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77)

# What every processor's CPU is held to (unit/test_consistent_numerics.c), on the drivers.
add_test(NAME consistent_numerics_on_drivers
         COMMAND ${TERN_VULKAN_WRAPPER} both $<TARGET_FILE:test_consistent_numerics> --jobs 1
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(consistent_numerics_on_drivers PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77
                     ENVIRONMENT "TERN_TEST_DEVICES=vulkan:llvmpipe,vulkan:SwiftShader")

tern_test_program(test_both_devices vulkan/test_both_devices.c)
target_include_directories(test_both_devices PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/vulkan)
target_link_libraries(test_both_devices PRIVATE tern_criterion)
add_test(NAME test_both_devices
         COMMAND ${TERN_VULKAN_WRAPPER} --validate both $<TARGET_FILE:test_both_devices> --jobs 1)
set_tests_properties(test_both_devices PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77)

# The layer does find what it is there for.
tern_test_program(hazard_vk vulkan/hazard_vk.c)
target_include_directories(hazard_vk PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/vulkan)
target_link_libraries(hazard_vk PRIVATE tern_criterion)
set(TERN_HAZARD_read "SYNC-HAZARD-READ.AFTER.WRITE")
set(TERN_HAZARD_leak "VUID-vkDestroyDevice-device-00378")
foreach(hazard read leak)
  add_test(NAME validation_finds_${hazard}
           COMMAND ${TERN_VULKAN_WRAPPER} --validate lavapipe $<TARGET_FILE:hazard_vk> ${hazard})
  set_tests_properties(validation_finds_${hazard} PROPERTIES PASS_REGULAR_EXPRESSION "${TERN_HAZARD_${hazard}}"
                       SKIP_REGULAR_EXPRESSION "^skipped:")
endforeach()

tern_test_program(bench_vk bench/bench_vk.c)
