// The layer of AVX-512 under a name of its own, for files that also use its dot products of BF16 (isa/pairs.h).
#pragma once

#include "kernels/simd/avx512.h"

#undef MOEBOX_SIMD
#define MOEBOX_SIMD avx512_bf16

namespace moebox::avx512_bf16 {
using namespace avx512;
}
