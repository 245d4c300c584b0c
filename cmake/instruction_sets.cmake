# moebox_kernels_for(LIBRARY SIMD SOURCES FLAG...): compiles the sources once more for an instruction set, with its flags, into
# moebox_LIBRARY. Nothing else has such flags, and the sources include no header with inline functions that others include, so that
# they never leak (tests/kernels/symbols.cmake).
set(moebox_avx2_flags -mavx2 -mfma -mf16c)
# GCC 12 calls its own intrinsics' undefined operands uninitialised.
set(moebox_avx512_flags ${moebox_avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512
    -Wno-uninitialized $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)

function(moebox_kernels_for library simd sources)
  set(objects ${library}_${simd})
  add_library(${objects} OBJECT ${sources})
  target_include_directories(${objects} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  string(TOUPPER ${simd} upper)
  target_compile_definitions(${objects} PRIVATE MOEBOX_COMPILE_${upper})
  # Optimised in every build: tests of all formats on all instruction sets would take an hour otherwise.
  target_compile_options(${objects} PRIVATE -O2 -fno-math-errno -fno-trapping-math -fno-exceptions ${ARGN})
  # The scalar build of the same sources is checked for undefined behaviour; in intrinsics the checks take minutes to compile.
  if(MOEBOX_SANITIZE AND NOT simd STREQUAL "scalar")
    target_compile_options(${objects} PRIVATE -O1 -fno-sanitize=undefined)
  endif()
  target_sources(moebox_${library} PRIVATE $<TARGET_OBJECTS:${objects}>)
endfunction()
