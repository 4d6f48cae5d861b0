# What the sanitizers' builds (TERN_SANITIZE) test beyond the others, and which tests are worth the thread sanitizer's time.
# Included last: labels need their tests.

# A sanitizer that finds nothing must be one that would find something.
set(TERN_PROBES "")
if(TERN_SANITIZE MATCHES "thread")
  set(TERN_PROBES race)
  set(TERN_PROBE_race "data race.*Failing: 1")
endif()
if(TERN_SANITIZE MATCHES "address")
  list(APPEND TERN_PROBES over-read leak)
  set(TERN_PROBE_over-read "heap-buffer-overflow.*Failing: 1")
  set(TERN_PROBE_leak "40 byte.s. leaked.*Failing: 1") # 24 and the allocator's header
endif()
if(TERN_SANITIZE MATCHES "undefined")
  list(APPEND TERN_PROBES overflow)
  set(TERN_PROBE_overflow "signed integer overflow.*Failing: 1")
endif()
if(TERN_PROBES)
  tern_test_program(sanitizer_probe sanitize/sanitizer_probe.c)
  target_link_libraries(sanitizer_probe PRIVATE tern_criterion)
  foreach(probe IN LISTS TERN_PROBES)
    add_test(NAME sanitizer_finds_${probe} COMMAND sanitizer_probe)
    set_tests_properties(sanitizer_finds_${probe} PROPERTIES ENVIRONMENT "TERN_PROBE=${probe}"
                         PASS_REGULAR_EXPRESSION "${TERN_PROBE_${probe}}" LABELS threads)
  endforeach()
endif()

# ctest -L threads: eight threads on one model, several sessions and pipelines at once, jobs and cancelling from another
# thread, kernels and weights that the pool computes and packs together, a GPU device that several threads use. The other
# tests have one thread, or add nothing to these but time.
set(TERN_THREADED test_thread_pool test_threads test_cancel test_cpu_ops test_cpu_helping test_run_ahead test_pack_cache
    test_text_generation test_feature_extraction test_oom_pipeline test_device_fallback test_both_devices)
foreach(driver lavapipe swiftshader)
  list(APPEND TERN_THREADED test_vk_device.${driver} test_vk_commands.${driver} test_vk_memory.${driver})
endforeach()
list(APPEND TERN_THREADED test_gpu_ops.lavapipe) # SwiftShader compiles these for more than ten minutes there
foreach(name IN LISTS TERN_THREADED)
  if(TEST ${name})
    set_property(TEST ${name} APPEND PROPERTY LABELS threads)
  elseif(NOT name MATCHES "vk|gpu|both_devices" OR TERN_WITH_VULKAN)
    message(FATAL_ERROR "tests/sanitize/sanitize.cmake: there is no test '${name}'")
  endif()
endforeach()

# They are slow, and two at a time may have to share a core with others.
if(TERN_SANITIZE)
  get_property(names DIRECTORY PROPERTY TESTS)
  set_tests_properties(${names} PROPERTIES TIMEOUT 3600)
endif()
