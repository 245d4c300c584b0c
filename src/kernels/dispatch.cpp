// Chooses the table of kernels: the best that the processor has, or what MOEBOX_ISA names.
#include <array>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "kernels/kernels.h"

// The functions of each instruction set that this program was built with.
#define MOEBOX_SIMD scalar
#include "kernels/isa/functions.h"
#undef MOEBOX_SIMD
#if defined(MOEBOX_HAVE_AVX2)
#define MOEBOX_SIMD avx2
#include "kernels/isa/functions.h"
#undef MOEBOX_SIMD
#endif
#if defined(MOEBOX_HAVE_AVX512)
#define MOEBOX_SIMD avx512
#include "kernels/isa/functions.h"
#undef MOEBOX_SIMD
#define MOEBOX_SIMD avx512_bf16
#include "kernels/isa/functions.h"
#undef MOEBOX_SIMD
#endif
#if defined(MOEBOX_HAVE_NEON)
#define MOEBOX_SIMD neon
#include "kernels/isa/functions.h"
#undef MOEBOX_SIMD
#define MOEBOX_SIMD neon_dotprod
#include "kernels/isa/functions.h"
#undef MOEBOX_SIMD
#endif

namespace moebox {
namespace {

// `lanes` has the functions of lanes_rounded.cpp, `simd` all others.
#define MOEBOX_TABLE(isa, simd, lanes) \
  {Isa::isa,                           \
   simd::quantize,                     \
   simd::matmul,                       \
   simd::rms_norm,                     \
   simd::add_to,                       \
   simd::add_scaled,                   \
   simd::swiglu,                       \
   simd::rope,                         \
   simd::store_kv,                     \
   simd::attend_segment,               \
   simd::attend_combine,               \
   simd::lanes_begin,                  \
   simd::lanes_fold,                   \
   simd::lanes_merge,                  \
   simd::lanes_finish,                 \
   lanes::round_queries,               \
   lanes::round_keys,                  \
   lanes::round_values,                \
   lanes::lanes_fold_rounded,          \
   simd::round_kv,                     \
   simd::widen_kv,                     \
   simd::argmax,                       \
   simd::log_sum_exp,                  \
   simd::probe_read,                   \
   simd::probe_int8,                   \
   simd::probe_float}

constexpr KernelTable tables[] = {
    MOEBOX_TABLE(scalar, scalar, scalar),
#if defined(MOEBOX_HAVE_AVX2)
    MOEBOX_TABLE(avx2, avx2, avx2),
#endif
#if defined(MOEBOX_HAVE_AVX512)
    MOEBOX_TABLE(avx512, avx512, avx512), MOEBOX_TABLE(avx512_bf16, avx512, avx512_bf16),
#endif
#if defined(MOEBOX_HAVE_NEON)
    MOEBOX_TABLE(neon, neon, neon),       MOEBOX_TABLE(neon_dotprod, neon_dotprod, neon_dotprod),
#endif
};

bool can_run(Isa isa) noexcept {
  const CpuFeatures cpu = detect_cpu();
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::avx2:
      return cpu.avx2;
    case Isa::avx512:
      return cpu.avx512;
    case Isa::avx512_bf16:
      return cpu.avx512_bf16;
    case Isa::neon:
      return cpu.neon;
    case Isa::neon_dotprod:
      return cpu.neon_dotprod;
  }
  return false;
}

struct Available {
  std::array<Isa, std::size(tables)> isas{};
  std::size_t count = 0;

  Available() noexcept {
    for (const KernelTable& table : tables) {
      if (can_run(table.isa)) isas[count++] = table.isa;
    }
  }
};

std::string available_names() {
  std::string names;
  for (const Isa isa : available_isas()) {
    if (!names.empty()) names += ", ";
    names += name(isa);
  }
  return names;
}

}  // namespace

std::span<const Isa> available_isas() noexcept {
  static const Available available;
  return {available.isas.data(), available.count};
}

const KernelTable& kernel_table(Isa isa) {
  for (const KernelTable& table : tables) {
    if (table.isa == isa && can_run(isa)) return table;
  }
  throw Error(ErrorKind::unsupported, "this program or this processor has no kernels for " + std::string(name(isa)),
              "instruction set", "choose one of: " + available_names());
}

const KernelTable& kernel_table() {
  const char* wanted = std::getenv("MOEBOX_ISA");
  if (wanted == nullptr || *wanted == '\0') return kernel_table(available_isas().back());
  for (const Isa isa : available_isas()) {
    if (name(isa) == wanted) return kernel_table(isa);
  }
  throw Error(ErrorKind::invalid_argument,
              "expected the name of an instruction set, found \"" + std::string(wanted) + "\"", "MOEBOX_ISA",
              "choose one of: " + available_names() + "; or unset it to take the best");
}

}  // namespace moebox
