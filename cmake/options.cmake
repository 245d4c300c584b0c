# Compiler flags that hold for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# Line numbers are what a backtrace needs; full debug information doubles the time to build.
if(NOT DEFINED CACHE{CMAKE_CXX_FLAGS_RELWITHDEBINFO} OR CMAKE_CXX_FLAGS_RELWITHDEBINFO STREQUAL "-O2 -g -DNDEBUG")
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
endif()
# Speed is made in src/kernels, which asks for -O3 itself.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

# Contraction of a*b+c into fma would let the compiler decide the bits of a result: docs/determinism.md. Warnings stop
# whoever develops; who builds the program alone has another compiler, maybe, with other false alarms.
add_compile_options(-Wall -Wextra $<$<BOOL:${MOEBOX_TESTS}>:-Werror> -ffp-contract=off -fno-strict-aliasing -ffunction-sections -fdata-sections)
add_link_options(-Wl,--gc-sections)
# GCC 12 warns of overlapping copies inside std::string where there are none (GCC bug 105651), and at -Os of an empty
# std::optional's value.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  add_compile_options(-Wno-restrict $<$<CONFIG:MinSizeRel>:-Wno-maybe-uninitialized>)
endif()

# libstdc++ 12's own std::stable_sort calls what it deprecates. Sanitized programs are large: GNU's linker takes ten
# seconds for some.
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_compile_options(-Wno-deprecated-declarations)
  find_program(LLD NAMES ld.lld-19 ld.lld)
  if(LLD)
    add_link_options(-fuse-ld=lld)
  endif()
endif()
# A type of a source's own is then in a file that includes that source: GCC takes it for a header's.
if(MOEBOX_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-subobject-linkage)
endif()

if(MOEBOX_SANITIZE)
  add_compile_options(-fsanitize=${MOEBOX_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${MOEBOX_SANITIZE})
endif()
if(MOEBOX_FUZZ AND MOEBOX_TESTS)
  # The tests share this build: libFuzzer then sees which code an input reaches, but not what it is compared with.
  add_compile_options(-fsanitize-coverage=inline-8bit-counters,pc-table)
elseif(MOEBOX_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(MOEBOX_COVERAGE)
  # Only files of src/ are counted: scripts/coverage.
  add_compile_options(-fprofile-instr-generate -fcoverage-mapping)
  add_link_options(-fprofile-instr-generate)
endif()
