// What every operator needs beside its operands: threads, the kernels of an instruction set, and memory for what lives
// no longer than a call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/cpu.h"
#include "train/ops/kernel_table.h"
#include "train/ops/workers.h"

namespace moebox::train_ops {

/// Memory that is kept from call to call: fresh pages would cost as much as the work that is done in them.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::size_t resident_bytes() const noexcept { return total_bytes_; }

 private:
  friend class ScratchUse;
  struct Chunk {
    std::byte* data;
    std::size_t bytes, used;
  };
  std::byte* take(std::size_t bytes);
  void release_all() noexcept;

  std::vector<Chunk> chunks_;
  std::size_t total_bytes_ = 0;
  int n_uses_ = 0;
};

/// One call's share: everything that it took is free again when it ends. Uses nest.
class ScratchUse {
 public:
  explicit ScratchUse(Scratch& scratch);
  ~ScratchUse();
  ScratchUse(const ScratchUse&) = delete;
  ScratchUse& operator=(const ScratchUse&) = delete;

  /// n elements, aligned to 64 bytes, with any contents. Throws std::bad_alloc.
  template <class T>
  T* take(std::int64_t n) {
    return reinterpret_cast<T*>(scratch_.take(static_cast<std::size_t>(n) * sizeof(T)));
  }

 private:
  Scratch& scratch_;
  std::size_t chunk_, used_;
};

/// Not for use by two callers at once.
struct Compute {
  /// The best instruction set of this processor, or what MOEBOX_ISA names.
  explicit Compute(Workers& workers);
  Compute(Workers& workers, Isa isa);

  Workers& workers;
  const KernelTable& kernels;
  Scratch scratch;
};

}  // namespace moebox::train_ops
