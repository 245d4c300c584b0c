// Chooses the table of kernels: the best that the processor has, or what MOEBOX_ISA names.
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "train/ops/kernel_table.h"

#define MOEBOX_SIMD scalar
#include "train/ops/isa/functions.h"
#undef MOEBOX_SIMD
#if defined(MOEBOX_HAVE_AVX512)
#define MOEBOX_SIMD avx2
#include "train/ops/isa/functions.h"
#undef MOEBOX_SIMD
#define MOEBOX_SIMD avx512
#include "train/ops/isa/functions.h"
#undef MOEBOX_SIMD
#define MOEBOX_SIMD avx512_bf16
#include "train/ops/isa/functions.h"
#undef MOEBOX_SIMD
#endif
#if defined(MOEBOX_HAVE_NEON)
#define MOEBOX_SIMD neon
#include "train/ops/isa/functions.h"
#undef MOEBOX_SIMD
#endif

namespace moebox::train_ops {
namespace {

#define MOEBOX_ADD_TABLE(name, simd)            \
  {                                             \
    KernelTable& table = tables.emplace_back(); \
    table.isa = Isa::name;                      \
    simd::add_product_kernels(table);           \
    simd::add_row_kernels(table);               \
    simd::add_norm_kernels(table);              \
    simd::add_softmax_kernels(table);           \
    simd::add_optimiser_kernels(table);         \
  }

struct Tables {
  std::vector<KernelTable> tables;  // those that can run here, worst first
  std::vector<Isa> isas;

  Tables() {
    const CpuFeatures cpu = detect_cpu();
    (void)cpu;
    MOEBOX_ADD_TABLE(scalar, scalar)
#if defined(MOEBOX_HAVE_AVX512)
    if (cpu.avx2) MOEBOX_ADD_TABLE(avx2, avx2)
    if (cpu.avx512) MOEBOX_ADD_TABLE(avx512, avx512)
    if (cpu.avx512_bf16) MOEBOX_ADD_TABLE(avx512_bf16, avx512_bf16)
#endif
#if defined(MOEBOX_HAVE_NEON)
    if (cpu.neon) MOEBOX_ADD_TABLE(neon, neon)
    if (cpu.neon_dotprod) MOEBOX_ADD_TABLE(neon_dotprod, neon)
#endif
    for (const KernelTable& table : tables) isas.push_back(table.isa);
  }

  std::string names() const {
    std::string all;
    for (const Isa isa : isas) (all += all.empty() ? "" : ", ") += name(isa);
    return all;
  }
};

#undef MOEBOX_ADD_TABLE

const Tables& tables() {
  static const Tables tables;
  return tables;
}

}  // namespace

std::span<const Isa> available_isas() noexcept { return tables().isas; }

const KernelTable& kernel_table(Isa isa) {
  for (const KernelTable& table : tables().tables) {
    if (table.isa == isa) return table;
  }
  throw Error(ErrorKind::unsupported,
              "this program or this processor has no operators for training with " + std::string(name(isa)),
              "instruction set", "choose one of: " + tables().names());
}

const KernelTable& kernel_table() {
  const char* wanted = std::getenv("MOEBOX_ISA");
  if (wanted == nullptr || *wanted == '\0') return tables().tables.back();
  for (const KernelTable& table : tables().tables) {
    if (name(table.isa) == wanted) return table;
  }
  throw Error(ErrorKind::invalid_argument,
              "expected the name of an instruction set, found \"" + std::string(wanted) + "\"", "MOEBOX_ISA",
              "choose one of: " + tables().names() + "; or unset it to take the best");
}

}  // namespace moebox::train_ops
