// What this machine can do at most, at this moment: the yardstick beside every measured speed. Machines differ and
// shared ones drift within minutes, so measure it in turns with what is to be judged, and quote ratios.
#pragma once

#include <cstddef>

#include "base/anonymous_memory.h"
#include "base/thread_team.h"
#include "kernels/kernels.h"

namespace moebox {

struct MachineLimits {
  double read_bytes_per_second = 0;        // of huge pages, as weights are, and far more than the caches hold
  double int8_operations_per_second = 0;   // multiplications and additions of int8 products in registers
  double float_operations_per_second = 0;  // the same of f32 fma
};

/// Measures with the instructions of one table. Owns a buffer of 256 MiB while it lives. A measurement takes about 15
/// ms.
class LimitMeter {
 public:
  /// Throws Error(resource) when there is no memory for the buffer.
  explicit LimitMeter(const KernelTable& kernels);

  MachineLimits measure(ThreadTeam& team) const;

 private:
  const KernelTable& kernels_;
  AnonymousMemory buffer_;
};

/// The larger of each figure: the best of several measurements is the limit.
MachineLimits best_of(const MachineLimits& a, const MachineLimits& b) noexcept;

}  // namespace moebox
