# cJSON, PCRE2 and utf8proc: the system's packages by pkg-config, or, for cross builds, source trees named by
# TERN_CJSON_SOURCE_DIR, TERN_PCRE2_SOURCE_DIR and TERN_UTF8PROC_SOURCE_DIR. stb_ds is a header: TERN_STB_SOURCE_DIR names
# the folder that holds stb_ds.h (or stb/stb_ds.h). What is built from source becomes part of libtern itself.
#
# Sets TERN_DEPENDENCIES (targets to link) and TERN_DEPENDENCY_OBJECTS (objects to add), STB_INCLUDE_DIR.
set(TERN_CJSON_SOURCE_DIR "" CACHE PATH "cJSON's source tree (cJSON.c); empty = the system's library")
set(TERN_PCRE2_SOURCE_DIR "" CACHE PATH "PCRE2's source tree (src/pcre2.h.generic); empty = the system's library")
set(TERN_UTF8PROC_SOURCE_DIR "" CACHE PATH "utf8proc's source tree (utf8proc.c); empty = the system's library")
set(TERN_STB_SOURCE_DIR "" CACHE PATH "Folder of stb_ds.h; empty = the system's header")

set(TERN_DEPENDENCIES "")
set(TERN_DEPENDENCY_OBJECTS "")
set(TERN_DEPENDENCY_INCLUDES "")
set(tern_trees ${CMAKE_BINARY_DIR}/dependencies)

function(tern_need_file folder file what)
  if(NOT EXISTS ${folder}/${file})
    message(FATAL_ERROR "${what}: '${folder}' has no ${file}")
  endif()
endfunction()

# name, pkg-config module; an imported target of the system's library.
macro(tern_system_dependency name module)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${module})
  list(APPEND TERN_DEPENDENCIES PkgConfig::${name})
endmacro()

macro(tern_source_dependency name include)
  add_library(tern_${name} OBJECT ${ARGN})
  target_include_directories(tern_${name} PRIVATE ${include})
  list(APPEND TERN_DEPENDENCY_OBJECTS $<TARGET_OBJECTS:tern_${name}>)
  list(APPEND TERN_DEPENDENCY_INCLUDES ${include})
endmacro()

if(TERN_CJSON_SOURCE_DIR)
  tern_need_file(${TERN_CJSON_SOURCE_DIR} cJSON.c TERN_CJSON_SOURCE_DIR)
  configure_file(${TERN_CJSON_SOURCE_DIR}/cJSON.h ${tern_trees}/cjson/cJSON.h COPYONLY)
  tern_source_dependency(cjson ${tern_trees} ${TERN_CJSON_SOURCE_DIR}/cJSON.c)
  target_compile_definitions(tern_cjson PRIVATE CJSON_HIDE_SYMBOLS)
else()
  tern_system_dependency(CJSON libcjson)
endif()

if(TERN_PCRE2_SOURCE_DIR)
  tern_need_file(${TERN_PCRE2_SOURCE_DIR} src/pcre2.h.generic TERN_PCRE2_SOURCE_DIR)
  set(pcre2 ${TERN_PCRE2_SOURCE_DIR}/src)
  configure_file(${pcre2}/pcre2.h.generic ${tern_trees}/pcre2/pcre2.h COPYONLY)
  configure_file(${pcre2}/pcre2_chartables.c.dist ${tern_trees}/pcre2/pcre2_chartables.c COPYONLY)
  set(sources ${tern_trees}/pcre2/pcre2_chartables.c)
  foreach(part auto_possess chkdint compile config context convert dfa_match error extuni find_bracket maketables match
               match_data newline ord2utf pattern_info script_run serialize string_utils study substitute substring
               tables ucd valid_utf xclass)
    if(EXISTS ${pcre2}/pcre2_${part}.c)
      list(APPEND sources ${pcre2}/pcre2_${part}.c)
    endif()
  endforeach()
  tern_source_dependency(pcre2 ${tern_trees}/pcre2 ${sources})
  target_include_directories(tern_pcre2 PRIVATE ${pcre2})
  # What its configure script would write; the limits are its defaults.
  target_compile_definitions(tern_pcre2 PRIVATE PCRE2_CODE_UNIT_WIDTH=8 SUPPORT_PCRE2_8 SUPPORT_UNICODE PCRE2_STATIC
    HAVE_MEMMOVE HAVE_STDINT_H HAVE_INTTYPES_H HAVE_STDLIB_H HAVE_STRING_H LINK_SIZE=2 HEAP_LIMIT=20000000
    MATCH_LIMIT=10000000 MATCH_LIMIT_DEPTH=MATCH_LIMIT MAX_NAME_COUNT=10000 MAX_NAME_SIZE=32 MAX_VARLOOKBEHIND=255
    NEWLINE_DEFAULT=2 PARENS_NEST_LIMIT=250)
else()
  tern_system_dependency(PCRE2 libpcre2-8)
endif()

if(TERN_UTF8PROC_SOURCE_DIR)
  tern_need_file(${TERN_UTF8PROC_SOURCE_DIR} utf8proc.c TERN_UTF8PROC_SOURCE_DIR)
  tern_source_dependency(utf8proc ${TERN_UTF8PROC_SOURCE_DIR} ${TERN_UTF8PROC_SOURCE_DIR}/utf8proc.c)
  target_compile_definitions(tern_utf8proc PRIVATE UTF8PROC_STATIC)
else()
  tern_system_dependency(UTF8PROC libutf8proc)
endif()

if(TERN_STB_SOURCE_DIR)
  tern_need_file(${TERN_STB_SOURCE_DIR} stb_ds.h TERN_STB_SOURCE_DIR)
  configure_file(${TERN_STB_SOURCE_DIR}/stb_ds.h ${tern_trees}/stb/stb_ds.h COPYONLY)
  set(STB_INCLUDE_DIR ${tern_trees})
else()
  find_path(STB_INCLUDE_DIR stb/stb_ds.h REQUIRED)
endif()
