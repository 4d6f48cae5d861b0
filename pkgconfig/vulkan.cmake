# The Vulkan backend. volk comes as source (volk.h, volk.c) and is compiled as part of tern; the loader is opened
# at run time, so nothing is linked. Sets TERN_WITH_VULKAN, TERN_VULKAN_INCLUDES, and adds to TERN_SOURCES.
set(TERN_WITH_VULKAN FALSE)
if((TERN_VULKAN STREQUAL "AUTO" OR TERN_VULKAN) AND NOT TERN_WASM)
  set(where "")
  if(CMAKE_CROSSCOMPILING) # the building machine's /usr/include must not be searched for another one
    set(where ONLY_CMAKE_FIND_ROOT_PATH)
  endif()
  find_path(VOLK_INCLUDE_DIR NAMES volk.h PATH_SUFFIXES volk ${where})
  find_path(VULKAN_INCLUDE_DIR vulkan/vulkan.h ${where})
  if(VOLK_INCLUDE_DIR AND VULKAN_INCLUDE_DIR AND EXISTS ${VOLK_INCLUDE_DIR}/volk.c)
    set(TERN_WITH_VULKAN TRUE)
  elseif(NOT TERN_VULKAN STREQUAL "AUTO")
    message(FATAL_ERROR "TERN_VULKAN is ON, but volk.h and volk.c, or vulkan/vulkan.h, were not found: install "
                        "libvulkan-dev and libvulkan-volk-dev, or set VOLK_INCLUDE_DIR and VULKAN_INCLUDE_DIR")
  endif()
endif()

if(TERN_WITH_VULKAN)
  # volk's globals are called like Vulkan's functions. In a static library they would be taken for those by a program
  # that links the loader, and collide with a program's own volk: they get our prefix.
  file(STRINGS ${VOLK_INCLUDE_DIR}/volk.h globals REGEX "^extern PFN_vk[A-Za-z0-9_]+ vk[A-Za-z0-9_]+;")
  file(STRINGS ${VOLK_INCLUDE_DIR}/volk.h functions REGEX "[ *]volk[A-Za-z0-9_]+\\(")
  set(names "/* Made by CMake from volk.h. */\n")
  foreach(line IN LISTS globals)
    string(REGEX REPLACE "^extern PFN_vk[A-Za-z0-9_]+ (vk[A-Za-z0-9_]+).*" "\\1" name "${line}")
    string(APPEND names "#define ${name} tern__${name}\n")
  endforeach()
  foreach(line IN LISTS functions)
    if(line MATCHES "^[A-Za-z].*[ *](volk[A-Za-z0-9_]+)\\(")
      string(APPEND names "#define ${CMAKE_MATCH_1} tern__${CMAKE_MATCH_1}\n")
    endif()
  endforeach()
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/vulkan/vk_volk_names.h CONTENT "${names}" @ONLY)
  set(TERN_VULKAN_INCLUDES ${CMAKE_BINARY_DIR}/vulkan ${VOLK_INCLUDE_DIR} ${VULKAN_INCLUDE_DIR})
  file(GLOB vulkan_sources CONFIGURE_DEPENDS backends/vulkan/*.c backends/gpu/*.c backends/gpu/ops/*.c
       backends/kernels/generated/kernel_spirv.c)
  list(APPEND TERN_SOURCES ${vulkan_sources})
endif()
message(STATUS "Vulkan backend: ${TERN_WITH_VULKAN}")
