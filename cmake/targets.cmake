# moebox_library(NAME SOURCES ... DEPS ... [PRIVATE_DEPS ...]): the static library of one folder of src/.
# moebox_test(NAME SOURCES ... DEPS ... [LABELS slow]): one GoogleTest program; every case is one ctest test.

# Folders in which no time is spent: quicker to build in the dev preset.
set(moebox_cold_folders cli convert hub net server spec)

function(moebox_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(moebox_${name} STATIC ${arg_SOURCES})
  target_include_directories(moebox_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(moebox_${name} PUBLIC ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
  if(name IN_LIST moebox_cold_folders AND NOT MOEBOX_SANITIZE)
    target_compile_options(moebox_${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)
  endif()
  set_target_properties(moebox_${name} PROPERTIES UNITY_BUILD ${MOEBOX_UNITY} UNITY_BUILD_BATCH_SIZE 16)
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
  set_target_properties(test_${name} PROPERTIES UNITY_BUILD ${MOEBOX_UNITY} UNITY_BUILD_BATCH_SIZE 16)
  set(properties TIMEOUT 600)
  if(arg_LABELS)
    list(APPEND properties LABELS "${arg_LABELS}")
  endif()
  gtest_discover_tests(test_${name} TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60 PROPERTIES ${properties})
endfunction()
