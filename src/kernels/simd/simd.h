// Chooses the SIMD layer that a file in isa/ is compiled against: the build defines one of these for each copy.
// clang-format off
#if defined(MOEBOX_COMPILE_AVX512_BF16)
#include "kernels/simd/avx512_bf16.h"
#elif defined(MOEBOX_COMPILE_AVX512)
#include "kernels/simd/avx512.h"
#elif defined(MOEBOX_COMPILE_AVX2)
#include "kernels/simd/avx2.h"
#elif defined(MOEBOX_COMPILE_NEON) || defined(MOEBOX_COMPILE_NEON_DOTPROD)
#include "kernels/simd/neon.h"
#else
#include "kernels/simd/scalar.h"
#endif
// clang-format on

#if defined(MOEBOX_UNROLL)
// The layer wants none.
#elif defined(__clang__)
#define MOEBOX_UNROLL _Pragma("unroll")
#else
#define MOEBOX_UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(__clang__)
#define MOEBOX_ROLLED _Pragma("nounroll")
#else
#define MOEBOX_ROLLED _Pragma("GCC unroll 1")
#endif

// Loops over the parts of a superblock: unrolled, shifts are by constants; NEON's four registers to a logical one make
// that twice the work for the compiler.
#if defined(__aarch64__)
#define MOEBOX_UNROLL_PARTS
#else
#define MOEBOX_UNROLL_PARTS MOEBOX_UNROLL
#endif
