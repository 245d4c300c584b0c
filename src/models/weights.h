// A model's weights in memory: matrices packed into one allocation, small vectors as floats.
#pragma once

#include <cstddef>
#include <vector>

#include "base/anonymous_memory.h"
#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "models/stored_matrix.h"

namespace moebox {

class Checkpoint;
class TensorFinder;

/// Collects a model's matrices, then packs them all, in the order in which they were added: the order of a forward
/// pass.
class WeightPacker {
 public:
  /// `target` is filled by pack() and must stay where it is until then.
  /// Throws Error(unsupported) for FP8 without scales.
  void add(const TensorView& stored, PackedMatrix* target) { add(StoredMatrix{stored}, target); }
  void add(const StoredMatrix& stored, PackedMatrix* target);
  /// Bytes that pack() will take.
  std::size_t total_bytes() const noexcept { return total_bytes_ + prefetch_bytes; }
  /// Packs on all members, gives each stored tensor's pages back, and returns the memory that the matrices point into.
  AnonymousMemory pack(const Checkpoint& checkpoint, ThreadTeam& team);

 private:
  struct Entry {
    StoredMatrix stored;
    PackedMatrix* target;
    std::size_t offset;
  };
  static constexpr std::size_t prefetch_bytes = 8192;  // kernels may prefetch past the end

  std::vector<Entry> entries_;
  std::size_t total_bytes_ = 0;  // of the matrices
};

/// A matrix with the scales that belong to it in an FP8 checkpoint.
StoredMatrix stored_matrix(TensorFinder& find, const TensorView& tensor);

/// A vector (norm weight, bias) as floats. `tensor` may be nullptr: an empty vector.
std::vector<float> to_floats(const TensorView* tensor);

}  // namespace moebox
