// Which instruction sets this processor (and its operating system) offers.
#pragma once

#include <string_view>

namespace moebox {

/// The instruction sets that the kernels are written for, worst to best within a family.
enum class Isa { scalar, avx2, avx512, avx512_bf16, neon, neon_dotprod };

struct CpuFeatures {
  bool avx2 = false;    // with FMA and F16C
  bool avx512 = false;  // F, BW, DQ, VL and VNNI
  bool avx512_bf16 = false;
  bool neon = false;
  bool neon_dotprod = false;
};

CpuFeatures detect_cpu() noexcept;

/// "avx512" and so on: the value that MOEBOX_ISA takes.
std::string_view name(Isa isa) noexcept;

}  // namespace moebox
