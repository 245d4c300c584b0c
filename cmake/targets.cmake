# moebox_library(NAME SOURCES ... DEPS ... [PRIVATE_DEPS ...]): the static library of one folder of src/.
# moebox_test(NAME SOURCES ... DEPS ... [LABELS slow]): one GoogleTest program. Every case is one ctest test; with
# MOEBOX_TEST_SHARDS so many tests are the whole program: to start it for each case is what costs under a sanitizer or
# an emulator. GTEST_FILTER then chooses the cases.

# Folders in which no time is spent: quicker to build in the dev preset.
set(moebox_cold_folders command_line model_settings data_program cli report report_run convert hub net server spec train)

function(moebox_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(moebox_${name} STATIC ${arg_SOURCES})
  target_include_directories(moebox_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(moebox_${name} PUBLIC ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
  # GCC inlines less in a large file: the tokenizer takes 9 % more instructions as one file than as two.
  set(sources_together 16)
  if(name IN_LIST moebox_cold_folders)
    set(sources_together 32)
    if(NOT MOEBOX_SANITIZE)
      target_compile_options(moebox_${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)
    endif()
  endif()
  set_target_properties(moebox_${name} PROPERTIES UNITY_BUILD ${MOEBOX_UNITY} UNITY_BUILD_BATCH_SIZE ${sources_together})
endfunction()

function(moebox_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(test_${name} ${arg_SOURCES})
  target_link_libraries(test_${name} PRIVATE ${arg_DEPS} GTest::gtest_main)
  target_compile_definitions(test_${name} PRIVATE MOEBOX_TEST_DIR="${PROJECT_SOURCE_DIR}/tests"
                             MOEBOX_MODEL_DIR="${MOEBOX_MODEL_DIR}")
  target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  if(NOT MOEBOX_SANITIZE)
    target_compile_options(test_${name} PRIVATE -O1)  # quicker to build; what is tested is optimised
  endif()
  # Coverage is counted, and followed by libFuzzer, in src/ alone.
  get_target_property(options test_${name} COMPILE_OPTIONS)
  list(FILTER options EXCLUDE REGEX "^-(fsanitize-coverage=|fprofile-instr-generate|fcoverage-mapping)")
  set_property(TARGET test_${name} PROPERTY COMPILE_OPTIONS ${options})
  if(MOEBOX_SANITIZE OR CMAKE_CROSSCOMPILING)
    target_compile_definitions(test_${name} PRIVATE MOEBOX_SLOW_MACHINE)  # instrumented or emulated: see tests/speed.h
  endif()
  set_target_properties(test_${name} PROPERTIES UNITY_BUILD ${MOEBOX_UNITY} UNITY_BUILD_BATCH_SIZE 32)
  if(MOEBOX_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    moebox_share_headers(test_${name})
  endif()
  set(properties TIMEOUT 600)
  if(arg_LABELS)
    list(APPEND properties LABELS "${arg_LABELS}")
  endif()
  if(MOEBOX_TEST_SHARDS)
    moebox_test_shards(${name} ${properties})
  else()
    gtest_discover_tests(test_${name} TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60 PROPERTIES ${properties})
  endif()
endfunction()

# moebox_share_headers(PROGRAM): compiles once what nearly every test includes. Clang needs a quarter to a half of a test
# program's time for these headers, GCC a tenth.
function(moebox_share_headers program)
  get_property(owner GLOBAL PROPERTY moebox_owner_of_test_headers)
  if(owner)
    target_precompile_headers(${program} REUSE_FROM ${owner})
  else()
    target_precompile_headers(${program} PRIVATE <gtest/gtest.h> <nlohmann/json.hpp> <algorithm> <filesystem> <fstream>
                              <functional> <map> <memory> <string> <thread> <vector>)
    set_property(GLOBAL PROPERTY moebox_owner_of_test_headers ${program})
  endif()
endfunction()

# moebox_test_shards(NAME PROPERTY VALUE ...): the tests NAME.1 to NAME.<MOEBOX_TEST_SHARDS>; what each of their cases
# did is in test_cases/NAME.<n>.xml (scripts/count_tests.py).
function(moebox_test_shards name)
  foreach(shard RANGE 1 ${MOEBOX_TEST_SHARDS})
    math(EXPR index "${shard} - 1")
    add_test(NAME ${name}.${shard} COMMAND test_${name})
    set_tests_properties(${name}.${shard} PROPERTIES ${ARGN} ENVIRONMENT
      "GTEST_TOTAL_SHARDS=${MOEBOX_TEST_SHARDS};GTEST_SHARD_INDEX=${index};GTEST_BRIEF=1;GTEST_OUTPUT=xml:${PROJECT_BINARY_DIR}/test_cases/${name}.${shard}.xml")
  endforeach()
endfunction()
