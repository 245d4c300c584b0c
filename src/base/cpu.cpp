#include "base/cpu.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace moebox {

CpuFeatures detect_cpu() noexcept {
  CpuFeatures features;
#if defined(__x86_64__)
  __builtin_cpu_init();
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  features.avx512 = features.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512vnni");
  features.avx512_bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__)
  features.neon = true;
  constexpr unsigned long hwcap_asimddp = 1ul << 20;
  features.neon_dotprod = (getauxval(AT_HWCAP) & hwcap_asimddp) != 0;
#endif
  return features;
}

std::string_view name(Isa isa) noexcept {
  switch (isa) {
    case Isa::scalar:
      return "scalar";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_bf16:
      return "avx512_bf16";
    case Isa::neon:
      return "neon";
    case Isa::neon_dotprod:
      return "neon_dotprod";
  }
  return "unknown";
}

}  // namespace moebox
